#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What snapshot, snapshot-origin and snapshot-merge do, feature by feature, with our module or with the
# kernel's own (MODULES=upstream): here both must do the same.

load lib.sh

GROUPS_HERE='ctor words status ima chunks blocks length split parallel flush stacked nested reload
preload handover load busy grow readonly full_P full_PO full_N merge merge_stopped merge_load discard
parameters unload'

setup_file() {
	local m options=()
	[ "$MODULES" != ours ] || need_modules || return 0
	# what dm-crypt asks for when it is used
	for m in crypto_null ecb xts cryptd crypto_simd aesni-intel; do
		m=$(module_file $m)
		[ -z "$m" ] || options+=(--with "$m:/guest/modules/$(basename "$m")")
	done
	# a blank disk that cannot be written
	truncate -s 1M "$BATS_FILE_TMPDIR/blank"
	options+=(--disk-ro "$BATS_FILE_TMPDIR/blank")
	# shellcheck disable=SC2086 # one per word
	target_boot out "$SCRIPTS/matrix.sh" "${options[@]}" -- "$MODULES" ${MATRIX_GROUPS:-$GROUPS_HERE}
}

setup() { need_guest; }

@test "matrix: the kernel has nothing to complain of" { quiet out; }

@test "matrix: every error of a table has its errno and its message" { holds out ctor; }
@test "matrix: words of a table as they are taken and shown" { holds out words; }
@test "matrix: status and entries on disk" { holds out status; }
@test "matrix: what integrity measurement is told" { holds out ima; }
@test "matrix: chunks of 1 sector to 1 MiB" { holds out chunks; }
@test "matrix: blocks of 4096 bytes" { holds out blocks; }
@test "matrix: a snapshot shorter than its origin" { holds out length; }
@test "matrix: origin writes are split, for each of several snapshots" { holds out split; }
@test "matrix: several writers and several snapshots" { holds out parallel; }
@test "matrix: flushes and FUA go where they belong" { holds out flush; }
@test "matrix: over linear, mirror, striped, crypt and loop, and below crypt" { holds out stacked; }
@test "matrix: a snapshot of a snapshot" { holds out nested; }
@test "matrix: reload, clear, suspend" { holds out reload; }
@test "matrix: tables are loaded while the origin has no size yet" { holds out preload; }
@test "matrix: handover to a merge, and its rules" { holds out handover; }
@test "matrix: suspend, reload and resume under load" { holds out load; }
@test "matrix: a snapshot is removed under load on its origin" { holds out busy; }
@test "matrix: a COW device grows without a reload" { holds out grow; }
@test "matrix: read-only" { holds out readonly; }
@test "matrix: P runs full" { holds out full_P; }
@test "matrix: PO runs full" { holds out full_PO; }
@test "matrix: N runs full" { holds out full_N; }
@test "matrix: merge, with writes meanwhile and another snapshot" { holds out merge; }
@test "matrix: a merge is stopped, reloaded, taken over as a snapshot, and ends" { holds out merge_stopped; }
@test "matrix: merge under load" { holds out merge_load; }
@test "matrix: discards and zeroes" { holds out discard; }
@test "matrix: module parameters" { holds out parameters; }
@test "matrix: the module goes and leaves nothing" { holds out unload; }
