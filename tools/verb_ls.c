// SPDX-License-Identifier: GPL-2.0-or-later
/* What a store holds, as runs of sectors. */
#include <errno.h>
#include <string.h>

#include "progress.h"
#include "store.h"
#include "units.h"

struct unit {
	const char *name;
	uint64_t sectors;
};

static int unit_head(void *arg, const struct dmfmt_field *f)
{
	struct unit *u = arg;

	if (f->kind == DMFMT_U64 && !strcmp(f->name, u->name))
		u->sectors = f->u;
	return 0;
}

/* the head is known now */
static int unit_stop(void *arg, uint64_t first, const uint64_t *values, size_t nr)
{
	return 1;
}

int unit_sectors(struct tool *t, struct dmfmt *f, uint64_t *sectors)
{
	struct unit u = { .name = t->cmd->family->unit_field };
	const struct dmfmt_visitor v = {
		.size = sizeof(v), .arg = &u, .head = unit_head, .records = unit_stop,
	};
	int err = dmfmt_walk(f, &v);

	*sectors = u.sectors * t->cmd->family->unit_field_bytes / 512;
	return err < 0 ? err : u.sectors ? 0 : -EPROTO;
}

struct ls {
	struct tool *t;
	uint64_t unit;
};

/* sectors of one side of a run; chunk numbers are not trusted, so they may not fit */
static bool to_sectors(uint64_t chunk, uint64_t unit, uint64_t *sectors)
{
	return !__builtin_mul_overflow(chunk, unit, sectors);
}

/* cut the run to the range that was asked for; false if nothing is left */
static bool clip(const struct opts *o, uint64_t *from, uint64_t *to, uint64_t *nr)
{
	uint64_t end = *from > UINT64_MAX - *nr ? UINT64_MAX : *from + *nr, skip = 0;

	if (end > o->origin_range[1])
		end = o->origin_range[1];
	if (*from < o->origin_range[0])
		skip = o->origin_range[0] - *from;
	if (end <= *from || skip >= end - *from)
		return false;
	*from += skip;
	*to += skip;
	*nr = end - *from;
	return true;
}

static int ls_run(void *arg, const struct dmfmt_run *run)
{
	struct ls *l = arg;
	uint64_t from, to, nr;
	struct dmfmt_field f[4] = { OUT_NUM("record", run->record) };

	if (progress_stopped())
		return -ECANCELED;
	if (!to_sectors(run->from, l->unit, &from) || !to_sectors(run->to, l->unit, &to) ||
	    !to_sectors(run->length, l->unit, &nr)) {
		tool_warn(l->t,
			  "%s: record %llu: its place does not fit in 64 bits of sectors, left out",
			  l->t->arg[0], (unsigned long long)run->record);
		return 0;
	}
	if (!clip(&l->t->o, &from, &to, &nr))
		return 0;
	f[1] = (struct dmfmt_field)OUT_NUM("origin_sector", from);
	f[2] = (struct dmfmt_field)OUT_NUM("store_sector", to);
	f[3] = (struct dmfmt_field)OUT_UNIT("nr_sectors", nr, DMFMT_UNIT_SECTORS);
	return out_item(l->t->out, f, 4);
}

static int list(struct tool *t, struct dmfmt *f)
{
	struct ls l = { .t = t };
	int err = unit_sectors(t, f, &l.unit);

	if (err)
		return tool_fail(t, err);
	out_num(t->out, NULL, t->cmd->family->unit_field, l.unit, DMFMT_UNIT_SECTORS);
	out_list(t->out, "runs", "runs (sectors)", LIST_TABLE);
	err = dmfmt_runs(f, ls_run, &l);
	if (err)
		return tool_fail(t, err);
	out_list_end(t->out);
	return tool_end(t, 0);
}

int verb_ls(struct tool *t)
{
	struct store s;
	int status = store_open_read(t, &s, 0);

	if (!status)
		status = tool_begin(t, t->arg[0], t->cmd->family->name);
	if (!status)
		status = list(t, s.f);
	store_close(&s);
	return status;
}
