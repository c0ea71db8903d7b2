package checkpoint

import (
	"errors"
	"fmt"

	"github.com/agiqa/agiqa/quality"
)

// How many embeddings a head reads: the image and the learned prompts, and in a
// prompt-aware checkpoint the picture's prompt and its product with the image,
// number by number.
const (
	parts     = 1 + quality.CategoryCount
	withParts = parts + 2 // of a prompt-aware one
)

// Head is the regression head of a checkpoint: two linear layers with a ReLU
// between them. Its slices are shared and must not be modified.
type Head struct {
	Dim    int // D, length of an embedding
	Hidden int // H, width of the layer between

	// Prompt says that the head reads a picture's prompt too.
	Prompt bool

	// [H, 7*D], with Prompt [H, 9*D]; columns: image, then the categories in
	// order, then prompt, then image*prompt
	W0 []float32
	B0 []float32 // [H]
	W1 []float32 // [1, H]
	B1 []float32 // [1]
}

// Score computes what the head says, in float64 and in the plainest way:
//
//	score = W1 relu(W0 [image, t1..t6] + B0) + B1
//	similarity[i] = image . ti
//
// after CLIP-AGIQA (arXiv 2408.15098, section 3; dropout does nothing at test
// time). It is the reference that the served heads, an ONNX graph and NumPy,
// are measured against; nothing that answers a request calls it. An error
// means that an embedding is not of length Dim.
//
// A head with Prompt takes a picture's prompt in [Head.ScoreWithPrompt].
func (h Head) Score(image quality.Embedding, text quality.TextEmbeddings) (quality.HeadScore, error) {
	if h.Prompt {
		return quality.HeadScore{}, errors.New("the head needs the embedding of a prompt")
	}
	return h.score(text, append([]quality.Embedding{image}, text[:]...)...)
}

// ScoreWithPrompt is [Head.Score] of a head with Prompt:
//
//	score = W1 relu(W0 [image, t1..t6, prompt, image*prompt] + B0) + B1
func (h Head) ScoreWithPrompt(
	image quality.Embedding, text quality.TextEmbeddings, prompt quality.Embedding,
) (quality.HeadScore, error) {
	if !h.Prompt {
		return quality.HeadScore{}, errors.New("the head takes no prompt")
	}
	if len(image) != h.Dim || len(prompt) != h.Dim {
		return quality.HeadScore{}, fmt.Errorf("image and prompt have %d and %d numbers, want %d",
			len(image), len(prompt), h.Dim)
	}
	product := make(quality.Embedding, h.Dim) // not a unit vector
	for i := range product {
		product[i] = image[i] * prompt[i]
	}
	embeddings := append([]quality.Embedding{image}, text[:]...)
	return h.score(text, append(embeddings, prompt, product)...)
}

// parts is how many embeddings the head reads.
func (h Head) parts() int {
	if h.Prompt {
		return withParts
	}
	return parts
}

// score computes the head on embeddings, the first of which is the image's.
func (h Head) score(text quality.TextEmbeddings, embeddings ...quality.Embedding) (quality.HeadScore, error) {
	image := embeddings[0]
	features := make([]float32, 0, len(embeddings)*h.Dim)
	for i, e := range embeddings {
		if len(e) != h.Dim {
			return quality.HeadScore{}, fmt.Errorf("embedding %d of %d has %d numbers, want %d",
				i+1, len(embeddings), len(e), h.Dim)
		}
		features = append(features, e...)
	}
	score := float64(h.B1[0])
	for j := range h.Hidden {
		row := h.W0[j*len(features) : (j+1)*len(features)]
		if a := float64(h.B0[j]) + dot(row, features); a > 0 {
			score += float64(h.W1[j]) * a
		}
	}
	result := quality.HeadScore{Score: float32(score)}
	for i, t := range text {
		result.Similarity[i] = float32(dot(image, t))
	}
	return result, nil
}

func dot(a, b []float32) float64 {
	var sum float64
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}
