// Package contracttest holds any Triton to what the gateway needs of it, on the
// wire: what it tells of itself and its models, inference, model control and its
// key, and errors for requests that make no sense. It asks whichever server an
// address names, with the project's models loaded:
//
//	make test-triton ADDRESS=127.0.0.1:8001 CONTROL_KEY_FILE=...
//
// Without an address its tests run it against servers that they start.
package contracttest

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/checkpointtest"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
)

// Target is a Triton and how to reach it.
type Target struct {
	Address    string // host:port or unix:///PATH
	TLS        *tls.Config
	ControlKey string // of --grpc-restricted-protocol; empty: only a Unix socket may do without
}

// keyHeader is Triton's name for the header of a key that is called control-key.
const keyHeader = "triton-grpc-protocol-control-key"

// patience is for one call; a model may take as long to load.
const patience = time.Minute

// Run runs the contract. It loads a head, and unloads it.
func Run(t *testing.T, target Target) {
	transport := insecure.NewCredentials()
	if target.TLS != nil {
		transport = credentials.NewTLS(target.TLS)
	}
	address := target.Address
	if !strings.HasPrefix(address, "unix:") {
		address = "dns:///" + address
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(transport))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := contract{
		Target: target, conn: conn, triton: pb.NewGRPCInferenceServiceClient(conn), encoder: encoderOf(t, target),
	}
	for _, part := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"describes itself", c.describesItself},
		{"describes its models", c.describesModels},
		{"embeds images", c.embedsImages},
		{"embeds prompts", c.embedsPrompts},
		{"control needs the key", c.controlNeedsKey},
		{"loads and unloads a head", c.loadsHead},
		{"refuses nonsense", c.refusesNonsense},
	} {
		t.Run(part.name, part.run)
	}
}

// encoderOf is what the gateway's own client understands of the target.
func encoderOf(t *testing.T, target Target) quality.Encoder {
	t.Helper()
	cfg := tritonclient.DefaultConfig()
	cfg.Addresses, cfg.TLS, cfg.ControlKey = []string{target.Address}, target.TLS, target.ControlKey
	client, err := tritonclient.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	encoder, err := client.Describe(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", target.Address, err)
	}
	return encoder
}

type contract struct {
	Target
	conn    *grpc.ClientConn
	triton  pb.GRPCInferenceServiceClient
	encoder quality.Encoder
}

// call is the context of a call with the key.
func (c contract) call(t *testing.T) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	if c.ControlKey != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, keyHeader, c.ControlKey)
	}
	return ctx, cancel
}

func (c contract) describesItself(t *testing.T) {
	ctx, cancel := c.call(t)
	defer cancel()
	if live, err := c.triton.ServerLive(ctx, &pb.ServerLiveRequest{}); err != nil || !live.GetLive() {
		t.Errorf("ServerLive: %v, %v", live, err)
	}
	if ready, err := c.triton.ServerReady(ctx, &pb.ServerReadyRequest{}); err != nil || !ready.GetReady() {
		t.Errorf("ServerReady: %v, %v", ready, err)
	}
	m, err := c.triton.ServerMetadata(ctx, &pb.ServerMetadataRequest{})
	if err != nil || m.GetName() == "" || m.GetVersion() == "" {
		t.Fatalf("ServerMetadata: %v, %v", m, err)
	}
	t.Logf("%s %s at %s", m.GetName(), m.GetVersion(), c.Address)
	for _, extension := range []string{"model_repository", "model_configuration", "statistics"} {
		if !slices.Contains(m.GetExtensions(), extension) {
			t.Errorf("extensions %q lack %s", m.GetExtensions(), extension)
		}
	}
}

const (
	imageEncoder = "clip_image_encoder"
	textEncoder  = "clip_text_encoder"
)

func (c contract) describesModels(t *testing.T) {
	ctx, cancel := c.call(t)
	defer cancel()
	for name, tensors := range map[string][]string{
		imageEncoder: {"pixels", "image_embedding"},
		textEncoder:  {"token_ids", "context", "context_mask", "text_embedding"},
	} {
		if ready, err := c.triton.ModelReady(ctx, &pb.ModelReadyRequest{Name: name}); err != nil || !ready.GetReady() {
			t.Errorf("ModelReady of %s: %v, %v", name, ready, err)
		}
		cfg := c.config(t, name)
		if digest := cfg.GetParameters()["encoder_digest"].GetStringValue(); digest != c.encoder.Digest.String() {
			t.Errorf("%s has the encoder_digest %q, want %s", name, digest, c.encoder.Digest)
		}
		policy := cfg.GetDynamicBatching().GetDefaultQueuePolicy()
		if policy.GetDefaultTimeoutMicroseconds() == 0 || !policy.GetAllowTimeoutOverride() {
			t.Errorf("%s: dynamic_batching.default_queue_policy needs default_timeout_microseconds and "+
				"allow_timeout_override; without both Triton ignores the time that a request has left", name)
		}
		m, err := c.triton.ModelMetadata(ctx, &pb.ModelMetadataRequest{Name: name})
		if err != nil {
			t.Errorf("ModelMetadata of %s: %v", name, err)
			continue
		}
		var got []string
		for _, tensor := range slices.Concat(m.GetInputs(), m.GetOutputs()) {
			got = append(got, tensor.GetName())
		}
		if !slices.Equal(got, tensors) {
			t.Errorf("%s has the tensors %q, want %q", name, got, tensors)
		}
		stats, err := c.triton.ModelStatistics(ctx, &pb.ModelStatisticsRequest{Name: name})
		if err != nil || len(stats.GetModelStats()) != 1 {
			t.Errorf("ModelStatistics of %s: %v, %v", name, stats, err)
		}
	}
}

func (c contract) config(t *testing.T, model string) *pb.ModelConfig {
	t.Helper()
	ctx, cancel := c.call(t)
	defer cancel()
	cfg, err := c.triton.ModelConfig(ctx, &pb.ModelConfigRequest{Name: model})
	if err != nil {
		t.Fatalf("ModelConfig of %s: %v", model, err)
	}
	return cfg.GetConfig()
}

func (c contract) embedsImages(t *testing.T) {
	gray := make([]byte, quality.PixelsLen)
	for i := range gray {
		gray[i] = 128
	}
	black := make([]byte, quality.PixelsLen)
	got := c.embed(t, pixels(gray, black))
	if slices.Equal(got[:c.encoder.Dim], got[c.encoder.Dim:]) {
		t.Error("two images have one embedding")
	}
}

func (c contract) embedsPrompts(t *testing.T) {
	prompts := c.draft().Prompts(t)
	n, l, w := int64(prompts.N), int64(prompts.L), int64(prompts.W)
	c.embed(t, &pb.ModelInferRequest{
		ModelName: textEncoder,
		Inputs: []*pb.ModelInferRequest_InferInputTensor{
			{Name: "token_ids", Datatype: "INT32", Shape: []int64{n, l}},
			{Name: "context", Datatype: "FP32", Shape: []int64{n, l, w}},
			{Name: "context_mask", Datatype: "UINT8", Shape: []int64{n, l}},
		},
		RawInputContents: [][]byte{raw(prompts.TokenIDs), raw(prompts.Context), prompts.ContextMask},
	})
}

// draft is a checkpoint with random numbers for the encoder of the target.
func (c contract) draft() *checkpointtest.Draft {
	return checkpointtest.New(c.encoder, "contract", 4711)
}

// pixels asks the image encoder about images.
func pixels(images ...[]byte) *pb.ModelInferRequest {
	shape := []int64{int64(len(images)), quality.ImageSize, quality.ImageSize, 3}
	return &pb.ModelInferRequest{
		ModelName:        imageEncoder,
		Inputs:           []*pb.ModelInferRequest_InferInputTensor{{Name: "pixels", Datatype: "UINT8", Shape: shape}},
		RawInputContents: [][]byte{slices.Concat(images...)},
	}
}

// embed returns the embeddings that an encoder answers with, which must be unit
// vectors, one for each row of its first input.
func (c contract) embed(t *testing.T, req *pb.ModelInferRequest) []float32 {
	t.Helper()
	rows := int(req.GetInputs()[0].GetShape()[0])
	all := c.infer(t, req)
	got := all[0]
	if len(all) != 1 || len(got) != rows*c.encoder.Dim {
		t.Fatalf("%d outputs, the first with %d numbers; want one with %d", len(all), len(got), rows*c.encoder.Dim)
	}
	for i := range rows {
		if err := quality.Embedding(got[i*c.encoder.Dim : (i+1)*c.encoder.Dim]).CheckUnit(c.encoder.Dim); err != nil {
			t.Errorf("row %d: %v", i, err)
		}
	}
	return got
}

// infer returns the outputs, all of FP32.
func (c contract) infer(t *testing.T, req *pb.ModelInferRequest) [][]float32 {
	t.Helper()
	ctx, cancel := c.call(t)
	defer cancel()
	answer, err := c.triton.ModelInfer(ctx, req)
	if err != nil {
		t.Fatalf("ModelInfer of %s: %v", req.GetModelName(), err)
	}
	outputs := make([][]float32, len(answer.GetOutputs()))
	for i, out := range answer.GetOutputs() {
		content := answer.GetRawOutputContents()[i]
		outputs[i] = make([]float32, len(content)/4)
		if _, err := binary.Decode(content, binary.LittleEndian, outputs[i]); err != nil || out.GetDatatype() != "FP32" {
			t.Fatalf("output %s of type %s: %v", out.GetName(), out.GetDatatype(), err)
		}
	}
	if len(outputs) == 0 {
		t.Fatalf("ModelInfer of %s: no output", req.GetModelName())
	}
	return outputs
}

func raw[T int32 | float32](numbers []T) []byte {
	b, err := binary.Append(nil, binary.LittleEndian, numbers)
	if err != nil {
		panic(err) // numbers have a size
	}
	return b
}

// controlNeedsKey: whoever may load models runs code, and with shared memory or
// the settings of traces and logs writes files.
func (c contract) controlNeedsKey(t *testing.T) {
	if c.ControlKey == "" {
		if !strings.HasPrefix(c.Address, "unix:") {
			t.Error("no key is given: whoever reaches this address could run code there. Start Triton with " +
				"--grpc-restricted-protocol=model-repository,shared-memory,trace,logging:control-key=KEY")
		}
		return
	}
	for _, key := range []string{"", c.ControlKey + "x", c.ControlKey[:len(c.ControlKey)-1]} {
		for _, method := range []string{
			"RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload", "SystemSharedMemoryStatus",
			"SystemSharedMemoryRegister", "CudaSharedMemoryRegister", "TraceSetting", "LogSettings",
		} {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if key != "" {
				ctx = metadata.AppendToOutgoingContext(ctx, keyHeader, key)
			}
			err := c.conn.Invoke(ctx, "/inference.GRPCInferenceService/"+method, &emptypb.Empty{}, &emptypb.Empty{})
			if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), keyHeader) {
				t.Errorf("%s without the right key: %v", method, err)
			}
		}
	}
	ctx, cancel := c.call(t)
	defer cancel()
	_, err := c.triton.RepositoryIndex(ctx, &pb.RepositoryIndexRequest{})
	switch {
	case err != nil && strings.Contains(err.Error(), keyHeader):
		t.Errorf("the server has another key than the one that is given: %v", err)
	case err != nil:
		t.Errorf("RepositoryIndex with the key: %v", err)
	}
}

// loadsHead sends a head with the load call, lets it score, compares with the
// arithmetic, and takes it away again.
func (c contract) loadsHead(t *testing.T) {
	d := int64(c.encoder.Dim)
	var text quality.TextEmbeddings
	var texts []float32
	for k := range text {
		text[k] = make(quality.Embedding, d)
		text[k][k] = 1
		texts = append(texts, text[k]...)
	}
	bundle := c.draft().AddGolden(t, 1, text).Bundle(t)
	head := bundle.Checkpoint().HeadModel()
	model, err := checkpoint.NewHeadModel(bundle, c.variant(t))
	if err != nil {
		t.Fatal(err)
	}
	upload, err := tritonclient.NewUpload(model.Config, model.Files)
	if err != nil {
		t.Fatal(err)
	}
	load := &pb.RepositoryModelLoadRequest{ModelName: head, Parameters: map[string]*pb.ModelRepositoryParameter{
		"config": {ParameterChoice: &pb.ModelRepositoryParameter_StringParam{StringParam: string(upload.Config)}},
	}}
	for path, content := range upload.Files {
		load.Parameters["file:"+path] = &pb.ModelRepositoryParameter{
			ParameterChoice: &pb.ModelRepositoryParameter_BytesParam{BytesParam: content},
		}
	}
	ctx, cancel := c.call(t)
	defer cancel()
	if _, err := c.triton.RepositoryModelLoad(ctx, load); err != nil {
		t.Fatalf("RepositoryModelLoad: %v", err)
	}
	defer c.unload(t, head)
	if ready, err := c.triton.ModelReady(ctx, &pb.ModelReadyRequest{Name: head}); err != nil || !ready.GetReady() {
		t.Fatalf("ModelReady of %s: %v, %v", head, ready, err)
	}
	image := c.embed(t, pixels(make([]byte, quality.PixelsLen)))
	want, err := bundle.Head().Score(image, text)
	if err != nil {
		t.Fatal(err)
	}
	got := c.infer(t, &pb.ModelInferRequest{
		ModelName: head,
		Inputs: []*pb.ModelInferRequest_InferInputTensor{
			{Name: "image_embedding", Datatype: "FP32", Shape: []int64{1, d}},
			{Name: "text_embeddings", Datatype: "FP32", Shape: []int64{1, quality.CategoryCount, d}},
		},
		Outputs:          []*pb.ModelInferRequest_InferRequestedOutputTensor{{Name: "score"}},
		RawInputContents: [][]byte{raw(image), raw(texts)},
	})
	const tolerance = 1e-3 // a GPU may compute in TF32
	if len(got[0]) != 1 || math.Abs(float64(got[0][0]-want.Score)) > tolerance*max(1, math.Abs(float64(want.Score))) {
		t.Errorf("score %v, want %v", got[0], want.Score)
	}
}

func (c contract) unload(t *testing.T, model string) {
	ctx, cancel := c.call(t)
	defer cancel()
	req := &pb.RepositoryModelUnloadRequest{ModelName: model}
	if _, err := c.triton.RepositoryModelUnload(ctx, req); err != nil {
		t.Errorf("RepositoryModelUnload: %v", err)
		return
	}
	if ready, err := c.triton.ModelReady(ctx, &pb.ModelReadyRequest{Name: model}); err == nil && ready.GetReady() {
		t.Errorf("%s is ready after it was unloaded", model)
	}
}

// variant is the configuration that the server's models have.
func (c contract) variant(t *testing.T) checkpoint.Variant {
	t.Helper()
	cfg := c.config(t, imageEncoder)
	switch {
	case cfg.GetBackend() == "python":
		return checkpoint.Embedded
	case slices.ContainsFunc(cfg.GetInstanceGroup(), func(g *pb.ModelInstanceGroup) bool {
		return g.GetKind() == pb.ModelInstanceGroup_KIND_GPU
	}):
		return checkpoint.GPU
	}
	return checkpoint.CPU
}

// refusesNonsense: each gets an error in time, and none harms the server.
func (c contract) refusesNonsense(t *testing.T) {
	black := make([]byte, quality.PixelsLen)
	before := c.embed(t, pixels(black))
	input := func(req *pb.ModelInferRequest) *pb.ModelInferRequest_InferInputTensor { return req.GetInputs()[0] }
	for name, spoil := range map[string]func(*pb.ModelInferRequest){
		"no model":          func(r *pb.ModelInferRequest) { r.ModelName = "" },
		"unknown model":     func(r *pb.ModelInferRequest) { r.ModelName = "nobody_loaded_this" },
		"unknown version":   func(r *pb.ModelInferRequest) { r.ModelVersion = "77" },
		"no version":        func(r *pb.ModelInferRequest) { r.ModelVersion = "x" },
		"no input":          func(r *pb.ModelInferRequest) { r.Inputs, r.RawInputContents = nil, nil },
		"no content":        func(r *pb.ModelInferRequest) { r.RawInputContents = nil },
		"a byte too few":    func(r *pb.ModelInferRequest) { r.RawInputContents[0] = black[1:] },
		"a byte too many":   func(r *pb.ModelInferRequest) { r.RawInputContents[0] = append(slices.Clone(black), 0) },
		"unknown input":     func(r *pb.ModelInferRequest) { input(r).Name = "pictures" },
		"input twice":       func(r *pb.ModelInferRequest) { r.Inputs = append(r.Inputs, r.Inputs[0]) },
		"another type":      func(r *pb.ModelInferRequest) { input(r).Datatype = "INT8" },
		"no type":           func(r *pb.ModelInferRequest) { input(r).Datatype = "PIXELS" },
		"strings":           func(r *pb.ModelInferRequest) { input(r).Datatype = "BYTES" },
		"no shape":          func(r *pb.ModelInferRequest) { input(r).Shape = nil },
		"another shape":     func(r *pb.ModelInferRequest) { input(r).Shape = []int64{1, 3, 224, 224} },
		"a negative shape":  func(r *pb.ModelInferRequest) { input(r).Shape[0] = -1 },
		"an empty batch":    func(r *pb.ModelInferRequest) { input(r).Shape[0] = 0; r.RawInputContents[0] = nil },
		"too large a batch": func(r *pb.ModelInferRequest) { input(r).Shape[0] = 1 << 40 },
		"an overflow":       func(r *pb.ModelInferRequest) { input(r).Shape = []int64{1 << 32, 1 << 32, 1 << 32, 3} },
		"unknown output": func(r *pb.ModelInferRequest) {
			r.Outputs = append(r.Outputs, &pb.ModelInferRequest_InferRequestedOutputTensor{Name: "x"})
		},
		"memory of a sharer": func(r *pb.ModelInferRequest) {
			input(r).Parameters = sharedMemory()
			r.RawInputContents = nil
		},
	} {
		req := pixels(black)
		spoil(req)
		ctx, cancel := c.call(t)
		_, err := c.triton.ModelInfer(ctx, req)
		cancel()
		c.wantRefusal(t, name, err)
	}
	const python, nobody = `{"backend":"python"}`, `{"backend":"nobody_wrote_this"}`
	for name, req := range map[string]*pb.RepositoryModelLoadRequest{
		"a model that isn't there": {ModelName: "nobody_wrote_this"},
		"a path":                   {ModelName: "../contract", Parameters: loadParameters(python, "1/model.py")},
		"a file outside":           {ModelName: "contract", Parameters: loadParameters(python, "../../model.py")},
		"no configuration":         {ModelName: "contract", Parameters: loadParameters(`{`, "1/model.py")},
		"no backend":               {ModelName: "contract", Parameters: loadParameters(nobody, "1/model.py")},
	} {
		ctx, cancel := c.call(t)
		_, err := c.triton.RepositoryModelLoad(ctx, req)
		cancel()
		c.wantRefusal(t, "load of "+name, err)
	}
	if after := c.embed(t, pixels(black)); !slices.Equal(before, after) {
		t.Error("the same image has another embedding after the nonsense")
	}
}

// wantRefusal fails unless the server itself said no.
func (c contract) wantRefusal(t *testing.T, what string, err error) {
	t.Helper()
	switch code := status.Code(err); code {
	case codes.OK, codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unauthenticated:
		t.Errorf("%s: %v", what, err)
	}
	ctx, cancel := c.call(t)
	defer cancel()
	if _, err := c.triton.ServerLive(ctx, &pb.ServerLiveRequest{}); err != nil {
		t.Fatalf("after %s the server doesn't answer: %v", what, err)
	}
}

func sharedMemory() map[string]*pb.InferParameter {
	return map[string]*pb.InferParameter{
		"shared_memory_region":    {ParameterChoice: &pb.InferParameter_Int64Param{Int64Param: 1}},
		"shared_memory_byte_size": {ParameterChoice: &pb.InferParameter_Int64Param{Int64Param: quality.PixelsLen}},
	}
}

func loadParameters(config, path string) map[string]*pb.ModelRepositoryParameter {
	return map[string]*pb.ModelRepositoryParameter{
		"config":       {ParameterChoice: &pb.ModelRepositoryParameter_StringParam{StringParam: config}},
		"file:" + path: {ParameterChoice: &pb.ModelRepositoryParameter_BytesParam{BytesParam: []byte("pass")}},
	}
}
