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
#define SAMPLED 60
#define NOT_MAPPED 0

/*
 * struct scene - a store, another one of the same origin that is going to be merged, and the origin
 * @chunk, @merged_chunk: sectors; @block: logical block of the devices
 * @chunks: of the store's device
 * @nr, @old: what it holds; @hole: chunks that are left out before its last exception
 * @stale: a stale entry so many slots behind the terminator
 * @merged_old, @nr_merged: what the store to be merged holds
 * @added: chunks that are missing
 */
struct scene {
	const char *name;
	unsigned chunk, merged_chunk, block;
	uint64_t chunks, origin_sectors;
	unsigned nr, hole, stale;
	uint64_t (*old)(unsigned i);
	unsigned nr_merged;
	uint64_t (*merged_old)(unsigned i);
	unsigned added;
};

struct job {
	const struct scene *s;
	uint8_t *store, *merged, *origin, *view;
	size_t store_bytes, merged_bytes, origin_bytes;
};

static struct dmfmt_ctx *ctx;
static uint64_t total_states;

/* ---- making stores ---------------------------------------------------------------------------------- */

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

/* the chunk that holds @old_chunk, or NOT_MAPPED; *nr: exceptions, 0 if the chain leaves the device */
static uint64_t lookup(uint8_t *store, unsigned chunk, uint64_t chunks, uint64_t old_chunk, uint64_t *nr)
{
	uint64_t entries = 32 * chunk, found = NOT_MAPPED, i;

	for (i = 0;; i++) {
		uint8_t *e = slot_at(store, chunk, i);

		if (1 + i / entries * (entries + 1) >= chunks) {
			*nr = 0;
			return NOT_MAPPED;
		}
		if (!get_le64(e + 8))
			break;
		if (get_le64(e) == old_chunk)
			found = get_le64(e + 8);
	}
	*nr = i;
	return found;
}

static uint64_t nr_exceptions(const struct job *j, uint8_t *store)
{
	uint64_t nr;

	lookup(store, j->s->chunk, j->s->chunks, DMFMT_NONE, &nr);
	return nr;
}

/* what the target would show */
static void show(const struct job *j, uint8_t *store, uint8_t *view)
{
	uint64_t bytes = 512 * j->s->chunk, chunk, nr;

	for (chunk = 0; chunk * bytes < j->origin_bytes; chunk++) {
		uint64_t left = j->origin_bytes - chunk * bytes, len = left < bytes ? left : bytes;
		uint64_t at = lookup(store, j->s->chunk, j->s->chunks, chunk, &nr);

		memcpy(view + chunk * bytes,
		       at == NOT_MAPPED ? j->origin + chunk * bytes : store + at * bytes, len);
	}
}

/* ---- running it ---------------------------------------------------------------------------------------- */

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
	uint64_t nr, sector;
	unsigned i;

	for (i = 0; i < s->nr_merged; i++) {
		uint64_t first = s->merged_old(i) * s->merged_chunk, end = first + s->merged_chunk;

		if (end > s->origin_sectors)
			end = s->origin_sectors;
		for (sector = first; sector < end; sector++)
			if (lookup(store, s->chunk, s->chunks, sector / s->chunk, &nr) == NOT_MAPPED)
				return false;
	}
	return nr_exceptions(j, store) == s->nr + s->added;
}

static bool shows_the_same(const struct job *j, uint8_t *store)
{
	uint8_t *now = malloc(j->origin_bytes);
	bool same;

	show(j, store, now);
	same = !memcmp(now, j->view, j->origin_bytes);
	free(now);
	return same;
}

static void finish_and_compare(const struct job *j, uint8_t *store, uint8_t *origin)
{
	uint64_t copied, had = nr_exceptions(j, store);
	int ret = protect(j, store, origin, &copied);

	if (ret)
		printf("# %s: again: %s\n", j->s->name, dmfmt_ctx_error(ctx));
	EQ(ret, 0);
	EQ(had + copied, j->s->nr + j->s->added);
	CHECK(complete(j, store));
	CHECK(shows_the_same(j, store));
	EQ(damage(j, store), 0);
	EQ(protect(j, store, origin, &copied), 0);
	EQ(copied, 0);
}

/* ---- cuts ------------------------------------------------------------------------------------------------ */

static int one_state(void *arg, uint64_t nr_writes, void **bufs, const uint64_t *sizes, unsigned nr_devs)
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

static void set_up(struct job *j, const struct scene *s)
{
	uint64_t merged_chunks = s->nr_merged + s->nr_merged / (32 * s->merged_chunk) + 3;

	*j = (struct job){
		.s = s, .store_bytes = s->chunks * 512 * s->chunk,
		.merged_bytes = merged_chunks * 512 * s->merged_chunk,
		.origin_bytes = s->origin_sectors * 512,
	};
	j->store = make_store(s->chunk, s->chunks, s->nr, s->old, s->hole);
	j->merged = make_store(s->merged_chunk, merged_chunks, s->nr_merged, s->merged_old, 0);
	j->origin = malloc(j->origin_bytes);
	j->view = malloc(j->origin_bytes);
	paint(j->origin, j->origin_bytes, 0x0419);
	if (s->stale)
		put_le(slot_at(j->store, s->chunk, s->nr + s->stale), 77, 8);
	show(j, j->store, j->view);
}

static void tear_down(struct job *j)
{
	free(j->store);
	free(j->merged);
	free(j->origin);
	free(j->view);
}

/* the devices of a world: the store and the origin */
static struct dmfmt_world *world(const struct job *j, struct dmfmt_dev **store, struct dmfmt_dev **origin)
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
	EQ(copied, s->added);
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

/* ---- the scenes ------------------------------------------------------------------------------------------ */

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
	{ "the last chunk",		1, 1, 512,	38,  700,  20,  0,  0, even,	  15, from_400 },
	{ "the edge",			1, 1, 512,	34,  700,  20,  0,  0, even,	  11, from_400 },
	{ "4 KiB chunks",		8, 8, 512,	600, 6000, 250, 0,  0, even,	  3, backwards },
	{ "4 KiB chunks, a full area",	8, 8, 512,	600, 6000, 252, 0,  0, even,	  4, backwards },
	{ "4 KiB chunks, one more",	8, 8, 512,	600, 6000, 253, 0,  0, even,	  4, backwards },
	{ "4 KiB chunks, blocks to go", 8, 8, 512,	600, 6000, 186, 0,  0, even,	  72, backwards },
	{ "4 KiB blocks",		8, 8, 4096,	600, 6000, 250, 0,  0, even,	  6, backwards },
	{ "4 KiB blocks, two areas",	8, 8, 4096,	600, 6000, 230, 0,  0, even,	  60, third },
	{ "4 KiB blocks, a hole",	8, 8, 4096,	700, 6000, 250, 9,  0, even,	  20, third },
	{ "smaller chunks",		1, 8, 512,	120, 700,  20,  0,  0, even,	  9, few },
	{ "larger chunks",		8, 1, 512,	40,  699,  5,   0,  0, even,	  60, third },
	{ "the origin's last chunk",	8, 1, 512,	40,  699,  5,   0,  0, even,	  9, from_the_end },
};

/* what is missing, counted by the test itself */
static unsigned count_missing(const struct scene *s)
{
	bool *want = calloc(s->origin_sectors + 1, sizeof(*want));
	unsigned i, nr = 0;
	uint64_t sector;

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

static void cuts(void)
{
	unsigned i;

	for (i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++) {
		struct scene s = scenes[i];

		s.added = count_missing(&s);
		CHECK(s.added > 0);
		crash(&s);
	}
}

int main(void)
{
	ctx = dmfmt_ctx_new();
	RUN(cuts);
	printf("# %" PRIu64 " states in all\n", total_states);
	dmfmt_ctx_free(ctx);
	return DONE();
}
