// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Buffers go round:
 *
 *	moves --cut--> pieces --sort by source--> reads  \  of the next buffers, in flight together with
 *	               pieces --sort by `to`----> writes /  the writes of up to two before them
 *
 * Reads that adjoin on the source become one transfer, so do writes that adjoin on the destination,
 * whose memory then is a vector.  A transfer that the engine cannot take (unaligned for O_DIRECT, or
 * a layer is in the way) is "odd" and goes through dmfmt_dev_read() or dmfmt_dev_write() when its turn
 * to be waited for comes; so the order of such writes is the order of the destination.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>
#include <linux/fs.h>
#include "copier.h"
#include "copier_engine.h"

#define XFER_BYTES (1u << 20)	/* of one transfer */
#define PIECES_MAX 32768u	/* in one buffer */
#define VECTOR_MAX 256u		/* parts of memory in one transfer */
#define ALIGN 4096u
#define HOLE_BYTES 4096u	/* what a hole is made of */
#define BUFFERS 4u
#define WRITING 2u		/* of them at once, so that the queue does not run dry between two */
#define MEMORY_DEFAULT (32u << 20)
#define MEMORY_LEAST (2u << 20)
#define DEPTH_DEFAULT 128u
#define DEPTH_MAX 1024u
#define REFLINK_BYTES (64u << 10)
#define SERVER_COPY "copy_file_range"
#define NFS_ID 0x6969u
#define CIFS_ID 0xff534d42u
#define SMB2_ID 0xfe534d42u
#define SERVER_COPY_BYTES (256u << 20)	/* a signal is heard after each */
#define MISSES_MAX 8
#define NAP_NS 50000000		/* of a rate limit, between two looks at the progress callback */

/*
 * struct side - a device as the copier drives it
 * @fd: for the engine; -1: only through the device's layers
 * @own: @fd is ours to close
 * @align: of offsets and lengths on @fd, 1: anything goes
 * @holes: a regular file that has some; @hole_from, @hole_to: the last look at one,
 *         @data_to: from hole_to on there are data up to there
 */
struct side {
	struct dmfmt_dev *dev;
	int fd;
	bool own, cached, holes;
	uint32_t align;
	unsigned misses;
	uint64_t data_from, data_to, hole_to;
};

/*
 * struct piece - a part of a move in a buffer
 * @base: the move's start on the destination, from which its units count
 * @p: the bytes; NULL until they have a place
 */
struct piece {
	uint64_t from, to, base;
	uint8_t *p;
	uint32_t len, src;
	int err;	/* of its read, in dmfmt_copier_read() */
};

struct queue {
	struct dmfmt_xfer *v;
	size_t nr, next;	/* next: first one that was not submitted */
	size_t room;
	struct iovec *iov;
	size_t nr_iov, room_iov;
};

struct range {
	uint64_t to, len;
};

/* @bad: units that failed, sorted */
struct bad {
	struct range *v;
	size_t nr, room;
};

struct buffer {
	uint8_t *mem;
	size_t bytes, used;
	struct piece *pieces;
	size_t nr;
	struct piece **order;	/* by source, then by destination */
	struct queue reads, writes;
	struct bad bad;
};

struct dmfmt_copier {
	struct dmfmt_ctx *ctx;
	struct dmfmt_copier_opts o;
	struct side src[DMFMT_COPIER_SOURCES], dst;
	struct dmfmt_xfer_engine *engine;
	unsigned depth;
	struct buffer buf[BUFFERS];
	/* buffers so far that were loaded, whose writes were started, and that are done with */
	unsigned loaded, started, finished;
	uint8_t *zeros;		/* XFER_BYTES of them */
	uint8_t *bounce;	/* XFER_BYTES, for odd writes of several parts */
	struct bad giant;	/* failed units that are larger than a piece: over all buffers */
	bool reflink;		/* share extents */
	bool server_copy;	/* let the file server copy */
	struct dmfmt_copier_stats stats;
	uint64_t done;
	struct timespec begun;
	uint64_t limited;	/* bytes that the rate counts */

	/* the run at hand */
	const struct dmfmt_move *moves;
	size_t nr_moves, at;
	uint64_t in_move;
	bool reading;		/* for a consumer: what cannot be read is told to it */
};

/* ---- opening ---------------------------------------------------------------------------------- */

/* is the device a bare file, so that its descriptor may be used?  Buffers know no larger alignment. */
static bool is_plain(const struct dmfmt_dev *dev)
{
	return dev->fd >= 0 && dev->block <= ALIGN && dmfmt_dev_passes(dev) && !dev->top->lower &&
	       !dev->dry_run;
}

static void look_for_holes(struct side *s)
{
	struct stat st;

	if (!fstat(s->dev->fd, &st) && S_ISREG(st.st_mode))
		s->holes = (uint64_t)st.st_blocks * 512 < s->dev->size;
}

static void side_open(struct side *s, struct dmfmt_dev *dev, bool write)
{
	char path[64];

	*s = (struct side){ .dev = dev, .fd = -1, .align = 1 };
	if (!dev || !is_plain(dev))
		return;
	if (!write)
		look_for_holes(s);
	if (dev->direct) {
		s->fd = dev->fd;
		s->align = dev->block;
		return;
	}
	s->cached = !write;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", dev->fd);
	s->fd = open(path, (write ? O_RDWR : O_RDONLY) | O_DIRECT | O_CLOEXEC);
	s->own = s->fd >= 0;
	s->align = s->own ? ALIGN : 1;
	if (!s->own)
		s->fd = dev->fd;	/* a file system that only has its page cache */
}

static void side_close(struct side *s)
{
	if (s->own)
		close(s->fd);
}

static int queue_init(struct queue *q, size_t pieces)
{
	/* each piece may lie in two transfers, and in HOLE_BYTES parts if zeros are left out */
	q->room = pieces;
	q->room_iov = pieces;
	q->v = malloc(q->room * sizeof(*q->v));
	q->iov = malloc(q->room_iov * sizeof(*q->iov));
	return q->v && q->iov ? 0 : -ENOMEM;
}

static int buffer_init(struct buffer *b, size_t bytes)
{
	size_t pieces = bytes / 512 < PIECES_MAX ? bytes / 512 : PIECES_MAX;
	/* every write may be cut anew at each hole and at each MiB */
	size_t parts = pieces + bytes / HOLE_BYTES + 64;
	void *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (mem == MAP_FAILED)
		return -ENOMEM;
	b->mem = mem;
	b->bytes = bytes;
	b->pieces = malloc(pieces * sizeof(*b->pieces));
	b->order = malloc(pieces * sizeof(*b->order));
	if (!b->pieces || !b->order || queue_init(&b->reads, parts) || queue_init(&b->writes, parts))
		return -ENOMEM;
	return 0;
}

static void buffer_free(struct buffer *b)
{
	if (b->mem)
		munmap(b->mem, b->bytes);
	free(b->pieces);
	free(b->order);
	free(b->reads.v);
	free(b->reads.iov);
	free(b->writes.v);
	free(b->writes.iov);
	free(b->bad.v);
}

/* tests ask for one by name */
static bool forced(const struct dmfmt_copier *c, const char *engine)
{
	return c->o.engine && !strcmp(c->o.engine, engine);
}

static int engine_open(struct dmfmt_copier *c)
{
	const struct dmfmt_xfer_ops *const all[] = { &dmfmt_xfer_uring, &dmfmt_xfer_threads };
	size_t i;

	if (forced(c, "layers"))
		return 0;
	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (!c->o.engine || forced(c, all[i]->name) || forced(c, SERVER_COPY))
			if (!all[i]->open(c->depth, &c->engine))
				return 0;
	return c->o.engine ? -EOPNOTSUPP : 0;
}

/* does anything need the engine at all? */
static bool any_direct(const struct dmfmt_copier *c)
{
	unsigned i;

	for (i = 0; i < DMFMT_COPIER_SOURCES; i++)
		if (c->src[i].fd >= 0)
			return true;
	return c->dst.fd >= 0;
}

static bool same_file_system(const struct dmfmt_copier *c)
{
	struct stat a, b;

	return c->src[0].dev && c->src[0].fd >= 0 && c->dst.fd >= 0 &&
	       !fstat(c->src[0].dev->fd, &a) && !fstat(c->dst.dev->fd, &b) &&
	       S_ISREG(a.st_mode) && S_ISREG(b.st_mode) && a.st_dev == b.st_dev;
}

/* buffers no larger than an eighth of a second of a slow rate, so that it is slow evenly */
static size_t buffer_bytes(const struct dmfmt_copier_opts *o)
{
	size_t bytes = o->memory ? o->memory : MEMORY_DEFAULT;

	if (bytes < MEMORY_LEAST)
		bytes = MEMORY_LEAST;
	bytes = bytes / BUFFERS & ~(size_t)(ALIGN - 1);
	if (o->rate && o->rate / 8 < bytes)
		bytes = (size_t)(o->rate / 8) & ~(size_t)(ALIGN - 1);
	return bytes < 16 * ALIGN ? 16 * ALIGN : bytes;
}

/* file systems on which copy_file_range(2) spares the network the data */
static bool on_server(const struct dmfmt_copier *c)
{
	struct statfs fs;

	return !fstatfs(c->dst.dev->fd, &fs) &&
	       ((uint32_t)fs.f_type == NFS_ID || (uint32_t)fs.f_type == CIFS_ID ||
		(uint32_t)fs.f_type == SMB2_ID);
}

static int set_up(struct dmfmt_copier *c)
{
	size_t bytes = buffer_bytes(&c->o);
	unsigned i;
	void *p;
	int err;

	c->depth = c->o.depth ? c->o.depth : DEPTH_DEFAULT;
	if (c->depth > DEPTH_MAX)
		c->depth = DEPTH_MAX;
	for (i = 0; i < DMFMT_COPIER_SOURCES; i++)
		side_open(&c->src[i], c->o.src[i], false);
	side_open(&c->dst, c->o.dst, true);
	err = any_direct(c) ? engine_open(c) : c->o.engine && strcmp(c->o.engine, "layers") ?
	      -EOPNOTSUPP : 0;
	if (err)
		return err;
	if (!c->engine)
		for (i = 0; i <= DMFMT_COPIER_SOURCES; i++) {
			struct side *s = i < DMFMT_COPIER_SOURCES ? &c->src[i] : &c->dst;

			side_close(s);
			s->own = false;
			s->fd = -1;
		}
	c->reflink = c->engine && same_file_system(c);
	c->server_copy = c->reflink && !c->o.fresh && (forced(c, SERVER_COPY) || on_server(c));
	c->reflink = c->reflink && !forced(c, SERVER_COPY);
	if (posix_memalign(&p, ALIGN, XFER_BYTES))
		return -ENOMEM;
	c->zeros = p;
	memset(c->zeros, 0, XFER_BYTES);
	if (posix_memalign(&p, ALIGN, XFER_BYTES))
		return -ENOMEM;
	c->bounce = p;
	for (i = 0; !err && i < BUFFERS; i++)
		err = buffer_init(&c->buf[i], bytes);
	return err;
}

int dmfmt_copier_open(struct dmfmt_ctx *ctx, const struct dmfmt_copier_opts *o,
		      struct dmfmt_copier **out)
{
	struct dmfmt_copier *c = calloc(1, sizeof(*c));
	int err;

	*out = NULL;
	if (!c)
		return dmfmt_fail(ctx, -ENOMEM, "copy: no memory");
	c->ctx = ctx;
	c->o = *o;
	clock_gettime(CLOCK_MONOTONIC, &c->begun);
	err = set_up(c);
	if (err) {
		dmfmt_copier_close(c);
		return dmfmt_fail(ctx, err, "copy: cannot be set up: %s", strerror(-err));
	}
	*out = c;
	return 0;
}

void dmfmt_copier_close(struct dmfmt_copier *c)
{
	unsigned i;

	if (!c)
		return;
	if (!c->engine || c->engine->ops->close(c->engine)) {
		for (i = 0; i < DMFMT_COPIER_SOURCES; i++)
			side_close(&c->src[i]);
		side_close(&c->dst);
		for (i = 0; i < BUFFERS; i++)
			buffer_free(&c->buf[i]);
		free(c->zeros);
		free(c->bounce);
	}
	free(c->giant.v);
	free(c);
}

void dmfmt_copier_stats(const struct dmfmt_copier *c, struct dmfmt_copier_stats *s)
{
	*s = c->stats;
	s->engine = c->engine ? c->engine->ops->name : "layers";
}

size_t dmfmt_copier_memory(const struct dmfmt_ctx *ctx, size_t other)
{
	uint64_t left = ctx->memory / 2 > other ? ctx->memory / 2 - other : 0;

	if (left > MEMORY_DEFAULT)
		left = MEMORY_DEFAULT;
	return left < MEMORY_LEAST ? MEMORY_LEAST : (size_t)left;
}

/* ---- what failed ------------------------------------------------------------------------------ */

/* a piece is no longer than that: it fits into a buffer, with the blocks around it */
static uint64_t piece_most(const struct dmfmt_copier *c)
{
	uint64_t room = c->buf[0].bytes - 2 * ALIGN;

	return room < XFER_BYTES ? room : XFER_BYTES;
}

/* units that lie in one piece each, or that are larger than a buffer */
static bool units_fit(const struct dmfmt_copier *c)
{
	return c->o.unit && c->o.unit <= piece_most(c);
}

/* the unit of its move in which @to lies; cut off at the end of what is asked about */
static struct range unit_at(const struct dmfmt_copier *c, uint64_t base, uint64_t to, uint64_t end)
{
	uint64_t unit = c->o.unit ? c->o.unit : 512;
	uint64_t start = base + (to - base) / unit * unit;
	uint64_t stop = unit > end - start ? end : start + unit;

	return (struct range){ start, stop - start };
}

/* the first one that ends behind @to */
static size_t find_bad(const struct bad *bad, uint64_t to)
{
	size_t lo = 0, hi = bad->nr;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (bad->v[mid].to + bad->v[mid].len <= to)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool has_bad(const struct bad *bad, uint64_t to, uint64_t len)
{
	size_t i = find_bad(bad, to);

	return i < bad->nr && bad->v[i].to < to + len;
}

static bool is_bad(const struct dmfmt_copier *c, const struct buffer *b, uint64_t to, uint64_t len)
{
	return has_bad(&b->bad, to, len) || has_bad(&c->giant, to, len);
}

static int add_bad(struct dmfmt_copier *c, struct bad *bad, uint64_t to, uint64_t len)
{
	size_t at;

	if (bad->nr == bad->room) {
		size_t room = bad->room ? 2 * bad->room : 64;
		struct range *v = reallocarray(bad->v, room, sizeof(*v));

		if (!v)
			return dmfmt_fail(c->ctx, -ENOMEM, "copy: no memory for what failed");
		bad->v = v;
		bad->room = room;
	}
	at = find_bad(bad, to);
	memmove(&bad->v[at + 1], &bad->v[at], (bad->nr++ - at) * sizeof(*bad->v));
	bad->v[at] = (struct range){ to, len };
	return 0;
}

/* tell one unit, once; @p is the piece that it lies in.  A unit up to a piece's size lies within one
 * buffer, a larger one may go on in the next. */
static int report(struct dmfmt_copier *c, struct buffer *b, const struct piece *p, struct range unit,
		  bool reading, int err)
{
	struct dmfmt_move m = { .to = unit.to, .len = unit.len, .src = p->src };
	struct bad *bad = c->o.unit > piece_most(c) ? &c->giant : &b->bad;

	if (is_bad(c, b, unit.to, unit.len))
		return 0;
	m.from = p->from == DMFMT_NONE ? DMFMT_NONE : unit.to <= p->to ? p->from - (p->to - unit.to) :
		 p->from + (unit.to - p->to);
	return add_bad(c, bad, unit.to, unit.len) ?: c->o.failed(c->o.arg, &m, reading, err);
}

/* @fn for each unit of @p, as far as it lies in it */
static int each_unit(struct dmfmt_copier *c, struct buffer *b, struct piece *p,
		     int (*fn)(struct dmfmt_copier *c, struct buffer *b, struct piece *p,
			       struct range unit, struct range part))
{
	uint64_t to = p->to, end = p->to + p->len;
	int ret = 0;

	while (!ret && to < end) {
		struct range unit = unit_at(c, p->base, to, UINT64_MAX);
		uint64_t stop = unit.to + unit.len < end ? unit.to + unit.len : end;
		struct range part = { to, stop - to };

		ret = fn(c, b, p, unit, part);
		to = stop;
	}
	return ret;
}

/* ---- cutting moves into pieces ---------------------------------------------------------------- */

/* is [from, from + *len) of the source a hole, or data up to *len? */
static bool in_hole(struct side *s, uint64_t from, uint64_t *len)
{
	off_t at;

	if (!s->holes)
		return false;
	if (from < s->data_from || from >= s->hole_to) {
		at = lseek(s->dev->fd, (off_t)from, SEEK_DATA);
		if (at < 0 && errno != ENXIO) {
			s->holes = false;
			return false;
		}
		if (at < 0) {	/* nothing but a hole up to the end */
			s->data_from = s->data_to = from;
			s->hole_to = s->dev->size;
		} else if ((uint64_t)at > from) {
			s->data_from = s->data_to = from;
			s->hole_to = (uint64_t)at;
		} else {
			at = lseek(s->dev->fd, (off_t)from, SEEK_HOLE);
			s->data_from = from;
			s->data_to = at < 0 ? s->dev->size : (uint64_t)at;
			s->hole_to = s->data_to;
		}
	}
	if (from < s->data_to) {
		if (*len > s->data_to - from)
			*len = s->data_to - from;
		return false;
	}
	if (*len > s->hole_to - from)
		*len = s->hole_to - from;
	return true;
}

static void count_done(struct dmfmt_copier *c, uint64_t len)
{
	c->dst.dev->bytes_written += len;
	c->stats.bytes_written += len;
	c->stats.writes++;
	c->done += len;
}

static bool share(struct dmfmt_copier *c, const struct dmfmt_move *m)
{
	struct file_clone_range r = { .src_fd = c->src[0].dev->fd, .src_offset = m->from,
				      .src_length = m->len, .dest_offset = m->to };

	c->reflink = c->reflink && !ioctl(c->dst.dev->fd, FICLONERANGE, &r);
	return c->reflink;
}

/* what was copied when it fails is copied again in the usual way */
static bool copy_there(struct dmfmt_copier *c, const struct dmfmt_move *m)
{
	off_t in = (off_t)m->from, out = (off_t)m->to;
	uint64_t left = m->len;

	while (c->server_copy && left) {
		size_t part = left < SERVER_COPY_BYTES ? (size_t)left : SERVER_COPY_BYTES;
		ssize_t n = copy_file_range(c->src[0].dev->fd, &in, c->dst.dev->fd, &out, part, 0);

		c->server_copy = n > 0 || (n < 0 && errno == EINTR);
		left -= n > 0 ? (uint64_t)n : 0;
	}
	return c->server_copy;
}

/*
 * Shared extents instead of copies, where the file system has them, or a copy that the file server
 * makes.  Not over holes: what exists gets zeros written, not a hole.  True: @m is done.
 */
static bool try_shortcut(struct dmfmt_copier *c, const struct dmfmt_move *m)
{
	uint64_t len = m->len;

	if ((!c->reflink && !c->server_copy) || m->src || m->from == DMFMT_NONE ||
	    len < REFLINK_BYTES || (m->from | m->to | len) & (ALIGN - 1) || c->o.rate ||
	    in_hole(&c->src[0], m->from, &len) || len != m->len)
		return false;
	if (!share(c, m) && !copy_there(c, m))
		return false;
	count_done(c, m->len);
	return true;
}

static struct piece *add_piece(struct buffer *b, const struct dmfmt_move *m, uint64_t in, uint64_t len)
{
	struct piece *p = &b->pieces[b->nr++];

	p->from = m->from == DMFMT_NONE ? DMFMT_NONE : m->from + in;
	p->to = m->to + in;
	p->base = m->to;
	p->len = (uint32_t)len;
	p->src = m->src;
	p->p = NULL;
	p->err = 0;
	return p;
}

/* how much of @m from @in on goes into one piece: never across a unit if units fit */
static uint64_t cut(const struct dmfmt_copier *c, const struct dmfmt_move *m, uint64_t in)
{
	uint64_t len = m->len - in, most = piece_most(c);

	if (units_fit(c))
		most = most / c->o.unit * c->o.unit;
	return len < most ? len : most;
}

/* Are there zeros at @in of @m, up to *len (which may become less)?  A unit that is partly a hole is
 * read whole, so that it does not end in two pieces. */
static bool is_hole(struct dmfmt_copier *c, const struct dmfmt_move *m, uint64_t in, uint64_t *len)
{
	uint64_t whole = *len;
	bool hole;

	if (m->from == DMFMT_NONE)
		return true;
	hole = in_hole(&c->src[m->src], m->from + in, len);
	if (*len == whole || !units_fit(c))
		return hole;
	if (*len >= c->o.unit) {
		*len -= *len % c->o.unit;
		return hole;
	}
	*len = whole < c->o.unit ? whole : c->o.unit;
	return false;
}

/* fill @b from the list; what a piece needs in memory includes the blocks around it */
static void load(struct dmfmt_copier *c, struct buffer *b, bool shortcut)
{
	size_t max = b->bytes / 512 < PIECES_MAX ? b->bytes / 512 : PIECES_MAX;

	b->nr = b->used = b->bad.nr = 0;
	while (c->at < c->nr_moves && b->nr < max) {
		const struct dmfmt_move *m = &c->moves[c->at];
		uint64_t len = cut(c, m, c->in_move);
		struct piece *p;
		size_t room;
		bool zero;

		if (!c->in_move && shortcut && try_shortcut(c, m)) {
			c->at++;
			continue;
		}
		zero = is_hole(c, m, c->in_move, &len);
		room = zero ? 0 : (size_t)len;
		if (!zero && ((m->from + c->in_move) | len) & (ALIGN - 1))
			room += 2 * ALIGN;
		if (b->used + room > b->bytes)
			break;	/* never the first one */
		if (len) {
			p = add_piece(b, m, c->in_move, len);
			if (zero)
				p->p = c->zeros;
			b->used += room;
			c->in_move += len;
		}
		if (c->in_move == m->len) {
			c->at++;
			c->in_move = 0;
		}
	}
}

/* ---- transfers -------------------------------------------------------------------------------- */

static struct dmfmt_xfer *new_xfer(struct queue *q, bool write, size_t first, uint64_t off)
{
	struct dmfmt_xfer *x = &q->v[q->nr++];

	*x = (struct dmfmt_xfer){ .fd = -1, .write = write, .first = first, .off = off,
				  .v = &q->iov[q->nr_iov] };
	return x;
}

static int by_source(const void *a, const void *b)
{
	const struct piece *x = *(struct piece *const *)a, *y = *(struct piece *const *)b;

	if (x->src != y->src)
		return x->src < y->src ? -1 : 1;
	return x->from < y->from ? -1 : x->from > y->from;
}

static int by_destination(const void *a, const void *b)
{
	const struct piece *x = *(struct piece *const *)a, *y = *(struct piece *const *)b;

	return x->to < y->to ? -1 : x->to > y->to;
}

static void sort(struct buffer *b, int (*by)(const void *, const void *))
{
	size_t i;
	bool sorted = true;

	for (i = 0; i < b->nr; i++)
		b->order[i] = &b->pieces[i];
	for (i = 1; i < b->nr && sorted; i++)
		sorted = by(&b->order[i - 1], &b->order[i]) <= 0;
	if (!sorted)
		qsort(b->order, b->nr, sizeof(*b->order), by);
}

/* the page cache has it at once? */
static bool read_cached(struct side *s, struct dmfmt_xfer *x)
{
	ssize_t n;

	if (!s->cached || s->misses >= MISSES_MAX)
		return false;
	n = preadv2(s->dev->fd, x->v, 1, (off_t)x->off, RWF_NOWAIT);
	if (n >= (ssize_t)x->need) {
		s->misses = 0;
		return true;
	}
	s->misses++;
	return false;
}

/* one read over the pieces [first, end) of the order, which adjoin; memory from *pos on */
static void add_read(struct dmfmt_copier *c, struct buffer *b, size_t first, size_t end, uint64_t len,
		     size_t *pos)
{
	struct side *s = &c->src[b->order[first]->src];
	uint64_t from = b->order[first]->from, skip = from & (s->align - 1);
	struct dmfmt_xfer *x = new_xfer(&b->reads, false, first, from - skip);
	size_t i, at;

	*pos = (*pos + ALIGN - 1) & ~(size_t)(ALIGN - 1);
	x->nr = end - first;
	x->src = b->order[first]->src;
	x->need = (size_t)(skip + len);
	x->len = (x->need + s->align - 1) & ~(size_t)(s->align - 1);
	x->fd = s->fd;
	x->odd = s->fd < 0;
	x->v->iov_base = b->mem + *pos;
	x->v->iov_len = x->len;
	x->nr_v = 1;
	b->reads.nr_iov++;
	for (i = first, at = *pos + (size_t)skip; i < end; i++) {
		b->order[i]->p = b->mem + at;
		at += b->order[i]->len;
	}
	*pos += x->len;
	if (!x->odd && read_cached(s, x))
		x->done = true;
}

/* Zeros need no reading; they sort behind everything, as their source is DMFMT_NONE, or have their
 * memory already. */
static void plan_reads(struct dmfmt_copier *c, struct buffer *b)
{
	size_t i, j, pos = 0;

	b->reads.nr = b->reads.next = b->reads.nr_iov = 0;
	sort(b, by_source);
	for (i = 0; i < b->nr; i = j) {
		const struct piece *p = b->order[i];
		uint64_t len = p->len;

		j = i + 1;
		if (p->p)
			continue;
		while (j < b->nr && !b->order[j]->p && b->order[j]->src == p->src &&
		       b->order[j]->from == p->from + len && len + b->order[j]->len <= XFER_BYTES)
			len += b->order[j++]->len;
		add_read(c, b, i, j, len, &pos);
	}
	c->stats.reads += b->reads.nr;
}

/* ---- writes ----------------------------------------------------------------------------------- */

struct writer {
	struct dmfmt_copier *c;
	struct buffer *b;
	struct dmfmt_xfer *x;	/* being filled */
	size_t at;		/* the piece at hand, in the order */
};

static bool fits(const struct writer *w, uint64_t to, uint64_t len)
{
	const struct dmfmt_xfer *x = w->x;

	return x && x->off + x->len == to && x->len + len <= XFER_BYTES && x->nr_v < VECTOR_MAX;
}

static void end_xfer(struct writer *w)
{
	struct side *s = &w->c->dst;
	struct dmfmt_xfer *x = w->x;
	uint64_t bits;
	unsigned i;

	w->x = NULL;
	if (!x)
		return;
	x->fd = s->fd;
	bits = x->off | x->len;
	for (i = 0; i < x->nr_v; i++)
		bits |= (uintptr_t)x->v[i].iov_base | x->v[i].iov_len;
	x->odd = s->fd < 0 || bits & (s->align - 1);
	w->b->writes.nr_iov += x->nr_v;
}

static void emit(struct writer *w, uint8_t *p, uint64_t to, size_t len)
{
	struct iovec *last;

	if (!fits(w, to, len)) {
		end_xfer(w);
		w->x = new_xfer(&w->b->writes, true, w->at, to);
	}
	last = w->x->nr_v ? &w->x->v[w->x->nr_v - 1] : NULL;
	if (last && (uint8_t *)last->iov_base + last->iov_len == p)
		last->iov_len += len;
	else
		w->x->v[w->x->nr_v++] = (struct iovec){ p, len };
	w->x->len += len;
	w->x->nr = w->at - w->x->first + 1;
}

static bool is_zero(const uint8_t *p, size_t len)
{
	return !*p && !memcmp(p, p + 1, len - 1);
}

/* a file that this run made: zeros are there already */
static void emit_sparse(struct writer *w, uint8_t *p, uint64_t to, size_t len)
{
	while (len) {
		size_t n = HOLE_BYTES - (size_t)(to % HOLE_BYTES);

		if (n > len)
			n = len;
		if (is_zero(p, n))
			w->c->stats.bytes_zero += n;
		else
			emit(w, p, to, n);
		p += n;
		to += n;
		len -= n;
	}
}

static void emit_range(struct writer *w, uint8_t *p, uint64_t to, size_t len)
{
	if (!w->c->o.fresh)
		emit(w, p, to, len);
	else if (p == w->c->zeros)
		w->c->stats.bytes_zero += len;
	else
		emit_sparse(w, p, to, len);
}

/* leave out what could not be read */
static void emit_piece(struct writer *w, struct piece *p)
{
	struct dmfmt_copier *c = w->c;
	uint64_t to = p->to, end = p->to + p->len;

	if (!is_bad(c, w->b, p->to, p->len)) {
		emit_range(w, p->p, p->to, p->len);
		return;
	}
	while (to < end) {
		struct range u = unit_at(c, p->base, to, UINT64_MAX);
		uint64_t stop = u.to + u.len < end ? u.to + u.len : end;

		if (!is_bad(c, w->b, to, stop - to))
			emit_range(w, p->p == c->zeros ? p->p : p->p + (to - p->to), to,
				   (size_t)(stop - to));
		to = stop;
	}
}

static void plan_writes(struct dmfmt_copier *c, struct buffer *b)
{
	struct writer w = { .c = c, .b = b };

	b->writes.nr = b->writes.next = b->writes.nr_iov = 0;
	sort(b, by_destination);
	for (w.at = 0; w.at < b->nr; w.at++)
		emit_piece(&w, b->order[w.at]);
	end_xfer(&w);
	c->stats.writes += b->writes.nr;
}

/* ---- in flight -------------------------------------------------------------------------------- */

/* the next transfer of @q for the engine, if there is one */
static bool submit_one(struct dmfmt_copier *c, struct queue *q)
{
	while (q->next < q->nr) {
		struct dmfmt_xfer *x = &q->v[q->next++];

		if (x->odd || x->done)
			continue;
		c->engine->ops->submit(c->engine, x);
		return true;
	}
	return false;
}

/* what waits, reads and writes in turn, the oldest buffer first */
static void submit(struct dmfmt_copier *c)
{
	bool more = c->engine;
	unsigned i;

	while (more && c->engine->in_flight < c->depth) {
		more = false;
		for (i = c->finished; !more && i < c->started; i++)
			more = submit_one(c, &c->buf[i % BUFFERS].writes);
		if (c->engine->in_flight == c->depth)
			break;
		for (i = c->started; i < c->loaded; i++)
			if (submit_one(c, &c->buf[i % BUFFERS].reads)) {
				more = true;
				break;
			}
	}
}

/* Until all of @q that the engine takes is done; the others are kept going beside it.  A kernel that does
 * not answer any more may still use the buffers: nothing can go on then. */
static int settle(struct dmfmt_copier *c, struct queue *q)
{
	size_t i;

	for (i = 0; i < q->nr; i++)
		while (!q->v[i].odd && !q->v[i].done) {
			submit(c);
			if (c->engine->in_flight)
				c->engine->ops->wait(c->engine);
			if (c->engine->broken && !q->v[i].done)
				return dmfmt_fail(c->ctx, -EIO,
						  "copy: the kernel does not answer any more");
		}
	return 0;
}

static void settle_all(struct dmfmt_copier *c)
{
	while (c->engine && c->engine->in_flight && !c->engine->broken)
		c->engine->ops->wait(c->engine);
}

/* A file system that let us open with O_DIRECT and then refuses the transfer. */
static void check_refused(struct side *s, struct dmfmt_xfer *x)
{
	if (x->err != -EINVAL || !s->own)
		return;
	x->odd = true;
	x->err = 0;
}

/* ---- after a read ----------------------------------------------------------------------------- */

static int read_unit(struct dmfmt_copier *c, struct buffer *b, struct piece *p, struct range unit,
		     struct range part)
{
	uint64_t in = part.to - p->to;
	int err = dmfmt_dev_read(c->src[p->src].dev, p->from + in, p->p + in, (size_t)part.len);

	return err ? report(c, b, p, unit, true, err) : 0;
}

static int read_failed(struct dmfmt_copier *c, struct buffer *b, const struct dmfmt_xfer *x)
{
	struct dmfmt_dev *dev = c->src[x->src].dev;
	size_t i;
	int ret = 0;

	for (i = x->first; c->reading && i < x->first + x->nr; i++)
		b->order[i]->err = dmfmt_dev_read(dev, b->order[i]->from, b->order[i]->p,
						  b->order[i]->len);
	if (c->reading)
		return 0;
	if (!c->o.failed) {
		errno = -x->err;
		return dmfmt_fail(c->ctx, x->err, "%s: offset %llu: read of %zu bytes failed: %m",
				  dev->path, (unsigned long long)x->off, x->need);
	}
	for (i = x->first; !ret && i < x->first + x->nr; i++)
		ret = each_unit(c, b, b->order[i], read_unit);
	return ret;
}

static int finish_reads(struct dmfmt_copier *c, struct buffer *b)
{
	size_t i;
	int ret = settle(c, &b->reads);

	for (i = 0; !ret && i < b->reads.nr; i++) {
		struct dmfmt_xfer *x = &b->reads.v[i];
		struct dmfmt_dev *dev = c->src[x->src].dev;

		c->stats.bytes_read += x->need;
		check_refused(&c->src[x->src], x);
		if (x->odd) {
			x->err = dmfmt_dev_read(dev, x->off, x->v->iov_base, x->need);
			if (x->err && !c->o.failed && !c->reading)
				return x->err;
		} else if (!x->err) {
			dev->bytes_read += x->need;
			c->ctx->progress_bytes += x->need;
		}
		if (x->err)
			ret = read_failed(c, b, x);
	}
	return ret;
}

/* ---- after a write ---------------------------------------------------------------------------- */

static int write_unit(struct dmfmt_copier *c, struct buffer *b, struct piece *p, struct range unit,
		      struct range part)
{
	uint64_t in = part.to - p->to;
	int err;

	if (is_bad(c, b, part.to, part.len))
		return 0;
	err = dmfmt_dev_write_try(c->dst.dev, part.to, p->p == c->zeros ? p->p : p->p + in,
				  (size_t)part.len);
	return err ? report(c, b, p, unit, false, err) : 0;
}

static int write_failed(struct dmfmt_copier *c, struct buffer *b, const struct dmfmt_xfer *x)
{
	struct dmfmt_dev *dev = c->dst.dev;
	size_t i;
	int ret = 0;

	if (!c->o.failed) {
		dev->failed = x->err;
		errno = -x->err;
		return dmfmt_fail(c->ctx, x->err, "%s: offset %llu: write of %zu bytes failed: %m",
				  dev->path, (unsigned long long)x->off, x->len);
	}
	for (i = x->first; !ret && i < x->first + x->nr; i++)
		ret = each_unit(c, b, b->order[i], write_unit);
	return ret;
}

/* several parts of memory become one, so that it is one write here too */
static int write_odd(struct dmfmt_copier *c, struct dmfmt_xfer *x)
{
	const void *p = x->v->iov_base;
	size_t at = 0;
	unsigned i;

	if (x->nr_v > 1) {
		for (i = 0; i < x->nr_v; i++) {
			memcpy(c->bounce + at, x->v[i].iov_base, x->v[i].iov_len);
			at += x->v[i].iov_len;
		}
		p = c->bounce;
	}
	return c->o.failed ? dmfmt_dev_write_try(c->dst.dev, x->off, p, x->len) :
			     dmfmt_dev_write(c->dst.dev, x->off, p, x->len);
}

static int finish_writes(struct dmfmt_copier *c, struct buffer *b)
{
	size_t i;
	int ret = settle(c, &b->writes);

	for (i = 0; !ret && i < b->writes.nr; i++) {
		struct dmfmt_xfer *x = &b->writes.v[i];

		c->stats.bytes_written += x->len;
		c->limited += x->len;
		check_refused(&c->dst, x);
		if (x->odd) {
			x->err = write_odd(c, x);
			if (x->err && !c->o.failed)
				return x->err;
		} else {
			c->dst.dev->bytes_written += x->len;
			c->ctx->progress_bytes += x->len;
		}
		if (x->err)
			ret = write_failed(c, b, x);
	}
	return ret;
}

/* ---- the runs --------------------------------------------------------------------------------- */

static int progress(struct dmfmt_copier *c)
{
	return dmfmt_progress_step(c->ctx, c->o.what ? c->o.what : "copying", 1, 1, c->done,
				   c->o.total);
}

static uint64_t bytes_of(const struct buffer *b)
{
	uint64_t sum = 0;
	size_t i;

	for (i = 0; i < b->nr; i++)
		sum += b->pieces[i].len;
	return sum;
}

/* bytes that the rate allows until now */
static double allowed(const struct dmfmt_copier *c)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return ((double)(now.tv_sec - c->begun.tv_sec) +
		(double)(now.tv_nsec - c->begun.tv_nsec) / 1e9) * (double)c->o.rate;
}

/* the time between two runs saves up nothing */
static void start_rate(struct dmfmt_copier *c)
{
	if (c->o.rate && (double)c->limited < allowed(c)) {
		clock_gettime(CLOCK_MONOTONIC, &c->begun);
		c->limited = 0;
	}
}

/* wait until the rate allows what was written so far */
static int keep_rate(struct dmfmt_copier *c)
{
	const struct timespec nap = { .tv_nsec = NAP_NS };
	int ret;

	while (c->o.rate && (double)c->limited > allowed(c)) {
		nanosleep(&nap, NULL);
		ret = progress(c);
		if (ret)
			return ret;
	}
	return 0;
}

static bool inside(const struct dmfmt_dev *dev, uint64_t off, uint64_t len)
{
	return dev && off <= dev->size && len <= dev->size - off && !(off % 512);
}

/* what goes past dmfmt_dev_read() and dmfmt_dev_write() is looked at here */
static int check_moves(struct dmfmt_copier *c, const struct dmfmt_move *moves, size_t nr, bool write)
{
	size_t i;

	if (write && (!c->o.dst || !(c->o.dst->dry_run || c->o.dst->flags & DMFMT_OPEN_WRITE)))
		return dmfmt_fail(c->ctx, -EROFS, "%s: copy refused: not open for writing",
				  c->o.dst ? c->o.dst->path : "destination");
	if (write && c->o.dst->failed)
		return dmfmt_fail(c->ctx, c->o.dst->failed < 0 ? c->o.dst->failed : -EIO,
				  "%s: copy refused: an earlier write or flush failed", c->o.dst->path);
	for (i = 0; i < nr; i++) {
		const struct dmfmt_move *m = &moves[i];

		if (m->len % 512 || m->src >= DMFMT_COPIER_SOURCES ||
		    (m->from != DMFMT_NONE && !inside(c->o.src[m->src], m->from, m->len)))
			return dmfmt_fail(c->ctx, -ERANGE, "copy: %llu bytes from offset %llu: not on the source",
					  (unsigned long long)m->len, (unsigned long long)m->from);
		if (c->o.dst && !inside(c->o.dst, m->to, m->len))
			return dmfmt_fail(c->ctx, -ERANGE, "%s: offset %llu: %llu bytes: past the end",
					  c->o.dst->path, (unsigned long long)m->to,
					  (unsigned long long)m->len);
	}
	return 0;
}

static void begin(struct dmfmt_copier *c, const struct dmfmt_move *moves, size_t nr)
{
	c->moves = moves;
	c->nr_moves = nr;
	c->at = 0;
	c->in_move = 0;
	c->giant.nr = 0;
	c->loaded = c->started = c->finished = 0;
	start_rate(c);
}

/* fill free buffers and have them read; false if there is nothing to go on with */
static bool read_ahead(struct dmfmt_copier *c, bool shortcut)
{
	while (c->loaded - c->finished < BUFFERS) {
		struct buffer *b = &c->buf[c->loaded % BUFFERS];

		load(c, b, shortcut);
		if (!b->nr)
			break;
		plan_reads(c, b);
		c->loaded++;
	}
	submit(c);
	return c->started < c->loaded;
}

/* the oldest buffer that is being written */
static int end_writes(struct dmfmt_copier *c)
{
	struct buffer *b = &c->buf[c->finished % BUFFERS];
	int ret = finish_writes(c, b);

	c->finished++;
	c->done += bytes_of(b);
	if (!ret)
		ret = keep_rate(c);
	return ret ? ret : progress(c);
}

int dmfmt_copier_run(struct dmfmt_copier *c, const struct dmfmt_move *moves, size_t nr)
{
	int ret = check_moves(c, moves, nr, true);

	if (ret)
		return ret;
	begin(c, moves, nr);
	while (!ret && read_ahead(c, true)) {
		struct buffer *b = &c->buf[c->started % BUFFERS];

		ret = finish_reads(c, b);
		if (ret)
			break;
		plan_writes(c, b);
		c->started++;
		submit(c);
		if (c->started - c->finished >= WRITING)
			ret = end_writes(c);
	}
	while (!ret && c->finished < c->started)
		ret = end_writes(c);
	settle_all(c);
	return ret;
}

/* ---- verify ----------------------------------------------------------------------------------- */

/* the bytes of @p as they are on the destination, at @to */
static int read_back(struct dmfmt_copier *c, const struct piece *p, uint8_t *to)
{
	struct side *s = &c->dst;
	struct iovec v = { to, p->len };
	struct dmfmt_xfer x = { .fd = s->fd, .v = &v, .nr_v = 1, .off = p->to, .len = p->len,
				.need = p->len };

	if (s->fd < 0 || (p->to | p->len) & (s->align - 1))
		return dmfmt_dev_read(s->dev, p->to, to, p->len);
	dmfmt_xfer_sync(&x, 0);
	if (x.err == -EINVAL && s->own)	/* opened with O_DIRECT, and refused all the same */
		return dmfmt_dev_read(s->dev, p->to, to, p->len);
	return x.err;
}

static int differs(struct dmfmt_copier *c, struct buffer *b, struct piece *p, const uint8_t *have)
{
	uint64_t to = p->to, end = p->to + p->len;
	int ret = 0;

	while (!ret && to < end) {
		struct range u = unit_at(c, p->base, to, UINT64_MAX);
		uint64_t stop = u.to + u.len < end ? u.to + u.len : end;
		const uint8_t *want = p->p == c->zeros ? p->p : p->p + (to - p->to);

		if (memcmp(want, have + (to - p->to), (size_t)(stop - to))) {
			if (!c->o.failed)
				return dmfmt_fail(c->ctx, -EIO,
						  "%s: offset %llu: reads back other than it was written",
						  c->dst.dev->path, (unsigned long long)to);
			ret = report(c, b, p, u, false, -EILSEQ);
		}
		to = stop;
	}
	return ret;
}

/* one unit of a piece that could not be read back as a whole, or of which a unit is bad already */
static int compare_unit(struct dmfmt_copier *c, struct buffer *b, struct piece *p, struct range unit,
			struct range part)
{
	struct piece q = *p;
	int err;

	if (is_bad(c, b, part.to, part.len))
		return 0;
	q.to = part.to;
	q.len = (uint32_t)part.len;
	q.p = p->p == c->zeros ? p->p : p->p + (part.to - p->to);
	err = read_back(c, &q, c->bounce);
	if (!err && memcmp(q.p, c->bounce, q.len))
		err = -EILSEQ;
	return err ? report(c, b, p, unit, false, err) : 0;
}

static int compare_piece(struct dmfmt_copier *c, struct buffer *b, struct piece *p)
{
	int err;

	if (is_bad(c, b, p->to, p->len))
		return each_unit(c, b, p, compare_unit);
	err = read_back(c, p, c->bounce);
	if (!err)
		return memcmp(p->p, c->bounce, p->len) ? differs(c, b, p, c->bounce) : 0;
	if (!c->o.failed) {
		errno = -err;
		return dmfmt_fail(c->ctx, err, "%s: offset %llu: read of %u bytes failed: %m",
				  c->dst.dev->path, (unsigned long long)p->to, p->len);
	}
	return each_unit(c, b, p, compare_unit);
}

int dmfmt_copier_verify(struct dmfmt_copier *c, const struct dmfmt_move *moves, size_t nr)
{
	size_t i;
	int ret = check_moves(c, moves, nr, true);

	if (ret)
		return ret;
	begin(c, moves, nr);
	while (!ret && read_ahead(c, false)) {
		struct buffer *b = &c->buf[c->started % BUFFERS];

		ret = finish_reads(c, b);
		sort(b, by_destination);
		for (i = 0; !ret && i < b->nr; i++)
			ret = compare_piece(c, b, b->order[i]);
		c->finished = ++c->started;
		if (!ret)
			ret = progress(c);
	}
	settle_all(c);
	return ret;
}

/* ---- reading alone ---------------------------------------------------------------------------- */

struct reader {
	int (*fn)(void *arg, const struct dmfmt_move *m, const void *buf, int err);
	void *arg;
};

static int hand_out(const struct piece *p, const struct reader *r)
{
	const struct dmfmt_move m = { .from = p->from, .to = p->to, .len = p->len, .src = p->src };

	return r->fn(r->arg, &m, p->err ? NULL : p->p, p->err);
}

int dmfmt_copier_read(struct dmfmt_copier *c, const struct dmfmt_move *moves, size_t nr,
		      int (*fn)(void *arg, const struct dmfmt_move *m, const void *buf, int err),
		      void *arg)
{
	const struct reader r = { fn, arg };
	size_t i;
	int ret = check_moves(c, moves, nr, false);

	if (ret)
		return ret;
	begin(c, moves, nr);
	c->reading = true;
	while (!ret && read_ahead(c, false)) {
		struct buffer *b = &c->buf[c->started % BUFFERS];

		ret = finish_reads(c, b);
		for (i = 0; !ret && i < b->nr; i++)
			ret = hand_out(&b->pieces[i], &r);
		c->done += bytes_of(b);
		c->finished = ++c->started;
		if (!ret)
			ret = progress(c);
	}
	settle_all(c);
	c->reading = false;
	return ret;
}
