#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Other compilers, other targets, and what is installed.

load ../lib/common

# a build of its own: quiet unless it fails
build() {
	local dir=$1
	shift
	make -C "$TOP" -j2 "BUILD=$BUILD/$dir" "$@" 2>&1 | tail -n 40
	return "${PIPESTATUS[0]}"
}

@test "build: gcc has no warning" {
	build lint-gcc CC=gcc CFLAGS='-O2 -g -Werror' all test-programs
}

@test "build: clang has no warning" {
	build lint-clang CC=clang CFLAGS='-O2 -g -Werror' all test-programs
}

@test "build: without libdevmapper and liburing" {
	build lint-plain HAVE_DEVMAPPER= HAVE_URING= CFLAGS='-O1 -Werror' all
	run ldd "$BUILD/lint-plain/dmtool"
	[[ $output != *devmapper* && $output != *uring* ]]
	"$BUILD/lint-plain/dmtool" --version
}

@test "build: static, without libdevmapper" {
	make -C "$TOP" -j2 "BUILD=$BUILD/lint-static" static
	run ldd "$BUILD/lint-static/dmtool.static"
	[[ $output == *"not a dynamic executable"* ]]
	"$BUILD/lint-static/dmtool.static" --version
	cow=$(fixture snap-c8-some)
	run --separate-stderr "$BUILD/lint-static/dmtool.static" snapshot-check "$cow"
	[ "$status" -eq 0 ]
}

@test "build: a second make has nothing to do, another flag builds anew" {
	build lint-again CFLAGS=-O0 all
	run build lint-again CFLAGS=-O0 all
	[[ $output != *" CC "* && $output != *" LD "* ]]
	run build lint-again CFLAGS='-O0 -g0' all
	[[ $output == *" CC "* ]]
}

@test "build: V=1 shows the commands" {
	run make -C "$TOP" -n V=1 "BUILD=$BATS_TEST_TMPDIR/none" all
	[[ $output == *"-fvisibility=hidden"* ]]
}

@test "build: help names every target that is for people" {
	local target
	run make -C "$TOP" help
	for target in all check lint install uninstall demo bench clean help static deps fuzz \
		modules dkms-dist install-dkms check-kmod check-kmod-debug check-kmod-full try-kmod bench-kmod; do
		grep -qE "^ +$target " <<<"$output" || {
			echo "make help: $target is missing"
			return 1
		}
	done
}

@test "build: install puts everything in its place, uninstall takes all of it away" {
	local dir=$BATS_TEST_TMPDIR/root file page
	make -C "$TOP" "BUILD=$BUILD" install "DESTDIR=$dir" PREFIX=/usr >/dev/null
	for file in sbin/dmtool sbin/fsck.DM_snapshot_cow sbin/fsck.dm_writecache include/dmfmt.h lib/libdmfmt.a lib/libdmfmt.so \
		lib/libdmfmt.so.0 lib/pkgconfig/libdmfmt.pc share/bash-completion/completions/dmtool \
		share/zsh/site-functions/_dmtool share/fish/vendor_completions.d/dmtool.fish; do
		[ -e "$dir/usr/$file" ] || { echo "$file: not installed"; return 1; }
	done
	for page in "$TOP"/man/*.[1-9]; do
		[ -e "$dir/usr/share/man/man${page##*.}/$(basename "$page")" ]
	done
	for file in "$TOP"/docs/schema/*.json; do
		cmp "$file" "$dir/usr/share/dmtool/schema/$(basename "$file")"
	done
	equal "$(readlink "$dir/usr/sbin/fsck.DM_snapshot_cow")" dmtool
	run "$dir/usr/sbin/fsck.DM_snapshot_cow" --version
	[ "$status" -eq 0 ]
	# nothing but dmfmt.h shows what is inside
	equal "$(ls "$dir/usr/include")" dmfmt.h
	make -C "$TOP" "BUILD=$BUILD" uninstall "DESTDIR=$dir" PREFIX=/usr >/dev/null
	equal "$(find "$dir" ! -type d)" ""
}

@test "build: a program finds the library with pkg-config; the example of the page runs" {
	local dir=$BATS_TEST_TMPDIR/root cow flags
	make -C "$TOP" "BUILD=$BUILD" install "DESTDIR=$dir" PREFIX=/usr >/dev/null
	export PKG_CONFIG_PATH=$dir/usr/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=
	equal "$(pkg-config --modversion libdmfmt)" \
		"$(sed -n 's/^#define DMFMT_VERSION "\(.*\)"/\1/p' "$TOP/libdmfmt/dmfmt.h")"
	flags=$(pkg-config --define-variable=prefix="$dir/usr" --define-variable=libdir="$dir/usr/lib" \
		--define-variable=includedir="$dir/usr/include" --cflags --libs libdmfmt)
	# shellcheck disable=SC2086 # a list of flags
	gcc -Wall -Wextra -Werror -o "$BATS_TEST_TMPDIR/example" "$TOP/man/example-libdmfmt.c" $flags
	cow=$(fixture snap-c8-some)
	LD_LIBRARY_PATH=$dir/usr/lib "$BATS_TEST_TMPDIR/example" "$cow"
}

@test "build: versions agree" {
	version=$(sed -n 's/^VERSION := //p' "$TOP/Makefile")
	grep -q "#define DMFMT_VERSION \"$version\"" "$TOP/libdmfmt/dmfmt.h"
	run "$DMTOOL" --version
	[[ $output == *"$version"* ]]
}
