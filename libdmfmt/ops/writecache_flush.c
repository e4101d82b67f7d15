// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Flushing a cache: dirty blocks go to the origin, then their entries become free.
 *
 *	prepare		superseded and uncommitted entries FREE, durably
 *	plan, copy	winners in the order of the origin, until all are there, durably
 *	retire		their entries FREE, durably
 *
 * At any moment recovery, as the kernel does it, serves the same over the origin:
 *  - an older copy goes while the newest is there; which of several older ones goes first does not
 *    matter.  From the end of prepare on a sector has one committed entry, so no old copy can come back;
 *  - entries go in any order after that, each when its data are durable on the origin; a rewritten
 *    sector of entries may be there or not, each alone.
 *
 * Where entries cannot be read nothing becomes free: each may be a copy of any sector, and an older one
 * would come back if it can be read some day and the newest is gone.
 *
 * The superblock keeps what it has: its sector is only rewritten with what was read.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "writecache.h"
#include "../core/map.h"

#define LIST (64u << 10)	/* entries that are freed at a time */
#define GAP (64u << 10)		/* sectors of entries that are farther apart are not rewritten together */

/*
 * struct wc_flush - where a write-back stands
 * @map: what is to be moved; NULL: not opened yet, or all of it was planned
 * @at: it goes on behind this byte of the origin
 * @left: committed entries in the cache, losers not counted
 * @beyond: committed entries past the origin's end were seen; they are dropped at the end
 * @next: they are looked for from this entry on
 * @dropping: the window at hand is of them, @list names its entries
 * @unreadable: entries that cannot be read; @keep: there are some, so nothing becomes free
 * @committed, @others: entries that are not free after prepare
 */
struct wc_flush {
	struct dmfmt_map *map;
	uint64_t at, left, next, unreadable, committed, others;
	bool dry_run, keep, moved_all, beyond, dropping;
	uint64_t *list;
	size_t nr;
};

static struct wc_flush *flush_of(const struct dmfmt *f)
{
	return ((const struct wc *)f->priv)->flush;
}

void wc_flush_free(struct wc *w)
{
	if (!w->flush)
		return;
	dmfmt_map_close(w->flush->map);
	free(w->flush->list);
	free(w->flush);
	w->flush = NULL;
}

/* ---- prepare --------------------------------------------------------------------------------------- */

/*
 * struct sweep - what recovery would drop, a list at a time
 * @dropped: losers and uncommitted ones that were freed
 */
struct sweep {
	struct dmfmt *f;
	const struct wc *w;
	struct wc_flush *fl;
	uint64_t *list[2];	/* uncommitted ones, losers */
	size_t nr[2];
	uint64_t dropped[2], committed;
};

enum { UNCOMMITTED, LOSER };

static int by_number(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static int drop_list(struct sweep *s, unsigned which)
{
	size_t nr = s->nr[which];

	s->nr[which] = 0;
	s->dropped[which] += nr;
	if (s->fl->dry_run || s->fl->keep)
		return 0;
	if (which == LOSER && nr > 1)
		qsort(s->list[which], nr, sizeof(uint64_t), by_number);
	return wc_free_entries(s->f, s->list[which], nr, GAP);
}

static int drop(struct sweep *s, unsigned which, uint64_t entry)
{
	int ret = s->nr[which] == LIST ? drop_list(s, which) : 0;

	s->list[which][s->nr[which]++] = entry;
	return ret;
}

static int sweep_part(void *arg, const struct wc_part *p)
{
	struct sweep *s = arg;
	uint64_t limit = s->w->sb.seq_count, end = s->f->origin_sectors;
	size_t i;
	int ret = 0;

	if (!p->e) {
		s->fl->unreadable += p->nr;
		/* some may be free by now: no more */
		if (!s->fl->keep && !s->fl->dry_run)
			return dmfmt_fail(s->f->ctx, -EIO,
					  "%s: entries %" PRIu64 " to %" PRIu64
					  ": cannot be read any more, expected what the check has read",
					  s->f->dev->path, p->first, p->first + p->nr - 1);
	}
	for (i = 0; p->e && !ret && i < p->nr; i++) {
		uint64_t seq = p->v[2 * i + 1];

		if (seq == DMFMT_WC_FREE)
			continue;
		if (seq >= limit) {
			ret = drop(s, UNCOMMITTED, p->first + i);
			continue;
		}
		s->committed++;
		s->fl->beyond = s->fl->beyond || p->v[2 * i] >= end;
	}
	return ret;
}

/* all but the last, which wins; of several that win together one that can be read */
static int sweep_group(void *arg, const struct wc_copy *c, size_t nr)
{
	struct sweep *s = arg;
	size_t i, best = nr - 1;
	int ret = s->fl->dry_run || s->fl->keep ? 0 : wc_best_copy(s->f, c, nr, &best);

	for (i = 0; !ret && i < nr; i++)
		if (i != best)
			ret = drop(s, LOSER, c[i].entry);
	return ret;
}

static int sweep(struct sweep *s)
{
	struct wc_dups d = { .f = s->f, .memory = wc_dups_memory(s->f->ctx), .fn = sweep_group, .arg = s,
			     .part = sweep_part, .part_arg = s, .tolerant = true };
	int ret = wc_dups_run(&d);

	if (!ret)
		ret = drop_list(s, LOSER);
	if (!ret)
		ret = drop_list(s, UNCOMMITTED);
	if (ret || s->fl->dry_run || s->fl->keep || !(s->dropped[LOSER] + s->dropped[UNCOMMITTED]))
		return ret;
	dmfmt_log(s->f->ctx, DMFMT_LOG_INFO,
		  "%s: freed %" PRIu64 " superseded and %" PRIu64 " uncommitted entries",
		  s->f->dev->path, s->dropped[LOSER], s->dropped[UNCOMMITTED]);
	return dmfmt_dev_flush(s->f->dev);
}

static int sweep_all(struct dmfmt *f, struct wc_flush *fl)
{
	struct wc *w = f->priv;
	struct sweep s = { .f = f, .w = w, .fl = fl };
	int ret;

	s.list[0] = malloc(LIST * sizeof(uint64_t));
	s.list[1] = malloc(LIST * sizeof(uint64_t));
	if (s.list[0] && s.list[1])
		ret = sweep(&s);
	else
		ret = dmfmt_fail(f->ctx, -ENOMEM, "%s: no memory for a flush", f->dev->path);
	free(s.list[0]);
	free(s.list[1]);
	if (ret)
		return ret;
	fl->left = fl->committed = s.committed - s.dropped[LOSER];
	if (fl->keep) {
		fl->committed = s.committed;
		fl->others = s.dropped[UNCOMMITTED];
		dmfmt_log(f->ctx, DMFMT_LOG_WARNING,
			  "%s: %" PRIu64 " entries cannot be read: what can be is copied, and stays in the cache",
			  f->dev->path, fl->unreadable);
	}
	if (fl->dry_run || fl->keep)
		return wc_load_losers(f);
	/* there are none any more, and looking for them again costs a pass */
	wc_set_free(&w->losers);
	w->has_losers = true;
	return 0;
}

int wc_flush_prepare(struct dmfmt *f, bool dry_run)
{
	struct wc *w = f->priv;
	struct wc_flush *fl;
	int ret = wc_need_readable(f);

	wc_flush_free(w);
	if (ret)
		return ret;
	fl = calloc(1, sizeof(*fl));
	if (!fl)
		return dmfmt_fail(f->ctx, -ENOMEM, "%s: no memory for a flush", f->dev->path);
	fl->dry_run = dry_run;
	fl->keep = w->unreadable && !dry_run;
	ret = sweep_all(f, fl);
	if (ret) {
		free(fl);
		return ret;
	}
	w->flush = fl;
	return 0;
}

uint64_t wc_flush_remaining(const struct dmfmt *f)
{
	const struct wc_flush *fl = flush_of(f);

	return fl ? fl->left : 0;
}

/* ---- lost blocks of a truncated cache -------------------------------------------------------------- */

struct lost {
	struct dmfmt *f;
	const struct wc *w;
	int (*fn)(void *arg, const struct dmfmt_extent *e);
	void *arg;
};

static int lost_part(void *arg, const struct wc_part *p)
{
	struct lost *l = arg;
	uint64_t sectors = l->w->g.block_size >> 9, end = l->f->origin_sectors;
	size_t i;
	int ret = 0;

	for (i = 0; p->e && !ret && i < p->nr; i++) {
		uint64_t entry = p->first + i, sector = p->v[2 * i];
		struct dmfmt_extent e = { .to = sector * 512, .length = l->w->g.block_size,
					  .from = dmfmt_wc_block_offset(&l->w->g, entry) };

		if (!wc_committed(l->w, p->v[2 * i + 1]) || dmfmt_wc_block_there(&l->w->g, entry) ||
		    wc_set_has(&l->w->losers, entry) || sector >= end ||
		    sector > INT64_MAX / 512 - sectors)
			continue;
		if (sectors > end - sector)
			e.length = (end - sector) * 512;
		ret = l->fn(l->arg, &e);
	}
	return ret;
}

int wc_flush_lost(struct dmfmt *f, int (*fn)(void *arg, const struct dmfmt_extent *e), void *arg,
		  uint64_t *unknown)
{
	const struct wc *w = f->priv;
	struct lost l = { .f = f, .w = w, .fn = fn, .arg = arg };
	struct wc_walk walk = { .f = f, .what = "naming lost blocks", .pass = 1, .nr_passes = 1,
				.tolerant = true, .fn = lost_part, .arg = &l };
	int ret = wc_load_losers(f);

	if (!ret)
		ret = wc_walk_run(&walk);
	*unknown = walk.lost + (w->g.n_blocks - w->entries);
	return ret;
}

/* ---- plan ------------------------------------------------------------------------------------------ */

/* the next extents of the map, up to the window's limits; *blocks: how many they are */
static int plan_moves(struct dmfmt *f, struct wc_flush *fl, struct dmfmt_batch *b, uint64_t *blocks)
{
	uint64_t unit = b->unit_bytes, most = b->max_bytes / unit * unit, skip, n;
	struct dmfmt_extent e;
	int ret = fl->map ? 0 : dmfmt_map_open(f, 0, &fl->map);

	if (most < unit)
		most = unit;
	while (!ret && b->nr < b->room && most) {
		ret = dmfmt_map_next(fl->map, fl->at, &e);
		if (ret <= 0) {
			fl->moved_all = !ret;
			break;
		}
		skip = e.to < fl->at ? fl->at - e.to : 0;
		e.length -= skip;
		if (e.length > most)
			e.length = most;
		b->moves[b->nr++] = (struct dmfmt_move){ .from = e.from + skip, .to = e.to + skip,
							 .len = e.length };
		n = (e.length + unit - 1) / unit;	/* the last block of an origin may be cut off */
		*blocks += n;
		most -= n * unit;
		fl->at = e.to + skip + e.length;
		ret = 0;
	}
	return ret < 0 ? ret : 0;
}

/* ---- blocks past the end of the origin: dropped when everything else is done ---- */

static int beyond_part(void *arg, const struct wc_part *p)
{
	const struct dmfmt *f = arg;
	const struct wc *w = f->priv;
	struct wc_flush *fl = w->flush;
	size_t i;

	for (i = 0; p->e && i < p->nr; i++) {
		if (p->v[2 * i] < f->origin_sectors || !wc_committed(w, p->v[2 * i + 1]) ||
		    wc_set_has(&w->losers, p->first + i))
			continue;
		if (fl->nr == LIST)
			return 1;
		fl->list[fl->nr++] = p->first + i;
		fl->next = p->first + i + 1;
	}
	return 0;
}

static int plan_beyond(struct dmfmt *f, struct wc_flush *fl)
{
	struct wc_walk walk = { .f = f, .what = "blocks past the origin's end", .pass = 1,
				.nr_passes = 1, .first = fl->next, .tolerant = true,
				.fn = beyond_part, .arg = f };
	int ret;

	if (!fl->list)
		fl->list = malloc(LIST * sizeof(*fl->list));
	if (!fl->list)
		return dmfmt_fail(f->ctx, -ENOMEM, "%s: no memory for a flush", f->dev->path);
	fl->nr = 0;
	ret = wc_walk_run(&walk);
	fl->beyond = fl->nr;
	return ret < 0 ? ret : 0;
}

/* ---- nothing is left: that is read again, not remembered ---- */

struct rest {
	const struct wc *w;
	uint64_t committed, others;
};

static int rest_part(void *arg, const struct wc_part *p)
{
	struct rest *r = arg;
	size_t i;

	for (i = 0; p->e && i < p->nr; i++) {
		uint64_t seq = p->v[2 * i + 1];

		r->committed += wc_committed(r->w, seq);
		r->others += seq != DMFMT_WC_FREE && !wc_committed(r->w, seq);
	}
	return 0;
}

static int look_again(struct dmfmt *f, const struct wc_flush *fl)
{
	struct rest r = { .w = f->priv };
	struct wc_walk walk = { .f = f, .what = "reading the entries again", .pass = 1, .nr_passes = 1,
				.tolerant = fl->unreadable, .fn = rest_part, .arg = &r };
	int ret = wc_walk_run(&walk);

	if (ret || (r.committed == fl->committed && r.others == fl->others && walk.lost == fl->unreadable))
		return ret;
	return dmfmt_fail(f->ctx, -EILSEQ,
			  "%s: entries: %" PRIu64 " read back as not free and %" PRIu64
			  " cannot be read, expected %" PRIu64 " and %" PRIu64, f->dev->path,
			  r.committed + r.others, walk.lost, fl->committed + fl->others, fl->unreadable);
}

int wc_flush_plan(struct dmfmt *f, struct dmfmt_batch *b)
{
	const struct wc *w = f->priv;
	struct wc_flush *fl = w->flush;
	uint64_t blocks = 0;
	int ret = 0;

	b->nr = 0;
	b->unit_bytes = w->g.block_size;
	b->first = 0;
	fl->dropping = false;
	if (!fl->moved_all)
		ret = plan_moves(f, fl, b, &blocks);
	if (!ret && b->nr) {
		b->end = blocks;
		return 1;
	}
	dmfmt_map_close(fl->map);
	fl->map = NULL;
	if (!ret && fl->beyond)
		ret = plan_beyond(f, fl);
	if (!ret && fl->beyond) {
		fl->dropping = true;
		b->end = fl->nr;
		b->beyond = fl->nr * b->unit_bytes;
		return 1;
	}
	return ret || fl->dry_run ? ret : look_again(f, fl);
}

/* ---- retire ---------------------------------------------------------------------------------------- */

/*
 * struct retire - entries of moved blocks, ascending, a list at a time
 */
struct retire {
	struct dmfmt *f;
	const struct dmfmt_batch *b;
	uint64_t *list;
	size_t nr;
	uint64_t done;
};

static int by_from(const void *a, const void *b)
{
	const struct dmfmt_move *x = a, *y = b;

	return x->from < y->from ? -1 : x->from > y->from;
}

static int is_at(const void *key, const void *elem)
{
	const uint64_t *to = key;
	const struct dmfmt_move *m = elem;

	return *to < m->to ? -1 : *to > m->to;
}

static bool has_failed(const struct dmfmt_batch *b, uint64_t to)
{
	return b->nr_failed && bsearch(&to, b->failed, b->nr_failed, sizeof(*b->failed), is_at);
}

static int retire_list(struct retire *r)
{
	size_t nr = r->nr;

	r->nr = 0;
	r->done += nr;
	return wc_free_entries(r->f, r->list, nr, GAP);
}

static int retire_move(struct retire *r, const struct dmfmt_move *m)
{
	const struct wc *w = r->f->priv;
	uint64_t entry = (m->from - w->g.start - w->g.metadata) / w->g.block_size, done;
	int ret = 0;

	for (done = 0; !ret && done < m->len; done += w->g.block_size, entry++) {
		if (has_failed(r->b, m->to + done))
			continue;
		if (r->nr == LIST)
			ret = retire_list(r);
		r->list[r->nr++] = entry;
	}
	return ret;
}

static int retire_moves(struct dmfmt *f, const struct dmfmt_batch *b, uint64_t *nr)
{
	struct retire r = { .f = f, .b = b, .list = malloc(LIST * sizeof(*r.list)) };
	size_t i;
	int ret = 0;

	if (!r.list)
		return dmfmt_fail(f->ctx, -ENOMEM, "%s: no memory to free entries", f->dev->path);
	qsort(b->moves, b->nr, sizeof(*b->moves), by_from);
	for (i = 0; !ret && i < b->nr; i++)
		ret = retire_move(&r, &b->moves[i]);
	if (!ret)
		ret = retire_list(&r);
	free(r.list);
	*nr = r.done;
	return ret;
}

int wc_flush_retire(struct dmfmt *f, const struct dmfmt_batch *b)
{
	struct wc_flush *fl = flush_of(f);
	uint64_t nr = fl->nr;
	int ret;

	if (fl->keep)
		return 0;
	ret = fl->dropping ? wc_free_entries(f, fl->list, fl->nr, GAP) : retire_moves(f, b, &nr);
	if (!ret)
		ret = dmfmt_dev_flush(f->dev);
	if (!ret) {
		fl->left -= nr;
		fl->committed -= nr;
	}
	return ret;
}
