// SPDX-License-Identifier: GPL-2.0-or-later
/* Metadata images for bug reports. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "newfile.h"
#include "progress.h"
#include "store.h"

static int check_options(struct tool *t)
{
	const struct opts *o = &t->o;

	if (o->expand && (o->obfuscate || o->include_suspect || o->image_format || o->live))
		return tool_usage(t, "--expand is taken alone: an image already is what it is");
	if (!o->expand && !o->output)
		return tool_usage(t, "--output is missing");
	return 0;
}

/* a new file whose content did not come about is removed by newfile_drop() */
static int finish(struct tool *t, struct newfile *nf, int err)
{
	int status;

	if (err)
		return tool_fail(t, err);
	out_str(t->out, NULL, "output", nf->final);
	status = newfile_commit(t, nf);
	return status ? tool_abort(t, status, "the file could not be made") : tool_end(t, 0);
}

/* ---- saving ---- */

static int choose_format(struct tool *t, struct dmfmt_dev *dev, char format[64])
{
	char foreign[256] = "";
	uint64_t confidence;
	int err;

	if (t->o.image_format) {
		snprintf(format, 64, "%s", t->o.image_format);
		return 0;
	}
	err = store_identify(t, dev, format, &confidence);
	if (err)
		return tool_fail(t, err);
	if (*format)
		return 0;
	if (dmfmt_foreign_signature(t->ctx, dev, foreign, sizeof(foreign)))
		*foreign = '\0';
	tool_error(t, "%s: found %s, expected one of the known formats (--format names it)", t->arg[0],
		   *foreign ? foreign : "nothing known");
	return STATUS_ERROR;
}

static unsigned image_flags(const struct opts *o)
{
	return (o->obfuscate ? DMFMT_IMAGE_OBFUSCATE : 0) |
	       (o->include_suspect ? DMFMT_IMAGE_INCLUDE_SUSPECT : 0);
}

static int save_to(struct tool *t, struct dmfmt *f, struct newfile *nf)
{
	int err, fd = newfile_open(nf);

	if (fd < 0) {
		tool_error(t, "%s: %s", nf->temp, strerror(-fd));
		return tool_abort(t, STATUS_ERROR, strerror(-fd));
	}
	err = dmfmt_image_save(f, fd, image_flags(&t->o), out_field, t->out);
	if (!err && fsync(fd))
		err = -errno;
	if (close(fd) && !err)
		err = -errno;
	return finish(t, nf, err);
}

static int save_as(struct tool *t, struct dmfmt_dev *dev, const char *format)
{
	struct dmfmt *f = NULL;
	struct newfile nf = { 0 };
	int err, status;

	err = dmfmt_open(t->ctx, dev, format, 0, &f);
	if (err)
		return tool_fail(t, err);
	if (t->o.origin_sectors != DMFMT_NONE)
		dmfmt_set_origin_size(f, t->o.origin_sectors);
	status = newfile_init(t, &nf, t->o.output);
	if (!status)
		status = tool_begin(t, t->arg[0], format);
	if (!status)
		status = save_to(t, f, &nf);
	newfile_drop(&nf);
	dmfmt_close(f);
	return status;
}

static int save(struct tool *t)
{
	struct dmfmt_dev *dev;
	char format[64] = "";
	int status, err;

	err = dmfmt_dev_open(t->ctx, t->arg[0], t->o.live ? DMFMT_OPEN_LIVE : 0, &dev);
	if (err)
		return tool_fail(t, err);
	if (t->o.live)
		tool_warn(t, "%s: read while it may change: the image may be inconsistent",
			  t->arg[0]);
	err = store_set_start(t, dev);
	status = err ? tool_fail(t, err) : choose_format(t, dev, format);
	if (!status)
		status = save_as(t, dev, format);
	dmfmt_dev_close(dev);
	return status;
}

/* ---- expanding ---- */

static int expand_to(struct tool *t, int fd, struct newfile *nf)
{
	struct dmfmt_dev *dev;
	int err = dmfmt_dev_open(t->ctx, nf->temp, DMFMT_OPEN_WRITE | DMFMT_OPEN_CREATE, &dev);

	if (err)
		return tool_fail(t, err);
	nf->made = true;
	err = dmfmt_image_expand(t->ctx, fd, dev, out_field, t->out);
	if (!err)
		err = dmfmt_dev_sync(dev);
	dmfmt_dev_close(dev);
	return finish(t, nf, err);
}

static int expand(struct tool *t)
{
	struct newfile nf = { 0 };
	char *path = NULL;
	int status, fd = open(t->arg[0], O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		tool_error(t, "%s: %s", t->arg[0], strerror(errno));
		return STATUS_ERROR;
	}
	if (!t->o.output && asprintf(&path, "%s.expanded", t->arg[0]) < 0)
		path = NULL;
	status = newfile_init(t, &nf, t->o.output ? t->o.output : path ? path : "");
	if (!status)
		status = tool_begin(t, t->arg[0], NULL);
	if (!status)
		status = expand_to(t, fd, &nf);
	newfile_drop(&nf);
	free(path);
	close(fd);
	return status;
}

int verb_image(struct tool *t)
{
	int status = check_options(t);

	if (status)
		return status;
	return t->o.expand ? expand(t) : save(t);
}
