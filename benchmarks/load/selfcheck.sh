#!/bin/bash
# selfcheck.sh OUT [SECONDS]
#
# How late the load generator itself is at 10,000 requests/s of a few bytes:
# with the generator on one core and the answering stub on another, and with
# both wherever the kernel puts them. "late by generator" is the figure; on a
# quiet machine its p99 is to stay below half a millisecond on one core.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"
out=$1 seconds=${2:-20}
agiqa=${SELFCHECK_AGIQA:-bin/agiqa}
log=$(mktemp)
stub=
finish() {
  if [[ $stub ]]; then kill "$stub" 2>/dev/null || true; wait "$stub" 2>/dev/null || true; fi
  rm -f "$log"
}
trap finish EXIT

# cores lists those that this process may use, one a line.
cores() {
  taskset -cp $$ | sed 's/.*: //' | tr , '\n' | while IFS=- read -r first last; do seq "$first" "${last:-$first}"; done
}

# measure NAME NOTES [PREFIX OF STUB] [PREFIX OF GENERATOR]
measure() {
  : >"$log"
  $3 "$agiqa" bench stub-http --listen 127.0.0.1:0 >"$log" & stub=$!
  await "$log" ' at '
  $4 "$agiqa" bench http --url "http://$(sed 's/.* at //' "$log")" --method GET --rate 10000 --duration "${seconds}s" \
    --arrivals poisson --seed 1 --pid $stub --notes "answers of a few bytes, from a process of its own; $2" --out "$out/$1"
  kill $stub; wait $stub || true
  stub=
}

runs=()
if command -v taskset >/dev/null && mapfile -t allowed < <(cores) && (( ${#allowed[@]} >= 2 )); then
  measure pinned "generator on core ${allowed[0]}, stub on core ${allowed[1]}" "taskset -c ${allowed[1]}" "taskset -c ${allowed[0]}"
  runs+=("$out/pinned")
  why="not pinned"
else
  why="not pinned: that takes taskset and two cores"
fi
measure unpinned "$why" "" ""
runs+=("$out/unpinned")
"$agiqa" bench report "${runs[@]}" --html "$out/report.html"
