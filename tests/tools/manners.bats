#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Manners: what every command does with input that is not for it.  The commands, their options and
# arguments come from the tool's own table, so a new command is tested by being there.

load ../lib/common

setup_file() {
	"$DMTOOL" --describe >"$BATS_FILE_TMPDIR/describe.json"
	local dir=$BATS_FILE_TMPDIR
	fixture snap-c8-3areas cow "$dir/cow"
	fixture snap-c8-3areas origin "$dir/origin"
	truncate -s 4M "$dir/ext4"
	mkfs.ext4 -q -F "$dir/ext4"
	head -c 1M /dev/urandom >"$dir/random"
	: >"$dir/empty"
	head -c 100 /dev/urandom >"$dir/tiny"
	truncate -s 512 "$dir/sector"
	mkfifo "$dir/fifo"
	"$DMTOOL" snapshot-dump --json-lines "$dir/cow" >"$dir/dump"
	"$DMTOOL" image "$dir/cow" --output "$dir/image" >/dev/null
	"$DMTOOL" snapshot-send "$dir/cow" "$dir/origin" --backward >"$dir/stream"
	cp "$dir/cow" "$dir/undone"
	put "$dir/undone" 4 07
	"$DMTOOL" snapshot-repair -y --undo "$dir/undofile" "$dir/undone" >/dev/null || [ $? -eq 1 ]
	fixture writecache/wc-s4096-dup cache "$dir/cache"
	fixture writecache/wc-s4096-dup origin "$dir/slow"
	"$DMTOOL" writecache-dump --json-lines "$dir/cache" >"$dir/cache-dump"
	chmod -R a+rX "$dir"
}

setup() {
	DIR=$BATS_FILE_TMPDIR
	export LIMIT=20
	cd "$BATS_TEST_TMPDIR" || return 1
	chmod a+rx "$BATS_TEST_TMPDIR"
	failed=
}

commands() { jq -r '.commands[].name' "$BATS_FILE_TMPDIR/describe.json"; }
has_option() {
	jq -e --arg c "$1" --arg o "$2" \
		'.commands[] | select(.name == $c) | .options[] | select(.long == $o)' \
		"$BATS_FILE_TMPDIR/describe.json" >/dev/null
}

# takes_file COMMAND: its first argument is a device or a file
takes_file() {
	jq -e --arg c "$1" '.commands[] | select(.name == $c) | .arguments | length > 0' \
		"$BATS_FILE_TMPDIR/describe.json" >/dev/null
}

# what the command, or the store that it is given here, is of
family() {
	case $1 in
	writecache-*) echo writecache ;;
	*) echo snapshot ;;
	esac
}

# a sound store for the command, its origin, and how to damage it so that repair -p can mend it
store() {
	case $1 in
	writecache-*) echo "$DIR/cache" ;;
	*) echo "$DIR/cow" ;;
	esac
}
origin() {
	case $1 in
	writecache-*) echo "$DIR/slow" ;;
	*) echo "$DIR/origin" ;;
	esac
}
damage() {
	case $1 in
	# the younger of two entries for sector 0 becomes as old as the other one
	writecache-*) put "$2" $((64 + 16 * 126 + 8)) 0000000000000000 ;;
	*) put "$2" 4 07 ;;
	esac
}

# only commands whose name says so ever write to a device
writes() {
	[[ $1 =~ (create|restore|repair|convert|merge|flush|discard|undo|receive) ]]
}

# arguments COMMAND [FILE]: a sound command line into $args; FILE instead of its first argument
arguments() {
	local command=$1 file=${2-}
	rm -rf "$BATS_TEST_TMPDIR/work"
	mkdir "$BATS_TEST_TMPDIR/work"
	local work=$BATS_TEST_TMPDIR/work
	local store origin
	store=$(store "$command")
	origin=$(origin "$command")
	case $command in
	image) args=("${file:-$store}" --output "$work/out") ;;
	snapshot-create)
		truncate -s 1M "$work/new"
		args=("${file:-$work/new}" --chunk-size 8 --no-undo)
		;;
	writecache-create)
		truncate -s 1M "$work/new"
		args=("${file:-$work/new}" --block-size 4096 --no-undo)
		;;
	*-find) args=("${file:-$store}" 8) ;;
	snapshot-restore) args=("${file:-$DIR/dump}" --output "$work/out" --metadata-only) ;;
	writecache-restore) args=("${file:-$DIR/cache-dump}" --output "$work/out" --metadata-only) ;;
	*-repair)
		cp "$store" "$work/store"
		args=("${file:-$work/store}" -p --undo "$work/undo")
		;;
	cat) args=("${file:-$store}" "$origin" --length 0) ;;
	fingerprint) args=("${file:-$origin}" --output "$work/out") ;;
	snapshot-convert) args=("${file:-$store}" "$origin" --chunk-size 16 --output "$work/out") ;;
	writecache-convert) args=("${file:-$store}" "$origin" --block-size 512 --output "$work/out") ;;
	snapshot-discard)
		cp "$store" "$work/store"
		args=("${file:-$work/store}" --yes --undo "$work/undo")
		;;
	*-export) args=("${file:-$store}" "$origin" --output "$work/out") ;;
	snapshot-merge)
		cp "$store" "$work/store"
		cp "$origin" "$work/origin"
		args=("${file:-$work/store}" "$work/origin" --only-snapshot)
		;;
	writecache-flush)
		cp "$store" "$work/store"
		cp "$origin" "$work/origin"
		args=("${file:-$work/store}" "$work/origin")
		;;
	snapshot-receive)
		cp "$origin" "$work/origin"
		args=("${file:-$DIR/stream}" "$work/origin" --undo "$work/undo")
		;;
	snapshot-send) args=("${file:-$store}" "$origin" --backward --output "$work/out") ;;
	snapshot-size) args=(--origin-size 1G --change 10%) ;;
	undo)
		cp "$DIR/undone" "$work/undone"
		args=("${file:-$DIR/undofile}" "$work/undone")
		;;
	*) args=("${file:-$store}") ;;
	esac
}

# each COMMAND-FILTER...: run the function `manner` for every command, tell all that fail
each() {
	local command
	for command in $(commands); do
		manner "$command" >"$BATS_TEST_TMPDIR/said" 2>&1 || {
			failed="$failed $command"
			sed "s/^/$command: /" "$BATS_TEST_TMPDIR/said" | head -n 40
		}
	done
	equal "$failed" "" "commands without manners"
}

@test "manners: every command has been thought of here" {
	# a command that takes more than a store needs a line in arguments()
	manner() {
		arguments "$1"
		dm "$1" "${args[@]}" && status_is 0 1 || return 1
		# a restore without data says so
		[[ $1 = *-restore ]] || equal "$stderr" ""
	}
	each
}

@test "manners: --help" {
	manner() {
		dm "$1" --help && status_is 0 && equal "$stderr" "" && says "Usage: dmtool $1" &&
			says --help && says "Exit status" || return 1
		dm "$1" -h
		status_is 0
	}
	each
	dm --help
	status_is 0
	for command in $(commands); do
		says " $command "
	done
	equal "$stderr" ""
}

@test "manners: --version" {
	version=$(sed -n 's/^#define DMFMT_VERSION "\(.*\)"/\1/p' "$TOP/libdmfmt/dmfmt.h")
	manner() { dm "$1" --version
	status_is 0
	says "$version"
	equal "$stderr" ""; }
	each
	dm --version
	status_is 0
	says "$version"
}

@test "manners: an unknown option, an unknown command" {
	manner() {
		arguments "$1"
		dm "$1" --no-such-option "${args[@]}" && status_is 16 && equal "$output" "" &&
			says --no-such-option && one_message 2 || return 1
		dm "$1" -Q "${args[@]}"
		status_is 16
		equal "$output" ""
	}
	each
	dm no-such-command
	status_is 16
	equal "$output" ""
	one_message 2
	dm
	status_is 16
}

@test "manners: missing and surplus arguments" {
	manner() {
		dm "$1" && status_is 16 && equal "$output" "" && one_message 2 || return 1
		arguments "$1"
		dm "$1" "${args[@]}" a b c d
		status_is 16
		equal "$output" ""
	}
	each
}

@test "manners: an option without its argument, or with one that it does not take" {
	manner() {
		local option
		arguments "$1"
		for option in $(jq -r --arg c "$1" '.commands[] | select(.name == $c) | .options[] |
			select(.argument != null and .long != null) | .long' "$DIR/describe.json"); do
			dm "$1" "${args[@]}" "--$option" && status_is 16 && equal "$output" "" &&
				says "$option" || return 1
		done
		dm "$1" "${args[@]}" --help=yes
		status_is 16
		equal "$output" ""
	}
	each
}

@test "manners: numbers that are none, negative, or too large" {
	manner() {
		local option value
		arguments "$1"
		for option in $(jq -r --arg c "$1" '.commands[] | select(.name == $c) | .options[] |
			select(.long != null and (.kind == "number" or .kind == "sectors" or
			.kind == "bytes" or .kind == "range")) | .long' "$DIR/describe.json"); do
			for value in '' x -1 1x 99999999999999999999999 18446744073709551616 0x; do
				dm "$1" "${args[@]}" "--$option=$value" && status_is 16 &&
					equal "$output" "" && says "$option" || return 1
			done
		done
	}
	each
}

@test "manners: a file that is not there, a directory" {
	manner() {
		takes_file "$1" || return 0
		arguments "$1" "$BATS_TEST_TMPDIR/not-there"
		dm "$1" "${args[@]}" && status_is 8 && equal "$output" "" && one_message 2 &&
			says not-there || return 1
		arguments "$1" "$BATS_TEST_TMPDIR"
		dm "$1" "${args[@]}"
		status_is 8
		equal "$output" ""
		one_message 2
		says "directory"
	}
	each
}

@test "manners: a character device, a FIFO, a socket" {
	"$PYTHON" -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' socket
	manner() {
		takes_file "$1" || return 0
		local file
		for file in /dev/null /dev/zero "$DIR/fifo" "$BATS_TEST_TMPDIR/socket"; do
			arguments "$1" "$file"
			# a dump may come from anywhere: these never end or never begin
			[[ $1 != *-re[sc]* || $file == /dev/null ]] || continue
			dm "$1" "${args[@]}" && status_is 8 && equal "$output" "" && one_message 2 ||
				return 1
		done
	}
	each
}

@test "manners: a zero-length file, one of 100 bytes, one sector of zeros" {
	manner() {
		takes_file "$1" || return 0
		local file
		for file in empty tiny sector; do
			cp "$DIR/$file" small
			remember small
			arguments "$1" "$BATS_TEST_TMPDIR/small"
			dm "$1" "${args[@]}" || return 1
			case $1:$file in
			probe:*) status_is 4 8 ;;
			*-info:sector) status_is 0 4 8 ;;
			# it asks for no format
			fingerprint:sector) status_is 0 ;;
			# no such geometry
			*-create:*) status_is 8 16 ;;
			*) status_is 4 8 ;;
			esac && unchanged small || return 1
			[ "$status" -ne 8 ] || one_message 2 || return 1
		done
	}
	each
}

@test "manners: another format, random bytes" {
	manner() {
		local file
		takes_file "$1" || return 0
		# what it overwrites and what not is the next test
		[[ $1 != *-create ]] || return 0
		for file in ext4 random; do
			cp "$DIR/$file" other
			remember other
			arguments "$1" "$BATS_TEST_TMPDIR/other"
			dm "$1" "${args[@]}" && unchanged other || return 1
			case $1 in
			*-info) status_is 0 4 8 || return 1 ;;
			fingerprint) status_is 0 || return 1 ;;
			*) status_is 4 8 || return 1 ;;
			esac
			[ "$status" -ne 8 ] || one_message 3 || return 1
			[[ $file != ext4 || $1 == undo || $1 == *-re[sc]* ]] || says ext4 || return 1
		done
	}
	each
}

@test "manners: create refuses what others left, and takes what nobody did" {
	local family
	for family in snapshot writecache; do
		arguments $family-create
		args=("${args[@]:1:2}")
		cp "$DIR/ext4" other
		remember other
		dm $family-create other "${args[@]}"
		status_is 8
		says ext4
		says --force
		unchanged other
		cp "$DIR/random" mine
		dm $family-create mine "${args[@]}"
		status_is 0
		dm $family-check mine
		status_is 0
		# and what it made itself is somebody's
		remember mine
		dm $family-create mine "${args[@]}"
		status_is 8
		says $family
		says --force
		unchanged mine
	done
}

# as somebody who may not write; root may always
unprivileged() {
	if [ "$(id -u)" = 0 ]; then
		setpriv --reuid 65534 --regid 65534 --clear-groups -- "$@"
	else
		"$@"
	fi
}

@test "manners: read-only files are enough for reading, and an error for writing" {
	# the build folder may not be everyone's to look into
	cp "$DMTOOL" "$BATS_TEST_TMPDIR/dmtool"
	mkdir out
	chmod 777 out
	# everyone must come through to here
	dir=$BATS_TEST_TMPDIR
	while [ "$dir" != / ]; do
		[ ! -O "$dir" ] || chmod a+x "$dir" 2>/dev/null || true
		dir=$(dirname "$dir")
	done
	DMTOOL=$BATS_TEST_TMPDIR/dmtool
	manner() {
		arguments "$1"
		chmod -R a+rX,a-w "$BATS_TEST_TMPDIR/work"
		case $1 in
		image) args=("$DIR/cow" --output "$BATS_TEST_TMPDIR/out/image.$RANDOM") ;;
		fingerprint | *-export | snapshot-send)
			args[${#args[@]}-1]=$BATS_TEST_TMPDIR/out/$1.$RANDOM
			;;
		*-restore) cp "$(store "$1")" work/out && chmod 444 work/out ;;
		*-repair)
			chmod 644 work/store
			damage "$1" work/store
			chmod 444 work/store
			args=("$BATS_TEST_TMPDIR/work/store" -y --undo "$BATS_TEST_TMPDIR/out/undo.$RANDOM")
			;;
		esac
		local before
		before=$(cat work/* 2>/dev/null | sha256sum)
		export -f unprivileged
		run --separate-stderr bash -c 'unprivileged timeout 20 "$@" </dev/null' bash \
			"$DMTOOL" "$1" "${args[@]}"
		printf '%s\n' "$status" "$output" "$stderr"
		equal "$(cat work/* 2>/dev/null | sha256sum)" "$before" "content"
		if writes "$1"; then
			status_is 8
			one_message 3
		else
			status_is 0
		fi
	}
	each
}

@test "manners: reading commands leave file and time as they were" {
	manner() {
		writes "$1" && return 0
		cp "$(store "$1")" store
		remember store
		local before
		before=$(stat -c '%Y %Z %s %b' store)
		arguments "$1" "$BATS_TEST_TMPDIR/store"
		dm "$1" "${args[@]}"
		status_is 0
		unchanged store
		equal "$(stat -c '%Y %Z %s %b' store)" "$before"
	}
	each
}

@test "manners: --json is one document that fits its schema, also when something is wrong" {
	manner() {
		local file
		# its result is the bytes themselves
		[ "$1" != cat ] || return 0
		has_option "$1" json || { echo "no --json"; return 1; }
		arguments "$1"
		dm "$1" "${args[@]}" --json && status_is 0 1 && valid_json &&
			equal "$(json .schema_version)" 1 && equal "$(json 'keys_unsorted[0]')" schema &&
			equal "$(json 'keys_unsorted[1]')" schema_version || return 1
		[ "$1" = image ] || ! jq -e .format <<<"$output" >/dev/null ||
			equal "$(json .format)" "$(family "$1")" || return 1
		for file in ext4 random sector empty; do
			cp "$DIR/$file" other
			arguments "$1" "$BATS_TEST_TMPDIR/other"
			dm "$1" "${args[@]}" --json || return 1
			[ -z "$output" ] || valid_json || return 1
		done
	}
	each
}

@test "manners: --json-lines are documents that fit their schema" {
	manner() {
		has_option "$1" json-lines || return 0
		arguments "$1"
		dm "$1" "${args[@]}" --json-lines && status_is 0 1 && valid_lines || return 1
		cp "$(store "$1")" other
		damage "$1" other
		arguments "$1" "$BATS_TEST_TMPDIR/other"
		dm "$1" "${args[@]}" --json-lines
		valid_lines
	}
	each
}

@test "manners: the document is the last thing that fails: a full disk, a closed pipe" {
	manner() {
		# no document, and nothing to write here: export.bats
		[ "$1" != cat ] || return 0
		arguments "$1"
		run --separate-stderr bash -c 'timeout 20 "$@" >/dev/full </dev/null' bash "$DMTOOL" "$1" "${args[@]}"
		printf '%s\n' "$status" "$output" "$stderr"
		[ $((status & 8)) -ne 0 ] && one_message 2 || return 1
		arguments "$1"
		run --separate-stderr bash -c 'timeout 20 "$@" >&- </dev/null' bash "$DMTOOL" "$1" "${args[@]}"
		printf '%s\n' "$status" "$output" "$stderr"
		[ $((status & 8)) -ne 0 ]
	}
	each
	# shellcheck disable=SC2016 # for the shell inside
	run --separate-stderr bash -c '"$1" --help >/dev/full' bash "$DMTOOL"
	status_is 8
}

@test "manners: no colours and no bars where no terminal is" {
	unset NO_COLOR
	manner() {
		arguments "$1"
		dm "$1" "${args[@]}"
		says_not $'\033'
		says_not $'\r'
	}
	each
}

@test "manners: --progress=json prints lines of JSON on standard error" {
	manner() {
		has_option "$1" progress || return 0
		arguments "$1"
		dm "$1" "${args[@]}" --progress=json && status_is 0 1 || return 1
		# beside it, messages may stand
		while read -r line; do
			[[ -z $line || $line == dmtool:* ]] || valid_json "$line" || return 1
		done <<<"$stderr"
		dm "$1" "${args[@]}" --progress=sometimes
		status_is 16
	}
	each
}

@test "manners: swapped arguments are refused with the right order" {
	manner() {
		local optional
		optional=$(jq -r --arg c "$1" '.commands[] | select(.name == $c) | .arguments[1].name' \
			"$DIR/describe.json")
		[[ $optional = ORIGIN && $1 != *-create ]] || return 0
		local options=() store origin
		store=$(store "$1")
		origin=$(origin "$1")
		case $1 in
		*-convert | *-export) options=(--output "$BATS_TEST_TMPDIR/swapped.$1") ;;
		snapshot-send) options=(--forward --output "$BATS_TEST_TMPDIR/swapped.$1") ;;
		snapshot-merge | writecache-flush) options=(--dry-run) ;;
		cat) options=(--length 0) ;;
		esac
		dm "$1" "$origin" "$store" "${options[@]}" && status_is 16 && equal "$output" "" &&
			says "dmtool $1 $store $origin" || return 1
		dm "$1" "$store" --origin "$store" "${options[@]}" && status_is 8 16 &&
			equal "$output" "" || return 1
		dm "$1" "$store" "$origin" "${options[@]}"
		status_is 0
	}
	each
}

@test "manners: a path with a newline and an escape does not reach the terminal" {
	manner() {
		takes_file "$1" || return 0
		local name=$'a\n\033[31mb'
		rm -f "$name"
		arguments "$1" "$BATS_TEST_TMPDIR/$name"
		dm "$1" "${args[@]}" && status_is 8 && says_not $'\033' && one_message 2 || return 1
		cp "$(store "$1")" "$name"
		writes "$1" && return 0
		arguments "$1" "$BATS_TEST_TMPDIR/$name"
		dm "$1" "${args[@]}" && status_is 0 && says_not $'\033' || return 1
		[ "$1" != cat ] || return 0
		arguments "$1" "$BATS_TEST_TMPDIR/$name"
		dm "$1" "${args[@]}" --json
		status_is 0
		valid_json
	}
	each
}

@test "manners: memory below the minimum is raised or refused, never exceeded by much" {
	manner() {
		has_option "$1" memory || return 0
		arguments "$1"
		dm "$1" "${args[@]}" --memory 1 && status_is 0 1 16 || return 1
		arguments "$1"
		dm "$1" "${args[@]}" --memory 16M
		status_is 0 1
	}
	each
}

@test "manners: repair under the name that fsck looks for has fsck's manners" {
	local name command
	fsck() {
		run --separate-stderr timeout 20 "./$name" "$@" </dev/null
		printf '%s\n' "$status" "$output" "$stderr"
	}
	while read -r name command; do
		ln -s "$DMTOOL" "$name"
		cp "$(store "$command")" store
		remember store
		for options in -n -a -p "-f -y" "-a -C 0" ""; do
			# shellcheck disable=SC2086 # several options
			fsck $options store
			status_is 0
			unchanged store
		done
		damage "$command" store
		remember store
		fsck -n store
		status_is 4
		unchanged store
		fsck -p --undo "undo.$command" store
		status_is 1
		fsck -n store
		status_is 0
		fsck --help
		status_is 0
		says "$name"
		fsck --no-such-option store
		status_is 16
		fsck
		status_is 16
	done < <(jq -r '.commands[] | select(.fsck) | "\(.fsck) \(.name)"' "$DIR/describe.json")
	# the loop has seen them all
	[ -e undo.snapshot-repair ]
	[ -e undo.writecache-repair ]
}
