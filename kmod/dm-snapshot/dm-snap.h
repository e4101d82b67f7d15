/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of this module share: one snapshot, one origin, one pending exception.
 *
 * Order of locks: handover > origin->sem > snap_registry > s->lock > tracked bucket.
 * docs/kmod-snapshot.md tells the life of a bio.
 */
#ifndef DM_SNAP_H
#define DM_SNAP_H

#define DM_MSG_PREFIX "snapshots"

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/device-mapper.h>
#include <linux/hrtimer.h>
#include <linux/list.h>
#include <linux/mempool.h>
#include <linux/percpu-rwsem.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "../../libdmfmt/format/snapshot.h"
#include "dm-snap-tree.h"

#define SNAP_PENDING_BUCKETS 256
#define SNAP_TRACKED_BUCKETS 64
#define SNAP_BATCH_MAX 256u		/* exceptions of one commit */
#define SNAP_PENDING_POOL 128

struct dm_snapshot;
struct snap_copy;

/* ---- stores ---------------------------------------------------------------------------------- */

struct snap_usage {
	sector_t total, allocated, metadata;
};

struct snap_store;

/*
 * @load: read what the device holds into s->tree. 0, 1 if the store says of itself that it is invalid,
 *	or -errno.  May sleep.
 * @activate: before the first commit: nothing behind the terminator may become live.  May sleep.
 * @alloc: the next data chunk, -ENOSPC.  @pending: exceptions allocated and not added yet.  Under s->lock.
 * @unalloc: the last chunk that was allocated was not used after all.  Under s->lock.
 * @room: how many exceptions the next commit can take.  Under s->lock.
 * @add: one exception for the next commit, in the order of allocation; false: no more in this one.
 *	Only called while no commit is under way.
 * @commit: makes what was added durable, after everything written to the COW device before.  Ends with
 *	snap_commit_done(), perhaps before it returns.
 * @step: called by the worker after a snap_store_step()
 * @mark: makes it durable that the store is invalid.  Ends with snap_mark_done().
 * @merge_next: the last exceptions of the store: @nr chunks that end with old, new.  0: none left. May sleep.
 * @merge_commit: forget the last @nr exceptions, durably.  May sleep.
 */
struct snap_store_ops {
	const char *name;		/* as the status line has it */
	int (*ctr)(struct snap_store *store, const char *options);
	void (*dtr)(struct snap_store *store);
	int (*load)(struct snap_store *store, bool writable);
	int (*activate)(struct snap_store *store);
	int (*alloc)(struct snap_store *store, u64 pending, u64 *new_chunk);
	void (*unalloc)(struct snap_store *store, u64 new_chunk);
	u64 (*room)(struct snap_store *store);
	bool (*add)(struct snap_store *store, u64 old_chunk, u64 new_chunk);
	void (*commit)(struct snap_store *store);
	void (*step)(struct snap_store *store);
	void (*mark)(struct snap_store *store);
	void (*usage)(struct snap_store *store, struct snap_usage *u);
	int (*merge_next)(struct snap_store *store, u64 *old_chunk, u64 *new_chunk, u32 *nr);
	int (*merge_commit)(struct snap_store *store, u32 nr);
};

struct snap_store {
	const struct snap_store_ops *ops;
	struct dm_snapshot *s;		/* whose it is now: a handover moves it */
	bool overflow;			/* PO */
};

struct snap_store *snap_persistent_new(void);
struct snap_store *snap_transient_new(void);

/* ---- pending exceptions ---------------------------------------------------------------------- */

enum snap_pending_state {
	SNAP_PE_COPYING,		/* data not yet on the COW device */
	SNAP_PE_COPIED,			/* waits for its turn in a commit */
	SNAP_PE_COMMITTED,		/* in the table; reads sent to the origin may still be on their way */
};

struct snap_pending {
	struct hlist_node hash;
	struct list_head order;		/* s->order, then s->committing, then s->blocked */
	struct list_head link;		/* s->starts */
	struct dm_snapshot *s;
	u64 old, new;
	enum snap_pending_state state;
	blk_status_t read_error, write_error;
	bool for_merge;			/* a merge of another snapshot waits for it */
	struct bio *full_bio;		/* writes the whole chunk itself */
	struct bio_list origin_bios, snapshot_bios;
};

/* A buffer on its way from the origin to the COW device. */
struct snap_copy {
	struct list_head link;
	struct dm_snapshot *s;
	struct snap_pending *pe;
	struct page *page;
	unsigned int order;
	bool reserved;
	u32 done, sectors;		/* of the chunk: finished, in this piece */
	unsigned long begun;
	struct bio bio;
	struct bio_vec vec;
};

/* ---- per bio --------------------------------------------------------------------------------- */

#define SNAP_BIO_TRACKED 1
#define SNAP_BIO_FULL 2
#define SNAP_BIO_MERGE_WRITE 4

struct snap_bio {
	u8 flags;
	struct hlist_node node;		/* tracked */
	u64 chunk;
	struct snap_pending *pe;
};

struct snap_tracked {
	spinlock_t lock;
	bool waited;			/* somebody wants to know when one of them ends */
	struct hlist_head head;
};

/* ---- origins and snapshots ------------------------------------------------------------------- */

struct snap_origin {
	struct list_head list;		/* of origins; snap_registry */
	struct block_device *bdev;
	unsigned int users;		/* snap_registry */
	struct percpu_rw_semaphore sem;	/* the two below */
	struct list_head snapshots;	/* largest chunks first */
	sector_t min_chunk;		/* of active snapshots; 0: there is none */
	/* origin writes that must be looked at again where sleeping is allowed */
	spinlock_t retry_lock;
	struct bio_list retry_bios;
	struct work_struct retry;
	struct workqueue_struct *wq;
	wait_queue_head_t wait;		/* for a pending exception of any snapshot to end */
	atomic_t generation;
};

struct snap_merge;

struct dm_snapshot {
	struct dm_target *ti;
	struct dm_dev *origin, *cow;
	struct snap_origin *o;
	struct list_head list;		/* o->snapshots */
	struct list_head all;		/* every snapshot there is; snap_registry */
	struct snap_store *store;
	sector_t len;			/* of the table */
	u64 max_old;			/* of the exceptions that were loaded */
	u32 chunk_sectors;		/* 0 while a handover is awaited */
	unsigned int shift;
	bool is_merge, suspended, is_handover;
	bool discard_zeroes, discard_passdown, fail_origin_write;

	/* read without a lock, written under ->lock */
	bool active, valid, overflowed;
	unsigned int nr_finishing;

	struct snap_tree tree;

	spinlock_t lock;
	struct hlist_head pending[SNAP_PENDING_BUCKETS];
	struct list_head order;		/* in order of allocation, until they are part of a commit */
	struct list_head starts;	/* copies that have not begun */
	struct list_head read_done;	/* struct snap_copy: to be written */
	struct list_head written;	/* struct snap_copy: piece written, more to come */
	struct list_head committing;
	struct list_head blocked;	/* committed, but reads of the origin are still on their way */
	unsigned int nr_pending, nr_copying, nr_order;
	bool commit_busy, commit_done, store_step, recheck, event, broken;
	blk_status_t commit_error;
	/* how many exceptions a commit may hope for, and the timer that ends the hope */
	unsigned int batch_expected, batch_seen, batch_waits, batch_probe_in, batch_probe_every;
	bool batch_timing, batch_over;
	struct hrtimer batch_timer;
	/* the invalid mark */
	bool marking, mark_start, mark_done;
	blk_status_t mark_error;
	unsigned int mark_tries;
	struct bio_list mark_bios;	/* origin writes that wait for it, */
	struct bio_list fail_bios;	/* snapshot writes that fail after it */

	bool worker_busy, worker_again;
	struct work_struct work;
	struct delayed_work delayed;
	struct workqueue_struct *wq;
	wait_queue_head_t idle;		/* nothing pending any more, or few enough copies */

	mempool_t pending_pool;
	struct list_head copies;	/* free buffers */
	unsigned int nr_copies, nr_free_copies, max_copies;
	struct snap_copy *reserve;
	unsigned long throttle_until;

	struct snap_tracked tracked[SNAP_TRACKED_BUCKETS];
	struct bio_list discards;	/* of chunks that have exceptions; under ->lock */
	struct work_struct discard_work;
	struct snap_merge *merge;
};

static inline u64 snap_chunk(const struct dm_snapshot *s, sector_t sector)
{
	return sector >> s->shift;
}

static inline sector_t snap_sector(const struct dm_snapshot *s, u64 chunk)
{
	return (sector_t)chunk << s->shift;
}

static inline void snap_remap_cow(const struct dm_snapshot *s, struct bio *bio, u64 new_chunk)
{
	bio_set_dev(bio, s->cow->bdev);
	bio->bi_iter.bi_sector = snap_sector(s, new_chunk) +
				 (bio->bi_iter.bi_sector & (s->chunk_sectors - 1));
}

static inline bool snap_mergeable(const struct dm_snapshot *s)
{
	return s->store->ops->merge_next != NULL;
}

/* ---- dm-snap.c ------------------------------------------------------------------------------- */

extern struct mutex snap_registry;
extern unsigned int snap_cow_threshold, snap_copy_throttle;

/* ---- dm-snap-io.c ---------------------------------------------------------------------------- */

int snap_io_module_init(void);
void snap_io_module_exit(void);
int snap_io_init(struct dm_snapshot *s);
void snap_io_exit(struct dm_snapshot *s);
/* wait until nothing is pending and the worker rests; new work must be kept away by the caller */
void snap_io_drain(struct dm_snapshot *s);

int snap_map(struct dm_target *ti, struct bio *bio);
int snap_end_io(struct dm_target *ti, struct bio *bio, blk_status_t *error);

/* any context: something is there for the worker; s->lock held */
void snap_kick(struct dm_snapshot *s);
void snap_store_step(struct dm_snapshot *s);
void snap_commit_done(struct dm_snapshot *s, blk_status_t error);
void snap_mark_done(struct dm_snapshot *s, blk_status_t error);
void snap_copied(struct snap_pending *pe);
void snap_invalidate(struct dm_snapshot *s, const char *why);

void snap_track(struct dm_snapshot *s, struct snap_bio *sb, u64 chunk);
bool snap_is_tracked(struct dm_snapshot *s, u64 chunk);
int snap_reserve_nodes(struct dm_snapshot *s, unsigned int ops);

/*
 * snap_origin_write() - may a write of the origin go on, or must exceptions be made first
 * Process context.  Return: DM_MAPIO_REMAPPED, or DM_MAPIO_SUBMITTED if it has been taken over.
 */
int snap_origin_write(struct snap_origin *o, struct bio *bio);
/* all snapshots of the origin but @except have an exception for these sectors when it returns */
void snap_origin_extent(struct snap_origin *o, struct dm_snapshot *except, sector_t start, sector_t nr);
/* process context: as snap_origin_write(), for a bio that has been held; it is submitted */
void snap_origin_submit(struct snap_origin *o, struct bio *bio);
void snap_origin_retry(struct work_struct *work);

/* chunks that the origin may have; all that there can be while its size is not known */
static inline u64 snap_origin_chunks(const struct dm_snapshot *s, unsigned int shift)
{
	sector_t size = bdev_nr_sectors(s->origin->bdev);

	if (!size)
		size = 1ULL << (63 - SECTOR_SHIFT);
	return (size + (1U << shift) - 1) >> shift;
}

/* of buffers: a logical block is the least that can be read or written */
static inline unsigned int snap_least_order(const struct dm_snapshot *s)
{
	return get_order(max(bdev_logical_block_size(s->origin->bdev),
			     bdev_logical_block_size(s->cow->bdev)));
}

/* ---- dm-snap-copy.c -------------------------------------------------------------------------- */

int snap_copy_init(struct dm_snapshot *s);
void snap_copy_exit(struct dm_snapshot *s);
/* process context, no lock held: begin as many of s->starts as there are buffers for */
void snap_copy_starts(struct dm_snapshot *s);
/* the worker: go on with what has been read, or written in part */
void snap_copy_continue(struct dm_snapshot *s, struct list_head *read, struct list_head *written);

/* ---- dm-snap-merge.c ------------------------------------------------------------------------- */

int snap_merge_init(struct dm_snapshot *s);
void snap_merge_exit(struct dm_snapshot *s);
void snap_merge_start(struct dm_snapshot *s);
void snap_merge_stop(struct dm_snapshot *s);
bool snap_merge_failed(struct dm_snapshot *s);
int snap_merge_map(struct dm_target *ti, struct bio *bio);
/* a tracked write has ended */
void snap_merge_kick(struct dm_snapshot *s);

#endif
