// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The copier's transfers in flight.  What the kernel did only in part, or would have us ask again
 * for, is finished on the spot.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#include "copier_engine.h"

/* ---- one after the other ---------------------------------------------------------------------- */

/* the vector behind its first @done bytes; *nr is what is left of it */
static void skip(struct iovec **v, unsigned *nr, size_t done)
{
	while (*nr && done >= (*v)->iov_len) {
		done -= (*v)->iov_len;
		(*v)++;
		(*nr)--;
	}
	if (*nr && done) {
		(*v)->iov_base = (char *)(*v)->iov_base + done;
		(*v)->iov_len -= done;
	}
}

void dmfmt_xfer_sync(struct dmfmt_xfer *x, size_t done)
{
	size_t need = x->write ? x->len : x->need;
	struct iovec *v = x->v;
	unsigned nr = x->nr_v;

	skip(&v, &nr, done);
	while (done < need) {
		ssize_t n = x->write ? pwritev(x->fd, v, (int)nr, (off_t)(x->off + done)) :
				       preadv(x->fd, v, (int)nr, (off_t)(x->off + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			/* EINVAL is for a transfer that the kernel will not even begin */
			x->err = !n || (errno == EINVAL && done) ? -EIO : -errno;
			break;
		}
		done += (size_t)n;
		skip(&v, &nr, (size_t)n);
	}
}

/* ---- threads ---------------------------------------------------------------------------------- */

#define THREADS_MAX 16u

struct threads {
	struct dmfmt_xfer_engine e;
	pthread_mutex_t lock;
	pthread_cond_t work, answer;
	struct dmfmt_xfer **queue;	/* a ring of `depth`: waiting for a thread */
	struct dmfmt_xfer **answers;	/* likewise: done, not fetched */
	unsigned depth, first, nr, nr_answers, nr_threads;
	bool stop;
	pthread_t thread[THREADS_MAX];
};

static void *worker(void *arg)
{
	struct threads *t = arg;

	pthread_mutex_lock(&t->lock);
	for (;;) {
		struct dmfmt_xfer *x;

		while (!t->nr && !t->stop)
			pthread_cond_wait(&t->work, &t->lock);
		if (!t->nr)
			break;
		x = t->queue[t->first];
		t->first = (t->first + 1) % t->depth;
		t->nr--;
		pthread_mutex_unlock(&t->lock);
		dmfmt_xfer_sync(x, 0);
		pthread_mutex_lock(&t->lock);
		t->answers[t->nr_answers++] = x;
		pthread_cond_signal(&t->answer);
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

static bool threads_close(struct dmfmt_xfer_engine *e)
{
	struct threads *t = (struct threads *)e;
	unsigned i;

	pthread_mutex_lock(&t->lock);
	t->stop = true;
	pthread_cond_broadcast(&t->work);
	pthread_mutex_unlock(&t->lock);
	for (i = 0; i < t->nr_threads; i++)
		pthread_join(t->thread[i], NULL);
	pthread_mutex_destroy(&t->lock);
	pthread_cond_destroy(&t->work);
	pthread_cond_destroy(&t->answer);
	free(t->queue);
	free(t->answers);
	free(t);
	return true;
}

static int threads_open(unsigned depth, struct dmfmt_xfer_engine **out)
{
	struct threads *t = calloc(1, sizeof(*t));
	unsigned nr = depth < THREADS_MAX ? depth : THREADS_MAX;
	sigset_t all, old;

	if (!t)
		return -ENOMEM;
	t->e.ops = &dmfmt_xfer_threads;
	t->depth = depth;
	t->queue = calloc(depth, sizeof(*t->queue));
	t->answers = calloc(depth, sizeof(*t->answers));
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->work, NULL);
	pthread_cond_init(&t->answer, NULL);
	/* signals are for the caller's own threads */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (t->queue && t->answers && t->nr_threads < nr &&
	       !pthread_create(&t->thread[t->nr_threads], NULL, worker, t))
		t->nr_threads++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!t->nr_threads) {
		threads_close(&t->e);
		return -ENOMEM;
	}
	*out = &t->e;
	return 0;
}

static void threads_submit(struct dmfmt_xfer_engine *e, struct dmfmt_xfer *x)
{
	struct threads *t = (struct threads *)e;

	pthread_mutex_lock(&t->lock);
	t->queue[(t->first + t->nr++) % t->depth] = x;
	pthread_cond_signal(&t->work);
	pthread_mutex_unlock(&t->lock);
	e->in_flight++;
}

static void threads_wait(struct dmfmt_xfer_engine *e)
{
	struct threads *t = (struct threads *)e;

	if (!e->in_flight)
		return;
	pthread_mutex_lock(&t->lock);
	while (!t->nr_answers)
		pthread_cond_wait(&t->answer, &t->lock);
	e->in_flight -= t->nr_answers;
	while (t->nr_answers)
		t->answers[--t->nr_answers]->done = true;
	pthread_mutex_unlock(&t->lock);
}

const struct dmfmt_xfer_ops dmfmt_xfer_threads = {
	.name = "threads", .open = threads_open, .submit = threads_submit, .wait = threads_wait,
	.close = threads_close,
};
