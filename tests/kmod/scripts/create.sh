# shellcheck shell=sh disable=SC1091
# SPDX-License-Identifier: GPL-2.0-or-later
#
# create.sh SIZES - for each chunk size, a store of ours and one that the kernel formats: load both,
# write the same to both, load them again.
. /guest/lib.sh

slices
len=$(sectors /dev/mapper/origin)
modprobe dm-snapshot

# write_some CHUNK_SIZE: three chunks, one of them only in part
write_some() {
	echo "whole" | dd of="$snap" bs=$(($1 << 9)) seek=1 count=1 conv=sync oflag=direct
	echo "next" | dd of="$snap" bs=$(($1 << 9)) seek=2 count=1 conv=sync oflag=direct
	echo "part" | dd of="$snap" bs=512 count=1 conv=sync oflag=direct
} 2>/dev/null

# one NAME CHUNK_SIZE
one() {
	table="0 $len snapshot /dev/mapper/origin /dev/mapper/$1 P $2"
	snap=/dev/mapper/$1-empty
	activate "$1-empty" "$table" || return
	sync
	say "$1-empty" content "$(content_of "/dev/mapper/$1")"
	write_some "$2"
	say "$1-empty" snapshot "$(content_of "$snap")"
	must dmsetup remove "$1-empty"
	activate "$1-again" "$table" || return
	say "$1-again" snapshot "$(content_of "/dev/mapper/$1-again")"
	must dmsetup remove "$1-again"
	say "$1-again" cow "$(content_of "/dev/mapper/$1")"
}

for c in $1; do
	one "ours-$c" "$c"
	one "kernel-$c" "$c"
done
