/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The writecache family inside the library: what its files share.
 *
 *   writecache.c         superblock, info, dump, find, pictures, images
 *   writecache_walk.c    reading the entries
 *   writecache_dups.c    sectors that have more than one committed entry: who wins
 *   writecache_extents.c what the kernel would serve
 *   writecache_free.c    entries become free
 *   writecache_infer.c   a lost superblock, from the entries
 *   writecache_check.c, _repair.c, _restore.c (and create), _flush.c, _convert.c
 */
#ifndef DMFMT_OPS_WRITECACHE_H
#define DMFMT_OPS_WRITECACHE_H

#include "../core/format.h"
#include "../format/writecache.h"

#define WC_ENTRY sizeof(struct wc_entry_disk)
#define WC_SUPERBLOCK sizeof(struct wc_superblock_disk)

/* what the superblock says, in the order in which the kernel decides */
enum wc_state {
	WC_TOO_SMALL,		/* no room for a superblock and a block */
	WC_BLANK,		/* magic and version are 0: the kernel formats it */
	WC_INTERRUPTED,		/* magic 0, version 1: a format that did not come to its end */
	WC_MAGIC_BAD,
	WC_VERSION_BAD,
	WC_BLOCK_SIZE_BAD,
	WC_NO_BLOCKS,		/* n_blocks is 0 */
	WC_OVERFLOW,		/* n_blocks is absurd */
	WC_TRUNCATED,		/* the device is too small for n_blocks; some entries can be read */
	WC_TOO_MANY,		/* more blocks than the kernel's index holds */
	WC_SOUND,
};

/* entries in ascending order, in as much memory as that takes: a list, or a bitmap of all entries */
struct wc_set {
	uint64_t *list;
	size_t nr, room;
	uint8_t *bits;
	uint64_t count;
};

/*
 * struct wc_flush - where a write-back stands (writecache_flush.c)
 */
struct wc_flush;

struct wc {
	struct wc_superblock sb;
	uint8_t raw[WC_SUPERBLOCK];	/* as stored */
	enum wc_state state;
	struct wc_geometry g;		/* set if has_geometry: from WC_TRUNCATED on */
	bool has_geometry;
	uint64_t entries;		/* that lie on the device: g.n_blocks unless it is truncated */
	struct wc_set losers;		/* wc_load_losers() */
	bool has_losers;
	struct wc_flush *flush;
	uint64_t unreadable;		/* check: entries that cannot be read */
	struct wc_set damaged;		/* check: committed entries that break rule 15 or 16, ascending, the
					 * first 2^18 of them */
};

static inline bool wc_readable(const struct wc *w)
{
	return w->has_geometry && (w->state == WC_SOUND || w->state == WC_TRUNCATED);
}

static inline bool wc_committed(const struct wc *w, uint64_t seq)
{
	return seq < w->sb.seq_count && seq != DMFMT_WC_FREE;
}

/* ---- writecache.c -------------------------------------------------------------------------- */

extern const struct dmfmt_format dmfmt_writecache_format;
/* read the superblock again; drops the losers */
int wc_read_superblock(struct dmfmt *f);
/* 0, or the error line that says why the entries cannot be read */
int wc_need_readable(struct dmfmt *f);
/* bytes from the superblock to the end of the device: D */
uint64_t wc_usable(const struct dmfmt_dev *dev);

/* ---- walking the entries (writecache_walk.c) ------------------------------------------------ */

/**
 * struct wc_part - some entries, at most 1 MiB of them
 * @first: number of the first; @nr: how many; @offset: bytes on the device
 * @e: as stored, NULL if they cannot be read; @v: the same in host order, in pairs
 */
struct wc_part {
	uint64_t first, offset;
	size_t nr;
	const struct wc_entry_disk *e;
	const uint64_t *v;
};

typedef int (*wc_part_fn)(void *arg, const struct wc_part *p);

/*
 * struct wc_walk - all entries in order, or those in [first, end)
 * @g: NULL: the store's own
 * @end: 0: all that lie on the device
 * @tolerant: entries that cannot be read are handed out with e NULL, isolated to the sectors that
 *            really fail (neighbours together); else the first one ends the walk with its error
 * @lost: out: how many could not be read
 */
struct wc_walk {
	struct dmfmt *f;
	const struct wc_geometry *g;
	const char *what;	/* for the progress */
	unsigned pass, nr_passes;
	uint64_t first, end;
	bool tolerant;
	wc_part_fn fn;
	void *arg;
	uint64_t lost;
};
int wc_walk_run(struct wc_walk *w);

/* ---- duplicates (writecache_dups.c) ---------------------------------------------------------- */

struct wc_copy {
	uint64_t sector, seq, entry;
};

/* @c: @nr (2 or more) committed entries of one sector, sorted by (seq, entry): the last one wins */
typedef int (*wc_group_fn)(void *arg, const struct wc_copy *c, size_t nr);

/*
 * struct wc_dups - find every sector with more than one committed entry, exactly, in bounded memory
 * @memory: bytes at most
 * @fn: told each group; NULL: only count them
 * @part: told each part of the first pass before it is looked at (may be NULL): so a check needs no
 *        pass of its own
 * @losers: out: committed entries that lose, all groups together; with @fn NULL this takes no second
 *          look, and entries whose sector is not a multiple of the block size count with those
 *          whose block they begin in
 * @passes: out
 */
struct wc_dups {
	struct dmfmt *f;
	size_t memory;
	wc_group_fn fn;
	void *arg;
	wc_part_fn part;
	void *part_arg;
	bool tolerant;
	uint64_t losers;
	unsigned passes;
};
int wc_dups_run(struct wc_dups *d);
/* can the data block of @entry be read?  not if it is lost or on a known bad block; @g: the store's own */
int wc_block_reads(struct dmfmt *f, uint64_t entry, bool *reads);
/*
 * Which of a group is to be kept: the last one, which recovery serves; but of several with the highest
 * seq_count the last whose block can be read, if there is one (it is logged if that is another one).
 */
int wc_best_copy(struct dmfmt *f, const struct wc_copy *c, size_t nr, size_t *best);
/* what is left for wc_dups of the context's memory beside everything else */
size_t wc_dups_memory(const struct dmfmt_ctx *ctx);

/* w->losers: all committed entries that a newer one supersedes; once, until wc_read_superblock().
 * -ENOMEM if there are too many for the memory limit */
int wc_load_losers(struct dmfmt *f);
bool wc_set_has(const struct wc_set *s, uint64_t entry);
int wc_set_add(struct wc_set *s, uint64_t entry);	/* list; -ENOMEM */
void wc_set_free(struct wc_set *s);

/* ---- inference (writecache_infer.c) ----------------------------------------------------------- */

/*
 * struct wc_guess - how the entries look with one block size
 * @g: geometry: n_blocks is what a format of this device gives (or what the superblock says if
 *     @from_superblock)
 * @live: entries that are not free and plausible; @free: free ones; @zero: all-zero ones (an LVM
 *        wipe leaves them); @bad: ones that can be nothing of the kind
 * @wiped: zero ones among those that LVM's wipe of 4096 bytes reaches
 * @max_seq: the largest seq_count of a live one
 * @tight: what lies behind the last entry is none, @behind: or so many and then no more
 */
struct wc_guess {
	struct wc_geometry g;
	uint64_t live, free, zero, bad, wiped, max_seq;
	unsigned behind;
	bool from_superblock, plausible, tight;
	bool alive;		/* wc_infer_alive() */
};
#define WC_GUESSES 8	/* 512 to 65536 */
/* @best: index of the one that the bytes prove, or -1.  *nr guesses, ascending block sizes.
 * Looks at a bounded sample unless @all. */
int wc_infer(struct dmfmt *f, bool all, struct wc_guess g[WC_GUESSES], unsigned *nr, int *best);
/*
 * Is anything alive behind a superblock that is gone?  All entries are counted: of the guess that the bytes
 * prove, or without one of each that may be entries (those with .alive).  @alive: the most that any has.
 */
int wc_infer_alive(struct dmfmt *f, struct wc_guess g[WC_GUESSES], unsigned *nr, int *best, uint64_t *alive);
/* their block sizes: "512 or 1024" */
void wc_list_alive(const struct wc_guess *g, unsigned nr, char *s, size_t len);
/* more than what the kernel or a wipe leaves, and hardly anything that can be no entry */
bool wc_may_be_entries(const struct wc_guess *g);
/* add entries [first, end) of @g to its counts; *lost: how many cannot be read */
int wc_count_range(struct dmfmt *f, struct wc_guess *g, uint64_t first, uint64_t end, uint64_t *lost);
/* the first superblock at another place, at sector @from or behind it: sectors, a multiple of 8 and below
 * 2^20; DMFMT_NONE.  Looked for at multiples of 4096 bytes, and of a MiB beyond the first 16 MiB */
uint64_t wc_other_start(struct dmfmt *f, uint64_t from);

/* ---- the rest ---------------------------------------------------------------------------------- */

int wc_check(struct dmfmt *f, unsigned flags, struct dmfmt_report *r);
/* the format's hooks of the same names */
bool wc_rescuable(enum dmfmt_code code);
bool wc_rescuable_if_cut(enum dmfmt_code code);
bool wc_needs_accept(enum dmfmt_code code);
int wc_repair(struct dmfmt *f, const struct dmfmt_repair_opts *o, struct dmfmt_report *found);
/* free entries (writecache_free.c): seq_count becomes 2^64-1, original_sector stays, as the kernel does
 * it; @entries ascending; whole sectors are rewritten, nothing is flushed.  @gap: sectors up to so many
 * bytes apart are rewritten together with what lies between; 512: only neighbours */
int wc_free_entries(struct dmfmt *f, const uint64_t *entries, size_t nr, uint64_t gap);

/* ---- a whole new table (writecache_restore.c) -------------------------------------------------- */

/*
 * struct wc_table - a superblock and all entries, written from scratch
 * @ctx, @dev, @g, @what (for the progress): set by the caller; @dev NULL: nothing is written
 * @sb: the superblock as it is to be stored
 * @sum: add what wc_table_put() is given to @crc
 *
 * Order of durability: wc_table_begin() makes what stands there no cache; entries follow one after
 * the other, and whatever else the caller writes; wc_table_commit() makes all of it durable and then
 * writes the first sector: superblock and entries 0 to 27, all or nothing.  A cut before that leaves
 * what the kernel refuses for ever (magic 0, version 1) and never formats.
 */
struct wc_table {
	struct dmfmt_ctx *ctx;
	struct dmfmt_dev *dev;
	const struct wc_geometry *g;
	const char *what;
	struct wc_superblock_disk sb;
	bool sum;
	uint32_t crc;
	uint64_t next;			/* entry that comes next */
	uint8_t sector[512];		/* the first one */
	struct wc_entry_disk *part;
	size_t fill, room;
};
int wc_table_begin(struct wc_table *t);
/* @nr pairs of original_sector and seq_count; no more than the table has */
int wc_table_put(struct wc_table *t, const uint64_t *values, uint64_t nr);
/* @nr entries of consecutive blocks from @sector on, all with @seq */
int wc_table_put_run(struct wc_table *t, uint64_t sector, uint64_t seq, uint64_t nr);
/* the rest is free, and the gap behind it zero */
int wc_table_put_free(struct wc_table *t);
int wc_table_commit(struct wc_table *t);
void wc_table_free(struct wc_table *t);

/* -EEXIST: the device holds what somebody may still want */
int wc_check_blank(struct dmfmt_ctx *ctx, struct dmfmt_dev *cache);
/* what the kernel would refuse (-EINVAL), @logical: the larger logical block size of the two devices */
int wc_new_block_size(struct dmfmt_ctx *ctx, const char *name, uint64_t bytes, uint32_t logical);
/* the geometry that a format of @cache gives; @origin may be NULL, @bytes 0: the default */
int wc_new_geometry(struct dmfmt_ctx *ctx, struct dmfmt_dev *cache, struct dmfmt_dev *origin,
		    uint64_t bytes, struct wc_geometry *g);
/* log what works with such a cache, but not everywhere */
int wc_new_warnings(struct dmfmt_ctx *ctx, const struct dmfmt_dev *cache, struct dmfmt_dev *origin,
		    const struct wc_geometry *g);
/* before a new cache is written: wc_check_blank(), or with DMFMT_CREATE_FORCE no other superblock is
 * left where the new cache will be */
int wc_take_over(struct dmfmt_ctx *ctx, struct dmfmt_dev *cache, const struct wc_geometry *g,
		 unsigned flags);
/* a cache of @g with S @seq and all entries free, the gap zeroed; the magic last */
int wc_format(struct dmfmt_dev *cache, const struct wc_geometry *g, uint64_t seq);

int wc_extents(struct dmfmt *f, int (*fn)(void *arg, const struct dmfmt_extent *e, size_t nr), void *arg);
uint64_t wc_data_unit(const struct dmfmt *f);

int wc_flush_prepare(struct dmfmt *f, bool dry_run);
int wc_flush_plan(struct dmfmt *f, struct dmfmt_batch *b);
int wc_flush_retire(struct dmfmt *f, const struct dmfmt_batch *b);
uint64_t wc_flush_remaining(const struct dmfmt *f);
int wc_flush_lost(struct dmfmt *f, int (*fn)(void *arg, const struct dmfmt_extent *e), void *arg,
		  uint64_t *unknown);
void wc_flush_free(struct wc *w);

int wc_restore_begin(struct dmfmt_builder *b, const struct dmfmt_field *head, size_t nr);
int wc_restore_raw(struct dmfmt_builder *b, uint64_t offset, const void *bytes, size_t len);
int wc_restore_records(struct dmfmt_builder *b, const uint64_t *values, size_t nr);
int wc_restore_stale(struct dmfmt_builder *b, uint64_t area, uint64_t slot, const uint64_t *values);
int wc_restore_commit(struct dmfmt_builder *b, const struct dmfmt_field *tail, size_t nr);
void wc_restore_free(struct dmfmt_builder *b);

#endif
