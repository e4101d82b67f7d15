// SPDX-License-Identifier: GPL-2.0-or-later
/* How large a store has to be, before there is one. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "dmtool.h"
#include "human.h"

#define SMALLEST_CHUNK 8u	/* sectors: what LVM makes, from here */
#define LARGEST_CHUNK  1024u	/* to here */
#define FIELDS	       32
#define ALL	       100000u	/* --change is in thousandths of a percent */

static int origin_size(struct tool *t, uint64_t *sectors)
{
	struct dmfmt_dev_info info = { .size = sizeof(info) };
	struct dmfmt_dev *dev;
	int err;

	*sectors = t->o.origin_sectors;
	if (*sectors != DMFMT_NONE)
		return 0;
	/* only its size is looked at, and it is usually mounted */
	err = dmfmt_dev_open(t->ctx, t->o.origin, DMFMT_OPEN_LIVE, &dev);
	if (err)
		return tool_fail(t, err);
	dmfmt_dev_get_info(dev, &info);
	*sectors = info.size_bytes / 512;
	dmfmt_dev_close(dev);
	return 0;
}

static int check_options(struct tool *t)
{
	if (!t->o.origin == (t->o.origin_sectors == DMFMT_NONE))
		return tool_usage(t, "%s, expected one of --origin and --origin-size",
				  t->o.origin ? "found both" : "the origin's size is missing");
	if (t->o.change == DMFMT_NONE)
		return tool_usage(t, "--change is missing: how much of the origin will be written");
	return 0;
}

/* rounded up, without overflow */
static uint64_t share(uint64_t sectors, uint64_t change)
{
	return sectors / ALL * change + (sectors % ALL * change + ALL - 1) / ALL;
}

/* what the library says of one chunk size */
struct collect {
	struct dmfmt_field field[FIELDS];
	char name[FIELDS][48];
	size_t nr;
};

static int collect_field(void *arg, const struct dmfmt_field *f)
{
	struct collect *c = arg;

	if (c->nr == FIELDS || strlen(f->name) >= sizeof(c->name[0]))
		return -EOVERFLOW;
	strcpy(c->name[c->nr], f->name);
	c->field[c->nr] = *f;
	c->field[c->nr].name = c->name[c->nr];
	c->nr++;
	return 0;
}

static uint64_t number(const struct collect *c, const char *name)
{
	for (size_t i = 0; i < c->nr; i++)
		if (!strcmp(c->name[i], name))
			return c->field[i].u;
	return DMFMT_NONE;
}

/* ---- text: one line per chunk size ---- */

static void print_heading(struct tool *t)
{
	out_text(t->out, "%s", "");
	out_text(t->out, "size of the COW device, in sectors: what changes lies together | in writes of "
		 "4 KiB far from each other | everything changes");
	out_text(t->out, "%-9s %27s %27s %27s %14s", "chunk", "together", "scattered", "everything",
		 "kernel memory");
}

static const char *size_cell(char buf[64], uint64_t sectors)
{
	char size[HUMAN_LEN];

	snprintf(buf, 64, "%" PRIu64 " (%s)", sectors, human_size(size, sectors, 512));
	return buf;
}

static void print_row(struct tool *t, const struct collect *c)
{
	char chunk[HUMAN_LEN], memory[HUMAN_LEN], cell[3][64];

	out_text(t->out, "%-9s %27s %27s %27s %14s",
		 human_size(chunk, number(c, "chunk_size"), 512),
		 size_cell(cell[0], number(c, "contiguous_sectors")),
		 size_cell(cell[1], number(c, "scattered_sectors")),
		 size_cell(cell[2], number(c, "full_sectors")),
		 human_size(memory, number(c, "scattered_memory_bytes"), 1));
}

/* what the numbers mean for whoever makes the device */
static void print_remarks(struct tool *t)
{
	out_text(t->out, "%s", "");
	out_text(t->out, "Kernel memory is for the scattered case, on a 64-bit kernel, in any order of "
		 "writes.");
	out_text(t->out, "A device that ends with the last data chunk of an area (its number of chunks "
		 "is 1 modulo one more");
	out_text(t->out, "than exceptions_per_area) is invalidated by upstream's kernel when it fills "
		 "up. The sizes above are none");
	out_text(t->out, "of these; a device made larger must not be one either: --chunk-size shows the "
		 "next one as edge_sectors,");
	out_text(t->out, "and a chunk more or less avoids it.");
}

/* ---- all of it ---- */

static int print_one(struct tool *t, uint64_t origin, uint64_t changed, uint64_t chunk, bool table)
{
	struct collect c = { .nr = 0 };
	int err = dmfmt_snapshot_size(t->ctx, origin, changed, chunk, collect_field, &c);

	if (err)
		return err;
	if (!table)
		return out_item(t->out, c.field, c.nr);
	print_row(t, &c);
	return 0;
}

static int print_all(struct tool *t, uint64_t origin, uint64_t changed)
{
	uint64_t chunk = t->o.chunk_sectors, last = chunk;
	bool table = t->o.format == OUT_TEXT && chunk == DMFMT_NONE;
	int err = 0;

	if (chunk == DMFMT_NONE) {
		chunk = SMALLEST_CHUNK;
		last = LARGEST_CHUNK;
	}
	if (table)
		print_heading(t);
	else
		out_list(t->out, "sizes", NULL, LIST_BLOCKS);
	do
		err = print_one(t, origin, changed, chunk, table);
	while (!err && (chunk *= 2) <= last && chunk);
	if (table && !err)
		print_remarks(t);
	else if (!table)
		out_list_end(t->out);
	return err;
}

int verb_size_snapshot(struct tool *t)
{
	uint64_t origin, changed;
	int err, status = check_options(t);

	if (!status)
		status = origin_size(t, &origin);
	if (!status)
		status = tool_begin(t, t->o.origin ? t->o.origin : "-", t->cmd->family->name);
	if (status)
		return status;
	changed = share(origin, t->o.change);
	out_num(t->out, NULL, "origin_sectors", origin, DMFMT_UNIT_SECTORS);
	out_num(t->out, NULL, "changed_sectors", changed, DMFMT_UNIT_SECTORS);
	err = print_all(t, origin, changed);
	if (err) {
		status = tool_fail(t, err);
		return err == -EINVAL ? STATUS_USAGE : status;
	}
	return tool_end(t, 0);
}
