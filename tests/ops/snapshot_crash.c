// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Power cuts in every writing function of the snapshot family.
 *
 * Each damaged image of tests/images/snapshot that a repair writes to is repaired once over a device
 * that records its writes and flushes, with an undo file beside it.  Then every state that a cut could
 * leave (any subset of the logical blocks written since the last flush) must satisfy:
 *
 *   - applying the undo file gives the first image back, byte for byte;
 *   - repairing again ends with the same exceptions as the repair that was not cut;
 *   - running it once more changes nothing.
 *
 * Likewise create over an old store and restore: old, new, or not a store that loads - and doing it
 * again gives the new one.  The number of states is printed.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "../lib/tap.h"
#include "../../libdmfmt/io/dev.h"
#include "../../libdmfmt/io/fault.h"

#define EXHAUSTIVE_BITS 10
#define SAMPLED 200

struct set {
	uint64_t (*v)[2];
	size_t nr, room;
};

struct job {
	struct dmfmt_repair_opts o;
	uint64_t origin_sectors;
	bool auto_loss;		/* accept whatever the state at hand loses */
	void *first;		/* image */
	size_t size;
	struct set want;
	const char *name;
};

static struct dmfmt_ctx *ctx;
static uint64_t total_states;

/* ---- sets of exceptions ------------------------------------------------------------------------- */

static int add_records(void *arg, uint64_t first, const uint64_t *v, size_t nr)
{
	struct set *s = arg;
	size_t i;

	(void)first;
	if (s->nr + nr > s->room) {
		s->room = 2 * (s->nr + nr);
		s->v = realloc(s->v, s->room * sizeof(*s->v));
	}
	for (i = 0; i < nr; i++, v += 2)
		memcpy(s->v[s->nr++], v, sizeof(*s->v));
	return 0;
}

static int by_pair(const void *a, const void *b)
{
	return memcmp(a, b, 2 * sizeof(uint64_t));
}

/* false: it is no store that can be walked */
static bool collect(struct dmfmt_dev *dev, struct set *s)
{
	struct dmfmt_visitor v = { .size = sizeof(v), .arg = s, .records = add_records };
	struct dmfmt *f;
	bool ok;

	s->nr = 0;
	if (dmfmt_open(ctx, dev, "snapshot", 0, &f))
		return false;
	ok = !dmfmt_walk(f, &v);
	dmfmt_close(f);
	if (s->nr)
		qsort(s->v, s->nr, sizeof(*s->v), by_pair);
	return ok;
}

static bool same_set(const struct set *a, const struct set *b)
{
	return a->nr == b->nr && (!a->nr || !memcmp(a->v, b->v, a->nr * sizeof(*a->v)));
}

/* ---- repair ---------------------------------------------------------------------------------------- */

static int repair(struct dmfmt_dev *dev, const struct job *j, struct dmfmt_summary *sum)
{
	struct dmfmt_repair_opts o = j->o;
	struct dmfmt_report *r = NULL;
	struct dmfmt *f;
	int ret = dmfmt_open(ctx, dev, "snapshot", 0, &f);

	if (ret)
		return ret;
	if (j->origin_sectors != DMFMT_NONE)
		dmfmt_set_origin_size(f, j->origin_sectors);
	if (j->auto_loss) {
		struct dmfmt_summary before = { .size = sizeof(before) };

		ret = dmfmt_check(f, 0, 0, &r);
		if (!ret) {
			dmfmt_report_summary(r, &before);
			o.accept_loss = before.loss;
		}
		dmfmt_report_free(r);
		r = NULL;
	}
	if (!ret)
		ret = dmfmt_repair(f, &o, &r);
	if (r) {
		sum->size = sizeof(*sum);
		dmfmt_report_summary(r, sum);
	}
	dmfmt_report_free(r);
	dmfmt_close(f);
	return ret;
}

static struct dmfmt_dev *buffer_dev(void *buf, uint64_t size)
{
	struct dmfmt_layer *l;
	struct dmfmt_dev *dev = NULL;

	if (dmfmt_mem_layer_new(buf, size, &l) || dmfmt_dev_from_layer(ctx, l, size, 512, "state", &dev))
		printf("# no device: %s\n", dmfmt_ctx_error(ctx));
	return dev;
}

static void undo_gives_the_first_image(const struct job *j, void **bufs, const uint64_t *sizes)
{
	void *copy = malloc(j->size);
	struct dmfmt_dev *dev, *file;
	struct dmfmt_undo *u;
	bool same = !memcmp(bufs[0], j->first, j->size);
	int ret;

	memcpy(copy, bufs[0], j->size);
	dev = buffer_dev(copy, j->size);
	file = buffer_dev(bufs[1], sizes[1]);
	ret = dmfmt_undo_open_dev(ctx, file, &u);
	if (ret) {
		/* no header yet: then nothing may have been overwritten */
		CHECK(same);
	} else {
		ret = dmfmt_undo_apply(u, dev);
		if (ret)
			printf("# %s: undo: %s\n", j->name, dmfmt_ctx_error(ctx));
		EQ(ret, 0);
		CHECK(!memcmp(copy, j->first, j->size));
		dmfmt_undo_close(u);
	}
	dmfmt_dev_close(file);
	dmfmt_dev_close(dev);
	free(copy);
}

static int repair_state(void *arg, uint64_t nr_writes, void **bufs, const uint64_t *sizes,
			unsigned nr_devs)
{
	struct job *j = arg;
	struct dmfmt_summary sum = { 0 }, again = { 0 };
	struct set got = { 0 };
	struct dmfmt_dev *dev;
	unsigned before = tap_failed_checks;
	int ret;

	EQ(nr_devs, 2);
	undo_gives_the_first_image(j, bufs, sizes);
	dev = buffer_dev(bufs[0], sizes[0]);
	ret = repair(dev, j, &sum);
	if (ret)
		printf("# %s: repair again: %s\n", j->name, dmfmt_ctx_error(ctx));
	EQ(ret, 0);
	CHECK(collect(dev, &got));
	CHECK(same_set(&got, &j->want));
	EQ(repair(dev, j, &again), 0);
	EQ(again.mended, 0);
	dmfmt_dev_close(dev);
	free(got.v);
	if (tap_failed_checks != before)
		printf("# %s: state after write %" PRIu64 "\n", j->name, nr_writes);
	return tap_failed_checks - before ? -EUCLEAN : 0;
}

/* repair over recording devices; then all states */
static void crash_repair(struct job *j)
{
	struct dmfmt_world *w = dmfmt_world_new();
	struct dmfmt_dev *dev, *undo;
	struct dmfmt_summary sum = { 0 };
	unsigned id;
	int64_t states;

	EQ(dmfmt_world_add(w, ctx, j->first, j->size, 512, false, "store", &id, &dev), 0);
	EQ(dmfmt_world_add(w, ctx, NULL, 0, 512, true, "undo", &id, &undo), 0);
	EQ(dmfmt_dev_set_undo_dev(dev, undo, "repair"), 0);
	EQ(repair(dev, j, &sum), 0);
	EQ(dmfmt_dev_sync(dev), 0);
	CHECK(sum.mended > 0);
	CHECK(collect(dev, &j->want));
	j->auto_loss = j->o.accept_loss != DMFMT_NONE;
	states = dmfmt_world_each_state(w, EXHAUSTIVE_BITS, SAMPLED, 1, repair_state, j);
	CHECK(states > 0);
	if (states > 0)
		total_states += (uint64_t)states;
	dmfmt_dev_close(dev);
	dmfmt_dev_close(undo);
	dmfmt_world_free(w);
}

/* ---- the images ------------------------------------------------------------------------------------- */

static char *read_all(const char *path, size_t *size)
{
	FILE *in = fopen(path, "r");
	char *buf;

	*size = 0;
	if (!in)
		return NULL;
	fseek(in, 0, SEEK_END);
	*size = (size_t)ftell(in);
	rewind(in);
	buf = calloc(1, *size + 1);
	if (fread(buf, 1, *size, in) != *size)
		*size = 0;
	fclose(in);
	return buf;
}

static const char *top(const char *name, const char *otherwise)
{
	const char *v = getenv(name);

	return v ? v : otherwise;
}

static bool parse(struct job *j, char *options)
{
	static const struct { const char *word; unsigned flag; } flags[] = {
		{ "-a", 0 }, { "-y", DMFMT_REPAIR_YES }, { "--keep-tail", DMFMT_REPAIR_KEEP_TAIL },
		{ "--rebuild-header", DMFMT_REPAIR_REBUILD_HEADER },
		{ "--revalidate", DMFMT_REPAIR_REVALIDATE },
		{ "--origin-unmodified", DMFMT_REPAIR_ORIGIN_UNMODIFIED },
		{ "--interrupted-create", DMFMT_REPAIR_INTERRUPTED_CREATE },
	};
	char *word, *save;
	size_t i;

	for (word = strtok_r(options, " \n", &save); word; word = strtok_r(NULL, " \n", &save)) {
		for (i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
			if (!strcmp(word, flags[i].word))
				break;
		if (i < sizeof(flags) / sizeof(flags[0]))
			j->o.flags |= flags[i].flag;
		else if (!strncmp(word, "--accept-loss=", 14))
			j->o.accept_loss = strtoull(word + 14, NULL, 10);
		else if (!strcmp(word, "--origin-size"))
			j->origin_sectors = strtoull(strtok_r(NULL, " \n", &save), NULL, 10);
		else
			return false;
	}
	return true;
}

/* an image whose repair says exit 1 (mended, nothing left) */
static bool one_image(const char *dir, const char *name)
{
	struct job j = {
		.o = { .size = sizeof(j.o), .accept_loss = DMFMT_NONE },
		.origin_sectors = DMFMT_NONE, .name = name,
	};
	char path[1024], command[4096], image[1024];
	char *options, *repaired;
	size_t len;

	snprintf(path, sizeof(path), "%s/%s/repaired", dir, name);
	repaired = read_all(path, &len);
	snprintf(path, sizeof(path), "%s/%s/repair", dir, name);
	options = read_all(path, &len);
	if (!repaired || !options || strcmp(repaired, "exit 1\n")) {
		free(repaired);
		free(options);
		return false;
	}
	snprintf(image, sizeof(image), "%s/dmfmt-crash-%d.img", top("TMPDIR", "/tmp"), (int)getpid());
	snprintf(command, sizeof(command), "'%s/tests/lib/mkimage' '%s/%s/image' '%s'",
		 top("BUILD", "build"), dir, name, image);
	EQ(system(command), 0);
	j.first = read_all(image, &j.size);
	unlink(image);
	CHECK(j.first && j.size && parse(&j, options));
	if (j.first && j.size)
		crash_repair(&j);
	free(j.first);
	free(j.want.v);
	free(repaired);
	free(options);
	return true;
}

static void repairs(void)
{
	char dir[512];
	struct dirent **names;
	unsigned images = 0;
	uint64_t before = total_states;
	int i, nr;

	snprintf(dir, sizeof(dir), "%s/tests/images/snapshot", top("TOP", "."));
	nr = scandir(dir, &names, NULL, alphasort);
	CHECK(nr > 40);
	for (i = 0; i < nr; i++) {
		if (names[i]->d_name[0] != '.')
			images += one_image(dir, names[i]->d_name);
		free(names[i]);
	}
	if (nr > 0)
		free(names);
	CHECK(images >= 25);
	printf("# repair: %u images, %" PRIu64 " states\n", images, total_states - before);
}

/* ---- create ------------------------------------------------------------------------------------------ */

#define STORE_BYTES (64 * 4096)

struct make {
	int (*again)(struct dmfmt_dev *dev, struct make *m);
	uint8_t *old_image, *new_image;
	struct set old_set, new_set;
	bool old_is_store;
};

static bool loads(struct dmfmt_dev *dev)
{
	uint32_t h[4];

	return !dmfmt_dev_read(dev, 0, h, sizeof(h)) && h[0] == 0x70416e53 &&
	       h[1] && h[2] == 1 && h[3] == 8;
}

static int make_state(void *arg, uint64_t nr_writes, void **bufs, const uint64_t *sizes,
		      unsigned nr_devs)
{
	struct make *m = arg;
	struct dmfmt_dev *dev = buffer_dev(bufs[0], sizes[0]);
	unsigned before = tap_failed_checks;
	struct set got = { 0 };

	(void)nr_devs;
	if (loads(dev)) {
		CHECK(collect(dev, &got));
		CHECK((m->old_is_store && same_set(&got, &m->old_set)) || same_set(&got, &m->new_set));
	}
	EQ(m->again(dev, m), 0);
	CHECK(!memcmp(bufs[0], m->new_image, STORE_BYTES));
	dmfmt_dev_close(dev);
	free(got.v);
	if (tap_failed_checks != before)
		printf("# state after write %" PRIu64 "\n", nr_writes);
	return tap_failed_checks - before ? -EUCLEAN : 0;
}

static void crash_make(const char *what, struct make *m)
{
	struct dmfmt_world *w = dmfmt_world_new();
	struct dmfmt_dev *dev, *state;
	unsigned id;
	int64_t states;

	m->new_image = malloc(STORE_BYTES);
	memcpy(m->new_image, m->old_image, STORE_BYTES);
	state = buffer_dev(m->new_image, STORE_BYTES);
	m->old_is_store = loads(state) && collect(state, &m->old_set);
	EQ(m->again(state, m), 0);
	CHECK(collect(state, &m->new_set));
	dmfmt_dev_close(state);
	EQ(dmfmt_world_add(w, ctx, m->old_image, STORE_BYTES, 512, false, "store", &id, &dev), 0);
	EQ(m->again(dev, m), 0);
	states = dmfmt_world_each_state(w, EXHAUSTIVE_BITS, SAMPLED, 1, make_state, m);
	CHECK(states > 0);
	if (states > 0)
		total_states += (uint64_t)states;
	printf("# %s: %" PRId64 " states\n", what, states);
	dmfmt_dev_close(dev);
	dmfmt_world_free(w);
	free(m->new_image);
	free(m->old_set.v);
	free(m->new_set.v);
}

static int create_again(struct dmfmt_dev *dev, struct make *m)
{
	struct dmfmt_snapshot_params p = { .size = sizeof(p), .chunk_sectors = 8,
					   .flags = DMFMT_CREATE_FORCE };

	(void)m;
	return dmfmt_snapshot_create(ctx, dev, &p);
}

static void put_le64(uint8_t *p, uint64_t v)
{
	unsigned i;

	for (i = 0; i < 8; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

/* a store with @nr exceptions and chunk size 8 */
static uint8_t *make_store(unsigned nr)
{
	uint8_t *s = calloc(1, STORE_BYTES);
	unsigned i;

	memcpy(s, "\x53\x6e\x41\x70\x01\0\0\0\x01\0\0\0\x08", 13);
	for (i = 0; i < nr; i++) {
		put_le64(s + 4096 + 16 * i, 7 * i + 1);
		put_le64(s + 4096 + 16 * i + 8, 2 + i);
	}
	return s;
}

static void creates(void)
{
	struct make blank = { .again = create_again, .old_image = calloc(1, STORE_BYTES) };
	struct make over = { .again = create_again, .old_image = make_store(61) };
	struct make junk = { .again = create_again, .old_image = malloc(STORE_BYTES) };

	memset(junk.old_image, 0xa5, STORE_BYTES);
	crash_make("create on zeros", &blank);
	crash_make("create over a store", &over);
	crash_make("create over junk", &junk);
	free(blank.old_image);
	free(over.old_image);
	free(junk.old_image);
}

/* ---- restore ------------------------------------------------------------------------------------------ */

struct dump {
	struct dmfmt_field head[8], tail[8];
	size_t nr_head, nr_tail;
	struct set rows;
};

static int head_field(void *arg, const struct dmfmt_field *f)
{
	struct dump *d = arg;

	d->head[d->nr_head++] = *f;
	return 0;
}

static int tail_field(void *arg, const struct dmfmt_field *f)
{
	struct dump *d = arg;

	d->tail[d->nr_tail++] = *f;
	return 0;
}

static int rows_field(void *arg, uint64_t first, const uint64_t *v, size_t nr)
{
	return add_records(&((struct dump *)arg)->rows, first, v, nr);
}

static struct dump dumped;

static int restore_again(struct dmfmt_dev *dev, struct make *m)
{
	struct dmfmt_builder *b = NULL;
	int ret = dmfmt_restore_begin(ctx, dev, 0, "snapshot", dumped.head, dumped.nr_head,
				      DMFMT_RESTORE_METADATA_ONLY, &b);

	(void)m;
	if (!ret && dumped.rows.nr)
		ret = dmfmt_restore_records(b, dumped.rows.v[0], dumped.rows.nr);
	if (!ret)
		ret = dmfmt_restore_commit(b, dumped.tail, dumped.nr_tail);
	dmfmt_restore_free(b);
	return ret;
}

static void restores(void)
{
	struct dmfmt_visitor v = { .size = sizeof(v), .arg = &dumped, .head = head_field,
				   .records = rows_field, .tail = tail_field };
	struct make over = { .again = restore_again, .old_image = make_store(13) };
	struct make blank = { .again = restore_again, .old_image = calloc(1, STORE_BYTES) };
	uint8_t *from = make_store(50);
	struct dmfmt_dev *dev = buffer_dev(from, STORE_BYTES);
	struct dmfmt *f;

	EQ(dmfmt_open(ctx, dev, "snapshot", 0, &f), 0);
	EQ(dmfmt_walk(f, &v), 0);
	dmfmt_close(f);
	dmfmt_dev_close(dev);
	crash_make("restore over a store", &over);
	crash_make("restore on zeros", &blank);
	free(over.old_image);
	free(blank.old_image);
	free(from);
	free(dumped.rows.v);
}

/* ---- errors -------------------------------------------------------------------------------------------- */

static const enum dmfmt_fault faults[] = {
	DMFMT_FAULT_READ_EIO, DMFMT_FAULT_READ_SHORT, DMFMT_FAULT_WRITE_EIO,
	DMFMT_FAULT_WRITE_ENOSPC, DMFMT_FAULT_WRITE_SHORT, DMFMT_FAULT_FLUSH_LOST,
};

/* one run with one fault; *content is what the device holds then.  1: the fault came too late */
static int one_fault(const void *image, size_t size, unsigned fault, uint64_t nr,
		     int (*run)(struct dmfmt_dev *dev, void *arg), void *arg, void *content)
{
	struct dmfmt_world *w = dmfmt_world_new();
	uint64_t reads, writes, flushes, most;
	struct dmfmt_dev *dev;
	unsigned id;
	int ret;

	EQ(dmfmt_world_add(w, ctx, image, size, 512, false, "store", &id, &dev), 0);
	dmfmt_world_cue(w, faults[fault], nr);
	ret = run(dev, arg);
	dmfmt_world_counts(w, &reads, &writes, &flushes);
	most = fault < 2 ? reads : fault < 5 ? writes : flushes;
	if (most > nr)
		EQ(dmfmt_dev_read(dev, 0, content, size), 0);
	dmfmt_dev_close(dev);
	dmfmt_world_free(w);
	/* it must be said, and nothing claimed; a read that fails once may be a finding instead */
	if (most <= nr)
		EQ(ret, 0);
	else
		CHECK(ret < 0 || fault < 2);
	return most <= nr;
}

static int run_create(struct dmfmt_dev *dev, void *arg)
{
	return create_again(dev, arg);
}

static int run_repair(struct dmfmt_dev *dev, void *arg)
{
	struct dmfmt_summary sum = { 0 };

	return repair(dev, arg, &sum);
}

/* what a failed run left is either old or new or no store that loads */
static void failing_create(void)
{
	uint8_t *old_image = make_store(61), *left = malloc(STORE_BYTES);
	struct set old_set = { 0 }, got = { 0 };
	struct dmfmt_dev *dev = buffer_dev(old_image, STORE_BYTES);
	unsigned i, tried = 0;
	uint64_t nr;

	CHECK(collect(dev, &old_set));
	dmfmt_dev_close(dev);
	for (i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		for (nr = 0; nr < 1000; nr++, tried++) {
			if (one_fault(old_image, STORE_BYTES, i, nr, run_create, NULL, left))
				break;
			dev = buffer_dev(left, STORE_BYTES);
			if (loads(dev)) {
				CHECK(collect(dev, &got));
				CHECK(!got.nr || same_set(&got, &old_set));
			}
			dmfmt_dev_close(dev);
		}
	}
	CHECK(tried >= 12);
	printf("# create: %u failing reads, writes and flushes\n", tried);
	free(old_image);
	free(left);
	free(old_set.v);
	free(got.v);
}

/* what a failed repair left can be repaired to the same end */
static void failing_repair(void)
{
	struct job j = { .o = { .size = sizeof(j.o) }, .origin_sectors = DMFMT_NONE,
			 .auto_loss = true, .size = STORE_BYTES };
	uint8_t *image = make_store(61), *left = malloc(STORE_BYTES);
	struct dmfmt_summary sum = { 0 };
	struct set got = { 0 };
	struct dmfmt_dev *dev;
	unsigned i, tried = 0;
	uint64_t nr;

	put_le64(image + 4096 + 16 * 3 + 8, 1);		/* two that have to go, and a stale tail */
	put_le64(image + 4096 + 16 * 40 + 8, 5000);
	put_le64(image + 4096 + 16 * 90, 77);
	memcpy(left, image, STORE_BYTES);
	dev = buffer_dev(left, STORE_BYTES);
	EQ(repair(dev, &j, &sum), 0);
	CHECK(collect(dev, &j.want));
	EQ(j.want.nr, 59);
	dmfmt_dev_close(dev);
	for (i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		for (nr = 0; nr < 1000; nr++, tried++) {
			if (one_fault(image, STORE_BYTES, i, nr, run_repair, &j, left))
				break;
			dev = buffer_dev(left, STORE_BYTES);
			EQ(repair(dev, &j, &sum), 0);
			CHECK(collect(dev, &got));
			CHECK(same_set(&got, &j.want));
			dmfmt_dev_close(dev);
		}
	}
	CHECK(tried >= 40);
	printf("# repair: %u failing reads, writes and flushes\n", tried);
	free(image);
	free(left);
	free(j.want.v);
	free(got.v);
}

int main(void)
{
	ctx = dmfmt_ctx_new();
	RUN(creates);
	RUN(restores);
	RUN(failing_create);
	RUN(failing_repair);
	RUN(repairs);
	printf("# %" PRIu64 " states in all\n", total_states);
	dmfmt_ctx_free(ctx);
	return DONE();
}
