# shellcheck shell=sh disable=SC1091
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Let the kernel judge stores: for each slice named in /guest/list (after its table's chunk size), say
# in one word what it did: accept, invalid, format, or the errno of the refusal.
. /guest/lib.sh

modprobe dm-snapshot
slices origin

header() { dd if="/dev/mapper/$1" bs=16 count=1 2>/dev/null | hexdump -C | head -n 1; }

word() {
	old=$(header "$2")
	if ! activate "$1" "0 4096 snapshot /dev/mapper/origin /dev/mapper/$2 P $3"; then
		errno_name </tmp/.activate
		return
	fi
	case $(dmsetup status "$1") in
	*Invalid) echo invalid ;;
	*) if [ "$(header "$2")" = "$old" ]; then echo accept; else echo format; fi ;;
	esac
	dmsetup remove "$1"
}

while read -r c cow; do
	slices "$cow"
	# activate() speaks to the test, in lines of its own
	word "$cow.snap" "$cow" "$c" >/tmp/.word
	grep '^@' /tmp/.word
	say "$cow" word "$(grep -v '^@' /tmp/.word)"
	must dmsetup remove "$cow"
done </guest/list
