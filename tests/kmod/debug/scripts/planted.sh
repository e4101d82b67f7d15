# shellcheck shell=sh disable=SC1091
# SPDX-License-Identifier: GPL-2.0-or-later
#
# planted.sh MISTAKE... - make them one after the other, in one machine
. /guest/lib.sh

for what; do
	must insmod /guest/planted.ko what="$what"
	must rmmod planted
done
