// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The crash rig in a guest: activates every state of a file (rig.h) and compares what the kernel shows
 * with what libdmfmt has shown.  Static; speaks to device-mapper itself, since starting dmsetup four
 * times for each state would take most of the time.
 *
 *	rigact STATES ORIGIN COW	ORIGIN and COW: block devices of at least 8 MiB, to be overwritten
 *
 * For each state of a store, on an origin and a COW device of their true sizes:
 *	content	the snapshot is loaded; its status is as expected, and so is all that it shows
 *	extend	chunks without an exception are written with what they hold already; after a reload the
 *		snapshot still shows the same: nothing behind the end of the store has become live
 *	merge	(where the state asks for it) merged to its end; the origin then holds what was shown
 *
 * Prints "@bad RULE COUNT" for each of load, status, content, extend, merge that failed, then
 * "@activated COUNT valid COUNT blank COUNT invalid COUNT stale COUNT extended COUNT merged COUNT".
 * Exit status: 0 all as expected, 4 not, 8 trouble.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <linux/dm-ioctl.h>
#include <linux/fs.h>

#include "rig.h"

enum rule { LOAD, STATUS, CONTENT, EXTEND, MERGE, RULES };
static const char *const rule_names[RULES] = { "load", "status", "content", "extend", "merge" };

static int control;
static uint64_t bad[RULES], done, classes[3], stale, extended, merged;
static uint8_t *images[RIG_SLOTS][2], **image, *buf;
static char base[2][128];	/* the devices below, as tables name them */
static dev_t device[2];		/* of their true sizes */

static void die(const char *what)
{
	fprintf(stderr, "rigact: %s: %s\n", what, strerror(errno));
	exit(8);
}

__attribute__((format(printf, 3, 4)))
static void failed(enum rule rule, const struct rig_state *x, const char *fmt, ...)
{
	va_list ap;

	if (bad[rule]++ >= 5)
		return;
	printf("rigact: state %" PRIu64 ": %s: ", x->number, rule_names[rule]);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

/* ---- device-mapper --------------------------------------------------------------------------- */

struct request {
	struct dm_ioctl h;
	struct dm_target_spec spec;
	char params[512];
};

static int dm(unsigned long cmd, const char *name, unsigned flags, struct request *q)
{
	q->h.version[0] = DM_VERSION_MAJOR;
	q->h.data_size = sizeof(*q);
	q->h.data_start = sizeof(q->h);
	q->h.flags = flags;
	snprintf(q->h.name, sizeof(q->h.name), "%s", name);
	return ioctl(control, cmd, q) ? -errno : 0;
}

static void dm_remove(const char *name)
{
	struct request q;
	int tries = 0, ret;

	do {
		memset(&q, 0, sizeof(q));
		ret = dm(DM_DEV_REMOVE, name, 0, &q);
		if (ret == -EBUSY)
			usleep(2000);
	} while (ret == -EBUSY && tries++ < 500);
	if (ret && ret != -ENXIO) {
		errno = -ret;
		die(name);
	}
}

/* make and start a device of one target */
__attribute__((format(printf, 5, 6)))
static int dm_create(const char *name, const char *target, uint64_t sectors, dev_t *dev,
		     const char *fmt, ...)
{
	struct request q = { 0 };
	va_list ap;
	int ret = dm(DM_DEV_CREATE, name, 0, &q);

	if (ret) {
		errno = -ret;
		die("creating a device");
	}
	*dev = q.h.dev;
	memset(&q, 0, sizeof(q));
	q.h.target_count = 1;
	q.spec.length = sectors;
	snprintf(q.spec.target_type, sizeof(q.spec.target_type), "%s", target);
	va_start(ap, fmt);
	vsnprintf(q.params, sizeof(q.params), fmt, ap);
	va_end(ap);
	ret = dm(DM_TABLE_LOAD, name, 0, &q);
	memset(&q, 0, sizeof(q));
	if (!ret)
		ret = dm(DM_DEV_SUSPEND, name, 0, &q);
	if (ret)
		dm_remove(name);
	return ret;
}

static const char *dm_status(const char *name)
{
	static struct request q;

	memset(&q, 0, sizeof(q));
	if (dm(DM_TABLE_STATUS, name, 0, &q))
		die("status");
	return q.params;
}

/* ---- devices --------------------------------------------------------------------------------- */

static int open_dm(dev_t dev, int flags)
{
	char path[64];
	int fd, tries;

	snprintf(path, sizeof(path), "/dev/dm-%u", minor(dev));
	for (tries = 0; (fd = open(path, flags | O_DIRECT | O_CLOEXEC)) < 0 && tries < 200; tries++)
		usleep(2000);
	if (fd < 0)
		die(path);
	return fd;
}

static int transfer(dev_t dev, bool write, uint8_t *p, uint64_t at, size_t len)
{
	int fd = open_dm(dev, write ? O_WRONLY : O_RDONLY), ret = 0;
	ssize_t n = write ? pwrite(fd, p, len, at) : pread(fd, p, len, at);

	if (n != (ssize_t)len || (write && fsync(fd)))
		ret = n < 0 ? -errno : -EIO;
	close(fd);
	return ret;
}

/* origin and COW device of the sizes that the state has */
static void make_devices(const struct rig_state *x)
{
	static const char *const names[2] = { "rig-origin", "rig-cow" };
	static uint64_t now[2];
	uint64_t sizes[2] = { x->origin_sectors, x->cow_sectors };
	unsigned i;

	for (i = 0; i < 2; i++) {
		if (now[i] == sizes[i])
			continue;
		dm_remove(names[i]);
		if (dm_create(names[i], "linear", sizes[i], &device[i], "%s 0", base[i]))
			die(names[i]);
		now[i] = sizes[i];
	}
}

static void write_images(const struct rig_state *x)
{
	if (transfer(device[0], true, image[0], 0, x->origin_sectors * RIG_SECTOR) ||
	    transfer(device[1], true, image[1], 0, x->cow_sectors * RIG_SECTOR))
		die("writing a state");
}

/* ---- one state ------------------------------------------------------------------------------- */

static bool load(const struct rig_state *x, const char *name, const char *target, dev_t *dev,
		 enum rule rule)
{
	int ret = dm_create(name, target, x->origin_sectors, dev, "%u:%u %u:%u %s %u", major(device[0]),
			    minor(device[0]), major(device[1]), minor(device[1]), x->overflow ? "PO" : "P",
			    x->chunk_sectors);

	if (ret)
		failed(rule, x, "%s: errno %d, expected to load", target, -ret);
	return !ret;
}

static void compare(const struct rig_state *x, dev_t dev, enum rule rule)
{
	size_t len = x->origin_sectors * RIG_SECTOR;
	int ret = transfer(dev, false, buf, 0, len);

	if (ret)
		failed(rule, x, "errno %d, expected to read", -ret);
	else if (rig_hash(0, buf, len) != x->hash)
		failed(rule, x, "shows other content than libdmfmt (%" PRIu64 " exceptions)", x->entries);
}

/* write back what is there, and look again after a reload */
static void extend(const struct rig_state *x, dev_t dev)
{
	size_t len = x->chunk_sectors * RIG_SECTOR;
	uint64_t i;
	int ret = 0;

	for (i = 0; i < x->nr_spare && !ret; i++) {
		ret = transfer(dev, false, buf, x->spare[i] * len, len);
		if (!ret)
			ret = transfer(dev, true, buf, x->spare[i] * len, len);
	}
	dm_remove("rig-snap");
	if (ret) {
		failed(EXTEND, x, "errno %d, expected to write", -ret);
	} else if (load(x, "rig-snap", "snapshot", &dev, EXTEND)) {
		compare(x, dev, EXTEND);
		dm_remove("rig-snap");
	}
	extended++;
}

static bool is_merged(void)
{
	unsigned long long used, size, metadata;

	return sscanf(dm_status("rig-merge"), "%llu/%llu %llu", &used, &size, &metadata) == 3 &&
	       used == metadata;
}

static void merge(const struct rig_state *x)
{
	dev_t dev;
	int tries;

	write_images(x);
	if (!load(x, "rig-merge", "snapshot-merge", &dev, MERGE))
		return;
	for (tries = 0; !is_merged() && tries < 2000; tries++)
		usleep(5000);
	if (!is_merged())
		failed(MERGE, x, "status %s, expected an end", dm_status("rig-merge"));
	dm_remove("rig-merge");
	compare(x, device[0], MERGE);
	merged++;
}

static void activate(const struct rig_state *x)
{
	unsigned long long used, size, metadata;
	const char *status;
	dev_t dev;

	write_images(x);
	if (!load(x, "rig-snap", "snapshot", &dev, LOAD))
		return;
	status = dm_status("rig-snap");
	if (x->class == RIG_INVALID) {
		if (strcmp(status, "Invalid"))
			failed(STATUS, x, "%s, expected Invalid", status);
		dm_remove("rig-snap");
		return;
	}
	if (sscanf(status, "%llu/%llu %llu", &used, &size, &metadata) != 3)
		failed(STATUS, x, "%s, expected numbers", status);
	compare(x, dev, CONTENT);
	if (x->nr_spare)
		extend(x, dev);
	else
		dm_remove("rig-snap");
	if (x->merge)
		merge(x);
}

static void must_read(void *p, size_t len, FILE *f)
{
	if (fread(p, 1, len, f) != len)
		die("states: ends early");
}

static bool next_state(FILE *f, struct rig_state *x)
{
	struct rig_change c;
	uint64_t i;

	if (fread(x, 1, sizeof(*x), f) != sizeof(*x) || !x->magic)
		return false;
	if (x->magic != RIG_STATES_MAGIC || x->origin_sectors > RIG_DEVICE_BYTES / RIG_SECTOR ||
	    x->cow_sectors > RIG_DEVICE_BYTES / RIG_SECTOR || x->slot >= RIG_SLOTS ||
	    x->nr_spare > RIG_SPARE_MAX) {
		errno = EILSEQ;
		die("states");
	}
	image = images[x->slot];
	for (i = 0; i < 2 && x->fresh; i++)
		memset(image[i], 0, RIG_DEVICE_BYTES);
	make_devices(x);
	for (i = 0; i < x->nr_changes; i++) {
		must_read(&c, sizeof(c), f);
		if (c.cow > 1 || c.sector >= RIG_DEVICE_BYTES / RIG_SECTOR) {
			errno = EILSEQ;
			die("states");
		}
		must_read(image[c.cow] + c.sector * (size_t)RIG_SECTOR, RIG_SECTOR, f);
	}
	return true;
}

static void set_up(char **argv)
{
	struct stat st;
	unsigned i;

	control = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
	if (control < 0)
		die("/dev/mapper/control");
	for (i = 0; i < 2; i++) {
		if (stat(argv[2 + i], &st) || !S_ISBLK(st.st_mode))
			die(argv[2 + i]);
		snprintf(base[i], sizeof(base[i]), "%u:%u", major(st.st_rdev), minor(st.st_rdev));
	}
	for (i = 0; i < 2 * RIG_SLOTS; i++)
		if (posix_memalign((void **)&images[i / 2][i % 2], 4096, RIG_DEVICE_BYTES))
			die("memory");
	if (posix_memalign((void **)&buf, 4096, RIG_DEVICE_BYTES))
		die("memory");
}

int main(int argc, char **argv)
{
	struct rig_state x;
	uint64_t sum = 0;
	unsigned i;
	FILE *f;

	if (argc != 4) {
		fputs("usage: rigact STATES ORIGIN COW\n", stderr);
		return 16;
	}
	f = fopen(argv[1], "re");
	if (!f)
		die(argv[1]);
	set_up(argv);
	for (; next_state(f, &x); done++) {
		activate(&x);
		classes[x.class % 3]++;
		stale += x.stale;
	}
	dm_remove("rig-cow");
	dm_remove("rig-origin");
	for (i = 0; i < RULES; sum += bad[i++])
		if (bad[i])
			printf("@bad %s %" PRIu64 "\n", rule_names[i], bad[i]);
	printf("@activated %" PRIu64 " valid %" PRIu64 " blank %" PRIu64 " invalid %" PRIu64
	       " stale %" PRIu64 " extended %" PRIu64 " merged %" PRIu64 "\n",
	       done, classes[RIG_VALID], classes[RIG_BLANK], classes[RIG_INVALID], stale, extended,
	       merged);
	return sum ? 4 : 0;
}
