#!/usr/bin/env bash
# Runs agiqa with the bundled Triton on this machine, Linux on x86-64: makes the
# Python environment it needs beside this file and downloads the default encoder,
# both once, and starts the server. Arguments are those of agiqa up.
#
# PYTHON names another interpreter; pip's own settings hold.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
"$here/embedded/venv.sh" "${PYTHON-}" "$here/.venv"
"$here/encoder/models.sh" optional
exec "$here/bin/agiqa" up "$@"
