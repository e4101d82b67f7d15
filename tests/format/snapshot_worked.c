// SPDX-License-Identifier: GPL-2.0-or-later
/* The worked examples of dm-snapshot-format(5), and the arithmetic against a step-by-step simulation. */
#include <stdlib.h>

#include "../lib/tap.h"
#include "../../libdmfmt/format/snapshot.h"

static struct snap_geometry geometry(uint64_t c, uint64_t chunks)
{
	struct snap_geometry g;

	EQ(dmfmt_snap_geometry_init(&g, c, chunks * c), 0);
	return g;
}

static void header_bytes(void)
{
	static const uint8_t bytes[16] = { 0x53, 0x6e, 0x41, 0x70, 1, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0 };
	struct snap_header_disk d;
	struct snap_header h;

	memcpy(&d, bytes, sizeof(d));
	dmfmt_snap_header_decode(&d, &h);
	EQ(h.magic, DMFMT_SNAP_MAGIC);
	EQ(h.valid, 1);
	EQ(h.version, 1);
	EQ(h.chunk_size, 8);
	memset(&d, 0xff, sizeof(d));
	dmfmt_snap_header_encode(&h, &d);
	CHECK(!memcmp(&d, bytes, sizeof(d)));
}

static void exception_bytes(void)
{
	static const uint8_t bytes[16] = { 9, 0, 0, 0, 0, 0, 0, 0, 4 };
	struct snap_exception_disk e;

	dmfmt_snap_exception_encode(9, 4, &e);
	CHECK(!memcmp(&e, bytes, sizeof(e)));
	EQ(dmfmt_snap_old(&e), 9);
	EQ(dmfmt_snap_new(&e), 4);
}

static void chunk_sizes(void)
{
	struct snap_geometry g;
	uint64_t c;

	for (c = 1; c <= DMFMT_SNAP_CHUNK_SECTORS_MAX; c *= 2)
		CHECK(dmfmt_snap_chunk_size_ok(c));
	CHECK(!dmfmt_snap_chunk_size_ok(0));
	CHECK(!dmfmt_snap_chunk_size_ok(12));
	CHECK(!dmfmt_snap_chunk_size_ok(4194304));
	CHECK(!dmfmt_snap_chunk_size_ok(UINT64_C(1) << 32));
	EQ(dmfmt_snap_geometry_init(&g, 12, 512), -EINVAL);
	g = geometry(8, 64);
	EQ(g.shift, 3);
	EQ(g.chunk_bytes, 4096);
	EQ(g.entries, 256);
	EQ(g.stride, 257);
	EQ(g.chunks, 64);
}

static void area_numbers(void)
{
	struct snap_geometry g = geometry(8, 1000);
	uint64_t chunk;

	CHECK(dmfmt_snap_area_chunk(&g, 0, &chunk) && chunk == 1);
	CHECK(dmfmt_snap_area_chunk(&g, 1, &chunk) && chunk == 258);
	CHECK(dmfmt_snap_area_chunk(&g, 2, &chunk) && chunk == 515);
	EQ(dmfmt_snap_nr_areas(&g), 4);
	CHECK(!dmfmt_snap_area_chunk(&g, 4, &chunk));
	EQ(dmfmt_snap_dense_chunk(&g, 0, 0), 2);
	EQ(dmfmt_snap_dense_chunk(&g, 0, 255), 257);
	EQ(dmfmt_snap_dense_chunk(&g, 1, 0), 259);
	EQ(dmfmt_snap_dense_chunk(&g, 1, 1), 260);
	EQ(dmfmt_snap_dense_chunk(&g, 1, 255), 514);
	EQ(dmfmt_snap_dense_chunk(&g, 2, 0), 516);
	EQ(dmfmt_snap_skip_metadata(&g, 258), 259);
	EQ(dmfmt_snap_skip_metadata(&g, 259), 259);
	EQ(dmfmt_snap_chunks_needed(&g, 255), 257);
	EQ(dmfmt_snap_chunks_needed(&g, 256), 259);
	EQ(dmfmt_snap_chunks_needed(&g, UINT64_MAX), 0);
}

static void metadata_chunks(void)
{
	struct snap_geometry g = geometry(8, 600);

	CHECK(dmfmt_snap_is_metadata(&g, 0));
	CHECK(dmfmt_snap_is_metadata(&g, 1));
	CHECK(!dmfmt_snap_is_metadata(&g, 2));
	CHECK(!dmfmt_snap_is_metadata(&g, 257));
	CHECK(dmfmt_snap_is_metadata(&g, 258));
	CHECK(!dmfmt_snap_new_chunk_ok(&g, 1));
	CHECK(dmfmt_snap_new_chunk_ok(&g, 2));
	CHECK(dmfmt_snap_new_chunk_ok(&g, 599));
	CHECK(!dmfmt_snap_new_chunk_ok(&g, 600));
	CHECK(!dmfmt_snap_new_chunk_ok(&g, UINT64_MAX));
	CHECK(!dmfmt_snap_old_chunk_wraps(&g, (UINT64_C(1) << 61) - 1));
	CHECK(dmfmt_snap_old_chunk_wraps(&g, (UINT64_C(1) << 61) + 3));
}

/* the kernel's allocation, step by step: a whole chunk must fit, metadata chunks are stepped over */
static uint64_t simulate(const struct snap_geometry *g, uint64_t *usable)
{
	uint64_t next = 2, n = 0;

	*usable = 0;
	while (g->device_sectors >= (next + 1) * g->chunk_sectors) {
		uint64_t chunk;

		n++;
		next++;
		if (next % g->stride == 1)
			next++;
		/* committed: a full area needs its successor on the device */
		if (n % g->entries || dmfmt_snap_area_chunk(g, n / g->entries, &chunk))
			*usable = n;
	}
	return n;
}

static void capacities(void)
{
	uint64_t c, t, usable, simulated;

	for (c = 1; c <= 8; c *= 2) {
		for (t = 1; t < 4 * (c * 32 + 1); t++) {
			struct snap_geometry g = geometry(c, t);
			uint64_t all = dmfmt_snap_capacity(&g, &usable);
			uint64_t want_usable, want = simulate(&g, &want_usable);

			simulated = want == all && want_usable == usable;
			if (!simulated)
				printf("# C %d T %d: %d/%d, expected %d/%d\n", (int)c, (int)t, (int)all,
				       (int)usable, (int)want, (int)want_usable);
			CHECK(simulated);
			EQ(dmfmt_snap_edge(&g), t > 1 && t % g.stride == 1);
		}
	}
}

/* A.7: the power-of-two devices that end at the edge of an area */
static void edges(void)
{
	static const struct { uint64_t c, bytes; } hit[] = {
		{ 8, UINT64_C(256) << 20 }, { 16, UINT64_C(2) << 30 }, { 32, UINT64_C(16) << 30 },
		{ 64, UINT64_C(128) << 30 }, { 128, UINT64_C(1) << 40 }, { 256, UINT64_C(8) << 40 },
	};
	struct snap_geometry g;
	unsigned i;

	for (i = 0; i < 6; i++) {
		EQ(dmfmt_snap_geometry_init(&g, hit[i].c, hit[i].bytes >> 9), 0);
		CHECK(dmfmt_snap_edge(&g));
		EQ(dmfmt_snap_geometry_init(&g, hit[i].c, hit[i].bytes >> 10), 0);
		CHECK(!dmfmt_snap_edge(&g));
	}
}

static void live_and_dense(void)
{
	static struct snap_exception_disk e[256];
	size_t i, n;

	for (n = 0; n <= 256; n++) {
		memset(e, 0, sizeof(e));
		for (i = 0; i < n; i++)
			dmfmt_snap_exception_encode(1000 - i, 2 + i, &e[i]);
		EQ(dmfmt_snap_live(e, 256), n);
		CHECK(dmfmt_snap_all_dense(e, n, 2, 1001));
		if (!n)
			continue;
		CHECK(!dmfmt_snap_all_dense(e, n, 2, 1000));	/* the first one is 1000 */
		CHECK(!dmfmt_snap_all_dense(e, n, 3, 1001));
		dmfmt_snap_exception_encode(UINT64_MAX, 2 + n - 1, &e[n - 1]);
		CHECK(!dmfmt_snap_all_dense(e, n, 2, UINT64_C(1) << 63));
		dmfmt_snap_exception_encode(1, UINT64_MAX, &e[n - 1]);
		CHECK(!dmfmt_snap_all_dense(e, n, 2, 1001));
	}
}

static void next_free_wraps_as_the_kernel_does(void)
{
	EQ(dmfmt_snap_next_free(2, UINT64_MAX), 0);
	EQ(dmfmt_snap_next_free(2, 5000), 5001);
	EQ(dmfmt_snap_next_free(9, 3), 9);
}

int main(void)
{
	RUN(header_bytes);
	RUN(exception_bytes);
	RUN(chunk_sizes);
	RUN(area_numbers);
	RUN(metadata_chunks);
	RUN(capacities);
	RUN(edges);
	RUN(live_and_dense);
	RUN(next_free_wraps_as_the_kernel_does);
	return DONE();
}
