// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Who uses a device.
 *
 * The kernel only says that an exclusive open fails, not for whom; and it says nothing where the
 * user is a loop device.  So the users are looked up: mounts, swap, holders in sysfs, loop devices.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include "inuse.h"

#define NODES_MAX 300	/* a disk and its partitions */

struct search {
	const struct dmfmt_roots *r;
	const struct stat *st;
	dev_t nodes[NODES_MAX];	/* of a block device: itself, its partitions, its disk */
	unsigned nr_nodes;
	char *holder;
};

static int found(struct search *s, const char *kind, const char *name)
{
	return asprintf(&s->holder, "%s%s", kind, name) < 0 ? -ENOMEM : 1;
}

static int add_node(void *arg, dev_t dev)
{
	struct search *s = arg;

	if (s->nr_nodes < NODES_MAX)
		s->nodes[s->nr_nodes++] = dev;
	return 0;
}

static bool is_node(const struct search *s, dev_t dev)
{
	unsigned i;

	for (i = 0; i < s->nr_nodes; i++)
		if (s->nodes[i] == dev)
			return true;
	return false;
}

/* Is @path the device, or a part of it? */
static bool is_ours(const struct search *s, const char *path)
{
	struct stat st;

	if (path[0] != '/' || stat(path, &st))
		return false;
	if (S_ISBLK(st.st_mode))
		return is_node(s, st.st_rdev);
	return S_ISREG(s->st->st_mode) && st.st_dev == s->st->st_dev && st.st_ino == s->st->st_ino;
}

/* Some file systems (btrfs) have a device number of their own; their source names the device. */
static int check_mount(void *arg, const struct dmfmt_mount *m)
{
	struct search *s = arg;

	if (is_node(s, m->dev) || (!major(m->dev) && s->nr_nodes && is_ours(s, m->source)))
		return found(s, "mounted on ", m->point);
	return 0;
}

static int check_swap(void *arg, const char *path)
{
	struct search *s = arg;

	return is_ours(s, path) ? found(s, "swap", "") : 0;
}

/* libdevmapper knows the target as well; without it (a static dmtool) sysfs knows the name. */
static int ask_live(const struct search *s, const char *holder, char *buf, size_t len)
{
#ifdef HAVE_DEVMAPPER
	dev_t dev;

	if (s->r == &dmfmt_roots_live && !dmfmt_sysfs_dev(s->r, &dev, "block/%s/dev", holder))
		return dmfmt_live_dm_words(dev, buf, len);
#endif
	return -ENOENT;
}

static int name_dm(struct search *s, const char *holder)
{
	char name[256];

	if (!ask_live(s, holder, name, sizeof(name)))
		return found(s, "dm device ", name);
	if (dmfmt_sysfs_attr(s->r, name, sizeof(name), "block/%s/dm/name", holder) > 0)
		return found(s, "dm device ", name);
	return found(s, "dm device ", holder);
}

static int check_holder(void *arg, const char *name)
{
	struct search *s = arg;

	if (!strncmp(name, "dm-", 3))
		return name_dm(s, name);
	if (!strncmp(name, "md", 2))
		return found(s, "md device ", name);
	return found(s, "block device ", name);
}

static int check_loop(void *arg, const char *loop, const char *backing)
{
	struct search *s = arg;

	return is_ours(s, backing) ? found(s, "loop device ", loop) : 0;
}

static int check_holders(struct search *s)
{
	unsigned i;
	int ret = 0;

	for (i = 0; !ret && i < s->nr_nodes; i++)
		ret = dmfmt_sysfs_list(s->r, check_holder, s, "dev/block/%u:%u/holders",
				       major(s->nodes[i]), minor(s->nodes[i]));
	return ret;
}

int dmfmt_inuse(const struct dmfmt_roots *r, const struct stat *st, char **holder)
{
	struct search s = { .r = r, .st = st };
	dev_t disk;
	int ret;

	*holder = NULL;
	if (S_ISBLK(st->st_mode)) {
		add_node(&s, st->st_rdev);
		dmfmt_sysfs_partitions(r, st->st_rdev, add_node, &s);
		if (!dmfmt_sysfs_parent(r, st->st_rdev, &disk))
			add_node(&s, disk);
	}
	ret = dmfmt_mounts(r, check_mount, &s);
	if (!ret)
		ret = dmfmt_swaps(r, check_swap, &s);
	if (!ret)
		ret = check_holders(&s);
	if (!ret)
		ret = dmfmt_loops(r, check_loop, &s);
	if (ret < 0)
		return ret;
	*holder = s.holder;
	return 0;
}
