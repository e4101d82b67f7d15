# shellcheck shell=sh disable=SC1091
# SPDX-License-Identifier: GPL-2.0-or-later
#
# An ext4 file system over a write cache, files on it that are fsynced, and then the power fails.
#
#	/dev/vda  origin	/dev/vdb    its cache, mode s, if there is one
#	/dev/vdc  origin	/dev/pmem0  its cache, mode p
#
# (with one disk alone that is the origin of /dev/pmem0).  For each file that was fsynced:
#
#	@say MODE file NAME SHA256
#
# What fsync has acknowledged is durable in mode p.  In mode s the kernel's target keeps the FUA write
# with which a journal commit ends in an epoch that is not committed yet, so a stop right after fsync
# takes the file away; it is durable when autocommit_time (1 s) has passed, which is waited for.
. /guest/lib.sh

modprobe dm-writecache
modprobe ext4

# status MODE: after the name of the target
status() { dmsetup status "cached-$1" | cut -d ' ' -f 4-; }

# letter NAME BYTES: a text that is like no other
letter() {
	yes "$1, kept by fsync, line by line" | head -c "$2" | awk '{ print NR ": " $0 }'
}

# keep FILE BYTES: the file, and its checksum for the test
keep() {
	letter "$1" "$2" | dd of="$dir/$1" conv=fsync 2>/dev/null || exit 99
	say "$mode" file "$1 $(sha256sum <"$dir/$1" | cut -d ' ' -f 1)"
}

# many FROM TO: small files and a few of some blocks
many() {
	i=$1
	while [ "$i" -le "$2" ]; do
		keep "letters/$(printf %03d "$i").txt" $((i * 257 % 9000 + 100))
		i=$((i + 1))
	done
}

# fill MODE ORIGIN CACHE
fill() {
	mode=$1
	dir=/mnt/$1
	must dmsetup create "cached-$1" --table \
		"0 $(sectors "$2") writecache $1 $2 $3 4096 0"
	say "$1" fresh "$(status "$1")"
	must mkfs.ext4 -q -b 4096 -L cached -U 6a4e4f57-6361-4368-8564-000000000001 \
		-E hash_seed=6a4e4f57-6361-4368-8564-000000000002,lazy_journal_init=1,nodiscard \
		-N 256 "/dev/mapper/cached-$1"
	sync
	# the empty file system goes to the origin: that is all that the origin alone ever sees
	must dmsetup message "cached-$1" 0 flush
	say "$1" made "$(status "$1")"
	mkdir -p "$dir"
	must mount -t ext4 "/dev/mapper/cached-$1" "$dir"
	mkdir "$dir/letters" "$dir/books"
	many 1 30
	keep books/atlas.txt 150000
	keep books/index.txt 50000
	# once more, over blocks that have been committed
	many 21 26
	rm "$dir/letters/030.txt"
	say "$mode" removed letters/030.txt
	sync
}

# draft MODE: blocks that reach the cache, and that nobody has waited for when the power fails
draft() {
	dd if=/tmp/draft of="/mnt/$1/draft.txt" bs=4096 count=16 oflag=direct 2>/dev/null
}

drafts() {
	for mode in $modes; do
		draft "$mode"
	done
}

modes=
if [ -e /dev/vdb ]; then
	fill s /dev/vda /dev/vdb
	modes=s
	sleep 3
fi
if [ -e /dev/pmem0 ]; then
	[ -e /dev/vdc ] && origin=/dev/vdc || origin=/dev/vda
	fill p "$origin" /dev/pmem0
	modes="$modes p"
fi
for mode in $modes; do
	say "$mode" kernel "$(uname -r)"
	say "$mode" target "$(dmsetup targets | awk '$1 == "writecache" { print $1, $2 }')"
	say "$mode" stopped "$(status "$mode")"
done
letter draft 65536 >/tmp/draft
stop drafts
