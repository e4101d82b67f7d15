# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=sh disable=SC1091,SC2154 # the library is in the guest, and sets some variables
# shellcheck disable=SC2086 # names and numbers, without blanks
#
# Stores begun with one module and continued with the other, back and forth.
#
#	interop.sh GROUP...	where GROUP is STEPS or STEPS.FIRST.TYPE.CHUNK_SIZE
. /guest/target.sh
modprobe dm-delay

size=4096

# the other one
turn() {
	if [ "$now" = ours ]; then now=upstream; else now=ours; fi
	use "$now"
}

# $first, $type, $c of a group's name
words() {
	first=$1 type=$2 c=$3
	now=$first
	use "$now"
}

# sound WHAT: dmtool finds nothing wrong with the store
sound() {
	dmtool snapshot-check $M/c >/tmp/check 2>&1
	is "$1: snapshot-check" "$?" 0
}

# random writes to both sides at once
both_sides() {
	io $M/g "l:$1:700:32" >/tmp/load.g &
	io $M/s "l:$(($1 + 100)):700:32" >/tmp/load.s
	wait
	has "$now: origin, round $1" "$(cat /tmp/load.g)" ok:
	has "$now: snapshot, round $1" "$(cat /tmp/load.s)" ok:
}

up() {
	snap s o c "$type" "$c"
	origin g o
	is "$now: loads" "$made" ok
}

# look: what both sides show, and the status, after the change of module as before
remember() {
	seen_s=$(content_of $M/s) seen_g=$(content_of $M/g) seen_st=$(st s)
	remove s g
	sound "$now"
}

compare() {
	is "$now: snapshot" "$(content_of $M/s)" "$seen_s"
	is "$now: origin" "$(content_of $M/g)" "$seen_g"
	is "$now: status" "$(st s)" "$seen_st"
}

# merge_part: let the merge run for a little while; the COW device is slow
merge_part() {
	merge m o c "$type" "$c"
	is "$now: merge" "$made" ok
	is "$now: content" "$(content_of $M/m)" "$seen_s"
	sleep "$1"
	must dmsetup suspend --noflush m
	must dmsetup resume m
	is "$now: content later" "$(content_of $M/m)" "$seen_s"
	left=$(st m)
	remove m
	sound "$now, half merged"
}

slow() {
	cow_start=$(dmsetup table c | cut -d ' ' -f 5)
	swap c "0 $(sectors $M/c) delay $pool $cow_start 3"
}

# life of a store: written with one module, then the other, and so on, then merged in turns
do_life() {
	words "$@"
	dev o $size A
	dev c 16384
	up
	for round in 1 2 3 4; do
		both_sides $round
		remember
		turn
		up
		compare
	done
	remember
	slow
	turn
	merge_part 0.1
	say life "left-$first-$type-$c" "$left"
	turn
	merge_part 0.1
	turn
	snap s o c "$type" "$c"
	is "$now: half merged, as a snapshot" "$(content_of $M/s)" "$seen_s"
	remove s
	turn
	# with a write meanwhile, which must end up on the origin
	swap c "0 16384 linear $pool $cow_start"
	merge m o c "$type" "$c"
	is "$now: merge ends" "$(until_true 60 merged m && echo yes)" yes
	is "$now: status at the end" "$(st m)" "$((2 * c))/16384 $((2 * c))"
	remove m
	is "origin at the end" "$(content_of $M/o)" "$seen_s"
	sound "$now, merged"
	turn
	up
	is "$now: and again" "$(st s) $(write s 0 8 z) $(io $M/s r:0:8:z)" "$((2 * c))/16384 $((2 * c)) ok ok"
}

# copies of both devices as a power cut would leave them: o2 and c2
power_cut() {
	must dmsetup suspend --noflush o
	must dmsetup suspend --noflush c
	for name in o c; do
		# shellcheck disable=SC2046 # words
		set -- $(dmsetup table $name)
		len=$2
		start=$5
		[ ! -e $M/${name}2 ] || remove ${name}2
		dev ${name}2 "$len"
		# sizes are whole megabytes
		must dd if=$pool of=$M/${name}2 bs=1M skip=$((start / 2048)) count=$((len / 2048)) 2>/dev/null
	done
	must dmsetup resume c
	must dmsetup resume o
}

# the copy with the other module: ORIGIN's frozen content, by its tag or by its sum
judge_cut() {
	turn
	dmtool snapshot-check $M/c2 >/tmp/check 2>&1
	is "after the cut: snapshot-check" "$?" 0
	snap s o2 c2 "$type" "$c"
	is "after the cut: $now" "$made $(content_of $M/s)" "ok $1"
	remove s
	merge m o2 c2 "$type" "$c"
	is "after the cut: $now: merge" "$(until_true 60 merged m && echo yes)" yes
	remove m
	is "after the cut: $now: merged" "$(content_of $M/o2)" "$1"
	remove o2 c2
}

# the power fails under load on the origin; what it held first must be there
do_cut() {
	words "$@"
	for round in 1 2 3; do
		dev o $size A
		dev c 16384
		frozen=$(content_of $M/o)
		up
		io $M/g "l:$((round * 7)):1500:64" >/tmp/load.g &
		sleep 0.$((round * 2))
		power_cut
		wait
		has "$now: load" "$(cat /tmp/load.g)" ok:
		seen_st=$(st s)
		remove s g o c
		judge_cut "$frozen"
	done
}

# the power fails in the midst of a merge
do_cut_merge() {
	words "$@"
	for round in 1 2 3; do
		dev o $size A
		dev c 16384
		up
		io $M/s "l:$((round * 11)):600:16" >/tmp/load.s
		has "$now: load" "$(cat /tmp/load.s)" ok:
		frozen=$(content_of $M/s)
		remove s g
		slow
		merge m o c "$type" "$c"
		sleep 0.$round
		power_cut
		state=$(st m)
		# no need to wait for all of it
		swap c "0 16384 linear $pool $cow_start"
		is "$now: merge" "$(until_true 60 merged m && echo yes)" yes
		remove m
		is "$now: merged" "$(content_of $M/o)" "$frozen"
		remove o c
		say cut_merge "state-$first-$round" "$state"
		judge_cut "$frozen"
	done
}

# ---- the same bytes ------------------------------------------------------------------------------------

# one after the other, so that each module must come to the very same store
history() {
	dev "o$now" $((128 * $1)) A
	dev "c$now" "$2"
	snap s "o$now" "c$now" "$3" "$1"
	origin g "o$now"
	step begin
	for i in 0 1 2 3 4 5 6 7 8 9 10 11; do
		io $M/s "w:$((i * 37 % 29 * $1)):$1:s" "w:$(((i * 53 % 31 + 40) * $1 + 1)):1:t" >/dev/null
		io $M/g "w:$(((i * 17 % 23 + 80) * $1)):$((i % 3 + 1)):o" >/dev/null
	done
	step written
	remove s
	snap s "o$now" "c$now" "$3" "$1"
	io $M/s "w:$((110 * $1)):$((4 * $1)):u" >/dev/null
	step reloaded
	st s >>"/tmp/steps.$now"
	remove s g
	merge m "o$now" "c$now" "$3" "$1"
	until_true 60 merged m
	st m >>"/tmp/steps.$now"
	remove m
	step merged
	snap s "o$now" "c$now" "$3" "$1"
	i=0
	# a full store
	until [ "$(write s $((i * $1)) "$1" v)" = EIO ] || [ $i -gt 200 ]; do
		i=$((i + 1))
	done
	until_true 5 status_is s "$([ "$3" = PO ] && echo Overflow || echo Invalid)"
	st s >>"/tmp/steps.$now"
	remove s
	step full
}

step() { echo "$1 $(content_of "$M/c$now") $(content_of "$M/o$now")" >>"/tmp/steps.$now"; }

do_bytes() {
	for now in ours upstream; do
		use "$now"
		rm -f "/tmp/steps.$now"
		history "$1" "$2" "$3"
	done
	is "$3 $1: steps" "$(wc -l </tmp/steps.ours)" 8
	is "$3 $1: the same bytes and status" "$(cat /tmp/steps.ours)" "$(cat /tmp/steps.upstream)"
	is "$3 $1: they do differ from step to step" "$(awk 'NF == 3 { print $2 }' /tmp/steps.ours | sort -u | wc -l)" 5
}

use upstream
make_pool
for one in "$@"; do
	group "$one"
	# shellcheck disable=SC2046 # words
	set -- $(echo "$one" | tr . ' ')
	do_"$1" "$2" "$3" "$4"
	end
done
