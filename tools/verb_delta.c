// SPDX-License-Identifier: GPL-2.0-or-later
/* What differs: a snapshot and its origin, or two snapshots of one origin. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bmap.h"
#include "fingerprint.h"
#include "progress.h"
#include "store.h"

enum { FORMAT_TEXT = 1, FORMAT_JSON, FORMAT_LINES, FORMAT_BMAP };

struct delta {
	struct tool *t;
	struct store s, other;
	uint64_t nr, sectors;
	bool listed;
};

/* --format and --json, --json-lines are two ways to say the same */
static int check_format(struct tool *t)
{
	static const int out[] = { OUT_TEXT, OUT_TEXT, OUT_JSON, OUT_LINES, OUT_TEXT };
	int format = t->o.delta_format;

	if (format && t->o.format != OUT_TEXT && t->o.format != out[format])
		return tool_usage(t, "--format and --json or --json-lines say different things");
	if (format)
		t->o.format = out[format];
	return 0;
}

static int check_options(struct tool *t)
{
	int status = check_format(t);

	if (status)
		return status;
	if (t->o.exact && !t->o.origin)
		return tool_usage(t, "--exact needs --origin=DEV, to compare the data with");
	if (t->o.origin_fingerprint && !t->o.origin)
		return tool_usage(t, "--origin-fingerprint needs --origin=DEV");
	if (t->o.delta_format == FORMAT_BMAP && !t->o.origin && t->o.origin_sectors == DMFMT_NONE)
		return tool_usage(t, "--format=bmap needs --origin or --origin-size: the map tells the "
				  "size of the device");
	if (t->arg[1] && store_same_device(t->arg[0], t->arg[1]))
		return tool_usage(t, "%s and %s are the same device, expected two stores", t->arg[0],
				  t->arg[1]);
	return 0;
}

/* the second store, of the same origin */
static int open_other(struct delta *d)
{
	struct tool *t = d->t;
	int err;

	if (!t->arg[1])
		return 0;
	if (t->o.origin && store_same_device(t->arg[1], t->o.origin))
		return tool_usage(t, "%s is the origin, expected the store of another snapshot",
				  t->arg[1]);
	err = dmfmt_dev_open(t->ctx, t->arg[1], t->o.live ? DMFMT_OPEN_LIVE : 0, &d->other.dev);
	if (!err)
		err = dmfmt_open(t->ctx, d->other.dev, t->cmd->family->name, 0, &d->other.f);
	if (!err && d->s.origin)
		err = dmfmt_set_origin(d->other.f, d->s.origin);
	else if (!err && t->o.origin_sectors != DMFMT_NONE)
		err = dmfmt_set_origin_size(d->other.f, t->o.origin_sectors);
	return err ? tool_fail(t, err) : 0;
}

static int run(struct delta *d, int (*fn)(void *arg, uint64_t sector, uint64_t nr), void *arg)
{
	const struct dmfmt_delta_opts o = {
		.size = sizeof(o), .other = d->other.f, .exact = d->t->o.exact,
	};

	return dmfmt_delta(d->s.f, &o, fn, arg);
}

/* ---- as a list ---- */

static int on_range(void *arg, uint64_t sector, uint64_t nr)
{
	struct delta *d = arg;
	const struct dmfmt_field f[] = {
		OUT_NUM("origin_sector", sector), OUT_UNIT("nr_sectors", nr, DMFMT_UNIT_SECTORS),
	};

	if (progress_stopped())
		return -ECANCELED;
	d->nr++;
	d->sectors += nr;
	return out_item(d->t->out, f, 2);
}

static int list(struct delta *d)
{
	struct tool *t = d->t;
	int err, status = tool_begin(t, t->arg[0], t->cmd->family->name);

	if (status)
		return status;
	if (t->arg[1])
		out_str(t->out, NULL, "other", t->arg[1]);
	out_bool(t->out, NULL, "exact", t->o.exact);
	out_list(t->out, "ranges", "ranges (sectors)", LIST_TABLE);
	err = run(d, on_range, d);
	if (err)
		return tool_fail(t, err);
	out_list_end(t->out);
	out_num(t->out, NULL, "nr_ranges", d->nr, DMFMT_UNIT_NONE);
	out_num(t->out, NULL, "total_sectors", d->sectors, DMFMT_UNIT_SECTORS);
	return tool_end(t, 0);
}

/* ---- as a block map ---- */

static int on_map_range(void *arg, uint64_t sector, uint64_t nr)
{
	return progress_stopped() ? -ECANCELED : bmap_add(arg, sector, nr);
}

static int map(struct delta *d)
{
	struct tool *t = d->t;
	uint64_t sectors = t->o.origin_sectors;
	struct dmfmt_dev_info info = { .size = sizeof(info) };
	struct bmap *m;
	int err;

	if (d->s.origin) {
		dmfmt_dev_get_info(d->s.origin, &info);
		sectors = info.size_bytes / 512;
	}
	m = bmap_new(sectors);
	err = m ? run(d, on_map_range, m) : -ENOMEM;
	if (!err)
		err = bmap_print(m, stdout);
	bmap_free(m);
	return err ? tool_fail(t, err) : 0;
}

int verb_delta(struct tool *t)
{
	struct delta d = { .t = t };
	int status = check_options(t);

	if (!status)
		status = store_open_read(t, &d.s, 0);
	if (!status)
		status = open_other(&d);
	if (!status)
		status = fingerprint_apply(t, d.s.f);
	if (!status)
		status = t->o.delta_format == FORMAT_BMAP ? map(&d) : list(&d);
	store_close(&d.other);
	store_close(&d.s);
	return status;
}
