// Package onnxpb holds the part of the ONNX model format that the project
// writes and checks: a wire-compatible definition of its own and the code
// generated from it.
//
// It refuses to run, optimise or validate graphs; that is onnxruntime's work.
// Package checkpoint builds the head's graph with it, package encoder the image
// encoder's, and the model repository's test compares configurations with the
// files they describe.
//
// The generated code is committed. To make it anew, with protoc on the path:
//
//	go generate ./checkpoint/onnxpb
package onnxpb

//go:generate go build -C ../../tools -o ../bin/protoc-gen-go google.golang.org/protobuf/cmd/protoc-gen-go
//go:generate protoc --plugin=protoc-gen-go=../../bin/protoc-gen-go -I../.. --go_out=../.. --go_opt=paths=source_relative checkpoint/onnxpb/onnx.proto
