// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Applying a stream.  Its first half says what is there and what will be; all of that is compared
 * before the first write.  Of each batch remain a hash and a bit per range ("holds the new bytes
 * already"), so the second half can only bring what the first has announced.
 *
 * The stream is not trusted: every number is bounded before use, and what its checksums do not hold is
 * refused.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>
#include "../format/crc32c.h"
#include "../io/dev.h"
#include "core.h"
#include "send_format.h"

/* what is kept of a batch */
struct batch {
	uint8_t sha256[DMFMT_SHA256_BYTES];
	uint16_t nr;
	uint8_t there[STREAM_BATCH_RANGES / 8];
};

struct receiver {
	struct dmfmt_ctx *ctx;
	struct dmfmt_dev *dev;
	int fd;
	uint64_t seq;
	bool forward;
	ZSTD_DCtx *zstd;
	uint8_t *stored, *raw;	/* STREAM_RAW_MAX each */
	uint32_t type, raw_len;
	uint8_t *have;		/* STREAM_RANGE_BYTES: what the device holds */

	struct batch *batches;
	size_t nr_batches, room, at;
	uint64_t last_end;	/* ranges ascend */
	uint64_t ranges, bytes, samples, skipped, written_ranges, written_bytes;
	uint8_t digest[2 * DMFMT_SHA256_BYTES];
};

/* ---- reading ---------------------------------------------------------------------------------- */

static int damaged(struct receiver *r, const char *what)
{
	return dmfmt_fail(r->ctx, -EILSEQ, "stream: record %" PRIu64 ": %s", r->seq, what);
}

static int get(struct receiver *r, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = read(r->fd, (char *)buf + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return dmfmt_fail(r->ctx, -errno, "stream: cannot be read: %s", strerror(errno));
		if (!n) {
			return dmfmt_fail(r->ctx, -ENODATA,
					  "stream: ends in record %" PRIu64 ", expected more", r->seq);
		}
		done += (size_t)n;
	}
	return 0;
}

static int get_header(struct receiver *r)
{
	struct stream_header_disk h;
	uint32_t direction;
	int ret = get(r, &h, sizeof(h));

	if (ret)
		return ret;
	if (memcmp(h.magic, STREAM_MAGIC, sizeof(h.magic)))
		return dmfmt_fail(r->ctx, -EILSEQ, "stream: does not begin with %s", STREAM_MAGIC);
	if (le32toh(h.crc32c) != dmfmt_crc32c(0, &h, sizeof(h) - sizeof(h.crc32c)))
		return dmfmt_fail(r->ctx, -EILSEQ, "stream: header: checksum is wrong");
	if (le32toh(h.version) != STREAM_VERSION || le32toh(h.header_bytes) != sizeof(h))
		return dmfmt_fail(r->ctx, -EOPNOTSUPP, "stream: version is %u, expected %u",
				  le32toh(h.version), STREAM_VERSION);
	direction = le32toh(h.direction);
	if (direction != STREAM_FORWARD && direction != STREAM_BACKWARD)
		return dmfmt_fail(r->ctx, -EILSEQ, "stream: header: direction is %u", direction);
	r->forward = direction == STREAM_FORWARD;
	if (le64toh(h.device_bytes) != r->dev->size)
		return dmfmt_fail(r->ctx, -ESTALE, "%s: has %" PRIu64 " bytes, expected %" PRIu64
				  " as the stream says", r->dev->path, r->dev->size,
				  le64toh(h.device_bytes));
	return 0;
}

static int unpack(struct receiver *r, uint32_t len)
{
	size_t n;

	if (len == r->raw_len) {
		memcpy(r->raw, r->stored, len);
		return 0;
	}
	n = ZSTD_decompressDCtx(r->zstd, r->raw, r->raw_len, r->stored, len);
	return ZSTD_isError(n) || n != r->raw_len ? damaged(r, "does not unpack") : 0;
}

static int get_record(struct receiver *r)
{
	struct stream_record_disk d;
	uint32_t len;
	int ret = get(r, &d, sizeof(d));

	if (ret)
		return ret;
	if (le32toh(d.crc32c) != dmfmt_crc32c(0, &d, sizeof(d) - sizeof(d.crc32c)))
		return damaged(r, "checksum of its head is wrong");
	if (le64toh(d.seq) != r->seq)
		return damaged(r, "has another number");
	r->type = le32toh(d.type);
	r->raw_len = le32toh(d.raw_len);
	len = le32toh(d.len);
	if (!len || len > r->raw_len || r->raw_len > STREAM_RAW_MAX)
		return damaged(r, "has an impossible length");
	ret = get(r, r->stored, len);
	if (ret)
		return ret;
	if (le32toh(d.payload_crc32c) != dmfmt_crc32c(0, r->stored, len))
		return damaged(r, "checksum is wrong");
	ret = unpack(r, len);
	r->seq++;
	return ret;
}

/* ---- the first half ----------------------------------------------------------------------------- */

static bool inside(const struct receiver *r, uint64_t offset, uint32_t len)
{
	return len && !(offset % 512) && offset <= r->dev->size && len <= r->dev->size - offset;
}

static int not_the_state(struct receiver *r, const char *what, uint64_t offset, uint32_t len)
{
	return dmfmt_fail(r->ctx, -ESTALE,
			  "%s: offset %" PRIu64 ": %u bytes are not what the stream %s, expected a device in the state that it starts from",
			  r->dev->path, offset, len, what);
}

/* *there: the new bytes are; else the old ones */
static int look_at(struct receiver *r, const struct stream_range_disk *d, bool *there)
{
	uint64_t offset = le64toh(d->offset);
	uint32_t len = le32toh(d->len);
	uint8_t sha256[DMFMT_SHA256_BYTES];
	int ret;

	if (len > STREAM_RANGE_BYTES || len % 512 || !inside(r, offset, len) || offset < r->last_end)
		return damaged(r, "has an impossible range");
	r->last_end = offset + len;
	ret = dmfmt_dev_read(r->dev, offset, r->have, len);
	if (ret)
		return ret;
	dmfmt_sha256(r->have, len, sha256);
	*there = !memcmp(sha256, d->new_sha256, sizeof(sha256));
	if (!*there && memcmp(sha256, d->old_sha256, sizeof(sha256)))
		return not_the_state(r, "replaces or brings", offset, len);
	return 0;
}

static int new_batch(struct receiver *r)
{
	if (r->nr_batches == r->room) {
		size_t room = r->room ? 2 * r->room : 256;
		struct batch *b;

		if ((uint64_t)room * sizeof(*b) > r->ctx->memory / 2)
			return dmfmt_fail(r->ctx, -ENOMEM,
					  "stream: more than %zu batches, expected a larger memory limit (--memory)",
					  r->nr_batches);
		b = reallocarray(r->batches, room, sizeof(*b));
		if (!b)
			return dmfmt_fail(r->ctx, -ENOMEM, "stream: no memory for %zu batches", room);
		r->batches = b;
		r->room = room;
	}
	r->batches[r->nr_batches] = (struct batch){ .nr = 0 };
	return 0;
}

static int on_ranges(struct receiver *r)
{
	const struct stream_range_disk *d = (const void *)r->raw;
	struct stream_piece_disk pieces[STREAM_BATCH_RANGES] = { 0 };
	size_t i, nr = r->raw_len / sizeof(*d);
	uint64_t bytes = 0;
	struct batch *b;
	int ret;

	if (!nr || r->raw_len % sizeof(*d) || nr > STREAM_BATCH_RANGES)
		return damaged(r, "has an impossible number of ranges");
	ret = new_batch(r);
	if (ret)
		return ret;
	b = &r->batches[r->nr_batches++];
	b->nr = (uint16_t)nr;
	for (i = 0; i < nr; i++) {
		bool there;

		ret = look_at(r, &d[i], &there);
		if (ret)
			return ret;
		b->there[i / 8] |= (uint8_t)(there << i % 8);
		pieces[i].offset = d[i].offset;
		pieces[i].len = d[i].len;
		memcpy(pieces[i].sha256, d[i].new_sha256, sizeof(pieces[i].sha256));
		bytes += le32toh(d[i].len);
	}
	if (bytes > STREAM_BATCH_BYTES)
		return damaged(r, "has too much data");
	pieces[0].nr = htole32((uint32_t)nr);
	dmfmt_sha256(pieces, nr * sizeof(*pieces), b->sha256);
	memcpy(r->digest + DMFMT_SHA256_BYTES, b->sha256, sizeof(b->sha256));
	dmfmt_sha256(r->digest, sizeof(r->digest), r->digest);
	r->ranges += nr;
	r->bytes += bytes;
	return dmfmt_progress_step(r->ctx, "comparing", 1, 2, r->last_end, r->dev->size);
}

static int on_samples(struct receiver *r)
{
	const struct stream_piece_disk *d = (const void *)r->raw;
	size_t i, nr = r->raw_len / sizeof(*d);
	uint8_t sha256[DMFMT_SHA256_BYTES];
	int ret;

	if (!nr || r->raw_len % sizeof(*d) || nr > STREAM_SAMPLES_BATCH ||
	    r->samples + nr > STREAM_SAMPLES_MAX)
		return damaged(r, "has an impossible number of samples");
	for (i = 0; i < nr; i++) {
		uint64_t offset = le64toh(d[i].offset);
		uint32_t len = le32toh(d[i].len);

		if (len > STREAM_SAMPLE_BYTES || !inside(r, offset, len))
			return damaged(r, "has an impossible sample");
		ret = dmfmt_dev_read(r->dev, offset, r->have, len);
		if (ret)
			return ret;
		dmfmt_sha256(r->have, len, sha256);
		if (memcmp(sha256, d[i].sha256, sizeof(sha256)))
			return not_the_state(r, "leaves alone", offset, len);
	}
	r->samples += nr;
	return 0;
}

static int check_counts(struct receiver *r)
{
	const struct stream_counts_disk *c = (const void *)r->raw;

	if (r->raw_len != sizeof(*c) || le64toh(c->batches) != r->nr_batches ||
	    le64toh(c->ranges) != r->ranges || le64toh(c->bytes) != r->bytes ||
	    le64toh(c->samples) != r->samples || memcmp(c->sha256, r->digest, sizeof(c->sha256)))
		return damaged(r, "its counts are not those of the stream");
	return 0;
}

static int first_half(struct receiver *r)
{
	int ret;

	for (;;) {
		ret = get_record(r);
		if (ret)
			return ret;
		switch (r->type) {
		case STREAM_RANGES:
			ret = r->samples ? damaged(r, "ranges stand behind samples") : on_ranges(r);
			break;
		case STREAM_SAMPLES:
			ret = on_samples(r);
			break;
		case STREAM_END_RANGES:
			return check_counts(r);
		default:
			ret = damaged(r, "is not expected here");
		}
		if (ret)
			return ret;
	}
}

/* ---- the second half ---------------------------------------------------------------------------- */

static int apply_piece(struct receiver *r, const struct stream_piece_disk *p, const uint8_t *bytes,
		       bool there)
{
	uint32_t len = le32toh(p->len);
	uint8_t sha256[DMFMT_SHA256_BYTES];
	int ret;

	dmfmt_sha256(bytes, len, sha256);
	if (memcmp(sha256, p->sha256, sizeof(sha256)))
		return damaged(r, "its data are not those that were announced");
	if (there) {
		r->skipped++;
		return 0;
	}
	ret = dmfmt_dev_write(r->dev, le64toh(p->offset), bytes, len);
	if (!ret) {
		r->written_ranges++;
		r->written_bytes += len;
	}
	return ret;
}

static int on_data(struct receiver *r)
{
	const struct stream_piece_disk *p = (const void *)r->raw;
	const struct batch *b = &r->batches[r->at];
	uint8_t sha256[DMFMT_SHA256_BYTES];
	size_t i, at;
	int ret = 0;

	if (r->at == r->nr_batches || r->raw_len < b->nr * sizeof(*p))
		return damaged(r, "is not expected here");
	dmfmt_sha256(p, b->nr * sizeof(*p), sha256);
	if (memcmp(sha256, b->sha256, sizeof(sha256)))
		return damaged(r, "its ranges are not those that were announced");
	for (i = 0, at = b->nr * sizeof(*p); i < b->nr; i++)
		at += le32toh(p[i].len);
	if (at != r->raw_len)
		return damaged(r, "has an impossible length");
	for (i = 0, at = b->nr * sizeof(*p); !ret && i < b->nr; i++) {
		ret = apply_piece(r, &p[i], r->raw + at, b->there[i / 8] >> i % 8 & 1);
		at += le32toh(p[i].len);
	}
	r->at++;
	return ret ? ret : dmfmt_progress_step(r->ctx, "receiving", 2, 2, r->at, r->nr_batches);
}

static int second_half(struct receiver *r)
{
	int ret;

	for (;;) {
		ret = get_record(r);
		if (ret)
			return ret;
		if (r->type == STREAM_END)
			return r->at == r->nr_batches ? check_counts(r) :
			       damaged(r, "the end comes too early");
		if (r->type != STREAM_DATA)
			return damaged(r, "is not expected here");
		ret = on_data(r);
		if (ret)
			return ret;
	}
}

/* ---- the whole ---------------------------------------------------------------------------------- */

static int set_up(struct receiver *r)
{
	void *p = NULL;

	r->stored = malloc(STREAM_RAW_MAX);
	r->raw = malloc(STREAM_RAW_MAX);
	r->zstd = ZSTD_createDCtx();
	if (!posix_memalign(&p, 4096, STREAM_RANGE_BYTES))
		r->have = p;
	if (!r->stored || !r->raw || !r->zstd || !r->have)
		return dmfmt_fail(r->ctx, -ENOMEM, "stream: no memory");
	return 0;
}

static int receive(struct receiver *r, bool verify_only)
{
	char why[sizeof(r->ctx->error)];
	int ret = get_header(r), err;

	if (!ret)
		ret = first_half(r);
	if (ret || verify_only)
		return ret;
	ret = second_half(r);
	if (!r->written_ranges || r->dev->failed)
		return ret;
	/* also what came before a stream broke off */
	memcpy(why, r->ctx->error, sizeof(why));
	err = dmfmt_dev_flush(r->dev);
	if (err)
		return ret ? ret : err;
	memcpy(r->ctx->error, why, sizeof(why));
	return ret;
}

static int tell(const struct receiver *r, dmfmt_field_fn fn, void *arg)
{
	const struct dmfmt_field all[] = {
		{ .name = "direction", .kind = DMFMT_STRING, .s = r->forward ? "forward" : "backward" },
		{ .name = "device_bytes", .u = r->dev->size, .unit = DMFMT_UNIT_BYTES, .unit_bytes = 1 },
		{ .name = "nr_ranges", .u = r->ranges },
		{ .name = "data_bytes", .u = r->bytes, .unit = DMFMT_UNIT_BYTES, .unit_bytes = 1 },
		{ .name = "nr_samples", .u = r->samples },
		{ .name = "ranges_written", .u = r->written_ranges },
		{ .name = "ranges_already_there", .u = r->skipped },
		{ .name = "written_bytes", .u = r->written_bytes, .unit = DMFMT_UNIT_BYTES,
		  .unit_bytes = 1 },
	};
	size_t i;
	int ret = 0;

	for (i = 0; !ret && i < sizeof(all) / sizeof(all[0]); i++)
		ret = fn(arg, &all[i]);
	return ret;
}

int dmfmt_receive(struct dmfmt_ctx *ctx, int fd, struct dmfmt_dev *dev, unsigned flags,
		  dmfmt_field_fn fn, void *arg)
{
	struct receiver r = { .ctx = ctx, .dev = dev, .fd = fd };
	int ret;

	if (!ctx || !dev)
		return -EINVAL;
	ctx->error[0] = '\0';
	if (flags & ~DMFMT_RECEIVE_VERIFY_ONLY)
		return dmfmt_fail(ctx, -EINVAL, "stream: flags 0x%x are not known", flags);
	ret = set_up(&r);
	if (!ret)
		ret = receive(&r, flags & DMFMT_RECEIVE_VERIFY_ONLY);
	if (!ret && fn)
		ret = tell(&r, fn, arg);
	ZSTD_freeDCtx(r.zstd);
	free(r.stored);
	free(r.raw);
	free(r.have);
	free(r.batches);
	return ret;
}
