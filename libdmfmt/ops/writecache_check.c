// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <string.h>
#include "writecache.h"

int wc_check(struct dmfmt *f, unsigned flags, struct dmfmt_report *r)
{
	return -EOPNOTSUPP;
}
