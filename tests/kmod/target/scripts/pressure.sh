# shellcheck shell=sh disable=SC1091
# SPDX-License-Identifier: GPL-2.0-or-later
#
# ext4 on an origin with two snapshots while memory is nearly exhausted, then removal under I/O.
#
#	/dev/vda  origin	/dev/vdb  COW device of snapshot "p"	/dev/vdc  of "po"
#
# Arguments: MiB that are left of memory, MiB of files.
. /guest/lib.sh

left=$1 files=$2
modprobe dm-snapshot || exit 9
modprobe ext4 || exit 9
len=$(sectors /dev/vda)

table_of() {
	case $1 in
	p) echo "0 $len snapshot /dev/vda /dev/vdb P 8" ;;
	po) echo "0 $len snapshot /dev/vda /dev/vdc PO 64" ;;
	esac
}

make_snapshots() {
	must dmsetup suspend org
	for name in p po; do
		must dmsetup create $name --table "$(table_of $name)"
	done
	must dmsetup resume org
}

# a table anew, or just a pause, while the writers are at work
disturb() {
	for name in p po org; do
		must dmsetup suspend $name
		must dmsetup resume $name
		[ $name = org ] || must dmsetup reload $name --table "$(table_of $name)"
		must dmsetup suspend --noflush $name
		must dmsetup resume $name
	done
	disturbed=$((disturbed + 1))
}

# what a snapshot holds is what the files held when it was made
check_snapshot() {
	must mount -o ro,noload "/dev/mapper/$1" /mnt/snap
	if ./pressure check /mnt/snap "$files" 1; then
		say "$1" content right
	fi
	must umount /mnt/snap
	say "$1" status "$(dmsetup status "$1" | cut -d ' ' -f 4-)"
}

squeeze() {
	./pressure hog "$left" >/tmp/hog &
	hog=$!
	until grep -qs left /tmp/hog; do
		sleep 0.1
	done
	cat /tmp/hog
	./pressure write /mnt/org "$files" 2 &
	writer=$!
	disturbed=0
	while kill -0 $writer 2>/dev/null; do
		disturb
		sleep 0.5
	done
	if wait $writer; then
		say writer result ok
	fi
	say writer disturbed $disturbed
	kill $hog
}

check_squeezed() {
	must umount /mnt/org
	echo 3 >/proc/sys/vm/drop_caches
	must mount /dev/mapper/org /mnt/org
	if ./pressure check /mnt/org "$files" 2; then
		say origin content right
	fi
	check_snapshot p
	check_snapshot po
}

# one is removed while the origin is written to, the other is taken away from a reader
remove_under_load() {
	./pressure endless /mnt/org "$files" 3 &
	writer=$!
	sleep 1
	must dmsetup remove p
	dd if=/dev/mapper/po of=/dev/null bs=4096 iflag=direct 2>/tmp/dd &
	reader=$!
	sleep 0.5
	must dmsetup wipe_table po
	if wait $reader; then
		say reader result complete
	else
		say reader result failed
	fi
	must dmsetup remove po
	sleep 1
	kill -0 $writer && say writer alive yes
	kill $writer
	wait $writer
	must ./pressure write /mnt/org "$files" 4
	must umount /mnt/org
	must mount /dev/mapper/org /mnt/org
	if ./pressure check /mnt/org "$files" 4; then
		say removal content right
	fi
	must umount /mnt/org
	must dmsetup remove org
}

mkdir -p /mnt/org /mnt/snap
must dmsetup create org --table "0 $len snapshot-origin /dev/vda"
must mkfs.ext4 -q -F -E lazy_itable_init=0,nodiscard /dev/mapper/org
must mount /dev/mapper/org /mnt/org
must ./pressure write /mnt/org "$files" 1
make_snapshots
squeeze
check_squeezed
remove_under_load
rmmod dm_snapshot && say module unloaded yes
exit 0
