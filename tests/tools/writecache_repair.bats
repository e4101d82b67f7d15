#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# writecache-repair of caches that the kernel made and that were damaged here: what is shown afterwards is
# what it was or what was promised, blocks that are given up are kept, and everything can be taken back.

load ../lib/common

setup() {
	cd "$BATS_TEST_TMPDIR" || return 1
	mkdir -p "$DMTOOL_UNDO_DIR"
}

unpack() {
	fixture "writecache/$1" cache cache >/dev/null
	fixture "writecache/$1" origin origin >/dev/null
	cp cache sound
}

# at FILE EXPRESSION: of python, over s (seq_count), b (block_size), n, e (entries), off (of the data)
at() {
	"$PYTHON" - "$1" "$2" <<'PY'
import struct, sys
raw = open(sys.argv[1], "rb").read()
_, _, b, _, n, s = struct.unpack_from("<IIIIQQ", raw)
off = (64 + 16 * n + b - 1) // b * b
e = list(struct.iter_unpack("<QQ", raw[64:64 + 16 * n]))
F = 2 ** 64 - 1
best = {}
for i, (sector, seq) in enumerate(e):
    if seq < s and (sector not in best or seq >= e[best[sector]][1]):
        best[sector] = i
winners = sorted(best.values())
free = [i for i in range(n) if e[i][1] == F]
print(eval(sys.argv[2]))
PY
}

# entry INDEX SECTOR SEQ
entry() {
	put cache $((64 + 16 * $1)) "$(le64 "$2") $(le64 "$3")"
}

# the data block of an entry, in a file that begins with that of entry 0 at OFFSET
block() {
	local size
	size=$(at sound b)
	tail -c +$(($2 + $3 * size + 1)) "$1" | head -c "$size"
}

shown() {
	"$TOP/tests/lib/wcshown" "$1" origin | sha256sum
}

mended_clean() {
	dm writecache-check cache --origin origin --data
	status_is 0
	says "summary: clean"
}

side() {
	json .side.file
}

taken_back() {
	dm undo "$(json .undo.file)"
	status_is 0 1
	unchanged cache
}

@test "writecache-repair: nothing is changed in what the kernel left" {
	local name
	for name in $(fixtures writecache); do
		[ "$name" != wc-s4096-start ] || continue
		unpack "$name"
		remember cache
		dm writecache-repair -y cache --json && status_is 0 && valid_json && unchanged cache || return 1
		equal "$(json '"\(.summary.mended) \(.undo) \(.side)"')" "0 null null" || return 1
	done
}

@test "writecache-repair: of two entries with the same seq_count the lower goes, its block is kept" {
	local low high
	unpack wc-s4096-dirty
	low=$(at cache 'winners[3]')
	high=$(at cache 'free[-1]')
	entry "$high" "$(at cache "e[$low][0]")" "$(at cache "e[$low][1]")"
	remember cache
	shown cache >before
	dm writecache-repair -a cache --json
	status_is 1
	valid_json
	equal "$(json '[.findings[] | select(.code == "writecache.entry.same_sequence") | .mended] | all')" true
	equal "$(at cache "e[$low][1] == F and e[$low][0]")" "$(at sound "e[$low][0]")"
	shown cache | cmp - before
	cmp <(block "$(side)" 0 "$low") <(block sound "$(at sound off)" "$low")
	equal "$(stat -c %a "$(side)")" 600
	cp "$(side)" kept
	taken_back
	dm writecache-repair -a cache --no-undo --side-file there --json
	status_is 1
	cmp there kept
	mended_clean
}

@test "writecache-repair: the side file lies beside the undo file, and never over another" {
	local low
	unpack wc-s4096-dirty
	low=$(at cache 'winners[0]')
	entry "$(at cache 'free[-1]')" "$(at cache "e[$low][0]")" "$(at cache "e[$low][1]")"
	remember cache
	echo mine >mine.blocks
	dm writecache-repair -a cache --undo mine.undo
	status_is 8
	says mine.blocks
	one_message 2
	unchanged cache
	equal "$(cat mine.blocks)" mine
	rm -f mine.undo
	DMTOOL_UNDO_DIR=/dev/null/none dm writecache-repair -a cache --no-undo
	status_is 8
	says "--side-file"
	one_message
	unchanged cache
	dm writecache-repair -a cache --dry-run --json
	valid_json
	unchanged cache
	equal "$(json '.writes | length > 0')" true
	rm mine.blocks
	dm writecache-repair -a cache --undo mine.undo
	status_is 1
	cmp <(block mine.blocks 0 "$low") <(block sound "$(at sound off)" "$low")
}

@test "writecache-repair: with --output the cache stays as it is" {
	local low
	unpack wc-s4096-dirty
	low=$(at cache 'winners[0]')
	entry "$(at cache 'free[-1]')" "$(at cache "e[$low][0]")" "$(at cache "e[$low][1]")"
	remember cache
	dm writecache-repair -y cache --output copy --json
	status_is 1
	valid_json
	unchanged cache
	equal "$(json .side.file)" copy.blocks
	equal "$(shown copy)" "$(shown cache)"
	dm writecache-check copy
	status_is 0
}

@test "writecache-repair: an interrupted format is finished, one over live entries is not" {
	unpack wc-s4096-fresh
	put cache 0 00000000
	remember cache
	dm writecache-repair -a cache --json
	status_is 1
	valid_json
	cmp <("$TOP/tests/lib/wcshown" --table cache) <("$TOP/tests/lib/wcshown" --table sound)
	taken_back
	unpack wc-s4096-dirty
	put cache 0 00000000
	remember cache
	dm writecache-repair -y cache
	status_is 4
	unchanged cache
	dm writecache-repair -y cache --rebuild-superblock --json
	status_is 1
	cmp cache sound
}

@test "writecache-repair: a superblock without magic and version comes back with its own seq_count" {
	unpack wc-p512-crash
	put cache 0 0000000000000000
	remember cache
	dm writecache-repair -y cache
	status_is 4
	unchanged cache
	dm writecache-repair -y cache --rebuild-superblock --json
	status_is 1
	valid_json
	equal "$(json '[.evidence[] | select(.chosen) | .block_size] | join(" ")')" 512
	equal "$(json '[.evidence[].kept // empty] | join(" ")')" "$(at sound s)"
	cmp cache sound
	taken_back
}

# what LVM does when it attaches a cache
lvm_wipe() {
	dd if=/dev/zero of=cache bs=4096 count=1 conv=notrunc status=none
}

@test "writecache-repair: after an LVM wipe seq_count is the caller's, and both choices are said" {
	local newest
	unpack wc-s512-crash
	newest=$(at sound 'max(q for _, q in e[252:] if q != F)')
	lvm_wipe
	remember cache
	dm writecache-repair -y cache
	status_is 4
	unchanged cache
	dm writecache-repair -y cache --rebuild-superblock --json
	status_is 4
	valid_json
	unchanged cache
	says "--seq-count=max ($newest: drops"
	says "--seq-count=max+1 ($((newest + 1)): takes"
	[ "$(json '[.evidence[] | select(.max)] | length')" = 1 ]
	one_message
	dm writecache-repair -a cache --rebuild-superblock --seq-count=max
	status_is 4
	unchanged cache
}

@test "writecache-repair: after an LVM wipe lost entries are free and their blocks are kept" {
	local choice newest off
	for choice in max max+1; do
		unpack wc-s512-crash
		newest=$(at sound 'max(q for _, q in e[252:] if q != F)')
		off=$(at sound off)
		lvm_wipe
		remember cache
		dm writecache-repair -y cache --rebuild-superblock --seq-count=$choice --json
		status_is 1
		valid_json
		equal "$(json '[.evidence[].wiped_entries // empty] | join(" ")')" 252
		[ $choice = max ] || newest=$((newest + 1))
		equal "$(at cache s)" "$newest"
		equal "$(at cache '(b, n)')" "$(at sound '(b, n)')"
		equal "$(at cache 'e[:252] == [(F, F)] * 252')" True
		# entries behind the wipe, gap and data: not one byte
		cmp <(tail -c +4097 cache) <(tail -c +4097 sound)
		cmp <(head -c $((252 * 512)) "$(side)") <(tail -c +$((off + 1)) sound | head -c $((252 * 512)))
		cp cache mended
		taken_back
		cp mended cache
		mended_clean
	done
}

@test "writecache-repair: a superblock that was rolled back moves only to what is said" {
	local newest
	unpack wc-s4096-dirty
	newest=$(at sound 'max(q for _, q in e if q != F)')
	put cache 24 "$(le64 0)"
	remember cache
	dm writecache-repair -y cache --json
	status_is 4
	valid_json
	unchanged cache
	equal "$(json '[.evidence[] | select(.newest_seq_count) | .newest_seq_count] | join(" ")')" "$newest"
	dm writecache-repair -a cache --seq-count=max
	status_is 4
	says "with -y"
	unchanged cache
	dm writecache-repair -y cache --seq-count=max --json
	status_is 1
	equal "$(at cache s)" "$newest"
	taken_back
	dm writecache-repair -y cache --seq-count=max+1
	status_is 1
	equal "$(at cache s)" $((newest + 1))
	cmp <(tail -c +33 cache) <(tail -c +33 sound)
	mended_clean
	remember cache
	dm writecache-repair -y cache --seq-count=max
	status_is 4
	says "not changed"
	unchanged cache
}

@test "writecache-repair: a truncated cache is left, with what it has lost" {
	local lost
	unpack wc-s4096-dirty
	truncate -s 200K cache
	remember cache
	dm writecache-repair -y cache --json --max-findings=1000
	status_is 4
	valid_json
	unchanged cache
	lost=$(at cache "' '.join(str(i) for i in winners if off + (i + 1) * b > $((200 * 1024)))")
	[ -n "$lost" ]
	equal "$(json '[.findings[] | select(.code == "writecache.entry.block_beyond_device") | .record] | sort | map(tostring) | join(" ")')" "$lost"
	dm writecache-repair -y cache --accept-loss="$(wc -w <<<"$lost")"
	status_is 4
	says "truncated"
	one_message
	unchanged cache
	dm writecache-repair -y cache --rebuild-superblock --seq-count=max
	status_is 4
	unchanged cache
}

@test "writecache-repair: blocks without a place go only by their number, and are kept" {
	local bad
	unpack wc-s4096-dirty
	bad=$(at cache 'winners[5]')
	entry "$bad" $(($(at cache "e[$bad][0]") + 3)) "$(at cache "e[$bad][1]")"
	remember cache
	dm writecache-repair -y cache
	status_is 4
	unchanged cache
	dm writecache-repair -y cache --accept-loss=2
	status_is 4
	unchanged cache
	says "loss of 2 blocks was accepted, but the repair loses 1"
	dm writecache-repair -y cache --accept-loss=1 --json
	status_is 1
	valid_json
	equal "$(at cache "e[$bad][1] == F")" True
	equal "$(at cache "len(winners)")" $(($(at sound 'len(winners)') - 1))
	cmp <(block "$(side)" 0 "$bad") <(block sound "$(at sound off)" "$bad")
	cp cache mended
	taken_back
	cp mended cache
	mended_clean
}

@test "writecache-repair: blocks past the end of the origin go only where it was given" {
	local size nr
	unpack wc-s4096-dirty
	size=$(at cache 'sorted(e[i][0] for i in winners)[len(winners) // 2]')
	nr=$(at cache "len([i for i in winners if e[i][0] >= $size])")
	remember cache
	dm writecache-repair -y cache --accept-loss="$nr"
	status_is 4
	unchanged cache
	dm writecache-repair -y cache --origin-size="$size"
	status_is 0
	unchanged cache
	dm writecache-repair -y cache --origin-size="$size" --accept-loss="$nr" --json
	status_is 1
	valid_json
	equal "$(at cache "len([i for i in winners if e[i][0] >= $size])")" 0
	equal "$(at cache "len(winners)")" $(($(at sound 'len(winners)') - nr))
}

@test "writecache-repair: padding is left alone" {
	unpack wc-s4096-dirty
	put cache 12 deadbeef
	put cache 40 0102030405060708
	remember cache
	dm writecache-repair -y cache
	status_is 0
	unchanged cache
}

@test "writecache-repair: start_sector counts" {
	unpack wc-s4096-start
	put cache $((2048 * 512)) 0000000000000000
	remember cache
	dm writecache-repair -y cache --rebuild-superblock
	status_is 4 8
	unchanged cache
	dm writecache-repair -y cache --rebuild-superblock --start-sector=2048 --json
	status_is 1
	valid_json
	cmp cache sound
	taken_back
}

@test "writecache-repair: options that make no sense" {
	unpack wc-s4096-dirty
	remember cache
	dm writecache-repair -y cache --block-size=512
	status_is 16
	dm writecache-repair -y cache --seq-count=7
	status_is 16
	dm writecache-repair -n cache --side-file=x
	status_is 16
	dm writecache-repair -y cache --dry-run --side-file=x
	status_is 16
	unchanged cache
	[ ! -e x ]
}
