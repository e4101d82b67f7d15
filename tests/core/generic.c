// SPDX-License-Identifier: GPL-2.0-or-later
/* The public functions with arguments that are wrong, and with callbacks that want to stop. */
#include <errno.h>
#include <stdlib.h>
#include "../../libdmfmt/dmfmt.h"
#include "../lib/tap.h"

#define BYTES (600u * 4096u)

static struct dmfmt_ctx *ctx;
static uint8_t *store;
static struct dmfmt_dev *dev;

static void put(uint8_t *p, uint64_t v, size_t len)
{
	while (len--) {
		*p++ = (uint8_t)v;
		v >>= 8;
	}
}

static void make_store(void)
{
	unsigned i;

	memset(store, 0, BYTES);
	put(store, 0x70416e53, 4);
	put(store + 4, 1, 4);
	put(store + 8, 1, 4);
	put(store + 12, 8, 4);
	for (i = 0; i < 10; i++) {
		put(store + 4096 + i * 16, i < 5 ? i : i + 100, 8);
		put(store + 4104 + i * 16, i + 2, 8);
	}
}

static struct dmfmt *opened(void)
{
	struct dmfmt *f = NULL;

	make_store();
	EQ(dmfmt_open(ctx, dev, "snapshot", 0, &f), 0);
	return f;
}

static int field_stop(void *arg, const struct dmfmt_field *field)
{
	return *(int *)arg;
}

static int run_stop(void *arg, const struct dmfmt_run *run)
{
	return *(int *)arg;
}

static void test_no_handle(void)
{
	struct dmfmt_report *r = (void *)1;
	struct dmfmt_builder *b = (void *)1;
	struct dmfmt *f = (void *)1;
	const struct dmfmt_column *c;
	uint64_t cell;

	EQ(dmfmt_open(NULL, dev, "snapshot", 0, &f), -EINVAL);
	EQ(dmfmt_open(ctx, NULL, "snapshot", 0, &f), -EINVAL);
	CHECK(!f && dmfmt_ctx_error(ctx)[0]);
	EQ(dmfmt_open(ctx, dev, "no such", 0, &f), -EINVAL);
	EQ(dmfmt_open(ctx, dev, NULL, 0, &f), -EINVAL);
	EQ(dmfmt_open(ctx, dev, "snapshot", 0x80, &f), -EINVAL);
	EQ(dmfmt_info(NULL, field_stop, NULL), -EINVAL);
	EQ(dmfmt_walk(NULL, NULL), -EINVAL);
	EQ(dmfmt_runs(NULL, run_stop, NULL), -EINVAL);
	EQ(dmfmt_find(NULL, 0, false, field_stop, NULL), -EINVAL);
	EQ(dmfmt_occupancy(NULL, "store", &cell, 1, NULL), -EINVAL);
	EQ(dmfmt_check(NULL, 0, 0, &r), -EINVAL);
	CHECK(!r);
	EQ(dmfmt_repair(NULL, NULL, &r), -EINVAL);
	EQ(dmfmt_columns(NULL, &c), 0);
	CHECK(!c);
	EQ(dmfmt_set_origin(NULL, dev), -EINVAL);
	EQ(dmfmt_set_origin_size(NULL, 1), -EINVAL);
	EQ(dmfmt_restore_begin(ctx, NULL, 0, "no such", NULL, 0, 0, &b), -EINVAL);
	CHECK(!b);
	EQ(dmfmt_restore_records(NULL, NULL, 0), -EINVAL);
	EQ(dmfmt_restore_raw(NULL, 0, NULL, 0), -EINVAL);
	EQ(dmfmt_restore_stale(NULL, 0, 0, NULL), -EINVAL);
	EQ(dmfmt_restore_commit(NULL, NULL, 0), -EINVAL);
	EQ(dmfmt_probe(NULL, dev, NULL, NULL), -EINVAL);
	EQ(dmfmt_probe(ctx, NULL, NULL, NULL), -EINVAL);
	EQ(dmfmt_image_save(NULL, 1, 0, NULL, NULL), -EINVAL);
	EQ(dmfmt_image_expand(ctx, 0, NULL, NULL, NULL), -EINVAL);
	dmfmt_restore_free(NULL);
	dmfmt_close(NULL);
}

static void test_wrong_arguments(void)
{
	struct dmfmt *f = opened();
	struct dmfmt_report *r;
	uint64_t cell;

	EQ(dmfmt_set_origin(f, NULL), -EINVAL);
	EQ(dmfmt_set_origin(f, dev), -EINVAL);
	EQ(dmfmt_set_origin_size(f, UINT64_MAX), -EINVAL);
	EQ(dmfmt_check(f, 0x80, 0, &r), -EINVAL);
	EQ(dmfmt_occupancy(f, NULL, &cell, 1, NULL), -EINVAL);
	EQ(dmfmt_occupancy(f, "store", NULL, 0, NULL), -EINVAL);
	EQ(dmfmt_occupancy(f, "somewhere", &cell, 1, NULL), -EINVAL);
	EQ(dmfmt_find(f, 0, false, NULL, NULL), -EINVAL);
	EQ(dmfmt_find(f, UINT64_MAX, true, field_stop, &(int){ 0 }), -ERANGE);
	EQ(dmfmt_walk(f, NULL), -EINVAL);
	EQ(dmfmt_repair(f, NULL, &r), -EINVAL);
	EQ(dmfmt_image_save(f, 1, 0x80, NULL, NULL), -EINVAL);
	dmfmt_close(f);
}

static void test_header_only(void)
{
	struct dmfmt_report *r;
	struct dmfmt *f;
	int zero = 0;

	make_store();
	EQ(dmfmt_open(ctx, dev, "snapshot", DMFMT_OPEN_HEADER_ONLY, &f), 0);
	EQ(dmfmt_info(f, field_stop, &zero), 0);
	EQ(dmfmt_check(f, 0, 0, &r), -EINVAL);
	EQ(dmfmt_runs(f, run_stop, &zero), -EINVAL);
	EQ(dmfmt_image_save(f, 1, 0, NULL, NULL), -EINVAL);
	CHECK(strstr(dmfmt_ctx_error(ctx), "header only"));
	dmfmt_close(f);
}

static void test_callbacks_stop(void)
{
	struct dmfmt *f = opened();
	int stop = 77;
	const struct dmfmt_visitor v = { .size = sizeof(v), .arg = &stop, .head = field_stop };

	EQ(dmfmt_info(f, field_stop, &stop), 77);
	EQ(dmfmt_find(f, 0, false, field_stop, &stop), 77);
	EQ(dmfmt_runs(f, run_stop, &stop), 77);
	EQ(dmfmt_walk(f, &v), 77);
	EQ(dmfmt_probe(ctx, dev, field_stop, &stop), 77);
	stop = -EPIPE;
	EQ(dmfmt_info(f, field_stop, &stop), -EPIPE);
	CHECK(dmfmt_ctx_error(ctx)[0]);
	dmfmt_close(f);
}

static int progress_stop(void *arg, const struct dmfmt_progress *p)
{
	++*(int *)arg;
	return 1;
}

static void test_progress_stops(void)
{
	struct dmfmt *f = opened();
	struct dmfmt_report *r = NULL;
	int calls = 0, err;

	dmfmt_ctx_set_progress(ctx, progress_stop, &calls);
	err = dmfmt_check(f, 0, 0, &r);
	/* a small store may be through before it is asked */
	EQ(err, calls ? -ECANCELED : 0);
	CHECK(r != NULL);
	dmfmt_report_free(r);
	dmfmt_ctx_set_progress(ctx, NULL, NULL);
	dmfmt_close(f);
}

struct seen {
	struct dmfmt_run run[4];
	size_t nr;
};

static int keep_run(void *arg, const struct dmfmt_run *run)
{
	struct seen *s = arg;

	if (s->nr < 4)
		s->run[s->nr] = *run;
	s->nr++;
	return 0;
}

static void test_runs(void)
{
	struct dmfmt *f = opened();
	struct seen s = { .nr = 0 };

	EQ(dmfmt_runs(f, keep_run, &s), 0);
	EQ(s.nr, 2);
	EQ(s.run[0].record, 0);
	EQ(s.run[0].from, 0);
	EQ(s.run[0].to, 2);
	EQ(s.run[0].length, 5);
	EQ(s.run[1].record, 5);
	EQ(s.run[1].from, 105);
	EQ(s.run[1].to, 7);
	EQ(s.run[1].length, 5);
	dmfmt_close(f);
}

/* a caller that was built against a shorter struct */
static void test_short_visitor(void)
{
	struct dmfmt *f = opened();
	struct dmfmt_visitor v = { .tail = field_stop };
	int stop = 5;

	v.arg = &stop;
	v.size = offsetof(struct dmfmt_visitor, tail);
	EQ(dmfmt_walk(f, &v), 0);
	v.size = sizeof(v);
	EQ(dmfmt_walk(f, &v), 5);
	v.size = 3;
	EQ(dmfmt_walk(f, &v), -EINVAL);
	dmfmt_close(f);
}

static int remember(void *arg, const struct dmfmt_field *field)
{
	if (!strcmp(field->name, "format") && !*(char *)arg)
		strcpy(arg, field->s);
	return 0;
}

static void test_probe(void)
{
	char first[64] = "";

	make_store();
	EQ(dmfmt_probe(ctx, dev, remember, first), 0);
	STREQ(first, "snapshot");
	memset(store, 0xee, BYTES);
	EQ(dmfmt_probe(ctx, dev, NULL, NULL), 1);
	EQ(dmfmt_foreign_signature(ctx, dev, first, sizeof(first)), 0);
	STREQ(first, "");
	EQ(dmfmt_foreign_signature(ctx, dev, first, 0), -EINVAL);
}

static void test_repair_twice(void)
{
	struct dmfmt_repair_opts o = { .size = sizeof(o), .accept_loss = DMFMT_NONE };
	struct dmfmt_report *r;
	struct dmfmt_summary s = { .size = sizeof(s) };
	struct dmfmt *f = opened();

	put(store + 4, 7, 4);	/* valid: neither 0 nor 1; normalised without loss */
	dmfmt_close(f);
	EQ(dmfmt_open(ctx, dev, "snapshot", 0, &f), 0);
	o.flags = DMFMT_REPAIR_YES;
	EQ(dmfmt_repair(f, &o, &r), 0);
	dmfmt_report_summary(r, &s);
	EQ(s.mended, 1);
	dmfmt_report_free(r);
	EQ(dmfmt_repair(f, &o, &r), 0);
	dmfmt_report_summary(r, &s);
	EQ(s.mended, 0);
	EQ(s.fatal + s.repairable + s.warnings, 0);
	dmfmt_report_free(r);
	EQ(store[4], 1);
	dmfmt_close(f);
}

int main(void)
{
	ctx = dmfmt_ctx_new();
	store = malloc(BYTES);
	EQ(dmfmt_dev_open_buffer(ctx, store, BYTES, &dev), 0);
	RUN(test_no_handle);
	RUN(test_wrong_arguments);
	RUN(test_header_only);
	RUN(test_callbacks_stop);
	RUN(test_progress_stops);
	RUN(test_runs);
	RUN(test_short_visitor);
	RUN(test_probe);
	RUN(test_repair_twice);
	dmfmt_dev_close(dev);
	dmfmt_ctx_free(ctx);
	free(store);
	return DONE();
}
