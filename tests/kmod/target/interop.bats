#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Stores that our module and the kernel's own continue for each other, at any point of their lives, with
# dmtool's check after each step.

load lib.sh

STORES='life.ours.P.8 life.upstream.P.8 life.ours.P.1 life.upstream.PO.32'
CUTS='cut.ours.P.8 cut.upstream.P.8 cut_merge.ours.P.8 cut_merge.upstream.P.8'
# chunk size, sectors of the COW device, type
BYTES='bytes.8.1000.P bytes.1.140.P bytes.16.2000.PO bytes.64.5120.P'
if brief; then
	STORES='life.ours.P.8 life.upstream.P.8 life.upstream.PO.32'
	BYTES='bytes.8.1000.P bytes.16.2000.PO'
fi

setup_file() {
	need_modules || return 0
	# shellcheck disable=SC2086 # one per word
	target_boot out "$SCRIPTS/interop.sh" -- $STORES $CUTS $BYTES
}

setup() { need_guest; }

@test "interop: the kernel has nothing to complain of" { quiet out; }

@test "interop: written in turns, half merged in turns, merged" {
	local one wrong=''
	for one in $STORES; do
		holds out "$one" || wrong=1
	done
	[ -z "$wrong" ]
	# half merged means half merged
	grep '^@say life left' "$BATS_FILE_TMPDIR/out" | awk '{ split($4, n, "/"); if (n[1] > $5) half++ }
		END { exit !(half >= 2) }'
}

@test "interop: ours after a power cut under the kernel's own, and the reverse" {
	holds out cut.ours.P.8
	holds out cut.upstream.P.8
}

@test "interop: after a power cut in a merge" {
	holds out cut_merge.ours.P.8
	holds out cut_merge.upstream.P.8
	grep '^@say cut_merge state' "$BATS_FILE_TMPDIR/out" | awk '{ split($4, n, "/"); if (n[1] > $5) half++ }
		END { exit !(half >= 2) }'
}

@test "interop: the same writes make the same bytes" {
	local one wrong=''
	for one in $BYTES; do
		holds out "$one" || wrong=1
	done
	[ -z "$wrong" ]
}
