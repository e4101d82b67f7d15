// SPDX-License-Identifier: GPL-2.0-or-later
#include "dm-snap-load.h"

#include <linux/slab.h>
#include <linux/vmalloc.h>

#define PIECE_ORDER_MAX 4u
#define PAIRS_PER_PAGE (PAGE_SIZE / sizeof(struct snap_pair))
#define TWINS_MAX 4096u

int snap_check_chunk_size(struct dm_snapshot *s, u32 sectors)
{
	if (!dmfmt_snap_chunk_size_ok(sectors)) {
		DMERR("chunk size %u: not a power of 2 from 1 to %u sectors", sectors,
		      DMFMT_SNAP_CHUNK_SECTORS_MAX);
		return -EINVAL;
	}
	if (sectors % (bdev_logical_block_size(s->cow->bdev) >> SECTOR_SHIFT) ||
	    sectors % (bdev_logical_block_size(s->origin->bdev) >> SECTOR_SHIFT)) {
		DMERR("chunk size %u: not a multiple of the device's block size", sectors);
		return -EINVAL;
	}
	return 0;
}

/* ---- reading --------------------------------------------------------------------------------- */

int snap_loader_init(struct snap_loader *l, struct dm_snapshot *s, const struct snap_geometry *g)
{
	unsigned int i, order = min_t(unsigned int, get_order(g->chunk_bytes), PIECE_ORDER_MAX);

	memset(l, 0, sizeof(*l));
	l->s = s;
	l->g = g;
	l->order = order;
	l->piece_bytes = min_t(u64, g->chunk_bytes, PAGE_SIZE << order);
	l->pieces = div_u64(g->chunk_bytes, l->piece_bytes);
	l->next_free = DMFMT_SNAP_FIRST_DATA_CHUNK;
	l->old_sorted = l->new_sorted = l->dense = true;
	/* not known yet where the origin's own table waits for its resume: see snapshot_preresume() */
	l->origin_chunks = snap_origin_chunks(s, g->shift);
	l->slots = kcalloc(SNAP_LOAD_SLOTS, sizeof(*l->slots), GFP_KERNEL);
	if (!l->slots)
		return -ENOMEM;
	for (i = 0; i < SNAP_LOAD_SLOTS; i++) {
		l->slots[i].page = alloc_pages(GFP_KERNEL | __GFP_COMP, order);
		if (!l->slots[i].page)
			return -ENOMEM;
	}
	return 0;
}

static void piece_end_io(struct bio *bio)
{
	complete(bio->bi_private);
}

/* as far ahead as there are slots, but not past the end of the device */
static void read_ahead(struct snap_loader *l)
{
	while (l->submitted < l->consumed + SNAP_LOAD_SLOTS) {
		struct snap_load_slot *slot = &l->slots[l->submitted % SNAP_LOAD_SLOTS];
		u32 piece;
		u64 area = div_u64_rem(l->submitted, l->pieces, &piece), chunk;

		if (!dmfmt_snap_area_chunk(l->g, area, &chunk))
			return;
		init_completion(&slot->done);
		bio_init(&slot->bio, l->s->cow->bdev, &slot->vec, 1, REQ_OP_READ | REQ_META);
		slot->bio.bi_iter.bi_sector = snap_sector(l->s, chunk) +
					      (sector_t)piece * (l->piece_bytes >> SECTOR_SHIFT);
		__bio_add_page(&slot->bio, slot->page, l->piece_bytes, 0);
		slot->bio.bi_private = &slot->done;
		slot->bio.bi_end_io = piece_end_io;
		l->submitted++;
		submit_bio_noacct(&slot->bio);
	}
}

static int finish_slot(struct snap_load_slot *slot)
{
	int r;

	wait_for_completion_io(&slot->done);
	r = blk_status_to_errno(slot->bio.bi_status);
	bio_uninit(&slot->bio);
	return r;
}

/* ---- one exception --------------------------------------------------------------------------- */

static int grow_pages(struct snap_loader *l)
{
	u64 max = l->max_pages ? 2 * l->max_pages : 64;
	struct page **pages;

	if (l->nr_pages == l->max_pages) {
		pages = kvmalloc_array(max, sizeof(*pages), GFP_KERNEL);
		if (!pages)
			return -ENOMEM;
		if (l->nr_pages)
			memcpy(pages, l->pages, l->nr_pages * sizeof(*pages));
		kvfree(l->pages);
		l->pages = pages;
		l->max_pages = max;
	}
	l->pages[l->nr_pages] = alloc_page(GFP_KERNEL);
	if (!l->pages[l->nr_pages])
		return -ENOMEM;
	l->nr_pages++;
	return 0;
}

static int refuse(struct snap_loader *l, u64 index, const char *what, u64 value)
{
	DMERR("exception %llu of area %llu: %s %llu; see dmtool snapshot-check",
	      (unsigned long long)index, (unsigned long long)l->area, what, (unsigned long long)value);
	return -EINVAL;
}

static int refuse_exception(struct snap_loader *l, u64 index, u64 old, u64 new)
{
	if (!dmfmt_snap_new_chunk_ok(l->g, new) || new >> SNAP_TREE_NEW_BITS)
		return refuse(l, index, "not a data chunk of this device: new_chunk", new);
	if (dmfmt_snap_old_chunk_wraps(l->g, old))
		return refuse(l, index, "too large: old_chunk", old);
	return refuse(l, index, "past the end of the origin: old_chunk", old);
}

static int add_exceptions(struct snap_loader *l, const struct snap_exception_disk *e, u32 nr, u64 index)
{
	u64 span = 2 + l->area * l->g->stride;
	u32 i;

	for (i = 0; i < nr; i++) {
		u64 old = dmfmt_snap_old(&e[i]), new = dmfmt_snap_new(&e[i]);
		u32 at = l->nr % PAIRS_PER_PAGE;
		struct snap_pair *pair;

		/* in place, as most are: no division */
		if (unlikely(old > l->origin_chunks ||
			     (new != span + index + i && !dmfmt_snap_new_chunk_ok(l->g, new)) ||
			     new >= l->g->chunks || new >> SNAP_TREE_NEW_BITS))
			return refuse_exception(l, index + i, old, new);
		if (!at && grow_pages(l))
			return -ENOMEM;
		pair = (struct snap_pair *)page_address(l->pages[l->nr_pages - 1]) + at;
		pair->old = old;
		pair->new = new;
		if (l->nr) {
			l->old_sorted &= old > l->last_old;
			l->new_sorted &= new > l->last_new;
		}
		l->last_old = old;
		l->last_new = new;
		l->dense &= new == span + index + i;
		if (new >= l->next_free)
			l->next_free = new + 1;
		if (old > l->s->max_old)
			l->s->max_old = old;
		l->nr++;
	}
	return 0;
}

/* Return: 1 more areas follow, 0 this was the last piece of the last area */
static int take_piece(struct snap_loader *l, const void *data)
{
	u32 per_piece = l->piece_bytes / sizeof(struct snap_exception_disk), piece, live;
	u64 area = div_u64_rem(l->consumed, l->pieces, &piece);
	int r;

	l->area = area;
	if (!l->ended) {
		live = dmfmt_snap_live(data, per_piece);
		r = add_exceptions(l, data, live, (u64)piece * per_piece);
		if (r)
			return r;
		l->slot = (u64)piece * per_piece + live;
		if (live == per_piece)
			return 1;
		l->ended = true;
		data += (live + 1) * sizeof(struct snap_exception_disk);
		per_piece -= live + 1;
	}
	if (per_piece && memchr_inv(data, 0, per_piece * sizeof(struct snap_exception_disk)))
		l->tail_dirty = true;
	return piece + 1 < l->pieces;
}

int snap_loader_read(struct snap_loader *l)
{
	int r = 1, error;

	while (r > 0) {
		struct snap_load_slot *slot = &l->slots[l->consumed % SNAP_LOAD_SLOTS];

		if (!l->ended)
			read_ahead(l);
		if (l->consumed == l->submitted) {
			if (!l->ended || l->consumed % l->pieces == 0)
				break;
			read_ahead(l);
		}
		error = finish_slot(slot);
		if (error) {
			DMERR("area %llu: cannot be read",
			      (unsigned long long)div_u64(l->consumed, l->pieces));
			l->consumed++;
			return error;
		}
		r = take_piece(l, page_address(slot->page));
		l->consumed++;
		cond_resched();
	}
	if (r < 0)
		return r;
	if (!l->ended) {
		DMERR("%llu exceptions and no end of the store on the device; see dmtool snapshot-check",
		      (unsigned long long)l->nr);
		return -EIO;
	}
	return 0;
}

void snap_loader_exit(struct snap_loader *l)
{
	u64 i;

	for (; l->consumed < l->submitted; l->consumed++)
		finish_slot(&l->slots[l->consumed % SNAP_LOAD_SLOTS]);
	for (i = 0; l->slots && i < SNAP_LOAD_SLOTS; i++)
		if (l->slots[i].page)
			__free_pages(l->slots[i].page, l->order);
	kfree(l->slots);
	for (i = 0; i < l->nr_pages; i++)
		__free_page(l->pages[i]);
	kvfree(l->pages);
}

/* ---- what was read becomes a tree ------------------------------------------------------------ */

static int keep_twins(const struct snap_pair *p, u64 nr, u64 nr_twins, u64 **twins)
{
	u64 i, n = 0;

	if (nr_twins > TWINS_MAX) {
		DMERR("%llu exceptions are stored twice", (unsigned long long)nr_twins);
		return -EINVAL;
	}
	*twins = kvmalloc_array(nr_twins, sizeof(**twins), GFP_KERNEL);
	if (!*twins)
		return -ENOMEM;
	for (i = 1; i < nr && n < nr_twins; i++)
		if (p[i].old == p[i - 1].old)
			(*twins)[n++] = p[i].old;
	DMWARN("%llu exceptions are stored twice", (unsigned long long)nr_twins);
	return 0;
}

static int build(struct snap_loader *l, struct snap_pair *p, struct snap_tree *t, u64 **twins,
		 u64 *nr_twins)
{
	u64 bad = 0;
	int r;

	if (!l->new_sorted) {
		snap_pairs_sort_new(p, l->nr);
		r = snap_pairs_check(p, l->nr, true, nr_twins, &bad);
		if (r) {
			DMERR("chunk %llu of the COW device belongs to two exceptions; see dmtool snapshot-check",
			      (unsigned long long)p[bad].new);
			return -EINVAL;
		}
		l->old_sorted = false;
	}
	if (!l->old_sorted) {
		snap_pairs_sort_old(p, l->nr);
		r = snap_pairs_check(p, l->nr, false, nr_twins, &bad);
		if (r) {
			DMERR("chunk %llu of the origin has two exceptions; see dmtool snapshot-check",
			      (unsigned long long)p[bad].old);
			return -EINVAL;
		}
		if (*nr_twins) {
			r = keep_twins(p, l->nr, *nr_twins, twins);
			if (r)
				return r;
		}
	}
	return snap_tree_build(t, p, l->nr);
}

int snap_loader_finish(struct snap_loader *l, struct snap_tree *t, u64 **twins, u64 *nr_twins)
{
	struct snap_pair *p;
	int r;

	*nr_twins = 0;
	if (!l->nr)
		return 0;
	p = vmap(l->pages, l->nr_pages, VM_MAP, PAGE_KERNEL);
	if (!p)
		return -ENOMEM;
	r = build(l, p, t, twins, nr_twins);
	vunmap(p);
	return r;
}

/* ---- is there a store without a header? ------------------------------------------------------ */

static bool plausible_area(struct dm_snapshot *s, u32 sectors, struct page *page)
{
	const struct snap_exception_disk *e = page_address(page);
	u32 bytes = min_t(u32, sectors << SECTOR_SHIFT, page_size(page)), nr = bytes / sizeof(*e), live, i;
	struct snap_geometry g;
	struct bio_vec vec;
	struct bio bio;
	int r;

	if (dmfmt_snap_geometry_init(&g, sectors, bdev_nr_sectors(s->cow->bdev)) || g.chunks < 3)
		return false;
	bio_init(&bio, s->cow->bdev, &vec, 1, REQ_OP_READ);
	bio.bi_iter.bi_sector = sectors;
	__bio_add_page(&bio, page, bytes, 0);
	r = submit_bio_wait(&bio);
	bio_uninit(&bio);
	if (r)
		return false;
	live = dmfmt_snap_live(e, nr);
	if (!live || dmfmt_snap_new(&e[0]) != DMFMT_SNAP_FIRST_DATA_CHUNK)
		return false;
	for (i = 0; i < live; i++)
		if (!dmfmt_snap_new_chunk_ok(&g, dmfmt_snap_new(&e[i])) ||
		    dmfmt_snap_old(&e[i]) > snap_origin_chunks(s, g.shift))
			return false;
	return true;
}

bool snap_area_decodes(struct dm_snapshot *s, u32 hint)
{
	u32 logical = bdev_logical_block_size(s->cow->bdev) >> SECTOR_SHIFT, sectors;
	struct page *page = alloc_pages(GFP_KERNEL | __GFP_COMP,
					get_order(max_t(u32, PAGE_SIZE, logical << SECTOR_SHIFT)));
	bool found = false;

	if (!page)
		return false;
	if (dmfmt_snap_chunk_size_ok(hint) && hint >= logical)
		found = plausible_area(s, hint, page);
	for (sectors = logical; !found && sectors <= 2048; sectors <<= 1)
		found = plausible_area(s, sectors, page);
	__free_pages(page, compound_order(page));
	return found;
}
