// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Repairs of caches, with the power cut at every write, and with every read, write and flush failing:
 * what the kernel would serve is what it was or what was promised, nothing older comes back, a block that
 * is given up is in the side file before its entry goes, and a second run ends the same.
 */
#include <errno.h>

#include "writecache_image.h"
#include "../../libdmfmt/core/core.h"
#include "../../libdmfmt/io/fault.h"

#define EXHAUSTIVE_BITS 7
#define SAMPLED 40
#define ORIGIN_SECTORS 4000u

static struct dmfmt_ctx *ctx;
static int64_t total_states;

/*
 * struct scene - a damaged cache and its repair
 * @first: as it is found; @want: what is promised for the end (kernel's view)
 * @gone: entries whose block must be in the side file once they are free
 */
struct scene {
	const char *name;
	struct image first;
	struct dmfmt_repair_opts o;
	uint64_t origin_sectors;
	uint64_t accept;	/* 0: none */
	struct image want;
	uint64_t gone[300];
	size_t nr_gone;
	struct dmfmt_dev *side;	/* of the run at hand */
};

static int give_side(void *arg, struct dmfmt_dev **dev)
{
	*dev = ((struct scene *)arg)->side;
	return 0;
}

static int repair(struct scene *s, struct dmfmt_dev *dev, struct dmfmt_dev *side, uint64_t accept,
		  struct dmfmt_summary *sum)
{
	struct dmfmt_repair_opts o = s->o;
	struct dmfmt_report *r = NULL;
	struct dmfmt *f = NULL;
	int ret;

	o.size = sizeof(o);
	o.accept_loss = accept ? accept : DMFMT_NONE;
	o.side = side ? give_side : NULL;
	o.arg = s;
	s->side = side;
	EQ(dmfmt_dev_set_start(dev, s->first.start / 512), 0);
	ret = dmfmt_open(ctx, dev, "writecache", 0, &f);
	if (ret)
		return ret;
	if (s->origin_sectors)
		EQ(dmfmt_set_origin_size(f, s->origin_sectors), 0);
	ret = dmfmt_repair(f, &o, &r);
	if (r && sum) {
		sum->size = sizeof(*sum);
		dmfmt_report_summary(r, sum);
	}
	dmfmt_report_free(r);
	dmfmt_close(f);
	return ret;
}

/* the entries of a cache that loads, decoded once; @nr 0: it does not */
struct decoded {
	const struct image *s;
	uint64_t nr, limit, *v;
};

static struct decoded decode(const struct image *s)
{
	struct decoded d = { .s = s };
	uint64_t i;

	if (!s->size || fate(s) != LOADS)
		return d;
	d.nr = sb_blocks(s);
	d.limit = sb_seq(s);
	d.v = malloc((size_t)d.nr * 16);
	for (i = 0; i < d.nr; i++) {
		d.v[2 * i] = entry_sector(s, i);
		d.v[2 * i + 1] = entry_seq(s, i);
	}
	return d;
}

/* the block that the kernel would serve for @sector, NULL if none */
static const uint8_t *served_of(const struct decoded *d, uint64_t sector)
{
	uint64_t i, best = UINT64_MAX;

	for (i = 0; i < d->nr; i++)
		if (d->v[2 * i] == sector && d->v[2 * i + 1] < d->limit &&
		    (best == UINT64_MAX || d->v[2 * i + 1] >= d->v[2 * best + 1]))
			best = i;
	return best == UINT64_MAX ? NULL : block_at(d->s, best);
}

static bool same_of(const struct decoded *a, const struct decoded *b, uint64_t sector)
{
	const uint8_t *x = served_of(a, sector), *y = served_of(b, sector);

	return x == y || (x && y && sb_block_size(a->s) == sb_block_size(b->s) &&
			  !memcmp(x, y, sb_block_size(a->s)));
}

static const uint8_t *served(const struct image *s, uint64_t sector)
{
	struct decoded d = decode(s);
	const uint8_t *p = served_of(&d, sector);

	free(d.v);
	return p;
}

static bool same_block(const struct image *a, const struct image *b, uint64_t sector)
{
	const uint8_t *x = served(a, sector), *y = served(b, sector);

	return x == y || (x && y && !memcmp(x, y, sb_block_size(a)));
}

/* each sector of either: served as before, or as promised; all of them in one way if seq_count moves */
static bool legal_view(const struct scene *s, const struct image *image)
{
	struct decoded now = decode(image), side[2] = { decode(&s->first), decode(&s->want) };
	bool whole = s->o.flags & (DMFMT_REPAIR_SEQ_MAX | DMFMT_REPAIR_SEQ_NEXT), ok[2] = { true, true };
	bool legal = true;
	unsigned k;
	uint64_t i;

	for (k = 0; k < 2; k++) {
		for (i = 0; legal && i < side[k].nr; i++) {
			bool a = same_of(&now, &side[0], side[k].v[2 * i]);
			bool b = same_of(&now, &side[1], side[k].v[2 * i]);

			legal = a || b;
			ok[0] = ok[0] && a;
			ok[1] = ok[1] && b;
		}
	}
	free(now.v);
	free(side[0].v);
	free(side[1].v);
	return legal && (!whole || ok[0] || ok[1]);
}

/* entries that were given up are in the side file, if they are free by now */
static bool blocks_kept(const struct scene *s, const struct image *now, const uint8_t *side, uint64_t size)
{
	uint64_t b = sb_block_size(&s->want);
	size_t i;

	for (i = 0; i < s->nr_gone; i++) {
		uint64_t e = s->gone[i];

		if (entry_seq(now, e) != WC_FREE)
			continue;
		if ((e + 1) * b > size || memcmp(side + e * b, block_at(&s->want, e), b))
			return false;
	}
	return true;
}

static void complain(const struct scene *s, const char *what, uint64_t nr_writes)
{
	printf("# %s: %s after %llu writes\n", s->name, what, (unsigned long long)nr_writes);
	CHECK(!"state");
}

/* from this state: it loads only with a legal view, is never formatted if it was not, and mends */
static int one_state(struct scene *s, const uint8_t *bytes, uint64_t size, const uint8_t *side,
		     uint64_t side_size, uint64_t nr_writes)
{
	struct image now = { malloc(size), size, s->first.start };
	struct dmfmt_summary sum = { 0 };
	struct dmfmt_dev *dev = NULL;
	int ret;

	memcpy(now.v, bytes, size);
	if (fate(&now) == FORMATS && fate(&s->first) != FORMATS)
		complain(s, "the kernel would format it", nr_writes);
	if (fate(&now) == REFUSES && fate(&s->first) == LOADS)
		complain(s, "it does not load any more", nr_writes);
	if (fate(&now) == LOADS && !legal_view(s, &now))
		complain(s, "something else is served", nr_writes);
	if (side && !blocks_kept(s, &now, side, side_size))
		complain(s, "a block is nowhere", nr_writes);
	/* a loss that was accepted may have shrunk by then: take what is found */
	EQ(dmfmt_dev_open_buffer(ctx, now.v, now.size, &dev), 0);
	ret = repair(s, dev, NULL, 0, &sum);
	if (s->accept && (ret || sum.loss))
		ret = repair(s, dev, NULL, sum.loss, &sum);
	dmfmt_dev_close(dev);
	if (ret)
		complain(s, dmfmt_ctx_error(ctx), nr_writes);
	if (fate(&now) != LOADS || !legal_view(s, &now))
		complain(s, "the second run ends otherwise", nr_writes);
	else if (s->want.size && memcmp(now.v + now.start, s->want.v + now.start, 32))
		complain(s, "the superblock ends otherwise", nr_writes);
	free(now.v);
	return 0;
}

static int on_state(void *arg, uint64_t nr_writes, void **bufs, const uint64_t *sizes, unsigned nr_devs)
{
	return one_state(arg, bufs[0], sizes[0], bufs[1], sizes[1], nr_writes);
}

static void begin(struct scene *s, struct dmfmt_world **w, struct dmfmt_dev **dev, struct dmfmt_dev **side)
{
	unsigned id;

	*w = dmfmt_world_new();
	EQ(dmfmt_world_add(*w, ctx, s->first.v, s->first.size, 512, false, "cache", &id, dev), 0);
	EQ(dmfmt_world_add(*w, ctx, NULL, 0, 512, true, "side", &id, side), 0);
}

static void end(struct dmfmt_world *w, struct dmfmt_dev *dev, struct dmfmt_dev *side)
{
	dmfmt_dev_close(dev);
	dmfmt_dev_close(side);
	dmfmt_world_free(w);
}

/* everything that was written, durable or not */
static void *content(struct dmfmt_world *w, unsigned id, uint64_t *size)
{
	uint64_t reads, writes, flushes;
	uint8_t *all;
	void *buf = NULL;

	dmfmt_world_counts(w, &reads, &writes, &flushes);
	all = malloc((size_t)dmfmt_world_pending(w, writes) / 8 + 1);
	memset(all, 0xff, (size_t)dmfmt_world_pending(w, writes) / 8 + 1);
	EQ(dmfmt_world_state(w, writes, all, id, &buf, size), 0);
	free(all);
	return buf;
}

/* the end of a run without faults becomes what is promised, after it was looked at by @look */
static void run_whole(struct scene *s, void (*look)(const struct scene *s, const struct image *end))
{
	struct dmfmt_summary sum = { 0 };
	struct dmfmt_dev *dev, *side;
	struct dmfmt_world *w;
	uint64_t size;
	int64_t states;
	void *buf;

	begin(s, &w, &dev, &side);
	EQ(repair(s, dev, side, s->accept, &sum), 0);
	CHECK(sum.mended && !sum.fatal && !sum.repairable);
	EQ(dmfmt_dev_sync(dev), 0);
	buf = content(w, 0, &size);
	s->want = (struct image){ buf, size, s->first.start };
	EQ(fate(&s->want), LOADS);
	look(s, &s->want);
	states = dmfmt_world_each_state(w, EXHAUSTIVE_BITS, SAMPLED, 7, on_state, s);
	CHECK(states > 0);
	total_states += states;
	printf("# %s: %" PRId64 " states\n", s->name, states);
	end(w, dev, side);
}

static void fail_each(struct scene *s)
{
	static const enum dmfmt_fault faults[] = {
		DMFMT_FAULT_READ_EIO, DMFMT_FAULT_WRITE_EIO, DMFMT_FAULT_WRITE_ENOSPC,
		DMFMT_FAULT_WRITE_SHORT, DMFMT_FAULT_FLUSH_LOST,
	};
	struct dmfmt_dev *dev, *side;
	struct dmfmt_world *w;
	unsigned k;

	for (k = 0; k < sizeof(faults) / sizeof(faults[0]); k++) {
		uint64_t nr, reads, writes, flushes, size;
		bool hit = true;

		/* each of the first ones, then samples: hundreds of blocks go to a side file alike */
		for (nr = 0; hit && nr < 4000; nr += nr < 40 ? 1 : 29) {
			void *buf, *sbuf;
			uint64_t ssize;
			int ret;

			begin(s, &w, &dev, &side);
			dmfmt_world_cue(w, faults[k], nr);
			ret = repair(s, dev, side, s->accept, NULL);
			if (!ret)
				ret = dmfmt_dev_sync(dev);
			dmfmt_world_counts(w, &reads, &writes, &flushes);
			hit = nr < (k == 0 ? reads : k == 4 ? flushes : writes);
			CHECK(hit || !ret);
			buf = content(w, 0, &size);
			sbuf = content(w, 1, &ssize);
			/* a block that cannot be read cannot be kept */
			one_state(s, buf, size, k ? sbuf : NULL, ssize, nr);
			total_states++;
			free(buf);
			free(sbuf);
			end(w, dev, side);
		}
		CHECK(nr < 4000);
	}
}

static void scene_end(struct scene *s)
{
	fail_each(s);
	free(s->first.v);
	free(s->want.v);
}

/* ---- the scenes -------------------------------------------------------------------------- */

static struct image base(uint64_t b, uint64_t n, uint64_t start)
{
	return make_cache(b, n, start, ORIGIN_SECTORS, n / 3, false);
}

/* an entry that is free in @s */
static uint64_t free_entry(const struct image *s, uint64_t from)
{
	while (entry_seq(s, from) != WC_FREE)
		from = (from + 1) % sb_blocks(s);
	return from;
}

static void keeps_all(const struct scene *s, const struct image *e)
{
	uint64_t i;

	for (i = 0; i < sb_blocks(&s->first); i++)
		CHECK(same_block(&s->first, e, entry_sector(&s->first, i)));
	EQ(sb_seq(e), sb_seq(&s->first));
}

/* the lower index of each pair goes, with its block kept where it ties with the winner */
static void ties(void)
{
	struct scene s = { .name = "same sequence", .first = base(512, 120, 512) };
	uint64_t a = free_entry(&s.first, 3), b, c, d;

	/* a pair that wins */
	set_entry(&s.first, a, 3000, 5);
	b = free_entry(&s.first, a + 1);
	set_entry(&s.first, b, 3000, 5);
	s.gone[s.nr_gone++] = a < b ? a : b;
	/* a pair over an older copy, and a pair that a newer one beats */
	c = free_entry(&s.first, b);
	set_entry(&s.first, c, 3000, 2);
	d = free_entry(&s.first, c);
	set_entry(&s.first, d, 3008, 4);
	a = free_entry(&s.first, d);
	set_entry(&s.first, a, 3008, 4);
	b = free_entry(&s.first, a);
	set_entry(&s.first, b, 3008, 6);
	run_whole(&s, keeps_all);
	scene_end(&s);
}

static void loses_bad(const struct scene *s, const struct image *e)
{
	uint64_t i, bad = 0;

	for (i = 0; i < sb_blocks(&s->first); i++) {
		uint64_t sector = entry_sector(&s->first, i);

		if (sector % (sb_block_size(e) / 512) || sector >= ORIGIN_SECTORS) {
			CHECK(!served(e, sector));
			bad++;
		} else {
			CHECK(same_block(&s->first, e, sector));
		}
	}
	CHECK(bad >= 5);
}

/* unaligned, wrapping, past the end; with older copies, which must not come back */
static void without_a_home(void)
{
	struct scene s = { .name = "sectors without a home", .first = base(1024, 90, 0),
			   .origin_sectors = ORIGIN_SECTORS, .o.flags = DMFMT_REPAIR_YES, .accept = 4 };
	static const uint64_t sectors[] = { 3001, UINT64_MAX - 1, 5000, 4002 };
	unsigned i;

	for (i = 0; i < 4; i++) {
		uint64_t e = free_entry(&s.first, 7 * i), old;

		set_entry(&s.first, e, sectors[i], 5);
		s.gone[s.nr_gone++] = e;
		old = free_entry(&s.first, 80 - 9 * i);
		set_entry(&s.first, old, sectors[i], 1 + i % 3);
	}
	run_whole(&s, loses_bad);
	scene_end(&s);
}

static void all_free(const struct scene *s, const struct image *e)
{
	uint64_t i;

	for (i = 0; i < sb_blocks(e); i++)
		CHECK(entry_seq(e, i) == WC_FREE && entry_sector(e, i) == WC_FREE);
	(void)s;
}

static void interrupted_format(void)
{
	struct scene s = { .name = "interrupted format", .first = new_image(200 * 512 + 1024, true) };
	uint64_t i;

	s.first.start = 1024;
	set_superblock(&s.first, 512, most_blocks(s.first.size - 1024, 512), 0);
	for (i = 0; i < sb_blocks(&s.first); i++)
		set_entry(&s.first, i, WC_FREE, WC_FREE);
	put_le(s.first.v + 1024, 0, 4);
	run_whole(&s, all_free);
	scene_end(&s);
}

static struct image lvm_wiped(uint64_t b, uint64_t n)
{
	struct image s = base(b, n, 0);

	/* the newest epoch is there, whoever looks */
	set_entry(&s, n - 3, 3960, 6);
	memset(s.v, 0, 4096);
	return s;
}

static void is_rebuilt(const struct scene *s, const struct image *e, uint64_t seq)
{
	uint64_t i;

	EQ(sb_seq(e), seq);
	EQ(sb_blocks(e), most_blocks(s->first.size - s->first.start, sb_block_size(e)));
	for (i = 0; i < sb_blocks(e); i++) {
		if (i < 252)
			CHECK(entry_seq(e, i) == WC_FREE);
		else
			CHECK(entry_seq(e, i) == le(s->first.v + 64 + 16 * i + 8, 8) &&
			      entry_sector(e, i) == le(s->first.v + 64 + 16 * i, 8));
	}
}

static void rebuilt_max(const struct scene *s, const struct image *e)
{
	is_rebuilt(s, e, 7);	/* make_cache() has entries that were never committed: 7 */
}

static void rebuilt_next(const struct scene *s, const struct image *e)
{
	is_rebuilt(s, e, 8);
}

static void wiped_by_lvm(void)
{
	struct scene a = { .name = "wiped, max", .first = lvm_wiped(512, 400),
			   .o.flags = DMFMT_REPAIR_YES | DMFMT_REPAIR_REBUILD_HEADER | DMFMT_REPAIR_SEQ_MAX };
	struct scene b = a;
	size_t i;

	b.name = "wiped, max+1";
	b.first = copy_of(&a.first);
	b.o.flags ^= DMFMT_REPAIR_SEQ_MAX ^ DMFMT_REPAIR_SEQ_NEXT;
	for (i = 0; i < 252; i++)
		a.gone[i] = b.gone[i] = i;
	a.nr_gone = b.nr_gone = 252;
	run_whole(&a, rebuilt_max);
	run_whole(&b, rebuilt_next);
	/* thousands of reads and writes are alike here: only the first scene */
	free(b.first.v);
	free(b.want.v);
	scene_end(&a);
}

/* only 8 bytes are gone: seq_count is still there */
static void same_as_before(const struct scene *s, const struct image *e)
{
	CHECK(!memcmp(e->v + e->start + 8, s->first.v + s->first.start + 8,
		      e->size - e->start - 8));
}

static void magic_gone(void)
{
	struct scene s = { .name = "magic and version gone", .first = base(512, 300, 512),
			   .o.flags = DMFMT_REPAIR_YES | DMFMT_REPAIR_REBUILD_HEADER };

	memset(s.first.v + 512, 0, 8);
	run_whole(&s, same_as_before);
	scene_end(&s);
}

static void seq_is_8(const struct scene *s, const struct image *e)
{
	EQ(sb_seq(e), 8);
	CHECK(!memcmp(e->v + e->start + 32, s->first.v + s->first.start + 32, e->size - e->start - 32));
}

static void seq_is_9(const struct scene *s, const struct image *e)
{
	EQ(sb_seq(e), 9);
	CHECK(!memcmp(e->v + e->start + 32, s->first.v + s->first.start + 32, e->size - e->start - 32));
}

/* the superblock is older than the entries: nothing but seq_count moves */
static void rolled_back(void)
{
	struct scene a = { .name = "rolled back, max", .first = base(2048, 60, 0),
			   .o.flags = DMFMT_REPAIR_YES | DMFMT_REPAIR_SEQ_MAX };
	struct scene b = a;
	uint64_t e = free_entry(&a.first, 2);

	set_entry(&a.first, e, 3992, 8);
	put_le(a.first.v + 24, 3, 8);
	b.name = "rolled back, max+1";
	b.first = copy_of(&a.first);
	b.o.flags ^= DMFMT_REPAIR_SEQ_MAX ^ DMFMT_REPAIR_SEQ_NEXT;
	run_whole(&a, seq_is_8);
	run_whole(&b, seq_is_9);
	scene_end(&a);
	scene_end(&b);
}

/*
 * The newest copy of a sector lies on a known bad block: with the loss accepted it goes, and no older
 * copy comes back in its place.
 */
static void bad_block(void)
{
	struct scene s = { .first = base(1024, 90, 512), .o.flags = DMFMT_REPAIR_YES };
	struct image before;
	struct dmfmt_summary sum = { 0 };
	struct dmfmt_dev *dev = NULL;
	uint64_t e = free_entry(&s.first, 40), old, i;

	set_entry(&s.first, e, 3992, 5);
	old = free_entry(&s.first, 10);
	set_entry(&s.first, old, 3992, 2);
	before = copy_of(&s.first);
	EQ(dmfmt_dev_open_buffer(ctx, s.first.v, s.first.size, &dev), 0);
	dev->bad = malloc(sizeof(*dev->bad));
	dev->bad[0] = (struct dmfmt_range){ (uint64_t)(block_at(&s.first, e) - s.first.v), 512 };
	dev->nr_bad = 1;
	EQ(repair(&s, dev, NULL, 0, &sum), 0);
	CHECK(sum.fatal && sum.loss == 1 && !sum.mended && same(&s.first, &before));
	EQ(repair(&s, dev, NULL, 1, &sum), 0);
	CHECK(sum.mended && !sum.fatal && !sum.loss);
	CHECK(entry_seq(&s.first, e) == WC_FREE && entry_seq(&s.first, old) == WC_FREE);
	for (i = 0; i < sb_blocks(&before); i++)
		CHECK(entry_sector(&before, i) == 3992 ? !served(&s.first, 3992) :
		      same_block(&before, &s.first, entry_sector(&before, i)));
	dmfmt_dev_close(dev);
	free(before.v);
	free(s.first.v);
}

/* bytes that cannot be read until they were written */
struct hole {
	struct dmfmt_layer l;
	uint64_t at, len;
	bool healed;
};

static bool in_hole(const struct hole *h, uint64_t off, size_t len)
{
	return !h->healed && off < h->at + h->len && h->at < off + len;
}

static int hole_read(struct dmfmt_layer *l, uint64_t off, void *buf, size_t len)
{
	return in_hole((struct hole *)l, off, len) ? -EIO : l->lower->ops->read(l->lower, off, buf, len);
}

static int hole_write(struct dmfmt_layer *l, uint64_t off, const void *buf, size_t len)
{
	struct hole *h = (struct hole *)l;
	bool heals = in_hole(h, off, len);
	int ret = l->lower->ops->write(l->lower, off, buf, len);

	h->healed = h->healed || (!ret && heals);
	return ret;
}

static int hole_flush(struct dmfmt_layer *l)
{
	return l->lower->ops->flush(l->lower);
}

static void hole_close(struct dmfmt_layer *l)
{
	dmfmt_layer_close(l->lower);
	free(l);
}

static const struct dmfmt_layer_ops hole_ops = { .name = "hole", .read = hole_read, .write = hole_write,
						 .flush = hole_flush, .close = hole_close };

static struct hole *with_hole(const struct image *s, uint64_t at, uint64_t len, struct dmfmt_dev **dev)
{
	struct hole *h = calloc(1, sizeof(*h));

	*h = (struct hole){ .l.ops = &hole_ops, .at = at, .len = len };
	EQ(dmfmt_dev_open_buffer(ctx, s->v, s->size, dev), 0);
	dmfmt_dev_push(*dev, &h->l);
	return h;
}

/* 32 entries cannot be read: they become free, nothing else changes */
static void bad_entries(void)
{
	struct scene s = { .first = base(512, 120, 0), .o.flags = DMFMT_REPAIR_YES };
	struct image before = copy_of(&s.first);
	struct dmfmt_summary sum = { 0 };
	struct dmfmt_dev *dev = NULL;
	struct hole *h = with_hole(&s.first, 1024, 512, &dev);

	EQ(repair(&s, dev, NULL, 0, &sum), 0);
	CHECK(sum.fatal && sum.loss == 32 && !sum.mended && same(&s.first, &before));
	EQ(repair(&s, dev, NULL, 31, &sum), -EUCLEAN);
	CHECK(same(&s.first, &before));
	EQ(repair(&s, dev, NULL, 32, &sum), 0);
	CHECK(sum.mended && !sum.fatal && !sum.loss && h->healed);
	memset(before.v + 1024, 0xff, 512);
	CHECK(same(&s.first, &before));
	dmfmt_dev_close(dev);
	free(before.v);
	free(s.first.v);
}

/* the same with an undo file: what could not be read stays free, everything else comes back */
static void bad_entries_undone(void)
{
	struct scene s = { .first = base(512, 120, 0), .o.flags = DMFMT_REPAIR_YES };
	struct image before = copy_of(&s.first);
	struct dmfmt_dev *dev = NULL, *file = NULL;
	struct dmfmt_world *w = dmfmt_world_new();
	struct dmfmt_summary sum = { 0 };
	struct dmfmt_undo *u = NULL;
	struct hole *h;
	uint64_t a = free_entry(&s.first, 90);
	unsigned id;

	/* a pair that is mended in the same run, in sectors that can be read */
	set_entry(&s.first, a, 3000, 5);
	set_entry(&s.first, free_entry(&s.first, 95), 3000, 5);
	memcpy(before.v, s.first.v, s.first.size);
	h = with_hole(&s.first, 1024, 512, &dev);
	EQ(dmfmt_world_add(w, ctx, NULL, 0, 512, true, "undo", &id, &file), 0);
	EQ(dmfmt_dev_set_undo_dev(dev, file, "test"), 0);
	EQ(repair(&s, dev, NULL, 32, &sum), 0);
	CHECK(sum.mended && !sum.fatal && !sum.repairable);
	EQ(dmfmt_dev_sync(dev), 0);
	CHECK(h->healed);
	EQ(dmfmt_undo_finish(dev), 0);
	EQ(entry_seq(&s.first, 60), WC_FREE);
	EQ(entry_seq(&s.first, a), WC_FREE);
	dmfmt_dev_close(dev);
	EQ(dmfmt_dev_open_buffer(ctx, s.first.v, s.first.size, &dev), 0);
	EQ(dmfmt_undo_open_dev(ctx, file, &u), 0);
	EQ(dmfmt_undo_apply(u, dev), 0);
	memset(before.v + 1024, 0xff, 512);
	CHECK(same(&s.first, &before));
	dmfmt_undo_close(u);
	dmfmt_dev_close(dev);
	dmfmt_dev_close(file);
	dmfmt_world_free(w);
	free(before.v);
	free(s.first.v);
}

/* what cannot be read begins behind the superblock: not a byte behind its sector is written */
static void bad_first_entries(void)
{
	struct scene s = { .first = base(512, 120, 0), .o.flags = DMFMT_REPAIR_YES };
	struct image before;
	struct dmfmt_summary sum = { 0 };
	struct dmfmt_dev *dev = NULL;

	set_entry(&s.first, 29, 3992, 5);
	before = copy_of(&s.first);
	with_hole(&s.first, 64, 448, &dev);
	EQ(repair(&s, dev, NULL, 28, &sum), 0);
	CHECK(sum.mended && !sum.fatal);
	memset(before.v + 64, 0xff, 448);
	CHECK(same(&s.first, &before));
	dmfmt_dev_close(dev);
	free(before.v);
	free(s.first.v);
}

/* with 4096-byte blocks that begin elsewhere than the cache, one of them costs its own entries alone */
static void bad_device_block(void)
{
	struct scene s = { .first = base(512, 1000, 512), .o.flags = DMFMT_REPAIR_YES };
	struct dmfmt_summary sum = { 0 };
	struct dmfmt_dev *dev = NULL;

	with_hole(&s.first, 4096, 4096, &dev);
	dev->block = 4096;
	EQ(repair(&s, dev, NULL, 0, &sum), 0);
	EQ(sum.loss, 256);
	dmfmt_dev_close(dev);
	free(s.first.v);
}

/* a data block that only reading finds bad: what a check with the data finds is what is mended */
static void bad_data(void)
{
	struct scene s = { .first = base(1024, 90, 512), .o.flags = DMFMT_REPAIR_YES };
	struct dmfmt_summary sum = { 0 };
	struct dmfmt_dev *dev = NULL;
	uint64_t e = free_entry(&s.first, 40);

	set_entry(&s.first, e, 3992, 5);
	with_hole(&s.first, (uint64_t)(block_at(&s.first, e) - s.first.v), 512, &dev);
	EQ(repair(&s, dev, NULL, 1, &sum), -EUCLEAN);
	CHECK(entry_seq(&s.first, e) == 5);
	s.o.flags |= DMFMT_REPAIR_DATA;
	EQ(repair(&s, dev, NULL, 1, &sum), 0);
	CHECK(sum.mended && !sum.fatal && !sum.loss);
	CHECK(entry_seq(&s.first, e) == WC_FREE);
	dmfmt_dev_close(dev);
	free(s.first.v);
}

/*
 * Two copies with equal seq_counts, and the higher one's block is bad: the other one stays.  A second
 * pair, sound, loses its lower entry: that one's block is kept although a loss was accepted elsewhere.
 */
static void bad_tied_block(unsigned flags, uint64_t accept)
{
	struct scene s = { .first = base(1024, 90, 512), .o.flags = flags };
	struct dmfmt_dev *dev = NULL, *side = NULL;
	struct dmfmt_world *w = dmfmt_world_new();
	struct dmfmt_summary sum = { 0 };
	uint64_t a, b, c, d;
	uint8_t kept[1024];
	unsigned id;

	a = free_entry(&s.first, 10);
	set_entry(&s.first, a, 3992, 5);
	b = free_entry(&s.first, a + 1);
	set_entry(&s.first, b, 3992, 5);
	c = free_entry(&s.first, b + 1);
	set_entry(&s.first, c, 3984, 5);
	d = free_entry(&s.first, c + 1);
	set_entry(&s.first, d, 3984, 5);
	CHECK(a < b && b < c && c < d);
	EQ(dmfmt_dev_open_buffer(ctx, s.first.v, s.first.size, &dev), 0);
	EQ(dmfmt_world_add(w, ctx, NULL, 0, 512, true, "side", &id, &side), 0);
	dev->bad = malloc(sizeof(*dev->bad));
	dev->bad[0] = (struct dmfmt_range){ (uint64_t)(block_at(&s.first, b) - s.first.v), 512 };
	dev->nr_bad = 1;
	EQ(repair(&s, dev, side, accept, &sum), 0);
	CHECK(sum.mended);
	EQ(entry_seq(&s.first, a), 5);
	EQ(entry_seq(&s.first, b), WC_FREE);
	EQ(entry_seq(&s.first, c), WC_FREE);
	EQ(entry_seq(&s.first, d), 5);
	CHECK(side->size >= (c + 1) * 1024);
	EQ(dmfmt_dev_read(side, c * 1024, kept, 1024), 0);
	CHECK(!memcmp(kept, block_at(&s.first, c), 1024));
	/* nothing is left to be said */
	EQ(repair(&s, dev, NULL, 0, &sum), 0);
	CHECK(!sum.fatal && !sum.repairable);
	dmfmt_dev_close(dev);
	dmfmt_dev_close(side);
	dmfmt_world_free(w);
	free(s.first.v);
}

static void bad_tied_blocks(void)
{
	bad_tied_block(0, 0);
	bad_tied_block(DMFMT_REPAIR_YES, 1);
}

/* ---- one entry of zeros ------------------------------------------------------------------ */

static struct image one_zero(uint64_t n, uint32_t version)
{
	struct image s = new_image(meta_bytes(n, 4096) + n * 4096, true);
	uint64_t i;

	set_superblock(&s, 4096, n, 3);
	for (i = 0; i < n; i++)
		set_entry(&s, i, WC_FREE, WC_FREE);
	set_entry(&s, n - 1, 0, 0);
	put_le(s.v, 0, 4);
	put_le(s.v + 4, version, 4);
	return s;
}

static void zero_is_free(const struct scene *s, const struct image *e)
{
	EQ(entry_seq(e, sb_blocks(e) - 1), WC_FREE);
	CHECK(!served(e, 0));
	EQ(sb_seq(e), 3);
	(void)s;
}

static void zero_is_served(const struct scene *s, const struct image *e)
{
	EQ(entry_seq(e, sb_blocks(e) - 1), 0);
	CHECK(served(e, 0) == block_at(e, sb_blocks(e) - 1));
	(void)s;
}

/* the rest of a wipe is unknown, and its block kept; where no wipe can have been it is a block */
static void one_zero_entry(void)
{
	static const uint64_t counts[] = { 29, 61, 93 };
	struct scene s;
	unsigned i;

	for (i = 0; i < 3; i++) {
		s = (struct scene){ .name = "one zero of a wipe", .first = one_zero(counts[i], 1),
				    .o.flags = DMFMT_REPAIR_YES | DMFMT_REPAIR_REBUILD_HEADER };
		s.gone[s.nr_gone++] = counts[i] - 1;
		run_whole(&s, zero_is_free);
		free(s.first.v);
		free(s.want.v);
	}
	s = (struct scene){ .name = "8 bytes wiped", .first = one_zero(29, 0),
			    .o.flags = DMFMT_REPAIR_YES | DMFMT_REPAIR_REBUILD_HEADER };
	run_whole(&s, zero_is_served);
	free(s.first.v);
	free(s.want.v);
	s = (struct scene){ .name = "behind what a wipe reaches", .first = one_zero(253, 1),
			    .o.flags = DMFMT_REPAIR_YES | DMFMT_REPAIR_REBUILD_HEADER };
	run_whole(&s, zero_is_served);
	free(s.first.v);
	free(s.want.v);
}

/* ---- what is refused, and writes nothing ------------------------------------------------- */

static void refused(struct image first, unsigned flags, uint64_t accept, int want, const char *words)
{
	struct scene s = { .first = first, .o.flags = flags, .origin_sectors = ORIGIN_SECTORS };
	struct image before = copy_of(&first);
	struct dmfmt_summary sum = { 0 };
	struct dmfmt_dev *dev = NULL;

	EQ(dmfmt_dev_open_buffer(ctx, first.v, first.size, &dev), 0);
	EQ(repair(&s, dev, NULL, accept, &sum), want);
	CHECK(!sum.mended);
	if (words && !strstr(dmfmt_ctx_error(ctx), words)) {
		printf("# \"%s\", expected \"%s\"\n", dmfmt_ctx_error(ctx), words);
		CHECK(!"words");
	}
	CHECK(same(&first, &before));
	dmfmt_dev_close(dev);
	free(before.v);
	free(first.v);
}

static struct image bad_seq(void)
{
	struct image s = base(512, 60, 0);

	set_entry(&s, free_entry(&s, 2), 3992, 9);
	/* a tie: not mended either as long as nobody knows which entries are committed */
	set_entry(&s, free_entry(&s, 3), 3000, 2);
	set_entry(&s, free_entry(&s, 3), 3000, 2);
	return s;
}

static struct image truncated(void)
{
	struct image s = base(512, 60, 0);

	s.size -= 512 * 20;
	return s;
}

static struct image unaligned(void)
{
	struct image s = base(1024, 60, 0);

	set_entry(&s, free_entry(&s, 2), 3001, 5);
	return s;
}

static struct image foreign_version(void)
{
	struct image s = base(512, 60, 0);

	s.v[4] = 2;
	return s;
}

static void refusals(void)
{
	const unsigned y = DMFMT_REPAIR_YES, rebuild = DMFMT_REPAIR_REBUILD_HEADER;

	refused(bad_seq(), y, 0, 0, NULL);
	refused(bad_seq(), DMFMT_REPAIR_SEQ_MAX, 0, -EUCLEAN, "with -y");
	refused(base(512, 60, 0), y | DMFMT_REPAIR_SEQ_NEXT, 0, -EUCLEAN, "agrees with the entries");
	refused(truncated(), y, 0, 0, NULL);
	refused(truncated(), y | rebuild, 0, -EUCLEAN, "made smaller");
	refused(unaligned(), y, 0, 0, NULL);
	refused(unaligned(), y, 2, -EUCLEAN, "loss of 2 blocks was accepted, but the repair loses 1");
	refused(foreign_version(), y | rebuild | DMFMT_REPAIR_SEQ_NEXT, 0, 0, NULL);
	refused(lvm_wiped(512, 400), y, 0, 0, NULL);
	refused(lvm_wiped(512, 400), y | rebuild, 0, -EUCLEAN, "--seq-count=max (7: drops");
	refused(lvm_wiped(512, 400), rebuild | DMFMT_REPAIR_SEQ_MAX, 0, -EUCLEAN, "with -y");
	/* all entries were zeroed: nothing proves anything */
	refused(lvm_wiped(512, 240), y | rebuild | DMFMT_REPAIR_SEQ_MAX, 0, -EUCLEAN,
		"no block size is proven");
}

int main(void)
{
	ctx = dmfmt_ctx_new();
	RUN(ties);
	RUN(without_a_home);
	RUN(interrupted_format);
	RUN(wiped_by_lvm);
	RUN(magic_gone);
	RUN(rolled_back);
	RUN(bad_block);
	RUN(bad_entries);
	RUN(bad_entries_undone);
	RUN(bad_first_entries);
	RUN(bad_device_block);
	RUN(bad_data);
	RUN(bad_tied_blocks);
	RUN(one_zero_entry);
	RUN(refusals);
	printf("# %" PRId64 " states\n", total_states);
	dmfmt_ctx_free(ctx);
	return DONE();
}
