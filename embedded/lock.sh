#!/usr/bin/env bash
# Makes the *.lock files of this folder and of tools/generated-clients from
# their *.in files: for every supported Python at once, with the hashes of all
# files of each version. Needs the network, and uv on PATH (pip install uv); run
# it after editing a list.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

lock() {
	local name=$1
	shift
	uv pip compile --quiet --universal --generate-hashes --python-version 3.10 --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links "$@" --output-file "$name.lock" "$name.in"
}

lock requirements --no-deps
lock requirements-test
lock ../tools/generated-clients/requirements
