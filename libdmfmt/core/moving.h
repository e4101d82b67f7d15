/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Moving a window of a store's data to a destination: copy, make durable, compare; and keeping note of the
 * units that could not be moved.  Write-backs (copy.c) and patches (patch.c) share it.
 */
#ifndef DMFMT_CORE_MOVING_H
#define DMFMT_CORE_MOVING_H

#include "format.h"

/*
 * struct dmfmt_moving - a run of such windows
 * @f, @dst, @o, @r, @unit, @total, @tables: set by the caller; @unit: failures are isolated to it;
 *     @total: bytes of all windows, 0: unknown; @tables: bytes of memory that the caller takes himself
 * @failed: after dmfmt_moving_run() units of this window that could not be moved, sorted by `to`
 * @first_pass: of them are from the copy; the comparison adds to them
 * @verifying: the comparison is going on
 */
struct dmfmt_moving {
	struct dmfmt *f;
	struct dmfmt_dev *dst;
	struct dmfmt_writeback_opts o;
	struct dmfmt_writeback_result *r;
	uint64_t unit, total;
	size_t tables;
	struct dmfmt_copier *copier;
	struct dmfmt_move *failed;
	size_t nr_failed, room_failed, first_pass;
	bool verifying;
};

/* copy @moves; @durable: flush the destination, and compare if that was asked for.  With
 * DMFMT_WRITEBACK_KEEP_GOING units that fail are told and noted, else the first one ends it. */
int dmfmt_moving_run(struct dmfmt_moving *m, const struct dmfmt_move *moves, size_t nr, bool durable);
/* has the unit at @to failed? */
bool dmfmt_moving_failed(const struct dmfmt_moving *m, uint64_t to);
/* tell what a rescue finds lost: as failures to read (-ENODATA); what nobody knows is only counted */
int dmfmt_moving_lost(struct dmfmt_moving *m);
void dmfmt_moving_free(struct dmfmt_moving *m);

/* options and results of any size that their callers know */
void dmfmt_moving_opts(struct dmfmt_moving *m, const struct dmfmt_writeback_opts *o);
void dmfmt_moving_result(const struct dmfmt_moving *m, struct dmfmt_writeback_result *r);

#endif
