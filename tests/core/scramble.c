// SPDX-License-Identifier: GPL-2.0-or-later
/* The rearrangement of addresses: what must stay stays, whatever the dice say. */
#include <stdlib.h>
#include "../../libdmfmt/core/scramble.h"
#include "../lib/tap.h"

static struct dmfmt_ctx *ctx;

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static size_t class_of(uint64_t addr, const uint64_t *bounds, size_t nr)
{
	size_t i;

	for (i = 0; i < nr && addr >= bounds[i]; i++)
		;
	return i;
}

/* @addr sorted and distinct: map all, then look at every pair of neighbours on both sides */
static void verify(const struct dmfmt_scramble *s, const uint64_t *addr, size_t nr,
		   const uint64_t *bounds, size_t nr_bounds)
{
	uint64_t *to = malloc((nr + 1) * sizeof(*to));
	size_t i, before = 0, after = 0;

	for (i = 0; i < nr; i++) {
		CHECK(dmfmt_scramble_map(s, addr[i], &to[i]));
		EQ(class_of(to[i], bounds, nr_bounds), class_of(addr[i], bounds, nr_bounds));
		if (i)
			EQ(addr[i] - addr[i - 1] == 1, to[i] - to[i - 1] == 1);
	}
	/* distinct, and no new neighbours: as many steps of one as before */
	qsort(to, nr, sizeof(*to), by_value);
	for (i = 1; i < nr; i++)
		CHECK(to[i] != to[i - 1]);
	for (i = 1; i < nr; i++) {
		before += addr[i] - addr[i - 1] == 1;
		after += to[i] - to[i - 1] == 1;
	}
	EQ(after, before);
	free(to);
}

static void try_set(const uint64_t *addr, size_t nr, const uint64_t *bounds, size_t nr_bounds)
{
	struct dmfmt_scramble *s;
	size_t i;

	EQ(dmfmt_scramble_new(ctx, 1 << 20, &s), 0);
	/* in another order, twice */
	for (i = nr; i; i--)
		EQ(dmfmt_scramble_add(s, addr[i - 1]), 0);
	for (i = 0; i < nr; i++)
		EQ(dmfmt_scramble_add(s, addr[i]), 0);
	EQ(dmfmt_scramble_seal(s, bounds, nr_bounds), 0);
	verify(s, addr, nr, bounds, nr_bounds);
	dmfmt_scramble_free(s);
}

static void test_empty(void)
{
	struct dmfmt_scramble *s;
	uint64_t to;

	EQ(dmfmt_scramble_new(ctx, 0, &s), 0);
	EQ(dmfmt_scramble_seal(s, NULL, 0), 0);
	CHECK(!dmfmt_scramble_map(s, 0, &to));
	EQ(dmfmt_scramble_add(s, 1), -22);
	dmfmt_scramble_free(s);
	dmfmt_scramble_free(NULL);
}

static void test_edges(void)
{
	static const uint64_t bounds[] = { 10, 11, 1ULL << 61 };
	static const uint64_t sets[][8] = {
		{ 0 },
		{ UINT64_MAX },
		{ 0, UINT64_MAX },
		{ 9, 10, 11, 12 },
		{ 8, 10, 12 },
		{ 9, 11 },
		{ 0, 1, 2, 3, 4, 5, 6, 7 },
		{ 0, 2, 4, 6, 8, 10, 12, 14 },
		{ 1, 3, 5, 7, 9, 11, 13, 15 },
		{ (1ULL << 61) - 1, 1ULL << 61, (1ULL << 61) + 1 },
		{ (1ULL << 61) - 1, (1ULL << 61) + 1 },
		{ UINT64_MAX - 2, UINT64_MAX - 1, UINT64_MAX },
	};
	static const size_t lengths[] = { 1, 1, 2, 4, 3, 2, 8, 8, 8, 3, 2, 3 };
	size_t i, nr_bounds, round;

	for (round = 0; round < 50; round++)
		for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
			for (nr_bounds = 0; nr_bounds <= 3; nr_bounds++)
				try_set(sets[i], lengths[i], bounds, nr_bounds);
}

/* all subsets of a small range: every way in which segments and bounds can lie */
static void test_all_small(void)
{
	static const uint64_t bounds[] = { 3, 4, 8 };
	uint64_t addr[10];
	unsigned set, i;
	size_t nr;

	for (set = 1; set < 1024; set++) {
		for (i = nr = 0; i < 10; i++)
			if (set >> i & 1)
				addr[nr++] = i;
		try_set(addr, nr, bounds, 3);
	}
}

static void test_random(void)
{
	uint64_t *addr = malloc(20000 * sizeof(*addr)), bounds[] = { 50000, 1ULL << 60 }, at, n;
	unsigned round, i;

	srandom(1);
	for (round = 0; round < 20; round++) {
		at = 0;
		n = 0;
		while (n < 20000) {
			at += 1 + (random() % 4 ? 0 : (uint64_t)random() % 40);
			for (i = 0; i < 1 + (unsigned)random() % 6 && n < 20000; i++)
				addr[n++] = at++;
		}
		try_set(addr, n, bounds, 2);
	}
	free(addr);
}

static void test_it_moves(void)
{
	uint64_t addr[64], to;
	unsigned i, moved = 0;
	struct dmfmt_scramble *s;

	for (i = 0; i < 64; i++)
		addr[i] = i * 1000;
	EQ(dmfmt_scramble_new(ctx, 1 << 20, &s), 0);
	for (i = 0; i < 64; i++)
		EQ(dmfmt_scramble_add(s, addr[i]), 0);
	EQ(dmfmt_scramble_seal(s, NULL, 0), 0);
	EQ(dmfmt_scramble_segments(s), 64);
	for (i = 0; i < 64; i++) {
		CHECK(dmfmt_scramble_map(s, addr[i], &to));
		moved += to != addr[i];
	}
	CHECK(moved > 48);
	dmfmt_scramble_free(s);
}

static void test_memory(void)
{
	struct dmfmt_scramble *s;
	uint64_t i;
	int err = 0;

	EQ(dmfmt_scramble_new(ctx, 64 << 10, &s), 0);
	for (i = 0; i < 100000 && !err; i++)
		err = dmfmt_scramble_add(s, i * 2);
	EQ(err, -12);
	CHECK(strstr(dmfmt_ctx_error(ctx), "--memory"));
	dmfmt_scramble_free(s);
	/* as many addresses in a row are one segment */
	EQ(dmfmt_scramble_new(ctx, 64 << 10, &s), 0);
	for (i = 0; i < 100000; i++)
		EQ(dmfmt_scramble_add(s, i), 0);
	EQ(dmfmt_scramble_seal(s, NULL, 0), 0);
	EQ(dmfmt_scramble_segments(s), 1);
	dmfmt_scramble_free(s);
}

int main(void)
{
	ctx = dmfmt_ctx_new();
	RUN(test_empty);
	RUN(test_edges);
	RUN(test_all_small);
	RUN(test_random);
	RUN(test_it_moves);
	RUN(test_memory);
	dmfmt_ctx_free(ctx);
	return DONE();
}
