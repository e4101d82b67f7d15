// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Power cuts while a store is given the chunks that a merge of another one is about to change.
 *
 * Each case is run once over devices that record their writes and flushes.  Then every state that a
 * cut could leave must satisfy:
 *
 *   - check finds nothing fatal and nothing to repair;
 *   - the logical device of the store that is appended to is what it was, byte for byte;
 *   - the origin is what it was;
 *   - running it again ends with every chunk in the store, once more adds nothing.
 *
 * What a store holds is read here by a decoder of the test's own.  The number of states is printed.
 */
#include <errno.h>
#include <stdlib.h>

#include "../lib/tap.h"
#include "../../libdmfmt/io/dev.h"
#include "../../libdmfmt/io/fault.h"
#include "../../libdmfmt/ops/snapshot_append.h"

#define EXHAUSTIVE_BITS 9
#define SAMPLED 40
#define NOT_MAPPED 0

/*
 * struct scene - a store, another one of the same origin that is going to be merged, and the origin
 * @chunk, @merged_chunk: sectors; @block: logical block of the devices
 * @chunks: of the store's device
 * @nr, @old: what it holds; @hole: chunks that are left out before its last exception
 * @stale: a stale entry so many slots behind the terminator
 * @merged_old, @nr_merged: what the store to be merged holds
 */
struct scene {
	const char *name;
	unsigned chunk, merged_chunk, block;
	uint64_t chunks, origin_sectors;
	unsigned nr, hole, stale;
	uint64_t (*old)(unsigned i);
	unsigned nr_merged;
	uint64_t (*merged_old)(unsigned i);
};

/*
 * struct job - a scene on its stage
 * @view: what the store showed at first; @now, @map: room for what a state shows and where it is
 * @added: chunks that are missing
 */
struct job {
	const struct scene *s;
	uint8_t *store, *merged, *origin, *view, *now;
	uint64_t *map;
	uint64_t origin_chunks, added;
	size_t store_bytes, merged_bytes, origin_bytes;
};

static struct dmfmt_ctx *ctx;
static uint64_t total_states;

/* ---- making stores --------------------------------------------------------------------------- */

static void put_le(uint8_t *p, uint64_t v, unsigned bytes)
{
	unsigned i;

	for (i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

static uint64_t get_le64(const uint8_t *p)
{
	uint64_t v = 0;
	unsigned i;

	for (i = 8; i-- > 0;)
		v = v << 8 | p[i];
	return v;
}

/* no two sectors are the same, whichever device they are on */
static void paint(uint8_t *p, size_t bytes, uint32_t seed)
{
	size_t i;

	for (i = 0; i < bytes; i += 4)
		put_le(p + i, (i / 512 + 1) * 2654435761u ^ seed ^ i % 512, 4);
}

static uint8_t *slot_at(uint8_t *store, unsigned chunk, uint64_t i)
{
	uint64_t entries = 32 * chunk, bytes = 512 * chunk;

	return store + (1 + i / entries * (entries + 1)) * bytes + i % entries * 16;
}

/* painted all over but for header and areas in use: what lies elsewhere must not matter */
static uint8_t *make_store(unsigned chunk, uint64_t chunks, unsigned nr, uint64_t (*old)(unsigned i),
			   unsigned hole)
{
	uint64_t bytes = 512 * chunk, entries = 32 * chunk, area;
	uint8_t *p = malloc(chunks * bytes);
	uint64_t new_chunk = 2;
	unsigned i;

	paint(p, chunks * bytes, 0x5eed + chunk);
	memset(p, 0, bytes);
	memcpy(p, "\x53\x6e\x41\x70\x01\0\0\0\x01\0\0\0", 12);
	put_le(p + 12, chunk, 4);
	for (area = 0; area <= nr / entries; area++)
		memset(slot_at(p, chunk, area * entries), 0, bytes);
	for (i = 0; i < nr; i++) {
		if (i + 1 == nr)
			new_chunk += hole;
		if (new_chunk % (entries + 1) == 1)
			new_chunk++;
		put_le(slot_at(p, chunk, i), old(i), 8);
		put_le(slot_at(p, chunk, i) + 8, new_chunk++, 8);
	}
	return p;
}

/*
 * Where each chunk of the origin is (NOT_MAPPED: on the origin itself), in @map.
 * Return: how many exceptions; DMFMT_NONE if the chain leaves the device or leads out of it.
 */
static uint64_t decode(const struct job *j, uint8_t *store, uint64_t *map)
{
	const struct scene *s = j->s;
	uint64_t entries = 32 * s->chunk, i;

	memset(map, 0, j->origin_chunks * sizeof(*map));
	for (i = 0; 1 + i / entries * (entries + 1) < s->chunks; i++) {
		uint64_t old_chunk = get_le64(slot_at(store, s->chunk, i));
		uint64_t new_chunk = get_le64(slot_at(store, s->chunk, i) + 8);

		if (new_chunk == NOT_MAPPED)
			return i;
		if (old_chunk >= j->origin_chunks || new_chunk >= s->chunks)
			return DMFMT_NONE;
		map[old_chunk] = new_chunk;
	}
	return DMFMT_NONE;
}

static uint64_t nr_exceptions(const struct job *j, uint8_t *store)
{
	return decode(j, store, j->map);
}

/* what the target would show */
static void show(const struct job *j, uint8_t *store, uint8_t *view)
{
	uint64_t bytes = 512 * j->s->chunk, chunk;

	decode(j, store, j->map);
	for (chunk = 0; chunk < j->origin_chunks; chunk++) {
		uint64_t left = j->origin_bytes - chunk * bytes, at = j->map[chunk];

		memcpy(view + chunk * bytes,
		       at == NOT_MAPPED ? j->origin + chunk * bytes : store + at * bytes,
		       left < bytes ? left : bytes);
	}
}

/* ---- running it ------------------------------------------------------------------------------ */

static struct dmfmt_dev *buffer_dev(void *buf, uint64_t size, unsigned block)
{
	struct dmfmt_layer *l;
	struct dmfmt_dev *dev = NULL;

	if (dmfmt_mem_layer_new(buf, size, &l) ||
	    dmfmt_dev_from_layer(ctx, l, size, block, "state", &dev))
		printf("# no device: %s\n", dmfmt_ctx_error(ctx));
	dev->flags |= DMFMT_OPEN_WRITE;
	return dev;
}

static int protect_dev(const struct job *j, struct dmfmt_dev *store, struct dmfmt_dev *origin,
		       uint64_t *copied)
{
	struct dmfmt_dev *merged = buffer_dev(j->merged, j->merged_bytes, j->s->block);
	struct dmfmt *f = NULL, *other = NULL;
	int ret = dmfmt_open(ctx, merged, "snapshot", 0, &f);

	*copied = 0;
	if (!ret)
		ret = dmfmt_open(ctx, store, "snapshot", 0, &other);
	if (!ret)
		ret = dmfmt_set_origin(f, origin);
	if (!ret)
		ret = dmfmt_set_origin(other, origin);
	if (!ret)
		ret = dmfmt_protect(f, other, copied);
	dmfmt_close(other);
	dmfmt_close(f);
	dmfmt_dev_close(merged);
	return ret;
}

static int protect(const struct job *j, uint8_t *store, uint8_t *origin, uint64_t *copied)
{
	struct dmfmt_dev *s = buffer_dev(store, j->store_bytes, j->s->block);
	struct dmfmt_dev *o = buffer_dev(origin, j->origin_bytes, j->s->block);
	int ret = protect_dev(j, s, o, copied);

	EQ(o->bytes_written, 0);
	dmfmt_dev_close(o);
	dmfmt_dev_close(s);
	return ret;
}

/* fatal and repairable findings */
static uint64_t damage(const struct job *j, uint8_t *store)
{
	struct dmfmt_dev *dev = buffer_dev(store, j->store_bytes, j->s->block);
	struct dmfmt_summary sum = { .size = sizeof(sum) };
	struct dmfmt_report *r = NULL;
	struct dmfmt *f;

	EQ(dmfmt_open(ctx, dev, "snapshot", 0, &f), 0);
	EQ(dmfmt_set_origin_size(f, j->s->origin_sectors), 0);
	EQ(dmfmt_check(f, 0, 0, &r), 0);
	dmfmt_report_summary(r, &sum);
	dmfmt_report_free(r);
	dmfmt_close(f);
	dmfmt_dev_close(dev);
	return sum.fatal + sum.repairable;
}

/* every chunk that the merge will change is in the store, and nothing but these was added */
static bool complete(const struct job *j, uint8_t *store)
{
	const struct scene *s = j->s;
	uint64_t sector, nr = decode(j, store, j->map);
	unsigned i;

	for (i = 0; i < s->nr_merged; i++) {
		uint64_t first = s->merged_old(i) * s->merged_chunk, end = first + s->merged_chunk;

		if (end > s->origin_sectors)
			end = s->origin_sectors;
		for (sector = first; sector < end; sector++)
			if (j->map[sector / s->chunk] == NOT_MAPPED)
				return false;
	}
	return nr == s->nr + j->added;
}

static bool shows_the_same(const struct job *j, uint8_t *store)
{
	show(j, store, j->now);
	return !memcmp(j->now, j->view, j->origin_bytes);
}

static void finish_and_compare(const struct job *j, uint8_t *store, uint8_t *origin)
{
	uint64_t copied, had = nr_exceptions(j, store);
	int ret = protect(j, store, origin, &copied);

	if (ret)
		printf("# %s: again: %s\n", j->s->name, dmfmt_ctx_error(ctx));
	EQ(ret, 0);
	EQ(had + copied, j->s->nr + j->added);
	CHECK(complete(j, store));
	CHECK(shows_the_same(j, store));
	EQ(damage(j, store), 0);
	EQ(protect(j, store, origin, &copied), 0);
	EQ(copied, 0);
}

/* ---- cuts ------------------------------------------------------------------------------------ */

static int one_state(void *arg, uint64_t nr_writes, void **bufs, const uint64_t *sizes,
		     unsigned nr_devs)
{
	const struct job *j = arg;
	unsigned before = tap_failed_checks;

	EQ(nr_devs, 2);
	EQ(sizes[0], j->store_bytes);
	CHECK(!memcmp(bufs[1], j->origin, j->origin_bytes));
	/* a stale tail was there before, and is repairable until it is gone */
	if (!j->s->stale)
		EQ(damage(j, bufs[0]), 0);
	CHECK(shows_the_same(j, bufs[0]));
	finish_and_compare(j, bufs[0], bufs[1]);
	if (tap_failed_checks != before)
		printf("# %s: state after write %" PRIu64 "\n", j->s->name, nr_writes);
	return tap_failed_checks != before ? -EUCLEAN : 0;
}

/* what is missing, counted by the test itself */
static uint64_t count_missing(const struct scene *s)
{
	bool *want = calloc(s->origin_sectors + 1, sizeof(*want));
	uint64_t sector, nr = 0;
	unsigned i;

	for (i = 0; i < s->nr_merged; i++)
		for (sector = s->merged_old(i) * s->merged_chunk;
		     sector < (s->merged_old(i) + 1) * s->merged_chunk; sector++)
			if (sector < s->origin_sectors)
				want[sector / s->chunk] = true;
	for (i = 0; i < s->nr; i++)
		if (s->old(i) <= s->origin_sectors)
			want[s->old(i)] = false;
	for (i = 0; i <= s->origin_sectors; i++)
		nr += want[i];
	free(want);
	return nr;
}

static void set_up(struct job *j, const struct scene *s)
{
	uint64_t merged_chunks = s->nr_merged + s->nr_merged / (32 * s->merged_chunk) + 3;

	*j = (struct job){
		.s = s, .store_bytes = s->chunks * 512 * s->chunk,
		.merged_bytes = merged_chunks * 512 * s->merged_chunk,
		.origin_bytes = s->origin_sectors * 512,
		.origin_chunks = (s->origin_sectors + s->chunk - 1) / s->chunk,
		.added = count_missing(s),
	};
	j->store = make_store(s->chunk, s->chunks, s->nr, s->old, s->hole);
	j->merged = make_store(s->merged_chunk, merged_chunks, s->nr_merged, s->merged_old, 0);
	j->origin = malloc(j->origin_bytes);
	j->view = malloc(j->origin_bytes);
	j->now = malloc(j->origin_bytes);
	j->map = calloc(j->origin_chunks, sizeof(*j->map));
	paint(j->origin, j->origin_bytes, 0x0419);
	if (s->stale) {
		put_le(slot_at(j->store, s->chunk, s->nr + s->stale), 77, 8);
		put_le(slot_at(j->store, s->chunk, s->nr + s->stale) + 8, 3, 8);
	}
	show(j, j->store, j->view);
}

static void tear_down(struct job *j)
{
	free(j->store);
	free(j->merged);
	free(j->origin);
	free(j->view);
	free(j->now);
	free(j->map);
}

/* the devices of a world: the store and the origin */
static struct dmfmt_world *world(const struct job *j, struct dmfmt_dev **store,
				 struct dmfmt_dev **origin)
{
	struct dmfmt_world *w = dmfmt_world_new();
	unsigned id;

	EQ(dmfmt_world_add(w, ctx, j->store, j->store_bytes, j->s->block, false, "store", &id, store), 0);
	EQ(dmfmt_world_add(w, ctx, j->origin, j->origin_bytes, j->s->block, false, "origin", &id,
			   origin), 0);
	(*store)->flags |= DMFMT_OPEN_WRITE;
	return w;
}

static void crash(const struct scene *s)
{
	struct dmfmt_dev *store, *origin;
	struct dmfmt_world *w;
	struct job j;
	uint64_t copied;
	int64_t states;
	int ret;

	set_up(&j, s);
	EQ(damage(&j, j.store), s->stale ? 1 : 0);
	w = world(&j, &store, &origin);
	ret = protect_dev(&j, store, origin, &copied);
	if (ret)
		printf("# %s: %s\n", s->name, dmfmt_ctx_error(ctx));
	EQ(ret, 0);
	CHECK(j.added > 0);
	EQ(copied, j.added);
	EQ(origin->bytes_written, 0);
	states = dmfmt_world_each_state(w, EXHAUSTIVE_BITS, SAMPLED, 1, one_state, &j);
	CHECK(states > 0);
	if (states > 0)
		total_states += (uint64_t)states;
	printf("# %s: %" PRId64 " states\n", s->name, states);
	dmfmt_dev_close(store);
	dmfmt_dev_close(origin);
	dmfmt_world_free(w);
	tear_down(&j);
}

/* ---- the scenes ------------------------------------------------------------------------------ */

static uint64_t even(unsigned i) { return 2 * i; }
static uint64_t backwards(unsigned i) { return 600 - i; }
static uint64_t from_400(unsigned i) { return 400 + i; }
static uint64_t from_the_end(unsigned i) { return 698 - i; }
static uint64_t third(unsigned i) { return 3 * i; }
static uint64_t few(unsigned i) { return 5 * i; }

static const struct scene scenes[] = {
	/*				C  f  block	T    origin nr hole stale old		merged */
	{ "an empty store",		1, 1, 512,	40,  700,  0,   0,  0, even,	  5, from_400 },
	{ "up to the last slot but one", 1, 1, 512,	80,  700,  30,  0,  0, even,	  1, from_400 },
	{ "a full area",		1, 1, 512,	80,  700,  30,  0,  0, even,	  2, from_400 },
	{ "one more than full",		1, 1, 512,	80,  700,  30,  0,  0, even,	  3, from_400 },
	{ "behind a full area",		1, 1, 512,	80,  700,  32,  0,  0, even,	  7, from_400 },
	{ "from full to full",		1, 1, 512,	120, 700,  32,  0,  0, even,	  32, from_400 },
	{ "several areas",		1, 1, 512,	160, 700,  10,  0,  0, even,	  90, from_400 },
	{ "several areas, all full",	1, 1, 512,	160, 700,  10,  0,  0, even,	  86, from_400 },
	{ "some are there already",	1, 1, 512,	160, 700,  20,  0,  0, even,	  40, third },
	{ "in no order",		1, 1, 512,	160, 700,  20,  0,  0, backwards, 25, even },
	{ "a hole",			1, 1, 512,	120, 700,  20,  7,  0, even,	  20, from_400 },
	{ "a hole larger than an area", 1, 1, 512,	120, 700,  9,   40, 0, even,	  30, from_400 },
	{ "a stale tail",		1, 1, 512,	80,  700,  9,   0,  9, even,	  40, from_400 },
	{ "a stale tail, far behind",	1, 1, 512,	80,  700,  9,   0,  9, even,	  3, from_400 },
	{ "the last chunk",		1, 1, 512,	38,  700,  20,  0,  0, even,	  15, from_400 },
	{ "the edge",			1, 1, 512,	34,  700,  20,  0,  0, even,	  11, from_400 },
	{ "4 KiB chunks",		8, 8, 512,	600, 6000, 250, 0,  0, even,	  3, backwards },
	{ "4 KiB chunks, a full area",	8, 8, 512,	600, 6000, 252, 0,  0, even,	  4, backwards },
	{ "4 KiB chunks, one more",	8, 8, 512,	600, 6000, 253, 0,  0, even,	  4, backwards },
	{ "4 KiB chunks, two blocks",	8, 8, 512,	600, 6000, 188, 0,  0, even,	  6, backwards },
	{ "4 KiB chunks, three blocks", 8, 8, 512,	600, 6000, 190, 0,  0, even,	  36, backwards },
	{ "4 KiB chunks, blocks, area", 8, 8, 512,	600, 6000, 222, 0,  0, even,	  36, backwards },
	{ "4 KiB blocks",		8, 8, 4096,	600, 6000, 250, 0,  0, even,	  6, backwards },
	{ "4 KiB blocks, two areas",	8, 8, 4096,	600, 6000, 230, 0,  0, even,	  60, third },
	{ "4 KiB blocks, a hole",	8, 8, 4096,	700, 6000, 250, 9,  0, even,	  20, third },
	{ "smaller chunks",		1, 8, 512,	120, 700,  20,  0,  0, even,	  9, few },
	{ "larger chunks",		8, 1, 512,	40,  699,  5,   0,  0, even,	  60, third },
	{ "the origin's last chunk",	8, 1, 512,	40,  699,  5,   0,  0, even,	  9, from_the_end },
};
#define NR_SCENES (sizeof(scenes) / sizeof(scenes[0]))

static void cuts(void)
{
	unsigned i;

	for (i = 0; i < NR_SCENES; i++)
		crash(&scenes[i]);
}

/* ---- no room --------------------------------------------------------------------------------- */

static void no_room(void)
{
	/* one more than fits: at the end of the device, at its edge, behind a hole */
	static const struct scene full[] = {
		{ "the last chunk", 1, 1, 512, 38, 700, 20, 0, 0, even, 16, from_400 },
		{ "the edge",	    1, 1, 512, 34, 700, 20, 0, 0, even, 12, from_400 },
		{ "a hole",	    1, 1, 512, 60, 700, 20, 7, 0, even, 31, from_400 },
		{ "a stale tail",   1, 1, 512, 34, 700, 9,  0, 9, even, 40, from_400 },
	};
	uint8_t *before;
	struct job j;
	uint64_t copied;
	unsigned i;

	for (i = 0; i < sizeof(full) / sizeof(full[0]); i++) {
		set_up(&j, &full[i]);
		before = malloc(j.store_bytes);
		memcpy(before, j.store, j.store_bytes);
		EQ(protect(&j, j.store, j.origin, &copied), -ENOSPC);
		EQ(copied, 0);
		CHECK(strstr(dmfmt_ctx_error(ctx), "found room for"));
		CHECK(!memcmp(before, j.store, j.store_bytes));
		free(before);
		tear_down(&j);
	}
}

static void room_is_counted_as_the_kernel_does(void)
{
	static const struct scene s = { "a hole", 1, 1, 512, 60, 700, 20, 7, 0, even, 31, from_400 };
	struct dmfmt_dev *store, *origin;
	uint64_t added = 0;
	struct snap_append *a = NULL;
	struct dmfmt *f = NULL;
	struct job j;

	set_up(&j, &s);
	store = buffer_dev(j.store, j.store_bytes, 512);
	origin = buffer_dev(j.origin, j.origin_bytes, 512);
	EQ(dmfmt_open(ctx, store, "snapshot", 0, &f), 0);
	EQ(snap_append_open(f, origin, 4 << 20, &a), 0);
	/* exceptions 0 to 18 in chunks 2 to 20, the last in 28: 29 to 33 and 35 to 59 are left */
	EQ(snap_append_room(a), 5 + 25);
	while (snap_append_room(a)) {
		uint64_t new_chunk;

		EQ(snap_append_add(a, 300 + added, 512 * (300 + added), 512, &new_chunk), 0);
		EQ(new_chunk, added < 5 ? 29 + added : 35 + added - 5);
		added++;
	}
	EQ(added, 30);
	EQ(snap_append_add(a, 299, 512 * 299, 512, NULL), -ENOSPC);
	EQ(snap_append_add(a, 1ull << 63, 0, 1024, NULL), -EINVAL);
	EQ(snap_append_commit(a), 0);
	EQ(snap_append_committed(a), 30);
	snap_append_close(a);
	snap_append_close(NULL);
	dmfmt_close(f);
	dmfmt_dev_close(store);
	dmfmt_dev_close(origin);
	EQ(nr_exceptions(&j, j.store), 50);
	CHECK(shows_the_same(&j, j.store));
	EQ(damage(&j, j.store), 0);
	tear_down(&j);
}

/* ---- errors, and being told to stop ---------------------------------------------------------- */

static const enum dmfmt_fault faults[] = {
	DMFMT_FAULT_READ_EIO, DMFMT_FAULT_READ_SHORT, DMFMT_FAULT_WRITE_EIO,
	DMFMT_FAULT_WRITE_ENOSPC, DMFMT_FAULT_WRITE_SHORT, DMFMT_FAULT_FLUSH_LOST,
};

/* one run with one fault; 1: it came too late */
static int one_fault(const struct job *j, unsigned fault, uint64_t nr)
{
	uint64_t reads, writes, flushes, most, copied;
	struct dmfmt_dev *store, *origin;
	struct dmfmt_world *w = world(j, &store, &origin);
	uint8_t *left = malloc(j->store_bytes);
	int ret;

	dmfmt_world_cue(w, faults[fault], nr);
	ret = protect_dev(j, store, origin, &copied);
	dmfmt_world_counts(w, &reads, &writes, &flushes);
	most = fault < 2 ? reads : fault < 5 ? writes : flushes;
	/* what could not be looked at behind the end, or was there when asked again, is no error */
	CHECK(ret < 0 ? most > nr : most <= nr || fault < 2);
	if (most > nr) {
		EQ(dmfmt_dev_read(store, 0, left, j->store_bytes), 0);
		CHECK(ret < 0 ? *dmfmt_ctx_error(ctx) != 0 : complete(j, left));
		EQ(damage(j, left), 0);
		CHECK(shows_the_same(j, left));
		CHECK(nr_exceptions(j, left) >= j->s->nr + copied);
		finish_and_compare(j, left, j->origin);
	}
	dmfmt_dev_close(store);
	dmfmt_dev_close(origin);
	dmfmt_world_free(w);
	free(left);
	return most <= nr;
}

static void failing_devices(void)
{
	static const struct scene s = {
		"failing", 1, 1, 512, 160, 700, 20, 0, 0, even, 60, from_400,
	};
	unsigned i, tried = 0;
	struct job j;
	uint64_t nr;

	set_up(&j, &s);
	for (i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		for (nr = 0; nr < 1000 && !one_fault(&j, i, nr); nr++)
			tried++;
	CHECK(tried >= 20);
	printf("# %u failing reads, writes and flushes\n", tried);
	tear_down(&j);
}

static unsigned steps_left;

static int stop(void *arg, const struct dmfmt_progress *p)
{
	(void)arg;
	(void)p;
	return !steps_left || !--steps_left;
}

/* asked to stop at each place where it asks */
static void told_to_stop(void)
{
	static const struct scene s = {
		"stopped", 1, 1, 512, 160, 700, 20, 0, 0, even, 60, from_400,
	};
	uint8_t *left;
	struct job j;
	uint64_t copied;
	unsigned steps, stopped = 0;
	int ret = -1;

	set_up(&j, &s);
	left = malloc(j.store_bytes);
	for (steps = 1; ret && steps < 1000; steps++) {
		memcpy(left, j.store, j.store_bytes);
		steps_left = steps;
		dmfmt_ctx_set_progress(ctx, stop, NULL);
		ret = protect(&j, left, j.origin, &copied);
		dmfmt_ctx_set_progress(ctx, NULL, NULL);
		if (!ret)
			break;
		stopped++;
		EQ(ret, -ECANCELED);
		EQ(damage(&j, left), 0);
		finish_and_compare(&j, left, j.origin);
	}
	EQ(ret, 0);
	CHECK(stopped > 0);
	printf("# stopped at %u places\n", stopped);
	free(left);
	tear_down(&j);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void damaged_stores_are_refused(void)
{
	static const struct scene s = {
		"damaged", 1, 1, 512, 80, 700, 20, 0, 0, even, 5, from_400,
	};
	uint8_t *before;
	struct job j;
	uint64_t copied;

	set_up(&j, &s);
	put_le(j.store + 4, 0, 4);	/* an invalid store cannot be helped */
	before = malloc(j.store_bytes);
	memcpy(before, j.store, j.store_bytes);
	EQ(protect(&j, j.store, j.origin, &copied), -EUCLEAN);
	EQ(copied, 0);
	put_le(j.store + 4, 1, 4);
	put_le(j.merged + 4, 0, 4);
	EQ(protect(&j, j.store, j.origin, &copied), -EUCLEAN);
	put_le(before + 4, 1, 4);
	CHECK(!memcmp(before, j.store, j.store_bytes));
	free(before);
	tear_down(&j);
}

int main(void)
{
	ctx = dmfmt_ctx_new();
	RUN(room_is_counted_as_the_kernel_does);
	RUN(no_room);
	RUN(damaged_stores_are_refused);
	RUN(told_to_stop);
	RUN(failing_devices);
	RUN(cuts);
	printf("# %" PRIu64 " states in all\n", total_states);
	dmfmt_ctx_free(ctx);
	return DONE();
}
