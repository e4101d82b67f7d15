#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# How our kernel modules are built, installed and tried out.

load lib.sh

bats_require_minimum_version 1.5.0

setup_file() {
	local rc=0
	# shellcheck disable=SC2153 # of lib.sh
	"$KMOD/fetch-kernel" --headers "$KERNEL" >"$BATS_FILE_TMPDIR/kernel" 2>"$BATS_FILE_TMPDIR/err" || rc=$?
	[ "$rc" -ne 75 ] || tail -n 1 "$BATS_FILE_TMPDIR/err" >"$BATS_FILE_TMPDIR/unavailable"
}

setup() {
	need_guest
	kernel=$(cat "$BATS_FILE_TMPDIR/kernel")
	release=$(cat "$kernel/release")
}

# a tree with two small modules of its own, and the real tools and flags
small_tree() {
	TREE=$BATS_TEST_TMPDIR/tree
	mkdir -p "$TREE/tests" "$TREE/libdmfmt"
	cp -r "$TOP/tests/kmod" "$TREE/tests/kmod"
	cp -r "$TOP/libdmfmt/format" "$TREE/libdmfmt/format"
	cp -r "$TOP/kmod" "$TREE/kmod"
	rm -f "$TREE"/kmod/dm-snapshot/*.[ch]
	printf '%s\n' '#include "../../libdmfmt/format/snapshot.c"' >"$TREE/kmod/dm-snapshot/format.c"
	printf '%s\n' '#include <linux/module.h>' 'MODULE_LICENSE("GPL");' 'MODULE_DESCRIPTION("none");' \
		>"$TREE/kmod/dm-snapshot/main.c"
	unset BUILD
}

build() { run --separate-stderr "$TREE/tests/kmod/build-modules" "$@" "$KERNEL"; }

# in the toolchain's folder or on this machine: only there `make` alone is of use
on_this_machine() {
	[ ! -e "$kernel/toolchain" ] || skip "kernel $KERNEL is built with the tools of another suite"
}

@test "build-modules: prints the folder with the modules, for the kernel that is booted" {
	run --separate-stderr "$KMOD/build-modules" "$KERNEL"
	equal "$status" 0
	[ -s "$output/dm-snapshot.ko" ]
	grep -aq "^vermagic=$release " <(tr '\0' '\n' <"$output/dm-snapshot.ko")
}

@test "build-modules: compiles what has changed, and only that" {
	small_tree
	build
	equal "$status" 0
	local dir=$TREE/build/kmod/$release/kmod/dm-snapshot
	touch -d '2001-01-01' "$BATS_TEST_TMPDIR/old"
	touch "$BATS_TEST_TMPDIR/mark"
	sleep 1.1
	build
	equal "$status" 0
	equal "$(find "$dir" -name '*.o' -newer "$BATS_TEST_TMPDIR/mark")" ""
	echo 'MODULE_VERSION("2");' >>"$TREE/kmod/dm-snapshot/main.c"
	build
	equal "$status" 0
	[ "$dir/main.o" -nt "$BATS_TEST_TMPDIR/mark" ]
	[ "$dir/format.o" -ot "$BATS_TEST_TMPDIR/mark" ]
	# what is gone is not linked any more
	nm "$output/dm-snapshot.ko" | grep -q dmfmt_snap_
	rm "$TREE/kmod/dm-snapshot/format.c"
	build
	equal "$status" 0
	run nm "$output/dm-snapshot.ko"
	[[ $output != *dmfmt_snap_* ]]
}

@test "build-modules: a warning is a failure: of the compiler, a large frame, a missing symbol" {
	local line
	for line in 'int unasked(void) { return 0; }' 'static int unused_here(void) { return 0; }' \
		'void f(void); extern void g(char *); void f(void) { char big[1500]; g(big); }' \
		'void f(void); extern void nowhere_to_be_found(void); void f(void) { nowhere_to_be_found(); }'; do
		small_tree
		echo "$line" >>"$TREE/kmod/dm-snapshot/main.c"
		build
		equal "$status" 1 "$line"
		[[ $stderr == *main.c* || $stderr == *nowhere_to_be_found* ]]
	done
}

@test "build-modules: --debug is a build of its own, with DEBUG" {
	small_tree
	printf '%s\n' '#ifndef DEBUG' '#error no DEBUG' '#endif' >>"$TREE/kmod/dm-snapshot/main.c"
	build
	equal "$status" 1
	build --debug
	equal "$status" 0
	[[ $output == *-debug/modules ]]
}

@test "build-modules: --kdir builds against any headers" {
	on_this_machine
	small_tree
	run --separate-stderr "$TREE/tests/kmod/build-modules" --kdir "$kernel/kdir" --name mine --make V=1
	equal "$status" 0
	equal "$output" "$TREE/build/kmod/mine/modules"
	[ -s "$output/dm-snapshot.ko" ]
}

@test "build-modules, fetch-kernel: what is not to be had is not a failure, wrong usage is" {
	run --separate-stderr env XDG_CACHE_HOME="$BATS_TEST_TMPDIR" "$KMOD/fetch-kernel" --print-cached 6.1
	equal "$status" 75
	run --separate-stderr "$KMOD/fetch-kernel" six
	equal "$status" 16
	run --separate-stderr "$KMOD/build-modules" --no-such-option
	equal "$status" 16
	run --separate-stderr "$KMOD/build-modules" --kdir "$BATS_TEST_TMPDIR/none"
	equal "$status" 16
	run --separate-stderr "$KMOD/build-modules" --kdir "$BATS_TEST_TMPDIR" 6.1
	equal "$status" 16
}

@test "kmod: make modules modules_install puts them into updates/" {
	on_this_machine
	# as from a release: nothing but what DKMS gets, too
	make -C "$TOP" "BUILD=$BATS_TEST_TMPDIR" dkms-dist >/dev/null
	make -C "$BATS_TEST_TMPDIR"/dkms/dmfmt-*/kmod "KDIR=$kernel/kdir" modules >"$BATS_TEST_TMPDIR/log" 2>&1
	make -C "$BATS_TEST_TMPDIR"/dkms/dmfmt-*/kmod "KDIR=$kernel/kdir" \
		"INSTALL_MOD_PATH=$BATS_TEST_TMPDIR/root" modules_install >>"$BATS_TEST_TMPDIR/log" 2>&1
	cat "$BATS_TEST_TMPDIR/log"
	equal "$(cd "$BATS_TEST_TMPDIR/root" && find . -name '*.ko*' | sort)" \
		"./lib/modules/$release/updates/dm-snapshot/dm-snapshot.ko"
	# nothing was left in the library's folder
	equal "$(find "$BATS_TEST_TMPDIR"/dkms/dmfmt-*/libdmfmt -name '*.o')" ""
	make -C "$BATS_TEST_TMPDIR"/dkms/dmfmt-*/kmod "KDIR=$kernel/kdir" clean >/dev/null 2>&1
	equal "$(find "$BATS_TEST_TMPDIR"/dkms -name '*.o' -o -name '*.ko')" ""
}

@test "kmod: DKMS builds them" {
	on_this_machine
	local d=$BATS_TEST_TMPDIR/dkms version
	command -v dkms >/dev/null || skip "dkms: not installed"
	make -C "$TOP" "BUILD=$BATS_TEST_TMPDIR" dkms-dist >/dev/null
	version=$(sed -n 's/^VERSION := //p' "$TOP/Makefile")
	mkdir "$d/tree" "$d/install"
	run dkms build --dkmstree "$d/tree" --sourcetree "$d" --installtree "$d/install" -k "$release" \
		--kernelsourcedir "$(readlink -f "$kernel/kdir")" "dmfmt/$version"
	echo "$output"
	[[ $output != *"must be root"* ]] || skip "dkms: must be root here"
	equal "$status" 0
	[ -s "$d/tree/dmfmt/$version/$release/$(uname -m)/module/dm-snapshot.ko" ]
	run dkms status --dkmstree "$d/tree" --sourcetree "$d" "dmfmt/$version"
	[[ $output == *"dmfmt/$version, $release, "*": built"* ]]
	# only root may go on, into a tree of modules that is none
	[ "$(id -u)" -eq 0 ] || return 0
	mkdir "$d/install/$release"
	run dkms install --dkmstree "$d/tree" --sourcetree "$d" --installtree "$d/install" -k "$release" \
		--kernelsourcedir "$(readlink -f "$kernel/kdir")" --no-depmod "dmfmt/$version"
	echo "$output"
	equal "$status" 0
	[ -n "$(find "$d/install/$release/updates" -name 'dm-snapshot.ko*')" ]
}

@test "try-kmod: a snapshot under our module" {
	local script=$BATS_TEST_TMPDIR/script
	printf '%s\n' 'cat /mnt/origin/letter /mnt/snap/letter' 'modprobe -D dm-snapshot | tail -n 1' \
		'dmsetup status lab-snap' 'lvs --noheadings -o name,origin lab/snap' 'exit 3' >"$script"
	run --separate-stderr "$KMOD/try" --kernel "$KERNEL" --script "$script"
	echo "$output"
	echo "$stderr"
	[ "$status" -ne 121 ] || skip "$stderr"
	equal "$status" 3
	equal "${lines[0]}" "as it is now"
	equal "${lines[1]}" "as it was"
	[[ ${lines[2]} == *"/updates/dm-snapshot.ko"* ]]
	[[ ${lines[3]} =~ ^0\ 131072\ snapshot\ [0-9]+/65536\ [0-9]+$ ]]
	[[ ${lines[4]} == *snap*origin* ]]
}

@test "try-kmod: the same under the kernel's own, and a script that fails" {
	printf '%s\n' 'modprobe -D dm-snapshot | tail -n 1' 'cat /mnt/snap/letter' false >"$BATS_TEST_TMPDIR/script"
	run --separate-stderr "$KMOD/try" --kernel "$KERNEL" --modules upstream --script "$BATS_TEST_TMPDIR/script"
	[ "$status" -ne 121 ] || skip "$stderr"
	equal "$status" 1
	[[ ${lines[0]} == *"/kernel/drivers/md/dm-snapshot.ko"* ]]
	equal "${lines[1]}" "as it was"
	run --separate-stderr "$KMOD/try" --no-such-option
	equal "$status" 16
}
