#!/bin/bash
# Measures the server under load and failure, on this machine, against real
# Tritons that `agiqa up` starts:
#
#   serving.sh batching  OUT [SECONDS]   gateway batching against Triton's own
#   serving.sh replicas  OUT [SECONDS]   two gateways, then four, and two Tritons; one of either ended and killed under
#                                        load, asked directly and through a balancer (haproxy)
#   serving.sh overload  OUT [SECONDS]   the knee (or RATE, if it is set), then 2, 5 and 10 times that
#   serving.sh cache     OUT [SECONDS]   hits; Redis emptied, stopped and killed under load five times each (SECONDS at least 5)
#   serving.sh end-to-end OUT [SECONDS]  images through the gateway against ready tensors to Triton alone, in turns;
#                                        with VIT=FOLDER also for an encoder of ViT-B/16's size (make vit-b-16)
#
# SECONDS is the length of one measurement. What `agiqa bench` records, and a
# line for each event, is left in OUT. Everything started here is ended here.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
what=$1 out=$2 seconds=${3:-10}
agiqa=${SERVING_AGIQA:-bin/agiqa}
work=$(mktemp -d)
mkdir -p "$out"
started=()

finish() {
  for pid in "${started[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in "${started[@]}"; do kill -CONT "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
trap finish EXIT

note() { echo "$(date -u +%T.%3N) $*" | tee -a "$out/events.txt"; }

# up NAME FLAGS...: a Triton with a gateway of its own; sets pid_NAME, url_NAME, grpc_NAME.
up() {
  local name=$1; shift
  AGIQA_DATA_DIR=$work/$name AGIQA_LOG_LEVEL=error "$agiqa" up --listen 127.0.0.1:0 "$@" >"$work/$name.out" 2>"$work/$name.err" &
  local pid=$!; started+=("$pid")
  await "$work/$name.out" Ctrl-C
  printf -v "pid_$name" %s "$pid"
  printf -v "url_$name" %s "$(grep -o 'http://[0-9.:]*' "$work/$name.out" | head -1)"
  printf -v "grpc_$name" %s "$(sed -n 's/.*gRPC on \([^ ,]*\).*/\1/p' "$work/$name.out")"
}

# gateway NAME TRITONS FLAGS...: a gateway alone.
gateway() {
  local name=$1 tritons=$2; shift 2
  rm -f "$work/$name.err" # of the one that had the name before
  AGIQA_DATA_DIR=$work/$name AGIQA_LOG_FORMAT=json "$agiqa" serve --triton "$tritons" --listen 127.0.0.1:0 "$@" >"$work/$name.out" 2>"$work/$name.err" &
  local pid=$!; started+=("$pid")
  await "$work/$name.err" '"msg":"ready"'
  printf -v "pid_$name" %s "$pid"
  printf -v "url_$name" %s "$(grep -o 'http://[0-9.:]*' "$work/$name.err" | head -1)"
}

# tritonserver PID: the tritonserver among the descendants of a process.
tritonserver() {
  local child
  for child in $(pgrep -P "$1"); do
    if [[ $(readlink "/proc/$child/exe" 2>/dev/null) == */tritonserver ]]; then echo "$child"; return; fi
    tritonserver "$child"
  done
}

bench() { "$agiqa" bench "$@"; }

# under NAME URL RATE: load in the background; ends with its report in OUT.
under() {
  bench http --url "$2" --rate "$3" --duration "${seconds}s" --arrivals poisson --seed 1 --unique --sizes 256 \
    --drain 35s --out "$out/$1" >"$out/$1.txt" 2>&1 &
  loads+=("$!")
}

finished() {
  for pid in "${loads[@]}"; do wait "$pid" || true; done
  loads=()
  for name in "$@"; do note "$name: $(grep -m1 '^scheduled' "$out/$name.txt" || tail -1 "$out/$name.txt")"; done
}
loads=()

case $what in
batching)
  up triton
  gateway joins "$grpc_triton" --batching gateway
  gateway leaves "$grpc_triton" --batching triton
  for connections in 4 16 64; do
    bench compare "$url_joins" "$url_leaves" --closed $connections --pairs 2 --duration "${seconds}s" \
      --unique --sizes 256 --seed 1 --out "$out/closed-$connections" | tee "$out/closed-$connections.txt"
  done
  for name in joins leaves; do # processor time of gateway and Triton together
    pid=pid_$name url=url_$name
    server=$(tritonserver "$pid_triton")
    ticks() { for p in "$@" $(pgrep -P "$server"); do awk '{print $14+$15}' "/proc/$p/stat"; done | paste -sd+ | bc; }
    before=$(ticks "${!pid}" "$server")
    bench http --url "${!url}" --closed 16 --duration "${seconds}s" --unique --sizes 256 --seed 7 --out "$out/cpu-$name" >"$out/cpu-$name.txt"
    note "$name: $(( $(ticks "${!pid}" "$server") - before )) ticks for: $(grep -m1 '^scheduled' "$out/cpu-$name.txt")"
  done
  ;;

replicas)
  command -v haproxy >/dev/null || { echo "serving.sh: replicas needs haproxy (Debian and Ubuntu: apt-get install haproxy)" >&2; exit 1; }
  rate=${RATE:-8} # of all gateways directly, and again through the balancer
  base=$((20000 + RANDOM % 10000))
  # serves NAME: a gateway whose port is its own, so that it can come back.
  serves() { gateway "$1" "$grpc_one,$grpc_two" --drain-delay 1s --listen "127.0.0.1:$((base + $(printf %d "'$1")))"; }
  up one; up two
  for names in "a b" "a b c d"; do
    read -ra gateways <<<"$names"; count=${#gateways[@]}
    cp "$(dirname "$0")/haproxy.cfg" "$work/haproxy.cfg"
    for name in "${gateways[@]}"; do
      serves "$name"; url=url_$name; echo "  server $name ${!url#http://}" >>"$work/haproxy.cfg"
    done
    BALANCER=127.0.0.1:$base haproxy -db -f "$work/haproxy.cfg" >"$work/haproxy.out" 2>&1 & balancer=$!; started+=("$balancer")
    reach "http://127.0.0.1:$base/readyz"
    for end in TERM KILL; do for victim in tritonserver gateway; do
      round=$count-$victim-$end; told=()
      for name in "${gateways[@]}"; do
        url=url_$name; told+=("$round-$name"); under "$round-$name" "${!url}" "$(echo "scale=2; $rate / $count" | bc)"
      done
      told+=("$round-balancer"); under "$round-balancer" "http://127.0.0.1:$base" "$rate"
      sleep $((seconds / 3)); note "$count gateways: SIG$end to a $victim"
      if [[ $victim == tritonserver ]]; then
        kill "-$end" "$(tritonserver "$pid_one")" # `up` starts it again
      else
        # After SIGTERM what it is sent is answered until the balancer has turned
        # away. The load that goes on asking it until it is back counts refusals.
        kill "-$end" "$pid_a"; status=0; wait "$pid_a" 2>/dev/null || status=$?
        note "gateway a ended with status $status"; serves a; note "gateway a is back"
      fi
      finished "${told[@]}"
    done; done
    kill -TERM "$balancer"; wait "$balancer" || true
    for name in "${gateways[@]}"; do pid=pid_$name; kill -TERM "${!pid}"; wait "${!pid}" || true; done
  done
  {
    echo "gateways-victim-signal-asked  requests  errors  dropped  unsent  p99 ms  errors by cause"
    for file in "$out"/[24]-*.txt; do
      awk -v name="$(basename "$file" .txt)" '
        /^scheduled/ {asked = $2; gsub(/\+|=/, ""); for (i = 1; i < NF; i++) {if ($i == "errors") e = $(i+1); if ($i == "dropped") d = $(i+1); if ($i == "unsent") u = $(i+1)}; causes = 1; next}
        causes && /^  / {why = why " " $1 $2; next} {causes = 0}
        $1 == "latency" {p99 = $5}
        END {printf "%-29s %8d %7d %8d %7d %8.1f %s\n", name, asked, e, d, u, p99, why}' "$file"
    done
    echo "What is asked through the balancer shows what clients see: no errors after SIGTERM; after SIGKILL those under way in what was killed. The load on a goes on while a is away and counts its refusals."
  } | tee "$out/summary.txt"
  ;;

overload)
  up server --request-timeout 5s
  probe=(--unique --sizes 256 --arrivals poisson --seed 1)
  knee=${RATE:-} # where it's known already
  if [[ -z $knee ]]; then
    bench knee "$url_server" --objective 500ms --duration 5s --rate 5 "${probe[@]}" --out "$out/knee" | tee "$out/knee.txt"
    knee=$(sed -n 's/.*[Kk]nee[^0-9]*\([0-9.]*\).*/\1/p' "$out/knee.txt" | tail -1)
  fi
  for factor in 2 5 10; do
    bench overload "$url_server" --rate "$knee" --factor $factor --duration "${seconds}s" --objective 5s --connections 2000 \
      "${probe[@]}" --out "$out/overload-$factor" | tee "$out/overload-$factor.txt"
  done
  {
    echo "knee $knee/s (p99 <= 500 ms); $seconds s of each phase; latencies in ms, of the phase of overload"
    echo "factor  offered/s  goodput/s  % of the knee  accepted p50  p99  refused  p99  neither  504  recovered after"
    for factor in 2 5 10; do
      awk -v factor=$factor -v knee="$knee" '
        $1 == "overload" && NF == 10 {offered = $2; good = $3; refused = $6; lost = $7; p50 = $8; p99 = $9; no = $10}
        $1 == "status_504:" {late = $2}
        /^recovered/ {back = $2} /^did not recover/ {back = "not"}
        END {printf "%6d %10.1f %10.1f %14.0f %13.0f %4.0f %8d %4.0f %8d %4d  %s\n", factor, offered, good, 100 * good / knee, p50, p99, refused, no, lost, late, back}' "$out/overload-$factor.txt"
    done
    echo "neither: no answer, or another than 429 and 503; the 504s are those of all three phases"
  } | tee "$out/summary.txt"
  ;;

cache)
  port=$((20000 + RANDOM % 20000))
  redis() { # starts one, empty
    redis-server --port $port --bind 127.0.0.1 --save '' --daemonize no >"$work/redis.out" & redis=$!; started+=("$redis")
    await "$work/redis.out" 'Ready to accept'
  }
  # looked RESULT: look-ups of images in Redis that the gateway has counted.
  looked() { curl -fs "$url_one/metrics" | awk -v outcome="outcome=\"$1\"" '/^agiqa_cache_requests_total{/ && /cache="image"/ && /layer="redis"/ && index($0, outcome) {n = $NF} END {print n + 0}'; }
  redis
  bench draw --sizes "$(seq -s, 64 113)" --copies 20 --out "$work/images"
  images=(--images "$work/images" --seed 1)
  up one --redis-url "redis://127.0.0.1:$port/0" --image-cache-bytes 256KiB # a third of them, so that Redis is asked
  gateway remembers "$grpc_one" --redis-url "redis://127.0.0.1:$port/0"
  bench http --url "$url_one" --rate "${FILL:-25}" --duration "$((1000 / ${FILL:-25}))s" "${images[@]}" >/dev/null # each image once
  bench http --url "$url_remembers" --rate 100 --duration 10s "${images[@]}" >/dev/null
  for where in redis memory; do
    url=$url_one; [[ $where == redis ]] || url=$url_remembers
    before=$(looked hit)
    bench http --url "$url" --closed 8 --duration "${seconds}s" "${images[@]}" --out "$out/hits-$where" >"$out/hits-$where.txt"
    note "hits, from $where: $(grep -m1 '^scheduled' "$out/hits-$where.txt")"
    note "hits, from $where: $(grep -m1 '^ *latency' "$out/hits-$where.txt") (ms: p50 p90 p95 p99 p99.9 max mean count); Redis had $(( $(looked hit) - before ))"
  done
  # Callers of known images, and one in twenty new: what a server with a cache
  # is asked. Five events each, one in the middle of each stretch of SECONDS.
  rate=${RATE:-60} stretches=5
  for event in FLUSHALL STOP KILL; do
    times=() before=$(looked hit) errors=$(looked error)
    bench http --url "$url_one" --rate "$rate" --duration "$((stretches * seconds))s" --arrivals poisson "${images[@]}" --pick zipf \
      --out "$out/redis-$event-known" >"$out/redis-$event-known.txt" 2>&1 & loads+=("$!")
    bench http --url "$url_one" --rate "$((rate / 20))" --duration "$((stretches * seconds))s" --arrivals poisson "${images[@]}" --unique \
      --out "$out/redis-$event-new" >"$out/redis-$event-new.txt" 2>&1 & loads+=("$!")
    begun=$(date +%s%3N)
    for ((turn = 0; turn < stretches; turn++)); do
      sleep "$(echo "scale=3; ($begun - $(date +%s%3N)) / 1000 + $turn * $seconds + $seconds / 2" | bc)"
      times+=("$(date -u +%FT%T.%3NZ)"); note "Redis: $event"
      case $event in
      FLUSHALL) redis-cli -p $port flushall >/dev/null ;;
      STOP) kill -STOP "$redis"; sleep 1.5; kill -CONT "$redis"; note "Redis: CONT" ;;
      KILL) kill -KILL "$redis"; wait "$redis" 2>/dev/null || true; sleep 1.5; redis; note "Redis: started again" ;;
      esac
      after=$(looked hit)
    done
    finished "redis-$event-known" "redis-$event-new"
    seed=$RANDOM # others than the round before, which memory knows by now
    for _ in 1 2; do bench http --url "$url_one" --rate 20 --duration 5s "${images[@]}" --pick uniform --seed "$((seed + 1))" >/dev/null; done # what the first leaves in Redis, the second finds
    note "redis-$event: $(( $(looked hit) - before )) look-ups found in Redis, $(( $(looked hit) - after )) of them after the last event, $(( $(looked error) - errors )) failed;" \
      "in the end the gateway says available $(curl -fs "$url_one/metrics" | awk '/^agiqa_cache_redis_available/ {print $NF}'), and Redis holds $(redis-cli -p $port dbsize) keys"
    bench report "$out/redis-$event-known" "$out/redis-$event-new" --event "$(IFS=,; echo "${times[*]}")" >"$out/redis-$event.txt"
    { echo "redis-$event, aims: all answered, and added p99 of latency at most 60 ms"; grep -E '^requests|before:| latency |: lookup |answered|^  after' "$out/redis-$event.txt"; } | tee -a "$out/events.txt"
  done
  ;;
end-to-end)
  # per_second FILE: answers a second, from a JSON document.
  per_second() { sed -n 's/.*"completed_per_s":\([0-9.]*\).*/\1/p' "$1"; }
  # through NAME CHECKPOINT CLOSED FLAGS...: the ensemble asked directly, and images sent to the gateway before it, in turns.
  through() {
    local model=$1 checkpoint=$2 closed=$3 ratios=() turn; shift 3
    local images=(--unique --sizes 512 --formats jpeg)
    up "$model" "$@"
    local url=url_$model grpc=grpc_$model
    bench http --url "${!url}" --closed "$closed" --duration 3s "${images[@]}" --seed 1 >/dev/null # warm
    for turn in 1 2 3; do
      bench triton --triton "${!grpc}" --model ensemble --checkpoint "$checkpoint" "$@" --closed "$closed" --duration "${seconds}s" --seed "$turn" \
        --out "$out/$model-tensors-$turn" --json >"$work/tensors.json"
      bench http --url "${!url}" --closed "$closed" --duration "${seconds}s" "${images[@]}" --seed "$turn" \
        --out "$out/$model-images-$turn" --json >"$work/images.json"
      ratios+=("$(echo "scale=3; $(per_second "$work/images.json") / $(per_second "$work/tensors.json")" | bc)")
      note "$model, turn $turn: $(per_second "$work/tensors.json") tensors/s to Triton, $(per_second "$work/images.json") images/s through the gateway, ratio ${ratios[-1]}"
    done
    note "$model: median ratio $(printf '%s\n' "${ratios[@]}" | sort -n | sed -n 2p)"
    local pid=pid_$model; kill -TERM "${!pid}"; wait "${!pid}" || true
  }
  through demo demo 8
  if [[ -n ${VIT:-} ]]; then
    through vit end-shared 4 --model-repository "$VIT/model_repository" --checkpoints "$VIT/checkpoints" --default-checkpoint end-shared
  fi
  ;;
*) echo "unknown: $what" >&2; exit 2 ;;
esac
