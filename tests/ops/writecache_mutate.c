// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Every field of a cache set to every kind of wrong number: nothing crashes or hangs, everything
 * returns 0 or a documented error, what the kernel would refuse or format is never called sound, and
 * a repair leaves nothing for a second one.
 */
#include <errno.h>

#include "../../libdmfmt/dmfmt.h"
#include "writecache_image.h"

#define BLOCK 4096
#define BLOCKS 300
#define SEQ 7

static struct dmfmt_ctx *ctx;
static struct image base, image;
static uint64_t rng = 88172645463325252ull, runs;

static uint64_t next(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static int ignore_field(void *arg, const struct dmfmt_field *f)
{
	*(uint64_t *)arg += f->u + (f->s ? strlen(f->s) : 0);
	return 0;
}

static int ignore_rows(void *arg, uint64_t first, const uint64_t *v, size_t nr)
{
	while (nr--)
		*(uint64_t *)arg += first + v[2 * nr];
	return 0;
}

static int ignore_extent(void *arg, const struct dmfmt_extent *e)
{
	*(uint64_t *)arg += e->to;
	return 0;
}

static bool documented(int ret)
{
	return !ret || ret == -EILSEQ || ret == -EOPNOTSUPP || ret == -ERANGE || ret == -EUCLEAN ||
	       ret == -ENOSPC || ret == -EOVERFLOW;
}

static void read_only(struct dmfmt *f)
{
	static uint64_t cells[64];
	uint64_t n = 0, total;
	struct dmfmt_visitor v = {
		.size = sizeof(v), .arg = &n, .head = ignore_field, .records = ignore_rows,
		.tail = ignore_field,
	};

	CHECK(documented(dmfmt_info(f, ignore_field, &n)));
	CHECK(documented(dmfmt_walk(f, &v)));
	CHECK(documented(dmfmt_find(f, next() % 4096, next() & 1, ignore_field, &n)));
	CHECK(documented(dmfmt_occupancy(f, "origin", cells, 64, &total)));
	CHECK(documented(dmfmt_occupancy(f, "store", cells, 64, &total)));
	CHECK(documented(dmfmt_occupancy(f, "age", cells, 64, &total)));
	CHECK(documented(dmfmt_extents(f, ignore_extent, &n)));
}

/* what the check calls worse than a warning */
static uint64_t bad_findings(const struct dmfmt_report *r)
{
	struct dmfmt_summary s = { .size = sizeof(s) };

	dmfmt_report_summary(r, &s);
	return s.fatal + s.repairable;
}

/* entries that the kernel drops although they were acknowledged, or that it chokes on */
static bool kernel_minds(const struct image *s)
{
	uint64_t i, step = sb_block_size(s) / 512;

	if (fate(s) != LOADS || sb_seq(s) >= UINT64_C(1) << 63)
		return true;
	for (i = 0; i < sb_blocks(s); i++) {
		uint64_t seq = entry_seq(s, i), sector = entry_sector(s, i);

		if (seq != WC_FREE && seq > sb_seq(s))
			return true;
		if (committed(s, i) && (sector % step || sector + step < sector))
			return true;
	}
	return false;
}

static int repair(struct dmfmt *f, unsigned flags, bool lossy, struct dmfmt_summary *sum)
{
	struct dmfmt_repair_opts o = { .size = sizeof(o), .accept_loss = DMFMT_NONE, .flags = flags };
	struct dmfmt_report *r = NULL;
	int ret = dmfmt_check(f, 0, 0, &r);

	if (ret)
		return ret;
	if (kernel_minds(&image))
		CHECK(bad_findings(r) > 0);
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

static void try_image(const char *what)
{
	struct dmfmt_summary one = { .size = sizeof(one) }, two = { .size = sizeof(two) };
	unsigned before = tap_failed_checks;
	bool lossy = next() & 1;
	struct dmfmt_dev *dev = device_of(ctx, &image);
	struct dmfmt *f;
	const unsigned some = DMFMT_REPAIR_REBUILD_HEADER | (next() & 1 ? DMFMT_REPAIR_SEQ_MAX :
								       DMFMT_REPAIR_SEQ_NEXT);
	const unsigned flags = DMFMT_REPAIR_YES | (next() & 1 ? some : 0);
	int first, second;

	runs++;
	EQ(dmfmt_open(ctx, dev, "writecache", 0, &f), 0);
	if (next() & 1)
		dmfmt_set_origin_size(f, 8 + next() % 20000);
	read_only(f);
	first = repair(f, flags, lossy, &one);
	CHECK(documented(first) || first == -EINVAL);
	dmfmt_close(f);
	EQ(dmfmt_open(ctx, dev, "writecache", 0, &f), 0);
	second = repair(f, flags, false, &two);
	CHECK(documented(second) || second == -EINVAL);
	if (!first && !second)
		EQ(two.mended, 0);
	read_only(f);
	dmfmt_close(f);
	dmfmt_dev_close(dev);
	if (tap_failed_checks != before)
		printf("# %s (loss %saccepted): %s\n", what, lossy ? "" : "not ", dmfmt_ctx_error(ctx));
}

static void again(void)
{
	memcpy(image.v, base.v, base.size);
	image.size = base.size;
}

static void mutate(size_t off, unsigned bytes)
{
	uint64_t v = le(base.v + off, bytes), values[11];
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
	values[8] = next() % BLOCKS;
	values[9] = v << 1;
	values[10] = UINT64_MAX - 7;
	for (i = 0; i < 11; i++) {
		again();
		put_le(image.v + off, values[i], bytes);
		snprintf(what, sizeof(what), "%u bytes at %zu: 0x%" PRIx64, bytes, off, values[i]);
		try_image(what);
	}
}

static void superblock_fields(void)
{
	unsigned i;

	for (i = 0; i < 4; i++)
		mutate(base.start + 4 * i, 4);
	for (i = 16; i < 64; i += 8)
		mutate(base.start + i, 8);
}

/* the first, the last, those around the ends of sectors and of what LVM wipes, a few in between */
static void entry_fields(void)
{
	static const unsigned which[] = { 0, 1, 27, 28, 59, 60, 100, 251, 252, 253, 298, 299 };
	unsigned i;

	for (i = 0; i < sizeof(which) / sizeof(which[0]); i++) {
		size_t off = (size_t)(entry_at(&base, which[i]) - base.v);

		mutate(off, 8);
		mutate(off + 8, 8);
	}
}

static void several_at_once(void)
{
	unsigned i, j;

	for (i = 0; i < 300; i++) {
		again();
		for (j = 0; j < 1 + i % 6; j++)
			put_le(entry_at(&image, next() % BLOCKS) + 8 * (next() & 1), next() >> (next() % 64),
			       8);
		try_image("several fields");
	}
}

static void lost_sectors(void)
{
	unsigned i;

	for (i = 0; i < 10; i++) {
		again();
		memset(image.v + image.start + 512 * i, i & 1 ? 0 : 0xff, 512);
		try_image("a lost sector");
	}
	again();
	memset(image.v + image.start, 0, 4096);
	try_image("wiped");
}

static void every_length(void)
{
	uint64_t size;

	for (size = base.start + 512; size <= base.start + 12 * BLOCK; size += 512) {
		again();
		image.size = size;
		try_image("truncated");
	}
	for (size = base.size - 4 * BLOCK; size < base.size; size += 512) {
		again();
		image.size = size;
		try_image("truncated");
	}
}

static void garbage(void)
{
	unsigned i;
	size_t j;

	for (i = 0; i < 60; i++) {
		again();
		image.size = base.start + 32 * BLOCK;
		for (j = base.start; j < image.size; j++)
			image.v[j] = (uint8_t)(next() >> 33);
		if (i & 1)
			memcpy(image.v + base.start, base.v + base.start, 12);
		try_image("random bytes");
	}
}

static void sound_one(void)
{
	struct dmfmt_dev *dev;
	struct dmfmt_report *r = NULL;
	struct dmfmt *f;

	again();
	CHECK(!kernel_minds(&image));
	dev = device_of(ctx, &image);
	EQ(dmfmt_open(ctx, dev, "writecache", 0, &f), 0);
	EQ(dmfmt_check(f, 0, 0, &r), 0);
	EQ(bad_findings(r), 0);
	dmfmt_report_free(r);
	dmfmt_close(f);
	dmfmt_dev_close(dev);
}

int main(void)
{
	ctx = dmfmt_ctx_new();
	base = make_cache(BLOCK, BLOCKS, 8 * 512, 16384, 150, false);
	EQ(sb_seq(&base), SEQ);
	image = copy_of(&base);
	RUN(sound_one);
	RUN(superblock_fields);
	RUN(entry_fields);
	RUN(several_at_once);
	RUN(lost_sectors);
	RUN(every_length);
	RUN(garbage);
	printf("# %" PRIu64 " images\n", runs);
	free(base.v);
	free(image.v);
	dmfmt_ctx_free(ctx);
	return DONE();
}
