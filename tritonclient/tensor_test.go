package tritonclient_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// The bytes on the wire, read by hand and not by the fake's own reader.
func TestTensorsOnTheWire(t *testing.T) {
	cp := tritontest.Checkpoint("demo")
	s := tritontest.New(t, tritontest.WithCheckpoints(cp))
	c := newClient(t, nil, s)
	enc := tritontest.Encoder()
	text := tritontest.Texts(enc)
	in := images(2)
	if _, _, err := c.EmbedAndScore(t.Context(), tritontest.Encoder(), cp, text, in); err != nil {
		t.Fatal(err)
	}
	r, _ := s.Last(cp.EnsembleModel())
	wantInput(t, r.Infer, "pixels", "UINT8", []int64{2, 224, 224, 3}, slices.Concat(in[0].Bytes(), in[1].Bytes()))
	six := floats(slices.Concat(text[0], text[1], text[2], text[3], text[4], text[5]))
	wantInput(t, r.Infer, "text_embeddings", "FP32", []int64{2, 6, 8}, slices.Concat(six, six))
	if got := len(r.Infer.GetOutputs()); got != 3 {
		t.Errorf("%d outputs asked for by name, want 3", got)
	}

	prompts := tritontest.Prompts(enc)
	if _, err := c.EncodePrompts(t.Context(), tritontest.Encoder(), prompts); err != nil {
		t.Fatal(err)
	}
	r, _ = s.Last(tritontest.TextEncoder)
	var ids []byte
	for _, id := range prompts.TokenIDs {
		ids = binary.LittleEndian.AppendUint32(ids, uint32(id))
	}
	wantInput(t, r.Infer, "token_ids", "INT32", []int64{6, 77}, ids)
	wantInput(t, r.Infer, "context", "FP32", []int64{6, 77, 4}, floats(prompts.Context))
	wantInput(t, r.Infer, "context_mask", "UINT8", []int64{6, 77}, prompts.ContextMask)

	image := tritontest.ImageEmbedding(enc, in[0])
	if _, err := c.Score(t.Context(), tritontest.Encoder(), cp, text, []quality.Embedding{image}); err != nil {
		t.Fatal(err)
	}
	r, _ = s.Last(cp.HeadModel())
	wantInput(t, r.Infer, "image_embedding", "FP32", []int64{1, 8}, floats(image))
	wantInput(t, r.Infer, "text_embeddings", "FP32", []int64{1, 6, 8}, six)
}

func floats(values []float32) []byte {
	var raw []byte
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	return raw
}

func wantInput(t *testing.T, r *pb.ModelInferRequest, name, datatype string, shape []int64, raw []byte) {
	t.Helper()
	for i, in := range r.GetInputs() {
		if in.GetName() != name {
			continue
		}
		if in.GetDatatype() != datatype || !slices.Equal(in.GetShape(), shape) || in.GetContents() != nil {
			t.Errorf("input %s is %v, want raw %s %v", name, in, datatype, shape)
		}
		if !bytes.Equal(r.GetRawInputContents()[i], raw) {
			t.Errorf("input %s: other bytes than expected", name)
		}
		return
	}
	t.Errorf("no input %s", name)
}

// What cmd passes in, such as a tracing handler, sees every inference, and
// metadata of the caller's context travels although the call outlives it.
func TestDialOptionsAndMetadata(t *testing.T) {
	s := tritontest.New(t)
	methods := make(chan string, 100)
	c := newClient(t, func(cfg *tritonclient.Config) {
		cfg.DialOptions = append(cfg.DialOptions, grpc.WithChainUnaryInterceptor(
			func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, call grpc.UnaryInvoker,
				opts ...grpc.CallOption) error {
				methods <- method
				return call(metadata.AppendToOutgoingContext(ctx, "added", "here"), method, req, reply, cc, opts...)
			}))
	}, s)
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", parent)
	if _, err := c.EncodeImages(ctx, tritontest.Encoder(), images(1)); err != nil {
		t.Fatal(err)
	}
	r, _ := s.Last(tritontest.ImageEncoder)
	if got := r.Metadata.Get("traceparent"); !slices.Equal(got, []string{parent}) {
		t.Errorf("traceparent %q, want %q", got, parent)
	}
	if got := r.Metadata.Get("added"); !slices.Equal(got, []string{"here"}) {
		t.Errorf("metadata of the interceptor: %q", got)
	}
	close(methods)
	var got []string
	for m := range methods {
		got = append(got, m)
	}
	if !slices.Contains(got, pb.GRPCInferenceService_ModelInfer_FullMethodName) {
		t.Errorf("the interceptor saw %v", got)
	}
}
