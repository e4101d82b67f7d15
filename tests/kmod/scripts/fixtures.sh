# shellcheck shell=sh disable=SC1091
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Show what the kernel makes of stores: for each line of /guest/list,
#
#	NAME ORIGIN COW LENGTH TYPE CHUNK_SIZE [WRITE WATCH]
#
# with ORIGIN and COW slices of the packed disk, the status and the sha256 of the snapshot.  With
# WRITE and WATCH: then write to chunk WRITE of the snapshot, load it anew, and say what chunk WATCH
# held before and after.
. /guest/lib.sh

modprobe dm-snapshot
slices

chunk() { dd if="/dev/mapper/$name" bs=$((c << 9)) skip="$1" count=1 2>/dev/null | sha256sum; }

write_and_watch() {
	say "$name" before "$(chunk "$2")"
	must dd if=/dev/zero of="/dev/mapper/$name" bs=$((c << 9)) seek="$1" count=1 oflag=direct 2>/dev/null
	must dmsetup remove "$name"
	activate "$name" "$table" || return
	say "$name" after "$(chunk "$2")"
}

show() {
	activate "$name" "$table" || return
	say "$name" content "$(content_of "/dev/mapper/$name" 2>/dev/null)"
	[ $# -eq 0 ] || write_and_watch "$@"
	must dmsetup remove "$name"
}

while read -r name origin cow len type c rest; do
	table="0 $len snapshot /dev/mapper/$origin /dev/mapper/$cow $type $c"
	# shellcheck disable=SC2086 # two words or none
	show $rest
done </guest/list
