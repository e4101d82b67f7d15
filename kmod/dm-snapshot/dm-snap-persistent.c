// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The persistent store (P, PO).  The bytes are those of libdmfmt/format/snapshot.h.
 *
 * Of the current area only a window of two blocks is held in memory, the one with the next free slot first:
 *
 *	area:    | block 0 | block 1 | ... | block i | block i+1 | ... zero ... |
 *	window:                            |    0    |     1     |
 *	                                       ^ committed (durable), ^ filled (next commit)
 *
 * A block is 4 KiB, or the whole area if that is smaller, or a logical block if that is larger.
 */
#include "dm-snap.h"
#include "dm-snap-load.h"

#include <linux/ctype.h>
#include <linux/slab.h>

enum persistent_step { STEP_IDLE, STEP_ZERO, STEP_ENTRIES };

#define ZERO_VECS 64

struct persistent {
	struct snap_store store;
	struct snap_geometry g;		/* the device may have grown since */
	u64 next_free, area;
	bool dense;			/* all exceptions lie where their slots say */
	u64 top;			/* if not: what a merge has left lies below this */
	u64 committed, filled;		/* slots of the area: durable, durable after this commit */
	u32 block_bytes, block_entries;
	u64 window_block;
	struct page *window;
	unsigned int window_order;
	bool tail_dirty;		/* something lies behind the terminator on disk */
	u64 *twins;			/* old_chunks that lie there twice, sorted; one for each extra one */
	u64 nr_twins;

	enum persistent_step step;
	sector_t zeroed;
	struct bio bio;
	struct bio_vec vecs[ZERO_VECS];

	struct page *header;
	unsigned int header_order;
	struct bio mark;
	struct bio_vec mark_vec;
};

static struct persistent *persistent_of(struct snap_store *store)
{
	return container_of(store, struct persistent, store);
}

static struct block_device *cow_bdev(struct persistent *p)
{
	return p->store.s->cow->bdev;
}

static struct snap_exception_disk *slot_of(struct persistent *p, u64 slot)
{
	struct snap_exception_disk *e = page_address(p->window);

	return e + (slot - p->window_block * p->block_entries);
}

static sector_t block_sector(struct persistent *p, u64 area, u64 block)
{
	return snap_sector(p->store.s, 1 + area * p->g.stride) +
	       block * (p->block_bytes >> SECTOR_SHIFT);
}

/* the device as it is now: it may have grown */
static void refresh_size(struct persistent *p)
{
	p->g.device_sectors = bdev_nr_sectors(cow_bdev(p));
	p->g.chunks = p->g.device_sectors >> p->g.shift;
}

static int block_io(struct persistent *p, struct page *page, sector_t sector, u32 bytes, blk_opf_t opf)
{
	struct bio_vec vec;
	struct bio bio;
	int r;

	bio_init(&bio, cow_bdev(p), &vec, 1, opf);
	bio.bi_iter.bi_sector = sector;
	__bio_add_page(&bio, page, bytes, 0);
	r = submit_bio_wait(&bio);
	bio_uninit(&bio);
	return r;
}

/* ---- construction ---------------------------------------------------------------------------- */

static int persistent_ctr(struct snap_store *store, const char *options)
{
	if (!options || !*options)
		return 0;
	if (toupper(*options) != 'O') {
		DMERR("Unsupported persistent store option: %s", options);
		return -EINVAL;
	}
	store->overflow = true;
	return 0;
}

static void persistent_dtr(struct snap_store *store)
{
	struct persistent *p = persistent_of(store);

	if (p->window)
		__free_pages(p->window, p->window_order);
	if (p->header)
		__free_pages(p->header, p->header_order);
	kvfree(p->twins);
	kfree(p);
}

static int alloc_window(struct persistent *p)
{
	u32 logical = bdev_logical_block_size(cow_bdev(p));

	p->block_bytes = min_t(u64, p->g.chunk_bytes, max(4096u, logical));
	p->block_entries = p->block_bytes / sizeof(struct snap_exception_disk);
	p->window_order = get_order(2 * p->block_bytes);
	p->window = alloc_pages(GFP_KERNEL | __GFP_ZERO | __GFP_COMP, p->window_order);
	if (!p->window)
		return -ENOMEM;
	if (!p->header) {
		p->header_order = get_order(p->block_bytes);
		p->header = alloc_pages(GFP_KERNEL | __GFP_ZERO | __GFP_COMP, p->header_order);
	}
	return p->header ? 0 : -ENOMEM;
}

static void header_encode(struct persistent *p, u32 valid)
{
	struct snap_header h = {
		.magic = DMFMT_SNAP_MAGIC,
		.valid = valid,
		.version = DMFMT_SNAP_VERSION,
		.chunk_size = p->g.chunk_sectors,
	};

	memset(page_address(p->header), 0, p->block_bytes);
	dmfmt_snap_header_encode(&h, page_address(p->header));
}

/*
 * A new store: its first area (and the header's chunk) is durably zero before there is a header, so that a
 * crash can never leave a header over what lay there before.
 */
static int create_store(struct persistent *p)
{
	struct dm_snapshot *s = p->store.s;
	int r;

	if (p->g.chunks < 2)
		return -EIO;
	r = blkdev_issue_zeroout(cow_bdev(p), 0, 2 * (sector_t)s->chunk_sectors, GFP_KERNEL, 0);
	if (!r)
		r = blkdev_issue_flush(cow_bdev(p));
	if (r)
		return r;
	header_encode(p, 1);
	return block_io(p, p->header, 0, p->block_bytes, REQ_OP_WRITE | REQ_FUA);
}

/* ---- loading --------------------------------------------------------------------------------- */

static int set_chunk_size(struct persistent *p, u32 sectors)
{
	struct dm_snapshot *s = p->store.s;
	int r;

	r = snap_check_chunk_size(s, sectors);
	if (r)
		return r;
	r = dmfmt_snap_geometry_init(&p->g, sectors, bdev_nr_sectors(cow_bdev(p)));
	if (r)
		return r;
	s->chunk_sectors = p->g.chunk_sectors;
	s->shift = p->g.shift;
	return 0;
}

static int accept_header(struct persistent *p, const struct snap_header *h)
{
	struct dm_snapshot *s = p->store.s;

	if (h->magic != DMFMT_SNAP_MAGIC) {
		DMERR("Invalid or corrupt snapshot");
		return -ENXIO;
	}
	if (s->chunk_sectors && s->chunk_sectors != h->chunk_size)
		DMWARN("chunk size %u in device metadata overrides table chunk size of %u.",
		       h->chunk_size, s->chunk_sectors);
	if (set_chunk_size(p, h->chunk_size))
		return -EINVAL;
	if (h->version != DMFMT_SNAP_VERSION) {
		DMERR("unable to handle snapshot disk version %d", h->version);
		return -EINVAL;
	}
	return 0;
}

/* no magic: a new store, unless it seems to be an old one that has lost it */
static int accept_blank(struct persistent *p, const struct snap_header *h, bool writable)
{
	struct dm_snapshot *s = p->store.s;
	u32 logical = bdev_logical_block_size(cow_bdev(p)) >> SECTOR_SHIFT;
	bool alive = snap_area_decodes(s, h->chunk_size);

	if ((h->valid || h->version || h->chunk_size) && alive) {
		DMERR("header without a magic over an area with exceptions: not formatted; see dmtool snapshot-check");
		return -ENXIO;
	}
	if (alive)
		DMWARN("new store over an old area: its header was wiped");
	if (set_chunk_size(p, s->chunk_sectors ? s->chunk_sectors : max(32u, logical)))
		return -EINVAL;
	if (!writable)
		return -EIO;
	return alloc_window(p);
}

static int use_loaded(struct persistent *p, struct snap_loader *l)
{
	int r = snap_loader_finish(l, &p->store.s->tree, &p->twins, &p->nr_twins);

	if (r)
		return r;
	p->area = l->area;
	p->committed = p->filled = l->slot;
	p->tail_dirty = l->tail_dirty;
	p->dense = l->dense;
	p->next_free = dmfmt_snap_skip_metadata(&p->g, l->next_free);
	p->window_block = div_u64(p->committed, p->block_entries);
	if (l->slot == 0 && l->area == 0 && !l->tail_dirty)
		return 0;
	/* the block with the terminator; what lies behind it is zero from now on */
	r = block_io(p, p->window, block_sector(p, p->area, p->window_block), p->block_bytes, REQ_OP_READ);
	if (!r)
		memset(slot_of(p, p->committed), 0,
		       (2 * p->block_entries - (p->committed - p->window_block * p->block_entries)) *
		       sizeof(struct snap_exception_disk));
	return r;
}

static int load_exceptions(struct persistent *p)
{
	struct snap_loader l;
	int r;

	r = snap_loader_init(&l, p->store.s, &p->g);
	if (!r)
		r = snap_loader_read(&l);
	if (!r)
		r = use_loaded(p, &l);
	snap_loader_exit(&l);
	return r;
}

static int persistent_load(struct snap_store *store, bool writable)
{
	struct persistent *p = persistent_of(store);
	u32 logical = bdev_logical_block_size(cow_bdev(p));
	struct snap_header h;
	int r;

	p->next_free = DMFMT_SNAP_FIRST_DATA_CHUNK;
	p->header_order = get_order(max(4096u, logical));
	p->header = alloc_pages(GFP_KERNEL | __GFP_ZERO | __GFP_COMP, p->header_order);
	if (!p->header)
		return -ENOMEM;
	r = block_io(p, p->header, 0, logical, REQ_OP_READ);
	if (r)
		return r;
	dmfmt_snap_header_decode(page_address(p->header), &h);
	if (!h.magic) {
		r = accept_blank(p, &h, writable);
		return r ? r : create_store(p);
	}
	r = accept_header(p, &h);
	if (!r)
		r = alloc_window(p);
	if (r)
		return r;
	if (!h.valid) {
		DMWARN("snapshot is marked invalid");
		return 1;
	}
	return load_exceptions(p);
}

/*
 * What lies behind the terminator (a torn write left it there) would come alive as soon as the slot before it
 * is filled: it is cleared before the first commit.
 */
static int persistent_activate(struct snap_store *store)
{
	struct persistent *p = persistent_of(store);
	u64 blocks = div_u64(p->g.entries, p->block_entries), next = p->window_block + 1;
	int r = 0;

	if (p->window && p->committed == p->g.entries) {
		/* a merge has come here from the next area, which is empty, and went no further */
		p->area++;
		p->committed = p->filled = p->window_block = 0;
		memset(page_address(p->window), 0, 2 * p->block_bytes);
	}
	if (!p->tail_dirty)
		return 0;
	DMWARN("clearing entries behind the end of the store");
	if (next < blocks)
		r = blkdev_issue_zeroout(cow_bdev(p), block_sector(p, p->area, next),
					 (blocks - next) * (p->block_bytes >> SECTOR_SHIFT), GFP_NOIO, 0);
	if (!r)
		r = block_io(p, p->window, block_sector(p, p->area, p->window_block), p->block_bytes,
			     REQ_OP_WRITE | REQ_PREFLUSH | REQ_FUA);
	if (!r)
		p->tail_dirty = false;
	return r;
}

/* ---- allocation ------------------------------------------------------------------------------ */

/*
 * Besides the chunk itself there must be room for what its entry needs: the entry that fills an area is
 * written together with a zeroed successor, which must lie on the device.
 */
static int persistent_alloc(struct snap_store *store, u64 pending, u64 *new_chunk)
{
	struct persistent *p = persistent_of(store);
	u64 slots, areas, chunk;

	refresh_size(p);
	if (p->next_free < p->top)
		p->next_free = p->top;
	if (p->next_free >= p->g.chunks || p->next_free >> SNAP_TREE_NEW_BITS)
		return -ENOSPC;
	slots = p->filled + pending + 1;
	areas = p->area;
	while (slots >= p->g.entries) {
		slots -= p->g.entries;
		if (!dmfmt_snap_area_chunk(&p->g, ++areas, &chunk))
			return -ENOSPC;
	}
	*new_chunk = p->next_free++;
	p->next_free = dmfmt_snap_skip_metadata(&p->g, p->next_free);
	return 0;
}

static void persistent_unalloc(struct snap_store *store, u64 new_chunk)
{
	struct persistent *p = persistent_of(store);

	if (dmfmt_snap_skip_metadata(&p->g, new_chunk + 1) == p->next_free)
		p->next_free = new_chunk;
}

static void persistent_usage(struct snap_store *store, struct snap_usage *u)
{
	struct persistent *p = persistent_of(store);

	u->total = bdev_nr_sectors(cow_bdev(p));
	u->allocated = snap_sector(store->s, p->next_free);
	u->metadata = snap_sector(store->s, p->area + 2);
}

/* ---- commit ---------------------------------------------------------------------------------- */

static u64 persistent_room(struct snap_store *store)
{
	struct persistent *p = persistent_of(store);

	return min(p->g.entries, (p->window_block + 2) * p->block_entries) - p->filled;
}

static bool persistent_add(struct snap_store *store, u64 old_chunk, u64 new_chunk)
{
	struct persistent *p = persistent_of(store);

	if (!persistent_room(store))
		return false;
	p->dense &= new_chunk == dmfmt_snap_dense_chunk(&p->g, p->area, p->filled);
	dmfmt_snap_exception_encode(old_chunk, new_chunk, slot_of(p, p->filled));
	p->filled++;
	return true;
}

/* the window follows the first slot that is free; s->lock held */
static void advance(struct persistent *p)
{
	u8 *window = page_address(p->window);
	u64 ahead;

	p->committed = p->filled;
	if (p->committed == p->g.entries) {
		p->area++;
		p->committed = p->filled = p->window_block = 0;
		memset(window, 0, 2 * p->block_bytes);
		return;
	}
	ahead = div_u64(p->committed, p->block_entries) - p->window_block;
	if (!ahead)
		return;
	if (ahead == 1)
		memcpy(window, window + p->block_bytes, p->block_bytes);
	else
		memset(window, 0, p->block_bytes);
	memset(window + p->block_bytes, 0, p->block_bytes);
	p->window_block += ahead;
}

static void entries_end_io(struct bio *bio)
{
	struct persistent *p = container_of(bio, struct persistent, bio);
	struct dm_snapshot *s = p->store.s;
	blk_status_t error = bio->bi_status;
	unsigned long flags;

	bio_uninit(bio);
	if (!error) {
		spin_lock_irqsave(&s->lock, flags);
		advance(p);
		spin_unlock_irqrestore(&s->lock, flags);
	}
	p->step = STEP_IDLE;
	snap_commit_done(s, error);
}

static void write_entries(struct persistent *p)
{
	u64 first = div_u64(p->committed, p->block_entries);
	u64 last = div_u64(p->filled - 1, p->block_entries);
	u32 offset = (first - p->window_block) * p->block_bytes;

	p->step = STEP_ENTRIES;
	bio_init(&p->bio, cow_bdev(p), p->vecs, 1,
		 REQ_OP_WRITE | REQ_META | REQ_SYNC | REQ_PREFLUSH | REQ_FUA);
	p->bio.bi_iter.bi_sector = block_sector(p, p->area, first);
	__bio_add_page(&p->bio, p->window, (last - first + 1) * p->block_bytes, offset);
	p->bio.bi_end_io = entries_end_io;
	submit_bio_noacct(&p->bio);
}

static void zero_end_io(struct bio *bio)
{
	struct persistent *p = container_of(bio, struct persistent, bio);
	blk_status_t error = bio->bi_status;

	bio_uninit(bio);
	if (error) {
		p->step = STEP_IDLE;
		snap_commit_done(p->store.s, error);
	} else {
		snap_store_step(p->store.s);
	}
}

/* the next piece of the area that follows; it becomes durable by the flush before the entries */
static void write_zeroes(struct persistent *p)
{
	struct dm_snapshot *s = p->store.s;
	u32 left = min_t(sector_t, s->chunk_sectors - p->zeroed, ZERO_VECS * PAGE_SECTORS), bytes;

	bio_init(&p->bio, cow_bdev(p), p->vecs, ZERO_VECS, REQ_OP_WRITE | REQ_META | REQ_SYNC);
	p->bio.bi_iter.bi_sector = block_sector(p, p->area + 1, 0) + p->zeroed;
	p->zeroed += left;
	while (left) {
		bytes = min_t(u32, left << SECTOR_SHIFT, PAGE_SIZE);
		__bio_add_page(&p->bio, ZERO_PAGE(0), bytes, 0);
		left -= bytes >> SECTOR_SHIFT;
	}
	p->bio.bi_end_io = zero_end_io;
	submit_bio_noacct(&p->bio);
}

static void persistent_step(struct snap_store *store)
{
	struct persistent *p = persistent_of(store);

	if (p->step != STEP_ZERO)
		return;
	if (p->zeroed < store->s->chunk_sectors)
		write_zeroes(p);
	else
		write_entries(p);
}

static void persistent_commit(struct snap_store *store)
{
	struct persistent *p = persistent_of(store);

	if (p->filled < p->g.entries) {
		write_entries(p);
		return;
	}
	p->zeroed = 0;
	p->step = STEP_ZERO;
	write_zeroes(p);
}

/* ---- the invalid mark ------------------------------------------------------------------------ */

static void mark_end_io(struct bio *bio)
{
	struct persistent *p = container_of(bio, struct persistent, mark);
	blk_status_t error = bio->bi_status;

	bio_uninit(bio);
	snap_mark_done(p->store.s, error);
}

static void persistent_mark(struct snap_store *store)
{
	struct persistent *p = persistent_of(store);

	header_encode(p, 0);
	bio_init(&p->mark, cow_bdev(p), &p->mark_vec, 1, REQ_OP_WRITE | REQ_META | REQ_SYNC | REQ_FUA);
	__bio_add_page(&p->mark, p->header, p->block_bytes, 0);
	p->mark.bi_end_io = mark_end_io;
	submit_bio_noacct(&p->mark);
}

/* ---- merge ----------------------------------------------------------------------------------- */

#define MERGE_STEP_BYTES (16u << 20)

/* one of its twins is cleared */
static void forget_twin(struct persistent *p, u64 old)
{
	u64 i = 0;

	while (i < p->nr_twins && p->twins[i] != old)
		i++;
	if (i == p->nr_twins)
		return;
	p->nr_twins--;
	memmove(p->twins + i, p->twins + i + 1, (p->nr_twins - i) * sizeof(*p->twins));
}

/* does it lie there once more, further ahead?  Then it is only cleared. */
static bool has_twin(struct persistent *p, u64 old)
{
	u64 i;

	for (i = 0; i < p->nr_twins; i++)
		if (p->twins[i] == old)
			return true;
	return false;
}

/* the block with the last exception into the window */
static int step_back(struct persistent *p)
{
	u64 area = p->area, committed = p->committed, block;
	int r;

	if (!committed) {
		if (!area)
			return 0;
		area--;
		committed = p->g.entries;
	}
	block = div_u64(committed - 1, p->block_entries);
	if (area == p->area && block >= p->window_block)
		return 1;
	memset(page_address(p->window), 0, 2 * p->block_bytes);
	r = block_io(p, p->window, block_sector(p, area, block), p->block_bytes, REQ_OP_READ);
	if (r) {
		/* as before: nothing of the window's blocks is in use */
		memset(page_address(p->window), 0, 2 * p->block_bytes);
		return r;
	}
	spin_lock_irq(&p->store.s->lock);
	p->area = area;
	p->committed = p->filled = committed;
	p->window_block = block;
	spin_unlock_irq(&p->store.s->lock);
	return 1;
}

static int persistent_merge_commit(struct snap_store *store, u32 nr)
{
	struct persistent *p = persistent_of(store);
	u64 from = p->committed - nr, first = div_u64(from, p->block_entries);
	u64 last = div_u64(p->committed - 1, p->block_entries), old, new;
	struct bio_vec vec;
	struct bio bio;
	u32 i;
	int r;

	old = dmfmt_snap_old(slot_of(p, from));
	new = dmfmt_snap_new(slot_of(p, from));
	memset(slot_of(p, from), 0, nr * sizeof(struct snap_exception_disk));
	bio_init(&bio, cow_bdev(p), &vec, 1, REQ_OP_WRITE | REQ_META | REQ_SYNC | REQ_FUA);
	bio.bi_iter.bi_sector = block_sector(p, p->area, first);
	__bio_add_page(&bio, p->window, (last - first + 1) * p->block_bytes,
		       (first - p->window_block) * p->block_bytes);
	r = submit_bio_wait(&bio);
	bio_uninit(&bio);
	if (r) {
		/* what lies there now is not known; what is written there next has them again */
		for (i = 0; i < nr; i++)
			dmfmt_snap_exception_encode(old + i, new + i, slot_of(p, from + i));
		return r;
	}
	spin_lock_irq(&store->s->lock);
	if (!p->dense)
		p->top = from || p->area ? max(p->top, p->next_free) : 0;
	p->committed = p->filled = from;
	p->next_free = p->area * p->g.stride + 1 + p->committed + 1;
	spin_unlock_irq(&store->s->lock);
	return 0;
}

/* how many exceptions before the last one go on with it, both sides one less each time */
static u32 count_run(struct persistent *p, u64 old, u64 new)
{
	u64 slot = p->committed - 1, end = p->window_block * p->block_entries;
	u32 nr = 1, max = max_t(u64, MERGE_STEP_BYTES >> (p->g.shift + SECTOR_SHIFT), 1);

	while (slot-- > end && nr < max) {
		const struct snap_exception_disk *e = slot_of(p, slot);

		if (dmfmt_snap_old(e) != old - nr || dmfmt_snap_new(e) != new - nr || old < nr ||
		    has_twin(p, old - nr))
			break;
		nr++;
	}
	return nr;
}

static int persistent_merge_next(struct snap_store *store, u64 *old_chunk, u64 *new_chunk, u32 *nr)
{
	struct persistent *p = persistent_of(store);
	const struct snap_exception_disk *e;
	int r;

	for (;;) {
		r = step_back(p);
		if (r <= 0)
			return r;
		e = slot_of(p, p->committed - 1);
		*old_chunk = dmfmt_snap_old(e);
		*new_chunk = dmfmt_snap_new(e);
		refresh_size(p);
		if (!dmfmt_snap_new_chunk_ok(&p->g, *new_chunk)) {
			DMERR("area %llu: exception %llu: not what was loaded", (unsigned long long)p->area,
			      (unsigned long long)(p->committed - 1));
			return -EILSEQ;
		}
		if (!has_twin(p, *old_chunk))
			break;
		r = persistent_merge_commit(store, 1);
		if (r)
			return r;
		forget_twin(p, *old_chunk);
	}
	*nr = count_run(p, *old_chunk, *new_chunk);
	return 1;
}

static const struct snap_store_ops snap_persistent_ops = {
	.name = "P",
	.ctr = persistent_ctr,
	.dtr = persistent_dtr,
	.load = persistent_load,
	.activate = persistent_activate,
	.alloc = persistent_alloc,
	.unalloc = persistent_unalloc,
	.room = persistent_room,
	.add = persistent_add,
	.commit = persistent_commit,
	.step = persistent_step,
	.mark = persistent_mark,
	.usage = persistent_usage,
	.merge_next = persistent_merge_next,
	.merge_commit = persistent_merge_commit,
};

struct snap_store *snap_persistent_new(void)
{
	struct persistent *p = kzalloc(sizeof(*p), GFP_KERNEL);

	if (!p)
		return NULL;
	p->store.ops = &snap_persistent_ops;
	return &p->store;
}
