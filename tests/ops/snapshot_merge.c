// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Power cuts, bad chunks and errors in a merge.
 *
 * Small stores (several areas, several windows, blocks of 512 and 4096 bytes) are merged over devices
 * that record their writes and flushes.  Then every state that a cut could leave must satisfy:
 *
 *   - check finds nothing fatal, and behind the end of the chain the area is zero;
 *   - the logical device, read by the few lines below and not by the library, is what it was; so each
 *     exception whose data are not durable on the origin is in the store, and no byte of the origin
 *     outside of the store's chunks has changed;
 *   - merging again finishes: the origin is the logical device, the store is empty and sound.
 *
 * The same with chunks that cannot be read or written (each, two, many, all), and with every read,
 * write and flush failing in turn.  The number of states is printed.
 */
#include <errno.h>
#include <stdlib.h>

#include "../lib/tap.h"
#include "../../libdmfmt/core/core.h"
#include "../../libdmfmt/io/dev.h"
#include "../../libdmfmt/io/fault.h"

#define CHUNKS_MAX 1024

/* how a store is made */
struct shape {
	const char *name;
	unsigned chunk_sectors, block, nr;
	unsigned origin_chunks, last_sectors;	/* of the last chunk; 0: it is whole */
	size_t window;
	bool stale;		/* entries behind the terminator */
	bool backwards;		/* new_chunk decreases */
	bool at_end;		/* an exception that begins where the origin ends */
};

struct images {
	const struct shape *s;
	unsigned chunk, entries;	/* bytes; per area */
	size_t cow_size, origin_size;
	uint8_t *cow, *origin, *expected;
	uint64_t old[CHUNKS_MAX], new[CHUNKS_MAX];	/* as stored */
};

/* chunks of the origin or of the store that fail, and writes that are told to be done and are not */
struct bad {
	bool to[CHUNKS_MAX], from[CHUNKS_MAX], lost[CHUNKS_MAX];
};

static struct dmfmt_ctx *ctx;
static uint64_t total_states, nr_states;

/* ---- making and reading stores ------------------------------------------------------------------- */

static void put_le64(uint8_t *p, uint64_t v)
{
	unsigned i;

	for (i = 0; i < 8; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

static uint64_t get_le64(const uint8_t *p)
{
	uint64_t v = 0;
	unsigned i;

	for (i = 0; i < 8; i++)
		v |= (uint64_t)p[i] << 8 * i;
	return v;
}

static size_t slot_at(const struct images *m, unsigned i)
{
	return (size_t)(1 + i / m->entries * (m->entries + 1)) * m->chunk + i % m->entries * 16;
}

static unsigned dense(const struct images *m, unsigned i)
{
	return i / m->entries * (m->entries + 1) + 2 + i % m->entries;
}

static void fill(uint8_t *p, size_t len, unsigned seed)
{
	size_t i;

	for (i = 0; i < len; i++)
		p[i] = (uint8_t)(seed * 31 + 7 * (i >> 9) + (i & 255)) | 1;
}

/* runs of three, far from each other, and the last chunk among them */
static void choose(struct images *m)
{
	unsigned groups = (m->s->origin_chunks - 1) / 3, i;

	for (i = 0; i < m->s->nr; i++)
		m->old[i] = (uint64_t)(i / 3 * 5 + 2) % groups * 3 + i % 3;
	m->old[m->s->nr / 2] = m->s->origin_chunks - 1;
	if (m->s->at_end)
		m->old[1] = m->s->origin_chunks;
	for (i = 0; i < m->s->nr; i++)
		m->new[i] = dense(m, m->s->backwards ? m->s->nr - 1 - i : i);
}

/* what lies on the origin in chunk @nr, clipped */
static size_t origin_part(const struct images *m, uint64_t nr)
{
	size_t at = (size_t)nr * m->chunk;

	if (at >= m->origin_size)
		return 0;
	return m->origin_size - at < m->chunk ? m->origin_size - at : m->chunk;
}

static void make(struct images *m, const struct shape *s)
{
	unsigned i, c;

	memset(m, 0, sizeof(*m));
	m->s = s;
	m->chunk = s->chunk_sectors * 512;
	m->entries = m->chunk / 16;
	m->cow_size = (size_t)(dense(m, s->nr) + 3) * m->chunk;
	m->origin_size = (size_t)s->origin_chunks * m->chunk;
	if (s->last_sectors)
		m->origin_size -= m->chunk - s->last_sectors * 512;
	m->cow = calloc(1, m->cow_size);
	m->origin = malloc(m->origin_size);
	m->expected = malloc(m->origin_size);
	choose(m);
	fill(m->origin, m->origin_size, 1);
	memcpy(m->expected, m->origin, m->origin_size);
	memcpy(m->cow, "\x53\x6e\x41\x70\x01\0\0\0\x01\0\0\0", 12);
	m->cow[12] = (uint8_t)s->chunk_sectors;
	for (i = 0; i < s->nr; i++) {
		c = (unsigned)m->new[i];
		put_le64(m->cow + slot_at(m, i), m->old[i]);
		put_le64(m->cow + slot_at(m, i) + 8, c);
		if (i % 5 != 4)		/* every fifth is zero */
			fill(m->cow + (size_t)c * m->chunk, m->chunk, 100 + i);
		memcpy(m->expected + (origin_part(m, m->old[i]) ? m->old[i] * m->chunk : 0),
		       m->cow + (size_t)c * m->chunk, origin_part(m, m->old[i]));
	}
	for (i = s->nr + 2; s->stale && i < s->nr + 12; i += 3) {
		put_le64(m->cow + slot_at(m, i), 5);
		put_le64(m->cow + slot_at(m, i) + 8, 3);
	}
}

static void unmake(struct images *m)
{
	free(m->cow);
	free(m->origin);
	free(m->expected);
}

/* exceptions up to the terminator, or -1 if there is none */
static int live(const struct images *m, const uint8_t *cow)
{
	unsigned i;

	for (i = 0; slot_at(m, i) + 16 <= m->cow_size; i++)
		if (!get_le64(cow + slot_at(m, i) + 8))
			return (int)i;
	return -1;
}

static bool shows_expected(const struct images *m, const uint8_t *cow, const uint8_t *origin)
{
	uint8_t *view = malloc(m->origin_size);
	int i, nr = live(m, cow);
	bool same;

	memcpy(view, origin, m->origin_size);
	for (i = nr - 1; i >= 0; i--) {
		uint64_t o = get_le64(cow + slot_at(m, (unsigned)i));
		uint64_t n = get_le64(cow + slot_at(m, (unsigned)i) + 8);
		size_t len = o < CHUNKS_MAX ? origin_part(m, o) : 0;

		if (len && (n + 1) * m->chunk <= m->cow_size)
			memcpy(view + o * m->chunk, cow + n * m->chunk, len);
	}
	same = nr >= 0 && !memcmp(view, m->expected, m->origin_size);
	free(view);
	return same;
}

static bool tail_zero(const struct images *m, const uint8_t *cow)
{
	unsigned i = (unsigned)live(m, cow), end = (i / m->entries + 1) * m->entries;

	for (; i < end; i++)
		if (get_le64(cow + slot_at(m, i)) || get_le64(cow + slot_at(m, i) + 8))
			return false;
	return true;
}

/* ---- a layer with bad chunks --------------------------------------------------------------------- */

struct bad_layer {
	struct dmfmt_layer l;
	const struct images *m;
	const bool *fails, *lost;
};

static bool touches(const struct bad_layer *b, const bool *which, uint64_t off, size_t len)
{
	uint64_t c;

	for (c = off / b->m->chunk; which && c * b->m->chunk < off + len; c++)
		if (which[c])
			return true;
	return false;
}

static int bad_read(struct dmfmt_layer *l, uint64_t off, void *buf, size_t len)
{
	struct bad_layer *b = (struct bad_layer *)l;

	/* the origin's chunks are bad for writing, the store's for reading */
	if (!b->lost && touches(b, b->fails, off, len))
		return -EIO;
	return l->lower->ops->read(l->lower, off, buf, len);
}

static int bad_write(struct dmfmt_layer *l, uint64_t off, const void *buf, size_t len)
{
	struct bad_layer *b = (struct bad_layer *)l;
	size_t at;
	int ret = 0;

	if (b->lost && touches(b, b->fails, off, len))
		return -EIO;
	for (at = 0; !ret && at < len; at += 512)
		if (!touches(b, b->lost, off + at, 512))
			ret = 1;
	if (!ret && len)
		return 0;
	if (!touches(b, b->lost, off, len))
		return l->lower->ops->write(l->lower, off, buf, len);
	for (at = 0, ret = 0; !ret && at < len; at += 512)
		if (!touches(b, b->lost, off + at, 512))
			ret = l->lower->ops->write(l->lower, off + at, (const uint8_t *)buf + at, 512);
	return ret;
}

static int bad_flush(struct dmfmt_layer *l)
{
	return l->lower->ops->flush(l->lower);
}

static int bad_truncate(struct dmfmt_layer *l, uint64_t size)
{
	return l->lower->ops->truncate(l->lower, size);
}

static void bad_close(struct dmfmt_layer *l)
{
	dmfmt_layer_close(l->lower);
	free(l);
}

static const struct dmfmt_layer_ops bad_ops = {
	.name = "bad", .read = bad_read, .write = bad_write, .flush = bad_flush,
	.truncate = bad_truncate, .close = bad_close,
};

static void push_bad(struct dmfmt_dev *dev, const struct images *m, const bool *fails, const bool *lost)
{
	struct bad_layer *b = calloc(1, sizeof(*b));

	b->l.ops = &bad_ops;
	b->m = m;
	b->fails = fails;
	b->lost = lost;
	dmfmt_dev_push(dev, &b->l);
}

/* ---- merging ------------------------------------------------------------------------------------- */

static int merge(struct dmfmt_dev *cow, struct dmfmt_dev *origin, unsigned flags,
		 struct dmfmt_writeback_result *r)
{
	struct dmfmt_writeback_opts o = { .size = sizeof(o), .flags = flags };
	struct dmfmt *f;
	int ret = dmfmt_open(ctx, cow, "snapshot", 0, &f);

	*r = (struct dmfmt_writeback_result){ .size = sizeof(*r) };
	if (ret)
		return ret;
	ret = dmfmt_set_origin(f, origin);
	if (!ret)
		ret = dmfmt_writeback(f, &o, r);
	dmfmt_close(f);
	return ret;
}

static struct dmfmt_dev *buffer_dev(void *buf, uint64_t size, uint32_t block)
{
	struct dmfmt_layer *l;
	struct dmfmt_dev *dev = NULL;

	if (dmfmt_mem_layer_new(buf, size, &l) ||
	    dmfmt_dev_from_layer(ctx, l, size, block, "state", &dev))
		printf("# no device: %s\n", dmfmt_ctx_error(ctx));
	return dev;
}

/* how much is fatal or to be repaired */
static uint64_t findings(struct dmfmt_dev *cow, struct dmfmt_dev *origin)
{
	struct dmfmt_summary s = { .size = sizeof(s) };
	struct dmfmt_report *r = NULL;
	struct dmfmt *f;

	if (dmfmt_open(ctx, cow, "snapshot", 0, &f))
		return UINT64_MAX;
	dmfmt_set_origin(f, origin);
	if (dmfmt_check(f, 0, 1, &r))
		return UINT64_MAX;
	dmfmt_report_summary(r, &s);
	if (s.fatal)
		printf("# %s\n", dmfmt_report_get(r, 0)->message);
	dmfmt_report_free(r);
	dmfmt_close(f);
	return s.fatal + s.repairable;
}

/* nothing is lost in these contents, and a merge goes on from them; the contents change */
static void good_state(const struct images *m, uint8_t *cow, uint8_t *origin)
{
	struct dmfmt_dev *c = buffer_dev(cow, m->cow_size, m->s->block);
	struct dmfmt_dev *o = buffer_dev(origin, m->origin_size, m->s->block < 4096 ||
					 !(m->origin_size % 4096) ? m->s->block : 512);
	struct dmfmt_writeback_result r;
	uint8_t *empty = calloc(1, m->chunk);

	CHECK(shows_expected(m, cow, origin));
	if (!m->s->stale)
		CHECK(tail_zero(m, cow));
	/* a merge begins with the check, and refuses what is fatal */
	EQ(merge(c, o, 0, &r), 0);
	EQ(r.records_left, 0);
	CHECK(!memcmp(origin, m->expected, m->origin_size));
	EQ(live(m, cow), 0);
	CHECK(!memcmp(cow + m->chunk, empty, m->chunk));
	if (nr_states++ % 16 == 0)
		EQ(findings(c, o), 0);
	dmfmt_dev_close(c);
	dmfmt_dev_close(o);
	free(empty);
}

struct trial {
	struct images m;
	struct bad bad;
	struct dmfmt_world *w;
	struct dmfmt_dev *cow, *origin;
	unsigned cow_id, origin_id;
};

static void begin(struct trial *t, const struct shape *s)
{
	struct images *m = &t->m;

	memset(&t->bad, 0, sizeof(t->bad));
	make(m, s);
	ctx->window = s->window ? s->window : CHUNKS_MAX;	/* small tables: there are many runs */
	t->w = dmfmt_world_new();
	EQ(dmfmt_world_add(t->w, ctx, m->cow, m->cow_size, s->block, false, "cow", &t->cow_id,
			   &t->cow), 0);
	EQ(dmfmt_world_add(t->w, ctx, m->origin, m->origin_size, s->block, false, "origin",
			   &t->origin_id, &t->origin), 0);
}

static void use_bad(struct trial *t)
{
	push_bad(t->cow, &t->m, t->bad.from, NULL);
	push_bad(t->origin, &t->m, t->bad.to, t->bad.lost);
}

static void end(struct trial *t)
{
	dmfmt_dev_close(t->cow);
	dmfmt_dev_close(t->origin);
	dmfmt_world_free(t->w);
	unmake(&t->m);
}

/* what the devices hold after the last write: all of it, or only what was durable before it */
static void contents(struct trial *t, bool all, uint8_t **cow, uint64_t *cow_size, uint8_t **origin,
		     uint64_t *origin_size)
{
	uint64_t reads, writes, flushes, nr;
	uint8_t *subset;

	dmfmt_world_counts(t->w, &reads, &writes, &flushes);
	nr = dmfmt_world_pending(t->w, writes) / 8 + 1;
	subset = malloc(nr);
	memset(subset, all ? 0xff : 0, nr);
	EQ(dmfmt_world_state(t->w, writes, subset, t->cow_id, (void **)cow, cow_size), 0);
	EQ(dmfmt_world_state(t->w, writes, subset, t->origin_id, (void **)origin, origin_size), 0);
	free(subset);
}

static void now_good(struct trial *t)
{
	uint8_t *cow, *origin;
	uint64_t a, b;
	int all;

	for (all = 0; all < 2; all++) {
		contents(t, all, &cow, &a, &origin, &b);
		good_state(&t->m, cow, origin);
		free(cow);
		free(origin);
	}
}

/* ---- cuts ---------------------------------------------------------------------------------------- */

static int one_state(void *arg, uint64_t nr_writes, void **bufs, const uint64_t *sizes, unsigned nr)
{
	struct trial *t = arg;
	unsigned before = tap_failed_checks;

	EQ(nr, 2);
	EQ(sizes[0], t->m.cow_size);
	good_state(&t->m, bufs[0], bufs[1]);
	if (tap_failed_checks != before)
		printf("# %s: state after write %" PRIu64 "\n", t->m.s->name, nr_writes);
	return tap_failed_checks - before ? -EUCLEAN : 0;
}

static int64_t all_states(struct trial *t, unsigned bits, unsigned sampled)
{
	int64_t states;

	states = dmfmt_world_each_state(t->w, bits, sampled, 1, one_state, t);
	CHECK(states > 0);
	if (states > 0)
		total_states += (uint64_t)states;
	return states;
}

static const struct shape shapes[] = {
	{ .name = "c1, three areas", .chunk_sectors = 1, .block = 512, .nr = 70, .origin_chunks = 99 },
	{ .name = "c1, windows of 8", .chunk_sectors = 1, .block = 512, .nr = 70, .origin_chunks = 99,
	  .window = 8 },
	{ .name = "c1, full areas", .chunk_sectors = 1, .block = 512, .nr = 64, .origin_chunks = 99,
	  .window = 40 },
	{ .name = "c1, stale tail", .chunk_sectors = 1, .block = 512, .nr = 37, .origin_chunks = 60,
	  .stale = true },
	{ .name = "c4, partial last chunk, an exception at the end of the origin", .chunk_sectors = 4,
	  .block = 512, .nr = 45, .origin_chunks = 66, .at_end = true, .backwards = true },
	{ .name = "c8, block 512, partial last chunk", .chunk_sectors = 8, .block = 512, .nr = 40,
	  .origin_chunks = 60, .last_sectors = 3 },
	{ .name = "c8, block 512, stale tail, windows of 16", .chunk_sectors = 8, .block = 512, .nr = 34,
	  .origin_chunks = 60, .last_sectors = 5, .stale = true, .window = 16 },
	{ .name = "c8, block 4096, two areas", .chunk_sectors = 8, .block = 4096, .nr = 260,
	  .origin_chunks = 300, .window = 100 },
};
#define NR_SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static void cuts(void)
{
	struct dmfmt_writeback_result r;
	unsigned i;

	for (i = 0; i < NR_SHAPES; i++) {
		struct trial t;
		int64_t states;

		begin(&t, &shapes[i]);
		EQ(merge(t.cow, t.origin, i & 1 ? DMFMT_WRITEBACK_VERIFY : 0, &r), 0);
		EQ(r.records, shapes[i].nr);
		EQ(r.records_left, 0);
		EQ(r.failed, 0);
		EQ(r.bytes_beyond, shapes[i].at_end ? t.m.chunk : 0);
		states = all_states(&t, 4, 20);
		printf("# %s: %" PRIu64 " windows, %" PRIu64 " writes, %" PRId64 " states\n",
		       shapes[i].name, r.windows, r.writes, states);
		end(&t);
	}
}

static void discards(void)
{
	static const uint8_t zeros[4096];
	unsigned i;

	for (i = 0; i < NR_SHAPES; i++) {
		struct trial t;
		uint8_t *cow, *origin;
		uint64_t nr, a, b;
		struct dmfmt *f;

		begin(&t, &shapes[i]);
		EQ(dmfmt_open(ctx, t.cow, "snapshot", 0, &f), 0);
		EQ(dmfmt_discard(f, &nr), 0);
		EQ(nr, shapes[i].nr);
		dmfmt_close(f);
		contents(&t, true, &cow, &a, &origin, &b);
		EQ(live(&t.m, cow), 0);
		CHECK(!memcmp(cow, t.m.cow, t.m.chunk));
		CHECK(!memcmp(cow + t.m.chunk, zeros, t.m.chunk));
		CHECK(!memcmp(origin, t.m.origin, t.m.origin_size));
		free(cow);
		free(origin);
		end(&t);
	}
}

/* ---- bad chunks ---------------------------------------------------------------------------------- */

/* as the store must be at the end: exactly the failed ones, first in the chain */
static void only_failed_left(struct trial *t, unsigned nr_failed)
{
	uint8_t *cow, *origin;
	uint64_t a, b;
	int i, n;

	contents(t, true, &cow, &a, &origin, &b);
	n = live(&t->m, cow);
	EQ(n, nr_failed);
	for (i = 0; i < n; i++) {
		uint64_t o = get_le64(cow + slot_at(&t->m, (unsigned)i));
		uint64_t c = get_le64(cow + slot_at(&t->m, (unsigned)i) + 8);

		CHECK(o < CHUNKS_MAX && c < CHUNKS_MAX);
		if (o < CHUNKS_MAX && c < CHUNKS_MAX)
			CHECK(t->bad.to[o] || t->bad.from[c] || t->bad.lost[o]);
	}
	CHECK(tail_zero(&t->m, cow));
	CHECK(shows_expected(&t->m, cow, origin));
	free(cow);
	free(origin);
}

static int64_t keep_going(const struct shape *s, unsigned flags,
			  void (*choose_bad)(struct trial *t, unsigned k),
			  unsigned k, unsigned nr_failed)
{
	struct dmfmt_writeback_result r;
	struct trial t;
	int64_t states;

	begin(&t, s);
	choose_bad(&t, k);
	use_bad(&t);
	EQ(merge(t.cow, t.origin, DMFMT_WRITEBACK_KEEP_GOING | flags, &r), 0);
	EQ(r.failed, nr_failed);
	EQ(r.records_left, nr_failed);
	EQ(r.records, s->nr - nr_failed);
	only_failed_left(&t, nr_failed);
	states = all_states(&t, 3, 4);
	end(&t);
	return states;
}

static void bad_read_of(struct trial *t, unsigned k)
{
	t->bad.from[t->m.new[k]] = true;
}

static void bad_write_of(struct trial *t, unsigned k)
{
	t->bad.to[t->m.old[k]] = true;
}

static void bad_two(struct trial *t, unsigned k)
{
	bad_read_of(t, k);
	bad_write_of(t, (k * 5 + 11) % t->m.s->nr);
}

static void bad_every(struct trial *t, unsigned k)
{
	unsigned i;

	for (i = 0; i < t->m.s->nr; i += k)
		bad_write_of(t, i);
}

static void bad_but_every(struct trial *t, unsigned k)
{
	unsigned i;

	for (i = 0; i < t->m.s->nr; i++)
		if (i % k)
			bad_read_of(t, i);
}

static void lost_every(struct trial *t, unsigned k)
{
	unsigned i;

	for (i = 0; i < t->m.s->nr; i += k)
		t->bad.lost[t->m.old[i]] = true;
}

static const struct shape small = {
	.name = "c1, 40 exceptions, windows of 12", .chunk_sectors = 1, .block = 512, .nr = 40,
	.origin_chunks = 60, .window = 12,
};
static const struct shape one_window = {
	.name = "c4, 70 exceptions, block 512", .chunk_sectors = 4, .block = 512, .nr = 70,
	.origin_chunks = 99, .window = 70,
};
static const struct shape wide = {
	.name = "c8, block 4096, windows of 90", .chunk_sectors = 8, .block = 4096, .nr = 270,
	.origin_chunks = 300, .window = 90,
};

static void each_bad_chunk(void)
{
	int64_t states = 0;
	unsigned k;

	for (k = 0; k < small.nr; k++) {
		states += keep_going(&small, 0, bad_read_of, k, 1);
		states += keep_going(&small, 0, bad_write_of, k, 1);
		if (k % 4 == 1 && (k * 5 + 11) % small.nr != k)
			states += keep_going(&small, 0, bad_two, k, 2);
	}
	printf("# each chunk bad, and two: %" PRId64 " states\n", states);
}

static void many_bad_chunks(void)
{
	static const struct shape *const which[] = { &small, &one_window, &shapes[2] };
	static const unsigned steps[] = { 1, 2, 3, 7 };
	int64_t states = 0;
	unsigned i, j;

	for (i = 0; i < 3; i++)
		for (j = 0; j < 4; j++) {
			unsigned k = steps[j], nr = which[i]->nr, every = (nr + k - 1) / k;

			states += keep_going(which[i], 0, bad_every, k, every);
			if (k > 1)
				states += keep_going(which[i], 0, bad_but_every, k, nr - every);
		}
	states += keep_going(&wide, 0, bad_every, 2, 135);
	states += keep_going(&wide, 0, bad_but_every, 90, 267);
	printf("# many chunks bad, and all: %" PRId64 " states\n", states);
}

/* one bad chunk without keep-going: stops, and nothing is lost */
static void stops_at_bad_chunk(void)
{
	struct dmfmt_writeback_result r;
	unsigned k;

	for (k = 0; k < 2 * small.nr; k++) {
		struct trial t;

		begin(&t, &small);
		(k & 1 ? bad_read_of : bad_write_of)(&t, k / 2);
		use_bad(&t);
		EQ(merge(t.cow, t.origin, 0, &r), -EIO);
		EQ(r.failed, 0);
		EQ(r.records + r.records_left, small.nr);
		now_good(&t);
		end(&t);
	}
}

static void verify_sees_lost_writes(void)
{
	struct dmfmt_writeback_result r;
	struct trial t;
	unsigned k;

	for (k = 1; k < 5; k++)
		keep_going(&small, DMFMT_WRITEBACK_VERIFY, lost_every, k, (small.nr + k - 1) / k);
	begin(&t, &small);
	lost_every(&t, 17);
	use_bad(&t);
	k = (unsigned)-merge(t.cow, t.origin, DMFMT_WRITEBACK_VERIFY, &r);
	CHECK(k == EIO || k == EILSEQ);
	now_good(&t);
	end(&t);
	/* what fails in the copy is no second failure in the comparison */
	keep_going(&small, DMFMT_WRITEBACK_VERIFY, bad_two, 3, 2);
}

/* ---- errors -------------------------------------------------------------------------------------- */

static const struct {
	enum dmfmt_fault fault;
	const char *name;
} faults[] = {
	{ DMFMT_FAULT_READ_EIO, "read" }, { DMFMT_FAULT_READ_SHORT, "short read" },
	{ DMFMT_FAULT_WRITE_EIO, "write" }, { DMFMT_FAULT_WRITE_ENOSPC, "no space" },
	{ DMFMT_FAULT_WRITE_SHORT, "short write" }, { DMFMT_FAULT_FLUSH_LOST, "flush" },
};

/* the @nr-th operation fails; false: there were not so many */
static bool one_fault(const struct shape *s, unsigned what, uint64_t nr, unsigned flags)
{
	struct dmfmt_writeback_result r;
	uint64_t reads, writes, flushes, had;
	struct trial t;
	int ret;

	begin(&t, s);
	dmfmt_world_cue(t.w, faults[what].fault, nr);
	ret = merge(t.cow, t.origin, flags, &r);
	dmfmt_world_counts(t.w, &reads, &writes, &flushes);
	had = what < 2 ? reads : what < 5 ? writes : flushes;
	if (had > nr) {
		/* keep-going gets over what concerns one chunk, nothing gets over a flush */
		if (!flags || what == 5)
			CHECK(ret < 0);
		if (what == 5)
			EQ(ret, -EIO);
		if (!ret)
			EQ(r.records_left, r.failed);
		now_good(&t);
	} else {
		EQ(ret, 0);
	}
	end(&t);
	return had > nr;
}

static void each_error(void)
{
	static const struct shape *const which[] = { &small, &one_window, &shapes[3] };
	unsigned what, i, keep;

	for (i = 0; i < 3; i++)
		for (what = 0; what < 6; what++) {
			uint64_t nr[2];

			for (keep = 0; keep < 2; keep++)
				for (nr[keep] = 0; one_fault(which[i], what, nr[keep], keep ?
							     DMFMT_WRITEBACK_KEEP_GOING : 0);)
					nr[keep]++;
			CHECK(nr[0] > 1);
			printf("# %s: %s fails: %" PRIu64 " places, %" PRIu64 " with keep-going\n",
			       which[i]->name, faults[what].name, nr[0], nr[1]);
		}
}

/* ---- manners ------------------------------------------------------------------------------------- */

static void dry_run_writes_nothing(void)
{
	unsigned i;

	for (i = 0; i < NR_SHAPES; i++) {
		struct dmfmt_writeback_result dry, real;
		uint64_t reads, writes, flushes;
		struct trial t;

		begin(&t, &shapes[i]);
		t.cow->flags = t.origin->flags = 0;
		EQ(merge(t.cow, t.origin, DMFMT_WRITEBACK_DRY_RUN, &dry), 0);
		dmfmt_world_counts(t.w, &reads, &writes, &flushes);
		EQ(writes, 0);
		EQ(flushes, 0);
		EQ(merge(t.cow, t.origin, 0, &real), -EROFS);
		t.cow->flags = t.origin->flags = DMFMT_OPEN_WRITE;
		EQ(merge(t.cow, t.origin, 0, &real), 0);
		EQ(dry.records, real.records);
		EQ(dry.bytes, real.bytes);
		EQ(dry.writes, real.writes);
		EQ(dry.windows, real.windows);
		EQ(dry.bytes_beyond, real.bytes_beyond);
		EQ(dry.records_left, shapes[i].nr);
		now_good(&t);
		end(&t);
	}
}

static int stop_now(void *arg, const struct dmfmt_progress *p)
{
	unsigned *left = arg;

	(void)p;
	return *left ? (int)((*left)--, 0) : 1;
}

static void stops_when_asked(void)
{
	struct dmfmt_writeback_result r;
	unsigned k, left, stopped = 0;
	int ret;

	for (k = 0; k < 200; k++) {
		struct trial t;

		begin(&t, &shapes[1]);
		bad_two(&t, 40);
		use_bad(&t);
		left = k;
		dmfmt_ctx_set_progress(ctx, stop_now, &left);
		ret = merge(t.cow, t.origin, DMFMT_WRITEBACK_KEEP_GOING, &r);
		dmfmt_ctx_set_progress(ctx, NULL, NULL);
		CHECK(ret == 0 || ret == -ECANCELED);
		stopped += ret == -ECANCELED;
		now_good(&t);
		end(&t);
		if (!ret)
			break;
	}
	CHECK(stopped > 3);
	printf("# stopped at %u places\n", stopped);
}

static void refusals(void)
{
	struct dmfmt_writeback_result r;
	struct trial t;
	unsigned i;

	for (i = 0; i < 3; i++) {
		begin(&t, &small);
		if (i == 0)		/* invalid */
			EQ(dmfmt_dev_write(t.cow, 4, "\0", 1), 0);
		else if (i == 1)	/* two exceptions of one chunk */
			EQ(dmfmt_dev_write(t.cow, slot_at(&t.m, 5), t.m.cow + slot_at(&t.m, 30), 8), 0);
		else			/* past the end of the device */
			EQ(dmfmt_dev_write(t.cow, slot_at(&t.m, 7) + 9, "\1", 1), 0);
		EQ(merge(t.cow, t.origin, DMFMT_WRITEBACK_KEEP_GOING, &r), -EUCLEAN);
		CHECK(strstr(dmfmt_ctx_error(ctx), "cow: merge refused: "));
		EQ(r.records, 0);
		EQ(t.origin->bytes_written, 0);
		end(&t);
	}
}

int main(void)
{
	ctx = dmfmt_ctx_new();
	dmfmt_ctx_set_memory(ctx, 1);	/* as little as it takes */
	RUN(cuts);
	RUN(discards);
	RUN(each_bad_chunk);
	RUN(many_bad_chunks);
	RUN(stops_at_bad_chunk);
	RUN(verify_sees_lost_writes);
	RUN(each_error);
	RUN(dry_run_writes_nothing);
	RUN(stops_when_asked);
	RUN(refusals);
	printf("# %" PRIu64 " states in all\n", total_states);
	dmfmt_ctx_free(ctx);
	return DONE();
}
