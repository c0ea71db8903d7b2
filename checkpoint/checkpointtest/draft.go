// Package checkpointtest makes checkpoint bundles for tests: sound ones of any
// encoder, with random numbers, and through their parts spoilt ones. Nothing in
// it is trained, so scores mean nothing; they are only always the same.
package checkpointtest

import (
	"encoding/binary"
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
		Format: checkpoint.FormatV1, Name: name, Categories: categories[:],
		ClassTokenPosition: clip.End, ContextLength: contextLength, ClassSpecific: false,
		Score:    checkpoint.ManifestScore{Min: 0, Max: 5, Unit: "MOS"},
		Encoder:  checkpoint.ManifestEncoder{Name: enc.Name, Digest: enc.Digest},
		Training: json.RawMessage(`{"data":"none"}`), Metrics: json.RawMessage(`{}`), Licence: "Apache-2.0",
		Golden: []checkpoint.GoldenCase{},
		Task:   quality.TaskQuality, Views: []string{"224"}, Evaluation: []checkpoint.Evaluation{},
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
		Dim: d.dim(), Hidden: w0.Shape[0], Prompt: d.Manifest.Prompt,
		W0: w0.Data, B0: d.Tensors["head.0.bias"].Data, W1: d.Tensors["head.1.weight"].Data,
		B1: d.Tensors["head.1.bias"].Data,
	}
	for range n {
		c := checkpoint.GoldenCase{ImageEmbedding: d.unit(head.Dim)}
		scored, err := head.Score(c.ImageEmbedding, text)
		if head.Prompt {
			c.PromptEmbedding = d.unit(head.Dim)
			scored, err = head.ScoreWithPrompt(c.ImageEmbedding, text, c.PromptEmbedding)
		}
		if err != nil {
			t.Fatal(err)
		}
		c.Score = float64(scored.Score)
		d.Manifest.Golden = append(d.Manifest.Golden, c)
	}
	return d
}

// dim is the length of an embedding.
func (d *Draft) dim() int {
	parts := 1 + quality.CategoryCount
	if d.Manifest.Prompt {
		parts += 2
	}
	return d.Tensors["head.0.weight"].Shape[1] / parts
}

// PromptAware makes the draft one of format 2 and task alignment whose head reads
// the prompts of pictures. Golden cases come after it.
func (d *Draft) PromptAware() *Draft {
	dim := d.dim()
	d.Manifest.Format, d.Manifest.Task, d.Manifest.Prompt = checkpoint.FormatV2, quality.TaskAlignment, true
	d.add("head.0.weight", 1, hidden, (3+quality.CategoryCount)*dim)
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

// Meaningful makes the draft one of format 2 with every key: task, views, clamp,
// interval, reference of 4 rows, evaluation.
func (d *Draft) Meaningful(task quality.Task, views ...string) *Draft {
	dim := d.dim()
	rows := safetensors.Tensor{Name: "reference", Shape: []int{4, dim}}
	for range 4 {
		rows.Data = append(rows.Data, d.unit(dim)...)
	}
	d.Tensors["reference"] = rows
	m := &d.Manifest
	m.Format, m.Task, m.Views, m.Score.Clamp = checkpoint.FormatV2, task, views, true
	m.Interval = &checkpoint.ManifestInterval{
		Coverage: 0.9, Edges: []float64{2, 3}, HalfWidths: []float64{0.75, 0.5, 0.25},
	}
	m.Reference = &checkpoint.ManifestReference{Threshold: 0.5}
	m.Evaluation = []checkpoint.Evaluation{
		{Dataset: "pictures", Task: task, Images: 134, SRCC: 0.6, Low: 0.5, High: 0.7},
	}
	return d
}

// digest follows the definitions in docs/decisions, 0008 and 0021.
func (d *Draft) digest() quality.Digest {
	m := d.Manifest
	specific := map[bool]string{false: "0", true: "1"}[m.ClassSpecific]
	h := quality.NewFieldHash().String(m.Format).String(m.Encoder.Digest.String()).
		String(string(m.ClassTokenPosition)).String(strconv.Itoa(m.ContextLength)).String(specific).
		String(strconv.Itoa(len(m.Categories)))
	for _, c := range m.Categories {
		h.String(c)
	}
	if m.Format == checkpoint.FormatV2 {
		addMeaning(h, m)
	}
	for _, name := range slices.Sorted(maps.Keys(d.Tensors)) {
		t := d.Tensors[name]
		h.String(name).String(safetensors.F32).String(safetensors.JoinInts(t.Shape)).Bytes(t.Bytes())
	}
	return h.Sum()
}

func addMeaning(h *quality.FieldHash, m checkpoint.Manifest) {
	flag := map[bool]string{false: "0", true: "1"}
	numbers := func(values ...float64) {
		for _, v := range values {
			h.Bytes(binary.LittleEndian.AppendUint64(nil, math.Float64bits(v)))
		}
	}
	h.String(string(m.Task)).String(strconv.Itoa(len(m.Views)))
	for _, v := range m.Views {
		h.String(v)
	}
	h.String(flag[m.Score.Clamp])
	numbers(m.Score.Min, m.Score.Max)
	h.String(flag[m.Interval != nil])
	if i := m.Interval; i != nil {
		numbers(i.Coverage)
		h.String(strconv.Itoa(len(i.Edges)))
		numbers(append(slices.Clone(i.Edges), i.HalfWidths...)...)
	}
	h.String(flag[m.Reference != nil])
	if m.Reference != nil {
		numbers(m.Reference.Threshold)
	}
	h.String(flag[m.Prompt])
	if m.Recipe != "" {
		h.String(m.Recipe)
	}
}
