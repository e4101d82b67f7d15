#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Random operations on an origin and up to four snapshots, against a model in memory.  MODEL_SEED chooses
# them; with KMOD_FULL they are others each day.  A failure prints the seed.

load programs/lib.sh

setup_file() {
	local args=()
	build_program model
	args=(--seed "${MODEL_SEED:-$(span 20778 20778 $(($(date +%s) / 86400)))}" --seconds "$(span 25 45 900)")
	[ "$MODULES" != ours ] || args+=(--ours)
	# upstream's of this kernel divides by zero on discard_zeroes_cow
	[ "$MODULES:$KERNEL" != upstream:7.2 ] || args+=(--no-discards)
	run_program model.sh --with "$BATS_FILE_TMPDIR/model" --timeout "$(span 150 150 1200)" -- "${args[@]}"
}

setup() { need_guest; }

@test "model: whatever is done, devices show what the model holds" {
	ended
	more_than model operations 1000
	more_than model stores 10
}

@test "model: reads and writes of every kind took part" {
	for kind in reads writes buffered batches flushes verified; do
		more_than model $kind 10
	done
	[ "$MODULES:$KERNEL" = upstream:7.2 ] || more_than model discards 2
}

@test "model: suspend, reload, handover, growth, reboot and merge took part" {
	for kind in creations removals suspends handovers reloads grown merges merged reboots; do
		more_than model $kind 0
	done
	equal "$(($(said model interrupted) + $(said model cancelled) > 0))" 1 "a merge was stopped"
}

@test "model: stores became full" { more_than model invalid 0; }
