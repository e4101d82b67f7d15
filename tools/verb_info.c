// SPDX-License-Identifier: GPL-2.0-or-later
#include "store.h"

int verb_info(struct tool *t)
{
	struct store s;
	int err, status;

	status = store_open_read(t, &s, t->o.header_only ? DMFMT_OPEN_HEADER_ONLY : 0);
	if (!status)
		status = tool_begin(t, t->arg[0], t->cmd->family->name);
	if (!status) {
		err = dmfmt_info(s.f, out_field, t->out);
		status = err ? tool_fail(t, err) : tool_end(t, 0);
	}
	store_close(&s);
	return status;
}
