#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the kernel's own module gets wrong, and ours does not.  The same script is run with both: `repaired`
# asks that a group of checks holds with ours and that the kernel's own module fails in it, so that no test
# here can be one that any module passes; `both` asks that it holds with either.  docs/kmod-snapshot.md says
# what each is about.  Where brief() says so, our module is run alone.

load lib.sh

GROUPS_HERE='beyond metadata wraps old_beyond old_end duplicates exact_pair stale_area garbage chunk_size
refused magic_lost blank_over_old blank_is_logged tail edge_PO edge_P overflow_rewrite overflow_event
merge_event merge_failed_event merge_failed two_origins read_error_snapshot read_error_many
read_error_origin fail_origin_write mark_retried mark_fails order order_area order_merge order_invalid
order_invalid_read order_create segments merge_holes merge_unreadable'
# where the kernel's own module divides by zero as soon as the feature is used
DISCARDS='discard_misaligned discard_area discard_limits discard_loads'

divides_by_zero() { [ "${KERNEL%%.*}" -ge 7 ]; }

# a boot for one group, since the machine does not outlive it
fatal() {
	# shellcheck disable=SC2086 # one per word
	target_boot "fatal-$1" "$SCRIPTS/defects.sh" --timeout 60 -- upstream $1
}

setup_file() {
	local discards=$DISCARDS
	need_modules || return 0
	! divides_by_zero || discards=
	# shellcheck disable=SC2086
	target_boot ours "$SCRIPTS/defects.sh" -- ours $GROUPS_HERE top_byte merge_back $DISCARDS
	target_boot smp "$SCRIPTS/defects.sh" --smp 2 -- ours handover
	! brief || return 0
	# shellcheck disable=SC2086
	target_boot upstream "$SCRIPTS/defects.sh" -- upstream $GROUPS_HERE $discards
	fatal top_byte
	fatal merge_back
	! divides_by_zero || fatal discard_loads
}

setup() { need_guest; }

repaired() { holds ours "$1" && { brief || breaks upstream "$1"; }; }
both() { holds ours "$1" && { brief || holds upstream "$1"; }; }

# the kernel died in this group
died() {
	local out=$BATS_FILE_TMPDIR/fatal-$1
	! brief || return 0
	equal "$(cat "$out.status")" 122 "exit status of guest"
	! grep -q "^@done $1 " "$out"
	grep -a -E "$2" "$out.log"
}

@test "defects: our module gives the kernel nothing to complain of" { quiet ours; }

# ---- stores that must not be loaded: refused, with a message, and nothing is written ---------------

@test "defects: an exception behind the end of the COW device" { repaired beyond; }
@test "defects: an exception that names a metadata chunk" { repaired metadata; }
@test "defects: an exception whose new_chunk wraps: the header would be overwritten" { repaired wraps; }
@test "defects: an exception behind the origin, or that wraps to its begin" { repaired old_beyond; }
@test "defects: the same old_chunk twice, the same new_chunk twice" { repaired duplicates; }
@test "defects: a next area that was never cleared" { repaired stale_area; }
@test "defects: an area of garbage" { repaired garbage; }
@test "defects: a header with the wrong chunk size" { repaired chunk_size; }
@test "defects: a header that has lost its magic over an area with exceptions" { repaired magic_lost; }

@test "defects: the top byte of new_chunk as a run length: BUG when the table is loaded" {
	holds ours top_byte
	died top_byte 'kernel BUG at drivers/md/dm-'
}

@test "defects: an exception for the chunk right behind the origin does no harm" { both old_end; }
@test "defects: an exact duplicate pair loads, and merges" { both exact_pair; }
@test "defects: headers that both refuse, with the same errno" { both refused; }
@test "defects: a header of 16 zero bytes is blank, whatever follows" { both blank_over_old; }
@test "defects: an old area that a blank header hides is worth a message" { repaired blank_is_logged; }

# ---- entries, space, merge ---------------------------------------------------------------------------

@test "defects: entries after the terminator come to life" { repaired tail; }
@test "defects: the last area cannot be filled: Overflow with PO" { repaired edge_PO; }
@test "defects: the last area cannot be filled: Invalid with P, and the batch is not lost" { repaired edge_P; }
@test "defects: chunks that have an exception stay writable after an overflow" { repaired overflow_rewrite; }
@test "defects: an overflow raises an event" { repaired overflow_event; }
@test "defects: the end of a merge raises an event" { repaired merge_event; }
@test "defects: a merge that fails raises an event" { repaired merge_failed_event; }
@test "defects: what a merge that failed leaves" { both merge_failed; }
@test "defects: one COW device under two origins" { repaired two_origins; }

@test "defects: both segments of a table are protected" { both segments; }
@test "defects: a merge that failed at the end of an area goes on as a snapshot" {
	holds ours merge_back
	died merge_back 'kernel BUG at drivers/md/dm-'
}
@test "defects: after half a merge no chunk that is in use is allocated" { repaired merge_holes; }
@test "defects: a merge over what another snapshot cannot read ends" { both merge_unreadable; }
@test "defects: origin writes while a snapshot is handed over" {
	holds smp handover
	quiet smp
}

# ---- devices that fail -------------------------------------------------------------------------------

@test "defects: an unreadable origin sector under a snapshot write fails that write alone" {
	repaired read_error_snapshot
}
@test "defects: many writes, two of which cannot read the origin" { repaired read_error_many; }
@test "defects: an unreadable origin sector under an origin write: Invalid, production goes on" {
	both read_error_origin
}
@test "defects: fail_origin_write: such a write fails and the snapshot stays" { repaired fail_origin_write; }
@test "defects: the mark of an invalid store is written again when it fails" { repaired mark_retried; }
@test "defects: the mark can never be written: it is said, and production goes on" { repaired mark_fails; }

# ---- what a power cut leaves -------------------------------------------------------------------------

@test "defects: copy, then exception, then the origin write" { both order; }
@test "defects: the next area is clear before this one is full" { both order_area; }
@test "defects: merge: the origin is durable before the exception goes" { both order_merge; }
@test "defects: Invalid is durable before the origin write that broke the store" { repaired order_invalid; }
@test "defects: the same where the origin cannot be read" { repaired order_invalid_read; }
@test "defects: a new store's area is clear before its header is there" { repaired order_create; }

# ---- discards ------------------------------------------------------------------------------------------

# discards: ours holds, and the kernel's own fails or dies
discards() {
	holds ours "$1"
	! brief || return 0
	if divides_by_zero; then
		died discard_loads 'divide error|Oops'
	else
		breaks upstream "$1"
	fi
}

@test "defects: a discard that is as long as a chunk and not on one" { discards discard_misaligned; }
@test "defects: a discard must not reach the next area" { discards discard_area; }
@test "defects: discard_granularity is in bytes" { discards discard_limits; }

@test "defects: discard_zeroes_cow loads with every chunk size" {
	holds ours discard_loads
	! brief || return 0
	if divides_by_zero; then
		died discard_loads 'divide error|Oops'
	else
		holds upstream discard_loads
	fi
}
