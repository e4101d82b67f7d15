// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Random caches against a model of what the kernel keeps at recovery: who wins, who loses, what would be
 * served; with so little memory that the blocks take rounds, windows and partitions.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../libdmfmt/core/map.h"
#include "../../libdmfmt/core/core.h"
#include "../../libdmfmt/ops/writecache.h"
#include "../lib/tap.h"

#define MOST 600u

static struct dmfmt_ctx *ctx;
static uint64_t rng = 0x2545f4914f6cdd1dull;

static uint64_t rnd(uint64_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng % n;
}

/*
 * @sector, @seq: the entries; @wins: this one is what the kernel would serve
 * @groups, @losers: what the model counts
 */
struct cache {
	uint8_t *bytes;
	uint64_t size;
	uint32_t block, n;
	uint64_t start, limit;
	uint64_t sector[MOST], seq[MOST];
	bool wins[MOST];
	uint64_t groups, losers, dirty;
	struct dmfmt_dev *dev;
	struct dmfmt *f;
};

static void put_entries(struct cache *c)
{
	struct wc_superblock sb = { DMFMT_WC_MAGIC, 1, c->block, 0, c->n, c->limit };
	uint32_t i;

	dmfmt_wc_superblock_encode(&sb, (struct wc_superblock_disk *)(void *)(c->bytes + c->start));
	for (i = 0; i < c->n; i++)
		dmfmt_wc_entry_encode(c->sector[i], c->seq[i],
				      (struct wc_entry_disk *)(void *)(c->bytes + c->start + 64) + i);
}

/* the kernel's recovery, entry by entry (a table of all sectors) */
static void model(struct cache *c)
{
	uint32_t i, j;

	c->groups = c->losers = c->dirty = 0;
	memset(c->wins, 0, sizeof(c->wins));
	for (i = 0; i < c->n; i++) {
		uint32_t best = i, copies = 0, first = i;

		if (c->seq[i] >= c->limit)
			continue;
		for (j = 0; j < c->n; j++) {
			if (c->seq[j] >= c->limit || c->sector[j] != c->sector[i])
				continue;
			copies++;
			if (j < first)
				first = j;
			if (c->seq[j] > c->seq[best] || (c->seq[j] == c->seq[best] && j > best))
				best = j;
		}
		c->wins[i] = best == i;
		c->dirty += best == i;
		c->losers += best != i;
		c->groups += copies > 1 && first == i;
	}
}

/* @spread: blocks of the origin; @epochs: few of them make ties */
static void make(struct cache *c, uint64_t spread, uint64_t epochs)
{
	uint32_t i;

	memset(c, 0, sizeof(*c));
	c->block = 512u << rnd(4);
	c->start = rnd(2) ? 0 : 512 * (1 + rnd(20));
	c->n = 1 + (uint32_t)rnd(MOST);
	c->limit = epochs;
	c->size = (c->start + dmfmt_wc_metadata_bytes(c->n, c->block) + (uint64_t)c->n * c->block +
		   511) / 512 * 512;
	c->bytes = calloc(1, c->size);
	for (i = 0; i < c->n; i++) {
		c->sector[i] = rnd(spread) * (c->block >> 9);
		c->seq[i] = rnd(10) < 7 ? rnd(epochs) : rnd(3) ? DMFMT_WC_FREE : epochs;
	}
	put_entries(c);
	model(c);
	EQ(dmfmt_dev_open_buffer(ctx, c->bytes, c->size, &c->dev), 0);
	EQ(dmfmt_dev_set_start(c->dev, c->start / 512), 0);
	EQ(dmfmt_open(ctx, c->dev, "writecache", 0, &c->f), 0);
}

static void drop(struct cache *c)
{
	dmfmt_close(c->f);
	dmfmt_dev_close(c->dev);
	free(c->bytes);
}

struct told {
	const struct cache *c;
	uint64_t groups, losers;
	uint8_t seen[MOST];
};

static int on_group(void *arg, const struct wc_copy *g, size_t nr)
{
	struct told *t = arg;
	size_t i;

	CHECK(nr >= 2);
	t->groups++;
	t->losers += nr - 1;
	for (i = 0; i < nr; i++) {
		CHECK(g[i].entry < t->c->n);
		CHECK(g[i].sector == t->c->sector[g[i].entry] && g[i].sector == g[0].sector);
		CHECK(g[i].seq == t->c->seq[g[i].entry] && g[i].seq < t->c->limit);
		CHECK(t->c->wins[g[i].entry] == (i == nr - 1));
		CHECK(!i || g[i].seq > g[i - 1].seq ||
		      (g[i].seq == g[i - 1].seq && g[i].entry > g[i - 1].entry));
		CHECK(!t->seen[g[i].entry]++);
	}
	return 0;
}

/* every group once, whatever the memory */
static void compare_groups(struct cache *c, size_t memory, size_t window)
{
	struct told t = { .c = c };
	struct wc_dups d = { .f = c->f, .memory = memory, .fn = on_group, .arg = &t };

	ctx->window = window;
	EQ(wc_dups_run(&d), 0);
	EQ(t.groups, c->groups);
	EQ(t.losers, c->losers);
	EQ(d.losers, c->losers);
	d.fn = NULL;
	EQ(wc_dups_run(&d), 0);
	EQ(d.losers, c->losers);
	ctx->window = 0;
}

static void groups_are_found_whatever_the_memory(void)
{
	/* above 2^22 blocks a bitmap of 224 KiB has more windows than one; 2^50 needs partitions */
	static const uint64_t spreads[] = { 4, 60, 400, 1ull << 22, 1ull << 23, 1ull << 50 };
	struct cache c;
	unsigned i;

	for (i = 0; i < 240; i++) {
		make(&c, spreads[i % 6], 1 + rnd(6));
		/* far from each other, but not alone */
		if (i % 6 > 2 && c.n > 20) {
			uint32_t k;

			for (k = 10; k < c.n; k++)
				if (rnd(2))
					c.sector[k] = c.sector[rnd(10)];
			put_entries(&c);
			model(&c);
		}
		compare_groups(&c, 256 << 10, 0);
		compare_groups(&c, 256 << 10, 4 + rnd(12));
		drop(&c);
	}
}

struct served {
	const struct cache *c;
	uint64_t blocks, end;
};

static int on_extent(void *arg, const struct dmfmt_extent *e)
{
	struct served *s = arg;
	uint64_t data = s->c->start + dmfmt_wc_metadata_bytes(s->c->n, s->c->block), k;

	CHECK(e->to >= s->end && e->length && !(e->length % s->c->block));
	s->end = e->to + e->length;
	for (k = 0; k < e->length / s->c->block; k++) {
		uint64_t entry = (e->from - data) / s->c->block + k;

		CHECK(entry < s->c->n && s->c->wins[entry]);
		CHECK(s->c->sector[entry] * 512 == e->to + k * s->c->block);
		s->blocks++;
	}
	return 0;
}

static void extents_are_what_the_kernel_serves(void)
{
	struct cache c;
	unsigned i;

	for (i = 0; i < 120; i++) {
		struct served s = { .c = &c };
		struct dmfmt_map *m;
		struct dmfmt_extent e;
		uint64_t at = 0;

		make(&c, i % 2 ? 50 : 2000, 1 + rnd(5));
		ctx->window = rnd(3) ? 0 : 5;
		EQ(dmfmt_map_open(c.f, rnd(2) ? 0 : 16 * sizeof(e), &m), 0);
		while (dmfmt_map_next(m, at, &e) == 1) {
			on_extent(&s, &e);
			at = e.to + e.length;
		}
		EQ(s.blocks, c.dirty);
		dmfmt_map_close(m);
		ctx->window = 0;
		drop(&c);
	}
}

static int find_field(void *arg, const struct dmfmt_field *f)
{
	uint64_t *v = arg;

	if (!strcmp(f->name, "dirty_blocks"))
		v[0] = f->u;
	if (!strcmp(f->name, "superseded"))
		v[1] = f->u;
	if (!strcmp(f->name, "free_blocks"))
		v[2] = f->u;
	return 0;
}

static void info_counts_what_recovery_leaves(void)
{
	struct cache c;
	unsigned i;

	for (i = 0; i < 60; i++) {
		uint64_t v[3] = { 0 };

		make(&c, 100, 1 + rnd(5));
		EQ(dmfmt_info(c.f, find_field, v), 0);
		EQ(v[0], c.dirty);
		EQ(v[1], c.losers);
		EQ(v[2], c.n - c.dirty);
		drop(&c);
	}
}

static void a_set_is_the_same_as_list_and_as_bitmap(void)
{
	uint64_t memory = ctx->memory;
	struct cache c;
	uint32_t i;
	const struct wc *w;

	make(&c, 30, 4);
	ctx->memory = 1024;	/* eight numbers: the rest turns the list into a bitmap */
	EQ(wc_load_losers(c.f), 0);
	w = c.f->priv;
	EQ(w->losers.count, c.losers);
	CHECK(c.losers < 9 || w->losers.bits);
	for (i = 0; i < c.n; i++)
		CHECK(wc_set_has(&w->losers, i) == (c.seq[i] < c.limit && !c.wins[i]));
	ctx->memory = memory;
	drop(&c);
}

int main(void)
{
	ctx = dmfmt_ctx_new();
	RUN(groups_are_found_whatever_the_memory);
	RUN(extents_are_what_the_kernel_serves);
	RUN(info_counts_what_recovery_leaves);
	RUN(a_set_is_the_same_as_list_and_as_bitmap);
	dmfmt_ctx_free(ctx);
	return DONE();
}
