/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Printing.  A command says what it has to say once, in fields, lists, findings and rows; two
 * printers, text and JSON, are behind this interface, so what the text says is in the JSON by
 * construction.
 * Memory does not grow with what is printed.
 */
#ifndef DMTOOL_OUT_H
#define DMTOOL_OUT_H

#include "../libdmfmt/dmfmt.h"
#include "rows.h"

struct out;

/* what every document begins with */
struct out_head {
	const char *command;	/* schema is "dmtool." and this */
	const char *device;
	const char *format;	/* NULL: none */
	bool live;
};

enum list_style { LIST_TABLE, LIST_BLOCKS };

/*
 * struct out_ops - one printer
 * @field: a named value; fields of a group come together
 * @list, @item, @list_end: a list of objects under @key; text prints @title above it
 * @finding: one finding, between list(LIST_BLOCKS) and list_end
 * @rules, @summary: the rest of a report
 * @rows: many records as numbers, between rows_begin and rows_end
 * @text: a remark for people; other parts of the document say the same to programs
 * @end: close the document; @abort: likewise after a failure
 */
struct out_ops {
	void (*begin)(struct out *o, const struct out_head *h);
	void (*field)(struct out *o, const struct dmfmt_field *f);
	void (*list)(struct out *o, const char *key, const char *title, enum list_style style);
	void (*item)(struct out *o, const struct dmfmt_field *f, size_t nr);
	void (*list_end)(struct out *o);
	void (*finding)(struct out *o, const struct dmfmt_finding *f);
	void (*rules)(struct out *o, const struct dmfmt_report *r);
	void (*summary)(struct out *o, const struct dmfmt_summary *s, const char *record_word,
			bool complete);
	void (*rows_begin)(struct out *o, const char *key, const char *const *names, size_t nr);
	int (*rows)(struct out *o, uint64_t first, const uint64_t *values, size_t nr);
	void (*rows_end)(struct out *o);
	void (*text)(struct out *o, const char *line);
	void (*end)(struct out *o);
	void (*abort)(struct out *o, const char *why);
	void (*free)(struct out *o);
};

struct out {
	const struct out_ops *ops;
	struct sink sink;
	struct row_format rows;
	bool colour;
	bool verbose;
	bool dry_run;		/* what is reported as done would only be done */
};

/* JSON lines: what is no row stands in the first line and in the last, or all of it in the last */
enum out_kind { OUT_KIND_TEXT, OUT_KIND_JSON, OUT_KIND_LINES, OUT_KIND_LINES_HEAD_LAST };

/* on descriptor @fd; NULL without memory */
struct out *out_new(enum out_kind kind, int fd, bool verbose);
void out_begin(struct out *o, const struct out_head *h);

/* a dmfmt_field_fn, @out is the struct out; 0 or what the sink failed with */
int out_field(void *out, const struct dmfmt_field *f);
int out_str(struct out *o, const char *group, const char *name, const char *value);
int out_num(struct out *o, const char *group, const char *name, uint64_t value,
	    enum dmfmt_unit unit);
int out_bool(struct out *o, const char *group, const char *name, bool value);

void out_list(struct out *o, const char *key, const char *title, enum list_style style);
int out_item(struct out *o, const struct dmfmt_field *f, size_t nr);
void out_list_end(struct out *o);

int out_rows_begin(struct out *o, const char *key, const char *const *names, size_t nr);
int out_rows(struct out *o, uint64_t first, const uint64_t *values, size_t nr);
void out_rows_end(struct out *o);

/* findings, most severe first, then rules and the summary; !@complete: the check was stopped */
void out_report(struct out *o, const struct dmfmt_report *r, const char *record_word,
		bool complete);
/* printed only as text; an empty line separates */
void out_text(struct out *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* 0, or the first error of standard output; the printer is gone afterwards */
int out_end(struct out *o);
/*
 * After a failure: what has not left the buffer is dropped, else a JSON document is closed with
 * "error": @why, so that it stays valid.
 */
void out_abort(struct out *o, const char *why);

const char *out_severity(enum dmfmt_severity s);

/* fields for out_item() */
#define OUT_NUM(n, v)	 { .name = (n), .kind = DMFMT_U64, .u = (v) }
#define OUT_UNIT(n, v, x) { .name = (n), .kind = DMFMT_U64, .u = (v), .unit = (x) }
#define OUT_HEX(n, v)	 { .name = (n), .kind = DMFMT_HEX, .u = (v) }
#define OUT_BOOL(n, v)	 { .name = (n), .kind = DMFMT_BOOL, .u = (v) }
#define OUT_STR(n, v)	 { .name = (n), .kind = DMFMT_STRING, .s = (v) }

/* the two printers */
struct out *out_text_new(void);
struct out *out_json_new(enum out_kind kind);

#endif
