#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The kernel finds a cache that writecache-flush has written back all free and the origin whole; it goes
# on where a flush was cut; and it shows the same over a converted cache.

load lib.sh

# every kind: both modes and block sizes, clean, dirty, crashed, duplicates, half written back, full, elsewhere
FLUSHED='wc-s4096-dirty wc-s4096-crash wc-s4096-dup wc-s4096-part wc-s4096-full wc-s4096-discard
wc-s4096-start wc-s512-crash wc-p4096-dup wc-p4096-crash wc-p4096-clean wc-p512-dirty'
# cut at work, and while the entries are being retired
CUT='wc-s4096-dup wc-s4096-start wc-p4096-dirty wc-s512-dirty'
STOPPED='wc-s4096-dup wc-p512-dirty'

manifest() { jq -r "$2" "$FIXTURES/writecache/$1/manifest.json"; }
table() { manifest "$1" ".expected.table | split(\" \") | $2"; }
start_of() { table "$1" 'if .[8] == "start_sector" then .[9] else 0 end'; }
sha() { sha256sum <"$1" | cut -d ' ' -f 1; }

dmtool() {
	local rc=0
	"$DMTOOL" "$@" >"$BATS_FILE_TMPDIR/dmtool.out" 2>&1 || rc=$?
	[ $rc -eq 0 ] || {
		echo "dmtool $*: status $rc"
		cat "$BATS_FILE_TMPDIR/dmtool.out"
		return 1
	} >&2
}

# images NAME: cache and origin of a fixture in $d; sets $start
images() {
	xz -dc "$FIXTURES/writecache/$1/cache.img.xz" >"$d/cache"
	xz -dc "$FIXTURES/writecache/$1/origin.img.xz" >"$d/origin"
	start=$(start_of "$1")
}

# send AS NAME HOW [BLOCK_SIZE START]: what lies in $d goes to the guest, to be attached as NAME's table says
send() {
	local mode
	mode=$(table "$2" '.[3]')
	pack_add "$1.origin" "$d/origin"
	if [ "$mode" = s ]; then
		pack_add "$1.cache" "$d/cache"
	else
		pmem_add "$1.cache" "$d/cache"
	fi
	echo "$1 $mode $1.origin $1.cache $(table "$2" '.[1]') ${4:-$(table "$2" '.[6]')}" \
		"${5:-$start} $3" >>"$d/list"
}

flush() { dmtool writecache-flush "$d/cache" "$d/origin" --start-sector "$start"; }

flushed() {
	images "$1"
	flush
	sha "$d/origin" >"$d/$1.flushed"
	send "flushed-$1" "$1" show
}

# cut_by SIGNAL NAME: while the copy is going on; a flush that is over, or has not begun, is no test
cut_by() {
	local pid name=$2 try rc
	for try in 0.2 0.4 0.1 0.8 1.6; do
		images "$name"
		"$DMTOOL" writecache-flush "$d/cache" "$d/origin" --start-sector "$start" --rate 1M \
			>/dev/null 2>&1 &
		pid=$!
		sleep $try
		kill -"$1" $pid 2>/dev/null || :
		rc=0
		wait $pid 2>/dev/null || rc=$?
		case $(sha "$d/origin") in
		"$(manifest "$name" .images.origin.sha256)" | "$(manifest "$name" .expected.logical_sha256)") ;;
		*)
			echo $rc >"$d/$name.$1"
			break
			;;
		esac
	done
}

killed() {
	cut_by KILL "$1"
	send "killed-$1" "$1" show,flush
}

# asked to end, it ends between two writes
stopped() {
	cut_by TERM "$1"
	send "stopped-$1" "$1" show,flush
}

# the sector of the metadata behind which half of the committed entries are
middle() {
	"$DMTOOL" writecache-dump --json-lines "$1" --start-sector "$start" | awk '
		/^{"original_sector"/ { nr++; if (!/:18446744073709551615}/) live[n++] = nr - 1 }
		END { print int((64 + 16 * live[int(n / 2)]) / 512) }'
}

# What killed() left (the losers are free, a part of the blocks is on the origin) comes to its end, but is
# cut while the entries are retired: of the metadata only the sectors before the middle have reached the cache.
retiring() {
	local name=$1
	cp "$d/cache" "$d/before"
	flush
	cp "$d/cache" "$d/after"
	cp "$d/before" "$d/cache"
	dd if="$d/after" of="$d/cache" bs=512 skip="$start" seek="$start" count="$(middle "$d/before")" \
		conv=notrunc status=none
	# a part of the blocks is retired, a part is not
	wc_info "$d/before" entries.committed --start-sector "$start" >"$d/$name.before"
	wc_info "$d/cache" entries.committed --start-sector "$start" >"$d/$name.half"
	send "retiring-$name" "$name" show,flush
}

# taken NAME: the kernel stopped with a flush half done (the fixture), dmtool goes on, is killed, goes on
taken() {
	killed "$1"
	flush
	sha "$d/origin" >"$d/$1.taken"
	send "taken-$1" "$1" show
}

# converted AS NAME BLOCK_SIZE START OPTION...: without another word the origin stays as it is
converted() {
	local as=$1 name=$2 b=$3 to=$4
	shift 4
	images "$name"
	rm -f "$d/new"
	dmtool writecache-convert "$d/cache" "$d/origin" --start-sector "$start" --block-size "$b" \
		--to-start-sector "$to" --output "$d/new" "$@"
	mv "$d/new" "$d/cache"
	wc_info "$d/cache" status.line --start-sector "$to" >"$d/$as.line"
	send "$as" "$name" show,flush "$b" "$to"
}

# as, name, block size, start_sector, options
CONVERTED='smaller wc-s4096-dirty 512 0 --size 32M
smaller-dup wc-s4096-dup 512 2048 --size 16M
smaller-pmem wc-p4096-dirty 512 0 --size 32M
larger wc-s512-dirty 4096 0 --size 32M
larger-crash wc-s512-crash 4096 0 --size 64M
moved wc-s4096-crash 4096 2048 --size 8M
back wc-s4096-start 4096 0 --size 4M
pages wc-p4096-crash 4096 8 --size 8M'

setup_file() {
	local name
	d=$BATS_FILE_TMPDIR
	export DMTOOL_UNDO_DIR=$d
	pack_begin
	for name in $FLUSHED; do
		flushed "$name"
	done
	for name in $CUT; do
		killed "$name"
		retiring "$name"
	done
	for name in $STOPPED; do
		stopped "$name"
	done
	taken wc-s4096-part
	while read -r line; do
		# shellcheck disable=SC2086 # its words
		converted $line
	done <<<"$CONVERTED"
	boot "$KMOD/scripts/writecache.sh" --disk "$PACK" --pmem "$PMEM" --timeout 500 \
		--with "$PACK_INDEX:/guest/index" --with "$PMEM_INDEX:/guest/index.pmem" \
		--with "$d/list:/guest/list"
}

setup() { need_guest; }

# all_free NAME KEY: a status that says that nothing is dirty and nothing went wrong
all_free() {
	local error n free _
	read -r error n free _ < <(got "$1" "$2")
	equal "$error $free" "0 $n" "$1 $2"
	[ "$n" -gt 0 ]
}

expected() { manifest "$1" .expected.logical_sha256; }

@test "writecache-flush: the kernel finds all blocks free, and reads what is expected" {
	for name in $FLUSHED; do
		equal "$(got "flushed-$name" result)" ok "$name"
		all_free "flushed-$name" status
		equal "$(got "flushed-$name" content)" "$(expected "$name")" "$name"
		equal "$(cat "$BATS_FILE_TMPDIR/$name.flushed")" "$(expected "$name")" "$name"
	done
}

@test "writecache-flush: the kernel shows the same over a flush that was killed" {
	for name in $CUT; do
		# it really was in the middle
		[ -e "$BATS_FILE_TMPDIR/$name.KILL" ]
		equal "$(got "killed-$name" content)" "$(expected "$name")" "$name"
	done
}

@test "writecache-flush: the kernel's own flush finishes what was killed" {
	for name in $CUT; do
		[ -z "$(got "killed-$name" flush)" ]
		all_free "killed-$name" flushed
		equal "$(got "killed-$name" origin)" "$(expected "$name")" "$name"
	done
}

@test "writecache-flush: stopped by a signal it says so, and the kernel goes on" {
	for name in $STOPPED; do
		equal "$(cat "$BATS_FILE_TMPDIR/$name.TERM")" 32 "$name"
		equal "$(got "stopped-$name" content)" "$(expected "$name")" "$name"
		[ -z "$(got "stopped-$name" flush)" ]
		all_free "stopped-$name" flushed
		equal "$(got "stopped-$name" origin)" "$(expected "$name")" "$name"
	done
}

@test "writecache-flush: cut while entries are retired, the kernel goes on" {
	for name in $CUT; do
		half=$(cat "$BATS_FILE_TMPDIR/$name.half")
		[ "$half" -gt 0 ]
		[ "$half" -lt "$(cat "$BATS_FILE_TMPDIR/$name.before")" ]
		equal "$(got "retiring-$name" content)" "$(expected "$name")" "$name"
		[ -z "$(got "retiring-$name" flush)" ]
		all_free "retiring-$name" flushed
		equal "$(got "retiring-$name" origin)" "$(expected "$name")" "$name"
	done
}

@test "writecache-flush: what the kernel left half written back is finished, also after a kill" {
	[ -e "$BATS_FILE_TMPDIR/wc-s4096-part.KILL" ]
	equal "$(cat "$BATS_FILE_TMPDIR/wc-s4096-part.taken")" "$(expected wc-s4096-part)"
	all_free taken-wc-s4096-part status
	equal "$(got taken-wc-s4096-part content)" "$(expected wc-s4096-part)"
}

@test "writecache-convert: the kernel shows the same content over every converted cache" {
	while read -r as name _; do
		equal "$(got "$as" result)" ok "$as"
		equal "$(cat "$BATS_FILE_TMPDIR/$as.line")" "$(got "$as" status | cut -d ' ' -f 1-4)" "$as"
		equal "$(got "$as" content)" "$(expected "$name")" "$as"
		# there is something to be shown
		read -r _ n free _ < <(got "$as" status)
		[ "$free" -lt "$n" ]
	done <<<"$CONVERTED"
}

@test "writecache-convert: and writes it back" {
	while read -r as name _; do
		[ -z "$(got "$as" flush)" ]
		all_free "$as" flushed
		equal "$(got "$as" origin)" "$(expected "$name")" "$as"
	done <<<"$CONVERTED"
}
