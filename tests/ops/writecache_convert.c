// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Caches of other block sizes, sizes and places, and another n_blocks in place: what they show, and
 * what a power cut or a failing device leaves of them.
 */
#include <errno.h>

#include "writecache_image.h"
#include "../../libdmfmt/io/fault.h"

#define EXHAUSTIVE_BITS 8
#define SAMPLED 60

static struct dmfmt_ctx *ctx;

struct counts {
	uint64_t dirty, needed, cache, origin, zero, n, before;
};

static int on_count(void *arg, const struct dmfmt_field *f)
{
	struct counts *c = arg;
	const struct {
		const char *name;
		uint64_t *to;
	} all[] = {
		{ "dirty_blocks", &c->dirty }, { "needed_sectors", &c->needed },
		{ "cache_bytes", &c->cache }, { "origin_bytes", &c->origin },
		{ "zero_bytes", &c->zero }, { "n_blocks", &c->n }, { "n_blocks_before", &c->before },
	};
	size_t i;

	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (!strcmp(all[i].name, f->name))
			*all[i].to = f->u;
	return 0;
}

/* @o NULL: not at hand; @to NULL: only the size */
static int convert_dev(struct dmfmt_dev *dev, struct dmfmt_dev *o, uint64_t b, unsigned flags,
		       struct dmfmt_dev *to, struct counts *c, uint64_t *needed)
{
	struct dmfmt_writecache_params p = { .size = sizeof(p), .block_bytes = b, .flags = flags };
	struct dmfmt *f = NULL;
	int ret = dmfmt_open(ctx, dev, "writecache", 0, &f);

	if (ret)
		return ret;
	if (o)
		EQ(dmfmt_set_origin(f, o), 0);
	ret = to ? dmfmt_writecache_convert(f, to, &p, on_count, c) :
		   dmfmt_writecache_convert_size(f, &p, needed);
	dmfmt_close(f);
	return ret;
}

static int convert(const struct image *from, const struct image *origin, uint64_t b, unsigned flags,
		   struct dmfmt_dev *to, struct counts *c, uint64_t *needed)
{
	struct dmfmt_dev *dev = device_of(ctx, from), *o = origin ? device_of(ctx, origin) : NULL;
	int ret = convert_dev(dev, o, b, flags, to, c, needed);

	dmfmt_dev_close(dev);
	dmfmt_dev_close(o);
	return ret;
}

static int convert_to(const struct image *from, const struct image *origin, uint64_t b, unsigned flags,
		      const struct image *to, struct counts *c)
{
	struct dmfmt_dev *dev = device_of(ctx, to);
	int ret = convert(from, origin, b, flags, dev, c, NULL);

	dmfmt_dev_close(dev);
	return ret;
}

/* S is 1; entries 0 to @nr-1 are committed and ascending, the others as the kernel formats them */
static void is_dense(const struct image *s, uint64_t b, uint64_t nr)
{
	uint64_t i;

	EQ(fate(s), LOADS);
	EQ(sb_block_size(s), b);
	EQ(sb_blocks(s), most_blocks(s->size - s->start, b));
	EQ(sb_seq(s), 1);
	for (i = 0; i < sb_blocks(s); i++) {
		if (i < nr)
			CHECK(!entry_seq(s, i) && !(entry_sector(s, i) % (b / 512)) &&
			      (!i || entry_sector(s, i) > entry_sector(s, i - 1)));
		else
			CHECK(entry_seq(s, i) == WC_FREE && entry_sector(s, i) == WC_FREE);
	}
	for (i = 64 + 16 * sb_blocks(s); i < meta_bytes(sb_blocks(s), b); i++)
		CHECK(!s->v[s->start + i]);
}

static void no_findings(const struct image *s, const struct image *origin)
{
	struct dmfmt_summary sum = { .size = sizeof(sum) };
	struct dmfmt_dev *dev = device_of(ctx, s), *o = device_of(ctx, origin);
	struct dmfmt_report *r = NULL;
	struct dmfmt *f = NULL;

	EQ(dmfmt_open(ctx, dev, "writecache", 0, &f), 0);
	EQ(dmfmt_set_origin(f, o), 0);
	EQ(dmfmt_check(f, 0, 0, &r), 0);
	dmfmt_report_summary(r, &sum);
	EQ(sum.fatal + sum.repairable + sum.notes, 0);
	dmfmt_report_free(r);
	dmfmt_close(f);
	dmfmt_dev_close(dev);
	dmfmt_dev_close(o);
}

/* the smallest device, full of old bytes, gets the new cache; one sector less is refused untouched */
static void convert_and_look(const struct image *from, const struct image *origin, uint64_t b,
			     uint64_t start)
{
	uint8_t *want = malloc(origin->size), *got = malloc(origin->size);
	struct image to, small, before;
	struct counts c = { 0 };
	uint64_t needed = 0;

	view(from, origin, want);
	EQ(convert(from, origin, b, 0, NULL, NULL, &needed), 0);
	to = new_image(start + needed * 512, true);
	to.start = start;
	before = copy_of(&to);
	EQ(convert_to(from, origin, b, 0, &to, &c), 0);
	is_dense(&to, b, c.dirty);
	EQ(view(&to, origin, got), c.dirty);
	CHECK(!memcmp(got, want, origin->size));
	CHECK(!memcmp(to.v, before.v, start));
	EQ(c.needed, needed);
	EQ(c.cache + c.origin + c.zero, c.dirty * b);
	no_findings(&to, origin);

	small = (struct image){ before.v, before.size - 512, start };
	free(to.v);
	to = copy_of(&small);
	if (c.dirty) {
		EQ(convert_to(from, origin, b, 0, &small, &c), -ENOSPC);
		CHECK(strstr(dmfmt_ctx_error(ctx), "expected at least") != NULL);
		CHECK(same(&small, &to));
	}
	free(before.v);
	free(to.v);
	free(want);
	free(got);
}

static void every_size_to_every_size(void)
{
	static const unsigned parts[] = { 0, 1, 5, 27, 28, 29, 64 };
	uint64_t from, to;
	unsigned i;

	for (from = 512; from <= 8192; from *= 4)
		for (to = 512; to <= 65536; to *= 2)
			for (i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
				/* whole new blocks, so that no table length is refused */
				uint64_t bytes = (129 * from + 65535) / 65536 * 65536;
				struct image origin = new_image(bytes, true);
				struct image s = make_cache(from, 70 + i, i % 3 * 4096, bytes / 512,
							    parts[i], i % 2);

				convert_and_look(&s, &origin, to, i % 2 * 8192);
				free(s.v);
				free(origin.v);
			}
}

/* down is lossless without the origin, and up again gives the same cache */
static void there_and_back(void)
{
	struct image s = make_cache(4096, 100, 0, 1600, 90, false), small, back, dense;
	struct image origin = new_image(1600 * 512, true);
	uint64_t needed = 0, b;
	struct counts c;

	EQ(convert(&s, NULL, 0, 0, NULL, NULL, &needed), 0);
	dense = new_image(needed * 512, false);
	EQ(convert_to(&s, NULL, 0, 0, &dense, &c), 0);
	EQ(c.dirty, 90);
	for (b = 512; b < 4096; b *= 2) {
		EQ(convert(&s, NULL, b, 0, NULL, NULL, &needed), 0);
		small = new_image(needed * 512, true);
		EQ(convert_to(&s, NULL, b, 0, &small, &c), 0);
		EQ(c.dirty, 90 * 4096 / b);
		is_dense(&small, b, c.dirty);
		/* every block is whole: nothing of the origin is needed */
		back = new_image(dense.size, true);
		EQ(convert_to(&small, NULL, 4096, 0, &back, &c), 0);
		EQ(c.origin + c.zero, 0);
		CHECK(same(&back, &dense));
		free(back.v);
		free(small.v);
	}
	free(dense.v);
	free(origin.v);
	free(s.v);
}

/* what a larger block lacks is counted, and nothing is written without the origin */
static void incomplete_blocks_are_counted(void)
{
	uint64_t i, k, b, n, lacking, needed = 0;
	struct image origin = new_image(4096 * 512, true);
	struct image s = make_cache(512, 900, 0, 4096, 800, false), to, before;
	char words[100];
	struct counts c;

	for (b = 1024; b <= 65536; b *= 4) {
		for (i = n = lacking = 0; i < origin.size / b; i++) {
			uint64_t have = 0;

			for (k = 0; k < b / 512; k++)
				have += winner(&s, i * (b / 512) + k) >= 0;
			n += have && have < b / 512;
			lacking += have ? b / 512 - have : 0;
		}
		to = new_image(16 << 20, true);
		before = copy_of(&to);
		EQ(convert_to(&s, NULL, b, 0, &to, &c), -EUCLEAN);
		snprintf(words, sizeof(words), ": %" PRIu64 " of the new blocks of %" PRIu64
			 " bytes are not whole (%" PRIu64 " sectors", n, b, lacking);
		CHECK(strstr(dmfmt_ctx_error(ctx), words) != NULL);
		CHECK(same(&to, &before));
		EQ(convert(&s, NULL, b, 0, NULL, NULL, &needed), -EUCLEAN);
		EQ(convert_to(&s, &origin, b, 0, &to, &c), 0);
		EQ(c.origin, lacking * 512);
		free(to.v);
		free(before.v);
	}
	free(s.v);
	free(origin.v);
}

/* blocks past the end of the origin at hand are kept as they are, whole */
static void past_the_end(void)
{
	struct image all = new_image(800 * 512, true), origin = { all.v, 333 * 512, 0 }, to;
	struct image s = make_cache(4096, 100, 0, 800, 80, false);
	uint8_t *want = malloc(all.size), *got = malloc(all.size);
	uint64_t b;
	struct counts c;

	memset(all.v + origin.size, 0, all.size - origin.size);
	view(&s, &all, want);
	for (b = 512; b <= 16384; b *= 2) {
		to = new_image(4 << 20, true);
		EQ(convert_to(&s, &origin, b, 0, &to, &c), 0);
		is_dense(&to, b, c.dirty);
		EQ(view(&to, &all, got), c.dirty);
		CHECK(!memcmp(got, want, all.size));
		free(to.v);
	}
	free(want);
	free(got);
	free(s.v);
	free(all.v);
}

static void what_is_refused(void)
{
	struct image s = make_cache(4096, 100, 0, 800, 80, false), to = new_image(1 << 20, false);
	struct image before = copy_of(&to), origin = new_image(800 * 512, true);
	struct dmfmt_writecache_params p = { .size = sizeof(p) };
	struct dmfmt_dev *dev = device_of(ctx, &s), *o = device_of(ctx, &origin);
	struct counts c = { 0 };
	struct dmfmt *f = NULL;

	EQ(convert_to(&s, NULL, 768, 0, &to, &c), -EINVAL);
	EQ(convert_to(&s, NULL, 131072, 0, &to, &c), -EINVAL);
	EQ(convert_to(&s, NULL, 512, 2, &to, &c), -EINVAL);
	EQ(dmfmt_open(ctx, dev, "writecache", 0, &f), 0);
	EQ(dmfmt_set_origin(f, o), 0);
	EQ(dmfmt_writecache_convert(f, dev, &p, NULL, NULL), -EINVAL);
	EQ(dmfmt_writecache_convert(f, o, &p, NULL, NULL), -EINVAL);
	EQ(dmfmt_writecache_convert(f, NULL, &p, NULL, NULL), -EINVAL);
	EQ(dmfmt_writecache_convert_size(f, NULL, &c.needed), -EINVAL);
	dmfmt_close(f);
	CHECK(same(&to, &before));
	/* a cache is not overwritten unless that is asked for */
	EQ(convert_to(&s, NULL, 512, 0, &to, &c), 0);
	memcpy(before.v, to.v, to.size);
	EQ(convert_to(&s, NULL, 1024, 0, &to, &c), -EEXIST);
	CHECK(same(&to, &before));
	EQ(convert_to(&s, NULL, 1024, DMFMT_CREATE_FORCE, &to, &c), 0);
	is_dense(&to, 1024, 320);
	/* entries newer than the superblock: nobody knows what the cache holds */
	put_le(s.v + 24, 3, 8);
	memcpy(before.v, to.v, to.size);
	EQ(convert_to(&s, NULL, 512, DMFMT_CREATE_FORCE, &to, &c), -EUCLEAN);
	CHECK(same(&to, &before));
	dmfmt_dev_close(o);
	dmfmt_dev_close(dev);
	free(origin.v);
	free(before.v);
	free(to.v);
	free(s.v);
}

/* how often reading the map began anew */
struct passes {
	uint64_t done;
	unsigned nr;
};

static int on_progress(void *arg, const struct dmfmt_progress *p)
{
	struct passes *x = arg;

	if (strcmp(p->what, "reading the map"))
		return 0;
	x->nr += p->done <= x->done || !x->nr;
	x->done = p->done;
	return 0;
}

/* more extents than the map holds at once */
static void in_little_memory(void)
{
	struct passes passes = { 0 };
	uint64_t n = 300000, i;
	struct image s = new_image(meta_bytes(n, 512) + n * 512, false), to;
	struct counts c = { 0 };
	bool ok = true;

	set_superblock(&s, 512, n, 2);
	/* every other sector, backwards: no two of them join */
	for (i = 0; i < n; i++) {
		set_entry(&s, i, 2 * (n - 1 - i), 1);
		put_le(s.v + meta_bytes(n, 512) + i * 512, i ^ 0x5a5a5a, 8);
	}
	to = new_image(s.size, false);
	dmfmt_ctx_set_memory(ctx, 16 << 20);
	dmfmt_ctx_set_progress(ctx, on_progress, &passes);
	EQ(convert_to(&s, NULL, 512, 0, &to, &c), 0);
	dmfmt_ctx_set_progress(ctx, NULL, NULL);
	/* it is gone over twice: to count, and to write */
	CHECK(passes.nr > 2);
	dmfmt_ctx_set_memory(ctx, 64 << 20);
	EQ(c.dirty, n);
	EQ(fate(&to), LOADS);
	for (i = 0; i < n && ok; i++)
		ok = entry_sector(&to, i) == 2 * i && !entry_seq(&to, i) &&
		     le(to.v + meta_bytes(n, 512) + i * 512, 8) == ((n - 1 - i) ^ 0x5a5a5a);
	CHECK(ok);
	free(to.v);
	free(s.v);
}

/* ---- in place ---------------------------------------------------------------------------------- */

static int resize(const struct image *s, uint64_t sectors, struct counts *c)
{
	struct dmfmt_dev *dev = device_of(ctx, s);
	struct dmfmt *f = NULL;
	int ret;

	EQ(dmfmt_open(ctx, dev, "writecache", 0, &f), 0);
	ret = dmfmt_writecache_resize(f, sectors, on_count, c);
	dmfmt_close(f);
	dmfmt_dev_close(dev);
	return ret;
}

static struct image grown(const struct image *from, uint64_t bytes)
{
	struct image s = new_image(from->size + bytes, true);

	s.start = from->start;
	memcpy(s.v, from->v, from->size);
	return s;
}

/* every size that a device can have: done if no block moves, refused untouched if one would */
static void resize_grows(void)
{
	static const uint64_t counts[] = { 1, 20, 27, 28, 60, 61, 250, 252, 253, 500 };
	uint64_t b, more;
	unsigned i;

	for (b = 512; b <= 4096; b *= 8)
		for (i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
			for (more = 0; more < 12 * b; more += more < 4 * b ? 512 : b) {
				uint64_t n = counts[i], start = i % 2 * 4096, k;
				uint64_t blocks = (3 * n + 8) / 4 * 4;
				struct image old = make_cache(b, n, start, blocks * b / 512, n * 2 / 3,
							      false), s = grown(&old, more), before;
				struct image origin = new_image(blocks * b, true);
				uint8_t *want = malloc(origin.size), *got = malloc(origin.size);
				uint64_t most = most_blocks(s.size - start, b);
				struct counts c = { 0 };

				before = copy_of(&s);
				view(&old, &origin, want);
				if (meta_bytes(most, b) == meta_bytes(n, b)) {
					EQ(resize(&s, 0, &c), 0);
					EQ(sb_blocks(&s), most);
					EQ(c.n, most);
					EQ(c.before, n);
					for (k = n; k < most; k++)
						CHECK(entry_seq(&s, k) == WC_FREE);
					/* nothing else has changed */
					put_le(s.v + start + 16, n, 8);
					memcpy(entry_at(&s, n), entry_at(&before, n), 16 * (most - n));
					CHECK(same(&s, &before));
				} else {
					EQ(resize(&s, 0, &c), -EUCLEAN);
					CHECK(same(&s, &before));
				}
				view(&s, &origin, got);
				CHECK(!memcmp(got, want, origin.size));
				free(want);
				free(got);
				free(origin.v);
				free(before.v);
				free(s.v);
				free(old.v);
			}
}

/* slots that go must be free, whatever they hold: committed, superseded, never committed */
static void resize_shrinks(void)
{
	static const uint64_t seqs[] = { 0, 3, 7, 1ull << 40 };
	struct image s = make_cache(4096, 250, 4096, 4096, 200, false), before;
	uint64_t i, last = 0, size = s.size - s.start;
	struct counts c = { 0 };

	for (i = 0; i < 250; i++)
		if (entry_seq(&s, i) != WC_FREE)
			last = i;
	for (i = last + 1; i < 250; i++)
		CHECK(entry_seq(&s, i) == WC_FREE);
	/* free what lies above 200, by the test's own hand */
	for (i = 200; i < 250; i++)
		put_le(entry_at(&s, i) + 8, WC_FREE, 8);
	for (i = 0; i < sizeof(seqs) / sizeof(seqs[0]); i++) {
		put_le(entry_at(&s, 205) + 8, seqs[i], 8);
		put_le(entry_at(&s, 205), 4096 * 8, 8);
		before = copy_of(&s);
		EQ(resize(&s, (size - 45 * 4096) / 512, &c), -EUCLEAN);
		/* the last one is newer than the superblock, which is damage */
		CHECK(strstr(dmfmt_ctx_error(ctx), seqs[i] < 8 ? "entry 205" : "entry") != NULL);
		CHECK(same(&s, &before));
		free(before.v);
		if (seqs[i] < 8) {
			before = copy_of(&s);
			EQ(resize(&before, (size - 44 * 4096) / 512, &c), 0);
			EQ(sb_blocks(&before), 206);
			free(before.v);
		}
	}
	put_le(entry_at(&s, 205) + 8, WC_FREE, 8);
	EQ(resize(&s, (size - 45 * 4096) / 512 - 3, &c), 0);
	EQ(sb_blocks(&s), 204);
	EQ(c.before, 250);
	/* and back again: what stands in the slots that come is not taken for theirs */
	memset(entry_at(&s, 204), 0, 46 * 16);
	EQ(resize(&s, 0, &c), 0);
	EQ(sb_blocks(&s), 250);
	for (i = 204; i < 250; i++)
		CHECK(entry_seq(&s, i) == WC_FREE);
	before = copy_of(&s);
	EQ(resize(&s, 0, &c), 0);
	EQ(resize(&s, size / 512 + 1, &c), -ERANGE);
	EQ(resize(&s, 1, &c), -EUCLEAN);
	CHECK(same(&s, &before));
	free(before.v);
	free(s.v);
}

/* the sizes that the message names are those that work, and the next ones are not */
static void resize_says_what_works(void)
{
	struct image s = make_cache(4096, 300, 0, 4096, 10, true), large = grown(&s, 4 << 20);
	unsigned long long n = 0, least = 0, most = 0, from = 0, to = 0;
	struct counts c = { 0 };
	const char *p;

	/* ten blocks in a row at the start; all others free */
	EQ(resize(&large, 0, &c), -EUCLEAN);
	p = strstr(dmfmt_ctx_error(ctx), "would become");
	CHECK(p && sscanf(p, "would become %llu and every data block would have to move, expected %llu to %llu blocks: %llu to %llu sectors",
			  &n, &least, &most, &from, &to) == 5);
	EQ(least, 253);
	EQ(most, 508);
	EQ(n, most_blocks(large.size, 4096));
	EQ(resize(&large, to + 1, &c), -EUCLEAN);
	EQ(resize(&large, to, &c), 0);
	EQ(sb_blocks(&large), most);
	EQ(resize(&large, from - 1, &c), -EUCLEAN);
	EQ(resize(&large, from, &c), 0);
	EQ(sb_blocks(&large), least);
	free(large.v);
	free(s.v);
}

/* ---- power cuts and failing devices ------------------------------------------------------------ */

/*
 * struct cut - one piece of work on a device that holds @old
 * @from, @origin: convert; @from.v NULL: resize to @sectors
 */
struct cut {
	struct image from, origin, old;
	uint64_t block_size, sectors;
	uint8_t *want, *got;
	uint64_t complete, untouched, refused;
};

static int cut_run(struct cut *c, struct dmfmt_dev *dev)
{
	struct counts counts;
	struct dmfmt *f = NULL;
	int ret;

	if (c->from.v)
		return convert(&c->from, &c->origin, c->block_size, DMFMT_CREATE_FORCE, dev, &counts,
			       NULL);
	ret = dmfmt_open(ctx, dev, "writecache", 0, &f);
	if (!ret)
		ret = dmfmt_writecache_resize(f, c->sectors, on_count, &counts);
	dmfmt_close(f);
	return ret;
}

/* the new cache complete, the old one untouched, or what the kernel neither loads nor formats; after a
 * resize always the same content */
static void cut_look(struct cut *c, const struct image *s)
{
	switch (fate(s)) {
	case REFUSES:
		CHECK(c->from.v != NULL);
		c->refused++;
		break;
	case FORMATS:
		CHECK(fate(&c->old) == FORMATS && same(s, &c->old));
		c->untouched++;
		break;
	default:
		if (same(s, &c->old)) {
			c->untouched++;
			break;
		}
		view(s, &c->origin, c->got);
		CHECK(!memcmp(c->got, c->want, c->origin.size));
		c->complete += c->from.v || sb_blocks(s) != sb_blocks(&c->old);
		if (c->from.v)
			is_dense(s, c->block_size, view(s, &c->origin, c->got));
	}
}

static int cut_state(void *arg, uint64_t nr_writes, void **bufs, const uint64_t *sizes,
		     unsigned nr_devs)
{
	struct cut *c = arg;
	struct image s = { bufs[0], (size_t)sizes[0], c->old.start };
	unsigned before = tap_failed_checks;

	EQ(nr_devs, 1);
	cut_look(c, &s);
	return tap_failed_checks == before ? 0 : -EUCLEAN;
}

static struct dmfmt_dev *world_device(struct dmfmt_world *w, const struct image *i, const char *name)
{
	struct dmfmt_dev *dev = NULL;
	unsigned id;

	EQ(dmfmt_world_add(w, ctx, i->v, i->size, 512, false, name, &id, &dev), 0);
	EQ(dmfmt_dev_set_start(dev, i->start / 512), 0);
	return dev;
}

/* the same with everything that is read in the world, too; and none of that has changed */
static int cut_run_in(struct dmfmt_world *w, struct cut *c, struct dmfmt_dev *to)
{
	struct dmfmt_dev *dev, *o;
	struct counts counts;
	int ret;

	if (!c->from.v)
		return cut_run(c, to);
	dev = world_device(w, &c->from, "from");
	o = world_device(w, &c->origin, "origin");
	ret = convert_dev(dev, o, c->block_size, DMFMT_CREATE_FORCE, to, &counts, NULL);
	EQ(dev->bytes_written + o->bytes_written, 0);
	dmfmt_dev_close(dev);
	dmfmt_dev_close(o);
	return ret;
}

static void cuts(struct cut *c, const char *what)
{
	struct dmfmt_world *w = dmfmt_world_new();
	struct dmfmt_dev *dev = world_device(w, &c->old, "to");
	uint64_t reads, writes, flushes;
	int64_t states;

	EQ(cut_run(c, dev), 0);
	states = dmfmt_world_each_state(w, EXHAUSTIVE_BITS, SAMPLED, 1, cut_state, c);
	CHECK(states > 0);
	CHECK(c->complete > 0);
	CHECK(c->untouched > 0);
	CHECK(!c->from.v || c->refused > 0);
	printf("# %s: %" PRId64 " states, %" PRIu64 " complete, %" PRIu64 " untouched, %" PRIu64
	       " refused by the kernel\n", what, states, c->complete, c->untouched, c->refused);
	/* whoever is told that it is done may rely on it: of what follows only one block is pending */
	dmfmt_world_counts(w, &reads, &writes, &flushes);
	EQ(dmfmt_dev_write(dev, c->old.size - 512, c->old.v, 512), 0);
	EQ(dmfmt_world_pending(w, writes + 1), 1);
	dmfmt_dev_close(dev);
	dmfmt_world_free(w);
}

static void fail_each(struct cut *c, const char *what)
{
	static const enum dmfmt_fault faults[] = {
		DMFMT_FAULT_WRITE_EIO, DMFMT_FAULT_WRITE_SHORT, DMFMT_FAULT_WRITE_ENOSPC,
		DMFMT_FAULT_FLUSH_LOST, DMFMT_FAULT_READ_EIO,
	};
	uint64_t reads, writes, flushes, nr, most, runs = 0;
	unsigned i;

	for (i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		for (nr = most = 0; !nr || nr <= most; nr++, runs++) {
			struct dmfmt_world *w = dmfmt_world_new();
			struct dmfmt_dev *dev = world_device(w, &c->old, "to");
			struct image s = copy_of(&c->old);
			int ret;

			dmfmt_world_cue(w, faults[i], nr);
			ret = cut_run_in(w, c, dev);
			dmfmt_world_counts(w, &reads, &writes, &flushes);
			most = i < 3 ? writes : i == 3 ? flushes : reads;
			/* what looks for other superblocks can do without a sector */
			if (nr >= most)
				EQ(ret, 0);
			else if (!ret)
				EQ(faults[i], DMFMT_FAULT_READ_EIO);
			else
				CHECK(*dmfmt_ctx_error(ctx));
			if (dmfmt_dev_read(dev, 0, s.v, s.size))
				EQ(dmfmt_dev_read(dev, 0, s.v, s.size), 0);
			cut_look(c, &s);
			dmfmt_dev_close(dev);
			/* once more, on what is left */
			dev = device_of(ctx, &s);
			EQ(cut_run(c, dev), 0);
			dmfmt_dev_close(dev);
			view(&s, &c->origin, c->got);
			CHECK(!memcmp(c->got, c->want, c->origin.size));
			free(s.v);
			dmfmt_world_free(w);
		}
	printf("# %s: %" PRIu64 " faults\n", what, runs);
	CHECK(runs > 10);
}

/* a stop at each point at which one can be asked for */
static int stop_at(void *arg, const struct dmfmt_progress *p)
{
	uint64_t *left = arg;

	return !(*left)--;
}

static void stop_each(struct cut *c, const char *what)
{
	struct image s = copy_of(&c->old);
	uint64_t nr, left, stops = 0;
	struct dmfmt_dev *dev;
	int ret = -ECANCELED;

	for (nr = 0; ret && nr < 1000; nr++) {
		memcpy(s.v, c->old.v, s.size);
		dev = device_of(ctx, &s);
		left = nr;
		dmfmt_ctx_set_progress(ctx, stop_at, &left);
		ret = cut_run(c, dev);
		dmfmt_ctx_set_progress(ctx, NULL, NULL);
		dmfmt_dev_close(dev);
		stops += !!ret;
		if (ret) {
			EQ(ret, -ECANCELED);
			cut_look(c, &s);
		}
	}
	EQ(ret, 0);
	CHECK(stops > 1);
	printf("# %s: %" PRIu64 " stops\n", what, stops);
	free(s.v);
}

/* on a larger device; the gap behind the entries holds what the kernel would take for some, and
 * nobody else would */
static struct image on_device(struct image s, size_t size)
{
	struct image d = new_image(size, false);
	uint64_t i, n = sb_blocks(&s), end = (meta_bytes(n, sb_block_size(&s)) - 64) / 16;

	memcpy(d.v, s.v, s.size);
	d.start = s.start;
	for (i = n; i < end; i++)
		set_entry(&d, i, sb_block_size(&s) > 512 ? 8 * i + 3 : UINT64_MAX, 3);
	free(s.v);
	return d;
}

static void each_case(void (*fn)(struct cut *c, const char *what))
{
	enum { SECTORS = 1024, SIZE = 900 * 512 };
	struct image origin = new_image(SECTORS * 512, true);
	struct cut cut[] = {
		{ .from = make_cache(4096, 40, 0, SECTORS, 30, false), .block_size = 512,
		  .old = on_device(make_cache(512, 300, 4096, SECTORS, 280, true), SIZE) },
		{ .from = make_cache(512, 200, 8192, SECTORS, 150, false), .block_size = 4096,
		  .old = on_device(make_cache(4096, 60, 0, SECTORS, 50, false), SIZE) },
		{ .from = make_cache(1024, 100, 0, SECTORS, 90, false), .block_size = 1024,
		  .old = new_image(SIZE, false) },
		{ .old = on_device(make_cache(4096, 60, 4096, SECTORS, 50, false), SIZE), .sectors = 0 },
		{ .old = on_device(make_cache(512, 22, 0, SECTORS, 20, true), 26 * 512) },
	};
	static const char *const names[] = {
		"split over a cache", "join over a cache", "copy on zeros", "grow in place",
		"grow inside the first sector",
	};
	unsigned i;

	for (i = 0; i < sizeof(cut) / sizeof(cut[0]); i++) {
		cut[i].origin = origin;
		cut[i].want = malloc(origin.size);
		cut[i].got = malloc(origin.size);
		view(cut[i].from.v ? &cut[i].from : &cut[i].old, &origin, cut[i].want);
		fn(&cut[i], names[i]);
		free(cut[i].from.v);
		free(cut[i].old.v);
		free(cut[i].want);
		free(cut[i].got);
	}
	free(origin.v);
}

static void power_cuts(void)
{
	each_case(cuts);
}

static void failing_devices(void)
{
	each_case(fail_each);
}

static void stopped(void)
{
	each_case(stop_each);
}

int main(void)
{
	ctx = dmfmt_ctx_new();
	RUN(every_size_to_every_size);
	RUN(there_and_back);
	RUN(incomplete_blocks_are_counted);
	RUN(past_the_end);
	RUN(what_is_refused);
	RUN(in_little_memory);
	RUN(resize_grows);
	RUN(resize_shrinks);
	RUN(resize_says_what_works);
	RUN(power_cuts);
	RUN(failing_devices);
	RUN(stopped);
	dmfmt_ctx_free(ctx);
	return DONE();
}
