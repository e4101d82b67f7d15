#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Images for bug reports: what is wrong with a store is wrong with its image in the same way.

load ../lib/common

setup() { cd "$BATS_TEST_TMPDIR" || return 1; }

# findings with all their numbers; the path that a suggestion may name is not theirs, and whether two
# chunks hold the same data an image cannot tell
findings() {
	"$DMTOOL" snapshot-check --json "$@" >json 2>err || [ $? -le 7 ] || {
		cat err
		return 1
	}
	jq -c '.findings[] | del(.suggestion) | if .code | test("duplicate_same_data$|old_chunk_duplicate$") then
		{code: (.code | sub("_same_data$"; "")), record, record2, offset} else . end' json
}

# kind and number of each finding
kinds() {
	findings "$@" | jq -r '"\(.severity) \(.code) \(.count)"' | sort
}

# the damaged images, and the options with which they are checked
damaged() {
	local folder
	for folder in "$TOP"/tests/images/snapshot/*/; do
		"$BUILD/tests/lib/mkimage" "$folder/image" store || return 1
		options=()
		[ ! -e "$folder/check" ] || read -r -a options <"$folder/check"
		compare "$(basename "$folder")" >said 2>&1 || {
			cat said
			failed="$failed $(basename "$folder")"
		}
		rm -f store saved expanded
	done
	equal "$failed" ""
}

@test "image: an expanded image gives the same findings, number for number" {
	compare() {
		findings "${options[@]}" store >before
		# no image can be made of what is no store at all: its reason is enough
		dm image store --format snapshot --output saved --include-suspect || return 1
		[ "$status" -ne 8 ] || { equal "$(jq -r '.summary.areas' json)" 0; return; }
		status_is 0
		dm image --expand saved --output expanded
		status_is 0
		findings "${options[@]}" expanded >after
		# which of them is worse depends on data that an image does not have
		diff <(sort before) <(sort after)
	}
	failed=
	damaged
}

@test "image: without suspect areas nothing of them is in it" {
	# with a wrong chunk size, what lies where areas would be is somebody's data
	cow=$(fixture snap-c8-some)
	put "$cow" 12 "$(le32 16)"
	dm image "$cow" --output saved --json
	status_is 0
	[ "$(json .image.left_out)" -gt 0 ]
	dm image --expand saved --output expanded
	status_is 0
	# of the pattern that fills the data no sector is left
	run grep -c pattern expanded
	equal "$output" 0
}

@test "image: an obfuscated image gives the same kinds of findings" {
	compare() {
		kinds "${options[@]}" store >before
		# the size of the origin is part of what must stay true
		local size=() i
		for ((i = 0; i < ${#options[@]}; i++)); do
			case ${options[i]} in
			--origin-size) size=(--origin-size "${options[i + 1]}") ;;
			--origin-size=*) size=("${options[i]}") ;;
			esac
		done
		dm image store --format snapshot --output saved --obfuscate "${size[@]}" || return 1
		[ "$status" -ne 8 ] || return 0
		status_is 0
		dm image store --format snapshot --output plain
		dm image --expand plain --output expanded
		kinds "${options[@]}" expanded >before
		rm -f plain expanded
		dm image --expand saved --output expanded
		status_is 0
		kinds "${options[@]}" expanded >after
		diff before after
	}
	failed=
	damaged
}

@test "image: obfuscation moves addresses, differently each time, and keeps their runs" {
	cow=$(fixture snap-c8-3areas)
	dumped() { "$DMTOOL" snapshot-dump --json-lines "$1" | sed 1d | grep old_chunk; }
	for round in 1 2; do
		dm image "$cow" --output "saved.$round" --obfuscate
		status_is 0
		dm image --expand "saved.$round" --output "expanded.$round"
		status_is 0
	done
	run cmp <(dumped "$cow") <(dumped expanded.1)
	[ "$status" -eq 1 ]
	run cmp <(dumped expanded.1) <(dumped expanded.2)
	[ "$status" -eq 1 ]
	# new_chunk and the lengths of runs are as they were
	cmp <(dumped "$cow" | jq .new_chunk) <(dumped expanded.1 | jq .new_chunk)
	runs() { "$DMTOOL" snapshot-ls --json "$1" | jq -c '[.runs[].nr_sectors]'; }
	equal "$(runs expanded.1)" "$(runs "$cow")"
	# most addresses are elsewhere
	same=$(paste -d' ' <(dumped "$cow" | jq .old_chunk) <(dumped expanded.1 | jq .old_chunk) |
		awk '$1 == $2' | wc -l)
	[ "$same" -lt 100 ]
}

@test "image: what is no image, and an image that is cut or changed" {
	cow=$(fixture snap-c8-some)
	dm image --expand "$cow" --output expanded
	status_is 8
	one_message
	[ ! -e expanded ]
	dm image "$cow" --output saved
	bytes=$(stat -c %s saved)
	for length in 0 1 100 $((bytes / 2)) $((bytes - 1)); do
		head -c "$length" saved >part
		dm image --expand part --output expanded
		status_is 8
		one_message
		[ ! -e expanded ]
	done
	put saved $((bytes / 2)) ff00ff00
	dm image --expand saved --output expanded
	status_is 8
	one_message
	[ ! -e expanded ]
}

@test "image: an existing file is not overwritten, wrong combinations are refused" {
	cow=$(fixture snap-c8-some)
	echo mine >saved
	dm image "$cow" --output saved
	status_is 8
	equal "$(cat saved)" mine
	dm image "$cow" --output other --obfuscate --include-suspect
	status_is 8 16
	one_message 2
	[ ! -e other ]
	dm image --expand "$cow" --obfuscate --output other
	status_is 16
}

@test "image: zstd unpacks it, and says that it is whole" {
	cow=$(fixture snap-c8-3areas)
	dm image "$cow" --output saved
	zstd -tq saved
	equal "$(zstd -dcq saved | head -c 8)" DMFMTIMG
	[ "$(stat -c %s saved)" -lt 10000 ]
}
