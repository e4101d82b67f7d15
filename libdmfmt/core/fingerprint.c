// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Knowing an origin again.  A store does not say whose it is, so samples of the origin are noted when
 * the store is made; later those places are compared where the store holds nothing.  There nothing
 * but a write through the target can have changed the origin, and such a write leaves an exception:
 * a difference proves another device, or a write behind device-mapper's back.  Places that the store
 * holds prove nothing.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format.h"
#include "hash.h"
#include "../sys/probe.h"

#define SAMPLE_BYTES	4096u
#define SAMPLES_DEFAULT 4096u
#define SAMPLES_MAX	65536u	/* 3 MiB of them, and products of two such numbers fit easily */

/*
 * struct dmfmt_origin_proof - what the origin was
 * @covered: one bit per sample: the store holds some of its bytes
 */
struct dmfmt_origin_proof {
	size_t nr;
	uint8_t *covered;
	struct dmfmt_sample samples[];
};

/* ---- where --------------------------------------------------------------------------------- */

/* as many bits from (size, i) as there are: places that no pattern of writes keeps missing, and the
 * same ones for the same size everywhere */
static uint64_t mix(uint64_t size, uint64_t i)
{
	uint64_t x = size + (i + 1) * 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

static uint64_t nr_blocks(uint64_t size)
{
	return size / SAMPLE_BYTES + (size % SAMPLE_BYTES != 0);
}

/*
 * The device is cut into @nr shares as equal as can be, each gives one block:
 *
 *	|x.......|...x....|.x......|......x.|.......x|
 *	 the first                          the last
 */
static uint64_t place(uint64_t size, uint64_t nr, uint64_t i)
{
	uint64_t blocks = nr_blocks(size), each = blocks / nr, rest = blocks % nr;
	uint64_t start = i * each + i * rest / nr, end = (i + 1) * each + (i + 1) * rest / nr;

	if (i == 0)
		return 0;
	if (i == nr - 1)
		return (blocks - 1) * SAMPLE_BYTES;
	return (start + mix(size, i) % (end - start)) * SAMPLE_BYTES;
}

static uint32_t length_at(uint64_t size, uint64_t offset)
{
	return size - offset < SAMPLE_BYTES ? (uint32_t)(size - offset) : SAMPLE_BYTES;
}

/* ---- reading ------------------------------------------------------------------------------- */

/*
 * struct sampling - blocks of a device, hashed one after the other with the next ones on their way
 * @proof: these, where they are not covered; NULL: the places of a new fingerprint
 * @nr: how many; @ask: the next one that is read ahead, @i: that is handed out
 */
struct sampling {
	struct dmfmt_dev *dev;
	const struct dmfmt_origin_proof *proof;
	uint64_t size;
	size_t nr, ask, i;
};

static bool is_covered(const struct dmfmt_origin_proof *p, size_t i)
{
	return p->covered[i / 8] >> i % 8 & 1;
}

static size_t skip_covered(const struct sampling *s, size_t i)
{
	while (s->proof && i < s->nr && is_covered(s->proof, i))
		i++;
	return i;
}

static uint64_t offset_of(const struct sampling *s, size_t i)
{
	return s->proof ? s->proof->samples[i].offset : place(s->size, s->nr, i);
}

static int next_block(void *arg, uint64_t *off, uint64_t *len)
{
	struct sampling *s = arg;

	s->ask = skip_covered(s, s->ask);
	if (s->ask >= s->nr)
		return 0;
	*off = offset_of(s, s->ask);
	*len = s->proof ? s->proof->samples[s->ask].length : length_at(s->size, *off);
	s->ask++;
	return 1;
}

static int hash_block(struct dmfmt_stream *stream, struct sampling *s, struct dmfmt_sample *x)
{
	const void *buf;
	size_t len;
	int got = dmfmt_stream_next(stream, &buf, &x->offset, &len);

	if (got < 0)
		return dmfmt_fail(s->dev->ctx, got, "%s: sample at byte %" PRIu64 ": %s", s->dev->path,
				  x->offset, strerror(-got));
	if (!got)	/* it has become shorter */
		return dmfmt_fail(s->dev->ctx, -EIO, "%s: sample at byte %" PRIu64
				  ": found the end of the device", s->dev->path, offset_of(s, s->i));
	x->length = (uint32_t)len;
	dmfmt_sha256(buf, len, x->sha256);
	return 0;
}

static int each_block(struct sampling *s, int (*fn)(void *arg, size_t i, const struct dmfmt_sample *x),
		      void *arg)
{
	struct dmfmt_stream_opts o = { .next = next_block, .arg = s, .memory = 1 << 20 };
	struct dmfmt_stream *stream;
	struct dmfmt_sample x;
	int ret = dmfmt_stream_open(s->dev, &o, &stream);

	if (ret)
		return ret;
	for (s->i = skip_covered(s, 0); !ret && s->i < s->nr; s->i = skip_covered(s, s->i + 1)) {
		ret = hash_block(stream, s, &x);
		if (!ret)
			ret = fn(arg, s->i, &x);
		if (!ret)
			ret = dmfmt_progress_step(s->dev->ctx, "sampling", 1, 1, s->i + 1, s->nr);
	}
	dmfmt_stream_close(stream);
	return ret;
}

/* ---- taking a fingerprint ------------------------------------------------------------------ */

struct take {
	dmfmt_field_fn fn;
	int (*sample)(void *arg, const struct dmfmt_sample *s);
	void *arg;
};

static int give_sample(void *arg, size_t i, const struct dmfmt_sample *x)
{
	const struct take *t = arg;

	(void)i;
	return t->sample(t->arg, x);
}

static int give_string(const struct take *t, const char *name, const char *value)
{
	struct dmfmt_field f = { .name = name, .kind = DMFMT_STRING, .s = value };

	return value ? t->fn(t->arg, &f) : 0;
}

static int give_filesystem(void *arg, const char *type, const char *uuid)
{
	const struct take *t = arg;
	int ret = give_string(t, "fs_type", type);

	return ret ? ret : give_string(t, "fs_uuid", uuid);
}

static int take(struct dmfmt_dev *dev, size_t nr, struct take *t)
{
	struct dmfmt_field size = { .name = "size_sectors", .kind = DMFMT_U64, .u = dev->size / 512,
				    .unit = DMFMT_UNIT_SECTORS, .unit_bytes = 512 };
	struct sampling s = { .dev = dev, .size = dev->size / 512 * 512 };
	uint64_t blocks = nr_blocks(s.size);
	int ret = t->fn(t->arg, &size);

	if (!ret)
		ret = dmfmt_filesystem(dev, give_filesystem, t);
	s.nr = blocks < nr ? (size_t)blocks : nr;
	return ret ? ret : each_block(&s, give_sample, t);
}

int dmfmt_fingerprint(struct dmfmt_ctx *ctx, struct dmfmt_dev *dev, size_t nr, dmfmt_field_fn fn,
		      int (*sample)(void *arg, const struct dmfmt_sample *s), void *arg)
{
	struct take t = { .fn = fn, .sample = sample, .arg = arg };
	int ret;

	if (!ctx || !dev || !fn || !sample)
		return -EINVAL;
	ctx->error[0] = '\0';
	if (nr > SAMPLES_MAX)
		return dmfmt_fail(ctx, -EINVAL, "%s: fingerprint: found %zu samples, expected at most %u",
				  dev->path, nr, SAMPLES_MAX);
	if (!dev->size)
		return dmfmt_fail(ctx, -ERANGE, "%s: fingerprint: the device has no sector", dev->path);
	ret = take(dev, nr ? nr : SAMPLES_DEFAULT, &t);
	if (ret < 0 && !ctx->error[0])
		dmfmt_fail(ctx, ret, "%s: fingerprint: %s", dev->path, strerror(-ret));
	return ret;
}

/* ---- comparing ----------------------------------------------------------------------------- */

void dmfmt_free_proof(struct dmfmt *f)
{
	if (f->proof)
		free(f->proof->covered);
	free(f->proof);
	f->proof = NULL;
}

/* ascending, none overlapping the next, all on the device */
static int check_samples(struct dmfmt *f, const struct dmfmt_sample *v, size_t nr)
{
	uint64_t size = f->origin_sectors * 512, end = 0;
	size_t i;

	if (nr > SAMPLES_MAX)
		return dmfmt_fail(f->ctx, -EINVAL,
				  "fingerprint: found %zu samples, expected at most %u", nr, SAMPLES_MAX);
	for (i = 0; i < nr; i++) {
		if (v[i].offset < end || v[i].offset >= size || v[i].length < 1 ||
		    v[i].length > SAMPLE_BYTES || v[i].length > size - v[i].offset)
			return dmfmt_fail(f->ctx, -EINVAL,
					  "fingerprint: sample %zu: %" PRIu32 " bytes at %" PRIu64
					  ", expected 1 to %u from %" PRIu64 " on and before %" PRIu64, i,
					  v[i].length, v[i].offset, SAMPLE_BYTES, end, size);
		end = v[i].offset + v[i].length;
	}
	return 0;
}

static struct dmfmt_origin_proof *new_proof(const struct dmfmt_sample *samples, size_t nr)
{
	struct dmfmt_origin_proof *p = malloc(sizeof(*p) + nr * sizeof(p->samples[0]));

	if (!p)
		return NULL;
	p->nr = nr;
	p->covered = malloc(nr / 8 + 1);
	if (!p->covered) {
		free(p);
		return NULL;
	}
	if (nr)
		memcpy(p->samples, samples, nr * sizeof(p->samples[0]));
	return p;
}

int dmfmt_set_fingerprint(struct dmfmt *f, uint64_t size_sectors, const struct dmfmt_sample *samples,
			  size_t nr)
{
	struct dmfmt_origin_proof *p;
	int ret;

	if (!f || (!samples && nr))
		return -EINVAL;
	f->ctx->error[0] = '\0';
	if (!f->origin)
		return dmfmt_fail(f->ctx, -EINVAL, "%s: fingerprint: no origin is set", f->dev->path);
	if (f->origin_sectors != size_sectors)
		return dmfmt_fail(f->ctx, -EUCLEAN, "%s: origin differs from its fingerprint: found %" PRIu64
				  " sectors, expected %" PRIu64, f->origin->path, f->origin_sectors,
				  size_sectors);
	ret = check_samples(f, samples, nr);
	if (ret)
		return ret;
	p = new_proof(samples, nr);
	if (!p)
		return dmfmt_fail(f->ctx, -ENOMEM, "fingerprint: no memory for %zu samples", nr);
	dmfmt_free_proof(f);
	f->proof = p;
	f->sound = false;
	return 0;
}

/* the first sample that ends behind byte @off */
static size_t first_behind(const struct dmfmt_origin_proof *p, uint64_t off)
{
	size_t lo = 0, hi = p->nr;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (p->samples[mid].offset + p->samples[mid].length <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int cover(void *arg, const struct dmfmt_extent *e, size_t nr)
{
	struct dmfmt_origin_proof *p = arg;

	for (; nr; nr--, e++) {
		size_t i = first_behind(p, e->to);

		/* to + length may wrap where the origin's end is not known */
		for (; i < p->nr && (p->samples[i].offset < e->to ||
				     p->samples[i].offset - e->to < e->length); i++)
			p->covered[i / 8] |= (uint8_t)(1u << i % 8);
	}
	return 0;
}

struct compare {
	struct dmfmt *f;
	const struct dmfmt_origin_proof *proof;
};

static int compare(void *arg, size_t i, const struct dmfmt_sample *x)
{
	const struct compare *c = arg;
	const struct dmfmt_sample *want = &c->proof->samples[i];

	if (x->offset == want->offset && x->length == want->length &&
	    !memcmp(x->sha256, want->sha256, sizeof(x->sha256)))
		return 0;
	return dmfmt_fail(c->f->ctx, -EUCLEAN,
			  "%s: origin differs from its fingerprint at sector %" PRIu64
			  " where the store holds nothing: another device, or written behind device-mapper's back",
			  c->f->origin->path, want->offset / 512);
}

int dmfmt_check_proof(struct dmfmt *f)
{
	struct dmfmt_origin_proof *p = f->proof;
	struct sampling s = { .dev = f->origin, .proof = p, .nr = p ? p->nr : 0 };
	struct compare c = { .f = f, .proof = p };
	int ret;

	if (!p)
		return 0;
	if (!f->format->extents)
		return dmfmt_fail(f->ctx, -EOPNOTSUPP,
				  "%s: fingerprint: %s does not say what it holds", f->dev->path,
				  f->format->name);
	memset(p->covered, 0, p->nr / 8 + 1);
	ret = f->format->extents(f, cover, p);
	if (ret)
		return ret;
	return each_block(&s, compare, &c);
}
