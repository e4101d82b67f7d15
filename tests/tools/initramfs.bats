#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What runs in an initramfs before a cache is activated, with a shell as small as the one there.

load ../lib/common

setup() {
	cd "$BATS_TEST_TMPDIR" || return 1
	mkdir bin
	ln -s "$DMTOOL" bin/dmtool
	ln -s dmtool bin/fsck.dm_writecache
	PATH=$BATS_TEST_TMPDIR/bin:$PATH
	# shellcheck disable=SC2016 # for the script
	echo 'panic() { echo "PANIC $*"; }' >functions
	export DMTOOL_CACHES=$PWD/caches DMTOOL_FUNCTIONS=$PWD/functions DMTOOL_WAIT=1
	fixture writecache/wc-s4096-dup cache cache.img >/dev/null
}

boot() {
	run timeout 60 dash "$TOP/initramfs/scripts/init-premount/dmtool" "$@" </dev/null
	printf '%s\n' "$status" "$output"
	[ "$status" -eq 0 ]
}

@test "initramfs: the script says what it needs, and does nothing without a list" {
	boot prereqs
	equal "$output" udev
	boot
	equal "$output" ""
}

@test "initramfs: a cache after a crash lets the boot go on, and stays as it is" {
	fixture writecache/wc-s4096-start cache start.img >/dev/null
	printf '# ours\n\n%s\n%s 2048\n' "$PWD/cache.img" "$PWD/start.img" >caches
	remember cache.img start.img
	boot
	says_not PANIC
	equal "$(grep -c "^device" <<<"$output")" 2
	unchanged cache.img start.img
}

@test "initramfs: what loses nothing is mended" {
	put cache.img $((64 + 16 * 126 + 8)) 0000000000000000
	echo "$PWD/cache.img" >caches
	boot
	says_not PANIC
	says mended
	dm writecache-check cache.img
	status_is 0
}

@test "initramfs: a cache that a kernel would damage stops the boot, and the others are looked at too" {
	cp cache.img sound.img
	# the superblock of an earlier moment
	put cache.img 24 0000000000000000
	printf '%s\n%s\n' "$PWD/cache.img" "$PWD/sound.img" >caches
	remember cache.img sound.img
	boot
	says "PANIC dmtool: $PWD/cache.img"
	says "$PWD/sound.img"
	equal "$(grep -c PANIC <<<"$output")" 1
	unchanged cache.img sound.img
}

@test "initramfs: a cache that is not there, or that is none, stops the boot" {
	head -c 64K /dev/zero >blank.img
	printf '%s\n%s\n' "$PWD/not-there" "$PWD/blank.img" >caches
	boot
	says "PANIC dmtool: $PWD/not-there: the cache is not there"
	says "PANIC dmtool: $PWD/blank.img: the cache is damaged"
}

@test "initramfs: the hook brings the tool, its names, the script's list and the modules" {
	mkdir -p hooks/usr destdir
	# what initramfs-tools offers to hooks
	cat >functions <<-'END'
	copy_exec() { mkdir -p "$(dirname "$DESTDIR$2")"
	cp "$1" "$DESTDIR$2"; }
	manual_add_modules() { printf '%s\n' "$@" >"$DESTDIR/modules"; }
	END
	echo "/dev/pmem0" >caches
	export DESTDIR=$PWD/destdir
	DMTOOL=$DMTOOL DMTOOL_HOOK_FUNCTIONS=$PWD/functions run dash "$TOP/initramfs/hooks/dmtool"
	echo "$output"
	[ "$status" -eq 0 ]
	cmp "$DMTOOL" destdir/sbin/dmtool
	equal "$(readlink destdir/sbin/fsck.DM_snapshot_cow)" dmtool
	equal "$(readlink destdir/sbin/fsck.dm_writecache)" dmtool
	cmp caches destdir/etc/dmtool/caches
	equal "$(sort destdir/modules | tr '\n' ' ')" "dm-snapshot dm-writecache "
	# every name that fsck looks for
	jq -r '.commands[].fsck | select(.)' < <("$DMTOOL" --describe) | while read -r name; do
		[ -L "destdir/sbin/$name" ] || echo "$name: not linked"
	done >out
	equal "$(cat out)" ""
}
