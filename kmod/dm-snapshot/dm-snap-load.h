/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads the exceptions of a persistent store into memory, and believes none of them.
 *
 * Areas are read with several requests under way; exceptions are collected as pairs in single pages, sorted
 * in place, looked through for duplicates, and become a tree with full leaves.
 */
#ifndef DM_SNAP_LOAD_H
#define DM_SNAP_LOAD_H

#include "dm-snap.h"

#define SNAP_LOAD_SLOTS 16

struct snap_loader;

struct snap_load_slot {
	struct page *page;
	struct bio bio;
	struct bio_vec vec;
	struct completion done;
};

struct snap_loader {
	struct dm_snapshot *s;
	const struct snap_geometry *g;
	struct snap_load_slot *slots;
	unsigned int order;
	u32 piece_bytes, pieces;	/* of an area */
	u64 submitted, consumed;	/* pieces */
	bool submit_failed;
	/* what was found */
	u64 area, slot;			/* of the terminator */
	u64 next_free;
	bool tail_dirty, ended;
	/* pairs */
	struct page **pages;
	u64 nr_pages, max_pages, nr;
	bool old_sorted, new_sorted, dense;
	u64 last_old, last_new, origin_chunks;
};

int snap_loader_init(struct snap_loader *l, struct dm_snapshot *s, const struct snap_geometry *g);
/* Return: 0, or -EIO, -EINVAL, -ENOMEM with a message in the kernel's log */
int snap_loader_read(struct snap_loader *l);
/* @twins: NULL, or @nr_twins old_chunks that lie there more than once (kvfree()) */
int snap_loader_finish(struct snap_loader *l, struct snap_tree *t, u64 **twins, u64 *nr_twins);
void snap_loader_exit(struct snap_loader *l);

/* a chunk size that both devices can take; says why not */
int snap_check_chunk_size(struct dm_snapshot *s, u32 sectors);

/* Does an area with exceptions lie where some chunk size (@hint first, if not 0) puts the first one? */
bool snap_area_decodes(struct dm_snapshot *s, u32 hint);

#endif
