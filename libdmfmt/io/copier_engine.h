/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How the copier's transfers get into flight: io_uring, or a few threads. */
#ifndef DMFMT_IO_COPIER_ENGINE_H
#define DMFMT_IO_COPIER_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/*
 * struct dmfmt_xfer - one read or write of the copier
 * @v, @nr_v: where in memory; @off, @len: where on @fd; the end may lie past the file's (reads)
 * @need: of a read: how many bytes have to be there
 * @first, @nr: the pieces that it stands for, in the order of its kind
 * @src: source number of a read
 * @odd: not for the engine: through dmfmt_dev_read() and dmfmt_dev_write(), when it is waited for
 * @err: 0 or a negative errno, once it is done
 */
struct dmfmt_xfer {
	int fd;
	bool write, odd, done;
	unsigned nr_v;
	struct iovec *v;
	uint64_t off;
	size_t len, need;
	size_t first, nr;
	uint32_t src;
	int err;
};

struct dmfmt_xfer_engine;

struct dmfmt_xfer_ops {
	const char *name;
	int (*open)(unsigned depth, struct dmfmt_xfer_engine **out);
	/* at most `depth` may be in flight */
	void (*submit)(struct dmfmt_xfer_engine *e, struct dmfmt_xfer *x);
	/* until at least one more is done (nothing if none is in flight); sets x->done, x->err */
	void (*wait)(struct dmfmt_xfer_engine *e);
	/* nothing is in flight; false: something may still be, memory must stay */
	bool (*close)(struct dmfmt_xfer_engine *e);
};

/* @broken: the kernel does not answer any more; what is in flight stays so */
struct dmfmt_xfer_engine {
	const struct dmfmt_xfer_ops *ops;
	unsigned in_flight;
	bool broken;
};

extern const struct dmfmt_xfer_ops dmfmt_xfer_uring, dmfmt_xfer_threads;

/* do what is left of @x behind its first @done bytes, here and now; sets x->err, not x->done */
void dmfmt_xfer_sync(struct dmfmt_xfer *x, size_t done);

#endif
