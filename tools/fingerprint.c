// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Reading a fingerprint.  The file is hostile until proven otherwise: only what is known may stand in
 * it, each key once, and everything is bounded.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fingerprint.h"
#include "json_in.h"
#include "progress.h"

#define SCHEMA	     "dmtool.fingerprint"
#define KEY_SHOWN    40
#define SHA256_BYTES 32

/*
 * struct reading - a fingerprint on its way in
 * @seen: one bit for each of `keys` that has been there
 * @size_sectors, @sample_bytes: DMFMT_NONE as long as they have not
 */
struct reading {
	struct json_in in;
	unsigned seen;
	uint64_t size_sectors, sample_bytes;
	struct dmfmt_sample *v;
	size_t nr, room;
};

static bool unexpected(struct reading *r, enum json_token t, const char *expected)
{
	if (t == JSON_END)
		json_fail(&r->in, "the fingerprint ends here, expected %s", expected);
	else if (t != JSON_ERROR)
		json_fail(&r->in, "found %s, expected %s", json_token_name(t), expected);
	return false;
}

static bool take(struct reading *r, enum json_token want, const char *expected)
{
	enum json_token t = json_next(&r->in);

	return t == want ? true : unexpected(r, t, expected);
}

/* ---- samples ---- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool take_hash(struct reading *r, uint8_t out[SHA256_BYTES])
{
	const char *s = r->in.string;

	if (!take(r, JSON_STRING, "a hash"))
		return false;
	for (size_t i = 0; i < SHA256_BYTES; i++, s += 2) {
		int high = r->in.string_len == 2 * SHA256_BYTES ? hex_digit(s[0]) : -1;
		int low = high < 0 ? -1 : hex_digit(s[1]);

		if (low < 0) {
			json_fail(&r->in, "sha256: found \"%.*s\", expected %d hexadecimal digits",
				  KEY_SHOWN, r->in.string, 2 * SHA256_BYTES);
			return false;
		}
		out[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

/* the members of a sample, each once, in any order */
static bool take_sample(struct reading *r, struct dmfmt_sample *x)
{
	bool offset = false, hash = false;

	for (int i = 0; i < 2; i++) {
		if (i && !take(r, JSON_COMMA, "','"))
			return false;
		if (!take(r, JSON_STRING, "a key"))
			return false;
		if (!strcmp(r->in.string, "offset") && !offset) {
			offset = true;
			if (!take(r, JSON_COLON, "':'") || !take(r, JSON_NUMBER, "a number"))
				return false;
			x->offset = r->in.number;
		} else if (!strcmp(r->in.string, "sha256") && !hash) {
			hash = true;
			if (!take(r, JSON_COLON, "':'") || !take_hash(r, x->sha256))
				return false;
		} else {
			json_fail(&r->in, "found the key \"%.*s\", expected offset and sha256, once",
				  KEY_SHOWN, r->in.string);
			return false;
		}
	}
	return take(r, JSON_OBJECT_END, "'}'");
}

static struct dmfmt_sample *new_sample(struct reading *r)
{
	if (r->nr == FINGERPRINT_SAMPLES_MAX) {
		json_fail(&r->in, "found more than %d samples", FINGERPRINT_SAMPLES_MAX);
		return NULL;
	}
	if (r->nr == r->room) {
		size_t room = r->room ? 2 * r->room : 1024;
		struct dmfmt_sample *v = realloc(r->v, room * sizeof(*v));

		if (!v) {
			json_fail(&r->in, "no memory for %zu samples", room);
			return NULL;
		}
		r->v = v;
		r->room = room;
	}
	r->v[r->nr] = (struct dmfmt_sample){ 0 };
	return &r->v[r->nr];
}

static bool take_samples(struct reading *r, enum json_token t)
{
	if (t != JSON_ARRAY)
		return unexpected(r, t, "'['");
	t = json_next(&r->in);
	while (t != JSON_ARRAY_END) {
		struct dmfmt_sample *x;

		if (t != JSON_OBJECT)
			return unexpected(r, t, "a sample");
		x = new_sample(r);
		if (!x || !take_sample(r, x))
			return false;
		r->nr++;
		t = json_next(&r->in);
		if (t == JSON_COMMA) {
			t = json_next(&r->in);
			if (t == JSON_ARRAY_END)
				return unexpected(r, t, "a sample");
		} else if (t != JSON_ARRAY_END) {
			return unexpected(r, t, "',' or ']'");
		}
	}
	return true;
}

/* ---- the document ---- */

static bool take_schema(struct reading *r, enum json_token t)
{
	if (t == JSON_STRING && !strcmp(r->in.string, SCHEMA))
		return true;
	if (t != JSON_STRING)
		return unexpected(r, t, "\"" SCHEMA "\"");
	json_fail(&r->in, "schema: found \"%.*s\", expected \"%s\"", KEY_SHOWN, r->in.string, SCHEMA);
	return false;
}

static bool take_version(struct reading *r, enum json_token t)
{
	if (t != JSON_NUMBER)
		return unexpected(r, t, "a number");
	if (r->in.number == 1)
		return true;
	json_fail(&r->in, "schema_version: found %llu, expected 1", (unsigned long long)r->in.number);
	return false;
}

static bool take_size(struct reading *r, enum json_token t)
{
	if (t != JSON_NUMBER)
		return unexpected(r, t, "a number");
	if (r->in.number > UINT64_MAX / 512) {
		json_fail(&r->in, "size_sectors: found %llu, expected at most %llu",
			  (unsigned long long)r->in.number, (unsigned long long)(UINT64_MAX / 512));
		return false;
	}
	r->size_sectors = r->in.number;
	return true;
}

static bool take_sample_bytes(struct reading *r, enum json_token t)
{
	if (t != JSON_NUMBER)
		return unexpected(r, t, "a number");
	if (r->in.number != FINGERPRINT_SAMPLE_BYTES) {
		json_fail(&r->in, "sample_bytes: found %llu, expected %d",
			  (unsigned long long)r->in.number, FINGERPRINT_SAMPLE_BYTES);
		return false;
	}
	r->sample_bytes = r->in.number;
	return true;
}

/* for people; not looked at */
static bool take_remark(struct reading *r, enum json_token t)
{
	switch (t) {
	case JSON_STRING:
	case JSON_NUMBER:
	case JSON_TRUE:
	case JSON_FALSE:
	case JSON_NULL:
		return true;
	default:
		return unexpected(r, t, "a value");
	}
}

static const struct {
	const char *name;
	bool (*take)(struct reading *r, enum json_token t);
	bool required;
} keys[] = {
	{ "schema", take_schema, true },
	{ "schema_version", take_version, true },
	{ "size_sectors", take_size, true },
	{ "sample_bytes", take_sample_bytes, true },
	{ "samples", take_samples, true },
	{ "dmtool_version", take_remark, false },
	{ "device", take_remark, false },
	{ "format", take_remark, false },
	{ "live", take_remark, false },
	{ "fs_type", take_remark, false },
	{ "fs_uuid", take_remark, false },
	{ "nr_samples", take_remark, false },
};
#define NR_KEYS (sizeof(keys) / sizeof(keys[0]))

static bool take_member(struct reading *r)
{
	for (size_t i = 0; i < NR_KEYS; i++) {
		if (strcmp(r->in.string, keys[i].name) || r->seen & 1u << i)
			continue;
		r->seen |= 1u << i;
		return take(r, JSON_COLON, "':'") && keys[i].take(r, json_next(&r->in));
	}
	json_fail(&r->in, "found the key \"%.*s\", expected those of a fingerprint, once", KEY_SHOWN,
		  r->in.string);
	return false;
}

static bool all_there(struct reading *r)
{
	for (size_t i = 0; i < NR_KEYS; i++) {
		if (!keys[i].required || r->seen & 1u << i)
			continue;
		json_fail(&r->in, "found no \"%s\", expected it in a fingerprint", keys[i].name);
		return false;
	}
	return true;
}

static bool take_document(struct reading *r)
{
	enum json_token t;

	if (!take(r, JSON_OBJECT, "'{'"))
		return false;
	do {
		if (!take(r, JSON_STRING, "a key") || !take_member(r))
			return false;
		t = json_next(&r->in);
	} while (t == JSON_COMMA);
	if (t != JSON_OBJECT_END)
		return unexpected(r, t, "',' or '}'");
	return take(r, JSON_END, "the end") && all_there(r);
}

/* the last block of a device is a short one if its size says so; what lies past its end the library
 * refuses */
static void set_lengths(struct reading *r)
{
	uint64_t size = r->size_sectors * 512;

	for (size_t i = 0; i < r->nr; i++) {
		uint64_t left = r->v[i].offset < size ? size - r->v[i].offset : r->sample_bytes;

		r->v[i].length = (uint32_t)(left < r->sample_bytes ? left : r->sample_bytes);
	}
}

/* ---- giving it to the library ---- */

static int read_document(struct tool *t, struct reading *r, int fd)
{
	const char *path = t->o.origin_fingerprint;
	int status = 0, err = json_in_open(&r->in, fd, progress_stopped);

	if (err) {
		tool_error(t, "%s: %s", path, strerror(-err));
		return STATUS_ERROR;
	}
	if (!take_document(r)) {
		tool_error(t, "%s: %s", path, r->in.error);
		status = r->in.stopped ? STATUS_CANCELLED : STATUS_ERROR;
	}
	json_in_close(&r->in);
	if (!status)
		set_lengths(r);
	return status;
}

int fingerprint_apply(struct tool *t, struct dmfmt *f)
{
	const char *path = t->o.origin_fingerprint;
	struct reading *r;
	int status, fd;

	if (!path)
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	r = fd < 0 ? NULL : calloc(1, sizeof(*r));
	if (!r) {
		tool_error(t, "%s: %s", path, strerror(fd < 0 ? errno : ENOMEM));
		if (fd >= 0)
			close(fd);
		return STATUS_ERROR;
	}
	status = read_document(t, r, fd);
	close(fd);
	if (!status) {
		int err = dmfmt_set_fingerprint(f, r->size_sectors, r->v, r->nr);

		if (err)
			status = tool_fail(t, err);
	}
	free(r->v);
	free(r);
	return status;
}
