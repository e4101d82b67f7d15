#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Text may not drift: pages, completions and the tool's own description of its options.

load ../lib/common

setup_file() {
	"$DMTOOL" --describe >"$BATS_FILE_TMPDIR/describe.json"
}

# "command option" for each option and command, without the dashes
described() {
	jq -r '.commands[] | .name as $c | .options[] | [.long, .short] | .[] | select(. != null) |
		$c + " " + .' "$BATS_FILE_TMPDIR/describe.json"
}

@test "options: the description is sound and fits its schema" {
	valid_json "$(cat "$BATS_FILE_TMPDIR/describe.json")"
	equal "$(jq -r '.commands | length > 10' "$BATS_FILE_TMPDIR/describe.json")" true
	# sorted, once each, with a line of help that begins small and has no full stop
	equal "$(jq '[.commands[].name] == ([.commands[].name] | unique)' "$BATS_FILE_TMPDIR/describe.json")" true
	equal "$(jq -r '.commands[] | .help, (.options[].help) | select(test("^[A-Z][a-z]|\\.$"))' \
		"$BATS_FILE_TMPDIR/describe.json")" ""
}

@test "options: every option is in its page, every page's option exists" {
	"$TOP/man/check" "$DMTOOL"
}

@test "options: every option stands in the page of its command" {
	local command option page
	described | while read -r command option; do
		page=$TOP/man/dmtool-$command.8
		[ -f "$page" ] || { echo "$page: no such page"; continue; }
		case $option in
		?) mandoc -T utf8 "$page" | col -bx | grep -qE -e "(^|[^-a-z])-$option([^a-z]|\$)" ;;
		*) mandoc -T utf8 "$page" | col -bx | grep -qE -e "--$option([^a-z-]|\$)" ;;
		esac || echo "$command: $option is not in its page"
	done >"$BATS_TEST_TMPDIR/out"
	equal "$(cat "$BATS_TEST_TMPDIR/out")" ""
}

@test "options: completions are what the description gives now" {
	local file
	"$PYTHON" "$TOP/completions/generate" "$DMTOOL" "$BATS_TEST_TMPDIR"
	for file in dmtool.bash _dmtool dmtool.fish; do
		cmp "$BATS_TEST_TMPDIR/$file" "$TOP/completions/$file" || {
			echo "completions/$file is out of date: make completions"
			return 1
		}
	done
}

@test "options: every option is in every completion" {
	local command option file
	described | while read -r command option; do
		for file in dmtool.bash _dmtool; do
			grep -qE -e "[' ]-{1,2}${option}[][ =+']" "$TOP/completions/$file" ||
				echo "$file: $command $option is missing"
		done
		grep -qE "from $command'.* -[ls] $option( |\$)" "$TOP/completions/dmtool.fish" ||
			echo "dmtool.fish: $command $option is missing"
	done >"$BATS_TEST_TMPDIR/out"
	equal "$(cat "$BATS_TEST_TMPDIR/out")" ""
}

@test "options: the shells take their completions" {
	bash -n "$TOP/completions/dmtool.bash"
	zsh -n "$TOP/completions/_dmtool"
	fish --no-execute "$TOP/completions/dmtool.fish"
}

# what bash would offer after these words
complete_bash() {
	# shellcheck source=/dev/null
	bash -c '. "$1"; shift; compopt() { :; }; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _dmtool
		printf "%s\n" "${COMPREPLY[@]}"' complete "$TOP/completions/dmtool.bash" "$@"
}

@test "options: bash completes commands, options, arguments of options and files" {
	run complete_bash dmtool snapshot-ch
	equal "$output" snapshot-check
	run complete_bash dmtool snapshot-check --orig
	equal "$output" "--origin
--origin-size"
	run complete_bash dmtool snapshot-check --progress = b
	equal "$output" bar
	cd "$BATS_TEST_TMPDIR"
	: >cow-file
	run complete_bash dmtool snapshot-check cow
	equal "$output" cow-file
	run complete_bash dmtool snapshot-check --memory = ''
	equal "$output" ""
	run complete_bash fsck.DM_snapshot_cow --accept
	equal "$output" --accept-loss
}

@test "options: fish completes commands and options" {
	run fish --no-config -c "source $TOP/completions/dmtool.fish; complete -C 'dmtool snapshot-check --orig'"
	[[ $output == *--origin* ]]
	run fish --no-config -c "source $TOP/completions/dmtool.fish; complete -C 'dmtool snapshot-ch'"
	[[ $output == snapshot-check* ]]
}

@test "options: --help names every option and argument" {
	local command option
	for command in $(jq -r '.commands[].name' "$BATS_FILE_TMPDIR/describe.json"); do
		"$DMTOOL" "$command" --help >"$BATS_TEST_TMPDIR/help"
		for option in $(described | sed -n "s/^$command //p"); do
			grep -qE -e "-$option([^a-z-]|\$)" "$BATS_TEST_TMPDIR/help" || {
				echo "$command --help: $option is missing"
				return 1
			}
		done
		equal "$(awk 'length > 100' "$BATS_TEST_TMPDIR/help")" ""
	done
}
