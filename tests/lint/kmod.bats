#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The kernel modules: sparse, versions, what they may include.  That they compile without a warning is a
# test of tests/kmod and of each kernel's suite.

load ../lib/common

# what build-modules cannot do here is skipped with its reason
sparse() {
	run --separate-stderr "$@" --sparse 6.1
	[ "$status" -ne 75 ] || skip "$(tail -n 1 <<<"$stderr")"
}

@test "kmod: sparse has nothing to say" {
	sparse "$TOP/tests/kmod/build-modules"
	equal "$stderr" ""
	equal "$status" 0
	sparse "$TOP/tests/kmod/build-modules" --make DMFMT_TEST=y --name sparse-test
	equal "$stderr" ""
	equal "$status" 0
}

@test "kmod: sparse would find a mixed byte order" {
	local tree=$BATS_TEST_TMPDIR/tree
	mkdir -p "$tree/tests" "$tree/libdmfmt"
	cp -r "$TOP/tests/kmod" "$tree/tests/kmod"
	cp -r "$TOP/libdmfmt/format" "$tree/libdmfmt/format"
	cp -r "$TOP/kmod" "$tree/kmod"
	rm -f "$tree"/kmod/dm-snapshot/*.[ch]
	printf '%s\n' '#include <linux/module.h>' 'MODULE_LICENSE("GPL");' 'u32 f(__le32 v);' \
		'u32 f(__le32 v) { return v + 1; }' >"$tree/kmod/dm-snapshot/main.c"
	sparse env BUILD= "$tree/tests/kmod/build-modules"
	equal "$status" 1
	[[ $stderr == *"main.c:4"*"degrades to integer"* || $stderr == *"main.c:4"*"incorrect type"* ]]
}

@test "kmod: versions of the kernel are asked for in compat/ only" {
	run grep -rnE 'LINUX_VERSION_CODE|KERNEL_VERSION|linux/version\.h|RHEL_RELEASE' "$TOP/kmod" --include='*.[ch]'
	equal "$(grep -v "^$TOP/kmod/compat/" <<<"$output")" ""
}

@test "kmod: a header of compat/ includes the one that it stands before" {
	local file path
	for file in $(cd "$TOP/kmod/compat" && find . -name '*.h'); do
		path=${file#./}
		grep -q "^#include_next <$path>" "$TOP/kmod/compat/$path" || {
			echo "kmod/compat/$path: no #include_next <$path>"
			return 1
		}
	done
}

@test "kmod: modules say what they are" {
	local dir
	for dir in "$TOP"/kmod/dm-*/; do
		grep -q 'MODULE_LICENSE("GPL' "$dir"/*.c
		grep -q 'MODULE_DESCRIPTION(' "$dir"/*.c
	done
}

@test "kmod: what is not for tests reads no test's header, and the library's objects stay its own" {
	run grep -rn 'include.*test/' "$TOP/kmod" --include='*.[ch]'
	equal "$(grep -v "^$TOP/kmod/test/" <<<"$output")" ""
	equal "$(find "$TOP/kmod" "$TOP/libdmfmt" -name '*.o' -o -name '*.ko' -o -name '*.cmd')" ""
}
