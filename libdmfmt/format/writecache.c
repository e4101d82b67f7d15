// SPDX-License-Identifier: LGPL-2.1-or-later
#include "writecache.h"

void dmfmt_wc_superblock_decode(const struct wc_superblock_disk *d, struct wc_superblock *s)
{
	s->magic = dmfmt_le32_get(d->magic);
	s->version = dmfmt_le32_get(d->version);
	s->block_size = dmfmt_le32_get(d->block_size);
	s->pad = dmfmt_le32_get(d->pad);
	s->n_blocks = dmfmt_le64_get(d->n_blocks);
	s->seq_count = dmfmt_le64_get(d->seq_count);
}

void dmfmt_wc_superblock_encode(const struct wc_superblock *s, struct wc_superblock_disk *d)
{
	memset(d, 0, sizeof(*d));
	d->magic = dmfmt_le32_make(s->magic);
	d->version = dmfmt_le32_make(s->version);
	d->block_size = dmfmt_le32_make(s->block_size);
	d->pad = dmfmt_le32_make(s->pad);
	d->n_blocks = dmfmt_le64_make(s->n_blocks);
	d->seq_count = dmfmt_le64_make(s->seq_count);
}

bool dmfmt_wc_block_size_ok(uint64_t block_size)
{
	return block_size >= DMFMT_WC_BLOCK_MIN && block_size <= DMFMT_WC_BLOCK_MAX &&
	       !(block_size & (block_size - 1));
}

uint64_t dmfmt_wc_metadata_bytes(uint64_t n_blocks, uint32_t block_size)
{
	uint64_t bytes;

	if (n_blocks > ((uint64_t)-1 - sizeof(struct wc_superblock_disk) - block_size) /
		       sizeof(struct wc_entry_disk))
		return 0;
	bytes = sizeof(struct wc_superblock_disk) + n_blocks * sizeof(struct wc_entry_disk);
	return (bytes + block_size - 1) & ~(uint64_t)(block_size - 1);
}

/* whether n blocks and their metadata fit into @usable; no overflow: n is below usable / block_size */
static bool fits(uint64_t usable, uint32_t block_size, uint64_t n)
{
	uint64_t metadata = dmfmt_wc_metadata_bytes(n, block_size);

	return metadata && metadata <= usable && n <= dmfmt_div64(usable - metadata, block_size);
}

int dmfmt_wc_blocks(uint64_t usable, uint64_t block_size, uint64_t *n_blocks)
{
	uint64_t n;

	*n_blocks = 0;
	if (!dmfmt_wc_block_size_ok(block_size))
		return -EINVAL;
	n = dmfmt_div64(usable, block_size + sizeof(struct wc_entry_disk));
	/* rounding up costs less than one block, the superblock less than another one */
	while (n && !fits(usable, (uint32_t)block_size, n))
		n--;
	if (!n)
		return -ENOSPC;
	if (n > DMFMT_WC_BLOCKS_MAX)
		return -EFBIG;
	*n_blocks = n;
	return 0;
}

int dmfmt_wc_geometry_init(struct wc_geometry *g, uint64_t start, uint64_t usable,
			   uint64_t block_size, uint64_t n_blocks)
{
	if (!dmfmt_wc_block_size_ok(block_size) || !n_blocks)
		return -EINVAL;
	g->start = start;
	g->usable = usable;
	g->block_size = (uint32_t)block_size;
	g->shift = 0;
	while (((uint32_t)DMFMT_WC_BLOCK_MIN << g->shift) < g->block_size)
		g->shift++;
	g->n_blocks = n_blocks;
	g->metadata = dmfmt_wc_metadata_bytes(n_blocks, g->block_size);
	if (!g->metadata || n_blocks > dmfmt_div64((uint64_t)-1 - g->metadata, block_size) ||
	    start > (uint64_t)-1 - g->metadata - n_blocks * block_size)
		return -EOVERFLOW;
	return g->metadata + n_blocks * block_size > usable ? -ERANGE : 0;
}

uint64_t dmfmt_wc_readable_entries(const struct wc_geometry *g)
{
	uint64_t room = 0;

	if (g->usable > sizeof(struct wc_superblock_disk))
		room = (g->usable - sizeof(struct wc_superblock_disk)) / sizeof(struct wc_entry_disk);
	return g->n_blocks < room ? g->n_blocks : room;
}
