// SPDX-License-Identifier: GPL-2.0-or-later
/* Take back what a command wrote. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "dmtool.h"
#include "store.h"
#include "writing.h"

static void print_header(struct tool *t, const struct dmfmt_undo_info *i)
{
	time_t when = (time_t)i->time;
	char stamp[64] = "";
	struct tm tm;

	if (gmtime_r(&when, &tm))
		strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ", &tm);
	out_str(t->out, "undo_file", "file", t->arg[0]);
	out_str(t->out, "undo_file", "command", i->command);
	out_str(t->out, "undo_file", "written_by", i->dmfmt_version);
	out_str(t->out, "undo_file", "time", stamp);
	out_num(t->out, "undo_file", "device_bytes", i->device_bytes, DMFMT_UNIT_BYTES);
	out_num(t->out, "undo_file", "nr_writes", i->nr_writes, DMFMT_UNIT_NONE);
	out_num(t->out, "undo_file", "bytes", i->bytes, DMFMT_UNIT_BYTES);
	out_bool(t->out, "undo_file", "complete", i->complete);
}

static int list(struct tool *t, struct dmfmt_undo *u)
{
	int err;

	out_list(t->out, "writes", "recorded writes (bytes), the oldest first", LIST_TABLE);
	err = dmfmt_undo_list(u, writes_print, t);
	out_list_end(t->out);
	return err ? tool_fail(t, err) : tool_end(t, 0);
}

static int cancelled(struct tool *t, const char *device)
{
	int status = tool_fail(t, -ECANCELED);

	tool_error(t, "%s: not all was taken back; run the command again to go on", device);
	return status;
}

static int apply(struct tool *t, struct dmfmt_undo *u, const char *device)
{
	struct dmfmt_dev *dev;
	int err = dmfmt_dev_open(t->ctx, device, t->o.dry_run ? 0 : DMFMT_OPEN_WRITE, &dev);

	if (err)
		return tool_fail(t, err);
	if (t->o.dry_run) {
		writes_begin(t);
		err = dmfmt_dev_set_dry_run(dev, writes_print, t);
	}
	if (!err)
		err = dmfmt_undo_apply(u, dev);
	if (t->o.dry_run)
		writes_end(t);
	else if (!err)
		err = dmfmt_dev_sync(dev);
	dmfmt_dev_close(dev);
	if (err == -ECANCELED)
		return cancelled(t, device);
	if (err)
		return tool_fail(t, err);
	out_text(t->out, t->o.dry_run ? "nothing was changed" : "the device is as it was before");
	return tool_end(t, 0);
}

int verb_undo(struct tool *t)
{
	struct dmfmt_undo_info info = { .size = sizeof(info) };
	struct dmfmt_undo *u;
	const char *device;
	int err, status;

	if (t->o.list && t->o.dry_run)
		return tool_usage(t, "--list and --dry-run exclude each other");
	err = dmfmt_undo_open(t->ctx, t->arg[0], &u);
	if (err)
		return tool_fail(t, err);
	dmfmt_undo_get_info(u, &info);
	device = t->arg[1] ? t->arg[1] : info.device;
	status = tool_begin(t, device, NULL);
	if (!status) {
		print_header(t, &info);
		status = t->o.list ? list(t, u) : apply(t, u, device);
	}
	dmfmt_undo_close(u);
	return status;
}
