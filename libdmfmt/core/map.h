/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a store holds, sorted by where it belongs on the logical device, in bounded memory.
 *
 * If it does not fit, the map is a window over the logical device, as wide as memory allows; going
 * past its end (or before its start) reads the metadata again for the next one.
 */
#ifndef DMFMT_CORE_MAP_H
#define DMFMT_CORE_MAP_H

#include "format.h"

struct dmfmt_map;

/* @memory: bytes at most, 0: what the context's limit leaves beside a copier.  Reads the first
 * window.  @f must have passed dmfmt_need_sound(). */
int dmfmt_map_open(struct dmfmt *f, size_t memory, struct dmfmt_map **out);
/**
 * dmfmt_map_next() - the first extent that ends behind logical byte @to, whole
 *
 * Extents are maximal: neighbours that continue each other on both sides are one (also across
 * windows when they are asked for in ascending order; an extent may begin before @to).
 * Return: 1 with *e; 0 there is none; negative errno.
 */
int dmfmt_map_next(struct dmfmt_map *m, uint64_t to, struct dmfmt_extent *e);
/* over the whole store: passes made so far, and extents in the window that is in memory now */
unsigned dmfmt_map_passes(const struct dmfmt_map *m);
/* everything is in memory */
bool dmfmt_map_complete(const struct dmfmt_map *m);
void dmfmt_map_close(struct dmfmt_map *m);

#endif
