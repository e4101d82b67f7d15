/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Cache device of dm-writecache: bytes <-> numbers.
 *
 *   start_sector     superblock, 64 bytes
 *   + 64             n_blocks entries of 16 bytes: original_sector, seq_count
 *   + off            data block 0, 1, 2 .. n_blocks - 1; off is 64 + 16 * n_blocks rounded up to a
 *                    multiple of block_size
 *
 * seq_count 2^64-1 is a free entry, below the superblock's a committed one (the block must reach the
 * origin), everything else was never committed.  There is no checksum, no copy, no identity.  The
 * bytes are the same on an SSD and in persistent memory.
 * Source: Linux drivers/md/dm-writecache.c (wc_memory_superblock, wc_memory_entry,
 * calculate_memory_size).
 *
 * No I/O, no allocation: the same file is compiled into the library and into the kernel modules.
 */
#ifndef DMFMT_FORMAT_WRITECACHE_H
#define DMFMT_FORMAT_WRITECACHE_H

#include "env.h"

#define DMFMT_WC_MAGIC 0x23489321u
#define DMFMT_WC_VERSION 1u
#define DMFMT_WC_FREE ((uint64_t)-1)	/* seq_count of a free entry */
#define DMFMT_WC_BLOCK_MIN 512u
#define DMFMT_WC_BLOCK_MAX 65536u		/* the largest page of any Linux */
#define DMFMT_WC_BLOCK_USUAL 4096u		/* what every Linux can load */
#define DMFMT_WC_SEQ_MAX (1ull << 63)		/* no epoch gets here: see the page */
#define DMFMT_WC_BLOCKS_MAX ((1ull << 47) - 1)	/* the index in the kernel's memory */
/* entries in the first sector (beside the superblock), and in the 4096 bytes that LVM zeroes */
#define DMFMT_WC_ENTRIES_SECTOR0 28u
#define DMFMT_WC_ENTRIES_WIPED 252u
/* kernel memory for one block, bytes: SSD mode keeps a copy of the entries */
#define DMFMT_WC_MEMORY_SSD 88u
#define DMFMT_WC_MEMORY_PMEM 72u

struct wc_superblock_disk {
	__le32 magic;
	__le32 version;
	__le32 block_size;	/* bytes */
	__le32 pad;
	__le64 n_blocks;
	__le64 seq_count;
	__le64 padding[4];
};
DMFMT_SIZE_IS(struct wc_superblock_disk, 64);

struct wc_entry_disk {
	__le64 original_sector;	/* on the origin */
	__le64 seq_count;
};
DMFMT_SIZE_IS(struct wc_entry_disk, 16);

struct wc_superblock {
	uint32_t magic, version, block_size, pad;
	uint64_t n_blocks, seq_count;
};

/**
 * struct wc_geometry - where things are; all in bytes, from the start of the device
 * @start: of the superblock
 * @usable: D, bytes of the device from @start on
 * @block_size: B, a power of two; @shift: log2 of its sectors
 * @n_blocks: n
 * @metadata: off(n), bytes from @start to data block 0
 */
struct wc_geometry {
	uint64_t start, usable;
	uint32_t block_size, shift;
	uint64_t n_blocks, metadata;
};

void dmfmt_wc_superblock_decode(const struct wc_superblock_disk *d, struct wc_superblock *s);
/* the padding becomes zero */
void dmfmt_wc_superblock_encode(const struct wc_superblock *s, struct wc_superblock_disk *d);

/** dmfmt_wc_block_size_ok() - power of two, 512 to 65536 bytes */
bool dmfmt_wc_block_size_ok(uint64_t block_size);

/** dmfmt_wc_metadata_bytes() - off(n); 0 if that overflows (dm-writecache.c, writecache_ctr) */
uint64_t dmfmt_wc_metadata_bytes(uint64_t n_blocks, uint32_t block_size);

/**
 * dmfmt_wc_blocks() - how many blocks a device gets when it is formatted
 * @usable: D, bytes
 * Return: 0; -ENOSPC no block fits; -EFBIG more than the kernel can count; -EINVAL the block size.
 */
int dmfmt_wc_blocks(uint64_t usable, uint64_t block_size, uint64_t *n_blocks);

/**
 * dmfmt_wc_geometry_init() - geometry of n_blocks blocks in @usable bytes from @start on
 * Return: 0; -EINVAL block size, or n_blocks is 0; -EOVERFLOW the size of it wraps; -ERANGE the
 * device is too small for it (then *g is set all the same).
 */
int dmfmt_wc_geometry_init(struct wc_geometry *g, uint64_t start, uint64_t usable,
			   uint64_t block_size, uint64_t n_blocks);

/** dmfmt_wc_readable_entries() - entries whose 16 bytes lie on the device: n_blocks, or fewer */
uint64_t dmfmt_wc_readable_entries(const struct wc_geometry *g);

static inline uint64_t dmfmt_wc_entry_offset(const struct wc_geometry *g, uint64_t entry)
{
	return g->start + sizeof(struct wc_superblock_disk) + entry * sizeof(struct wc_entry_disk);
}

static inline uint64_t dmfmt_wc_block_offset(const struct wc_geometry *g, uint64_t entry)
{
	return g->start + g->metadata + entry * g->block_size;
}

/** dmfmt_wc_block_there() - the whole data block lies on the device */
static inline bool dmfmt_wc_block_there(const struct wc_geometry *g, uint64_t entry)
{
	return g->metadata <= g->usable && entry < dmfmt_div64(g->usable - g->metadata, g->block_size);
}

/** dmfmt_wc_sector_ok() - a multiple of the block size, and its last sector is below 2^64 */
static inline bool dmfmt_wc_sector_ok(const struct wc_geometry *g, uint64_t sector)
{
	uint64_t sectors = g->block_size >> 9;

	return !(sector & (sectors - 1)) && sector <= (uint64_t)-1 - sectors;
}

static inline uint64_t dmfmt_wc_sector(const struct wc_entry_disk *e)
{
	return dmfmt_le64_get(e->original_sector);
}

static inline uint64_t dmfmt_wc_seq(const struct wc_entry_disk *e)
{
	return dmfmt_le64_get(e->seq_count);
}

static inline void dmfmt_wc_entry_encode(uint64_t sector, uint64_t seq, struct wc_entry_disk *e)
{
	e->original_sector = dmfmt_le64_make(sector);
	e->seq_count = dmfmt_le64_make(seq);
}

#endif
