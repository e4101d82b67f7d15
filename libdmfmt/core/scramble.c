// SPDX-License-Identifier: LGPL-2.1-or-later
/* See scramble.h.  All ranges in here are closed (first and last), because 2^64 - 1 is an address. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "scramble.h"

struct segment {
	uint64_t first, last;
};

struct dmfmt_scramble {
	struct dmfmt_ctx *ctx;
	uint64_t *pending;	/* added since the last merge */
	size_t nr_pending, max_pending;
	struct segment *seg;	/* ascending, never adjacent until seal() cuts them at bounds */
	uint64_t *to;		/* new first address of each segment, once sealed */
	size_t nr, max;
	uint8_t random[4096];
	size_t random_used;
	bool sealed;
};

/* two arrays of segments during a merge; later segments, new places, order and draws: 36 bytes */
#define SEGMENT_BYTES 40

int dmfmt_scramble_new(struct dmfmt_ctx *ctx, uint64_t memory, struct dmfmt_scramble **out)
{
	struct dmfmt_scramble *s = calloc(1, sizeof(*s));
	uint64_t quarter = memory / 4;

	*out = NULL;
	if (!s)
		return dmfmt_fail(ctx, -ENOMEM, "obfuscation: no memory");
	s->ctx = ctx;
	s->random_used = sizeof(s->random);
	s->max_pending = quarter < 8u << 20 ? (size_t)quarter / sizeof(*s->pending) : 1u << 20;
	if (s->max_pending < 64)
		s->max_pending = 64;
	quarter = (memory - memory / 4) / SEGMENT_BYTES;
	s->max = quarter < 1u << 31 ? (size_t)quarter : 1u << 31;
	s->pending = malloc(s->max_pending * sizeof(*s->pending));
	if (!s->pending) {
		free(s);
		return dmfmt_fail(ctx, -ENOMEM, "obfuscation: no memory");
	}
	*out = s;
	return 0;
}

void dmfmt_scramble_free(struct dmfmt_scramble *s)
{
	if (!s)
		return;
	free(s->pending);
	free(s->seg);
	free(s->to);
	free(s);
}

size_t dmfmt_scramble_segments(const struct dmfmt_scramble *s)
{
	return s->nr;
}

/* ---- collecting ---------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* the segment that begins at pending address @i; returns where the next one begins */
static size_t next_pending(const struct dmfmt_scramble *s, size_t i, struct segment *seg)
{
	seg->first = seg->last = s->pending[i++];
	while (i < s->nr_pending && s->pending[i] - seg->last <= 1)
		seg->last = s->pending[i++];
	return i;
}

/* append to an ascending list, joining what touches */
static void append(struct segment *list, size_t *nr, const struct segment *one)
{
	struct segment *last = *nr ? &list[*nr - 1] : NULL;

	if (last && (one->first <= last->last || one->first - last->last == 1)) {
		if (one->last > last->last)
			last->last = one->last;
		return;
	}
	list[(*nr)++] = *one;
}

static size_t count_pending(const struct dmfmt_scramble *s)
{
	struct segment one;
	size_t i, nr = 0;

	for (i = 0; i < s->nr_pending; nr++)
		i = next_pending(s, i, &one);
	return nr;
}

static void merge_lists(const struct dmfmt_scramble *s, struct segment *list, size_t *nr)
{
	struct segment one = { 0, 0 };
	bool have = false;
	size_t i = 0, old = 0;

	*nr = 0;
	for (;;) {
		if (!have && i < s->nr_pending) {
			i = next_pending(s, i, &one);
			have = true;
		}
		if (old < s->nr && (!have || s->seg[old].first <= one.first)) {
			append(list, nr, &s->seg[old++]);
		} else if (have) {
			append(list, nr, &one);
			have = false;
		} else {
			return;
		}
	}
}

static int too_many(struct dmfmt_scramble *s)
{
	return dmfmt_fail(s->ctx, -ENOMEM,
			  "obfuscation: the origin addresses fall into more than %zu separate segments, which do not fit; give more with --memory (now %llu MiB)",
			  s->max, (unsigned long long)(s->ctx->memory >> 20));
}

static int merge(struct dmfmt_scramble *s)
{
	struct segment *list;
	size_t nr;

	if (!s->nr_pending)
		return 0;
	qsort(s->pending, s->nr_pending, sizeof(*s->pending), by_value);
	list = malloc((s->nr + count_pending(s)) * sizeof(*list));
	if (!list)
		return dmfmt_fail(s->ctx, -ENOMEM, "obfuscation: no memory");
	merge_lists(s, list, &nr);
	free(s->seg);
	s->seg = list;
	s->nr = nr;
	s->nr_pending = 0;
	return nr > s->max ? too_many(s) : 0;
}

int dmfmt_scramble_add(struct dmfmt_scramble *s, uint64_t addr)
{
	if (s->sealed)
		return dmfmt_fail(s->ctx, -EINVAL, "obfuscation: an address came too late");
	s->pending[s->nr_pending++] = addr;
	return s->nr_pending == s->max_pending ? merge(s) : 0;
}

/* ---- drawing ------------------------------------------------------------------------------- */

static int random_u64(struct dmfmt_scramble *s, uint64_t *out)
{
	size_t got = 0;
	ssize_t n;

	if (s->random_used + sizeof(*out) > sizeof(s->random)) {
		while (got < sizeof(s->random)) {
			n = getrandom(s->random + got, sizeof(s->random) - got, 0);
			if (n < 0 && errno != EINTR)
				return dmfmt_fail(s->ctx, -errno, "obfuscation: getrandom: %s",
						  strerror(errno));
			got += n > 0 ? (size_t)n : 0;
		}
		s->random_used = 0;
	}
	memcpy(out, s->random + s->random_used, sizeof(*out));
	s->random_used += sizeof(*out);
	return 0;
}

/* uniform in 0..max: numbers above the last whole multiple are drawn again */
static int random_upto(struct dmfmt_scramble *s, uint64_t max, uint64_t *out)
{
	uint64_t nr = max + 1, limit;
	int err;

	if (!nr)
		return random_u64(s, out);
	limit = UINT64_MAX - (UINT64_MAX % nr + 1) % nr;
	do {
		err = random_u64(s, out);
		if (err)
			return err;
	} while (*out > limit);
	*out %= nr;
	return 0;
}

/* cut segments in two where a bound lies inside them */
static int cut(struct dmfmt_scramble *s, const uint64_t *bounds, size_t nr_bounds)
{
	struct segment *list = malloc((s->nr + nr_bounds) * sizeof(*list));
	size_t i, b = 0, nr = 0;
	struct segment one;

	if (!list)
		return dmfmt_fail(s->ctx, -ENOMEM, "obfuscation: no memory");
	for (i = 0; i < s->nr; i++) {
		one = s->seg[i];
		while (b < nr_bounds && bounds[b] <= one.first)
			b++;
		for (; b < nr_bounds && bounds[b] <= one.last; b++) {
			list[nr++] = (struct segment){ one.first, bounds[b] - 1 };
			one.first = bounds[b];
		}
		list[nr++] = one;
	}
	free(s->seg);
	s->seg = list;
	s->nr = nr;
	return 0;
}

static bool touches_before(const struct dmfmt_scramble *s, size_t i)
{
	return i && s->seg[i].first - s->seg[i - 1].last == 1;
}

static bool touches_after(const struct dmfmt_scramble *s, size_t i)
{
	return i + 1 < s->nr && touches_before(s, i + 1);
}

/* the smallest 2^n - 1 that is not below @x */
static uint64_t mask_of(uint64_t x)
{
	unsigned shift;

	for (shift = 1; shift < 64; shift *= 2)
		x |= x >> shift;
	return x;
}

static int shuffle(struct dmfmt_scramble *s, uint32_t *order, size_t nr)
{
	uint64_t r;
	uint32_t tmp;
	size_t i;
	int err;

	for (i = 0; i < nr; i++)
		order[i] = (uint32_t)i;
	for (i = nr; i > 1; i--) {
		err = random_upto(s, i - 1, &r);
		if (err)
			return err;
		tmp = order[i - 1];
		order[i - 1] = order[r];
		order[r] = tmp;
	}
	return 0;
}

/* deal the segments @from .. @from + @nr - 1 out over @room, in new order, at least one address apart */
static int deal(struct dmfmt_scramble *s, size_t from, size_t nr, const struct segment *room,
		uint32_t *order, uint64_t *draw)
{
	uint64_t slack = room->last - room->first, at = room->first;
	const struct segment *one;
	size_t i;
	int err;

	/* slack: addresses of the room that are neither used nor the one gap that must stay between
	 * two segments; the first segment's first address makes up for last - first being one short */
	for (i = from; i < from + nr; i++)
		slack -= s->seg[i].last - s->seg[i].first + (i > from ? 2 : 0);
	err = shuffle(s, order, nr);
	for (i = 0; !err && i < nr; i++)
		err = random_upto(s, slack, &draw[i]);
	if (err)
		return err;
	qsort(draw, nr, sizeof(*draw), by_value);
	for (i = 0; i < nr; i++) {
		one = &s->seg[from + order[i]];
		s->to[from + order[i]] = at + draw[i];
		at += one->last - one->first + 2;
	}
	return 0;
}

/* A class without an end that a device could have: stay within the next power of two, so that an
 * origin of unknown size does not seem to grow beyond all measure. */
#define WIDE (1ULL << 48)

static void narrow(struct segment *room, uint64_t last_used)
{
	uint64_t width = mask_of(last_used - room->first);

	if (room->last - room->first >= WIDE && width < room->last - room->first)
		room->last = room->first + width;
}

/*
 * Between the addresses @lo and @hi lie the segments @from .. @end - 1.  Two segments on both sides of
 * a bound must not come to touch: where one ended just below a bound, none began at it, and the other
 * way round, so keeping the address next to a bound free where it was free is enough.
 */
static int deal_class(struct dmfmt_scramble *s, size_t from, size_t end, uint64_t lo, uint64_t hi,
		      uint32_t *order, uint64_t *draw)
{
	struct segment room = { lo, hi };

	if (from < end && touches_before(s, from)) {
		s->to[from] = s->seg[from].first;
		room.first = s->seg[from].last + 2;
		from++;
	} else if (from < end && lo && s->seg[from].first != lo) {
		room.first = lo + 1;
	}
	if (from < end && touches_after(s, end - 1)) {
		s->to[end - 1] = s->seg[end - 1].first;
		room.last = s->seg[end - 1].first - 2;
		end--;
	} else if (from < end && hi != UINT64_MAX && s->seg[end - 1].last != hi) {
		room.last = hi - 1;
	}
	if (from >= end)
		return 0;
	narrow(&room, s->seg[end - 1].last);
	return deal(s, from, end - from, &room, order, draw);
}

static int deal_all(struct dmfmt_scramble *s, const uint64_t *bounds, size_t nr, uint32_t *order,
		    uint64_t *draw)
{
	uint64_t lo = 0, hi;
	size_t i, from, end = 0;
	int err;

	for (i = 0; i <= nr; i++) {
		hi = i < nr ? bounds[i] - 1 : UINT64_MAX;
		for (from = end; end < s->nr && s->seg[end].last <= hi; end++)
			;
		err = deal_class(s, from, end, lo, hi, order, draw);
		if (err)
			return err;
		lo = hi + 1;
	}
	return 0;
}

static bool ascending(const uint64_t *bounds, size_t nr)
{
	size_t i;

	for (i = 0; i < nr; i++)
		if (bounds[i] <= (i ? bounds[i - 1] : 0))
			return false;
	return true;
}

int dmfmt_scramble_seal(struct dmfmt_scramble *s, const uint64_t *bounds, size_t nr)
{
	uint32_t *order;
	uint64_t *draw;
	int err;

	if (s->sealed || !ascending(bounds, nr))
		return dmfmt_fail(s->ctx, -EINVAL, "obfuscation: bounds are not ascending");
	err = merge(s);
	if (!err)
		err = cut(s, bounds, nr);
	if (err)
		return err;
	free(s->pending);
	s->pending = NULL;
	s->sealed = true;
	order = malloc((s->nr + 1) * sizeof(*order));
	draw = malloc((s->nr + 1) * sizeof(*draw));
	s->to = malloc((s->nr + 1) * sizeof(*s->to));
	if (order && draw && s->to)
		err = deal_all(s, bounds, nr, order, draw);
	else
		err = dmfmt_fail(s->ctx, -ENOMEM, "obfuscation: no memory");
	free(order);
	free(draw);
	return err;
}

bool dmfmt_scramble_map(const struct dmfmt_scramble *s, uint64_t addr, uint64_t *to)
{
	size_t lo = 0, hi = s->nr, mid;

	if (!s->to)
		return false;
	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		if (s->seg[mid].last < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == s->nr || addr < s->seg[lo].first)
		return false;
	*to = s->to[lo] + (addr - s->seg[lo].first);
	return true;
}
