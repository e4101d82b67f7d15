# shellcheck shell=sh disable=SC1091
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Type the commands of /guest/session, one per line, and print them with what they say, as a document
# shows it.
. /guest/lib.sh

first=yes
while read -r command; do
	[ "$first" = yes ] || echo
	first=
	printf '$ %s\n' "$command"
	sh -c "$command" </dev/null 2>&1
	status=$?
	[ $status -eq 0 ] || echo "(exit status $status)"
done </guest/session
