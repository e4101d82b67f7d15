#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A tour in two parts, on what Linux's own targets wrote.  A write cache whose machine lost its power, with a
# file system on it: check, flush, and the origin alone has every file that was fsynced.  And an exception
# store: look, check, damage a copy, see what is wrong, plan a repair, repair, check, undo, roll back.
# Prints each command as it would be typed, and fails if one of them ends with another status than the tour
# expects.
#
# usage: tests/demo.sh [DMTOOL]

set -u
top=$(cd "$(dirname "$0")/.." && pwd)
dmtool=${1:-${DMTOOL:-$top/build/dmtool}}
case $dmtool in
/*) ;;
*) dmtool=$PWD/$dmtool ;;
esac
[ -x "$dmtool" ] || { echo "demo: $dmtool: not there, run make first" >&2; exit 8; }

dir=$(mktemp -d) || exit 8
trap 'rm -rf "$dir"' EXIT INT TERM
mkdir "$dir/bin" "$dir/demo"
ln -s "$dmtool" "$dir/bin/dmtool"
# where e2fsprogs' tools are is not in everybody's PATH
PATH=$dir/bin:$PATH:/usr/sbin:/sbin

# unpack FIXTURE IMAGE AS
unpack() {
	xz -dc "$top/tests/fixtures/$1/$2.img.xz" >"$3" || exit 8
}

if [ -t 1 ] && [ -z "${NO_COLOR-}" ]; then
	bold=$(printf '\033[1m') plain=$(printf '\033[0m')
else
	bold='' plain=''
fi

say() {
	printf '\n# %s\n' "$*"
}

# run STATUS COMMAND
run() {
	printf '\n%s$ %s%s\n' "$bold" "$2" "$plain"
	sh -c "$2" </dev/null
	status=$?
	if [ $status -ne 0 ]; then
		printf '(exit status %d)\n' $status
	fi
	if [ $status -ne "$1" ]; then
		printf 'demo: exit status %d, expected %d: %s\n' $status "$1" "$2" >&2
		exit 1
	fi
}

crashed_cache() {
	mkdir "$dir/demo/cache" && cd "$dir/demo/cache" || exit 8
	unpack writecache-ext4 cache cache.img
	unpack writecache-ext4 origin origin.img
	cp "$top/tests/fixtures/writecache-ext4/files.sha256" . || exit 8

	say 'An ext4 file system over a write cache; files were written and fsynced, and the power failed.'
	run 0 'dmtool probe cache.img'
	run 0 'dmtool writecache-check cache.img --origin origin.img'
	run 0 'dmtool writecache-info cache.img'

	if ! command -v debugfs >/dev/null || ! command -v e2fsck >/dev/null; then
		say 'The rest of this part wants e2fsprogs, which is not here.'
		return
	fi
	say 'The origin alone has none of the files: they are in the cache.'
	run 0 "debugfs -R 'ls -p /' origin.img 2>/dev/null"

	say 'What would a flush do?  Do it.'
	run 0 'dmtool writecache-flush cache.img origin.img --dry-run'
	run 0 'dmtool writecache-flush cache.img origin.img --verify --save origin.undo --undo cache.undo'
	run 0 'dmtool writecache-check cache.img --origin origin.img'

	say 'The file system replays its journal, as after any power failure, and every fsynced file is there.'
	run 0 'e2fsck -p origin.img'
	run 0 "mkdir files && debugfs -R 'rdump / files' origin.img 2>/dev/null"
	run 0 '(cd files && sha256sum --quiet -c ../files.sha256) && wc -l <files.sha256'
	run 0 'e2fsck -fn origin.img'

	say 'A superblock from an earlier moment is what the kernel would load without a word, and lose data.'
	unpack writecache-ext4 cache crashed.img
	run 0 'cp crashed.img old.img'
	run 0 "printf '\\010' | dd of=old.img bs=1 seek=24 conv=notrunc status=none"
	run 4 'dmtool writecache-check old.img --origin origin.img'
	run 1 'dmtool writecache-repair old.img --seq-count=max -y --undo old.undo'
	run 0 'cmp old.img crashed.img && echo the cache is as it was'
}

exception_store() {
	mkdir "$dir/demo/store" && cd "$dir/demo/store" || exit 8
	for image in origin cow expected; do
		unpack snapshot/snap-c8-3areas $image $image.img
	done

	say 'A store made by Linux 6.1: 720 exceptions in three areas, 4 KiB chunks.'
	run 0 'dmtool probe cow.img'
	run 0 'dmtool snapshot-info cow.img'
	run 0 'dmtool snapshot-check cow.img --origin origin.img'

	say 'A copy with two kinds of damage: an odd valid flag, and an old entry behind the end of the chain.'
	run 0 'cp cow.img copy.img'
	run 0 "printf '\\007' | dd of=copy.img bs=1 seek=4 conv=notrunc status=none"
	run 0 "printf '\\222\\020\\0\\0\\0\\0\\0\\0\\021\\0\\0\\0\\0\\0\\0\\0' |
	    dd of=copy.img bs=1 seek=2112800 conv=notrunc status=none"
	run 4 'dmtool snapshot-check copy.img --origin origin.img'

	say 'What would a repair write?'
	run 4 'dmtool snapshot-repair copy.img -a --dry-run'

	say 'Do it, and look again.'
	run 1 'dmtool snapshot-repair copy.img -a --undo copy.undo'
	run 0 'dmtool snapshot-check copy.img --origin origin.img'
	run 0 'cmp copy.img cow.img && echo the copy is the original again'

	say 'Take the repair back.'
	run 0 'dmtool undo copy.undo --list'
	run 0 'dmtool undo copy.undo'
	run 4 'dmtool snapshot-check copy.img'

	say 'What does the snapshot show?  As an image, and as an overlay over the origin.'
	run 0 'dmtool snapshot-export cow.img origin.img --output shown.img --verify'
	run 0 'cmp shown.img expected.img && echo the same as the kernel showed'
	run 0 'dmtool snapshot-delta cow.img --origin origin.img --exact | tail -n 4'

	say 'Roll back: bring it home to the origin, saving what is overwritten.'
	run 16 'dmtool snapshot-merge cow.img origin.img'
	run 0 'dmtool snapshot-merge cow.img origin.img --only-snapshot --save origin.undo --undo cow.undo'
	run 0 'cmp origin.img expected.img && echo the origin is what the snapshot showed'
	run 0 'dmtool snapshot-check cow.img origin.img'
}

crashed_cache
exception_store
