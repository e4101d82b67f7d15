#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# libdmfmt/format is also compiled into kernel modules: no C library, no large frames, no mixed byte
# order.  crc32c.c is for user space only, the kernel has its own.

load ../lib/common

sources() {
	find "$TOP/libdmfmt/format" -name '*.c' ! -name crc32c.c
}

freestanding() {
	"$@" -std=gnu11 -O2 -ffreestanding -Wall -Wextra -Wmissing-prototypes -Wframe-larger-than=1024 \
		-Wvla -Werror -c
}

@test "format: compiles freestanding, with small frames, gcc and clang, 64 and 32 bit" {
	local source cc
	for source in $(sources); do
		for cc in gcc clang "gcc -m32" "clang -m32"; do
			# shellcheck disable=SC2086 # compiler and its flag
			freestanding $cc -o "$BATS_TEST_TMPDIR/o" "$source"
		done
	done
}

@test "format: compiles for a big-endian machine" {
	local source
	for source in $(sources); do
		freestanding clang --target=powerpc64-unknown-linux-gnu -nostdlibinc -isystem /usr/include \
			-isystem "/usr/include/$(gcc -print-multiarch)" -fsyntax-only "$source"
	done
}

@test "format: needs nothing but the mem functions and crc32c" {
	local source
	for source in $(sources); do
		freestanding gcc -o "$BATS_TEST_TMPDIR/o" "$source"
		run nm -u "$BATS_TEST_TMPDIR/o"
		equal "$(grep -vE ' U (mem(cpy|set|cmp|move)|crc32c|dmfmt_.*)$' <<<"$output")" "" "$source"
	done
}

@test "format: holds no data that change" {
	local source
	for source in $(sources); do
		freestanding gcc -o "$BATS_TEST_TMPDIR/o" "$source"
		run size -A "$BATS_TEST_TMPDIR/o"
		equal "$(awk '$1 ~ /^\.(data|bss)/ && $2 > 0' <<<"$output")" "" "$source"
	done
}

check_endian() {
	sparse -std=gnu11 -D__CHECKER__ -D__CHECK_ENDIAN__ -Wbitwise -Wno-decl -Wno-unknown-attribute \
		-isystem "$(gcc -print-file-name=include)" "$@" 2>&1
}

@test "format: sparse finds no mixed byte order" {
	local source
	for source in $(sources); do
		run check_endian "$source"
		equal "$output" "" "$source"
	done
}

@test "format: sparse would find one" {
	printf '%s\n' '#include "env.h"' 'uint32_t f(__le32 v);' 'uint32_t f(__le32 v) { return v + 1; }' \
		>"$BATS_TEST_TMPDIR/bad.c"
	run check_endian -I "$TOP/libdmfmt/format" "$BATS_TEST_TMPDIR/bad.c"
	[[ $output == *"degrades to integer"* || $output == *"incorrect type"* ]]
}

@test "format: the size assertions fire" {
	printf '%s\n' '#include "env.h"' 'struct s { __le32 a; };' 'DMFMT_SIZE_IS(struct s, 5);' \
		>"$BATS_TEST_TMPDIR/bad.c"
	run freestanding gcc -I "$TOP/libdmfmt/format" -o "$BATS_TEST_TMPDIR/o" "$BATS_TEST_TMPDIR/bad.c"
	[ "$status" -ne 0 ]
	[[ $output == *"size of struct s"* ]]
}

@test "format: every struct on disk has a size assertion" {
	local name
	grep -ho 'struct [a-z0-9_]*_\(disk\|onmedia\) {' "$TOP"/libdmfmt/format/*.[ch] |
		while read -r _ name _; do
			grep -q "DMFMT_SIZE_IS(struct $name," "$TOP"/libdmfmt/format/*.[ch] ||
				echo "struct $name: no DMFMT_SIZE_IS"
		done >"$BATS_TEST_TMPDIR/out"
	equal "$(cat "$BATS_TEST_TMPDIR/out")" ""
}
