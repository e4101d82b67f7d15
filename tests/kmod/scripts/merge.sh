# shellcheck shell=sh disable=SC1091
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the kernel makes of stores that dmtool has merged, half merged, or converted: for each line of
# /guest/list,
#
#	NAME ORIGIN COW LENGTH CHUNK_SIZE HOW
#
# with ORIGIN and COW slices of the packed disk.  HOW:
#	show	the snapshot's status and content
#	merge	the kernel's snapshot-merge runs to its end: the content that it shows while it is at
#		work, the status afterwards, the origin's content
#	half	the kernel's merge is stopped half way, if it does not end before
. /guest/lib.sh

modprobe dm-snapshot
slices

show() {
	activate "$name" "0 $len snapshot /dev/mapper/$origin /dev/mapper/$cow P $c" || return
	say "$name" content "$(content_of "/dev/mapper/$name" 2>/dev/null)"
	must dmsetup remove "$name"
}

# allocated and metadata are the same when nothing is left
merged() {
	dmsetup status "$name" | {
		read -r _ _ _ used metadata
		[ "${used%/*}" = "$metadata" ]
	}
}

merge() {
	activate "$name" "0 $len snapshot-merge /dev/mapper/$origin /dev/mapper/$cow P $c" || return
	say "$name" content "$(content_of "/dev/mapper/$name" 2>/dev/null)"
	tries=0
	until merged || [ $tries -gt 300 ]; do
		sleep 0.1
		tries=$((tries + 1))
	done
	say "$name" end "$(dmsetup status "$name" | cut -d ' ' -f 4-)"
	must dmsetup remove "$name"
	say "$name" origin "$(content_of "/dev/mapper/$origin")"
}

half() {
	activate "$name" "0 $len snapshot-merge /dev/mapper/$origin /dev/mapper/$cow P $c" || return
	# after the running step
	must dmsetup suspend --noflush "$name"
	say "$name" end "$(dmsetup status "$name" | cut -d ' ' -f 4-)"
	must dmsetup resume "$name"
	must dmsetup remove "$name"
}

while read -r name origin cow len c how; do
	$how
done </guest/list
