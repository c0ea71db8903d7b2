package tritonclient

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"google.golang.org/grpc"

	"github.com/agiqa/agiqa/quality"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
	"github.com/agiqa/agiqa/tritonclient/replicas"
)

// The tensors of the models.
const (
	tensorPixels          = "pixels"              // UINT8 [N,224,224,3]
	tensorImageEmbedding  = "image_embedding"     // FP32 [N,D]
	tensorTokenIDs        = "token_ids"           // INT32 [N,L]
	tensorContext         = "context"             // FP32 [N,L,W]
	tensorContextMask     = "context_mask"        // UINT8 [N,L]
	tensorTextEmbedding   = "text_embedding"      // FP32 [N,D]
	tensorTextEmbeddings  = "text_embeddings"     // FP32 [N,6,D]
	tensorPromptEmbedding = "prompt_embedding"    // FP32 [N,D], of heads that read prompts
	tensorScore           = "score"               // FP32 [N,1]
	tensorSimilarity      = "category_similarity" // FP32 [N,6]
)

// The facts that a config.pbtxt states in its parameters.
const (
	paramEncoderDigest    = "encoder_digest"     // every model
	paramEncoderName      = "encoder_name"       // encoders
	paramTextWidth        = "text_width"         // text encoder
	paramContextLength    = "context_length"     // text encoder
	paramPrecision        = "encoder_precision"  // image encoder, optional
	paramDefault          = "default_checkpoint" // image encoder, optional
	paramTextCapability   = "text_capability"    // text encoder, optional
	paramCheckpointDigest = "checkpoint_digest"  // heads and ensembles
	paramPanelDigest      = "panel_digest"       // panels
)

// tensor is a declared input or output, batch dimension included as -1.
type tensor struct {
	name, datatype string
	shape          []int64
}

// Describe reads configuration and metadata of both encoders and returns what
// they say of themselves. Models whose tensors are not those of the protocol
// above, or that were not exported together, are a model_bad_output that
// names model, tensor, got and want.
//
// Calls that compute are told for which encoder: a server that holds another
// one gets none of them.
func (c *Client) Describe(ctx context.Context) (quality.Encoder, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.StatusTimeout)
	defer cancel()
	return c.describe(ctx, c.pool.Pick(ctx))
}

// Encoders asks every replica which encoder it holds: one for each that answers
// as Describe would. The error is nil if all did.
func (c *Client) Encoders(ctx context.Context) ([]quality.Encoder, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.StatusTimeout)
	defer cancel()
	var mu sync.Mutex
	var all []quality.Encoder
	err := c.pool.Each(ctx, func(ctx context.Context, r *replicas.Replica) error {
		// What calls choose by is known anew as well.
		if _, err := r.Identity(ctx, c.cfg.Models.ImageEncoder); err != nil {
			return r.Failure(ctx, c.cfg.Models.ImageEncoder, err)
		}
		enc, err := c.describe(ctx, r)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, enc)
		return nil
	})
	return all, err
}

func (c *Client) describe(ctx context.Context, r *replicas.Replica) (quality.Encoder, error) {
	image, text := c.cfg.Models.ImageEncoder, c.cfg.Models.TextEncoder
	imageConfig, err := c.modelConfig(ctx, r, image)
	if err != nil {
		return quality.Encoder{}, err
	}
	textConfig, err := c.modelConfig(ctx, r, text)
	if err != nil {
		return quality.Encoder{}, err
	}
	enc, err := readEncoder(imageConfig, textConfig, image, text)
	if err != nil {
		return quality.Encoder{}, err
	}
	d, l, w := int64(enc.Dim), int64(enc.ContextLength), int64(enc.TextWidth)
	err = c.checkTensors(ctx, r, image,
		[]tensor{pixelsTensor()},
		[]tensor{{tensorImageEmbedding, typeFP32, []int64{-1, d}}})
	if err != nil {
		return quality.Encoder{}, err
	}
	err = c.checkTensors(ctx, r, text,
		[]tensor{
			{tensorTokenIDs, typeInt32, []int64{-1, l}},
			{tensorContext, typeFP32, []int64{-1, l, w}},
			{tensorContextMask, typeUint8, []int64{-1, l}},
		},
		[]tensor{{tensorTextEmbedding, typeFP32, []int64{-1, d}}})
	if err != nil {
		return quality.Encoder{}, err
	}
	return enc, nil
}

// CheckCheckpoint reports whether head and ensemble of a checkpoint are loaded
// and are what enc and cp say: same tensors, same checkpoint, same encoder. A
// checkpoint without an ensemble has none to look at. Other digests are an
// encoder_mismatch or a model_bad_output, a model that is not there a
// model_unavailable; the error names it. One replica where they are is enough:
// others may hold another encoder.
func (c *Client) CheckCheckpoint(ctx context.Context, enc quality.Encoder, cp quality.Checkpoint) error {
	return c.any(ctx, func(ctx context.Context, r *replicas.Replica) error {
		return c.checkCheckpoint(ctx, r, enc, cp)
	})
}

func (c *Client) checkCheckpoint(
	ctx context.Context, r *replicas.Replica, enc quality.Encoder, cp quality.Checkpoint,
) error {
	d := int64(enc.Dim)
	imageEmbedding := tensor{tensorImageEmbedding, typeFP32, []int64{-1, d}}
	texts := tensor{tensorTextEmbeddings, typeFP32, []int64{-1, quality.CategoryCount, d}}
	result := []tensor{
		{tensorScore, typeFP32, []int64{-1, 1}},
		{tensorSimilarity, typeFP32, []int64{-1, quality.CategoryCount}},
	}
	headInputs := []tensor{imageEmbedding, texts}
	if cp.Prompt {
		headInputs = append(headInputs, tensor{tensorPromptEmbedding, typeFP32, []int64{-1, d}})
	}
	for _, m := range []struct {
		name    string
		in, out []tensor
	}{
		{cp.HeadModel(), headInputs, result},
		{cp.EnsembleModel(), []tensor{pixelsTensor(), texts}, append(slices.Clip(result), imageEmbedding)},
	} {
		if m.name == cp.EnsembleModel() && !cp.HasEnsemble() {
			continue
		}
		if err := c.checkDigests(ctx, r, m.name, enc, paramCheckpointDigest, cp.Digest); err != nil {
			return err
		}
		if err := c.checkTensors(ctx, r, m.name, m.in, m.out); err != nil {
			return err
		}
	}
	return nil
}

func pixelsTensor() tensor {
	return tensor{tensorPixels, typeUint8, []int64{-1, quality.ImageSize, quality.ImageSize, 3}}
}

// checkDigests compares what a model's configuration says of the encoder and,
// under the parameter name, of its content.
func (c *Client) checkDigests(
	ctx context.Context, r *replicas.Replica, model string, enc quality.Encoder, name string, want quality.Digest,
) error {
	cfg, err := c.modelConfig(ctx, r, model)
	if err != nil {
		return err
	}
	encoder, err := digestParameter(cfg, model, paramEncoderDigest)
	if err != nil {
		return err
	}
	if encoder != enc.Digest {
		return quality.Errorf(quality.KindEncoderMismatch, "model %s is of encoder %s, the server has %s",
			model, encoder.Short(), enc.Digest.Short())
	}
	got, err := digestParameter(cfg, model, name)
	if err != nil {
		return err
	}
	if got != want {
		return badOutput(model, "parameter %s is %s, want %s", name, got, want)
	}
	return nil
}

// imageHolding is what a server must hold that embeds images for enc. Servers of
// one digest and two precisions compute numbers that are close but not equal.
func (c *Client) imageHolding(enc quality.Encoder) replicas.Holding {
	return replicas.Holding{Model: c.cfg.Models.ImageEncoder, Identity: encoderText(enc.Digest, enc.Precision)}
}

// textHolding is what a server must hold that embeds texts for enc.
func (c *Client) textHolding(enc quality.Encoder) replicas.Holding {
	return replicas.Holding{Model: c.cfg.Models.TextEncoder, Identity: encoderText(enc.Digest, "")}
}

// identify asks which encoder a server holds by the name of a model.
func (c *Client) identify(ctx context.Context, conn grpc.ClientConnInterface, model string) (string, error) {
	cfg, err := c.askConfig(ctx, pb.NewGRPCInferenceServiceClient(conn), model)
	if err != nil {
		return "", err // as it is: the caller may send to another replica
	}
	return c.identityOf(cfg, model)
}

// identityOf returns which encoder a configuration of an encoder is of, "" for that
// of another model.
func (c *Client) identityOf(cfg *pb.ModelConfig, model string) (string, error) {
	if model != c.cfg.Models.ImageEncoder && model != c.cfg.Models.TextEncoder {
		return "", nil
	}
	digest, err := digestParameter(cfg, model, paramEncoderDigest)
	if err != nil {
		return "", err
	}
	precision := ""
	if model == c.cfg.Models.ImageEncoder {
		if precision, err = optionalWord(cfg, model, paramPrecision); err != nil {
			return "", err
		}
	}
	return encoderText(digest, precision), nil
}

// encoderText names an encoder in full.
func encoderText(d quality.Digest, precision string) string {
	if precision == "" {
		return d.String()
	}
	return d.String() + " (" + precision + ")"
}

// readEncoder joins what the two encoders' configurations say.
func readEncoder(image, text *pb.ModelConfig, imageName, textName string) (quality.Encoder, error) {
	var enc quality.Encoder
	var err error
	if enc.Digest, err = digestParameter(image, imageName, paramEncoderDigest); err != nil {
		return enc, err
	}
	textDigest, err := digestParameter(text, textName, paramEncoderDigest)
	if err != nil {
		return enc, err
	}
	if textDigest != enc.Digest {
		return enc, badOutput(textName, "parameter %s is %s, want %s as in %s: the two were not exported together",
			paramEncoderDigest, textDigest, enc.Digest, imageName)
	}
	if enc.Name, err = parameter(image, imageName, paramEncoderName); err != nil {
		return enc, err
	}
	if enc.TextWidth, err = sizeParameter(text, textName, paramTextWidth); err != nil {
		return enc, err
	}
	if enc.ContextLength, err = sizeParameter(text, textName, paramContextLength); err != nil {
		return enc, err
	}
	if enc.Precision, err = optionalWord(image, imageName, paramPrecision); err != nil {
		return enc, err
	}
	if enc.DefaultCheckpoint, err = optionalWord(image, imageName, paramDefault); err != nil {
		return enc, err
	}
	if enc.TextCapability, err = optionalWord(text, textName, paramTextCapability); err != nil {
		return enc, err
	}
	enc.TextCapability = cmp.Or(enc.TextCapability, quality.TextGeneral)
	enc.Dim, err = embeddingDim(image, imageName)
	return enc, err
}

// maxDim bounds every size a model may declare. The largest CLIP has 1,280.
const maxDim = 1 << 14

func embeddingDim(cfg *pb.ModelConfig, model string) (int, error) {
	for _, out := range cfg.GetOutput() {
		if out.GetName() != tensorImageEmbedding {
			continue
		}
		if dims := out.GetDims(); len(dims) == 1 && dims[0] > 0 && dims[0] <= maxDim {
			return int(dims[0]), nil
		}
		return 0, badOutput(model, "output %s has dims %s, want one positive number up to %d",
			tensorImageEmbedding, shapeText(out.GetDims()), maxDim)
	}
	return 0, badOutput(model, "no output %s", tensorImageEmbedding)
}

func parameter(cfg *pb.ModelConfig, model, name string) (string, error) {
	v := cfg.GetParameters()[name].GetStringValue()
	if v == "" {
		return "", badOutput(model, "config.pbtxt has no parameter %s", name)
	}
	return v, nil
}

// optionalWord is a parameter that may be left out and otherwise is a word like
// the name of a checkpoint.
func optionalWord(cfg *pb.ModelConfig, model, name string) (string, error) {
	v := cfg.GetParameters()[name].GetStringValue()
	if v != "" && !quality.ValidCheckpointName(v) {
		return "", badOutput(model, "parameter %s is %.80q, want letters, digits, '.', '_' and '-'", name, v)
	}
	return v, nil
}

func digestParameter(cfg *pb.ModelConfig, model, name string) (quality.Digest, error) {
	v, err := parameter(cfg, model, name)
	if err != nil {
		return quality.Digest{}, err
	}
	d, err := quality.ParseDigest(v)
	if err != nil {
		return d, badOutput(model, "parameter %s: %v", name, err)
	}
	return d, nil
}

func sizeParameter(cfg *pb.ModelConfig, model, name string) (int, error) {
	v, err := parameter(cfg, model, name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > maxDim {
		return 0, badOutput(model, "parameter %s is %.32q, want a number from 1 to %d", name, v, maxDim)
	}
	return n, nil
}

// checkTensors compares the metadata of a model with what it should have.
func (c *Client) checkTensors(ctx context.Context, r *replicas.Replica, model string, in, out []tensor) error {
	meta, err := rpc(r).ModelMetadata(ctx, &pb.ModelMetadataRequest{Name: model})
	if err != nil {
		return r.Failure(ctx, model, err)
	}
	if err := matchTensors(model, "input", meta.GetInputs(), in); err != nil {
		return err
	}
	return matchTensors(model, "output", meta.GetOutputs(), out)
}

func matchTensors(model, what string, got []*pb.ModelMetadataResponse_TensorMetadata, want []tensor) error {
	if len(got) != len(want) {
		return badOutput(model, "%d %s tensors, want %d", len(got), what, len(want))
	}
	for _, w := range want {
		at := slices.IndexFunc(got, func(t *pb.ModelMetadataResponse_TensorMetadata) bool {
			return t.GetName() == w.name
		})
		if at < 0 {
			return badOutput(model, "no %s %s", what, w.name)
		}
		g := got[at]
		if g.GetDatatype() != w.datatype || !slices.Equal(g.GetShape(), w.shape) {
			return badOutput(model, "%s %s is %.16s %s, want %s %v",
				what, w.name, g.GetDatatype(), shapeText(g.GetShape()), w.datatype, w.shape)
		}
	}
	return nil
}

// modelConfig asks r for a model's configuration and remembers its batch size.
func (c *Client) modelConfig(ctx context.Context, r *replicas.Replica, model string) (*pb.ModelConfig, error) {
	cfg, err := c.askConfig(ctx, rpc(r), model)
	if err != nil {
		return nil, r.Failure(ctx, model, err)
	}
	return cfg, nil
}

// askConfig is modelConfig with the call's own error.
func (c *Client) askConfig(
	ctx context.Context, server pb.GRPCInferenceServiceClient, model string,
) (*pb.ModelConfig, error) {
	resp, err := server.ModelConfig(ctx, &pb.ModelConfigRequest{Name: model})
	if err != nil {
		return nil, err
	}
	size := resp.GetConfig().GetMaxBatchSize()
	if size < 1 {
		return nil, badOutput(model, "max_batch_size is %d, want at least 1", size)
	}
	if identity, err := c.identityOf(resp.GetConfig(), model); err == nil {
		c.batch.set(replicas.Holding{Model: model, Identity: identity}, int(size))
	}
	return resp.GetConfig(), nil
}

// shapeText prints a shape that came over the wire, up to a bound.
func shapeText(shape []int64) string {
	const most = 8
	if len(shape) > most {
		return fmt.Sprintf("%v... (%d dimensions)", shape[:most], len(shape))
	}
	return fmt.Sprint(shape)
}

// badOutput is a reply that must not be believed.
func badOutput(model, format string, args ...any) error {
	return quality.Errorf(quality.KindModelBadOutput, "model %s: %s", model, fmt.Sprintf(format, args...))
}
