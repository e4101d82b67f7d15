// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * dmfmt-load <device> - a target that makes I/O instead of passing it on
 *
 * Messages, one at a time:
 *
 *	run op=read|write|writefua|flush|discard [bytes=4096] [depth=1] [count=1] [span=<bytes>]
 *	    [offset=<bytes>] [order=random|seq] [seed=0] [stamp=0] [verify=<stamp>]
 *		One kernel thread sends @count requests of @bytes each to the device, @depth of them at a
 *		time; each block of [offset, offset + span) once in each turn.  Writes carry the number of
 *		their block and @stamp in the first 16 bytes; reads expect @verify there, if it is given.
 *	sleep <ms>
 *		count what the machine does meanwhile by itself
 *	mark start | mark stop
 *		for what user space does
 *
 * The answer: run=<number of the marks> ios= errors= wrong= ns= mean= min= p50= p99= max=, times in
 * nanoseconds, of single requests but for ns.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/delay.h>
#include <linux/device-mapper.h>
#include <linux/kthread.h>
#include <linux/llist.h>
#include <linux/log2.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sort.h>

#include "dmfmt-test.h"

#define DM_MSG_PREFIX "dmfmt-load"
#define DEPTH_MAX 1024
#define BYTES_MAX (1U << 20)

struct load {
	struct dm_dev *dev;
	struct mutex lock;	/* one run at a time */
};

struct job;

struct slot {
	struct llist_node node;	/* in job->idle */
	struct job *job;
	struct page *pages;	/* one piece of job->bytes */
	u64 begun, block, nr;
	struct bio bio;
	struct bio_vec vec;
};

struct job {
	struct block_device *bdev;
	blk_opf_t opf;
	unsigned int bytes, depth, bits, page_order;
	u64 count, offset, blocks, seed, stamp, verify;
	bool random, has_verify, with_data;

	struct slot *slots;
	struct llist_head idle;
	struct task_struct *task;
	struct completion done;
	u64 *latency;		/* of each request, in the order in which they were sent */
	u64 issued, elapsed;
	atomic64_t errors, wrong;
	unsigned int inflight, mark;
};

static atomic_t marks = ATOMIC_INIT(0);

/* ---- the thread -------------------------------------------------------------------------------- */

static void check_stamp(struct slot *slot)
{
	const u64 *p = page_address(slot->pages);

	if (p[0] != slot->block || p[1] != slot->job->verify)
		atomic64_inc(&slot->job->wrong);
}

static void slot_end_io(struct bio *bio)
{
	struct slot *slot = bio->bi_private;
	struct job *job = slot->job;

	job->latency[slot->nr] = ktime_get_ns() - slot->begun;
	if (unlikely(bio->bi_status))
		atomic64_inc(&job->errors);
	else if (job->has_verify)
		check_stamp(slot);
	/* the thread looks at the list after it has said that it sleeps */
	if (llist_add(&slot->node, &job->idle) && job->task != current)
		wake_up_process(job->task);
}

static u64 next_block(const struct job *job)
{
	u64 at = job->issued, turn = 0;

	if (at >= job->blocks)
		turn = div64_u64_rem(at, job->blocks, &at);
	return job->random ? dmfmt_shuffle(at, job->blocks, job->bits, job->seed + turn) : at;
}

static void slot_submit(struct job *job, struct slot *slot)
{
	struct bio *bio = &slot->bio;

	bio_init(bio, job->bdev, &slot->vec, 1, job->opf);
	bio->bi_private = slot;
	bio->bi_end_io = slot_end_io;
	slot->block = next_block(job);
	slot->nr = job->issued++;
	if (!(job->opf & REQ_PREFLUSH))
		bio->bi_iter.bi_sector = (job->offset + slot->block * job->bytes) >> SECTOR_SHIFT;
	if (job->with_data) {
		__bio_add_page(bio, slot->pages, job->bytes, 0);
		if (bio_data_dir(bio) == WRITE) {
			u64 *p = page_address(slot->pages);

			p[0] = slot->block;
			p[1] = job->stamp;
		}
	} else if (bio_op(bio) == REQ_OP_DISCARD) {
		bio->bi_iter.bi_size = job->bytes;
	}
	job->inflight++;
	slot->begun = ktime_get_ns();
	submit_bio(bio);
}

static struct llist_node *wait_for_idle(struct job *job)
{
	struct llist_node *list;

	for (;;) {
		list = llist_del_all(&job->idle);
		if (list)
			return list;
		set_current_state(TASK_UNINTERRUPTIBLE);
		if (llist_empty(&job->idle))
			io_schedule();
		__set_current_state(TASK_RUNNING);
	}
}

static void job_loop(struct job *job)
{
	struct llist_node *list;
	unsigned int i;

	for (i = 0; i < job->depth && job->issued < job->count; i++)
		slot_submit(job, &job->slots[i]);
	while (job->inflight) {
		list = wait_for_idle(job);
		while (list) {
			struct slot *slot = llist_entry(list, struct slot, node);

			list = list->next;
			job->inflight--;
			if (job->issued < job->count)
				slot_submit(job, slot);
		}
	}
}

static int job_thread(void *data)
{
	struct job *job = data;
	u64 begun;

	job->task = current;
	job->mark = atomic_inc_return(&marks);
	begun = ktime_get_ns();
	dmfmt_mark_start();
	job_loop(job);
	dmfmt_mark_stop();
	job->elapsed = ktime_get_ns() - begun;
	complete(&job->done);
	return 0;
}

/* ---- what to do -------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	blk_opf_t opf;
	bool with_data;
} ops[] = {
	{ "read", REQ_OP_READ, true },
	{ "write", REQ_OP_WRITE | REQ_SYNC | REQ_IDLE, true },
	{ "writefua", REQ_OP_WRITE | REQ_SYNC | REQ_FUA, true },
	{ "flush", REQ_OP_WRITE | REQ_SYNC | REQ_PREFLUSH, false },
	{ "discard", REQ_OP_DISCARD, false },
};

static int parse_op(struct job *job, const char *name)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		if (!strcmp(name, ops[i].name)) {
			job->opf = ops[i].opf;
			job->with_data = ops[i].with_data;
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_number(struct job *job, const char *key, u64 value)
{
	if (!strcmp(key, "bytes"))
		job->bytes = min_t(u64, value, UINT_MAX);
	else if (!strcmp(key, "depth"))
		job->depth = min_t(u64, value, UINT_MAX);
	else if (!strcmp(key, "count"))
		job->count = value;
	else if (!strcmp(key, "span"))
		job->blocks = value;
	else if (!strcmp(key, "offset"))
		job->offset = value;
	else if (!strcmp(key, "seed"))
		job->seed = value;
	else if (!strcmp(key, "stamp"))
		job->stamp = value;
	else if (!strcmp(key, "verify"))
		job->verify = value, job->has_verify = true;
	else
		return -EINVAL;
	return 0;
}

static int parse_word(struct job *job, char *word)
{
	char *value = strchr(word, '=');
	u64 number;

	if (!value)
		return -EINVAL;
	*value++ = '\0';
	if (!strcmp(word, "op"))
		return parse_op(job, value);
	if (!strcmp(word, "order")) {
		job->random = !strcmp(value, "random");
		return job->random || !strcmp(value, "seq") ? 0 : -EINVAL;
	}
	return kstrtou64(value, 0, &number) ? -EINVAL : parse_number(job, word, number);
}

/* sizes and places that fit each other and the device */
static int job_bound(struct job *job)
{
	u64 size = bdev_nr_bytes(job->bdev);

	if (!job->opf && !job->with_data)
		return -EINVAL;
	if (job->bytes < SECTOR_SIZE || job->bytes > BYTES_MAX || !is_power_of_2(job->bytes) ||
	    job->offset % SECTOR_SIZE || job->offset >= size)
		return -EINVAL;
	if (!job->blocks || job->blocks > size - job->offset)
		job->blocks = size - job->offset;
	job->blocks /= job->bytes;
	if (!job->blocks || !job->count || job->count > U32_MAX || !job->depth ||
	    job->depth > DEPTH_MAX || (job->has_verify && op_is_write(job->opf)))
		return -EINVAL;
	job->bits = job->blocks > 1 ? ilog2(job->blocks - 1) + 1 : 1;
	job->page_order = get_order(job->bytes);
	return 0;
}

static void job_free(struct job *job)
{
	unsigned int i;

	for (i = 0; job->slots && i < job->depth; i++)
		if (job->slots[i].pages)
			__free_pages(job->slots[i].pages, job->page_order);
	kvfree(job->slots);
	kvfree(job->latency);
}

static int job_alloc(struct job *job)
{
	unsigned int i;

	job->slots = kvcalloc(job->depth, sizeof(*job->slots), GFP_KERNEL);
	job->latency = kvcalloc(job->count, sizeof(*job->latency), GFP_KERNEL);
	if (!job->slots || !job->latency)
		return -ENOMEM;
	for (i = 0; i < job->depth; i++) {
		job->slots[i].job = job;
		job->slots[i].pages = alloc_pages(GFP_KERNEL | __GFP_ZERO, job->page_order);
		if (!job->slots[i].pages)
			return -ENOMEM;
	}
	return 0;
}

static int compare_u64(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

static void job_report(struct job *job, char *result, unsigned int maxlen)
{
	u64 n = job->count, sum = 0, i, *l = job->latency;

	sort(l, n, sizeof(*l), compare_u64, NULL);
	for (i = 0; i < n; i++)
		sum += l[i];
	scnprintf(result, maxlen,
		  "run=%u ios=%llu errors=%lld wrong=%lld ns=%llu mean=%llu min=%llu p50=%llu p99=%llu max=%llu",
		  job->mark, n, atomic64_read(&job->errors), atomic64_read(&job->wrong), job->elapsed,
		  div64_u64(sum, n), l[0], l[(n - 1) / 2], l[div_u64((n - 1) * 99, 100)], l[n - 1]);
}

static int load_run(struct load *load, unsigned int argc, char **argv, char *result,
		    unsigned int maxlen)
{
	struct job job = { .bdev = load->dev->bdev, .bytes = 4096, .depth = 1, .count = 1,
			   .random = true };
	struct task_struct *task;
	unsigned int i;
	int r;

	for (i = 1; i < argc; i++) {
		r = parse_word(&job, argv[i]);
		if (r) {
			DMERR("run: %s: not understood", argv[i]);
			return r;
		}
	}
	r = job_bound(&job);
	if (r) {
		DMERR("run: numbers that do not fit each other or the device");
		return r;
	}
	init_llist_head(&job.idle);
	init_completion(&job.done);
	r = job_alloc(&job);
	if (r)
		goto out;
	task = kthread_run(job_thread, &job, "dmfmt-load");
	if (IS_ERR(task)) {
		r = PTR_ERR(task);
		goto out;
	}
	wait_for_completion(&job.done);
	job_report(&job, result, maxlen);
	r = 1;
out:
	job_free(&job);
	return r;
}

static int load_sleep(const char *ms, char *result, unsigned int maxlen)
{
	unsigned int mark, n;

	if (kstrtouint(ms, 0, &n))
		return -EINVAL;
	mark = atomic_inc_return(&marks);
	dmfmt_mark_start();
	msleep(n);
	dmfmt_mark_stop();
	scnprintf(result, maxlen, "run=%u ms=%u", mark, n);
	return 1;
}

static int load_mark(const char *what, char *result, unsigned int maxlen)
{
	if (!strcmp(what, "start")) {
		scnprintf(result, maxlen, "run=%u", atomic_inc_return(&marks));
		dmfmt_mark_start();
		return 1;
	} else if (!strcmp(what, "stop")) {
		dmfmt_mark_stop();
		return 0;
	}
	return -EINVAL;
}

/* ---- the target -------------------------------------------------------------------------------- */

static int load_message(struct dm_target *ti, unsigned int argc, char **argv, char *result,
			unsigned int maxlen)
{
	struct load *load = ti->private;
	int r = -EINVAL;

	mutex_lock(&load->lock);
	if (!strcmp(argv[0], "run"))
		r = load_run(load, argc, argv, result, maxlen);
	else if (!strcmp(argv[0], "sleep") && argc == 2)
		r = load_sleep(argv[1], result, maxlen);
	else if (!strcmp(argv[0], "mark") && argc == 2)
		r = load_mark(argv[1], result, maxlen);
	mutex_unlock(&load->lock);
	return r;
}

static int load_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct load *load;
	int r;

	if (argc != 1) {
		ti->error = "one argument is expected";
		return -EINVAL;
	}
	load = kzalloc(sizeof(*load), GFP_KERNEL);
	if (!load) {
		ti->error = "no memory";
		return -ENOMEM;
	}
	mutex_init(&load->lock);
	r = dm_get_device(ti, argv[0], dm_table_get_mode(ti->table), &load->dev);
	if (r) {
		ti->error = "the device cannot be opened";
		kfree(load);
		return r;
	}
	ti->private = load;
	return 0;
}

static void load_dtr(struct dm_target *ti)
{
	struct load *load = ti->private;

	dm_put_device(ti, load->dev);
	mutex_destroy(&load->lock);
	kfree(load);
}

static int load_map(struct dm_target *ti, struct bio *bio)
{
	return DM_MAPIO_KILL;
}

static struct target_type load_target = {
	.name = "dmfmt-load",
	.version = { 1, 0, 0 },
	.module = THIS_MODULE,
	.ctr = load_ctr,
	.dtr = load_dtr,
	.map = load_map,
	.message = load_message,
};

static int __init load_init(void)
{
	return dm_register_target(&load_target);
}

static void __exit load_exit(void)
{
	dm_unregister_target(&load_target);
}

module_init(load_init);
module_exit(load_exit);

MODULE_DESCRIPTION("dmfmt: a load from inside the kernel");
MODULE_LICENSE("GPL");
