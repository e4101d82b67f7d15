// SPDX-License-Identifier: GPL-2.0-or-later
/* Is what lies on the devices what the model allows?  libdmfmt reads the stores. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../../libdmfmt/dmfmt.h"
#include "replay.h"

struct judge {
	struct dmfmt_ctx *ctx;
	uint8_t *content, *cow, *origin;
	size_t room;
};

struct judge *judge_new(void)
{
	struct judge *j = must_alloc(sizeof(*j));

	j->ctx = dmfmt_ctx_new();
	if (!j->ctx)
		die("out of memory");
	j->room = RIG_DEVICE_BYTES;
	j->content = must_alloc(j->room);
	j->cow = must_alloc(j->room);
	j->origin = must_alloc(j->room);
	return j;
}

void judge_free(struct judge *j)
{
	dmfmt_ctx_free(j->ctx);
	free(j->content);
	free(j->cow);
	free(j->origin);
	free(j);
}

/* ---- reading a store ------------------------------------------------------------------------- */

struct opened {
	struct dmfmt_dev *cow, *origin;
	struct dmfmt *f;
};

static void open_store(struct judge *j, struct opened *o, void *cow, uint64_t cow_sectors, void *origin,
		       uint64_t origin_sectors)
{
	if (dmfmt_dev_open_buffer(j->ctx, cow, cow_sectors * RIG_SECTOR, &o->cow) ||
	    dmfmt_dev_open_buffer(j->ctx, origin, origin_sectors * RIG_SECTOR, &o->origin) ||
	    dmfmt_open(j->ctx, o->cow, "snapshot", 0, &o->f) || dmfmt_set_origin(o->f, o->origin))
		die("%s", dmfmt_ctx_error(j->ctx));
}

static void close_store(struct opened *o)
{
	dmfmt_close(o->f);
	dmfmt_dev_close(o->origin);
	dmfmt_dev_close(o->cow);
}

/*
 * Findings that a sound target may leave at a power cut:
 *   note          always (holes: a chunk was given out, the cut came before its exception)
 *   edge          the device has that size
 *   header tail   the rest of the chunk of an older store, until the header is written
 *   area beyond   content from before the store was made lies behind its end
 *   stale tail, torn area, terminator
 *                 only while a write to an area is in flight: an area is larger than a logical block
 * Everything else is damage.
 */
static bool finding_allowed(const struct dmfmt_finding *x, bool creating, bool area_pending)
{
	static const char *const torn[] = {
		"snapshot.chain.stale_tail", "snapshot.chain.torn_area",
		"snapshot.chain.terminator_not_zero",
	};
	size_t i;

	if (x->severity == DMFMT_SEV_NOTE || !strcmp(x->code, "snapshot.device.edge") ||
	    !strcmp(x->code, "snapshot.chain.area_beyond_end"))
		return true;
	if (!strcmp(x->code, "snapshot.header.tail_not_zero"))
		return creating;
	for (i = 0; i < sizeof(torn) / sizeof(*torn); i++)
		if (!strcmp(x->code, torn[i]))
			return area_pending;
	return false;
}

static void look_at_findings(struct judge *j, struct dmfmt *f, const struct store *s, bool area_pending,
			     struct decoded *d)
{
	struct dmfmt_report *r;
	size_t i;

	if (dmfmt_check(f, 0, 0, &r))
		die("check: %s", dmfmt_ctx_error(j->ctx));
	for (i = 0; i < dmfmt_report_nr(r); i++) {
		const struct dmfmt_finding *x = dmfmt_report_get(r, i);

		if (!strcmp(x->code, "snapshot.header.invalidated")) {
			d->class = RIG_INVALID;
			continue;
		}
		d->torn |= !strcmp(x->code, "snapshot.chain.torn_area");
		d->stale |= d->torn || !strcmp(x->code, "snapshot.chain.stale_tail");
		if (!d->bad[0] && !finding_allowed(x, !s->formatted, area_pending))
			snprintf(d->bad, sizeof(d->bad), "%s: %s", x->code, x->message);
	}
	dmfmt_report_free(r);
}

struct overlay {
	const struct store *s;
	const uint8_t *cow;
	uint8_t *content, *mapped;
	uint64_t sectors, chunks;
	struct decoded *d;
};

static int put_records(void *arg, uint64_t first, const uint64_t *v, size_t nr)
{
	struct overlay *o = arg;
	uint64_t bytes = o->s->chunk * RIG_SECTOR, len;

	for (; nr--; v += 2) {
		o->d->entries++;
		if (v[1] > o->d->max_new)
			o->d->max_new = v[1];
		if (v[0] >= o->chunks || v[1] >= o->s->at.sectors / o->s->chunk || o->mapped[v[0]])
			continue;	/* a finding says so */
		o->mapped[v[0]] = 1;
		len = o->sectors * RIG_SECTOR - v[0] * bytes;
		memcpy(o->content + v[0] * bytes, o->cow + v[1] * bytes, len < bytes ? len : bytes);
	}
	return 0;
}

/* what lies behind the end of the store, and whether it would show something else if it were live */
static int note_stale(void *arg, uint64_t area, uint64_t slot, const uint64_t *v)
{
	struct overlay *o = arg;
	uint64_t index = area * 32 * o->s->chunk + slot, bytes = o->s->chunk * RIG_SECTOR;

	if (!v[1] || index <= o->d->entries)
		return 0;
	if (!o->d->gap)
		o->d->gap = index - o->d->entries;
	if ((v[0] + 1) * o->s->chunk <= o->sectors && v[1] < o->s->at.sectors / o->s->chunk &&
	    memcmp(o->content + v[0] * bytes, o->cow + v[1] * bytes, bytes))
		o->d->harmful = true;
	return 0;
}

/* chunks that can be given exceptions without filling the store to its end */
static void find_spare(const struct overlay *o)
{
	uint64_t c, want = o->d->gap ? o->d->gap : 1, t = o->s->at.sectors / o->s->chunk;
	struct decoded *d = o->d;

	if (want > RIG_SPARE_MAX)
		d->harmful = false;	/* not within reach */
	if (want > RIG_SPARE_MAX || (d->max_new ? d->max_new : 1) + want + 4 > t)
		return;
	for (c = o->chunks; c-- && d->nr_spare < want;)
		if (!o->mapped[c] && (c + 1) * o->s->chunk <= o->sectors)
			d->spare[d->nr_spare++] = c;
}

/* what libdmfmt shows; where it refuses to (a torn area), the exceptions up to the end of the store */
static void show(struct judge *j, const struct opened *x, struct overlay *o)
{
	struct dmfmt_visitor v = { .size = sizeof(v), .arg = o, .records = put_records,
				  .stale = note_stale };
	struct dmfmt_view *view;

	if (dmfmt_walk(x->f, &v))
		die("walk: %s", dmfmt_ctx_error(j->ctx));
	if (o->d->torn || o->d->bad[0])
		return;
	if (dmfmt_view_open(x->f, &view))
		die("view: %s", dmfmt_ctx_error(j->ctx));
	if (dmfmt_view_read(view, 0, j->origin, o->sectors * RIG_SECTOR))
		die("view: %s", dmfmt_ctx_error(j->ctx));
	if (memcmp(j->origin, o->content, o->sectors * RIG_SECTOR))
		die("view: differs from the exceptions of walk");
	dmfmt_view_close(view);
}

void judge_decode(struct judge *j, const struct store *s, uint8_t *cow, uint8_t *origin,
		  uint64_t origin_sectors, bool area_pending, struct decoded *d)
{
	static const uint8_t zero[16];
	struct overlay o = { .s = s, .cow = cow, .content = j->content, .sectors = origin_sectors, .d = d };
	struct opened x;

	memset(d, 0, sizeof(*d));
	d->content = j->content;
	memcpy(d->content, origin, origin_sectors * RIG_SECTOR);
	o.chunks = (origin_sectors + s->chunk - 1) / s->chunk;
	o.mapped = must_alloc(o.chunks);
	if (!memcmp(cow, zero, sizeof(zero))) {
		d->class = RIG_BLANK;	/* the target formats it, as LVM expects */
	} else {
		d->class = RIG_VALID;
		open_store(j, &x, cow, s->at.sectors, origin, origin_sectors);
		look_at_findings(j, x.f, s, area_pending, d);
		if (d->class == RIG_VALID)
			show(j, &x, &o);
		close_store(&x);
	}
	find_spare(&o);
	free(o.mapped);
}

/* ---- comparing ------------------------------------------------------------------------------- */

static bool sector_is(const uint8_t *p, uint64_t sector, const struct cell *c, uint64_t *found)
{
	struct rig_block b;

	memcpy(found, p, sizeof(*found));
	if (*found > UINT32_MAX || !cell_allows(c, *found))
		return false;
	rig_block_fill(&b, *found, sector);
	return !memcmp(p, &b, sizeof(b));
}

/* true: all as allowed; else @text says where it is not */
static bool content_is(const uint8_t *content, const struct cell *c, uint64_t sectors, char *text,
		       size_t len)
{
	uint64_t i, found;

	for (i = 0; i < sectors; i++) {
		if (sector_is(content + i * RIG_SECTOR, i, &c[i], &found))
			continue;
		snprintf(text, len, "sector %" PRIu64 ": holds write %" PRIu64 ", expected %u%s", i, found,
			 c[i].v[0], c[i].nr > 1 ? " or a later one" : "");
		return false;
	}
	return true;
}

/* merged to its end by libdmfmt the origin must be what the merge has shown */
static bool merge_is(struct judge *j, const struct model *m, const struct store *s, const uint8_t *cow,
		     const uint8_t *origin, char *text, size_t len)
{
	struct dmfmt_writeback_opts opts = { .size = sizeof(opts) };
	struct dmfmt_writeback_result res = { .size = sizeof(res) };
	struct opened x;
	int ret;

	memcpy(j->cow, cow, s->at.sectors * RIG_SECTOR);
	memcpy(j->origin, origin, m->origin.sectors * RIG_SECTOR);
	open_store(j, &x, j->cow, s->at.sectors, j->origin, m->origin.sectors);
	ret = dmfmt_writeback(x.f, &opts, &res);
	if (ret)
		snprintf(text, len, "merge goes on: %s", dmfmt_ctx_error(j->ctx));
	close_store(&x);
	return !ret && content_is(j->origin, s->merge, m->origin.sectors, text, len);
}

struct teller {
	void (*told)(void *arg, const char *rule, const char *text);
	void *arg;
	unsigned store;
};

static void tell(const struct teller *t, const char *rule, const char *text)
{
	char line[512];

	snprintf(line, sizeof(line), "store %u: %s", t->store, text);
	t->told(t->arg, rule, line);
}

static void judge_store(struct judge *j, const struct model *m, const struct store *s, uint8_t **disks,
			bool area_pending, const struct teller *t)
{
	uint8_t *cow = disks[s->at.dev] + s->at.start * RIG_SECTOR;
	uint8_t *origin = disks[m->origin.dev] + m->origin.start * RIG_SECTOR;
	bool merging = s->phase == MERGING || s->phase == MERGED;
	struct decoded d;
	char text[256];

	judge_decode(j, s, cow, origin, m->origin.sectors, area_pending, &d);
	if (d.class == RIG_INVALID) {
		if (!s->may_be_invalid)
			tell(t, "invalid", "marked invalid, expected valid");
		return;
	}
	if (d.bad[0])
		tell(t, s->formatted ? "decode" : "creation", d.bad);
	if (!content_is(d.content, merging ? s->merge : s->snap, m->origin.sectors, text, sizeof(text)))
		tell(t, !s->formatted ? "creation" : s->may_be_invalid ? "invalidation" :
		     merging ? "merge" : "content", text);
	else if (merging && d.class == RIG_VALID && !d.torn && !d.bad[0] &&
		 !merge_is(j, m, s, cow, origin, text, sizeof(text)))
		tell(t, "merge", text);
}

void judge_state(struct judge *j, const struct model *m, uint8_t **disks, bool area_pending,
		 void (*told)(void *arg, const char *rule, const char *text), void *arg)
{
	struct teller t = { .told = told, .arg = arg };
	char text[256];

	for (t.store = 0; t.store < MAX_STORES; t.store++)
		if (m->stores[t.store].phase != NONE)
			judge_store(j, m, &m->stores[t.store], disks, area_pending, &t);
	if (!model_merging(m) &&
	    !content_is(disks[m->origin.dev] + m->origin.start * RIG_SECTOR, m->cells, m->origin.sectors,
			text, sizeof(text)))
		told(arg, "origin", text);
}
