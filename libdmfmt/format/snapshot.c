// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot.h"

void dmfmt_snap_header_decode(const struct snap_header_disk *d, struct snap_header *h)
{
	h->magic = dmfmt_le32_get(d->magic);
	h->valid = dmfmt_le32_get(d->valid);
	h->version = dmfmt_le32_get(d->version);
	h->chunk_size = dmfmt_le32_get(d->chunk_size);
}

void dmfmt_snap_header_encode(const struct snap_header *h, struct snap_header_disk *d)
{
	d->magic = dmfmt_le32_make(h->magic);
	d->valid = dmfmt_le32_make(h->valid);
	d->version = dmfmt_le32_make(h->version);
	d->chunk_size = dmfmt_le32_make(h->chunk_size);
}

bool dmfmt_snap_chunk_size_ok(uint64_t chunk_sectors)
{
	return chunk_sectors && chunk_sectors <= DMFMT_SNAP_CHUNK_SECTORS_MAX &&
	       !(chunk_sectors & (chunk_sectors - 1));
}

int dmfmt_snap_geometry_init(struct snap_geometry *g, uint64_t chunk_sectors, uint64_t device_sectors)
{
	if (!dmfmt_snap_chunk_size_ok(chunk_sectors))
		return -EINVAL;
	g->chunk_sectors = (uint32_t)chunk_sectors;
	g->shift = 0;
	while ((1u << g->shift) < g->chunk_sectors)
		g->shift++;
	g->chunk_bytes = chunk_sectors << 9;
	g->entries = g->chunk_bytes / sizeof(struct snap_exception_disk);
	g->stride = g->entries + 1;
	g->device_sectors = device_sectors;
	g->chunks = device_sectors >> g->shift;
	return 0;
}

uint64_t dmfmt_snap_nr_areas(const struct snap_geometry *g)
{
	if (g->chunks < 2)
		return 0;
	return dmfmt_div64(g->chunks - 2, g->stride) + 1;
}

bool dmfmt_snap_area_chunk(const struct snap_geometry *g, uint64_t nr, uint64_t *chunk)
{
	if (nr >= dmfmt_snap_nr_areas(g))
		return false;
	*chunk = 1 + nr * g->stride;
	return true;
}

bool dmfmt_snap_is_metadata(const struct snap_geometry *g, uint64_t chunk)
{
	return chunk == 0 || dmfmt_mod64(chunk, g->stride) == 1;
}

/* T chunks of C sectors fit into 64 bits of sectors, so a chunk below T cannot wrap when the kernel
 * adds to it or multiplies it; only the 56 bits of its memory format are narrower. */
bool dmfmt_snap_new_chunk_ok(const struct snap_geometry *g, uint64_t new_chunk)
{
	return new_chunk >= DMFMT_SNAP_FIRST_DATA_CHUNK && new_chunk < g->chunks &&
	       !(new_chunk >> DMFMT_SNAP_NEW_CHUNK_BITS) && !dmfmt_snap_is_metadata(g, new_chunk);
}

bool dmfmt_snap_old_chunk_wraps(const struct snap_geometry *g, uint64_t old_chunk)
{
	return (old_chunk << g->shift) >> g->shift != old_chunk;
}

uint64_t dmfmt_snap_skip_metadata(const struct snap_geometry *g, uint64_t chunk)
{
	return dmfmt_mod64(chunk, g->stride) == 1 ? chunk + 1 : chunk;
}

bool dmfmt_snap_edge(const struct snap_geometry *g)
{
	return g->chunks > 1 && dmfmt_mod64(g->chunks, g->stride) == 1;
}

uint64_t dmfmt_snap_capacity(const struct snap_geometry *g, uint64_t *usable)
{
	uint64_t q, r, cap;

	if (g->chunks < 1) {
		*usable = 0;
		return 0;
	}
	q = dmfmt_div64(g->chunks - 1, g->stride);
	r = dmfmt_mod64(g->chunks - 1, g->stride);
	cap = q * g->entries + (r ? r - 1 : 0);
	*usable = cap - (q && !r ? 1 : 0);
	return cap;
}

uint64_t dmfmt_snap_chunks_needed(const struct snap_geometry *g, uint64_t nr)
{
	uint64_t extra = dmfmt_div64(nr, g->entries) + 2;

	return nr + extra < nr ? 0 : nr + extra;
}

size_t dmfmt_snap_live(const struct snap_exception_disk *e, size_t nr)
{
	size_t i = 0;

	/* whole blocks without a terminator first: no branch inside, the compiler can widen it */
	for (; nr - i >= 16; i += 16) {
		unsigned int j, ends = 0;

		for (j = 0; j < 16; j++)
			ends |= e[i + j].new_chunk == 0;
		if (ends)
			break;
	}
	while (i < nr && e[i].new_chunk != 0)
		i++;
	return i;
}

bool dmfmt_snap_all_dense(const struct snap_exception_disk *e, size_t nr, uint64_t first,
			  uint64_t old_end)
{
	uint64_t moved = 0, beyond = 0;
	size_t i;

	for (i = 0; i < nr; i++) {
		uint64_t old_chunk = dmfmt_snap_old(&e[i]);

		moved |= dmfmt_snap_new(&e[i]) ^ (first + i);
		/* the top bit appears if old_chunk >= old_end, or has it itself */
		beyond |= (old_end - 1 - old_chunk) | old_chunk;
	}
	return !moved && !(beyond >> 63);
}
