#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The schemas of docs/schema: sound, strict, complete, and told to people.

load ../lib/common

@test "schema: each is a sound JSON Schema" {
	local file
	for file in "$SCHEMAS"/*.json; do
		"$PYTHON" -c 'import json, sys, jsonschema
schema = json.load(open(sys.argv[1]))
jsonschema.validators.validator_for(schema).check_schema(schema)' "$file"
	done
}

@test "schema: every command has one, and one for lines if it prints lines" {
	"$DMTOOL" --describe | jq -r '.commands[] | .name as $c | .options[] | select(.long == "json" or
		.long == "json-lines") | "dmtool." + $c + (if .long == "json" then "" else "-line" end)' |
		while read -r name; do
			[ -e "$SCHEMAS/$name.json" ] || echo "$name.json: is missing"
		done >"$BATS_TEST_TMPDIR/out"
	equal "$(cat "$BATS_TEST_TMPDIR/out")" ""
	[ -e "$SCHEMAS/dmtool.describe.json" ]
	[ -e "$SCHEMAS/dmtool.progress.json" ]
}

@test "schema: unknown keys are not let through, schema and its version are required" {
	local file
	for file in "$SCHEMAS"/*.json; do
		"$PYTHON" - "$file" <<-'END'
		import json
		import sys

		def objects(node, where=""):
		    if isinstance(node, dict):
		        if "properties" in node and isinstance(node["properties"], dict):
		            yield where, node
		        for key, value in node.items():
		            yield from objects(value, where + "/" + key)
		    elif isinstance(node, list):
		        for i, value in enumerate(node):
		            yield from objects(value, "%s/%d" % (where, i))

		schema = json.load(open(sys.argv[1]))
		bad = [where for where, node in objects(schema)
		       if node.get("additionalProperties", True) is True and "patternProperties" not in node]
		if not sys.argv[1].endswith("-line.json"):
		    bad += [key for key in ("schema", "schema_version") if key not in schema.get("required", [])]
		if bad:
		    sys.exit("%s: lets anything through at %s" % (sys.argv[1], ", ".join(bad) or "/"))
		END
	done
}

@test "schema: a document with another key, without one, or with a wrong type is refused" {
	cow=$(fixture snap-c8-some)
	dm snapshot-info "$cow" --json
	valid_json
	local doc=$output change
	for change in '. + {more: 1}' 'del(.device)' '.header.chunk_size = "8"' '.schema_version = 2'; do
		run ! valid_json "$(jq "$change" <<<"$doc")"
	done
	run ! valid_json "${doc%\}*}"
}

@test "schema: dmtool-json(7) tells every key" {
	mandoc -T utf8 "$TOP/man/dmtool-json.7" | col -bx >"$BATS_TEST_TMPDIR/page"
	jq -r '.. | objects | .properties? | objects | keys[]' "$SCHEMAS"/*.json | sort -u |
		while read -r key; do
			grep -qw -e "$key" "$BATS_TEST_TMPDIR/page" || echo "dmtool-json(7): no key $key"
		done >"$BATS_TEST_TMPDIR/out"
	equal "$(cat "$BATS_TEST_TMPDIR/out")" ""
}
