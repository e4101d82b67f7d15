/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Rows of numbers by hand: what json-c or printf would do at a tenth of the speed.  The spelling of
 * the JSON rows is part of the dump format; json_in.c reads exactly this spelling fast.
 */
#ifndef DMTOOL_ROWS_H
#define DMTOOL_ROWS_H

#include "../libdmfmt/dmfmt.h"
#include "sink.h"

#define ROW_COLUMNS 8		/* numbers in a row at most */
#define ROW_PIECE   64		/* bytes of `,"name":` at most */
#define ROW_DIGITS  20		/* of an unsigned 64-bit number */
#define ROW_WIDTH   12		/* of a column of text at least */

enum row_style {
	ROWS_LINES,	/* {"a":1,"b":2}\n			one object per line */
	ROWS_ARRAY,	/* ,\n{"a":1,"b":2}			elements of an array */
	ROWS_TEXT,	/* "      0         1         2\n"	with the row's number in front */
};

/*
 * struct row_format - how a row is spelled, worked out once
 * @piece: what stands in front of number i; @len its length
 * @end: what closes the row
 * @width: of a column of text: wide enough for the longest name
 * @first: no element of the array has been written yet
 */
struct row_format {
	enum row_style style;
	size_t nr;
	char piece[ROW_COLUMNS][ROW_PIECE];
	size_t len[ROW_COLUMNS];
	char end[4];
	size_t end_len;
	unsigned width;
	bool first;
};

/* -EOPNOTSUPP if there are too many columns or a name is too long */
int rows_init(struct row_format *rf, enum row_style style, const char *const *names, size_t nr);
/* write @nr rows of rf->nr numbers each, the first being row @first; 0 or the sink's error */
int rows_put(struct sink *s, struct row_format *rf, uint64_t first, const uint64_t *values,
	     size_t nr);
/* digits of @v at @p (room for ROW_DIGITS + 8 bytes); returns the end */
char *rows_put_u64(char *p, uint64_t v);

#endif
