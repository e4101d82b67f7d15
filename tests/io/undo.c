// SPDX-License-Identifier: GPL-2.0-or-later
/* Undo: nothing is overwritten before it is saved, whenever the power goes. */
#include "io_test.h"
#include "../../libdmfmt/io/fault.h"
#include "../../libdmfmt/io/undo_format.h"

#define SIZE 65536

static uint8_t before[SIZE];

static void put(struct dmfmt_dev *dev, uint64_t off, size_t len, unsigned seed)
{
	uint8_t *buf = malloc(len + 1);

	fill(buf, off, len, seed);
	EQ(dmfmt_dev_write(dev, off, buf, len), 0);
	free(buf);
}

/* ---- on files ------------------------------------------------------------------------------- */

static uint8_t *load(const char *path, size_t size)
{
	uint8_t *buf = calloc(1, size);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	EQ(read(fd, buf, size), size);
	close(fd);
	return buf;
}

static bool holds(const char *path, const void *want, size_t size)
{
	uint8_t *buf = load(path, size);
	bool same = !memcmp(buf, want, size);

	free(buf);
	return same;
}

static int undo(const char *file, const char *device)
{
	struct dmfmt_undo *u;
	struct dmfmt_dev *dev;
	int err;

	err = dmfmt_undo_open(ctx, file, &u);
	if (err)
		return err;
	err = dmfmt_dev_open(ctx, device, DMFMT_OPEN_WRITE, &dev);
	if (!err)
		err = dmfmt_undo_apply(u, dev);
	dmfmt_dev_close(dev);
	dmfmt_undo_close(u);
	return err;
}

/* Unaligned, overlapping, adjacent and repeated writes, some of them larger than the queue. */
static void change(struct dmfmt_dev *dev)
{
	put(dev, 5, 3, 2);
	put(dev, 100, 5000, 3);
	put(dev, 4096, 512, 4);
	EQ(dmfmt_dev_flush(dev), 0);
	put(dev, 4608, 512, 5);
	put(dev, 5120, 511, 6);
	put(dev, 40000, 20000, 7);
	EQ(dmfmt_dev_flush(dev), 0);
	EQ(dmfmt_dev_flush(dev), 0);
	put(dev, 0, 4096, 8);
	put(dev, 2000, 40000, 9);
	put(dev, SIZE - 1, 1, 10);
}

static void test_round_trip(void)
{
	const char *path = in_folder("device"), *file = in_folder("undo");
	struct dmfmt_undo_info info = { .size = sizeof(info) };
	struct dmfmt_undo *u;
	struct dmfmt_dev *dev;
	uint8_t buf[64], *after;
	struct stat st;

	make_file(path, SIZE, 1);
	fill(before, 0, SIZE, 1);
	EQ(dmfmt_dev_open(ctx, path, DMFMT_OPEN_WRITE, &dev), 0);
	EQ(dmfmt_dev_set_undo(dev, file, "repair -a"), 0);
	EQ(dmfmt_dev_set_undo(dev, file, "again"), -EINVAL);
	CHECK(!dmfmt_dev_undo_path(dev));
	EQ(stat(file, &st), -1);
	put(dev, 5, 3, 2);
	STREQ(dmfmt_dev_undo_path(dev), file);
	EQ(dmfmt_dev_read(dev, 0, buf, 64), 0);
	CHECK(is_filled(buf, 0, 5, 1) && is_filled(buf + 5, 5, 3, 2) &&
	      is_filled(buf + 8, 8, 56, 1));
	CHECK(holds(path, before, SIZE));
	change(dev);
	EQ(dmfmt_dev_sync(dev), 0);
	dmfmt_dev_close(dev);
	after = load(path, SIZE);
	CHECK(is_filled(after, 0, 2000, 8) && is_filled(after + 2000, 2000, 40000, 9));
	CHECK(is_filled(after + SIZE - 1, SIZE - 1, 1, 10));
	EQ(stat(file, &st), 0);
	EQ(st.st_mode & 07777, 0600);

	EQ(dmfmt_undo_open(ctx, file, &u), 0);
	dmfmt_undo_get_info(u, &info);
	STREQ(info.device, path);
	STREQ(info.command, "repair -a");
	STREQ(info.dmfmt_version, DMFMT_VERSION);
	EQ(info.device_bytes, SIZE);
	CHECK(info.complete && info.nr_writes >= 4 && info.bytes >= 40000 &&
	      info.time > 1000000000);
	dmfmt_undo_close(u);
	EQ(undo(file, path), 0);
	CHECK(holds(path, before, SIZE));
	EQ(undo(file, path), 0);	/* and again */
	CHECK(holds(path, before, SIZE));
	free(after);
	unlink(file);
}

static int sum_up(void *arg, const struct dmfmt_write *w)
{
	uint64_t *sum = arg;

	sum[0]++;
	sum[1] += w->length;
	return sum[0] == sum[2] ? -ECANCELED : 0;
}

/* A dry run writes neither the device nor the undo file; undo can be tried as well. */
static void test_dry_run(void)
{
	const char *path = in_folder("device"), *file = in_folder("undo");
	uint64_t sum[3] = { 0 };
	struct dmfmt_undo *u;
	struct dmfmt_dev *dev;
	uint8_t *after;

	EQ(dmfmt_dev_open(ctx, path, 0, &dev), 0);
	EQ(dmfmt_dev_set_dry_run(dev, NULL, NULL), 0);
	EQ(dmfmt_dev_set_undo(dev, file, "dry"), 0);
	change(dev);
	EQ(dmfmt_dev_sync(dev), 0);
	CHECK(!dmfmt_dev_undo_path(dev));
	dmfmt_dev_close(dev);
	CHECK(holds(path, before, SIZE));
	EQ(access(file, F_OK), -1);

	EQ(dmfmt_dev_open(ctx, path, DMFMT_OPEN_WRITE, &dev), 0);
	EQ(dmfmt_dev_set_undo(dev, file, "real"), 0);
	change(dev);
	EQ(dmfmt_dev_sync(dev), 0);
	dmfmt_dev_close(dev);
	after = load(path, SIZE);
	EQ(dmfmt_undo_open(ctx, file, &u), 0);
	EQ(dmfmt_undo_list(u, sum_up, sum), 0);
	CHECK(sum[0] >= 4 && sum[1] >= 60000);
	sum[0] = 0;
	sum[2] = 2;
	EQ(dmfmt_undo_list(u, sum_up, sum), -ECANCELED);
	memset(sum, 0, sizeof(sum));
	EQ(dmfmt_dev_open(ctx, path, 0, &dev), 0);
	EQ(dmfmt_dev_set_dry_run(dev, sum_up, sum), 0);
	EQ(dmfmt_undo_apply(u, dev), 0);
	CHECK(sum[0] && sum[1] >= 60000);
	dmfmt_dev_close(dev);
	CHECK(holds(path, after, SIZE));
	dmfmt_undo_close(u);
	free(after);
	unlink(file);
}

static void flip(const char *path, uint64_t off)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	uint8_t byte;

	EQ(pread(fd, &byte, 1, off), 1);
	byte ^= 0x10;
	EQ(pwrite(fd, &byte, 1, off), 1);
	close(fd);
}

/* An undo file and its device, as after a complete run. */
static uint64_t make_undo(const char *path, const char *file)
{
	struct dmfmt_dev *dev;
	struct stat st;

	unlink(file);
	make_file(path, SIZE, 1);
	EQ(dmfmt_dev_open(ctx, path, DMFMT_OPEN_WRITE, &dev), 0);
	EQ(dmfmt_dev_set_undo(dev, file, "test"), 0);
	put(dev, 1024, 2048, 2);
	put(dev, 8192, 512, 3);
	EQ(dmfmt_dev_flush(dev), 0);
	put(dev, 1536, 512, 4);
	EQ(dmfmt_dev_flush(dev), 0);
	put(dev, 1536, 512, 5);
	EQ(dmfmt_dev_sync(dev), 0);
	dmfmt_dev_close(dev);
	EQ(stat(file, &st), 0);
	return st.st_size;
}

/* The device has moved on: refused before anything is written. */
static void test_stale(void)
{
	const char *path = in_folder("device"), *file = in_folder("undo");
	uint64_t off;
	uint8_t *after;

	make_undo(path, file);
	for (off = 0; off < 10240; off += 512) {
		bool ours = (off >= 1024 && off < 3072) || off == 8192;
		char words[64];

		flip(path, off + 7);
		after = load(path, SIZE);
		if (ours) {
			EQ(undo(file, path), -ESTALE);
			snprintf(words, sizeof(words), "device: offset %u: holds neither",
				 (unsigned)off);
			CHECK(error_has(words));
			CHECK(holds(path, after, SIZE));
		}
		flip(path, off + 7);
		free(after);
	}
	/* a state of the middle is one of its history */
	after = malloc(512);
	fill(after, 1536, 512, 4);
	off = open(path, O_WRONLY | O_CLOEXEC);
	EQ(pwrite(off, after, 512, 1536), 512);
	close(off);
	free(after);
	EQ(undo(file, path), 0);
	CHECK(holds(path, before, SIZE));
	EQ(truncate(path, SIZE - 512), 0);
	EQ(undo(file, path), -ESTALE);
	CHECK(error_has("size 65024, expected 65536 as recorded"));
}

/* One flipped bit anywhere is seen; it is never taken for a cut while the mark is there. */
static void test_damage(void)
{
	const char *path = in_folder("device"), *file = in_folder("undo");
	uint64_t off, size = make_undo(path, file);
	uint8_t *after = load(path, SIZE);
	unsigned unseen = 0, touched = 0;

	for (off = 0; off < size; off += 3) {
		int err;

		flip(file, off);
		err = undo(file, path);
		/* the mark itself: then the file is that of a command that was cut */
		if (off >= size - UNDO_BLOCK && !err) {
			EQ(truncate(path, 0), 0);
			off = open(path, O_WRONLY | O_CLOEXEC);
			EQ(write(off, after, SIZE), SIZE);
			close(off);
			break;
		}
		unseen += err != -EILSEQ && err != -EOPNOTSUPP;
		touched += !holds(path, after, SIZE);
		flip(file, off);
	}
	EQ(unseen, 0);
	EQ(touched, 0);
	free(after);
}

/* Cut at any length: an error, or as after a power cut; never a crash, never half an undo. */
static void test_truncated(void)
{
	const char *path = in_folder("device"), *file = in_folder("undo");
	uint64_t size = make_undo(path, file);
	uint8_t *now;
	unsigned good = 0, refused = 0, other = 0;
	int64_t cut;

	for (cut = size; cut >= 0; cut -= 256) {
		int err;

		EQ(truncate(file, cut), 0);
		err = undo(file, path);
		if (!err && holds(path, before, SIZE)) {
			good++;
			make_undo(path, file);
			continue;
		}
		refused += err == -EILSEQ || err == -ESTALE;
		other += err && err != -EILSEQ && err != -ESTALE;
		if (!err) {
			/* a whole batch is missing: what is left was undone */
			now = load(path, SIZE);
			CHECK(is_filled(now, 0, 1024, 1));
			free(now);
			make_undo(path, file);
		}
	}
	EQ(other, 0);
	CHECK(good >= 2 && refused >= 4);
}

static void test_refused(void)
{
	const char *path = in_folder("device");
	struct dmfmt_undo *u;
	struct dmfmt_dev *dev;

	make_file(path, SIZE, 1);
	make_file(in_folder("there"), 0, 1);
	EQ(dmfmt_dev_open(ctx, path, DMFMT_OPEN_WRITE, &dev), 0);
	EQ(dmfmt_dev_set_undo(dev, path, "x"), -EEXIST);
	EQ(dmfmt_dev_set_undo(dev, in_folder("there"), "x"), -EEXIST);
	CHECK(error_has("there: exists, expected a new name"));
	EQ(dmfmt_dev_set_undo(dev, in_folder("none/undo"), "x"), -ENOENT);
	EQ(dmfmt_dev_set_undo(dev, in_folder("there/undo"), "x"), -ENOTDIR);
	EQ(dmfmt_dev_set_undo(dev, in_folder("ok"), "x"), 0);
	/* made by another in the meantime */
	make_file(in_folder("ok"), 3, 1);
	EQ(dmfmt_dev_write(dev, 0, "x", 1), -EEXIST);
	EQ(dmfmt_dev_write(dev, 0, "x", 1), -EEXIST);
	dmfmt_dev_close(dev);
	CHECK(holds(path, before, SIZE));
	EQ(dmfmt_undo_open(ctx, path, &u), -EILSEQ);
	CHECK(error_has("device: offset 0: no header of an undo file"));
	EQ(dmfmt_undo_open(ctx, in_folder("there"), &u), -EILSEQ);
	EQ(dmfmt_undo_open(ctx, in_folder("none"), &u), -ENOENT);
	dmfmt_undo_close(NULL);
}

/* More than the queue and than one record and one window, in any order. */
static void test_large(void)
{
	const char *path = in_folder("large"), *file = in_folder("undo");
	const size_t size = 40u << 20;
	struct dmfmt_dev *dev;
	unsigned seed = 5, i;
	uint8_t *old, *copy, *buf = malloc(3u << 20);

	unlink(file);
	make_file(path, size, 1);
	old = load(path, size);
	copy = load(path, size);
	EQ(dmfmt_dev_open(ctx, path, DMFMT_OPEN_WRITE, &dev), 0);
	EQ(dmfmt_dev_set_undo(dev, file, "test"), 0);
	for (i = 0; i < 600; i++) {
		size_t len = i % 40 ? seed % 5000 : (seed >> 9) % (3u << 20), off;

		seed = seed * 1103515245 + 12345;
		off = (seed >> 4) % (size - len);
		fill(buf, off, len, i);
		memcpy(copy + off, buf, len);
		EQ(dmfmt_dev_write(dev, off, buf, len), 0);
		if (i % 100 == 99)
			EQ(dmfmt_dev_flush(dev), 0);
		if (i % 50 == 0) {
			EQ(dmfmt_dev_read(dev, off / 2, buf, 1 << 20), 0);
			CHECK(!memcmp(buf, copy + off / 2, 1 << 20));
		}
	}
	EQ(dmfmt_dev_sync(dev), 0);
	dmfmt_dev_close(dev);
	CHECK(holds(path, copy, size));
	EQ(undo(file, path), 0);
	CHECK(holds(path, old, size));
	free(old);
	free(copy);
	free(buf);
}

/* ---- power cuts ----------------------------------------------------------------------------- */

struct crash {
	uint64_t states, headless, applied, complete, reruns;
	const uint8_t *after;
	uint64_t synced;	/* writes when the command had ended */
};

static struct dmfmt_dev *buffer_device(void *buf, uint64_t size)
{
	struct dmfmt_dev *dev = NULL;

	EQ(dmfmt_dev_open_buffer(ctx, buf, size & ~511ull, &dev), 0);
	return dev;
}

static int apply(void *buf, void *undo_buf, uint64_t undo_size, struct crash *c)
{
	struct dmfmt_dev *dev = buffer_device(buf, SIZE);
	struct dmfmt_dev *file = buffer_device(undo_buf, undo_size);
	struct dmfmt_undo_info info = { .size = sizeof(info) };
	struct dmfmt_undo *u = NULL;
	int err;

	err = dmfmt_undo_open_dev(ctx, file, &u);
	if (!err) {
		dmfmt_undo_get_info(u, &info);
		c->complete += info.complete;
		err = dmfmt_undo_apply(u, dev);
	}
	dmfmt_undo_close(u);
	dmfmt_dev_close(dev);
	dmfmt_dev_close(file);
	return err;
}

/* Whatever is left: either there is no undo file yet and the device is untouched, or undo brings it
 * back. */
static int crash_state(void *arg, uint64_t nr_writes, void **bufs, const uint64_t *sizes,
		       unsigned nr)
{
	struct crash *c = arg;
	int err;

	c->states++;
	if (nr_writes >= c->synced && memcmp(bufs[0], c->after, SIZE)) {
		printf("# behind write %u: what was synced is not there\n", (unsigned)nr_writes);
		return -EIO;
	}
	err = apply(bufs[0], bufs[1], sizes[1], c);
	c->applied += !err;
	if (err == -EILSEQ)
		c->headless++;
	if ((!err || err == -EILSEQ) && !memcmp(bufs[0], before, SIZE))
		return 0;
	printf("# behind write %u: %d %s\n", (unsigned)nr_writes, err, dmfmt_ctx_error(ctx));
	return -EIO;
}

/* A disk with the content `before` and an empty undo file, in one world. */
struct pair {
	struct dmfmt_world *w;
	struct dmfmt_dev *dev, *file;
};

static struct pair make_pair(void)
{
	struct pair p = { .w = dmfmt_world_new() };

	EQ(dmfmt_world_add(p.w, ctx, before, SIZE, 512, false, "disk", NULL, &p.dev), 0);
	EQ(dmfmt_world_add(p.w, ctx, NULL, 0, 512, true, "undo", NULL, &p.file), 0);
	EQ(dmfmt_dev_set_undo_dev(p.dev, p.file, "test"), 0);
	return p;
}

static void free_pair(struct pair *p)
{
	dmfmt_dev_close(p->dev);
	dmfmt_dev_close(p->file);
	dmfmt_world_free(p->w);
}

static uint64_t nr_writes_of(const struct pair *p)
{
	uint64_t reads, writes, flushes;

	dmfmt_world_counts(p->w, &reads, &writes, &flushes);
	return writes;
}

/* Content of both behind @nr_writes writes, with the pending blocks where @bits has a bit. */
static void state_of(const struct pair *p, uint64_t nr_writes, uint8_t bits, void **bufs,
		     uint64_t *sizes)
{
	static uint8_t subset[65536];
	unsigned i;

	memset(subset, bits, sizeof(subset));
	for (i = 0; i < 2; i++)
		EQ(dmfmt_world_state(p->w, nr_writes, subset, i, &bufs[i], &sizes[i]), 0);
}

static void test_power_cuts(void)
{
	struct crash c = { 0 };
	struct pair p;
	uint64_t sizes[2];
	int64_t states;
	void *bufs[2];

	fill(before, 0, SIZE, 1);
	p = make_pair();
	change(p.dev);
	EQ(dmfmt_dev_sync(p.dev), 0);
	/* the mark is the last write; the device was complete before it */
	c.synced = nr_writes_of(&p);
	state_of(&p, c.synced, 0xff, bufs, sizes);
	c.after = bufs[0];
	states = dmfmt_world_each_state(p.w, 10, 200, 42, crash_state, &c);
	CHECK(states > 500);
	printf("# %lld states: %u undone, %u without an undo file yet, %u after the end\n",
	       (long long)states, (unsigned)c.applied, (unsigned)c.headless, (unsigned)c.complete);
	CHECK(c.headless && c.complete && c.applied > c.headless);
	free_pair(&p);
	free(bufs[0]);
	free(bufs[1]);
}

static int rerun_state(void *arg, uint64_t nr_writes, void **bufs, const uint64_t *sizes,
		       unsigned nr)
{
	struct crash *c = arg;
	int err = apply(bufs[0], bufs[1], sizes[1], c);

	c->states++;
	if (!err && !memcmp(bufs[0], before, SIZE))
		return 0;
	printf("# undo cut behind write %u: %d %s\n", (unsigned)nr_writes, err,
	       dmfmt_ctx_error(ctx));
	return -EIO;
}

/* Undo what is in @bufs, in a world where that can be cut at any moment, and again from there. */
static void undo_with_cuts(void **bufs, uint64_t *sizes)
{
	struct dmfmt_world *w = dmfmt_world_new();
	struct dmfmt_dev *dev, *file;
	struct dmfmt_undo *u;
	struct crash c = { 0 };

	sizes[1] &= ~511ull;
	EQ(dmfmt_world_add(w, ctx, bufs[0], SIZE, 512, false, "disk", NULL, &dev), 0);
	EQ(dmfmt_world_add(w, ctx, bufs[1], sizes[1], 512, false, "undo", NULL, &file), 0);
	if (!dmfmt_undo_open_dev(ctx, file, &u)) {
		EQ(dmfmt_undo_apply(u, dev), 0);
		CHECK(dmfmt_world_each_state(w, 10, 200, 1, rerun_state, &c) > 0);
		dmfmt_undo_close(u);
	}
	dmfmt_dev_close(dev);
	dmfmt_dev_close(file);
	dmfmt_world_free(w);
}

/* The undo itself is cut and run again: from the end, and from the middle of the command. */
static void test_undo_is_cut(void)
{
	struct pair p = make_pair();
	uint64_t sizes[2], cut;
	void *bufs[2];

	change(p.dev);
	EQ(dmfmt_dev_sync(p.dev), 0);
	for (cut = 2; cut <= nr_writes_of(&p); cut++) {
		state_of(&p, cut, 0x55, bufs, sizes);
		undo_with_cuts(bufs, sizes);
		free(bufs[0]);
		free(bufs[1]);
	}
	free_pair(&p);
}

static int write_some(struct dmfmt_dev *dev)
{
	uint8_t page[4096];
	unsigned i;
	int err = 0;

	for (i = 0; i < 8 && !err; i++) {
		fill(page, i * 5000, sizeof(page), i + 2);
		err = dmfmt_dev_write(dev, i * 5000, page, sizeof(page));
		if (!err && i % 2)
			err = dmfmt_dev_flush(dev);
	}
	return err ? err : dmfmt_dev_sync(dev);
}

/* One fault on the way: true if the command has stopped because of it. */
static bool with_fault(enum dmfmt_fault what, unsigned nr)
{
	struct crash c = { 0 };
	struct pair p = make_pair();
	uint64_t sizes[2];
	void *bufs[2];
	int err, applied;

	dmfmt_world_cue(p.w, what, nr);
	err = write_some(p.dev);
	if (err) {
		/* for good: nothing more is written */
		EQ(dmfmt_dev_write(p.dev, 0, "x", 1), err);
		EQ(dmfmt_dev_flush(p.dev), err);
		state_of(&p, nr_writes_of(&p), 0xff, bufs, sizes);
		applied = apply(bufs[0], bufs[1], sizes[1], &c);
		CHECK(!applied || applied == -EILSEQ);
		CHECK(!memcmp(bufs[0], before, SIZE));
		free(bufs[0]);
		free(bufs[1]);
	}
	free_pair(&p);
	return err;
}

/* Every fault, of the undo file or of the device: the command stops, and undo brings it back. */
static void test_faults(void)
{
	static const enum dmfmt_fault faults[] = {
		DMFMT_FAULT_READ_EIO, DMFMT_FAULT_WRITE_EIO, DMFMT_FAULT_WRITE_ENOSPC,
		DMFMT_FAULT_WRITE_SHORT, DMFMT_FAULT_FLUSH_LOST
	};
	unsigned i, nr, stopped = 0;

	for (i = 0; i < 5; i++)
		for (nr = 0; nr < 30; nr++)
			stopped += with_fault(faults[i], nr);
	CHECK(stopped > 50);
}

int main(void)
{
	test_begin();
	RUN(test_round_trip);
	RUN(test_dry_run);
	RUN(test_stale);
	RUN(test_damage);
	RUN(test_truncated);
	RUN(test_refused);
	RUN(test_large);
	RUN(test_power_cuts);
	RUN(test_undo_is_cut);
	RUN(test_faults);
	return DONE();
}
