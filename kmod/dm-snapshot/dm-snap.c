// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Targets snapshot, snapshot-origin and snapshot-merge: tables, status, registry, handover.
 */
#include "dm-snap.h"
#include "dm-snap-load.h"

#include <linux/ctype.h>
#include <linux/module.h>
#include <linux/slab.h>

DEFINE_MUTEX(snap_registry);
/* no snapshot goes away while another takes over from it; taken before snap_registry */
static DEFINE_MUTEX(handover);
static LIST_HEAD(origins);
static LIST_HEAD(all_snapshots);

unsigned int snap_cow_threshold = 2048;
module_param_named(snapshot_cow_threshold, snap_cow_threshold, uint, 0644);
MODULE_PARM_DESC(snapshot_cow_threshold, "Copies under way on one snapshot before writers wait");

unsigned int snap_copy_throttle = 100;
module_param_named(snapshot_copy_throttle, snap_copy_throttle, uint, 0644);
MODULE_PARM_DESC(snapshot_copy_throttle, "Percentage of time that copies may take");

/* ---- origins --------------------------------------------------------------------------------- */

static struct snap_origin *find_origin(struct block_device *bdev)
{
	struct snap_origin *o;

	list_for_each_entry(o, &origins, list)
		if (o->bdev == bdev)
			return o;
	return NULL;
}

static struct snap_origin *new_origin(struct block_device *bdev)
{
	struct snap_origin *o = kzalloc(sizeof(*o), GFP_KERNEL);

	if (!o)
		return NULL;
	if (percpu_init_rwsem(&o->sem)) {
		kfree(o);
		return NULL;
	}
	o->wq = alloc_workqueue("dm-snap-origin", WQ_MEM_RECLAIM | WQ_PERCPU, 1);
	if (!o->wq) {
		percpu_free_rwsem(&o->sem);
		kfree(o);
		return NULL;
	}
	o->bdev = bdev;
	INIT_LIST_HEAD(&o->snapshots);
	spin_lock_init(&o->retry_lock);
	bio_list_init(&o->retry_bios);
	INIT_WORK(&o->retry, snap_origin_retry);
	init_waitqueue_head(&o->wait);
	return o;
}

static struct snap_origin *get_origin(struct block_device *bdev)
{
	struct snap_origin *o;

	mutex_lock(&snap_registry);
	o = find_origin(bdev);
	if (!o) {
		o = new_origin(bdev);
		if (o)
			list_add(&o->list, &origins);
	}
	if (o)
		o->users++;
	mutex_unlock(&snap_registry);
	return o;
}

static void put_origin(struct snap_origin *o)
{
	mutex_lock(&snap_registry);
	if (--o->users) {
		mutex_unlock(&snap_registry);
		return;
	}
	list_del(&o->list);
	mutex_unlock(&snap_registry);
	destroy_workqueue(o->wq);
	percpu_free_rwsem(&o->sem);
	kfree(o);
}

/* o->sem held for writing */
static void sort_in(struct snap_origin *o, struct dm_snapshot *s)
{
	struct dm_snapshot *other;

	list_for_each_entry(other, &o->snapshots, list)
		if (other->chunk_sectors < s->chunk_sectors)
			break;
	list_add_tail(&s->list, &other->list);
}

static void update_min_chunk(struct snap_origin *o)
{
	struct dm_snapshot *s;
	sector_t min = 0;

	list_for_each_entry(s, &o->snapshots, list)
		if (s->active && s->chunk_sectors && (!min || s->chunk_sectors < min))
			min = s->chunk_sectors;
	WRITE_ONCE(o->min_chunk, min);
}

static void link_snapshot(struct dm_snapshot *s)
{
	percpu_down_write(&s->o->sem);
	sort_in(s->o, s);
	update_min_chunk(s->o);
	percpu_up_write(&s->o->sem);
}

/* from now on exceptions are made in it */
static void activate(struct dm_snapshot *s)
{
	percpu_down_write(&s->o->sem);
	WRITE_ONCE(s->active, true);
	s->suspended = false;
	if (!list_empty(&s->list)) {
		list_del(&s->list);
		sort_in(s->o, s);
	}
	update_min_chunk(s->o);
	percpu_up_write(&s->o->sem);
}

static void unlink_snapshot(struct dm_snapshot *s)
{
	percpu_down_write(&s->o->sem);
	list_del_init(&s->list);
	update_min_chunk(s->o);
	percpu_up_write(&s->o->sem);
}

/* ---- who shares a COW device ----------------------------------------------------------------- */

struct snap_pair_of {
	struct dm_snapshot *source, *destination, *merging;
};

/*
 * snap_registry held.  The snapshots with this origin and this COW device: the one that is active (source)
 * and the one whose table waits to take over from it (destination).
 */
static void find_sharing(struct snap_origin *o, struct block_device *cow, struct dm_snapshot *except,
			 struct snap_pair_of *found)
{
	struct dm_snapshot *s;

	memset(found, 0, sizeof(*found));
	list_for_each_entry(s, &all_snapshots, all) {
		if (s->o != o)
			continue;
		if (s->is_merge && s->active)
			found->merging = s;
		if (s == except || s->cow->bdev != cow)
			continue;
		if (s->active)
			found->source = s;
		else if (s->is_handover)
			found->destination = s;
	}
}

static bool cow_used_elsewhere(struct dm_snapshot *s)
{
	struct dm_snapshot *other;

	list_for_each_entry(other, &all_snapshots, all)
		if (other != s && other->cow->bdev == s->cow->bdev && other->o != s->o)
			return true;
	return false;
}

static bool is_second_inactive(struct dm_snapshot *s)
{
	struct dm_snapshot *other;

	list_for_each_entry(other, &all_snapshots, all)
		if (other != s && other->o == s->o && other->cow->bdev == s->cow->bdev && !other->active)
			return true;
	return false;
}

/* snap_registry held.  Return: 0, 1 if @s will take over from an active snapshot, -EINVAL */
static int check_pairing(struct dm_snapshot *s, char **error)
{
	struct snap_pair_of found;

	if (cow_used_elsewhere(s)) {
		*error = "COW device is in use by a snapshot of another origin";
		return -EINVAL;
	}
	find_sharing(s->o, s->cow->bdev, s, &found);
	if (is_second_inactive(s)) {
		*error = "Snapshot cow pairing for exception table handover failed";
		return -EINVAL;
	}
	if (s->is_merge && found.merging && found.merging != found.source) {
		*error = "A snapshot is already merging.";
		return -EINVAL;
	}
	if (!found.source)
		return 0;
	if (s->is_merge && !snap_mergeable(found.source)) {
		*error = "Snapshot exception store does not support snapshot-merge.";
		return -EINVAL;
	}
	return 1;
}

static int register_snapshot(struct dm_snapshot *s, char **error)
{
	int r;

	mutex_lock(&snap_registry);
	r = check_pairing(s, error);
	if (r >= 0) {
		s->is_handover = r;
		list_add_tail(&s->all, &all_snapshots);
	}
	mutex_unlock(&snap_registry);
	return r;
}

static void unregister_snapshot(struct dm_snapshot *s)
{
	mutex_lock(&snap_registry);
	list_del(&s->all);
	mutex_unlock(&snap_registry);
}

/* ---- construction ---------------------------------------------------------------------------- */

static int parse_features(struct dm_snapshot *s, struct dm_arg_set *as, struct dm_target *ti)
{
	static const struct dm_arg args[] = {
		{0, 3, "Invalid number of feature arguments"},
	};
	unsigned int nr;
	int r;

	if (!as->argc)
		return 0;
	r = dm_read_arg_group(args, as, &nr, &ti->error);
	if (r)
		return -EINVAL;
	while (nr--) {
		const char *name = dm_shift_arg(as);

		if (!strcasecmp(name, "discard_zeroes_cow")) {
			s->discard_zeroes = true;
		} else if (!strcasecmp(name, "discard_passdown_origin")) {
			s->discard_passdown = true;
		} else if (!strcasecmp(name, "fail_origin_write")) {
			s->fail_origin_write = true;
		} else {
			ti->error = "Unrecognised feature requested";
			return -EINVAL;
		}
	}
	if (s->discard_passdown && !s->discard_zeroes) {
		ti->error = "discard_passdown_origin feature depends on discard_zeroes_cow";
		return -EINVAL;
	}
	return 0;
}

/* <type> <chunk size> */
static int create_store(struct dm_snapshot *s, const char *type, const char *chunk)
{
	struct snap_store *store;
	int r;

	if (toupper(*type) == 'P')
		store = snap_persistent_new();
	else if (toupper(*type) == 'N')
		store = snap_transient_new();
	else
		return -EINVAL;
	if (!store)
		return -ENOMEM;
	store->s = s;
	s->store = store;
	r = kstrtouint(chunk, 10, &s->chunk_sectors);
	if (r)
		return -EINVAL;
	if (s->chunk_sectors) {
		r = snap_check_chunk_size(s, s->chunk_sectors);
		if (r)
			return r;
		s->shift = ilog2(s->chunk_sectors);
	}
	return store->ops->ctr(store, type + 1);
}

static int open_devices(struct dm_snapshot *s, struct dm_target *ti, const char *origin, const char *cow)
{
	dev_t cow_dev;
	int r;

	r = dm_get_device(ti, origin, s->is_merge ? BLK_OPEN_READ | BLK_OPEN_WRITE : BLK_OPEN_READ,
			  &s->origin);
	if (r) {
		ti->error = "Cannot get origin device";
		return r;
	}
	if (!dm_devt_from_path(cow, &cow_dev) && cow_dev == s->origin->bdev->bd_dev) {
		ti->error = "COW device cannot be the same as origin device";
		return -EINVAL;
	}
	r = dm_get_device(ti, cow, dm_table_get_mode(ti->table), &s->cow);
	if (r) {
		ti->error = "Cannot get COW device";
		return r;
	}
	if (s->cow->bdev == s->origin->bdev) {
		ti->error = "COW device cannot be the same as origin device";
		return -EINVAL;
	}
	return 0;
}

static void destroy(struct dm_snapshot *s)
{
	if (s->merge)
		snap_merge_exit(s);
	if (s->wq)
		snap_io_exit(s);
	if (s->store)
		s->store->ops->dtr(s->store);
	if (s->cow)
		dm_put_device(s->ti, s->cow);
	if (s->origin)
		dm_put_device(s->ti, s->origin);
	if (s->o)
		put_origin(s->o);
	kfree(s);
}

static bool is_writable(struct dm_target *ti)
{
	return dm_table_get_mode(ti->table) & BLK_OPEN_WRITE;
}

/* what the store on the COW device says; s->valid afterwards */
static int load_store(struct dm_snapshot *s, struct dm_target *ti)
{
	int r = s->store->ops->load(s->store, is_writable(ti));

	if (r < 0) {
		ti->error = "Failed to read snapshot metadata";
		return r;
	}
	s->valid = !r;
	if (!s->chunk_sectors) {
		ti->error = "Chunk size not set";
		return -EINVAL;
	}
	r = snap_copy_init(s);
	if (r)
		ti->error = "Cannot allocate private snapshot structure";
	return r;
}

static int construct(struct dm_snapshot *s, struct dm_target *ti, unsigned int argc, char **argv)
{
	struct dm_arg_set as = { .argc = argc - 4, .argv = argv + 4 };
	int r;

	r = parse_features(s, &as, ti);
	if (!r)
		r = open_devices(s, ti, argv[0], argv[1]);
	if (r)
		return r;
	r = create_store(s, argv[2], argv[3]);
	if (r) {
		ti->error = "Couldn't create exception store";
		return -EINVAL;
	}
	if (s->is_merge && !snap_mergeable(s)) {
		ti->error = "Snapshot exception store does not support snapshot-merge.";
		return -EINVAL;
	}
	r = snap_io_init(s);
	if (r) {
		ti->error = "Could not allocate mempool for pending exceptions";
		return r;
	}
	s->o = get_origin(s->origin->bdev);
	if (!s->o) {
		ti->error = "Snapshot origin struct allocation failed";
		return -ENOMEM;
	}
	if (s->is_merge) {
		r = snap_merge_init(s);
		if (r)
			ti->error = "Cannot allocate private snapshot structure";
	}
	return r;
}

static int snapshot_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct dm_snapshot *s;
	int r;

	if (argc < 4) {
		ti->error = "requires 4 or more arguments";
		return -EINVAL;
	}
	s = kzalloc(sizeof(*s), GFP_KERNEL);
	if (!s) {
		ti->error = "Cannot allocate private snapshot structure";
		return -ENOMEM;
	}
	s->ti = ti;
	s->len = ti->begin + ti->len;
	s->is_merge = !strcmp(ti->type->name, "snapshot-merge");
	INIT_LIST_HEAD(&s->list);
	r = construct(s, ti, argc, argv);
	if (r)
		goto bad;
	ti->private = s;
	ti->num_flush_bios = s->is_merge ? 2 : 1;
	if (s->discard_zeroes) {
		ti->discards_supported = true;
		ti->num_discard_bios = s->discard_passdown ? 2 : 1;
	}
	ti->per_io_data_size = sizeof(struct snap_bio);

	r = register_snapshot(s, &ti->error);
	if (r < 0)
		goto bad;
	if (r) {
		/* it takes everything over at resume */
		s->chunk_sectors = 0;
		s->valid = true;
		return 0;
	}
	r = load_store(s, ti);
	if (!r) {
		r = dm_set_target_max_io_len(ti, s->chunk_sectors);
		if (!r) {
			link_snapshot(s);
			return 0;
		}
	}
	unregister_snapshot(s);
bad:
	destroy(s);
	return r;
}

static void snapshot_dtr(struct dm_target *ti)
{
	struct dm_snapshot *s = ti->private;
	struct snap_pair_of found;

	mutex_lock(&handover);
	mutex_lock(&snap_registry);
	find_sharing(s->o, s->cow->bdev, s, &found);
	if (s->active && found.destination) {
		DMERR("Cancelling snapshot handover.");
		WRITE_ONCE(found.destination->valid, false);
		found.destination->is_handover = false;
	}
	WRITE_ONCE(s->active, false);
	mutex_unlock(&snap_registry);
	mutex_unlock(&handover);
	if (s->is_merge)
		snap_merge_stop(s);
	if (!list_empty(&s->list))
		unlink_snapshot(s);
	unregister_snapshot(s);
	destroy(s);
}

/* ---- suspend, resume, handover --------------------------------------------------------------- */

static void snapshot_postsuspend(struct dm_target *ti)
{
	struct dm_snapshot *s = ti->private;

	mutex_lock(&snap_registry);
	s->suspended = true;
	mutex_unlock(&snap_registry);
}

static void merge_presuspend(struct dm_target *ti)
{
	snap_merge_stop(ti->private);
}

static void merge_presuspend_undo(struct dm_target *ti)
{
	snap_merge_start(ti->private);
}

static int snapshot_preresume(struct dm_target *ti)
{
	struct dm_snapshot *s = ti->private;
	struct snap_pair_of found;
	int r = 0;

	mutex_lock(&snap_registry);
	find_sharing(s->o, s->cow->bdev, s, &found);
	if (s->active && found.destination) {
		DMERR("Unable to resume snapshot source until handover completes.");
		r = -EINVAL;
	} else if (s->is_handover && found.source && !found.source->suspended) {
		DMERR("Unable to perform snapshot handover until source is suspended.");
		r = -EINVAL;
	}
	mutex_unlock(&snap_registry);
	/* an origin that had no size when the exceptions were read has one now */
	if (!r && s->valid && s->max_old && s->max_old > snap_origin_chunks(s, s->shift)) {
		DMERR("exception for chunk %llu: past the end of the origin; see dmtool snapshot-check",
		      (unsigned long long)s->max_old);
		r = -EINVAL;
	}
	return r;
}

/*
 * The store, the table of exceptions and the buffers change hands; both snapshots are quiet.  The letter of
 * the new table (P or PO) stays.
 */
static void hand_over(struct dm_snapshot *from, struct dm_snapshot *to)
{
	bool overflow = to->store->overflow;

	swap(from->store, to->store);
	from->store->s = from;
	to->store->s = to;
	from->store->overflow = to->store->overflow;
	to->store->overflow = overflow;
	snap_tree_swap(&from->tree, &to->tree);
	to->chunk_sectors = from->chunk_sectors;
	to->shift = from->shift;
	to->max_old = from->max_old;
	WRITE_ONCE(to->valid, from->valid);
	WRITE_ONCE(to->overflowed, from->overflowed);
	to->is_handover = false;
	WRITE_ONCE(from->valid, false);
	WRITE_ONCE(from->active, false);
	/* before the origin may be written again */
	WRITE_ONCE(to->active, true);
}

/*
 * All writers of the origin, and the merge of another snapshot, are kept away by o->sem, whatever devices
 * they come through: no device has to be suspended.
 */
static void take_over(struct dm_snapshot *s)
{
	struct snap_pair_of found;
	int r;

	mutex_lock(&snap_registry);
	find_sharing(s->o, s->cow->bdev, s, &found);
	mutex_unlock(&snap_registry);
	if (!found.source)
		return;
	percpu_down_write(&s->o->sem);
	snap_io_drain(found.source);
	mutex_lock(&snap_registry);
	list_del_init(&found.source->list);
	hand_over(found.source, s);
	mutex_unlock(&snap_registry);
	r = snap_copy_init(s);
	sort_in(s->o, s);
	update_min_chunk(s->o);
	if (r && s->valid)
		snap_invalidate(s, "No memory for a copy after the handover");
	percpu_up_write(&s->o->sem);
	if (dm_set_target_max_io_len(s->ti, s->chunk_sectors))
		DMERR("chunk size %u: not possible as the largest request", s->chunk_sectors);
}

static void snapshot_resume(struct dm_target *ti)
{
	struct dm_snapshot *s = ti->private;

	if (s->is_handover) {
		mutex_lock(&handover);
		take_over(s);
		mutex_unlock(&handover);
	}
	/* also with a table that is read-only: writes to the origin make exceptions all the same */
	if (s->valid && !bdev_read_only(s->cow->bdev) && s->store->ops->activate(s->store))
		snap_invalidate(s, "Error clearing entries behind the end of the store");
	activate(s);
}

static void merge_resume(struct dm_target *ti)
{
	struct dm_snapshot *s = ti->private;
	sector_t min;

	snapshot_resume(ti);
	min = READ_ONCE(s->o->min_chunk);
	if (min)
		ti->max_io_len = min;
	snap_merge_start(s);
}

/* ---- status ---------------------------------------------------------------------------------- */

static int emit_info(struct dm_snapshot *s, char *result, unsigned int maxlen)
{
	struct snap_usage u = { .total = 0 };
	unsigned int sz = 0;

	if (!s->valid) {
		DMEMIT("Invalid");
	} else if (s->merge && snap_merge_failed(s)) {
		DMEMIT("Merge failed");
	} else if (s->overflowed) {
		DMEMIT("Overflow");
	} else {
		spin_lock_irq(&s->lock);
		if (s->is_handover)
			u.total = bdev_nr_sectors(s->cow->bdev);
		else
			s->store->ops->usage(s->store, &u);
		spin_unlock_irq(&s->lock);
		DMEMIT("%llu/%llu %llu", (unsigned long long)u.allocated, (unsigned long long)u.total,
		       (unsigned long long)u.metadata);
	}
	return sz;
}

static void emit_table(struct dm_snapshot *s, char *result, unsigned int maxlen)
{
	unsigned int nr = s->discard_zeroes + s->discard_passdown + s->fail_origin_write, sz = 0;

	DMEMIT("%s %s %s%s %u", s->origin->name, s->cow->name, s->store->ops->name,
	       s->store->overflow ? "O" : "", s->chunk_sectors);
	if (nr) {
		DMEMIT(" %u", nr);
		if (s->discard_zeroes)
			DMEMIT(" discard_zeroes_cow");
		if (s->discard_passdown)
			DMEMIT(" discard_passdown_origin");
		if (s->fail_origin_write)
			DMEMIT(" fail_origin_write");
	}
}

static void snapshot_status(struct dm_target *ti, status_type_t type, unsigned int status_flags,
			    char *result, unsigned int maxlen)
{
	struct dm_snapshot *s = ti->private;
	unsigned int sz = 0;

	switch (type) {
	case STATUSTYPE_INFO:
		emit_info(s, result, maxlen);
		break;
	case STATUSTYPE_TABLE:
		emit_table(s, result, maxlen);
		break;
	case STATUSTYPE_IMA:
		DMEMIT_TARGET_NAME_VERSION(ti->type);
		DMEMIT(",snap_origin_name=%s", s->origin->name);
		DMEMIT(",snap_cow_name=%s", s->cow->name);
		DMEMIT(",snap_valid=%c", s->valid ? 'y' : 'n');
		DMEMIT(",snap_merge_failed=%c", s->merge && snap_merge_failed(s) ? 'y' : 'n');
		DMEMIT(",snapshot_overflowed=%c;", s->overflowed ? 'y' : 'n');
		break;
	}
}

static int snapshot_iterate_devices(struct dm_target *ti, iterate_devices_callout_fn fn, void *data)
{
	struct dm_snapshot *s = ti->private;
	int r = fn(ti, s->origin, 0, ti->len, data);

	return r ? r : fn(ti, s->cow, 0, bdev_nr_sectors(s->cow->bdev), data);
}

static void snapshot_io_hints(struct dm_target *ti, struct queue_limits *limits)
{
	struct dm_snapshot *s = ti->private;
	unsigned int chunk = READ_ONCE(s->chunk_sectors);

	if (!s->discard_zeroes)
		return;
	if (!chunk) {
		/* a handover is awaited: what the active one has */
		struct snap_pair_of found;

		mutex_lock(&snap_registry);
		find_sharing(s->o, s->cow->bdev, s, &found);
		chunk = found.source ? found.source->chunk_sectors : 0;
		mutex_unlock(&snap_registry);
	}
	if (!chunk)
		return;
	limits->discard_granularity = chunk << SECTOR_SHIFT;
	dmfmt_limit_discards(limits, chunk);
}

/* ---- snapshot-origin ------------------------------------------------------------------------- */

struct dm_origin {
	struct dm_dev *dev;
	struct dm_target *ti;
	struct snap_origin *o;
};

static int origin_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct dm_origin *d;
	int r;

	if (argc != 1) {
		ti->error = "origin: incorrect number of arguments";
		return -EINVAL;
	}
	d = kzalloc(sizeof(*d), GFP_KERNEL);
	if (!d) {
		ti->error = "Cannot allocate private origin structure";
		return -ENOMEM;
	}
	r = dm_get_device(ti, argv[0], dm_table_get_mode(ti->table), &d->dev);
	if (r) {
		ti->error = "Cannot get target device";
		kfree(d);
		return r;
	}
	d->o = get_origin(d->dev->bdev);
	if (!d->o) {
		ti->error = "Cannot allocate private origin structure";
		dm_put_device(ti, d->dev);
		kfree(d);
		return -ENOMEM;
	}
	d->ti = ti;
	ti->private = d;
	ti->num_flush_bios = 1;
	return 0;
}

static void origin_dtr(struct dm_target *ti)
{
	struct dm_origin *d = ti->private;

	dm_put_device(ti, d->dev);
	put_origin(d->o);
	kfree(d);
}

static int origin_map(struct dm_target *ti, struct bio *bio)
{
	struct dm_origin *d = ti->private;

	bio_set_dev(bio, d->dev->bdev);
	if ((bio->bi_opf & REQ_PREFLUSH) || bio_data_dir(bio) != WRITE)
		return DM_MAPIO_REMAPPED;
	return snap_origin_write(d->o, bio);
}

static void origin_status(struct dm_target *ti, status_type_t type, unsigned int status_flags,
			  char *result, unsigned int maxlen)
{
	struct dm_origin *d = ti->private;

	if (type == STATUSTYPE_TABLE)
		snprintf(result, maxlen, "%s", d->dev->name);
	else
		result[0] = '\0';
}

static int origin_iterate_devices(struct dm_target *ti, iterate_devices_callout_fn fn, void *data)
{
	struct dm_origin *d = ti->private;

	return fn(ti, d->dev, 0, ti->len, data);
}

/* ---- the module ------------------------------------------------------------------------------ */

static struct target_type origin_target = {
	.name = "snapshot-origin",
	.version = {1, 9, 0},
	.module = THIS_MODULE,
	.ctr = origin_ctr,
	.dtr = origin_dtr,
	.map = origin_map,
	.status = origin_status,
	.iterate_devices = origin_iterate_devices,
};

static struct target_type snapshot_target = {
	.name = "snapshot",
	.version = {1, 16, 0},
	.module = THIS_MODULE,
	.ctr = snapshot_ctr,
	.dtr = snapshot_dtr,
	.map = snap_map,
	.end_io = snap_end_io,
	.preresume = snapshot_preresume,
	.resume = snapshot_resume,
	.postsuspend = snapshot_postsuspend,
	.status = snapshot_status,
	.iterate_devices = snapshot_iterate_devices,
	.io_hints = snapshot_io_hints,
};

static struct target_type merge_target = {
	.name = "snapshot-merge",
	.version = {1, 5, 0},
	.module = THIS_MODULE,
	.ctr = snapshot_ctr,
	.dtr = snapshot_dtr,
	.map = snap_merge_map,
	.end_io = snap_end_io,
	.presuspend = merge_presuspend,
	.presuspend_undo = merge_presuspend_undo,
	.preresume = snapshot_preresume,
	.resume = merge_resume,
	.postsuspend = snapshot_postsuspend,
	.status = snapshot_status,
	.iterate_devices = snapshot_iterate_devices,
	.io_hints = snapshot_io_hints,
};

static int __init dm_snapshot_init(void)
{
	int r = snap_tree_module_init();

	if (r)
		return r;
	r = snap_io_module_init();
	if (r)
		goto no_io;
	r = dm_register_target(&snapshot_target);
	if (r < 0)
		goto no_snapshot;
	r = dm_register_target(&origin_target);
	if (r < 0)
		goto no_origin;
	r = dm_register_target(&merge_target);
	if (r < 0)
		goto no_merge;
	return 0;

no_merge:
	dm_unregister_target(&origin_target);
no_origin:
	dm_unregister_target(&snapshot_target);
no_snapshot:
	snap_io_module_exit();
no_io:
	snap_tree_module_exit();
	return r;
}

static void __exit dm_snapshot_exit(void)
{
	dm_unregister_target(&merge_target);
	dm_unregister_target(&origin_target);
	dm_unregister_target(&snapshot_target);
	snap_io_module_exit();
	snap_tree_module_exit();
}

module_init(dm_snapshot_init);
module_exit(dm_snapshot_exit);

MODULE_DESCRIPTION(DM_NAME " snapshot target of dmfmt");
MODULE_AUTHOR("dmfmt");
MODULE_LICENSE("GPL");
MODULE_ALIAS("dm-snapshot-origin");
MODULE_ALIAS("dm-snapshot-merge");
