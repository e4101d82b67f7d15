// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The workload's hand: runs in the guest, static.  Reads commands from standard input, one per line:
 *
 *	mark WORD...			say something to the record
 *	fill ROLE DEV			write all of DEV, flush
 *	w ROLE DEV SECTOR NR		write NR sectors, wait
 *	b NR ROLE:DEV:SECTOR...		that many writes of NR sectors at once, wait for all
 *	f ROLE DEV			flush
 *	stale DEV CHUNK_SECTORS		what an old store leaves behind; its first 4 KiB are zeroed, as LVM
 *					does it; flush
 *
 * ROLE is what the model calls DEV: o (origin), s0.. (snapshot of store 0..), m0.. (its merge).  Each
 * write has a number of its own, in each of its blocks; the marks are
 *
 *	w ROLE NUMBER SECTOR NR		before it is issued
 *	a NUMBER | e NUMBER		it was acknowledged | it failed
 *	fb ROLE NUMBER, fa NUMBER	a flush begins | was acknowledged
 *
 * The numbers go on from one run to the next (/tmp/.rigio).  A write that fails is no error here.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <linux/fs.h>

#include "rig.h"

#define COUNTER "/tmp/.rigio"
#define BATCH 64

static int mark_fd;
static uint64_t number;

static void fail(const char *what)
{
	fprintf(stderr, "rigio: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void *aligned(size_t len)
{
	void *p;

	if (posix_memalign(&p, 4096, len))
		fail("memory");
	memset(p, 0, len);
	return p;
}

__attribute__((format(printf, 1, 2)))
static void mark(const char *fmt, ...)
{
	static char *buf;
	va_list ap;

	if (!buf)
		buf = aligned(RIG_SECTOR);
	memset(buf, 0, RIG_SECTOR);
	va_start(ap, fmt);
	vsnprintf(buf, RIG_SECTOR, fmt, ap);
	va_end(ap);
	if (pwrite(mark_fd, buf, RIG_SECTOR, 0) != RIG_SECTOR)
		fail("mark");
}

static int open_dev(const char *dev, int flags)
{
	int fd = open(dev, flags | O_DIRECT | O_CLOEXEC);

	if (fd < 0)
		fail(dev);
	return fd;
}

struct op {
	pthread_t thread;
	uint64_t number, sector, nr;
	void *buf;
	int fd, error;
};

static void op_prepare(struct op *o, const char *role, const char *dev, uint64_t sector, uint64_t nr)
{
	uint64_t i;

	o->number = ++number;
	o->sector = sector;
	o->nr = nr;
	o->fd = open_dev(dev, O_WRONLY);
	o->buf = aligned(nr * RIG_SECTOR);
	for (i = 0; i < nr; i++)
		rig_block_fill((struct rig_block *)o->buf + i, o->number, sector + i);
	mark("w %s %llu %llu %llu", role, (unsigned long long)o->number, (unsigned long long)sector,
	     (unsigned long long)nr);
}

static void *op_run(void *arg)
{
	struct op *o = arg;
	size_t len = o->nr * RIG_SECTOR;

	o->error = pwrite(o->fd, o->buf, len, o->sector * RIG_SECTOR) == (ssize_t)len ? 0 : EIO;
	return NULL;
}

static void op_end(struct op *o)
{
	mark("%s %llu", o->error ? "e" : "a", (unsigned long long)o->number);
	close(o->fd);
	free(o->buf);
}

static void write_one(const char *role, const char *dev, uint64_t sector, uint64_t nr)
{
	struct op o;

	op_prepare(&o, role, dev, sector, nr);
	op_run(&o);
	op_end(&o);
}

static void write_batch(uint64_t nr, char *list)
{
	struct op ops[BATCH];
	char role[16], dev[64];
	unsigned long long sector;
	unsigned n = 0, i;
	char *word;

	for (word = strtok(list, " \n"); word && n < BATCH; word = strtok(NULL, " \n"), n++) {
		if (sscanf(word, "%15[^:]:%63[^:]:%llu", role, dev, &sector) != 3)
			fail(word);
		op_prepare(&ops[n], role, dev, sector, nr);
	}
	for (i = 0; i < n; i++)
		if (pthread_create(&ops[i].thread, NULL, op_run, &ops[i]))
			fail("thread");
	for (i = 0; i < n; i++) {
		pthread_join(ops[i].thread, NULL);
		op_end(&ops[i]);
	}
}

static void flush(const char *role, const char *dev)
{
	int fd = open_dev(dev, O_WRONLY);
	uint64_t n = ++number;

	mark("fb %s %llu", role, (unsigned long long)n);
	if (!fsync(fd))
		mark("fa %llu", (unsigned long long)n);
	close(fd);
}

static uint64_t sectors_of(const char *dev)
{
	int fd = open_dev(dev, O_RDONLY);
	uint64_t bytes;

	if (ioctl(fd, BLKGETSIZE64, &bytes))
		fail(dev);
	close(fd);
	return bytes / RIG_SECTOR;
}

static void put64(uint8_t *p, uint64_t v)
{
	unsigned i;

	for (i = 0; i < 8; i++)
		p[i] = v >> 8 * i;
}

/* areas as a store with the same chunk size has them that was used for long, over numbered data */
static void stale(const char *dev, uint64_t c)
{
	uint64_t nr = sectors_of(dev), e = 32 * c, i, loc, k;
	struct rig_block *buf = aligned(nr * RIG_SECTOR);
	uint8_t *area;
	int fd = open_dev(dev, O_WRONLY);

	for (i = 0; i < nr; i++)
		rig_block_fill(buf + i, RIG_STALE_OP, i);
	for (k = 0; (loc = 1 + k * (e + 1)) < nr / c; k++) {
		area = (uint8_t *)(buf + loc * c);
		memset(area, 0, c * RIG_SECTOR);
		for (i = 0; i < e && loc + 1 + i < nr / c; i++) {
			put64(area + 16 * i, (k * e + i) * 7 % (e + 1));
			put64(area + 16 * i + 8, loc + 1 + i);
		}
	}
	memset(buf, 0, 4096);
	if (pwrite(fd, buf, nr * RIG_SECTOR, 0) != (ssize_t)(nr * RIG_SECTOR) || fsync(fd))
		fail(dev);
	close(fd);
	free(buf);
}

static void command(char *line)
{
	char role[16], dev[64];
	unsigned long long a, b;
	int at;

	line[strcspn(line, "\n")] = 0;
	if (!strncmp(line, "mark ", 5)) {
		mark("%s", line + 5);
	} else if (sscanf(line, "fill %15s %63s", role, dev) == 2) {
		write_one(role, dev, 0, sectors_of(dev));
		flush(role, dev);
	} else if (sscanf(line, "w %15s %63s %llu %llu", role, dev, &a, &b) == 4) {
		write_one(role, dev, a, b);
	} else if (sscanf(line, "b %llu %n", &a, &at) == 1) {
		write_batch(a, line + at);
	} else if (sscanf(line, "f %15s %63s", role, dev) == 2) {
		flush(role, dev);
	} else if (sscanf(line, "stale %63s %llu", dev, &a) == 2) {
		stale(dev, a);
	} else if (*line && *line != '#') {
		errno = EINVAL;
		fail(line);
	}
}

static void counter_load(void)
{
	FILE *f = fopen(COUNTER, "r");

	if (!f)
		return;
	if (fread(&number, sizeof(number), 1, f) != 1)
		fail(COUNTER);
	fclose(f);
}

static void counter_save(void)
{
	FILE *f = fopen(COUNTER, "w");

	if (!f || fwrite(&number, sizeof(number), 1, f) != 1 || fclose(f))
		fail(COUNTER);
}

int main(int argc, char **argv)
{
	char line[4096];

	if (argc != 2) {
		fputs("usage: rigio MARK_DEVICE <COMMANDS\n", stderr);
		return 16;
	}
	mark_fd = open_dev(argv[1], O_WRONLY);
	counter_load();
	while (fgets(line, sizeof(line), stdin))
		command(line);
	counter_save();
	return 0;
}
