#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the pages show is what the tool does.  tests/lib/pages --fix DMTOOL PAGE... writes it anew.

load ../lib/common

@test "pages: the sessions that they show are what the tool prints now" {
	run "$PYTHON" "$TOP/tests/lib/pages" "$DMTOOL" "$TOP"/man/*.[158]
	echo "$output"
	[ "$status" -eq 0 ]
	[ "${output%% *}" -gt 12 ]
}

@test "pages: a session that shows something else is found" {
	sed 's/^\( *n_blocks *\)1020/\11021/' "$TOP/man/dmtool-writecache-info.8" >"$BATS_TEST_TMPDIR/page.8"
	run ! cmp -s "$TOP/man/dmtool-writecache-info.8" "$BATS_TEST_TMPDIR/page.8"
	run "$PYTHON" "$TOP/tests/lib/pages" "$DMTOOL" "$BATS_TEST_TMPDIR/page.8"
	[ "$status" -eq 1 ]
	[[ $output == *1021*1020* ]]
	"$PYTHON" "$TOP/tests/lib/pages" --fix "$DMTOOL" "$BATS_TEST_TMPDIR/page.8"
	cmp "$TOP/man/dmtool-writecache-info.8" "$BATS_TEST_TMPDIR/page.8"
}

@test "pages: the cache that the format's page shows is one" {
	sed -n '/^\.Bd -literal/,/^\.Ed/s/^\([0-9a-f]\{4\}\)  /\1: /p' "$TOP/man/dm-writecache-format.5" |
		tr -s ' ' | xxd -r >"$BATS_TEST_TMPDIR/cache"
	truncate -s 32K "$BATS_TEST_TMPDIR/cache"
	dm writecache-check "$BATS_TEST_TMPDIR/cache" --json
	status_is 0
	equal "$(json '[.findings[] | .rule] | sort | join(" ")')" "13 18"
	dm writecache-info "$BATS_TEST_TMPDIR/cache" --json
	equal "$(json .status.line)" "0 7 5 0"
	equal "$(json .entries.dirty_blocks)" 2
	dm writecache-find "$BATS_TEST_TMPDIR/cache" 64 --json
	equal "$(json '.answers[] | select(.state == "committed") | .sector')" $((0x3000 / 512))
}
