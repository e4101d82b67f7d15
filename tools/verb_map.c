// SPDX-License-Identifier: GPL-2.0-or-later
/* Draw where origin and store are occupied. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "human.h"
#include "newfile.h"
#include "picture.h"
#include "store.h"
#include "units.h"

#define LINES	  8		/* of each picture */
#define MIN_WIDTH 20
#define MAX_WIDTH 4096
#define SVG_CELLS 1024
#define MAX_PICTURES 3

struct map {
	struct tool *t;
	unsigned columns;
	bool unicode;
	uint64_t unit_bytes;
	struct picture pictures[MAX_PICTURES];
	size_t nr;
};

static int check_options(struct map *m)
{
	struct tool *t = m->t;

	m->columns = t->o.width == DMFMT_NONE ? picture_columns() : (unsigned)t->o.width;
	if (t->o.width != DMFMT_NONE && (t->o.width < MIN_WIDTH || t->o.width > MAX_WIDTH))
		return tool_usage(t, "--width: expected %d to %d columns", MIN_WIDTH, MAX_WIDTH);
	if (m->columns < MIN_WIDTH)
		m->columns = MIN_WIDTH;
	m->unicode = !t->o.ascii && picture_unicode();
	return 0;
}

static int look(struct map *m, struct dmfmt *f, struct picture *p, const char *which)
{
	size_t room = m->t->o.svg ? SVG_CELLS : (size_t)(m->columns - PICTURE_LABEL) * LINES;
	int err;

	p->which = which;
	/* an epoch has no size */
	p->unit_bytes = strcmp(which, "age") ? m->unit_bytes : 0;
	p->cells = calloc(room, sizeof(*p->cells));
	if (!p->cells)
		return -ENOMEM;
	err = dmfmt_occupancy(f, which, p->cells, room, &p->units);
	if (err)
		return err;
	p->per_cell = p->units / room + (p->units % room != 0);
	p->nr_cells = p->units ? (size_t)((p->units - 1) / p->per_cell + 1) : 0;
	for (size_t i = 0; i < p->nr_cells; i++)
		if (p->cells[i] > p->full)
			p->full = p->cells[i];
	return 0;
}

static int look_at_all(struct map *m, struct dmfmt *f)
{
	const char *const *which = m->t->cmd->family->pictures;
	uint64_t sectors;
	int err = unit_sectors(m->t, f, &sectors);

	m->unit_bytes = sectors * 512;
	for (; !err && *which && m->nr < MAX_PICTURES; which++, m->nr++)
		err = look(m, f, &m->pictures[m->nr], *which);
	return err;
}

/* for programs: every cell */
static int print_cells(struct map *m, const struct picture *p)
{
	int err = 0;

	out_list(m->t->out, p->which, NULL, LIST_TABLE);
	for (size_t i = 0; !err && i < p->nr_cells; i++) {
		struct dmfmt_field f[] = {
			OUT_NUM("start", i * p->per_cell), OUT_NUM("nr", picture_cell_units(p, i)),
			OUT_NUM("used", p->cells[i]),
		};

		err = out_item(m->t->out, f, 3);
	}
	out_list_end(m->t->out);
	return err;
}

static int print(struct map *m)
{
	struct out *o = m->t->out;
	int err = 0;

	out_num(o, "picture", "unit_bytes", m->unit_bytes, DMFMT_UNIT_BYTES);
	for (size_t i = 0; i < m->nr; i++) {
		char name[32];

		snprintf(name, sizeof(name), "%s_units", m->pictures[i].which);
		out_num(o, "picture", name, m->pictures[i].units, DMFMT_UNIT_NONE);
	}
	out_bool(o, "picture", "origin_size_known", m->t->o.origin_sectors != DMFMT_NONE ||
		 m->t->o.origin || m->t->arg[1]);
	for (size_t i = 0; !err && i < m->nr; i++)
		if (m->t->o.format == OUT_TEXT)
			picture_text(o, &m->pictures[i], m->columns, m->unicode);
		else
			err = print_cells(m, &m->pictures[i]);
	picture_legend(o, m->unicode);
	return err;
}

static int write_svg(struct map *m)
{
	struct tool *t = m->t;
	struct sink sink = { .fd = -1 };
	struct newfile nf;
	int fd, err, status = newfile_init(t, &nf, t->o.svg);

	if (!status) {
		fd = newfile_open(&nf);
		err = fd < 0 ? fd : sink_init(&sink, fd);
		if (!err) {
			picture_svg(&sink, m->pictures, m->nr, t->arg[0]);
			err = sink_flush(&sink);
			if (!err && fsync(fd))
				err = -errno;
			err = sink_close(&sink) ?: err;
		}
		if (err)
			tool_error(t, "%s: %s", t->o.svg, strerror(-err));
		status = err ? STATUS_ERROR : newfile_commit(t, &nf);
	}
	newfile_drop(&nf);
	if (!status)
		out_str(t->out, NULL, "svg", t->o.svg);
	return status;
}

static int draw(struct map *m, struct dmfmt *f)
{
	int status = 0, err = look_at_all(m, f);

	if (err)
		return tool_fail(m->t, err);
	if (m->t->o.svg)
		status = write_svg(m);
	if (status)
		return tool_abort(m->t, status, "the picture could not be written");
	if (!m->t->o.svg || m->t->o.format != OUT_TEXT)
		err = print(m);
	return err ? tool_fail(m->t, err) : tool_end(m->t, 0);
}

int verb_map(struct tool *t)
{
	struct map m = { .t = t };
	struct store s = { 0 };
	int status = check_options(&m);

	if (status)
		return status;
	status = store_open_read(t, &s, 0);
	if (!status)
		status = tool_begin(t, t->arg[0], t->cmd->family->name);
	if (!status)
		status = draw(&m, s.f);
	store_close(&s);
	for (size_t i = 0; i < MAX_PICTURES; i++)
		free(m.pictures[i].cells);
	return status;
}
