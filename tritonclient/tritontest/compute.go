package tritontest

import (
	"encoding/binary"
	"math"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agiqa/agiqa/quality"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
)

// checkInputs refuses what Triton refuses, and returns the batch size and the
// raw inputs by name.
func checkInputs(cfg *pb.ModelConfig, req *pb.ModelInferRequest) (int, map[string][]byte, error) {
	name := cfg.GetName()
	if len(req.GetInputs()) != len(cfg.GetInput()) {
		return 0, nil, status.Errorf(codes.InvalidArgument, "expected %d inputs but got %d inputs for model '%s'",
			len(cfg.GetInput()), len(req.GetInputs()), name)
	}
	if len(req.GetRawInputContents()) != len(req.GetInputs()) {
		return 0, nil, status.Errorf(codes.InvalidArgument, "expected %d raw inputs for model '%s', got %d",
			len(req.GetInputs()), name, len(req.GetRawInputContents()))
	}
	n := int64(-1)
	raw := map[string][]byte{}
	for i, in := range req.GetInputs() {
		at := slices.IndexFunc(cfg.GetInput(), func(c *pb.ModelInput) bool { return c.GetName() == in.GetName() })
		if at < 0 {
			return 0, nil,
				status.Errorf(codes.InvalidArgument, "unexpected inference input '%s' for model '%s'", in.GetName(), name)
		}
		want := cfg.GetInput()[at]
		if got := in.GetDatatype(); got != datatype(want.GetDataType()) {
			return 0, nil, status.Errorf(codes.InvalidArgument, "inference input '%s' data-type is '%s', but model '%s' "+
				"expects '%s'",
				in.GetName(), got, name, datatype(want.GetDataType()))
		}
		shape := in.GetShape()
		if len(shape) == 0 || shape[0] < 1 || !slices.Equal(shape[1:], want.GetDims()) || n >= 0 && shape[0] != n {
			return 0, nil, status.Errorf(codes.InvalidArgument, "unexpected shape for input '%s' for model '%s'. Expected "+
				"%v, got %v",
				in.GetName(), name, want.GetDims(), shape)
		}
		n = shape[0]
		if n > int64(cfg.GetMaxBatchSize()) {
			return 0, nil, status.Errorf(codes.InvalidArgument, "inference request batch-size must be <= %d for '%s'",
				cfg.GetMaxBatchSize(), name)
		}
		size := width(want.GetDataType())
		for _, d := range shape {
			size *= int(d)
		}
		if got := len(req.GetRawInputContents()[i]); got != size {
			return 0, nil, status.Errorf(codes.InvalidArgument, "input byte size mismatch for input '%s' for model '%s'. "+
				"Expected %d, got %d",
				in.GetName(), name, size, got)
		}
		raw[in.GetName()] = req.GetRawInputContents()[i]
	}
	return int(n), raw, nil
}

// compute answers a checked request.
func compute(enc quality.Encoder, by HeadFunc, panel panelFunc, cfg *pb.ModelConfig, n int,
	raw map[string][]byte) (map[string][]float32, error) {
	switch roleOf(cfg) {
	case panelRole:
		out := map[string][]float32{}
		for _, image := range rows(float32s(raw["image_embedding"]), enc.Dim) {
			scored, err := panel(image)
			if err != nil {
				return nil, status.Errorf(codes.Internal, "model '%s': %v", cfg.GetName(), err)
			}
			for _, j := range scored {
				out["score"] = append(out["score"], j.Score)
				out["category_similarity"] = append(out["category_similarity"], j.Similarity[:]...)
			}
		}
		return out, nil
	case imageRole:
		images, err := encodeImages(enc, raw["pixels"], n)
		return map[string][]float32{"image_embedding": slices.Concat(images...)}, err
	case textRole:
		texts := TextEmbeddings(enc, quality.Prompts{
			TokenIDs: int32s(raw["token_ids"]), Context: float32s(raw["context"]), ContextMask: raw["context_mask"],
			N: n, L: enc.ContextLength, W: enc.TextWidth,
		})
		return map[string][]float32{"text_embedding": flat(texts)}, nil
	case headRole:
		return scoreAll(enc, by, cfg, rows(float32s(raw["image_embedding"]), enc.Dim), float32s(raw["text_embeddings"]),
			rows(float32s(raw["prompt_embedding"]), enc.Dim))
	case ensembleRole:
		images, err := encodeImages(enc, raw["pixels"], n)
		if err != nil {
			return nil, err
		}
		out, err := scoreAll(enc, by, cfg, images, float32s(raw["text_embeddings"]), nil)
		if err != nil {
			return nil, err
		}
		out["image_embedding"] = slices.Concat(images...)
		return out, nil
	}
	return nil, status.Errorf(codes.Internal, "model '%s' is not one that this server can compute", cfg.GetName())
}

func encodeImages(enc quality.Encoder, raw []byte, n int) ([][]float32, error) {
	out := make([][]float32, n)
	for i := range out {
		p, err := quality.NewPixels(raw[i*quality.PixelsLen : (i+1)*quality.PixelsLen])
		if err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
		out[i] = ImageEmbedding(enc, p)
	}
	return out, nil
}

func scoreAll(enc quality.Encoder, by HeadFunc, cfg *pb.ModelConfig, images [][]float32,
	text []float32, prompts [][]float32) (map[string][]float32, error) {
	digest, err := quality.ParseDigest(cfg.GetParameters()["checkpoint_digest"].GetStringValue())
	if err != nil {
		return nil, status.Errorf(codes.Internal, "model '%s': %v", cfg.GetName(), err)
	}
	out := map[string][]float32{}
	texts := rows(text, enc.Dim)
	for i, image := range images {
		var six quality.TextEmbeddings
		for k := range six {
			six[k] = texts[i*quality.CategoryCount+k]
		}
		var prompt quality.Embedding
		if prompts != nil {
			prompt = prompts[i]
		}
		j, err := by(digest, six, image, prompt)
		if err != nil {
			return nil, status.Errorf(codes.Internal, "model '%s': %v", cfg.GetName(), err)
		}
		out["score"] = append(out["score"], j.Score)
		out["category_similarity"] = append(out["category_similarity"], j.Similarity[:]...)
	}
	return out, nil
}

// reply puts the asked outputs, or all, into a response.
func reply(cfg *pb.ModelConfig, req *pb.ModelInferRequest, n int,
	values map[string][]float32) (*pb.ModelInferResponse, error) {
	resp := &pb.ModelInferResponse{ModelName: cfg.GetName(), ModelVersion: "1", Id: req.GetId()}
	asked := map[string]bool{}
	for _, out := range req.GetOutputs() {
		if _, ok := values[out.GetName()]; !ok {
			return nil, status.Errorf(codes.InvalidArgument, "unexpected inference output '%s' for model '%s'",
				out.GetName(), cfg.GetName())
		}
		asked[out.GetName()] = true
	}
	for _, out := range cfg.GetOutput() {
		if len(asked) > 0 && !asked[out.GetName()] {
			continue
		}
		resp.Outputs = append(resp.Outputs, &pb.ModelInferResponse_InferOutputTensor{
			Name: out.GetName(), Datatype: "FP32", Shape: append([]int64{int64(n)}, out.GetDims()...),
		})
		resp.RawOutputContents = append(resp.RawOutputContents, rawFloats(values[out.GetName()]))
	}
	return resp, nil
}

func rows(values []float32, dim int) [][]float32 { return slices.Collect(slices.Chunk(values, dim)) }

func flat(rows []quality.Embedding) []float32 {
	var out []float32
	for _, r := range rows {
		out = append(out, r...)
	}
	return out
}

func int32s(raw []byte) []int32 {
	out := make([]int32, len(raw)/4)
	for i := range out {
		out[i] = int32(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return out
}

func float32s(raw []byte) []float32 {
	out := make([]float32, len(raw)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return out
}

func rawFloats(values []float32) []byte {
	var raw []byte
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	return raw
}
