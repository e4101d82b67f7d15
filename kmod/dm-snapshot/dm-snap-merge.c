// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Merge: the exceptions go back to the origin, the last ones of the store first.
 *
 * One step: writes to its chunks are held back, those under way have ended, other snapshots have their
 * copies; COW device -> origin; flush of the origin; entries cleared durably; then the exceptions leave the
 * table and the held writes go on.  After a crash anywhere the step is done again, with the same outcome.
 */
#include "dm-snap.h"

#include <linux/completion.h>
#include <linux/slab.h>

#define PIECES 4
#define PIECE_ORDER_MAX 6u		/* 256 KiB */

struct merge_piece {
	struct page *page;
	unsigned int order;
	u32 sectors;
	sector_t offset;
	struct bio bio;
	struct bio_vec vec;
	struct completion done;
};

struct snap_merge {
	struct dm_snapshot *s;
	struct workqueue_struct *wq;
	struct work_struct work;
	wait_queue_head_t wait;
	/* under s->lock */
	bool stop, failed, told;
	u64 first;			/* old_chunks of this step */
	u32 nr;
	struct bio_list held;
	struct merge_piece pieces[PIECES];
};

bool snap_merge_failed(struct dm_snapshot *s)
{
	return READ_ONCE(s->merge->failed);
}

void snap_merge_kick(struct dm_snapshot *s)
{
	wake_up(&s->merge->wait);
}

/* ---- copy ------------------------------------------------------------------------------------ */

static void piece_end_io(struct bio *bio)
{
	complete(bio->bi_private);
}

static void piece_submit(struct merge_piece *p, struct block_device *bdev, sector_t sector, blk_opf_t opf)
{
	init_completion(&p->done);
	bio_init(&p->bio, bdev, &p->vec, 1, opf);
	p->bio.bi_iter.bi_sector = sector;
	__bio_add_page(&p->bio, p->page, p->sectors << SECTOR_SHIFT, 0);
	p->bio.bi_private = &p->done;
	p->bio.bi_end_io = piece_end_io;
	submit_bio_noacct(&p->bio);
}

static int piece_wait(struct merge_piece *p)
{
	int r;

	wait_for_completion_io(&p->done);
	r = blk_status_to_errno(p->bio.bi_status);
	bio_uninit(&p->bio);
	return r;
}

/* @from on the COW device, @to on the origin; all pieces are read together, and then written together */
static int copy_round(struct snap_merge *m, sector_t from, sector_t to, sector_t *done, sector_t total)
{
	struct dm_snapshot *s = m->s;
	unsigned int i, nr = 0, written = 0;
	int r = 0, error;

	for (; nr < PIECES && *done < total; nr++) {
		struct merge_piece *p = &m->pieces[nr];

		p->sectors = min_t(sector_t, total - *done, 1u << (p->order + PAGE_SHIFT - SECTOR_SHIFT));
		p->offset = *done;
		*done += p->sectors;
		piece_submit(p, s->cow->bdev, from + p->offset, REQ_OP_READ);
	}
	for (i = 0; i < nr; i++) {
		error = piece_wait(&m->pieces[i]);
		if (error && !r) {
			DMERR("Read error in merge: shutting down merge");
			r = error;
		}
	}
	for (; !r && written < nr; written++)
		piece_submit(&m->pieces[written], s->origin->bdev, to + m->pieces[written].offset,
			     REQ_OP_WRITE);
	for (i = 0; i < written; i++) {
		error = piece_wait(&m->pieces[i]);
		if (error && !r) {
			DMERR("Write error in merge: shutting down merge");
			r = error;
		}
	}
	return r;
}

static int copy_step(struct snap_merge *m, u64 old, u64 new, sector_t sectors)
{
	struct dm_snapshot *s = m->s;
	sector_t done = 0;
	int r = 0;

	while (!r && done < sectors)
		r = copy_round(m, snap_sector(s, new), snap_sector(s, old), &done, sectors);
	if (r)
		return r;
	r = blkdev_issue_flush(s->origin->bdev);
	if (r)
		DMERR("Flush error in merge: shutting down merge");
	return r;
}

/* ---- one step -------------------------------------------------------------------------------- */

static bool writes_under_way(struct dm_snapshot *s, u64 first, u32 nr)
{
	u32 i;

	for (i = 0; i < nr; i++)
		if (snap_is_tracked(s, first + i))
			return true;
	return false;
}

static void set_range(struct snap_merge *m, u64 first, u32 nr)
{
	spin_lock_irq(&m->s->lock);
	m->first = first;
	m->nr = nr;
	spin_unlock_irq(&m->s->lock);
}

/* the range is free again: what was held goes on, or fails */
static void release_range(struct snap_merge *m, bool failed)
{
	struct dm_snapshot *s = m->s;
	struct bio_list held;
	struct bio *bio;

	spin_lock_irq(&s->lock);
	m->nr = 0;
	held = m->held;
	bio_list_init(&m->held);
	spin_unlock_irq(&s->lock);
	while ((bio = bio_list_pop(&held))) {
		if (failed) {
			bio_io_error(bio);
		} else {
			bio_set_dev(bio, s->origin->bdev);
			snap_origin_submit(s->o, bio);
		}
	}
}

/* Their entries are gone: this must not fail, a write to the COW device would be lost. */
static void forget(struct dm_snapshot *s, u64 first, u32 nr)
{
	while (nr--) {
		while (snap_reserve_nodes(s, 1))
			schedule_timeout_uninterruptible(HZ / 10);
		spin_lock_irq(&s->lock);
		snap_tree_remove(&s->tree, first + nr);
		spin_unlock_irq(&s->lock);
	}
}

/* chunks that end with old and new */
static int merge_step(struct snap_merge *m, u64 last_old, u64 last_new, u32 nr)
{
	struct dm_snapshot *s = m->s;
	u64 old = last_old - (nr - 1), new = last_new - (nr - 1);
	sector_t start = snap_sector(s, old), size = bdev_nr_sectors(s->origin->bdev), sectors;
	int r = 0;

	if (last_old > snap_origin_chunks(s, s->shift)) {
		DMERR("Write error: chunk %llu is past the end of the origin: shutting down merge",
		      (unsigned long long)last_old);
		return -EIO;
	}
	sectors = min_t(sector_t, (sector_t)nr << s->shift, start < size ? size - start : 0);
	set_range(m, old, nr);
	wait_event(m->wait, !writes_under_way(s, old, nr));
	if (sectors) {
		snap_origin_extent(s->o, s, start, sectors);
		r = copy_step(m, old, new, sectors);
	}
	if (!r) {
		r = s->store->ops->merge_commit(s->store, nr);
		if (r)
			DMERR("Write error in exception store: shutting down merge");
	}
	if (!r)
		forget(s, old, nr);
	release_range(m, r);
	return r;
}

static void merge_ended(struct snap_merge *m, bool failed)
{
	struct dm_snapshot *s = m->s;

	spin_lock_irq(&s->lock);
	m->failed = failed;
	if (!m->told) {
		m->told = s->event = true;
		snap_kick(s);
	}
	spin_unlock_irq(&s->lock);
}

static void merge_work(struct work_struct *work)
{
	struct snap_merge *m = container_of(work, struct snap_merge, work);
	struct dm_snapshot *s = m->s;
	u64 old, new;
	u32 nr;
	int r = 0;

	while (!READ_ONCE(m->stop) && READ_ONCE(s->valid)) {
		r = s->store->ops->merge_next(s->store, &old, &new, &nr);
		if (r > 0)
			r = merge_step(m, old, new, nr);
		else if (!r) {
			merge_ended(m, false);
			break;
		}
		if (r < 0) {
			merge_ended(m, true);
			break;
		}
		cond_resched();
	}
}

/* ---- beginning and end ----------------------------------------------------------------------- */

void snap_merge_start(struct dm_snapshot *s)
{
	struct snap_merge *m = s->merge;

	if (!s->valid || m->failed)
		return;
	WRITE_ONCE(m->stop, false);
	queue_work(m->wq, &m->work);
}

void snap_merge_stop(struct dm_snapshot *s)
{
	struct snap_merge *m = s->merge;

	WRITE_ONCE(m->stop, true);
	flush_work(&m->work);
}

static int alloc_pieces(struct snap_merge *m)
{
	unsigned int i, order, least = snap_least_order(m->s);

	for (i = 0; i < PIECES; i++) {
		for (order = max(PIECE_ORDER_MAX, least);; order--) {
			m->pieces[i].order = order;
			m->pieces[i].page = alloc_pages(GFP_KERNEL | __GFP_NOWARN | __GFP_COMP |
							(order ? __GFP_NORETRY : 0), order);
			if (m->pieces[i].page)
				break;
			if (order <= least)
				return -ENOMEM;
		}
	}
	return 0;
}

int snap_merge_init(struct dm_snapshot *s)
{
	struct snap_merge *m = kzalloc(sizeof(*m), GFP_KERNEL);

	if (!m)
		return -ENOMEM;
	s->merge = m;
	m->s = s;
	INIT_WORK(&m->work, merge_work);
	init_waitqueue_head(&m->wait);
	bio_list_init(&m->held);
	m->wq = alloc_workqueue("dm-snap-merge", WQ_MEM_RECLAIM | WQ_PERCPU, 1);
	if (!m->wq)
		return -ENOMEM;
	return alloc_pieces(m);
}

void snap_merge_exit(struct dm_snapshot *s)
{
	struct snap_merge *m = s->merge;
	unsigned int i;

	if (m->wq)
		destroy_workqueue(m->wq);
	for (i = 0; i < PIECES; i++)
		if (m->pieces[i].page)
			__free_pages(m->pieces[i].page, m->pieces[i].order);
	kfree(m);
	s->merge = NULL;
}

/* ---- mapping --------------------------------------------------------------------------------- */

static int map_write(struct dm_snapshot *s, struct bio *bio, struct snap_bio *sb, u64 chunk)
{
	struct snap_merge *m = s->merge;
	int r = DM_MAPIO_REMAPPED;
	unsigned long flags;
	bool excepted;
	u64 new;

	spin_lock_irqsave(&s->lock, flags);
	excepted = snap_tree_lookup(&s->tree, chunk, &new, NULL);
	if (excepted && m->nr && chunk >= m->first && chunk - m->first < m->nr) {
		bio_list_add(&m->held, bio);
		r = DM_MAPIO_SUBMITTED;
	} else if (excepted) {
		snap_track(s, sb, chunk);
		snap_remap_cow(s, bio, new);
	}
	spin_unlock_irqrestore(&s->lock, flags);
	if (excepted)
		return r;
	bio_set_dev(bio, s->origin->bdev);
	return snap_origin_write(s->o, bio);
}

int snap_merge_map(struct dm_target *ti, struct bio *bio)
{
	struct dm_snapshot *s = ti->private;
	struct snap_bio *sb = dm_per_bio_data(bio, sizeof(*sb));
	u64 chunk = snap_chunk(s, bio->bi_iter.bi_sector), new;

	sb->flags = 0;
	if (bio->bi_opf & REQ_PREFLUSH) {
		bio_set_dev(bio, dm_bio_get_target_bio_nr(bio) ? s->cow->bdev : s->origin->bdev);
		return DM_MAPIO_REMAPPED;
	}
	if (bio_op(bio) == REQ_OP_DISCARD) {
		bio_endio(bio);
		return DM_MAPIO_SUBMITTED;
	}
	if (unlikely(!READ_ONCE(s->valid))) {
		bio_set_dev(bio, s->origin->bdev);
		return bio_data_dir(bio) == WRITE ? snap_origin_write(s->o, bio) : DM_MAPIO_REMAPPED;
	}
	if (bio_data_dir(bio) == WRITE)
		return map_write(s, bio, sb, chunk);
	if (snap_tree_lookup(&s->tree, chunk, &new, NULL))
		snap_remap_cow(s, bio, new);
	else
		bio_set_dev(bio, s->origin->bdev);
	return DM_MAPIO_REMAPPED;
}
