# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The crash rig's states, activated in a guest.
#
# usage: activate.sh STATES	a disk or a file of `replay --emit`
set -u

must() {
	"$@" || {
		echo "activate: $*: status $?" >&2
		exit 99
	}
}

if [ -e /guest/dm-snapshot.ko ]; then
	must modprobe dm-bufio
	must insmod /guest/dm-snapshot.ko
else
	must modprobe dm-snapshot
fi
must modprobe brd rd_nr=2 rd_size=8192
exec /guest/rigact "$1" /dev/ram0 /dev/ram1
