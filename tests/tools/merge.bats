#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# snapshot-merge: the origin becomes what the kernel showed, the store what the kernel's merge leaves.

load ../lib/common

setup() {
	cd "$BATS_TEST_TMPDIR" || return 1
}

# pair NAME: its cow and origin
pair() {
	rm -f cow origin
	fixture "$1" cow cow >/dev/null && fixture "$1" origin origin >/dev/null
}

# what the snapshot NAME showed
expected() {
	manifest "snapshot/$1" .expected.logical_sha256
}

merged() {
	equal "$(sha256sum <origin | cut -d' ' -f1)" "$(expected "$1")" "$1: origin"
}

# the status line of a store of NAME that the kernel has merged
empty_status() {
	local c
	c=$(manifest "snapshot/$1" .parameters.chunk_sectors)
	echo "$((2 * c))/$(manifest "snapshot/$1" .parameters.cow_sectors) $((2 * c))"
}

# the store of NAME is empty and sound
empty() {
	dm snapshot-check cow origin --strict && status_is 0 || return 1
	dm snapshot-info cow --json && equal "$(json .status.line)" "$(empty_status "$1")" &&
		equal "$(json .exceptions.nr_exceptions)" 0
}

records() {
	"$DMTOOL" snapshot-dump --json-lines "$1" | tail -n 1 | jq .nr_exceptions
}

# every fixture that shows something
valid() {
	local name
	for name in $(fixtures snapshot); do
		[ "$(expected "$name")" = null ] || echo "$name"
	done
}

# a run in the background, slow enough to be met: slow NAME; $slow is its process
slow() {
	"$DMTOOL" snapshot-merge cow origin --only-snapshot --rate=512K --progress=json >slow.out 2>slow.err 3>&- &
	slow=$!
	for _ in $(seq 100); do
		grep -q '"writing back"' slow.err && return
		sleep 0.05
	done
	cat slow.err
	return 1
}

@test "merge: every fixture's origin becomes what the kernel showed, and the store is empty" {
	local name nr=0
	for name in $(valid); do
		pair "$name"
		nr=$((nr + 1))
		local before
		before=$(records cow)
		dm snapshot-merge cow origin --only-snapshot --json
		status_is 0
		valid_json
		equal "$(json .merge.records)" "$before" "$name: records"
		equal "$(json .merge.left)" 0 "$name: left"
		merged "$name"
		empty "$name"
		# once more: nothing to do, nothing changes
		remember cow origin
		dm snapshot-merge cow origin --only-snapshot
		status_is 0
		says "nothing to do"
		unchanged cow origin
	done
	[ $nr -ge 16 ]
}

@test "merge: with --verify, in little memory, and as text" {
	local name
	for name in snap-c32-2areas snap-c8-3areas snap-c128-some; do
		pair $name
		dm snapshot-merge cow origin --only-snapshot --verify --memory=16M
		status_is 0
		says verified
		says "cannot be undone"
		merged $name
		empty $name
	done
}

@test "merge: a dry run changes nothing and says what the real run does" {
	pair snap-c8-3areas
	remember cow origin
	dm snapshot-merge cow origin --dry-run --json
	status_is 0
	valid_json
	unchanged cow origin
	local said
	said=$(json '.merge | del(.left)')
	equal "$(json .merge.left)" "$(json .merge.records)"
	dm snapshot-merge cow origin --only-snapshot --json
	status_is 0
	equal "$(json '.merge | del(.left)')" "$said"
}

@test "merge: an invalid store is refused with 4, and nothing changes" {
	pair snap-c8-invalid
	remember cow origin
	local option
	for option in --only-snapshot --dry-run; do
		dm snapshot-merge cow origin $option --keep-going
		status_is 4
		says "merge refused"
		one_message
	done
	dm snapshot-merge cow origin --only-snapshot --keep-going --mapfile=map --json
	status_is 4
	[ ! -e map ]
	unchanged cow origin
}

@test "merge: a damaged store is refused with 4, and nothing changes" {
	pair snap-c8-some
	# exception 5 gets the old_chunk of exception 4; exception 3 leads past the end
	dd if=cow of=cow bs=1 skip=$((4096 + 64)) seek=$((4096 + 80)) count=8 conv=notrunc status=none
	put cow $((4096 + 48 + 8)) "$(le64 0x123456)"
	remember cow origin
	dm snapshot-merge cow origin --only-snapshot --keep-going
	status_is 4
	says "more; see dmtool snapshot-check"
	unchanged cow origin
}

@test "merge: it wants to know about other snapshots" {
	pair snap-c8-some
	remember cow origin
	dm snapshot-merge cow origin
	status_is 16
	says --only-snapshot
	says --other-cow
	dm snapshot-merge cow origin --only-snapshot --other-cow=x
	status_is 16
	dm snapshot-merge cow origin --other-cow=cow
	status_is 16
	dm snapshot-merge cow origin --other-cow=origin
	status_is 16
	dm snapshot-merge cow origin --other-cow=missing
	status_is 8
	unchanged cow origin
}

@test "merge: what makes no sense is a usage error" {
	pair snap-c8-some
	remember cow origin
	dm snapshot-merge cow --only-snapshot
	status_is 16
	says ORIGIN
	dm snapshot-merge cow cow --only-snapshot
	status_is 16
	dm snapshot-merge origin cow --only-snapshot
	status_is 16
	says swapped
	dm snapshot-merge cow origin --only-snapshot --mapfile=map
	status_is 16
	dm snapshot-merge cow origin --dry-run --save=s
	status_is 16
	dm snapshot-merge cow origin --only-snapshot --rate=0
	status_is 16
	unchanged cow origin
}

@test "merge: an origin that is too short is refused, a larger one keeps its end" {
	pair snap-c8-3areas
	truncate -s 1M origin
	remember cow origin
	dm snapshot-merge cow origin --only-snapshot
	status_is 4
	unchanged cow origin
	pair snap-c8-3areas
	head -c 65536 /dev/urandom >extra
	cat extra >>origin
	dm snapshot-merge cow origin --only-snapshot
	status_is 0
	cmp extra <(tail -c 65536 origin)
	truncate -s -65536 origin
	merged snap-c8-3areas
}

@test "merge: an origin that ends within a chunk" {
	pair snap-c8-some
	# its last chunk gets an exception, and a half of it is cut off
	local last=2047
	put cow $((4096 + 16 * 7)) "$(le64 $last)"
	new=$(od -An -tu8 -j $((4096 + 16 * 7 + 8)) -N8 cow | tr -d ' ')
	truncate -s $((last * 4096 + 1536)) origin
	cp cow cow.before
	dm snapshot-merge cow origin --only-snapshot
	status_is 0
	equal "$(stat -c %s origin)" $((last * 4096 + 1536))
	cmp <(tail -c 1536 origin) <(tail -c +$((new * 4096 + 1)) cow.before | head -c 1536)
}

@test "merge: zeros of the store become zeros of the origin" {
	pair snap-c8-some
	head -c 8M /dev/zero | tr '\0' '\377' >origin
	cp origin before
	new=$(od -An -tu8 -j $((4096 + 8)) -N8 cow | tr -d ' ')
	old=$(od -An -tu8 -j 4096 -N8 cow | tr -d ' ')
	fallocate -p -o $((new * 4096)) -l 4096 cow
	"$DMTOOL" snapshot-dump --json-lines cow >dump
	"$TOP/tests/lib/shown" dump before cow >want
	dm snapshot-merge cow origin --only-snapshot
	status_is 0
	cmp origin want
	cmp -n 4096 -i "$((old * 4096)):0" origin /dev/zero
}

@test "merge: --save and --undo take everything back" {
	pair snap-c32-some
	remember cow origin
	dm snapshot-merge cow origin --only-snapshot --save=saved --undo=undone --json
	status_is 0
	valid_json
	equal "$(json .reversible)" true
	equal "$(json .save.file)" saved
	merged snap-c32-some
	dm undo saved
	status_is 0 1
	dm undo undone
	status_is 0 1
	unchanged cow origin
	dm snapshot-merge cow origin --only-snapshot --json
	equal "$(json .reversible)" false
}

@test "merge: another snapshot gets what the merge changes, and shows the same as before" {
	pair snap-c8-3areas
	truncate -s 8M older
	dm snapshot-create older origin --chunk-size 8 --no-undo
	status_is 0
	cp origin before
	dm snapshot-merge cow origin --other-cow=older --json
	status_is 0
	valid_json
	equal "$(json '.protected[0].device')" older
	[ "$(json '.protected[0].copied_chunks')" -eq 720 ]
	merged snap-c8-3areas
	empty snap-c8-3areas
	dm snapshot-check older origin
	status_is 0
	"$DMTOOL" snapshot-dump --json-lines older >dump
	"$TOP/tests/lib/shown" dump origin older | cmp - before
}

@test "merge: another snapshot without room: nothing is merged" {
	pair snap-c8-3areas
	truncate -s 64K older
	dm snapshot-create older origin --chunk-size 8 --no-undo
	status_is 0
	remember cow origin older
	dm snapshot-merge cow origin --other-cow=older
	status_is 8
	says "nothing was merged"
	unchanged cow origin older
}

@test "merge: --origin-fingerprint finds a wrong origin" {
	pair snap-c8-some
	dm fingerprint origin --output=print --samples=2048
	status_is 0
	cp origin right
	# somebody wrote where the store holds nothing
	"$DMTOOL" snapshot-dump --json-lines cow | jq -r 'select(has("old_chunk") and (has("area") | not)) | .old_chunk' |
		sort -n >held
	local free
	free=$(seq 1 2047 | grep -vxFf held | head -n 1)
	for chunk in $(seq 1 2047 | grep -vxFf held); do
		dd if=/dev/urandom of=origin bs=4096 seek="$chunk" count=1 conv=notrunc status=none
		[ "$chunk" -lt $((free + 200)) ] || break
	done
	remember cow origin
	dm snapshot-merge cow origin --only-snapshot --origin-fingerprint=print
	status_is 4
	unchanged cow origin
	cp right origin
	dm snapshot-merge cow origin --only-snapshot --origin-fingerprint=print
	status_is 0
	merged snap-c8-some
}

# ---- errors: a limit on the size of files makes writes behind it fail ----

@test "merge: stops at the first error, and goes on when the cause is gone" {
	pair snap-c8-3areas
	(
		trap '' XFSZ
		ulimit -f 4096
		dm snapshot-merge cow origin --only-snapshot
		status_is 8
	)
	dm snapshot-check cow origin
	status_is 0
	equal "$(records cow)" 720
	dm snapshot-merge cow origin --only-snapshot
	status_is 0
	merged snap-c8-3areas
	empty snap-c8-3areas
}

@test "merge: --keep-going leaves what fails, and maps it as ddrescue does" {
	pair snap-c8-3areas
	"$DMTOOL" snapshot-dump --json-lines cow | jq -r 'select(has("old_chunk") and (has("area") | not)) | .old_chunk' |
		sort -n >held
	awk '$1 >= 1024' held >behind
	[ -s behind ]
	trap '' XFSZ
	(
		ulimit -f 4096
		dm snapshot-merge cow origin --only-snapshot --keep-going --mapfile=map --json
		printf '%s\n' "$output" >doc
		status_is 4
	)
	valid_json "$(cat doc)"
	equal "$(jq .merge.failed doc)" "$(wc -l <behind)"
	equal "$(jq .merge.left doc)" "$(wc -l <behind)"
	equal "$(jq .merge.records doc)" $((720 - $(wc -l <behind)))
	equal "$(jq '[.failures[].length] | add' doc)" $((4096 * $(wc -l <behind)))
	# they are the first of the chain
	dm snapshot-check cow origin
	status_is 0
	"$DMTOOL" snapshot-dump --json-lines cow | jq -r 'select(has("old_chunk") and (has("area") | not)) | .old_chunk' |
		sort -n | cmp - behind
	# the map
	ddrescuelog -t map
	ddrescuelog -b 4096 -l- map | sort -n | cmp - behind
	local sum=0 pos size
	while read -r pos size _; do
		equal $((pos)) $sum "the map's next range"
		sum=$((sum + size))
	done < <(grep -v '^#' map | sed 1d)
	equal $sum 8388608 "the map's size"
	grep -q '^# 0x.*is on the store at 0x.*: write: ' map
	# what did not fail is there; the logical device is the same
	"$DMTOOL" snapshot-dump --json-lines cow >dump
	equal "$("$TOP/tests/lib/shown" dump origin cow | sha256sum | cut -d' ' -f1)" "$(expected snap-c8-3areas)"
	# the cause is gone
	dm snapshot-merge cow origin --only-snapshot --keep-going --mapfile=map2
	status_is 0
	merged snap-c8-3areas
	empty snap-c8-3areas
	equal "$(grep -v '^#' map2 | tail -n 1 | tr -s ' ')" "0x00000000 0x00800000 +"
	# a map is not overwritten
	dm snapshot-merge cow origin --only-snapshot --keep-going --mapfile=map2
	status_is 8
}

@test "merge: stops when asked, at a safe point, and goes on" {
	pair snap-c32-2areas
	slow
	kill -INT $slow
	status=0
	wait $slow || status=$?
	status_is 32
	grep -q "run the command again" slow.err
	dm snapshot-check cow origin
	status_is 0
	"$DMTOOL" snapshot-dump --json-lines cow >dump
	equal "$("$TOP/tests/lib/shown" dump origin cow | sha256sum | cut -d' ' -f1)" "$(expected snap-c32-2areas)"
	dm snapshot-merge cow origin --only-snapshot
	status_is 0
	merged snap-c32-2areas
	empty snap-c32-2areas
}

@test "merge: killed at any moment, it goes on" {
	local wait
	for wait in 0 0.05 0.2 0.6; do
		pair snap-c32-2areas
		slow
		sleep $wait
		kill -KILL $slow
		wait $slow || true
		dm snapshot-check cow origin
		status_is 0
		dm snapshot-merge cow origin --only-snapshot
		status_is 0
		merged snap-c32-2areas
		empty snap-c32-2areas
	done
}

@test "merge: two runs at once: the second is refused" {
	pair snap-c32-2areas
	slow
	dm snapshot-merge cow origin --only-snapshot
	status_is 8
	one_message
	truncate -s 1M other
	dm snapshot-create other --chunk-size 8 --no-undo
	status_is 0
	dm snapshot-merge other origin --only-snapshot
	status_is 8
	kill -INT $slow
	wait $slow || true
	dm snapshot-merge cow origin --only-snapshot
	status_is 0
	merged snap-c32-2areas
}
