#!/usr/bin/env bash
# Installs the generators of clients into .cache/generated-clients: that of the
# Python client in venv, those of the TypeScript client and the compiler in
# node. Does nothing when they are there.
#
#   tools/generated-clients/install.sh [PYTHON]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
here=tools/generated-clients
into=.cache/generated-clients

embedded/venv.sh "${1-}" "$into/venv" "$here/requirements.lock"

want=$(sha256sum "$here/package-lock.json" "$here/package.json")
[[ -f $into/node/stamp && $(<"$into/node/stamp") == "$want" ]] && exit 0
echo "generated-clients: npm ci in $into/node" >&2
mkdir -p "$into/node"
rm -f "$into/node/stamp"
cp "$here/package.json" "$here/package-lock.json" "$into/node/"
out=$(cd "$into/node" && npm ci --ignore-scripts --no-audit --no-fund 2>&1) || {
	printf '%s\n' "$out" >&2
	echo "npm ci failed, see above: without a network set npm's registry or a proxy, then run again" >&2
	exit 1
}
printf '%s\n' "$want" >"$into/node/stamp"
