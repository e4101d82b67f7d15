/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DMTOOL_UNITS_H
#define DMTOOL_UNITS_H

#include "dmtool.h"

/* sectors in one unit of the family's records, as the head of @f says; 0 or a negative errno */
int unit_sectors(struct tool *t, struct dmfmt *f, uint64_t *sectors);

#endif
