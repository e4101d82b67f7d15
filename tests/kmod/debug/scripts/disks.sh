# shellcheck shell=sh disable=SC1091
# SPDX-License-Identifier: GPL-2.0-or-later
#
# disks.sh [ARG]... - smp (target/programs/smp.c) on four disks under the names of RAM disks: what these
# do at once, in whoever asked for it, ends here in interrupts, on any processor
. /guest/lib.sh

must modprobe dm-snapshot
i=0
for disk in vda vdb vdc vdd; do
	must ln -s $disk /dev/ram$i
	i=$((i + 1))
done
/guest/smp "$@" || exit 1
must rmmod dm_snapshot
