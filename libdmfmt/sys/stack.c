// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What lies below a file system, down to the disks.
 *
 *      folder                     each node is visited once; `whole` says that all of the device is
 *        | st_dev, or mountinfo   below the file system, not just that it contains a partition
 *      file system's device       that is:
 *        | slaves  | partition of      sda1 whole -> sda not whole -> (sda2 is no conflict)
 *      dm, md    disk                  sda  whole                  -> (sda2 is one)
 *        | loop/backing_file
 *      file -> its file system -> and so on
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "inuse.h"

#define NODES_MAX 4096		/* devices; more below one file system are not expected */
#define DEPTH_MAX 32		/* loop devices on file systems on loop devices ... */

struct node {
	dev_t dev;
	bool whole;
};

struct stack {
	const struct dmfmt_roots *r;
	const struct stat *target;
	struct node *nodes;
	unsigned nr_nodes;
	unsigned depth;
	dev_t dev;		/* whose slaves are listed, or of the file system looked for */
	uint64_t mnt_id;
	bool by_id;
};

static int add_fs(struct stack *s, dev_t dev, uint64_t mnt_id);

static int add_dev(struct stack *s, dev_t dev, bool whole)
{
	unsigned i;

	for (i = 0; i < s->nr_nodes; i++)
		if (s->nodes[i].dev == dev) {
			s->nodes[i].whole |= whole;
			return 0;
		}
	if (s->nr_nodes == NODES_MAX)
		return -ENOMEM;
	s->nodes[s->nr_nodes++] = (struct node){ .dev = dev, .whole = whole };
	return 0;
}

/* 1: the file or folder at @path is the target; else what it lies on is added */
static int add_path(struct stack *s, const char *path)
{
	int fd = open(path, O_PATH | O_CLOEXEC);
	struct stat st;
	int ret = 0;

	if (fd < 0)
		return 0;
	if (fstat(fd, &st))
		ret = 0;
	else if (S_ISBLK(st.st_mode))
		ret = add_dev(s, st.st_rdev, true);
	else if (S_ISREG(s->target->st_mode) && st.st_dev == s->target->st_dev &&
		 st.st_ino == s->target->st_ino)
		ret = 1;
	else
		ret = add_fs(s, st.st_dev, dmfmt_mnt_id(fd));
	close(fd);
	return ret;
}

/* ---- file systems without a device of their own ------------------------------------------- */

/* btrfs names one of its devices as source; the others stand in sysfs. */
static int visit_btrfs_device(void *arg, const char *name)
{
	struct stack *s = arg;
	dev_t dev;

	return dmfmt_sysfs_dev(s->r, &dev, "class/block/%s/dev", name) ? 0 : add_dev(s, dev, true);
}

struct btrfs {
	struct stack *s;
	dev_t dev;
	bool member;
};

static int visit_member(void *arg, const char *name)
{
	struct btrfs *b = arg;
	dev_t dev;

	b->member |= !dmfmt_sysfs_dev(b->s->r, &dev, "class/block/%s/dev", name) && dev == b->dev;
	return 0;
}

static int visit_btrfs(void *arg, const char *uuid)
{
	struct btrfs *b = arg;

	b->member = false;
	dmfmt_sysfs_list(b->s->r, visit_member, b, "fs/btrfs/%s/devices", uuid);
	if (!b->member)
		return 0;
	return dmfmt_sysfs_list(b->s->r, visit_btrfs_device, b->s, "fs/btrfs/%s/devices", uuid);
}

/* One device, or several with colons between them (bcachefs). */
static int add_sources(struct stack *s, const struct dmfmt_mount *m)
{
	char *copy = strdup(m->source), *rest = copy, *word;
	struct stat st;
	int ret = copy ? 0 : -ENOMEM;

	while (!ret && (word = strsep(&rest, ":"))) {
		if (word[0] != '/' || stat(word, &st) || !S_ISBLK(st.st_mode))
			continue;
		ret = add_dev(s, st.st_rdev, true);
		if (!ret && !strcmp(m->fstype, "btrfs"))
			ret = dmfmt_sysfs_list(s->r, visit_btrfs,
					       &(struct btrfs){ .s = s, .dev = st.st_rdev },
					       "fs/btrfs");
	}
	free(copy);
	return ret;
}

/* New files of an overlay lie in its upper folder. */
static int add_upper(struct stack *s, const char *options)
{
	const char *at = strstr(options, "upperdir=");
	char path[PATH_MAX];
	size_t len;

	if (!at)
		return 0;
	at += strlen("upperdir=");
	len = strcspn(at, ",");
	if (len >= sizeof(path))
		return 0;
	memcpy(path, at, len);
	path[len] = '\0';
	return add_path(s, path);
}

static int visit_mount(void *arg, const struct dmfmt_mount *m)
{
	struct stack *s = arg;
	int ret;

	if (s->by_id ? m->id != s->mnt_id : m->dev != s->dev)
		return 0;
	ret = strcmp(m->fstype, "overlay") ? add_sources(s, m) : add_upper(s, m->super_options);
	return ret ? ret : 2;	/* found */
}

static int add_fs(struct stack *s, dev_t dev, uint64_t mnt_id)
{
	int ret;

	if (major(dev))
		return add_dev(s, dev, true);
	if (s->depth == DEPTH_MAX)
		return 0;
	s->depth++;
	s->dev = dev;
	s->mnt_id = mnt_id;
	s->by_id = mnt_id;
	ret = dmfmt_mounts(s->r, visit_mount, s);
	s->depth--;
	return ret == 2 ? 0 : ret;
}

/* ---- down the stack ------------------------------------------------------------------------- */

struct slaves {
	struct stack *s;
	dev_t dev;
};

static int visit_slave(void *arg, const char *name)
{
	struct slaves *slaves = arg;
	dev_t dev;

	if (dmfmt_sysfs_dev(slaves->s->r, &dev, "dev/block/%u:%u/slaves/%s/dev", major(slaves->dev),
			    minor(slaves->dev), name))
		return 0;
	return add_dev(slaves->s, dev, true);
}

static int visit_node(struct stack *s, dev_t dev)
{
	struct slaves slaves = { s, dev };
	char backing[PATH_MAX];
	dev_t disk;
	int ret;

	ret = dmfmt_sysfs_list(s->r, visit_slave, &slaves, "dev/block/%u:%u/slaves", major(dev),
			       minor(dev));
	if (!ret && !dmfmt_sysfs_parent(s->r, dev, &disk))
		ret = add_dev(s, disk, false);
	if (ret || dmfmt_sysfs_attr(s->r, backing, sizeof(backing),
				    "dev/block/%u:%u/loop/backing_file", major(dev),
				    minor(dev)) <= 0)
		return ret;
	return add_path(s, backing);
}

static bool is_target(const struct stack *s, const struct node *n)
{
	dev_t disk;

	if (!S_ISBLK(s->target->st_mode))
		return false;
	if (n->dev == s->target->st_rdev)
		return true;
	return n->whole && !dmfmt_sysfs_parent(s->r, s->target->st_rdev, &disk) && disk == n->dev;
}

/* Nodes are added while we go; `whole` may come late, so the target is looked for at the end. */
static int walk_down(struct stack *s)
{
	unsigned i;
	int ret = 0;

	for (i = 0; !ret && i < s->nr_nodes; i++)
		ret = visit_node(s, s->nodes[i].dev);
	for (i = 0; !ret && i < s->nr_nodes; i++)
		ret = is_target(s, &s->nodes[i]);
	return ret;
}

int dmfmt_stack_holds(const struct dmfmt_roots *r, const struct stat *dir, uint64_t mnt_id,
		      const struct stat *target)
{
	struct stack s = { .r = r, .target = target };
	int ret;

	s.nodes = calloc(NODES_MAX, sizeof(*s.nodes));
	if (!s.nodes)
		return -ENOMEM;
	ret = add_fs(&s, dir->st_dev, mnt_id);
	if (!ret)
		ret = walk_down(&s);
	free(s.nodes);
	return ret;
}

uint64_t dmfmt_mnt_id(int fd)
{
	char path[64], line[128];
	unsigned long long id = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	file = fopen(path, "re");
	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "mnt_id: %llu", &id) == 1)
			break;
	fclose(file);
	return id;
}
