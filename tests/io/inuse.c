// SPDX-License-Identifier: GPL-2.0-or-later
/* Who uses a device and what lies below a file system, asked of a /proc and a /sys made for it. */
#include <stdarg.h>
#include <sys/sysmacros.h>
#include "io_test.h"
#include "../../libdmfmt/sys/inuse.h"

static struct dmfmt_roots roots;

/* a file below the folder, with its folders: make("sys/a/b", "content\n") */
__attribute__((format(printf, 2, 3)))
static void make(const char *name, const char *fmt, ...)
{
	char path[PATH_MAX + 64], *slash;
	va_list ap;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", test_folder, name);
	for (slash = path + strlen(test_folder) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		mkdir(path, 0700);
		*slash = '/';
	}
	f = fopen(path, "a");
	va_start(ap, fmt);
	vfprintf(f, fmt, ap);
	va_end(ap);
	fclose(f);
}

/* a block device: sys/devices/PLACE, and links to it from dev/block, block and class/block */
static void make_block(const char *place, const char *number, bool partition)
{
	char name[512], target[512], link[PATH_MAX + 512];
	const char *base = strrchr(place, '/') ? strrchr(place, '/') + 1 : place;

	snprintf(name, sizeof(name), "sys/devices/%s/dev", place);
	make(name, "%s\n", number);
	make("sys/dev/block/.keep", "%s", "");
	make("sys/class/block/.keep", "%s", "");
	make("sys/block/.keep", "%s", "");
	if (partition) {
		snprintf(name, sizeof(name), "sys/devices/%s/partition", place);
		make(name, "1\n");
	}
	snprintf(target, sizeof(target), "../../devices/%s", place);
	snprintf(link, sizeof(link), "%s/sys/dev/block/%s", test_folder, number);
	EQ(symlink(target, link), 0);
	snprintf(link, sizeof(link), "%s/sys/class/block/%s", test_folder, base);
	EQ(symlink(target, link), 0);
	if (!partition) {
		snprintf(target, sizeof(target), "../devices/%s", place);
		snprintf(link, sizeof(link), "%s/sys/block/%s", test_folder, base);
		EQ(symlink(target, link), 0);
	}
}

/* @upper is made of @lower: slaves and holders, as folders with the number in them */
static void stack(const char *upper, const char *lower, const char *lower_number)
{
	const char *upper_name = strrchr(upper, '/') ? strrchr(upper, '/') + 1 : upper;
	const char *lower_name = strrchr(lower, '/') ? strrchr(lower, '/') + 1 : lower;
	char name[512];

	snprintf(name, sizeof(name), "sys/devices/%s/slaves/%s/dev", upper, lower_name);
	make(name, "%s\n", lower_number);
	snprintf(name, sizeof(name), "sys/devices/%s/holders/%s/.keep", lower, upper_name);
	make(name, "%s", "");
}

/*
 *   sda (8:0)  sda1 /boot  sda2 swap  sda3 -> dm-0 vg-root (/)  sda4 free
 *   sdb (8:16) whole -> dm-1 vg-cow     sdb1 (a table that nobody uses)
 *   sdc (8:32), sdd (8:48) -> md0 (9:0) -> md0p1 /data
 *   sde (8:64) loop5 is over it          sdf (8:80) free
 *   loop3 over backing/a file            loop4 over a file in this folder, /loop
 *   sdg (8:96) and sdh (8:112): btrfs, /pool      sdi (8:128): bcache0
 */
static void make_world(void)
{
	make_block("sda", "8:0", false);
	make_block("sda/sda1", "8:1", true);
	make_block("sda/sda2", "8:2", true);
	make_block("sda/sda3", "8:3", true);
	make_block("sda/sda4", "8:4", true);
	make_block("sdb", "8:16", false);
	make_block("sdb/sdb1", "8:17", true);
	make_block("sdc", "8:32", false);
	make_block("sdd", "8:48", false);
	make_block("sde", "8:64", false);
	make_block("sdf", "8:80", false);
	make_block("sdg", "8:96", false);
	make_block("sdh", "8:112", false);
	make_block("sdi", "8:128", false);
	make_block("dm-0", "253:0", false);
	make_block("dm-1", "253:1", false);
	make_block("md0", "9:0", false);
	make_block("md0/md0p1", "259:0", true);
	make_block("bcache0", "252:0", false);
	make_block("loop3", "7:3", false);
	make_block("loop4", "7:4", false);
	make_block("loop5", "7:5", false);
	make("sys/devices/dm-0/dm/name", "vg-root\n");
	make("sys/devices/dm-1/dm/name", "vg-cow\n");
	stack("dm-0", "sda/sda3", "8:3");
	stack("dm-1", "sdb", "8:16");
	stack("md0", "sdc", "8:32");
	stack("md0", "sdd", "8:48");
	stack("bcache0", "sdi", "8:128");
	make("backing", "a file\n");
	make("other", "a file\n");
	make("sys/devices/loop3/loop/backing_file", "%s/backing\n", test_folder);
	make("sys/devices/loop4/loop/backing_file", "%s/other\n", test_folder);
	make("sys/fs/btrfs/1234-5678/devices/sdg/.keep", "%s", "");
	make("sys/fs/btrfs/1234-5678/devices/sdh/.keep", "%s", "");
	make("sys/fs/btrfs/features/.keep", "%s", "");
	make("proc/self/mountinfo",
	     "20 1 253:0 / / rw,relatime shared:1 - ext4 /dev/mapper/vg-root rw\n"
	     "21 20 8:1 / /boot rw,relatime - ext4 /dev/sda1 rw\n"
	     "22 20 259:0 /sub /my\\040data\\134x rw shared:2 master:3 - xfs /dev/md0p1 rw\n"
	     "broken line\n"
	     "23 20 7:4 / /loop rw - ext4 /dev/loop4 rw\n"
	     "24 20 0:40 / /tmp rw - tmpfs tmpfs rw\n"
	     "25 20 0:41 / /over rw - overlay overlay rw,lowerdir=/x,upperdir=%s/up,workdir=/w\n"
	     "26 20 0:42 / /nowhere rw - overlay overlay rw,upperdir=/no/such/place\n",
	     test_folder);
	make("up/.keep", "%s", "");
	make("swapfile", "swap\n");
	make("proc/swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
			   "%s/swapfile                 file\t1024\t0\t-2\n",
	     test_folder);
	roots.proc = in_folder("proc");
	roots.sys = in_folder("sys");
}

static struct stat block(unsigned maj, unsigned min)
{
	struct stat st = { .st_mode = S_IFBLK | 0600, .st_rdev = makedev(maj, min) };

	return st;
}

static struct stat file(const char *name)
{
	struct stat st;

	EQ(stat(in_folder(name), &st), 0);
	return st;
}

static void used_by(struct stat st, const char *want)
{
	char *holder = NULL;

	EQ(dmfmt_inuse(&roots, &st, &holder), 0);
	if (want)
		STREQ(holder, want);
	else
		CHECK(!holder);
	free(holder);
}

static void test_block_devices(void)
{
	used_by(block(8, 1), "mounted on /boot");
	used_by(block(253, 0), "mounted on /");
	used_by(block(259, 0), "mounted on /my data\\x");
	used_by(block(8, 3), "dm device vg-root");
	used_by(block(8, 16), "dm device vg-cow");
	used_by(block(8, 32), "md device md0");
	used_by(block(8, 48), "md device md0");
	used_by(block(8, 128), "block device bcache0");
	used_by(block(8, 80), NULL);
	used_by(block(253, 1), NULL);
	used_by(block(99, 1), NULL);	/* sysfs does not know it */
}

/* A disk is used when a partition is, a partition when the disk is; neighbours do not matter. */
static void test_partitions(void)
{
	used_by(block(8, 0), "mounted on /boot");
	used_by(block(9, 0), "mounted on /my data\\x");
	used_by(block(8, 17), "dm device vg-cow");
	used_by(block(8, 4), NULL);
}

static void test_files(void)
{
	used_by(file("backing"), "loop device loop3");
	used_by(file("other"), "loop device loop4");
	used_by(file("swapfile"), "swap");
	make("free", "x");
	used_by(file("free"), NULL);
	EQ(link(in_folder("backing"), in_folder("hardlink")), 0);
	used_by(file("hardlink"), "loop device loop3");
}

/* With block devices that exist, where there are any. */
static void test_paths_of_block_devices(void)
{
	struct stat st;

	if (stat("/dev/loop0", &st) || !S_ISBLK(st.st_mode)) {
		printf("# no /dev/loop0 here\n");
		return;
	}
	used_by(st, NULL);
	make("sys/devices/loop5/loop/backing_file", "/dev/loop0\n");
	used_by(st, "loop device loop5");
	make("proc/swaps", "/dev/loop0 partition 1024 0 -2\n");
	used_by(st, "swap");
	make("proc/self/mountinfo", "30 20 0:50 / /btrfs rw - btrfs /dev/loop0 rw\n");
	used_by(st, "mounted on /btrfs");
}

static void test_nothing_there(void)
{
	struct dmfmt_roots none = { "/no/such/proc", "/no/such/sys" };
	struct stat st = block(8, 1);
	char *holder;

	EQ(dmfmt_inuse(&none, &st, &holder), 0);
	CHECK(!holder);
	EQ(dmfmt_stack_holds(&none, &st, 0, &st), 0);
}

static int holds(unsigned maj, unsigned min, uint64_t mnt_id, struct stat target)
{
	struct stat dir = { .st_mode = S_IFDIR | 0700, .st_dev = makedev(maj, min) };

	return dmfmt_stack_holds(&roots, &dir, mnt_id, &target);
}

static void test_stack(void)
{
	/* a folder on /boot, sda1 */
	EQ(holds(8, 1, 0, block(8, 1)), 1);
	EQ(holds(8, 1, 0, block(8, 0)), 1);
	EQ(holds(8, 1, 0, block(8, 4)), 0);	/* beside it */
	EQ(holds(8, 1, 0, block(8, 80)), 0);
	/* on /, which is vg-root on sda3 */
	EQ(holds(253, 0, 0, block(253, 0)), 1);
	EQ(holds(253, 0, 0, block(8, 3)), 1);
	EQ(holds(253, 0, 0, block(8, 0)), 1);
	EQ(holds(253, 0, 0, block(8, 1)), 0);
	EQ(holds(253, 0, 0, block(253, 1)), 0);
	/* on all of sdb: its partition is part of it */
	EQ(holds(253, 1, 0, block(8, 17)), 1);
	EQ(holds(8, 16, 0, block(8, 17)), 1);
	/* on md0p1: both disks below */
	EQ(holds(259, 0, 0, block(9, 0)), 1);
	EQ(holds(259, 0, 0, block(8, 32)), 1);
	EQ(holds(259, 0, 0, block(8, 48)), 1);
	EQ(holds(259, 0, 0, block(8, 64)), 0);
}

/* Through a file: /loop lies on the file "other", and that on the file system of this folder. */
static void test_stack_of_files(void)
{
	struct stat here = file("other");

	EQ(holds(7, 4, 0, file("other")), 1);
	EQ(holds(7, 4, 0, file("backing")), 0);
	EQ(holds(7, 4, 0, block(7, 4)), 1);
	if (major(here.st_dev))
		EQ(holds(7, 4, 0, block(major(here.st_dev), minor(here.st_dev))), 1);
	EQ(holds(major(here.st_dev), minor(here.st_dev), 0, file("backing")), 0);
}

static void test_anonymous(void)
{
	struct stat here = file("up");

	EQ(holds(0, 40, 0, block(8, 1)), 0);		/* tmpfs */
	EQ(holds(0, 99, 21, block(8, 1)), 0);		/* found by its mount, source not there */
	EQ(holds(0, 99, 4711, block(8, 1)), 0);
	if (major(here.st_dev)) {
		EQ(holds(0, 41, 0, block(major(here.st_dev), minor(here.st_dev))), 1); /* overlay */
		EQ(holds(0, 99, 25, block(major(here.st_dev), minor(here.st_dev))), 1);
	}
	EQ(holds(0, 42, 0, block(8, 1)), 0);
}

/* btrfs: the source names one device (loop0, made a member here), sysfs the others. */
static void test_btrfs(void)
{
	struct stat st;

	if (stat("/dev/loop0", &st) || !S_ISBLK(st.st_mode))
		return;
	EQ(holds(0, 50, 30, st), 1);
	EQ(holds(0, 77, 30, st), 1);
	EQ(holds(0, 50, 30, block(8, 96)), 0);
	make_block("loop0", "7:0", false);
	make("sys/fs/btrfs/1234-5678/devices/loop0/.keep", "%s", "");
	EQ(holds(0, 50, 30, block(8, 96)), 1);
	EQ(holds(0, 50, 30, block(8, 112)), 1);
	EQ(holds(0, 50, 30, block(8, 80)), 0);
}

/* A circle in sysfs would be a kernel's fault; it must not hang us. */
static void test_circle(void)
{
	stack("sdf", "dm-1", "253:1");
	stack("sdb", "sdf", "8:80");
	EQ(holds(253, 1, 0, block(8, 80)), 1);
	EQ(holds(253, 1, 0, block(8, 64)), 0);
}

/* A file cannot be its own undo file's folder, and next to it is fine. */
static void test_live_roots(void)
{
	struct dmfmt_dev *dev;
	int fd = open(test_folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	CHECK(dmfmt_mnt_id(fd) > 0);
	close(fd);
	EQ(dmfmt_mnt_id(fd), 0);
	make_file(in_folder("image"), 4096, 1);
	EQ(dmfmt_dev_open(ctx, in_folder("image"), DMFMT_OPEN_WRITE, &dev), 0);
	EQ(dmfmt_dev_set_undo(dev, in_folder("image.undo"), "x"), 0);
	dmfmt_dev_close(dev);
}

int main(void)
{
	test_begin();
	make_world();
	RUN(test_block_devices);
	RUN(test_partitions);
	RUN(test_files);
	RUN(test_stack);
	RUN(test_stack_of_files);
	RUN(test_anonymous);
	RUN(test_paths_of_block_devices);
	RUN(test_btrfs);
	RUN(test_nothing_there);
	RUN(test_live_roots);
	RUN(test_circle);
	return DONE();
}
