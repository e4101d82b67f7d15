#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What snapshot-info says about activation is what the kernel does.

load lib.sh

# sample() knows each; all but one can be given to a kernel
CASES='sound blank blank-short magic-zero magic-swapped magic-bad version-0 version-2 version-max
chunk-0 chunk-3 chunk-12 chunk-1 chunk-2 chunk-4 chunk-16 chunk-8192 chunk-4194304 chunk-2147483648
chunk-4294967295 valid-0 valid-2 valid-4294967295 valid-0-version-2 valid-0-chunk-0 valid-0-chunk-16
valid-0-garbage short-1 short-8 short-15 short-16 odd-size garbage full-last-area full-edge full-two
beyond metadata origin-end duplicate old-duplicate wraps stale-area tail torn'

# three exceptions over chunks of one repeated byte, 64 chunks of 4 KiB
sound() {
	local file=$1 sectors=${2:-512}
	truncate -s 0 "$file"
	truncate -s $((sectors << 9)) "$file"
	[ "$sectors" -le 16 ] || head -c 12288 /dev/zero | tr '\0' '\1' |
		dd of="$file" bs=4096 seek=2 conv=notrunc status=none
	put "$file" 0 "$(le32 0x70416e53)$(le32 1)$(le32 1)$(le32 8)"
	[ "$sectors" -gt 16 ] || return 0
	entry "$file" 4096 0 0 2
	entry "$file" 4096 1 1 3
	entry "$file" 4096 2 9 4
}

# full FILE SECTORS NR: the first NR exceptions of a dense store
full() {
	local hex
	blank_store "$1" 8 "$2"
	hex=$(seq 0 $(($3 - 1)) | awk '{ print $1, $1 + 2 + int($1 / 256) }' | entries)
	put "$1" 4096 "${hex:0:8192}"
	[ "$3" -le 256 ] || put "$1" $((258 * 4096)) "${hex:8192}"
}

sample() {
	local file=$2
	sound "$file"
	case $1 in
	sound) ;;
	blank) truncate -s 0 "$file"; truncate -s 256K "$file" ;;
	blank-short) truncate -s 0 "$file"; truncate -s 4K "$file" ;;
	magic-zero) put "$file" 0 00000000 ;;
	magic-swapped) put "$file" 0 70416e53000000010000000100000008 ;;
	magic-bad) put "$file" 0 deadbeef ;;
	version-max) put "$file" 8 ffffffff ;;
	version-*) put "$file" 8 "$(le32 "${1#*-}")" ;;
	chunk-*) put "$file" 12 "$(le32 "${1#*-}")" ;;
	valid-0-version-2) put "$file" 4 "$(le32 0)$(le32 2)" ;;
	valid-0-chunk-*) put "$file" 4 "$(le32 0)$(le32 1)$(le32 "${1##*-}")" ;;
	valid-0-garbage)
		put "$file" 4 "$(le32 0)"
		head -c 4096 /dev/zero | tr '\0' '\245' | dd of="$file" bs=4096 seek=1 conv=notrunc status=none
		;;
	valid-*) put "$file" 4 "$(le32 "${1#*-}")" ;;
	short-*) sound "$file" "${1#*-}"; truncate -s $((${1#*-} << 9)) "$file" ;;
	odd-size) sound "$file" 515 ;;
	garbage)
		head -c 4096 /dev/zero | tr '\0' '\245' | dd of="$file" bs=4096 seek=1 conv=notrunc status=none
		;;
	full-last-area) full "$file" $((259 * 8)) 256 ;;
	full-edge) full "$file" $((258 * 8)) 256 ;;
	full-two) full "$file" $((600 * 8)) 300 ;;
	beyond) entry "$file" 4096 3 7 5000 ;;
	metadata) entry "$file" 4096 3 7 1 ;;
	origin-end) entry "$file" 4096 3 512 5 ;;
	duplicate) entry "$file" 4096 3 9 4 ;;
	old-duplicate) entry "$file" 4096 3 0 5 ;;
	wraps) entry "$file" 4096 3 5 -1 ;;
	stale-area) full "$file" $((600 * 8)) 256; put "$file" $((258 * 4096)) \
		"$(le64 7)$(le64 999)$(le64 8)$(le64 12)" ;;
	tail) entry "$file" 4096 4 5 3 ;;
	torn) entry "$file" 4096 0 0 0 ;;
	bug) entry "$file" 4096 3 5 0xff00000000000010; entry "$file" 4096 4 4 15 ;;
	*) return 1 ;;
	esac
}

setup_file() {
	local d=$BATS_FILE_TMPDIR name
	pack_begin
	truncate -s 2M "$d/origin"
	pack_add origin "$d/origin"
	for name in $CASES; do
		sample "$name" "$d/$name"
		pack_add "$name" "$d/$name"
		echo "8 $name" >>"$d/list"
	done
	# with a chunk size that leaves room for an area; where to begin is the table's word
	sed -i 's/^8 blank-short$/4 blank-short/' "$d/list"
	boot "$KMOD/scripts/activation.sh" --disk "$PACK" --with "$PACK_INDEX:/guest/index" \
		--with "$d/list:/guest/list"
}

setup() { need_guest; }

@test "activation: the kernel does what snapshot-info says" {
	local wrong=''
	for name in $CASES; do
		[ -n "$(got "$name" word)" ] || equal "$name" "a verdict of the kernel"
		[ "$name" != wraps ] || continue
		equal "$(verdict "$BATS_FILE_TMPDIR/$name")" "$(got "$name" word)" "$name" || wrong=1
	done
	[ -z "$wrong" ]
}

@test "activation: the verdicts differ" {
	# the list above would prove little if the kernel took everything
	for word in accept invalid format EINVAL ENXIO EIO; do
		grep -q "^@say [^ ]* word $word\$" "$BATS_FILE_TMPDIR/out" || equal "$word" "among the verdicts"
	done
}

@test "activation: accepted stores have the status that snapshot-info says" {
	local wrong='' n=0
	for name in $CASES; do
		[ "$(got "$name" word)" = accept ] || continue
		equal "$(info "$BATS_FILE_TMPDIR/$name" status.line)" "$(got "$name.snap" status)" "$name" ||
			wrong=1
		n=$((n + 1))
	done
	[ "$n" -ge 10 ]
	[ -z "$wrong" ]
}

@test "activation: damaged stores that the kernel takes are reported by snapshot-check" {
	for name in beyond metadata old-duplicate wraps stale-area; do
		run "$DMTOOL" snapshot-check "$BATS_FILE_TMPDIR/$name"
		equal "$status" 4 "$name"
	done
}

@test "activation: danger is said of what the kernel takes only by luck" {
	equal "$(verdict "$BATS_FILE_TMPDIR/wraps")" danger
	equal "$(got wraps word)" accept
}

@test "activation: where snapshot-info sees danger, the kernel does hit a BUG" {
	local d=$BATS_TEST_TMPDIR rc=0
	sample bug "$d/bug"
	equal "$(verdict "$d/bug")" danger
	(
		BATS_FILE_TMPDIR=$d
		pack_begin
		truncate -s 2M "$d/origin"
		pack_add origin "$d/origin"
		pack_add bug "$d/bug"
	)
	echo "8 bug" >"$d/list"
	"$KMOD/guest" --kernel "$KERNEL" --no-dmtool --with "$KMOD/scripts/lib.sh:/guest/lib.sh" \
		--disk "$d/pack.img" --with "$d/index:/guest/index" --with "$d/list:/guest/list" \
		"$KMOD/scripts/activation.sh" 2>"$d/err" || rc=$?
	cat "$d/err"
	equal "$rc" 122
	grep -q 'kernel BUG at drivers/md/dm-' "$d/err"
}
