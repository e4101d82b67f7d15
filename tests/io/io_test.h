/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files in a folder of their own, and content that says where it belongs; for the tests of io/. */
#ifndef TESTS_IO_TEST_H
#define TESTS_IO_TEST_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "../lib/tap.h"
#include "../../libdmfmt/io/dev.h"

static char test_folder[PATH_MAX];
static struct dmfmt_ctx *ctx;

static inline void test_clean(void)
{
	char command[PATH_MAX + 16];

	dmfmt_ctx_free(ctx);
	snprintf(command, sizeof(command), "rm -rf '%s'", test_folder);
	if (system(command))
		perror(command);
}

static inline void test_begin(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(test_folder, sizeof(test_folder), "%s/dmfmt-io-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(test_folder)) {
		perror(test_folder);
		exit(1);
	}
	ctx = dmfmt_ctx_new();
	atexit(test_clean);
}

/* a path in the folder, valid until the end */
static inline const char *in_folder(const char *name)
{
	static char paths[64][PATH_MAX + 64];
	char path[PATH_MAX + 64];
	size_t i;

	snprintf(path, sizeof(path), "%s/%.60s", test_folder, name);
	for (i = 0; i < 63 && paths[i][0] && strcmp(paths[i], path); i++)
		;
	return strcpy(paths[i], path);
}

static inline uint8_t pattern(uint64_t off, unsigned seed)
{
	uint64_t x = (off >> 3) * UINT64_C(0x9e3779b97f4a7c15) + seed;

	return x >> (off & 7) * 8 >> 3 ^ off;
}

static inline void fill(void *buf, uint64_t off, size_t len, unsigned seed)
{
	size_t i;

	for (i = 0; i < len; i++)
		((uint8_t *)buf)[i] = pattern(off + i, seed);
}

static inline bool is_filled(const void *buf, uint64_t off, size_t len, unsigned seed)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (((const uint8_t *)buf)[i] != pattern(off + i, seed))
			return false;
	return true;
}

static inline void make_file(const char *path, uint64_t size, unsigned seed)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	static uint8_t buf[65536];
	uint64_t off;

	CHECK(fd >= 0);
	for (off = 0; off < size; off += sizeof(buf)) {
		size_t n = size - off < sizeof(buf) ? size - off : sizeof(buf);

		fill(buf, off, n, seed);
		EQ(write(fd, buf, n), n);
	}
	close(fd);
}

static inline bool error_has(const char *words)
{
	if (strstr(dmfmt_ctx_error(ctx), words))
		return true;
	printf("# error: %s\n", dmfmt_ctx_error(ctx));
	return false;
}

#endif
