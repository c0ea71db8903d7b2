#!/bin/sh
# Regenerates the Go code from the .proto files in this folder. Needs protoc
# (Debian: protobuf-compiler) and nothing else: the two plugins are built from
# the versions pinned in tools/gotools.mod.
set -eu
cd "$(dirname "$0")/../.."

plugins=$(mktemp -d)
trap 'rm -rf "$plugins"' EXIT
go build -modfile=tools/gotools.mod -o "$plugins" \
	google.golang.org/protobuf/cmd/protoc-gen-go \
	google.golang.org/grpc/cmd/protoc-gen-go-grpc

PATH="$plugins:$PATH" protoc \
	--go_out=. --go_opt=paths=source_relative \
	--go-grpc_out=. --go-grpc_opt=paths=source_relative \
	tritonclient/inferencepb/model_config.proto \
	tritonclient/inferencepb/service.proto
