#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# LVM's thick snapshots work unchanged on our targets.

load lib.sh

setup_file() {
	command -v lvm >/dev/null || [ -x /usr/sbin/lvm ] || [ -x /sbin/lvm ] || {
		echo "lvm2 is not installed" >"$BATS_FILE_TMPDIR/unavailable"
		return 0
	}
	[ "$MODULES" != ours ] || need_modules || return 0
	target_boot out "$SCRIPTS/lvm.sh" -- "$MODULES" snapshot several extend full merge reuse files
}

setup() { need_guest; }

@test "lvm: the kernel has nothing to complain of" { quiet out; }
@test "lvm: lvcreate -s, lvs, vgchange, lvremove" { holds out snapshot; }
@test "lvm: several snapshots of one origin, of several chunk sizes" { holds out several; }
@test "lvm: lvextend of a snapshot in use" { holds out extend; }
@test "lvm: a snapshot that ran full" { holds out full; }
@test "lvm: lvconvert --merge, at once and at the next activation" { holds out merge; }
@test "lvm: a snapshot on the extents of an old one" { holds out reuse; }
@test "lvm: files on a snapshot, and a merge below a file system" { holds out files; }
