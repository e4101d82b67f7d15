# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=sh disable=SC1091,SC2154 # the library is in the guest, and sets some variables
# shellcheck disable=SC2086 # names and numbers, without blanks
#
# LVM on the targets of the module named.
#
#	lvm.sh ours|upstream GROUP...
. /guest/target.sh

export LVM_SUPPRESS_FD_WARNINGS=1
size=4096

# lvm COMMAND...: what the tests stand on, so its output is shown if it fails
run() {
	"$@" >/tmp/lvm.out 2>&1 </dev/null || verdict bad "$*: status $?: $(tail -n 3 /tmp/lvm.out | tr '\n' '|')"
}

# field LV NAMES: as lvs shows it, words with one space between
field() { lvs --noheadings -o "$2" "v/$1" 2>/dev/null | tr -s ' ' | sed 's/^ *//;s/ *$//'; }

# a volume of 2 MiB of the letter A, in a group of 1 MiB extents
volume() {
	run vgcreate -s 1M v "$pv"
	run lvcreate -y -Wn -Zn -L 2M -n o v
	is "volume" "$(write v-o 0 $size A)" ok
}

no_volume() {
	run vgremove -ff v
	is "nothing is left" "$(dmsetup ls)" "No devices found"
	# as it was
	is "wiped" "$(io "$pv" z:0:65536)" ok
}

do_snapshot() {
	volume
	run lvcreate -y -s -L 1M -n s v/o
	is "attributes" "$(field s lv_attr) $(field o lv_attr)" "swi-a-s--- owi-a-s---"
	is "chunk size" "$(dmsetup table v-s | cut -d ' ' -f 6-)" "P 8"
	is "origin's target" "$(dmsetup table v-o | cut -d ' ' -f 3)" snapshot-origin
	is "used" "$(field s snap_percent)" 0.00
	is "writes" "$(write v-o 8 512 o) $(write v-s 1000 500 s)" "ok ok"
	is "content" "$(io $M/v-s r:0:1000:A r:1000:500:s r:1500:2596:A)" "ok ok ok"
	is "origin" "$(io $M/v-o r:0:8:A r:8:512:o r:520:3576:A)" "ok ok ok"
	is "status" "$(dmsetup status v-s | cut -d ' ' -f 4-)" "1032/2048 16"
	is "used now" "$(field s snap_percent)" 50.39
	run vgchange -an v
	is "off" "$(dmsetup ls)" "No devices found"
	run vgchange -ay v
	is "on again" "$(field s snap_percent) $(io $M/v-s r:0:1000:A r:1000:500:s r:1500:2596:A)" "50.39 ok ok ok"
	run lvremove -f v/s
	is "removed" "$(field o lv_attr) $(dmsetup table v-o | cut -d ' ' -f 3)" "-wi-a----- linear"
	is "origin at last" "$(io $M/v-o r:0:8:A r:8:512:o r:520:3576:A)" "ok ok ok"
	no_volume
}

do_several() {
	volume
	run lvcreate -y -s -L 4M -c 4k -n s1 v/o
	is "first write" "$(write v-o 0 64 o)" ok
	run lvcreate -y -s -L 4M -c 64k -n s2 v/o
	is "second write" "$(write v-o 32 64 p)" ok
	run lvcreate -y -s -L 4M -c 512k -n s3 v/o
	is "third write" "$(write v-o 16 1024 q) $(write v-s2 2048 8 x)" "ok ok"
	is "first" "$(io $M/v-s1 r:0:4096:A)" ok
	is "second" "$(io $M/v-s2 r:0:64:o r:64:1984:A r:2048:8:x r:2056:2040:A)" "ok ok ok ok"
	is "third" "$(io $M/v-s3 r:0:32:o r:32:64:p r:96:4000:A)" "ok ok ok"
	is "attributes" "$(lvs --noheadings -o lv_name,origin v | tr -s ' \n' ' ')" " o s1 o s2 o s3 o "
	run lvremove -f v/s2
	is "without the second" "$(write v-o 3000 64 r) $(io $M/v-s1 r:0:4096:A) $(io $M/v-s3 r:96:4000:A)" \
		"ok ok ok"
	no_volume
}

do_extend() {
	volume
	run lvcreate -y -s -L 1M -n s v/o
	is "nearly full" "$(write v-o 0 1800 o)" ok
	run lvextend -L +2M v/s
	is "grown" "$(dmsetup status v-s | cut -d ' ' -f 4-)" "$(((225 + 2) * 8))/6144 16"
	is "goes on" "$(write v-o 1800 2000 p) $(io $M/v-s r:0:4096:A)" "ok ok"
	run lvchange -an v/o
	run lvchange -ay v/o
	is "again" "$(io $M/v-s r:0:4096:A)" ok
	no_volume
}

do_full() {
	volume
	run lvcreate -y -s -L 1M -n s v/o
	is "too much" "$(write v-o 0 3000 o)" ok
	until_true 5 status_is v-s Invalid
	is "attributes" "$(field s lv_attr)" "swi-I-s---"
	is "origin" "$(io $M/v-o r:0:3000:o r:3000:1096:A)" "ok ok"
	run lvchange -an v/o
	run lvchange -ay v/o
	is "still" "$(field s lv_attr)" "swi-I-s---"
	run lvremove -f v/s
	is "removed" "$(io $M/v-o r:0:3000:o r:3000:1096:A)" "ok ok"
	no_volume
}

do_merge() {
	volume
	run lvcreate -y -s -L 4M -n s v/o
	run lvcreate -y -s -L 4M -n t v/o
	is "writes" "$(write v-s 100 1000 s) $(write v-o 2000 1000 o)" "ok ok"
	run lvconvert -i 1 --merge v/s
	is "gone" "$(lvs --noheadings -o lv_name v | tr -s ' \n' ' ')" " o t "
	is "merged" "$(io $M/v-o r:0:100:A r:100:1000:s r:1100:2996:A)" "ok ok ok"
	is "the other snapshot" "$(io $M/v-t r:0:4096:A)" ok
	# an origin in use: at its next activation
	run lvcreate -y -s -L 4M -n u v/o
	is "more writes" "$(write v-o 0 4096 x) $(write v-u 8 8 u)" "ok ok"
	exec 9<$M/v-o
	run lvconvert --merge v/u
	is "not yet" "$(io $M/v-o r:0:4096:x)" ok
	exec 9<&-
	run lvchange -an v/o
	run lvchange -ay v/o
	is "content while it merges" "$(io $M/v-o r:0:8:A r:8:8:u r:16:84:A r:100:1000:s)" "ok ok ok ok"
	until_true 60 no_u
	is "gone as well" "$(lvs --noheadings -o lv_name v | tr -s ' \n' ' ')" " o t "
	is "merged as well" "$(io $M/v-o r:0:8:A r:8:8:u r:16:84:A r:100:1000:s r:1100:2996:A)" "ok ok ok ok ok"
	is "the other snapshot, still" "$(io $M/v-t r:0:4096:A)" ok
	no_volume
}

# the background poll has a long interval: ask for it
no_u() {
	lvconvert -i 1 --merge v/u >/dev/null 2>&1
	pvscan >/dev/null 2>&1
	[ -z "$(field u lv_name)" ]
}

# extents that held a snapshot before: LVM wipes their first 4 KiB only
do_reuse() {
	volume
	for i in p q r; do
		for c in 4k 8k 4k; do
			run lvcreate -y -s -L 2M -c $c -n s v/o
			where=$(field s seg_pe_ranges)
			is "round $i, $c: as the origin" "$(content_of $M/v-s)" "$(content_of $M/v-o)"
			is "round $i, $c: empty" "$(field s snap_percent)" 0.00
			is "round $i, $c: writes" "$(write v-s 1000 700 s) $(write v-o 2000 700 $i)" "ok ok"
			run lvremove -f v/s
			is "round $i, $c: where" "$where" "${before-$where}"
			before=$where
		done
	done
	no_volume
}

# a file system on the origin, the snapshot mounted beside it
do_files() {
	modprobe ext4
	run vgcreate -s 1M v "$pv"
	run lvcreate -y -Wn -L 16M -n o v
	run mkfs.ext4 -q $M/v-o
	mkdir -p /mnt/o /mnt/s
	run mount $M/v-o /mnt/o
	run cp -r /guest /mnt/o/guest
	sum=$(cd /mnt/o/guest && sha256sum ./*.sh | sha256sum)
	# LVM suspends the origin, which freezes the file system
	run lvcreate -y -s -L 8M -n s v/o
	rm -r /mnt/o/guest
	yes "something else" | head -c 3000000 >/mnt/o/else
	sync
	run mount -o ro $M/v-s /mnt/s
	is "files of the snapshot" "$(cd /mnt/s/guest && sha256sum ./*.sh | sha256sum)" "$sum"
	run umount /mnt/s
	run umount /mnt/o
	run lvconvert -i 1 --merge v/s
	run mount $M/v-o /mnt/o
	is "files once it is merged" "$(cd /mnt/o/guest && sha256sum ./*.sh | sha256sum)" "$sum"
	run umount /mnt/o
	is "file system" "$(e2fsck -fn $M/v-o >/dev/null 2>&1; echo $?)" 0
	no_volume
}

use "$1"
shift
modprobe brd rd_nr=1 rd_size=65536 max_part=0
pv=/dev/ram0
for one in "$@"; do
	group "$one"
	"do_$one"
	end
done
