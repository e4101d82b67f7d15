// SPDX-License-Identifier: GPL-2.0-or-later
#include "store.h"

int verb_create_writecache(struct tool *t)
{
	return STATUS_ERROR;
}
