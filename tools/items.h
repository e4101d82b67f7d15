/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The library tells answers, candidates and evidence field by field, with a group per answer.  This
 * turns each group into one item of a list, whose length nobody knows beforehand.
 */
#ifndef DMTOOL_ITEMS_H
#define DMTOOL_ITEMS_H

#include "out.h"

#define ITEM_FIELDS 32

struct items {
	struct out *out;
	const char *key, *title;
	bool open;
	char *group;
	struct dmfmt_field field[ITEM_FIELDS];	/* with strings of their own */
	size_t nr, nr_items;
};

void items_begin(struct items *it, struct out *out, const char *key, const char *title);
/* a dmfmt_field_fn, @arg is the struct items */
int items_field(void *arg, const struct dmfmt_field *f);
/* @even_empty: the list is part of the document although nothing came */
void items_end(struct items *it, bool even_empty);

#endif
