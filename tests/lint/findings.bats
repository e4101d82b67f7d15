#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The list of findings: a number and a name for life.

load ../lib/common

# "number severity code" of each finding
list() {
	printf '%s\n' '#define DMFMT_FINDING(id, number, rule, severity, code, text, kernel) @ number severity code rule text' \
		"#include \"$TOP/libdmfmt/findings.h\"" | gcc -E -P -x c - | tr '\n' ' ' | sed 's/@/\n/g' |
		grep '[a-z]'
}

@test "findings: numbers and codes stand once" {
	[ "$(list | wc -l)" -gt 10 ]
	equal "$(list | awk '{ print $1 }' | sort | uniq -d)" ""
	equal "$(list | awk '{ print $3 }' | sort | uniq -d)" ""
}

@test "findings: codes are family.thing.what, in the family's thousand" {
	equal "$(list | awk '{ print $3 }' | grep -vE '^"[a-z]+\.[a-z0-9_]+\.[a-z0-9_]+"$' || true)" ""
	# the snapshot's are 1000 to 1999
	equal "$(list | awk '$3 ~ /^"snapshot\./ && ($1 < 1000 || $1 > 1999)')" ""
}

@test "findings: texts are one line, small first letter, no full stop" {
	equal "$(list | sed 's/^[^"]*"[^"]*" [0-9]* "//' | grep -E '^[A-Z][a-z]|\."$|\\n' || true)" ""
}

@test "findings: the format's page knows every rule that a finding names" {
	local rule
	for rule in $(list | awk '$3 ~ /^"snapshot\./ { print $4 }' | sort -nu); do
		[ "$rule" -eq 0 ] || grep -qE "^\.It (Sy |Em )?$rule\b|^\.It\b.*\b$rule\b" "$TOP/man/dm-snapshot-format.5" || {
			echo "dm-snapshot-format(5): no rule $rule"
			return 1
		}
	done
}
