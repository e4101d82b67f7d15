#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# writecache-create: the bytes that the kernel writes when it formats, and what is not overwritten.

load ../lib/common

setup() {
	cd "$BATS_TEST_TMPDIR" || return 1
}

table() {
	"$TOP/tests/lib/wcshown" --table "$@"
}

# a file of this size in which every byte is old
old_file() {
	head -c "$2" /dev/zero | tr '\0' '\245' >"$1"
}

unpack() {
	fixture "writecache/$1" cache cache >/dev/null
}

@test "create: superblock and entries as the kernel formats them, zeros behind them, no more" {
	local name size bytes meta
	for name in wc-s4096-fresh wc-p4096-fresh wc-s512-fresh; do
		unpack $name
		size=$(stat -c %s cache)
		bytes=$(manifest writecache/$name .parameters.block_size)
		old_file new "$size"
		dm writecache-create new --block-size "$bytes" --force --no-undo --json
		status_is 0
		valid_json
		equal "$stderr" ""
		cmp <(table new) <(table cache)
		equal "$(json .geometry.block_size)" "$bytes"
		equal "$(json .geometry.n_blocks)" "$("$DMTOOL" writecache-info cache --json | jq .superblock.n_blocks)"
		meta=$(json .geometry.metadata_bytes)
		equal "$(table new | wc -c)" $((64 + 16 * $(json .geometry.n_blocks)))
		tail -c +$(($(table new | wc -c) + 1)) new | head -c $((meta - $(table new | wc -c))) | tr -d '\0' | cmp - /dev/null
		tail -c +$((meta + 1)) new | tr -d '\245' | cmp - /dev/null
		dm writecache-check new --strict
		status_is 0
	done
}

@test "create: the same at a start_sector, and nothing before it" {
	unpack wc-s4096-start
	old_file new "$(stat -c %s cache)"
	head -c $((2048 * 512)) new >before
	dm writecache-create new --start-sector 2048 --block-size 4096 --force --no-undo --json
	status_is 0
	valid_json
	equal "$(json .geometry.start_sector)" 2048
	equal "$(json .geometry.n_blocks)" 764
	cmp -n $((2048 * 512)) new before
	dm writecache-check new --start-sector 2048 --strict
	status_is 0
	dm writecache-create new --start-sector 8192 --force --no-undo
	status_is 8 16
	one_message 2
	says start_sector
	dm writecache-create new --start-sector 8185 --force --no-undo
	status_is 8 16
	one_message 2
	says "expected at least 16"
}

# geometry BYTES BLOCK_SIZE N METADATA
geometry() {
	truncate -s "$1" sparse
	dm writecache-create sparse --block-size "$2" --dry-run --json
	status_is 0 && valid_json || return 1
	equal "$(json .geometry.n_blocks)" "$3" n_blocks && equal "$(json .geometry.metadata_bytes)" "$4" metadata || return 1
	equal "$(json .geometry.data_bytes)" $(($3 * $2)) && equal "$(json .geometry.data_offset)" "$4" || return 1
	equal "$(json '.geometry | .metadata_bytes + .data_bytes + .unused_bytes')" "$(stat -c %s sparse)" || return 1
	equal "$(json .geometry.kernel_memory_ssd_bytes)" $(($3 * 88)) &&
		equal "$(json .geometry.kernel_memory_pmem_bytes)" $(($3 * 72)) || return 1
	# nothing was written
	equal "$(stat -c %b sparse)" 0 blocks
	rm sparse
}

@test "create: n_blocks, metadata and kernel memory of devices of every size" {
	geometry 64K 4096 15 4096
	geometry 1M 4096 254 8192
	geometry 1G 4096 261123 4182016
	geometry 1G 512 2033601 32538112
	geometry 100G 4096 26112398 417800192
	geometry 8K 4096 1 4096
	geometry 1K 512 1 512
}

@test "create: a dry run lists the writes of the real run, in its order, the magic last" {
	old_file new 4M
	remember new
	dm writecache-create new --force --dry-run --json
	status_is 0
	valid_json
	unchanged new
	json .writes >planned
	dm writecache-create new --force --no-undo --list-writes --json
	status_is 0
	valid_json
	json .writes | cmp - planned
	equal "$(json '.writes | first | [.offset, .length] | join(" ")')" "0 512"
	equal "$(json '.writes | last | [.offset, .length] | join(" ")')" "0 512"
}

@test "create: what the origin's file system needs" {
	command -v mkfs.ext4 >/dev/null || skip "mkfs.ext4 is not there"
	truncate -s 16M origin small
	truncate -s 4M new
	# unknown: the usual size
	dm writecache-create new origin --json
	status_is 0
	equal "$(json .geometry.block_size)" 4096
	mkfs.ext4 -q -b 1024 small
	mkfs.ext4 -q -b 4096 -F origin
	dm writecache-create new --origin small --json --force --no-undo
	status_is 0
	equal "$(json .geometry.block_size)" 512
	equal "$stderr" ""
	dm writecache-create new --origin origin --json --force --no-undo
	status_is 0
	equal "$(json .geometry.block_size)" 4096
	equal "$stderr" ""
	dm writecache-create new small --block-size 4K --force --no-undo
	status_is 0
	one_message
	says warning
	says "ext4 with sectors of 1024 bytes"
	dm writecache-create new origin --block-size 8K --force --no-undo
	status_is 0
	says warning
	says "only a kernel with pages of that size"
	says "sectors of 4096 bytes"
	dm writecache-create new origin --block-size 512 --force --no-undo
	status_is 0
	equal "$stderr" ""
	truncate -s 1000000 odd
	dm writecache-create new odd --force --no-undo
	status_is 0
	says "refuses a table of that length"
}

# refused WORDS: without --force, and nothing has changed
refused() {
	remember new
	dm writecache-create new "${@:2}" && status_is 8 && one_message && says "$1" && unchanged new
}

@test "create: what somebody may still want is refused, and --force saves it" {
	unpack wc-s4096-dirty
	cp cache new
	refused "writecache cache"
	dm writecache-create new --force --json
	status_is 0
	valid_json
	dm writecache-info new --json
	equal "$(json .entries.free)" "$(json .superblock.n_blocks)"
	dm undo "$DMTOOL_UNDO_DIR"/*.undo
	status_is 0
	cmp new cache
	# a superblock that LVM or a person wiped: the entries are alive, and the message says how to go on
	dd if=/dev/zero of=new bs=64 count=1 conv=notrunc status=none
	refused "writecache-repair --rebuild-superblock"
	cp cache new
	dd if=/dev/zero of=new bs=4096 count=1 conv=notrunc status=none
	refused "writecache-repair --rebuild-superblock"
	# one that begins elsewhere
	unpack wc-s4096-start
	cp cache new
	refused "start-sector=2048"
	dm writecache-create new --force --no-undo
	status_is 0
	# is no cache there any more, whatever the table says
	dm writecache-check new --start-sector 2048
	status_is 4
	truncate -s 0 new
	truncate -s 4M new
	"$DMTOOL" snapshot-create new --chunk-size 8 >/dev/null
	refused "exception store"
	command -v mkfs.ext4 >/dev/null || skip "mkfs.ext4 is not there"
	truncate -s 0 new
	truncate -s 4M new
	mkfs.ext4 -q -F new
	refused "ext4 at"
}

@test "create: an empty store of snapshots is not made over a cache either" {
	unpack wc-s4096-dirty
	remember cache
	dm snapshot-create cache --chunk-size 8
	status_is 8
	one_message
	says "writecache cache"
	unchanged cache
}

@test "create: sizes and names that are wrong" {
	local size
	truncate -s 1M new
	for size in 0 1 256 511 3000 128K 4G; do
		dm writecache-create new --block-size $size
		status_is 16
		one_message 2
	done
	for size in 512 1023; do
		truncate -s $size new
		dm writecache-create new --block-size 512
		status_is 8
		one_message
	done
	truncate -s 7680 new
	dm writecache-create new
	status_is 8
	says "expected at least 16"
	dm writecache-create nowhere
	status_is 8
	one_message
	dm writecache-create new nowhere
	status_is 8
	one_message
	dm writecache-create new new
	status_is 16
	dm writecache-create
	status_is 16
	equal "$(tr -d '\0' <new | wc -c)" 0
}

@test "create, probe: entries whose block size nothing proves are alive all the same" {
	truncate -s 64K cache
	local i
	for i in $(seq 0 14); do
		put cache $((64 + 16 * i)) "$(le64 $((i < 3 ? 128 * (i + 1) : -1)))$(le64 $((i < 3 ? 1 : -1)))"
	done
	head -c 60K /dev/urandom | dd of=cache bs=4096 seek=1 conv=notrunc status=none
	remember cache
	dm writecache-create cache
	status_is 4 8
	says "3 entries of blocks of 512 or 1024"
	unchanged cache
	dm writecache-check cache --json
	equal "$(json '.findings[0].code')" writecache.superblock.wiped
	dm probe cache
	says "decode: 3 in use"
}
