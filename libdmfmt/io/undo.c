// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The layer that saves what is about to be overwritten.
 *
 * Writes are held back in pages, and reads see them.  On a flush, or when 8 MiB are held back, the
 * queue is drained: the old bytes of all of it are appended to the undo file, the file is synced
 * (the first time its directory as well), and only then the device is written.  So a power cut
 * leaves either a device that is untouched since the last drain, or one whose every changed block
 * has its record.
 *
 * Between two flushes the order of writes means nothing (any subset of them may survive a power
 * cut), so the queue may join, sort and replace them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>
#include "../format/crc32c.h"
#include "dev.h"
#include "pages.h"
#include "undo_format.h"

#define PAGES_MAX ((8u << 20) / DMFMT_PAGE_BYTES)
#define SECTORS_PER_PAGE (DMFMT_PAGE_BYTES / UNDO_BLOCK)
#define STRING_MAX 16384u

struct undo_layer {
	struct dmfmt_layer l;
	struct dmfmt_dev *dev;		/* whose layer this is */
	struct dmfmt_dev *file;		/* NULL before the first write */
	bool own;			/* the file is ours to close */
	bool started;			/* it has its header */
	bool done;			/* its last record is the mark */
	char *path, *command;
	uint64_t id, nr, batch;		/* of the next record */
	uint64_t end;			/* of what has been appended */
	struct dmfmt_pages pages;
	uint8_t *new;			/* new bytes of a run */
	uint8_t *record;		/* head and table, then old bytes */
};

/* consecutive sectors of the queue, at most UNDO_LENGTH_MAX */
struct run {
	struct dmfmt_page **pages;	/* all, sorted */
	size_t nr_pages;
	size_t page;			/* where the next run begins: page and sector in it */
	unsigned sector;
	uint64_t off;			/* the run that was found */
	size_t len;
};

static struct undo_layer *to_undo(struct dmfmt_layer *l)
{
	return (struct undo_layer *)l;
}

/* ---- the file ------------------------------------------------------------------------------- */

static size_t string_length(const char *s)
{
	size_t len = strlen(s);

	return len < STRING_MAX ? len : STRING_MAX;
}

static int append(struct undo_layer *u, const void *buf, size_t len)
{
	int err = 0;

	if (u->file->size < u->end + len)
		err = dmfmt_dev_truncate(u->file, u->end + len);
	if (!err)
		err = dmfmt_dev_write(u->file, u->end, buf, len);
	if (!err)
		u->end += len;
	return err;
}

static uint64_t new_id(void)
{
	uint64_t id;

	if (getrandom(&id, sizeof(id), GRND_NONBLOCK) == (ssize_t)sizeof(id))
		return id;
	return (uint64_t)time(NULL) << 32 ^ (uint64_t)getpid() << 16 ^ (uintptr_t)&id;
}

/* The device's path, complete; its links are kept, they say more than what they lead to. */
static char *full_path(const struct dmfmt_dev *dev)
{
	char *cwd = NULL, *full = NULL;

	if (dev->fd >= 0 && dev->path[0] != '/')
		cwd = getcwd(NULL, 0);
	if (asprintf(&full, "%s%s%s", cwd ? cwd : "", cwd ? "/" : "", dev->path) < 0)
		full = NULL;
	free(cwd);
	return full;
}

static int write_header(struct undo_layer *u, const char *device)
{
	const char *strings[] = { device, u->command, DMFMT_VERSION };
	size_t at = UNDO_H_STRINGS, bytes, i;
	uint8_t *h = u->record;

	memset(h, 0, UNDO_HEADER_MAX);
	u->id = new_id();
	memcpy(h, UNDO_MAGIC, 8);
	undo_put32(h + UNDO_H_VERSION, UNDO_VERSION);
	undo_put64(h + UNDO_H_ID, u->id);
	undo_put64(h + UNDO_H_DEVICE_BYTES, u->dev->size);
	undo_put64(h + UNDO_H_TIME, time(NULL));
	for (i = 0; i < 3; i++) {
		size_t len = string_length(strings[i]);

		undo_put32(h + UNDO_H_LENGTHS + 4 * i, len);
		memcpy(h + at, strings[i], len);
		at += len;
	}
	bytes = (at + UNDO_BLOCK - 1) & ~(size_t)(UNDO_BLOCK - 1);
	undo_put32(h + UNDO_H_BYTES, bytes);
	undo_put32(h + UNDO_H_CRC, dmfmt_crc32c(0, h, bytes));
	return append(u, h, bytes);
}

static int get_buffers(struct undo_layer *u)
{
	if (!u->new)
		u->new = malloc(UNDO_LENGTH_MAX);
	if (!u->record)
		u->record = malloc(UNDO_HEAD_MAX + UNDO_LENGTH_MAX);
	if (u->new && u->record)
		return 0;
	return dmfmt_fail(u->dev->ctx, -ENOMEM, "undo file %s: no memory for its buffers", u->path);
}

static int start(struct undo_layer *u)
{
	char *device;
	int err;

	if (u->started)
		return 0;
	err = get_buffers(u);
	if (!err && !u->file)
		err = dmfmt_dev_open(u->dev->ctx, u->path, DMFMT_OPEN_WRITE | DMFMT_OPEN_CREATE,
				     &u->file);
	if (err)
		return err;
	device = full_path(u->dev);
	err = device ? write_header(u, device) : -ENOMEM;
	free(device);
	u->started = !err;
	return err;
}

/* Head of the next record in u->record, but for its table and its CRC. */
static void begin_record(struct undo_layer *u, const char *magic, uint64_t off, size_t len,
			 unsigned flags)
{
	uint8_t *h = u->record;

	memset(h, 0, undo_head_bytes(len));
	memcpy(h, magic, 4);
	undo_put32(h + UNDO_R_BYTES, undo_head_bytes(len));
	undo_put64(h + UNDO_R_ID, u->id);
	undo_put64(h + UNDO_R_NR, u->nr);
	undo_put64(h + UNDO_R_BATCH, u->batch);
	undo_put64(h + UNDO_R_OFFSET, off);
	undo_put64(h + UNDO_R_LENGTH, len);
	undo_put32(h + UNDO_R_FLAGS, flags);
}

static int end_record(struct undo_layer *u, size_t len)
{
	size_t head = undo_head_bytes(len);
	int err;

	undo_put32(u->record + UNDO_R_CRC, dmfmt_crc32c(0, u->record, head));
	err = append(u, u->record, head + len);
	if (!err)
		u->nr++;
	return err;
}

/* ---- draining the queue --------------------------------------------------------------------- */

/* The next run of sectors that are held back; false at the end. */
static bool next_run(struct run *r)
{
	uint64_t at;

	r->len = 0;
	for (; r->page < r->nr_pages; r->page++, r->sector = 0) {
		const struct dmfmt_page *p = r->pages[r->page];

		for (; r->sector < SECTORS_PER_PAGE; r->sector++) {
			at = p->nr * DMFMT_PAGE_BYTES + r->sector * UNDO_BLOCK;
			if (r->len && (at != r->off + r->len || r->len == UNDO_LENGTH_MAX ||
				       !(p->valid >> r->sector & 1)))
				return true;
			if (!(p->valid >> r->sector & 1))
				continue;
			if (!r->len)
				r->off = at;
			r->len += UNDO_BLOCK;
		}
	}
	return r->len > 0;
}

static void gather(const struct undo_layer *u, uint64_t off, uint8_t *buf, size_t len)
{
	while (len) {
		size_t n = dmfmt_page_part(off, len);

		memcpy(buf, dmfmt_pages_find(&u->pages, off / DMFMT_PAGE_BYTES)->data +
		       off % DMFMT_PAGE_BYTES, n);
		buf += n;
		off += n;
		len -= n;
	}
}

/* its old bytes lie in the record already */
static int save_read(struct undo_layer *u, uint64_t off, size_t len, unsigned flags)
{
	uint8_t *old = u->record + undo_head_bytes(len), *table = u->record + UNDO_R_TABLE;
	size_t i;

	gather(u, off, u->new, len);
	begin_record(u, UNDO_WRIT, off, len, flags);
	undo_put32(u->record + UNDO_R_OLD_CRC, dmfmt_crc32c(0, old, len));
	undo_put32(u->record + UNDO_R_NEW_CRC, dmfmt_crc32c(0, u->new, len));
	for (i = 0; i < len / UNDO_BLOCK; i++) {
		undo_put32(table + 8 * i, dmfmt_crc32c(0, old + i * UNDO_BLOCK, UNDO_BLOCK));
		undo_put32(table + 8 * i + 4, dmfmt_crc32c(0, u->new + i * UNDO_BLOCK, UNDO_BLOCK));
	}
	return end_record(u, len);
}

/* the device says that these sectors are bad; anything else ends the run */
static bool is_bad(int err)
{
	return err == -EIO || err == -ENODATA || err == -EREMOTEIO;
}

/*
 * A run with bad sectors, one by one: there is nothing to be saved of a bad one, and writing it gives it a
 * new place on many devices, so the record says that its bytes are not known.
 */
static int save_sectors(struct undo_layer *u, uint64_t off, size_t len, unsigned flags)
{
	uint8_t *old = u->record + undo_head_bytes(UNDO_BLOCK);
	size_t at;
	int err = 0;

	for (at = 0; !err && at < len; at += UNDO_BLOCK) {
		unsigned now = at + UNDO_BLOCK == len ? flags : 0;

		err = u->l.lower->ops->read(u->l.lower, off + at, old, UNDO_BLOCK);
		if (is_bad(err)) {
			memset(old, 0, UNDO_BLOCK);
			now |= UNDO_UNREADABLE;
			err = 0;
		}
		if (!err)
			err = save_read(u, off + at, UNDO_BLOCK, now);
	}
	return err;
}

static int save_run(struct undo_layer *u, uint64_t off, size_t len, bool last)
{
	unsigned flags = last ? UNDO_LAST : 0;
	int err;

	err = u->l.lower->ops->read(u->l.lower, off, u->record + undo_head_bytes(len), len);
	if (!err)
		return save_read(u, off, len, flags);
	if (is_bad(err))
		return save_sectors(u, off, len, flags);
	errno = -err;
	return dmfmt_fail(u->dev->ctx, err, "%s: offset %llu: read of %zu bytes to be saved failed: %m",
			  u->dev->path, (unsigned long long)off, len);
}

/* One growth of the file for the whole batch. */
static int make_room(struct undo_layer *u, const struct run *all)
{
	struct run r = *all;
	uint64_t bytes = 0;

	while (next_run(&r))
		bytes += undo_head_bytes(r.len) + r.len;
	return dmfmt_dev_truncate(u->file, u->end + bytes);
}

static int save_all(struct undo_layer *u, const struct run *all)
{
	struct run now = *all, next;
	int err;
	bool more;

	err = make_room(u, all);
	for (more = !err && next_run(&now); more && !err; now = next) {
		next = now;
		more = next_run(&next);
		err = save_run(u, now.off, now.len, !more);
	}
	if (!err)
		err = dmfmt_dev_flush(u->file);
	if (!err)
		u->batch++;
	return err;
}

static int write_all(struct undo_layer *u, const struct run *all)
{
	struct run r = *all;
	int err = 0;

	while (!err && next_run(&r)) {
		gather(u, r.off, u->new, r.len);
		err = u->l.lower->ops->write(u->l.lower, r.off, u->new, r.len);
		if (err) {
			errno = -err;
			dmfmt_fail(u->dev->ctx, err,
				   "%s: offset %llu: write of %zu bytes failed: %m", u->dev->path,
				   (unsigned long long)r.off, r.len);
		}
	}
	return err;
}

static int drain(struct undo_layer *u)
{
	struct run all = { .nr_pages = u->pages.nr };
	int err;

	if (!u->pages.nr)
		return 0;
	all.pages = dmfmt_pages_sorted(&u->pages);
	if (!all.pages)
		return -ENOMEM;
	u->done = false;
	err = save_all(u, &all);
	if (!err)
		err = write_all(u, &all);
	free(all.pages);
	if (!err)
		dmfmt_pages_clear(&u->pages);
	return err;
}

/* ---- the layer ------------------------------------------------------------------------------ */

static int undo_read(struct dmfmt_layer *l, uint64_t off, void *buf, size_t len)
{
	struct undo_layer *u = to_undo(l);
	int err;

	err = l->lower->ops->read(l->lower, off, buf, len);
	while (!err && len && u->pages.nr) {
		const struct dmfmt_page *p = dmfmt_pages_find(&u->pages, off / DMFMT_PAGE_BYTES);
		size_t n = UNDO_BLOCK - off % UNDO_BLOCK, in_page = off % DMFMT_PAGE_BYTES;

		if (!p)
			n = dmfmt_page_part(off, len);
		if (n > len)
			n = len;
		if (p && p->valid >> in_page / UNDO_BLOCK & 1)
			memcpy(buf, p->data + in_page, n);
		buf = (char *)buf + n;
		off += n;
		len -= n;
	}
	return err;
}

static int get_page(struct undo_layer *u, uint64_t nr, struct dmfmt_page **out)
{
	int err = 0;

	*out = dmfmt_pages_find(&u->pages, nr);
	if (*out)
		return 0;
	if (u->pages.nr == PAGES_MAX)
		err = drain(u);
	if (!err)
		*out = dmfmt_pages_add(&u->pages, nr);
	return err ? err : *out ? 0 : -ENOMEM;
}

/* Sectors are held back whole: of one that is written in part, the rest comes from below. */
static int complete_sector(struct undo_layer *u, struct dmfmt_page *p, unsigned sector)
{
	size_t at = sector * UNDO_BLOCK;

	if (p->valid >> sector & 1)
		return 0;
	return u->l.lower->ops->read(u->l.lower, p->nr * DMFMT_PAGE_BYTES + at, p->data + at,
				     UNDO_BLOCK);
}

static int write_page(struct undo_layer *u, struct dmfmt_page *p, size_t at, const void *buf,
		      size_t len)
{
	unsigned first = at / UNDO_BLOCK, last = (at + len - 1) / UNDO_BLOCK, i;
	int err = 0;

	if (at % UNDO_BLOCK)
		err = complete_sector(u, p, first);
	if (!err && (at + len) % UNDO_BLOCK && !(at % UNDO_BLOCK && first == last))
		err = complete_sector(u, p, last);
	if (err)
		return err;
	memcpy(p->data + at, buf, len);
	for (i = first; i <= last; i++)
		p->valid |= 1u << i;
	return 0;
}

static int undo_write(struct dmfmt_layer *l, uint64_t off, const void *buf, size_t len)
{
	struct undo_layer *u = to_undo(l);
	struct dmfmt_page *p;
	int err;

	err = start(u);
	while (!err && len) {
		size_t n = dmfmt_page_part(off, len);

		err = get_page(u, off / DMFMT_PAGE_BYTES, &p);
		if (!err)
			err = write_page(u, p, off % DMFMT_PAGE_BYTES, buf, n);
		buf = (const char *)buf + n;
		off += n;
		len -= n;
	}
	return err;
}

static int undo_flush(struct dmfmt_layer *l)
{
	int err = drain(to_undo(l));

	return err ? err : l->lower->ops->flush(l->lower);
}

/* Only while nothing has been recorded: the old end could not be brought back. */
static int undo_truncate(struct dmfmt_layer *l, uint64_t size)
{
	if (to_undo(l)->started || !l->lower->ops->truncate)
		return -EINVAL;
	return l->lower->ops->truncate(l->lower, size);
}

/* What is still held back is lost, as with any device that is closed without a sync. */
static void undo_close(struct dmfmt_layer *l)
{
	struct undo_layer *u = to_undo(l);

	dmfmt_layer_close(l->lower);
	if (u->own)
		dmfmt_dev_close(u->file);
	dmfmt_pages_clear(&u->pages);
	free(u->new);
	free(u->record);
	free(u->path);
	free(u->command);
	free(u);
}

static bool undo_passes(const struct dmfmt_layer *l)
{
	return !((const struct undo_layer *)l)->pages.nr;
}

static const struct dmfmt_layer_ops undo_ops = {
	.name = "undo",
	.read = undo_read,
	.write = undo_write,
	.flush = undo_flush,
	.truncate = undo_truncate,
	.close = undo_close,
	.passes = undo_passes,
};

static int set_undo(struct dmfmt_dev *dev, struct dmfmt_dev *file, const char *path,
		    const char *command)
{
	struct undo_layer *u = calloc(1, sizeof(*u));

	if (u) {
		u->path = strdup(path);
		u->command = strdup(command ? command : "");
	}
	if (!u || !u->path || !u->command) {
		if (u)
			free(u->path);
		free(u);
		return dmfmt_fail(dev->ctx, -ENOMEM, "undo file %s: no memory", path);
	}
	u->l.ops = &undo_ops;
	u->dev = dev;
	u->file = file;
	u->own = !file;
	dmfmt_dev_push(dev, &u->l);
	return 0;
}

int dmfmt_dev_set_undo_path(struct dmfmt_dev *dev, const char *path, const char *command)
{
	return set_undo(dev, NULL, path, command);
}

int dmfmt_dev_set_undo_dev(struct dmfmt_dev *dev, struct dmfmt_dev *undo, const char *command)
{
	return set_undo(dev, undo, undo->path, command);
}

const char *dmfmt_dev_undo_path(const struct dmfmt_dev *dev)
{
	struct dmfmt_layer *l = dmfmt_dev_layer(dev, "undo");

	return l && to_undo(l)->started ? to_undo(l)->path : NULL;
}

int dmfmt_undo_finish(struct dmfmt_dev *dev)
{
	struct dmfmt_layer *l = dmfmt_dev_layer(dev, "undo");
	struct undo_layer *u;
	int err;

	if (!l)
		return 0;
	u = to_undo(l);
	if (!u->started || u->done || !u->nr)
		return 0;
	begin_record(u, UNDO_DONE, 0, 0, UNDO_LAST);
	err = end_record(u, 0);
	if (!err)
		err = dmfmt_dev_flush(u->file);
	if (err) {
		dev->failed = err;	/* no later write could be saved */
		return err;
	}
	u->batch++;
	u->done = true;
	return 0;
}
