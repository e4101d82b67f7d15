# shellcheck shell=sh disable=SC1091
# SPDX-License-Identifier: GPL-2.0-or-later
#
# reload.sh N - the module comes, works, and goes, N times
. /guest/lib.sh

must modprobe brd rd_nr=3 rd_size=16384 max_part=0
modprobe dm-bufio
caches() { find /sys/kernel/slab -mindepth 1 -maxdepth 1 ! -name ':*' | sort; }
dmsetup targets >/tmp/targets.before
caches >/tmp/caches.before
round=0
while [ $round -lt "$1" ]; do
	round=$((round + 1))
	must insmod /guest/ours/dm-snapshot.ko
	for type in P PO N; do
		dd if=/dev/zero of=/dev/ram1 bs=64k count=1 2>/dev/null
		must dmsetup create snap --table "0 16384 snapshot /dev/ram0 /dev/ram1 $type 8"
		must dmsetup create origin --table "0 16384 snapshot-origin /dev/ram0"
		must dd if=/dev/zero of=/dev/mapper/origin bs=64k count=2 oflag=direct 2>/dev/null
		must dd if=/dev/zero of=/dev/mapper/snap bs=64k count=2 seek=4 oflag=direct 2>/dev/null
		must dd if=/dev/mapper/snap of=/dev/null bs=64k count=8 iflag=direct 2>/dev/null
		must dmsetup remove snap
		must dmsetup remove origin
	done
	must rmmod dm-snapshot
done
dmsetup targets | diff /tmp/targets.before - || exit 2
caches | diff /tmp/caches.before - || exit 3
echo "$round rounds"
