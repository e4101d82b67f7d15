#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# snapshot-size: what it says is enough is enough, and a chunk less is not.

load ../lib/common

setup() { cd "$BATS_TEST_TMPDIR" || return 1; }

@test "size: one line per chunk size of LVM, the same numbers as JSON" {
	dm snapshot-size --origin-size 10G --change 20% --json
	status_is 0
	valid_json
	equal "$(json '[.sizes[].chunk_size] | join(" ")')" "8 16 32 64 128 256 512 1024"
	equal "$(json .origin_sectors)" 20971520
	equal "$(json .changed_sectors)" 4194304
	local full
	full=$(json '.sizes[] | .full_sectors')
	dm snapshot-size --origin-size 10G --change 20%
	status_is 0
	for number in $full; do
		says "$number ("
	done
}

@test "size: one chunk size, all numbers" {
	dm snapshot-size --origin-size 10G --change 12.5 --chunk-size 32K --json
	status_is 0
	valid_json
	equal "$(json '.sizes | length')" 1
	equal "$(json '.sizes[0] | .contiguous_exceptions, .scattered_exceptions, .full_exceptions' | tr '\n' ' ')" \
		"40960 327680 327680 "
	dm snapshot-size --origin-size 10G --change 12.5 --chunk-size 64
	status_is 0
	says contiguous_sectors
	says full_edge_sectors
	says scattered_memory_bytes
}

@test "size: memory is 32 bytes for each exception, four chunks, and the table" {
	dm snapshot-size --origin-size 8M --change 100% --chunk-size 8 --json
	equal "$(json '.sizes[0].full_memory_bytes')" $((2048 * 32 + 4 * 4096 + 2048 * 16))
}

@test "size: 256 MiB with chunks of 4 KiB is the size to avoid" {
	# 65281 exceptions would need 256 MiB: one area more, and not the edge
	dm snapshot-size --origin-size $((65279 * 8)) --change 100 --chunk-size 8 --json
	equal "$(json '.sizes[0].full_edge_sectors')" $((256 << 11))
	equal "$(json '.sizes[0].full_sectors < .sizes[0].full_edge_sectors')" true
	dm snapshot-size --origin-size $((65280 * 8)) --change 100 --chunk-size 8 --json
	equal "$(json '.sizes[0].full_sectors > '$((256 << 11)))" true
}

@test "size: create agrees: usable chunks are enough, and one chunk less is not" {
	local chunk n sectors
	for chunk in 8 16 64; do
		for n in 1 100 255 256 257 600; do
			dm snapshot-size --origin-size $((n * chunk)) --change 1 --chunk-size $chunk --json
			status_is 0
			sectors=$(json '.sizes[0].full_sectors')
			rm -f cow
			truncate -s $((sectors * 512)) cow
			dm snapshot-create cow --chunk-size $chunk --json
			status_is 0
			[ "$(json .geometry.usable_chunks)" -ge $n ]
			rm cow
			truncate -s $(((sectors - chunk) * 512)) cow
			dm snapshot-create cow --chunk-size $chunk --json
			status_is 0
			[ "$(json .geometry.usable_chunks)" -lt $n ]
		done
	done
}

@test "size: an origin that is at hand" {
	truncate -s 10M origin
	dm snapshot-size --origin origin --change 50% --json
	status_is 0
	valid_json
	equal "$(json '.device, .origin_sectors, .changed_sectors' | tr '\n' ' ')" "origin 20480 10240 "
}

@test "size: what is missing or makes no sense is said" {
	dm snapshot-size --change 20% && status_is 16 && one_message 2
	dm snapshot-size --origin-size 1G
	status_is 16
	says --change
	truncate -s 1M origin
	dm snapshot-size --origin origin --origin-size 1G --change 20%
	status_is 16
	dm snapshot-size --origin-size 1G --change 120%
	status_is 16
	dm snapshot-size --origin-size 1G --change x
	status_is 16
	dm snapshot-size --origin-size 1G --change 20% --chunk-size 12
	status_is 16
	says "power of two"
	dm snapshot-size --origin-size 0 --change 20%
	status_is 16
	dm snapshot-size --origin-size 1G --change 20% more
	status_is 16
	dm snapshot-size --origin nowhere --change 20%
	status_is 8
	one_message
}

@test "size: nothing changes, everything changes, and the largest origin there can be" {
	dm snapshot-size --origin-size 1G --change 0 --json && status_is 0
	equal "$(json '[.sizes[] | .contiguous_exceptions + .scattered_exceptions] | add')" 0
	dm snapshot-size --origin-size 1G --change 100 --json
	status_is 0
	equal "$(json '[.sizes[] | .contiguous_exceptions == .full_exceptions and .scattered_exceptions == .full_exceptions] | all')" true
	dm snapshot-size --origin-size 18014398509481983 --change 99.999 --json
	status_is 0
	valid_json
	dm snapshot-size --origin-size 18014398509481984 --change 1
	status_is 16
}
