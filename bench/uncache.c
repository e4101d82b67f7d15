/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * uncache - forget the cached pages of files, so that the next read is a cold one
 *
 * usage: uncache FILE...
 *
 * Dirty pages are written first: they cannot be forgotten.  Root may drop everything that the machine
 * has cached (directories and extent maps too); others give up the files' pages alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int drop_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int err;

	if (fd < 0 || fsync(fd)) {
		fprintf(stderr, "uncache: %s: %s\n", path, strerror(errno));
		return 8;
	}
	err = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	close(fd);
	if (err)
		fprintf(stderr, "uncache: %s: %s\n", path, strerror(err));
	return err ? 8 : 0;
}

static void drop_machine(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "3\n", 2) != 2)
		fprintf(stderr, "uncache: drop_caches: %s\n", strerror(errno));
	close(fd);
}

int main(int argc, char **argv)
{
	int i, err = 0;

	for (i = 1; i < argc; i++)
		err |= drop_file(argv[i]);
	drop_machine();
	return err;
}
