// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * errors [--ours] [--step N] [--only SCENARIO] - a fixed work is done again and again, and each time
 * another I/O of the origin or the COW device fails, until the work ends without meeting the fault
 *
 *	/dev/ram0 under the fault target "forg": the origin
 *	/dev/ram1 under the fault target "fcow": the COW device of the snapshot "snap"
 *	/dev/ram2: the COW device of "other", a second snapshot, for merges
 *
 * A sector that a failed write was for may show what was acknowledged last or what that write (and failed
 * ones after it) carried; everything else is certain.  After each work: what devices show is right, the
 * store is sound or durably invalid, it activates again, goes on, and is right.
 *
 * --step N: only each N-th I/O.  --ours: hold against the reference's rules for our target, not against
 * what upstream's does.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dm.h"
#include "io.h"
#include "store.h"

#define ORIGIN_SECTORS 1024u
#define COW_SECTORS 1144u	/* room for all of the origin, but with the largest chunks */
#define FAILED_MAX 4
#define WORK_OPS 36
#define MARKS 3			/* attempts at the mark of an invalid store that fail */

enum { ORIGIN, SNAP };

struct content {
	uint32_t acked;			/* operation whose data are there */
	uint32_t failed[FAILED_MAX];	/* or those of one of these */
	unsigned int nr_failed;
};

struct fault_state {
	unsigned long matched, failed, reads, writes, flushes, sector;
	char op;
};

static struct {
	bool ours;
	unsigned int step;
	uint32_t chunk;
	const char *store;
	struct dm_dev forg, fcow, org, snap, other;
	char other_cow[24];
	int org_fd, snap_fd, raw_org, raw_cow;
	struct content origin[ORIGIN_SECTORS], view[ORIGIN_SECTORS];
	uint8_t *buf, *expected;
	uint32_t op;
	bool merging;
	struct batch batch;
	/* the fault of this run */
	struct dm_dev *victim;
	bool endless, late;
	unsigned long k;
	const char *scenario;
} e;

static unsigned long nr_runs, nr_hits, nr_invalid, nr_failed_loads, nr_failed_merges;

/* ---- the fault ------------------------------------------------------------------------------- */

static struct fault_state fault_state(struct dm_dev *dev)
{
	struct fault_state f;
	char status[256];

	must(dm_status(dev, status, sizeof(status)), "%s: status", dev->name);
	if (sscanf(status, "%lu %lu %lu %lu %lu %c %lu", &f.matched, &f.failed, &f.reads, &f.writes,
		   &f.flushes, &f.op, &f.sector) != 7)
		fail("%s: status: %s", dev->name, status);
	return f;
}

static void arm(void)
{
	must(dm_message(e.victim, "fail %lu %d rwf%s", e.k, e.endless ? 0 : 1,
			e.late ? " 0 99999999 late" : ""), "%s: message", e.victim->name);
}

static void disarm(void)
{
	must(dm_message(&e.forg, "pass"), "forg: message");
	must(dm_message(&e.fcow, "pass"), "fcow: message");
}

static unsigned long faults(void)
{
	return fault_state(e.victim).failed;
}

/* ---- what is expected ------------------------------------------------------------------------ */

static void written(struct content *c, uint64_t sector, uint64_t nr, bool ok)
{
	for (c += sector; nr--; c++) {
		if (ok) {
			c->acked = e.op;
			c->nr_failed = 0;
		} else if (c->nr_failed < FAILED_MAX) {
			c->failed[c->nr_failed++] = e.op;
		} else {
			fail("more than %d failed writes to one sector", FAILED_MAX);
		}
	}
}

static bool is(const uint8_t *got, uint64_t sector, uint32_t tag)
{
	uint8_t expected[SECTOR];

	fill(expected, sector, 1, tag);
	return !memcmp(got, expected, SECTOR);
}

/* what failed writes left is known from now on */
static void check(const char *what, struct content *c, const uint8_t *got, uint64_t sector, uint64_t nr)
{
	unsigned int i;

	for (c += sector; nr--; c++, sector++, got += SECTOR) {
		if (is(got, sector, c->acked))
			goto known;
		for (i = 0; i < c->nr_failed; i++)
			if (is(got, sector, c->failed[i]))
				break;
		if (i == c->nr_failed)
			fail("%s: sector %lu: found the data of operation %lu, expected %u (and %u that failed)",
			     what, sector, tag_of(got), c->acked, c->nr_failed);
		c->acked = c->failed[i];
known:
		;
	}
}

/* a whole device; it must be readable */
static void check_all(const char *what, int fd, struct content *c)
{
	uint64_t at, i;

	for (at = 0; at < ORIGIN_SECTORS; at += 256) {
		must(sectors_read(fd, e.buf, at, 256), "%s: read at %lu", what, at);
		check(what, c, e.buf, at, 256);
		for (i = at; i < at + 256; i++)
			c[i].nr_failed = 0;
	}
}

/* ---- devices --------------------------------------------------------------------------------- */

static int snap_make(void)
{
	int err = dm_make(&e.snap, "snap", ORIGIN_SECTORS, "snapshot", "%s %s %s %u", e.forg.number,
			  e.fcow.number, e.store, e.chunk);

	if (!err)
		e.snap_fd = open_direct(e.snap.node);
	return err;
}

static void snap_remove(void)
{
	close(e.snap_fd);
	must(dm_remove(&e.snap), "snap: remove");
}

static void org_make(void)
{
	must(dm_make(&e.org, "org", ORIGIN_SECTORS, "snapshot-origin", "%s", e.forg.number), "org");
	e.org_fd = open_direct(e.org.node);
}

static void org_remove(void)
{
	close(e.org_fd);
	must(dm_remove(&e.org), "org: remove");
}

static bool snap_is_invalid(void)
{
	char status[128];

	must(dm_status(&e.snap, status, sizeof(status)), "snap: status");
	return !strcmp(status, "Invalid");
}

/* who waits for an event hears of the invalid snapshot, if not at once */
static void expect_event(void)
{
	uint64_t begun = now_ms();
	uint32_t events;

	for (;;) {
		must(dm_events(&e.snap, &events), "snap: events");
		if (events)
			return;
		if (now_ms() - begun > 5000)
			fail("snap: invalid, and no event");
		usleep(1000);
	}
}

/* fresh content on the origin; the COW device blank, or with an old store under a cleared header */
static void fresh(bool stale)
{
	struct content zero = { 0 };
	uint64_t i;

	fill(e.buf, 0, ORIGIN_SECTORS, 0);
	must(sectors_write(e.raw_org, e.buf, 0, ORIGIN_SECTORS), "ram0: write");
	memset(e.buf, 0, COW_SECTORS * SECTOR);
	for (i = 0; stale && i < 32u * e.chunk; i++) {
		uint64_t entry[2] = { i, i + 2 };

		memcpy(e.buf + e.chunk * SECTOR + 16 * i, entry, 16);
	}
	must(sectors_write(e.raw_cow, e.buf, 0, COW_SECTORS), "ram1: write");
	for (i = 0; i < ORIGIN_SECTORS; i++)
		e.origin[i] = e.view[i] = zero;
	e.op = 0;
	e.merging = false;
	rnd_seed(42);
}

/* ---- operations ------------------------------------------------------------------------------ */

/* who may see an error: nobody before the fault, and the origin's users only if the origin is at fault */
static void judge_error(int which, bool write, int err, unsigned long before)
{
	struct fault_state f = fault_state(e.victim);

	if (!err)
		return;
	if (err != -EIO)
		fail("%s: error %d, expected EIO", which == ORIGIN ? "org" : "snap", err);
	if (!f.failed)
		fail("%s: EIO before any fault", which == ORIGIN ? "org" : "snap");
	if (e.merging || which == SNAP)
		return;
	if (e.victim == &e.fcow)
		fail("org: EIO, but the COW device is at fault");
	if (f.failed == before)
		fail("org: EIO, but nothing failed below");
	/* a read that failed was a copy's */
	if (write && f.op == 'r' && !e.endless)
		fail("org: a write failed because a copy could not read");
}

/* a snapshot's write that fails for the origin's sake leaves the store valid, and so does the origin's own */
static void judge_state(int err, unsigned long before, bool was_invalid)
{
	if (!e.ours || e.endless || was_invalid || e.merging || !err || e.victim != &e.forg ||
	    faults() == before)
		return;
	if (snap_is_invalid())
		fail("snap: invalid after an error of the origin that a writer was told about");
}

static void do_write(int which, uint64_t sector, uint64_t nr)
{
	bool was_invalid = !e.merging && snap_is_invalid();
	unsigned long before = faults();
	int err;

	e.op++;
	fill(e.buf, sector, nr, e.op);
	err = sectors_write(which == ORIGIN ? e.org_fd : e.snap_fd, e.buf, sector, nr);
	note("%u: write %s %lu+%lu: %d", e.op, which == ORIGIN ? "org" : "snap", sector, nr, err);
	judge_error(which, true, err, before);
	judge_state(err, before, was_invalid);
	written(which == ORIGIN && !e.merging ? e.origin : e.view, sector, nr, !err);
}

static void do_read(int which, uint64_t sector, uint64_t nr)
{
	unsigned long before = faults();
	int err = sectors_read(which == ORIGIN ? e.org_fd : e.snap_fd, e.buf, sector, nr);

	note("%u: read %s %lu+%lu: %d", e.op, which == ORIGIN ? "org" : "snap", sector, nr, err);
	judge_error(which, false, err, before);
	if (!err)
		check(which == ORIGIN ? "org" : "snap", which == ORIGIN && !e.merging ? e.origin : e.view,
		      e.buf, sector, nr);
}

static void do_flush(int which)
{
	unsigned long before = faults();
	int err = fdatasync(which == ORIGIN ? e.org_fd : e.snap_fd) ? -errno : 0;

	note("%u: flush %s: %d", e.op, which == ORIGIN ? "org" : "snap", err);
	judge_error(which, false, err, before);
}

/* writes to both devices at once, several to a chunk */
static void do_batch(void)
{
	unsigned long before = faults();
	unsigned int i;

	batch_reset(&e.batch);
	for (i = 0; i < 16; i++) {
		uint8_t *buf = e.buf + i * 4 * SECTOR;
		uint64_t sector = 512 + i / 2 * 8 + (i & 1) * 260;

		e.op++;
		fill(buf, sector, 4, e.op);
		batch_add(&e.batch, i & 1 ? e.snap_fd : e.org_fd, true, buf, sector, 4);
	}
	batch_run(&e.batch);
	e.op -= 16;
	for (i = 0; i < 16; i++) {
		e.op++;
		note("%u: batch: write %s: %d", e.op, i & 1 ? "snap" : "org", e.batch.result[i]);
		judge_error(i & 1 ? SNAP : ORIGIN, true, e.batch.result[i], before);
		written(i & 1 ? e.view : e.origin, 512 + i / 2 * 8 + (i & 1) * 260, 4, !e.batch.result[i]);
	}
}

/* ---- scenario "life": writes and reads of the origin and the snapshot ------------------------ */

static void life_work(void)
{
	unsigned int i;

	for (i = 0; i < WORK_OPS; i++) {
		int which = chance(55) ? ORIGIN : SNAP;
		uint64_t nr = chance(40) ? 8 : 1 + rnd_below(20), sector = rnd_below(500);

		if (chance(40))
			sector &= ~7ul;
		if (i % 9 == 8)
			do_flush(which);
		else if (chance(70))
			do_write(which, sector, nr);
		else
			do_read(which, sector, nr);
	}
	do_batch();
	do_read(SNAP, 500, 100);
}

/* the store's own word about its validity, from the disk */
static bool disk_is_valid(void)
{
	const char *bad;
	struct store st;
	bool valid;

	bad = store_read(&st, e.raw_cow, COW_SECTORS, false);
	if (bad)
		fail("store: %s", bad);
	if (st.blank)
		fail("store: the header is blank");
	valid = st.valid;
	store_free(&st);
	return valid;
}

/* it activates again, shows what it should, and can go on, or it is invalid for good */
static void check_reactivated(bool must_be_invalid)
{
	must(snap_make(), "snap: activated again");
	org_make();
	if (snap_is_invalid() != must_be_invalid)
		fail("snap: %s after it was activated again", must_be_invalid ? "valid" : "invalid");
	e.k = 1u << 30;
	arm();
	if (!must_be_invalid)
		check_all("snap, activated again", e.snap_fd, e.view);
	do_write(ORIGIN, 700, 30);
	if (!must_be_invalid)
		do_write(SNAP, 730, 9);
	check_all("org, activated again", e.org_fd, e.origin);
	if (!must_be_invalid)
		check_all("snap, written to again", e.snap_fd, e.view);
	org_remove();
	snap_remove();
}

static void life_end(void)
{
	bool persistent = e.store[0] == 'P', invalid = snap_is_invalid();

	check_all("org", e.org_fd, e.origin);
	nr_invalid += invalid;
	if (invalid)
		expect_event();
	if (!invalid)
		check_all("snap", e.snap_fd, e.view);
	else if (sectors_read(e.snap_fd, e.buf, 0, 1) != -EIO)
		fail("snap: invalid, and can be read");
	org_remove();
	snap_remove();
	check_all("origin device", e.raw_org, e.origin);
	if (!persistent)
		return;
	/* if no write at all gets through, not even the mark can be made */
	if (invalid && e.endless && e.victim == &e.fcow)
		return;
	if (disk_is_valid() == invalid)
		fail("store: %s on disk, %s when it was in use", invalid ? "valid" : "invalid",
		     invalid ? "invalid" : "valid");
	check_reactivated(invalid);
}

static void run_life(void)
{
	fresh(false);
	must(snap_make(), "snap");
	org_make();
	arm();
	life_work();
	nr_hits = faults();
	disarm();
	life_end();
}

/* ---- scenario "create": a blank COW device is activated -------------------------------------- */

/* the errno of the activation, which may fail only by a fault */
static int make_with_faults(void)
{
	int err;

	arm();
	err = snap_make();
	nr_hits = faults();
	disarm();
	if (err && (err != -EIO || !nr_hits))
		fail("snap: activation: %s", strerror(-err));
	nr_failed_loads += !!err;
	return err;
}

static void run_create(void)
{
	int err;

	/* upstream writes the header first: what lies in the area would be taken for exceptions */
	fresh(e.ours);
	err = make_with_faults();
	if (!err) {
		org_make();
		check_all("snap", e.snap_fd, e.view);
		org_remove();
		snap_remove();
	}
	check_reactivated(false);
}

/* ---- scenario "load": a store with several areas is activated -------------------------------- */

static void run_load(void)
{
	uint64_t sector;
	int err;

	fresh(false);
	must(snap_make(), "snap");
	org_make();
	e.k = e.k | 1ul << 40;			/* nothing fails yet */
	arm();
	for (sector = 0; sector < 300; sector += 60)
		do_write(sector % 120 ? SNAP : ORIGIN, sector, 40);
	org_remove();
	snap_remove();
	e.k &= ~(1ul << 40);
	err = make_with_faults();
	/* what failed may have been read in advance, beyond the end: then the content is right */
	if (!err) {
		check_all("snap, activated over a fault", e.snap_fd, e.view);
		snap_remove();
	}
	check_reactivated(false);
}

/* ---- scenario "merge" ------------------------------------------------------------------------ */

static void other_make(void)
{
	must(dm_make(&e.other, "other", ORIGIN_SECTORS, "snapshot", "%s %s P 8", e.forg.number, e.other_cow),
	     "other");
}

static void merge_make(void)
{
	must(dm_make(&e.org, "org", ORIGIN_SECTORS, "snapshot-merge", "%s %s P %u", e.forg.number,
		     e.fcow.number, e.chunk), "merge");
	e.org_fd = open_direct(e.org.node);
}

/* 1 ended, 0 at work, -1 failed */
static int merge_state(void)
{
	uint64_t used, total, metadata;
	char status[128];

	must(dm_status(&e.org, status, sizeof(status)), "merge: status");
	if (!strcmp(status, "Merge failed"))
		return -1;
	if (sscanf(status, "%lu/%lu %lu", &used, &total, &metadata) != 3)
		fail("merge: status: %s", status);
	return used == metadata;
}

static int merge_wait(void)
{
	uint64_t begun = now_ms();
	int state;

	while (!(state = merge_state())) {
		if (now_ms() - begun > 30000)
			fail("merge: does not come to an end");
		usleep(2000);
	}
	return state;
}

/* exceptions in runs and alone, some in the origin only, and a second snapshot that must not change */
static void merge_prepare(void)
{
	static const uint16_t at[] = { 0, 40, 72, 160, 168, 176, 300, 511, 640, 700, 1000 };
	uint8_t head[8 * SECTOR] __attribute__((aligned(4096))) = { 0 };
	size_t i;
	int fd;

	fresh(false);
	fd = open_direct("/dev/ram2");
	must(sectors_write(fd, head, 0, 8), "ram2: clear");
	close(fd);
	must(snap_make(), "snap");
	org_make();
	e.k |= 1ul << 40;
	arm();
	for (i = 0; i < ARRAY_SIZE(at); i++)
		do_write(i % 3 == 1 ? ORIGIN : SNAP, at[i], 12);
	check_all("snap", e.snap_fd, e.view);
	org_remove();
	snap_remove();
	e.k &= ~(1ul << 40);
}

static void check_other(const struct content *c)
{
	struct content *before = malloc(sizeof(e.origin));
	char status[128];
	int fd;

	memcpy(before, c, sizeof(e.origin));
	must(dm_status(&e.other, status, sizeof(status)), "other: status");
	if (strcmp(status, "Invalid")) {
		fd = open_direct(e.other.node);
		check_all("other", fd, before);
		close(fd);
	} else if (!nr_hits) {
		fail("other: invalid, and nothing has failed");
	}
	free(before);
}

static void run_merge(void)
{
	struct content *before = malloc(sizeof(e.origin));
	int state;

	merge_prepare();
	memcpy(before, e.origin, sizeof(e.origin));
	other_make();
	arm();
	e.merging = true;
	/* the first area is read when the table is loaded */
	if (dm_make(&e.org, "org", ORIGIN_SECTORS, "snapshot-merge", "%s %s P %u", e.forg.number,
		    e.fcow.number, e.chunk)) {
		nr_hits = faults();
		if (!nr_hits)
			fail("merge: refused, and nothing has failed");
		nr_failed_loads++;
		disarm();
	} else {
		e.org_fd = open_direct(e.org.node);
		do_write(ORIGIN, 164, 2);
		do_read(ORIGIN, 290, 40);
		do_write(ORIGIN, 900, 8);
		state = merge_wait();
		nr_hits = faults();
		disarm();
		if (state < 0 && !nr_hits)
			fail("merge: failed, and no device has");
		nr_failed_merges += state < 0;
		org_remove();
	}
	check_other(before);
	/* all that is left is merged by another attempt */
	merge_make();
	check_all("merge, activated again", e.org_fd, e.view);
	if (merge_wait() < 0)
		fail("merge: failed again, without a fault");
	check_all("merged", e.org_fd, e.view);
	check_other(before);
	org_remove();
	must(dm_remove(&e.other), "other: remove");
	check_all("origin device", e.raw_org, e.view);
	if (!disk_is_valid())
		fail("store: invalid after a merge");
	free(before);
}

/* ---- scenario "mark": the store is full, and the mark that says so fails --------------------- */

/* the header's writes fail, some times or for ever; the writer is told, the store is invalid for good */
static void run_mark(void)
{
	int which = e.late ? SNAP : ORIGIN;		/* who fills it up */
	uint64_t sector;

	fresh(false);
	must(snap_make(), "snap");
	org_make();
	must(dm_message(&e.fcow, "fail 0 %lu w 0 %u", e.endless ? 0 : e.k + 1, e.chunk), "fcow: message");
	for (sector = 0; sector < ORIGIN_SECTORS && !snap_is_invalid(); sector += e.chunk)
		do_write(which, sector, 1);
	nr_hits = faults();
	if (!snap_is_invalid())
		fail("snap: never became full");
	expect_event();
	do_write(ORIGIN, 3, 17);
	check_all("org", e.org_fd, e.origin);
	disarm();
	org_remove();
	snap_remove();
	nr_invalid++;
	if (!e.endless && disk_is_valid())
		fail("store: valid on disk although it lacks exceptions");
	nr_hits = !e.endless && e.k < MARKS - 1;
}

/* ---- all of them ----------------------------------------------------------------------------- */

static const struct scenario {
	const char *name;
	void (*run)(void);
	uint32_t chunk;
	const char *store;
	bool origin, cow;		/* whose I/O fails */
	bool with_late, with_endless;
	bool ours_only;			/* a known defect of upstream */
	bool each;			/* whatever the step is */
} scenarios[] = {
	{ "create", run_create, 8, "P", false, true, true, true, false, true },
	{ "load", run_load, 1, "P", false, true, false, true, false, false },
	{ "life", run_life, 8, "P", true, true, true, true, false, false },
	{ "life-small", run_life, 2, "PO", true, true, false, false, false, false },
	{ "life-transient", run_life, 8, "N", true, true, false, true, false, false },
	{ "merge", run_merge, 8, "P", true, true, true, true, false, false },
	{ "mark", run_mark, 64, "P", false, true, true, true, true, true },
};

static unsigned long run_all_k(const struct scenario *s, struct dm_dev *victim, bool late, bool endless)
{
	unsigned long k, hits = 0;

	for (k = 0; ; k += s->each ? 1 : endless ? e.step * 4 : e.step) {
		e.chunk = s->chunk;
		e.store = s->store;
		e.victim = victim;
		e.late = late;
		e.endless = endless;
		e.k = k;
		e.scenario = s->name;
		note("---- %s: I/O %lu of %s fails%s%s", s->name, k, victim->name,
		     late ? " after it was done" : "", endless ? ", and all after it" : "");
		nr_hits = 0;
		s->run();
		nr_runs++;
		hits += !!nr_hits;
		if (!nr_hits)
			return hits;
	}
}

static void run_scenario(const struct scenario *s)
{
	struct dm_dev *victims[] = { s->origin ? &e.forg : NULL, s->cow ? &e.fcow : NULL };
	unsigned long begun = now_ms(), hits = 0, runs = nr_runs;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(victims); i++) {
		if (!victims[i])
			continue;
		hits += run_all_k(s, victims[i], false, false);
		if (s->with_late)
			hits += run_all_k(s, victims[i], true, false);
		if (s->with_endless)
			hits += run_all_k(s, victims[i], false, true);
	}
	printf("errors: %s: %lu runs, %lu with a fault, in %lu ms\n", s->name, nr_runs - runs, hits,
	       now_ms() - begun);
	printf("@say %s faults %lu\n", s->name, hits);
}

static void set_up(void)
{
	char number[24];

	e.buf = pages(COW_SECTORS * SECTOR + 4096);
	must(dm_number("/dev/ram0", number, sizeof(number)), "/dev/ram0");
	must(dm_make(&e.forg, "forg", ORIGIN_SECTORS, "dmfmt-fault", "%s", number), "forg");
	must(dm_number("/dev/ram1", number, sizeof(number)), "/dev/ram1");
	must(dm_make(&e.fcow, "fcow", COW_SECTORS, "dmfmt-fault", "%s", number), "fcow");
	must(dm_number("/dev/ram2", e.other_cow, sizeof(e.other_cow)), "/dev/ram2");
	e.raw_org = open_direct("/dev/ram0");
	e.raw_cow = open_direct("/dev/ram1");
	batch_init(&e.batch, 16);
}

static void tear_down(void)
{
	close(e.raw_org);
	close(e.raw_cow);
	must(dm_remove(&e.forg), "forg: remove");
	must(dm_remove(&e.fcow), "fcow: remove");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "ours", no_argument, NULL, 'o' }, { "step", required_argument, NULL, 's' },
		{ "only", required_argument, NULL, 'n' }, { "verbose", no_argument, NULL, 'v' },
		{ NULL, 0, NULL, 0 },
	};
	const char *only = NULL;
	size_t i;
	int c;

	setvbuf(stdout, NULL, _IOLBF, 0);
	e.step = 1;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'o': e.ours = true; break;
		case 's': e.step = (unsigned int)strtoul(optarg, NULL, 0); break;
		case 'n': only = optarg; break;
		case 'v': notes_shown = true; break;
		default: return 2;
		}
	}
	if (!e.step)
		return 2;
	set_up();
	for (i = 0; i < ARRAY_SIZE(scenarios); i++) {
		if (only && strcmp(only, scenarios[i].name))
			continue;
		if (!scenarios[i].ours_only || e.ours)
			run_scenario(&scenarios[i]);
	}
	tear_down();
	printf("@say errors runs %lu\n@say errors invalid %lu\n@say errors loads %lu\n@say errors merges %lu\n",
	       nr_runs, nr_invalid, nr_failed_loads, nr_failed_merges);
	return 0;
}
