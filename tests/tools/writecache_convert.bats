#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# writecache-convert: whatever block size, device size and start_sector, the new cache shows what the
# kernel showed with the old one; and --resize, where no block moves.

load ../lib/common

setup() {
	failed=
	cd "$BATS_TEST_TMPDIR" || return 1
}

start_of() {
	manifest "writecache/$1" '.expected.table | capture("start_sector (?<s>[0-9]+)").s // "0"' | grep . || echo 0
}

# unpack NAME: cache and origin, $start, $want
unpack() {
	fixture "writecache/$1" cache cache >/dev/null
	fixture "writecache/$1" origin origin >/dev/null
	start=$(start_of "$1")
	want=$(manifest "writecache/$1" .expected.logical_sha256)
}

# shows CACHE START: by a reader of the test's own
shows() {
	equal "$("$TOP/tests/lib/wcshown" "$1" origin "$2" | sha256sum | cut -d' ' -f1)" "$want" content
}

# convert_one BLOCK_SIZE START
convert_one() {
	rm -f new
	dm writecache-convert cache origin --start-sector "$start" --block-size "$1" --to-start-sector "$2" --size 24M \
		--output new --json && status_is 0 && valid_json || return 1
	equal "$(json .cache.block_size)" "$1" && equal "$(json .cache.start_sector)" "$2" || return 1
	equal "$(stat -c %s new)" $((24 << 20)) size || return 1
	shows new "$2" || return 1
	equal "$("$TOP/tests/lib/wcshown" --layout new "$2")" "1 $(json .cache.dirty_blocks) True" layout || return 1
	dm writecache-check new origin --start-sector "$2" --data && status_is 0
}

# each_size FIXTURE...
each_size() {
	local name size
	for name in "$@"; do
		unpack "$name"
		remember cache origin
		for size in 512 1024 4096 65536; do
			convert_one $size $((size == 1024 ? 2056 : 0)) >said 2>&1 || {
				[ -n "$failed" ] || tail -n 30 said
				failed="$failed $name:$size"
			}
		done
		unchanged cache origin
	done
	equal "$failed" ""
}

@test "convert cache: every one of the kernel, to every block size: the first half" {
	mapfile -t names < <(fixtures writecache)
	[ "${#names[@]}" -ge 19 ]
	each_size "${names[@]:0:10}"
}

@test "convert cache: every one of the kernel, to every block size: the second half" {
	mapfile -t names < <(fixtures writecache)
	each_size "${names[@]:10}"
}

@test "convert cache: 4096 to 512 and back, and an export shows what the kernel showed" {
	local name
	for name in $(fixtures writecache); do
		unpack "$name"
		[ "$(manifest "writecache/$name" .parameters.block_size)" = 4096 ] || continue
		rm -f small back image
		# without the origin: down is lossless, and every block is whole on the way up
		dm writecache-convert cache --start-sector "$start" --to-start-sector 0 --block-size 512 --size 16M --output small
		status_is 0
		dm writecache-convert small --block-size 4096 --to-start-sector 8 --output back
		status_is 0
		shows small 0
		shows back 8
		dm writecache-export back origin --start-sector 8 --output image
		status_is 0
		equal "$(sha256sum <image | cut -d' ' -f1)" "$want" "$name"
	done
}

@test "convert cache: 512 to 4096 and back, the origin where a block lacks something" {
	local name
	for name in wc-p512-dirty wc-p512-crash wc-s512-crash wc-s512-dirty; do
		unpack "$name"
		rm -f large back image
		dm writecache-convert cache --block-size 4096 --output large --size 24M
		status_is 4
		one_message
		says "are not whole"
		says "expected the origin"
		[ ! -e large ]
		dm writecache-convert cache origin --block-size 4096 --output large --size 24M --json
		status_is 0
		[ "$(json .cache.origin_bytes)" -gt 0 ]
		shows large 0
		dm writecache-convert large --block-size 512 --output back
		status_is 0
		shows back 0
		dm writecache-export back origin --output image
		status_is 0
		equal "$(sha256sum <image | cut -d' ' -f1)" "$want" "$name"
	done
}

@test "convert cache: once more changes nothing" {
	unpack wc-p4096-dup
	dm writecache-convert cache --output one
	status_is 0
	dm writecache-convert one --output two
	status_is 0
	cmp one two
	equal "$(stat -c %s one)" "$(stat -c %s cache)"
	# a file by way of an existing one that is full of something else
	head -c "$(stat -c %s cache)" /dev/zero | tr '\0' '\245' >three
	dm writecache-convert cache --output three --force
	status_is 0
	cmp <("$TOP/tests/lib/wcshown" --table one) <("$TOP/tests/lib/wcshown" --table three)
	shows three 0
}

@test "convert cache: too small, and the minimum is said" {
	local needed
	unpack wc-s4096-dirty
	dm writecache-convert cache --block-size 1024 --size 16M --output new --json
	status_is 0
	needed=$(json .cache.needed_sectors)
	rm new
	dm writecache-convert cache --block-size 1024 --size $((needed - 1)) --output new
	status_is 8
	one_message
	says "$((needed - 1)) sectors, expected at least $needed"
	[ ! -e new ]
	dm writecache-convert cache --block-size 1024 --size "$needed" --output new
	status_is 0
	shows new 0
	dm writecache-convert cache --block-size 1024 --to-start-sector 100 --size $((needed + 99)) --output new2
	status_is 8
	says "expected at least $((needed + 100))"
	[ ! -e new2 ]
	dm writecache-convert cache --block-size 1024 --to-start-sector 100 --size $((needed + 100)) --output new2
	status_is 0
	shows new2 100
	truncate -s $(((needed - 1) * 512)) exists
	remember exists
	dm writecache-convert cache --block-size 1024 --output exists
	status_is 8
	one_message
	says "expected at least $needed"
	unchanged exists
	truncate -s $((needed * 512)) exists
	dm writecache-convert cache --block-size 1024 --output exists
	status_is 0
	shows exists 0
	dm writecache-convert cache --to-start-sector 18446744073709551000 --output far
	status_is 8 16
	[ ! -e far ]
}

@test "convert cache: what a dry run would do, and what an existing destination holds" {
	unpack wc-s4096-dirty
	dm writecache-convert cache --output new --dry-run --json
	status_is 0
	valid_json
	[ ! -e new ]
	[ "$(json .cache.needed_sectors)" -gt 0 ]
	fixture writecache/wc-s4096-clean cache there >/dev/null
	truncate -s 16M there
	cp there kept
	remember there
	dm writecache-convert cache --output there
	status_is 8
	one_message
	says "writecache cache"
	unchanged there
	dm writecache-convert cache --output there --force --dry-run --json
	status_is 0
	valid_json
	unchanged there
	json .writes >planned
	dm writecache-convert cache --output there --force --undo undo --list-writes --json
	status_is 0
	valid_json
	json .writes | cmp - planned
	shows there 0
	dm undo undo
	status_is 0
	cmp there kept
}

@test "convert cache: names that are wrong are said to be" {
	unpack wc-s4096-dirty
	remember cache origin
	dm writecache-convert cache origin
	status_is 16
	says "--output is missing"
	dm writecache-convert cache origin --output cache --force
	status_is 16
	dm writecache-convert cache origin --output origin --force
	status_is 16
	ln cache again
	dm writecache-convert cache origin --output again --force
	status_is 16
	dm writecache-convert cache --output new --block-size 768
	status_is 16
	says "power of two"
	dm writecache-convert cache --output new --block-size 0
	status_is 16
	dm writecache-convert cache --output nowhere/new
	status_is 8
	one_message
	dm writecache-convert nowhere --output new
	status_is 8
	one_message
	dm writecache-convert cache --output cache2 --resize
	status_is 16
	says "--resize"
	dm writecache-convert cache --resize --block-size 512
	status_is 16
	dm writecache-convert cache --resize --force
	status_is 16
	truncate -s 8M there
	dm writecache-convert cache --output there --size 4M
	status_is 16
	unchanged cache origin
	[ ! -e new ]
	dm fingerprint origin --output print
	status_is 0
	dm writecache-convert cache origin --origin-fingerprint print --output new
	status_is 0
	rm new
	truncate -s 1M origin
	dm writecache-convert cache origin --origin-fingerprint print --output new
	status_is 4
	[ ! -e new ]
}

@test "convert cache: a damaged one is refused" {
	unpack wc-s4096-dirty
	# the superblock of an older epoch
	put cache 24 "$(le64 1)"
	remember cache
	dm writecache-convert cache --output new
	status_is 4
	one_message
	[ ! -e new ]
	dm writecache-convert cache --resize
	status_is 4
	one_message
	unchanged cache
}

# ---- in place ----

@test "resize: a cache that was grown a little gets the blocks, and loses none" {
	local n
	unpack wc-s4096-full
	n=$("$DMTOOL" writecache-info cache --json | jq .superblock.n_blocks)
	equal "$n" 254
	head -c $((4096 * 100)) /dev/urandom >>cache
	cp cache kept
	dm writecache-convert cache --resize --dry-run --json
	status_is 0
	valid_json
	cmp cache kept
	json .writes >planned
	dm writecache-convert cache --resize --list-writes --json
	status_is 0
	valid_json
	json .writes | cmp - planned
	equal "$(json .in_place)" true
	equal "$(json .cache.n_blocks_before) $(json .cache.n_blocks)" "254 354"
	shows cache 0
	dm writecache-check cache origin --data
	status_is 0
	dm undo "$DMTOOL_UNDO_DIR"/*.undo
	status_is 0
	cmp cache kept
}

@test "resize: where every block would have to move nothing changes, and the sizes that work are said" {
	unpack wc-s4096-full
	cp cache kept
	truncate -s 4M cache
	remember cache
	dm writecache-convert cache --resize --no-undo
	status_is 4
	one_message
	says "253 to 508 blocks"
	unchanged cache
	dm writecache-convert cache --resize --size 255M --no-undo
	status_is 8
	one_message
	unchanged cache
	dm writecache-convert cache --resize --size $((16 + 508 * 8)) --no-undo --json
	status_is 0
	equal "$(json .cache.n_blocks)" 508
	shows cache 0
	# back, as far as the entries that go are free
	dm writecache-convert cache --resize --size $((16 + 254 * 8)) --no-undo
	status_is 0
	cmp -n "$(stat -c %s kept)" <("$TOP/tests/lib/wcshown" --table cache) <("$TOP/tests/lib/wcshown" --table kept)
	shows cache 0
}

@test "resize: entries in use do not go" {
	unpack wc-s4096-dirty
	remember cache
	local n last
	n=$("$DMTOOL" writecache-info cache --json | jq .superblock.n_blocks)
	last=$("$DMTOOL" writecache-dump cache --json-lines | grep -n '"original_sector"' | grep -v 18446744073709551615 | tail -n 1 | cut -d: -f1)
	[ "$last" -lt "$n" ]
	# as it is nothing can go: the metadata would become smaller
	dm writecache-convert cache --resize --size $((64 + 500 * 8)) --no-undo
	status_is 4
	unchanged cache
	# an entry that was never committed, in the last slot
	put cache $((64 + 16 * (n - 1))) "$(le64 0)$("$DMTOOL" writecache-info cache --json | jq -r .superblock.seq_count | while read -r s; do le64 "$s"; done)"
	remember cache
	dm writecache-convert cache --resize --size $((64 + (n - 1) * 8)) --no-undo
	status_is 4
	one_message
	says "in use"
	unchanged cache
	put cache $((64 + 16 * (n - 1) + 8)) ffffffffffffffff
	dm writecache-convert cache --resize --size $((64 + (n - 1) * 8)) --no-undo
	status_is 0
	shows cache 0
}

@test "resize: behind a start_sector" {
	unpack wc-s4096-start
	remember cache
	# 764 entries end with the metadata: not one more
	truncate -s $(($(stat -c %s cache) + 4 * 4096)) cache
	remember cache
	dm writecache-convert cache --start-sector 2048 --resize --no-undo
	status_is 4
	says "509 to 764 blocks"
	unchanged cache
	dm writecache-convert cache --start-sector 2048 --resize --size $((2048 + 24 + 700 * 8)) --no-undo --json
	status_is 0
	valid_json
	equal "$(json .cache.n_blocks)" 700
	equal "$(json .cache.start_sector)" 2048
	shows cache 2048
	dm writecache-convert cache --start-sector 2048 --resize --size $((2048 + 24 + 764 * 8)) --no-undo
	status_is 0
	unchanged cache
	dm writecache-convert cache --start-sector 2048 --resize --size 2048 --no-undo
	status_is 16
}
