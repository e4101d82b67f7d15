// SPDX-License-Identifier: LGPL-2.1-or-later
/* What libdevmapper knows about live devices; the only file that calls it, empty without it. */
#ifdef HAVE_DEVMAPPER
#include <errno.h>
#include <fcntl.h>
#include <libdevmapper.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "inuse.h"

#define CONTROL "/dev/mapper/control"

static int words(struct dm_task *task, char *buf, size_t len)
{
	const char *name = dm_task_get_name(task);
	char *type = NULL, *params = NULL;
	uint64_t start, length;
	struct dm_info info;

	if (!dm_task_get_info(task, &info) || !info.exists || !name || !name[0])
		return -ENOENT;
	dm_get_next_target(task, NULL, &start, &length, &type, &params);
	if (type)
		snprintf(buf, len, "%s (%s)", name, type);
	else
		snprintf(buf, len, "%s", name);
	return 0;
}

/*
 * The library answers 1 for success and keeps its state in globals.  A lock on the control device,
 * taken through a descriptor of our own, lets one thread at a time in without a global here.
 */
int dmfmt_live_dm_words(dev_t dev, char *buf, size_t len)
{
	int control = open(CONTROL, O_RDWR | O_CLOEXEC);
	struct dm_task *task;
	int err = -ENOENT;

	if (control < 0)
		return -errno;
	if (flock(control, LOCK_EX)) {
		close(control);
		return -EAGAIN;
	}
	task = dm_task_create(DM_DEVICE_TABLE);
	if (task && dm_task_set_major(task, major(dev)) && dm_task_set_minor(task, minor(dev)) &&
	    dm_task_run(task))
		err = words(task, buf, len);
	if (task)
		dm_task_destroy(task);
	close(control);
	return err;
}
#else
typedef int dmfmt_live_is_empty;
#endif
