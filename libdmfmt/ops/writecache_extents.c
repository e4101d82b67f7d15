// SPDX-License-Identifier: LGPL-2.1-or-later
/* What the kernel would serve from the cache: the newest committed block of each sector. */
#include <inttypes.h>

#include "writecache.h"

#define BATCH 512

struct gather {
	struct dmfmt *f;
	const struct wc *w;
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

static int add(struct gather *x, uint64_t sector, uint64_t entry)
{
	uint64_t length = x->w->g.block_size, to, from = dmfmt_wc_block_offset(&x->w->g, entry);
	struct dmfmt_extent *last = x->nr ? &x->e[x->nr - 1] : NULL;
	int ret;

	if (sector >= x->end / 512 && x->end < INT64_MAX)
		return 0;	/* past the end of the origin, however far */
	if (!dmfmt_wc_sector_ok(&x->w->g, sector) || sector > INT64_MAX / 512 - (length >> 9))
		return dmfmt_fail(x->f->ctx, -ERANGE,
				  "%s: entry %" PRIu64 ": original_sector %" PRIu64
				  " cannot be addressed in bytes", x->f->dev->path, entry, sector);
	to = sector * 512;
	if (length > x->end - to)
		length = x->end - to;
	if (last && last->to + last->length == to && last->from + last->length == from) {
		last->length += length;
		return 0;
	}
	if (x->nr == BATCH) {
		ret = hand_out(x);
		if (ret)
			return ret;
	}
	x->e[x->nr++] = (struct dmfmt_extent){ to, from, length };
	return 0;
}

static int on_part(void *arg, const struct wc_part *p)
{
	struct gather *x = arg;
	bool losers = x->w->losers.count;
	size_t i;
	int ret = 0;

	for (i = 0; p->e && !ret && i < p->nr; i++) {
		if (!wc_committed(x->w, p->v[2 * i + 1]) ||
		    (losers && wc_set_has(&x->w->losers, p->first + i)) ||
		    (x->w->state == WC_TRUNCATED && !dmfmt_wc_block_there(&x->w->g, p->first + i)))
			continue;
		ret = add(x, p->v[2 * i], p->first + i);
	}
	return ret;
}

int wc_extents(struct dmfmt *f, int (*fn)(void *arg, const struct dmfmt_extent *e, size_t nr), void *arg)
{
	const struct wc *w = f->priv;
	struct gather x = { .f = f, .w = w, .fn = fn, .arg = arg };
	struct wc_walk walk = { .f = f, .what = "reading the map", .pass = 1, .nr_passes = 1,
				.tolerant = true, .fn = on_part, .arg = &x };
	int ret = wc_need_readable(f);

	x.end = f->origin_sectors > INT64_MAX / 512 ? INT64_MAX : f->origin_sectors * 512;
	if (!ret)
		ret = wc_load_losers(f);
	if (!ret)
		ret = wc_walk_run(&walk);
	return ret ? ret : hand_out(&x);
}

uint64_t wc_data_unit(const struct dmfmt *f)
{
	const struct wc *w = f->priv;

	return w->g.block_size;
}
