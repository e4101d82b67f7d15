// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The public functions that are the same for every family: check the arguments, then ask the
 * family's struct dmfmt_format.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "format.h"

/* A failure always leaves a line, also where a family only returned a number. */
static int finish(struct dmfmt_ctx *ctx, struct dmfmt_dev *dev, const char *what, int err)
{
	if (err < 0 && !ctx->error[0])
		dmfmt_fail(ctx, err, "%s%s%s: %s", dev && dev->path ? dev->path : "",
			   dev && dev->path ? ": " : "", what, strerror(-err));
	return err;
}

/* common to all functions that read behind the header; -EINVAL leaves a line if there is a handle */
static int begin(struct dmfmt *f, const char *what, const void *op)
{
	if (!f)
		return -EINVAL;
	f->ctx->error[0] = '\0';
	if (!op)
		return dmfmt_fail(f->ctx, -EINVAL, "%s: %s has no such function", what, f->format->name);
	if (f->flags & DMFMT_OPEN_HEADER_ONLY)
		return dmfmt_fail(f->ctx, -EINVAL, "%s: %s: the handle was opened for its header only",
				  what, f->dev->path);
	return 0;
}

/* ---- open ---------------------------------------------------------------------------------- */

static int open_args(struct dmfmt_ctx *ctx, const struct dmfmt_dev *dev, const char *name,
		     unsigned flags)
{
	if (!dev)
		return dmfmt_fail(ctx, -EINVAL, "open: no device was given");
	if (!dmfmt_format_by_name(name))
		return dmfmt_fail(ctx, -EINVAL, "open: format \"%s\" is not known", name ? name : "");
	if (flags & ~DMFMT_OPEN_HEADER_ONLY)
		return dmfmt_fail(ctx, -EINVAL, "open: flags 0x%x are not known", flags);
	if (dev->start && !dmfmt_format_by_name(name)->has_start)
		return dmfmt_fail(ctx, -EINVAL, "%s: a %s begins at sector 0, found start_sector %llu",
				  dev->path, dmfmt_format_by_name(name)->what,
				  (unsigned long long)(dev->start / 512));
	return 0;
}

int dmfmt_open(struct dmfmt_ctx *ctx, struct dmfmt_dev *dev, const char *format, unsigned flags,
	       struct dmfmt **out)
{
	struct dmfmt *f;
	int err;

	if (!ctx || !out)
		return -EINVAL;
	*out = NULL;
	ctx->error[0] = '\0';
	err = open_args(ctx, dev, format, flags);
	if (err)
		return err;
	f = calloc(1, sizeof(*f));
	if (!f)
		return dmfmt_fail(ctx, -ENOMEM, "%s: no memory", dev->path);
	f->format = dmfmt_format_by_name(format);
	f->ctx = ctx;
	f->dev = dev;
	f->origin_sectors = DMFMT_NONE;
	f->flags = flags;
	err = f->format->open(f);
	if (err) {
		free(f);
		return finish(ctx, dev, "open", err);
	}
	*out = f;
	return 0;
}

void dmfmt_close(struct dmfmt *f)
{
	if (!f)
		return;
	if (f->format->close)
		f->format->close(f);
	dmfmt_free_proof(f);
	free(f);
}

/* two handles on one file or block device, under whatever name */
static bool same_device(const struct dmfmt_dev *a, const struct dmfmt_dev *b)
{
	struct stat x, y;

	if (a == b)
		return true;
	if (a->fd < 0 || b->fd < 0 || fstat(a->fd, &x) || fstat(b->fd, &y))
		return false;
	if (S_ISBLK(x.st_mode) || S_ISBLK(y.st_mode))
		return S_ISBLK(x.st_mode) && S_ISBLK(y.st_mode) && x.st_rdev == y.st_rdev;
	return x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

int dmfmt_set_origin(struct dmfmt *f, struct dmfmt_dev *origin)
{
	if (!f)
		return -EINVAL;
	if (!origin)
		return dmfmt_fail(f->ctx, -EINVAL, "origin: no device was given");
	if (same_device(f->dev, origin))
		return dmfmt_fail(f->ctx, -EINVAL, "origin: %s is the device that is read already",
				  origin->path);
	f->origin = origin;
	f->origin_sectors = origin->size / 512;
	return 0;
}

int dmfmt_set_origin_size(struct dmfmt *f, uint64_t sectors)
{
	if (!f)
		return -EINVAL;
	if (sectors > UINT64_MAX / 512)
		return dmfmt_fail(f->ctx, -EINVAL, "origin size: %llu sectors, at most %llu",
				  (unsigned long long)sectors,
				  (unsigned long long)(UINT64_MAX / 512));
	f->origin_sectors = sectors;
	return 0;
}

/* ---- reading ------------------------------------------------------------------------------- */

int dmfmt_info(struct dmfmt *f, dmfmt_field_fn fn, void *arg)
{
	if (!f || !fn)
		return -EINVAL;
	f->ctx->error[0] = '\0';
	return finish(f->ctx, f->dev, "info", f->format->info(f, fn, arg));
}

size_t dmfmt_columns(const struct dmfmt *f, const struct dmfmt_column **columns)
{
	if (columns)
		*columns = f ? f->format->columns : NULL;
	return f ? f->format->nr_columns : 0;
}

int dmfmt_walk(struct dmfmt *f, const struct dmfmt_visitor *v)
{
	struct dmfmt_visitor mine = { 0 };
	int err;

	err = begin(f, "walk", f ? (const void *)f->format->walk : NULL);
	if (err)
		return err;
	if (!v || v->size < offsetof(struct dmfmt_visitor, head))
		return dmfmt_fail(f->ctx, -EINVAL, "walk: no visitor was given");
	/* a caller built against an older header has a shorter struct */
	memcpy(&mine, v, v->size < sizeof(mine) ? v->size : sizeof(mine));
	return finish(f->ctx, f->dev, "walk", f->format->walk(f, &mine));
}

struct runs {
	struct dmfmt_run run;
	size_t columns;
	int (*fn)(void *arg, const struct dmfmt_run *run);
	void *arg;
};

static bool continues(const struct dmfmt_run *run, const uint64_t *v)
{
	return run->length && v[0] - run->from == run->length && v[1] - run->to == run->length;
}

/* the first two columns of every family are where a record comes from and where it leads */
static int runs_records(void *arg, uint64_t first, const uint64_t *values, size_t nr)
{
	struct runs *r = arg;
	size_t i;
	int err;

	for (i = 0; i < nr; i++, values += r->columns) {
		if (continues(&r->run, values)) {
			r->run.length++;
			continue;
		}
		err = r->run.length ? r->fn(r->arg, &r->run) : 0;
		if (err)
			return err;
		r->run = (struct dmfmt_run){ first + i, values[0], values[1], 1 };
	}
	return 0;
}

int dmfmt_runs(struct dmfmt *f, int (*fn)(void *arg, const struct dmfmt_run *run), void *arg)
{
	struct runs r = { .fn = fn, .arg = arg };
	const struct dmfmt_visitor v = { .size = sizeof(v), .arg = &r, .records = runs_records };
	int err;

	if (!f || !fn)
		return -EINVAL;
	r.columns = f->format->nr_columns;
	if (r.columns < 2 || f->format->columns[1].unit == DMFMT_UNIT_NONE)
		return dmfmt_fail(f->ctx, -EOPNOTSUPP, "runs: %s has no records that lead anywhere",
				  f->format->name);
	err = dmfmt_walk(f, &v);
	if (!err && r.run.length)
		err = fn(arg, &r.run);
	return err;
}

int dmfmt_find(struct dmfmt *f, uint64_t sector, bool reverse, dmfmt_field_fn fn, void *arg)
{
	int err;

	err = begin(f, "find", f ? (const void *)f->format->find : NULL);
	if (err)
		return err;
	if (!fn)
		return dmfmt_fail(f->ctx, -EINVAL, "find: no room for an answer was given");
	return finish(f->ctx, f->dev, "find", f->format->find(f, sector, reverse, fn, arg));
}

int dmfmt_occupancy(struct dmfmt *f, const char *which, uint64_t *cells, size_t nr_cells,
		    uint64_t *units_total)
{
	uint64_t units;
	int err;

	err = begin(f, "occupancy", f ? (const void *)f->format->occupancy : NULL);
	if (err)
		return err;
	if (!which || !cells || !nr_cells)
		return dmfmt_fail(f->ctx, -EINVAL, "occupancy: no room for an answer was given");
	memset(cells, 0, nr_cells * sizeof(*cells));
	err = f->format->occupancy(f, which, cells, nr_cells, units_total ? units_total : &units);
	return finish(f->ctx, f->dev, "occupancy", err);
}

/* ---- check and repair ---------------------------------------------------------------------- */

static int check(struct dmfmt *f, unsigned flags, size_t max_each, struct dmfmt_report **out)
{
	struct dmfmt_report *r = dmfmt_report_new(f->ctx, max_each);
	int err;

	*out = NULL;
	if (!r)
		return dmfmt_fail(f->ctx, -ENOMEM, "%s: no memory for a report", f->dev->path);
	err = f->format->check(f, flags, r);
	if (err && err != -ECANCELED) {
		dmfmt_report_free(r);
		return finish(f->ctx, f->dev, "check", err);
	}
	*out = r;
	return finish(f->ctx, f->dev, "check", err);
}

int dmfmt_check(struct dmfmt *f, unsigned flags, size_t max_each, struct dmfmt_report **out)
{
	int err;

	if (!out)
		return -EINVAL;
	*out = NULL;
	err = begin(f, "check", f ? (const void *)f->format->check : NULL);
	if (err)
		return err;
	if (flags & ~DMFMT_CHECK_DATA)
		return dmfmt_fail(f->ctx, -EINVAL, "check: flags 0x%x are not known", flags);
	return check(f, flags, max_each, out);
}

static bool any_mended(const struct dmfmt_report *r)
{
	size_t i;

	for (i = 0; i < dmfmt_report_nr(r); i++)
		if (dmfmt_report_get(r, i)->mended)
			return true;
	return false;
}

static int copy_finding(struct dmfmt_report *to, enum dmfmt_code code, const struct dmfmt_finding *d)
{
	const struct dmfmt_at at = {
		.count = d->count, .record = d->record, .record2 = d->record2, .offset = d->offset,
		.origin_sector = d->origin_sector, .origin_nr = d->origin_nr, .loss = d->loss,
		.suggestion = d->suggestion,
	};
	int err;

	err = dmfmt_report_add(to, code, &at, d->place, d->found, d->expected);
	if (err)
		return err;
	dmfmt_report_last_severity(to, d->severity);
	if (d->mended)
		dmfmt_report_mended(to, code, d->record);
	return 0;
}

/* how many records of each kind are not mended */
static void count_left(const struct dmfmt_report *r, uint64_t left[DMFMT_F_NR])
{
	const struct dmfmt_finding *d;
	size_t i;

	memset(left, 0, DMFMT_F_NR * sizeof(*left));
	for (i = 0; i < dmfmt_report_nr(r); i++) {
		d = dmfmt_report_get(r, i);
		if (!d->mended)
			left[dmfmt_report_code(r, i)] += d->count;
	}
}

/*
 * What a later round found goes into the first report, unless it stands there already as left over;
 * then it is only marked as mended, if it was.  Record numbers move when records before them are
 * removed, so left-overs are matched by how many of a kind there are.
 */
static int merge_reports(struct dmfmt_report *to, const struct dmfmt_report *from)
{
	uint64_t left[DMFMT_F_NR], still[DMFMT_F_NR];
	const struct dmfmt_finding *d;
	enum dmfmt_code code;
	size_t i;
	int err;

	count_left(to, left);
	count_left(from, still);
	for (i = 0; i < dmfmt_report_nr(from); i++) {
		d = dmfmt_report_get(from, i);
		code = dmfmt_report_code(from, i);
		if (left[code] < d->count) {
			err = copy_finding(to, code, d);
			if (err)
				return err;
			continue;
		}
		left[code] -= d->count;
		if (d->mended && (!still[code] || d->record != DMFMT_NONE))
			dmfmt_report_mended(to, code, still[code] ? d->record : DMFMT_NONE);
	}
	return 0;
}

/* the header may have changed under the handle */
static int reopen(struct dmfmt *f)
{
	if (f->format->close)
		f->format->close(f);
	f->priv = NULL;
	return f->format->open(f);
}

static unsigned check_flags(const struct dmfmt_repair_opts *o)
{
	return o->flags & DMFMT_REPAIR_DATA ? DMFMT_CHECK_DATA : 0;
}

/* what is still to be mended once a first round made it visible (a rebuilt header shows the areas);
 * a loss that was accepted was accepted for the first round */
static int repair_again(struct dmfmt *f, const struct dmfmt_repair_opts *o,
			struct dmfmt_report *found, bool *again)
{
	struct dmfmt_repair_opts opts = *o;
	struct dmfmt_report *r;
	int err;

	opts.accept_loss = DMFMT_NONE;
	err = reopen(f);
	if (!err)
		err = check(f, check_flags(o), o->max_each, &r);
	if (err)
		return err;
	err = f->format->repair(f, &opts, r);
	if (err == -EUCLEAN)
		err = 0;	/* left for a person; it stands in the report */
	*again = any_mended(r);
	if (!err)
		err = merge_reports(found, r);
	dmfmt_report_free(r);
	return err;
}

#define MAX_ROUNDS 4

static int repair(struct dmfmt *f, const struct dmfmt_repair_opts *o, struct dmfmt_report *found)
{
	unsigned round;
	bool again;
	int err;

	err = f->format->repair(f, o, found);
	if (err)
		return err;
	again = any_mended(found);
	for (round = 1; again && round < MAX_ROUNDS; round++) {
		err = repair_again(f, o, found, &again);
		if (err)
			return err;
	}
	if (!any_mended(found))
		return 0;
	dmfmt_report_dirty(found, DMFMT_NONE);	/* was true before */
	return dmfmt_dev_flush(f->dev);
}

int dmfmt_repair(struct dmfmt *f, const struct dmfmt_repair_opts *opts, struct dmfmt_report **out)
{
	struct dmfmt_repair_opts mine = { .size = sizeof(mine), .accept_loss = DMFMT_NONE };
	int err;

	if (!out)
		return -EINVAL;
	*out = NULL;
	err = begin(f, "repair", f ? (const void *)f->format->repair : NULL);
	if (err)
		return err;
	if (!opts || opts->size < offsetof(struct dmfmt_repair_opts, chunk_sectors))
		return dmfmt_fail(f->ctx, -EINVAL, "repair: no options were given");
	memcpy(&mine, opts, opts->size < sizeof(mine) ? opts->size : sizeof(mine));
	err = check(f, check_flags(&mine), mine.max_each, out);
	if (err)
		return err;
	return finish(f->ctx, f->dev, "repair", repair(f, &mine, *out));
}

/* ---- restore ------------------------------------------------------------------------------- */

static int restore_args(struct dmfmt_ctx *ctx, const char *name, const struct dmfmt_field *head,
			size_t nr, unsigned flags)
{
	const struct dmfmt_format *format = dmfmt_format_by_name(name);

	if (!format || !format->restore_begin)
		return dmfmt_fail(ctx, -EINVAL, "restore: format \"%s\" is not known", name ? name : "");
	if (!head && nr)
		return dmfmt_fail(ctx, -EINVAL, "restore: no header fields were given");
	if (flags & ~DMFMT_RESTORE_METADATA_ONLY)
		return dmfmt_fail(ctx, -EINVAL, "restore: flags 0x%x are not known", flags);
	return 0;
}

int dmfmt_restore_begin(struct dmfmt_ctx *ctx, struct dmfmt_dev *dev, uint64_t dev_sectors,
			const char *format, const struct dmfmt_field *head, size_t nr, unsigned flags,
			struct dmfmt_builder **out)
{
	struct dmfmt_builder *b;
	int err;

	if (!ctx || !out)
		return -EINVAL;
	*out = NULL;
	ctx->error[0] = '\0';
	err = restore_args(ctx, format, head, nr, flags);
	if (err)
		return err;
	b = calloc(1, sizeof(*b));
	if (!b)
		return dmfmt_fail(ctx, -ENOMEM, "restore: no memory");
	b->format = dmfmt_format_by_name(format);
	b->ctx = ctx;
	b->dev = dev;
	b->dev_sectors = dev ? dev->size / 512 : dev_sectors;
	b->flags = flags;
	err = b->format->restore_begin(b, head, nr);
	if (err) {
		dmfmt_restore_free(b);
		return finish(ctx, dev, "restore", err);
	}
	*out = b;
	return 0;
}

int dmfmt_restore_number(struct dmfmt_builder *b, const struct dmfmt_field *fields, size_t nr,
			 const char *name, uint64_t max, uint64_t *value)
{
	size_t i;

	for (i = 0; i < nr; i++) {
		if (strcmp(fields[i].name, name))
			continue;
		if (fields[i].s || fields[i].u > max)
			return dmfmt_fail(b->ctx, -EINVAL,
					  "dump: %s is out of range, expected at most %" PRIu64, name,
					  max);
		*value = fields[i].u;
		return 0;
	}
	return dmfmt_fail(b->ctx, -EINVAL, "dump: %s is missing", name);
}

int dmfmt_restore_raw(struct dmfmt_builder *b, uint64_t offset, const void *bytes, size_t len)
{
	if (!b || (!bytes && len))
		return -EINVAL;
	return finish(b->ctx, b->dev, "restore", b->format->restore_raw(b, offset, bytes, len));
}

int dmfmt_restore_records(struct dmfmt_builder *b, const uint64_t *values, size_t nr)
{
	if (!b || (!values && nr))
		return -EINVAL;
	return finish(b->ctx, b->dev, "restore", b->format->restore_records(b, values, nr));
}

int dmfmt_restore_stale(struct dmfmt_builder *b, uint64_t area, uint64_t slot, const uint64_t *values)
{
	if (!b || !values)
		return -EINVAL;
	return finish(b->ctx, b->dev, "restore", b->format->restore_stale(b, area, slot, values));
}

int dmfmt_restore_commit(struct dmfmt_builder *b, const struct dmfmt_field *tail, size_t nr)
{
	if (!b || (!tail && nr))
		return -EINVAL;
	return finish(b->ctx, b->dev, "restore", b->format->restore_commit(b, tail, nr));
}

void dmfmt_restore_free(struct dmfmt_builder *b)
{
	if (!b)
		return;
	if (b->format->restore_free)
		b->format->restore_free(b);
	free(b);
}
