#!/usr/bin/env bash
# What a gateway costs: agiqa's and the peer's, in turns, in front of the same
# stub Triton, with different 1024x1024 JPEGs, so that no cache helps. Each
# gateway has the first processor to itself, stub and load generator have the
# others, so that images a second are those of one core.
#
#   benchmarks/peers/gateway-cost.sh OUT_DIR
#
# First the peer's settings are tried and the best taken. Then, for a service
# time of 0 and of 10 ms: a closed loop, for what an image costs; an open one at
# RATE, for what a caller waits; and the highest rate within each of OBJECTIVES,
# in turns. What preparing the image costs alone is measured before and after.
# beyond.txt holds what the gateway costs beyond that; summary.txt joins all
# reports. Takes about 20 minutes.
#
#   AGIQA    the binary (bin/agiqa)      PEER_VENV   the peer's environment (.cache/peer)
#   RATE     of the open loop, per s (15) BLOCK      length of a block, in seconds (5)
#   PAIRS    of blocks (4)                CLOSED     connections of the closed loop (8)
#   TURNS    of each search (2)           OBJECTIVES of p99 (100ms 250ms)
#   SERVICES times of the stub (0ms 10ms) PEERS      workers:threads to try (1:1 1:2 2:1)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
source "$root/benchmarks/lib.sh"
out=${1:?give the folder for the results}
agiqa=${AGIQA:-$root/bin/agiqa}
python=${PEER_VENV:-$root/.cache/peer}/bin/python
block=${BLOCK:-5}
closed=${CLOSED:-8}
if (($(nproc) < 2)); then
	echo "gateway-cost: needs two processors, one for the gateways and one for stub and generator" >&2
	exit 1
fi
others=1-$(($(nproc) - 1))
taskset -pc "$others" $$ >/dev/null # this script and what it starts
work=$(mktemp -d)
mkdir -p "$out"
pids=()

stop() {
	for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
		kill "${pids[i]}" 2>/dev/null && wait "${pids[i]}" 2>/dev/null || true
	done
	pids=()
}
trap 'stop; rm -rf "$work"' EXIT

# free prints a loopback port that nobody listened on a moment ago.
free() { "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# start runs a command in the background, with its output in a file.
start() {
	local log=$1
	shift
	"$@" >"$work/$log" 2>&1 &
	pids+=($!)
}

model=$(basename "$(ls -d "$root"/model_repository/clip_agiqa_* | head -n 1)")

# stub SERVICE: a stub Triton; sets triton.
stub() {
	triton=127.0.0.1:$(free)
	start stub.log "$agiqa" bench stub-triton --listen "$triton" --service-time "$1" --instances 64
}

# peer WORKERS:THREADS: sets peer and peer_pid.
peer() {
	peer=127.0.0.1:$(free)
	start peer.log taskset -c 0 env PEER_TRITON="$triton" PEER_MODEL="$model" PEER_THREADS="${1#*:}" "$python" -m uvicorn --app-dir "$here" gateway:app \
		--host 127.0.0.1 --port "${peer##*:}" --workers "${1%:*}" --log-level warning
	peer_pid=${pids[-1]}
	reach "http://$peer/readyz"
}

"$agiqa" bench draw --sizes 1024 --out "$work/images" >/dev/null
images=(--images "$work/images" --unique --seed 1)
alone() { taskset -c 0 "$agiqa" bench preprocess --images "$work/images" --cpu 0 --out "$out/preprocess-$1" >/dev/null; }

alone before
best=- best_rate=0
for setting in ${PEERS:-1:1 1:2 2:1}; do
	stub 10ms
	peer "$setting"
	for closed_by in 1 "$block"; do # the first warms
		"$agiqa" bench http --url "http://$peer" --closed "$closed" --duration "${closed_by}s" "${images[@]}" --json >"$work/peer.json"
	done
	stop
	rate=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["completed_per_s"])' "$work/peer.json")
	echo "peer with ${setting%:*} workers of ${setting#*:} threads: $rate images/s, closed loop of $closed" | tee -a "$out/peer-settings.txt"
	if awk "BEGIN {exit !($rate > $best_rate)}"; then best=$setting best_rate=$rate; fi
done
echo "taken: $best" | tee -a "$out/peer-settings.txt"

for service in ${SERVICES:-0ms 10ms}; do
	stub "$service"
	ours=127.0.0.1:$(free)
	start agiqa.log taskset -c 0 "$agiqa" serve --triton "$triton" --listen "$ours" --data-dir "$work/data" --log-level error
	ours_pid=${pids[-1]}
	reach "http://$ours/readyz"
	peer "$best"
	about="A agiqa, B FastAPI with ${best%:*} workers of ${best#*:} threads, each on one processor; stub Triton, $service a request"
	common=("http://$ours" "http://$peer" --pid-a "$ours_pid" --pid-b "$peer_pid" "${images[@]}" --pairs "${PAIRS:-4}" --duration "${block}s")
	"$agiqa" bench compare "${common[@]}" --closed "$closed" --notes "$about; closed loop" --out "$out/$service-closed" >/dev/null
	"$agiqa" bench compare "${common[@]}" --rate "${RATE:-15}" --arrivals poisson --connections 32 --notes "$about; open loop" \
		--out "$out/$service-open" >/dev/null
	for objective in ${OBJECTIVES:-100ms 250ms}; do
		for ((turn = 1; turn <= ${TURNS:-2}; turn++)); do
			knee=(--objective "$objective" --rate 20 --precision 0.08 --duration "${block}s" --arrivals poisson "${images[@]}" --notes "$about")
			"$agiqa" bench knee "http://$ours" --pid "$ours_pid" "${knee[@]}" --out "$out/$service-$objective-$turn-agiqa" | grep '^knee' || true
			"$agiqa" bench knee "http://$peer" --pid "$peer_pid" "${knee[@]}" --out "$out/$service-$objective-$turn-peer" | grep '^knee' || true
		done
	done
	stop
done
alone after
"$python" -m pip list --format=freeze >"$out/peer-versions.txt"
"$agiqa" bench report "$out"/*-closed "$out"/*-open --html "$out/report.html" >"$out/report.txt"
"$python" - "$out" >"$out/beyond.txt" <<'PY'
import json, pathlib, sys

out = pathlib.Path(sys.argv[1])


def prepared(when):  # CPU ms to prepare the image exactly, with the decoders that serve uses
    figures = json.loads((out / f"preprocess-{when}/results.json").read_text())["results"][0]["figures"]
    steps = figures.get("native") or figures["go"]
    return next(f["cpu_ms"] for f in steps if f["step"] == "whole")


before, after = prepared("before"), prepared("after")
alone = (before + after) / 2
for folder in sorted(out.glob("*-closed")):
    image = json.loads((folder / "report.json").read_text())["a"]["process"]["cpu_s_per_1000"]
    print(f"{folder.name}: agiqa {image:.2f} ms of CPU time an image - {alone:.2f} ms to prepare it alone "
          f"({before:.2f} before, {after:.2f} after) = {image - alone:.2f} ms beyond preprocessing")
PY
cat "$out/beyond.txt"
