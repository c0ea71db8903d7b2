package quality

import (
	"fmt"
	"math"
	"regexp"
)

// Embedding is one L2-normalised vector of a CLIP encoder, of length
// [Encoder].Dim. It is never modified after construction.
type Embedding []float32

// CheckUnit reports whether e has length dim, holds finite numbers only and
// has a norm of 1 within 2e-3 (fp16 encoders stay within 1e-3).
func (e Embedding) CheckUnit(dim int) error {
	if len(e) != dim {
		return fmt.Errorf("embedding has %d numbers, want %d", len(e), dim)
	}
	var sum float64
	for i, v := range e {
		f := float64(v)
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("embedding[%d] is %v", i, v)
		}
		sum += f * f
	}
	if n := math.Sqrt(sum); math.Abs(n-1) > 2e-3 {
		return fmt.Errorf("embedding has norm %.6g, want 1", n)
	}
	return nil
}

// Encoder describes the CLIP image and text encoders that a Triton serves.
type Encoder struct {
	Name          string
	Digest        Digest // of the weights; see encoder.json
	Dim           int    // D, shared by image and text
	TextWidth     int    // W, width of one context vector
	ContextLength int    // tokens in a text, 77 for every CLIP so far

	// Precision is how the image encoder computes, such as "int8". Encoders of
	// one digest and two precisions have the same weights, and embeddings that
	// are close but not equal. "" is full precision where nothing says more.
	Precision string
	// TextCapability is what the text encoder knows: "general" language, or
	// "quality-words" only.
	TextCapability string
	// DefaultCheckpoint is the name of the checkpoint that scores when a
	// request names none and no setting says otherwise; "" for no wish.
	DefaultCheckpoint string
}

// TextGeneral is the capability of a text encoder that knows language at large.
const TextGeneral = "general"

// ImageIdentity returns what embeddings of images depend on besides the image:
// the weights and the precision. Embeddings of two identities are never
// compared, nor found in place of each other.
func (e Encoder) ImageIdentity() Digest {
	if e.Precision == "" {
		return e.Digest
	}
	return NewFieldHash().String("agiqa image encoder").Bytes(e.Digest[:]).String(e.Precision).Sum()
}

// CategoryCount is the number of quality words of a checkpoint.
const CategoryCount = 6

// Categories returns the quality words in the order in which CLIP-AGIQA
// concatenates their text embeddings.
func Categories() [CategoryCount]string {
	return [CategoryCount]string{"terrible", "bad", "poor", "average", "good", "perfect"}
}

// Checkpoint identifies a set of learned prompts and its regression head.
// The same Digest means the same numbers.
type Checkpoint struct {
	Name    string
	Digest  Digest
	Encoder Digest // the encoder that it was trained on
	Task    Task   // what its scores measure
	Score   ScoreRange
	Views   Views // its score of a picture is the mean of its scores of these

	// What its bundle says of its scores besides; nil where it says nothing.
	// Both belong to the bundle and are compared as pointers: compare digests
	// to learn whether two checkpoints are equal.
	Calibration *Calibration
	Reference   *Reference

	// Prompt says that its head also reads the embedding of the prompt that a
	// picture was made from. No ensemble and no panel has such a head.
	Prompt bool

	// HeadOnly says that the servers have its head and no ensemble: the head
	// came with a load call, and Triton builds ensembles from disk alone.
	HeadOnly bool
}

// HasEnsemble reports whether the servers have an ensemble of the checkpoint.
func (c Checkpoint) HasEnsemble() bool { return !c.HeadOnly && !c.Prompt }

// HeadModel returns the name of the checkpoint's head on Triton.
func (c Checkpoint) HeadModel() string { return "prompt_head_" + c.Digest.Short() }

// EnsembleModel returns the name of the checkpoint's ensemble on Triton.
func (c Checkpoint) EnsembleModel() string { return "clip_agiqa_" + c.Digest.Short() }

var checkpointName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// ValidCheckpointName reports whether s may name a checkpoint.
func ValidCheckpointName(s string) bool { return checkpointName.MatchString(s) }

// Prompts are the texts of one checkpoint in the form the text encoder takes:
// N texts of L tokens, with learned vectors of width W in place of some of them.
type Prompts struct {
	TokenIDs    []int32   // [N,L]
	Context     []float32 // [N,L,W]
	ContextMask []uint8   // [N,L]; 1: take Context here, 0: the token's own embedding
	N, L, W     int
}

// Check reports whether the slices have the lengths that N, L and W promise.
func (p Prompts) Check() error {
	switch {
	case p.N <= 0 || p.L <= 0 || p.W <= 0:
		return fmt.Errorf("prompts: N=%d, L=%d, W=%d, each must be positive", p.N, p.L, p.W)
	case len(p.TokenIDs) != p.N*p.L:
		return fmt.Errorf("prompts: %d token ids, want %d", len(p.TokenIDs), p.N*p.L)
	case len(p.ContextMask) != p.N*p.L:
		return fmt.Errorf("prompts: %d mask bytes, want %d", len(p.ContextMask), p.N*p.L)
	case len(p.Context) != p.N*p.L*p.W:
		return fmt.Errorf("prompts: %d context numbers, want %d", len(p.Context), p.N*p.L*p.W)
	}
	return nil
}

// TextEmbeddings are the six prompt embeddings of a checkpoint, in the order
// of [Categories]. They do not depend on any image.
type TextEmbeddings [CategoryCount]Embedding

// HeadScore is the result of one checkpoint for one image.
type HeadScore struct {
	Score      float32                // raw: on the checkpoint's ScoreRange, not cut to it
	Similarity [CategoryCount]float32 // cosine of the image with each prompt; for show, not part of the score
}

// Check reports whether every number is finite.
func (j HeadScore) Check() error {
	if f := float64(j.Score); math.IsNaN(f) || math.IsInf(f, 0) {
		return fmt.Errorf("score is %v", j.Score)
	}
	for i, s := range j.Similarity {
		if f := float64(s); math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("similarity[%d] is %v", i, s)
		}
	}
	return nil
}
