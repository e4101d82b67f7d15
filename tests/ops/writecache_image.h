/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Caches in memory for tests, and a reader of its own: what the kernel would do with one and what it
 * would show.  Neither uses the library's arithmetic.
 */
#ifndef TESTS_WRITECACHE_IMAGE_H
#define TESTS_WRITECACHE_IMAGE_H

#include <stdlib.h>
#include "../lib/tap.h"
#include "../../libdmfmt/io/dev.h"

#define WC_FREE UINT64_MAX

static uint32_t seed = 1;

static inline uint32_t rnd(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return (uint32_t)(((uint64_t)seed * below) >> 32);
}

static inline uint64_t le(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	while (bytes--)
		v = v << 8 | p[bytes];
	return v;
}

static inline void put_le(uint8_t *p, uint64_t v, unsigned bytes)
{
	for (; bytes--; v >>= 8)
		*p++ = (uint8_t)v;
}

static inline void fill(uint8_t *p, size_t len)
{
	while (len--)
		*p++ = (uint8_t)(rnd(255) + 1);
}

struct image {
	uint8_t *v;
	size_t size;
	size_t start;		/* of the cache, bytes */
};

static inline struct image new_image(size_t size, bool random)
{
	struct image i = { calloc(1, size ? size : 1), size, 0 };

	if (random)
		fill(i.v, size);
	return i;
}

static inline struct image copy_of(const struct image *from)
{
	struct image i = { malloc(from->size), from->size, from->start };

	memcpy(i.v, from->v, from->size);
	return i;
}

static inline bool same(const struct image *a, const struct image *b)
{
	return a->size == b->size && !memcmp(a->v, b->v, a->size);
}

/* ---- the layout, counted out ---- */

static inline uint64_t meta_bytes(uint64_t n, uint64_t b)
{
	uint64_t off = b;

	while (off < 64 + 16 * n)
		off += b;
	return off;
}

/* the most blocks that fit, tried from below */
static inline uint64_t most_blocks(uint64_t bytes, uint64_t b)
{
	uint64_t n = 0;

	while (meta_bytes(n + 1, b) + (n + 1) * b <= bytes)
		n++;
	return n;
}

static inline uint64_t sb_block_size(const struct image *s)
{
	return le(s->v + s->start + 8, 4);
}

static inline uint64_t sb_blocks(const struct image *s)
{
	return le(s->v + s->start + 16, 8);
}

static inline uint64_t sb_seq(const struct image *s)
{
	return le(s->v + s->start + 24, 8);
}

static inline uint8_t *entry_at(const struct image *s, uint64_t i)
{
	return s->v + s->start + 64 + 16 * i;
}

static inline uint64_t entry_sector(const struct image *s, uint64_t i)
{
	return le(entry_at(s, i), 8);
}

static inline uint64_t entry_seq(const struct image *s, uint64_t i)
{
	return le(entry_at(s, i) + 8, 8);
}

static inline void set_entry(struct image *s, uint64_t i, uint64_t sector, uint64_t seq)
{
	put_le(entry_at(s, i), sector, 8);
	put_le(entry_at(s, i) + 8, seq, 8);
}

static inline uint8_t *block_at(const struct image *s, uint64_t i)
{
	uint64_t b = sb_block_size(s);

	return s->v + s->start + meta_bytes(sb_blocks(s), b) + i * b;
}

static inline bool committed(const struct image *s, uint64_t i)
{
	return entry_seq(s, i) < sb_seq(s);
}

/* ---- what the kernel does when the table is loaded ---- */

enum fate { LOADS, FORMATS, REFUSES };

static inline enum fate fate(const struct image *s)
{
	const uint8_t *p = s->v + s->start;
	uint64_t b, n;

	if (!le(p, 4) && !le(p + 4, 4))
		return FORMATS;
	if (le(p, 4) != 0x23489321 || le(p + 4, 4) != 1)
		return REFUSES;
	b = sb_block_size(s);
	n = sb_blocks(s);
	if (b < 512 || b & (b - 1) || !n || n > s->size / 16)
		return REFUSES;
	return meta_bytes(n, b) + n * b <= s->size - s->start ? LOADS : REFUSES;
}

/* the entry that the kernel would serve a block from, -1 if none */
static inline int64_t winner(const struct image *s, uint64_t sector)
{
	int64_t best = -1;
	uint64_t i;

	for (i = 0; i < sb_blocks(s); i++)
		if (committed(s, i) && entry_sector(s, i) == sector &&
		    (best < 0 || entry_seq(s, i) >= entry_seq(s, (uint64_t)best)))
			best = (int64_t)i;
	return best;
}

/* what the cache shows over @origin; how many winners there are */
static inline uint64_t view(const struct image *s, const struct image *origin, uint8_t *out)
{
	uint64_t i, b = sb_block_size(s), nr = 0;

	memcpy(out, origin->v, origin->size);
	for (i = 0; i < sb_blocks(s); i++) {
		uint64_t at = entry_sector(s, i) * 512;

		if (!committed(s, i) || winner(s, entry_sector(s, i)) != (int64_t)i)
			continue;
		nr++;
		if (at < origin->size)
			memcpy(out + at, block_at(s, i), origin->size - at < b ? origin->size - at : b);
	}
	return nr;
}

/* ---- caches ---- */

static inline void set_superblock(struct image *s, uint64_t b, uint64_t n, uint64_t seq)
{
	uint8_t *p = s->v + s->start;

	memset(p, 0, 64);
	put_le(p, 0x23489321, 4);
	put_le(p + 4, 1, 4);
	put_le(p + 8, b, 4);
	put_le(p + 16, n, 8);
	put_le(p + 24, seq, 8);
}

/*
 * A cache of @n blocks of @b bytes at @start bytes: @dirty of the origin's blocks have a committed
 * entry, some an older one as well; some entries were never committed, some were freed.  @runs:
 * neighbours on the origin are neighbours in the cache.  Data and gap are random.
 */
static inline struct image make_cache(uint64_t b, uint64_t n, uint64_t start, uint64_t origin_sectors,
				      uint64_t dirty, bool runs)
{
	struct image s = new_image(start + meta_bytes(n, b) + n * b, true);
	uint64_t blocks = origin_sectors * 512 / b, i, k, *order = calloc(n + blocks, sizeof(*order));
	uint64_t *slots = order + blocks;

	s.start = start;
	set_superblock(&s, b, n, 7);
	for (i = 0; i < n; i++)
		set_entry(&s, i, rnd(2) ? WC_FREE : rnd(1000), WC_FREE);
	for (i = 0; i < blocks; i++)
		order[i] = i;
	for (i = 0; i < n; i++)
		slots[i] = i;
	for (i = 0; !runs && i < blocks + n; i++) {
		uint64_t *p = i < blocks ? order : slots, nr = i < blocks ? blocks : n;
		uint64_t j = i < blocks ? i : i - blocks, x = rnd((uint32_t)nr), t = p[j];

		p[j] = p[x];
		p[x] = t;
	}
	CHECK(dirty <= blocks && dirty <= n);
	for (i = k = 0; i < dirty && k < n; i++) {
		uint64_t sector = order[i] * (b / 512);

		set_entry(&s, slots[k++], sector, 1 + rnd(6));
		/* an older copy, one that was never committed, or both; never at the cost of a block */
		if (n - k > dirty - i && !rnd(3))
			set_entry(&s, slots[k++], sector, 0);
		if (n - k > dirty - i && !rnd(4))
			set_entry(&s, slots[k++], sector, 7);
	}
	free(order);
	return s;
}

/* ---- devices ---- */

static inline struct dmfmt_dev *device_of(struct dmfmt_ctx *ctx, const struct image *i)
{
	struct dmfmt_dev *dev = NULL;

	EQ(dmfmt_dev_open_buffer(ctx, i->v, i->size, &dev), 0);
	EQ(dmfmt_dev_set_start(dev, i->start / 512), 0);
	return dev;
}

#endif
