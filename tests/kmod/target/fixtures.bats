#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Stores that the kernels of the past have made: our targets show what they hold, keep it under origin
# writes, and merge it.

load lib.sh

names() { ls "$FIXTURES/snapshot"; }
manifest() { jq -r "$2" "$FIXTURES/snapshot/$1/manifest.json"; }

setup_file() {
	local name d=$BATS_FILE_TMPDIR
	[ "$MODULES" != ours ] || need_modules || return 0
	pack_begin
	for name in $(names); do
		xz -dc "$FIXTURES/snapshot/$name/origin.img.xz" >"$d/origin"
		xz -dc "$FIXTURES/snapshot/$name/cow.img.xz" >"$d/cow"
		pack_add "$name.o" "$d/origin"
		pack_add "$name.c" "$d/cow"
		# shellcheck disable=SC2016 # jq's variables
		manifest "$name" '(.expected.table | split(" ")) as $t | "\(.name) \($t[1]) \($t[5]) \($t[6]) " +
			(.expected.logical_sha256 // "none") + " " +
			(.expected.status_after_attach | split(" ")[3:] | join(" "))' >>"$d/list"
	done
	target_boot out "$SCRIPTS/fixtures.sh" --disk "$PACK" --with "$PACK_INDEX:/guest/index" \
		--with "$d/list:/guest/list" -- "$MODULES"
}

setup() { need_guest; }

@test "fixtures: the kernel has nothing to complain of" { quiet out; }

@test "fixtures: each loads with its status and shows its content, keeps it, and merges it" {
	local name wrong=''
	for name in $(names); do
		holds out "$name" || wrong=1
	done
	[ -z "$wrong" ]
}

@test "fixtures: the stores check clean after origin writes" {
	local name nr=0
	for name in $(names); do
		! grep -q "^@end $name " "$BATS_FILE_TMPDIR/out" || nr=$((nr + 1))
	done
	[ "$nr" -ge 15 ]
	equal "$(grep -c '^@end [^ ]* [^0]' "$BATS_FILE_TMPDIR/out")" 0 "checks that are not clean"
}

@test "fixtures: every kind of state takes part" {
	local state
	for state in Invalid '[0-9]'; do
		grep -q " ${state}[^ ]*\( [0-9]*\)\?\$" "$BATS_FILE_TMPDIR/list"
	done
	grep -q ' PO ' "$BATS_FILE_TMPDIR/list"
}
