#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# writecache-flush: the origin alone becomes what the kernel showed, and every entry of the cache is free.

load ../lib/common

setup() {
	cd "$BATS_TEST_TMPDIR" || return 1
}

# triple NAME: its images; $at is the option that it needs
triple() {
	local role sector
	for role in cache origin expected; do
		rm -f $role
		fixture "writecache/$1" $role $role >/dev/null || return 1
	done
	sector=$(manifest "writecache/$1" .expected.table | sed -n 's/.*start_sector \([0-9]*\).*/\1/p')
	at=--start-sector=${sector:-0}
	start=$((512 * ${sector:-0}))
}

flushed() {
	cmp origin expected
}

# every entry is free, check has nothing to say, and the cache is else what it was: clean BEFORE
clean() {
	"$DMTOOL" writecache-dump --json-lines "$at" cache | sed '1d;$d' >after
	"$DMTOOL" writecache-dump --json-lines "$at" "$1" | sed '1d;$d' >before
	equal "$(sed 's/.*"seq_count":\([0-9]*\)}/\1/' after | sort -u)" 18446744073709551615
	cmp <(cut -d, -f1 before) <(cut -d, -f1 after)
	cmp -n $((start + 64)) cache "$1"
	local data
	data=$("$DMTOOL" writecache-info "$at" cache --json | jq .geometry.metadata_bytes)
	cmp -i $((start + data)) cache "$1"
	dm writecache-check cache origin "$at" --strict && status_is 0
	dm writecache-info cache "$at" --json &&
		equal "$(json .entries.free)" "$(json .superblock.n_blocks)" "free entries"
}

dirty() {
	"$DMTOOL" writecache-info "$at" cache --json | jq .entries.dirty_blocks
}

# entry I SECTOR SEQ: write it
entry() {
	put cache $((start + 64 + 16 * $1)) "$(le64 "$2")$(le64 "$3")"
}

# the original_sectors that are committed, ascending
committed() {
	"$DMTOOL" writecache-dump --json-lines "$at" cache | jq -r --argjson s \
		"$("$DMTOOL" writecache-info "$at" cache --json | jq .superblock.seq_count)" \
		'select(has("original_sector") and .seq_count < $s) | .original_sector' | sort -n
}

# where the last range of a map ends that is finished
end_of() {
	local pos=0 size=0
	grep -q '+$' "$1" && read -r pos size _ < <(grep '+$' "$1" | tail -n 1)
	echo $((pos + size))
}

# a run in the background, slow enough to be met; $slow is its process
slow() {
	"$DMTOOL" writecache-flush cache origin "$at" --rate=512K --progress=json >slow.out 2>slow.err 3>&- &
	slow=$!
	for _ in $(seq 100); do
		grep -q '"writing back"' slow.err && return
		sleep 0.05
	done
	cat slow.err
	return 1
}

# the worked example of the format's page: 15 blocks of 4096 bytes, their first byte is their number
example() {
	local i
	rm -f cache origin expected
	at=--start-sector=0 start=0
	truncate -s 64K cache
	head -c $((5000 * 512)) /dev/urandom >origin
	put cache 0 "21934823 01000000 00100000 00000000 $(le64 15) $(le64 3)"
	for i in $(seq 0 14); do
		entry "$i" -1 -1
		head -c 4096 /dev/urandom | dd of=cache bs=4096 seek=$((i + 1)) conv=notrunc status=none
	done
	entry 0 16 0
	entry 1 24 0
	entry 2 2048 1
	entry 4 4096 -1
	entry 5 2048 2
	entry 6 8192 3
	cp origin expected
	lay 0 16
	lay 1 24
	lay 5 2048
}

# lay ENTRY SECTOR [BYTES]: its block is what the origin ought to have there
lay() {
	dd if=cache of=expected bs=512 skip=$((8 * ($1 + 1))) seek="$2" count=$((${3:-4096} / 512)) conv=notrunc \
		status=none
}

@test "flush: every fixture's origin becomes what the kernel showed, and every entry is free" {
	local name nr=0 before
	for name in $(fixtures writecache); do
		triple "$name"
		cp cache cache.before
		before=$(dirty)
		dm writecache-flush cache origin "$at" --json
		status_is 0
		valid_json
		equal "$(json .flush.records)" "$before" "$name: records"
		equal "$(json .flush.left)" 0 "$name: left"
		equal "$(json .flush.failed)" 0 "$name: failed"
		flushed
		clean cache.before
		# once more: nothing to do, nothing changes
		remember cache origin
		dm writecache-flush cache origin "$at"
		status_is 0
		says "the cache is clean: every entry is free"
		unchanged cache origin
		nr=$((nr + 1))
	done
	[ $nr -eq 19 ]
}

@test "flush: with --verify, in little memory, and as text" {
	local name
	for name in wc-p512-crash wc-s4096-dup wc-s4096-start; do
		triple $name
		cp cache cache.before
		dm writecache-flush cache origin "$at" --verify --memory=16M
		status_is 0
		says verified
		says "cannot be undone"
		says "the cache is clean"
		says_not snapshot
		says_not merge
		flushed
		clean cache.before
	done
}

@test "flush: a dry run changes nothing and says what the real run does" {
	local name said
	for name in wc-p4096-dup wc-s512-crash wc-s4096-fresh; do
		triple $name
		remember cache origin
		dm writecache-flush cache origin --dry-run --json
		status_is 0
		valid_json
		unchanged cache origin
		said=$(json '.flush | del(.left)')
		equal "$(json .flush.left)" "$(json .flush.records)"
		dm writecache-flush cache origin --json
		status_is 0
		equal "$(json '.flush | del(.left)')" "$said"
	done
}

@test "flush: a patch laid over the origin is what the kernel showed" {
	local name nr=0 held
	for name in $(fixtures writecache); do
		triple "$name"
		rm -f patch map
		remember cache origin
		held=$(dirty)
		dm writecache-flush cache origin "$at" --to=patch --mapfile=map --verify --json
		status_is 0
		valid_json
		equal "$(json .flush.records)" "$held" "$name: records"
		equal "$(json .to)" patch
		unchanged cache origin
		equal "$(stat -c %s patch)" "$(stat -c %s origin)"
		ddrescuelog -t map
		equal "$(grep -c '+$' map)" "$(json .flush.writes)" "$name: ranges"
		ddrescue -q --domain-mapfile=map patch origin
		flushed
		# the same without the origin: up to the end of the last block
		rm patch
		dm writecache-flush cache "$at" --to=patch --json
		status_is 0
		valid_json
		equal "$(json .flush.records)" "$held"
		equal "$(json .origin)" null
		equal "$(stat -c %s patch)" "$(end_of map)"
		fixture "writecache/$name" origin origin >/dev/null
		ddrescue -q --domain-mapfile=map patch origin
		flushed
		nr=$((nr + 1))
	done
	[ $nr -eq 19 ]
}

@test "flush: zeros of the cache are zeros of the origin, and no holes of a patch" {
	triple wc-s4096-dirty
	local sector e
	read -r e sector < <("$DMTOOL" writecache-dump --json-lines cache |
		jq -r 'select(has("original_sector"))|"\(.seq_count) \(.original_sector)"' |
		awk '$1 == 0 { print NR - 1, $2; exit }')
	data=$("$DMTOOL" writecache-info cache --json | jq .geometry.metadata_bytes)
	fallocate -p -o $((data + 4096 * e)) -l 4096 cache
	head -c 8M /dev/zero | tr '\0' '\377' >origin
	dm writecache-flush cache origin --to=patch --mapfile=map
	status_is 0
	"$PYTHON" - patch map <<-'END'
	import os
	import sys

	patch = os.open(sys.argv[1], os.O_RDONLY)
	lines = [l.split() for l in open(sys.argv[2]) if not l.startswith("#")][1:]
	held = [(int(a, 16), int(a, 16) + int(b, 16)) for a, b, c in lines if c == "+"]
	data, at, end = [], 0, os.fstat(patch).st_size
	while True:
	    try:
	        start = os.lseek(patch, at, os.SEEK_DATA)
	    except OSError:
	        break
	    at = os.lseek(patch, start, os.SEEK_HOLE)
	    data.append((start, at))
	joined = []
	for a, b in held:
	    if joined and joined[-1][1] == a:
	        joined[-1] = (joined[-1][0], b)
	    else:
	        joined.append((a, b))
	sys.exit(0 if held and data == joined else "data %s, expected %s" % (data[:5], joined[:5]))
	END
	cmp -n 4096 -i $((512 * sector)):0 patch /dev/zero
	dm writecache-flush cache origin
	status_is 0
	cmp -n 4096 -i $((512 * sector)):0 origin /dev/zero
}

@test "flush: the worked example: losers and uncommitted entries go, sectors and seq_count stay" {
	example
	cp cache cache.before
	dm writecache-flush cache origin --json
	status_is 0
	equal "$(json .flush.records)" 3
	equal "$(json .flush.writes)" 2
	flushed
	clean cache.before
	# the older copy behind the newer one; an equal one: the higher index
	example
	entry 9 2048 0
	entry 10 24 0
	lay 10 24
	cp cache cache.before
	dm writecache-flush cache origin --json
	status_is 0
	equal "$(json .flush.records)" 3
	flushed
	clean cache.before
}

@test "flush: what makes the kernel drop or mistake blocks is refused, and nothing changes" {
	local what
	while read -r what; do
		example
		eval "$what"
		remember cache origin
		dm writecache-flush cache origin --keep-going --accept-loss=7
		status_is 4
		one_message
		dm writecache-flush cache origin --dry-run
		status_is 4
		dm writecache-flush cache origin --to=patch
		status_is 4
		[ ! -e patch ]
		unchanged cache origin
	done <<-'END'
	put cache 0 "$(le64 0)"
	put cache 0 20934823
	put cache 4 02000000
	put cache 8 00020000
	put cache 16 "$(le64 0)"
	put cache 16 "$(le64 16)"
	put cache 24 "$(le64 1)"
	put cache 24 "$(le64 -1)"
	entry 0 19 0
	entry 0 -8 0
	put cache 0 00000000
	END
	equal "$(find . -name '*.tmp')" ""
}

@test "flush: what does not matter does not stop it" {
	local what
	while read -r what; do
		example
		eval "$what"
		dm writecache-flush cache origin
		status_is 0
		flushed
	done <<-'END'
	put cache 12 efbeadde
	put cache 40 ffffffff
	put cache 16 "$(le64 12)"
	truncate -s 1M cache
	put cache 304 ffffffffffffffff0000000000000000
	END
}

@test "flush: blocks past the end of the origin are dropped only if their number is accepted" {
	local n
	triple wc-s4096-dirty
	truncate -s 4M origin expected
	n=$("$DMTOOL" writecache-check cache origin --json | jq .summary.loss)
	[ "$n" -gt 10 ]
	remember cache origin
	for option in "" --keep-going "--accept-loss=$((n - 1))" "--accept-loss=$((n + 1))" --accept-loss=0; do
		dm writecache-flush cache origin $option
		status_is 4
		says "$n blocks lie past the end of the origin, expected --accept-loss=$n"
		one_message
		unchanged cache origin
	done
	dm writecache-flush cache origin --to=patch
	status_is 4
	dm writecache-flush cache origin --to=patch --mapfile=map --accept-loss="$n" --json
	status_is 0
	valid_json
	equal "$(json .flush.bytes_beyond)" $((4096 * n))
	equal "$(stat -c %s patch)" 4194304
	cp origin laid
	ddrescue -q --domain-mapfile=map patch laid
	cmp laid expected
	unchanged cache origin
	cp cache cache.before
	dm writecache-flush cache origin --accept-loss="$n" --json
	status_is 0
	valid_json
	equal "$(json .flush.bytes_beyond)" $((4096 * n))
	equal "$(json .flush.left)" 0
	flushed
	clean cache.before
}

@test "flush: the last block of an origin may be cut off" {
	example
	truncate -s $((2048 * 512 + 1536)) origin expected
	lay 5 2048 1536
	truncate -s $((2048 * 512 + 1536)) expected
	dm writecache-flush cache origin --to=patch
	status_is 0
	equal "$(stat -c %s patch)" $((2048 * 512 + 1536))
	dm writecache-flush cache origin --verify
	status_is 0
	flushed
}

@test "flush: a truncated cache gives what is left, and says what is lost" {
	local n
	triple wc-s4096-dirty
	# the cut goes through the dirty blocks
	data=$("$DMTOOL" writecache-info cache --json | jq .geometry.metadata_bytes)
	truncate -s $((data + 100 * 4096)) cache
	n=$("$DMTOOL" writecache-check cache origin --json | jq .summary.loss)
	[ "$n" -gt 10 ]
	remember cache origin
	for option in "" --keep-going "--accept-loss=$n" "--keep-going --accept-loss=$((n - 1))"; do
		# shellcheck disable=SC2086
		dm writecache-flush cache origin $option
		status_is 4
		says "$n blocks are lost, expected --keep-going --accept-loss=$n"
		unchanged cache origin
	done
	"$DMTOOL" writecache-check cache origin --json --max-findings=100000 |
		jq -r '.findings[] | select(.code == "writecache.entry.block_beyond_device") | .origin_sector' |
		sort -n >lost
	equal "$(wc -l <lost)" "$n"
	# what is expected there is the origin's own
	while read -r sector; do
		dd if=origin of=expected bs=512 skip="$sector" seek="$sector" count=8 conv=notrunc status=none
	done <lost
	dm writecache-flush cache origin --to=patch --mapfile=map --keep-going --accept-loss="$n" --json
	status_is 4
	valid_json
	equal "$(json .flush.failed)" "$n"
	cp origin laid
	ddrescue -q --domain-mapfile=map patch laid
	cmp laid expected
	unchanged cache origin
	rm map
	dm writecache-flush cache origin --keep-going --accept-loss="$n" --mapfile=map --json
	status_is 4
	valid_json
	equal "$(json .flush.failed)" "$n"
	equal "$(json .flush.left)" "$n"
	equal "$(json '[.failures[].length] | add')" $((4096 * n))
	flushed
	committed | cmp - lost
	cmp <(ddrescuelog -b 512 -l- map | awk '$1 % 8 == 0' | sort -n) lost
	# once more: nothing is left to do but to say it again
	remember cache origin
	dm writecache-flush cache origin --keep-going --accept-loss="$n" --json
	status_is 4
	equal "$(json .flush.records)" 0
	unchanged cache origin
}

@test "flush: a cache that lost only free blocks needs that to be said" {
	example
	truncate -s 60K cache
	dm writecache-flush cache origin
	status_is 4
	says "0 blocks are lost, expected --keep-going --accept-loss=0"
	dm writecache-flush cache origin --keep-going --accept-loss=0
	status_is 0
	flushed
}

# 252 blocks whose n_blocks says 508; block 0 is all ones, so there are free entries behind the others
up_over_ones() {
	"$BUILD/tests/lib/mkcache" "$TOP/tests/images/writecache/092-n-up-over-ones/image" cache
	head -c 512K /dev/urandom >origin
}

@test "flush: what may be a damaged n_blocks is no cut device, unless somebody vouches for it" {
	up_over_ones
	remember cache origin
	dm writecache-flush cache origin --keep-going --accept-loss=0
	status_is 4
	says "no block that is missing"
	unchanged cache origin
	dm writecache-flush cache origin --device-was-cut
	status_is 4
	says "expected --keep-going --accept-loss=0"
	unchanged cache origin
	dm writecache-flush cache origin --keep-going --accept-loss=0 --device-was-cut --dry-run --json
	status_is 0
	equal "$(json .flush.records)" 35
	unchanged cache origin
	dm writecache-flush cache origin --keep-going --accept-loss=0 --device-was-cut
	status_is 0
}

@test "flush: an n_blocks that was made smaller stops it, whatever else is damaged there" {
	local image
	for image in 088-n-cuts-odd-past-origin 089-n-cuts-odd-unaligned 090-n-cuts-two-zero; do
		"$BUILD/tests/lib/mkcache" "$TOP/tests/images/writecache/$image/image" cache
		head -c 512K /dev/urandom >origin
		remember cache origin
		dm writecache-flush cache origin
		status_is 4
		says "entries follow"
		unchanged cache origin
		dm writecache-convert cache --resize
		status_is 4
		unchanged cache
	done
}

@test "flush: what makes no sense is a usage error" {
	triple wc-s4096-dirty
	remember cache origin
	dm writecache-flush cache
	status_is 16
	says "ORIGIN is missing"
	dm writecache-flush cache cache
	status_is 16
	dm writecache-flush origin cache
	status_is 16
	says swapped
	dm writecache-flush cache origin --mapfile=map
	status_is 16
	says --to
	dm writecache-flush cache origin --dry-run --save=s
	status_is 16
	dm writecache-flush cache origin --dry-run --mapfile=m --keep-going
	status_is 16
	dm writecache-flush cache origin --to=p --undo=u
	status_is 16
	dm writecache-flush cache origin --to=p --dry-run
	status_is 16
	dm writecache-flush cache --to=p --origin-fingerprint=f
	status_is 16
	dm writecache-flush cache origin --rate=0
	status_is 16
	dm writecache-flush cache origin --only-snapshot
	status_is 16
	dm writecache-flush cache origin --start-sector=99999999
	status_is 8
	dm writecache-flush cache missing
	status_is 8
	echo mine >taken
	dm writecache-flush cache origin --to=taken
	status_is 8
	dm writecache-flush cache origin --to=p --mapfile=taken
	status_is 8
	equal "$(cat taken)" mine
	equal "$(find . -name 'p' -o -name '*.tmp')" ""
	unchanged cache origin
}

@test "flush: without its start_sector a cache is not found, and nothing changes" {
	triple wc-s4096-start
	remember cache origin
	dm writecache-flush cache origin
	status_is 4 8
	unchanged cache origin
}

@test "flush: --save and --undo take everything back" {
	local name
	for name in wc-p4096-dup wc-s4096-start; do
		triple $name
		rm -f saved undone
		remember cache origin
		dm writecache-flush cache origin "$at" --save=saved --undo=undone --json
		status_is 0
		valid_json
		equal "$(json .reversible)" true
		equal "$(json .save.file)" saved
		flushed
		dm undo saved
		status_is 0 1
		dm undo undone
		status_is 0 1
		unchanged cache origin
		dm writecache-flush cache origin "$at" --json
		equal "$(json .reversible)" false
	done
}

@test "flush: --origin-fingerprint finds a wrong origin" {
	triple wc-s4096-crash
	dm fingerprint origin --output=print --samples=2048
	status_is 0
	cp origin right
	committed | awk '{ print $1 / 8 }' >held
	# somebody wrote where the cache holds nothing
	for block in $(seq 1 2046 | grep -vxFf held | head -n 300); do
		dd if=/dev/urandom of=origin bs=4096 seek="$block" count=1 conv=notrunc status=none
	done
	remember cache origin
	dm writecache-flush cache origin --origin-fingerprint=print
	status_is 4
	dm writecache-flush cache origin --origin-fingerprint=print --to=patch
	status_is 4
	unchanged cache origin
	cp right origin
	dm writecache-flush cache origin --origin-fingerprint=print --json
	status_is 0
	equal "$(json .origin_proof)" fingerprint
	flushed
}

# ---- errors: a limit on the size of files makes writes behind it fail ----

@test "flush: stops at the first error, and goes on when the cause is gone" {
	local n
	triple wc-s4096-dirty
	n=$(dirty)
	(
		trap '' XFSZ
		ulimit -f 7000
		dm writecache-flush cache origin
		status_is 8
		one_message 2
	)
	dm writecache-check cache origin
	status_is 0
	equal "$(dirty)" "$n"
	dm writecache-flush cache origin
	status_is 0
	flushed
}

@test "flush: --keep-going leaves what fails, and maps it as ddrescue does" {
	local n all
	triple wc-s4096-dirty
	all=$(dirty)
	committed | awk '$1 >= 12000' >behind
	n=$(wc -l <behind)
	[ "$n" -gt 3 ]
	# the cache is small enough to be written: the origin is not
	trap '' XFSZ
	cp cache cache.before
	(
		ulimit -f 6000
		truncate -s 3M small || true
		dm writecache-flush cache origin --keep-going --mapfile=map --json
		printf '%s\n' "$output" >doc
	)
	equal "$(jq .schema doc)" '"dmtool.writecache-flush"'
	valid_json "$(cat doc)"
	equal "$(jq .flush.failed doc)" "$n"
	equal "$(jq .flush.left doc)" "$n"
	equal "$(jq .flush.records doc)" $((all - n))
	equal "$(jq '[.failures[].length] | add' doc)" $((4096 * n))
	committed | cmp - behind
	ddrescuelog -t map
	cmp <(ddrescuelog -b 512 -l- map | awk '$1 % 8 == 0' | sort -n) behind
	grep -q '^# 0x.*is on the store at 0x.*: write: ' map
	# the logical device is the same
	dm writecache-export cache origin --output=shown
	status_is 0
	cmp shown expected
	# the cause is gone
	dm writecache-flush cache origin --keep-going --mapfile=map2
	status_is 0
	flushed
	clean cache.before
	equal "$(grep -v '^#' map2 | tail -n 1 | tr -s ' ')" "0x00000000 0x00800000 +"
	# a map is not overwritten
	dm writecache-flush cache origin --keep-going --mapfile=map2
	status_is 8
}

@test "flush: a patch that does not fit gives one line, and no file" {
	triple wc-s4096-dirty
	remember cache origin
	(
		trap '' XFSZ
		ulimit -f 2048
		dm writecache-flush cache origin --to=patch --mapfile=map
		status_is 8
		one_message
	)
	[ ! -e patch ]
	[ ! -e map ]
	equal "$(find . -name '*.tmp')" ""
	unchanged cache origin
}

@test "flush: stops when asked, at a safe point, and goes on" {
	triple wc-s4096-dirty
	slow
	kill -INT $slow
	status=0
	wait $slow || status=$?
	status_is 32
	grep -q "run the command again" slow.err
	dm writecache-check cache origin
	status_is 0
	dm writecache-export cache origin --output=shown
	status_is 0
	cmp shown expected
	dm writecache-flush cache origin
	status_is 0
	flushed
}

@test "flush: killed at any moment, it goes on" {
	local wait
	for wait in 0 0.05 0.2 0.6; do
		triple wc-s4096-dirty
		slow
		sleep $wait
		kill -KILL $slow
		wait $slow || true
		dm writecache-check cache origin
		status_is 0
		rm -f shown
		dm writecache-export cache origin --output=shown
		status_is 0
		cmp shown expected
		dm writecache-flush cache origin
		status_is 0
		flushed
	done
}

@test "flush: two runs at once: the second is refused" {
	triple wc-s4096-dirty
	slow
	dm writecache-flush cache origin
	status_is 8
	one_message
	dm writecache-flush cache origin --to=patch
	status_is 8
	kill -INT $slow
	wait $slow || true
	dm writecache-flush cache origin
	status_is 0
	flushed
}
