#!/usr/bin/env bash
# Runs fuzz targets one after the other and prints a line for each.
#
#   tools/fuzz.sh TIME [PACKAGE...]      (make fuzz TIME=10m PACKAGES=./imageprep/...)
#
# TIME is how long each target runs, as Go writes durations. Without packages
# it is every target of the module. WORKERS processes run at once, one for each
# core by default. Exits with 1 when a target fails, after the others; Go leaves
# the input that fails in testdata/fuzz beside the test: keep it there.
#
# Minimising an input that reaches new code takes Go up to a minute, in which
# nothing else is tried; 20 executions are enough for inputs as small as these.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
go=${GO:-go}
duration=${1:?usage: tools/fuzz.sh TIME [PACKAGE...]}
packages=("${@:2}")
out=$(mktemp)
trap 'rm -f "$out"' EXIT

failed=0
listing=$("$go" list "${packages[@]:-./...}") || exit
printf '%-40s %-28s %12s %8s %6s\n' package target executions /s inputs
for package in $listing; do
	if ! targets=$("$go" test -list '^Fuzz' "$package" 2>&1); then
		failed=1
		printf '%s\n' "$targets"
		continue
	fi
	for target in $(grep '^Fuzz' <<<"$targets"); do
		if ! "$go" test -run '^$' -fuzz "^$target\$" -fuzztime "$duration" -fuzzminimizetime 20x \
			-parallel "${WORKERS:-$(nproc)}" "$package" >"$out" 2>&1; then
			failed=1
			cat "$out"
		fi
		awk -v package="${package#*/*/*/}" -v target="$target" '
			/^fuzz: elapsed/ && match($0, /execs: [0-9]+/) { execs = substr($0, RSTART + 7, RLENGTH - 7) }
			/^fuzz: elapsed/ && match($0, /total: [0-9]+/) { inputs = substr($0, RSTART + 7, RLENGTH - 7) }
			/^ok/ { seconds = $NF + 0 }
			END { printf "%-40s %-28s %12d %8s %6d\n", package, target, execs,
				seconds ? sprintf("%d", execs / seconds) : "failed", inputs }' "$out"
	done
done
exit "$failed"
