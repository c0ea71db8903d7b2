#!/usr/bin/env bash
# Pins every image of compose's files and the Dockerfiles to the digest that its
# registry has for the tag now: NAME:TAG becomes NAME:TAG@sha256:DIGEST, and
# older digests are replaced. Then git diff shows what changed.
#
#   deploy/pin-images.sh [--check]
#
# --check  change nothing; fail where a tag has no digest, or another one now
#
# Needs docker with buildx, or crane, and the network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
files=(docker-compose.yml deploy/compose.several.yml deploy/Dockerfile deploy/repository.Dockerfile)

die() {
	printf 'pin-images: %s\n' "$1" >&2
	exit 1
}

# digest prints that of an image, of all its platforms together.
digest() {
	if type -P crane >/dev/null; then
		crane digest "$1"
	elif docker buildx version >/dev/null 2>&1; then
		docker buildx imagetools inspect --format '{{printf "%s" .Manifest.Digest}}' "$1"
	else
		die "neither crane nor docker with buildx is on PATH"
	fi
}

# Not ours, which are built here, nor scratch, which is nothing.
images=$(sed -nE 's/^ *image: ([^ ]+).*/\1/p; s/^FROM ([^ ]+:[^ ]+).*/\1/p' "${files[@]}" | grep -v '^agiqa/' | sort -u)
failed=0
for image in $images; do
	tagged=${image%@*}
	now=$(digest "$tagged") || die "no digest of $tagged, see above"
	[[ $now =~ ^sha256:[0-9a-f]{64}$ ]] || die "the digest of $tagged is '$now'"
	if [[ $image == "$tagged@$now" ]]; then continue; fi
	if [[ ${1-} == --check ]]; then
		printf 'pin-images: %s is now %s\n' "$image" "$now" >&2
		failed=1
		continue
	fi
	sed -i "s#${image//./\\.}\\( \\|\$\\)#$tagged@$now\\1#" "${files[@]}"
	printf '%s@%s\n' "$tagged" "$now"
done
exit $failed
