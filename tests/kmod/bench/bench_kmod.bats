#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# shellcheck disable=SC2154 # bats sets stderr
#
# bench/kmod itself: that it repeats, and that it sees what it is there to see.

bats_require_minimum_version 1.5.0
load ../lib.sh

# bench WORD...: upstream's module against itself, the table in $output
bench() {
	run --separate-stderr env BUILD="$BUILD_DIR" "$TOP/bench/kmod" --kernel "$KERNEL" --self --blocks 1024 "$@"
	echo "$stderr"
	[ "$status" -ne 75 ] || skip "kernel $KERNEL: not to be had, or no modules can be built for it"
}

# verdict_of TEXT: of the first line of the table that begins with it
verdict_of() { grep -F "| $1" <<<"$output" | head -n 1 | awk -F'|' '{ gsub(/ /, "", $7); print $7 }'; }

@test "bench: the same module gives the same figures" {
	bench --only p4,flush
	echo "$output"
	equal "$status" 0
	equal "$(verdict_of 'P, 4 KiB chunks: origin, first write')" met
	equal "$(verdict_of 'P, 4 KiB chunks: snapshot, new write')" met
	equal "$(verdict_of 'origin-first: flushes')" met
	equal "$(grep -c '| met |$' <<<"$output")" 31
}

@test "bench: a planted slowdown is seen, and only where it is" {
	bench --only base --plant dm_snapshot:origin_map:200
	echo "$output"
	equal "$status" 1
	equal "$(verdict_of 'origin without snapshot: write')" MISSED
	equal "$(verdict_of 'dm-linear: write')" met
	equal "$(verdict_of 'bare brd: read')" met
}
