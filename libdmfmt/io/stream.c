// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Large sequential reading with read-ahead over computable positions.
 *
 * Parts stand in a ring in the order in which they are handed out; their buffers lie in an arena
 * that is used as a ring as well.  Two gaits:
 *
 *   - What is in the page cache is read on demand, one part per call, with preadv2(RWF_NOWAIT) into
 *     the same few cache-warm pages: one system call, as a plain pread would cost.
 *   - With the first part that is not there an engine is started, and up to `depth` reads are kept
 *     in flight.  Positions are still tried with RWF_NOWAIT, unless several in a row have missed;
 *     then only now and then.  When nothing is in flight any more, we are back at the first gait.
 *
 * O_DIRECT never tries.  Where the bottom cannot be read directly (a layer holds writes back, a
 * buffer, a fault device), parts are read through the layers when they are handed out.  So is a
 * part that was read ahead before a write to the device.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "dev.h"
#include "stream_engine.h"

#define DEPTH_DEFAULT 32
#define DEPTH_MAX 1024
#define MEMORY_DEFAULT (8u << 20)
#define PART_BYTES (1u << 20)
#define ALIGN 4096u
#define MISSES_MAX 8		/* in a row, before the page cache is asked less often ... */
#define MISSES_PROBE 64		/* ... namely once in so many */
#define TMPFS_ID 0x01021994
#define RAMFS_ID 0x858458f6

enum part_state {
	PART_READY,		/* in its buffer, or failed */
	PART_SUBMITTED,		/* the engine has it */
	PART_LATER,		/* to be read through the layers */
};

struct part {
	uint64_t off;
	size_t len;
	enum part_state state;
	uint64_t written;	/* the device's bytes_written when reading began */
	struct dmfmt_read r;	/* [off, off + len), in whole blocks for O_DIRECT */
};

struct dmfmt_stream {
	struct dmfmt_dev *dev;
	int (*next)(void *arg, uint64_t *off, uint64_t *len);
	void *arg;
	uint64_t piece_off, piece_left;
	bool ended;
	int end_err;		/* why, if @next did not just say so */

	uint8_t *arena;
	size_t arena_bytes, arena_head, arena_tail;
	struct part *parts;
	unsigned nr_parts, first, nr;
	bool held;		/* the first part is in the consumer's hands */

	unsigned depth;
	struct dmfmt_engine *engine;
	bool no_engine;		/* tried, there is none */
	bool cached;		/* the page cache can be asked */
	int rwf;		/* RWF_NOWAIT, or 0 where reading never waits for a disk */
	unsigned misses, skipped;
};

void dmfmt_read_finish(int fd, struct dmfmt_read *r)
{
	if (r->done < r->need)
		r->err = dmfmt_fd_read(fd, r->from + r->done, r->buf + r->done, r->want - r->done,
				       r->need - r->done);
}

/* ---- the arena: allocated and freed in the same order ---------------------------------------- */

static uint8_t *arena_get(struct dmfmt_stream *s, size_t len)
{
	size_t n = (len + ALIGN - 1) & ~(size_t)(ALIGN - 1);
	size_t at = s->arena_tail;

	if (!s->nr)
		s->arena_head = s->arena_tail = at = 0;
	if (s->arena_tail >= s->arena_head) {
		if (s->arena_bytes - at < n) {
			if (s->arena_head <= n)
				return NULL;
			at = 0;
		}
	} else if (s->arena_head - at <= n) {
		return NULL;
	}
	s->arena_tail = at + n;
	return s->arena + at;
}

static struct part *part_at(struct dmfmt_stream *s, unsigned i)
{
	unsigned at = s->first + i;

	return &s->parts[at < s->nr_parts ? at : at - s->nr_parts];
}

static void drop_first(struct dmfmt_stream *s)
{
	s->first = s->first + 1 < s->nr_parts ? s->first + 1 : 0;
	s->nr--;
	if (s->nr)
		s->arena_head = part_at(s, 0)->r.buf - s->arena;
}

/* ---- positions ------------------------------------------------------------------------------ */

/* Make sure that piece_off and piece_left say what comes next.  1; 0 at the end; negative errno. */
static int next_piece(struct dmfmt_stream *s)
{
	uint64_t off = 0, len = 0;
	int ret;

	while (!s->piece_left) {
		if (s->ended)
			return s->end_err;
		ret = s->next(s->arg, &off, &len);
		if (ret <= 0 || off >= s->dev->size) {
			s->ended = true;
			s->end_err = ret < 0 ? ret : 0;
			continue;
		}
		if (len > s->dev->size - off) {
			len = s->dev->size - off;
			s->ended = true;
		}
		s->piece_off = off;
		s->piece_left = len;
	}
	return 1;
}

/* Put the next part at the end of the ring.  1; 0 at the end, or without room; negative errno. */
static int add_part(struct dmfmt_stream *s, struct part **out)
{
	uint64_t mask = s->dev->direct ? s->dev->block - 1 : 0;
	struct part *p;
	uint64_t end;
	int ret;

	ret = next_piece(s);
	if (ret <= 0)
		return ret;
	p = part_at(s, s->nr);
	p->off = s->piece_off;
	p->len = s->piece_left < PART_BYTES ? s->piece_left : PART_BYTES;
	end = p->off + p->len;
	p->r.from = p->off & ~mask;
	p->r.want = ((end + mask) & ~mask) - p->r.from;
	p->r.need = end - p->r.from;
	p->r.done = 0;
	p->r.err = 0;
	p->r.buf = arena_get(s, p->r.want);
	if (!p->r.buf)
		return 0;
	p->written = s->dev->bytes_written;
	s->piece_off = end;
	s->piece_left -= p->len;
	s->nr++;
	*out = p;
	return 1;
}

/* ---- reading -------------------------------------------------------------------------------- */

/* True if the part is in its buffer now. */
static bool read_cached(struct dmfmt_stream *s, struct part *p)
{
	struct iovec v = { .iov_base = p->r.buf, .iov_len = p->r.want };
	struct statfs fs;
	ssize_t n;

	n = preadv2(s->dev->fd, &v, 1, p->r.from, s->rwf);
	if (n >= (ssize_t)p->r.need)
		return true;
	if (n > 0)
		p->r.done = n;
	if (n < 0 && (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL)) {
		/* not on this file system; where the page cache is all there is, plain reads do */
		s->rwf = 0;
		s->cached = !fstatfs(s->dev->fd, &fs) &&
			    ((uint32_t)fs.f_type == TMPFS_ID || (uint32_t)fs.f_type == RAMFS_ID);
	}
	return false;
}

static bool worth_trying(struct dmfmt_stream *s)
{
	if (!s->cached)
		return false;
	return s->misses < MISSES_MAX || s->skipped++ % MISSES_PROBE == MISSES_PROBE - 1;
}

static struct dmfmt_engine *get_engine(struct dmfmt_stream *s)
{
	if (s->engine || s->no_engine)
		return s->engine;
	if (dmfmt_engine_uring.open(s->dev->fd, s->depth, &s->engine))
		dmfmt_engine_threads.open(s->dev->fd, s->depth, &s->engine);
	s->no_engine = !s->engine;
	return s->engine;
}

static void start_part(struct dmfmt_stream *s, struct part *p)
{
	p->state = PART_LATER;
	if (!dmfmt_dev_passes(s->dev))
		return;
	if (worth_trying(s)) {
		if (read_cached(s, p)) {
			s->misses = 0;
			p->state = PART_READY;
			return;
		}
		s->misses++;
	}
	if (get_engine(s)) {
		s->engine->ops->submit(s->engine, &p->r);
		p->state = PART_SUBMITTED;
	}
}

static unsigned in_flight(const struct dmfmt_stream *s)
{
	return s->engine ? s->engine->in_flight : 0;
}

/* Keep `depth` reads in flight; a quarter at a time, so that one system call starts several.
 * Nothing is read ahead while nothing has to be waited for. */
static int fill(struct dmfmt_stream *s)
{
	struct part *p;
	int ret = 1;

	if (in_flight(s))
		s->engine->ops->poll(s->engine);
	if (s->nr && (!in_flight(s) || in_flight(s) > s->depth - (s->depth + 3) / 4))
		return 1;
	do {
		if (s->nr == s->nr_parts || in_flight(s) >= s->depth)
			break;
		ret = add_part(s, &p);
		if (ret <= 0)
			break;
		start_part(s, p);
	} while (in_flight(s));
	if (in_flight(s))
		s->engine->ops->kick(s->engine);
	return ret < 0 ? ret : s->nr > 0;
}

/* Through the layers; dev.c counts the bytes and has the words for a failure. */
static int read_later(struct dmfmt_stream *s, struct part *p)
{
	return dmfmt_dev_read(s->dev, p->off, p->r.buf + (p->off - p->r.from), p->len);
}

static int finish_part(struct dmfmt_stream *s, struct part *p)
{
	if (p->state == PART_SUBMITTED)
		s->engine->ops->wait(s->engine, &p->r);
	if (p->state == PART_LATER || p->written != s->dev->bytes_written)
		return read_later(s, p);
	if (p->r.err) {
		errno = -p->r.err;
		return dmfmt_fail(s->dev->ctx, p->r.err,
				  "%s: offset %llu: read of %zu bytes failed: %m", s->dev->path,
				  (unsigned long long)p->off, p->len);
	}
	s->dev->bytes_read += p->len;
	s->dev->ctx->progress_bytes += p->len;
	return 0;
}

int dmfmt_stream_next(struct dmfmt_stream *s, const void **buf, uint64_t *off, size_t *len)
{
	struct part *p;
	int err;

	if (s->held)
		drop_first(s);
	s->held = false;
	err = fill(s);
	if (err < 0 && !s->nr)
		return err;
	if (!s->nr)
		return 0;
	p = part_at(s, 0);
	s->held = true;
	err = finish_part(s, p);
	*buf = p->r.buf + (p->off - p->r.from);
	*off = p->off;
	*len = p->len;
	return err ? err : 1;
}

const char *dmfmt_stream_engine(const struct dmfmt_stream *s)
{
	return s->engine ? s->engine->ops->name : "pread";
}

/* ---- opening and closing -------------------------------------------------------------------- */

static int force_engine(struct dmfmt_stream *s, const char *name)
{
	const struct dmfmt_engine_ops *const engines[] = { &dmfmt_engine_uring,
							   &dmfmt_engine_threads };
	size_t i;

	s->cached = false;
	s->no_engine = true;
	for (i = 0; i < sizeof(engines) / sizeof(engines[0]); i++)
		if (!strcmp(name, engines[i]->name) && s->dev->fd >= 0)
			return engines[i]->open(s->dev->fd, s->depth, &s->engine);
	return strcmp(name, "pread") ? -EOPNOTSUPP : 0;
}

static int set_up(struct dmfmt_stream *s, const struct dmfmt_stream_opts *o)
{
	size_t memory = o->memory ? o->memory : MEMORY_DEFAULT;
	size_t least = PART_BYTES + 2 * (s->dev->block > ALIGN ? s->dev->block : ALIGN);
	void *arena;

	s->next = o->next;
	s->arg = o->arg;
	s->depth = o->depth ? o->depth : DEPTH_DEFAULT;
	if (s->depth > DEPTH_MAX)
		s->depth = DEPTH_MAX;
	s->nr_parts = 2 * s->depth;
	s->parts = calloc(s->nr_parts, sizeof(*s->parts));
	if (!s->parts)
		return -ENOMEM;
	s->arena_bytes = (memory < least ? least : memory) & ~(size_t)(ALIGN - 1);
	arena = mmap(NULL, s->arena_bytes, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (arena == MAP_FAILED)
		return -ENOMEM;
	s->arena = arena;
	s->cached = !s->dev->direct;
	s->rwf = RWF_NOWAIT;
	return o->engine ? force_engine(s, o->engine) : 0;
}

int dmfmt_stream_open(struct dmfmt_dev *dev, const struct dmfmt_stream_opts *o,
		      struct dmfmt_stream **out)
{
	struct dmfmt_stream *s = calloc(1, sizeof(*s));
	int err;

	*out = NULL;
	if (!s)
		return dmfmt_fail(dev->ctx, -ENOMEM, "%s: no memory for reading ahead", dev->path);
	s->dev = dev;
	err = set_up(s, o);
	if (err) {
		errno = -err;
		dmfmt_fail(dev->ctx, err, "%s: cannot set up reading ahead: %m", dev->path);
		dmfmt_stream_close(s);
		return err;
	}
	*out = s;
	return 0;
}

void dmfmt_stream_close(struct dmfmt_stream *s)
{
	if (!s)
		return;
	if (!s->engine || s->engine->ops->close(s->engine)) {
		if (s->arena)
			munmap(s->arena, s->arena_bytes);
		free(s->parts);
	}
	free(s);
}
