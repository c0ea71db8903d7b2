// Package checkpointtest makes checkpoint bundles for tests: sound ones of any
// encoder, with random numbers, and through their parts spoilt ones. Nothing in
// it is trained, so scores mean nothing; they are only always the same.
package checkpointtest

import (
	"encoding/json"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/safetensors"
	"github.com/agiqa/agiqa/clip"
	"github.com/agiqa/agiqa/quality"
)

// Sizes of a draft.
const (
	hidden        = 6
	contextLength = 2
)

// Draft is a bundle to be, which a test may spoil before it is written.
type Draft struct {
	Manifest checkpoint.Manifest
	Tensors  map[string]safetensors.Tensor
	random   *rand.Rand
}

// New returns a sound draft without golden cases. Equal arguments give equal
// drafts.
func New(enc quality.Encoder, name string, seed uint64) *Draft {
	categories := quality.Categories()
	d := &Draft{random: rand.New(rand.NewPCG(seed, 7)), Tensors: map[string]safetensors.Tensor{}}
	d.Manifest = checkpoint.Manifest{
		Format: checkpoint.Format, Name: name, Categories: categories[:],
		ClassTokenPosition: clip.End, ContextLength: contextLength, ClassSpecific: false,
		Score:    checkpoint.ManifestScore{Min: 0, Max: 5, Unit: "MOS"},
		Encoder:  checkpoint.ManifestEncoder{Name: enc.Name, Digest: enc.Digest},
		Training: json.RawMessage(`{"data":"none"}`), Metrics: json.RawMessage(`{}`), Licence: "Apache-2.0",
		Golden: []checkpoint.GoldenCase{},
	}
	width := (1 + quality.CategoryCount) * enc.Dim
	d.add("context", 0.3, contextLength, enc.TextWidth)
	d.add("head.0.weight", 1, hidden, width)
	d.add("head.0.bias", 0.5, hidden)
	d.add("head.1.weight", 1, 1, hidden)
	d.add("head.1.bias", 1, 1)
	return d
}

func (d *Draft) add(name string, scale float64, shape ...int) {
	n := 1
	for _, s := range shape {
		n *= s
	}
	t := safetensors.Tensor{Name: name, Shape: shape, Data: make([]float32, n)}
	for i := range t.Data {
		t.Data[i] = float32(scale * d.random.NormFloat64())
	}
	d.Tensors[name] = t
}

// one is read once for all tests of a package: under the race detector that
// takes a large part of a second.
var one = sync.OnceValues(clip.New)

// Tokenizer returns a tokenizer that tests share.
func Tokenizer(t testing.TB) *clip.Tokenizer {
	t.Helper()
	tokenizer, err := one()
	if err != nil {
		t.Fatal(err)
	}
	return tokenizer
}

// Prompts returns the prompts of the draft, for a text encoder.
func (d *Draft) Prompts(t testing.TB) quality.Prompts {
	t.Helper()
	context := d.Tensors["context"]
	prompts, err := clip.Assemble(Tokenizer(t), clip.PromptSpec{
		Categories: d.Manifest.Categories, Position: d.Manifest.ClassTokenPosition,
		ContextLength: d.Manifest.ContextLength, ClassSpecific: d.Manifest.ClassSpecific,
		W: context.Shape[len(context.Shape)-1], Context: context.Data,
	})
	if err != nil {
		t.Fatal(err)
	}
	return prompts
}

// AddGolden adds n golden cases, given what the text encoder makes of
// [Draft.Prompts].
func (d *Draft) AddGolden(t testing.TB, n int, text quality.TextEmbeddings) *Draft {
	t.Helper()
	w0 := d.Tensors["head.0.weight"]
	head := checkpoint.Head{
		Dim: w0.Shape[1] / (1 + quality.CategoryCount), Hidden: w0.Shape[0],
		W0: w0.Data, B0: d.Tensors["head.0.bias"].Data, W1: d.Tensors["head.1.weight"].Data,
		B1: d.Tensors["head.1.bias"].Data,
	}
	for range n {
		image := d.unit(head.Dim)
		scored, err := head.Score(image, text)
		if err != nil {
			t.Fatal(err)
		}
		d.Manifest.Golden = append(d.Manifest.Golden,
			checkpoint.GoldenCase{ImageEmbedding: image, Score: float64(scored.Score)})
	}
	return d
}

func (d *Draft) unit(dim int) quality.Embedding {
	e := make(quality.Embedding, dim)
	var sum float64
	for i := range e {
		v := d.random.NormFloat64()
		e[i], sum = float32(v), sum+v*v
	}
	for i := range e {
		e[i] /= float32(math.Sqrt(sum))
	}
	return e
}

// Files writes the draft out. The digest is right unless the test set one.
func (d *Draft) Files(t testing.TB) (manifest, weights []byte) {
	t.Helper()
	m := d.Manifest
	if m.Digest.IsZero() {
		m.Digest = d.digest()
	}
	manifest, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if weights, err = safetensors.Encode(slices.Collect(maps.Values(d.Tensors))); err != nil {
		t.Fatal(err)
	}
	return manifest, weights
}

// Bundle reads back what [Draft.Files] wrote.
func (d *Draft) Bundle(t testing.TB) *checkpoint.Bundle {
	t.Helper()
	manifest, weights := d.Files(t)
	b, err := checkpoint.Decode(manifest, weights, checkpoint.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// digest follows the definition in docs/decisions/0008-checkpoint-bundles.md.
func (d *Draft) digest() quality.Digest {
	m := d.Manifest
	specific := map[bool]string{false: "0", true: "1"}[m.ClassSpecific]
	h := quality.NewFieldHash().String(m.Format).String(m.Encoder.Digest.String()).
		String(string(m.ClassTokenPosition)).String(strconv.Itoa(m.ContextLength)).String(specific).
		String(strconv.Itoa(len(m.Categories)))
	for _, c := range m.Categories {
		h.String(c)
	}
	for _, name := range slices.Sorted(maps.Keys(d.Tensors)) {
		t := d.Tensors[name]
		h.String(name).String(safetensors.F32).String(safetensors.JoinInts(t.Shape)).Bytes(t.Bytes())
	}
	return h.Sum()
}
