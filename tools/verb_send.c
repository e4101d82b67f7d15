// SPDX-License-Identifier: GPL-2.0-or-later
/* The difference of a snapshot and its origin as a stream. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

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
	if (!t->o.direction)
		return tool_usage(t, "expected --forward (from the snapshot's state to the origin's) "
				  "or --backward (the reverse)");
	if (t->o.output)
		return 0;
	if (t->o.format == OUT_JSON)
		return tool_usage(t, "--json: standard output is the stream, expected --output too");
	if (isatty(STDOUT_FILENO))
		return tool_usage(t, "standard output is a terminal, expected a file, a pipe, or "
				  "--output");
	return 0;
}

static unsigned direction(const struct tool *t)
{
	return t->o.direction == 1 ? DMFMT_SEND_FORWARD : DMFMT_SEND_BACKWARD;
}

static int send_to_file(struct tool *t, struct dmfmt_view *v, struct newfile *nf)
{
	int status, err, fd = newfile_open(nf);

	if (fd < 0) {
		tool_error(t, "%s: %s", nf->temp, strerror(-fd));
		return tool_abort(t, STATUS_ERROR, strerror(-fd));
	}
	err = dmfmt_send(v, fd, direction(t), out_field, t->out);
	if (!err && fsync(fd))
		err = -errno;
	if (close(fd) && !err)
		err = -errno;
	if (err)
		return tool_fail(t, err);
	out_str(t->out, NULL, "output", nf->final);
	status = newfile_commit(t, nf);
	return status ? tool_abort(t, status, "the file could not be made") : tool_end(t, 0);
}

static int send_file(struct tool *t, struct dmfmt_view *v)
{
	struct newfile nf = { 0 };
	int status = newfile_init(t, &nf, t->o.output);

	if (!status)
		status = tool_begin(t, t->arg[0], t->cmd->family->name);
	if (!status)
		status = send_to_file(t, v, &nf);
	newfile_drop(&nf);
	return status;
}

static int send_view(struct tool *t, struct dmfmt *f)
{
	struct dmfmt_view *v;
	int status, err = dmfmt_view_open(f, &v);

	if (err)
		return tool_fail(t, err);
	if (t->o.output) {
		status = send_file(t, v);
	} else {
		err = dmfmt_send(v, STDOUT_FILENO, direction(t), NULL, NULL);
		status = err ? tool_fail(t, err) : 0;
	}
	dmfmt_view_close(v);
	return status;
}

int verb_send(struct tool *t)
{
	struct store s = { 0 };
	int status = check_options(t);

	if (!status)
		status = store_open_read(t, &s, 0);
	if (!status)
		status = fingerprint_apply(t, s.f);
	if (!status)
		status = send_view(t, s.f);
	store_close(&s);
	return status;
}
