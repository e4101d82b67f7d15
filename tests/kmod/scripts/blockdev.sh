# shellcheck shell=sh disable=SC1091
# SPDX-License-Identifier: GPL-2.0-or-later
#
# dmtool on block devices.
#
#	/dev/vda  a store with three areas	/dev/vdd  blank, 4096-byte blocks
#	/dev/vdb  its origin			/dev/vde  another store, read-only
#	/dev/vdc  blank				/dev/vdf  its origin
#
# /guest/small.img is a small sound store, /guest/tail.img one with a stale tail, /guest/long.img one
# of many areas, /guest/chunk4.img an empty one with chunks of 4 sectors.
#
# Argument: a chunk of the first origin that has no exception.
. /guest/lib.sh

export DMTOOL_UNDO_DIR=/tmp/undo
mkdir -p /tmp/undo

# refused NAME DEVICE: nothing that writes may touch it, not even with force; reading needs --live
refused() {
	before=$(content_of "$2")
	try "$1-create" dmtool snapshot-create "$2" --chunk-size 8 --force --no-undo
	try "$1-repair" dmtool snapshot-repair -y --no-undo "$2"
	try "$1-read" dmtool probe "$2"
	try "$1-live" dmtool probe --live "$2"
	say "$1" changed "$([ "$(content_of "$2")" = "$before" ] && echo no || echo yes)"
}

holders() {
	must mkfs.ext4 -q -F /dev/vdc
	must mount -t ext4 -o ro /dev/vdc /mnt
	refused mounted /dev/vdc
	umount /mnt

	must mkswap /dev/vdc >/dev/null
	must swapon /dev/vdc
	refused swap /dev/vdc
	swapoff /dev/vdc

	printf 'o\nn\np\n1\n\n\nw\n' | fdisk /dev/vdc >/dev/null 2>&1
	must mkfs.ext4 -q -F /dev/vdc1
	must mount -t ext4 -o ro /dev/vdc1 /mnt
	refused partition /dev/vdc
	umount /mnt
	dd if=/dev/zero of=/dev/vdc bs=1M count=1 conv=notrunc 2>/dev/null
	blockdev --rereadpt /dev/vdc

	must dmsetup create snap --table "0 $(sectors /dev/vdb) snapshot /dev/vdb /dev/vda P 8"
	refused snapshot /dev/vda
	try snapshot-info dmtool snapshot-info /dev/vda
	try snapshot-info-live dmtool snapshot-info --live --json /dev/vda
	dmsetup remove snap

	must losetup /dev/loop0 /dev/vda
	refused loop /dev/vda
	losetup -d /dev/loop0

	cp /guest/small.img /tmp/behind.img
	must losetup /dev/loop1 /tmp/behind.img
	refused file /tmp/behind.img
	losetup -d /dev/loop1

	if command -v mdadm >/dev/null; then
		must mdadm --build /dev/md7 --quiet --level=linear --raid-devices=1 --force /dev/vda
		refused md /dev/vda
		mdadm --quiet --stop /dev/md7
	else
		say md missing yes
	fi
	try released dmtool snapshot-check /dev/vda
}

# The kernel's target writes below the page cache of the device.  Whoever reads through a page cache
# that somebody keeps alive does not see it.
direct() {
	exec 5</dev/vda
	cat /dev/vda >/dev/null
	try direct-before dmtool snapshot-info --json /dev/vda
	must dmsetup create snap --table "0 $(sectors /dev/vdb) snapshot /dev/vdb /dev/vda P 8"
	must dd if=/dev/zero of=/dev/mapper/snap bs=4096 seek="$1" count=1 oflag=direct 2>/dev/null
	say direct status "$(dmsetup status snap | cut -d ' ' -f 4-)"
	must dmsetup remove snap
	say direct stale "$([ "$(content_of /dev/vda)" = \
		"$(dd if=/dev/vda bs=1M iflag=direct 2>/dev/null | sha256sum | cut -d ' ' -f 1)" ] &&
		echo no || echo yes)"
	try direct-after dmtool snapshot-info --json /dev/vda
	exec 5<&-
}

# a device with 4096-byte blocks
large_blocks() {
	try large-create-4 dmtool snapshot-create /dev/vdd --chunk-size 4
	try large-origin-4 dmtool snapshot-create /dev/vdc --chunk-size 4 --origin /dev/vdd
	try large-create dmtool snapshot-create /dev/vdd --chunk-size 8
	activate large "0 2048 snapshot /dev/vdb /dev/vdd P 8"
	must dd if=/dev/zero of=/dev/mapper/large bs=4096 seek=5 count=2 oflag=direct 2>/dev/null
	say large status "$(dmsetup status large | cut -d ' ' -f 4-)"
	must dmsetup remove large
	try large-info dmtool snapshot-info --json /dev/vdd
	try large-check dmtool snapshot-check /dev/vdd

	# what stands behind the end: mended, undone, mended
	must dd if=/guest/tail.img of=/dev/vdd bs=4096 conv=notrunc 2>/dev/null
	damaged=$(content_of /dev/vdd)
	try large-dry dmtool snapshot-repair -y --dry-run /dev/vdd
	say large dry "$([ "$(content_of /dev/vdd)" = "$damaged" ] && echo same || echo changed)"
	try large-repair dmtool snapshot-repair -y --undo /tmp/large.undo /dev/vdd
	try large-again dmtool snapshot-check /dev/vdd
	say large repaired "$([ "$(content_of /dev/vdd)" = "$damaged" ] && echo same || echo changed)"
	try large-undo dmtool undo /tmp/large.undo
	say large undone "$([ "$(content_of /dev/vdd)" = "$damaged" ] && echo same || echo changed)"

	# a chunk below the block size: the kernel refuses it
	must dd if=/guest/chunk4.img of=/dev/vdd bs=4096 conv=notrunc 2>/dev/null
	try large-chunk-4 dmtool snapshot-info --json /dev/vdd
	activate large-4 "0 2048 snapshot /dev/vdb /dev/vdd P 8" || true
}

# metadata written to a device by restore, over data that are there
restore() {
	must dd if=/dev/vde of=/dev/vdd bs=1M 2>/dev/null
	dmtool snapshot-dump --json-lines /dev/vde >/tmp/dump
	must dd if=/dev/zero of=/dev/vdd bs=4096 count=2 conv=notrunc 2>/dev/null
	try restore-refused dmtool snapshot-restore /tmp/dump --output /dev/vdd
	try restore dmtool snapshot-restore /tmp/dump --output /dev/vdd --metadata-only
	activate restored "0 $(sectors /dev/vdf) snapshot /dev/vdf /dev/vdd P 8" || return
	say restored content "$(content_of /dev/mapper/restored)"
	must dmsetup remove restored
}

read_only() {
	try ro-check dmtool snapshot-check /dev/vde
	must losetup -r /dev/loop2 /guest/tail.img
	try ro-repair dmtool snapshot-repair -y --no-undo /dev/loop2
	losetup -d /dev/loop2
	try ro-create dmtool snapshot-create /dev/vde --chunk-size 8 --force --no-undo
	try ro-probe dmtool probe --json /dev/vde
}

# somebody's file system is in the way
signature() {
	must mkfs.ext4 -q -F /dev/vdc
	before=$(content_of /dev/vdc)
	try signature-probe dmtool probe /dev/vdc
	try signature-check dmtool snapshot-check /dev/vdc
	try signature-create dmtool snapshot-create /dev/vdc --chunk-size 8
	say signature refused "$([ "$(content_of /dev/vdc)" = "$before" ] && echo same || echo changed)"
	try signature-itself dmtool snapshot-create /dev/vdc --chunk-size 8 --force --undo /dev/vdc
	say signature itself "$([ "$(content_of /dev/vdc)" = "$before" ] && echo same || echo changed)"
	try signature-force dmtool snapshot-create /dev/vdc --chunk-size 8 --force --undo /tmp/ext4.undo
	activate forced "0 2048 snapshot /dev/vdb /dev/vdc P 8"
	dmsetup remove forced
	try signature-undo dmtool undo /tmp/ext4.undo
	say signature undone "$([ "$(content_of /dev/vdc)" = "$before" ] && echo same || echo changed)"
	must mount -t ext4 /dev/vdc /mnt

	# a file system that lies on the device is no place to keep what the device held
	try stacked-create dmtool snapshot-create /dev/vdc --chunk-size 8 --force --undo /mnt/undo
	say stacked files "$(ls /mnt)"
	umount /mnt
}

# an undo file is worth nothing once the kernel has written
moved_on() {
	must dd if=/dev/zero of=/dev/vdc bs=1M count=1 conv=notrunc 2>/dev/null
	echo "something of value" | dd of=/dev/vdc bs=4096 seek=1 conv=notrunc 2>/dev/null
	try moved-create dmtool snapshot-create /dev/vdc --chunk-size 8 --force --undo /tmp/moved.undo
	activate moved "0 2048 snapshot /dev/vdb /dev/vdc P 8"
	must dd if=/dev/zero of=/dev/mapper/moved bs=4096 count=1 oflag=direct 2>/dev/null
	must dmsetup remove moved
	before=$(content_of /dev/vdc)
	try moved-undo dmtool undo /tmp/moved.undo
	say moved undone "$([ "$(content_of /dev/vdc)" = "$before" ] && echo same || echo changed)"
}

# area 1 of the store on vda, or its first data chunk, cannot be read
unreadable() {
	all=$(sectors /dev/vda)
	must dmsetup create badarea <<TABLE
0 2064 linear /dev/vda 0
2064 8 error
2072 $((all - 2072)) linear /dev/vda 2072
TABLE
	try badarea-check dmtool snapshot-check /dev/mapper/badarea
	try badarea-info dmtool snapshot-info --json /dev/mapper/badarea
	try badarea-dump dmtool snapshot-dump --json /dev/mapper/badarea
	try badarea-repair dmtool snapshot-repair -y --no-undo /dev/mapper/badarea
	activate badarea-snap "0 $(sectors /dev/vdb) snapshot /dev/vdb /dev/mapper/badarea P 8"
	dmsetup remove badarea
	must dmsetup create baddata <<TABLE
0 16 linear /dev/vda 0
16 8 error
24 $((all - 24)) linear /dev/vda 24
TABLE
	try baddata-check dmtool snapshot-check /dev/mapper/baddata
	try baddata-data dmtool snapshot-check --data /dev/mapper/baddata
	dmsetup remove baddata
}

# finish NAME PID: the step that ran in the background into /tmp/NAME.out and /tmp/NAME.err
finish() {
	wait "$2"
	report "$1" $? "/tmp/$1.out" "/tmp/$1.err"
}

# Devices on which each read takes its time: time to send signals, and to come second.
slow() {
	must dmsetup create "$1" --table "0 $(sectors "$2") delay $2 0 $3"
}

signals() {
	modprobe dm-delay
	for i in 0 1 2; do
		cp /guest/long.img /tmp/long$i.img
		must losetup /dev/loop$i /tmp/long$i.img
		slow long$i /dev/loop$i 300
	done
	dmtool snapshot-check /dev/mapper/long0 >/tmp/usr1.out 2>/tmp/usr1.err &
	usr1=$!
	dmtool snapshot-check /dev/mapper/long1 >/tmp/term.out 2>/tmp/term.err &
	term=$!
	dmtool snapshot-repair -y --no-undo /dev/mapper/long2 >/tmp/first.out 2>/tmp/first.err &
	first=$!
	sleep 1
	# while one repairs, nobody else gets the device
	try second dmtool snapshot-repair -y --no-undo /dev/mapper/long2
	kill -USR1 $usr1
	kill -TERM $term
	activate during "0 $(sectors /dev/vdb) snapshot /dev/vdb /dev/mapper/long2 P 8" &&
		dmsetup remove during
	say during first "$(kill -0 $first 2>/dev/null && echo running || echo ended)"
	finish usr1 $usr1
	finish term $term
	finish first $first
	for i in 0 1 2; do
		dmsetup remove long$i
		losetup -d /dev/loop$i
	done
}

# the name under which fsck(8) calls
fsck_name() {
	ln -s "$(command -v dmtool)" /tmp/fsck.DM_snapshot_cow
	must dd if=/guest/tail.img of=/dev/vdc conv=notrunc 2>/dev/null
	must dd if=/dev/zero of=/tmp/blank bs=4096 count=4 2>/dev/null
	try fsck-n /tmp/fsck.DM_snapshot_cow -n /dev/vdc
	try fsck-a /tmp/fsck.DM_snapshot_cow -a /dev/vdc
	say fsck undo "$(find /tmp/undo -type f | wc -l)"
	try fsck-again /tmp/fsck.DM_snapshot_cow -a /dev/vdc
	activate fsck "0 2048 snapshot /dev/vdb /dev/vdc P 8"
	dmsetup remove fsck
}

modprobe dm-snapshot
modprobe loop
holders
direct "$1"
unreadable
signals
large_blocks
restore
read_only
signature
moved_on
fsck_name
