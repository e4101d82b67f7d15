// SPDX-License-Identifier: LGPL-2.1-or-later
/* Which format is on a device: our own decoders first, then what other software would see. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "format.h"
#include "../sys/probe.h"

/* a foreign signature is as sure as libblkid is; a damaged store of ours that still decodes (see the
 * families' probe functions) comes before it */
#define FOREIGN_CONFIDENCE 70
#define MAX_CANDIDATES 64

struct candidate {
	char name[64], version[32], usage[24];
	bool ours;
	struct dmfmt_candidate c;
};

struct candidates {
	struct candidate v[MAX_CANDIDATES];
	size_t nr;
};

static int probe_ours(struct dmfmt_dev *dev, struct candidates *all)
{
	const struct dmfmt_format *const *f;
	struct candidate *c;
	int err;

	for (f = dmfmt_formats; *f && all->nr < MAX_CANDIDATES; f++) {
		c = &all->v[all->nr++];
		c->ours = true;
		snprintf(c->name, sizeof(c->name), "%s", (*f)->name);
		snprintf(c->usage, sizeof(c->usage), "other");
		err = (*f)->probe(dev, &c->c);
		if (err)
			return err;
		if (c->c.confidence > 0)
			snprintf(c->version, sizeof(c->version), "%u", (unsigned)c->c.version);
	}
	return 0;
}

/* libblkid's name for one of our formats */
static bool is_ours(const char *type)
{
	const struct dmfmt_format *const *f;

	for (f = dmfmt_formats; *f; f++)
		if ((*f)->blkid_type && !strcmp((*f)->blkid_type, type))
			return true;
	return false;
}

static int probe_foreign(void *arg, const struct dmfmt_signature *sig)
{
	struct candidates *all = arg;
	struct candidate *c;

	if (is_ours(sig->type) || all->nr == MAX_CANDIDATES)
		return 0;
	c = &all->v[all->nr++];
	snprintf(c->name, sizeof(c->name), "%s", sig->type);
	snprintf(c->version, sizeof(c->version), "%s", sig->version ? sig->version : "");
	snprintf(c->usage, sizeof(c->usage), "%s", sig->usage);
	c->c.confidence = FOREIGN_CONFIDENCE;
	c->c.offset = sig->offset;
	snprintf(c->c.reason, sizeof(c->c.reason), "libblkid found its magic at byte %llu",
		 (unsigned long long)sig->offset);
	return 0;
}

static int by_confidence(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	if (x->c.confidence != y->c.confidence)
		return x->c.confidence < y->c.confidence ? 1 : -1;
	if (x->ours != y->ours)
		return x->ours ? -1 : 1;
	return strcmp(x->name, y->name);
}

static int tell(const struct candidate *c, dmfmt_field_fn fn, void *arg)
{
	const struct dmfmt_field fields[] = {
		{ c->name, "format", DMFMT_STRING, DMFMT_UNIT_NONE, 0, 0, c->name },
		{ c->name, "version", DMFMT_STRING, DMFMT_UNIT_NONE, 0, 0, c->version },
		{ c->name, "offset", DMFMT_U64, DMFMT_UNIT_BYTES, 1, c->c.offset, NULL },
		{ c->name, "confidence", DMFMT_U64, DMFMT_UNIT_PERCENT, 0,
		  (uint64_t)c->c.confidence, NULL },
		{ c->name, "usage", DMFMT_STRING, DMFMT_UNIT_NONE, 0, 0, c->usage },
		{ c->name, "reason", DMFMT_STRING, DMFMT_UNIT_NONE, 0, 0, c->c.reason },
	};
	size_t i;
	int err;

	for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		err = fn(arg, &fields[i]);
		if (err)
			return err;
	}
	return 0;
}

static int probe_all(struct dmfmt_dev *dev, struct candidates *all, dmfmt_field_fn fn, void *arg)
{
	bool found = false;
	size_t i;
	int err;

	err = probe_ours(dev, all);
	if (!err)
		err = dmfmt_signatures(dev, probe_foreign, all);
	if (err)
		return err;
	qsort(all->v, all->nr, sizeof(all->v[0]), by_confidence);
	for (i = 0; i < all->nr; i++) {
		found |= all->v[i].ours && all->v[i].c.confidence > 0;
		err = fn ? tell(&all->v[i], fn, arg) : 0;
		if (err)
			return err;
	}
	return found ? 0 : 1;
}

int dmfmt_probe(struct dmfmt_ctx *ctx, struct dmfmt_dev *dev, dmfmt_field_fn fn, void *arg)
{
	struct candidates *all;
	int err;

	if (!ctx)
		return -EINVAL;
	ctx->error[0] = '\0';
	if (!dev)
		return dmfmt_fail(ctx, -EINVAL, "probe: no device was given");
	all = calloc(1, sizeof(*all));
	if (!all)
		return dmfmt_fail(ctx, -ENOMEM, "%s: no memory", dev->path);
	err = probe_all(dev, all, fn, arg);
	free(all);
	if (err < 0 && !ctx->error[0])
		dmfmt_fail(ctx, err, "%s: probe: %s", dev->path, strerror(-err));
	return err;
}

int dmfmt_identify(struct dmfmt_ctx *ctx, struct dmfmt_dev *dev, const char *format,
		   unsigned *confidence)
{
	const struct dmfmt_format *fmt = dmfmt_format_by_name(format);
	struct dmfmt_candidate c = { 0 };
	int err;

	if (!ctx || !confidence)
		return -EINVAL;
	ctx->error[0] = '\0';
	*confidence = 0;
	if (!dev || !fmt)
		return dmfmt_fail(ctx, -EINVAL, "identify: no device or no known format was given");
	err = fmt->probe(dev, &c);
	if (!err)
		*confidence = (unsigned)c.confidence;
	return err;
}

struct line {
	char *buf;
	size_t len, used;
};

static int add_foreign(void *arg, const struct dmfmt_signature *sig)
{
	struct line *l = arg;
	int n;

	if (is_ours(sig->type) || l->used >= l->len)
		return 0;
	n = snprintf(l->buf + l->used, l->len - l->used, "%s%s at %llu", l->used ? ", " : "",
		     sig->type, (unsigned long long)sig->offset);
	if (n > 0)
		l->used += (size_t)n;
	return 0;
}

int dmfmt_foreign_signature(struct dmfmt_ctx *ctx, struct dmfmt_dev *dev, char *buf, size_t len)
{
	struct line l = { buf, len, 0 };

	if (!ctx)
		return -EINVAL;
	ctx->error[0] = '\0';
	if (!dev || !buf || !len)
		return dmfmt_fail(ctx, -EINVAL, "signature: no device or no room was given");
	buf[0] = '\0';
	return dmfmt_signatures(dev, add_foreign, &l);
}

/* what a magic is worth; a store that only looks like one is less */
#define SURE_CONFIDENCE 60

int dmfmt_other_format(struct dmfmt_dev *dev, const struct dmfmt_format *own,
		       const struct dmfmt_format **other)
{
	const struct dmfmt_format *const *f;
	int err;

	*other = NULL;
	for (f = dmfmt_formats; *f; f++) {
		struct dmfmt_candidate c = { 0 };

		err = *f == own ? 0 : (*f)->probe(dev, &c);
		if (err)
			return err;
		if (c.confidence >= SURE_CONFIDENCE) {
			*other = *f;
			return 0;
		}
	}
	return 0;
}

struct fs_block {
	char *type;
	size_t len;
	uint64_t *bytes;
};

static int on_filesystem_block(void *arg, const char *type, uint64_t bytes)
{
	struct fs_block *b = arg;

	snprintf(b->type, b->len, "%s", type);
	*b->bytes = bytes;
	return 0;
}

int dmfmt_fs_block(struct dmfmt_dev *dev, char *type, size_t len, uint64_t *bytes)
{
	struct fs_block b = { type, len, bytes };

	*type = '\0';
	*bytes = 0;
	return dmfmt_filesystem_block(dev, on_filesystem_block, &b);
}
