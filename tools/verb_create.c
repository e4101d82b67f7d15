// SPDX-License-Identifier: GPL-2.0-or-later
/* Make an empty store. */
#include <errno.h>

#include "store.h"
#include "writing.h"

struct create {
	struct tool *t;
	struct dmfmt_dev *cow, *origin;
	struct dmfmt_snapshot_params params;
	struct write_list writes;
};

static int check_options(struct tool *t)
{
	if (t->o.chunk_sectors == DMFMT_NONE)
		return tool_usage(
			t, "--chunk-size is missing: the kernel's usual sizes are 4K to 512K");
	return writing_check_options(t);
}

static int open_devices(struct create *c)
{
	struct tool *t = c->t;
	int err = 0, status;
	const char *origin = store_origin_path(t, &status);

	if (status)
		return status;
	/* only its size and block size are looked at, and it is usually mounted */
	if (origin)
		err = dmfmt_dev_open(t->ctx, origin, DMFMT_OPEN_LIVE, &c->origin);
	if (!err)
		err = dmfmt_dev_open(t->ctx, t->arg[0], t->o.dry_run ? 0 : DMFMT_OPEN_WRITE,
				     &c->cow);
	if (!err)
		err = writes_attach(t, c->cow, write_list_add, &c->writes);
	if (err)
		return tool_fail(t, err);
	/* a blank device holds nothing to go back to */
	if (t->o.dry_run || !(t->o.force || t->o.undo))
		return 0;
	status = undo_setup(t, c->cow, t->arg[0]);
	return status == UNDO_NO_PLACE ? undo_no_place(t) : status;
}

/* what the kernel would refuse is the caller's mistake */
static int create_failed(struct tool *t, struct create *c, int err)
{
	int status = tool_fail(t, err);

	undo_hint(t, c->cow);
	return err == -EINVAL ? STATUS_USAGE : status;
}

static int create(struct create *c)
{
	struct tool *t = c->t;
	int err, status = tool_begin(t, t->arg[0], t->cmd->family->name);

	if (status)
		return status;
	c->params = (struct dmfmt_snapshot_params){
		.size = sizeof(c->params),
		.chunk_sectors = t->o.chunk_sectors,
		.origin = c->origin,
		.flags = t->o.force ? DMFMT_CREATE_FORCE : 0,
	};
	err = dmfmt_snapshot_geometry(t->ctx, c->cow, &c->params, out_field, t->out);
	if (!err)
		err = dmfmt_snapshot_create(t->ctx, c->cow, &c->params);
	if (!err && !t->o.dry_run)
		err = dmfmt_dev_sync(c->cow);
	if (err)
		return create_failed(t, c, err);
	if (t->o.dry_run || t->o.list_writes)
		write_list_print(t, &c->writes);
	undo_report(t, c->cow);
	return tool_end(t, 0);
}

int verb_create_snapshot(struct tool *t)
{
	struct create c = { .t = t };
	int status = check_options(t);

	if (!status)
		status = open_devices(&c);
	if (!status)
		status = create(&c);
	dmfmt_dev_close(c.origin);
	dmfmt_dev_close(c.cow);
	write_list_free(&c.writes);
	return status;
}
