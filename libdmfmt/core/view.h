/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The logical device behind dmfmt_view_open(), for what is written over it. */
#ifndef DMFMT_CORE_VIEW_H
#define DMFMT_CORE_VIEW_H

#include "map.h"

/*
 * @size: of the logical device, bytes
 * @e: the first extent of the store that ends behind any offset in [@from, e.to + e.length), while
 *     @known
 */
struct dmfmt_view {
	struct dmfmt *f;
	struct dmfmt_map *map;
	uint64_t size;
	struct dmfmt_extent e;
	uint64_t from;
	bool known;
};

#endif
