#!/usr/bin/env bash
# Tries the README's commands on a bare Debian: makes a root with debootstrap,
# an ordinary user in it, and a fresh clone of HEAD in a path with a space and a
# letter beyond ASCII; then make deps as root, and make run and make test as
# that user.
#
#   tools/try-debian.sh [OPTION...] SUITE [COMMAND...]
#
# SUITE             bookworm or trixie
# COMMAND           as for tools/stranger.sh; default: run test
# --ca-bundle FILE  trust this certificate authority too (PEM), for machines
#                   behind a proxy that has its own
# --mirror URL      Debian's archive; default: debootstrap's own
# --keep DIR        use and keep this root; it is made when it is not there
# --log FILE        default try-SUITE.log in the current folder
#
# Needs root, debootstrap and git, on any Linux.
set -euo pipefail

die() {
	printf 'try-debian: %s\n' "$1" >&2
	exit 1
}

mirror='' root='' bundle='' log=''
while [[ ${1-} == --* ]]; do
	(($# > 1)) || die "$1 wants a value"
	case $1 in
	--ca-bundle) bundle=$(realpath -- "$2") ;;
	--mirror) mirror=$2 ;;
	--keep) root=$(realpath -m -- "$2") ;;
	--log) log=$2 ;;
	*) die "unknown option $1" ;;
	esac
	shift 2
done
suite=${1-}
[[ $suite == bookworm || $suite == trixie ]] || die "usage: try-debian.sh [OPTION...] bookworm|trixie [COMMAND...]"
shift
((EUID == 0)) || die "run it as root: debootstrap and chroot need it"
command -v debootstrap >/dev/null || die "debootstrap not found: apt-get install debootstrap"
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
log=$(realpath -m -- "${log:-try-$suite.log}")

keep=$root
if [[ -z $root ]]; then root=$(mktemp -d); fi
# What may be mounted here, innermost first. A root with something mounted in it
# is never removed.
mounts=(dev/shm dev/pts dev proc)
clean() {
	local m
	trap - EXIT
	for m in "${mounts[@]}"; do
		if mountpoint -q "$root/$m"; then umount "$root/$m" || umount -l "$root/$m"; fi
	done
	if [[ -z $keep ]] && ! grep -qF " $root/" /proc/mounts; then rm -rf --one-file-system -- "$root"; fi
}
trap clean EXIT
trap 'exit 130' INT TERM

exec > >(tee "$log") 2>&1
echo "== $suite, commit $(git -C "$top" rev-parse --short HEAD), $(date -u +%F)"
if [[ ! -e $root/etc/debian_version ]]; then
	debootstrap --variant=minbase --include=git,curl,make,ca-certificates "$suite" "$root" ${mirror:+"$mirror"} >/dev/null || die "debootstrap failed"
fi
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for node in null zero full random urandom tty; do
	touch "$root/dev/$node" && mount --bind "/dev/$node" "$root/dev/$node"
	mounts=("dev/$node" "${mounts[@]}")
done
ln -s /proc/self/fd "$root/dev/fd"
mkdir -p "$root/dev/shm" "$root/dev/pts"
mount -t tmpfs -o mode=1777,size=2g tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
# Packages start no services in a chroot.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod +x "$root/usr/sbin/policy-rc.d"

# in_root runs a command as root in the root, with HOME and PATH only.
in_root() { chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin CI=1 "$@"; }

if [[ -n $bundle ]]; then
	# update-ca-certificates takes one certificate from a file.
	awk -v dir="$root/usr/local/share/ca-certificates" \
		'/BEGIN CERTIFICATE/ { n++ } n { print > (dir "/try-" n ".crt") }' "$bundle"
	in_root update-ca-certificates >/dev/null
	printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' >"$root/etc/pip.conf"
	printf 'cafile=/etc/ssl/certs/ca-certificates.crt\n' >"$root/etc/npmrc"
fi
in_root id somebody >/dev/null 2>&1 || in_root useradd --create-home --shell /bin/bash somebody
home=/home/somebody
clone=$home/'agiqa é x'
rm -rf -- "${root:?}$clone"
git clone --quiet --no-hardlinks "$top" "$root$clone"
in_root chown -R somebody: "$clone"

echo "== make deps"
begin=$SECONDS
in_root make -C "$clone" deps
echo "== make deps: $((SECONDS - begin)) s"
chroot "$root" /usr/bin/env -i HOME="$home" PATH=/usr/sbin:/usr/bin:/sbin:/bin \
	setpriv --reuid somebody --regid somebody --init-groups bash "$clone/tools/stranger.sh" "$clone" "$@"
echo "== $suite: all passed"
