/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The one interface: what a family has to say so that the generic driver can probe, dump, check,
 * repair, restore and picture it.  A family fills one struct dmfmt_format in ops/ and gets one line in
 * core/registry.c.
 */
#ifndef DMFMT_CORE_FORMAT_H
#define DMFMT_CORE_FORMAT_H

#include "core.h"
#include "../io/dev.h"
#include "../io/copier.h"

enum dmfmt_code {
#define DMFMT_FINDING(id, number, rule, severity, code, text, kernel) DMFMT_F_##id,
#include "../findings.h"
#undef DMFMT_FINDING
	DMFMT_F_NR
};

struct dmfmt {
	const struct dmfmt_format *format;
	struct dmfmt_ctx *ctx;
	struct dmfmt_dev *dev;
	struct dmfmt_dev *origin;	/* NULL: not at hand */
	uint64_t origin_sectors;	/* DMFMT_NONE: unknown */
	unsigned flags;			/* DMFMT_OPEN_HEADER_ONLY */
	bool sound;			/* dmfmt_need_sound() has said so, and nothing wrote since */
	struct dmfmt_origin_proof *proof;	/* dmfmt_set_fingerprint(); fingerprint.c */
	void *priv;			/* the family's */
};

/* what probe() says about one format; @reason is a static or in-struct string */
struct dmfmt_candidate {
	int confidence;		/* 0 to 100; 0: not this format */
	uint32_t version;
	uint64_t offset;	/* bytes */
	char reason[200];
};

struct dmfmt_builder {
	const struct dmfmt_format *format;
	struct dmfmt_ctx *ctx;
	struct dmfmt_dev *dev;	/* NULL: only validate */
	uint64_t dev_sectors;
	unsigned flags;
	void *priv;
};

/*
 * struct dmfmt_batch - a window of records that are moved and then retired together
 * @moves: the family fills up to @room; @nr; retire() may change their order
 * @first, @end: the records that it stands for (the family's own numbering)
 * @unit_bytes: a failure is isolated to units of this size, counted from a move's start
 * @max_bytes: about how much a window should move at most; whole areas (or what the family has) count more
 * @failed: what could not be moved, whole units, sorted by `to`; for retire()
 * @beyond: bytes that lie past the origin's end and are given up, counted by plan()
 */
struct dmfmt_batch {
	struct dmfmt_move *moves;
	size_t nr, room;
	uint64_t first, end;
	uint64_t unit_bytes;
	uint64_t max_bytes;
	const struct dmfmt_move *failed;
	size_t nr_failed;
	uint64_t beyond;
};

struct dmfmt_format {
	const char *name;		/* "snapshot" */
	const char *blkid_type;		/* libblkid's name of it */
	const char *what;		/* "dm-snapshot exception store" */
	const char *data_verb;		/* what bringing its data home is called: "merge" */
	/* how much of it is retired together at most, and less if that takes longer than half a minute;
	 * 0: about 1 GiB, however long it takes */
	uint64_t window_bytes;
	bool has_start;			/* may begin behind the device's first sector: dev->start */
	const struct dmfmt_column *columns;
	size_t nr_columns;

	/* look at the device; 0, or negative if it could not be read */
	int (*probe)(struct dmfmt_dev *dev, struct dmfmt_candidate *c);
	/* read the header, bound every number in it; a damaged header is not an error here */
	int (*open)(struct dmfmt *f);
	void (*close)(struct dmfmt *f);
	int (*info)(struct dmfmt *f, dmfmt_field_fn fn, void *arg);
	/* each record, in disk order */
	int (*walk)(struct dmfmt *f, const struct dmfmt_visitor *v);
	int (*find)(struct dmfmt *f, uint64_t sector, bool reverse, dmfmt_field_fn fn, void *arg);
	int (*occupancy)(struct dmfmt *f, const char *which, uint64_t *cells, size_t nr_cells,
			 uint64_t *units_total);
	/* goes on after the first damage */
	int (*check)(struct dmfmt *f, unsigned flags, struct dmfmt_report *out);
	/* mend what @o allows of what @found says; sets its findings' `mended` */
	int (*repair)(struct dmfmt *f, const struct dmfmt_repair_opts *o, struct dmfmt_report *found);
	int (*restore_begin)(struct dmfmt_builder *b, const struct dmfmt_field *head, size_t nr);
	int (*restore_raw)(struct dmfmt_builder *b, uint64_t offset, const void *bytes, size_t len);
	int (*restore_records)(struct dmfmt_builder *b, const uint64_t *values, size_t nr);
	int (*restore_stale)(struct dmfmt_builder *b, uint64_t area, uint64_t slot,
			     const uint64_t *values);
	int (*restore_commit)(struct dmfmt_builder *b, const struct dmfmt_field *tail, size_t nr);
	void (*restore_free)(struct dmfmt_builder *b);
	/* all ranges that hold metadata, in disk order, at most 1 MiB at a time: for images.
	 * @suspect: what lies there does not decode and may be somebody's data */
	int (*metadata)(struct dmfmt *f,
			int (*fn)(void *arg, uint64_t off, void *bytes, size_t len, bool suspect),
			void *arg);
	/* image obfuscation: replace the origin addresses in @bytes (a range that metadata() gave)
	 * by map(arg, address), leaving everything else */
	int (*obfuscate)(struct dmfmt *f, uint64_t off, void *bytes, size_t len,
			 uint64_t (*map)(void *arg, uint64_t addr), void *arg);
	/* optional, for obfuscation: addresses at which the meaning of an origin address changes (the
	 * end of the origin if known, where a shift to sectors wraps), ascending, above 0; at most
	 * @max; an obfuscated address stays between the same two */
	size_t (*origin_bounds)(struct dmfmt *f, uint64_t *bounds, size_t max);

	/* ---- data; all of these are only called on a store without a fatal finding ---- */

	/* every extent that the store holds, in any order, clipped to the origin's end if that is known;
	 * a few thousand at a time.  None overlaps another, but for records that stand there twice
	 * (a repair or a write-back was cut): map.c joins them */
	int (*extents)(struct dmfmt *f,
		       int (*fn)(void *arg, const struct dmfmt_extent *e, size_t nr), void *arg);
	/* the grain of extents, bytes: a power of two; extents begin at multiples of it and only at
	 * the logical device's end are they shorter */
	uint64_t (*data_unit)(const struct dmfmt *f);
	/*
	 * Write-back (core/copy.c): prepare() once, then again and again: plan() fills a window, the
	 * engine copies it and flushes the origin, retire() forgets it in the metadata, durably.
	 * Stopping between any two steps, or inside retire(), loses nothing.
	 * prepare() also starts plan() anew.  plan() returns 1 with a window, 0 when nothing is left; it
	 * goes on behind the last window, retired or not (a dry run retires nothing).
	 * retire() keeps the records of b->failed in the store.
	 */
	int (*prepare)(struct dmfmt *f, bool dry_run);
	int (*plan)(struct dmfmt *f, struct dmfmt_batch *b);
	int (*retire)(struct dmfmt *f, const struct dmfmt_batch *b);
	/* records that are (still) in the store, after prepare() */
	uint64_t (*remaining)(const struct dmfmt *f);
	/* empty the store; *records: how many there were */
	int (*discard)(struct dmfmt *f, uint64_t *records);
	/* a fatal finding with which a rescue (DMFMT_WRITEBACK_KEEP_GOING with an accepted loss) may go on;
	 * NULL: none.  Its loss counts */
	bool (*rescuable)(enum dmfmt_code code);
	/* one with which it may go on only if somebody vouches that the device was cut
	 * (DMFMT_WRITEBACK_DEVICE_CUT); NULL: none */
	bool (*rescuable_if_cut)(enum dmfmt_code code);
	/* a finding that is not fatal but whose loss a write-back has to be told (blocks past the end of the
	 * origin); NULL: none */
	bool (*needs_accept)(enum dmfmt_code code);
	/* optional, for a rescue: every extent that is in the store and whose data are not on the device;
	 * *unknown: records that cannot be read, so that nobody can say what they held */
	int (*lost)(struct dmfmt *f, int (*fn)(void *arg, const struct dmfmt_extent *e), void *arg,
		    uint64_t *unknown);
	/* see dmfmt_protect(); @other is of the same family */
	int (*protect)(struct dmfmt *f, struct dmfmt *other, uint64_t *copied);
};

/* generic.c, for restore: the number called @name among a dump's @fields, 0 to @max; -EINVAL with the line
 * that says what is wrong with it */
int dmfmt_restore_number(struct dmfmt_builder *b, const struct dmfmt_field *fields, size_t nr,
			 const char *name, uint64_t max, uint64_t *value);

/* probe.c: which other one of our formats @dev holds for sure (its struct), or NULL */
int dmfmt_other_format(struct dmfmt_dev *dev, const struct dmfmt_format *own,
		       const struct dmfmt_format **other);
/* probe.c: the file system on @dev, by libblkid's name, and the size of the blocks (or sectors) in
 * which it reads and writes; "" and 0 if none is known there.  A device in memory has none */
int dmfmt_fs_block(struct dmfmt_dev *dev, char *type, size_t len, uint64_t *bytes);

/* registry.c: every format, NULL-terminated */
extern const struct dmfmt_format *const dmfmt_formats[];
const struct dmfmt_format *dmfmt_format_by_name(const char *name);

/* copy.c: run check's metadata pass unless that was done; -EUCLEAN with the first fatal finding as
 * the error line, saying that @what is refused.  Then the fingerprint, if there is one. */
int dmfmt_need_sound(struct dmfmt *f, const char *what);
/*
 * copy.c: likewise for write-backs, which may go on over losses that the caller has accepted:
 * rescuable() findings with DMFMT_WRITEBACK_KEEP_GOING, needs_accept() ones; DMFMT_WRITEBACK_ACCEPT_LOSS
 * must give their number.
 */
struct dmfmt_loss {
	uint64_t lost;		/* records that are lost already */
	uint64_t homeless;	/* records that have no place on the origin */
	bool rescue;		/* there is a fatal finding that is tolerated */
};
int dmfmt_need_accepted(struct dmfmt *f, const struct dmfmt_writeback_opts *o, struct dmfmt_loss *loss);
/* fingerprint.c: 0, or -EUCLEAN; called by dmfmt_need_sound() */
int dmfmt_check_proof(struct dmfmt *f);
void dmfmt_free_proof(struct dmfmt *f);

/* ---- findings.c ---------------------------------------------------------------------------- */

struct dmfmt_report *dmfmt_report_new(struct dmfmt_ctx *ctx, size_t max_each);

/* what differs from finding to finding; unset numbers must be DMFMT_NONE: start from
 * DMFMT_AT_NOWHERE.  place, found, expected, suggestion are copied. */
struct dmfmt_at {
	uint64_t count, record, record2, offset, origin_sector, origin_nr, loss;
	const char *suggestion;
};
#define DMFMT_AT_NOWHERE ((struct dmfmt_at){ 1, DMFMT_NONE, DMFMT_NONE, DMFMT_NONE, DMFMT_NONE, 0, 0, "" })

/* add one finding; beyond max_each of a kind it is counted into a last one ("and N more").
 * @place, @found, @expected: printf-made by the caller; the message is
 * "<place>: <found>, <expected>" */
int dmfmt_report_add(struct dmfmt_report *r, enum dmfmt_code code, const struct dmfmt_at *at,
		     const char *place, const char *found, const char *expected);
/* how many findings of a kind are kept one by one */
size_t dmfmt_report_max(const struct dmfmt_report *r);
/* how many records stand under @code so far */
uint64_t dmfmt_report_count(const struct dmfmt_report *r, enum dmfmt_code code);
/* mark findings of @code (record DMFMT_NONE: all of them) as mended */
void dmfmt_report_mended(struct dmfmt_report *r, enum dmfmt_code code, uint64_t record);
/* change severity where the family knows better than the list (e.g. identical duplicates) */
void dmfmt_report_last_severity(struct dmfmt_report *r, enum dmfmt_severity s);
/* rules: a row of the format's list was looked at, or why not (@reason static) */
void dmfmt_report_rule_add(struct dmfmt_report *r, unsigned number, const char *name, bool checked,
			   const char *reason);
void dmfmt_report_stats(struct dmfmt_report *r, uint64_t records, uint64_t areas, unsigned passes);
/* caches: records whose data the origin still lacks */
void dmfmt_report_dirty(struct dmfmt_report *r, uint64_t records);
enum dmfmt_code dmfmt_report_code(const struct dmfmt_report *r, size_t i);

#endif
