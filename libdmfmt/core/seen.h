/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Exact duplicate finding in bounded memory, without temporary files.
 *
 * A set of 64-bit keys that is either a bitmap over one range of keys, or a hash table over one hash
 * partition of all keys from a bound on.  A caller that has more keys than fit walks its records
 * once per range or partition; every pair of equal keys falls into the same one, so nothing is missed.
 */
#ifndef DMFMT_CORE_SEEN_H
#define DMFMT_CORE_SEEN_H

#include "core.h"

struct dmfmt_seen {
	uint64_t *mem;
	size_t bytes;
	uint64_t lo, span;	/* bitmap: keys lo .. lo + span - 1; hash: keys from lo on */
	uint64_t slots;		/* hash only */
	unsigned part, parts;	/* parts 0: bitmap */
	uint64_t above, max_above;	/* keys behind the first bitmap's range: how many, the largest */
};

/* memory of @bytes, whose pages appear as they are touched */
int dmfmt_seen_init(struct dmfmt_ctx *ctx, struct dmfmt_seen *s, size_t bytes);
void dmfmt_seen_free(struct dmfmt_seen *s);
/* how many keys a bitmap of this memory can hold */
uint64_t dmfmt_seen_span(const struct dmfmt_seen *s);
/* start over with keys [lo, lo + span) / with partition @part of @parts of the keys from @lo > 0 on */
void dmfmt_seen_bitmap(struct dmfmt_seen *s, uint64_t lo, uint64_t span);
void dmfmt_seen_hash(struct dmfmt_seen *s, uint64_t lo, unsigned part, unsigned parts);

/**
 * dmfmt_seen_pairs() - put the keys of one column of @nr two-column rows into the set
 * @keys: the column of the first row; the next one is two numbers further on
 * @dups: room for @nr positions; filled with those whose key was there already
 * Return: how many were filled.
 */
size_t dmfmt_seen_pairs(struct dmfmt_seen *s, const uint64_t *keys, size_t nr, uint32_t *dups);

/* passes needed behind the first one (a bitmap from 0 on) for the keys that were above it, and
 * whether they are hash partitions (else ranges) */
unsigned dmfmt_seen_plan(const struct dmfmt_seen *s, uint64_t memory, bool *hash);
#endif
