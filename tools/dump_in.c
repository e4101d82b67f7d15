// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "dump_in.h"

#define SCHEMA_VERSION 1
#define NAME_SHOWN 40		/* of a key in messages */

int dump_in_init(struct dump_in *d)
{
	d->state = DUMP_AT_START;
	d->arrays_seen = 0;
	d->live = false;
	return json_rows_init(&d->rows, d->names, d->nr_columns);
}

static enum dump_kind fail_at(struct dump_in *d, const char *found, const char *expected)
{
	json_fail(&d->in, "found %s, expected %s", found, expected);
	return DUMP_ERROR;
}

static enum dump_kind unexpected(struct dump_in *d, enum json_token t, const char *expected)
{
	if (t == JSON_END)
		json_fail(&d->in, "the dump ends here, expected %s", expected);
	else if (t != JSON_ERROR)
		fail_at(d, json_token_name(t), expected);
	return DUMP_ERROR;
}

/* ---- scalars: the members of an object ---- */

static const char *keep_text(struct dump_in *d, const char *s, size_t len)
{
	char *copy = d->text + d->text_len;

	if (len >= DUMP_TEXT - d->text_len) {
		json_fail(&d->in, "found more than %d bytes of names and strings", DUMP_TEXT);
		return NULL;
	}
	memcpy(copy, s, len + 1);
	d->text_len += len + 1;
	return copy;
}

static struct dmfmt_field *find_field(struct dump_in *d, const char *name)
{
	for (size_t i = 0; i < d->nr; i++)
		if (!strcmp(d->field[i].name, name))
			return &d->field[i];
	return NULL;
}

/* a key was read: start its field */
static struct dmfmt_field *new_field(struct dump_in *d)
{
	struct dmfmt_field *f = &d->field[d->nr];

	if (find_field(d, d->in.string)) {
		json_fail(&d->in, "found the key \"%.*s\" twice", NAME_SHOWN, d->in.string);
		return NULL;
	}
	if (d->nr == DUMP_FIELDS) {
		json_fail(&d->in, "found more than %d keys", DUMP_FIELDS);
		return NULL;
	}
	memset(f, 0, sizeof(*f));
	f->name = keep_text(d, d->in.string, d->in.string_len);
	return f->name ? f : NULL;
}

/* "0x..." is how numbers of kind HEX are written */
static bool parse_hex(const char *s, uint64_t *out)
{
	uint64_t v = 0;
	size_t n = 0;

	if (s[0] != '0' || s[1] != 'x')
		return false;
	for (s += 2; *s; s++, n++) {
		int d = *s >= '0' && *s <= '9'	 ? *s - '0'
			: *s >= 'a' && *s <= 'f' ? *s - 'a' + 10
						 : -1;

		if (d < 0 || n == 16)
			return false;
		v = v << 4 | (uint64_t)d;
	}
	*out = v;
	return n > 0;
}

static bool set_value(struct dump_in *d, struct dmfmt_field *f, enum json_token t)
{
	switch (t) {
	case JSON_NUMBER:
		f->kind = DMFMT_U64;
		f->u = d->in.number;
		return true;
	case JSON_TRUE:
	case JSON_FALSE:
		f->kind = DMFMT_BOOL;
		f->u = t == JSON_TRUE;
		return true;
	case JSON_STRING:
		if (parse_hex(d->in.string, &f->u)) {
			f->kind = DMFMT_HEX;
			return true;
		}
		/* fall through */
	case JSON_NULL:
		f->kind = DMFMT_STRING;
		f->s = keep_text(d, t == JSON_STRING ? d->in.string : "",
				 t == JSON_STRING ? d->in.string_len : 0);
		return f->s;
	default:
		unexpected(d, t, "a value");
		return false;
	}
}

static bool take_colon(struct dump_in *d)
{
	enum json_token t = json_next(&d->in);

	if (t == JSON_COLON)
		return true;
	unexpected(d, t, "':'");
	return false;
}

/*
 * Members up to '}' (returns JSON_OBJECT_END), or up to the '[' that follows a key (JSON_ARRAY, and
 * that key is the last of d->field, without a value).  @t: the token behind '{' or ','.
 */
static enum json_token take_members(struct dump_in *d, enum json_token t)
{
	if (t == JSON_OBJECT_END)
		return t;
	for (;;) {
		struct dmfmt_field *f;

		if (t != JSON_STRING) {
			unexpected(d, t, "a key");
			return JSON_ERROR;
		}
		f = new_field(d);
		if (!f || !take_colon(d))
			return JSON_ERROR;
		t = json_next(&d->in);
		d->nr++;
		if (t == JSON_ARRAY)
			return t;
		if (!set_value(d, f, t))
			return JSON_ERROR;
		t = json_next(&d->in);
		if (t == JSON_OBJECT_END)
			return t;
		if (t != JSON_COMMA) {
			unexpected(d, t, "',' or '}'");
			return JSON_ERROR;
		}
		t = json_next(&d->in);
	}
}

static enum json_token take_object(struct dump_in *d)
{
	enum json_token t;

	d->nr = d->text_len = 0;
	t = take_members(d, json_next(&d->in));
	if (t == JSON_ARRAY)
		return json_fail(&d->in, "found an array, expected a value");
	return t;
}

/* ---- the head ---- */

/* take the field @name out of d->field */
static bool take_field(struct dump_in *d, const char *name, struct dmfmt_field *out)
{
	struct dmfmt_field *f = find_field(d, name);

	if (!f)
		return false;
	*out = *f;
	memmove(f, f + 1, (char *)&d->field[--d->nr] - (char *)f);
	return true;
}

static enum dump_kind check_head(struct dump_in *d)
{
	struct dmfmt_field f;
	char expected[80];

	snprintf(expected, sizeof(expected), "dmtool.%s-dump", d->format);
	if (!take_field(d, "schema", &f))
		return fail_at(d, "no \"schema\"", expected);
	if (f.kind != DMFMT_STRING || strcmp(f.s, expected)) {
		json_fail(&d->in, "schema: found \"%.*s\", expected \"%s\"", NAME_SHOWN,
			  f.s ? f.s : "?", expected);
		return DUMP_ERROR;
	}
	if (!take_field(d, "schema_version", &f) || f.kind != DMFMT_U64 || f.u != SCHEMA_VERSION) {
		json_fail(&d->in, "schema_version: found another one, expected %d", SCHEMA_VERSION);
		return DUMP_ERROR;
	}
	if (!take_field(d, "format", &f) || f.kind != DMFMT_STRING || strcmp(f.s, d->format)) {
		json_fail(&d->in, "format: found another one, expected \"%s\"", d->format);
		return DUMP_ERROR;
	}
	take_field(d, "dmtool_version", &f);
	take_field(d, "device", &f);
	d->live = take_field(d, "live", &f) && f.u;
	return DUMP_HEAD;
}

/* a key with an array: which one, each at most once and not before those that come first */
static bool enter_array(struct dump_in *d, const char *key)
{
	static const enum dump_kind kinds[] = { DUMP_RAW_BYTES, DUMP_RECORDS, DUMP_STALE };
	const char *const keys[] = { "raw", d->records, "stale" };

	for (unsigned i = 0; i < 3; i++) {
		if (strcmp(key, keys[i]))
			continue;
		if (d->arrays_seen >> i) {
			json_fail(&d->in, "found \"%s\" again, or behind what it must precede",
				  keys[i]);
			return false;
		}
		d->arrays_seen |= 1u << i;
		d->array = kinds[i];
		d->state = DUMP_IN_ARRAY;
		d->comma = DUMP_FIRST_OR_END;
		return true;
	}
	json_fail(&d->in, "found an array \"%.*s\", expected raw, %s or stale", NAME_SHOWN, key,
		  d->records);
	return false;
}

static enum dump_kind read_head(struct dump_in *d)
{
	enum json_token t = json_next(&d->in);

	if (t != JSON_OBJECT)
		return unexpected(d, t, "an object, the head of a dump");
	d->nr = d->text_len = 0;
	t = take_members(d, json_next(&d->in));
	if (t == JSON_ERROR)
		return DUMP_ERROR;
	d->state = DUMP_IN_LINES;
	if (t == JSON_ARRAY && !enter_array(d, d->field[--d->nr].name))
		return DUMP_ERROR;
	return check_head(d);
}

/* ---- elements ---- */

static bool number_field(struct dump_in *d, const char *name, uint64_t *out)
{
	struct dmfmt_field f;

	if (!take_field(d, name, &f)) {
		json_fail(&d->in, "\"%s\" is missing", name);
		return false;
	}
	if (f.kind != DMFMT_U64) {
		json_fail(&d->in, "\"%s\": expected a number", name);
		return false;
	}
	*out = f.u;
	return true;
}

static bool nothing_left(struct dump_in *d)
{
	if (!d->nr)
		return true;
	json_fail(&d->in, "found the key \"%.*s\", expected none like that", NAME_SHOWN,
		  d->field[0].name);
	return false;
}

static bool columns(struct dump_in *d)
{
	for (size_t i = 0; i < d->nr_columns; i++)
		if (!number_field(d, d->names[i], &d->values[i]))
			return false;
	return nothing_left(d);
}

static int nibble(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum dump_kind raw_element(struct dump_in *d)
{
	struct dmfmt_field f;
	size_t len;

	if (!number_field(d, "raw_offset", &d->offset))
		return DUMP_ERROR;
	if (!take_field(d, "hex", &f) || !f.s)
		return fail_at(d, "no string \"hex\"", "one");
	len = strlen(f.s);
	if (!len || len % 2 || len > 2 * DUMP_RAW)
		return fail_at(d, "another number of hex digits", "an even one from 2 to 8192");
	for (size_t i = 0; i < len / 2; i++) {
		int high = nibble(f.s[2 * i]), low = nibble(f.s[2 * i + 1]);

		if (high < 0 || low < 0)
			return fail_at(d, "another character in \"hex\"", "hex digits");
		d->raw[i] = (unsigned char)(high << 4 | low);
	}
	if (!nothing_left(d))
		return DUMP_ERROR;
	d->nr = len / 2;
	return DUMP_RAW_BYTES;
}

static enum dump_kind stale_element(struct dump_in *d)
{
	if (!number_field(d, "stale_area", &d->area) || !number_field(d, "stale_slot", &d->slot) ||
	    !columns(d))
		return DUMP_ERROR;
	return DUMP_STALE;
}

static enum dump_kind record_element(struct dump_in *d)
{
	if (!columns(d))
		return DUMP_ERROR;
	d->nr = 1;
	return DUMP_RECORDS;
}

/* ---- tails ---- */

static enum dump_kind finish(struct dump_in *d)
{
	struct dmfmt_field f;
	enum json_token t;

	if (!take_field(d, "end", &f) || f.kind != DMFMT_BOOL || !f.u)
		return fail_at(d, "no \"end\": true", "it among the last keys");
	t = json_next(&d->in);
	if (t != JSON_END)
		return unexpected(d, t, "nothing behind the end of the dump");
	d->state = DUMP_DONE;
	return DUMP_TAIL;
}

static enum dump_kind fast_records(struct dump_in *d)
{
	d->nr = json_rows_read(&d->in, &d->rows, d->state == DUMP_IN_ARRAY, d->values, DUMP_BATCH);
	return d->nr ? DUMP_RECORDS : DUMP_ERROR;
}

static enum dump_kind read_line(struct dump_in *d)
{
	enum json_token t;

	if (fast_records(d) == DUMP_RECORDS)
		return DUMP_RECORDS;
	t = json_next(&d->in);
	if (t != JSON_OBJECT)
		return unexpected(d, t, "an object, and a last one with \"end\": true");
	if (take_object(d) != JSON_OBJECT_END)
		return DUMP_ERROR;
	if (find_field(d, "end"))
		return finish(d);
	if (find_field(d, "raw_offset"))
		return raw_element(d);
	return find_field(d, "stale_area") ? stale_element(d) : record_element(d);
}

static enum dump_kind read_array(struct dump_in *d);

/* at most as deep as there are arrays, each of which comes once */
static enum dump_kind behind_array(struct dump_in *d)
{
	enum json_token t = json_next(&d->in);

	d->state = DUMP_BEHIND_ARRAY;
	d->nr = d->text_len = 0;
	if (t != JSON_COMMA && t != JSON_OBJECT_END)
		return unexpected(d, t, "',' or '}'");
	t = take_members(d, t == JSON_COMMA ? json_next(&d->in) : t);
	if (t == JSON_ERROR)
		return DUMP_ERROR;
	if (t == JSON_OBJECT_END)
		return finish(d);
	if (d->nr != 1)
		return fail_at(d, "an array behind the tail's keys", "it in front of them");
	return enter_array(d, d->field[0].name) ? read_array(d) : DUMP_ERROR;
}

static enum dump_kind element(struct dump_in *d)
{
	if (take_object(d) != JSON_OBJECT_END)
		return DUMP_ERROR;
	d->comma = DUMP_COMMA_OR_END;
	if (d->array == DUMP_RAW_BYTES)
		return raw_element(d);
	return d->array == DUMP_STALE ? stale_element(d) : record_element(d);
}

static enum dump_kind read_array(struct dump_in *d)
{
	enum json_token t;

	if (d->comma == DUMP_COMMA_OR_END) {
		t = json_next(&d->in);
		if (t == JSON_ARRAY_END)
			return behind_array(d);
		if (t != JSON_COMMA)
			return unexpected(d, t, "',' or ']'");
		d->comma = DUMP_ELEMENT;
	}
	if (d->array == DUMP_RECORDS && fast_records(d) == DUMP_RECORDS) {
		d->comma = DUMP_ELEMENT;	/* the last comma was taken as well */
		return DUMP_RECORDS;
	}
	t = json_next(&d->in);
	if (t == JSON_ARRAY_END && d->comma == DUMP_FIRST_OR_END)
		return behind_array(d);
	return t == JSON_OBJECT ? element(d) : unexpected(d, t, "an object");
}

enum dump_kind dump_next(struct dump_in *d)
{
	switch (d->state) {
	case DUMP_AT_START:
		return read_head(d);
	case DUMP_IN_LINES:
		return read_line(d);
	case DUMP_IN_ARRAY:
		return read_array(d);
	default:
		return fail_at(d, "the end", "no more to be asked for");
	}
}
