// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <string.h>
#include "writecache.h"

int wc_check_blank(struct dmfmt_ctx *ctx, struct dmfmt_dev *cache)
{
	return -EOPNOTSUPP;
}

int wc_format(struct dmfmt_dev *cache, const struct wc_geometry *g, uint64_t seq)
{
	return -EOPNOTSUPP;
}

int dmfmt_writecache_geometry(struct dmfmt_ctx *ctx, struct dmfmt_dev *cache,
			      const struct dmfmt_writecache_params *p, dmfmt_field_fn fn, void *arg)
{
	return -EOPNOTSUPP;
}

int dmfmt_writecache_create(struct dmfmt_ctx *ctx, struct dmfmt_dev *cache,
			    const struct dmfmt_writecache_params *p)
{
	return -EOPNOTSUPP;
}

int wc_restore_begin(struct dmfmt_builder *b, const struct dmfmt_field *head, size_t nr)
{
	return -EOPNOTSUPP;
}

int wc_restore_raw(struct dmfmt_builder *b, uint64_t offset, const void *bytes, size_t len)
{
	return -EOPNOTSUPP;
}

int wc_restore_records(struct dmfmt_builder *b, const uint64_t *values, size_t nr)
{
	return -EOPNOTSUPP;
}

int wc_restore_stale(struct dmfmt_builder *b, uint64_t area, uint64_t slot, const uint64_t *values)
{
	return -EOPNOTSUPP;
}

int wc_restore_commit(struct dmfmt_builder *b, const struct dmfmt_field *tail, size_t nr)
{
	return -EOPNOTSUPP;
}

void wc_restore_free(struct dmfmt_builder *b)
{
}
