// SPDX-License-Identifier: LGPL-2.1-or-later
/* Reading /sys and /proc.  Files that are not there are empty: a container may have neither. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "sysfs.h"

const struct dmfmt_roots dmfmt_roots_live = { "/proc", "/sys" };

__attribute__((format(printf, 3, 0)))
static int make_path(char *path, const char *root, const char *fmt, va_list ap)
{
	int n = snprintf(path, PATH_MAX, "%s/", root);
	int m;

	if (n < 0 || n >= PATH_MAX)
		return -ENAMETOOLONG;
	m = vsnprintf(path + n, PATH_MAX - n, fmt, ap);
	return m < 0 || m >= PATH_MAX - n ? -ENAMETOOLONG : 0;
}

static int read_attr(const char *path, char *buf, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, buf, len - 1);
	if (n < 0)
		n = -errno;
	close(fd);
	if (n < 0)
		return n;
	if (n && buf[n - 1] == '\n')
		n--;
	buf[n] = '\0';
	return n;
}

int dmfmt_sysfs_attr(const struct dmfmt_roots *r, char *buf, size_t len, const char *fmt, ...)
{
	char path[PATH_MAX];
	va_list ap;
	int err;

	va_start(ap, fmt);
	err = make_path(path, r->sys, fmt, ap);
	va_end(ap);
	return err ? err : read_attr(path, buf, len);
}

int dmfmt_sysfs_dev(const struct dmfmt_roots *r, dev_t *dev, const char *fmt, ...)
{
	char path[PATH_MAX], text[32];
	unsigned major, minor;
	va_list ap;
	int err;

	va_start(ap, fmt);
	err = make_path(path, r->sys, fmt, ap);
	va_end(ap);
	if (!err)
		err = read_attr(path, text, sizeof(text));
	if (err < 0)
		return err;
	if (sscanf(text, "%u:%u", &major, &minor) != 2)
		return -EILSEQ;
	*dev = makedev(major, minor);
	return 0;
}

int dmfmt_sysfs_list(const struct dmfmt_roots *r, dmfmt_name_fn fn, void *arg, const char *fmt, ...)
{
	char path[PATH_MAX];
	struct dirent *e;
	va_list ap;
	DIR *dir;
	int err;

	va_start(ap, fmt);
	err = make_path(path, r->sys, fmt, ap);
	va_end(ap);
	if (err)
		return err;
	dir = opendir(path);
	if (!dir)
		return errno == ENOMEM ? -ENOMEM : 0;
	while (!err && (e = readdir(dir)))
		if (e->d_name[0] != '.')
			err = fn(arg, e->d_name);
	closedir(dir);
	return err;
}

struct partitions {
	const struct dmfmt_roots *r;
	dev_t disk;
	int (*fn)(void *arg, dev_t part);
	void *arg;
};

static int visit_partition(void *arg, const char *name)
{
	struct partitions *p = arg;
	char text[32];
	dev_t part;

	if (dmfmt_sysfs_attr(p->r, text, sizeof(text), "dev/block/%u:%u/%s/partition",
			     major(p->disk), minor(p->disk), name) < 0)
		return 0;
	if (dmfmt_sysfs_dev(p->r, &part, "dev/block/%u:%u/%s/dev", major(p->disk), minor(p->disk),
			    name))
		return 0;
	return p->fn(p->arg, part);
}

int dmfmt_sysfs_partitions(const struct dmfmt_roots *r, dev_t disk,
			   int (*fn)(void *arg, dev_t part), void *arg)
{
	struct partitions p = { r, disk, fn, arg };

	return dmfmt_sysfs_list(r, visit_partition, &p, "dev/block/%u:%u", major(disk),
				minor(disk));
}

int dmfmt_sysfs_parent(const struct dmfmt_roots *r, dev_t part, dev_t *disk)
{
	char text[32];

	if (dmfmt_sysfs_attr(r, text, sizeof(text), "dev/block/%u:%u/partition", major(part),
			     minor(part)) < 0)
		return -ENOENT;
	return dmfmt_sysfs_dev(r, disk, "dev/block/%u:%u/../dev", major(part), minor(part));
}

static uint64_t number_attr(const struct dmfmt_roots *r, dev_t dev, const char *name, uint64_t otherwise)
{
	char text[32], *end;
	unsigned long long v;

	if (dmfmt_sysfs_attr(r, text, sizeof(text), "dev/block/%u:%u/%s", major(dev), minor(dev),
			     name) <= 0)
		return otherwise;
	v = strtoull(text, &end, 10);
	return *end ? otherwise : v;
}

uint32_t dmfmt_sysfs_physical_block(const struct dmfmt_roots *r, dev_t dev)
{
	dev_t disk = dev;
	uint64_t block, start = 0;

	if (!dmfmt_sysfs_parent(r, dev, &disk))
		start = number_attr(r, dev, "start", 1);
	block = number_attr(r, disk, "queue/physical_block_size", 0);
	if (block < 512 || block > 1u << 20 || block & (block - 1) || start * 512 % block ||
	    number_attr(r, dev, "alignment_offset", 1))
		return 0;
	return (uint32_t)block;
}

/* Blanks, newlines and backslashes in mountinfo and swaps are \ and three octal digits. */
static char *unescape(char *s)
{
	char *from = s, *to = s;

	for (; *from; to++) {
		if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' &&
		    from[2] >= '0' && from[2] <= '7' && from[3] >= '0' && from[3] <= '7') {
			*to = (from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0');
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
	return s;
}

static int each_line(const char *root, const char *name, int (*fn)(void *arg, char *line),
		     void *arg)
{
	char path[PATH_MAX];
	char *line = NULL;
	size_t size = 0;
	int err = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	file = fopen(path, "re");
	if (!file)
		return errno == ENOMEM ? -ENOMEM : 0;
	while (!err && getline(&line, &size, file) > 0) {
		line[strcspn(line, "\n")] = '\0';
		err = fn(arg, line);
	}
	free(line);
	fclose(file);
	return err;
}

struct badblocks {
	uint64_t start, size;		/* sectors of the disk */
	int (*fn)(void *arg, uint64_t sector, uint64_t nr);
	void *arg;
};

/* first sector and number of sectors, both of the whole disk */
static int visit_badblocks(void *arg, char *line)
{
	struct badblocks *b = arg;
	uint64_t from, to;
	char *end;

	from = strtoull(line, &end, 10);
	if (end == line || *end != ' ')
		return 0;
	line = end + 1;
	to = strtoull(line, &end, 10);
	if (end == line || *end)
		return 0;
	to = to > UINT64_MAX - from ? UINT64_MAX : from + to;
	if (from < b->start)
		from = b->start;
	if (to > b->start && to - b->start > b->size)
		to = b->start + b->size;
	return from < to ? b->fn(b->arg, from - b->start, to - from) : 0;
}

int dmfmt_sysfs_badblocks(const struct dmfmt_roots *r, dev_t dev,
			  int (*fn)(void *arg, uint64_t sector, uint64_t nr), void *arg)
{
	struct badblocks b = { .fn = fn, .arg = arg };
	dev_t disk = dev;
	char name[80];

	if (!dmfmt_sysfs_parent(r, dev, &disk)) {
		b.start = number_attr(r, dev, "start", UINT64_MAX);
		if (b.start == UINT64_MAX)
			return 0;
	}
	b.size = number_attr(r, dev, "size", UINT64_MAX - b.start);
	if (b.size > UINT64_MAX - b.start)
		b.size = UINT64_MAX - b.start;
	snprintf(name, sizeof(name), "dev/block/%u:%u/badblocks", major(disk), minor(disk));
	return each_line(r->sys, name, visit_badblocks, &b);
}

struct mounts {
	int (*fn)(void *arg, const struct dmfmt_mount *m);
	void *arg;
};

/* id parent major:minor root point options optional... - fstype source super_options */
static int visit_mount(void *arg, char *line)
{
	struct mounts *mounts = arg;
	struct dmfmt_mount m;
	unsigned major, minor;
	char *word, *rest = line;
	int i;

	for (i = 0; i < 5 && (word = strsep(&rest, " ")); i++) {
		if (i == 0)
			m.id = strtoull(word, NULL, 10);
		else if (i == 2 && sscanf(word, "%u:%u", &major, &minor) != 2)
			return 0;
		else if (i == 4)
			m.point = unescape(word);
	}
	while (rest && (word = strsep(&rest, " ")) && strcmp(word, "-"))
		;
	if (!rest)
		return 0;
	m.dev = makedev(major, minor);
	m.fstype = strsep(&rest, " ");
	word = strsep(&rest, " ");
	m.source = word ? unescape(word) : "";
	m.super_options = rest ? unescape(rest) : "";
	return mounts->fn(mounts->arg, &m);
}

int dmfmt_mounts(const struct dmfmt_roots *r, int (*fn)(void *arg, const struct dmfmt_mount *m),
		 void *arg)
{
	struct mounts mounts = { fn, arg };

	return each_line(r->proc, "self/mountinfo", visit_mount, &mounts);
}

struct swaps {
	dmfmt_name_fn fn;
	void *arg;
};

static int visit_swap(void *arg, char *line)
{
	struct swaps *swaps = arg;

	if (line[0] != '/')	/* the heading */
		return 0;
	line[strcspn(line, " \t")] = '\0';
	return swaps->fn(swaps->arg, unescape(line));
}

int dmfmt_swaps(const struct dmfmt_roots *r, dmfmt_name_fn fn, void *arg)
{
	struct swaps swaps = { fn, arg };

	return each_line(r->proc, "swaps", visit_swap, &swaps);
}

struct loops {
	const struct dmfmt_roots *r;
	int (*fn)(void *arg, const char *loop, const char *backing);
	void *arg;
};

static int visit_loop(void *arg, const char *name)
{
	struct loops *loops = arg;
	char backing[PATH_MAX];

	if (strncmp(name, "loop", 4) ||
	    dmfmt_sysfs_attr(loops->r, backing, sizeof(backing), "block/%s/loop/backing_file",
			     name) <= 0)
		return 0;
	return loops->fn(loops->arg, name, backing);
}

int dmfmt_loops(const struct dmfmt_roots *r,
		int (*fn)(void *arg, const char *loop, const char *backing), void *arg)
{
	struct loops loops = { r, fn, arg };

	return dmfmt_sysfs_list(r, visit_loop, &loops, "block");
}
