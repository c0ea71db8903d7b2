package checkpoint_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/safetensors"
	"github.com/agiqa/agiqa/quality"
)

// Sizes of the fixture: small, and all different.
const (
	dim     = 8
	hidden  = 5
	width   = 3
	context = 2
)

// draft is a bundle to be, which a test may spoil before it is written.
type draft struct {
	manifest map[string]any
	tensors  map[string]safetensors.Tensor
}

// newDraft returns a sound draft. The same seed gives the same numbers.
func newDraft(name string, seed uint64) *draft {
	random := rand.New(rand.NewPCG(seed, 0))
	tensor := func(name string, shape ...int) safetensors.Tensor {
		n := 1
		for _, d := range shape {
			n *= d
		}
		t := safetensors.Tensor{Name: name, Shape: shape, Data: make([]float32, n)}
		for i := range t.Data {
			t.Data[i] = float32(random.NormFloat64())
		}
		return t
	}
	d := &draft{tensors: map[string]safetensors.Tensor{}}
	for _, t := range []safetensors.Tensor{
		tensor("context", 6, context, width),
		tensor("head.0.weight", hidden, 7*dim), tensor("head.0.bias", hidden),
		tensor("head.1.weight", 1, hidden), tensor("head.1.bias", 1),
	} {
		d.tensors[t.Name] = t
	}
	d.manifest = map[string]any{
		"format": "agiqa-checkpoint/1", "name": name,
		"categories":           []string{"terrible", "bad", "poor", "average", "good", "perfect"},
		"class_token_position": "end", "context_length": context, "class_specific_context": true,
		"score":    map[string]any{"min": 1, "max": 5, "unit": "MOS"},
		"encoder":  map[string]any{"name": "tiny", "digest": encoderDigest.String()},
		"training": map[string]any{"data": "none", "split": map[string]any{"seed": 1}},
		"metrics":  map[string]any{"srcc": 0.5}, "licence": "Apache-2.0",
		"golden": []any{map[string]any{"image_embedding": unit(random), "score": 3.25}},
	}
	return d
}

// newMeaningfulDraft returns a sound draft of format 2 with every key.
func newMeaningfulDraft(name string, seed uint64) *draft {
	d := newDraft(name, seed)
	random := rand.New(rand.NewPCG(seed, 1))
	d.manifest["format"] = "agiqa-checkpoint/2"
	d.manifest["task"] = "authenticity"
	d.manifest["views"] = []string{"224", "448/r0c1"}
	d.manifest["score"].(map[string]any)["clamp"] = true
	d.manifest["interval"] = map[string]any{
		"coverage": 0.9, "edges": []float64{2.5, 3.5}, "half_widths": []float64{0.75, 0.5, 1},
	}
	d.manifest["reference"] = map[string]any{"threshold": 0.25}
	d.manifest["prompt"] = false
	d.manifest["evaluation"] = []any{
		map[string]any{"dataset": "a set", "task": "quality", "images": 134, "srcc": 0.6, "low": 0.5, "high": 0.7},
	}
	rows := safetensors.Tensor{Name: "reference", Shape: []int{3, dim}}
	for range 3 {
		rows.Data = append(rows.Data, unit(random)...)
	}
	d.tensors["reference"] = rows
	return d
}

var encoderDigest = quality.DigestOf([]byte("an encoder"))

// unit is a random direction.
func unit(random *rand.Rand) quality.Embedding {
	e := make(quality.Embedding, dim)
	var sum float64
	for i := range e {
		e[i] = float32(random.NormFloat64())
		sum += float64(e[i]) * float64(e[i])
	}
	for i := range e {
		e[i] /= float32(math.Sqrt(sum))
	}
	return e
}

// digest computes the content digest from its definition, apart from the code
// under test: sha256 over fields with their length as uint64 in front.
func (d *draft) digest() string {
	var b []byte
	field := func(s string) {
		b = binary.LittleEndian.AppendUint64(b, uint64(len(s)))
		b = append(b, s...)
	}
	format := d.manifest["format"].(string)
	field(format)
	field(d.manifest["encoder"].(map[string]any)["digest"].(string))
	field(d.manifest["class_token_position"].(string))
	field(fmt.Sprint(d.manifest["context_length"]))
	field(map[bool]string{true: "1", false: "0"}[d.manifest["class_specific_context"].(bool)])
	categories := d.manifest["categories"].([]string)
	field(fmt.Sprint(len(categories)))
	for _, c := range categories {
		field(c)
	}
	if format == "agiqa-checkpoint/2" {
		d.addMeaning(field)
	}
	var names []string
	for name := range d.tensors {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		t := d.tensors[name]
		field(name)
		field("F32")
		field(strings.Trim(strings.ReplaceAll(fmt.Sprint(t.Shape), " ", ","), "[]"))
		var raw []byte
		for _, v := range t.Data {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
		}
		field(string(raw))
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256(b))
}

// addMeaning gives field what format 2 adds.
func (d *draft) addMeaning(field func(string)) {
	number := func(v any) {
		var f float64
		switch v := v.(type) {
		case int:
			f = float64(v)
		case float64:
			f = v
		}
		field(string(binary.LittleEndian.AppendUint64(nil, math.Float64bits(f))))
	}
	flag := map[bool]string{true: "1", false: "0"}
	views, _ := d.manifest["views"].([]string)
	score := d.manifest["score"].(map[string]any)
	clamp, _ := score["clamp"].(bool)
	prompt, _ := d.manifest["prompt"].(bool)

	field(fmt.Sprint(d.manifest["task"]))
	field(fmt.Sprint(len(views)))
	for _, v := range views {
		field(v)
	}
	field(flag[clamp])
	number(score["min"])
	number(score["max"])
	interval, ok := d.manifest["interval"].(map[string]any)
	field(flag[ok])
	if ok {
		edges, _ := interval["edges"].([]float64)
		halves, _ := interval["half_widths"].([]float64)
		number(interval["coverage"])
		field(fmt.Sprint(len(edges)))
		for _, v := range append(slices.Clone(edges), halves...) {
			number(v)
		}
	}
	reference, ok := d.manifest["reference"].(map[string]any)
	field(flag[ok])
	if ok {
		number(reference["threshold"])
	}
	field(flag[prompt])
	if recipe, _ := d.manifest["recipe"].(string); recipe != "" && recipe != "pillow12-bicubic-224" {
		field(recipe)
	}
}

// files writes the draft out; the digest is right unless the test set one.
func (d *draft) files(t *testing.T) fstest.MapFS {
	t.Helper()
	if d.manifest["digest"] == nil {
		d.manifest["digest"] = d.digest()
	}
	document, err := json.Marshal(d.manifest)
	if err != nil {
		t.Fatal(err)
	}
	var tensors []safetensors.Tensor
	for _, x := range d.tensors {
		tensors = append(tensors, x)
	}
	weights, err := safetensors.Encode(tensors)
	if err != nil {
		t.Fatal(err)
	}
	return fstest.MapFS{
		"manifest.json":       {Data: document},
		"weights.safetensors": {Data: weights},
	}
}

// bundle reads the draft back.
func (d *draft) bundle(t *testing.T) *checkpoint.Bundle {
	t.Helper()
	b, err := checkpoint.Read(d.files(t), checkpoint.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	return b
}
