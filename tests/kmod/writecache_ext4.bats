#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The rescue: an ext4 file system over a cache whose machine lost its power; check, flush, and the origin
# alone holds every file that was fsynced, with its content.  In both modes.

load lib.sh

MODES='s p'

setup_file() {
	local mode d=$BATS_FILE_TMPDIR
	export DMTOOL_UNDO_DIR=$d
	truncate -s 16M "$d/s.origin" "$d/p.origin"
	truncate -s 4M "$d/s.cache" "$d/p.cache"
	boot "$KMOD/scripts/ext4_crash.sh" --no-dmtool --timeout 300 --disk "$d/s.origin" \
		--disk "$d/s.cache" --disk "$d/p.origin" --pmem "$d/p.cache"
	[ ! -e "$d/unavailable" ] || return 0
	mv "$d/out" "$d/crash"
	pack_begin
	for mode in $MODES; do
		cp "$d/$mode.origin" "$d/$mode.stale"
		listed "$mode" >"$d/$mode.files"
		"$DMTOOL" writecache-check "$d/$mode.cache" "$d/$mode.origin" --json >"$d/$mode.check" || :
		pack_add "$mode.stale" "$d/$mode.stale"
		echo "$mode.stale - $mode.stale - 0 0 0 mount" >>"$d/list"
		"$DMTOOL" writecache-flush "$d/$mode.cache" "$d/$mode.origin" >"$d/$mode.flush" 2>&1 || {
			cat "$d/$mode.flush" >&2
			return 1
		}
		pack_add "$mode.origin" "$d/$mode.origin"
		echo "$mode.rescued - $mode.origin - 0 0 0 mount" >>"$d/list"
	done
	boot "$KMOD/scripts/writecache.sh" --disk "$PACK" --timeout 300 --module ext4 \
		--with "$PACK_INDEX:/guest/index" --with "$d/list:/guest/list"
}

setup() { need_guest; }

crashed() { sed -n "s/^@say $1 $2 //p" "$BATS_FILE_TMPDIR/crash"; }

# listed MODE: what must be there: NAME SHA256, the last content of each name, none that was removed
listed() {
	crashed "$1" file | awk '{ sum[$1] = $2 } END { for (n in sum) print n, sum[n] }' |
		grep -vxF -f <(crashed "$1" removed | while read -r name; do
			crashed "$1" file | grep -F "$name "
		done) | sort
}

# found NAME: what the guest saw on the mounted origin
found() { sed -n "s/^@say $1 file //p" "$BATS_FILE_TMPDIR/out" | sort; }

@test "writecache ext4: the machine stopped with dirty blocks in the cache" {
	for mode in $MODES; do
		read -r error n free _ < <(crashed "$mode" stopped | tail -n 1)
		equal "$error" 0 "$mode"
		[ "$free" -lt "$n" ]
		[ "$(wc -l <"$BATS_FILE_TMPDIR/$mode.files")" -ge 30 ]
		# only the empty file system has ever been written back
		equal "$(found "$mode".stale)" "" "$mode"
	done
}

@test "writecache ext4: writecache-check finds a crashed cache, and nothing wrong" {
	for mode in $MODES; do
		equal "$(jq -r '.summary | "\(.clean) \(.fatal) \(.warnings)"' "$BATS_FILE_TMPDIR/$mode.check")" \
			"true 0 0" "$mode"
	done
	# the blocks of the unfinished epoch: in mode p their entries are on the media
	jq -e '[.. | objects | select(.code? == "writecache.entry.uncommitted")] | length > 0' \
		"$BATS_FILE_TMPDIR/p.check"
}

@test "writecache ext4: after writecache-flush the origin alone has every file that was fsynced" {
	for mode in $MODES; do
		missing=$(comm -23 "$BATS_FILE_TMPDIR/$mode.files" <(found "$mode".rescued))
		equal "$missing" "" "$mode: files that are missing or differ"
		# the one that was removed stays removed
		equal "$(found "$mode".rescued | grep -c "^$(crashed "$mode" removed) " || :)" 0 "$mode"
	done
}

@test "writecache ext4: the file system is sound" {
	for mode in $MODES; do
		unpack "$mode".origin "$BATS_TEST_TMPDIR/origin"
		PATH=$PATH:/sbin:/usr/sbin e2fsck -fn "$BATS_TEST_TMPDIR/origin"
	done
}

@test "writecache ext4: the cache is clean" {
	for mode in $MODES; do
		n=$(wc_info "$BATS_FILE_TMPDIR/$mode.cache" superblock.n_blocks)
		equal "$(wc_info "$BATS_FILE_TMPDIR/$mode.cache" status.line)" "0 $n $n 0" "$mode"
		"$DMTOOL" writecache-check "$BATS_FILE_TMPDIR/$mode.cache" "$BATS_FILE_TMPDIR/$mode.origin"
	done
}
