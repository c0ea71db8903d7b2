#!/usr/bin/env bash
# Makes the Python environment of the embedded Triton, or does nothing when it
# is already there.
#
#   embedded/venv.sh [PYTHON [VENV_DIR [LOCK...]]]
#
# PYTHON    interpreter to build on; empty: the first suitable one of python3,
#           python3.12, python3.11 and python3.10, else Python 3.12 is downloaded
#           with uv
# VENV_DIR  default .venv
# LOCK...   hash-checked lists to install, default requirements.lock beside
#           this script; each is remembered, so asking for fewer later is no
#           change and asking for more only adds
#
# What it installs is exactly what the lists say: no dependency is resolved, no
# archive is built, no file without a listed hash is accepted. pip's own
# settings hold (PIP_INDEX_URL, PIP_FIND_LINKS, PIP_NO_INDEX, proxies). An
# environment that was half made, whose lists changed or whose Python went away
# is made anew. Errors are one line, with the command that fixes them.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${1-}
venv=${2:-.venv}
if (($# > 2)); then locks=("${@:3}"); else locks=("$here/requirements.lock"); fi
stamp=$venv/agiqa.stamp

die() {
	printf 'venv: %s\n' "$1" >&2
	exit 1
}

# wanted prints "digest name" for each list: the stamp's lines.
wanted() {
	local lock
	for lock in "${locks[@]}"; do
		[[ -r $lock ]] || die "list $lock cannot be read; give the path of a requirements*.lock"
		printf '%s %s\n' "$(sha256sum <"$lock" | cut -c1-64)" "${lock##*/}"
	done
}

# missing prints the lists that the environment does not hold, or fails when it
# holds an older form of one, is half made or lost its Python.
missing() {
	local digest name lock
	[[ -f $stamp && -x $venv/bin/python ]] || return 1
	for lock in "${locks[@]}"; do
		read -r digest name < <(grep -F " ${lock##*/}" <<<"$want")
		if grep -qxF "$digest $name" "$stamp"; then continue; fi
		if grep -qE "^[0-9a-f]{64} ${name//./\\.}\$" "$stamp"; then return 1; fi
		printf '%s\n' "$lock"
	done
}

# choose sets python to a suitable interpreter, downloaded if need be.
choose() {
	local prerequisites=$here/../internal/prerequisites/prerequisites.sh why out
	export PYTHON=$python
	if out=$("$prerequisites" python); then
		python=$out
		return
	fi
	why=$out
	[[ -z $python ]] || die "$why"
	out=$("$prerequisites" download-python) || die "$why; no other was downloaded ($out): run make deps, or give another as PYTHON"
	python=$("$prerequisites" python) || die "$python"
}

check_machine() {
	local libc
	[[ $(uname -sm) == "Linux x86_64" ]] ||
		die "the bundled Triton runs on Linux x86_64 only, this is $(uname -sm): use a Triton elsewhere with 'agiqa serve'"
	libc=$(getconf GNU_LIBC_VERSION 2>/dev/null) ||
		die "no glibc found, and the bundled Triton needs 2.35 or newer: use Debian 12, Ubuntu 22.04 or later"
	[[ $(printf '%s\n' 2.35 "${libc#glibc }" | sort -V | head -n1) == 2.35 ]] ||
		die "$libc is too old, the bundled Triton needs 2.35: use Debian 12, Ubuntu 22.04 or later"
}

# create makes an empty environment. It removes only what is an environment or
# empty, so that a mistyped folder costs nothing.
create() {
	if [[ -e $venv && ! -f $venv/pyvenv.cfg && -n $(ls -A "$venv") ]]; then
		die "$venv exists and is no Python environment: remove it or give another folder"
	fi
	rm -rf -- "$venv"
	local out wheel
	if "$python" -c 'import ensurepip' 2>/dev/null; then
		out=$("$python" -m venv -- "$venv" 2>&1) || die "$python -m venv failed (${out##*$'\n'}): run make deps"
		return
	fi
	# Another Python than Debian's own has no ensurepip there; Debian's pip serves it.
	for wheel in "${PREREQUISITES_ROOT-}"/usr/share/python-wheels/pip-*.whl; do
		out=$("$python" -m venv --without-pip -- "$venv" 2>&1 &&
			"$venv/bin/python" "$wheel/pip" install --quiet --no-index --no-deps "$wheel" 2>&1) ||
			die "$python -m venv failed (${out##*$'\n'}): run make deps"
	done
}

install() {
	local lock=$1 out
	echo "venv: installing ${lock##*/} into $venv" >&2
	out=$("$venv/bin/python" -m pip install --quiet --no-input --disable-pip-version-check \
		--no-deps --require-hashes --only-binary :all: -r "$lock" 2>&1) && return
	case $out in
	*"No space left"*) die "disk full while installing ${lock##*/}: free 1 GB and run again" ;;
	*"DO NOT MATCH THE HASHES"*) die "a downloaded file is not the one that ${lock##*/} lists: check PIP_INDEX_URL and PIP_FIND_LINKS, then run again" ;;
	*"CERTIFICATE_VERIFY_FAILED"*) die "the package index's certificate is not trusted: give your certificate authorities as PIP_CERT, and run again" ;;
	*"onnection"* | *"name resolution"* | *"timed out"* | *"Network is unreachable"* | *"ProxyError"* | *"No matching distribution"*)
		die "the package index cannot be reached or lacks a package of ${lock##*/}: set PIP_INDEX_URL or a proxy, or PIP_NO_INDEX=1 PIP_FIND_LINKS=<folder of wheels>, and run again" ;;
	esac
	printf '%s\n' "$out" >&2
	die "pip failed on ${lock##*/}, see above"
}

want=$(wanted)
if todo=$(missing) && [[ -z $todo ]]; then exit 0; fi

# One at a time: the lock is on this script, which is always there.
exec 9<"${BASH_SOURCE[0]}"
flock 9
if ! todo=$(missing); then
	check_machine
	choose
	create
	todo=$(printf '%s\n' "${locks[@]}")
fi
while IFS= read -r lock; do
	[[ -n $lock ]] || continue
	install "$lock"
	grep -F " ${lock##*/}" <<<"$want" >>"$stamp"
done <<<"$todo"
