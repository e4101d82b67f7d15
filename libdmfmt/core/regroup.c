// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "regroup.h"

#define MOVES 4096u			/* handed to the copier at once, */
#define MOVE_BYTES (256ull << 20)	/* or about so many bytes */

/* ---- blocks -------------------------------------------------------------------------------- */

/* logical bytes [@to, @to + @len), all inside the run that is open */
static int give(struct dmfmt_regroup *r, unsigned src, uint64_t from, uint64_t to, uint64_t len)
{
	r->bytes[src] += len;
	return r->data(r->arg, src, from, r->run_index + (to / r->block_bytes - r->run_block),
		       to % r->block_bytes, len);
}

/* up to logical byte @end no extent has anything: the origin, then zeros */
static int fill_to(struct dmfmt_regroup *r, uint64_t end)
{
	uint64_t stop = end < r->origin_bytes ? end : r->origin_bytes;
	int ret = 0;

	if (r->done < stop) {
		ret = r->lacks ? r->lacks(r->arg, r->done, stop) :
				 give(r, DMFMT_FROM_ORIGIN, r->done, r->done, stop - r->done);
		r->done = stop;
	}
	if (!ret && r->done < end)
		ret = give(r, DMFMT_FROM_NOWHERE, 0, r->done, end - r->done);
	r->done = end;
	return ret;
}

void dmfmt_regroup_begin(struct dmfmt_regroup *r)
{
	r->run_block = r->run_index = r->next_block = r->done = r->nr = 0;
	memset(r->bytes, 0, sizeof(r->bytes));
}

int dmfmt_regroup_end(struct dmfmt_regroup *r)
{
	return fill_to(r, r->next_block * r->block_bytes);
}

int dmfmt_regroup_extent(struct dmfmt_regroup *r, const struct dmfmt_extent *e)
{
	uint64_t end = e->to + e->length, first = e->to / r->block_bytes;
	uint64_t last = end / r->block_bytes + !!(end % r->block_bytes);
	int ret = 0;

	if (first >= r->next_block) {
		ret = dmfmt_regroup_end(r);
		r->run_block = r->next_block = first;
		r->run_index = r->nr;
		r->done = first * r->block_bytes;
	}
	if (!ret && last > r->next_block) {
		ret = r->blocks(r->arg, r->next_block, last - r->next_block);
		r->nr += last - r->next_block;
		r->next_block = last;
	}
	if (!ret)
		ret = fill_to(r, e->to);
	if (!ret)
		ret = give(r, e->from == DMFMT_NONE ? DMFMT_FROM_NOWHERE : DMFMT_FROM_STORE, e->from,
			   e->to, e->length);
	r->done = end;
	return ret;
}

/* ---- data ---------------------------------------------------------------------------------- */

int dmfmt_mover_open(struct dmfmt_mover *m, struct dmfmt_ctx *ctx, struct dmfmt_dev *source,
		     struct dmfmt_dev *origin, struct dmfmt_dev *to, uint64_t total, size_t other)
{
	struct dmfmt_copier_opts o = {
		.src = { source, origin }, .dst = to, .what = "converting", .total = total,
		.fresh = to->flags & DMFMT_OPEN_CREATE,
		.memory = dmfmt_copier_memory(ctx, MOVES * sizeof(*m->moves) + other),
	};

	m->moves = calloc(MOVES, sizeof(*m->moves));
	if (!m->moves)
		return dmfmt_fail(ctx, -ENOMEM, "out of memory");
	return dmfmt_copier_open(ctx, &o, &m->copier);
}

int dmfmt_mover_run(struct dmfmt_mover *m)
{
	int ret = m->nr ? dmfmt_copier_run(m->copier, m->moves, m->nr) : 0;

	m->nr = 0;
	m->bytes = 0;
	return ret;
}

int dmfmt_mover_add(struct dmfmt_mover *m, unsigned src, uint64_t from, uint64_t to, uint64_t len)
{
	m->moves[m->nr++] = (struct dmfmt_move){
		.from = src == DMFMT_FROM_NOWHERE ? DMFMT_NONE : from,
		.to = to, .len = len, .src = src == DMFMT_FROM_NOWHERE ? 0 : src,
	};
	m->bytes += len;
	return m->nr == MOVES || m->bytes >= MOVE_BYTES ? dmfmt_mover_run(m) : 0;
}

void dmfmt_mover_close(struct dmfmt_mover *m)
{
	dmfmt_copier_close(m->copier);
	free(m->moves);
	memset(m, 0, sizeof(*m));
}
