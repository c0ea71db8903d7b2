package checkpoint_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/prototext"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/onnxpb"
	"github.com/agiqa/agiqa/checkpoint/safetensors"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient/inferencepb"
)

// panelDir holds a panel as this package writes it, with what its heads say by
// themselves: training/tests_triton serves it by NumPy and by onnxruntime.
// -update writes it anew.
const panelDir = "testdata/panel"

// widths of the heads of the panel under test: they may differ.
var widths = []int{hidden, 1, 9}

// panelMembers returns three checkpoints and their panel.
func panelMembers(t *testing.T) (quality.Panel, []checkpoint.Member) {
	t.Helper()
	random := rand.New(rand.NewPCG(17, 0))
	var members []checkpoint.Member
	var checkpoints []quality.Checkpoint
	for i, h := range widths {
		d := newDraft([]string{"a", "b", "c"}[i], uint64(i+1))
		for _, x := range []safetensors.Tensor{
			{Name: "head.0.weight", Shape: []int{h, 7 * dim}, Data: make([]float32, h*7*dim)},
			{Name: "head.0.bias", Shape: []int{h}, Data: make([]float32, h)},
			{Name: "head.1.weight", Shape: []int{1, h}, Data: make([]float32, h)},
		} {
			for j := range x.Data {
				x.Data[j] = float32(random.NormFloat64())
			}
			d.tensors[x.Name] = x
		}
		m := checkpoint.Member{Bundle: d.bundle(t)}
		for c := range m.Texts {
			m.Texts[c] = unit(random)
		}
		members = append(members, m)
		checkpoints = append(checkpoints, m.Bundle.Checkpoint())
	}
	p, err := quality.NewPanel("test/1", checkpoints)
	if err != nil {
		t.Fatal(err)
	}
	return p, members
}

// panelCases is what a served panel must answer.
type panelCases struct {
	Images       []quality.Embedding `json:"image_embedding"`
	Scores       [][]float64         `json:"score"`               // [N,K], by each head alone
	Similarities [][][]float32       `json:"category_similarity"` // [N,K,6]
}

func TestPanelFiles(t *testing.T) {
	p, members := panelMembers(t)
	built, err := checkpoint.NewPanel(p, members)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for range 2 { // the same bytes again change nothing
		if err := built.Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	random := rand.New(rand.NewPCG(18, 0))
	var want panelCases
	for range 5 {
		image := unit(random)
		var scores []float64
		var similarities [][]float32
		for _, m := range members {
			j, err := m.Bundle.Head().Score(image, m.Texts)
			if err != nil {
				t.Fatal(err)
			}
			scores = append(scores, float64(j.Score))
			similarities = append(similarities, j.Similarity[:])
		}
		want.Images, want.Scores, want.Similarities = append(want.Images, image), append(want.Scores, scores),
			append(want.Similarities, similarities)
	}
	checkModelFiles(t, dir, panelDir, want)
	if err := checkpoint.RemovePanel(dir, p); err != nil {
		t.Fatal(err)
	}
	if left := slices.Collect(maps.Keys(tree(t, dir))); len(left) != 1 {
		t.Errorf("after its removal there is %v", left)
	}
}

// TestPanelFolds: the folded bias, as a pair of float32, is exact to float64's
// own rounding, so that a panel in float64 and a head say the same.
func TestPanelFolds(t *testing.T) {
	p, members := panelMembers(t)
	built, err := checkpoint.NewPanel(p, members)
	if err != nil {
		t.Fatal(err)
	}
	model, err := built.Model(checkpoint.Embedded)
	if err != nil {
		t.Fatal(err)
	}
	tensors, err := safetensors.Decode(model.Files["1/panel.safetensors"], safetensors.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	of := map[string]safetensors.Tensor{}
	for _, x := range tensors {
		of[x.Name] = x
	}
	widest := slices.Max(widths)
	if got := of["panel.0.weight"].Shape; !slices.Equal(got, []int{len(widths), widest, dim}) {
		t.Fatalf("panel.0.weight has shape %v", got)
	}
	for k, m := range members {
		head := m.Bundle.Head()
		for j := range widest {
			at := k*widest + j
			got := float64(of["panel.0.bias"].Data[at]) + float64(of["panel.0.rest"].Data[at])
			var want float64
			if j < head.Hidden {
				want = float64(head.B0[j])
				for c, e := range m.Texts {
					for x, v := range e {
						want += float64(head.W0[(j*7+1+c)*dim+x]) * float64(v)
					}
				}
			}
			if math.Abs(got-want) > 1e-12 {
				t.Errorf("bias %d of head %d is %.15g, want %.15g", j, k, got, want)
			}
			if j >= head.Hidden && of["panel.1.weight"].Data[at] != 0 {
				t.Errorf("row %d of head %d is beyond its width and has a weight", j, k)
			}
		}
	}
}

func TestPanelModels(t *testing.T) {
	p, members := panelMembers(t)
	built, err := checkpoint.NewPanel(p, members)
	if err != nil {
		t.Fatal(err)
	}
	var digests []string
	for _, c := range p.Checkpoints {
		digests = append(digests, c.Digest.String())
	}
	want := contract{
		inputs: []tensor{{"image_embedding", inferencepb.DataType_TYPE_FP32, []int64{dim}}},
		outputs: []tensor{
			{"score", inferencepb.DataType_TYPE_FP32, []int64{3}},
			{"category_similarity", inferencepb.DataType_TYPE_FP32, []int64{3, 6}},
		},
		maxBatch: 64,
		parameters: map[string]string{
			"encoder_digest": p.Encoder.String(), "panel_digest": p.ID.String(),
			"checkpoint_digests": strings.Join(digests, ","),
		},
	}
	for variant, files := range map[checkpoint.Variant][]string{
		checkpoint.Embedded: {"1/model.py", "1/panel.safetensors"}, checkpoint.CPU: {"1/model.onnx"},
		checkpoint.GPU: {"1/model.onnx"},
	} {
		model, err := built.Model(variant)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(files, slices.Sorted(maps.Keys(model.Files))); diff != "" {
			t.Errorf("%s: files (-want +got):\n%s", variant, diff)
		}
		config := new(inferencepb.ModelConfig)
		if err := prototext.Unmarshal(model.Config, config); err != nil {
			t.Fatalf("%s: %v", variant, err)
		}
		if err := checkConfig(config, p.Model(), string(variant), want); err != nil {
			t.Errorf("%s: %v", variant, err)
		}
		if graph := model.Files["1/model.onnx"]; graph != nil {
			got, err := readSignature(graph)
			if err != nil {
				t.Fatal(err)
			}
			want := signature{
				IRVersion: 8, Opset: 17,
				Inputs: []graphValue{{Name: "image_embedding", Type: onnxpb.Tensor_FLOAT, Shape: []int64{dynamic, dim}}},
				Outputs: []graphValue{
					{Name: "score", Type: onnxpb.Tensor_FLOAT, Shape: []int64{dynamic, 3}},
					{Name: "category_similarity", Type: onnxpb.Tensor_FLOAT, Shape: []int64{dynamic, 3, 6}},
				},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: graph (-want +got):\n%s", variant, diff)
			}
		}
	}
	if _, err := built.Model("tpu"); err == nil {
		t.Error("a model for a kind of server that there is not")
	}
}

func TestPanelRefuses(t *testing.T) {
	for name, spoil := range map[string]func(p *quality.Panel, members *[]checkpoint.Member){
		"one member less": func(_ *quality.Panel, m *[]checkpoint.Member) { *m = (*m)[:2] },
		"another order":   func(_ *quality.Panel, m *[]checkpoint.Member) { (*m)[0], (*m)[1] = (*m)[1], (*m)[0] },
		"a text too short": func(_ *quality.Panel, m *[]checkpoint.Member) {
			(*m)[1].Texts[3] = (*m)[1].Texts[3][:dim-1]
		},
		"a text that is no number": func(_ *quality.Panel, m *[]checkpoint.Member) {
			(*m)[1].Texts[3][0] = float32(math.NaN())
		},
	} {
		p, members := panelMembers(t)
		spoil(&p, &members)
		if _, err := checkpoint.NewPanel(p, members); err == nil {
			t.Errorf("%s: a panel", name)
		}
	}
	p, members := panelMembers(t)
	built, err := checkpoint.NewPanel(p, members)
	if err != nil {
		t.Fatal(err)
	}
	if err := built.Write(filepath.Join(t.TempDir(), "nowhere")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("into a folder that is not there: %v", err)
	}
}

// checkModelFiles wants the committed folder to hold what dir does, with cases,
// which Python's tests read, beside the models.
func checkModelFiles(t *testing.T, dir, committed string, cases any) {
	t.Helper()
	document, err := json.MarshalIndent(cases, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cases.json"), append(document, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := errors.Join(os.RemoveAll(committed), os.CopyFS(committed, os.DirFS(dir))); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(tree(t, committed), tree(t, dir)); diff != "" {
		t.Errorf("%s is not what is written now; run go test ./checkpoint -run %s -update (-committed +written):\n%.2000s",
			committed, t.Name(), diff)
	}
}
