package checkpoint

import (
	"fmt"

	"github.com/agiqa/agiqa/quality"
)

// parts is how many embeddings the head reads: the image and the prompts.
const parts = 1 + quality.CategoryCount

// Head is the regression head of a checkpoint: two linear layers with a ReLU
// between them. Its slices are shared and must not be modified.
type Head struct {
	Dim    int // D, length of an embedding
	Hidden int // H, width of the layer between

	W0 []float32 // [H, 7*D]; columns: image, then the categories in order
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
func (h Head) Score(image quality.Embedding, text quality.TextEmbeddings) (quality.HeadScore, error) {
	features := make([]float32, 0, parts*h.Dim)
	for i, e := range append([]quality.Embedding{image}, text[:]...) {
		if len(e) != h.Dim {
			return quality.HeadScore{}, fmt.Errorf("embedding %d of %d has %d numbers, want %d", i+1, parts, len(e), h.Dim)
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
