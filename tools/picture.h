/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pictures of where a device is occupied. */
#ifndef DMTOOL_PICTURE_H
#define DMTOOL_PICTURE_H

#include <stdbool.h>

#include "out.h"

/*
 * struct picture - one device as cells
 * @which: "origin" or "store"
 * @cells: units used in each cell; @nr_cells of them mean something
 * @units: how many units the device has; @per_cell: in each cell, the last may have fewer
 * @unit_bytes: of one unit; 0: units are epochs, not places: a cell is as full as it is compared with
 *              the fullest one, @full
 */
struct picture {
	const char *which;
	uint64_t *cells;
	size_t nr_cells;
	uint64_t units, per_cell, unit_bytes, full;
};

/* units that cell @i covers */
uint64_t picture_cell_units(const struct picture *p, size_t i);
/* 0 empty, 1 to 3 partly, 4 full */
#define PICTURE_SHADES 5
#define PICTURE_LABEL 11	/* columns of the offset in front of each line */
unsigned picture_shade(const struct picture *p, size_t i);

/* what the terminal can show: columns to draw in, and whether the locale is UTF-8 */
unsigned picture_columns(void);
bool picture_unicode(void);

void picture_text(struct out *o, const struct picture *p, unsigned columns, bool unicode);
void picture_legend(struct out *o, bool unicode);
/* a self-contained SVG of all; @title is shown above */
void picture_svg(struct sink *s, const struct picture *p, size_t nr, const char *title);

#endif
