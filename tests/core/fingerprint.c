// SPDX-License-Identifier: GPL-2.0-or-later
/* Fingerprints: where the samples lie, and what their comparison proves. */
#include <errno.h>
#include <stdlib.h>

#include "../lib/tap.h"
#include "../../libdmfmt/core/hash.h"
#include "../../libdmfmt/dmfmt.h"

#define SAMPLES_MAX 65536
#define STORE_SECTORS 160
#define CHUNK_BYTES 4096
#define ORIGIN_BYTES (4096 * 1024 + 1536)

struct taken {
	struct dmfmt_sample v[SAMPLES_MAX];
	size_t nr;
	uint64_t size_sectors;
	unsigned fields;
};

static struct dmfmt_ctx *ctx;
static struct taken one, two;

static int on_field(void *arg, const struct dmfmt_field *f)
{
	struct taken *t = arg;

	t->fields++;
	if (!strcmp(f->name, "size_sectors"))
		t->size_sectors = f->u;
	return 0;
}

static int on_sample(void *arg, const struct dmfmt_sample *s)
{
	struct taken *t = arg;

	CHECK(t->nr < SAMPLES_MAX);
	t->v[t->nr++] = *s;
	return 0;
}

static int take(struct dmfmt_dev *dev, size_t nr, struct taken *t)
{
	memset(t, 0, sizeof(*t));
	return dmfmt_fingerprint(ctx, dev, nr, on_field, on_sample, t);
}

static uint8_t *random_bytes(size_t bytes)
{
	uint64_t x = 88172645463325252ull;
	uint8_t *p = malloc(bytes);
	size_t i;

	for (i = 0; i < bytes; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p[i] = (uint8_t)x;
	}
	return p;
}

/* ---- places -------------------------------------------------------------------------------- */

static void check_places(const uint8_t *bytes, uint64_t size, size_t nr)
{
	uint64_t blocks = (size + 4095) / 4096, widest = 0;
	uint8_t hash[DMFMT_SHA256_BYTES];
	size_t i;

	EQ(one.size_sectors, size / 512);
	EQ(one.nr, blocks < nr ? blocks : nr);
	EQ(one.v[0].offset, 0);
	if (nr > 1)
		EQ(one.v[one.nr - 1].offset, (blocks - 1) * 4096);
	for (i = 0; i < one.nr; i++) {
		const struct dmfmt_sample *s = &one.v[i];

		EQ(s->offset % 4096, 0);
		EQ(s->length, size - s->offset < 4096 ? size - s->offset : 4096);
		if (i) {
			CHECK(s->offset > one.v[i - 1].offset);
			if (s->offset - one.v[i - 1].offset > widest)
				widest = s->offset - one.v[i - 1].offset;
		}
		dmfmt_sha256(bytes + s->offset, s->length, hash);
		CHECK(!memcmp(hash, s->sha256, sizeof(hash)));
	}
	/* evenly: no gap is wider than two shares */
	if (one.nr > 1)
		CHECK(widest <= 2 * (blocks / one.nr + 1) * 4096);
}

static void places(void)
{
	static const uint64_t sizes[] = { 512, 4096, 4608, 8192, 12288, 40960, 1 << 20, ORIGIN_BYTES };
	static const size_t nrs[] = { 1, 2, 3, 7, 64, 1000, 4096 };
	uint8_t *bytes = random_bytes(ORIGIN_BYTES);
	struct dmfmt_dev *dev;
	size_t i, j;

	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		EQ(dmfmt_dev_open_buffer(ctx, bytes, sizes[i], &dev), 0);
		for (j = 0; j < sizeof(nrs) / sizeof(nrs[0]); j++) {
			EQ(take(dev, nrs[j], &one), 0);
			check_places(bytes, sizes[i], nrs[j]);
		}
		EQ(take(dev, 0, &one), 0);
		check_places(bytes, sizes[i], 4096);
		dmfmt_dev_close(dev);
	}
	free(bytes);
}

static void places_come_from_the_size_alone(void)
{
	uint8_t *a = random_bytes(ORIGIN_BYTES), *b = calloc(1, ORIGIN_BYTES);
	struct dmfmt_dev *x, *y;
	unsigned regular = 0;
	size_t i;

	EQ(dmfmt_dev_open_buffer(ctx, a, ORIGIN_BYTES, &x), 0);
	EQ(dmfmt_dev_open_buffer(ctx, b, ORIGIN_BYTES, &y), 0);
	EQ(take(x, 100, &one), 0);
	EQ(take(y, 100, &two), 0);
	EQ(one.nr, two.nr);
	for (i = 0; i < one.nr; i++) {
		EQ(one.v[i].offset, two.v[i].offset);
		CHECK(memcmp(one.v[i].sha256, two.v[i].sha256, 32));
		if (i > 1)
			regular += one.v[i].offset - one.v[i - 1].offset ==
				   one.v[i - 1].offset - one.v[i - 2].offset;
	}
	/* jitter: what is written every so many bytes is not missed for ever */
	CHECK(regular < 40);
	EQ(take(x, SAMPLES_MAX + 1, &one), -EINVAL);
	EQ(one.nr, 0);
	dmfmt_dev_close(x);
	dmfmt_dev_close(y);
	free(a);
	free(b);
}

/* ---- comparing ----------------------------------------------------------------------------- */

struct stage {
	uint8_t *store, *origin;
	struct dmfmt_dev *s, *o;
	struct dmfmt *f;
};

static void put_le64(uint8_t *p, uint64_t v)
{
	unsigned i;

	for (i = 0; i < 8; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

/* a store that holds the chunks @old (ending with DMFMT_NONE) */
static void set_up(struct stage *g, const uint64_t *old)
{
	unsigned i;

	g->store = calloc(STORE_SECTORS, 512);
	g->origin = random_bytes(ORIGIN_BYTES);
	memcpy(g->store, "\x53\x6e\x41\x70\x01\0\0\0\x01\0\0\0\x08", 13);
	for (i = 0; old[i] != DMFMT_NONE; i++) {
		put_le64(g->store + 4096 + 16 * i, old[i]);
		put_le64(g->store + 4096 + 16 * i + 8, 2 + i);
	}
	EQ(dmfmt_dev_open_buffer(ctx, g->store, STORE_SECTORS * 512, &g->s), 0);
	EQ(dmfmt_dev_open_buffer(ctx, g->origin, ORIGIN_BYTES, &g->o), 0);
	EQ(dmfmt_open(ctx, g->s, "snapshot", 0, &g->f), 0);
	EQ(dmfmt_set_origin(g->f, g->o), 0);
}

static void tear_down(struct stage *g)
{
	dmfmt_close(g->f);
	dmfmt_dev_close(g->s);
	dmfmt_dev_close(g->o);
	free(g->store);
	free(g->origin);
}

/* what a command that moves data would get */
static int prove(struct stage *g)
{
	struct dmfmt_writeback_opts o = { .size = sizeof(o), .flags = DMFMT_WRITEBACK_DRY_RUN };

	EQ(dmfmt_set_fingerprint(g->f, one.size_sectors, one.v, one.nr), 0);
	return dmfmt_writeback(g->f, &o, NULL);
}

static void a_change_outside_is_seen(void)
{
	static const uint64_t old[] = { 3, 4, 700, 1024, DMFMT_NONE };
	uint64_t chunk, k;
	struct stage g;

	set_up(&g, old);
	EQ(take(g.o, 0, &one), 0);
	EQ(one.nr, 1025);
	EQ(prove(&g), 0);
	/* all of the device is sampled here: every chunk, at its first, a middle and its last byte */
	for (chunk = 0; chunk <= 1024; chunk++) {
		bool held = chunk == 3 || chunk == 4 || chunk == 700 || chunk == 1024;
		uint64_t len = chunk == 1024 ? 1536 : CHUNK_BYTES;
		uint64_t at[] = { 0, 700, len - 1 };

		for (k = 0; k < 3; k++) {
			uint8_t *byte = g.origin + chunk * CHUNK_BYTES + at[k];

			*byte ^= 1;
			EQ(prove(&g), held ? 0 : -EUCLEAN);
			if (!held) {
				char where[64];

				snprintf(where, sizeof(where), "at sector %" PRIu64 " ", chunk * 8);
				CHECK(strstr(dmfmt_ctx_error(ctx), "differs from its fingerprint"));
				CHECK(strstr(dmfmt_ctx_error(ctx), where));
			}
			*byte ^= 1;
		}
	}
	EQ(prove(&g), 0);
	tear_down(&g);
}

static void what_lies_between_samples_is_not(void)
{
	static const uint64_t old[] = { DMFMT_NONE };
	struct stage g;
	uint64_t gap;

	set_up(&g, old);
	EQ(take(g.o, 5, &one), 0);
	gap = one.v[1].offset + one.v[1].length;
	CHECK(gap < one.v[2].offset);
	g.origin[gap] ^= 1;
	EQ(prove(&g), 0);
	g.origin[one.v[2].offset + 4095] ^= 1;
	EQ(prove(&g), -EUCLEAN);
	tear_down(&g);
}

static void a_proof_is_asked_for_each_time(void)
{
	static const uint64_t old[] = { 3, DMFMT_NONE };
	struct dmfmt_writeback_opts o = { .size = sizeof(o), .flags = DMFMT_WRITEBACK_DRY_RUN };
	struct stage g;

	set_up(&g, old);
	EQ(take(g.o, 0, &one), 0);
	/* found sound without it, then told */
	EQ(dmfmt_writeback(g.f, &o, NULL), 0);
	g.origin[0] ^= 1;
	EQ(dmfmt_writeback(g.f, &o, NULL), 0);
	EQ(prove(&g), -EUCLEAN);
	EQ(dmfmt_writeback(g.f, &o, NULL), -EUCLEAN);
	tear_down(&g);
}

static void what_cannot_be_is_refused(void)
{
	static const uint64_t old[] = { 3, DMFMT_NONE };
	struct dmfmt_sample v[2] = { { .offset = 0, .length = 4096 }, { .offset = 8192, .length = 4096 } };
	uint64_t sectors = ORIGIN_BYTES / 512;
	struct dmfmt *alone;
	struct stage g;

	set_up(&g, old);
	EQ(dmfmt_set_fingerprint(g.f, sectors + 1, v, 2), -EUCLEAN);
	CHECK(strstr(dmfmt_ctx_error(ctx), "sectors, expected"));
	EQ(dmfmt_set_fingerprint(g.f, sectors - 1, v, 2), -EUCLEAN);
	EQ(dmfmt_set_fingerprint(g.f, sectors, v, 2), 0);
	EQ(dmfmt_set_fingerprint(g.f, sectors, NULL, 0), 0);
	EQ(dmfmt_set_fingerprint(g.f, sectors, NULL, 1), -EINVAL);
	v[1].offset = 4095;	/* overlap */
	EQ(dmfmt_set_fingerprint(g.f, sectors, v, 2), -EINVAL);
	v[1].offset = ORIGIN_BYTES - 4095;	/* over the end */
	EQ(dmfmt_set_fingerprint(g.f, sectors, v, 2), -EINVAL);
	v[1].offset = UINT64_MAX - 100;
	EQ(dmfmt_set_fingerprint(g.f, sectors, v, 2), -EINVAL);
	v[1] = (struct dmfmt_sample){ .offset = 8192, .length = 4097 };
	EQ(dmfmt_set_fingerprint(g.f, sectors, v, 2), -EINVAL);
	v[1].length = 0;
	EQ(dmfmt_set_fingerprint(g.f, sectors, v, 2), -EINVAL);
	EQ(dmfmt_set_fingerprint(g.f, sectors, one.v, SAMPLES_MAX + 1), -EINVAL);
	EQ(dmfmt_open(ctx, g.s, "snapshot", 0, &alone), 0);
	EQ(dmfmt_set_fingerprint(alone, sectors, v, 1), -EINVAL);
	dmfmt_close(alone);
	tear_down(&g);
}

static unsigned steps_left;

static int stop(void *arg, const struct dmfmt_progress *p)
{
	(void)arg;
	(void)p;
	return !steps_left || !--steps_left;
}

static void told_to_stop(void)
{
	static const uint64_t old[] = { 3, DMFMT_NONE };
	struct stage g;

	set_up(&g, old);
	dmfmt_ctx_set_progress(ctx, stop, NULL);
	steps_left = 10;
	EQ(take(g.o, 0, &one), -ECANCELED);
	CHECK(one.nr > 0 && one.nr < 1025);
	dmfmt_ctx_set_progress(ctx, NULL, NULL);
	EQ(take(g.o, 0, &one), 0);
	dmfmt_ctx_set_progress(ctx, stop, NULL);
	steps_left = 10;
	EQ(prove(&g), -ECANCELED);
	dmfmt_ctx_set_progress(ctx, NULL, NULL);
	EQ(prove(&g), 0);
	tear_down(&g);
}

int main(void)
{
	ctx = dmfmt_ctx_new();
	RUN(places);
	RUN(places_come_from_the_size_alone);
	RUN(a_change_outside_is_seen);
	RUN(what_lies_between_samples_is_not);
	RUN(a_proof_is_asked_for_each_time);
	RUN(what_cannot_be_is_refused);
	RUN(told_to_stop);
	dmfmt_ctx_free(ctx);
	return DONE();
}
