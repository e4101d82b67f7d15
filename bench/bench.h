/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the benchmark's programs share: the geometry of a store, numbers on the command line, and the
 * order in which origin chunks appear.  Nothing here comes from libdmfmt: a floor that used the
 * library under test would prove nothing about it.
 */
#ifndef BENCH_H
#define BENCH_H

#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SNAP_MAGIC 0x70416e53u

struct header_disk {
	uint32_t magic, valid, version, chunk_size;	/* little endian */
};

struct exception_disk {
	uint64_t old_chunk, new_chunk;			/* little endian */
};

#define CACHE_MAGIC 0x23489321u

struct cache_superblock_disk {
	uint32_t magic, version, block_size, pad;	/* little endian */
	uint64_t n_blocks, seq_count, padding[4];
};

struct cache_entry_disk {
	uint64_t original_sector, seq_count;		/* little endian */
};

struct geometry {
	uint64_t chunk_sectors, chunk_bytes;
	uint64_t entries;	/* per area */
	uint64_t stride;	/* chunks from one area to the next */
	uint64_t total_chunks;
};

static inline void geometry_set(struct geometry *g, uint64_t chunk_sectors, uint64_t total_chunks)
{
	g->chunk_sectors = chunk_sectors;
	g->chunk_bytes = chunk_sectors * 512;
	g->entries = g->chunk_bytes / sizeof(struct exception_disk);
	g->stride = g->entries + 1;
	g->total_chunks = total_chunks;
}

static inline uint64_t area_chunk(const struct geometry *g, uint64_t area)
{
	return 1 + area * g->stride;
}

/* areas that lie wholly inside the store */
static inline uint64_t nr_areas(const struct geometry *g)
{
	return g->total_chunks < 2 ? 0 : (g->total_chunks - 2) / g->stride + 1;
}

static inline __attribute__((noreturn, format(printf, 2, 3)))
void die(int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(status);
}

/* "123", "16Mi", "64G" (binary either way) or "2^28" */
static inline uint64_t parse_number(const char *what, const char *s)
{
	static const char units[] = "KMGTPE";
	unsigned long long v;
	unsigned shift = 0;
	const char *u;
	char *end;

	errno = 0;
	v = strtoull(s, &end, 0);
	if (end == s || errno || *s == '-')
		die(16, "%s: not a number: %s", what, s);
	if (v == 2 && *end == '^') {
		shift = strtoul(end + 1, &end, 10);
		v = 1;
	} else if (*end && (u = strchr(units, *end)) != NULL) {
		shift = 10 * (unsigned)(u - units + 1);
		end += end[1] == 'i' ? 2 : 1;
	}
	if (*end || shift > 63 || v > UINT64_MAX >> shift)
		die(16, "%s: out of range: %s", what, s);
	return (uint64_t)v << shift;
}

/* ---- a permutation of [0, span), computed place by place ------------------------------------- */

enum order { ORDER_RANDOM, ORDER_ODD, ORDER_SEQUENTIAL };

struct permutation {
	uint64_t span, mask;
	uint64_t mul, mul2, add;
	unsigned shift;
	enum order order;
};

static inline uint64_t mix64(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9u;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static inline void permutation_init(struct permutation *p, uint64_t span, uint64_t seed, enum order order)
{
	unsigned bits = span > 1 ? 64 - (unsigned)__builtin_clzll(span - 1) : 1;

	p->span = span;
	p->mask = bits == 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1;
	p->shift = (bits + 1) / 2;
	p->mul = mix64(seed ^ 0x9e3779b97f4a7c15u) | 1;
	p->mul2 = mix64(seed + 0x632be59bd9b4e019u) | 1;
	p->add = mix64(seed);
	p->order = order;
}

/*
 * Each step is a bijection of [0, mask], so their chain is one; values at or past @span walk on along
 * their cycle until they come back below it, which keeps it one on [0, span).
 */
static inline uint64_t permute(const struct permutation *p, uint64_t x)
{
	if (p->order == ORDER_SEQUENTIAL)
		return x;
	do {
		x = (x * p->mul + p->add) & p->mask;
		if (p->order == ORDER_RANDOM) {
			x ^= x >> p->shift;
			x = x * p->mul2 & p->mask;
			x ^= x >> p->shift;
		}
	} while (x >= p->span);
	return x;
}

#endif
