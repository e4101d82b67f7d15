/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading /sys and /proc; the roots are arguments, so that tests can bring their own. */
#ifndef DMFMT_SYS_SYSFS_H
#define DMFMT_SYS_SYSFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/** struct dmfmt_roots - where proc and sysfs are mounted */
struct dmfmt_roots {
	const char *proc, *sys;
};
extern const struct dmfmt_roots dmfmt_roots_live;	/* "/proc" and "/sys" */

/* A callback's return other than 0 ends the listing with it. */
typedef int (*dmfmt_name_fn)(void *arg, const char *name);

/* the content of a file below r->sys without its last newline; its length, or a negative errno */
int dmfmt_sysfs_attr(const struct dmfmt_roots *r, char *buf, size_t len, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* the "major:minor" in a file below r->sys */
int dmfmt_sysfs_dev(const struct dmfmt_roots *r, dev_t *dev, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* names in a folder below r->sys; a missing folder is an empty one */
int dmfmt_sysfs_list(const struct dmfmt_roots *r, dmfmt_name_fn fn, void *arg, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* partitions of a disk: names of their folders in its own */
int dmfmt_sysfs_partitions(const struct dmfmt_roots *r, dev_t disk,
			   int (*fn)(void *arg, dev_t part), void *arg);
/* the disk that @part is a partition of; -ENOENT if it is none */
int dmfmt_sysfs_parent(const struct dmfmt_roots *r, dev_t part, dev_t *disk);
/*
 * the block that the disk below @dev writes as a whole even if power fails, bytes: the kernel's
 * physical_block_size.  0: not known, or @dev (a partition, a stack) does not lie on such blocks.
 */
uint32_t dmfmt_sysfs_physical_block(const struct dmfmt_roots *r, dev_t dev);
/*
 * what the kernel knows to be bad on the disk below @dev (persistent memory has such a list): ranges of
 * sectors of @dev itself, also if that is a partition, cut off at its ends.  Nothing is known: none.
 */
int dmfmt_sysfs_badblocks(const struct dmfmt_roots *r, dev_t dev,
			  int (*fn)(void *arg, uint64_t sector, uint64_t nr), void *arg);

/** struct dmfmt_mount - one line of mountinfo; strings are unescaped and valid during the call */
struct dmfmt_mount {
	uint64_t id;
	dev_t dev;
	const char *point, *fstype, *source, *super_options;
};
int dmfmt_mounts(const struct dmfmt_roots *r, int (*fn)(void *arg, const struct dmfmt_mount *m),
		 void *arg);
/* paths in /proc/swaps */
int dmfmt_swaps(const struct dmfmt_roots *r, dmfmt_name_fn fn, void *arg);
/* loop devices and the path of what is behind them */
int dmfmt_loops(const struct dmfmt_roots *r,
		int (*fn)(void *arg, const char *loop, const char *backing), void *arg);

#endif
