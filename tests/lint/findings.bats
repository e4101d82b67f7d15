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

# "family thousand page": whose numbers are whose, and where their rules are told
families() {
	printf '%s\n' \
		'snapshot 1000 dm-snapshot-format.5' \
		'writecache 2000 dm-writecache-format.5'
}

@test "findings: numbers and codes stand once" {
	[ "$(list | wc -l)" -gt 10 ]
	equal "$(list | awk '{ print $1 }' | sort | uniq -d)" ""
	equal "$(list | awk '{ print $3 }' | sort | uniq -d)" ""
}

@test "findings: codes are family.thing.what, in the family's thousand" {
	equal "$(list | awk '{ print $3 }' | grep -vE '^"[a-z]+\.[a-z0-9_]+\.[a-z0-9_]+"$' || true)" ""
	local family thousand page code
	while read -r family thousand page; do
		equal "$(list | awk -v family="\"$family." -v from="$thousand" \
			'index($3, family) == 1 && ($1 < from || $1 > from + 999)')" ""
		# and nobody else's are there
		equal "$(list | awk -v family="\"$family." -v from="$thousand" \
			'index($3, family) != 1 && $1 >= from && $1 <= from + 999')" ""
	done < <(families)
	# no family has been forgotten here
	list | sed 's/^[^"]*"\([a-z]*\)\..*/\1/' | sort -u | while read -r code; do
		families | grep -q "^$code " || echo "$code: not in families()"
	done >"$BATS_TEST_TMPDIR/out"
	equal "$(cat "$BATS_TEST_TMPDIR/out")" ""
}

@test "findings: texts are one line, small first letter, no full stop" {
	equal "$(list | sed 's/^[^"]*"[^"]*" [0-9]* "//' | grep -E '^[A-Z][a-z]|\."$|\\n' || true)" ""
}

@test "findings: the format's page knows every rule that a finding names" {
	local family thousand page rule
	while read -r family thousand page; do
		[ "$(list | grep -c "\"$family\\.")" -gt 10 ]
		for rule in $(list | grep "\"$family\\." | awk '{ print $4 }' | sort -nu); do
			[ "$rule" -eq 0 ] || grep -qE "^\.It Rule $rule\$" "$TOP/man/$page" || {
				echo "$page: no rule $rule"
				return 1
			}
		done
	done < <(families)
}

@test "findings: the rules of a page stand once each and without a gap" {
	local family thousand page
	while read -r family thousand page; do
		sed -n 's/^\.It Rule //p' "$TOP/man/$page" | sort -n >"$BATS_TEST_TMPDIR/rules"
		[ "$(wc -l <"$BATS_TEST_TMPDIR/rules")" -gt 10 ]
		seq "$(wc -l <"$BATS_TEST_TMPDIR/rules")" | cmp - "$BATS_TEST_TMPDIR/rules"
	done < <(families)
}
