// SPDX-License-Identifier: GPL-2.0-or-later
/* Make an empty cache. */
#include <errno.h>

#include "store.h"
#include "writing.h"

struct create {
	struct tool *t;
	struct dmfmt_dev *cache, *origin;
	struct dmfmt_writecache_params params;
	struct write_list writes;
};

static int open_devices(struct create *c)
{
	struct tool *t = c->t;
	int err = 0, status;
	const char *origin = store_origin_path(t, &status);

	if (status)
		return status;
	/* only its block size and that of its file system are looked at, and it is usually mounted */
	if (origin)
		err = dmfmt_dev_open(t->ctx, origin, DMFMT_OPEN_LIVE, &c->origin);
	if (!err)
		err = dmfmt_dev_open(t->ctx, t->arg[0], t->o.dry_run ? 0 : DMFMT_OPEN_WRITE,
				     &c->cache);
	if (!err)
		err = store_set_start(t, c->cache);
	if (!err)
		err = writes_attach(t, c->cache, write_list_add, &c->writes);
	if (err)
		return tool_fail(t, err);
	/* a blank device holds nothing to go back to */
	if (t->o.dry_run || !(t->o.force || t->o.undo))
		return 0;
	status = undo_setup(t, c->cache, t->arg[0]);
	return status == UNDO_NO_PLACE ? undo_no_place(t) : status;
}

/* what the kernel would refuse is the caller's mistake */
static int create_failed(struct create *c, int err)
{
	struct dmfmt_dev_info info = { .size = sizeof(info) };
	struct tool *t = c->t;
	int status = tool_fail(t, err);

	undo_hint(t, c->cache);
	dmfmt_dev_get_info(c->cache, &info);
	if (info.written_bytes)
		tool_error(t, "%s: is no cache until create has come to its end; run the command "
			   "again", t->arg[0]);
	return err == -EINVAL ? STATUS_USAGE : status;
}

static int create(struct create *c)
{
	struct tool *t = c->t;
	int err, status = tool_begin(t, t->arg[0], t->cmd->family->name);

	if (status)
		return status;
	c->params = (struct dmfmt_writecache_params){
		.size = sizeof(c->params),
		.block_bytes = t->o.block_bytes == DMFMT_NONE ? 0 : t->o.block_bytes,
		.origin = c->origin,
		.flags = t->o.force ? DMFMT_CREATE_FORCE : 0,
	};
	err = dmfmt_writecache_geometry(t->ctx, c->cache, &c->params, out_field, t->out);
	if (!err)
		err = dmfmt_writecache_create(t->ctx, c->cache, &c->params);
	if (!err && !t->o.dry_run)
		err = dmfmt_dev_sync(c->cache);
	if (err)
		return create_failed(c, err);
	if (t->o.dry_run || t->o.list_writes)
		write_list_print(t, &c->writes);
	undo_report(t, c->cache);
	return tool_end(t, 0);
}

int verb_create_writecache(struct tool *t)
{
	struct create c = { .t = t };
	int status = writing_check_options(t);

	if (!status && !t->o.block_bytes)
		status = tool_usage(t, "--block-size: found 0, expected 512 to 65536 bytes");
	if (!status)
		status = open_devices(&c);
	if (!status)
		status = create(&c);
	dmfmt_dev_close(c.origin);
	dmfmt_dev_close(c.cache);
	write_list_free(&c.writes);
	return status;
}
