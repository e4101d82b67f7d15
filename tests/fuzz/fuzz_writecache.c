// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Everything that reads a cache of dm-writecache, on any bytes.  Beyond not crashing: a cache that is read
 * is not changed (its memory cannot be written), what a walk gives a restore takes back byte for byte
 * or refuses, and a repair leaves nothing for the next one to mend.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "../../libdmfmt/dmfmt.h"
#include "packed.h"

#define MUST(cond)								\
	do {									\
		if (!(cond)) {							\
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);	\
			abort();						\
		}								\
	} while (0)

#define DATA_MAX (1u << 20)	/* reading more takes longer than it is worth */

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t len);

/* ---- a walk is kept and given to a restore --------------------------------------------------------- */

struct kept {
	struct dmfmt_field head[32], tail[32];
	char strings[64][64];
	size_t nr_head, nr_tail, nr_strings;
	struct dmfmt_builder *b;
	struct dmfmt_ctx *ctx;
	struct dmfmt_dev *to;
	int err;
};

static void keep(struct kept *k, struct dmfmt_field *list, size_t *nr, const struct dmfmt_field *f)
{
	MUST(*nr < 32);
	list[*nr] = *f;
	if (f->s) {
		char *s = k->strings[k->nr_strings++];

		MUST(k->nr_strings < 64);
		snprintf(s, 64, "%s", f->s);
		list[*nr].s = s;
	}
	(*nr)++;
}

static int on_head(void *arg, const struct dmfmt_field *f)
{
	struct kept *k = arg;

	keep(k, k->head, &k->nr_head, f);
	return 0;
}

static int begun(struct kept *k)
{
	if (!k->b && !k->err)
		k->err = dmfmt_restore_begin(k->ctx, k->to, 0, "writecache", k->head, k->nr_head,
					     DMFMT_RESTORE_METADATA_ONLY, &k->b);
	return k->err;
}

static int on_raw(void *arg, uint64_t offset, const void *bytes, size_t len)
{
	struct kept *k = arg;

	MUST(len > 0 && len <= 4096);
	if (!begun(k))
		k->err = dmfmt_restore_raw(k->b, offset, bytes, len);
	return 0;
}

static int on_records(void *arg, uint64_t first, const uint64_t *values, size_t nr)
{
	struct kept *k = arg;

	if (!begun(k))
		k->err = dmfmt_restore_records(k->b, values, nr);
	return 0;
}

static int on_stale(void *arg, uint64_t area, uint64_t slot, const uint64_t *values)
{
	struct kept *k = arg;

	if (!begun(k))
		k->err = dmfmt_restore_stale(k->b, area, slot, values);
	return 0;
}

static int on_tail(void *arg, const struct dmfmt_field *f)
{
	struct kept *k = arg;

	keep(k, k->tail, &k->nr_tail, f);
	return 0;
}

/* the crc32c of the tail, or 0 */
static uint64_t tail_crc(const struct kept *k)
{
	size_t i;

	for (i = 0; i < k->nr_tail; i++)
		if (!strcmp(k->tail[i].name, "metadata_crc32c"))
			return k->tail[i].u;
	return 0;
}

static struct dmfmt *open_store(struct dmfmt_ctx *ctx, struct dmfmt_dev *dev, const struct packed *d)
{
	struct dmfmt *f = NULL;
	int err = dmfmt_open(ctx, dev, "writecache", d->header_only ? DMFMT_OPEN_HEADER_ONLY : 0, &f);

	MUST(!err || err == -ERANGE || err == -ENOMEM || err == -ENOSPC);
	if (f && d->origin_sectors)
		MUST(!dmfmt_set_origin_size(f, d->origin_sectors));
	return f;
}

static void walk(struct dmfmt_ctx *ctx, struct dmfmt *f, const struct packed *d)
{
	static struct kept k, again;
	const struct dmfmt_visitor v = {
		.size = sizeof(v), .arg = &k, .head = on_head, .raw = on_raw,
		.records = on_records, .stale = on_stale, .tail = on_tail,
	};
	struct dmfmt_visitor second = v;
	uint8_t *room = packed_room(d->bytes);
	struct dmfmt *g;

	memset(&k, 0, sizeof(k));
	memset(&again, 0, sizeof(again));
	k.ctx = again.ctx = ctx;
	MUST(room && !dmfmt_dev_open_buffer(ctx, room, d->bytes, &k.to));
	if (!dmfmt_walk(f, &v) && !begun(&k) &&
	    !dmfmt_restore_commit(k.b, k.tail, k.nr_tail)) {
		/* what was restored reads the same */
		g = open_store(ctx, k.to, d);
		MUST(g);
		second.arg = &again;
		again.err = -ECANCELED;
		MUST(!dmfmt_walk(g, &second));
		MUST(tail_crc(&again) == tail_crc(&k));
		dmfmt_close(g);
	}
	dmfmt_restore_free(k.b);
	dmfmt_dev_close(k.to);
	munmap(room, d->bytes);
}

/* ---- reading ------------------------------------------------------------------------------------- */

static int on_field(void *arg, const struct dmfmt_field *f)
{
	MUST(f->name && (f->kind != DMFMT_STRING || f->s));
	return 0;
}

static int on_run(void *arg, const struct dmfmt_run *run)
{
	MUST(run->length);
	return 0;
}

/* ascending and apart from each other: what is served is served once */
static int on_extent(void *arg, const struct dmfmt_extent *e)
{
	uint64_t *next = arg;

	MUST(e->length && e->to >= *next && e->to + e->length > e->to);
	*next = e->to + e->length;
	return 0;
}

static void look(struct dmfmt *f, const struct packed *d)
{
	uint64_t cells[7], units, sector, next = 0;

	dmfmt_info(f, on_field, NULL);
	dmfmt_runs(f, on_run, NULL);
	for (sector = 0; sector < d->bytes / 512; sector = sector * 3 + 1) {
		dmfmt_find(f, sector, false, on_field, NULL);
		dmfmt_find(f, sector, true, on_field, NULL);
	}
	dmfmt_find(f, UINT64_MAX, false, on_field, NULL);
	dmfmt_find(f, UINT64_MAX, true, on_field, NULL);
	dmfmt_occupancy(f, "origin", cells, 7, &units);
	dmfmt_occupancy(f, "store", cells, 7, &units);
	dmfmt_occupancy(f, "age", cells, 7, &units);
	dmfmt_extents(f, on_extent, &next);
}

static void image(struct dmfmt *f)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	dmfmt_image_save(f, null, 0, on_field, NULL);
	dmfmt_image_save(f, null, DMFMT_IMAGE_OBFUSCATE, on_field, NULL);
	close(null);
}

static void read_report(const struct dmfmt_report *r, struct dmfmt_summary *s)
{
	const struct dmfmt_finding *one;
	size_t i;

	s->size = sizeof(*s);
	dmfmt_report_summary(r, s);
	for (i = 0; i < dmfmt_report_nr(r); i++) {
		one = dmfmt_report_get(r, i);
		MUST(one->code && one->message && one->kernel && one->suggestion);
		MUST(!strchr(one->message, '\n'));
	}
	for (i = 0; i < dmfmt_report_nr_rules(r); i++)
		MUST(dmfmt_report_rule(r, i)->name);
}

/* ---- repair -------------------------------------------------------------------------------------- */

static void repair(struct dmfmt_ctx *ctx, const struct packed *d, uint64_t loss)
{
	struct dmfmt_repair_opts o = {
		.size = sizeof(o), .flags = d->repair_flags, .max_each = 10,
		.accept_loss = loss ? loss : DMFMT_NONE, .evidence = on_field,
	};
	struct dmfmt_summary s = { .size = sizeof(s) };
	struct dmfmt_report *r = NULL;
	struct dmfmt_dev *dev;
	struct dmfmt *f;
	int err;

	MUST(!dmfmt_dev_open_buffer(ctx, d->device, d->bytes, &dev));
	MUST(!dmfmt_dev_set_dry_run(dev, NULL, NULL));
	f = open_store(ctx, dev, d);
	err = f ? dmfmt_repair(f, &o, &r) : -1;
	if (r)
		read_report(r, &s);
	dmfmt_report_free(r);
	if (!err) {
		o.accept_loss = DMFMT_NONE;
		err = dmfmt_repair(f, &o, &r);
		if (!err) {
			read_report(r, &s);
			MUST(!s.mended);
		}
		dmfmt_report_free(r);
	}
	dmfmt_close(f);
	dmfmt_dev_close(dev);
}

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t len)
{
	struct dmfmt_ctx *ctx;
	struct dmfmt_summary s = { .loss = 0 };
	struct dmfmt_report *r = NULL;
	struct dmfmt_dev *dev;
	struct packed d;
	struct dmfmt *f;

	if (packed_open(&d, in, len))
		return 0;
	ctx = dmfmt_ctx_new();
	dmfmt_ctx_set_memory(ctx, 16 << 20);
	MUST(!dmfmt_dev_open_buffer(ctx, d.device, d.bytes, &dev));
	MUST(dmfmt_probe(ctx, dev, on_field, NULL) >= 0);
	f = open_store(ctx, dev, &d);
	if (f) {
		look(f, &d);
		if (d.image)
			image(f);
		walk(ctx, f, &d);
		if (!dmfmt_check(f, d.data && d.bytes <= DATA_MAX ? DMFMT_CHECK_DATA : 0, 10, &r))
			read_report(r, &s);
		dmfmt_report_free(r);
		dmfmt_close(f);
	}
	dmfmt_dev_close(dev);
	repair(ctx, &d, s.loss);
	dmfmt_ctx_free(ctx);
	packed_close(&d);
	return 0;
}
