// SPDX-License-Identifier: LGPL-2.1-or-later
/* The bottom over a caller's buffer; dev.c has checked the bounds. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "dev.h"

struct mem_layer {
	struct dmfmt_layer l;
	uint8_t *buf;
};

static int mem_read(struct dmfmt_layer *l, uint64_t off, void *buf, size_t len)
{
	memcpy(buf, ((struct mem_layer *)l)->buf + off, len);
	return 0;
}

static int mem_write(struct dmfmt_layer *l, uint64_t off, const void *buf, size_t len)
{
	memmove(((struct mem_layer *)l)->buf + off, buf, len);
	return 0;
}

static int mem_flush(struct dmfmt_layer *l)
{
	return 0;
}

static void mem_close(struct dmfmt_layer *l)
{
	free(l);
}

static const struct dmfmt_layer_ops mem_ops = {
	.name = "mem",
	.read = mem_read,
	.write = mem_write,
	.flush = mem_flush,
	.close = mem_close,
};

int dmfmt_mem_layer_new(void *buf, uint64_t size, struct dmfmt_layer **out)
{
	struct mem_layer *m;

	if (size > SIZE_MAX || (size && !buf))
		return -EINVAL;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->l.ops = &mem_ops;
	m->buf = buf;
	*out = &m->l;
	return 0;
}
