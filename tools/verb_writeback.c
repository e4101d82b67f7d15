// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Bring home what a store holds: snapshot-merge, writecache-flush.  The library does it; this file sees to
 * it that the origin and its other stores are what the caller says, and tells what was done.  With --to
 * the data go to a new file instead, and neither device is written.
 */
#include <errno.h>
#include <string.h>

#include "fingerprint.h"
#include "mapfile.h"
#include "progress.h"
#include "store.h"
#include "writing.h"

/* another store of the same origin */
struct other {
	struct dmfmt_dev *dev;
	struct dmfmt *f;
	uint64_t copied;
};

/*
 * struct writeback - one run
 * @pending: a failure that the next one may continue; its length is 0 if there is none
 * @listed: the list of failures is open
 */
struct writeback {
	struct tool *t;
	struct store s;
	struct other others[OPT_LIST_MAX];
	struct mapfile map;
	struct map_range pending;
	bool listed;
	struct dmfmt_writeback_result r;
};

/* ---- what was asked for ---- */

static int check_others(struct tool *t, const char *origin)
{
	const struct opt_list *l = &t->o.other_cow;

	for (size_t i = 0; i < l->nr; i++)
		if (store_same_device(l->v[i], t->arg[0]) || store_same_device(l->v[i], origin))
			return tool_usage(t, "--other-cow: found %s, expected the store of another "
					  "snapshot", l->v[i]);
	return 0;
}

static int check_origin(struct tool *t)
{
	int status;
	const char *origin = store_origin_path(t, &status);

	if (status)
		return status;
	if (!origin && !t->o.to_file)
		return tool_usage(t, "ORIGIN is missing: expected the device that %s belongs to",
				  t->arg[0]);
	if (!origin && t->o.origin_fingerprint)
		return tool_usage(t, "--origin-fingerprint: the origin is needed to compare it");
	return origin ? check_others(t, origin) : 0;
}

static int check_options(struct tool *t)
{
	const struct opts *o = &t->o;

	if (o->dry_run && (o->save || o->undo || o->mapfile))
		return tool_usage(t, "--save, --undo and --mapfile: nothing is written with --dry-run");
	if (o->to_file && (o->save || o->undo || o->dry_run))
		return tool_usage(t, "--save, --undo and --dry-run: no device is written with --to");
	if (o->only_snapshot && o->other_cow.nr)
		return tool_usage(t, "--only-snapshot and --other-cow exclude each other");
	if (o->mapfile && !o->keep_going && !o->to_file)
		return tool_usage(t, t->cmd->family->shared_origin ?
				  "--mapfile is only taken with --keep-going" :
				  "--mapfile is only taken with --keep-going or --to");
	if (!o->rate)
		return tool_usage(t, "--rate: found 0, expected at least 1 byte per second");
	return check_origin(t);
}

/* asked once the devices are open, so that swapped ones are called that */
static int check_vouched(struct tool *t)
{
	const struct opts *o = &t->o;

	if (!t->cmd->family->shared_origin || o->dry_run || o->only_snapshot || o->other_cow.nr)
		return 0;
	return tool_usage(t, "expected --other-cow=COW2 for each other snapshot of the origin, or "
			  "--only-snapshot: a merge changes the origin, and every other snapshot of it, "
			  "active or not, would show wrong data");
}

/* ---- opening ---- */

static int open_other(struct writeback *w, size_t i)
{
	struct tool *t = w->t;
	struct other *x = &w->others[i];
	int err = dmfmt_dev_open(t->ctx, t->o.other_cow.v[i], DMFMT_OPEN_WRITE, &x->dev);

	if (!err)
		err = dmfmt_open(t->ctx, x->dev, t->cmd->family->name, 0, &x->f);
	if (!err)
		err = dmfmt_set_origin(x->f, w->s.origin);
	return err ? tool_fail(t, err) : 0;
}

static int open_all(struct writeback *w)
{
	struct tool *t = w->t;
	unsigned flags = t->o.dry_run ? 0 : DMFMT_OPEN_WRITE;
	int err = 0, status = store_open_both(t, &w->s, flags, flags);

	if (!status)
		status = check_vouched(t);
	for (size_t i = 0; !status && !t->o.dry_run && i < t->o.other_cow.nr; i++)
		status = open_other(w, i);
	if (!status)
		status = fingerprint_apply(t, w->s.f);
	if (!status)
		status = mapfile_init(t, &w->map, t->o.mapfile);
	if (status)
		return status;
	if (t->o.save)
		err = dmfmt_dev_set_undo(w->s.origin, t->o.save, t->line);
	if (!err && t->o.undo)
		err = dmfmt_dev_set_undo(w->s.dev, t->o.undo, t->line);
	return err ? tool_fail(t, err) : 0;
}

static void close_all(struct writeback *w)
{
	for (size_t i = 0; i < w->t->o.other_cow.nr; i++) {
		if (w->others[i].f)
			dmfmt_close(w->others[i].f);
		dmfmt_dev_close(w->others[i].dev);
	}
	store_close(&w->s);
	mapfile_drop(&w->map);
}

/* ---- other snapshots ---- */

static void print_others(struct writeback *w, size_t nr)
{
	struct tool *t = w->t;

	out_list(t->out, "protected", "other snapshots that were given what the merge changes",
		 LIST_TABLE);
	for (size_t i = 0; i < nr; i++) {
		struct dmfmt_field f[] = {
			OUT_STR("device", t->o.other_cow.v[i]),
			OUT_NUM("copied_chunks", w->others[i].copied),
		};

		out_item(t->out, f, sizeof(f) / sizeof(f[0]));
	}
	out_list_end(t->out);
}

static int protect_others(struct writeback *w)
{
	size_t i, nr = w->t->o.dry_run ? 0 : w->t->o.other_cow.nr;
	int err = 0;

	for (i = 0; !err && i < nr; i++)
		err = dmfmt_protect(w->s.f, w->others[i].f, &w->others[i].copied);
	if (nr)
		print_others(w, err ? i - 1 : nr);
	return err;
}

/* ---- failures ---- */

static int tell_pending(struct writeback *w)
{
	const struct map_range *p = &w->pending;
	struct dmfmt_field f[] = {
		OUT_UNIT("to", p->to, DMFMT_UNIT_NONE), OUT_UNIT("from", p->from, DMFMT_UNIT_NONE),
		OUT_UNIT("length", p->length, DMFMT_UNIT_NONE),
		OUT_STR("failed", p->reading ? "read" : "write"), OUT_STR("error", mapfile_error(p)),
	};
	int ret;

	if (!p->length)
		return 0;
	if (!w->listed)
		out_list(w->t->out, "failures",
			 "could not be moved and stay in the store (bytes; to: origin, from: store)",
			 LIST_TABLE);
	w->listed = true;
	ret = out_item(w->t->out, f, sizeof(f) / sizeof(f[0]));
	if (!ret)
		ret = mapfile_add(&w->map, p);
	w->pending.length = 0;
	return ret;
}

static int on_failure(void *arg, const struct dmfmt_failure *x)
{
	struct writeback *w = arg;
	struct map_range *p = &w->pending;
	int ret;

	if (p->length && x->to == p->to + p->length && x->from == p->from + p->length &&
	    x->reading == p->reading && x->error == p->error) {
		p->length += x->length;
		return 0;
	}
	ret = tell_pending(w);
	*p = (struct map_range){ .to = x->to, .length = x->length, .from = x->from,
				 .reading = x->reading, .error = x->error };
	return ret;
}

static int end_failures(struct writeback *w)
{
	int ret = tell_pending(w);

	if (w->listed)
		out_list_end(w->t->out);
	w->listed = false;
	return ret;
}

/* ---- the result ---- */

static void print_result(struct writeback *w)
{
	const char *group = w->t->cmd->family->data_verb;
	const struct dmfmt_writeback_result *r = &w->r;
	struct out *o = w->t->out;

	out_num(o, group, "records", r->records, DMFMT_UNIT_NONE);
	out_num(o, group, "bytes", r->bytes, DMFMT_UNIT_BYTES);
	out_num(o, group, "writes", r->writes, DMFMT_UNIT_NONE);
	if (!w->t->o.to_file)
		out_num(o, group, "windows", r->windows, DMFMT_UNIT_NONE);
	out_num(o, group, "failed", r->failed, DMFMT_UNIT_NONE);
	if (!w->t->o.to_file)
		out_num(o, group, "left", r->records_left, DMFMT_UNIT_NONE);
	if (r->bytes_beyond)
		out_num(o, group, "bytes_beyond", r->bytes_beyond, DMFMT_UNIT_BYTES);
	if (w->t->o.verify && !w->t->o.dry_run)
		out_bool(o, group, "verified", true);
}

static void print_saved(struct writeback *w)
{
	struct tool *t = w->t;
	const char *path = dmfmt_dev_undo_path(w->s.origin);

	if (t->o.dry_run || !w->r.bytes)
		return;
	out_bool(t->out, NULL, "reversible", path);
	if (path)
		out_str(t->out, "save", "file", path);
	undo_report(t, w->s.dev);
	if (!path)
		out_text(t->out, "this cannot be undone: what the origin held before was not saved "
			 "(--save)");
	else if (!t->o.undo)
		out_text(t->out, "dmtool undo %s gives the origin back what it held before; the store "
			 "stays as it is now (--undo)", path);
	else
		out_text(t->out, "to take it back, run dmtool undo with both files, the origin's "
			 "first");
}

static void print_end(struct writeback *w)
{
	const struct family *family = w->t->cmd->family;
	struct tool *t = w->t;

	if (t->o.dry_run)
		out_text(t->out, "nothing was changed");
	else if (w->r.bytes && !w->r.records)
		out_text(t->out, "copied, nothing was retired: the store still holds all of it");
	else if (w->r.failed)
		out_text(t->out, "%s", family->data_left);
	else if (!w->r.records && !w->r.records_left)
		out_text(t->out, "%s", family->data_none);
	else
		out_text(t->out, "%s", family->data_done);
}

static void hints(struct writeback *w)
{
	undo_hint(w->t, w->s.origin);
	undo_hint(w->t, w->s.dev);
}

static int say_stopped(struct writeback *w, int status)
{
	struct tool *t = w->t;

	out_bool(t->out, NULL, "cancelled", true);
	status = tool_end(t, status | STATUS_CANCELLED);
	tool_error(t, "stopped at a safe point: %s shows the same as before; run the command again to "
		   "go on", t->arg[0]);
	hints(w);
	return status;
}

static uint64_t origin_bytes(const struct writeback *w)
{
	struct dmfmt_dev_info info = { .size = sizeof(info) };

	dmfmt_dev_get_info(w->s.origin, &info);
	return info.size_bytes;
}

/* @err: what the write-back returned; the result was filled either way */
static int report(struct writeback *w, int err)
{
	struct tool *t = w->t;
	int ret = end_failures(w), status = w->r.failed ? STATUS_LEFT : 0;

	/* refused: nothing was done, and there is nothing to map */
	if (err != -EUCLEAN || w->r.records) {
		print_result(w);
		status |= mapfile_commit(t, &w->map, origin_bytes(w), !err);
		if (t->o.mapfile && !w->map.file.made)
			out_str(t->out, NULL, "mapfile", t->o.mapfile);
	}
	if (err == -ECANCELED)
		return say_stopped(w, status);
	if (err || ret) {
		status |= tool_fail(t, err ? err : ret);
		hints(w);
		return status;
	}
	print_saved(w);
	print_end(w);
	return tool_end(t, status);
}

static int sync_both(struct writeback *w)
{
	int err = dmfmt_dev_sync(w->s.origin);

	return err ? err : dmfmt_dev_sync(w->s.dev);
}

static struct dmfmt_writeback_opts options(struct writeback *w)
{
	const struct opts *o = &w->t->o;

	return (struct dmfmt_writeback_opts){
		.size = sizeof(struct dmfmt_writeback_opts), .failed = on_failure, .arg = w,
		.rate = o->rate == DMFMT_NONE ? 0 : o->rate,
		.flags = (o->dry_run ? DMFMT_WRITEBACK_DRY_RUN : 0) |
			 (o->verify ? DMFMT_WRITEBACK_VERIFY : 0) |
			 (o->keep_going ? DMFMT_WRITEBACK_KEEP_GOING : 0) |
			 (o->accept_loss != DMFMT_NONE ? DMFMT_WRITEBACK_ACCEPT_LOSS : 0) |
			 (o->device_was_cut ? DMFMT_WRITEBACK_DEVICE_CUT : 0),
		.accept_loss = o->accept_loss == DMFMT_NONE ? 0 : o->accept_loss,
	};
}

static int move(struct writeback *w)
{
	const struct dmfmt_writeback_opts o = options(w);
	struct tool *t = w->t;
	int err = protect_others(w);

	if (err) {
		int status = tool_fail(t, err);

		tool_error(t, "nothing was merged");
		return status;
	}
	w->r.size = sizeof(w->r);
	err = dmfmt_writeback(w->s.f, &o, &w->r);
	if (!err && !t->o.dry_run)
		err = sync_both(w);
	return report(w, err);
}

static void print_origin(struct tool *t)
{
	int err;
	const char *origin = store_origin_path(t, &err);

	if (!origin)
		return;
	out_str(t->out, NULL, "origin", origin);
	/* a device that is too short was refused; a larger one may be any device */
	out_str(t->out, NULL, "origin_proof", t->o.origin_fingerprint ?
		"fingerprint" : "none: a store does not say whose it is");
}

static int to_origin(struct writeback *w)
{
	struct tool *t = w->t;
	int status = open_all(w);

	if (!status)
		status = tool_begin(t, t->arg[0], t->cmd->family->name);
	if (status)
		return status;
	print_origin(t);
	return move(w);
}

/* ---- to a file ---- */

static int on_held(void *arg, const struct dmfmt_extent *e)
{
	struct writeback *w = arg;

	return mapfile_held(&w->map, e->to, e->length);
}

static uint64_t file_bytes(struct dmfmt_dev *dev)
{
	struct dmfmt_dev_info info = { .size = sizeof(info) };

	dmfmt_dev_get_info(dev, &info);
	return info.size_bytes;
}

/* the file has its content: it and the map get their names */
static int commit_patch(struct writeback *w, struct newfile *nf, uint64_t size)
{
	struct tool *t = w->t;
	int status = newfile_commit(t, nf);

	if (!status)
		status = mapfile_commit_held(t, &w->map, size);
	if (status)
		return tool_abort(t, status, "the file could not be made");
	print_result(w);
	out_str(t->out, NULL, "to", t->o.to_file);
	if (t->o.mapfile)
		out_str(t->out, NULL, "mapfile", t->o.mapfile);
	out_text(t->out, w->r.failed ? "what failed is not in the file" :
		 "the file holds everything that the origin lacks; neither device was changed");
	return tool_end(t, w->r.failed ? STATUS_LEFT : 0);
}

static int make_patch(struct writeback *w, struct newfile *nf)
{
	const struct dmfmt_writeback_opts o = options(w);
	struct tool *t = w->t;
	struct dmfmt_dev *dev;
	int err = dmfmt_dev_open(t->ctx, nf->temp, DMFMT_OPEN_CREATE, &dev), ret;
	uint64_t size;

	if (err)
		return tool_fail(t, err);
	nf->made = true;
	w->r.size = sizeof(w->r);
	err = dmfmt_patch(w->s.f, dev, &o, on_held, w, &w->r);
	size = file_bytes(dev);
	dmfmt_dev_close(dev);
	ret = end_failures(w);
	if (err || ret)
		return tool_fail(t, err ? err : ret);
	return commit_patch(w, nf, size);
}

static int to_file(struct writeback *w)
{
	struct newfile nf = { 0 };
	struct tool *t = w->t;
	int status = store_open_both(t, &w->s, 0, 0);

	if (!status)
		status = fingerprint_apply(t, w->s.f);
	if (!status)
		status = newfile_init(t, &nf, t->o.to_file);
	if (!status)
		status = mapfile_init(t, &w->map, t->o.mapfile);
	if (!status)
		status = mapfile_begin_held(t, &w->map);
	if (!status)
		status = tool_begin(t, t->arg[0], t->cmd->family->name);
	if (!status) {
		print_origin(t);
		status = make_patch(w, &nf);
	}
	newfile_drop(&nf);
	return status;
}

int verb_writeback(struct tool *t)
{
	struct writeback w = { .t = t };
	int status = check_options(t);

	if (status)
		return status;
	status = t->o.to_file ? to_file(&w) : to_origin(&w);
	close_all(&w);
	return status;
}
