// SPDX-License-Identifier: GPL-2.0-or-later
#include "dmtool.h"

int verb_cat(struct tool *t)
{
	return tool_usage(t, "%s: being written", t->cmd->name);
}
