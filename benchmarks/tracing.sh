#!/usr/bin/env bash
# What tracing every request costs: two gateways in turns before one stub
# Triton, so that the gateway is what is measured. Writes four records:
#   throughput  closed loop, traced into a real collector against not traced
#   latency     open loop at a rate below the knee, the same pair
#   dead        open loop, a collector that refuses against not traced
#   slow        open loop, a collector that takes connections and never answers
# Needs bin/agiqa and the collector (make bench NAME=tracing builds both).
#   OUT folder, COLLECTOR binary, DURATION of a block, PAIRS, RATE, CLOSED
set -euo pipefail
: "${OUT:?}" "${COLLECTOR:?}" "${DURATION:=4s}" "${PAIRS:=4}" "${RATE:=60}" "${CLOSED:=16}"
source "$(dirname "$0")/lib.sh"
work=$(mktemp -d)
pids=()
finish() { for p in "${pids[@]}"; do kill "$p" 2>/dev/null || true; done; wait 2>/dev/null || true; rm -rf "$work"; }
trap finish EXIT

say() { # prints the last word of what a line of a log matches
  await "$1" "$2"
  local found; found=$(grep -om1 "$2" "$1"); echo "${found##* }"
}

bin/agiqa bench stub-triton --listen 127.0.0.1:0 --service-time 5ms --instances 64 >"$work/triton" & pids+=($!)
triton=$(say "$work/triton" 'at .*')

bin/agiqa bench stub-http --listen 127.0.0.1:0 >"$work/sink" & pids+=($!)
sink=$(say "$work/sink" 'at .*')
# The receiver of a slow collector: it answers after a minute.
bin/agiqa bench stub-http --listen 127.0.0.1:0 --service-time 1m >"$work/slow" & pids+=($!)
slow=$(say "$work/slow" 'at .*')
port=$((20000 + RANDOM % 20000))
cat >"$work/otelcol.yaml" <<YAML
receivers: { otlp: { protocols: { http: { endpoint: "127.0.0.1:$port" } } } }
exporters: { otlp_http: { endpoint: "http://$sink", retry_on_failure: { enabled: false } } }
service:
  pipelines: { traces: { receivers: [otlp], exporters: [otlp_http] } }
  telemetry: { metrics: { level: none }, logs: { level: fatal } }
YAML
"$COLLECTOR" --config "$work/otelcol.yaml" >"$work/otelcol" 2>&1 & pids+=($!)

gateway() { # name, endpoint: starts one and sets url_NAME and pid_NAME
  AGIQA_DATA_DIR="$work/data-$1" AGIQA_OTLP_ENDPOINT="$2" AGIQA_IMAGE_CACHE_BYTES=0 AGIQA_LOG_FORMAT=json AGIQA_LOG_LEVEL=warn \
    bin/agiqa serve --listen "127.0.0.1:$3" --triton "$triton" >"$work/$1" 2>&1 &
  pids+=($!); printf -v "pid_$1" %s $!; printf -v "url_$1" %s "http://127.0.0.1:$3"
  reach "http://127.0.0.1:$3/readyz"
}
gateway off "" $((port + 1))
gateway on "http://127.0.0.1:$port" $((port + 2))
gateway dead "http://127.0.0.1:9" $((port + 3)) # the port of discard, where nobody listens
gateway slow "http://$slow" $((port + 4))

compare() { # record, gateway, flags: not traced first
  local pid="pid_$2" url="url_$2"
  bin/agiqa bench compare "$url_off" "${!url}" --pid-a "$pid_off" --pid-b "${!pid}" --unique \
    --duration "$DURATION" --pairs "$PAIRS" --seed 1 --out "$OUT/$1" --notes "A: not traced; B: $1" "${@:3}"
}
compare throughput on --closed "$CLOSED"
compare latency on --rate "$RATE" --arrivals poisson
compare dead dead --rate "$RATE" --arrivals poisson
compare slow slow --rate "$RATE" --arrivals poisson
for g in on dead slow; do
  url="url_$g"
  { echo "# $g"; curl -fs "${!url}/metrics" | grep '^agiqa_spans'; } >>"$OUT/spans.txt"
done
cat "$OUT/spans.txt"
