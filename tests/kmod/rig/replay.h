/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The replay of a record: shared by events.c, model.c, judge.c and replay.c. */
#ifndef REPLAY_H
#define REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rig.h"

void *must_alloc(size_t len);
void *must_grow(void *p, size_t len);
void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

/* ---- events.c: the record, as it was or with a fault planted --------------------------------- */

struct event {
	struct rig_event e;
	uint8_t *data;		/* of a write or a mark (then a string) */
};

struct record {
	struct event *ev;
	size_t nr;
	uint8_t *bytes;
};

void record_load(struct record *r, const char *path);
void record_free(struct record *r);

/**
 * record_plant() - turn a sound record into that of a target with a defect
 * @fault: drop-flush		no flush between the copied data and the exceptions
 *         swap			exceptions first, then the data that they point to
 *         origin-first		a write to the origin goes out before the exceptions that cover it
 *         drop-merge-flush	no flush between the merged data and the clearing of their exceptions
 * Return: how often it could be planted, or -1 if there is no such fault
 */
long record_plant(struct record *r, const char *fault);

/* ---- model.c: what must be there ------------------------------------------------------------- */

#define MAX_STORES 4
#define CELL_MAX 15

/* values that a sector may have: v[0] is durable, the others are writes that came later */
struct cell {
	uint32_t nr, v[CELL_MAX];
};

struct slice {
	unsigned dev;
	uint64_t start, sectors;
};

enum phase { NONE, CREATING, ACTIVE, MERGING, MERGED };

struct store {
	enum phase phase;
	struct slice at;
	uint64_t chunk;		/* in sectors */
	bool po;
	uint8_t *touched;	/* per chunk of the origin: an exception was asked for */
	uint64_t nr_touched, room;
	bool may_be_invalid;
	bool formatted;		/* a flush has ended since: what the target wrote first is durable */
	struct cell *snap, *merge;
};

struct op {
	int role;
	uint64_t sector, nr;
	uint64_t acked;		/* when, 0: not */
};

struct model {
	char scenario[64];
	bool on;		/* between the marks `go` and `end` */
	unsigned block;		/* logical block, in bytes */
	struct slice origin;
	struct cell *cells;	/* of the origin */
	struct store stores[MAX_STORES];
	struct op *ops;		/* by number; a flush is in it, too: acked is when it began */
	size_t nr_ops;
	uint64_t clock;
};

/* model_mark() - take in what the workload said; true: what is allowed became less */
bool model_mark(struct model *m, const char *text);
void model_free(struct model *m);
/* model_flushed() - a flush of device @dev was acknowledged */
void model_flushed(struct model *m, unsigned dev);
bool model_merging(const struct model *m);
/* is @value one that @c allows? */
bool cell_allows(const struct cell *c, uint32_t value);
/* the store whose area chunk the write touches, or NULL; @chunk: which chunk of the slice */
const struct store *store_of_area(const struct model *m, unsigned dev, uint64_t offset, uint64_t length);
bool slice_overlaps(const struct slice *s, unsigned dev, uint64_t offset, uint64_t length);

/* ---- judge.c: is that there? ----------------------------------------------------------------- */

/* what is on a store, and what its snapshot shows */
struct decoded {
	enum rig_class class;
	bool stale;		/* something lies behind the end of the store */
	bool torn;		/* and libdmfmt does not show it for that */
	bool harmful;		/* live it would show other content, and a few writes make it so */
	uint64_t entries, max_new;
	uint64_t gap;		/* slots from the end of the store to what lies behind it, 0: nothing */
	uint64_t nr_spare, spare[RIG_SPARE_MAX];	/* as in struct rig_state */
	uint8_t *content;	/* of the whole snapshot; owned by the judge, until the next call */
	char bad[256];		/* a finding that is not allowed, or "" */
};

struct judge;
struct judge *judge_new(void);
void judge_free(struct judge *j);

/**
 * judge_decode() - read a store as libdmfmt does
 * @cow, @origin: the bytes of their slices
 * @area_pending: a write to an area is in flight, so that it may be torn
 */
void judge_decode(struct judge *j, const struct store *s, uint8_t *cow, uint8_t *origin,
		  uint64_t origin_sectors, bool area_pending, struct decoded *d);

/**
 * judge_state() - compare a state with the model
 * @disks: images of all devices
 * @told: receives each violation: its rule and a line for people
 *
 * The rules:
 *	creation	a store shows what was there before it (until the first flush of its device)
 *	invalidation	a snapshot that should be invalid shows wrong content
 *	invalid		a store was given up without need
 *	content		a snapshot shows wrong content
 *	origin		so does the origin
 *	merge		so does a merge, or the origin when it has ended
 *	decode		libdmfmt finds damage
 */
void judge_state(struct judge *j, const struct model *m, uint8_t **disks, bool area_pending,
		 void (*told)(void *arg, const char *rule, const char *text), void *arg);

#endif
