// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The life of a bio: mapping, pending exceptions, commit, the invalid mark.
 *
 * Rules that every path here keeps (a crash anywhere must find them true on disk):
 *   - the data of an exception are durable on the COW device before its entry is;
 *   - the entry is durable before the origin write that it is for is issued, and before a write to the
 *     snapshot that it is for is acknowledged;
 *   - reads of the origin on behalf of the snapshot have ended before that origin write is issued;
 *   - if an exception cannot be made, the store is marked invalid durably before the origin write is issued.
 *
 * Completions (any context) put things on lists and call snap_kick(); the worker does the rest.  The worker
 * never waits for I/O.
 */
#include "dm-snap.h"

#include <linux/hash.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#define MARK_TRIES 5
#define MARK_RETRY_MS 50
#define BATCH_QUIET_NS (200 * NSEC_PER_USEC)
#define BATCH_WAITS_MAX 8
#define BATCH_PROBE_OFTEN 32
#define BATCH_PROBE_SELDOM 512

static struct kmem_cache *pending_cache;

int snap_io_module_init(void)
{
	pending_cache = KMEM_CACHE(snap_pending, 0);
	return pending_cache ? 0 : -ENOMEM;
}

void snap_io_module_exit(void)
{
	kmem_cache_destroy(pending_cache);
}

/* ---- the worker's bell ----------------------------------------------------------------------- */

void snap_kick(struct dm_snapshot *s)
{
	lockdep_assert_held(&s->lock);
	if (s->worker_busy) {
		s->worker_again = true;
	} else {
		s->worker_busy = true;
		queue_work(s->wq, &s->work);
	}
}

static void kick(struct dm_snapshot *s)
{
	unsigned long flags;

	spin_lock_irqsave(&s->lock, flags);
	snap_kick(s);
	spin_unlock_irqrestore(&s->lock, flags);
}

static void snap_delayed(struct work_struct *work)
{
	struct dm_snapshot *s = container_of(to_delayed_work(work), struct dm_snapshot, delayed);

	kick(s);
}

void snap_store_step(struct dm_snapshot *s)
{
	unsigned long flags;

	spin_lock_irqsave(&s->lock, flags);
	s->store_step = true;
	snap_kick(s);
	spin_unlock_irqrestore(&s->lock, flags);
}

void snap_commit_done(struct dm_snapshot *s, blk_status_t error)
{
	unsigned long flags;

	spin_lock_irqsave(&s->lock, flags);
	s->commit_error = error;
	s->commit_done = true;
	snap_kick(s);
	spin_unlock_irqrestore(&s->lock, flags);
}

void snap_mark_done(struct dm_snapshot *s, blk_status_t error)
{
	unsigned long flags;

	spin_lock_irqsave(&s->lock, flags);
	s->mark_error = error;
	s->mark_done = true;
	snap_kick(s);
	spin_unlock_irqrestore(&s->lock, flags);
}

/*
 * A commit costs a flush, so one of them should serve all that write at the same time.  But where the devices
 * are fast and the processor is the limit, the first of several writers has its data on the COW device before
 * the next one has come to run.  How many there are is found by trying: now and then a commit waits until no
 * more have come for BATCH_QUIET_NS, and what it got is what the following ones hope for.  Those wait only
 * while they have less, and no longer than that; if in vain, the hope sinks, not at once: some writes find
 * their chunks in the table already, and the next ones may not.  Where one writes alone, it is tried seldom.
 */
static enum hrtimer_restart batch_ring(struct hrtimer *timer)
{
	struct dm_snapshot *s = container_of(timer, struct dm_snapshot, batch_timer);
	unsigned long flags;

	spin_lock_irqsave(&s->lock, flags);
	if (s->batch_timing) {
		s->batch_timing = false;
		s->batch_over = true;
		snap_kick(s);
	}
	spin_unlock_irqrestore(&s->lock, flags);
	return HRTIMER_NORESTART;
}

/* s->lock held.  @ready exceptions could be committed, and no copy is under way: are more to come? */
static bool wait_for_more(struct dm_snapshot *s, unsigned int ready)
{
	unsigned int hoped = s->batch_probe_in ? s->batch_expected : SNAP_BATCH_MAX;

	if (ready >= hoped)
		return false;
	if (s->batch_timing)
		return true;
	if (s->batch_over && (ready == s->batch_seen || ++s->batch_waits >= BATCH_WAITS_MAX))
		return false;
	s->batch_over = false;
	s->batch_seen = ready;
	s->batch_timing = true;
	hrtimer_start(&s->batch_timer, ns_to_ktime(BATCH_QUIET_NS), HRTIMER_MODE_REL);
	return true;
}

/* s->lock held: a commit of @nr begins */
static void note_batch(struct dm_snapshot *s, unsigned int nr)
{
	if (nr > s->batch_expected)
		s->batch_expected = nr;
	else if (s->batch_over)
		s->batch_expected -= DIV_ROUND_UP(s->batch_expected - nr, 8);
	if (s->batch_probe_in) {
		s->batch_probe_in--;
	} else {
		s->batch_probe_every = nr > 1 ? BATCH_PROBE_OFTEN :
				       min(2 * s->batch_probe_every, BATCH_PROBE_SELDOM);
		s->batch_probe_in = s->batch_probe_every;
	}
	if (s->batch_timing)
		hrtimer_try_to_cancel(&s->batch_timer);
	s->batch_timing = s->batch_over = false;
	s->batch_seen = s->batch_waits = 0;
}

/* the data of @pe are on the COW device, or never will be */
void snap_copied(struct snap_pending *pe)
{
	struct dm_snapshot *s = pe->s;
	unsigned long flags;

	spin_lock_irqsave(&s->lock, flags);
	pe->state = SNAP_PE_COPIED;
	s->nr_copying--;
	/* one call of the worker for all that end together */
	if (pe->read_error || pe->write_error || !s->valid || s->nr_order >= SNAP_BATCH_MAX ||
	    (!s->nr_copying && !s->commit_busy && !wait_for_more(s, s->nr_order)))
		snap_kick(s);
	if (wq_has_sleeper(&s->idle))
		wake_up(&s->idle);
	spin_unlock_irqrestore(&s->lock, flags);
}

/* ---- reads of the origin that are on their way ----------------------------------------------- */

static struct snap_tracked *tracked_bucket(struct dm_snapshot *s, u64 chunk)
{
	return &s->tracked[hash_64(chunk, ilog2(SNAP_TRACKED_BUCKETS))];
}

void snap_track(struct dm_snapshot *s, struct snap_bio *sb, u64 chunk)
{
	struct snap_tracked *b = tracked_bucket(s, chunk);
	unsigned long flags;

	sb->chunk = chunk;
	sb->flags |= SNAP_BIO_TRACKED;
	spin_lock_irqsave(&b->lock, flags);
	hlist_add_head(&sb->node, &b->head);
	spin_unlock_irqrestore(&b->lock, flags);
}

static void untrack(struct dm_snapshot *s, struct snap_bio *sb)
{
	struct snap_tracked *b = tracked_bucket(s, sb->chunk);
	unsigned long flags;
	bool waited;

	sb->flags &= ~SNAP_BIO_TRACKED;
	spin_lock_irqsave(&b->lock, flags);
	hlist_del(&sb->node);
	waited = b->waited;
	b->waited = false;
	spin_unlock_irqrestore(&b->lock, flags);
	if (!waited)
		return;
	spin_lock_irqsave(&s->lock, flags);
	s->recheck = true;
	snap_kick(s);
	spin_unlock_irqrestore(&s->lock, flags);
	if (s->merge)
		snap_merge_kick(s);
}

/* Is there one, now?  If so, the end of one in the same bucket will be told. */
bool snap_is_tracked(struct dm_snapshot *s, u64 chunk)
{
	struct snap_tracked *b = tracked_bucket(s, chunk);
	struct snap_bio *sb;
	unsigned long flags;
	bool found = false;

	spin_lock_irqsave(&b->lock, flags);
	hlist_for_each_entry(sb, &b->head, node) {
		if (sb->chunk == chunk) {
			b->waited = found = true;
			break;
		}
	}
	spin_unlock_irqrestore(&b->lock, flags);
	return found;
}

/* ---- pending exceptions ---------------------------------------------------------------------- */

static struct hlist_head *pending_bucket(struct dm_snapshot *s, u64 old)
{
	return &s->pending[hash_64(old, ilog2(SNAP_PENDING_BUCKETS))];
}

static struct snap_pending *find_pending(struct dm_snapshot *s, u64 old)
{
	struct snap_pending *pe;

	hlist_for_each_entry(pe, pending_bucket(s, old), hash)
		if (pe->old == old)
			return pe;
	return NULL;
}

static void init_pending(struct snap_pending *pe, struct dm_snapshot *s, u64 old, u64 new)
{
	pe->s = s;
	pe->old = old;
	pe->new = new;
	pe->state = SNAP_PE_COPYING;
	pe->read_error = pe->write_error = BLK_STS_OK;
	pe->for_merge = false;
	pe->full_bio = NULL;
	bio_list_init(&pe->origin_bios);
	bio_list_init(&pe->snapshot_bios);
	hlist_add_head(&pe->hash, pending_bucket(s, old));
	list_add_tail(&pe->order, &s->order);
	s->nr_order++;
	s->nr_pending++;
	s->nr_copying++;
}

static void wait_for_copies(struct dm_snapshot *s)
{
	if (unlikely(READ_ONCE(s->nr_copying) > snap_cow_threshold))
		wait_event(s->idle, READ_ONCE(s->nr_copying) <= snap_cow_threshold ||
				    !READ_ONCE(s->valid));
}

/* ---- the end of validity --------------------------------------------------------------------- */

/*
 * @broken: the COW device cannot be trusted with another write.  Else (it is full) what is pending is still
 * copied and committed before the mark, as much of the snapshot as there can be.
 */
static void invalidate_locked(struct dm_snapshot *s, const char *why, bool broken)
{
	lockdep_assert_held(&s->lock);
	if (broken && !s->broken) {
		s->broken = true;
		snap_kick(s);
	}
	if (!s->valid)
		return;
	DMERR("Invalidating snapshot: %s.", why);
	/* whoever sees that it is not valid any more, and takes no lock, must see the mark on its way */
	WRITE_ONCE(s->marking, true);
	s->mark_start = true;
	smp_wmb();
	WRITE_ONCE(s->valid, false);
	s->mark_tries = 0;
	snap_kick(s);
}

void snap_invalidate(struct dm_snapshot *s, const char *why)
{
	unsigned long flags;

	spin_lock_irqsave(&s->lock, flags);
	invalidate_locked(s, why, true);
	spin_unlock_irqrestore(&s->lock, flags);
}

/* ---- discards -------------------------------------------------------------------------------- */

static void discard_end_io(struct bio *part)
{
	struct bio *bio = part->bi_private;

	bio->bi_status = part->bi_status;
	bio_put(part);
	bio_endio(bio);
}

/* one chunk, or a part of it: *@part becomes the last of a chain of bios */
static int discard_part(struct dm_snapshot *s, sector_t sector, sector_t nr, struct bio **part)
{
	sector_t within = sector & (s->chunk_sectors - 1);
	u64 new;

	if (!snap_tree_lookup(&s->tree, snap_chunk(s, sector), &new, NULL))
		return 0;
	sector = snap_sector(s, new) + within;
	if (nr == s->chunk_sectors)
		return __blkdev_issue_zeroout(s->cow->bdev, sector, nr, GFP_NOIO, part, 0);
	__blkdev_issue_discard(s->cow->bdev, sector, nr, GFP_NOIO, part);
	return 0;
}

/*
 * Only with discard_zeroes_cow.  What has no exception stays as it is.  A whole chunk is overwritten with
 * zeroes on the COW device (by the device itself if it can); a part of one is discarded there.  The range
 * need not be aligned, and each chunk in it lies elsewhere.
 */
static void discard(struct dm_snapshot *s, struct bio *bio)
{
	sector_t sector = bio->bi_iter.bi_sector, end = bio_end_sector(bio), nr;
	struct bio *part = NULL;
	int r = 0;

	for (; !r && sector < end; sector += nr) {
		nr = min_t(sector_t, s->chunk_sectors - (sector & (s->chunk_sectors - 1)), end - sector);
		r = discard_part(s, sector, nr, &part);
	}
	if (r)
		bio->bi_status = errno_to_blk_status(r);
	if (!part) {
		bio_endio(bio);
		return;
	}
	if (r)
		part->bi_status = bio->bi_status;
	part->bi_private = bio;
	part->bi_end_io = discard_end_io;
	submit_bio_noacct(part);
}

static void discard_work(struct work_struct *work)
{
	struct dm_snapshot *s = container_of(work, struct dm_snapshot, discard_work);
	struct bio_list bios;
	struct bio *bio;

	spin_lock_irq(&s->lock);
	bios = s->discards;
	bio_list_init(&s->discards);
	spin_unlock_irq(&s->lock);
	while ((bio = bio_list_pop(&bios)))
		discard(s, bio);
}

static int map_discard(struct dm_snapshot *s, struct bio *bio)
{
	u64 chunk = snap_chunk(s, bio->bi_iter.bi_sector), last = snap_chunk(s, bio_end_sector(bio) - 1), new;
	unsigned long flags;

	if (dm_bio_get_target_bio_nr(bio) == 1) {
		/* the second of two, with discard_passdown_origin */
		bio_set_dev(bio, s->origin->bdev);
		return DM_MAPIO_REMAPPED;
	}
	while (chunk <= last && !snap_tree_lookup(&s->tree, chunk, &new, NULL))
		chunk++;
	if (chunk > last) {
		bio_endio(bio);
		return DM_MAPIO_SUBMITTED;
	}
	/* it takes bios of its own, which must not be waited for below a map function */
	spin_lock_irqsave(&s->lock, flags);
	bio_list_add(&s->discards, bio);
	spin_unlock_irqrestore(&s->lock, flags);
	queue_work(s->o->wq, &s->discard_work);
	return DM_MAPIO_SUBMITTED;
}

/* ---- mapping: the snapshot ------------------------------------------------------------------- */

static int map_read_miss(struct dm_snapshot *s, struct bio *bio, struct snap_bio *sb, u64 chunk,
			 unsigned int seq)
{
	u64 new;

	/*
	 * First known to be on its way, then looked up again if the table has changed: whoever puts the
	 * exception in either sees this read, or is seen by it.
	 */
	snap_track(s, sb, chunk);
	smp_mb();
	if (unlikely(read_seqcount_retry(&s->tree.seq, seq)) &&
	    snap_tree_lookup(&s->tree, chunk, &new, NULL)) {
		untrack(s, sb);
		snap_remap_cow(s, bio, new);
	} else {
		bio_set_dev(bio, s->origin->bdev);
	}
	return DM_MAPIO_REMAPPED;
}

/* no space for what a snapshot write needs; s->lock held */
static int snapshot_write_no_space(struct dm_snapshot *s, struct bio *bio)
{
	if (s->store->overflow) {
		if (!s->overflowed) {
			WRITE_ONCE(s->overflowed, true);
			DMERR("Snapshot overflowed: Unable to allocate exception.");
			s->event = true;
			snap_kick(s);
		}
		return DM_MAPIO_KILL;
	}
	invalidate_locked(s, "Unable to allocate exception", false);
	bio_list_add(&s->fail_bios, bio);
	return DM_MAPIO_SUBMITTED;
}

static bool is_whole_chunk(struct dm_snapshot *s, struct bio *bio)
{
	return bio_sectors(bio) == s->chunk_sectors &&
	       !(bio->bi_iter.bi_sector & (s->chunk_sectors - 1));
}

/* s->lock held; *@spare is a new pending exception, NULL afterwards if it was used */
static int map_write_locked(struct dm_snapshot *s, struct bio *bio, u64 chunk,
			    struct snap_pending **spare)
{
	struct snap_bio *sb = dm_per_bio_data(bio, sizeof(*sb));
	struct snap_pending *pe;
	u64 new;

	if (!s->valid) {
		if (!s->marking)
			return DM_MAPIO_KILL;
		bio_list_add(&s->fail_bios, bio);
		return DM_MAPIO_SUBMITTED;
	}
	pe = find_pending(s, chunk);
	if (pe) {
		bio_list_add(&pe->snapshot_bios, bio);
		return DM_MAPIO_SUBMITTED;
	}
	if (snap_tree_lookup(&s->tree, chunk, &new, NULL)) {
		snap_remap_cow(s, bio, new);
		return DM_MAPIO_REMAPPED;
	}
	if (s->overflowed)
		return DM_MAPIO_KILL;
	if (s->store->ops->alloc(s->store, s->nr_order, &new))
		return snapshot_write_no_space(s, bio);
	pe = *spare;
	*spare = NULL;
	init_pending(pe, s, chunk, new);
	if (is_whole_chunk(s, bio)) {
		pe->full_bio = bio;
		sb->pe = pe;
		sb->flags |= SNAP_BIO_FULL;
		snap_remap_cow(s, bio, new);
		return DM_MAPIO_REMAPPED;
	}
	bio_list_add(&pe->snapshot_bios, bio);
	list_add_tail(&pe->link, &s->starts);
	return DM_MAPIO_SUBMITTED;
}

static int map_write_miss(struct dm_snapshot *s, struct bio *bio, u64 chunk)
{
	struct snap_pending *spare;
	unsigned long flags;
	bool starts;
	int r;

	wait_for_copies(s);
	spare = mempool_alloc(&s->pending_pool, GFP_NOIO);
	spin_lock_irqsave(&s->lock, flags);
	r = map_write_locked(s, bio, chunk, &spare);
	starts = !list_empty(&s->starts);
	spin_unlock_irqrestore(&s->lock, flags);
	if (spare)
		mempool_free(spare, &s->pending_pool);
	if (starts)
		snap_copy_starts(s);
	return r;
}

int snap_map(struct dm_target *ti, struct bio *bio)
{
	struct dm_snapshot *s = ti->private;
	struct snap_bio *sb = dm_per_bio_data(bio, sizeof(*sb));
	unsigned int seq;
	u64 chunk, new;

	sb->flags = 0;
	if (bio->bi_opf & REQ_PREFLUSH) {
		bio_set_dev(bio, s->cow->bdev);
		return DM_MAPIO_REMAPPED;
	}
	if (unlikely(!READ_ONCE(s->valid)))
		return DM_MAPIO_KILL;
	if (unlikely(bio_op(bio) == REQ_OP_DISCARD))
		return map_discard(s, bio);
	chunk = snap_chunk(s, bio->bi_iter.bi_sector);
	seq = raw_read_seqcount(&s->tree.seq);
	smp_rmb();
	if (snap_tree_lookup(&s->tree, chunk, &new, NULL)) {
		snap_remap_cow(s, bio, new);
		return DM_MAPIO_REMAPPED;
	}
	if (bio_data_dir(bio) == READ)
		return map_read_miss(s, bio, sb, chunk, seq);
	return map_write_miss(s, bio, chunk);
}

int snap_end_io(struct dm_target *ti, struct bio *bio, blk_status_t *error)
{
	struct dm_snapshot *s = ti->private;
	struct snap_bio *sb = dm_per_bio_data(bio, sizeof(*sb));

	if (likely(!sb->flags))
		return DM_ENDIO_DONE;
	if (sb->flags & SNAP_BIO_TRACKED) {
		/* a snapshot that has become invalid no longer keeps writers of the origin away */
		if (!s->is_merge && unlikely(!READ_ONCE(s->valid)))
			*error = BLK_STS_IOERR;
		untrack(s, sb);
	}
	if (!(sb->flags & SNAP_BIO_FULL))
		return DM_ENDIO_DONE;
	/* its data are written; it ends when the exception is durable */
	sb->flags &= ~SNAP_BIO_FULL;
	sb->pe->write_error = *error;
	snap_copied(sb->pe);
	return DM_ENDIO_INCOMPLETE;
}

/* ends a bio that snap_end_io() may have kept */
static void end_kept_bio(struct bio *bio, blk_status_t status)
{
	/* the first completion has accounted for these */
	bio_clear_flag(bio, BIO_QOS_THROTTLED);
	bio_clear_flag(bio, BIO_QOS_MERGED);
	bio->bi_status = status;
	bio_endio(bio);
}

/* ---- mapping: the origin --------------------------------------------------------------------- */

/*
 * What one snapshot wants of an origin write (or of a part of the origin that a merge will overwrite, then
 * @bio is NULL).  Return: 0 nothing; 1 it must wait: @bio is attached to the first of all that it waits for.
 */
static int origin_locked(struct dm_snapshot *s, struct bio *bio, u64 chunk,
			 struct snap_pending **spare, bool *taken)
{
	struct snap_pending *pe;
	u64 new;

	if (!s->valid) {
		if (!s->marking)
			return 0;
		if (bio && !*taken)
			bio_list_add(&s->mark_bios, bio);
		*taken = true;
		return 1;
	}
	pe = find_pending(s, chunk);
	if (!pe) {
		if (snap_tree_lookup(&s->tree, chunk, &new, NULL))
			return 0;
		if (s->store->ops->alloc(s->store, s->nr_order, &new)) {
			invalidate_locked(s, "Unable to allocate exception", false);
			if (bio && !*taken)
				bio_list_add(&s->mark_bios, bio);
			*taken = true;
			return 1;
		}
		pe = *spare;
		*spare = NULL;
		init_pending(pe, s, chunk, new);
		list_add_tail(&pe->link, &s->starts);
	}
	if (!bio)
		pe->for_merge = true;
	else if (!*taken)
		bio_list_add(&pe->origin_bios, bio);
	*taken = true;
	return 1;
}

static int origin_one(struct dm_snapshot *s, struct bio *bio, u64 chunk, gfp_t gfp, bool *taken)
{
	struct snap_pending *spare;
	unsigned long flags;
	u64 new;
	int r;

	if (READ_ONCE(s->valid) && snap_tree_lookup(&s->tree, chunk, &new, NULL)) {
		/* in the table, but are reads of the origin still on their way?  The count goes up first. */
		smp_rmb();
		if (likely(!READ_ONCE(s->nr_finishing)))
			return 0;
	}
	if (unlikely(READ_ONCE(s->nr_copying) > snap_cow_threshold) && !*taken &&
	    (gfp & __GFP_DIRECT_RECLAIM))
		return -EAGAIN;
	spare = mempool_alloc(&s->pending_pool, gfp);
	if (!spare)
		return -ENOMEM;
	spin_lock_irqsave(&s->lock, flags);
	r = origin_locked(s, bio, chunk, &spare, taken);
	spin_unlock_irqrestore(&s->lock, flags);
	if (spare)
		mempool_free(spare, &s->pending_pool);
	return r;
}

/*
 * o->sem is held for reading.  *@taken: the bio waits now for one of the exceptions that were begun, and
 * will be looked at again when that one is there.
 * Return: 0; -ENOMEM if @gfp may not sleep; -EAGAIN if it may, and a snapshot has enough copies under way.
 */
static int origin_all(struct snap_origin *o, struct dm_snapshot *except, struct bio *bio,
		      sector_t sector, gfp_t gfp, bool *taken)
{
	/* the bio may be gone as soon as it is attached to something */
	sector_t last = bio ? bio_end_sector(bio) - 1 : sector;
	struct dm_snapshot *s;
	u64 chunk, end;
	int r;

	list_for_each_entry(s, &o->snapshots, list) {
		if (s == except || !READ_ONCE(s->active) || s->is_merge || sector >= s->len)
			continue;
		if (!READ_ONCE(s->valid)) {
			smp_rmb();
			if (!READ_ONCE(s->marking))
				continue;
		}
		/* more than one only if a snapshot with smaller chunks has just been resumed */
		end = snap_chunk(s, min(last, s->len - 1));
		for (chunk = snap_chunk(s, sector); chunk <= end; chunk++) {
			r = origin_one(s, bio, chunk, gfp, taken);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

/*
 * Begin the copies that origin_all() has put on the lists; o->sem is held.  Below a map function bios are
 * only queued by submit_bio(), so that it can be done at once; elsewhere they would run into the maps of
 * lower devices under our lock, so each snapshot's worker does it.
 */
static void origin_starts(struct snap_origin *o)
{
	struct dm_snapshot *s;

	list_for_each_entry(s, &o->snapshots, list) {
		if (list_empty_careful(&s->starts))
			continue;
		if (current->bio_list)
			snap_copy_starts(s);
		else
			kick(s);
	}
}

/* origin_all() where sleeping is allowed; *@taken as there */
static void origin_wait(struct snap_origin *o, struct dm_snapshot *except, struct bio *bio,
			sector_t sector, bool *taken)
{
	for (;;) {
		int generation = atomic_read(&o->generation), r;

		percpu_down_read(&o->sem);
		r = origin_all(o, except, bio, sector, GFP_NOIO, taken);
		if (unlikely(*taken))
			origin_starts(o);
		percpu_up_read(&o->sem);
		if (likely(r != -EAGAIN))
			return;
		/* more copies are under way than snapshot_cow_threshold: until one of them has ended */
		wait_event_timeout(o->wait, atomic_read(&o->generation) != generation, HZ / 10);
	}
}

int snap_origin_write(struct snap_origin *o, struct bio *bio)
{
	sector_t min_chunk = READ_ONCE(o->min_chunk), room;
	bool taken = false;

	if (min_chunk) {
		room = min_chunk - (bio->bi_iter.bi_sector & (min_chunk - 1));
		if (bio_sectors(bio) > room)
			dm_accept_partial_bio(bio, room);
	}
	origin_wait(o, NULL, bio, bio->bi_iter.bi_sector, &taken);
	return taken ? DM_MAPIO_SUBMITTED : DM_MAPIO_REMAPPED;
}

/*
 * An exception that an origin write waited for is there (or its snapshot is invalid, and that is durable).
 * Usually the write goes on at once; if other snapshots want something first that cannot be had without
 * sleeping, it is left to the origin's own worker.
 */
static void origin_again(struct snap_origin *o, struct bio *bio)
{
	unsigned long flags;
	bool taken = false;

	if (percpu_down_read_trylock(&o->sem)) {
		int r = origin_all(o, NULL, bio, bio->bi_iter.bi_sector, GFP_NOWAIT, &taken);

		if (taken)
			origin_starts(o);
		percpu_up_read(&o->sem);
		if (taken)
			return;
		if (!r) {
			submit_bio_noacct(bio);
			return;
		}
	}
	spin_lock_irqsave(&o->retry_lock, flags);
	bio_list_add(&o->retry_bios, bio);
	spin_unlock_irqrestore(&o->retry_lock, flags);
	queue_work(o->wq, &o->retry);
}

void snap_origin_submit(struct snap_origin *o, struct bio *bio)
{
	bool taken = false;

	origin_wait(o, NULL, bio, bio->bi_iter.bi_sector, &taken);
	if (!taken)
		submit_bio_noacct(bio);
}

void snap_origin_retry(struct work_struct *work)
{
	struct snap_origin *o = container_of(work, struct snap_origin, retry);
	struct bio_list bios;
	struct bio *bio;

	spin_lock_irq(&o->retry_lock);
	bios = o->retry_bios;
	bio_list_init(&o->retry_bios);
	spin_unlock_irq(&o->retry_lock);
	while ((bio = bio_list_pop(&bios)))
		snap_origin_submit(o, bio);
}

void snap_origin_extent(struct snap_origin *o, struct dm_snapshot *except, sector_t start, sector_t nr)
{
	sector_t sector, step;

	for (sector = start; sector < start + nr; sector += step) {
		sector_t min_chunk = READ_ONCE(o->min_chunk);

		step = min_chunk ? min_chunk - (sector & (min_chunk - 1)) : nr;
		for (;;) {
			int generation = atomic_read(&o->generation);
			bool taken = false;

			origin_wait(o, except, NULL, sector, &taken);
			if (!taken)
				break;
			wait_event(o->wait, atomic_read(&o->generation) != generation);
		}
	}
}

/* ---- the worker ------------------------------------------------------------------------------ */

/* What one round of the worker has to do when no lock is held. */
struct snap_todo {
	struct dm_snapshot *s;
	struct bio_list cow, origin, fail, full;
	struct list_head free;
	bool ended;
};

static void todo_init(struct snap_todo *t, struct dm_snapshot *s)
{
	t->s = s;
	bio_list_init(&t->cow);
	bio_list_init(&t->origin);
	bio_list_init(&t->fail);
	bio_list_init(&t->full);
	INIT_LIST_HEAD(&t->free);
	t->ended = false;
}

static void todo_run(struct snap_todo *t)
{
	struct dm_snapshot *s = t->s;
	struct snap_origin *o = s->o;
	struct snap_pending *pe, *next;
	unsigned int freed = 0;
	struct bio *bio;

	while ((bio = bio_list_pop(&t->full)))
		end_kept_bio(bio, bio->bi_status);
	while ((bio = bio_list_pop(&t->fail)))
		end_kept_bio(bio, BLK_STS_IOERR);
	while ((bio = bio_list_pop(&t->cow)))
		submit_bio_noacct(bio);
	while ((bio = bio_list_pop(&t->origin)))
		origin_again(o, bio);
	list_for_each_entry_safe(pe, next, &t->free, order) {
		mempool_free(pe, &s->pending_pool);
		freed++;
	}
	if (freed) {
		spin_lock_irq(&s->lock);
		s->nr_pending -= freed;
		spin_unlock_irq(&s->lock);
	}
	if (t->ended) {
		atomic_inc(&o->generation);
		wake_up_all(&o->wait);
	}
}

/* s->lock held.  @pe has ended and leaves all lists. */
static void release_pending(struct dm_snapshot *s, struct snap_pending *pe, struct snap_todo *t)
{
	bool failed = pe->read_error || pe->write_error || !s->valid;
	struct bio *bio;

	hlist_del(&pe->hash);
	list_move_tail(&pe->order, &t->free);
	t->ended = true;
	if (pe->full_bio) {
		pe->full_bio->bi_status = failed ? BLK_STS_IOERR : BLK_STS_OK;
		if (failed && s->marking)
			bio_list_add(&s->fail_bios, pe->full_bio);
		else
			bio_list_add(&t->full, pe->full_bio);
	}
	while ((bio = bio_list_pop(&pe->snapshot_bios))) {
		if (!failed) {
			snap_remap_cow(s, bio, pe->new);
			bio_list_add(&t->cow, bio);
		} else if (s->marking) {
			bio_list_add(&s->fail_bios, bio);
		} else {
			bio_list_add(&t->fail, bio);
		}
	}
	if (s->marking)
		bio_list_merge(&s->mark_bios, &pe->origin_bios);
	else if (failed && s->valid && s->fail_origin_write)
		bio_list_merge(&t->fail, &pe->origin_bios);
	else
		bio_list_merge(&t->origin, &pe->origin_bios);
	bio_list_init(&pe->origin_bios);
}

/* A copy that failed: whom does it cost what?  s->lock held. */
static void judge_failure(struct dm_snapshot *s, struct snap_pending *pe)
{
	if (pe->write_error)
		invalidate_locked(s, "Error writing exception data to the COW device", true);
	else if (pe->for_merge || (!bio_list_empty(&pe->origin_bios) && !s->fail_origin_write))
		invalidate_locked(s, "Error reading the origin for an exception", false);
	else
		DMERR_LIMIT("Error reading the origin: exception for chunk %llu not made",
			    (unsigned long long)pe->old);
}

int snap_reserve_nodes(struct dm_snapshot *s, unsigned int ops)
{
	for (;;) {
		struct snap_tree_node *n;
		unsigned int noio;

		spin_lock_irq(&s->lock);
		if (!snap_tree_needs(&s->tree, ops)) {
			spin_unlock_irq(&s->lock);
			return 0;
		}
		spin_unlock_irq(&s->lock);
		noio = memalloc_noio_save();
		n = snap_tree_node_alloc(GFP_NOIO | __GFP_NOWARN);
		if (!n)
			n = snap_tree_node_alloc(GFP_NOIO | __GFP_MEMALLOC | __GFP_NOWARN);
		memalloc_noio_restore(noio);
		if (!n)
			return -ENOMEM;
		spin_lock_irq(&s->lock);
		snap_tree_give(&s->tree, n);
		spin_unlock_irq(&s->lock);
	}
}

#define FINISH_AT_ONCE 8

/* s->lock held: what was committed becomes visible */
static void finish_some(struct dm_snapshot *s, struct list_head *committed, int memory,
			struct snap_todo *t)
{
	unsigned int i;

	for (i = 0; i < FINISH_AT_ONCE && !list_empty(committed); i++) {
		struct snap_pending *pe = list_first_entry(committed, struct snap_pending, order);

		if (s->valid) {
			/* before it can be found in the table: see origin_one() */
			WRITE_ONCE(s->nr_finishing, s->nr_finishing + 1);
			smp_wmb();
			if (memory || snap_tree_insert(&s->tree, pe->old, pe->new)) {
				WRITE_ONCE(s->nr_finishing, s->nr_finishing - 1);
				invalidate_locked(s, "No memory for an exception", false);
			} else if (snap_is_tracked(s, pe->old)) {
				pe->state = SNAP_PE_COMMITTED;
				list_move_tail(&pe->order, &s->blocked);
				continue;
			} else {
				WRITE_ONCE(s->nr_finishing, s->nr_finishing - 1);
			}
		}
		release_pending(s, pe, t);
	}
}

static void work_finish(struct dm_snapshot *s, struct list_head *committed, struct snap_todo *t)
{
	while (!list_empty(committed)) {
		int memory = snap_reserve_nodes(s, FINISH_AT_ONCE);

		spin_lock_irq(&s->lock);
		finish_some(s, committed, memory, t);
		spin_unlock_irq(&s->lock);
	}
}

/* s->lock held: those whose reads have ended go on */
static void work_blocked(struct dm_snapshot *s, struct snap_todo *t)
{
	struct snap_pending *pe, *next;

	list_for_each_entry_safe(pe, next, &s->blocked, order) {
		if (snap_is_tracked(s, pe->old))
			continue;
		WRITE_ONCE(s->nr_finishing, s->nr_finishing - 1);
		release_pending(s, pe, t);
	}
}

/*
 * The next commit: as many of the oldest as have their data.  It waits while copies are under way, so that
 * one flush serves all of them, but not for ever: SNAP_BATCH_MAX that are ready, or a full area, are enough.
 * s->lock held.  Return: there is something to be written.
 */
static bool gather_commit(struct dm_snapshot *s, struct snap_todo *t)
{
	struct snap_pending *pe, *next;
	unsigned int nr = 0, ready = 0, enough;

	if (s->commit_busy)
		return false;
	list_for_each_entry(pe, &s->order, order) {
		if (pe->state != SNAP_PE_COPIED)
			break;
		ready++;
	}
	enough = min_t(u64, SNAP_BATCH_MAX, s->store->ops->room(s->store));
	if (!ready || (s->nr_copying && ready < enough && !s->broken &&
		       !list_first_entry(&s->order, struct snap_pending, order)->read_error))
		return false;
	if (ready < enough && s->valid && wait_for_more(s, ready))
		return false;
	list_for_each_entry_safe(pe, next, &s->order, order) {
		if (!ready--)
			break;
		if (pe->read_error || pe->write_error) {
			judge_failure(s, pe);
			s->store->ops->unalloc(s->store, pe->new);
			s->nr_order--;
			release_pending(s, pe, t);
			continue;
		}
		if (s->broken) {
			s->nr_order--;
			release_pending(s, pe, t);
			continue;
		}
		if (nr == SNAP_BATCH_MAX || !s->store->ops->add(s->store, pe->old, pe->new))
			break;
		s->nr_order--;
		list_move_tail(&pe->order, &s->committing);
		nr++;
	}
	if (nr)
		note_batch(s, nr);
	s->commit_busy = nr != 0;
	return nr != 0;
}

/* s->lock held; a failed mark is tried again, but production I/O does not wait for ever */
static void work_mark(struct dm_snapshot *s, struct snap_todo *t)
{
	if (s->mark_error && ++s->mark_tries < MARK_TRIES) {
		DMERR("Could not write the invalid mark, attempt %u of %u", s->mark_tries, MARK_TRIES);
		s->event = true;
		mod_delayed_work(s->wq, &s->delayed, msecs_to_jiffies(MARK_RETRY_MS << s->mark_tries));
		s->mark_start = true;
		return;
	}
	if (s->mark_error)
		DMERR("Could not write the invalid mark: after a restart the snapshot would seem valid");
	WRITE_ONCE(s->marking, false);
	s->event = true;
	t->ended = true;
	bio_list_merge(&t->origin, &s->mark_bios);
	bio_list_init(&s->mark_bios);
	bio_list_merge(&t->fail, &s->fail_bios);
	bio_list_init(&s->fail_bios);
	wake_up(&s->idle);
}

struct snap_round {
	struct list_head read, written, committed;
	bool commit, mark, step, starts, event;
};

/* s->lock held: what is there to do */
static void work_collect(struct dm_snapshot *s, struct snap_round *w, struct snap_todo *t)
{
	list_splice_tail_init(&s->read_done, &w->read);
	list_splice_tail_init(&s->written, &w->written);
	w->step = s->store_step;
	s->store_step = false;
	if (s->commit_done) {
		s->commit_done = s->commit_busy = false;
		if (s->commit_error)
			invalidate_locked(s, "Error writing exceptions to the COW device", true);
		list_splice_tail_init(&s->committing, &w->committed);
	}
	if (s->mark_done) {
		s->mark_done = false;
		work_mark(s, t);
	}
	if (s->recheck) {
		s->recheck = false;
		work_blocked(s, t);
	}
	w->starts = !list_empty(&s->starts);
}

/* s->lock held: the mark waits for what can still be committed */
static bool begin_mark(struct dm_snapshot *s)
{
	if (!s->mark_start || s->commit_busy || (s->nr_order && !s->broken) ||
	    delayed_work_pending(&s->delayed))
		return false;
	s->mark_start = false;
	return true;
}

static void work_round(struct dm_snapshot *s)
{
	struct snap_round w = {};
	struct snap_todo t;

	INIT_LIST_HEAD(&w.read);
	INIT_LIST_HEAD(&w.written);
	INIT_LIST_HEAD(&w.committed);
	todo_init(&t, s);
	spin_lock_irq(&s->lock);
	work_collect(s, &w, &t);
	spin_unlock_irq(&s->lock);

	snap_copy_continue(s, &w.read, &w.written);
	if (w.starts)
		snap_copy_starts(s);
	if (w.step)
		s->store->ops->step(s->store);
	work_finish(s, &w.committed, &t);

	spin_lock_irq(&s->lock);
	w.commit = gather_commit(s, &t);
	w.mark = begin_mark(s);
	w.event = s->event;
	s->event = false;
	spin_unlock_irq(&s->lock);
	if (w.commit)
		s->store->ops->commit(s->store);
	if (w.mark)
		s->store->ops->mark(s->store);
	todo_run(&t);
	if (w.event)
		dm_table_event(s->ti->table);
}

static void snap_work(struct work_struct *work)
{
	struct dm_snapshot *s = container_of(work, struct dm_snapshot, work);
	bool again;

	do {
		work_round(s);
		spin_lock_irq(&s->lock);
		again = s->worker_again;
		s->worker_again = false;
		if (!again) {
			s->worker_busy = false;
			wake_up(&s->idle);
		}
		spin_unlock_irq(&s->lock);
		cond_resched();
	} while (again);
}

/* ---- beginning and end ----------------------------------------------------------------------- */

static bool is_idle(struct dm_snapshot *s)
{
	bool idle;

	spin_lock_irq(&s->lock);
	idle = !s->nr_pending && !s->commit_busy && !s->marking && !s->worker_busy;
	spin_unlock_irq(&s->lock);
	return idle;
}

void snap_io_drain(struct dm_snapshot *s)
{
	wait_event(s->idle, is_idle(s));
}

int snap_io_init(struct dm_snapshot *s)
{
	unsigned int i;
	int r;

	spin_lock_init(&s->lock);
	for (i = 0; i < SNAP_PENDING_BUCKETS; i++)
		INIT_HLIST_HEAD(&s->pending[i]);
	for (i = 0; i < SNAP_TRACKED_BUCKETS; i++) {
		spin_lock_init(&s->tracked[i].lock);
		INIT_HLIST_HEAD(&s->tracked[i].head);
	}
	INIT_LIST_HEAD(&s->order);
	INIT_LIST_HEAD(&s->starts);
	INIT_LIST_HEAD(&s->read_done);
	INIT_LIST_HEAD(&s->written);
	INIT_LIST_HEAD(&s->committing);
	INIT_LIST_HEAD(&s->blocked);
	INIT_LIST_HEAD(&s->copies);
	bio_list_init(&s->mark_bios);
	bio_list_init(&s->fail_bios);
	bio_list_init(&s->discards);
	INIT_WORK(&s->discard_work, discard_work);
	INIT_WORK(&s->work, snap_work);
	INIT_DELAYED_WORK(&s->delayed, snap_delayed);
	init_waitqueue_head(&s->idle);
	snap_tree_init(&s->tree);
	s->throttle_until = jiffies;
	s->batch_expected = 1;
	s->batch_probe_every = BATCH_PROBE_OFTEN;
	hrtimer_setup(&s->batch_timer, batch_ring, CLOCK_MONOTONIC, HRTIMER_MODE_REL);

	r = mempool_init_slab_pool(&s->pending_pool, SNAP_PENDING_POOL, pending_cache);
	if (r)
		return r;
	s->wq = alloc_workqueue("dm-snapshot", WQ_MEM_RECLAIM | WQ_PERCPU, 1);
	if (!s->wq) {
		mempool_exit(&s->pending_pool);
		return -ENOMEM;
	}
	return 0;
}

void snap_io_exit(struct dm_snapshot *s)
{
	cancel_work_sync(&s->discard_work);
	snap_io_drain(s);
	cancel_delayed_work_sync(&s->delayed);
	hrtimer_cancel(&s->batch_timer);
	destroy_workqueue(s->wq);
	snap_copy_exit(s);
	mempool_exit(&s->pending_pool);
	snap_tree_destroy(&s->tree);
}
