# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=sh disable=SC1091,SC2154 # the library is in the guest, and sets some variables
# shellcheck disable=SC2086 # names and numbers, without blanks
#
# Stores that were made long ago, loaded with the module named: for each line of /guest/list
#
#	NAME LENGTH TYPE CHUNK_SIZE SHA256 STATUS
#
# with slices NAME.o and NAME.c of the packed disk.  SHA256 is what the snapshot must show, "none" for one
# that shows nothing.
. /guest/target.sh

table() { echo "0 $len $1 $M/$name.o $M/$name.c $type $c"; }

# chunks that are free
room() {
	# shellcheck disable=SC2046 # words
	set -- $(st "$name" | tr / ' ')
	echo $((($2 - $1) / c))
}

# the origin is written to, here and there, and all of it is kept
with_origin_writes() {
	make "$name" "$(table snapshot)"
	if [ "$(room)" -gt 8 ]; then
		origin "$name.g" "$name.o"
		is "origin writes" "$(io "$M/$name.g" "w:8:1:X" "w:$((len / 2)):$c:X" "w:$((len - 16)):16:X")" \
			"ok ok ok"
		is "content, kept" "$(content_of "$M/$name")" "$sha"
		remove "$name.g"
	fi
	remove "$name"
	try "$name" dmtool snapshot-check "$M/$name.c"
	make "$name" "$(table snapshot)"
	is "content, again" "$(content_of "$M/$name")" "$sha"
	remove "$name"
}

merge_all() {
	make "$name" "$(table snapshot-merge)"
	is "merge" "$made" ok
	is "content while it merges" "$(content_of "$M/$name")" "$sha"
	is "merged" "$(until_true 60 merged "$name" && echo yes)" yes
	remove "$name"
	is "origin" "$(head -c $((len << 9)) "$M/$name.o" | sha256sum | cut -d ' ' -f 1)" "$sha"
}

one() {
	make "$name" "$(table snapshot)"
	is "loads" "$made" ok
	is "status" "$(st "$name")" "$status"
	if [ "$sha" = none ]; then
		is "read" "$(io "$M/$name" m:0:8:8)" "!"
		remove "$name"
		return
	fi
	is "content" "$(content_of "$M/$name")" "$sha"
	remove "$name"
	with_origin_writes
	merge_all
}

use "$1"
slices
while read -r name len type c sha status; do
	group "$name"
	one
	echo "@done $group $checks"
done </guest/list
