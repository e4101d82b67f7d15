# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# For the tests of the targets, on top of ../lib.sh.  The scripts in the guest judge what they see
# themselves (scripts/target.sh) and print one line per check, in groups; a test asks for a group:
#
#	target_boot OUT SCRIPT [GUEST OPTION]... [-- ARG...]	run it; what it prints is kept as OUT
#	holds OUT GROUP		all checks of the group were made, and all are good
#	breaks OUT GROUP	the kernel's own module makes this very group fail (a known defect)
#
# MODULES=ours|upstream says which modules a script loads with `use modules` (default ours),
# KERNEL which kernel is booted (default 6.1).

# shellcheck source=tests/kmod/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck disable=SC2034 # for the tests
SCRIPTS=$KMOD/target/scripts
MODULES=${MODULES:-ours}

# our modules for KERNEL: the folder with the .ko files; else why there are none
modules_folder() {
	if [ -n "${OURS_DIR-}" ]; then
		echo "$OURS_DIR"
	elif [ -x "$KMOD/build-modules" ]; then
		"$KMOD/build-modules" "$KERNEL" 2>"$BATS_FILE_TMPDIR/modules.err"
	else
		echo "no build-modules" >"$BATS_FILE_TMPDIR/modules.err"
		return 1
	fi
}

# need_modules: in setup_file(); what could not be built for this kernel is not tested (exit status 75
# of build-modules), what does not compile is a failure
need_modules() {
	local rc=0
	[ -z "${TARGET_KO-}" ] || return 0
	TARGET_KO=$(modules_folder)/dm-snapshot.ko || rc=$?
	if [ "$rc" -eq 75 ]; then
		tail -n 1 "$BATS_FILE_TMPDIR/modules.err" >"$BATS_FILE_TMPDIR/unavailable"
		return 1
	fi
	[ -r "$TARGET_KO" ] || {
		cat "$BATS_FILE_TMPDIR/modules.err" >&2
		echo "$TARGET_KO: no such file" >&2
		exit 1
	}
}

# the program that writes and reads in the guest; static, so that it starts fast
build_io() {
	local program=$BATS_FILE_TMPDIR/bin/io
	[ ! -x "$program" ] || return 0
	mkdir -p "$BATS_FILE_TMPDIR/bin"
	gcc -O2 -Wall -Wextra -static -o "$program" "$KMOD/target/io.c"
}

# module_file NAME: a module of the kernel that is booted, by its name, unpacked
module_file() {
	local dir file out=$BATS_FILE_TMPDIR/modules/$1.ko
	dir=$("$KMOD/fetch-kernel" "$KERNEL") || return
	file=$(find "$dir/lib/modules" -name "$1.ko*" -print -quit)
	[ -n "$file" ] || return 0
	mkdir -p "$BATS_FILE_TMPDIR/modules"
	case $file in
	*.xz) xz -dc "$file" >"$out" ;;
	*.zst) zstd -qdc "$file" >"$out" ;;
	*) cp "$file" "$out" ;;
	esac
	echo "$out"
}

# target_boot OUT SCRIPT [GUEST OPTION]... [-- ARG...]
# guest's exit status stays in OUT.status, for the tests to judge.  On its command line: slab caches keep
# their names, and a host under load does not look like a broken timer.
target_boot() {
	local script=$2 rc=0 out=$BATS_FILE_TMPDIR/$1 options=()
	shift 2
	[ ! -e "$BATS_FILE_TMPDIR/unavailable" ] || return 0
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	[ $# -eq 0 ] || shift
	build_io
	[ -z "${TARGET_KO-}" ] || options+=(--with "$TARGET_KO:/guest/ours/dm-snapshot.ko")
	"$KMOD/guest" --kernel "$KERNEL" --with "$KMOD/scripts/lib.sh:/guest/lib.sh" \
		--with "$SCRIPTS/target.sh:/guest/target.sh" --with "$BATS_FILE_TMPDIR/bin/io:/usr/bin/io" \
		--modules upstream --memory 768 --timeout 500 --log "$out.log" \
		--append 'slab_nomerge no_timer_check' "${options[@]}" \
		"$script" "$@" >"$out" 2>"$out.err" || rc=$?
	echo "$rc" >"$out.status"
	case $rc in
	121) head -n 1 "$out.err" >"$BATS_FILE_TMPDIR/unavailable" ;;
	125)
		cat "$out.err" >&2
		return 1
		;;
	esac
}

# said OUT NAME KEY: what the script printed with `say NAME KEY VALUE`
said() { sed -n "s/^@say $2 $3 //p" "$BATS_FILE_TMPDIR/$1" | tail -n 1; }

# the group came to its end, and with as many checks as it says
whole_group() {
	local out=$BATS_FILE_TMPDIR/$1 nr
	nr=$(sed -n "s/^@done $2 //p" "$out" | tail -n 1)
	[ "${nr:-0}" -gt 0 ] && [ "$(grep -c "^@check $2 " "$out")" -eq "$nr" ]
}

holds() {
	local out=$BATS_FILE_TMPDIR/$1 rc=0
	[ "$(cat "$out.status")" -lt 120 ] || cat "$out.err"
	if ! whole_group "$1" "$2"; then
		echo "$2: did not come to its end"
		tail -n 20 "$out"
		rc=1
	fi
	! grep "^@check $2 bad" "$out" || rc=1
	return $rc
}

breaks() {
	whole_group "$1" "$2" || {
		echo "$2: did not come to its end"
		return 1
	}
	grep -q "^@check $2 bad" "$BATS_FILE_TMPDIR/$1" || {
		echo "$2: every check is good with the kernel's own module"
		grep "^@check $2 " "$BATS_FILE_TMPDIR/$1"
		return 1
	}
}

# the kernel said nothing worse than messages, and the script ended
quiet() {
	[ "$(cat "$BATS_FILE_TMPDIR/$1.status")" -eq 0 ] || {
		cat "$BATS_FILE_TMPDIR/$1.err"
		return 1
	}
}
