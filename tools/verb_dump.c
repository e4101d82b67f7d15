// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * All metadata, in a form that restore reads back: head, raw bytes, records, stale entries, tail.
 * The library hands them out in this order, and each part is opened when its first element comes.
 */
#include <errno.h>
#include <stdio.h>

#include "progress.h"
#include "store.h"

enum part { PART_HEAD, PART_RAW, PART_RECORDS, PART_STALE, PART_TAIL };

#define RAW_MAX 4096

struct dump {
	struct tool *t;
	const char *names[ROW_COLUMNS];
	size_t nr_columns;
	enum part part;
	uint64_t nr_rows;
};

static void close_part(struct dump *d)
{
	if (d->part == PART_RAW || d->part == PART_STALE)
		out_list_end(d->t->out);
	else if (d->part == PART_RECORDS)
		out_rows_end(d->t->out);
}

static void open_part(struct dump *d)
{
	struct out *o = d->t->out;

	if (d->part == PART_RAW)
		out_list(o, "raw", "bytes that nothing describes", LIST_TABLE);
	else if (d->part == PART_RECORDS)
		out_rows_begin(o, d->t->cmd->family->records, d->names, d->nr_columns);
	else if (d->part == PART_STALE)
		out_list(o, "stale", "entries behind the end of the chain", LIST_TABLE);
	else if (d->part == PART_TAIL && d->t->o.format != OUT_TEXT)
		out_bool(o, NULL, "end", true);
}

/* every part appears, so that a document's keys do not depend on what is in it */
static int advance(struct dump *d, enum part part)
{
	if (part < d->part)
		return -EPROTO;
	while (d->part < part) {
		close_part(d);
		d->part++;
		open_part(d);
	}
	return 0;
}

static int dump_head(void *arg, const struct dmfmt_field *f)
{
	struct dump *d = arg;
	struct dmfmt_field flat = *f;

	flat.group = NULL;
	return out_field(d->t->out, &flat);
}

static int dump_raw(void *arg, uint64_t offset, const void *bytes, size_t len)
{
	const unsigned char *p = bytes;
	struct dump *d = arg;
	char hex[2 * RAW_MAX + 1];
	struct dmfmt_field f[] = { OUT_NUM("raw_offset", offset), OUT_STR("hex", hex) };
	int err = len > RAW_MAX ? -EPROTO : advance(d, PART_RAW);

	if (err)
		return err;
	for (size_t i = 0; i < len; i++)
		snprintf(hex + 2 * i, 3, "%02x", p[i]);
	hex[2 * len] = '\0';
	return out_item(d->t->out, f, 2);
}

static int dump_records(void *arg, uint64_t first, const uint64_t *values, size_t nr)
{
	struct dump *d = arg;
	int err = advance(d, PART_RECORDS);

	return err ? err : out_rows(d->t->out, first, values, nr);
}

static int dump_stale(void *arg, uint64_t area, uint64_t slot, const uint64_t *values)
{
	struct dump *d = arg;
	struct dmfmt_field f[ROW_COLUMNS + 2] = {
		OUT_NUM("stale_area", area), OUT_NUM("stale_slot", slot),
	};
	int err = advance(d, PART_STALE);

	for (size_t i = 0; i < d->nr_columns; i++)
		f[i + 2] = (struct dmfmt_field)OUT_NUM(d->names[i], values[i]);
	return err ? err : out_item(d->t->out, f, d->nr_columns + 2);
}

static int dump_tail(void *arg, const struct dmfmt_field *f)
{
	struct dump *d = arg;
	int err = advance(d, PART_TAIL);

	return err ? err : dump_head(d, f);
}

static int walk(struct dump *d, struct dmfmt *f)
{
	const struct dmfmt_visitor v = {
		.size = sizeof(v), .arg = d, .head = dump_head, .raw = dump_raw,
		.records = dump_records, .stale = dump_stale, .tail = dump_tail,
	};

	return dmfmt_walk(f, &v);
}

/* ---- runs ---- */

static int range(void *arg, const struct dmfmt_run *run)
{
	struct dump *d = arg;
	const uint64_t values[] = { run->from, run->to, run->length };

	return progress_stopped() ? -ECANCELED : out_rows(d->t->out, run->record, values, 1);
}

static int print_ranges(struct dump *d, struct dmfmt *f)
{
	const char *names[] = { d->names[0], d->names[1], "length" };
	int err = out_rows_begin(d->t->out, "ranges", names, 3);

	if (!err)
		err = dmfmt_runs(f, range, d);
	out_rows_end(d->t->out);
	return err;
}

/* ---- what the kernel would serve ---- */

static int resolved(void *arg, const struct dmfmt_extent *e)
{
	const uint64_t values[] = { e->to / 512, e->from / 512, e->length / 512 };
	struct dump *d = arg;

	return progress_stopped() ? -ECANCELED : out_rows(d->t->out, d->nr_rows++, values, 1);
}

static int print_resolved(struct dump *d, struct dmfmt *f)
{
	const char *names[] = { "original_sector", "cache_sector", "nr_sectors" };
	int err = out_rows_begin(d->t->out, "resolved", names, 3);

	if (!err)
		err = dmfmt_extents(f, resolved, d);
	out_rows_end(d->t->out);
	return err;
}

static int get_columns(struct dump *d, const struct dmfmt *f)
{
	const struct dmfmt_column *columns;

	d->nr_columns = dmfmt_columns(f, &columns);
	if (d->nr_columns < 2 || d->nr_columns > ROW_COLUMNS)
		return -EPROTO;
	for (size_t i = 0; i < d->nr_columns; i++)
		d->names[i] = columns[i].name;
	return 0;
}

int verb_dump(struct tool *t)
{
	struct dump d = { .t = t };
	struct store s;
	int err, status;

	status = store_open_read(t, &s, 0);
	if (!status)
		status = tool_begin(t, t->arg[0], t->cmd->family->name);
	if (!status) {
		err = get_columns(&d, s.f);
		if (!err && t->o.format == OUT_RANGES)
			err = print_ranges(&d, s.f);
		else if (!err && t->o.format == OUT_RESOLVED)
			err = print_resolved(&d, s.f);
		else if (!err)
			err = walk(&d, s.f);
		status = err ? tool_fail(t, err) : tool_end(t, 0);
	}
	store_close(&s);
	return status;
}
