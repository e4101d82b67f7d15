// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Merging an exception store into its origin, and emptying one.
 *
 * The chain is taken from its end, a window of exceptions at a time.  When the window's data are
 * durable on the origin its exceptions are dead: copying them again changes nothing.  What retire()
 * does with them must leave, at any moment, a chain that ends in zeros and holds every exception that
 * is not dead.
 *
 *	0            first             end              live
 *	| unmerged    | window: x . x . | failed earlier | 0 0 0	x: failed now
 *
 * Without failures the zeros grow downwards, one block (dev->whole) at a time, as the kernel's merge
 * lets them grow.  With failures those that stay are first moved to the start of the window, in order:
 *
 *	| unmerged    | x x failed earlier | dead and duplicates | 0 0 0
 *
 * Source never lies before target, so going upwards only dead slots, or slots whose exception is
 * durable further down, are overwritten:
 *  - a gap of at least a block between target and source is filled with one write and one flush; it
 *    may tear, as all of it is dead;
 *  - in a smaller one a block is rewritten as a whole, which does not tear, and flushed.  The
 *    exceptions that it held are in it again, or in the block before it.
 * In between an exception may stand there twice: an exact duplicate, which check calls repairable
 * and a merge does not mind.  Then the rest is cleared from the end.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot.h"

#define READ_SLOTS 256u			/* reads begin and end at multiples of so many slots */
#define MOVE_SLOTS (64u << 10)		/* slots that are moved with one flush at most */

/* ---- reading a range of records ------------------------------------------------------------------ */

typedef int (*slot_fn)(void *arg, uint64_t record, uint64_t old_chunk, uint64_t new_chunk);

struct range {
	const struct snap_geometry *g;
	uint64_t first, end;
	uint64_t ask;		/* read-ahead */
};

static uint64_t round_up(uint64_t v, uint64_t to)
{
	return v % to ? v + (to - v % to) : v;
}

static int next_piece(void *arg, uint64_t *off, uint64_t *len)
{
	struct range *r = arg;
	uint64_t area = r->ask / r->g->entries, slot = r->ask % r->g->entries;
	uint64_t end = r->g->entries;

	if (r->ask >= r->end)
		return 0;
	if (area == (r->end - 1) / r->g->entries)
		end = round_up((r->end - 1) % r->g->entries + 1, READ_SLOTS);
	if (end > r->g->entries)
		end = r->g->entries;
	slot -= slot % READ_SLOTS;
	*off = snap_area_offset(r->g, area) + slot * SNAP_ENTRY;
	*len = (end - slot) * SNAP_ENTRY;
	r->ask = (area + 1) * r->g->entries;
	return 1;
}

static int part_slots(const struct range *r, const struct snap_exception_disk *e, uint64_t off,
		      size_t nr, slot_fn fn, void *arg)
{
	uint64_t area = (off / r->g->chunk_bytes - 1) / r->g->stride;
	uint64_t record = area * r->g->entries + off % r->g->chunk_bytes / SNAP_ENTRY;
	int ret = 0;

	for (; !ret && nr--; e++, record++)
		if (record >= r->first && record < r->end)
			ret = fn(arg, record, dmfmt_snap_old(e), dmfmt_snap_new(e));
	return ret;
}

/* records [first, end) in ascending order */
static int each_slot(struct dmfmt *f, uint64_t first, uint64_t end, slot_fn fn, void *arg)
{
	const struct snap *s = f->priv;
	struct range r = { .g = &s->g, .first = first, .end = end, .ask = first };
	struct dmfmt_stream_opts o = { .next = next_piece, .arg = &r, .memory = 1 << 20 };
	struct dmfmt_stream *stream;
	const void *buf;
	uint64_t off;
	size_t len;
	int ret = dmfmt_stream_open(f->dev, &o, &stream);

	if (ret)
		return ret;
	while ((ret = dmfmt_stream_next(stream, &buf, &off, &len)) == 1) {
		ret = part_slots(&r, buf, off, len / SNAP_ENTRY, fn, arg);
		if (ret)
			break;
	}
	dmfmt_stream_close(stream);
	return ret;
}

/* ---- prepare --------------------------------------------------------------------------------------- */

/* the last slot behind the end that is not zero, or DMFMT_NONE */
static int look_behind(void *arg, const struct snap_part *p)
{
	uint64_t *stale = arg;
	size_t i;

	for (i = p->live; i < p->nr; i++)
		if (p->v[2 * i] || p->v[2 * i + 1])
			*stale = p->first + i;
	return 0;
}

/*
 * A stale tail would end up behind the zeros of a shorter chain, and a later write of the kernel makes
 * it live.  It goes from its end, so that what is left of it never looks like more than it was.
 */
int snap_merge_prepare(struct dmfmt *f, bool dry_run)
{
	struct snap *s = f->priv;
	uint64_t stale = DMFMT_NONE;
	struct snap_chain chain = { .f = f, .what = "counting", .pass = 1, .nr_passes = 1,
				    .fn = look_behind, .arg = &stale };
	int ret = snap_need_readable(f);

	if (!ret && s->state != SNAP_SOUND)
		ret = dmfmt_fail(f->ctx, -EUCLEAN, "%s: header: valid is 0, expected 1", f->dev->path);
	if (!ret)
		ret = snap_chain_run(&chain);
	if (ret)
		return ret;
	if (chain.end.end != SNAP_END_TERMINATOR)
		return dmfmt_fail(f->ctx, -EUCLEAN,
				  "%s: the chain runs off the device after %" PRIu64
				  " exceptions, expected a terminator", f->dev->path, chain.end.records);
	s->merge.live = s->merge.unmerged = s->merge.next = chain.end.records;
	if (stale == DMFMT_NONE || dry_run)
		return 0;
	dmfmt_log(f->ctx, DMFMT_LOG_INFO, "%s: clearing stale entries behind record %" PRIu64,
		  f->dev->path, chain.end.records);
	return snap_clear_records(f, chain.end.records, stale + 1, NULL);
}

uint64_t snap_merge_remaining(const struct dmfmt *f)
{
	const struct snap *s = f->priv;

	return s->merge.live;
}

/* ---- plan ------------------------------------------------------------------------------------------ */

/* where a window that ends at @end begins: whole areas, or a part of one that is too large */
static uint64_t window_start(const struct snap_geometry *g, uint64_t end, const struct dmfmt_batch *b)
{
	uint64_t most = b->max_bytes / g->chunk_bytes, in_area;

	if (most > b->room)
		most = b->room;
	if (!most)
		most = 1;
	if (end <= most)
		return 0;
	in_area = (end - 1) % g->entries + 1;
	if (in_area > most)
		return end - most;
	return end - in_area - (most - in_area) / g->entries * g->entries;
}

struct planner {
	struct dmfmt *f;
	const struct snap_geometry *g;
	struct dmfmt_batch *b;
	uint64_t limit;		/* bytes of the origin */
	uint64_t nr_beyond;
};

static int contradicts(struct planner *p, uint64_t record, uint64_t old_chunk, uint64_t new_chunk)
{
	return dmfmt_fail(p->f->ctx, -EUCLEAN,
			  "%s: record %" PRIu64 ": old_chunk %" PRIu64 ", new_chunk %" PRIu64
			  ", expected what the check has seen", p->f->dev->path, record, old_chunk,
			  new_chunk);
}

static int plan_slot(void *arg, uint64_t record, uint64_t old_chunk, uint64_t new_chunk)
{
	struct planner *p = arg;
	struct dmfmt_batch *b = p->b;
	struct dmfmt_move *last = b->nr ? &b->moves[b->nr - 1] : NULL;
	struct dmfmt_move m = { .len = p->g->chunk_bytes };

	if (!dmfmt_snap_new_chunk_ok(p->g, new_chunk) || dmfmt_snap_old_chunk_wraps(p->g, old_chunk) ||
	    old_chunk > p->limit / p->g->chunk_bytes)
		return contradicts(p, record, old_chunk, new_chunk);
	m.to = old_chunk * p->g->chunk_bytes;
	m.from = new_chunk * p->g->chunk_bytes;
	if (m.to == p->limit) {
		p->nr_beyond++;
		b->beyond += m.len;
		return 0;
	}
	if (m.len > p->limit - m.to)
		m.len = p->limit - m.to;
	if (last && last->to + last->len == m.to && last->from + last->len == m.from) {
		last->len += m.len;
		return 0;
	}
	if (b->nr == b->room)
		return contradicts(p, record, old_chunk, new_chunk);
	b->moves[b->nr++] = m;
	return 0;
}

int snap_merge_plan(struct dmfmt *f, struct dmfmt_batch *b)
{
	struct snap *s = f->priv;
	struct planner p = { .f = f, .g = &s->g, .b = b, .limit = f->origin_sectors * 512 };
	int ret;

	if (!s->merge.next)
		return 0;
	b->nr = 0;
	b->beyond = 0;
	b->unit_bytes = s->g.chunk_bytes;
	b->end = s->merge.next;
	b->first = window_start(&s->g, b->end, b);
	ret = each_slot(f, b->first, b->end, plan_slot, &p);
	if (ret)
		return ret;
	if (p.nr_beyond)
		dmfmt_log(f->ctx, DMFMT_LOG_WARNING,
			  "%s: %" PRIu64 " exceptions begin at the end of the origin (%" PRIu64
			  " sectors) and are dropped, as the kernel does", f->dev->path, p.nr_beyond,
			  f->origin_sectors);
	s->merge.next = b->first;
	return 1;
}

/* ---- retire: what stays ---------------------------------------------------------------------------- */

/*
 * struct stay - exceptions that stay in the store, in their order
 * @bits: one per record of the window; @window: how many are set
 * @kept: behind the window, from earlier ones
 * @at: the next one's record
 */
struct stay {
	struct dmfmt *f;
	const struct snap_geometry *g;
	const struct dmfmt_batch *b;
	uint8_t *bits;
	uint64_t window, kept, at;
	struct snap_exception_disk *buf;
};

static int has_failed(const void *key, const void *elem)
{
	const uint64_t *to = key;
	const struct dmfmt_move *m = elem;

	return *to < m->to ? -1 : *to > m->to;
}

static int mark_slot(void *arg, uint64_t record, uint64_t old_chunk, uint64_t new_chunk)
{
	struct stay *x = arg;
	uint64_t to = old_chunk * x->g->chunk_bytes, i = record - x->b->first;

	(void)new_chunk;
	if (!bsearch(&to, x->b->failed, x->b->nr_failed, sizeof(*x->b->failed), has_failed))
		return 0;
	x->bits[i / 8] |= (uint8_t)(1u << i % 8);
	x->window++;
	return 0;
}

/* the first record from @at on that stays; the end of the chain if there is none */
static uint64_t next_stay(const struct stay *x, uint64_t at)
{
	while (at < x->b->end) {
		uint64_t i = at - x->b->first;

		if (x->bits[i / 8] >> i % 8 & 1)
			break;
		at++;
	}
	return at;
}

/* records [first, first + nr) as stored, across areas */
static int read_slots(const struct stay *x, uint64_t first, struct snap_exception_disk *e, size_t nr)
{
	int ret = 0;

	while (!ret && nr) {
		uint64_t room = x->g->entries - first % x->g->entries;
		size_t n = nr < room ? nr : (size_t)room;

		ret = dmfmt_dev_read(x->f->dev, snap_record_offset(x->g, first), e, n * SNAP_ENTRY);
		first += n;
		e += n;
		nr -= n;
	}
	return ret;
}

static int write_slots(const struct stay *x, uint64_t first, const struct snap_exception_disk *e,
		       size_t nr)
{
	int ret = 0;

	while (!ret && nr) {
		uint64_t room = x->g->entries - first % x->g->entries;
		size_t n = nr < room ? nr : (size_t)room;

		ret = dmfmt_dev_write(x->f->dev, snap_record_offset(x->g, first), e, n * SNAP_ENTRY);
		first += n;
		e += n;
		nr -= n;
	}
	return ret ? ret : dmfmt_dev_flush(x->f->dev);
}

/* the next @nr that stay, into x->buf; those in a row are read together */
static int gather(struct stay *x, size_t nr)
{
	size_t i = 0;
	int ret = 0;

	while (!ret && i < nr) {
		uint64_t from = next_stay(x, x->at);
		size_t n = 1;

		while (i + n < nr && next_stay(x, from + n) == from + n)
			n++;
		ret = read_slots(x, from, x->buf + i, n);
		x->at = from + n;
		i += n;
	}
	return ret;
}

/* how many slots from @target on may be written with one flush; the next that stays is in @source */
static size_t step_slots(const struct stay *x, uint64_t target, uint64_t source, uint64_t left)
{
	uint64_t block = x->f->dev->whole / SNAP_ENTRY, n = source - target;

	if (block > x->g->entries)	/* a small area lies inside one block */
		block = x->g->entries;
	if (n < block)
		n = block - target % x->g->entries % block;
	if (n > MOVE_SLOTS)
		n = MOVE_SLOTS;
	return n < left ? (size_t)n : (size_t)left;
}

/* all that stay to the start of the window */
static int move_down(struct stay *x)
{
	uint64_t target = x->b->first, end = target + x->window + x->kept;
	int ret = 0;

	x->at = target;
	while (!ret && target < end) {
		uint64_t source = next_stay(x, x->at);
		size_t n;

		if (source == target) {
			x->at = ++target;
			continue;
		}
		n = step_slots(x, target, source, end - target);
		ret = gather(x, n);
		if (!ret)
			ret = write_slots(x, target, x->buf, n);
		target += n;
		if (!ret)
			ret = dmfmt_progress_step(x->f->ctx, "moving entries that stay", 1, 1,
						  target - x->b->first, end - x->b->first);
	}
	return ret;
}

static int keep_failed(struct dmfmt *f, const struct dmfmt_batch *b, uint64_t *nr)
{
	struct snap *s = f->priv;
	struct stay x = { .f = f, .g = &s->g, .b = b, .kept = s->merge.live - b->end };
	size_t width = (size_t)(b->end - b->first);
	int ret = 0;

	x.bits = calloc(1, width / 8 + 1);
	x.buf = malloc(MOVE_SLOTS * SNAP_ENTRY);
	if (!x.bits || !x.buf)
		ret = dmfmt_fail(f->ctx, -ENOMEM, "%s: no memory for entries that stay", f->dev->path);
	if (!ret && b->nr_failed)
		ret = each_slot(f, b->first, b->end, mark_slot, &x);
	if (!ret)
		ret = move_down(&x);
	*nr = x.window + x.kept;
	free(x.bits);
	free(x.buf);
	return ret;
}

int snap_merge_retire(struct dmfmt *f, const struct dmfmt_batch *b)
{
	struct snap *s = f->priv;
	uint64_t stay = 0;
	int ret = 0;

	if (b->first > b->end || b->end != s->merge.unmerged || b->end > s->merge.live)
		return dmfmt_fail(f->ctx, -EINVAL,
				  "%s: records %" PRIu64 " to %" PRIu64
				  " cannot be retired, expected those up to %" PRIu64, f->dev->path,
				  b->first, b->end, s->merge.unmerged);
	if (b->nr_failed || s->merge.live > b->end)
		ret = keep_failed(f, b, &stay);
	if (ret)
		return ret;
	s->merge.unmerged = b->first;
	return snap_clear_records(f, b->first + stay, s->merge.live, &s->merge.live);
}

/* ---- discard --------------------------------------------------------------------------------------- */

int snap_discard(struct dmfmt *f, uint64_t *records)
{
	struct snap *s = f->priv;
	int ret = snap_merge_prepare(f, false);

	*records = s->merge.live;
	return ret ? ret : snap_clear_records(f, 0, s->merge.live, &s->merge.live);
}
