#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# snapshot-delta: what differs, never less.

load ../lib/common

setup() {
	cd "$BATS_TEST_TMPDIR" || return 1
}

triple() {
	rm -f cow origin expected
	fixture "$1" cow cow >/dev/null && fixture "$1" origin origin >/dev/null &&
		fixture "$1" expected expected >/dev/null
}

valid() {
	local name
	for name in $(fixtures snapshot); do
		[ "$(manifest "snapshot/$name" .expected.logical_sha256)" = null ] || echo "$name"
	done
}

# the sectors in which two files differ, as runs: differing A B
differing() {
	"$PYTHON" - "$1" "$2" <<-'END'
		import sys
		a, b = (open(name, "rb").read() for name in sys.argv[1:])
		first = None
		for i in range(0, len(a) + 512, 512):
		    differs = i < len(a) and a[i:i + 512] != b[i:i + 512]
		    if differs and first is None:
		        first = i // 512
		    if not differs and first is not None:
		        print(first, i // 512 - first)
		        first = None
	END
}

# the ranges of the last document
ranges() {
	jq -r '.ranges[] | "\(.origin_sector) \(.nr_sectors)"' <<<"$output"
}

@test "delta: --exact lists exactly the sectors that differ" {
	local name
	for name in $(valid); do
		triple "$name"
		dm snapshot-delta cow --origin origin --exact --json
		status_is 0
		valid_json
		equal "$(ranges)" "$(differing origin expected)" "$name"
		equal "$(json .total_sectors)" "$(differing origin expected | awk '{ n += $2 } END { print n + 0 }')"
	done
}

@test "delta: without it no difference is missed, and nothing is said twice" {
	local name
	for name in $(valid); do
		triple "$name"
		dm snapshot-delta cow --origin origin --json
		status_is 0
		valid_json
		ranges >said
		differing origin expected >real
		"$PYTHON" - <<-'END'
			said = [tuple(map(int, line.split())) for line in open("said")]
			real = [tuple(map(int, line.split())) for line in open("real")]
			end = -1
			for start, nr in said:
			    assert start > end and nr, (start, nr)
			    end = start + nr
			for start, nr in real:
			    assert any(s <= start and start + nr <= s + n for s, n in said), (start, nr)
		END
	done
}

@test "delta: text, lines and the two ways to ask for JSON say the same" {
	triple snap-c8-some
	dm snapshot-delta cow --origin origin --format json
	status_is 0
	ranges >a
	dm snapshot-delta cow --origin origin --json-lines
	status_is 0
	valid_lines
	jq -r 'select(has("origin_sector")) | "\(.origin_sector) \(.nr_sectors)"' <<<"$output" >b
	[ -s b ] || jq -r '.ranges[]? | "\(.origin_sector) \(.nr_sectors)"' <<<"$output" >b
	cmp a b
	dm snapshot-delta cow --origin origin --format text
	status_is 0
	says "$(cut -d' ' -f1 a | tail -n 1)"
	dm snapshot-delta cow --json --format text
	status_is 16
}

@test "delta: two snapshots of one origin" {
	head -c $((64 * 4096)) /dev/urandom >origin
	for name in a b; do
		truncate -s 0 $name
		truncate -s 512K $name
		"$DMTOOL" snapshot-create $name --chunk-size 8 --no-undo >/dev/null
	done
	# a: 3, 5, 7    b: 5 (the same data), 7 (other data), 9
	put a 4096 "$(le64 3)$(le64 2)$(le64 5)$(le64 3)$(le64 7)$(le64 4)"
	put b 4096 "$(le64 5)$(le64 2)$(le64 7)$(le64 3)$(le64 9)$(le64 4)"
	head -c 4096 /dev/urandom >x
	dd if=x of=a bs=4096 seek=3 conv=notrunc status=none
	dd if=x of=b bs=4096 seek=2 conv=notrunc status=none
	"$DMTOOL" snapshot-export a origin --output a.view >/dev/null
	"$DMTOOL" snapshot-export b origin --output b.view >/dev/null
	dm snapshot-delta a b --origin origin --exact --json
	status_is 0
	valid_json
	equal "$(ranges)" "$(differing a.view b.view)"
	equal "$(ranges)" "$(printf '24 8\n72 8')"
	dm snapshot-delta a b --json
	status_is 0
	equal "$(ranges)" "$(printf '24 8\n40 8\n56 8\n72 8')"
	# chunks of another size
	dm snapshot-convert b --origin origin --chunk-size 16 --output c
	status_is 0
	dm snapshot-delta a c --origin origin --exact --json
	status_is 0
	equal "$(ranges)" "$(differing a.view b.view)"
	dm snapshot-delta a a
	status_is 16
}

@test "delta: a block map that bmaptool copies by" {
	command -v bmaptool >/dev/null || skip "bmaptool is not here"
	local name
	for name in snap-c8-some snap-c32-2areas; do
		triple "$name"
		"$DMTOOL" snapshot-delta cow --origin origin --format bmap >map
		rm -f copy
		run bmaptool copy --bmap map expected copy
		equal "$status" 0 "$output"
		# the mapped blocks, laid over the origin, make the snapshot
		"$PYTHON" - <<-'END'
			import re
			copy, origin = open("copy", "rb").read(), bytearray(open("origin", "rb").read())
			for line in open("map"):
			    m = re.search(r"<Range> (\d+)(?:-(\d+))? </Range>", line)
			    if m:
			        first, last = int(m[1]), int(m[2] or m[1])
			        origin[first * 4096:(last + 1) * 4096] = copy[first * 4096:(last + 1) * 4096]
			assert origin == open("expected", "rb").read()
		END
		# its checksum is looked at
		sed 's/<BlocksCount> \([0-9]*\)/<BlocksCount> 1\1/' map >bad
		run bmaptool copy --bmap bad expected copy2
		[ "$status" -ne 0 ]
	done
}

@test "delta: what it refuses" {
	triple snap-c8-some
	dm snapshot-delta cow --exact
	status_is 16
	says "--origin"
	dm snapshot-delta cow --format bmap
	status_is 16
	says "size"
	dm snapshot-delta cow origin
	status_is 4
	one_message
	fixture snap-c8-invalid cow bad >/dev/null
	dm snapshot-delta bad
	status_is 4
	one_message
	dm snapshot-delta cow bad
	status_is 4
	one_message
	truncate -s 1M origin
	dm snapshot-delta cow --origin origin
	status_is 4
}
