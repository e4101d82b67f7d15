#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# snapshot-convert: whatever the chunk size and the device, the new store shows what the kernel showed
# with the old one.

load ../lib/common

setup() {
	failed=
	cd "$BATS_TEST_TMPDIR" || return 1
}

# the fixtures that are valid stores
valid_fixtures() {
	local name
	for name in $(fixtures snapshot); do
		[ "$(manifest "snapshot/$name" .expected.logical_sha256)" = null ] || echo "$name"
	done
}

unpack() {
	fixture "$1" cow cow >/dev/null
	fixture "$1" origin origin >/dev/null
}

# shows STORE ORIGIN SHA256: read by the test's own reader
shows() {
	"$DMTOOL" snapshot-dump --json-lines "$1" >dump || return 1
	equal "$("$TOP/tests/lib/shown" dump "$2" "$1" | sha256sum | cut -d' ' -f1)" "$3" content
}

# all old_chunk of a store below this number, ascending and none twice; new_chunk as dense as can be
ordered() {
	jq -es --argjson limit "$2" '(.[0].chunk_size * 32) as $e | [.[] | select(has("new_chunk") and (has("area") | not))] |
		([.[].old_chunk] | . == (sort | unique) and all(. < $limit)) and
		([to_entries[] | .value.new_chunk == (.key / $e | floor) + 2 + .key] | all)' "$1" >/dev/null || {
		echo "$1: not dense, not in order, or past the end $2"
		return 1
	}
}

# convert FIXTURE SIZE
convert_one() {
	local sectors want
	sectors=$(manifest "snapshot/$1" .parameters.origin_sectors)
	want=$(manifest "snapshot/$1" .expected.logical_sha256)
	rm -f new
	dm snapshot-convert cow origin --chunk-size "$2" --output new --json && status_is 0 && valid_json || return 1
	equal "$(json .store.chunk_size)" "$2" && equal "$(json .new_file)" true || return 1
	equal "$(stat -c %s new)" "$(($(json .store.needed_sectors) * 512))" size || return 1
	shows new origin "$want" && ordered dump $(((sectors + $2 - 1) / $2)) || return 1
	dm snapshot-check new origin --data --strict && status_is 0
}

# each FIXTURE ...: to every chunk size but its own
each_size() {
	local name size own
	for name in "$@"; do
		unpack "$name"
		remember cow origin
		own=$(manifest "snapshot/$name" .parameters.chunk_sectors)
		for size in 1 2 8 16 32 64 128 256; do
			[ "$size" -ne "$own" ] || continue
			convert_one "$name" "$size" >said 2>&1 || {
				[ -n "$failed" ] || tail -n 30 said
				failed="$failed $name:$size"
			}
		done
		unchanged cow origin
	done
	equal "$failed" ""
}

@test "convert: every store of the kernel, to every chunk size: the first half" {
	mapfile -t names < <(valid_fixtures)
	[ "${#names[@]}" -ge 12 ]
	each_size "${names[@]:0:$((${#names[@]} / 2))}"
}

@test "convert: every store of the kernel, to every chunk size: the second half" {
	mapfile -t names < <(valid_fixtures)
	each_size "${names[@]:$((${#names[@]} / 2))}"
}

@test "convert: an export of the new store is what the kernel showed" {
	local name size
	for name in $(valid_fixtures); do
		unpack "$name"
		for size in 4 512; do
			rm -f new image
			dm snapshot-convert cow origin --chunk-size $size --output new
			status_is 0
			dm snapshot-export new origin --output image
			status_is 0
			equal "$(sha256sum <image | cut -d' ' -f1)" \
				"$(manifest "snapshot/$name" .expected.logical_sha256)" "$name $size"
		done
	done
}

@test "convert: there and back again gives the same bytes" {
	local size
	unpack snap-c8-some
	dm snapshot-convert cow origin --output compact
	status_is 0
	for size in 1 2 4; do
		dm snapshot-convert cow origin --chunk-size $size --output split
		status_is 0
		dm snapshot-convert split origin --chunk-size 8 --output back
		status_is 0
		cmp back compact
		rm split back
	done
}

@test "convert: compacting twice changes nothing, and needs no origin" {
	local name
	for name in $(valid_fixtures); do
		unpack "$name"
		rm -f one two
		dm snapshot-convert cow --output one
		status_is 0
		shows one origin "$(manifest "snapshot/$name" .expected.logical_sha256)"
		dm snapshot-convert one --output two
		status_is 0
		cmp one two
	done
}

@test "convert: an existing larger file keeps its size, and old data do not shine through" {
	local size
	unpack snap-c32-some
	head -c 24M /dev/zero | tr '\0' '\245' >new
	for size in 4K 16K 128K; do
		dm snapshot-convert cow origin --chunk-size $size --output new --force --json
		status_is 0
		valid_json
		equal "$(json .new_file)" false
		equal "$(stat -c %s new)" $((24 << 20))
		shows new origin "$(manifest snapshot/snap-c32-some .expected.logical_sha256)"
		dm snapshot-check new origin --data
		status_is 0
	done
	# without --force the store that is there now stays
	remember new
	dm snapshot-convert cow origin --chunk-size 8 --output new
	status_is 8
	says "exception store"
	one_message
	unchanged new
}

@test "convert: a destination that is too small is left as it was, and both numbers are said" {
	local needed
	unpack snap-c8-3areas
	dm snapshot-convert cow origin --chunk-size 16 --output new --json
	status_is 0
	needed=$(json .store.needed_sectors)
	truncate -s $(((needed - 1) * 512)) small
	remember small
	dm snapshot-convert cow origin --chunk-size 16 --output small
	status_is 8
	one_message
	says "$((needed - 1)) sectors, expected at least $needed"
	unchanged small
	truncate -s $((needed * 512)) small
	dm snapshot-convert cow origin --chunk-size 16 --output small
	status_is 0
	cmp small new
	# likewise for a file that is to be made
	dm snapshot-convert cow origin --chunk-size 16 --output other --size $((needed - 1))
	status_is 8
	says "expected at least $needed"
	[ ! -e other ]
	dm snapshot-convert cow origin --chunk-size 16 --output other --size 64M
	status_is 0 && equal "$(stat -c %s other)" $((64 << 20))
	dm snapshot-convert cow origin --chunk-size 16 --output other --size 64M
	status_is 16
	one_message 2
}

@test "convert: a new file that did not come about leaves nothing behind" {
	fixture snap-c8-invalid cow cow >/dev/null
	fixture snap-c8-invalid origin origin >/dev/null
	mkdir dir
	dm snapshot-convert cow origin --chunk-size 16 --output dir/new
	status_is 4
	one_message
	equal "$(ls -A dir)" ""
	unpack snap-c8-some
	dm snapshot-convert cow --chunk-size 16 --output dir/new
	status_is 16
	says "expected the origin to be given"
	equal "$(ls -A dir)" ""
	dm snapshot-convert cow --chunk-size 4 --output dir/new
	status_is 16
	says "origin"
	equal "$(ls -A dir)" ""
	dm snapshot-convert cow --chunk-size 12 --output dir/new
	status_is 16
	says "power of two"
	equal "$(ls -A dir)" ""
	dm snapshot-convert cow --chunk-size 4 --origin-size "$(manifest snapshot/snap-c8-some .parameters.origin_sectors)" \
		--output dir/new
	status_is 0
	equal "$(ls -A dir)" new
	shows dir/new origin "$(manifest snapshot/snap-c8-some .expected.logical_sha256)"
}

@test "convert: the last chunk of an origin may be a part of one" {
	local size
	unpack snap-c8-some
	# the kernel's data over an origin that ends inside a chunk: what is past its end is let go
	sectors=$(manifest snapshot/snap-c8-some .parameters.origin_sectors)
	truncate -s $(((sectors - 3) * 512)) origin
	"$DMTOOL" snapshot-dump --json-lines cow >dump
	want=$("$TOP/tests/lib/shown" dump origin cow | sha256sum | cut -d' ' -f1)
	for size in 1 2 4 16 1024; do
		dm snapshot-convert cow origin --chunk-size $size --output new
		status_is 0
		shows new origin "$want"
		ordered dump $(((sectors - 3 + size - 1) / size))
		dm snapshot-check new origin
		status_is 0
		rm new
	done
}

@test "convert: very large chunks, in little memory" {
	local size
	unpack snap-c8-some
	for size in 64M 1G; do
		dm snapshot-convert cow origin --chunk-size $size --memory 16M --output new
		status_is 0
		dm snapshot-check new origin
		status_is 0
		# holes where there is nothing
		[ "$(stat -c %b new)" -lt 65536 ]
		dm snapshot-convert new origin --chunk-size 8 --memory 16M --output back
		status_is 0
		shows back origin "$(manifest snapshot/snap-c8-some .expected.logical_sha256)"
		rm new back
	done
}

@test "convert: names that are wrong are said to be" {
	unpack snap-c8-some
	remember cow origin
	dm snapshot-convert cow origin
	status_is 16
	says "--output is missing"
	dm snapshot-convert cow origin --output cow
	status_is 16
	dm snapshot-convert cow origin --output origin --force
	status_is 16
	ln cow again
	dm snapshot-convert cow origin --output again --force
	status_is 16
	dm snapshot-convert cow origin --output nowhere/new
	status_is 8
	one_message
	dm snapshot-convert nowhere origin --output new
	status_is 8
	one_message
	dm snapshot-convert origin cow --output new
	status_is 16
	says swapped
	unchanged cow origin
	[ ! -e new ]
}

@test "convert: an origin with another fingerprint is refused" {
	unpack snap-c8-some
	dm fingerprint origin --output print
	status_is 0
	dm snapshot-convert cow origin --origin-fingerprint print --chunk-size 32 --output new
	status_is 0
	rm new
	truncate -s 1M origin
	dm snapshot-convert cow origin --origin-fingerprint print --chunk-size 32 --output new
	status_is 4
	[ ! -e new ]
}

@test "convert: over a larger store nothing of it looks alive" {
	fixture snap-c8-3areas cow large >/dev/null
	unpack snap-c8-some
	dm snapshot-convert large --output new --size 16M
	status_is 0
	dm snapshot-convert cow --output new --force
	status_is 0
	dm snapshot-check new origin --data --strict
	status_is 0
	shows new origin "$(manifest snapshot/snap-c8-some .expected.logical_sha256)"
}

@test "convert: a size at which the kernel would invalidate a full store is warned of" {
	unpack snap-c8-some
	dm snapshot-convert cow --output new --size $((258 * 8))
	status_is 0
	says "warning"
	says "258 chunks"
	dm snapshot-convert cow --output other --size $((259 * 8))
	status_is 0
	equal "$stderr" ""
}

# ---- qcow2 ----

need_qemu() {
	command -v qemu-img qemu-io >/dev/null || skip "qemu-img is not there"
}

# an origin of SIZE and an overlay with options
overlay() {
	head -c "$1" /dev/urandom >origin
	qemu-img create -q -f qcow2 -b origin -F raw "${@:2}" overlay
}

io() {
	qemu-io -f qcow2 overlay "$@" >io.log 2>&1
}

# what the overlay shows, by qemu
qemu_shows() {
	qemu-img convert -O raw overlay raw && sha256sum <raw | cut -d' ' -f1
}

import() {
	rm -f new
	dm snapshot-convert overlay origin --from qcow2 --chunk-size "$1" --output new "${@:2}"
}

@test "convert: a qcow2 overlay becomes a store: writes aligned and not, zeros, discards" {
	need_qemu
	local cluster size
	for cluster in 512 4096 65536 2M; do
		rm -f overlay
		overlay 8M -o cluster_size=$cluster
		io -c 'write -P 1 0 64k' -c 'write -P 2 100k 1000' -c 'write -P 3 3000k 12345' -c 'write -z 1M 128k' \
			-c 'write -z -u 1300k 64k' -c 'discard 2M 512k' -c 'write -P 4 8191k 1k' \
			-c 'write -P 5 1100k 4k' -c 'write -P 0 5M 256k'
		remember overlay origin
		for size in 1 8 16 128 1024; do
			import $size --json
			status_is 0
			valid_json
			equal "$(json .from)" qcow2
			shows new origin "$(qemu_shows)"
			dm snapshot-check new origin --data
			status_is 0
		done
		unchanged overlay origin
	done
}

@test "convert: a random overlay" {
	need_qemu
	local round
	RANDOM=3
	for round in 1 2 3 4 5 6; do
		rm -f overlay
		overlay 4M -o "cluster_size=$((512 << RANDOM % 8)),extended_l2=off"
		args=()
		while [ ${#args[@]} -lt 80 ]; do
			case $((RANDOM % 4)) in
			0) args+=(-c "write -z $((RANDOM * 100 % 4000000 / 512 * 512)) $((RANDOM / 512 * 512 + 512))") ;;
			1) args+=(-c "discard $((RANDOM % 60 * 65536)) 65536") ;;
			*) args+=(-c "write -P $((RANDOM % 256)) $((RANDOM * 100 % 4000000)) $((RANDOM + 1))") ;;
			esac
		done
		io "${args[@]}"
		import $((1 << round))
		status_is 0
		shows new origin "$(qemu_shows)"
	done
}

@test "convert: an overlay in which nothing changed is an empty store" {
	need_qemu
	overlay 1M
	import 8 --json
	status_is 0
	equal "$(json .store.nr_exceptions)" 0
	dm snapshot-check new origin
	status_is 0
	# and one in which everything did
	io -c 'write -P 7 0 1M'
	import 8 --json
	status_is 0
	equal "$(json .store.nr_exceptions)" 256
	shows new origin "$(qemu_shows)"
}

@test "convert: overlays that are none are refused with a way out" {
	need_qemu
	overlay 1M
	io -c 'write -P 7 0 64k'
	# compressed; and the way that the message names
	cp overlay kept
	io -c 'write -c -P 5 128k 64k'
	import 8
	status_is 8
	one_message
	says compressed
	says "qemu-img convert"
	qemu-img convert -O qcow2 -B origin -F raw overlay way
	mv way overlay
	import 8
	status_is 0
	shows new origin "$(qemu_shows)"
	# no backing file; a chain; another size; another format; external data; encrypted
	mv kept overlay
	qemu-img create -q -f qcow2 alone 1M
	qemu-img create -q -f qcow2 -b overlay -F qcow2 top
	qemu-img create -q -f qcow2 -b origin -F raw large 2M
	qemu-img create -q -f qcow2 -b origin -F raw small 512k
	qemu-img create -q -f qcow2 -b origin -F raw -o data_file=outside external
	qemu-img create -q -f qcow2 -b origin -F raw --object secret,id=s,data=abc \
		-o encrypt.format=aes,encrypt.key-secret=s secret
	cp origin plain
	for name in "alone:backing file" "top:chain" "large:virtual size" "small:virtual size" \
		"external:external data" "secret:encrypted" "plain:qcow2"; do
		dm snapshot-convert "${name%%:*}" origin --from qcow2 --chunk-size 8 --output new2
		status_is 8
		one_message
		says "${name#*:}"
		[ ! -e new2 ]
	done
	dm snapshot-convert overlay --from qcow2 --chunk-size 8 --output new2
	status_is 16
	says ORIGIN
	dm snapshot-convert overlay origin --from qcow2 --output new2
	status_is 16
	says --chunk-size
	dm snapshot-convert overlay origin --from qcow2 --chunk-size 8 --origin-size 8 --output new2
	status_is 16
	# in use
	qemu-io -f qcow2 overlay -c 'sleep 3000' >/dev/null 2>&1 3>&- &
	local user=$!
	sleep 0.5
	dm snapshot-convert overlay origin --from qcow2 --chunk-size 8 --output new2
	wait $user
	status_is 8
	one_message
	[ ! -e new2 ]
}

@test "convert: names are names, not options or protocols, and a backing file is not opened" {
	need_qemu
	overlay 1M
	io -c 'write -P 7 0 64k'
	for name in 'a,b=c' 'nbd:x' -- '-o' 'json:{}' 'with space'; do
		cp overlay "./$name"
		rm -f new
		dm snapshot-convert --from qcow2 --chunk-size 8 --output new -- "$name" origin
		status_is 0
		cp "./$name" overlay.copy
		shows new origin "$(qemu_shows)"
	done
	# a backing file that would block whoever opened it
	mkfifo trap
	qemu-img rebase -u -F raw -b trap overlay
	import 8
	status_is 0
	says warning
	says trap
}

@test "convert: without qemu-img it says what is missing; when it fails, why" {
	overlay 1M || skip "qemu-img is not there"
	mkdir bin
	export PATH=$BATS_TEST_TMPDIR/bin:$PATH
	printf '#!/bin/sh\necho "qemu-img: a reason" >&2\nexit 1\n' >bin/qemu-img
	chmod +x bin/qemu-img
	import 8
	status_is 8
	one_message
	says "a reason"
	# answers that are none
	for text in '' '[' '{' '[1]' '{"virtual-size": 1048576, "backing-filename": "origin"}'; do
		printf '#!/bin/sh\necho '"'%s'"'\n' "$text" >bin/qemu-img
		import 8
		status_is 8
		one_message 2
		[ ! -e new ]
	done
	for text in '[{"start": 0}]' '[{"start": 512, "length": 512, "present": true, "zero": true}, {"start": 0, "length": 512, "present": true, "zero": true}]' \
		'[{"start": 0, "length": 99999999, "present": true, "zero": true}]' '[{"start": 1, "length": 1, "present": true, "offset": 0}]' \
		'[{"start": 0, "length": 512, "present": [1]}]' '[{"start": 0, "length": 512, "present": true, "zero": true}'; do
		cat >bin/qemu-img <<-END
			#!/bin/sh
			[ "\$1" = map ] && echo '$text' || echo '{"virtual-size": 1048576, "backing-filename": "origin"}'
		END
		import 8
		status_is 8
		one_message 1
		[ ! -e new ]
	done
	# nothing found under the name
	cp "$DMTOOL" tool
	run --separate-stderr env PATH=/nonexistent ./tool snapshot-convert overlay origin --from qcow2 --chunk-size 8 --output new
	status_is 8
	says "qemu-utils"
}
