# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=sh disable=SC1091,SC2034,SC2086 # for the scripts; names and numbers, without blanks
#
# For scripts that run in the guest and try the snapshot targets: `. /guest/target.sh`.
#
# Checks come in groups, each of which begins with clean devices:
#
#	group NAME		what follows belongs to it
#	is WHAT GOT EXPECTED	has WHAT GOT PART	hasnt WHAT GOT PART	one check
#	end			how many checks there were; all devices are removed
#
# Devices are slices of one large RAM disk, each with a name: `dev NAME SECTORS [TAG]`.
. /guest/lib.sh

M=/dev/mapper
group=none checks=0

group() {
	group=$1
	checks=0
	dmesg -c >/tmp/.earlier
}

verdict() {
	echo "@check $group $1 $2"
	checks=$((checks + 1))
}

is() {
	if [ "$2" = "$3" ]; then
		verdict ok "$1"
	else
		verdict bad "$1: $(echo "$2" | head -c 600), expected $3"
	fi
}

# like is, with several values that may be expected
among() {
	among_what=$1 among_got=$2
	shift 2
	for among_one in "$@"; do
		[ "$among_got" != "$among_one" ] || {
			verdict ok "$among_what"
			return
		}
	done
	verdict bad "$among_what: $among_got, expected one of $*"
}

has() {
	case $2 in
	*"$3"*) verdict ok "$1" ;;
	*) verdict bad "$1: $(echo "$2" | tail -n 3 | tr '\n' '|' | head -c 600), expected $3 in it" ;;
	esac
}

hasnt() {
	case $2 in
	*"$3"*) verdict bad "$1: $3 in it, expected not" ;;
	*) verdict ok "$1" ;;
	esac
}

end() {
	dmsetup remove_all >/dev/null 2>&1
	left=$(dmsetup ls | grep -v '^No devices')
	[ -z "$left" ] || verdict bad "devices are left: $left"
	echo "@done $group $checks"
}

# ---- modules -------------------------------------------------------------------------------------

# use ours|upstream: load that module, after the one that is loaded, if any
use() {
	[ ! -e /sys/module/dm_snapshot ] || must rmmod dm-snapshot
	modprobe dm-bufio
	case $1 in
	ours) must insmod /guest/ours/dm-snapshot.ko ;;
	upstream) must modprobe dm-snapshot ;;
	*) must false "$1" ;;
	esac
	module=$1
}

# ---- devices -------------------------------------------------------------------------------------

pool=/dev/ram0
pool_next=0

# one disk whose pages come when they are written
make_pool() {
	must modprobe brd rd_nr=1 rd_size=8388608 max_part=0
	modprobe loop
}

# dev NAME SECTORS [TAG]: a slice, zero, or filled with sectors of that tag
dev() {
	must dmsetup create "$1" --table "0 $2 linear $pool $pool_next"
	pool_next=$((pool_next + ($2 + 2047) / 2048 * 2048))
	[ -z "${3-}" ] || must io "$M/$1" "w:0:$2:$3" >/dev/null
}

# swap NAME TABLE: another table for a device that is in use
swap() {
	must dmsetup suspend --noflush "$1"
	must dmsetup load "$1" --table "$2"
	must dmsetup resume "$1"
}

# make NAME TABLE [OPTION]...: $made is ok or an errno
make() {
	make_name=$1 make_table=$2
	shift 2
	if dmsetup create "$make_name" "$@" --table "$make_table" 2>/tmp/.make; then
		made=ok
	else
		made=$(errno_name </tmp/.make)
	fi
}

# snap NAME ORIGIN COW TYPE CHUNK [FEATURE]...: and with the length of the origin
snap() {
	snap_name=$1 snap_line="$M/$2 $M/$3 $4 $5" snap_len=$(sectors "$M/$2")
	shift 5
	[ $# -eq 0 ] || snap_line="$snap_line $# $*"
	make "$snap_name" "0 $snap_len snapshot $snap_line"
}

merge() {
	make "$1" "0 $(sectors "$M/$2") snapshot-merge $M/$2 $M/$3 $4 $5"
}

origin() { make "$1" "0 $(sectors "$M/$2") snapshot-origin $M/$2"; }

remove() { dmsetup remove "$@" || verdict bad "remove $*"; }

# ---- what is seen --------------------------------------------------------------------------------

# status, table, number of events; a device as MAJOR:MINOR
st() { dmsetup status "$1" | cut -d ' ' -f 4-; }
table_of() { dmsetup table "$1" | cut -d ' ' -f 3-; }
events() { dmsetup info -c --noheadings -o events "$1" | tr -d ' '; }
mm() { printf '%d:%d' "0x$(stat -c %t "$M/$1")" "0x$(stat -c %T "$M/$1")"; }

# past the page cache, which would not see what a target writes below it
content_of() { dd if="$1" bs=64K iflag=direct 2>/dev/null | sha256sum | cut -d ' ' -f 1; }

# map NAME STEP [START COUNT], raw NAME STEP [START COUNT]: letters, see io.c
map() { io "$M/$1" "m:${3-0}:${4-0}:$2"; }
raw() { io "$M/$1" "b:${3-0}:${4-0}:$2"; }
write() { io "$M/$1" "w:$2:$3:$4"; }

# repeat N LETTER
repeat() { printf "%${1}s" '' | tr ' ' "$2"; }

le32() { printf '%02x%02x%02x%02x' $(($1 & 255)) $(($1 >> 8 & 255)) $(($1 >> 16 & 255)) $(($1 >> 24 & 255)); }
le64() { le32 "$1"; le32 $(($1 >> 32)); }

# header NAME CHUNK [VALID [VERSION]], entry NAME CHUNK INDEX OLD NEW: written to a COW device (area 0)
header() {
	must io "$M/$1" "p:0:$(le32 0x70416e53)$(le32 "${3-1}")$(le32 "${4-1}")$(le32 "$2")" >/dev/null
}
entry() {
	must io "$M/$1" "p:$(($2 * 512 + $3 * 16)):$(le64 "$4")$(le64 "$5")" >/dev/null
}
# got_entry NAME CHUNK INDEX, in hexadecimal digits; magic_valid NAME: the first 8 bytes
got_entry() { io "$M/$1" "x:$(($2 * 512 + $3 * 16)):16"; }
magic_valid() { io "$M/$1" x:0:8; }
VALID=536e417001000000
INVALID=536e417000000000

# until_true SECONDS COMMAND...: 0 as soon as it is
until_true() {
	until_left=$(($1 * 10))
	shift
	until "$@"; do
		until_left=$((until_left - 1))
		[ $until_left -gt 0 ] || return 1
		sleep 0.1
	done
}

# allocated and metadata are the same when nothing is left
merged() {
	# shellcheck disable=SC2046 # words
	set -- $(st "$1")
	[ "${1%/*}" = "${2-none}" ]
}
status_is() { [ "$(st "$1")" = "$2" ]; }
event_after() { [ "$(events "$1")" -gt "$2" ]; }

# ---- what reaches the disk, and in which order ------------------------------------------------------

# recorded ORIGIN_SECTORS COW_SECTORS: devices o and c, both on one that dm-log-writes records.  In its log
# a write stands where it became durable: at its end with FUA, else before the next flush.
recorded() {
	modprobe dm-log-writes
	dev lb $(($1 + $2))
	dev ll 262144
	must io $M/lb "w:0:$1:A" >/dev/null
	must dmsetup create lw --table "0 $(($1 + $2)) log-writes $M/lb $M/ll"
	must dmsetup create o --table "0 $1 linear $M/lw 0"
	must dmsetup create c --table "0 $2 linear $M/lw $1"
	log_cow=$1
}

# mark: only what comes later counts
mark() { must dmsetup message lw 0 mark here; }

# read the log, of all devices that must be removed for it
recorded_log() {
	dmsetup remove "$@" o c lw || verdict bad "remove $* o c lw"
	is "log" "$(io $M/ll L:/tmp/log)" ok
	# the last mark is its own
	awk -v last=$(($(grep -c ' [FAD]*M ' /tmp/log) - 1)) \
		'$3 ~ /M/ { n++; next } n == last' /tmp/log >/tmp/log.end
}

# durable_first SECTOR CONTENT SECTOR CONTENT: "yes" if the first such write is durable before the second
# such write was made, so that no power cut leaves the second one alone
durable_first() {
	awk -v s1="$1" -v t1="$2" -v s2="$3" -v t2="$4" '
		function covers(sector) { return $1 <= sector && sector < $1 + $2 }
		covers(s2) && $4 == t2 && !b { b = 1; if ($3 ~ /F/ && a) durable = 1; ok = a && durable }
		a && !b && $3 ~ /F/ { durable = 1 }
		covers(s1) && $4 == t1 && !a && !b { a = 1; if ($3 ~ /A/) durable = 1 }
		END { print !b ? "second not there" : ok ? "yes" : a ? "not durable" : "not first" }' /tmp/log.end
}

# run_groups ours|upstream GROUP...: do_GROUP for each
run_groups() {
	use "$1"
	shift
	make_pool
	for one in "$@"; do
		group "$one"
		"do_$one"
		end
	done
}
