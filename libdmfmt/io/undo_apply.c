// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Reading an undo file, and writing the old bytes back.
 *
 * A block of the device has a history: the bytes from before the first record, then what each
 * record wrote.  After a power cut it may hold any of these, and after an undo that was cut as
 * well.  If every block holds one of them, the oldest bytes are written back; else nothing is.
 * Blocks that could not be read before the first record are neither looked at nor written.
 *
 * Memory holds an index of the records.  The device is gone through in windows of 1 MiB, and tables
 * and old bytes are read from the file for the window at hand.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "../format/crc32c.h"
#include "dev.h"
#include "undo_format.h"

#define WINDOW (1u << 20)
#define WINDOW_BLOCKS (WINDOW / UNDO_BLOCK)
#define DATA_PIECE (1u << 20)

struct record {
	uint64_t pos;		/* in the file */
	uint64_t off;		/* on the device */
	uint64_t nr, batch;
	uint32_t length;
	uint32_t old_crc, new_crc;
	bool last, done;
	bool unreadable;	/* the old bytes are not known */
};

struct records {
	struct record *all;
	size_t nr, room;
};

struct dmfmt_undo {
	struct dmfmt_ctx *ctx;
	struct dmfmt_dev *file;
	bool own;			/* the file is ours to close */
	char *device, *command, *version;
	uint64_t id, device_bytes, time, header_bytes, bytes;
	bool complete;
	struct records good;		/* oldest first */
	struct records torn;		/* of the batch that was cut, where their heads are sound */
	uint8_t *head;			/* of one record */
	uint8_t *data;
};

static int add_record(struct dmfmt_undo *u, struct records *list, const struct record *r)
{
	struct record *new;

	if (list->nr == list->room) {
		list->room = list->room ? 2 * list->room : 64;
		new = realloc(list->all, list->room * sizeof(*new));
		if (!new)
			return dmfmt_fail(u->ctx, -ENOMEM, "%s: no memory for %zu records",
					  u->file->path, list->room);
		list->all = new;
	}
	list->all[list->nr++] = *r;
	return 0;
}

static int damaged(struct dmfmt_undo *u, uint64_t pos, const char *what)
{
	return dmfmt_fail(u->ctx, -EILSEQ, "%s: offset %llu: %s", u->file->path,
			  (unsigned long long)pos, what);
}

/* ---- the header ----------------------------------------------------------------------------- */

/* A CRC over @len bytes where the four at @field count as zeros. */
static uint32_t crc_without(const uint8_t *p, size_t len, size_t field)
{
	static const uint8_t zeros[4];
	uint32_t crc = dmfmt_crc32c(0, p, field);

	crc = dmfmt_crc32c(crc, zeros, sizeof(zeros));
	return dmfmt_crc32c(crc, p + field + 4, len - field - 4);
}

static int take_strings(struct dmfmt_undo *u, const uint8_t *h)
{
	char **strings[] = { &u->device, &u->command, &u->version };
	uint64_t at = UNDO_H_STRINGS;
	size_t i;

	for (i = 0; i < 3; i++) {
		uint32_t len = undo_get32(h + UNDO_H_LENGTHS + 4 * i);

		if (len > u->header_bytes - at)
			return damaged(u, UNDO_H_LENGTHS + 4 * i,
				       "a string is longer than the header");
		*strings[i] = strndup((const char *)h + at, len);
		if (!*strings[i])
			return dmfmt_fail(u->ctx, -ENOMEM, "%s: no memory", u->file->path);
		at += len;
	}
	return 0;
}

static int read_header(struct dmfmt_undo *u)
{
	uint8_t *h = u->data;
	uint32_t version;
	int err;

	if (u->file->size < UNDO_BLOCK)
		return damaged(u, 0, "too short for an undo file");
	err = dmfmt_dev_read(u->file, 0, h, UNDO_BLOCK);
	if (err)
		return err;
	if (memcmp(h, UNDO_MAGIC, 8))
		return damaged(u, 0, "no header of an undo file");
	version = undo_get32(h + UNDO_H_VERSION);
	u->header_bytes = undo_get32(h + UNDO_H_BYTES);
	if (u->header_bytes < UNDO_BLOCK || u->header_bytes > UNDO_HEADER_MAX ||
	    u->header_bytes % UNDO_BLOCK || u->header_bytes > u->file->size)
		return damaged(u, UNDO_H_BYTES, "impossible size of the header");
	err = dmfmt_dev_read(u->file, 0, h, u->header_bytes);
	if (err)
		return err;
	if (crc_without(h, u->header_bytes, UNDO_H_CRC) != undo_get32(h + UNDO_H_CRC))
		return damaged(u, 0, "the header does not match its checksum");
	if (version != UNDO_VERSION)
		return dmfmt_fail(u->ctx, -EOPNOTSUPP, "%s: undo file version %u, expected %u",
				  u->file->path, version, UNDO_VERSION);
	u->id = undo_get64(h + UNDO_H_ID);
	u->device_bytes = undo_get64(h + UNDO_H_DEVICE_BYTES);
	u->time = undo_get64(h + UNDO_H_TIME);
	return take_strings(u, h);
}

/* ---- the records ---------------------------------------------------------------------------- */

/* Are the numbers of a head whose CRC is right possible as well? */
static bool is_possible(const struct dmfmt_undo *u, const struct record *r)
{
	if (r->done)
		return !r->length && r->last;
	return r->length && r->off % UNDO_BLOCK == 0 && r->off <= u->device_bytes &&
	       r->length <= u->device_bytes - r->off;
}

/* 1: a sound head of this file lies at @pos; 0: none; negative errno */
static int read_head(struct dmfmt_undo *u, uint64_t pos, struct record *r)
{
	uint8_t *h = u->head;
	uint32_t bytes;
	uint64_t length;
	int err;

	if (u->file->size - pos < UNDO_BLOCK)
		return 0;
	err = dmfmt_dev_read(u->file, pos, h, UNDO_BLOCK);
	if (err)
		return err;
	bytes = undo_get32(h + UNDO_R_BYTES);
	length = undo_get64(h + UNDO_R_LENGTH);
	if ((memcmp(h, UNDO_WRIT, 4) && memcmp(h, UNDO_DONE, 4)) ||
	    undo_get64(h + UNDO_R_ID) != u->id || length > UNDO_LENGTH_MAX ||
	    length % UNDO_BLOCK || bytes != undo_head_bytes(length) ||
	    u->file->size - pos < bytes)
		return 0;
	if (bytes > UNDO_BLOCK) {
		err = dmfmt_dev_read(u->file, pos + UNDO_BLOCK, h + UNDO_BLOCK, bytes - UNDO_BLOCK);
		if (err)
			return err;
	}
	if (crc_without(h, bytes, UNDO_R_CRC) != undo_get32(h + UNDO_R_CRC))
		return 0;
	r->pos = pos;
	r->nr = undo_get64(h + UNDO_R_NR);
	r->batch = undo_get64(h + UNDO_R_BATCH);
	r->off = undo_get64(h + UNDO_R_OFFSET);
	r->length = length;
	r->old_crc = undo_get32(h + UNDO_R_OLD_CRC);
	r->new_crc = undo_get32(h + UNDO_R_NEW_CRC);
	r->last = undo_get32(h + UNDO_R_FLAGS) & UNDO_LAST;
	r->unreadable = undo_get32(h + UNDO_R_FLAGS) & UNDO_UNREADABLE;
	r->done = !memcmp(h, UNDO_DONE, 4);
	return is_possible(u, r);
}

static uint64_t data_pos(const struct record *r)
{
	return r->pos + undo_head_bytes(r->length);
}

/* 1: the old bytes are all there; 0: they are not; negative errno */
static int check_data(struct dmfmt_undo *u, const struct record *r)
{
	int err;

	if (u->file->size - data_pos(r) < r->length)
		return 0;
	err = dmfmt_dev_read(u->file, data_pos(r), u->data, r->length);
	if (err)
		return err;
	return dmfmt_crc32c(0, u->data, r->length) == r->old_crc;
}

/* The batch that the record behind @prev belongs to. */
static uint64_t next_batch(const struct record *prev)
{
	return prev->last ? prev->batch + 1 : prev->batch;
}

/* The last batch was cut: its records are no history of the device, which has nothing of them. */
static int set_aside(struct dmfmt_undo *u, uint64_t batch)
{
	struct record *r;
	int err = 0;

	u->complete = false;
	while (!err && u->good.nr) {
		r = &u->good.all[u->good.nr - 1];
		if (r->batch != batch)
			break;
		err = add_record(u, &u->torn, r);
		u->bytes -= r->length;
		u->good.nr--;
	}
	return err;
}

/*
 * Something at @pos is no sound record number @nr.  If its batch was the last one, the power was
 * cut before that was durable, and the device has nothing of it.  A head of a later batch proves
 * otherwise.
 */
static int look_behind(struct dmfmt_undo *u, uint64_t pos, uint64_t nr, uint64_t batch)
{
	uint64_t first = pos;
	struct record r;
	int ret;

	for (; pos < u->file->size; pos += UNDO_BLOCK) {
		ret = read_head(u, pos, &r);
		if (!ret)
			ret = dmfmt_progress_step(u->ctx, "reading the undo file", 1, 1, pos,
						  u->file->size);
		if (ret < 0)
			return ret;
		if (!ret || r.nr < nr)
			continue;
		if (r.batch > batch || r.done)
			return damaged(u, first, "a record is damaged");
		ret = add_record(u, &u->torn, &r);
		if (ret)
			return ret;
	}
	dmfmt_log(u->ctx, DMFMT_LOG_INFO,
		  "%s: offset %llu: the last records were cut, the device has nothing of them",
		  u->file->path, (unsigned long long)first);
	return set_aside(u, batch);
}

static int read_records(struct dmfmt_undo *u)
{
	struct record r, prev = { .nr = UINT64_MAX, .batch = UINT64_MAX, .last = true };
	uint64_t pos = u->header_bytes;
	int ret;

	while (pos < u->file->size) {
		ret = dmfmt_progress_step(u->ctx, "reading the undo file", 1, 1, pos,
					  u->file->size);
		if (ret)
			return ret;
		ret = read_head(u, pos, &r);
		if (ret > 0 && (r.nr != prev.nr + 1 || r.batch != next_batch(&prev)))
			ret = 0;
		if (ret > 0)
			ret = check_data(u, &r);
		if (ret < 0)
			return ret;
		if (!ret)
			return look_behind(u, pos, prev.nr + 1, next_batch(&prev));
		u->complete = r.done;
		if (!r.done) {
			ret = add_record(u, &u->good, &r);
			if (ret)
				return ret;
		}
		u->bytes += r.length;
		pos = data_pos(&r) + r.length;
		prev = r;
	}
	return prev.last ? 0 : set_aside(u, prev.batch); /* cut between two records of a batch */
}

/* ---- opening -------------------------------------------------------------------------------- */

static int load(struct dmfmt_undo *u)
{
	int err;

	u->head = malloc(UNDO_HEAD_MAX);
	u->data = malloc(DATA_PIECE);
	if (!u->head || !u->data)
		return dmfmt_fail(u->ctx, -ENOMEM, "%s: no memory", u->file->path);
	err = read_header(u);
	return err ? err : read_records(u);
}

static int open_undo(struct dmfmt_ctx *ctx, struct dmfmt_dev *file, bool own,
		     struct dmfmt_undo **out)
{
	struct dmfmt_undo *u = calloc(1, sizeof(*u));
	int err;

	*out = NULL;
	if (!u) {
		err = dmfmt_fail(ctx, -ENOMEM, "%s: no memory", file->path);
		if (own)
			dmfmt_dev_close(file);
		return err;
	}
	u->ctx = ctx;
	u->file = file;
	u->own = own;
	err = load(u);
	if (err)
		dmfmt_undo_close(u);
	else
		*out = u;
	return err;
}

int dmfmt_undo_open_dev(struct dmfmt_ctx *ctx, struct dmfmt_dev *file, struct dmfmt_undo **out)
{
	return open_undo(ctx, file, false, out);
}

int dmfmt_undo_open(struct dmfmt_ctx *ctx, const char *path, struct dmfmt_undo **out)
{
	struct dmfmt_dev *file;
	int err;

	*out = NULL;
	err = dmfmt_dev_open(ctx, path, 0, &file);
	return err ? err : open_undo(ctx, file, true, out);
}

void dmfmt_undo_close(struct dmfmt_undo *u)
{
	if (!u)
		return;
	if (u->own)
		dmfmt_dev_close(u->file);
	free(u->good.all);
	free(u->torn.all);
	free(u->head);
	free(u->data);
	free(u->device);
	free(u->command);
	free(u->version);
	free(u);
}

void dmfmt_undo_get_info(const struct dmfmt_undo *u, struct dmfmt_undo_info *info)
{
	size_t size = info->size && info->size < sizeof(*info) ? info->size : sizeof(*info);
	struct dmfmt_undo_info full = {
		.size = size,
		.device = u->device,
		.command = u->command,
		.dmfmt_version = u->version,
		.device_bytes = u->device_bytes,
		.time = u->time,
		.nr_writes = u->good.nr,
		.bytes = u->bytes,
		.complete = u->complete,
	};

	memcpy(info, &full, size);
}

int dmfmt_undo_list(struct dmfmt_undo *u, int (*fn)(void *arg, const struct dmfmt_write *w),
		    void *arg)
{
	size_t i;
	int ret = 0;

	for (i = 0; !ret && i < u->good.nr; i++) {
		const struct record *r = &u->good.all[i];
		struct dmfmt_write w = {
			.size = sizeof(w),
			.offset = r->off,
			.length = r->length,
			.old_crc = r->old_crc,
			.new_crc = r->new_crc,
		};

		ret = fn(arg, &w);
	}
	return ret;
}

/* ---- windows -------------------------------------------------------------------------------- */

/* Records by offset, and those that reach into the window at hand, oldest first. */
struct sweep {
	struct dmfmt_undo *u;
	struct dmfmt_dev *dev;
	struct record **sorted;		/* by offset: good ones, then torn ones at equal offset */
	size_t nr, first;
	struct record **here;
	size_t nr_here;
	uint64_t start;			/* of the window */
	bool covered[WINDOW_BLOCKS];	/* by a good record */
	bool known[WINDOW_BLOCKS];	/* holds a known state; then: old bytes are in buf, or left */
	bool left[WINDOW_BLOCKS];	/* what it held before could not be read: it stays as it is */
	uint32_t crc[WINDOW_BLOCKS];	/* of what the device holds */
	uint8_t *buf;			/* WINDOW bytes */
};

static int by_offset(const void *a, const void *b)
{
	const struct record *x = *(struct record *const *)a, *y = *(struct record *const *)b;

	if (x->off != y->off)
		return x->off < y->off ? -1 : 1;
	return (x->nr > y->nr) - (x->nr < y->nr);
}

static int by_age(const void *a, const void *b)
{
	const struct record *x = *(struct record *const *)a, *y = *(struct record *const *)b;

	return (x->nr > y->nr) - (x->nr < y->nr);
}

static int begin_sweep(struct sweep *s, struct dmfmt_undo *u, struct dmfmt_dev *dev)
{
	size_t i;

	s->u = u;
	s->dev = dev;
	s->nr = u->good.nr + u->torn.nr;
	s->sorted = malloc((s->nr + 1) * sizeof(struct record *));
	s->here = malloc((s->nr + 1) * sizeof(struct record *));
	s->buf = malloc(WINDOW);
	if (!s->sorted || !s->here || !s->buf)
		return dmfmt_fail(u->ctx, -ENOMEM, "%s: no memory for %zu records", u->file->path,
				  s->nr);
	for (i = 0; i < u->good.nr; i++)
		s->sorted[i] = &u->good.all[i];
	for (i = 0; i < u->torn.nr; i++)
		s->sorted[u->good.nr + i] = &u->torn.all[i];
	qsort(s->sorted, s->nr, sizeof(struct record *), by_offset);
	return 0;
}

static void end_sweep(struct sweep *s)
{
	free(s->sorted);
	free(s->here);
	free(s->buf);
	free(s);
}

static bool is_torn(const struct sweep *s, const struct record *r)
{
	return s->u->torn.nr && r >= s->u->torn.all && r < s->u->torn.all + s->u->torn.nr;
}

/* The blocks of the window that @r covers: [*b, *e) */
static void blocks_of(const struct sweep *s, const struct record *r, size_t *b, size_t *e)
{
	uint64_t end = r->off + r->length;

	*b = r->off <= s->start ? 0 : (r->off - s->start) / UNDO_BLOCK;
	*e = end >= s->start + WINDOW ? WINDOW_BLOCKS : (end - s->start) / UNDO_BLOCK;
}

/* Number of the block in @r that is block @b of the window. */
static uint64_t block_in(const struct sweep *s, const struct record *r, size_t b)
{
	return (s->start + b * UNDO_BLOCK - r->off) / UNDO_BLOCK;
}

/* Blocks of which the oldest record says that they could not be read. */
static void find_left(struct sweep *s)
{
	bool seen[WINDOW_BLOCKS] = { false };
	size_t i, k, b, e;

	for (i = 0; i < s->nr_here; i++) {
		if (is_torn(s, s->here[i]))
			continue;
		blocks_of(s, s->here[i], &b, &e);
		for (k = b; k < e; k++) {
			s->left[k] = s->left[k] || (!seen[k] && s->here[i]->unreadable);
			seen[k] = true;
		}
	}
}

/* Find the next window behind @from that a record reaches into. */
static bool next_window(struct sweep *s, uint64_t from)
{
	size_t i, b, e;

	/* records are at most as long as a window */
	while (s->first < s->nr && s->sorted[s->first]->off + s->sorted[s->first]->length <= from)
		s->first++;
	if (s->first == s->nr)
		return false;
	s->start = s->sorted[s->first]->off & ~(uint64_t)(WINDOW - 1);
	if (s->start < from)
		s->start = from;
	memset(s->covered, 0, sizeof(s->covered));
	memset(s->known, 0, sizeof(s->known));
	memset(s->left, 0, sizeof(s->left));
	s->nr_here = 0;
	for (i = s->first; i < s->nr && s->sorted[i]->off < s->start + WINDOW; i++) {
		struct record *r = s->sorted[i];

		if (r->off + r->length <= s->start)
			continue;
		s->here[s->nr_here++] = r;
		blocks_of(s, r, &b, &e);
		if (!is_torn(s, r))
			memset(s->covered + b, true, e - b);
	}
	qsort(s->here, s->nr_here, sizeof(struct record *), by_age);
	find_left(s);
	return true;
}

/* ---- does every block hold a state of its history? ------------------------------------------- */

/* CRCs of every block in the window that a record covers. */
static int read_window(struct sweep *s)
{
	size_t i, b, e;
	bool touched[WINDOW_BLOCKS] = { false };
	int err = 0;

	for (i = 0; i < s->nr_here; i++) {
		blocks_of(s, s->here[i], &b, &e);
		for (; b < e; b++)
			touched[b] = !s->left[b];
	}
	for (b = 0; b < WINDOW_BLOCKS && !err; b = e) {
		for (e = b + 1; e < WINDOW_BLOCKS && touched[e] == touched[b]; e++)
			;
		if (!touched[b])
			continue;
		err = dmfmt_dev_read(s->dev, s->start + b * UNDO_BLOCK, s->buf + b * UNDO_BLOCK,
				     (e - b) * UNDO_BLOCK);
		for (i = b; i < e; i++)
			s->crc[i] = dmfmt_crc32c(0, s->buf + i * UNDO_BLOCK, UNDO_BLOCK);
	}
	return err;
}

/* A block that only a torn record covers must not hold what that would have written. */
static int compare_record(struct sweep *s, const struct record *r)
{
	uint8_t *table = s->u->head;
	size_t b, e, i;
	int err;

	blocks_of(s, r, &b, &e);
	err = dmfmt_dev_read(s->u->file, r->pos + UNDO_R_TABLE + 8 * block_in(s, r, b), table,
			     8 * (e - b));
	for (i = b; i < e && !err; i++, table += 8) {
		uint32_t old = undo_get32(table), new = undo_get32(table + 4);

		if (!is_torn(s, r))
			s->known[i] |= s->crc[i] == old || s->crc[i] == new;
		else if (!s->covered[i] && s->crc[i] == new && old != new)
			err = dmfmt_fail(s->u->ctx, -EILSEQ,
					 "%s: offset %llu: a record is damaged, but not void: %s holds what it wrote at offset %llu",
					 s->u->file->path, (unsigned long long)r->pos, s->dev->path,
					 (unsigned long long)(s->start + i * UNDO_BLOCK));
	}
	return err;
}

static int compare_window(struct sweep *s)
{
	size_t i;
	int err;

	err = read_window(s);
	for (i = 0; !err && i < s->nr_here; i++)
		err = compare_record(s, s->here[i]);
	for (i = 0; !err && i < WINDOW_BLOCKS; i++)
		if (s->covered[i] && !s->known[i] && !s->left[i])
			err = dmfmt_fail(s->u->ctx, -ESTALE,
					 "%s: offset %llu: holds neither old nor recorded new bytes, expected one of them",
					 s->dev->path,
					 (unsigned long long)(s->start + i * UNDO_BLOCK));
	return err;
}

/* ---- writing back --------------------------------------------------------------------------- */

/* The old bytes of @r where no older record has them. */
static int fetch_record(struct sweep *s, const struct record *r)
{
	size_t b, e, end;
	int err = 0;

	blocks_of(s, r, &b, &end);
	for (; b < end && !err; b = e) {
		for (e = b + 1; e < end && s->known[e] == s->known[b]; e++)
			;
		if (s->known[b])
			continue;
		err = dmfmt_dev_read(s->u->file, data_pos(r) + block_in(s, r, b) * UNDO_BLOCK,
				     s->buf + b * UNDO_BLOCK, (e - b) * UNDO_BLOCK);
		memset(s->known + b, true, e - b);
	}
	return err;
}

static int restore_window(struct sweep *s)
{
	size_t i, b, e;
	int err = 0;

	for (i = 0; i < s->nr_here && !err; i++)
		if (!is_torn(s, s->here[i]))
			err = fetch_record(s, s->here[i]);
	for (b = 0; b < WINDOW_BLOCKS && !err; b = e) {
		for (e = b + 1; e < WINDOW_BLOCKS && s->known[e] == s->known[b] &&
				s->left[e] == s->left[b]; e++)
			;
		if (s->known[b] && !s->left[b])
			err = dmfmt_dev_write(s->dev, s->start + b * UNDO_BLOCK,
					      s->buf + b * UNDO_BLOCK, (e - b) * UNDO_BLOCK);
	}
	return err;
}

static int each_window(struct sweep *s, const char *what, unsigned pass, int (*fn)(struct sweep *s))
{
	uint64_t from = 0;
	int err = 0;

	for (s->first = 0; !err && next_window(s, from); from = s->start + WINDOW) {
		err = dmfmt_progress_step(s->u->ctx, what, pass, 2, s->first, s->nr);
		if (!err)
			err = fn(s);
	}
	return err;
}

int dmfmt_undo_apply(struct dmfmt_undo *u, struct dmfmt_dev *dev)
{
	struct sweep *s;
	int err;

	if (dev->size != u->device_bytes)
		return dmfmt_fail(u->ctx, -ESTALE, "%s: size %llu, expected %llu as recorded in %s",
				  dev->path, (unsigned long long)dev->size,
				  (unsigned long long)u->device_bytes, u->file->path);
	s = calloc(1, sizeof(*s));
	if (!s)
		return dmfmt_fail(u->ctx, -ENOMEM, "%s: no memory", u->file->path);
	err = begin_sweep(s, u, dev);
	if (!err)
		err = each_window(s, "comparing", 1, compare_window);
	if (!err)
		err = each_window(s, "writing the old bytes back", 2, restore_window);
	if (!err)
		err = dmfmt_dev_sync(dev);
	end_sweep(s);
	return err;
}
