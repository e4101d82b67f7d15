/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Engines that keep several reads of one descriptor in flight; behind stream.c. */
#ifndef DMFMT_IO_STREAM_ENGINE_H
#define DMFMT_IO_STREAM_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * struct dmfmt_read - one read
 * @want: bytes asked for; @need of them must be there, the rest may lie past the end of the file
 * @done: bytes that are in @buf already
 * @flight: the engine has it; it alone looks at this, and nobody else touches the rest or the
 *          buffer
 *          until @wait has returned
 * @err: 0 or a negative errno
 */
struct dmfmt_read {
	uint64_t from;
	uint8_t *buf;
	size_t want, need, done;
	int err;
	bool flight;
	struct dmfmt_read *next;	/* the engine's */
};

struct dmfmt_engine;

/**
 * struct dmfmt_engine_ops
 * @open: for @depth reads of @fd at once; -EOPNOTSUPP where the kernel will not have it
 * @submit: hand a read over; it may wait for @kick
 * @kick: what was submitted must be on its way now
 * @poll: notice what has been done, without waiting
 * @wait: until @r is not in flight any more; to be called for every read that was submitted
 * @close: waits for everything in flight.  False: that failed, the kernel may still write into the
 *         buffers, and they must never be freed
 */
struct dmfmt_engine_ops {
	const char *name;
	int (*open)(int fd, unsigned depth, struct dmfmt_engine **out);
	void (*submit)(struct dmfmt_engine *e, struct dmfmt_read *r);
	void (*kick)(struct dmfmt_engine *e);
	void (*poll)(struct dmfmt_engine *e);
	void (*wait)(struct dmfmt_engine *e, struct dmfmt_read *r);
	bool (*close)(struct dmfmt_engine *e);
};

/* @in_flight: submitted and not yet done, as of the last call of a function above */
struct dmfmt_engine {
	const struct dmfmt_engine_ops *ops;
	int fd;
	unsigned in_flight;
};

extern const struct dmfmt_engine_ops dmfmt_engine_uring, dmfmt_engine_threads;

/* the rest of a read, on the spot */
void dmfmt_read_finish(int fd, struct dmfmt_read *r);

#endif
