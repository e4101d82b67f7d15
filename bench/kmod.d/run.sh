# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# run.sh MODULE.ko BLOCKS GROUPS [PLANT] - what bench/kmod does in the guest
#
# Loads of the groups named in GROUPS (comma between them), each block of 4 KiB of the devices once.
# PLANT: SYMBOL:LOOPS for dmfmt-slow.  Output is kept until a group is over, because consoles take time:
#
#	@run NAME KEY=VALUE...		what the load module said
#	@count NAME NUMBER...		status of the counting layer below the COW device
#	@memory NAME BEFORE AFTER NR	kilobytes in use
#	@fail TEXT			a figure that would be worth nothing
module=$1 blocks=$2 groups=$3 plant=$4
out=/tmp/out
sectors=$((blocks * 8))
slack_kib=2048

failed=/tmp/failed
fail() {
	echo "@fail $*" >>$out
	: >$failed
}
# what everything stands on
must() {
	"$@" || {
		cat $out
		echo "@fail $*: status $?"
		exit 99
	}
}

# ---- devices -------------------------------------------------------------------------------------

load_modules() {
	modprobe dm-bufio
	must insmod "/guest/$module"
	for m in load count areas; do
		must insmod /guest/dmfmt-$m.ko
	done
	[ -z "$plant" ] || must insmod /guest/dmfmt-slow.ko symbol="${plant%:*}" loops="${plant##*:}"
}

# ram0 is the origin, ram1 to ram4 are COW devices, all written once
make_disks() {
	must modprobe brd rd_nr=5 rd_size=$((blocks * 4 + slack_kib)) max_part=1
	for i in 1 2 3 4; do
		dd if=/dev/zero of=/dev/ram$i bs=64k 2>/dev/null
	done
	must dmsetup create L --table "0 $sectors dmfmt-load /dev/ram0"
	fill_origin
	dmsetup remove L
}

fill_origin() { dmsetup message L 0 run op=write order=seq count="$blocks" stamp=1 >/dev/null; }

# blank N...: forget the stores on ramN, also while another device keeps it open
blank() {
	for i; do
		dd if=/dev/zero of=/dev/ram"$i" bs=64k count=4 conv=fsync 2>/dev/null
	done
}

table() { must dmsetup create "$1" --table "0 ${3:-$sectors} $2"; }
snapshot() { table "$1" "snapshot $2 $3 $4 $5 $6"; }
origin() { table origin "snapshot-origin ${1:-/dev/ram0}"; }
gone() {
	for d; do
		must dmsetup remove "$d"
	done
}

# ---- loads ---------------------------------------------------------------------------------------

# run NAME DEVICE WORD...
run() {
	name=$1 device=$2
	shift 2
	table L "dmfmt-load $device"
	if answer=$(dmsetup message L 0 run depth=16 count="$blocks" "$@" 2>&1); then
		echo "@run $name $answer" >>$out
		case $answer in
		*errors=0*) ;;
		*) fail "$name: $answer" ;;
		esac
	else
		fail "$name: $answer"
	fi
	gone L
}

# shows NAME DEVICE STAMP: every block still carries its number and STAMP
shows() {
	table L "dmfmt-load $2"
	answer=$(dmsetup message L 0 run op=read depth=1 order=seq count="$blocks" verify="$3" 2>&1)
	case $answer in
	*errors=0\ wrong=0*) ;;
	*) fail "$1: $2 does not show what was written: $answer" ;;
	esac
	gone L
}

refill() {
	table L "dmfmt-load /dev/ram0"
	fill_origin
	gone L
}

# ---- groups --------------------------------------------------------------------------------------

group_base() {
	run raw-write /dev/ram0 op=write stamp=1
	run raw-read /dev/ram0 op=read
	table linear "linear /dev/ram0 0"
	run linear-write /dev/mapper/linear op=write stamp=1
	run linear-read /dev/mapper/linear op=read
	gone linear
	origin
	run origin-alone-write /dev/mapper/origin op=write stamp=1
	run origin-alone-read /dev/mapper/origin op=read
	gone origin
}

# life NAME TYPE CHUNK: origin and snapshot of one store
life() {
	refill
	blank 1
	snapshot snap /dev/ram0 /dev/ram1 "$2" "$3"
	origin
	run "$1-origin-first" /dev/mapper/origin op=write stamp=2
	run "$1-origin-rewrite" /dev/mapper/origin op=write stamp=3
	run "$1-origin-read" /dev/mapper/origin op=read
	shows "$1-origin" /dev/mapper/snap 1
	shows "$1-origin" /dev/mapper/origin 3
	gone origin snap
	refill
	blank 1
	snapshot snap /dev/ram0 /dev/ram1 "$2" "$3"
	origin
	run "$1-snap-unmapped-read" /dev/mapper/snap op=read
	run "$1-snap-new" /dev/mapper/snap op=write stamp=4
	run "$1-snap-rewrite" /dev/mapper/snap op=write stamp=5
	run "$1-snap-read" /dev/mapper/snap op=read
	shows "$1-snap" /dev/mapper/snap 5
	shows "$1-snap" /dev/mapper/origin 1
	gone origin snap
}

group_p4() { life p4 P 8; }
group_n4() { life n4 N 8; }
group_p64() { life p64 P 128; }

group_discard() {
	# brd of some kernels knows no discards
	table cache "dmfmt-count /dev/ram0"
	table counter "dmfmt-count /dev/ram1" "$(cow_sectors)"
	blank 1
	snapshot snap /dev/mapper/cache /dev/mapper/counter P 8 '1 discard_zeroes_cow'
	origin /dev/mapper/cache
	run discard-unmapped /dev/mapper/snap op=discard
	run discard-fill /dev/mapper/snap op=write stamp=6
	run discard-mapped /dev/mapper/snap op=discard
	gone origin snap counter cache
}

group_multi() {
	for n in 2 4; do
		refill
		i=1
		while [ $i -le $n ]; do
			blank "$i"
			snapshot "snap$i" /dev/ram0 "/dev/ram$i" P 8
			i=$((i + 1))
		done
		origin
		run multi-$n-first /dev/mapper/origin op=write stamp=2
		run multi-$n-rewrite /dev/mapper/origin op=write stamp=3
		gone origin
		while [ $i -gt 1 ]; do
			i=$((i - 1))
			shows multi-$n /dev/mapper/snap$i 1
			gone snap$i
		done
	done
}

# timed NAME TABLE: everything from loading a table to half a minute later, virtual time
timed() {
	table L "dmfmt-load /dev/ram4"
	answer=$(dmsetup message L 0 mark start)
	table merge "$2"
	sleep 30
	dmsetup message L 0 mark stop >/dev/null
	echo "@run $1 $answer ios=$blocks" >>$out
	gone L
}

group_merge() {
	timed merge-idle "linear /dev/ram0 0"
	gone merge
	for order in random seq; do
		refill
		blank 1
		snapshot snap /dev/ram0 /dev/ram1 P 8
		run merge-fill-$order /dev/mapper/snap op=write stamp=7 order=$order
		gone snap
		timed merge-$order "snapshot-merge /dev/ram0 /dev/ram1 P 8"
		# shellcheck disable=SC2046 # three words
		set -- $(dmsetup status merge | sed 's/^.*snapshot-merge //; s,/, ,')
		[ "$1" = "$3" ] || fail "merge-$order: not finished: $*"
		gone merge
		shows merge-$order /dev/ram0 7
	done
}

# counted NAME DEVICE WORD...: what the layer below the COW device saw of it
counted() {
	dmsetup message counter 0 reset
	run "$@"
	echo "@count $1 $(dmsetup status counter | cut -d' ' -f4-)" >>$out
}

# counted_life NAME ORIGIN COW CHUNK WORD...
counted_life() {
	life=$1 below=$2 cow=$3 chunk=$4
	shift 4
	refill
	blank 1
	snapshot snap "$below" "$cow" P "$chunk"
	origin "$below"
	counted "$life-origin-first" /dev/mapper/origin op=write stamp=2 "$@"
	counted "$life-origin-rewrite" /dev/mapper/origin op=write stamp=3 "$@"
	gone origin snap
	refill
	blank 1
	snapshot snap "$below" "$cow" P "$chunk"
	origin "$below"
	counted "$life-snap-new" /dev/mapper/snap op=write stamp=4 "$@"
	counted "$life-snap-read" /dev/mapper/snap op=read "$@"
	gone origin snap
}

cow_sectors() { echo $((sectors + slack_kib * 2)); }

group_flush() {
	table counter "dmfmt-count /dev/ram1" "$(cow_sectors)"
	for depth in 1 16; do
		counted_life flush-4k-$depth /dev/ram0 /dev/mapper/counter 8 depth=$depth
		counted_life flush-64k-$depth /dev/ram0 /dev/mapper/counter 128 depth=$depth
	done
	gone counter
}

# all three ways of dm-delay: reads, writes, flushes
delayed() { table "$1" "delay $2 0 2 $2 0 2 $2 0 2" "$3"; }

group_latency() {
	modprobe dm-delay
	# a cache below, so that flushes come down at all
	table counter "dmfmt-count /dev/ram1" "$(cow_sectors)"
	table cache "dmfmt-count /dev/ram0"
	delayed slow_cow /dev/mapper/counter "$(cow_sectors)"
	delayed slow_origin /dev/mapper/cache
	counted_life latency-1 /dev/mapper/slow_origin /dev/mapper/slow_cow 8 depth=1 \
		count=$((blocks / 16 + 1))
	counted_life latency-16 /dev/mapper/slow_origin /dev/mapper/slow_cow 8 depth=16 \
		count=$((blocks / 4 + 1))
	gone slow_origin slow_cow cache counter
}

# kilobytes in use, those that processors keep at hand not counted
in_use() {
	sync
	echo 3 >/proc/sys/vm/drop_caches
	sleep 2
	awk '/^MemTotal/ { total = $2 } /^MemFree/ { free = $2 }
		/^ *count:/ { free += 4 * $2 } END { print total - free }' /proc/meminfo /proc/zoneinfo
}

# 64 GiB of chunks, stores that take no memory themselves
big_chunks=16777216
group_memory() {
	nr=131072
	big=$((big_chunks * 8))
	table big_origin "dmfmt-areas 8 0 seq $big_chunks 0" $big
	table big_cow "dmfmt-areas 8 0 seq $big_chunks 0" $((big * 2))
	table snap "snapshot /dev/mapper/big_origin /dev/mapper/big_cow P 8" $big
	table L "dmfmt-load /dev/mapper/snap"
	# allocates what is allocated once
	dmsetup message L 0 run op=write depth=16 count=1024 seed=0 >/dev/null
	before=$(in_use)
	answer=$(dmsetup message L 0 run op=write depth=16 count=$((nr + 1024)) seed=0)
	echo "@run memory-random $answer" >>$out
	echo "@memory memory-random $before $(in_use) $nr" >>$out
	gone L snap big_cow big_origin
}

# 16 Mi exceptions of an origin of 1 TiB
load_chunks=268435456
group_load() {
	nr=$((big_chunks - 1))
	table big_origin "dmfmt-areas 8 0 seq $load_chunks 0" $((load_chunks * 8))
	table L "dmfmt-load /dev/ram0"
	for order in random seq; do
		table big_cow "dmfmt-areas 8 $nr $order $load_chunks 7" $((big_chunks * 16))
		before=$(in_use)
		answer=$(dmsetup message L 0 mark start)
		table snap "snapshot /dev/mapper/big_origin /dev/mapper/big_cow P 8" $((load_chunks * 8))
		dmsetup message L 0 mark stop
		echo "@run load-$order $answer ios=$nr" >>$out
		echo "@memory load-$order $before $(in_use) $nr" >>$out
		# header, the exceptions and their areas, the last of which is not full
		dmsetup status snap | grep -q " snapshot $(((nr + nr / 256 + 2) * 8))/" ||
			fail "load-$order: $(dmsetup status snap)"
		gone snap big_cow
	done
	gone L big_origin
}

: >$out
load_modules
make_disks
for group in $(echo "$groups" | tr , ' '); do
	"group_$group"
	cat $out
	: >$out
done
[ ! -b /dev/vda ] || cat /proc/kallsyms >/dev/vda
[ ! -e $failed ]
