// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "items.h"

void items_begin(struct items *it, struct out *out, const char *key, const char *title)
{
	*it = (struct items){ .out = out, .key = key, .title = title };
}

static void open_list(struct items *it)
{
	if (!it->open)
		out_list(it->out, it->key, it->title, LIST_BLOCKS);
	it->open = true;
}

static int flush_item(struct items *it)
{
	int err = 0;

	if (it->nr) {
		open_list(it);
		it->nr_items++;
		err = out_item(it->out, it->field, it->nr);
	}
	for (size_t i = 0; i < it->nr; i++) {
		free((char *)it->field[i].name);
		free((char *)it->field[i].s);
	}
	free(it->group);
	it->group = NULL;
	it->nr = 0;
	return err;
}

int items_field(void *arg, const struct dmfmt_field *f)
{
	struct items *it = arg;
	const char *group = f->group ? f->group : "";
	struct dmfmt_field *copy;
	int err = 0;

	if (it->nr && (strcmp(it->group, group) || it->nr == ITEM_FIELDS))
		err = flush_item(it);
	if (!it->group)
		it->group = strdup(group);
	copy = &it->field[it->nr];
	*copy = *f;
	copy->group = NULL;
	copy->name = strdup(f->name);
	copy->s = f->s ? strdup(f->s) : NULL;
	if (!it->group || !copy->name || (f->s && !copy->s)) {
		free((char *)copy->name);
		free((char *)copy->s);
		return -ENOMEM;
	}
	it->nr++;
	return err;
}

void items_end(struct items *it, bool even_empty)
{
	flush_item(it);
	if (even_empty)
		open_list(it);
	if (it->open)
		out_list_end(it->out);
	it->open = false;
}
