// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Every field of a store set to every kind of wrong number: nothing crashes or hangs, everything
 * returns 0 or a documented error, and repair is idempotent - what it left once it leaves again,
 * and a second run mends nothing.
 */
#include <errno.h>
#include <stdlib.h>

#include "../lib/tap.h"
#include "../../libdmfmt/dmfmt.h"

#define CHUNK 4096
#define CHUNKS 300
#define BYTES (CHUNK * CHUNKS)
#define ENTRIES 261	/* area 0 full, area 1 begun */

static struct dmfmt_ctx *ctx;
static uint8_t *base, *image;
static uint64_t rng = 88172645463325252ull, runs;

static uint64_t next(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static uint64_t get(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;
	unsigned i;

	for (i = 0; i < bytes; i++)
		v |= (uint64_t)p[i] << 8 * i;
	return v;
}

static void put(uint8_t *p, unsigned bytes, uint64_t v)
{
	unsigned i;

	for (i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

static size_t entry_offset(unsigned i)
{
	return (size_t)CHUNK * (1 + i / 256 * 257) + i % 256 * 16;
}

static void make_base(void)
{
	unsigned i;

	base = calloc(1, BYTES);
	image = malloc(BYTES);
	memcpy(base, "\x53\x6e\x41\x70\x01\0\0\0\x01\0\0\0\x08", 13);
	for (i = 0; i < ENTRIES; i++) {
		put(base + entry_offset(i), 8, 5 * i + 3);
		put(base + entry_offset(i) + 8, 8, 2 + i + i / 256);
		memset(base + (size_t)CHUNK * (2 + i + i / 256), (int)i + 1, CHUNK);
	}
}

static int ignore_field(void *arg, const struct dmfmt_field *f)
{
	uint64_t *n = arg;

	*n += f->u + (f->s ? strlen(f->s) : 0);
	return 0;
}

static int ignore_rows(void *arg, uint64_t first, const uint64_t *v, size_t nr)
{
	uint64_t *n = arg;

	while (nr--)
		*n += first + v[2 * nr];
	return 0;
}

static int ignore_stale(void *arg, uint64_t area, uint64_t slot, const uint64_t *v)
{
	*(uint64_t *)arg += area + slot + v[0];
	return 0;
}

static bool documented(int ret)
{
	return !ret || ret == -EILSEQ || ret == -EOPNOTSUPP || ret == -ERANGE || ret == -EUCLEAN;
}

static void read_only(struct dmfmt *f)
{
	static uint64_t cells[64];
	uint64_t n = 0, total;
	struct dmfmt_visitor v = {
		.size = sizeof(v), .arg = &n, .head = ignore_field, .records = ignore_rows,
		.stale = ignore_stale, .tail = ignore_field,
	};

	CHECK(documented(dmfmt_info(f, ignore_field, &n)));
	CHECK(documented(dmfmt_walk(f, &v)));
	CHECK(documented(dmfmt_find(f, next() % 4096, next() & 1, ignore_field, &n)));
	CHECK(documented(dmfmt_occupancy(f, "origin", cells, 64, &total)));
	CHECK(documented(dmfmt_occupancy(f, "store", cells, 64, &total)));
}

static int repair(struct dmfmt *f, bool lossy, struct dmfmt_summary *sum)
{
	struct dmfmt_repair_opts o = { .size = sizeof(o), .accept_loss = DMFMT_NONE,
				       .flags = DMFMT_REPAIR_YES | DMFMT_REPAIR_REBUILD_HEADER };
	struct dmfmt_report *r = NULL;
	int ret = dmfmt_check(f, 0, 0, &r);

	if (ret)
		return ret;
	dmfmt_report_summary(r, sum);
	dmfmt_report_free(r);
	if (lossy)
		o.accept_loss = sum->loss;
	ret = dmfmt_repair(f, &o, &r);
	if (r)
		dmfmt_report_summary(r, sum);
	dmfmt_report_free(r);
	return ret;
}

static void try_image(const char *what, uint64_t size)
{
	struct dmfmt_summary one = { .size = sizeof(one) }, two = { .size = sizeof(two) };
	struct dmfmt_dev *dev;
	struct dmfmt *f;
	unsigned before = tap_failed_checks;
	bool lossy = next() & 1;
	int first, second;

	runs++;
	EQ(dmfmt_dev_open_buffer(ctx, image, size, &dev), 0);
	EQ(dmfmt_open(ctx, dev, "snapshot", 0, &f), 0);
	if (next() & 1)
		dmfmt_set_origin_size(f, next() % 20000);
	read_only(f);
	first = repair(f, lossy, &one);
	CHECK(documented(first));
	dmfmt_close(f);
	EQ(dmfmt_open(ctx, dev, "snapshot", 0, &f), 0);
	second = repair(f, false, &two);
	CHECK(documented(second));
	/* what loss was accepted for is gone; nothing is mended twice */
	if (!first && !second)
		EQ(two.mended, 0);
	read_only(f);
	dmfmt_close(f);
	dmfmt_dev_close(dev);
	if (tap_failed_checks != before)
		printf("# %s (loss %saccepted): %s\n", what, lossy ? "" : "not ", dmfmt_ctx_error(ctx));
}

static void mutate(size_t off, unsigned bytes)
{
	uint64_t v = get(base + off, bytes), values[9];
	char what[80];
	unsigned i;

	values[0] = 0;
	values[1] = UINT64_MAX;
	values[2] = v ^ 1;
	values[3] = v ^ (UINT64_C(1) << (4 * bytes));
	values[4] = v ^ (UINT64_C(1) << (8 * bytes - 1));
	values[5] = v + 1;
	values[6] = v - 1;
	values[7] = next();
	values[8] = next() % CHUNKS;
	for (i = 0; i < 9; i++) {
		memcpy(image, base, BYTES);
		put(image + off, bytes, values[i]);
		snprintf(what, sizeof(what), "%u bytes at %zu: 0x%" PRIx64, bytes, off, values[i]);
		try_image(what, BYTES);
	}
}

static void header_fields(void)
{
	unsigned i;

	for (i = 0; i < 4; i++)
		mutate(4 * i, 4);
}

/* the first, the last, those around the end of the area and the terminator; a few in between */
static void entry_fields(void)
{
	static const unsigned which[] = { 0, 1, 31, 32, 100, 254, 255, 256, 257, 260, 261, 262, 300 };
	unsigned i;

	for (i = 0; i < sizeof(which) / sizeof(which[0]); i++) {
		mutate(entry_offset(which[i]), 8);
		mutate(entry_offset(which[i]) + 8, 8);
	}
}

static void several_at_once(void)
{
	unsigned i, j;

	for (i = 0; i < 400; i++) {
		memcpy(image, base, BYTES);
		for (j = 0; j < 1 + i % 6; j++)
			put(image + entry_offset((unsigned)(next() % 300)) + 8 * (next() & 1), 8,
			    next() >> (next() % 64));
		try_image("several fields", BYTES);
	}
}

static void zeroed_sectors(void)
{
	unsigned i;

	for (i = 0; i < 8; i++) {
		memcpy(image, base, BYTES);
		memset(image + CHUNK + 512 * i, 0, 512);
		try_image("a lost sector", BYTES);
	}
}

static void every_length(void)
{
	uint64_t size;

	for (size = 512; size <= 16 * CHUNK; size += 512) {
		memcpy(image, base, BYTES);
		try_image("truncated", size);
	}
	for (size = 255 * CHUNK; size <= 262 * CHUNK; size += 512) {
		memcpy(image, base, BYTES);
		try_image("truncated", size);
	}
}

static void garbage(void)
{
	unsigned i;
	size_t j;

	for (i = 0; i < 200; i++) {
		for (j = 0; j < 32 * CHUNK; j++)
			image[j] = (uint8_t)(next() >> 33);
		if (i & 1)
			memcpy(image, base, 16);
		try_image("random bytes", 32 * CHUNK);
	}
}

int main(void)
{
	ctx = dmfmt_ctx_new();
	make_base();
	RUN(header_fields);
	RUN(entry_fields);
	RUN(several_at_once);
	RUN(zeroed_sectors);
	RUN(every_length);
	RUN(garbage);
	printf("# %" PRIu64 " images\n", runs);
	free(base);
	free(image);
	dmfmt_ctx_free(ctx);
	return DONE();
}
