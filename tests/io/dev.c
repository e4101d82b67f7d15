// SPDX-License-Identifier: GPL-2.0-or-later
/* The device handle: bounds, the latch, kinds of files, alignment. */
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "io_test.h"
#include "../../libdmfmt/io/fault.h"

#define SIZE 65536

static uint8_t image[SIZE];

static void test_bounds(void)
{
	struct dmfmt_dev *dev;
	uint8_t buf[1024];

	fill(image, 0, SIZE, 1);
	EQ(dmfmt_dev_open_buffer(ctx, image, SIZE, &dev), 0);
	EQ(dmfmt_dev_read(dev, SIZE - 1, buf, 1), 0);
	CHECK(is_filled(buf, SIZE - 1, 1, 1));
	EQ(dmfmt_dev_read(dev, SIZE, buf, 0), 0);
	EQ(dmfmt_dev_read(dev, SIZE, buf, 1), -ERANGE);
	CHECK(error_has("buffer: offset 65536: read of 1 bytes, the device ends at 65536"));
	EQ(dmfmt_dev_read(dev, SIZE - 1, buf, 2), -ERANGE);
	EQ(dmfmt_dev_read(dev, UINT64_MAX, buf, 2), -ERANGE);
	EQ(dmfmt_dev_read(dev, UINT64_MAX - 1, buf, 1024), -ERANGE);
	EQ(dmfmt_dev_read(dev, 512, buf, SIZE_MAX), -ERANGE);
	EQ(dmfmt_dev_write(dev, SIZE - 1, buf, 2), -ERANGE);
	EQ(dmfmt_dev_write(dev, UINT64_MAX, buf, 1), -ERANGE);
	EQ(dmfmt_dev_zero(dev, UINT64_MAX - 10, 20), -ERANGE);
	EQ(dmfmt_dev_zero(dev, 0, UINT64_MAX), -ERANGE);
	CHECK(is_filled(image, 0, SIZE, 1));
	EQ(dmfmt_dev_write(dev, 3, "abc", 3), 0);
	CHECK(!memcmp(image + 3, "abc", 3));
	CHECK(is_filled(image, 0, 3, 1) && is_filled(image + 6, 6, 9, 1));
	EQ(dmfmt_dev_zero(dev, 1, SIZE - 2), 0);
	CHECK(is_filled(image, 0, 1, 1) && !image[1] && !image[SIZE - 2]);
	CHECK(is_filled(image + SIZE - 1, SIZE - 1, 1, 1));
	EQ(dmfmt_dev_sync(dev), 0);
	EQ(dmfmt_dev_truncate(dev, 512), -EINVAL);
	dmfmt_dev_close(dev);
	dmfmt_dev_close(NULL);
	EQ(dmfmt_dev_open_buffer(ctx, image, 513, &dev), -EINVAL);
}

static void test_latch(void)
{
	static const enum dmfmt_fault faults[] = { DMFMT_FAULT_WRITE_EIO, DMFMT_FAULT_WRITE_ENOSPC,
						   DMFMT_FAULT_WRITE_SHORT };
	struct dmfmt_world *w;
	struct dmfmt_dev *dev;
	uint8_t buf[4096] = { 1 };
	size_t i;

	for (i = 0; i < 3; i++) {
		int err = faults[i] == DMFMT_FAULT_WRITE_ENOSPC ? -ENOSPC : -EIO;

		w = dmfmt_world_new();
		EQ(dmfmt_world_add(w, ctx, NULL, SIZE, 512, false, "disk", NULL, &dev), 0);
		dmfmt_world_cue(w, faults[i], 1);
		EQ(dmfmt_dev_write(dev, 0, buf, 4096), 0);
		EQ(dmfmt_dev_write(dev, 4096, buf, 4096), err);
		CHECK(error_has("disk: offset 4096: write of 4096 bytes failed: "));
		EQ(dmfmt_dev_write(dev, 0, buf, 4096), err);
		CHECK(error_has("disk: write refused: an earlier write or flush failed"));
		EQ(dmfmt_dev_flush(dev), err);
		EQ(dmfmt_dev_read(dev, 0, buf, 4096), 0);
		dmfmt_dev_close(dev);
		dmfmt_world_free(w);
	}
	w = dmfmt_world_new();
	EQ(dmfmt_world_add(w, ctx, NULL, SIZE, 512, false, "disk", NULL, &dev), 0);
	dmfmt_world_cue(w, DMFMT_FAULT_FLUSH_LOST, 0);
	EQ(dmfmt_dev_write(dev, 0, "lost", 4), 0);
	EQ(dmfmt_dev_flush(dev), -EIO);
	CHECK(error_has("disk: flush failed, nothing since the last one is durable"));
	EQ(dmfmt_dev_flush(dev), -EIO);
	EQ(dmfmt_dev_sync(dev), -EIO);
	EQ(dmfmt_dev_write(dev, 0, "more", 4), -EIO);
	EQ(dmfmt_dev_read(dev, 0, buf, 4), 0);
	CHECK(!buf[0]);
	dmfmt_dev_close(dev);
	dmfmt_world_free(w);
}

static void test_read_errors(void)
{
	struct dmfmt_world *w = dmfmt_world_new();
	struct dmfmt_dev *dev;
	uint8_t buf[4096];

	EQ(dmfmt_world_add(w, ctx, NULL, SIZE, 512, false, "disk", NULL, &dev), 0);
	dmfmt_world_cue(w, DMFMT_FAULT_READ_EIO, 0);
	dmfmt_world_cue(w, DMFMT_FAULT_READ_SHORT, 2);
	EQ(dmfmt_dev_read(dev, 512, buf, 4096), -EIO);
	CHECK(error_has("disk: offset 512: read of 4096 bytes failed: "));
	EQ(dmfmt_dev_read(dev, 512, buf, 4096), 0);
	EQ(dmfmt_dev_read(dev, 512, buf, 4096), -EIO);
	EQ(dmfmt_dev_write(dev, 0, buf, 512), 0);
	dmfmt_dev_close(dev);
	dmfmt_world_free(w);
}

static void test_kinds(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct dmfmt_dev_info info = { .size = sizeof(info) };
	struct dmfmt_dev *dev;
	int sock;

	EQ(dmfmt_dev_open(ctx, test_folder, 0, &dev), -EINVAL);
	CHECK(error_has(": is a directory, expected a regular file or a block device"));
	CHECK(!dev);
	EQ(dmfmt_dev_open(ctx, "/dev/null", 0, &dev), -EINVAL);
	CHECK(error_has("/dev/null: is a character device"));
	EQ(dmfmt_dev_open(ctx, "/dev/null", DMFMT_OPEN_WRITE, &dev), -EINVAL);
	EQ(mkfifo(in_folder("fifo"), 0600), 0);
	alarm(20);
	EQ(dmfmt_dev_open(ctx, in_folder("fifo"), 0, &dev), -EINVAL);
	CHECK(error_has(": is a FIFO"));
	EQ(dmfmt_dev_open(ctx, in_folder("fifo"), DMFMT_OPEN_WRITE, &dev), -EINVAL);
	alarm(0);
	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%.100s", in_folder("socket"));
	EQ(bind(sock, (struct sockaddr *)&address, sizeof(address)), 0);
	EQ(dmfmt_dev_open(ctx, in_folder("socket"), 0, &dev), -EINVAL);
	CHECK(error_has(": is a socket"));
	close(sock);
	EQ(dmfmt_dev_open(ctx, in_folder("missing"), 0, &dev), -ENOENT);
	CHECK(error_has(": cannot open: No such file"));
	EQ(dmfmt_dev_open(ctx, in_folder("bad\n\tname"), 0, &dev), -ENOENT);
	CHECK(error_has("/bad??name: cannot open"));
	EQ(dmfmt_dev_open(ctx, in_folder("missing"), 64, &dev), -EINVAL);
	make_file(in_folder("empty"), 0, 0);
	EQ(dmfmt_dev_open(ctx, in_folder("empty"), 0, &dev), 0);
	dmfmt_dev_get_info(dev, &info);
	EQ(info.size_bytes, 0);
	CHECK(!info.is_block && !info.holder);
	STREQ(info.path, in_folder("empty"));
	EQ(dmfmt_dev_read(dev, 0, &info, 1), -ERANGE);
	dmfmt_dev_close(dev);
	make_file(in_folder("odd"), 1234, 0);
	EQ(dmfmt_dev_open(ctx, in_folder("odd"), 0, &dev), 0);
	dmfmt_dev_get_info(dev, &info);
	EQ(info.size_bytes, 1024);
	EQ(info.logical_block_bytes, 512);
	dmfmt_dev_close(dev);
}

static void test_locks(void)
{
	const char *path = in_folder("locked");
	struct dmfmt_dev *a, *b;
	uint8_t byte = 1;

	make_file(path, SIZE, 1);
	EQ(dmfmt_dev_open(ctx, path, DMFMT_OPEN_WRITE, &a), 0);
	EQ(dmfmt_dev_open(ctx, path, DMFMT_OPEN_WRITE, &b), -EBUSY);
	CHECK(error_has(": is locked by another program, expected a file nobody uses"));
	EQ(dmfmt_dev_open(ctx, path, DMFMT_OPEN_WRITE | DMFMT_OPEN_LIVE, &b), -EBUSY);
	EQ(dmfmt_dev_open(ctx, path, 0, &b), -EBUSY);
	CHECK(error_has("or --live"));
	EQ(dmfmt_dev_open(ctx, path, DMFMT_OPEN_LIVE, &b), 0);
	EQ(dmfmt_dev_write(b, 0, &byte, 1), -EROFS);
	EQ(dmfmt_dev_set_dry_run(b, NULL, NULL), 0);
	EQ(dmfmt_dev_write(b, 0, &byte, 1), 0);
	dmfmt_dev_close(b);
	dmfmt_dev_close(a);
	EQ(dmfmt_dev_open(ctx, path, 0, &a), 0);
	EQ(dmfmt_dev_open(ctx, path, 0, &b), 0);
	dmfmt_dev_close(b);
	EQ(dmfmt_dev_open(ctx, path, DMFMT_OPEN_WRITE, &b), -EBUSY);
	dmfmt_dev_close(a);
	EQ(dmfmt_dev_open(ctx, path, DMFMT_OPEN_WRITE, &b), 0);
	dmfmt_dev_close(b);
}

static void test_create(void)
{
	const char *path = in_folder("new");
	struct dmfmt_dev *dev;
	struct stat st;
	uint8_t buf[512];

	EQ(dmfmt_dev_open(ctx, path, DMFMT_OPEN_CREATE, &dev), 0);
	EQ(stat(path, &st), 0);
	EQ(st.st_mode & 07777, 0600);
	EQ(dmfmt_dev_write(dev, 0, "x", 1), -ERANGE);
	EQ(dmfmt_dev_truncate(dev, 1000), -EINVAL);
	EQ(dmfmt_dev_truncate(dev, UINT64_MAX & ~511ull), -EINVAL);
	EQ(dmfmt_dev_truncate(dev, UINT64_C(1) << 40), 0);
	EQ(dmfmt_dev_write(dev, (UINT64_C(1) << 40) - 3, "end", 3), 0);
	EQ(dmfmt_dev_read(dev, (UINT64_C(1) << 40) - 512, buf, 512), 0);
	CHECK(!memcmp(buf + 509, "end", 3) && !buf[508]);
	EQ(dmfmt_dev_sync(dev), 0);
	EQ(dmfmt_dev_sync(dev), 0);
	dmfmt_dev_close(dev);
	EQ(stat(path, &st), 0);
	EQ(st.st_size, UINT64_C(1) << 40);
	EQ(dmfmt_dev_open(ctx, path, DMFMT_OPEN_CREATE, &dev), -EEXIST);
	CHECK(error_has(": exists, expected a new name"));
	EQ(symlink("nowhere", in_folder("link")), 0);
	EQ(dmfmt_dev_open(ctx, in_folder("link"), DMFMT_OPEN_CREATE, &dev), -EEXIST);
	EQ(dmfmt_dev_open(ctx, in_folder("no/folder"), DMFMT_OPEN_CREATE, &dev), -ENOENT);
	unlink(path);
}

/* Reads and writes of all alignments against a copy in memory. */
static void try_alignments(struct dmfmt_dev *dev, uint8_t *copy, size_t size)
{
	static const size_t lengths[] = { 1, 511, 512, 513, 4095, 4096, 4097, 65536, 1048576,
					  1500001 };
	uint8_t *mem = malloc(size + 8);
	unsigned seed = 7, bad = 0;
	size_t i;

	for (i = 0; i < 400; i++) {
		size_t len = lengths[i % 10], shift = i % 3 ? i % 8 : 0, off;

		seed = seed * 1103515245 + 12345;
		off = seed % (size - len);
		if (i % 2)
			off &= ~4095ul;
		fill(mem + shift, off, len, i);
		if (i % 4 < 2) {
			bad += !!dmfmt_dev_write(dev, off, mem + shift, len);
			memcpy(copy + off, mem + shift, len);
		} else {
			memset(mem + shift, 0, len);
			bad += !!dmfmt_dev_read(dev, off, mem + shift, len);
			bad += !!memcmp(mem + shift, copy + off, len);
		}
	}
	EQ(bad, 0);
	EQ(dmfmt_dev_read(dev, 0, mem, size), 0);
	CHECK(!memcmp(mem, copy, size));
	free(mem);
}

static void with_alignment(int flags, uint32_t block)
{
	const size_t size = 4u << 20;
	const char *path = in_folder("aligned");
	uint8_t *copy = malloc(size);
	struct dmfmt_layer *l;
	struct dmfmt_dev *dev;
	struct stat st;
	int fd;

	make_file(path, size, 3);
	fill(copy, 0, size, 3);
	fd = open(path, O_RDWR | O_CLOEXEC | flags);
	if (fd < 0) {
		printf("# no O_DIRECT here\n");
		free(copy);
		return;
	}
	EQ(dmfmt_file_layer_new(fd, true, block, &l), 0);
	EQ(dmfmt_dev_from_layer(ctx, l, size, block, path, &dev), 0);
	CHECK(dev->direct && dev->plain && dev->fd == fd);
	try_alignments(dev, copy, size);
	EQ(dmfmt_dev_flush(dev), 0);
	EQ(fstat(fd, &st), 0);
	EQ(st.st_size, size);
	dmfmt_dev_close(dev);
	free(copy);
}

static void test_alignment(void)
{
	struct dmfmt_layer *l;

	with_alignment(O_DIRECT, 4096);
	with_alignment(O_DIRECT, 65536);
	with_alignment(0, 512);
	EQ(dmfmt_file_layer_new(0, true, 1000, &l), -EINVAL);
	EQ(dmfmt_file_layer_new(0, true, 0, &l), -EINVAL);
}

static int count_steps(void *arg, const struct dmfmt_progress *p)
{
	return ++*(unsigned *)arg == 3;
}

static void note_log(void *arg, enum dmfmt_log_level level, const char *msg)
{
	snprintf(arg, 64, "%d %s", level, msg);
}

static void test_context(void)
{
	char line[64] = "";
	unsigned steps = 0;

	STREQ(dmfmt_version(), DMFMT_VERSION);
	dmfmt_ctx_set_memory(ctx, 5);
	EQ(ctx->memory, 16 << 20);
	EQ(dmfmt_progress_step(ctx, "working", 1, 1, 0, 0), 0);
	dmfmt_ctx_set_progress(ctx, count_steps, &steps);
	EQ(dmfmt_progress_step(ctx, "working", 1, 1, 0, 0), 0);
	EQ(dmfmt_progress_step(ctx, "working", 1, 1, 1, 0), 0);
	EQ(dmfmt_progress_step(ctx, "working", 1, 1, 2, 0), -ECANCELED);
	STREQ(dmfmt_ctx_error(ctx), "working: cancelled");
	dmfmt_ctx_set_progress(ctx, NULL, NULL);
	dmfmt_log(ctx, DMFMT_LOG_INFO, "nobody listens");
	dmfmt_ctx_set_log(ctx, note_log, line);
	dmfmt_log(ctx, DMFMT_LOG_WARNING, "two\nlines");
	STREQ(line, "1 two?lines");
	dmfmt_ctx_set_log(ctx, NULL, NULL);
}

int main(void)
{
	test_begin();
	RUN(test_bounds);
	RUN(test_latch);
	RUN(test_read_errors);
	RUN(test_kinds);
	RUN(test_locks);
	RUN(test_create);
	RUN(test_alignment);
	RUN(test_context);
	return DONE();
}
