// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * dmfmt-count <device> - passes everything on and counts it
 *
 * It takes flushes and FUA like a disk with a cache does, whether the device below has one or not, so
 * that whoever is above has to send them; discards that the device cannot do end here.  Status: reads,
 * sectors read, writes, sectors written, writes with FUA, flushes, others (discards, write zeroes).
 * Message "reset": from zero again.
 */
#include <linux/atomic.h>
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/device-mapper.h>
#include <linux/module.h>

#define DM_MSG_PREFIX "dmfmt-count"

struct count {
	struct dm_dev *dev;
	atomic64_t reads, read_sectors, writes, write_sectors, fua, flushes, others;
};

static void count_reset(struct count *c)
{
	atomic64_set(&c->reads, 0);
	atomic64_set(&c->read_sectors, 0);
	atomic64_set(&c->writes, 0);
	atomic64_set(&c->write_sectors, 0);
	atomic64_set(&c->fua, 0);
	atomic64_set(&c->flushes, 0);
	atomic64_set(&c->others, 0);
}

static void count_bio(struct count *c, struct bio *bio)
{
	if (bio->bi_opf & REQ_PREFLUSH)
		atomic64_inc(&c->flushes);
	if (!bio_sectors(bio))
		return;
	if (bio->bi_opf & REQ_FUA)
		atomic64_inc(&c->fua);
	if (bio_op(bio) == REQ_OP_READ) {
		atomic64_inc(&c->reads);
		atomic64_add(bio_sectors(bio), &c->read_sectors);
	} else if (bio_op(bio) == REQ_OP_WRITE) {
		atomic64_inc(&c->writes);
		atomic64_add(bio_sectors(bio), &c->write_sectors);
	} else {
		atomic64_inc(&c->others);
	}
}

static int count_map(struct dm_target *ti, struct bio *bio)
{
	struct count *c = ti->private;

	count_bio(c, bio);
	if (bio_op(bio) == REQ_OP_DISCARD && !bdev_max_discard_sectors(c->dev->bdev)) {
		bio_endio(bio);
		return DM_MAPIO_SUBMITTED;
	}
	bio_set_dev(bio, c->dev->bdev);
	bio->bi_iter.bi_sector = dm_target_offset(ti, bio->bi_iter.bi_sector);
	return DM_MAPIO_REMAPPED;
}

static void count_status(struct dm_target *ti, status_type_t type, unsigned int flags, char *result,
			 unsigned int maxlen)
{
	struct count *c = ti->private;
	unsigned int sz = 0;

	switch (type) {
	case STATUSTYPE_INFO:
		DMEMIT("%lld %lld %lld %lld %lld %lld %lld", atomic64_read(&c->reads),
		       atomic64_read(&c->read_sectors), atomic64_read(&c->writes),
		       atomic64_read(&c->write_sectors), atomic64_read(&c->fua),
		       atomic64_read(&c->flushes), atomic64_read(&c->others));
		break;
	case STATUSTYPE_TABLE:
		DMEMIT("%s", c->dev->name);
		break;
	default:
		*result = '\0';
	}
}

static int count_message(struct dm_target *ti, unsigned int argc, char **argv, char *result,
			 unsigned int maxlen)
{
	if (argc != 1 || strcmp(argv[0], "reset"))
		return -EINVAL;
	count_reset(ti->private);
	return 0;
}

static int count_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct count *c;
	int r;

	if (argc != 1) {
		ti->error = "one argument is expected";
		return -EINVAL;
	}
	c = kzalloc(sizeof(*c), GFP_KERNEL);
	if (!c) {
		ti->error = "no memory";
		return -ENOMEM;
	}
	r = dm_get_device(ti, argv[0], dm_table_get_mode(ti->table), &c->dev);
	if (r) {
		ti->error = "the device cannot be opened";
		kfree(c);
		return r;
	}
	ti->num_flush_bios = 1;
	ti->flush_supported = true;
	ti->num_discard_bios = 1;
	ti->discards_supported = true;
	ti->num_write_zeroes_bios = 1;
	ti->private = c;
	return 0;
}

static void count_dtr(struct dm_target *ti)
{
	struct count *c = ti->private;

	dm_put_device(ti, c->dev);
	kfree(c);
}

static int count_iterate_devices(struct dm_target *ti, iterate_devices_callout_fn fn, void *data)
{
	struct count *c = ti->private;

	return fn(ti, c->dev, 0, ti->len, data);
}

/* the first two have one meaning or the other, as kernels go */
static void count_io_hints(struct dm_target *ti, struct queue_limits *limits)
{
	limits->max_discard_sectors = UINT_MAX >> SECTOR_SHIFT;
	limits->max_hw_discard_sectors = UINT_MAX >> SECTOR_SHIFT;
	limits->discard_granularity = SECTOR_SIZE;
}

static struct target_type count_target = {
	.name = "dmfmt-count",
	.version = { 1, 0, 0 },
	.module = THIS_MODULE,
	.ctr = count_ctr,
	.dtr = count_dtr,
	.map = count_map,
	.status = count_status,
	.message = count_message,
	.iterate_devices = count_iterate_devices,
	.io_hints = count_io_hints,
};

static int __init count_init(void)
{
	return dm_register_target(&count_target);
}

static void __exit count_exit(void)
{
	dm_unregister_target(&count_target);
}

module_init(count_init);
module_exit(count_exit);

MODULE_DESCRIPTION("dmfmt: counts what a device is asked to do");
MODULE_LICENSE("GPL");
