// SPDX-License-Identifier: LGPL-2.1-or-later
/* The snapshot family: header, info, dump, find, pictures.  Check, repair and restore have files of
 * their own. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot.h"
#include "snapshot_append.h"
#include "../format/crc32c.h"

static const struct dmfmt_column columns[] = {
	{ "old_chunk", DMFMT_UNIT_CHUNKS },
	{ "new_chunk", DMFMT_UNIT_CHUNKS },
};

/* ---- header -------------------------------------------------------------------------------- */

static enum snap_state judge(const struct snap *s, uint64_t size)
{
	if (size < 512)
		return SNAP_TOO_SMALL;
	if (s->hdr.magic == 0)
		return SNAP_MAGIC_ZERO;
	if (s->hdr.magic == DMFMT_SNAP_MAGIC_SWAPPED)
		return SNAP_SWAPPED;
	if (s->hdr.magic != DMFMT_SNAP_MAGIC)
		return SNAP_MAGIC_BAD;
	if (!s->has_geometry)
		return SNAP_CHUNK_BAD;
	if (s->hdr.version != DMFMT_SNAP_VERSION)
		return SNAP_VERSION_BAD;
	if (s->g.chunks < 2)
		return SNAP_TOO_SMALL;
	return s->hdr.valid ? SNAP_SOUND : SNAP_INVALID;
}

int snap_read_header(struct dmfmt *f)
{
	struct snap *s = f->priv;
	struct snap_header_disk d;
	int ret;

	memset(&s->hdr, 0, sizeof(s->hdr));
	s->has_geometry = false;
	if (f->dev->size >= 512) {
		ret = dmfmt_dev_read(f->dev, 0, &d, sizeof(d));
		if (ret)
			return ret;
		dmfmt_snap_header_decode(&d, &s->hdr);
		s->has_geometry = !dmfmt_snap_geometry_init(&s->g, s->hdr.chunk_size,
							    f->dev->size >> 9);
	}
	s->state = judge(s, f->dev->size);
	return 0;
}

static int snap_open(struct dmfmt *f)
{
	int ret;

	if (f->dev->size < 512)
		return dmfmt_fail(f->ctx, -ERANGE,
				  "%s: the device has %" PRIu64 " bytes, expected at least 512 for a header",
				  f->dev->path, f->dev->size);
	f->priv = calloc(1, sizeof(struct snap));
	if (!f->priv)
		return dmfmt_fail(f->ctx, -ENOMEM, "out of memory");
	ret = snap_read_header(f);
	if (ret) {
		free(f->priv);
		f->priv = NULL;
	}
	return ret;
}

static void snap_close(struct dmfmt *f)
{
	struct snap *s = f->priv;

	if (s) {
		free(s->lossy.v);
		free(s->twins.v);
	}
	free(s);
	f->priv = NULL;
}

int snap_need_readable(struct dmfmt *f)
{
	const struct snap *s = f->priv;
	const char *p = f->dev->path;

	switch (s->state) {
	case SNAP_TOO_SMALL:
		return dmfmt_fail(f->ctx, -ERANGE,
				  "%s: the device has %" PRIu64 " sectors, expected at least two chunks",
				  p, f->dev->size >> 9);
	case SNAP_MAGIC_ZERO:
	case SNAP_MAGIC_BAD:
		return dmfmt_fail(f->ctx, -EILSEQ,
				  "%s: header: magic is 0x%08x, expected 0x%08x (snapshot exception store)",
				  p, s->hdr.magic, DMFMT_SNAP_MAGIC);
	case SNAP_SWAPPED:
		return dmfmt_fail(f->ctx, -EILSEQ,
				  "%s: header: the store is byte-swapped (big-endian), expected little-endian",
				  p);
	case SNAP_CHUNK_BAD:
		return dmfmt_fail(f->ctx, -EILSEQ,
				  "%s: header: chunk_size is %u sectors, expected a power of two from 1 to %u",
				  p, s->hdr.chunk_size, DMFMT_SNAP_CHUNK_SECTORS_MAX);
	case SNAP_VERSION_BAD:
		return dmfmt_fail(f->ctx, -EOPNOTSUPP, "%s: header: version is %u, expected %u", p,
				  s->hdr.version, DMFMT_SNAP_VERSION);
	case SNAP_INVALID:
	case SNAP_SOUND:
		break;
	}
	return 0;
}

static int snap_probe(struct dmfmt_dev *dev, struct dmfmt_candidate *c)
{
	struct snap_header_disk d;
	struct snap_header h;
	struct snap_geometry g;
	struct snap_guess guesses[22];
	unsigned nr;
	int best, ret;

	memset(c, 0, sizeof(*c));
	if (dev->size < 512) {
		snprintf(c->reason, sizeof(c->reason), "the device is smaller than a header");
		return 0;
	}
	ret = dmfmt_dev_read(dev, 0, &d, sizeof(d));
	if (ret)
		return ret;
	dmfmt_snap_header_decode(&d, &h);
	c->version = h.version;
	if (h.magic == DMFMT_SNAP_MAGIC) {
		bool sound = h.version == DMFMT_SNAP_VERSION && h.valid <= 1 &&
			     !dmfmt_snap_geometry_init(&g, h.chunk_size, dev->size >> 9);

		c->confidence = sound ? 95 : 60;
		snprintf(c->reason, sizeof(c->reason), sound ? "magic SnAp and a sound header" :
			 "magic SnAp, but the rest of the header is damaged");
		return 0;
	}
	if (h.magic == DMFMT_SNAP_MAGIC_SWAPPED) {
		c->confidence = 50;
		snprintf(c->reason, sizeof(c->reason), "magic SnAp in big-endian byte order");
		return 0;
	}
	c->version = 0;
	ret = snap_infer(dev->ctx, dev, guesses, &nr, &best);
	if (ret)
		return ret;
	if (best >= 0) {
		c->confidence = 30;
		snprintf(c->reason, sizeof(c->reason),
			 "no magic, but area 0 decodes with chunk size %u: %" PRIu64 " exceptions",
			 guesses[best].chunk_sectors, guesses[best].entries);
		return 0;
	}
	snprintf(c->reason, sizeof(c->reason), "magic is 0x%08x, expected 0x%08x, and no area decodes",
		 h.magic, DMFMT_SNAP_MAGIC);
	return 0;
}

/* ---- info ---------------------------------------------------------------------------------- */

struct emit {
	dmfmt_field_fn fn;
	void *arg;
	const char *group;
	uint64_t chunk_bytes;
	int ret;
};

static void put(struct emit *e, const char *name, enum dmfmt_kind kind, enum dmfmt_unit unit,
		uint64_t u, const char *s)
{
	struct dmfmt_field f = { .group = e->group, .name = name, .kind = kind, .unit = unit,
				 .u = u, .s = s };

	if (unit == DMFMT_UNIT_SECTORS)
		f.unit_bytes = 512;
	else if (unit == DMFMT_UNIT_BYTES)
		f.unit_bytes = 1;
	else if (unit == DMFMT_UNIT_CHUNKS)
		f.unit_bytes = e->chunk_bytes;
	if (!e->ret)
		e->ret = e->fn(e->arg, &f);
}

static void put_num(struct emit *e, const char *name, enum dmfmt_unit unit, uint64_t u)
{
	put(e, name, DMFMT_U64, unit, u, NULL);
}

static void put_str(struct emit *e, const char *name, const char *s)
{
	put(e, name, DMFMT_STRING, DMFMT_UNIT_NONE, 0, s);
}

struct count {
	const struct snap_geometry *g;
	uint64_t next_free, max_old, max_new;
	uint64_t nr_runs, longest_run, run;
	uint64_t prev_old, prev_new;
	uint64_t not_dense, out_of_range, top_byte;
};

static void count_one(struct count *c, uint64_t area, uint64_t slot, uint64_t old_chunk,
		      uint64_t new_chunk)
{
	c->next_free = dmfmt_snap_next_free(c->next_free, new_chunk);
	if (old_chunk > c->max_old)
		c->max_old = old_chunk;
	if (new_chunk > c->max_new)
		c->max_new = new_chunk;
	/* a merge never takes a run across the border of an area */
	if (slot && old_chunk == c->prev_old + 1 && new_chunk == c->prev_new + 1) {
		c->run++;
	} else {
		c->nr_runs++;
		c->run = 1;
	}
	if (c->run > c->longest_run)
		c->longest_run = c->run;
	c->prev_old = old_chunk;
	c->prev_new = new_chunk;
	c->not_dense += new_chunk != dmfmt_snap_dense_chunk(c->g, area, slot);
	c->out_of_range += !dmfmt_snap_new_chunk_ok(c->g, new_chunk);
	c->top_byte += new_chunk >> DMFMT_SNAP_NEW_CHUNK_BITS != 0;
}

static int count_part(void *arg, const struct snap_part *p)
{
	struct count *c = arg;
	size_t i;

	for (i = 0; i < p->live; i++)
		count_one(c, p->area, p->slot + i, p->v[2 * i], p->v[2 * i + 1]);
	return 0;
}

struct verdict {
	const char *what, *err, *why;
};

/* what a table load would do, in the kernel's order */
static struct verdict activation(const struct dmfmt *f, const struct count *c,
				 const struct snap_chain_end *end)
{
	const struct snap *s = f->priv;

	switch (s->state) {
	case SNAP_TOO_SMALL:
		return (struct verdict){ "reject", "EIO", "no room for a header and one area" };
	case SNAP_MAGIC_ZERO:
		return (struct verdict){ "format", "", "the magic is zero: the kernel makes a new store" };
	case SNAP_SWAPPED:
	case SNAP_MAGIC_BAD:
		return (struct verdict){ "reject", "ENXIO", "the magic is not SnAp" };
	case SNAP_CHUNK_BAD:
		return (struct verdict){ "reject", "EINVAL", "the chunk size is not allowed" };
	case SNAP_VERSION_BAD:
		return (struct verdict){ "reject", "EINVAL", "the version is not 1" };
	case SNAP_INVALID:
	case SNAP_SOUND:
		break;
	}
	if (s->g.chunk_bytes % f->dev->block ||
	    (f->origin && s->g.chunk_bytes % f->origin->block))
		return (struct verdict){ "reject", "EINVAL",
			"the chunk size is not a multiple of the logical block size" };
	if (s->state == SNAP_INVALID)
		return (struct verdict){ "invalid", "", "loads in the state Invalid: all I/O fails" };
	if (end && end->end == SNAP_END_DEVICE)
		return (struct verdict){ "reject", "EIO", "the chain runs off the device" };
	if (c && c->top_byte)
		return (struct verdict){ "danger", "", "loading may hit a kernel BUG" };
	return (struct verdict){ "accept", "", "" };
}

static void info_header(struct emit *e, const struct dmfmt *f)
{
	const struct snap *s = f->priv;

	e->group = "header";
	put(e, "magic", DMFMT_HEX, DMFMT_UNIT_NONE, s->hdr.magic, NULL);
	put_num(e, "valid", DMFMT_UNIT_NONE, s->hdr.valid);
	put_num(e, "version", DMFMT_UNIT_NONE, s->hdr.version);
	put_num(e, "chunk_size", DMFMT_UNIT_SECTORS, s->hdr.chunk_size);
	e->group = "geometry";
	put_num(e, "device_sectors", DMFMT_UNIT_SECTORS, f->dev->size >> 9);
	if (s->has_geometry) {
		uint64_t usable, all = dmfmt_snap_capacity(&s->g, &usable);

		put_num(e, "device_chunks", DMFMT_UNIT_CHUNKS, s->g.chunks);
		put_num(e, "exceptions_per_area", DMFMT_UNIT_NONE, s->g.entries);
		put_num(e, "allocatable_chunks", DMFMT_UNIT_CHUNKS, all);
		put_num(e, "usable_chunks", DMFMT_UNIT_CHUNKS, usable);
	}
	if (f->origin_sectors != DMFMT_NONE)
		put_num(e, "origin_sectors", DMFMT_UNIT_SECTORS, f->origin_sectors);
}

static void info_exceptions(struct emit *e, const struct snap *s, const struct count *c,
			    const struct snap_chain_end *end)
{
	const struct snap_geometry *g = &s->g;
	uint64_t n = end->records, current = n / g->entries;
	uint64_t used = c->next_free > 2 ? c->next_free - 2 : 0;
	/* data chunks below next_free: all but the metadata chunks of areas 1, 2, .. */
	uint64_t data = used - (c->next_free > 1 ? (c->next_free - 2) / g->stride : 0);

	e->group = "exceptions";
	put_num(e, "nr_exceptions", DMFMT_UNIT_NONE, n);
	put_num(e, "nr_areas", DMFMT_UNIT_NONE, end->areas);
	put_num(e, "current_area", DMFMT_UNIT_NONE, current);
	put_num(e, "next_free", DMFMT_UNIT_NONE, dmfmt_snap_skip_metadata(g, c->next_free));
	put_num(e, "data_bytes", DMFMT_UNIT_BYTES, n * g->chunk_bytes);
	put_num(e, "holes", DMFMT_UNIT_CHUNKS, c->out_of_range || data < n ? 0 : data - n);
	put(e, "dense", DMFMT_BOOL, DMFMT_UNIT_NONE, !c->not_dense, NULL);
	put_num(e, "nr_runs", DMFMT_UNIT_NONE, c->nr_runs);
	put_num(e, "longest_run", DMFMT_UNIT_CHUNKS, c->longest_run);
	put_num(e, "kernel_memory_bytes", DMFMT_UNIT_BYTES, c->nr_runs * 32 + 4 * g->chunk_bytes);
	if (n) {
		put_num(e, "max_old_chunk", DMFMT_UNIT_NONE, c->max_old);
		put_num(e, "max_new_chunk", DMFMT_UNIT_NONE, c->max_new);
	}
}

/* the numbers of the kernel's status line: dm-snap-persistent.c, persistent_usage() */
static void info_status(struct emit *e, const struct dmfmt *f, const struct count *c,
			const struct snap_chain_end *end)
{
	const struct snap *s = f->priv;
	uint64_t next = dmfmt_snap_skip_metadata(&s->g, c->next_free);
	uint64_t allocated = next * s->g.chunk_sectors;
	uint64_t metadata = (end->records / s->g.entries + 2) * s->g.chunk_sectors;
	uint64_t total = s->g.device_sectors;
	char line[80];

	e->group = "status";
	put_num(e, "allocated_sectors", DMFMT_UNIT_SECTORS, allocated);
	put_num(e, "total_sectors", DMFMT_UNIT_SECTORS, total);
	put_num(e, "metadata_sectors", DMFMT_UNIT_SECTORS, metadata);
	if (s->state == SNAP_INVALID)
		snprintf(line, sizeof(line), "Invalid");
	else
		snprintf(line, sizeof(line), "%" PRIu64 "/%" PRIu64 " %" PRIu64, allocated, total,
			 metadata);
	put_str(e, "line", line);
	if (total && allocated <= total)
		put_num(e, "used_percent", DMFMT_UNIT_PERCENT,
			allocated == metadata ? 0 : (uint64_t)(100.0 * (double)allocated / (double)total));
}

static int snap_info(struct dmfmt *f, dmfmt_field_fn fn, void *arg)
{
	struct snap *s = f->priv;
	struct emit e = { .fn = fn, .arg = arg,
			  .chunk_bytes = s->has_geometry ? s->g.chunk_bytes : 0 };
	struct count c = { .g = &s->g, .next_free = DMFMT_SNAP_FIRST_DATA_CHUNK };
	struct snap_chain chain = { .f = f, .what = "reading", .pass = 1, .nr_passes = 1,
				    .fn = count_part, .arg = &c };
	bool counted = snap_readable(s) && !(f->flags & DMFMT_OPEN_HEADER_ONLY);
	struct verdict v;
	int ret;

	info_header(&e, f);
	if (e.ret)
		return e.ret;
	ret = counted ? snap_chain_run(&chain) : 0;
	if (ret && ret != -EIO)
		return ret;
	counted = counted && !ret;
	if (counted) {
		info_exceptions(&e, s, &c, &chain.end);
		info_status(&e, f, &c, &chain.end);
	}
	v = activation(f, counted ? &c : NULL, counted ? &chain.end : NULL);
	if (ret && s->state == SNAP_SOUND && !strcmp(v.what, "accept"))
		v = (struct verdict){ "reject", "EIO", "an area cannot be read" };
	e.group = "activation";
	put_str(&e, "verdict", v.what);
	put_str(&e, "errno", v.err);
	put_str(&e, "reason", v.why);
	return e.ret;
}

/* ---- dump ---------------------------------------------------------------------------------- */

struct dump {
	const struct dmfmt_visitor *v;
	uint32_t crc;
};

/* the non-zero slots from the terminator on */
static int dump_stale(struct dump *d, const struct snap_part *p)
{
	size_t i;
	int ret = 0;

	for (i = p->live; !ret && i < p->nr; i++)
		if (p->v[2 * i] || p->v[2 * i + 1])
			ret = d->v->stale(d->v->arg, p->area, p->slot + i, &p->v[2 * i]);
	return ret;
}

static int dump_part(void *arg, const struct snap_part *p)
{
	struct dump *d = arg;
	int ret = 0;

	d->crc = dmfmt_crc32c(d->crc, p->e, p->nr * SNAP_ENTRY);
	if (p->live && d->v->records)
		ret = d->v->records(d->v->arg, p->first, p->v, p->live);
	if (!ret && p->live < p->nr && d->v->stale)
		ret = dump_stale(d, p);
	return ret;
}

static int dump_head(struct dmfmt *f, struct dump *d)
{
	const struct snap *s = f->priv;
	struct emit e = { .fn = d->v->head, .arg = d->v->arg, .chunk_bytes = s->g.chunk_bytes };
	struct snap_header_disk disk;

	dmfmt_snap_header_encode(&s->hdr, &disk);
	d->crc = dmfmt_crc32c(d->crc, &disk, sizeof(disk));
	if (!d->v->head)
		return 0;
	put(&e, "magic", DMFMT_HEX, DMFMT_UNIT_NONE, s->hdr.magic, NULL);
	put_num(&e, "valid", DMFMT_UNIT_NONE, s->hdr.valid);
	put_num(&e, "version", DMFMT_UNIT_NONE, s->hdr.version);
	put_num(&e, "chunk_size", DMFMT_UNIT_SECTORS, s->hdr.chunk_size);
	put_num(&e, "device_sectors", DMFMT_UNIT_SECTORS, s->g.device_sectors);
	return e.ret;
}

static bool all_zero(const uint8_t *p, size_t len)
{
	return !len || (!p[0] && !memcmp(p, p + 1, len - 1));
}

/* the rest of chunk 0 that a kernel would lose: handed out sector by sector where it is not zero */
static int dump_rest(struct dmfmt *f, struct dump *d)
{
	const struct snap *s = f->priv;
	size_t room = 1 << 16;
	uint8_t *buf = malloc(room);
	uint64_t off = 0;
	int ret = 0;

	if (!buf)
		return dmfmt_fail(f->ctx, -ENOMEM, "out of memory");
	for (; !ret && off < s->g.chunk_bytes; off += room) {
		size_t i, len = s->g.chunk_bytes - off < room ? (size_t)(s->g.chunk_bytes - off) : room;

		ret = dmfmt_dev_read(f->dev, off, buf, len);
		if (!ret && !off)
			memset(buf, 0, sizeof(struct snap_header_disk));
		for (i = 0; !ret && i < len; i += 512) {
			size_t from = off + i ? 0 : sizeof(struct snap_header_disk);

			if (all_zero(buf + i, 512))
				continue;
			d->crc = dmfmt_crc32c(d->crc, buf + i + from, 512 - from);
			if (d->v->raw)
				ret = d->v->raw(d->v->arg, off + i + from, buf + i + from, 512 - from);
		}
		if (!ret)
			ret = dmfmt_progress_step(f->ctx, "reading the header's chunk", 1, 1, off,
						  s->g.chunk_bytes);
	}
	free(buf);
	return ret;
}

static int snap_walk(struct dmfmt *f, const struct dmfmt_visitor *v)
{
	struct dump d = { .v = v };
	struct snap_chain chain = { .f = f, .what = "dumping", .pass = 1, .nr_passes = 1,
				    .fn = dump_part, .arg = &d };
	struct emit e = { .fn = v->tail, .arg = v->arg };
	int ret = snap_need_readable(f);

	if (!ret)
		ret = dump_head(f, &d);
	if (!ret)
		ret = dump_rest(f, &d);
	if (!ret)
		ret = snap_chain_run(&chain);
	if (ret || !v->tail)
		return ret;
	put_num(&e, "nr_exceptions", DMFMT_UNIT_NONE, chain.end.records);
	put_num(&e, "nr_areas", DMFMT_UNIT_NONE, chain.end.areas);
	put(&e, "terminated", DMFMT_BOOL, DMFMT_UNIT_NONE, chain.end.end == SNAP_END_TERMINATOR, NULL);
	put(&e, "metadata_crc32c", DMFMT_HEX, DMFMT_UNIT_NONE, d.crc, NULL);
	return e.ret;
}

/* ---- find ---------------------------------------------------------------------------------- */

struct find {
	struct emit e;
	const struct snap *s;
	uint64_t chunk, within, answers;
	bool reverse;
	char group[32];
};

static int find_answer(struct find *q, const struct snap_part *p, size_t i)
{
	uint64_t to = q->reverse ? p->v[2 * i] : p->v[2 * i + 1];
	char place[64];

	snprintf(q->group, sizeof(q->group), "exception_%" PRIu64, q->answers++);
	snprintf(place, sizeof(place), "exception %" PRIu64 " of area %" PRIu64, p->slot + i, p->area);
	q->e.group = q->group;
	put_str(&q->e, "where", q->reverse ? "origin" : "cow");
	put_str(&q->e, "place", place);
	put_num(&q->e, "record", DMFMT_UNIT_NONE, p->first + i);
	put_num(&q->e, "old_chunk", DMFMT_UNIT_NONE, p->v[2 * i]);
	put_num(&q->e, "new_chunk", DMFMT_UNIT_NONE, p->v[2 * i + 1]);
	if (to <= (UINT64_MAX - q->within) >> q->s->g.shift)
		put_num(&q->e, "sector", DMFMT_UNIT_SECTORS, (to << q->s->g.shift) + q->within);
	return q->e.ret;
}

static int find_part(void *arg, const struct snap_part *p)
{
	struct find *q = arg;
	const uint64_t *column = p->v + (q->reverse ? 1 : 0);
	size_t i;
	int ret = 0;

	for (i = 0; !ret && i < p->live; i++)
		if (column[2 * i] == q->chunk)
			ret = find_answer(q, p, i);
	return ret;
}

/* what lies at a store's chunk that no exception names */
static const char *store_role(const struct snap *s, uint64_t chunk, const struct snap_chain_end *end)
{
	if (!chunk)
		return "header";
	if (dmfmt_snap_is_metadata(&s->g, chunk))
		return chunk / s->g.stride < end->areas ? "area" : "area beyond the end";
	return "unused";
}

static int snap_find(struct dmfmt *f, uint64_t sector, bool reverse, dmfmt_field_fn fn, void *arg)
{
	struct snap *s = f->priv;
	struct find q = { .e = { .fn = fn, .arg = arg }, .s = s, .reverse = reverse };
	struct snap_chain chain = { .f = f, .what = "searching", .pass = 1, .nr_passes = 1,
				    .fn = find_part, .arg = &q };
	uint64_t end = reverse ? f->dev->size >> 9 : f->origin_sectors;
	int ret = snap_need_readable(f);

	if (ret)
		return ret;
	if (end != DMFMT_NONE && sector >= end)
		return dmfmt_fail(f->ctx, -ERANGE,
				  "%s: sector %" PRIu64 " is past the end of the %s (%" PRIu64 " sectors)",
				  f->dev->path, sector, reverse ? "store" : "origin", end);
	q.chunk = sector >> s->g.shift;
	q.within = sector & (s->g.chunk_sectors - 1);
	ret = snap_chain_run(&chain);
	if (ret || q.answers)
		return ret;
	q.e.group = "answer";
	put_str(&q.e, "where", reverse ? store_role(s, q.chunk, &chain.end) : "origin");
	put_num(&q.e, "chunk", DMFMT_UNIT_NONE, q.chunk);
	if (!reverse)
		put_num(&q.e, "sector", DMFMT_UNIT_SECTORS, sector);
	return q.e.ret;
}

/* ---- occupancy ----------------------------------------------------------------------------- */

struct occupy {
	uint64_t *cells, total;
	size_t nr_cells;
	unsigned column;
};

static void occupy_one(struct occupy *o, uint64_t chunk)
{
	/* cell = chunk * nr_cells / total without overflow: totals above 2^32 lose nothing visible */
	uint64_t per = o->total / o->nr_cells + (o->total % o->nr_cells != 0);

	if (chunk < o->total)
		o->cells[chunk / per]++;
}

static int occupy_part(void *arg, const struct snap_part *p)
{
	struct occupy *o = arg;
	size_t i;

	for (i = 0; i < p->live; i++)
		occupy_one(o, p->v[2 * i + o->column]);
	return 0;
}

static int max_old_part(void *arg, const struct snap_part *p)
{
	uint64_t *max = arg;
	size_t i;

	for (i = 0; i < p->live; i++)
		if (p->v[2 * i] > *max)
			*max = p->v[2 * i];
	return 0;
}

static int snap_occupancy(struct dmfmt *f, const char *which, uint64_t *cells, size_t nr_cells,
			  uint64_t *units_total)
{
	struct snap *s = f->priv;
	struct occupy o = { .cells = cells, .nr_cells = nr_cells };
	struct snap_chain chain = { .f = f, .what = "reading", .pass = 1, .nr_passes = 1 };
	bool store = !strcmp(which, "store");
	uint64_t i, max = 0;
	int ret = snap_need_readable(f);

	if (!ret && (!nr_cells || (!store && strcmp(which, "origin"))))
		ret = dmfmt_fail(f->ctx, -EINVAL, "%s: no picture of '%s'", f->dev->path, which);
	if (ret)
		return ret;
	memset(cells, 0, nr_cells * sizeof(*cells));
	o.column = store;
	o.total = s->g.chunks;
	if (!store && f->origin_sectors != DMFMT_NONE) {
		o.total = (f->origin_sectors >> s->g.shift) +
			  !!(f->origin_sectors & (s->g.chunk_sectors - 1));
	} else if (!store) {
		chain.fn = max_old_part;
		chain.arg = &max;
		ret = snap_chain_run(&chain);
		o.total = max == UINT64_MAX ? max : max + 1;
	}
	if (ret)
		return ret;
	chain.fn = occupy_part;
	chain.arg = &o;
	*units_total = o.total;
	if (o.total)
		ret = snap_chain_run(&chain);
	if (ret || !store)
		return ret;
	occupy_one(&o, 0);
	for (i = 0; i < chain.end.areas; i++)
		occupy_one(&o, 1 + i * s->g.stride);
	return 0;
}

/* ---- metadata images ----------------------------------------------------------------------- */

struct meta {
	int (*fn)(void *arg, uint64_t off, void *bytes, size_t len, bool suspect);
	void *arg;
	const struct snap_geometry *g;
	uint8_t *copy;
};

/* an area of which more entries break the rules than keep them may be somebody's data */
static bool part_suspect(const struct snap_geometry *g, const struct snap_part *p)
{
	size_t i, bad = 0;

	for (i = 0; i < p->live; i++)
		bad += !dmfmt_snap_new_chunk_ok(g, p->v[2 * i + 1]);
	for (; i < p->nr; i++)
		bad += p->v[2 * i + 1] && !dmfmt_snap_new_chunk_ok(g, p->v[2 * i + 1]);
	return bad * 2 > p->live || (!p->live && bad);
}

static int meta_part(void *arg, const struct snap_part *p)
{
	struct meta *m = arg;

	memcpy(m->copy, p->e, p->nr * SNAP_ENTRY);
	return m->fn(m->arg, p->offset, m->copy, p->nr * SNAP_ENTRY, part_suspect(m->g, p));
}

static int meta_chain(struct dmfmt *f, struct meta *m, struct snap_chain_end *end)
{
	struct snap_chain chain = { .f = f, .what = "reading", .pass = 1, .nr_passes = 1,
				    .fn = meta_part, .arg = m };
	int ret = snap_chain_run(&chain);

	*end = chain.end;
	return ret;
}

/* another chunk size that is proven by what lies on the device; 0 sectors if there is none */
static int meta_other_size(struct dmfmt *f, struct snap_geometry *other)
{
	const struct snap *s = f->priv;
	struct snap_guess guesses[22];
	unsigned nr;
	int best, ret = snap_infer(f->ctx, f->dev, guesses, &nr, &best);

	other->chunk_sectors = 0;
	if (ret || best < 0 || (snap_readable(s) && guesses[best].chunk_sectors == s->g.chunk_sectors))
		return ret;
	return dmfmt_snap_geometry_init(other, guesses[best].chunk_sectors, f->dev->size >> 9);
}

/* without a header that can be believed its areas are the metadata */
static int meta_guessed(struct dmfmt *f, struct meta *m, const struct snap_geometry *other)
{
	struct snap *s = f->priv;
	struct snap_geometry own = s->g;
	struct snap_chain_end end;
	int ret;

	s->g = *other;
	ret = meta_chain(f, m, &end);
	s->g = own;
	return ret;
}

/* area 0 of the other size, which is all that contradicts the header; one piece, as images go upwards */
static int meta_contradiction(struct dmfmt *f, struct meta *m, const struct snap_geometry *other)
{
	size_t len = other->chunk_bytes < 1 << 16 ? (size_t)other->chunk_bytes : 1 << 16;
	uint64_t off = snap_area_offset(other, 0);
	int ret = dmfmt_dev_read(f->dev, off, m->copy, len);

	return ret ? ret : m->fn(m->arg, off, m->copy, len, false);
}

/* the first sector of areas behind the end that look alive (rule 27) */
static int meta_beyond(struct dmfmt *f, struct meta *m, uint64_t area)
{
	const struct snap_geometry *g = m->g;
	uint64_t chunk, end = area + SNAP_LOOK_BEYOND;
	int ret = 0;

	for (; !ret && area < end && dmfmt_snap_area_chunk(g, area, &chunk); area++) {
		struct snap_exception_disk e;
		uint64_t off = snap_area_offset(g, area);

		if (dmfmt_dev_read(f->dev, off, &e, sizeof(e)) ||
		    dmfmt_snap_new(&e) != dmfmt_snap_dense_chunk(g, area, 0))
			continue;
		ret = dmfmt_dev_read(f->dev, off, m->copy, 512);
		if (!ret)
			ret = m->fn(m->arg, off, m->copy, 512, false);
	}
	return ret;
}

static int snap_metadata(struct dmfmt *f,
			 int (*fn)(void *arg, uint64_t off, void *bytes, size_t len, bool suspect),
			 void *arg)
{
	struct snap *s = f->priv;
	struct meta m = { .fn = fn, .arg = arg, .g = &s->g };
	struct snap_chain_end end = { 0 };
	struct snap_geometry other;
	size_t head = s->hdr.magic == DMFMT_SNAP_MAGIC ? 512 : sizeof(struct snap_header_disk);
	int ret;

	m.copy = malloc(1 << 20);
	if (!m.copy)
		return dmfmt_fail(f->ctx, -ENOMEM, "out of memory");
	/* of a chunk 0 that is no header only the place of one goes along */
	ret = dmfmt_dev_read(f->dev, 0, m.copy, head);
	if (!ret)
		ret = fn(arg, 0, m.copy, head, head < 512 && s->hdr.magic &&
			 s->hdr.magic != DMFMT_SNAP_MAGIC_SWAPPED);
	if (!ret)
		ret = meta_other_size(f, &other);
	if (!ret && !snap_readable(s) && other.chunk_sectors)
		ret = meta_guessed(f, &m, &other);
	if (ret || !snap_readable(s))
		goto out;
	if (other.chunk_sectors && other.chunk_sectors < s->g.chunk_sectors)
		ret = meta_contradiction(f, &m, &other);
	if (!ret)
		ret = meta_chain(f, &m, &end);
	if (!ret && !end.records && other.chunk_sectors > s->g.chunk_sectors)
		ret = meta_contradiction(f, &m, &other);
	else if (!ret)
		ret = meta_beyond(f, &m, end.areas);
out:
	free(m.copy);
	return ret;
}

static int snap_obfuscate(struct dmfmt *f, uint64_t off, void *bytes, size_t len,
			  uint64_t (*map)(void *arg, uint64_t addr), void *arg)
{
	struct snap_exception_disk *e = bytes;
	size_t i;

	(void)f;
	if (!off)
		return 0;	/* the header names no origin address */
	for (i = 0; i < len / SNAP_ENTRY; i++)
		if (e[i].new_chunk != 0 || e[i].old_chunk != 0)
			e[i].old_chunk = dmfmt_le64_make(map(arg, dmfmt_snap_old(&e[i])));
	return 0;
}

static void add_bound(uint64_t *bounds, size_t max, size_t *nr, uint64_t bound)
{
	if (*nr < max && bound && (!*nr || bounds[*nr - 1] < bound))
		bounds[(*nr)++] = bound;
}

/*
 * Addresses that findings tell apart: before and in the partial last chunk of the origin, right at its
 * end, behind it (rules 16 and 28), and wrapping (rule 17).
 */
static size_t snap_origin_bounds(struct dmfmt *f, uint64_t *bounds, size_t max)
{
	const struct snap *s = f->priv;
	uint64_t whole;
	size_t nr = 0;

	if (!s->has_geometry)
		return 0;
	if (f->origin_sectors != DMFMT_NONE) {
		whole = f->origin_sectors >> s->g.shift;
		add_bound(bounds, max, &nr, whole);
		add_bound(bounds, max, &nr, whole + 1);
	}
	if (s->g.shift)
		add_bound(bounds, max, &nr, (UINT64_MAX >> s->g.shift) + 1);
	return nr;
}

const struct dmfmt_format dmfmt_snapshot_format = {
	.name = "snapshot",
	.blkid_type = "DM_snapshot_cow",
	.what = "dm-snapshot persistent exception store",
	.data_verb = "merge",
	.columns = columns,
	.nr_columns = 2,
	.probe = snap_probe,
	.open = snap_open,
	.close = snap_close,
	.info = snap_info,
	.walk = snap_walk,
	.find = snap_find,
	.occupancy = snap_occupancy,
	.check = snap_check,
	.repair = snap_repair,
	.restore_begin = snap_restore_begin,
	.restore_raw = snap_restore_raw,
	.restore_records = snap_restore_records,
	.restore_stale = snap_restore_stale,
	.restore_commit = snap_restore_commit,
	.restore_free = snap_restore_free,
	.metadata = snap_metadata,
	.obfuscate = snap_obfuscate,
	.origin_bounds = snap_origin_bounds,
	.extents = snap_extents,
	.data_unit = snap_data_unit,
	.prepare = snap_merge_prepare,
	.plan = snap_merge_plan,
	.retire = snap_merge_retire,
	.remaining = snap_merge_remaining,
	.discard = snap_discard,
	.protect = snap_protect,
};
