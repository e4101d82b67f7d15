#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# snapshot-discard: the store is valid and empty, and can be had back.

load ../lib/common

setup() {
	cd "$BATS_TEST_TMPDIR" || return 1
}

@test "discard: every valid store becomes an empty one, and undo gives it back" {
	local name c nr=0
	for name in $(fixtures snapshot); do
		[ "$(manifest "snapshot/$name" .expected.logical_sha256)" != null ] || continue
		nr=$((nr + 1))
		rm -f cow undo
		fixture "$name" cow cow >/dev/null
		remember cow
		dm snapshot-info cow --json
		local before
		before=$(json .exceptions.nr_exceptions)
		c=$(manifest "snapshot/$name" .parameters.chunk_sectors)
		dm snapshot-discard cow --yes --undo=undo --json
		status_is 0
		valid_json
		equal "$(json .records)" "$before" "$name: records"
		dm snapshot-check cow --strict
		status_is 0
		dm snapshot-info cow --json
		equal "$(json .status.line)" "$((2 * c))/$(manifest "snapshot/$name" .parameters.cow_sectors) $((2 * c))"
		equal "$(json .header.valid)" 1
		[ "$before" -gt 0 ] || continue
		dm undo undo
		status_is 0 1
		unchanged cow
	done
	[ $nr -ge 16 ]
}

@test "discard: only with --yes" {
	fixture snap-c8-some cow cow >/dev/null
	remember cow
	dm snapshot-discard cow
	status_is 16
	says "expected --yes"
	dm snapshot-discard cow --yes --undo=u --no-undo
	status_is 16
	unchanged cow
}

@test "discard: a dry run lists the writes of the real run, and changes nothing" {
	fixture snap-c8-3areas cow cow >/dev/null
	remember cow
	dm snapshot-discard cow --dry-run --json
	status_is 0
	valid_json
	unchanged cow
	local writes
	writes=$(json .writes)
	[ "$(json '.writes | length')" -ge 3 ]
	# from the end to the start
	equal "$(json '[.writes[].offset] | . == (sort | reverse)')" true
	dm snapshot-discard cow --yes --list-writes --no-undo --json
	status_is 0
	valid_json
	equal "$(json .writes)" "$writes"
}

@test "discard: an invalid or damaged store is refused with 4" {
	fixture snap-c8-invalid cow cow >/dev/null
	remember cow
	dm snapshot-discard cow --yes --no-undo
	status_is 4
	one_message
	says "discard refused"
	unchanged cow
	fixture snap-c8-some cow cow >/dev/null
	put cow $((4096 + 8)) "$(le64 0x123456)"
	remember cow
	dm snapshot-discard cow --yes --no-undo --json
	status_is 4
	unchanged cow
}

@test "discard: what is no store is refused, and one in use too" {
	head -c 1M /dev/urandom >cow
	remember cow
	dm snapshot-discard cow --yes --no-undo
	status_is 4 8
	unchanged cow
	fixture snap-c8-some cow cow >/dev/null
	remember cow
	exec 9<cow
	flock -x 9
	dm snapshot-discard cow --yes --no-undo
	status_is 8
	exec 9<&-
	unchanged cow
	dm snapshot-discard cow --yes --no-undo
	status_is 0
}

@test "discard: without a place for an undo file nothing is done" {
	fixture snap-c8-some cow cow >/dev/null
	remember cow
	DMTOOL_UNDO_DIR=/proc/none dm snapshot-discard cow --yes
	status_is 8
	says "no place for an undo file"
	unchanged cow
}
