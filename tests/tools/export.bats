#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# snapshot-export and cat: what the kernel shows, as an image, as an overlay, in parts.

load ../lib/common

setup() {
	cd "$BATS_TEST_TMPDIR" || return 1
}

triple() {
	rm -f cow origin expected out
	fixture "$1" cow cow >/dev/null && fixture "$1" origin origin >/dev/null &&
		fixture "$1" expected expected >/dev/null
}

valid() {
	local name
	for name in $(fixtures snapshot); do
		[ "$(manifest "snapshot/$name" .expected.logical_sha256)" = null ] || echo "$name"
	done
}

@test "export: raw images are what the kernel shows" {
	local name nr=0
	for name in $(valid); do
		triple "$name"
		remember cow origin
		dm snapshot-export cow origin --output out --verify --json
		status_is 0
		valid_json
		cmp out expected
		equal "$(json .image_bytes)" "$(stat -c %s expected)"
		equal "$(($(json .store_bytes) + $(json .origin_bytes)))" "$(stat -c %s expected)"
		equal "$(($(json .written_bytes) + $(json .zero_bytes)))" "$(stat -c %s expected)"
		unchanged cow origin
		nr=$((nr + 1))
	done
	[ "$nr" -ge 16 ]
}

@test "export: overlays are what the kernel shows" {
	command -v qemu-img >/dev/null || skip "qemu-img is not here"
	local name
	for name in $(valid); do
		triple "$name"
		dm snapshot-export cow origin --output out --format qcow2 --json
		status_is 0
		valid_json
		qemu-img check -q -f qcow2 out
		qemu-img compare -q -f qcow2 -F raw out expected
		equal "$(qemu-img info --output=json out | jq -r '."backing-filename-format"')" raw
		equal "$(qemu-img info --output=json out | jq -r '."backing-filename"')" "$PWD/origin"
		# only what the store holds is in it
		equal "$(qemu-img map --output=json out | jq '[.[] | select(.depth == 0) | .length] | add // 0')" \
			"$("$DMTOOL" snapshot-delta cow --origin origin --json |
				jq --arg b "$(manifest "snapshot/$name" .parameters.chunk_sectors)" '.total_sectors * 512')"
	done
}

@test "export: an overlay of 512-byte chunks, and of zeros over an origin that is none" {
	command -v qemu-img >/dev/null || skip "qemu-img is not here"
	local c
	for c in 1 8; do
		rm -f out origin
		head -c $((100 * 512 * c)) /dev/urandom >origin
		truncate -s 0 cow
		truncate -s $((64 * 512 * c)) cow
		"$DMTOOL" snapshot-create cow --chunk-size $c --no-undo >/dev/null
		# chunk 3 is zeros in the store, chunk 99 (the last) is data
		put cow $((512 * c)) "$(le64 3)$(le64 2)$(le64 99)$(le64 3)"
		head -c $((512 * c)) /dev/urandom | dd of=cow bs=$((512 * c)) seek=3 conv=notrunc status=none
		cp origin expected
		dd if=/dev/zero of=expected bs=$((512 * c)) seek=3 count=1 conv=notrunc status=none
		dd if=cow of=expected bs=$((512 * c)) skip=3 seek=99 count=1 conv=notrunc status=none
		dm snapshot-export cow origin --output out --format qcow2 --json
		status_is 0
		equal "$(json .zero_bytes)" $((512 * c))
		qemu-img check -q -f qcow2 out
		qemu-img compare -q -f qcow2 -F raw out expected
		equal "$(qemu-img map --output=json out | jq '[.[] | select(.depth == 0 and .zero) | .length] | add')" \
			$((512 * c))
		rm out
		dm snapshot-export cow origin --output out
		status_is 0
		cmp out expected
	done
}

@test "export: sparse where there are zeros" {
	truncate -s 64M origin
	printf x | dd of=origin bs=1 seek=33554432 conv=notrunc status=none
	truncate -s 1M cow
	"$DMTOOL" snapshot-create cow --chunk-size 8 --no-undo >/dev/null
	dm snapshot-export cow origin --output out --json
	status_is 0
	cmp out origin
	[ "$(stat -c %b out)" -le 64 ]
	equal "$(json .written_bytes)" 4096
}

@test "export: a damaged or invalid store is refused, and no file appears" {
	triple snap-c8-invalid 2>/dev/null || fixture snap-c8-invalid cow cow >/dev/null
	fixture snap-c8-invalid origin origin >/dev/null
	dm snapshot-export cow origin --output out
	status_is 4
	says "valid 0"
	one_message
	fixture snap-c8-some cow cow >/dev/null
	fixture snap-c8-some origin origin >/dev/null
	put cow 4104 "$(le64 5000)"
	dm snapshot-export cow origin --output out
	status_is 4
	says "past the end of the device"
	[ ! -e out ]
	equal "$(find . -name '*.tmp')" ""
}

@test "export: names, options, an origin that is too small" {
	triple snap-c8-some
	dm snapshot-export cow origin
	status_is 16
	says "--output is missing"
	dm snapshot-export cow --output out
	status_is 16
	says "ORIGIN is missing"
	dm snapshot-export cow origin --output out --format vmdk
	status_is 16
	dm snapshot-export cow origin --output out --rate 0
	status_is 16
	dm snapshot-export origin cow --output out
	status_is 16
	says "swapped"
	echo mine >out
	dm snapshot-export cow origin --output out
	status_is 8
	equal "$(cat out)" mine
	rm out
	truncate -s 1M origin
	dm snapshot-export cow origin --output out
	status_is 4
	[ ! -e out ]
	triple snap-c8-some
	dm snapshot-export cow origin --output nowhere/out
	status_is 8
	one_message
}

@test "export: a full disk gives one line, and no file" {
	triple snap-c8-3areas
	(
		ulimit -f 1024
		trap '' XFSZ
		dm snapshot-export cow origin --output out
		status_is 8
		one_message
	)
	[ ! -e out ]
	equal "$(find . -name '*.tmp')" ""
}

@test "cat: any part, at any offset" {
	local at len
	triple snap-c8-some
	"$DMTOOL" cat cow origin | cmp - expected
	for at in 0 1 511 4095 4096 1048575 8384512; do
		for len in 0 1 512 5000 4096; do
			[ $((at + len)) -le 8388608 ] || continue
			cmp <("$DMTOOL" cat cow --origin origin --offset $at --length $len) \
				<(tail -c +$((at + 1)) expected | head -c $len)
		done
	done
	cmp <("$DMTOOL" cat cow origin --offset 8M) /dev/null
	cmp <("$DMTOOL" cat cow origin --offset 8000K) <(tail -c $((8388608 - 8192000)) expected)
}

@test "cat: what it refuses" {
	triple snap-c8-some
	dm cat cow
	status_is 16
	says "ORIGIN is missing"
	dm cat cow origin --offset 9M
	status_is 8
	says "--offset"
	one_message
	dm cat cow origin --length 9M
	status_is 8
	says "--length"
	one_message
	dm cat expected origin
	status_is 8
	says "expected one of the known formats"
	one_message
	run bash -c "'$DMTOOL' cat cow origin >/dev/full"
	equal "$status" 8
	run bash -c "'$DMTOOL' cat cow origin 2>err | head -c 10 >/dev/null; exit \${PIPESTATUS[0]}"
	[ "$status" -eq 8 ] || [ "$status" -eq 141 ]
	fixture snap-c8-invalid cow cow >/dev/null
	fixture snap-c8-invalid origin origin >/dev/null
	dm cat cow origin
	status_is 4
	one_message
	equal "$output" ""
}
