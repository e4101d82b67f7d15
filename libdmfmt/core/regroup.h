/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A new store out of another one's extents, in blocks of another size (or the same).
 *
 * The new store is dense and in the order of the logical device, so that bringing it home has the
 * longest runs there can be:
 *
 *	extents      |--- A ---|     |-- B --|           |- C -|      (bytes, any multiple of 512)
 *	new blocks |.|.......|.......|......|..|       |..|..|..|     (whole ones; runs of them)
 *
 * What a new block needs and no extent has is what the logical device shows there: the origin, and
 * zeros past its end.  Everything runs twice: first it only counts, so that nothing is written if
 * there is too little room or if a part of the origin is missing.
 */
#ifndef DMFMT_CORE_REGROUP_H
#define DMFMT_CORE_REGROUP_H

#include "format.h"

#define DMFMT_LOGICAL_END (1ull << 62)	/* no device is as large; extents end before it */

enum { DMFMT_FROM_STORE, DMFMT_FROM_ORIGIN, DMFMT_FROM_NOWHERE };

/**
 * struct dmfmt_regroup - extents become blocks
 * @block_bytes: of the new store; @origin_bytes: DMFMT_NONE: unknown
 * @blocks: told @nr new blocks of the logical device from number @first on; they get the next entries
 * @data: told @len bytes for the new store, from entry @index on, @within bytes behind its start;
 *        entries of one call follow each other.  @src: one of the above, @from there
 * @lacks: NULL: the origin is at hand.  Else told logical bytes [@from, @to) of one block that have to
 *         come from it
 * @nr: new blocks so far; @bytes: by where they come from
 *
 * The rest is where it stands: the run of blocks that is open, and what of it is taken care of.
 */
struct dmfmt_regroup {
	uint64_t block_bytes, origin_bytes;
	int (*blocks)(void *arg, uint64_t first, uint64_t nr);
	int (*data)(void *arg, unsigned src, uint64_t from, uint64_t index, uint64_t within,
		    uint64_t len);
	int (*lacks)(void *arg, uint64_t from, uint64_t to);
	void *arg;
	uint64_t nr, bytes[3];
	uint64_t run_block, run_index, next_block, done;
};
void dmfmt_regroup_begin(struct dmfmt_regroup *r);
/* the next extent: ascending, below DMFMT_LOGICAL_END */
int dmfmt_regroup_extent(struct dmfmt_regroup *r, const struct dmfmt_extent *e);
/* no more come */
int dmfmt_regroup_end(struct dmfmt_regroup *r);

/* struct dmfmt_mover - a copier, and moves kept until there are enough of them */
struct dmfmt_mover {
	struct dmfmt_copier *copier;
	struct dmfmt_move *moves;
	size_t nr;
	uint64_t bytes;
};
/* @total: bytes that will be moved; @other: bytes of memory that the caller takes beside it */
int dmfmt_mover_open(struct dmfmt_mover *m, struct dmfmt_ctx *ctx, struct dmfmt_dev *source,
		     struct dmfmt_dev *origin, struct dmfmt_dev *to, uint64_t total, size_t other);
/* @src: DMFMT_FROM_*; @from there, @to on the destination */
int dmfmt_mover_add(struct dmfmt_mover *m, unsigned src, uint64_t from, uint64_t to, uint64_t len);
/* what was kept back; nothing is durable yet */
int dmfmt_mover_run(struct dmfmt_mover *m);
void dmfmt_mover_close(struct dmfmt_mover *m);

#endif
