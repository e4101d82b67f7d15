// SPDX-License-Identifier: LGPL-2.1-or-later
/* The copier's transfers through io_uring. */
#include <errno.h>
#include <stdlib.h>
#include "copier_engine.h"

#ifdef HAVE_LIBURING
#include <liburing.h>
struct uring {
	struct dmfmt_xfer_engine e;
	struct io_uring ring;
};

static int uring_open(unsigned depth, struct dmfmt_xfer_engine **out)
{
	struct uring *u = calloc(1, sizeof(*u));

	if (!u)
		return -ENOMEM;
	u->e.ops = &dmfmt_xfer_uring;
	if (io_uring_queue_init(depth, &u->ring, 0)) {
		free(u);
		return -EOPNOTSUPP;
	}
	*out = &u->e;
	return 0;
}

static void uring_submit(struct dmfmt_xfer_engine *e, struct dmfmt_xfer *x)
{
	struct uring *u = (struct uring *)e;
	struct io_uring_sqe *sqe = u->e.broken ? NULL : io_uring_get_sqe(&u->ring);

	if (!sqe) {
		dmfmt_xfer_sync(x, 0);
		x->done = true;
		return;
	}
	if (x->write)
		io_uring_prep_writev(sqe, x->fd, x->v, x->nr_v, x->off);
	else
		io_uring_prep_readv(sqe, x->fd, x->v, x->nr_v, x->off);
	io_uring_sqe_set_data(sqe, x);
	e->in_flight++;
}

static void uring_complete(struct uring *u, struct dmfmt_xfer *x, int res)
{
	u->e.in_flight--;
	if (res >= 0)
		dmfmt_xfer_sync(x, (size_t)res);
	else if (res == -EINTR || res == -EAGAIN || res == -ECANCELED)
		dmfmt_xfer_sync(x, 0);
	else
		x->err = res;
	x->done = true;
}

static unsigned uring_reap(struct uring *u)
{
	struct io_uring_cqe *cqe;
	unsigned head, nr = 0;

	io_uring_for_each_cqe(&u->ring, head, cqe) {
		uring_complete(u, io_uring_cqe_get_data(cqe), cqe->res);
		nr++;
	}
	io_uring_cq_advance(&u->ring, nr);
	return nr;
}

static void uring_wait(struct dmfmt_xfer_engine *e)
{
	struct uring *u = (struct uring *)e;
	int ret;

	while (e->in_flight && !u->e.broken) {
		ret = io_uring_submit_and_wait(&u->ring, 1);
		if (ret < 0 && ret != -EINTR && ret != -EAGAIN && ret != -EBUSY)
			u->e.broken = true;
		if (uring_reap(u))
			break;
	}
}

static bool uring_close(struct dmfmt_xfer_engine *e)
{
	struct uring *u = (struct uring *)e;

	while (e->in_flight && !u->e.broken)
		uring_wait(e);
	if (e->in_flight)	/* it may still use the buffers */
		return false;
	io_uring_queue_exit(&u->ring);
	free(u);
	return true;
}
#else
static int uring_open(unsigned depth, struct dmfmt_xfer_engine **out)
{
	return -EOPNOTSUPP;
}
#define uring_submit NULL
#define uring_wait NULL
#define uring_close NULL
#endif

const struct dmfmt_xfer_ops dmfmt_xfer_uring = {
	.name = "io_uring", .open = uring_open, .submit = uring_submit, .wait = uring_wait,
	.close = uring_close,
};
