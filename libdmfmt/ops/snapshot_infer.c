// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Which chunk size does a store have whose header is lost?  Area 0 lies at byte 512 * C, so each of the
 * 22 sizes puts it somewhere else; only the right one finds exceptions there that break no rule.
 */
#include <stdlib.h>
#include <string.h>

#include "snapshot.h"

#define LOOK_BYTES (64u << 10)	/* of each area */
#define LOOK_AREAS 16u

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static bool repeats(uint64_t *v, size_t nr)
{
	size_t i;

	qsort(v, nr, sizeof(*v), by_value);
	for (i = 1; i < nr; i++)
		if (v[i] == v[i - 1])
			return true;
	return false;
}

/* rules 11, 12, 13 and 17 for each entry, 14 and 15 among them */
static size_t count_consistent(const struct snap_geometry *g, uint64_t area,
			       const struct snap_exception_disk *e, size_t live, uint64_t *scratch,
			       uint64_t *dense)
{
	size_t i;

	*dense = 0;
	for (i = 0; i < live; i++) {
		uint64_t old_chunk = dmfmt_snap_old(&e[i]), new_chunk = dmfmt_snap_new(&e[i]);

		if (!dmfmt_snap_new_chunk_ok(g, new_chunk) ||
		    dmfmt_snap_old_chunk_wraps(g, old_chunk))
			break;
		*dense += new_chunk == dmfmt_snap_dense_chunk(g, area, i);
	}
	if (i < live)
		return i;
	for (i = 0; i < live; i++)
		scratch[i] = dmfmt_snap_old(&e[i]);
	if (repeats(scratch, live))
		return 0;
	for (i = 0; i < live; i++)
		scratch[i] = dmfmt_snap_new(&e[i]);
	return repeats(scratch, live) ? 0 : live;
}

static int guess_one(struct dmfmt_dev *dev, const struct snap_geometry *g, struct snap_guess *out,
		     struct snap_exception_disk *e, uint64_t *scratch)
{
	size_t len = g->chunk_bytes < LOOK_BYTES ? (size_t)g->chunk_bytes : LOOK_BYTES;
	uint64_t area, nr_areas = dmfmt_snap_nr_areas(g);

	memset(out, 0, sizeof(*out));
	out->chunk_sectors = g->chunk_sectors;
	out->consistent = true;
	for (area = 0; area < nr_areas && area < LOOK_AREAS; area++) {
		uint64_t dense;
		size_t live, good;
		int ret = dmfmt_dev_read(dev, snap_area_offset(g, area), e, len);

		if (ret == -EIO && area)
			return 0;	/* what was seen before it counts */
		if (ret)
			return ret;
		live = dmfmt_snap_live(e, len / SNAP_ENTRY);
		good = count_consistent(g, area, e, live, scratch, &dense);
		/* a later area that breaks rules is damage; area 0 that does is the wrong size */
		if (good < live && !area)
			out->consistent = false;
		if (good < live)
			return 0;
		out->entries += live;
		out->dense += dense;
		out->areas++;
		if (live < g->entries)
			return 0;
	}
	return 0;
}

/*
 * Proof: exactly one size gives exceptions, at least half of them where in-order allocation puts
 * them.  An all-zero area proves nothing.
 */
static int pick(const struct snap_guess *g, unsigned nr)
{
	unsigned i, plausible = 0;
	int best = -1;

	for (i = 0; i < nr; i++) {
		if (!g[i].consistent || !g[i].entries || g[i].dense * 2 < g[i].entries)
			continue;
		plausible++;
		best = (int)i;
	}
	return plausible == 1 ? best : -1;
}

int snap_infer(struct dmfmt_ctx *ctx, struct dmfmt_dev *dev, struct snap_guess guesses[22],
	       unsigned *nr, int *best)
{
	struct snap_exception_disk *e = malloc(LOOK_BYTES);
	uint64_t *scratch = malloc(LOOK_BYTES);
	uint32_t c;
	int ret = 0;

	*nr = 0;
	*best = -1;
	if (!e || !scratch)
		ret = dmfmt_fail(ctx, -ENOMEM, "out of memory");
	for (c = 1; !ret && c <= DMFMT_SNAP_CHUNK_SECTORS_MAX; c *= 2) {
		struct snap_geometry g;

		if (dmfmt_snap_geometry_init(&g, c, dev->size >> 9) || g.chunks < 2)
			break;
		ret = guess_one(dev, &g, &guesses[*nr], e, scratch);
		if (ret == -EIO)
			ret = 0;	/* unreadable: no evidence for this size */
		else if (!ret)
			(*nr)++;
	}
	if (!ret)
		*best = pick(guesses, *nr);
	free(e);
	free(scratch);
	return ret;
}
