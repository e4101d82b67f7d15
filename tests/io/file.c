// SPDX-License-Identifier: GPL-2.0-or-later
/* The bottom of a file, when system calls do less than was asked for: these stand in for libc's. */
#include <sys/syscall.h>
#include "io_test.h"

#define SIZE 100000

static enum { WHOLE, SHORT, INTERRUPTED, NOTHING, FAIL } mood;
static unsigned calls, syncs, dir_syncs;

static long pass(long nr, int fd, uintptr_t buf, size_t len, off_t off)
{
#if __LONG_WIDTH__ == 32
	return syscall(nr, fd, buf, len, (long)off, (long)(off >> 32));
#else
	return syscall(nr, fd, buf, len, off);
#endif
}

static long moody(long nr, int fd, uintptr_t buf, size_t len, off_t off)
{
	calls++;
	if (mood == INTERRUPTED && calls % 2) {
		errno = EINTR;
		return -1;
	}
	if (mood == NOTHING && calls > 1)
		return 0;
	if (mood == FAIL && calls > 1) {
		errno = ENOSPC;
		return -1;
	}
	if (mood != WHOLE && len > 1000)
		len = 1000;
	return pass(nr, fd, buf, len, off);
}

ssize_t pread(int fd, void *buf, size_t len, off_t off)
{
	return moody(SYS_pread64, fd, (uintptr_t)buf, len, off);
}

ssize_t pwrite(int fd, const void *buf, size_t len, off_t off)
{
	return moody(SYS_pwrite64, fd, (uintptr_t)buf, len, off);
}

int fdatasync(int fd)
{
	if (++syncs % 2 && mood == INTERRUPTED) {
		errno = EINTR;
		return -1;
	}
	if (mood == FAIL) {
		errno = EIO;
		return -1;
	}
	return 0;
}

int fsync(int fd)
{
	struct stat st;

	if (!fstat(fd, &st) && S_ISDIR(st.st_mode))
		dir_syncs++;
	return 0;
}

static void set_mood(int m)
{
	mood = m;
	calls = syncs = dir_syncs = 0;
}

static uint8_t buf[SIZE], back[SIZE];

static void test_short(void)
{
	struct dmfmt_dev *dev;
	int m;

	for (m = SHORT; m <= INTERRUPTED; m++) {
		set_mood(WHOLE);
		make_file(in_folder("file"), SIZE, 1);
		EQ(dmfmt_dev_open(ctx, in_folder("file"), DMFMT_OPEN_WRITE, &dev), 0);
		set_mood(m);
		EQ(dmfmt_dev_read(dev, 17, buf, 50001), 0);
		CHECK(is_filled(buf, 17, 50001, 1));
		CHECK(calls >= 51);
		fill(buf, 4000, 60000, 2);
		EQ(dmfmt_dev_write(dev, 4000, buf, 60000), 0);
		EQ(dmfmt_dev_flush(dev), 0);
		EQ(dmfmt_dev_read(dev, 0, back, 99840), 0);
		CHECK(is_filled(back, 0, 4000, 1) && is_filled(back + 4000, 4000, 60000, 2) &&
		      is_filled(back + 64000, 64000, 35840, 1));
		dmfmt_dev_close(dev);
	}
}

static void test_failing(void)
{
	struct dmfmt_dev *dev;

	set_mood(WHOLE);
	EQ(dmfmt_dev_open(ctx, in_folder("file"), DMFMT_OPEN_WRITE, &dev), 0);
	set_mood(NOTHING);
	EQ(dmfmt_dev_read(dev, 0, buf, 5000), -EIO);
	set_mood(FAIL);
	EQ(dmfmt_dev_read(dev, 0, buf, 5000), -ENOSPC);
	EQ(dmfmt_dev_flush(dev), -EIO);
	set_mood(WHOLE);
	EQ(dmfmt_dev_flush(dev), -EIO);
	dmfmt_dev_close(dev);
	EQ(dmfmt_dev_open(ctx, in_folder("file"), DMFMT_OPEN_WRITE, &dev), 0);
	set_mood(FAIL);
	EQ(dmfmt_dev_write(dev, 0, buf, 5000), -ENOSPC);
	CHECK(error_has("No space left"));
	dmfmt_dev_close(dev);
	set_mood(WHOLE);
	EQ(dmfmt_dev_open(ctx, in_folder("file"), DMFMT_OPEN_WRITE, &dev), 0);
	set_mood(NOTHING);
	EQ(dmfmt_dev_write(dev, 0, buf, 5000), -EIO);
	dmfmt_dev_close(dev);
	set_mood(WHOLE);
}

static void test_shrunk(void)
{
	struct dmfmt_dev *dev;

	EQ(dmfmt_dev_open(ctx, in_folder("file"), 0, &dev), 0);
	EQ(truncate(in_folder("file"), 50000), 0);
	EQ(dmfmt_dev_read(dev, 40000, buf, 10000), 0);
	EQ(dmfmt_dev_read(dev, 40000, buf, 10001), -EIO);
	EQ(dmfmt_dev_read(dev, 60000, buf, 512), -EIO);
	CHECK(error_has(": offset 60000: read of 512 bytes failed"));
	dmfmt_dev_close(dev);
}

/* The name of a new file is as durable as its content. */
static void test_new_file(void)
{
	struct dmfmt_dev *dev;

	EQ(dmfmt_dev_open(ctx, in_folder("fresh"), DMFMT_OPEN_CREATE, &dev), 0);
	set_mood(WHOLE);
	EQ(dmfmt_dev_truncate(dev, 4096), 0);
	EQ(dmfmt_dev_write(dev, 0, "x", 1), 0);
	EQ(syncs + dir_syncs, 0);
	EQ(dmfmt_dev_sync(dev), 0);
	EQ(syncs, 1);
	EQ(dir_syncs, 1);
	EQ(dmfmt_dev_flush(dev), 0);
	EQ(dir_syncs, 1);
	dmfmt_dev_close(dev);
}

/* A write of part of a block keeps the rest, block by block, and never writes outside. */
static void test_edges(void)
{
	struct dmfmt_layer *l;
	struct dmfmt_dev *dev;
	unsigned off, len;

	make_file(in_folder("edges"), 16384, 5);
	EQ(dmfmt_file_layer_new(open(in_folder("edges"), O_RDWR | O_CLOEXEC), true, 4096, &l), 0);
	EQ(dmfmt_dev_from_layer(ctx, l, 16384, 4096, "edges", &dev), 0);
	for (off = 0; off < 9000; off += 1021)
		for (len = 1; off + len < 16384; len = len * 3 + 1) {
			fill(buf, off, len, 6);
			EQ(dmfmt_dev_write(dev, off, buf, len), 0);
			EQ(dmfmt_dev_read(dev, 0, back, 16384), 0);
			CHECK(is_filled(back, 0, off, 5) && is_filled(back + off, off, len, 6) &&
			      is_filled(back + off + len, off + len, 16384 - off - len, 5));
			fill(buf, off, len, 5);
			EQ(dmfmt_dev_write(dev, off, buf, len), 0);
		}
	dmfmt_dev_close(dev);
}

int main(void)
{
	test_begin();
	RUN(test_short);
	RUN(test_failing);
	RUN(test_shrunk);
	RUN(test_new_file);
	RUN(test_edges);
	return DONE();
}
