#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What is on a device, by our own decoders and by libblkid.

load ../lib/common

setup() { cd "$BATS_TEST_TMPDIR" || return 1; }

best() { equal "$(json '.candidates[0].format')" "$1"; }

@test "probe: a store, with what speaks for it" {
	cow=$(fixture snap-c8-some)
	dm probe "$cow" --json
	status_is 0
	valid_json
	best snapshot
	equal "$(json '.candidates[0] | "\(.version) \(.offset)"')" "1 0"
	[ "$(json '.candidates[0].confidence')" -ge 90 ]
	# libblkid's word for the same thing is no second candidate
	equal "$(json '[.candidates[].format | select(. == "DM_snapshot_cow")] | length')" 0
}

@test "probe: other formats are named, and why it is none of ours" {
	truncate -s 8M other
	mkfs.ext4 -q -F other
	dm probe other --json
	status_is 4
	valid_json
	best ext4
	[ -n "$(json '.candidates[] | select(.format == "snapshot") | .reason')" ]
	truncate -s 0 other
	truncate -s 8M other
	mkswap -q other
	dm probe other --json
	status_is 4
	best swap
	truncate -s 0 other
	truncate -s 8M other
	dm probe other --json
	status_is 4
	[ "$(json '[.candidates[] | select(.confidence > 0)] | length')" -eq 0 ]
}

@test "probe: what lies inside a store is not on the device" {
	# a file system in the data chunks, none at their beginning of the device
	cow=$(fixture snap-c8-some)
	truncate -s 2M inner
	mkfs.ext4 -q -F inner
	dd if=inner of="$cow" bs=4096 seek=300 count=500 conv=notrunc status=none
	dm probe "$cow" --json
	status_is 0
	best snapshot
	equal "$(json '[.candidates[] | select(.format == "ext4")] | length')" 0
}

@test "probe: a store that lost its header is still recognised" {
	cow=$(fixture snap-c8-3areas)
	put "$cow" 0 00000000
	dm probe "$cow" --json
	status_is 0
	valid_json
	best snapshot
	[ "$(json '.candidates[0].confidence')" -lt 90 ]
}

@test "probe: two signatures on one device are both told" {
	# a stale store header in front of a file system that begins behind it
	truncate -s 8M both
	mkfs.ext4 -q -F both
	put both 0 536e4170 01000000 01000000 08000000
	dm probe both --json
	valid_json
	[ "$(json '[.candidates[] | select(.format == "ext4")] | length')" -eq 1 ]
	dm snapshot-create both --chunk-size 8
	status_is 8
	says --force
}

@test "probe: --udev prints keys for udev" {
	cow=$(fixture snap-c8-some)
	dm probe "$cow" --udev
	status_is 0
	equal "$(grep -vE '^[A-Z0-9_]+=[^ "]*$' <<<"$output" || true)" ""
	says snapshot
	dm probe "$cow" --udev --json
	status_is 16
}
