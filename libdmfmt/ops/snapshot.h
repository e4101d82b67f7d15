/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The snapshot family inside the library: what its files share. */
#ifndef DMFMT_OPS_SNAPSHOT_H
#define DMFMT_OPS_SNAPSHOT_H

#include "../core/format.h"
#include "../format/snapshot.h"

#define SNAP_ENTRY sizeof(struct snap_exception_disk)
#define SNAP_LOOK_BEYOND 64u	/* areas behind the end that are looked at (rule 27) */

/* what the header says, in the order in which the kernel decides */
enum snap_state {
	SNAP_TOO_SMALL,		/* no room for a header and an area */
	SNAP_MAGIC_ZERO,	/* the kernel formats it */
	SNAP_SWAPPED,		/* big-endian SnAp */
	SNAP_MAGIC_BAD,
	SNAP_CHUNK_BAD,
	SNAP_VERSION_BAD,
	SNAP_INVALID,		/* valid is 0; everything else is sound */
	SNAP_SOUND,
};

/* record numbers in no order; beyond SNAP_ROUND they are left for the next round */
struct snap_records {
	uint64_t *v;
	size_t nr, room;
};
#define SNAP_ROUND (1u << 16)

/*
 * struct snap_merge - where a write-back stands (snapshot_merge.c)
 * @live: records in the chain; those from @unmerged on could not be merged and stay
 * @next: where the next window ends
 */
struct snap_merge {
	uint64_t live, unmerged, next;
};

struct snap {
	struct snap_header hdr;
	enum snap_state state;
	struct snap_merge merge;
	struct snap_geometry g;	/* set if the chunk size is sound */
	bool has_geometry;
	/* what check leaves for repair: records that have to go, with loss and without */
	struct snap_records lossy, twins;
};

static inline bool snap_readable(const struct snap *s)
{
	return s->state == SNAP_SOUND || s->state == SNAP_INVALID;
}

static inline uint64_t snap_area_offset(const struct snap_geometry *g, uint64_t area)
{
	return (1 + area * g->stride) * g->chunk_bytes;
}

static inline uint64_t snap_record_offset(const struct snap_geometry *g, uint64_t record)
{
	return snap_area_offset(g, record / g->entries) + record % g->entries * SNAP_ENTRY;
}

/* snapshot.c */
extern const struct dmfmt_format dmfmt_snapshot_format;
int snap_read_header(struct dmfmt *f);
/* 0, or the error line that says why the chain cannot be followed */
int snap_need_readable(struct dmfmt *f);

/* ---- the chain (snapshot_chain.c) ---------------------------------------------------------- */

/**
 * struct snap_part - a piece of an area, at most 1 MiB
 * @slot: its first slot; @nr: slots in it; @live: how many of them come before the terminator
 * @first: record number of its first slot
 * @e: as stored, NULL if unreadable (then all are taken as live); @v: the same in host order, in pairs
 * @offset: on the device
 * @behind_end: the terminator lies in an earlier part of this area
 */
struct snap_part {
	uint64_t area, slot, first, offset;
	const struct snap_exception_disk *e;
	const uint64_t *v;
	size_t nr, live;
	bool behind_end;
};

enum snap_end { SNAP_END_TERMINATOR, SNAP_END_DEVICE };

struct snap_chain_end {
	uint64_t records, areas;	/* areas: including the one with the terminator */
	uint64_t lost;			/* records in unreadable parts */
	enum snap_end end;
};

typedef int (*snap_part_fn)(void *arg, const struct snap_part *p);

/*
 * Follow the chain to its end; the rest of the last area is handed out too.  Bounded by the device.
 * @fn may end it with a non-zero return.  Unreadable parts go to @fn if @tolerant, else end it (-EIO).
 */
struct snap_chain {
	struct dmfmt *f;
	const char *what;	/* for the progress */
	unsigned pass, nr_passes;
	uint64_t total_areas;	/* 0: unknown */
	bool tolerant;
	snap_part_fn fn;
	void *arg;
	struct snap_chain_end end;
};
int snap_chain_run(struct snap_chain *c);

/* ---- inference (snapshot_infer.c) ---------------------------------------------------------- */

/* how area 0 and its successors look with one chunk size */
struct snap_guess {
	uint32_t chunk_sectors;
	uint64_t entries;	/* consistent ones before the terminator */
	uint64_t dense;		/* of them where in-order allocation puts them */
	uint64_t areas;
	bool consistent;	/* none breaks rules 11 to 15 */
};
/* fills @g with all sizes for which area 0 can be read; *best: index of the one that is proven by
 * being the only plausible one, or -1 */
int snap_infer(struct dmfmt_ctx *ctx, struct dmfmt_dev *dev, struct snap_guess g[22], unsigned *nr,
	       int *best);

/* snapshot_check.c */
int snap_check(struct dmfmt *f, unsigned flags, struct dmfmt_report *r);
/* snapshot_repair.c */
int snap_repair(struct dmfmt *f, const struct dmfmt_repair_opts *o, struct dmfmt_report *found);
/* zero records [from, to), the last block (dev->whole) first, each durable before the one in front of it;
 * *left (may be NULL): where the zeros begin, also after an error */
int snap_clear_records(struct dmfmt *f, uint64_t from, uint64_t to, uint64_t *left);
/* snapshot_extents.c */
int snap_extents(struct dmfmt *f, int (*fn)(void *arg, const struct dmfmt_extent *e, size_t nr),
		 void *arg);
uint64_t snap_data_unit(const struct dmfmt *f);
/* snapshot_merge.c */
int snap_merge_prepare(struct dmfmt *f, bool dry_run);
int snap_merge_plan(struct dmfmt *f, struct dmfmt_batch *b);
int snap_merge_retire(struct dmfmt *f, const struct dmfmt_batch *b);
uint64_t snap_merge_remaining(const struct dmfmt *f);
int snap_discard(struct dmfmt *f, uint64_t *records);
/* snapshot_restore.c */
/* -EEXIST: the device holds what somebody may still want */
int snap_check_blank(struct dmfmt_ctx *ctx, struct dmfmt_dev *cow);
int snap_restore_begin(struct dmfmt_builder *b, const struct dmfmt_field *head, size_t nr);
int snap_restore_raw(struct dmfmt_builder *b, uint64_t offset, const void *bytes, size_t len);
int snap_restore_records(struct dmfmt_builder *b, const uint64_t *values, size_t nr);
int snap_restore_stale(struct dmfmt_builder *b, uint64_t area, uint64_t slot, const uint64_t *values);
int snap_restore_commit(struct dmfmt_builder *b, const struct dmfmt_field *tail, size_t nr);
void snap_restore_free(struct dmfmt_builder *b);

#endif
