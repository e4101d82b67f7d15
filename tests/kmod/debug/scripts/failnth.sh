# shellcheck shell=sh disable=SC1091
# SPDX-License-Identifier: GPL-2.0-or-later
#
# failnth.sh STEP... - every allocation of each step fails once, for every kind of table
. /guest/lib.sh

must modprobe brd rd_nr=4 rd_size=16384 max_part=0
# brd's own pages are there: where it has to make one and cannot, a write fails with EIO
for ram in 0 1; do
	must dd if=/dev/zero of=/dev/ram$ram bs=64k count=128 conv=fsync 2>/dev/null
done
modprobe dm-bufio
must insmod /guest/ours/dm-snapshot.ko
# The kernel itself loses a little memory when it cannot make the cache of a new kind of device; these
# two keep both kinds alive.
must dmsetup create hold --table "0 1024 snapshot /dev/ram2 /dev/ram3 N 8"
must dmsetup create hold-origin --table "0 1024 snapshot-origin /dev/ram2"
for knob in failslab fail_page_alloc; do
	echo N >/sys/kernel/debug/$knob/ignore-gfp-wait
	echo 0 >/sys/kernel/debug/$knob/verbose
done
echo N >/sys/kernel/debug/fail_page_alloc/ignore-gfp-highmem
echo 0 >/sys/kernel/debug/fail_page_alloc/min-order
failed=0
for step; do
	for type in P PO N; do
		echo "new $type $(/guest/failnth "$step" snapshot 16384 "/dev/ram0 /dev/ram1 $type 8" /dev/ram1)" ||
			failed=1
	done
	# with exceptions: what the last write of a round left
	echo "used P $(/guest/failnth "$step" snapshot 16384 "/dev/ram0 /dev/ram1 P 8")" || failed=1
	echo "origin $(/guest/failnth "$step" snapshot-origin 16384 /dev/ram0)" || failed=1
done
must dmsetup remove hold-origin
must dmsetup remove hold
must rmmod dm-snapshot
exit $failed
