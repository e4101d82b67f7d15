#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The kernel shows the expected content of restored and of repaired stores.

load lib.sh

NAMES='snap-c128-fresh snap-c128-some snap-c32-2areas snap-c32-crash snap-c32-merge-half
snap-c32-some snap-c8-3areas snap-c8-area0-full snap-c8-crash snap-c8-discards snap-c8-fresh
snap-c8-invalid snap-c8-merge-all snap-c8-merge-crash snap-c8-merge-half snap-c8-po-overflow
snap-c8-some'

# damage() knows how each is made
DAMAGED='valid terminator tail exact-duplicate same-duplicate header-zero header-lost wrong-chunk'

manifest() { jq -r "$2" "$FIXTURES/snapshot/$1/manifest.json"; }

dmtool() {
	local rc=0
	"$DMTOOL" "$@" >"$BATS_FILE_TMPDIR/dmtool.out" 2>&1 || rc=$?
	[ $rc -le 1 ] || {
		echo "dmtool $*: status $rc" >&2
		cat "$BATS_FILE_TMPDIR/dmtool.out" >&2
		return 1
	}
}

# list NAME FIXTURE COW [WRITE WATCH]: have the kernel show COW over FIXTURE's origin
list() {
	local table
	table=$(manifest "$2" '.expected.table | split(" ") | "\(.[1]) \(.[5]) \(.[6])"')
	# shellcheck disable=SC2086 # three words
	set -- "$1" "$2.origin" "$3" $table "${@:4}"
	echo "$*" >>"$BATS_FILE_TMPDIR/list"
}

# zero the header and every area of the chain, and leave the data alone
forget_metadata() {
	local file=$1 c=$2 areas=$3 k
	for ((k = -1; k < areas; k++)); do
		dd if=/dev/zero of="$file" bs=$((c << 9)) count=1 conv=notrunc status=none \
			seek=$((k < 0 ? 0 : 1 + k * (32 * c + 1)))
	done
}

# the metadata of a fixture, dumped, forgotten and restored
restored() {
	local name=$1 d=$BATS_FILE_TMPDIR how=--json c
	c=$(manifest "$name" .parameters.chunk_sectors)
	# one of them in the other form
	[ "$name" != snap-c32-2areas ] || how=--json-lines
	xz -dc "$FIXTURES/snapshot/$name/cow.img.xz" >"$d/cow"
	xz -dc "$FIXTURES/snapshot/$name/origin.img.xz" >"$d/$name.origin"
	info "$d/cow" status.line >"$d/$name.line"
	"$DMTOOL" snapshot-dump $how "$d/cow" >"$d/dump"
	cp "$d/cow" "$d/restored"
	forget_metadata "$d/restored" "$c" "$(info "$d/cow" exceptions.nr_areas)"
	! cmp -s "$d/restored" "$d/cow"
	dmtool snapshot-restore "$d/dump" --output "$d/restored" --metadata-only --no-undo
	! cmp "$d/restored" "$d/cow" || touch "$d/$name.same"
	pack_add "$name.origin" "$d/$name.origin"
	pack_add "$name.cow" "$d/restored"
	list "$name" "$name" "$name.cow"
	rm "$d/cow" "$d/restored" "$d/dump"
}

# damage KIND FILE NR NEXT_FREE: break a store of 4096-byte chunks with NR exceptions; REPAIR is what
# mends it
damage() {
	local file=$2 nr=$3 next=$4
	REPAIR=(-y)
	case $1 in
	valid) put "$file" 4 "$(le32 7)" ;;
	terminator) entry "$file" 4096 "$nr" 77 0 ;;
	tail) entry "$file" 4096 $((nr + 1)) "$WATCH" 2 ;;
	exact-duplicate)
		dd if="$file" of="$file" bs=16 skip=256 seek=$((256 + nr)) count=1 conv=notrunc status=none
		;;
	same-duplicate)
		dd if="$file" of="$file" bs=16 skip=256 seek=$((256 + nr)) count=1 conv=notrunc status=none
		put "$file" $((4096 + 16 * nr + 8)) "$(le64 "$next")"
		dd if="$file" of="$file" bs=4096 skip=2 seek="$next" count=1 conv=notrunc status=none
		;;
	header-zero)
		dd if=/dev/zero of="$file" bs=4096 count=1 conv=notrunc status=none
		REPAIR+=(--rebuild-header)
		;;
	header-lost)
		yes "not a header" | head -c 4096 | dd of="$file" conv=notrunc status=none
		REPAIR+=(--rebuild-header)
		;;
	wrong-chunk)
		put "$file" 12 "$(le32 16)"
		REPAIR+=(--rebuild-header)
		;;
	esac
}

# a damaged snap-c8-some, as it is and repaired
repaired() {
	local kind=$1 d=$BATS_FILE_TMPDIR file=$BATS_FILE_TMPDIR/repaired
	local name=snap-c8-some
	xz -dc "$FIXTURES/snapshot/$name/cow.img.xz" >"$file"
	damage "$kind" "$file" "$NR" "$NEXT_FREE"
	if [ "$kind" = tail ]; then
		pack_add "$kind.damaged.cow" "$file"
		list "$kind.damaged" "$name" "$kind.damaged.cow" "$WRITE" "$WATCH"
	fi
	dmtool snapshot-repair "${REPAIR[@]}" --no-undo "$file"
	dmtool snapshot-check "$file"
	pack_add "$kind.repaired.cow" "$file"
	list "$kind.repaired" "$name" "$kind.repaired.cow" "$WRITE" "$WATCH"
}

# the store that ran full, on the word of somebody who knows that the origin did not change
revalidated() {
	local d=$BATS_FILE_TMPDIR name=snap-c8-invalid
	xz -dc "$FIXTURES/snapshot/$name/cow.img.xz" >"$d/revalidated"
	dmtool snapshot-repair -y --revalidate --origin-unmodified --no-undo "$d/revalidated"
	info "$d/revalidated" status.line >"$d/revalidated.line"
	pack_add revalidated.cow "$d/revalidated"
	list revalidated $name revalidated.cow
	# what it must show: the origin with every exception's chunk laid over it
	cp "$d/$name.origin" "$d/model"
	"$DMTOOL" snapshot-dump --json-lines "$d/revalidated" |
		jq -r 'select(has("new_chunk")) | "\(.old_chunk) \(.new_chunk)"' |
		while read -r old new; do
			dd if="$d/revalidated" of="$d/model" bs=4096 skip="$new" seek="$old" count=1 \
				conv=notrunc status=none
		done
	sha256sum <"$d/model" | cut -d ' ' -f 1 >"$d/revalidated.sha256"
}

# two chunks of the origin that no exception of snap-c8-some covers
choose_chunks() {
	local file=$BATS_FILE_TMPDIR/chosen taken
	xz -dc "$FIXTURES/snapshot/snap-c8-some/cow.img.xz" >"$file"
	NR=$(info "$file" exceptions.nr_exceptions)
	NEXT_FREE=$(info "$file" exceptions.next_free)
	taken=$("$DMTOOL" snapshot-dump --json-lines "$file" | jq 'select(has("old_chunk")).old_chunk')
	read -r -d '' WRITE WATCH < <(seq 0 2047 | grep -vxF "$taken" | head -n 2) || [ -n "$WATCH" ]
}

setup_file() {
	local name
	export DMTOOL_UNDO_DIR=$BATS_FILE_TMPDIR
	pack_begin
	for name in $NAMES; do
		restored "$name"
	done
	choose_chunks
	for name in $DAMAGED; do
		repaired "$name"
	done
	revalidated
	boot "$KMOD/scripts/fixtures.sh" --disk "$PACK" --with "$PACK_INDEX:/guest/index" \
		--with "$BATS_FILE_TMPDIR/list:/guest/list"
}

setup() { need_guest; }

@test "fixtures: every one that there is takes part" {
	# shellcheck disable=SC2086 # one per word
	equal "$(ls "$FIXTURES/snapshot")" "$(printf '%s\n' $NAMES)"
}

@test "fixtures: dump and restore give back every byte" {
	for name in $NAMES; do
		[ -e "$BATS_FILE_TMPDIR/$name.same" ] || equal "$name" "the same bytes"
	done
}

@test "fixtures: snapshot-info says the status that the kernel reports" {
	for name in $NAMES; do
		equal "$(got "$name" result)" ok "$name"
		equal "$(got "$name" status)" \
			"$(manifest "$name" '.expected.status_after_attach | split(" ")[3:] | join(" ")')" "$name"
		equal "$(cat "$BATS_FILE_TMPDIR/$name.line")" "$(got "$name" status)" "$name"
	done
}

@test "fixtures: restored stores show the expected content" {
	for name in $NAMES; do
		equal "$(got "$name" content)" \
			"$(manifest "$name" '.expected.logical_sha256 // ""')" "$name"
	done
}

@test "fixtures: repaired stores show the expected content" {
	for kind in $DAMAGED; do
		equal "$(got "$kind.repaired" result)" ok "$kind"
		equal "$(got "$kind.repaired" content)" \
			"$(manifest snap-c8-some .expected.logical_sha256)" "$kind"
	done
}

@test "fixtures: a repaired store stays right when it is written to" {
	for kind in $DAMAGED; do
		[ -n "$(got "$kind.repaired" before)" ]
		equal "$(got "$kind.repaired" after)" "$(got "$kind.repaired" before)" "$kind"
	done
	# and without the repair the kernel does bring the stale entry to life
	[ -n "$(got tail.damaged before)" ]
	[ "$(got tail.damaged after)" != "$(got tail.damaged before)" ]
}

@test "fixtures: a revalidated store loads and shows all exceptions" {
	equal "$(got snap-c8-invalid status)" Invalid
	equal "$(got revalidated result)" ok
	equal "$(got revalidated status)" "$(cat "$BATS_FILE_TMPDIR/revalidated.line")"
	equal "$(got revalidated content)" "$(cat "$BATS_FILE_TMPDIR/revalidated.sha256")"
}
