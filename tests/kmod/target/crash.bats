#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Power cuts in the life of snapshots (../rig).  A guest lives through workload.sh on disks that record
# every write and flush; replay builds the states that a power cut could have left, libdmfmt reads each,
# and a model that knows what was acknowledged judges it.  A sample is then activated in guests, with our
# module and with the kernel's own.
#
# The kernel's own module breaks rules of its own at known places (docs/kmod-snapshot.md).  It has to break
# them here, and no others: so the rig is seen to find what is wrong.  Faults that are planted into its
# record do the same for the rules that it keeps.
#
# RIG_STATES (50) is how many states of each record are activated, RIG_PER_CUT (16) how many are tried at
# one moment.

load lib.sh

SCENARIOS='life-4k life-16k life-4k-4096 life-16k-4096 areas torn full-P-origin full-P-snapshot
full-PO-origin full-PO-snapshot edge-P edge-PO two'
RIG=$KMOD/rig

# record NAME MODULES: NAME.rec
record() {
	local rc=0
	"$RIG/record" --kernel "$KERNEL" --modules "$2" --programs "$d/rig" --output "$d/$1.rec" \
		>"$d/$1.record" 2>&1 || rc=$?
	[ "$rc" -ne 121 ] || head -n 1 "$d/$1.record" >"$d/unavailable"
	[ "$rc" -eq 0 ] || [ "$rc" -eq 121 ] || {
		cat "$d/$1.record" >&2
		return 1
	}
}

# replay OUT RECORD [OPTION]...
replay() {
	local out=$1 record=$2 rc=0
	shift 2
	"$d/rig/replay" --per-cut "${RIG_PER_CUT:-16}" "$@" "$d/$record.rec" >"$d/$out" 2>&1 || rc=$?
	echo "$rc" >"$d/$out.status"
}

# activate OUT MODULES STATES...
activate_states() {
	local out=$1 modules=$2 rc=0 options=() nr=0 disks=(/dev/vda /dev/vdb) f
	shift 2
	for f; do
		options+=(--disk "$d/$f.states")
		nr=$((nr + 1))
	done
	"$KMOD/guest" --kernel "$KERNEL" --modules "$modules" --no-dmtool --with "$d/rig/rigact" \
		--timeout 300 "${options[@]}" "$RIG/activate.sh" "${disks[@]:0:nr}" \
		>"$d/$out" 2>&1 || rc=$?
	echo "$rc" >"$d/$out.status"
}

setup_file() {
	d=$BATS_FILE_TMPDIR
	need_modules || return 0
	command -v nbdkit >/dev/null || {
		echo "nbdkit: not installed" >"$d/unavailable"
		return 0
	}
	make -C "$RIG" BUILD="$BUILD_DIR" OUT="$d/rig" >"$d/make" 2>&1 || {
		cat "$d/make" >&2
		return 1
	}
	record upstream upstream
	[ ! -e "$d/unavailable" ] || return 0
	record ours "$(dirname "$TARGET_KO")"
	replay upstream upstream --emit "$d/upstream.states" --max "${RIG_STATES:-50}"
	replay ours ours --emit "$d/ours.states" --max "${RIG_STATES:-50}"
	activate_states with_upstream upstream upstream ours
	activate_states with_ours "$(dirname "$TARGET_KO")" upstream ours
}

setup() {
	need_guest
	d=$BATS_FILE_TMPDIR
}

# violations OUT: "SCENARIO RULE", one per line
violations() { sed -n 's/^@violations \([^ ]* [^ ]*\) .*/\1/p' "$d/$1" | sort; }

# number OUT SCENARIO WORD: what `@states` says behind WORD (states: how many in all)
number() {
	sed -n "s/^@states $2 /states /p" "$d/$1" |
		awk -v word="$3" '{ for (i = 1; i < NF; i++) if ($i == word) print $(i + 1) }'
}

# sum OUT WORD: the same over all activations
sum() {
	awk -v word="$2" '
	/^@activated/ { for (i = 1; i < NF; i++) if ($i == word) s += $(i + 1) }
	 END { print s + 0 }' "$d/$1"
}

# planted FAULT RULE...: the scenario `areas`, in which the kernel's own module breaks no rule, breaks these
planted() {
	local fault=$1 rule
	shift
	replay "fault-$fault" upstream --fault "$fault" --only areas --quiet
	cat "$d/fault-$fault"
	equal "$(cat "$d/fault-$fault.status")" 4 "status with $fault"
	for rule; do
		violations "fault-$fault" | grep -qx "areas $rule" || {
			echo "areas: expected violations of $rule"
			return 1
		}
	done
}

@test "crash: every scenario was lived through, and every kind of state was met" {
	for who in upstream ours; do
		for name in $SCENARIOS; do
			[ "$(number $who "$name" states)" -gt 0 ]
		done
		# a store is blank until its header is there
		[ "$(number $who life-4k blank)" -gt 0 ]
		[ "$(number $who torn stale)" -gt 0 ]
		[ "$(number $who full-P-origin invalid)" -gt 0 ]
		[ "$(number $who full-P-snapshot invalid)" -gt 0 ]
		[ "$(number $who full-PO-origin invalid)" -gt 0 ]
		[ "$(number $who full-PO-snapshot invalid)" -gt 0 ]
		grep -q '^@status full-PO-snapshot s0 Overflow$' "$d/$who"
	done
}

@test "crash: at least 2000 states of our module" {
	total=$(sed -n 's/^@total //p' "$d/ours")
	echo "# states that a power cut could leave: $total" >&3
	[ "$total" -ge 2000 ]
}

@test "crash: our module keeps every rule in every state" {
	cat "$d/ours"
	equal "$(violations ours)" ''
	equal "$(cat "$d/ours.status")" 0
}

@test "crash: the edge of the device: our module overflows (PO), or is invalid (P)" {
	grep -q '^@status edge-PO s0 Overflow$' "$d/ours"
	grep -q '^@status edge-P s0 Invalid$' "$d/ours"
	equal "$(number ours edge-PO invalid)" 0
}

@test "crash: the kernel's own module: a header is durable before its area is clear" {
	for name in $SCENARIOS; do
		case $name in
		# 512-byte chunks: LVM's 4 KiB of zeros reach over area 0
		areas | edge-*) ! violations upstream | grep -qx "$name creation" ;;
		*) violations upstream | grep -qx "$name creation" ;;
		esac || {
			echo "$name: $(violations upstream | grep "^$name ")"
			return 1
		}
	done
}

@test "crash: the kernel's own module: the origin is overwritten while the store is still valid" {
	for name in full-P-origin full-PO-origin full-PO-snapshot; do
		violations upstream | grep -qx "$name invalidation"
	done
}

@test "crash: the kernel's own module: invalid instead of overflow at the edge of the device" {
	violations upstream | grep -qx 'edge-PO invalid'
	grep -q '^@status edge-PO s0 Invalid$' "$d/upstream"
}

@test "crash: the kernel's own module breaks no other rule" {
	cat "$d/upstream"
	equal "$(cat "$d/upstream.status")" 4
	equal "$(violations upstream | grep -v -e ' creation$' -e '^full-P.* invalidation$' \
		-e '^edge-PO invalid$')" ''
}

@test "crash: found: no flush between the copied data and their exceptions" { planted drop-flush content; }
@test "crash: found: exceptions before the data that they point to" { planted swap content; }
@test "crash: found: a write to the origin before the exceptions that cover it" { planted origin-first content; }
@test "crash: found: no flush between merged data and the end of their exceptions" {
	planted drop-merge-flush merge
}

@test "crash: activated: our module shows what libdmfmt shows, goes on, and merges to the end" {
	cat "$d/with_ours"
	equal "$(cat "$d/with_ours.status")" 0
	echo "# states activated: $(sum with_ours @activated)" >&3
	equal "$(sum with_ours @activated)" $((2 * ${RIG_STATES:-50}))
	for word in valid blank invalid stale extended merged; do
		[ "$(sum with_ours $word)" -gt 0 ] || {
			echo "no state was $word"
			return 1
		}
	done
}

@test "crash: activated: with the kernel's own module what lies behind the end of a store becomes live" {
	cat "$d/with_upstream"
	equal "$(cat "$d/with_upstream.status")" 4
	equal "$(sum with_upstream @activated)" $((2 * ${RIG_STATES:-50}))
	equal "$(sed -n 's/^@bad \([^ ]*\) .*/\1/p' "$d/with_upstream" | sort -u)" extend
}
