// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The window is filled by one pass over the metadata.  What lies outside of it is dropped; when the
 * memory is full, what is there is sorted and joined, and if that does not help, the upper half is
 * given up: the window then ends where that begins.  So each pass yields at least half a memory full
 * of extents that are complete up to the window's end.
 *
 *	0          start                       end                      end of the device
 *	|  earlier   |======= in memory ========|  later passes          |
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "map.h"

#define MAP_LEAST (64u << 10)

struct dmfmt_map {
	struct dmfmt *f;
	struct dmfmt_extent *v;
	size_t nr, room;
	uint64_t start, end;	/* the window, logical bytes */
	bool sorted;
	unsigned passes;
};

static int by_to(const void *a, const void *b)
{
	const struct dmfmt_extent *x = a, *y = b;

	return x->to < y->to ? -1 : x->to > y->to;
}

/* @b begins in @a or at its end, and goes on where that goes on: an exception that stands there twice (a
 * merge or a repair was cut) is one */
static bool continues(const struct dmfmt_extent *a, const struct dmfmt_extent *b)
{
	if (b->to < a->to || b->to > a->to + a->length)
		return false;
	if (a->from == DMFMT_NONE || b->from == DMFMT_NONE)
		return a->from == b->from;
	return b->from - a->from == b->to - a->to;
}

static void join(struct dmfmt_extent *a, const struct dmfmt_extent *b)
{
	if (b->to + b->length > a->to + a->length)
		a->length = b->to + b->length - a->to;
}

/* take from @b what @a has as well, with the same bytes elsewhere; false: nothing is left */
static bool trim(const struct dmfmt_extent *a, struct dmfmt_extent *b)
{
	uint64_t end = a->to + a->length, skip = end > b->to ? end - b->to : 0;

	if (skip >= b->length)
		return false;
	b->to += skip;
	b->from += b->from == DMFMT_NONE ? 0 : skip;
	b->length -= skip;
	return true;
}

/* sort, and join what continues: no extent overlaps another then, which search() relies on */
static void tidy(struct dmfmt_map *m)
{
	size_t i, n = 0;

	if (!m->sorted && m->nr > 1)
		qsort(m->v, m->nr, sizeof(*m->v), by_to);
	for (i = 0; i < m->nr; i++) {
		if (n && continues(&m->v[n - 1], &m->v[i]))
			join(&m->v[n - 1], &m->v[i]);
		else if (!n || trim(&m->v[n - 1], &m->v[i]))
			m->v[n++] = m->v[i];
	}
	m->nr = n;
	m->sorted = true;
}

/* room for one more, at the cost of what lies highest if there is no other way */
static void make_room(struct dmfmt_map *m)
{
	tidy(m);
	if (m->nr <= m->room / 2)
		return;
	m->nr = m->room / 2;
	m->end = m->v[m->nr].to;
}

static int add(void *arg, const struct dmfmt_extent *e, size_t nr)
{
	struct dmfmt_map *m = arg;
	size_t i;

	for (i = 0; i < nr; i++) {
		if (!e[i].length || e[i].to + e[i].length <= m->start || e[i].to >= m->end)
			continue;
		if (m->nr && continues(&m->v[m->nr - 1], &e[i])) {
			join(&m->v[m->nr - 1], &e[i]);
			continue;
		}
		if (m->nr == m->room) {
			make_room(m);
			if (e[i].to >= m->end)
				continue;
		}
		m->sorted = m->sorted && (!m->nr || m->v[m->nr - 1].to < e[i].to);
		m->v[m->nr++] = e[i];
	}
	return 0;
}

/* the window that begins at @start */
static int fill(struct dmfmt_map *m, uint64_t start)
{
	int ret;

	m->start = start;
	m->end = UINT64_MAX;
	m->nr = 0;
	m->sorted = true;
	m->passes++;
	ret = m->f->format->extents(m->f, add, m);
	if (ret) {
		m->start = m->end = 0;
		m->nr = 0;
		return ret;
	}
	tidy(m);
	return 0;
}

int dmfmt_map_open(struct dmfmt *f, size_t memory, struct dmfmt_map **out)
{
	struct dmfmt_map *m;
	uint64_t bytes = memory ? memory : f->ctx->memory / 4;
	int ret;

	*out = NULL;
	if (!f->format->extents)
		return dmfmt_fail(f->ctx, -EOPNOTSUPP, "%s: %s holds no data", f->dev->path,
				  f->format->name);
	if (!memory && bytes < MAP_LEAST)
		bytes = MAP_LEAST;
	if (bytes > SIZE_MAX / 2)
		bytes = SIZE_MAX / 2;
	m = calloc(1, sizeof(*m));
	if (!m)
		return dmfmt_fail(f->ctx, -ENOMEM, "%s: no memory for a map", f->dev->path);
	m->f = f;
	m->room = (size_t)bytes / sizeof(*m->v);
	if (m->room < 16)
		m->room = 16;
	m->v = malloc(m->room * sizeof(*m->v));
	ret = m->v ? fill(m, 0) :
	      dmfmt_fail(f->ctx, -ENOMEM, "%s: no memory for a map of %" PRIu64 " bytes", f->dev->path,
			 bytes);
	if (ret) {
		dmfmt_map_close(m);
		return ret;
	}
	*out = m;
	return 0;
}

/* the first extent in memory that ends behind @to */
static size_t search(const struct dmfmt_map *m, uint64_t to)
{
	size_t lo = 0, hi = m->nr;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (m->v[mid].to + m->v[mid].length <= to)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* an extent that touches the window's end may go on behind it */
static int follow(struct dmfmt_map *m, struct dmfmt_extent *e)
{
	while (e->to + e->length >= m->end && m->end != UINT64_MAX) {
		uint64_t at = e->to + e->length;
		size_t i;
		int ret = fill(m, m->end > e->to ? e->to : m->end);

		if (ret)
			return ret;
		i = search(m, e->to);
		if (i < m->nr && m->v[i].to <= e->to)
			*e = m->v[i];
		if (e->to + e->length <= at)
			break;
	}
	return 1;
}

int dmfmt_map_next(struct dmfmt_map *m, uint64_t to, struct dmfmt_extent *e)
{
	size_t i;
	int ret;

	if (to < m->start) {
		ret = fill(m, to);
		if (ret)
			return ret;
	}
	for (;;) {
		i = search(m, to);
		if (i < m->nr) {
			*e = m->v[i];
			return follow(m, e);
		}
		if (m->end == UINT64_MAX)
			return 0;
		ret = fill(m, m->end > to ? m->end : to);
		if (ret)
			return ret;
	}
}

unsigned dmfmt_map_passes(const struct dmfmt_map *m)
{
	return m->passes;
}

bool dmfmt_map_complete(const struct dmfmt_map *m)
{
	return !m->start && m->end == UINT64_MAX;
}

void dmfmt_map_close(struct dmfmt_map *m)
{
	if (!m)
		return;
	free(m->v);
	free(m);
}

int dmfmt_extents(struct dmfmt *f, int (*fn)(void *arg, const struct dmfmt_extent *e), void *arg)
{
	struct dmfmt_extent e = { 0 };
	struct dmfmt_map *m;
	uint64_t at = 0;
	int ret;

	if (!f || !fn)
		return -EINVAL;
	f->ctx->error[0] = '\0';
	ret = dmfmt_need_sound(f, "reading what it holds");
	if (!ret)
		ret = dmfmt_map_open(f, 0, &m);
	if (ret)
		return ret;
	while ((ret = dmfmt_map_next(m, at, &e)) == 1) {
		ret = fn(arg, &e);
		if (ret)
			break;
		at = e.to + e.length;
	}
	dmfmt_map_close(m);
	return ret;
}
