#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# dmtool on the block devices and the persistent memory of a write cache: who uses them is respected, what
# the kernel wrote below the page cache is seen, 4096-byte blocks and bad blocks are no obstacle.

load lib.sh

manifest() { jq -r "$2" "$FIXTURES/writecache/$1/manifest.json"; }
image() { xz -dc "$FIXTURES/writecache/$1/$2.img.xz" >"$d/$3"; }
sha() { sha256sum <"$1" | cut -d ' ' -f 1; }

# the first dirty block that no other one overwrites
ENTRY=4

setup_file() {
	local sector
	d=$BATS_FILE_TMPDIR
	export DMTOOL_UNDO_DIR=$d
	image wc-s4096-crash origin vda
	image wc-s4096-crash cache vdb
	image wc-p4096-crash origin vdc
	image wc-p4096-crash cache pmem
	truncate -s 4M "$d/vdd"
	truncate -s 8M "$d/vde"
	image wc-s4096-dirty cache vdf
	image wc-s4096-dirty origin vdg
	truncate -s 1M "$d/small"
	"$DMTOOL" writecache-create "$d/small" --block-size 512 --no-undo >/dev/null
	# where the data of that entry are, and of which sector
	sector=$(wc_info "$d/vdf" geometry.data_sector)
	"$DMTOOL" writecache-dump --json-lines "$d/vdf" | grep '^{"original_sector"' |
		sed -n "$((ENTRY + 1))s/.*sector\":\([0-9]*\),.*/\1/p" >"$d/lost"
	# with that block missing, the origin is what was expected but for the old content there
	xz -dc "$FIXTURES/writecache/wc-s4096-dirty/expected.img.xz" >"$d/without"
	dd if="$d/vdg" of="$d/without" bs=512 skip="$(cat "$d/lost")" seek="$(cat "$d/lost")" count=8 \
		conv=notrunc status=none
	cp "$d/vdg" "$d/old"
	boot "$KMOD/scripts/writecache_blockdev.sh" --timeout 300 --module ext4 \
		--disk "$d/vda" --disk "$d/vdb" --disk "$d/vdc" \
		--disk "$d/vdd,logical_block_size=4096,physical_block_size=4096" \
		--disk "$d/vde,logical_block_size=4096,physical_block_size=4096" \
		--disk "$d/vdf" --disk "$d/vdg" --pmem "$d/pmem" --with "$d/small:/guest/small.img" \
		-- $((sector + 8 * ENTRY))
}

setup() { need_guest; }

@test "writecache devices: an active cache is refused by everything that writes" {
	for verb in flush repair create fsck; do
		step "active-$verb"
		equal "$status" 8 "$verb"
		expect "is in use (dm device wc (writecache))"
	done
	equal "$(got active cache)" same
	equal "$(got active origin)" same
}

@test "writecache devices: an active cache is read with --live only" {
	step active-check
	equal "$status" 8
	expect "--live"
	step active-live
	equal "$status" 0
	expect "may change while it is read"
}

@test "writecache devices: a mounted origin is refused" {
	step mounted-flush
	equal "$status" 8
	expect "mounted on /mnt"
	equal "$(got mounted cache)" same
	step same-flush
	equal "$status" 16
}

@test "writecache devices: what the kernel wrote below the page cache is seen" {
	step direct-info
	equal "$(jq -r .status.line <<<"$output")" "0 1020 1020 0"
	# the kernel's flush, with three blocks written over
	xz -dc "$FIXTURES/writecache/wc-s4096-crash/expected.img.xz" >"$BATS_TEST_TMPDIR/expected"
	dd if=/dev/zero of="$BATS_TEST_TMPDIR/expected" bs=4096 seek=1000 count=3 conv=notrunc status=none
	equal "$(got direct content)" "$(sha "$BATS_TEST_TMPDIR/expected")"
}

@test "writecache devices: on persistent memory, probe, check, flush, and the kernel agrees" {
	step pmem-probe
	equal "$(jq -r .format <<<"$output")" writecache
	step pmem-check
	equal "$status" 0
	expect "199 never committed"
	step pmem-flush
	equal "$status" 0
	equal "$(got pmem origin)" "$(manifest wc-p4096-crash .expected.logical_sha256)"
	equal "$(got pmem result)" ok
	equal "$(got pmem status)" "0 1020 1020 0 0 0 0 0 0 0 0 0 0 0"
}

@test "writecache devices: a block size below the devices' is refused, as by the kernel" {
	step large-create-512
	equal "$status" 16
	equal "$(got large-512 result)" EINVAL
}

@test "writecache devices: with 4096-byte blocks a cache is made, checked and flushed" {
	step large-create
	equal "$status" 0
	equal "$(got large result)" ok
	equal "$(got large status)" "0 1020 1020 0 0 0 0 0 0 0 0 0 0 0"
	read -r _ n free _ < <(got large dirty)
	equal "$free" $((n - 9))
	step large-check
	equal "$status" 0
	step large-flush
	equal "$status" 0
	[ -n "$(got large content)" ]
	equal "$(got large origin)" "$(got large content)"
	equal "$(got large-clean status)" "0 1020 1020 0 0 0 0 0 0 0 0 0 0 0"
}

@test "writecache devices: with unreadable entries the kernel shows old data, as info and check say" {
	step badentries-check
	equal "$status" 4
	equal "$(jq -r '[.findings[].code] | unique | join(" ")' <<<"$output")" writecache.entry.unreadable
	step badentries-info
	equal "$(jq -r .activation.verdict <<<"$output")" danger
	equal "$(jq -r .status.line <<<"$output")" "$(got badwc status | cut -d ' ' -f 1-4)"
	equal "$(got badwc status | cut -d ' ' -f 1)" 1
	equal "$(got badwc content)" "$(got badwc origin)"
	equal "$(got badwc origin)" "$(sha "$BATS_FILE_TMPDIR/old")"
	step badentries-flush
	equal "$status" 4
}

@test "writecache devices: a bad block costs that block alone, and nothing when it is back" {
	step bad-check
	equal "$status" 4
	equal "$(jq -r '.findings[] | "\(.code) \(.record)"' <<<"$output")" "writecache.data.unreadable $ENTRY"
	step bad-flush
	equal "$status" 4
	equal "$(got bad origin)" "$(sha "$BATS_FILE_TMPDIR/without")"
	step bad-map
	expect "$(printf '0x%08X  0x00001000  -' $(($(cat "$BATS_FILE_TMPDIR/lost") * 512)))"
	step bad-info
	equal "$(jq -r .entries.committed <<<"$output")" 1
	step bad-again
	equal "$status" 0
	equal "$(got bad whole)" "$(manifest wc-s4096-dirty .expected.logical_sha256)"
}
