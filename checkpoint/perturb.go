package checkpoint

import (
	"math/rand/v2"

	"github.com/agiqa/agiqa/quality"
)

// Perturbed returns another sound checkpoint, of the same sizes as b and with
// numbers, digest and scores of its own: every weight of its head is off by a
// random part of at most scale. It has no golden cases, intervals or
// evaluations. Benchmarks that need many checkpoints make them so.
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
	return out.renewed(), nil
}

// Rescaled returns another sound checkpoint that says factor*score + offset where
// b says score. Like [Bundle.Perturbed] it has no golden cases, intervals or
// evaluations.
func (b *Bundle) Rescaled(name string, factor, offset float32) (*Bundle, error) {
	out, err := b.WithName(name)
	if err != nil {
		return nil, err
	}
	out.head.W1 = make([]float32, len(b.head.W1))
	for i, w := range b.head.W1 {
		out.head.W1[i] = factor * w
	}
	out.head.B1 = []float32{factor*b.head.B1[0] + offset}
	return out.renewed(), nil
}

// WithViews returns another sound checkpoint, with the head of b and other views.
// Its golden cases are those of b, because a head's score of an embedding does
// not depend on views; it has no intervals or evaluations.
func (b *Bundle) WithViews(name string, views quality.Views) (*Bundle, error) {
	out, err := b.WithName(name)
	if err != nil {
		return nil, err
	}
	out.manifest.Format = FormatV2
	out.manifest.Views, out.manifest.Recipe, out.views = views.Squares(), manifestRecipe(views.Recipe().String()), views
	golden := b.manifest.Golden
	out = out.renewed()
	out.manifest.Golden = golden
	return out, nil
}

// renewed gives changed numbers their digest. Golden cases, intervals and
// evaluations were measured on other scores and don't hold any more.
func (b *Bundle) renewed() *Bundle {
	b.manifest.Golden = []GoldenCase{}
	b.manifest.Interval, b.calibration = nil, nil
	b.manifest.Evaluation = []Evaluation{}
	b.manifest.Digest = quality.Digest{}
	b.manifest.Digest = contentDigest(b.manifest, b.Tensors())
	return b
}
