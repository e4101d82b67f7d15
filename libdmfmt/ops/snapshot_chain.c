// SPDX-License-Identifier: LGPL-2.1-or-later
/* Following the chain of areas: computable positions, so reading runs ahead of decoding. */
#include <stdlib.h>
#include <string.h>

#include "snapshot.h"

struct walk {
	struct snap_chain *c;
	const struct snap_geometry *g;
	uint64_t ask_area, nr_areas;	/* read-ahead */
	uint64_t area, slot;		/* of the next part */
	bool ended;			/* the terminator was seen in this area */
	uint64_t *swapped;		/* big-endian hosts only */
};

static int next_area(void *arg, uint64_t *off, uint64_t *len)
{
	struct walk *w = arg;

	if (w->ask_area >= w->nr_areas)
		return 0;
	*off = snap_area_offset(w->g, w->ask_area++);
	*len = w->g->chunk_bytes;
	return 1;
}

static const uint64_t *host_order(struct walk *w, const struct snap_exception_disk *e, size_t nr)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	size_t i;

	for (i = 0; i < nr; i++) {
		w->swapped[2 * i] = dmfmt_snap_old(&e[i]);
		w->swapped[2 * i + 1] = dmfmt_snap_new(&e[i]);
	}
	return w->swapped;
#else
	(void)w;
	(void)nr;
	return (const uint64_t *)(const void *)e;
#endif
}

static int one_part(struct walk *w, const void *buf, uint64_t off, size_t len, int err)
{
	struct snap_chain *c = w->c;
	struct snap_part p = {
		.area = w->area, .slot = w->slot, .offset = off, .nr = len / SNAP_ENTRY,
		.first = w->area * w->g->entries + w->slot, .behind_end = w->ended,
	};

	if (err) {
		if (!c->tolerant)
			return err;
		p.live = w->ended ? 0 : p.nr;
		c->end.lost += p.live;
	} else {
		p.e = buf;
		p.v = host_order(w, p.e, p.nr);
		p.live = w->ended ? 0 : dmfmt_snap_live(p.e, p.nr);
	}
	if (!w->ended)
		c->end.records += p.live;
	if (p.live < p.nr)
		w->ended = true;
	w->slot += p.nr;
	return c->fn(c->arg, &p);
}

/* 1: go on, 0: the chain ended here, negative or other: stop */
static int after_part(struct walk *w)
{
	struct snap_chain *c = w->c;

	if (w->slot < w->g->entries)
		return 1;
	c->end.areas = w->area + 1;
	if (w->ended)
		return 0;
	w->area++;
	w->slot = 0;
	if (w->area & 7)
		return 1;
	return dmfmt_progress_step(c->f->ctx, c->what, c->pass, c->nr_passes, w->area,
				   c->total_areas) ?: 1;
}

static bool area_in_use(struct dmfmt *f, const struct snap_geometry *g, uint64_t area)
{
	struct snap_exception_disk e;

	return !dmfmt_dev_read(f->dev, snap_area_offset(g, area), &e, sizeof(e)) &&
	       e.new_chunk != 0;
}

/*
 * How long the chain probably is, for the progress alone: areas in use come first, so a few reads
 * find the border; stale content behind it makes the estimate too large, nothing else.
 */
static uint64_t estimate_areas(struct snap_chain *c, const struct snap_geometry *g, uint64_t nr_areas)
{
	uint64_t lo = 0, hi = 1;

	if (!c->f->ctx->progress_fn || nr_areas < 1024)
		return 0;
	while (hi < nr_areas && area_in_use(c->f, g, hi)) {
		lo = hi;
		hi *= 2;
	}
	if (hi > nr_areas)
		hi = nr_areas;
	while (lo + 1 < hi) {
		uint64_t mid = lo + (hi - lo) / 2;

		if (area_in_use(c->f, g, mid))
			lo = mid;
		else
			hi = mid;
	}
	return hi;
}

int snap_chain_run(struct snap_chain *c)
{
	struct snap *s = c->f->priv;
	struct walk w = { .c = c, .g = &s->g, .nr_areas = dmfmt_snap_nr_areas(&s->g) };
	struct dmfmt_stream_opts o = { .next = next_area, .arg = &w, .memory = 2 << 20 };
	struct dmfmt_stream *stream;
	const void *buf;
	uint64_t off;
	size_t len;
	int ret;

	memset(&c->end, 0, sizeof(c->end));
	c->end.end = SNAP_END_DEVICE;
	if (!c->total_areas)
		c->total_areas = estimate_areas(c, &s->g, w.nr_areas);
	if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__) {
		w.swapped = malloc(1 << 20);
		if (!w.swapped)
			return dmfmt_fail(c->f->ctx, -ENOMEM, "out of memory");
	}
	ret = dmfmt_stream_open(c->f->dev, &o, &stream);
	if (ret)
		goto out;
	for (;;) {
		int got = dmfmt_stream_next(stream, &buf, &off, &len);

		if (!got)
			break;		/* past the last area: no terminator */
		ret = one_part(&w, buf, off, len, got < 0 ? got : 0);
		if (ret)
			break;
		ret = after_part(&w);
		if (!ret)
			c->end.end = SNAP_END_TERMINATOR;
		if (ret != 1)
			break;
		ret = 0;
	}
	dmfmt_stream_close(stream);
out:
	free(w.swapped);
	return ret;
}
