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
