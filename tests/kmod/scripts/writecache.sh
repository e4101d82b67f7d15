# shellcheck shell=sh disable=SC1091,SC2154 # the library is in the guest, and sets some variables
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the kernel makes of write caches: for each line of /guest/list,
#
#	NAME MODE ORIGIN CACHE LENGTH BLOCK_SIZE START_SECTOR HOW
#
# with ORIGIN a slice of the packed disk, CACHE one of it (MODE s) or of the packed memory (MODE p).
# HOW, one or more of these, with commas between them and in their order:
#	load	the status and nothing else, also that of a cache that is refused
#	show	... and the content of the whole device
#	write	two blocks are written over; the status and the content when it is loaded anew
#	flush	everything is written back: the status, and then the origin's content
#	meta	the sha256 of superblock and entries, afterwards
#	mount	the origin alone, as a file system: the sha256 of each file
. /guest/lib.sh

modprobe dm-writecache
slices
[ ! -s /guest/index.pmem ] || slices /dev/pmem0 /guest/index.pmem

load() {
	options=0
	[ "$start" = 0 ] || options="2 start_sector $start"
	table="0 $len writecache $mode /dev/mapper/$origin /dev/mapper/$cache $b $options"
	activate "$name" "$table"
}

state() { dmsetup status "$name" | cut -d ' ' -f 4-; }

# A read in mode p that begins in a cached block, goes over a gap and ends in another cached block
# is answered wrongly by the kernels of today; one block each is right.
content() {
	size=1048576
	[ "$mode" = s ] || size=$b
	dd if="/dev/mapper/$name" bs="$size" iflag=direct 2>/tmp/.dd | sha256sum | cut -d ' ' -f 1
}

show() { say "$name" content "$(content)"; }

write() {
	yes "written by the kernel" | dd of="/dev/mapper/$name" bs="$b" seek=3 count=2 iflag=fullblock \
		oflag=direct conv=fsync 2>/dev/null || say "$name" write failed
	must dmsetup remove "$name"
	must dmsetup create "$name" --table "$table"
	say "$name" again "$(state)"
	say "$name" written "$(content)"
}

flush() {
	dmsetup message "$name" 0 flush || say "$name" flush failed
	say "$name" flushed "$(state)"
}

# after the removal: what does n_blocks (the second number of the status) take?
meta() {
	# shellcheck disable=SC2086 # its words
	set -- $target_status
	say "$name" meta "$(dd if="/dev/mapper/$cache" iflag=skip_bytes,count_bytes,fullblock bs=64K \
		skip=$((start << 9)) count=$((64 + 16 * $2)) 2>/dev/null | sha256sum | cut -d ' ' -f 1)"
}

files() {
	must mount -t ext4 "/dev/mapper/$origin" /mnt
	(cd /mnt && find . -type f -exec sha256sum {} +) | while read -r sum file; do
		say "$name" file "${file#./} $sum"
	done
	umount /mnt
}

one() {
	case $how in
	mount)
		files
		return
		;;
	esac
	load || return
	for step in $(echo "$how" | tr , ' '); do
		case $step in
		show | write | flush) $step ;;
		esac
	done
	must dmsetup remove "$name"
	case $how in
	*flush*) say "$name" origin "$(content_of "/dev/mapper/$origin")" ;;
	esac
	case $how in
	*meta*) meta ;;
	esac
}

while read -r name mode origin cache len b start how; do
	one || :	# what was refused has been said
done </guest/list
