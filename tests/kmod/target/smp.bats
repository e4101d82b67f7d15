#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Many threads on four processors: origin and snapshots under load while they are suspended, reloaded,
# created, removed and merged.

load programs/lib.sh

setup_file() {
	build_program smp
	# on a busy host the emulated timer may be found not to work while the machine boots
	run_program smp.sh --smp 4 --append no_timer_check --with "$BATS_FILE_TMPDIR/smp" --timeout "$(span 180 180 1200)" -- \
		--seconds "$(span 15 25 600)" --seed "${SMP_SEED:-1}"
}

setup() { need_guest; }

@test "smp: each block holds what its thread knows" {
	ended
	more_than smp reads 1000
	more_than smp writes 1000
}

@test "smp: suspend, reload, creation, removal and merge went on meanwhile" {
	for kind in suspends reloads creations merges; do
		more_than smp $kind 1
	done
}
