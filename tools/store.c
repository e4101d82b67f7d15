// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "store.h"

#define SCRATCH_BYTES (64 * 1024)

bool store_same_device(const char *a, const char *b)
{
	struct stat x, y;

	if (stat(a, &x) || stat(b, &y))
		return false;
	if (S_ISBLK(x.st_mode) && S_ISBLK(y.st_mode))
		return x.st_rdev == y.st_rdev;
	return x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

const char *store_origin_path(struct tool *t, int *err)
{
	const char *path = t->o.origin, *arg = NULL;

	*err = 0;
	for (int i = 0; t->cmd->args[i].name; i++)
		if (!strcmp(t->cmd->args[i].name, "ORIGIN"))
			arg = t->arg[i];
	if (arg && path && strcmp(arg, path)) {
		*err = tool_usage(t, "two origins: found %s and --origin=%s, expected one", arg,
				  path);
		return NULL;
	}
	path = path ? path : arg;
	if (path && store_same_device(t->arg[0], path)) {
		*err = tool_usage(
			t, "%s and %s are the same device, expected the store and its origin",
			t->arg[0], path);
		return NULL;
	}
	return path;
}

/* ---- what is on a device ---- */

struct guess {
	char group[64];
	char format[64];	/* of the candidate being told */
	char best[64];
	uint64_t best_confidence;
};

static bool is_family(const char *format)
{
	for (const struct family *const *f = families; *f; f++)
		if (!strcmp((*f)->name, format))
			return true;
	return false;
}

static int on_guess(void *arg, const struct dmfmt_field *f)
{
	struct guess *g = arg;

	if (!strcmp(f->name, "format") && f->kind == DMFMT_STRING)
		snprintf(g->format, sizeof(g->format), "%s", f->s ? f->s : "");
	if (strcmp(f->name, "confidence") || !is_family(g->format))
		return 0;
	if (f->u > g->best_confidence) {
		g->best_confidence = f->u;
		memcpy(g->best, g->format, sizeof(g->best));
	}
	return 0;
}

int store_identify(struct tool *t, struct dmfmt_dev *dev, char format[64], uint64_t *confidence)
{
	struct guess g = { 0 };
	int err = dmfmt_probe(t->ctx, dev, on_guess, &g);

	if (err < 0)
		return err;
	memcpy(format, g.best, 64);
	*confidence = g.best_confidence;
	return 0;
}

int store_set_start(struct tool *t, struct dmfmt_dev *dev)
{
	return t->o.start_sectors == DMFMT_NONE ? 0 : dmfmt_dev_set_start(dev, t->o.start_sectors);
}

/* 1 if the device may be of the command's format, 0 if not, negative if it could not be read */
static int is_own(struct tool *t, struct dmfmt_dev *dev)
{
	unsigned confidence;
	int err = dmfmt_identify(t->ctx, dev, t->cmd->family->name, &confidence);

	return err < 0 ? err : confidence > 0;
}

/* likewise for a device that is not open yet; nobody minds being looked at here */
static int is_own_path(struct tool *t, const char *path)
{
	struct dmfmt_dev *dev;
	int ret = dmfmt_dev_open(t->ctx, path, DMFMT_OPEN_LIVE, &dev);

	if (ret)
		return ret;
	ret = store_set_start(t, dev);
	if (!ret)
		ret = is_own(t, dev);
	dmfmt_dev_close(dev);
	return ret;
}

static int refuse_swapped(struct tool *t, const char *path, const char *origin)
{
	if (is_own_path(t, path) != 0 || is_own_path(t, origin) != 1)
		return 0;
	tool_error(t,
		   "%s: arguments are swapped: found a %s in %s, expected the store first: %s%s%s "
		   "%s %s",
		   path, t->cmd->family->what, origin, t->name, t->as_fsck ? "" : " ",
		   t->as_fsck ? "" : t->cmd->name, origin, path);
	return STATUS_USAGE;
}

static const struct family *family_by_name(const char *name)
{
	for (const struct family *const *f = families; *f; f++)
		if (!strcmp((*f)->name, name))
			return *f;
	return NULL;
}

/* a device that holds something else for sure: better one clear line than a list of damage */
static int refuse_foreign(struct tool *t, struct dmfmt_dev *dev, const char *path)
{
	const struct family *own = t->cmd->family, *other;
	struct guess g = { 0 };
	char foreign[256] = "";

	/* what is ours needs no second look, which may cost seconds on a slow device */
	if (is_own(t, dev) || dmfmt_probe(t->ctx, dev, on_guess, &g) < 0)
		return 0;
	other = family_by_name(g.best);
	if (other) {
		tool_error(t, "%s: found a %s, expected a %s; use %s%s", path, other->what,
			   own->what, other->name, strchr(t->cmd->name, '-'));
		return STATUS_ERROR;
	}
	if (dmfmt_foreign_signature(t->ctx, dev, foreign, sizeof(foreign)) || !*foreign)
		return 0;
	tool_error(t, "%s: found %s, expected a %s; 'dmtool probe %s' says more", path, foreign,
		   own->what, path);
	return STATUS_ERROR;
}

/* ---- opening ---- */

static int open_origin(struct tool *t, struct store *s, const char *path, unsigned flags)
{
	int err;

	if (path) {
		err = dmfmt_dev_open(t->ctx, path, flags, &s->origin);
		if (!err)
			err = dmfmt_set_origin(s->f, s->origin);
		if (err)
			return tool_fail(t, err);
	}
	if (t->o.origin_sectors == DMFMT_NONE)
		return 0;
	if (path)
		return tool_usage(t, "--origin-size: the origin is given, its size is known");
	err = dmfmt_set_origin_size(s->f, t->o.origin_sectors);
	return err ? tool_fail(t, err) : 0;
}

static void warn_live(struct tool *t, struct dmfmt_dev *dev, const char *path)
{
	struct dmfmt_dev_info info = { .size = sizeof(info) };

	dmfmt_dev_get_info(dev, &info);
	tool_warn(t, "%s: read while %s: the result may be racy", path,
		  info.holder ? info.holder : "it may change");
}

static int open_both(struct tool *t, struct store *s, const char *path, unsigned dev_flags,
		     unsigned format_flags, unsigned origin_flags)
{
	const char *origin;
	int err, status;

	*s = (struct store){ 0 };
	origin = store_origin_path(t, &status);
	if (!status && origin)
		status = refuse_swapped(t, path, origin);
	if (status)
		return status;
	err = dmfmt_dev_open(t->ctx, path, dev_flags, &s->dev);
	if (!err)
		err = store_set_start(t, s->dev);
	if (err)
		return tool_fail(t, err);
	if (dev_flags & DMFMT_OPEN_LIVE)
		warn_live(t, s->dev, path);
	if (!t->o.rebuild_header)
		status = refuse_foreign(t, s->dev, path);
	if (status)
		return status;
	err = dmfmt_open(t->ctx, s->dev, t->cmd->family->name, format_flags, &s->f);
	if (err)
		return tool_fail(t, err);
	return open_origin(t, s, origin, origin_flags);
}

int store_open(struct tool *t, struct store *s, const char *path, unsigned dev_flags,
	       unsigned format_flags)
{
	return open_both(t, s, path, dev_flags, format_flags, t->o.live ? DMFMT_OPEN_LIVE : 0);
}

int store_open_both(struct tool *t, struct store *s, unsigned dev_flags, unsigned origin_flags)
{
	return open_both(t, s, t->arg[0], dev_flags, 0, origin_flags);
}

int store_open_read(struct tool *t, struct store *s, unsigned format_flags)
{
	return store_open(t, s, t->arg[0], t->o.live ? DMFMT_OPEN_LIVE : 0, format_flags);
}

void store_close(struct store *s)
{
	if (s->f)
		dmfmt_close(s->f);
	dmfmt_dev_close(s->origin);
	dmfmt_dev_close(s->dev);
	*s = (struct store){ 0 };
}

/*
 * A blank device opens as any format (its header is merely damaged), so the library can be asked
 * for the names that a dump's rows must have, and they stand in one place.
 */
int store_columns(struct tool *t, const struct family *family, const struct dmfmt_column **columns,
		  size_t *nr)
{
	void *blank = calloc(1, SCRATCH_BYTES);
	struct dmfmt_dev *dev = NULL;
	struct dmfmt *f = NULL;
	int err = -ENOMEM;

	if (blank)
		err = dmfmt_dev_open_buffer(t->ctx, blank, SCRATCH_BYTES, &dev);
	if (!err)
		err = dmfmt_open(t->ctx, dev, family->name, DMFMT_OPEN_HEADER_ONLY, &f);
	if (!err)
		*nr = dmfmt_columns(f, columns);
	if (f)
		dmfmt_close(f);
	dmfmt_dev_close(dev);
	free(blank);
	return err;
}
