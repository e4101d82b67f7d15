// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The transient store (N): data chunks from chunk 0 on, nothing on disk tells what they are.
 */
#include "dm-snap.h"

#include <linux/slab.h>

struct transient {
	struct snap_store store;
	u64 next_free;
};

static struct transient *transient_of(struct snap_store *store)
{
	return container_of(store, struct transient, store);
}

static int transient_ctr(struct snap_store *store, const char *options)
{
	return 0;
}

static void transient_dtr(struct snap_store *store)
{
	kfree(transient_of(store));
}

static int transient_load(struct snap_store *store, bool writable)
{
	return 0;
}

static int transient_activate(struct snap_store *store)
{
	return 0;
}

static int transient_alloc(struct snap_store *store, u64 pending, u64 *new_chunk)
{
	struct transient *t = transient_of(store);
	struct dm_snapshot *s = store->s;

	if (t->next_free >= bdev_nr_sectors(s->cow->bdev) >> s->shift ||
	    t->next_free >> SNAP_TREE_NEW_BITS)
		return -ENOSPC;
	*new_chunk = t->next_free++;
	return 0;
}

static void transient_unalloc(struct snap_store *store, u64 new_chunk)
{
	struct transient *t = transient_of(store);

	if (new_chunk + 1 == t->next_free)
		t->next_free = new_chunk;
}

static u64 transient_room(struct snap_store *store)
{
	return SNAP_BATCH_MAX;
}

static bool transient_add(struct snap_store *store, u64 old_chunk, u64 new_chunk)
{
	return true;
}

static void transient_commit(struct snap_store *store)
{
	snap_commit_done(store->s, BLK_STS_OK);
}

static void transient_mark(struct snap_store *store)
{
	snap_mark_done(store->s, BLK_STS_OK);
}

static void transient_step(struct snap_store *store)
{
}

static void transient_usage(struct snap_store *store, struct snap_usage *u)
{
	u->total = bdev_nr_sectors(store->s->cow->bdev);
	u->allocated = snap_sector(store->s, transient_of(store)->next_free);
	u->metadata = 0;
}

static const struct snap_store_ops snap_transient_ops = {
	.name = "N",
	.ctr = transient_ctr,
	.dtr = transient_dtr,
	.load = transient_load,
	.activate = transient_activate,
	.alloc = transient_alloc,
	.unalloc = transient_unalloc,
	.room = transient_room,
	.add = transient_add,
	.commit = transient_commit,
	.step = transient_step,
	.mark = transient_mark,
	.usage = transient_usage,
};

struct snap_store *snap_transient_new(void)
{
	struct transient *t = kzalloc(sizeof(*t), GFP_KERNEL);

	if (!t)
		return NULL;
	t->store.ops = &snap_transient_ops;
	return &t->store;
}
