#!/usr/bin/env bash
# Generates a Python and a TypeScript client from the OpenAPI document that a
# server serves, and runs a program with each against that server. install.sh
# has installed what it takes. A warning of a generator is a failure.
#
#   tools/generated-clients/check.sh URL ADMIN_KEY
#
# The server has the two demo checkpoints and no experiment yet.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
here=$PWD/tools/generated-clients
installed=$PWD/.cache/generated-clients
image=$PWD/examples/harbour.jpg
url=$1 key=$2

[[ -f $installed/venv/agiqa.stamp && -f $installed/node/stamp ]] || {
	echo "the generators are not installed: make generated-clients" >&2
	exit 1
}
unset http_proxy HTTP_PROXY all_proxy ALL_PROXY # the server is near
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

"$installed/venv/bin/python" -m openapi_python_client generate --url "$url/openapi.json" --config "$here/python.yaml" \
	--meta none --output-path agiqa_client --fail-on-warning
PYTHONPATH=$work PYTHONDONTWRITEBYTECODE=1 "$installed/venv/bin/python" -W error "$here/check.py" "$url" "$key" "$image"

cp "$here"/{package.json,tsconfig.json,generate.mjs,check.ts} .
ln -s "$installed/node/node_modules" node_modules
node generate.mjs "$url/openapi.json"
node node_modules/typescript/bin/tsc
node out/check.js "$url" "$key" "$image"
