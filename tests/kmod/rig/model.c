// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What must be on the devices after a power cut, told from the workload's marks alone.
 *
 * Each sector of the origin, of each snapshot and of what a merge shows has a list of values (numbers
 * of writes): the last that is known to be durable, because a flush that began after it was
 * acknowledged has been acknowledged itself, and all that came later, any of which may be there.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "replay.h"

enum { ROLE_ORIGIN, ROLE_SNAP, ROLE_MERGE = ROLE_SNAP + MAX_STORES };

static int role_of(const char *name)
{
	unsigned k;

	if (!strcmp(name, "o"))
		return ROLE_ORIGIN;
	if ((*name == 's' || *name == 'm') && sscanf(name + 1, "%u", &k) == 1 && k < MAX_STORES)
		return k + (*name == 's' ? ROLE_SNAP : ROLE_MERGE);
	die("mark: role %s, expected o, s0..s%d, m0..m%d", name, MAX_STORES - 1, MAX_STORES - 1);
}

static struct cell *cells_of(struct model *m, int role)
{
	struct cell *c;

	if (role == ROLE_ORIGIN)
		c = m->cells;
	else if (role < ROLE_MERGE)
		c = m->stores[role - ROLE_SNAP].snap;
	else
		c = m->stores[role - ROLE_MERGE].merge;
	if (!c)
		die("mark: a write to what does not exist");
	return c;
}

bool cell_allows(const struct cell *c, uint32_t value)
{
	uint32_t i;

	for (i = 0; i < c->nr; i++)
		if (c->v[i] == value)
			return true;
	return false;
}

bool model_merging(const struct model *m)
{
	unsigned k;

	for (k = 0; k < MAX_STORES; k++)
		if (m->stores[k].phase == MERGING)
			return true;
	return false;
}

void model_flushed(struct model *m, unsigned dev)
{
	unsigned k;

	for (k = 0; k < MAX_STORES; k++)
		if (m->stores[k].phase > CREATING && m->stores[k].at.dev == dev)
			m->stores[k].formatted = true;
}

bool slice_overlaps(const struct slice *s, unsigned dev, uint64_t offset, uint64_t length)
{
	return s->sectors && s->dev == dev && offset < (s->start + s->sectors) * RIG_SECTOR &&
	       offset + length > s->start * RIG_SECTOR;
}

const struct store *store_of_area(const struct model *m, unsigned dev, uint64_t offset, uint64_t length)
{
	unsigned k;

	for (k = 0; k < MAX_STORES; k++) {
		const struct store *s = &m->stores[k];
		uint64_t chunk;

		if (s->phase == NONE || !slice_overlaps(&s->at, dev, offset, length))
			continue;
		chunk = (offset / RIG_SECTOR - s->at.start) / s->chunk;
		if (chunk % (32 * s->chunk + 1) == 1)
			return s;
	}
	return NULL;
}

/* ---- room in a store ------------------------------------------------------------------------- */

/* chunks that can be given out and still leave room for the area that ends the store */
static uint64_t room_for(uint64_t sectors, uint64_t chunk)
{
	uint64_t e = 32 * chunk, t = sectors / chunk, q = (t - 1) / (e + 1), r = (t - 1) % (e + 1);
	uint64_t room = q * e + (r ? r - 1 : 0);

	return !r && q ? room - 1 : room;
}

/* a write asks for exceptions; one that finds no room is allowed to end the snapshot */
static void touch(struct store *s, bool by_origin, uint64_t sector, uint64_t nr)
{
	uint64_t c;

	for (c = sector / s->chunk; c <= (sector + nr - 1) / s->chunk; c++) {
		if (s->touched[c])
			continue;
		if (s->nr_touched < s->room) {
			s->touched[c] = 1;
			s->nr_touched++;
		} else if (by_origin || !s->po) {
			s->may_be_invalid = true;
		}
	}
}

static void touch_all(struct model *m, unsigned except, uint64_t sector, uint64_t nr)
{
	unsigned k;

	for (k = 0; k < MAX_STORES; k++) {
		enum phase p = m->stores[k].phase;

		if (k != except && (p == CREATING || p == ACTIVE))
			touch(&m->stores[k], true, sector, nr);
	}
}

/* ---- marks ----------------------------------------------------------------------------------- */

static struct op *op_at(struct model *m, uint64_t number)
{
	size_t old = m->nr_ops;

	if (number >= 1u << 24)
		die("mark: write %" PRIu64 ", expected less than %u", number, 1u << 24);
	if (number >= old) {
		m->nr_ops = 2 * (number + 1);
		m->ops = must_grow(m->ops, m->nr_ops * sizeof(*m->ops));
		memset(m->ops + old, 0, (m->nr_ops - old) * sizeof(*m->ops));
	}
	return &m->ops[number];
}

static void begin_write(struct model *m, const char *role, uint64_t number, uint64_t sector, uint64_t nr)
{
	struct op *o = op_at(m, number);
	struct cell *c;
	uint64_t i;

	*o = (struct op){ .role = role_of(role), .sector = sector, .nr = nr };
	if (!nr || sector + nr > m->origin.sectors)
		die("mark: write %" PRIu64 ": past the end of the origin", number);
	c = cells_of(m, o->role);
	for (i = sector; i < sector + nr; i++) {
		if (c[i].nr == CELL_MAX)
			die("scenario %s: sector %" PRIu64 ": written %d times without a flush",
			    m->scenario, i, CELL_MAX);
		c[i].v[c[i].nr++] = number;
	}
	if (o->role == ROLE_ORIGIN)
		touch_all(m, MAX_STORES, sector, nr);
	else if (o->role < ROLE_MERGE)
		touch(&m->stores[o->role - ROLE_SNAP], false, sector, nr);
	else
		touch_all(m, o->role - ROLE_MERGE, sector, nr);
}

/* what was acknowledged before the flush began is durable */
static void end_flush(struct model *m, uint64_t number)
{
	struct op *f = op_at(m, number);
	struct cell *c = cells_of(m, f->role);
	uint64_t i;
	uint32_t k;

	for (i = 0; i < m->origin.sectors; i++, c++) {
		for (k = c->nr; k > 0; k--) {
			const struct op *o = op_at(m, c->v[k - 1]);

			if (o->acked && o->acked < f->acked)
				break;
		}
		if (k > 1) {
			memmove(c->v, c->v + k - 1, (c->nr - k + 1) * sizeof(*c->v));
			c->nr -= k - 1;
		}
	}
}

static struct cell *copy_cells(const struct model *m, const struct cell *from)
{
	struct cell *c = must_alloc(m->origin.sectors * sizeof(*c));

	return memcpy(c, from, m->origin.sectors * sizeof(*c));
}

static struct store *store_at(struct model *m, unsigned k)
{
	if (k >= MAX_STORES)
		die("mark: store %u, expected less than %d", k, MAX_STORES);
	return &m->stores[k];
}

static void drop_store(struct store *s)
{
	free(s->touched);
	free(s->snap);
	free(s->merge);
	memset(s, 0, sizeof(*s));
}

static void drop_scenario(struct model *m)
{
	unsigned k;

	for (k = 0; k < MAX_STORES; k++)
		drop_store(&m->stores[k]);
	free(m->cells);
	m->cells = NULL;
	m->on = false;
}

static void make_store(struct model *m, struct store *s, const char *type)
{
	drop_store(s);
	s->phase = CREATING;
	s->po = !strcmp(type, "PO");
}

static void begin_merge(struct model *m, unsigned k)
{
	struct store *s = store_at(m, k);
	uint64_t c;

	s->phase = MERGING;
	s->merge = copy_cells(m, s->snap);
	for (c = 0; c * s->chunk < m->origin.sectors; c++)
		if (s->touched[c])
			touch_all(m, k, c * s->chunk, s->chunk);
}

static void end_merge(struct model *m, struct store *s)
{
	s->phase = MERGED;
	free(m->cells);
	m->cells = copy_cells(m, s->merge);
}

/* marks about the scenario and its stores */
static void model_stage(struct model *m, const char *text)
{
	char type[8];
	struct slice a;
	unsigned k, block;
	uint64_t chunk;
	struct store *s;

	if (sscanf(text, "scenario %63s %u %u %" SCNu64 " %" SCNu64, m->scenario, &block, &a.dev, &a.start,
		   &a.sectors) == 5) {
		drop_scenario(m);
		m->block = block;
		m->origin = a;
		m->cells = must_alloc(a.sectors * sizeof(*m->cells));
	} else if (sscanf(text, "store %u %u %" SCNu64 " %" SCNu64 " %" SCNu64 " %7s", &k, &a.dev, &a.start,
			  &a.sectors, &chunk, type) == 6) {
		s = store_at(m, k);
		make_store(m, s, type);
		s->at = a;
		s->chunk = chunk;
		s->room = room_for(a.sectors, chunk);
		s->touched = must_alloc(m->origin.sectors / chunk + 1);
		s->snap = copy_cells(m, m->cells);
	} else if (sscanf(text, "active %u", &k) == 1) {
		store_at(m, k)->phase = ACTIVE;
	} else if (sscanf(text, "merge %u", &k) == 1) {
		begin_merge(m, k);
	} else if (sscanf(text, "merged %u", &k) == 1) {
		end_merge(m, store_at(m, k));
	} else if (sscanf(text, "gone %u", &k) == 1) {
		drop_store(store_at(m, k));
	} else if (!strcmp(text, "go")) {
		m->on = true;
	} else if (!strcmp(text, "end")) {
		drop_scenario(m);
	} else if (strncmp(text, "status ", 7)) {
		die("mark: %s: not known", text);
	}
}

bool model_mark(struct model *m, const char *text)
{
	uint64_t number, sector, nr;
	char role[16];
	struct op *f;

	m->clock++;
	if (sscanf(text, "w %15s %" SCNu64 " %" SCNu64 " %" SCNu64, role, &number, &sector, &nr) == 4) {
		begin_write(m, role, number, sector, nr);
	} else if (sscanf(text, "a %" SCNu64, &number) == 1) {
		op_at(m, number)->acked = m->clock;
	} else if (sscanf(text, "e %" SCNu64, &number) == 1) {
		return false;	/* it may have happened, in part, now or never */
	} else if (sscanf(text, "fb %15s %" SCNu64, role, &number) == 2) {
		f = op_at(m, number);
		*f = (struct op){ .role = role_of(role), .acked = m->clock };
	} else if (sscanf(text, "fa %" SCNu64, &number) == 1) {
		end_flush(m, number);
		return true;
	} else {
		model_stage(m, text);
		return true;
	}
	return false;
}

void model_free(struct model *m)
{
	drop_scenario(m);
	free(m->ops);
}
