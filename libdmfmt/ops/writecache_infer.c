// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A superblock that is lost, from what lies behind it.
 *
 * The size of the device and a block size give the number of entries.  With the true block size all of
 * them decode, and what lies behind the last one does not: with a smaller one data blocks would have
 * to be entries, with a larger one entries go on where data blocks should begin.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "writecache.h"

#define HEAD 8192u		/* entries of a sample: the first, and the last */
#define TAIL 2048u
#define BEHIND 64u		/* 16-byte pieces behind the last entry */
#define SECTOR_LIMIT (1ull << 48)	/* 128 PiB: no origin is so large */
#define SEQ_LIMIT (1ull << 48)
#define SCAN_BYTES (16u << 20)		/* all pages are looked at for another superblock */
#define SCAN_FAR (512u << 20)		/* every MiB */

enum kind { LIVE, FREE, ZERO, BAD };

static enum kind classify(const struct wc_geometry *g, uint64_t sector, uint64_t seq)
{
	if (!sector && !seq)
		return ZERO;
	if (seq == DMFMT_WC_FREE)
		return FREE;
	return dmfmt_wc_sector_ok(g, sector) && sector < SECTOR_LIMIT && seq < SEQ_LIMIT ? LIVE : BAD;
}

static int count_part(void *arg, const struct wc_part *p)
{
	struct wc_guess *g = arg;
	size_t i;

	for (i = 0; p->e && i < p->nr; i++) {
		uint64_t seq = p->v[2 * i + 1];

		switch (classify(&g->g, p->v[2 * i], seq)) {
		case LIVE:
			g->live++;
			if (seq > g->max_seq)
				g->max_seq = seq;
			break;
		case FREE:
			g->free++;
			break;
		case ZERO:
			g->wiped += p->first + i < DMFMT_WC_ENTRIES_WIPED;
			g->zero++;
			break;
		case BAD:
			g->bad++;
			break;
		}
	}
	return 0;
}

static int count(struct dmfmt *f, struct wc_guess *g, uint64_t first, uint64_t end, wc_part_fn fn, void *arg)
{
	struct wc_walk w = { .f = f, .g = &g->g, .what = "looking for entries", .pass = 1, .nr_passes = 1,
			     .first = first, .end = end, .tolerant = true, .fn = fn, .arg = arg };

	return wc_walk_run(&w);
}

static int count_all(struct dmfmt *f, struct wc_guess *g)
{
	g->live = g->free = g->zero = g->bad = g->wiped = g->max_seq = 0;
	return count(f, g, 0, g->g.n_blocks, count_part, g);
}

static int sample(struct dmfmt *f, struct wc_guess *g)
{
	uint64_t n = g->g.n_blocks;
	int ret;

	if (n <= HEAD + TAIL)
		return count_all(f, g);
	ret = count(f, g, 0, HEAD, count_part, g);
	return ret ? ret : count(f, g, n - TAIL, n, count_part, g);
}

/* pieces that could be entries, as far as they go on without a gap */
struct behind {
	const struct wc_geometry *g;
	unsigned entries;
	bool ended;
};

static int behind_part(void *arg, const struct wc_part *p)
{
	struct behind *b = arg;
	size_t i;

	for (i = 0; p->e && !b->ended && i < p->nr; i++) {
		enum kind k = classify(b->g, p->v[2 * i], p->v[2 * i + 1]);

		b->ended = k != LIVE && k != FREE;
		b->entries += !b->ended;
	}
	return 0;
}

/* do the entries end where this block size says? */
static int look_behind(struct dmfmt *f, struct wc_guess *g)
{
	struct wc_guess more = *g;
	struct behind b = { .g = &g->g };
	uint64_t n = g->g.n_blocks;
	int ret;

	more.g.n_blocks = n + BEHIND;
	ret = count(f, &more, n, n + BEHIND, behind_part, &b);
	/* all of them, up to the device's end if that comes first */
	g->tight = b.ended || !b.entries;
	g->behind = b.entries;
	return ret;
}

/* zeros at the head can be the rest of a wipe of 4096 bytes: not if it was fewer bytes that went */
static bool wipe_reached(const struct wc *w, const struct wc_guess *g)
{
	return g->wiped && !w->sb.magic && (w->sb.version || !g->from_superblock);
}

/*
 * Entries that decode, some of them sure signs; zeros at the head, where LVM wipes (all of it, or what a
 * repair that was cut has left), and nowhere else.  A single one where no wipe can have been is a block:
 * the first of the origin, written in the first epoch.
 */
static bool plausible(const struct wc *w, struct wc_guess *g)
{
	uint64_t sure = g->live + g->free;

	if (g->zero == 1 && !wipe_reached(w, g)) {
		g->wiped = g->zero = 0;
		g->live++;
	}
	return sure && g->bad * 64 <= sure && g->zero - g->wiped <= 1;
}

/* what the rest of the superblock says counts more than the device's size, if it fits */
static bool geometry_of(const struct dmfmt *f, uint32_t block_size, struct wc_guess *g)
{
	const struct wc *w = f->priv;
	uint64_t n;

	if (w->sb.block_size == block_size &&
	    !dmfmt_wc_geometry_init(&g->g, f->dev->start, wc_usable(f->dev), block_size,
				    w->sb.n_blocks)) {
		g->from_superblock = true;
		return true;
	}
	return !dmfmt_wc_blocks(wc_usable(f->dev), block_size, &n) &&
	       !dmfmt_wc_geometry_init(&g->g, f->dev->start, wc_usable(f->dev), block_size, n);
}

static int look(struct dmfmt *f, uint32_t block_size, struct wc_guess *g, unsigned *nr)
{
	int ret;

	memset(g, 0, sizeof(*g));
	if (!geometry_of(f, block_size, g))
		return 0;
	++*nr;
	ret = sample(f, g);
	g->plausible = plausible(f->priv, g);
	if (!ret && g->plausible)
		ret = look_behind(f, g);
	return ret;
}

/* how much speaks for one that fits; 0: it does not */
static unsigned weight(const struct wc *w, const struct wc_guess *g)
{
	if (!g->plausible || !g->tight)
		return 0;
	if (g->from_superblock)
		return 4;
	/* one of the two numbers of a superblock that has its magic */
	if (w->sb.magic == DMFMT_WC_MAGIC &&
	    (w->sb.block_size == g->g.block_size || w->sb.n_blocks == g->g.n_blocks))
		return 3;
	return g->behind ? 1 : 2;
}

/* the one that most speaks for, if it is the only one */
static int choose(const struct wc *w, const struct wc_guess *g, unsigned nr)
{
	unsigned i, most = 0, same = 0;
	int best = -1;

	for (i = 0; i < nr; i++) {
		unsigned this = weight(w, &g[i]);

		if (this > most) {
			best = (int)i;
			most = this;
			same = 0;
		}
		same += this && this == most;
	}
	return same == 1 ? best : -1;
}

int wc_infer(struct dmfmt *f, bool all, struct wc_guess g[WC_GUESSES], unsigned *nr, int *best)
{
	uint32_t size;
	int ret = 0;

	*nr = 0;
	*best = -1;
	for (size = DMFMT_WC_BLOCK_MIN; !ret && size <= DMFMT_WC_BLOCK_MAX; size *= 2)
		ret = look(f, size, &g[*nr], nr);
	if (ret)
		return ret;
	*best = choose(f->priv, g, *nr);
	if (all && *best >= 0) {
		ret = count_all(f, &g[*best]);
		if (!ret && !plausible(f->priv, &g[*best]))
			*best = -1;
	}
	return ret;
}

/* ---- is anything alive? ---------------------------------------------------------------------------- */

bool wc_may_be_entries(const struct wc_guess *g)
{
	return g->live + g->free && g->bad <= (g->live + g->free) / 64;
}

int wc_count_range(struct dmfmt *f, struct wc_guess *g, uint64_t first, uint64_t end, uint64_t *lost)
{
	struct wc_walk w = { .f = f, .g = &g->g, .what = "looking for entries", .pass = 1, .nr_passes = 1,
			     .first = first, .end = end, .tolerant = true, .fn = count_part, .arg = g };
	int ret = wc_walk_run(&w);

	*lost = w.lost;
	return ret;
}

int wc_infer_alive(struct dmfmt *f, struct wc_guess g[WC_GUESSES], unsigned *nr, int *best, uint64_t *alive)
{
	int ret = wc_infer(f, true, g, nr, best);
	unsigned i;

	*alive = 0;
	for (i = 0; !ret && i < *nr; i++) {
		/* no block size is proven: a sample is not enough to say that nothing is alive */
		if (*best < 0 && wc_may_be_entries(&g[i]))
			ret = count_all(f, &g[i]);
		g[i].alive = !ret && g[i].live &&
			     (*best >= 0 ? (int)i == *best : wc_may_be_entries(&g[i]));
		if (g[i].alive && g[i].live > *alive)
			*alive = g[i].live;
	}
	return ret;
}

void wc_list_alive(const struct wc_guess *g, unsigned nr, char *s, size_t len)
{
	size_t n = 0;
	unsigned i;

	*s = '\0';
	for (i = 0; i < nr && n < len; i++)
		if (g[i].alive)
			n += (size_t)snprintf(s + n, len - n, "%s%u", n ? " or " : "", g[i].g.block_size);
}

/* ---- another place -------------------------------------------------------------------------------- */

static bool is_superblock(const struct dmfmt_dev *dev, uint64_t at, const void *bytes)
{
	struct wc_superblock s;
	struct wc_geometry g;

	dmfmt_wc_superblock_decode(bytes, &s);
	return s.magic == DMFMT_WC_MAGIC && s.version == DMFMT_WC_VERSION &&
	       !dmfmt_wc_geometry_init(&g, at, dev->size - at, s.block_size, s.n_blocks);
}

/* in a range that is read at once, from byte @least of the device on */
static uint64_t scan(struct dmfmt_dev *dev, uint64_t from, size_t len, uint64_t least, uint8_t *buf)
{
	uint64_t off;

	if (dmfmt_dev_read(dev, from, buf, len))
		return DMFMT_NONE;
	for (off = 0; off + WC_SUPERBLOCK <= len; off += 4096)
		if (from + off >= least && from + off != dev->start &&
		    is_superblock(dev, from + off, buf + off))
			return (from + off) / 512;
	return DMFMT_NONE;
}

uint64_t wc_other_start(struct dmfmt *f, uint64_t from)
{
	struct dmfmt_dev *dev = f->dev;
	const size_t piece = 1 << 20;
	uint64_t at, found = DMFMT_NONE, least = from * 512;
	uint8_t *buf = malloc(piece);

	for (at = least / piece * piece; buf && found == DMFMT_NONE && at < dev->size && at < SCAN_FAR;
	     at += piece) {
		size_t len = dev->size - at < piece ? (size_t)(dev->size - at) : piece;

		if (at >= SCAN_BYTES)
			len = len < 4096 ? len : 4096;
		if (len >= WC_SUPERBLOCK)
			found = scan(dev, at, len, least, buf);
	}
	free(buf);
	return found;
}
