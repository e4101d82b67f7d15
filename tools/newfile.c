// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "newfile.h"
#include "progress.h"

#define COPY_BYTES  (1024 * 1024)
#define COPY_ALIGN  4096
#define HOLE_BYTES  4096	/* what a hole is made of */

static char *dir_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return strdup(".");
	return slash == path ? strdup("/") : strndup(path, slash - path);
}

static const char *name_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

int newfile_init(struct tool *t, struct newfile *nf, const char *path)
{
	char *dir = dir_of(path);
	struct stat st;

	*nf = (struct newfile){ .final = strdup(path) };
	if (!dir || !nf->final ||
	    asprintf(&nf->temp, "%s/.%s.%ld.tmp", dir, name_of(path), (long)getpid()) < 0)
		nf->temp = NULL;
	free(dir);
	if (!nf->temp) {
		tool_error(t, "%s: %s", path, strerror(ENOMEM));
		return STATUS_ERROR;
	}
	if (!*name_of(path))
		return tool_usage(t, "%s: found a directory, expected the name of a new file",
				  path);
	if (!lstat(path, &st)) {
		tool_error(t, "%s: found a file, expected a new name", path);
		return STATUS_ERROR;
	}
	return 0;
}

int newfile_open(struct newfile *nf)
{
	int fd = open(nf->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	nf->made = true;
	return fd;
}

static int sync_dir(const char *path)
{
	char *dir = dir_of(path);
	int fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int err = dir ? 0 : ENOMEM;

	free(dir);
	if (err || fd < 0)
		return err ? err : errno;
	/* some file systems cannot sync a directory and say so */
	if (fsync(fd) && errno != EINVAL)
		err = errno;
	close(fd);
	return err;
}

static int rename_new(const char *from, const char *to)
{
	if (!renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE))
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return errno;
	if (link(from, to))
		return errno;
	return unlink(from) ? errno : 0;
}

int newfile_commit(struct tool *t, struct newfile *nf)
{
	int err = rename_new(nf->temp, nf->final);

	if (!err) {
		nf->made = false;
		err = sync_dir(nf->final);
	}
	if (!err)
		return 0;
	tool_error(t, "%s: %s", nf->final, strerror(err));
	return STATUS_ERROR;
}

void newfile_drop(struct newfile *nf)
{
	if (nf->made)
		unlink(nf->temp);
	free(nf->temp);
	free(nf->final);
	*nf = (struct newfile){ 0 };
}

/* ---- copying ---- */

struct copy {
	int from, to;
	char *buf;
	uint64_t size, done;
};

static bool is_zero(const char *p, size_t n)
{
	return !n || (!*p && !memcmp(p, p + 1, n - 1));
}

static int write_at(int fd, const char *p, size_t n, uint64_t off)
{
	while (n) {
		ssize_t done = pwrite(fd, p, n, (off_t)off);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done ? errno : EIO;
		p += done;
		n -= done;
		off += done;
	}
	return 0;
}

static int write_sparse(int fd, const char *p, size_t n, uint64_t off)
{
	while (n) {
		size_t part = n < HOLE_BYTES ? n : HOLE_BYTES;
		int err = is_zero(p, part) ? 0 : write_at(fd, p, part, off);

		if (err)
			return err;
		p += part;
		n -= part;
		off += part;
	}
	return 0;
}

/* the whole buffer, or up to the end of the device */
static ssize_t read_at(const struct copy *c)
{
	size_t want = c->size - c->done < COPY_BYTES ? c->size - c->done : COPY_BYTES;
	ssize_t n;

	do
		n = pread(c->from, c->buf, COPY_BYTES, (off_t)c->done);
	while (n < 0 && errno == EINTR);
	return n > (ssize_t)want ? (ssize_t)want : n;
}

/* the next data of a regular file; a hole needs no reading */
static void skip_hole(struct copy *c)
{
	off_t data = lseek(c->from, (off_t)c->done, SEEK_DATA);

	if (data < 0 && errno == ENXIO)
		c->done = c->size;
	else if (data > (off_t)c->done)
		c->done = (uint64_t)data / COPY_ALIGN * COPY_ALIGN > c->done ?
			  (uint64_t)data / COPY_ALIGN * COPY_ALIGN : c->done;
}

static int copy_all(struct tool *t, struct copy *c, const char *name)
{
	uint64_t bytes = 0;

	for (skip_hole(c); c->done < c->size; skip_hole(c)) {
		ssize_t n = read_at(c);
		int err;

		if (n <= 0) {
			tool_error(t, "%s: byte %llu: %s", name, (unsigned long long)c->done,
				   n ? strerror(errno) : "the device ends early");
			return STATUS_ERROR;
		}
		err = write_sparse(c->to, c->buf, n, c->done);
		if (err) {
			tool_error(t, "%s: %s", t->o.output, strerror(err));
			return STATUS_ERROR;
		}
		c->done += n;
		bytes += 2 * (uint64_t)n;
		if (progress_report("copying", 1, 1, c->done, c->size, bytes)) {
			tool_error(t, "stopped: nothing was changed");
			return STATUS_CANCELLED;
		}
	}
	if (!ftruncate(c->to, (off_t)c->size) && !fsync(c->to))
		return 0;
	tool_error(t, "%s: %s", t->o.output, strerror(errno));
	return STATUS_ERROR;
}

/* a kernel target writes a block device past the page cache, so it is read past it as well */
static int open_source(const char *from, struct stat *st)
{
	int fd;

	if (stat(from, st))
		return -1;
	fd = open(from, O_RDONLY | O_CLOEXEC | (S_ISBLK(st->st_mode) ? O_DIRECT : 0));
	if (fd < 0 && errno == EINVAL)
		fd = open(from, O_RDONLY | O_CLOEXEC);
	return fd;
}

int newfile_copy(struct tool *t, const char *from, int to)
{
	struct copy c = { .to = to };
	struct stat st;
	off_t size;
	int status;

	c.from = open_source(from, &st);
	size = c.from < 0 ? -1 : lseek(c.from, 0, SEEK_END);
	if (size >= 0 && posix_memalign((void **)&c.buf, COPY_ALIGN, COPY_BYTES)) {
		errno = ENOMEM;
		size = -1;
	}
	if (size < 0) {
		tool_error(t, "%s: %s", from, strerror(errno));
		status = STATUS_ERROR;
	} else {
		c.size = (uint64_t)size;
		status = copy_all(t, &c, from);
	}
	free(c.buf);
	if (c.from >= 0)
		close(c.from);
	return status;
}
