// SPDX-License-Identifier: GPL-2.0-or-later
/* What both printers have in common. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "out.h"

static bool want_colour(int fd)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(fd) && !(no && *no) && term && strcmp(term, "dumb");
}

struct out *out_new(enum out_kind kind, int fd, bool verbose)
{
	struct out *o = kind == OUT_KIND_TEXT ? out_text_new() : out_json_new(kind);

	if (!o)
		return NULL;
	o->verbose = verbose;
	o->colour = kind == OUT_KIND_TEXT && want_colour(fd);
	if (sink_init(&o->sink, fd)) {
		o->ops->free(o);
		return NULL;
	}
	return o;
}

void out_begin(struct out *o, const struct out_head *h)
{
	o->ops->begin(o, h);
}

int out_field(void *out, const struct dmfmt_field *f)
{
	struct out *o = out;

	o->ops->field(o, f);
	return -o->sink.err;
}

int out_str(struct out *o, const char *group, const char *name, const char *value)
{
	struct dmfmt_field f = { .group = group, .name = name, .kind = DMFMT_STRING, .s = value };

	return out_field(o, &f);
}

int out_num(struct out *o, const char *group, const char *name, uint64_t value,
	    enum dmfmt_unit unit)
{
	struct dmfmt_field f = { .group = group, .name = name, .kind = DMFMT_U64, .unit = unit,
				 .u = value };

	return out_field(o, &f);
}

int out_bool(struct out *o, const char *group, const char *name, bool value)
{
	struct dmfmt_field f = { .group = group, .name = name, .kind = DMFMT_BOOL, .u = value };

	return out_field(o, &f);
}

void out_list(struct out *o, const char *key, const char *title, enum list_style style)
{
	o->ops->list(o, key, title, style);
}

int out_item(struct out *o, const struct dmfmt_field *f, size_t nr)
{
	o->ops->item(o, f, nr);
	return -o->sink.err;
}

void out_list_end(struct out *o)
{
	o->ops->list_end(o);
}

int out_rows_begin(struct out *o, const char *key, const char *const *names, size_t nr)
{
	if (nr > ROW_COLUMNS)
		nr = ROW_COLUMNS;
	o->ops->rows_begin(o, key, names, nr);
	return -o->sink.err;
}

int out_rows(struct out *o, uint64_t first, const uint64_t *values, size_t nr)
{
	return o->ops->rows(o, first, values, nr);
}

void out_rows_end(struct out *o)
{
	o->ops->rows_end(o);
}

void out_text(struct out *o, const char *fmt, ...)
{
	char *line = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&line, fmt, ap) < 0)
		line = NULL;
	va_end(ap);
	if (line)
		o->ops->text(o, line);
	free(line);
}

const char *out_severity(enum dmfmt_severity s)
{
	static const char *const names[] = {
		[DMFMT_SEV_NOTE] = "note",
		[DMFMT_SEV_WARNING] = "warning",
		[DMFMT_SEV_REPAIRABLE] = "repairable",
		[DMFMT_SEV_FATAL] = "fatal",
	};

	return (unsigned)s <= DMFMT_SEV_FATAL ? names[s] : "unknown";
}

/* most severe first, in the report's order among equals */
static void out_findings(struct out *o, const struct dmfmt_report *r)
{
	size_t nr = dmfmt_report_nr(r);

	out_list(o, "findings", NULL, LIST_BLOCKS);
	for (int sev = DMFMT_SEV_FATAL; sev >= DMFMT_SEV_NOTE; sev--)
		for (size_t i = 0; i < nr; i++) {
			const struct dmfmt_finding *f = dmfmt_report_get(r, i);

			if ((int)f->severity == sev)
				o->ops->finding(o, f);
		}
	out_list_end(o);
}

void out_report(struct out *o, const struct dmfmt_report *r, const char *record_word, bool complete)
{
	struct dmfmt_summary s = { .size = sizeof(s) };

	dmfmt_report_summary(r, &s);
	out_findings(o, r);
	o->ops->rules(o, r);
	o->ops->summary(o, &s, record_word, complete);
}

static int finish(struct out *o)
{
	int err = sink_close(&o->sink);

	o->ops->free(o);
	return err;
}

int out_end(struct out *o)
{
	o->ops->end(o);
	return finish(o);
}

void out_abort(struct out *o, const char *why)
{
	o->ops->abort(o, why);
	finish(o);
}
