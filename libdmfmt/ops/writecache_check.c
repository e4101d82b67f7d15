// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Checking a cache: every row of the rules in dm-writecache-format(5) is looked at, or reported as not
 * checked with the reason.
 *
 * One pass over the entries classifies them and puts the committed ones into the set that finds
 * duplicates (writecache_dups.c).  A chunk in which every entry is free or committed, aligned and below
 * a limit is done with a few operations for each; only the others are looked at one by one.  Which
 * copy of a sector loses is known at the end, so what is given up is counted then.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "writecache.h"

#define PLACES 8u		/* first numbers of what is only counted */
#define DAMAGED_MAX (1u << 18)	/* for repair, which works in rounds if there are more */
#define CHUNK 1024u		/* entries that are done fast or looked at one by one */
/* so many entries in a row where data blocks should lie are no accident */
#define BEHIND_RUN 256u
#define FAR (1ull << 48)	/* sectors or epochs: no cache gets there */

#define REPAIR_LOSS "dmtool writecache-repair -y --accept-loss=N, where N is the number that check prints"

/* a committed entry that a rule of its sector is against */
struct bad {
	uint64_t entry, sector, seq, winner;	/* winner: DMFMT_NONE: it is the winner itself */
};

/*
 * struct kind - all of them that break one rule
 * @nr: all; @losers: of those; @v: the first ones, in order
 */
struct kind {
	enum dmfmt_code code;
	uint64_t nr, losers;
	struct bad *v;
	size_t kept, room;
};

enum { UNALIGNED, WRAPS, BEYOND, PARTIAL, NR_KINDS };

/* entries of one class: how many, and the first of them */
struct few {
	uint64_t nr, first[PLACES];
	uint64_t sector;	/* of the first */
};

struct chk {
	struct dmfmt *f;
	struct dmfmt_ctx *ctx;
	struct wc *w;
	const struct wc_geometry *g;
	struct dmfmt_report *r;
	unsigned flags;

	uint64_t limit;		/* S: entries below it are committed */
	uint64_t block_sectors;
	uint64_t fast_end;	/* an aligned sector below it breaks no rule */
	bool look_at_all;	/* the largest seq_count of all is wanted */
	uint64_t possible;	/* n_blocks that a format gives; 0: none */

	uint64_t committed;
	uint64_t sectors;	/* of all committed ones, or-ed */
	struct few uncommitted, newer;
	uint64_t max_seq, nr_max;	/* of what was looked at one by one and is not free */
	struct kind kinds[NR_KINDS];
	bool n_damaged;		/* nothing that is taken for an entry need be one */
	bool n_unproven;	/* nothing says whether it is damaged or the device was cut */
	uint32_t other_block;	/* the block size that n_blocks was made for, if that is another one */
	unsigned passes;
};

/* ---- small helpers ----------------------------------------------------------------------------- */

struct text {
	char s[400];
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

static struct text place_of(uint64_t entry)
{
	return text("entry %" PRIu64, entry);
}

static const char *plural(uint64_t nr)
{
	return nr == 1 ? "y" : "ies";
}

/* a place in the superblock */
static struct dmfmt_at at_field(const struct chk *c, uint64_t offset, const char *suggestion)
{
	struct dmfmt_at at = DMFMT_AT_NOWHERE;

	at.offset = c->f->dev->start + offset;
	at.suggestion = suggestion;
	return at;
}

static struct dmfmt_at at_entry(const struct chk *c, uint64_t entry, uint64_t sector)
{
	struct dmfmt_at at = DMFMT_AT_NOWHERE;

	at.record = entry;
	at.offset = dmfmt_wc_entry_offset(c->g, entry);
	if (sector <= UINT64_MAX - c->block_sectors) {
		at.origin_sector = sector;
		at.origin_nr = c->block_sectors;
	}
	return at;
}

/* beyond the report's limit they are only counted: no words are made for them */
static bool only_counted(const struct chk *c, enum dmfmt_code code)
{
	return dmfmt_report_count(c->r, code) >= dmfmt_report_max(c->r);
}

static void note_few(struct few *few, uint64_t entry, uint64_t sector)
{
	if (!few->nr)
		few->sector = sector;
	if (few->nr < PLACES)
		few->first[few->nr] = entry;
	few->nr++;
}

/* "6, 9, 12 and 40 more" */
static struct text list_few(const struct few *few)
{
	struct text t = text("%" PRIu64, few->first[0]);
	size_t i, n;

	for (i = 1; i < few->nr && i < PLACES; i++) {
		n = strlen(t.s);
		snprintf(t.s + n, sizeof(t.s) - n, ", %" PRIu64, few->first[i]);
	}
	n = strlen(t.s);
	if (few->nr > PLACES)
		snprintf(t.s + n, sizeof(t.s) - n, " and %" PRIu64 " more", few->nr - PLACES);
	return t;
}

/* what --seq-count would do with what the entries say */
static struct text seq_advice(const struct chk *c)
{
	if (!c->nr_max)
		return text("%s", "");
	if (c->max_seq >= DMFMT_WC_SEQ_MAX - 1)
		return text("no cache reaches seq_count %" PRIu64 ": the entry itself is damaged; dmtool writecache-dump shows it, dmtool writecache-restore takes a dump that was mended by hand",
			    c->max_seq);
	return text("before any kernel loads it, dmtool writecache-repair --seq-count=max (seq_count becomes %"
		    PRIu64 ": gives up %" PRIu64 " entr%s of the newest epoch) or --seq-count=max+1 (%"
		    PRIu64 ": also takes what may never have been committed)", c->max_seq, c->nr_max,
		    plural(c->nr_max), c->max_seq + 1);
}

/* ---- entries: the fast loop -------------------------------------------------------------------- */

struct tally {
	uint64_t committed, free, far, sectors;
};

/* no branches: whether an entry is committed is as good as random in a cache that is in use */
static struct tally tally(const uint64_t *v, size_t nr, uint64_t limit, uint64_t end)
{
	struct tally t = { 0 };
	size_t i;

	for (i = 0; i < nr; i++) {
		uint64_t sector = v[2 * i], seq = v[2 * i + 1];
		uint64_t committed = seq < limit;

		t.committed += committed;
		t.free += seq == DMFMT_WC_FREE;
		t.far += committed & (uint64_t)(sector >= end);
		t.sectors |= sector & (0 - committed);
	}
	return t;
}

/* ---- entries: one by one ----------------------------------------------------------------------- */

/* which rule a committed sector breaks; NR_KINDS: none */
static unsigned judge_sector(const struct chk *c, uint64_t sector)
{
	uint64_t origin = c->f->origin_sectors;

	if (sector > UINT64_MAX - c->block_sectors)
		return WRAPS;
	if (sector & (c->block_sectors - 1))
		return UNALIGNED;
	if (origin == DMFMT_NONE || sector + c->block_sectors <= origin)
		return NR_KINDS;
	return sector >= origin ? BEYOND : PARTIAL;
}

static int keep_bad(struct chk *c, struct kind *k, uint64_t entry, uint64_t sector, uint64_t seq)
{
	k->nr++;
	if (k->kept == dmfmt_report_max(c->r))
		return 0;
	if (k->kept == k->room) {
		size_t room = k->room ? 2 * k->room : 16;
		struct bad *more = reallocarray(k->v, room, sizeof(*more));

		if (!more)
			return dmfmt_fail(c->ctx, -ENOMEM, "out of memory for findings");
		k->v = more;
		k->room = room;
	}
	k->v[k->kept++] = (struct bad){ entry, sector, seq, DMFMT_NONE };
	return 0;
}

static int slow_committed(struct chk *c, uint64_t entry, uint64_t sector, uint64_t seq)
{
	unsigned kind = judge_sector(c, sector);

	if (kind == NR_KINDS)
		return 0;
	if (kind <= WRAPS && c->w->damaged.count < DAMAGED_MAX && wc_set_add(&c->w->damaged, entry))
		return dmfmt_fail(c->ctx, -ENOMEM, "out of memory for damaged entries");
	return keep_bad(c, &c->kinds[kind], entry, sector, seq);
}

static int slow_entry(struct chk *c, uint64_t entry, uint64_t sector, uint64_t seq)
{
	if (seq == DMFMT_WC_FREE)
		return 0;
	if (seq > c->max_seq || !c->nr_max) {
		c->max_seq = seq;
		c->nr_max = 0;
	}
	c->nr_max += seq == c->max_seq;
	if (seq < c->limit)
		return slow_committed(c, entry, sector, seq);
	note_few(seq == c->limit ? &c->uncommitted : &c->newer, entry, sector);
	return 0;
}

static int unreadable(struct chk *c, const struct wc_part *p)
{
	struct dmfmt_at at = DMFMT_AT_NOWHERE;

	c->w->unreadable += p->nr;
	at.record = p->first;
	at.offset = p->offset;
	at.count = at.loss = p->nr;
	at.suggestion = "copy the device with GNU ddrescue first, then check the copy; never let a kernel map it";
	return dmfmt_report_add(c->r, DMFMT_F_WC_UNREADABLE, &at,
				text("entries %" PRIu64 " to %" PRIu64, p->first,
				     p->first + p->nr - 1).s, "input/output error",
				text("%zu readable entr%s", p->nr, plural(p->nr)).s);
}

static int check_chunk(struct chk *c, uint64_t first, const uint64_t *v, size_t nr)
{
	struct tally t = tally(v, nr, c->limit, c->fast_end);
	size_t i;
	int ret = 0;

	c->committed += t.committed;
	c->sectors |= t.sectors;
	if (t.committed + t.free == nr && !t.far && !(t.sectors & (c->block_sectors - 1)) &&
	    !c->look_at_all)
		return 0;
	for (i = 0; !ret && i < nr; i++)
		ret = slow_entry(c, first + i, v[2 * i], v[2 * i + 1]);
	return ret;
}

static int check_part(void *arg, const struct wc_part *p)
{
	struct chk *c = arg;
	size_t i;
	int ret = 0;

	if (!p->e)
		return unreadable(c, p);
	for (i = 0; !ret && i < p->nr; i += CHUNK)
		ret = check_chunk(c, p->first + i, p->v + 2 * i, p->nr - i < CHUNK ? p->nr - i : CHUNK);
	return ret;
}

/* ---- duplicates -------------------------------------------------------------------------------- */

static int by_entry(const void *key, const void *element)
{
	uint64_t entry = *(const uint64_t *)key, other = ((const struct bad *)element)->entry;

	return entry < other ? -1 : entry > other;
}

/* all copies of a sector that breaks a rule are in the same kind: those that lose give up nothing */
static void note_losers(struct chk *c, const struct wc_copy *copy, size_t nr)
{
	unsigned kind = judge_sector(c, copy->sector);
	struct kind *k;
	size_t i;

	if (kind == NR_KINDS)
		return;
	k = &c->kinds[kind];
	k->losers += nr - 1;
	for (i = 0; k->kept && i + 1 < nr; i++) {
		struct bad *b = bsearch(&copy[i].entry, k->v, k->kept, sizeof(*b), by_entry);

		if (b)
			b->winner = copy[nr - 1].entry;
	}
}

static int report_loser(struct chk *c, const struct wc_copy *loser, const struct wc_copy *next,
			const struct wc_copy *winner)
{
	bool tie = loser->seq == next->seq;
	enum dmfmt_code code = tie ? DMFMT_F_WC_SAME_SEQ : DMFMT_F_WC_SUPERSEDED;
	struct dmfmt_at at;
	struct text found;

	if (only_counted(c, code)) {
		at = (struct dmfmt_at)DMFMT_AT_NOWHERE;
		return dmfmt_report_add(c->r, code, &at, "", "", "");
	}
	at = at_entry(c, loser->entry, loser->sector);
	at.record2 = winner->entry;
	if (tie)
		at.suggestion = "dmtool writecache-repair -a: frees it durably; its block goes to a side file";
	if (tie && next == winner)
		found = text("original_sector %" PRIu64 ", seq_count %" PRIu64 ": the same as entry %" PRIu64
			     ", which wins because its index is higher", loser->sector, loser->seq,
			     winner->entry);
	else if (tie)
		found = text("original_sector %" PRIu64 ", seq_count %" PRIu64 ": the same as entry %" PRIu64
			     "; entry %" PRIu64 " wins because its seq_count %" PRIu64 " is higher",
			     loser->sector, loser->seq, next->entry, winner->entry, winner->seq);
	else
		found = text("original_sector %" PRIu64 ", seq_count %" PRIu64
			     ": superseded by entry %" PRIu64 ", which wins because its seq_count %"
			     PRIu64 " is higher", loser->sector, loser->seq, winner->entry,
			     winner->seq);
	return dmfmt_report_add(c->r, code, &at, place_of(loser->entry).s, found.s, "");
}

static int on_group(void *arg, const struct wc_copy *copy, size_t nr)
{
	struct chk *c = arg;
	size_t i;
	int ret = 0;

	note_losers(c, copy, nr);
	for (i = 0; !ret && i + 1 < nr; i++)
		ret = report_loser(c, &copy[i], &copy[i + 1], &copy[nr - 1]);
	return ret;
}

/* ---- what the pass has found ------------------------------------------------------------------- */

static const char *kind_advice(const struct chk *c, enum dmfmt_code code)
{
	if (c->other_block)
		return "";
	if (code == DMFMT_F_WC_BEYOND)
		return "make sure that this is the right origin and that it has its old size; dmtool writecache-flush --accept-loss=N drops the block";
	return code == DMFMT_F_WC_PARTIAL ? "" : REPAIR_LOSS;
}

static struct text kind_expected(const struct chk *c, enum dmfmt_code code)
{
	switch (code) {
	case DMFMT_F_WC_UNALIGNED:
		return text("a multiple of %" PRIu64 " (block_size %u)", c->block_sectors,
			    c->g->block_size);
	case DMFMT_F_WC_WRAPS:
		return text("at most %" PRIu64, (UINT64_MAX - c->block_sectors) / c->block_sectors *
			    c->block_sectors);
	default:
		return text("the whole block below %" PRIu64 " (size of the origin)",
			    c->f->origin_sectors);
	}
}

static int report_bad(struct chk *c, const struct kind *k, const struct bad *b, bool lossy)
{
	struct dmfmt_at at = at_entry(c, b->entry, b->sector);
	struct text found = text("original_sector %" PRIu64, b->sector);

	if (b->winner != DMFMT_NONE) {
		at.record2 = b->winner;
		found = text("original_sector %" PRIu64 " (superseded by entry %" PRIu64 ")", b->sector,
			     b->winner);
	} else {
		at.loss = lossy;
	}
	at.suggestion = kind_advice(c, k->code);
	return dmfmt_report_add(c->r, k->code, &at, place_of(b->entry).s, found.s,
				kind_expected(c, k->code).s);
}

static int report_kind(struct chk *c, const struct kind *k)
{
	/* where the block size is in doubt, nothing is to be given up for it */
	bool lossy = k->code != DMFMT_F_WC_PARTIAL && !c->other_block;
	struct dmfmt_at rest = DMFMT_AT_NOWHERE;
	uint64_t losers = k->losers;
	size_t i;
	int ret = 0;

	for (i = 0; !ret && i < k->kept; i++) {
		ret = report_bad(c, k, &k->v[i], lossy);
		losers -= k->v[i].winner != DMFMT_NONE;
	}
	rest.count = k->nr - k->kept;
	if (ret || !rest.count)
		return ret;
	rest.loss = lossy ? rest.count - losers : 0;
	return dmfmt_report_add(c->r, k->code, &rest, "", "", "");
}

static int report_newer(struct chk *c)
{
	uint64_t all = c->newer.nr + c->uncommitted.nr;
	struct text advice = seq_advice(c);
	struct dmfmt_at at;

	if (!c->newer.nr)
		return 0;
	at = at_entry(c, c->newer.first[0], c->newer.sector);
	at.count = c->newer.nr;
	at.suggestion = advice.s;
	return dmfmt_report_add(c->r, DMFMT_F_WC_SEQ_NEWER, &at, "superblock",
				text("seq_count %" PRIu64 ", but %" PRIu64 " entr%s newer, up to seq_count %"
				     PRIu64 " (%s): a kernel SILENTLY DROPS %" PRIu64
				     " block%s that %s acknowledged", c->limit, c->newer.nr,
				     c->newer.nr == 1 ? "y is" : "ies are", c->max_seq,
				     list_few(&c->newer).s, all, all == 1 ? "" : "s",
				     all == 1 ? "was" : "were").s,
				text("at least %" PRIu64, c->max_seq).s);
}

static int report_uncommitted(struct chk *c)
{
	struct dmfmt_at at;

	if (!c->uncommitted.nr)
		return 0;
	at = at_entry(c, c->uncommitted.first[0], c->uncommitted.sector);
	at.count = c->uncommitted.nr;
	/* a superblock that was rolled back had committed them */
	return dmfmt_report_add(c->r, DMFMT_F_WC_UNCOMMITTED, &at, "entries",
				text("%" PRIu64 " %s (seq_count %" PRIu64 " is the superblock's): %s",
				     c->uncommitted.nr, c->newer.nr ? "taken for not committed" :
								      "never committed", c->limit,
				     list_few(&c->uncommitted).s).s, "");
}

/* rule 12; the entries say what it may have been */
static int report_seq_limit(struct chk *c)
{
	struct dmfmt_at at = at_field(c, 24, "");
	struct text advice = seq_advice(c);

	if (c->limit < DMFMT_WC_SEQ_MAX)
		return 0;
	at.suggestion = advice.s;
	return dmfmt_report_add(c->r, DMFMT_F_WC_SEQ_LIMIT, &at, "superblock",
				text("seq_count %" PRIu64, c->limit).s,
				c->nr_max && c->max_seq < DMFMT_WC_SEQ_MAX - 1 ?
					    text("%" PRIu64 " or %" PRIu64 ", as the newest entry says",
						 c->max_seq, c->max_seq + 1).s : "below 2^63");
}

/* ---- n_blocks and the device ------------------------------------------------------------------- */

/*
 * n_blocks is not what a format gives with this block size, but exactly what it gives with another
 * one, of which all committed sectors are multiples: 0, or that one.
 */
static uint32_t find_other_block(const struct chk *c)
{
	uint64_t n, size;

	if (c->possible == c->g->n_blocks)
		return 0;
	for (size = DMFMT_WC_BLOCK_MIN; size <= DMFMT_WC_BLOCK_MAX; size *= 2) {
		if (size == c->g->block_size || c->sectors & (size / 512 - 1))
			continue;
		if (size > c->g->block_size && !c->committed)
			continue;
		if (!dmfmt_wc_blocks(c->g->usable, size, &n) && n == c->g->n_blocks)
			return (uint32_t)size;
	}
	return 0;
}

static int report_doubt(struct chk *c)
{
	struct dmfmt_at at = at_field(c, 8, "");
	struct text advice;

	c->other_block = find_other_block(c);
	if (!c->other_block)
		return 0;
	wc_set_free(&c->w->damaged);
	advice = text("if the device has its old size: dmtool writecache-repair --rebuild-superblock --block-size=%u --seq-count=max+1 -n",
		      c->other_block);
	at.suggestion = advice.s;
	return dmfmt_report_add(c->r, DMFMT_F_WC_BLOCK_DOUBT, &at, "superblock",
				text("block_size %u with n_blocks %" PRIu64, c->g->block_size,
				     c->g->n_blocks).s,
				text("block_size %u: with it a format of this device gives exactly %" PRIu64
				     " blocks, and every committed sector is a multiple of it",
				     c->other_block, c->g->n_blocks).s);
}

/*
 * struct behind - the 16-byte pieces behind the last entry, so many that they can be no accident
 * @live, @free: ones that fit; @zero: all-zero ones; @bad: ones that can be nothing of the kind
 */
struct behind {
	const struct chk *c;
	uint64_t seen, live, free, zero, bad;
};

static int behind_part(void *arg, const struct wc_part *p)
{
	struct behind *b = arg;
	size_t i;

	for (i = 0; p->e && i < p->nr; i++) {
		uint64_t sector = p->v[2 * i], seq = p->v[2 * i + 1];

		b->seen++;
		/* where the origin ends says nothing: it may have been larger */
		if (seq == DMFMT_WC_FREE)
			b->free++;
		else if (!sector && !seq)
			b->zero++;
		else if (seq > b->c->limit || sector > UINT64_MAX >> 10 ||
			 sector & (b->c->block_sectors - 1))
			b->bad++;
		else
			b->live++;
	}
	return 0;
}

/* are they entries?  A damaged one is among them at most here and there; @moves: blocks lie elsewhere */
static bool are_entries(const struct behind *b, bool moves)
{
	uint64_t live = b->live, bad = b->bad;

	/* a few can be the first block of the origin, where others are sure; more are nothing written yet */
	if (b->zero > b->seen / 64 + 2)
		bad += b->zero;
	else if (b->live || b->free)
		live += b->zero;
	else
		bad += b->zero;
	return (live || (b->free && moves)) && bad <= b->seen / 64 + (b->seen >= 16);
}

static int report_cuts(struct chk *c, const struct behind *b, uint64_t most)
{
	struct dmfmt_at at = at_field(c, 16, "do not let a kernel load it; dmtool writecache-repair --rebuild-superblock --seq-count=max+1 -n shows what would follow from the larger number");

	at.record = c->g->n_blocks;
	return dmfmt_report_add(c->r, DMFMT_F_WC_FEWER_LIVE, &at, "superblock",
				text("n_blocks %" PRIu64 ", but %s%" PRIu64
				     " entries follow (%" PRIu64 " in use, %" PRIu64 " free)",
				     c->g->n_blocks, most < c->possible ? "at least " : "", b->seen,
				     b->seen - b->free, b->free).s,
				text("%" PRIu64 ", what a format of this device gives", c->possible).s);
}

/*
 * A device that has grown has its data blocks behind the last entry, and a gap that may hold anything;
 * with an n_blocks that was made smaller more entries lie there, up to the number that a format gives.
 * So the gap and as much as is no accident are looked at.
 */
static int report_fewer(struct chk *c)
{
	struct behind b = { .c = c };
	struct wc_geometry g = *c->g;
	struct wc_walk walk = { .f = c->f, .g = &g, .what = "looking behind the entries", .pass = 1,
				.nr_passes = 1, .first = c->g->n_blocks, .tolerant = true,
				.fn = behind_part, .arg = &b };
	struct dmfmt_at at = at_field(c, 16, "");
	uint64_t gap = (c->g->metadata - WC_SUPERBLOCK) / WC_ENTRY - c->g->n_blocks;
	int ret;

	if (c->possible <= c->g->n_blocks || c->other_block)
		return 0;
	g.n_blocks = c->possible;
	walk.end = c->possible - c->g->n_blocks > gap + BEHIND_RUN ? c->g->n_blocks + gap + BEHIND_RUN :
								     c->possible;
	ret = wc_walk_run(&walk);
	if (ret)
		return ret;
	if (are_entries(&b, dmfmt_wc_metadata_bytes(c->possible, c->g->block_size) != c->g->metadata))
		return report_cuts(c, &b, walk.end);
	return dmfmt_report_add(c->r, DMFMT_F_WC_FEWER, &at, "superblock",
				text("n_blocks %" PRIu64, c->g->n_blocks).s,
				text("%" PRIu64 ", what a format of this device gives", c->possible).s);
}

static int report_truncated(struct chk *c)
{
	uint64_t need = c->g->metadata + c->g->n_blocks * c->g->block_size;
	uint64_t lost = c->g->n_blocks - c->w->entries;
	struct dmfmt_at at = at_field(c, 16, "restore the size of the device (if it never had another one, n_blocks is damaged); if that cannot be, dmtool writecache-flush --keep-going --accept-loss=N brings home what is left");
	struct text found;

	if (c->w->state != WC_TRUNCATED)
		return 0;
	at.loss = lost;
	found = text("%" PRIu64 " bytes behind start_sector", c->g->usable);
	if (lost)
		found = text("%" PRIu64 " bytes behind start_sector: %" PRIu64
			     " of the entries themselves are missing", c->g->usable, lost);
	return dmfmt_report_add(c->r, DMFMT_F_WC_TRUNCATED, &at, "device", found.s,
				text("at least %" PRIu64 " for n_blocks %" PRIu64 " of %u bytes (a format of this size gives %"
				     PRIu64 ")", need, c->g->n_blocks, c->g->block_size, c->possible).s);
}

/* so many are looked at */
#define ODD_MAX (1u << 20)

/* struct odd - @sure: entries in use, and free ones that were in use */
struct odd {
	const struct chk *c;
	uint64_t nr, bad, zero, sure;
};

static int odd_part(void *arg, const struct wc_part *p)
{
	struct odd *o = arg;
	size_t i;

	for (i = 0; p->e && i < p->nr; i++) {
		uint64_t sector = p->v[2 * i], seq = p->v[2 * i + 1];

		o->nr++;
		if (!sector && !seq)
			o->zero++;
		/* not whether it is aligned: the block size may be wrong as well */
		else if (seq != DMFMT_WC_FREE && (seq > o->c->limit || sector > UINT64_MAX >> 10))
			o->bad++;
		else if (seq != DMFMT_WC_FREE || sector != DMFMT_WC_FREE)
			o->sure++;
	}
	return 0;
}

/* with the n_blocks that a format of this device gives the blocks lie elsewhere */
static bool blocks_move(const struct chk *c)
{
	return c->possible &&
	       dmfmt_wc_metadata_bytes(c->possible, c->g->block_size) != c->g->metadata;
}

/* neither a device that was cut nor an n_blocks that is damaged is proven */
static int report_n_doubt(struct chk *c)
{
	struct text advice = text("restore the size of the device; only if it is known that it was cut, dmtool writecache-flush --device-was-cut; if n_blocks is damaged, dmtool writecache-repair --rebuild-superblock --block-size=%u -n",
				  c->g->block_size);
	struct dmfmt_at at = at_field(c, 16, advice.s);

	return dmfmt_report_add(c->r, DMFMT_F_WC_N_DOUBT, &at, "superblock",
				text("n_blocks %" PRIu64 ", but no block that is missing: the device may have its old size, and then every block is looked for in a wrong place",
				     c->g->n_blocks).s,
				text("%" PRIu64 ", what a format of this device gives, or proof that it was larger",
				     c->possible).s);
}

/*
 * The device may have been longer, or n_blocks may be damaged: then every block is looked for in a
 * wrong place, and what is taken for entries are data.  Entries that go on behind those that a format of
 * this size gives tell the one from the other, but not free ones that were never used: data of all ones
 * look like them.  1: n_blocks is damaged, and the entries say nothing
 */
static int report_n_damaged(struct chk *c)
{
	struct odd o = { .c = c };
	struct wc_walk walk = { .f = c->f, .what = "looking behind the entries", .pass = 1,
				.nr_passes = 1, .first = c->possible, .end = c->possible + ODD_MAX,
				.tolerant = true, .fn = odd_part, .arg = &o };
	struct dmfmt_at at = at_field(c, 16, "dmtool writecache-repair --rebuild-superblock -n shows what the entries say");
	int ret;

	if (c->w->state != WC_TRUNCATED || !blocks_move(c))
		return 0;
	ret = wc_walk_run(&walk);
	/* one block can be the first of the origin, zeros are many */
	if (o.zero > 1)
		o.bad += o.zero;
	if (ret)
		return ret;
	if (o.bad * 64 <= o.nr) {
		c->n_unproven = !o.sure;
		return 0;
	}
	c->n_damaged = true;
	ret = dmfmt_report_add(c->r, DMFMT_F_WC_N_DAMAGED, &at, "superblock",
			       text("n_blocks %" PRIu64 ", but of %" PRIu64 " entries behind the first %"
				    PRIu64 " %" PRIu64 " are none", c->g->n_blocks, o.nr, c->possible,
				    o.bad).s,
			       text("%" PRIu64 ", what a format of this device gives", c->possible).s);
	return ret ? ret : 1;
}

static int lost_part(void *arg, const struct wc_part *p)
{
	struct chk *c = arg;
	size_t i;
	int ret = 0;

	for (i = 0; p->e && !ret && i < p->nr; i++) {
		uint64_t entry = p->first + i, sector = p->v[2 * i], seq = p->v[2 * i + 1];
		unsigned kind = judge_sector(c, sector);
		struct dmfmt_at at;

		if (!wc_committed(c->w, seq) || wc_set_has(&c->w->losers, entry) ||
		    (kind != NR_KINDS && kind != PARTIAL))
			continue;
		at = at_entry(c, entry, sector);
		at.loss = 1;
		if (only_counted(c, DMFMT_F_WC_BLOCK_LOST))
			ret = dmfmt_report_add(c->r, DMFMT_F_WC_BLOCK_LOST, &at, "", "", "");
		else
			ret = dmfmt_report_add(c->r, DMFMT_F_WC_BLOCK_LOST, &at, place_of(entry).s,
					       text("original_sector %" PRIu64 ", its block at byte %" PRIu64
						    " is lost", sector, dmfmt_wc_block_offset(c->g, entry)).s,
					       text("the whole block before byte %" PRIu64
						    ", the end of the device", c->f->dev->size).s);
	}
	return ret;
}

/* every committed block that the device no longer has, one by one; winners only */
static int report_lost_blocks(struct chk *c)
{
	struct wc_walk walk = { .f = c->f, .what = "naming lost blocks", .pass = c->passes + 1,
				.nr_passes = c->passes + 1, .tolerant = true, .fn = lost_part, .arg = c };
	int ret;

	if (c->w->state != WC_TRUNCATED || c->other_block)
		return 0;
	if (!c->committed)
		return c->n_unproven ? report_n_doubt(c) : 0;
	ret = wc_load_losers(c->f);
	if (ret)
		return ret;
	if (c->g->usable > c->g->metadata)
		walk.first = (c->g->usable - c->g->metadata) / c->g->block_size;
	ret = wc_walk_run(&walk);
	/* where nothing is lost, no number to be accepted would say that somebody has thought of it */
	if (!ret && blocks_move(c) && c->w->entries == c->g->n_blocks &&
	    !dmfmt_report_count(c->r, DMFMT_F_WC_BLOCK_LOST))
		c->n_unproven = true;
	return ret || !c->n_unproven ? ret : report_n_doubt(c);
}

/* ---- the superblock, where no entries can be read ---------------------------------------------- */

/*
 * struct look - what the entries say without it
 * @best: the one that the bytes prove; @alive: how many look alive with it, or with one of those that
 * could be; @sizes: these
 */
struct look {
	struct wc_guess g[WC_GUESSES], *best;
	unsigned nr;
	uint64_t alive;
	struct text sizes;
};

/* @all: every entry is looked at, not a sample, and alive and sizes are set */
static int look(struct chk *c, bool all, struct look *l)
{
	int best, ret;

	memset(l, 0, sizeof(*l));
	if (all)
		ret = wc_infer_alive(c->f, l->g, &l->nr, &best, &l->alive);
	else
		ret = wc_infer(c->f, false, l->g, &l->nr, &best);
	l->best = best >= 0 ? &l->g[best] : NULL;
	wc_list_alive(l->g, l->nr, l->sizes.s, sizeof(l->sizes.s));
	return ret;
}

/* a superblock at another place; @t: room for the words */
static const char *other_start(struct chk *c, struct text *t)
{
	uint64_t sectors = wc_other_start(c->f, 0);

	if (sectors == DMFMT_NONE)
		return "";
	*t = text("a superblock lies at sector %" PRIu64 ": --start-sector=%" PRIu64, sectors, sectors);
	return t->s;
}

#define REBUILD "dmtool writecache-repair --rebuild-superblock --seq-count=max (drops the newest epoch) or --seq-count=max+1 (takes it, although it may never have been committed)"

static int report_blank(struct chk *c)
{
	struct dmfmt_at at = at_field(c, 0, "");
	struct text other, found;
	struct look l;
	int ret = look(c, true, &l);

	if (ret)
		return ret;
	if (!l.alive) {
		at.suggestion = other_start(c, &other);
		return dmfmt_report_add(c->r, DMFMT_F_WC_BLANK, &at, "superblock",
					"magic 0, version 0, and no entries that are alive",
					text("magic 0x%08x, version 1", DMFMT_WC_MAGIC).s);
	}
	found = text("magic 0, version 0 over %" PRIu64 " entries that are alive (block_size %s)",
		     l.alive, l.sizes.s);
	if (l.best && l.best->wiped)
		found = text("magic 0, version 0 over %" PRIu64 " entries that are alive (block_size %s); the first %"
			     PRIu64 " are zero: what they held is unknown", l.alive, l.sizes.s,
			     l.best->wiped);
	at.suggestion = "do not let a kernel load it: it would format; " REBUILD;
	at.record = 0;
	return dmfmt_report_add(c->r, DMFMT_F_WC_WIPED, &at, "superblock", found.s,
				text("magic 0x%08x, version 1", DMFMT_WC_MAGIC).s);
}

/* entries that are not free, or cannot be read */
struct alive {
	uint64_t nr;
};

static int alive_part(void *arg, const struct wc_part *p)
{
	struct alive *a = arg;
	size_t i;

	for (i = 0; p->e && i < p->nr; i++)
		a->nr += p->v[2 * i + 1] != DMFMT_WC_FREE;
	return 0;
}

/* block_size and n_blocks fit this device */
static bool plausible_numbers(const struct chk *c)
{
	return c->w->has_geometry && dmfmt_wc_block_there(&c->w->g, c->w->g.n_blocks - 1) &&
	       c->w->g.n_blocks <= DMFMT_WC_BLOCKS_MAX;
}

static int report_magic(struct chk *c)
{
	struct dmfmt_at at = at_field(c, 0, "");
	struct text found = text("magic 0x%08x", c->w->sb.magic), other;
	struct text expected = text("0x%08x", DMFMT_WC_MAGIC);
	struct look l;
	int ret = look(c, false, &l);

	if (ret)
		return ret;
	if (l.best && (l.best->live || l.best->free) && c->w->sb.version == DMFMT_WC_VERSION &&
	    plausible_numbers(c) && l.best->g.block_size == c->w->g.block_size) {
		expected = text("0x%08x: the rest of it and the entries agree", DMFMT_WC_MAGIC);
		at.suggestion = REBUILD;
	} else {
		at.suggestion = other_start(c, &other);
	}
	return dmfmt_report_add(c->r, DMFMT_F_WC_MAGIC, &at, "superblock", found.s, expected.s);
}

/* behind those that the superblock knows, up to what a format gives: n_blocks may be damaged as well */
static int alive_behind(struct chk *c, uint64_t possible, struct alive *a)
{
	struct wc_guess g = { .g = c->w->g };
	uint64_t lost;
	int ret;

	g.g.n_blocks = possible;
	ret = wc_count_range(c->f, &g, c->w->g.n_blocks, possible, &lost);
	if (!ret)
		a->nr += lost + (wc_may_be_entries(&g) ? g.live : 0);
	return ret;
}

/* @format: what a format of this device writes, but for the entries */
static int count_alive(struct chk *c, struct alive *a, bool *format)
{
	struct wc_walk walk = { .f = c->f, .what = "checking", .pass = 1, .nr_passes = 1,
				.tolerant = true, .fn = alive_part, .arg = a };
	uint64_t n = 0;
	struct look l;
	int ret;

	*format = false;
	if (!plausible_numbers(c)) {
		ret = look(c, true, &l);
		a->nr = l.alive;
		return ret;
	}
	ret = wc_walk_run(&walk);
	c->passes = 1;
	a->nr += walk.lost;
	if (ret || dmfmt_wc_blocks(c->w->g.usable, c->w->g.block_size, &n))
		return ret;
	*format = n == c->w->g.n_blocks && !c->w->sb.seq_count;
	return n > c->w->g.n_blocks ? alive_behind(c, n, a) : 0;
}

static int report_magic_missing(struct chk *c, const struct alive *a)
{
	struct dmfmt_at at = at_field(c, 0, REBUILD);
	struct text found = text("magic 0 with version 1, and %" PRIu64 " entr%s not free", a->nr,
				 a->nr == 1 ? "y that is" : "ies that are");

	if (!a->nr) {
		found = text("magic 0 with version 1, every entry free, but seq_count %" PRIu64
			     ": no format leaves that", c->w->sb.seq_count);
		at.suggestion = "run the writecache-convert or writecache-restore that was interrupted again; dmtool writecache-repair --rebuild-superblock takes it as it is, an empty cache";
	}
	return dmfmt_report_add(c->r, DMFMT_F_WC_INTERRUPTED_LIVE, &at, "superblock", found.s,
				text("0x%08x", DMFMT_WC_MAGIC).s);
}

/* rule 3: magic 0, version 1.  A format that was cut off has written nothing but free entries. */
static int report_interrupted(struct chk *c)
{
	struct dmfmt_at at = at_field(c, 0, "dmtool writecache-repair -a: writes the entries again, then the magic");
	struct alive a = { 0 };
	bool format;
	int ret = count_alive(c, &a, &format);

	if (ret)
		return ret;
	if (a.nr || (!format && c->w->sb.seq_count && plausible_numbers(c)))
		return report_magic_missing(c, &a);
	if (!format)
		return report_magic(c);
	return dmfmt_report_add(c->r, DMFMT_F_WC_INTERRUPTED, &at, "superblock",
				"magic 0 with version 1, every entry free",
				text("0x%08x", DMFMT_WC_MAGIC).s);
}

/* block_size or n_blocks is of no use: what the entries and the device say instead */
static int report_number(struct chk *c, enum dmfmt_code code, uint64_t offset, const char *found)
{
	struct dmfmt_at at = at_field(c, offset, "");
	struct text expected;
	struct look l;
	uint64_t n;
	int ret = look(c, false, &l);

	if (ret)
		return ret;
	if (dmfmt_wc_blocks(wc_usable(c->f->dev), c->w->sb.block_size, &n))
		expected = text("a power of two from 512 to 65536");
	else
		expected = text("%" PRIu64 ", what a format of this device gives", n);
	if (l.best && (l.best->live || l.best->free)) {
		expected = text("block_size %u and n_blocks %" PRIu64 ", with which the entries decode, if the device has its old size",
				l.best->g.block_size, l.best->g.n_blocks);
		at.suggestion = REBUILD;
	}
	return dmfmt_report_add(c->r, code, &at, "superblock", found, expected.s);
}

static int report_too_small(struct chk *c)
{
	struct dmfmt_at at = at_field(c, 0, "");

	return dmfmt_report_add(c->r, DMFMT_F_WC_TOO_SMALL, &at, "device",
				text("%" PRIu64 " bytes behind start_sector", wc_usable(c->f->dev)).s,
				"at least 1024 (two blocks of 512 bytes)");
}

static int report_too_many(struct chk *c)
{
	struct dmfmt_at at = at_field(c, 16, "");

	return dmfmt_report_add(c->r, DMFMT_F_WC_TOO_MANY, &at, "superblock",
				text("n_blocks %" PRIu64, c->w->sb.n_blocks).s,
				text("at most %" PRIu64, (uint64_t)DMFMT_WC_BLOCKS_MAX).s);
}

/* what keeps the entries from being read; 1 if so */
static int report_state(struct chk *c)
{
	const struct wc_superblock *sb = &c->w->sb;
	struct dmfmt_at at = at_field(c, 4, "");
	int ret;

	switch (c->w->state) {
	case WC_TOO_SMALL:
		ret = report_too_small(c);
		break;
	case WC_BLANK:
		ret = report_blank(c);
		break;
	case WC_INTERRUPTED:
		ret = report_interrupted(c);
		break;
	case WC_MAGIC_BAD:
		ret = report_magic(c);
		break;
	case WC_VERSION_BAD:
		ret = dmfmt_report_add(c->r, DMFMT_F_WC_VERSION, &at, "superblock",
				       text("version %u", sb->version).s, "1");
		break;
	case WC_BLOCK_SIZE_BAD:
		ret = report_number(c, DMFMT_F_WC_BLOCK_SIZE, 8, text("block_size %u", sb->block_size).s);
		break;
	case WC_NO_BLOCKS:
		ret = report_number(c, DMFMT_F_WC_NO_BLOCKS, 16, "n_blocks 0");
		break;
	case WC_OVERFLOW:
		ret = report_number(c, DMFMT_F_WC_OVERFLOW, 16,
				    text("n_blocks %" PRIu64 " of %u bytes", sb->n_blocks,
					 sb->block_size).s);
		break;
	case WC_TOO_MANY:
		ret = report_too_many(c);
		break;
	default:
		return 0;
	}
	return ret ? ret : 1;
}

/* ---- the superblock, where they can ------------------------------------------------------------ */

static int report_padding(struct chk *c)
{
	const size_t first = offsetof(struct wc_superblock_disk, padding);
	struct dmfmt_at at = at_field(c, offsetof(struct wc_superblock_disk, pad), "");
	size_t i;
	int ret = 0;

	if (c->w->sb.pad)
		ret = dmfmt_report_add(c->r, DMFMT_F_WC_PAD, &at, "superblock",
				       text("pad 0x%08x", c->w->sb.pad).s, "0");
	for (i = first; !ret && i < WC_SUPERBLOCK; i++) {
		if (!c->w->raw[i])
			continue;
		at.offset = c->f->dev->start + i;
		return dmfmt_report_add(c->r, DMFMT_F_WC_PAD, &at, "superblock",
					text("padding byte 0x%02x", c->w->raw[i]).s, "0");
	}
	return ret;
}

static int report_block_size(struct chk *c)
{
	const struct dmfmt_dev *org = c->f->origin;
	struct dmfmt_at at = at_field(c, 8, "");
	struct text found = text("block_size %u", c->g->block_size);
	uint32_t logical = c->f->dev->block;
	int ret = 0;

	if (org && org->block > logical)
		logical = org->block;
	if (c->g->block_size > DMFMT_WC_BLOCK_USUAL)
		ret = dmfmt_report_add(c->r, DMFMT_F_WC_BLOCK_LARGE, &at, "superblock", found.s,
				       "at most 4096, which every kernel loads");
	if (ret || c->g->block_size >= logical)
		return ret;
	at.suggestion = "bring the data home with dmtool writecache-flush, then make a cache with larger blocks";
	return dmfmt_report_add(c->r, DMFMT_F_WC_BLOCK_LOGICAL, &at, "superblock", found.s,
				text("at least %u, the logical block size", logical).s);
}

static int report_place(struct chk *c)
{
	uint32_t unit = c->g->block_size > 4096 ? c->g->block_size : 4096;
	struct dmfmt_at at = DMFMT_AT_NOWHERE;
	uint64_t origin = c->f->origin_sectors;
	int ret = 0;

	if (c->g->start % unit)
		ret = dmfmt_report_add(c->r, DMFMT_F_WC_START_UNALIGNED, &at, "device",
				       text("start_sector %" PRIu64, c->g->start >> 9).s,
				       text("a multiple of %u", unit >> 9).s);
	if (!ret && origin != DMFMT_NONE && origin & (c->block_sectors - 1))
		ret = dmfmt_report_add(c->r, DMFMT_F_WC_ORIGIN_LENGTH, &at, "origin",
				       text("%" PRIu64 " sectors", origin).s,
				       text("a multiple of %" PRIu64, c->block_sectors).s);
	return ret;
}

/* rule 11: one copy of the entries and 72 bytes for each block */
static int report_memory(struct chk *c)
{
	double ram = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
	uint64_t n = c->g->n_blocks, need = n > UINT64_MAX / DMFMT_WC_MEMORY_SSD ? UINT64_MAX :
									n * DMFMT_WC_MEMORY_SSD;
	struct dmfmt_at at = at_field(c, 16, "");
	int ret = 0;

	if (c->g->metadata > 1ull << 47)
		ret = dmfmt_report_add(c->r, DMFMT_F_WC_TOO_MANY, &at, "superblock",
				       text("n_blocks %" PRIu64 " with %" PRIu64 " bytes of metadata", n,
					    c->g->metadata).s, "at most 2^47 bytes");
	if (!ret && (double)need > ram)
		ret = dmfmt_report_add(c->r, DMFMT_F_WC_MEMORY, &at, "superblock",
				       text("n_blocks %" PRIu64 " need %" PRIu64 " bytes", n, need).s,
				       "less than this machine's memory");
	return ret;
}

static int report_superblock(struct chk *c)
{
	int ret = report_truncated(c);

	if (!ret)
		ret = report_block_size(c);
	if (!ret)
		ret = report_padding(c);
	if (!ret)
		ret = report_place(c);
	return ret ? ret : report_memory(c);
}

/* ---- data -------------------------------------------------------------------------------------- */

/*
 * struct data - blocks of one part that are to be read: runs of neighbours
 */
struct data {
	struct chk *c;
	const struct wc_part *p;
	struct { uint64_t off, len; } *runs;
	size_t nr, room, ask;
	uint8_t *block;
	const char *why;
};

/* the newest copy, with a place on the origin and a block on the device */
static bool worth_reading(const struct chk *c, uint64_t entry, const uint64_t *v)
{
	unsigned kind;

	if (!wc_committed(c->w, v[1]) || !dmfmt_wc_block_there(c->g, entry) ||
	    (c->w->losers.count && wc_set_has(&c->w->losers, entry)))
		return false;
	kind = judge_sector(c, v[0]);
	return kind == NR_KINDS || kind == PARTIAL;
}

static int bad_block(struct data *d, uint64_t entry)
{
	uint64_t sector = d->p->v[2 * (entry - d->p->first)];
	struct dmfmt_at at = at_entry(d->c, entry, sector);

	at.offset = dmfmt_wc_block_offset(d->c->g, entry);
	at.loss = 1;
	at.suggestion = "dmtool writecache-flush --keep-going --accept-loss=N brings home the others";
	return dmfmt_report_add(d->c->r, DMFMT_F_WC_DATA_UNREADABLE, &at, place_of(entry).s,
				text("original_sector %" PRIu64 ", its block at byte %" PRIu64 ": %s",
				     sector, at.offset, d->why).s, "readable data");
}

static int add_run(struct data *d, uint64_t entry)
{
	uint64_t off = dmfmt_wc_block_offset(d->c->g, entry);

	if (d->nr && d->runs[d->nr - 1].off + d->runs[d->nr - 1].len == off) {
		d->runs[d->nr - 1].len += d->c->g->block_size;
		return 0;
	}
	if (d->nr == d->room) {
		size_t room = d->room ? 2 * d->room : 1024;
		void *more = reallocarray(d->runs, room, sizeof(*d->runs));

		if (!more)
			return dmfmt_fail(d->c->ctx, -ENOMEM, "out of memory");
		d->runs = more;
		d->room = room;
	}
	d->runs[d->nr].off = off;
	d->runs[d->nr++].len = d->c->g->block_size;
	return 0;
}

static int next_run(void *arg, uint64_t *off, uint64_t *len)
{
	struct data *d = arg;

	if (d->ask == d->nr)
		return 0;
	*off = d->runs[d->ask].off;
	*len = d->runs[d->ask++].len;
	return 1;
}

/* a piece that failed, block by block */
static int read_again(struct data *d, uint64_t off, uint64_t len)
{
	const struct wc_geometry *g = d->c->g;
	uint64_t at;
	int ret = 0;

	for (at = off; !ret && at < off + len; at += g->block_size) {
		int err = dmfmt_dev_read(d->c->f->dev, at, d->block, g->block_size);

		if (err == -ECANCELED || err == -ENOMEM)
			return err;
		if (err)
			ret = bad_block(d, (at - g->start - g->metadata) / g->block_size);
	}
	return ret;
}

static int read_runs(struct data *d)
{
	struct dmfmt_stream_opts o = { .next = next_run, .arg = d, .memory = 4 << 20 };
	struct dmfmt_stream *stream;
	const void *buf;
	uint64_t off, done = 0;
	size_t len;
	int got, ret;

	d->ask = 0;
	ret = d->nr ? dmfmt_stream_open(d->c->f->dev, &o, &stream) : 1;
	if (ret)
		return ret < 0 ? ret : 0;
	while (!ret && (got = dmfmt_stream_next(stream, &buf, &off, &len)) != 0) {
		if (got == -ECANCELED || got == -ENOMEM)
			ret = got;
		else if (got < 0)
			ret = read_again(d, off, len);
		done += len;
		if (!ret && done >= 32u << 20) {
			done = 0;
			ret = dmfmt_progress_step(d->c->ctx, "reading data", d->c->passes, d->c->passes,
						  (off - d->c->g->start - d->c->g->metadata) /
						  d->c->g->block_size, d->c->g->n_blocks);
		}
	}
	dmfmt_stream_close(stream);
	return ret;
}

static int data_part(void *arg, const struct wc_part *p)
{
	struct data *d = arg;
	size_t i;
	int ret = 0;

	d->p = p;
	d->nr = 0;
	for (i = 0; p->e && !ret && i < p->nr; i++)
		if (worth_reading(d->c, p->first + i, p->v + 2 * i))
			ret = add_run(d, p->first + i);
	return ret ? ret : read_runs(d);
}

static int known_part(void *arg, const struct wc_part *p)
{
	struct data *d = arg;
	size_t i;
	int ret = 0;

	d->p = p;
	for (i = 0; p->e && !ret && i < p->nr; i++)
		if (worth_reading(d->c, p->first + i, p->v + 2 * i))
			ret = bad_block(d, p->first + i);
	return ret;
}

/* entries whose blocks lie on a range that the kernel knows to be bad; *next: the first not looked at */
static int known_range(struct data *d, const struct dmfmt_range *bad, uint64_t *next)
{
	const struct wc_geometry *g = d->c->g;
	struct wc_walk walk = { .f = d->c->f, .what = "known bad blocks", .pass = d->c->passes,
				.nr_passes = d->c->passes, .tolerant = true, .fn = known_part, .arg = d };
	uint64_t data = g->start + g->metadata, end = bad->off + bad->len;
	int ret;

	if (end <= data)
		return 0;
	walk.first = bad->off > data ? (bad->off - data) / g->block_size : 0;
	walk.end = (end - data - 1) / g->block_size + 1;
	if (walk.first < *next)
		walk.first = *next;
	if (walk.first >= walk.end)
		return 0;
	*next = walk.end;
	ret = wc_load_losers(d->c->f);
	return ret ? ret : wc_walk_run(&walk);
}

static int by_offset(const void *a, const void *b)
{
	const struct dmfmt_range *x = a, *y = b;

	return x->off < y->off ? -1 : x->off > y->off;
}

static int check_known_bad(struct chk *c)
{
	struct data d = { .c = c, .why = "on a known bad block of the device" };
	struct dmfmt_dev *dev = c->f->dev;
	uint64_t next = 0;
	size_t i;
	int ret = 0;

	if (dev->nr_bad > 1)
		qsort(dev->bad, dev->nr_bad, sizeof(*dev->bad), by_offset);
	for (i = 0; !ret && i < dev->nr_bad; i++)
		ret = known_range(&d, &dev->bad[i], &next);
	return ret;
}

static int check_data(struct chk *c)
{
	struct data d = { .c = c, .why = "input/output error", .block = malloc(c->g->block_size) };
	struct wc_walk walk = { .f = c->f, .what = "reading data", .pass = c->passes + 1,
				.nr_passes = c->passes + 1, .tolerant = true, .fn = data_part, .arg = &d };
	int ret;

	if (!d.block)
		return dmfmt_fail(c->ctx, -ENOMEM, "out of memory");
	ret = wc_load_losers(c->f);
	c->passes++;
	if (!ret)
		ret = wc_walk_run(&walk);
	free(d.runs);
	free(d.block);
	return ret;
}

/* where the block size is in doubt nobody knows where the blocks are */
static int check_blocks(struct chk *c)
{
	if (c->other_block || !c->committed)
		return 0;
	return c->flags & DMFMT_CHECK_DATA ? check_data(c) : check_known_bad(c);
}

/* ---- rules ------------------------------------------------------------------------------------- */

enum need { ALWAYS, SOUND, ENTRIES, ORIGIN, TABLE, DATA, NEVER };

static const struct {
	unsigned char number, need;
	const char *name, *reason;
} rules[] = {
	{ 1, ALWAYS, "the device has room for a superblock and a block behind start_sector", "" },
	{ 2, ALWAYS, "the superblock is not blank, least of all over live entries", "" },
	{ 3, ALWAYS, "no format was interrupted", "" },
	{ 4, ALWAYS, "magic is 0x23489321", "" },
	{ 5, ALWAYS, "version is 1", "" },
	{ 6, SOUND, "block_size is a power of two from 512 to 65536, and the one that n_blocks was made for", "" },
	{ 7, ORIGIN, "block_size is not below a logical block size", "" },
	{ 8, SOUND, "n_blocks is not 0", "" },
	{ 9, SOUND, "entries and blocks lie on the device", "" },
	{ 10, ENTRIES, "n_blocks is what a format gives; no entries follow the last one", "" },
	{ 11, SOUND, "n_blocks fits the kernel's index and memory", "" },
	{ 12, ENTRIES, "seq_count is below 2^63", "" },
	{ 13, ENTRIES, "uncommitted entries", "" },
	{ 14, ENTRIES, "no entry is newer than the superblock", "" },
	{ 15, ENTRIES, "original_sector of committed entries is a multiple of the block size", "" },
	{ 16, ENTRIES, "original_sector of committed entries does not wrap", "" },
	{ 17, TABLE, "committed blocks lie on the origin", "" },
	{ 18, ENTRIES, "superseded entries", "" },
	{ 19, ENTRIES, "no two committed entries have the same sector and seq_count", "" },
	{ 20, ENTRIES, "padding is zero", "" },
	{ 21, NEVER, "free entries and the gap behind the entries", "any content is legal there" },
	{ 22, NEVER, "the superblock is of one piece",
	  "undetectable: it has no checksum (rules 12 and 14 show some of it)" },
	{ 23, ENTRIES, "every entry is readable", "" },
	{ 24, DATA, "every committed block is readable", "" },
	{ 25, ENTRIES, "start_sector is a multiple of the block size and of a page", "" },
	{ 26, TABLE, "the origin's length is a multiple of the block size", "" },
	{ 27, NEVER, "the origin is the right one and unmodified",
	  "undetectable: a cache carries no identity of its origin" },
	{ 28, ENTRIES, "which entries are dirty", "" },
};

static void add_rules(struct chk *c)
{
	bool entries = wc_readable(c->w) && !c->n_damaged;
	bool header = c->w->state >= WC_BLOCK_SIZE_BAD;
	size_t i;

	for (i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		const char *why = rules[i].reason;
		bool done = entries;

		switch (rules[i].need) {
		case ALWAYS:
			done = true;
			break;
		case SOUND:
			done = header;
			break;
		case NEVER:
			done = false;
			break;
		case ORIGIN:
			done = entries && c->f->origin;
			why = "needs the origin (--origin); the cache itself was looked at";
			break;
		case TABLE:
			done = entries && c->f->origin_sectors != DMFMT_NONE;
			why = "needs the origin or its size (--origin, --origin-size)";
			break;
		case DATA:
			done = entries && (c->flags & DMFMT_CHECK_DATA);
			why = "needs --data; only known bad blocks of the device were looked at";
			break;
		default:
			break;
		}
		if (!done && !entries && rules[i].need != NEVER)
			why = "the superblock does not let the entries be read";
		dmfmt_report_rule_add(c->r, rules[i].number, rules[i].name, done, why);
	}
}

/* ---- the whole --------------------------------------------------------------------------------- */

static void set_limits(struct chk *c)
{
	uint64_t origin = c->f->origin_sectors;

	c->limit = c->w->sb.seq_count;
	c->block_sectors = c->g->block_size >> 9;
	c->fast_end = UINT64_MAX - c->block_sectors + 1;
	/* the part of a block at the end of the origin is noted by the slow path */
	if (origin != DMFMT_NONE && (origin & ~(c->block_sectors - 1)) < c->fast_end)
		c->fast_end = origin & ~(c->block_sectors - 1);
	c->look_at_all = c->limit >= DMFMT_WC_SEQ_MAX;
	if (dmfmt_wc_blocks(c->g->usable, c->g->block_size, &c->possible))
		c->possible = 0;
}

/* @whole: every entry was seen */
static int report_entries(struct chk *c, bool whole)
{
	size_t i;
	int ret = report_seq_limit(c);

	if (!ret)
		ret = report_newer(c);
	if (!ret && whole)
		ret = report_doubt(c);
	for (i = 0; !ret && i < NR_KINDS; i++)
		ret = report_kind(c, &c->kinds[i]);
	if (!ret)
		ret = report_uncommitted(c);
	if (!ret && whole)
		ret = report_fewer(c);
	return ret || !whole ? ret : report_lost_blocks(c);
}

static int check_entries(struct chk *c)
{
	struct wc_dups d = { .f = c->f, .memory = wc_dups_memory(c->ctx), .fn = on_group, .arg = c,
			     .part = check_part, .part_arg = c, .tolerant = true };
	int err, ret = wc_dups_run(&d);

	c->passes = d.passes;
	if (!ret && !c->newer.nr && c->limit < DMFMT_WC_SEQ_MAX)
		dmfmt_report_dirty(c->r, c->committed - d.losers);
	/* stopped: what was seen so far is said all the same */
	if (!ret || ret == -ECANCELED) {
		err = report_entries(c, !ret);
		ret = ret ? ret : err;
	}
	return ret ? ret : check_blocks(c);
}

int wc_check(struct dmfmt *f, unsigned flags, struct dmfmt_report *r)
{
	struct wc *w = f->priv;
	struct chk c = {
		.f = f, .ctx = f->ctx, .w = w, .g = &w->g, .r = r, .flags = flags,
		.kinds = { [UNALIGNED].code = DMFMT_F_WC_UNALIGNED, [WRAPS].code = DMFMT_F_WC_WRAPS,
			   [BEYOND].code = DMFMT_F_WC_BEYOND, [PARTIAL].code = DMFMT_F_WC_PARTIAL },
	};
	size_t i;
	int ret = wc_read_superblock(f);

	wc_set_free(&w->damaged);
	w->unreadable = 0;
	if (!ret)
		ret = report_state(&c);
	if (!ret) {
		set_limits(&c);
		ret = report_superblock(&c);
		if (!ret)
			ret = report_n_damaged(&c);
		if (!ret)
			ret = check_entries(&c);
	}
	add_rules(&c);
	dmfmt_report_stats(r, wc_readable(w) && !c.n_damaged ? w->entries : 0, DMFMT_NONE, c.passes);
	for (i = 0; i < NR_KINDS; i++)
		free(c.kinds[i].v);
	return ret < 0 ? ret : 0;
}

bool wc_rescuable(enum dmfmt_code code)
{
	return code == DMFMT_F_WC_TRUNCATED || code == DMFMT_F_WC_BLOCK_LOST ||
	       code == DMFMT_F_WC_UNREADABLE || code == DMFMT_F_WC_DATA_UNREADABLE;
}

bool wc_rescuable_if_cut(enum dmfmt_code code)
{
	return code == DMFMT_F_WC_N_DOUBT;
}

bool wc_needs_accept(enum dmfmt_code code)
{
	return code == DMFMT_F_WC_BEYOND;
}
