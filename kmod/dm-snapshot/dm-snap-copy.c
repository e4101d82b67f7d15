// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One chunk goes from the origin to the COW device: read, write, as one piece if a buffer of that size can
 * be had, else piece by piece.
 *
 * Buffers are physically contiguous, so that a piece is one segment.  One small buffer belongs to the
 * snapshot: with it a copy can always go on, whatever the page allocator says.  Others are taken as memory
 * allows, never waiting for it, and some of them are kept.
 */
#include "dm-snap.h"

#include <linux/gfp.h>
#include <linux/slab.h>

#define PIECE_SECTORS_MAX 2048u		/* 1 MiB */
#define RESERVE_ORDER_MAX 4u
#define COPIES_BYTES (16u << 20)	/* under way at once, per snapshot */
#define KEPT_BYTES (256u << 10)

static unsigned int wanted_order(const struct dm_snapshot *s)
{
	return get_order(min(s->chunk_sectors, PIECE_SECTORS_MAX) << SECTOR_SHIFT);
}

static struct snap_copy *new_copy(struct dm_snapshot *s, unsigned int order, gfp_t gfp)
{
	unsigned int least = snap_least_order(s);
	struct snap_copy *c = kmalloc(sizeof(*c), gfp);

	if (!c)
		return NULL;
	c->s = s;
	c->reserved = false;
	for (;; order--) {
		c->order = order;
		c->page = alloc_pages(gfp | (order ? __GFP_COMP | __GFP_NORETRY : 0), order);
		if (c->page)
			return c;
		if (order <= least)
			break;
	}
	kfree(c);
	return NULL;
}

static void free_copy(struct snap_copy *c)
{
	__free_pages(c->page, c->order);
	kfree(c);
}

int snap_copy_init(struct dm_snapshot *s)
{
	unsigned int order, reserved = max(RESERVE_ORDER_MAX, snap_least_order(s));

	if (!s->chunk_sectors)
		return -EINVAL;
	order = wanted_order(s);
	/* in a handover the origin is suspended: nothing may wait for its I/O */
	s->reserve = new_copy(s, min(order, reserved), GFP_NOIO | __GFP_NOWARN);
	if (!s->reserve)
		return -ENOMEM;
	s->reserve->reserved = true;
	list_add(&s->reserve->link, &s->copies);
	s->nr_copies = s->nr_free_copies = 1;
	s->max_copies = clamp_t(unsigned int, COPIES_BYTES >> (order + PAGE_SHIFT), 4, 1024);
	return 0;
}

void snap_copy_exit(struct dm_snapshot *s)
{
	struct snap_copy *c, *next;

	list_for_each_entry_safe(c, next, &s->copies, link)
		free_copy(c);
	INIT_LIST_HEAD(&s->copies);
	s->reserve = NULL;
	s->nr_copies = s->nr_free_copies = 0;
}

/* s->lock held: a buffer that is free, the snapshot's own one last (it may be small) */
static struct snap_copy *free_one(struct dm_snapshot *s)
{
	struct snap_copy *c = list_first_entry_or_null(&s->copies, struct snap_copy, link);

	if (c) {
		list_del(&c->link);
		s->nr_free_copies--;
	}
	return c;
}

/* s->lock held; true: the caller frees it */
static bool put_one(struct dm_snapshot *s, struct snap_copy *c)
{
	bool keep = c->reserved ||
		    (c->order == wanted_order(s) &&
		     ((s->nr_free_copies + 1) << (c->order + PAGE_SHIFT)) <= KEPT_BYTES);

	if (!keep) {
		s->nr_copies--;
		return true;
	}
	if (c->reserved)
		list_add_tail(&c->link, &s->copies);
	else
		list_add(&c->link, &s->copies);
	s->nr_free_copies++;
	return false;
}

/* ---- one piece ------------------------------------------------------------------------------- */

static void queue_copy(struct snap_copy *c, struct list_head *list)
{
	struct dm_snapshot *s = c->s;
	unsigned long flags;

	spin_lock_irqsave(&s->lock, flags);
	list_add_tail(&c->link, list);
	snap_kick(s);
	spin_unlock_irqrestore(&s->lock, flags);
}

/* sectors of the chunk that exist: the origin may end within its last one */
static u32 copy_length(const struct snap_pending *pe)
{
	const struct dm_snapshot *s = pe->s;
	sector_t size = bdev_nr_sectors(s->origin->bdev), start = snap_sector(s, pe->old);

	if (start >= size)
		return 0;
	return min_t(sector_t, s->chunk_sectors, size - start);
}

static void read_end_io(struct bio *bio)
{
	struct snap_copy *c = bio->bi_private;

	if (bio->bi_status)
		c->pe->read_error = bio->bi_status;
	bio_uninit(bio);
	queue_copy(c, &c->s->read_done);
}

static void end_copy(struct snap_copy *c)
{
	struct dm_snapshot *s = c->s;
	struct snap_pending *pe = c->pe;
	unsigned long flags;
	bool drop;

	spin_lock_irqsave(&s->lock, flags);
	drop = put_one(s, c);
	if (!list_empty(&s->starts))
		snap_kick(s);
	if (unlikely(snap_copy_throttle < 100)) {
		unsigned int percent = clamp(READ_ONCE(snap_copy_throttle), 1u, 100u);

		s->throttle_until = jiffies + (jiffies - c->begun) * (100 - percent) / percent;
	}
	spin_unlock_irqrestore(&s->lock, flags);
	if (drop)
		free_copy(c);
	snap_copied(pe);
}

static void write_end_io(struct bio *bio)
{
	struct snap_copy *c = bio->bi_private;

	c->done += c->sectors;
	if (bio->bi_status)
		c->pe->write_error = bio->bi_status;
	bio_uninit(bio);
	if (!c->pe->write_error && c->done < copy_length(c->pe))
		queue_copy(c, &c->s->written);
	else
		end_copy(c);
}

static void read_piece(struct snap_copy *c)
{
	struct snap_pending *pe = c->pe;
	struct dm_snapshot *s = c->s;

	c->sectors = min_t(u32, copy_length(pe) - c->done, 1u << (c->order + PAGE_SHIFT - SECTOR_SHIFT));
	bio_init(&c->bio, s->origin->bdev, &c->vec, 1, REQ_OP_READ);
	c->bio.bi_iter.bi_sector = snap_sector(s, pe->old) + c->done;
	__bio_add_page(&c->bio, c->page, c->sectors << SECTOR_SHIFT, 0);
	c->bio.bi_private = c;
	c->bio.bi_end_io = read_end_io;
	submit_bio_noacct(&c->bio);
}

static void write_piece(struct snap_copy *c)
{
	struct dm_snapshot *s = c->s;

	bio_init(&c->bio, s->cow->bdev, &c->vec, 1, REQ_OP_WRITE);
	c->bio.bi_iter.bi_sector = snap_sector(s, c->pe->new) + c->done;
	__bio_add_page(&c->bio, c->page, c->sectors << SECTOR_SHIFT, 0);
	c->bio.bi_private = c;
	c->bio.bi_end_io = write_end_io;
	submit_bio_noacct(&c->bio);
}

void snap_copy_continue(struct dm_snapshot *s, struct list_head *read, struct list_head *written)
{
	struct snap_copy *c, *next;

	list_for_each_entry_safe(c, next, read, link) {
		list_del(&c->link);
		if (c->pe->read_error)
			end_copy(c);
		else
			write_piece(c);
	}
	list_for_each_entry_safe(c, next, written, link) {
		list_del(&c->link);
		read_piece(c);
	}
}

/* ---- beginning ------------------------------------------------------------------------------- */

/* s->lock held.  With snapshot_copy_throttle below 100 copies pause in proportion. */
static bool throttled(struct dm_snapshot *s)
{
	if (likely(snap_copy_throttle >= 100) || !time_before(jiffies, s->throttle_until))
		return false;
	if (s->nr_free_copies < s->nr_copies)
		return true;		/* the end of one that is under way will look again */
	mod_delayed_work(s->wq, &s->delayed, s->throttle_until - jiffies);
	return true;
}

/* the oldest that has not begun, and a buffer for it */
static struct snap_copy *next_copy(struct dm_snapshot *s)
{
	struct snap_copy *c, *fresh = NULL;
	struct snap_pending *pe;
	unsigned long flags;
	bool grow;

	spin_lock_irqsave(&s->lock, flags);
	grow = !list_empty(&s->starts) && s->nr_copies < s->max_copies &&
	       (!s->nr_free_copies || list_first_entry(&s->copies, struct snap_copy, link)->reserved);
	spin_unlock_irqrestore(&s->lock, flags);
	if (grow)
		fresh = new_copy(s, wanted_order(s), GFP_NOWAIT | __GFP_NOWARN);

	spin_lock_irqsave(&s->lock, flags);
	if (fresh) {
		list_add(&fresh->link, &s->copies);
		s->nr_free_copies++;
		s->nr_copies++;
	}
	pe = list_first_entry_or_null(&s->starts, struct snap_pending, link);
	c = pe && !throttled(s) ? free_one(s) : NULL;
	if (c) {
		list_del(&pe->link);
		c->pe = pe;
		c->done = 0;
		c->begun = jiffies;
	}
	spin_unlock_irqrestore(&s->lock, flags);
	return c;
}

void snap_copy_starts(struct dm_snapshot *s)
{
	struct snap_copy *c;

	while ((c = next_copy(s)))
		read_piece(c);
}
