// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "dm.h"

#define BUFFER_BYTES 8192

struct request {
	struct dm_ioctl head;
	char rest[BUFFER_BYTES - sizeof(struct dm_ioctl)];
};

static int control(void)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static int fd = -1;

	pthread_mutex_lock(&lock);
	if (fd < 0)
		fd = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
	pthread_mutex_unlock(&lock);
	return fd < 0 ? -errno : fd;
}

static void request_begin(struct request *r, const char *name, uint32_t flags)
{
	memset(r, 0, sizeof(*r));
	r->head.version[0] = DM_VERSION_MAJOR;
	r->head.data_size = sizeof(*r);
	r->head.data_start = sizeof(r->head);
	r->head.flags = flags;
	if (name)
		snprintf(r->head.name, sizeof(r->head.name), "%s", name);
}

static int request_send(struct request *r, unsigned long command)
{
	int fd = control();

	if (fd < 0)
		return fd;
	return ioctl(fd, command, r) < 0 ? -errno : 0;
}

static int simple(struct dm_dev *dev, unsigned long command, uint32_t flags)
{
	struct request r;

	request_begin(&r, dev->name, flags);
	return request_send(&r, command);
}

int dm_create(struct dm_dev *dev, const char *name)
{
	struct request r;
	int err;

	memset(dev, 0, sizeof(*dev));
	snprintf(dev->name, sizeof(dev->name), "%s", name);
	request_begin(&r, name, 0);
	err = request_send(&r, DM_DEV_CREATE);
	if (err)
		return err;
	snprintf(dev->number, sizeof(dev->number), "%u:%u", major(r.head.dev), minor(r.head.dev));
	snprintf(dev->node, sizeof(dev->node), "/dev/dm-%u", minor(r.head.dev));
	dev->there = true;
	return 0;
}

static int load(struct dm_dev *dev, uint64_t sectors, const char *target, const char *format, va_list args)
{
	struct dm_target_spec *spec;
	struct request r;
	char *params;
	int err;

	request_begin(&r, dev->name, 0);
	r.head.target_count = 1;
	spec = (void *)r.rest;
	spec->length = sectors;
	snprintf(spec->target_type, sizeof(spec->target_type), "%s", target);
	params = (char *)(spec + 1);
	vsnprintf(params, sizeof(r.rest) - sizeof(*spec), format, args);
	spec->next = (sizeof(*spec) + strlen(params) + 8) / 8 * 8;
	err = request_send(&r, DM_TABLE_LOAD);
	if (!err)
		dev->sectors = sectors;
	return err;
}

int dm_load(struct dm_dev *dev, uint64_t sectors, const char *target, const char *format, ...)
{
	va_list args;
	int err;

	va_start(args, format);
	err = load(dev, sectors, target, format, args);
	va_end(args);
	return err;
}

int dm_make(struct dm_dev *dev, const char *name, uint64_t sectors, const char *target, const char *format,
	    ...)
{
	va_list args;
	int err;

	err = dm_create(dev, name);
	if (err)
		return err;
	va_start(args, format);
	err = load(dev, sectors, target, format, args);
	va_end(args);
	if (!err)
		err = dm_resume(dev);
	if (err)
		dm_remove(dev);
	return err;
}

int dm_suspend(struct dm_dev *dev, bool noflush)
{
	return simple(dev, DM_DEV_SUSPEND, DM_SUSPEND_FLAG | DM_SKIP_LOCKFS_FLAG |
		      (noflush ? DM_NOFLUSH_FLAG : 0));
}

int dm_resume(struct dm_dev *dev)
{
	return simple(dev, DM_DEV_SUSPEND, 0);
}

int dm_clear(struct dm_dev *dev)
{
	return simple(dev, DM_TABLE_CLEAR, 0);
}

int dm_remove(struct dm_dev *dev)
{
	int err, tries;

	/* whoever looks at new block devices has them open for a moment */
	for (tries = 0; tries < 100; tries++) {
		err = simple(dev, DM_DEV_REMOVE, 0);
		if (err != -EBUSY)
			break;
		usleep(10000);
	}
	if (!err)
		dev->there = false;
	return err;
}

int dm_status(struct dm_dev *dev, char *out, size_t size)
{
	struct dm_target_spec *spec;
	struct request r;
	int err;

	request_begin(&r, dev->name, 0);
	err = request_send(&r, DM_TABLE_STATUS);
	if (err)
		return err;
	if (!r.head.target_count)
		return -ENODATA;
	spec = (void *)((char *)&r + r.head.data_start);
	snprintf(out, size, "%s", (char *)(spec + 1));
	return 0;
}

int dm_events(struct dm_dev *dev, uint32_t *nr)
{
	struct request r;
	int err;

	request_begin(&r, dev->name, 0);
	err = request_send(&r, DM_DEV_STATUS);
	*nr = r.head.event_nr;
	return err;
}

int dm_message(struct dm_dev *dev, const char *format, ...)
{
	struct dm_target_msg *message;
	struct request r;
	va_list args;

	request_begin(&r, dev->name, 0);
	message = (void *)r.rest;
	message->sector = 0;
	va_start(args, format);
	vsnprintf(message->message, sizeof(r.rest) - sizeof(*message), format, args);
	va_end(args);
	return request_send(&r, DM_TARGET_MSG);
}

int dm_target_version(const char *target, unsigned int version[3])
{
	struct dm_target_versions *v;
	struct request r;
	uint32_t at = 0;
	int err;

	request_begin(&r, NULL, 0);
	err = request_send(&r, DM_LIST_VERSIONS);
	if (err)
		return err;
	do {
		v = (void *)((char *)&r + r.head.data_start + at);
		if (!strcmp(v->name, target)) {
			memcpy(version, v->version, sizeof(v->version));
			return 0;
		}
		at += v->next;
	} while (v->next);
	return -ENXIO;
}

int dm_number(const char *node, char *out, size_t size)
{
	struct stat st;

	if (stat(node, &st))
		return -errno;
	if (!S_ISBLK(st.st_mode))
		return -ENOTBLK;
	snprintf(out, size, "%u:%u", major(st.st_rdev), minor(st.st_rdev));
	return 0;
}
