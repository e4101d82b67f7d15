#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Wrong numbers in every field, through the whole tool: a documented exit status, JSON that fits its
# schema, nothing written by check, and a repair that has nothing left to do the second time.
# (tests/ops/snapshot_mutate.c does many more, inside the library.)

load ../lib/common

setup() {
	base=$(fixture snap-c8-3areas)
	image=$BATS_TEST_TMPDIR/image
}

# one image: check, repair twice
whole() {
	local before
	before=$(sha256sum <"$image")
	dm snapshot-check --json "$image"
	status_is 0 4 8
	[ "$status" -eq 8 ] || valid_json
	[ "$(sha256sum <"$image")" = "$before" ]
	dm snapshot-info --json "$image"
	status_is 0 8
	dm snapshot-repair -y --no-undo "$image"
	status_is 0 1 4 5 8
	before=$(sha256sum <"$image")
	dm snapshot-repair -y --no-undo "$image"
	status_is 0 4 8
	[ "$(sha256sum <"$image")" = "$before" ]
}

@test "mutate: each header field" {
	local off value
	for off in 0 4 8 12; do
		for value in "00 00 00 00" "ff ff ff ff" "01 00 00 00" "02 00 00 00" "00 00 00 80" "09 00 00 00"; do
			cp "$base" "$image"
			put "$image" "$off" "$value"
			whole
		done
	done
}

@test "mutate: entries at the borders of areas" {
	local off value
	# the first and the last of area 0, the first of area 2, the terminator, and one behind it
	for off in 4096 4104 8176 8184 2109440 2109448 2112768 2112776 2113000; do
		for value in "00 00 00 00 00 00 00 00" "ff ff ff ff ff ff ff ff" "01 00 00 00 00 00 00 00" \
			"00 00 00 00 00 00 00 80" "02 00 00 00 00 00 00 00"; do
			cp "$base" "$image"
			put "$image" "$off" "$value"
			whole
		done
	done
}

@test "mutate: every length around chunks and areas" {
	local size
	for size in 1 511 512 513 4095 4096 8191 8192 8193 12288 1056768 1056769 1060864; do
		cp "$base" "$image"
		truncate -s "$size" "$image"
		whole
	done
}
