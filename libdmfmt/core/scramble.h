/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A secret rearrangement of addresses for bug reports.
 *
 * What a checker sees must not change: equal addresses stay equal, consecutive ones consecutive,
 * others stay apart, and each stays between the same two bounds (the end of the origin, where a shift
 * wraps).  So whole segments of consecutive addresses move, and the room between them is dealt out
 * anew.  Segments that touch a bound from both sides stay at it.
 *
 *   before   |..AAAA.BB.......C|CC..D....      | is a bound, C runs over it
 *   after    |.BB....AAAA.....C|CC.....D.
 */
#ifndef DMFMT_CORE_SCRAMBLE_H
#define DMFMT_CORE_SCRAMBLE_H

#include "core.h"

struct dmfmt_scramble;

/* @memory: bytes that the addresses may take */
int dmfmt_scramble_new(struct dmfmt_ctx *ctx, uint64_t memory, struct dmfmt_scramble **out);
void dmfmt_scramble_free(struct dmfmt_scramble *s);

/* collect; an address may be added any number of times.
 * -ENOMEM: too many segments; the line names --memory and how much was used */
int dmfmt_scramble_add(struct dmfmt_scramble *s, uint64_t addr);

/* draw the new places; @bounds ascending, above 0.  Nothing can be added afterwards. */
int dmfmt_scramble_seal(struct dmfmt_scramble *s, const uint64_t *bounds, size_t nr);

/* the new address; false if @addr was never added */
bool dmfmt_scramble_map(const struct dmfmt_scramble *s, uint64_t addr, uint64_t *to);

/* how many segments there are */
size_t dmfmt_scramble_segments(const struct dmfmt_scramble *s);

#endif
