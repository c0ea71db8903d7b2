#!/usr/bin/env bash
# Makes Python's *.lock files from the *.in files beside them: for every supported
# Python at once, with the hashes of all files of each version.
#
#   tools/locks/lock.sh [--upgrade]
#
# --upgrade  take the newest versions that the *.in files allow; default: keep
#            what is locked, as far as they allow it
#
# Needs the network, and uv on PATH (pip install uv). Run it after editing a list.
# The default encoder's list is written by hand: its one hash is that of the
# weights, and encoder.json has it too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
upgrade=("$@")

# lock LIST [OPTION...]; uv reads settings of the project it is called in.
lock() {
	echo "locking $1.lock"
	uv pip compile --quiet --no-config --generate-hashes --no-header --no-annotate --no-emit-index-url \
		--no-emit-find-links "${upgrade[@]}" "${@:2}" --output-file "$1.lock" "$1.in"
}

# Dependencies are left out where nothing but the list itself is used.
lock embedded/requirements --universal --python-version 3.10 --no-deps
lock embedded/requirements-test --universal --python-version 3.10
lock tools/generated-clients/requirements --universal --python-version 3.10
lock training/requirements --universal --python-version 3.10
lock benchmarks/peers/requirements --universal --python-version 3.11
lock benchmarks/requirements-pillow --universal --python-version 3.11 --no-deps
lock benchmarks/requirements-pillow12 --universal --python-version 3.11 --no-deps
lock clip/testdata/requirements --python-version 3.11 --no-deps
lock internal/prerequisites/uv --universal --python-version 3.10 --no-deps
