// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <string.h>
#include "writecache.h"

int dmfmt_writecache_convert_size(struct dmfmt *f, const struct dmfmt_writecache_params *p,
				  uint64_t *sectors)
{
	return -EOPNOTSUPP;
}

int dmfmt_writecache_convert(struct dmfmt *f, struct dmfmt_dev *to,
			     const struct dmfmt_writecache_params *p, dmfmt_field_fn fn, void *arg)
{
	return -EOPNOTSUPP;
}

int dmfmt_writecache_resize(struct dmfmt *f, uint64_t sectors, dmfmt_field_fn fn, void *arg)
{
	return -EOPNOTSUPP;
}
