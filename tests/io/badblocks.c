// SPDX-License-Identifier: GPL-2.0-or-later
/* What is known to be bad on a disk, asked of a /sys made for it. */
#include <sys/sysmacros.h>
#include "io_test.h"
#include "../../libdmfmt/sys/sysfs.h"

static struct dmfmt_roots roots;

/* a file below sys/, with its folders */
static void make(const char *name, const char *content)
{
	char path[PATH_MAX + 64], *slash;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", test_folder, name);
	for (slash = path + strlen(test_folder) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		mkdir(path, 0700);
		*slash = '/';
	}
	f = fopen(path, "w");
	fputs(content, f);
	fclose(f);
}

static void make_link(const char *number, const char *place)
{
	char link[PATH_MAX + 64], target[256];

	snprintf(link, sizeof(link), "%s/sys/dev/block/%s", test_folder, number);
	snprintf(target, sizeof(target), "../../devices/%s", place);
	EQ(symlink(target, link), 0);
}

/* pmem0 (259:0) with the partitions p1 (sectors 2048 to 6143) and p2 (from 8192 on); sda without a list */
static void make_world(void)
{
	make("sys/dev/block/.keep", "");
	make("sys/devices/pmem0/dev", "259:0\n");
	make("sys/devices/pmem0/size", "16384\n");
	make("sys/devices/pmem0/badblocks",
	     "0 1\n2040 16\n4096 8\nnonsense\n7 \n9\n6140 4100\n16380 8\n18446744073709551615 5\n");
	make("sys/devices/pmem0/pmem0p1/dev", "259:1\n");
	make("sys/devices/pmem0/pmem0p1/partition", "1\n");
	make("sys/devices/pmem0/pmem0p1/start", "2048\n");
	make("sys/devices/pmem0/pmem0p1/size", "4096\n");
	make("sys/devices/pmem0/pmem0p2/dev", "259:2\n");
	make("sys/devices/pmem0/pmem0p2/partition", "2\n");
	make("sys/devices/pmem0/pmem0p2/start", "8192\n");
	make("sys/devices/pmem0/pmem0p2/size", "4096\n");
	make("sys/devices/pmem0/pmem0p3/dev", "259:3\n");
	make("sys/devices/pmem0/pmem0p3/partition", "3\n");
	make("sys/devices/sda/dev", "8:0\n");
	make("sys/devices/sda/size", "16384\n");
	make("sys/devices/sdb/dev", "8:16\n");
	make("sys/devices/sdb/badblocks", "\n");
	make_link("259:0", "pmem0");
	make_link("259:1", "pmem0/pmem0p1");
	make_link("259:2", "pmem0/pmem0p2");
	make_link("259:3", "pmem0/pmem0p3");
	make_link("8:0", "sda");
	make_link("8:16", "sdb");
	roots.proc = in_folder("proc");
	roots.sys = in_folder("sys");
}

static char listed[512];

static int list(void *arg, uint64_t sector, uint64_t nr)
{
	size_t n = strlen(listed);

	snprintf(listed + n, sizeof(listed) - n, "%" PRIu64 "+%" PRIu64 " ", sector, nr);
	return arg ? -ENOMEM : 0;
}

static const char *bad(unsigned maj, unsigned min)
{
	listed[0] = '\0';
	EQ(dmfmt_sysfs_badblocks(&roots, makedev(maj, min), list, NULL), 0);
	return listed;
}

static void test_disk(void)
{
	STREQ(bad(259, 0), "0+1 2040+16 4096+8 6140+4100 16380+4 ");
	STREQ(bad(8, 0), "");
	STREQ(bad(8, 16), "");
	STREQ(bad(99, 9), "");
}

/* the disk's list, in the partition's own sectors, cut off where it begins and ends */
static void test_partition(void)
{
	STREQ(bad(259, 1), "0+8 2048+8 4092+4 ");
	STREQ(bad(259, 2), "0+2048 ");
	/* where it begins is not known: nothing is said */
	STREQ(bad(259, 3), "");
}

static void test_ends_early(void)
{
	listed[0] = '\0';
	EQ(dmfmt_sysfs_badblocks(&roots, makedev(259, 0), list, listed), -ENOMEM);
	STREQ(listed, "0+1 ");
}

/* on this machine, whatever it has */
static void test_live(void)
{
	struct stat st;

	EQ(stat("/", &st), 0);
	EQ(dmfmt_sysfs_badblocks(&dmfmt_roots_live, st.st_dev, list, NULL), 0);
}

int main(void)
{
	test_begin();
	make_world();
	RUN(test_disk);
	RUN(test_partition);
	RUN(test_ends_early);
	RUN(test_live);
	return DONE();
}
