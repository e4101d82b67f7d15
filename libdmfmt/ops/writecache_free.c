// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Freeing entries: seq_count becomes 2^64-1 and original_sector stays, as the kernel does it
 * (dm-writecache.c, writecache_free_entry).  Whole sectors are rewritten, because a sector is what a power
 * cut leaves in one piece; the first one carries the superblock as well.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "writecache.h"

#define SPAN (1u << 20)		/* of entries that are read, changed and written together at most */

/*
 * struct freeing - entries become FREE; @entries ascending
 */
struct freeing {
	struct dmfmt *f;
	const struct wc_geometry *g;
	uint8_t *buf;		/* SPAN bytes */
};

static uint64_t sector_of(const struct freeing *x, uint64_t entry)
{
	return dmfmt_wc_entry_offset(x->g, entry) / 512 * 512;
}

/* sectors from that of the first entry to that of the last: read, changed, written */
static int rewrite(struct freeing *x, const uint64_t *entries, size_t nr)
{
	uint64_t from = sector_of(x, entries[0]);
	size_t len = (size_t)(sector_of(x, entries[nr - 1]) + 512 - from), i;
	int ret = dmfmt_dev_read(x->f->dev, from, x->buf, len);

	for (i = 0; !ret && i < nr; i++) {
		uint8_t *e = x->buf + (dmfmt_wc_entry_offset(x->g, entries[i]) - from);

		memset(e + offsetof(struct wc_entry_disk, seq_count), 0xff, sizeof(uint64_t));
	}
	return ret ? ret : dmfmt_dev_write(x->f->dev, from, x->buf, len);
}

/* how many entries from the first on lie within @span bytes, no sector farther than @gap from the last */
static size_t together(const struct freeing *x, const uint64_t *entries, size_t nr, uint64_t span,
		       uint64_t gap)
{
	uint64_t from = sector_of(x, entries[0]), last = from;
	size_t i;

	for (i = 1; i < nr; i++) {
		uint64_t at = sector_of(x, entries[i]);

		if (at - last > gap || at + 512 - from > span)
			break;
		last = at;
	}
	return i;
}

/* between the entries lie some that cannot be read: only the sectors that have to */
static int rewrite_sectors(struct freeing *x, const uint64_t *entries, size_t nr)
{
	int ret = 0;

	while (!ret && nr) {
		size_t n = together(x, entries, nr, 512, 0);

		ret = rewrite(x, entries, n);
		entries += n;
		nr -= n;
	}
	return ret;
}

static int free_spans(struct freeing *x, const uint64_t *entries, size_t nr, uint64_t gap)
{
	int ret = 0;

	while (!ret && nr) {
		size_t n = together(x, entries, nr, SPAN, gap);

		ret = rewrite(x, entries, n);
		if (ret && !x->f->dev->failed && ret != -ECANCELED && ret != -ENOMEM)
			ret = rewrite_sectors(x, entries, n);
		entries += n;
		nr -= n;
	}
	return ret;
}

int wc_free_entries(struct dmfmt *f, const uint64_t *entries, size_t nr, uint64_t gap)
{
	const struct wc *w = f->priv;
	struct freeing x = { .f = f, .g = &w->g };
	int ret;

	if (!nr)
		return 0;
	x.buf = malloc(SPAN);
	if (!x.buf)
		return dmfmt_fail(f->ctx, -ENOMEM, "%s: no memory to free entries", f->dev->path);
	ret = free_spans(&x, entries, nr, gap);
	free(x.buf);
	return ret;
}
