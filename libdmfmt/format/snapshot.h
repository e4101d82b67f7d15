/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Persistent exception store of dm-snapshot (COW device): bytes <-> numbers.
 *
 *   chunk 0      header, 16 bytes used
 *   chunk 1      area 0: entries_per_area exceptions of 16 bytes
 *   chunk 2 ..   as many data chunks as an area has entries
 *   chunk E+2    area 1, and so on every E+1 chunks (the stride)
 *
 * The first exception whose new_chunk is 0 ends the store.  There is no checksum, no count and no
 * identity.  Source: Linux drivers/md/dm-snap-persistent.c (disk_header, disk_exception,
 * area_location).
 *
 * No I/O, no allocation: the same file is compiled into the library and into the kernel modules.
 */
#ifndef DMFMT_FORMAT_SNAPSHOT_H
#define DMFMT_FORMAT_SNAPSHOT_H

#include "env.h"

#define DMFMT_SNAP_MAGIC 0x70416e53u		/* "SnAp" as stored */
#define DMFMT_SNAP_MAGIC_SWAPPED 0x536e4170u
#define DMFMT_SNAP_VERSION 1u
#define DMFMT_SNAP_CHUNK_SECTORS_MAX 2097152u	/* 1 GiB: the largest power of two below INT_MAX >> 9 */
#define DMFMT_SNAP_FIRST_DATA_CHUNK 2u
#define DMFMT_SNAP_ENTRIES_PER_SECTOR 32u
/* bits 56..63 of new_chunk hold a run length in the kernel's memory: dm-exception-store.h */
#define DMFMT_SNAP_NEW_CHUNK_BITS 56

struct snap_header_disk {
	__le32 magic;
	__le32 valid;
	__le32 version;
	__le32 chunk_size;	/* sectors */
};
DMFMT_SIZE_IS(struct snap_header_disk, 16);

struct snap_exception_disk {
	__le64 old_chunk;	/* on the origin */
	__le64 new_chunk;	/* on the COW device; 0 ends the store */
};
DMFMT_SIZE_IS(struct snap_exception_disk, 16);

struct snap_header {
	uint32_t magic, valid, version, chunk_size;
};

/**
 * struct snap_geometry - numbers that follow from chunk size and device size
 * @chunk_sectors: C, power of two; @shift: log2(C)
 * @chunk_bytes: B = 512 * C
 * @entries: E = B / 16, exceptions in one area
 * @stride: E + 1 chunks from one area to the next
 * @device_sectors: S; @chunks: T, whole chunks on the device
 */
struct snap_geometry {
	uint32_t chunk_sectors, shift;
	uint64_t chunk_bytes, entries, stride;
	uint64_t device_sectors, chunks;
};

void dmfmt_snap_header_decode(const struct snap_header_disk *d, struct snap_header *h);
void dmfmt_snap_header_encode(const struct snap_header *h, struct snap_header_disk *d);

/** dmfmt_snap_chunk_size_ok() - power of two, 1 to 2097152 (dm-exception-store.c, set_chunk_size) */
bool dmfmt_snap_chunk_size_ok(uint64_t chunk_sectors);

/** dmfmt_snap_geometry_init() - Return: 0, or -EINVAL if the chunk size is not allowed */
int dmfmt_snap_geometry_init(struct snap_geometry *g, uint64_t chunk_sectors, uint64_t device_sectors);

/** dmfmt_snap_area_chunk() - chunk number of area @nr; false if it is past the end of the device */
bool dmfmt_snap_area_chunk(const struct snap_geometry *g, uint64_t nr, uint64_t *chunk);

/** dmfmt_snap_nr_areas() - areas whose metadata chunk lies on the device */
uint64_t dmfmt_snap_nr_areas(const struct snap_geometry *g);

/** dmfmt_snap_is_metadata() - the header, or the metadata chunk of an area */
bool dmfmt_snap_is_metadata(const struct snap_geometry *g, uint64_t chunk);

/** dmfmt_snap_new_chunk_ok() - a data chunk on this device, and nothing that wraps in the kernel */
bool dmfmt_snap_new_chunk_ok(const struct snap_geometry *g, uint64_t new_chunk);

/** dmfmt_snap_old_chunk_wraps() - old_chunk << shift loses bits: a merge would hit low sectors */
bool dmfmt_snap_old_chunk_wraps(const struct snap_geometry *g, uint64_t old_chunk);

/** dmfmt_snap_dense_chunk() - the data chunk that in-order allocation gives to slot @slot of @area */
static inline uint64_t dmfmt_snap_dense_chunk(const struct snap_geometry *g, uint64_t area,
					      uint64_t slot)
{
	return area * g->stride + DMFMT_SNAP_FIRST_DATA_CHUNK + slot;
}

/** dmfmt_snap_next_free() - kernel's allocation pointer after one more entry was loaded (wraps) */
static inline uint64_t dmfmt_snap_next_free(uint64_t next_free, uint64_t new_chunk)
{
	return next_free <= new_chunk ? new_chunk + 1 : next_free;
}

/** dmfmt_snap_skip_metadata() - step over the metadata chunk that follows a data span */
uint64_t dmfmt_snap_skip_metadata(const struct snap_geometry *g, uint64_t chunk);

/**
 * dmfmt_snap_capacity() - data chunks that the kernel can allocate
 * @usable: how many of them can be committed: a full last area needs room for its successor
 */
uint64_t dmfmt_snap_capacity(const struct snap_geometry *g, uint64_t *usable);

/** dmfmt_snap_chunks_needed() - chunks of a device for @nr exceptions, 0 if that wraps */
uint64_t dmfmt_snap_chunks_needed(const struct snap_geometry *g, uint64_t nr);

/** dmfmt_snap_edge() - the device ends with the last data chunk of an area (T mod stride == 1) */
bool dmfmt_snap_edge(const struct snap_geometry *g);

/**
 * dmfmt_snap_live() - exceptions before the first one whose new_chunk is 0
 * @e: @nr exceptions as stored
 * Return: their number; @nr if there is no terminator.
 */
size_t dmfmt_snap_live(const struct snap_exception_disk *e, size_t nr);

/**
 * dmfmt_snap_all_dense() - are all @nr exceptions exactly where in-order allocation puts them
 * @first: the new_chunk that the first one must have
 * @old_end: their old_chunk must be below it (at most 2^63)
 *
 * Makes no decision an entry-by-entry look would not make; it is there because nearly every area of
 * nearly every store passes, at the speed of the memory.
 */
bool dmfmt_snap_all_dense(const struct snap_exception_disk *e, size_t nr, uint64_t first,
			  uint64_t old_end);

static inline uint64_t dmfmt_snap_old(const struct snap_exception_disk *e)
{
	return dmfmt_le64_get(e->old_chunk);
}

static inline uint64_t dmfmt_snap_new(const struct snap_exception_disk *e)
{
	return dmfmt_le64_get(e->new_chunk);
}

static inline void dmfmt_snap_exception_encode(uint64_t old_chunk, uint64_t new_chunk,
					       struct snap_exception_disk *e)
{
	e->old_chunk = dmfmt_le64_make(old_chunk);
	e->new_chunk = dmfmt_le64_make(new_chunk);
}

#endif
