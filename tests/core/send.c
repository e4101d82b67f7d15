// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Streams: there and back, every flipped byte and every cut of a small one, and every state that a
 * power cut could leave while one is received.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../lib/tap.h"
#include "../../libdmfmt/io/dev.h"
#include "../../libdmfmt/io/fault.h"

#define CHUNK 4096u
#define ORIGIN_CHUNKS 24u
#define ORIGIN_BYTES (ORIGIN_CHUNKS * CHUNK)
#define COW_BYTES (16u * CHUNK)

static struct dmfmt_ctx *ctx;
static uint8_t origin[ORIGIN_BYTES], shown[ORIGIN_BYTES], cow[COW_BYTES];
static uint8_t stream[1 << 20];
static size_t stream_len, first_half;

static void put64(uint8_t *p, uint64_t v)
{
	for (unsigned i = 0; i < 8; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

static uint32_t get32(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* three chunks of the origin are in the store: two neighbours, and one that holds equal bytes */
static void make_images(void)
{
	static const uint64_t old[] = { 3, 4, 9 };
	static const uint8_t header[16] = { 'S', 'n', 'A', 'p', 1, 0, 0, 0, 1, 0, 0, 0, 8 };
	size_t i;

	for (i = 0; i < ORIGIN_BYTES; i++)
		origin[i] = (uint8_t)(i / 512 + i % 7);
	memcpy(shown, origin, sizeof(shown));
	memset(shown + 3 * CHUNK, 0xa5, CHUNK);
	memset(shown + 4 * CHUNK + 512, 0x5a, 1024);
	memset(cow, 0, sizeof(cow));
	memcpy(cow, header, sizeof(header));
	for (i = 0; i < 3; i++) {
		put64(cow + CHUNK + 16 * i, old[i]);
		put64(cow + CHUNK + 16 * i + 8, 2 + i);
		memcpy(cow + (2 + i) * CHUNK, shown + old[i] * CHUNK, CHUNK);
	}
}

static int fd_of(const uint8_t *bytes, size_t len)
{
	int fd = memfd_create("stream", MFD_CLOEXEC);

	CHECK(fd >= 0 && write(fd, bytes, len) == (ssize_t)len);
	lseek(fd, 0, SEEK_SET);
	return fd;
}

static void send_stream(unsigned direction)
{
	struct dmfmt_dev *store, *base;
	struct dmfmt_view *v;
	struct dmfmt *f;
	size_t at = 64;
	int fd = memfd_create("stream", MFD_CLOEXEC);
	ssize_t n;

	EQ(dmfmt_dev_open_buffer(ctx, cow, sizeof(cow), &store), 0);
	EQ(dmfmt_dev_open_buffer(ctx, origin, sizeof(origin), &base), 0);
	EQ(dmfmt_open(ctx, store, "snapshot", 0, &f), 0);
	EQ(dmfmt_set_origin(f, base), 0);
	EQ(dmfmt_view_open(f, &v), 0);
	EQ(dmfmt_send(v, fd, direction, NULL, NULL), 0);
	dmfmt_view_close(v);
	dmfmt_close(f);
	dmfmt_dev_close(store);
	dmfmt_dev_close(base);
	n = pread(fd, stream, sizeof(stream), 0);
	close(fd);
	CHECK(n > 0 && (size_t)n < sizeof(stream));
	stream_len = n > 0 ? (size_t)n : 0;
	/* record 3 ends the announcement */
	first_half = 0;
	while (!first_half && at + 32 <= stream_len) {
		bool end = get32(stream + at) == 3;

		at += 32 + get32(stream + at + 8);
		if (end)
			first_half = at;
	}
	CHECK(first_half > 0 && first_half < stream_len);
}

/* receive @bytes over @image, in place */
static int receive(const uint8_t *bytes, size_t len, uint8_t *image)
{
	struct dmfmt_dev *dev;
	int ret, fd = fd_of(bytes, len);

	EQ(dmfmt_dev_open_buffer(ctx, image, ORIGIN_BYTES, &dev), 0);
	ret = dmfmt_receive(ctx, fd, dev, 0, NULL, NULL);
	dmfmt_dev_close(dev);
	close(fd);
	return ret;
}

static void test_there_and_back(void)
{
	static uint8_t image[ORIGIN_BYTES];

	send_stream(DMFMT_SEND_FORWARD);
	memcpy(image, shown, sizeof(image));
	EQ(receive(stream, stream_len, image), 0);
	CHECK(!memcmp(image, origin, sizeof(image)));
	send_stream(DMFMT_SEND_BACKWARD);
	EQ(receive(stream, stream_len, image), 0);
	CHECK(!memcmp(image, shown, sizeof(image)));
	EQ(receive(stream, stream_len, image), 0);
	CHECK(!memcmp(image, shown, sizeof(image)));
}

/* every sector is either old or new */
static bool between(const uint8_t *image)
{
	for (size_t i = 0; i < ORIGIN_BYTES; i += 512)
		if (memcmp(image + i, origin + i, 512) && memcmp(image + i, shown + i, 512))
			return false;
	return true;
}

static void test_flipped_bytes(void)
{
	static uint8_t image[ORIGIN_BYTES];
	size_t i;

	send_stream(DMFMT_SEND_BACKWARD);
	for (i = 0; i < stream_len; i++) {
		int ret;

		stream[i] ^= 0x10;
		memcpy(image, origin, sizeof(image));
		ret = receive(stream, stream_len, image);
		stream[i] ^= 0x10;
		if (!ret || (i < first_half && memcmp(image, origin, sizeof(image))) || !between(image)) {
			printf("# byte %zu of %zu: %d\n", i, stream_len, ret);
			CHECK(!"a damaged stream is refused");
		}
	}
}

static void test_cut_streams(void)
{
	static uint8_t image[ORIGIN_BYTES];
	size_t len;

	for (len = 0; len < stream_len; len++) {
		memcpy(image, origin, sizeof(image));
		EQ(receive(stream, len, image), -ENODATA);
		if (len < first_half)
			CHECK(!memcmp(image, origin, sizeof(image)));
		EQ(receive(stream, stream_len, image), 0);
		CHECK(!memcmp(image, shown, sizeof(image)));
	}
}

static void test_wrong_device(void)
{
	static uint8_t image[ORIGIN_BYTES], before[ORIGIN_BYTES];
	static const size_t places[] = { 3 * CHUNK, 4 * CHUNK + 600, 0, ORIGIN_BYTES - 1 };
	size_t i;

	for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		memcpy(image, origin, sizeof(image));
		image[places[i]] ^= 1;
		memcpy(before, image, sizeof(image));
		EQ(receive(stream, stream_len, image), -ESTALE);
		CHECK(!memcmp(image, before, sizeof(image)));
	}
}

/* ---- power cuts ------------------------------------------------------------------------------------ */

static uint64_t nr_refused, nr_went_on;

/* after undo the old bytes are there; without it the stream goes on or refuses */
static int on_state(void *arg, uint64_t nr_writes, void **bufs, const uint64_t *sizes, unsigned nr)
{
	static uint8_t image[ORIGIN_BYTES];
	struct dmfmt_dev *dev, *file;
	struct dmfmt_undo *u;
	int ret;

	(void)arg;
	(void)nr_writes;
	CHECK(nr == 2 && sizes[0] == ORIGIN_BYTES);
	memcpy(image, bufs[0], sizeof(image));
	ret = receive(stream, stream_len, image);
	CHECK(ret == 0 || ret == -ESTALE);
	CHECK(ret ? !memcmp(image, bufs[0], sizeof(image)) : !memcmp(image, shown, sizeof(image)));
	*(ret ? &nr_refused : &nr_went_on) += 1;
	if (!memcmp(bufs[0], origin, ORIGIN_BYTES))
		return 0;
	/* something was overwritten: the undo file must know it */
	EQ(dmfmt_dev_open_buffer(ctx, bufs[0], sizes[0], &dev), 0);
	EQ(dmfmt_dev_open_buffer(ctx, bufs[1], sizes[1] / 512 * 512, &file), 0);
	ret = dmfmt_undo_open_dev(ctx, file, &u);
	EQ(ret, 0);
	if (!ret) {
		EQ(dmfmt_undo_apply(u, dev), 0);
		dmfmt_undo_close(u);
		CHECK(!memcmp(bufs[0], origin, ORIGIN_BYTES));
	}
	dmfmt_dev_close(file);
	dmfmt_dev_close(dev);
	return 0;
}

static void test_power_cuts(void)
{
	struct dmfmt_world *w = dmfmt_world_new();
	struct dmfmt_dev *dev, *undo;
	unsigned id;
	int64_t states;
	int fd = fd_of(stream, stream_len);

	EQ(dmfmt_world_add(w, ctx, origin, ORIGIN_BYTES, 512, false, "destination", &id, &dev), 0);
	EQ(dmfmt_world_add(w, ctx, NULL, 0, 512, true, "undo", &id, &undo), 0);
	EQ(dmfmt_dev_set_undo_dev(dev, undo, "receive"), 0);
	EQ(dmfmt_receive(ctx, fd, dev, 0, NULL, NULL), 0);
	EQ(dmfmt_dev_sync(dev), 0);
	close(fd);
	states = dmfmt_world_each_state(w, 8, 100, 7, on_state, NULL);
	CHECK(states > 50);
	CHECK(nr_refused > 0 && nr_went_on > 0);
	printf("# %" PRId64 " states: %" PRIu64 " went on, %" PRIu64 " were refused\n", states, nr_went_on,
	       nr_refused);
	dmfmt_dev_close(dev);
	dmfmt_dev_close(undo);
	dmfmt_world_free(w);
}

int main(void)
{
	ctx = dmfmt_ctx_new();
	make_images();
	RUN(test_there_and_back);
	RUN(test_flipped_bytes);
	RUN(test_cut_streams);
	RUN(test_wrong_device);
	RUN(test_power_cuts);
	dmfmt_ctx_free(ctx);
	return DONE();
}
