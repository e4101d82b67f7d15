// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Random stores over random origins against a model that knows every chunk: the map in windows of any
 * size, the logical device, the differences.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../libdmfmt/core/map.h"
#include "../../libdmfmt/format/snapshot.h"
#include "../lib/tap.h"

#define ORIGIN_CHUNKS 300u

static struct dmfmt_ctx *ctx;
static uint64_t rng = 0x2545f4914f6cdd1dull;

static uint64_t rnd(uint64_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng % n;
}

/* a store, its origin, and what the kernel would show */
struct world {
	uint32_t c;			/* chunk size, sectors */
	size_t b;			/* the same in bytes */
	uint64_t origin_bytes, cow_bytes;
	uint8_t *origin, *cow, *shown;
	int32_t where[ORIGIN_CHUNKS];	/* new_chunk, or -1 */
	size_t nr;
	struct dmfmt_dev *dev, *odev;
	struct dmfmt *f;
};

static void fill(uint8_t *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		p[i] = (uint8_t)rnd(256);
}

static void put_entry(struct world *w, uint64_t record, uint64_t old_chunk, uint64_t new_chunk)
{
	uint64_t entries = w->b / 16, area = record / entries;
	struct snap_exception_disk e;

	dmfmt_snap_exception_encode(old_chunk, new_chunk, &e);
	memcpy(w->cow + (1 + area * (entries + 1)) * w->b + record % entries * 16, &e, sizeof(e));
}

static void add(struct world *w, uint32_t old_chunk, uint64_t new_chunk)
{
	size_t at = (size_t)old_chunk * w->b, len = w->b;

	put_entry(w, w->nr++, old_chunk, new_chunk);
	w->where[old_chunk] = (int32_t)new_chunk;
	/* sometimes the same data as the origin, sometimes zeros */
	if (len > w->origin_bytes - at)
		len = w->origin_bytes - at;
	if (!rnd(5))
		memcpy(w->cow + new_chunk * w->b, w->origin + at, len);
	else if (!rnd(5))
		memset(w->cow + new_chunk * w->b, 0, w->b);
	memcpy(w->shown + at, w->cow + new_chunk * w->b, len);
}

/* runs and single chunks, in order or not, with holes or dense */
static void fill_store(struct world *w, unsigned percent, bool shuffled, bool holes)
{
	uint64_t entries = w->b / 16, next = 2;
	uint32_t order[ORIGIN_CHUNKS], i, nr = 0;

	for (i = 0; i < ORIGIN_CHUNKS; i++)
		if (rnd(100) < percent)
			order[nr++] = i;
	for (i = nr; shuffled && i > 1; i--) {
		uint32_t j = (uint32_t)rnd(i), t = order[i - 1];

		order[i - 1] = order[j];
		order[j] = t;
	}
	for (i = 0; i < nr; i++) {
		if (holes && !rnd(7))
			next++;
		if (next % (entries + 1) == 1)
			next++;
		add(w, order[i], next++);
	}
}

static void world_open(struct world *w, uint32_t c, unsigned percent, bool shuffled, bool holes,
		       const struct world *same_origin)
{
	const struct snap_header h = { DMFMT_SNAP_MAGIC, 1, 1, c };
	uint64_t i;

	memset(w, 0, sizeof(*w));
	w->c = c;
	w->b = c * 512;
	/* the last chunk is cut off */
	w->origin_bytes = same_origin ? same_origin->origin_bytes :
			  ORIGIN_CHUNKS * w->b - (c > 1 ? 512 * (1 + rnd(c - 1)) : 0);
	w->cow_bytes = (ORIGIN_CHUNKS * 2 + 40) * w->b;
	w->origin = malloc(w->origin_bytes);
	w->shown = malloc(w->origin_bytes);
	w->cow = malloc(w->cow_bytes);
	if (same_origin)
		memcpy(w->origin, same_origin->origin, w->origin_bytes);
	else
		fill(w->origin, w->origin_bytes);
	memcpy(w->shown, w->origin, w->origin_bytes);
	fill(w->cow, w->cow_bytes);
	memset(w->cow, 0, w->b);
	dmfmt_snap_header_encode(&h, (struct snap_header_disk *)(void *)w->cow);
	for (i = 1; i < w->cow_bytes / w->b; i += w->b / 16 + 1)
		memset(w->cow + i * w->b, 0, w->b);
	for (i = 0; i < ORIGIN_CHUNKS; i++)
		w->where[i] = -1;
	fill_store(w, percent, shuffled, holes);
	if (dmfmt_dev_open_buffer(ctx, w->cow, w->cow_bytes, &w->dev) ||
	    dmfmt_dev_open_buffer(ctx, w->origin, w->origin_bytes, &w->odev) ||
	    dmfmt_open(ctx, w->dev, "snapshot", 0, &w->f) || dmfmt_set_origin(w->f, w->odev)) {
		printf("# %s\n", dmfmt_ctx_error(ctx));
		abort();
	}
}

static void world_close(struct world *w)
{
	dmfmt_close(w->f);
	dmfmt_dev_close(w->dev);
	dmfmt_dev_close(w->odev);
	free(w->origin);
	free(w->cow);
	free(w->shown);
}

static bool held(const struct world *w, uint64_t byte)
{
	return byte / w->b < ORIGIN_CHUNKS && w->where[byte / w->b] >= 0;
}

/* ---- the map ------------------------------------------------------------------------------------ */

/* the extent that ends behind @to, from the model; false: none */
static bool model_next(const struct world *w, uint64_t to, struct dmfmt_extent *e)
{
	uint64_t i = to / w->b, first;

	while (i < ORIGIN_CHUNKS && w->where[i] < 0)
		i++;
	if (i >= ORIGIN_CHUNKS)
		return false;
	first = i;
	while (first && w->where[first - 1] >= 0 && w->where[first - 1] + 1 == w->where[first])
		first--;
	while (i + 1 < ORIGIN_CHUNKS && w->where[i + 1] == w->where[i] + 1)
		i++;
	*e = (struct dmfmt_extent){ first * w->b, (uint64_t)w->where[first] * w->b, (i + 1 - first) * w->b };
	if (e->to + e->length > w->origin_bytes)
		e->length = w->origin_bytes - e->to;
	return e->to + e->length > to;	/* behind the clipped end there is nothing */
}

/* ascending: each extent once, whole */
static void walk_map(const struct world *w, size_t memory)
{
	struct dmfmt_extent e, m;
	struct dmfmt_map *map;
	uint64_t at = 0;
	int ret;

	EQ(dmfmt_map_open(w->f, memory, &map), 0);
	for (;;) {
		bool more = model_next(w, at, &m);

		ret = dmfmt_map_next(map, at, &e);
		EQ(ret, more);
		if (ret != 1 || !more)
			break;
		EQ(e.to, m.to);
		EQ(e.from, m.from);
		EQ(e.length, m.length);
		at = e.to + e.length;
	}
	CHECK(dmfmt_map_passes(map) >= 1);
	dmfmt_map_close(map);
}

/* anywhere: what is said covers the right bytes, even if a window cuts its beginning */
static void poke_map(const struct world *w, size_t memory)
{
	struct dmfmt_extent e, m;
	struct dmfmt_map *map;
	unsigned i;

	EQ(dmfmt_map_open(w->f, memory, &map), 0);
	for (i = 0; i < 60; i++) {
		uint64_t at = rnd(w->origin_bytes + 1000);
		bool more = model_next(w, at, &m);
		int ret = dmfmt_map_next(map, at, &e);

		EQ(ret, more);
		if (ret != 1 || !more)
			continue;
		CHECK(e.to >= m.to && e.to + e.length == m.to + m.length);
		EQ(e.from - m.from, e.to - m.to);
		CHECK(e.to <= at || e.to == m.to);
	}
	dmfmt_map_close(map);
}

static const struct shape {
	uint32_t c;
	unsigned percent;
	bool shuffled, holes;
} shapes[] = {
	{ 1, 0, false, false }, { 1, 30, true, false }, { 1, 60, false, false }, { 1, 100, false, false },
	{ 8, 100, true, true }, { 8, 40, true, true }, { 8, 70, false, true }, { 2, 50, true, false },
};
#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static void test_map(void)
{
	static const size_t memories[] = { 1, 24 * 20, 24 * 50, 1 << 20 };
	size_t i, j;

	for (i = 0; i < SHAPES; i++) {
		const struct shape *s = &shapes[i];
		struct world w;

		world_open(&w, s->c, s->percent, s->shuffled, s->holes, NULL);
		for (j = 0; j < 4; j++) {
			walk_map(&w, memories[j]);
			poke_map(&w, memories[j]);
		}
		world_close(&w);
	}
}

static void test_map_windows(void)
{
	struct dmfmt_map *map;
	struct dmfmt_extent e;
	struct world w;
	uint64_t at = 0;

	world_open(&w, 1, 50, true, false, NULL);
	EQ(dmfmt_map_open(w.f, 1 << 20, &map), 0);
	CHECK(dmfmt_map_complete(map));
	EQ(dmfmt_map_passes(map), 1);
	dmfmt_map_close(map);
	EQ(dmfmt_map_open(w.f, 24 * 32, &map), 0);
	CHECK(!dmfmt_map_complete(map));
	while (dmfmt_map_next(map, at, &e) == 1)
		at = e.to + e.length;
	/* at least half a memory full each, and few for extents that touch a window's end */
	CHECK(dmfmt_map_passes(map) >= w.nr / 2 / 32);
	CHECK(dmfmt_map_passes(map) <= w.nr / 8 + 2);
	dmfmt_map_close(map);
	world_close(&w);
}

/* ---- the view ----------------------------------------------------------------------------------- */

static void check_view(const struct world *w)
{
	uint8_t *buf = malloc(w->origin_bytes);
	struct dmfmt_view *v;
	uint64_t at = 0;
	unsigned i;

	EQ(dmfmt_view_open(w->f, &v), 0);
	EQ(dmfmt_view_size(v), w->origin_bytes);
	EQ(dmfmt_view_read(v, 0, buf, w->origin_bytes), 0);
	CHECK(!memcmp(buf, w->shown, w->origin_bytes));
	for (i = 0; i < 60; i++) {
		uint64_t off = rnd(w->origin_bytes + 1);
		size_t len = (size_t)rnd(w->origin_bytes - off + 1);

		if (i & 1 && len > 700)
			len = 700;
		EQ(dmfmt_view_read(v, off, buf, len), 0);
		CHECK(!memcmp(buf, w->shown + off, len));
	}
	EQ(dmfmt_view_read(v, w->origin_bytes, buf, 1), -ERANGE);
	EQ(dmfmt_view_read(v, UINT64_MAX, buf, 2), -ERANGE);
	EQ(dmfmt_view_read(v, w->origin_bytes, buf, 0), 0);
	/* extents cut the device into pieces that say where the bytes are */
	while (at < w->origin_bytes) {
		struct dmfmt_extent e;
		bool in_store;

		EQ(dmfmt_view_extent(v, at, &e, &in_store), 0);
		CHECK(e.to == at && e.length && e.length <= w->origin_bytes - at);
		if (e.to != at || !e.length || e.length > w->origin_bytes - at)
			break;
		CHECK(!memcmp((in_store ? w->cow : w->origin) + e.from, w->shown + at, e.length));
		EQ(in_store, held(w, at));
		at += e.length;
	}
	dmfmt_view_close(v);
	free(buf);
}

static void test_view(void)
{
	struct dmfmt_view *v;
	struct world w;
	size_t i;

	for (i = 0; i < SHAPES; i++) {
		const struct shape *s = &shapes[i];

		world_open(&w, s->c, s->percent, s->shuffled, s->holes, NULL);
		check_view(&w);
		world_close(&w);
	}
	world_open(&w, 8, 50, true, true, NULL);
	w.cow[4] = 0;		/* valid */
	dmfmt_close(w.f);
	EQ(dmfmt_open(ctx, w.dev, "snapshot", 0, &w.f), 0);
	EQ(dmfmt_view_open(w.f, &v), -EINVAL);
	EQ(dmfmt_set_origin(w.f, w.odev), 0);
	EQ(dmfmt_view_open(w.f, &v), -EUCLEAN);
	world_close(&w);
}

/*
 * An exception that stands there twice, as a cut repair or a cut --keep-going leaves it: its extent lies
 * inside a longer one, in front of it in the chain or behind it.
 */
static void test_twins(void)
{
	static const size_t memories[] = { 1, 24 * 20, 1 << 20 };
	struct world w;
	uint32_t i;
	size_t j;

	for (i = 0; i < 3; i++) {
		uint32_t c;

		world_open(&w, 8, 0, false, false, NULL);
		if (i == 0)
			put_entry(&w, w.nr++, 104, 6);
		for (c = 101; c < 110; c++)
			add(&w, c, c - 98);
		if (i == 1)
			put_entry(&w, w.nr++, 101, 3);
		if (i == 2) {
			put_entry(&w, w.nr++, 109, 11);
			put_entry(&w, w.nr++, 103, 5);
		}
		for (j = 0; j < 3; j++) {
			walk_map(&w, memories[j]);
			poke_map(&w, memories[j]);
		}
		check_view(&w);
		world_close(&w);
	}
}

/* ---- differences ---------------------------------------------------------------------------------- */

struct ranges {
	uint8_t *sector;	/* one byte each: told */
	uint64_t sectors, last_end;
	bool touching;
};

static int on_range(void *arg, uint64_t sector, uint64_t nr)
{
	struct ranges *r = arg;

	if (!nr || sector + nr > r->sectors || (r->last_end && sector <= r->last_end))
		r->touching = true;
	else
		memset(r->sector + sector, 1, nr);
	r->last_end = sector + nr;
	return 0;
}

static void check_delta(const struct world *a, const struct world *b, bool exact)
{
	const struct dmfmt_delta_opts o = {
		.size = sizeof(o), .other = b ? b->f : NULL, .exact = exact,
	};
	const uint8_t *there = b ? b->shown : a->origin;
	struct ranges r = { .sectors = a->origin_bytes / 512 };
	uint64_t i, missed = 0, wrong = 0;

	r.sector = calloc(1, r.sectors);
	EQ(dmfmt_delta(a->f, &o, on_range, &r), 0);
	CHECK(!r.touching);
	for (i = 0; i < r.sectors; i++) {
		bool differs = memcmp(a->shown + i * 512, there + i * 512, 512);

		missed += differs && !r.sector[i];
		wrong += r.sector[i] !=
			 (exact ? differs : held(a, i * 512) || (b && held(b, i * 512)));
	}
	EQ(missed, 0);
	EQ(wrong, 0);
	free(r.sector);
}

static void test_delta(void)
{
	struct world a, b;
	size_t i;

	for (i = 0; i < SHAPES; i++) {
		const struct shape *s = &shapes[i], *t = &shapes[(i + 3) % SHAPES];

		world_open(&a, s->c, s->percent, s->shuffled, s->holes, NULL);
		check_delta(&a, NULL, false);
		check_delta(&a, NULL, true);
		/* a second snapshot of the same origin, chunks of the same size or of another */
		if (t->c > s->c)
			t = s;
		world_open(&b, s->c, t->percent, t->shuffled, t->holes, &a);
		check_delta(&a, &b, false);
		check_delta(&a, &b, true);
		check_delta(&b, &a, true);
		world_close(&b);
		world_close(&a);
	}
}

static void test_delta_sizes(void)
{
	struct world a, b;

	/* 600 chunks of 4 sectors, 300 of 8: one origin */
	world_open(&a, 8, 50, true, true, NULL);
	world_open(&b, 4, 60, true, false, &a);
	check_delta(&a, &b, false);
	check_delta(&a, &b, true);
	check_delta(&b, &a, true);
	world_close(&b);
	world_close(&a);
}

static int stop(void *arg, uint64_t sector, uint64_t nr)
{
	return -ENOTTY;
}

static void test_delta_errors(void)
{
	struct dmfmt_delta_opts o = { .size = sizeof(o), .exact = true };
	struct world a, b;

	world_open(&a, 8, 50, true, true, NULL);
	EQ(dmfmt_delta(a.f, &o, stop, NULL), -ENOTTY);
	dmfmt_close(a.f);
	EQ(dmfmt_open(ctx, a.dev, "snapshot", 0, &a.f), 0);
	EQ(dmfmt_delta(a.f, &o, stop, NULL), -EINVAL);	/* no origin */
	o.exact = false;
	EQ(dmfmt_delta(a.f, &o, stop, NULL), -ENOTTY);
	world_open(&b, 8, 50, true, true, NULL);
	o.other = b.f;
	EQ(dmfmt_delta(a.f, &o, stop, NULL), -EINVAL);	/* origins of two sizes */
	world_close(&b);
	world_close(&a);
}

int main(void)
{
	ctx = dmfmt_ctx_new();
	RUN(test_map);
	RUN(test_map_windows);
	RUN(test_view);
	RUN(test_twins);
	RUN(test_delta);
	RUN(test_delta_sizes);
	RUN(test_delta_errors);
	dmfmt_ctx_free(ctx);
	return DONE();
}
