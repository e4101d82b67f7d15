// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <string.h>
#include "writecache.h"

int wc_free_entries(struct dmfmt *f, const uint64_t *entries, size_t nr)
{
	return -EOPNOTSUPP;
}

int wc_repair(struct dmfmt *f, const struct dmfmt_repair_opts *o, struct dmfmt_report *found)
{
	return -EOPNOTSUPP;
}
