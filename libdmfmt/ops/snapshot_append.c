// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Appending exceptions to a store.
 *
 * New chunks are allocated as the kernel does: behind the largest new_chunk there is, over metadata
 * chunks, never in a hole.  A batch goes to the device in this order (n exceptions before it):
 *
 *	area n / E            | e e e e . . . . |	holds the terminator
 *	areas behind it       | . . . . . . . . |	the chain does not reach them
 *
 *  1. the data, which no exception leads to yet, and all areas behind the one with the terminator,
 *     whole, zeros behind the last exception; if the last exception fills its area, the next area is
 *     all zeros.  One flush.  They may tear: as long as the first area is not full the chain ends in
 *     it.
 *  2. the first area upwards, a logical block at a time, each durable before the next one.  A block
 *     does not tear, and the one behind it still begins with zeros, so the chain always ends at
 *     the terminator of one of the two.  When the last block makes the area full, the next is there.
 *
 * Rules 1, 3 and 4 of a target's durability follow.  What a cut leaves behind the chain's end in other
 * areas is as harmless as what an earlier, longer chain leaves there.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot_append.h"
#include "../core/map.h"

#define BATCH_MAX (64u << 10)
#define BATCH_MIN 256u
#define PIECE_SLOTS (16u << 10)		/* 256 KiB of an area are written at a time */

/*
 * struct snap_append
 * @live: exceptions in the chain; @next_free: where the kernel would allocate
 * @stale_end: end of the non-zero slots behind the terminator in its area, or DMFMT_NONE
 * @e: the batch as it will be stored, exceptions from number @live on; @nr, @room
 * @moves: its data; those that continue each other are one
 * @piece: of an area, on its way to the device
 */
struct snap_append {
	struct dmfmt *f;
	const struct snap_geometry *g;
	struct dmfmt_copier *copier;
	uint64_t live, next_free, stale_end, committed;
	struct snap_exception_disk *e;
	struct dmfmt_move *moves;
	size_t nr, room, nr_moves;
	struct snap_exception_disk *piece;
	size_t piece_slots;
};

/* ---- the end of the chain ------------------------------------------------------------------ */

static int look(void *arg, const struct snap_part *p)
{
	struct snap_append *a = arg;
	size_t i;

	for (i = 0; i < p->live; i++)
		a->next_free = dmfmt_snap_next_free(a->next_free, p->v[2 * i + 1]);
	for (; i < p->nr; i++)
		if (p->v[2 * i] || p->v[2 * i + 1])
			a->stale_end = p->first + i + 1;
	return 0;
}

static int find_end(struct snap_append *a)
{
	struct snap *s = a->f->priv;
	struct snap_chain chain = { .f = a->f, .what = "counting", .pass = 1, .nr_passes = 1,
				    .fn = look, .arg = a };
	int ret = snap_need_readable(a->f);

	if (!ret && s->state != SNAP_SOUND)
		ret = dmfmt_fail(a->f->ctx, -EUCLEAN, "%s: header: valid is 0, expected 1",
				 a->f->dev->path);
	a->next_free = DMFMT_SNAP_FIRST_DATA_CHUNK;
	a->stale_end = DMFMT_NONE;
	if (!ret)
		ret = snap_chain_run(&chain);
	if (ret)
		return ret;
	if (chain.end.end != SNAP_END_TERMINATOR)
		return dmfmt_fail(a->f->ctx, -EUCLEAN, "%s: the chain runs off the device after %" PRIu64
				  " exceptions, expected a terminator", a->f->dev->path,
				  chain.end.records);
	a->live = chain.end.records;
	a->next_free = dmfmt_snap_skip_metadata(a->g, a->next_free);
	return 0;
}

/* data chunks in [2, @chunk) */
static uint64_t data_chunks_below(const struct snap_geometry *g, uint64_t chunk)
{
	if (chunk <= DMFMT_SNAP_FIRST_DATA_CHUNK)
		return 0;
	return chunk - 2 - dmfmt_div64(chunk - 2, g->stride);
}

/*
 * Holes are lost, as for the kernel.  A full last area needs room for its successor, so one slot of
 * all areas together stays free.
 */
uint64_t snap_append_room(const struct snap_append *a)
{
	uint64_t taken = a->live + a->nr, slots = dmfmt_snap_nr_areas(a->g) * a->g->entries - 1;
	uint64_t below = data_chunks_below(a->g, a->next_free);
	uint64_t all = data_chunks_below(a->g, a->g->chunks);
	uint64_t data = all > below ? all - below : 0;

	slots = slots > taken ? slots - taken : 0;
	return data < slots ? data : slots;
}

/* ---- metadata ------------------------------------------------------------------------------ */

/* slots [first, first + nr) as they will be: the batch's exceptions, and zeros behind them */
static void fill_piece(struct snap_append *a, uint64_t first, size_t nr)
{
	uint64_t skip = first - a->live;
	size_t have = skip < a->nr ? a->nr - (size_t)skip : 0;

	if (have > nr)
		have = nr;
	if (have)
		memcpy(a->piece, a->e + skip, have * SNAP_ENTRY);
	memset(a->piece + have, 0, (nr - have) * SNAP_ENTRY);
}

/* all slots of an area behind the chain's end */
static int write_area(struct snap_append *a, uint64_t area)
{
	uint64_t first = area * a->g->entries, end = first + a->g->entries, done;
	int ret = 0;

	for (done = first; !ret && done < end; done += a->piece_slots) {
		if (done >= a->live + a->nr)	/* nothing but zeros from here on */
			return dmfmt_dev_zero(a->f->dev, snap_record_offset(a->g, done),
					      (end - done) * SNAP_ENTRY);
		fill_piece(a, done, a->piece_slots);
		ret = dmfmt_dev_write(a->f->dev, snap_record_offset(a->g, done), a->piece,
				      a->piece_slots * SNAP_ENTRY);
	}
	return ret;
}

static int write_areas_behind(struct snap_append *a)
{
	uint64_t area = a->live / a->g->entries, last = (a->live + a->nr) / a->g->entries;
	int ret = 0;

	while (!ret && area < last)
		ret = write_area(a, ++area);
	return ret;
}

/* the area with the terminator, which ends up with its exceptions or full */
static int write_first_area(struct snap_append *a)
{
	uint64_t area_end = (a->live / a->g->entries + 1) * a->g->entries;
	uint64_t done = a->live, end = a->live + a->nr < area_end ? a->live + a->nr : area_end;
	uint64_t per_block = a->f->dev->block / SNAP_ENTRY;
	int ret = 0;

	while (!ret && done < end) {
		uint64_t nr = per_block - done % a->g->entries % per_block;

		if (nr > end - done)
			nr = end - done;
		if (nr > a->piece_slots)
			nr = a->piece_slots;
		fill_piece(a, done, (size_t)nr);
		ret = dmfmt_dev_write(a->f->dev, snap_record_offset(a->g, done), a->piece,
				      (size_t)nr * SNAP_ENTRY);
		if (!ret)
			ret = dmfmt_dev_flush(a->f->dev);
		/* more than these are in the chain once the last block has joined the next areas */
		if (!ret)
			done += nr;
	}
	a->committed += (ret || end < area_end ? done : a->live + a->nr) - a->live;
	return ret;
}

/* a write of the kernel would make them live, and ours as well */
static int clear_stale(struct snap_append *a)
{
	int ret;

	if (a->stale_end == DMFMT_NONE)
		return 0;
	dmfmt_log(a->f->ctx, DMFMT_LOG_INFO, "%s: clearing stale entries behind record %" PRIu64,
		  a->f->dev->path, a->live);
	ret = snap_clear_records(a->f, a->live, a->stale_end, NULL);
	if (!ret)
		a->stale_end = DMFMT_NONE;
	return ret;
}

int snap_append_commit(struct snap_append *a)
{
	int ret;

	if (!a->nr)
		return 0;
	ret = clear_stale(a);
	if (!ret)
		ret = dmfmt_copier_run(a->copier, a->moves, a->nr_moves);
	if (!ret)
		ret = write_areas_behind(a);
	if (!ret)
		ret = dmfmt_dev_flush(a->f->dev);
	if (!ret)
		ret = write_first_area(a);
	if (ret)
		return ret;
	a->live += a->nr;
	a->nr = a->nr_moves = 0;
	return 0;
}

uint64_t snap_append_committed(const struct snap_append *a)
{
	return a->committed;
}

/* ---- adding -------------------------------------------------------------------------------- */

static void add_move(struct snap_append *a, uint64_t from, uint64_t to, uint64_t len)
{
	struct dmfmt_move *m = a->nr_moves ? &a->moves[a->nr_moves - 1] : NULL;

	if (m && m->from + m->len == from && m->to + m->len == to)
		m->len += len;
	else
		a->moves[a->nr_moves++] = (struct dmfmt_move){ .from = from, .to = to, .len = len };
}

int snap_append_add(struct snap_append *a, uint64_t old_chunk, uint64_t from, uint64_t len,
		    uint64_t *new_chunk)
{
	uint64_t chunk = a->next_free;
	int ret = a->nr < a->room ? 0 : snap_append_commit(a);

	if (ret)
		return ret;
	if (!len || len % 512 || len > a->g->chunk_bytes ||
	    dmfmt_snap_old_chunk_wraps(a->g, old_chunk))
		return dmfmt_fail(a->f->ctx, -EINVAL, "%s: adding old_chunk %" PRIu64 " with %" PRIu64
				  " bytes, expected whole sectors of a chunk", a->f->dev->path, old_chunk,
				  len);
	if (!snap_append_room(a))
		return dmfmt_fail(a->f->ctx, -ENOSPC, "%s: found no room for old_chunk %" PRIu64
				  ", expected a free chunk behind chunk %" PRIu64, a->f->dev->path,
				  old_chunk, chunk - 1);
	dmfmt_snap_exception_encode(old_chunk, chunk, &a->e[a->nr++]);
	add_move(a, from, chunk * a->g->chunk_bytes, len);
	a->next_free = dmfmt_snap_skip_metadata(a->g, chunk + 1);
	if (new_chunk)
		*new_chunk = chunk;
	return 0;
}

/* ---- beginning and end --------------------------------------------------------------------- */

static int get_memory(struct snap_append *a, size_t memory)
{
	size_t each = sizeof(*a->e) + sizeof(*a->moves), room = memory / 8 / each;

	a->room = room > BATCH_MAX ? BATCH_MAX : room < BATCH_MIN ? BATCH_MIN : room;
	/* both are powers of two, so pieces do not cross the end of an area */
	a->piece_slots = a->g->entries < PIECE_SLOTS ? (size_t)a->g->entries : PIECE_SLOTS;
	a->e = malloc(a->room * sizeof(*a->e));
	a->moves = malloc(a->room * sizeof(*a->moves));
	a->piece = malloc(a->piece_slots * SNAP_ENTRY);
	if (!a->e || !a->moves || !a->piece)
		return dmfmt_fail(a->f->ctx, -ENOMEM, "%s: no memory for %zu exceptions",
				  a->f->dev->path, a->room);
	return 0;
}

static int open_copier(struct snap_append *a, struct dmfmt_dev *source, size_t memory)
{
	struct dmfmt_copier_opts o = { .src = { source }, .dst = a->f->dev, .memory = memory / 4 * 3,
				       .what = "adding exceptions" };

	return dmfmt_copier_open(a->f->ctx, &o, &a->copier);
}

int snap_append_open(struct dmfmt *f, struct dmfmt_dev *source, size_t memory,
		     struct snap_append **out)
{
	const struct snap *s = f->priv;
	struct snap_append *a = calloc(1, sizeof(*a));
	int ret;

	*out = NULL;
	if (!a)
		return dmfmt_fail(f->ctx, -ENOMEM, "%s: no memory", f->dev->path);
	a->f = f;
	a->g = &s->g;
	ret = find_end(a);
	if (!ret)
		ret = get_memory(a, memory);
	if (!ret)
		ret = open_copier(a, source, memory);
	if (ret) {
		snap_append_close(a);
		return ret;
	}
	*out = a;
	return 0;
}

void snap_append_close(struct snap_append *a)
{
	if (!a)
		return;
	if (a->copier)
		dmfmt_copier_close(a->copier);
	free(a->e);
	free(a->moves);
	free(a->piece);
	free(a);
}

/* ---- protect ------------------------------------------------------------------------------- */

/*
 * struct protect - what @f holds and @other does not, in chunks of @other
 * @end: bytes of the origin; chunks below @next have been looked at
 * @append: NULL while they are only counted
 */
struct protect {
	struct dmfmt *f, *other;
	const struct snap_geometry *g;	/* of other */
	struct dmfmt_map *mine, *theirs;
	struct snap_append *append;
	uint64_t end, next, missing;
};

static int add_run(struct protect *p, uint64_t first, uint64_t end)
{
	uint64_t chunk;
	int ret = 0;

	p->missing += end - first;
	for (chunk = first; !ret && p->append && chunk < end; chunk++) {
		uint64_t from = chunk << p->g->shift << 9, left = p->end - from;

		ret = snap_append_add(p->append, chunk, from,
				      left < p->g->chunk_bytes ? left : p->g->chunk_bytes, NULL);
	}
	return ret;
}

static uint64_t chunks_up(const struct protect *p, uint64_t bytes)
{
	return bytes / p->g->chunk_bytes + (bytes % p->g->chunk_bytes != 0);
}

/* chunks [p->next, end): those that the other store does not hold; its extents are whole chunks */
static int missing_in(struct protect *p, uint64_t end)
{
	while (p->next < end) {
		uint64_t stop = end;
		struct dmfmt_extent e;
		int ret = dmfmt_map_next(p->theirs, p->next << p->g->shift << 9, &e);

		if (ret < 0)
			return ret;
		if (ret && e.to / p->g->chunk_bytes < end)
			stop = e.to / p->g->chunk_bytes;
		if (stop > p->next) {
			ret = add_run(p, p->next, stop);
			if (ret)
				return ret;
			p->next = stop;
		}
		if (stop < end)
			p->next = chunks_up(p, e.to + e.length);
	}
	return 0;
}

/* both maps in ascending order; appending never changes what lies ahead in either */
static int one_pass(struct protect *p)
{
	struct dmfmt_extent e;
	uint64_t at = 0, step = 0;
	int ret = 0;

	p->next = p->missing = 0;
	while (!ret && at < p->end) {
		ret = dmfmt_map_next(p->mine, at, &e);
		if (ret <= 0)
			return ret;
		if (e.to >= p->end)
			return 0;
		at = e.length > p->end - e.to ? p->end : e.to + e.length;
		if (p->next < e.to / p->g->chunk_bytes)
			p->next = e.to / p->g->chunk_bytes;
		ret = missing_in(p, chunks_up(p, at));
		if (!ret && !(++step & 1023))
			ret = dmfmt_progress_step(p->f->ctx, "comparing stores", p->append ? 2 : 1, 2,
						  at, p->end);
	}
	return ret;
}

static int no_room(const struct protect *p, uint64_t room)
{
	uint64_t lack = p->missing - room;

	return dmfmt_fail(p->f->ctx, -ENOSPC,
			  "%s: found room for %" PRIu64 " chunks of %u sectors, expected %" PRIu64
			  " for what the merge changes: extend it by %" PRIu64 " sectors or more",
			  p->other->dev->path, room, p->g->chunk_sectors, p->missing,
			  (lack + lack / p->g->entries + 2) * p->g->chunk_sectors);
}

static int count_then_add(struct protect *p, size_t memory)
{
	struct snap_append *a;
	uint64_t room;
	int ret = one_pass(p);

	if (ret || !p->missing)
		return ret;
	ret = snap_append_open(p->other, p->other->origin, memory, &a);
	if (ret)
		return ret;
	room = snap_append_room(a);
	p->append = a;
	ret = room < p->missing ? no_room(p, room) : one_pass(p);
	if (!ret)
		ret = snap_append_commit(a);
	p->missing = snap_append_committed(a);
	snap_append_close(a);
	return ret;
}

/* f's map, the other's map, and what is appended with get a quarter, a quarter and a half of half the
 * memory; the chain readers use the rest */
int snap_protect(struct dmfmt *f, struct dmfmt *other, uint64_t *copied)
{
	const struct snap *s = other->priv;
	struct protect p = { .f = f, .other = other, .g = &s->g, .end = other->origin->size / 512 * 512 };
	uint64_t share = f->ctx->memory / 8;
	size_t part = share > SIZE_MAX / 4 ? SIZE_MAX / 4 : (size_t)share;
	int ret = dmfmt_map_open(f, part, &p.mine);

	if (ret)
		return ret;
	ret = dmfmt_map_open(other, part, &p.theirs);
	if (!ret) {
		ret = count_then_add(&p, 2 * part);
		dmfmt_map_close(p.theirs);
	}
	dmfmt_map_close(p.mine);
	*copied = p.append ? p.missing : 0;
	return ret;
}
