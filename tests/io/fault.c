// SPDX-License-Identifier: GPL-2.0-or-later
/* The model of a power cut itself: which states it tries, and that the cues come in time. */
#include "io_test.h"
#include "../../libdmfmt/io/fault.h"

struct seen {
	unsigned nr;
	uint64_t last_cut;
	bool states[8][256];	/* first bytes of blocks 0 and 1, after each cut */
};

static int note(void *arg, uint64_t nr_writes, void **bufs, const uint64_t *sizes, unsigned nr_devs)
{
	struct seen *s = arg;
	uint8_t *b = bufs[0];

	EQ(nr_devs, 1);
	EQ(sizes[0], 4096);
	CHECK(nr_writes >= s->last_cut);
	s->last_cut = nr_writes;
	s->nr++;
	s->states[nr_writes][b[0] << 4 | b[512]] = true;
	memset(b, 0xee, 4096);	/* it is ours */
	return 0;
}

static unsigned count(const bool *states)
{
	unsigned i, nr = 0;

	for (i = 0; i < 256; i++)
		nr += states[i];
	return nr;
}

static void put(struct dmfmt_dev *dev, unsigned block, uint8_t a, uint8_t b)
{
	uint8_t buf[1024] = { 0 };

	buf[0] = a;
	buf[512] = b;
	EQ(dmfmt_dev_write(dev, block * 512, buf, 1024), 0);
}

static void test_states(void)
{
	struct dmfmt_world *w = dmfmt_world_new();
	struct seen s = { 0 };
	struct dmfmt_dev *dev;
	uint64_t r, wr, f;

	EQ(dmfmt_world_add(w, ctx, NULL, 4096, 512, false, "disk", NULL, &dev), 0);
	put(dev, 0, 1, 2);			/* write 0: torn or not */
	EQ(dmfmt_dev_flush(dev), 0);
	put(dev, 0, 3, 4);			/* write 1 */
	put(dev, 0, 5, 4);			/* write 2: block 1 the same again */
	EQ(dmfmt_dev_flush(dev), 0);
	EQ(dmfmt_world_each_state(w, 10, 0, 1, note, &s), s.nr);
	EQ(count(s.states[0]), 1);		/* nothing yet */
	EQ(count(s.states[1]), 4);		/* 0/1, 0/2 */
	EQ(count(s.states[2]), 4);		/* 1/3, 2/4 */
	EQ(count(s.states[3]), 6);		/* 1/3/5, 2/4 */
	CHECK(s.states[3][0x52] && s.states[3][0x34] && !s.states[3][0x00]);
	EQ(s.nr, 1 + 4 + 4 + 6);
	EQ(dmfmt_world_pending(w, 0), 0);
	EQ(dmfmt_world_pending(w, 1), 2);
	EQ(dmfmt_world_pending(w, 3), 4);
	dmfmt_world_counts(w, &r, &wr, &f);
	EQ(r, 0);
	EQ(wr, 3);
	EQ(f, 2);
	dmfmt_dev_close(dev);
	dmfmt_world_free(w);
}

static void test_one_state(void)
{
	struct dmfmt_world *w = dmfmt_world_new();
	uint8_t subset = 0x6, *b;	/* block 1 of the first write, block 0 of the second */
	struct dmfmt_dev *dev;
	uint64_t size;
	void *buf;

	EQ(dmfmt_world_add(w, ctx, NULL, 4096, 512, false, "disk", NULL, &dev), 0);
	put(dev, 0, 1, 2);
	put(dev, 0, 3, 4);
	EQ(dmfmt_world_state(w, 2, &subset, 0, &buf, &size), 0);
	b = buf;
	EQ(size, 4096);
	EQ(b[0], 3);
	EQ(b[512], 2);
	free(buf);
	EQ(dmfmt_world_state(w, 2, &subset, 1, &buf, &size), -EINVAL);
	dmfmt_dev_close(dev);
	dmfmt_world_free(w);
}

/* Beyond the bound: none, all, each alone, all but one, and the samples. */
static void test_sampled(void)
{
	struct dmfmt_world *w = dmfmt_world_new();
	struct seen s = { 0 };
	struct dmfmt_dev *dev;
	uint8_t ones[4096];

	memset(ones, 1, sizeof(ones));
	EQ(dmfmt_world_add(w, ctx, NULL, 4096, 512, false, "disk", NULL, &dev), 0);
	EQ(dmfmt_dev_write(dev, 0, ones, 4096), 0);
	EQ(dmfmt_world_each_state(w, 7, 5, 1, note, &s), 1 + 2 * (1 + 8) + 5);
	memset(&s, 0, sizeof(s));
	EQ(dmfmt_world_each_state(w, 8, 5, 1, note, &s), 1 + 256);
	dmfmt_dev_close(dev);
	dmfmt_world_free(w);
}

static int stop(void *arg, uint64_t nr_writes, void **bufs, const uint64_t *sizes, unsigned nr_devs)
{
	return ++*(unsigned *)arg == 2 ? -ESTALE : 0;
}

static void test_cut(void)
{
	struct dmfmt_world *w = dmfmt_world_new();
	struct dmfmt_dev *a, *b;
	unsigned id, calls = 0;
	uint8_t buf[4];

	EQ(dmfmt_world_add(w, ctx, NULL, 512, 512, false, "a", &id, &a), 0);
	EQ(id, 0);
	EQ(dmfmt_world_add(w, ctx, NULL, 512, 512, false, "b", &id, &b), 0);
	EQ(id, 1);
	dmfmt_world_cue(w, DMFMT_FAULT_CUT, 1);
	EQ(dmfmt_dev_write(a, 0, "xyz", 3), 0);
	EQ(dmfmt_dev_write(b, 0, "xyz", 3), 0);
	EQ(dmfmt_dev_write(a, 0, "xyz", 3), -ENODEV);
	EQ(dmfmt_dev_flush(b), -ENODEV);
	EQ(dmfmt_dev_read(b, 0, buf, 3), -ENODEV);
	EQ(dmfmt_world_each_state(w, 10, 0, 1, stop, &calls), -ESTALE);
	EQ(calls, 2);
	dmfmt_dev_close(a);
	dmfmt_dev_close(b);
	dmfmt_world_free(w);
}

/* What a failed flush drops is in no state; what came before it was durable. */
static void test_lost(void)
{
	struct dmfmt_world *w = dmfmt_world_new();
	struct seen s = { 0 };
	struct dmfmt_dev *dev;

	EQ(dmfmt_world_add(w, ctx, NULL, 4096, 512, false, "disk", NULL, &dev), 0);
	dmfmt_world_cue(w, DMFMT_FAULT_FLUSH_LOST, 1);
	put(dev, 0, 1, 1);
	EQ(dmfmt_dev_flush(dev), 0);
	put(dev, 0, 2, 2);
	EQ(dmfmt_dev_flush(dev), -EIO);
	dev->failed = 0;	/* a program that goes on regardless */
	put(dev, 0, 3, 1);
	EQ(dmfmt_dev_flush(dev), 0);
	CHECK(dmfmt_world_each_state(w, 10, 0, 1, note, &s) > 0);
	CHECK(s.states[2][0x22] && s.states[2][0x12]);
	EQ(count(s.states[3]), 2);
	CHECK(s.states[3][0x11] && s.states[3][0x31]);
	dmfmt_dev_close(dev);
	dmfmt_world_free(w);
}

struct sizes {
	unsigned small, large, data;
};

static int note_size(void *arg, uint64_t nr_writes, void **bufs, const uint64_t *sizes,
		     unsigned nr_devs)
{
	struct sizes *s = arg;

	if (nr_writes != 1)
		return 0;
	s->small += sizes[0] == 0;
	s->large += sizes[0] == 2048;
	s->data += sizes[0] >= 1024 && ((uint8_t *)bufs[0])[512] == 7;
	return 0;
}

/* A file that grows: the power may go before its size is durable, and never with data behind it. */
static void test_growing(void)
{
	struct dmfmt_world *w = dmfmt_world_new();
	struct sizes s = { 0 };
	struct dmfmt_dev *dev;

	EQ(dmfmt_world_add(w, ctx, NULL, 0, 512, true, "file", NULL, &dev), 0);
	EQ(dmfmt_dev_truncate(dev, 2048), 0);
	EQ(dmfmt_dev_write(dev, 512, "\7", 1), 0);
	EQ(dmfmt_dev_flush(dev), 0);
	EQ(dmfmt_dev_truncate(dev, 1 << 20), 0);
	EQ(dmfmt_dev_write(dev, (1 << 20) - 1, "x", 1), 0);
	CHECK(dmfmt_world_each_state(w, 10, 0, 1, note_size, &s) > 0);
	EQ(s.small, 1);
	EQ(s.large, 2);
	EQ(s.data, 2);
	dmfmt_dev_close(dev);
	dmfmt_world_free(w);
}

int main(void)
{
	test_begin();
	RUN(test_states);
	RUN(test_one_state);
	RUN(test_sampled);
	RUN(test_cut);
	RUN(test_lost);
	RUN(test_growing);
	return DONE();
}
