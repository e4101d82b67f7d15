// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A write-back into a new file instead of the origin: the file is as large, holds what the store holds,
 * each byte at its place, and nothing else.  What is zero in the store is written as zeros, so that data
 * and holes tell apart what is to be laid over the origin; ranges that failed stay holes and are not told.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "map.h"
#include "moving.h"

#define BATCH_MOVES 8192u
#define BATCH_BYTES (64ull << 20)

/*
 * struct patch - one patch
 * @moves: what is copied next; @bytes: of it
 * @told: a range that the file holds and that the next one may continue; its length is 0 if there is none
 */
struct patch {
	struct dmfmt *f;
	struct dmfmt_dev *to;
	struct dmfmt_moving m;
	struct dmfmt_writeback_result *r;
	struct dmfmt_move *moves;
	size_t nr;
	uint64_t bytes;
	int (*fn)(void *arg, const struct dmfmt_extent *e);
	void *arg;
	struct dmfmt_extent told;
};

/* ---- telling what the file holds ---- */

static int tell_pending(struct patch *p)
{
	struct dmfmt_extent e = p->told;

	p->told.length = 0;
	return e.length && p->fn ? p->fn(p->arg, &e) : 0;
}

static int tell(struct patch *p, uint64_t to, uint64_t from, uint64_t len)
{
	struct dmfmt_extent *t = &p->told;
	bool zeros = from == DMFMT_NONE;
	int ret;

	if (t->length && t->to + t->length == to &&
	    (zeros ? t->from == from : t->from != DMFMT_NONE && t->from + t->length == from)) {
		t->length += len;
		return 0;
	}
	ret = tell_pending(p);
	*t = (struct dmfmt_extent){ .to = to, .from = from, .length = len };
	return ret;
}

/* unit by unit only where some have failed */
static int tell_move(struct patch *p, const struct dmfmt_move *m)
{
	uint64_t unit = p->m.nr_failed ? p->m.unit : m->len, done, len;
	int ret = 0;

	for (done = 0; !ret && done < m->len; done += len) {
		len = m->len - done < unit ? m->len - done : unit;
		if (dmfmt_moving_failed(&p->m, m->to + done))
			continue;
		p->r->bytes += len;
		p->r->records += (len + p->m.unit - 1) / p->m.unit;
		ret = tell(p, m->to + done, m->from == DMFMT_NONE ? m->from : m->from + done, len);
	}
	return ret;
}

/* ---- copying ---- */

/* a file whose end is not known beforehand grows with what is written */
static int make_room(struct patch *p)
{
	const struct dmfmt_move *last = &p->moves[p->nr - 1];
	uint64_t end = last->to + last->len;

	return end > p->to->size ? dmfmt_dev_truncate(p->to, end) : 0;
}

static int copy_batch(struct patch *p)
{
	bool verify = p->m.o.flags & DMFMT_WRITEBACK_VERIFY;
	size_t i;
	int ret;

	if (!p->nr)
		return 0;
	ret = make_room(p);
	if (!ret)
		ret = dmfmt_moving_run(&p->m, p->moves, p->nr, verify);
	for (i = 0; !ret && i < p->nr; i++)
		ret = tell_move(p, &p->moves[i]);
	p->r->writes += p->nr;
	p->r->windows++;
	p->nr = 0;
	p->bytes = 0;
	return ret;
}

static int add(struct patch *p, const struct dmfmt_extent *e)
{
	uint64_t most = BATCH_BYTES / p->m.unit * p->m.unit, done, len;
	int ret = 0;

	if (!most)
		most = p->m.unit;
	for (done = 0; !ret && done < e->length; done += len) {
		len = e->length - done < most ? e->length - done : most;
		p->moves[p->nr++] = (struct dmfmt_move){
			.to = e->to + done, .len = len,
			.from = e->from == DMFMT_NONE ? e->from : e->from + done,
		};
		p->bytes += len;
		if (p->nr == BATCH_MOVES || p->bytes >= most)
			ret = copy_batch(p);
	}
	return ret;
}

static int copy_all(struct patch *p)
{
	struct dmfmt_extent e = { 0 };
	struct dmfmt_map *map;
	uint64_t at = 0;
	int ret = dmfmt_map_open(p->f, 0, &map);

	if (ret)
		return ret;
	while ((ret = dmfmt_map_next(map, at, &e)) == 1) {
		ret = add(p, &e);
		if (ret)
			break;
		at = e.to + e.length;
	}
	dmfmt_map_close(map);
	if (!ret)
		ret = copy_batch(p);
	return ret ? ret : tell_pending(p);
}

static int make(struct patch *p, const struct dmfmt_loss *loss)
{
	uint64_t sectors = p->f->origin_sectors;
	int ret = 0;

	p->m.unit = p->f->format->data_unit(p->f);
	p->m.tables = BATCH_MOVES * sizeof(*p->moves) + (size_t)(BATCH_BYTES / 512) * sizeof(*p->moves);
	p->r->bytes_beyond = loss->homeless * p->m.unit;
	p->moves = malloc(BATCH_MOVES * sizeof(*p->moves));
	if (!p->moves)
		return dmfmt_fail(p->f->ctx, -ENOMEM, "%s: no memory for a patch", p->to->path);
	if (sectors != DMFMT_NONE)
		ret = sectors > INT64_MAX / 512 ? -EFBIG : dmfmt_dev_truncate(p->to, sectors * 512);
	if (!ret && loss->rescue)
		ret = dmfmt_moving_lost(&p->m);
	if (!ret)
		ret = copy_all(p);
	return ret ? ret : dmfmt_dev_sync(p->to);
}

/* ---- the whole ---- */

static int check_args(const struct dmfmt *f, const struct dmfmt_dev *to,
		      const struct dmfmt_writeback_opts *o)
{
	const unsigned known = DMFMT_WRITEBACK_VERIFY | DMFMT_WRITEBACK_KEEP_GOING |
			       DMFMT_WRITEBACK_ACCEPT_LOSS | DMFMT_WRITEBACK_DEVICE_CUT;

	if (!f->format->extents || !f->format->data_unit)
		return dmfmt_fail(f->ctx, -EOPNOTSUPP, "%s: patch: %s has no such function", f->dev->path,
				  f->format->name);
	if (!to || !(to->flags & DMFMT_OPEN_CREATE) || to->size)
		return dmfmt_fail(f->ctx, -EINVAL, "%s: a patch needs a new, empty file",
				  to ? to->path : f->dev->path);
	if (o->flags & ~known)
		return dmfmt_fail(f->ctx, -EINVAL, "%s: patch: flags 0x%x are not known", f->dev->path,
				  o->flags);
	return 0;
}

int dmfmt_patch(struct dmfmt *f, struct dmfmt_dev *to, const struct dmfmt_writeback_opts *o,
		int (*told)(void *arg, const struct dmfmt_extent *e), void *arg,
		struct dmfmt_writeback_result *r)
{
	struct dmfmt_writeback_result mine = { .size = sizeof(mine) };
	struct patch p = { .f = f, .to = to, .m = { .f = f, .dst = to, .r = &mine }, .r = &mine,
			   .fn = told, .arg = arg };
	struct dmfmt_loss loss;
	int ret;

	if (!f)
		return -EINVAL;
	f->ctx->error[0] = '\0';
	dmfmt_moving_opts(&p.m, o);
	ret = check_args(f, to, &p.m.o);
	if (!ret)
		ret = dmfmt_need_accepted(f, &p.m.o, &loss);
	if (!ret)
		ret = make(&p, &loss);
	dmfmt_moving_free(&p.m);
	free(p.moves);
	dmfmt_moving_result(&p.m, r);
	if (ret < 0 && !f->ctx->error[0])
		dmfmt_fail(f->ctx, ret, "%s: patch: %s", to->path, strerror(-ret));
	return ret;
}
