#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A filesystem on an origin with snapshots while memory is nearly exhausted, and removal under I/O.  A
# deadlock meets the time limit.

load programs/lib.sh

setup_file() {
	local d=$BATS_FILE_TMPDIR
	build_program pressure
	truncate -s "$(span 64 64 256)M" "$d/origin"
	truncate -s "$(span 96 96 320)M" "$d/p" "$d/po"
	run_program pressure.sh --memory 224 --with "$KMOD/scripts/lib.sh" --with "$d/pressure" \
		--disk "$d/origin" --disk "$d/p" --disk "$d/po" --timeout "$(span 200 200 900)" -- \
		"$(span 16 16 10)" "$(span 28 28 150)"
}

setup() { need_guest; }

@test "pressure: writers come to their end with little memory, and the kernel is content" {
	ended
	more_than hog taken 10
	equal "$(said writer result)" ok
	more_than writer disturbed 0
}

@test "pressure: origin and snapshots hold what they should" {
	equal "$(said origin content)" right
	for name in p po; do
		equal "$(said $name content)" right
		[[ $(said $name status) =~ ^[0-9]+/[0-9]+\ [0-9]+$ ]]
	done
}

@test "pressure: a snapshot can be removed while the origin is written to" {
	equal "$(said writer alive)" yes
	equal "$(said removal content)" right
}

@test "pressure: the module goes" { equal "$(said module unloaded)" yes; }
