# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Random operations against a model in memory (programs/model.c).
# Arguments: those of the program, without --reload.

modprobe dm-snapshot || exit 9
modprobe brd rd_nr=5 rd_size=8192 || exit 9
./model --reload 'rmmod dm_snapshot && modprobe dm-snapshot' "$@" || exit 1
rmmod dm_snapshot || exit 2
