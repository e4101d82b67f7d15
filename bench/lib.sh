# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# shellcheck disable=SC2154 # the runner sets them
#
# What the runners share.  A runner sets n, runs, peers, only, dir, bin, tmp, samples and here, and has
# set_command NAME (which fills the array cmd), before_run NAME, expected_status NAME.

fail() {
	printf 'bench: %s\n' "$*" >&2
	exit 2
}

say() {
	printf '%s\n' "$*" >&2
}

# "16Mi", "1048576" or "2^28" as a plain number
number() {
	case $1 in
	*^*) echo $((1 << ${1#*^})) ;;
	*Ki) echo $((${1%Ki} << 10)) ;;
	*Mi) echo $((${1%Mi} << 20)) ;;
	*) echo "$1" ;;
	esac
}

wanted() {
	case $only in
	'' | *,"$1",*) return 0 ;;
	esac
	return 1
}

have() {
	[ "$peers" = 1 ] && command -v "$1" >/dev/null 2>&1
}

run_once() {
	local name=$1 out=/dev/null

	set_command "$name"
	before_run "$name"
	case $name in
	dump-file) out=$tmp/dump ;;
	check-*) out=$tmp/$name.out ;;
	esac
	"$bin/timeit" -o "$out" -e "$tmp/err" -s "$(expected_status "$name")" "${cmd[@]}" >"$tmp/sample" || {
		head -5 "$tmp/err" >&2
		fail "$name: ${cmd[*]}"
	}
}

# compare NAME...: warm up, then each once per round, so that drift hits all of them alike
compare() {
	local round name

	for name in "$@"; do
		run_once "$name"
		rm -f "$samples/$name"
	done
	for round in $(seq "$runs"); do
		for name in "$@"; do
			run_once "$name"
			cat "$tmp/sample" >>"$samples/$name"
		done
		say "  round $round of $runs: $*"
	done
}

# finds STATUS PATTERN COMMAND...: the command ends with STATUS and says PATTERN
finds() {
	local status=$1 pattern=$2 got

	shift 2
	"$@" >"$tmp/out" 2>"$tmp/err"
	got=$?
	[ $got = "$status" ] || fail "exit status $got, expected $status: $*"
	cat "$tmp/out" "$tmp/err" | tr -d ' ' | grep -E -- "$pattern" >/dev/null ||
		fail "planted fault not found (no $pattern): $*"
}

row() {
	[ -s "$samples/$1" ] || return 0
	sort -n "$samples/$1" | awk -v name="$1" -v n="$n" '
		{ cpu[NR] = $1 + $2; wall[NR] = $3; if ($4 > rss) rss = $4 }
		function sorted(a, i, j, t) {
			for (i = 2; i <= NR; i++)
				for (j = i; j > 1 && a[j] < a[j - 1]; j--) {
					t = a[j]; a[j] = a[j - 1]; a[j - 1] = t
				}
		}
		END {
			sorted(cpu); sorted(wall); m = int((NR + 1) / 2)
			printf "| %-14s | %8.3f | %8.3f..%.3f | %8.3f | %7.1f | %8.1f |\n", name, cpu[m], \
				cpu[1], cpu[NR], wall[m], rss / 1024, n / cpu[m] / 1e6
		}'
}

# value A B COLUMN: median of A/B over the rounds, pair by pair; column cpu or wall
ratio() {
	paste -d ' ' "$samples/$1" "$samples/$2" | awk -v col="$3" '
		{ r[NR] = col == "wall" ? $3 / $8 : ($1 + $2) / ($6 + $7) }
		END {
			for (i = 2; i <= NR; i++)
				for (j = i; j > 1 && r[j] < r[j - 1]; j--) {
					t = r[j]; r[j] = r[j - 1]; r[j - 1] = t
				}
			printf "%.3f %.3f %.3f\n", r[int((NR + 1) / 2)], r[1], r[NR]
		}'
}

median_rate() {
	awk -v n="$n" '{ print n / ($1 + $2) / 1e6 }' "$samples/$1" | sort -n |
		awk '{ v[NR] = $1 } END { printf "%.1f\n", v[int((NR + 1) / 2)] }'
}

peak_mib() {
	awk '$4 > m { m = $4 } END { printf "%.1f\n", m / 1024 }' "$samples/$1"
}

# figure TEXT VALUE at-most|at-least LIMIT [RANGE]; LIMIT "-" is only reported
figure() {
	local verdict=reported

	if [ "$4" != - ]; then
		if awk -v v="$2" -v l="$4" -v how="$3" \
			'BEGIN { exit !(how == "at-most" ? v <= l : v >= l) }'; then
			verdict=met
		else
			verdict=MISSED
		fi
		printf '| %-62s | %8s | %s %s | %s |\n' "$1${5:+ ($5)}" "$2" "${3/-/ }" "$4" "$verdict"
	else
		printf '| %-62s | %8s | - | %s |\n' "$1${5:+ ($5)}" "$2" "$verdict"
	fi
}

ratio_figure() {
	local text=$1 a=$2 b=$3 column=$4 how=$5 limit=$6 r

	[ -s "$samples/$a" ] && [ -s "$samples/$b" ] || return 0
	r=$(ratio "$a" "$b" "$column")
	# shellcheck disable=SC2086 # three numbers
	set -- $r
	figure "$text" "$1" "$how" "$limit" "$2..$3"
}

# data_row NAME MIB: the same for what moves data
data_row() {
	[ -s "$samples/$1" ] || return 0
	awk -v name="$1" -v mib="$2" '
		function sorted(a, i, j, t) {
			for (i = 2; i <= NR; i++)
				for (j = i; j > 1 && a[j] < a[j - 1]; j--) {
					t = a[j]; a[j] = a[j - 1]; a[j - 1] = t
				}
		}
		{ cpu[NR] = $1 + $2; wall[NR] = $3; if ($4 > rss) rss = $4 }
		END {
			sorted(cpu); sorted(wall); m = int((NR + 1) / 2)
			printf "| %-16s | %8.3f | %8.3f..%.3f | %8.3f | %7.1f | %8.0f |\n", name, wall[m], \
				wall[1], wall[NR], cpu[m] * 1024 / mib, rss / 1024, mib / wall[m]
		}' "$samples/$1"
}

