#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# writecache-export and cat: what the kernel shows, as an image, as an overlay, in parts.

load ../lib/common

setup() {
	cd "$BATS_TEST_TMPDIR" || return 1
}

# triple NAME: its images; $at is the option that it needs
triple() {
	local role sector
	for role in cache origin expected; do
		rm -f $role out
		fixture "writecache/$1" $role $role >/dev/null || return 1
	done
	sector=$(manifest "writecache/$1" .expected.table | sed -n 's/.*start_sector \([0-9]*\).*/\1/p')
	at=--start-sector=${sector:-0}
}

dirty_bytes() {
	"$DMTOOL" writecache-info "$at" cache --json | jq .entries.dirty_bytes
}

@test "export: raw images are what the kernel shows" {
	local name nr=0
	for name in $(fixtures writecache); do
		triple "$name"
		remember cache origin
		dm writecache-export cache origin "$at" --output out --verify --json
		status_is 0
		valid_json
		cmp out expected
		equal "$(json .store_bytes)" "$(dirty_bytes)" "$name: bytes of the cache"
		equal "$(($(json .store_bytes) + $(json .origin_bytes)))" "$(stat -c %s expected)"
		equal "$(($(json .written_bytes) + $(json .zero_bytes)))" "$(stat -c %s expected)"
		unchanged cache origin
		nr=$((nr + 1))
	done
	[ "$nr" -eq 19 ]
}

@test "export: overlays are what the kernel shows" {
	command -v qemu-img >/dev/null || skip "qemu-img is not here"
	local name
	for name in $(fixtures writecache); do
		triple "$name"
		dm writecache-export cache origin "$at" --output out --format qcow2 --json
		status_is 0
		valid_json
		qemu-img check -q -f qcow2 out
		qemu-img compare -q -f qcow2 -F raw out expected
		equal "$(qemu-img info --output=json out | jq -r '."backing-filename"')" "$PWD/origin"
		equal "$(json .store_bytes)" "$(dirty_bytes)" "$name: bytes of the cache"
	done
}

@test "export: in little memory" {
	triple wc-s512-crash
	dm writecache-export cache origin --output out --memory=16M
	status_is 0
	cmp out expected
}

@test "export: an origin that was flushed shows the same as before" {
	local name
	for name in wc-p4096-crash wc-s4096-full; do
		triple $name
		dm writecache-flush cache origin
		status_is 0
		dm writecache-export cache origin --output out --json
		status_is 0
		cmp out expected
		equal "$(json .store_bytes)" 0
	done
}

@test "export: an origin that ends within a block" {
	triple wc-s4096-dirty
	local last
	last=$("$DMTOOL" writecache-dump --json-lines cache |
		jq 'select(has("original_sector") and .seq_count == 0) | .original_sector' | sort -n | tail -n 1)
	truncate -s $((512 * last + 1024)) origin expected
	n=$("$DMTOOL" writecache-check cache origin --json | jq .summary.loss)
	equal "$n" 0
	dm writecache-export cache origin --output out
	status_is 0
	cmp out expected
}

@test "export: a damaged cache is refused, and no file appears" {
	triple wc-s4096-crash
	# the superblock is older than the entries; one entry at an odd sector
	put cache 24 "$(le64 0)"
	put cache 88 "$(le64 77)"
	dm writecache-export cache origin --output out
	status_is 4
	one_message
	triple wc-s4096-crash
	put cache 64 "$(le64 3)$(le64 0)"
	dm writecache-export cache origin --output out
	status_is 4
	one_message
	triple wc-s4096-crash
	truncate -s 1M cache
	dm writecache-export cache origin --output out
	status_is 4
	one_message
	[ ! -e out ]
	equal "$(find . -name '*.tmp')" ""
}

@test "export: names, options, a full disk" {
	triple wc-s4096-dirty
	dm writecache-export cache origin
	status_is 16
	says "--output is missing"
	dm writecache-export cache --output out
	status_is 16
	says "ORIGIN is missing"
	dm writecache-export origin cache --output out
	status_is 16
	says swapped
	dm writecache-export cache origin --output out --format vmdk
	status_is 16
	echo mine >out
	dm writecache-export cache origin --output out
	status_is 8
	equal "$(cat out)" mine
	rm out
	(
		ulimit -f 1024
		trap '' XFSZ
		dm writecache-export cache origin --output out
		status_is 8
		one_message
	)
	[ ! -e out ]
	equal "$(find . -name '*.tmp')" ""
}

@test "cat: any part, at any offset" {
	local name at_ len
	for name in wc-p512-dirty wc-s4096-dup wc-s4096-start; do
		triple $name
		for at_ in 0 511 4095 65536 1234567 8388000; do
			for len in 1 513 8192 300000; do
				[ $((at_ + len)) -le 8388608 ] || len=$((8388608 - at_))
				"$DMTOOL" cat cache origin "$at" --offset=$at_ --length=$len >part
				cmp part <(tail -c +$((at_ + 1)) expected | head -c $len)
			done
		done
		"$DMTOOL" cat cache origin "$at" | cmp - expected
	done
}
