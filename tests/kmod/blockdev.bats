#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck disable=SC2154 # step sets status and output
#
# dmtool on block devices: what is in use, what is read past the page cache, what cannot be read.

load lib.sh

# three exceptions over 64 chunks of 4 KiB
small_store() {
	blank_store "$1" 8 512
	entry "$1" 4096 0 0 2
	entry "$1" 4096 1 1 3
	entry "$1" 4096 2 9 4
}

# 160 full areas of 32 exceptions each, and an empty one, with chunks of one sector
long_store() {
	local k hex
	blank_store "$1" 1 $((162 * 33))
	for ((k = 0; k < 160; k++)); do
		hex=$(seq $((k * 32)) $((k * 32 + 31)) | awk -v k=$k '{ print $1, $1 + 2 + k }' | entries)
		put "$1" $((512 * (1 + 33 * k))) "$hex"
	done
}

setup_file() {
	local d=$BATS_FILE_TMPDIR f=$FIXTURES/snapshot
	xz -dc "$f/snap-c8-3areas/cow.img.xz" >"$d/a"
	xz -dc "$f/snap-c8-3areas/origin.img.xz" >"$d/b"
	truncate -s 16M "$d/c" "$d/d"
	xz -dc "$f/snap-c8-some/cow.img.xz" >"$d/e"
	xz -dc "$f/snap-c8-some/origin.img.xz" >"$d/f"
	small_store "$d/small.img"
	small_store "$d/tail.img"
	entry "$d/tail.img" 4096 5 7 2
	blank_store "$d/chunk4.img" 4 512
	long_store "$d/long.img"
	boot "$KMOD/scripts/blockdev.sh" --disk "$d/a" --disk "$d/b" --disk "$d/c" \
		--disk "$d/d,logical_block_size=4096,physical_block_size=4096" \
		--disk-ro "$d/e" --disk "$d/f" --timeout 180 \
		--with "$d/small.img" --with "$d/tail.img" --with "$d/chunk4.img" --with "$d/long.img" \
		-- "$(free_chunk "$d/a")"
}

# a chunk of the origin that has no exception yet
free_chunk() {
	local taken
	taken=$("$DMTOOL" snapshot-dump --json-lines "$1" | jq 'select(has("old_chunk")).old_chunk')
	seq 0 2047 | grep -vxF "$taken" | head -n 1
}

setup() { need_guest; }

manifest() { jq -r "$2" "$FIXTURES/snapshot/$1/manifest.json"; }

# in_use NAME WORDS: refused with the holder's name, whatever was asked for, and not changed
in_use() {
	step "$1-create"
	equal "$status" 8
	expect "$2"
	step "$1-repair"
	equal "$status" 8
	expect "$2"
	step "$1-read"
	equal "$status" 8
	expect "$2"
	equal "$(got "$1" changed)" no
	step "$1-live"
	[ "$status" -ne 8 ] && [ "$status" -ne 16 ]
}

# value PATH: of the JSON that the step printed
value() { jq -r ".$1" <<<"$output"; }

@test "block device: mounted, refused with the mount point" { in_use mounted "mounted on /mnt"; }
@test "block device: swap, refused" { in_use swap swap; }
@test "block device: a partition of it is mounted, refused" { in_use partition "mounted on /mnt"; }
@test "block device: the store of an active snapshot, refused with its name" {
	in_use snapshot "dm device snap"
}
@test "block device: a loop device is on it, refused" { in_use loop "loop device loop0"; }
@test "file behind a loop device, refused" { in_use file "loop device loop1"; }
@test "block device: part of an md array, refused" {
	[ "$(got md missing)" != yes ] || skip "mdadm is not installed"
	in_use md "md device md7"
}

@test "block device: free again once its holder is gone" {
	step released
	equal "$status" 0
}

@test "block device: --live reads the store of an active snapshot and says that it may be racy" {
	step snapshot-info
	equal "$status" 8
	expect "dm device snap"
	step snapshot-info-live
	equal "$status" 0
	expect racy
	equal "$(value status.line)" "$(manifest snap-c8-3areas \
		'.expected.status_after_attach | split(" ")[3:] | join(" ")')"
}

@test "block device: what the kernel wrote below the page cache is seen" {
	# the page cache was indeed stale, else this proves nothing
	equal "$(got direct stale)" yes
	step direct-before
	local before
	before=$(value exceptions.nr_exceptions)
	step direct-after
	equal "$(value exceptions.nr_exceptions)" $((before + 1))
	equal "$(value status.line)" "$(got direct status)"
}

@test "block device: an area that cannot be read is unknown, not empty" {
	equal "$(got badarea-snap result)" EIO
	step badarea-check
	equal "$status" 4
	expect snapshot.chain.area_unreadable
	step badarea-info
	equal "$(value activation.verdict) $(value activation.errno)" "reject EIO"
	step badarea-dump
	equal "$status" 8
	step badarea-repair
	[ $((status & 4)) -ne 0 ] || [ "$status" -eq 8 ]
}

@test "block device: data that cannot be read is found with --data" {
	step baddata-check
	equal "$status" 0
	step baddata-data
	equal "$status" 4
	expect snapshot.data.unreadable
}

@test "block device: SIGUSR1 asks how far it is and does no harm" {
	step usr1
	equal "$status" 0
	[[ $stderr == *"pass 1"* ]]
	expect "5120 exceptions"
}

@test "block device: SIGTERM stops it" {
	step term
	equal $((status & 32)) 32
}

@test "block device: while one writes, no other and no target gets it" {
	step second
	equal "$status" 8
	expect "in use"
	equal "$(got during result)" EBUSY
	equal "$(got during first)" running
	step first
	equal "$status" 0
}

@test "large blocks: a chunk below the block size is refused, as by the kernel" {
	# an option that does not go with the device: wrong usage
	step large-create-4
	equal "$status" 16
	expect 4096
	step large-origin-4
	equal "$status" 16
	expect 4096
	step large-chunk-4
	equal "$(value activation.errno)" "$(got large-4 result)"
	equal "$(got large-4 result)" EINVAL
}

@test "large blocks: create, kernel, info, check" {
	step large-create
	equal "$status" 0
	equal "$(got large result)" ok
	step large-info
	equal "$(value status.line)" "$(got large status)"
	equal "$(value exceptions.nr_exceptions)" 2
	step large-check
	equal "$status" 0
}

@test "large blocks: dry run, repair, undo" {
	step large-dry
	equal "$(got large dry)" same
	step large-repair
	equal "$status" 1
	equal "$(got large repaired)" changed
	step large-again
	equal "$status" 0
	step large-undo
	equal "$status" 0
	equal "$(got large undone)" same
}

@test "restore: to a device whose header is gone only when asked; the kernel shows the content" {
	step restore-refused
	equal "$status" 8
	step restore
	equal "$status" 0
	equal "$(got restored content)" "$(manifest snap-c8-some .expected.logical_sha256)"
}

@test "read-only device: is read, and refused for writing" {
	step ro-check
	equal "$status" 0
	step ro-repair
	equal "$status" 8
	expect read-only
	step ro-create
	equal "$status" 8
	expect read-only
	step ro-probe
	equal "$status" 0
	expect snapshot
}

@test "create: a file system is named, and only overwritten with --force" {
	step signature-probe
	expect ext4
	step signature-check
	[ "$status" -ne 0 ]
	step signature-create
	equal "$status" 8
	expect ext4
	equal "$(got signature refused)" same
	step signature-force
	equal "$status" 0
	equal "$(got forced result)" ok
	equal "$(got forced status)" "16/32768 16"
}

@test "undo: gives the file system back" {
	step signature-undo
	equal "$status" 0
	equal "$(got signature undone)" same
}

@test "undo: the device itself, and what lies on it, is no place for the undo file" {
	step signature-itself
	equal "$status" 8
	equal "$(got signature itself)" same
	step stacked-create
	equal "$status" 8
	equal "$(got stacked files)" "lost+found"
}

@test "undo: refuses a device that the kernel has written since" {
	step moved-create
	equal "$status" 0
	equal "$(got moved result)" ok
	step moved-undo
	equal "$status" 8
	equal "$(got moved undone)" same
}

@test "fsck.DM_snapshot_cow: -n leaves, -a mends with an undo file, then it is clean" {
	step fsck-n
	equal "$status" 4
	step fsck-a
	equal "$status" 1
	[ "$(got fsck undo)" -ge 1 ]
	step fsck-again
	equal "$status" 0
	equal "$(got fsck result)" ok
	equal "$(got fsck status)" "40/32768 16"
}
