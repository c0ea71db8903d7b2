# shellcheck shell=bash
# Shared by the scripts of this folder; to be sourced.

# await FILE PATTERN: until the file has a line that matches, for a minute.
# Otherwise it is shown, and FILE.err beside FILE.out too.
await() {
  for _ in $(seq 600); do grep -q -- "$2" "$1" 2>/dev/null && return; sleep 0.1; done
  echo "no '$2' in $1 after a minute:" >&2; cat "$1" "${1%.out}.err" >&2 2>/dev/null || true; exit 1
}

# reach URL: until it answers 200, for a minute.
reach() {
  for _ in $(seq 600); do curl -fs -m 2 -o /dev/null "$1" 2>/dev/null && return; sleep 0.1; done
  echo "no answer from $1 after a minute" >&2; exit 1
}

# keep OUT: what git keeps of a run that left its measurements in folders of
# OUT: manifest.json, that of the first measurement, and summary.txt, where the
# benchmark wrote none the reports one after the other.
keep() {
  local out=$1 report manifest
  manifest=$(find "$out" -mindepth 2 -name manifest.json | sort | head -1)
  if [[ -n $manifest && ! -e $out/manifest.json ]]; then cp "$manifest" "$out/manifest.json"; fi
  if [[ -e $out/summary.txt || -e $out/results.txt ]]; then return; fi
  for report in "$out"/{events,spans,beyond,peer-settings}.txt "$out"/*/report.txt; do
    [[ -e $report ]] || continue
    printf '== %s\n' "${report#"$out"/}"
    cat "$report"
  done >"$out/summary.txt"
}
