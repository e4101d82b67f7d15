#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# writecache-dump and writecache-restore: superblock and entries there and back, byte for byte.

load ../lib/common

setup() {
	cd "$BATS_TEST_TMPDIR" || return 1
}

table() {
	"$TOP/tests/lib/wcshown" --table "$@"
}

start_of() {
	manifest "writecache/$1" '.expected.table | capture("start_sector (?<s>[0-9]+)").s // "0"' | grep . || echo 0
}

# unpack NAME: cache, and $start
unpack() {
	fixture "writecache/$1" cache cache >/dev/null
	start=$(start_of "$1")
}

@test "dump: every cache of the kernel: into a new file, in both forms" {
	local name form
	for name in $(fixtures writecache); do
		unpack "$name"
		remember cache
		for form in json json-lines; do
			rm -f new
			dm writecache-dump cache --start-sector "$start" --$form
			status_is 0
			if [ $form = json ]; then valid_json; else valid_lines; fi
			printf '%s\n' "$output" >dump
			dm writecache-restore dump --output new --json
			status_is 0
			valid_json
			equal "$(json .new_file)" true
			equal "$(stat -c %s new)" "$(stat -c %s cache)" size
			cmp <(table new "$start") <(table cache "$start")
			# the same dump again
			dm writecache-dump new --start-sector "$start" --$form
			status_is 0
			printf '%s\n' "$output" | sed 's/"device": *"new"/"device":"cache"/' |
				cmp - <(sed 's/"device": *"cache"/"device":"cache"/' dump)
		done
		unchanged cache
	done
}

@test "dump: every cache of the kernel: in place, over what has become of it" {
	local name n
	for name in $(fixtures writecache); do
		unpack "$name"
		cp cache kept
		"$DMTOOL" writecache-dump cache --start-sector "$start" --json-lines >dump
		n=$(head -n 1 dump | jq .n_blocks)
		# another epoch, and entries that are something else
		put cache $((start * 512 + 24)) "$(le64 77)"
		head -c $((16 * (n < 300 ? n : 300))) /dev/urandom |
			dd of=cache bs=1 seek=$((start * 512 + 64)) conv=notrunc status=none
		dm writecache-restore dump --output cache --json
		status_is 0
		valid_json
		equal "$(json .new_file)" false
		cmp cache kept
		# what was overwritten comes back as well
		dm undo "$(json .undo.file)"
		status_is 0
		equal "$("$DMTOOL" writecache-info cache --start-sector "$start" --json | jq .superblock.seq_count)" 77
	done
}

@test "dump: padding, stale sectors and damage go along" {
	unpack wc-p4096-crash
	put cache 12 efbeadde
	put cache 37 0102030405
	put cache 63 ff
	# newer than the superblock; absurd sectors
	put cache $((64 + 16 * 40)) "$(le64 -3)$(le64 4611686018427387904)"
	"$DMTOOL" writecache-dump cache --json-lines >dump
	dm writecache-restore dump --output new
	status_is 0
	cmp <(table new) <(table cache)
	"$DMTOOL" writecache-dump cache --json >dump
	cp cache kept
	dd if=/dev/zero of=cache bs=1 seek=32 count=32 conv=notrunc status=none
	dm writecache-restore dump --output cache --no-undo
	status_is 0
	cmp cache kept
}

@test "dump: to another place, and where it was if nothing else is said" {
	unpack wc-s4096-start
	"$DMTOOL" writecache-dump cache --start-sector 2048 --json-lines >dump
	dm writecache-restore dump --output here
	status_is 0
	cmp <(table here 2048) <(table cache 2048)
	equal "$(stat -c %s here)" "$(stat -c %s cache)"
	dm writecache-restore dump --output new --start-sector 0
	status_is 0
	cmp <(table new) <(table cache 2048)
	equal "$(stat -c %s new)" $(($(stat -c %s cache) - 2048 * 512))
	dm writecache-restore dump --output far --start-sector 4096
	status_is 0
	cmp <(table far 4096) <(table cache 2048)
	# an existing one that is smaller by what lay before it
	cp new kept
	put new 24 "$(le64 99)"
	dm writecache-restore dump --output new --start-sector 0 --no-undo
	status_is 0
	cmp new kept
	remember new
	dm writecache-restore dump --output new --no-undo
	status_is 8
	one_message
	unchanged new
	dm writecache-restore dump --output new --start-sector 99999 --no-undo
	status_is 8
	one_message
	unchanged new
}

@test "dump: a destination that is another cache, or none, is left as it was" {
	local name
	unpack wc-s4096-dirty
	"$DMTOOL" writecache-dump cache --json-lines >dump
	for name in wc-s4096-clean wc-s512-dirty; do
		fixture "writecache/$name" cache other >/dev/null
		remember other
		dm writecache-restore dump --output other --no-undo
		status_is 8
		one_message
		unchanged other
	done
	truncate -s 8M blank
	remember blank
	dm writecache-restore dump --output blank --no-undo
	status_is 8
	one_message
	says "--metadata-only"
	unchanged blank
	dm writecache-restore dump --output blank --no-undo --metadata-only --dry-run --json
	status_is 0
	valid_json
	unchanged blank
	json .writes >planned
	dm writecache-restore dump --output blank --no-undo --metadata-only --list-writes --json
	status_is 0
	valid_json
	json .writes | cmp - planned
	cmp <(table blank) <(table cache)
	# a smaller one; another format's dump
	truncate -s 16K small
	dm writecache-restore dump --output small --no-undo --metadata-only
	status_is 8
	one_message
	fixture snapshot/snap-c8-some cow cow >/dev/null
	"$DMTOOL" snapshot-dump cow --json-lines >other
	dm writecache-restore other --output new
	status_is 8
	one_message
	[ ! -e new ]
	dm snapshot-restore dump --output new
	status_is 8
	one_message
	[ ! -e new ]
}

# broken SED-EXPRESSION: neither a new file nor a changed one
broken() {
	sed "$1" dump >bad
	! cmp -s bad dump || return 1
	dm writecache-restore bad --output new && status_is 8 && one_message && [ ! -e new ] || return 1
	dm writecache-restore bad --output cache --no-undo && status_is 8 && one_message && unchanged cache
}

@test "dump: a dump that is not whole, or not itself, restores nothing" {
	unpack wc-s4096-full
	remember cache
	"$DMTOOL" writecache-dump cache --json-lines >dump
	last=$(wc -l <dump)
	broken "${last}d"
	broken '7d'
	broken '7p'
	broken '7s/"seq_count":[0-9]*/"seq_count":12/'
	broken '1s/"n_blocks":[0-9]*/"n_blocks":255/'
	broken '1s/"n_blocks":[0-9]*/"n_blocks":0/'
	broken '1s/"n_blocks":[0-9]*/"n_blocks":18446744073709551615/'
	broken '1s/"seq_count":[0-9]*/"seq_count":1/'
	broken '1s/"block_size":4096/"block_size":4097/'
	broken '1s/"block_size":4096/"block_size":8192/'
	broken '1s/"magic":"0x[0-9a-f]*"/"magic":"0x00000000"/'
	broken '1s/"version":1/"version":2/'
	broken '1s/"start_sector":0,*//'
	broken "$last"'s/"metadata_crc32c":"0x[0-9a-f]*"/"metadata_crc32c":"0x00000001"/'
	broken "$last"'s/"nr_entries":[0-9]*/"nr_entries":253/'
	broken '8s/.*/{"offset":32,"bytes":"00"}/'
}

@test "dump: a cache that was cut short goes back as it was" {
	unpack wc-s4096-full
	truncate -s $(($(stat -c %s cache) - 3 * 4096)) cache
	cp cache kept
	"$DMTOOL" writecache-dump cache --json-lines >dump
	put cache 24 "$(le64 99)"
	dm writecache-restore dump --output cache --no-undo
	status_is 0
	says warning
	cmp cache kept
}

@test "dump: --resolved is what the kernel would serve, every cache of the kernel" {
	local name runs
	for name in $(fixtures writecache); do
		unpack "$name"
		dm writecache-dump cache --start-sector "$start" --resolved
		status_is 0
		# number, original sector, sector of the cache, length: whatever is in front of them
		runs=$(awk 'NF == 4 && /^[ 0-9]+$/ { print $2, $3, $4 }' <<<"$output")
		equal "$runs" "$("$TOP/tests/lib/wcshown" --runs cache "$start")" "$name"
	done
}
