#!/usr/bin/env bash
# Makes the files of a release of what HEAD holds, in OUT (dist):
#
#   agiqa-VERSION-linux-ARCH.tar.gz   what up and serve need, bills of materials included
#   agiqa-VERSION-linux-ARCH-static   the program alone, for serve
#   agiqa-VERSION-linux-ARCH.cdx.json its bill of materials (CycloneDX)
#   SHA256SUMS
#
#   tools/release/release.sh [OUT [ARCH...]]
#
# ARCH  amd64, arm64; default both
#
# The same commit gives the same bytes, wherever it's built: with the Go release
# that go.mod names, the commit's date on every file, and GNU tar and gzip. Changed
# files are refused. Where HEAD isn't tagged vNUMBER the version ends in -dev+COMMIT.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=$(realpath -m -- "${1:-dist}")
if (($# > 1)); then architectures=("${@:2}"); else architectures=(amd64 arm64); fi
umask 022
export LC_ALL=C TZ=UTC
# Nothing but go.mod decides how it is compiled.
unset GOEXPERIMENT GODEBUG GOFIPS140
export CGO_ENABLED=0 GOOS=linux GOAMD64=v1 GOARM64=v8.0 GOFLAGS=-mod=readonly GOWORK=off
GOTOOLCHAIN=$(sed -n 's/^toolchain //p' go.mod)
export GOTOOLCHAIN

die() {
	printf 'release: %s\n' "$1" >&2
	exit 1
}

stamp=$(internal/version/stamp.sh)
IFS=, read -r commit date state <<<"$stamp"
[[ -n ${commit-} ]] || die "this is no clone of the repository, so the commit isn't known"
[[ $state != modified ]] || die "files have changed since the commit: commit them, or put them aside"
stamped="-X github.com/agiqa/agiqa/internal/version.stamp=$stamp"
host=$(env -u GOOS go env GOHOSTARCH)
version=$(GOARCH=$host go run -trimpath -buildvcs=false -ldflags="$stamped" ./cmd/agiqa version --json |
	sed -n 's/^{"version":"\([^"]*\)".*/\1/p')
[[ -n $version ]] || die "the program doesn't say its version"

# What a release holds beside the program. Only committed files can get in.
contents=(
	LICENSE NOTICE THIRD_PARTY_NOTICES.md CHANGELOG.md SECURITY.md docs examples
	demo/checkpoints model_repository encoders encoder/models.sh
	embedded/venv.sh embedded/requirements.lock internal/prerequisites/prerequisites.sh internal/prerequisites/uv.lock
)
locks=(embedded/requirements.lock encoders/clip-vit-b-16/requirements.lock)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/dist"
for arch in "${architectures[@]}"; do
	name=agiqa-$version-linux-$arch
	stage=$work/$name
	echo "release: $name"
	mkdir -p "$stage"
	git archive HEAD -- "${contents[@]}" | tar -x -C "$stage"
	cp tools/release/README.md tools/release/run.sh "$stage/"
	build=(go build -trimpath -buildvcs=false -ldflags="-s -w $stamped")
	GOARCH=$arch "${build[@]}" -o "$stage/bin/agiqa" ./cmd/agiqa
	cp "$stage/bin/agiqa" "$work/dist/$name-static"
	GOOS='' go run -trimpath -buildvcs=false ./tools/sbom -binary "$stage/bin/agiqa" -version "$version" -date "$date" \
		-out "$work/dist/$name.cdx.json" "${locks[@]}"
	cp "$work/dist/$name.cdx.json" "$stage/sbom.cdx.json"
	chmod -R u=rwX,go=rX "$stage"
	tar --sort=name --format=ustar --owner=0 --group=0 --numeric-owner --mtime="$date" -C "$work" -c "$name" |
		gzip -9 --no-name >"$work/dist/$name.tar.gz"
done
(cd "$work/dist" && sha256sum -- * >"$work/SHA256SUMS" && mv "$work/SHA256SUMS" .)
mkdir -p "$out"
rm -f -- "$out"/agiqa-* "$out/SHA256SUMS"
cp -- "$work/dist/"* "$out/"
echo "release: agiqa $version in $out"
