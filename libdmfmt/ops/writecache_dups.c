// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Sectors that have more than one committed entry.
 *
 * A committed entry is put into a set by the number of its block on the origin; what is there already
 * is a hit.  All hits together are as many as there are losers, and nearly always that is all: no
 * hits, one pass.
 *
 * To name them a second pass gathers every committed entry whose block was hit.  Memory bounds how
 * many can be named at a time: when the list of hits is full, its upper half is given up and the round
 * covers only blocks below it; the next round begins there.  Blocks that do not fit the set's bitmap
 * get passes of their own (seen.h).  So whatever a cache holds, each group is found once and whole.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "writecache.h"
#include "../core/seen.h"

#define FEW_HITS (64u << 10)
#define MOST_HITS (4u << 20)
#define HITS_LEAST 64u
#define FILTER_BITS 20
#define SPLIT 1024u		/* rows that are looked at together */

/*
 * struct look - one run
 * @hits: blocks that stood there twice or more, in [lo, hi) of this round; @nr, @room
 * @copies: what the second pass has gathered: at most twice as many
 * @counting: the first pass over a window, which counts its losers
 * @above, @max_above: blocks behind the first window's bitmap: how many entries, the largest
 */
struct look {
	struct wc_dups *d;
	const struct wc *w;
	struct dmfmt_seen seen;
	uint64_t limit;			/* seq_count below it is committed */
	unsigned shift;			/* sector to block */
	uint64_t *hits;
	size_t nr, room;
	uint64_t lo, hi;
	uint64_t above, max_above;
	bool cut;			/* hi was set: another round begins there */
	bool first_pass, counting;
	struct wc_copy *copies;
	size_t nr_copies, room_copies;
	uint8_t *filter;
	uint64_t *keys;
	uint32_t *dups;
	unsigned planned;
};

static int by_number(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static size_t sort_unique(uint64_t *v, size_t nr)
{
	size_t i, n = 0;

	qsort(v, nr, sizeof(*v), by_number);
	for (i = 0; i < nr; i++)
		if (!n || v[n - 1] != v[i])
			v[n++] = v[i];
	return n;
}

/* the list is full: blocks that are listed twice go, then the upper half with all that will come there */
static void make_room(struct look *l)
{
	l->nr = sort_unique(l->hits, l->nr);
	if (l->nr <= l->room / 2)
		return;
	l->nr = l->room / 2;
	l->hi = l->hits[l->nr];
	l->cut = true;
}

static void add_hit(struct look *l, uint64_t block)
{
	if (l->counting)
		l->d->losers++;
	if (!l->d->fn || block < l->lo || (l->cut && block >= l->hi))
		return;
	if (l->nr == l->room) {
		make_room(l);
		if (l->cut && block >= l->hi)
			return;
	}
	l->hits[l->nr++] = block;
}

/* ---- the first pass of a round ------------------------------------------------------------------ */

/*
 * The blocks of committed rows, in pairs as seen.h wants them.  No branch: whether a row counts is as
 * good as random in a cache that is in use.
 */
static size_t select_rows(const struct look *l, const uint64_t *v, size_t nr, uint64_t *keys)
{
	uint64_t limit = l->limit;
	unsigned shift = l->shift;
	size_t i, n = 0;

	for (i = 0; i < nr; i++) {
		keys[2 * n] = v[2 * i] >> shift;
		n += v[2 * i + 1] < limit;
	}
	return n;
}

static int seen_part(void *arg, const struct wc_part *p)
{
	struct look *l = arg;
	size_t i, j, n, hits;
	int ret;

	if (l->first_pass && l->d->part) {
		ret = l->d->part(l->d->part_arg, p);
		if (ret)
			return ret;
	}
	for (i = 0; p->e && i < p->nr; i += SPLIT) {
		size_t nr = p->nr - i < SPLIT ? p->nr - i : SPLIT;

		n = select_rows(l, p->v + 2 * i, nr, l->keys);
		hits = dmfmt_seen_pairs(&l->seen, l->keys, n, l->dups);
		for (j = 0; j < hits; j++)
			add_hit(l, l->keys[2 * l->dups[j]]);
	}
	return 0;
}

static int run_pass(struct look *l, wc_part_fn fn, const char *what)
{
	struct wc_walk walk = { .f = l->d->f, .what = what, .tolerant = l->d->tolerant, .fn = fn,
				.arg = l };

	walk.pass = ++l->d->passes;
	if (l->planned < walk.pass)
		l->planned = walk.pass;
	walk.nr_passes = l->planned;
	return wc_walk_run(&walk);
}

/* ---- the second: who has these blocks ------------------------------------------------------------ */

static unsigned filter_bit(uint64_t block)
{
	return (unsigned)((block * 0x9e3779b97f4a7c15ull) >> (64 - FILTER_BITS));
}

static bool is_hit(const struct look *l, uint64_t block)
{
	unsigned bit = filter_bit(block);

	return l->filter[bit >> 3] >> (bit & 7) & 1 &&
	       bsearch(&block, l->hits, l->nr, sizeof(block), by_number);
}

static int add_copy(struct look *l, const struct wc_copy *c)
{
	if (l->nr_copies == l->room_copies) {
		size_t room = l->room_copies ? 2 * l->room_copies : 1024;
		struct wc_copy *more = reallocarray(l->copies, room, sizeof(*more));

		if (!more)
			return dmfmt_fail(l->d->f->ctx, -ENOMEM, "out of memory for duplicates");
		l->copies = more;
		l->room_copies = room;
	}
	l->copies[l->nr_copies++] = *c;
	return 0;
}

static int gather_part(void *arg, const struct wc_part *p)
{
	struct look *l = arg;
	size_t i;
	int ret = 0;

	for (i = 0; p->e && !ret && i < p->nr; i++) {
		struct wc_copy c = { p->v[2 * i], p->v[2 * i + 1], p->first + i };

		if (c.seq < l->limit && is_hit(l, c.sector >> l->shift))
			ret = add_copy(l, &c);
	}
	return ret;
}

static int by_age(const void *a, const void *b)
{
	const struct wc_copy *x = a, *y = b;

	if (x->sector != y->sector)
		return x->sector < y->sector ? -1 : 1;
	if (x->seq != y->seq)
		return x->seq < y->seq ? -1 : 1;
	return x->entry < y->entry ? -1 : x->entry > y->entry;
}

/* entries whose sectors differ inside one block are no duplicates: the kernel compares sectors */
static int tell_groups(struct look *l)
{
	size_t i, n;
	int ret = 0;

	qsort(l->copies, l->nr_copies, sizeof(*l->copies), by_age);
	for (i = 0; !ret && i < l->nr_copies; i += n) {
		for (n = 1; i + n < l->nr_copies && l->copies[i + n].sector == l->copies[i].sector; n++)
			;
		if (n > 1)
			ret = l->d->fn(l->d->arg, l->copies + i, n);
	}
	return ret;
}

static int name_hits(struct look *l)
{
	size_t i;
	int ret;

	l->nr = sort_unique(l->hits, l->nr);
	memset(l->filter, 0, (1u << FILTER_BITS) / 8);
	for (i = 0; i < l->nr; i++) {
		unsigned bit = filter_bit(l->hits[i]);

		l->filter[bit >> 3] |= (uint8_t)(1u << (bit & 7));
	}
	l->nr_copies = 0;
	ret = run_pass(l, gather_part, "naming duplicates");
	return ret ? ret : tell_groups(l);
}

/* ---- rounds and windows --------------------------------------------------------------------------- */

struct window {
	bool hash;
	uint64_t lo;
	unsigned part, parts;
};

static void reset(struct look *l, const struct window *win)
{
	if (win->hash)
		dmfmt_seen_hash(&l->seen, win->lo, win->part, win->parts);
	else
		dmfmt_seen_bitmap(&l->seen, win->lo, dmfmt_seen_span(&l->seen));
}

/* every group whose block falls into this window of the set */
static int one_window(struct look *l, const struct window *win)
{
	int ret;

	l->lo = 0;
	l->counting = true;
	do {
		l->cut = false;
		l->nr = 0;
		reset(l, win);
		l->seen.above = l->seen.max_above = 0;
		ret = run_pass(l, seen_part, "checking");
		if (l->first_pass) {
			l->above = l->seen.above;
			l->max_above = l->seen.max_above;
		}
		l->first_pass = l->counting = false;
		if (!ret && l->nr)
			ret = name_hits(l);
		l->lo = l->hi;
	} while (!ret && l->cut);
	return ret;
}

static int all_windows(struct look *l)
{
	struct window win = { 0 };
	uint64_t span = dmfmt_seen_span(&l->seen);
	unsigned i, nr;
	bool hash;
	int ret;

	l->first_pass = true;
	ret = one_window(l, &win);
	if (ret || !l->above)
		return ret;
	l->seen.above = l->above;
	l->seen.max_above = l->max_above;
	nr = dmfmt_seen_plan(&l->seen, l->seen.bytes, &hash);
	l->planned = l->d->passes + nr;
	for (i = 0; !ret && i < nr; i++) {
		win = (struct window){ hash, hash ? span : span * (i + 1ull), i, nr };
		ret = one_window(l, &win);
	}
	return ret;
}

/* a bitmap for all blocks of the origin if it is known and fits; the list gets an eighth of the rest */
static int init(struct look *l)
{
	struct dmfmt *f = l->d->f;
	uint64_t memory = l->d->memory < (256u << 10) ? 256u << 10 : l->d->memory;
	uint64_t hits = memory / 8 / (sizeof(*l->hits) + 3 * sizeof(*l->copies));
	int ret;

	l->room = hits > MOST_HITS ? MOST_HITS : hits < HITS_LEAST ? HITS_LEAST : (size_t)hits;
	if (f->ctx->window && f->ctx->window < l->room)
		l->room = f->ctx->window < 4 ? 4 : f->ctx->window;
	memory -= memory / 8;
	if (memory > SIZE_MAX / 2)
		memory = SIZE_MAX / 2;
	ret = dmfmt_seen_init(f->ctx, &l->seen, (size_t)(memory & ~4095ull));
	if (ret)
		return ret;
	l->hits = malloc(l->room * sizeof(*l->hits));
	l->filter = malloc((1u << FILTER_BITS) / 8);
	l->keys = malloc((SPLIT + 1) * 2 * sizeof(*l->keys));
	l->dups = malloc(SPLIT * sizeof(*l->dups));
	if (!l->hits || !l->filter || !l->keys || !l->dups)
		return dmfmt_fail(f->ctx, -ENOMEM, "out of memory for the duplicate check");
	return 0;
}

int wc_dups_run(struct wc_dups *d)
{
	const struct wc *w = d->f->priv;
	struct look l = { .d = d, .w = w, .limit = w->sb.seq_count, .shift = w->g.shift };
	int ret = init(&l);

	d->losers = 0;
	d->passes = 0;
	if (!ret)
		ret = all_windows(&l);
	dmfmt_seen_free(&l.seen);
	free(l.hits);
	free(l.copies);
	free(l.filter);
	free(l.keys);
	free(l.dups);
	return ret;
}

int wc_best_copy(struct dmfmt *f, const struct wc_copy *c, size_t nr, size_t *best)
{
	size_t i = nr, last = nr - 1;
	bool reads = false;
	int ret;

	*best = last;
	if (nr < 2 || c[last].seq != c[last - 1].seq)
		return 0;
	while (!reads && i && c[i - 1].seq == c[last].seq) {
		ret = wc_block_reads(f, c[--i].entry, &reads);
		if (ret)
			return ret;
	}
	if (!reads || i == last)
		return 0;
	*best = i;
	dmfmt_log(f->ctx, DMFMT_LOG_WARNING,
		  "%s: the data block of entry %" PRIu64 " cannot be read: entry %" PRIu64
		  " of the same sector and seq_count takes its place", f->dev->path, c[last].entry,
		  c[i].entry);
	return 0;
}

#define RESERVE (14ull << 20)

size_t wc_dups_memory(const struct dmfmt_ctx *ctx)
{
	uint64_t memory = ctx->memory > 2 * RESERVE ? ctx->memory - RESERVE : ctx->memory / 2;

	return memory > SIZE_MAX / 2 ? SIZE_MAX / 2 : (size_t)memory;
}

/* ---- the losers, remembered ------------------------------------------------------------------------ */

struct losers {
	struct dmfmt *f;
	struct wc_set *s;
	size_t most;		/* numbers in a list */
	uint64_t entries;
};

void wc_set_free(struct wc_set *s)
{
	free(s->list);
	free(s->bits);
	*s = (struct wc_set){ 0 };
}

int wc_set_add(struct wc_set *s, uint64_t entry)
{
	if (s->bits) {
		uint8_t bit = (uint8_t)(1u << (entry & 7));

		s->count += !(s->bits[entry >> 3] & bit);
		s->bits[entry >> 3] |= bit;
		return 0;
	}
	if (s->nr == s->room) {
		size_t room = s->room ? 2 * s->room : 64;
		uint64_t *more = reallocarray(s->list, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		s->list = more;
		s->room = room;
	}
	s->list[s->nr++] = entry;
	s->count++;
	return 0;
}

bool wc_set_has(const struct wc_set *s, uint64_t entry)
{
	if (s->bits)
		return s->bits[entry >> 3] >> (entry & 7) & 1;
	return s->nr && bsearch(&entry, s->list, s->nr, sizeof(entry), by_number);
}

/* a list of so many numbers takes more than a bit for each entry would */
static int to_bitmap(struct losers *l)
{
	struct wc_set *s = l->s;
	uint64_t bytes = l->entries / 8 + 1;
	size_t i;

	if (bytes > l->f->ctx->memory / 2)
		return dmfmt_fail(l->f->ctx, -ENOMEM,
				  "%s: more than %zu superseded entries, expected fewer with this memory limit (--memory)",
				  l->f->dev->path, s->nr);
	s->bits = calloc(1, (size_t)bytes);
	if (!s->bits)
		return dmfmt_fail(l->f->ctx, -ENOMEM, "out of memory for superseded entries");
	s->count = 0;
	for (i = 0; i < s->nr; i++)
		wc_set_add(s, s->list[i]);
	free(s->list);
	s->list = NULL;
	s->nr = s->room = 0;
	return 0;
}

static int add_losers(void *arg, const struct wc_copy *c, size_t nr)
{
	struct losers *l = arg;
	int ret = 0;

	for (; !ret && nr > 1; c++, nr--) {
		if (!l->s->bits && l->s->nr >= l->most)
			ret = to_bitmap(l);
		if (!ret && wc_set_add(l->s, c->entry))
			ret = dmfmt_fail(l->f->ctx, -ENOMEM, "out of memory for superseded entries");
	}
	return ret;
}

int wc_load_losers(struct dmfmt *f)
{
	struct wc *w = f->priv;
	struct losers l = { .f = f, .s = &w->losers, .entries = w->entries };
	struct wc_dups d = { .f = f, .memory = wc_dups_memory(f->ctx), .fn = add_losers, .arg = &l,
			     .tolerant = true };
	uint64_t most = f->ctx->memory / 16 / sizeof(uint64_t);
	int ret;

	if (w->has_losers)
		return 0;
	wc_set_free(&w->losers);
	l.most = most > SIZE_MAX / 16 ? SIZE_MAX / 16 : (size_t)most;
	ret = wc_dups_run(&d);
	if (ret) {
		wc_set_free(&w->losers);
		return ret;
	}
	if (w->losers.nr)
		qsort(w->losers.list, w->losers.nr, sizeof(*w->losers.list), by_number);
	w->has_losers = true;
	return 0;
}
