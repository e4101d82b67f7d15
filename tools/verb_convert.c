// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A store becomes another one: of another chunk size, of another device size, without holes; or a
 * qcow2 overlay becomes a store.  What is read stays as it is.  A new file gets its name at the end.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fingerprint.h"
#include "newfile.h"
#include "qcow2_map.h"
#include "store.h"

#define DEFAULT_MEMORY (64u << 20)

/*
 * struct convert - one conversion
 * @store: what is read; of an overlay its devices alone
 * @map: of an overlay; @overlay: it is one
 * @to: the destination; @new_file: it is one, under a temporary name
 */
struct convert {
	struct tool *t;
	struct store store;
	struct qcow2_map map;
	bool overlay;
	struct dmfmt_convert_params params;
	struct dmfmt_dev *to;
	bool new_file;
	struct newfile nf;
};

static int check_options(struct convert *c)
{
	struct tool *t = c->t;
	struct stat st;

	c->overlay = t->o.from_format != 0;
	if (!t->o.output)
		return tool_usage(t, "--output is missing: where shall the new store be");
	if (store_same_device(t->arg[0], t->o.output))
		return tool_usage(t, "%s: is read and cannot be the new store as well", t->o.output);
	c->new_file = stat(t->o.output, &st) && errno == ENOENT;
	if (!c->new_file && t->o.size_sectors != DMFMT_NONE)
		return tool_usage(t, "--size: %s exists and has its size, expected a new file",
				  t->o.output);
	if (!c->overlay)
		return 0;
	if (t->o.chunk_sectors == DMFMT_NONE)
		return tool_usage(t, "--chunk-size is missing: an overlay has none to keep");
	if (t->o.origin_sectors != DMFMT_NONE || t->o.origin_fingerprint)
		return tool_usage(t, "%s is only taken for a store, not with --from=qcow2",
				  t->o.origin_fingerprint ? "--origin-fingerprint" : "--origin-size");
	return 0;
}

/* ---- what is read ---- */

static int open_overlay(struct convert *c)
{
	struct dmfmt_dev_info info = { .size = sizeof(info) };
	struct tool *t = c->t;
	int err, status;
	const char *origin = store_origin_path(t, &status);
	uint64_t memory = t->o.memory_bytes == DMFMT_NONE ? DEFAULT_MEMORY : t->o.memory_bytes;

	if (status)
		return status;
	if (!origin)
		return tool_usage(t, "ORIGIN is missing: the device that the overlay lies over");
	err = dmfmt_dev_open(t->ctx, t->arg[0], 0, &c->store.dev);
	if (!err)
		err = dmfmt_dev_open(t->ctx, origin, 0, &c->store.origin);
	if (err)
		return tool_fail(t, err);
	dmfmt_dev_get_info(c->store.origin, &info);
	return qcow2_map_read(t, t->arg[0], origin, info.size_bytes,
			      (size_t)(memory / 4 / sizeof(struct dmfmt_extent)), &c->map);
}

static int open_source(struct convert *c)
{
	struct tool *t = c->t;
	int status;

	if (c->overlay)
		return open_overlay(c);
	status = store_open_read(t, &c->store, 0);
	return status ? status : fingerprint_apply(t, c->store.f);
}

static int same_as_origin(struct convert *c)
{
	struct dmfmt_dev_info info = { .size = sizeof(info) };

	if (c->new_file || !c->store.origin)
		return 0;
	dmfmt_dev_get_info(c->store.origin, &info);
	return store_same_device(info.path, c->t->o.output) ?
	       tool_usage(c->t, "%s: is the origin and cannot be the new store as well",
			  c->t->o.output) : 0;
}

/* what the kernel would refuse, and what cannot be done without the origin, is the caller's mistake */
static int convert_failed(struct convert *c, int err)
{
	struct dmfmt_dev_info info = { .size = sizeof(info) };
	int status = tool_fail(c->t, err);

	if (c->to && !c->new_file) {
		dmfmt_dev_get_info(c->to, &info);
		if (info.written_bytes)
			tool_error(c->t, "%s: is not a valid store until the conversion has come "
				   "to its end; run the command again with --force",
				   c->t->o.output);
	}
	return err == -EINVAL ? STATUS_USAGE : status;
}

static int needed(struct convert *c, uint64_t *sectors)
{
	if (!c->overlay)
		return dmfmt_snapshot_convert_size(c->store.f, &c->params, sectors);
	return dmfmt_snapshot_import(c->t->ctx, c->store.dev, c->store.origin, c->map.v, c->map.nr,
				     &c->params, NULL, sectors, NULL, NULL);
}

/* ---- the destination ---- */

static int make_file(struct convert *c)
{
	struct tool *t = c->t;
	uint64_t sectors, wanted = t->o.size_sectors;
	int err = needed(c, &sectors), status;

	if (err)
		return convert_failed(c, err);
	if (wanted != DMFMT_NONE && (wanted < sectors || wanted > INT64_MAX / 512)) {
		tool_error(t, "%s: --size is %llu sectors, expected at least %llu", t->o.output,
			   (unsigned long long)wanted, (unsigned long long)sectors);
		return STATUS_ERROR;
	}
	status = newfile_init(t, &c->nf, t->o.output);
	if (status)
		return status;
	err = dmfmt_dev_open(t->ctx, c->nf.temp, DMFMT_OPEN_WRITE | DMFMT_OPEN_CREATE, &c->to);
	if (err)
		return tool_fail(t, err);
	c->nf.made = true;
	err = dmfmt_dev_truncate(c->to, (wanted == DMFMT_NONE ? sectors : wanted) * 512);
	return err ? tool_fail(t, err) : 0;
}

static int open_destination(struct convert *c)
{
	int err;

	if (c->new_file)
		return make_file(c);
	err = dmfmt_dev_open(c->t->ctx, c->t->o.output, DMFMT_OPEN_WRITE, &c->to);
	return err ? tool_fail(c->t, err) : 0;
}

/* ---- the work ---- */

static int finish_file(struct convert *c)
{
	int err = dmfmt_dev_sync(c->to);

	if (err)
		return tool_fail(c->t, err);
	dmfmt_dev_close(c->to);
	c->to = NULL;
	return newfile_commit(c->t, &c->nf);
}

static int run(struct convert *c)
{
	struct tool *t = c->t;
	int err, status = tool_begin(t, t->arg[0], t->cmd->family->name);

	if (status)
		return status;
	out_str(t->out, NULL, "from", c->overlay ? "qcow2" : t->cmd->family->name);
	out_str(t->out, NULL, "output", t->o.output);
	out_bool(t->out, NULL, "new_file", c->new_file);
	if (c->overlay)
		err = dmfmt_snapshot_import(t->ctx, c->store.dev, c->store.origin, c->map.v,
					    c->map.nr, &c->params, c->to, NULL, out_field, t->out);
	else
		err = dmfmt_snapshot_convert(c->store.f, c->to, &c->params, out_field, t->out);
	if (err)
		return convert_failed(c, err);
	if (c->new_file)
		status = finish_file(c);
	return status ? tool_abort(t, status, "the file could not be made") : tool_end(t, 0);
}

int verb_convert_snapshot(struct tool *t)
{
	struct convert c = { .t = t };
	int status = check_options(&c);

	if (status)
		return status;
	c.params = (struct dmfmt_convert_params){
		.size = sizeof(c.params),
		.chunk_sectors = t->o.chunk_sectors == DMFMT_NONE ? 0 : t->o.chunk_sectors,
		.flags = t->o.force ? DMFMT_CREATE_FORCE : 0,
	};
	status = open_source(&c);
	if (!status)
		status = same_as_origin(&c);
	if (!status)
		status = open_destination(&c);
	if (!status)
		status = run(&c);
	dmfmt_dev_close(c.to);
	newfile_drop(&c.nf);
	qcow2_map_free(&c.map);
	store_close(&c.store);
	return status;
}
