# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# For the tests whose work is done by a program in the guest (programs/*.c):
#
#	build_program NAME		static, as $BATS_FILE_TMPDIR/NAME
#	fault_module			our dmfmt-fault.ko for this kernel, as $FAULT_KO
#	run_program SCRIPT [GUEST OPTION]... [-- ARG...]	what it says is kept for said()
#	said NAME KEY			the value of a line `@say NAME KEY VALUE`
#	more_than NAME KEY N		said is a number above N
#
# MODULES=ours|upstream (default ours): whose module; KERNEL: which kernel; KMOD_FULL=1: as long as it takes.

# shellcheck source=tests/kmod/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../lib.sh"
PROGRAMS=$KMOD/target/programs
# shellcheck disable=SC2034 # for the tests
SCRIPTS=$KMOD/target/scripts
MODULES=${MODULES:-ours}

build_program() {
	gcc -std=gnu11 -D_GNU_SOURCE -O2 -g -Wall -Wextra -Werror -static -pthread \
		-o "$BATS_FILE_TMPDIR/$1" "$PROGRAMS/$1.c" "$PROGRAMS"/{dm,io,store}.c
}

unavailable() { echo "$*" >"$BATS_FILE_TMPDIR/unavailable"; }

# not to be built here: the test skips; it does not compile: the test fails
fault_module() {
	local dir rc=0
	dir=$("$KMOD/build-modules" --name "$KERNEL-test" --make DMFMT_TEST=y "$KERNEL" \
		2>"$BATS_FILE_TMPDIR/fault.err") || rc=$?
	# shellcheck disable=SC2034 # for the tests
	case $rc in
	0) FAULT_KO=$dir/dmfmt-fault.ko ;;
	75) unavailable "$(tail -n 1 "$BATS_FILE_TMPDIR/fault.err")" ;;
	*)
		cat "$BATS_FILE_TMPDIR/fault.err" >&2
		return 1
		;;
	esac
}

run_program() {
	local script=$1 rc=0 out=$BATS_FILE_TMPDIR/out options=()
	shift
	[ ! -e "$BATS_FILE_TMPDIR/unavailable" ] || return 0
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	[ $# -eq 0 ] || shift
	"$KMOD/guest" --kernel "$KERNEL" --modules "$MODULES" --no-dmtool "${options[@]}" \
		"$SCRIPTS/$script" "$@" >"$out" 2>"$out.err" || rc=$?
	[ "$rc" -ne 121 ] || unavailable "$(head -n 1 "$out.err")"
	echo "$rc" >"$out.status"
}

# ended: the script came to its end, and the kernel had nothing to complain of
ended() {
	[ "$(cat "$BATS_FILE_TMPDIR/out.status")" -eq 0 ] || {
		echo "status $(cat "$BATS_FILE_TMPDIR/out.status")"
		tail -n 80 "$BATS_FILE_TMPDIR/out"
		tail -n 30 "$BATS_FILE_TMPDIR/out.err"
		return 1
	}
}

said() { sed -n "s/^@say $1 $2 //p" "$BATS_FILE_TMPDIR/out" | tail -n 1; }

more_than() {
	local nr
	nr=$(said "$1" "$2")
	[ "${nr:-0}" -gt "$3" ] || {
		echo "$1: $2: ${nr:-nothing}, expected more than $3"
		return 1
	}
}
