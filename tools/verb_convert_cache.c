// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A cache becomes another one: of another block size, device size or start_sector; or it gets another
 * n_blocks in place.  But for the latter, what is read stays as it is.  A new file gets its name at the
 * end.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "fingerprint.h"
#include "newfile.h"
#include "store.h"
#include "writing.h"

/*
 * struct convert - one conversion
 * @start: of the cache that is read, @to_start: of the new one, sectors
 * @to: the destination; @new_file: it is one, under a temporary name
 */
struct convert {
	struct tool *t;
	struct store store;
	struct dmfmt_writecache_params params;
	uint64_t start, to_start;
	struct dmfmt_dev *to;
	bool new_file;
	struct newfile nf;
};

static int check_resize(struct tool *t)
{
	const char *name = t->o.output ? "--output" : t->o.block_bytes != DMFMT_NONE ? "--block-size" :
			   t->o.to_start_sectors != DMFMT_NONE ? "--to-start-sector" :
			   t->o.force ? "--force" : NULL;

	return name ? tool_usage(t, "%s: is not taken with --resize, which changes n_blocks in place",
				 name) : 0;
}

static int check_options(struct convert *c)
{
	struct tool *t = c->t;
	struct stat st;
	int status = writing_check_options(t);

	if (!status && !t->o.block_bytes)
		status = tool_usage(t, "--block-size: found 0, expected 512 to 65536 bytes");
	if (status || t->o.resize)
		return status ? status : check_resize(t);
	if (!t->o.output)
		return tool_usage(t, "--output is missing: where shall the new cache be (or --resize)");
	if (store_same_device(t->arg[0], t->o.output))
		return tool_usage(t, "%s: is read and cannot be the new cache as well", t->o.output);
	c->new_file = stat(t->o.output, &st) && errno == ENOENT;
	if (!c->new_file && t->o.size_sectors != DMFMT_NONE)
		return tool_usage(t, "--size: %s exists and has its size, expected a new file",
				  t->o.output);
	return 0;
}

static int same_as_origin(struct convert *c)
{
	struct dmfmt_dev_info info = { .size = sizeof(info) };

	if (c->new_file || !c->store.origin)
		return 0;
	dmfmt_dev_get_info(c->store.origin, &info);
	return store_same_device(info.path, c->t->o.output) ?
	       tool_usage(c->t, "%s: is the origin and cannot be the new cache as well",
			  c->t->o.output) : 0;
}

/* what the kernel would refuse is the caller's mistake */
static int convert_failed(struct convert *c, int err)
{
	struct dmfmt_dev_info info = { .size = sizeof(info) };
	int status = tool_fail(c->t, err);

	undo_hint(c->t, c->to);
	if (c->to && !c->new_file) {
		dmfmt_dev_get_info(c->to, &info);
		if (info.written_bytes)
			tool_error(c->t, "%s: is no cache until the conversion has come to its end; "
				   "run the command again with --force", c->t->o.output);
	}
	return err == -EINVAL ? STATUS_USAGE : status;
}

/* ---- the destination ---- */

/* as large as the old one, from its start on, unless --size says something else */
static int file_sectors(struct convert *c, uint64_t *sectors)
{
	struct dmfmt_dev_info info = { .size = sizeof(info) };
	struct tool *t = c->t;
	uint64_t least, most = INT64_MAX / 512;
	int err = dmfmt_writecache_convert_size(c->store.f, &c->params, &least);

	if (err)
		return convert_failed(c, err);
	dmfmt_dev_get_info(c->store.dev, &info);
	*sectors = t->o.size_sectors;
	if (*sectors == DMFMT_NONE && c->to_start <= most)
		*sectors = info.size_bytes / 512 - c->start + c->to_start;
	if (*sectors <= most && *sectors >= c->to_start && *sectors - c->to_start >= least)
		return 0;
	if (c->to_start > most - least || *sectors > most)
		tool_error(t, "%s: size and start_sector are too large, expected at most %llu sectors",
			   t->o.output, (unsigned long long)most);
	else
		tool_error(t, "%s: the file would have %llu sectors, expected at least %llu for all "
			   "dirty blocks (--size)", t->o.output, (unsigned long long)*sectors,
			   (unsigned long long)(least + c->to_start));
	return STATUS_ERROR;
}

static int make_file(struct convert *c)
{
	struct tool *t = c->t;
	uint64_t sectors = 0;
	int err, status = file_sectors(c, &sectors);

	if (!status)
		status = newfile_init(t, &c->nf, t->o.output);
	if (status || t->o.dry_run)
		return status;
	err = dmfmt_dev_open(t->ctx, c->nf.temp, DMFMT_OPEN_WRITE | DMFMT_OPEN_CREATE, &c->to);
	if (err)
		return tool_fail(t, err);
	c->nf.made = true;
	err = dmfmt_dev_truncate(c->to, sectors * 512);
	return err ? tool_fail(t, err) : 0;
}

/* an existing device is only saved if that is asked for: all that is written may be as large as it is */
static int open_existing(struct convert *c)
{
	struct tool *t = c->t;
	int err = dmfmt_dev_open(t->ctx, t->o.output, t->o.dry_run ? 0 : DMFMT_OPEN_WRITE, &c->to);

	if (err)
		return tool_fail(t, err);
	return t->o.undo && !t->o.dry_run ? undo_setup(t, c->to, t->o.output) : 0;
}

static int open_destination(struct convert *c)
{
	int err, status = c->new_file ? make_file(c) : open_existing(c);

	if (status || !c->to)
		return status;
	err = c->to_start ? dmfmt_dev_set_start(c->to, c->to_start) : 0;
	return err ? tool_fail(c->t, err) : 0;
}

/* ---- the work ---- */

static int begin(struct convert *c)
{
	struct tool *t = c->t;
	int status = tool_begin(t, t->arg[0], t->cmd->family->name);

	if (status)
		return status;
	out_bool(t->out, NULL, "in_place", t->o.resize);
	if (!t->o.resize) {
		out_str(t->out, NULL, "output", t->o.output);
		out_bool(t->out, NULL, "new_file", c->new_file);
	}
	return 0;
}

/* the writes of @dev are printed as they come, before the counts that are known at the end */
static int attach(struct convert *c, struct dmfmt_dev *dev)
{
	struct tool *t = c->t;
	int err = writes_attach(t, dev, writes_print, t);

	if (!err && (t->o.dry_run || t->o.list_writes))
		writes_begin(t);
	return err;
}

static void detach(struct convert *c)
{
	if (c->t->o.dry_run || c->t->o.list_writes)
		writes_end(c->t);
}

/* fields that come while writes are being listed wait for the end of the list */
struct kept {
	struct dmfmt_field v[16];
	size_t nr;
};

static int keep(void *arg, const struct dmfmt_field *f)
{
	struct kept *k = arg;

	if (k->nr < sizeof(k->v) / sizeof(k->v[0]))
		k->v[k->nr++] = *f;
	return 0;
}

static void print_kept(struct tool *t, const struct kept *k)
{
	for (size_t i = 0; i < k->nr; i++)
		out_field(t->out, &k->v[i]);
}

static int finish_file(struct convert *c)
{
	int err = dmfmt_dev_sync(c->to);

	if (err)
		return tool_fail(c->t, err);
	dmfmt_dev_close(c->to);
	c->to = NULL;
	return newfile_commit(c->t, &c->nf);
}

/* of a new file there is nothing to list */
static int dry_file(struct convert *c)
{
	struct dmfmt_field f = { .group = "cache", .name = "needed_sectors",
				 .unit = DMFMT_UNIT_SECTORS, .unit_bytes = 512 };
	int err = dmfmt_writecache_convert_size(c->store.f, &c->params, &f.u);

	if (err)
		return convert_failed(c, err);
	out_field(c->t->out, &f);
	return tool_end(c->t, 0);
}

static int run(struct convert *c)
{
	struct kept counts = { .nr = 0 };
	struct tool *t = c->t;
	int err, status = begin(c);

	if (status)
		return status;
	if (!c->to)
		return dry_file(c);
	err = attach(c, c->to);
	if (!err)
		err = dmfmt_writecache_convert(c->store.f, c->to, &c->params, keep, &counts);
	if (!err && !c->new_file && !t->o.dry_run)
		err = dmfmt_dev_sync(c->to);
	if (err)
		return convert_failed(c, err);
	detach(c);
	print_kept(t, &counts);
	undo_report(t, c->to);
	if (c->new_file)
		status = finish_file(c);
	return status ? tool_abort(t, status, "the file could not be made") : tool_end(t, 0);
}

/* ---- in place ---- */

static int open_resize(struct convert *c)
{
	struct tool *t = c->t;
	int status = store_open(t, &c->store, t->arg[0], t->o.dry_run ? 0 : DMFMT_OPEN_WRITE, 0);

	if (!status)
		status = fingerprint_apply(t, c->store.f);
	if (status || t->o.dry_run)
		return status;
	status = undo_setup(t, c->store.dev, t->arg[0]);
	return status == UNDO_NO_PLACE ? undo_no_place(t) : status;
}

static int resize_failed(struct convert *c, int err)
{
	int status = tool_fail(c->t, err);

	undo_hint(c->t, c->store.dev);
	return status;
}

static int resize(struct convert *c)
{
	struct kept counts = { .nr = 0 };
	struct tool *t = c->t;
	uint64_t sectors = 0;
	int err, status;

	if (t->o.size_sectors != DMFMT_NONE) {
		if (t->o.size_sectors <= c->start)
			return tool_usage(t, "--size: nothing would be left behind start_sector %llu",
					  (unsigned long long)c->start);
		sectors = t->o.size_sectors - c->start;
	}
	status = open_resize(c);
	if (!status)
		status = begin(c);
	if (status)
		return status;
	err = attach(c, c->store.dev);
	if (!err)
		err = dmfmt_writecache_resize(c->store.f, sectors, keep, &counts);
	if (!err && !t->o.dry_run)
		err = dmfmt_dev_sync(c->store.dev);
	if (err)
		return resize_failed(c, err);
	detach(c);
	print_kept(t, &counts);
	undo_report(t, c->store.dev);
	return tool_end(t, 0);
}

static int convert(struct convert *c)
{
	struct tool *t = c->t;
	int status = store_open_read(t, &c->store, 0);

	if (!status)
		status = fingerprint_apply(t, c->store.f);
	if (!status)
		status = same_as_origin(c);
	if (!status)
		status = open_destination(c);
	return status ? status : run(c);
}

int verb_convert_writecache(struct tool *t)
{
	struct convert c = { .t = t };
	int status = check_options(&c);

	if (status)
		return status;
	c.params = (struct dmfmt_writecache_params){
		.size = sizeof(c.params),
		.block_bytes = t->o.block_bytes == DMFMT_NONE ? 0 : t->o.block_bytes,
		.flags = t->o.force ? DMFMT_CREATE_FORCE : 0,
	};
	c.start = t->o.start_sectors == DMFMT_NONE ? 0 : t->o.start_sectors;
	c.to_start = t->o.to_start_sectors == DMFMT_NONE ? c.start : t->o.to_start_sectors;
	status = t->o.resize ? resize(&c) : convert(&c);
	dmfmt_dev_close(c.to);
	newfile_drop(&c.nf);
	store_close(&c.store);
	return status;
}
