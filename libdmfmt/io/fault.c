// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A world of devices in memory that fail on cue, and whose every write and flush is remembered.
 *
 * Reads see the volatile content of a device; the log gives what was durable at any moment.  A
 * write is cut into logical blocks; a block version is the content of the whole block after the
 * write.  Behind a cut, each block holds the version of the last flush or any later one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "fault.h"

enum event_kind { EVENT_WRITE, EVENT_FLUSH, EVENT_LOST, EVENT_SIZE };

struct event {
	enum event_kind kind;
	unsigned dev;
	uint64_t off;		/* of a write, in whole blocks */
	uint64_t len;		/* of a write; the new size of EVENT_SIZE */
	uint8_t *data;
};

struct disk {
	uint8_t *initial;
	uint64_t initial_size;
	uint8_t *now, *durable;	/* @room bytes, zeros behind @size */
	uint64_t size, room;
	uint32_t block;
	bool growable;
};

struct cue {
	enum dmfmt_fault what;
	uint64_t nr;
};

struct dmfmt_world {
	struct disk *disks;
	unsigned nr_disks;
	struct event *events;
	size_t nr_events, room_events;
	struct cue *cues;
	size_t nr_cues;
	uint64_t reads, writes, flushes;
	bool cut;
};

struct fault_layer {
	struct dmfmt_layer l;
	struct dmfmt_world *world;
	unsigned id;
};

/* ---- the world ------------------------------------------------------------------------------ */

struct dmfmt_world *dmfmt_world_new(void)
{
	return calloc(1, sizeof(struct dmfmt_world));
}

void dmfmt_world_free(struct dmfmt_world *w)
{
	size_t i;

	if (!w)
		return;
	for (i = 0; i < w->nr_events; i++)
		free(w->events[i].data);
	for (i = 0; i < w->nr_disks; i++) {
		free(w->disks[i].initial);
		free(w->disks[i].now);
		free(w->disks[i].durable);
	}
	free(w->events);
	free(w->disks);
	free(w->cues);
	free(w);
}

void dmfmt_world_cue(struct dmfmt_world *w, enum dmfmt_fault what, uint64_t nr)
{
	struct cue *new = realloc(w->cues, (w->nr_cues + 1) * sizeof(*new));

	if (!new) {
		w->cut = true;	/* a test without its cue would pass for nothing */
		return;
	}
	w->cues = new;
	w->cues[w->nr_cues++] = (struct cue){ what, nr };
}

void dmfmt_world_counts(const struct dmfmt_world *w, uint64_t *reads, uint64_t *writes,
			uint64_t *flushes)
{
	*reads = w->reads;
	*writes = w->writes;
	*flushes = w->flushes;
}

static bool is_cue(const struct dmfmt_world *w, enum dmfmt_fault what, uint64_t nr)
{
	size_t i;

	for (i = 0; i < w->nr_cues; i++)
		if (w->cues[i].what == what && w->cues[i].nr == nr)
			return true;
	return false;
}

static int add_event(struct dmfmt_world *w, const struct event *e)
{
	struct event *new;

	if (w->nr_events == w->room_events) {
		w->room_events = w->room_events ? 2 * w->room_events : 256;
		new = realloc(w->events, w->room_events * sizeof(*new));
		if (!new)
			return -ENOMEM;
		w->events = new;
	}
	w->events[w->nr_events++] = *e;
	return 0;
}

/* ---- the layer ------------------------------------------------------------------------------ */

static struct disk *disk_of(struct dmfmt_layer *l)
{
	struct fault_layer *f = (struct fault_layer *)l;

	return &f->world->disks[f->id];
}

static struct dmfmt_world *world_of(struct dmfmt_layer *l)
{
	return ((struct fault_layer *)l)->world;
}

static int fault_read(struct dmfmt_layer *l, uint64_t off, void *buf, size_t len)
{
	struct dmfmt_world *w = world_of(l);
	uint64_t nr = w->reads++;

	if (w->cut)
		return -ENODEV;
	if (is_cue(w, DMFMT_FAULT_READ_EIO, nr))
		return -EIO;
	if (is_cue(w, DMFMT_FAULT_READ_SHORT, nr)) {
		memcpy(buf, disk_of(l)->now + off, len / 2);
		return -EIO;
	}
	memcpy(buf, disk_of(l)->now + off, len);
	return 0;
}

/* Write and log the blocks that the range touches; an empty write too, for the numbers. */
static int do_write(struct dmfmt_layer *l, uint64_t off, const void *buf, size_t len)
{
	struct disk *d = disk_of(l);
	struct event e = { .kind = EVENT_WRITE, .dev = ((struct fault_layer *)l)->id };
	uint64_t end;
	int err;

	if (len) {
		memcpy(d->now + off, buf, len);
		e.off = off / d->block * d->block;
		end = (off + len + d->block - 1) / d->block * d->block;
		e.len = (end < d->size ? end : d->size) - e.off;
		e.data = malloc(e.len);
		if (!e.data)
			return -ENOMEM;
		memcpy(e.data, d->now + e.off, e.len);
	}
	err = add_event(world_of(l), &e);
	if (err)
		free(e.data);
	return err;
}

/* How much of a write that stops half way is done: no block is ever torn. */
static size_t half(const struct disk *d, uint64_t off, size_t len)
{
	uint64_t end = (off + len / 2) / d->block * d->block;

	return end > off ? end - off : 0;
}

static int fault_write(struct dmfmt_layer *l, uint64_t off, const void *buf, size_t len)
{
	struct dmfmt_world *w = world_of(l);
	uint64_t nr = w->writes++;
	size_t part = len;
	int fail = 0, err;

	if (w->cut)
		return -ENODEV;
	if (is_cue(w, DMFMT_FAULT_WRITE_EIO, nr) || is_cue(w, DMFMT_FAULT_WRITE_SHORT, nr))
		fail = -EIO;
	else if (is_cue(w, DMFMT_FAULT_WRITE_ENOSPC, nr))
		fail = -ENOSPC;
	if (fail)
		part = is_cue(w, DMFMT_FAULT_WRITE_SHORT, nr) ? half(disk_of(l), off, len) : 0;
	err = do_write(l, off, buf, part);
	w->cut |= is_cue(w, DMFMT_FAULT_CUT, nr);
	return fail ? fail : err;
}

static int fault_flush(struct dmfmt_layer *l)
{
	struct dmfmt_world *w = world_of(l);
	struct disk *d = disk_of(l);
	struct event e = { .kind = EVENT_FLUSH, .dev = ((struct fault_layer *)l)->id };
	uint64_t nr = w->flushes++;

	if (w->cut)
		return -ENODEV;
	if (is_cue(w, DMFMT_FAULT_FLUSH_LOST, nr)) {
		e.kind = EVENT_LOST;
		memcpy(d->now, d->durable, d->room);
		return add_event(w, &e) ? -ENOMEM : -EIO;
	}
	memcpy(d->durable, d->now, d->room);
	return add_event(w, &e);
}

static int make_room(struct disk *d, uint64_t size)
{
	uint64_t room = d->room ? d->room : 65536;
	uint8_t *now, *durable;

	if (size <= d->room)
		return 0;
	while (room < size)
		room *= 2;
	if (room > SIZE_MAX)
		return -ENOMEM;
	now = realloc(d->now, room);
	if (now)
		d->now = now;
	durable = realloc(d->durable, room);
	if (durable)
		d->durable = durable;
	if (!now || !durable)
		return -ENOMEM;
	memset(now + d->room, 0, room - d->room);
	memset(durable + d->room, 0, room - d->room);
	d->room = room;
	return 0;
}

static int fault_truncate(struct dmfmt_layer *l, uint64_t size)
{
	struct disk *d = disk_of(l);
	struct event e = { .kind = EVENT_SIZE, .dev = ((struct fault_layer *)l)->id, .len = size };
	int err;

	if (world_of(l)->cut)
		return -ENODEV;
	if (!d->growable)
		return -EINVAL;
	err = make_room(d, size);
	if (err)
		return err;
	if (size < d->size) {
		memset(d->now + size, 0, d->size - size);
		memset(d->durable + size, 0, d->size - size);
	}
	d->size = size;
	return add_event(world_of(l), &e);
}

static void fault_close(struct dmfmt_layer *l)
{
	free(l);	/* the content is the world's */
}

static const struct dmfmt_layer_ops fault_ops = {
	.name = "fault",
	.read = fault_read,
	.write = fault_write,
	.flush = fault_flush,
	.truncate = fault_truncate,
	.close = fault_close,
};

static int add_disk(struct dmfmt_world *w, const void *content, uint64_t size, uint32_t block,
		    bool growable)
{
	struct disk *disks = realloc(w->disks, (w->nr_disks + 1) * sizeof(*disks));
	struct disk *d;
	int err;

	if (!disks)
		return -ENOMEM;
	w->disks = disks;
	d = &disks[w->nr_disks];
	*d = (struct disk){ .size = size, .initial_size = size, .block = block,
			    .growable = growable || !size };
	d->initial = calloc(1, size + 1);
	err = d->initial ? make_room(d, size ? size : 1) : -ENOMEM;
	w->nr_disks++;
	if (err)
		return err;
	if (content)
		memcpy(d->initial, content, size);
	memcpy(d->now, d->initial, size);
	memcpy(d->durable, d->initial, size);
	return 0;
}

int dmfmt_world_add(struct dmfmt_world *w, struct dmfmt_ctx *ctx, const void *content,
		    uint64_t size, uint32_t block, bool growable, const char *name, unsigned *id,
		    struct dmfmt_dev **out)
{
	struct fault_layer *f = calloc(1, sizeof(*f));
	int err;

	if (!f)
		return -ENOMEM;
	f->l.ops = &fault_ops;
	f->world = w;
	f->id = w->nr_disks;
	err = add_disk(w, content, size, block, growable);
	if (!err)
		err = dmfmt_dev_from_layer(ctx, &f->l, size, block, name, out);
	if (err) {
		free(f);
		return err;
	}
	if (w->disks[f->id].growable)
		(*out)->flags |= DMFMT_OPEN_CREATE;
	if (id)
		*id = f->id;
	return 0;
}

/* ---- states behind a cut -------------------------------------------------------------------- */

/* The log played from the start: durable content, and the writes that are not. */
struct replay {
	const struct dmfmt_world *w;
	size_t at;			/* next event */
	uint64_t nr_writes;
	struct replayed {
		uint8_t *base;
		uint64_t size, flushed_size;
	} *disks;
	size_t *pending;		/* numbers of write events, in order */
	size_t nr_pending;
};

static void replay_free(struct replay *r)
{
	unsigned i;

	for (i = 0; r->disks && i < r->w->nr_disks; i++)
		free(r->disks[i].base);
	free(r->disks);
	free(r->pending);
}

static int replay_begin(struct replay *r, const struct dmfmt_world *w)
{
	unsigned i;

	*r = (struct replay){ .w = w };
	r->disks = calloc(w->nr_disks + 1, sizeof(*r->disks));
	r->pending = calloc(w->nr_events + 1, sizeof(*r->pending));
	for (i = 0; r->disks && i < w->nr_disks; i++) {
		const struct disk *d = &w->disks[i];

		r->disks[i].base = calloc(1, d->room);
		if (!r->disks[i].base)
			break;
		memcpy(r->disks[i].base, d->initial, d->initial_size);
		r->disks[i].size = r->disks[i].flushed_size = d->initial_size;
	}
	if (r->disks && r->pending && i == w->nr_disks)
		return 0;
	replay_free(r);
	return -ENOMEM;
}

/* Take the pending writes of @dev away; @keep: they have become durable. */
static void settle(struct replay *r, unsigned dev, bool keep)
{
	struct replayed *d = &r->disks[dev];
	size_t i, left = 0;

	for (i = 0; i < r->nr_pending; i++) {
		const struct event *e = &r->w->events[r->pending[i]];

		if (e->dev != dev)
			r->pending[left++] = r->pending[i];
		else if (keep && e->len)
			memcpy(d->base + e->off, e->data, e->len);
	}
	r->nr_pending = left;
	if (keep)
		d->flushed_size = d->size;
}

static void replay_size(struct replayed *d, uint64_t size)
{
	if (size < d->size)
		memset(d->base + size, 0, d->size - size);
	if (size < d->flushed_size)
		d->flushed_size = size;
	d->size = size;
}

/* Go on until @nr_writes writes have been done. */
static void replay_to(struct replay *r, uint64_t nr_writes)
{
	for (; r->at < r->w->nr_events && r->nr_writes < nr_writes; r->at++) {
		const struct event *e = &r->w->events[r->at];

		switch (e->kind) {
		case EVENT_WRITE:
			r->pending[r->nr_pending++] = r->at;
			r->nr_writes++;
			break;
		case EVENT_FLUSH:
		case EVENT_LOST:
			settle(r, e->dev, e->kind == EVENT_FLUSH);
			break;
		case EVENT_SIZE:
			replay_size(&r->disks[e->dev], e->len);
			break;
		}
	}
}

static uint64_t nr_blocks(const struct replay *r, const struct event *e)
{
	uint32_t block = r->w->disks[e->dev].block;

	return (e->len + block - 1) / block;
}

/* Block @b of a write, cut off where the device has been made shorter since. */
static size_t block_range(const struct replay *r, const struct event *e, uint64_t b, uint64_t *off)
{
	uint32_t block = r->w->disks[e->dev].block;
	uint64_t size = r->disks[e->dev].size, end;

	*off = e->off + b * block;
	end = *off + block < e->off + e->len ? *off + block : e->off + e->len;
	if (end > size)
		end = size;
	return end > *off ? end - *off : 0;
}

uint64_t dmfmt_world_pending(const struct dmfmt_world *w, uint64_t nr_writes)
{
	struct replay r;
	uint64_t nr = 0;
	size_t i;

	if (replay_begin(&r, w))
		return 0;
	replay_to(&r, nr_writes);
	for (i = 0; i < r.nr_pending; i++)
		nr += nr_blocks(&r, &w->events[r.pending[i]]);
	replay_free(&r);
	return nr;
}

int dmfmt_world_state(const struct dmfmt_world *w, uint64_t nr_writes, const uint8_t *subset,
		      unsigned id, void **buf, uint64_t *size)
{
	struct replay r;
	uint64_t bit = 0, b, off;
	size_t i, len;

	if (id >= w->nr_disks)
		return -EINVAL;
	if (replay_begin(&r, w))
		return -ENOMEM;
	replay_to(&r, nr_writes);
	for (i = 0; i < r.nr_pending; i++) {
		const struct event *e = &w->events[r.pending[i]];

		for (b = 0; b < nr_blocks(&r, e); b++, bit++) {
			if (e->dev != id || !(subset[bit / 8] >> bit % 8 & 1))
				continue;
			len = block_range(&r, e, b, &off);
			memcpy(r.disks[id].base + off, e->data + (off - e->off), len);
		}
	}
	*size = r.disks[id].size;
	*buf = r.disks[id].base;
	r.disks[id].base = NULL;
	replay_free(&r);
	return 0;
}

/* ---- every state worth trying ---------------------------------------------------------------- */

/*
 * What matters of a subset is, for each block, the last version in it.  So a state is one choice
 * per block, among contents that differ; a block whose versions all equal what is durable is no
 * choice.  The size of a device that has grown since its last flush is one more.
 */
struct version {
	unsigned dev;
	uint64_t off;
	size_t len;
	const uint8_t *data;	/* NULL: what is durable */
	size_t order;
};

struct choice {
	const struct version *options;
	size_t nr;		/* options; option 0 is what is durable */
	size_t last;		/* the option that persists if everything does */
	size_t now;
};

struct states {
	struct replay r;
	struct version *versions;
	struct choice *choices;
	size_t nr_versions, nr_choices;
	void **bufs;		/* what the callback gets */
	uint64_t *sizes;
	uint64_t random;
	int64_t count;
	int (*fn)(void *arg, uint64_t nr_writes, void **bufs, const uint64_t *sizes,
		  unsigned nr_devs);
	void *arg;
};

static int by_place(const void *a, const void *b)
{
	const struct version *x = a, *y = b;

	if (x->dev != y->dev)
		return x->dev < y->dev ? -1 : 1;
	if (x->off != y->off)
		return x->off < y->off ? -1 : 1;
	return (x->order > y->order) - (x->order < y->order);
}

static bool same_content(const struct states *s, const struct version *a, const struct version *b)
{
	const uint8_t *base = s->r.disks[a->dev].base;
	const uint8_t *x = a->data ? a->data : base + a->off;
	const uint8_t *y = b->data ? b->data : base + b->off;
	size_t len = a->len < b->len ? a->len : b->len;

	return !memcmp(x, y, len);
}

/* Every pending block, and once per place the durable content before its versions. */
static int list_versions(struct states *s)
{
	const struct dmfmt_world *w = s->r.w;
	struct version *v;
	size_t i, n = 0;
	uint64_t b;

	for (i = 0; i < s->r.nr_pending; i++)
		n += 2 * nr_blocks(&s->r, &w->events[s->r.pending[i]]);
	free(s->versions);
	s->versions = v = calloc(n + 1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	n = 0;
	for (i = 0; i < s->r.nr_pending; i++) {
		const struct event *e = &w->events[s->r.pending[i]];

		for (b = 0; b < nr_blocks(&s->r, e); b++) {
			v[n].len = block_range(&s->r, e, b, &v[n].off);
			if (!v[n].len)
				continue;
			v[n].dev = e->dev;
			v[n].order = i + 1;
			v[n].data = e->data + (v[n].off - e->off);
			v[n + 1] = v[n];
			v[n + 1].order = 0;
			v[n + 1].data = NULL;
			n += 2;
		}
	}
	qsort(v, n, sizeof(*v), by_place);
	s->nr_versions = n;
	return 0;
}

/* Keep the options of one place, versions [i, end), that differ; false if there is no choice. */
static bool make_choice(struct states *s, size_t i, size_t end, struct choice *c)
{
	struct version *o = &s->versions[i];
	size_t k, j;

	c->options = o;
	c->nr = 1;
	c->last = c->now = 0;
	for (k = i + 1; k < end; k++) {
		for (j = 0; j < c->nr && !same_content(s, &o[j], &s->versions[k]); j++)
			;
		if (j == c->nr)
			o[c->nr++] = s->versions[k];
		c->last = j;
	}
	return c->nr > 1;
}

static int list_choices(struct states *s)
{
	size_t i, end;
	unsigned dev;
	int err;

	err = list_versions(s);
	if (err)
		return err;
	free(s->choices);
	s->choices = calloc(s->nr_versions + s->r.w->nr_disks + 1, sizeof(*s->choices));
	if (!s->choices)
		return -ENOMEM;
	s->nr_choices = 0;
	for (i = 0; i < s->nr_versions; i = end) {
		for (end = i + 1; end < s->nr_versions &&
		     s->versions[end].dev == s->versions[i].dev &&
		     s->versions[end].off == s->versions[i].off; end++)
			;
		if (make_choice(s, i, end, &s->choices[s->nr_choices]))
			s->nr_choices++;
	}
	for (dev = 0; dev < s->r.w->nr_disks; dev++)
		if (s->r.disks[dev].flushed_size < s->r.disks[dev].size)
			s->choices[s->nr_choices++] = (struct choice){ .nr = 2, .last = 1 };
	return 0;
}

/* Build the state of the present choices and hand it out. */
static int try_state(struct states *s)
{
	const struct dmfmt_world *w = s->r.w;
	const struct choice *c = s->choices;
	unsigned dev;
	size_t i;
	int ret;

	for (dev = 0; dev < w->nr_disks; dev++) {
		memcpy(s->bufs[dev], s->r.disks[dev].base, w->disks[dev].room);
		s->sizes[dev] = s->r.disks[dev].flushed_size;
	}
	for (i = 0; i < s->nr_choices && c[i].options; i++) {
		const struct version *v = &c[i].options[c[i].now];

		if (!v->data)
			continue;
		memcpy((uint8_t *)s->bufs[v->dev] + v->off, v->data, v->len);
		if (s->sizes[v->dev] < v->off + v->len)
			s->sizes[v->dev] = v->off + v->len;
	}
	for (dev = 0; dev < w->nr_disks; dev++)
		if (s->r.disks[dev].flushed_size < s->r.disks[dev].size && c[i++].now)
			s->sizes[dev] = s->r.disks[dev].size;
	s->count++;
	ret = s->fn(s->arg, s->r.nr_writes, s->bufs, s->sizes, w->nr_disks);
	return ret > 0 ? -ret : ret;
}

static int try_all(struct states *s)
{
	size_t i;
	int ret;

	for (i = 0; i < s->nr_choices; i++)
		s->choices[i].now = 0;
	do {
		ret = try_state(s);
		for (i = 0; i < s->nr_choices && ++s->choices[i].now == s->choices[i].nr; i++)
			s->choices[i].now = 0;
	} while (!ret && i < s->nr_choices);
	return ret;
}

static uint64_t next_random(struct states *s)
{
	s->random += UINT64_C(0x9e3779b97f4a7c15);
	s->random ^= s->random >> 31;
	s->random *= UINT64_C(0xd6e8feb86659fd93);
	return s->random ^ s->random >> 29;
}

/* Everything or nothing persists, but for one block, which takes each of its contents. */
static int try_each_alone(struct states *s, bool rest)
{
	size_t i, k;
	int ret;

	for (i = 0; i < s->nr_choices; i++)
		s->choices[i].now = rest ? s->choices[i].last : 0;
	ret = try_state(s);
	for (i = 0; i < s->nr_choices && !ret; i++) {
		size_t usual = s->choices[i].now;

		for (k = 0; k < s->choices[i].nr && !ret; k++) {
			s->choices[i].now = k;
			if (k != usual)
				ret = try_state(s);
		}
		s->choices[i].now = usual;
	}
	return ret;
}

static int try_some(struct states *s, unsigned sampled)
{
	size_t i;
	int ret;

	ret = try_each_alone(s, false);
	if (!ret)
		ret = try_each_alone(s, true);
	while (!ret && sampled--) {
		for (i = 0; i < s->nr_choices; i++)
			s->choices[i].now = next_random(s) % s->choices[i].nr;
		ret = try_state(s);
	}
	return ret;
}

static bool are_few(const struct states *s, unsigned exhaustive_bits)
{
	uint64_t limit = exhaustive_bits < 63 ? UINT64_C(1) << exhaustive_bits : UINT64_MAX;
	uint64_t nr = 1;
	size_t i;

	for (i = 0; i < s->nr_choices; i++) {
		if (nr > limit / s->choices[i].nr)
			return false;
		nr *= s->choices[i].nr;
	}
	return true;
}

static void states_free(struct states *s)
{
	unsigned i;

	for (i = 0; s->bufs && i < s->r.w->nr_disks; i++)
		free(s->bufs[i]);
	free(s->bufs);
	free(s->sizes);
	free(s->versions);
	free(s->choices);
	replay_free(&s->r);
}

static int states_begin(struct states *s, const struct dmfmt_world *w)
{
	unsigned i;

	if (replay_begin(&s->r, w))
		return -ENOMEM;
	s->bufs = calloc(w->nr_disks + 1, sizeof(*s->bufs));
	s->sizes = calloc(w->nr_disks + 1, sizeof(*s->sizes));
	for (i = 0; s->bufs && i < w->nr_disks; i++) {
		s->bufs[i] = malloc(w->disks[i].room);
		if (!s->bufs[i])
			break;
	}
	if (s->bufs && s->sizes && i == w->nr_disks)
		return 0;
	states_free(s);
	return -ENOMEM;
}

static uint64_t logged_writes(const struct dmfmt_world *w)
{
	uint64_t nr = 0;
	size_t i;

	for (i = 0; i < w->nr_events; i++)
		nr += w->events[i].kind == EVENT_WRITE;
	return nr;
}

int64_t dmfmt_world_each_state(const struct dmfmt_world *w, unsigned exhaustive_bits,
			       unsigned sampled, uint64_t seed,
			       int (*fn)(void *arg, uint64_t nr_writes, void **bufs,
					 const uint64_t *sizes, unsigned nr_devs),
			       void *arg)
{
	struct states s = { .random = seed, .fn = fn, .arg = arg };
	uint64_t nr, total = logged_writes(w);
	int ret;

	ret = states_begin(&s, w);
	if (ret)
		return ret;
	for (nr = 0; nr <= total && !ret; nr++) {
		replay_to(&s.r, nr);
		ret = list_choices(&s);
		if (!ret)
			ret = are_few(&s, exhaustive_bits) ? try_all(&s) : try_some(&s, sampled);
	}
	states_free(&s);
	return ret ? ret : s.count;
}
