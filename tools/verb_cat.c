// SPDX-License-Identifier: GPL-2.0-or-later
/* A part of what a target would show, to standard output. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fingerprint.h"
#include "progress.h"
#include "store.h"

#define PART_BYTES (1024 * 1024)

static int check_options(struct tool *t)
{
	int status;
	const char *origin = store_origin_path(t, &status);

	if (status)
		return status;
	if (!origin)
		return tool_usage(t, "ORIGIN is missing: expected the device that %s belongs to",
				  t->arg[0]);
	if (isatty(STDOUT_FILENO))
		return tool_usage(t, "standard output is a terminal, expected a file or a pipe");
	return 0;
}

static int write_out(struct tool *t, const char *p, size_t n)
{
	while (n) {
		ssize_t done = write(STDOUT_FILENO, p, n);

		if (done < 0 && errno == EINTR && !progress_stopped())
			continue;
		if (done <= 0) {
			tool_error(t, "standard output: %s", strerror(done ? errno : EIO));
			return STATUS_ERROR;
		}
		p += done;
		n -= (size_t)done;
	}
	return 0;
}

/* the range that was asked for; 0 or the exit status */
static int choose_range(struct tool *t, uint64_t size, uint64_t *from, uint64_t *len)
{
	*from = t->o.offset == DMFMT_NONE ? 0 : t->o.offset;
	if (*from > size) {
		tool_error(t, "--offset: found %llu, expected at most %llu bytes: the size of the "
			   "logical device", (unsigned long long)*from, (unsigned long long)size);
		return STATUS_ERROR;
	}
	*len = t->o.length == DMFMT_NONE ? size - *from : t->o.length;
	if (*len > size - *from) {
		tool_error(t, "--length: found %llu, expected at most %llu: the logical device ends at "
			   "%llu bytes", (unsigned long long)*len, (unsigned long long)(size - *from),
			   (unsigned long long)size);
		return STATUS_ERROR;
	}
	return 0;
}

static int copy_range(struct tool *t, struct dmfmt_view *v, char *buf)
{
	uint64_t off, left, total;
	int status = choose_range(t, dmfmt_view_size(v), &off, &left);

	for (total = left; !status && left;) {
		size_t part = left < PART_BYTES ? (size_t)left : PART_BYTES;
		int err = dmfmt_view_read(v, off, buf, part);

		status = err ? tool_fail(t, err) : write_out(t, buf, part);
		off += part;
		left -= part;
		if (!status && progress_report("reading", 1, 1, total - left, total, total - left)) {
			tool_error(t, "stopped");
			status = STATUS_CANCELLED;
		}
	}
	return status;
}

static int cat(struct tool *t, struct dmfmt *f)
{
	struct dmfmt_view *v;
	int status, err = dmfmt_view_open(f, &v);
	void *buf = NULL;

	if (err)
		return tool_fail(t, err);
	if (posix_memalign(&buf, 4096, PART_BYTES))
		status = tool_fail(t, -ENOMEM);
	else
		status = copy_range(t, v, buf);
	free(buf);
	dmfmt_view_close(v);
	return status;
}

/* the family of what lies on @path, or NULL with what else is there; 0 or a negative errno */
static int look_at(struct tool *t, const char *path, const struct family **family, char foreign[256])
{
	char format[64] = "";
	struct dmfmt_dev *dev;
	uint64_t confidence;
	int err = dmfmt_dev_open(t->ctx, path, t->o.live ? DMFMT_OPEN_LIVE : 0, &dev);

	*family = NULL;
	*foreign = '\0';
	if (err)
		return err;
	err = store_set_start(t, dev);
	if (!err)
		err = store_identify(t, dev, format, &confidence);
	if (!err && !*format && dmfmt_foreign_signature(t->ctx, dev, foreign, 256))
		*foreign = '\0';
	dmfmt_dev_close(dev);
	for (const struct family *const *f = families; !err && *f; f++)
		if (!strcmp((*f)->name, format))
			*family = *f;
	return err;
}

static int find_family(struct tool *t, const struct family **family)
{
	const struct family *other;
	char foreign[256], unused[256];
	const char *origin;
	int err = look_at(t, t->arg[0], family, foreign);

	if (err)
		return tool_fail(t, err);
	if (*family)
		return 0;
	origin = store_origin_path(t, &err);
	if (!look_at(t, origin, &other, unused) && other) {
		tool_error(t, "%s: arguments are swapped: found a %s in %s, expected the store first: "
			   "%s %s %s %s", t->arg[0], other->what, origin, t->name, t->cmd->name, origin,
			   t->arg[0]);
		return STATUS_USAGE;
	}
	tool_error(t, "%s: found %s, expected one of the known formats", t->arg[0],
		   *foreign ? foreign : "nothing known");
	return STATUS_ERROR;
}

int verb_cat(struct tool *t)
{
	struct command cmd = *t->cmd;
	struct store s = { 0 };
	int status = check_options(t);

	if (!status)
		status = find_family(t, &cmd.family);
	if (status)
		return status;
	t->cmd = &cmd;
	status = store_open_read(t, &s, 0);
	if (!status)
		status = fingerprint_apply(t, s.f);
	if (!status)
		status = cat(t, s.f);
	store_close(&s);
	t->cmd = command_by_name(cmd.name);
	return status;
}
