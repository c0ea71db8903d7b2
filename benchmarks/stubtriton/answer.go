package stubtriton

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
)

// datatypes are the types that the models use: their names in requests, and
// their bytes.
var datatypes = map[pb.DataType]struct {
	name  string
	bytes int
}{
	pb.DataType_TYPE_UINT8: {"UINT8", 1},
	pb.DataType_TYPE_INT32: {"INT32", 4},
	pb.DataType_TYPE_FP32:  {"FP32", 4},
}

// batch is a request's tensors: n rows, raw, by name.
type batch struct {
	n   int
	raw map[string][]byte
}

// row is the bytes of one element of the batch.
func (b batch) row(name string, i int) []byte {
	size := len(b.raw[name]) / b.n
	return b.raw[name][i*size : (i+1)*size]
}

func invalid(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

// readBatch refuses what does not fit the configuration.
func readBatch(cfg *pb.ModelConfig, req *pb.ModelInferRequest) (batch, error) {
	b := batch{raw: map[string][]byte{}}
	if len(req.GetInputs()) != len(cfg.GetInput()) || len(req.GetRawInputContents()) != len(req.GetInputs()) {
		return b, invalid("expected %d raw inputs but got %d for model '%s'", len(cfg.GetInput()),
			len(req.GetRawInputContents()), cfg.GetName())
	}
	for i, in := range req.GetInputs() {
		at := slices.IndexFunc(cfg.GetInput(), func(c *pb.ModelInput) bool { return c.GetName() == in.GetName() })
		if at < 0 || b.raw[in.GetName()] != nil {
			return b, invalid("unexpected inference input '%s' for model '%s'", in.GetName(), cfg.GetName())
		}
		want, shape := cfg.GetInput()[at], in.GetShape()
		kind := datatypes[want.GetDataType()]
		if in.GetDatatype() != kind.name || len(shape) == 0 || !slices.Equal(shape[1:], want.GetDims()) {
			return b, invalid("input '%s' of model '%s' is %s %v, expected %s [-1 %v]", in.GetName(), cfg.GetName(),
				in.GetDatatype(), shape, kind.name, want.GetDims())
		}
		if n := shape[0]; n < 1 || n > int64(cfg.GetMaxBatchSize()) || b.n > 0 && n != int64(b.n) {
			return b, invalid("inference request batch-size must be <= %d for '%s', is %d",
				cfg.GetMaxBatchSize(), cfg.GetName(), n)
		}
		b.n = int(shape[0])
		size := kind.bytes
		for _, d := range shape {
			size *= int(d)
		}
		if got := len(req.GetRawInputContents()[i]); got != size || size == 0 {
			return b, invalid("input byte size mismatch for input '%s' for model '%s'. Expected %d, got %d",
				in.GetName(), cfg.GetName(), size, got)
		}
		b.raw[in.GetName()] = req.GetRawInputContents()[i]
	}
	return b, nil
}

// answer fills the outputs of the configuration, whichever the model has.
// embeddings are those of the images; nil: they are made of hashes.
func answer(cfg *pb.ModelConfig, req *pb.ModelInferRequest, b batch, embeddings []byte) *pb.ModelInferResponse {
	resp := &pb.ModelInferResponse{ModelName: cfg.GetName(), ModelVersion: "1", Id: req.GetId()}
	values := map[string][]byte{}
	for i := range b.n {
		image := b.raw["image_embedding"]
		if image != nil {
			image = b.row("image_embedding", i)
		}
		if b.raw["pixels"] != nil {
			if size := len(embeddings) / b.n; size > 0 {
				image = embeddings[i*size : (i+1)*size]
			} else {
				image = unitVector(hash(b.row("pixels", i)), dim(cfg, "image_embedding"))
			}
			values["image_embedding"] = append(values["image_embedding"], image...)
		}
		if b.raw["token_ids"] != nil {
			values["text_embedding"] = append(values["text_embedding"],
				unitVector(hashText(b, i), dim(cfg, "text_embedding"))...)
		}
		if b.raw["text_embeddings"] != nil {
			score, similarities := scoreOf(image, b.row("text_embeddings", i))
			values["score"] = append(values["score"], score...)
			values["category_similarity"] = append(values["category_similarity"], similarities...)
		}
	}
	for _, out := range cfg.GetOutput() {
		asked := func(o *pb.ModelInferRequest_InferRequestedOutputTensor) bool { return o.GetName() == out.GetName() }
		if len(req.GetOutputs()) > 0 && !slices.ContainsFunc(req.GetOutputs(), asked) {
			continue
		}
		resp.Outputs = append(resp.Outputs, &pb.ModelInferResponse_InferOutputTensor{
			Name: out.GetName(), Datatype: "FP32", Shape: append([]int64{int64(b.n)}, out.GetDims()...),
		})
		resp.RawOutputContents = append(resp.RawOutputContents, values[out.GetName()])
	}
	return resp
}

func dim(cfg *pb.ModelConfig, output string) int {
	for _, out := range cfg.GetOutput() {
		if out.GetName() == output && len(out.GetDims()) == 1 {
			return int(out.GetDims()[0])
		}
	}
	return 0
}

// hash is fast rather than strong: 150,528 bytes a picture.
func hash(b []byte) uint64 {
	half := len(b) / 2
	return uint64(crc32.Checksum(b[:half], castagnoli))<<32 | uint64(crc32.Checksum(b[half:], castagnoli))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// hashText covers what a text encoder looks at: the tokens, the mask, and the
// context vectors where the mask says so.
func hashText(b batch, i int) uint64 {
	mask, context := b.row("context_mask", i), b.row("context", i)
	h := hash(b.row("token_ids", i))
	width := len(context) / len(mask)
	for k, used := range mask {
		if used != 0 {
			h = h*0x9E3779B97F4A7C15 + uint64(k) + hash(context[k*width:(k+1)*width])
		}
	}
	return h
}

// unitVector is a direction drawn by the seed, as little-endian FP32.
func unitVector(seed uint64, dim int) []byte {
	random := rand.New(rand.NewPCG(seed, seed))
	v := make([]float64, dim)
	norm := 0.0
	for i := range v {
		v[i] = random.NormFloat64()
		norm += v[i] * v[i]
	}
	norm = math.Sqrt(norm)
	out := make([]byte, 0, 4*dim)
	for _, x := range v {
		out = appendFloat(out, float32(x/norm))
	}
	return out
}

// scoreOf returns the dot products of an image with the texts, and a score that
// is made of them: 3 and twice their mean.
func scoreOf(image, texts []byte) (score, similarities []byte) {
	sum, count := 0.0, len(texts)/len(image)
	for k := range count {
		dot := 0.0
		for d := 0; d < len(image); d += 4 {
			dot += float64(float(image[d:])) * float64(float(texts[k*len(image)+d:]))
		}
		sum += dot
		similarities = appendFloat(similarities, float32(dot))
	}
	return appendFloat(nil, float32(3+2*sum/float64(count))), similarities
}

func float(b []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b)) }

func appendFloat(b []byte, v float32) []byte {
	return binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
}
