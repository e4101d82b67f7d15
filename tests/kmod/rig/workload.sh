# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Lives of snapshots, for the crash rig: runs in the guest, on disks that record what reaches them.
#
# usage: workload.sh [SCENARIO]...	(all)
#
# Each scenario begins with disks of any content.  What it does it says by marks: which slices of which
# disks it uses, when a store is made, merged, given up; rigio says the rest.  The model that knows what
# must be there after a cut is in replay.c.

set -u
MARKS=''
DM=/dev/mapper

must() {
	"$@" || {
		echo "workload: $scenario: $*: status $?" >&2
		exit 99
	}
}

rig() { must /guest/rigio "$MARKS"; }
mark() { echo "mark $*" | rig; }

setup() {
	scenario=setup
	must modprobe dm-snapshot
	tries=0
	until [ -b /dev/vde ] || [ $tries -gt 100 ]; do
		sleep 0.1
		tries=$((tries + 1))
	done
	MARKS=/dev/vde
}

# begin NAME BLOCK_SIZE ORIGIN_SECTORS
begin() {
	scenario=$1 osize=$3 stores=''
	case $2 in
	512) odisk=/dev/vda cdisk=/dev/vdb onr=0 cnr=1 ;;
	4096) odisk=/dev/vdc cdisk=/dev/vdd onr=2 cnr=3 ;;
	esac
	must dmsetup create og --table "0 $osize linear $odisk 0"
	mark "scenario $1 $2 $onr 0 $osize"
	echo "fill o $DM/og" | rig
	mark go
}

# store K START SECTORS CHUNK TYPE: make snapshot K over what an old store left, as LVM does it
store() {
	must dmsetup create "c$1" --table "0 $3 linear $cdisk $2"
	echo "stale $DM/c$1 $4" | rig
	[ -z "$stores" ] || must dmsetup suspend orig
	mark "store $1 $cnr $2 $3 $4 $5"
	must dmsetup create "s$1" --table "0 $osize snapshot $DM/og $DM/c$1 $5 $4"
	mark "active $1"
	if [ -z "$stores" ]; then
		must dmsetup create orig --table "0 $osize snapshot-origin $DM/og"
	else
		must dmsetup resume orig
	fi
	stores="$stores $1"
}

status() { mark "status $1 $(dmsetup status "$1" | cut -d ' ' -f 4-)"; }

# merge K: the origin gives way to the merge
merge() {
	must dmsetup remove orig
	must dmsetup remove "s$1"
	mark "merge $1"
	resume_merge "$1"
}

resume_merge() {
	# shellcheck disable=SC2154 # set by the scenario
	must dmsetup create "m$1" --table "0 $osize snapshot-merge $DM/og $DM/c$1 P $chunk"
}

# the merge stops after the step at hand, and its target goes
cut_merge() {
	must dmsetup suspend --noflush "m$1"
	status "m$1"
	must dmsetup remove "m$1"
}

is_merged() {
	dmsetup status "m$1" | {
		read -r _ _ _ used metadata
		[ "${used%/*}" = "${metadata:-}" ]
	}
}

end_merge() {
	tries=0
	until is_merged "$1" || [ $tries -gt 600 ]; do
		sleep 0.1
		tries=$((tries + 1))
	done
	must is_merged "$1"
	status "m$1"
	mark "merged $1"
	must dmsetup remove "m$1"
	mark "gone $1"
	must dmsetup remove "c$1"
	stores=$(echo "$stores" | sed "s/ $1\b//")
}

finish() {
	mark end
	! [ -e $DM/orig ] || must dmsetup remove orig
	for k in $stores; do
		must dmsetup remove "s$k"
		must dmsetup remove "c$k"
	done
	must dmsetup remove og
	echo "workload: $scenario: done"
}

# ---- scenarios -------------------------------------------------------------------------------------

# writes of all kinds to both sides, one after the other and many at once; then the merge, cut and
# finished, with writes to what is being merged.  life NAME BLOCK_SIZE CHUNK
life() {
	chunk=$3
	begin "$1" "$2" $((76 * chunk))
	store 0 0 $((104 * chunk)) "$chunk" P
	block=$(($2 / 512))
	half=$((chunk > block ? chunk / 2 : block))
	{
		echo "w o $DM/orig 0 $chunk"
		echo "w o $DM/orig $((5 * chunk)) $block"
		echo "f o $DM/orig"
		echo "w s0 $DM/s0 $((9 * chunk)) $chunk"		# a whole chunk
		echo "w s0 $DM/s0 $((12 * chunk)) $block"	# part of one
		echo "w s0 $DM/s0 $((5 * chunk)) $half"		# of one that is there already
		echo "f s0 $DM/s0"
		echo "w s0 $DM/s0 $((9 * chunk)) $block"
		echo "w o $DM/orig $((9 * chunk)) $chunk"
		echo "w o $DM/orig $((20 * chunk)) $((24 * chunk))"	# a batch
		echo "b $chunk s0:$DM/s0:$((45 * chunk)) o:$DM/orig:$((47 * chunk)) s0:$DM/s0:$((49 * chunk)) o:$DM/orig:$((51 * chunk)) o:$DM/orig:$((21 * chunk)) s0:$DM/s0:$((25 * chunk))"
		echo "b $block s0:$DM/s0:$((53 * chunk)) o:$DM/orig:$((55 * chunk)) s0:$DM/s0:$((55 * chunk + chunk - block)) o:$DM/orig:$((59 * chunk)) s0:$DM/s0:$((12 * chunk))"
		echo "f o $DM/orig"
		echo "w s0 $DM/s0 $((62 * chunk)) $((4 * chunk))"
		echo "f s0 $DM/s0"
	} | rig
	status s0
	merge 0
	cut_merge 0
	resume_merge 0
	{
		echo "w m0 $DM/m0 0 $block"
		echo "w m0 $DM/m0 $((30 * chunk)) $chunk"
		echo "f m0 $DM/m0"
		echo "w m0 $DM/m0 $((70 * chunk)) $chunk"
	} | rig
	end_merge 0
	finish
}

# more exceptions than an area holds (one sector per chunk: 32), over stale areas
areas() {
	chunk=1
	begin areas 512 200
	store 0 0 300 1 P
	{
		echo "w o $DM/orig 0 10"
		echo "w o $DM/orig 10 30"
		echo "f o $DM/orig"
		echo "w s0 $DM/s0 60 60"
		echo "b 5 o:$DM/orig:130 o:$DM/orig:140 s0:$DM/s0:150 o:$DM/orig:160 s0:$DM/s0:170"
		echo "f s0 $DM/s0"
		echo "w o $DM/orig 100 20"
	} | rig
	status s0
	merge 0
	end_merge 0
	finish
}

# torn areas: batches whose exceptions lie in several sectors of their area, and merges over them
torn() {
	chunk=8
	begin torn 512 1040
	store 0 0 1280 8 P
	{
		echo "w o $DM/orig 0 160"
		echo "w s0 $DM/s0 160 160"	# 32 is in it
		echo "w o $DM/orig 320 120"
		echo "w s0 $DM/s0 440 160"	# 64
		echo "f s0 $DM/s0"
		echo "w s0 $DM/s0 600 200"	# 96
		echo "w o $DM/orig 800 160"
		echo "f s0 $DM/s0"
		echo "f o $DM/orig"
	} | rig
	status s0
	merge 0
	end_merge 0
	finish
}

# full NAME BLOCK_SIZE TYPE ROLE: a store for 20 chunks is asked for 26 of them by writes to ROLE
full() {
	chunk=8
	begin "$1" "$2" 320
	store 0 0 $((22 * 8)) 8 "$3"
	case $4 in
	o) dev=$DM/orig ;;
	s0) dev=$DM/s0 ;;
	esac
	{
		echo "w $4 $dev 0 96"
		echo "f $4 $dev"
		for at in 12 13 14 15 16 17 18 19 20 21 22 23; do
			echo "w $4 $dev $((at * 8)) 8"
		done
		echo "w s0 $DM/s0 8 8"
	} | rig
	status s0
	{
		echo "f s0 $DM/s0"
		echo "w o $DM/orig 240 16"
		echo "w o $DM/orig 32 8"
		echo "f o $DM/orig"
	} | rig
	status s0
	finish
}

# the last chunk of the device is the last of an area: no room for the next one
edge() {
	chunk=1
	begin "$1" 512 80
	store 0 0 34 1 "$2"
	{
		echo "w s0 $DM/s0 0 24"
		echo "f s0 $DM/s0"
		for at in 24 25 26 27 28 29 30 31 32 33; do
			echo "w s0 $DM/s0 $at 1"
		done
		echo "f s0 $DM/s0"
	} | rig
	status s0
	finish
}

# two snapshots of one origin, made at different times, with different chunks; one is merged while the
# other lives on
two() {
	chunk=8
	begin two 512 640
	store 0 0 800 8 P
	{
		echo "w o $DM/orig 0 64"
		echo "w s0 $DM/s0 16 8"
		echo "f o $DM/orig"
	} | rig
	store 1 4096 1600 32 PO
	{
		echo "w o $DM/orig 32 64"
		echo "b 8 o:$DM/orig:200 s0:$DM/s0:208 s1:$DM/s1:216 o:$DM/orig:280 s1:$DM/s1:200"
		echo "w s1 $DM/s1 320 40"
		echo "f s1 $DM/s1"
		echo "w o $DM/orig 300 100"
		echo "f s0 $DM/s0"
		echo "f o $DM/orig"
	} | rig
	status s0
	status s1
	merge 0
	cut_merge 0
	resume_merge 0
	echo "w m0 $DM/m0 500 20" | rig
	end_merge 0
	status s1
	finish
}

run() {
	case $1 in
	life-4k) life life-4k 512 8 ;;
	life-16k) life life-16k 512 32 ;;
	life-4k-4096) life life-4k-4096 4096 8 ;;
	life-16k-4096) life life-16k-4096 4096 32 ;;
	areas) areas ;;
	torn) torn ;;
	full-P-origin) full full-P-origin 512 P o ;;
	full-P-snapshot) full full-P-snapshot 4096 P s0 ;;
	full-PO-origin) full full-PO-origin 4096 PO o ;;
	full-PO-snapshot) full full-PO-snapshot 512 PO s0 ;;
	edge-P) edge edge-P P ;;
	edge-PO) edge edge-PO PO ;;
	two) two ;;
	*) echo "workload: $1: no such scenario" >&2; exit 98 ;;
	esac
}

setup
[ $# -gt 0 ] || set -- life-4k life-16k life-4k-4096 life-16k-4096 areas torn full-P-origin \
	full-P-snapshot full-PO-origin full-PO-snapshot edge-P edge-PO two
for name; do
	run "$name"
done
