/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tool's files share: the table of commands and the state of one run. */
#ifndef DMTOOL_H
#define DMTOOL_H

#include "../libdmfmt/dmfmt.h"
#include "opts.h"
#include "out.h"

/* exit status as in fsck(8), or-ed */
enum {
	STATUS_OK = 0,
	STATUS_MENDED = 1,
	STATUS_LEFT = 4,
	STATUS_ERROR = 8,
	STATUS_USAGE = 16,
	STATUS_CANCELLED = 32,
};

/*
 * struct family - one format as the commands speak of it
 * @name: the library's name of the format, and the first half of its commands
 * @what: in words; @records, @record: what its records are called, the first also in a dump
 * @unit_field: the head field that says what one unit of a record is, in units of @unit_field_bytes
 * @pictures: what map draws (dmfmt_occupancy()), NULL-terminated
 * @header: what its header is called
 * @data_verb: what bringing its data home is called ("merge")
 * @data_done: what is so afterwards, @data_none: if there was nothing to do; @data_left: what to do with
 *             what could not be moved
 * @shared_origin: several stores may belong to one origin, and the others suffer from what one brings home
 */
struct family {
	const char *name, *what;
	const char *records, *record;
	const char *unit_field;
	uint64_t unit_field_bytes;
	const char *const *pictures;
	const char *header;
	const char *data_verb, *data_done, *data_none, *data_left;
	bool shared_origin;
};

enum arg_kind { ARG_DEVICE, ARG_FILE, ARG_SECTOR };

struct command_arg {
	const char *name;	/* NULL ends the list */
	enum arg_kind kind;
	bool optional;
	const char *help;
};

#define MAX_ARGS 3

/*
 * struct command - one row of the table
 * @family: NULL for commands of no family
 * @sets: its options, NULL-terminated
 * @fsck: also found as argv[0] "fsck.<this>"
 * @notes: more for --help, or NULL
 */
struct command {
	const char *name;
	int (*run)(struct tool *t);
	const struct family *family;
	const char *help;
	const struct opt_set *const *sets;
	struct command_arg args[MAX_ARGS + 1];
	const char *fsck;
	const char *notes;
};

extern const struct command commands[];		/* sorted by name; the last has no name */
extern const struct family *const families[];	/* NULL-terminated */
extern const struct opt_set top_options;	/* of `dmtool` itself */
const struct command *command_by_name(const char *name);
const struct command *command_by_fsck(const char *type);

/*
 * struct tool - the state of one run
 * @name: as it was called, "dmtool" or "fsck.DM_snapshot_cow"; @as_fsck: the latter
 * @line: the whole command line, for undo files and advice
 * @arg: positional arguments, NULL where not given
 * @out: the printer while a document is open
 */
struct tool {
	const char *name;
	bool as_fsck;
	char line[1024];
	const struct command *cmd;
	struct opts o;
	const char *arg[MAX_ARGS];
	struct dmfmt_ctx *ctx;
	struct out *out;
};

/* dmtool.c: one line on standard error */
void tool_error(struct tool *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void tool_warn(struct tool *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void tool_note(struct tool *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* a usage error: the line, then where to find help; returns STATUS_USAGE */
int tool_usage(struct tool *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* say why the library failed with @err; returns the exit status */
int tool_fail(struct tool *t, int err);
/* open the printer and print what every document begins with; 0 or the exit status */
int tool_begin(struct tool *t, const char *device, const char *format);
/* close it; returns @status, or-ed with STATUS_ERROR if standard output failed */
int tool_end(struct tool *t, int status);
/* close it after a failure that was reported already; returns @status */
int tool_abort(struct tool *t, int status, const char *why);

/* describe.c */
void help_print(struct tool *t, const struct command *cmd);
void help_print_all(struct tool *t);
void help_print_usage(struct tool *t);
void describe_print(void);

/* verb_*.c */
int verb_probe(struct tool *t);
int verb_image(struct tool *t);
int verb_undo(struct tool *t);
int verb_check(struct tool *t);
int verb_create_snapshot(struct tool *t);
int verb_dump(struct tool *t);
int verb_find(struct tool *t);
int verb_info(struct tool *t);
int verb_ls(struct tool *t);
int verb_map(struct tool *t);
int verb_repair(struct tool *t);
int verb_restore(struct tool *t);
int verb_cat(struct tool *t);
int verb_convert_snapshot(struct tool *t);
int verb_convert_writecache(struct tool *t);
int verb_create_writecache(struct tool *t);
int verb_delta(struct tool *t);
int verb_discard(struct tool *t);
int verb_export(struct tool *t);
int verb_fingerprint(struct tool *t);
int verb_receive(struct tool *t);
int verb_send(struct tool *t);
int verb_size_snapshot(struct tool *t);
int verb_writeback(struct tool *t);

#endif
