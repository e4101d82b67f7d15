#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Fingerprints of origins, and what the commands that move data make of them.

load ../lib/common

setup() { cd "$BATS_TEST_TMPDIR" || return 1; }

# fingerprints that agree are taken of the origin as it is; the exceptions are older
scene() {
	cow=$(fixture "$1")
	origin=$(fixture "$1" origin)
	rm -f print
	"$DMTOOL" fingerprint "$origin" --output print >said
}

merge() {
	dm snapshot-merge --only-snapshot --origin-fingerprint "${print:-print}" "$@" "$cow" "$origin"
}

# flip BYTE...: invert bytes of the origin
flip() {
	local at value
	for at; do
		value=$(od -An -tu1 -j "$at" -N 1 "$origin")
		put "$origin" "$at" "$(printf '%02x' $((value ^ 255)))"
	done
}

# the first byte of a chunk that the store does not hold, and of one that it does
untouched() {
	"$DMTOOL" snapshot-dump --json "$cow" | jq '.chunk_size * 512 as $bytes |
		([.exceptions[].old_chunk] | sort) as $held |
		first(range(1; 1000) | select(. as $c | $held | index($c) | not)) * $bytes'
}
held() { "$DMTOOL" snapshot-dump --json "$cow" | jq '.exceptions[0].old_chunk * .chunk_size * 512'; }

# bad TEXT FILTER: the fingerprint changed by jq is refused with a line that says TEXT
bad() {
	local text=$1
	shift
	jq "$@" print >changed
	print=changed merge
	status_is 8 && one_message && says changed && says "$text" && unchanged "$cow" "$origin"
}

@test "fingerprint: the document fits its schema, in a file and on standard output" {
	origin=$(fixture snap-c8-some origin)
	remember "$origin"
	dm fingerprint "$origin"
	status_is 0
	equal "$stderr" ""
	valid_json
	equal "$(json .schema)" dmtool.fingerprint
	equal "$(json .size_sectors)" $(($(stat -c %s "$origin") / 512))
	equal "$(json '.samples | length')" $(($(stat -c %s "$origin") / 4096))
	printf '%s\n' "$output" >want
	dm fingerprint "$origin" --output print
	status_is 0
	says print
	cmp want print
	dm fingerprint "$origin" --output other --json
	status_is 0
	valid_json
	equal "$(json .output)" other
	equal "$(json .nr_samples)" "$(jq '.samples | length' want)"
	cmp want other
	unchanged "$origin"
}

@test "fingerprint: hashes are those of the bytes" {
	origin=$(fixture snap-c8-some origin)
	dm fingerprint "$origin" --samples 20
	status_is 0
	equal "$(json '.samples | length')" 20
	json '.samples[] | "\(.offset / 4096) \(.sha256)"' | while read -r block hash; do
		equal "$(dd if="$origin" bs=4096 skip="$block" count=1 status=none | sha256sum)" "$hash  -"
	done
	equal "$(json '.samples[0].offset')" 0
	equal "$(json '.samples[-1].offset')" $(($(stat -c %s "$origin") - 4096))
}

@test "fingerprint: the file system is named" {
	truncate -s 8M fs
	mkfs.ext4 -q -F -U 01234567-89ab-4cde-8f01-23456789abcd fs
	dm fingerprint fs --samples 2
	status_is 0
	valid_json
	equal "$(json .fs_type)" ext4
	equal "$(json .fs_uuid)" 01234567-89ab-4cde-8f01-23456789abcd
	truncate -s 8M nothing
	dm fingerprint nothing --samples 2
	equal "$(json 'has("fs_type")')" false
}

@test "fingerprint: an existing file is not replaced, and a failure leaves none" {
	origin=$(fixture snap-c8-some origin)
	echo mine >print
	dm fingerprint "$origin" --output print
	status_is 8
	one_message
	equal "$(cat print)" mine
	dm fingerprint "$origin" --output missing/print
	status_is 8
	one_message
	dm fingerprint "$origin" --samples 0
	status_is 16
	dm fingerprint "$origin" --samples 65537
	status_is 16
	dm fingerprint missing --output other
	status_is 8
	equal "$(find . -name "other*" -o -name ".*.tmp")" ""
}

@test "fingerprint: agrees with the origin of every store" {
	local name tried=0
	for name in $(fixtures snapshot); do
		scene "$name"
		"$DMTOOL" snapshot-check "$cow" >/dev/null 2>&1 || continue
		merge --dry-run
		status_is 0
		merge
		status_is 0
		[ ! -e "$FIXTURES/snapshot/$name/expected.img.xz" ] ||
			cmp "$origin" "$(fixture "$name" expected)"
		tried=$((tried + 1))
	done
	[ "$tried" -ge 10 ]
}

@test "fingerprint: a byte changed where the store holds nothing is refused" {
	scene snap-c8-some
	at=$(untouched)
	flip "$at"
	remember "$cow" "$origin"
	merge
	status_is 4
	says "origin differs from its fingerprint at sector $((at / 512)) "
	unchanged "$cow" "$origin"
	merge --dry-run
	status_is 4
	flip "$at"
	merge
	status_is 0
	cmp "$origin" "$(fixture snap-c8-some expected)"
}

@test "fingerprint: what an exception covers is not compared" {
	scene snap-c8-some
	at=$(held)
	flip "$at" $((at + 4095))
	merge
	status_is 0
	cmp "$origin" "$(fixture snap-c8-some expected)"
}

@test "fingerprint: an origin of another size is refused" {
	scene snap-c8-some
	size=$(stat -c %s "$origin")
	remember "$cow"
	truncate -s $((size + 4096)) "$origin"
	merge
	status_is 4
	says "origin differs from its fingerprint: found $((size / 512 + 8)) sectors, expected $((size / 512))"
	truncate -s $((size - 4096)) "$origin"
	merge
	status_is 4
	unchanged "$cow"
}

@test "fingerprint: truncated anywhere, it is refused with one line" {
	scene snap-c8-some
	remember "$cow" "$origin"
	size=$(stat -c %s print)
	for cut in 0 1 2 20 100 200 210 250 300 1000 $((size / 2)) $((size - 5)) $((size - 2)); do
		head -c "$cut" print >changed
		print=changed merge
		status_is 8
		one_message
		says changed
	done
	unchanged "$cow" "$origin"
}

@test "fingerprint: hostile ones are refused with one line" {
	scene snap-c8-some
	remember "$cow" "$origin"
	bad schema '.schema = "dmtool.probe"'
	bad schema 'del(.schema)'
	bad schema_version '.schema_version = 2'
	bad size_sectors 'del(.size_sectors)'
	bad sample_bytes '.sample_bytes = 0'
	bad sample_bytes '.sample_bytes = 4294971392'
	bad samples 'del(.samples)'
	bad "expected '['" '.samples = {}'
	bad 'expected a sample' '.samples = [[]]'
	bad "expected '}'" '.samples[3].more = 1'
	bad "expected ','" '.samples[3] |= {offset}'
	bad key '.samples[3] |= {offset, more: 1}'
	bad sha256 '.samples[3].sha256 |= .[1:]'
	bad sha256 '.samples[3].sha256 |= "G" + .[1:]'
	bad sha256 '.samples[3].sha256 |= . + "0"'
	bad number '.samples[3].offset = "12288"'
	bad more '.more = []'
	bad '65536 samples' '.samples = (.samples[0] | [limit(65537; repeat(.))])'
	# these are read, and then the library says no
	jq '.samples[3].offset = 0' print >changed
	print=changed merge
	status_is 8
	one_message
	says "sample 3"
	sed 's/"offset": 12288,/"offset": 18446744073709547520,/' print >changed
	print=changed merge
	status_is 8
	one_message
	says "sample 3"
	sed 's/"size_sectors": [0-9]*/"size_sectors": 18446744073709551615/' print >changed
	print=changed merge
	status_is 8
	one_message
	says size_sectors
	sed 's/"size_sectors": [0-9]*/"size_sectors": -1/' print >changed
	print=changed merge
	status_is 8
	one_message
	sed 's/"size_sectors"/"schema": "dmtool.fingerprint", &/' print >changed
	print=changed merge
	status_is 8
	one_message
	says schema
	{ cat print; echo '{}'; } >changed
	print=changed merge
	status_is 8
	one_message
	head -c 100000 /dev/urandom >changed
	print=changed merge
	status_is 8
	one_message
	print=missing merge
	status_is 8
	one_message
	unchanged "$cow" "$origin"
}

@test "fingerprint: the order of keys and what people add to samples does not matter" {
	scene snap-c8-some
	jq -S 'del(.device, .format, .dmtool_version)' print >changed
	print=changed merge
	status_is 0
}

@test "fingerprint: export and convert ask as well" {
	scene snap-c8-some
	dm snapshot-export --origin-fingerprint print --output good "$cow" "$origin"
	status_is 0
	cmp good "$(fixture snap-c8-some expected)"
	dm snapshot-convert --origin-fingerprint print --output converted "$cow" "$origin"
	status_is 0
	flip "$(untouched)"
	dm snapshot-export --origin-fingerprint print --output bad "$cow" "$origin"
	status_is 4
	[ ! -e bad ]
	dm snapshot-convert --origin-fingerprint print --output bad "$cow" "$origin"
	status_is 4
}

@test "fingerprint: SIGINT stops it, and leaves no file" {
	truncate -s 1T large
	"$DMTOOL" fingerprint large --samples 65536 --output print 2>err >out &
	pid=$!
	for _ in $(seq 100); do
		[ -z "$(find . -name ".*.tmp")" ] || break
		sleep 0.01
	done
	kill -INT "$pid"
	wait "$pid" && code=0 || code=$?
	# quick enough to be done first
	[ "$code" -eq 32 ] || { [ "$code" -eq 0 ] && skip "it was done before it could be stopped"; }
	[ ! -e print ]
	equal "$(find . -name ".*.tmp")" ""
}
