// SPDX-License-Identifier: GPL-2.0-or-later
/* Metadata images: what comes back, what is kept back, and what a damaged image does (nothing). */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zstd.h>
#include "../../libdmfmt/core/format.h"
#include "../../libdmfmt/format/crc32c.h"
#include "../../libdmfmt/io/fault.h"
#include "../lib/tap.h"

#define CHUNK 4096u
#define STORE_CHUNKS 500u
#define STORE_BYTES (STORE_CHUNKS * CHUNK)
#define ENTRIES 300u
#define ORIGIN_CHUNKS 5000u

static struct dmfmt_ctx *ctx;

static void put(uint8_t *p, uint64_t v, size_t len)
{
	while (len--) {
		*p++ = (uint8_t)v;
		v >>= 8;
	}
}

static uint64_t get(const uint8_t *p, size_t len)
{
	uint64_t v = 0;

	while (len--)
		v = v << 8 | p[len];
	return v;
}

static uint64_t old_chunk(unsigned i)
{
	return i / 3 * 7 + i % 3;	/* runs of three */
}

static uint64_t area_offset(unsigned area)
{
	return (1 + (uint64_t)area * 257) * CHUNK;
}

/* a sound store of two areas, data chunks full of a pattern */
static uint8_t *make_store(void)
{
	uint8_t *b = malloc(STORE_BYTES), *e;
	unsigned i;

	memset(b, 0xda, STORE_BYTES);
	memset(b, 0, CHUNK);
	put(b, 0x70416e53, 4);
	put(b + 4, 1, 4);
	put(b + 8, 1, 4);
	put(b + 12, CHUNK / 512, 4);
	memset(b + area_offset(0), 0, CHUNK);
	memset(b + area_offset(1), 0, CHUNK);
	for (i = 0; i < ENTRIES; i++) {
		e = b + area_offset(i / 256) + i % 256 * 16;
		put(e, old_chunk(i), 8);
		put(e + 8, 2 + i + i / 256, 8);
	}
	return b;
}

static int save(uint8_t *store, unsigned flags, int fd)
{
	struct dmfmt_dev *dev;
	struct dmfmt *f;
	int err;

	EQ(dmfmt_dev_open_buffer(ctx, store, STORE_BYTES, &dev), 0);
	EQ(dmfmt_open(ctx, dev, "snapshot", 0, &f), 0);
	EQ(dmfmt_set_origin_size(f, (uint64_t)ORIGIN_CHUNKS * CHUNK / 512), 0);
	err = dmfmt_image_save(f, fd, flags, NULL, NULL);
	dmfmt_close(f);
	dmfmt_dev_close(dev);
	return err;
}

/* expand @fd; *out is malloc'ed if it went well */
static int expand(int fd, uint8_t **out)
{
	struct dmfmt_world *w = dmfmt_world_new();
	struct dmfmt_dev *dev;
	unsigned id;
	int err;

	*out = NULL;
	EQ(dmfmt_world_add(w, ctx, NULL, 0, 512, true, "expanded", &id, &dev), 0);
	lseek(fd, 0, SEEK_SET);
	err = dmfmt_image_expand(ctx, fd, dev, NULL, NULL);
	if (!err) {
		EQ(dev->size, STORE_BYTES);
		*out = malloc(STORE_BYTES);
		EQ(dmfmt_dev_read(dev, 0, *out, STORE_BYTES), 0);
	} else {
		uint64_t reads, writes, flushes;

		/* nothing is written before all was verified */
		dmfmt_world_counts(w, &reads, &writes, &flushes);
		EQ(writes, 0);
		CHECK(dmfmt_ctx_error(ctx)[0]);
	}
	dmfmt_dev_close(dev);
	dmfmt_world_free(w);
	return err;
}

static int memory_file(void)
{
	return memfd_create("image", MFD_CLOEXEC);
}

static bool is_metadata(uint64_t off)
{
	return off < CHUNK || (off - CHUNK) % (257 * CHUNK) < CHUNK;
}

static void test_round_trip(void)
{
	uint8_t *store = make_store(), *back;
	int fd = memory_file();
	uint64_t i, wrong = 0;

	EQ(save(store, 0, fd), 0);
	CHECK(lseek(fd, 0, SEEK_END) < 4096);	/* no data, and compressed */
	EQ(expand(fd, &back), 0);
	for (i = 0; back && i < STORE_BYTES; i++)
		wrong += back[i] != (is_metadata(i) ? store[i] : 0);
	EQ(wrong, 0);
	free(back);
	free(store);
	close(fd);
}

static void test_pipe(void)
{
	uint8_t *store = make_store(), *back;
	int fds[2];

	EQ(pipe(fds), 0);	/* the image is smaller than a pipe's buffer */
	EQ(save(store, 0, fds[1]), 0);
	close(fds[1]);
	EQ(expand(fds[0], &back), 0);
	CHECK(back && !memcmp(back, store, 2 * CHUNK));
	free(back);
	free(store);
	close(fds[0]);
}

static void test_obfuscated(void)
{
	uint8_t *store = make_store(), *back;
	int fd = memory_file();
	unsigned i, moved = 0;

	EQ(save(store, DMFMT_IMAGE_OBFUSCATE, fd), 0);
	EQ(expand(fd, &back), 0);
	for (i = 0; back && i < ENTRIES; i++) {
		const uint8_t *e = back + area_offset(i / 256) + i % 256 * 16;
		uint64_t old = get(e, 8), before = i % 3 ? get(e - (i == 256 ? 0 : 16), 8) : 0;

		EQ(get(e + 8, 8), 2 + i + i / 256);
		CHECK(old < ORIGIN_CHUNKS);
		moved += old != old_chunk(i);
		if (i % 3 && i != 256)
			EQ(old, before + 1);
	}
	CHECK(moved > ENTRIES / 2);
	EQ(save(store, DMFMT_IMAGE_OBFUSCATE | DMFMT_IMAGE_INCLUDE_SUSPECT, fd), -EINVAL);
	free(back);
	free(store);
	close(fd);
}

/* the stream inside the frame */
static uint8_t *unpack(int fd, size_t *len)
{
	off_t size = lseek(fd, 0, SEEK_END);
	uint8_t *in = malloc(size), *out = malloc(1 << 20);

	EQ(pread(fd, in, size, 0), size);
	*len = ZSTD_decompress(out, 1 << 20, in, size);
	CHECK(!ZSTD_isError(*len));
	free(in);
	return out;
}

/* pack a changed stream; the CRCs are made right again, so that the change itself is met */
static int repack(uint8_t *stream, size_t len)
{
	size_t room = ZSTD_compressBound(len), n;
	uint8_t *out = malloc(room);
	int fd = memory_file();

	put(stream + 60, dmfmt_crc32c(0, stream, 60), 4);
	if (len > 72)
		put(stream + len - 8, dmfmt_crc32c(0, stream, len - 8), 8);
	n = ZSTD_compress(out, room, stream, len, 1);
	EQ(write(fd, out, n), n);
	free(out);
	return fd;
}

static void damaged(const char *what, uint8_t *stream, size_t len, size_t at, uint64_t value,
		    size_t bytes, int expected)
{
	uint8_t *copy = malloc(len), *back;
	int fd, err;

	memcpy(copy, stream, len);
	if (bytes)
		put(copy + at, value, bytes);
	fd = repack(copy, len);
	err = expand(fd, &back);
	if (err != expected)
		printf("# %s: %d, expected %d\n", what, err, expected);
	EQ(err, expected);
	free(back);
	free(copy);
	close(fd);
}

static void test_damaged_stream(void)
{
	uint8_t *store = make_store(), *s;
	int fd = memory_file();
	size_t len;

	EQ(save(store, 0, fd), 0);
	s = unpack(fd, &len);
	damaged("as it was", s, len, 0, 0, 0, 0);
	damaged("magic", s, len, 0, 1, 1, -EILSEQ);
	damaged("version", s, len, 8, 2, 4, -EOPNOTSUPP);
	damaged("format", s, len, 32, 'x', 1, -EOPNOTSUPP);
	damaged("device of part of a sector", s, len, 16, 1, 8, -EILSEQ);
	damaged("device of 2^63 bytes", s, len, 16, 1ULL << 63, 8, -EILSEQ);
	damaged("device too small for its records", s, len, 16, 512, 8, -EILSEQ);
	damaged("record past the end", s, len, 64, STORE_BYTES, 8, -EILSEQ);
	damaged("record that wraps", s, len, 64, UINT64_MAX - 511, 8, -EILSEQ);
	damaged("record of no bytes", s, len, 72, 0, 8, -EILSEQ);
	damaged("record of 2^40 bytes", s, len, 72, 1ULL << 40, 8, -EILSEQ);
	damaged("records in disorder", s, len, 64, STORE_BYTES - 512, 8, -EILSEQ);
	damaged("count of records", s, len, len - 48, 77, 8, -EILSEQ);
	damaged("cut", s, len - 48, 0, 0, 0, -EILSEQ);
	damaged("cut in the header", s, 64, 0, 0, 0, -EILSEQ);
	s = realloc(s, len + 1);
	memmove(s + len - 7, s + len - 8, 8);
	free(s);
	free(store);
	close(fd);
}

static void test_damaged_file(void)
{
	uint8_t *store = make_store(), *back, b, *all;
	int fd = memory_file(), other;
	off_t size, i;

	EQ(save(store, 0, fd), 0);
	size = lseek(fd, 0, SEEK_END);
	all = malloc(size);
	EQ(pread(fd, all, size, 0), size);
	/* each byte of the file */
	for (i = 0; i < size; i++) {
		b = all[i] ^ 0x55;
		EQ(pwrite(fd, &b, 1, i), 1);
		CHECK(expand(fd, &back) < 0);
		free(back);
		EQ(pwrite(fd, &all[i], 1, i), 1);
	}
	/* each length */
	for (i = 0; i < size; i++) {
		other = memory_file();
		EQ(write(other, all, i), i);
		EQ(expand(other, &back), -EILSEQ);
		free(back);
		close(other);
	}
	/* something behind it */
	EQ(pwrite(fd, "x", 1, size), 1);
	EQ(expand(fd, &back), -EILSEQ);
	free(back);
	free(all);
	free(store);
	close(fd);
}

/* header of another chunk size: what lies where areas would be may be somebody's data */
static void test_suspect(void)
{
	uint8_t *store = make_store(), *back;
	int fd = memory_file();
	uint64_t i, secret = 0;

	memset(store + CHUNK, 0xda, CHUNK);	/* area 0 is no area */
	EQ(save(store, 0, fd), 0);
	EQ(expand(fd, &back), 0);
	for (i = 0; back && i < STORE_BYTES; i++)
		secret += back[i] == 0xda;
	EQ(secret, 0);
	free(back);
	EQ(ftruncate(fd, 0), 0);
	lseek(fd, 0, SEEK_SET);
	EQ(save(store, DMFMT_IMAGE_INCLUDE_SUSPECT, fd), 0);
	EQ(expand(fd, &back), 0);
	CHECK(back && !memcmp(back + CHUNK, store + CHUNK, CHUNK));
	free(back);
	free(store);
	close(fd);
}

static void test_no_room(void)
{
	uint8_t *store = make_store();
	int fd = open("/dev/full", O_WRONLY);

	EQ(save(store, 0, fd), -ENOSPC);
	CHECK(dmfmt_ctx_error(ctx)[0]);
	close(fd);
	free(store);
}

int main(void)
{
	ctx = dmfmt_ctx_new();
	RUN(test_round_trip);
	RUN(test_pipe);
	RUN(test_obfuscated);
	RUN(test_damaged_stream);
	RUN(test_damaged_file);
	RUN(test_suspect);
	RUN(test_no_room);
	dmfmt_ctx_free(ctx);
	return DONE();
}
