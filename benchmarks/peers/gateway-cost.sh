#!/usr/bin/env bash
# What a gateway costs: agiqa's and the peer's, in turns, in front of the same
# stub Triton, with different 1024x1024 JPEGs, so that no cache helps.
#
#   benchmarks/peers/gateway-cost.sh OUT_DIR
#
# For a service time of 0 and of 10 ms: a closed loop, for what each can do, and
# an open one at RATE, for what a caller waits. Takes about four minutes.
#
#   AGIQA    the binary (bin/agiqa)      PEER_VENV  the peer's environment (.cache/peer)
#   RATE     of the open loop, per s (15) BLOCK     length of a block (5s)
#   PAIRS    of blocks (4)                CLOSED    connections of the closed loop (8)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
out=${1:?give the folder for the results}
agiqa=${AGIQA:-$root/bin/agiqa}
python=${PEER_VENV:-$root/.cache/peer}/bin/python
cores=$(nproc)
work=$(mktemp -d)
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

# await waits until a URL answers 200, for a minute.
await() {
	local tries
	for ((tries = 0; tries < 300; tries++)); do
		"$python" -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=2)' "$1" 2>/dev/null && return
		sleep 0.2
	done
	echo "gateway-cost: no answer from $1" >&2
	tail -n 5 "$work"/*.log >&2
	exit 1
}

model=$(basename "$(ls -d "$root"/model_repository/clip_agiqa_* | head -n 1)")
for service in 0ms 10ms; do
	triton=127.0.0.1:$(free)
	ours=127.0.0.1:$(free)
	peer=127.0.0.1:$(free)
	start stub.log "$agiqa" bench stub-triton --listen "$triton" --service-time "$service" --instances 64
	start agiqa.log "$agiqa" serve --triton "$triton" --listen "$ours" --data-dir "$work/data" --log-level error
	ours_pid=${pids[-1]}
	start peer.log env PEER_TRITON="$triton" PEER_MODEL="$model" "$python" -m uvicorn --app-dir "$here" gateway:app \
		--host 127.0.0.1 --port "${peer##*:}" --workers "$cores" --log-level warning
	peer_pid=${pids[-1]}
	await "http://$ours/readyz"
	await "http://$peer/readyz"
	common=("http://$ours" "http://$peer" --pid-a "$ours_pid" --pid-b "$peer_pid" --sizes 1024 --unique --seed 1
		--pairs "${PAIRS:-4}" --duration "${BLOCK:-5s}")
	"$agiqa" bench compare "${common[@]}" --closed "${CLOSED:-8}" \
		--notes "A agiqa, B FastAPI with $cores workers; stub Triton, $service a request; closed loop" --out "$out/$service-closed"
	"$agiqa" bench compare "${common[@]}" --rate "${RATE:-15}" --arrivals poisson --connections 32 \
		--notes "A agiqa, B FastAPI with $cores workers; stub Triton, $service a request; open loop" --out "$out/$service-open"
	stop
done
"$python" -m pip list --format=freeze >"$out/peer-versions.txt"
"$agiqa" bench report "$out"/*-closed "$out"/*-open --html "$out/report.html" | tee "$out/report.txt"
