# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The crash rig's states, activated in a guest.
#
# usage: activate.sh STATES...	disks or files of `replay --emit`
set -u

must() {
	"$@" || {
		echo "activate: $*: status $?" >&2
		exit 99
	}
}

must modprobe dm-snapshot
must modprobe brd rd_nr=2 rd_size=8192
result=0
for states; do
	/guest/rigact "$states" /dev/ram0 /dev/ram1 || result=$?
done
exit $result
