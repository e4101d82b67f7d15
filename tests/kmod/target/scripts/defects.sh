# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=sh disable=SC1091,SC2154 # the library is in the guest, and sets some variables
# shellcheck disable=SC2086 # names and numbers, without blanks
#
# What the kernel's own module gets wrong, a group for each defect.
#
#	defects.sh ours|upstream GROUP...
#
# Unless said otherwise chunks are 8 sectors, so that an area has 256 entries.
. /guest/target.sh

# ---- stores that must not be loaded ----------------------------------------------------------------

# a sound store of three exceptions over an origin of $1 chunks (and 1/16 of a chunk more, if $2)
sound_store() {
	dev o $(($1 * 8)) A
	dev c 512
	header c 8
	entry c 8 0 0 2
	entry c 8 1 1 3
	entry c 8 2 9 4
	must io $M/c w:16:24:s >/dev/null
}

# never_loads WHAT WORD: refused, by both targets and both types, with a message that has WORD in it, and
# nothing was written
never_loads() {
	before=$(content_of $M/c) origin_before=$(content_of $M/o)
	for table in "snapshot $M/o $M/c P 8" "snapshot $M/o $M/c PO 8" "snapshot-merge $M/o $M/c P 8"; do
		dmesg -c >/dev/null
		make s "0 $(sectors $M/o) $table"
		if [ $made = ok ]; then
			sleep 0.3
			dmsetup remove s
			verdict bad "$1: ${table%% *}: loaded, expected a refusal"
		else
			among "$1: ${table%% *}: errno" "$made" EINVAL EIO ENXIO EILSEQ ERANGE \
				"Invalid or incomplete multibyte or wide character" \
				"Numerical result out of range" "Structure needs cleaning"
			has "$1: ${table%% *}: message" "$(dmesg)" "$2"
		fi
	done
	is "$1: COW device as before" "$(content_of $M/c)" "$before"
	is "$1: origin as before" "$(content_of $M/o)" "$origin_before"
}

# one_bad WHAT OLD NEW WORD: the store with such an entry at its end
one_bad() {
	dmsetup remove_all
	sound_store 4096
	entry c 8 3 "$2" "$3"
	never_loads "$1" "$4"
}

do_beyond() {
	one_bad "new_chunk behind the device" 7 5000 5000
	one_bad "new_chunk just behind the device" 7 64 64
	# the last one is right
	sound_store_last
}

sound_store_last() {
	dmsetup remove_all
	sound_store 4096
	entry c 8 3 7 63
	must io $M/c w:504:8:l >/dev/null
	snap s o c P 8
	is "the last chunk of the device" "$made $(io $M/s b:56:8:8)" "ok l"
}

do_metadata() {
	one_bad "new_chunk is the area" 7 1 1
	dmsetup remove_all
	dev o 32768 A
	dev c 4096
	header c 8
	entry c 8 0 0 2
	entry c 8 1 7 258
	never_loads "new_chunk is the second area" 258
}

do_wraps() {
	one_bad "new_chunk + 1 wraps" 5 -1 exception
	one_bad "new_chunk times chunk size wraps" 5 $((1 << 61)) exception
}

# the top byte of new_chunk is not a run length
do_top_byte() {
	dev o 512 A
	dev c 512
	header c 8
	entry c 8 0 5 $((255 << 56 | 16))
	entry c 8 1 4 15
	never_loads "top byte" exception
}

do_old_beyond() {
	one_bad "old_chunk behind the origin" 5000 5 5000
	one_bad "old_chunk that wraps" $(((1 << 61) + 3)) 5 exception
}

# an entry for the chunk right behind an origin that ends with a whole chunk does no harm
do_old_end() {
	dmsetup remove_all
	sound_store 4096
	entry c 8 3 4096 5
	make m "0 32768 snapshot-merge $M/o $M/c P 8"
	[ $made != ok ] || until_true 20 merged m
	[ $made != ok ] || dmsetup remove m
	is "the rest of the origin" "$(io $M/o r:16:56:A r:80:32688:A)" "ok ok"
}

do_duplicates() {
	one_bad "old_chunk twice" 9 5 9
	one_bad "new_chunk twice" 7 4 4
}

# in the midst of moving an entry a repair leaves it twice
do_exact_pair() {
	sound_store 64
	entry c 8 3 1 3
	snap s o c P 8
	is "loads" "$made" ok
	is "content" "$(io $M/s b:0:80:8)" ssAAAAAAAs
	is "writes" "$(write s 8 8 t) $(write s 16 8 t) $(io $M/s b:0:80:8)" "ok ok sttAAAAAAs"
	remove s
	snap s o c P 8
	is "again" "$made $(io $M/s b:0:80:8)" "ok sttAAAAAAs"
	remove s
	merge m o c P 8
	until_true 20 merged m
	is "merged" "$(io $M/o b:0:80:8)" sttAAAAAAs
}

# full_area NAME BYTE ENTRIES: area 0 with an exception in each place, chunk i at i + 2
full_area() {
	n=0
	while [ $n -lt "$3" ]; do
		echo "$(le64 $n)$(le64 $((n + 2)))"
		n=$((n + 1))
	done | tr -d '\n' >/tmp/hex
	must io "$M/$1" "p:$2:$(cat /tmp/hex)" >/dev/null
}

# area 0 is full, and what follows it was never cleared
do_stale_area() {
	dev o 32768 A
	dev c 4800
	header c 8
	full_area c 4096 256
	must io $M/c "p:$((258 * 4096)):$(le64 7)$(le64 999)$(le64 8)$(le64 12)" >/dev/null
	never_loads "stale area" exception
}

# an area that is no area: also when its chain would end within the device
do_garbage() {
	dev o 512 A
	dev c 4096
	header c 8
	must io $M/c w:8:8:g >/dev/null
	never_loads "garbage" exception
}

# the header names another chunk size: then data are taken for the area, and here they even end
do_chunk_size() {
	dev o 4096 A
	dev c 4096
	header c 8
	entry c 8 0 0 2
	must io $M/c w:16:8:s >/dev/null
	header c 16
	never_loads "chunk size" exception
}

# other stores that both refuse, with the errno that tools know
do_refused() {
	sound_store 64
	for one in "magic swapped:0:70416e53000000010000000100000008:ENXIO" \
		"magic bad:0:deadbeef:ENXIO" "version 0:8:00000000:EINVAL" "version 2:8:02000000:EINVAL" \
		"chunk size 12:12:0c000000:EINVAL" "chunk size 0:12:00000000:EINVAL" \
		"chunk size 4194304:12:00004000:EINVAL"; do
		what=${one%%:*} rest=${one#*:}
		header c 8
		at=${rest%%:*} rest=${rest#*:}
		must io $M/c "p:$at:${rest%:*}" >/dev/null
		before=$(content_of $M/c)
		snap s o c P 8
		is "$what" "$made" "${rest#*:}"
		[ $made != ok ] || dmsetup remove s
		is "$what: as before" "$(content_of $M/c)" "$before"
	done
	header c 8 2
	snap s o c P 8
	is "valid 2" "$made $(st s)" "ok 40/512 16"
	remove s
	header c 8 0
	snap s o c P 8
	is "valid 0" "$made $(st s)" "ok Invalid"
	remove s
	# full to the last entry, with no room for a terminator
	dev e 34
	header e 1
	full_area e 512 32
	snap s o e P 1
	is "no terminator" "$([ $made = ok ] || echo refused)" refused
}

# magic 0, the rest of the header and an area that decodes: somebody's snapshot, not a blank device
do_magic_lost() {
	sound_store 64
	must io $M/c p:0:00000000 >/dev/null
	never_loads "magic lost" magic
}

# 16 zero bytes are blank: LVM wipes no more before it uses extents again
do_blank_over_old() {
	sound_store 64
	must io $M/c p:0:00000000000000000000000000000000 >/dev/null
	dmesg -c >/dev/null
	snap s o c P 8
	is "formatted" "$made $(st s) $(map s 8 0 80)" "ok 16/512 16 AAAAAAAAAA"
	is "area" "$(got_entry c 8 0)$(got_entry c 8 2)" "$(repeat 64 0)"
}

do_blank_is_logged() {
	do_blank_over_old
	has "message" "$(dmesg)" "snapshot"
}

# ---- entries after the terminator --------------------------------------------------------------------

do_tail() {
	dev o 512 A
	dev c 512
	header c 8
	entry c 8 0 0 2
	entry c 8 2 5 3
	must io $M/c w:16:8:s >/dev/null
	snap s o c P 8
	is "loads" "$made $(st s)" "ok 24/512 16"
	is "chunk 5" "$(map s 8 40 8)" A
	is "a write to chunk 7" "$(write s 56 8 t)" ok
	remove s
	is "stale entry on disk" "$(got_entry c 8 2)" "$(repeat 32 0)"
	snap s o c P 8
	is "chunk 5 is the origin's" "$(map s 8 40 8) $(st s)" "A 32/512 16"
	remove s
	# and by a merge, which shortens the area
	dev c2 512
	header c2 8
	entry c2 8 0 0 2
	entry c2 8 1 4 3
	entry c2 8 3 5 4
	must io $M/c2 w:16:24:s >/dev/null
	merge m o c2 P 8
	until_true 20 merged m
	remove m
	is "after a merge" "$(got_entry c2 8 0)$(got_entry c2 8 1)$(got_entry c2 8 3)" "$(repeat 96 0)"
}

# ---- no space ----------------------------------------------------------------------------------------

# edge_devices: a COW device that ends with the last data chunk of an area (here of 32 entries): one less
# can be used.  It is slow, so that what comes together is one batch.
edge_devices() {
	dev o 512 A
	dev cb 34
	modprobe dm-delay
	must dmsetup create c --table "0 34 delay $M/cb 0 20"
}

do_edge_PO() {
	edge_devices
	snap s o c PO 1
	n=$(events s)
	write s 0 32 s >/tmp/result
	is "the write" "$(cat /tmp/result)" EIO
	is "status" "$(st s)" Overflow
	is "on disk" "$(magic_valid c)" $VALID
	is "event" "$(until_true 5 event_after s "$n" && echo yes)" yes
	remove s
	snap s o c PO 1
	is "kept" "$(st s) $(io $M/s r:0:31:s r:31:33:A)" "33/34 2 ok ok"
}

do_edge_P() {
	edge_devices
	snap s o c P 1
	origin g o
	is "the write" "$(write g 0 32 o)" ok
	until_true 5 status_is s Invalid
	is "status" "$(st s) $(magic_valid c)" "Invalid $INVALID"
	is "origin" "$(io $M/g r:0:32:o r:32:32:A)" "ok ok"
	is "the last batch was committed" "$(got_entry c 1 30)" "$(le64 30)$(le64 32)"
	is "and nothing more" "$(got_entry c 1 31)" "$(repeat 32 0)"
	remove s
	# one more and one less have always been right
	for sectors in 33 35; do
		dev c$sectors $sectors
		snap s o c$sectors PO 1
		is "COW device of $sectors" "$(write s 0 32 s) $(st s) $(magic_valid c$sectors)" \
			"$([ $sectors = 33 ] && echo "EIO Overflow" || echo "ok 35/35 3") $VALID"
		remove s
	done
}

do_overflow_rewrite() {
	dev o 512 A
	dev c 40
	snap s o c PO 8
	is "overflow" "$(write s 0 24 s) $(write s 24 8 s) $(st s)" "ok EIO Overflow"
	is "remapped chunks" "$(write s 0 8 t) $(write s 11 3 t) $(st s)" "ok ok Overflow"
	is "content" "$(io $M/s r:0:8:t r:8:3:s r:11:3:t r:14:10:s r:24:8:A)" "ok ok ok ok ok"
}

do_overflow_event() {
	dev o 512 A
	dev c 40
	snap s o c PO 8
	n=$(events s)
	is "overflow" "$(write s 0 24 s) $(write s 24 8 s) $(st s)" "ok EIO Overflow"
	until_true 3 event_after s "$n"
	is "event" "$(events s)" $((n + 1))
	is "only one" "$(write s 24 8 s) $(write s 32 8 s) $(events s)" "EIO EIO $((n + 1))"
}

# ---- merge -------------------------------------------------------------------------------------------

do_merge_event() {
	sound_store 64
	make m "0 512 snapshot-merge $M/o $M/c P 8"
	until_true 20 merged m
	until_true 3 event_after m 0
	is "event" "$(events m)" 1
}

# the data of an exception cannot be read
failed_merge() {
	sound_store 64
	start=$(dmsetup table c | cut -d ' ' -f 5)
	must dmsetup suspend c
	must dmsetup load c <<TABLE
0 24 linear $pool $start
24 8 error
32 480 linear $pool $((start + 32))
TABLE
	must dmsetup resume c
	make m "0 512 snapshot-merge $M/o $M/c P 8"
	until_true 20 status_is m "Merge failed"
}

do_merge_failed_event() {
	failed_merge
	is "status" "$(st m)" "Merge failed"
	until_true 3 event_after m 0
	is "event" "$(events m)" 1
}

# and what is left then
do_merge_failed() {
	failed_merge
	is "status" "$(st m)" "Merge failed"
	is "what is left stays" "$(got_entry c 8 1)" "$(le64 1)$(le64 3)"
	is "reads and writes" "$(write m 80 8 x) $(map m 8 80 8)" "ok x"
}

# ---- one COW device, two origins ----------------------------------------------------------------------

do_two_origins() {
	dev o 512 A
	dev o2 512 B
	dev c 512
	snap s o c P 8
	write s 0 8 s >/dev/null
	snap s2 o2 c P 8
	among "second origin" "$made" EBUSY EINVAL
	snap s3 o2 c N 8
	among "second origin, transient" "$made" EBUSY EINVAL
	merge m o2 c P 8
	among "second origin, merge" "$made" EBUSY EINVAL
	[ ! -e $M/m ] || remove m
	is "the first one" "$(st s) $(map s 8 0 16) $(write s 8 8 s) $(map s 8 0 24)" "24/512 16 sA ok ssA"
	remove s
	[ ! -e $M/s2 ] || remove s2
	[ ! -e $M/s3 ] || remove s3
	snap s2 o2 c P 8
	is "once it is free" "$made" ok
}

# ---- devices that fail ----------------------------------------------------------------------------------

# an origin whose chunk 3 has an unreadable sector (its first)
bad_origin() {
	dev ob 512 A
	must dmsetup create o <<TABLE
0 24 linear $M/ob 0
24 1 error
25 487 linear $M/ob 25
TABLE
}

do_read_error_snapshot() {
	bad_origin
	dev c 512
	snap s o c P 8
	origin g o
	is "others" "$(write s 0 8 s) $(write g 8 8 o)" "ok ok"
	is "write to a part of the chunk" "$(write s 26 4 s)" EIO
	# the chunk that was meant for it may stay unused
	among "the store is valid" "$(st s)" "32/512 16" "40/512 16"
	is "write to all of the chunk" "$(write s 24 8 s)" ok
	is "others go on" "$(write s 32 8 s) $(map s 8 0 48)" "ok sAAssA"
	is "on disk" "$(magic_valid c)" $VALID
	remove s
	snap s o c P 8
	is "again" "$made $(map s 8 0 48)" "ok sAAssA"
	among "again: status" "$(st s)" "48/512 16" "56/512 16"
}

# two failed and one good one in between: no hole that would be taken for the end, nothing lost
do_read_error_many() {
	dev ob 512 A
	must dmsetup create o <<TABLE
0 24 linear $M/ob 0
24 1 error
25 47 linear $M/ob 25
72 1 error
73 439 linear $M/ob 73
TABLE
	dev c 1024
	snap s o c P 8
	for at in 1 25 33 73 97; do
		io $M/s "w:$at:1:s" >"/tmp/at.$at" &
	done
	wait
	is "writes" "$(cat /tmp/at.1 /tmp/at.25 /tmp/at.33 /tmp/at.73 /tmp/at.97 | tr '\n' ' ')" \
		"ok EIO ok EIO ok "
	is "more" "$(io $M/s w:129:1:s w:137:1:s w:25:1:s w:145:1:s)" "ok ok EIO ok"
	is "content" "$(io $M/s m:0:24:1 m:32:40:1)" "As$(repeat 22 A) As$(repeat 38 A)"
	remove s
	snap s o c P 8
	is "again" "$made $(io $M/s m:0:8:1 m:32:8:1 m:96:8:1 m:128:24:1)" \
		"ok AsAAAAAA AsAAAAAA AsAAAAAA AsAAAAAAAsAAAAAAAsAAAAAA"
}

# under a write to the origin: production goes on, the snapshot is Invalid
do_read_error_origin() {
	bad_origin
	dev c 512
	snap s o c P 8
	origin g o
	n=$(events s)
	is "write" "$(write g 26 4 o) $(io $M/g r:26:4:o)" "ok ok"
	until_true 3 event_after s "$n"
	is "status" "$(st s) $(events s) $(magic_valid c)" "Invalid $((n + 1)) $INVALID"
}

do_fail_origin_write() {
	bad_origin
	dev c 512
	snap s o c P 8 fail_origin_write
	is "taken" "$made" ok
	is "shown" "$(table_of s)" "snapshot $(mm o) $(mm c) P 8 1 fail_origin_write"
	origin g o
	is "others" "$(write g 0 8 o) $(write s 8 8 s)" "ok ok"
	is "write" "$(write g 26 4 o)" EIO
	is "not written" "$(io $M/ob r:26:4:A)" ok
	among "status" "$(st s) $(magic_valid c)" "32/512 16 $VALID" "40/512 16 $VALID"
	is "others go on" "$(write g 32 8 o) $(map s 8 32 8)" "ok A"
	# mended
	swap o "0 512 linear $M/ob 0"
	is "mended" "$(write g 26 4 o) $(map s 8 0 48)" "ok AsAAAA"
	remove s
	snap s o c P 8 discard_zeroes_cow fail_origin_write
	is "with another feature" "$made $(table_of s)" \
		"ok snapshot $(mm o) $(mm c) P 8 2 discard_zeroes_cow fail_origin_write"
	is "again" "$(map s 8 0 48)" AsAAAA
}

# slow_header: a COW device c of 5 chunks whose header can be made unwritable (device hd)
slow_header() {
	modprobe dm-flakey
	dev hd 8
	dev cb 40
	hd_start=$(dmsetup table hd | cut -d ' ' -f 5)
	must dmsetup create c <<TABLE
0 8 linear $M/hd 0
8 32 linear $M/cb 8
TABLE
}

# the mark cannot be written at first: it is tried again, and said
do_mark_retried() {
	dev o 512 A
	slow_header
	snap s o c P 8
	origin g o
	is "fits" "$(write g 0 24 o)" ok
	swap hd "0 8 flakey $pool $hd_start 0 1000 1 error_writes"
	n=$(events s)
	dmesg -c >/dev/null
	(sleep 1; swap hd "0 8 linear $pool $hd_start") &
	is "the write" "$(write g 24 8 o)" ok
	wait
	until_true 10 mark_there
	is "on disk" "$(magic_valid c)" $INVALID
	is "status" "$(st s)" Invalid
	is "event" "$(until_true 3 event_after s "$n" && echo yes)" yes
	has "message" "$(dmesg)" "invalid mark"
}

# ... and if it never can be: production I/O does not stand still, and it is said
do_mark_fails() {
	dev o 512 A
	slow_header
	snap s o c P 8
	origin g o
	is "fits" "$(write g 0 24 o)" ok
	swap hd "0 8 flakey $pool $hd_start 0 1000 1 error_writes"
	n=$(events s)
	dmesg -c >/dev/null
	is "the write" "$(write g 24 8 o) $(io $M/g r:0:32:o)" "ok ok"
	until_true 30 status_is s Invalid
	is "status" "$(st s) $(io $M/s m:0:8:8)" "Invalid !"
	is "event" "$(until_true 3 event_after s "$n" && echo yes)" yes
	has "message" "$(dmesg)" "invalid mark"
}

mark_there() { [ "$(magic_valid c)" = $INVALID ]; }

# ---- what a power cut leaves -----------------------------------------------------------------------------

# copy, then exception, then the origin write
do_order() {
	recorded 512 512
	snap s o c P 8
	origin g o
	mark
	is "write" "$(write g 16 8 o) $(io $M/g s)" "ok ok"
	recorded_log g s
	is "copy before the exception" "$(durable_first 528 A 520 '?')" yes
	is "exception before the origin write" "$(durable_first 520 '?' 16 o)" yes
	dmsetup remove_all
	recorded 512 512
	snap s o c P 8
	mark
	is "snapshot write" "$(write s 16 8 s)" ok
	recorded_log s
	is "data before the exception" "$(durable_first 528 s 520 '?')" yes
	is "exception is durable" "$(awk '$1 == 520 && $4 == "?" { print $3 ~ /A/ }' /tmp/log.end)" 1
}

# the next area is cleared before this one becomes full
do_order_area() {
	recorded 512 512
	# something that is not zero where the second area will be
	must io $M/c w:34:1:x >/dev/null
	snap s o c P 1
	must io $M/s w:0:31:s >/dev/null
	mark
	is "write" "$(write s 31 1 s)" ok
	recorded_log s
	is "next area before this one" "$(durable_first 546 . 513 '?')" yes
}

do_order_merge() {
	recorded 512 512
	snap s o c P 8
	is "write" "$(write s 16 8 s)" ok
	dmsetup remove s
	mark
	merge m o c P 8
	until_true 20 merged m
	recorded_log m
	is "origin before the exception goes" "$(durable_first 16 s 520 .)" yes
}

# the mark is durable before the origin write that could not be preserved
do_order_invalid() {
	recorded 512 40
	snap s o c P 8
	origin g o
	is "fits" "$(write g 0 24 o)" ok
	mark
	is "one too many" "$(write g 24 8 o) $(io $M/g s)" "ok ok"
	recorded_log g s
	is "the mark before the write" "$(durable_first 512 header0 24 o)" yes
}

do_order_invalid_read() {
	recorded 512 512
	swap o "0 512 linear $M/lw 0"
	must dmsetup suspend o
	must dmsetup load o <<TABLE
0 24 linear $M/lw 0
24 1 error
25 487 linear $M/lw 25
TABLE
	must dmsetup resume o
	snap s o c P 8
	origin g o
	mark
	is "chunk that cannot be read" "$(write g 26 4 o) $(io $M/g s)" "ok ok"
	recorded_log g s
	is "the mark before the write" "$(durable_first 512 header0 26 o)" yes
}

# a new store: its area is empty, durably, before the header says that it is one
do_order_create() {
	recorded 512 512
	must io $M/c w:8:8:x >/dev/null
	mark
	snap s o c P 8
	is "made" "$made" ok
	is "fsync" "$(io $M/s s)" ok
	recorded_log s
	is "area before the header" "$(durable_first 520 . 512 header1)" yes
}

# ---- discards ----------------------------------------------------------------------------------------------

# both on files, which take discards
discard_disks() {
	for name in c o; do
		truncate -s 1M "/tmp/disk.$name"
		loop=$(losetup -f)
		must losetup "$loop" "/tmp/disk.$name"
		must dmsetup create $name --table "0 $([ $name = c ] && echo 2048 || echo 512) linear $loop 0"
	done
	must io $M/o w:0:512:A >/dev/null
}

discard_store() {
	discard_disks
	snap s o c P 8 discard_zeroes_cow
	is "made" "$made" ok
}

discard_end() {
	dmsetup remove_all
	losetup -D
	rm -f /tmp/disk.?
}

# as long as a chunk, and not on one
do_discard_misaligned() {
	discard_store
	write s 8 8 s >/dev/null
	write s 72 8 t >/dev/null
	is "discard" "$(io $M/s d:12:8)" ok
	is "nothing else is touched" "$(io $M/s r:0:8:A r:8:4:s r:16:56:A r:72:8:t)" "ok ok ok ok"
	remove s
	snap s o c P 8 discard_zeroes_cow
	is "nor on disk" "$made $(io $M/s r:0:8:A r:8:4:s r:16:56:A r:72:8:t)" "ok ok ok ok ok"
	discard_end
}

# ... into the metadata that follow the last chunk of an area
do_discard_area() {
	discard_disks
	snap s o c P 2 discard_zeroes_cow
	# 64 entries per area: the last data chunk of the first one belongs to chunk 63
	is "made" "$made $(io $M/s w:0:132:s)" "ok ok"
	is "discard" "$(io $M/s d:127:2)" ok
	remove s
	snap s o c P 2 discard_zeroes_cow
	is "later entries" "$(io $M/s r:0:126:s r:130:2:s r:132:380:A)" "ok ok ok"
	discard_end
}

do_discard_limits() {
	discard_store
	queue=/sys/dev/block/$(mm s)/queue
	is "granularity in bytes" "$(cat "$queue/discard_granularity")" 4096
	is "there are discards" "$([ "$(cat "$queue/discard_max_bytes")" -ge 4096 ] && echo yes)" yes
	remove s
	io $M/c p:0:00000000000000000000000000000000 >/dev/null
	snap s o c P 32 discard_zeroes_cow
	is "granularity of larger chunks" "$(cat "/sys/dev/block/$(mm s)/queue/discard_granularity")" 16384
	discard_end
}

# every chunk size loads with the feature (a division by zero in some kernels)
do_discard_loads() {
	dev o 4096 A
	for size in 1 8 128 256 512 1024; do
		dev c$size 8192
		snap s o c$size P $size discard_zeroes_cow
		is "chunk size $size" "$made" ok
		[ $made != ok ] || remove s
	done
}

# ---- tables, merges and handovers ------------------------------------------------------------------

# what lies in the second segment of a table is copied as well
do_segments() {
	dev o 65536 A
	dev c 4096
	dev d 4096
	must dmsetup create s <<TABLE
0 32768 snapshot $M/o $M/c P 8
32768 16384 snapshot $M/o $M/d P 8
TABLE
	origin g o
	is "writes" "$(write g 32768 32 n) $(write g 8 8 n)" "ok ok"
	is "snapshot" "$(io $M/s r:32768:32:A r:8:8:A)" "ok ok"
}

# failing_origin SECTORS FIRST COUNT: device o on ob, some sectors of which fail; good_origin: none does
failing_origin() {
	must dmsetup suspend o
	must dmsetup load o <<TABLE
0 $2 linear $M/ob 0
$2 $3 error
$(($2 + $3)) $(($1 - $2 - $3)) linear $M/ob $(($2 + $3))
TABLE
	must dmsetup resume o
}
good_origin() { swap o "0 $1 linear $M/ob 0"; }

linear_origin() {
	dev ob "$1" A
	must dmsetup create o --table "0 $1 linear $M/ob 0"
}

# a merge fails at the end of an area, and the store goes on as a snapshot
do_merge_back() {
	linear_origin 8192
	dev c 4096
	snap s o c P 8
	is "an area is full" "$(write s 0 2048 s) $(st s)" "ok 2072/4096 24"
	remove s
	failing_origin 8192 2040 8
	make m "0 8192 snapshot-merge $M/o $M/c P 8"
	until_true 20 status_is m "Merge failed"
	is "status" "$(st m)" "Merge failed"
	good_origin 8192
	swap m "0 8192 snapshot $M/o $M/c P 8"
	write m 4000 8 t >/tmp/back &
	until_true 10 grep -q ok /tmp/back
	is "write" "$(cat /tmp/back)" ok
	is "content" "$(io $M/m r:0:2048:s r:2048:1952:A r:4000:8:t)" "ok ok ok"
	remove m
	snap s o c P 8
	is "again" "$made $(io $M/s r:0:2048:s r:2048:1952:A r:4000:8:t)" "ok ok ok ok"
}

# a store with holes, half merged: what is still in use is not allocated again
do_merge_holes() {
	linear_origin 8192
	dev c 512
	header c 8
	entry c 8 0 0 2
	entry c 8 1 1 5
	entry c 8 2 9 6
	must io $M/c w:16:8:s w:40:8:t w:48:8:u >/dev/null
	failing_origin 8192 8 8
	make m "0 8192 snapshot-merge $M/o $M/c P 8"
	until_true 20 status_is m "Merge failed"
	good_origin 8192
	swap m "0 8192 snapshot $M/o $M/c P 8"
	is "before" "$(io $M/m b:0:80:8)" stAAAAAAAu
	is "new chunks" "$(write m 800 32 n)" ok
	is "after" "$(io $M/m b:0:80:8)" stAAAAAAAu
	remove m
	snap s o c P 8
	is "again" "$made $(io $M/s b:0:80:8 r:800:32:n)" "ok stAAAAAAAu ok"
}

# a merge over what cannot be read costs the other snapshot its validity, at once, and comes to an end
do_merge_unreadable() {
	linear_origin 8192
	dev c 512
	dev t 1048576
	snap s o c P 8
	is "write" "$(write s 8 8 s)" ok
	snap k o t P 8
	remove s
	failing_origin 8192 8 8
	make m "0 8192 snapshot-merge $M/o $M/c P 8"
	until_true 5 status_is m "Merge failed"
	is "merge" "$(st m)" "Merge failed"
	is "the other one" "$(st k) $(magic_valid t)" "Invalid $INVALID"
}

# the origin is written while one table of the snapshot takes over from another, again and again
do_handover() {
	dev o 131072 A
	dev c 262144
	snap s o c P 8
	origin g o
	for part in 0 1 2 3; do
		yes n | tr -d '\n' | dd of=$M/g bs=4k iflag=fullblock oflag=direct seek=$((part * 4096)) count=4096 \
			2>/dev/null && echo ok >/tmp/part.$part &
	done
	n=0
	until [ "$(cat /tmp/part.? 2>/dev/null | grep -c ok)" -eq 4 ] || [ $n -ge 500 ]; do
		swap s "0 131072 snapshot $M/o $M/c P 8"
		n=$((n + 1))
	done
	wait
	is "writes" "$(cat /tmp/part.? | tr '\n' ' ')" "ok ok ok ok "
	say handovers $n
	is "more than two handovers" "$([ $n -gt 2 ] && echo yes)" yes
	is "snapshot" "$(io $M/s r:0:131072:A)" ok
	is "origin" "$(tr -d n <$M/g | wc -c)" 0
}

run_groups "$@"
