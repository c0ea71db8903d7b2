#!/usr/bin/env bash
# Prints what a build is made from, for the linker: COMMIT,DATE,STATE, or nothing
# where that isn't known.
#
#   go build -ldflags="-X github.com/agiqa/agiqa/internal/version.stamp=$(internal/version/stamp.sh)" ./cmd/agiqa
#
# DATE is the commit's, so that the same commit makes the same binary. STATE is
# release (tagged vNUMBER, files unchanged), modified, or dev.
#
# The go command's own stamp isn't enough: it knows no tag, fails in a clone that
# belongs to another user, and is missing in a Git worktree, in a source archive
# and in a container build. An archive that git archive made has the commit in the
# file archive; BUILD_STAMP passes what this printed into a container build.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."

if [[ -n ${BUILD_STAMP-} ]]; then
	printf '%s\n' "$BUILD_STAMP"
	exit
fi
tag=v$(sed -n 's/^const Number = "\(.*\)"$/\1/p' "$here/version.go")
# Git finds a repository around an unpacked archive, too: that isn't ours.
if top=$(git rev-parse --show-toplevel 2>/dev/null) && [[ $top -ef . ]]; then
	export GIT_OPTIONAL_LOCKS=0
	state=dev
	if [[ -n $(git status --porcelain) ]]; then
		state=modified
	elif git tag --points-at HEAD | grep -qxF -- "$tag"; then
		state=release
	fi
	TZ=UTC git log -1 --format="%H,%cd,$state" --date=format-local:%Y-%m-%dT%H:%M:%SZ
elif IFS=, read -r commit seconds names <"$here/archive" && [[ $commit =~ ^[0-9a-f]{40,}$ ]]; then
	state=dev
	[[ ", $names," != *", tag: $tag,"* ]] || state=release
	printf '%s,%s,%s\n' "$commit" "$(TZ=UTC date -d "@$seconds" +%Y-%m-%dT%H:%M:%SZ)" "$state"
fi
