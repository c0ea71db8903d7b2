package tritonclient_test

import (
	"encoding/binary"
	"errors"
	"math"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// goodReply is two embeddings of three numbers.
func goodReply() *pb.ModelInferResponse {
	var raw []byte
	for _, v := range []float32{1, 0, 0, 0, -0.6, 0.8} {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	return &pb.ModelInferResponse{
		ModelName: "m", ModelVersion: "1",
		Outputs: []*pb.ModelInferResponse_InferOutputTensor{
			{Name: "image_embedding", Datatype: "FP32", Shape: []int64{2, 3}},
		},
		RawOutputContents: [][]byte{raw},
	}
}

func TestReadReply(t *testing.T) {
	got, err := tritonclient.ReadEmbeddings(goodReply(), 2, 3)
	if err != nil {
		t.Fatalf("the good reply: %v", err)
	}
	if got[0][0] != 1 || got[1][1] != -0.6 || got[1][2] != 0.8 {
		t.Errorf("embeddings %v", got)
	}
	for _, lie := range tritontest.Lies() {
		r := goodReply()
		lie.Tell(r)
		if _, err := tritonclient.ReadEmbeddings(r, 2, 3); quality.KindOf(err) != quality.KindModelBadOutput {
			t.Errorf("%s: error %v, want model_bad_output", lie.Name, err)
		}
	}
	for name, r := range map[string]*pb.ModelInferResponse{
		"nil":   nil,
		"empty": {},
		"nil output": {ModelName: "m", Outputs: []*pb.ModelInferResponse_InferOutputTensor{nil},
			RawOutputContents: [][]byte{nil}},
	} {
		if _, err := tritonclient.ReadEmbeddings(r, 2, 3); quality.KindOf(err) != quality.KindModelBadOutput {
			t.Errorf("%s: error %v, want model_bad_output", name, err)
		}
	}
}

// Whatever bytes come, the answer is embeddings that are what was asked for,
// or a model_bad_output whose text is short.
func FuzzReadReply(f *testing.F) {
	add := func(r *pb.ModelInferResponse) {
		b, err := proto.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	add(goodReply())
	for _, lie := range tritontest.Lies() {
		r := goodReply()
		lie.Tell(r)
		add(r)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &pb.ModelInferResponse{}
		if proto.Unmarshal(b, r) != nil {
			return
		}
		got, err := tritonclient.ReadEmbeddings(r, 2, 3)
		if err != nil {
			e, ok := errors.AsType[*quality.Error](err)
			if !ok || e.Kind != quality.KindModelBadOutput || len(e.Detail) > 1000 {
				t.Fatalf("error %v", err)
			}
			return
		}
		if len(got) != 2 {
			t.Fatalf("%d embeddings, want 2", len(got))
		}
		for _, e := range got {
			if err := e.CheckUnit(3); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func BenchmarkEncodeOneImage(b *testing.B) {
	s := tritontest.New(b)
	c, err := tritonclient.New(s.Config())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	in := images(1)
	for b.Loop() {
		if _, err := c.EncodeImages(b.Context(), tritontest.Encoder(), in); err != nil {
			b.Fatal(err)
		}
	}
}
