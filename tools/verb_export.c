// SPDX-License-Identifier: GPL-2.0-or-later
/* What a target would show, as an image file. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fingerprint.h"
#include "newfile.h"
#include "store.h"

static int check_options(struct tool *t)
{
	int status;
	const char *origin = store_origin_path(t, &status);

	if (status)
		return status;
	if (!origin)
		return tool_usage(t, "ORIGIN is missing: expected the device that %s belongs to",
				  t->arg[0]);
	if (!t->o.output)
		return tool_usage(t, "--output is missing");
	if (!t->o.rate)
		return tool_usage(t, "--rate: found 0, expected at least 1 byte per second");
	return 0;
}

/* a relative name would be looked for beside the overlay, wherever that is moved to */
static char *backing_name(struct tool *t)
{
	int err;

	return realpath(store_origin_path(t, &err), NULL);
}

static int write_image(struct tool *t, struct dmfmt_view *v, struct dmfmt_dev *to)
{
	char *backing = backing_name(t);
	const struct dmfmt_export_opts o = {
		.size = sizeof(o),
		.format = t->o.export_format == 2 ? DMFMT_EXPORT_QCOW2 : DMFMT_EXPORT_RAW,
		.flags = t->o.verify ? DMFMT_EXPORT_VERIFY : 0,
		.backing = backing,
		.rate = t->o.rate == DMFMT_NONE ? 0 : t->o.rate,
	};
	int err = backing ? 0 : -errno;

	out_str(t->out, NULL, "image_format", o.format == DMFMT_EXPORT_QCOW2 ? "qcow2" : "raw");
	if (!err)
		err = dmfmt_export(v, to, &o, out_field, t->out);
	free(backing);
	return err;
}

static int export_to(struct tool *t, struct dmfmt_view *v, struct newfile *nf)
{
	struct dmfmt_dev *dev;
	int status, err = dmfmt_dev_open(t->ctx, nf->temp, DMFMT_OPEN_CREATE, &dev);

	if (err)
		return tool_fail(t, err);
	nf->made = true;
	err = write_image(t, v, dev);
	dmfmt_dev_close(dev);
	if (err)
		return tool_fail(t, err);
	out_str(t->out, NULL, "output", nf->final);
	status = newfile_commit(t, nf);
	return status ? tool_abort(t, status, "the file could not be made") : tool_end(t, 0);
}

static int export_view(struct tool *t, struct dmfmt *f)
{
	struct newfile nf = { 0 };
	struct dmfmt_view *v;
	int status, err = dmfmt_view_open(f, &v);

	if (err)
		return tool_fail(t, err);
	status = newfile_init(t, &nf, t->o.output);
	if (!status)
		status = tool_begin(t, t->arg[0], t->cmd->family->name);
	if (!status)
		status = export_to(t, v, &nf);
	newfile_drop(&nf);
	dmfmt_view_close(v);
	return status;
}

int verb_export(struct tool *t)
{
	struct store s = { 0 };
	int status = check_options(t);

	if (!status)
		status = store_open_read(t, &s, 0);
	if (!status)
		status = fingerprint_apply(t, s.f);
	if (!status)
		status = export_view(t, s.f);
	store_close(&s);
	return status;
}
