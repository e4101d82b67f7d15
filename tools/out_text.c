// SPDX-License-Identifier: GPL-2.0-or-later
/* The printer for people: aligned, human units beside exact numbers. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "human.h"
#include "out.h"

#define HELD_MAX  128		/* fields of one group that are aligned with each other */
#define VALUE_LEN 4096

struct held {
	char *name, *value;
};

/*
 * struct text_out - the text printer
 * @held: fields of the present group, kept back so that their values can be aligned
 * @printed: something was printed since the last empty line
 * @gap: an empty line is due before the next one
 * @keep: rows or items were printed that help even if the rest fails
 */
struct text_out {
	struct out o;
	char *group;
	struct held held[HELD_MAX];
	size_t nr_held;
	bool printed, gap, keep;

	enum list_style style;
	const char *title;
	bool in_list, list_started;
};

static struct text_out *text(struct out *o)
{
	return (struct text_out *)o;
}

/* an empty line before whatever comes next, so that none ends the output */
static void empty_line(struct text_out *t)
{
	t->gap = t->printed;
}

/* before each line */
static void start_line(struct text_out *t)
{
	if (t->gap)
		sink_puts(&t->o.sink, "\n");
	t->gap = false;
	t->printed = true;
}

static void line(struct text_out *t, const char *s)
{
	start_line(t);
	sink_printf(&t->o.sink, "%s\n", s);
}

/* ---- fields ---- */

static void flush_held(struct text_out *t)
{
	const char *indent = t->group ? "  " : "";
	int width = 0;

	for (size_t i = 0; i < t->nr_held; i++)
		width = (int)strlen(t->held[i].name) > width ? (int)strlen(t->held[i].name) : width;
	for (size_t i = 0; i < t->nr_held; i++) {
		start_line(t);
		sink_printf(&t->o.sink, "%s%-*s  %s\n", indent, width, t->held[i].name,
			    t->held[i].value);
		free(t->held[i].name);
		free(t->held[i].value);
	}
	t->nr_held = 0;
}

static bool same(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

static void set_group(struct text_out *t, const char *group)
{
	char clean[256];

	if (same(t->group, group))
		return;
	flush_held(t);
	free(t->group);
	t->group = group ? strdup(group) : NULL;
	empty_line(t);
	if (group)
		line(t, human_clean(clean, sizeof(clean), group));
}

static void hold(struct text_out *t, const char *name, const char *value)
{
	struct held *h;

	if (t->nr_held == HELD_MAX)
		flush_held(t);
	h = &t->held[t->nr_held];
	h->name = strdup(name);
	h->value = strdup(value);
	if (h->name && h->value) {
		t->nr_held++;
		return;
	}
	free(h->name);
	free(h->value);
}

static void text_field(struct out *o, const struct dmfmt_field *f)
{
	char value[VALUE_LEN];

	if (f->kind == DMFMT_STRING && (!f->s || !*f->s))
		return;
	set_group(text(o), f->group);
	human_field(value, sizeof(value), f);
	hold(text(o), f->name, value);
}

static void text_begin(struct out *o, const struct out_head *h)
{
	char value[VALUE_LEN];

	human_clean(value, sizeof(value), h->device);
	hold(text(o), "device", value);
	if (h->format)
		hold(text(o), "format", h->format);
	if (h->live)
		hold(text(o), "live", "yes: the device may change while it is read");
}

/* ---- lists ---- */

static void text_list(struct out *o, const char *key, const char *title, enum list_style style)
{
	struct text_out *t = text(o);

	set_group(t, NULL);
	flush_held(t);
	t->style = style;
	t->title = title;
	t->in_list = true;
	t->list_started = false;
}

/* numbers are aligned to the right under their names, strings end the line */
static void cell(struct text_out *t, const char *s, const struct dmfmt_field *f, bool last)
{
	if (f->kind != DMFMT_STRING)
		sink_printf(&t->o.sink, "  %*s", f->unit == DMFMT_UNIT_NONE ? 12 : 28, s);
	else if (last)
		sink_printf(&t->o.sink, "  %s", s);
	else
		sink_printf(&t->o.sink, "  %-10s", s);
}

static void table_line(struct text_out *t, const struct dmfmt_field *f, size_t nr, bool heading)
{
	char value[VALUE_LEN];

	start_line(t);
	for (size_t i = 0; i < nr; i++) {
		human_field(value, sizeof(value), &f[i]);
		cell(t, heading ? f[i].name : value, &f[i], i + 1 == nr);
	}
	sink_puts(&t->o.sink, "\n");
}

static void start_list(struct text_out *t, const struct dmfmt_field *f, size_t nr)
{
	if (t->list_started)
		return;
	t->list_started = true;
	if (t->title) {
		empty_line(t);
		line(t, t->title);
	}
	if (t->style == LIST_TABLE)
		table_line(t, f, nr, true);
}

static void text_item(struct out *o, const struct dmfmt_field *f, size_t nr)
{
	struct text_out *t = text(o);
	char value[VALUE_LEN];

	t->keep = true;
	start_list(t, f, nr);
	if (t->style == LIST_TABLE) {
		table_line(t, f, nr, false);
		return;
	}
	empty_line(t);
	for (size_t i = 0; i < nr; i++) {
		if (f[i].kind == DMFMT_STRING && (!f[i].s || !*f[i].s))
			continue;
		human_field(value, sizeof(value), &f[i]);
		hold(t, f[i].name, value);
	}
	flush_held(t);
}

static void text_list_end(struct out *o)
{
	text(o)->in_list = false;
	empty_line(text(o));
}

/* ---- reports ---- */

static const char *colour_of(enum dmfmt_severity s)
{
	switch (s) {
	case DMFMT_SEV_FATAL:
		return "\033[1;31m";
	case DMFMT_SEV_REPAIRABLE:
		return "\033[1;33m";
	case DMFMT_SEV_WARNING:
		return "\033[35m";
	default:
		return "\033[36m";
	}
}

static void severity_word(struct text_out *t, const struct dmfmt_finding *f)
{
	const char *mended = t->o.dry_run ? "would mend" : "mended";
	const char *word = f->mended ? mended : out_severity(f->severity);

	if (t->o.colour)
		sink_printf(&t->o.sink, "%s%s\033[0m: ",
			    f->mended ? "\033[1;32m" : colour_of(f->severity), word);
	else
		sink_printf(&t->o.sink, "%s: ", word);
}

static void detail(struct text_out *t, const char *what, const char *s)
{
	char clean[VALUE_LEN];

	if (s && *s)
		sink_printf(&t->o.sink, "    %-10s  %s\n", what,
			    human_clean(clean, sizeof(clean), s));
}

static void where(struct text_out *t, const struct dmfmt_finding *f)
{
	char size[HUMAN_LEN], s[160];

	if (f->offset != DMFMT_NONE) {
		snprintf(s, sizeof(s), "byte %" PRIu64, f->offset);
		detail(t, "place", s);
	}
	if (f->origin_nr) {
		snprintf(s, sizeof(s), "sectors %" PRIu64 " + %" PRIu64 " (%s)", f->origin_sector,
			 f->origin_nr, human_size(size, f->origin_nr, 512));
		detail(t, "origin", s);
	}
	if (f->loss && !f->mended) {
		snprintf(s, sizeof(s), "%" PRIu64 " to mend it", f->loss);
		detail(t, "loss", s);
	}
}

static void text_finding(struct out *o, const struct dmfmt_finding *f)
{
	struct text_out *t = text(o);
	char message[VALUE_LEN];

	if (!t->list_started)
		empty_line(t);
	t->list_started = true;
	start_line(t);
	severity_word(t, f);
	sink_puts(&o->sink, human_clean(message, sizeof(message), f->message));
	if (f->count > 1 && !f->place[0])	/* the rest of a kind; others say their numbers */
		sink_printf(&o->sink, " (%" PRIu64 " times)", f->count);
	sink_printf(&o->sink, " [%s]\n", f->code);
	if (o->verbose)
		where(t, f);
	else if (f->loss && !f->mended)
		where(t, f);
	if (!f->mended) {
		detail(t, "kernel", f->kernel);
		detail(t, "suggestion", f->suggestion);
	}
}

static void text_rules(struct out *o, const struct dmfmt_report *r)
{
	size_t nr = dmfmt_report_nr_rules(r), not_checked = 0;
	struct text_out *t = text(o);

	for (size_t i = 0; i < nr; i++) {
		const struct dmfmt_rule *rule = dmfmt_report_rule(r, i);

		not_checked += !rule->checked;
		if (!o->verbose)
			continue;
		start_line(t);
		sink_printf(&o->sink, "rule %3u  %-11s  %s%s%s\n", rule->number,
			    rule->checked ? "checked" : "not checked", rule->name,
			    *rule->reason ? ": " : "", rule->reason);
	}
	if (o->verbose)
		empty_line(t);
	else if (not_checked)
		out_text(o, "rules: %zu checked, %zu not checked (-v lists them)",
			 nr - not_checked, not_checked);
}

static void text_summary(struct out *o, const struct dmfmt_summary *s, const char *record_word,
			 bool complete)
{
	const char *verdict = s->fatal | s->repairable ? "damaged"
			      : complete	       ? "clean"
						       : "not complete";

	out_text(o,
		 "summary: %s: %" PRIu64 " fatal, %" PRIu64 " repairable, %" PRIu64
		 " warnings, %" PRIu64 " notes, %" PRIu64 " %s",
		 verdict, s->fatal, s->repairable, s->warnings, s->notes, s->mended,
		 o->dry_run ? "would be mended" : "mended");
	if (s->areas == DMFMT_NONE)
		out_text(o, "read: %" PRIu64 " %s, %u %s", s->records, record_word, s->passes,
			 s->passes == 1 ? "pass" : "passes");
	else
		out_text(o, "read: %" PRIu64 " %s in %" PRIu64 " areas, %u %s", s->records, record_word,
			 s->areas, s->passes, s->passes == 1 ? "pass" : "passes");
	if (s->dirty != DMFMT_NONE && s->dirty)
		out_text(o, "dirty: the origin still lacks what %" PRIu64 " %s hold", s->dirty, record_word);
	if (s->loss)
		out_text(o,
			 "loss: mending all of it gives up %" PRIu64 " %s (--accept-loss=%" PRIu64
			 ")",
			 s->loss, record_word, s->loss);
}

/* ---- rows ---- */

static void text_rows_begin(struct out *o, const char *key, const char *const *names, size_t nr)
{
	struct text_out *t = text(o);

	set_group(t, NULL);
	flush_held(t);
	empty_line(t);
	start_line(t);
	rows_init(&o->rows, ROWS_TEXT, names, nr);
	sink_printf(&o->sink, "%s\n%*s", key, (int)o->rows.width, "record");
	for (size_t i = 0; i < nr; i++)
		sink_printf(&o->sink, "%*s", (int)o->rows.width, names[i]);
	sink_puts(&o->sink, "\n");
	t->keep = true;
}

static int text_rows(struct out *o, uint64_t first, const uint64_t *values, size_t nr)
{
	return rows_put(&o->sink, &o->rows, first, values, nr);
}

static void text_rows_end(struct out *o)
{
	empty_line(text(o));
}

/* ---- the rest ---- */

static void text_text(struct out *o, const char *s)
{
	char clean[VALUE_LEN];

	set_group(text(o), NULL);
	flush_held(text(o));
	if (*s)
		line(text(o), human_clean(clean, sizeof(clean), s));
	else
		empty_line(text(o));
}

static void text_end(struct out *o)
{
	flush_held(text(o));
}

/* half a list may help, half a heading does not; the reason goes to standard error */
static void text_abort(struct out *o, const char *why)
{
	if (text(o)->keep || !sink_discard(&o->sink))
		flush_held(text(o));
}

static void text_free(struct out *o)
{
	struct text_out *t = text(o);

	for (size_t i = 0; i < t->nr_held; i++) {
		free(t->held[i].name);
		free(t->held[i].value);
	}
	free(t->group);
	free(t);
}

static const struct out_ops text_ops = {
	.begin = text_begin,
	.field = text_field,
	.list = text_list,
	.item = text_item,
	.list_end = text_list_end,
	.finding = text_finding,
	.rules = text_rules,
	.summary = text_summary,
	.rows_begin = text_rows_begin,
	.rows = text_rows,
	.rows_end = text_rows_end,
	.text = text_text,
	.end = text_end,
	.abort = text_abort,
	.free = text_free,
};

struct out *out_text_new(void)
{
	struct text_out *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->o.ops = &text_ops;
	return &t->o;
}
