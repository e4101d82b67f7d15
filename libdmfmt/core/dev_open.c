// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The public side of devices: opening, with the question who else uses them, and putting layers on.
 *
 * A path is looked at with stat() first, because merely opening some character devices does things
 * (a tape rewinds), then opened with O_NONBLOCK, so that a FIFO put in its place between cannot
 * block us, and looked at again through the descriptor.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>
#include "../io/dev.h"
#include "../sys/inuse.h"
#include "../sys/sysfs.h"

#define SECTOR 512u
#define ALL_FLAGS (DMFMT_OPEN_WRITE | DMFMT_OPEN_LIVE | DMFMT_OPEN_CREATE)

/* What is known while a device is being opened. */
struct opening {
	struct dmfmt_ctx *ctx;
	const char *path;
	unsigned flags;
	int fd;
	struct stat st;
	bool direct;
	bool created;
	uint32_t block;
	uint64_t size;
	char *holder;
};

static int fail_errno(struct opening *o, int err, const char *what)
{
	errno = -err;
	return dmfmt_fail(o->ctx, err, "%s: cannot %s: %m", o->path, what);
}

static int check_kind(struct opening *o)
{
	mode_t m = o->st.st_mode;
	const char *kind;

	if (S_ISREG(m) || S_ISBLK(m))
		return 0;
	kind = S_ISDIR(m) ? "a directory" : S_ISCHR(m) ? "a character device" :
	       S_ISFIFO(m) ? "a FIFO" : S_ISSOCK(m) ? "a socket" : "something else";
	return dmfmt_fail(o->ctx, -EINVAL, "%s: is %s, expected a regular file or a block device",
			  o->path, kind);
}

static int in_use(struct opening *o)
{
	const char *holder = o->holder ? o->holder : "opened by another program";

	if (o->flags & DMFMT_OPEN_WRITE)
		return dmfmt_fail(o->ctx, -EBUSY,
				  "%s: is in use (%s), expected a device nobody uses", o->path,
				  holder);
	return dmfmt_fail(o->ctx, -EBUSY,
			  "%s: is in use (%s), expected a device nobody uses, or --live", o->path,
			  holder);
}

static int check_holder(struct opening *o)
{
	int err = dmfmt_inuse(&dmfmt_roots_live, &o->st, &o->holder);

	if (err)
		return fail_errno(o, err, "look for users");
	if (o->holder && (o->flags & DMFMT_OPEN_WRITE || !(o->flags & DMFMT_OPEN_LIVE)))
		return in_use(o);
	return 0;
}

/* open(2), patient with O_EXCL: a reader that only asks (check_exclusive()) holds the device for a
 * moment as well. */
static int open_patiently(const char *path, int flags)
{
	struct timespec pause = { .tv_nsec = 20 * 1000 * 1000 };
	int fd, i;

	for (i = 0; i < 5; i++) {
		fd = open(path, flags);
		if (fd >= 0 || errno != EBUSY || !(flags & O_EXCL))
			return fd;
		nanosleep(&pause, NULL);
	}
	errno = EBUSY;
	return -1;
}

static int open_fd(struct opening *o)
{
	bool wr = o->flags & DMFMT_OPEN_WRITE;
	bool blk = S_ISBLK(o->st.st_mode);
	int flags = (wr ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;

	if (blk)
		flags |= O_DIRECT | (wr ? O_EXCL : 0);
	o->fd = open_patiently(o->path, flags);
	if (o->fd < 0 && errno == EINVAL && blk)
		o->fd = open_patiently(o->path, flags & ~O_DIRECT);
	if (o->fd >= 0)
		return 0;
	if (errno == EBUSY && blk)
		return in_use(o);
	return fail_errno(o, -errno, wr ? "open for writing" : "open");
}

/* Does somebody hold the device whom no list names, such as another dmtool that writes? */
static int check_exclusive(struct opening *o)
{
	int fd = open_patiently(o->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_EXCL);

	if (fd < 0)
		return errno == EBUSY ? in_use(o) : 0;
	close(fd);
	return 0;
}

static int lock_file(struct opening *o)
{
	bool wr = o->flags & DMFMT_OPEN_WRITE;

	if (!wr && (o->flags & DMFMT_OPEN_LIVE))
		return 0;
	if (!flock(o->fd, (wr ? LOCK_EX : LOCK_SH) | LOCK_NB))
		return 0;
	if (errno == EWOULDBLOCK)
		return dmfmt_fail(o->ctx, -EBUSY,
				  "%s: is locked by another program, expected a file nobody %s%s",
				  o->path, wr ? "uses" : "writes", wr ? "" : ", or --live");
	/* no locks on this file system: a reader can live with that */
	return wr ? fail_errno(o, -errno, "lock") : 0;
}

static int measure_block(struct opening *o)
{
	uint64_t bytes;
	int block, flags, read_only = 0;

	if (ioctl(o->fd, BLKGETSIZE64, &bytes))
		return fail_errno(o, -errno, "get the size");
	/* O_RDWR succeeds on a read-only device; its writes would fail one by one */
	if ((o->flags & DMFMT_OPEN_WRITE) && !ioctl(o->fd, BLKROGET, &read_only) && read_only)
		return dmfmt_fail(o->ctx, -EROFS, "%s: the device is read-only, expected a writable one",
				  o->path);
	if (ioctl(o->fd, BLKSSZGET, &block) || block < (int)SECTOR || (block & (block - 1)))
		return fail_errno(o, -EINVAL, "get the logical block size");
	flags = fcntl(o->fd, F_GETFL);
	o->direct = flags >= 0 && (flags & O_DIRECT);
	o->block = block;
	o->size = bytes;
	return 0;
}

static int measure(struct opening *o)
{
	int flags;

	/* io_uring would pass EAGAIN on to us */
	flags = fcntl(o->fd, F_GETFL);
	if (flags < 0 || fcntl(o->fd, F_SETFL, flags & ~O_NONBLOCK))
		return fail_errno(o, -errno, "set the flags of the descriptor");
	if (S_ISBLK(o->st.st_mode))
		return measure_block(o);
	/* again: a writer may have been at work until we had the lock */
	if (fstat(o->fd, &o->st))
		return fail_errno(o, -errno, "get the size");
	o->block = SECTOR;
	o->size = o->st.st_size;
	return 0;
}

static int open_existing(struct opening *o)
{
	int err;

	if (stat(o->path, &o->st))
		return fail_errno(o, -errno, "open");
	err = check_kind(o);
	if (!err)
		err = check_holder(o);
	if (!err)
		err = open_fd(o);
	if (err)
		return err;
	if (fstat(o->fd, &o->st))
		return fail_errno(o, -errno, "open");
	err = check_kind(o);
	if (!err && S_ISREG(o->st.st_mode))
		err = lock_file(o);
	else if (!err && !(o->flags & (DMFMT_OPEN_WRITE | DMFMT_OPEN_LIVE)))
		err = check_exclusive(o);
	return err ? err : measure(o);
}

static int open_new(struct opening *o)
{
	o->fd = open(o->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (o->fd < 0 && errno == EEXIST)
		return dmfmt_fail(o->ctx, -EEXIST, "%s: exists, expected a new name", o->path);
	if (o->fd < 0)
		return fail_errno(o, -errno, "create");
	o->created = true;
	if (fstat(o->fd, &o->st))
		return fail_errno(o, -errno, "create");
	o->block = SECTOR;
	return lock_file(o);
}

/* the folder of @path, opened; -errno */
static int open_folder(const char *path)
{
	char *copy = strdup(path);
	int fd;

	if (!copy)
		return -ENOMEM;
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		fd = -errno;
	free(copy);
	return fd;
}

/*
 * What a power cut leaves whole.  A page of a file goes to the disk in one piece if the file system's
 * blocks are no smaller than the disk's; file systems that are not on one disk have no number.
 */
static uint32_t whole_block(const struct opening *o, int fd)
{
	bool blk = S_ISBLK(o->st.st_mode);
	struct statfs fs;
	uint32_t block = dmfmt_sysfs_physical_block(&dmfmt_roots_live, blk ? o->st.st_rdev : o->st.st_dev);

	if (!block || (!blk && (fstatfs(fd, &fs) || fs.f_bsize <= 0 || (uint64_t)fs.f_bsize % block)))
		block = 0;
	if (block > 4096)
		block = 4096;
	return block > o->block ? block : o->block < 4096 ? o->block : 4096;
}

/* without the memory for it, reading will tell */
static int add_bad(void *arg, uint64_t sector, uint64_t nr)
{
	struct dmfmt_dev *dev = arg;
	struct dmfmt_range *more;

	if (sector >= dev->size / SECTOR)
		return 0;
	if (nr > dev->size / SECTOR - sector)
		nr = dev->size / SECTOR - sector;
	more = reallocarray(dev->bad, dev->nr_bad + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	dev->bad = more;
	dev->bad[dev->nr_bad++] = (struct dmfmt_range){ sector * SECTOR, nr * SECTOR };
	return 0;
}

static int make_device(struct opening *o, struct dmfmt_dev **out)
{
	struct dmfmt_layer *bottom;
	struct dmfmt_dev *dev;
	int err, dirfd = -1;

	if (o->flags & DMFMT_OPEN_CREATE) {
		dirfd = open_folder(o->path);
		if (dirfd < 0)
			return fail_errno(o, dirfd, "open the folder");
	}
	err = dmfmt_file_layer_new(o->fd, o->direct, o->block, &bottom);
	if (err) {
		if (dirfd >= 0)
			close(dirfd);
		return fail_errno(o, err, "open");
	}
	o->fd = -1;
	dmfmt_file_layer_set_dir(bottom, dirfd);
	err = dmfmt_dev_from_layer(o->ctx, bottom, o->size - o->size % SECTOR, o->block, o->path,
				   &dev);
	if (err) {
		dmfmt_layer_close(bottom);
		return err;
	}
	dev->flags = o->flags;
	dev->whole = whole_block(o, dev->fd);
	dev->is_block = S_ISBLK(o->st.st_mode);
	if (dev->is_block)
		dmfmt_sysfs_badblocks(&dmfmt_roots_live, o->st.st_rdev, add_bad, dev);
	dev->holder = o->holder;
	o->holder = NULL;
	*out = dev;
	return 0;
}

int dmfmt_dev_open(struct dmfmt_ctx *ctx, const char *path, unsigned flags, struct dmfmt_dev **out)
{
	struct opening o = { .ctx = ctx, .path = path, .flags = flags, .fd = -1 };
	int err;

	*out = NULL;
	if (flags & ~ALL_FLAGS)
		return dmfmt_fail(ctx, -EINVAL, "%s: open flags 0x%x: not known", path, flags);
	if (flags & DMFMT_OPEN_CREATE)
		o.flags |= DMFMT_OPEN_WRITE;
	err = flags & DMFMT_OPEN_CREATE ? open_new(&o) : open_existing(&o);
	if (!err)
		err = make_device(&o, out);
	if (err && o.created)
		unlink(path);
	if (o.fd >= 0)
		close(o.fd);
	free(o.holder);
	return err;
}

int dmfmt_dev_open_buffer(struct dmfmt_ctx *ctx, void *buf, uint64_t size_bytes,
			  struct dmfmt_dev **out)
{
	struct dmfmt_layer *bottom;
	int err;

	*out = NULL;
	if (size_bytes % SECTOR)
		return dmfmt_fail(ctx, -EINVAL, "buffer: size %llu, expected a multiple of 512",
				  (unsigned long long)size_bytes);
	err = dmfmt_mem_layer_new(buf, size_bytes, &bottom);
	if (err)
		return dmfmt_fail(ctx, err, "buffer: cannot make a device of %llu bytes",
				  (unsigned long long)size_bytes);
	err = dmfmt_dev_from_layer(ctx, bottom, size_bytes, SECTOR, "buffer", out);
	if (err)
		dmfmt_layer_close(bottom);
	return err;
}

int dmfmt_dev_set_start(struct dmfmt_dev *dev, uint64_t sectors)
{
	if (!dev)
		return -EINVAL;
	if (sectors && sectors >= dev->size / SECTOR)
		return dmfmt_fail(dev->ctx, -ERANGE,
				  "%s: start_sector is %llu, expected one of the device's %llu sectors",
				  dev->path, (unsigned long long)sectors,
				  (unsigned long long)(dev->size / SECTOR));
	dev->start = sectors * SECTOR;
	return 0;
}

int dmfmt_dev_truncate(struct dmfmt_dev *dev, uint64_t size_bytes)
{
	unsigned nr_errors = dev->ctx->nr_errors;
	int err;

	if (!(dev->flags & DMFMT_OPEN_CREATE) || !dev->top->ops->truncate)
		return dmfmt_fail(dev->ctx, -EINVAL, "%s: size cannot be set, expected a new file",
				  dev->path);
	if (size_bytes % SECTOR || size_bytes > INT64_MAX)
		return dmfmt_fail(dev->ctx, -EINVAL,
				  "%s: size %llu, expected a multiple of 512 below 2^63", dev->path,
				  (unsigned long long)size_bytes);
	err = dev->top->ops->truncate(dev->top, size_bytes);
	if (!err) {
		dev->size = size_bytes;
		return 0;
	}
	if (dev->ctx->nr_errors == nr_errors) {
		errno = -err;
		dmfmt_fail(dev->ctx, err, "%s: cannot set the size to %llu bytes: %m", dev->path,
			   (unsigned long long)size_bytes);
	}
	return err;
}

void dmfmt_dev_get_info(const struct dmfmt_dev *dev, struct dmfmt_dev_info *info)
{
	size_t size = info->size && info->size < sizeof(*info) ? info->size : sizeof(*info);
	struct dmfmt_dev_info full = {
		.size = size,
		.path = dev->path,
		.size_bytes = dev->size,
		.logical_block_bytes = dev->block,
		.is_block = dev->is_block,
		.holder = dev->holder,
		.written_bytes = dev->dry_run ? 0 : dev->bytes_written,
	};

	memcpy(info, &full, size);
}

int dmfmt_dev_sync(struct dmfmt_dev *dev)
{
	int err = dmfmt_dev_flush(dev);

	return err ? err : dmfmt_undo_finish(dev);
}

void dmfmt_dev_close(struct dmfmt_dev *dev)
{
	if (!dev)
		return;
	dmfmt_layer_close(dev->top);
	free(dev->path);
	free(dev->holder);
	free(dev->bad);
	free(dev);
}

int dmfmt_dev_set_dry_run(struct dmfmt_dev *dev, int (*fn)(void *arg, const struct dmfmt_write *w),
			  void *arg)
{
	return dmfmt_dev_set_plan(dev, true, fn, arg);
}

int dmfmt_dev_set_trace(struct dmfmt_dev *dev, int (*fn)(void *arg, const struct dmfmt_write *w),
			void *arg)
{
	return dmfmt_dev_set_plan(dev, false, fn, arg);
}

static int fail_undo(struct dmfmt_dev *dev, const char *path, int err, const char *what)
{
	errno = -err;
	return dmfmt_fail(dev->ctx, err, "undo file %s: cannot %s: %m", path, what);
}

/* The undo file must not lie on what it is to bring back. */
static int check_undo_place(struct dmfmt_dev *dev, const char *path, int dirfd)
{
	struct stat dir, target;
	int ret;

	if (dev->fd < 0)
		return 0;
	if (fstat(dirfd, &dir) || fstat(dev->fd, &target))
		return fail_undo(dev, path, -errno, "look at its folder");
	ret = dmfmt_stack_holds(&dmfmt_roots_live, &dir, dmfmt_mnt_id(dirfd), &target);
	if (ret < 0)
		return fail_undo(dev, path, ret, "find out where it would lie");
	if (!ret)
		return 0;
	return dmfmt_fail(dev->ctx, -EXDEV,
			  "undo file %s: lies on %s or on something stacked on it, expected another",
			  path, dev->path);
}

static int check_undo_name(struct dmfmt_dev *dev, const char *path, int dirfd)
{
	struct stat st;

	if (!lstat(path, &st))
		return dmfmt_fail(dev->ctx, -EEXIST, "undo file %s: exists, expected a new name",
				  path);
	if (errno != ENOENT)
		return fail_undo(dev, path, -errno, "look for it");
	if (faccessat(dirfd, ".", W_OK | X_OK, AT_EACCESS))
		return fail_undo(dev, path, -errno, "write to its folder");
	return 0;
}

int dmfmt_dev_set_undo(struct dmfmt_dev *dev, const char *path, const char *command)
{
	int err, dirfd;

	if (dmfmt_dev_layer(dev, "undo"))
		return dmfmt_fail(dev->ctx, -EINVAL, "undo file %s: %s has one already", path,
				  dev->path);
	dirfd = open_folder(path);
	if (dirfd < 0)
		return fail_undo(dev, path, dirfd, "open its folder");
	err = check_undo_name(dev, path, dirfd);
	if (!err)
		err = check_undo_place(dev, path, dirfd);
	close(dirfd);
	return err ? err : dmfmt_dev_set_undo_path(dev, path, command);
}
