#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What writecache-info and writecache-check say that the kernel does with a damaged cache is what it does.
# The images are the worked example of dm-writecache-format(5), damaged in one place each.

load lib.sh

ORIGIN_SECTORS=16384

# all of them; damage() knows how each is made
DAMAGED='sound wiped magic version block-size more-blocks fewer-blocks older-superblock misaligned
same-sequence wraps beyond-origin huge-superblock truncated padding interrupted all-free-interrupted'

# sb FILE OFFSET HEX, wc_entry FILE INDEX SECTOR SEQ
sb() { put "$1" "$2" "$3"; }
wc_entry() { put "$1" $((64 + 16 * $2)) "$(le64 "$3")$(le64 "$4")"; }
FREE=-1

# 64 KiB, 15 blocks of 4096 bytes, S = 3: two blocks of the first epoch, one that was written twice, one
# that was freed, one that was never committed
worked() {
	local i
	truncate -s 0 "$1"
	truncate -s 64K "$1"
	sb "$1" 0 "$(le32 0x23489321)$(le32 1)$(le32 4096)$(le32 0)$(le64 15)$(le64 3)"
	for ((i = 0; i < 15; i++)); do
		wc_entry "$1" $i $FREE $FREE
		yes "data of entry $i" | head -c 4096 | dd of="$1" bs=4096 seek=$((1 + i)) conv=notrunc \
			status=none
	done
	wc_entry "$1" 0 16 0
	wc_entry "$1" 1 24 0
	wc_entry "$1" 2 2048 1
	wc_entry "$1" 4 4096 $FREE
	wc_entry "$1" 5 2048 2
	wc_entry "$1" 6 8192 3
}

# damage KIND FILE
damage() {
	local i
	case $1 in
	sound) ;;
	wiped) sb "$2" 0 0000000000000000 ;;
	magic) sb "$2" 0 "$(le32 0x23489320)" ;;
	version) sb "$2" 4 "$(le32 2)" ;;
	block-size) sb "$2" 8 "$(le32 512)" ;;
	more-blocks) sb "$2" 16 "$(le64 16)" ;;
	fewer-blocks) sb "$2" 16 "$(le64 12)" ;;
	older-superblock) sb "$2" 24 "$(le64 1)" ;;
	misaligned) wc_entry "$2" 0 19 0 ;;
	same-sequence) wc_entry "$2" 1 16 0 ;;
	wraps) wc_entry "$2" 0 0xfffffffffffffff8 0 ;;
	beyond-origin) wc_entry "$2" 0 $((1 << 30)) 0 ;;
	huge-superblock) sb "$2" 24 "$(le64 $FREE)" ;;
	truncated) truncate -s 60K "$2" ;;
	padding)
		sb "$2" 12 "$(le32 0xdeadbeef)"
		sb "$2" 40 0102030405060708
		;;
	interrupted) sb "$2" 0 00000000 ;;
	all-free-interrupted)
		sb "$2" 0 00000000
		sb "$2" 24 "$(le64 0)"
		for ((i = 0; i < 15; i++)); do
			wc_entry "$2" $i $FREE $FREE
		done
		;;
	esac
}

# send NAME FILE HOW
send() {
	pack_add "$1.cache" "$2"
	pack_add "$1.origin" "$d/origin"
	echo "$1 s $1.origin $1.cache $ORIGIN_SECTORS 4096 0 $3" >>"$d/list"
}

# repaired NAME KIND OPTION...: as writecache-repair leaves it
repaired() {
	local rc=0
	worked "$d/cache"
	damage "$2" "$d/cache"
	"$DMTOOL" writecache-repair "$d/cache" --origin "$d/origin" --no-undo "${@:3}" \
		>"$d/$1.repair" 2>&1 || rc=$?
	echo $rc >"$d/$1.repair.status"
	wc_info "$d/cache" status.line >"$d/$1.line"
	send "$1" "$d/cache" show,write
}

# rebuilt NAME BYTES: a fixture that has lost so many bytes at its start, with its superblock inferred
rebuilt() {
	local i sector seq rc=0 data
	xz -dc "$FIXTURES/writecache/wc-s4096-dirty/cache.img.xz" >"$d/cache"
	xz -dc "$FIXTURES/writecache/wc-s4096-dirty/origin.img.xz" >"$d/origin.dirty"
	"$DMTOOL" writecache-dump --json-lines "$d/cache" | grep '^{"original_sector"' |
		tr -c '0-9\n' ' ' >"$d/entries"
	data=$(wc_info "$d/cache" geometry.data_sector)
	# without duplicates, what is left of the entries and lies over the origin is what must be shown
	cp "$d/origin.dirty" "$d/model"
	i=0
	while read -r sector seq; do
		if [ "$seq" != 18446744073709551615 ] && [ $((64 + 16 * i)) -ge "$2" ]; then
			dd if="$d/cache" of="$d/model" bs=4096 skip=$((data / 8 + i)) \
				seek=$((sector / 8)) count=1 conv=notrunc status=none
		fi
		i=$((i + 1))
	done <"$d/entries"
	sha256sum <"$d/model" | cut -d ' ' -f 1 >"$d/$1.model"
	dd if=/dev/zero of="$d/cache" bs="$2" count=1 conv=notrunc status=none
	"$DMTOOL" writecache-repair "$d/cache" --rebuild-superblock --seq-count=max+1 -y --no-undo \
		--side-file "$d/$1.side" >"$d/$1.repair" 2>&1 || rc=$?
	echo $rc >"$d/$1.repair.status"
	wc_info "$d/cache" status.line >"$d/$1.line"
	pack_add "$1.cache" "$d/cache"
	pack_add "$1.origin" "$d/origin.dirty"
	echo "$1 s $1.origin $1.cache $ORIGIN_SECTORS 4096 0 show" >>"$d/list"
}

setup_file() {
	local kind how
	d=$BATS_FILE_TMPDIR
	export DMTOOL_UNDO_DIR=$d
	pack_begin
	yes "what the origin holds" | head -c $((ORIGIN_SECTORS << 9)) >"$d/origin"
	for kind in $DAMAGED; do
		worked "$d/cache"
		damage "$kind" "$d/cache"
		verdict "$d/cache" writecache --origin "$d/origin" >"$d/$kind.verdict"
		wc_info "$d/cache" 'status.line // ""' >"$d/$kind.line"
		"$DMTOOL" writecache-check "$d/cache" "$d/origin" --json >"$d/$kind.check" 2>"$d/$kind.err" || :
		cp "$d/cache" "$d/$kind.img"
		how=load,meta
		[ "$kind" != sound ] || how=show
		[ "$kind" != same-sequence ] || how=show,write
		send "$kind" "$d/cache" $how
	done
	# repaired without a loss; the kernel then has nothing to complain about
	repaired sequence-repaired same-sequence -y --side-file "$d/side"
	repaired interrupted-repaired all-free-interrupted -y
	# the newest epoch of the example was not committed
	repaired older-repaired older-superblock --seq-count=max -y
	repaired wiped-repaired wiped --rebuild-superblock --seq-count=max -y
	# the fixture was removed, so its newest epoch was
	rebuilt rebuilt 64
	rebuilt attached-again 4096
	boot "$KMOD/scripts/writecache.sh" --disk "$PACK" --timeout 300 \
		--with "$PACK_INDEX:/guest/index" --with "$d/list:/guest/list"
}

setup() { need_guest; }

# the first four numbers: error, n_blocks, free, under write-back
state() { cut -d ' ' -f 1-4 <<<"$1"; }

# said KIND NAME: writecache-check reported a finding of that name
said() {
	jq -e --arg name "$2" '[.. | objects | select(.code? == $name)] | length > 0' \
		"$BATS_FILE_TMPDIR/$1.check" >/dev/null || {
		echo "$1: no finding $2; there are: $(jq -c '[.. | objects | .code? // empty]' \
			"$BATS_FILE_TMPDIR/$1.check")"
		return 1
	}
}

@test "writecache activation: the verdicts of writecache-info are the kernel's" {
	for kind in $DAMAGED; do
		theirs=$(got "$kind" result)
		[ -n "$theirs" ]
		# a blank one is accepted, in the kernel's way; what does harm is, too
		[ "$theirs" != ok ] || theirs=accept
		case $kind in
		older-superblock | same-sequence) theirs=${theirs/accept/danger} ;;
		esac
		[ "$kind" != wiped ] || theirs=${theirs/accept/format}
		# that is a matter between superblock and table, see below
		[ "$kind" != block-size ] || continue
		ours=$(cat "$BATS_FILE_TMPDIR/$kind.verdict")
		# that it is for ever is our word
		[[ $kind != *interrupted ]] || ours=${ours/never/EINVAL}
		equal "$ours" "$theirs" "$kind"
	done
}

@test "writecache activation: another block size than the table's is refused, and check knows the true one" {
	equal "$(got block-size result)" EINVAL
	said block-size writecache.superblock.block_size_contradicted
	grep -q 'expected block_size 4096' "$BATS_FILE_TMPDIR/block-size.check"
}

@test "writecache activation: and so is the status line of those that it accepts" {
	accepted=0
	for kind in $DAMAGED; do
		[ "$(got "$kind" result)" = ok ] && [ "$kind" != wiped ] || continue
		equal "$(cat "$BATS_FILE_TMPDIR/$kind.line")" "$(state "$(got "$kind" status)")" "$kind"
		accepted=$((accepted + 1))
	done
	[ $accepted -ge 8 ]
}

@test "writecache activation: a wiped superblock over entries is formatted, all blocks are gone" {
	equal "$(got wiped status)" "0 15 15 0 0 0 0 0 0 0 0 0 0 0"
	unpack wiped.cache "$BATS_TEST_TMPDIR/cache"
	equal "$(wc_info "$BATS_TEST_TMPDIR/cache" entries.committed)" 0
	equal "$(wc_info "$BATS_TEST_TMPDIR/cache" superblock.seq_count)" 0
	said wiped writecache.superblock.wiped
}

@test "writecache activation: entries newer than the superblock are dropped without a word" {
	equal "$(state "$(got older-superblock status)")" "0 15 13 0"
	said older-superblock writecache.entry.newer_than_superblock
	# on the media too: sector 2048 is nowhere any more
	unpack older-superblock.cache "$BATS_TEST_TMPDIR/cache"
	equal "$("$DMTOOL" writecache-dump --json-lines "$BATS_TEST_TMPDIR/cache" |
		grep '"original_sector":2048,' | sort -u)" \
		'{"original_sector":2048,"seq_count":18446744073709551615}'
}

@test "writecache activation: duplicates of one epoch put the target into an error, a repair ends that" {
	equal "$(state "$(got same-sequence status)")" "1 15 13 0"
	equal "$(got same-sequence write)" failed
	said same-sequence writecache.entry.same_sequence
	equal "$(cat "$BATS_FILE_TMPDIR/sequence-repaired.repair.status")" 1
	equal "$(got sequence-repaired result)" ok
	equal "$(state "$(got sequence-repaired status)")" "0 15 13 0"
	equal "$(cat "$BATS_FILE_TMPDIR/sequence-repaired.line")" "0 15 13 0"
	[ -z "$(got sequence-repaired write)" ]
	# the winner is the one that the kernel takes
	[ -n "$(got same-sequence content)" ]
	equal "$(got sequence-repaired content)" "$(got same-sequence content)"
}

@test "writecache activation: an interrupted format is refused for ever, and finished by a repair" {
	equal "$(got all-free-interrupted result)" EINVAL
	equal "$(cat "$BATS_FILE_TMPDIR/interrupted-repaired.repair.status")" 1
	equal "$(got interrupted-repaired result)" ok
	equal "$(state "$(got interrupted-repaired status)")" "0 15 15 0"
	[ -z "$(got interrupted-repaired write)" ]
}

@test "writecache activation: with the right seq_count again the kernel drops nothing" {
	for kind in older-repaired wiped-repaired; do
		equal "$(cat "$BATS_FILE_TMPDIR/$kind.repair.status")" 1 "$kind"
		equal "$(got "$kind" result)" ok "$kind"
		equal "$(state "$(got "$kind" status)")" "0 15 12 0" "$kind"
		equal "$(cat "$BATS_FILE_TMPDIR/$kind.line")" "0 15 12 0" "$kind"
		[ -n "$(got sound content)" ]
		equal "$(got "$kind" content)" "$(got sound content)" "$kind"
		[ -z "$(got "$kind" write)" ]
	done
}

@test "writecache activation: a superblock that was inferred shows the kernel all that is left" {
	for kind in rebuilt attached-again; do
		equal "$(cat "$BATS_FILE_TMPDIR/$kind.repair.status")" 1 "$kind"
		equal "$(got "$kind" result)" ok "$kind"
		equal "$(cat "$BATS_FILE_TMPDIR/$kind.line")" "$(state "$(got "$kind" status)")" "$kind"
		equal "$(got "$kind" content)" "$(cat "$BATS_FILE_TMPDIR/$kind.model")" "$kind"
	done
	# nothing was lost with the superblock alone; with LVM's 4 KiB, what the first 252 entries held
	expected=$(jq -r .expected.logical_sha256 "$FIXTURES/writecache/wc-s4096-dirty/manifest.json")
	equal "$(got rebuilt content)" "$expected"
	[ "$(got attached-again content)" != "$expected" ]
}

@test "writecache activation: what the kernel refuses it leaves alone" {
	for kind in $DAMAGED; do
		[ "$(got "$kind" result)" != ok ] || continue
		unpack "$kind.cache" "$BATS_TEST_TMPDIR/cache"
		cmp "$BATS_TEST_TMPDIR/cache" "$BATS_FILE_TMPDIR/$kind.img"
	done
}
