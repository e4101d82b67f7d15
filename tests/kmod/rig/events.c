// SPDX-License-Identifier: GPL-2.0-or-later
/* The record of the crash rig: read, and spoiled on purpose. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "replay.h"

void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("replay: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(8);
}

void *must_grow(void *p, size_t len)
{
	p = realloc(p, len ? len : 1);
	if (!p)
		die("out of memory");
	return p;
}

void *must_alloc(size_t len)
{
	return memset(must_grow(NULL, len), 0, len);
}

static uint8_t *read_all(const char *path, size_t *len)
{
	FILE *f = fopen(path, "re");
	uint8_t *buf;
	long size;

	if (!f || fseek(f, 0, SEEK_END) || (size = ftell(f)) < 0)
		die("%s: %s", path, strerror(errno));
	rewind(f);
	buf = must_alloc(size);
	if (fread(buf, 1, size, f) != (size_t)size)
		die("%s: %s", path, strerror(errno));
	fclose(f);
	*len = size;
	return buf;
}

void record_load(struct record *r, const char *path)
{
	size_t len, at = 0, room = 0;
	struct event *e;

	memset(r, 0, sizeof(*r));
	r->bytes = read_all(path, &len);
	while (at + sizeof(struct rig_event) <= len) {
		if (r->nr == room) {
			room = room ? 2 * room : 4096;
			r->ev = must_grow(r->ev, room * sizeof(*r->ev));
		}
		e = &r->ev[r->nr++];
		memcpy(&e->e, r->bytes + at, sizeof(e->e));
		at += sizeof(e->e);
		e->data = NULL;
		if (e->e.dev >= RIG_DEVICES)
			die("%s: event %zu: device %u, expected less than %d", path, r->nr, e->e.dev,
			    RIG_DEVICES);
		if (e->e.kind != RIG_WRITE && e->e.kind != RIG_MARK)
			continue;
		if (e->e.length > len - at)
			die("%s: event %zu: ends before its data do", path, r->nr);
		e->data = r->bytes + at;
		at += e->e.length;
		if (e->e.kind == RIG_MARK)
			e->data[e->e.length - 1] = 0;
	}
	if (at != len)
		die("%s: ends in the middle of an event", path);
}

void record_free(struct record *r)
{
	free(r->ev);
	free(r->bytes);
}

/* ---- faults ---------------------------------------------------------------------------------- */

struct plant {
	struct record *r;
	struct model *m;
	size_t i;	/* an event in front of which all marks are known to the model */
};

static bool is_area_write(const struct plant *p)
{
	const struct rig_event *e = &p->r->ev[p->i].e;

	return e->kind == RIG_WRITE && store_of_area(p->m, e->dev, e->offset, e->length);
}

/* the flush becomes the write's acknowledgement of nothing */
static void forget(struct record *r, size_t i)
{
	uint64_t id = r->ev[i].e.id;
	size_t k;

	for (k = i; k < r->nr; k++) {
		struct rig_event *e = &r->ev[k].e;

		if (e->kind == RIG_DONE && e->id == id)
			break;
	}
	r->ev[i].e.kind = RIG_DONE;
	if (k < r->nr)
		r->ev[k].e.id = 0;
	r->ev[i].e.id = 0;
}

/* the last write or flush of @dev before event @i of the same scenario, or SIZE_MAX */
static size_t last_before(const struct record *r, size_t i, unsigned dev)
{
	while (i--) {
		const struct rig_event *e = &r->ev[i].e;

		if (e->kind == RIG_MARK && strstr((char *)r->ev[i].data, "scenario"))
			break;
		if (e->dev == dev && (e->kind == RIG_WRITE || e->kind == RIG_FLUSH))
			return i;
	}
	return SIZE_MAX;
}

/* forget all flushes of @dev between its last write and event @i; dm sends more than one */
static bool forget_flushes(struct record *r, size_t i, unsigned dev)
{
	bool any = false;
	size_t at = i;

	while ((at = last_before(r, at, dev)) != SIZE_MAX && r->ev[at].e.kind == RIG_FLUSH) {
		forget(r, at);
		any = true;
	}
	return any;
}

/* two events change places, but not their numbers: acknowledgements stay where they were */
static void exchange(struct record *r, size_t a, size_t b)
{
	struct event t = r->ev[a];

	r->ev[a].data = r->ev[b].data;
	r->ev[a].e.dev = r->ev[b].e.dev;
	r->ev[a].e.offset = r->ev[b].e.offset;
	r->ev[a].e.length = r->ev[b].e.length;
	r->ev[b].data = t.data;
	r->ev[b].e.dev = t.e.dev;
	r->ev[b].e.offset = t.e.offset;
	r->ev[b].e.length = t.e.length;
}

static bool drop_flush(struct plant *p)
{
	return is_area_write(p) && !model_merging(p->m) &&
	       forget_flushes(p->r, p->i, p->r->ev[p->i].e.dev);
}

static bool drop_merge_flush(struct plant *p)
{
	return is_area_write(p) && model_merging(p->m) && forget_flushes(p->r, p->i, p->m->origin.dev);
}

/* the last data before the flush that precedes the area */
static bool swap(struct plant *p)
{
	unsigned dev = p->r->ev[p->i].e.dev;
	size_t at = p->i;

	if (!is_area_write(p) || model_merging(p->m))
		return false;
	do
		at = last_before(p->r, at, dev);
	while (at != SIZE_MAX && p->r->ev[at].e.kind == RIG_FLUSH);
	if (at == SIZE_MAX || store_of_area(p->m, dev, p->r->ev[at].e.offset, p->r->ev[at].e.length))
		return false;
	exchange(p->r, at, p->i);
	return true;
}

/* a write to the origin while its store is in use changes places with the area before it */
static bool origin_first(struct plant *p)
{
	const struct rig_event *e = &p->r->ev[p->i].e;
	size_t k = p->i;

	if (e->kind != RIG_WRITE || model_merging(p->m) ||
	    !slice_overlaps(&p->m->origin, e->dev, e->offset, e->length))
		return false;
	while (k--) {
		const struct rig_event *o = &p->r->ev[k].e;

		if (o->kind == RIG_MARK && strncmp((char *)p->r->ev[k].data, "w o ", 4) == 0)
			return false;
		if (o->kind == RIG_WRITE && store_of_area(p->m, o->dev, o->offset, o->length)) {
			exchange(p->r, k, p->i);
			return true;
		}
	}
	return false;
}

static const struct {
	const char *name;
	bool (*fn)(struct plant *p);
} faults[] = {
	{ "drop-flush", drop_flush },
	{ "drop-merge-flush", drop_merge_flush },
	{ "origin-first", origin_first },
	{ "swap", swap },
};

long record_plant(struct record *r, const char *fault)
{
	struct model m = { 0 };
	struct plant p = { .r = r, .m = &m };
	long planted = 0;
	size_t f;

	for (f = 0; f < sizeof(faults) / sizeof(*faults); f++)
		if (!strcmp(faults[f].name, fault))
			break;
	if (f == sizeof(faults) / sizeof(*faults))
		return -1;
	for (p.i = 0; p.i < r->nr; p.i++) {
		if (r->ev[p.i].e.kind == RIG_MARK)
			model_mark(&m, (char *)r->ev[p.i].data);
		else if (m.on)
			planted += faults[f].fn(&p);
	}
	model_free(&m);
	return planted;
}
