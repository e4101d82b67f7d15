// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Metadata images for bug reports: one zstd frame around this stream, all numbers little endian.
 *
 *   header  64 bytes   magic, version, flags, device size, origin size, format name, CRC32C
 *   record  16 bytes   offset and length, then the bytes; ascending, not overlapping
 *     ...
 *   trailer 16 bytes   offset 2^64 - 1, length 0
 *           48 bytes   counts, CRC32C of everything before it
 *
 * What no record covers reads as zero.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>
#include "format.h"
#include "scramble.h"
#include "../format/crc32c.h"

#define IMAGE_MAGIC "DMFMTIMG"
#define IMAGE_VERSION 1u
#define HEADER_BYTES 64
#define RECORD_BYTES 16
#define TRAILER_BYTES 48
#define RECORD_MAX (1u << 20)	/* longest record; metadata() gives no longer pieces */
#define PIECE (64u << 10)
#define SECTOR 512u
#define JOIN 4096u		/* shorter runs of zeros are stored: zstd makes nothing of them */
#define WINDOW_LOG 21		/* 2 MiB: what a reader of the stream must hold */

/* what the header says */
struct image_head {
	uint32_t flags;		/* DMFMT_IMAGE_* */
	uint64_t device_bytes;
	uint64_t origin_sectors;	/* DMFMT_NONE: not known */
	char format[25];
};

/* what the trailer says */
struct image_counts {
	uint64_t records, bytes, zero_bytes, left_out, left_out_bytes;
};

static void put(uint8_t *p, uint64_t v, size_t len)
{
	while (len--) {
		*p++ = (uint8_t)v;
		v >>= 8;
	}
}

static uint64_t get(const uint8_t *p, size_t len)
{
	uint64_t v = 0;

	while (len--)
		v = v << 8 | p[len];
	return v;
}

static int say(dmfmt_field_fn fn, void *arg, const char *name, enum dmfmt_kind kind,
	       enum dmfmt_unit unit, uint64_t u)
{
	const struct dmfmt_field f = {
		.group = "image", .name = name, .kind = kind, .unit = unit,
		.unit_bytes = unit == DMFMT_UNIT_BYTES ? 1 : unit == DMFMT_UNIT_SECTORS ? 512 : 0,
		.u = u,
	};

	return fn(arg, &f);
}

static int say_head(const struct image_head *h, dmfmt_field_fn fn, void *arg)
{
	const struct dmfmt_field name = {
		.group = "image", .name = "format", .kind = DMFMT_STRING, .s = h->format,
	};
	int err;

	err = fn(arg, &name);
	if (!err)
		err = say(fn, arg, "device_bytes", DMFMT_U64, DMFMT_UNIT_BYTES, h->device_bytes);
	if (!err && h->origin_sectors != DMFMT_NONE)
		err = say(fn, arg, "origin_sectors", DMFMT_U64, DMFMT_UNIT_SECTORS, h->origin_sectors);
	if (!err)
		err = say(fn, arg, "obfuscated", DMFMT_BOOL, DMFMT_UNIT_NONE,
			  !!(h->flags & DMFMT_IMAGE_OBFUSCATE));
	if (!err)
		err = say(fn, arg, "includes_suspect", DMFMT_BOOL, DMFMT_UNIT_NONE,
			  !!(h->flags & DMFMT_IMAGE_INCLUDE_SUSPECT));
	return err;
}

static int say_counts(const struct image_counts *c, dmfmt_field_fn fn, void *arg)
{
	int err;

	err = say(fn, arg, "records", DMFMT_U64, DMFMT_UNIT_NONE, c->records);
	if (!err)
		err = say(fn, arg, "bytes", DMFMT_U64, DMFMT_UNIT_BYTES, c->bytes);
	if (!err)
		err = say(fn, arg, "zero_bytes", DMFMT_U64, DMFMT_UNIT_BYTES, c->zero_bytes);
	if (!err)
		err = say(fn, arg, "left_out", DMFMT_U64, DMFMT_UNIT_NONE, c->left_out);
	if (!err)
		err = say(fn, arg, "left_out_bytes", DMFMT_U64, DMFMT_UNIT_BYTES, c->left_out_bytes);
	return err;
}

/* ---- saving -------------------------------------------------------------------------------- */

struct saver {
	struct dmfmt *f;
	int fd;
	ZSTD_CCtx *zstd;
	void *out;
	size_t out_bytes;
	uint64_t written;	/* compressed */
	uint32_t crc;		/* of the stream so far */
	struct image_counts n;
	uint64_t end;		/* of the last piece, to hold the order */
	struct dmfmt_scramble *scramble;
	bool obfuscate, suspect_too;
	unsigned pass, nr_passes;
	int err;		/* of a map() call, which cannot return one */
};

static int write_all(struct saver *s, const uint8_t *p, size_t len)
{
	ssize_t n;

	while (len) {
		n = write(s->fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return dmfmt_fail(s->f->ctx, -errno, "image: write: %s", strerror(errno));
		p += n;
		len -= (size_t)n;
		s->written += (uint64_t)n;
	}
	return 0;
}

static int compress(struct saver *s, const void *buf, size_t len, ZSTD_EndDirective end)
{
	ZSTD_inBuffer in = { buf, len, 0 };
	ZSTD_outBuffer out;
	size_t left;
	int err;

	do {
		out = (ZSTD_outBuffer){ s->out, s->out_bytes, 0 };
		left = ZSTD_compressStream2(s->zstd, &out, &in, end);
		if (ZSTD_isError(left))
			return dmfmt_fail(s->f->ctx, -ENOMEM, "image: zstd: %s",
					  ZSTD_getErrorName(left));
		err = write_all(s, s->out, out.pos);
		if (err)
			return err;
	} while (in.pos < in.size || (end == ZSTD_e_end && left));
	return 0;
}

static int emit(struct saver *s, const void *buf, size_t len)
{
	s->crc = dmfmt_crc32c(s->crc, buf, len);
	return compress(s, buf, len, ZSTD_e_continue);
}

static int save_header(struct saver *s)
{
	uint8_t b[HEADER_BYTES] = IMAGE_MAGIC;
	uint32_t flags = (s->obfuscate ? DMFMT_IMAGE_OBFUSCATE : 0) |
			 (s->suspect_too ? DMFMT_IMAGE_INCLUDE_SUSPECT : 0);
	size_t len = strlen(s->f->format->name);

	put(b + 8, IMAGE_VERSION, 4);
	put(b + 12, flags, 4);
	put(b + 16, s->f->dev->size / SECTOR * SECTOR, 8);
	put(b + 24, s->f->origin_sectors, 8);
	memcpy(b + 32, s->f->format->name, len < 24 ? len : 24);
	put(b + 60, dmfmt_crc32c(0, b, 60), 4);
	return emit(s, b, sizeof(b));
}

static int save_record(struct saver *s, uint64_t off, const uint8_t *bytes, size_t len)
{
	uint8_t b[RECORD_BYTES];
	int err;

	put(b, off, 8);
	put(b + 8, len, 8);
	s->n.records++;
	s->n.bytes += len;
	err = emit(s, b, sizeof(b));
	return err ? err : emit(s, bytes, len);
}

static int save_trailer(struct saver *s)
{
	uint8_t b[RECORD_BYTES + TRAILER_BYTES] = { 0 };
	int err;

	put(b, DMFMT_NONE, 8);
	put(b + 16, s->n.records, 8);
	put(b + 24, s->n.bytes, 8);
	put(b + 32, s->n.zero_bytes, 8);
	put(b + 40, s->n.left_out, 8);
	put(b + 48, s->n.left_out_bytes, 8);
	err = emit(s, b, sizeof(b) - 8);
	if (err)
		return err;
	put(b + 56, s->crc, 4);
	return compress(s, b + 56, 8, ZSTD_e_end);
}

static bool all_zero(const uint8_t *p, size_t len)
{
	return !len || (!*p && !memcmp(p, p + 1, len - 1));
}

static size_t sector_at(size_t at, size_t len)
{
	return len - at < SECTOR ? len - at : SECTOR;
}

/* from @at: the next stretch that is worth storing, and where it ends */
static size_t next_stretch(const uint8_t *bytes, size_t len, size_t at, size_t *end)
{
	size_t zeros = 0, step;

	while (at < len && all_zero(bytes + at, sector_at(at, len)))
		at += sector_at(at, len);
	*end = at;
	for (step = at; step < len && zeros < JOIN;) {
		zeros = all_zero(bytes + step, sector_at(step, len)) ?
			zeros + sector_at(step, len) : 0;
		step += sector_at(step, len);
		if (!zeros)
			*end = step;
	}
	return at;
}

static int save_piece(struct saver *s, uint64_t off, const uint8_t *bytes, size_t len)
{
	size_t at = 0, end, from;
	int err;

	while (at < len) {
		from = next_stretch(bytes, len, at, &end);
		s->n.zero_bytes += from - at;
		at = end;
		if (from == end)
			break;
		err = save_record(s, off + from, bytes + from, end - from);
		if (err)
			return err;
	}
	return 0;
}

/* metadata() promises these; a family that breaks one would make an image that cannot be read */
static int in_order(struct saver *s, uint64_t off, size_t len)
{
	const struct dmfmt_dev *dev = s->f->dev;

	if (off < s->end || len > RECORD_MAX || off > dev->size || len > dev->size - off)
		return dmfmt_fail(s->f->ctx, -EINVAL, "image: %s: metadata at byte %llu is out of order",
				  dev->path, (unsigned long long)off);
	s->end = off + len;
	return dmfmt_progress_step(s->f->ctx, s->pass == s->nr_passes ? "saving" : "collecting",
				   s->pass, s->nr_passes, off, dev->size);
}

static uint64_t collect_addr(void *arg, uint64_t addr)
{
	struct saver *s = arg;

	if (!s->err)
		s->err = dmfmt_scramble_add(s->scramble, addr);
	return addr;
}

static int collect_range(void *arg, uint64_t off, void *bytes, size_t len, bool suspect)
{
	struct saver *s = arg;
	int err;

	err = in_order(s, off, len);
	if (!err && !suspect)
		err = s->f->format->obfuscate(s->f, off, bytes, len, collect_addr, s);
	return err ? err : s->err;
}

static uint64_t map_addr(void *arg, uint64_t addr)
{
	struct saver *s = arg;
	uint64_t to = 0;

	if (!s->err && !dmfmt_scramble_map(s->scramble, addr, &to))
		s->err = dmfmt_fail(s->f->ctx, -ESTALE, "image: %s: metadata changed while they were read",
				    s->f->dev->path);
	return to;
}

static int save_range(void *arg, uint64_t off, void *bytes, size_t len, bool suspect)
{
	struct saver *s = arg;
	int err;

	err = in_order(s, off, len);
	if (err)
		return err;
	if (suspect && !s->suspect_too) {
		s->n.left_out++;
		s->n.left_out_bytes += len;
		return 0;
	}
	if (s->obfuscate)
		err = s->f->format->obfuscate(s->f, off, bytes, len, map_addr, s);
	if (err || s->err)
		return err ? err : s->err;
	return save_piece(s, off, bytes, len);
}

static int collect(struct saver *s)
{
	uint64_t bounds[16];
	size_t nr = 0;
	int err;

	err = dmfmt_scramble_new(s->f->ctx, s->f->ctx->memory / 2, &s->scramble);
	if (!err)
		err = s->f->format->metadata(s->f, collect_range, s);
	if (err)
		return err;
	if (s->f->format->origin_bounds)
		nr = s->f->format->origin_bounds(s->f, bounds, sizeof(bounds) / sizeof(bounds[0]));
	s->end = 0;
	s->pass++;
	return dmfmt_scramble_seal(s->scramble, bounds, nr);
}

static int saver_init(struct saver *s)
{
	s->zstd = ZSTD_createCCtx();
	s->out_bytes = ZSTD_CStreamOutSize();
	s->out = malloc(s->out_bytes);
	if (!s->zstd || !s->out)
		return dmfmt_fail(s->f->ctx, -ENOMEM, "image: no memory");
	if (ZSTD_isError(ZSTD_CCtx_setParameter(s->zstd, ZSTD_c_compressionLevel, 6)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(s->zstd, ZSTD_c_windowLog, WINDOW_LOG)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(s->zstd, ZSTD_c_checksumFlag, 1)))
		return dmfmt_fail(s->f->ctx, -EINVAL, "image: zstd does not take its parameters");
	return 0;
}

static int save(struct saver *s)
{
	int err;

	err = saver_init(s);
	if (!err && s->obfuscate)
		err = collect(s);
	if (!err)
		err = save_header(s);
	if (!err)
		err = s->f->format->metadata(s->f, save_range, s);
	return err ? err : save_trailer(s);
}

static int say_saved(const struct saver *s, dmfmt_field_fn fn, void *arg)
{
	struct image_head h = {
		.flags = (s->obfuscate ? DMFMT_IMAGE_OBFUSCATE : 0) |
			 (s->suspect_too ? DMFMT_IMAGE_INCLUDE_SUSPECT : 0),
		.device_bytes = s->f->dev->size / SECTOR * SECTOR,
		.origin_sectors = s->f->origin_sectors,
	};
	size_t len = strlen(s->f->format->name);
	int err;

	memcpy(h.format, s->f->format->name, len < 24 ? len : 24);
	err = say_head(&h, fn, arg);
	if (!err)
		err = say_counts(&s->n, fn, arg);
	if (!err && s->obfuscate)
		err = say(fn, arg, "segments", DMFMT_U64, DMFMT_UNIT_NONE,
			  dmfmt_scramble_segments(s->scramble));
	return err ? err : say(fn, arg, "image_bytes", DMFMT_U64, DMFMT_UNIT_BYTES, s->written);
}

static int save_args(const struct dmfmt *f, unsigned flags)
{
	if (!f->format->metadata || ((flags & DMFMT_IMAGE_OBFUSCATE) && !f->format->obfuscate))
		return dmfmt_fail(f->ctx, -EINVAL, "image: %s has no such function", f->format->name);
	if (f->flags & DMFMT_OPEN_HEADER_ONLY)
		return dmfmt_fail(f->ctx, -EINVAL,
				  "image: %s: the handle was opened for its header only", f->dev->path);
	if (flags & ~(DMFMT_IMAGE_OBFUSCATE | DMFMT_IMAGE_INCLUDE_SUSPECT))
		return dmfmt_fail(f->ctx, -EINVAL, "image: flags 0x%x are not known", flags);
	if ((flags & DMFMT_IMAGE_OBFUSCATE) && (flags & DMFMT_IMAGE_INCLUDE_SUSPECT))
		return dmfmt_fail(f->ctx, -EINVAL,
				  "image: what does not decode cannot be obfuscated: ask for one of both");
	return 0;
}

int dmfmt_image_save(struct dmfmt *f, int fd, unsigned flags, dmfmt_field_fn fn, void *arg)
{
	struct saver s = {
		.f = f, .fd = fd, .pass = 1,
		.obfuscate = !!(flags & DMFMT_IMAGE_OBFUSCATE),
		.suspect_too = !!(flags & DMFMT_IMAGE_INCLUDE_SUSPECT),
	};
	int err;

	if (!f)
		return -EINVAL;
	f->ctx->error[0] = '\0';
	err = save_args(f, flags);
	if (err)
		return err;
	s.nr_passes = s.obfuscate ? 2 : 1;
	err = save(&s);
	if (!err && fn)
		err = say_saved(&s, fn, arg);
	ZSTD_freeCCtx(s.zstd);
	free(s.out);
	dmfmt_scramble_free(s.scramble);
	if (err < 0 && !f->ctx->error[0])
		dmfmt_fail(f->ctx, err, "image: %s: %s", f->dev->path, strerror(-err));
	return err;
}

/* ---- expanding ----------------------------------------------------------------------------- */

struct loader {
	struct dmfmt_ctx *ctx;
	struct dmfmt_dev *dev;	/* NULL: only verify */
	int fd;
	ZSTD_DCtx *zstd;
	uint8_t *in, *piece;
	size_t in_size;		/* room */
	ZSTD_inBuffer input;
	bool input_end, frame_end;
	uint64_t pos;		/* in the uncompressed stream */
	uint32_t crc;
	uint64_t end;		/* of the last record */
	struct image_head head;
	struct image_counts n, said;
	unsigned pass, nr_passes;
};

/* more compressed bytes, if there are any */
static int fill(struct loader *l)
{
	ssize_t n;

	do {
		n = read(l->fd, l->in, l->in_size);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return dmfmt_fail(l->ctx, -errno, "image: read: %s", strerror(errno));
	l->input = (ZSTD_inBuffer){ l->in, (size_t)n, 0 };
	l->input_end = !n;
	return 0;
}

static int damaged(struct loader *l, const char *what)
{
	return dmfmt_fail(l->ctx, -EILSEQ, "image: byte %llu of the stream: %s",
			  (unsigned long long)l->pos, what);
}

/* up to @len bytes; *got is less than @len only at the end of the frame */
static int pull(struct loader *l, void *buf, size_t len, size_t *got)
{
	ZSTD_outBuffer out = { buf, len, 0 };
	size_t before, rc;
	int err;

	while (out.pos < out.size && !l->frame_end) {
		if (l->input.pos == l->input.size && !l->input_end) {
			err = fill(l);
			if (err)
				return err;
		}
		before = out.pos;
		rc = ZSTD_decompressStream(l->zstd, &out, &l->input);
		if (ZSTD_isError(rc))
			return dmfmt_fail(l->ctx, -EILSEQ, l->pos || out.pos ?
					  "image: byte %llu of the stream: zstd: %s" :
					  "image: byte %llu: not an image of metadata (zstd: %s)",
					  (unsigned long long)(l->pos + out.pos), ZSTD_getErrorName(rc));
		l->frame_end = !rc;
		if (rc && l->input_end && out.pos == before)
			return damaged(l, "the file ends here, expected more");
	}
	*got = out.pos;
	l->pos += out.pos;
	return 0;
}

static int pull_all(struct loader *l, void *buf, size_t len)
{
	size_t got;
	int err;

	err = pull(l, buf, len, &got);
	if (!err && got < len)
		err = damaged(l, "the stream ends here, expected more");
	if (!err)
		l->crc = dmfmt_crc32c(l->crc, buf, len);
	return err;
}

static int load_header(struct loader *l)
{
	struct image_head *h = &l->head;
	uint8_t b[HEADER_BYTES];
	uint64_t version;
	int err;

	err = pull_all(l, b, sizeof(b));
	if (err)
		return err;
	if (memcmp(b, IMAGE_MAGIC, 8))
		return dmfmt_fail(l->ctx, -EILSEQ, "image: header: no magic " IMAGE_MAGIC
				  ", not an image of metadata");
	version = get(b + 8, 4);
	if (version != IMAGE_VERSION)
		return dmfmt_fail(l->ctx, -EOPNOTSUPP, "image: header: version %llu, expected %u",
				  (unsigned long long)version, IMAGE_VERSION);
	if (get(b + 60, 4) != dmfmt_crc32c(0, b, 60))
		return dmfmt_fail(l->ctx, -EILSEQ, "image: header: CRC32C 0x%08llx, expected 0x%08x",
				  (unsigned long long)get(b + 60, 4), dmfmt_crc32c(0, b, 60));
	h->flags = (uint32_t)get(b + 12, 4);
	h->device_bytes = get(b + 16, 8);
	h->origin_sectors = get(b + 24, 8);
	memcpy(h->format, b + 32, 24);
	if (!dmfmt_format_by_name(h->format))
		return dmfmt_fail(l->ctx, -EOPNOTSUPP, "image: header: format \"%s\" is not known",
				  h->format);
	if (h->device_bytes % SECTOR || h->device_bytes > INT64_MAX)
		return dmfmt_fail(l->ctx, -EILSEQ,
				  "image: header: device of %llu bytes, expected whole sectors",
				  (unsigned long long)h->device_bytes);
	return 0;
}

/* a record's numbers, before any of its bytes is believed */
static int bound_record(struct loader *l, uint64_t off, uint64_t len)
{
	if (off < l->end)
		return dmfmt_fail(l->ctx, -EILSEQ,
				  "image: record %llu: offset %llu, expected at least %llu",
				  (unsigned long long)l->n.records, (unsigned long long)off,
				  (unsigned long long)l->end);
	if (!len || len > RECORD_MAX)
		return dmfmt_fail(l->ctx, -EILSEQ, "image: record %llu: %llu bytes, expected 1 to %u",
				  (unsigned long long)l->n.records, (unsigned long long)len,
				  RECORD_MAX);
	if (off > l->head.device_bytes || len > l->head.device_bytes - off)
		return dmfmt_fail(l->ctx, -EILSEQ,
				  "image: record %llu: %llu bytes at offset %llu, past the end of the device (%llu bytes)",
				  (unsigned long long)l->n.records, (unsigned long long)len,
				  (unsigned long long)off,
				  (unsigned long long)l->head.device_bytes);
	return 0;
}

static int load_record(struct loader *l, uint64_t off, uint64_t len)
{
	size_t part;
	int err;

	err = bound_record(l, off, len);
	if (!err)
		err = dmfmt_progress_step(l->ctx, l->dev ? "expanding" : "verifying", l->pass,
					  l->nr_passes, off, l->head.device_bytes);
	if (err)
		return err;
	l->n.records++;
	l->n.bytes += len;
	l->end = off + len;
	while (len) {
		part = len < PIECE ? (size_t)len : PIECE;
		err = pull_all(l, l->piece, part);
		if (!err && l->dev)
			err = dmfmt_dev_write(l->dev, off, l->piece, part);
		if (err)
			return err;
		off += part;
		len -= part;
	}
	return 0;
}

static int load_trailer(struct loader *l)
{
	uint8_t b[TRAILER_BYTES], more;
	uint32_t crc;
	size_t got;
	int err;

	err = pull_all(l, b, TRAILER_BYTES - 8);
	crc = l->crc;
	if (!err)
		err = pull_all(l, b + TRAILER_BYTES - 8, 8);
	if (err)
		return err;
	l->said = (struct image_counts){ get(b, 8), get(b + 8, 8), get(b + 16, 8), get(b + 24, 8),
					 get(b + 32, 8) };
	if (get(b + 40, 8) != crc)
		return dmfmt_fail(l->ctx, -EILSEQ, "image: trailer: CRC32C 0x%08llx, expected 0x%08x",
				  (unsigned long long)get(b + 40, 8), crc);
	if (l->said.records != l->n.records || l->said.bytes != l->n.bytes)
		return dmfmt_fail(l->ctx, -EILSEQ,
				  "image: trailer: %llu records of %llu bytes, found %llu of %llu",
				  (unsigned long long)l->said.records,
				  (unsigned long long)l->said.bytes,
				  (unsigned long long)l->n.records, (unsigned long long)l->n.bytes);
	err = pull(l, &more, 1, &got);	/* lets zstd verify the frame's own checksum */
	if (!err && (got || l->input.pos < l->input.size))
		err = damaged(l, "there is more behind the trailer");
	return err;
}

static int load(struct loader *l)
{
	uint8_t b[RECORD_BYTES];
	int err;

	err = load_header(l);
	if (!err && l->dev)
		err = dmfmt_dev_truncate(l->dev, l->head.device_bytes);
	if (err)
		return err;
	for (;;) {
		err = pull_all(l, b, sizeof(b));
		if (err)
			return err;
		if (get(b, 8) == DMFMT_NONE && !get(b + 8, 8))
			return load_trailer(l);
		err = load_record(l, get(b, 8), get(b + 8, 8));
		if (err)
			return err;
	}
}

static int run_loader(struct loader *l, struct dmfmt_dev *dev)
{
	l->dev = dev;
	l->pass++;
	l->pos = l->end = l->crc = 0;
	l->n = (struct image_counts){ 0 };
	l->head = (struct image_head){ 0 };
	l->input = (ZSTD_inBuffer){ l->in, 0, 0 };
	l->input_end = l->frame_end = false;
	if (ZSTD_isError(ZSTD_DCtx_reset(l->zstd, ZSTD_reset_session_and_parameters)) ||
	    ZSTD_isError(ZSTD_DCtx_setParameter(l->zstd, ZSTD_d_windowLogMax, WINDOW_LOG + 2)))
		return dmfmt_fail(l->ctx, -EINVAL, "image: zstd does not take its parameters");
	return load(l);
}

/* An image in a file is verified before the first byte is written; one in a pipe while it is. */
static int expand(struct loader *l, struct dmfmt_dev *dev)
{
	off_t start = lseek(l->fd, 0, SEEK_CUR);
	int err;

	l->nr_passes = start < 0 ? 1 : 2;
	if (start >= 0) {
		err = run_loader(l, NULL);
		if (err)
			return err;
		if (lseek(l->fd, start, SEEK_SET) < 0)
			return dmfmt_fail(l->ctx, -errno, "image: seek: %s", strerror(errno));
	}
	err = run_loader(l, dev);
	return err ? err : dmfmt_dev_flush(dev);
}

int dmfmt_image_expand(struct dmfmt_ctx *ctx, int fd, struct dmfmt_dev *dev, dmfmt_field_fn fn,
		       void *arg)
{
	struct loader l = { .ctx = ctx, .fd = fd, .in_size = ZSTD_DStreamInSize() };
	int err;

	if (!ctx)
		return -EINVAL;
	ctx->error[0] = '\0';
	if (!dev)
		return dmfmt_fail(ctx, -EINVAL, "image: no device was given");
	l.zstd = ZSTD_createDCtx();
	l.in = malloc(l.in_size);
	l.piece = malloc(PIECE);
	err = l.zstd && l.in && l.piece ? expand(&l, dev) : dmfmt_fail(ctx, -ENOMEM, "image: no memory");
	if (!err && fn)
		err = say_head(&l.head, fn, arg);
	if (!err && fn)
		err = say_counts(&l.said, fn, arg);
	ZSTD_freeDCtx(l.zstd);
	free(l.in);
	free(l.piece);
	return err;
}
