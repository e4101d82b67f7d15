#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck disable=SC2154 # step sets stderr
#
# The guest runner itself.

load lib.sh

setup_file() {
	local d=$BATS_FILE_TMPDIR rc=0
	truncate -s 8M "$d/rw.img" "$d/ro.img"
	truncate -s 16M "$d/pmem0"
	truncate -s 4M "$d/pmem1"
	echo "from the file" >"$d/head"
	dd if="$d/head" of="$d/pmem0" conv=notrunc status=none
	echo "it came along" >"$d/present.txt"
	# shellcheck disable=SC2016 # the script is to see the dollar sign
	"$KMOD/guest" --kernel "$KERNEL" --smp 2 --disk "$d/rw.img" --module dm-delay \
		--disk-ro "$d/ro.img,logical_block_size=4096,physical_block_size=4096" \
		--pmem "$d/pmem0" --pmem "$d/pmem1" --no-dmtool --log "$d/kernel.log" \
		--with "$KMOD/scripts/lib.sh:/guest/lib.sh" --with "$d/present.txt" \
		--with "$d/present.txt:/etc/elsewhere" \
		"$KMOD/scripts/selftest.sh" 'a "b'"'" '$c d' >"$d/out" 2>"$d/out.err" || rc=$?
	echo "$rc" >"$d/rc"
	[ "$rc" -ne 121 ] || head -n 1 "$d/out.err" >"$d/unavailable"
}

setup() { need_guest; }

# guest SCRIPT-TEXT [OPTION]...: a boot of its own
guest() {
	printf '%s\n' "$1" >"$BATS_TEST_TMPDIR/script"
	shift
	run "$KMOD/guest" --kernel "$KERNEL" --no-dmtool "$@" "$BATS_TEST_TMPDIR/script"
}

@test "guest: the exit status is the script's, its output ours" {
	equal "$(cat "$BATS_FILE_TMPDIR/rc")" 7
	grep -qx 'a line for people' "$BATS_FILE_TMPDIR/out"
	step noisy
	equal "$status" 3
	equal "$output" "to stdout"
	equal "$stderr" "to stderr"
}

@test "guest: arguments, files, folder, kernel and processors are as asked for" {
	equal "$(got env args)" "2:a \"b':\$c d"
	equal "$(got env cwd)" /guest
	equal "$(got env uid)" 0
	equal "$(got env with)" "it came along"
	equal "$(got env renamed)" "it came along"
	equal "$(got env cpus)" 2
	[[ $(got env kernel) == "$KERNEL".* ]]
}

@test "guest: disks, read-only and with large blocks" {
	equal "$(got env disks)" 2
	equal "$(got ro flag)" 1
	equal "$(got ro block)" 4096
	step mkfs
	equal "$status" 0
	cmp <(blkid -p -o value -s TYPE "$BATS_FILE_TMPDIR/rw.img") <(echo ext4)
}

@test "guest: modules load, by option, by hand and when a target is wanted" {
	step loaded
	equal "$output" 1
	step snapshot
	equal "$status" 0
	step targets
	equal "$status" 0
}

@test "guest: persistent memory has DAX and is the file's content" {
	equal "$(got pmem dax)" 1
	equal "$(got pmem other)" 8192
	equal "$(head -n 1 "$BATS_FILE_TMPDIR/rw.img" | tr -d '\0')" "from the file"
	equal "$(head -n 1 "$BATS_FILE_TMPDIR/pmem1" | tr -d '\0')" "written by the guest"
	[ -s "$BATS_FILE_TMPDIR/kernel.log" ]
}

@test "guest: a panic fails" {
	guest 'echo c >/proc/sysrq-trigger'
	equal "$status" 122
	[[ $output == *"Kernel panic"* ]]
}

@test "guest: a script that does not end meets the time limit" {
	guest 'sleep 1000' --timeout 6
	equal "$status" 124
}

@test "guest: a warning may be expected, but a machine that ends too early is no success" {
	guest 'echo "<4>WARNING: planted" >/dev/kmsg; echo b >/proc/sysrq-trigger; sleep 10' --expect-oops
	equal "$status" 123
}

@test "guest: wrong usage starts nothing" {
	run "$KMOD/guest" --disk
	equal "$status" 125
	run "$KMOD/guest" --no-such-option x "$KMOD/scripts/selftest.sh"
	equal "$status" 125
	run "$KMOD/guest" /no/such/script
	equal "$status" 125
	run "$KMOD/guest" --disk /no/such/disk "$KMOD/scripts/selftest.sh"
	equal "$status" 125
	QEMU=/no/such/qemu run "$KMOD/guest" "$KMOD/scripts/selftest.sh"
	equal "$status" 121
}
