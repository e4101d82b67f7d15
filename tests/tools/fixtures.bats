#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Every store that the kernel made: the tool sees what the kernel sees, and what it writes back is
# what the kernel wrote.

load ../lib/common

setup() {
	failed=
	cd "$BATS_TEST_TMPDIR" || return 1
}

# run `look NAME` for every fixture, in a folder of its own; tell all that fail
each() {
	local name nr=0
	for name in $(fixtures snapshot); do
		nr=$((nr + 1))
		mkdir "$BATS_TEST_TMPDIR/$name"
		cd "$BATS_TEST_TMPDIR/$name" || return 1
		fixture "$name" cow cow >/dev/null
		look "$name" >said 2>&1 || {
			# the first in full, the others by name
			[ -n "$failed" ] || sed "s/^/$name: /" said | tail -n 30
			failed="$failed $name"
		}
		cd .. && rm -rf "$name"
	done
	[ $nr -ge 17 ] || {
		echo "$nr fixtures, expected at least 17"
		return 1
	}
	equal "$failed" ""
}

valid() {
	[ "$(manifest "snapshot/$1" .expected.logical_sha256)" != null ]
}

# the kernel's status line without start, length and target
kernel_status() {
	manifest "snapshot/$1" .expected.status_after_attach | cut -d' ' -f4-
}

@test "fixtures: all are there and are what their manifests say" {
	local name role
	for name in $(fixtures snapshot); do
		for role in origin cow; do
			fixture "$name" "$role" image >/dev/null
			equal "$(sha256sum <image | cut -d' ' -f1)" \
				"$(manifest "snapshot/$name" ".images.$role.sha256")" "$name $role"
		done
	done
}

@test "fixtures: info prints the kernel's status line" {
	look() {
		dm snapshot-info cow --json && status_is 0 && valid_json || return 1
		equal "$(json .status.line)" "$(kernel_status "$1")" || return 1
		equal "$(json .header.chunk_size)" "$(manifest "snapshot/$1" .parameters.chunk_sectors)" chunk_size ||
			return 1
		valid "$1" || return 0
		equal "$(json '"\(.status.allocated_sectors)/\(.status.total_sectors) \(.status.metadata_sectors)"')" \
			"$(kernel_status "$1")" && equal "$(json .activation.verdict)" accept || return 1
		dm snapshot-info cow
		status_is 0
		says "$(kernel_status "$1")"
	}
	each
}

@test "fixtures: check finds nothing in a valid store, and says so of an invalid one" {
	look() {
		fixture "$1" origin origin >/dev/null
		remember cow origin
		dm snapshot-check cow origin --data --strict --json && valid_json && unchanged cow origin || return 1
		if valid "$1"; then
			# an old store may carry what only --strict minds
			equal "$(json '[.findings[] | select(.severity == "fatal" or .severity == "repairable")] | length')" 0
			dm snapshot-check cow origin
			status_is 0
		else
			status_is 4
			equal "$(json '[.findings[].code | select(. == "snapshot.header.invalidated")] | length')" 1
		fi
	}
	each
}

@test "fixtures: check finds the same in any amount of memory" {
	look() {
		dm snapshot-check cow --json && mv "$BATS_TEST_TMPDIR/$1/said" said.1
		first=$(json '{findings, s: (.summary | del(.passes))}')
		dm snapshot-check cow --json --memory 16M
		equal "$(json '{findings, s: (.summary | del(.passes))}')" "$first"
	}
	each
}

@test "fixtures: probe knows them" {
	look() {
		dm probe cow --json && status_is 0 && valid_json && equal "$(json .format)" snapshot || return 1
		dm probe cow --udev
		status_is 0
	}
	each
}

@test "fixtures: the dump's exceptions over the origin are what the kernel showed" {
	look() {
		valid "$1" || return 0
		fixture "$1" origin origin >/dev/null
		"$DMTOOL" snapshot-dump --json-lines cow >dump || return 1
		"$TOP/tests/lib/shown" dump origin cow >shown
		equal "$(sha256sum <shown | cut -d' ' -f1)" "$(manifest "snapshot/$1" .expected.logical_sha256)"
	}
	each
}

@test "fixtures: dump and restore give all metadata back byte for byte, and touch nothing else" {
	look() {
		local option
		for option in --json --json-lines; do
			"$DMTOOL" snapshot-dump $option cow >dump || return 1
			# over the store itself: nothing changes at all
			cp cow copy
			dm snapshot-restore dump --output copy --undo undo && status_is 0 1 || return 1
			cmp cow copy || return 1
			rm -f undo
			# over a store that lost its exceptions: areas come back, data stay
			cp cow copy
			dm snapshot-dump --json copy
			zero_areas copy
			"$DMTOOL" snapshot-restore dump --output copy --no-undo >out 2>&1 || {
				[ $? -eq 1 ] || { cat out; return 1; }
			}
			cmp cow copy || return 1
			# to a new file: the same metadata, no data
			dm snapshot-restore dump --output new --metadata-only && status_is 0 || return 1
			equal "$(stat -c %s new)" "$(stat -c %s cow)" || return 1
			"$DMTOOL" snapshot-dump $option new >again
			cmp <(sed 's|"device": *"[^"]*"|"device":""|' dump) \
				<(sed 's|"device": *"[^"]*"|"device":""|' again) || return 1
			keep_metadata cow only
			cmp only new || return 1
			rm new
		done
	}
	each
}

# all areas but the header, from the header's own chunk size
areas() {
	local chunk sectors
	chunk=$(od -An -tu4 -j12 -N4 "$1" | tr -d ' ')
	sectors=$(($(stat -c %s "$1") / 512))
	local at=$chunk
	while [ $((at + chunk)) -le $sectors ]; do
		echo "$at $chunk"
		at=$((at + (chunk * 32 + 1) * chunk))
	done
}

zero_areas() {
	local at nr
	while read -r at nr; do
		dd if=/dev/zero of="$1" bs=512 seek="$at" count="$nr" conv=notrunc status=none
	done < <(areas "$1")
}

# keep_metadata FROM TO: header, areas up to the one that ends the chain; zeros elsewhere
keep_metadata() {
	local at nr last
	last=$("$DMTOOL" snapshot-dump --json-lines "$1" | tail -n 1 | jq .nr_areas)
	truncate -s 0 "$2"
	truncate -s "$(stat -c %s "$1")" "$2"
	dd if="$1" of="$2" bs=512 count="$(od -An -tu4 -j12 -N4 "$1" | tr -d ' ')" conv=notrunc status=none
	while read -r at nr; do
		[ $((last--)) -gt 0 ] || break
		dd if="$1" of="$2" bs=512 skip="$at" seek="$at" count="$nr" conv=notrunc status=none
	done < <(areas "$1")
}

@test "fixtures: a saved and expanded image gives the same findings" {
	look() {
		dm snapshot-check cow --json
		local findings
		findings=$(json '{findings, s: (.summary | del(.passes))}')
		dm image cow --output saved && status_is 0 || return 1
		dm image --expand saved --output expanded --json && status_is 0 && valid_json || return 1
		equal "$(stat -c %s expanded)" "$(stat -c %s cow)" || return 1
		dm snapshot-check expanded --json
		equal "$(json '{findings, s: (.summary | del(.passes))}')" "$findings" || return 1
		equal "$("$DMTOOL" snapshot-dump --json-lines expanded | sed 1d | sha256sum)" \
			"$("$DMTOOL" snapshot-dump --json-lines cow | sed 1d | sha256sum)" || return 1
		dm image cow --output hidden --obfuscate && status_is 0 || return 1
		dm image --expand hidden --output guessed && status_is 0 || return 1
		dm snapshot-check guessed --json
		equal "$(json '.summary | del(.passes)')" "$(jq .s <<<"$findings")" || return 1
		equal "$("$DMTOOL" snapshot-dump --ranges guessed | wc -l)" \
			"$("$DMTOOL" snapshot-dump --ranges cow | wc -l)" || return 1
		# no image where one is already
		dm image cow --output saved
		status_is 8
	}
	each
}

@test "fixtures: find agrees with the dump, in both directions" {
	look() {
		local chunk old new
		chunk=$(od -An -tu4 -j12 -N4 cow | tr -d ' ')
		while read -r old new; do
			dm snapshot-find cow $((old * chunk + 1)) && status_is 0 && says "$((new * chunk + 1))" || return 1
			dm snapshot-find cow --reverse $((new * chunk)) && status_is 0 && says "$((old * chunk))" ||
				return 1
		done < <("$DMTOOL" snapshot-dump --json-lines cow | jq -r 'select(has("old_chunk") and
			(has("area") | not)) | "\(.old_chunk) \(.new_chunk)"' | awk 'NR % 97 == 1' | head -n 5)
	}
	each
}

@test "fixtures: ls and map agree with the dump" {
	look() {
		local chunk sectors
		chunk=$(od -An -tu4 -j12 -N4 cow | tr -d ' ')
		sectors=$("$DMTOOL" snapshot-dump --json-lines cow | tail -n 1 | jq ".nr_exceptions * $chunk")
		dm snapshot-ls cow --json && status_is 0 && valid_json || return 1
		equal "$(json '[.runs[].nr_sectors] | add // 0')" "$sectors" || return 1
		dm snapshot-ls cow && status_is 0 || return 1
		dm snapshot-map cow --json && status_is 0 && valid_json || return 1
		equal "$(json '[.store[].used] | add')" \
			"$("$DMTOOL" snapshot-info cow --json | jq '.status.allocated_sectors / .header.chunk_size')" ||
			return 1
		dm snapshot-map cow --width 40 && status_is 0 || return 1
		dm snapshot-map cow --width 40 --ascii && status_is 0 || return 1
		equal "$(grep -E '^ *[0-9.]+ ([KMGT]i)?B  ' <<<"$output" | awk 'length > 40')" "" || return 1
		equal "$(LC_ALL=C grep -n '[^ -~]' <<<"$output" || true)" "" || return 1
		dm snapshot-map cow --svg map.svg && status_is 0 || return 1
		"$PYTHON" -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' map.svg
	}
	each
}

@test "fixtures: repair has nothing to do on a valid store" {
	look() {
		valid "$1" || return 0
		remember cow
		dm snapshot-repair -y cow --undo undo
		status_is 0
		unchanged cow
		[ ! -e undo ]
	}
	each
}

@test "fixtures: a mended store is undone byte for byte" {
	look() {
		valid "$1" || return 0
		put cow 4 02
		remember cow
		dm snapshot-repair -p cow --undo undo --json && status_is 1 && valid_json || return 1
		dm snapshot-check cow && status_is 0 || return 1
		dm undo undo --list --json && status_is 0 && valid_json || return 1
		dm undo undo --dry-run && status_is 0 || return 1
		dm undo undo
		status_is 0 1
		unchanged cow
	}
	each
}
