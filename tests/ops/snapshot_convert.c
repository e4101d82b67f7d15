// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Stores of other sizes: what they show, what a power cut leaves of them, and the numbers that say
 * how large they have to be.
 *
 * A reader of its own (view()) says what a store shows; a step by step imitation of the kernel's
 * allocation says what fits on a device.  Neither uses the library's arithmetic.
 */
#include <errno.h>
#include <stdlib.h>

#include "../lib/tap.h"
#include "../../libdmfmt/io/dev.h"
#include "../../libdmfmt/io/fault.h"

#define EXHAUSTIVE_BITS 8
#define SAMPLED 60

static struct dmfmt_ctx *ctx;
static uint32_t seed = 1;

static uint32_t rnd(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return (uint32_t)(((uint64_t)seed * below) >> 32);
}

/* ---- bytes ------------------------------------------------------------------------------------- */

static uint64_t le(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	while (bytes--)
		v = v << 8 | p[bytes];
	return v;
}

static void put_le(uint8_t *p, uint64_t v, unsigned bytes)
{
	for (; bytes--; v >>= 8)
		*p++ = (uint8_t)v;
}

static void fill(uint8_t *p, size_t len)
{
	while (len--)
		*p++ = (uint8_t)(rnd(255) + 1);
}

struct image {
	uint8_t *v;
	size_t size;
};

static struct image new_image(size_t size, bool random)
{
	struct image i = { calloc(1, size ? size : 1), size };

	if (random)
		fill(i.v, size);
	return i;
}

static struct dmfmt_dev *device(const struct image *i)
{
	struct dmfmt_dev *dev = NULL;

	EQ(dmfmt_dev_open_buffer(ctx, i->v, i->size, &dev), 0);
	return dev;
}

/* ---- a reader of its own ----------------------------------------------------------------------- */

static bool loads(const struct image *s)
{
	return s->size >= 512 && le(s->v, 4) == 0x70416e53 && le(s->v + 4, 4) && le(s->v + 8, 4) == 1;
}

/* what the store shows over the origin; the number of exceptions, or -1 if the kernel would refuse
 * it.  @dense: all are in ascending order and where in-order allocation puts them */
static int64_t view(const struct image *s, const struct image *origin, uint8_t *out, bool *dense)
{
	uint64_t b, per, i, prev = 0;

	memcpy(out, origin->v, origin->size);
	*dense = true;
	if (!loads(s))
		return -1;
	b = le(s->v + 12, 4) * 512;
	per = b / 16;
	for (i = 0;; i++) {
		uint64_t at = (1 + i / per * (per + 1)) * b + i % per * 16, o, n;

		if (at + 16 > s->size)
			return -1;
		o = le(s->v + at, 8);
		n = le(s->v + at + 8, 8);
		if (!n)
			return (int64_t)i;
		if ((n + 1) * b > s->size || n < 2 || n % (per + 1) == 1)
			return -1;
		*dense = *dense && (!i || o > prev) && n == i / per * (per + 1) + 2 + i % per;
		prev = o;
		if (o * b >= origin->size)
			*dense = false;
		else
			memcpy(out + o * b, s->v + n * b,
			       origin->size - o * b < b ? origin->size - o * b : b);
	}
}

/* ---- stores to convert ------------------------------------------------------------------------- */

enum order { DENSE, REVERSED, GAPS };

/* a store of @nr exceptions with random data, of random chunks of the origin */
static struct image make_store(uint64_t sectors, uint64_t origin_sectors, unsigned nr,
			       enum order order, bool runs)
{
	uint64_t b = sectors * 512, per = b / 16, chunks = (origin_sectors + sectors - 1) / sectors;
	unsigned i, k, spread = order == GAPS ? 2 : 1;
	uint64_t last = (uint64_t)nr * spread + nr * spread / per + 4;
	struct image s = new_image(last * b, false);
	uint64_t *olds = calloc(chunks, sizeof(*olds));

	for (i = 0; i < chunks; i++)
		olds[i] = i;
	for (i = 0; !runs && i < chunks; i++) {
		uint64_t t = olds[i], j = rnd((uint32_t)chunks);

		olds[i] = olds[j];
		olds[j] = t;
	}
	CHECK(nr <= chunks);
	put_le(s.v, 0x70416e53, 4);
	put_le(s.v + 4, 1, 4);
	put_le(s.v + 8, 1, 4);
	put_le(s.v + 12, sectors, 4);
	for (i = 0; i < nr && i < chunks; i++) {
		uint64_t at = (1 + i / per * (per + 1)) * b + i % per * 16, n;

		k = order == REVERSED ? nr - 1 - i : i * spread;
		n = k / per * (per + 1) + 2 + k % per;
		put_le(s.v + at, olds[i], 8);
		put_le(s.v + at + 8, n, 8);
		if (i % 7)
			fill(s.v + n * b, b);
	}
	free(olds);
	return s;
}

struct counts {
	uint64_t nr_exceptions, needed_sectors, store_bytes, origin_bytes, zero_bytes;
};

static int on_count(void *arg, const struct dmfmt_field *f)
{
	struct counts *c = arg;

	if (!strcmp(f->name, "nr_exceptions"))
		c->nr_exceptions = f->u;
	if (!strcmp(f->name, "needed_sectors"))
		c->needed_sectors = f->u;
	if (!strcmp(f->name, "store_bytes"))
		c->store_bytes = f->u;
	if (!strcmp(f->name, "origin_bytes"))
		c->origin_bytes = f->u;
	if (!strcmp(f->name, "zero_bytes"))
		c->zero_bytes = f->u;
	return 0;
}

/* @origin NULL: @origin_sectors alone, or DMFMT_NONE */
static int convert(const struct image *from, const struct image *origin, uint64_t origin_sectors,
		   uint64_t sectors, unsigned flags, struct dmfmt_dev *to, struct counts *c,
		   uint64_t *needed)
{
	struct dmfmt_convert_params p = { .size = sizeof(p), .chunk_sectors = sectors, .flags = flags };
	struct dmfmt_dev *dev = device(from), *o = origin ? device(origin) : NULL;
	struct dmfmt *f = NULL;
	int ret = dmfmt_open(ctx, dev, "snapshot", 0, &f);

	EQ(ret, 0);
	if (o)
		EQ(dmfmt_set_origin(f, o), 0);
	else if (origin_sectors != DMFMT_NONE)
		EQ(dmfmt_set_origin_size(f, origin_sectors), 0);
	ret = to ? dmfmt_snapshot_convert(f, to, &p, on_count, c) :
		   dmfmt_snapshot_convert_size(f, &p, needed);
	dmfmt_close(f);
	dmfmt_dev_close(dev);
	dmfmt_dev_close(o);
	return ret;
}

static void no_findings(const struct image *s, const struct image *origin)
{
	struct dmfmt_summary sum = { .size = sizeof(sum) };
	struct dmfmt_dev *dev = device(s), *o = device(origin);
	struct dmfmt_report *r = NULL;
	struct dmfmt *f = NULL;

	EQ(dmfmt_open(ctx, dev, "snapshot", 0, &f), 0);
	EQ(dmfmt_set_origin(f, o), 0);
	EQ(dmfmt_check(f, 0, 0, &r), 0);
	dmfmt_report_summary(r, &sum);
	EQ(sum.fatal + sum.repairable + sum.warnings, 0);
	dmfmt_report_free(r);
	dmfmt_close(f);
	dmfmt_dev_close(dev);
	dmfmt_dev_close(o);
}

/* the smallest device, full of old bytes, gets the new store; one sector less is refused untouched */
static void convert_and_look(const struct image *from, const struct image *origin, uint64_t sectors)
{
	uint8_t *want = malloc(origin->size), *got = malloc(origin->size), *before;
	uint64_t needed = 0;
	struct counts c = { 0 };
	struct image to, small;
	struct dmfmt_dev *dev;
	bool dense;

	CHECK(view(from, origin, want, &dense) >= 0);
	EQ(convert(from, origin, 0, sectors, 0, NULL, NULL, &needed), 0);
	to = new_image(needed * 512, true);
	dev = device(&to);
	EQ(convert(from, origin, 0, sectors, 0, dev, &c, NULL), 0);
	dmfmt_dev_close(dev);
	EQ(view(&to, origin, got, &dense), c.nr_exceptions);
	CHECK(dense);
	CHECK(!memcmp(got, want, origin->size));
	EQ(le(to.v + 12, 4), sectors);
	EQ(c.needed_sectors, needed);
	EQ(c.store_bytes + c.origin_bytes + c.zero_bytes, c.nr_exceptions * sectors * 512);
	no_findings(&to, origin);

	small = new_image((needed - 1) * 512, true);
	before = malloc(small.size);
	memcpy(before, small.v, small.size);
	dev = device(&small);
	EQ(convert(from, origin, 0, sectors, 0, dev, &c, NULL), -ENOSPC);
	CHECK(strstr(dmfmt_ctx_error(ctx), "expected at least") != NULL);
	dmfmt_dev_close(dev);
	CHECK(!memcmp(before, small.v, small.size));
	free(before);
	free(small.v);
	free(to.v);
	free(want);
	free(got);
}

static void every_size_to_every_size(void)
{
	static const unsigned parts[] = { 0, 1, 5, 31, 32, 33, 64, 100 };
	unsigned from, to, i;

	for (from = 1; from <= 16; from *= 4)
		for (to = 1; to <= 64; to *= 2)
			for (i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
				/* the last chunk of the origin is not whole */
				uint64_t sectors = 129 * from - (from > 1 ? from / 2 + 1 : 0);
				struct image origin = new_image(sectors * 512, true);
				struct image s = make_store(from, sectors, parts[i], i % 3, i % 2);

				convert_and_look(&s, &origin, to);
				free(s.v);
				free(origin.v);
			}
}

/* all chunks: the area that ends the chain is the last thing on the device */
static void everything_changed(void)
{
	uint64_t sectors = 128 * 8 - 3;
	struct image origin = new_image(sectors * 512, true);
	struct image s = make_store(8, sectors, 128, DENSE, true);
	unsigned to;

	for (to = 1; to <= 256; to *= 2)
		convert_and_look(&s, &origin, to);
	free(s.v);
	free(origin.v);
}

static void compaction_is_idempotent(void)
{
	struct image origin = new_image(100 * 8 * 512, true);
	struct image s = make_store(8, 800, 60, GAPS, false), a, b;
	struct dmfmt_dev *dev;
	uint64_t needed = 0;
	struct counts c;

	/* no origin at all: nothing of it is needed */
	EQ(convert(&s, NULL, DMFMT_NONE, 0, 0, NULL, NULL, &needed), 0);
	EQ(needed, (60 + 2) * 8);
	CHECK(needed * 512 < s.size);
	a = new_image(needed * 512, false);
	b = new_image(needed * 512, true);
	dev = device(&a);
	EQ(convert(&s, NULL, DMFMT_NONE, 8, 0, dev, &c, NULL), 0);
	dmfmt_dev_close(dev);
	dev = device(&b);
	EQ(convert(&a, NULL, DMFMT_NONE, 0, 0, dev, &c, NULL), 0);
	dmfmt_dev_close(dev);
	CHECK(!memcmp(a.v, b.v, a.size));
	free(a.v);
	free(b.v);
	free(s.v);
	free(origin.v);
}

/* an exception that lies just past the origin's end is let go */
static void nothing_past_the_end(void)
{
	struct image origin = new_image(64 * 512, true), s = make_store(8, 72, 5, DENSE, true), to;
	uint8_t got[64 * 512], want[64 * 512];
	struct dmfmt_dev *dev;
	uint64_t needed = 0;
	struct counts c;
	bool dense;
	unsigned i;

	put_le(s.v + 4096 + 4 * 16, 8, 8);
	CHECK(view(&s, &origin, want, &dense) == 5 && !dense);
	for (i = 1; i <= 16; i *= 2) {
		EQ(convert(&s, &origin, 0, i, 0, NULL, NULL, &needed), 0);
		to = new_image(needed * 512, true);
		dev = device(&to);
		EQ(convert(&s, &origin, 0, i, 0, dev, &c, NULL), 0);
		EQ(view(&to, &origin, got, &dense), 32 / i);
		CHECK(dense && !memcmp(got, want, sizeof(got)));
		EQ(c.origin_bytes, 0);
		dmfmt_dev_close(dev);
		free(to.v);
	}
	free(s.v);
	free(origin.v);
}

static void what_is_missing_is_said(void)
{
	struct image origin = new_image(800 * 512, true), s = make_store(8, 800, 20, DENSE, false);
	struct image blank = new_image(4096 * 512, false), copy = new_image(4096 * 512, false);
	struct dmfmt_dev *dev = device(&blank);
	uint64_t needed = 0;
	struct counts c;

	EQ(convert(&s, NULL, DMFMT_NONE, 4, 0, dev, &c, NULL), -EINVAL);
	CHECK(strstr(dmfmt_ctx_error(ctx), "origin") != NULL);
	EQ(convert(&s, NULL, 800, 4, 0, NULL, NULL, &needed), 0);
	EQ(convert(&s, NULL, 800, 16, 0, dev, &c, NULL), -EINVAL);
	CHECK(strstr(dmfmt_ctx_error(ctx), "expected the origin") != NULL);
	EQ(convert(&s, &origin, 0, 12, 0, dev, &c, NULL), -EINVAL);
	EQ(convert(&s, &origin, 0, 4194304, 0, dev, &c, NULL), -EINVAL);
	CHECK(!memcmp(blank.v, copy.v, blank.size));

	/* a store is not overwritten unless that is asked for */
	EQ(convert(&s, &origin, 0, 16, 0, dev, &c, NULL), 0);
	memcpy(copy.v, blank.v, blank.size);
	EQ(convert(&s, &origin, 0, 4, 0, dev, &c, NULL), -EEXIST);
	CHECK(!memcmp(blank.v, copy.v, blank.size));
	EQ(convert(&s, &origin, 0, 4, DMFMT_CREATE_FORCE, dev, &c, NULL), 0);
	EQ(le(blank.v + 12, 4), 4);
	dmfmt_dev_close(dev);

	/* an invalid store is refused */
	put_le(s.v + 4, 0, 4);
	memset(blank.v, 0, blank.size);
	memset(copy.v, 0, copy.size);
	dev = device(&blank);
	EQ(convert(&s, &origin, 0, 4, 0, dev, &c, NULL), -EUCLEAN);
	CHECK(!memcmp(blank.v, copy.v, blank.size));
	dmfmt_dev_close(dev);
	free(copy.v);
	free(blank.v);
	free(s.v);
	free(origin.v);
}

/* ---- power cuts -------------------------------------------------------------------------------- */

struct cut {
	struct image from, origin, old;
	uint64_t sectors;
	uint8_t *want, *got;
	uint64_t complete, none, n;
};

static int cut_run(struct cut *c, struct dmfmt_dev *dev)
{
	struct counts counts;

	return convert(&c->from, &c->origin, 0, c->sectors, DMFMT_CREATE_FORCE, dev, &counts, NULL);
}

/* the new store complete, the old one untouched, or nothing that loads */
static void cut_look(struct cut *c, const struct image *s, uint64_t nr_writes)
{
	int64_t n;
	bool dense;

	if (!loads(s)) {
		c->none++;
		return;
	}
	if (!nr_writes || !memcmp(s->v, c->old.v, s->size)) {
		CHECK(!memcmp(s->v, c->old.v, s->size));
		return;
	}
	c->complete++;
	n = view(s, &c->origin, c->got, &dense);
	EQ(n, c->n);
	EQ(le(s->v + 12, 4), c->sectors);
	CHECK(dense && !memcmp(c->got, c->want, c->origin.size));
}

static int cut_state(void *arg, uint64_t nr_writes, void **bufs, const uint64_t *sizes,
		     unsigned nr_devs)
{
	struct image s = { bufs[0], (size_t)sizes[0] };
	unsigned before = tap_failed_checks;
	struct cut *c = arg;

	EQ(nr_devs, 1);
	cut_look(c, &s, nr_writes);
	return tap_failed_checks == before ? 0 : -EUCLEAN;
}

static void cuts(struct cut *c, const char *what)
{
	struct dmfmt_world *w = dmfmt_world_new();
	struct image from = new_image(c->from.size, false), origin = new_image(c->origin.size, false);
	struct dmfmt_dev *dev;
	int64_t states;
	unsigned id;
	bool dense;

	memcpy(from.v, c->from.v, from.size);
	memcpy(origin.v, c->origin.v, origin.size);
	c->want = malloc(c->origin.size);
	c->got = malloc(c->origin.size);
	CHECK(view(&c->from, &c->origin, c->want, &dense) > 0);
	EQ(dmfmt_world_add(w, ctx, c->old.v, c->old.size, 512, false, "to", &id, &dev), 0);
	EQ(cut_run(c, dev), 0);
	{
		struct image end = { malloc(c->old.size), c->old.size };

		EQ(dmfmt_dev_read(dev, 0, end.v, end.size), 0);
		c->n = (uint64_t)view(&end, &c->origin, c->got, &dense);
		CHECK(dense && !memcmp(c->got, c->want, c->origin.size));
		free(end.v);
	}
	states = dmfmt_world_each_state(w, EXHAUSTIVE_BITS, SAMPLED, 1, cut_state, c);
	CHECK(states > 0);
	CHECK(c->none > 0);
	CHECK(c->complete > 0);
	printf("# %s: %" PRId64 " states, %" PRIu64 " complete, %" PRIu64 " do not load\n", what,
	       states, c->complete, c->none);
	CHECK(!memcmp(from.v, c->from.v, from.size));
	CHECK(!memcmp(origin.v, c->origin.v, origin.size));
	dmfmt_dev_close(dev);
	dmfmt_world_free(w);
	free(from.v);
	free(origin.v);
	free(c->want);
	free(c->got);
}

static void cut_cases(void (*fn)(struct cut *c, const char *what))
{
	struct image origin = new_image(333 * 512, true);
	struct cut split = { .from = make_store(8, 333, 13, GAPS, false), .origin = origin,
			     .old = make_store(2, 333, 140, DENSE, true), .sectors = 1 };
	struct cut join = { .from = make_store(2, 333, 50, DENSE, false), .origin = origin,
			    .old = make_store(8, 333, 40, DENSE, false), .sectors = 16 };
	struct cut blank = { .from = make_store(1, 333, 64, REVERSED, true), .origin = origin,
			     .old = new_image(80 * 512, false), .sectors = 1 };
	struct cut *all[] = { &split, &join, &blank };
	const char *const names[] = { "split over a store", "join over a store", "compact on zeros" };
	unsigned i;

	for (i = 0; i < 3; i++) {
		/* room for every case */
		if (all[i]->old.size < 400 * 512) {
			all[i]->old.v = realloc(all[i]->old.v, 400 * 512);
			memset(all[i]->old.v + all[i]->old.size, 0, 400 * 512 - all[i]->old.size);
			all[i]->old.size = 400 * 512;
		}
		fn(all[i], names[i]);
		free(all[i]->from.v);
		free(all[i]->old.v);
	}
	free(origin.v);
}

static void power_cuts(void)
{
	cut_cases(cuts);
}

/* every write and every flush fails once: it is said, and no half store loads */
static void fail_each(struct cut *c, const char *what)
{
	static const enum dmfmt_fault faults[] = {
		DMFMT_FAULT_WRITE_EIO, DMFMT_FAULT_WRITE_SHORT, DMFMT_FAULT_WRITE_ENOSPC,
		DMFMT_FAULT_FLUSH_LOST, DMFMT_FAULT_READ_EIO,
	};
	struct image s = { malloc(c->old.size), c->old.size };
	uint64_t reads, writes, flushes, nr, most = 0, runs = 0;
	struct dmfmt_world *w;
	struct dmfmt_dev *dev;
	unsigned i, id;
	bool dense;
	int ret;

	c->want = malloc(c->origin.size);
	c->got = malloc(c->origin.size);
	CHECK(view(&c->from, &c->origin, c->want, &dense) > 0);
	for (i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		/* until the fault comes too late */
		for (nr = 0; !nr || nr <= most; nr++, runs++) {
			w = dmfmt_world_new();
			EQ(dmfmt_world_add(w, ctx, c->old.v, c->old.size, 512, false, "to", &id, &dev),
			   0);
			dmfmt_world_cue(w, faults[i], nr);
			ret = cut_run(c, dev);
			dmfmt_world_counts(w, &reads, &writes, &flushes);
			most = i < 3 ? writes : i == 3 ? flushes : reads;
			if (nr < most)
				CHECK(ret < 0);
			else
				EQ(ret, 0);
			if (nr < most)
				EQ(dmfmt_dev_read(dev, 0, s.v, s.size), 0);
			/* the very last step may have come through although its flush failed */
			if (nr < most && loads(&s) && memcmp(s.v, c->old.v, s.size)) {
				c->n = (uint64_t)view(&s, &c->origin, c->got, &dense);
				CHECK(dense && !memcmp(c->got, c->want, c->origin.size));
			}
			dmfmt_dev_close(dev);
			dmfmt_world_free(w);
		}
	printf("# %s: %" PRIu64 " faults\n", what, runs);
	CHECK(runs > 10);
	free(c->want);
	free(c->got);
	free(s.v);
}

static void failing_devices(void)
{
	cut_cases(fail_each);
}

/* a stop at each point at which one can be asked for */
static int stop_at(void *arg, const struct dmfmt_progress *p)
{
	uint64_t *left = arg;

	return !(*left)--;
}

static void stop_each(struct cut *c, const char *what)
{
	struct image s = { malloc(c->old.size), c->old.size };
	uint64_t nr, left, stops = 0;
	struct dmfmt_dev *dev;
	bool dense;
	int ret = -ECANCELED;

	c->want = malloc(c->origin.size);
	c->got = malloc(c->origin.size);
	CHECK(view(&c->from, &c->origin, c->want, &dense) > 0);
	for (nr = 0; ret && nr < 1000; nr++) {
		memcpy(s.v, c->old.v, s.size);
		dev = device(&s);
		left = nr;
		dmfmt_ctx_set_progress(ctx, stop_at, &left);
		ret = cut_run(c, dev);
		dmfmt_ctx_set_progress(ctx, NULL, NULL);
		dmfmt_dev_close(dev);
		stops += !!ret;
		if (ret) {
			EQ(ret, -ECANCELED);
			CHECK(!loads(&s) || !memcmp(s.v, c->old.v, s.size));
		}
	}
	EQ(ret, 0);
	CHECK(view(&s, &c->origin, c->got, &dense) > 0);
	CHECK(dense && !memcmp(c->got, c->want, c->origin.size));
	CHECK(stops > 1);
	printf("# %s: %" PRIu64 " stops\n", what, stops);
	free(c->want);
	free(c->got);
	free(s.v);
}

static void stopped(void)
{
	struct image origin = new_image(64 * 420 * 512, false);
	struct cut large = { .from = make_store(64, 64 * 420, 400, GAPS, false), .origin = origin,
			     .old = new_image(16 << 20, false), .sectors = 32 };

	cut_cases(stop_each);
	/* more than the copier has buffers */
	dmfmt_ctx_set_memory(ctx, 16 << 20);
	stop_each(&large, "large");
	dmfmt_ctx_set_memory(ctx, 64 << 20);
	free(large.from.v);
	free(large.old.v);
	free(origin.v);
}

/* ---- import ------------------------------------------------------------------------------------ */

static void import_of_extents(void)
{
	enum { SECTORS = 1000, FILE_SECTORS = 700 };
	struct image origin = new_image(SECTORS * 512, true);
	struct image file = new_image(FILE_SECTORS * 512, true), to;
	struct dmfmt_dev *o = device(&origin), *source = device(&file), *dev;
	struct dmfmt_convert_params p = { .size = sizeof(p) };
	uint8_t *want = malloc(origin.size), *got = malloc(origin.size);
	struct dmfmt_extent e[64];
	struct counts c;
	unsigned round;

	for (round = 0; round < 60; round++) {
		uint64_t at = 0, needed = 0;
		size_t nr = 0, i;
		bool dense;

		memcpy(want, origin.v, origin.size);
		while (nr < 64) {
			uint64_t gap = rnd(3) ? rnd(40) : 0, len = 1 + rnd(round % 2 ? 30 : 5);

			if (at + gap + len > SECTORS)
				break;
			at += gap;
			e[nr] = (struct dmfmt_extent){ at * 512, rnd(FILE_SECTORS - 30) * 512, len * 512 };
			if (!rnd(3))
				e[nr].from = DMFMT_NONE;
			for (i = 0; i < e[nr].length; i++)
				want[e[nr].to + i] = e[nr].from == DMFMT_NONE ? 0 :
						     file.v[e[nr].from + i];
			at += len;
			nr++;
		}
		p.chunk_sectors = 1u << rnd(7);
		EQ(dmfmt_snapshot_import(ctx, source, o, e, nr, &p, NULL, &needed, NULL, NULL), 0);
		to = new_image(needed * 512, true);
		dev = device(&to);
		EQ(dmfmt_snapshot_import(ctx, source, o, e, nr, &p, dev, NULL, on_count, &c), 0);
		EQ(view(&to, &origin, got, &dense), c.nr_exceptions);
		CHECK(dense && !memcmp(got, want, origin.size));
		no_findings(&to, &origin);
		dmfmt_dev_close(dev);
		free(to.v);
	}
	/* what is out of order, off the file or off the origin is refused */
	e[0] = (struct dmfmt_extent){ 4096, 0, 4096 };
	e[1] = (struct dmfmt_extent){ 4096, 0, 4096 };
	EQ(dmfmt_snapshot_import(ctx, source, o, e, 2, &p, NULL, &(uint64_t){ 0 }, NULL, NULL), -ERANGE);
	e[0] = (struct dmfmt_extent){ 4096, file.size - 512, 1024 };
	EQ(dmfmt_snapshot_import(ctx, source, o, e, 1, &p, NULL, &(uint64_t){ 0 }, NULL, NULL), -ERANGE);
	e[0] = (struct dmfmt_extent){ origin.size - 512, 0, 1024 };
	EQ(dmfmt_snapshot_import(ctx, source, o, e, 1, &p, NULL, &(uint64_t){ 0 }, NULL, NULL), -ERANGE);
	e[0] = (struct dmfmt_extent){ 100, 0, 512 };
	EQ(dmfmt_snapshot_import(ctx, source, o, e, 1, &p, NULL, &(uint64_t){ 0 }, NULL, NULL), -ERANGE);
	e[0] = (struct dmfmt_extent){ UINT64_MAX - 511, 0, 512 };
	EQ(dmfmt_snapshot_import(ctx, source, o, e, 1, &p, NULL, &(uint64_t){ 0 }, NULL, NULL), -ERANGE);
	dmfmt_dev_close(source);
	dmfmt_dev_close(o);
	free(want);
	free(got);
	free(file.v);
	free(origin.v);
}

/* ---- sizes: against the kernel, step by step --------------------------------------------------- */

enum fate { HOLDS, FULL, INVALIDATED };

/* @nr new exceptions on a device of @chunks: persistent_prepare_exception(), _commit_exception() */
static enum fate kernel(uint64_t sectors, uint64_t chunks, uint64_t nr)
{
	uint64_t entries = sectors * 32, next_free = 2, slot = 0, area = 0;

	if (chunks < 2)
		return INVALIDATED;
	for (; nr; nr--) {
		if (chunks < next_free + 1)
			return FULL;
		next_free++;
		if (next_free % (entries + 1) == 1)
			next_free++;
		if (++slot == entries) {
			slot = 0;
			area++;
			/* the next area is zeroed before this one is written */
			if (1 + area * (entries + 1) >= chunks)
				return INVALIDATED;
		}
	}
	return HOLDS;
}

struct size {
	uint64_t full, full_edge, full_exceptions, contiguous, scattered, memory;
};

static int on_size(void *arg, const struct dmfmt_field *f)
{
	struct size *s = arg;

	if (!strcmp(f->name, "full_sectors"))
		s->full = f->u;
	if (!strcmp(f->name, "full_edge_sectors"))
		s->full_edge = f->u;
	if (!strcmp(f->name, "full_exceptions"))
		s->full_exceptions = f->u;
	if (!strcmp(f->name, "contiguous_exceptions"))
		s->contiguous = f->u;
	if (!strcmp(f->name, "scattered_exceptions"))
		s->scattered = f->u;
	if (!strcmp(f->name, "full_memory_bytes"))
		s->memory = f->u;
	return 0;
}

static void size_is_the_smallest_that_holds(void)
{
	uint64_t c, n;

	for (c = 1; c <= 4; c *= 2) {
		uint64_t chunks = 2, edge = 2, most = 3 * (32 * c + 1) + 5;

		for (n = 1; n <= most; n++) {
			struct size s = { 0 };

			while (kernel(c, chunks, n) != HOLDS)
				chunks++;
			/* from there on the first device that is invalidated instead of filling up */
			if (edge < chunks)
				edge = chunks;
			while (kernel(c, edge, UINT64_MAX) != INVALIDATED)
				edge++;
			EQ(dmfmt_snapshot_size(ctx, n * c, 0, c, on_size, &s), 0);
			EQ(s.full_exceptions, n);
			EQ(s.full, chunks * c);
			EQ(s.full_edge, edge * c);
		}
	}
}

/* chunks that @nr writes of 4 KiB touch at most, by trying the widest spread there is */
static uint64_t touched(uint64_t origin_sectors, uint64_t chunk, uint64_t nr)
{
	uint64_t chunks = (origin_sectors + chunk - 1) / chunk, count = 0, i, at = 0;
	uint8_t *hit = calloc(1, chunks);
	uint64_t step = chunk > 8 ? chunk : 8;

	for (i = 0; i < nr && at < origin_sectors; i++, at += step)
		memset(hit + at / chunk, 1,
		       (at + 8 < origin_sectors ? at + 7 : origin_sectors - 1) / chunk - at / chunk + 1);
	for (i = 0; i < chunks; i++)
		count += hit[i];
	free(hit);
	return count;
}

static void size_of_the_worst_case(void)
{
	uint64_t chunk, changed;

	for (chunk = 1; chunk <= 64; chunk *= 2)
		for (changed = 0; changed <= 4096; changed += 8) {
			struct size s = { 0 };

			EQ(dmfmt_snapshot_size(ctx, 4096, changed, chunk, on_size, &s), 0);
			EQ(s.contiguous, (changed + chunk - 1) / chunk);
			EQ(s.scattered, touched(4096, chunk, changed / 8));
			CHECK(s.contiguous <= s.scattered && s.scattered <= s.full_exceptions);
			CHECK(s.memory >= s.full_exceptions * 32 + 4 * chunk * 512);
		}
}

static void size_of_nonsense(void)
{
	struct size s;

	EQ(dmfmt_snapshot_size(ctx, 0, 0, 8, on_size, &s), -EINVAL);
	EQ(dmfmt_snapshot_size(ctx, UINT64_MAX, 0, 8, on_size, &s), -EINVAL);
	EQ(dmfmt_snapshot_size(ctx, 8, 9, 8, on_size, &s), -EINVAL);
	EQ(dmfmt_snapshot_size(ctx, 8, 8, 12, on_size, &s), -EINVAL);
	EQ(dmfmt_snapshot_size(ctx, 8, 8, 4194304, on_size, &s), -EINVAL);
	/* the largest origin there can be */
	EQ(dmfmt_snapshot_size(ctx, INT64_MAX / 512, INT64_MAX / 512, 1, on_size, &s), 0);
	CHECK(s.full > INT64_MAX / 512);
}

int main(void)
{
	ctx = dmfmt_ctx_new();
	RUN(every_size_to_every_size);
	RUN(everything_changed);
	RUN(compaction_is_idempotent);
	RUN(nothing_past_the_end);
	RUN(what_is_missing_is_said);
	RUN(power_cuts);
	RUN(failing_devices);
	RUN(stopped);
	RUN(import_of_extents);
	RUN(size_is_the_smallest_that_holds);
	RUN(size_of_the_worst_case);
	RUN(size_of_nonsense);
	dmfmt_ctx_free(ctx);
	return DONE();
}
