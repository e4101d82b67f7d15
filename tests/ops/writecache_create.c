// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * New caches, and restored ones: the bytes, what is refused, and what a power cut or a failing device
 * leaves.
 */
#include <errno.h>

#include "writecache_image.h"
#include "../../libdmfmt/io/fault.h"

#define EXHAUSTIVE_BITS 8
#define SAMPLED 60

static struct dmfmt_ctx *ctx;
static unsigned warnings;

static void on_log(void *arg, enum dmfmt_log_level level, const char *msg)
{
	warnings += level == DMFMT_LOG_WARNING;
}

/* ---- create ------------------------------------------------------------------------------------ */

static int create(struct dmfmt_dev *dev, uint64_t b, unsigned flags)
{
	struct dmfmt_writecache_params p = { .size = sizeof(p), .block_bytes = b, .flags = flags };

	return dmfmt_writecache_create(ctx, dev, &p);
}

static int create_image(struct image *s, uint64_t b, unsigned flags)
{
	struct dmfmt_dev *dev = device_of(ctx, s);
	int ret = create(dev, b, flags);

	dmfmt_dev_close(dev);
	return ret;
}

struct geometry {
	uint64_t block_size, n_blocks, metadata, data_offset, data, unused, ssd, pmem, start;
};

static int on_field(void *arg, const struct dmfmt_field *f)
{
	struct geometry *g = arg;
	const struct {
		const char *name;
		uint64_t *to;
	} all[] = {
		{ "block_size", &g->block_size }, { "n_blocks", &g->n_blocks },
		{ "metadata_bytes", &g->metadata }, { "data_offset", &g->data_offset },
		{ "data_bytes", &g->data }, { "unused_bytes", &g->unused },
		{ "kernel_memory_ssd_bytes", &g->ssd }, { "kernel_memory_pmem_bytes", &g->pmem },
		{ "start_sector", &g->start },
	};
	size_t i;

	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (!strcmp(all[i].name, f->name))
			*all[i].to = f->u;
	return 0;
}

/* what the kernel writes when it formats: reference A.5; and nothing else changes */
static void is_formatted(const struct image *s, const struct image *before, uint64_t b, uint64_t n)
{
	uint64_t i, off = meta_bytes(n, b);

	EQ(fate(s), LOADS);
	EQ(sb_block_size(s), b);
	EQ(sb_blocks(s), n);
	EQ(sb_seq(s), 0);
	EQ(le(s->v + s->start + 12, 4), 0);
	for (i = 32; i < 64; i++)
		CHECK(!s->v[s->start + i]);
	for (i = 0; i < n; i++)
		CHECK(entry_sector(s, i) == WC_FREE && entry_seq(s, i) == WC_FREE);
	for (i = 64 + 16 * n; i < off; i++)
		CHECK(!s->v[s->start + i]);
	CHECK(!memcmp(s->v, before->v, s->start));
	CHECK(!memcmp(s->v + s->start + off, before->v + s->start + off, s->size - s->start - off));
}

static void create_one(uint64_t b, uint64_t bytes, uint64_t start)
{
	struct image s = new_image(start + bytes, true), before;
	struct dmfmt_writecache_params p = { .size = sizeof(p), .block_bytes = b };
	uint64_t n = most_blocks(bytes, b);
	struct geometry g = { 0 };
	struct dmfmt_dev *dev;

	s.start = start;
	before = copy_of(&s);
	dev = device_of(ctx, &s);
	if (!n) {
		EQ(dmfmt_writecache_geometry(ctx, dev, &p, on_field, &g), -ENOSPC);
		EQ(create(dev, b, DMFMT_CREATE_FORCE), -ENOSPC);
		CHECK(same(&s, &before));
	} else {
		EQ(dmfmt_writecache_geometry(ctx, dev, &p, on_field, &g), 0);
		CHECK(same(&s, &before));
		EQ(create(dev, b, DMFMT_CREATE_FORCE), 0);
		is_formatted(&s, &before, b, n);
		EQ(g.block_size, b);
		EQ(g.n_blocks, n);
		EQ(g.metadata, meta_bytes(n, b));
		EQ(g.data_offset, start + g.metadata);
		EQ(g.data, n * b);
		EQ(g.metadata + g.data + g.unused, bytes);
		EQ(g.start, start / 512);
		EQ(g.ssd, n * 88);
		EQ(g.pmem, n * 72);
	}
	dmfmt_dev_close(dev);
	free(before.v);
	free(s.v);
}

static void as_the_kernel_formats(void)
{
	uint64_t b, k;

	for (b = 512; b <= 65536; b *= 2)
		for (k = 0; k < 12; k++)
			create_one(b, (k < 4 ? b / 512 * k + 1 : rnd(40 * (uint32_t)(b / 512)) + 2) * 512,
				   k % 3 * 4096);
	/* around each step of the metadata's size, and more than one part of them */
	for (k = 0; k < 40; k++)
		create_one(512, (34 + k) * 512, 0);
	for (k = 0; k < 6; k++)
		create_one(4096, (253 + k) * 4096 + 512 * k, 512 * k);
	create_one(512, 36 << 20, 1 << 20);
}

static void what_the_kernel_refuses(void)
{
	static const uint64_t sizes[] = { 1, 256, 511, 513, 1000, 3072, 131072, 1ull << 32, UINT64_MAX };
	struct image s = new_image(1 << 20, false), zero = new_image(1 << 20, false);
	struct dmfmt_writecache_params p = { .size = sizeof(p) };
	struct dmfmt_dev *dev = device_of(ctx, &s), *other = device_of(ctx, &zero);
	size_t i;

	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		EQ(create(dev, sizes[i], 0), -EINVAL);
		CHECK(strstr(dmfmt_ctx_error(ctx), "power of two") != NULL);
	}
	EQ(dmfmt_dev_set_start(dev, 2048), -ERANGE);
	EQ(dmfmt_dev_set_start(dev, 2047), 0);
	EQ(create(dev, 512, 0), -ENOSPC);
	EQ(dmfmt_dev_set_start(dev, 0), 0);
	/* logical blocks, of either device */
	dev->block = 4096;
	EQ(create(dev, 512, 0), -EINVAL);
	CHECK(strstr(dmfmt_ctx_error(ctx), "logical block size") != NULL);
	EQ(dmfmt_dev_set_start(dev, 4), 0);
	EQ(create(dev, 4096, 0), -EINVAL);
	EQ(dmfmt_dev_set_start(dev, 0), 0);
	dev->block = 512;
	other->block = 4096;
	p.origin = other;
	p.block_bytes = 2048;
	EQ(dmfmt_writecache_create(ctx, dev, &p), -EINVAL);
	p.flags = 2;
	p.block_bytes = 4096;
	EQ(dmfmt_writecache_create(ctx, dev, &p), -EINVAL);
	CHECK(same(&s, &zero));
	p.flags = 0;
	EQ(dmfmt_writecache_create(ctx, dev, &p), 0);
	dmfmt_dev_close(dev);
	dmfmt_dev_close(other);
	free(s.v);
	free(zero.v);
}

/* said, but done */
static void what_works_not_everywhere(void)
{
	struct image s = new_image(1 << 20, false), o = new_image(1001 * 512, false);
	struct dmfmt_writecache_params p = { .size = sizeof(p), .block_bytes = 4096 };

	warnings = 0;
	EQ(create_image(&s, 4096, DMFMT_CREATE_FORCE), 0);
	EQ(create_image(&s, 0, DMFMT_CREATE_FORCE), 0);
	EQ(sb_block_size(&s), 4096);
	EQ(warnings, 0);
	EQ(create_image(&s, 8192, DMFMT_CREATE_FORCE), 0);
	EQ(warnings, 1);
	s.start = 512;
	EQ(create_image(&s, 512, DMFMT_CREATE_FORCE), 0);
	EQ(warnings, 2);
	s.start = 0;
	p.flags = DMFMT_CREATE_FORCE;
	p.origin = device_of(ctx, &o);
	{
		struct dmfmt_dev *dev = device_of(ctx, &s);

		EQ(dmfmt_writecache_create(ctx, dev, &p), 0);
		EQ(warnings, 3);
		dmfmt_dev_close(dev);
	}
	dmfmt_dev_close(p.origin);
	free(s.v);
	free(o.v);
}

static void refused(struct image *s, const char *words)
{
	struct image before = copy_of(s);

	EQ(create_image(s, 512, 0), -EEXIST);
	CHECK(same(s, &before));
	if (!strstr(dmfmt_ctx_error(ctx), words)) {
		printf("# %s\n", dmfmt_ctx_error(ctx));
		CHECK(!"the words are said");
	}
	EQ(create_image(s, 512, DMFMT_CREATE_FORCE), 0);
	EQ(fate(s), LOADS);
	free(before.v);
}

static void what_somebody_may_still_want(void)
{
	struct image s = make_cache(4096, 100, 0, 1000, 60, false);
	unsigned i;

	refused(&s, "writecache cache");
	/* damaged, but one */
	free(s.v);
	s = make_cache(4096, 100, 0, 1000, 60, false);
	put_le(s.v + 4, 2, 4);
	refused(&s, "writecache cache");
	/* the superblock alone is gone; superblock and the first entries are */
	for (i = 0; i < 2; i++) {
		free(s.v);
		s = make_cache(4096, 600, 0, 8000, 590, false);
		memset(s.v, 0, i ? 4096 : 64);
		refused(&s, "--rebuild-superblock");
	}
	/* one that begins elsewhere: its superblock must not be left behind when it is given up */
	free(s.v);
	s = make_cache(4096, 100, 65536, 1000, 60, false);
	memset(s.v, 0, s.start);
	s.start = 0;
	refused(&s, "start-sector=128");
	s.start = 65536;
	CHECK(fate(&s) == REFUSES);
	/* a snapshot's store */
	memset(s.v, 0, s.size);
	s.start = 0;
	put_le(s.v, 0x70416e53, 4);
	put_le(s.v + 4, 1, 4);
	put_le(s.v + 8, 1, 4);
	put_le(s.v + 12, 8, 4);
	refused(&s, "exception store");
	/* an interrupted format holds nothing */
	memset(s.v + 4096, 0, s.size - 4096);
	EQ(create_image(&s, 4096, DMFMT_CREATE_FORCE), 0);
	put_le(s.v, 0, 4);
	EQ(create_image(&s, 4096, 0), 0);
	free(s.v);
}

/* blocks that are alive, but not where a sample looks; and blocks whose size is not proven */
static void what_a_sample_does_not_see(void)
{
	struct image s = new_image(64 + 16 * 20000 + 448 + 20000 * 512, true);
	static const unsigned live[] = { 3, 15 };
	unsigned k;
	uint64_t i;

	set_superblock(&s, 512, most_blocks(s.size, 512), 5);
	for (i = 0; i < sb_blocks(&s); i++)
		if (i > 9000 && i < 17000)
			set_entry(&s, i, 3 * i, 3);
		else
			set_entry(&s, i, WC_FREE, WC_FREE);
	memset(s.v, 0, 64);
	refused(&s, "7999 entries of blocks of 512 bytes are alive");
	free(s.v);
	for (k = 0; k < 2; k++) {
		s = new_image(65536, true);
		set_superblock(&s, 4096, 15, 5);
		memset(s.v + 64, 0, 4096 - 64);
		for (i = 0; i < 15; i++)
			set_entry(&s, i, i < live[k] ? 128 * i + 128 : WC_FREE, i < live[k] ? 3 : WC_FREE);
		memset(s.v, 0, 64);
		refused(&s, k ? "15 entries of blocks of " : "3 entries of blocks of ");
		free(s.v);
	}
}

/* a new cache over several old ones: no superblock is left inside of it, whatever lies before it */
static void over_other_superblocks(void)
{
	static const unsigned pages[] = { 0, 3, 8, 9, 30, 200 };
	struct image s = new_image(256 * 4096, true);
	unsigned i;

	for (i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		s.start = pages[i] * 4096;
		set_superblock(&s, 512, 20, 2);
		CHECK(fate(&s) == LOADS);
	}
	s.start = 5 * 4096;
	EQ(create_image(&s, 512, DMFMT_CREATE_FORCE), 0);
	for (i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		s.start = pages[i] * 4096;
		EQ(fate(&s), pages[i] < 5 ? LOADS : REFUSES);
	}
	free(s.v);
}

/* ---- a dump, kept ------------------------------------------------------------------------------ */

struct dump {
	struct dmfmt_field head[16], tail[8];
	size_t nr_head, nr_tail, nr;
	uint8_t raw[64];
	uint64_t raw_at;
	size_t raw_len;
	uint64_t *values;
};

static int on_head(void *arg, const struct dmfmt_field *f)
{
	struct dump *d = arg;

	d->head[d->nr_head++] = *f;
	return 0;
}

static int on_tail(void *arg, const struct dmfmt_field *f)
{
	struct dump *d = arg;

	d->tail[d->nr_tail++] = *f;
	return 0;
}

static int on_raw(void *arg, uint64_t offset, const void *bytes, size_t len)
{
	struct dump *d = arg;

	CHECK(!d->raw_len && len <= sizeof(d->raw));
	d->raw_at = offset;
	d->raw_len = len;
	memcpy(d->raw, bytes, len);
	return 0;
}

static int on_records(void *arg, uint64_t first, const uint64_t *values, size_t nr)
{
	struct dump *d = arg;

	EQ(first, d->nr);
	d->values = realloc(d->values, (d->nr + nr) * 16);
	memcpy(d->values + 2 * d->nr, values, nr * 16);
	d->nr += nr;
	return 0;
}

static void take_dump(const struct image *s, struct dump *d)
{
	struct dmfmt_visitor v = { .size = sizeof(v), .arg = d, .head = on_head, .raw = on_raw,
				   .records = on_records, .tail = on_tail };
	struct dmfmt_dev *dev = device_of(ctx, s);
	struct dmfmt *f = NULL;

	*d = (struct dump){ 0 };
	EQ(dmfmt_open(ctx, dev, "writecache", 0, &f), 0);
	EQ(dmfmt_walk(f, &v), 0);
	EQ(d->nr, sb_blocks(s));
	dmfmt_close(f);
	dmfmt_dev_close(dev);
}

static int restore(const struct dump *d, struct dmfmt_dev *dev, uint64_t sectors, unsigned flags)
{
	struct dmfmt_builder *b = NULL;
	size_t i, n;
	int ret = dmfmt_restore_begin(ctx, dev, sectors, "writecache", d->head, d->nr_head, flags, &b);

	if (!ret && d->raw_len)
		ret = dmfmt_restore_raw(b, d->raw_at, d->raw, d->raw_len);
	/* in pieces of any size */
	for (i = 0; !ret && i < d->nr; i += n) {
		n = 1 + rnd(4096);
		if (n > d->nr - i)
			n = d->nr - i;
		ret = dmfmt_restore_records(b, d->values + 2 * i, n);
	}
	if (!ret)
		ret = dmfmt_restore_commit(b, d->tail, d->nr_tail);
	dmfmt_restore_free(b);
	return ret;
}

static int restore_image(const struct dump *d, const struct image *s, unsigned flags)
{
	struct dmfmt_dev *dev = device_of(ctx, s);
	int ret = restore(d, dev, 0, flags);

	dmfmt_dev_close(dev);
	return ret;
}

/* a cache with everything that a dump has to carry: stale sectors, damage, padding */
static struct image make_odd(uint64_t b, uint64_t n, uint64_t start, bool padding)
{
	struct image s = make_cache(b, n, start, n * b / 512 + 800, n * 2 / 3, false);

	set_entry(&s, n - 1, UINT64_MAX - 1, UINT64_MAX - 1);
	if (padding) {
		put_le(s.v + start + 12, 0xdeadbeef, 4);
		fill(s.v + start + 35, 20);
	}
	return s;
}

static bool same_table(const struct image *a, const struct image *b)
{
	return !memcmp(a->v + a->start, b->v + b->start, 64 + 16 * sb_blocks(a));
}

static void dump_and_restore(void)
{
	static const uint64_t counts[] = { 1, 15, 27, 28, 29, 60, 700, 70000 };
	unsigned i, padding;

	for (i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		for (padding = 0; padding < 2; padding++) {
			struct image s = make_odd(512 << i % 3 * (counts[i] < 1000), counts[i],
						  padding * 8192, padding), to, before;
			struct dump d;

			take_dump(&s, &d);
			EQ(d.raw_len, padding ? 32 : 0);
			EQ(restore(&d, NULL, s.size / 512, 0), 0);
			/* where nothing is */
			to = new_image(s.size, i % 2);
			to.start = s.start;
			before = copy_of(&to);
			EQ(restore_image(&d, &to, 0), -EEXIST);
			CHECK(same(&to, &before));
			EQ(restore_image(&d, &to, DMFMT_RESTORE_METADATA_ONLY), 0);
			CHECK(same_table(&s, &to));
			CHECK(!memcmp(to.v, before.v, to.start));
			free(before.v);
			/* at another place */
			if (!to.start) {
				free(to.v);
				to = new_image(s.size + 4096, true);
				to.start = 4096;
				EQ(restore_image(&d, &to, DMFMT_RESTORE_METADATA_ONLY), 0);
				CHECK(same_table(&s, &to));
			}
			/* over a cache of that shape that has moved on, data untouched */
			free(to.v);
			to = copy_of(&s);
			put_le(to.v + to.start + 24, 99, 8);
			memset(entry_at(&to, 0), 1, 16 * counts[i]);
			EQ(restore_image(&d, &to, 0), 0);
			CHECK(same_table(&s, &to));
			CHECK(!memcmp(block_at(&to, 0), block_at(&s, 0), counts[i] * sb_block_size(&s)));
			free(to.v);
			free(d.values);
			free(s.v);
		}
}

/* a dump of a cache whose device was cut goes back to a device like that */
static void truncated(void)
{
	struct image s = make_odd(4096, 60, 0, false), to;
	struct dump d;

	s.size -= 3 * 4096;
	take_dump(&s, &d);
	to = new_image(s.size, false);
	warnings = 0;
	EQ(restore_image(&d, &to, DMFMT_RESTORE_METADATA_ONLY), 0);
	EQ(warnings, 1);
	CHECK(same_table(&s, &to));
	to.size = 1024;
	EQ(restore_image(&d, &to, DMFMT_RESTORE_METADATA_ONLY), -ERANGE);
	free(to.v);
	free(d.values);
	free(s.v);
}

static struct dmfmt_field *field(struct dump *d, const char *name)
{
	size_t i;

	for (i = 0; i < d->nr_head; i++)
		if (!strcmp(d->head[i].name, name))
			return &d->head[i];
	for (i = 0; i < d->nr_tail; i++)
		if (!strcmp(d->tail[i].name, name))
			return &d->tail[i];
	CHECK(!"the field is there");
	return &d->head[0];
}

static void dumps_that_are_none(void)
{
	static const struct {
		const char *name;
		uint64_t value;
	} bad[] = {
		{ "magic", 0 }, { "magic", 1ull << 32 }, { "version", 2 }, { "block_size", 0 },
		{ "block_size", 768 }, { "block_size", 131072 }, { "pad", 1ull << 32 }, { "n_blocks", 0 },
		{ "n_blocks", UINT64_MAX }, { "n_blocks", UINT64_MAX / 16 }, { "n_blocks", 59 },
		{ "n_blocks", 61 }, { "n_blocks", 1ull << 40 }, { "seq_count", 8 },
		{ "start_sector", UINT64_MAX }, { "start_sector", UINT64_MAX / 512 },
		{ "nr_entries", 59 }, { "nr_entries", 61 }, { "metadata_crc32c", 1 },
	};
	struct image s = make_odd(4096, 60, 0, false), to = copy_of(&s);
	struct dump d;
	size_t i, k;

	take_dump(&s, &d);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct dmfmt_field *f = field(&d, bad[i].name), kept = *f;

		f->u = bad[i].value;
		CHECK(restore(&d, NULL, s.size / 512, 0) < 0);
		CHECK(*dmfmt_ctx_error(ctx));
		/* the tool validates first; whoever does not must not get a cache that loads either */
		if (restore_image(&d, &to, DMFMT_RESTORE_METADATA_ONLY) >= 0) {
			STREQ(bad[i].name, "start_sector");
			CHECK(same_table(&s, &to));
		} else {
			CHECK(fate(&to) == REFUSES || same_table(&s, &to));
		}
		memcpy(to.v, s.v, s.size);
		*f = kept;
		f->s = "text";
		CHECK(restore(&d, NULL, s.size / 512, 0) < 0);
		*f = kept;
		f->name = "something";
		CHECK(restore(&d, NULL, s.size / 512, 0) < 0);
		*f = kept;
	}
	EQ(restore(&d, NULL, s.size / 512, 0), 0);
	EQ(restore(&d, NULL, 8, 0), 0);
	EQ(restore(&d, NULL, 7, 0), -ERANGE);
	EQ(restore(&d, NULL, 0, 0), -ERANGE);
	EQ(restore(&d, NULL, UINT64_MAX, 0), -ERANGE);
	/* raw bytes at wrong places */
	fill(d.raw, 32);
	for (k = 0; k < 100; k++) {
		static const uint64_t at[] = { 0, 31, 33, 64, 65, UINT64_MAX, UINT64_MAX - 8 };

		if (k >= sizeof(at) / sizeof(at[0]))
			break;
		d.raw_at = at[k];
		d.raw_len = at[k] == 64 ? 1 : 32;
		EQ(restore(&d, NULL, s.size / 512, 0), -EINVAL);
	}
	free(d.values);
	free(to.v);
	free(s.v);
}

/* ---- power cuts and failing devices ------------------------------------------------------------ */

/*
 * struct cut - one piece of work on a device that holds @old
 * @dump: restore this one; NULL: create
 * @wanted: what it ends with (set by the first run)
 */
struct cut {
	struct image old, wanted;
	const struct dump *dump;
	uint64_t block_size;
	unsigned flags;
	uint32_t logical;		/* block of the device; 0: 512 */
	uint64_t complete, untouched, refused;
};

static int cut_run(struct cut *c, struct dmfmt_dev *dev)
{
	return c->dump ? restore(c->dump, dev, 0, c->flags) : create(dev, c->block_size, c->flags);
}

/* @s loads only if it is the old one or complete, and is formatted by the kernel only if it would
 * have been before anything was written */
static void cut_look(struct cut *c, const struct image *s)
{
	size_t table = (size_t)meta_bytes(sb_blocks(&c->wanted), sb_block_size(&c->wanted));

	switch (fate(s)) {
	case REFUSES:
		c->refused++;
		break;
	case FORMATS:
		EQ(fate(&c->old), FORMATS);
		CHECK(same(s, &c->old));
		c->untouched++;
		break;
	default:
		if (same(s, &c->old)) {
			c->untouched++;
			break;
		}
		c->complete++;
		CHECK(!memcmp(s->v + s->start, c->wanted.v + s->start, table));
		CHECK(!memcmp(s->v, c->old.v, s->start));
		CHECK(!memcmp(s->v + s->start + table, c->old.v + s->start + table,
			      s->size - s->start - table));
	}
}

static int cut_state(void *arg, uint64_t nr_writes, void **bufs, const uint64_t *sizes,
		     unsigned nr_devs)
{
	struct cut *c = arg;
	struct image s = { bufs[0], (size_t)sizes[0], c->old.start };
	unsigned before = tap_failed_checks;

	EQ(nr_devs, 1);
	cut_look(c, &s);
	return tap_failed_checks == before ? 0 : -EUCLEAN;
}

static struct dmfmt_dev *world_device(struct dmfmt_world *w, const struct cut *c)
{
	struct dmfmt_dev *dev = NULL;
	unsigned id;

	EQ(dmfmt_world_add(w, ctx, c->old.v, c->old.size, c->logical ?: 512, false, "cache", &id, &dev), 0);
	EQ(dmfmt_dev_set_start(dev, c->old.start / 512), 0);
	return dev;
}

static void cuts(struct cut *c, const char *what)
{
	struct dmfmt_world *w = dmfmt_world_new();
	struct dmfmt_dev *dev = world_device(w, c);
	uint64_t reads, writes, flushes;
	int64_t states;

	EQ(cut_run(c, dev), 0);
	c->wanted = copy_of(&c->old);
	EQ(dmfmt_dev_read(dev, 0, c->wanted.v, c->wanted.size), 0);
	EQ(fate(&c->wanted), LOADS);
	states = dmfmt_world_each_state(w, EXHAUSTIVE_BITS, SAMPLED, 1, cut_state, c);
	CHECK(states > 0);
	CHECK(c->complete > 0);
	CHECK(c->untouched > 0);
	CHECK(c->refused > 0);
	printf("# %s: %" PRId64 " states, %" PRIu64 " complete, %" PRIu64 " untouched, %" PRIu64
	       " refused by the kernel\n", what, states, c->complete, c->untouched, c->refused);
	/* whoever is told that it is done may rely on it: of what follows only one block is pending */
	dmfmt_world_counts(w, &reads, &writes, &flushes);
	EQ(dmfmt_dev_write(dev, c->old.size - 512, c->old.v, 512), 0);
	EQ(dmfmt_world_pending(w, writes + 1), 1);
	dmfmt_dev_close(dev);
	dmfmt_world_free(w);
}

/* every read, write and flush fails once: it is said, and a second run on what is left succeeds */
static void fail_each(struct cut *c, const char *what)
{
	static const enum dmfmt_fault faults[] = {
		DMFMT_FAULT_WRITE_EIO, DMFMT_FAULT_WRITE_SHORT, DMFMT_FAULT_WRITE_ENOSPC,
		DMFMT_FAULT_FLUSH_LOST, DMFMT_FAULT_READ_EIO,
	};
	uint64_t reads, writes, flushes, nr, most, runs = 0;
	unsigned i;

	for (i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		for (nr = most = 0; !nr || nr <= most; nr++, runs++) {
			struct dmfmt_world *w = dmfmt_world_new();
			struct dmfmt_dev *dev = world_device(w, c);
			struct image s = copy_of(&c->old);
			unsigned flags = c->flags;
			int ret;

			dmfmt_world_cue(w, faults[i], nr);
			ret = cut_run(c, dev);
			dmfmt_world_counts(w, &reads, &writes, &flushes);
			most = i < 3 ? writes : i == 3 ? flushes : reads;
			/* what looks for remains of a store can do without a sector */
			if (nr < most && !ret)
				EQ(faults[i], DMFMT_FAULT_READ_EIO);
			if (nr < most && ret) {
				CHECK(*dmfmt_ctx_error(ctx));
				EQ(dmfmt_dev_read(dev, 0, s.v, s.size), 0);
				/* the very last step may have come through although its flush failed */
				cut_look(c, &s);
				dmfmt_dev_close(dev);
				dev = device_of(ctx, &s);
				/* what was blank is still nothing that anybody wants */
				if (!c->dump && fate(&s) == LOADS)
					c->flags |= DMFMT_CREATE_FORCE;
				EQ(cut_run(c, dev), 0);
				c->flags = flags;
				CHECK(same_table(&s, &c->wanted));
			} else {
				EQ(ret, 0);
				/* the fault may be waiting for just this read */
				if (dmfmt_dev_read(dev, 0, s.v, s.size))
					EQ(dmfmt_dev_read(dev, 0, s.v, s.size), 0);
				CHECK(same_table(&s, &c->wanted));
			}
			free(s.v);
			dmfmt_dev_close(dev);
			dmfmt_world_free(w);
		}
	printf("# %s: %" PRIu64 " faults\n", what, runs);
	CHECK(runs > 10);
}

static void each_case(void (*fn)(struct cut *c, const char *what))
{
	struct image live = make_cache(4096, 60, 4096, 800, 55, false), moved;
	struct image small = make_cache(512, 20, 0, 800, 15, false), large;
	struct image odd = make_odd(512, 700, 8192, true);
	struct dump dump, other;
	unsigned i;

	take_dump(&odd, &dump);
	moved = copy_of(&odd);
	put_le(moved.v + moved.start + 24, 99, 8);
	memset(entry_at(&moved, 3), 3, 16 * 600);
	large = make_cache(512, 60, 0, 800, 55, true);
	take_dump(&small, &other);
	{
		struct cut cut[] = {
			{ .old = new_image(100 * 512, false), .block_size = 512 },
			{ .old = new_image(70 * 4096, false), .block_size = 4096, .logical = 4096 },
			{ .old = live, .block_size = 512, .flags = DMFMT_CREATE_FORCE },
			{ .old = small, .block_size = 1024, .flags = DMFMT_CREATE_FORCE },
			{ .old = moved, .dump = &dump },
			{ .old = small, .dump = &other },
			{ .old = large, .dump = &other, .flags = DMFMT_RESTORE_METADATA_ONLY },
		};
		static const char *const names[] = {
			"create on zeros", "create on zeros, 4 KiB logical blocks",
			"create over a live cache", "create over a small one", "restore in place",
			"restore a small one in place", "restore over another cache",
		};

		for (i = 0; i < sizeof(cut) / sizeof(cut[0]); i++) {
			cuts(&cut[i], names[i]);
			if (fn)
				fn(&cut[i], names[i]);
			free(cut[i].wanted.v);
			if (i < 2)
				free(cut[i].old.v);
		}
	}
	free(dump.values);
	free(other.values);
	free(live.v);
	free(small.v);
	free(odd.v);
	free(moved.v);
	free(large.v);
}

static void power_cuts(void)
{
	each_case(NULL);
}

static void failing_devices(void)
{
	each_case(fail_each);
}

/* a stop at each point at which one can be asked for */
static int stop_at(void *arg, const struct dmfmt_progress *p)
{
	uint64_t *left = arg;

	return !(*left)--;
}

static void stopped(void)
{
	struct image s = new_image(200000 * 528, false);
	uint64_t nr, left;
	int ret = -ECANCELED;

	for (nr = 0; ret && nr < 100; nr++) {
		left = nr;
		memset(s.v, 0, 4096);
		dmfmt_ctx_set_progress(ctx, stop_at, &left);
		ret = create_image(&s, 512, DMFMT_CREATE_FORCE);
		dmfmt_ctx_set_progress(ctx, NULL, NULL);
		if (ret)
			EQ(fate(&s), REFUSES);
	}
	EQ(ret, 0);
	EQ(fate(&s), LOADS);
	CHECK(nr > 2);
	free(s.v);
}

int main(void)
{
	ctx = dmfmt_ctx_new();
	dmfmt_ctx_set_log(ctx, on_log, NULL);
	RUN(as_the_kernel_formats);
	RUN(what_the_kernel_refuses);
	RUN(what_works_not_everywhere);
	RUN(what_somebody_may_still_want);
	RUN(what_a_sample_does_not_see);
	RUN(over_other_superblocks);
	RUN(dump_and_restore);
	RUN(truncated);
	RUN(dumps_that_are_none);
	RUN(power_cuts);
	RUN(failing_devices);
	RUN(stopped);
	dmfmt_ctx_free(ctx);
	return DONE();
}
