#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What every file of the project has in common.

load ../lib/common

# all files that belong to the project
files() {
	cd "$TOP" || return 1
	if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
		git ls-files -co --exclude-standard
	else
		find . -type f ! -path './.git/*' ! -path "./build*" | sed 's|^\./||'
	fi | while read -r file; do
		[ ! -f "$file" ] || echo "$file"
	done
}

# files in which a comment can stand
sources() {
	local file
	files | grep -v -e '^LICENSES/' -e '^tests/fixtures/' | while read -r file; do
		case $file in
		*.c | *.h | *.in | *.map | *.sh | *.bash | *.bats | *.fish | *.py | *.[1-9] | *.service) ;;
		Makefile | */Makefile | */Kbuild | */compat/features | */dkms.conf | .clang-format | .editorconfig) ;;
		*) [ "$(head -c 2 "$TOP/$file" 2>/dev/null | tr -d '\0')" = '#!' ] || continue ;;
		esac
		echo "$file"
	done
}

scripts() {
	local file first
	files | grep -v '^tests/fixtures/' | while read -r file; do
		read -r first <"$TOP/$file" 2>/dev/null || continue
		case $file:$first in
		*.bats:* | *.bash:* | *.sh:* | *:'#!/bin/sh' | *:'#!/bin/bash' | *:'#!/usr/bin/env bash') echo "$file" ;;
		esac
	done
}

@test "text: every source begins with its licence" {
	local file
	bad=$(sources | while read -r file; do
		head -n 3 "$TOP/$file" | grep -q 'SPDX-License-Identifier: [A-Z]' || echo "$file"
	done)
	equal "$bad" "" "without SPDX line"
}

@test "text: the library is LGPL, everything else GPL, both texts are there" {
	local file
	bad=$(sources | while read -r file; do
		case $file in
		libdmfmt/*) licence=LGPL-2.1-or-later ;;
		man/*) licence='\(L\|\)GPL-2.[01]-or-later' ;;
		*) licence='\(GPL-2.0-or-later\|GPL-2.0-only\)' ;;
		esac
		head -n 3 "$TOP/$file" | grep -q "SPDX-License-Identifier: $licence" || echo "$file"
	done)
	equal "$bad" "" "other licence"
	grep -q 'GNU GENERAL PUBLIC LICENSE' "$TOP/LICENSES/GPL-2.0-or-later.txt"
	grep -q 'GNU LESSER GENERAL PUBLIC LICENSE' "$TOP/LICENSES/LGPL-2.1-or-later.txt"
}

@test "text: shellcheck has nothing to say" {
	cd "$TOP"
	scripts | grep -v '\.bats$' | xargs shellcheck -x -P SCRIPTDIR -P "$TOP"
	# each test is a subshell, and run sets status, output and stderr
	scripts | grep '\.bats$' | xargs shellcheck -x -P SCRIPTDIR -P "$TOP" -e SC2030,SC2031,SC2154
}

@test "text: python compiles" {
	local file
	for file in $(cd "$TOP" && files | grep -E '^(completions/generate|tests/|bench/)'); do
		head -n 1 "$TOP/$file" 2>/dev/null | tr -d '\0' | grep -q python3 || continue
		"$PYTHON" -c 'import ast, sys; ast.parse(open(sys.argv[1]).read())' "$TOP/$file"
	done
}

@test "text: no blanks at the end of a line, a newline at the end of a file" {
	local file
	bad=$(cd "$TOP" && sources | while read -r file; do
		grep -Hn '[[:blank:]]$' "$file"
		[ -z "$(tail -c 1 "$file")" ] || echo "$file: no newline at its end"
	done)
	equal "$bad" ""
}

@test "text: C is indented with tabs and about 100 columns wide" {
	# a few more where breaking the line would not help the reader; messages stay in one piece
	bad=$(cd "$TOP" && sources | grep '\.[ch]$' | while read -r file; do
		expand "$file" | grep -nE '^.{111,}' | grep -vE '"[^"]{40,}|https?:' | sed "s|^|$file:|"
		grep -nE '^ {8,}[^ *]' "$file" | sed "s|^|$file:|"
	done)
	equal "$bad" ""
}

@test "text: no work is left for later" {
	run grep -rnwE 'TODO|FIXME|XXX|HACK' "$TOP/libdmfmt" "$TOP/tools" "$TOP/man" "$TOP/kmod"
	equal "$output" ""
}
