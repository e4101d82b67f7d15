/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A device is a stack of layers behind five functions.  The bottom is a file, a block device or a
 * buffer; above it may lie layers that save what is overwritten (undo.c), list writes without doing
 * them (plan.c), or fail on cue (fault.c).  No layer knows a format.
 */
#ifndef DMFMT_IO_DEV_H
#define DMFMT_IO_DEV_H

#include "../dmfmt.h"
#include "../core/core.h"

struct dmfmt_layer;

/**
 * struct dmfmt_layer_ops - what a layer does
 * @read: exactly @len bytes at @off, or a negative errno; the range is inside the device
 * @write: likewise; durable only after the next flush that returns 0
 * @flush: make all completed writes durable.  After a failure nothing written since the last
 *         successful flush may be taken as durable, even if a later flush succeeds (a kernel drops
 *         the dirty pages): dev.c latches the error and fails every later write and flush.
 * @size: in bytes
 * @truncate: set the size; only new regular files have it
 * @close: free the layer and everything below it (dmfmt_layer_close())
 * @passes: may be NULL (never); true while reads of the lower layer give what reads of this one
 *          would, so that the stream may read the file itself
 */
struct dmfmt_layer_ops {
	const char *name;
	int (*read)(struct dmfmt_layer *l, uint64_t off, void *buf, size_t len);
	int (*write)(struct dmfmt_layer *l, uint64_t off, const void *buf, size_t len);
	int (*flush)(struct dmfmt_layer *l);
	int (*truncate)(struct dmfmt_layer *l, uint64_t size);
	void (*close)(struct dmfmt_layer *l);
	bool (*passes)(const struct dmfmt_layer *l);
};

struct dmfmt_layer {
	const struct dmfmt_layer_ops *ops;
	struct dmfmt_layer *lower;	/* NULL at the bottom */
};

struct dmfmt_range {
	uint64_t off, len;	/* bytes */
};

/*
 * The device handle: the top layer plus what every user wants to know.
 * @whole: what a power cut leaves as it was or as it was written, never a mixture: the logical block,
 *         or the physical one where that is known; a power of two, at most 4096
 * @fd: of the bottom if it is a file or a block device, else -1 (only the stream uses it, and only
 *      while `plain` is true: no layer above changes what is read)
 * @bad: ranges that the kernel knew to be unreadable when it was opened; malloc'ed
 */
struct dmfmt_dev {
	struct dmfmt_ctx *ctx;
	struct dmfmt_layer *top;
	char *path;
	char *holder;
	uint64_t size;
	uint64_t start;		/* where the format begins, bytes: dmfmt_dev_set_start() */
	uint32_t block;		/* logical block, bytes */
	uint32_t whole;
	unsigned flags;		/* DMFMT_OPEN_* */
	int fd;
	bool is_block;
	bool direct;		/* O_DIRECT: buffers, offsets and lengths aligned to `block` */
	bool plain;		/* reads may go to fd directly */
	bool dry_run;
	int failed;		/* latched errno of a failed flush or write */
	struct dmfmt_range *bad;
	size_t nr_bad;
	uint64_t bytes_read, bytes_written;
};

/* dev.c: bounds, latching, alignment (bounce buffers for O_DIRECT); every user calls these.
 * Ranges are checked: -ERANGE past the end, also when off + len wraps.  Any off and len are
 * allowed; an unaligned write to an O_DIRECT device is a read-modify-write of the blocks at its
 * ends. */
int dmfmt_dev_read(struct dmfmt_dev *dev, uint64_t off, void *buf, size_t len);
int dmfmt_dev_write(struct dmfmt_dev *dev, uint64_t off, const void *buf, size_t len);
int dmfmt_dev_flush(struct dmfmt_dev *dev);
/* like dmfmt_dev_write() for a caller that can do without this range: a failure does not latch, the
 * range is to be taken as undefined */
int dmfmt_dev_write_try(struct dmfmt_dev *dev, uint64_t off, const void *buf, size_t len);
/* a promise: what is written from @from on is written once and not read back, so that a dry run of a
 * large restore needs no memory for it */
void dmfmt_dev_written_once(struct dmfmt_dev *dev, uint64_t from);
/* write @len zero bytes in bounded pieces */
int dmfmt_dev_zero(struct dmfmt_dev *dev, uint64_t off, uint64_t len);

/* put @l on top; it takes dev->top as its lower.  The list of writes (plan.c) stays the top layer,
 * so that a dry run and a real run list the same: other layers slip in below it. */
void dmfmt_dev_push(struct dmfmt_dev *dev, struct dmfmt_layer *l);
/* the layer whose ops are called @name, or NULL */
struct dmfmt_layer *dmfmt_dev_layer(const struct dmfmt_dev *dev, const char *name);
/* may reads go to dev->fd at this moment? */
bool dmfmt_dev_passes(const struct dmfmt_dev *dev);
/* close and free @l and all below it; NULL is allowed */
void dmfmt_layer_close(struct dmfmt_layer *l);

/* file.c: bottom of a regular file or block device; @fd is taken over. direct: opened O_DIRECT.
 * Any buffer, offset and length will do: it bounces what is not aligned to @block. */
int dmfmt_file_layer_new(int fd, bool direct, uint32_t block, struct dmfmt_layer **out);
/* the file is new: the first flush syncs its directory @dirfd too (taken over) */
void dmfmt_file_layer_set_dir(struct dmfmt_layer *l, int dirfd);
/* its fd and whether that is O_DIRECT; -1 if @l is another kind of layer */
int dmfmt_file_layer_fd(const struct dmfmt_layer *l, bool *direct);
/* @len bytes at @off from @fd; @need of them must be there, the rest may lie past the end */
int dmfmt_fd_read(int fd, uint64_t off, void *buf, size_t len, size_t need);
/* mem.c: bottom over a caller's buffer */
int dmfmt_mem_layer_new(void *buf, uint64_t size, struct dmfmt_layer **out);
/* dev.c: wrap a ready bottom layer into a device (tests use it with fault.c) */
int dmfmt_dev_from_layer(struct dmfmt_ctx *ctx, struct dmfmt_layer *bottom, uint64_t size,
			 uint32_t block, const char *path, struct dmfmt_dev **out);

/* plan.c: the layer behind dmfmt_dev_set_dry_run() (dry) and dmfmt_dev_set_trace() */
int dmfmt_dev_set_plan(struct dmfmt_dev *dev, bool dry,
		       int (*fn)(void *arg, const struct dmfmt_write *w), void *arg);

/* undo.c: as dmfmt_dev_set_undo(), once the place of the file has been looked at */
int dmfmt_dev_set_undo_path(struct dmfmt_dev *dev, const char *path, const char *command);
/* everything is written and flushed: mark the undo file, if there is one, as complete */
int dmfmt_undo_finish(struct dmfmt_dev *dev);
/* undo.c, for tests: as dmfmt_dev_set_undo(), with the undo file being any device that can grow
 * (fault.c), so that power cuts between both can be tried; @undo and @file stay the caller's */
int dmfmt_dev_set_undo_dev(struct dmfmt_dev *dev, struct dmfmt_dev *undo, const char *command);
int dmfmt_undo_open_dev(struct dmfmt_ctx *ctx, struct dmfmt_dev *file, struct dmfmt_undo **out);

/*
 * stream.c: large sequential reading with read-ahead over computable positions.
 *
 * @next is asked for the next position as read-ahead goes on: fill *off and *len and return 1, or
 * return 0 at the end.  It must not depend on data that were read (the consumer may stop early at
 * any time; positions past the end of the device are cut off and end the stream).
 * Pieces longer than 1 MiB are handed out in parts of at most 1 MiB, shorter ones whole.  What is
 * written to the device meanwhile is seen by every part that is handed out after the write.
 */
struct dmfmt_stream;
struct dmfmt_stream_opts {
	int (*next)(void *arg, uint64_t *off, uint64_t *len);
	void *arg;
	unsigned depth;		/* reads in flight; 0: 32 */
	size_t memory;		/* bytes of buffers at most; 0: 8 MiB; at least 1 MiB is taken */
	const char *engine;	/* tests: this one or -EOPNOTSUPP; NULL: the best there is */
};
int dmfmt_stream_open(struct dmfmt_dev *dev, const struct dmfmt_stream_opts *o,
		      struct dmfmt_stream **out);
/* the next part in order: *buf is valid until the next call.
 * Return 1; 0 at the end; negative errno for this part alone (*off and *len say which; the stream
 * can go on with the next call). */
int dmfmt_stream_next(struct dmfmt_stream *s, const void **buf, uint64_t *off, size_t *len);
/* "io_uring", "threads", or "pread" (everything was in the page cache, or a layer is in the way) */
const char *dmfmt_stream_engine(const struct dmfmt_stream *s);
void dmfmt_stream_close(struct dmfmt_stream *s);

#endif
