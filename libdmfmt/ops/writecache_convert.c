// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A new cache that holds the dirty blocks of another one, in blocks of another size, on a device of
 * another size, at another start_sector; or another n_blocks in place.
 *
 * The new cache is dense and in the order of the origin (core/regroup.h): S is 1, and entries 0 to
 * N-1 have seq_count 0, so all of them are committed; the rest is free.  Blocks past the origin's
 * end go along as they are: nobody but a person can say whether it is the right origin.
 *
 * Order of durability: what stands there is made no cache; data and entries; the first sector.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "writecache.h"
#include "../core/map.h"
#include "../core/regroup.h"

#define NEW_SEQ 1u
#define TABLE_BYTES (1u << 20)	/* memory that a struct wc_table takes */

struct convert {
	struct dmfmt *f;
	struct dmfmt_ctx *ctx;
	struct wc_geometry g;		/* of the new cache; n_blocks is 0 without a device */
	struct dmfmt_regroup r;
	struct dmfmt_map *map;
	uint64_t origin_sectors;	/* as the handle had it */

	/* blocks that lack something, and how much, where no origin is at hand */
	uint64_t incomplete, lacking, last_incomplete;

	struct dmfmt_dev *to;		/* only while writing */
	struct dmfmt_mover mover;
	struct wc_table table;
};

/* ---- blocks and data ----------------------------------------------------------------------- */

static int put_blocks(void *arg, uint64_t first, uint64_t nr)
{
	struct convert *c = arg;

	return c->to ? wc_table_put_run(&c->table, first * (c->g.block_size >> 9), 0, nr) : 0;
}

/* data blocks lie one behind the other */
static int put_data(void *arg, unsigned src, uint64_t from, uint64_t index, uint64_t within,
		    uint64_t len)
{
	struct convert *c = arg;

	return c->to ? dmfmt_mover_add(&c->mover, src, from,
				       dmfmt_wc_block_offset(&c->g, index) + within, len) : 0;
}

/* counted, so that the message can say how many there are */
static int lacks(void *arg, uint64_t from, uint64_t to)
{
	struct convert *c = arg;
	uint64_t block = from / c->g.block_size;

	if (!c->incomplete || block != c->last_incomplete)
		c->incomplete++;
	c->last_incomplete = block;
	c->lacking += to - from;
	return 0;
}

/* all extents once; counts, and writes if there is a destination */
static int pass(struct convert *c)
{
	struct dmfmt_extent e;
	uint64_t to = 0;
	int ret;

	c->incomplete = c->lacking = 0;
	c->r = (struct dmfmt_regroup){
		.block_bytes = c->g.block_size, .blocks = put_blocks, .data = put_data, .arg = c,
		.origin_bytes = c->origin_sectors > DMFMT_LOGICAL_END / 512 ? DMFMT_NONE :
				c->origin_sectors * 512,
		.lacks = c->f->origin ? NULL : lacks,
	};
	dmfmt_regroup_begin(&c->r);
	while ((ret = dmfmt_map_next(c->map, to, &e)) > 0) {
		if (e.to > DMFMT_LOGICAL_END || e.length > DMFMT_LOGICAL_END - e.to)
			return dmfmt_fail(c->ctx, -ERANGE,
					  "%s: original_sector %" PRIu64 ", expected at most %" PRIu64,
					  c->f->dev->path, e.to >> 9,
					  (uint64_t)(DMFMT_LOGICAL_END >> 9));
		ret = dmfmt_regroup_extent(&c->r, &e);
		if (ret)
			return ret;
		to = e.to + e.length;
	}
	return ret ? ret : dmfmt_regroup_end(&c->r);
}

static int count(struct convert *c)
{
	int ret = pass(c);

	if (ret || !c->incomplete)
		return ret;
	return dmfmt_fail(c->ctx, -EUCLEAN,
			  "%s: %" PRIu64 " of the new blocks of %u bytes are not whole (%" PRIu64
			  " sectors of them are not in the cache), expected the origin to be given",
			  c->f->dev->path, c->incomplete, c->g.block_size, c->lacking >> 9);
}

/* ---- sizes --------------------------------------------------------------------------------- */

/* of the smallest device, behind its start; an empty cache has room for one block as well */
static int needed(struct convert *c, uint64_t *sectors)
{
	uint64_t n = c->r.nr ? c->r.nr : 1, metadata = dmfmt_wc_metadata_bytes(n, c->g.block_size);

	if (!metadata || n > (DMFMT_LOGICAL_END - metadata) / c->g.block_size)
		return dmfmt_fail(c->ctx, -ERANGE,
				  "%s: %" PRIu64 " blocks of %u bytes, expected fewer than any device has",
				  c->f->dev->path, n, c->g.block_size);
	*sectors = (metadata + n * c->g.block_size) >> 9;
	return 0;
}

static int check_room(struct convert *c, const struct dmfmt_dev *to)
{
	uint64_t sectors;
	int ret = needed(c, &sectors);

	if (ret || c->g.n_blocks >= c->r.nr)
		return ret;
	return dmfmt_fail(c->ctx, -ENOSPC,
			  "%s: the device has %" PRIu64
			  " sectors behind start_sector, expected at least %" PRIu64 " (%" PRIu64
			  " dirty blocks of %u bytes)", to->path, wc_usable(to) >> 9, sectors, c->r.nr,
			  c->g.block_size);
}

/* ---- writing ------------------------------------------------------------------------------- */

static int begin_writing(struct convert *c, struct dmfmt_dev *to)
{
	const struct wc_superblock sb = { DMFMT_WC_MAGIC, DMFMT_WC_VERSION, c->g.block_size, 0,
					  c->g.n_blocks, NEW_SEQ };
	uint64_t total = c->r.bytes[DMFMT_FROM_STORE] + c->r.bytes[DMFMT_FROM_ORIGIN] +
			 c->r.bytes[DMFMT_FROM_NOWHERE];
	int ret;

	c->to = to;
	c->table = (struct wc_table){ .ctx = c->ctx, .dev = to, .g = &c->g, .what = "converting" };
	dmfmt_wc_superblock_encode(&sb, &c->table.sb);
	ret = dmfmt_mover_open(&c->mover, c->ctx, c->f->dev, c->f->origin, to, total, TABLE_BYTES);
	return ret ? ret : wc_table_begin(&c->table);
}

static int write_cache(struct convert *c, struct dmfmt_dev *to)
{
	uint64_t counted = c->r.nr;
	int ret = begin_writing(c, to);

	if (!ret)
		ret = pass(c);
	if (!ret && c->r.nr != counted)
		ret = dmfmt_fail(c->ctx, -ESTALE, "%s: has changed while it was read: %" PRIu64
				 " blocks, expected %" PRIu64, c->f->dev->path, c->r.nr, counted);
	if (!ret)
		ret = dmfmt_mover_run(&c->mover);
	if (!ret)
		ret = wc_table_put_free(&c->table);
	if (!ret)
		ret = wc_table_commit(&c->table);
	dmfmt_mover_close(&c->mover);
	wc_table_free(&c->table);
	return ret;
}

struct tell {
	dmfmt_field_fn fn;
	void *arg;
	uint64_t block_bytes;
	int ret;
};

static void put(struct tell *t, const char *name, enum dmfmt_unit unit, uint64_t u)
{
	struct dmfmt_field f = { .group = "cache", .name = name, .unit = unit, .u = u };

	f.unit_bytes = unit == DMFMT_UNIT_SECTORS ? 512 : unit == DMFMT_UNIT_BLOCKS ? t->block_bytes :
		       unit == DMFMT_UNIT_BYTES;
	if (t->fn && !t->ret)
		t->ret = t->fn(t->arg, &f);
}

static int tell(struct convert *c, struct dmfmt_dev *to, dmfmt_field_fn fn, void *arg)
{
	struct tell t = { .fn = fn, .arg = arg, .block_bytes = c->g.block_size };
	uint64_t sectors = 0;

	t.ret = needed(c, &sectors);
	put(&t, "block_size", DMFMT_UNIT_BYTES, c->g.block_size);
	put(&t, "n_blocks", DMFMT_UNIT_BLOCKS, c->g.n_blocks);
	put(&t, "dirty_blocks", DMFMT_UNIT_BLOCKS, c->r.nr);
	put(&t, "start_sector", DMFMT_UNIT_SECTORS, c->g.start >> 9);
	put(&t, "device_sectors", DMFMT_UNIT_SECTORS, to->size >> 9);
	put(&t, "needed_sectors", DMFMT_UNIT_SECTORS, sectors);
	put(&t, "cache_bytes", DMFMT_UNIT_BYTES, c->r.bytes[DMFMT_FROM_STORE]);
	put(&t, "origin_bytes", DMFMT_UNIT_BYTES, c->r.bytes[DMFMT_FROM_ORIGIN]);
	put(&t, "zero_bytes", DMFMT_UNIT_BYTES, c->r.bytes[DMFMT_FROM_NOWHERE]);
	return t.ret;
}

/* ---- the public functions ------------------------------------------------------------------ */

static int need_whole(struct dmfmt *f, const char *what)
{
	f->ctx->error[0] = '\0';
	if (f->format == &dmfmt_writecache_format && !(f->flags & DMFMT_OPEN_HEADER_ONLY))
		return 0;
	return dmfmt_fail(f->ctx, -EINVAL, "%s: %s: expected a whole writecache cache", what,
			  f->dev->path);
}

/* without a device only the block size counts */
static int set_geometry(struct convert *c, uint64_t bytes, struct dmfmt_dev *to)
{
	struct dmfmt_dev *origin = c->f->origin;
	int ret;

	if (to)
		return wc_new_geometry(c->ctx, to, origin, bytes, &c->g);
	ret = wc_new_block_size(c->ctx, c->f->dev->path, bytes, origin ? origin->block : 512);
	return ret ? ret : dmfmt_wc_geometry_init(&c->g, 0, UINT64_MAX, bytes, 1);
}

/* @to may be NULL; end_convert() either way */
static int begin_convert(struct dmfmt *f, const struct dmfmt_writecache_params *p,
			 struct dmfmt_dev *to, struct convert *c)
{
	const struct wc *w = f->priv;
	int ret = need_whole(f, "convert");

	*c = (struct convert){ .f = f, .ctx = f->ctx, .origin_sectors = f->origin_sectors };
	if (ret)
		return ret;
	if (!p || p->size < sizeof(*p) || (p->flags & ~DMFMT_CREATE_FORCE))
		return dmfmt_fail(f->ctx, -EINVAL, "convert: no parameters, or unknown flags");
	if (to && (to == f->dev || to == f->origin))
		return dmfmt_fail(f->ctx, -EINVAL,
				  "%s: the new cache is a device that is read, expected another one",
				  to->path);
	ret = dmfmt_need_sound(f, "convert");
	if (!ret)
		ret = set_geometry(c, p->block_bytes ? p->block_bytes : w->g.block_size, to);
	if (ret)
		return ret;
	/* what lies past the origin's end goes along */
	f->origin_sectors = DMFMT_NONE;
	ret = dmfmt_map_open(f, 0, &c->map);
	return ret ? ret : count(c);
}

static void end_convert(struct convert *c)
{
	c->f->origin_sectors = c->origin_sectors;
	if (c->map)
		dmfmt_map_close(c->map);
}

int dmfmt_writecache_convert_size(struct dmfmt *f, const struct dmfmt_writecache_params *p,
				  uint64_t *sectors)
{
	struct convert c;
	int ret;

	if (!f || !sectors)
		return -EINVAL;
	ret = begin_convert(f, p, NULL, &c);
	if (!ret)
		ret = needed(&c, sectors);
	end_convert(&c);
	return ret;
}

int dmfmt_writecache_convert(struct dmfmt *f, struct dmfmt_dev *to,
			     const struct dmfmt_writecache_params *p, dmfmt_field_fn fn, void *arg)
{
	struct convert c;
	int ret;

	if (!f)
		return -EINVAL;
	if (!to)
		return dmfmt_fail(f->ctx, -EINVAL, "convert: no destination was given");
	ret = begin_convert(f, p, to, &c);
	if (!ret)
		ret = check_room(&c, to);
	if (!ret)
		ret = wc_take_over(f->ctx, to, &c.g, p->flags);
	if (!ret)
		ret = wc_new_warnings(f->ctx, to, f->origin, &c.g);
	if (!ret)
		ret = write_cache(&c, to);
	if (!ret)
		ret = tell(&c, to, fn, arg);
	end_convert(&c);
	return ret;
}

/* ---- in place ------------------------------------------------------------------------------ */

/* struct resize - another n_blocks: @n; @used: slots that go and are not free, @first of them */
struct resize {
	struct dmfmt *f;
	uint64_t n, used, first;
};

static int used_part(void *arg, const struct wc_part *p)
{
	struct resize *r = arg;
	size_t i;

	for (i = 0; i < p->nr; i++)
		if (p->v[2 * i + 1] != DMFMT_WC_FREE && !r->used++)
			r->first = p->first + i;
	return 0;
}

/* @n blocks and their metadata, sectors */
static uint64_t sectors_of(const struct wc_geometry *g, uint64_t n)
{
	return (dmfmt_wc_metadata_bytes(n, g->block_size) + n * g->block_size) >> 9;
}

static int would_move(struct resize *r, const struct wc_geometry *g)
{
	/* the table fills the metadata up to its last entry at most, and down to their last block */
	uint64_t most = (g->metadata - WC_SUPERBLOCK) / WC_ENTRY, least = 1;

	if (g->metadata > g->block_size)
		least = (g->metadata - g->block_size - WC_SUPERBLOCK) / WC_ENTRY + 1;
	return dmfmt_fail(r->f->ctx, -EUCLEAN,
			  "%s: n_blocks would become %" PRIu64
			  " and every data block would have to move, expected %" PRIu64 " to %" PRIu64
			  " blocks: %" PRIu64 " to %" PRIu64
			  " sectors behind start_sector (or a new cache: dmtool writecache-convert --output)",
			  r->f->dev->path, r->n, least, most, sectors_of(g, least),
			  sectors_of(g, most + 1) - 1);
}

static int check_removed(struct resize *r, const struct wc_geometry *g)
{
	struct wc_walk walk = { .f = r->f, .what = "looking at what goes", .pass = 1, .nr_passes = 1,
				.first = r->n, .end = g->n_blocks, .fn = used_part, .arg = r };
	int ret = r->n < g->n_blocks ? wc_walk_run(&walk) : 0;

	if (ret || !r->used)
		return ret;
	return dmfmt_fail(r->f->ctx, -EUCLEAN,
			  "%s: %" PRIu64 " of the %" PRIu64
			  " entries that go are in use (the first is entry %" PRIu64
			  "), expected all of them to be free (dmtool writecache-flush empties the cache)",
			  r->f->dev->path, r->used, g->n_blocks - r->n, r->first);
}

static int plan_resize(struct resize *r, uint64_t sectors)
{
	const struct wc *w = r->f->priv;
	uint64_t usable = wc_usable(r->f->dev);
	int ret;

	if (sectors > usable >> 9)
		return dmfmt_fail(r->f->ctx, -ERANGE,
				  "%s: the device has %" PRIu64
				  " sectors behind start_sector, expected at least %" PRIu64,
				  r->f->dev->path, usable >> 9, sectors);
	if (sectors)
		usable = sectors * 512;
	ret = dmfmt_wc_blocks(usable, w->g.block_size, &r->n);
	if (ret == -EFBIG)
		return dmfmt_fail(r->f->ctx, ret,
				  "%s: more blocks than the kernel can count, expected at most %llu",
				  r->f->dev->path, DMFMT_WC_BLOCKS_MAX);
	if (ret || dmfmt_wc_metadata_bytes(r->n, w->g.block_size) != w->g.metadata)
		return would_move(r, &w->g);
	return check_removed(r, &w->g);
}

/* what lies in the slots that come is anything; they must be free before they count */
static int free_added(struct resize *r, const struct wc_geometry *g)
{
	size_t bytes;
	void *free_entries;
	int ret;

	if (r->n <= g->n_blocks)
		return 0;
	/* less than a block's worth */
	bytes = (size_t)(r->n - g->n_blocks) * WC_ENTRY;
	free_entries = malloc(bytes);
	if (!free_entries)
		return dmfmt_fail(r->f->ctx, -ENOMEM, "out of memory");
	memset(free_entries, 0xff, bytes);
	ret = dmfmt_dev_write(r->f->dev, dmfmt_wc_entry_offset(g, g->n_blocks), free_entries, bytes);
	free(free_entries);
	return ret ? ret : dmfmt_dev_flush(r->f->dev);
}

static int write_n_blocks(struct resize *r, uint64_t start)
{
	struct wc_superblock_disk d;
	uint8_t sector[512];
	int ret = dmfmt_dev_read(r->f->dev, start, sector, sizeof(sector));

	if (ret)
		return ret;
	memcpy(&d, sector, sizeof(d));
	d.n_blocks = dmfmt_le64_make(r->n);
	memcpy(sector, &d, sizeof(d));
	ret = dmfmt_dev_write(r->f->dev, start, sector, sizeof(sector));
	return ret ? ret : dmfmt_dev_flush(r->f->dev);
}

int dmfmt_writecache_resize(struct dmfmt *f, uint64_t sectors, dmfmt_field_fn fn, void *arg)
{
	struct resize r = { .f = f };
	struct tell t = { .fn = fn, .arg = arg };
	struct wc_geometry g;
	int ret;

	if (!f)
		return -EINVAL;
	ret = need_whole(f, "resize");
	if (!ret)
		ret = dmfmt_need_sound(f, "resize");
	if (!ret)
		ret = plan_resize(&r, sectors);
	if (ret)
		return ret;
	g = ((const struct wc *)f->priv)->g;
	if (r.n != g.n_blocks) {
		f->sound = false;
		ret = free_added(&r, &g);
		if (!ret)
			ret = write_n_blocks(&r, g.start);
		if (!ret)
			ret = wc_read_superblock(f);
	}
	if (ret)
		return ret;
	t.block_bytes = g.block_size;
	put(&t, "block_size", DMFMT_UNIT_BYTES, g.block_size);
	put(&t, "n_blocks_before", DMFMT_UNIT_BLOCKS, g.n_blocks);
	put(&t, "n_blocks", DMFMT_UNIT_BLOCKS, r.n);
	put(&t, "start_sector", DMFMT_UNIT_SECTORS, g.start >> 9);
	put(&t, "needed_sectors", DMFMT_UNIT_SECTORS, sectors_of(&g, r.n));
	return t.ret;
}
