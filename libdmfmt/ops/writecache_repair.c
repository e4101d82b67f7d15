// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Mending a cache in place.
 *
 * What recovery would serve must be the same after each write as before, or what was promised:
 *
 *  - of several copies of a sector the older ones become free, durably, before the newest does;
 *  - seq_count of the superblock is only moved when the caller said to what;
 *  - n_blocks and block_size only when a lost superblock is rebuilt;
 *  - a superblock without its magic has version 1 while entries are written: the kernel refuses that,
 *    where it would format one with version 0; the magic comes last;
 *  - data blocks of entries that are given up go to a side file, durably, before the entry goes.
 *
 * Whole sectors are rewritten, so a power cut leaves each as it was or as it is to be.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "writecache.h"

#define LIST (16u << 10)	/* entries that are freed together */

/*
 * struct fix - one round
 * @lossy: loss was accepted
 * @no_losers: every older copy goes, because the newest of some cannot be read and will go
 * @side: the side file, once it was asked for; NULL with @asked: there is none
 */
struct fix {
	struct dmfmt *f;
	struct dmfmt_ctx *ctx;
	struct dmfmt_dev *dev;
	struct wc *w;
	const struct dmfmt_repair_opts *o;
	struct dmfmt_report *r;
	bool lossy, asked, no_losers;
	struct dmfmt_dev *side;
	uint64_t list[LIST];
	size_t nr;
	uint64_t freed;
};

static bool has(const struct fix *x, enum dmfmt_code code)
{
	return dmfmt_report_count(x->r, code) != 0;
}

static void mended(struct fix *x, enum dmfmt_code code)
{
	dmfmt_report_mended(x->r, code, DMFMT_NONE);
}

/* what the wrong superblock made of the device is no finding any more; the next round looks anew */
static void all_mended(struct fix *x)
{
	unsigned i;

	for (i = 0; i < DMFMT_F_NR; i++)
		mended(x, (enum dmfmt_code)i);
}

/* ---- evidence ---------------------------------------------------------------------------- */

static int say(struct fix *x, const char *group, const char *name, enum dmfmt_kind kind,
	       enum dmfmt_unit unit, uint64_t u, const char *s)
{
	struct dmfmt_field f = { .group = group, .name = name, .kind = kind, .unit = unit,
				 .unit_bytes = unit == DMFMT_UNIT_BYTES, .u = u, .s = s };

	return x->o->evidence ? x->o->evidence(x->o->arg, &f) : 0;
}

static int say_num(struct fix *x, const char *group, const char *name, uint64_t u)
{
	return say(x, group, name, DMFMT_U64, DMFMT_UNIT_NONE, u, NULL);
}

static int say_guess(struct fix *x, const struct wc_guess *g, bool chosen)
{
	char group[32];
	int ret;

	snprintf(group, sizeof(group), "block_size_%u", g->g.block_size);
	ret = say(x, group, "block_size", DMFMT_U64, DMFMT_UNIT_BYTES, g->g.block_size, NULL);
	if (!ret)
		ret = say_num(x, group, "n_blocks", g->g.n_blocks);
	if (!ret)
		ret = say(x, group, "from_superblock", DMFMT_BOOL, DMFMT_UNIT_NONE, g->from_superblock,
			  NULL);
	if (!ret)
		ret = say_num(x, group, "live", g->live);
	if (!ret)
		ret = say_num(x, group, "free", g->free);
	if (!ret)
		ret = say_num(x, group, "zero", g->zero);
	if (!ret)
		ret = say_num(x, group, "bad", g->bad);
	if (!ret)
		ret = say(x, group, "consistent", DMFMT_BOOL, DMFMT_UNIT_NONE, g->plausible && g->tight,
			  NULL);
	return ret ? ret : say(x, group, "chosen", DMFMT_BOOL, DMFMT_UNIT_NONE, chosen, NULL);
}

/* both choices of --seq-count and what they do */
static int say_choices(struct fix *x, uint64_t max, uint64_t nr_max)
{
	char text[200];
	int ret = say_num(x, "seq_count", "newest_seq_count", max);

	snprintf(text, sizeof(text), "seq_count becomes %" PRIu64 ": the %" PRIu64
		 " entries of the newest epoch are dropped, also if it had been committed", max, nr_max);
	if (!ret)
		ret = say(x, "seq_count", "max", DMFMT_STRING, DMFMT_UNIT_NONE, 0, text);
	snprintf(text, sizeof(text), "seq_count becomes %" PRIu64 ": the %" PRIu64
		 " entries of the newest epoch are taken, also if it was never committed", max + 1, nr_max);
	return ret ? ret : say(x, "seq_count", "max+1", DMFMT_STRING, DMFMT_UNIT_NONE, 0, text);
}

/* ---- the newest epoch -------------------------------------------------------------------- */

struct newest {
	uint64_t max, nr, live;
	bool wiped;		/* what is all zero among the first entries says nothing */
};

/* an entry that LVM's wipe has reached */
static bool is_wiped(uint64_t entry, const uint64_t *v)
{
	return entry < DMFMT_WC_ENTRIES_WIPED && !v[0] && !v[1];
}

static int newest_part(void *arg, const struct wc_part *p)
{
	struct newest *n = arg;
	size_t i;

	for (i = 0; p->e && i < p->nr; i++) {
		uint64_t seq = p->v[2 * i + 1];

		if (seq == DMFMT_WC_FREE || (n->wiped && is_wiped(p->first + i, p->v + 2 * i)))
			continue;
		n->live++;
		if (n->live == 1 || seq > n->max) {
			n->max = seq;
			n->nr = 0;
		}
		n->nr += seq == n->max;
	}
	return 0;
}

static int find_newest(struct fix *x, const struct wc_geometry *g, bool wiped, struct newest *n)
{
	struct wc_walk walk = { .f = x->f, .g = g, .what = "looking for the newest epoch", .pass = 1,
				.nr_passes = 1, .tolerant = true, .fn = newest_part, .arg = n };

	*n = (struct newest){ .wiped = wiped };
	return wc_walk_run(&walk);
}

/* what the caller chose; 0 with *seq, or why not.  Both consequences were said before. */
static int chosen_seq(struct fix *x, const struct newest *n, uint64_t *seq)
{
	if (n->max >= DMFMT_WC_SEQ_MAX)
		return dmfmt_fail(x->ctx, -EUCLEAN,
				  "%s: entries: seq_count up to %" PRIu64 ", expected below 2^63: no epoch can be told from them",
				  x->dev->path, n->max);
	if (x->o->flags & DMFMT_REPAIR_SEQ_MAX)
		*seq = n->max;
	else if (x->o->flags & DMFMT_REPAIR_SEQ_NEXT)
		*seq = n->max + 1;
	else
		return dmfmt_fail(x->ctx, -EUCLEAN,
				  "%s: superblock: seq_count cannot be proven, expected --seq-count=max (%" PRIu64
				  ": drops the %" PRIu64 " entries of the newest epoch) or --seq-count=max+1 (%"
				  PRIu64 ": takes them, although they may never have been committed)",
				  x->dev->path, n->max, n->nr, n->max + 1);
	return 0;
}

/* ---- data blocks that are kept elsewhere ------------------------------------------------- */

static int side_file(struct fix *x)
{
	int ret = 0;

	if (x->asked || !x->o->side || x->dev->dry_run)
		return 0;
	x->asked = true;
	ret = x->o->side(x->o->arg, &x->side);
	if (ret || !x->side)
		return ret;
	if (x->side->size < x->w->g.n_blocks * x->w->g.block_size)
		ret = dmfmt_dev_truncate(x->side, x->w->g.n_blocks * x->w->g.block_size);
	return ret;
}

/* not durable yet; a block that cannot be read is given up with its entry */
static int keep_blocks(struct fix *x, const struct wc_geometry *g, uint64_t entry, size_t nr)
{
	bool there = dmfmt_wc_block_there(g, entry + nr - 1);
	uint8_t *buf;
	int ret = there ? side_file(x) : 0;

	if (ret || !x->side || !there)
		return ret;
	buf = malloc(nr * g->block_size);
	if (!buf)
		return dmfmt_fail(x->ctx, -ENOMEM, "out of memory");
	ret = dmfmt_dev_read(x->dev, dmfmt_wc_block_offset(g, entry), buf, nr * g->block_size);
	if (!ret)
		ret = dmfmt_dev_write(x->side, entry * g->block_size, buf, nr * g->block_size);
	else if (ret != -ECANCELED && ret != -ENOMEM && nr == 1) {
		dmfmt_log(x->ctx, DMFMT_LOG_WARNING,
			  "%s: the data block of entry %" PRIu64 " cannot be read and is not kept",
			  x->dev->path, entry);
		ret = 0;
	} else if (ret != -ECANCELED && ret != -ENOMEM) {
		for (ret = 0; !ret && nr--; entry++)
			ret = keep_blocks(x, g, entry, 1);
	}
	free(buf);
	return ret;
}

static int keep_durable(struct fix *x)
{
	return x->side ? dmfmt_dev_flush(x->side) : 0;
}

/* ---- entries that become free ------------------------------------------------------------ */

/* what is listed goes, its blocks (if @keep) first */
static int free_list(struct fix *x, bool keep)
{
	size_t i, nr = x->nr;
	int ret = 0;

	x->nr = 0;
	for (i = 0; keep && !ret && i < nr; i++)
		ret = keep_blocks(x, &x->w->g, x->list[i], 1);
	if (!ret && keep)
		ret = keep_durable(x);
	if (!ret)
		ret = wc_free_entries(x->f, x->list, nr, 512);
	x->freed += nr;
	return ret;
}

static int add_entry(struct fix *x, uint64_t entry, bool keep)
{
	int ret = x->nr == LIST ? free_list(x, keep) : 0;

	x->list[x->nr++] = entry;
	return ret;
}

static int by_number(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* the rest of the list, durably */
static int free_rest(struct fix *x, bool keep)
{
	int ret;

	qsort(x->list, x->nr, sizeof(*x->list), by_number);
	ret = free_list(x, keep);
	return ret ? ret : dmfmt_dev_flush(x->dev);
}

/* a committed sector that has no place on an origin */
static bool homeless(const struct fix *x, uint64_t sector)
{
	return !dmfmt_wc_sector_ok(&x->w->g, sector) ||
	       (x->f->origin_sectors != DMFMT_NONE && sector >= x->f->origin_sectors);
}

/*
 * Copies that go while a newer one of the same sector stays: with a loss accepted, the older ones of
 * sectors that will go; and one of two with the same seq_count.  That one's block may be as good as
 * the winner's, if it ties with the winner: it is kept, and if the winner's cannot be read the entry is.
 */
static int free_group(void *arg, const struct wc_copy *c, size_t nr)
{
	struct fix *x = arg;
	bool all = x->lossy && (x->no_losers || homeless(x, c->sector));
	size_t i, best;
	int ret = wc_best_copy(x->f, c, nr, &best);

	for (i = 0; !ret && i < nr; i++) {
		if (i == best || (!all && i < best && c[i].seq != c[i + 1].seq))
			continue;
		if (c[i].seq == c[nr - 1].seq) {
			ret = keep_blocks(x, &x->w->g, c[i].entry, 1);
			if (!ret)
				ret = keep_durable(x);
		}
		if (!ret && x->nr == LIST) {
			qsort(x->list, x->nr, sizeof(*x->list), by_number);
			ret = free_list(x, false);
		}
		if (!ret)
			x->list[x->nr++] = c[i].entry;
	}
	return ret;
}

static int fix_copies(struct fix *x)
{
	struct wc_dups d = { .f = x->f, .memory = wc_dups_memory(x->ctx), .fn = free_group, .arg = x,
			     .tolerant = true };
	int ret;

	x->nr = 0;
	ret = wc_dups_run(&d);
	return ret ? ret : free_rest(x, false);
}

static int homeless_part(void *arg, const struct wc_part *p)
{
	struct fix *x = arg;
	size_t i;
	int ret = 0;

	for (i = 0; p->e && !ret && i < p->nr; i++)
		if (wc_committed(x->w, p->v[2 * i + 1]) && homeless(x, p->v[2 * i]))
			ret = add_entry(x, p->first + i, true);
	return ret;
}

static int fix_homeless(struct fix *x)
{
	struct wc_walk walk = { .f = x->f, .what = "freeing entries", .pass = 1, .nr_passes = 1,
				.tolerant = true, .fn = homeless_part, .arg = x };
	int ret;

	x->nr = 0;
	ret = wc_walk_run(&walk);
	if (!ret)
		ret = free_rest(x, true);
	if (ret)
		return ret;
	mended(x, DMFMT_F_WC_UNALIGNED);
	mended(x, DMFMT_F_WC_WRAPS);
	mended(x, DMFMT_F_WC_BEYOND);
	return 0;
}

/* sectors that cannot be read become free entries: a disk gives such a sector a new place */
static int lost_part(void *arg, const struct wc_part *p)
{
	struct fix *x = arg;
	size_t len = p->nr * WC_ENTRY;
	uint8_t *buf;
	int ret;

	if (p->e)
		return 0;
	/* what follows the last entry in its sector is nothing */
	if (!(p->offset % 512))
		len = (len + 511) / 512 * 512;
	buf = calloc(1, len);
	if (!buf)
		return dmfmt_fail(x->ctx, -ENOMEM, "out of memory");
	memset(buf, 0xff, p->nr * WC_ENTRY);
	ret = dmfmt_dev_write(x->dev, p->offset, buf, len);
	free(buf);
	return ret;
}

static int fix_unreadable(struct fix *x)
{
	struct wc_walk walk = { .f = x->f, .what = "rewriting entries", .pass = 1, .nr_passes = 1,
				.tolerant = true, .fn = lost_part, .arg = x };
	int ret = wc_walk_run(&walk);

	if (!ret)
		ret = dmfmt_dev_flush(x->dev);
	if (!ret)
		mended(x, DMFMT_F_WC_UNREADABLE);
	return ret;
}

/* blocks that cannot be read: those that the report names one by one */
static int fix_data(struct fix *x)
{
	uint64_t last = DMFMT_NONE;
	size_t i;
	int ret = 0;

	x->nr = 0;
	for (i = 0; !ret && i < dmfmt_report_nr(x->r); i++) {
		const struct dmfmt_finding *d = dmfmt_report_get(x->r, i);

		if (dmfmt_report_code(x->r, i) != DMFMT_F_WC_DATA_UNREADABLE || d->mended ||
		    d->record == DMFMT_NONE)
			continue;
		ret = add_entry(x, d->record, true);
		last = d->record;
		dmfmt_report_mended(x->r, DMFMT_F_WC_DATA_UNREADABLE, last);
	}
	return ret || last == DMFMT_NONE ? ret : free_rest(x, true);
}

/* ---- the superblock ---------------------------------------------------------------------- */

/* its sector with the entries in it, durably */
static int write_superblock(struct fix *x, const struct wc_superblock *sb, const void *padding)
{
	const size_t first = offsetof(struct wc_superblock_disk, padding);
	struct wc_superblock_disk d;
	uint8_t sector[512];
	int ret = dmfmt_dev_read(x->dev, x->dev->start, sector, sizeof(sector));

	if (ret)
		return ret;
	dmfmt_wc_superblock_encode(sb, &d);
	memcpy(sector, &d, first);
	if (padding)
		memcpy(sector + first, padding, WC_SUPERBLOCK - first);
	ret = dmfmt_dev_write(x->dev, x->dev->start, sector, sizeof(sector));
	return ret ? ret : dmfmt_dev_flush(x->dev);
}

/* rules 12 and 14: only to what the caller says */
static int fix_seq(struct fix *x)
{
	struct wc_superblock sb = x->w->sb;
	struct newest n;
	int ret = find_newest(x, &x->w->g, false, &n);

	if (!ret)
		ret = say_choices(x, n.max, n.nr);
	if (ret || !(x->o->flags & (DMFMT_REPAIR_SEQ_MAX | DMFMT_REPAIR_SEQ_NEXT)))
		return ret;
	if (!(x->o->flags & DMFMT_REPAIR_YES))
		return dmfmt_fail(x->ctx, -EUCLEAN,
				  "%s: superblock: seq_count is only changed with -y", x->dev->path);
	ret = chosen_seq(x, &n, &sb.seq_count);
	if (!ret)
		ret = write_superblock(x, &sb, NULL);
	if (!ret)
		all_mended(x);
	return ret;
}

/* rule 3: everything again, the magic last; nothing but free entries was there */
static int finish_format(struct fix *x)
{
	int ret = wc_format(x->dev, &x->w->g, x->w->sb.seq_count);

	if (!ret)
		mended(x, DMFMT_F_WC_INTERRUPTED);
	return ret;
}

/* ---- rebuilding it ----------------------------------------------------------------------- */

/* seq_count survived if something beside it has, and no entry is against it */
static bool own_seq(const struct fix *x, const struct wc_guess *g, const struct newest *n)
{
	return (g->from_superblock || x->w->sb.magic == DMFMT_WC_MAGIC) && x->w->sb.seq_count &&
	       x->w->sb.seq_count < DMFMT_WC_SEQ_MAX && x->w->sb.seq_count >= n->max;
}

static int rebuilt_seq(struct fix *x, const struct wc_guess *g, uint64_t *seq)
{
	struct newest n;
	int ret = find_newest(x, &g->g, g->wiped, &n);

	if (!ret)
		ret = say_choices(x, n.max, n.nr);
	if (ret)
		return ret;
	if (own_seq(x, g, &n) && !(x->o->flags & (DMFMT_REPAIR_SEQ_MAX | DMFMT_REPAIR_SEQ_NEXT))) {
		*seq = x->w->sb.seq_count;
		return say_num(x, "seq_count", "kept", *seq);
	}
	return chosen_seq(x, &n, seq);
}

/* the blocks of what was wiped, neighbours together */
static int keep_wiped(struct fix *x, const struct wc_geometry *g, const struct wc_entry_disk *e, size_t nr)
{
	size_t i, n;
	int ret = 0;

	for (i = 0; !ret && i < nr; i += n ? n : 1) {
		for (n = 0; i + n < nr && (n + 1) * g->block_size <= 1u << 20; n++) {
			const uint64_t v[2] = { dmfmt_wc_sector(&e[i + n]), dmfmt_wc_seq(&e[i + n]) };

			if (!is_wiped(i + n, v))
				break;
		}
		if (n)
			ret = keep_blocks(x, g, i, n);
	}
	return ret ? ret : keep_durable(x);
}

static void make_free(struct wc_entry_disk *e, size_t nr)
{
	size_t i;

	for (i = 0; i < nr; i++) {
		const uint64_t v[2] = { dmfmt_wc_sector(&e[i]), dmfmt_wc_seq(&e[i]) };

		if (is_wiped(i, v))
			dmfmt_wc_entry_encode(DMFMT_WC_FREE, DMFMT_WC_FREE, &e[i]);
	}
}

static int say_wiped(struct fix *x, const struct wc_guess *g)
{
	int ret = g->wiped ? say_num(x, "unknown", "wiped_entries", g->wiped) : 0;

	return ret || !g->wiped ? ret : say_num(x, "unknown", "before_entry", DMFMT_WC_ENTRIES_WIPED);
}

/*
 * Entries that a wipe has zeroed: what they held is unknown, so their blocks are kept, and they become
 * free.  The first sector goes first, without the magic: the kernel must not take the rest for a blank
 * device.
 */
static int free_wiped(struct fix *x, const struct wc_guess *g, const struct wc_superblock *sb)
{
	size_t nr = g->g.n_blocks < DMFMT_WC_ENTRIES_WIPED ? (size_t)g->g.n_blocks : DMFMT_WC_ENTRIES_WIPED;
	uint8_t buf[4096];
	struct wc_entry_disk *e = (struct wc_entry_disk *)(void *)(buf + WC_SUPERBLOCK);
	size_t bytes = g->wiped ? (WC_SUPERBLOCK + nr * WC_ENTRY + 511) / 512 * 512 : 512;
	int ret = say_wiped(x, g);

	if (!ret)
		ret = dmfmt_dev_read(x->dev, x->dev->start, buf, bytes);
	if (!ret && g->wiped)
		ret = keep_wiped(x, &g->g, e, nr);
	if (ret)
		return ret;
	dmfmt_wc_superblock_encode(sb, (struct wc_superblock_disk *)(void *)buf);
	if (g->wiped)
		make_free(e, nr);
	ret = dmfmt_dev_write(x->dev, x->dev->start, buf, 512);
	if (!ret)
		ret = dmfmt_dev_flush(x->dev);
	if (!ret && bytes > 512)
		ret = dmfmt_dev_write(x->dev, x->dev->start + 512, buf + 512, bytes - 512);
	return ret ? ret : dmfmt_dev_flush(x->dev);
}

/* the caller named a block size: with it the entries must decode at least */
static int named_guess(const struct fix *x, const struct wc_guess *g, unsigned nr)
{
	unsigned i;

	for (i = 0; i < nr; i++)
		if (g[i].g.block_size == x->o->block_bytes && g[i].plausible)
			return (int)i;
	return -1;
}

static int check_guess(struct fix *x, const struct wc_guess *g, int best)
{
	/* a device that was made smaller: its n_blocks is right, unless what lies there are no entries */
	if (x->w->state == WC_TRUNCATED && !has(x, DMFMT_F_WC_N_DAMAGED) &&
	    !(has(x, DMFMT_F_WC_N_DOUBT) && x->o->block_bytes) &&
	    (best < 0 || x->w->g.block_size == g[best].g.block_size))
		return dmfmt_fail(x->ctx, -EUCLEAN,
				  "%s: superblock: n_blocks %" PRIu64
				  " is not contradicted by the entries: the device was made smaller, expected its old size",
				  x->dev->path, x->w->g.n_blocks);
	if (best < 0)
		return dmfmt_fail(x->ctx, -EUCLEAN,
				  "%s: superblock: no block size is proven by the entries, expected exactly one with which all of them decode (--block-size names it)",
				  x->dev->path);
	return 0;
}

static int infer(struct fix *x, struct wc_guess *g, unsigned *nr, int *best)
{
	struct wc alone = { .state = x->w->state,
			    .sb = { .magic = x->w->sb.magic, .version = x->w->sb.version } };
	bool doubt = has(x, DMFMT_F_WC_BLOCK_DOUBT) || has(x, DMFMT_F_WC_FEWER_LIVE);
	unsigned i;
	int ret;

	/* a superblock that is contradicted is no witness */
	if (doubt)
		x->f->priv = &alone;
	ret = wc_infer(x->f, true, g, nr, best);
	x->f->priv = x->w;
	if (!ret && x->o->block_bytes)
		*best = named_guess(x, g, *nr);
	for (i = 0; !ret && i < *nr; i++)
		ret = say_guess(x, &g[i], (int)i == *best);
	return ret ? ret : check_guess(x, g, *best);
}

static int rebuild(struct fix *x)
{
	struct wc_superblock sb = { 0, DMFMT_WC_VERSION, 0, 0, 0, 0 };
	struct wc_guess g[WC_GUESSES];
	struct wc_geometry own = x->w->g;
	unsigned nr;
	int best, ret = infer(x, g, &nr, &best);

	if (!ret)
		ret = rebuilt_seq(x, &g[best], &sb.seq_count);
	if (ret)
		return ret;
	if (!(x->o->flags & DMFMT_REPAIR_YES))
		return dmfmt_fail(x->ctx, -EUCLEAN, "%s: superblock: is only rebuilt with -y",
				  x->dev->path);
	sb.block_size = g[best].g.block_size;
	sb.n_blocks = g[best].g.n_blocks;
	x->w->g = g[best].g;
	ret = free_wiped(x, &g[best], &sb);
	x->w->g = own;
	sb.magic = DMFMT_WC_MAGIC;
	if (!ret)
		ret = write_superblock(x, &sb, NULL);
	if (!ret)
		all_mended(x);
	return ret;
}

/* ---- the whole --------------------------------------------------------------------------- */

static int accept_loss(struct fix *x)
{
	struct dmfmt_summary sum = { .size = sizeof(sum) };

	dmfmt_report_summary(x->r, &sum);
	if (x->o->accept_loss == DMFMT_NONE)
		return 0;
	if (x->o->accept_loss != sum.loss)
		return dmfmt_fail(x->ctx, -EUCLEAN,
				  "%s: loss of %" PRIu64 " blocks was accepted, but the repair loses %" PRIu64,
				  x->dev->path, x->o->accept_loss, sum.loss);
	x->lossy = sum.loss != 0;
	return 0;
}

static int fix_entries(struct fix *x)
{
	bool ties = has(x, DMFMT_F_WC_SAME_SEQ);
	bool lossy = x->lossy && (has(x, DMFMT_F_WC_UNALIGNED) || has(x, DMFMT_F_WC_WRAPS) ||
				  has(x, DMFMT_F_WC_BEYOND));
	int ret = 0;

	x->no_losers = x->lossy && has(x, DMFMT_F_WC_DATA_UNREADABLE);
	if (x->lossy && has(x, DMFMT_F_WC_UNREADABLE))
		ret = fix_unreadable(x);
	else if (has(x, DMFMT_F_WC_UNREADABLE))
		return 0;	/* an older copy may be among them */
	if (!ret && (ties || lossy || x->no_losers))
		ret = fix_copies(x);
	if (!ret && ties)
		mended(x, DMFMT_F_WC_SAME_SEQ);
	if (!ret && lossy)
		ret = fix_homeless(x);
	if (!ret && x->no_losers)
		ret = fix_data(x);
	return ret;
}

/* --seq-count where nothing is wrong with it: only if it is what was asked for (an earlier round, or run) */
static int check_seq_wanted(struct fix *x)
{
	uint64_t seq = x->w->sb.seq_count;
	struct newest n;
	int ret;

	if (!(x->o->flags & (DMFMT_REPAIR_SEQ_MAX | DMFMT_REPAIR_SEQ_NEXT)))
		return 0;
	ret = find_newest(x, &x->w->g, false, &n);
	if (ret || !n.live || seq == (x->o->flags & DMFMT_REPAIR_SEQ_MAX ? n.max : n.max + 1))
		return ret;
	return dmfmt_fail(x->ctx, -EUCLEAN,
			  "%s: superblock: seq_count %" PRIu64
			  " agrees with the entries (the newest is %" PRIu64 "): not changed", x->dev->path,
			  seq, n.max);
}

static int fix_readable(struct fix *x)
{
	bool doubt = has(x, DMFMT_F_WC_BLOCK_DOUBT) || has(x, DMFMT_F_WC_FEWER_LIVE);
	int ret;

	if (doubt)
		return x->o->flags & DMFMT_REPAIR_REBUILD_HEADER ? rebuild(x) : 0;
	/* as long as it is not known which entries are committed, none goes */
	if (has(x, DMFMT_F_WC_SEQ_NEWER) || has(x, DMFMT_F_WC_SEQ_LIMIT))
		return fix_seq(x);
	ret = check_seq_wanted(x);
	return ret ? ret : fix_entries(x);
}

static int fix_all(struct fix *x)
{
	bool rebuild_it = x->o->flags & DMFMT_REPAIR_REBUILD_HEADER;

	switch (x->w->state) {
	case WC_SOUND:
		return fix_readable(x);
	case WC_INTERRUPTED:
		if (has(x, DMFMT_F_WC_INTERRUPTED))
			return finish_format(x);
		break;
	case WC_TOO_SMALL:
	case WC_VERSION_BAD:
	case WC_TOO_MANY:
		return 0;
	case WC_TRUNCATED:
		if (!rebuild_it)
			return x->o->accept_loss == DMFMT_NONE ? 0 :
			       dmfmt_fail(x->ctx, -EUCLEAN,
					  "%s: a truncated cache is not repaired, expected its old size (writecache-flush --keep-going brings home what is left)",
					  x->dev->path);
		break;
	default:
		break;
	}
	return rebuild_it ? rebuild(x) : 0;
}

int wc_repair(struct dmfmt *f, const struct dmfmt_repair_opts *o, struct dmfmt_report *found)
{
	struct fix *x = calloc(1, sizeof(*x));
	int ret;

	if (!x)
		return dmfmt_fail(f->ctx, -ENOMEM, "out of memory");
	x->f = f;
	x->ctx = f->ctx;
	x->dev = f->dev;
	x->w = f->priv;
	x->o = o;
	x->r = found;
	ret = accept_loss(x);
	if (!ret)
		ret = fix_all(x);
	free(x);
	return ret;
}
