#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A merge changes the origin under every other snapshot of it: --other-cow gives them what they need
# first, as the kernel would.

load ../lib/common

setup() { cd "$BATS_TEST_TMPDIR" || return 1; }

# a store of the same origin that holds nothing yet; its snapshot shows the origin as it is now
fresh() {
	truncate -s "$2" "$1"
	"$DMTOOL" snapshot-create --chunk-size "$3" --no-undo "$1" >said
}

view() { "$DMTOOL" snapshot-export --output "$2" "$1" "$origin" >said; }

nr() { "$DMTOOL" snapshot-info --json "$1" | jq .exceptions.nr_exceptions; }

scene() {
	cow=$(fixture "$1")
	origin=$(fixture "$1" origin)
	size=$(stat -c %s "$origin")
	cp "$origin" before
}

merge() { dm snapshot-merge --json "$@" "$cow" "$origin"; }

@test "other-cow: it shows the same after the merge as before, whatever its chunk size" {
	local chunk name
	for name in snap-c8-some snap-c8-3areas snap-c32-2areas; do
		for chunk in 8 16 64; do
			scene "$name"
			rm -f other
			fresh other $((size + size / 8)) "$chunk"
			merge --other-cow other
			status_is 0
			valid_json
			equal "$(json '.protected[0].device')" other
			equal "$(json '.protected[0].copied_chunks')" "$(nr other)"
			[ "$(nr other)" -gt 0 ]
			cmp "$origin" "$(fixture "$name" expected)"
			rm -f shown
			view other shown
			cmp shown before
			dm snapshot-check --data other "$origin"
			status_is 0
		done
	done
}

@test "other-cow: one with exceptions of its own keeps what it shows" {
	scene snap-c8-some
	# the second snapshot is older than some writes: it holds chunks with other bytes, some of which
	# the merge changes and some not
	fresh other $((size + size / 8)) 8
	for i in $(seq 0 39); do
		entries+=$(le64 $((i * 7)))$(le64 $((i + 2)))
	done
	put other 4096 "$entries"
	head -c 163840 /dev/urandom | dd of=other bs=4096 seek=2 conv=notrunc status=none
	equal "$(nr other)" 40
	view other old
	merge --other-cow other
	status_is 0
	view other new
	cmp old new
	[ "$(nr other)" -gt 40 ]
	# those that it held were not added again
	"$DMTOOL" snapshot-dump --json other | jq -e '[.exceptions[].old_chunk] | length == (unique | length)'
}

@test "other-cow: several at once" {
	scene snap-c8-some
	fresh one $((size + size / 8)) 8
	fresh two $((size + size / 8)) 32
	merge --other-cow one --other-cow two
	status_is 0
	equal "$(json '.protected | length')" 2
	for i in one two; do
		view "$i" "$i.shown"
		cmp "$i.shown" before
	done
}

@test "other-cow: too little room stops the merge before anything is written" {
	scene snap-c8-some
	fresh other 64K 8
	remember "$cow" "$origin" other
	merge --other-cow other
	status_is 8
	says "found room for"
	says "nothing was merged"
	unchanged "$cow" "$origin" other
}

@test "other-cow: a damaged one, an invalid one and another format stop the merge" {
	scene snap-c8-some
	fresh other $((size + size / 8)) 8
	put other 4 00
	remember "$cow" "$origin" other
	merge --other-cow other
	status_is 4
	put other 4 01
	put other 4096 "$(le64 3)" "$(le64 1)"
	remember other
	merge --other-cow other
	status_is 4
	truncate -s 1M zeros
	merge --other-cow zeros
	status_is 4 8
	merge --other-cow "$cow"
	status_is 16
	merge --other-cow "$origin"
	status_is 16
	merge --other-cow missing
	status_is 8
	unchanged "$cow" "$origin" other
}

@test "other-cow: without it, or --only-snapshot, there is no merge" {
	scene snap-c8-some
	remember "$cow" "$origin"
	merge
	status_is 16
	fresh other $((size + size / 8)) 8
	merge --only-snapshot --other-cow other
	status_is 16
	unchanged "$cow" "$origin"
}

@test "other-cow: a stale tail of it is cleared first" {
	scene snap-c8-some
	fresh other $((size + size / 8)) 8
	put other $((4096 + 16 * 5)) "$(le64 3)" "$(le64 9)"
	merge --other-cow other
	status_is 0
	view other shown
	cmp shown before
	dm snapshot-check other
	status_is 0
}

@test "other-cow: run again, it adds nothing" {
	scene snap-c8-some
	fresh other $((size + size / 8)) 8
	cp "$cow" cow.again
	cp "$origin" origin.again
	merge --other-cow other
	status_is 0
	cp other once
	cow=cow.again origin=origin.again
	merge --other-cow other
	status_is 0
	equal "$(json '.protected[0].copied_chunks')" 0
	cmp other once
}

@test "other-cow: --dry-run writes to none of them" {
	scene snap-c8-some
	fresh other $((size + size / 8)) 8
	remember "$cow" "$origin" other
	merge --dry-run --other-cow other
	status_is 0
	unchanged "$cow" "$origin" other
}
