// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * model [--seed N] [--seconds N] [--ops N] [--ours] [--reload COMMAND] [--no-discards] [--verbose] - random
 * operations on an origin and up to four snapshots, each compared with a model in plain memory
 *
 *	/dev/ram0	the origin (under the linear device "base"; the target's is "org")
 *	/dev/ram1..4	the COW devices (under the linear devices "c0".."c3"; the snapshots are "s0".."s3")
 *
 * The model of a device is its content.  Of a snapshot it also knows which chunks have an exception, so
 * that it can say before each operation whether the store has room, and the status line and the bytes of
 * the store can be compared with it.  NO, YES: certain; MAYBE: depends on how far something has come, as
 * a merge or a write that failed.  The store itself then tells (P), or the count in the status (N).
 *
 * --ours: expect what the reference calls wrong in upstream to be right.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "dm.h"
#include "io.h"
#include "store.h"

#define ORIGIN_SECTORS 6008u		/* the last chunk is not a whole one from 16 sectors on */
#define ORIGIN_BYTES (ORIGIN_SECTORS * SECTOR)
#define RAM_SECTORS 16384u
#define SNAPSHOTS 4
#define IO_SECTORS 320u			/* of one operation, at most */
#define BATCH 48u

enum { NO, YES, MAYBE };
enum state { VALID, OVERFLOWED, INVALID };

struct snapshot {
	bool there;
	int nr;
	unsigned int generation;	/* names of devices that take over from each other */
	char store;			/* P or N */
	bool overflow_allowed;		/* PO */
	bool discards;			/* discard_zeroes_cow */
	uint32_t chunk;
	uint64_t chunks;		/* of the origin */
	enum state state;
	bool may_change;		/* of VALID: it may have become something else */
	uint8_t *data;
	uint8_t *excepted;		/* per chunk */
	struct dm_dev dev, cow;
	int fd, buffered, cow_fd;
};

static struct {
	bool ours, discards;
	const char *reload;
	uint8_t *origin;		/* what "org" shows */
	struct dm_dev base, org;
	int fd, buffered, base_fd;
	struct snapshot snap[SNAPSHOTS];
	struct snapshot *merging;	/* into "org": its data are the origin's, its device is gone */
	uint8_t *under;			/* while merging: the base device without the merged chunks */
	uint8_t *merge_set;		/* and the exceptions at the begin */
	uint8_t *buf, *tmp;
	uint64_t op, bytes_compared;
	struct batch batch;
} m;

static struct {
	unsigned long reads, writes, buffered, batches, discards, flushes, creations, removals, suspends,
		handovers, reloads, grown, merges, merged, interrupted, cancelled, reboots, invalid, overflow,
		verified, stores;
} done;

/* ---- comparing ------------------------------------------------------------------------------- */

static const char *name_of(struct snapshot *s)
{
	return s ? s->dev.name : m.org.name;
}

static uint8_t *data_of(struct snapshot *s)
{
	return s ? s->data : m.origin;
}

static int fd_of(struct snapshot *s)
{
	return s ? s->fd : m.fd;
}

static void same(const char *what, const uint8_t *got, const uint8_t *expected, uint64_t sector, uint64_t nr)
{
	uint64_t at = differs(got, expected, nr);

	m.bytes_compared += nr * SECTOR;
	if (at < nr)
		fail("%s: sector %lu: found the data of operation %lu for sector %lu, expected operation %lu "
		     "for sector %lu", what, sector + at, tag_of(got + at * SECTOR),
		     tag_of(got + at * SECTOR + 8), tag_of(expected + at * SECTOR),
		     tag_of(expected + at * SECTOR + 8));
}

/* bytes at any offset */
static void same_bytes(const char *what, const uint8_t *got, uint64_t offset, uint64_t bytes,
		       const uint8_t *expected)
{
	uint64_t i;

	m.bytes_compared += bytes;
	if (!memcmp(got, expected, bytes))
		return;
	for (i = 0; got[i] == expected[i]; i++)
		;
	fail("%s: byte %lu: found 0x%02x, expected 0x%02x", what, offset + i, got[i], expected[i]);
}

/* ---- room and state -------------------------------------------------------------------------- */

static uint64_t count(struct snapshot *s, int what)
{
	uint64_t i, nr = 0;

	for (i = 0; i < s->chunks; i++)
		nr += s->excepted[i] == what;
	return nr;
}

static uint64_t capacity(struct snapshot *s)
{
	if (s->store == 'N')
		return s->cow.sectors / s->chunk;
	return store_capacity(s->cow.sectors, s->chunk, m.ours);
}

static bool takes_part(struct snapshot *s)
{
	return s->there && s != m.merging && s->state != INVALID;
}

/* exceptions that sectors [@from, @to) may lack (NO, and MAYBE if @also_maybe) */
static uint64_t lacking(struct snapshot *s, uint64_t from, uint64_t to, bool also_maybe)
{
	uint64_t c, nr = 0;

	for (c = from / s->chunk; c * s->chunk < to; c++)
		nr += s->excepted[c] == NO || (also_maybe && s->excepted[c] == MAYBE);
	return nr;
}

static void except(struct snapshot *s, uint64_t from, uint64_t to, int what)
{
	uint64_t c;

	for (c = from / s->chunk; c * s->chunk < to; c++)
		if (s->excepted[c] != YES)
			s->excepted[c] = (uint8_t)what;
}

/* a merge goes on, and what it overwrites may be more than the store has room for */
static bool at_risk(struct snapshot *s)
{
	return s && m.merging && s->state != INVALID &&
	       (s->state == OVERFLOWED || count(s, YES) + count(s, MAYBE) > capacity(s));
}

enum fit { FITS, PERHAPS, TOO_MUCH };

/* do the exceptions for @least to @most further chunks fit? */
static enum fit fits(struct snapshot *s, uint64_t least, uint64_t most)
{
	uint64_t low = count(s, YES), high = low + count(s, MAYBE), max = capacity(s);

	if (high + most <= max)
		return FITS;
	return low + least > max ? TOO_MUCH : PERHAPS;
}

static enum fit fits_range(struct snapshot *s, uint64_t from, uint64_t to)
{
	uint64_t lacks = lacking(s, from, to, false);

	if (!lacking(s, from, to, true))
		return FITS;
	/* what is MAYBE is counted by fits() already */
	return fits(s, lacks, lacks);
}

static void set_state(struct snapshot *s, enum state state)
{
	if (s->state == state)
		return;
	note("%lu: %s is %s now", m.op, s->dev.name, state == INVALID ? "invalid" : "full");
	done.invalid += state == INVALID;
	done.overflow += state == OVERFLOWED;
	s->state = state;
	s->may_change = false;
}

/* what a write to the origin means for a snapshot */
static void origin_written(struct snapshot *s, uint64_t from, uint64_t to)
{
	enum fit fit = fits_range(s, from, to);

	if (fit == TOO_MUCH)
		set_state(s, INVALID);
	else if (fit == PERHAPS)
		s->may_change = true;
	except(s, from, to, fit == FITS ? YES : MAYBE);
}

/* chunks of the merging snapshot that [from, to) touches */
static bool may_be_merged(uint64_t from, uint64_t to)
{
	uint64_t c;

	for (c = from / m.merging->chunk; c * m.merging->chunk < to; c++)
		if (m.merge_set[c] != NO)
			return true;
	return false;
}

static void org_written(uint64_t from, uint64_t to)
{
	uint64_t sector, next;
	int i;

	for (sector = from; m.merging && sector < to; sector = next) {
		next = (sector / m.merging->chunk + 1) * m.merging->chunk;
		if (next > to)
			next = to;
		/* into the COW device or, when its chunk has been merged, into the origin */
		if (may_be_merged(sector, next))
			continue;
		memcpy(m.under + sector * SECTOR, m.origin + sector * SECTOR, (next - sector) * SECTOR);
		for (i = 0; i < SNAPSHOTS; i++)
			if (takes_part(&m.snap[i]))
				origin_written(&m.snap[i], sector, next);
	}
	for (i = 0; !m.merging && i < SNAPSHOTS; i++)
		if (takes_part(&m.snap[i]))
			origin_written(&m.snap[i], from, to);
}

/* ---- the status line and the store ----------------------------------------------------------- */

/* the exceptions as the store has them; those of the model that are certain must be among them */
static void adopt_store(struct snapshot *s, const struct store *st)
{
	uint8_t *now = calloc(1, s->chunks);
	uint64_t i;

	for (i = 0; i < st->nr; i++) {
		uint64_t old = st->old_chunk[i];

		if (old >= s->chunks)
			fail("%s: the store has an exception for chunk %lu of %lu", s->dev.name, old,
			     s->chunks);
		if (s->excepted[old] == NO)
			fail("%s: the store has an exception for chunk %lu, expected none", s->dev.name, old);
		now[old] = YES;
	}
	for (i = 0; i < s->chunks; i++)
		if (s->excepted[i] == YES && now[i] != YES)
			fail("%s: the store has no exception for chunk %lu", s->dev.name, i);
	/* a merge goes on, and with it the exceptions that it makes here */
	for (i = 0; i < s->chunks; i++)
		if (now[i] == YES || !m.merging)
			s->excepted[i] = now[i];
	free(now);
}

static void check_store(struct snapshot *s)
{
	const char *bad;
	struct store st;

	if (s->store != 'P' || at_risk(s))
		return;
	bad = store_read(&st, s->cow_fd, s->cow.sectors, true);
	if (bad)
		fail("%s: the store: %s", s->dev.name, bad);
	if (st.blank || st.chunk != s->chunk)
		fail("%s: the store: chunk_size %u, expected %u", s->dev.name, st.chunk, s->chunk);
	if (st.valid != (s->state != INVALID))
		fail("%s: the store: valid %d, expected %d", s->dev.name, st.valid, s->state != INVALID);
	if (st.valid)
		adopt_store(s, &st);
	store_free(&st);
	done.stores++;
}

static void check_usage(struct snapshot *s, const char *status)
{
	uint64_t used, total, metadata, low = count(s, YES), high = low + count(s, MAYBE), nr;
	uint64_t entries = 32u * s->chunk;

	if (sscanf(status, "%lu/%lu %lu", &used, &total, &metadata) != 3)
		fail("%s: status: %s, expected numbers", s->dev.name, status);
	if (total != s->cow.sectors || used % s->chunk || metadata % s->chunk)
		fail("%s: status: %s, expected a device of %lu sectors", s->dev.name, status, s->cow.sectors);
	nr = (used - metadata) / s->chunk;
	/* the merge writes to the origin all the time: what is allocated may not be committed yet */
	if (m.merging) {
		if (used < (low + (s->store == 'P' ? low / entries + 2 : 0)) * s->chunk || used > total)
			fail("%s: status: %s, expected at least %lu exceptions", s->dev.name, status, low);
		return;
	}
	if (nr < low || nr > high)
		fail("%s: status: %s: %lu exceptions, expected %lu to %lu of %lu", s->dev.name, status, nr,
		     low, high, capacity(s));
	if (metadata != (s->store == 'N' ? 0 : (nr / entries + 2) * s->chunk))
		fail("%s: status: %s: metadata of %lu exceptions", s->dev.name, status, nr);
}

/* after what may have changed the state; the status decides where the model cannot */
static void check_state(struct snapshot *s)
{
	static const char * const names[] = { "", "Overflow", "Invalid" };
	char status[256];

	if (!s->there || s == m.merging)
		return;
	must(dm_status(&s->dev, status, sizeof(status)), "%s: status", s->dev.name);
	if (at_risk(s))
		s->may_change = true;
	if (s->may_change && !strcmp(status, "Invalid"))
		set_state(s, INVALID);
	else if (s->may_change && s->overflow_allowed && !strcmp(status, "Overflow"))
		set_state(s, OVERFLOWED);
	s->may_change = false;
	note("%lu: %s: %s", m.op, s->dev.name, status);
	if (s->state != VALID && strcmp(status, names[s->state]))
		fail("%s: status: %s, expected %s", s->dev.name, status, names[s->state]);
	if (s->state == VALID)
		check_usage(s, status);
}

static void check_states(void)
{
	int i;

	for (i = 0; i < SNAPSHOTS; i++)
		check_state(&m.snap[i]);
}

/* all of a device, and the store under it */
static void verify(struct snapshot *s)
{
	uint64_t at, nr;

	check_state(s ? s : &m.snap[0]);
	if (at_risk(s))
		return;
	if (s && s->state == INVALID) {
		if (sectors_read(s->fd, m.buf, rnd_below(ORIGIN_SECTORS), 1) != -EIO)
			fail("%s: read of an invalid snapshot: expected EIO", s->dev.name);
		check_store(s);
		return;
	}
	for (at = 0; at < ORIGIN_SECTORS; at += nr) {
		nr = ORIGIN_SECTORS - at < 1024 ? ORIGIN_SECTORS - at : 1024;
		must(sectors_read(fd_of(s), m.buf, at, nr), "%s: read at %lu", name_of(s), at);
		same(name_of(s), m.buf, data_of(s) + at * SECTOR, at, nr);
	}
	if (s && s != m.merging)
		check_store(s);
	done.verified++;
}

static void verify_all(void)
{
	int i;

	verify(NULL);
	for (i = 0; i < SNAPSHOTS; i++)
		if (m.snap[i].there && &m.snap[i] != m.merging)
			verify(&m.snap[i]);
}

/* ---- devices --------------------------------------------------------------------------------- */

static int open_buffered(const char *node)
{
	int fd = open(node, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		fail("%s: cannot be opened: %s", node, strerror(errno));
	return fd;
}

static void org_open(void)
{
	m.fd = open_direct(m.org.node);
	m.buffered = open_buffered(m.org.node);
}

static void org_close(void)
{
	close(m.fd);
	close(m.buffered);
}

static void snap_open(struct snapshot *s)
{
	s->fd = open_direct(s->dev.node);
	s->buffered = open_buffered(s->dev.node);
}

static void snap_close(struct snapshot *s)
{
	close(s->fd);
	close(s->buffered);
}

/* the words of a table line; the chunk size on disk wins over the one given here */
static void table_of(struct snapshot *s, uint32_t chunk, char *out, size_t size)
{
	snprintf(out, size, "%s %s %c%s %u%s", m.base.number, s->cow.number, s->store,
		 s->overflow_allowed ? "O" : "", chunk, s->discards ? " 1 discard_zeroes_cow" : "");
}

static void snap_name(struct snapshot *s, char *out)
{
	snprintf(out, DM_NAME_MAX, "s%d.%u", s->nr, s->generation++ % 1000);
}

static void snap_make(struct snapshot *s, uint32_t chunk)
{
	char table[128], name[DM_NAME_MAX];

	table_of(s, chunk, table, sizeof(table));
	snap_name(s, name);
	note("%lu: create %s: %s, COW device of %lu sectors", m.op, name, table, s->cow.sectors);
	must(dm_make(&s->dev, name, ORIGIN_SECTORS, "snapshot", "%s", table), "%s: create: %s", name, table);
	snap_open(s);
}

static void org_suspend(void)
{
	must(dm_suspend(&m.org, false), "org: suspend");
}

static void org_resume(void)
{
	must(dm_resume(&m.org), "org: resume");
}

/* ---- creation and removal -------------------------------------------------------------------- */

/* enough for all of the origin, or less */
static uint64_t choose_cow(struct snapshot *s)
{
	uint64_t entries = 32u * s->chunk, all = s->chunks + s->chunks / entries + 2;
	uint64_t total = all + rnd_below(3);

	if (chance(50))
		total = 3 + rnd_below(all);
	/* upstream's edge: the area that becomes full last would have no successor */
	if (!m.ours && total > 1 && total % (entries + 1) == 1)
		total++;
	return total * s->chunk + rnd_below(s->chunk);
}

static void op_create(void)
{
	static const uint32_t sizes[] = { 1, 2, 4, 8, 8, 8, 8, 16, 16, 32, 64, 128 };
	struct snapshot *s = &m.snap[rnd_below(SNAPSHOTS)];
	uint64_t sectors;
	char number[24], node[24], name[DM_NAME_MAX];

	if (s->there || m.merging)
		return;
	s->store = chance(75) ? 'P' : 'N';
	s->overflow_allowed = s->store == 'P' && chance(60);
	s->discards = m.discards && chance(40);
	s->chunk = sizes[rnd_below(ARRAY_SIZE(sizes))];
	s->chunks = (ORIGIN_SECTORS + s->chunk - 1) / s->chunk;
	s->state = VALID;
	s->may_change = false;
	memset(s->excepted, NO, ORIGIN_SECTORS);
	sectors = choose_cow(s);
	snprintf(node, sizeof(node), "/dev/ram%d", s->nr + 1);
	must(dm_number(node, number, sizeof(number)), "%s", node);
	snprintf(name, sizeof(name), "c%d", s->nr);
	must(dm_make(&s->cow, name, sectors, "linear", "%s 0", number), "%s", name);
	s->cow_fd = open_direct(s->cow.node);
	/* what was here before stays, as when LVM gives extents to a new snapshot */
	memset(m.tmp, 0, 4096);
	must(sectors_write(s->cow_fd, m.tmp, 0, sectors < 8 ? sectors : 8), "%s: clear", name);
	org_suspend();
	snap_make(s, s->chunk);
	org_resume();
	s->there = true;
	memcpy(s->data, m.origin, ORIGIN_BYTES);
	check_state(s);
	done.creations++;
}

static void forget(struct snapshot *s)
{
	close(s->cow_fd);
	must(dm_remove(&s->cow), "%s: remove", s->cow.name);
	s->there = false;
}

static void op_remove(void)
{
	struct snapshot *s = &m.snap[rnd_below(SNAPSHOTS)];

	if (!s->there || s == m.merging || (s->state == VALID && chance(70)))
		return;
	note("%lu: remove %s", m.op, s->dev.name);
	verify(s);
	snap_close(s);
	if (chance(50))
		org_suspend();
	must(dm_remove(&s->dev), "%s: remove", s->dev.name);
	must(dm_resume(&m.org), "org: resume");
	forget(s);
	done.removals++;
}

/* ---- reads and writes ------------------------------------------------------------------------ */

/* the origin (NULL), or a snapshot that has a device and keeps the state it is in now */
static struct snapshot *choose_device(void)
{
	struct snapshot *s = &m.snap[rnd_below(SNAPSHOTS)];

	int tries;

	if (chance(35))
		return NULL;
	for (tries = 0; tries < 3 && (!s->there || s == m.merging); tries++)
		s = &m.snap[rnd_below(SNAPSHOTS)];
	return !s->there || s == m.merging || at_risk(s) ? NULL : s;
}

static void choose_range(uint64_t *sector, uint64_t *nr)
{
	switch (rnd_below(4)) {
	case 0:
		*nr = 8;
		*sector = rnd_below(ORIGIN_SECTORS / 8) * 8;
		break;
	case 1:
		*nr = 1 + rnd_below(16);
		*sector = rnd_below(ORIGIN_SECTORS - *nr + 1);
		break;
	case 2:
		*nr = 8u << rnd_below(5);
		*sector = rnd_below(ORIGIN_SECTORS / *nr) * *nr;
		break;
	default:
		*nr = 1 + rnd_below(IO_SECTORS);
		*sector = rnd_below(ORIGIN_SECTORS - *nr + 1);
	}
}

static void op_read(void)
{
	struct snapshot *s = choose_device();
	uint64_t sector, nr;
	int err;

	choose_range(&sector, &nr);
	err = sectors_read(fd_of(s), m.buf, sector, nr);
	if (s && s->state == INVALID) {
		if (err != -EIO)
			fail("%s: read of an invalid snapshot: %d", s->dev.name, err);
		return;
	}
	must(err, "%s: read %lu+%lu", name_of(s), sector, nr);
	same(name_of(s), m.buf, data_of(s) + sector * SECTOR, sector, nr);
	done.reads++;
}

/* a write that failed may have left the one or the other, sector by sector */
static void adopt_sectors(struct snapshot *s, uint64_t sector, uint64_t nr, const uint8_t *written)
{
	uint64_t i;
	int err = sectors_read(s->fd, m.tmp, sector, nr);

	if (err && at_risk(s)) {
		check_state(s);
		if (s->state == INVALID)
			return;
	}
	must(err, "%s: read %lu+%lu", s->dev.name, sector, nr);
	for (i = 0; i < nr; i++) {
		uint8_t *got = m.tmp + i * SECTOR, *old = s->data + (sector + i) * SECTOR;

		if (!memcmp(got, written + i * SECTOR, SECTOR))
			memcpy(old, got, SECTOR);
		else
			same(s->dev.name, got, old, sector + i, 1);
	}
}

/* is a write to the snapshot's [from, to) done, refused, or does it depend? */
static enum fit snapshot_write_fits(struct snapshot *s, uint64_t from, uint64_t to)
{
	bool news = lacking(s, from, to, true);

	if (s->state == INVALID)
		return TOO_MUCH;
	if (s->state == VALID)
		return fits_range(s, from, to);
	if (!m.ours)
		return TOO_MUCH;
	if (!news)
		return FITS;
	return lacking(s, from, to, false) ? TOO_MUCH : PERHAPS;
}

static void snapshot_refused(struct snapshot *s, uint64_t from, uint64_t to, const uint8_t *written)
{
	bool gone = s->state == VALID && !s->overflow_allowed;

	except(s, from, to, MAYBE);
	set_state(s, gone || s->state == INVALID ? INVALID : OVERFLOWED);
	if (s->state == INVALID)
		return;
	adopt_sectors(s, from, to - from, written);
	check_store(s);
}

static void snapshot_written(struct snapshot *s, uint64_t sector, uint64_t nr, int err,
			     const uint8_t *written)
{
	uint64_t to = sector + nr;
	enum fit fit = snapshot_write_fits(s, sector, to);

	if (!err && fit == TOO_MUCH)
		fail("%s: write %lu+%lu: done, expected EIO", s->dev.name, sector, nr);
	if (err && (fit == FITS || err != -EIO))
		fail("%s: write %lu+%lu: %s", s->dev.name, sector, nr, strerror(-err));
	if (err) {
		snapshot_refused(s, sector, to, written);
		return;
	}
	except(s, sector, to, YES);
	memcpy(s->data + sector * SECTOR, written, nr * SECTOR);
}

static void op_write(void)
{
	struct snapshot *s = choose_device();
	uint64_t sector, nr;
	int err;

	choose_range(&sector, &nr);
	fill(m.buf, sector, nr, m.op);
	note("%lu: write %s %lu+%lu", m.op, name_of(s), sector, nr);
	err = sectors_write(fd_of(s), m.buf, sector, nr);
	if (s) {
		snapshot_written(s, sector, nr, err, m.buf);
		check_state(s);
	} else {
		must(err, "org: write %lu+%lu", sector, nr);
		memcpy(m.origin + sector * SECTOR, m.buf, nr * SECTOR);
		org_written(sector, sector + nr);
		check_states();
	}
	done.writes++;
}

/* page by page through the page cache: blocks of 4 KiB are written back */
static void op_buffered(void)
{
	struct snapshot *s = choose_device();
	int fd = s ? s->buffered : m.buffered, i, nr = 1 + (int)rnd_below(6);

	if (s && s->state != VALID)
		return;
	for (i = 0; i < nr; i++) {
		uint64_t bytes = 1 + rnd_below(20000), at = rnd_below(ORIGIN_BYTES - bytes);
		uint64_t from = at / 4096 * 8, to = (at + bytes + 4095) / 4096 * 8;

		if (pread(fd, m.tmp, bytes, (off_t)at) != (ssize_t)bytes)
			fail("%s: buffered read at byte %lu: %s", name_of(s), at, strerror(errno));
		same_bytes(name_of(s), m.tmp, at, bytes, data_of(s) + at);
		if (to > ORIGIN_SECTORS)
			to = ORIGIN_SECTORS;
		/* what is still in the cache when the store becomes full is another test's concern */
		if (s && fits_range(s, from, to) != FITS)
			continue;
		note("%lu: buffered write %s byte %lu+%lu", m.op, name_of(s), at, bytes);
		fill(m.buf, at / SECTOR, bytes / SECTOR + 1, m.op);
		if (pwrite(fd, m.buf, bytes, (off_t)at) != (ssize_t)bytes)
			fail("%s: buffered write at byte %lu: %s", name_of(s), at, strerror(errno));
		memcpy(data_of(s) + at, m.buf, bytes);
		if (s)
			except(s, from, to, YES);
		else
			org_written(from, to);
	}
	if (fsync(fd))
		fail("%s: fsync: %s", name_of(s), strerror(errno));
	check_states();
	done.buffered++;
}

static void op_flush(void)
{
	struct snapshot *s = choose_device();
	int err = fdatasync(fd_of(s)) ? -errno : 0;

	if (s && s->state == INVALID ? err != -EIO && err : err)
		fail("%s: flush: %s", name_of(s), strerror(-err));
	done.flushes++;
}

/* ---- many at once ---------------------------------------------------------------------------- */

struct piece {
	struct snapshot *s;
	bool write;
	uint64_t sector, nr;
	uint8_t *buf;
};

static bool overlaps(const struct piece *p, unsigned int nr, const struct piece *one)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		if (p[i].s == one->s && (p[i].write || one->write) && p[i].sector < one->sector + one->nr &&
		    one->sector < p[i].sector + p[i].nr)
			return true;
	return false;
}

/* expected data of a read are those before the batch: no write of it touches them */
static void piece_read(const struct piece *p, int err)
{
	if (p->s && (p->s->state == INVALID || p->s->may_change)) {
		if (err && err != -EIO)
			fail("%s: read %lu+%lu: %s", name_of(p->s), p->sector, p->nr, strerror(-err));
		if (err)
			return;
	}
	must(err, "%s: read %lu+%lu", name_of(p->s), p->sector, p->nr);
	same(name_of(p->s), p->buf, data_of(p->s) + p->sector * SECTOR, p->sector, p->nr);
}

static void plan_batch(struct piece *p, unsigned int *nr, uint64_t where)
{
	unsigned int i;

	for (i = 0; i < BATCH; i++) {
		struct piece one = { .s = choose_device(), .write = chance(65) };

		if (one.s && one.s->state != VALID)
			continue;
		one.nr = chance(60) ? 8 : 1 + rnd_below(40);
		/* near each other, so that they meet in chunks */
		one.sector = (where + rnd_below(600)) % (ORIGIN_SECTORS - one.nr);
		if (chance(60))
			one.sector &= ~7ul;
		if (overlaps(p, *nr, &one))
			continue;
		one.buf = m.buf + (size_t)*nr * 40 * SECTOR;
		if (one.write)
			fill(one.buf, one.sector, one.nr, m.op);
		p[(*nr)++] = one;
	}
}

/* exceptions of a whole batch for a snapshot: does it have the room?  Then they are there now */
static void batch_fits(struct snapshot *s, const struct piece *p, unsigned int nr)
{
	uint8_t *before = malloc(s->chunks);
	unsigned int i;
	enum fit fit;

	memcpy(before, s->excepted, s->chunks);
	for (i = 0; i < nr; i++)
		if (p[i].write && (p[i].s == s || !p[i].s))
			except(s, p[i].sector, p[i].sector + p[i].nr, p[i].s || !m.merging ? YES : MAYBE);
	fit = count(s, YES) > capacity(s) ? TOO_MUCH :
	      count(s, YES) + count(s, MAYBE) > capacity(s) ? PERHAPS : FITS;
	if (fit == TOO_MUCH && !s->overflow_allowed)
		set_state(s, INVALID);
	else if (fit != FITS)
		s->may_change = true;
	for (i = 0; fit != FITS && i < s->chunks; i++)
		if (before[i] != s->excepted[i])
			s->excepted[i] = MAYBE;
	free(before);
}

static void piece_written(const struct piece *p, int err)
{
	struct snapshot *s = p->s;

	if (err && (!s || err != -EIO || (s->state == VALID && !s->may_change)))
		fail("%s: write %lu+%lu: %s", name_of(s), p->sector, p->nr, strerror(-err));
	if (s && err && s->state != INVALID) {
		/* full; or not any more than that, if it is P with nothing left to be certain of */
		check_state(s);
		if (s->state == VALID)
			fail("%s: write %lu+%lu: failed, and the snapshot is valid", s->dev.name, p->sector,
			     p->nr);
	}
	if (s && err && s->state == OVERFLOWED)
		adopt_sectors(s, p->sector, p->nr, p->buf);
	else if (!err)
		memcpy(data_of(s) + p->sector * SECTOR, p->buf, p->nr * SECTOR);
	if (!s && m.merging)
		org_written(p->sector, p->sector + p->nr);
}

static void op_batch(void)
{
	static struct piece p[BATCH];
	unsigned int nr = 0, i;
	int j;

	plan_batch(p, &nr, rnd_below(ORIGIN_SECTORS));
	batch_reset(&m.batch);
	for (i = 0; i < nr; i++) {
		note("%lu: batch: %s %s %lu+%lu", m.op, p[i].write ? "write" : "read", name_of(p[i].s),
		     p[i].sector, p[i].nr);
		batch_add(&m.batch, fd_of(p[i].s), p[i].write, p[i].buf, p[i].sector, p[i].nr);
	}
	batch_run(&m.batch);
	for (j = 0; j < SNAPSHOTS; j++)
		if (takes_part(&m.snap[j]) && m.snap[j].state == VALID)
			batch_fits(&m.snap[j], p, nr);
	for (i = 0; i < nr; i++)
		if (!p[i].write)
			piece_read(&p[i], m.batch.result[i]);
	for (i = 0; i < nr; i++)
		if (p[i].write)
			piece_written(&p[i], m.batch.result[i]);
	/* a full store has no room for the origin's writes either */
	for (i = 0; i < nr; i++)
		for (j = 0; j < SNAPSHOTS && p[i].write && !p[i].s && !m.merging; j++)
			if (m.snap[j].there && m.snap[j].state == OVERFLOWED &&
			    lacking(&m.snap[j], p[i].sector, p[i].sector + p[i].nr, true)) {
				m.snap[j].may_change = true;
				except(&m.snap[j], p[i].sector, p[i].sector + p[i].nr, MAYBE);
			}
	check_states();
	for (j = 0; j < SNAPSHOTS; j++)
		if (takes_part(&m.snap[j]) && m.snap[j].state == OVERFLOWED)
			check_store(&m.snap[j]);
	done.batches++;
}

/* ---- discards -------------------------------------------------------------------------------- */

/*
 * A whole chunk with an exception becomes zero.  A part of one is passed on, which brd cannot do: it
 * stays, or becomes zero.  Chunks without exception are left alone.
 */
static void discarded(struct snapshot *s, uint64_t sector, uint64_t nr)
{
	static const uint8_t zero[SECTOR];
	uint64_t i, c;

	must(sectors_read(s->fd, m.tmp, sector, nr), "%s: read %lu+%lu", s->dev.name, sector, nr);
	for (i = 0; i < nr; i++) {
		uint8_t *got = m.tmp + i * SECTOR, *old = s->data + (sector + i) * SECTOR;
		bool whole;

		c = (sector + i) / s->chunk;
		whole = sector % s->chunk == 0 && (c + 1) * s->chunk <= sector + nr;
		if (s->excepted[c] == YES && whole && memcmp(got, zero, SECTOR))
			fail("%s: discard %lu+%lu: sector %lu: found operation %lu, expected zeroes",
			     s->dev.name, sector, nr, sector + i, tag_of(got));
		if (s->excepted[c] != NO && !memcmp(got, zero, SECTOR))
			memset(old, 0, SECTOR);
		else
			same(s->dev.name, got, old, sector + i, 1);
	}
}

static void op_discard(void)
{
	struct snapshot *s = &m.snap[rnd_below(SNAPSHOTS)];
	uint64_t sector, nr, range[2];
	int err;

	if (!s->there || s == m.merging || s->state == INVALID || !s->discards || at_risk(s))
		return;
	choose_range(&sector, &nr);
	/* upstream's of a chunk's length that begin within one hit the neighbour on the COW device */
	if (!m.ours || chance(50)) {
		sector -= sector % s->chunk;
		nr = (nr + s->chunk - 1) / s->chunk * s->chunk;
		if (sector + nr > ORIGIN_SECTORS)
			return;
	}
	note("%lu: discard %s %lu+%lu", m.op, s->dev.name, sector, nr);
	range[0] = sector * SECTOR;
	range[1] = nr * SECTOR;
	err = ioctl(s->fd, BLKDISCARD, range) ? -errno : 0;
	if (err && err != -EOPNOTSUPP)
		fail("%s: discard %lu+%lu: %s", s->dev.name, sector, nr, strerror(-err));
	/* the block layer zeroes the cached part of a page at either end, whatever becomes of the device's */
	if (ioctl(s->buffered, BLKFLSBUF, 0))
		fail("%s: BLKFLSBUF: %s", s->dev.name, strerror(errno));
	if (!err)
		discarded(s, sector, nr);
	check_state(s);
	done.discards++;
}

/* ---- suspend, reload, handover, growth ------------------------------------------------------- */

static void op_suspend(void)
{
	struct snapshot *s = &m.snap[rnd_below(SNAPSHOTS)];
	int i;

	done.suspends++;
	if (!s->there || s == m.merging || chance(30)) {
		note("%lu: suspend and resume org", m.op);
		must(dm_suspend(&m.org, chance(30)), "org: suspend");
		org_resume();
		return;
	}
	note("%lu: suspend and resume %s", m.op, s->dev.name);
	must(dm_suspend(&s->dev, chance(30)), "%s: suspend", s->dev.name);
	/* the origin's writes still make exceptions in it */
	for (i = 0; i < 3; i++) {
		uint64_t sector = rnd_below(ORIGIN_SECTORS - 8);

		note("%lu: write org %lu+8", m.op, sector);
		fill(m.buf, sector, 8, m.op);
		must(sectors_write(m.fd, m.buf, sector, 8), "org: write %lu+8", sector);
		memcpy(m.origin + sector * SECTOR, m.buf, 8 * SECTOR);
		org_written(sector, sector + 8);
	}
	must(dm_resume(&s->dev), "%s: resume", s->dev.name);
	check_states();
}

/* a new table for the same device, or a new device for the same store */
static void op_handover(void)
{
	struct snapshot *s = &m.snap[rnd_below(SNAPSHOTS)];
	char table[128], name[DM_NAME_MAX];
	struct dm_dev next;

	if (!s->there || s == m.merging)
		return;
	if (s->store == 'P')
		s->overflow_allowed = chance(50);
	s->discards = m.discards && chance(40);
	table_of(s, s->chunk, table, sizeof(table));
	if (chance(50)) {
		note("%lu: reload %s: %s", m.op, s->dev.name, table);
		must(dm_load(&s->dev, ORIGIN_SECTORS, "snapshot", "%s", table), "%s: load", s->dev.name);
		must(dm_suspend(&s->dev, false), "%s: suspend", s->dev.name);
		must(dm_resume(&s->dev), "%s: resume", s->dev.name);
		done.reloads++;
		check_state(s);
		return;
	}
	snap_name(s, name);
	note("%lu: %s takes over from %s: %s", m.op, name, s->dev.name, table);
	snap_close(s);
	must(dm_create(&next, name), "%s: create", name);
	must(dm_load(&next, ORIGIN_SECTORS, "snapshot", "%s", table), "%s: load", name);
	must(dm_suspend(&s->dev, false), "%s: suspend", s->dev.name);
	must(dm_resume(&next), "%s: resume", name);
	must(dm_remove(&s->dev), "%s: remove", s->dev.name);
	s->dev = next;
	snap_open(s);
	check_state(s);
	done.handovers++;
}

static void op_grow(void)
{
	struct snapshot *s = &m.snap[rnd_below(SNAPSHOTS)];
	uint64_t sectors, total, stride;
	char number[24], node[24];

	if (!s->there || s == m.merging || s->cow.sectors >= RAM_SECTORS)
		return;
	sectors = s->cow.sectors + 1 + rnd_below(s->chunk * 200u);
	if (sectors > RAM_SECTORS)
		sectors = RAM_SECTORS;
	total = sectors / s->chunk;
	stride = 32u * s->chunk + 1;
	if (!m.ours && total % stride == 1)
		return;
	note("%lu: %s: %lu sectors become %lu", m.op, s->cow.name, s->cow.sectors, sectors);
	snprintf(node, sizeof(node), "/dev/ram%d", s->nr + 1);
	must(dm_number(node, number, sizeof(number)), "%s", node);
	must(dm_load(&s->cow, sectors, "linear", "%s 0", number), "%s: load", s->cow.name);
	must(dm_suspend(&s->cow, false), "%s: suspend", s->cow.name);
	must(dm_resume(&s->cow), "%s: resume", s->cow.name);
	check_state(s);
	done.grown++;
}

/* ---- merge ----------------------------------------------------------------------------------- */

static void merge_load(void)
{
	char table[128];

	table_of(m.merging, m.merging->chunk, table, sizeof(table));
	must(dm_load(&m.org, ORIGIN_SECTORS, "snapshot-merge", "%s", table), "org: load snapshot-merge %s",
	     table);
}

/* all chunks of the other snapshots that the merge writes to get an exception, sooner or later */
static void merge_touches(struct snapshot *t, int what)
{
	struct snapshot *s = m.merging;
	uint64_t c, to;

	for (c = 0; c < s->chunks; c++) {
		if (m.merge_set[c] == NO)
			continue;
		to = (c + 1) * s->chunk;
		except(t, c * s->chunk, to < ORIGIN_SECTORS ? to : ORIGIN_SECTORS, what);
	}
	if (count(t, YES) + count(t, MAYBE) > capacity(t))
		t->may_change = true;
}

/* what becomes certain at the end of the merge must have had room */
static void merge_touched(struct snapshot *t)
{
	merge_touches(t, YES);
	if (count(t, YES) > capacity(t)) {
		t->may_change = false;
		set_state(t, INVALID);
	}
}

static void op_merge_step(void);

/* the snapshot's device goes, "org" shows its data */
static void op_merge(void)
{
	struct snapshot *s = &m.snap[rnd_below(SNAPSHOTS)];
	int i;

	if (m.merging || !s->there || s->store != 'P' || s->state != VALID || count(s, MAYBE))
		return;
	note("%lu: merge %s", m.op, s->dev.name);
	verify_all();
	snap_close(s);
	m.merging = s;
	memcpy(m.under, m.origin, ORIGIN_BYTES);
	memcpy(m.merge_set, s->excepted, s->chunks);
	if (chance(50)) {		/* from the running snapshot */
		merge_load();
		must(dm_suspend(&m.org, false), "org: suspend");
		must(dm_suspend(&s->dev, false), "%s: suspend", s->dev.name);
		org_resume();
		must(dm_remove(&s->dev), "%s: remove", s->dev.name);
	} else {			/* from what is on disk */
		must(dm_suspend(&m.org, false), "org: suspend");
		must(dm_remove(&s->dev), "%s: remove", s->dev.name);
		merge_load();
		org_resume();
	}
	/* the page cache of org shows what was there before */
	org_close();
	org_open();
	if (ioctl(m.buffered, BLKFLSBUF, 0))
		fail("org: BLKFLSBUF: %s", strerror(errno));
	memcpy(m.origin, s->data, ORIGIN_BYTES);
	for (i = 0; i < SNAPSHOTS; i++)
		if (takes_part(&m.snap[i]))
			merge_touches(&m.snap[i], MAYBE);
	check_states();
	done.merges++;
	/* on a small device it is a matter of milliseconds: get hold of it at the begin */
	if (chance(60))
		op_merge_step();
}

static bool merge_ended(void)
{
	uint64_t used, total, metadata;
	char status[256];

	must(dm_status(&m.org, status, sizeof(status)), "org: status");
	if (sscanf(status, "%lu/%lu %lu", &used, &total, &metadata) != 3)
		fail("org: status of the merge: %s", status);
	return used == metadata;
}

/* "org" is a snapshot-origin again */
static void merge_leave(void)
{
	must(dm_load(&m.org, ORIGIN_SECTORS, "snapshot-origin", "%s", m.base.number), "org: load");
	must(dm_suspend(&m.org, false), "org: suspend");
	org_resume();
}

static void merge_finish(void)
{
	struct snapshot *s = m.merging;
	int i;

	note("%lu: the merge has ended", m.op);
	merge_leave();
	for (i = 0; i < SNAPSHOTS; i++)
		if (takes_part(&m.snap[i]))
			merge_touched(&m.snap[i]);
	m.merging = NULL;
	memset(s->excepted, NO, s->chunks);
	check_store(s);
	forget(s);
	verify_all();
	done.merged++;
}

/*
 * The merge was stopped.  What still has an exception was not written to the base device, or was and the
 * exception has not been dropped yet; the rest is the snapshot's.
 */
static void check_under(struct snapshot *s)
{
	uint64_t sector, c;

	for (sector = 0; sector < ORIGIN_SECTORS; sector++) {
		uint8_t *under = m.under + sector * SECTOR, *view = s->data + sector * SECTOR;

		if (!(sector & 1023))
			must(sectors_read(m.base_fd, m.buf, sector, ORIGIN_SECTORS - sector < 1024 ?
					  ORIGIN_SECTORS - sector : 1024), "base: read");
		c = sector / s->chunk;
		if (s->excepted[c] != YES || !memcmp(m.buf + (sector & 1023) * SECTOR, view, SECTOR))
			same("base", m.buf + (sector & 1023) * SECTOR, view, sector, 1);
		else
			same("base", m.buf + (sector & 1023) * SECTOR, under, sector, 1);
		memcpy(under, m.buf + (sector & 1023) * SECTOR, SECTOR);
	}
}

/* the snapshot is a snapshot again, over an origin into which a part of it was merged */
static void merge_cancel(void)
{
	struct snapshot *s = m.merging;
	uint64_t c;

	note("%lu: the merge is given up", m.op);
	must(dm_suspend(&m.org, false), "org: suspend");
	must(dm_load(&m.org, ORIGIN_SECTORS, "snapshot-origin", "%s", m.base.number), "org: load");
	org_resume();
	/* what the merge has made of the others; there will be no more of it */
	check_states();
	memcpy(s->data, m.origin, ORIGIN_BYTES);
	for (c = 0; c < s->chunks; c++)
		s->excepted[c] = m.merge_set[c] == NO ? NO : MAYBE;
	s->may_change = false;
	check_store(s);
	check_under(s);
	m.merging = NULL;
	memcpy(m.origin, m.under, ORIGIN_BYTES);
	org_suspend();
	snap_make(s, s->chunk);
	org_resume();
	org_close();
	org_open();
	if (ioctl(m.buffered, BLKFLSBUF, 0))
		fail("org: BLKFLSBUF: %s", strerror(errno));
	verify_all();
	done.cancelled++;
}

static void op_merge_step(void)
{
	if (!m.merging)
		return;
	if (merge_ended()) {
		merge_finish();
	} else if (chance(30)) {
		note("%lu: suspend and resume the merge", m.op);
		must(dm_suspend(&m.org, chance(50)), "org: suspend");
		org_resume();
		done.interrupted++;
	} else if (chance(30)) {
		merge_cancel();
	}
}

/* ---- reboot ---------------------------------------------------------------------------------- */

static void activate(struct snapshot *s)
{
	uint32_t chunk = s->chunk;

	/* what the table says does not matter once there is a store; it must fit on the device, though */
	if (chance(30))
		chunk = chance(50) ? 0 : 8;
	if ((chunk ? chunk : 32) > s->cow.sectors)
		chunk = s->chunk;
	s->overflow_allowed = chance(50);
	s->discards = m.discards && chance(40);
	if (s->state == OVERFLOWED)
		s->state = VALID;
	snap_make(s, chunk);
	check_state(s);
}

/* nothing of the target is left, the module is loaded anew at times, all comes back from the devices */
static void op_reboot(void)
{
	int i;

	note("%lu: reboot", m.op);
	org_close();
	/* a merge must not go on without those that copy what it overwrites */
	must(dm_remove(&m.org), "org: remove");
	for (i = 0; i < SNAPSHOTS; i++) {
		struct snapshot *s = &m.snap[i];

		if (!s->there || s == m.merging)
			continue;
		snap_close(s);
		must(dm_remove(&s->dev), "%s: remove", s->dev.name);
		if (s->store == 'N')
			forget(s);
	}
	if (m.reload && chance(60) && system(m.reload))
		fail("%s: failed", m.reload);
	for (i = 0; i < SNAPSHOTS; i++)
		if (m.snap[i].there && &m.snap[i] != m.merging)
			activate(&m.snap[i]);
	if (m.merging) {
		must(dm_create(&m.org, "org"), "org: create");
		merge_load();
		org_resume();
	} else {
		must(dm_make(&m.org, "org", ORIGIN_SECTORS, "snapshot-origin", "%s", m.base.number), "org");
	}
	org_open();
	check_states();
	verify_all();
	done.reboots++;
}

/* ---- the run --------------------------------------------------------------------------------- */

static const struct {
	unsigned int weight;
	void (*run)(void);
} operations[] = {
	{ 300, op_read }, { 300, op_write }, { 40, op_buffered }, { 40, op_batch }, { 40, op_discard },
	{ 15, op_flush }, { 16, op_create }, { 6, op_remove }, { 8, op_suspend }, { 8, op_handover },
	{ 4, op_grow }, { 6, op_merge }, { 12, op_merge_step }, { 2, op_reboot },
};

static void one_operation(void)
{
	uint64_t at, total = 0;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(operations); i++)
		total += operations[i].weight;
	at = rnd_below(total);
	for (i = 0; at >= operations[i].weight; i++)
		at -= operations[i].weight;
	operations[i].run();
}

static void set_up(void)
{
	char number[24];
	uint64_t at;
	int i;

	m.origin = pages(ORIGIN_BYTES);
	m.under = pages(ORIGIN_BYTES);
	m.merge_set = pages(ORIGIN_SECTORS);
	m.buf = pages((size_t)BATCH * 40 * SECTOR + 1024 * SECTOR);
	m.tmp = pages(1024 * SECTOR);
	batch_init(&m.batch, BATCH);
	for (i = 0; i < SNAPSHOTS; i++) {
		m.snap[i].nr = i;
		m.snap[i].data = pages(ORIGIN_BYTES);
		m.snap[i].excepted = pages(ORIGIN_SECTORS);
	}
	fill(m.origin, 0, ORIGIN_SECTORS, 0);
	must(dm_number("/dev/ram0", number, sizeof(number)), "/dev/ram0");
	must(dm_make(&m.base, "base", ORIGIN_SECTORS, "linear", "%s 0", number), "base");
	m.base_fd = open_direct(m.base.node);
	for (at = 0; at < ORIGIN_SECTORS; at += 8)
		must(sectors_write(m.base_fd, m.origin + at * SECTOR, at, 8), "base: write");
	must(dm_make(&m.org, "org", ORIGIN_SECTORS, "snapshot-origin", "%s", m.base.number), "org");
	org_open();
}

static void tear_down(void)
{
	int i;

	while (m.merging && !merge_ended())
		usleep(1000);
	if (m.merging)
		merge_finish();
	verify_all();
	for (i = 0; i < SNAPSHOTS; i++) {
		if (!m.snap[i].there)
			continue;
		snap_close(&m.snap[i]);
		must(dm_remove(&m.snap[i].dev), "%s: remove", m.snap[i].dev.name);
		forget(&m.snap[i]);
	}
	org_close();
	must(dm_remove(&m.org), "org: remove");
	close(m.base_fd);
	must(dm_remove(&m.base), "base: remove");
}

/* @say lines: the test looks at the counts */
static void summary(uint64_t seed, uint64_t ms)
{
	const struct {
		const char *name;
		unsigned long nr;
	} counts[] = {
		{ "reads", done.reads }, { "writes", done.writes }, { "buffered", done.buffered },
		{ "batches", done.batches }, { "discards", done.discards }, { "flushes", done.flushes },
		{ "creations", done.creations }, { "removals", done.removals }, { "suspends", done.suspends },
		{ "handovers", done.handovers }, { "reloads", done.reloads }, { "grown", done.grown },
		{ "merges", done.merges }, { "merged", done.merged }, { "interrupted", done.interrupted },
		{ "cancelled", done.cancelled }, { "reboots", done.reboots }, { "invalid", done.invalid },
		{ "overflow", done.overflow }, { "verified", done.verified }, { "stores", done.stores },
	};
	size_t i;

	printf("model: seed %lu: %lu operations in %lu ms, %lu MB compared\n", seed, m.op, ms,
	       m.bytes_compared >> 20);
	printf("@say model operations %lu\n", m.op);
	printf("@say model seed %lu\n", seed);
	for (i = 0; i < ARRAY_SIZE(counts); i++)
		printf("@say model %s %lu\n", counts[i].name, counts[i].nr);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' }, { "seconds", required_argument, NULL, 't' },
		{ "ops", required_argument, NULL, 'n' }, { "ours", no_argument, NULL, 'o' },
		{ "reload", required_argument, NULL, 'r' }, { "no-discards", no_argument, NULL, 'd' },
		{ "verbose", no_argument, NULL, 'v' },
		{ NULL, 0, NULL, 0 },
	};
	uint64_t seed = 1, seconds = 30, ops = ~0ul, begun, checked;
	int c;

	setvbuf(stdout, NULL, _IOLBF, 0);
	m.discards = true;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 's': seed = strtoull(optarg, NULL, 0); break;
		case 't': seconds = strtoull(optarg, NULL, 0); break;
		case 'n': ops = strtoull(optarg, NULL, 0); break;
		case 'o': m.ours = true; break;
		case 'r': m.reload = optarg; break;
		case 'd': m.discards = false; break;
		case 'v': notes_shown = true; break;
		default: return 2;
		}
	}
	printf("model: seed %lu\n", seed);
	rnd_seed(seed);
	set_up();
	begun = now_ms();
	for (m.op = 1, checked = 0; m.op < ops && now_ms() - begun < seconds * 1000; m.op++) {
		one_operation();
		if (m.op - checked >= 500) {
			verify_all();
			checked = m.op;
		}
	}
	tear_down();
	summary(seed, now_ms() - begun);
	return 0;
}
