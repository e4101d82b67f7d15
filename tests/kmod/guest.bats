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
	guest 'echo "<4>WARNING: planted" >/dev/kmsg; echo b >/proc/sysrq-trigger; sleep 10' --expect 'WARNING: planted'
	equal "$status" 123
}

@test "guest: another complaint than the expected one fails, and so does none" {
	guest 'echo "<4>WARNING: planted" >/dev/kmsg; echo "<4>WARNING: another" >/dev/kmsg' \
		--expect 'WARNING: planted'
	equal "$status" 122
	[[ $output == *"WARNING: another"* ]]
	guest 'true' --expect 'WARNING: planted'
	equal "$status" 122
	[[ $output == *"which was expected"* ]]
}

# what the guest wrote to the disk before its power was cut: blocks of 4 KiB, each with its number
blocks_written() {
	local n=0
	while [ "$(dd if="$BATS_TEST_TMPDIR/disk" bs=4096 skip=$n count=1 status=none | tr -d '\0')" = "$n" ]; do
		n=$((n + 1))
	done
	echo $n
}

# shellcheck disable=SC2016 # for the guest
WRITER='n=0
while [ $n -lt 200 ]; do
	{ echo $n; head -c 5000 /dev/zero; } | head -c 4096 >/tmp/block
	dd if=/tmp/block of=/dev/vda bs=4096 seek=$n oflag=direct status=none
	n=$((n + 1))
	[ $n -ne "${1:-0}" ] || power-cut
done'

@test "guest: the power is cut from inside, at once" {
	truncate -s 1M "$BATS_TEST_TMPDIR/disk"
	guest "set -- 9; $WRITER" --disk "$BATS_TEST_TMPDIR/disk"
	equal "$status" 120
	n=$(blocks_written)
	# the shell may get on while the machine goes down
	[ "$n" -ge 9 ]
	[ "$n" -lt 200 ]
}

@test "guest: the power is cut before a write" {
	truncate -s 1M "$BATS_TEST_TMPDIR/disk"
	guest "$WRITER" --disk "$BATS_TEST_TMPDIR/disk" --power-cut-at 13
	equal "$status" 120
	equal "$(blocks_written)" 12
	# a script that writes less ends by itself
	guest "true" --disk "$BATS_TEST_TMPDIR/disk" --power-cut-at 13
	equal "$status" 0
}

@test "guest: the power is cut after a time" {
	truncate -s 1M "$BATS_TEST_TMPDIR/disk"
	guest "$WRITER; sleep 1000" --disk "$BATS_TEST_TMPDIR/disk" --power-cut-after 1.5
	equal "$status" 120
}

@test "guest: a program with its libraries, and LVM" {
	guest 'xxd --version; lvm version; pvs --version; truncate -s 32M disk; losetup /dev/loop0 disk
		vgcreate v /dev/loop0 && lvcreate -an -Zn -L 8M -n l v && lvs --noheadings -o name v' --program xxd \
		--module loop
	equal "$status" 0
	[[ $output == *"LVM version"* ]]
	[[ ${lines[-1]} == "  l"* ]]
}

@test "guest: dmeventd looks after a snapshot, and sees it invalidated" {
	truncate -s 128M "$BATS_TEST_TMPDIR/disk"
	# shellcheck disable=SC2016 # for the guest
	guest 'modprobe dm-snapshot; set -- --config "activation { monitoring = 1 }"
		vgcreate -q v /dev/vda && lvcreate -q "$@" -Zn -L 32M -n o v && lvcreate -q "$@" -s -L 4M -n s v/o
		lvs "$@" --noheadings -o seg_monitor v/s
		dd if=/dev/zero of=/dev/v/o bs=1M count=16 oflag=direct status=none
		n=0
		until lvs "$@" --noheadings -o seg_monitor v/s | grep -q not || [ $n -eq 40 ]; do
			n=$((n + 1)); sleep 0.5
		done
		lvs "$@" --noheadings -o seg_monitor,lv_snapshot_invalid v/s' --disk "$BATS_TEST_TMPDIR/disk"
	echo "$output"
	equal "$status" 0
	equal "$(grep -c '^  monitored *$' <<<"$output")" 1
	[[ ${lines[-1]} =~ ^\ +not\ monitored\ +snapshot\ invalid ]]
}

@test "guest: modules of a folder come before the kernel's own" {
	local ours=$BATS_TEST_TMPDIR/ours release own
	release=$(cat "$("$KMOD/fetch-kernel" "$KERNEL")/release")
	own=$(find "$("$KMOD/fetch-kernel" "$KERNEL")/lib/modules/$release" -name 'dm-snapshot.ko*')
	mkdir "$ours"
	case $own in
	*.xz) xz -dc "$own" >"$ours/dm-snapshot.ko" ;;
	*) cp "$own" "$ours/dm-snapshot.ko" ;;
	esac
	guest 'modprobe -D dm-snapshot; modprobe dm-snapshot; dmsetup targets | grep -c snapshot' --modules "$ours"
	equal "$status" 0
	[[ $output == *"/updates/dm-snapshot.ko"* ]]
	[[ $output != *"/kernel/drivers/md/dm-snapshot.ko"* ]]
	equal "${lines[-1]}" 3
	guest 'modprobe -D dm-snapshot' --modules upstream
	[[ $output == *"/kernel/drivers/md/dm-snapshot.ko"* ]]
}

@test "guest: a conversation on the terminal" {
	local out=$BATS_TEST_TMPDIR/out rc=0 i
	mkfifo "$BATS_TEST_TMPDIR/in"
	# shellcheck disable=SC2016 # for the guest
	printf '%s\n' 'tty; echo ready; read -r a b; echo "the sum is $((a + b))"; exit 5' >"$BATS_TEST_TMPDIR/script"
	timeout 100 "$KMOD/guest" --kernel "$KERNEL" --no-dmtool --terminal "$BATS_TEST_TMPDIR/script" \
		<"$BATS_TEST_TMPDIR/in" >"$out" 2>&1 3>&- &
	exec 8>"$BATS_TEST_TMPDIR/in"
	for ((i = 0; i < 300; i++)); do
		! grep -q ready "$out" || break
		sleep 0.2
	done
	echo 19 23 >&8
	wait $! || rc=$?
	exec 8>&-
	cat "$out"
	equal "$rc" 5
	grep -q '^/dev/ttyS1' "$out"
	grep -q 'the sum is 42' "$out"
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
	run "$KMOD/guest" --kernel-dir "$BATS_TEST_TMPDIR" "$KMOD/scripts/selftest.sh"
	equal "$status" 125
	QEMU=/no/such/qemu run "$KMOD/guest" "$KMOD/scripts/selftest.sh"
	equal "$status" 121
}
