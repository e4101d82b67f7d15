#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The nbdkit plugin: what the kernel shows, read over NBD.

load ../lib/common

setup() {
	PLUGIN=$BUILD/nbdkit-dmfmt-plugin.so
	[ -e "$PLUGIN" ] || skip "the plugin was not built: nbdkit's header is not here"
	[ -z "${DMFMT_SANITIZED-}" ] || skip "nbdkit itself is not built with the sanitizers"
	command -v nbdkit >/dev/null || skip "nbdkit is not here"
	command -v nbdcopy >/dev/null || skip "nbdcopy is not here"
	cd "$BATS_TEST_TMPDIR" || return 1
}

triple() {
	rm -f cow origin expected out
	fixture "$1" cow cow >/dev/null && fixture "$1" origin origin >/dev/null &&
		fixture "$1" expected expected >/dev/null
}

# serve COMMAND PARAMETER...: the shell command runs with $uri set
serve() {
	local command=$1
	shift
	run timeout 60 nbdkit -U - "$PLUGIN" "$@" --run "$command"
}

@test "nbdkit: nbdcopy reads what the kernel shows" {
	local name
	for name in snap-c8-3areas snap-c32-2areas snap-c128-some snap-c8-merge-half snap-c8-fresh; do
		triple "$name"
		remember cow origin
		# shellcheck disable=SC2016 # nbdkit's shell knows it
		serve 'nbdcopy "$uri" out' store=cow origin=origin
		equal "$status" 0 "$output"
		cmp out expected
		unchanged cow origin
	done
}

@test "nbdkit: qemu-img compares it, nobody writes to it" {
	command -v qemu-img >/dev/null || skip "qemu-img is not here"
	triple snap-c8-some
	# shellcheck disable=SC2016
	serve 'qemu-img compare -f raw -F raw "$uri" expected' cow=cow origin=origin format=snapshot memory=64M
	equal "$status" 0 "$output"
	# shellcheck disable=SC2016
	serve 'nbdcopy expected "$uri"' store=cow origin=origin
	[ "$status" -ne 0 ]
}

@test "nbdkit: an invalid store, a missing parameter, no store at all" {
	fixture snap-c8-invalid cow cow >/dev/null
	fixture snap-c8-invalid origin origin >/dev/null
	serve true store=cow origin=origin
	[ "$status" -ne 0 ]
	[[ $output == *"valid 0"* ]]
	serve true store=cow
	[ "$status" -ne 0 ]
	[[ $output == *"origin is missing"* ]]
	serve true store=origin origin=cow
	[ "$status" -ne 0 ]
	[[ $output == *"none of the known formats"* ]]
	serve true store=cow origin=origin colour=red
	[ "$status" -ne 0 ]
	[[ $output == *"not a parameter"* ]]
}
