#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Each I/O of a fixed work fails in its turn: on the COW device, on the origin, once, after it was done,
# or for ever.  What must hold then is said in programs/errors.c.

load programs/lib.sh

setup_file() {
	local args=()
	build_program errors
	fault_module
	args=(--step "${ERRORS_STEP:-$(span 8 8 1)}")
	[ "$MODULES" != ours ] || args+=(--ours)
	run_program errors.sh --with "$BATS_FILE_TMPDIR/errors" --with "${FAULT_KO:-/dev/null}" \
		--timeout "$(span 240 240 1800)" -- "${args[@]}"
}

setup() { need_guest; }

@test "errors: what was acknowledged is right after any fault, the module can go" {
	ended
	more_than errors runs 50
}

@test "errors: creation and activation" {
	more_than create faults 2
	more_than load faults 2
	more_than errors loads 2
}

@test "errors: writes and reads, P, PO and N" {
	more_than life faults 15
	more_than life-small faults 5
	more_than life-transient faults 5
	more_than errors invalid 5
}

@test "errors: merge" {
	more_than merge faults 5
	more_than errors merges 2
}

@test "errors: the mark of an invalid store is made, if need be at another attempt" {
	[ "$MODULES" = ours ] || skip "upstream's module does not try again"
	more_than mark faults 1
}
