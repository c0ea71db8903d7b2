package checkpoint

import (
	"math/rand/v2"

	"github.com/agiqa/agiqa/quality"
)

// Perturbed returns another sound checkpoint, of the same sizes as b and with
// numbers, digest and scores of its own: every weight of its head is off by a
// random part of at most scale. It has no golden cases. Benchmarks that need
// many checkpoints make them so.
func (b *Bundle) Perturbed(name string, seed uint64, scale float64) (*Bundle, error) {
	out, err := b.WithName(name)
	if err != nil {
		return nil, err
	}
	random := rand.New(rand.NewPCG(seed, 0))
	shaken := func(values []float32) []float32 {
		next := make([]float32, len(values))
		for i, v := range values {
			next[i] = v * float32(1+scale*(2*random.Float64()-1))
		}
		return next
	}
	out.head.W0, out.head.W1 = shaken(b.head.W0), shaken(b.head.W1)
	out.manifest.Golden = []GoldenCase{}
	out.manifest.Digest = quality.Digest{}
	out.manifest.Digest = contentDigest(out.manifest, out.Tensors())
	return out, nil
}
