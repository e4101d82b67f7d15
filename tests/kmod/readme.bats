#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The rescue that README.md opens with, typed again in the guest, says what README.md shows: /dev/vda and
# /dev/pmem0 are the crashed pair of tests/fixtures/writecache-ext4.

load lib.sh

PAIR=$FIXTURES/writecache-ext4

session() { "$TOP/tests/lib/session" "$TOP/README.md" tests/kmod/readme.bats "$1"; }

setup_file() {
	local d=$BATS_FILE_TMPDIR
	session show >"$d/shown"
	session commands >"$d/session"
	xz -dc "$PAIR/origin.img.xz" >"$d/origin"
	xz -dc "$PAIR/cache.img.xz" >"$d/cache"
	boot "$KMOD/scripts/session.sh" --disk "$d/origin" --pmem "$d/cache" --module ext4 \
		--with "$d/session:/guest/session" --with "$PAIR/files.sha256:/root/files.sha256"
}

setup() { need_guest; }

@test "readme: the rescue says what it is shown to say" {
	[ "$(wc -l <"$BATS_FILE_TMPDIR/session")" -ge 5 ]
	diff -u "$BATS_FILE_TMPDIR/shown" "$BATS_FILE_TMPDIR/out"
}

@test "readme: it is a rescue: check, flush, mount, every file" {
	for word in writecache-check writecache-flush "mount /dev/vda" sha256sum; do
		grep -q "$word" "$BATS_FILE_TMPDIR/session"
	done
	equal "$(tail -n 1 "$BATS_FILE_TMPDIR/out")" "$(wc -l <"$PAIR/files.sha256")"
	e2fsck=$(PATH=$PATH:/sbin:/usr/sbin command -v e2fsck)
	"$e2fsck" -fn "$BATS_FILE_TMPDIR/origin"
}
