#!/usr/bin/env bash
# Runs one benchmark of the project and keeps what it found:
#
#   benchmarks/run.sh NAME      (make bench NAME=...)
#   benchmarks/run.sh           lists the names
#
# Results go to benchmarks/results/NAME/DATE-COMMIT. Git keeps manifest.json
# (machine, commit, versions), summary.txt and results.*; raw records, charts
# and pages stay on the machine that measured.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source benchmarks/lib.sh

names="go                 Go benchmarks of all packages (prints only)
preprocess         preparing images, against Pillow on one core
load-selfcheck     how late the load generator itself is at 10,000 requests/s (1 minute)
end-to-end         images through the gateway against tensors to Triton alone, both encoders (3 minutes)
arms               the same images by 1, 2, 8 and 32 checkpoints
arms-vit-b-16      the same with an encoder of ViT-B/16's size (4 minutes)
views              an image in 1, 2, 4 and 5 views, by the default encoder (1 minute)
gateway-cost       the gateway against one in FastAPI, each on one core, with a stub Triton (20 minutes)
tracing            what tracing every request costs; collector healthy, dead and slow (3 minutes)
batching           batching in the gateway against batching in Triton (3 minutes)
replicas           two and four gateways, two Tritons, one stopped and killed under load, with haproxy (4 minutes)
overload           the knee, then 2, 5 and 10 times that (12 minutes; BENCH_SECONDS=10: 4)
fleet              a simulation: gateways, Tritons and autoscaling in a spike of ten times the load (1 minute)
cache              cache hits; Redis emptied, frozen and killed under load (5 minutes)"

name=${1-}
if [[ -z $name ]]; then
  printf 'usage: make bench NAME=<name>\n\n%s\n' "$names"
  exit
fi
if ! grep -q "^$name " <<<"$names"; then
  printf 'no benchmark %s; the benchmarks are:\n\n%s\n' "$name" "$names" >&2
  exit 2
fi
out=benchmarks/results/$name/$(date -u +%F)-$(git rev-parse --short HEAD)

case $name in
go) CGO_ENABLED=0 exec "${GO:-go}" test -run '^$' -bench . -benchmem ./... ;;
preprocess)
  embedded/venv.sh "${PYTHON-}" .cache/pillow benchmarks/requirements-pillow.lock
  bin/agiqa bench preprocess --against pillow --python .cache/pillow/bin/python --out "$out"
  ;;
load-selfcheck) benchmarks/load/selfcheck.sh "$out" ;;
end-to-end)
  make -s vit-b-16
  VIT=.cache/vit-b-16 benchmarks/serving.sh end-to-end "$out" "${BENCH_SECONDS:-10}"
  ;;
arms) bin/agiqa bench arms --out "$out" ;;
views) bin/agiqa bench views --out "$out" ;;
arms-vit-b-16)
  make -s vit-b-16
  bin/agiqa bench arms --model-repository .cache/vit-b-16/model_repository --checkpoints .cache/vit-b-16/checkpoints \
    --default-checkpoint end-shared --duration 180s --out "$out"
  ;;
gateway-cost)
  embedded/venv.sh "${PYTHON-}" .cache/peer benchmarks/peers/requirements.lock
  benchmarks/peers/gateway-cost.sh "$out"
  ;;
tracing)
  make -s collector
  OUT=$out COLLECTOR=$(echo "$PWD"/.cache/otelcol-"$(sha256sum tools/otelcol/go.sum | cut -c1-16)") benchmarks/tracing.sh
  ;;
fleet) "${GO:-go}" run ./benchmarks/fleet --out "$out" ;;
replicas) benchmarks/serving.sh replicas "$out" "${BENCH_SECONDS:-15}" ;;
overload) benchmarks/serving.sh overload "$out" "${BENCH_SECONDS:-60}" ;;
cache) benchmarks/serving.sh cache "$out" "${BENCH_SECONDS:-8}" ;;
batching) benchmarks/serving.sh batching "$out" "${BENCH_SECONDS:-10}" ;;
esac
keep "$out"
echo "results: $out"
