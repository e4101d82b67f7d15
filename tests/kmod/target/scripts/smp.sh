# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Many threads on an origin and its snapshots (programs/smp.c).  Arguments: those of the program.

modprobe dm-snapshot || exit 9
modprobe brd rd_nr=4 rd_size=8192 || exit 9
./smp "$@" || exit 1
rmmod dm_snapshot || exit 2
