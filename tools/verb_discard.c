// SPDX-License-Identifier: GPL-2.0-or-later
/* Forget everything that a store holds: it stays valid, and is empty. */
#include <errno.h>

#include "store.h"
#include "writing.h"

static int check_options(struct tool *t)
{
	if (!t->o.yes && !t->o.dry_run)
		return tool_usage(t, "expected --yes: everything that %s shows and its origin does "
				  "not hold is given up", t->arg[0]);
	return writing_check_options(t);
}

static int open_store(struct tool *t, struct store *s)
{
	int status = store_open(t, s, t->arg[0], t->o.dry_run ? 0 : DMFMT_OPEN_WRITE, 0);

	if (status || t->o.dry_run)
		return status;
	status = undo_setup(t, s->dev, t->arg[0]);
	return status == UNDO_NO_PLACE ? undo_no_place(t) : status;
}

static int stopped(struct tool *t, struct store *s)
{
	int status;

	out_bool(t->out, NULL, "cancelled", true);
	status = tool_end(t, STATUS_CANCELLED);
	tool_error(t, "stopped at a safe point: a part of %s is empty; run the command again to go on",
		   t->arg[0]);
	undo_hint(t, s->dev);
	return status;
}

static int discard(struct tool *t, struct store *s)
{
	bool list = t->o.dry_run || t->o.list_writes;
	uint64_t records = 0;
	int err = 0, status;

	if (list) {
		writes_begin(t);
		err = writes_attach(t, s->dev, writes_print, t);
	}
	if (!err)
		err = dmfmt_discard(s->f, &records);
	if (!err && !t->o.dry_run)
		err = dmfmt_dev_sync(s->dev);
	if (list)
		writes_end(t);
	if (err == -ECANCELED)
		return stopped(t, s);
	if (err) {
		status = tool_fail(t, err);
		undo_hint(t, s->dev);
		return status;
	}
	out_num(t->out, NULL, "records", records, DMFMT_UNIT_NONE);
	undo_report(t, s->dev);
	out_text(t->out, t->o.dry_run ? "nothing was changed" : "the store is valid and empty");
	return tool_end(t, 0);
}

int verb_discard(struct tool *t)
{
	struct store s = { 0 };
	int status = check_options(t);

	if (status)
		return status;
	status = open_store(t, &s);
	if (!status)
		status = tool_begin(t, t->arg[0], t->cmd->family->name);
	if (!status)
		status = discard(t, &s);
	store_close(&s);
	return status;
}
