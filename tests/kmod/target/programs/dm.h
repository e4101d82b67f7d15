/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Device-mapper by its ioctls, for programs that run in the guest.  Spawning dmsetup costs more under
 * emulation than what is tested.
 *
 * A device has one target.  Its node is /dev/dm-MINOR, which devtmpfs makes.  Functions return 0 or a
 * negative errno unless something else is said.
 */
#ifndef TARGET_DM_H
#define TARGET_DM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DM_NAME_MAX 32

struct dm_dev {
	char name[DM_NAME_MAX];
	char number[24];		/* "major:minor", as tables want it */
	char node[24];			/* "/dev/dm-3" */
	uint64_t sectors;		/* of the table loaded last */
	bool there;
};

#define FORMAT(m, n) __attribute__((format(printf, m, n)))

/* create, load and resume; on failure nothing is left */
int dm_make(struct dm_dev *dev, const char *name, uint64_t sectors, const char *target, const char *format,
	    ...) FORMAT(5, 6);
/* create without a table */
int dm_create(struct dm_dev *dev, const char *name);
int dm_load(struct dm_dev *dev, uint64_t sectors, const char *target, const char *format, ...) FORMAT(4, 5);
int dm_suspend(struct dm_dev *dev, bool noflush);
int dm_resume(struct dm_dev *dev);
int dm_clear(struct dm_dev *dev);
int dm_remove(struct dm_dev *dev);
/* the target's own part of the status line */
int dm_status(struct dm_dev *dev, char *out, size_t size);
/* events that the device has had so far */
int dm_events(struct dm_dev *dev, uint32_t *nr);
int dm_message(struct dm_dev *dev, const char *format, ...) FORMAT(2, 3);
/* -ENXIO if the module that has the target is not loaded */
int dm_target_version(const char *target, unsigned int version[3]);
/* the number of a device node, as tables want it */
int dm_number(const char *node, char *out, size_t size);

#endif
