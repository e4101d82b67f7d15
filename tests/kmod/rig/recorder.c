// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Recorder of the crash rig: an nbdkit plugin that is all disks of a guest, and writes down every write
 * and flush when it arrives and when it is acknowledged, all in one order.
 *
 *	nbdkit -U SOCKET recorder.so record=FILE [delay=MICROSECONDS]
 *
 * Each export is a device of its own (rig.h), kept in memory.  A write to the last one is a mark: what
 * the workload has to say.  An acknowledgement is held back for @delay, so that whoever does not wait
 * for it is seen not to.
 */
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "rig.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint8_t *disks[RIG_DEVICES];
static const char *path;
static FILE *record;
static unsigned delay_us = 300;
static uint64_t next_id = 1;

static int rec_config(const char *key, const char *value)
{
	if (!strcmp(key, "record")) {
		path = value;
	} else if (!strcmp(key, "delay")) {
		return nbdkit_parse_unsigned("delay", value, &delay_us);
	} else {
		nbdkit_error("%s: no such parameter", key);
		return -1;
	}
	return 0;
}

static int rec_get_ready(void)
{
	unsigned i;

	if (!path) {
		nbdkit_error("record=FILE is missing");
		return -1;
	}
	record = fopen(path, "we");
	if (!record) {
		nbdkit_error("%s: %m", path);
		return -1;
	}
	for (i = 0; i < RIG_DEVICES; i++) {
		disks[i] = calloc(1, RIG_DEVICE_BYTES);
		if (!disks[i])
			return -1;
	}
	return 0;
}

static void rec_unload(void)
{
	unsigned i;

	for (i = 0; i < RIG_DEVICES; i++)
		free(disks[i]);
	if (record && fclose(record))
		nbdkit_error("%s: %m", path);
}

static void *rec_open(int readonly)
{
	const char *name = nbdkit_export_name();
	uintptr_t i;

	for (i = 0; i < RIG_DEVICES; i++)
		if (!strcmp(name, rig_exports[i]))
			return (void *)(i + 1);
	nbdkit_error("%s: no such export", name);
	return NULL;
}

static unsigned dev_of(void *handle)
{
	return (uintptr_t)handle - 1;
}

static int64_t rec_get_size(void *handle)
{
	return RIG_DEVICE_BYTES;
}

static int rec_can_fua(void *handle)
{
	return NBDKIT_FUA_NATIVE;
}

static int rec_yes(void *handle)
{
	return 1;
}

/* with the lock held, so that the order in the file is the order of events */
static int put(const struct rig_event *e, const void *data)
{
	if (fwrite(e, sizeof(*e), 1, record) == 1 &&
	    (!data || fwrite(data, e->length, 1, record) == 1))
		return 0;
	nbdkit_error("%s: %m", path);
	nbdkit_set_error(EIO);
	return -1;
}

static int acknowledge(uint64_t id, unsigned dev)
{
	struct rig_event e = { .kind = RIG_DONE, .dev = dev, .id = id };
	struct timespec t = { .tv_nsec = delay_us * 1000l };
	int ret;

	nanosleep(&t, NULL);
	pthread_mutex_lock(&lock);
	ret = put(&e, NULL);
	pthread_mutex_unlock(&lock);
	return ret;
}

static int rec_pread(void *handle, void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
	pthread_mutex_lock(&lock);
	memcpy(buf, disks[dev_of(handle)] + offset, count);
	pthread_mutex_unlock(&lock);
	return 0;
}

static int rec_pwrite(void *handle, const void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
	unsigned dev = dev_of(handle);
	struct rig_event e = { .kind = dev == RIG_MARKS ? RIG_MARK : RIG_WRITE, .dev = dev,
			       .flags = flags & NBDKIT_FLAG_FUA ? RIG_FUA : 0,
			       .offset = offset, .length = count };
	int ret;

	pthread_mutex_lock(&lock);
	memcpy(disks[dev] + offset, buf, count);
	e.id = next_id++;
	ret = put(&e, buf);
	pthread_mutex_unlock(&lock);
	return ret || dev == RIG_MARKS ? ret : acknowledge(e.id, dev);
}

static int rec_flush(void *handle, uint32_t flags)
{
	unsigned dev = dev_of(handle);
	struct rig_event e = { .kind = RIG_FLUSH, .dev = dev };
	int ret;

	if (dev == RIG_MARKS)
		return 0;
	pthread_mutex_lock(&lock);
	e.id = next_id++;
	ret = put(&e, NULL);
	pthread_mutex_unlock(&lock);
	return ret ? ret : acknowledge(e.id, dev);
}

static struct nbdkit_plugin plugin = {
	.name = "recorder",
	.description = "disks in memory that write down what reaches them",
	.config = rec_config,
	.config_help = "record=FILE  where to\ndelay=US     how long an acknowledgement is held back",
	.get_ready = rec_get_ready,
	.unload = rec_unload,
	.open = rec_open,
	.get_size = rec_get_size,
	.can_flush = rec_yes,
	.can_fua = rec_can_fua,
	.can_multi_conn = rec_yes,
	.pread = rec_pread,
	.pwrite = rec_pwrite,
	.flush = rec_flush,
};

/* the one name that comes out */
struct nbdkit_plugin *plugin_init(void);
NBDKIT_REGISTER_PLUGIN(plugin)
