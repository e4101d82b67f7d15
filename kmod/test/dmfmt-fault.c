// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * dmfmt-fault - a target that lets chosen bios fail
 *
 *	<start> <length> dmfmt-fault <device>
 *
 * Passes everything on to the device, sector by sector, until a message says otherwise:
 *
 *	fail <skip> <count> <ops> [<first sector> <end sector>] [late]
 *
 * Of the bios that match, @skip pass, then @count fail with an I/O error (0: all that come), then all pass
 * again.  @ops are letters: r(ead), w(rite, with or without FUA), f(lush), d(iscard and write zeroes).  A
 * bio matches a range if it touches it; a flush matches every range.  late: the bio reaches the device and
 * is said to have failed afterwards.  The message also sets the counters to zero.
 *
 *	pass		no faults; the counters stay
 *
 * Status: <matched> <failed> <reads> <writes> <flushes> <op of the last one that failed, or -> <its sector>
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/device-mapper.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#define DM_MSG_PREFIX "dmfmt-fault"

enum { FAULT_READ = 'r', FAULT_WRITE = 'w', FAULT_FLUSH = 'f', FAULT_DISCARD = 'd' };

struct fault {
	struct dm_dev *dev;
	spinlock_t lock;		/* protects all below */
	bool armed, late;
	unsigned long long skip, count;	/* count 0: no end */
	char ops[8];
	sector_t first, end;
	unsigned long long matched, failed, reads, writes, flushes;
	char last_op;
	sector_t last_sector;
};

struct fault_io {
	bool fails;			/* once the device has done it */
};

static char fault_op(const struct bio *bio)
{
	switch (bio_op(bio)) {
	case REQ_OP_READ:
		return FAULT_READ;
	case REQ_OP_FLUSH:
		return FAULT_FLUSH;
	case REQ_OP_WRITE:
		/* dm sends a flush before a write as an empty one of its own */
		return bio_sectors(bio) ? FAULT_WRITE : FAULT_FLUSH;
	default:
		return FAULT_DISCARD;
	}
}

static bool fault_matches(struct fault *f, const struct bio *bio, char op)
{
	if (!strchr(f->ops, op))
		return false;
	return op == FAULT_FLUSH ||
	       (bio->bi_iter.bi_sector < f->end && bio_end_sector(bio) > f->first);
}

/* counts the bio; is its turn to fail? */
static bool fault_strikes(struct fault *f, const struct bio *bio, bool *late)
{
	char op = fault_op(bio);
	unsigned long long nr;
	unsigned long flags;
	bool strikes = false;

	spin_lock_irqsave(&f->lock, flags);
	f->reads += op == FAULT_READ;
	f->writes += op == FAULT_WRITE;
	f->flushes += op == FAULT_FLUSH;
	if (f->armed && fault_matches(f, bio, op)) {
		nr = f->matched++;
		strikes = nr >= f->skip && (!f->count || nr - f->skip < f->count);
	}
	if (strikes) {
		f->failed++;
		f->last_op = op;
		f->last_sector = bio->bi_iter.bi_sector;
	}
	*late = f->late;
	spin_unlock_irqrestore(&f->lock, flags);
	return strikes;
}

static int fault_map(struct dm_target *ti, struct bio *bio)
{
	struct fault_io *io = dm_per_bio_data(bio, sizeof(*io));
	struct fault *f = ti->private;
	bool late;

	io->fails = fault_strikes(f, bio, &late);
	if (io->fails && !late)
		return DM_MAPIO_KILL;
	bio_set_dev(bio, f->dev->bdev);
	return DM_MAPIO_REMAPPED;
}

static int fault_end_io(struct dm_target *ti, struct bio *bio, blk_status_t *error)
{
	struct fault_io *io = dm_per_bio_data(bio, sizeof(*io));

	if (io->fails)
		*error = BLK_STS_IOERR;
	return DM_ENDIO_DONE;
}

static int fault_arm(struct fault *f, unsigned int argc, char **argv)
{
	unsigned long long skip, count, first = 0, end = ~0ULL;
	bool late = false;

	if (argc > 4 && !strcasecmp(argv[argc - 1], "late")) {
		late = true;
		argc--;
	}
	if (argc != 4 && argc != 6)
		return -EINVAL;
	if (kstrtoull(argv[1], 10, &skip) || kstrtoull(argv[2], 10, &count) ||
	    strlen(argv[3]) >= sizeof(f->ops))
		return -EINVAL;
	if (argc == 6 && (kstrtoull(argv[4], 10, &first) || kstrtoull(argv[5], 10, &end)))
		return -EINVAL;
	spin_lock_irq(&f->lock);
	f->armed = true;
	f->late = late;
	f->skip = skip;
	f->count = count;
	strscpy(f->ops, argv[3], sizeof(f->ops));
	f->first = first;
	f->end = end;
	f->matched = f->failed = f->reads = f->writes = f->flushes = 0;
	f->last_op = '-';
	f->last_sector = 0;
	spin_unlock_irq(&f->lock);
	return 0;
}

static int fault_message(struct dm_target *ti, unsigned int argc, char **argv, char *result,
			 unsigned int maxlen)
{
	struct fault *f = ti->private;

	if (!strcasecmp(argv[0], "fail"))
		return fault_arm(f, argc, argv);
	if (argc != 1 || strcasecmp(argv[0], "pass"))
		return -EINVAL;
	spin_lock_irq(&f->lock);
	f->armed = false;
	spin_unlock_irq(&f->lock);
	return 0;
}

static void fault_status(struct dm_target *ti, status_type_t type, unsigned int status_flags, char *result,
			 unsigned int maxlen)
{
	struct fault *f = ti->private;
	unsigned int sz = 0;

	switch (type) {
	case STATUSTYPE_INFO:
		spin_lock_irq(&f->lock);
		DMEMIT("%llu %llu %llu %llu %llu %c %llu", f->matched, f->failed, f->reads, f->writes,
		       f->flushes, f->last_op, (unsigned long long)f->last_sector);
		spin_unlock_irq(&f->lock);
		break;
	case STATUSTYPE_TABLE:
		DMEMIT("%s", f->dev->name);
		break;
	default:
		result[0] = '\0';
	}
}

static int fault_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct fault *f;
	int err;

	if (argc != 1) {
		ti->error = "requires one argument, the device";
		return -EINVAL;
	}
	f = kzalloc(sizeof(*f), GFP_KERNEL);
	if (!f) {
		ti->error = "out of memory";
		return -ENOMEM;
	}
	spin_lock_init(&f->lock);
	f->last_op = '-';
	err = dm_get_device(ti, argv[0], dm_table_get_mode(ti->table), &f->dev);
	if (err) {
		ti->error = "device cannot be opened";
		kfree(f);
		return err;
	}
	ti->num_flush_bios = 1;
	ti->num_discard_bios = 1;
	ti->per_io_data_size = sizeof(struct fault_io);
	ti->private = f;
	return 0;
}

static void fault_dtr(struct dm_target *ti)
{
	struct fault *f = ti->private;

	dm_put_device(ti, f->dev);
	kfree(f);
}

static int fault_iterate_devices(struct dm_target *ti, iterate_devices_callout_fn fn, void *data)
{
	struct fault *f = ti->private;

	return fn(ti, f->dev, 0, ti->len, data);
}

static struct target_type fault_target = {
	.name = "dmfmt-fault",
	.version = { 1, 0, 0 },
	.module = THIS_MODULE,
	.ctr = fault_ctr,
	.dtr = fault_dtr,
	.map = fault_map,
	.end_io = fault_end_io,
	.message = fault_message,
	.status = fault_status,
	.iterate_devices = fault_iterate_devices,
};

static int __init fault_init(void)
{
	return dm_register_target(&fault_target);
}

static void __exit fault_exit(void)
{
	dm_unregister_target(&fault_target);
}

module_init(fault_init);
module_exit(fault_exit);

MODULE_DESCRIPTION("dmfmt: faults on demand");
MODULE_LICENSE("GPL");
