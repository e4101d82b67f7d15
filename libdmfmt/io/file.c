// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The bottom of a regular file or a block device.
 *
 * O_DIRECT wants buffers, offsets and lengths in whole logical blocks.  Whatever is not goes
 * through a bounce buffer, a window at a time:
 *
 *      off          off+len
 *       |==============|            what the caller wants
 *   |-------|-------|-------|       the window: whole blocks; a write reads the first and the last
 *                                   one before, if it covers them in part only
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include "dev.h"

#define BOUNCE_BYTES (1u << 20)
#define BOUNCE_ALIGN 4096

struct file_layer {
	struct dmfmt_layer l;
	int fd;
	int dirfd;		/* of a new file whose name is not durable yet, else -1 */
	bool direct;
	uint32_t block;
	uint8_t *bounce;
};

static struct file_layer *to_file(struct dmfmt_layer *l)
{
	return (struct file_layer *)l;
}

int dmfmt_fd_read(int fd, uint64_t off, void *buf, size_t len, size_t need)
{
	size_t done = 0;

	while (done < need) {
		ssize_t n = pread(fd, (char *)buf + done, len - done, off + done);

		if (n > 0)
			done += n;
		else if (!n)
			return -EIO;	/* it has shrunk since it was opened */
		else if (errno != EINTR)
			return -errno;
	}
	return 0;
}

static int fd_write(int fd, uint64_t off, const void *buf, size_t len)
{
	while (len) {
		ssize_t n = pwrite(fd, buf, len, off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return -EIO;
		buf = (const char *)buf + n;
		off += n;
		len -= n;
	}
	return 0;
}

static bool is_aligned(const struct file_layer *f, uint64_t off, const void *buf, size_t len)
{
	uintptr_t mem_mask = (f->block < BOUNCE_ALIGN ? f->block : BOUNCE_ALIGN) - 1;

	return !f->direct ||
	       (!((off | len) & (f->block - 1)) && !((uintptr_t)buf & mem_mask));
}

static int get_bounce(struct file_layer *f)
{
	void *p;

	if (f->bounce)
		return 0;
	if (posix_memalign(&p, BOUNCE_ALIGN, BOUNCE_BYTES))
		return -ENOMEM;
	f->bounce = p;
	return 0;
}

/* The window at @off: its start, its length in *@win, and how much of @len lies in it. */
static uint64_t window(const struct file_layer *f, uint64_t off, size_t len, size_t *win,
		       size_t *part)
{
	uint64_t start = off & ~(uint64_t)(f->block - 1);
	size_t skip = off - start;

	*part = len < BOUNCE_BYTES - skip ? len : BOUNCE_BYTES - skip;
	*win = (skip + *part + f->block - 1) & ~(size_t)(f->block - 1);
	return start;
}

static int file_read(struct dmfmt_layer *l, uint64_t off, void *buf, size_t len)
{
	struct file_layer *f = to_file(l);
	int err;

	if (is_aligned(f, off, buf, len))
		return dmfmt_fd_read(f->fd, off, buf, len, len);
	err = get_bounce(f);
	while (!err && len) {
		size_t win, part;
		uint64_t start = window(f, off, len, &win, &part);

		err = dmfmt_fd_read(f->fd, start, f->bounce, win, off - start + part);
		if (!err)
			memcpy(buf, f->bounce + (off - start), part);
		buf = (char *)buf + part;
		off += part;
		len -= part;
	}
	return err;
}

/* Read the blocks at the ends of the window that the write covers only in part. */
static int read_edges(struct file_layer *f, uint64_t start, size_t win, size_t skip, size_t part)
{
	size_t last = win - f->block;
	bool head = skip, tail = skip + part < win;
	int err = 0;

	if (head)
		err = dmfmt_fd_read(f->fd, start, f->bounce, f->block, f->block);
	if (!err && tail && !(head && !last))
		err = dmfmt_fd_read(f->fd, start + last, f->bounce + last, f->block, f->block);
	return err;
}

static int file_write(struct dmfmt_layer *l, uint64_t off, const void *buf, size_t len)
{
	struct file_layer *f = to_file(l);
	int err;

	if (is_aligned(f, off, buf, len))
		return fd_write(f->fd, off, buf, len);
	err = get_bounce(f);
	while (!err && len) {
		size_t win, part;
		uint64_t start = window(f, off, len, &win, &part);

		err = read_edges(f, start, win, off - start, part);
		if (!err) {
			memcpy(f->bounce + (off - start), buf, part);
			err = fd_write(f->fd, start, f->bounce, win);
		}
		buf = (const char *)buf + part;
		off += part;
		len -= part;
	}
	return err;
}

/* EINTR from a sync does not say what has been written: ask again.  Any other error stays. */
static int sync_fd(int fd, int (*fn)(int fd))
{
	while (fn(fd))
		if (errno != EINTR)
			return -errno;
	return 0;
}

static int file_flush(struct dmfmt_layer *l)
{
	struct file_layer *f = to_file(l);
	int err;

	err = sync_fd(f->fd, fdatasync);
	if (err || f->dirfd < 0)
		return err;
	err = sync_fd(f->dirfd, fsync);
	if (err && err != -EINVAL)	/* EINVAL: this file system syncs no directories */
		return err;
	close(f->dirfd);
	f->dirfd = -1;
	return 0;
}

static int file_truncate(struct dmfmt_layer *l, uint64_t size)
{
	while (ftruncate(to_file(l)->fd, size))
		if (errno != EINTR)
			return -errno;
	return 0;
}

static void file_close(struct dmfmt_layer *l)
{
	struct file_layer *f = to_file(l);

	if (f->dirfd >= 0)
		close(f->dirfd);
	/* at once, even if the kernel still has a hand on the file (io_uring's workers) */
	flock(f->fd, LOCK_UN);
	close(f->fd);
	free(f->bounce);
	free(f);
}

static const struct dmfmt_layer_ops file_ops = {
	.name = "file",
	.read = file_read,
	.write = file_write,
	.flush = file_flush,
	.truncate = file_truncate,
	.close = file_close,
};

int dmfmt_file_layer_new(int fd, bool direct, uint32_t block, struct dmfmt_layer **out)
{
	struct file_layer *f;

	if (!block || (block & (block - 1)) || block > BOUNCE_BYTES / 2)
		return -EINVAL;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->l.ops = &file_ops;
	f->fd = fd;
	f->dirfd = -1;
	f->direct = direct;
	f->block = block;
	*out = &f->l;
	return 0;
}

void dmfmt_file_layer_set_dir(struct dmfmt_layer *l, int dirfd)
{
	to_file(l)->dirfd = dirfd;
}

int dmfmt_file_layer_fd(const struct dmfmt_layer *l, bool *direct)
{
	const struct file_layer *f = (const struct file_layer *)l;

	*direct = l->ops == &file_ops && f->direct;
	return l->ops == &file_ops ? f->fd : -1;
}
