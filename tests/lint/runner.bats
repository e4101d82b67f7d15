#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The runner itself: whatever a test does, it is counted, and the last line says how it went.

load ../lib/common

# a small tree with the real runner and made-up tests
setup() {
	TREE=$BATS_TEST_TMPDIR/tree
	mkdir -p "$TREE/tests/core" "$TREE/tests/tools" "$TREE/build/tests/core" "$TREE/.ci"
	cp "$TOP/tests/run" "$TREE/tests/run"
	cp "$TOP/.ci/run" "$TREE/.ci/run"
	unset DMFMT_CLOSING
}

# a C test whose program is this script
program() {
	: >"$TREE/tests/core/$1.c"
	printf '#!/bin/bash\n%s\n' "$2" >"$TREE/build/tests/core/$1"
	chmod +x "$TREE/build/tests/core/$1"
}

runner() {
	run --separate-stderr "$TREE/tests/run" "$@"
	printf '%s\n' "$status" "$output" "$stderr"
	last=$(tail -n 1 <<<"$output")
}

@test "runner: counts what passed, failed and was skipped" {
	program a 'echo "ok 1 - one"; echo "ok 2 - two # skip no reason"; echo 1..2'
	program b 'echo "not ok 1 - three"; echo "# because"; echo 1..1; exit 1'
	runner library
	status_is 1
	equal "$last" "1 passed, 1 failed, 1 skipped"
	says "tests/core/b: three"
	says "# because"
	says "no reason"
}

@test "runner: all is well" {
	program a 'echo "ok 1 - one"; echo 1..1'
	runner library
	status_is 0
	equal "$last" "1 passed, 0 failed, 0 skipped"
	[[ $output =~ library\ +0\.[0-9]\ minutes ]]
}

@test "runner: a program that ends before its plan, crashes, or is silent" {
	program early 'echo 1..3; echo "ok 1 - one"'
	program crash 'echo "ok 1 - one"; kill -SEGV $$'
	program silent 'exit 3'
	program quiet 'exit 0'
	program missing ''
	rm "$TREE/build/tests/core/missing"
	runner library
	status_is 1
	equal "$last" "3 passed, 4 failed, 0 skipped"
}

@test "runner: a suite without a single result has failed" {
	rmdir "$TREE/tests/core"
	runner library
	status_is 1
	equal "$last" "0 passed, 1 failed, 0 skipped"
}

@test "runner: several suites side by side, one closing line" {
	program a 'sleep 1; echo "ok 1 - one"; echo 1..1'
	printf '%s\n' '#!/usr/bin/env bats' '@test "x" { true; }' '@test "y" { false; }' \
		'@test "z" { skip "so"; }' >"$TREE/tests/tools/t.bats"
	runner tools library
	status_is 1
	equal "$last" "2 passed, 1 failed, 1 skipped"
	equal "$(grep -cE '^[0-9]+ passed, ' <<<"$output")" 1
	[[ $output == *library*minutes* && $output == *tools*minutes* ]]
}

@test "runner: a bats file that does not even load" {
	echo 'load no-such-file' >"$TREE/tests/tools/t.bats"
	echo '@test "x" { true; }' >>"$TREE/tests/tools/t.bats"
	runner tools
	status_is 1
	[[ $last == *" 1 failed,"* || $last == *" 2 failed,"* ]]
}

@test "runner: a suite that hangs is ended" {
	program a 'echo "ok 1 - one"; sleep 1000'
	sed -i 's/\tlibrary\t[0-9]*\t/\tlibrary\t0\t/' "$TREE/tests/run"
	runner library
	status_is 1
	says "still at work"
	[ "$SECONDS" -lt 60 ]
	run pgrep -f "$TREE/build/tests/core/a"
	equal "$output" ""
}

# a tree whose modules build as the script says, and with one test of the targets
kernel_tree() {
	mkdir -p "$TREE/tests/kmod/target"
	printf '#!/bin/bash\n%s\n' "$1" >"$TREE/tests/kmod/build-modules"
	chmod +x "$TREE/tests/kmod/build-modules"
	# shellcheck disable=SC2016 # for the test
	printf '%s\n' '#!/usr/bin/env bats' '@test "x" { [ "$KERNEL" = 6.12 ]; }' >"$TREE/tests/kmod/target/t.bats"
}

@test "runner: the tests of the targets are run for the kernel of the suite" {
	kernel_tree 'echo /modules'
	runner kmod-6.12
	status_is 0
	equal "$last" "2 passed, 0 failed, 0 skipped"
	runner kmod-7.2
	status_is 1
	equal "$last" "1 passed, 1 failed, 0 skipped"
}

@test "runner: a kernel that cannot be had is one skipped test with the reason" {
	kernel_tree 'echo "fetch-kernel: kernel 6.12: no network" >&2; exit 75'
	runner kmod-6.12
	status_is 0
	equal "$last" "0 passed, 0 failed, 1 skipped"
	says "no network"
}

@test "runner: modules that do not build are a failure" {
	kernel_tree 'echo "x.c:1: warning: planted" >&2; exit 1'
	runner kmod-6.12
	status_is 1
	equal "$last" "0 passed, 1 failed, 0 skipped"
	says "x.c:1: warning: planted"
}

@test "runner: wrong usage" {
	runner no-such-suite
	status_is 16
	runner --no-such-option
	status_is 16
}

@test "ci: the closing line comes last, from the tests" {
	program a 'echo "ok 1 - one"; echo 1..1'
	printf 'check:\n\ttests/run library\n' >"$TREE/Makefile"
	run --separate-stderr "$TREE/.ci/run"
	status_is 0
	equal "${lines[-1]}" "1 passed, 0 failed, 0 skipped"
	equal "$(grep -cE '^[0-9]+ passed, ' <<<"$output")" 1
}

@test "ci: a build that fails is a failure in the closing line" {
	printf 'check:\n\tfalse\n' >"$TREE/Makefile"
	run --separate-stderr "$TREE/.ci/run"
	[ "$status" -ne 0 ]
	equal "${lines[-1]}" "0 passed, 1 failed, 0 skipped"
	# nor does a check that does nothing count as success
	printf 'check:\n\ttrue\n' >"$TREE/Makefile"
	run --separate-stderr "$TREE/.ci/run"
	[ "$status" -ne 0 ]
	equal "${lines[-1]}" "0 passed, 1 failed, 0 skipped"
}

@test "deps: a machine that has all is left alone" {
	run --separate-stderr env PATH="$PATH" "$TOP/tests/deps"
	status_is 0
	equal "$output$stderr" ""
}
