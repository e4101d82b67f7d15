/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Numbers for people, and the numbers that people write. */
#ifndef DMTOOL_HUMAN_H
#define DMTOOL_HUMAN_H

#include "../libdmfmt/dmfmt.h"

#define HUMAN_LEN 32

/* "448.0 KiB" for @n units of @unit_bytes each; never overflows */
const char *human_size(char buf[HUMAN_LEN], uint64_t n, uint64_t unit_bytes);
/* "1:02:03" or "0:07" */
const char *human_time(char buf[HUMAN_LEN], uint64_t seconds);
/* the plural word of a unit, "" for none */
const char *human_unit(enum dmfmt_unit unit);
/* "896 sectors (448.0 KiB)": a field's value as text */
void human_field(char *buf, size_t len, const struct dmfmt_field *f);
/* copy @s to @buf, control characters as '?', so that a name cannot drive a terminal */
const char *human_clean(char *buf, size_t len, const char *s);

/*
 * Read a size: digits and at most one unit of s (sectors), B, K, M, G, T, P, with or without "iB".
 * A plain number counts in units of @unit_bytes, which is what @out counts in.
 * Return: 0; -EINVAL not a size, or not a whole number of units; -ERANGE does not fit in 64 bits.
 */
int human_parse(const char *s, uint64_t unit_bytes, uint64_t *out);
/* a plain decimal number */
int human_parse_u64(const char *s, uint64_t *out);

#endif
