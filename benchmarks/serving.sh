#!/bin/bash
# Measures the server under load and failure, on this machine, against real
# Tritons that `agiqa up` starts:
#
#   serving.sh batching  OUT [SECONDS]   gateway batching against Triton's own
#   serving.sh shm       OUT [SECONDS]   pixels to Triton through shared memory against the connection
#   serving.sh replicas  OUT [SECONDS]   two gateways, two Tritons; each ended and killed under load
#   serving.sh overload  OUT [SECONDS]   the knee, then 2, 5 and 10 times that
#   serving.sh cache     OUT [SECONDS]   hits; Redis emptied, stopped and killed under load five times each (SECONDS at least 5)
#   serving.sh end-to-end OUT [SECONDS]  images through the gateway against ready tensors to Triton alone, in turns;
#                                        with VIT=FOLDER also for an encoder of ViT-B/16's size (make vit-b-16)
#
# SECONDS is the length of one measurement. What `agiqa bench` records, and a
# line for each event, is left in OUT. Everything started here is ended here.
set -euo pipefail
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

# await FILE PATTERN: until the file has a line that matches.
await() {
  for _ in $(seq 600); do grep -q "$2" "$1" 2>/dev/null && return; sleep 0.1; done
  echo "no '$2' in $1 after a minute:" >&2; cat "${1%.*}".* >&2; exit 1
}

# up NAME FLAGS...: a Triton with a gateway of its own; sets pid_NAME, url_NAME, grpc_NAME.
up() {
  local name=$1; shift
  AGIQA_DATA_DIR=$work/$name AGIQA_LOG_LEVEL=error $agiqa up --listen 127.0.0.1:0 "$@" >"$work/$name.out" 2>"$work/$name.err" &
  local pid=$!; started+=("$pid")
  await "$work/$name.out" Ctrl-C
  printf -v "pid_$name" %s "$pid"
  printf -v "url_$name" %s "$(grep -o 'http://[0-9.:]*' "$work/$name.out" | head -1)"
  printf -v "grpc_$name" %s "$(sed -n 's/.*gRPC on \([0-9.:]*\).*/\1/p' "$work/$name.out")"
}

# gateway NAME TRITONS FLAGS...: a gateway alone.
gateway() {
  local name=$1 tritons=$2; shift 2
  AGIQA_DATA_DIR=$work/$name AGIQA_LOG_FORMAT=json $agiqa serve --triton "$tritons" --listen 127.0.0.1:0 "$@" >"$work/$name.out" 2>"$work/$name.err" &
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

bench() { $agiqa bench "$@"; }

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

shm)
  up triton
  for batch in 1 8; do
    for turn in 1 2 3; do for shm in on off; do
      bench triton --triton "$grpc_triton" --model image-encoder --batch $batch --closed 1 --duration "${seconds}s" --seed "$turn" \
        --triton-shm $shm --out "$out/$batch-$shm-$turn" >"$out/$batch-$shm-$turn.txt"
      note "batch $batch, shared memory $shm, turn $turn: $(grep -m1 '^ *latency ' "$out/$batch-$shm-$turn.txt")"
    done; done
  done
  gateway shares "$grpc_triton" --triton-shm on
  gateway sends "$grpc_triton" --triton-shm off
  for connections in 1 8; do # the gateway makes batches of what waits
    bench compare "$url_shares" "$url_sends" --closed $connections --pairs 3 --duration "${seconds}s" \
      --unique --sizes 224 --formats jpeg --seed 1 --out "$out/closed-$connections" >"$out/closed-$connections.txt"
    sed -n '/^B over A/,$p' "$out/closed-$connections.txt"
  done
  ;;

replicas)
  rate=${RATE:-4} # of each gateway
  up one; up two
  for end in TERM KILL; do
    gateway a "$grpc_one,$grpc_two" --drain-delay 1s; gateway b "$grpc_one,$grpc_two" --drain-delay 1s
    # A Triton of two: `up` starts it again.
    under "triton-$end-a" "$url_a" "$rate"; under "triton-$end-b" "$url_b" "$rate"
    sleep $((seconds / 3)); victim=$(tritonserver "$pid_one")
    note "SIG$end to a tritonserver"; kill "-$end" "$victim"
    finished "triton-$end-a" "triton-$end-b"
    # A gateway of two: what it has accepted is answered, the other one goes on.
    # A load balancer would send no more to the one that is red; this load does,
    # so that connections refused after its end are expected and counted.
    under "gateway-$end-a" "$url_a" "$rate"; under "gateway-$end-b" "$url_b" "$rate"
    sleep $((seconds / 3)); note "SIG$end to gateway a"; kill "-$end" "$pid_a"
    status=0; wait "$pid_a" || status=$?; note "gateway a ended with status $status"
    finished "gateway-$end-a" "gateway-$end-b"
    kill -TERM "$pid_b"; wait "$pid_b" || true
  done
  ;;

overload)
  up server --request-timeout 5s
  probe=(--unique --sizes 256 --arrivals poisson --seed 1)
  bench knee "$url_server" --objective 500ms --duration 5s --rate 5 "${probe[@]}" --out "$out/knee" | tee "$out/knee.txt"
  knee=${RATE:-$(sed -n 's/.*[Kk]nee[^0-9]*\([0-9.]*\).*/\1/p' "$out/knee.txt" | tail -1)}
  for factor in 2 5 10; do
    bench overload "$url_server" --rate "$knee" --factor $factor --duration "${seconds}s" --objective 5s --connections 2000 \
      "${probe[@]}" --out "$out/overload-$factor" | tee "$out/overload-$factor.txt"
  done
  ;;

cache)
  port=$((20000 + RANDOM % 20000))
  redis() { # starts one, empty
    redis-server --port $port --bind 127.0.0.1 --save '' --daemonize no >"$work/redis.out" & redis=$!; started+=("$redis")
    await "$work/redis.out" 'Ready to accept'
  }
  # looked RESULT: look-ups of images in Redis that the gateway has counted.
  looked() { curl -fs "$url_one/metrics" | awk -v result="result=\"$1\"" '/^agiqa_cache_requests_total{/ && /cache="image"/ && /layer="redis"/ && index($0, result) {n = $NF} END {print n + 0}'; }
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
    for _ in 1 2; do bench http --url "$url_one" --rate 20 --duration 5s "${images[@]}" >/dev/null; done # what the first leaves in Redis, the second finds
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
