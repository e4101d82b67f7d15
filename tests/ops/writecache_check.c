// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What check says of a cache: the worked example and everything that can be wrong with it, and caches
 * of random entries against a model that sorts them all.
 */
#include <errno.h>
#include <stdlib.h>

#include "../lib/tap.h"
#include "../../libdmfmt/ops/writecache.h"

#define FREE DMFMT_WC_FREE
#define BASE_BYTES 65536u
#define BASE_BLOCKS 15u
#define MANY ((size_t)1 << 24)

static struct dmfmt_ctx *ctx;
static uint8_t *image;		/* of `size` bytes, the cache at `start` */
static uint64_t size, start;
static uint64_t rng = 88172645463325252ull;

static uint64_t next(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static uint64_t below(uint64_t n)
{
	return (next() >> 11) % n;
}

/* ---- images ------------------------------------------------------------------------------------ */

static void put(uint64_t off, unsigned bytes, uint64_t v)
{
	unsigned i;

	for (i = 0; i < bytes; i++)
		image[start + off + i] = (uint8_t)(v >> 8 * i);
}

static void put_superblock(uint32_t block_size, uint64_t n_blocks, uint64_t seq)
{
	memset(image + start, 0, 64);
	put(0, 4, DMFMT_WC_MAGIC);
	put(4, 4, 1);
	put(8, 4, block_size);
	put(16, 8, n_blocks);
	put(24, 8, seq);
}

static void put_entry(uint64_t i, uint64_t sector, uint64_t seq)
{
	put(64 + 16 * i, 8, sector);
	put(72 + 16 * i, 8, seq);
}

/* @bytes of device with nothing on it; what lies before @sectors is noise */
static void new_image(uint64_t bytes, uint64_t sectors)
{
	free(image);
	size = bytes;
	start = sectors * 512;
	image = calloc(1, bytes);
	memset(image, 0x5a, start);
}

/* 15 blocks of 4096 bytes, S = 3, as in dm-writecache-format(5) */
static void worked_example(uint64_t sectors)
{
	unsigned i;

	new_image(BASE_BYTES + sectors * 512, sectors);
	put_superblock(4096, BASE_BLOCKS, 3);
	for (i = 0; i < BASE_BLOCKS; i++)
		put_entry(i, FREE, FREE);
	put_entry(0, 16, 0);
	put_entry(1, 24, 0);
	put_entry(2, 2048, 1);
	put_entry(4, 4096, FREE);
	put_entry(5, 2048, 2);
	put_entry(6, 8192, 3);
}

/* a cache of n(D, B) free entries that fills @bytes */
static uint64_t all_free(uint64_t bytes, uint32_t block_size, uint64_t seq)
{
	uint64_t i, n;

	new_image(bytes, 0);
	EQ(dmfmt_wc_blocks(bytes, block_size, &n), 0);
	put_superblock(block_size, n, seq);
	for (i = 0; i < n; i++)
		put_entry(i, FREE, FREE);
	return n;
}

/* ---- a device with sectors that cannot be read ------------------------------------------------- */

struct holes {
	struct dmfmt_layer l;
	uint64_t from[4], to[4];
	unsigned nr;
};

static int holes_read(struct dmfmt_layer *l, uint64_t off, void *buf, size_t len)
{
	struct holes *h = (struct holes *)l;
	unsigned i;

	for (i = 0; i < h->nr; i++)
		if (off < h->to[i] && off + len > h->from[i])
			return -EIO;
	return l->lower->ops->read(l->lower, off, buf, len);
}

static void holes_close(struct dmfmt_layer *l)
{
	dmfmt_layer_close(l->lower);
	free(l);
}

static const struct dmfmt_layer_ops holes_ops = { .name = "holes", .read = holes_read,
						  .close = holes_close };

/* ---- one check --------------------------------------------------------------------------------- */

/*
 * struct run - how to check, and what came out
 * @origin: sectors; 0: not known
 * @said: "F superblock.wiped 1, N entry.superseded 2" in the order of the list of findings
 */
static struct run {
	uint64_t origin;
	struct dmfmt_dev *origin_dev;
	uint32_t logical;
	unsigned flags;
	size_t max_each;
	struct holes holes;
	struct dmfmt_range bad[4];
	size_t nr_bad;

	int ret;
	char said[1024];
	struct dmfmt_summary sum;
	struct dmfmt_report *r;
	uint64_t nr_damaged;
} run;

static struct dmfmt_dev *open_image(void)
{
	struct dmfmt_layer *bottom;
	struct dmfmt_dev *dev;

	EQ(dmfmt_mem_layer_new(image, size, &bottom), 0);
	EQ(dmfmt_dev_from_layer(ctx, bottom, size, run.logical ? run.logical : 512, "cache", &dev), 0);
	EQ(dmfmt_dev_set_start(dev, start / 512), 0);
	if (run.holes.nr) {
		struct holes *h = malloc(sizeof(*h));

		*h = run.holes;
		h->l.ops = &holes_ops;
		dmfmt_dev_push(dev, &h->l);
	}
	if (run.nr_bad) {
		dev->bad = malloc(sizeof(run.bad));
		memcpy(dev->bad, run.bad, sizeof(run.bad));
		dev->nr_bad = run.nr_bad;
	}
	return dev;
}

static void add_said(const char *code)
{
	uint64_t count[4] = { 0 };
	size_t i, n;
	unsigned s;

	for (i = 0; i < dmfmt_report_nr(run.r); i++) {
		const struct dmfmt_finding *d = dmfmt_report_get(run.r, i);

		if (!strcmp(d->code, code))
			count[d->severity] += d->count;
	}
	for (s = 0; s < 4; s++) {
		n = strlen(run.said);
		if (count[s])
			snprintf(run.said + n, sizeof(run.said) - n, "%s%c %s %" PRIu64, n ? ", " : "",
				 "NWRF"[s], strchr(code, '.') + 1, count[s]);
	}
}

/* each rule of the page stands there once, checked or with the reason why not */
static void rules_are_whole(void)
{
	size_t i;

	EQ(dmfmt_report_nr_rules(run.r), 28);
	for (i = 0; i < dmfmt_report_nr_rules(run.r); i++) {
		const struct dmfmt_rule *rule = dmfmt_report_rule(run.r, i);

		EQ(rule->number, i + 1);
		CHECK(rule->checked == !rule->reason[0]);
	}
}

static bool checked(unsigned number)
{
	return dmfmt_report_rule(run.r, number - 1)->checked;
}

static void judge(struct dmfmt *f)
{
	enum dmfmt_severity sev;
	const char *code, *words;
	unsigned number;
	size_t i;

	run.said[0] = '\0';
	memset(&run.sum, 0, sizeof(run.sum));
	run.sum.size = sizeof(run.sum);
	run.ret = dmfmt_check(f, run.flags, run.max_each, &run.r);
	CHECK(run.r);
	if (!run.r)
		return;
	dmfmt_report_summary(run.r, &run.sum);
	for (i = 0; (code = dmfmt_finding_list(i, &number, &sev, &words)); i++)
		if (number / 1000 == 2)
			add_said(code);
	rules_are_whole();
	EQ(run.sum.areas, DMFMT_NONE);
	run.nr_damaged = ((struct wc *)f->priv)->damaged.count;
}

static void check_image(void)
{
	struct dmfmt_dev *dev = open_image();
	struct dmfmt *f = NULL;

	dmfmt_report_free(run.r);
	run.r = NULL;
	EQ(dmfmt_open(ctx, dev, "writecache", 0, &f), 0);
	if (run.origin_dev)
		EQ(dmfmt_set_origin(f, run.origin_dev), 0);
	else if (run.origin)
		EQ(dmfmt_set_origin_size(f, run.origin), 0);
	judge(f);
	dmfmt_close(f);
	dmfmt_dev_close(dev);
}

/* with nothing special */
static void plainly(void)
{
	dmfmt_report_free(run.r);
	memset(&run, 0, sizeof(run));
	ctx->window = 0;
	dmfmt_ctx_set_memory(ctx, 64 << 20);
}

static void says(const char *want)
{
	check_image();
	EQ(run.ret, 0);
	STREQ(run.said, want);
}

/* the first finding of a kind */
static const struct dmfmt_finding *finding(const char *code)
{
	static const struct dmfmt_finding none = { .message = "", .suggestion = "", .found = "",
						   .expected = "" };
	size_t i;

	for (i = 0; i < dmfmt_report_nr(run.r); i++)
		if (!strcmp(dmfmt_report_get(run.r, i)->code + strlen("writecache."), code))
			return dmfmt_report_get(run.r, i);
	printf("# no %s\n", code);
	tap_failed_checks++;
	return &none;
}

static void has(const char *s, const char *words)
{
	if (strstr(s, words))
		return;
	printf("# \"%s\", expected to read: %s\n", s, words);
	tap_failed_checks++;
}

#define NOTES "N entry.uncommitted 1, N entry.superseded 1"

/* ---- the worked example ------------------------------------------------------------------------ */

static void test_worked_example(void)
{
	const struct dmfmt_finding *d;

	plainly();
	run.origin = 16384;
	worked_example(0);
	says(NOTES);
	EQ(run.sum.records, 15);
	EQ(run.sum.loss, 0);
	d = finding("entry.superseded");
	EQ(d->record, 2);
	EQ(d->record2, 5);
	EQ(d->offset, 64 + 16 * 2);
	EQ(d->origin_sector, 2048);
	EQ(d->origin_nr, 8);
	has(d->message, "entry 5, which wins because its seq_count 2 is higher");
	d = finding("entry.uncommitted");
	EQ(d->record, 6);
	has(d->message, "seq_count 3 is the superblock's");
	CHECK(checked(17) && checked(26) && !checked(24) && !checked(7) && !checked(21) && !checked(27));
	worked_example(2048);
	says(NOTES);
	EQ(finding("entry.superseded")->offset, 2048 * 512 + 64 + 16 * 2);
	run.flags = DMFMT_CHECK_DATA;
	says(NOTES);
	CHECK(checked(24));
}

/* every free entry may hold any sector, and the gap anything */
static void test_free_is_free(void)
{
	unsigned i;

	plainly();
	worked_example(0);
	for (i = 7; i < BASE_BLOCKS; i++)
		put_entry(i, next() | 1, FREE);
	for (i = 64 + 16 * BASE_BLOCKS; i < 4096; i++)
		put(i, 1, next());
	says(NOTES);
}

/* ---- the corrupt examples, in their order ------------------------------------------------------ */

static void test_wiped(void)
{
	unsigned i;

	plainly();
	worked_example(0);
	put(0, 8, 0);
	says("F superblock.wiped 1");
	has(finding("superblock.wiped")->suggestion, "--rebuild-superblock --seq-count=max");
	CHECK(checked(2) && !checked(14));
	/* 1 MiB, the first 4096 bytes gone as LVM does it */
	all_free(1 << 20, 4096, 7);
	put_entry(252, 800, 6);
	put_entry(253, 80, 5);
	memset(image, 0, 4096);
	says("F superblock.wiped 1");
	has(finding("superblock.wiped")->found, "252 are zero");
	/* much more is gone than LVM wipes, and what is left lies far from both ends */
	all_free(64 << 20, 512, 7);
	for (i = 60000; i < 60100; i++)
		put_entry(i, i, 6);
	memset(image, 0, 256 << 10);
	says("F superblock.wiped 1");
	has(finding("superblock.wiped")->found, "100 entries that are alive (block_size 512");
	/* nothing was ever there; all were free; a file of text */
	new_image(1 << 20, 0);
	says("F superblock.blank 1");
	all_free(1 << 20, 4096, 7);
	put(0, 8, 0);
	says("F superblock.blank 1");
	memset(image + 8, 'a', size - 8);
	says("F superblock.blank 1");
}

static void test_magic(void)
{
	plainly();
	worked_example(0);
	put(0, 4, 0x23489320);
	says("F superblock.magic_bad 1");
	has(finding("superblock.magic_bad")->found, "0x23489320");
	has(finding("superblock.magic_bad")->suggestion, "--rebuild-superblock");
	/* another start: noise at sector 0, a cache at 2048 */
	worked_example(2048);
	start = 0;
	says("F superblock.magic_bad 1");
	has(finding("superblock.magic_bad")->suggestion, "--start-sector=2048");
	memset(image, 0, 2048 * 512);
	says("F superblock.blank 1");
	has(finding("superblock.blank")->suggestion, "--start-sector=2048");
}

static void test_block_size(void)
{
	plainly();
	worked_example(0);
	put(8, 4, 512);
	says("F superblock.block_size_contradicted 1, " NOTES);
	has(finding("superblock.block_size_contradicted")->expected, "block_size 4096");
	/* too large instead: the blocks seem to lie past the end, but nothing is called lost */
	all_free(1 << 20, 512, 4);
	put_entry(3, 17, 1);
	put_entry(9, 18, 1);
	put(8, 4, 4096);
	says("F superblock.block_size_contradicted 1, F device.truncated 1, F entry.sector_unaligned 2");
	EQ(run.sum.loss, 0);
	EQ(run.nr_damaged, 0);
	worked_example(0);
	put(8, 4, 4097);
	says("F superblock.block_size_bad 1");
	has(finding("superblock.block_size_bad")->expected, "block_size 4096 and n_blocks 15");
	put(8, 4, 0);
	says("F superblock.block_size_bad 1");
	put(8, 4, 131072);
	says("F superblock.block_size_bad 1");
	all_free(1 << 20, 8192, 4);
	says("W superblock.block_size_above_4096 1");
}

static void test_n_blocks(void)
{
	plainly();
	worked_example(0);
	put(16, 8, 0);
	says("F superblock.n_blocks_zero 1");
	has(finding("superblock.n_blocks_zero")->expected, "15");
	put(16, 8, UINT64_MAX / 16);
	says("F superblock.n_blocks_absurd 1");
	put(16, 8, 1ull << 47);
	memset(image + 64, 0xff, size - 64);
	says("F device.truncated 1, F superblock.n_blocks_above_index 1, W superblock.kernel_memory 1, F superblock.n_blocks_unproven 1");
	worked_example(0);
	put(16, 8, 12);
	says("W superblock.n_blocks_below_device 1, " NOTES);
}

/* n = 16: what lies behind the 15 entries is read as one more */
static void test_n_blocks_above(void)
{
	plainly();
	worked_example(0);
	put(16, 8, 16);
	put_entry(15, FREE, FREE);
	says("F device.truncated 1, " NOTES);
	has(finding("device.truncated")->found, "65536 bytes");
	has(finding("device.truncated")->expected, "69632");
	has(finding("device.truncated")->expected, "gives 15");
}

static void test_sequence(void)
{
	const struct dmfmt_finding *d;

	plainly();
	worked_example(0);
	put(24, 8, 1);
	says("N entry.uncommitted 1, F entry.newer_than_superblock 2");
	d = finding("entry.newer_than_superblock");
	EQ(d->record, 5);
	EQ(d->count, 2);
	has(d->found, "SILENTLY DROPS 3 blocks");
	has(d->suggestion, "--seq-count=max (seq_count becomes 3: gives up 1 entry");
	has(d->suggestion, "--seq-count=max+1 (4:");
	has(finding("entry.uncommitted")->found, "taken for not committed");
	EQ(run.sum.fatal, 2);
	worked_example(0);
	put(24, 8, FREE);
	says("F superblock.seq_count_absurd 1, N entry.superseded 1");
	has(finding("superblock.seq_count_absurd")->suggestion, "seq_count becomes 3");
	put(24, 8, 1ull << 63);
	says("F superblock.seq_count_absurd 1, N entry.superseded 1");
	put(24, 8, (1ull << 63) - 1);
	says("N entry.superseded 1");
	/* an epoch that nothing reaches is no reason to move the superblock's */
	worked_example(0);
	put_entry(0, 16, 1ull << 63);
	says("N entry.uncommitted 1, F entry.newer_than_superblock 1, N entry.superseded 1");
	has(finding("entry.newer_than_superblock")->suggestion, "the entry itself is damaged");
	/* nothing was ever written */
	all_free(BASE_BYTES, 4096, 1ull << 63);
	says("F superblock.seq_count_absurd 1");
	STREQ(finding("superblock.seq_count_absurd")->suggestion, "");
}

static void test_sectors(void)
{
	plainly();
	worked_example(0);
	put_entry(0, 19, 0);
	says("N entry.uncommitted 1, F entry.sector_unaligned 1, N entry.superseded 1");
	EQ(run.sum.loss, 1);
	EQ(run.nr_damaged, 1);
	put_entry(0, UINT64_MAX - 7, 0);
	says("N entry.uncommitted 1, F entry.sector_wraps 1, N entry.superseded 1");
	EQ(finding("entry.sector_wraps")->origin_nr, 0);
	put_entry(0, UINT64_MAX, 0);
	says("N entry.uncommitted 1, F entry.sector_wraps 1, N entry.superseded 1");
	EQ(run.sum.loss, 1);
	put_entry(0, UINT64_MAX - 15, 0);
	says(NOTES);
	put_entry(0, 1 << 30, 0);
	says(NOTES);
	run.origin = 16384;
	says("N entry.uncommitted 1, W entry.beyond_origin 1, N entry.superseded 1");
	EQ(run.sum.loss, 1);
	put_entry(0, 16384, 0);
	says("N entry.uncommitted 1, W entry.beyond_origin 1, N entry.superseded 1");
	put_entry(0, 16384 - 8, 0);
	says(NOTES);
	run.origin = 16384 - 4;
	says("N entry.uncommitted 1, W entry.partial_last_block 1, N entry.superseded 1, "
	     "W origin.length_unaligned 1");
	EQ(run.sum.loss, 0);
	EQ(run.sum.fatal + run.sum.repairable, 0);
}

static void test_same_sequence(void)
{
	const struct dmfmt_finding *d;

	plainly();
	worked_example(0);
	put_entry(1, 16, 0);
	says(NOTES ", R entry.same_sequence 1");
	d = finding("entry.same_sequence");
	EQ(d->record, 0);
	EQ(d->record2, 1);
	has(d->found, "entry 1, which wins because its index is higher");
	EQ(run.sum.loss, 0);
	/* both lose against a third one: the kernel reports it all the same */
	put_entry(9, 16, 2);
	says("N entry.uncommitted 1, N entry.superseded 2, R entry.same_sequence 1");
	has(finding("entry.same_sequence")->found, "entry 9 wins because its seq_count 2 is higher");
	EQ(finding("entry.same_sequence")->record2, 9);
	/* never committed: dropped, whatever they are */
	worked_example(0);
	put_entry(7, 8192, 3);
	says("N entry.uncommitted 2, N entry.superseded 1");
}

static void test_version_and_padding(void)
{
	plainly();
	worked_example(0);
	put(4, 4, 2);
	says("F superblock.version_unknown 1");
	CHECK(checked(5) && !checked(9));
	worked_example(0);
	put(12, 4, 0xdeadbeef);
	put(40, 8, 1);
	says(NOTES ", W superblock.padding_not_zero 2");
	EQ(finding("superblock.padding_not_zero")->offset, 12);
	put(12, 4, 0);
	says(NOTES ", W superblock.padding_not_zero 1");
	EQ(finding("superblock.padding_not_zero")->offset, 40);
}

static void test_interrupted(void)
{
	unsigned i;

	plainly();
	worked_example(0);
	put(0, 4, 0);
	says("F superblock.magic_missing 1");
	for (i = 0; i < BASE_BLOCKS; i++)
		put_entry(i, i, FREE);
	put(24, 8, 0);
	says("R superblock.format_interrupted 1");
	has(finding("superblock.format_interrupted")->suggestion, "writecache-repair");
	put_entry(14, 0, 0);
	says("F superblock.magic_missing 1");
	/* numbers that fit nothing are no interrupted format */
	worked_example(0);
	put(0, 4, 0);
	put(16, 8, 0);
	says("F superblock.magic_missing 1");
	new_image(BASE_BYTES, 0);
	put(4, 4, 1);
	says("F superblock.magic_bad 1");
}

/* ---- the device -------------------------------------------------------------------------------- */

static void test_truncated(void)
{
	const struct dmfmt_finding *d;

	plainly();
	worked_example(0);
	size = 60 << 10;
	says("F device.truncated 1, " NOTES);
	EQ(run.sum.loss, 0);
	put_entry(14, 80, 1);
	says("F device.truncated 1, F entry.block_beyond_device 1, " NOTES);
	d = finding("entry.block_beyond_device");
	EQ(d->record, 14);
	EQ(d->loss, 1);
	EQ(d->origin_sector, 80);
	EQ(d->origin_nr, 8);
	/* a loser loses nothing, and a lost winner does not bring it back */
	size = 5 * 4096;
	says("F device.truncated 1, F entry.block_beyond_device 2, " NOTES);
	EQ(run.sum.loss, 2);
	EQ(finding("entry.block_beyond_device")->record, 5);
	/* past the end of the origin as well: told once */
	run.origin = 88;
	says("F device.truncated 1, F entry.block_beyond_device 1, N entry.uncommitted 1, "
	     "W entry.beyond_origin 2, N entry.superseded 1");
	EQ(run.sum.loss, 2);
}

/* the table itself is cut, behind entry 59 of 254 */
static void test_truncated_table(void)
{
	plainly();
	all_free(1 << 20, 4096, 9);
	put_entry(3, 8, 1);
	put_entry(59, 16, 1);
	put_entry(100, 24, 1);
	size = 1024;
	says("F device.truncated 1, F entry.block_beyond_device 2");
	has(finding("device.truncated")->found, "194 of the entries themselves are missing");
	EQ(finding("device.truncated")->loss, 194);
	EQ(run.sum.loss, 196);
	EQ(run.sum.records, 60);
}

static void test_fewer(void)
{
	uint64_t i, n;

	plainly();
	/* n_blocks cut so that the data would begin elsewhere: free entries are enough to see it */
	n = all_free(4 << 20, 4096, 9);
	put(16, 8, n / 2);
	says("F superblock.n_blocks_cuts_entries 1");
	has(finding("superblock.n_blocks_cuts_entries")->expected, "1020");
	for (i = n / 2; i < n; i++)
		put_entry(i, 8 * i, i % 9);
	says("F superblock.n_blocks_cuts_entries 1");
	/* where nothing moves only live ones are a reason */
	n = all_free(4 << 20, 4096, 9);
	put(16, 8, n - 3);
	says("W superblock.n_blocks_below_device 1");
	put_entry(n - 1, 80, 3);
	says("F superblock.n_blocks_cuts_entries 1");
	/* a device that has grown: data blocks of any content, among them zeros and numbers */
	n = all_free(4 << 20, 4096, 9);
	for (i = 500; i < n; i++)
		put_entry(i, i % 7 ? next() : 8, i % 7 ? next() : 1);
	put(16, 8, 500);
	says("W superblock.n_blocks_below_device 1");
	memset(image + 64 + 500 * 16, 0, size - 64 - 500 * 16);
	says("W superblock.n_blocks_below_device 1");
	put_entry(n - 200, 8, 1);
	says("W superblock.n_blocks_below_device 1");
}

static void test_place(void)
{
	struct dmfmt_dev *origin;
	static uint8_t bytes[64 << 10];
	struct dmfmt_layer *bottom;

	plainly();
	worked_example(7);
	says(NOTES ", W device.start_unaligned 1");
	has(finding("device.start_unaligned")->found, "7");
	worked_example(1);
	put(8, 4, 512);		/* a multiple of its block, not of a page */
	says("F superblock.block_size_contradicted 1, " NOTES ", W device.start_unaligned 1");
	/* blocks of 512 bytes on disks of 4096 */
	all_free(1 << 20, 512, 4);
	says("");
	run.logical = 4096;
	says("R superblock.block_size_below_logical 1");
	run.logical = 512;
	EQ(dmfmt_mem_layer_new(bytes, sizeof(bytes), &bottom), 0);
	EQ(dmfmt_dev_from_layer(ctx, bottom, sizeof(bytes), 4096, "origin", &origin), 0);
	run.origin_dev = origin;
	says("R superblock.block_size_below_logical 1");
	CHECK(checked(7));
	dmfmt_dev_close(origin);
	plainly();
	new_image(512, 0);
	put_superblock(512, 1, 0);
	says("F device.too_small 1");
}

/* ---- what cannot be read ----------------------------------------------------------------------- */

static void test_unreadable_entries(void)
{
	const struct dmfmt_finding *d;

	plainly();
	all_free(1 << 20, 512, 9);
	put_entry(5, 8, 1);
	put_entry(28, 16, 1);
	put_entry(1000, 24, 1);
	run.holes = (struct holes){ .from = { 512, 8192 }, .to = { 1024, 8193 }, .nr = 2 };
	says("F entry.unreadable 64");
	d = finding("entry.unreadable");
	EQ(d->record, 28);
	EQ(d->count, 32);
	EQ(d->loss, 32);
	EQ(d->offset, 512);
	has(d->place, "entries 28 to 59");
	EQ(run.sum.loss, 64);
	EQ(run.sum.records, 1985);
}

static void dirty_every(uint64_t n, unsigned step)
{
	uint64_t i;

	for (i = 0; i < n; i += step)
		put_entry(i, 8 * i, 1);
}

static void test_unreadable_data(void)
{
	const struct dmfmt_finding *d;
	uint64_t n, data;

	plainly();
	n = all_free(4 << 20, 4096, 9);
	data = dmfmt_wc_metadata_bytes(n, 4096);
	dirty_every(n, 1);
	/* a sector of block 7; the end of 20 to the first of 23; a block that loses */
	run.holes = (struct holes){
		.from = { data + 7 * 4096 + 512, data + 20 * 4096 + 4095, data + 50 * 4096 },
		.to = { data + 7 * 4096 + 1024, data + 23 * 4096 + 1, data + 51 * 4096 },
		.nr = 3,
	};
	put_entry(50, 8 * 51, 0);
	says("N entry.superseded 1");
	CHECK(!checked(24));
	run.flags = DMFMT_CHECK_DATA;
	says("N entry.superseded 1, F data.unreadable 5");
	d = finding("data.unreadable");
	EQ(d->record, 7);
	EQ(d->loss, 1);
	EQ(d->origin_sector, 56);
	EQ(d->offset, data + 7 * 4096);
	EQ(run.sum.loss, 5);
	CHECK(checked(24));
	/* past the end of the origin nobody reads it */
	run.origin = 21 * 8;
	says("W entry.beyond_origin 999, N entry.superseded 1, F data.unreadable 2");
	EQ(run.sum.loss, 998 + 2);
}

static void test_known_bad_blocks(void)
{
	uint64_t n, data;

	plainly();
	n = all_free(4 << 20, 4096, 9);
	data = dmfmt_wc_metadata_bytes(n, 4096);
	dirty_every(n, 2);
	/* out of order; two on one block; one on a free block; one before the data, one behind */
	run.bad[0] = (struct dmfmt_range){ data + 40 * 4096 + 512, 512 };
	run.bad[1] = (struct dmfmt_range){ data + 8 * 4096 + 3584, 2 * 4096 + 512 };
	run.bad[2] = (struct dmfmt_range){ data + 41 * 4096, 4096 };
	run.bad[3] = (struct dmfmt_range){ data + 40 * 4096 + 2048, 512 };
	run.nr_bad = 4;
	says("F data.unreadable 3");
	EQ(finding("data.unreadable")->record, 8);
	has(finding("data.unreadable")->found, "known bad block");
	CHECK(!checked(24));
	run.bad[0] = (struct dmfmt_range){ 512, 512 };
	run.bad[1] = (struct dmfmt_range){ data - 512, 1024 };
	run.bad[2] = (struct dmfmt_range){ size - 512, 512 };
	run.nr_bad = 3;
	put_entry(n - 1, 80000, 1);
	says("F data.unreadable 2");
	/* asked to read, it reads: these bytes can be read */
	run.flags = DMFMT_CHECK_DATA;
	says("");
}

/* ---- random caches against a model ------------------------------------------------------------- */

struct row {
	uint64_t sector, seq, entry;
};

struct model {
	uint64_t n, S, block_sectors, origin;
	struct row *rows;	/* in disk order */
	struct row *sorted;	/* the committed ones by (sector, seq, entry) */
	uint64_t nr;
	uint64_t *winner;	/* of each entry that loses, else FREE */
	bool *tie;
	uint64_t superseded, same, uncommitted, newer, unaligned, wraps, beyond, partial, loss;
};

static int by_age(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	if (x->sector != y->sector)
		return x->sector < y->sector ? -1 : 1;
	if (x->seq != y->seq)
		return x->seq < y->seq ? -1 : 1;
	return x->entry < y->entry ? -1 : 1;
}

static void model_sector(struct model *m, const struct row *r)
{
	bool loses = m->winner[r->entry] != FREE;

	if (r->sector > UINT64_MAX - m->block_sectors)
		m->wraps++;
	else if (r->sector % m->block_sectors)
		m->unaligned++;
	else if (r->sector >= m->origin)
		m->beyond++;
	else if (r->sector + m->block_sectors > m->origin)
		m->partial++, loses = true;
	else
		loses = true;
	m->loss += !loses;
}

static void model_run(struct model *m)
{
	uint64_t i, j, end;

	for (i = 0; i < m->n; i++) {
		m->winner[i] = FREE;
		m->tie[i] = false;
		if (m->rows[i].seq == FREE)
			continue;
		m->uncommitted += m->rows[i].seq == m->S;
		m->newer += m->rows[i].seq > m->S;
		if (m->rows[i].seq < m->S)
			m->sorted[m->nr++] = m->rows[i];
	}
	qsort(m->sorted, m->nr, sizeof(*m->sorted), by_age);
	for (i = 0; i < m->nr; i = end) {
		for (end = i + 1; end < m->nr && m->sorted[end].sector == m->sorted[i].sector; end++)
			;
		for (j = i; j + 1 < end; j++) {
			m->winner[m->sorted[j].entry] = m->sorted[end - 1].entry;
			m->tie[m->sorted[j].entry] = m->sorted[j].seq == m->sorted[j + 1].seq;
			m->same += m->tie[m->sorted[j].entry];
			m->superseded += !m->tie[m->sorted[j].entry];
		}
	}
	for (i = 0; i < m->nr; i++)
		model_sector(m, &m->sorted[i]);
}

/* every loser is named once, with its winner */
static void compare_losers(struct model *m)
{
	size_t i;
	uint64_t named = 0;

	for (i = 0; i < dmfmt_report_nr(run.r); i++) {
		const struct dmfmt_finding *d = dmfmt_report_get(run.r, i);
		bool tie = d->number == 2027;

		if (d->number != 2026 && !tie)
			continue;
		named++;
		if (d->record >= m->n || m->winner[d->record] != d->record2 ||
		    m->tie[d->record] != tie) {
			CHECK(!"a loser, its winner and why");
			return;
		}
		m->winner[d->record] = FREE - 1;
	}
	EQ(named, m->superseded + m->same);
}

static uint64_t count_of(unsigned number)
{
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < dmfmt_report_nr(run.r); i++)
		if (dmfmt_report_get(run.r, i)->number == number)
			n += dmfmt_report_get(run.r, i)->count;
	return n;
}

static void compare(struct model *m)
{
	EQ(run.ret, 0);
	EQ(count_of(2020), m->uncommitted);
	EQ(count_of(2021), m->newer);
	EQ(count_of(2022), m->unaligned);
	EQ(count_of(2023), m->wraps);
	EQ(count_of(2024), m->beyond);
	EQ(count_of(2025), m->partial);
	EQ(count_of(2026), m->superseded);
	EQ(count_of(2027), m->same);
	EQ(run.sum.loss, m->loss);
	EQ(run.nr_damaged, m->unaligned + m->wraps);
	EQ(run.sum.records, m->n);
	if (run.max_each == MANY)
		compare_losers(m);
}

/* how a cache is made: @sectors that are in use, how far they spread, @odd in 64 break a rule */
struct taste {
	uint32_t block_size;
	uint64_t bytes, blocks, spread, epochs;
	unsigned odd, free;
	uint64_t origin;
};

static struct row random_row(const struct taste *t, uint64_t S)
{
	uint64_t bs = t->block_size / 512, block = below(t->blocks);
	struct row r = { .seq = below(S) };

	/* few different blocks, scattered over the spread */
	r.sector = (block * 0x9e3779b97f4a7c15ull >> 4) % t->spread * bs;
	if (below(64) < t->free)
		r.seq = FREE;
	if (below(64) >= t->odd)
		return r;
	switch (below(5)) {
	case 0:
		r.seq = S;
		break;
	case 1:
		r.seq = S + 1 + below(5);
		break;
	case 2:
		r.sector += bs > 1 ? 1 + below(bs - 1) : 0;
		break;
	case 3:
		r.sector = UINT64_MAX - below(3);
		break;
	default:
		r.sector = (t->origin / bs + below(3)) * bs;
		break;
	}
	return r;
}

static void random_cache(const struct taste *t)
{
	struct model m = { .S = t->epochs, .block_sectors = t->block_size / 512,
			   .origin = t->origin ? t->origin : UINT64_MAX };
	uint64_t i;

	m.n = all_free(t->bytes, t->block_size, m.S);
	m.rows = calloc(m.n, sizeof(*m.rows));
	m.sorted = calloc(m.n, sizeof(*m.sorted));
	m.winner = calloc(m.n, sizeof(*m.winner));
	m.tie = calloc(m.n, sizeof(*m.tie));
	for (i = 0; i < m.n; i++) {
		m.rows[i] = random_row(t, m.S);
		m.rows[i].entry = i;
		put_entry(i, m.rows[i].sector, m.rows[i].seq);
	}
	model_run(&m);
	run.origin = t->origin;
	check_image();
	compare(&m);
	free(m.rows);
	free(m.sorted);
	free(m.winner);
	free(m.tie);
}

static void test_random_small(void)
{
	static const uint32_t sizes[] = { 512, 1024, 4096 };
	unsigned i;

	for (i = 0; i < 300; i++) {
		struct taste t = { .block_size = sizes[i % 3], .bytes = (64 + below(200)) * 1024,
				   .blocks = 1 + below(60), .spread = 1000, .epochs = 1 + below(4),
				   .odd = below(20), .free = below(60) };

		if (i & 1)
			t.origin = 1 + below(8000);
		plainly();
		run.max_each = MANY;
		random_cache(&t);
	}
}

/* sectors that do not fit the bitmap, lists that are full after a few: windows, rounds, passes */
static void test_random_windows(void)
{
	unsigned i, most = 0;

	for (i = 0; i < 40; i++) {
		struct taste t = { .block_size = 512, .bytes = 2 << 20, .blocks = 500 + below(5000),
				   .spread = 1ull << (16 + below(41)), .epochs = 1 + below(50),
				   .odd = below(3), .free = below(30) };

		plainly();
		run.max_each = MANY;
		ctx->window = i % 4 ? 16 << below(8) : 0;
		ctx->memory = i & 1 ? 256 << 10 : 1 << 20;
		random_cache(&t);
		if (run.sum.passes > most)
			most = run.sum.passes;
	}
	CHECK(most > 10);
}

/*
 * An n_blocks that is larger than the device: what may be a cut device, and may be none.  Behind the
 * first 252 entries lies block 0, of which @ones bytes are set, and @piece in it.
 */
static void put_ones(uint64_t ones, uint64_t sector, uint64_t seq)
{
	unsigned i;

	all_free(4096 + 252 * 4096, 4096, 3);
	memset(image + 4096, 0x5a, size - 4096);
	memset(image + 4096, 0xff, ones);
	for (i = 5; i < 40; i++)
		put_entry(i, 8 * (i + 10), 1);
	if (sector != FREE)
		put_entry(300, sector, seq);
	put(16, 8, 508);
}

static void test_n_unproven(void)
{
	plainly();
	put_ones(4096, FREE, FREE);
	says("F device.truncated 1, F superblock.n_blocks_unproven 1");
	has(finding("superblock.n_blocks_unproven")->expected, "252");
	has(finding("superblock.n_blocks_unproven")->suggestion, "--device-was-cut");
	/* one piece that could be an entry that was freed, or never committed, and nothing is lost */
	put_ones(4096, 800, FREE);
	says("F device.truncated 1, F superblock.n_blocks_unproven 1");
	put_ones(4096, 800, 3);
	says("F device.truncated 1, N entry.uncommitted 1, F superblock.n_blocks_unproven 1");
	/* one whose block is lost: that number has to be accepted */
	put_ones(4096, 800, 1);
	says("F device.truncated 1, F entry.block_beyond_device 1");
	put_ones(2048, FREE, FREE);
	says("F device.truncated 1, F superblock.n_blocks_beyond_entries 1");
	/* no block moves: nothing is in doubt */
	put_ones(0, FREE, FREE);
	size -= 4096;
	put(16, 8, 252);
	says("F device.truncated 1");
}

/* more superseded entries than a list holds, in a cache whose n_blocks no memory has a bit for */
static void test_many_losers_cut(void)
{
	uint64_t i, n = 20000;

	plainly();
	ctx->memory = 1 << 20;
	run.max_each = 3;
	new_image(64 + 16 * n + 448, 0);
	put_superblock(512, 1ull << 36, 30000);
	for (i = 0; i < n; i++)
		put_entry(i, i % 4000, i);
	check_image();
	EQ(run.ret, 0);
	CHECK(strstr(run.said, "entry.superseded 16000"));
	CHECK(strstr(run.said, "entry.block_beyond_device"));
	plainly();
}

/* more entries than one part of a walk holds; findings beyond the limit are counted */
static void test_random_large(void)
{
	struct taste t = { .block_size = 512, .bytes = 80 << 20, .blocks = 100000, .spread = 1 << 22,
			   .epochs = 1000, .odd = 1, .free = 20, .origin = 3 << 20 };

	plainly();
	run.max_each = 3;
	random_cache(&t);
	CHECK(dmfmt_report_nr(run.r) < 40);
	plainly();
	run.max_each = MANY;
	t.odd = 0;
	random_cache(&t);
}

/* ---- anything at all --------------------------------------------------------------------------- */

static uint64_t odd_number(void)
{
	uint64_t v = 1ull << below(64);

	switch (below(6)) {
	case 0:
		return next();
	case 1:
		return 0 - below(20);
	case 2:
		return below(20);
	case 3:
		return v - 1;
	default:
		return v;
	}
}

/* whatever stands there, the check comes to its end and says what it looked at */
static void test_any_numbers(void)
{
	static const struct { unsigned off, bytes; } fields[] = {
		{ 0, 4 }, { 4, 4 }, { 8, 4 }, { 12, 4 }, { 16, 8 }, { 24, 8 }, { 32, 8 },
	};
	unsigned i, k;

	for (i = 0; i < 4000; i++) {
		plainly();
		worked_example(below(4) ? 0 : below(3));
		for (k = 0; k <= below(3); k++) {
			unsigned f = (unsigned)below(7);

			put(fields[f].off, fields[f].bytes, odd_number());
		}
		for (k = 0; k < below(8); k++)
			put(64 + 8 * below(2 * BASE_BLOCKS + 20), 8, odd_number());
		if (!below(4))
			size = start + 512 * (1 + below(127));
		if (!below(3))
			run.origin = odd_number() >> (9 + below(40));
		run.flags = below(2) ? DMFMT_CHECK_DATA : 0;
		run.max_each = 1 + below(5);
		check_image();
		EQ(run.ret, 0);
	}
}

/* which findings a rescue may go on with, and which a write-back has to be told */
static void test_hooks(void)
{
	static const unsigned rescuable[] = { 2013, 2015, 2029, 2030 };
	enum dmfmt_severity sev;
	unsigned number, code, k, nr = 0;
	const char *words;

	for (code = 0; dmfmt_finding_list(code, &number, &sev, &words); code++) {
		bool want = false;

		for (k = 0; k < 4; k++)
			want |= number == rescuable[k];
		EQ(dmfmt_writecache_format.rescuable(code), want);
		EQ(dmfmt_writecache_format.needs_accept(code), number == 2024);
		nr += want;
	}
	EQ(nr, 4);
}

/* ---- being stopped ----------------------------------------------------------------------------- */

static int stop(void *arg, const struct dmfmt_progress *p)
{
	return -ECANCELED;
}

/* what was seen is said, and nothing that only the rest could tell */
static void test_stopped(void)
{
	uint64_t n;

	plainly();
	n = all_free(80 << 20, 512, 9);
	put_entry(3, 16, 1);
	put_entry(7, 16, 10);
	put(16, 8, n - 1);
	dmfmt_ctx_set_progress(ctx, stop, NULL);
	check_image();
	dmfmt_ctx_set_progress(ctx, NULL, NULL);
	EQ(run.ret, -ECANCELED);
	STREQ(run.said, "F entry.newer_than_superblock 1");
	says("W superblock.n_blocks_below_device 1, F entry.newer_than_superblock 1");
}

int main(void)
{
	ctx = dmfmt_ctx_new();
	RUN(test_worked_example);
	RUN(test_free_is_free);
	RUN(test_wiped);
	RUN(test_magic);
	RUN(test_block_size);
	RUN(test_n_blocks);
	RUN(test_n_blocks_above);
	RUN(test_sequence);
	RUN(test_sectors);
	RUN(test_same_sequence);
	RUN(test_version_and_padding);
	RUN(test_interrupted);
	RUN(test_truncated);
	RUN(test_truncated_table);
	RUN(test_fewer);
	RUN(test_place);
	RUN(test_unreadable_entries);
	RUN(test_unreadable_data);
	RUN(test_known_bad_blocks);
	RUN(test_random_small);
	RUN(test_random_windows);
	RUN(test_n_unproven);
	RUN(test_many_losers_cut);
	RUN(test_random_large);
	RUN(test_any_numbers);
	RUN(test_hooks);
	RUN(test_stopped);
	plainly();
	free(image);
	dmfmt_ctx_free(ctx);
	return DONE();
}
