// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * smp [--seconds N] [--seed N] [--threads N] - many threads on an origin and three snapshots, while these
 * are suspended, reloaded, removed, created and merged
 *
 *	/dev/ram0	the origin; /dev/ram1..3: COW devices with room for all of it
 *
 * A block of 4 KiB of any device belongs to one thread, which alone writes it and knows what must be in
 * it; chunks are larger, so that threads meet in them.  A block of a snapshot that is created while its
 * thread writes to the origin may hold what was there at any time between begin and end of the creation;
 * the first read decides, and from then on it must stay so.  Data carry the number of the write, which
 * grows.
 */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dm.h"
#include "io.h"
#include "store.h"

#define BLOCKS 768u
#define BLOCK_SECTORS 8u
#define ORIGIN_SECTORS (BLOCKS * BLOCK_SECTORS)
#define COW_SECTORS (2 * ORIGIN_SECTORS)
#define SNAPSHOTS 3
#define DEVICES (1 + SNAPSHOTS)		/* 0 is the origin */
#define THREADS_MAX 16

/* what a block holds: the data of a write with a number from @low to @high */
struct cell {
	uint64_t low, high;
	uint64_t issued;		/* the origin's: the newest write that was begun */
};

struct device {
	pthread_rwlock_t lock;		/* held for writing while the device or its content is another */
	bool there;
	int fd;
	struct dm_dev dev;
	struct cell cell[BLOCKS];
	const char *store;
	uint32_t chunk;
	unsigned int generation;
	char cow[24];
};

static struct {
	struct device d[DEVICES];
	char base[24];
	unsigned int threads;
	bool stop;
	uint64_t number;		/* of the last write */
	uint64_t seed;
	unsigned long reads, writes, suspends, reloads, creations, removals, merges;
} t;

/* ---- the threads ----------------------------------------------------------------------------- */

static uint64_t next_number(void)
{
	return __atomic_add_fetch(&t.number, 1, __ATOMIC_SEQ_CST);
}

static void set(uint64_t *where, uint64_t value)
{
	__atomic_store_n(where, value, __ATOMIC_SEQ_CST);
}

static uint64_t get(const uint64_t *where)
{
	return __atomic_load_n(where, __ATOMIC_SEQ_CST);
}

static void check_block(struct device *d, unsigned int block, const uint8_t *got)
{
	struct cell *c = &d->cell[block];
	uint8_t expected[BLOCK_SECTORS * SECTOR];
	uint64_t tag = tag_of(got);

	fill(expected, block * BLOCK_SECTORS, BLOCK_SECTORS, tag);
	if (tag < c->low || tag > c->high || memcmp(got, expected, sizeof(expected)))
		fail("%s: block %u: found the data of write %lu%s, expected one of %lu to %lu", d->dev.name,
		     block, tag, memcmp(got, expected, sizeof(expected)) ? " and others" : "", c->low,
		     c->high);
	set(&c->low, tag);
	set(&c->high, tag);
}

static void write_block(struct device *d, unsigned int block, uint8_t *buf)
{
	struct cell *c = &d->cell[block];
	uint64_t number = next_number();

	fill(buf, block * BLOCK_SECTORS, BLOCK_SECTORS, number);
	set(&c->issued, number);
	must(sectors_write(d->fd, buf, block * BLOCK_SECTORS, BLOCK_SECTORS), "%s: write of block %u",
	     d->dev.name, block);
	set(&c->high, number);
	set(&c->low, number);
	__atomic_add_fetch(&t.writes, 1, __ATOMIC_RELAXED);
}

static void read_block(struct device *d, unsigned int block, uint8_t *buf)
{
	must(sectors_read(d->fd, buf, block * BLOCK_SECTORS, BLOCK_SECTORS), "%s: read of block %u",
	     d->dev.name, block);
	check_block(d, block, buf);
	__atomic_add_fetch(&t.reads, 1, __ATOMIC_RELAXED);
}

static void *work(void *arg)
{
	unsigned int me = (unsigned int)(uintptr_t)arg;
	uint8_t *buf = pages(BLOCK_SECTORS * SECTOR);

	rnd_seed(t.seed * 64 + me);
	while (!__atomic_load_n(&t.stop, __ATOMIC_RELAXED)) {
		struct device *d = &t.d[chance(40) ? 0 : rnd_below(DEVICES)];
		unsigned int block = (unsigned int)rnd_below(BLOCKS / t.threads) * t.threads + me;

		/* a lock for writing must come through */
		pthread_rwlock_rdlock(&d->lock);
		if (d->there && chance(55))
			write_block(d, block, buf);
		else if (d->there)
			read_block(d, block, buf);
		pthread_rwlock_unlock(&d->lock);
	}
	free(buf);
	return NULL;
}

/* ---- what goes on meanwhile ------------------------------------------------------------------ */

static void lock(struct device *d)
{
	pthread_rwlock_wrlock(&d->lock);
}

static void unlock(struct device *d)
{
	pthread_rwlock_unlock(&d->lock);
}

/* the stores before the creation begins are the least, those that were begun until it ended the most */
static void do_create(struct device *d)
{
	struct device *org = &t.d[0];
	uint8_t head[4096] __attribute__((aligned(4096))) = { 0 };
	char node[24], name[DM_NAME_MAX];
	unsigned int b;
	int fd;

	snprintf(node, sizeof(node), "/dev/ram%d", (int)(d - t.d));
	fd = open_direct(node);
	must(sectors_write(fd, head, 0, 8), "%s: clear", node);
	close(fd);
	snprintf(name, sizeof(name), "s%d.%u", (int)(d - t.d), d->generation++);
	note("create %s", name);
	for (b = 0; b < BLOCKS; b++)
		d->cell[b].low = get(&org->cell[b].low);
	must(dm_suspend(&org->dev, false), "org: suspend");
	must(dm_make(&d->dev, name, ORIGIN_SECTORS, "snapshot", "%s %s %s %u", t.base, d->cow, d->store,
		     d->chunk), "%s", name);
	must(dm_resume(&org->dev), "org: resume");
	for (b = 0; b < BLOCKS; b++) {
		uint64_t high = get(&org->cell[b].high), issued = get(&org->cell[b].issued);

		d->cell[b].high = issued > high ? issued : high;
	}
	lock(d);
	d->fd = open_direct(d->dev.node);
	d->there = true;
	unlock(d);
	t.creations++;
}

/* under the load of the origin and the other snapshots */
static void do_remove(struct device *d)
{
	note("remove %s", d->dev.name);
	lock(d);
	d->there = false;
	close(d->fd);
	unlock(d);
	must(dm_remove(&d->dev), "%s: remove", d->dev.name);
	t.removals++;
}

static void do_suspend(struct device *d)
{
	note("suspend %s", d->dev.name);
	must(dm_suspend(&d->dev, chance(30)), "%s: suspend", d->dev.name);
	usleep((useconds_t)rnd_below(5000));
	must(dm_resume(&d->dev), "%s: resume", d->dev.name);
	t.suspends++;
}

static void do_reload(struct device *d)
{
	note("reload %s", d->dev.name);
	if (d == &t.d[0])
		must(dm_load(&d->dev, ORIGIN_SECTORS, "snapshot-origin", "%s", t.base), "org: load");
	else
		must(dm_load(&d->dev, ORIGIN_SECTORS, "snapshot", "%s %s %s %u", t.base, d->cow, d->store,
			     d->chunk), "%s: load", d->dev.name);
	must(dm_suspend(&d->dev, false), "%s: suspend", d->dev.name);
	must(dm_resume(&d->dev), "%s: resume", d->dev.name);
	t.reloads++;
}

static bool merge_ended(void)
{
	uint64_t used, total, metadata;
	char status[128];

	must(dm_status(&t.d[0].dev, status, sizeof(status)), "merge: status");
	if (sscanf(status, "%lu/%lu %lu", &used, &total, &metadata) != 3)
		fail("merge: status: %s", status);
	return used == metadata;
}

static void check_empty(struct device *d)
{
	const char *bad;
	struct store st;
	char node[24];
	int fd;

	snprintf(node, sizeof(node), "/dev/ram%d", (int)(d - t.d));
	fd = open_direct(node);
	bad = store_read(&st, fd, COW_SECTORS, false);
	if (bad)
		fail("%s: the store: %s", d->dev.name, bad);
	if (!st.valid || st.nr)
		fail("%s: the store after a merge: valid %d, %lu exceptions", d->dev.name, st.valid, st.nr);
	store_free(&st);
	close(fd);
}

/* all are at work before and after, nobody in the moment in which the origin's content is another */
static void merge_begin(struct device *d)
{
	struct device *org = &t.d[0];

	lock(org);
	lock(d);
	must(dm_load(&org->dev, ORIGIN_SECTORS, "snapshot-merge", "%s %s P %u", t.base, d->cow, d->chunk),
	     "org: load snapshot-merge");
	must(dm_suspend(&org->dev, false), "org: suspend");
	must(dm_suspend(&d->dev, false), "%s: suspend", d->dev.name);
	must(dm_resume(&org->dev), "org: resume");
	close(d->fd);
	d->there = false;
	must(dm_remove(&d->dev), "%s: remove", d->dev.name);
	memcpy(org->cell, d->cell, sizeof(org->cell));
	unlock(d);
	unlock(org);
}

static void do_merge(struct device *d)
{
	struct device *org = &t.d[0];
	uint64_t begun = now_ms();
	unsigned int i;

	note("merge %s", d->dev.name);
	merge_begin(d);
	for (i = 0; !merge_ended(); i++) {
		if (now_ms() - begun > 120000)
			fail("merge: does not come to an end");
		if (i % 8 == 3)
			do_suspend(org);
		else if (i % 8 == 6 && t.d[SNAPSHOTS].there)
			do_reload(&t.d[SNAPSHOTS]);
		usleep(1000);
	}
	do_reload(org);
	check_empty(d);
	t.merges++;
}

static void disturb(void)
{
	struct device *d = &t.d[rnd_below(DEVICES)];

	if (d != &t.d[0] && !d->there) {
		do_create(d);
		return;
	}
	switch (rnd_below(8)) {
	case 0: case 1: case 2:
		do_suspend(d);
		break;
	case 3: case 4:
		do_reload(d);
		break;
	case 5:
		if (d != &t.d[0])
			do_remove(d);
		break;
	default:
		if (d != &t.d[0] && d->store[0] == 'P')
			do_merge(d);
	}
}

/* ---- begin and end --------------------------------------------------------------------------- */

static void set_up(void)
{
	static const char * const stores[DEVICES] = { NULL, "P", "PO", "N" };
	static const uint32_t chunks[DEVICES] = { 0, 16, 32, 8 };
	pthread_rwlockattr_t attr;
	uint8_t *buf = pages(ORIGIN_SECTORS * SECTOR);
	unsigned int i;
	char node[24];
	int fd;

	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	must(dm_number("/dev/ram0", t.base, sizeof(t.base)), "/dev/ram0");
	fd = open_direct("/dev/ram0");
	fill(buf, 0, ORIGIN_SECTORS, 0);
	must(sectors_write(fd, buf, 0, ORIGIN_SECTORS), "ram0: write");
	close(fd);
	free(buf);
	must(dm_make(&t.d[0].dev, "org", ORIGIN_SECTORS, "snapshot-origin", "%s", t.base), "org");
	t.d[0].fd = open_direct(t.d[0].dev.node);
	t.d[0].there = true;
	for (i = 0; i < DEVICES; i++) {
		pthread_rwlock_init(&t.d[i].lock, &attr);
		t.d[i].store = stores[i];
		t.d[i].chunk = chunks[i];
		snprintf(node, sizeof(node), "/dev/ram%u", i);
		must(dm_number(node, t.d[i].cow, sizeof(t.d[i].cow)), "%s", node);
	}
}

static void check_everything(void)
{
	uint8_t *buf = pages(BLOCK_SECTORS * SECTOR);
	unsigned int i, b;
	char status[128];

	for (i = 0; i < DEVICES; i++) {
		if (!t.d[i].there)
			continue;
		for (b = 0; b < BLOCKS; b++)
			read_block(&t.d[i], b, buf);
		must(dm_status(&t.d[i].dev, status, sizeof(status)), "%s: status", t.d[i].dev.name);
		if (i && !strchr(status, '/'))
			fail("%s: status: %s", t.d[i].dev.name, status);
	}
	free(buf);
}

static void tear_down(void)
{
	unsigned int i;

	for (i = DEVICES; i-- > 0;) {
		if (!t.d[i].there)
			continue;
		close(t.d[i].fd);
		must(dm_remove(&t.d[i].dev), "%s: remove", t.d[i].dev.name);
	}
}

static void run(uint64_t seconds)
{
	pthread_t thread[THREADS_MAX];
	uint64_t begun = now_ms();
	unsigned int i;

	for (i = 0; i < t.threads; i++)
		if (pthread_create(&thread[i], NULL, work, (void *)(uintptr_t)i))
			fail("thread %u cannot be started", i);
	while (now_ms() - begun < seconds * 1000) {
		disturb();
		usleep((useconds_t)rnd_below(20000));
	}
	__atomic_store_n(&t.stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < t.threads; i++)
		pthread_join(thread[i], NULL);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seconds", required_argument, NULL, 's' }, { "seed", required_argument, NULL, 'r' },
		{ "threads", required_argument, NULL, 't' }, { NULL, 0, NULL, 0 },
	};
	uint64_t seconds = 20, seed = 1;
	int c;

	setvbuf(stdout, NULL, _IOLBF, 0);
	t.threads = 8;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 's': seconds = strtoull(optarg, NULL, 0); break;
		case 'r': seed = strtoull(optarg, NULL, 0); break;
		case 't': t.threads = (unsigned int)strtoul(optarg, NULL, 0); break;
		default: return 2;
		}
	}
	if (!t.threads || t.threads > THREADS_MAX)
		return 2;
	rnd_seed(seed);
	t.seed = seed;
	set_up();
	run(seconds);
	check_everything();
	tear_down();
	printf("smp: seed %lu, %u threads, %lu reads, %lu writes\n", seed, t.threads, t.reads, t.writes);
	printf("@say smp reads %lu\n@say smp writes %lu\n@say smp suspends %lu\n@say smp reloads %lu\n", t.reads,
	       t.writes, t.suspends, t.reloads);
	printf("@say smp creations %lu\n@say smp removals %lu\n@say smp merges %lu\n", t.creations, t.removals,
	       t.merges);
	return 0;
}
