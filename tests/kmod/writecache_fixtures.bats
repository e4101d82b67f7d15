#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# writecache-info says the status that the kernel reports, before it does, and this kernel shows the
# content that was recorded.

load lib.sh

# the caches that are fuller than the high watermark: the kernel has begun to write back before it is asked
BUSY='wc-s4096-full wc-p512-crash'

names() { (cd "$FIXTURES/writecache" && echo *); }
manifest() { jq -r "$2" "$FIXTURES/writecache/$1/manifest.json"; }

setup_file() {
	local name mode start d=$BATS_FILE_TMPDIR add
	pack_begin
	for name in $(names); do
		xz -dc "$FIXTURES/writecache/$name/origin.img.xz" >"$d/origin"
		xz -dc "$FIXTURES/writecache/$name/cache.img.xz" >"$d/cache"
		mode=$(manifest "$name" '.expected.table | split(" ")[3]')
		start=$(manifest "$name" '.expected.table | split(" ") |
			if .[8] == "start_sector" then .[9] else 0 end')
		wc_info "$d/cache" status.line --start-sector "$start" >"$d/$name.line"
		verdict "$d/cache" writecache --start-sector "$start" >"$d/$name.verdict"
		add=pack_add
		[ "$mode" = s ] || add=pmem_add
		pack_add "$name.origin" "$d/origin"
		$add "$name.cache" "$d/cache"
		echo "$name $mode $name.origin $name.cache" \
			"$(manifest "$name" '.expected.table | split(" ") | "\(.[1]) \(.[6])"') $start show"
	done >"$d/list"
	boot "$KMOD/scripts/writecache.sh" --disk "$PACK" --pmem "$PMEM" --timeout 400 \
		--with "$PACK_INDEX:/guest/index" --with "$PMEM_INDEX:/guest/index.pmem" \
		--with "$d/list:/guest/list"
}

setup() { need_guest; }

# the first four numbers: error, n_blocks, free, under write-back
state() { cut -d ' ' -f 1-4 <<<"$1"; }

@test "writecache fixtures: the kernel accepts them, as writecache-info says" {
	for name in $(names); do
		equal "$(got "$name" result)" ok "$name"
		equal "$(cat "$BATS_FILE_TMPDIR/$name.verdict")" accept "$name"
	done
}

@test "writecache fixtures: writecache-info says the kernel's status line" {
	for name in $(names); do
		case " $BUSY " in
		*" $name "*) continue ;;
		esac
		equal "$(cat "$BATS_FILE_TMPDIR/$name.line")" "$(state "$(got "$name" status)")" "$name"
		equal "$(cat "$BATS_FILE_TMPDIR/$name.line")" \
			"$(manifest "$name" '.expected.status_after_attach | split(" ")[3:7] | join(" ")')" "$name"
	done
}

@test "writecache fixtures: where the kernel writes back at once, it shows no fewer free blocks" {
	for name in $BUSY; do
		read -r error blocks free _ <"$BATS_FILE_TMPDIR/$name.line"
		read -r their_error their_blocks their_free _ < <(got "$name" status)
		equal "$their_error $their_blocks" "$error $blocks" "$name"
		[ "$free" -gt 0 ]
		[ "$their_free" -ge "$free" ]
	done
}

@test "writecache fixtures: the kernel shows the recorded content" {
	for name in $(names); do
		equal "$(got "$name" content)" "$(manifest "$name" .expected.logical_sha256)" "$name"
	done
}
