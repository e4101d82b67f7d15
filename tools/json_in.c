// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json_in.h"

#define BUF_BYTES (256 * 1024)
#define SLACK ROW_PIECE /* zero bytes behind the input, so that words may be read past its end */

static int alloc_buf(struct json_in *in, size_t bytes)
{
	in->buf = calloc(1, bytes + SLACK);
	return in->buf ? 0 : -ENOMEM;
}

int json_in_open(struct json_in *in, int fd, bool (*stop)(void))
{
	memset(in, 0, sizeof(*in));
	in->fd = fd;
	in->stop = stop;
	return alloc_buf(in, BUF_BYTES);
}

int json_in_open_buffer(struct json_in *in, const void *bytes, size_t len)
{
	int err;

	memset(in, 0, sizeof(*in));
	in->fd = -1;
	in->eof = true;
	err = alloc_buf(in, len);
	if (err)
		return err;
	memcpy(in->buf, bytes, len);
	in->len = len;
	return 0;
}

void json_in_close(struct json_in *in)
{
	free(in->buf);
	in->buf = NULL;
}

uint64_t json_offset(const struct json_in *in)
{
	return in->base + in->pos;
}

enum json_token json_fail(struct json_in *in, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (*in->error)
		return JSON_ERROR;
	n = snprintf(in->error, sizeof(in->error),
		     "byte %llu: ", (unsigned long long)json_offset(in));
	va_start(ap, fmt);
	vsnprintf(in->error + n, sizeof(in->error) - n, fmt, ap);
	va_end(ap);
	return JSON_ERROR;
}

/* keep what was not read yet, get more behind it; false at the end and on errors */
static bool fill(struct json_in *in)
{
	ssize_t n;

	if (in->eof || *in->error)
		return false;
	memmove(in->buf, in->buf + in->pos, in->len - in->pos);
	in->base += in->pos;
	in->len -= in->pos;
	in->pos = 0;
	if (in->len == BUF_BYTES)
		return false;
	do {
		if (in->stop && in->stop()) {
			in->stopped = true;
			json_fail(in, "stopped");
			return false;
		}
		n = read(in->fd, in->buf + in->len, BUF_BYTES - in->len);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		json_fail(in, "%s", strerror(errno));
	in->eof = n <= 0;
	in->len += in->eof ? 0 : n;
	memset(in->buf + in->len, 0, SLACK);
	return !in->eof;
}

/* the next byte without taking it, -1 at the end */
static int peek(struct json_in *in)
{
	if (in->pos == in->len && !fill(in))
		return -1;
	return (unsigned char)in->buf[in->pos];
}

static int take(struct json_in *in)
{
	int c = peek(in);

	if (c >= 0)
		in->pos++;
	return c;
}

const char *json_token_name(enum json_token t)
{
	static const char *const names[] = {
		[JSON_ERROR] = "an error", [JSON_END] = "the end of the input",
		[JSON_OBJECT] = "an object", [JSON_OBJECT_END] = "'}'", [JSON_ARRAY] = "an array",
		[JSON_ARRAY_END] = "']'", [JSON_COLON] = "':'", [JSON_COMMA] = "','",
		[JSON_STRING] = "a string", [JSON_NUMBER] = "a number", [JSON_TRUE] = "true",
		[JSON_FALSE] = "false", [JSON_NULL] = "null",
	};

	return names[t];
}

/* ---- strings ---- */

static bool add_byte(struct json_in *in, unsigned c)
{
	if (in->string_len == JSON_STRING_MAX) {
		json_fail(in, "string: found more than %d bytes", JSON_STRING_MAX);
		return false;
	}
	in->string[in->string_len++] = (char)c;
	return true;
}

static bool add_utf8(struct json_in *in, unsigned c)
{
	if (c < 0x80)
		return add_byte(in, c);
	if (c < 0x800)
		return add_byte(in, 0xc0 | c >> 6) && add_byte(in, 0x80 | (c & 0x3f));
	if (c < 0x10000)
		return add_byte(in, 0xe0 | c >> 12) && add_byte(in, 0x80 | (c >> 6 & 0x3f)) &&
		       add_byte(in, 0x80 | (c & 0x3f));
	return add_byte(in, 0xf0 | c >> 18) && add_byte(in, 0x80 | (c >> 12 & 0x3f)) &&
	       add_byte(in, 0x80 | (c >> 6 & 0x3f)) && add_byte(in, 0x80 | (c & 0x3f));
}

static int hex_digit(int c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* four hex digits, or -1 */
static int take_hex4(struct json_in *in)
{
	int v = 0;

	for (int i = 0; i < 4; i++) {
		int d = hex_digit(take(in));

		if (d < 0)
			return -1;
		v = v << 4 | d;
	}
	return v;
}

static bool bad_escape(struct json_in *in)
{
	json_fail(in, "string: found a bad \\ escape");
	return false;
}

static bool take_unicode(struct json_in *in)
{
	int high = take_hex4(in), low;

	if (high <= 0 || (high >= 0xdc00 && high < 0xe000))
		return bad_escape(in);
	if (high < 0xd800 || high >= 0xe000)
		return add_utf8(in, (unsigned)high);
	if (take(in) != '\\' || take(in) != 'u')
		return bad_escape(in);
	low = take_hex4(in);
	if (low < 0xdc00 || low >= 0xe000)
		return bad_escape(in);
	return add_utf8(in,
			0x10000u + ((unsigned)(high - 0xd800) << 10) + (unsigned)(low - 0xdc00));
}

static bool take_escape(struct json_in *in)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	int c = take(in);
	const char *p = c > 0 ? strchr(from, c) : NULL;

	if (c == 'u')
		return take_unicode(in);
	return p ? add_byte(in, (unsigned char)to[p - from]) : bad_escape(in);
}

static enum json_token take_string(struct json_in *in)
{
	in->string_len = 0;
	for (;;) {
		int c = take(in);
		bool ok = true;

		if (c == '"')
			break;
		if (c < 0)
			return json_fail(in, "the input ends inside a string");
		if (c < 0x20)
			return json_fail(in, "string: found a control character");
		ok = c == '\\' ? take_escape(in) : add_byte(in, (unsigned)c);
		if (!ok)
			return json_fail(in, "the input ends inside a string");
	}
	in->string[in->string_len] = '\0';
	return JSON_STRING;
}

/* ---- numbers and words ---- */

static enum json_token take_number(struct json_in *in)
{
	static const char expected[] = "expected an unsigned 64-bit integer";
	uint64_t v = 0;
	int first = peek(in), c, nr = 0;

	if (first == '-')
		return json_fail(in, "found a negative number, %s", expected);
	for (; (c = peek(in)) >= '0' && c <= '9'; in->pos++, nr++)
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(c - '0'), &v))
			return json_fail(in, "found a number above 2^64 - 1, %s", expected);
	if (c == '.' || c == 'e' || c == 'E')
		return json_fail(in, "found a fraction or an exponent, %s", expected);
	if (first == '0' && nr > 1)
		return json_fail(in, "found a number with a leading zero, %s", expected);
	in->number = v;
	return JSON_NUMBER;
}

static enum json_token take_word(struct json_in *in)
{
	static const struct {
		const char *word;
		enum json_token t;
	} words[] = { { "true", JSON_TRUE }, { "false", JSON_FALSE }, { "null", JSON_NULL } };
	char word[8] = "";
	size_t n = 0;
	int c;

	while ((c = peek(in)) >= 'a' && c <= 'z' && n + 1 < sizeof(word)) {
		word[n++] = (char)c;
		in->pos++;
	}
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (!strcmp(word, words[i].word))
			return words[i].t;
	if (c < 0)
		return json_fail(in, "the input ends here");
	return json_fail(in, n ? "found an unknown word" : "found a character that is not JSON");
}

static enum json_token punctuation(int c)
{
	switch (c) {
	case '{':
		return JSON_OBJECT;
	case '}':
		return JSON_OBJECT_END;
	case '[':
		return JSON_ARRAY;
	case ']':
		return JSON_ARRAY_END;
	case ':':
		return JSON_COLON;
	case ',':
		return JSON_COMMA;
	default:
		return JSON_ERROR;
	}
}

enum json_token json_next(struct json_in *in)
{
	enum json_token t;
	int c;

	if (*in->error)
		return JSON_ERROR;
	while ((c = peek(in)) == ' ' || c == '\n' || c == '\t' || c == '\r')
		in->pos++;
	if (c < 0)
		return *in->error ? JSON_ERROR : JSON_END;
	t = punctuation(c);
	if (t != JSON_ERROR) {
		in->pos++;
		return t;
	}
	if (c == '"') {
		in->pos++;
		return take_string(in);
	}
	return (c >= '0' && c <= '9') || c == '-' ? take_number(in) : take_word(in);
}

/* ---- the fast path ---- */

int json_rows_init(struct json_rows *rows, const char *const *names, size_t nr)
{
	struct row_format rf;
	int err = rows_init(&rf, ROWS_LINES, names, nr);

	if (err)
		return err;
	memset(rows, 0, sizeof(*rows));
	rows->nr = nr;
	rows->max = 3;
	for (size_t i = 0; i < nr; i++) {
		char ones[ROW_PIECE];

		memset(ones, 0, sizeof(ones));
		memset(ones, 0xff, rf.len[i]);
		memcpy(rows->word[i], rf.piece[i], sizeof(rows->word[i]));
		memcpy(rows->mask[i], ones, sizeof(rows->mask[i]));
		rows->len[i] = rf.len[i];
		rows->max += rf.len[i] + ROW_DIGITS;
	}
	return 0;
}

static inline bool match(const char *p, const uint64_t *word, const uint64_t *mask, size_t len)
{
	uint64_t bad = 0;

	for (size_t i = 0; 8 * i < len; i++) {
		uint64_t w;

		memcpy(&w, p + 8 * i, 8);
		bad |= (w ^ word[i]) & mask[i];
	}
	return !bad;
}

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
/* how many of the eight bytes at the low end are digits */
static inline unsigned leading_digits(uint64_t w)
{
	uint64_t x = w ^ 0x3030303030303030ULL;
	/* a byte above 9 gets its top bit set, and nothing carries out of one that is not */
	uint64_t above = ((x & 0x7f7f7f7f7f7f7f7fULL) + 0x7676767676767676ULL) | x;

	above &= 0x8080808080808080ULL;
	return above ? (unsigned)__builtin_ctzll(above) / 8 : 8;
}

/* the value of eight digits, the most significant in the lowest byte: pairs, fours, all */
static inline uint64_t eight_digits_value(uint64_t w)
{
	w &= 0x0f0f0f0f0f0f0f0fULL;
	w = (w * 10 + (w >> 8)) & 0x00ff00ff00ff00ffULL;
	w = (w * 100 + (w >> 16)) & 0x0000ffff0000ffffULL;
	return (w * 10000 + (w >> 32)) & 0xffffffffULL;
}

static const uint64_t power[] = { 1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000 };

/* up to 16 digits; more, none, or a leading zero: NULL, the slow path knows what to say */
static inline const char *fast_number(const char *p, uint64_t *out)
{
	uint64_t w, v;
	unsigned n;

	memcpy(&w, p, 8);
	n = leading_digits(w);
	if (!n || (*p == '0' && n > 1))
		return NULL;
	if (n < 8) {
		*out = eight_digits_value(w << (64 - 8 * n));
		return p + n;
	}
	v = eight_digits_value(w);
	memcpy(&w, p + 8, 8);
	n = leading_digits(w);
	if (n == 8)
		return NULL;
	*out = n ? v * power[n] + eight_digits_value(w << (64 - 8 * n)) : v;
	return p + 8 + n;
}
#else
static inline const char *fast_number(const char *p, uint64_t *out)
{
	const char *start = p;
	uint64_t v = 0;

	for (; *p >= '0' && *p <= '9' && p - start < 16; p++)
		v = v * 10 + (uint64_t)(*p - '0');
	if (p == start || p - start == 16 || (*start == '0' && p - start > 1))
		return NULL;
	*out = v;
	return p;
}
#endif

/* one row; its end, or NULL if it is spelled otherwise */
static inline const char *fast_row(const char *p, const struct json_rows *rows, size_t nr,
				   bool in_array, uint64_t *values)
{
	for (size_t i = 0; i < nr; i++) {
		if (!match(p, rows->word[i], rows->mask[i], rows->len[i]))
			return NULL;
		p = fast_number(p + rows->len[i], &values[i]);
		if (!p)
			return NULL;
	}
	if (*p++ != '}' || (in_array && *p++ != ','))
		return NULL;
	return *p == '\n' ? p + 1 : NULL;
}

static size_t fast_rows(struct json_in *in, const struct json_rows *rows, size_t nr, bool in_array,
			uint64_t *values, size_t max)
{
	const char *p = in->buf + in->pos, *end = in->buf + in->len;
	size_t n;

	for (n = 0; n < max && (size_t)(end - p) >= rows->max; n++, values += nr) {
		const char *next = fast_row(p, rows, nr, in_array, values);

		if (!next)
			break;
		p = next;
	}
	in->pos = p - in->buf;
	return n;
}

size_t json_rows_read(struct json_in *in, const struct json_rows *rows, bool in_array,
		      uint64_t *values, size_t max)
{
	if (*in->error)
		return 0;
	if (in->len - in->pos < rows->max + 1)
		fill(in);
	if (in->pos < in->len && in->buf[in->pos] == '\n')
		in->pos++;
	/* with the number of columns known, the compiler unrolls */
	if (rows->nr == 2)
		return fast_rows(in, rows, 2, in_array, values, max);
	return fast_rows(in, rows, rows->nr, in_array, values, max);
}
