// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "io.h"

#define NOTES 200
#define NOTE_BYTES 160

/* ---- random numbers, time -------------------------------------------------------------------- */

static __thread uint64_t rnd_state = 1;

void rnd_seed(uint64_t seed)
{
	rnd_state = seed;
	/* neighbours would else give the same numbers, one step apart */
	rnd_state = rnd() ^ seed << 32;
}

uint64_t rnd(void)
{
	uint64_t z = rnd_state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

uint64_t rnd_below(uint64_t n)
{
	return n ? rnd() % n : 0;
}

bool chance(unsigned int percent)
{
	return rnd_below(100) < percent;
}

uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- what was done last ---------------------------------------------------------------------- */

static pthread_mutex_t notes_lock = PTHREAD_MUTEX_INITIALIZER;
static char notes[NOTES][NOTE_BYTES];
static unsigned long nr_notes;
bool notes_shown;

void note(const char *format, ...)
{
	va_list args;
	char *line;

	pthread_mutex_lock(&notes_lock);
	line = notes[nr_notes++ % NOTES];
	va_start(args, format);
	vsnprintf(line, NOTE_BYTES, format, args);
	va_end(args);
	if (notes_shown)
		puts(line);
	pthread_mutex_unlock(&notes_lock);
}

static void die(const char *format, va_list args)
{
	unsigned long i;

	pthread_mutex_lock(&notes_lock);
	printf("the last operations:\n");
	for (i = nr_notes > NOTES ? nr_notes - NOTES : 0; i < nr_notes; i++)
		printf("  %s\n", notes[i % NOTES]);
	printf("FAIL ");
	vprintf(format, args);
	printf("\n");
	fflush(stdout);
	_exit(1);
}

void fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	die(format, args);
	va_end(args);
	_exit(1);
}

void must(int err, const char *format, ...)
{
	char text[256];
	va_list args;

	if (!err)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fail("%s: %s", text, strerror(-err));
}

/* ---- data ------------------------------------------------------------------------------------ */

void *pages(size_t bytes)
{
	void *p;

	if (posix_memalign(&p, 4096, bytes ? bytes : 4096))
		fail("out of memory");
	memset(p, 0, bytes);
	return p;
}

void fill(void *buf, uint64_t sector, uint64_t nr, uint64_t tag)
{
	uint64_t *word = buf, i, w;

	for (i = 0; i < nr; i++) {
		uint64_t mix = (tag + 1) * 0x9e3779b97f4a7c15u ^ (sector + i) * 0xc2b2ae3d27d4eb4fu;

		*word++ = tag;
		*word++ = sector + i;
		for (w = 2; w < SECTOR / 8; w++)
			*word++ = mix + w;
	}
}

uint64_t tag_of(const void *sector)
{
	uint64_t tag;

	memcpy(&tag, sector, sizeof(tag));
	return tag;
}

uint64_t differs(const void *a, const void *b, uint64_t nr)
{
	uint64_t i;

	if (!memcmp(a, b, nr * SECTOR))
		return nr;
	for (i = 0; i < nr; i++)
		if (memcmp((const char *)a + i * SECTOR, (const char *)b + i * SECTOR, SECTOR))
			break;
	return i;
}

/* ---- one by one ------------------------------------------------------------------------------ */

int open_direct(const char *node)
{
	int fd = open(node, O_RDWR | O_DIRECT | O_CLOEXEC);

	if (fd < 0)
		fail("%s: cannot be opened: %s", node, strerror(errno));
	return fd;
}

static int result_of(ssize_t got, uint64_t nr)
{
	if (got < 0)
		return -errno;
	return (uint64_t)got == nr * SECTOR ? 0 : -EIO;
}

int sectors_read(int fd, void *buf, uint64_t sector, uint64_t nr)
{
	return result_of(pread(fd, buf, nr * SECTOR, (off_t)(sector * SECTOR)), nr);
}

int sectors_write(int fd, const void *buf, uint64_t sector, uint64_t nr)
{
	return result_of(pwrite(fd, buf, nr * SECTOR, (off_t)(sector * SECTOR)), nr);
}

/* ---- many at once ---------------------------------------------------------------------------- */

void batch_init(struct batch *b, unsigned int max)
{
	memset(b, 0, sizeof(*b));
	b->cb = calloc(max, sizeof(*b->cb));
	b->list = calloc(max, sizeof(*b->list));
	b->result = calloc(max, sizeof(*b->result));
	b->max = max;
	if (!b->cb || !b->list || !b->result)
		fail("out of memory");
	if (syscall(SYS_io_setup, max, &b->context) < 0)
		fail("io_setup: %s", strerror(errno));
}

void batch_reset(struct batch *b)
{
	b->nr = 0;
}

void batch_add(struct batch *b, int fd, bool write, void *buf, uint64_t sector, uint64_t nr)
{
	struct iocb *cb = &b->cb[b->nr];

	if (b->nr == b->max)
		fail("batch: more than %u", b->max);
	memset(cb, 0, sizeof(*cb));
	cb->aio_data = b->nr;
	cb->aio_lio_opcode = write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD;
	cb->aio_fildes = (uint32_t)fd;
	cb->aio_buf = (uintptr_t)buf;
	cb->aio_nbytes = nr * SECTOR;
	cb->aio_offset = (int64_t)(sector * SECTOR);
	b->list[b->nr] = cb;
	b->result[b->nr] = -EINPROGRESS;
	b->nr++;
}

static void batch_reap(struct batch *b, unsigned int nr)
{
	struct io_event event;

	while (nr) {
		long got = syscall(SYS_io_getevents, b->context, 1L, 1L, &event, NULL);
		unsigned int i;

		if (got < 0 && errno == EINTR)
			continue;
		if (got != 1)
			fail("io_getevents: %s", strerror(errno));
		i = (unsigned int)event.data;
		if (event.res < 0)
			b->result[i] = (int)event.res;
		else
			b->result[i] = (uint64_t)event.res == b->cb[i].aio_nbytes ? 0 : -EIO;
		nr--;
	}
}

void batch_run(struct batch *b)
{
	unsigned int sent = 0, in_flight = 0;

	while (sent < b->nr) {
		long got = syscall(SYS_io_submit, b->context, (long)(b->nr - sent), b->list + sent);

		if (got > 0) {
			sent += (unsigned int)got;
			in_flight += (unsigned int)got;
		} else if (got < 0 && errno == EAGAIN && in_flight) {
			batch_reap(b, 1);
			in_flight--;
		} else if (got < 0 && errno == EIO) {
			b->result[sent++] = -EIO;
		} else if (got < 0 && errno != EAGAIN && errno != EINTR) {
			fail("io_submit: %s", strerror(errno));
		}
	}
	batch_reap(b, in_flight);
}
