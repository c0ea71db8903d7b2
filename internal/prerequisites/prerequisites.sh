#!/usr/bin/env bash
# The one list of what `make build`, `make run` and `make test` need from a
# machine. The Makefile, CI, the README and `agiqa doctor` use it.
#
#   prerequisites.sh check PURPOSE     report everything that is missing; exit 1 if anything is
#   prerequisites.sh packages PURPOSE  print the packages that bring all of it on this distribution
#   prerequisites.sh status            print name, purpose, state and detail of each item, tab-separated
#   prerequisites.sh install           print what it will do, do it, and check again (make deps)
#   prerequisites.sh go                print the go command to use
#   prerequisites.sh python            print a suitable Python interpreter, or why there is none
#   prerequisites.sh download-python   download a suitable Python with uv into .cache/python
#
# PURPOSE is build, run or test: run needs what build needs, and test all.
#
# Environment: GO and PYTHON name commands to use instead of those found.
# PREREQUISITES_ROOT is put before the paths of files (for tests).
#
# Detection uses nothing but the shell, so that it works where nothing is
# installed.
set -euo pipefail

root=${PREREQUISITES_ROOT-}
# agiqa doctor runs this script from standard input, at the top of a checkout.
if [[ -n ${BASH_SOURCE[0]-} ]]; then
	here=$(cd "${BASH_SOURCE[0]%/*}" && pwd -P)
	top=${here%/internal/prerequisites}
else
	here=$PWD/internal/prerequisites
	top=$PWD
fi

# name, the first purpose that needs it, package, description.
prerequisites=(
	"certificates|build|ca-certificates|trusted certificate authorities, for downloads"
	"make|build|make|GNU make"
	"go|build|golang-go|Go 1.26, or a Go from 1.21 on, which downloads 1.26 by itself"
	"python|run|python3|Python 3.10, 3.11 or 3.12, for Triton's Python backend"
	"venv|run|python3-venv|Python's venv and pip"
	"libpython|run|libpython3-dev|the shared library of that Python"
	"git|test|git|Git"
	"gcc|test|gcc|a C compiler, for the race detector"
	"libc|test|libc6-dev|the C library's headers"
	"redis|test|redis-server|Redis"
	"postgresql|test|postgresql|PostgreSQL's server"
	"promtool|test|prometheus|Prometheus' promtool"
	"haproxy|test|haproxy|HAProxy, before several gateways"
	"node|test|nodejs|Node.js 18 or newer, for the generated TypeScript client"
	"npm|test|npm|npm"
	"jemalloc|test|libjemalloc2|jemalloc, which makes Triton's own spans complete"
)

# Where a distribution differs: "ID:VERSION_ID|name|package|apt suite to add".
differences=(
	"debian:12|go|golang-go|bookworm-backports"
	"debian:13|libpython||"
	"ubuntu:22.04|go|golang-1.23-go|"
	"ubuntu:22.04|node||"
)

# The files that a package brings, looked for in every folder for libraries.
declare -A libraries=(
	[jemalloc]=libjemalloc.so.2
)

die() {
	printf 'prerequisites: %s\n' "$1" >&2
	exit 1
}

# distribution prints ID:VERSION_ID of this machine, such as debian:12.
distribution() {
	local key value id='' version=''
	[[ -r $root/etc/os-release ]] || return 0
	while IFS='=' read -r key value; do
		value=${value//[\"\']/}
		case $key in
		ID) id=$value ;;
		VERSION_ID) version=$value ;;
		esac
	done <"$root/etc/os-release"
	printf '%s:%s' "$id" "$version"
}

exists() {
	local path
	for path in "$@"; do [[ ! -e $path ]] || return 0; done
	return 1
}

library() {
	exists "$root"/{usr/,}lib/*-linux-gnu/"$1" "$root"/{usr/,usr/local/,}lib{64,}/"$1"
}

# go_command prints the newest suitable go, or what is wrong with what it found.
# The folders are those of go.dev's archive and of Debian's versioned packages.
go_command() {
	local candidate command version toolchain fallback='' fault="${GO:-go} not found"
	local candidates=(go "$root"/usr/local/go/bin/go "$root"/usr/lib/go-1.{26,27,28,25,24,23,22,21}/bin/go)
	if [[ -n ${GO-} ]]; then candidates=("$GO"); fi
	for candidate in "${candidates[@]}"; do
		command=$(type -P "$candidate") || continue
		{ read -r version && read -r toolchain; } < <(cd / && GOTOOLCHAIN='' "$command" env GOVERSION GOTOOLCHAIN 2>/dev/null) ||
			{ fault="$command does not run"; continue; }
		if [[ ! $version =~ ^go1\.([0-9]+) ]]; then
			fault="$command has no known version"
		elif ((BASH_REMATCH[1] >= 26)); then
			printf '%s\n' "$command"
			return
		elif ((BASH_REMATCH[1] < 21)); then
			fault="$command is $version"
		elif [[ ${GOTOOLCHAIN:-$toolchain} != *auto ]]; then
			fault="$command is $version, and GOTOOLCHAIN=${GOTOOLCHAIN:-$toolchain} keeps it from downloading Go 1.26"
		else
			fallback=${fallback:-$command}
		fi
	done
	printf '%s\n' "${fallback:-$fault}"
	[[ -n $fallback ]]
}

# python_faults prints "name<TAB>what is wrong" for everything that the
# interpreter $1 lacks; nothing when it is suitable.
python_faults() {
	type -P "$1" >/dev/null || {
		printf 'python\t%s not found\n' "$1"
		return
	}
	PREREQUISITES_ROOT=$root "$1" - "$1" 2>/dev/null <<-'PY' || printf 'python\t%s does not run: give another as PYTHON\n' "$1"
		import glob, os, sys, sysconfig
		name, version = sys.argv[1], "%d.%d" % sys.version_info[:2]
		if not (3, 10) <= sys.version_info[:2] <= (3, 12):
		    sys.exit(print("python\t%s is Python %s, and the bundled Triton works with 3.10, 3.11 and 3.12" % (name, version)))
		if sysconfig.get_config_var("Py_GIL_DISABLED"):
		    sys.exit(print("python\t%s is a free-threaded Python, for which Triton has no backend: give another as PYTHON" % name))
		try:
		    import venv
		    try:
		        import ensurepip
		    except ImportError:  # Debian's pip serves every Python 3
		        if not glob.glob(os.environ["PREREQUISITES_ROOT"] + "/usr/share/python-wheels/pip-*.whl"):
		            raise
		except ImportError:
		    print("venv\t%s has no venv module or no pip" % name)
		shared = "libpython%s.so.1.0" % version
		where = [sysconfig.get_config_var("LIBDIR") or "", os.path.join(sys.base_prefix, "lib")]
		if not any(os.path.exists(os.path.join(d, shared)) for d in where):
		    advice = "" if sys.exec_prefix == "/usr" else (
		        " (pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install --force %s)" % version)
		    print("libpython\t%s has no %s, which Triton's Python backend loads%s" % (name, shared, advice))
	PY
}

# find_python sets python to a suitable interpreter or to "", and then faults to
# those of the candidate that comes closest.
find_python() {
	local candidate found
	local candidates=(python3 python3.12 python3.11 python3.10 "$top"/.cache/python/cpython-3.12.*/bin/python3.12)
	# One that make has built on is good enough, however it was chosen.
	if [[ -f $top/.venv/agiqa.stamp ]]; then candidates+=("$top/.venv/bin/python"); fi
	if [[ -n ${PYTHON-} ]]; then candidates=("$PYTHON"); fi
	python='' faults=''
	for candidate in "${candidates[@]}"; do
		found=$(python_faults "$candidate")
		if [[ -z $found ]]; then
			python=$candidate faults=''
			return
		fi
		if [[ -z $faults || $faults == python* && $found != python* ]]; then faults=$found; fi
	done
}

# can_download says whether download_python has what it needs.
can_download() {
	[[ -z ${PYTHON-} ]] || return 1
	type -P uv >/dev/null || { type -P python3 >/dev/null && python3 -c 'import ensurepip, venv' 2>/dev/null; }
}

# download_python gets Python 3.12 with uv: the one on PATH, else one of our own
# from the package index. uv's settings hold (UV_PYTHON_INSTALL_MIRROR, proxies).
download_python() {
	local uv out cache=$top/.cache
	can_download || { echo "neither uv nor a python3 with venv is here" && return 1; }
	if ! uv=$(type -P uv); then
		uv=$cache/uv/bin/uv
		if [[ ! -x $uv ]]; then
			rm -rf -- "$cache/uv"
			out=$(python3 -m venv -- "$cache/uv" 2>&1 &&
				"$cache/uv/bin/python" -m pip install --quiet --no-input --disable-pip-version-check --no-deps \
					--require-hashes --only-binary :all: -r "$here/uv.lock" 2>&1) || {
				rm -rf -- "$cache/uv"
				printf 'installing uv: %s\n' "${out##*$'\n'}"
				return 1
			}
		fi
	fi
	printf 'downloading Python 3.12 with %s into .cache/python\n' "$uv" >&2
	out=$(UV_PYTHON_INSTALL_DIR=$cache/python UV_PYTHON_INSTALL_BIN=0 "$uv" python install --managed-python 3.12 2>&1) || {
		out=${out##*$'\n'}
		printf 'uv: %s\n' "${out#"${out%%[! ]*}"}"
		return 1
	}
	for uv in "$cache"/python/cpython-3.12.*/bin/python3.12; do
		out=$(python_faults "$uv")
		[[ -n $out ]] || return 0
	done
	printf '%s\n' "${out#*$'\t'}"
	return 1
}

# state sets state to ok, missing or download, and detail to what was found.
state() {
	local name=$1 paths
	state=missing detail=''
	case $name in
	python | venv | libpython)
		if [[ -z ${searched-} ]]; then find_python && searched=yes; fi
		local line
		while IFS=$'\t' read -r line detail; do [[ $line != "$name" ]] || return 0; done <<<"$faults"
		state=ok detail=$python
		[[ $faults == python* ]] || return 0
		# There is no suitable Python. Where there is none at all, its parts are
		# missing too; where it is too new, venv serves to install uv.
		detail='comes with Python'
		if ! type -P "${PYTHON:-python3}" >/dev/null; then
			state=missing detail='python3 not found'
		elif [[ $name == venv && -z ${PYTHON-} ]] && ! can_download; then
			state=missing detail='python3 has no venv module or no pip'
		fi
		;;
	go) if detail=$(go_command); then state=ok; fi ;;
	certificates)
		paths=("$root"/etc/ssl/certs/ca-certificates.crt "$root"/etc/pki/tls/certs/ca-bundle.crt "$root"/etc/ssl/cert.pem)
		if [[ -n ${SSL_CERT_FILE-} ]] || exists "${paths[@]}"; then state=ok; else detail="no ${paths[0]}"; fi
		;;
	libc)
		paths=("$root"/usr/include/stdlib.h)
		if exists "${paths[@]}"; then state=ok; else detail="no ${paths[0]}"; fi
		;;
	postgresql)
		if type -P postgres >/dev/null || exists "$root"/usr/lib/postgresql/*/bin/postgres; then state=ok; else detail='postgres not found'; fi
		;;
	redis) command_state redis-server ;;
	haproxy) # Debian keeps it where only root looks
		if type -P haproxy >/dev/null || exists "$root"/usr/sbin/haproxy; then state=ok; else detail='haproxy not found'; fi
		;;
	node)
		command_state node
		if [[ $state == ok ]] && ! node -e 'process.exit(+(process.versions.node.split(".")[0] < 18))' 2>/dev/null; then
			state=missing detail="$detail is older than Node.js 18"
		fi
		;;
	make | git | gcc | promtool | npm) command_state "$name" ;;
	*)
		if library "${libraries[$name]}"; then state=ok; else detail="${libraries[$name]} not found"; fi
		;;
	esac
}

command_state() {
	if detail=$(type -P "$1"); then state=ok; else detail="$1 not found"; fi
}

# survey fills the arrays names, needs, states, details, packages, suites and
# what. A Python that is missing but can be downloaded has the state download.
survey() {
	local row name need package description line id
	names=() needs=() states=() details=() packages=() suites=() what=()
	id=$(distribution)
	for row in "${prerequisites[@]}"; do
		IFS='|' read -r name need package description <<<"$row"
		local suite=''
		for line in "${differences[@]}"; do
			if [[ $line == "$id|$name|"* ]]; then IFS='|' read -r _ _ package suite <<<"$line"; fi
		done
		state "$name"
		if [[ $name == python && $state == missing ]]; then
			if can_download; then state=download; fi
			# Debian's python3 is there but too new: no package of that name helps.
			if type -P python3 >/dev/null; then package=; fi
		fi
		if [[ $state == missing && ( $name == libpython || $name == venv ) && $detail =~ ^python(3\.[0-9]+)\  ]]; then
			package=${package/python3/python${BASH_REMATCH[1]}}
		fi
		names+=("$name") needs+=("$need") states+=("$state") details+=("$detail")
		packages+=("$package") suites+=("$suite") what+=("$description")
	done
}

needed() { # needed NEED PURPOSE
	case $2 in
	build) [[ $1 == build ]] ;;
	run) [[ $1 != test ]] ;;
	test) true ;;
	esac
}

check() {
	local i lines=()
	survey
	for i in "${!names[@]}"; do
		needed "${needs[i]}" "$1" || continue
		[[ ${states[i]} != missing ]] || lines+=("$(printf '  %-14s %s: %s' "${names[i]}" "${what[i]}" "${details[i]}")")
	done
	((${#lines[@]})) || return 0
	{
		printf 'make %s needs what this machine lacks:\n' "$1"
		printf '%s\n' "${lines[@]}"
		echo "To install all of it: make deps"
	} >&2
	return 1
}

status() {
	local i
	survey
	for i in "${!names[@]}"; do
		printf '%s\t%s\t%s\t%s\n' "${names[i]}" "${needs[i]}" "${states[i]}" "${details[i]:-found}"
	done
}

print_packages() {
	local i out=()
	survey
	for i in "${!names[@]}"; do
		if needed "${needs[i]}" "$1" && [[ -n ${packages[i]} ]]; then out+=("${packages[i]}"); fi
	done
	printf '%s\n' "${out[*]}"
}

# step announces a command for root; do_steps runs them.
steps=()
step() { steps+=("$1"); }

do_steps() {
	local s as_root=()
	((${#steps[@]})) || return 0
	if ((EUID != 0)); then
		if ! type -P sudo >/dev/null; then
			echo "Run this as root (there is no sudo here), then go on:"
			printf '  %s\n' "${steps[@]}"
			exit 1
		fi
		as_root=(sudo)
	fi
	echo "These commands run as root:"
	printf '  %s\n' "${steps[@]}"
	confirm
	for s in "${steps[@]}"; do
		"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive bash -euc "$s" || die "failed: $s"
	done
	steps=()
}

# confirm asks before the first change, where somebody is there to answer.
confirm() {
	local answer
	if [[ -n ${CI-} || ! -t 0 || -n ${confirmed-} ]]; then return 0; fi
	read -r -p "Go on? [Y/n] " answer || answer=n
	[[ -z $answer || $answer == [Yy]* ]] || die "nothing was changed"
	confirmed=yes
}

# archive prints the Debian archive that this machine uses.
archive() {
	local uri suite
	while read -r uri suite; do
		[[ $suite == *-security ]] || break
		uri=''
	done < <(apt-get indextargets --format '$(REPO_URI) $(SUITE)' 'Created-By: Packages' 'Origin: Debian')
	[[ -n $uri ]] || die "apt knows no Debian archive: run apt-get update, and see /etc/apt/sources.list"
	printf '%s\n' "${uri%/}"
}

add_suite() { # add_suite SUITE: an apt source of backports, which are installed only where -t asks for them
	local file=$root/etc/apt/sources.list.d/agiqa-$1.list uri line
	[[ ! -e $file ]] || return 0
	uri=$(archive)
	line="deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $1 main"
	step "echo '$line' > $file"
}

install() {
	local i plain=() suite
	declare -A from=()
	survey
	for i in "${!names[@]}"; do
		[[ ${states[i]} == missing && -n ${packages[i]} ]] || continue
		if [[ -n ${suites[i]} ]]; then from[${suites[i]}]+=" ${packages[i]}"; else plain+=("${packages[i]}"); fi
	done
	if ((${#plain[@]} + ${#from[@]})); then
		type -P apt-get >/dev/null || {
			check test || true
			die "this machine has no apt: install the above with its own package manager (Go: https://go.dev/doc/install)"
		}
		for suite in "${!from[@]}"; do add_suite "$suite"; done
		step "apt-get update"
		if ((${#plain[@]})); then step "apt-get install --yes --no-install-recommends ${plain[*]}"; fi
		for suite in "${!from[@]}"; do step "apt-get install --yes --no-install-recommends -t $suite${from[$suite]}"; done
	fi
	do_steps
	searched=''
	install_python
	searched=''
	check test || die "still missing, see above (Go: https://go.dev/doc/install; Python: give one as PYTHON)"
	echo "Everything that make run and make test need is here."
}

# install_python gets a Python where the distribution has no suitable one: with
# uv, and on Debian 13, where that fails, Debian 12's beside the system's own.
install_python() {
	local out owner
	find_python
	if [[ -n $python || $faults != python* ]]; then return; fi
	printf '%s.\n' "${faults#*$'\t'}"
	echo "Python 3.12 is downloaded with uv into .cache/python; the system's own Python stays as it is."
	if [[ $(distribution) == debian:13 ]]; then
		echo "Should that fail, Debian 12's python3.11 is installed beside it, with apt."
	fi
	confirm
	# Files of a checkout belong to its owner, whoever installs packages.
	owner=$(stat -c %U "$top")
	if ((EUID == 0)) && [[ $owner != root && $owner != UNKNOWN ]]; then
		out=$(runuser -u "$owner" -- "$BASH" "$here/prerequisites.sh" download-python) && return
	else
		out=$(download_python) && return
	fi
	printf 'Python 3.12 was not downloaded (%s).\n' "$out"
	[[ $(distribution) == debian:13 ]] || die "install Python 3.10, 3.11 or 3.12 with its shared library and venv, and give it as PYTHON"
	debian_12_python
}

# debian_12_python installs Debian 12's python3.11 on Debian 13, which has its
# libraries too. Nothing else of Debian 12 is installable: the pin forbids it.
debian_12_python() {
	local key=/usr/share/keyrings/debian-archive-keyring.gpg archive
	archive=$(archive)
	step "printf '%s\\n' 'deb [signed-by=$key] $archive bookworm main' 'deb [signed-by=$key] $archive-security bookworm-security main' > $root/etc/apt/sources.list.d/agiqa-python3.11.list"
	step "printf '%s\\n' 'Package: *' 'Pin: release n=bookworm*' 'Pin-Priority: -1' '' 'Package: python3.11* libpython3.11*' 'Pin: release n=bookworm*' 'Pin-Priority: 500' > $root/etc/apt/preferences.d/agiqa-python3.11"
	step "apt-get update"
	step "apt-get install --yes --no-install-recommends python3.11 libpython3.11 python3-pip-whl"
	do_steps
}

case "${1-} ${2-}" in
"check build" | "check run" | "check test") check "$2" ;;
"status ") status ;;
"packages build" | "packages run" | "packages test") print_packages "$2" ;;
"install ") install ;;
"go ") go_command ;;
"python ")
	find_python
	[[ -n $python ]] || { printf '%s\n' "${faults#*$'\t'}" && exit 1; }
	printf '%s\n' "$python"
	;;
"download-python ") download_python ;;
*) die "usage: prerequisites.sh check|packages build|run|test, status, install, go, python or download-python" ;;
esac
