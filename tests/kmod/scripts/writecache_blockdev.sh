# shellcheck shell=sh disable=SC1091,SC2154 # the library is in the guest, and sets some variables
# SPDX-License-Identifier: GPL-2.0-or-later
#
# dmtool on the devices of a write cache.
#
#	/dev/vda  origin	/dev/vdb    its cache, mode s, left by a crash
#	/dev/vdc  origin	/dev/pmem0  its cache, mode p, left by a crash
#	/dev/vdd  blank, 4096-byte blocks
#	/dev/vde  blank, 4096-byte blocks
#	/dev/vdf  another cache, to be spoilt
#	/dev/vdg  its origin
. /guest/lib.sh

export DMTOOL_UNDO_DIR=/tmp/undo
mkdir -p /tmp/undo

state() { dmsetup status "$1" | cut -d ' ' -f 4-; }

# refused NAME CACHE ORIGIN: nothing that writes may touch them, not even with force
refused() {
	cache=$(content_of "$2")
	origin=$(content_of "$3")
	try "$1-flush" dmtool writecache-flush "$2" "$3"
	try "$1-repair" dmtool writecache-repair -y --no-undo "$2"
	try "$1-create" dmtool writecache-create "$2" --force --no-undo
	try "$1-fsck" /tmp/fsck.dm_writecache -a "$2"
	say "$1" cache "$([ "$(content_of "$2")" = "$cache" ] && echo same || echo changed)"
	say "$1" origin "$([ "$(content_of "$3")" = "$origin" ] && echo same || echo changed)"
}

holders() {
	must dmsetup create wc --table "0 $(sectors /dev/vda) writecache s /dev/vda /dev/vdb 4096 0"
	refused active /dev/vdb /dev/vda
	try active-check dmtool writecache-check /dev/vdb
	try active-live dmtool writecache-check --live /dev/vdb
	# through the page cache the kernel's writes below it are not seen
	must dd if=/dev/zero of=/dev/mapper/wc bs=4096 seek=1000 count=3 oflag=direct 2>/dev/null
	must dmsetup message wc 0 flush
	must dmsetup remove wc
	try direct-info dmtool writecache-info --json /dev/vdb
	say direct content "$(content_of /dev/vda)"

	# the origin is in use, the cache is not
	must mkfs.ext4 -q -F /dev/vde
	must mount -t ext4 -o ro /dev/vde /mnt
	cache=$(content_of /dev/vdb)
	try mounted-flush dmtool writecache-flush /dev/vdb /dev/vde
	say mounted cache "$([ "$(content_of /dev/vdb)" = "$cache" ] && echo same || echo changed)"
	umount /mnt
	try same-flush dmtool writecache-flush /dev/vdb /dev/vdb
}

# on persistent memory, checked and brought home where the kernel would have
pmem() {
	try pmem-probe dmtool probe --json /dev/pmem0
	try pmem-check dmtool writecache-check /dev/pmem0 --origin /dev/vdc --data
	try pmem-flush dmtool writecache-flush /dev/pmem0 /dev/vdc --verify
	say pmem origin "$(content_of /dev/vdc)"
	activate pmem "0 $(sectors /dev/vdc) writecache p /dev/vdc /dev/pmem0 4096 0" &&
		dmsetup remove pmem
}

# devices that can only be written in 4096 bytes; superblock and entries are smaller
large_blocks() {
	must dd if=/dev/zero of=/dev/vde bs=1M count=2 conv=notrunc 2>/dev/null
	# a block below the block size of a device: the kernel refuses it
	try large-create-512 dmtool writecache-create /dev/vdd --block-size 512
	must dd if=/guest/small.img of=/dev/vdd bs=4096 conv=notrunc 2>/dev/null
	activate large-512 "0 $(sectors /dev/vde) writecache s /dev/vde /dev/vdd 512 0" || :
	must dd if=/dev/zero of=/dev/vdd bs=1M count=1 conv=notrunc 2>/dev/null

	try large-create dmtool writecache-create /dev/vdd --origin /dev/vde
	activate large "0 $(sectors /dev/vde) writecache s /dev/vde /dev/vdd 4096 0" || return
	yes "in blocks of 4096 bytes" | dd of=/dev/mapper/large bs=4096 count=9 seek=3 iflag=fullblock \
		oflag=direct conv=fsync 2>/dev/null
	say large dirty "$(state large)"
	say large content "$(content_of /dev/mapper/large)"
	must dmsetup remove large
	try large-check dmtool writecache-check /dev/vdd --origin /dev/vde
	try large-flush dmtool writecache-flush /dev/vdd /dev/vde
	say large origin "$(content_of /dev/vde)"
	activate large-clean "0 $(sectors /dev/vde) writecache s /dev/vde /dev/vdd 4096 0" &&
		dmsetup remove large-clean
}

# bad NAME SECTOR: the cache with 8 sectors that cannot be read
bad() {
	must dmsetup create "$1" <<TABLE
0 $2 linear /dev/vdf 0
$2 8 error
$(($2 + 8)) $(($(sectors /dev/vdf) - $2 - 8)) linear /dev/vdf $(($2 + 8))
TABLE
}

# Some entries cannot be read.  The kernel loads that, and shows the origin's old data for all blocks.
unreadable_entries() {
	bad badentries 8
	try badentries-check dmtool writecache-check --json /dev/mapper/badentries
	try badentries-info dmtool writecache-info --json /dev/mapper/badentries
	try badentries-flush dmtool writecache-flush /dev/mapper/badentries /dev/vdg
	activate badwc "0 $(sectors /dev/vdg) writecache s /dev/vdg /dev/mapper/badentries 4096 0" && {
		say badwc content "$(content_of /dev/mapper/badwc)"
		say badwc origin "$(content_of /dev/vdg)"
		must dmsetup remove badwc
	}
	must dmsetup remove badentries
}

# the block at sector $1, which is dirty, cannot be read
unreadable_block() {
	bad bad "$1"
	try bad-check dmtool writecache-check --data --json /dev/mapper/bad
	try bad-flush dmtool writecache-flush /dev/mapper/bad /dev/vdg --keep-going --mapfile /tmp/map
	try bad-map cat /tmp/map
	try bad-info dmtool writecache-info --json /dev/mapper/bad
	say bad origin "$(content_of /dev/vdg)"
	must dmsetup remove bad
	# the sector is back: what was left in the cache comes home
	try bad-again dmtool writecache-flush /dev/vdf /dev/vdg
	say bad whole "$(content_of /dev/vdg)"
}

ln -s "$(command -v dmtool)" /tmp/fsck.dm_writecache
modprobe dm-writecache
modprobe ext4
holders
pmem
large_blocks
unreadable_entries
unreadable_block "$1"
