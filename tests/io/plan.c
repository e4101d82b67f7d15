// SPDX-License-Identifier: GPL-2.0-or-later
/* The list of writes: a dry run lists what the real run does, and reads as if it had been done. */
#include "io_test.h"
#include "../../libdmfmt/format/crc32c.h"
#include "../../libdmfmt/io/fault.h"

#define SIZE (1u << 20)
#define LISTED_MAX 2000

struct list {
	struct dmfmt_write w[LISTED_MAX];
	size_t nr, stop_at;
};

static int add(void *arg, const struct dmfmt_write *w)
{
	struct list *l = arg;

	EQ(w->size, sizeof(*w));
	if (l->nr == l->stop_at)
		return -ECANCELED;
	l->w[l->nr++] = *w;
	return 0;
}

/* Some work: unaligned, overlapping, large and empty writes, flushes, what is read decides. */
static int work(struct dmfmt_dev *dev)
{
	static uint8_t buf[300000];
	unsigned seed = 3, i;
	int err = 0;

	for (i = 0; i < 300 && !err; i++) {
		size_t len = (seed >> 8) % (i % 50 ? 9000 : sizeof(buf));
		size_t off = seed % (SIZE - sizeof(buf));

		err = dmfmt_dev_read(dev, off, buf, len);
		seed = seed * 1103515245 + dmfmt_crc32c(0, buf, len);
		fill(buf, off, len, i);
		if (!err)
			err = dmfmt_dev_write(dev, off, buf, i % 7 ? len : 0);
		if (!err && i % 40 == 0)
			err = dmfmt_dev_flush(dev);
	}
	if (!err)
		err = dmfmt_dev_zero(dev, 4097, SIZE - 5000);
	if (!err)
		err = dmfmt_dev_write(dev, SIZE - 1, "z", 1);
	return err ? err : dmfmt_dev_sync(dev);
}

static struct list dry, real;

static void same_lists(void)
{
	size_t i, bad = 0;

	EQ(real.nr, dry.nr);
	for (i = 0; i < dry.nr && i < real.nr; i++)
		bad += memcmp(&dry.w[i], &real.w[i], sizeof(dry.w[i])) != 0;
	EQ(bad, 0);
}

/* Dry: untouched, but it reads as if. Real, with or without undo, in both orders: the same list. */
static void test_same_list(void)
{
	const char *path = in_folder("file");
	uint8_t *seen = malloc(SIZE), *done = malloc(SIZE);
	struct dmfmt_dev *dev;
	int way;

	make_file(path, SIZE, 1);
	dry.nr = 0;
	dry.stop_at = LISTED_MAX;
	EQ(dmfmt_dev_open(ctx, path, 0, &dev), 0);
	EQ(dmfmt_dev_set_dry_run(dev, add, &dry), 0);
	EQ(work(dev), 0);
	EQ(dmfmt_dev_read(dev, 0, seen, SIZE), 0);
	dmfmt_dev_close(dev);
	CHECK(dry.nr > 200);
	EQ(dmfmt_dev_open(ctx, path, 0, &dev), 0);
	EQ(dmfmt_dev_read(dev, 0, done, SIZE), 0);
	CHECK(is_filled(done, 0, SIZE, 1));
	dmfmt_dev_close(dev);
	for (way = 0; way < 4; way++) {
		make_file(path, SIZE, 1);
		real.nr = 0;
		real.stop_at = LISTED_MAX;
		EQ(dmfmt_dev_open(ctx, path, DMFMT_OPEN_WRITE, &dev), 0);
		if (way == 1)
			EQ(dmfmt_dev_set_undo(dev, in_folder("undo"), "work"), 0);
		EQ(dmfmt_dev_set_trace(dev, way == 3 ? NULL : add, &real), 0);
		if (way == 2)
			EQ(dmfmt_dev_set_undo(dev, in_folder("undo"), "work"), 0);
		EQ(work(dev), 0);
		if (way != 3)
			same_lists();
		dmfmt_dev_close(dev);
		EQ(dmfmt_dev_open(ctx, path, 0, &dev), 0);
		EQ(dmfmt_dev_read(dev, 0, done, SIZE), 0);
		CHECK(!memcmp(done, seen, SIZE));
		dmfmt_dev_close(dev);
		unlink(in_folder("undo"));
	}
	free(seen);
	free(done);
}

static void test_list(void)
{
	uint8_t image[8192], old[8192];
	struct dmfmt_dev *dev;

	fill(image, 0, sizeof(image), 1);
	memcpy(old, image, sizeof(old));
	dry.nr = 0;
	dry.stop_at = LISTED_MAX;
	EQ(dmfmt_dev_open_buffer(ctx, image, sizeof(image), &dev), 0);
	EQ(dmfmt_dev_set_dry_run(dev, add, &dry), 0);
	EQ(dmfmt_dev_write(dev, 4090, "123456789", 9), 0);
	EQ(dmfmt_dev_write(dev, 4091, "x", 1), 0);
	EQ(dry.nr, 2);
	EQ(dry.w[0].offset, 4090);
	EQ(dry.w[0].length, 9);
	EQ(dry.w[0].old_crc, dmfmt_crc32c(0, old + 4090, 9));
	EQ(dry.w[0].new_crc, 0xe3069283);
	EQ(dry.w[1].old_crc, dmfmt_crc32c(0, "2", 1));
	CHECK(!memcmp(image, old, sizeof(old)));
	dmfmt_dev_close(dev);
}

/* A callback ends the work, and the write it refused is neither done nor seen. */
static void test_stop(void)
{
	struct dmfmt_dev *dev;
	uint8_t image[4096] = "before", buf[8];

	real.nr = 0;
	real.stop_at = 1;
	EQ(dmfmt_dev_open_buffer(ctx, image, sizeof(image), &dev), 0);
	EQ(dmfmt_dev_set_trace(dev, add, &real), 0);
	EQ(dmfmt_dev_write(dev, 100, "x", 1), 0);
	EQ(dmfmt_dev_write(dev, 0, "after.", 6), -ECANCELED);
	EQ(dmfmt_dev_read(dev, 0, buf, 7), 0);
	STREQ((char *)buf, "before");
	EQ(dmfmt_dev_write(dev, 0, "x", 1), -ECANCELED);
	dmfmt_dev_close(dev);
}

/* What cannot be read cannot be listed, unless the dry run has written it whole. */
static void test_unreadable(void)
{
	struct dmfmt_world *w = dmfmt_world_new();
	struct dmfmt_dev *dev;
	uint8_t page[4096] = { 1 };

	EQ(dmfmt_world_add(w, ctx, NULL, 65536, 512, false, "disk", NULL, &dev), 0);
	EQ(dmfmt_dev_set_dry_run(dev, NULL, NULL), 0);
	dmfmt_world_cue(w, DMFMT_FAULT_READ_EIO, 0);
	dmfmt_world_cue(w, DMFMT_FAULT_READ_EIO, 1);
	EQ(dmfmt_dev_write(dev, 4096, page, 4096), 0);
	EQ(dmfmt_dev_read(dev, 4096, page, 4096), 0);
	EQ(page[0], 1);
	EQ(dmfmt_dev_read(dev, 0, page, 512), -EIO);
	EQ(dmfmt_dev_write(dev, 8192, page, 1), -EIO);
	dmfmt_dev_close(dev);
	dmfmt_world_free(w);
}

static void test_size(void)
{
	const char *path = in_folder("growing");
	struct dmfmt_dev *dev;
	struct stat st;
	uint8_t buf[16];

	EQ(dmfmt_dev_open(ctx, path, DMFMT_OPEN_CREATE, &dev), 0);
	EQ(dmfmt_dev_truncate(dev, 512), 0);
	EQ(dmfmt_dev_set_dry_run(dev, NULL, NULL), 0);
	EQ(dmfmt_dev_truncate(dev, 65536), 0);
	EQ(dmfmt_dev_write(dev, 600, "far", 3), 0);
	EQ(dmfmt_dev_write(dev, 60000, "farther", 7), 0);
	EQ(dmfmt_dev_truncate(dev, 512), 0);
	EQ(dmfmt_dev_truncate(dev, 65536), 0);
	EQ(dmfmt_dev_read(dev, 600, buf, 3), 0);
	CHECK(!buf[0]);
	EQ(dmfmt_dev_read(dev, 60000, buf, 7), 0);
	CHECK(!buf[0]);
	EQ(stat(path, &st), 0);
	EQ(st.st_size, 512);
	dmfmt_dev_close(dev);
}

int main(void)
{
	test_begin();
	RUN(test_list);
	RUN(test_same_list);
	RUN(test_stop);
	RUN(test_unreadable);
	RUN(test_size);
	return DONE();
}
