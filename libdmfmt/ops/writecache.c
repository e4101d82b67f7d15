// SPDX-License-Identifier: LGPL-2.1-or-later
/* The writecache family: superblock, info, dump, find, pictures, images.  What changes a cache, and
 * the check, have files of their own. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "writecache.h"
#include "../format/crc32c.h"

static const struct dmfmt_column columns[] = {
	{ "original_sector", DMFMT_UNIT_SECTORS },
	{ "seq_count", DMFMT_UNIT_NONE },
};

/* ---- superblock ---------------------------------------------------------------------------------- */

uint64_t wc_usable(const struct dmfmt_dev *dev)
{
	return dev->size > dev->start ? dev->size - dev->start : 0;
}

static enum wc_state judge_geometry(struct wc *w, const struct dmfmt_dev *dev)
{
	int ret;

	if (!dmfmt_wc_block_size_ok(w->sb.block_size))
		return WC_BLOCK_SIZE_BAD;
	if (!w->sb.n_blocks)
		return WC_NO_BLOCKS;
	ret = dmfmt_wc_geometry_init(&w->g, dev->start, wc_usable(dev), w->sb.block_size,
				     w->sb.n_blocks);
	if (ret == -EOVERFLOW)
		return WC_OVERFLOW;
	w->has_geometry = true;
	w->entries = dmfmt_wc_readable_entries(&w->g);
	if (ret == -ERANGE)
		return WC_TRUNCATED;
	return w->sb.n_blocks > DMFMT_WC_BLOCKS_MAX ? WC_TOO_MANY : WC_SOUND;
}

static enum wc_state judge(struct wc *w, const struct dmfmt_dev *dev)
{
	enum wc_state geometry = judge_geometry(w, dev);

	if (wc_usable(dev) < 2 * DMFMT_WC_BLOCK_MIN)
		return WC_TOO_SMALL;
	if (!w->sb.magic && !w->sb.version)
		return WC_BLANK;
	if (!w->sb.magic && w->sb.version == DMFMT_WC_VERSION)
		return WC_INTERRUPTED;
	if (w->sb.magic != DMFMT_WC_MAGIC)
		return WC_MAGIC_BAD;
	if (w->sb.version != DMFMT_WC_VERSION)
		return WC_VERSION_BAD;
	return geometry;
}

int wc_read_superblock(struct dmfmt *f)
{
	struct wc_superblock_disk d;
	struct wc *w = f->priv;
	int ret;

	memset(&w->sb, 0, sizeof(w->sb));
	memset(w->raw, 0, sizeof(w->raw));
	w->has_geometry = false;
	w->entries = 0;
	w->has_losers = false;
	wc_set_free(&w->losers);
	if (wc_usable(f->dev) >= 512) {
		ret = dmfmt_dev_read(f->dev, f->dev->start, &d, sizeof(d));
		if (ret)
			return ret;
		memcpy(w->raw, &d, sizeof(d));
		dmfmt_wc_superblock_decode(&d, &w->sb);
	}
	w->state = judge(w, f->dev);
	return 0;
}

static int wc_open(struct dmfmt *f)
{
	int ret;

	if (wc_usable(f->dev) < 512)
		return dmfmt_fail(f->ctx, -ERANGE,
				  "%s: the device has %" PRIu64 " bytes behind start_sector, expected at least 512 for a superblock",
				  f->dev->path, wc_usable(f->dev));
	f->priv = calloc(1, sizeof(struct wc));
	if (!f->priv)
		return dmfmt_fail(f->ctx, -ENOMEM, "out of memory");
	ret = wc_read_superblock(f);
	if (ret) {
		free(f->priv);
		f->priv = NULL;
	}
	return ret;
}

static void wc_close(struct dmfmt *f)
{
	struct wc *w = f->priv;

	if (w) {
		wc_flush_free(w);
		wc_set_free(&w->losers);
		wc_set_free(&w->damaged);
	}
	free(w);
	f->priv = NULL;
}

static int bad_number(struct dmfmt *f, int err, const char *name, uint64_t found, const char *expected)
{
	return dmfmt_fail(f->ctx, err, "%s: superblock: %s is %" PRIu64 ", expected %s", f->dev->path,
			  name, found, expected);
}

int wc_need_readable(struct dmfmt *f)
{
	const struct wc *w = f->priv;

	switch (w->state) {
	case WC_TOO_SMALL:
		return dmfmt_fail(f->ctx, -ERANGE,
				  "%s: the device has %" PRIu64 " bytes behind start_sector, expected at least 1024",
				  f->dev->path, wc_usable(f->dev));
	case WC_BLANK:
	case WC_INTERRUPTED:
	case WC_MAGIC_BAD:
		return dmfmt_fail(f->ctx, -EILSEQ,
				  "%s: superblock: magic is 0x%08x, expected 0x%08x (writecache)",
				  f->dev->path, w->sb.magic, DMFMT_WC_MAGIC);
	case WC_VERSION_BAD:
		return bad_number(f, -EOPNOTSUPP, "version", w->sb.version, "1");
	case WC_BLOCK_SIZE_BAD:
		return bad_number(f, -EILSEQ, "block_size", w->sb.block_size,
				  "a power of two from 512 to 65536");
	case WC_NO_BLOCKS:
		return bad_number(f, -EILSEQ, "n_blocks", 0, "at least 1");
	case WC_OVERFLOW:
		return bad_number(f, -EILSEQ, "n_blocks", w->sb.n_blocks, "what fits 64 bits in bytes");
	case WC_TOO_MANY:
		return bad_number(f, -EILSEQ, "n_blocks", w->sb.n_blocks, "at most 2^47 - 1");
	case WC_TRUNCATED:
	case WC_SOUND:
		break;
	}
	return 0;
}

/* ---- probe --------------------------------------------------------------------------------------- */

/* without the magic: does the rest look like a cache? */
static int probe_entries(struct dmfmt *f, struct dmfmt_candidate *c)
{
	const struct wc *w = f->priv;
	struct wc_guess g[WC_GUESSES];
	uint64_t other, alive;
	char sizes[80];
	unsigned nr;
	int best, ret;

	if (w->state == WC_INTERRUPTED && w->has_geometry) {
		c->confidence = 40;
		snprintf(c->reason, sizeof(c->reason), "no magic, but the rest of a superblock");
		return 0;
	}
	ret = wc_infer_alive(f, g, &nr, &best, &alive);
	if (ret)
		return ret;
	if (alive) {
		wc_list_alive(g, nr, sizes, sizeof(sizes));
		c->confidence = 30;
		snprintf(c->reason, sizeof(c->reason),
			 "no magic, but entries with block_size %s decode: %" PRIu64 " in use", sizes, alive);
		return 0;
	}
	other = wc_other_start(f, 0);
	if (other != DMFMT_NONE)
		snprintf(c->reason, sizeof(c->reason),
			 "magic is 0x%08x, but a superblock lies at sector %" PRIu64 ": --start-sector=%" PRIu64,
			 w->sb.magic, other, other);
	else
		snprintf(c->reason, sizeof(c->reason), "magic is 0x%08x, expected 0x%08x, and no entries decode",
			 w->sb.magic, DMFMT_WC_MAGIC);
	return 0;
}

static int wc_probe(struct dmfmt_dev *dev, struct dmfmt_candidate *c)
{
	struct wc w = { .state = WC_TOO_SMALL };
	struct dmfmt f = { .format = &dmfmt_writecache_format, .ctx = dev->ctx, .dev = dev,
			   .origin_sectors = DMFMT_NONE, .priv = &w };
	int ret;

	memset(c, 0, sizeof(*c));
	c->offset = dev->start;
	if (wc_usable(dev) < 512) {
		snprintf(c->reason, sizeof(c->reason), "the device is smaller than a superblock");
		return 0;
	}
	ret = wc_read_superblock(&f);
	if (ret)
		return ret;
	if (w.sb.magic != DMFMT_WC_MAGIC) {
		ret = probe_entries(&f, c);
	} else {
		c->version = w.sb.version;
		c->confidence = w.state == WC_SOUND ? 95 : 60;
		snprintf(c->reason, sizeof(c->reason), w.state == WC_SOUND ?
			 "magic 0x%08x and a sound superblock" :
			 "magic 0x%08x, but the rest of the superblock does not fit the device",
			 DMFMT_WC_MAGIC);
	}
	wc_set_free(&w.losers);
	return ret;
}

/* ---- info ---------------------------------------------------------------------------------------- */

struct emit {
	dmfmt_field_fn fn;
	void *arg;
	const char *group;
	uint64_t block_bytes;
	int ret;
};

static void put(struct emit *e, const char *name, enum dmfmt_kind kind, enum dmfmt_unit unit,
		uint64_t u, const char *s)
{
	struct dmfmt_field f = { .group = e->group, .name = name, .kind = kind, .unit = unit,
				 .u = u, .s = s };

	if (unit == DMFMT_UNIT_SECTORS)
		f.unit_bytes = 512;
	else if (unit == DMFMT_UNIT_BYTES)
		f.unit_bytes = 1;
	else if (unit == DMFMT_UNIT_BLOCKS)
		f.unit_bytes = e->block_bytes;
	if (!e->ret)
		e->ret = e->fn(e->arg, &f);
}

static void put_num(struct emit *e, const char *name, enum dmfmt_unit unit, uint64_t u)
{
	put(e, name, DMFMT_U64, unit, u, NULL);
}

static void put_str(struct emit *e, const char *name, const char *s)
{
	put(e, name, DMFMT_STRING, DMFMT_UNIT_NONE, 0, s);
}

struct count {
	const struct wc *w;
	uint64_t committed, uncommitted, free, newer, unreadable;
	uint64_t oldest, newest;
	uint64_t nr_runs, longest_run, run;
	uint64_t next_entry, next_sector;
	bool tie;
};

/*
 * Does recovery meet two entries of the same sector and seq_count?  It goes by index and compares with
 * what has won so far, so not if a newer entry stands before the second of them.
 */
static int look_for_tie(void *arg, const struct wc_copy *copy, size_t nr)
{
	struct count *c = arg;
	uint64_t newer = UINT64_MAX;	/* first entry that is newer than those looked at */
	size_t i;

	for (i = nr - 1; i; i--) {
		if (copy[i - 1].seq == copy[i].seq)
			c->tie |= copy[i].entry < newer;
		else if (copy[i].entry < newer)
			newer = copy[i].entry;
	}
	return 0;
}

static void count_committed(struct count *c, uint64_t entry, uint64_t sector, uint64_t seq)
{
	c->committed++;
	if (seq < c->oldest)
		c->oldest = seq;
	if (seq > c->newest)
		c->newest = seq;
	if (entry == c->next_entry && sector == c->next_sector) {
		c->run++;
	} else {
		c->nr_runs++;
		c->run = 1;
	}
	if (c->run > c->longest_run)
		c->longest_run = c->run;
	c->next_entry = entry + 1;
	c->next_sector = sector + (c->w->g.block_size >> 9);
}

static int count_part(void *arg, const struct wc_part *p)
{
	struct count *c = arg;
	size_t i;

	if (!p->e)
		c->unreadable += p->nr;
	for (i = 0; p->e && i < p->nr; i++) {
		uint64_t seq = p->v[2 * i + 1];

		if (seq == DMFMT_WC_FREE)
			c->free++;
		else if (seq < c->w->sb.seq_count)
			count_committed(c, p->first + i, p->v[2 * i], seq);
		else if (seq == c->w->sb.seq_count)
			c->uncommitted++;
		else
			c->newer++;
	}
	return 0;
}

struct verdict {
	const char *what, *err, *why;
};

/* what a table load would do, in the kernel's order */
static struct verdict activation(const struct dmfmt *f, const struct count *c)
{
	const struct wc *w = f->priv;

	switch (w->state) {
	case WC_TOO_SMALL:
		return (struct verdict){ "reject", "ENOSPC", "no room for a superblock and a block" };
	case WC_BLANK:
		return (struct verdict){ "format", "",
			"the first 8 bytes are zero: the kernel makes a new cache, whatever lies behind them" };
	case WC_INTERRUPTED:
		return (struct verdict){ "never", "EINVAL",
			"magic 0 with version 1: neither loaded nor formatted, now or later" };
	case WC_MAGIC_BAD:
		return (struct verdict){ "reject", "EINVAL", "Invalid magic in the superblock" };
	case WC_VERSION_BAD:
		return (struct verdict){ "reject", "EINVAL", "Invalid version in the superblock" };
	case WC_BLOCK_SIZE_BAD:
		return (struct verdict){ "reject", "EINVAL", "Block size does not match superblock" };
	case WC_NO_BLOCKS:
		return (struct verdict){ "reject", "ENOMEM", "Cannot allocate memory" };
	case WC_OVERFLOW:
		return (struct verdict){ "reject", "EOVERFLOW", "Overflow in size calculation" };
	case WC_TRUNCATED:
		return (struct verdict){ "reject", "EINVAL", "Memory area is too small" };
	case WC_TOO_MANY:
		return (struct verdict){ "reject", "ENOMEM", "more blocks than the kernel's index holds" };
	case WC_SOUND:
		break;
	}
	if (w->g.block_size < f->dev->block || (f->origin && w->g.block_size < f->origin->block))
		return (struct verdict){ "reject", "EINVAL",
			"Block size is smaller than device logical block size" };
	if (c && c->newer)
		return (struct verdict){ "danger", "",
			"loads, and drops acknowledged blocks without a word: entries are newer than the superblock" };
	if (c && c->unreadable)
		return (struct verdict){ "danger", "",
			"loads in the error state and serves stale data of the origin" };
	if (c && c->tie)
		return (struct verdict){ "danger", "",
			"loads in the error state: two entries are identical, and every write fails" };
	return (struct verdict){ "accept", "", "" };
}

static void info_superblock(struct emit *e, const struct dmfmt *f)
{
	const struct wc *w = f->priv;
	uint64_t possible;

	e->group = "superblock";
	put(e, "magic", DMFMT_HEX, DMFMT_UNIT_NONE, w->sb.magic, NULL);
	put_num(e, "version", DMFMT_UNIT_NONE, w->sb.version);
	put_num(e, "block_size", DMFMT_UNIT_BYTES, w->sb.block_size);
	put_num(e, "n_blocks", DMFMT_UNIT_BLOCKS, w->sb.n_blocks);
	put_num(e, "seq_count", DMFMT_UNIT_NONE, w->sb.seq_count);
	e->group = "geometry";
	put_num(e, "start_sector", DMFMT_UNIT_SECTORS, f->dev->start >> 9);
	put_num(e, "device_sectors", DMFMT_UNIT_SECTORS, f->dev->size >> 9);
	if (w->has_geometry) {
		put_num(e, "metadata_bytes", DMFMT_UNIT_BYTES, w->g.metadata);
		put_num(e, "data_sector", DMFMT_UNIT_SECTORS, (w->g.start + w->g.metadata) >> 9);
		if (!dmfmt_wc_blocks(w->g.usable, w->g.block_size, &possible))
			put_num(e, "possible_blocks", DMFMT_UNIT_BLOCKS, possible);
		if (w->state == WC_SOUND)
			put_num(e, "unused_bytes", DMFMT_UNIT_BYTES, w->g.usable - w->g.metadata -
				w->g.n_blocks * w->g.block_size);
		if (w->g.n_blocks <= DMFMT_WC_BLOCKS_MAX) {
			put_num(e, "kernel_memory_ssd_bytes", DMFMT_UNIT_BYTES,
				w->g.n_blocks * DMFMT_WC_MEMORY_SSD);
			put_num(e, "kernel_memory_pmem_bytes", DMFMT_UNIT_BYTES,
				w->g.n_blocks * DMFMT_WC_MEMORY_PMEM);
		}
	}
	if (f->origin_sectors != DMFMT_NONE)
		put_num(e, "origin_sectors", DMFMT_UNIT_SECTORS, f->origin_sectors);
}

static void info_entries(struct emit *e, const struct wc *w, const struct count *c, uint64_t losers)
{
	uint64_t dirty = c->committed - losers;
	/* after a read error SSD mode takes every entry for free (writecache_resume()) */
	uint64_t free_blocks = c->unreadable ? w->g.n_blocks : w->g.n_blocks - dirty;
	char line[80];

	e->group = "entries";
	put_num(e, "committed", DMFMT_UNIT_NONE, c->committed);
	put_num(e, "uncommitted", DMFMT_UNIT_NONE, c->uncommitted);
	put_num(e, "free", DMFMT_UNIT_NONE, c->free);
	put_num(e, "superseded", DMFMT_UNIT_NONE, losers);
	put_num(e, "newer_than_superblock", DMFMT_UNIT_NONE, c->newer);
	put_num(e, "unreadable", DMFMT_UNIT_NONE, c->unreadable);
	put_num(e, "dirty_blocks", DMFMT_UNIT_BLOCKS, dirty);
	put_num(e, "dirty_bytes", DMFMT_UNIT_BYTES, dirty * w->g.block_size);
	put_num(e, "nr_runs", DMFMT_UNIT_NONE, c->nr_runs);
	put_num(e, "longest_run", DMFMT_UNIT_BLOCKS, c->longest_run);
	if (c->committed) {
		put_num(e, "oldest_seq_count", DMFMT_UNIT_NONE, c->oldest);
		put_num(e, "newest_seq_count", DMFMT_UNIT_NONE, c->newest);
	}
	/* error, n_blocks, free, under write-back: as the status line begins after recovery */
	e->group = "status";
	put_num(e, "free_blocks", DMFMT_UNIT_BLOCKS, free_blocks);
	snprintf(line, sizeof(line), "%d %" PRIu64 " %" PRIu64 " 0", c->unreadable || c->tie ? 1 : 0,
		 w->g.n_blocks, free_blocks);
	put_str(e, "line", line);
	put_num(e, "used_percent", DMFMT_UNIT_PERCENT,
		(uint64_t)(100.0 * (double)dirty / (double)w->g.n_blocks));
}

static int wc_info(struct dmfmt *f, dmfmt_field_fn fn, void *arg)
{
	struct wc *w = f->priv;
	struct emit e = { .fn = fn, .arg = arg, .block_bytes = w->has_geometry ? w->g.block_size : 0 };
	struct count c = { .w = w, .oldest = UINT64_MAX, .next_entry = UINT64_MAX };
	struct wc_dups d = { .f = f, .memory = wc_dups_memory(f->ctx), .fn = look_for_tie, .arg = &c,
			     .part = count_part, .part_arg = &c, .tolerant = true };
	bool counted = wc_readable(w) && !(f->flags & DMFMT_OPEN_HEADER_ONLY);
	struct verdict v;
	int ret;

	info_superblock(&e, f);
	if (e.ret)
		return e.ret;
	ret = counted ? wc_dups_run(&d) : 0;
	if (ret)
		return ret;
	if (counted)
		info_entries(&e, w, &c, d.losers);
	v = activation(f, counted ? &c : NULL);
	e.group = "activation";
	put_str(&e, "verdict", v.what);
	put_str(&e, "errno", v.err);
	put_str(&e, "reason", v.why);
	return e.ret;
}

/* ---- dump ---------------------------------------------------------------------------------------- */

struct dump {
	const struct dmfmt_visitor *v;
	uint32_t crc;
	uint64_t entries;
};

static int dump_part(void *arg, const struct wc_part *p)
{
	struct dump *d = arg;

	d->crc = dmfmt_crc32c(d->crc, p->e, p->nr * WC_ENTRY);
	d->entries += p->nr;
	return d->v->records ? d->v->records(d->v->arg, p->first, p->v, p->nr) : 0;
}

static int dump_head(struct dmfmt *f, struct dump *d)
{
	const struct wc *w = f->priv;
	struct emit e = { .fn = d->v->head, .arg = d->v->arg, .block_bytes = w->g.block_size };

	d->crc = dmfmt_crc32c(0, w->raw, sizeof(w->raw));
	if (!d->v->head)
		return 0;
	put(&e, "magic", DMFMT_HEX, DMFMT_UNIT_NONE, w->sb.magic, NULL);
	put_num(&e, "version", DMFMT_UNIT_NONE, w->sb.version);
	put_num(&e, "block_size", DMFMT_UNIT_BYTES, w->sb.block_size);
	put_num(&e, "pad", DMFMT_UNIT_NONE, w->sb.pad);
	put_num(&e, "n_blocks", DMFMT_UNIT_BLOCKS, w->sb.n_blocks);
	put_num(&e, "seq_count", DMFMT_UNIT_NONE, w->sb.seq_count);
	put_num(&e, "device_sectors", DMFMT_UNIT_SECTORS, f->dev->size >> 9);
	put_num(&e, "start_sector", DMFMT_UNIT_SECTORS, f->dev->start >> 9);
	return e.ret;
}

#define PADDING offsetof(struct wc_superblock_disk, padding)

static int dump_padding(struct dmfmt *f, struct dump *d)
{
	static const uint8_t none[WC_SUPERBLOCK - PADDING];
	const struct wc *w = f->priv;

	if (!d->v->raw || !memcmp(w->raw + PADDING, none, sizeof(none)))
		return 0;
	return d->v->raw(d->v->arg, f->dev->start + PADDING, w->raw + PADDING, sizeof(none));
}

static int wc_walk(struct dmfmt *f, const struct dmfmt_visitor *v)
{
	struct dump d = { .v = v };
	struct wc_walk walk = { .f = f, .what = "dumping", .pass = 1, .nr_passes = 1,
				.fn = dump_part, .arg = &d };
	struct emit e = { .fn = v->tail, .arg = v->arg };
	const struct wc *w = f->priv;
	int ret = wc_need_readable(f);

	if (!ret && w->state == WC_TRUNCATED && w->entries < w->g.n_blocks)
		ret = dmfmt_fail(f->ctx, -EILSEQ,
				 "%s: the device ends after %" PRIu64 " entries, expected %" PRIu64,
				 f->dev->path, w->entries, w->g.n_blocks);
	if (!ret)
		ret = dump_head(f, &d);
	if (!ret)
		ret = dump_padding(f, &d);
	if (!ret)
		ret = wc_walk_run(&walk);
	if (ret || !v->tail)
		return ret;
	put_num(&e, "nr_entries", DMFMT_UNIT_NONE, d.entries);
	put(&e, "metadata_crc32c", DMFMT_HEX, DMFMT_UNIT_NONE, d.crc, NULL);
	return e.ret;
}

/* ---- find ---------------------------------------------------------------------------------------- */

/*
 * struct find - a sector of the origin: entries that cover it
 * @best, @best_seq: the one that the kernel serves, DMFMT_NONE without
 */
struct find {
	struct emit e;
	const struct wc *w;
	uint64_t sector, best, best_seq, answers;
	bool telling;
	char group[32];
};

static bool covers(const struct wc *w, uint64_t from, uint64_t seq, uint64_t sector)
{
	return seq != DMFMT_WC_FREE && sector >= from && sector - from < w->g.block_size >> 9;
}

static const char *entry_state(const struct wc *w, uint64_t seq, bool wins)
{
	if (seq == DMFMT_WC_FREE)
		return "free";
	if (seq < w->sb.seq_count)
		return wins ? "committed" : "superseded";
	return seq == w->sb.seq_count ? "uncommitted" : "newer than the superblock";
}

static int tell_entry(struct find *q, uint64_t entry, uint64_t from, uint64_t seq)
{
	char place[64];

	snprintf(q->group, sizeof(q->group), "entry_%" PRIu64, q->answers++);
	snprintf(place, sizeof(place), "entry %" PRIu64, entry);
	q->e.group = q->group;
	put_str(&q->e, "where", "cache");
	put_str(&q->e, "place", place);
	put_num(&q->e, "record", DMFMT_UNIT_NONE, entry);
	put_num(&q->e, "original_sector", DMFMT_UNIT_SECTORS, from);
	put_num(&q->e, "seq_count", DMFMT_UNIT_NONE, seq);
	put_str(&q->e, "state", entry_state(q->w, seq, entry == q->best));
	put_num(&q->e, "sector", DMFMT_UNIT_SECTORS,
		(dmfmt_wc_block_offset(&q->w->g, entry) >> 9) + (q->sector - from));
	return q->e.ret;
}

static int find_part(void *arg, const struct wc_part *p)
{
	struct find *q = arg;
	size_t i;
	int ret = 0;

	for (i = 0; !ret && i < p->nr; i++) {
		uint64_t from = p->v[2 * i], seq = p->v[2 * i + 1];

		if (!covers(q->w, from, seq, q->sector))
			continue;
		if (q->telling)
			ret = tell_entry(q, p->first + i, from, seq);
		else if (wc_committed(q->w, seq) && (q->best == DMFMT_NONE || seq >= q->best_seq)) {
			q->best = p->first + i;
			q->best_seq = seq;
		}
	}
	return ret;
}

static int find_origin(struct dmfmt *f, uint64_t sector, dmfmt_field_fn fn, void *arg)
{
	struct find q = { .e = { .fn = fn, .arg = arg }, .w = f->priv, .sector = sector,
			  .best = DMFMT_NONE };
	struct wc_walk walk = { .f = f, .what = "searching", .pass = 1, .nr_passes = 2,
				.fn = find_part, .arg = &q };
	int ret = wc_walk_run(&walk);

	if (ret)
		return ret;
	q.telling = true;
	walk.pass = 2;
	ret = wc_walk_run(&walk);
	if (ret || q.best != DMFMT_NONE)
		return ret;
	/* nothing that the kernel would serve */
	q.e.group = "answer";
	put_str(&q.e, "where", "origin");
	put_num(&q.e, "sector", DMFMT_UNIT_SECTORS, sector);
	return q.e.ret;
}

/* is there a committed entry of the same sector that wins over @entry? */
struct rival {
	const struct wc *w;
	uint64_t entry, sector, seq;
	bool beaten;
};

static int rival_part(void *arg, const struct wc_part *p)
{
	struct rival *r = arg;
	size_t i;

	for (i = 0; i < p->nr; i++)
		if (p->v[2 * i] == r->sector && wc_committed(r->w, p->v[2 * i + 1]) &&
		    (p->v[2 * i + 1] > r->seq ||
		     (p->v[2 * i + 1] == r->seq && p->first + i > r->entry)))
			r->beaten = true;
	return 0;
}

static int find_block(struct dmfmt *f, struct emit *e, uint64_t block, uint64_t within)
{
	const struct wc *w = f->priv;
	struct wc_entry_disk d;
	struct rival r = { .w = w, .entry = block };
	struct wc_walk walk = { .f = f, .what = "searching", .pass = 1, .nr_passes = 1,
				.fn = rival_part, .arg = &r };
	char place[64];
	int ret = dmfmt_dev_read(f->dev, dmfmt_wc_entry_offset(&w->g, block), &d, sizeof(d));

	if (ret)
		return ret;
	r.sector = dmfmt_wc_sector(&d);
	r.seq = dmfmt_wc_seq(&d);
	if (wc_committed(w, r.seq))
		ret = wc_walk_run(&walk);
	if (ret)
		return ret;
	snprintf(place, sizeof(place), "data block of entry %" PRIu64, block);
	put_str(e, "where", r.seq == DMFMT_WC_FREE ? "unused" : "origin");
	put_str(e, "place", place);
	put_num(e, "record", DMFMT_UNIT_NONE, block);
	put_num(e, "original_sector", DMFMT_UNIT_SECTORS, r.sector);
	put_num(e, "seq_count", DMFMT_UNIT_NONE, r.seq);
	put_str(e, "state", entry_state(w, r.seq, !r.beaten));
	if (r.seq != DMFMT_WC_FREE && r.sector <= UINT64_MAX - within)
		put_num(e, "sector", DMFMT_UNIT_SECTORS, r.sector + within);
	return e->ret;
}

/* a sector of the cache device */
static int find_cache(struct dmfmt *f, uint64_t sector, dmfmt_field_fn fn, void *arg)
{
	const struct wc *w = f->priv;
	struct emit e = { .fn = fn, .arg = arg, .group = "answer" };
	uint64_t at = (sector << 9) - w->g.start, data = at - w->g.metadata;
	const char *where;

	if (sector << 9 >= w->g.start && at >= w->g.metadata && data / w->g.block_size < w->g.n_blocks &&
	    data / w->g.block_size < w->entries)
		return find_block(f, &e, data / w->g.block_size, data % w->g.block_size >> 9);
	if (sector << 9 < w->g.start)
		where = "before start_sector";
	else if (!at)
		where = "superblock and entries";
	else if (at < WC_SUPERBLOCK + w->g.n_blocks * WC_ENTRY)
		where = "entries";
	else if (at < w->g.metadata)
		where = "gap behind the entries";
	else
		where = "behind the last block";
	put_str(&e, "where", where);
	put_num(&e, "sector", DMFMT_UNIT_SECTORS, sector);
	return e.ret;
}

static int wc_find(struct dmfmt *f, uint64_t sector, bool reverse, dmfmt_field_fn fn, void *arg)
{
	uint64_t end = reverse ? f->dev->size >> 9 : f->origin_sectors;
	int ret = wc_need_readable(f);

	if (ret)
		return ret;
	if (end != DMFMT_NONE && sector >= end)
		return dmfmt_fail(f->ctx, -ERANGE,
				  "%s: sector %" PRIu64 " is past the end of the %s (%" PRIu64 " sectors)",
				  f->dev->path, sector, reverse ? "cache" : "origin", end);
	return reverse ? find_cache(f, sector, fn, arg) : find_origin(f, sector, fn, arg);
}

/* ---- occupancy ----------------------------------------------------------------------------------- */

enum picture { PICTURE_ORIGIN, PICTURE_STORE, PICTURE_AGE };

struct occupy {
	const struct wc *w;
	enum picture picture;
	uint64_t *cells, total, first;
	size_t nr_cells;
	uint64_t min, max;		/* of what is drawn */
};

static uint64_t occupy_key(const struct occupy *o, uint64_t entry, uint64_t sector, uint64_t seq)
{
	return o->picture == PICTURE_ORIGIN ? sector >> o->w->g.shift :
	       o->picture == PICTURE_STORE ? entry : seq;
}

static bool occupies(const struct occupy *o, uint64_t entry, uint64_t seq)
{
	if (o->picture == PICTURE_STORE)
		return seq != DMFMT_WC_FREE;
	return wc_committed(o->w, seq) && !wc_set_has(&o->w->losers, entry);
}

static int span_part(void *arg, const struct wc_part *p)
{
	struct occupy *o = arg;
	size_t i;

	for (i = 0; i < p->nr; i++) {
		uint64_t key = occupy_key(o, p->first + i, p->v[2 * i], p->v[2 * i + 1]);

		if (!occupies(o, p->first + i, p->v[2 * i + 1]))
			continue;
		if (key < o->min)
			o->min = key;
		if (key > o->max)
			o->max = key;
	}
	return 0;
}

static int occupy_part(void *arg, const struct wc_part *p)
{
	struct occupy *o = arg;
	/* cell = key * nr_cells / total without overflow: totals above 2^32 lose nothing visible */
	uint64_t per = o->total / o->nr_cells + (o->total % o->nr_cells != 0);
	size_t i;

	for (i = 0; i < p->nr; i++) {
		uint64_t key = occupy_key(o, p->first + i, p->v[2 * i], p->v[2 * i + 1]);

		if (occupies(o, p->first + i, p->v[2 * i + 1]) && key - o->first < o->total)
			o->cells[(key - o->first) / per]++;
	}
	return 0;
}

static int run_occupy(struct dmfmt *f, struct occupy *o, wc_part_fn fn)
{
	struct wc_walk walk = { .f = f, .what = "reading", .pass = 1, .nr_passes = 1, .fn = fn,
				.arg = o };

	return wc_walk_run(&walk);
}

/* how many units there are, and the first */
static int occupy_span(struct dmfmt *f, struct occupy *o)
{
	uint64_t sectors = f->origin_sectors;
	int ret;

	if (o->picture == PICTURE_STORE) {
		o->total = o->w->g.n_blocks;
		return 0;
	}
	if (o->picture == PICTURE_ORIGIN && sectors != DMFMT_NONE) {
		o->total = (sectors >> o->w->g.shift) +
			   !!(sectors & ((o->w->g.block_size >> 9) - 1));
		return 0;
	}
	ret = run_occupy(f, o, span_part);
	if (ret || o->min > o->max)
		return ret;
	o->first = o->picture == PICTURE_AGE ? o->min : 0;
	o->total = o->max - o->first == UINT64_MAX ? UINT64_MAX : o->max - o->first + 1;
	return 0;
}

static int wc_occupancy(struct dmfmt *f, const char *which, uint64_t *cells, size_t nr_cells,
			uint64_t *units_total)
{
	static const char *const names[] = { "origin", "store", "age" };
	struct occupy o = { .w = f->priv, .cells = cells, .nr_cells = nr_cells, .min = UINT64_MAX };
	unsigned i;
	int ret = wc_need_readable(f);

	for (i = 0; i < 3 && strcmp(which, names[i]); i++)
		;
	if (!ret && (i == 3 || !nr_cells))
		ret = dmfmt_fail(f->ctx, -EINVAL, "%s: no picture of '%s'", f->dev->path, which);
	if (!ret && i != PICTURE_STORE)
		ret = wc_load_losers(f);
	if (ret)
		return ret;
	o.picture = (enum picture)i;
	memset(cells, 0, nr_cells * sizeof(*cells));
	ret = occupy_span(f, &o);
	*units_total = o.total;
	return ret || !o.total ? ret : run_occupy(f, &o, occupy_part);
}

/* ---- metadata images ----------------------------------------------------------------------------- */

#define META_PIECE (1u << 20)

/* superblock and entries, and never what lies behind them: that may be memory of a kernel */
static int meta_range(struct dmfmt *f, uint64_t bytes, bool suspect,
		      int (*fn)(void *arg, uint64_t off, void *bytes, size_t len, bool suspect), void *arg)
{
	uint64_t done = 0, usable = wc_usable(f->dev);
	uint8_t *buf = malloc(META_PIECE);
	int ret = 0;

	if (!buf)
		return dmfmt_fail(f->ctx, -ENOMEM, "out of memory");
	if (bytes > usable)
		bytes = usable;
	while (!ret && done < bytes) {
		size_t n = bytes - done < META_PIECE ? (size_t)(bytes - done) : META_PIECE;

		ret = dmfmt_dev_read(f->dev, f->dev->start + done, buf, n);
		if (!ret)
			ret = fn(arg, f->dev->start + done, buf, n, suspect);
		done += n;
		if (!ret)
			ret = dmfmt_progress_step(f->ctx, "reading", 1, 1, done, bytes);
	}
	free(buf);
	return ret;
}

static int wc_metadata(struct dmfmt *f,
		       int (*fn)(void *arg, uint64_t off, void *bytes, size_t len, bool suspect),
		       void *arg)
{
	const struct wc *w = f->priv;
	uint64_t bytes = WC_SUPERBLOCK;
	struct wc_guess g[WC_GUESSES];
	unsigned nr;
	int best = -1, ret = 0;

	if (wc_readable(w) || (w->state == WC_INTERRUPTED && w->has_geometry)) {
		bytes += w->entries * WC_ENTRY;
	} else {
		ret = wc_infer(f, false, g, &nr, &best);
		if (!ret && best >= 0)
			bytes += dmfmt_wc_readable_entries(&g[best].g) * WC_ENTRY;
	}
	/* what is no superblock by any sign is somebody's data */
	return ret ? ret : meta_range(f, bytes, w->state == WC_MAGIC_BAD && best < 0, fn, arg);
}

static int wc_obfuscate(struct dmfmt *f, uint64_t off, void *bytes, size_t len,
			uint64_t (*map)(void *arg, uint64_t addr), void *arg)
{
	const struct wc *w = f->priv;
	unsigned shift = w->has_geometry ? w->g.shift : 0;
	size_t skip = off == f->dev->start ? WC_SUPERBLOCK : 0, i;
	struct wc_entry_disk *e;

	if (len <= skip)
		return 0;
	e = (struct wc_entry_disk *)(void *)((uint8_t *)bytes + skip);
	for (i = 0; i < (len - skip) / WC_ENTRY; i++) {
		uint64_t sector = dmfmt_wc_sector(&e[i]), low = sector & ((1ull << shift) - 1);

		/* never written, or zeroed with the superblock */
		if (sector == UINT64_MAX || (w->state == WC_BLANK && !sector && !dmfmt_wc_seq(&e[i])))
			continue;
		e[i].original_sector = dmfmt_le64_make(map(arg, sector >> shift) << shift | low);
	}
	return 0;
}

static void add_bound(uint64_t *bounds, size_t max, size_t *nr, uint64_t bound)
{
	if (*nr < max && bound && (!*nr || bounds[*nr - 1] < bound))
		bounds[(*nr)++] = bound;
}

/* blocks that findings tell apart: whole and partial ones at the origin's end, behind it, wrapping */
static size_t wc_origin_bounds(struct dmfmt *f, uint64_t *bounds, size_t max)
{
	const struct wc *w = f->priv;
	unsigned shift = w->has_geometry ? w->g.shift : 0;
	size_t nr = 0;

	if (f->origin_sectors != DMFMT_NONE) {
		add_bound(bounds, max, &nr, f->origin_sectors >> shift);
		if (f->origin_sectors & ((1ull << shift) - 1))
			add_bound(bounds, max, &nr, (f->origin_sectors >> shift) + 1);
	}
	add_bound(bounds, max, &nr, UINT64_MAX >> shift);
	return nr;
}

const struct dmfmt_format dmfmt_writecache_format = {
	.name = "writecache",
	.what = "dm-writecache cache",
	.data_verb = "flush",
	.window_bytes = 4ull << 30,
	.has_start = true,
	.columns = columns,
	.nr_columns = 2,
	.probe = wc_probe,
	.open = wc_open,
	.close = wc_close,
	.info = wc_info,
	.walk = wc_walk,
	.find = wc_find,
	.occupancy = wc_occupancy,
	.check = wc_check,
	.repair = wc_repair,
	.restore_begin = wc_restore_begin,
	.restore_raw = wc_restore_raw,
	.restore_records = wc_restore_records,
	.restore_stale = wc_restore_stale,
	.restore_commit = wc_restore_commit,
	.restore_free = wc_restore_free,
	.metadata = wc_metadata,
	.obfuscate = wc_obfuscate,
	.origin_bounds = wc_origin_bounds,
	.extents = wc_extents,
	.data_unit = wc_data_unit,
	.prepare = wc_flush_prepare,
	.plan = wc_flush_plan,
	.retire = wc_flush_retire,
	.remaining = wc_flush_remaining,
	.rescuable = wc_rescuable,
	.rescuable_if_cut = wc_rescuable_if_cut,
	.needs_accept = wc_needs_accept,
	.lost = wc_flush_lost,
};
