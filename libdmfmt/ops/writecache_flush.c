// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <string.h>
#include "writecache.h"

int wc_flush_prepare(struct dmfmt *f, bool dry_run)
{
	return -EOPNOTSUPP;
}

int wc_flush_plan(struct dmfmt *f, struct dmfmt_batch *b)
{
	return -EOPNOTSUPP;
}

int wc_flush_retire(struct dmfmt *f, const struct dmfmt_batch *b)
{
	return -EOPNOTSUPP;
}

uint64_t wc_flush_remaining(const struct dmfmt *f)
{
	return 0;
}

void wc_flush_free(struct wc *w)
{
}
