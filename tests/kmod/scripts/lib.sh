# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# For scripts that run in the guest: `. /guest/lib.sh`.  Lines that begin with @ are for the tests
# (lib.sh, outside), all others for people.

# say NAME KEY VALUE: something a test wants to know
say() { printf '@say %s\n' "$*"; }

# try NAME COMMAND...: run it; its output and its exit status go to the test as step NAME
try() {
	try_name=$1
	shift
	"$@" >/tmp/.out 2>/tmp/.err
	report "$try_name" $? /tmp/.out /tmp/.err
}

# report NAME STATUS OUT ERR: the same for a command that ran elsewhere
report() {
	awk -v head="@1 $1 " '{ print head $0 }' "$3"
	awk -v head="@2 $1 " '{ print head $0 }' "$4"
	echo "@end $1 $2"
}

# must COMMAND...: what the test stands on
must() {
	"$@" || {
		echo "must $*: status $?"
		exit 99
	}
}

# Cut all images out of the packed disk, as /dev/mapper/NAME.  One dmsetup for all: under emulation
# starting a program costs as much as most of what is tested here.
#
# slices [DISK INDEX]
slices() {
	must dmsetup create --concise "$(awk -v disk="${1:-/dev/vda}" '
		{ printf "%s%s,,,rw,0 %s linear %s %s", NR == 1 ? "" : ";", $1, $3, disk, $2 }' \
		"${2:-/guest/index}")"
}

# sectors of a device
sectors() { blockdev --getsz "$1"; }

# activate NAME TABLE: make the device; say what the kernel thinks of it:
#	NAME result	ok, or the errno by its name
#	NAME status	the target's status line without its table range and name
# and keep both in $result and $target_status
activate() {
	target_status=
	if dmsetup create "$1" --table "$2" 2>/tmp/.activate; then
		result=ok
		target_status=$(dmsetup status "$1" | cut -d ' ' -f 4-)
		say "$1" status "$target_status"
	else
		result=$(errno_name </tmp/.activate)
	fi
	say "$1" result "$result"
	[ "$result" = ok ]
}

errno_name() {
	sed -n '/failed/{s/.*Invalid argument.*/EINVAL/;s/.*Input\/output error.*/EIO/
s/.*No such device or address.*/ENXIO/;s/.*Device or resource busy.*/EBUSY/
s/.*Cannot allocate memory.*/ENOMEM/;s/.*failed: *//;p;q;}'
}

# content_of DEVICE: sha256 of all of it
content_of() { sha256sum "$1" | cut -d ' ' -f 1; }

# stop COMMAND...: as if the power failed right after COMMAND; nothing is synced or unmounted.  What the
# script has said until then goes out first, so that nothing comes between.
stop() {
	for tty in ttyS1 ttyS2; do
		[ $tty = ttyS1 ] || echo "status 0" >/dev/ttyS2
		stty -F /dev/$tty raw -echo	# waits until all is out
	done
	"$@"
	echo b >/proc/sysrq-trigger
	sleep 60
}
