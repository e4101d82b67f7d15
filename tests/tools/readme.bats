#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The sessions that README.md shows are what the tool prints now, but for times and places.  The one that
# begins it needs a kernel: tests/kmod/readme.bats.

load ../lib/common

README=$TOP/README.md

# what depends on the day, on where it ran, and on the file system's allocation
neutral() {
	sed -e "s|$PWD/|/home/user/|" -e 's/^\( *time  *\).*Z$/\1NOW/' -e 's/^ *[0-9]*K /NK /'
}

# sessions MARK: typed here, they print what is shown
sessions() {
	mkdir "$BATS_TEST_TMPDIR/bin"
	ln -s "$DMTOOL" "$BATS_TEST_TMPDIR/bin/dmtool"
	PATH=$BATS_TEST_TMPDIR/bin:$PATH
	"$TOP/tests/lib/session" "$README" "$1" show | neutral >"$BATS_TEST_TMPDIR/shown"
	"$TOP/tests/lib/session" "$README" "$1" run | neutral >"$BATS_TEST_TMPDIR/typed"
	[ "$(grep -c '^\$ ' "$BATS_TEST_TMPDIR/shown")" -ge "$2" ]
	diff -u "$BATS_TEST_TMPDIR/shown" "$BATS_TEST_TMPDIR/typed"
}

@test "readme: the sessions with a write cache are what the tool prints" {
	mkdir "$BATS_TEST_TMPDIR/cache"
	cd "$BATS_TEST_TMPDIR/cache"
	for image in cache origin; do
		xz -dc "$FIXTURES/writecache-ext4/$image.img.xz" >$image.img
	done
	sessions "tests/tools/readme.bats: cache" 4
}

@test "readme: the sessions with an exception store are what the tool prints" {
	mkdir "$BATS_TEST_TMPDIR/store"
	cd "$BATS_TEST_TMPDIR/store"
	for image in cow origin expected; do
		fixture snap-c8-3areas $image $image.img
	done
	sessions "tests/tools/readme.bats: store" 15
}

@test "readme: the crashed pair is what its manifest says that the kernel left, and shows" {
	cd "$BATS_TEST_TMPDIR"
	for image in cache origin; do
		xz -dc "$FIXTURES/writecache-ext4/$image.img.xz" >$image.img
		equal "$(sha256sum <$image.img | cut -d ' ' -f 1)" \
			"$(manifest writecache-ext4 ".images.$image.sha256")"
	done
	dm writecache-info cache.img --json
	status_is 0
	equal "$(json .status.line)" \
		"$(manifest writecache-ext4 '.expected.status_after_attach | split(" ")[3:7] | join(" ")')"
	content=$(manifest writecache-ext4 .expected.logical_sha256)
	dm writecache-export cache.img origin.img --output shown.img
	status_is 0
	equal "$(sha256sum <shown.img | cut -d ' ' -f 1)" "$content"
	dm writecache-flush cache.img origin.img
	status_is 0
	equal "$(sha256sum <origin.img | cut -d ' ' -f 1)" "$content"
}

@test "readme: every session is typed by a test" {
	equal "$(grep -c '^```$' "$README")" "$((2 * $(grep -c '^<!-- tests/.*readme.bats' "$README")))"
	# it begins with the crashed cache
	equal "$("$TOP/tests/lib/session" "$README" tests/kmod/readme.bats commands | head -n 1 |
		cut -d ' ' -f 1-2)" "dmtool writecache-check"
	run ! "$TOP/tests/lib/session" "$README" tests/kmod/readme.bats nothing
}
