// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "moving.h"

static int by_to(const void *a, const void *b)
{
	const struct dmfmt_move *x = a, *y = b;

	return x->to < y->to ? -1 : x->to > y->to;
}

static void sort_failed(struct dmfmt_moving *m)
{
	if (m->nr_failed > 1)
		qsort(m->failed, m->nr_failed, sizeof(*m->failed), by_to);
}

static bool has_failed(const struct dmfmt_moving *m, size_t nr, uint64_t to)
{
	struct dmfmt_move key = { .to = to };

	return nr && bsearch(&key, m->failed, nr, sizeof(key), by_to);
}

bool dmfmt_moving_failed(const struct dmfmt_moving *m, uint64_t to)
{
	return has_failed(m, m->nr_failed, to);
}

static int keep_failed(struct dmfmt_moving *m, const struct dmfmt_move *unit)
{
	struct dmfmt_move *v;
	size_t room;

	if (m->nr_failed == m->room_failed) {
		room = m->room_failed ? 2 * m->room_failed : 256;
		v = reallocarray(m->failed, room, sizeof(*v));
		if (!v)
			return dmfmt_fail(m->f->ctx, -ENOMEM, "%s: no memory for %zu failures",
					  m->f->dev->path, room);
		m->failed = v;
		m->room_failed = room;
	}
	m->failed[m->nr_failed++] = *unit;
	return 0;
}

static int tell(struct dmfmt_moving *m, uint64_t to, uint64_t from, uint64_t length, bool reading, int err)
{
	struct dmfmt_failure x = { .size = sizeof(x), .to = to, .from = from, .length = length,
				   .reading = reading, .error = err };

	m->r->failed++;
	return m->o.failed ? m->o.failed(m->o.arg, &x) : 0;
}

static int on_failure(void *arg, const struct dmfmt_move *unit, bool reading, int err)
{
	struct dmfmt_moving *m = arg;
	struct dmfmt_move u = *unit;
	int ret;

	/* the last unit of an origin may be cut off */
	if (u.len > m->dst->size - u.to)
		u.len = m->dst->size - u.to;
	if (m->verifying && has_failed(m, m->first_pass, u.to))
		return 0;	/* what was not written cannot be the same */
	ret = keep_failed(m, &u);
	return ret ? ret : tell(m, u.to, u.from, u.len, reading, err);
}

static int open_copier(struct dmfmt_moving *m)
{
	struct dmfmt *f = m->f;
	struct dmfmt_copier_opts o = {
		.src = { f->dev }, .dst = m->dst, .unit = m->unit, .arg = m, .rate = m->o.rate,
		.what = "writing back", .total = m->total,
		.memory = dmfmt_copier_memory(f->ctx, m->tables),
		.failed = m->o.flags & DMFMT_WRITEBACK_KEEP_GOING ? on_failure : NULL,
	};

	return m->copier ? 0 : dmfmt_copier_open(f->ctx, &o, &m->copier);
}

int dmfmt_moving_run(struct dmfmt_moving *m, const struct dmfmt_move *moves, size_t nr, bool durable)
{
	int ret = open_copier(m);

	m->nr_failed = m->first_pass = 0;
	m->verifying = false;
	if (!ret)
		ret = dmfmt_copier_run(m->copier, moves, nr);
	if (!ret && durable)
		ret = dmfmt_dev_flush(m->dst);
	sort_failed(m);
	if (ret || !durable || !(m->o.flags & DMFMT_WRITEBACK_VERIFY))
		return ret;
	m->first_pass = m->nr_failed;
	m->verifying = true;
	ret = dmfmt_copier_verify(m->copier, moves, nr);
	sort_failed(m);
	return ret;
}

static int on_lost(void *arg, const struct dmfmt_extent *e)
{
	return tell(arg, e->to, e->from, e->length, true, -ENODATA);
}

int dmfmt_moving_lost(struct dmfmt_moving *m)
{
	uint64_t unknown = 0;
	int ret = m->f->format->lost ? m->f->format->lost(m->f, on_lost, m, &unknown) : 0;

	m->r->failed += unknown;
	return ret;
}

void dmfmt_moving_free(struct dmfmt_moving *m)
{
	if (m->copier)
		dmfmt_copier_close(m->copier);
	free(m->failed);
	m->copier = NULL;
	m->failed = NULL;
	m->nr_failed = m->room_failed = 0;
}

void dmfmt_moving_opts(struct dmfmt_moving *m, const struct dmfmt_writeback_opts *o)
{
	m->o = (struct dmfmt_writeback_opts){ .size = sizeof(m->o) };
	if (o)
		memcpy(&m->o, o, o->size < sizeof(m->o) ? o->size : sizeof(m->o));
}

void dmfmt_moving_result(const struct dmfmt_moving *m, struct dmfmt_writeback_result *r)
{
	size_t size = r ? r->size : 0;

	if (!r)
		return;
	memcpy(r, m->r, size < sizeof(*r) ? size : sizeof(*r));
	r->size = size;
}
