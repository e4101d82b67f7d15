#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The kernel accepts what writecache-create makes, with all blocks free, and would have written the very
# same superblock and entries.

load lib.sh

BLOCKS='512 1024 2048 4096'
STARTS='0 2048'
# of the device behind start_sector: round ones, odd ones, ones where the first guess at n_blocks is too
# large; the last one has more than one granule of entries for each block size
SIZES='16 41 2051 16384 70001'
ORIGIN_SECTORS=4096

# each NAME BLOCK_SIZE START SECTORS of them
cases() {
	local b start size
	for b in $BLOCKS; do
		for start in $STARTS; do
			for size in $SIZES; do
				# the last size once per block size is enough
				[ "$size" -lt 70000 ] || [ "$start" = 0 ] || continue
				echo "$b-$start-$size $b $start $size"
			done
		done
	done
}

setup_file() {
	local name b start size d=$BATS_FILE_TMPDIR
	export DMTOOL_UNDO_DIR=$d
	pack_begin
	yes "what the origin holds" | head -c $((ORIGIN_SECTORS << 9)) >"$d/origin"
	pack_add origin "$d/origin"
	while read -r name b start size; do
		rm -f "$d/ours" "$d/kernel"
		truncate -s $(((start + size) << 9)) "$d/ours" "$d/kernel"
		# old content behind the first block must not matter
		[ "$size" -ne 16384 ] || yes "old content" | dd of="$d/ours" bs=4096 seek=$((start / 8 + 1)) \
			count=1500 iflag=fullblock conv=notrunc status=none
		"$DMTOOL" writecache-create "$d/ours" --block-size "$b" --start-sector "$start" --no-undo \
			>"$d/create.out" 2>&1 || {
			echo "$name"
			cat "$d/create.out"
			return 1
		} >&2
		wc_info "$d/ours" status.line --start-sector "$start" >"$d/$name.line"
		wc_info "$d/ours" superblock.n_blocks --start-sector "$start" >"$d/$name.blocks"
		verdict "$d/ours" writecache --start-sector "$start" >"$d/$name.verdict"
		metadata "$d/ours" "$start" "$(cat "$d/$name.blocks")" >"$d/$name.meta"
		pack_add "ours-$name.cache" "$d/ours"
		pack_add "kernel-$name.cache" "$d/kernel"
		echo "ours-$name s origin ours-$name.cache $ORIGIN_SECTORS $b $start show,meta" >>"$d/list"
		echo "kernel-$name s origin kernel-$name.cache $ORIGIN_SECTORS $b $start load,meta" >>"$d/list"
	done < <(cases)
	# persistent memory: the same bytes
	truncate -s 0 "$d/ours" "$d/kernel"
	truncate -s 4M "$d/ours" "$d/kernel"
	"$DMTOOL" writecache-create "$d/ours" --no-undo >/dev/null 2>&1
	pmem_add ours-pmem.cache "$d/ours"
	pmem_add kernel-pmem.cache "$d/kernel"
	for name in ours kernel; do
		echo "$name-pmem p origin $name-pmem.cache $ORIGIN_SECTORS 4096 0 write,meta" >>"$d/list"
	done
	boot "$KMOD/scripts/writecache.sh" --disk "$PACK" --pmem "$PMEM" --timeout 400 \
		--with "$PACK_INDEX:/guest/index" --with "$PMEM_INDEX:/guest/index.pmem" \
		--with "$d/list:/guest/list"
}

setup() { need_guest; }

# metadata FILE START N: sha256 of superblock and entries
metadata() {
	dd if="$1" iflag=skip_bytes,count_bytes,fullblock bs=64K skip=$(($2 << 9)) \
		count=$((64 + 16 * $3)) status=none | sha256sum | cut -d ' ' -f 1
}

@test "writecache-create: the kernel loads it, all blocks are free, as writecache-info said" {
	while read -r name _ _ _; do
		n=$(cat "$BATS_FILE_TMPDIR/$name.blocks")
		equal "$(got "ours-$name" result)" ok "$name"
		equal "$(cat "$BATS_FILE_TMPDIR/$name.verdict")" accept "$name"
		equal "$(got "ours-$name" status)" "0 $n $n 0 0 0 0 0 0 0 0 0 0 0" "$name"
		equal "$(cat "$BATS_FILE_TMPDIR/$name.line")" "0 $n $n 0" "$name"
	done < <(cases)
}

@test "writecache-create: n_blocks is the kernel's own" {
	while read -r name _ _ _; do
		equal "$(got "ours-$name" status)" "$(got "kernel-$name" status)" "$name"
	done < <(cases)
}

@test "writecache-create: superblock and entries are those that the kernel formats" {
	while read -r name _ _ _; do
		[ -n "$(got "kernel-$name" meta)" ]
		equal "$(got "ours-$name" meta)" "$(got "kernel-$name" meta)" "$name"
		equal "$(cat "$BATS_FILE_TMPDIR/$name.meta")" "$(got "kernel-$name" meta)" "$name"
	done < <(cases)
}

@test "writecache-create: an empty cache shows the origin" {
	content=$(sha256sum <"$BATS_FILE_TMPDIR/origin" | cut -d ' ' -f 1)
	while read -r name _ _ _; do
		equal "$(got "ours-$name" content)" "$content" "$name"
	done < <(cases)
}

@test "writecache-create: on persistent memory the kernel goes on as on its own" {
	equal "$(got ours-pmem result)" ok
	equal "$(got ours-pmem status)" "$(got kernel-pmem status)"
	equal "$(got ours-pmem again)" "$(got kernel-pmem again)"
	[ -z "$(got ours-pmem write)" ]
	equal "$(got ours-pmem written)" "$(got kernel-pmem written)"
	equal "$(got ours-pmem meta)" "$(got kernel-pmem meta)"
	# and it did write to it
	[ "$(got ours-pmem again)" != "$(got ours-pmem status)" ]
}
