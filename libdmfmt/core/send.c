// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The difference between the logical device and the origin as a stream.  The data that differ are
 * read twice: once for the hashes, which have to come first so that a receiver can look at all of its
 * device before it writes, and once to be sent.  Memory does not grow with them.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>
#include "../format/crc32c.h"
#include "delta.h"
#include "send_format.h"
#include "view.h"

#define ZSTD_LEVEL 3
#define MOVES 1024u
#define SAMPLES 4096u

/*
 * struct sender - one stream
 * @data_pass: the second time over the ranges
 * @queued: ranges on their way through the copier; of each come first all bytes of its old state, then
 *          all of the new
 */
struct sender {
	struct dmfmt_view *v;
	struct dmfmt_ctx *ctx;
	int fd;
	bool forward;
	uint64_t seq;
	ZSTD_CCtx *zstd;
	uint8_t *packed;	/* room for a compressed payload */
	size_t packed_room;
	bool data_pass;

	/* ranges on their way through the copier */
	struct dmfmt_copier *copier;
	struct dmfmt_move *moves;
	size_t nr_moves;
	struct {
		uint64_t offset;
		uint32_t len;
	} queued[MOVES];
	size_t nr_queued, at;	/* at: the range whose bytes come now */
	uint64_t got;		/* of its bytes: first len of the old state, then len of the new */
	uint8_t *old, *new;	/* STREAM_RANGE_BYTES each */

	/* the batch */
	size_t nr;
	uint64_t batch_bytes;
	struct stream_range_disk ranges[STREAM_BATCH_RANGES];
	struct stream_piece_disk pieces[STREAM_BATCH_RANGES];
	uint8_t *payload;	/* STREAM_RAW_MAX */

	struct stream_counts_disk counts;	/* in host order */
	uint8_t digest[2 * DMFMT_SHA256_BYTES];
	uint64_t samples, sent_bytes;
};

/* ---- records ---------------------------------------------------------------------------------- */

static int put(struct sender *s, const void *buf, size_t len)
{
	const char *p = buf;

	s->sent_bytes += len;
	while (len) {
		ssize_t n = write(s->fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return dmfmt_fail(s->ctx, n ? -errno : -EIO, "stream: cannot be written: %s",
					  strerror(n ? errno : EIO));
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int put_record(struct sender *s, enum stream_type type, const void *raw, size_t raw_len)
{
	size_t len = ZSTD_compressCCtx(s->zstd, s->packed, s->packed_room, raw, raw_len, ZSTD_LEVEL);
	const void *stored = s->packed;
	struct stream_record_disk r;

	if (ZSTD_isError(len) || len >= raw_len) {
		stored = raw;
		len = raw_len;
	}
	r = (struct stream_record_disk){
		.type = htole32(type), .raw_len = htole32((uint32_t)raw_len),
		.len = htole32((uint32_t)len), .seq = htole64(s->seq++),
		.payload_crc32c = htole32(dmfmt_crc32c(0, stored, len)),
	};
	r.crc32c = htole32(dmfmt_crc32c(0, &r, sizeof(r) - sizeof(r.crc32c)));
	return put(s, &r, sizeof(r)) ?: put(s, stored, len);
}

static int put_header(struct sender *s)
{
	struct stream_header_disk h = {
		.version = htole32(STREAM_VERSION), .header_bytes = htole32(sizeof(h)),
		.direction = htole32(s->forward ? STREAM_FORWARD : STREAM_BACKWARD),
		.device_bytes = htole64(s->v->size),
	};

	memcpy(h.magic, STREAM_MAGIC, sizeof(h.magic));
	h.crc32c = htole32(dmfmt_crc32c(0, &h, sizeof(h) - sizeof(h.crc32c)));
	return put(s, &h, sizeof(h));
}

/* the chain of batch hashes: so that both halves of the stream speak of the same ranges */
static void chain(struct sender *s)
{
	dmfmt_sha256(s->pieces, s->nr * sizeof(*s->pieces), s->digest + DMFMT_SHA256_BYTES);
	dmfmt_sha256(s->digest, sizeof(s->digest), s->digest);
}

static int end_batch(struct sender *s)
{
	int ret;

	if (!s->nr)
		return 0;
	s->pieces[0].nr = htole32((uint32_t)s->nr);
	chain(s);
	if (s->data_pass) {
		memcpy(s->payload, s->pieces, s->nr * sizeof(*s->pieces));
		/* the bytes stand behind where the largest table would end: close the gap */
		memmove(s->payload + s->nr * sizeof(*s->pieces),
			s->payload + STREAM_BATCH_RANGES * sizeof(*s->pieces), (size_t)s->batch_bytes);
		ret = put_record(s, STREAM_DATA, s->payload,
				 s->nr * sizeof(*s->pieces) + (size_t)s->batch_bytes);
	} else {
		ret = put_record(s, STREAM_RANGES, s->ranges, s->nr * sizeof(*s->ranges));
	}
	s->counts.batches++;
	s->counts.ranges += s->nr;
	s->counts.bytes += s->batch_bytes;
	s->nr = 0;
	s->batch_bytes = 0;
	return ret;
}

static int put_counts(struct sender *s, enum stream_type type)
{
	struct stream_counts_disk c = {
		.batches = htole64(s->counts.batches), .ranges = htole64(s->counts.ranges),
		.bytes = htole64(s->counts.bytes), .samples = htole64(s->samples),
	};

	memcpy(c.sha256, s->digest, DMFMT_SHA256_BYTES);
	return put_record(s, type, &c, sizeof(c));
}

/* ---- ranges ----------------------------------------------------------------------------------- */

/* both states of one range are here */
static int on_range(struct sender *s, uint64_t offset, uint32_t len)
{
	struct stream_range_disk *r;
	struct stream_piece_disk *p;
	int ret = 0;

	if (!memcmp(s->old, s->new, len))
		return 0;
	if (s->nr == STREAM_BATCH_RANGES || s->batch_bytes + len > STREAM_BATCH_BYTES)
		ret = end_batch(s);
	if (ret)
		return ret;
	r = &s->ranges[s->nr];
	p = &s->pieces[s->nr++];
	*p = (struct stream_piece_disk){ .offset = htole64(offset), .len = htole32(len) };
	dmfmt_sha256(s->new, len, p->sha256);
	if (s->data_pass) {
		memcpy(s->payload + STREAM_BATCH_RANGES * sizeof(*p) + s->batch_bytes, s->new, len);
	} else {
		*r = (struct stream_range_disk){ .offset = p->offset, .len = p->len };
		memcpy(r->new_sha256, p->sha256, sizeof(p->sha256));
		dmfmt_sha256(s->old, len, r->old_sha256);
	}
	s->batch_bytes += len;
	return 0;
}

static int on_bytes(void *arg, const struct dmfmt_move *m, const void *buf, int err)
{
	struct sender *s = arg;
	uint32_t len = s->queued[s->at].len;
	uint8_t *to;
	int ret = 0;

	if (err)
		return dmfmt_fail(s->ctx, err, "%s: offset %" PRIu64 ": cannot be read",
				  m->src ? s->v->f->origin->path : s->v->f->dev->path, m->from);
	to = s->got < len ? s->old + s->got : s->new + (s->got - len);
	memcpy(to, buf, (size_t)m->len);
	s->got += m->len;
	if (s->got == 2ull * len) {
		ret = on_range(s, s->queued[s->at].offset, len);
		s->at++;
		s->got = 0;
	}
	return ret;
}

static int read_queued(struct sender *s)
{
	int ret;

	s->at = 0;
	s->got = 0;
	ret = dmfmt_copier_read(s->copier, s->moves, s->nr_moves, on_bytes, s);
	s->nr_moves = s->nr_queued = 0;
	return ret;
}

/* what the store has of the range, and what the origin has: in the order old, new */
static int queue_range(struct sender *s, const struct dmfmt_segment *seg, size_t nr)
{
	unsigned turn;
	size_t i;

	for (turn = 0; turn < 2; turn++) {
		bool store = s->forward == !turn;

		for (i = 0; i < nr; i++)
			s->moves[s->nr_moves++] = (struct dmfmt_move){
				.from = store ? seg[i].a : seg[i].to, .to = seg[i].to,
				.len = seg[i].len, .src = !store };
	}
	s->queued[s->nr_queued].offset = seg[0].to;
	s->queued[s->nr_queued++].len = (uint32_t)(seg[nr - 1].to + seg[nr - 1].len - seg[0].to);
	return 0;
}

/* segments that adjoin, up to STREAM_RANGE_BYTES, are one range */
struct gather {
	struct sender *s;
	struct dmfmt_segment seg[STREAM_BATCH_RANGES];
	size_t nr;
	uint64_t bytes;
};

static int end_range(struct gather *g)
{
	int ret = 0;

	if (!g->nr)
		return 0;
	if (g->s->nr_moves + 2 * g->nr > MOVES)
		ret = read_queued(g->s);
	if (!ret)
		ret = queue_range(g->s, g->seg, g->nr);
	g->nr = 0;
	g->bytes = 0;
	return ret;
}

static int add_segment(struct gather *g, struct dmfmt_segment x)
{
	int ret = 0;

	while (!ret && x.len) {
		uint64_t len = x.len;
		const struct dmfmt_segment *last = g->nr ? &g->seg[g->nr - 1] : NULL;

		if (last && (last->to + last->len != x.to || g->nr == STREAM_BATCH_RANGES ||
			     g->bytes == STREAM_RANGE_BYTES))
			ret = end_range(g);
		if (len > STREAM_RANGE_BYTES - g->bytes)
			len = STREAM_RANGE_BYTES - g->bytes;
		g->seg[g->nr] = x;
		g->seg[g->nr++].len = len;
		g->bytes += len;
		x.to += len;
		if (x.a != DMFMT_NONE)
			x.a += len;
		x.len -= len;
	}
	return ret;
}

static int each_range(struct sender *s)
{
	struct gather *g = calloc(1, sizeof(*g));
	struct dmfmt_sides sides;
	struct dmfmt_segment x;
	int ret = g ? dmfmt_sides_open(&sides, s->v->f, NULL) : -ENOMEM;

	if (!g)
		return dmfmt_fail(s->ctx, -ENOMEM, "stream: no memory");
	g->s = s;
	while (ret >= 0 && (ret = dmfmt_sides_next(&sides, &x)) == 1) {
		if (x.to >= s->v->size)
			break;
		if (x.len > s->v->size - x.to)
			x.len = s->v->size - x.to;
		ret = add_segment(g, x);
	}
	if (ret >= 0)
		ret = end_range(g);
	if (!ret)
		ret = read_queued(s);
	if (!ret)
		ret = end_batch(s);
	dmfmt_sides_close(&sides);
	free(g);
	return ret;
}

/* ---- samples ---------------------------------------------------------------------------------- */

struct sampler {
	struct sender *s;
	struct dmfmt_map *map;
	struct stream_piece_disk v[STREAM_SAMPLES_BATCH];
	size_t nr;
};

static int nothing(void *arg, const struct dmfmt_field *f)
{
	(void)arg;
	(void)f;
	return 0;
}

static int end_samples(struct sampler *x)
{
	int ret = x->nr ? put_record(x->s, STREAM_SAMPLES, x->v, x->nr * sizeof(*x->v)) : 0;

	x->s->samples += x->nr;
	x->nr = 0;
	return ret;
}

/* only where the store holds nothing: there both states are the same */
static int on_sample(void *arg, const struct dmfmt_sample *sample)
{
	struct sampler *x = arg;
	struct dmfmt_extent e;
	int ret = dmfmt_map_next(x->map, sample->offset, &e);

	if (ret < 0 || (ret == 1 && e.to < sample->offset + sample->length))
		return ret < 0 ? ret : 0;
	if (x->nr == STREAM_SAMPLES_BATCH) {
		ret = end_samples(x);
		if (ret)
			return ret;
	}
	x->v[x->nr] = (struct stream_piece_disk){ .offset = htole64(sample->offset),
						  .len = htole32(sample->length) };
	memcpy(x->v[x->nr++].sha256, sample->sha256, DMFMT_SHA256_BYTES);
	return 0;
}

static int put_samples(struct sender *s)
{
	struct sampler *x = calloc(1, sizeof(*x));
	int ret;

	if (!x)
		return dmfmt_fail(s->ctx, -ENOMEM, "stream: no memory");
	x->s = s;
	x->map = s->v->map;
	ret = dmfmt_fingerprint(s->ctx, s->v->f->origin, SAMPLES, nothing, on_sample, x);
	if (!ret)
		ret = end_samples(x);
	free(x);
	return ret;
}

/* ---- the whole ---------------------------------------------------------------------------------- */

static int set_up(struct sender *s)
{
	const struct dmfmt_copier_opts o = {
		.src = { s->v->f->dev, s->v->f->origin }, .what = "sending",
		.memory = dmfmt_copier_memory(s->ctx, s->ctx->memory / 4 + 4 * STREAM_BATCH_BYTES),
	};

	s->packed_room = ZSTD_compressBound(STREAM_RAW_MAX);
	s->packed = malloc(s->packed_room);
	s->payload = malloc(STREAM_RAW_MAX);
	s->old = malloc(STREAM_RANGE_BYTES);
	s->new = malloc(STREAM_RANGE_BYTES);
	s->moves = malloc(MOVES * sizeof(*s->moves));
	s->zstd = ZSTD_createCCtx();
	if (!s->packed || !s->payload || !s->old || !s->new || !s->moves || !s->zstd)
		return dmfmt_fail(s->ctx, -ENOMEM, "stream: no memory");
	return dmfmt_copier_open(s->ctx, &o, &s->copier);
}

static int send_all(struct sender *s)
{
	struct stream_counts_disk first;
	uint8_t digest[DMFMT_SHA256_BYTES];
	int ret = put_header(s);

	if (!ret)
		ret = each_range(s);
	if (!ret)
		ret = put_samples(s);
	if (!ret)
		ret = put_counts(s, STREAM_END_RANGES);
	if (ret)
		return ret;
	first = s->counts;
	memcpy(digest, s->digest, sizeof(digest));
	memset(&s->counts, 0, sizeof(s->counts));
	memset(s->digest, 0, sizeof(s->digest));
	s->data_pass = true;
	ret = each_range(s);
	if (!ret && (first.ranges != s->counts.ranges || memcmp(digest, s->digest, sizeof(digest))))
		ret = dmfmt_fail(s->ctx, -EIO, "%s: has changed while it was read, the stream is useless",
				 s->v->f->dev->path);
	return ret ? ret : put_counts(s, STREAM_END);
}

static int tell(const struct sender *s, dmfmt_field_fn fn, void *arg)
{
	const struct dmfmt_field all[] = {
		{ .name = "direction", .kind = DMFMT_STRING, .s = s->forward ? "forward" : "backward" },
		{ .name = "device_bytes", .u = s->v->size, .unit = DMFMT_UNIT_BYTES, .unit_bytes = 1 },
		{ .name = "nr_ranges", .u = s->counts.ranges },
		{ .name = "data_bytes", .u = s->counts.bytes, .unit = DMFMT_UNIT_BYTES, .unit_bytes = 1 },
		{ .name = "nr_samples", .u = s->samples },
		{ .name = "stream_bytes", .u = s->sent_bytes, .unit = DMFMT_UNIT_BYTES, .unit_bytes = 1 },
	};
	size_t i;
	int ret = 0;

	for (i = 0; !ret && i < sizeof(all) / sizeof(all[0]); i++)
		ret = fn(arg, &all[i]);
	return ret;
}

int dmfmt_send(struct dmfmt_view *v, int fd, unsigned flags, dmfmt_field_fn fn, void *arg)
{
	struct sender *s;
	int ret;

	if (!v)
		return -EINVAL;
	v->f->ctx->error[0] = '\0';
	if (flags != DMFMT_SEND_FORWARD && flags != DMFMT_SEND_BACKWARD)
		return dmfmt_fail(v->f->ctx, -EINVAL, "stream: expected one direction, forward or backward");
	s = calloc(1, sizeof(*s));
	if (!s)
		return dmfmt_fail(v->f->ctx, -ENOMEM, "stream: no memory");
	s->v = v;
	s->ctx = v->f->ctx;
	s->fd = fd;
	s->forward = flags == DMFMT_SEND_FORWARD;
	ret = set_up(s);
	if (!ret)
		ret = send_all(s);
	if (!ret && fn)
		ret = tell(s, fn, arg);
	dmfmt_copier_close(s->copier);
	ZSTD_freeCCtx(s->zstd);
	free(s->packed);
	free(s->payload);
	free(s->old);
	free(s->new);
	free(s->moves);
	free(s);
	return ret;
}
