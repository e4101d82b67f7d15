/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A pull parser for JSON that is not trusted: no recursion, bounded strings, numbers are exact
 * unsigned 64-bit integers or refused.  Rows in the exact spelling of rows.c take a fast path.
 */
#ifndef DMTOOL_JSON_IN_H
#define DMTOOL_JSON_IN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rows.h"

#define JSON_STRING_MAX 16384	/* decoded bytes */

enum json_token {
	JSON_ERROR,	/* in->error says why; every later call gives it again */
	JSON_END,	/* of the input */
	JSON_OBJECT, JSON_OBJECT_END, JSON_ARRAY, JSON_ARRAY_END, JSON_COLON, JSON_COMMA,
	JSON_STRING,	/* in->string, in->string_len; no byte of it is 0 */
	JSON_NUMBER,	/* in->number */
	JSON_TRUE, JSON_FALSE, JSON_NULL,
};

/*
 * struct json_in - one input
 * @fd: read from here, or -1: all of it is in the buffer
 * @base: offset in the input of buf[0]
 * @stop: asked while waiting for input; NULL if nobody would
 */
struct json_in {
	int fd;
	bool (*stop)(void);
	char *buf;
	size_t pos, len;
	uint64_t base;
	bool eof, own_buf, stopped;
	char string[JSON_STRING_MAX + 8];
	size_t string_len;
	uint64_t number;
	char error[200];
};

/* how a row is spelled, worked out once; see rows.h */
#define JSON_ROW_WORDS (ROW_PIECE / 8)
struct json_rows {
	size_t nr;
	size_t len[ROW_COLUMNS];
	uint64_t word[ROW_COLUMNS][JSON_ROW_WORDS], mask[ROW_COLUMNS][JSON_ROW_WORDS];
	size_t max;		/* bytes of the longest row */
};

/* read from a descriptor, which stays the caller's; -ENOMEM */
int json_in_open(struct json_in *in, int fd, bool (*stop)(void));
/* read @len bytes at @bytes; -ENOMEM */
int json_in_open_buffer(struct json_in *in, const void *bytes, size_t len);
void json_in_close(struct json_in *in);

enum json_token json_next(struct json_in *in);
/* where the next token is looked for: bytes from the start of the input */
uint64_t json_offset(const struct json_in *in);
/* the name of a token in messages */
const char *json_token_name(enum json_token t);
/* set the error, once, with the offset in front: always JSON_ERROR */
enum json_token json_fail(struct json_in *in, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

int json_rows_init(struct json_rows *rows, const char *const *names, size_t nr);
/*
 * Read up to @max rows that stand here in the fast spelling, each followed by "\n", or with
 * @in_array by ",\n"; a newline in front of the first is skipped.  @values gets rows->nr numbers
 * each.
 * Return: how many; what follows is anything else and is for json_next().
 */
size_t json_rows_read(struct json_in *in, const struct json_rows *rows, bool in_array,
		      uint64_t *values, size_t max);

#endif
