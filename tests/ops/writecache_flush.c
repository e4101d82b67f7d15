// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Power cuts, bad blocks and errors in a flush.
 *
 * Small caches (duplicates in both orders, three copies of a sector, equal sequence numbers, uncommitted
 * entries, blocks past the origin's end, several windows) are flushed over devices that record their
 * writes and flushes.  Then every state that a cut could leave must satisfy:
 *
 *   - superblock, original sectors and data blocks are what they were; a seq_count is what it was, or free;
 *   - recovery, as the kernel does it and written down below without the library, serves the same logical
 *     device as before;
 *   - check finds nothing fatal, and flushing again finishes: the origin alone is the logical device, and
 *     every entry is free.
 *
 * The same with blocks that cannot be read or written, with a truncated cache, and with every read, write
 * and flush failing in turn.  Faults that are planted (a flush that is not done) must be seen by the same
 * eyes.  The number of states is printed.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "../lib/tap.h"
#include "../../libdmfmt/core/core.h"
#include "../../libdmfmt/io/dev.h"
#include "../../libdmfmt/io/fault.h"

#define ENTRIES_MAX 400
#define BLOCKS_MAX 1024
#define FREE UINT64_MAX

/* how a cache is made */
struct shape {
	const char *name;
	unsigned block, logical, nr;
	unsigned start;			/* sectors */
	unsigned origin_blocks, last_sectors;	/* of the last block; 0: it is whole */
	uint64_t seq;			/* of the superblock */
	size_t window;
	unsigned beyond;		/* so many entries lie past the origin's end */
	unsigned ties;			/* and so many have an equal twin */
	unsigned cut;			/* data blocks that the device lost; 1000: entries as well */
	bool full;			/* no free, uncommitted or superseded ones */
	bool alone;			/* no two committed entries of a sector have the same seq_count */
};

struct images {
	const struct shape *s;
	size_t start, data, cache_size, origin_size;
	unsigned entries;		/* that lie on the device */
	uint8_t *cache, *origin, *expected;
	unsigned dirty, beyond, lost;	/* winners; of them past the end; of the others lost */
};

static struct dmfmt_ctx *ctx;
static uint64_t total_states, nr_states;

/* ---- making and reading caches ---------------------------------------------------------------------- */

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

static uint8_t *entry_at(const struct images *m, uint8_t *cache, unsigned i)
{
	return cache + m->start + 64 + 16 * (size_t)i;
}

static uint64_t sector_of(const struct images *m, const uint8_t *cache, unsigned i)
{
	return get_le64(entry_at(m, (uint8_t *)cache, i));
}

static uint64_t seq_of(const struct images *m, const uint8_t *cache, unsigned i)
{
	return get_le64(entry_at(m, (uint8_t *)cache, i) + 8);
}

static size_t block_at(const struct images *m, unsigned i)
{
	return m->start + m->data + (size_t)i * m->s->block;
}

static void put_entry(const struct images *m, unsigned i, uint64_t block_nr, uint64_t seq)
{
	put_le64(entry_at(m, m->cache, i), block_nr * (m->s->block / 512));
	put_le64(entry_at(m, m->cache, i) + 8, seq);
}

static void fill(uint8_t *p, size_t len, unsigned seed)
{
	size_t i;

	for (i = 0; i < len; i++)
		p[i] = (uint8_t)((seed * 31 + 7 * (i >> 9) + (i & 255)) | 1);
}

/* runs of three, far from each other */
static uint64_t place(const struct shape *s, unsigned i)
{
	unsigned groups = (s->origin_blocks - 1) / 3;

	return (uint64_t)(i / 3 * 5 + 2) % groups * 3 + i % 3;
}

/* what happens in a cache that is in use: see the head of this file */
static void choose(struct images *m)
{
	const struct shape *s = m->s;
	unsigned i;

	for (i = 0; i < s->nr; i++)
		put_entry(m, i, place(s, i), i % s->seq);
	for (i = 0; !s->full && i < s->nr; i++) {
		if (i % 9 == 4)
			put_entry(m, i, place(s, i), FREE);
		else if (i % 9 == 7)		/* of a sector that has a committed block as well */
			put_entry(m, i, place(s, i / 2), s->seq);
		else if (i % 9 == 8)		/* older or newer than that far away */
			put_entry(m, i, place(s, s->nr - 1 - i / 2), (i * 5 + 1) % s->seq);
		else if (i % 9 == 0)		/* there may be three */
			put_entry(m, i, place(s, i / 3 + 1), (i * 3 + 2) % s->seq);
	}
	put_entry(m, s->nr / 2, s->origin_blocks - 1, 0);
	for (i = 0; i < s->beyond; i++)
		put_entry(m, 1 + 9 * i, s->origin_blocks + i % 3, i % s->seq);
	for (i = 0; i < s->ties; i++) {
		unsigned a = 2 + 9 * i, b = s->nr - 2 - 9 * i;

		memcpy(entry_at(m, m->cache, b), entry_at(m, m->cache, a), 16);
	}
}

/* an entry that ties with a later one becomes free */
static void untie(struct images *m)
{
	unsigned i, j;

	for (i = 0; i < m->s->nr; i++)
		for (j = i + 1; j < m->s->nr && seq_of(m, m->cache, i) < m->s->seq; j++)
			if (sector_of(m, m->cache, i) == sector_of(m, m->cache, j) &&
			    seq_of(m, m->cache, i) == seq_of(m, m->cache, j))
				put_le64(entry_at(m, m->cache, i) + 8, FREE);
}

/* bytes of the origin in block @sector, clipped */
static size_t origin_part(const struct images *m, uint64_t sector)
{
	uint64_t at = sector * 512;

	if (at >= m->origin_size)
		return 0;
	return m->origin_size - at < m->s->block ? (size_t)(m->origin_size - at) : m->s->block;
}

/* ---- recovery: who is served -------------------------------------------------------------------------- */

struct winners {
	unsigned nr, entry[ENTRIES_MAX];
};

/* the kernel's loop over the entries: a later one replaces an older or equal one of its sector */
static void recover(const struct images *m, const uint8_t *cache, struct winners *w)
{
	uint64_t limit = get_le64(cache + m->start + 24);
	unsigned i, j;

	w->nr = 0;
	for (i = 0; i < m->entries; i++) {
		uint64_t sector = sector_of(m, cache, i), seq = seq_of(m, cache, i);

		if (seq >= limit)
			continue;
		for (j = 0; j < w->nr && sector_of(m, cache, w->entry[j]) != sector; j++)
			;
		if (j == w->nr)
			w->entry[w->nr++] = i;
		else if (seq_of(m, cache, w->entry[j]) <= seq)
			w->entry[j] = i;
	}
}

static bool is_there(const struct images *m, unsigned entry)
{
	return block_at(m, entry) + m->s->block <= m->cache_size;
}

static void lay_over(const struct images *m, const uint8_t *cache, uint8_t *view)
{
	struct winners w;
	unsigned i;

	recover(m, cache, &w);
	for (i = 0; i < w.nr; i++) {
		uint64_t sector = sector_of(m, cache, w.entry[i]);
		size_t len = origin_part(m, sector);

		if (len && is_there(m, w.entry[i]))
			memcpy(view + sector * 512, cache + block_at(m, w.entry[i]), len);
	}
}

static void count(struct images *m, const uint8_t *cache)
{
	struct winners w;
	unsigned i;

	recover(m, cache, &w);
	m->dirty = w.nr;
	m->beyond = m->lost = 0;
	for (i = 0; i < w.nr; i++) {
		if (!origin_part(m, sector_of(m, cache, w.entry[i])))
			m->beyond++;
		else if (!is_there(m, w.entry[i]))
			m->lost++;
	}
}

/* what --accept-loss has to say */
static uint64_t losses(const struct images *m)
{
	return m->beyond + m->lost + (m->s->nr - m->entries);
}

static void make(struct images *m, const struct shape *s)
{
	unsigned i;

	memset(m, 0, sizeof(*m));
	m->s = s;
	m->start = (size_t)s->start * 512;
	m->data = (64 + 16 * (size_t)s->nr + s->block - 1) / s->block * s->block;
	m->entries = s->nr;
	m->cache_size = m->start + m->data + (size_t)s->nr * s->block;
	m->origin_size = (size_t)s->origin_blocks * s->block;
	if (s->last_sectors)
		m->origin_size -= s->block - s->last_sectors * 512;
	m->cache = malloc(m->cache_size);
	m->origin = malloc(m->origin_size);
	m->expected = malloc(m->origin_size);
	fill(m->cache, m->cache_size, 7);
	memset(m->cache + m->start, 0, 64);
	memcpy(m->cache + m->start, "\x21\x93\x48\x23\1\0\0\0", 8);
	put_le64(m->cache + m->start + 8, s->block);
	put_le64(m->cache + m->start + 16, s->nr);
	put_le64(m->cache + m->start + 24, s->seq);
	choose(m);
	if (s->alone)
		untie(m);
	for (i = 0; i < s->nr; i++) {
		fill(m->cache + block_at(m, i), s->block, 100 + i);
		if (i % 5 == 3)		/* every fifth is zero */
			memset(m->cache + block_at(m, i), 0, s->block);
	}
	if (s->cut == 1000) {
		m->entries = s->nr / 64 * 32 + 28;
		m->cache_size = m->start + 64 + 16 * (size_t)m->entries;
	} else {
		m->cache_size -= (size_t)s->cut * s->block;
	}
	fill(m->origin, m->origin_size, 1);
	memcpy(m->expected, m->origin, m->origin_size);
	lay_over(m, m->cache, m->expected);
	count(m, m->cache);
}

static void unmake(struct images *m)
{
	free(m->cache);
	free(m->origin);
	free(m->expected);
}

/* ---- what every state must be ------------------------------------------------------------------------- */

static bool shows_expected(const struct images *m, const uint8_t *cache, const uint8_t *origin)
{
	uint8_t *view = malloc(m->origin_size);
	bool same;

	memcpy(view, origin, m->origin_size);
	lay_over(m, cache, view);
	same = !memcmp(view, m->expected, m->origin_size);
	free(view);
	return same;
}

/* only seq_counts have changed, and only to free */
static bool rest_untouched(const struct images *m, const uint8_t *cache)
{
	size_t behind = m->start + 64 + 16 * (size_t)m->entries;
	unsigned i;

	if (memcmp(cache, m->cache, m->start + 64) ||
	    memcmp(cache + behind, m->cache + behind, m->cache_size - behind))
		return false;
	for (i = 0; i < m->entries; i++)
		if (sector_of(m, cache, i) != sector_of(m, m->cache, i) ||
		    (seq_of(m, cache, i) != FREE && seq_of(m, cache, i) != seq_of(m, m->cache, i)))
			return false;
	return true;
}

static unsigned in_use(const struct images *m, const uint8_t *cache)
{
	unsigned i, nr = 0;

	for (i = 0; i < m->entries; i++)
		nr += seq_of(m, cache, i) != FREE;
	return nr;
}

/* ---- a layer with bad places -------------------------------------------------------------------------- */

#define PLACES_MAX 512

/*
 * struct places - what fails, in bytes
 * @reading, @writing: which of the two; @lost: a write is told to be done and is not
 * @flushes: the nr-th flush is not done (from 1), 0: all are
 */
struct places {
	struct { uint64_t off, len; } v[PLACES_MAX];
	unsigned nr;
	bool reading, writing, lost;
	unsigned flushes, seen;
};

struct bad_layer {
	struct dmfmt_layer l;
	struct places *p;
};

static bool touches(const struct places *p, uint64_t off, size_t len)
{
	unsigned i;

	for (i = 0; i < p->nr; i++)
		if (off < p->v[i].off + p->v[i].len && p->v[i].off < off + len)
			return true;
	return false;
}

static int bad_read(struct dmfmt_layer *l, uint64_t off, void *buf, size_t len)
{
	const struct places *p = ((struct bad_layer *)l)->p;

	if (p->reading && touches(p, off, len))
		return -EIO;
	return l->lower->ops->read(l->lower, off, buf, len);
}

static int bad_write(struct dmfmt_layer *l, uint64_t off, const void *buf, size_t len)
{
	const struct places *p = ((struct bad_layer *)l)->p;
	size_t at;
	int ret = 0;

	if (p->writing && touches(p, off, len))
		return -EIO;
	if (!p->lost || !touches(p, off, len))
		return l->lower->ops->write(l->lower, off, buf, len);
	for (at = 0; !ret && at < len; at += 512)
		if (!touches(p, off + at, 512))
			ret = l->lower->ops->write(l->lower, off + at, (const uint8_t *)buf + at, 512);
	return ret;
}

static int bad_flush(struct dmfmt_layer *l)
{
	struct places *p = ((struct bad_layer *)l)->p;

	return ++p->seen == p->flushes ? 0 : l->lower->ops->flush(l->lower);
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

static void push_bad(struct dmfmt_dev *dev, struct places *p)
{
	struct bad_layer *b = calloc(1, sizeof(*b));

	b->l.ops = &bad_ops;
	b->p = p;
	dmfmt_dev_push(dev, &b->l);
}

static void add_place(struct places *p, uint64_t off, uint64_t len)
{
	p->v[p->nr].off = off;
	p->v[p->nr++].len = len;
}

/* ---- flushing ----------------------------------------------------------------------------------------- */

static int open_cache(const struct images *m, struct dmfmt_dev *cache, struct dmfmt_dev *origin,
		      struct dmfmt **f)
{
	int ret = dmfmt_dev_set_start(cache, m->s->start);

	*f = NULL;
	if (!ret)
		ret = dmfmt_open(ctx, cache, "writecache", 0, f);
	if (!ret && origin)
		ret = dmfmt_set_origin(*f, origin);
	return ret;
}

static int flush_with(const struct images *m, struct dmfmt_dev *cache, struct dmfmt_dev *origin,
		      struct dmfmt_writeback_opts *o, struct dmfmt_writeback_result *r)
{
	struct dmfmt *f;
	int ret = open_cache(m, cache, origin, &f);

	o->size = sizeof(*o);
	*r = (struct dmfmt_writeback_result){ .size = sizeof(*r) };
	if (!ret)
		ret = dmfmt_writeback(f, o, r);
	if (f)
		dmfmt_close(f);
	return ret;
}

/* with what the shape needs to be accepted */
static int flush(const struct images *m, struct dmfmt_dev *cache, struct dmfmt_dev *origin,
		 unsigned flags, struct dmfmt_writeback_result *r)
{
	struct dmfmt_writeback_opts o = { .flags = flags, .accept_loss = losses(m) };

	if (losses(m))
		o.flags |= DMFMT_WRITEBACK_ACCEPT_LOSS;
	if (m->s->cut)
		o.flags |= DMFMT_WRITEBACK_ACCEPT_LOSS | DMFMT_WRITEBACK_KEEP_GOING;
	return flush_with(m, cache, origin, &o, r);
}

static struct dmfmt_dev *buffer_dev(void *buf, uint64_t size, uint32_t block)
{
	struct dmfmt_layer *l;
	struct dmfmt_dev *dev = NULL;

	if (dmfmt_mem_layer_new(buf, size, &l) ||
	    dmfmt_dev_from_layer(ctx, l, size, size % block ? 512 : block, "state", &dev))
		printf("# no device: %s\n", dmfmt_ctx_error(ctx));
	return dev;
}

/* how much is fatal or to be repaired */
static uint64_t findings(const struct images *m, struct dmfmt_dev *cache, struct dmfmt_dev *origin)
{
	struct dmfmt_summary s = { .size = sizeof(s) };
	struct dmfmt_report *r = NULL;
	struct dmfmt *f;

	if (open_cache(m, cache, origin, &f) || dmfmt_check(f, 0, 1, &r))
		return UINT64_MAX;
	dmfmt_report_summary(r, &s);
	dmfmt_report_free(r);
	dmfmt_close(f);
	return s.fatal + s.repairable;
}

/* nothing is lost in these contents, and a flush goes on from them; the contents change */
static void good_state(const struct images *m, uint8_t *cache, uint8_t *origin)
{
	struct dmfmt_dev *c = buffer_dev(cache, m->cache_size, m->s->logical);
	struct dmfmt_dev *o = buffer_dev(origin, m->origin_size, m->s->logical);
	struct dmfmt_writeback_result r;
	struct images now = *m;

	CHECK(shows_expected(m, cache, origin));
	CHECK(rest_untouched(m, cache));
	/* a flush begins with the check, and refuses what is fatal */
	count(&now, cache);
	EQ(flush(&now, c, o, 0, &r), 0);
	EQ(r.records_left, now.lost);
	EQ(r.failed, now.lost + (m->s->nr - m->entries));
	CHECK(!memcmp(origin, m->expected, m->origin_size));
	EQ(in_use(m, cache), now.lost);
	CHECK(rest_untouched(m, cache));
	if (nr_states++ % 16 == 0 && !m->s->cut)
		EQ(findings(m, c, o), 0);
	dmfmt_dev_close(c);
	dmfmt_dev_close(o);
}

struct trial {
	struct images m;
	struct places from, to;		/* of the cache, of the origin */
	struct dmfmt_world *w;
	struct dmfmt_dev *cache, *origin;
	unsigned cache_id, origin_id;
};

static void begin(struct trial *t, const struct shape *s)
{
	struct images *m = &t->m;
	uint32_t block;

	memset(t, 0, sizeof(*t));
	make(m, s);
	ctx->window = s->window ? s->window : 1000;
	t->w = dmfmt_world_new();
	block = m->cache_size % s->logical ? 512 : s->logical;
	EQ(dmfmt_world_add(t->w, ctx, m->cache, m->cache_size, block, false, "cache", &t->cache_id,
			   &t->cache), 0);
	block = m->origin_size % s->logical ? 512 : s->logical;
	EQ(dmfmt_world_add(t->w, ctx, m->origin, m->origin_size, block, false, "origin",
			   &t->origin_id, &t->origin), 0);
}

static void use_bad(struct trial *t)
{
	push_bad(t->cache, &t->from);
	push_bad(t->origin, &t->to);
}

static void end(struct trial *t)
{
	dmfmt_dev_close(t->cache);
	dmfmt_dev_close(t->origin);
	dmfmt_world_free(t->w);
	unmake(&t->m);
}

/* what the devices hold after the last write: all of it, or only what was durable before it */
static void contents(struct trial *t, bool all, uint8_t **cache, uint8_t **origin)
{
	uint64_t reads, writes, flushes, nr, size;
	uint8_t *subset;

	dmfmt_world_counts(t->w, &reads, &writes, &flushes);
	nr = dmfmt_world_pending(t->w, writes) / 8 + 1;
	subset = malloc(nr);
	memset(subset, all ? 0xff : 0, nr);
	EQ(dmfmt_world_state(t->w, writes, subset, t->cache_id, (void **)cache, &size), 0);
	EQ(size, t->m.cache_size);
	EQ(dmfmt_world_state(t->w, writes, subset, t->origin_id, (void **)origin, &size), 0);
	EQ(size, t->m.origin_size);
	free(subset);
}

static void now_good(struct trial *t)
{
	uint8_t *cache, *origin;
	int all;

	for (all = 0; all < 2; all++) {
		contents(t, all, &cache, &origin);
		good_state(&t->m, cache, origin);
		free(cache);
		free(origin);
	}
}

/* one more write that changes nothing, so that there is a cut behind the last flush */
static void mark(struct dmfmt_dev *dev)
{
	uint8_t sector[512];

	EQ(dmfmt_dev_read(dev, 0, sector, sizeof(sector)), 0);
	EQ(dmfmt_dev_write(dev, 0, sector, sizeof(sector)), 0);
}

/* what was said to be done is durable: the origin is the logical device, so many entries are in use */
static bool done_durably(struct trial *t, unsigned left)
{
	uint8_t *cache, *origin;
	bool ok;

	mark(t->origin);
	contents(t, false, &cache, &origin);
	ok = in_use(&t->m, cache) == left && (left || !memcmp(origin, t->m.expected, t->m.origin_size));
	free(cache);
	free(origin);
	return ok;
}

/* ---- cuts --------------------------------------------------------------------------------------------- */

static int one_state(void *arg, uint64_t nr_writes, void **bufs, const uint64_t *sizes, unsigned nr)
{
	struct trial *t = arg;
	unsigned before = tap_failed_checks;

	EQ(nr, 2);
	EQ(sizes[0], t->m.cache_size);
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
	{ .name = "512, one window", .block = 512, .logical = 512, .nr = 90, .origin_blocks = 140, .seq = 5 },
	{ .name = "512, windows of 8, start_sector 3", .block = 512, .logical = 512, .nr = 90, .start = 3,
	  .origin_blocks = 140, .seq = 4, .window = 8 },
	{ .name = "1024, equal sequences", .block = 1024, .logical = 512, .nr = 70, .origin_blocks = 120,
	  .seq = 3, .ties = 3, .window = 20 },
	{ .name = "2048, partial last block, blocks past the end", .block = 2048, .logical = 512, .nr = 60,
	  .origin_blocks = 77, .last_sectors = 3, .seq = 6, .beyond = 5, .window = 16 },
	{ .name = "4096 on 512, start_sector 8", .block = 4096, .logical = 512, .nr = 66, .start = 8,
	  .origin_blocks = 77, .seq = 7, .window = 30 },
	{ .name = "4096 on 4096, blocks past the end", .block = 4096, .logical = 4096, .nr = 300,
	  .origin_blocks = 330, .seq = 9, .beyond = 2, .window = 60 },
	{ .name = "512, everything dirty", .block = 512, .logical = 512, .nr = 64, .origin_blocks = 200,
	  .seq = 3, .full = true },
	{ .name = "512, truncated", .block = 512, .logical = 512, .nr = 80, .origin_blocks = 120, .seq = 5,
	  .cut = 33, .beyond = 3, .window = 12, .alone = true },
	{ .name = "4096, truncated by one block", .block = 4096, .logical = 4096, .nr = 40,
	  .origin_blocks = 50, .seq = 5, .cut = 1 },
	{ .name = "512, truncated within the entries", .block = 512, .logical = 512, .nr = 160,
	  .origin_blocks = 200, .seq = 5, .cut = 1000 },
};
#define NR_SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static unsigned unknown(const struct images *m)
{
	return m->s->nr - m->entries;
}

static void cuts(void)
{
	struct dmfmt_writeback_result r;
	unsigned i;

	for (i = 0; i < NR_SHAPES; i++) {
		struct trial t;
		int64_t states;

		begin(&t, &shapes[i]);
		CHECK(t.m.dirty > t.m.lost || shapes[i].cut == 1000);
		CHECK(shapes[i].full || shapes[i].cut || in_use(&t.m, t.m.cache) > t.m.dirty + 8);
		EQ(flush(&t.m, t.cache, t.origin, i & 1 ? DMFMT_WRITEBACK_VERIFY : 0, &r), 0);
		EQ(r.records, t.m.dirty - t.m.lost);
		EQ(r.records_left, t.m.lost);
		EQ(r.failed, t.m.lost + unknown(&t.m));
		EQ(r.bytes_beyond, (uint64_t)t.m.beyond * shapes[i].block);
		CHECK(done_durably(&t, t.m.lost));
		states = all_states(&t, 4, 20);
		printf("# %s: %u dirty, %" PRIu64 " windows, %" PRIu64 " writes, %" PRId64 " states\n",
		       shapes[i].name, t.m.dirty, r.windows, r.writes, states);
		end(&t);
	}
}

/* ---- planted faults: are they seen? ------------------------------------------------------------------- */

static int bad_state(void *arg, uint64_t nr_writes, void **bufs, const uint64_t *sizes, unsigned nr)
{
	struct trial *t = arg;

	(void)nr_writes;
	(void)sizes;
	(void)nr;
	return shows_expected(&t->m, bufs[0], bufs[1]) && rest_untouched(&t->m, bufs[0]) ? 0 : -EUCLEAN;
}

/* the @nr-th flush of one of the devices is said to be done, and is not: what comes of it */
static bool is_seen(const struct shape *s, bool origin, unsigned nr, bool *was_done)
{
	struct dmfmt_writeback_result r;
	struct trial t;
	bool seen;

	begin(&t, s);
	(origin ? &t.to : &t.from)->flushes = nr;
	use_bad(&t);
	EQ(flush(&t.m, t.cache, t.origin, 0, &r), 0);
	*was_done = (origin ? &t.to : &t.from)->seen >= nr;
	seen = dmfmt_world_each_state(t.w, 4, 20, 1, bad_state, &t) < 0 || !done_durably(&t, t.m.lost);
	end(&t);
	return seen;
}

static void planted_faults(void)
{
	bool done;
	unsigned nr;

	/* losers follow winners: the first flush of the cache is missing */
	CHECK(is_seen(&shapes[0], false, 1, &done) && done);
	CHECK(is_seen(&shapes[5], false, 1, &done) && done);
	/* entries are free before the data are durable: one after the other */
	for (nr = 1; is_seen(&shapes[1], true, nr, &done) && done; nr++)
		;
	CHECK(nr > 5 && !done);
	/* the last entries are not durably free at the end */
	for (nr = 1; is_seen(&shapes[6], false, nr, &done) && done; nr++)
		;
	CHECK(nr > 1 && !done);
}

/* ---- bad blocks --------------------------------------------------------------------------------------- */

/* as the cache must be at the end: exactly the failed ones */
static void only_failed_left(struct trial *t, unsigned nr_failed)
{
	uint8_t *cache, *origin;
	unsigned i;

	contents(t, true, &cache, &origin);
	EQ(in_use(&t->m, cache), nr_failed);
	for (i = 0; i < t->m.entries; i++)
		if (seq_of(&t->m, cache, i) != FREE)
			CHECK(touches(&t->from, block_at(&t->m, i), t->m.s->block) ||
			      touches(&t->to, sector_of(&t->m, cache, i) * 512, t->m.s->block));
	CHECK(shows_expected(&t->m, cache, origin));
	CHECK(rest_untouched(&t->m, cache));
	free(cache);
	free(origin);
}

static struct winners dirty;	/* of the trial at hand */

static int64_t keep_going(const struct shape *s, unsigned flags,
			  void (*choose_bad)(struct trial *t, unsigned k), unsigned k, unsigned nr_failed)
{
	struct dmfmt_writeback_result r;
	struct trial t;
	int64_t states;

	begin(&t, s);
	recover(&t.m, t.m.cache, &dirty);
	t.from.reading = t.to.writing = true;
	choose_bad(&t, k);
	use_bad(&t);
	EQ(flush(&t.m, t.cache, t.origin, DMFMT_WRITEBACK_KEEP_GOING | flags, &r), 0);
	EQ(r.failed, nr_failed);
	EQ(r.records_left, nr_failed);
	EQ(r.records, t.m.dirty - nr_failed);
	only_failed_left(&t, nr_failed);
	states = all_states(&t, 2, 2);
	end(&t);
	return states;
}

static void bad_read_of(struct trial *t, unsigned k)
{
	add_place(&t->from, block_at(&t->m, dirty.entry[k]), t->m.s->block);
}

static void bad_write_of(struct trial *t, unsigned k)
{
	add_place(&t->to, sector_of(&t->m, t->m.cache, dirty.entry[k]) * 512, 512);
}

static void bad_two(struct trial *t, unsigned k)
{
	bad_read_of(t, k);
	bad_write_of(t, (k * 5 + 11) % dirty.nr);
}

static void bad_every(struct trial *t, unsigned k)
{
	unsigned i;

	for (i = 0; i < dirty.nr; i += k)
		bad_write_of(t, i);
}

static void bad_but_every(struct trial *t, unsigned k)
{
	unsigned i;

	for (i = 0; i < dirty.nr; i++)
		if (i % k)
			bad_read_of(t, i);
}

static void lost_every(struct trial *t, unsigned k)
{
	t->to.writing = false;
	t->to.lost = true;
	bad_every(t, k);
}

static unsigned dirty_of(const struct shape *s)
{
	struct images m;
	unsigned nr;

	make(&m, s);
	nr = m.dirty;
	unmake(&m);
	return nr;
}

static const struct shape small = {
	.name = "512, 44 entries, windows of 12", .block = 512, .logical = 512, .nr = 44,
	.origin_blocks = 70, .seq = 4, .window = 12,
};
static const struct shape one_window = {
	.name = "2048, 60 entries", .block = 2048, .logical = 512, .nr = 60, .origin_blocks = 90, .seq = 5,
	.last_sectors = 2, .alone = true,
};

static void each_bad_block(void)
{
	unsigned k, nr = dirty_of(&small);
	int64_t states = 0;

	for (k = 0; k < nr; k++) {
		states += keep_going(&small, 0, bad_read_of, k, 1);
		states += keep_going(&small, 0, bad_write_of, k, 1);
		if (k % 4 == 1 && (k * 5 + 11) % nr != k)
			states += keep_going(&small, 0, bad_two, k, 2);
	}
	printf("# each block bad, and two: %" PRId64 " states\n", states);
}

static void many_bad_blocks(void)
{
	static const struct shape *const which[] = { &small, &one_window, &shapes[6] };
	static const unsigned steps[] = { 1, 2, 3, 7 };
	int64_t states = 0;
	unsigned i, j;

	for (i = 0; i < 3; i++)
		for (j = 0; j < 4; j++) {
			unsigned k = steps[j], nr = dirty_of(which[i]), every = (nr + k - 1) / k;

			states += keep_going(which[i], 0, bad_every, k, every);
			if (k > 1)
				states += keep_going(which[i], 0, bad_but_every, k, nr - every);
		}
	printf("# many blocks bad, and all: %" PRId64 " states\n", states);
}

/* one bad block without keep-going: stops, and nothing is lost */
static void stops_at_bad_block(void)
{
	struct dmfmt_writeback_result r;
	unsigned k, nr = dirty_of(&small);

	for (k = 0; k < 2 * nr; k++) {
		struct trial t;

		begin(&t, &small);
		recover(&t.m, t.m.cache, &dirty);
		t.from.reading = t.to.writing = true;
		(k & 1 ? bad_read_of : bad_write_of)(&t, k / 2);
		use_bad(&t);
		EQ(flush(&t.m, t.cache, t.origin, 0, &r), -EIO);
		EQ(r.failed, 0);
		EQ(r.records + r.records_left, t.m.dirty);
		now_good(&t);
		end(&t);
	}
}

static void verify_sees_lost_writes(void)
{
	struct dmfmt_writeback_result r;
	unsigned k, nr = dirty_of(&small);
	struct trial t;

	for (k = 1; k < 5; k++)
		keep_going(&small, DMFMT_WRITEBACK_VERIFY, lost_every, k, (nr + k - 1) / k);
	begin(&t, &small);
	recover(&t.m, t.m.cache, &dirty);
	lost_every(&t, 17);
	use_bad(&t);
	k = (unsigned)-flush(&t.m, t.cache, t.origin, DMFMT_WRITEBACK_VERIFY, &r);
	CHECK(k == EIO || k == EILSEQ);
	now_good(&t);
	end(&t);
	/* what fails in the copy is no second failure in the comparison */
	keep_going(&small, DMFMT_WRITEBACK_VERIFY, bad_two, 3, 2);
}

/* two committed entries of one block of the origin that nothing else has; @m: full */
static void two_copies(struct images *m, unsigned a, uint64_t seq_a, unsigned b, uint64_t seq_b)
{
	unsigned i, nr = 0;

	for (i = 0; i < m->s->nr; i++)
		if (sector_of(m, m->cache, i) == (uint64_t)nr * (m->s->block / 512)) {
			nr++;
			i = UINT_MAX;
		}
	put_entry(m, a, nr, seq_a);
	put_entry(m, b, nr, seq_b);
	memcpy(m->expected, m->origin, m->origin_size);
	lay_over(m, m->cache, m->expected);
	count(m, m->cache);
}

static bool origin_has(const struct images *m, const uint8_t *origin, unsigned entry)
{
	return !memcmp(origin + sector_of(m, m->cache, entry) * 512, m->cache + block_at(m, entry),
		       m->s->block);
}

static void begin_copies(struct trial *t, const struct shape *s, unsigned a, uint64_t seq_a, unsigned b,
			 uint64_t seq_b)
{
	begin(t, s);
	two_copies(&t->m, a, seq_a, b, seq_b);
	dmfmt_dev_close(t->cache);
	dmfmt_dev_close(t->origin);
	dmfmt_world_free(t->w);
	t->w = dmfmt_world_new();
	EQ(dmfmt_world_add(t->w, ctx, t->m.cache, t->m.cache_size, 512, false, "cache", &t->cache_id,
			   &t->cache), 0);
	EQ(dmfmt_world_add(t->w, ctx, t->m.origin, t->m.origin_size, 512, false, "origin", &t->origin_id,
			   &t->origin), 0);
}

static const struct shape of_120 = {
	.name = "512, 120 entries", .block = 512, .logical = 512, .nr = 120, .origin_blocks = 400, .seq = 5,
	.full = true,
};

/*
 * Entries that cannot be read: all others are copied, and nothing becomes free, because one of those may
 * be an older copy that would come back.
 */
static void unreadable_entries(void)
{
	struct dmfmt_writeback_opts o = { .flags = DMFMT_WRITEBACK_KEEP_GOING };
	struct dmfmt_writeback_result r;
	uint8_t *cache, *origin;
	unsigned copied;
	struct trial t;

	/* the older copy lies in the sector that cannot be read */
	begin_copies(&t, &of_120, 0, 3, 65, 1);
	copied = t.m.dirty - 32 + 1;
	t.from.reading = true;
	add_place(&t.from, 1024, 512);	/* entries 60 to 91 */
	use_bad(&t);
	EQ(flush_with(&t.m, t.cache, t.origin, &o, &r), -EUCLEAN);
	CHECK(strstr(dmfmt_ctx_error(ctx), "32 blocks are lost, expected --keep-going --accept-loss=32"));
	EQ(t.cache->bytes_written + t.origin->bytes_written, 0);
	o.flags |= DMFMT_WRITEBACK_ACCEPT_LOSS;
	o.accept_loss = 32;
	EQ(flush_with(&t.m, t.cache, t.origin, &o, &r), 0);
	EQ(r.failed, 32);
	EQ(r.records, 0);
	EQ(r.records_left, copied);
	EQ(r.bytes, (uint64_t)copied * 512);
	EQ(t.cache->bytes_written, 0);
	mark(t.origin);
	contents(&t, false, &cache, &origin);
	CHECK(!memcmp(cache, t.m.cache, t.m.cache_size));
	CHECK(origin_has(&t.m, origin, 0));
	CHECK(shows_expected(&t.m, cache, origin));
	free(cache);
	free(origin);
	/* readable again: the newest is what is served, and what a flush brings home */
	t.from.reading = false;
	o.flags = 0;
	EQ(flush_with(&t.m, t.cache, t.origin, &o, &r), 0);
	contents(&t, true, &cache, &origin);
	CHECK(!memcmp(origin, t.m.expected, t.m.origin_size));
	EQ(in_use(&t.m, cache), 0);
	free(cache);
	free(origin);
	end(&t);
}

/*
 * Copies with equal seq_counts, and blocks of them that cannot be read (@bad: 1 the lower entry's, 2 the
 * higher's): what can be read is on the origin, or still in the cache.
 */
static void tied_blocks(void)
{
	struct dmfmt_writeback_opts o = { .flags = DMFMT_WRITEBACK_KEEP_GOING };
	struct dmfmt_writeback_result r;
	uint8_t *cache, *origin;
	struct trial t;
	unsigned bad;

	for (bad = 0; bad < 4; bad++) {
		begin_copies(&t, &of_120, 1, 2, 7, 2);
		t.from.reading = true;
		if (bad & 1)
			add_place(&t.from, block_at(&t.m, 1), 512);
		if (bad & 2)
			add_place(&t.from, block_at(&t.m, 7), 512);
		use_bad(&t);
		EQ(flush_with(&t.m, t.cache, t.origin, &o, &r), 0);
		EQ(r.failed, bad == 3);
		EQ(r.records_left, bad == 3);
		contents(&t, true, &cache, &origin);
		EQ(in_use(&t.m, cache), bad == 3);
		if (bad == 3)
			EQ(seq_of(&t.m, cache, 7), 2);
		else
			CHECK(origin_has(&t.m, origin, bad == 2 ? 1 : 7));
		CHECK(rest_untouched(&t.m, cache));
		free(cache);
		free(origin);
		end(&t);
	}
}

/* the one with the higher index was cut off with the device: the other is as good */
static void tied_and_cut(void)
{
	struct dmfmt_writeback_opts o = { .flags = DMFMT_WRITEBACK_KEEP_GOING | DMFMT_WRITEBACK_ACCEPT_LOSS,
					  .accept_loss = 1 };
	struct dmfmt_writeback_result r;
	struct dmfmt_dev *c, *d;
	struct images m;

	make(&m, &of_120);
	two_copies(&m, 1, 2, 119, 2);
	m.cache_size -= 512;
	c = buffer_dev(m.cache, m.cache_size, 512);
	d = buffer_dev(m.origin, m.origin_size, 512);
	EQ(flush_with(&m, c, d, &o, &r), 0);
	EQ(r.failed, 0);
	EQ(r.records_left, 0);
	CHECK(origin_has(&m, m.origin, 1));
	dmfmt_dev_close(c);
	dmfmt_dev_close(d);
	unmake(&m);
}

/* ---- errors ------------------------------------------------------------------------------------------- */

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
	ret = flush(&t.m, t.cache, t.origin, flags, &r);
	dmfmt_world_counts(t.w, &reads, &writes, &flushes);
	had = what < 2 ? reads : what < 5 ? writes : flushes;
	if (had > nr) {
		/* reads of entries are tried again, keep-going gets over what concerns one block, nothing
		 * gets over a flush */
		if (what >= 2 && (!flags || what == 5))
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

/* ---- a patch instead ---------------------------------------------------------------------------------- */

struct ranges {
	struct dmfmt_extent v[ENTRIES_MAX];
	unsigned nr;
	uint64_t end, bytes;
};

static int keep_range(void *arg, const struct dmfmt_extent *e)
{
	struct ranges *r = arg;

	CHECK(e->to >= r->end && e->length && r->nr < ENTRIES_MAX);
	r->end = e->to + e->length;
	r->bytes += e->length;
	r->v[r->nr++] = *e;
	return 0;
}

static int patch(struct trial *t, struct dmfmt_dev *to, bool with_origin, unsigned flags, struct ranges *held,
		 struct dmfmt_writeback_result *r)
{
	struct dmfmt_writeback_opts o = { .size = sizeof(o), .flags = flags };
	struct dmfmt *f;
	int ret = open_cache(&t->m, t->cache, with_origin ? t->origin : NULL, &f);

	o.accept_loss = losses(&t->m) - (with_origin ? 0 : t->m.beyond);
	if (o.accept_loss)
		o.flags |= DMFMT_WRITEBACK_ACCEPT_LOSS;
	if (t->m.s->cut)
		o.flags |= DMFMT_WRITEBACK_ACCEPT_LOSS | DMFMT_WRITEBACK_KEEP_GOING;
	*held = (struct ranges){ 0 };
	*r = (struct dmfmt_writeback_result){ .size = sizeof(*r) };
	if (!ret)
		ret = dmfmt_patch(f, to, &o, keep_range, held, r);
	if (f)
		dmfmt_close(f);
	return ret;
}

static struct dmfmt_dev *new_file(struct trial *t, unsigned *id)
{
	struct dmfmt_dev *to = NULL;

	EQ(dmfmt_world_add(t->w, ctx, NULL, 0, 512, true, "patch", id, &to), 0);
	to->flags |= DMFMT_OPEN_WRITE | DMFMT_OPEN_CREATE;
	return to;
}

/* the file's ranges over the origin are the logical device, the rest of it is zero */
static void good_patch(struct trial *t, struct dmfmt_dev *to, unsigned id, const struct ranges *held)
{
	uint64_t reads, writes, flushes, size;
	uint8_t *view = malloc(t->m.origin_size), *file;
	uint8_t none[64] = { 0 };
	unsigned i;

	if (to->size)
		mark(to);
	dmfmt_world_counts(t->w, &reads, &writes, &flushes);
	EQ(dmfmt_world_pending(t->w, writes), !!to->size);
	EQ(dmfmt_world_state(t->w, writes, none, id, (void **)&file, &size), 0);
	memcpy(view, t->m.origin, t->m.origin_size);
	for (i = 0; i < held->nr; i++) {
		const struct dmfmt_extent *e = &held->v[i];
		uint64_t len = e->length;

		CHECK(e->to + e->length <= size);
		if (e->to >= t->m.origin_size)
			len = 0;
		else if (len > t->m.origin_size - e->to)
			len = t->m.origin_size - e->to;
		memcpy(view + (len ? e->to : 0), file + e->to, len);
		memset(file + e->to, 0, e->length);
	}
	CHECK(!memcmp(view, t->m.expected, t->m.origin_size));
	for (i = 0; i < size && !file[i]; i++)
		;
	EQ(i, size);
	free(file);
	free(view);
}

static void patches(void)
{
	struct dmfmt_writeback_result r;
	struct ranges held;
	unsigned i, id;

	for (i = 0; i < 2 * NR_SHAPES; i++) {
		struct trial t;
		struct dmfmt_dev *to;

		begin(&t, &shapes[i / 2]);
		to = new_file(&t, &id);
		t.cache->flags = t.origin->flags = 0;
		EQ(patch(&t, to, i & 1, i & 2 ? DMFMT_WRITEBACK_VERIFY : 0, &held, &r), 0);
		EQ(r.records, t.m.dirty - t.m.lost - (i & 1 ? t.m.beyond : 0));
		EQ(r.bytes, held.bytes);
		EQ(t.cache->bytes_written + t.origin->bytes_written, 0);
		if (i & 1)
			EQ(to->size, t.m.origin_size);
		else
			EQ(to->size, held.end);
		good_patch(&t, to, id, &held);
		dmfmt_dev_close(to);
		end(&t);
	}
}

/* what cannot be read is neither in the file nor told */
static void patch_keeps_going(void)
{
	struct dmfmt_writeback_result r;
	struct ranges held;
	unsigned k, id, i;

	for (k = 0; k < 12; k++) {
		struct trial t;
		struct dmfmt_dev *to;
		uint64_t at;

		begin(&t, &one_window);
		recover(&t.m, t.m.cache, &dirty);
		t.from.reading = true;
		bad_read_of(&t, k);
		at = sector_of(&t.m, t.m.cache, dirty.entry[k]) * 512;
		use_bad(&t);
		to = new_file(&t, &id);
		EQ(patch(&t, to, true, DMFMT_WRITEBACK_KEEP_GOING | DMFMT_WRITEBACK_VERIFY, &held, &r), 0);
		EQ(r.failed, 1);
		EQ(r.records, t.m.dirty - 1);
		for (i = 0; i < held.nr; i++)
			CHECK(at < held.v[i].to || at >= held.v[i].to + held.v[i].length);
		memcpy(t.m.expected + at, t.m.origin + at, origin_part(&t.m, at / 512));
		good_patch(&t, to, id, &held);
		dmfmt_dev_close(to);
		end(&t);
	}
}

static void patch_errors(void)
{
	unsigned what, id;

	for (what = 0; what < 6; what++) {
		uint64_t nr = 0, had, reads, writes, flushes;

		do {
			struct dmfmt_writeback_result r;
			struct dmfmt_dev *to;
			struct ranges held;
			struct trial t;
			int ret;

			begin(&t, &small);
			to = new_file(&t, &id);
			dmfmt_world_cue(t.w, faults[what].fault, nr);
			ret = patch(&t, to, true, 0, &held, &r);
			dmfmt_world_counts(t.w, &reads, &writes, &flushes);
			had = what < 2 ? reads : what < 5 ? writes : flushes;
			if (had > nr && what >= 2)
				CHECK(ret < 0);
			if (had <= nr)
				EQ(ret, 0);
			else if (!ret)
				good_patch(&t, to, id, &held);
			EQ(t.cache->bytes_written + t.origin->bytes_written, 0);
			dmfmt_dev_close(to);
			end(&t);
		} while (had > nr++);
		CHECK(nr > 1);
	}
}

/* ---- many entries, little memory ---------------------------------------------------------------------- */

#define MANY 230000u
#define MANY_SECTORS 50000u

/* more losers, uncommitted entries and blocks past the end than a list holds */
static void many_entries(void)
{
	size_t data = (64 + 16 * (size_t)MANY + 511) / 512 * 512, i, ends = 30000;
	uint8_t *cache = calloc(1, data + (size_t)MANY * 512), *origin = calloc(1, ends * 512);
	struct dmfmt_writeback_opts o = { .size = sizeof(o), .flags = DMFMT_WRITEBACK_ACCEPT_LOSS,
					  .accept_loss = MANY_SECTORS - ends };
	struct dmfmt_writeback_result r = { .size = sizeof(r) };
	struct dmfmt_dev *c, *d;
	struct dmfmt *f;

	ctx->window = 0;
	memcpy(cache, "\x21\x93\x48\x23\1\0\0\0\0\2\0\0", 12);
	put_le64(cache + 16, MANY);
	put_le64(cache + 24, 3);
	for (i = 0; i < MANY; i++) {
		/* 150000 committed in three epochs, newest first; the rest was never committed */
		put_le64(cache + 64 + 16 * i, i * 7 % MANY_SECTORS);
		put_le64(cache + 72 + 16 * i, i < 3 * MANY_SECTORS ? 2 - i / MANY_SECTORS : 3);
		put_le64(cache + data + 512 * i, i + 1);
	}
	c = buffer_dev(cache, data + (size_t)MANY * 512, 512);
	d = buffer_dev(origin, ends * 512, 512);
	EQ(dmfmt_open(ctx, c, "writecache", 0, &f), 0);
	EQ(dmfmt_set_origin(f, d), 0);
	EQ(dmfmt_writeback(f, &o, &r), 0);
	EQ(r.records, MANY_SECTORS);
	EQ(r.records_left, 0);
	EQ(r.bytes, ends * 512);
	CHECK(r.windows > 2);
	for (i = 0; i < MANY && get_le64(cache + 72 + 16 * i) == FREE; i++)
		;
	EQ(i, MANY);
	for (i = 0; i < MANY_SECTORS; i++)
		if (i * 7 % MANY_SECTORS < ends &&
		    get_le64(origin + i * 7 % MANY_SECTORS * 512) != i + 1)
			break;
	EQ(i, MANY_SECTORS);
	dmfmt_close(f);
	dmfmt_dev_close(c);
	dmfmt_dev_close(d);
	free(cache);
	free(origin);
}

/* ---- manners ------------------------------------------------------------------------------------------ */

static void dry_run_writes_nothing(void)
{
	unsigned i;

	for (i = 0; i < NR_SHAPES; i++) {
		struct dmfmt_writeback_result dry, real;
		uint64_t reads, writes, flushes;
		struct trial t;

		begin(&t, &shapes[i]);
		t.cache->flags = t.origin->flags = 0;
		EQ(flush(&t.m, t.cache, t.origin, DMFMT_WRITEBACK_DRY_RUN, &dry), 0);
		dmfmt_world_counts(t.w, &reads, &writes, &flushes);
		EQ(writes, 0);
		EQ(flushes, 0);
		EQ(flush(&t.m, t.cache, t.origin, 0, &real), -EROFS);
		t.cache->flags = t.origin->flags = DMFMT_OPEN_WRITE;
		EQ(flush(&t.m, t.cache, t.origin, 0, &real), 0);
		EQ(dry.records, real.records);
		EQ(dry.bytes, real.bytes);
		EQ(dry.writes, real.writes);
		EQ(dry.windows, real.windows);
		EQ(dry.failed, real.failed);
		EQ(dry.bytes_beyond, real.bytes_beyond);
		EQ(dry.records_left, t.m.dirty);
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

	for (k = 0; k < 300; k++) {
		struct trial t;

		begin(&t, &shapes[1]);
		recover(&t.m, t.m.cache, &dirty);
		t.from.reading = t.to.writing = true;
		bad_two(&t, 20);
		use_bad(&t);
		left = k;
		dmfmt_ctx_set_progress(ctx, stop_now, &left);
		ret = flush(&t.m, t.cache, t.origin, DMFMT_WRITEBACK_KEEP_GOING, &r);
		dmfmt_ctx_set_progress(ctx, NULL, NULL);
		CHECK(ret == 0 || ret == -ECANCELED);
		stopped += ret == -ECANCELED;
		now_good(&t);
		end(&t);
		if (!ret)
			break;
	}
	CHECK(stopped > 3 && stopped < 300);
	printf("# stopped at %u places\n", stopped);
}

static void refused(const struct shape *s, unsigned flags, uint64_t accept, unsigned damage,
		    const char *why)
{
	struct dmfmt_writeback_opts o = { .flags = flags, .accept_loss = accept };
	struct dmfmt_writeback_result r;
	struct trial t;

	begin(&t, s);
	if (damage == 1)	/* newer than the superblock */
		EQ(dmfmt_dev_write(t.cache, t.m.start + 64 + 16 * 5 + 8, "\x7f", 1), 0);
	else if (damage == 2)	/* not a multiple of the block */
		EQ(dmfmt_dev_write(t.cache, t.m.start + 64 + 16 * 5, "\x3", 1), 0);
	else if (damage == 3)	/* wraps */
		EQ(dmfmt_dev_write(t.cache, t.m.start + 64 + 16 * 5,
				   "\xff\xff\xff\xff\xff\xff\xff\xff", 8), 0);
	else if (damage == 4)	/* wiped */
		EQ(dmfmt_dev_write(t.cache, t.m.start, "\0\0\0\0\0\0\0\0", 8), 0);
	EQ(flush_with(&t.m, t.cache, t.origin, &o, &r), -EUCLEAN);
	if (!strstr(dmfmt_ctx_error(ctx), "cache: flush refused: ") || !strstr(dmfmt_ctx_error(ctx), why))
		printf("# %s: %s, expected %s\n", s->name, dmfmt_ctx_error(ctx), why);
	CHECK(strstr(dmfmt_ctx_error(ctx), "cache: flush refused: ") &&
	      strstr(dmfmt_ctx_error(ctx), why));
	EQ(r.records + r.failed, 0);
	EQ(t.origin->bytes_written, 0);
	end(&t);
}

static void refusals(void)
{
	const unsigned keep = DMFMT_WRITEBACK_KEEP_GOING, accept = DMFMT_WRITEBACK_ACCEPT_LOSS;
	const struct shape *beyond = &shapes[3], *cut = &shapes[7];
	struct images m;
	char want[100];
	unsigned i;

	for (i = 1; i <= 4; i++)
		refused(&shapes[4], keep | accept, 1, i, "dmtool writecache-check");
	make(&m, beyond);
	snprintf(want, sizeof(want), "%u blocks lie past the end of the origin, expected --accept-loss=%u ",
		 m.beyond, m.beyond);
	CHECK(m.beyond > 1);
	refused(beyond, 0, 0, 0, want);
	refused(beyond, keep, m.beyond, 0, want);
	refused(beyond, keep | accept, m.beyond + 1, 0, want);
	refused(beyond, accept, 0, 0, want);
	unmake(&m);
	make(&m, cut);
	snprintf(want, sizeof(want),
		 "%u blocks are lost and %u lie past the end of the origin, expected --keep-going --accept-loss=%u ",
		 m.lost, m.beyond, m.lost + m.beyond);
	CHECK(m.beyond > 1 && m.lost > 3);
	refused(cut, 0, 0, 0, want);
	refused(cut, keep, m.lost + m.beyond, 0, want);
	refused(cut, accept, m.lost + m.beyond, 0, want);
	refused(cut, keep | accept, m.lost, 0, want);
	unmake(&m);
	/* nothing is lost: no number fits but 0 */
	refused(&shapes[0], keep | accept, 1, 0, "0 blocks are lost, expected --accept-loss=0");
}

int main(void)
{
	ctx = dmfmt_ctx_new();
	dmfmt_ctx_set_memory(ctx, 1);	/* as little as it takes */
	RUN(cuts);
	RUN(planted_faults);
	RUN(each_bad_block);
	RUN(many_bad_blocks);
	RUN(stops_at_bad_block);
	RUN(verify_sees_lost_writes);
	RUN(unreadable_entries);
	RUN(tied_blocks);
	RUN(tied_and_cut);
	RUN(each_error);
	RUN(patches);
	RUN(patch_keeps_going);
	RUN(patch_errors);
	RUN(many_entries);
	RUN(dry_run_writes_nothing);
	RUN(stops_when_asked);
	RUN(refusals);
	printf("# %" PRIu64 " states in all\n", total_states);
	dmfmt_ctx_free(ctx);
	return DONE();
}
