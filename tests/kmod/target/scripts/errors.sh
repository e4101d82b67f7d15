# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Each I/O of a fixed work fails in its turn (programs/errors.c).  Arguments: those of the program.

modprobe dm-snapshot || exit 9
modprobe brd rd_nr=3 rd_size=4096 || exit 9
insmod ./dmfmt-fault.ko || exit 9
./errors "$@" || exit 1
rmmod dmfmt_fault || exit 2
rmmod dm_snapshot || exit 2
