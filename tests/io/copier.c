// SPDX-License-Identifier: GPL-2.0-or-later
/* The copier against a model: every engine, odd sizes, zeros, failures, verify, stopping. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../../libdmfmt/io/copier.h"
#include "../../libdmfmt/io/fault.h"
#include "../lib/tap.h"

#define SRC_BYTES (3u << 20)
#define DST_BYTES (5u << 20)

static struct dmfmt_ctx *ctx;

/* one line of TAP per condition; many of the tests here are one condition long */
__attribute__((format(printf, 2, 3)))
static void ok(bool good, const char *fmt, ...)
{
	va_list ap;

	printf("%sok %u - ", good ? "" : "not ", ++tap_tests);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	if (!good) {
		printf("# the library said: %s\n", dmfmt_ctx_error(ctx));
		tap_failed_tests++;
	}
}
static uint64_t rng = 88172645463325252ull;

static uint64_t rnd(uint64_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng % n;
}

static uint8_t *random_bytes(size_t n)
{
	uint8_t *p = malloc(n);
	size_t i;

	for (i = 0; i < n; i++)
		p[i] = (uint8_t)rnd(256);
	return p;
}

/* ---- devices: in memory or files, so that every way of driving them is seen ---- */

struct pair {
	struct dmfmt_dev *src[2], *dst;
	uint8_t *data[2], *old, *model;
	char path[3][300];
};

static struct dmfmt_dev *file_of(const char *path, const uint8_t *bytes, size_t n, unsigned flags)
{
	struct dmfmt_dev *dev = NULL;
	FILE *f = fopen(path, "w");

	if (!f || fwrite(bytes, 1, n, f) != n || fclose(f))
		abort();
	if (dmfmt_dev_open(ctx, path, flags, &dev)) {
		printf("# %s\n", dmfmt_ctx_error(ctx));
		abort();
	}
	return dev;
}

static struct dmfmt_dev *buffer_of(uint8_t *bytes, size_t n)
{
	struct dmfmt_dev *dev = NULL;

	if (dmfmt_dev_open_buffer(ctx, bytes, n, &dev))
		abort();
	return dev;
}

static void pair_open(struct pair *p, const char *dir, bool files)
{
	static unsigned nr;
	unsigned i;

	for (i = 0; i < 2; i++) {
		p->data[i] = random_bytes(SRC_BYTES);
		/* something that is all zeros, too */
		memset(p->data[i] + rnd(SRC_BYTES / 2), 0, SRC_BYTES / 4);
	}
	p->old = random_bytes(DST_BYTES);
	p->model = malloc(DST_BYTES);
	memcpy(p->model, p->old, DST_BYTES);
	for (i = 0; i < 3; i++)
		snprintf(p->path[i], sizeof(p->path[i]), "%s/copier-%u-%u", dir, nr, i);
	nr++;
	for (i = 0; i < 2; i++)
		p->src[i] = files ? file_of(p->path[i], p->data[i], SRC_BYTES, 0) :
				    buffer_of(p->data[i], SRC_BYTES);
	p->dst = files ? file_of(p->path[2], p->old, DST_BYTES, DMFMT_OPEN_WRITE) :
			 buffer_of(p->old, DST_BYTES);
}

static void pair_close(struct pair *p)
{
	unsigned i;

	for (i = 0; i < 2; i++) {
		dmfmt_dev_close(p->src[i]);
		free(p->data[i]);
	}
	dmfmt_dev_close(p->dst);
	for (i = 0; i < 3; i++)
		unlink(p->path[i]);
	free(p->old);
	free(p->model);
}

static bool same_as_model(struct pair *p)
{
	uint8_t *now = malloc(DST_BYTES);
	bool same;
	size_t i;

	same = !dmfmt_dev_flush(p->dst) && !dmfmt_dev_read(p->dst, 0, now, DST_BYTES) &&
	       !memcmp(now, p->model, DST_BYTES);
	for (i = 0; !same && i < DST_BYTES; i++)
		if (now[i] != p->model[i]) {
			printf("# byte %zu: %02x, expected %02x\n", i, now[i], p->model[i]);
			break;
		}
	free(now);
	return same;
}

/* disjoint on the destination, in random order, @grain apart */
static size_t random_moves(struct pair *p, struct dmfmt_move *m, size_t max, uint64_t grain,
			   uint64_t longest)
{
	uint64_t to = 0;
	size_t nr = 0, i;

	while (nr < max) {
		uint64_t len = (1 + rnd(longest / grain)) * grain;

		if (rnd(3))
			to += rnd(8) * grain;
		if (to + len > DST_BYTES)
			break;
		m[nr] = (struct dmfmt_move){ .to = to, .len = len, .src = (uint32_t)rnd(2) };
		m[nr].from = rnd(SRC_BYTES / grain - len / grain + 1) * grain;
		/* often going on where the last one ended */
		if (nr && rnd(2) && m[nr - 1].from != DMFMT_NONE &&
		    m[nr - 1].from + m[nr - 1].len + len <= SRC_BYTES) {
			m[nr].src = m[nr - 1].src;
			m[nr].from = m[nr - 1].from + m[nr - 1].len;
		}
		if (!rnd(9)) {
			m[nr].from = DMFMT_NONE;
			memset(p->model + to, 0, len);
		} else {
			memcpy(p->model + to, p->data[m[nr].src] + m[nr].from, len);
		}
		to += len;
		nr++;
	}
	for (i = nr; i > 1; i--) {
		size_t j = rnd(i);
		struct dmfmt_move t = m[i - 1];

		m[i - 1] = m[j];
		m[j] = t;
	}
	return nr;
}

static struct dmfmt_copier *copier(const struct pair *p, const char *engine, size_t memory)
{
	const struct dmfmt_copier_opts o = {
		.src = { p->src[0], p->src[1] }, .dst = p->dst, .engine = engine, .memory = memory,
	};
	struct dmfmt_copier *c = NULL;

	if (dmfmt_copier_open(ctx, &o, &c))
		printf("# %s\n", dmfmt_ctx_error(ctx));
	return c;
}

static const char *const engines[] = {
	"layers", "io_uring", "threads", "copy_file_range", NULL
};

/* can this machine do it?  io_uring may be switched off */
static bool have(const char *dir, const char *engine)
{
	struct pair p;
	struct dmfmt_copier *c;

	pair_open(&p, dir, true);
	c = copier(&p, engine, 0);
	dmfmt_copier_close(c);
	pair_close(&p);
	return c;
}

static void test_random(const char *dir, const char *engine, bool files)
{
	static const uint64_t grains[] = { 512, 4096, 65536 };
	struct dmfmt_move m[600];
	bool good = true;
	unsigned round;

	for (round = 0; round < 24 && good; round++) {
		uint64_t grain = grains[round % 3];
		struct dmfmt_copier *c;
		struct pair p;
		size_t nr, cut;

		pair_open(&p, dir, files);
		nr = random_moves(&p, m, 600, grain, round & 1 ? 1 << 20 : 16 * grain);
		c = copier(&p, engine, round & 4 ? 2 << 20 : 0);
		cut = rnd(nr + 1);
		good = c && !dmfmt_copier_run(c, m, cut) && !dmfmt_copier_run(c, m + cut, nr - cut) &&
		       same_as_model(&p) && !dmfmt_copier_verify(c, m, nr);
		if (good && nr) {	/* a byte that is not as it was written */
			uint64_t at = m[0].to + rnd(m[0].len);
			uint8_t x = (uint8_t)~p.model[at];

			good = !dmfmt_dev_write(p.dst, at, &x, 1) && !dmfmt_dev_flush(p.dst) &&
			       dmfmt_copier_verify(c, m, nr) == -EIO;
		}
		dmfmt_copier_close(c);
		pair_close(&p);
	}
	ok(good, "%s over %s: random moves as the model says, verify finds one byte",
	   engine ? engine : "the best engine", files ? "files" : "buffers");
}

struct seen {
	struct pair *p;
	const struct dmfmt_move *m;
	size_t nr, at;
	uint64_t in;
	bool good;
};

static int see(void *arg, const struct dmfmt_move *part, const void *buf, int err)
{
	struct seen *s = arg;
	const struct dmfmt_move *m = &s->m[s->at];
	static const uint8_t zeros[1 << 20];

	if (err || part->to != m->to + s->in || s->in + part->len > m->len)
		s->good = false;
	else if (memcmp(buf, part->from == DMFMT_NONE ? zeros : s->p->data[m->src] + m->from + s->in,
			part->len))
		s->good = false;
	s->in += part->len;
	if (s->in == m->len) {
		s->at++;
		s->in = 0;
	}
	return 0;
}

static void test_read(const char *dir, const char *engine)
{
	struct dmfmt_move m[300];
	struct dmfmt_copier *c;
	struct seen s = { .m = m, .good = true };
	struct pair p;

	pair_open(&p, dir, true);
	s.p = &p;
	s.nr = random_moves(&p, m, 300, 512, 1 << 20);
	c = copier(&p, engine, 2 << 20);
	ok(c && !dmfmt_copier_read(c, m, s.nr, see, &s) && s.good && s.at == s.nr,
	   "%s: reading hands out all bytes in the order of the list", engine);
	dmfmt_copier_close(c);
	pair_close(&p);
}

/* a hole stays a hole in a new file, and becomes zeros in an old one */
static void test_fresh(const char *dir, const char *engine)
{
	struct dmfmt_copier_opts o = { .engine = engine, .fresh = true };
	struct dmfmt_move m = { 0, 0, SRC_BYTES, 0 };
	struct dmfmt_copier *c = NULL;
	struct dmfmt_dev *dst = NULL;
	struct dmfmt_copier_stats st;
	char path[300];
	uint8_t *now = malloc(SRC_BYTES);
	struct stat sb;
	struct pair p;

	pair_open(&p, dir, true);
	memset(p.data[0], 0, SRC_BYTES);
	memset(p.data[0] + 1000000, 7, 5);
	dmfmt_dev_close(p.src[0]);
	p.src[0] = file_of(p.path[0], p.data[0], SRC_BYTES, 0);
	snprintf(path, sizeof(path), "%s/fresh-%s", dir, engine);
	o.src[0] = p.src[0];
	if (dmfmt_dev_open(ctx, path, DMFMT_OPEN_CREATE, &dst) || dmfmt_dev_truncate(dst, SRC_BYTES))
		abort();
	o.dst = dst;
	ok(!dmfmt_copier_open(ctx, &o, &c) && !dmfmt_copier_run(c, &m, 1) && !dmfmt_dev_flush(dst) &&
	   !dmfmt_dev_read(dst, 0, now, SRC_BYTES) && !memcmp(now, p.data[0], SRC_BYTES),
	   "%s: a new file holds the same", engine);
	dmfmt_copier_stats(c, &st);
	ok(!stat(path, &sb) && st.bytes_written == 4096 &&
	   st.bytes_zero == SRC_BYTES - 4096, "%s: and has holes where there are zeros", engine);
	dmfmt_copier_close(c);
	c = copier(&p, engine, 0);
	m.to = DST_BYTES - SRC_BYTES;
	memcpy(p.model + m.to, p.data[0], SRC_BYTES);
	ok(c && !dmfmt_copier_run(c, &m, 1) && same_as_model(&p),
	   "%s: on what exists zeros are written", engine);
	dmfmt_copier_close(c);
	dmfmt_dev_close(dst);
	unlink(path);
	free(now);
	pair_close(&p);
}

/* ---- failures ---- */

struct told {
	struct dmfmt_move unit[64];
	bool reading[64];
	size_t nr;
};

static int tell(void *arg, const struct dmfmt_move *unit, bool reading, int err)
{
	struct told *t = arg;

	if (t->nr < 64 && err < 0) {
		t->reading[t->nr] = reading;
		t->unit[t->nr++] = *unit;
	}
	return 0;
}

/* a bottom layer in which some ranges fail for good */
struct rotten {
	struct dmfmt_layer l;
	uint8_t *bytes;
	uint64_t from[4], len[4];
	size_t nr;
	bool writes;
};

static bool hits(const struct rotten *r, uint64_t off, size_t len)
{
	size_t i;

	for (i = 0; i < r->nr; i++)
		if (off < r->from[i] + r->len[i] && r->from[i] < off + len)
			return true;
	return false;
}

static int rotten_read(struct dmfmt_layer *l, uint64_t off, void *buf, size_t len)
{
	struct rotten *r = (struct rotten *)l;

	if (!r->writes && hits(r, off, len))
		return -EIO;
	memcpy(buf, r->bytes + off, len);
	return 0;
}

static int rotten_write(struct dmfmt_layer *l, uint64_t off, const void *buf, size_t len)
{
	struct rotten *r = (struct rotten *)l;

	if (r->writes && hits(r, off, len))
		return -EIO;
	memcpy(r->bytes + off, buf, len);
	return 0;
}

static int rotten_flush(struct dmfmt_layer *l)
{
	return 0;
}

static void rotten_close(struct dmfmt_layer *l)
{
	free(l);
}

static const struct dmfmt_layer_ops rotten_ops = {
	.name = "rotten", .read = rotten_read, .write = rotten_write, .flush = rotten_flush,
	.close = rotten_close,
};

static struct rotten *rotten_new(uint8_t *bytes, uint64_t size, bool writes, struct dmfmt_dev **dev)
{
	struct rotten *r = calloc(1, sizeof(*r));

	r->l.ops = &rotten_ops;
	r->bytes = bytes;
	r->writes = writes;
	if (dmfmt_dev_from_layer(ctx, &r->l, size, 512, "rotten", dev))
		abort();
	return r;
}

static void test_failures(bool writes)
{
	const char *what = writes ? "writing" : "reading";
	uint8_t *from = random_bytes(1 << 20), *to = random_bytes(1 << 20), *old = malloc(1 << 20);
	struct dmfmt_copier_opts o = { .unit = 8192, .failed = tell };
	/* the first move begins in the middle of nowhere: its units count from there */
	struct dmfmt_move m[] = { { 512, 4096 + 512, 10 * 8192, 0 },
				  { 512 + 10 * 8192, 4096 + 512 + 10 * 8192, 4096, 0 },
				  { 500 * 512, 600 * 512, 8192, 0 } };
	struct dmfmt_copier *c = NULL;
	struct told t = { .nr = 0 };
	struct rotten *bad;
	uint64_t base;
	int ret;

	memcpy(old, to, 1 << 20);
	bad = rotten_new(from, 1 << 20, writes, &o.src[0]);
	bad->nr = 0;
	if (writes) {
		dmfmt_dev_close(o.src[0]);
		o.src[0] = buffer_of(from, 1 << 20);
		bad = rotten_new(to, 1 << 20, true, &o.dst);
	} else {
		o.dst = buffer_of(to, 1 << 20);
	}
	base = writes ? 4096 + 512 : 512;
	bad->nr = 2;
	bad->from[0] = base + 2 * 8192 + 1024;	/* unit 2 */
	bad->len[0] = 512;
	bad->from[1] = base + 5 * 8192 - 512;	/* units 4 and 5 */
	bad->len[1] = 1024;
	o.arg = &t;
	ok(!dmfmt_copier_open(ctx, &o, &c) && !dmfmt_copier_run(c, m, 3), "%s fails: the run goes on",
	   what);
	ok(t.nr == 3 && t.unit[0].to == m[0].to + 2 * 8192 && t.unit[1].to == m[0].to + 4 * 8192 &&
	   t.unit[2].to == m[0].to + 5 * 8192 && t.unit[2].from == m[0].from + 5 * 8192 &&
	   t.unit[0].len == 8192 && t.reading[0] == !writes, "%s fails: exactly the units that did", what);
	ok(!memcmp(to + m[0].to, from + m[0].from, 2 * 8192) &&
	   !memcmp(to + m[0].to + 6 * 8192, from + m[0].from + 6 * 8192, 4 * 8192 + 4096) &&
	   !memcmp(to + m[2].to, from + m[2].from, 8192) &&
	   (writes || !memcmp(to + t.unit[0].to, old + t.unit[0].to, 8192)),
	   "%s fails: everything else was moved", what);
	dmfmt_copier_close(c);
	o.failed = NULL;
	c = NULL;
	ret = dmfmt_copier_open(ctx, &o, &c) ?: dmfmt_copier_run(c, m, 3);
	ok(ret == -EIO, "%s fails: without a listener that is the end", what);
	ok(writes == !!o.dst->failed, "%s fails: and only a failed write stays with the device", what);
	dmfmt_copier_close(c);
	dmfmt_dev_close(o.src[0]);
	dmfmt_dev_close(o.dst);
	free(from);
	free(to);
	free(old);
}

static void test_verify_units(void)
{
	uint8_t *from = random_bytes(1 << 20), *to = malloc(1 << 20);
	struct dmfmt_copier_opts o = { .unit = 8192, .failed = tell };
	struct dmfmt_move m = { 0, 0, 40 * 8192, 0 };
	struct told t = { .nr = 0 };
	struct dmfmt_copier *c = NULL;
	struct rotten *src, *dst;

	src = rotten_new(from, 1 << 20, false, &o.src[0]);
	dst = rotten_new(to, 1 << 20, false, &o.dst);
	src->nr = dst->nr = 0;
	o.arg = &t;
	ok(!dmfmt_copier_open(ctx, &o, &c) && !dmfmt_copier_run(c, &m, 1) && !t.nr, "moved");
	dst->nr = 1;
	dst->from[0] = 17 * 8192;
	dst->len[0] = 512;
	ok(!dmfmt_copier_verify(c, &m, 1) && t.nr == 1 && t.unit[0].to == 17 * 8192,
	   "unreadable on the destination: unit 17 is told (nr %u, unit %u)", (unsigned)t.nr,
	   (unsigned)(t.unit[0].to / 8192));
	dst->nr = 0;
	src->nr = 1;
	src->from[0] = 3 * 8192;
	src->len[0] = 512;
	to[20 * 8192] ^= 1;
	t.nr = 0;
	ok(!dmfmt_copier_verify(c, &m, 1) && t.nr == 2 && t.unit[1].to == 20 * 8192,
	   "unreadable source unit 3, differing unit 20: both are told (nr %u)", (unsigned)t.nr);
	dmfmt_copier_close(c);
	dmfmt_dev_close(o.src[0]);
	dmfmt_dev_close(o.dst);
	free(from);
	free(to);
}

static int stop(void *arg, const struct dmfmt_progress *p)
{
	return ++*(int *)arg > 3;
}

static void test_manners(const char *dir)
{
	struct dmfmt_copier_opts o = { .rate = 4 << 20 };
	struct dmfmt_move m = { 0, 0, SRC_BYTES, 0 }, out = { 0, DST_BYTES - 512, 1024, 0 };
	struct dmfmt_copier *c = NULL;
	struct timespec a, b;
	struct pair p;
	int calls = 0;

	pair_open(&p, dir, true);
	o.src[0] = p.src[0];
	o.dst = p.dst;
	clock_gettime(CLOCK_MONOTONIC, &a);
	memcpy(p.model, p.data[0], SRC_BYTES);
	ok(!dmfmt_copier_open(ctx, &o, &c) && !dmfmt_copier_run(c, &m, 1) && same_as_model(&p),
	   "a rate changes nothing but the time");
	clock_gettime(CLOCK_MONOTONIC, &b);
	ok((double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9 > 0.5,
	   "3 MiB at 4 MiB per second take longer than half a second");
	dmfmt_ctx_set_progress(ctx, stop, &calls);
	ok(dmfmt_copier_run(c, &m, 1) == -ECANCELED, "it stops when asked to");
	dmfmt_ctx_set_progress(ctx, NULL, NULL);
	ok(dmfmt_copier_run(c, &out, 1) == -ERANGE, "a move past the end is refused");
	out.to = 100;
	ok(dmfmt_copier_run(c, &out, 1) == -ERANGE, "a move in the middle of a sector is refused");
	dmfmt_copier_close(c);
	o.dst = p.src[1];
	o.rate = 0;
	ok(!dmfmt_copier_open(ctx, &o, &c) && dmfmt_copier_run(c, &m, 1) == -EROFS,
	   "a destination open for reading is refused");
	dmfmt_copier_close(c);
	pair_close(&p);
}

int main(void)
{
	const char *const *e;
	char dir[256];

	snprintf(dir, sizeof(dir), "%s/copier-XXXXXX", getenv("TMPDIR") ?: "/tmp");
	if (!mkdtemp(dir))
		abort();
	ctx = dmfmt_ctx_new();
	for (e = engines; *e; e++) {
		if (!have(dir, *e)) {
			printf("ok %u - %s # SKIP no such engine here\n", ++tap_tests, *e);
			continue;
		}
		test_random(dir, *e, true);
		test_read(dir, *e);
		test_fresh(dir, *e);
	}
	test_random(dir, NULL, true);
	test_random(dir, NULL, false);
	test_failures(false);
	test_failures(true);
	test_verify_units();
	test_manners(dir);
	dmfmt_ctx_free(ctx);
	rmdir(dir);
	return DONE();
}
