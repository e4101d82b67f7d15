// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What differs.  Without a look at the data: what a store holds may differ, everything else is the
 * origin on both sides.  With it: both sides are read where one of them is not the origin, piece by
 * piece, one after the other, and compared sector by sector.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "delta.h"

#define SECTOR 512u
#define PIECE_BYTES (256u << 10)
#define PIECES 512u		/* on each side, before they are read */

enum source { SRC_STORE, SRC_OTHER, SRC_ORIGIN };

/* ranges that touch become one */
struct joiner {
	int (*fn)(void *arg, uint64_t sector, uint64_t nr);
	void *arg;
	uint64_t from, to;	/* bytes; nothing yet while from == to */
};

static int join_end(struct joiner *j)
{
	int ret = 0;

	if (j->from < j->to)
		ret = j->fn(j->arg, j->from / SECTOR, j->to / SECTOR - j->from / SECTOR);
	j->from = j->to = 0;
	return ret;
}

static int join(struct joiner *j, uint64_t from, uint64_t to)
{
	int ret;

	if (j->from < j->to && from <= j->to) {
		if (to > j->to)
			j->to = to;
		return 0;
	}
	ret = join_end(j);
	j->from = from;
	j->to = to;
	return ret;
}

/* ---- two sides, segment by segment ------------------------------------------------------------- */

int dmfmt_sides_open(struct dmfmt_sides *s, struct dmfmt *f, struct dmfmt *other)
{
	size_t memory = (size_t)(f->ctx->memory / 4 > SIZE_MAX ? SIZE_MAX : f->ctx->memory / 4);
	int ret;

	*s = (struct dmfmt_sides){ .f = f };
	if (other)
		memory /= 2;
	ret = dmfmt_map_open(f, memory, &s->a);
	if (!ret && other)
		ret = dmfmt_map_open(other, memory, &s->b);
	return ret;
}

void dmfmt_sides_close(struct dmfmt_sides *s)
{
	dmfmt_map_close(s->a);
	dmfmt_map_close(s->b);
}

/* the extent at or behind the position, or one that begins at the end of everything */
static int look(struct dmfmt_map *m, uint64_t at, struct dmfmt_extent *e, bool *known)
{
	int ret = 1;

	if (!m)
		ret = 0;
	else if (!*known || e->to + e->length <= at)
		ret = dmfmt_map_next(m, at, e);
	if (ret < 0)
		return ret;
	if (!ret)
		*e = (struct dmfmt_extent){ UINT64_MAX, DMFMT_NONE, 0 };
	*known = ret;
	return 0;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* what @e has for @at, or the origin's number there */
static uint64_t address(const struct dmfmt_extent *e, uint64_t at, bool *held)
{
	*held = e->to <= at;
	if (!*held)
		return at;
	return e->from == DMFMT_NONE ? DMFMT_NONE : e->from + (at - e->to);
}

int dmfmt_sides_next(struct dmfmt_sides *s, struct dmfmt_segment *x)
{
	uint64_t end;
	int ret = look(s->a, s->at, &s->ea, &s->known_a);

	if (!ret)
		ret = look(s->b, s->at, &s->eb, &s->known_b);
	if (ret)
		return ret;
	x->to = least(s->ea.to, s->eb.to);
	if (x->to == UINT64_MAX)
		return 0;
	if (x->to < s->at)
		x->to = s->at;
	end = UINT64_MAX;
	x->a = address(&s->ea, x->to, &x->a_held);
	x->b = address(&s->eb, x->to, &x->b_held);
	end = least(end, x->a_held ? s->ea.to + s->ea.length : s->ea.to);
	end = least(end, x->b_held ? s->eb.to + s->eb.length : s->eb.to);
	x->len = end - x->to;
	s->at = end;
	return 1;
}

/* ---- comparing --------------------------------------------------------------------------------- */

/*
 * The list has each piece twice, first this side then the other; bytes come in parts of any size, in
 * the order of the list.
 */
struct compare {
	struct dmfmt *f;
	struct dmfmt_copier *copier;
	struct joiner *j;
	struct dmfmt_move *moves;	/* 2 * PIECES */
	size_t nr;
	size_t at;		/* in the list, while bytes come */
	uint64_t in;
	uint8_t *kept;		/* what this side has of the piece */
};

static int compare_part(struct compare *c, uint64_t to, const uint8_t *a, const uint8_t *b, uint64_t len)
{
	uint64_t i;
	int ret = 0;

	if (!memcmp(a, b, (size_t)len))
		return 0;
	for (i = 0; !ret && i < len; i += SECTOR)
		if (memcmp(a + i, b + i, SECTOR))
			ret = join(c->j, to + i, to + i + SECTOR);
	return ret;
}

static int on_bytes(void *arg, const struct dmfmt_move *part, const void *buf, int err)
{
	struct compare *c = arg;
	int ret = 0;

	if (err)
		return dmfmt_fail(c->f->ctx, err, "%s: offset %" PRIu64 ": cannot be read, so it cannot be compared",
				  part->src == SRC_ORIGIN ? c->f->origin->path : c->f->dev->path,
				  part->from);
	if (c->at % 2)
		ret = compare_part(c, part->to, c->kept + c->in, buf, part->len);
	else
		memcpy(c->kept + c->in, buf, (size_t)part->len);
	c->in += part->len;
	if (c->in == c->moves[c->at].len) {
		c->at++;
		c->in = 0;
	}
	return ret;
}

static int compare_now(struct compare *c)
{
	int ret;

	c->at = 0;
	c->in = 0;
	ret = dmfmt_copier_read(c->copier, c->moves, c->nr, on_bytes, c);
	c->nr = 0;
	return ret;
}

static int add_piece(struct compare *c, const struct dmfmt_segment *x, uint64_t in, uint64_t len)
{
	c->moves[c->nr++] = (struct dmfmt_move){
		.to = x->to + in, .len = len, .src = x->a_held ? SRC_STORE : SRC_ORIGIN,
		.from = x->a == DMFMT_NONE ? DMFMT_NONE : x->a + in };
	c->moves[c->nr++] = (struct dmfmt_move){
		.to = x->to + in, .len = len, .src = x->b_held ? SRC_OTHER : SRC_ORIGIN,
		.from = x->b == DMFMT_NONE ? DMFMT_NONE : x->b + in };
	return c->nr == 2 * PIECES ? compare_now(c) : 0;
}

static int compare_segments(struct compare *c, struct dmfmt_sides *s)
{
	struct dmfmt_segment x;
	uint64_t in, len;
	int ret;

	while ((ret = dmfmt_sides_next(s, &x)) == 1) {
		for (in = 0; ret >= 0 && in < x.len; in += len) {
			len = least(x.len - in, PIECE_BYTES);
			ret = add_piece(c, &x, in, len);
		}
		if (ret < 0)
			return ret;
	}
	return ret < 0 ? ret : compare_now(c);
}

static int delta_exact(struct dmfmt *f, struct dmfmt *other, struct dmfmt_sides *s, struct joiner *j)
{
	const struct dmfmt_copier_opts o = {
		.src = { f->dev, other ? other->dev : NULL, f->origin }, .what = "comparing",
		.memory = dmfmt_copier_memory(f->ctx, f->ctx->memory / 4 + PIECE_BYTES),
	};
	struct compare c = { .f = f, .j = j };
	int ret = dmfmt_copier_open(f->ctx, &o, &c.copier);

	c.moves = malloc(2 * PIECES * sizeof(*c.moves));
	c.kept = malloc(PIECE_BYTES);
	if (!ret && (!c.moves || !c.kept))
		ret = dmfmt_fail(f->ctx, -ENOMEM, "%s: no memory for comparing", f->dev->path);
	if (!ret)
		ret = compare_segments(&c, s);
	dmfmt_copier_close(c.copier);
	free(c.moves);
	free(c.kept);
	return ret;
}

static int delta_held(struct dmfmt_sides *s, struct joiner *j)
{
	struct dmfmt_segment x;
	int ret;

	while ((ret = dmfmt_sides_next(s, &x)) == 1) {
		ret = join(j, x.to, x.to + x.len);
		if (ret)
			return ret;
	}
	return ret;
}

/* ---- the whole ---------------------------------------------------------------------------------- */

static int check_args(struct dmfmt *f, const struct dmfmt_delta_opts *o)
{
	struct dmfmt *other = o->other;

	if (o->exact && !f->origin)
		return dmfmt_fail(f->ctx, -EINVAL, "%s: an exact comparison needs the origin", f->dev->path);
	if (!other)
		return 0;
	if (other->format != f->format)
		return dmfmt_fail(f->ctx, -EINVAL, "%s: is a %s, expected a %s", other->dev->path,
				  other->format->what, f->format->what);
	if (other->origin_sectors != f->origin_sectors)
		return dmfmt_fail(f->ctx, -EINVAL, "%s: belongs to an origin of another size",
				  other->dev->path);
	return 0;
}

int dmfmt_delta(struct dmfmt *f, const struct dmfmt_delta_opts *opts,
		int (*fn)(void *arg, uint64_t sector, uint64_t nr), void *arg)
{
	struct dmfmt_delta_opts o = { 0 };
	struct joiner j = { .fn = fn, .arg = arg };
	struct dmfmt_sides s = { 0 };
	int ret;

	if (!f || !fn || !opts || opts->size < sizeof(opts->size))
		return -EINVAL;
	memcpy(&o, opts, opts->size < sizeof(o) ? opts->size : sizeof(o));
	f->ctx->error[0] = '\0';
	ret = check_args(f, &o);
	if (!ret)
		ret = dmfmt_need_sound(f, "comparing");
	if (!ret && o.other)
		ret = dmfmt_need_sound(o.other, "comparing");
	if (!ret)
		ret = dmfmt_sides_open(&s, f, o.other);
	if (!ret)
		ret = o.exact ? delta_exact(f, o.other, &s, &j) : delta_held(&s, &j);
	if (!ret)
		ret = join_end(&j);
	dmfmt_sides_close(&s);
	return ret;
}
