#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the library may call and what it shows.

load ../lib/common

# what dmfmt.h declares
declared() {
	gcc -E -P "$TOP/libdmfmt/dmfmt.h" | tr '\n' ' ' |
		grep -o 'visibility("default"))) [^;]*;' |
		grep -o 'dmfmt_[a-z0-9_]*(' | awk -F'(' '!seen[$1]++ { print $1 }' |
		grep -vx -e dmfmt_field_fn | sort
}

exported() {
	nm -D --defined-only "$BUILD/libdmfmt.so.0" | awk '$2 ~ /[TDBRV]/ { sub(/@.*/, "", $3); print $3 }' |
		sort
}

@test "library: never prints, never exits" {
	run nm -uA "$BUILD/libdmfmt.a"
	bad=$(grep -E ' (__)?(v?f?printf|v?dprintf|f?puts|f?putc|putchar|perror|psignal|v?warnx?|v?errx?|syslog|exit|_exit|_Exit|quick_exit|abort|error|__assert_fail|raise|stdout|stderr)(_chk)?(@.*)?$' <<<"$output" || true)
	equal "$bad" ""
}

@test "library: exports dmfmt_* and nothing else" {
	run exported
	equal "$(grep -v '^dmfmt_' <<<"$output" | grep -v '^DMFMT_[0-9]*$')" ""
	[ "$(wc -l <<<"$output")" -gt 20 ]
}

@test "library: exports what dmfmt.h declares, all of it" {
	diff <(declared) <(exported | grep -v '^DMFMT_')
}

@test "library: the tool is content with what is exported" {
	# shellcheck disable=SC2046 # a list of libraries
	gcc -o "$BATS_TEST_TMPDIR/dmtool" "$BUILD"/tools/*.o "$BUILD/libdmfmt.so.0" \
		$(pkg-config --libs json-c) -pthread -Wl,-rpath,"$BUILD"
	run "$BATS_TEST_TMPDIR/dmtool" --version
	[ "$status" -eq 0 ]
}

@test "library: has no state outside its handles" {
	# what can change after the start lies in one of these sections
	run objdump -t "$BUILD/libdmfmt.a"
	equal "$(grep -E '[[:space:]](\.data|\.bss|\.tdata|\.tbss|\*COM\*)[[:space:]]' <<<"$output" |
		awk '$NF !~ /^\./' || true)" ""
}

@test "library: dmfmt.h is C99 and C++ by itself" {
	printf '#include "%s"\nint main(void) { return dmfmt_version() == 0; }\n' "$TOP/libdmfmt/dmfmt.h" \
		>"$BATS_TEST_TMPDIR/t.c"
	gcc -std=c99 -pedantic -Wall -Wextra -Werror -c -o "$BATS_TEST_TMPDIR/t.o" "$BATS_TEST_TMPDIR/t.c"
	clang -std=c99 -pedantic -Weverything -Wno-padded -Wno-documentation -Wno-documentation-unknown-command \
		-Wno-missing-prototypes -Wno-reserved-macro-identifier -Wno-reserved-identifier -Werror -fsyntax-only \
		"$BATS_TEST_TMPDIR/t.c"
	clang++ -x c++ -std=c++11 -Wall -Wextra -Werror -fsyntax-only "$BATS_TEST_TMPDIR/t.c"
}
