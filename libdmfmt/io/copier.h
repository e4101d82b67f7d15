/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Moving data between devices as fast as they go: a buffer-full at a time, reads in the order of the
 * source, writes in the order of the destination, adjacent ones joined into large I/O, the next
 * buffer being read while the last one is written.
 *
 * Files and block devices without layers above them are driven directly, with O_DIRECT where
 * alignment allows, through io_uring or threads.  Everything else (fault.c, undo.c, buffers) goes
 * through dmfmt_dev_read() and dmfmt_dev_write() in the same order and the same large pieces.
 */
#ifndef DMFMT_IO_COPIER_H
#define DMFMT_IO_COPIER_H

#include "dev.h"

/**
 * struct dmfmt_move - copy @len bytes from @from on source number @src to @to on the destination
 *
 * @from may be DMFMT_NONE: zeros.  Offsets and lengths are multiples of 512.  Moves of one run must
 * not overlap on the destination, unless they bring the same bytes.
 */
struct dmfmt_move {
	uint64_t from, to, len;
	uint32_t src;
};

#define DMFMT_COPIER_SOURCES 3

/**
 * struct dmfmt_copier_opts
 * @src: up to three sources; @dst: the destination (may be NULL for a copier that only reads)
 * @fresh: @dst is a file that this run made: zeros are left as holes; else they are written
 * @unit: with @failed: a failing read or write is tried again in units of so many bytes, counted
 *        from the start of its move, so that only what really fails is reported
 * @failed: told each unit that failed; a non-zero return ends the run with it.  NULL: the first
 *          failure ends the run.  With it a failed write does not latch the device.
 * @rate: bytes per second that are written at most; 0: no limit
 * @memory: bytes of buffers at most, 0: 32 MiB; @depth: I/Os in flight, 0: 128
 * @engine: tests: "io_uring", "threads", "layers", "copy_file_range"; NULL: the best there is
 * @what, @total: for the progress (bytes of all runs together; 0: unknown)
 */
struct dmfmt_copier_opts {
	struct dmfmt_dev *src[DMFMT_COPIER_SOURCES];
	struct dmfmt_dev *dst;
	bool fresh;
	uint64_t unit;
	int (*failed)(void *arg, const struct dmfmt_move *unit, bool reading, int err);
	void *arg;
	uint64_t rate;
	size_t memory;
	unsigned depth;
	const char *engine;
	const char *what;
	uint64_t total;
};

struct dmfmt_copier;

int dmfmt_copier_open(struct dmfmt_ctx *ctx, const struct dmfmt_copier_opts *o,
		      struct dmfmt_copier **out);

/**
 * dmfmt_copier_run() - do all @moves, in any order
 *
 * A buffer-full is taken from the list in its order, then sorted; the list itself is not changed.
 * On return everything is written, nothing is durable yet: dmfmt_dev_flush() on the destination.
 * Return: 0; -ECANCELED between two buffers; the error of the first failure.
 */
int dmfmt_copier_run(struct dmfmt_copier *c, const struct dmfmt_move *moves, size_t nr);

/**
 * dmfmt_copier_verify() - read both sides of @moves and compare
 * A unit that differs is a failure to write with -EILSEQ.  Meant for after the flush.
 */
int dmfmt_copier_verify(struct dmfmt_copier *c, const struct dmfmt_move *moves, size_t nr);

/**
 * dmfmt_copier_read() - read @moves and hand the bytes out in the list's order
 * @fn: @m is a part of a move (at most 1 MiB) and @buf its bytes, valid during the call; @err is
 *      the read's error, then @buf is NULL
 * No destination is needed.
 */
int dmfmt_copier_read(struct dmfmt_copier *c, const struct dmfmt_move *moves, size_t nr,
		      int (*fn)(void *arg, const struct dmfmt_move *m, const void *buf, int err),
		      void *arg);

/** struct dmfmt_copier_stats - totals of all runs */
struct dmfmt_copier_stats {
	uint64_t bytes_read, bytes_written, bytes_zero;	/* zero: left as holes */
	uint64_t reads, writes;
	const char *engine;
};
void dmfmt_copier_stats(const struct dmfmt_copier *c, struct dmfmt_copier_stats *s);

void dmfmt_copier_close(struct dmfmt_copier *c);

/* bytes per second and memory that are left for a copier beside @other bytes of tables */
size_t dmfmt_copier_memory(const struct dmfmt_ctx *ctx, size_t other);

#endif
