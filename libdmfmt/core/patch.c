// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include "format.h"

int dmfmt_patch(struct dmfmt *f, struct dmfmt_dev *to, const struct dmfmt_writeback_opts *o,
		int (*told)(void *arg, const struct dmfmt_extent *e), void *arg,
		struct dmfmt_writeback_result *r)
{
	return -EOPNOTSUPP;
}
