// SPDX-License-Identifier: GPL-2.0-or-later
/* Where a sector lives. */
#include <errno.h>

#include "human.h"
#include "items.h"
#include "store.h"

static int find(struct tool *t, struct dmfmt *f, uint64_t sector)
{
	struct items answers;
	int err;

	out_num(t->out, NULL, "sector", sector, DMFMT_UNIT_SECTORS);
	out_bool(t->out, NULL, "reverse", t->o.reverse);
	items_begin(&answers, t->out, "answers", NULL);
	err = dmfmt_find(f, sector, t->o.reverse, items_field, &answers);
	items_end(&answers, true);
	return err ? tool_fail(t, err) : tool_end(t, 0);
}

int verb_find(struct tool *t)
{
	uint64_t sector;
	struct store s;
	int status;

	if (human_parse(t->arg[1], 512, &sector))
		return tool_usage(
			t,
			"SECTOR: found \"%s\", expected sectors, or a whole number of them "
			"with one of s B K M G T P",
			t->arg[1]);
	status = store_open_read(t, &s, 0);
	if (!status)
		status = tool_begin(t, t->arg[0], t->cmd->family->name);
	if (!status)
		status = find(t, s.f, sector);
	store_close(&s);
	return status;
}
