// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Replay of the crash rig: every state that a power cut could leave, judged by the model.
 *
 *	replay [OPTION]... RECORD
 *	  --per-cut N		states tried at one moment (24)
 *	  --only SCENARIO	look at no other
 *	  --seed N		of the choice where there are more (1)
 *	  --fault NAME		plant a fault first (replay.h); exit status 8 if that is not possible
 *	  --emit FILE		write states for a guest to activate (rig.h)
 *	  --max N		at most that many (all)
 *	  --quiet		counts only
 *
 * A device keeps what was acknowledged before a flush began that was acknowledged itself.  Of all other
 * writes that have reached it each logical block may be there or not, acknowledged or not.  A moment is
 * looked at when a write has arrived (there are more states then) and when the workload has learnt
 * something (less is allowed then).
 *
 * Prints for each scenario and rule "@violations SCENARIO RULE COUNT", for each scenario
 * "@states SCENARIO COUNT invalid COUNT blank COUNT stale COUNT harmful COUNT", at the end
 * "@total COUNT", and with --emit "@emitted COUNT harmful COUNT".
 * Exit status: 0 no violations, 4 violations, 8 trouble, 16 wrong usage.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "replay.h"

struct pending {
	uint32_t dev;
	uint64_t id, offset, length, done;	/* done: number of the event, 0: not yet */
	const uint8_t *data;
};

struct flush {
	uint64_t id, issued;
};

/* one logical block of a pending write */
struct bit {
	size_t write;
	uint64_t at, len;
	bool in;
};

struct rule_count {
	char scenario[64], rule[32];
	uint64_t nr;
};

/* strata of the sample that a guest activates */
enum { S_VALID, S_BLANK, S_INVALID, S_STALE, S_MERGE, STRATA };
static const unsigned share[STRATA] = { 40, 8, 8, 26, 18 };

struct replay {
	struct record rec;
	struct model m;
	struct judge *j;
	uint8_t *durable[RIG_DEVICES], *disks[RIG_DEVICES];
	struct pending *w;
	size_t nr_w, room_w;
	struct flush flushes[256];
	size_t nr_flushes;
	struct bit *bits;
	size_t nr_bits, room_bits;
	size_t now;		/* number of the event at hand, from 1 */

	uint64_t *seen, nr_seen, room_seen;	/* hashes, open addressing */
	uint64_t random, epoch;
	struct rule_count counts[256];
	size_t nr_counts;
	uint64_t states, class_states[3], stale_states, harmful_states, total;

	/* emitting */
	bool emitting;
	FILE *out;
	uint64_t items[STRATA], max, emitted, emitted_harmful, quota_seen[STRATA];
	uint8_t *kinds;		/* of each item, STRATA: of no use */
	size_t nr_kinds, room_kinds, kind_at;
	uint8_t *last[RIG_SLOTS][2];
	uint64_t last_geometry[RIG_SLOTS];
};

static unsigned per_cut = 24;
static uint64_t seed = 1;
static bool quiet;
static const char *only;

/* ---- what a state is ------------------------------------------------------------------------- */

static uint64_t next_random(struct replay *r)
{
	r->random += 0x9e3779b97f4a7c15ull;
	return rig_mix(r->random);
}

static bool known(struct replay *r, uint64_t hash)
{
	uint64_t i, *old = r->seen, nr = r->room_seen;

	if (2 * (r->nr_seen + 1) > r->room_seen) {
		r->room_seen = nr ? 2 * nr : 65536;
		r->seen = must_alloc(r->room_seen * sizeof(*r->seen));
		r->nr_seen = 0;
		for (i = 0; i < nr; i++)
			if (old[i])
				known(r, old[i]);
		free(old);
	}
	hash |= !hash;
	for (i = hash % r->room_seen; r->seen[i]; i = (i + 1) % r->room_seen)
		if (r->seen[i] == hash)
			return true;
	r->seen[i] = hash;
	r->nr_seen++;
	return false;
}

static uint64_t hash_slice(const struct replay *r, uint64_t h, const struct slice *s)
{
	return rig_hash(h, r->disks[s->dev] + s->start * RIG_SECTOR, s->sectors * RIG_SECTOR);
}

static uint64_t hash_state(const struct replay *r)
{
	uint64_t h = rig_hash(7, r->m.scenario, sizeof(r->m.scenario));
	unsigned k;

	h = hash_slice(r, h, &r->m.origin);
	for (k = 0; k < MAX_STORES; k++)
		if (r->m.stores[k].phase != NONE)
			h = hash_slice(r, h ^ k, &r->m.stores[k].at);
	return h;
}

/* ---- verdicts -------------------------------------------------------------------------------- */

static void violated(void *arg, const char *rule, const char *text)
{
	struct replay *r = arg;
	struct rule_count *c;
	size_t i;

	for (i = 0; i < r->nr_counts; i++)
		if (!strcmp(r->counts[i].scenario, r->m.scenario) && !strcmp(r->counts[i].rule, rule))
			break;
	if (i == sizeof(r->counts) / sizeof(*r->counts))
		die("too many kinds of violations");
	c = &r->counts[i];
	if (i == r->nr_counts) {
		r->nr_counts++;
		snprintf(c->scenario, sizeof(c->scenario), "%s", r->m.scenario);
		snprintf(c->rule, sizeof(c->rule), "%s", rule);
		c->nr = 0;
	}
	if (c->nr++ < 3 && !quiet)
		printf("replay: %s: event %zu: %s: %s\n", r->m.scenario, r->now, rule, text);
}

static bool area_pending(const struct replay *r)
{
	size_t i;

	for (i = 0; i < r->nr_w; i++)
		if (store_of_area(&r->m, r->w[i].dev, r->w[i].offset, r->w[i].length))
			return true;
	return false;
}

/* ---- states for guests ----------------------------------------------------------------------- */

static void write_out(struct replay *r, const void *p, size_t len)
{
	if (fwrite(p, len, 1, r->out) != 1)
		die("--emit: %s", strerror(errno));
}

static uint64_t diff(struct replay *r, uint8_t *last, unsigned cow, const uint8_t *image,
		     uint64_t sectors, bool write)
{
	struct rig_change c = { .cow = cow };
	uint64_t i, nr = 0;

	for (i = 0; i < sectors; i++) {
		const uint8_t *p = image + i * RIG_SECTOR;
		uint8_t *q = last + i * RIG_SECTOR;

		if (!memcmp(p, q, RIG_SECTOR))
			continue;
		nr++;
		if (!write)
			continue;
		c.sector = i;
		write_out(r, &c, sizeof(c));
		write_out(r, p, RIG_SECTOR);
		memcpy(q, p, RIG_SECTOR);
	}
	return nr;
}

static void emit(struct replay *r, const struct store *s, const struct decoded *d)
{
	const uint8_t *origin = r->disks[r->m.origin.dev] + r->m.origin.start * RIG_SECTOR;
	const uint8_t *cow = r->disks[s->at.dev] + s->at.start * RIG_SECTOR;
	struct rig_state x = {
		.magic = RIG_STATES_MAGIC, .class = d->class, .slot = s - r->m.stores,
		.chunk_sectors = s->chunk, .overflow = s->po,
		.origin_sectors = r->m.origin.sectors, .cow_sectors = s->at.sectors,
		.hash = rig_hash(0, d->content, r->m.origin.sectors * RIG_SECTOR),
		.nr_spare = d->nr_spare, .entries = d->entries, .stale = d->stale,
		.merge = s->phase == MERGING || s->phase == MERGED || r->emitted % 8 == 0,
		.number = ++r->emitted,
	};
	uint8_t **last = r->last[x.slot];
	uint64_t geometry = rig_mix(x.origin_sectors << 32 ^ x.cow_sectors << 8 ^ x.chunk_sectors) | 1;

	r->emitted_harmful += d->harmful;
	memcpy(x.spare, d->spare, sizeof(x.spare));
	x.fresh = geometry != r->last_geometry[x.slot];
	r->last_geometry[x.slot] = geometry;
	if (x.fresh) {
		memset(last[0], 0, RIG_DEVICE_BYTES);
		memset(last[1], 0, RIG_DEVICE_BYTES);
	}
	x.nr_changes = diff(r, last[0], 0, origin, x.origin_sectors, false) +
		       diff(r, last[1], 1, cow, x.cow_sectors, false);
	write_out(r, &x, sizeof(x));
	diff(r, last[0], 0, origin, x.origin_sectors, true);
	diff(r, last[1], 1, cow, x.cow_sectors, true);
}

static unsigned stratum(const struct store *s, const struct decoded *d)
{
	if (d->class == RIG_BLANK)
		return S_BLANK;
	if (d->class == RIG_INVALID)
		return S_INVALID;
	if (d->harmful)
		return S_STALE;
	return s->phase == MERGING || s->phase == MERGED ? S_MERGE : S_VALID;
}

static uint64_t quota_of(const struct replay *r, unsigned k)
{
	uint64_t others = 0, q;
	unsigned i;

	if (k != S_VALID)
		return r->max * share[k] / 100;
	/* the plain ones take what the others leave */
	for (i = 0; i < STRATA; i++) {
		q = r->max * share[i] / 100;
		if (i != S_VALID)
			others += q < r->items[i] ? q : r->items[i];
	}
	return r->max - others;
}

/* evenly spread over all items of its stratum */
static bool chosen(struct replay *r, unsigned k)
{
	uint64_t quota = quota_of(r, k), i = r->quota_seen[k]++;

	return !r->max || r->items[k] <= quota ||
	       (i + 1) * quota / r->items[k] != i * quota / r->items[k];
}

static void decode(struct replay *r, const struct store *s, bool torn_possible, struct decoded *d)
{
	judge_decode(r->j, s, r->disks[s->at.dev] + s->at.start * RIG_SECTOR,
		     r->disks[r->m.origin.dev] + r->m.origin.start * RIG_SECTOR, r->m.origin.sectors,
		     torn_possible, d);
}

/* the first pass: what there is */
static void count_item(struct replay *r, const struct store *s, const struct decoded *d)
{
	uint8_t kind = STRATA;

	if (r->nr_kinds == r->room_kinds) {
		r->room_kinds = r->room_kinds ? 2 * r->room_kinds : 16384;
		r->kinds = must_grow(r->kinds, r->room_kinds);
	}
	/* damage: what a target makes of it is not to be compared */
	if (!d->bad[0]) {
		kind = stratum(s, d);
		r->items[kind]++;
		r->class_states[d->class]++;
		r->stale_states += d->stale;
		r->harmful_states += d->harmful;
	}
	r->kinds[r->nr_kinds++] = kind;
}

/* the second pass meets the same items in the same order */
static bool item_is_chosen(struct replay *r)
{
	uint8_t kind = r->kinds[r->kind_at++];

	return kind != STRATA && chosen(r, kind);
}

/* one item per store of the state */
static void take_items(struct replay *r, bool torn_possible)
{
	struct decoded d;
	unsigned k;

	for (k = 0; k < MAX_STORES; k++) {
		const struct store *s = &r->m.stores[k];

		if (s->phase == NONE || (r->emitting && !item_is_chosen(r)))
			continue;
		decode(r, s, torn_possible, &d);
		if (r->emitting)
			emit(r, s, &d);
		else
			count_item(r, s, &d);
	}
}

static void look(struct replay *r)
{
	uint64_t h = hash_state(r);
	bool torn = area_pending(r);

	if (!known(r, h)) {
		r->states++;
		take_items(r, torn);
	}
	if (!r->emitting && !known(r, rig_mix(h ^ r->epoch)))
		judge_state(r->j, &r->m, r->disks, torn, violated, r);
}

/* ---- choosing states ------------------------------------------------------------------------- */

static bool matters(const struct replay *r, const struct pending *w)
{
	unsigned k;

	if (slice_overlaps(&r->m.origin, w->dev, w->offset, w->length))
		return true;
	for (k = 0; k < MAX_STORES; k++)
		if (r->m.stores[k].phase != NONE &&
		    slice_overlaps(&r->m.stores[k].at, w->dev, w->offset, w->length))
			return true;
	return false;
}

static void collect_bits(struct replay *r)
{
	uint64_t off, left;
	size_t i;

	r->nr_bits = 0;
	for (i = 0; i < r->nr_w; i++) {
		if (!matters(r, &r->w[i]))
			continue;
		for (off = 0; off < r->w[i].length; off += r->m.block) {
			if (r->nr_bits == r->room_bits) {
				r->room_bits = r->room_bits ? 2 * r->room_bits : 1024;
				r->bits = must_grow(r->bits, r->room_bits * sizeof(*r->bits));
			}
			left = r->w[i].length - off;
			r->bits[r->nr_bits++] = (struct bit){
				.write = i, .at = off, .len = left < r->m.block ? left : r->m.block,
			};
		}
	}
}

/* build the state that the bits say, look at it, and go back */
static void try_bits(struct replay *r)
{
	size_t i;

	for (i = 0; i < r->nr_bits; i++) {
		const struct bit *b = &r->bits[i];
		const struct pending *w = &r->w[b->write];

		if (b->in)
			memcpy(r->disks[w->dev] + w->offset + b->at, w->data + b->at, b->len);
	}
	look(r);
	for (i = 0; i < r->nr_bits; i++) {
		const struct bit *b = &r->bits[i];
		const struct pending *w = &r->w[b->write];

		memcpy(r->disks[w->dev] + w->offset + b->at,
		       r->durable[w->dev] + w->offset + b->at, b->len);
	}
}

static void set_all(struct replay *r, bool in)
{
	size_t i;

	for (i = 0; i < r->nr_bits; i++)
		r->bits[i].in = in;
}

#define KINDS 7

static void set_write(struct replay *r, size_t write, bool in)
{
	size_t i;

	for (i = 0; i < r->nr_bits; i++)
		if (r->bits[i].write == write)
			r->bits[i].in = in;
}

/* a write to an area that is pending, or @other */
static size_t pending_area(const struct replay *r, size_t other)
{
	size_t i;

	for (i = 0; i < r->nr_bits; i++) {
		const struct pending *w = &r->w[r->bits[i].write];

		if (store_of_area(&r->m, w->dev, w->offset, w->length))
			return r->bits[i].write;
	}
	return other;
}

static void tear(struct replay *r, size_t write)
{
	size_t i;

	for (i = 0; i < r->nr_bits; i++)
		if (r->bits[i].write == write)
			r->bits[i].in = next_random(r) & 1;
}

/* one of the sampled kinds of states */
static void choose(struct replay *r, uint64_t kind)
{
	size_t i, one = r->bits[next_random(r) % r->nr_bits].write;
	unsigned odds = 1 + next_random(r) % 7;

	if (kind < 2) {			/* one write alone, or all but one */
		set_all(r, kind);
		set_write(r, one, !kind);
	} else if (kind < 4) {		/* the same, and torn */
		set_all(r, kind - 2);
		tear(r, one);
	} else if (kind < 5) {		/* a torn area, where there is one */
		set_all(r, true);
		tear(r, pending_area(r, one));
	} else if (kind < 6) {		/* whole writes */
		set_all(r, false);
		for (i = 0; i < r->nr_w; i++)
			set_write(r, i, next_random(r) % 8 < odds);
	} else {			/* any blocks */
		for (i = 0; i < r->nr_bits; i++)
			r->bits[i].in = next_random(r) % 8 < odds;
	}
}

static void cut(struct replay *r)
{
	uint64_t n, i;

	collect_bits(r);
	if (r->nr_bits < 16 && 1u << r->nr_bits <= per_cut) {
		for (n = 0; n < 1u << r->nr_bits; n++) {
			for (i = 0; i < r->nr_bits; i++)
				r->bits[i].in = n >> i & 1;
			try_bits(r);
		}
		return;
	}
	for (n = 0; n < 2; n++) {
		set_all(r, n);
		try_bits(r);
		set_all(r, n);
		set_write(r, r->bits[r->nr_bits - 1].write, !n);	/* the one that has just come */
		try_bits(r);
	}
	for (n = 4; n < per_cut; n++) {
		choose(r, n % KINDS);
		try_bits(r);
	}
}

/* ---- events ---------------------------------------------------------------------------------- */

static void persist(struct replay *r, const struct pending *w)
{
	memcpy(r->durable[w->dev] + w->offset, w->data, w->length);
	memcpy(r->disks[w->dev] + w->offset, w->data, w->length);
}

/* @dev's writes that were acknowledged before @issued, in the order in which they came */
static void flushed(struct replay *r, uint32_t dev, uint64_t issued)
{
	size_t i, k = 0;

	for (i = 0; i < r->nr_w; i++) {
		struct pending *w = &r->w[i];

		if (w->dev == dev && w->done && w->done < issued)
			persist(r, w);
		else
			r->w[k++] = *w;
	}
	r->nr_w = k;
}

static void done(struct replay *r, const struct rig_event *e)
{
	size_t i;

	for (i = 0; i < r->nr_w; i++)
		if (r->w[i].id == e->id)
			r->w[i].done = r->now;
	for (i = 0; i < r->nr_flushes; i++) {
		if (r->flushes[i].id != e->id)
			continue;
		flushed(r, e->dev, r->flushes[i].issued);
		model_flushed(&r->m, e->dev);
		r->flushes[i] = r->flushes[--r->nr_flushes];
		break;
	}
}

static void arrived(struct replay *r, const struct event *ev)
{
	const struct rig_event *e = &ev->e;

	if (e->flags & RIG_FUA)
		die("event %zu: FUA, expected flushes only", r->now);
	if (e->offset > RIG_DEVICE_BYTES || e->length > RIG_DEVICE_BYTES - e->offset)
		die("event %zu: past the end of the device", r->now);
	if (r->nr_w == r->room_w) {
		r->room_w = r->room_w ? 2 * r->room_w : 256;
		r->w = must_grow(r->w, r->room_w * sizeof(*r->w));
	}
	r->w[r->nr_w++] = (struct pending){ .dev = e->dev, .id = e->id, .offset = e->offset,
					    .length = e->length, .data = ev->data };
}

static bool wanted(const struct replay *r)
{
	return !only || !strcmp(only, r->m.scenario);
}

static void report_scenario(struct replay *r)
{
	size_t i;

	if (r->emitting)
		return;
	for (i = 0; i < r->nr_counts; i++)
		if (!strcmp(r->counts[i].scenario, r->m.scenario))
			printf("@violations %s %s %" PRIu64 "\n", r->m.scenario, r->counts[i].rule,
			       r->counts[i].nr);
	printf("@states %s %" PRIu64 " invalid %" PRIu64 " blank %" PRIu64 " stale %" PRIu64
	       " harmful %" PRIu64 "\n", r->m.scenario, r->states, r->class_states[RIG_INVALID],
	       r->class_states[RIG_BLANK], r->stale_states, r->harmful_states);
	r->total += r->states;
	r->states = r->stale_states = r->harmful_states = 0;
	memset(r->class_states, 0, sizeof(r->class_states));
}

static void marked(struct replay *r, const char *text)
{
	bool was = r->m.on;

	if (!strncmp(text, "status ", 7) && !r->emitting && wanted(r))
		printf("@status %s %s\n", r->m.scenario, text + 7);
	if (!strcmp(text, "end") && wanted(r))
		report_scenario(r);
	r->epoch++;
	if (model_mark(&r->m, text) && r->m.on && was && wanted(r))
		cut(r);
}

static void run(struct replay *r)
{
	size_t i;

	r->nr_w = r->nr_flushes = r->epoch = r->nr_seen = 0;
	memset(r->seen, 0, r->room_seen * sizeof(*r->seen));
	r->random = seed;
	for (i = 0; i < RIG_DEVICES; i++) {
		memset(r->durable[i], 0, RIG_DEVICE_BYTES);
		memset(r->disks[i], 0, RIG_DEVICE_BYTES);
	}
	for (r->now = 1; r->now <= r->rec.nr; r->now++) {
		const struct event *ev = &r->rec.ev[r->now - 1];

		switch (ev->e.kind) {
		case RIG_WRITE:
			arrived(r, ev);
			if (r->m.on && wanted(r) && matters(r, &r->w[r->nr_w - 1]))
				cut(r);
			break;
		case RIG_FLUSH:
			if (r->nr_flushes == sizeof(r->flushes) / sizeof(*r->flushes))
				die("event %zu: too many flushes at once", r->now);
			r->flushes[r->nr_flushes++] = (struct flush){ .id = ev->e.id, .issued = r->now };
			break;
		case RIG_DONE:
			done(r, &ev->e);
			break;
		case RIG_MARK:
			marked(r, (const char *)ev->data);
			break;
		default:
			die("event %zu: kind %u, expected 1 to 4", r->now, ev->e.kind);
		}
	}
	if (r->m.on)
		die("the record ends in the middle of scenario %s", r->m.scenario);
	model_free(&r->m);
	memset(&r->m, 0, sizeof(r->m));
}

static uint64_t total_violations(const struct replay *r)
{
	uint64_t sum = 0;
	size_t i;

	for (i = 0; i < r->nr_counts; i++)
		sum += r->counts[i].nr;
	return sum;
}

static void emit_states(struct replay *r, const char *path)
{
	static const uint8_t zeros[4096];
	unsigned i;

	r->emitting = true;
	for (i = 0; i < 2 * RIG_SLOTS; i++)
		r->last[i / 2][i % 2] = must_alloc(RIG_DEVICE_BYTES);
	r->out = fopen(path, "we");
	if (!r->out)
		die("%s: %s", path, strerror(errno));
	run(r);
	/* an end that can be seen on a disk, too */
	write_out(r, zeros, sizeof(zeros));
	if (ftruncate(fileno(r->out), (ftello(r->out) + 4095) / 4096 * 4096) || fclose(r->out))
		die("%s: %s", path, strerror(errno));
	for (i = 0; i < 2 * RIG_SLOTS; i++)
		free(r->last[i / 2][i % 2]);
	printf("@emitted %" PRIu64 " harmful %" PRIu64 "\n", r->emitted, r->emitted_harmful);
}

static uint64_t number(const char *s)
{
	char *end;
	uint64_t n = strtoull(s, &end, 10);

	if (!*s || *end)
		die("%s: not a number", s);
	return n;
}

static const struct option options[] = {
	{ "per-cut", 1, NULL, 'p' }, { "seed", 1, NULL, 's' }, { "fault", 1, NULL, 'f' },
	{ "emit", 1, NULL, 'e' }, { "max", 1, NULL, 'm' }, { "only", 1, NULL, 'o' },
	{ "quiet", 0, NULL, 'q' }, { NULL, 0, NULL, 0 },
};

static void plant(struct replay *r, const char *fault)
{
	long n = record_plant(&r->rec, fault);

	if (n <= 0)
		die("fault %s: %s", fault, n ? "not known" : "finds no place in this record");
	printf("@planted %s %ld\n", fault, n);
}

int main(int argc, char **argv)
{
	static struct replay r;
	const char *fault = NULL, *emit_path = NULL;
	unsigned i;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'p': per_cut = number(optarg); break;
		case 's': seed = number(optarg); break;
		case 'f': fault = optarg; break;
		case 'e': emit_path = optarg; break;
		case 'o': only = optarg; break;
		case 'm': r.max = number(optarg); break;
		case 'q': quiet = true; break;
		default: return 16;
		}
	}
	if (optind != argc - 1 || per_cut < 4) {
		fputs("usage: replay [--per-cut N] [--seed N] [--only SCENARIO] [--fault NAME] "
		      "[--emit FILE [--max N]] [--quiet] RECORD\n",
		      stderr);
		return 16;
	}
	/* the same large buffers come and go for each state */
	mallopt(M_MMAP_THRESHOLD, 1 << 30);
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	record_load(&r.rec, argv[optind]);
	if (fault)
		plant(&r, fault);
	for (i = 0; i < RIG_DEVICES; i++) {
		r.durable[i] = must_alloc(RIG_DEVICE_BYTES);
		r.disks[i] = must_alloc(RIG_DEVICE_BYTES);
	}
	r.j = judge_new();
	run(&r);
	printf("@total %" PRIu64 "\n", r.total);
	if (emit_path)
		emit_states(&r, emit_path);
	for (i = 0; i < RIG_DEVICES; i++) {
		free(r.durable[i]);
		free(r.disks[i]);
	}
	free(r.w);
	free(r.bits);
	free(r.seen);
	free(r.kinds);
	judge_free(r.j);
	record_free(&r.rec);
	return total_violations(&r) ? 4 : 0;
}
