// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * pressure hog MIB		take and lock memory until only MIB are available, say so, and hold it
 * pressure write DIR MIB SEED	write that much, buffered, into files of 1 MiB, four threads, then fsync
 * pressure check DIR MIB SEED	is it there?
 * pressure endless DIR MIB SEED	write until killed
 *
 * What a file must hold depends on its number and SEED alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "io.h"

#define FILE_SECTORS 2048u
#define STEP_SECTORS 64u
#define THREADS 4u

static const char *dir;
static unsigned int nr_files;
static uint64_t seed;

static unsigned long available_kib(void)
{
	unsigned long kib = 0;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "r");

	if (!f)
		fail("/proc/meminfo: %s", strerror(errno));
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %lu", &kib) == 1)
			break;
	fclose(f);
	return kib;
}

static int hog(unsigned long mib)
{
	const size_t step = 1 << 20;
	unsigned long taken = 0;
	int fd = open("/proc/self/oom_score_adj", O_WRONLY);

	/* the test is about writes that wait for memory, not about who is killed */
	if (fd < 0 || write(fd, "-1000", 5) != 5)
		fail("oom_score_adj: %s", strerror(errno));
	close(fd);
	while (available_kib() > mib << 10) {
		void *p = mmap(NULL, step, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_LOCKED, -1, 0);

		if (p == MAP_FAILED)
			break;
		memset(p, 1, step);
		taken++;
	}
	printf("@say hog taken %lu\n@say hog left %lu\n", taken, available_kib());
	fflush(stdout);
	pause();
	return 0;
}

static int file_open(unsigned int nr, int flags)
{
	char name[256];
	int fd;

	snprintf(name, sizeof(name), "%s/file%u", dir, nr);
	fd = open(name, flags, 0600);
	if (fd < 0)
		fail("%s: %s", name, strerror(errno));
	return fd;
}

static void *write_files(void *arg)
{
	uint8_t *buf = pages(STEP_SECTORS * SECTOR);
	unsigned int nr, at;
	int fd;

	for (nr = (unsigned int)(uintptr_t)arg; nr < nr_files; nr += THREADS) {
		fd = file_open(nr, O_WRONLY | O_CREAT);
		for (at = 0; at < FILE_SECTORS; at += STEP_SECTORS) {
			fill(buf, nr * FILE_SECTORS + at, STEP_SECTORS, seed);
			must(sectors_write(fd, buf, at, STEP_SECTORS), "file %u: write", nr);
		}
		if (nr % 8 == 0 && fsync(fd))
			fail("file %u: fsync: %s", nr, strerror(errno));
		close(fd);
	}
	free(buf);
	return NULL;
}

static int write_all(void)
{
	pthread_t thread[THREADS];
	unsigned int i, nr;
	int fd;

	for (i = 0; i < THREADS; i++)
		if (pthread_create(&thread[i], NULL, write_files, (void *)(uintptr_t)i))
			fail("thread %u cannot be started", i);
	for (i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	for (nr = 0; nr < nr_files; nr++) {
		fd = file_open(nr, O_WRONLY);
		if (fsync(fd))
			fail("file %u: fsync: %s", nr, strerror(errno));
		close(fd);
	}
	return 0;
}

static int check_files(void)
{
	uint8_t *buf = pages(STEP_SECTORS * SECTOR), *expected = pages(STEP_SECTORS * SECTOR);
	unsigned int nr, at, bad;
	int fd;

	for (nr = 0; nr < nr_files; nr++) {
		fd = file_open(nr, O_RDONLY);
		for (at = 0; at < FILE_SECTORS; at += STEP_SECTORS) {
			must(sectors_read(fd, buf, at, STEP_SECTORS), "file %u: read", nr);
			fill(expected, nr * FILE_SECTORS + at, STEP_SECTORS, seed);
			bad = (unsigned int)differs(buf, expected, STEP_SECTORS);
			if (bad < STEP_SECTORS)
				fail("%s/file%u: sector %u: found seed %lu, expected %lu", dir, nr, at + bad,
				     tag_of(buf + bad * SECTOR), seed);
		}
		close(fd);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "hog"))
		return hog(strtoul(argv[2], NULL, 0));
	if (argc != 5)
		return 2;
	dir = argv[2];
	nr_files = (unsigned int)strtoul(argv[3], NULL, 0);
	seed = strtoull(argv[4], NULL, 0);
	if (!strcmp(argv[1], "write"))
		return write_all();
	if (!strcmp(argv[1], "check"))
		return check_files();
	while (!strcmp(argv[1], "endless"))
		write_all();
	return 2;
}
