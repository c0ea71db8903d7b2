package tritontest

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/agiqa/agiqa/quality"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
)

// The names of the encoders on the server.
const (
	ImageEncoder = "clip_image_encoder"
	TextEncoder  = "clip_text_encoder"
)

// model is one entry of the server's repository.
type model struct {
	config *pb.ModelConfig
	state  string // as RepositoryIndex reports it
	reason string
	upload bool // came with a load call, so RepositoryIndex does not list it
	late   bool // was not there at the start
	panel  panelFunc
	stats  pb.InferStatistics
	items  uint64
	runs   uint64
}

const (
	stateReady       = "READY"
	stateUnavailable = "UNAVAILABLE"
)

func (m *model) ready() bool { return m.state == stateReady }

func newModel(cfg *pb.ModelConfig) *model { return &model{config: cfg, state: stateReady} }

// ImageEncoderConfig returns the configuration of the image encoder.
func ImageEncoderConfig(enc quality.Encoder, maxBatch int) *pb.ModelConfig {
	return &pb.ModelConfig{
		Name: ImageEncoder, Backend: "python", MaxBatchSize: int32(maxBatch),
		Input:  []*pb.ModelInput{pixelsInput()},
		Output: []*pb.ModelOutput{fp32Output("image_embedding", enc.Dim)},
		Parameters: parameters(map[string]string{
			"encoder_digest":     enc.Digest.String(),
			"encoder_name":       enc.Name,
			"encoder_precision":  enc.Precision,
			"default_checkpoint": enc.DefaultCheckpoint,
		}),
	}
}

// TextEncoderConfig returns the configuration of the text encoder.
func TextEncoderConfig(enc quality.Encoder, maxBatch int) *pb.ModelConfig {
	l, w := enc.ContextLength, enc.TextWidth
	return &pb.ModelConfig{
		Name: TextEncoder, Backend: "python", MaxBatchSize: int32(maxBatch),
		Input: []*pb.ModelInput{
			modelInput("token_ids", pb.DataType_TYPE_INT32, l),
			modelInput("context", pb.DataType_TYPE_FP32, l, w),
			modelInput("context_mask", pb.DataType_TYPE_UINT8, l),
		},
		Output: []*pb.ModelOutput{fp32Output("text_embedding", enc.Dim)},
		Parameters: parameters(map[string]string{
			"encoder_digest":  enc.Digest.String(),
			"encoder_name":    enc.Name,
			"text_width":      strconv.Itoa(w),
			"context_length":  strconv.Itoa(l),
			"text_capability": enc.TextCapability,
		}),
	}
}

// HeadConfig returns the configuration of a checkpoint's head.
func HeadConfig(enc quality.Encoder, c quality.Checkpoint, maxBatch int) *pb.ModelConfig {
	inputs := []*pb.ModelInput{
		modelInput("image_embedding", pb.DataType_TYPE_FP32, enc.Dim),
		modelInput("text_embeddings", pb.DataType_TYPE_FP32, quality.CategoryCount, enc.Dim),
	}
	if c.Prompt {
		inputs = append(inputs, modelInput("prompt_embedding", pb.DataType_TYPE_FP32, enc.Dim))
	}
	return &pb.ModelConfig{
		Name: c.HeadModel(), Backend: "python", MaxBatchSize: int32(maxBatch),
		Input: inputs,
		Output: []*pb.ModelOutput{
			fp32Output("score", 1), fp32Output("category_similarity", quality.CategoryCount),
		},
		Parameters: checkpointParameters(c),
	}
}

// EnsembleConfig returns the configuration of a checkpoint's ensemble.
func EnsembleConfig(enc quality.Encoder, c quality.Checkpoint, maxBatch int) *pb.ModelConfig {
	return &pb.ModelConfig{
		Name: c.EnsembleModel(), Platform: "ensemble", MaxBatchSize: int32(maxBatch),
		Input: []*pb.ModelInput{
			pixelsInput(),
			modelInput("text_embeddings", pb.DataType_TYPE_FP32, quality.CategoryCount, enc.Dim),
		},
		Output: []*pb.ModelOutput{
			fp32Output("score", 1), fp32Output("category_similarity", quality.CategoryCount),
			fp32Output("image_embedding", enc.Dim),
		},
		SchedulingChoice: &pb.ModelConfig_EnsembleScheduling{EnsembleScheduling: &pb.ModelEnsembling{
			Step: []*pb.ModelEnsembling_Step{
				{
					ModelName: ImageEncoder, ModelVersion: -1,
					InputMap:  same("pixels"),
					OutputMap: same("image_embedding"),
				},
				{
					ModelName: c.HeadModel(), ModelVersion: -1,
					InputMap:  same("image_embedding", "text_embeddings"),
					OutputMap: same("score", "category_similarity"),
				},
			},
		}},
		Parameters: checkpointParameters(c),
	}
}

// PanelConfig returns the configuration of a panel.
func PanelConfig(enc quality.Encoder, p quality.Panel, maxBatch int) *pb.ModelConfig {
	var members []string
	for _, c := range p.Checkpoints {
		members = append(members, c.Digest.String())
	}
	return &pb.ModelConfig{
		Name: p.Model(), Backend: "python", MaxBatchSize: int32(maxBatch),
		Input: []*pb.ModelInput{modelInput("image_embedding", pb.DataType_TYPE_FP32, enc.Dim)},
		Output: []*pb.ModelOutput{
			fp32Output("score", len(members)), fp32Output("category_similarity", len(members), quality.CategoryCount),
		},
		Parameters: parameters(map[string]string{
			"encoder_digest":     p.Encoder.String(),
			"panel_digest":       p.ID.String(),
			"checkpoint_digests": strings.Join(members, ","),
		}),
	}
}

func same(names ...string) map[string]string {
	m := map[string]string{}
	for _, n := range names {
		m[n] = n
	}
	return m
}

func pixelsInput() *pb.ModelInput {
	return modelInput("pixels", pb.DataType_TYPE_UINT8, quality.ImageSize, quality.ImageSize, 3)
}

func modelInput(name string, t pb.DataType, dims ...int) *pb.ModelInput {
	return &pb.ModelInput{Name: name, DataType: t, Dims: int64s(dims)}
}

func fp32Output(name string, dims ...int) *pb.ModelOutput {
	return &pb.ModelOutput{Name: name, DataType: pb.DataType_TYPE_FP32, Dims: int64s(dims)}
}

func int64s(dims []int) []int64 {
	out := make([]int64, len(dims))
	for i, d := range dims {
		out[i] = int64(d)
	}
	return out
}

func checkpointParameters(c quality.Checkpoint) map[string]*pb.ModelParameter {
	return parameters(map[string]string{
		"encoder_digest":    c.Encoder.String(),
		"checkpoint_digest": c.Digest.String(),
	})
}

func parameters(of map[string]string) map[string]*pb.ModelParameter {
	out := map[string]*pb.ModelParameter{}
	for k, v := range of {
		out[k] = &pb.ModelParameter{StringValue: v}
	}
	return out
}

// role is what a model computes, told from its inputs.
type role int

const (
	unknownRole role = iota
	imageRole
	textRole
	headRole
	ensembleRole
	panelRole
)

func roleOf(cfg *pb.ModelConfig) role {
	has := map[string]bool{}
	for _, in := range cfg.GetInput() {
		has[in.GetName()] = true
	}
	switch {
	case has["pixels"] && has["text_embeddings"]:
		return ensembleRole
	case has["pixels"]:
		return imageRole
	case has["token_ids"]:
		return textRole
	case has["image_embedding"] && has["text_embeddings"]:
		return headRole
	case has["image_embedding"]:
		return panelRole
	}
	return unknownRole
}

// datatype is a type's name in requests, which is not that in configurations.
func datatype(t pb.DataType) string {
	switch t {
	case pb.DataType_TYPE_UINT8:
		return "UINT8"
	case pb.DataType_TYPE_INT32:
		return "INT32"
	case pb.DataType_TYPE_FP32:
		return "FP32"
	}
	return fmt.Sprintf("unsupported %v", t)
}

// width is the bytes of one element.
func width(t pb.DataType) int {
	if t == pb.DataType_TYPE_UINT8 {
		return 1
	}
	return 4
}
