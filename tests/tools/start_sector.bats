#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A cache that does not begin at the start of its device: the commands of no family find it too.

load ../lib/common

setup() {
	cd "$BATS_TEST_TMPDIR" || return 1
	for image in cache origin expected; do
		fixture writecache/wc-s4096-start $image $image >/dev/null
	done
}

@test "start_sector: probe tells where it is, and finds it there" {
	dm probe cache --json
	status_is 4
	equal "$(json '.candidates[] | select(.format == "writecache") | .reason | test("--start-sector=2048")')" true
	dm probe cache --start-sector 2048 --json
	status_is 0
	valid_json
	equal "$(json .format)" writecache
	equal "$(json '.candidates[0].offset')" 1048576
	dm probe cache --start-sector 1M --udev
	status_is 0
	says ID_DMFMT_OFFSET=1048576
	dm probe cache --start-sector 8192
	status_is 8
	says "start_sector is 8192"
}

@test "start_sector: an image keeps it, without what lies around" {
	dm image cache --start-sector 2048 --output saved --json
	status_is 0
	valid_json
	# one superblock and the entries; nothing in front of them, nothing behind
	dm writecache-info cache --start-sector 2048 --json
	bytes=$((64 + 16 * $(json .superblock.n_blocks)))
	dm image saved --expand --output expanded
	status_is 0
	for file in cache expanded; do
		tail -c +$((1048576 + 1)) "$file" | head -c "$bytes" >"$file.metadata"
	done
	cmp cache.metadata expanded.metadata
	# all else is zero
	head -c "$(stat -c %s cache)" /dev/zero >zeros
	cp expanded rest
	dd if=zeros of=rest bs=1 seek=1048576 count="$bytes" conv=notrunc status=none
	cmp rest zeros
}

@test "start_sector: cat shows what the kernel shows" {
	# shellcheck disable=SC2016 # for the shell inside
	run -0 bash -c '"$1" cat cache origin --start-sector 2048 | cmp - expected' bash "$DMTOOL"
	dm cat cache origin --length 0
	status_is 4 8
}

@test "start_sector: and so does nbdkit" {
	[ -e "$BUILD/nbdkit-dmfmt-plugin.so" ] || skip "the plugin was not built: nbdkit's header is not here"
	[ -z "${DMFMT_SANITIZED-}" ] || skip "nbdkit itself is not built with the sanitizers"
	command -v nbdcopy >/dev/null || skip "nbdcopy is not here"
	serve() {
		run timeout 60 nbdkit -U - "$BUILD/nbdkit-dmfmt-plugin.so" cache origin=origin "${@:2}" --run "$1"
	}
	# shellcheck disable=SC2016 # nbdkit's shell knows it
	serve 'nbdcopy "$uri" out' start-sector=2048
	equal "$status" 0 "$output"
	cmp out expected
	serve true
	[ "$status" -ne 0 ]
	serve true start-sector=far
	[ "$status" -ne 0 ]
}
