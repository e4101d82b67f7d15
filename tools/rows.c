// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "rows.h"

int rows_init(struct row_format *rf, enum row_style style, const char *const *names, size_t nr)
{
	const char *open = style == ROWS_ARRAY ? ",\n{\"" : "{\"";

	if (!nr || nr > ROW_COLUMNS)
		return -EOPNOTSUPP;
	memset(rf, 0, sizeof(*rf));
	rf->style = style;
	rf->nr = nr;
	rf->width = ROW_WIDTH;
	for (size_t i = 0; i < nr; i++)
		if (strlen(names[i]) + 2 > rf->width)
			rf->width = (unsigned)strlen(names[i]) + 2;
	if (rf->width > ROW_PIECE)
		return -EOPNOTSUPP;
	rf->first = true;
	for (size_t i = 0; i < nr && style != ROWS_TEXT; i++) {
		int n = snprintf(rf->piece[i], ROW_PIECE, "%s%s\":", i ? ",\"" : open, names[i]);

		if (n >= ROW_PIECE)
			return -EOPNOTSUPP;
		rf->len[i] = n;
	}
	strcpy(rf->end, style == ROWS_LINES ? "}\n" : "}");
	rf->end_len = strlen(rf->end);
	return 0;
}

/*
 * The eight decimal digits of @v < 10^8, one per byte, the most significant in the lowest byte: the
 * number is split into two halves of four digits, those into pairs, those into digits, each step
 * for all parts at once.  The divisions are multiplications, exact for the values that occur.
 */
static inline uint64_t eight_digits(uint32_t v)
{
	uint64_t x = v / 10000 | (uint64_t)(v % 10000) << 32;
	uint64_t q = ((x * 10486) >> 20) & 0x0000007f0000007fULL;

	x = q | (x - q * 100) << 16;
	q = ((x * 103) >> 10) & 0x000f000f000f000fULL;
	return q | (x - q * 10) << 8;
}

static inline void store_digits(char *p, uint64_t x)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	x = __builtin_bswap64(x);
#endif
	memcpy(p, &x, 8);
}

#define ASCII_ZEROS 0x3030303030303030ULL

static inline char *put_below_1e8(char *p, uint32_t v)
{
	uint64_t x = eight_digits(v);
	unsigned lead = __builtin_ctzll(x | 1ULL << 56) / 8;	/* the last digit is always shown */

	store_digits(p, (x | ASCII_ZEROS) >> (8 * lead));
	return p + 8 - lead;
}

static inline char *put_all_eight(char *p, uint32_t v)
{
	store_digits(p, eight_digits(v) | ASCII_ZEROS);
	return p + 8;
}

static inline char *put_u64(char *p, uint64_t v)
{
	uint64_t high;

	if (v < 100000000)
		return put_below_1e8(p, v);
	high = v / 100000000;
	if (high < 100000000) {
		p = put_below_1e8(p, high);
	} else {
		p = put_below_1e8(p, high / 100000000);
		p = put_all_eight(p, high % 100000000);
	}
	return put_all_eight(p, v % 100000000);
}

char *rows_put_u64(char *p, uint64_t v)
{
	return put_u64(p, v);
}

/* one JSON row; pieces are copied in fixed sizes, which is faster than by their length */
static inline char *put_row(char *p, const struct row_format *rf, const uint64_t *v, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		memcpy(p, rf->piece[i], 16);
		if (rf->len[i] > 16)
			memcpy(p + 16, rf->piece[i] + 16, ROW_PIECE - 16);
		p = put_u64(p + rf->len[i], v[i]);
	}
	memcpy(p, rf->end, 2);
	return p + rf->end_len;
}

static char *put_text_row(char *p, const struct row_format *rf, uint64_t row, const uint64_t *v)
{
	for (size_t i = 0; i <= rf->nr; i++) {
		char digits[ROW_DIGITS + 8];
		size_t n = put_u64(digits, i ? v[i - 1] : row) - digits;
		size_t pad = n < rf->width ? rf->width - n : i > 0;

		memset(p, ' ', pad);
		memcpy(p + pad, digits, n);
		p += pad + n;
	}
	*p++ = '\n';
	return p;
}

#define ROW_MAX ((ROW_COLUMNS + 1) * (ROW_PIECE + ROW_DIGITS + 8))

/* rows that fit into the buffer as it is */
static size_t batch(const struct sink *s, size_t nr)
{
	size_t fit = (SINK_BYTES - s->len) / ROW_MAX;

	return fit < nr ? fit : nr;
}

static char *put_batch(char *p, const struct row_format *rf, uint64_t first, const uint64_t *v,
		       size_t nr)
{
	if (rf->style == ROWS_TEXT)
		for (size_t i = 0; i < nr; i++, v += rf->nr)
			p = put_text_row(p, rf, first + i, v);
	else if (rf->nr == 2)
		for (size_t i = 0; i < nr; i++, v += 2)
			p = put_row(p, rf, v, 2);
	else
		for (size_t i = 0; i < nr; i++, v += rf->nr)
			p = put_row(p, rf, v, rf->nr);
	return p;
}

int rows_put(struct sink *s, struct row_format *rf, uint64_t first, const uint64_t *values,
	     size_t nr)
{
	while (nr) {
		char *start = sink_reserve(s, ROW_MAX), *end;
		size_t n = batch(s, nr);

		end = put_batch(start, rf, first, values, n);
		if (rf->first && rf->style == ROWS_ARRAY) {
			/* no comma in front of the first element */
			memmove(start, start + 1, end - start - 1);
			end--;
		}
		rf->first = false;
		sink_used(s, end - start);
		first += n;
		values += n * rf->nr;
		nr -= n;
		if (s->err)
			return -s->err;
	}
	return 0;
}
