/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who uses a device, and what lies below a file system. */
#ifndef DMFMT_SYS_INUSE_H
#define DMFMT_SYS_INUSE_H

#include <sys/stat.h>
#include "sysfs.h"

/**
 * dmfmt_inuse() - who uses a block device or a regular file
 * @st: of the open device
 * @holder: the first user found in words ("mounted on /mnt", "swap", "dm device vg-cow",
 *          "md device md0", "loop device loop3"), to be freed by the caller; NULL if there is none
 *
 * A disk is in use when a partition of it is, and a partition when its whole disk is.
 * Return: 0 or -ENOMEM.  What cannot be read counts as unused; O_EXCL and flock decide then.
 */
int dmfmt_inuse(const struct dmfmt_roots *r, const struct stat *st, char **holder);

/**
 * dmfmt_stack_holds() - would a file in a file system lie on @target?
 * @dir: of the folder that will hold the file
 * @mnt_id: mount that @dir was found through (dmfmt_mnt_id()), 0 if not known
 * @target: of a block device or a regular file
 *
 * True if @target is below the file system: its device, what that device is made of (dm, md,
 * partition, loop), the file behind a loop device, and so on down.  Devices beside it (another
 * partition of the same disk, another volume of the same group) are not.
 * Return: 1, 0, -ENOMEM.
 */
int dmfmt_stack_holds(const struct dmfmt_roots *r, const struct stat *dir, uint64_t mnt_id,
		      const struct stat *target);
/* the mount that @fd was opened through, 0 if not known */
uint64_t dmfmt_mnt_id(int fd);

/* live.c, only where there is libdevmapper: name and first target of a dm device, as in
 * "vg-cow (snapshot)"; -errno if it will not say */
int dmfmt_live_dm_words(dev_t dev, char *buf, size_t len);

#endif
