#!/usr/bin/env bash
# Measures a GPU in one go, in less than 8 minutes: the chip's matrix peak, CLIP
# ViT-B/16 and ViT-L/14 by batch size against it, and the whole gateway in front
# of either. Needs PyTorch with CUDA and downloads nothing: weights are drawn
# from a seed, since speed doesn't depend on them.
#
#   benchmarks/gpu.sh [--device cuda|cpu] [--quick] [--agiqa FILE] [--python FILE] OUT
#
#   OUT        folder for gpu.json, and what it was made of
#   --agiqa    the program, built for this machine (otherwise bin/agiqa, or it's
#              built where Go is installed)
#   --python   a Python with PyTorch (otherwise training/.venv, or python3)
#   --quick    tiny towers, for seconds: does all of it work?
#
# There's no Triton on such a machine, so "agiqa bench stub-triton" stands in for
# it: it speaks Triton's protocol and makes batches as Triton does, and images go
# to benchmarks/gpu/engine.py, which computes on the GPU. Not measured: Triton
# itself, TensorRT's engines, texts and heads.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source benchmarks/lib.sh

device=cuda quick='' agiqa='' python='' out=''
while (($#)); do
  case $1 in
  --device) device=${2-}; shift ;;
  --agiqa) agiqa=${2-}; shift ;;
  --python) python=${2-}; shift ;;
  --quick) quick=--quick ;;
  -*) echo "gpu.sh: unknown option $1" >&2; exit 2 ;;
  *) out=$1 ;;
  esac
  shift
done
if [[ -z $out || ($device != cuda && $device != cpu) ]]; then
  echo "usage: benchmarks/gpu.sh [--device cuda|cpu] [--quick] [--agiqa FILE] [--python FILE] OUT" >&2
  exit 2
fi
if [[ -z $python ]]; then
  python=python3
  if [[ -x training/.venv/bin/python ]]; then python=training/.venv/bin/python; fi
fi
if ! fault=$("$python" -c "import torch; assert '$device' == 'cpu' or torch.cuda.is_available(), 'no GPU that CUDA can use'" 2>&1); then
  echo "gpu.sh: $python can't compute on $device: ${fault##*$'\n'}" >&2
  exit 1
fi
mkdir -p "$out"
if [[ -z $agiqa ]]; then
  agiqa=bin/agiqa
  if command -v "${GO:-go}" >/dev/null; then
    agiqa=$out/agiqa
    CGO_ENABLED=0 "${GO:-go}" build -trimpath -buildvcs=false -o "$agiqa" ./cmd/agiqa
  fi
fi
if ! version=$("$agiqa" version 2>&1); then
  echo "gpu.sh: $agiqa doesn't run here (${version##*$'\n'}); build it elsewhere (CGO_ENABLED=0 go build -o FILE ./cmd/agiqa) and give --agiqa FILE" >&2
  exit 1
fi

models=(vit-b-16 vit-l-14) seconds=160 each=8s callers=64 sizes=(256 1024)
if [[ -n $quick ]]; then
  models=(tiny-16) seconds=60 each=1s callers=4 sizes=(64)
  export OMP_NUM_THREADS=1 # others may need the machine
fi
begun=$(date -u +%FT%TZ)
rm -rf "$out/parts"
mkdir -p "$out/parts"
echo "$version" >"$out/parts/version.txt"
if command -v nvidia-smi >/dev/null; then
  nvidia-smi --query-gpu=name,driver_version,power.limit,clocks.max.sm,clocks.max.memory --format=csv >"$out/parts/nvidia-smi.txt" || true
fi

status=0
echo "encoders on $device (at most $seconds s) ..." >&2
timeout $((seconds + 40)) "$python" benchmarks/gpu/encoder.py --device "$device" $quick --seconds "$seconds" \
  --out "$out/parts/encoders.json" || { echo "gpu.sh: measuring the encoders ended with status $?" >&2; status=1; }

# through MODEL: a gateway in front of that tower; tensors to the engine alone, then images through the gateway. For a
# subshell, which ends what it started: the gateway, then the engine, which writes its report.
through() {
  model=$1 started=()
  work=$(mktemp -d)
  trap 'for pid in "${started[@]}"; do kill "$pid" 2>/dev/null; wait "$pid" 2>/dev/null; done; rm -rf "$work"' EXIT
  "$agiqa" bench stub-triton --listen 127.0.0.1:0 --model-repository model_repository -- "$python" benchmarks/gpu/engine.py \
    --model "$model" --device "$device" --report "$out/parts/$model-engine.json" >"$work/triton.out" 2>"$work/triton.err" &
  started+=("$!")
  await "$work/triton.out" 'stub Triton at'
  triton=$(sed -n 's/^stub Triton at //p' "$work/triton.out")
  "$agiqa" serve --triton "$triton" --listen 127.0.0.1:0 --data-dir "$work/data" --log-format json --experiment-store none \
    >"$work/gateway.out" 2>"$work/gateway.err" &
  pid=$!
  started=("$pid" "${started[@]}")
  await "$work/gateway.err" '"msg":"ready"'
  url=$(grep -o 'http://[0-9.:]*' "$work/gateway.err" | head -1)
  one() { # NAME COMMAND...: a report, after which the engine must still be there
    name=$1; shift
    timeout 60 "$agiqa" bench "$@" --json >"$out/parts/$model-$name.json" || { cat "$work"/*.err >&2; exit 1; }
  }
  images=(--url "$url" --unique --formats jpeg --pid "$pid")
  one warm http "${images[@]}" --sizes "${sizes[0]}" --closed "$callers" --duration 1s --seed 99
  rm "$out/parts/$model-warm.json"
  one tensors triton --triton "$triton" --model ensemble --closed "$callers" --duration "$each" --seed 1
  one single http "${images[@]}" --sizes "${sizes[0]}" --closed 1 --duration "$each" --seed 2
  for size in "${sizes[@]}"; do
    one "images-$size" http "${images[@]}" --sizes "$size" --closed "$callers" --duration "$each" --seed 3
  done
}
for model in "${models[@]}"; do
  echo "gateway in front of $model on $device ..." >&2
  (through "$model") || { echo "gpu.sh: the gateway in front of $model wasn't measured" >&2; status=1; }
done

"$python" benchmarks/gpu/join.py "$out/parts" --begun "$begun" --callers "$callers" --out "$out/gpu.json"
echo "results: $out/gpu.json"
exit $status
