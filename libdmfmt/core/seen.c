// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <sys/mman.h>

#include "seen.h"

int dmfmt_seen_init(struct dmfmt_ctx *ctx, struct dmfmt_seen *s, size_t bytes)
{
	void *m = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (m == MAP_FAILED)
		return dmfmt_fail(ctx, -ENOMEM, "out of memory: %zu bytes for the duplicate check", bytes);
	/* keys come in random order: fewer, larger pages save most of the address translation */
	madvise(m, bytes, MADV_HUGEPAGE);
	*s = (struct dmfmt_seen){ .mem = m, .bytes = bytes };
	dmfmt_seen_bitmap(s, 0, dmfmt_seen_span(s));
	return 0;
}

void dmfmt_seen_free(struct dmfmt_seen *s)
{
	if (s->mem)
		munmap(s->mem, s->bytes);
	s->mem = NULL;
}

uint64_t dmfmt_seen_span(const struct dmfmt_seen *s)
{
	return (uint64_t)s->bytes * 8;
}

static void clear(struct dmfmt_seen *s)
{
	/* gives the pages back: the next touch finds zeros */
	madvise(s->mem, s->bytes, MADV_DONTNEED);
}

void dmfmt_seen_bitmap(struct dmfmt_seen *s, uint64_t lo, uint64_t span)
{
	clear(s);
	s->lo = lo;
	s->span = span < dmfmt_seen_span(s) ? span : dmfmt_seen_span(s);
	s->parts = 0;
}

void dmfmt_seen_hash(struct dmfmt_seen *s, uint64_t lo, unsigned part, unsigned parts)
{
	clear(s);
	s->lo = lo;
	s->slots = s->bytes / sizeof(*s->mem);
	s->part = part;
	s->parts = parts;
}

#define AHEAD 32

/* a hint only: a key outside of the range leads nowhere, and harms nothing */
static inline void prefetch_bit(const uint64_t *bits, uint64_t k)
{
	__builtin_prefetch((const void *)((uintptr_t)bits + (uintptr_t)(k >> 6) * sizeof(*bits)), 1);
}

static size_t bitmap_pairs(struct dmfmt_seen *s, const uint64_t *keys, size_t nr, uint32_t *dups)
{
	uint64_t *bits = s->mem, lo = s->lo, span = s->span, over = 0;
	size_t i, n = 0;

	for (i = 0; i < nr; i++) {
		uint64_t k = keys[2 * i] - lo, mask, word;

		if (i + AHEAD < nr)
			prefetch_bit(bits, keys[2 * (i + AHEAD)] - lo);
		if (k >= span) {
			if (keys[2 * i] >= lo) {
				over++;
				if (keys[2 * i] > s->max_above)
					s->max_above = keys[2 * i];
			}
			continue;
		}
		mask = 1ull << (k & 63);
		word = bits[k >> 6];
		bits[k >> 6] = word | mask;
		if (word & mask)
			dups[n++] = (uint32_t)i;
	}
	s->above += over;
	return n;
}

/* high half of a product: maps a hash evenly to [0, n) without a division */
static inline uint64_t scale(uint64_t hash, uint64_t n)
{
#ifdef __SIZEOF_INT128__
	return (uint64_t)(((unsigned __int128)hash * n) >> 64);
#else
	return ((hash >> 32) * n) >> 32;	/* n below 2^32 here: memory is, on such machines */
#endif
}

static inline uint64_t mix(uint64_t k)
{
	k ^= k >> 32;
	k *= 0x9e3779b97f4a7c15ull;
	k ^= k >> 29;
	k *= 0xbf58476d1ce4e5b9ull;
	return k ^ (k >> 32);
}

static bool hash_insert(struct dmfmt_seen *s, uint64_t key, uint64_t slot)
{
	uint64_t n;

	/* bounded: a full table ends the search after one round (the plan keeps it below 3/4) */
	for (n = 0; n < s->slots; n++) {
		if (s->mem[slot] == key)
			return true;
		if (!s->mem[slot]) {
			s->mem[slot] = key;
			return false;
		}
		if (++slot == s->slots)
			slot = 0;
	}
	return false;
}

static size_t hash_pairs(struct dmfmt_seen *s, const uint64_t *keys, size_t nr, uint32_t *dups)
{
	struct { uint64_t key, slot; uint32_t pos; } todo[AHEAD];
	size_t i, j, m = 0, n = 0;

	for (i = 0; i <= nr; i++) {
		if (i == nr || m == AHEAD) {
			for (j = 0; j < m; j++)
				if (hash_insert(s, todo[j].key, todo[j].slot))
					dups[n++] = todo[j].pos;
			m = 0;
		}
		if (i < nr && keys[2 * i] >= s->lo) {
			uint64_t h = mix(keys[2 * i]);

			if (scale(h, s->parts) != s->part)
				continue;
			todo[m].key = keys[2 * i];
			todo[m].slot = scale(h * 0x94d049bb133111ebull, s->slots);
			todo[m].pos = (uint32_t)i;
			__builtin_prefetch(&s->mem[todo[m].slot], 1);
			m++;
		}
	}
	return n;
}

size_t dmfmt_seen_pairs(struct dmfmt_seen *s, const uint64_t *keys, size_t nr, uint32_t *dups)
{
	return s->parts ? hash_pairs(s, keys, nr, dups) : bitmap_pairs(s, keys, nr, dups);
}

unsigned dmfmt_seen_plan(const struct dmfmt_seen *s, uint64_t memory, bool *hash)
{
	uint64_t by_range, by_hash, span = dmfmt_seen_span(s);

	*hash = false;
	if (!s->above)
		return 0;
	by_range = (s->max_above - s->span) / span + 1;	/* ranges behind the first one */
	by_hash = s->above / (memory / 16) + (s->above % (memory / 16) != 0);
	/* never fuller than 3/4, whatever share of the memory the table got */
	while (s->above / by_hash > s->bytes / sizeof(*s->mem) / 4 * 3)
		by_hash++;
	*hash = by_hash < by_range;
	return (unsigned)(*hash ? by_hash : by_range);
}
