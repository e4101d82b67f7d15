// SPDX-License-Identifier: GPL-2.0-or-later
/* Apply a stream to a device. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "dmtool.h"
#include "writing.h"

static int open_stream(struct tool *t)
{
	int fd;

	if (!strcmp(t->arg[0], "-")) {
		if (!isatty(STDIN_FILENO))
			return STDIN_FILENO;
		tool_usage(t, "standard input is a terminal, expected a stream");
		return -1;
	}
	fd = open(t->arg[0], O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		tool_error(t, "%s: %s", t->arg[0], strerror(errno));
	return fd;
}

static bool written(const struct dmfmt_dev *dev)
{
	struct dmfmt_dev_info info = { .size = sizeof(info) };

	dmfmt_dev_get_info(dev, &info);
	return info.written_bytes;
}

static int apply(struct tool *t, int fd, struct dmfmt_dev *dev)
{
	int err = dmfmt_receive(t->ctx, fd, dev, t->o.dry_run ? DMFMT_RECEIVE_VERIFY_ONLY : 0,
				out_field, t->out);

	if (!err && !t->o.dry_run)
		err = dmfmt_dev_sync(dev);
	if (!err) {
		undo_report(t, dev);
		return tool_end(t, 0);
	}
	undo_hint(t, dev);
	tool_fail(t, err);
	if (err == -ESTALE)
		tool_note(t, "%s: nothing was written; if an earlier receive was cut off there, dmtool "
			  "undo with its undo file brings the old bytes back", t->arg[1]);
	else if (err == -ENODATA && written(dev))
		tool_note(t, "%s: what has arrived was applied; the whole stream again goes on from "
			  "there", t->arg[1]);
	return err == -ECANCELED ? STATUS_CANCELLED : err == -ESTALE ? STATUS_LEFT : STATUS_ERROR;
}

static int receive(struct tool *t, int fd, struct dmfmt_dev *dev)
{
	int status = t->o.dry_run ? 0 : undo_setup(t, dev, t->arg[1]);

	if (status == UNDO_NO_PLACE)
		return undo_no_place(t);
	if (!status)
		status = tool_begin(t, t->arg[1], NULL);
	return status ? status : apply(t, fd, dev);
}

int verb_receive(struct tool *t)
{
	struct dmfmt_dev *dev;
	int fd, err, status = writing_check_options(t);

	if (status)
		return status;
	fd = open_stream(t);
	if (fd < 0)
		return !strcmp(t->arg[0], "-") ? STATUS_USAGE : STATUS_ERROR;
	err = dmfmt_dev_open(t->ctx, t->arg[1], t->o.dry_run ? 0 : DMFMT_OPEN_WRITE, &dev);
	if (err) {
		status = tool_fail(t, err);
	} else {
		status = receive(t, fd, dev);
		dmfmt_dev_close(dev);
	}
	if (fd != STDIN_FILENO)
		close(fd);
	return status;
}
