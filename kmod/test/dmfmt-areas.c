// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * dmfmt-areas <chunk sectors> <exceptions> random|seq <origin chunks> <seed>
 *
 * A COW device of any size that takes no memory: header and areas of a dense store are made up when
 * they are read, data chunks read as zeros, writes and flushes are forgotten.  With 0 exceptions it is
 * an empty store whose writes cost nothing.  Origin chunks: a power of two; old_chunk is a permutation
 * of all of them ("seq": 0, 1, 2, ...), so exceptions may be as many at most.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/device-mapper.h>
#include <linux/highmem.h>
#include <linux/log2.h>
#include <linux/math64.h>
#include <linux/module.h>

#include "dmfmt-test.h"

#define DM_MSG_PREFIX "dmfmt-areas"
#define ENTRY_BYTES 16
#define MAGIC 0x70416e53

struct areas {
	u32 chunk_sectors, chunk_shift;	/* the latter in bytes */
	u64 nr, per_area, seed;
	unsigned int bits;		/* of the number of origin chunks */
	bool random;
};

static void fill_entries(const struct areas *a, u64 area, u64 first, __le64 *p, u64 nr)
{
	u64 i = area * a->per_area + first;
	u64 new = 1 + area * (a->per_area + 1) + 1 + first;

	for (; nr; nr--, i++, new++, p += 2) {
		if (i >= a->nr) {
			memset(p, 0, nr * ENTRY_BYTES);
			return;
		}
		p[0] = cpu_to_le64(a->random ? dmfmt_mix(i, a->bits, a->seed) : i);
		p[1] = cpu_to_le64(new);
	}
}

static void fill_header(const struct areas *a, u64 at, char *p, size_t len)
{
	const __le32 header[4] = { cpu_to_le32(MAGIC), cpu_to_le32(1), cpu_to_le32(1),
				   cpu_to_le32(a->chunk_sectors) };

	memset(p, 0, len);
	if (!at)
		memcpy(p, header, sizeof(header));
}

/* bytes from @pos on; both are multiples of 512 */
static void fill(const struct areas *a, u64 pos, char *p, size_t len)
{
	u64 size = 1ULL << a->chunk_shift, chunk, area, at, rest;
	size_t n;

	for (; len; pos += n, p += n, len -= n) {
		chunk = pos >> a->chunk_shift;
		at = pos & (size - 1);
		n = min_t(u64, len, size - at);
		area = div64_u64_rem(chunk - 1, a->per_area + 1, &rest);
		if (!chunk)
			fill_header(a, at, p, n);
		else if (rest)
			memset(p, 0, n);
		else
			fill_entries(a, area, at / ENTRY_BYTES, (__le64 *)p, n / ENTRY_BYTES);
	}
}

static int areas_map(struct dm_target *ti, struct bio *bio)
{
	struct bvec_iter iter;
	struct bio_vec bv;
	u64 pos;

	if (bio_op(bio) == REQ_OP_READ) {
		pos = dm_target_offset(ti, bio->bi_iter.bi_sector) << SECTOR_SHIFT;
		bio_for_each_segment(bv, bio, iter) {
			char *p = bvec_kmap_local(&bv);

			fill(ti->private, pos, p, bv.bv_len);
			kunmap_local(p);
			pos += bv.bv_len;
		}
	}
	bio_endio(bio);
	return DM_MAPIO_SUBMITTED;
}

static int areas_parse(struct areas *a, char **argv)
{
	u64 origin;

	if (kstrtou32(argv[0], 0, &a->chunk_sectors) || kstrtou64(argv[1], 0, &a->nr) ||
	    kstrtou64(argv[3], 0, &origin) || kstrtou64(argv[4], 0, &a->seed))
		return -EINVAL;
	a->random = !strcmp(argv[2], "random");
	if (!a->random && strcmp(argv[2], "seq"))
		return -EINVAL;
	if (!is_power_of_2(a->chunk_sectors) || !origin || !is_power_of_2(origin) || a->nr > origin)
		return -EINVAL;
	a->chunk_shift = SECTOR_SHIFT + ilog2(a->chunk_sectors);
	a->per_area = (1ULL << a->chunk_shift) / ENTRY_BYTES;
	a->bits = ilog2(origin);
	return 0;
}

static int areas_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct areas *a;

	if (argc != 5) {
		ti->error = "five arguments are expected";
		return -EINVAL;
	}
	a = kzalloc(sizeof(*a), GFP_KERNEL);
	if (!a) {
		ti->error = "no memory";
		return -ENOMEM;
	}
	if (areas_parse(a, argv)) {
		ti->error = "arguments that make no store";
		kfree(a);
		return -EINVAL;
	}
	ti->num_flush_bios = 1;
	ti->flush_supported = true;
	ti->private = a;
	return 0;
}

static void areas_dtr(struct dm_target *ti)
{
	kfree(ti->private);
}

static struct target_type areas_target = {
	.name = "dmfmt-areas",
	.version = { 1, 0, 0 },
	.module = THIS_MODULE,
	.ctr = areas_ctr,
	.dtr = areas_dtr,
	.map = areas_map,
};

static int __init areas_init(void)
{
	return dm_register_target(&areas_target);
}

static void __exit areas_exit(void)
{
	dm_unregister_target(&areas_target);
}

module_init(areas_init);
module_exit(areas_exit);

MODULE_DESCRIPTION("dmfmt: a store that is made up when it is read");
MODULE_LICENSE("GPL");
