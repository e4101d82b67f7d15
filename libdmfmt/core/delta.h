/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Two logical devices of one origin side by side; the second may be the origin itself. */
#ifndef DMFMT_CORE_DELTA_H
#define DMFMT_CORE_DELTA_H

#include "map.h"

/*
 * struct dmfmt_segment - @len logical bytes at @to that at least one side holds in its store
 * @a, @b: where each side has them: on its store if @a_held, @b_held, else on the origin; DMFMT_NONE
 *         for zeros
 */
struct dmfmt_segment {
	uint64_t to, len, a, b;
	bool a_held, b_held;
};

struct dmfmt_sides {
	struct dmfmt *f;
	struct dmfmt_map *a, *b;
	struct dmfmt_extent ea, eb;
	bool known_a, known_b;
	uint64_t at;
};

/* @other may be NULL: the origin; dmfmt_sides_close() also after a failure */
int dmfmt_sides_open(struct dmfmt_sides *s, struct dmfmt *f, struct dmfmt *other);
/* the next segment, ascending: 1; 0 at the end; negative errno */
int dmfmt_sides_next(struct dmfmt_sides *s, struct dmfmt_segment *x);
void dmfmt_sides_close(struct dmfmt_sides *s);

#endif
