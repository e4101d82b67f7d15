#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# writecache-check of every cache that the kernel made, and how it says what it found.

load ../lib/common

setup() {
	failed=
	cd "$BATS_TEST_TMPDIR" || return 1
}

# what an independent look at the bytes says: "ENTRIES SUPERSEDED UNCOMMITTED", sectors from START on
count() {
	"$PYTHON" - "$1" "$2" <<'PY'
import struct, sys
raw = open(sys.argv[1], "rb").read()[int(sys.argv[2]) * 512:]
magic, version, block, pad, n, seq = struct.unpack_from("<IIIIQQ", raw)
sectors, committed, uncommitted = set(), 0, 0
for sector, s in struct.iter_unpack("<QQ", raw[64:64 + 16 * n]):
    if s < seq:
        sectors.add(sector)
        committed += 1
    elif s == seq:
        uncommitted += 1
print(n, committed - len(sectors), uncommitted)
PY
}

said() {
	json "[.findings[] | select(.code == \"$1\") | .count] | add // 0"
}

# run `look NAME START` for every fixture; tell all that fail
each() {
	local name nr=0 start
	for name in $(fixtures writecache); do
		nr=$((nr + 1))
		start=$(manifest "writecache/$name" '.expected.table | capture("start_sector (?<n>[0-9]+)").n' 2>/dev/null)
		fixture "writecache/$name" cache cache >/dev/null
		fixture "writecache/$name" origin origin >/dev/null
		look "$name" "${start:-0}" >said 2>&1 || {
			[ -n "$failed" ] || sed "s/^/$name: /" said | tail -n 30
			failed="$failed $name"
		}
	done
	[ $nr -ge 19 ] || {
		echo "$nr fixtures, expected at least 19"
		return 1
	}
	equal "$failed" ""
}

@test "writecache-check: a cache that the kernel left is clean, and what a crash left is a note" {
	look() {
		local n superseded uncommitted
		read -r n superseded uncommitted < <(count cache "$2")
		remember cache origin
		dm writecache-check cache origin --start-sector="$2" --data --json && status_is 0 && valid_json &&
			unchanged cache origin || return 1
		equal "$(json '.summary | "\(.clean) \(.fatal) \(.repairable) \(.warnings) \(.loss) \(.records)"')" \
			"true 0 0 0 0 $n" || return 1
		equal "$(said writecache.entry.superseded)" "$superseded" superseded || return 1
		equal "$(said writecache.entry.uncommitted)" "$uncommitted" uncommitted || return 1
		equal "$(json .summary.notes)" $((superseded + uncommitted)) notes || return 1
		equal "$(json '[.not_checked[].rule // .not_checked[].number] | map(tostring) | join(" ")')" "21 22 27"
	}
	each
}

@test "writecache-check: --strict minds nothing that the kernel left" {
	look() {
		dm writecache-check cache --start-sector="$2" --strict && status_is 0 && says "summary: clean" &&
			says_not areas
	}
	each
}

@test "writecache-check: each loser is named with the entry that wins" {
	fixture writecache/wc-p4096-dup cache cache >/dev/null
	dm writecache-check cache
	status_is 0
	says "entry 4: original_sector 32, seq_count 0: superseded by entry 120, which wins because its seq_count 1 is higher"
	equal "$(grep -c 'entry.superseded\]' <<<"$output")" 17
	dm writecache-check cache --max-findings=2
	status_is 0
	says "more of this kind (15 times)"
	dm writecache-check cache --json-lines
	status_is 0
	valid_lines
}

# poke FILE OFFSET BYTES (as printf writes them)
poke() {
	# shellcheck disable=SC2059
	printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

@test "writecache-check: a superblock that was rolled back is said with both ways out" {
	fixture writecache/wc-s4096-dirty cache cache >/dev/null
	poke cache 24 '\0\0\0\0\0\0\0\0'
	dm writecache-check cache
	status_is 4
	says "SILENTLY DROPS"
	says "--seq-count=max"
	says "--seq-count=max+1"
	says "summary: damaged"
	dm writecache-check cache --json
	status_is 4
	valid_json
	equal "$(json '.findings[0] | "\(.code) \(.severity)"')" \
		"writecache.entry.newer_than_superblock fatal"
}

@test "writecache-check: a device that was cut names what is lost, one by one" {
	fixture writecache/wc-s4096-dirty cache cache >/dev/null
	truncate -s 200K cache
	dm writecache-check cache --json --max-findings=1000
	status_is 4
	valid_json
	local lost
	lost=$("$PYTHON" - cache <<'PY'
import struct, sys
raw = open(sys.argv[1], "rb").read()
_, _, block, _, n, seq = struct.unpack_from("<IIIIQQ", raw)
off = (64 + 16 * n + block - 1) // block * block
new = {}
for i in range(n):
    sector, s = struct.unpack_from("<QQ", raw, 64 + 16 * i)
    if s < seq and (s, i) >= new.get(sector, (-1, -1)):
        new[sector] = (s, i)
gone = sorted(i for s, i in new.values() if off + (i + 1) * block > len(raw))
print(" ".join(map(str, gone)))
PY
	)
	[ -n "$lost" ]
	equal "$(json '[.findings[] | select(.code == "writecache.entry.block_beyond_device") | .record] | sort | map(tostring) | join(" ")')" "$lost"
	equal "$(json .summary.loss)" "$(wc -w <<<"$lost")"
}

@test "writecache-check: the origin's size is enough to see blocks past its end" {
	fixture writecache/wc-s4096-dirty cache cache >/dev/null
	dm writecache-check cache --origin-size=8 --json
	status_is 0
	valid_json
	[ "$(json .summary.warnings)" -gt 100 ]
	equal "$(json .summary.loss)" "$(json .summary.warnings)"
	dm writecache-check cache --origin-size=8 --strict
	status_is 4
}
