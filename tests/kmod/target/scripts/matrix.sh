# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=sh disable=SC1091,SC2154 # the library is in the guest, and sets some variables
# shellcheck disable=SC2086 # names and numbers, without blanks
#
# What the targets snapshot, snapshot-origin and snapshot-merge do, with the module named first.
#
#	matrix.sh ours|upstream GROUP...
. /guest/target.sh

# ---- tables --------------------------------------------------------------------------------------

# refused WHAT ERRNO MESSAGE TABLE
refused() {
	dmesg -c >/dev/null
	make refused "$4"
	[ $made != ok ] || dmsetup remove refused
	is "$1: errno" "$made" "$2"
	has "$1: message" "$(dmesg -c)" "$3"
}

# the words of a table line, in the order in which they are looked at
do_ctor() {
	dev o 64 A
	dev c 512
	dev d 512
	dev bad 512
	header bad 8
	must io $M/bad p:0:deadbeef >/dev/null
	dev v2 512
	header v2 8 1 2
	dev short 16
	o=$M/o c=$M/c
	many="requires 4 or more arguments"
	refused "no argument" EINVAL "$many" "0 64 snapshot"
	refused "three arguments" EINVAL "$many" "0 64 snapshot $o $c P"
	refused "merge, three arguments" EINVAL "$many" "0 64 snapshot-merge $o $c P"
	refused "features not a number" EINVAL "Invalid number of feature arguments" \
		"0 64 snapshot $o $c P 8 x"
	refused "too many features" EINVAL "Invalid number of feature arguments" \
		"0 64 snapshot $o $c P 8 9 discard_zeroes_cow"
	refused "features missing" EINVAL "Invalid number of feature arguments" \
		"0 64 snapshot $o $c P 8 2 discard_zeroes_cow"
	refused "unknown feature" EINVAL "Unrecognised feature requested" \
		"0 64 snapshot $o $c P 8 1 discard"
	refused "passdown alone" EINVAL \
		"discard_passdown_origin feature depends on discard_zeroes_cow" \
		"0 64 snapshot $o $c P 8 1 discard_passdown_origin"
	refused "features before devices" EINVAL "Unrecognised feature requested" \
		"0 64 snapshot 99:99 99:98 X 7 1 what"
	refused "no origin" ENXIO "Cannot get origin device" "0 64 snapshot 99:99 99:98 X 7"
	refused "no COW device" ENXIO "Cannot get COW device" "0 64 snapshot $o 99:99 X 7"
	refused "same device" EINVAL "COW device cannot be the same as origin device" \
		"0 64 snapshot $o $o X 7"
	for word in X PX persistent 1; do
		refused "type $word" EINVAL "Couldn't create exception store" "0 64 snapshot $o $c $word 8"
	done
	for word in 12 3 8x -8 4194304 4294967296 99999999999999999999; do
		refused "chunk size $word" EINVAL "Couldn't create exception store" \
			"0 64 snapshot $o $c P $word"
	done
	refused "transient chunk size 0" EINVAL "Chunk size not set" "0 64 snapshot $o $c N 0"
	refused "merge of a transient store" EINVAL \
		"Snapshot exception store does not support snapshot-merge." "0 64 snapshot-merge $o $c N 8"
	refused "bad magic" ENXIO "Failed to read snapshot metadata" "0 64 snapshot $o $M/bad P 8"
	refused "version 2" EINVAL "Failed to read snapshot metadata" "0 64 snapshot $o $M/v2 P 8"
	refused "short device" EIO "Failed to read snapshot metadata" "0 64 snapshot $o $M/short P 32"
	refused "origin without argument" EINVAL "origin: incorrect number of arguments" \
		"0 64 snapshot-origin"
	refused "origin with two arguments" EINVAL "origin: incorrect number of arguments" \
		"0 64 snapshot-origin $o $c"
	refused "origin of nothing" ENXIO "Cannot get target device" "0 64 snapshot-origin 99:99"
	is "nothing was written" "$(map c 8 0 64)" ........
	refused "longer than the origin" EINVAL "too small for target" "0 128 snapshot $o $c P 8"
	# and what is right is taken
	snap s o d P 8
	is "a right table" $made ok
}

# taken WHAT TABLE WORDS: what the kernel says of a table that it takes
taken() {
	make s "0 64 snapshot $oc $2"
	is "$1: taken" $made ok
	is "$1: table" "$(table_of s)" "snapshot $(mm o) $(mm c) $3"
	dmsetup remove s
}

do_words() {
	dev o 64 A
	dev c 512
	oc="$M/o $M/c"
	taken P "P 8" "P 8"
	taken "small p" "p 8" "P 8"
	taken PO "PO 8" "PO 8"
	taken "small po" "po 8" "PO 8"
	taken "PO and more" "POxyz 8" "PO 8"
	taken N "N 8" "N 8"
	taken "N and more" "nothing 8" "N 8"
	taken "chunk size 0" "P 0" "P 8"
	taken "another chunk size" "P 16" "P 8"
	taken "no feature" "P 8 0" "P 8"
	z=discard_zeroes_cow p=discard_passdown_origin
	taken "a feature" "P 8 1 $z" "P 8 1 $z"
	taken "two features" "P 8 2 $z $p" "P 8 2 $z $p"
	taken "the other order" "P 8 2 $p $z" "P 8 2 $z $p"
	taken "features in capitals" "P 8 1 DISCARD_Zeroes_Cow" "P 8 1 $z"
	taken "a feature twice" "P 8 2 $z $z" "P 8 1 $z"
	taken "words that are not counted" "P 8 1 $z what else" "P 8 1 $z"
	make g "0 64 snapshot-origin $M/o"
	is "origin: table" "$(table_of g)" "snapshot-origin $(mm o)"
	is "origin: status" "$(st g)" ""
	make g2 "0 64 snapshot-origin $M/o"
	is "origin: twice" $made ok
	dev blank 512
	make z "0 64 snapshot $M/o $M/blank P 0"
	is "chunk size 0 of a blank store" "$(table_of z)" "snapshot $(mm o) $(mm blank) P 32"
	make m "0 64 snapshot-merge $M/o $M/c P 8"
	is "merge: table" "$(table_of m)" "snapshot-merge $(mm o) $(mm c) P 8"
	dmsetup message m 0 hello 2>/tmp/err
	is "message" "$(errno_name </tmp/err)" EINVAL
	has "message: why" "$(dmesg)" "Target type does not support messages"
	is "versions" "$(dmsetup targets | grep ^snapshot | awk '{ split(substr($2, 2), v, ".")
		if ($1 == "snapshot") ok = v[1] == 1 && v[2] >= 16
		if ($1 == "snapshot-origin") ok = v[1] == 1 && v[2] >= 9
		if ($1 == "snapshot-merge") ok = v[1] == 1 && v[2] >= 5
		print $1, ok }' | sort | tr '\n' ' ')" "snapshot 1 snapshot-merge 1 snapshot-origin 1 "
}

do_status() {
	dev o 4096 A
	dev c 512
	snap s o c P 8
	is "new" "$(st s)" "16/512 16"
	is "header" "$(io $M/c x:0:16)" "$VALID$(le32 1)$(le32 8)"
	write s 0 1 s >/dev/null
	is "an exception" "$(st s)" "24/512 16"
	is "its entry" "$(got_entry c 8 0)" "$(le64 0)$(le64 2)"
	write s 72 16 s >/dev/null
	is "two more" "$(st s)" "40/512 16"
	is "in order" "$(got_entry c 8 1)$(got_entry c 8 2)" "$(le64 9)$(le64 3)$(le64 10)$(le64 4)"
	is "terminator" "$(got_entry c 8 3)" "$(le64 0)$(le64 0)"
	write s 0 80 t >/dev/null
	is "eight more" "$(st s)" "104/512 16"
	remove s
	snap s o c P 8
	is "again" "$(st s)" "104/512 16"
	# 32 entries per area
	dev c1 512
	snap s1 o c1 P 1
	write s1 0 31 s >/dev/null
	is "31 of 32" "$(st s1)" "33/512 2"
	write s1 31 1 s >/dev/null
	is "32 of 32" "$(st s1)" "35/512 3"
	write s1 32 1 s >/dev/null
	is "33 of 32" "$(st s1)" "36/512 3"
	remove s1
	snap s1 o c1 P 1
	is "33 of 32 again" "$(st s1)" "36/512 3"
	is "content" "$(io $M/s1 r:0:33:s r:33:4063:A)" "ok ok"
	dev n 512
	snap t o n N 8
	is "transient" "$(st t)" "0/512 0"
	write t 0 1 s >/dev/null
	is "transient, an exception" "$(st t)" "8/512 0"
	is "transient, from chunk 0 on" "$(io $M/n b:0:8:1)" sAAAAAAA
	remove t
	snap t o n N 8
	is "transient, anew" "$(st t)" "0/512 0"
	is "transient, nothing is left" "$(map t 8 0 16)" AA
}

# what integrity measurement gets to know
do_ima() {
	mount -t securityfs sec /sys/kernel/security
	ima=/sys/kernel/security/ima
	echo "measure func=CRITICAL_DATA label=device-mapper" >$ima/policy 2>/dev/null || {
		is "no policy can be loaded here" none none
		return
	}
	dev o 64 A
	dev c 512
	snap s o c P 8
	origin g o
	text=$(awk '$5 == "dm_table_load" { print $6 }' $ima/ascii_runtime_measurements | xxd -r -p)
	has "snapshot" "$text" "target_name=snapshot,target_version=1."
	has "its words" "$text" \
		",snap_origin_name=$(mm o),snap_cow_name=$(mm c),snap_valid=y,snap_merge_failed=n,snapshot_overflowed=n;"
	hasnt "origin" "$text" "target_name=snapshot-origin"
}

# ---- reads and writes ----------------------------------------------------------------------------

# Six chunks and a part of one, each treated in its own way: exercise ORIGIN COW TYPE C UNIT, on devices
# of 6 C + h and at least 10 C sectors, h being half a chunk and at least UNIT
exercise() {
	o=$1 c=$2 type=$3 C=$4 unit=$5
	h=$((C / 2))
	[ $h -ge "$unit" ] || h=$unit
	name="$type $C"
	must io $M/$o "w:0:$((6 * C + h)):A" >/dev/null
	snap s $o $c $type $C
	is "$name: made" $made ok
	[ $made = ok ] || return
	origin g $o
	is "$name: origin writes" "$(io $M/g "w:$C:$h:o" "w:$((2 * C)):$C:o" "w:$((4 * C - h)):$((2 * h)):o" \
		"w:$((6 * C)):$h:o")" "ok ok ok ok"
	is "$name: snapshot writes" "$(io $M/s "w:0:$h:s" "w:$((5 * C)):$C:s")" "ok ok"
	exercised
	# a transient one forgets
	[ $type != N ] || return
	is "$name: status" "$(st s)" "$((9 * C))/$(sectors $M/$c) $((2 * C))"
	remove s
	snap s $o $c $type $C
	is "$name: again" "$(st s)" "$((9 * C))/$(sectors $M/$c) $((2 * C))"
	exercised again
}

exercised() {
	is "$name: snapshot $*" "$(io $M/s "r:0:$h:s" "r:$h:$((5 * C - h)):A" "r:$((5 * C)):$C:s" \
		"r:$((6 * C)):$h:A")" "ok ok ok ok"
	is "$name: origin $*" "$(io $M/g "r:0:$C:A" "r:$C:$h:o" "r:$((2 * C)):$C:o" "r:$((3 * C)):$((C - h)):A" \
		"r:$((4 * C - h)):$((2 * h)):o" "r:$((5 * C)):$C:A" "r:$((6 * C)):$h:o")" "ok ok ok ok ok ok ok"
}

do_chunks() {
	for one in 1:P 2:P 8:P 8:PO 8:N 32:P 128:P 1024:P 2048:P 2048:N; do
		C=${one%:*} type=${one#*:}
		h=$((C / 2))
		[ $h -gt 0 ] || h=1
		dev "o$one" $((6 * C + h))
		dev "c$one" $((10 * C + h))
		exercise "o$one" "c$one" $type "$C" 1
		dmsetup remove s g "o$one" "c$one"
	done
}

# file_disk NAME BYTES UNIT: a disk over a file, which knows discards and flushes
file_disk() {
	truncate -s "$2" "/tmp/$1.img"
	loop=$(losetup -f)
	must losetup -b "$3" "$loop" "/tmp/$1.img"
	must dmsetup create "$1" --table "0 $(($2 >> 9)) linear $loop 0"
	eval "loop_$1=\$loop"
}

no_file_disks() {
	dmsetup remove_all
	losetup -D
	rm -f /tmp/*.img
}

# blocks of 4096 bytes on either side
do_blocks() {
	file_disk o4 $((6 * 64 * 512 + 32 * 512)) 4096
	file_disk c4 $((11 * 64 * 512)) 4096
	dev o5 8192 A
	dev c5 8192
	for C in 1 2 4; do
		snap s o4 c5 P $C
		is "origin of 4096, chunk $C" $made EINVAL
		snap s o5 c4 P $C
		is "COW device of 4096, chunk $C" $made EINVAL
		snap s o5 c4 N $C
		is "transient, COW device of 4096, chunk $C" $made EINVAL
	done
	exercise o4 c4 P 64 8
	is "block size of the snapshot" "$(blockdev --getss $M/s)" 4096
	dmsetup remove s g
	io $M/c4 p:0:00000000000000000000000000000000 >/dev/null
	snap s o4 c4 P 8
	is "chunk 8 on 4096" $made ok
	origin g o4
	is "writes" "$(io $M/s w:0:8:s) $(io $M/g w:8:16:o)" "ok ok"
	is "snapshot" "$(io $M/s r:0:8:s r:8:40:A)" "ok ok"
	dmsetup remove s g
	# what was made on small blocks does not fit large ones
	io $M/c4 p:0:00000000000000000000000000000000 >/dev/null
	dev small 512
	snap s o5 small P 4
	is "chunk 4 on 512" $made ok
	remove s
	dd if=$M/small of=/tmp/head bs=4096 count=8 2>/dev/null
	dd if=/tmp/head of=$M/c4 bs=4096 2>/dev/null
	snap s o5 c4 P 8
	is "store of chunk 4 on 4096" $made EINVAL
	no_file_disks
}

do_length() {
	dev o 128 A
	dev c 512
	make s "0 64 snapshot $M/o $M/c P 8"
	is "shorter than the origin" $made ok
	origin g o
	write g 64 64 o >/dev/null
	is "writes behind it" "$(st s)" "16/512 16"
	write g 56 16 o >/dev/null
	is "writes across its end" "$(st s)" "24/512 16"
	is "snapshot" "$(map s 8)" AAAAAAAA
	is "origin" "$(map g 8)" AAAAAAAooooooooo
	is "size" "$(sectors $M/s)" 64
}

# origin writes of any length, split at the smallest chunk
do_split() {
	dev o 4096 A
	dev c1 16384
	dev c2 16384
	dev c3 16384
	snap s1 o c1 P 8
	snap s2 o c2 P 32
	origin g o
	is "one long write" "$(write g 3 2000 o)" ok
	is "first snapshot" "$(io $M/s1 r:0:4096:A)" ok
	is "second snapshot" "$(io $M/s2 r:0:4096:A)" ok
	is "status of the first" "$(st s1)" "$(((251 + 2) * 8))/16384 16"
	is "status of the second" "$(st s2)" "$(((63 + 2) * 32))/16384 64"
	# a smaller one comes: the origin learns of it when it is resumed
	snap s3 o c3 P 1
	must dmsetup suspend g
	must dmsetup resume g
	is "another long write" "$(write g 1000 3000 p)" ok
	is "third snapshot" "$(io $M/s3 r:0:3:A r:3:2000:o r:2003:2093:A)" "ok ok ok"
	is "status of the third" "$(st s3)" "$((3000 + 93 + 2))/16384 95"
	is "first snapshot again" "$(io $M/s1 r:0:4096:A)" ok
	is "second snapshot again" "$(io $M/s2 r:0:4096:A)" ok
	is "origin" "$(io $M/g r:0:3:A r:3:997:o r:1000:3000:p r:4000:96:A)" "ok ok ok ok"
	remove s2
	is "and without the second" "$(write g 0 4096 q)" ok
	is "first snapshot at last" "$(io $M/s1 r:0:4096:A)" ok
}

# one sector each: many exceptions on their way at once, from several writers
do_parallel() {
	dev o 4096 A
	for i in 1 2 3; do dev c$i 16384; done
	snap s1 o c1 P 8
	snap s2 o c2 P 16
	snap s3 o c3 N 8
	origin g o
	for i in 0 1 2 3; do
		(for n in 0 1 2 3 4 5 6 7; do
			io $M/g "w:$((i * 8 + n * 512)):8:o" "w:$((n * 512 + 256 + i)):1:o"
		done) >/tmp/writer$i &
	done
	(io $M/s1 w:2048:2048:s) >/tmp/writer4 &
	wait
	is "writers" "$(cat /tmp/writer? | sort | uniq -c | tr -s ' \n' ' ')" " 1 ok 32 ok ok "
	is "snapshot that was written" "$(io $M/s1 r:0:2048:A r:2048:2048:s)" "ok ok"
	is "the others" "$(io $M/s2 r:0:4096:A) $(io $M/s3 r:0:4096:A)" "ok ok"
	is "origin" "$(map g 32 0 512)" "oAAAAAAA*AAAAAAA"
	remove s1 s2
	snap s1 o c1 P 8
	snap s2 o c2 P 16
	is "and again" "$(io $M/s1 r:0:2048:A r:2048:2048:s) $(io $M/s2 r:0:4096:A)" "ok ok ok"
}

# ---- flushes -------------------------------------------------------------------------------------

# flushes of a disk over a file
flushes() { awk '{ print $16 }' "/sys/block/${1#/dev/}/stat"; }

# flushed WHAT ORIGIN? COW?: which disk has seen a flush since the last time
flushed() {
	new_o=$(flushes "$loop_fo") new_c=$(flushes "$loop_fc")
	is "$1: origin" "$([ "$new_o" -gt "$old_o" ] && echo yes || echo no)" "$2"
	is "$1: COW device" "$([ "$new_c" -gt "$old_c" ] && echo yes || echo no)" "$3"
	count
}

count() { old_o=$(flushes "$loop_fo") old_c=$(flushes "$loop_fc"); }

do_flush() {
	file_disk fo 524288 512
	file_disk fc 524288 512
	must io $M/fo w:0:1024:A >/dev/null
	snap s fo fc P 8
	origin g fo
	count
	is "fsync of the snapshot" "$(io $M/s s)" ok
	flushed "fsync of the snapshot" no yes
	is "fsync of the origin" "$(io $M/g s)" ok
	flushed "fsync of the origin" yes no
	is "new exception" "$(io $M/s w:0:8:s)" ok
	flushed "new exception" no yes
	is "rewrite" "$(io $M/s w:0:8:t)" ok
	flushed "rewrite" no no
	is "rewrite with FUA" "$(io $M/s W:0:8:u)" ok
	flushed "rewrite with FUA" no yes
	is "new exception with FUA" "$(io $M/s W:8:4:s)" ok
	flushed "new exception with FUA" no yes
	is "origin write" "$(io $M/g w:64:8:o)" ok
	flushed "origin write" no yes
	is "origin write again with FUA" "$(io $M/g W:64:8:p)" ok
	flushed "origin write again with FUA" yes no
	is "read" "$(io $M/s r:0:8:u r:8:4:s r:12:1012:A)" "ok ok ok"
	flushed "read" no no
	remove s g
	merge m fo fc P 8
	until_true 20 merged m
	flushed "merge" yes yes
	is "fsync of a merge" "$(io $M/m s)" ok
	flushed "fsync of a merge" yes yes
	is "merged" "$(io $M/fo r:0:8:u r:8:4:s r:12:1012:A)" "ok ok ok"
	no_file_disks
}

# ---- stacks --------------------------------------------------------------------------------------

# stacked KIND TABLE_O TABLE_C
stacked() {
	must dmsetup create "$1.o" --table "$2"
	must dmsetup create "$1.c" --table "$3"
	must io "$M/$1.c" "z:0:$(sectors "$M/$1.c")" >/dev/null
	exercise "$1.o" "$1.c" P 8 1
	dmsetup remove s g "$1.o" "$1.c"
}

do_stacked() {
	for i in 1 2 3 4; do dev d$i 1024; done
	stacked linear "0 26 linear $M/d1 0
26 26 linear $M/d2 100" "0 13 linear $M/d3 0
13 100 linear $M/d4 7"
	modprobe dm-mirror
	stacked mirror "0 52 mirror core 1 32 2 $M/d1 0 $M/d2 0" "0 128 mirror core 1 32 2 $M/d3 0 $M/d4 0"
	stacked striped "0 64 striped 2 8 $M/d1 512 $M/d2 512" "0 128 striped 2 16 $M/d3 512 $M/d4 512"
	modprobe dm-crypt
	for ko in /guest/modules/*.ko; do
		insmod "$ko" 2>/dev/null
	done
	key=$(repeat 64 7)
	stacked crypt "0 52 crypt aes-xts-plain64 $key 0 $M/d1 256" "0 128 crypt aes-xts-plain64 $key 0 $M/d3 256"
	# the other way round: a crypt and a file system's loop device over a snapshot
	dev o 4096 A
	dev c 8192
	snap s o c P 8
	must dmsetup create over --table "0 4096 crypt aes-xts-plain64 $key 0 $M/s 0"
	is "crypt over a snapshot" "$(io $M/over w:100:1000:x r:100:1000:x)" "ok ok"
	is "the origin does not know" "$(io $M/o r:0:4096:A)" ok
	file_disk lo2 $((52 * 512)) 512
	file_disk lc 65536 512
	dmsetup remove over s
	exercise lo2 lc P 8 1
	no_file_disks
}

# a snapshot of a snapshot
do_nested() {
	dev o 512 A
	dev c1 2048
	dev c2 2048
	snap s1 o c1 P 8
	origin g o
	snap s2 s1 c2 P 16
	is "made" $made ok
	origin g1 s1
	write g 0 64 o >/dev/null
	is "below" "$(map g 32 0 128) $(map g1 32 0 128) $(map s2 32 0 128)" "ooAA AAAA AAAA"
	write g1 32 64 s >/dev/null
	is "in the middle" "$(map g 32 0 128) $(map g1 32 0 128) $(map s2 32 0 128)" "ooAA AssA AAAA"
	write s2 96 32 t >/dev/null
	is "above" "$(map g 32 0 128) $(map g1 32 0 128) $(map s2 32 0 128)" "ooAA AssA AAAt"
	remove s2 g1 s1
	snap s1 o c1 P 8
	snap s2 s1 c2 P 16
	is "again" "$(map s1 32 0 128) $(map s2 32 0 128)" "AssA AAAt"
	remove s2
	merge m s1 c2 P 16
	until_true 20 merged m
	is "merged one down" "$(map m 32 0 128) $(map s1 32 0 128) $(map g 32 0 128)" "AAAt AAAt ooAA"
}

# ---- handover, suspend, resume ---------------------------------------------------------------------

do_reload() {
	dev o 512 A
	dev c 512
	snap s o c P 8
	origin g o
	write s 0 8 s >/dev/null
	line="0 512 snapshot $M/o $M/c PO 8"
	must dmsetup load s --table "$line"
	is "waiting" "$(dmsetup table --inactive s | cut -d ' ' -f 3-)" "snapshot $(mm o) $(mm c) PO 0"
	is "waiting: status" "$(dmsetup status --inactive s | cut -d ' ' -f 4-)" "0/512 0"
	write g 8 8 o >/dev/null
	must dmsetup suspend s
	must dmsetup resume s
	is "after resume" "$(st s)" "32/512 16"
	is "its own letter" "$(table_of s)" "snapshot $(mm o) $(mm c) PO 8"
	is "content" "$(map s 8 0 32)" sAAA
	write g 16 8 o >/dev/null
	write s 24 8 t >/dev/null
	is "goes on" "$(map s 8 0 40) $(st s)" "sAAtA 48/512 16"
	# without a suspend of one's own
	must dmsetup load s --table "0 512 snapshot $M/o $M/c P 8"
	must dmsetup resume s
	is "by resume alone" "$(st s) $(map s 8 0 40)" "48/512 16 sAAtA"
	# a table that is never used
	must dmsetup load s --table "$line"
	must dmsetup clear s
	write g 32 8 o >/dev/null
	is "cleared" "$(st s) $(map s 8 0 40)" "56/512 16 sAAtA"
	# suspended: the origin's writes still make exceptions
	must dmsetup suspend s
	write g 40 8 o >/dev/null
	must dmsetup resume s
	is "suspended snapshot" "$(st s) $(map s 8 0 48)" "64/512 16 sAAtAA"
	# a snapshot takes part after its first resume
	dev c2 512
	must dmsetup create s2 --notable
	must dmsetup load s2 --table "0 512 snapshot $M/o $M/c2 P 8"
	write g 48 8 o >/dev/null
	must dmsetup resume s2
	is "loaded, not yet resumed" "$(st s2) $(map s2 8 0 64)" "16/512 16 AooAoooA"
}

# tables are loaded from the top of a stack before its bottom is live: as LVM does
do_preload() {
	dev ob 512 A
	dev c 512
	snap s ob c P 8
	write s 8 8 s >/dev/null
	write s 504 8 s >/dev/null
	remove s
	for target in snapshot snapshot-merge; do
		must dmsetup create o --notable
		must dmsetup load o --table "0 512 linear $M/ob 0"
		o=$(dmsetup info -c --noheadings --separator : -o major,minor o)
		must dmsetup create s --notable
		dmsetup load s --table "0 512 $target $o $M/c P 8" 2>/tmp/err
		is "$target: loads" "$? $(errno_name </tmp/err)" "0 "
		must dmsetup create g --notable
		must dmsetup load g --table "0 512 snapshot-origin $o"
		must dmsetup resume o
		must dmsetup resume s
		[ $target = snapshot-merge ] || must dmsetup resume g
		is "$target: content" "$(map s 8 0 32) $(map s 8 496 16)" "AsAA As"
		[ $target = snapshot-merge ] || is "$target: goes on" "$(write g 16 8 o) $(map s 8 0 32)" "ok AsAA"
		[ $target = snapshot ] || until_true 20 merged s
		dmsetup remove s g o
	done
	is "merged" "$(map ob 8 0 32) $(map ob 8 496 16)" "AsAA As"
}

# two devices for one store
do_handover() {
	dev o 512 A
	dev c 512
	snap s o c P 8
	write s 0 8 s >/dev/null
	write s 64 16 s >/dev/null
	mline="0 512 snapshot-merge $M/o $M/c P 8"
	must dmsetup create m --notable
	must dmsetup load m --table "$mline"
	is "waiting" "$(dmsetup table --inactive m | cut -d ' ' -f 3-)" "snapshot-merge $(mm o) $(mm c) P 0"
	refused "a third" EINVAL "Snapshot cow pairing for exception table handover failed" \
		"0 512 snapshot $M/o $M/c P 8"
	dmesg -c >/dev/null
	dmsetup resume m 2>/tmp/err
	is "resume before the source is suspended" "$(errno_name </tmp/err)" EINVAL
	has "and why" "$(dmesg -c)" "until source is suspended"
	must dmsetup suspend s
	dmsetup resume s 2>/tmp/err
	is "resume of the source" "$(errno_name </tmp/err)" EINVAL
	has "resume of the source: why" "$(dmesg -c)" "Unable to resume snapshot source until handover completes"
	must dmsetup resume m
	is "source" "$(st s)" Invalid
	until_true 20 merged m
	is "merged" "$(st m) $(map m 8 0 96) $(map o 8 0 96)" "16/512 16 sAAAAAAAssAA sAAAAAAAssAA"
	remove s m
	# the source goes first
	dev c3 512
	snap s o c3 P 8
	must dmsetup create m --notable
	must dmsetup load m --table "0 512 snapshot-merge $M/o $M/c3 P 8"
	dmesg -c >/dev/null
	remove s
	has "cancelled" "$(dmesg -c)" "Cancelling snapshot handover"
	must dmsetup resume m
	is "cancelled: status" "$(st m)" Invalid
	remove m
	is "cancelled: not on disk" "$(magic_valid c3)" $VALID
	# one merge per origin
	dev c4 512
	dev c5 512
	snap s4 o c4 P 8
	snap s5 o c5 P 8
	make m "0 512 snapshot-merge $M/o $M/c P 8"
	must dmsetup create m4 --notable
	dmesg -c >/dev/null
	dmsetup load m4 --table "0 512 snapshot-merge $M/o $M/c4 P 8" 2>/tmp/err
	is "second merge" "$(errno_name </tmp/err)" EINVAL
	has "second merge: why" "$(dmesg -c)" ": A snapshot is already merging."
}

# suspend, reload and resume while both sides are busy; each writer knows what it must read
do_load() {
	dev o 8192 A
	dev c 32768
	dev c2 32768
	snap s o c P 8
	snap s2 o c2 P 32
	origin g o
	io $M/g l:1:6000:64 >/tmp/load.g &
	io $M/s l:2:6000:64 >/tmp/load.s &
	sleep 0.5
	rounds=0
	while [ $rounds -lt 12 ]; do
		must dmsetup suspend g
		case $((rounds % 3)) in
		0) must dmsetup suspend s ;;
		1) must dmsetup suspend --noflush s ;;
		2) must dmsetup load s --table "0 8192 snapshot $M/o $M/c P 8" ;;
		esac
		must dmsetup resume s
		must dmsetup resume g
		rounds=$((rounds + 1))
		sleep 0.2
	done
	wait
	has "writer of the origin" "$(cat /tmp/load.g)" ok:
	has "writer of the snapshot" "$(cat /tmp/load.s)" ok:
	is "the other snapshot" "$(io $M/s2 r:0:8192:A)" ok
	before=$(st s) content=$(content_of $M/s)
	remove s s2
	snap s o c P 8
	snap s2 o c2 P 32
	is "status again" "$(st s)" "$before"
	is "content again" "$(content_of $M/s)" "$content"
	is "the other one again" "$(io $M/s2 r:0:8192:A)" ok
	say load writes "$(cat /tmp/load.g /tmp/load.s | tr '\n' ' ')"
}

# a device that is taken away while it is written to
do_busy() {
	dev o 8192 A
	dev c 32768
	snap s o c P 8
	origin g o
	io $M/g l:3:3000:64 >/tmp/load.g &
	sleep 1
	must dmsetup suspend g
	remove s
	must dmsetup resume g
	wait
	has "writer" "$(cat /tmp/load.g)" ok:
	is "valid" "$(magic_valid c)" $VALID
}

# ---- space ---------------------------------------------------------------------------------------

do_grow() {
	dev big 160
	dev o 512 A
	must dmsetup create c --table "0 40 linear $M/big 0"
	snap s o c P 8
	origin g o
	is "fits" "$(write s 0 16 s) $(write g 16 8 o)" "ok ok"
	is "full" "$(st s)" "40/40 16"
	swap c "0 80 linear $M/big 0"
	is "grown" "$(st s)" "40/80 16"
	is "more" "$(write s 24 16 s) $(write g 40 8 o)" "ok ok"
	is "content" "$(map s 8 0 64) $(st s)" "ssAssAAA 64/80 16"
}

do_readonly() {
	dev o 512 A
	dev c 512
	snap s o c P 8
	write s 0 8 s >/dev/null
	remove s
	make s "0 512 snapshot $M/o $M/c P 8" --readonly
	is "existing store" "$made $(st s) $(map s 8 0 16)" "ok 24/512 16 sA"
	is "flag" "$(blockdev --getro $M/s)" 1
	is "write" "$(write s 0 8 t)" EPERM
	remove s
	make s "0 512 snapshot $M/o /dev/vda P 8" --readonly
	is "blank store on a disk that cannot be written" $made EIO
	# the origin need not be writable
	blockdev --setro $M/o
	snap s o c P 8
	is "read-only origin" "$made $(map s 8 0 16) $(write s 8 8 t) $(map s 8 0 24)" "ok sA ok stA"
}

do_full_P() {
	dev o 512 A
	dev c 40
	snap s o c P 8
	origin g o
	n=$(events s)
	is "fits" "$(write s 0 16 s) $(write g 16 8 o)" "ok ok"
	is "full" "$(st s) $(events s)" "40/40 16 $n"
	is "rewrite" "$(write s 0 8 t) $(write g 16 8 p) $(st s)" "ok ok 40/40 16"
	is "one too many" "$(write s 24 8 s)" EIO
	until_true 5 status_is s Invalid
	is "status" "$(st s)" Invalid
	until_true 5 event_after s "$n"
	is "event" "$(events s)" $((n + 1))
	is "read" "$(map s 8 0 32)" "!!!!"
	is "write" "$(write s 0 8 u)" EIO
	is "origin goes on" "$(write g 64 8 o) $(map g 8 0 72)" "ok AApAAAAAo"
	remove s
	is "on disk" "$(magic_valid c)" $INVALID
	snap s o c P 8
	is "anew" "$made $(st s) $(map s 8 0 16)" "ok Invalid !!"
	remove s
	dev c2 40
	snap s o c2 P 8
	n=$(events s)
	is "by origin writes" "$(write g 0 48 q)" ok
	until_true 5 event_after s "$n"
	is "by origin writes: status" "$(st s) $(events s)" "Invalid $((n + 1))"
	is "by origin writes: origin" "$(map g 8 0 56)" qqqqqqA
	is "by origin writes: on disk" "$(magic_valid c2)" $INVALID
}

do_full_PO() {
	dev o 512 A
	dev c 40
	snap s o c PO 8
	origin g o
	is "fits" "$(write s 0 24 s)" ok
	is "one too many" "$(write s 24 8 s) $(st s)" "EIO Overflow"
	is "reads" "$(map s 8 0 40)" sssAA
	is "still new chunks" "$(write s 32 8 s) $(st s)" "EIO Overflow"
	is "on disk" "$(magic_valid c)" $VALID
	is "origin write of what is kept" "$(write g 0 8 o) $(st s) $(map s 8 0 40)" "ok Overflow sssAA"
	must dmsetup load s --table "0 512 snapshot $M/o $M/c PO 8"
	must dmsetup suspend s
	must dmsetup resume s
	is "handed over" "$(st s)" Overflow
	remove s
	snap s o c PO 8
	is "anew" "$(st s) $(map s 8 0 40)" "40/40 16 sssAA"
	is "once more" "$(write s 24 8 s) $(st s)" "EIO Overflow"
	is "origin write of what is not" "$(write g 40 8 o)" ok
	until_true 5 status_is s Invalid
	is "then" "$(st s) $(magic_valid c) $(map s 8 0 8)" "Invalid $INVALID !"
}

do_full_N() {
	dev o 512 A
	dev c 24
	snap s o c N 8
	origin g o
	is "fits" "$(write s 0 16 s) $(write g 16 8 o) $(st s)" "ok ok 24/24 0"
	is "one too many" "$(write s 24 8 s) $(st s)" "EIO Invalid"
	remove s
	snap s o c N 8
	is "anew" "$(st s)" "0/24 0"
	is "by origin writes" "$(write g 0 48 q) $(st s)" "ok Invalid"
}

# ---- merge ---------------------------------------------------------------------------------------

do_merge() {
	dev o 4096 A
	dev c 8192
	dev c2 8192
	snap s o c P 8
	snap s2 o c2 P 16
	origin g o
	# long runs, single chunks, and chunks that the origin wrote
	is "writes" "$(io $M/s w:0:1000:s w:1600:8:s w:1584:8:s w:1568:8:s w:2000:80:s w:4088:8:s)" \
		"ok ok ok ok ok ok"
	is "origin writes" "$(io $M/g w:1568:8:o w:3000:8:o)" "ok ok"
	content=$(content_of $M/s)
	remove s g
	merge m o c P 8
	is "merge" $made ok
	is "content at once" "$(content_of $M/m)" "$content"
	is "a write meanwhile" "$(io $M/m w:1600:8:m w:500:1:m w:3500:8:m r:1600:8:m r:500:1:m)" \
		"ok ok ok ok ok"
	until_true 30 merged m
	is "end" "$(st m)" "16/8192 16"
	is "origin" "$(io $M/o r:0:500:s r:500:1:m r:501:499:s r:1000:568:A r:1568:8:s r:1584:8:s r:1600:8:m \
		r:1608:392:A r:2000:80:s r:3000:8:A r:3500:8:m r:4088:8:s)" "ok ok ok ok ok ok ok ok ok ok ok ok"
	is "the other snapshot" "$(io $M/s2 r:0:1568:A r:1576:2520:A r:1568:8:A)" "ok ok ok"
	is "afterwards" "$(io $M/m w:0:8:n r:0:8:n) $(map o 8 0 8) $(io $M/s2 r:0:8:A)" "ok ok n ok"
	remove m
	is "on disk" "$(magic_valid c) $(got_entry c 8 0)" "$VALID $(le64 0)$(le64 0)"
	# the empty store begins again
	snap s o c P 8
	is "used again" "$(st s) $(write s 8 8 z) $(map s 8 0 24)" "16/8192 16 ok nzs"
}

# a merge over several areas, stopped again and again, while it is written to
do_merge_stopped() {
	dev o 2048 A
	dev c 4096
	snap s o c P 1
	# every second sector, so that each step is one
	words=
	i=0
	while [ $i -lt 150 ]; do
		words="$words w:$((i * 2 % 601 + i % 3 * 601)):1:s"
		i=$((i + 1))
	done
	# shellcheck disable=SC2086
	is "writes" "$(io $M/s $words | tr ' ' '\n' | sort | uniq -c | tr -s ' ')" " 150 ok"
	content=$(content_of $M/s)
	remove s
	# slowly
	start=$(dmsetup table c | cut -d ' ' -f 5)
	swap c "0 4096 delay $pool $start 5"
	line="0 2048 snapshot-merge $M/o $M/c P 1"
	make m "$line"
	steps=0
	last=
	# a merge need not take over from a merge; where it does, it goes on
	reload=no
	if dmsetup load m --table "$line" 2>/tmp/err; then
		reload=yes
	else
		is "reload of a merge" "$(errno_name </tmp/err)" EINVAL
	fi
	until merged m || [ $steps -gt 200 ]; do
		must dmsetup suspend m
		now=$(st m)
		case $((steps % 4)) in
		1) [ $reload = no ] || must dmsetup load m --table "$line" ;;
		3)
			must dmsetup remove m
			is "right after step $steps: the merge can be read as a snapshot" \
				"$(make t "0 2048 snapshot $M/o $M/c P 1"; content_of $M/t)" "$content"
			remove t
			must dmsetup create m --notable
			must dmsetup load m --table "$line"
			;;
		esac
		must dmsetup resume m
		[ "$now" = "$last" ] || steps=$((steps + 1))
		last=$now
	done
	say merge steps "$steps"
	is "stopped often" "$([ $steps -gt 5 ] && echo yes)" yes
	is "end" "$(st m)" "2/4096 2"
	is "content" "$(content_of $M/m)" "$content"
	remove m
	is "origin" "$(content_of $M/o)" "$content"
}

# with other snapshots and load on them, on the merging device and on a sibling
do_merge_load() {
	dev o 4096 A
	dev c 16384
	dev c2 16384
	snap s o c P 8
	snap s2 o c2 P 8
	# shellcheck disable=SC2046
	io $M/s $(i=0; while [ $i -lt 256 ]; do echo "w:$((i * 7 % 512 * 8)):8:s"; i=$((i + 1)); done) >/dev/null
	remove s
	merge m o c P 8
	io $M/m l:5:3000:32 >/tmp/load.m &
	io $M/s2 l:6:3000:32 >/tmp/load.s &
	wait
	has "writer of the merge" "$(cat /tmp/load.m)" ok:
	has "writer of the sibling" "$(cat /tmp/load.s)" ok:
	until_true 30 merged m
	is "end" "$(st m)" "16/16384 16"
	content=$(content_of $M/m)
	remove m
	is "origin" "$(content_of $M/o)" "$content"
}

# ---- discards ------------------------------------------------------------------------------------

limit() { cat "/sys/block/$(basename "$(readlink -f "/sys/dev/block/$(mm "$1")")")/queue/$2"; }

do_discard() {
	file_disk od 262144 512
	file_disk dc 524288 512
	must io $M/od w:0:512:A >/dev/null
	snap s od dc P 8
	origin g od
	is "none without the feature" "$(limit s discard_max_bytes) $(io $M/s d:0:8)" "0 EOPNOTSUPP"
	is "none of the origin" "$(limit g discard_max_bytes) $(io $M/g d:0:8)" "0 EOPNOTSUPP"
	is "zeroes" "$(io $M/s z:256:16 m:248:32:8)" "ok A..A"
	is "zeroes of the origin" "$(io $M/g z:128:16 m:120:32:8) $(map s 8 120 32)" "ok A..A AAAA"
	remove s
	snap s od dc P 8 discard_zeroes_cow
	is "with the feature" "$([ "$(limit s discard_max_bytes)" -gt 0 ] && echo some)" some
	write s 0 24 s >/dev/null
	used=$(st s)
	is "no exception" "$(io $M/s d:64:8 m:64:8:8)" "ok A"
	is "a whole chunk" "$(io $M/s d:8:8 m:0:32:8)" "ok s.sA"
	is "a part of one" "$(io $M/s d:16:4 m:16:4:4 m:20:4:4)" "ok . s"
	is "no exception is made" "$(st s)" "$used"
	is "the origin keeps its data" "$(io $M/od r:0:64:A)" ok
	remove s
	snap s od dc P 8 discard_zeroes_cow discard_passdown_origin
	is "passed down" "$(io $M/s d:320:8 m:320:8:8) $(map od 8 312 24)" "ok . A.A"
	remove s
	is "store" "$(magic_valid dc)" $VALID
	# a merge takes them and does nothing
	make m "0 512 snapshot-merge $M/od $M/dc P 8 1 discard_zeroes_cow"
	until_true 20 merged m
	is "merge" "$(io $M/m d:400:8 m:392:24:8)" "ok AAA"
	no_file_disks
}

# ---- the module ----------------------------------------------------------------------------------

do_parameters() {
	p=/sys/module/dm_snapshot/parameters
	is "cow threshold" "$(cat $p/snapshot_cow_threshold) $(stat -c %a $p/snapshot_cow_threshold)" "2048 644"
	is "copy throttle" "$(cat $p/snapshot_copy_throttle)" 100
	echo 3 >$p/snapshot_cow_threshold
	is "can be set" "$(cat $p/snapshot_cow_threshold)" 3
	dev o 4096 A
	dev c 8192
	snap s o c P 8
	origin g o
	is "works with a low one" "$(write g 0 2048 o) $(write s 2048 2048 s)" "ok ok"
	is "content" "$(io $M/s r:0:2048:A r:2048:2048:s)" "ok ok"
	echo 2048 >$p/snapshot_cow_threshold
	echo 50 >$p/snapshot_copy_throttle
	is "copy throttle can be set" "$(cat $p/snapshot_copy_throttle)" 50
	echo 100 >$p/snapshot_copy_throttle
}

# what a loaded module can leave: slabs, threads, work queues, targets, aliases' names
traces() {
	awk '{ print $1 }' /proc/slabinfo | grep -i -E 'snap|exception'
	# an idle worker of the system is called after what it did last
	awk '/\(/ { print $2 }' /proc/[0-9]*/stat 2>/dev/null | grep -i -E 'snap|kcopyd|exception' |
		grep -v '^(kworker/[^)+]*-'
	dmsetup targets | grep snapshot
	for trace in /sys/kernel/slab/*snap* /sys/kernel/slab/*exception* /sys/module/dm_snapshot \
		/sys/bus/workqueue/devices/*snap*; do
		[ ! -e "$trace" ] || echo "$trace"
	done
}

do_unload() {
	is "loaded" "$(dmsetup targets | grep -c '^snapshot')" 3
	dev o 512 A
	dev c 512
	snap s o c P 8
	origin g o
	write g 0 64 o >/dev/null
	rmmod dm-snapshot 2>/tmp/err
	has "in use" "$(cat /tmp/err)" "temporarily unavailable"
	dmsetup remove_all
	is "unload" "$(rmmod dm-snapshot 2>&1)" ""
	is "nothing is left" "$(traces)" ""
	use "$module"
	dev o2 512 A
	dev c2 512
	snap s o2 c2 P 8
	is "loaded again" "$made $(write s 0 8 s) $(map s 8 0 16)" "ok ok sA"
	i=0
	while [ $i -lt 5 ]; do
		dmsetup remove s
		use "$module"
		snap s o2 c2 P 8
		i=$((i + 1))
	done
	is "and again" "$made $(st s)" "ok 24/512 16"
}

modprobe dm-delay
run_groups "$@"
