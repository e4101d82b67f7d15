// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * failnth - let each memory allocation of one step in the life of a device fail, one after the other
 *
 *	failnth STEP TARGET SECTORS PARAMETERS [COW_DEVICE]
 *
 * The device is created, its table loaded, resumed, written and read, its status asked for, and it is
 * removed; STEP (load, resume, write, read, status, suspend or remove) is the one in which the first,
 * the second, ... allocation fails (/proc/self/fail-nth, see the kernel's fault-injection), until one
 * round ends without a failure.  With COW_DEVICE its first 64 KiB are made zero before each round.
 *
 * What is expected: a step fails with ENOMEM (load also with what the target makes of it) or succeeds;
 * whatever it does, the device can be removed, the next round works, and a snapshot never becomes
 * invalid because memory was short.  Prints "STEP: N allocations, M failed".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define DEVICE "failnth"
#define IO_BYTES 4096
#define BLANK_BYTES 65536
/* no step allocates that often; a kernel that never injects would loop for ever */
#define MAX_NTH 5000

struct request {
	struct dm_ioctl head;
	char room[8192];
};

static const char *target, *parameters, *cow;
static uint64_t nr_sectors;
static int control, fail_nth;

static void tidy(void);

static void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("failnth: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	tidy();
	exit(1);
}

/* ---- injection -------------------------------------------------------------------------------- */

static void inject(unsigned int nth)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", nth);

	if (pwrite(fail_nth, text, len, 0) != len) {
		perror("failnth: fail-nth");
		exit(1);
	}
}

/* ends the injection; was there one? */
static bool injected(void)
{
	char text[16] = "";
	bool done;

	if (pread(fail_nth, text, sizeof(text) - 1, 0) <= 0)
		die("fail-nth: cannot be read: %s", strerror(errno));
	done = atoi(text) == 0;
	inject(0);
	return done;
}

/* ---- device-mapper ---------------------------------------------------------------------------- */

static void prepare(struct request *r, uint32_t flags)
{
	memset(r, 0, sizeof(*r));
	r->head.version[0] = DM_VERSION_MAJOR;
	r->head.data_size = sizeof(*r);
	r->head.data_start = sizeof(r->head);
	r->head.flags = flags;
	strcpy(r->head.name, DEVICE);
}

static int simple(unsigned long command, uint32_t flags, dev_t *dev)
{
	struct request r;

	prepare(&r, flags);
	if (ioctl(control, command, &r))
		return -errno;
	if (dev)
		*dev = makedev((r.head.dev >> 8) & 0xfff,
			       (r.head.dev & 0xff) | ((r.head.dev >> 12) & 0xfff00));
	return 0;
}

static int load_table(const char *type, const char *words)
{
	struct request r;
	struct dm_target_spec *spec = (void *)r.room;

	prepare(&r, 0);
	r.head.target_count = 1;
	spec->length = nr_sectors;
	strncpy(spec->target_type, type, sizeof(spec->target_type) - 1);
	strcpy((char *)(spec + 1), words);
	return ioctl(control, DM_TABLE_LOAD, &r) ? -errno : 0;
}

static int load(void)
{
	return load_table(target, parameters);
}

/*
 * The first table of a device registers a disk, with hundreds of allocations that are not the target's;
 * so another target has that done.
 */
static int create(dev_t *dev)
{
	int rc = simple(DM_DEV_CREATE, 0, dev);

	if (!rc)
		rc = load_table("zero", "");
	return rc ? rc : simple(DM_DEV_SUSPEND, 0, NULL);
}

static int status(char *text, size_t size)
{
	struct request r;
	struct dm_target_spec *spec = (void *)r.room;

	prepare(&r, 0);
	if (ioctl(control, DM_TABLE_STATUS, &r))
		return -errno;
	snprintf(text, size, "%.*s", (int)size - 1, (char *)(spec + 1));
	return 0;
}

/* ---- steps ------------------------------------------------------------------------------------ */

static int device_fd = -1;
static unsigned int round_nr;
static char *io_buffer;
static dev_t device;

static int step_load(void)
{
	return load();
}

static int step_resume(void)
{
	return simple(DM_DEV_SUSPEND, 0, NULL);
}

static int step_suspend(void)
{
	return simple(DM_DEV_SUSPEND, DM_SUSPEND_FLAG, NULL);
}

/* what comes after a failure finds the name free */
static void tidy(void)
{
	char text[512];

	if (fail_nth > 0)
		inject(0);
	if (device_fd >= 0)
		close(device_fd);
	if (control > 0 && !status(text, sizeof(text)))
		fprintf(stderr, "failnth: status then: %s\n", text);
	if (control > 0)
		simple(DM_DEV_REMOVE, 0, NULL);
}

static off_t io_offset(void)
{
	return (off_t)(round_nr * 7919ULL % (nr_sectors * 512 / IO_BYTES)) * IO_BYTES;
}

static int step_write(void)
{
	return pwrite(device_fd, io_buffer, IO_BYTES, io_offset()) == IO_BYTES ? 0 : -errno;
}

static int step_read(void)
{
	return pread(device_fd, io_buffer, IO_BYTES, io_offset()) == IO_BYTES ? 0 : -errno;
}

static int step_status(void)
{
	char text[512];

	return status(text, sizeof(text));
}

static int step_remove(void)
{
	return simple(DM_DEV_REMOVE, 0, NULL);
}

static const struct step {
	const char *name;
	int (*run)(void);
	/* the target may have another word for it */
	bool any_errno;
} steps[] = {
	{ "load", step_load, true },
	{ "resume", step_resume, true },
	{ "write", step_write, false },
	{ "read", step_read, false },
	{ "status", step_status, false },
	{ "suspend", step_suspend, false },
	{ "remove", step_remove, false },
};

#define NR_STEPS (sizeof(steps) / sizeof(steps[0]))

static void blank(void)
{
	static char zero[BLANK_BYTES];
	int fd = open(cow, O_WRONLY);

	if (fd < 0 || pwrite(fd, zero, sizeof(zero), 0) != sizeof(zero) || fsync(fd))
		die("%s: cannot be written: %s", cow, strerror(errno));
	close(fd);
}

static void open_device(void)
{
	char path[64] = "/tmp/failnth-node";

	unlink(path);
	if (mknod(path, S_IFBLK | 0600, device))
		die("%s: %s", path, strerror(errno));
	device_fd = open(path, O_RDWR | O_DIRECT);
	if (device_fd < 0)
		die("device: cannot be opened: %s", strerror(errno));
}

static void close_device(void)
{
	if (device_fd >= 0)
		close(device_fd);
	device_fd = -1;
}

static void judge_status(const char *when)
{
	char text[512] = "";
	int rc = status(text, sizeof(text));

	if (rc)
		die("round %u: status %s: %s", round_nr, when, strerror(-rc));
	if (!strncmp(text, "Invalid", 7) || !strncmp(text, "Unknown", 7))
		die("round %u: status %s: %s, expected a valid store", round_nr, when, text);
}

/* One life of the device.  Returns whether the injection came; *failed whether the step then failed. */
static bool live(const struct step *victim, unsigned int nth, bool *failed)
{
	const struct step *s;
	bool fired = false;
	int rc;

	if (cow)
		blank();
	rc = create(&device);
	if (rc)
		die("round %u: create: %s", round_nr, strerror(-rc));
	for (s = steps; s < steps + NR_STEPS; s++) {
		if (!strcmp(s->name, "write"))
			open_device();
		if (!strcmp(s->name, "suspend")) {
			judge_status("before the end");
			close_device();
		}
		if (s == victim)
			inject(nth);
		rc = s->run();
		if (s == victim) {
			fired = injected();
			*failed = rc;
		}
		if (!rc)
			continue;
		if (s != victim || !fired)
			die("round %u: %s: %s, expected success", round_nr, s->name, strerror(-rc));
		if (!s->any_errno && rc != -ENOMEM)
			die("round %u: %s: %s, expected %s", round_nr, s->name, strerror(-rc),
			    strerror(ENOMEM));
		/* once more, without a failure: nothing must have been left behind */
		if (s->run == step_resume) {
			rc = load();
			if (rc)
				die("round %u: second load: %s", round_nr, strerror(-rc));
		}
		rc = s->run();
		if (rc)
			die("round %u: second %s: %s", round_nr, s->name, strerror(-rc));
	}
	return fired;
}

int main(int argc, char **argv)
{
	const struct step *victim = NULL;
	unsigned int nr_failed = 0, i;
	bool failed = false;

	if (argc < 5)
		die("STEP TARGET SECTORS PARAMETERS [COW_DEVICE]");
	for (i = 0; i < NR_STEPS; i++)
		if (!strcmp(steps[i].name, argv[1]))
			victim = steps + i;
	target = argv[2];
	nr_sectors = strtoull(argv[3], NULL, 0);
	parameters = argv[4];
	cow = argc > 5 ? argv[5] : NULL;
	if (!victim || nr_sectors < 8 || strlen(parameters) > 4096)
		die("%s: wrong arguments", argv[1]);
	control = open("/dev/mapper/control", O_RDWR);
	fail_nth = open("/proc/thread-self/fail-nth", O_RDWR);
	if (control < 0 || fail_nth < 0)
		die("control or fail-nth: %s", strerror(errno));
	if (posix_memalign((void **)&io_buffer, IO_BYTES, IO_BYTES))
		die("no memory");
	for (round_nr = 1; live(victim, round_nr, &failed); round_nr++) {
		nr_failed += failed;
		if (round_nr == MAX_NTH)
			die("%s: more than %d allocations", victim->name, MAX_NTH);
	}
	printf("%s: %u allocations, %u failed\n", victim->name, round_nr - 1, nr_failed);
	return 0;
}
