/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Options.  Each is described once, in a table of struct opt; the parser, --help, `dmtool
 * --describe` and with it the completions and the drift test all read that one description.
 */
#ifndef DMTOOL_OPTS_H
#define DMTOOL_OPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum opt_kind {
	OPT_FLAG,	/* bool */
	OPT_COUNT,	/* int, one more each time */
	OPT_PICK,	/* int, set to `value`; two different ones exclude each other */
	OPT_CHOICE,	/* int, the position of the argument in `arg` ("a|b|c"), from 1 */
	OPT_FILE,	/* const char *, a file that is written */
	OPT_DEVICE,	/* const char *, a device or an image */
	OPT_DEVICES,	/* struct opt_list, one more each time */
	OPT_WORD,	/* const char *, anything else */
	OPT_NUMBER,	/* uint64_t, plain */
	OPT_SECTORS,	/* uint64_t, sectors or with a unit */
	OPT_BYTES,	/* uint64_t, bytes or with a unit */
	OPT_RANGE,	/* uint64_t[2], two OPT_SECTORS with a dash between them */
	OPT_PERCENT,	/* uint64_t, thousandths of a percent: "12.5%" or "12.5" is 12500 */
	OPT_IGNORED,	/* accepted for others' sake */
	OPT_HELP, OPT_VERSION, OPT_DESCRIBE,
};

/*
 * struct opt - one option
 * @letter: short name or 0; @name: long name or NULL
 * @at: where in struct opts the value goes
 * @arg: what the argument is called, NULL if there is none
 */
struct opt {
	char letter;
	const char *name;
	enum opt_kind kind;
	size_t at;
	int value;
	const char *arg;
	const char *help;
};

/* a named group of options that several commands share */
struct opt_set {
	const char *title;
	const struct opt *opts;		/* up to one with neither letter nor name */
};

#define OPT_LIST_MAX 32

struct opt_list {
	const char *v[OPT_LIST_MAX];
	size_t nr;
};

enum out_format { OUT_TEXT, OUT_JSON, OUT_LINES, OUT_RANGES, OUT_RESOLVED };
enum repair_mode { MODE_UNSET, MODE_CHECK, MODE_PREEN, MODE_YES };
enum progress_mode { PROGRESS_AUTO, PROGRESS_BAR, PROGRESS_JSON, PROGRESS_NONE, PROGRESS_FSCK };

/* every value that an option can set; numbers that were not given are DMFMT_NONE */
struct opts {
	int format;			/* enum out_format */
	int verbose;
	int progress;			/* enum progress_mode + 1, 0 if not given */
	uint64_t progress_fd;
	uint64_t memory_bytes;
	uint64_t max_findings;
	const char *origin;
	uint64_t origin_sectors;
	bool live, strict, data, dry_run, list_writes, force, header_only;

	int mode;			/* enum repair_mode */
	bool check_clean;		/* fsck's -f */
	uint64_t accept_loss;
	bool revalidate, origin_unmodified, rebuild_header, keep_tail, interrupted_create;
	uint64_t chunk_sectors;
	const char *output;
	const char *undo;
	bool no_undo;

	bool metadata_only;		/* restore */
	bool reverse;			/* find */
	uint64_t origin_range[2];	/* ls */
	const char *svg;		/* map */
	uint64_t width;
	bool ascii;
	bool udev;			/* probe */
	bool expand, obfuscate, include_suspect;	/* image */
	const char *image_format;
	bool list;			/* undo */

	/* moving data */
	bool verify, keep_going, device_was_cut, only_snapshot, yes, exact;
	struct opt_list other_cow;
	const char *save, *mapfile, *origin_fingerprint;
	uint64_t rate;			/* bytes per second */
	int export_format;		/* 1 raw, 2 qcow2, 0 not given */
	uint64_t offset, length;	/* cat, bytes */
	int delta_format;		/* 1 text, 2 json, 3 json-lines, 4 bmap, 0 not given */
	int direction;			/* send: 1 forward, 2 backward */
	uint64_t size_sectors;		/* convert: of a new file */
	int from_format;		/* convert: 1 qcow2 */
	uint64_t change;		/* size: thousandths of a percent */
	uint64_t samples;		/* fingerprint */

	/* writecache */
	uint64_t start_sectors, to_start_sectors;
	uint64_t block_bytes;
	bool resize;
	int seq_count;			/* repair: 1 max, 2 max+1, 0 not given */
	const char *side_file;
	const char *to_file;		/* flush --to */
};

struct command;
struct tool;

/*
 * Read @argv into t->o and t->arg.  @argv[0] is the command's name.
 * Return: 0 go on; 1 done (help or version was printed); negative: a usage error, already printed.
 */
int opts_parse(struct tool *t, int argc, char **argv);
/* what to call option @o in a message: "--json" or "-n" */
const char *opts_name(char buf[64], const struct opt *o);
/* its argument as in a synopsis: "=SIZE", " FD", "" */
const char *opts_arg(char buf[64], const struct opt *o);

#endif
