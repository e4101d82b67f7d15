// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A new store of what another one holds, or of ranges that lie in some other file.
 *
 * Everything comes as extents in the order of the logical device (core/regroup.h):
 *
 *	new store   header area 0 [ data of entry 0, 1, 2, ... ] area 1 [ ... ]
 *
 * The same code runs twice: first it only counts.  Order of durability: the old header goes; data
 * and areas; the new header.  A cut leaves no store that loads, or the complete one.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot.h"
#include "../core/map.h"
#include "../core/regroup.h"

#define PART_BYTES (1u << 20)		/* of an area */
#define SLICE_BYTES (64ull << 20)	/* of an extent that are looked at in one go */

/* where extents come from, ascending: the first one that ends behind @to; 1, 0, or negative */
struct feed {
	int (*next)(void *arg, uint64_t to, struct dmfmt_extent *e);
	void *arg;
};

struct convert {
	struct dmfmt_ctx *ctx;
	struct snap_geometry g;		/* of the new store */
	struct dmfmt_dev *source, *origin;
	const char *name;		/* the source's, for messages */
	uint64_t origin_bytes;		/* DMFMT_NONE: unknown */

	struct dmfmt_regroup r;

	/* only while writing */
	struct dmfmt_dev *to;
	bool fresh;			/* a file that this run made: holes are zeros */
	struct dmfmt_mover mover;
	struct snap_exception_disk *part;
	size_t part_slots, fill;	/* slots in a part (an area, or 1 MiB of one); filled ones */
	uint64_t area, slot;		/* of the part */
};

/* ---- areas --------------------------------------------------------------------------------- */

static int put_part(struct convert *c)
{
	uint64_t off = snap_area_offset(&c->g, c->area) + c->slot * SNAP_ENTRY;
	int ret = 0;

	if (c->fill || !c->fresh)
		ret = dmfmt_dev_write(c->to, off, c->part, c->part_slots * SNAP_ENTRY);
	memset(c->part, 0, c->fill * SNAP_ENTRY);
	c->fill = 0;
	c->slot += c->part_slots;
	if (c->slot == c->g.entries) {
		c->slot = 0;
		c->area++;
	}
	return ret;
}

static int put_entries(void *arg, uint64_t old_chunk, uint64_t nr)
{
	struct convert *c = arg;
	int ret = 0;

	while (!ret && nr && c->to) {
		uint64_t dense = dmfmt_snap_dense_chunk(&c->g, c->area, c->slot + c->fill);
		size_t i, take = c->part_slots - c->fill;

		if (take > nr)
			take = (size_t)nr;
		for (i = 0; i < take; i++)
			dmfmt_snap_exception_encode(old_chunk + i, dense + i, &c->part[c->fill + i]);
		c->fill += take;
		old_chunk += take;
		nr -= take;
		if (c->fill == c->part_slots)
			ret = put_part(c);
	}
	return ret;
}

/* the rest of the last area: zeros; a full one is followed by an empty one */
static int put_end(struct convert *c)
{
	uint64_t area = c->area;
	int ret = 0;

	while (!ret && c->area == area)
		ret = put_part(c);
	return ret;
}

/* ---- data ---------------------------------------------------------------------------------- */

/* the new store has them in one piece up to the end of each area */
static int put_data(void *arg, unsigned src, uint64_t from, uint64_t index, uint64_t within,
		    uint64_t len)
{
	struct convert *c = arg;
	int ret = 0;

	while (!ret && len && c->to) {
		uint64_t slot = index % c->g.entries;
		uint64_t piece = (c->g.entries - slot) * c->g.chunk_bytes - within;
		uint64_t chunk = dmfmt_snap_dense_chunk(&c->g, index / c->g.entries, slot);

		if (piece > len)
			piece = len;
		ret = dmfmt_mover_add(&c->mover, src, from, chunk * c->g.chunk_bytes + within,
				      piece);
		from += piece;
		len -= piece;
		index += c->g.entries - slot;
		within = 0;
	}
	return ret;
}

static int needs_origin(void *arg, uint64_t from, uint64_t to)
{
	struct convert *c = arg;

	return dmfmt_fail(c->ctx, -EINVAL,
			  "%s: sectors %" PRIu64 " to %" PRIu64
			  " are not in the store, but in the new chunk %" PRIu64
			  ", expected the origin to be given", c->name, from >> 9, (to >> 9) - 1,
			  from / c->g.chunk_bytes);
}

static int put_extent(struct convert *c, struct dmfmt_extent e)
{
	int ret = 0;

	if (e.to > DMFMT_LOGICAL_END || e.length > DMFMT_LOGICAL_END - e.to)
		return dmfmt_fail(c->ctx, -ERANGE,
				  "%s: sector %" PRIu64 " of the origin, expected at most %" PRIu64
				  " of them", c->name, e.to >> 9, (uint64_t)(DMFMT_LOGICAL_END >> 9));
	/* what lies past the origin's end must not get an entry: the kernel's merge fails on it */
	if (e.to >= c->origin_bytes)
		return 0;
	if (e.length > c->origin_bytes - e.to)
		e.length = c->origin_bytes - e.to;
	while (!ret && e.length) {
		struct dmfmt_extent slice = e;

		if (slice.length > SLICE_BYTES)
			slice.length = SLICE_BYTES;
		ret = dmfmt_regroup_extent(&c->r, &slice);
		e.to += slice.length;
		e.from += e.from == DMFMT_NONE ? 0 : slice.length;
		e.length -= slice.length;
	}
	return ret;
}

/* all extents once; counts, and writes if there is a destination */
static int pass(struct convert *c, const struct feed *feed)
{
	struct dmfmt_extent e;
	uint64_t to = 0;
	int ret;

	c->r = (struct dmfmt_regroup){
		.block_bytes = c->g.chunk_bytes, .origin_bytes = c->origin_bytes,
		.blocks = put_entries, .data = put_data,
		.lacks = c->origin ? NULL : needs_origin, .arg = c,
	};
	dmfmt_regroup_begin(&c->r);
	while ((ret = feed->next(feed->arg, to, &e)) > 0) {
		ret = put_extent(c, e);
		if (ret)
			return ret;
		to = e.to + e.length;
	}
	return ret ? ret : dmfmt_regroup_end(&c->r);
}

/* ---- sizes --------------------------------------------------------------------------------- */

static int set_geometry(struct convert *c, uint64_t chunk_sectors, const struct dmfmt_dev *to)
{
	uint32_t block = to ? to->block : 512;

	if (dmfmt_snap_geometry_init(&c->g, chunk_sectors, to ? to->size >> 9 : 0))
		return dmfmt_fail(c->ctx, -EINVAL,
				  "%s: new chunk size is %" PRIu64
				  " sectors, expected a power of two from 1 to %u",
				  c->name, chunk_sectors, DMFMT_SNAP_CHUNK_SECTORS_MAX);
	if (c->origin && c->origin->block > block)
		block = c->origin->block;
	if (c->g.chunk_bytes % block)
		return dmfmt_fail(c->ctx, -EINVAL,
				  "%s: new chunk size is %" PRIu64
				  " sectors, expected a multiple of the logical block size (%u bytes)",
				  to ? to->path : c->name, chunk_sectors, block);
	return 0;
}

/*
 * How many chunks the new store takes.  The number that is just enough for n exceptions and their
 * terminator is never 1 modulo the stride, the size at which upstream's kernel invalidates a full
 * store: it would have to end with the last data chunk of an area, and then the terminator's area
 * is needed as well.
 */
static int chunks_needed(struct convert *c, const struct feed *feed, uint64_t *chunks)
{
	int ret = pass(c, feed);

	if (ret)
		return ret;
	*chunks = dmfmt_snap_chunks_needed(&c->g, c->r.nr);
	if (*chunks == 2)
		*chunks = 3;	/* an empty one has room for an exception, too */
	if (!*chunks || *chunks > DMFMT_LOGICAL_END / c->g.chunk_bytes)
		return dmfmt_fail(c->ctx, -ERANGE,
				  "%s: %" PRIu64 " chunks of %u sectors, expected fewer than any device has",
				  c->name, c->r.nr, c->g.chunk_sectors);
	return 0;
}

static int check_room(struct convert *c, const struct dmfmt_dev *to, uint64_t needed)
{
	if (c->g.chunks < needed)
		return dmfmt_fail(c->ctx, -ENOSPC,
				  "%s: the device has %" PRIu64 " sectors, expected at least %" PRIu64
				  " (%" PRIu64 " exceptions of %u sectors)", to->path, to->size >> 9,
				  needed << c->g.shift, c->r.nr, c->g.chunk_sectors);
	if (dmfmt_snap_edge(&c->g))
		dmfmt_log(c->ctx, DMFMT_LOG_WARNING,
			  "new store: the device has %" PRIu64
			  " chunks of %u sectors and ends with an area's last data chunk: when it fills up the kernel invalidates the snapshot, expected a chunk more or less",
			  c->g.chunks, c->g.chunk_sectors);
	return 0;
}

/* ---- writing ------------------------------------------------------------------------------- */

/* durably no store: an old header must not stay valid over areas that are being replaced */
static int destroy_header(struct convert *c)
{
	struct snap_header_disk d, none = { 0 };
	int ret;

	if (c->fresh)
		return 0;
	ret = dmfmt_dev_read(c->to, 0, &d, sizeof(d));
	if (!ret && d.magic != 0)
		ret = dmfmt_dev_write(c->to, 0, &none, sizeof(none)) ?: dmfmt_dev_flush(c->to);
	return ret ? ret : dmfmt_dev_zero(c->to, 0, c->g.chunk_bytes);
}

/* what a larger store with this chunk size has left behind the new end does no harm (the kernel
 * clears an area before it gets there), but it looks alive to whoever looks for lost areas */
static int clear_beyond(struct convert *c)
{
	uint64_t chunk, area = c->area, end = area + SNAP_LOOK_BEYOND;
	int ret = 0;

	for (; !ret && !c->fresh && area < end && dmfmt_snap_area_chunk(&c->g, area, &chunk); area++) {
		struct snap_exception_disk e;

		ret = dmfmt_dev_read(c->to, snap_area_offset(&c->g, area), &e, sizeof(e));
		if (!ret && (dmfmt_snap_old(&e) || dmfmt_snap_new(&e)))
			ret = dmfmt_dev_zero(c->to, snap_area_offset(&c->g, area), 512);
	}
	return ret;
}

static int write_header(struct convert *c)
{
	struct snap_header h = { DMFMT_SNAP_MAGIC, 1, DMFMT_SNAP_VERSION, c->g.chunk_sectors };
	struct snap_header_disk d;

	dmfmt_snap_header_encode(&h, &d);
	return dmfmt_dev_write(c->to, 0, &d, sizeof(d)) ?: dmfmt_dev_flush(c->to);
}

static int begin_writing(struct convert *c, struct dmfmt_dev *to)
{
	uint64_t total = c->r.bytes[DMFMT_FROM_STORE] + c->r.bytes[DMFMT_FROM_ORIGIN] +
			 c->r.bytes[DMFMT_FROM_NOWHERE];

	c->to = to;
	c->fresh = to->flags & DMFMT_OPEN_CREATE;
	c->part_slots = (size_t)(c->g.chunk_bytes < PART_BYTES ? c->g.chunk_bytes : PART_BYTES) /
			SNAP_ENTRY;
	c->part = calloc(c->part_slots, SNAP_ENTRY);
	if (!c->part)
		return dmfmt_fail(c->ctx, -ENOMEM, "out of memory");
	return dmfmt_mover_open(&c->mover, c->ctx, c->source, c->origin, to, total, PART_BYTES);
}

static int write_store(struct convert *c, struct dmfmt_dev *to, const struct feed *feed)
{
	uint64_t counted = c->r.nr;
	int ret = begin_writing(c, to);

	if (!ret)
		ret = destroy_header(c);
	if (!ret)
		ret = pass(c, feed);
	if (!ret && c->r.nr != counted)
		ret = dmfmt_fail(c->ctx, -ESTALE, "%s: has changed while it was read: %" PRIu64
				 " chunks, expected %" PRIu64, c->name, c->r.nr, counted);
	if (!ret)
		ret = dmfmt_mover_run(&c->mover);
	if (!ret)
		ret = put_end(c);
	if (!ret)
		ret = clear_beyond(c);
	if (!ret)
		ret = dmfmt_dev_flush(to);
	if (!ret)
		ret = write_header(c);
	dmfmt_mover_close(&c->mover);
	free(c->part);
	return ret;
}

static int emit(struct convert *c, dmfmt_field_fn fn, void *arg, const char *name,
		enum dmfmt_unit unit, uint64_t unit_bytes, uint64_t u)
{
	const struct dmfmt_field f = { .group = "store", .name = name, .unit = unit,
				       .unit_bytes = unit_bytes, .u = u };

	return fn ? fn(arg, &f) : 0;
}

static int tell(struct convert *c, uint64_t needed, dmfmt_field_fn fn, void *arg)
{
	uint64_t usable;
	int ret;

	dmfmt_snap_capacity(&c->g, &usable);
	ret = emit(c, fn, arg, "chunk_size", DMFMT_UNIT_SECTORS, 512, c->g.chunk_sectors);
	if (!ret)
		ret = emit(c, fn, arg, "nr_exceptions", DMFMT_UNIT_NONE, 0, c->r.nr);
	if (!ret)
		ret = emit(c, fn, arg, "needed_sectors", DMFMT_UNIT_SECTORS, 512,
			   needed << c->g.shift);
	if (!ret)
		ret = emit(c, fn, arg, "device_sectors", DMFMT_UNIT_SECTORS, 512,
			   c->g.device_sectors);
	if (!ret)
		ret = emit(c, fn, arg, "usable_chunks", DMFMT_UNIT_CHUNKS, c->g.chunk_bytes, usable);
	if (!ret)
		ret = emit(c, fn, arg, "store_bytes", DMFMT_UNIT_BYTES, 1, c->r.bytes[DMFMT_FROM_STORE]);
	if (!ret)
		ret = emit(c, fn, arg, "origin_bytes", DMFMT_UNIT_BYTES, 1, c->r.bytes[DMFMT_FROM_ORIGIN]);
	if (!ret)
		ret = emit(c, fn, arg, "zero_bytes", DMFMT_UNIT_BYTES, 1, c->r.bytes[DMFMT_FROM_NOWHERE]);
	return ret;
}

/* count, look at the destination, write */
static int convert(struct convert *c, struct dmfmt_dev *to, const struct dmfmt_convert_params *p,
		   const struct feed *feed, dmfmt_field_fn fn, void *arg)
{
	uint64_t needed;
	int ret;

	if (to == c->source || to == c->origin)
		return dmfmt_fail(c->ctx, -EINVAL,
				  "%s: the new store is the device that is read, expected another one",
				  to->path);
	ret = chunks_needed(c, feed, &needed);
	if (!ret)
		ret = check_room(c, to, needed);
	if (!ret && !(to->flags & DMFMT_OPEN_CREATE) && !(p->flags & DMFMT_CREATE_FORCE))
		ret = snap_check_blank(c->ctx, to);
	if (!ret)
		ret = write_store(c, to, feed);
	return ret ? ret : tell(c, needed, fn, arg);
}

/* ---- of a store ---------------------------------------------------------------------------- */

static int next_of_map(void *map, uint64_t to, struct dmfmt_extent *e)
{
	return dmfmt_map_next(map, to, e);
}

/* what is common to both public functions; @to may be NULL */
static int begin_store(struct dmfmt *f, const struct dmfmt_convert_params *p, struct dmfmt_dev *to,
		       struct convert *c, struct dmfmt_map **map)
{
	const struct snap *s = f->priv;
	uint64_t old, new;
	int ret;

	f->ctx->error[0] = '\0';
	if (f->format != &dmfmt_snapshot_format || (f->flags & DMFMT_OPEN_HEADER_ONLY))
		return dmfmt_fail(f->ctx, -EINVAL,
				  "convert: %s: expected a whole snapshot exception store", f->dev->path);
	if (!p || p->size < sizeof(*p) || (p->flags & ~DMFMT_CREATE_FORCE))
		return dmfmt_fail(f->ctx, -EINVAL, "convert: no parameters, or unknown flags");
	ret = dmfmt_need_sound(f, "convert");
	if (ret)
		return ret;
	*c = (struct convert){
		.ctx = f->ctx, .source = f->dev, .origin = f->origin, .name = f->dev->path,
		.origin_bytes = f->origin_sectors == DMFMT_NONE ? DMFMT_NONE : f->origin_sectors << 9,
	};
	old = s->g.chunk_sectors;
	new = p->chunk_sectors ? p->chunk_sectors : old;
	ret = set_geometry(c, new, to);
	if (!ret && new < old && c->origin_bytes == DMFMT_NONE)
		ret = dmfmt_fail(f->ctx, -EINVAL,
				 "%s: chunk size %" PRIu64 " to %" PRIu64
				 " sectors: the last chunk may reach past the origin's end, expected the origin or its size to be given",
				 f->dev->path, old, new);
	return ret ? ret : dmfmt_map_open(f, 0, map);
}

int dmfmt_snapshot_convert_size(struct dmfmt *f, const struct dmfmt_convert_params *p,
				uint64_t *sectors)
{
	struct dmfmt_map *map = NULL;
	struct convert c;
	uint64_t chunks;
	int ret;

	if (!f || !sectors)
		return -EINVAL;
	ret = begin_store(f, p, NULL, &c, &map);
	if (!ret)
		ret = chunks_needed(&c, &(struct feed){ next_of_map, map }, &chunks);
	if (!ret)
		*sectors = chunks << c.g.shift;
	if (map)
		dmfmt_map_close(map);
	return ret;
}

int dmfmt_snapshot_convert(struct dmfmt *f, struct dmfmt_dev *to,
			   const struct dmfmt_convert_params *p, dmfmt_field_fn fn, void *arg)
{
	struct dmfmt_map *map = NULL;
	struct convert c;
	int ret;

	if (!f)
		return -EINVAL;
	if (!to)
		return dmfmt_fail(f->ctx, -EINVAL, "convert: no destination was given");
	ret = begin_store(f, p, to, &c, &map);
	if (!ret)
		ret = convert(&c, to, p, &(struct feed){ next_of_map, map }, fn, arg);
	if (map)
		dmfmt_map_close(map);
	return ret;
}

/* ---- of a list of extents ------------------------------------------------------------------ */

struct list {
	const struct dmfmt_extent *v;
	size_t nr, at;
};

static int next_of_list(void *arg, uint64_t to, struct dmfmt_extent *e)
{
	struct list *l = arg;

	if (!to)
		l->at = 0;
	while (l->at < l->nr && l->v[l->at].to + l->v[l->at].length <= to)
		l->at++;
	if (l->at == l->nr)
		return 0;
	*e = l->v[l->at];
	return 1;
}

static int bad_extent(struct dmfmt_ctx *ctx, const struct dmfmt_dev *dev,
		      const struct dmfmt_extent *e, const char *expected)
{
	return dmfmt_fail(ctx, -ERANGE,
			  "%s: %" PRIu64 " bytes for %" PRIu64 " on the origin, expected %s",
			  dev->path, e->length, e->to, expected);
}

static int check_extents(struct dmfmt_ctx *ctx, const struct dmfmt_dev *source,
			 const struct dmfmt_dev *origin, const struct dmfmt_extent *e, size_t nr)
{
	uint64_t end = 0;
	size_t i;

	for (i = 0; i < nr; i++, e++) {
		if (!e->length || (e->to | e->length) % 512 ||
		    (e->from != DMFMT_NONE && e->from % 512))
			return bad_extent(ctx, source, e, "whole sectors");
		if (e->to < end)
			return bad_extent(ctx, source, e, "ascending ranges that do not overlap");
		if (e->to > origin->size || e->length > origin->size - e->to)
			return bad_extent(ctx, source, e, "a range inside the origin");
		if (e->from != DMFMT_NONE &&
		    (e->from > source->size || e->length > source->size - e->from))
			return bad_extent(ctx, source, e, "data inside the file");
		end = e->to + e->length;
	}
	return 0;
}

int dmfmt_snapshot_import(struct dmfmt_ctx *ctx, struct dmfmt_dev *source, struct dmfmt_dev *origin,
			  const struct dmfmt_extent *extents, size_t nr,
			  const struct dmfmt_convert_params *p, struct dmfmt_dev *to,
			  uint64_t *sectors_needed, dmfmt_field_fn fn, void *arg)
{
	struct list list = { extents, nr, 0 };
	struct feed feed = { next_of_list, &list };
	struct convert c = { .ctx = ctx, .source = source, .origin = origin };
	uint64_t chunks;
	int ret;

	if (!ctx)
		return -EINVAL;
	ctx->error[0] = '\0';
	if (!source || !origin || (nr && !extents) || (!to && !sectors_needed) || !p ||
	    p->size < sizeof(*p) || (p->flags & ~DMFMT_CREATE_FORCE))
		return dmfmt_fail(ctx, -EINVAL, "import: a device or the parameters are missing");
	c.name = source->path;
	c.origin_bytes = origin->size & ~(uint64_t)511;
	ret = check_extents(ctx, source, origin, extents, nr);
	if (!ret)
		ret = set_geometry(&c, p->chunk_sectors, to);
	if (ret || to)
		return ret ? ret : convert(&c, to, p, &feed, fn, arg);
	ret = chunks_needed(&c, &feed, &chunks);
	if (!ret)
		*sectors_needed = chunks << c.g.shift;
	return ret;
}
