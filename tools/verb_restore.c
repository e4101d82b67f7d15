// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Rebuild metadata from a dump.  A new file is written in one pass and gets its name at the end; an
 * existing destination is only touched after a first pass has found the whole dump sound.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dump_in.h"
#include "newfile.h"
#include "progress.h"
#include "store.h"
#include "writing.h"

/*
 * struct restore - one restore
 * @fd: the dump, @dump_bytes its size if it is a file (else 0)
 * @dev: destination; @made: it is a new file under a temporary name
 * @tail: the dump's last fields, kept for the report
 */
struct restore {
	struct tool *t;
	struct dump_in *in;
	int fd;
	uint64_t dump_bytes;
	struct dmfmt_dev *dev;
	bool new_file;
	struct newfile nf;
	uint64_t records;
};

static const char *dump_name(const struct restore *r)
{
	return strcmp(r->t->arg[0], "-") ? r->t->arg[0] : "standard input";
}

static int check_options(struct tool *t)
{
	if (!t->o.output)
		return tool_usage(t, "--output is missing: where shall it be restored to");
	if (t->o.force && !t->o.metadata_only)
		return tool_usage(t, "--force is only taken with --metadata-only");
	return writing_check_options(t);
}

/* ---- reading ---- */

static int open_dump(struct restore *r)
{
	const struct dmfmt_column *columns;
	struct tool *t = r->t;
	struct stat st;
	size_t nr;
	int err;

	r->fd = strcmp(t->arg[0], "-") ? open(t->arg[0], O_RDONLY | O_CLOEXEC) : dup(STDIN_FILENO);
	if (r->fd < 0 || fstat(r->fd, &st)) {
		tool_error(t, "%s: %s", dump_name(r), strerror(errno));
		return STATUS_ERROR;
	}
	if (S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode)) {
		tool_error(t, "%s: found a %s, expected a dump", dump_name(r),
			   S_ISDIR(st.st_mode) ? "directory" : "block device");
		return STATUS_ERROR;
	}
	r->dump_bytes = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
	r->in = calloc(1, sizeof(*r->in));
	err = r->in ? store_columns(t, t->cmd->family, &columns, &nr) : -ENOMEM;
	if (err)
		return tool_fail(t, err);
	r->in->format = t->cmd->family->name;
	r->in->records = t->cmd->family->records;
	r->in->nr_columns = nr < ROW_COLUMNS ? nr : ROW_COLUMNS;
	for (size_t i = 0; i < r->in->nr_columns; i++)
		r->in->names[i] = columns[i].name;
	return 0;
}

static int start_reading(struct restore *r)
{
	int err = json_in_open(&r->in->in, r->fd, progress_stopped);

	if (!err)
		err = dump_in_init(r->in);
	return err ? tool_fail(r->t, err) : 0;
}

static int dump_failed(struct restore *r)
{
	char why[300];

	snprintf(why, sizeof(why), "%s", r->in->in.error);
	tool_abort(r->t, 0, why);
	if (r->in->in.stopped) {
		tool_error(r->t, "stopped");
		return STATUS_CANCELLED;
	}
	tool_error(r->t, "%s: %s", dump_name(r), why);
	return STATUS_ERROR;
}

/* the library refuses a value: say also where in the dump it stands */
static int value_failed(struct restore *r, int err)
{
	char why[1200];

	if (err == -ECANCELED)
		return tool_fail(r->t, err);
	snprintf(why, sizeof(why), "%s", dmfmt_ctx_error(r->t->ctx));
	tool_abort(r->t, 0, why);
	tool_error(r->t, "%s: before byte %llu: %s", dump_name(r),
		   (unsigned long long)json_offset(&r->in->in), *why ? why : strerror(-err));
	return STATUS_ERROR;
}

/* ---- feeding the builder ---- */

static int feed_one(struct restore *r, struct dmfmt_builder *b, enum dump_kind kind)
{
	struct dump_in *in = r->in;

	switch (kind) {
	case DUMP_RAW_BYTES:
		return dmfmt_restore_raw(b, in->offset, in->raw, in->nr);
	case DUMP_RECORDS:
		r->records += in->nr;
		return dmfmt_restore_records(b, in->values, in->nr);
	case DUMP_STALE:
		return dmfmt_restore_stale(b, in->area, in->slot, in->values);
	default:
		return dmfmt_restore_commit(b, in->field, in->nr);
	}
}

static int feed(struct restore *r, struct dmfmt_builder *b, const char *what, unsigned pass,
		unsigned nr_passes)
{
	enum dump_kind kind;

	r->records = 0;
	do {
		uint64_t at = json_offset(&r->in->in);
		int err;

		kind = dump_next(r->in);
		if (kind == DUMP_ERROR)
			return dump_failed(r);
		if (progress_report(what, pass, nr_passes, at, r->dump_bytes, at))
			return tool_fail(r->t, -ECANCELED);
		err = feed_one(r, b, kind);
		if (err)
			return value_failed(r, err);
	} while (kind != DUMP_TAIL);
	return 0;
}

static int read_head(struct restore *r)
{
	int status = start_reading(r);

	if (status)
		return status;
	if (dump_next(r->in) != DUMP_HEAD)
		return dump_failed(r);
	if (r->in->live)
		tool_warn(r->t, "%s: was taken from a device in use and may be inconsistent",
			  dump_name(r));
	return 0;
}

/* ---- where it begins ---- */

static int head_number(const struct restore *r, const char *name, uint64_t *out)
{
	for (size_t i = 0; i < r->in->nr; i++)
		if (!strcmp(r->in->field[i].name, name) && r->in->field[i].kind == DMFMT_U64) {
			*out = r->in->field[i].u;
			return 0;
		}
	return -ENOENT;
}

/* where it begins on the destination: as asked for, or where it began when it was dumped */
static uint64_t start_sector(const struct restore *r)
{
	uint64_t start = 0;

	if (r->t->o.start_sectors != DMFMT_NONE)
		return r->t->o.start_sectors;
	head_number(r, "start_sector", &start);
	return start;
}

/* @sectors of the destination, as if the store began there where it began when it was dumped */
static uint64_t sectors_as_dumped(const struct restore *r, uint64_t sectors)
{
	uint64_t was = 0, now = start_sector(r);

	head_number(r, "start_sector", &was);
	return now < sectors && was <= INT64_MAX / 512 ? sectors - now + was : sectors;
}

/* after read_head(): all of the dump into @dev, or through the checks alone if that is NULL */
static int pass(struct restore *r, struct dmfmt_dev *dev, unsigned nr, unsigned nr_passes)
{
	unsigned flags = r->t->o.metadata_only ? DMFMT_RESTORE_METADATA_ONLY : 0;
	struct dmfmt_dev_info info = { .size = sizeof(info) };
	struct dmfmt_builder *b = NULL;
	int err, status;

	dmfmt_dev_get_info(r->dev, &info);
	err = dmfmt_restore_begin(r->t->ctx, dev, sectors_as_dumped(r, info.size_bytes / 512),
				  r->in->format, r->in->field, r->in->nr, flags, &b);
	if (err)
		return tool_fail(r->t, err);
	status = feed(r, b, dev ? "restoring" : "validating", nr, nr_passes);
	dmfmt_restore_free(b);
	json_in_close(&r->in->in);
	return status;
}

/* ---- a new file ---- */

static int set_start(struct restore *r)
{
	uint64_t start = start_sector(r);
	int err = start ? dmfmt_dev_set_start(r->dev, start) : 0;

	return err ? tool_fail(r->t, err) : 0;
}

/* of a new file: the whole device, and what it is moved by */
static int file_sectors(struct restore *r, uint64_t *sectors)
{
	uint64_t was = 0, all = 0, most = INT64_MAX / 512, start = start_sector(r);

	head_number(r, "start_sector", &was);
	if (!head_number(r, "device_sectors", &all) && all && all <= most && was < all &&
	    start <= most - (all - was)) {
		*sectors = start + (all - was);
		return 0;
	}
	tool_error(r->t, "%s: device_sectors: found %s, expected the size of the store in sectors",
		   dump_name(r), !all ? "none" : all > most ? "too many" :
		   "no room behind start_sector");
	return STATUS_ERROR;
}

static int make_file(struct restore *r)
{
	struct tool *t = r->t;
	uint64_t sectors = 0;
	int err, status = file_sectors(r, &sectors);

	if (status)
		return status;
	status = newfile_init(t, &r->nf, t->o.output);
	if (status)
		return status;
	err = dmfmt_dev_open(t->ctx, r->nf.temp, DMFMT_OPEN_WRITE | DMFMT_OPEN_CREATE, &r->dev);
	if (err)
		return tool_fail(t, err);
	r->nf.made = true;
	err = dmfmt_dev_truncate(r->dev, sectors * 512);
	return err ? tool_fail(t, err) : set_start(r);
}

/* a dry run validates against the size that the file would have */
static int validate_only(struct restore *r)
{
	struct dmfmt_builder *b = NULL;
	uint64_t sectors = 0;
	int err, status;

	head_number(r, "device_sectors", &sectors);
	err = dmfmt_restore_begin(r->t->ctx, NULL, sectors, r->in->format, r->in->field, r->in->nr,
				  DMFMT_RESTORE_METADATA_ONLY, &b);
	if (err)
		return tool_fail(r->t, err);
	status = feed(r, b, "validating", 1, 1);
	dmfmt_restore_free(b);
	return status;
}

static int finish_file(struct restore *r)
{
	int err = dmfmt_dev_sync(r->dev);

	if (err)
		return tool_fail(r->t, err);
	dmfmt_dev_close(r->dev);
	r->dev = NULL;
	return newfile_commit(r->t, &r->nf);
}

static int print_result(struct restore *r)
{
	struct tool *t = r->t;

	out_str(t->out, NULL, "dump", dump_name(r));
	out_bool(t->out, NULL, "new_file", r->new_file);
	out_num(t->out, NULL, t->cmd->family->records, r->records, DMFMT_UNIT_NONE);
	if (r->dev)
		undo_report(t, r->dev);
	return tool_end(t, 0);
}

static int restore_new(struct restore *r)
{
	struct tool *t = r->t;
	int err, status = read_head(r);

	if (status)
		return status;
	if (t->o.dry_run) {
		status = tool_begin(t, t->o.output, r->in->format);
		status = status ? status : validate_only(r);
		return status ? status : print_result(r);
	}
	status = make_file(r);
	if (!status)
		status = tool_begin(t, t->o.output, r->in->format);
	if (status)
		return status;
	if (t->o.list_writes)
		writes_begin(t);
	err = writes_attach(t, r->dev, writes_print, t);
	status = err ? tool_fail(t, err) : pass(r, r->dev, 1, 1);
	if (status)
		return status;
	if (t->o.list_writes)
		writes_end(t);
	tool_note(t, "%s: only metadata were restored: the data that they name are not there",
		  t->o.output);
	status = finish_file(r);
	return status ? status : print_result(r);
}

/* ---- an existing destination ---- */

static int refuse_foreign(struct restore *r)
{
	struct tool *t = r->t;
	char what[256] = "";

	if (!t->o.metadata_only || t->o.force ||
	    dmfmt_foreign_signature(t->ctx, r->dev, what, sizeof(what)) || !*what)
		return 0;
	tool_error(t, "%s: found %s, expected a store or a blank device (--force overwrites it)",
		   t->o.output, what);
	return STATUS_ERROR;
}

static int open_existing(struct restore *r)
{
	struct tool *t = r->t;
	int err;

	if (lseek(r->fd, 0, SEEK_CUR) < 0)
		return tool_usage(
			t,
			"%s: cannot be read twice, expected a regular file: %s exists, so the "
			"dump is read once to validate it and again to restore it",
			dump_name(r), t->o.output);
	if (store_same_device(t->arg[0], t->o.output))
		return tool_usage(t, "%s: the dump and the destination are the same file",
				  t->arg[0]);
	err = dmfmt_dev_open(t->ctx, t->o.output, t->o.dry_run ? 0 : DMFMT_OPEN_WRITE, &r->dev);
	return err ? tool_fail(t, err) : refuse_foreign(r);
}

static int stopped_half_way(struct restore *r, int status)
{
	struct dmfmt_dev_info info = { .size = sizeof(info) };

	undo_hint(r->t, r->dev);
	dmfmt_dev_get_info(r->dev, &info);
	if (info.written_bytes)
		tool_error(r->t, "%s: is not a valid store until the restore has come to its end; "
			   "run the command again", r->t->o.output);
	return status;
}

static int set_undo(struct restore *r)
{
	int status = r->t->o.dry_run ? 0 : undo_setup(r->t, r->dev, r->t->o.output);

	return status == UNDO_NO_PLACE ? undo_no_place(r->t) : status;
}

static int second_pass(struct restore *r)
{
	struct tool *t = r->t;
	bool list = t->o.dry_run || t->o.list_writes;
	int err, status;

	if (lseek(r->fd, 0, SEEK_SET) < 0)
		return tool_fail(t, -errno);
	status = tool_begin(t, t->o.output, r->in->format);
	if (!status)
		status = read_head(r);
	if (status)
		return status;
	if (list)
		writes_begin(t);
	err = writes_attach(t, r->dev, writes_print, t);
	status = err ? tool_fail(t, err) : pass(r, r->dev, 2, 2);
	if (!status && !t->o.dry_run) {
		err = dmfmt_dev_sync(r->dev);
		status = err ? tool_fail(t, err) : 0;
	}
	if (status)
		return stopped_half_way(r, status);
	if (list)
		writes_end(t);
	return print_result(r);
}

static int restore_existing(struct restore *r)
{
	int status = open_existing(r);

	if (!status)
		status = read_head(r);
	if (!status)
		status = set_start(r);
	if (!status)
		status = pass(r, NULL, 1, 2);
	if (!status)
		status = set_undo(r);
	return status ? status : second_pass(r);
}

int verb_restore(struct tool *t)
{
	struct restore r = { .t = t, .fd = -1 };
	struct stat st;
	int status = check_options(t);

	if (status)
		return status;
	status = open_dump(&r);
	r.new_file = stat(t->o.output, &st) && errno == ENOENT;
	if (!status)
		status = r.new_file ? restore_new(&r) : restore_existing(&r);
	if (r.in)
		json_in_close(&r.in->in);
	free(r.in);
	dmfmt_dev_close(r.dev);
	newfile_drop(&r.nf);
	if (r.fd >= 0)
		close(r.fd);
	return status;
}
