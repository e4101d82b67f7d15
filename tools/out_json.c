// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The printer for programs.  The top object is written piece by piece, each value by json-c, rows
 * by rows.c, so memory stays flat.  As JSON lines, rows and list items are lines of their own, and
 * what else there is to say goes into one object in front of them and one behind (or all of it
 * behind).
 */
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "out.h"

#define SCHEMA_VERSION 1
#define DOCUMENT_FLAGS (JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE)
#define LINE_FLAGS     (JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)

/*
 * struct json_out - the JSON printer
 * @group, @group_name: object being filled, written when another group begins
 * @root: with lines, the object that becomes the next line
 * @array: with lines, a list that stays inside @root
 */
struct json_out {
	struct out o;
	enum out_kind kind;
	struct json_object *group, *root, *array;
	char *group_name;
	bool any_key, in_list, any_item, in_rows, item_lines, head_written;
};

static struct json_out *json(struct out *o)
{
	return (struct json_out *)o;
}

/* length of the UTF-8 sequence at @p, 0 if it is none */
static size_t utf8_len(const unsigned char *p)
{
	size_t n = *p < 0x80 ? 1 : *p >= 0xc2 && *p < 0xe0 ? 2 : *p >= 0xe0 && *p < 0xf0 ? 3 :
		   *p >= 0xf0 && *p < 0xf5 ? 4 : 0;

	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((n == 3 && ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f))) ||
	    (n == 4 && ((*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f))))
		return 0;
	return n;
}

/* names on disk are bytes, JSON is UTF-8: what is none becomes U+FFFD */
static struct json_object *new_string(const char *s)
{
	const unsigned char *p = (const unsigned char *)(s ? s : "");
	char *clean = malloc(3 * strlen((const char *)p) + 1), *out = clean;
	struct json_object *obj;

	if (!clean)
		return NULL;
	while (*p) {
		size_t n = utf8_len(p);

		memcpy(out, n ? (const char *)p : "\xef\xbf\xbd", n ? n : 3);
		out += n ? n : 3;
		p += n ? n : 1;
	}
	*out = '\0';
	obj = json_object_new_string(clean);
	free(clean);
	return obj;
}

static struct json_object *new_hex(uint64_t v)
{
	char buf[24];

	snprintf(buf, sizeof(buf), "0x%" PRIx64, v);
	return json_object_new_string(buf);
}

static struct json_object *new_number(uint64_t v)
{
	return v == DMFMT_NONE ? NULL : json_object_new_uint64(v);
}

static struct json_object *new_value(const struct dmfmt_field *f)
{
	switch (f->kind) {
	case DMFMT_U64:
		return json_object_new_uint64(f->u);
	case DMFMT_HEX:
		return new_hex(f->u);
	case DMFMT_BOOL:
		return json_object_new_boolean(f->u != 0);
	default:
		return f->s ? new_string(f->s) : NULL;
	}
}

static bool lines(const struct json_out *j)
{
	return j->kind != OUT_KIND_JSON;
}

/* one value of the top object of a document */
static void write_key(struct json_out *j, const char *key)
{
	struct json_object *k = new_string(key);

	sink_puts(&j->o.sink, j->any_key ? ",\n  " : "{\n  ");
	sink_puts(&j->o.sink, json_object_to_json_string_ext(k, DOCUMENT_FLAGS));
	sink_puts(&j->o.sink, ": ");
	json_object_put(k);
	j->any_key = true;
}

/* takes @value over */
static void put_top(struct json_out *j, const char *key, struct json_object *value)
{
	if (lines(j)) {
		json_object_object_add(j->root, key, value);
		return;
	}
	write_key(j, key);
	sink_puts(&j->o.sink, json_object_to_json_string_ext(value, DOCUMENT_FLAGS));
	json_object_put(value);
}

static void close_group(struct json_out *j)
{
	if (j->group)
		put_top(j, j->group_name, j->group);
	free(j->group_name);
	j->group = NULL;
	j->group_name = NULL;
}

static void add_to_group(struct json_out *j, const char *group, const char *key,
			 struct json_object *value)
{
	if (!group || !j->group_name || strcmp(group, j->group_name)) {
		close_group(j);
		if (group) {
			j->group = json_object_new_object();
			j->group_name = strdup(group);
		}
	}
	if (group)
		json_object_object_add(j->group, key, value);
	else
		put_top(j, key, value);
}

static void json_field(struct out *o, const struct dmfmt_field *f)
{
	add_to_group(json(o), f->group, f->name, new_value(f));
}

static void json_begin(struct out *o, const struct out_head *h)
{
	struct json_out *j = json(o);
	char schema[128];

	snprintf(schema, sizeof(schema), "dmtool.%s", h->command);
	put_top(j, "schema", json_object_new_string(schema));
	put_top(j, "schema_version", json_object_new_int(SCHEMA_VERSION));
	put_top(j, "dmtool_version", json_object_new_string(DMFMT_VERSION));
	put_top(j, "device", new_string(h->device));
	put_top(j, "format", h->format ? new_string(h->format) : NULL);
	if (h->live)
		put_top(j, "live", json_object_new_boolean(true));
}

static void write_line(struct json_out *j, struct json_object *obj)
{
	sink_puts(&j->o.sink, json_object_to_json_string_ext(obj, LINE_FLAGS));
	sink_puts(&j->o.sink, "\n");
}

/* the line in front of the rows */
static void write_head(struct json_out *j)
{
	close_group(j);
	if (j->kind != OUT_KIND_LINES || j->head_written)
		return;
	write_line(j, j->root);
	json_object_put(j->root);
	j->root = json_object_new_object();
	j->head_written = true;
}

static void json_list(struct out *o, const char *key, const char *title, enum list_style style)
{
	struct json_out *j = json(o);

	write_head(j);
	j->in_list = true;
	j->any_item = false;
	j->item_lines = j->kind == OUT_KIND_LINES ||
			(lines(j) && (!strcmp(key, "findings") || !strcmp(key, "ranges")));
	if (j->item_lines)
		return;
	if (lines(j)) {
		j->array = json_object_new_array();
		json_object_object_add(j->root, key, j->array);
		return;
	}
	write_key(j, key);
	sink_puts(&o->sink, "[");
}

/* takes @obj over */
static void put_item(struct json_out *j, struct json_object *obj)
{
	if (j->array) {
		json_object_array_add(j->array, obj);
		return;
	}
	if (j->item_lines) {
		write_line(j, obj);
	} else {
		sink_puts(&j->o.sink, j->any_item ? ",\n    " : "\n    ");
		sink_puts(&j->o.sink, json_object_to_json_string_ext(obj, DOCUMENT_FLAGS));
	}
	j->any_item = true;
	json_object_put(obj);
}

static void json_item(struct out *o, const struct dmfmt_field *f, size_t nr)
{
	struct json_object *obj = json_object_new_object();

	for (size_t i = 0; i < nr; i++)
		json_object_object_add(obj, f[i].name, new_value(&f[i]));
	put_item(json(o), obj);
}

static void json_list_end(struct out *o)
{
	struct json_out *j = json(o);

	if (!lines(j))
		sink_puts(&o->sink, j->any_item ? "\n  ]" : "]");
	j->array = NULL;
	j->in_list = false;
}

static void json_finding(struct out *o, const struct dmfmt_finding *f)
{
	struct json_object *obj = json_object_new_object();

	json_object_object_add(obj, "code", new_string(f->code));
	json_object_object_add(obj, "number", json_object_new_uint64(f->number));
	json_object_object_add(obj, "rule", json_object_new_uint64(f->rule));
	json_object_object_add(obj, "severity", new_string(out_severity(f->severity)));
	json_object_object_add(obj, "mended", json_object_new_boolean(f->mended));
	json_object_object_add(obj, "count", json_object_new_uint64(f->count));
	json_object_object_add(obj, "record", new_number(f->record));
	json_object_object_add(obj, "record2", new_number(f->record2));
	json_object_object_add(obj, "offset", new_number(f->offset));
	json_object_object_add(obj, "origin_sector", new_number(f->origin_sector));
	json_object_object_add(obj, "origin_nr_sectors", json_object_new_uint64(f->origin_nr));
	json_object_object_add(obj, "loss", json_object_new_uint64(f->loss));
	json_object_object_add(obj, "place", new_string(f->place));
	json_object_object_add(obj, "found", new_string(f->found));
	json_object_object_add(obj, "expected", new_string(f->expected));
	json_object_object_add(obj, "message", new_string(f->message));
	json_object_object_add(obj, "kernel", new_string(f->kernel));
	json_object_object_add(obj, "suggestion", new_string(f->suggestion));
	put_item(json(o), obj);
}

static void rules_list(struct out *o, const char *key, const struct dmfmt_report *r, bool checked)
{
	json_list(o, key, NULL, LIST_TABLE);
	for (size_t i = 0; i < dmfmt_report_nr_rules(r); i++) {
		const struct dmfmt_rule *rule = dmfmt_report_rule(r, i);
		struct dmfmt_field f[] = {
			OUT_NUM("rule", rule->number), OUT_STR("name", rule->name),
			OUT_STR("reason", rule->reason),
		};

		if (rule->checked == checked)
			json_item(o, f, checked ? 2 : 3);
	}
	json_list_end(o);
}

static void json_rules(struct out *o, const struct dmfmt_report *r)
{
	rules_list(o, "checked", r, true);
	rules_list(o, "not_checked", r, false);
}

static void json_summary(struct out *o, const struct dmfmt_summary *s, const char *record_word,
			 bool complete)
{
	static const char group[] = "summary";

	out_bool(o, group, "clean", complete && !(s->fatal | s->repairable));
	out_bool(o, group, "complete", complete);
	out_num(o, group, "fatal", s->fatal, DMFMT_UNIT_NONE);
	out_num(o, group, "repairable", s->repairable, DMFMT_UNIT_NONE);
	out_num(o, group, "warnings", s->warnings, DMFMT_UNIT_NONE);
	out_num(o, group, "notes", s->notes, DMFMT_UNIT_NONE);
	out_num(o, group, "mended", s->mended, DMFMT_UNIT_NONE);
	out_num(o, group, "records", s->records, DMFMT_UNIT_NONE);
	if (s->areas != DMFMT_NONE)
		out_num(o, group, "areas", s->areas, DMFMT_UNIT_NONE);
	if (s->dirty != DMFMT_NONE)
		out_num(o, group, "dirty", s->dirty, DMFMT_UNIT_NONE);
	out_num(o, group, "loss", s->loss, DMFMT_UNIT_NONE);
	out_num(o, group, "passes", s->passes, DMFMT_UNIT_NONE);
}

static void json_rows_begin(struct out *o, const char *key, const char *const *names, size_t nr)
{
	struct json_out *j = json(o);

	write_head(j);
	rows_init(&o->rows, lines(j) ? ROWS_LINES : ROWS_ARRAY, names, nr);
	j->in_rows = true;
	if (lines(j))
		return;
	write_key(j, key);
	sink_puts(&o->sink, "[");
}

static int json_rows(struct out *o, uint64_t first, const uint64_t *values, size_t nr)
{
	return rows_put(&o->sink, &o->rows, first, values, nr);
}

static void json_rows_end(struct out *o)
{
	struct json_out *j = json(o);

	j->in_rows = false;
	if (!lines(j))
		sink_puts(&o->sink, o->rows.first ? "]" : "\n  ]");
}

static void json_text(struct out *o, const char *line)
{
}

static void json_end(struct out *o)
{
	struct json_out *j = json(o);

	close_group(j);
	if (lines(j))
		write_line(j, j->root);
	else
		sink_puts(&o->sink, "\n}\n");
}

static void json_abort(struct out *o, const char *why)
{
	struct json_out *j = json(o);

	if (sink_discard(&o->sink) || lines(j))
		return;
	if (j->in_rows)
		json_rows_end(o);
	if (j->in_list)
		json_list_end(o);
	out_str(o, NULL, "error", why);
	json_end(o);
}

static void json_free(struct out *o)
{
	struct json_out *j = json(o);

	json_object_put(j->group);
	json_object_put(j->root);
	free(j->group_name);
	free(j);
}

static const struct out_ops json_ops = {
	.begin = json_begin,
	.field = json_field,
	.list = json_list,
	.item = json_item,
	.list_end = json_list_end,
	.finding = json_finding,
	.rules = json_rules,
	.summary = json_summary,
	.rows_begin = json_rows_begin,
	.rows = json_rows,
	.rows_end = json_rows_end,
	.text = json_text,
	.end = json_end,
	.abort = json_abort,
	.free = json_free,
};

struct out *out_json_new(enum out_kind kind)
{
	struct json_out *j = calloc(1, sizeof(*j));

	if (!j)
		return NULL;
	j->o.ops = &json_ops;
	j->kind = kind;
	j->root = kind == OUT_KIND_JSON ? NULL : json_object_new_object();
	return &j->o;
}
