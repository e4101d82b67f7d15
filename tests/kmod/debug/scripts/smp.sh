# shellcheck shell=sh disable=SC1091
# SPDX-License-Identifier: GPL-2.0-or-later
#
# smp.sh on|off PROCESSORS SCRIPT [ARG]... - SCRIPT (a file in /guest), on all of so many processors; on:
# and whether it leaks memory
. /guest/lib.sh

watch=$1
leaks=/sys/kernel/debug/kmemleak
[ "$(nproc)" -eq "$2" ] || { echo "smp.sh: $(nproc) processors, expected $2"; exit 8; }
shift 2

if [ "$watch" = on ]; then
	must mount -t debugfs debug /sys/kernel/debug
	# what the kernel itself left lying about is not the script's
	must echo scan >$leaks
	must echo clear >$leaks
fi
sh "$@"
status=$?
if [ "$watch" = on ]; then
	# it takes no object that is younger than 5 seconds for a leak, and counts twice
	sleep 6
	echo scan >$leaks
	echo scan >$leaks
	head -n 60 $leaks >/tmp/leaks
	cat /tmp/leaks
	[ $status -ne 0 ] || [ ! -s /tmp/leaks ] || status=7
fi
exit $status
