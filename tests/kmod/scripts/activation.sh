# shellcheck shell=sh disable=SC1091,SC2154 # the library is in the guest, and sets some variables
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Let the kernel judge stores: for each slice named in /guest/list (after its table's chunk size), say
# in one word what it did: accept, invalid, format, or the errno of the refusal.
. /guest/lib.sh

modprobe dm-snapshot
slices

header() { head -c 16 "/dev/mapper/$1" | hexdump; }

# verdict NAME COW CHUNK_SIZE: sets $word
verdict() {
	old=$(header "$2")
	if ! activate "$1" "0 4096 snapshot /dev/mapper/origin /dev/mapper/$2 P $3"; then
		word=$result
		return
	fi
	if [ "$target_status" = Invalid ]; then
		word=invalid
	elif [ "$(header "$2")" = "$old" ]; then
		word=accept
	else
		word=format
	fi
	must dmsetup remove "$1"
}

while read -r c cow; do
	verdict "$cow.snap" "$cow" "$c"
	say "$cow" word "$word"
done </guest/list
