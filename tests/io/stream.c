// SPDX-License-Identifier: GPL-2.0-or-later
/* Reading ahead: order, content, errors, with each engine and through layers. */
#include <sys/mman.h>
#include "io_test.h"
#include "../../libdmfmt/io/fault.h"

#define SIZE (24u << 20)
#define SEED 11

static const char *const engines[] = { NULL, "io_uring", "threads", "pread" };

/* positions: @start, @step apart, @len each, @nr of them */
struct positions {
	uint64_t start, step, len, nr, asked;
};

static int next_position(void *arg, uint64_t *off, uint64_t *len)
{
	struct positions *p = arg;

	if (p->asked == p->nr)
		return 0;
	*off = p->start + p->asked++ * p->step;
	*len = p->len;
	return 1;
}

static struct dmfmt_stream *open_stream(struct dmfmt_dev *dev, struct positions *p,
					const char *engine, unsigned depth, size_t memory)
{
	struct dmfmt_stream_opts o = { .next = next_position, .arg = p, .depth = depth,
				       .memory = memory, .engine = engine };
	static bool said;
	struct dmfmt_stream *s;
	int err = dmfmt_stream_open(dev, &o, &s);

	if (err != -EOPNOTSUPP || !engine)
		EQ(err, 0);
	else if (!said) {
		printf("# no %s here\n", engine);
		said = true;
	}
	return s;
}

/* Read all of it and compare with what must come, in parts of 1 MiB at most. */
static void read_all(struct dmfmt_dev *dev, struct positions p, const char *engine, unsigned depth,
		     size_t memory)
{
	struct dmfmt_stream *s = open_stream(dev, &p, engine, depth, memory);
	uint64_t i, at, off, before = dev->bytes_read, sum = 0;
	const void *buf;
	unsigned bad = 0;
	size_t len;

	if (!s)
		return;
	for (i = 0; i < p.nr && p.start + i * p.step < dev->size; i++) {
		uint64_t start = p.start + i * p.step, end = start + p.len;

		if (end > dev->size)
			end = dev->size;
		for (at = start; at < end; at += len) {
			if (dmfmt_stream_next(s, &buf, &off, &len) != 1) {
				bad++;
				break;
			}
			bad += off != at || len != (end - at < 1 << 20 ? end - at : 1 << 20);
			bad += !is_filled(buf, off, len, SEED);
			sum += len;
		}
		if (bad)
			break;
	}
	EQ(bad, 0);
	EQ(dmfmt_stream_next(s, &buf, &off, &len), 0);
	EQ(dmfmt_stream_next(s, &buf, &off, &len), 0);
	EQ(dev->bytes_read - before, sum);
	if (engine)
		STREQ(dmfmt_stream_engine(s), engine);
	dmfmt_stream_close(s);
}

static void drop_cache(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	fsync(fd);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	close(fd);
}

static void read_everything(struct dmfmt_dev *dev, const char *engine, const char *cold)
{
	static const struct positions all[] = {
		{ 0, 4096, 4096, SIZE / 4096, 0 },		/* in a row */
		{ 8192, 65536 + 512, 512, 300, 0 },		/* far apart */
		{ 333, 12345, 777, 1500, 0 },			/* unaligned */
		{ 0, 0, SIZE, 1, 0 },				/* one large piece */
		{ 100, 3u << 20, (2u << 20) + 51, 5, 0 },	/* large ones */
		{ SIZE - 8192, 4096, 4096, 50, 0 },		/* beyond the end */
		{ SIZE - 5000, 4096, 4096, 50, 0 },		/* across the end */
		{ SIZE, 4096, 4096, 5, 0 },
		{ UINT64_MAX - 100, 0, 4096, 5, 0 },
		{ 5, 0, 0, 10, 0 },				/* empty pieces */
		{ 0, 1 << 20, 1 << 20, 24, 0 },
	};
	size_t i;

	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (cold)
			drop_cache(cold);
		read_all(dev, all[i], engine, 0, 0);
		read_all(dev, all[i], engine, 1, 1);
		if (cold)
			drop_cache(cold);
		read_all(dev, all[i], engine, 3, 3 << 20);
		read_all(dev, all[i], engine, 200, 1 << 20);
	}
}

static void test_file(void)
{
	const char *path = in_folder("file");
	struct dmfmt_dev *dev;
	size_t i;

	make_file(path, SIZE, SEED);
	for (i = 0; i < 4; i++) {
		EQ(dmfmt_dev_open(ctx, path, 0, &dev), 0);
		read_everything(dev, engines[i], i ? NULL : path);
		dmfmt_dev_close(dev);
	}
}

static void test_direct(void)
{
	const char *path = in_folder("file");
	struct dmfmt_layer *l;
	struct dmfmt_dev *dev;
	size_t i;
	int fd;

	for (i = 0; i < 4; i++) {
		fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
		if (fd < 0) {
			printf("# no O_DIRECT here\n");
			return;
		}
		EQ(dmfmt_file_layer_new(fd, true, 4096, &l), 0);
		EQ(dmfmt_dev_from_layer(ctx, l, SIZE, 4096, path, &dev), 0);
		read_everything(dev, engines[i], NULL);
		dmfmt_dev_close(dev);
	}
}

static void test_memory_file_system(void)
{
	struct dmfmt_layer *l;
	struct dmfmt_dev *dev;
	int fd = memfd_create("test", MFD_CLOEXEC);
	uint8_t *map;

	EQ(ftruncate(fd, SIZE), 0);
	map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	fill(map, 0, SIZE, SEED);
	munmap(map, SIZE);
	EQ(dmfmt_file_layer_new(fd, false, 512, &l), 0);
	EQ(dmfmt_dev_from_layer(ctx, l, SIZE, 512, "memfd", &dev), 0);
	read_everything(dev, NULL, NULL);
	dmfmt_dev_close(dev);
}

static void test_buffer(void)
{
	uint8_t *image = malloc(SIZE);
	struct dmfmt_stream *s;
	struct positions p = { 0, 4096, 4096, 3, 0 };
	struct dmfmt_dev *dev;

	fill(image, 0, SIZE, SEED);
	EQ(dmfmt_dev_open_buffer(ctx, image, SIZE, &dev), 0);
	read_everything(dev, NULL, NULL);
	s = open_stream(dev, &p, NULL, 0, 0);
	STREQ(dmfmt_stream_engine(s), "pread");
	dmfmt_stream_close(s);
	dmfmt_dev_close(dev);
	free(image);
}

/* Holes read as zeros, whether or not the page cache has ever seen them. */
static void test_holes(void)
{
	const char *path = in_folder("sparse");
	struct positions p;
	struct dmfmt_stream *s;
	struct dmfmt_dev *dev;
	uint64_t off;
	const void *v;
	unsigned bad, nr;
	size_t i, len, k;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	EQ(ftruncate(fd, UINT64_C(64) << 20), 0);
	EQ(pwrite(fd, "data", 4, 32 << 20), 4);
	close(fd);
	for (i = 0; i < 4; i++) {
		drop_cache(path);
		EQ(dmfmt_dev_open(ctx, path, 0, &dev), 0);
		p = (struct positions){ 0, 64 << 10, 4096, 1024, 0 };
		s = open_stream(dev, &p, engines[i], 0, 0);
		for (bad = nr = 0; s && dmfmt_stream_next(s, &v, &off, &len) == 1; nr++) {
			const uint8_t *buf = v;

			for (k = 0; k < len; k++)
				bad += off == 32 << 20 && k < 4 ? buf[k] != "data"[k] : buf[k] != 0;
		}
		if (s)
			EQ(nr, 1024);
		EQ(bad, 0);
		dmfmt_stream_close(s);
		dmfmt_dev_close(dev);
	}
}

/* The file has lost its second half: each part there fails by itself, with its position. */
static void test_errors(void)
{
	const char *path = in_folder("shrunk");
	struct positions p;
	struct dmfmt_stream *s;
	struct dmfmt_dev *dev;
	const void *buf;
	uint64_t off;
	size_t i, len;
	unsigned good, bad, nr;

	for (i = 0; i < 4; i++) {
		make_file(path, 1 << 20, SEED);
		EQ(dmfmt_dev_open(ctx, path, 0, &dev), 0);
		EQ(truncate(path, 512 << 10), 0);
		p = (struct positions){ 0, 4096, 4096, 256, 0 };
		s = open_stream(dev, &p, engines[i], 16, 0);
		for (good = bad = nr = 0; s && nr < 256; nr++) {
			int ret = dmfmt_stream_next(s, &buf, &off, &len);

			CHECK(off == nr * 4096 && len == 4096);
			good += ret == 1 && is_filled(buf, off, len, SEED);
			bad += ret == -EIO &&
			       strstr(dmfmt_ctx_error(ctx), "read of 4096 bytes failed");
		}
		if (s) {
			EQ(good, 128);
			EQ(bad, 128);
			EQ(dmfmt_stream_next(s, &buf, &off, &len), 0);
		}
		dmfmt_stream_close(s);
		dmfmt_dev_close(dev);
	}
}

static void test_fault_device(void)
{
	struct dmfmt_world *w = dmfmt_world_new();
	struct positions p = { 0, 4096, 4096, 16, 0 };
	uint8_t *image = malloc(65536);
	struct dmfmt_stream *s;
	struct dmfmt_dev *dev;
	unsigned i, bad = 0;
	const void *buf;
	uint64_t off;
	size_t len;

	fill(image, 0, 65536, SEED);
	EQ(dmfmt_world_add(w, ctx, image, 65536, 512, false, "disk", NULL, &dev), 0);
	dmfmt_world_cue(w, DMFMT_FAULT_READ_EIO, 5);
	s = open_stream(dev, &p, NULL, 0, 0);
	for (i = 0; i < 16; i++) {
		int ret = dmfmt_stream_next(s, &buf, &off, &len);

		bad += i == 5 ? ret != -EIO : ret != 1 || !is_filled(buf, i * 4096, 4096, SEED);
	}
	EQ(bad, 0);
	EQ(dmfmt_stream_next(s, &buf, &off, &len), 0);
	dmfmt_stream_close(s);
	dmfmt_dev_close(dev);
	dmfmt_world_free(w);
	free(image);
}

/* Close at any moment, with reads in flight or not. */
static void test_close_early(void)
{
	const char *path = in_folder("file");
	struct positions p;
	struct dmfmt_stream *s;
	struct dmfmt_dev *dev;
	const void *buf;
	uint64_t off;
	size_t i, len;
	unsigned n, k;

	for (i = 0; i < 4; i++)
		for (n = 0; n < 40; n += 3) {
			EQ(dmfmt_dev_open(ctx, path, 0, &dev), 0);
			drop_cache(path);
			p = (struct positions){ 0, 300000, 65536, 80, 0 };
			s = open_stream(dev, &p, engines[i], 0, 0);
			for (k = 0; s && k < n; k++)
				EQ(dmfmt_stream_next(s, &buf, &off, &len), 1);
			dmfmt_stream_close(s);
			dmfmt_dev_close(dev);
		}
}

/* What is written while the stream is open is seen, also where it was read ahead already. */
static void write_meanwhile(const char *engine, bool undo, bool dry)
{
	const char *path = in_folder("written");
	struct positions p = { 0, 4096, 4096, 256, 0 };
	struct dmfmt_stream *s;
	struct dmfmt_dev *dev;
	const void *buf;
	uint8_t page[4096];
	uint64_t off;
	unsigned bad = 0, i;
	size_t len;

	make_file(path, 1 << 20, SEED);
	EQ(dmfmt_dev_open(ctx, path, DMFMT_OPEN_WRITE, &dev), 0);
	if (undo)
		EQ(dmfmt_dev_set_undo(dev, in_folder("undo"), "test"), 0);
	if (dry)
		EQ(dmfmt_dev_set_dry_run(dev, NULL, NULL), 0);
	drop_cache(path);
	s = open_stream(dev, &p, engine, 0, 0);
	for (i = 0; s && i < 256; i++) {
		bad += dmfmt_stream_next(s, &buf, &off, &len) != 1;
		bad += !is_filled(buf, off, len, i && i % 10 == 0 ? SEED + 1 : SEED);
		if (i % 10 == 9) {
			fill(page, off + 4096, 4096, SEED + 1);
			EQ(dmfmt_dev_write(dev, off + 4096, page, 4096), 0);
		}
	}
	EQ(bad, 0);
	dmfmt_stream_close(s);
	dmfmt_dev_close(dev);
	unlink(in_folder("undo"));
}

static void test_write_meanwhile(void)
{
	size_t i;

	for (i = 0; i < 4; i++) {
		write_meanwhile(engines[i], false, false);
		write_meanwhile(engines[i], true, false);
		write_meanwhile(engines[i], false, true);
	}
}

static int fail_third(void *arg, uint64_t *off, uint64_t *len)
{
	unsigned *n = arg;

	*off = *n * 4096;
	*len = 4096;
	return ++*n == 3 ? -ECANCELED : 1;
}

static void test_positions_fail(void)
{
	unsigned n = 0;
	struct dmfmt_stream_opts o = { .next = fail_third, .arg = &n };
	struct dmfmt_stream *s;
	struct dmfmt_dev *dev;
	const void *buf;
	uint64_t off;
	size_t len;

	EQ(dmfmt_dev_open(ctx, in_folder("file"), 0, &dev), 0);
	EQ(dmfmt_stream_open(dev, &o, &s), 0);
	EQ(dmfmt_stream_next(s, &buf, &off, &len), 1);
	EQ(dmfmt_stream_next(s, &buf, &off, &len), 1);
	EQ(dmfmt_stream_next(s, &buf, &off, &len), -ECANCELED);
	dmfmt_stream_close(s);
	o.engine = "no such";
	EQ(dmfmt_stream_open(dev, &o, &s), -EOPNOTSUPP);
	dmfmt_stream_close(NULL);
	dmfmt_dev_close(dev);
}

int main(void)
{
	test_begin();
	RUN(test_file);
	RUN(test_direct);
	RUN(test_memory_file_system);
	RUN(test_buffer);
	RUN(test_holes);
	RUN(test_errors);
	RUN(test_fault_device);
	RUN(test_close_early);
	RUN(test_write_meanwhile);
	RUN(test_positions_fail);
	return DONE();
}
