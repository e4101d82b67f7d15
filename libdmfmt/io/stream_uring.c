// SPDX-License-Identifier: LGPL-2.1-or-later
/* Reads in flight through io_uring. */
#include <errno.h>
#include <stdlib.h>
#include "stream_engine.h"

#ifdef HAVE_LIBURING
#include <liburing.h>

struct uring {
	struct dmfmt_engine e;
	struct io_uring ring;
	bool broken;		/* the kernel does not answer any more */
};

static struct uring *to_uring(struct dmfmt_engine *e)
{
	return (struct uring *)e;
}

static int uring_open(int fd, unsigned depth, struct dmfmt_engine **out)
{
	struct uring *u = calloc(1, sizeof(*u));

	if (!u)
		return -ENOMEM;
	u->e.ops = &dmfmt_engine_uring;
	u->e.fd = fd;
	if (io_uring_queue_init(depth, &u->ring, 0)) {
		free(u);
		return -EOPNOTSUPP;
	}
	/* came with IORING_OP_READ, in Linux 5.6 */
	if (!(u->ring.features & IORING_FEAT_RW_CUR_POS)) {
		io_uring_queue_exit(&u->ring);
		free(u);
		return -EOPNOTSUPP;
	}
	*out = &u->e;
	return 0;
}

static void complete(struct uring *u, struct dmfmt_read *r, int res)
{
	u->e.in_flight--;
	r->flight = false;
	if (res > 0)
		r->done += res;
	/* cancelled: the thread that submitted it has ended */
	if (res >= 0 || res == -EINTR || res == -EAGAIN || res == -ECANCELED)
		dmfmt_read_finish(u->e.fd, r);
	else
		r->err = res;
}

static void uring_poll(struct dmfmt_engine *e)
{
	struct uring *u = to_uring(e);
	struct io_uring_cqe *cqe;
	unsigned head, nr = 0;

	io_uring_for_each_cqe(&u->ring, head, cqe) {
		complete(u, io_uring_cqe_get_data(cqe), cqe->res);
		nr++;
	}
	io_uring_cq_advance(&u->ring, nr);
}

/* Submit what is prepared and wait for @nr answers.  A kernel short of memory or of room for
 * answers takes the rest once we have fetched some. */
static void enter(struct uring *u, unsigned nr)
{
	int ret;

	ret = nr ? io_uring_submit_and_wait(&u->ring, nr) : io_uring_submit(&u->ring);
	if (ret < 0 && ret != -EINTR && ret != -EAGAIN && ret != -EBUSY)
		u->broken = true;
	uring_poll(&u->e);
}

static void uring_kick(struct dmfmt_engine *e)
{
	struct uring *u = to_uring(e);

	if (io_uring_sq_ready(&u->ring) && !u->broken)
		enter(u, 0);
}

static void uring_submit(struct dmfmt_engine *e, struct dmfmt_read *r)
{
	struct uring *u = to_uring(e);
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	if (!sqe) {
		uring_kick(e);
		sqe = io_uring_get_sqe(&u->ring);
	}
	if (!sqe || u->broken) {
		dmfmt_read_finish(e->fd, r);
		return;
	}
	/* not a registered descriptor: the kernel would hold the file, with its lock, for a while
	 * after the ring is gone */
	io_uring_prep_read(sqe, e->fd, r->buf + r->done, r->want - r->done, r->from + r->done);
	io_uring_sqe_set_data(sqe, r);
	r->flight = true;
	e->in_flight++;
}

static void uring_wait(struct dmfmt_engine *e, struct dmfmt_read *r)
{
	struct uring *u = to_uring(e);

	uring_poll(e);
	while (r->flight && !u->broken)
		enter(u, 1);
	if (r->flight) {
		r->flight = false;
		r->err = -EIO;
	}
}

static bool uring_close(struct dmfmt_engine *e)
{
	struct uring *u = to_uring(e);

	uring_poll(e);
	while (e->in_flight && !u->broken)
		enter(u, 1);
	if (u->broken)		/* it may still write into the reads and their buffers */
		return false;
	io_uring_queue_exit(&u->ring);
	free(u);
	return true;
}

#else

static int uring_open(int fd, unsigned depth, struct dmfmt_engine **out)
{
	return -EOPNOTSUPP;
}

#define uring_submit NULL
#define uring_kick NULL
#define uring_poll NULL
#define uring_wait NULL
#define uring_close NULL
#endif

const struct dmfmt_engine_ops dmfmt_engine_uring = {
	.name = "io_uring",
	.open = uring_open,
	.submit = uring_submit,
	.kick = uring_kick,
	.poll = uring_poll,
	.wait = uring_wait,
	.close = uring_close,
};
