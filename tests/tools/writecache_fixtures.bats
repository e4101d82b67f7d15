#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Every cache that the kernel made: the tool sees what the kernel sees.

load ../lib/common

setup() {
	failed=
	cd "$BATS_TEST_TMPDIR" || return 1
}

# run `look NAME` for every fixture, in a folder of its own, $start set; tell all that fail
each() {
	local name nr=0
	for name in $(fixtures writecache); do
		nr=$((nr + 1))
		mkdir "$BATS_TEST_TMPDIR/$name"
		cd "$BATS_TEST_TMPDIR/$name" || return 1
		fixture "writecache/$name" cache cache >/dev/null
		start=$(manifest "writecache/$name" \
			'(.expected.table | capture("start_sector (?<s>[0-9]+)").s) // "0"')
		start=${start:-0}
		look "$name" >said 2>&1 || {
			# the first in full, the others by name
			[ -n "$failed" ] || sed "s/^/$name: /" said | tail -n 30
			failed="$failed $name"
		}
		cd .. && rm -rf "$name"
	done
	[ $nr -ge 19 ] || {
		echo "$nr fixtures, expected at least 19"
		return 1
	}
	equal "$failed" ""
}

# the kernel's status line, word by word: error n_blocks free
kernel_status() {
	manifest "writecache/$1" .expected.status_after_attach | cut -d' ' -f4-6
}

# the kernel had begun to write back when it was asked: it shows more free blocks
written_back() {
	[ "$1" = wc-s4096-full ] || [ "$1" = wc-p512-crash ]
}

@test "caches: all are there and are what their manifests say" {
	look() {
		fixture "writecache/$1" origin origin >/dev/null
		local role
		for role in cache origin; do
			equal "$(sha256sum <$role | cut -d' ' -f1)" \
				"$(manifest "writecache/$1" ".images.$role.sha256")" "$role" || return 1
		done
	}
	each
}

@test "caches: info prints what the kernel counts" {
	look() {
		local error n free
		read -r error n free < <(kernel_status "$1")
		remember cache
		dm writecache-info cache --start-sector "$start" --json && status_is 0 && valid_json &&
			unchanged cache || return 1
		equal "$(json .superblock.block_size)" "$(manifest "writecache/$1" .parameters.block_size)" \
			block_size || return 1
		equal "$(json .superblock.n_blocks)" "$n" n_blocks || return 1
		equal "$(json .activation.verdict)" accept && equal "$error" 0 || return 1
		if written_back "$1"; then
			[ "$(json .status.free_blocks)" -le "$free" ]
		else
			equal "$(json .status.free_blocks)" "$free" free
		fi
	}
	each
}

@test "caches: check finds nothing that the kernel would mind" {
	look() {
		fixture "writecache/$1" origin origin >/dev/null
		remember cache origin
		dm writecache-check cache origin --start-sector "$start" --data --json && status_is 0 && valid_json &&
			unchanged cache origin || return 1
		equal "$(json '[.findings[] | select(.severity == "fatal" or .severity == "repairable")] | length')" 0
	}
	each
}

@test "caches: check finds the same in any amount of memory" {
	look() {
		local first
		dm writecache-check cache --start-sector "$start" --json && status_is 0 || return 1
		first=$(json '{findings, s: (.summary | del(.passes))}')
		dm writecache-check cache --start-sector "$start" --json --memory 16M && status_is 0 || return 1
		equal "$(json '{findings, s: (.summary | del(.passes))}')" "$first"
	}
	each
}

@test "caches: probe knows them" {
	look() {
		local at=()
		[ "$start" -eq 0 ] || at=(--start-sector "$start")
		dm probe cache "${at[@]}" --json && status_is 0 && valid_json || return 1
		equal "$(json .format)" writecache || return 1
		dm probe cache "${at[@]}" --udev
		status_is 0
		says writecache
	}
	each
}

@test "caches: the name that fsck(8) calls" {
	ln -s "$DMTOOL" fsck.dm_writecache
	look() {
		[ "$start" -eq 0 ] || return 0
		remember cache
		run ../fsck.dm_writecache -n cache
		echo "$output"
		equal "$status" 0 && unchanged cache || return 1
		put cache 0 20
		run ../fsck.dm_writecache -n cache
		equal "$status" 4
	}
	each
}

@test "caches: every 50th sector that find names holds what the kernel showed" {
	look() {
		local to from nr
		fixture "writecache/$1" expected expected >/dev/null
		"$DMTOOL" writecache-dump --resolved --json-lines --start-sector "$start" cache >runs 2>/dev/null ||
			"$DMTOOL" writecache-dump --resolved --start-sector "$start" cache >runs || return 1
		# not one row: nothing may be dirty then
		grep -E '^ *[0-9]+ +[0-9]+ +[0-9]+ +[0-9]+' runs | awk '{ print $(NF - 2), $(NF - 1), $NF }' >rows || true
		if [ ! -s rows ]; then
			equal "$("$DMTOOL" writecache-info --json --start-sector "$start" cache |
				jq '.status.free_blocks == .superblock.n_blocks')" true
			return
		fi
		while read -r to from nr; do
			dm writecache-find cache "$((to + nr - 1))" --start-sector "$start" && status_is 0 &&
				says "$((from + nr - 1))" || return 1
			cmp <(dd if=cache bs=512 skip="$from" count="$nr" status=none) \
				<(dd if=expected bs=512 skip="$to" count="$nr" status=none) || return 1
		done < <(awk 'NR % 50 == 1' rows)
	}
	each
}

@test "caches: an image has the entries and nothing of the gap or the blocks" {
	look() {
		local n b end at=()
		[ "$start" -eq 0 ] || at=(--start-sector "$start")
		n=$(kernel_status "$1" | cut -d' ' -f2)
		b=$(manifest "writecache/$1" .parameters.block_size)
		end=$((start * 512 + 64 + 16 * n))
		# what may never go along
		head -c $(((end + b - 1) / b * b - end)) /dev/zero | tr '\0' 'Q' |
			dd of=cache bs=64k oflag=seek_bytes seek=$end conv=notrunc status=none
		dm image cache "${at[@]}" --output saved && status_is 0 || return 1
		dm image --expand saved --output expanded --json && status_is 0 && valid_json || return 1
		equal "$(stat -c %s expanded)" "$(stat -c %s cache)" size || return 1
		cmp -n $((64 + 16 * n)) -i $((start * 512)) cache expanded || return 1
		equal "$(tail -c +$((end + 1)) expanded | tr -d '\0' | wc -c)" 0 "bytes behind the entries" || return 1
		dm writecache-check expanded --start-sector "$start" --json && status_is 0 || return 1
		# hidden: the same counts, other sectors
		dm image cache "${at[@]}" --output hidden --obfuscate && status_is 0 || return 1
		dm image --expand hidden --output guessed && status_is 0 || return 1
		equal "$("$DMTOOL" writecache-info --start-sector "$start" --json guessed | jq .status)" \
			"$("$DMTOOL" writecache-info --start-sector "$start" --json cache | jq .status)"
	}
	each
}

@test "caches: cat shows what the kernel shows" {
	look() {
		local at=()
		[ "$start" -eq 0 ] || at=(--start-sector "$start")
		fixture "writecache/$1" origin origin >/dev/null
		fixture "writecache/$1" expected expected >/dev/null
		"$DMTOOL" cat cache origin "${at[@]}" >shown
		cmp shown expected
	}
	each
}

@test "caches: map draws them, its cells add up" {
	look() {
		local info
		info=$("$DMTOOL" writecache-info --start-sector "$start" --json cache)
		dm writecache-map cache --start-sector "$start" --json && status_is 0 && valid_json || return 1
		# an entry that loses or was never committed occupies its block until the kernel frees it
		equal "$(json '[.store[].used] | add // 0')" \
			"$(jq '.superblock.n_blocks - .entries.free' <<<"$info")" "blocks in use" || return 1
		equal "$(json '[.origin[].used] | add // 0')" "$(jq .entries.dirty_blocks <<<"$info")" "on the origin" ||
			return 1
		equal "$(json '[.age[].used] | add // 0')" "$(jq .entries.dirty_blocks <<<"$info")" "by age" || return 1
		dm writecache-map cache --start-sector "$start" --width 40 --ascii && status_is 0 || return 1
		equal "$(LC_ALL=C grep -n '[^ -~]' <<<"$output" || true)" "" || return 1
		dm writecache-map cache --start-sector "$start" --svg map.svg && status_is 0 || return 1
		"$PYTHON" -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' map.svg
	}
	each
}

@test "caches: nbdkit serves what the kernel shows" {
	local plugin=$BUILD/nbdkit-dmfmt-plugin.so
	[ -e "$plugin" ] || skip "the plugin was not built: nbdkit's header is not here"
	[ -z "${DMFMT_SANITIZED-}" ] || skip "nbdkit itself is not built with the sanitizers"
	command -v nbdkit >/dev/null || skip "nbdkit is not here"
	command -v nbdcopy >/dev/null || skip "nbdcopy is not here"
	look() {
		fixture "writecache/$1" origin origin >/dev/null
		fixture "writecache/$1" expected expected >/dev/null
		# shellcheck disable=SC2016 # nbdkit's shell knows it
		timeout 60 nbdkit -U - "$plugin" store=cache origin=origin start-sector="$start" \
			--run 'nbdcopy "$uri" out' && cmp out expected
	}
	each
}
