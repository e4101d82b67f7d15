// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Mend a store: in place with an undo file, or a copy of it.  The library checks, mends what the
 * options allow, and checks again; this file settles what is allowed, and says what was done.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "items.h"
#include "newfile.h"
#include "progress.h"
#include "report.h"
#include "store.h"
#include "writing.h"

/*
 * struct repair - one run over a store
 * @opts: for the library
 * @copy: --output; its final is NULL without
 * @side: where data blocks go whose entries are given up, once the library asked; @side_path: its name
 * @nowhere: there is no place for an undo file, so the run only finds out whether one is needed
 * @no_side: there was no place for a side file either, which was said
 */
struct repair {
	struct tool *t;
	struct store s;
	struct dmfmt_repair_opts opts;
	struct write_list writes;
	struct newfile copy;
	struct dmfmt_dev *side;
	char side_path[PATH_MAX];
	struct items *evidence;
	bool nowhere, no_side;
};

static int check_options(struct tool *t)
{
	const struct opts *o = &t->o;

	if (o->revalidate != o->origin_unmodified)
		return tool_usage(
			t, "--revalidate and --origin-unmodified are only taken together: every "
			   "chunk without an exception and the last batch are suspect unless the "
			   "origin did not change since");
	if (o->chunk_sectors != DMFMT_NONE && !o->rebuild_header)
		return tool_usage(t, "--chunk-size is only taken with --rebuild-header");
	if (o->block_bytes != DMFMT_NONE && !o->rebuild_header)
		return tool_usage(t, "--block-size is only taken with --rebuild-superblock");
	if (o->side_file && (o->dry_run || o->mode == MODE_CHECK))
		return tool_usage(t, "--side-file: nothing is written with %s",
				  o->dry_run ? "--dry-run" : "-n");
	if (o->max_findings == 0)
		return tool_usage(t, "--max-findings: found 0, expected at least 1");
	if (o->output && o->mode == MODE_CHECK)
		return tool_usage(t, "--output: nothing is written with -n");
	if (o->output && o->undo)
		return tool_usage(t, "--undo: with --output nothing is overwritten");
	if (o->live && o->mode != MODE_CHECK && !o->dry_run)
		return tool_usage(t, "--live: a device in use is only read, with -n or --dry-run");
	return writing_check_options(t);
}

static unsigned repair_flags(const struct opts *o)
{
	unsigned flags = 0;

	if (o->mode != MODE_PREEN)
		flags |= DMFMT_REPAIR_YES;
	if (o->data)
		flags |= DMFMT_REPAIR_DATA;
	if (o->revalidate)
		flags |= DMFMT_REPAIR_REVALIDATE | DMFMT_REPAIR_ORIGIN_UNMODIFIED;
	if (o->rebuild_header)
		flags |= DMFMT_REPAIR_REBUILD_HEADER;
	if (o->keep_tail)
		flags |= DMFMT_REPAIR_KEEP_TAIL;
	if (o->interrupted_create)
		flags |= DMFMT_REPAIR_INTERRUPTED_CREATE;
	if (o->seq_count)
		flags |= o->seq_count == 1 ? DMFMT_REPAIR_SEQ_MAX : DMFMT_REPAIR_SEQ_NEXT;
	return flags;
}

/* ---- the device to work on ---- */

/* made under a temporary name; the store is held open meanwhile, so nobody may write it */
static int make_copy(struct repair *r)
{
	struct dmfmt_dev *dev;
	int err, fd, status;

	status = newfile_init(r->t, &r->copy, r->t->o.output);
	if (status)
		return status;
	err = dmfmt_dev_open(r->t->ctx, r->t->arg[0], 0, &dev);
	if (err)
		return tool_fail(r->t, err);
	fd = newfile_open(&r->copy);
	if (fd < 0) {
		tool_error(r->t, "%s: %s", r->copy.temp, strerror(-fd));
		status = STATUS_ERROR;
	} else {
		status = newfile_copy(r->t, r->t->arg[0], fd);
		close(fd);
	}
	dmfmt_dev_close(dev);
	return status;
}

static int set_undo(struct repair *r)
{
	int status;

	if (r->t->o.dry_run || r->t->o.output)
		return 0;
	status = undo_setup(r->t, r->s.dev, r->t->arg[0]);
	if (status != UNDO_NO_PLACE)
		return status;
	r->nowhere = true;
	return 0;
}

static int open_device(struct repair *r)
{
	struct tool *t = r->t;
	unsigned flags = !t->o.dry_run ? DMFMT_OPEN_WRITE : t->o.live ? DMFMT_OPEN_LIVE : 0;
	bool copy = t->o.output && !t->o.dry_run;
	int err, status = copy ? make_copy(r) : 0;

	if (!status)
		status = store_open(t, &r->s, copy ? r->copy.temp : t->arg[0], flags, 0);
	if (!status)
		status = set_undo(r);
	if (status)
		return status;
	if (r->nowhere)
		err = dmfmt_dev_set_dry_run(r->s.dev, write_list_add, &r->writes);
	else
		err = writes_attach(t, r->s.dev, write_list_add, &r->writes);
	return err ? tool_fail(t, err) : 0;
}

/* ---- what is given up ---- */

/* beside the undo file, or beside the copy; false: nowhere */
static bool choose_side_path(struct repair *r)
{
	const struct opts *o = &r->t->o;
	const char *base = o->side_file ? o->side_file : o->output;
	size_t room = sizeof(r->side_path);

	if (base)
		return (size_t)snprintf(r->side_path, room, "%s%s", base,
					o->side_file ? "" : ".blocks") < room;
	return undo_side_name(r->t, r->t->arg[0], ".blocks", r->side_path, room);
}

/* the library has the first block to keep */
static int make_side_file(void *arg, struct dmfmt_dev **dev)
{
	struct repair *r = arg;
	int err;

	if (!r->side) {
		if (!choose_side_path(r)) {
			tool_error(r->t, "no place for data blocks that are given up: expected "
				   "--side-file FILE");
			r->no_side = true;
			return -ENOENT;
		}
		err = dmfmt_dev_open(r->t->ctx, r->side_path, DMFMT_OPEN_WRITE | DMFMT_OPEN_CREATE,
				     &r->side);
		if (err)
			return err;
	}
	*dev = r->side;
	return 0;
}

static void report_side(struct repair *r)
{
	if (!r->side)
		return;
	out_str(r->t->out, "side", "file", r->side_path);
	out_text(r->t->out, "data blocks whose entries were given up are in %s: that of entry N at N "
		 "times block_size", r->side_path);
}

/* ---- mending ---- */

static int finish_copy(struct repair *r)
{
	store_close(&r->s);
	return newfile_commit(r->t, &r->copy);
}

static int print_result(struct repair *r, const struct dmfmt_report *report, int err)
{
	struct tool *t = r->t;
	int status = report_status(t, report);

	if (err == -EUCLEAN)
		out_str(t->out, NULL, "refused", dmfmt_ctx_error(t->ctx));
	if (err == -ECANCELED)
		out_bool(t->out, NULL, "cancelled", true);
	out_report(t->out, report, t->cmd->family->records, err != -ECANCELED);
	if (t->o.dry_run || t->o.list_writes)
		write_list_print(t, &r->writes);
	if (r->copy.made)
		out_str(t->out, NULL, "output", t->o.output);
	else if (!t->o.output)
		undo_report(t, r->s.dev);
	report_side(r);
	return err == -EUCLEAN ? status | STATUS_LEFT : status;
}

static int say_stopped(struct repair *r, int status)
{
	struct tool *t = r->t;

	status = tool_end(t, status | STATUS_CANCELLED);
	if (r->copy.made)
		tool_error(t, "stopped: %s was not changed, and no copy is left", t->arg[0]);
	else
		tool_error(t, "stopped at a safe point: %s is no worse than before; "
			   "run the command again to go on", t->arg[0]);
	return status;
}

static int on_evidence(void *arg, const struct dmfmt_field *f)
{
	struct repair *r = arg;

	return items_field(r->evidence, f);
}

static int no_place(struct repair *r)
{
	if (!r->no_side)
		return tool_abort(r->t, undo_no_place(r->t), "no place for an undo file");
	undo_hint(r->t, r->s.dev);
	return tool_abort(r->t, STATUS_ERROR, "no place for data blocks that are given up");
}

static int mend(struct repair *r)
{
	struct tool *t = r->t;
	struct dmfmt_report *report = NULL;
	struct items evidence;
	char title[64];
	int err, status;

	snprintf(title, sizeof(title), "evidence for the %s", t->cmd->family->header);
	items_begin(&evidence, t->out, "evidence", title);
	r->opts.evidence = on_evidence;
	r->opts.side = make_side_file;
	r->opts.arg = r;
	r->evidence = &evidence;
	err = dmfmt_repair(r->s.f, &r->opts, &report);
	if (!err && !t->o.dry_run)
		err = dmfmt_dev_sync(r->s.dev);
	items_end(&evidence, false);
	if (r->no_side || (r->nowhere && r->writes.nr)) {
		dmfmt_report_free(report);
		return no_place(r);
	}
	if (!report || (err && err != -EUCLEAN && err != -ECANCELED)) {
		dmfmt_report_free(report);
		undo_hint(t, r->s.dev);
		return tool_fail(t, err ? err : -ENOMEM);
	}
	status = print_result(r, report, err);
	dmfmt_report_free(report);
	if (err == -ECANCELED)
		return say_stopped(r, status);
	if (err == -EUCLEAN)
		tool_error(t, "%s", dmfmt_ctx_error(t->ctx));
	else if (r->copy.made)
		status |= finish_copy(r);
	return tool_end(t, status);
}

static int run(struct tool *t, size_t *nr_writes)
{
	struct repair r = {
		.t = t,
		.opts = {
			.size = sizeof(r.opts),
			.flags = repair_flags(&t->o),
			.accept_loss = t->o.accept_loss,
			.chunk_sectors = t->o.chunk_sectors == DMFMT_NONE ? 0 : t->o.chunk_sectors,
			.block_bytes = t->o.block_bytes == DMFMT_NONE ? 0 : t->o.block_bytes,
			.max_each = report_max_each(t),
		},
	};
	int status = open_device(&r);

	if (!status)
		status = tool_begin(t, t->arg[0], t->cmd->family->name);
	if (!status)
		status = mend(&r);
	*nr_writes = r.writes.nr;
	store_close(&r.s);
	dmfmt_dev_close(r.side);
	newfile_drop(&r.copy);
	write_list_free(&r.writes);
	return status;
}

/* ---- which mode ---- */

static bool may_ask(const struct tool *t)
{
	return t->o.format == OUT_TEXT && isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

/* show the plan, ask once, do it */
static int ask_and_run(struct tool *t)
{
	char answer[16] = "";
	size_t nr_writes;
	int status;

	t->o.mode = MODE_YES;
	t->o.dry_run = true;
	status = run(t, &nr_writes);
	if (!nr_writes || status & ~STATUS_LEFT)
		return status;
	fprintf(stderr, "%s: %s: do the %zu write%s above? [y/N] ", t->name, t->arg[0], nr_writes,
		nr_writes == 1 ? "" : "s");
	fflush(stderr);
	if (!fgets(answer, sizeof(answer), stdin) || progress_stopped()) {
		fputc('\n', stderr);
		tool_note(t, "%s: nothing was changed", t->arg[0]);
		return status | (progress_stopped() ? STATUS_CANCELLED : 0);
	}
	if (answer[0] != 'y' && answer[0] != 'Y') {
		tool_note(t, "%s: nothing was changed", t->arg[0]);
		return status;
	}
	t->o.dry_run = false;
	return run(t, &nr_writes);
}

int verb_repair(struct tool *t)
{
	size_t nr_writes;
	int status = check_options(t);

	if (status)
		return status;
	if (t->o.mode == MODE_CHECK)
		return verb_check(t);
	if (t->o.mode != MODE_UNSET || t->o.dry_run)
		return run(t, &nr_writes);
	if (may_ask(t))
		return ask_and_run(t);
	tool_note(t,
		  "%s: only checked, as with -n: nobody can be asked here; -a mends what loses "
		  "nothing, "
		  "-y also what needs a yes",
		  t->arg[0]);
	return verb_check(t);
}
