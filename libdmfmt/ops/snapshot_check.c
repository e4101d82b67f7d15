// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Checking an exception store: every row of the invariants in dm-snapshot-format(5) is looked at, or
 * reported as not checked with the reason.
 *
 * Pass 1 follows the chain once: range rules for each entry, order of new_chunk, duplicates of
 * old_chunk in a bitmap.  Nearly always that is all.  More passes happen only if keys did not fit
 * the bitmap, if new_chunk does not increase (so it may repeat), or to name the partner of a duplicate.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "snapshot.h"
#include "../core/seen.h"

/* of the memory limit, for everything that is not the duplicate check */
#define RESERVE (14ull << 20)
#define PART_MAX ((1u << 20) / SNAP_ENTRY)

struct dup {
	uint64_t key, later, later_other, first, first_other;
	bool found_first;
};

struct chk {
	struct dmfmt *f;
	struct dmfmt_ctx *ctx;
	struct snap *s;
	const struct snap_geometry *g;
	struct dmfmt_report *r;
	unsigned flags;

	uint64_t origin_chunks;	/* DMFMT_NONE: unknown */
	bool origin_whole;	/* the last origin chunk is a whole one */
	uint64_t fast_end;	/* old_chunk below it breaks no rule */

	/* pass 1 */
	struct dmfmt_seen seen;
	uint64_t prev_new, max_new, next_free;
	uint64_t out_of_order, first_out_of_order;
	uint64_t not_dense, beyond_dense;
	bool beyond_next;	/* an area goes on where the one before it ended, past the device */
	uint64_t unreadable_parts;
	uint64_t stale_area;	/* first area that cannot belong to the store, or DMFMT_NONE */
	uint64_t doubt_area;	/* first area with no entry above those before it, or DMFMT_NONE */
	bool garbage;		/* area 0 */
	uint64_t partial_record;
	struct snap_chain_end end;
	unsigned passes;

	/* the last area behind its terminator */
	struct { uint64_t slot, nr, first, last, dense; bool term_old; uint64_t term; } tail;

	/* duplicates of one column */
	unsigned column;
	struct dup *dups;
	size_t nr_dups, max_dups;
	uint64_t dups_total;
	uint8_t *filter;
	uint32_t *positions;
};

/* ---- small helpers -------------------------------------------------------------------------- */

struct text {
	char s[160];
};

static struct text text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static struct text text(const char *fmt, ...)
{
	struct text t;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(t.s, sizeof(t.s), fmt, ap);
	va_end(ap);
	return t;
}

static struct text place_of(const struct chk *c, uint64_t record)
{
	return text("exception %" PRIu64 " of area %" PRIu64, record % c->g->entries,
		    record / c->g->entries);
}

static struct dmfmt_at at_record(const struct chk *c, uint64_t record, uint64_t old_chunk)
{
	struct dmfmt_at at = DMFMT_AT_NOWHERE;

	at.record = record;
	at.offset = snap_record_offset(c->g, record);
	if (!dmfmt_snap_old_chunk_wraps(c->g, old_chunk)) {
		at.origin_sector = old_chunk << c->g->shift;
		at.origin_nr = c->g->chunk_sectors;
	}
	return at;
}

static struct dmfmt_at at_offset(uint64_t offset, const char *suggestion)
{
	struct dmfmt_at at = DMFMT_AT_NOWHERE;

	at.offset = offset;
	at.suggestion = suggestion;
	return at;
}

/* remember for repair that this record has to go; false if it was there already */
static bool remember(struct snap_records *r, uint64_t record)
{
	size_t i;

	/* only the short list of duplicates can meet a record twice; the newest are the likely ones */
	for (i = r->nr; i-- > 0 && r->nr - i < 4096;)
		if (r->v[i] == record)
			return false;
	if (r->nr == r->room) {
		size_t room = r->room ? 2 * r->room : 64;
		uint64_t *more = room > SNAP_ROUND ? NULL : reallocarray(r->v, room, sizeof(*more));

		if (!more)
			return true;	/* mended in rounds */
		r->v = more;
		r->room = room;
	}
	r->v[r->nr++] = record;
	return true;
}

/* a record in an area that goes as a whole: said once, for the area */
static bool covered(const struct chk *c, uint64_t record)
{
	return c->garbage ||
	       (c->stale_area != DMFMT_NONE && record / c->g->entries >= c->stale_area);
}

/* ---- entries -------------------------------------------------------------------------------- */

static int bad_new(struct chk *c, uint64_t record, uint64_t old_chunk, uint64_t new_chunk)
{
	const struct snap_geometry *g = c->g;
	struct dmfmt_at at = at_record(c, record, old_chunk);
	struct text place = place_of(c, record), found, expected;
	enum dmfmt_code code;

	found = text("new_chunk %" PRIu64, new_chunk);
	expected = text("a data chunk from 2 to %" PRIu64, g->chunks ? g->chunks - 1 : 0);
	at.suggestion = "dmtool snapshot-repair -y --accept-loss=N, where N is the number that check prints";
	if (new_chunk >= UINT64_MAX - 2)
		code = DMFMT_F_SNAP_NEW_WRAPS;
	else if (new_chunk >> DMFMT_SNAP_NEW_CHUNK_BITS)
		code = DMFMT_F_SNAP_NEW_TOP_BYTE;
	else if (new_chunk + 2 > UINT64_MAX >> g->shift)
		code = DMFMT_F_SNAP_NEW_WRAPS;
	else if (new_chunk >= g->chunks)
		code = DMFMT_F_SNAP_NEW_RANGE;
	else
		code = DMFMT_F_SNAP_NEW_METADATA;
	if (code == DMFMT_F_SNAP_NEW_RANGE) {
		found = text("new_chunk %" PRIu64 " is past the end of the device (%" PRIu64 " chunks)",
			     new_chunk, g->chunks);
		at.suggestion = "restore the size of the device, if it was made smaller; else dmtool snapshot-repair -y --accept-loss=N";
		c->beyond_dense += new_chunk == dmfmt_snap_dense_chunk(g, record / g->entries,
								       record % g->entries);
	} else if (code == DMFMT_F_SNAP_NEW_METADATA) {
		found = text("new_chunk %" PRIu64 " is %s", new_chunk,
			     new_chunk ? "an area's metadata chunk" : "the header");
	}
	at.loss = 1;
	remember(&c->s->lossy, record);
	return dmfmt_report_add(c->r, code, &at, place.s, found.s, expected.s);
}

/* rules 16 and 17; @counted: the entry is lost already for its new_chunk */
static int bad_old(struct chk *c, uint64_t record, uint64_t old_chunk, bool counted)
{
	struct dmfmt_at at = at_record(c, record, old_chunk);
	struct text place = place_of(c, record), found, expected;
	enum dmfmt_code code;

	if (dmfmt_snap_old_chunk_wraps(c->g, old_chunk)) {
		code = DMFMT_F_SNAP_OLD_WRAPS;
		expected = text("at most %" PRIu64, UINT64_MAX >> c->g->shift);
	} else if (c->origin_chunks == DMFMT_NONE || old_chunk < c->origin_chunks) {
		return 0;
	} else {
		code = old_chunk == c->origin_chunks && c->origin_whole ? DMFMT_F_SNAP_OLD_AT_END :
								DMFMT_F_SNAP_OLD_RANGE;
		expected = text("below %" PRIu64 " (origin of %" PRIu64 " sectors)", c->origin_chunks,
				c->f->origin_sectors);
	}
	found = text("old_chunk %" PRIu64, old_chunk);
	at.suggestion = "dmtool snapshot-repair -y --accept-loss=N, where N is the number that check prints";
	if (code == DMFMT_F_SNAP_OLD_AT_END) {
		at.suggestion = "";
	} else if (!counted) {
		at.loss = 1;
		remember(&c->s->lossy, record);
	}
	return dmfmt_report_add(c->r, code, &at, place.s, found.s, expected.s);
}

static int slow_entry(struct chk *c, const struct snap_part *p, size_t i)
{
	uint64_t old_chunk = p->v[2 * i], new_chunk = p->v[2 * i + 1];
	bool new_ok = dmfmt_snap_new_chunk_ok(c->g, new_chunk);
	int ret = 0;

	c->next_free = dmfmt_snap_next_free(c->next_free, new_chunk);
	c->not_dense += new_chunk != dmfmt_snap_dense_chunk(c->g, p->area, p->slot + i);
	if (new_chunk <= c->prev_new && !c->out_of_order++)
		c->first_out_of_order = p->first + i;
	c->prev_new = new_chunk;
	if (new_ok && new_chunk > c->max_new)
		c->max_new = new_chunk;
	if (!new_ok && !covered(c, p->first + i))
		ret = bad_new(c, p->first + i, old_chunk, new_chunk);
	if (!ret && old_chunk >= c->fast_end && !covered(c, p->first + i))
		ret = bad_old(c, p->first + i, old_chunk, !new_ok);
	if (c->origin_chunks != DMFMT_NONE && !c->origin_whole && old_chunk == c->origin_chunks - 1)
		c->partial_record = p->first + i;
	return ret;
}

/* ---- areas ---------------------------------------------------------------------------------- */

static bool entry_ok(const struct chk *c, const struct snap_part *p, size_t i)
{
	return dmfmt_snap_new_chunk_ok(c->g, p->v[2 * i + 1]) &&
	       !dmfmt_snap_old_chunk_wraps(c->g, p->v[2 * i]);
}

/*
 * The first part of an area that in-order allocation did not write: can it be exceptions at all?
 * Area 0: no, if its first entry and more than half of it break rules 11 to 13 or 17.
 * A later one: no, if its first entry breaks them and no more than half of it is where in-order
 * allocation puts it; but a truncated device shows entries that go on from the area before.
 * Doubtful, if none of its entries lies above all before it.
 */
static void judge_area(struct chk *c, const struct snap_part *p)
{
	uint64_t first_new = p->v[1];
	size_t i, bad = 0, above = 0, dense = 0;

	if (p->slot || !p->live || c->garbage || c->stale_area != DMFMT_NONE)
		return;
	for (i = 0; i < p->live; i++) {
		bad += !entry_ok(c, p, i);
		above += p->v[2 * i + 1] > c->max_new;
		dense += p->v[2 * i + 1] == dmfmt_snap_dense_chunk(c->g, p->area, i);
	}
	if (!p->area) {
		c->garbage = !entry_ok(c, p, 0) && bad * 2 > p->live;
		return;
	}
	if (dense * 2 > p->live || first_new == dmfmt_snap_dense_chunk(c->g, p->area, 0))
		return;
	if (first_new >= c->g->chunks && first_new > c->max_new &&
	    first_new - c->max_new <= c->g->stride)
		c->beyond_next = true;
	else if (!entry_ok(c, p, 0))
		c->stale_area = p->area;
	else if (!above && c->doubt_area == DMFMT_NONE)
		c->doubt_area = p->area;
}

static int unreadable(struct chk *c, const struct snap_part *p)
{
	struct dmfmt_at at = at_offset(p->offset, "copy the device with GNU ddrescue first, then check the copy");

	c->unreadable_parts++;
	at.record = p->first;
	return dmfmt_report_add(c->r, DMFMT_F_SNAP_AREA_UNREADABLE, &at,
				text("area %" PRIu64 ", slots %" PRIu64 " to %" PRIu64, p->area, p->slot,
				     p->slot + p->nr - 1).s, "input/output error",
				text("%zu readable entries", p->nr).s);
}

/* ---- duplicates ------------------------------------------------------------------------------ */

static void remember_dup(struct chk *c, uint64_t record, uint64_t key, uint64_t other)
{
	c->dups_total++;
	if (c->nr_dups < c->max_dups)
		c->dups[c->nr_dups++] = (struct dup){ .key = key, .later = record,
						      .later_other = other };
}

static void seen_rows(struct chk *c, const struct snap_part *p, size_t from, size_t nr)
{
	const uint64_t *v = p->v + 2 * from;
	size_t i, n = dmfmt_seen_pairs(&c->seen, v + c->column, nr, c->positions);

	for (i = 0; i < n; i++) {
		size_t at = c->positions[i];

		remember_dup(c, p->first + from + at, v[2 * at + c->column],
			     v[2 * at + 1 - c->column]);
	}
}

static int tail_part(struct chk *c, const struct snap_part *p);

static int check_part(void *arg, const struct snap_part *p)
{
	struct chk *c = arg;
	uint64_t base = dmfmt_snap_dense_chunk(c->g, p->area, p->slot);
	size_t i;
	int ret = 0;

	if (!p->e)
		return p->behind_end ? 0 : unreadable(c, p);
	if (p->live && base > c->prev_new && base + p->live <= c->g->chunks &&
	    dmfmt_snap_all_dense(p->e, p->live, base, c->fast_end)) {
		c->prev_new = c->max_new = base + p->live - 1;
		c->next_free = base + p->live;
	} else {
		if (p->live)
			judge_area(c, p);
		for (i = 0; !ret && i < p->live; i++)
			ret = slow_entry(c, p, i);
	}
	if (!ret && p->live)
		seen_rows(c, p, 0, p->live);
	if (!ret && p->live < p->nr)
		ret = tail_part(c, p);
	return ret;
}

static int seen_part(void *arg, const struct snap_part *p)
{
	if (p->e && p->live)
		seen_rows(arg, p, 0, p->live);
	return 0;
}

static unsigned filter_bit(uint64_t key)
{
	return (unsigned)((key * 0x9e3779b97f4a7c15ull) >> 44);	/* 20 bits */
}

/* the first record of each duplicated key */
static int first_part(void *arg, const struct snap_part *p)
{
	struct chk *c = arg;
	size_t i, j;

	for (i = 0; p->e && i < p->live; i++) {
		uint64_t key = p->v[2 * i + c->column];
		unsigned bit = filter_bit(key);
		size_t lo = 0, hi = c->nr_dups;

		if (!(c->filter[bit >> 3] & 1 << (bit & 7)))
			continue;
		while (lo < hi) {
			j = lo + (hi - lo) / 2;
			if (c->dups[j].key < key)
				lo = j + 1;
			else
				hi = j;
		}
		/* all of one key are named at once: a key that repeats a million times costs nothing */
		if (lo < c->nr_dups && c->dups[lo].found_first)
			continue;
		for (; lo < c->nr_dups && c->dups[lo].key == key; lo++) {
			c->dups[lo].found_first = true;
			c->dups[lo].first = p->first + i;
			c->dups[lo].first_other = p->v[2 * i + 1 - c->column];
		}
	}
	return 0;
}

static int by_key(const void *a, const void *b)
{
	const struct dup *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return x->later < y->later ? -1 : x->later > y->later;
}

static int run_pass(struct chk *c, snap_part_fn fn, const char *what, unsigned planned)
{
	struct snap_chain chain = {
		.f = c->f, .what = what, .pass = ++c->passes, .nr_passes = planned,
		.total_areas = c->end.areas, .tolerant = true, .fn = fn, .arg = c,
	};
	int ret = snap_chain_run(&chain);

	if (c->passes == 1)
		c->end = chain.end;
	return ret;
}

static int find_firsts(struct chk *c)
{
	size_t i;

	if (!c->nr_dups)
		return 0;
	c->filter = calloc(1, (1 << 20) / 8);
	if (!c->filter)
		return dmfmt_fail(c->ctx, -ENOMEM, "out of memory for the duplicate check");
	qsort(c->dups, c->nr_dups, sizeof(*c->dups), by_key);
	for (i = 0; i < c->nr_dups; i++) {
		unsigned bit = filter_bit(c->dups[i].key);

		c->filter[bit >> 3] |= 1 << (bit & 7);
	}
	i = (size_t)run_pass(c, first_part, "naming duplicates", c->passes + 1);
	free(c->filter);
	c->filter = NULL;
	return (int)i;
}

/* the same bytes in both chunks? 1 yes, 0 no, -EIO, -ECANCELED .. */
static int same_data(struct chk *c, uint64_t a, uint64_t b)
{
	uint64_t off = 0, left = c->g->chunk_bytes;
	size_t room = left < 1 << 17 ? (size_t)left : 1 << 17;
	uint8_t *buf = malloc(2 * room);
	int same = 1;

	if (!buf)
		return -ENOMEM;
	for (; same == 1 && left; off += room, left -= room) {
		int ret = dmfmt_dev_read(c->f->dev, a * c->g->chunk_bytes + off, buf, room);

		if (!ret)
			ret = dmfmt_dev_read(c->f->dev, b * c->g->chunk_bytes + off, buf + room, room);
		if (!ret && !(off & ((8 << 20) - 1)))
			ret = dmfmt_progress_step(c->ctx, "comparing duplicates", c->passes, c->passes,
						  off, c->g->chunk_bytes);
		same = ret ? ret : !memcmp(buf, buf + room, room);
	}
	free(buf);
	return same;
}

static bool sound(const struct chk *c, uint64_t old_chunk, uint64_t new_chunk)
{
	return dmfmt_snap_new_chunk_ok(c->g, new_chunk) &&
	       !dmfmt_snap_old_chunk_wraps(c->g, old_chunk) &&
	       (c->origin_chunks == DMFMT_NONE || old_chunk < c->origin_chunks ||
		(old_chunk == c->origin_chunks && c->origin_whole));
}

static bool dense_at(const struct chk *c, uint64_t record, uint64_t new_chunk)
{
	return new_chunk == dmfmt_snap_dense_chunk(c->g, record / c->g->entries,
						   record % c->g->entries);
}

static int add_dup(struct chk *c, enum dmfmt_code code, const struct dup *d, uint64_t victim,
		   bool goes, uint64_t old_chunk, const char *found)
{
	struct dmfmt_at at = at_record(c, victim, old_chunk);
	bool fatal = code == DMFMT_F_SNAP_OLD_DUPLICATE || code == DMFMT_F_SNAP_NEW_DUPLICATE;

	if (covered(c, victim))
		return 0;
	at.record2 = victim == d->later ? d->first : d->later;
	at.suggestion = fatal ? "dmtool snapshot-repair -y --accept-loss=N, where N is the number that check prints" :
		       "dmtool snapshot-repair -a";
	if (goes && remember(fatal ? &c->s->lossy : &c->s->twins, victim) && fatal)
		at.loss = 1;
	return dmfmt_report_add(c->r, code, &at, place_of(c, victim).s, found,
				text("%s only once", c->column ? "new_chunk" : "old_chunk").s);
}

static int old_dup(struct chk *c, const struct dup *d)
{
	bool both = sound(c, d->key, d->later_other) && sound(c, d->key, d->first_other);
	struct text found;
	int same = 0;

	if (d->first_other == d->later_other)
		return add_dup(c, DMFMT_F_SNAP_EXACT_DUPLICATE, d, d->later, both, d->key,
			       text("the same as exception %" PRIu64 ": old_chunk %" PRIu64
				    ", new_chunk %" PRIu64, d->first, d->key, d->first_other).s);
	if (both)
		same = same_data(c, d->first_other, d->later_other);
	if (same < 0 && same != -EIO)
		return same;
	found = text("old_chunk %" PRIu64 " again, new_chunk %" PRIu64 "; exception %" PRIu64
		     " has new_chunk %" PRIu64 "%s", d->key, d->later_other, d->first, d->first_other,
		     same == 1 ? " with the same data" : "");
	return add_dup(c, same == 1 ? DMFMT_F_SNAP_OLD_DUPLICATE_SAME : DMFMT_F_SNAP_OLD_DUPLICATE, d,
		       d->later, both, d->key, found.s);
}

/* rule 14: the one that in-order allocation put there stays, if exactly one is; else the earlier */
static int new_dup(struct chk *c, const struct dup *d)
{
	bool later_wins = dense_at(c, d->later, d->key) && !dense_at(c, d->first, d->key);
	bool both = sound(c, d->later_other, d->key) && sound(c, d->first_other, d->key);
	uint64_t victim = later_wins ? d->first : d->later;
	uint64_t old_chunk = later_wins ? d->first_other : d->later_other;

	if (d->first_other == d->later_other)
		return 0;	/* an exact duplicate: said once, for old_chunk */
	return add_dup(c, DMFMT_F_SNAP_NEW_DUPLICATE, d, victim, both, old_chunk,
		       text("new_chunk %" PRIu64 " (old_chunk %" PRIu64 ") is also exception %" PRIu64
			    "'s (old_chunk %" PRIu64 ")", d->key, old_chunk,
			    later_wins ? d->later : d->first,
			    later_wins ? d->later_other : d->first_other).s);
}

static int report_dups(struct chk *c)
{
	uint64_t rest = c->dups_total - c->nr_dups;
	struct dmfmt_at at = DMFMT_AT_NOWHERE;
	size_t i;
	int ret = find_firsts(c);

	/* an area in doubt whose entries repeat what came before it is a stale one (rule 21) */
	for (i = 0; i < c->nr_dups && c->doubt_area != DMFMT_NONE; i++)
		if (c->stale_area == DMFMT_NONE && c->dups[i].first_other != c->dups[i].later_other &&
		    c->dups[i].later / c->g->entries >= c->doubt_area)
			c->stale_area = c->doubt_area;
	for (i = 0; !ret && i < c->nr_dups; i++)
		if (c->dups[i].found_first)
			ret = c->column ? new_dup(c, &c->dups[i]) : old_dup(c, &c->dups[i]);
	at.count = at.loss = rest;
	if (!ret && rest)
		ret = dmfmt_report_add(c->r, c->column ? DMFMT_F_SNAP_NEW_DUPLICATE :
				       DMFMT_F_SNAP_OLD_DUPLICATE, &at, "store",
				       text("%" PRIu64 " more duplicates", rest).s, "");
	return ret;
}

static int more_passes(struct chk *c)
{
	bool hash;
	unsigned i, nr = dmfmt_seen_plan(&c->seen, c->ctx->memory, &hash);
	uint64_t span = dmfmt_seen_span(&c->seen), lo = c->seen.span;
	unsigned planned = c->passes + nr;
	int ret = 0;

	for (i = 0; !ret && i < nr; i++) {
		if (hash)
			dmfmt_seen_hash(&c->seen, lo, i, nr);
		else
			dmfmt_seen_bitmap(&c->seen, lo + i * span, span);
		ret = run_pass(c, seen_part, "looking for duplicates", planned);
	}
	return ret;
}

/* duplicates of new_chunk: only a store whose new_chunk does not increase can have any */
static int check_new_duplicates(struct chk *c)
{
	int ret;

	if (!c->out_of_order)
		return 0;
	c->column = 1;
	c->nr_dups = 0;
	c->dups_total = 0;
	c->seen.above = c->seen.max_above = 0;
	dmfmt_seen_bitmap(&c->seen, 0, c->g->chunks);
	ret = run_pass(c, seen_part, "looking for shared chunks", c->passes + 1);
	/* values past the device were reported by pass 1; those that repeat are found all the same */
	if (!ret && c->seen.above)
		ret = more_passes(c);
	if (!ret)
		ret = report_dups(c);
	return ret;
}

/* ---- the end of the chain -------------------------------------------------------------------- */

static int tail_part(struct chk *c, const struct snap_part *p)
{
	size_t i = p->live;

	if (!p->behind_end) {
		c->tail.slot = p->slot + i;
		c->tail.term_old = p->v[2 * i] != 0;
		c->tail.term = p->v[2 * i];
		c->tail.first = DMFMT_NONE;
		i++;
	}
	for (; i < p->nr; i++) {
		if (!p->v[2 * i] && !p->v[2 * i + 1])
			continue;
		if (c->tail.first == DMFMT_NONE)
			c->tail.first = p->slot + i;
		c->tail.last = p->slot + i;
		c->tail.nr++;
		c->tail.dense += p->v[2 * i + 1] ==
				 dmfmt_snap_dense_chunk(c->g, p->area, p->slot + i);
	}
	return 0;
}

static int report_tail(struct chk *c)
{
	uint64_t area = c->end.areas - 1;
	uint64_t term_off = snap_area_offset(c->g, area) + c->tail.slot * SNAP_ENTRY;
	struct dmfmt_at at = at_offset(term_off, "dmtool snapshot-repair -a");
	bool torn;
	int ret = 0;

	if (c->tail.term_old)
		ret = dmfmt_report_add(c->r, DMFMT_F_SNAP_TERMINATOR, &at,
				       text("area %" PRIu64 ", slot %" PRIu64, area, c->tail.slot).s,
				       text("terminator with old_chunk %" PRIu64, c->tail.term).s, "0");
	if (ret || !c->tail.nr)
		return ret;
	/* whole sectors missing with in-order entries behind them: a commit that was torn, or a sector
	 * that was lost; the bytes cannot tell (rule 20) */
	torn = c->tail.dense && !c->tail.term_old &&
	       c->tail.slot % DMFMT_SNAP_ENTRIES_PER_SECTOR == 0 &&
	       c->tail.first % DMFMT_SNAP_ENTRIES_PER_SECTOR == 0;
	at.offset = snap_area_offset(c->g, area) + c->tail.first * SNAP_ENTRY;
	at.count = c->tail.nr;
	if (torn) {
		at.loss = c->tail.nr;
		at.suggestion = "dmtool snapshot-repair -y --accept-loss=N to end the store at the gap, or --keep-tail to keep what is behind it";
	}
	return dmfmt_report_add(c->r, torn ? DMFMT_F_SNAP_TORN_AREA : DMFMT_F_SNAP_STALE_TAIL, &at,
				text("area %" PRIu64 ", slots %" PRIu64 " to %" PRIu64, area,
				     c->tail.first, c->tail.last).s,
				text("%" PRIu64 " entries behind the terminator in slot %" PRIu64
				     ", %" PRIu64 " of them in order", c->tail.nr, c->tail.slot,
				     c->tail.dense).s, "zeros");
}

/* rule 27: content behind the end is legal garbage unless it looks exactly like an area in order */
static int look_beyond(struct chk *c)
{
	struct snap_exception_disk e;
	uint64_t chunk, area;
	int ret = 0;

	for (area = c->end.areas; !ret && area < c->end.areas + SNAP_LOOK_BEYOND; area++) {
		struct dmfmt_at at;
		uint64_t off;

		if (!dmfmt_snap_area_chunk(c->g, area, &chunk))
			break;
		off = snap_area_offset(c->g, area);
		if (dmfmt_dev_read(c->f->dev, off, &e, sizeof(e)))
			continue;
		if (dmfmt_snap_new(&e) != dmfmt_snap_dense_chunk(c->g, area, 0) ||
		    !dmfmt_snap_new_chunk_ok(c->g, dmfmt_snap_new(&e)))
			continue;
		at = at_offset(off, "");
		ret = dmfmt_report_add(c->r, DMFMT_F_SNAP_AREA_BEYOND, &at,
				       text("area %" PRIu64, area).s,
				       text("begins with old_chunk %" PRIu64 ", new_chunk %" PRIu64,
					    dmfmt_snap_old(&e), dmfmt_snap_new(&e)).s,
				       text("nothing: the store ends in area %" PRIu64,
					    c->end.areas - 1).s);
		break;
	}
	return ret;
}

static int report_wrong_size(struct chk *c, const struct snap_guess *g)
{
	struct dmfmt_at at = at_offset(12, "dmtool snapshot-repair --rebuild-header -y");

	return dmfmt_report_add(c->r, DMFMT_F_SNAP_CHUNK_DOUBT, &at, "header",
				text("chunk_size %u sectors", c->g->chunk_sectors).s,
				text("%u sectors, with which area 0 holds %" PRIu64 " exceptions",
				     g->chunk_sectors, g->entries).s);
}

static int report_garbage(struct chk *c)
{
	struct snap_guess guesses[22];
	struct dmfmt_at at = at_offset(snap_area_offset(c->g, 0), "");
	unsigned nr;
	int best, ret = snap_infer(c->ctx, c->f->dev, guesses, &nr, &best);

	if (ret)
		return ret;
	at.record = 0;
	if (best >= 0 && guesses[best].chunk_sectors != c->g->chunk_sectors) {
		if (!dmfmt_report_count(c->r, DMFMT_F_SNAP_CHUNK_DOUBT))
			ret = report_wrong_size(c, &guesses[best]);
	} else {
		at.loss = c->end.records;
		at.suggestion = "if the store had only just been created: dmtool snapshot-repair --interrupted-create -y --accept-loss=N";
	}
	if (ret)
		return ret;
	return dmfmt_report_add(c->r, DMFMT_F_SNAP_AREA0_GARBAGE, &at, "area 0",
				text("%" PRIu64 " entries that break the rules", c->end.records).s,
				"exceptions or zeros");
}

static int report_stale_area(struct chk *c)
{
	uint64_t first = c->stale_area * c->g->entries;
	struct dmfmt_at at = at_offset(snap_area_offset(c->g, c->stale_area),
				       "dmtool snapshot-repair -y --accept-loss=N, where N is the number that check prints");

	at.record = first;
	at.count = at.loss = c->end.records - first;
	return dmfmt_report_add(c->r, DMFMT_F_SNAP_STALE_AREA, &at,
				text("area %" PRIu64, c->stale_area).s,
				text("%" PRIu64 " entries that cannot follow area %" PRIu64, at.count,
				     c->stale_area - 1).s, "zeros or exceptions of this store");
}

static int report_end(struct chk *c)
{
	struct dmfmt_at at = DMFMT_AT_NOWHERE;
	uint64_t used;

	/* said already: garbage ends nowhere, and a tail read with the wrong chunk size is data */
	if (c->garbage || dmfmt_report_count(c->r, DMFMT_F_SNAP_CHUNK_DOUBT))
		return 0;
	if (c->end.end == SNAP_END_TERMINATOR)
		return report_tail(c) ?: look_beyond(c);
	used = dmfmt_snap_chunks_needed(c->g, c->end.records) << c->g->shift;
	at.offset = c->g->chunks * c->g->chunk_bytes;
	at.suggestion = "make the device larger by a chunk whose bytes are zero";
	return dmfmt_report_add(c->r, DMFMT_F_SNAP_NO_TERMINATOR, &at,
				text("area %" PRIu64, c->end.areas).s,
				text("lies past the end of the device (%" PRIu64 " sectors)",
				     c->g->device_sectors).s,
				text("at least %" PRIu64 " sectors", used).s);
}

/* rules about the whole: order, holes, size, counts */
static int report_whole(struct chk *c)
{
	uint64_t n = c->end.records, next = dmfmt_snap_skip_metadata(c->g, c->next_free);
	uint64_t data = c->max_new > 1 ? c->max_new - 1 - (c->max_new - 1) / c->g->stride : 0;
	struct dmfmt_at at = DMFMT_AT_NOWHERE;
	int ret = 0;

	if (c->out_of_order) {
		at = at_record(c, c->first_out_of_order, UINT64_MAX);
		at.count = c->out_of_order;
		ret = dmfmt_report_add(c->r, DMFMT_F_SNAP_OUT_OF_ORDER, &at,
				       place_of(c, c->first_out_of_order).s,
				       text("new_chunk is not above the one before, in %" PRIu64 " places",
					    c->out_of_order).s, "");
		at = (struct dmfmt_at)DMFMT_AT_NOWHERE;
	}
	if (!ret && data > n) {
		at.count = data - n;
		ret = dmfmt_report_add(c->r, DMFMT_F_SNAP_HOLES, &at, "store",
				       text("%" PRIu64 " data chunks belong to no exception",
					    data - n).s, "");
		at.count = 1;
	}
	if (!ret && (c->beyond_dense || c->beyond_next) && next > c->g->chunks) {
		at.suggestion = "restore the size of the device; do not repair before";
		ret = dmfmt_report_add(c->r, DMFMT_F_SNAP_TRUNCATED, &at, "device",
				       text("%" PRIu64 " sectors", c->g->device_sectors).s,
				       text("at least %" PRIu64 " sectors, as exceptions in order say",
					    next << c->g->shift).s);
		at.suggestion = "";
	}
	if (!ret && c->origin_chunks != DMFMT_NONE && n > c->origin_chunks)
		ret = dmfmt_report_add(c->r, DMFMT_F_SNAP_TOO_MANY, &at, "store",
				       text("%" PRIu64 " exceptions", n).s,
				       text("at most %" PRIu64, c->origin_chunks).s);
	if (!ret && c->partial_record != DMFMT_NONE) {
		at.record = c->partial_record;
		ret = dmfmt_report_add(c->r, DMFMT_F_SNAP_PARTIAL_CHUNK, &at,
				       place_of(c, c->partial_record).s,
				       "maps the partial last chunk of the origin", "");
		at.record = DMFMT_NONE;
	}
	if (!ret && (double)n * 32 > (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE))
		ret = dmfmt_report_add(c->r, DMFMT_F_SNAP_MEMORY, &at, "store",
				       text("%" PRIu64 " exceptions need up to %" PRIu64 " bytes", n,
					    n > UINT64_MAX / 32 ? UINT64_MAX : n * 32).s,
				       "less than this machine's memory");
	return ret;
}

/* ---- header and device ------------------------------------------------------------------------ */

static int report_magic(struct chk *c)
{
	const struct snap_header *h = &c->s->hdr;
	struct snap_guess guesses[22];
	struct dmfmt_at at = at_offset(0, "");
	const char *rebuild = "dmtool snapshot-repair --rebuild-header -y";
	struct text found, expected;
	enum dmfmt_code code;
	unsigned nr;
	int best, ret;

	if (h->magic == DMFMT_SNAP_MAGIC_SWAPPED) {
		at.suggestion = "dmtool snapshot-repair -y";
		return dmfmt_report_add(c->r, DMFMT_F_SNAP_SWAPPED, &at, "header",
					"magic in big-endian byte order", "little-endian");
	}
	ret = snap_infer(c->ctx, c->f->dev, guesses, &nr, &best);
	if (ret)
		return ret;
	if (best >= 0) {
		at.suggestion = rebuild;
		expected = text("0x%08x: area 0 decodes with chunk_size %u (%" PRIu64 " exceptions)",
				DMFMT_SNAP_MAGIC, guesses[best].chunk_sectors, guesses[best].entries);
	} else {
		expected = text("0x%08x", DMFMT_SNAP_MAGIC);
	}
	found = text("magic 0x%08x", h->magic);
	if (!h->magic)
		code = best >= 0 ? DMFMT_F_SNAP_MAGIC_ZERO : DMFMT_F_SNAP_BLANK;
	else
		code = best >= 0 ? DMFMT_F_SNAP_HEADER_ENTRIES : DMFMT_F_SNAP_MAGIC_BAD;
	return dmfmt_report_add(c->r, code, &at, "header", found.s, expected.s);
}

static int report_chunk_size(struct chk *c)
{
	struct snap_guess guesses[22];
	struct dmfmt_at at = at_offset(12, "");
	unsigned nr;
	int best, ret = snap_infer(c->ctx, c->f->dev, guesses, &nr, &best);

	if (ret)
		return ret;
	if (best >= 0)
		at.suggestion = "dmtool snapshot-repair --rebuild-header -y";
	return dmfmt_report_add(c->r, DMFMT_F_SNAP_CHUNK_SIZE, &at, "header",
				text("chunk_size %u sectors", c->s->hdr.chunk_size).s,
				best >= 0 ? text("%u, with which area 0 holds %" PRIu64 " exceptions",
						 guesses[best].chunk_sectors, guesses[best].entries).s :
					    "a power of two from 1 to 2097152");
}

/* what keeps the chain from being followed; 1 if so */
static int report_unreadable_header(struct chk *c)
{
	const struct snap_header *h = &c->s->hdr;
	struct dmfmt_at at = at_offset(8, "");
	int ret;

	switch (c->s->state) {
	case SNAP_TOO_SMALL:
		at.offset = 0;
		ret = dmfmt_report_add(c->r, DMFMT_F_SNAP_TOO_SMALL, &at, "device",
				       text("%" PRIu64 " sectors", c->f->dev->size >> 9).s,
				       text("at least %" PRIu64 " sectors (two chunks)",
					    2 * (uint64_t)h->chunk_size).s);
		return ret ? ret : 1;
	case SNAP_MAGIC_ZERO:
	case SNAP_MAGIC_BAD:
	case SNAP_SWAPPED:
		ret = report_magic(c);
		return ret ? ret : 1;
	case SNAP_CHUNK_BAD:
		ret = report_chunk_size(c);
		return ret ? ret : 1;
	case SNAP_VERSION_BAD:
		ret = dmfmt_report_add(c->r, DMFMT_F_SNAP_VERSION, &at, "header",
				       text("version %u", h->version).s, "1");
		return ret ? ret : 1;
	case SNAP_INVALID:
	case SNAP_SOUND:
		break;
	}
	return 0;
}

static int report_valid(struct chk *c)
{
	struct dmfmt_at at = at_offset(4, "");

	if (c->s->state == SNAP_INVALID) {
		at.suggestion = "dmtool snapshot-repair --revalidate --origin-unmodified, only if nothing wrote to the origin since";
		return dmfmt_report_add(c->r, DMFMT_F_SNAP_INVALID, &at, "header", "valid 0", "1");
	}
	if (c->s->hdr.valid == 1)
		return 0;
	at.suggestion = "dmtool snapshot-repair -a";
	return dmfmt_report_add(c->r, DMFMT_F_SNAP_VALID_ODD, &at, "header",
				text("valid %u", c->s->hdr.valid).s, "1");
}

/* is another chunk size proven by what lies where its area 0 would be? 1 yes, 0 no */
static int other_size(struct chk *c, struct snap_guess *g)
{
	struct snap_guess guesses[22];
	unsigned nr;
	int best, ret = snap_infer(c->ctx, c->f->dev, guesses, &nr, &best);

	if (ret)
		return ret;
	if (best < 0 || guesses[best].chunk_sectors == c->g->chunk_sectors)
		return 0;
	*g = guesses[best];
	return 1;
}

/*
 * The kernel fills chunk 0 with zeros.  If something lies there, it may be area 0 of a smaller chunk
 * size: then everything behind is somebody's data, and "mending" it would destroy them.
 */
static int report_header_tail(struct chk *c)
{
	struct dmfmt_at at = DMFMT_AT_NOWHERE;
	struct snap_guess other;
	uint8_t buf[4096];
	uint64_t off;
	size_t i;
	int ret;

	for (off = 0; off < c->g->chunk_bytes; off += sizeof(buf)) {
		size_t len = c->g->chunk_bytes < sizeof(buf) ? (size_t)c->g->chunk_bytes : sizeof(buf);

		ret = dmfmt_dev_read(c->f->dev, off, buf, len);
		if (ret)
			return ret;
		for (i = off ? 0 : sizeof(struct snap_header_disk); i < len; i++) {
			if (!buf[i])
				continue;
			at.offset = off + i;
			ret = dmfmt_report_add(c->r, DMFMT_F_SNAP_HEADER_TAIL, &at, "header",
					       text("byte 0x%02x", buf[i]).s, "0");
			if (!ret)
				ret = other_size(c, &other);
			return ret == 1 ? report_wrong_size(c, &other) : ret;
		}
		if (!(off & ((8 << 20) - 1))) {
			ret = dmfmt_progress_step(c->ctx, "reading the header's chunk", 1, 1, off,
						  c->g->chunk_bytes);
			if (ret)
				return ret;
		}
	}
	return 0;
}

/* an empty store whose exceptions may lie where a larger chunk size has area 0; or an older store did */
static int report_empty(struct chk *c)
{
	struct dmfmt_at at = at_offset(12, "if this store should not be empty: dmtool snapshot-repair --rebuild-header -n");
	struct snap_guess other;
	int ret;

	if (c->end.records || c->end.lost || dmfmt_report_count(c->r, DMFMT_F_SNAP_CHUNK_DOUBT))
		return 0;
	ret = other_size(c, &other);
	if (ret != 1)
		return ret;
	return dmfmt_report_add(c->r, DMFMT_F_SNAP_CHUNK_OTHER, &at, "header",
				text("no exceptions with chunk_size %u sectors", c->g->chunk_sectors).s,
				text("%" PRIu64 " exceptions, if the chunk size is %u sectors",
				     other.entries, other.chunk_sectors).s);
}

static int report_blocks(struct chk *c)
{
	const struct dmfmt_dev *cow = c->f->dev, *org = c->f->origin;
	struct dmfmt_at at = at_offset(12, "");
	uint32_t block = cow->block;
	int ret = 0;

	if (org && org->block > block)
		block = org->block;
	if (c->g->chunk_bytes % block)
		ret = dmfmt_report_add(c->r, DMFMT_F_SNAP_CHUNK_BLOCK, &at, "header",
				       text("chunk_size %u sectors", c->g->chunk_sectors).s,
				       text("a multiple of %u bytes", block).s);
	at.offset = DMFMT_NONE;
	if (!ret && (cow->size % block || (org && org->size % block)))
		ret = dmfmt_report_add(c->r, DMFMT_F_SNAP_SIZE_UNALIGNED, &at, "device",
				       text("%" PRIu64 " bytes", cow->size).s,
				       text("a multiple of %u bytes on both devices", block).s);
	return ret;
}

static int report_geometry(struct chk *c)
{
	const struct snap_geometry *g = c->g;
	struct dmfmt_at at = DMFMT_AT_NOWHERE;
	uint64_t rest = g->device_sectors & (g->chunk_sectors - 1);
	int ret = 0;

	if (g->chunks == 2)
		ret = dmfmt_report_add(c->r, DMFMT_F_SNAP_NO_DATA_ROOM, &at, "device", "2 chunks",
				       "at least 3");
	if (!ret && dmfmt_snap_edge(g)) {
		at.suggestion = "make the device larger by at least one chunk";
		ret = dmfmt_report_add(c->r, DMFMT_F_SNAP_EDGE, &at, "device",
				       text("%" PRIu64 " chunks, which is 1 modulo %" PRIu64, g->chunks,
					    g->stride).s, "one chunk more or less");
		at.suggestion = "";
	}
	if (!ret && rest)
		ret = dmfmt_report_add(c->r, DMFMT_F_SNAP_TAIL_UNUSED, &at, "device",
				       text("%" PRIu64 " sectors at the end are unused", rest).s, "");
	return ret;
}

/* ---- data -------------------------------------------------------------------------------------- */

struct data {
	struct chk *c;
	uint8_t *buf;
	uint64_t bytes;
};

static int data_part(void *arg, const struct snap_part *p)
{
	struct data *d = arg;
	struct chk *c = d->c;
	size_t i, room = 1 << 20;
	int ret = 0;

	for (i = 0; p->e && !ret && i < p->live; i++) {
		uint64_t chunk = p->v[2 * i + 1], off;

		if (!dmfmt_snap_new_chunk_ok(c->g, chunk))
			continue;
		for (off = 0; !ret && off < c->g->chunk_bytes; off += room) {
			uint64_t at_byte = chunk * c->g->chunk_bytes + off;
			size_t len = c->g->chunk_bytes - off < room ?
				     (size_t)(c->g->chunk_bytes - off) : room;
			struct dmfmt_at at;

			ret = dmfmt_dev_read(c->f->dev, at_byte, d->buf, len);
			d->bytes += len;
			if (ret != -EIO)
				continue;
			at = at_record(c, p->first + i, p->v[2 * i]);
			at.offset = at_byte;
			ret = dmfmt_report_add(c->r, DMFMT_F_SNAP_DATA_UNREADABLE, &at,
					       place_of(c, p->first + i).s,
					       text("data chunk %" PRIu64 ": input/output error",
						    chunk).s, "readable data");
			break;
		}
		if (!ret && !(i & 255))
			ret = dmfmt_progress_step(c->ctx, "reading data", c->passes, c->passes,
						  p->area, c->end.areas);
	}
	return ret;
}

static int check_data(struct chk *c)
{
	struct data d = { .c = c, .buf = malloc(1 << 20) };
	struct snap_chain chain = { .f = c->f, .what = "reading data", .pass = c->passes + 1,
				    .nr_passes = c->passes + 1, .total_areas = c->end.areas,
				    .tolerant = true, .fn = data_part, .arg = &d };
	int ret;

	if (!d.buf)
		return dmfmt_fail(c->ctx, -ENOMEM, "out of memory");
	ret = snap_chain_run(&chain);
	free(d.buf);
	return ret;
}

/* ---- rules ------------------------------------------------------------------------------------- */

enum need { ALWAYS, CHAIN, ORIGIN, DATA, NEVER, TABLE };

static const struct {
	unsigned char number, need;
	const char *name, *reason;
} rules[] = {
	{ 1, ALWAYS, "the device has room for a header, an area and data", "" },
	{ 2, ALWAYS, "magic is SnAp", "" },
	{ 3, ALWAYS, "little-endian", "" },
	{ 4, ALWAYS, "version is 1", "" },
	{ 5, ALWAYS, "valid is 0 or 1", "" },
	{ 6, ALWAYS, "chunk_size is a power of two up to 2097152", "" },
	{ 7, ORIGIN, "chunk_size is a multiple of both logical block sizes", "" },
	{ 8, NEVER, "chunk_size is what the table or the volume group says",
	  "the expectation lies outside the store" },
	{ 9, ORIGIN, "device sizes fit the logical block size of both", "" },
	{ 10, CHAIN, "the rest of chunk 0 is zero", "" },
	{ 11, CHAIN, "new_chunk is a data chunk of the device", "" },
	{ 12, CHAIN, "new_chunk fits into 56 bits", "" },
	{ 13, CHAIN, "new_chunk does not wrap the allocation", "" },
	{ 14, CHAIN, "new_chunk is unique", "" },
	{ 15, CHAIN, "old_chunk is unique", "" },
	{ 16, TABLE, "old_chunk lies on the origin", "" },
	{ 17, CHAIN, "old_chunk in sectors does not wrap", "" },
	{ 18, CHAIN, "the chain ends inside the device", "" },
	{ 19, CHAIN, "the terminator is zero", "" },
	{ 20, CHAIN, "nothing follows the terminator in its area", "" },
	{ 21, CHAIN, "an area behind a full one belongs to the store", "" },
	{ 22, CHAIN, "new_chunk increases", "" },
	{ 23, CHAIN, "the store has no holes", "" },
	{ 24, CHAIN, "the device does not end at the edge of an area", "" },
	{ 25, CHAIN, "allocated chunks lie on the device", "" },
	{ 26, CHAIN, "every area is readable", "" },
	{ 27, CHAIN, "no area behind the end looks alive (64 areas)", "" },
	{ 28, TABLE, "the last origin chunk is whole", "" },
	{ 29, CHAIN, "the device is a multiple of the chunk size", "" },
	{ 30, CHAIN, "area 0 holds exceptions", "" },
	{ 31, ALWAYS, "chunk 0 holds a header", "" },
	{ 32, NEVER, "no other snapshot uses this device",
	  "other stores are not known to it (store and origin on one device are refused)" },
	{ 33, NEVER, "the origin is the right one and unmodified",
	  "undetectable: a store carries no identity of its origin" },
	{ 34, DATA, "data chunks are intact", "" },
	{ 35, TABLE, "not more exceptions than the origin has chunks", "" },
	{ 36, CHAIN, "exceptions fit kernel memory", "" },
};

static void add_rules(struct chk *c, bool followed)
{
	size_t i;

	for (i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		const char *why = rules[i].reason;
		bool done = true;

		switch (rules[i].need) {
		case ALWAYS:
			break;
		case NEVER:
			done = false;
			break;
		case ORIGIN:
			done = followed && c->f->origin;
			why = "needs the origin (--origin)";
			break;
		case TABLE:
			done = followed && c->f->origin_sectors != DMFMT_NONE;
			why = "needs the origin or its size (--origin, --origin-size)";
			break;
		case DATA:
			done = followed && (c->flags & DMFMT_CHECK_DATA);
			why = "data carry no checksum; --data finds unreadable chunks";
			break;
		default:
			done = followed;
			break;
		}
		if (!done && !followed && rules[i].need != NEVER)
			why = "the header does not let the chain be followed";
		dmfmt_report_rule_add(c->r, rules[i].number, rules[i].name, done, why);
	}
}

/* ---- the whole ----------------------------------------------------------------------------------- */

static void set_limits(struct chk *c)
{
	uint64_t sectors = c->f->origin_sectors, wrap = UINT64_MAX >> c->g->shift;

	c->origin_chunks = DMFMT_NONE;
	/* fast_end stays at most 2^63: the fast path looks at the top bit */
	c->fast_end = c->g->shift ? wrap + 1 : 1ull << 63;
	if (sectors == DMFMT_NONE)
		return;
	c->origin_whole = !(sectors & (c->g->chunk_sectors - 1));
	c->origin_chunks = (sectors >> c->g->shift) + !c->origin_whole;
	/* the partial last chunk is noted by the slow path */
	if (c->origin_chunks - !c->origin_whole < c->fast_end)
		c->fast_end = c->origin_chunks - !c->origin_whole;
}

static int init_seen(struct chk *c)
{
	uint64_t memory = c->ctx->memory > 2 * RESERVE ? c->ctx->memory - RESERVE :
							  c->ctx->memory / 2;
	uint64_t keys = c->origin_chunks != DMFMT_NONE ? c->origin_chunks : DMFMT_NONE;
	int ret;

	if (memory > SIZE_MAX / 2)
		memory = SIZE_MAX / 2;
	ret = dmfmt_seen_init(c->ctx, &c->seen, (size_t)(memory & ~4095ull));
	if (ret)
		return ret;
	if (keys < c->seen.span)
		c->seen.span = keys ? keys : 1;
	c->dups = calloc(c->max_dups, sizeof(*c->dups));
	c->positions = calloc(PART_MAX, sizeof(*c->positions));
	if (!c->dups || !c->positions)
		return dmfmt_fail(c->ctx, -ENOMEM, "out of memory for the duplicate check");
	return 0;
}

static int check_chain(struct chk *c)
{
	int ret = run_pass(c, check_part, "checking", 1);

	/* garbage repeats itself as it likes; it goes as a whole */
	if (!ret && c->seen.above && !c->garbage)
		ret = more_passes(c);
	if (!ret && !c->garbage)
		ret = report_dups(c);
	if (!ret && !c->garbage)
		ret = check_new_duplicates(c);
	if (!ret && c->garbage)
		ret = report_garbage(c);
	if (!ret && c->stale_area != DMFMT_NONE)
		ret = report_stale_area(c);
	if (!ret)
		ret = report_end(c);
	if (!ret)
		ret = report_empty(c);
	if (!ret && !c->garbage)
		ret = report_whole(c);
	if (!ret && (c->flags & DMFMT_CHECK_DATA))
		ret = check_data(c);
	dmfmt_report_stats(c->r, c->end.records, c->end.areas, c->passes);
	return ret;
}

int snap_check(struct dmfmt *f, unsigned flags, struct dmfmt_report *r)
{
	struct snap *s = f->priv;
	struct chk c = {
		.f = f, .ctx = f->ctx, .s = s, .g = &s->g, .r = r, .flags = flags,
		.next_free = DMFMT_SNAP_FIRST_DATA_CHUNK, .stale_area = DMFMT_NONE,
		.doubt_area = DMFMT_NONE, .partial_record = DMFMT_NONE,
		.max_dups = dmfmt_report_max(r) > 1u << 16 ? dmfmt_report_max(r) : 1u << 16,
	};
	int ret = snap_read_header(f);

	s->lossy.nr = s->twins.nr = 0;
	if (!ret)
		ret = report_unreadable_header(&c);
	if (ret) {
		add_rules(&c, false);
		return ret < 0 ? ret : 0;
	}
	set_limits(&c);
	ret = report_valid(&c);
	if (!ret)
		ret = report_blocks(&c);
	if (!ret)
		ret = report_geometry(&c);
	if (!ret)
		ret = report_header_tail(&c);
	if (!ret)
		ret = init_seen(&c);
	if (!ret)
		ret = check_chain(&c);
	add_rules(&c, true);
	dmfmt_seen_free(&c.seen);
	free(c.dups);
	free(c.positions);
	return ret;
}
