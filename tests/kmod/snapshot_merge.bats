#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The kernel and dmtool take over each other's merges, and the kernel accepts converted stores.

load lib.sh

MERGED='snap-c8-some snap-c8-3areas snap-c32-2areas snap-c128-some snap-c8-discards snap-c8-area0-full'
HALF='snap-c8-3areas snap-c32-2areas snap-c8-crash'
KERNEL_HALF='snap-c8-merge-half snap-c8-merge-crash snap-c32-merge-half'

manifest() { jq -r "$2" "$FIXTURES/snapshot/$1/manifest.json"; }
length() { manifest "$1" '.expected.table | split(" ")[1]'; }
sha() { sha256sum <"$1" | cut -d ' ' -f 1; }

dmtool() {
	local rc=0
	"$DMTOOL" "$@" >"$BATS_FILE_TMPDIR/dmtool.out" 2>&1 || rc=$?
	[ $rc -eq 0 ] || {
		echo "dmtool $*: status $rc" >&2
		cat "$BATS_FILE_TMPDIR/dmtool.out" >&2
		return 1
	}
}

# images NAME: cow and origin of a fixture in $d
images() {
	xz -dc "$FIXTURES/snapshot/$1/cow.img.xz" >"$d/cow"
	xz -dc "$FIXTURES/snapshot/$1/origin.img.xz" >"$d/origin"
}

# send NAME LENGTH CHUNK HOW: what lies in $d goes to the guest
send() {
	pack_add "$1.origin" "$d/origin"
	pack_add "$1.cow" "$d/cow"
	echo "$1 $1.origin $1.cow $2 $3 $4" >>"$d/list"
}

# drop the last COUNT exceptions as a merge that was cut there does: data on the origin, entries zero
cut_merge() {
	local nr=$1 count=$2 i old new area slot
	"$DMTOOL" snapshot-dump --json-lines "$d/cow" | jq -r 'select(has("new_chunk")) |
		"\(.old_chunk) \(.new_chunk)"' >"$d/entries"
	for ((i = nr - 1; i >= nr - count; i--)); do
		read -r old new < <(sed -n "$((i + 1))p" "$d/entries")
		dd if="$d/cow" of="$d/origin" bs=$((c << 9)) skip="$new" seek="$old" count=1 \
			conv=notrunc status=none
		area=$((i / (32 * c)))
		slot=$((i % (32 * c)))
		put "$d/cow" $(((1 + area * (32 * c + 1)) * (c << 9) + slot * 16)) \
			00000000000000000000000000000000
	done
}

# killed while it is at work
interrupted() {
	local rate=$1 pid
	"$DMTOOL" snapshot-merge "$d/cow" "$d/origin" --only-snapshot --rate "$rate" >/dev/null 2>&1 &
	pid=$!
	sleep 0.7
	kill -KILL $pid 2>/dev/null || :
	wait $pid || :
}

setup_file() {
	local name c nr
	d=$BATS_FILE_TMPDIR
	export DMTOOL_UNDO_DIR=$d
	pack_begin
	for name in $MERGED; do		# merged by dmtool: an empty store for the kernel
		images "$name"
		c=$(manifest "$name" .parameters.chunk_sectors)
		dmtool snapshot-merge "$d/cow" "$d/origin" --only-snapshot
		sha "$d/origin" >"$d/$name.merged"
		send "merged-$name" "$(length "$name")" "$c" show
	done
	for name in $HALF; do		# cut: the kernel shows the same, and goes on merging
		images "$name"
		c=$(manifest "$name" .parameters.chunk_sectors)
		nr=$(info "$d/cow" exceptions.nr_exceptions)
		cut_merge "$nr" $((nr / 3))
		send "cut-$name" "$(length "$name")" "$c" show
		send "finish-$name" "$(length "$name")" "$c" merge
	done
	for name in $HALF; do		# dmtool itself, killed while at work
		images "$name"
		c=$(manifest "$name" .parameters.chunk_sectors)
		interrupted 2M
		send "killed-$name" "$(length "$name")" "$c" merge
	done
	for name in $KERNEL_HALF; do	# the kernel's half merges, finished by dmtool
		images "$name"
		c=$(manifest "$name" .parameters.chunk_sectors)
		dmtool snapshot-merge "$d/cow" "$d/origin" --only-snapshot
		sha "$d/origin" >"$d/$name.merged"
		send "taken-$name" "$(length "$name")" "$c" show
	done
	images snap-c8-3areas		# the kernel begins here, dmtool ends it outside
	send half "$(length snap-c8-3areas)" 8 half
	images snap-c8-some		# cut while --keep-going moved an entry: it is there twice
	nr=$(info "$d/cow" exceptions.nr_exceptions)
	dd if="$d/cow" of="$d/cow" bs=16 skip=$((256 + 3)) seek=$((256 + nr)) count=1 conv=notrunc status=none
	send twice "$(length snap-c8-some)" 8 merge
	for c in 1 16 128; do		# converted
		images snap-c8-some
		rm -f "$d/cow2"
		dmtool snapshot-convert "$d/cow" --origin "$d/origin" --chunk-size $c --output "$d/cow2"
		mv "$d/cow2" "$d/cow"
		send "converted-$c" "$(length snap-c8-some)" $c show
		send "converted-merge-$c" "$(length snap-c8-some)" $c merge
	done
	boot "$KMOD/scripts/merge.sh" --disk "$PACK" --with "$PACK_INDEX:/guest/index" \
		--with "$d/list:/guest/list"
}

setup() { need_guest; }

# ended NAME: the kernel says that nothing is left
ended() {
	local used metadata
	read -r used metadata < <(got "$1" end)
	[ -n "$metadata" ]
	equal "${used%/*}" "$metadata" "$1: still allocated"
}

@test "merge: the kernel finds the store empty and the origin merged" {
	for name in $MERGED; do
		equal "$(got "merged-$name" result)" ok "$name"
		read -r used metadata < <(got "merged-$name" status)
		equal "${used%/*}" "$metadata" "$name"
		equal "$(got "merged-$name" content)" "$(manifest "$name" .expected.logical_sha256)" "$name"
		equal "$(cat "$BATS_FILE_TMPDIR/$name.merged")" \
			"$(manifest "$name" .expected.logical_sha256)" "$name"
	done
}

@test "merge: the kernel shows the same over a merge that was cut" {
	for name in $HALF; do
		equal "$(got "cut-$name" content)" "$(manifest "$name" .expected.logical_sha256)" "$name"
	done
}

@test "merge: the kernel's merge finishes what was cut" {
	for name in $HALF; do
		equal "$(got "finish-$name" content)" "$(manifest "$name" .expected.logical_sha256)" "$name"
		ended "finish-$name"
		equal "$(got "finish-$name" origin)" "$(manifest "$name" .expected.logical_sha256)" "$name"
	done
}

@test "merge: the kernel's merge finishes what dmtool was killed at" {
	for name in $HALF; do
		equal "$(got "killed-$name" content)" "$(manifest "$name" .expected.logical_sha256)" "$name"
		ended "killed-$name"
		equal "$(got "killed-$name" origin)" "$(manifest "$name" .expected.logical_sha256)" "$name"
	done
}

@test "merge: dmtool finishes what the kernel left half merged" {
	for name in $KERNEL_HALF; do
		equal "$(cat "$BATS_FILE_TMPDIR/$name.merged")" \
			"$(manifest "$name" .expected.logical_sha256)" "$name"
		equal "$(got "taken-$name" content)" "$(manifest "$name" .expected.logical_sha256)" "$name"
	done
}

@test "merge: dmtool goes on where this kernel's merge was stopped" {
	equal "$(got half result)" ok
	unpack half.cow "$BATS_TEST_TMPDIR/cow"
	unpack half.origin "$BATS_TEST_TMPDIR/origin"
	"$DMTOOL" snapshot-merge "$BATS_TEST_TMPDIR/cow" "$BATS_TEST_TMPDIR/origin" --only-snapshot
	equal "$(sha "$BATS_TEST_TMPDIR/origin")" "$(manifest snap-c8-3areas .expected.logical_sha256)"
}

@test "merge: an entry that is there twice does not stop the kernel's merge" {
	equal "$(got twice content)" "$(manifest snap-c8-some .expected.logical_sha256)"
	ended twice
	equal "$(got twice origin)" "$(manifest snap-c8-some .expected.logical_sha256)"
}

@test "convert: the kernel shows and merges converted stores" {
	for c in 1 16 128; do
		equal "$(got converted-$c result)" ok "chunk size $c"
		equal "$(got converted-$c content)" "$(manifest snap-c8-some .expected.logical_sha256)"
		ended converted-merge-$c
		equal "$(got converted-merge-$c origin)" "$(manifest snap-c8-some .expected.logical_sha256)"
	done
}
