#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The layers: who may include whom.

load ../lib/common

# a tree with one file that includes one thing
plant() {
	mkdir -p "$BATS_TEST_TMPDIR/$(dirname "$1")"
	printf '%s\n' "#include $2" >"$BATS_TEST_TMPDIR/$1"
}

refused() {
	plant "$1" "$2"
	run "$TOP/tests/lint/includes" "$BATS_TEST_TMPDIR"
	rm -r "${BATS_TEST_TMPDIR:?}/$(dirname "$1")"
	[ "$status" -eq 1 ] || {
		echo "$1 may include $2"
		return 1
	}
	[[ $output == "$1:1: must not include"* ]]
}

@test "includes: every folder includes only what it may" {
	"$TOP/tests/lint/includes" "$TOP"
}

@test "includes: a wrong line is seen" {
	refused libdmfmt/format/x.c '"../io/dev.h"'
	refused libdmfmt/format/x.c '<stdlib.h>'
	refused libdmfmt/io/x.c '"../format/snapshot.h"'
	refused libdmfmt/io/x.c '"../core/format.h"'
	refused libdmfmt/core/x.c '"../ops/snapshot.h"'
	refused libdmfmt/core/x.c '"../format/snapshot.h"'
	refused libdmfmt/ops/x.c '"../sys/live.h"'
	refused libdmfmt/sys/x.c '"../core/format.h"'
	refused libdmfmt/sys/x.c '<blkid.h>'
	refused libdmfmt/ops/x.c '<libdevmapper.h>'
	refused tools/x.c '"../libdmfmt/core/core.h"'
	refused tools/x.c '"../libdmfmt/format/snapshot.h"'
	refused kmod/x/x.c '"../../libdmfmt/core/core.h"'
	refused kmod/x/x.c '"../../libdmfmt/dmfmt.h"'
	refused kmod/x/x.c '<stdint.h>'
	refused kmod/x/x.c '<drivers/md/dm.h>'
}

@test "includes: core/ does not know a family's name" {
	run grep -nwi 'snapshot' "$TOP"/libdmfmt/core/*.[ch] "$TOP"/libdmfmt/io/*.[ch]
	# the list itself, and what a comment gives as an example
	bad=$(grep -v -e 'core/registry.c:' -e '/\*' -e '^[^:]*:[0-9]*:[[:space:]]*\*' <<<"$output" || true)
	equal "$bad" ""
}

@test "includes: the tool knows no magic number and swaps no bytes" {
	run grep -nE 'le(16|32|64)toh|htole|bswap|0x70416[eE]53|SnAp' "$TOP"/tools/*.[ch]
	# rows.c turns eight digits at a time around
	equal "$(grep -v 'tools/rows.c:.*bswap64' <<<"$output")" ""
}
