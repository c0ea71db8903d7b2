package onnxpb_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/agiqa/agiqa/checkpoint/onnxpb"
)

// message joins fields into one message; each is a number and a payload.
func message(fields ...[]byte) []byte {
	var b []byte
	for _, f := range fields {
		b = append(b, f...)
	}
	return b
}

func bytesField(number protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), b)
}

func intField(number protowire.Number, n uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), n)
}

// TestReadSignature reads a file put together from the field numbers of the
// public definition, not by the generated code. It has what ours leaves out,
// too: a doc string, a symbolic dimension, a dimension without anything, and
// an initializer that is listed among the inputs.
func TestReadSignature(t *testing.T) {
	fixed := func(n uint64) []byte { return bytesField(1, intField(1, n)) }
	symbolic := bytesField(1, bytesField(2, []byte("N")))
	empty := bytesField(1, nil)
	value := func(name string, kind uint64, dims ...[]byte) []byte {
		tensor := message(intField(1, kind), bytesField(2, message(dims...)))
		return message(bytesField(1, []byte(name)), bytesField(2, bytesField(1, tensor)), bytesField(3, []byte("doc")))
	}
	graph := message(
		bytesField(2, []byte("g")),
		bytesField(5, message(intField(1, 2), intField(2, 1), bytesField(8, []byte("weight")), bytesField(9, make([]byte, 8)))),
		bytesField(10, []byte("doc")),
		bytesField(11, value("pixels", 2, symbolic, fixed(224), empty)),
		bytesField(11, value("weight", 1, fixed(2))),
		bytesField(12, value("out", 10, symbolic, fixed(512))),
	)
	file := message(
		intField(1, 8), bytesField(2, []byte("someone")),
		bytesField(8, message(bytesField(1, []byte("ai.onnx.ml")), intField(2, 3))),
		bytesField(8, intField(2, 17)),
		bytesField(7, graph),
	)
	got, err := onnxpb.ReadSignature(file)
	if err != nil {
		t.Fatal(err)
	}
	want := onnxpb.Signature{
		IRVersion: 8, Opset: 17,
		Inputs:  []onnxpb.Value{{Name: "pixels", Type: onnxpb.Tensor_UINT8, Shape: []int64{onnxpb.Dynamic, 224, onnxpb.Dynamic}}},
		Outputs: []onnxpb.Value{{Name: "out", Type: onnxpb.Tensor_FLOAT16, Shape: []int64{onnxpb.Dynamic, 512}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ReadSignature: (-want +got)\n%s", diff)
	}
}

func TestReadSignatureRefuses(t *testing.T) {
	noGraph, err := proto.Marshal(&onnxpb.Model{IrVersion: 8})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		file []byte
		want string
	}{
		{"nothing", nil, "holds no graph"},
		{"no graph", noGraph, "holds no graph"},
		{"another format", []byte("PK\x03\x04 a zip archive"), "onnx: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := onnxpb.ReadSignature(tt.file); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ReadSignature: %v, want an error with %q", err, tt.want)
			}
		})
	}
}
