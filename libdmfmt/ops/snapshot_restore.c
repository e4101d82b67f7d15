// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Making a store: an empty one, or the metadata of a dump.
 *
 * Order of durability: what stands there already stops being valid; areas and the rest of chunk 0;
 * the header.  A cut in between leaves no store, or an invalid one, never a mixture that loads.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot.h"
#include "../format/crc32c.h"

#define PART_BYTES (1u << 20)

/* ---- create ------------------------------------------------------------------------------------- */

static int create_args(struct dmfmt_ctx *ctx, struct dmfmt_dev *cow,
		       const struct dmfmt_snapshot_params *p, struct snap_geometry *g)
{
	uint32_t block;

	if (!cow || !p || p->size < sizeof(*p))
		return dmfmt_fail(ctx, -EINVAL, "create: no device or no parameters were given");
	if (dmfmt_snap_geometry_init(g, p->chunk_sectors, cow->size >> 9))
		return dmfmt_fail(ctx, -EINVAL,
				  "%s: chunk size is %" PRIu64 " sectors, expected a power of two from 1 to %u",
				  cow->path, p->chunk_sectors, DMFMT_SNAP_CHUNK_SECTORS_MAX);
	block = p->origin && p->origin->block > cow->block ? p->origin->block : cow->block;
	if (g->chunk_bytes % block)
		return dmfmt_fail(ctx, -EINVAL,
				  "%s: chunk size is %" PRIu64 " sectors, expected a multiple of the logical block size (%u bytes)",
				  cow->path, p->chunk_sectors, block);
	if (g->chunks < 2)
		return dmfmt_fail(ctx, -EINVAL,
				  "%s: the device has %" PRIu64 " sectors, expected at least %" PRIu64
				  " (two chunks)",
				  cow->path, cow->size >> 9, 2 * p->chunk_sectors);
	return 0;
}

struct preview {
	dmfmt_field_fn fn;
	void *arg;
	uint64_t chunk_bytes;
	int ret;
};

static void preview(struct preview *e, const char *name, enum dmfmt_unit unit, uint64_t u)
{
	struct dmfmt_field f = { .group = "geometry", .name = name, .unit = unit, .u = u };

	f.unit_bytes = unit == DMFMT_UNIT_SECTORS ? 512 : unit == DMFMT_UNIT_CHUNKS ? e->chunk_bytes :
		       unit == DMFMT_UNIT_BYTES;
	if (!e->ret)
		e->ret = e->fn(e->arg, &f);
}

int dmfmt_snapshot_geometry(struct dmfmt_ctx *ctx, struct dmfmt_dev *cow,
			    const struct dmfmt_snapshot_params *p, dmfmt_field_fn fn, void *arg)
{
	struct snap_geometry g;
	struct preview e = { .fn = fn, .arg = arg };
	uint64_t usable, all;
	int ret = create_args(ctx, cow, p, &g);

	if (ret)
		return ret;
	e.chunk_bytes = g.chunk_bytes;
	all = dmfmt_snap_capacity(&g, &usable);
	preview(&e, "chunk_size", DMFMT_UNIT_SECTORS, g.chunk_sectors);
	preview(&e, "device_sectors", DMFMT_UNIT_SECTORS, g.device_sectors);
	preview(&e, "device_chunks", DMFMT_UNIT_CHUNKS, g.chunks);
	preview(&e, "exceptions_per_area", DMFMT_UNIT_NONE, g.entries);
	preview(&e, "nr_areas", DMFMT_UNIT_NONE, dmfmt_snap_nr_areas(&g));
	preview(&e, "allocatable_chunks", DMFMT_UNIT_CHUNKS, all);
	preview(&e, "usable_chunks", DMFMT_UNIT_CHUNKS, usable);
	preview(&e, "kernel_memory_bytes", DMFMT_UNIT_BYTES, usable * 32 + 4 * g.chunk_bytes);
	if (p->origin && p->origin->size) {
		uint64_t sectors = p->origin->size >> 9;
		uint64_t chunks = (sectors >> g.shift) + !!(sectors & (g.chunk_sectors - 1));

		preview(&e, "origin_sectors", DMFMT_UNIT_SECTORS, sectors);
		preview(&e, "origin_chunks", DMFMT_UNIT_CHUNKS, chunks);
		preview(&e, "full_size_sectors", DMFMT_UNIT_SECTORS,
			dmfmt_snap_chunks_needed(&g, chunks) << g.shift);
		preview(&e, "origin_percent", DMFMT_UNIT_PERCENT,
			chunks ? (uint64_t)(100.0 * (double)usable / (double)chunks) : 0);
	}
	return e.ret;
}

int snap_check_blank(struct dmfmt_ctx *ctx, struct dmfmt_dev *cow)
{
	const struct dmfmt_format *other;
	struct snap_guess guesses[22];
	struct snap_header_disk d;
	char what[128];
	unsigned nr;
	int best, ret = dmfmt_dev_read(cow, 0, &d, sizeof(d));

	if (ret)
		return ret;
	if (d.magic == dmfmt_le32_make(DMFMT_SNAP_MAGIC))
		return dmfmt_fail(ctx, -EEXIST,
				  "%s: the device holds a snapshot exception store, expected none (--force overwrites it)",
				  cow->path);
	ret = dmfmt_foreign_signature(ctx, cow, what, sizeof(what));
	if (ret)
		return ret;
	if (what[0])
		return dmfmt_fail(ctx, -EEXIST,
				  "%s: the device holds %s, expected no signature (--force overwrites it)",
				  cow->path, what);
	ret = dmfmt_other_format(cow, &dmfmt_snapshot_format, &other);
	if (ret)
		return ret;
	if (other)
		return dmfmt_fail(ctx, -EEXIST,
				  "%s: the device holds a %s, expected none (--force overwrites it)",
				  cow->path, other->what);
	ret = snap_infer(ctx, cow, guesses, &nr, &best);
	if (!ret && best >= 0)
		ret = dmfmt_fail(ctx, -EEXIST,
				 "%s: the header is gone, but area 0 holds %" PRIu64
				 " exceptions with chunk size %u, expected a blank device (--force overwrites them)",
				 cow->path, guesses[best].entries, guesses[best].chunk_sectors);
	return ret;
}

int dmfmt_snapshot_create(struct dmfmt_ctx *ctx, struct dmfmt_dev *cow,
			  const struct dmfmt_snapshot_params *p)
{
	struct snap_header h = { DMFMT_SNAP_MAGIC, 1, DMFMT_SNAP_VERSION, 0 };
	struct snap_header_disk d, none = { 0 };
	struct snap_geometry g;
	int ret = create_args(ctx, cow, p, &g);

	if (!ret && !(p->flags & DMFMT_CREATE_FORCE))
		ret = snap_check_blank(ctx, cow);
	if (ret)
		return ret;
	/* an old header must not stay valid over areas that are being zeroed */
	ret = dmfmt_dev_read(cow, 0, &d, sizeof(d));
	if (!ret && d.magic != 0)
		ret = dmfmt_dev_write(cow, 0, &none, sizeof(none)) ?: dmfmt_dev_flush(cow);
	if (!ret)
		ret = dmfmt_dev_zero(cow, 0, 2 * g.chunk_bytes);
	if (!ret)
		ret = dmfmt_dev_flush(cow);
	h.chunk_size = g.chunk_sectors;
	dmfmt_snap_header_encode(&h, &d);
	if (!ret)
		ret = dmfmt_dev_write(cow, 0, &d, sizeof(d));
	return ret ? ret : dmfmt_dev_flush(cow);
}

/* ---- restore ------------------------------------------------------------------------------------- */

struct build {
	struct snap_header hdr;
	struct snap_geometry g;
	struct snap_exception_disk *part;
	size_t part_slots;	/* slots in a part: an area, or 1 MiB of one */
	uint64_t area, slot;	/* of the next entry */
	size_t fill;		/* slots of the part that are filled, zeros included */
	size_t dirty;		/* filled ones that are not zero, plus one */
	uint64_t records;
	bool in_tail;		/* the terminator was passed */
	bool begun;		/* the old header is out of the way */
	bool fresh;		/* a file that this run made: holes are zeros */
	uint64_t raw_end;
	uint8_t sector0[512];
	uint32_t crc;
};

static int read_head(struct dmfmt_builder *b, struct build *m, const struct dmfmt_field *head,
		     size_t nr)
{
	uint64_t magic = 0, valid = 0, version = 0, chunk_size = 0;
	int ret = dmfmt_restore_number(b, head, nr, "magic", UINT32_MAX, &magic);

	if (!ret)
		ret = dmfmt_restore_number(b, head, nr, "valid", UINT32_MAX, &valid);
	if (!ret)
		ret = dmfmt_restore_number(b, head, nr, "version", UINT32_MAX, &version);
	if (!ret)
		ret = dmfmt_restore_number(b, head, nr, "chunk_size", UINT32_MAX, &chunk_size);
	if (ret)
		return ret;
	m->hdr = (struct snap_header){ (uint32_t)magic, (uint32_t)valid, (uint32_t)version,
				       (uint32_t)chunk_size };
	if (magic != DMFMT_SNAP_MAGIC)
		return dmfmt_fail(b->ctx, -EINVAL, "dump: magic is 0x%08" PRIx64 ", expected 0x%08x",
				  magic, DMFMT_SNAP_MAGIC);
	if (version != DMFMT_SNAP_VERSION)
		return dmfmt_fail(b->ctx, -EOPNOTSUPP, "dump: version is %" PRIu64 ", expected %u",
				  version, DMFMT_SNAP_VERSION);
	if (dmfmt_snap_geometry_init(&m->g, chunk_size, b->dev_sectors))
		return dmfmt_fail(b->ctx, -EINVAL,
				  "dump: chunk_size is %" PRIu64 " sectors, expected a power of two from 1 to %u",
				  chunk_size, DMFMT_SNAP_CHUNK_SECTORS_MAX);
	if (m->g.chunks < 2)
		return dmfmt_fail(b->ctx, -ERANGE,
				  "destination: %" PRIu64 " sectors, expected at least two chunks of %" PRIu64,
				  b->dev_sectors, chunk_size);
	if (b->dev && m->g.chunk_bytes % b->dev->block)
		return dmfmt_fail(b->ctx, -EINVAL,
				  "%s: chunk_size is %" PRIu64 " sectors, expected a multiple of %u bytes",
				  b->dev->path, chunk_size, b->dev->block);
	return 0;
}

/* metadata alone make sense only over the data they name */
static int check_destination(struct dmfmt_builder *b, const struct build *m)
{
	struct snap_header_disk d;
	struct snap_header h;
	int ret;

	if (!b->dev || (b->dev->flags & DMFMT_OPEN_CREATE) ||
	    (b->flags & DMFMT_RESTORE_METADATA_ONLY))
		return 0;
	ret = dmfmt_dev_read(b->dev, 0, &d, sizeof(d));
	if (ret)
		return ret;
	dmfmt_snap_header_decode(&d, &h);
	if (h.magic == DMFMT_SNAP_MAGIC && h.chunk_size == m->hdr.chunk_size)
		return 0;
	return dmfmt_fail(b->ctx, -EEXIST,
			  "%s: no exception store with chunk size %u there, so the data are not there either (--metadata-only restores all the same)",
			  b->dev->path, m->hdr.chunk_size);
}

int snap_restore_begin(struct dmfmt_builder *b, const struct dmfmt_field *head, size_t nr)
{
	struct build *m = calloc(1, sizeof(*m));
	struct snap_header_disk d;
	int ret;

	b->priv = m;
	if (!m)
		return dmfmt_fail(b->ctx, -ENOMEM, "out of memory");
	ret = read_head(b, m, head, nr);
	if (!ret)
		ret = check_destination(b, m);
	if (ret)
		return ret;
	m->fresh = b->dev && (b->dev->flags & DMFMT_OPEN_CREATE);
	m->part_slots = (size_t)(m->g.chunk_bytes < PART_BYTES ? m->g.chunk_bytes : PART_BYTES) /
			SNAP_ENTRY;
	m->part = calloc(m->part_slots, SNAP_ENTRY);
	if (!m->part)
		return dmfmt_fail(b->ctx, -ENOMEM, "out of memory");
	if (b->dev)
		dmfmt_dev_written_once(b->dev, m->g.chunk_bytes);
	m->raw_end = sizeof(struct snap_header_disk);
	dmfmt_snap_header_encode(&m->hdr, &d);
	memcpy(m->sector0, &d, sizeof(d));
	m->crc = dmfmt_crc32c(0, &d, sizeof(d));
	return 0;
}

/* the old header goes before the first area changes: marked invalid where it was a store's */
static int begin_writing(struct dmfmt_builder *b, struct build *m)
{
	struct snap_header_disk d;
	struct snap_header h;
	int ret;

	if (m->begun || !b->dev)
		return 0;
	m->begun = true;
	if (m->fresh)
		return 0;
	ret = dmfmt_dev_read(b->dev, 0, &d, sizeof(d));
	if (ret)
		return ret;
	dmfmt_snap_header_decode(&d, &h);
	if (h.magic == DMFMT_SNAP_MAGIC && h.valid) {
		h.valid = 0;
		dmfmt_snap_header_encode(&h, &d);
		ret = dmfmt_dev_write(b->dev, 0, &d, sizeof(d)) ?: dmfmt_dev_flush(b->dev);
	}
	/* chunk 0 becomes what the dump says: zeros first, raw pieces follow, its first sector last */
	if (!ret && m->g.chunk_bytes > 512)
		ret = dmfmt_dev_zero(b->dev, 512, m->g.chunk_bytes - 512);
	return ret;
}

int snap_restore_raw(struct dmfmt_builder *b, uint64_t offset, const void *bytes, size_t len)
{
	struct build *m = b->priv;
	const uint8_t *p = bytes;
	int ret;

	if (offset < m->raw_end || len > m->g.chunk_bytes || offset > m->g.chunk_bytes - len)
		return dmfmt_fail(b->ctx, -EINVAL,
				  "dump: raw bytes at %" PRIu64 ", expected inside chunk 0 and in order",
				  offset);
	m->raw_end = offset + len;
	m->crc = dmfmt_crc32c(m->crc, bytes, len);
	ret = begin_writing(b, m);
	while (!ret && len && offset < 512) {
		m->sector0[offset++] = *p++;
		len--;
	}
	if (!ret && len && b->dev)
		ret = dmfmt_dev_write(b->dev, offset, p, len);
	return ret;
}

/* one part is complete (or the area ends): write it */
static int put_part(struct dmfmt_builder *b, struct build *m)
{
	uint64_t off = snap_area_offset(&m->g, m->area) + m->slot * SNAP_ENTRY;
	size_t bytes = m->part_slots * SNAP_ENTRY;
	int ret = begin_writing(b, m);

	m->crc = dmfmt_crc32c(m->crc, m->part, bytes);
	if (!ret && b->dev && (m->dirty || !m->fresh))
		ret = dmfmt_dev_write(b->dev, off, m->part, bytes);
	memset(m->part, 0, m->dirty * SNAP_ENTRY);
	m->dirty = m->fill = 0;
	m->slot += m->part_slots;
	if (m->slot == m->g.entries) {
		m->slot = 0;
		m->area++;
		if (!ret && !(m->area & 63))
			ret = dmfmt_progress_step(b->ctx, b->dev ? "restoring" : "validating", 1, 1,
						  m->records, 0);
	}
	return ret;
}

static int room_for_area(struct dmfmt_builder *b, const struct build *m)
{
	uint64_t chunk;

	if (dmfmt_snap_area_chunk(&m->g, m->area, &chunk))
		return 0;
	return dmfmt_fail(b->ctx, -ERANGE,
			  "destination: %" PRIu64 " sectors, expected room for area %" PRIu64,
			  b->dev_sectors, m->area);
}

static int refuse_record(struct dmfmt_builder *b, const struct build *m, uint64_t old_chunk,
			 uint64_t new_chunk)
{
	return dmfmt_fail(b->ctx, -ERANGE,
			  "dump: exception %" PRIu64 ": old_chunk %" PRIu64 ", new_chunk %" PRIu64
			  ", expected a data chunk of the destination (%" PRIu64 " chunks) and no overflow",
			  m->records, old_chunk, new_chunk, m->g.chunks);
}

int snap_restore_records(struct dmfmt_builder *b, const uint64_t *v, size_t nr)
{
	struct build *m = b->priv;
	uint64_t wrap = m->g.shift ? UINT64_MAX >> m->g.shift : UINT64_MAX;
	int ret;

	if (m->in_tail)
		return dmfmt_fail(b->ctx, -EINVAL, "dump: exceptions behind stale entries");
	while (nr) {
		uint64_t dense = dmfmt_snap_dense_chunk(&m->g, m->area, m->slot + m->fill);
		size_t i, take = m->part_slots - m->fill;

		if (!m->fill && !m->slot) {
			ret = room_for_area(b, m);
			if (ret)
				return ret;
		}
		if (take > nr)
			take = nr;
		for (i = 0; i < take; i++, v += 2) {
			/* in order and on the device: nothing else to look at */
			if ((v[1] != dense + i || v[1] >= m->g.chunks) &&
			    !dmfmt_snap_new_chunk_ok(&m->g, v[1]))
				return refuse_record(b, m, v[0], v[1]);
			if (v[0] > wrap)
				return refuse_record(b, m, v[0], v[1]);
			dmfmt_snap_exception_encode(v[0], v[1], &m->part[m->fill + i]);
			m->records++;
		}
		m->fill += take;
		m->dirty = m->fill;
		nr -= take;
		if (m->fill == m->part_slots) {
			ret = put_part(b, m);
			if (ret)
				return ret;
		}
	}
	return 0;
}

int snap_restore_stale(struct dmfmt_builder *b, uint64_t area, uint64_t slot, const uint64_t *v)
{
	struct build *m = b->priv;
	uint64_t at = m->slot + m->fill;
	int ret = m->in_tail || at ? 0 : room_for_area(b, m);

	if (ret)
		return ret;
	if (area != m->area || slot < at || slot >= m->g.entries || (slot == at && !m->in_tail && v[1]))
		return dmfmt_fail(b->ctx, -EINVAL,
				  "dump: stale entry in slot %" PRIu64 " of area %" PRIu64
				  ", expected slot %" PRIu64 " of area %" PRIu64 " or behind it",
				  slot, area, at, m->area);
	m->in_tail = true;
	while (slot >= m->slot + m->part_slots) {
		ret = put_part(b, m);
		if (ret)
			return ret;
	}
	m->fill = (size_t)(slot - m->slot);
	dmfmt_snap_exception_encode(v[0], v[1], &m->part[m->fill++]);
	m->dirty = m->fill;
	return m->fill == m->part_slots && m->slot + m->fill < m->g.entries ? put_part(b, m) : 0;
}

/* zeros up to the end of the last area; a full one is followed by an empty one */
static int finish_area(struct dmfmt_builder *b, struct build *m, bool terminated)
{
	uint64_t area = m->area;
	int ret = 0;

	if (!m->fill && !m->slot) {
		if (!terminated)
			return 0;
		ret = room_for_area(b, m);
	}
	while (!ret && m->area == area)
		ret = put_part(b, m);
	return ret;
}

int snap_restore_commit(struct dmfmt_builder *b, const struct dmfmt_field *tail, size_t nr)
{
	struct build *m = b->priv;
	uint64_t records = 0, crc = 0, terminated = 0;
	int ret = dmfmt_restore_number(b, tail, nr, "nr_exceptions", UINT64_MAX, &records);

	if (!ret)
		ret = dmfmt_restore_number(b, tail, nr, "metadata_crc32c", UINT32_MAX, &crc);
	if (!ret)
		ret = dmfmt_restore_number(b, tail, nr, "terminated", 1, &terminated);
	if (!ret && records != m->records)
		ret = dmfmt_fail(b->ctx, -EINVAL,
				 "dump: %" PRIu64 " exceptions, expected %" PRIu64 " as its end says",
				 m->records, records);
	if (!ret)
		ret = finish_area(b, m, terminated);
	if (!ret && crc != m->crc)
		ret = dmfmt_fail(b->ctx, -EINVAL,
				 "dump: metadata_crc32c is 0x%08x, expected 0x%08" PRIx64 " as its end says",
				 m->crc, crc);
	if (!ret)
		ret = begin_writing(b, m);
	if (ret || !b->dev)
		return ret;
	ret = dmfmt_dev_flush(b->dev);
	if (!ret)
		ret = dmfmt_dev_write(b->dev, 0, m->sector0, sizeof(m->sector0));
	return ret ? ret : dmfmt_dev_flush(b->dev);
}

void snap_restore_free(struct dmfmt_builder *b)
{
	struct build *m = b->priv;

	if (m)
		free(m->part);
	free(m);
	b->priv = NULL;
}
