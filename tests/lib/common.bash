# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the tests of the tool share.  `load ../lib/common` (or ../../lib/common) first.
#
#	fixture NAME [ROLE] [FILE]	unpack an image of the fixtures; prints its path
#	dm ARGUMENT...			as bats' run: the tool, $status, $output, $stderr apart
#	status_is N [N...]		one of these
#	says TEXT			$output or $stderr contains it; says_not
#	json FILTER			jq over $output: one value
#	valid_json [TEXT]		$output is one JSON document that fits its schema
#	valid_lines			likewise for each line of --json-lines
#	unchanged FILE			since `remember FILE`

bats_require_minimum_version 1.5.0
status=0 output='' stderr=''

TOP=${TOP:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
BUILD=${BUILD:-$TOP/build}
case $BUILD in
/*) ;;
*) BUILD=$TOP/$BUILD ;;
esac
DMTOOL=${DMTOOL:-$BUILD/dmtool}
[ -x "$DMTOOL" ] || {
	echo "$DMTOOL: not there, run make first" >&2
	exit 1
}
SCHEMAS=${SCHEMAS:-$TOP/docs/schema}
FIXTURES=$TOP/tests/fixtures
PYTHON=${PYTHON:-$("$TOP/tests/lib/python")}
PATH=$PATH:/usr/sbin:/sbin
export TOP BUILD DMTOOL FIXTURES PYTHON PATH LC_ALL=C.UTF-8 NO_COLOR=1
# no undo file of a test lands in the machine's own place
export DMTOOL_UNDO_DIR=${BATS_TEST_TMPDIR:-${BATS_FILE_TMPDIR:-/nonexistent}}/undo
# nothing that is asked for hangs: see dm()
LIMIT=${LIMIT:-60}

# the names of all fixtures of a family, one per line
fixtures() {
	local dir
	for dir in "$FIXTURES/$1"/*/; do
		basename "$dir"
	done
}

manifest() {
	jq -r "$2" "$FIXTURES/$1/manifest.json"
}

# fixture FAMILY/NAME [ROLE] [FILE]
fixture() {
	local name=$1 role=${2:-cow} to
	[[ $name == */* ]] || name=snapshot/$name
	to=${3:-$BATS_TEST_TMPDIR/$role.img}
	xz -dc "$FIXTURES/$name/$role.img.xz" >"$to" || return 1
	echo "$to"
}

dm() {
	run --separate-stderr timeout -k 5 "$LIMIT" "$DMTOOL" "$@" </dev/null
	# bats shows these when the test fails
	printf '$ dmtool %s\nstatus %s\n%s\n%s\n' "$*" "$status" "$output" "$stderr"
	case $status in
	99 | 124 | 127 | 128 | 129 | 1[3-9]? | 2??)
		echo "the tool hung or crashed"
		return 1
		;;
	esac
}

status_is() {
	local n
	for n in "$@"; do
		[ "$status" -ne "$n" ] || return 0
	done
	echo "status $status, expected $*"
	return 1
}

says() {
	[[ $output == *"$1"* || $stderr == *"$1"* ]] || {
		echo "expected to read: $1"
		return 1
	}
}

says_not() {
	[[ $output != *"$1"* && $stderr != *"$1"* ]] || {
		echo "expected not to read: $1"
		return 1
	}
}

equal() {
	[ "$1" = "$2" ] || {
		echo "${3:-value}: \"$1\", expected \"$2\""
		return 1
	}
}

json() {
	jq -r "$1" <<<"$output"
}

valid_json() {
	printf '%s\n' "${1-$output}" | "$PYTHON" "$TOP/tests/lib/validate" "$SCHEMAS"
}

valid_lines() {
	printf '%s\n' "${1-$output}" | "$PYTHON" "$TOP/tests/lib/validate" --lines "$SCHEMAS"
}

# one line on standard error, in the form of all messages
one_message() {
	local lines
	lines=$(grep -c . <<<"$stderr")
	if [ "$lines" -lt 1 ] || [ "$lines" -gt "${1:-1}" ]; then
		echo "$lines lines on standard error, expected 1 to ${1:-1}"
		return 1
	fi
	[[ $stderr == dmtool:* || $stderr == fsck.* ]] || {
		echo "the message does not say whose it is"
		return 1
	}
}

remember() {
	local file
	for file in "$@"; do
		sha256sum <"$file" >"$file.remembered"
		stat -c %s "$file" >>"$file.remembered"
	done
}

unchanged() {
	local file
	for file in "$@"; do
		{ sha256sum <"$file"; stat -c %s "$file"; } | cmp -s - "$file.remembered" || {
			echo "$file: has changed"
			return 1
		}
	done
}

# put FILE OFFSET HEX...: overwrite bytes
put() {
	local file=$1 at=$2
	shift 2
	printf '%s' "$*" | tr -d ' ' | xxd -r -p | dd of="$file" bs=1 seek="$at" conv=notrunc status=none
}

# numbers as hex bytes the way they lie on disk
le32() { printf '%08x' "$(($1 & 0xffffffff))" | sed 's/\(..\)\(..\)\(..\)\(..\)/\4\3\2\1/'; }
le64() {
	local v=$(($1))
	le32 "$v"
	le32 $((v >> 32))
}
