// SPDX-License-Identifier: LGPL-2.1-or-later
/* What the store holds, as extents of the logical device: the chain's records, runs joined. */
#include <inttypes.h>
#include "snapshot.h"

#define BATCH 512

struct gather {
	struct dmfmt *f;
	const struct snap_geometry *g;
	uint64_t end;		/* of the origin, bytes */
	int (*fn)(void *arg, const struct dmfmt_extent *e, size_t nr);
	void *arg;
	struct dmfmt_extent e[BATCH];
	size_t nr;
};

static int hand_out(struct gather *x)
{
	size_t nr = x->nr;

	x->nr = 0;
	return nr ? x->fn(x->arg, x->e, nr) : 0;
}

static int add(struct gather *x, uint64_t old_chunk, uint64_t new_chunk)
{
	uint64_t b = x->g->chunk_bytes, to, length = b;
	struct dmfmt_extent *last = x->nr ? &x->e[x->nr - 1] : NULL;
	int ret;

	if (old_chunk > INT64_MAX / b - 1 || !dmfmt_snap_new_chunk_ok(x->g, new_chunk))
		return dmfmt_fail(x->f->ctx, -ERANGE,
				  "%s: exception %" PRIu64 " -> %" PRIu64 ": cannot be addressed in bytes",
				  x->f->dev->path, old_chunk, new_chunk);
	to = old_chunk * b;
	if (to >= x->end)
		return 0;
	if (length > x->end - to)
		length = x->end - to;
	if (last && last->to + last->length == to && last->from + last->length == new_chunk * b) {
		last->length += length;
		return 0;
	}
	if (x->nr == BATCH) {
		ret = hand_out(x);
		if (ret)
			return ret;
	}
	x->e[x->nr++] = (struct dmfmt_extent){ to, new_chunk * b, length };
	return 0;
}

static int on_part(void *arg, const struct snap_part *p)
{
	struct gather *x = arg;
	size_t i;
	int ret = 0;

	for (i = 0; !ret && i < p->live; i++)
		ret = add(x, p->v[2 * i], p->v[2 * i + 1]);
	return ret;
}

int snap_extents(struct dmfmt *f, int (*fn)(void *arg, const struct dmfmt_extent *e, size_t nr),
		 void *arg)
{
	struct snap *s = f->priv;
	struct gather x = { .f = f, .g = &s->g, .fn = fn, .arg = arg };
	struct snap_chain chain = { .f = f, .what = "reading the map", .pass = 1, .nr_passes = 1,
				    .fn = on_part, .arg = &x };
	int ret = snap_need_readable(f);

	x.end = f->origin_sectors > INT64_MAX / 512 ? INT64_MAX : f->origin_sectors * 512;
	if (!ret)
		ret = snap_chain_run(&chain);
	return ret ? ret : hand_out(&x);
}

uint64_t snap_data_unit(const struct dmfmt *f)
{
	const struct snap *s = f->priv;

	return s->g.chunk_bytes;
}
