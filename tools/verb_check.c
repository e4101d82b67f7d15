// SPDX-License-Identifier: GPL-2.0-or-later
/* Look at everything, change nothing. */
#include <errno.h>

#include "report.h"
#include "store.h"

size_t report_max_each(const struct tool *t)
{
	if (t->o.max_findings == DMFMT_NONE)
		return 0;
	return t->o.max_findings > SIZE_MAX ? SIZE_MAX : (size_t)t->o.max_findings;
}

int report_status(const struct tool *t, const struct dmfmt_report *r)
{
	struct dmfmt_summary s = { .size = sizeof(s) };
	int status = 0;

	dmfmt_report_summary(r, &s);
	if (s.mended)
		status |= t->o.dry_run ? STATUS_LEFT : STATUS_MENDED;
	if (s.fatal || s.repairable || (t->o.strict && s.warnings))
		status |= STATUS_LEFT;
	return status;
}

/* a check that was stopped still shows what it saw */
static int stopped(struct tool *t, int status)
{
	status = tool_end(t, status | STATUS_CANCELLED);
	tool_error(t, "stopped before the end: nothing was changed, the findings are not complete; "
		   "run the command again to check all");
	return status;
}

static int check(struct tool *t, struct store *s)
{
	struct dmfmt_report *r = NULL;
	int err, status;

	err = dmfmt_check(s->f, t->o.data ? DMFMT_CHECK_DATA : 0, report_max_each(t), &r);
	if (!r)
		return tool_fail(t, err ? err : -ENOMEM);
	if (err == -ECANCELED)
		out_bool(t->out, NULL, "cancelled", true);
	out_report(t->out, r, t->cmd->family->records, err != -ECANCELED);
	status = report_status(t, r);
	dmfmt_report_free(r);
	if (err == -ECANCELED)
		return stopped(t, status);
	return err ? tool_fail(t, err) : tool_end(t, status);
}

int verb_check(struct tool *t)
{
	struct store s;
	int status;

	if (t->o.max_findings == 0)
		return tool_usage(t, "--max-findings: found 0, expected at least 1");
	status = store_open_read(t, &s, 0);
	if (!status)
		status = tool_begin(t, t->arg[0], t->cmd->family->name);
	if (!status)
		status = check(t, &s);
	store_close(&s);
	return status;
}
