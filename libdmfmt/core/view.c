// SPDX-License-Identifier: LGPL-2.1-or-later
/* The logical device: the store where it holds something, the origin everywhere else. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "view.h"

int dmfmt_view_open(struct dmfmt *f, struct dmfmt_view **out)
{
	struct dmfmt_view *v;
	int ret;

	if (!f || !out)
		return -EINVAL;
	*out = NULL;
	f->ctx->error[0] = '\0';
	if (!f->origin)
		return dmfmt_fail(f->ctx, -EINVAL, "%s: no origin was given, expected the device that the %s belongs to",
				  f->dev->path, f->format->what);
	ret = dmfmt_need_sound(f, "reading the data");
	if (ret)
		return ret;
	v = calloc(1, sizeof(*v));
	if (!v)
		return dmfmt_fail(f->ctx, -ENOMEM, "%s: no memory for a view", f->dev->path);
	v->f = f;
	v->size = f->origin->size;
	ret = dmfmt_map_open(f, 0, &v->map);
	if (ret) {
		free(v);
		return ret;
	}
	*out = v;
	return 0;
}

uint64_t dmfmt_view_size(const struct dmfmt_view *v)
{
	return v->size;
}

/* the cursor spares a search for each step of an ascending walk */
static int find(struct dmfmt_view *v, uint64_t off)
{
	int ret;

	if (v->known && off >= v->from && off < v->e.to + v->e.length)
		return 0;
	v->known = false;
	ret = dmfmt_map_next(v->map, off, &v->e);
	if (ret < 0)
		return ret;
	if (!ret)
		v->e = (struct dmfmt_extent){ v->size, DMFMT_NONE, UINT64_MAX - v->size };
	v->from = off;
	v->known = true;
	return 0;
}

int dmfmt_view_extent(struct dmfmt_view *v, uint64_t off, struct dmfmt_extent *e, bool *in_store)
{
	uint64_t skip;
	int ret;

	if (off >= v->size)
		return dmfmt_fail(v->f->ctx, -ERANGE,
				  "%s: offset %" PRIu64 ": past the end of the logical device (%" PRIu64
				  " bytes)", v->f->dev->path, off, v->size);
	ret = find(v, off);
	if (ret)
		return ret;
	*in_store = v->e.to <= off;
	if (*in_store) {
		skip = off - v->e.to;
		*e = (struct dmfmt_extent){ off, v->e.from == DMFMT_NONE ? DMFMT_NONE : v->e.from + skip,
					    v->e.length - skip };
	} else {
		*e = (struct dmfmt_extent){ off, off, v->e.to - off };
	}
	if (e->length > v->size - off)
		e->length = v->size - off;
	return 0;
}

static int read_extent(struct dmfmt_view *v, const struct dmfmt_extent *e, bool in_store, void *buf,
		       size_t len)
{
	if (e->from == DMFMT_NONE) {
		memset(buf, 0, len);
		return 0;
	}
	return dmfmt_dev_read(in_store ? v->f->dev : v->f->origin, e->from, buf, len);
}

int dmfmt_view_read(struct dmfmt_view *v, uint64_t off, void *buf, size_t len)
{
	struct dmfmt_extent e;
	bool in_store;
	int ret = 0;

	if (off > v->size || len > v->size - off)
		return dmfmt_fail(v->f->ctx, -ERANGE,
				  "%s: offset %" PRIu64 ": %zu bytes go past the end of the logical device (%" PRIu64 " bytes)",
				  v->f->dev->path, off, len, v->size);
	while (!ret && len) {
		size_t part;

		ret = dmfmt_view_extent(v, off, &e, &in_store);
		if (ret)
			break;
		part = e.length < len ? (size_t)e.length : len;
		ret = read_extent(v, &e, in_store, buf, part);
		buf = (char *)buf + part;
		off += part;
		len -= part;
	}
	return ret;
}

void dmfmt_view_close(struct dmfmt_view *v)
{
	if (!v)
		return;
	dmfmt_map_close(v->map);
	free(v);
}
