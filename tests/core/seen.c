// SPDX-License-Identifier: GPL-2.0-or-later
/* Duplicate finding against sorting, with bitmaps, ranges and hash partitions. */
#include <stdlib.h>

#include "../lib/tap.h"
#include "../../libdmfmt/core/seen.h"

#define NR 20000

static uint64_t rows[2 * NR], sorted[NR];
static uint32_t positions[NR];
static uint64_t rng = 88172645463325252ull;

static uint64_t next(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t make(uint64_t mask, unsigned planted)
{
	uint64_t repeats = 0;
	unsigned i;

	for (i = 0; i < NR; i++)
		rows[2 * i] = next() & mask;
	for (i = 0; i < planted; i++)
		rows[2 * (next() % NR)] = rows[2 * (next() % NR)];
	for (i = 0; i < NR; i++)
		sorted[i] = rows[2 * i];
	qsort(sorted, NR, sizeof(sorted[0]), by_value);
	for (i = 1; i < NR; i++)
		repeats += sorted[i] == sorted[i - 1];
	return repeats;
}

/* the same passes a checker makes */
static uint64_t count_dups(size_t bytes, uint64_t memory, unsigned *passes, bool *hash)
{
	struct dmfmt_ctx *ctx = dmfmt_ctx_new();
	struct dmfmt_seen s;
	uint64_t found, span;
	unsigned i, n;

	EQ(dmfmt_seen_init(ctx, &s, bytes), 0);
	span = dmfmt_seen_span(&s);
	found = dmfmt_seen_pairs(&s, rows, NR, positions);
	n = dmfmt_seen_plan(&s, memory, hash);
	for (i = 0; i < n; i++) {
		if (*hash)
			dmfmt_seen_hash(&s, span, i, n);
		else
			dmfmt_seen_bitmap(&s, span + i * span, span);
		found += dmfmt_seen_pairs(&s, rows, NR, positions);
	}
	*passes = n + 1;
	dmfmt_seen_free(&s);
	dmfmt_ctx_free(ctx);
	return found;
}

static void one_bitmap(void)
{
	uint64_t want = make(0xffff, 100);
	unsigned passes;
	bool hash;

	EQ(count_dups(1 << 16, 1 << 16, &passes, &hash), want);
	EQ(passes, 1);
}

static void ranges(void)
{
	uint64_t want = make(0xfffff, 50);
	unsigned passes;
	bool hash;

	/* 2^20 keys in bitmaps of 2^18 */
	EQ(count_dups(1 << 15, 1 << 15, &passes, &hash), want);
	CHECK(!hash);
	EQ(passes, 4);
}

static void partitions(void)
{
	uint64_t want = make((UINT64_C(1) << 60) - 1, 50);
	unsigned passes;
	bool hash;

	CHECK(want >= 40);
	EQ(count_dups(48 << 10, 64 << 10, &passes, &hash), want);
	CHECK(hash);
	/* ceil(16 N / memory) + 1 */
	CHECK(passes <= (16 * NR + (64 << 10) - 1) / (64 << 10) + 1);
}

static void whole_range(void)
{
	uint64_t want = make(UINT64_MAX, 20);
	unsigned passes;
	bool hash;

	rows[0] = UINT64_MAX;
	rows[2 * (NR - 1)] = UINT64_MAX;
	EQ(count_dups(1 << 20, 1 << 20, &passes, &hash) >= want - 1, 1);
	CHECK(count_dups(1 << 20, 1 << 20, &passes, &hash) >= 1);
}

int main(void)
{
	RUN(one_bitmap);
	RUN(ranges);
	RUN(partitions);
	RUN(whole_range);
	return DONE();
}
