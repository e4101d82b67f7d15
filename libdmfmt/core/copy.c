// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Bringing home what a store holds: the one loop behind every merge, flush and write-back.
 *
 *	prepare
 *	plan a window -> copy it -> flush the destination -> (compare) -> retire it, durably
 *	plan the next ...
 *
 * Nothing is retired before the destination has said that it is durable there, so a cut or a stop
 * between any two steps repeats a copy at worst.  What a flush that failed has lost is unknown; it
 * ends the run, and the store still holds all of its window.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format.h"

#define WINDOW_MOVES (256u << 10)
#define WINDOW_MOVES_MIN (16u << 10)
#define WINDOW_BYTES (1ull << 30)

/* ---- is it sound? -------------------------------------------------------------------------- */

static const struct dmfmt_finding *first_fatal(const struct dmfmt_report *r)
{
	size_t i;

	for (i = 0; i < dmfmt_report_nr(r); i++) {
		const struct dmfmt_finding *d = dmfmt_report_get(r, i);

		if (d->severity == DMFMT_SEV_FATAL)
			return d;
	}
	return NULL;
}

static int judge(struct dmfmt *f, const char *what, const struct dmfmt_report *r)
{
	struct dmfmt_summary s = { .size = sizeof(s) };
	const struct dmfmt_finding *d = first_fatal(r);

	if (!d)
		return 0;
	dmfmt_report_summary(r, &s);
	if (s.fatal > d->count)
		return dmfmt_fail(f->ctx, -EUCLEAN,
				  "%s: %s refused: %s (and %" PRIu64 " more; see dmtool %s-check)",
				  f->dev->path, what, d->message, s.fatal - d->count, f->format->name);
	return dmfmt_fail(f->ctx, -EUCLEAN, "%s: %s refused: %s (see dmtool %s-check)", f->dev->path,
			  what, d->message, f->format->name);
}

static int check_metadata(struct dmfmt *f, const char *what)
{
	struct dmfmt_report *r = dmfmt_report_new(f->ctx, 1);
	int ret;

	if (!r)
		return dmfmt_fail(f->ctx, -ENOMEM, "%s: no memory for a report", f->dev->path);
	ret = f->format->check(f, 0, r);
	if (!ret)
		ret = judge(f, what, r);
	dmfmt_report_free(r);
	return ret;
}

int dmfmt_need_sound(struct dmfmt *f, const char *what)
{
	int ret;

	if (f->sound)
		return 0;
	if (f->flags & DMFMT_OPEN_HEADER_ONLY)
		return dmfmt_fail(f->ctx, -EINVAL, "%s: %s: the handle was opened for its header only",
				  f->dev->path, what);
	ret = check_metadata(f, what);
	if (!ret)
		ret = dmfmt_check_proof(f);
	f->sound = !ret;
	return ret;
}

/* ---- arguments ----------------------------------------------------------------------------- */

static int begin(struct dmfmt *f, const char *what, const void *op)
{
	f->ctx->error[0] = '\0';
	if (!op)
		return dmfmt_fail(f->ctx, -EOPNOTSUPP, "%s: %s: %s has no such function", f->dev->path,
				  what, f->format->name);
	return 0;
}

/* a failure always leaves a line */
static int finish(struct dmfmt *f, const char *what, int err)
{
	if (err < 0 && !f->ctx->error[0])
		dmfmt_fail(f->ctx, err, "%s: %s: %s", f->dev->path, what, strerror(-err));
	return err;
}

static int need_writable(const struct dmfmt_dev *dev, const char *what)
{
	if (dev->dry_run || (dev->flags & DMFMT_OPEN_WRITE))
		return 0;
	return dmfmt_fail(dev->ctx, -EROFS, "%s: %s refused: opened for reading only", dev->path, what);
}

static int need_origin(struct dmfmt *f, const char *what)
{
	return f->origin ? 0 : dmfmt_fail(f->ctx, -EINVAL, "%s: %s: no origin is set", f->dev->path,
					  what);
}

/* ---- write-back ---------------------------------------------------------------------------- */

/*
 * struct run - one write-back
 * @copier: made with the first window, which says how large a unit is
 * @failed: units of this window that could not be moved; as many as a window has at most
 * @first_pass: of them are from the copy and sorted; the comparison adds to them
 * @verifying: the comparison is going on
 * @before: records in the store at the beginning
 */
struct run {
	struct dmfmt *f;
	struct dmfmt_writeback_opts o;
	struct dmfmt_writeback_result *r;
	struct dmfmt_batch b;
	struct dmfmt_copier *copier;
	struct dmfmt_move *failed;
	size_t nr_failed, room_failed, first_pass;
	bool verifying;
	uint64_t before;
};

static int by_to(const void *a, const void *b)
{
	const struct dmfmt_move *x = a, *y = b;

	return x->to < y->to ? -1 : x->to > y->to;
}

static void sort_failed(struct run *w)
{
	if (w->nr_failed > 1)
		qsort(w->failed, w->nr_failed, sizeof(*w->failed), by_to);
}

static int keep_failed(struct run *w, const struct dmfmt_move *unit)
{
	struct dmfmt_move *v;
	size_t room;

	if (w->nr_failed == w->room_failed) {
		room = w->room_failed ? 2 * w->room_failed : 256;
		v = realloc(w->failed, room * sizeof(*v));
		if (!v)
			return dmfmt_fail(w->f->ctx, -ENOMEM, "%s: no memory for %zu failures",
					  w->f->dev->path, room);
		w->failed = v;
		w->room_failed = room;
	}
	w->failed[w->nr_failed++] = *unit;
	return 0;
}

static int on_failure(void *arg, const struct dmfmt_move *unit, bool reading, int err)
{
	struct run *w = arg;
	struct dmfmt_failure x = { .size = sizeof(x), .to = unit->to, .from = unit->from,
				   .length = unit->len, .reading = reading, .error = err };
	struct dmfmt_move u = *unit;
	int ret;

	/* the last chunk of an origin may be cut off */
	if (u.len > w->f->origin->size - u.to)
		x.length = u.len = w->f->origin->size - u.to;
	if (w->verifying && w->first_pass &&
	    bsearch(&u, w->failed, w->first_pass, sizeof(u), by_to))
		return 0;	/* what was not written cannot be the same */
	ret = keep_failed(w, &u);
	if (ret)
		return ret;
	w->r->failed++;
	return w->o.failed ? w->o.failed(w->o.arg, &x) : 0;
}

/* half of a quarter of the memory is for the moves, the other half for those that fail */
static int open_window(struct run *w)
{
	uint64_t room = w->f->ctx->memory / 8 / sizeof(*w->b.moves);

	w->b.room = room > WINDOW_MOVES ? WINDOW_MOVES :
		    room < WINDOW_MOVES_MIN ? WINDOW_MOVES_MIN : (size_t)room;
	if (w->f->ctx->window)
		w->b.room = w->f->ctx->window;
	w->b.max_bytes = WINDOW_BYTES;
	w->b.moves = malloc(w->b.room * sizeof(*w->b.moves));
	if (!w->b.moves)
		return dmfmt_fail(w->f->ctx, -ENOMEM, "%s: no memory for %zu moves", w->f->dev->path,
				  w->b.room);
	return 0;
}

static uint64_t total_bytes(const struct run *w)
{
	return w->b.unit_bytes && w->before > UINT64_MAX / w->b.unit_bytes ?
	       0 : w->before * w->b.unit_bytes;
}

static int open_copier(struct run *w)
{
	struct dmfmt *f = w->f;
	struct dmfmt_copier_opts o = {
		.src = { f->dev }, .dst = f->origin, .unit = w->b.unit_bytes, .arg = w,
		.rate = w->o.rate, .what = "writing back", .total = total_bytes(w),
		.memory = dmfmt_copier_memory(f->ctx, 2 * w->b.room * sizeof(*w->b.moves)),
		.failed = w->o.flags & DMFMT_WRITEBACK_KEEP_GOING ? on_failure : NULL,
	};

	return w->copier ? 0 : dmfmt_copier_open(f->ctx, &o, &w->copier);
}

/* data of the window are on the destination, durably, but for those in w->failed */
static int move_window(struct run *w)
{
	int ret = open_copier(w);

	w->nr_failed = w->first_pass = 0;
	w->verifying = false;
	if (!ret)
		ret = dmfmt_copier_run(w->copier, w->b.moves, w->b.nr);
	if (!ret)
		ret = dmfmt_dev_flush(w->f->origin);
	sort_failed(w);
	if (ret || !(w->o.flags & DMFMT_WRITEBACK_VERIFY))
		return ret;
	w->first_pass = w->nr_failed;
	w->verifying = true;
	ret = dmfmt_copier_verify(w->copier, w->b.moves, w->b.nr);
	sort_failed(w);
	return ret;
}

static void count_window(struct run *w)
{
	size_t i;

	for (i = 0; i < w->b.nr; i++)
		w->r->bytes += w->b.moves[i].len;
	for (i = 0; i < w->nr_failed; i++)
		w->r->bytes -= w->failed[i].len;
	w->r->writes += w->b.nr;
	w->r->windows++;
	w->r->bytes_beyond += w->b.beyond;
}

static int do_window(struct run *w)
{
	int ret = w->b.nr ? move_window(w) : 0;

	if (ret)
		return ret;
	count_window(w);
	w->b.failed = w->failed;
	w->b.nr_failed = w->nr_failed;
	return w->f->format->retire(w->f, &w->b);
}

static int windows(struct run *w)
{
	const struct dmfmt_format *fmt = w->f->format;
	bool dry = w->o.flags & DMFMT_WRITEBACK_DRY_RUN;
	int ret;

	for (;;) {
		w->b.nr = w->nr_failed = w->b.nr_failed = 0;
		w->b.failed = NULL;
		w->b.beyond = 0;
		ret = fmt->plan(w->f, &w->b);
		if (ret <= 0)
			return ret;
		if (dry) {
			count_window(w);
			w->r->records += w->b.end - w->b.first;
			continue;
		}
		ret = do_window(w);
		if (ret)
			return ret;
	}
}

static int write_back(struct run *w)
{
	const struct dmfmt_format *fmt = w->f->format;
	bool dry = w->o.flags & DMFMT_WRITEBACK_DRY_RUN;
	int ret = fmt->prepare(w->f, dry);

	if (ret)
		return ret;
	w->before = w->r->records_left = fmt->remaining(w->f);
	ret = open_window(w);
	if (!ret)
		ret = windows(w);
	w->r->records_left = fmt->remaining(w->f);
	if (!dry)
		w->r->records = w->before - w->r->records_left;
	if (w->copier)
		dmfmt_copier_close(w->copier);
	free(w->b.moves);
	free(w->failed);
	return ret;
}

static int write_back_args(struct dmfmt *f, const struct dmfmt_writeback_opts *o)
{
	const unsigned known = DMFMT_WRITEBACK_DRY_RUN | DMFMT_WRITEBACK_VERIFY |
			       DMFMT_WRITEBACK_KEEP_GOING;
	int ret = begin(f, "write-back", (const void *)f->format->plan);

	if (!ret && (o->flags & ~known))
		ret = dmfmt_fail(f->ctx, -EINVAL, "%s: write-back: flags 0x%x are not known",
				 f->dev->path, o->flags);
	if (!ret)
		ret = need_origin(f, "write-back");
	if (ret || (o->flags & DMFMT_WRITEBACK_DRY_RUN))
		return ret;
	ret = need_writable(f->dev, "write-back");
	return ret ? ret : need_writable(f->origin, "write-back");
}

int dmfmt_writeback(struct dmfmt *f, const struct dmfmt_writeback_opts *o,
		    struct dmfmt_writeback_result *r)
{
	struct dmfmt_writeback_result mine = { .size = sizeof(mine) };
	struct run w = { .f = f, .r = &mine, .o = { .size = sizeof(w.o) } };
	size_t size = r ? r->size : 0;
	int ret;

	if (!f)
		return -EINVAL;
	if (o)
		memcpy(&w.o, o, o->size < sizeof(w.o) ? o->size : sizeof(w.o));
	ret = write_back_args(f, &w.o);
	if (!ret)
		ret = dmfmt_need_sound(f, "merge");
	if (!ret) {
		ret = write_back(&w);
		/* the next user looks for himself at what a run has left */
		f->sound = w.o.flags & DMFMT_WRITEBACK_DRY_RUN;
	}
	if (r) {
		mine.size = size;
		memcpy(r, &mine, size < sizeof(mine) ? size : sizeof(mine));
	}
	return finish(f, "write-back", ret);
}

int dmfmt_discard(struct dmfmt *f, uint64_t *records)
{
	uint64_t nr = 0;
	int ret;

	if (!f)
		return -EINVAL;
	ret = begin(f, "discard", (const void *)f->format->discard);
	if (!ret)
		ret = need_writable(f->dev, "discard");
	if (!ret)
		ret = dmfmt_need_sound(f, "discard");
	if (!ret) {
		ret = f->format->discard(f, &nr);
		f->sound = false;
	}
	if (records)
		*records = nr;
	return finish(f, "discard", ret);
}

/* ---- other stores of the same origin ------------------------------------------------------- */

static int protect_args(struct dmfmt *f, struct dmfmt *other)
{
	int ret = begin(f, "protect", (const void *)f->format->protect);

	if (!ret && (!other || other->format != f->format || other->dev == f->dev))
		ret = dmfmt_fail(f->ctx, -EINVAL, "%s: protect: expected another store of the format %s",
				 f->dev->path, f->format->name);
	if (!ret)
		ret = need_origin(f, "protect");
	if (!ret)
		ret = need_origin(other, "protect");
	if (!ret && other->origin_sectors != f->origin_sectors)
		ret = dmfmt_fail(f->ctx, -EINVAL,
				 "%s: protect: its origin has %" PRIu64 " sectors, expected %" PRIu64,
				 other->dev->path, other->origin_sectors, f->origin_sectors);
	return ret ? ret : need_writable(other->dev, "protect");
}

int dmfmt_protect(struct dmfmt *f, struct dmfmt *other, uint64_t *copied)
{
	uint64_t nr = 0;
	int ret;

	if (!f)
		return -EINVAL;
	ret = protect_args(f, other);
	if (!ret)
		ret = dmfmt_need_sound(f, "merge");
	if (!ret)
		ret = dmfmt_need_sound(other, "adding exceptions");
	if (!ret) {
		ret = f->format->protect(f, other, &nr);
		other->sound = false;
	}
	if (copied)
		*copied = nr;
	return finish(f, "protect", ret);
}
