#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# snapshot-send and snapshot-receive: incremental backups.

load ../lib/common

setup() {
	cd "$BATS_TEST_TMPDIR" || return 1
}

triple() {
	rm -f cow origin expected forward backward copy
	fixture "$1" cow cow >/dev/null && fixture "$1" origin origin >/dev/null &&
		fixture "$1" expected expected >/dev/null
}

valid() {
	local name
	for name in $(fixtures snapshot); do
		[ "$(manifest "snapshot/$name" .expected.logical_sha256)" = null ] || echo "$name"
	done
}

@test "send: forward makes the origin of the snapshot, backward the reverse" {
	local name
	for name in $(valid); do
		triple "$name"
		remember cow origin
		dm snapshot-send cow origin --forward --output forward --json
		status_is 0
		valid_json
		equal "$(json .stream_bytes)" "$(stat -c %s forward)"
		"$DMTOOL" snapshot-send cow origin --backward >backward
		unchanged cow origin
		cp expected copy
		dm snapshot-receive forward copy --json
		status_is 0
		valid_json
		cmp copy origin
		cp origin copy
		"$DMTOOL" snapshot-receive - copy --no-undo <backward >/dev/null
		cmp copy expected
		# once more: everything is there
		dm snapshot-receive backward copy --no-undo --json
		status_is 0
		equal "$(json .ranges_written)" 0
		equal "$(json .ranges_already_there)" "$(json .nr_ranges)"
	done
}

@test "send: through a pipe" {
	triple snap-c8-some
	cp expected copy
	"$DMTOOL" snapshot-send cow origin --forward | "$DMTOOL" snapshot-receive - copy --no-undo
	cmp copy origin
}

@test "send: a device in another state is refused before anything is written" {
	triple snap-c8-some
	"$DMTOOL" snapshot-send cow origin --forward >forward
	# the wrong direction
	cp origin copy
	printf x | dd of=copy bs=1 seek=$(($(cmp origin expected | grep -o '[0-9]*' | head -n 1) - 1)) conv=notrunc status=none
	remember copy
	dm snapshot-receive forward copy --no-undo
	status_is 4
	says "not what the stream"
	unchanged copy
	# a byte that the stream replaces
	cp expected copy
	printf '\377' | dd of=copy bs=1 seek=$(($(cmp origin expected | grep -o '[0-9]*' | head -n 1) + 100)) conv=notrunc status=none
	remember copy
	dm snapshot-receive forward copy --no-undo
	status_is 4
	dm snapshot-receive forward copy --dry-run
	status_is 4
	unchanged copy
	# a byte elsewhere, where a sample lies: the device's last block, if the store does not hold it
	cp expected copy
	printf '\377' | dd of=copy bs=1 seek=$((8388608 - 5)) conv=notrunc status=none
	remember copy
	dm snapshot-receive forward copy --no-undo
	status_is 4
	unchanged copy
	# another size
	truncate -s 9M copy
	dm snapshot-receive forward copy --no-undo
	status_is 4
	says "as the stream says"
	[ ! -e "$DMTOOL_UNDO_DIR" ] || equal "$(ls "$DMTOOL_UNDO_DIR")" ""
}

@test "receive: a stream that was cut goes on later, undo takes it back" {
	triple snap-c8-3areas
	"$DMTOOL" snapshot-send cow origin --backward >backward
	cp origin copy
	head -c $(($(stat -c %s backward) - 40000)) backward >"cut"
	dm snapshot-receive "cut" copy --undo undo1
	status_is 8
	says "goes on from there"
	run cmp -s copy origin
	equal "$status" 1 "something was applied"
	dm snapshot-receive backward copy --undo undo2 --json
	status_is 0
	[ "$(json .ranges_already_there)" -gt 0 ]
	[ "$(json .ranges_written)" -gt 0 ]
	cmp copy expected
	dm undo undo2 copy
	status_is 0
	dm undo undo1 copy
	status_is 0
	cmp copy origin
}

@test "receive: --dry-run says whether it fits and writes nothing" {
	triple snap-c8-some
	"$DMTOOL" snapshot-send cow origin --backward >backward
	remember origin
	chmod 400 origin
	dm snapshot-receive backward origin --dry-run --json
	status_is 0
	valid_json
	equal "$(json .ranges_written)" 0
	chmod 600 origin
	unchanged origin
}

@test "receive: a stream with any one wrong byte is refused" {
	triple snap-c8-some
	local size at
	"$DMTOOL" snapshot-send cow origin --backward >backward
	size=$(stat -c %s backward)
	remember origin
	for at in 0 8 20 63 64 70 90 95 96 200 $((size / 3)) $((size / 2)) $((size - 90)) $((size - 1)); do
		cp backward bad
		cp origin copy
		"$PYTHON" -c 'import sys
f = open("bad", "r+b"); f.seek(int(sys.argv[1])); b = f.read(1); f.seek(-1, 1); f.write(bytes([b[0] ^ 64]))' "$at"
		dm snapshot-receive bad copy --no-undo
		status_is 8
	done
	dm snapshot-receive expected copy --no-undo
	status_is 8
	one_message
	dm snapshot-receive /dev/null copy --no-undo
	status_is 8
}

@test "send: what it refuses" {
	triple snap-c8-some
	dm snapshot-send cow origin
	status_is 16
	says "--forward"
	dm snapshot-send cow origin --forward --backward
	status_is 16
	dm snapshot-send cow --forward
	status_is 16
	dm snapshot-send cow origin --forward --json
	status_is 16
	run bash -c "'$DMTOOL' snapshot-send cow origin --forward >/dev/full"
	equal "$status" 8
	fixture snap-c8-invalid cow cow >/dev/null
	fixture snap-c8-invalid origin origin >/dev/null
	dm snapshot-send cow origin --forward --output f
	status_is 4
	one_message
	[ ! -e f ]
}
