// SPDX-License-Identifier: LGPL-2.1-or-later
/* libblkid stays behind this file. */
#include <blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "probe.h"

/* libblkid reads at any offset, which O_DIRECT refuses: it gets a buffered descriptor of its own.
 * The kernel drops cached pages on direct writes, so both see the same bytes. */
static int open_buffered(struct dmfmt_dev *dev)
{
	struct stat ours, theirs;
	char path[40];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", dev->fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && dev->path)
		fd = open(dev->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return dmfmt_fail(dev->ctx, -errno, "%s: open for libblkid: %s", dev->path,
				  strerror(errno));
	if (fstat(dev->fd, &ours) || fstat(fd, &theirs) || ours.st_ino != theirs.st_ino ||
	    ours.st_dev != theirs.st_dev || ours.st_rdev != theirs.st_rdev) {
		close(fd);
		return dmfmt_fail(dev->ctx, -ESTALE, "%s: open for libblkid: another device has this name now",
				  dev->path);
	}
	return fd;
}

static const char *value(blkid_probe pr, const char *name)
{
	const char *s;

	return blkid_probe_lookup_value(pr, name, &s, NULL) ? NULL : s;
}

/* what the last blkid_do_probe() found; 1 if it is none that we can name */
static int signature(blkid_probe pr, struct dmfmt_signature *sig)
{
	const char *offset;

	sig->type = value(pr, "TYPE");
	sig->version = value(pr, "VERSION");
	sig->usage = value(pr, "USAGE");
	offset = value(pr, "SBMAGIC_OFFSET");
	if (!sig->type) {
		sig->type = value(pr, "PTTYPE");
		sig->usage = "partition-table";
		offset = value(pr, "PTMAGIC_OFFSET");
	}
	if (!sig->usage)
		sig->usage = "other";
	sig->offset = offset ? strtoull(offset, NULL, 10) : 0;
	return !sig->type;
}

/* what is looked for, and who is told */
struct search {
	int (*run)(const struct search *s, blkid_probe pr);
	struct dmfmt_dev *dev;
	int (*signature)(void *arg, const struct dmfmt_signature *sig);
	int (*filesystem)(void *arg, const char *type, const char *uuid);
	int (*block)(void *arg, const char *type, uint64_t bytes);
	void *arg;
};

static int unreadable(const struct search *s)
{
	return dmfmt_fail(s->dev->ctx, -EIO, "%s: libblkid could not read the device", s->dev->path);
}

static int all_signatures(const struct search *s, blkid_probe pr)
{
	struct dmfmt_signature sig;
	int rc;

	blkid_probe_enable_superblocks(pr, 1);
	blkid_probe_set_superblocks_flags(pr, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE |
					  BLKID_SUBLKS_VERSION | BLKID_SUBLKS_MAGIC |
					  BLKID_SUBLKS_BADCSUM);
	blkid_probe_enable_partitions(pr, 1);
	blkid_probe_set_partitions_flags(pr, BLKID_PARTS_MAGIC | BLKID_PARTS_FORCE_GPT);
	while ((rc = blkid_do_probe(pr)) == 0) {
		if (signature(pr, &sig))
			continue;
		rc = s->signature(s->arg, &sig);
		if (rc)
			return rc;
	}
	return rc < 0 ? unreadable(s) : 0;
}

/* the one thing that libblkid would mount; *@type is NULL if there is none, or more than one */
static int the_filesystem(const struct search *s, blkid_probe pr, const char **type)
{
	int rc;

	blkid_probe_enable_superblocks(pr, 1);
	blkid_probe_set_superblocks_flags(pr, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_UUID);
	rc = blkid_do_safeprobe(pr);
	*type = rc ? NULL : value(pr, "TYPE");
	return rc == -1 ? unreadable(s) : 0;
}

static int one_filesystem(const struct search *s, blkid_probe pr)
{
	const char *type;
	int rc = the_filesystem(s, pr, &type);

	return rc || !type ? rc : s->filesystem(s->arg, type, value(pr, "UUID"));
}

static int block_of_filesystem(const struct search *s, blkid_probe pr)
{
	const char *type, *bytes;
	int rc = the_filesystem(s, pr, &type);

	bytes = rc || !type ? NULL : value(pr, "BLOCK_SIZE");
	return bytes ? s->block(s->arg, type, strtoull(bytes, NULL, 10)) : rc;
}

static int search(const struct search *s, blkid_probe pr, int fd)
{
	if (s->dev->size > INT64_MAX ||
	    blkid_probe_set_device(pr, fd, 0, (blkid_loff_t)s->dev->size))
		return dmfmt_fail(s->dev->ctx, -EIO, "%s: libblkid cannot use this device",
				  s->dev->path);
	return s->run(s, pr);
}

static int search_device(const struct search *s)
{
	struct dmfmt_dev *dev = s->dev;
	int fd = dev->fd, rc;
	blkid_probe pr;

	/* libblkid refuses what is shorter than its smallest probe; nothing can be there */
	if (fd < 0 || dev->size < 1024)
		return 0;
	if (dev->direct) {
		fd = open_buffered(dev);
		if (fd < 0)
			return fd;
	}
	pr = blkid_new_probe();
	rc = pr ? search(s, pr, fd) : dmfmt_fail(dev->ctx, -ENOMEM, "no memory");
	blkid_free_probe(pr);
	if (fd != dev->fd)
		close(fd);
	return rc;
}

int dmfmt_signatures(struct dmfmt_dev *dev,
		     int (*fn)(void *arg, const struct dmfmt_signature *sig), void *arg)
{
	struct search s = { .run = all_signatures, .dev = dev, .signature = fn, .arg = arg };

	return search_device(&s);
}

int dmfmt_filesystem(struct dmfmt_dev *dev, int (*fn)(void *arg, const char *type, const char *uuid),
		     void *arg)
{
	struct search s = { .run = one_filesystem, .dev = dev, .filesystem = fn, .arg = arg };

	return search_device(&s);
}

int dmfmt_filesystem_block(struct dmfmt_dev *dev,
			   int (*fn)(void *arg, const char *type, uint64_t bytes), void *arg)
{
	struct search s = { .run = block_of_filesystem, .dev = dev, .block = fn, .arg = arg };

	return search_device(&s);
}
