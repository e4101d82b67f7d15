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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "moving.h"

#define WINDOW_MOVES (256u << 10)
#define WINDOW_MOVES_MIN (16u << 10)
#define WINDOW_BYTES (1ull << 30)
/* windows that must not take longer than half a minute: what they aim at, and how they begin */
#define PACE_MS 25000u
#define PACE_GROWTH 8u
#define PACE_FIRST_BYTES (32u << 20)
#define PACE_FIRST_MOVES 4096u
#define PACE_LEAST_BYTES (1u << 20)
#define PACE_LEAST_MOVES 256u

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

/* @d: why, or NULL */
static int judge(struct dmfmt *f, const char *what, const struct dmfmt_report *r,
		 const struct dmfmt_finding *d)
{
	struct dmfmt_summary s = { .size = sizeof(s) };

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
		ret = judge(f, what, r, first_fatal(r));
	dmfmt_report_free(r);
	return ret;
}

static int need_whole_handle(struct dmfmt *f, const char *what)
{
	if (!(f->flags & DMFMT_OPEN_HEADER_ONLY))
		return 0;
	return dmfmt_fail(f->ctx, -EINVAL, "%s: %s: the handle was opened for its header only",
			  f->dev->path, what);
}

int dmfmt_need_sound(struct dmfmt *f, const char *what)
{
	int ret;

	if (f->sound)
		return 0;
	ret = need_whole_handle(f, what);
	if (!ret)
		ret = check_metadata(f, what);
	if (!ret)
		ret = dmfmt_check_proof(f);
	f->sound = !ret;
	return ret;
}

/* ---- or its losses accepted? --------------------------------------------------------------- */

/*
 * What a report says about losses: @why is the first fatal finding that a rescue tolerates; false: it is
 * the first that it does not.
 */
static bool weigh(const struct dmfmt *f, const struct dmfmt_report *r, bool cut, struct dmfmt_loss *l,
		  const struct dmfmt_finding **why)
{
	const struct dmfmt_format *fmt = f->format;
	size_t i;

	for (i = 0; i < dmfmt_report_nr(r); i++) {
		const struct dmfmt_finding *d = dmfmt_report_get(r, i);
		enum dmfmt_code code = dmfmt_report_code(r, i);

		if (fmt->needs_accept && fmt->needs_accept(code)) {
			l->homeless += d->loss;
			continue;
		}
		if (d->severity != DMFMT_SEV_FATAL)
			continue;
		if (!(fmt->rescuable && fmt->rescuable(code)) &&
		    !(cut && fmt->rescuable_if_cut && fmt->rescuable_if_cut(code))) {
			*why = d;
			return false;
		}
		l->lost += d->loss;
		l->rescue = true;
		if (!*why)
			*why = d;
	}
	return true;
}

static int refuse_loss(struct dmfmt *f, const struct dmfmt_loss *l, const struct dmfmt_finding *why)
{
	const char *end = "past the end of the origin", *verb = f->format->data_verb;
	char what[128];

	if (l->lost && l->homeless)
		snprintf(what, sizeof(what), "%" PRIu64 " blocks are lost and %" PRIu64 " lie %s",
			 l->lost, l->homeless, end);
	else if (l->homeless)
		snprintf(what, sizeof(what), "%" PRIu64 " block%s %s", l->homeless,
			 l->homeless == 1 ? " lies" : "s lie", end);
	else
		snprintf(what, sizeof(what), "%" PRIu64 " block%s lost", l->lost,
			 l->lost == 1 ? " is" : "s are");
	return dmfmt_fail(f->ctx, -EUCLEAN,
			  "%s: %s refused: %s, expected %s--accept-loss=%" PRIu64 " (%s%ssee dmtool %s-check)",
			  f->dev->path, verb, what, l->rescue ? "--keep-going " : "",
			  l->lost + l->homeless, why ? why->message : "", why ? "; " : "",
			  f->format->name);
}

static int judge_loss(struct dmfmt *f, const struct dmfmt_writeback_opts *o, const struct dmfmt_report *r,
		      struct dmfmt_loss *l)
{
	bool keep = o->flags & DMFMT_WRITEBACK_KEEP_GOING, told = o->flags & DMFMT_WRITEBACK_ACCEPT_LOSS;
	bool cut = o->flags & DMFMT_WRITEBACK_DEVICE_CUT;
	const struct dmfmt_finding *why = NULL;
	uint64_t accepted = told ? o->accept_loss : 0;

	if (!weigh(f, r, cut, l, &why))
		return judge(f, f->format->data_verb, r, why);
	if (l->rescue ? keep && told && l->lost + l->homeless == accepted : l->homeless == accepted)
		return 0;
	return refuse_loss(f, l, why);
}

int dmfmt_need_accepted(struct dmfmt *f, const struct dmfmt_writeback_opts *o, struct dmfmt_loss *loss)
{
	struct dmfmt_report *r;
	int ret;

	*loss = (struct dmfmt_loss){ 0 };
	if (!f->format->rescuable && !f->format->needs_accept && !(o->flags & DMFMT_WRITEBACK_ACCEPT_LOSS))
		return dmfmt_need_sound(f, f->format->data_verb);
	ret = need_whole_handle(f, f->format->data_verb);
	if (ret)
		return ret;
	r = dmfmt_report_new(f->ctx, 1);
	if (!r)
		return dmfmt_fail(f->ctx, -ENOMEM, "%s: no memory for a report", f->dev->path);
	ret = f->format->check(f, 0, r);
	if (!ret)
		ret = judge_loss(f, o, r, loss);
	dmfmt_report_free(r);
	if (!ret)
		ret = dmfmt_check_proof(f);
	f->sound = !ret && !loss->rescue;
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
 * @m: copying and what failed; its copier is made with the first window, which says how large a unit is
 * @room: moves that there is memory for; @b.room may be less
 * @before: records in the store at the beginning
 * @begun: when the window at hand was begun
 */
struct run {
	struct dmfmt *f;
	struct dmfmt_moving m;
	struct dmfmt_writeback_result *r;
	struct dmfmt_batch b;
	size_t room;
	uint64_t before;
	struct timespec begun;
};

/* ---- how large a window is ---- */

/* half a minute, as far as the last window tells; the first one is small because nothing is known yet */
static void first_pace(struct run *w)
{
	uint64_t most = w->f->format->window_bytes, rate = w->m.o.rate;

	w->b.max_bytes = most ? most : WINDOW_BYTES;
	w->b.room = w->room;
	if (!most || w->f->ctx->window || w->m.o.flags & DMFMT_WRITEBACK_DRY_RUN)
		return;
	if (w->b.max_bytes > PACE_FIRST_BYTES)
		w->b.max_bytes = PACE_FIRST_BYTES;
	if (rate && rate < w->b.max_bytes / (PACE_MS / 1000))
		w->b.max_bytes = rate * (PACE_MS / 1000);
	if (w->b.max_bytes < PACE_LEAST_BYTES)
		w->b.max_bytes = PACE_LEAST_BYTES;
	if (w->b.room > PACE_FIRST_MOVES)
		w->b.room = PACE_FIRST_MOVES;
}

/* what took @ms for @used: how much that is in PACE_MS, and never much more than that */
static uint64_t scale(uint64_t used, uint64_t ms, uint64_t least, uint64_t most)
{
	uint64_t v = ms < PACE_MS / PACE_GROWTH ? used * PACE_GROWTH : used * PACE_MS / ms;

	return v < least ? least : v > most ? most : v;
}

static void next_pace(struct run *w, uint64_t bytes)
{
	uint64_t most = w->f->format->window_bytes, ms;
	struct timespec now;

	if (!most || w->f->ctx->window)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	ms = (uint64_t)(now.tv_sec - w->begun.tv_sec) * 1000 + now.tv_nsec / 1000000 -
	     w->begun.tv_nsec / 1000000;
	w->b.max_bytes = scale(bytes, ms, PACE_LEAST_BYTES, most);
	w->b.room = (size_t)scale(w->b.nr, ms, w->room < PACE_LEAST_MOVES ? w->room : PACE_LEAST_MOVES,
				  w->room);
}

/* half of a quarter of the memory is for the moves, the other half for those that fail */
static int open_window(struct run *w)
{
	uint64_t room = w->f->ctx->memory / 8 / sizeof(*w->b.moves);

	w->room = room > WINDOW_MOVES ? WINDOW_MOVES :
		  room < WINDOW_MOVES_MIN ? WINDOW_MOVES_MIN : (size_t)room;
	if (w->f->ctx->window)
		w->room = w->f->ctx->window;
	w->m.tables = 2 * w->room * sizeof(*w->b.moves);
	w->b.moves = malloc(w->room * sizeof(*w->b.moves));
	if (!w->b.moves)
		return dmfmt_fail(w->f->ctx, -ENOMEM, "%s: no memory for %zu moves", w->f->dev->path,
				  w->room);
	first_pace(w);
	return 0;
}

/* ---- windows ---- */

static uint64_t total_bytes(const struct run *w)
{
	return w->b.unit_bytes && w->before > UINT64_MAX / w->b.unit_bytes ?
	       0 : w->before * w->b.unit_bytes;
}

/* data of the window are on the destination, durably, but for those in w->m.failed */
static int move_window(struct run *w)
{
	w->m.unit = w->b.unit_bytes;
	w->m.total = total_bytes(w);
	return dmfmt_moving_run(&w->m, w->b.moves, w->b.nr, true);
}

/* how much the window moves */
static uint64_t count_window(struct run *w)
{
	uint64_t bytes = 0;
	size_t i;

	for (i = 0; i < w->b.nr; i++)
		bytes += w->b.moves[i].len;
	w->r->bytes += bytes;
	for (i = 0; i < w->m.nr_failed; i++)
		w->r->bytes -= w->m.failed[i].len;
	w->r->writes += w->b.nr;
	w->r->windows++;
	w->r->bytes_beyond += w->b.beyond;
	return bytes;
}

static int do_window(struct run *w)
{
	int ret = w->b.nr ? move_window(w) : 0;
	uint64_t bytes;

	if (ret)
		return ret;
	bytes = count_window(w);
	w->b.failed = w->m.failed;
	w->b.nr_failed = w->m.nr_failed;
	ret = w->f->format->retire(w->f, &w->b);
	if (!ret && w->b.nr)
		next_pace(w, bytes);
	return ret;
}

static int windows(struct run *w)
{
	const struct dmfmt_format *fmt = w->f->format;
	bool dry = w->m.o.flags & DMFMT_WRITEBACK_DRY_RUN;
	int ret;

	for (;;) {
		clock_gettime(CLOCK_MONOTONIC, &w->begun);
		w->b.nr = w->m.nr_failed = w->b.nr_failed = 0;
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

static int write_back(struct run *w, const struct dmfmt_loss *loss)
{
	const struct dmfmt_format *fmt = w->f->format;
	bool dry = w->m.o.flags & DMFMT_WRITEBACK_DRY_RUN;
	int ret = fmt->prepare(w->f, dry);

	if (ret)
		return ret;
	w->before = w->r->records_left = fmt->remaining(w->f);
	ret = loss->rescue ? dmfmt_moving_lost(&w->m) : 0;
	if (!ret)
		ret = open_window(w);
	if (!ret)
		ret = windows(w);
	w->r->records_left = fmt->remaining(w->f);
	if (!dry)
		w->r->records = w->before - w->r->records_left;
	dmfmt_moving_free(&w->m);
	free(w->b.moves);
	return ret;
}

static int write_back_args(struct dmfmt *f, const struct dmfmt_writeback_opts *o)
{
	const unsigned known = DMFMT_WRITEBACK_DRY_RUN | DMFMT_WRITEBACK_VERIFY |
			       DMFMT_WRITEBACK_KEEP_GOING | DMFMT_WRITEBACK_ACCEPT_LOSS |
			       DMFMT_WRITEBACK_DEVICE_CUT;
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
	struct run w = { .f = f, .r = &mine, .m = { .f = f, .r = &mine } };
	struct dmfmt_loss loss;
	int ret;

	if (!f)
		return -EINVAL;
	w.m.dst = f->origin;
	dmfmt_moving_opts(&w.m, o);
	ret = write_back_args(f, &w.m.o);
	if (!ret)
		ret = dmfmt_need_accepted(f, &w.m.o, &loss);
	if (!ret) {
		ret = write_back(&w, &loss);
		/* the next user looks for himself at what a run has left */
		f->sound = f->sound && w.m.o.flags & DMFMT_WRITEBACK_DRY_RUN;
	}
	dmfmt_moving_result(&w.m, r);
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
		ret = dmfmt_need_sound(f, f->format->data_verb);
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
