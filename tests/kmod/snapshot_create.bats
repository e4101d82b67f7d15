#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The kernel accepts what snapshot-create makes, and would have written the very same bytes.

load lib.sh

SIZES='1 2 4 8 16 32 64 128 512 1024'
ORIGIN_SECTORS=4096

# room for a few chunks, and an odd remainder that is never used
sectors_for() { echo $(($1 * 9 + $1 / 2 > 600 ? $1 * 9 + $1 / 2 : 601)); }

setup_file() {
	local c d=$BATS_FILE_TMPDIR
	pack_begin
	yes "what the origin holds" | head -c $((ORIGIN_SECTORS << 9)) >"$d/origin"
	pack_add origin "$d/origin"
	for c in $SIZES; do
		# both begin with the same old content; where the kernel is to format, the magic is zero
		yes "old content, which stays where nothing is written" |
			head -c $(($(sectors_for "$c") << 9)) >"$d/ours-$c"
		cp "$d/ours-$c" "$d/kernel-$c"
		put "$d/kernel-$c" 0 00000000
		"$DMTOOL" snapshot-create "$d/ours-$c" --chunk-size "$c" --origin "$d/origin" \
			>"$d/create-$c.out" 2>&1 || {
			cat "$d/create-$c.out" >&2
			return 1
		}
		pack_add "ours-$c" "$d/ours-$c"
		pack_add "kernel-$c" "$d/kernel-$c"
	done
	boot "$KMOD/scripts/create.sh" --disk "$PACK" --with "$PACK_INDEX:/guest/index" -- "$SIZES"
}

setup() { need_guest; }

@test "snapshot-create: the kernel loads every chunk size, as an empty store" {
	for c in $SIZES; do
		equal "$(got "ours-$c-empty" result)" ok "$c"
		equal "$(got "ours-$c-empty" status)" "$((2 * c))/$(sectors_for "$c") $((2 * c))" "$c"
	done
}

@test "snapshot-create: snapshot-info says the kernel's status before the kernel does" {
	for c in $SIZES; do
		equal "$(verdict "$BATS_FILE_TMPDIR/ours-$c")" accept "$c"
		equal "$(info "$BATS_FILE_TMPDIR/ours-$c" status.line)" "$(got "ours-$c-empty" status)" "$c"
	done
}

@test "snapshot-create: the bytes are those that the kernel formats" {
	for c in $SIZES; do
		[ -n "$(got "ours-$c-empty" content)" ]
		equal "$(got "ours-$c-empty" content)" "$(got "kernel-$c-empty" content)" "$c"
		equal "$(sha256sum <"$BATS_FILE_TMPDIR/ours-$c" | cut -d ' ' -f 1)" \
			"$(got "kernel-$c-empty" content)" "$c"
	done
}

@test "snapshot-create: the kernel writes to such a store and finds it again" {
	for c in $SIZES; do
		equal "$(got "ours-$c-again" result)" ok "$c"
		equal "$(got "ours-$c-again" status)" "$((5 * c))/$(sectors_for "$c") $((2 * c))" "$c"
		equal "$(got "ours-$c-again" snapshot)" "$(got "ours-$c-empty" snapshot)" "$c"
		equal "$(got "ours-$c-again" snapshot)" "$(got "kernel-$c-again" snapshot)" "$c"
		equal "$(got "ours-$c-again" cow)" "$(got "kernel-$c-again" cow)" "$c"
	done
}

@test "snapshot-create: what the kernel left checks clean and dumps as written" {
	for c in $SIZES; do
		unpack "ours-$c" "$BATS_TEST_TMPDIR/cow"
		"$DMTOOL" snapshot-check "$BATS_TEST_TMPDIR/cow"
		equal "$(info "$BATS_TEST_TMPDIR/cow" status.line)" "$(got "ours-$c-again" status)" "$c"
		equal "$(info "$BATS_TEST_TMPDIR/cow" exceptions.nr_exceptions)" 3 "$c"
	done
}
