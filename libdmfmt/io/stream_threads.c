// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Reads in flight through threads with pread(2), one per read, started as they are needed.
 *
 * Everything below is under `lock`, but for the read itself while it is in flight.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include "stream_engine.h"

#define THREADS_MAX 64
#define STACK_BYTES (256u << 10)

struct threads {
	struct dmfmt_engine e;
	pthread_mutex_t lock;
	pthread_cond_t work, done;
	struct dmfmt_read *first, **last;	/* waiting for a thread */
	struct dmfmt_read *awaited;		/* what the consumer sleeps for */
	unsigned nr_queued, nr_busy;		/* reads: waiting, waiting or at work */
	unsigned nr_idle, nr_threads, max_threads;
	bool stop;
	pthread_t ids[THREADS_MAX];
};

static struct threads *to_threads(struct dmfmt_engine *e)
{
	return (struct threads *)e;
}

/* With the lock held: the next read, or NULL when it is time to end. */
static struct dmfmt_read *next_read(struct threads *t)
{
	struct dmfmt_read *r;

	while (!t->first && !t->stop) {
		t->nr_idle++;
		pthread_cond_wait(&t->work, &t->lock);
		t->nr_idle--;
	}
	r = t->first;
	if (r) {
		t->first = r->next;
		t->nr_queued--;
		if (!t->first)
			t->last = &t->first;
	}
	return r;
}

static void *worker(void *arg)
{
	struct threads *t = arg;
	struct dmfmt_read *r;

	pthread_mutex_lock(&t->lock);
	while ((r = next_read(t))) {
		pthread_mutex_unlock(&t->lock);
		dmfmt_read_finish(t->e.fd, r);
		pthread_mutex_lock(&t->lock);
		r->flight = false;
		t->nr_busy--;
		if (t->awaited == r)
			pthread_cond_signal(&t->done);
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

static int threads_open(int fd, unsigned depth, struct dmfmt_engine **out)
{
	struct threads *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->e.ops = &dmfmt_engine_threads;
	t->e.fd = fd;
	t->last = &t->first;
	t->max_threads = depth < THREADS_MAX ? depth : THREADS_MAX;
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->work, NULL);
	pthread_cond_init(&t->done, NULL);
	*out = &t->e;
	return 0;
}

/* With the lock held.  Signals are for the caller's own threads. */
static void start_thread(struct threads *t)
{
	sigset_t all, old;
	pthread_attr_t attr;

	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (!pthread_create(&t->ids[t->nr_threads], &attr, worker, t))
		t->nr_threads++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
}

static void threads_submit(struct dmfmt_engine *e, struct dmfmt_read *r)
{
	struct threads *t = to_threads(e);

	pthread_mutex_lock(&t->lock);
	if (t->nr_queued >= t->nr_idle && t->nr_threads < t->max_threads)
		start_thread(t);
	if (!t->nr_threads) {
		pthread_mutex_unlock(&t->lock);
		dmfmt_read_finish(e->fd, r);
		return;
	}
	r->flight = true;
	r->next = NULL;
	*t->last = r;
	t->last = &r->next;
	t->nr_queued++;
	e->in_flight = ++t->nr_busy;
	if (t->nr_idle)
		pthread_cond_signal(&t->work);
	pthread_mutex_unlock(&t->lock);
}

static void threads_kick(struct dmfmt_engine *e)
{
}

static void threads_poll(struct dmfmt_engine *e)
{
	struct threads *t = to_threads(e);

	pthread_mutex_lock(&t->lock);
	e->in_flight = t->nr_busy;
	pthread_mutex_unlock(&t->lock);
}

static void threads_wait(struct dmfmt_engine *e, struct dmfmt_read *r)
{
	struct threads *t = to_threads(e);

	pthread_mutex_lock(&t->lock);
	t->awaited = r;
	while (r->flight)
		pthread_cond_wait(&t->done, &t->lock);
	t->awaited = NULL;
	e->in_flight = t->nr_busy;
	pthread_mutex_unlock(&t->lock);
}

static bool threads_close(struct dmfmt_engine *e)
{
	struct threads *t = to_threads(e);
	unsigned i;

	/* what no thread has begun will never be read */
	pthread_mutex_lock(&t->lock);
	t->first = NULL;
	t->stop = true;
	pthread_cond_broadcast(&t->work);
	pthread_mutex_unlock(&t->lock);
	for (i = 0; i < t->nr_threads; i++)
		pthread_join(t->ids[i], NULL);
	pthread_cond_destroy(&t->done);
	pthread_cond_destroy(&t->work);
	pthread_mutex_destroy(&t->lock);
	free(t);
	return true;
}

const struct dmfmt_engine_ops dmfmt_engine_threads = {
	.name = "threads",
	.open = threads_open,
	.submit = threads_submit,
	.kick = threads_kick,
	.poll = threads_poll,
	.wait = threads_wait,
	.close = threads_close,
};
