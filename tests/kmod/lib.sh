# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# For the tests of this folder.  A file of tests boots one guest in its setup_file(): the script in it
# does all the work and prints what came out, and each test then looks at one part of that:
#
#	boot SCRIPT [GUEST OPTION]...	run it, keep what it printed
#	step NAME			as bats' run: $status and $output (standard output), $stderr
#	got NAME [KEY]			what the script printed with `say NAME KEY VALUE`
#
# Where no guest can be had the tests skip, with guest's own reason; any other trouble is a failure.

KMOD=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TOP=$(cd "$KMOD/../.." && pwd)
# shellcheck disable=SC2034 # for the tests
FIXTURES=$TOP/tests/fixtures
KERNEL=${KERNEL:-6.1}

# What the tests of the targets show at length under Linux 6.1, with its own module beside ours, they show
# with ours and for a shorter time under the others; KMOD_FULL=1: everything everywhere, for as long as it takes.
brief() { [ "$KERNEL" != 6.1 ] && [ -z "${KMOD_FULL-}" ]; }

# span BRIEF USUAL FULL: one of the three
span() {
	if brief; then echo "$1"; elif [ -z "${KMOD_FULL-}" ]; then echo "$2"; else echo "$3"; fi
}
case ${BUILD:-build} in
/*) BUILD_DIR=${BUILD:-build} ;;
*) BUILD_DIR=$TOP/${BUILD:-build} ;;
esac
DMTOOL=${DMTOOL:-$BUILD_DIR/dmtool}
export DMTOOL
status='' output='' stderr=''

# ---- images --------------------------------------------------------------------------------------

# Many images travel on one disk, each as a slice that begins at a multiple of 1 MiB; the guest cuts
# them out again by dm-linear (scripts/lib.sh).  Images of persistent memory travel the same way in a
# memory of their own.
pack_begin() {
	PACK=$BATS_FILE_TMPDIR/pack.img
	PACK_INDEX=$BATS_FILE_TMPDIR/index
	PMEM=$BATS_FILE_TMPDIR/pmem.img
	PMEM_INDEX=$BATS_FILE_TMPDIR/index.pmem
	rm -f "$PACK" "$PMEM"
	: >"$PACK_INDEX"
	: >"$PMEM_INDEX"
	# a disk must not be empty, a memory is made of 2 MiB pages
	truncate -s 1M "$PACK"
	truncate -s 2M "$PMEM"
}

# slice_add IMAGE INDEX UNIT NAME FILE: behind what is there, in multiples of UNIT MiB
slice_add() {
	local bytes at
	bytes=$(stat -c %s "$5") || return 1
	at=$(($(stat -c %s "$1") >> 20))
	echo "$4 $((at << 11)) $((bytes >> 9))" >>"$2"
	truncate -s "$((at + ((bytes >> 20) / $3 + 1) * $3))M" "$1"
	dd if="$5" of="$1" bs=1M seek="$at" conv=notrunc,sparse status=none
}

# pack_add NAME FILE, pmem_add NAME FILE
pack_add() { slice_add "$PACK" "$PACK_INDEX" 1 "$1" "$2"; }
pmem_add() { slice_add "$PMEM" "$PMEM_INDEX" 2 "$1" "$2"; }

# unpack NAME FILE: the slice as the guest left it
unpack() {
	local start sectors image
	for image in pack pmem; do
		read -r _ start sectors < <(grep -s "^$1 " \
			"$BATS_FILE_TMPDIR/index$([ $image = pack ] || echo .pmem)") || continue
		dd if="$BATS_FILE_TMPDIR/$image.img" of="$2" bs=1M iflag=skip_bytes,count_bytes \
			conv=sparse skip=$((start << 9)) count=$((sectors << 9)) status=none
		return
	done
	echo "unpack $1: no such slice" >&2
	return 1
}

# put FILE OFFSET HEX...: overwrite bytes, e.g. put cow 4096 0100000000000000
put() {
	local file=$1 at=$2
	shift 2
	local hex=${*// /}
	# shellcheck disable=SC2001,SC2059 # the format is made of \x..
	printf "$(sed 's/../\\x&/g' <<<"$hex")" | dd of="$file" bs=64K oflag=seek_bytes seek="$at" \
		conv=notrunc status=none
}

# le32 NUMBER, le64 NUMBER: the hex bytes as they lie on disk; numbers may be 0x...
le32() {
	local v=$(($1))
	printf '%02x%02x%02x%02x' $((v & 255)) $((v >> 8 & 255)) $((v >> 16 & 255)) $((v >> 24 & 255))
}
le64() {
	le32 "$1"
	le32 $(($1 >> 32))
}

# entries: as hex, exceptions from lines OLD NEW
entries() {
	local old new
	while read -r old new; do
		le64 "$old"
		le64 "$new"
	done
}

# entry FILE BYTES_PER_CHUNK INDEX OLD NEW: exception INDEX of area 0
entry() { put "$1" $(($2 + 16 * $3)) "$(le64 "$4")$(le64 "$5")"; }

# blank_store FILE CHUNK_SECTORS SECTORS: a sound, empty store, made without dmtool
blank_store() {
	truncate -s 0 "$1"
	truncate -s $(($3 << 9)) "$1"
	put "$1" 0 "$(le32 0x70416e53)$(le32 1)$(le32 1)$(le32 "$2")"
}

# ---- the guest -----------------------------------------------------------------------------------

# boot SCRIPT [GUEST OPTION]... [-- ARG...]
boot() {
	local script=$1 rc=0 out=$BATS_FILE_TMPDIR/out options=()
	shift
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	[ $# -eq 0 ] || shift
	[ -x "$DMTOOL" ] || {
		echo "$DMTOOL: no such program; build it first" >&2
		return 1
	}
	"$KMOD/guest" --kernel "$KERNEL" --with "$KMOD/scripts/lib.sh:/guest/lib.sh" "${options[@]}" \
		"$script" "$@" >"$out" 2>"$out.err" || rc=$?
	if [ "$rc" -eq 121 ]; then
		head -n 1 "$out.err" >"$BATS_FILE_TMPDIR/unavailable"
		return 0
	fi
	[ "$rc" -eq 0 ] || {
		echo "guest: status $rc" >&2
		cat "$out.err" "$out" >&2
		return 1
	}
}

# in setup(): no guest, no test
need_guest() {
	[ ! -e "$BATS_FILE_TMPDIR/unavailable" ] || skip "$(cat "$BATS_FILE_TMPDIR/unavailable")"
}

# what `say NAME KEY VALUE` printed in the guest
got() { sed -n "s/^@say $1 $2 //p" "$BATS_FILE_TMPDIR/out" | tail -n 1; }

# what `try NAME COMMAND` did in the guest
# shellcheck disable=SC2034 # the tests read them
step() {
	local out=$BATS_FILE_TMPDIR/out
	status=$(sed -n "s/^@end $1 //p" "$out")
	[ -n "$status" ] || {
		echo "step $1 did not run"
		return 1
	}
	output=$(sed -n "s/^@1 $1 //p" "$out")
	stderr=$(sed -n "s/^@2 $1 //p" "$out")
	# shown by bats when the test fails
	printf 'step %s: status %s\n%s\n%s\n' "$1" "$status" "$output" "$stderr"
}

# expect TEXT: $output or $stderr contains it
expect() {
	case "$output
$stderr" in
	*"$1"*) ;;
	*)
		echo "expected to read: $1"
		return 1
		;;
	esac
}

# equal GOT EXPECTED [WHAT]
equal() {
	[ "$1" = "$2" ] || {
		echo "${3:-value}: $1, expected $2"
		return 1
	}
}

# ---- what dmtool says ----------------------------------------------------------------------------

# info FILE PATH: one value of snapshot-info, e.g. info cow status.line
info() { "$DMTOOL" snapshot-info --json "$1" | jq -r ".$2"; }

# the same of writecache-info
wc_info() { "$DMTOOL" writecache-info --json "$1" "${@:3}" | jq -r ".$2"; }

# verdict FILE [FAMILY [OPTION]...]: what the kernel will do with it, in the words of `activate`
# (scripts/lib.sh)
verdict() {
	"$DMTOOL" "${2:-snapshot}-info" --json "$1" "${@:3}" |
		jq -r '.activation | if .verdict == "reject" then .errno else .verdict end'
}
