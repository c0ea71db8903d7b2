package checkpoint

import (
	"fmt"
	"math"
	"strings"

	"github.com/agiqa/agiqa/checkpoint/onnxpb"
	"github.com/agiqa/agiqa/checkpoint/safetensors"
	"github.com/agiqa/agiqa/quality"
)

// Tensors of a panel's file, whose shapes say everything about its sizes.
const (
	tensorPanelW0    = "panel.0.weight" // [K,H,D]
	tensorPanelB0    = "panel.0.bias"   // [K,H]
	tensorPanelRest  = "panel.0.rest"   // [K,H]
	tensorPanelW1    = "panel.1.weight" // [K,H]
	tensorPanelB1    = "panel.1.bias"   // [K]
	tensorPanelTexts = "panel.texts"    // [K,6,D]
)

// Member is a checkpoint of a panel and its text embeddings.
type Member struct {
	Bundle *Bundle
	Texts  quality.TextEmbeddings
}

// Panel is a panel's model: the heads of its checkpoints side by side, with
// what their texts add to the first layer folded into its bias.
//
//	hidden[k] = relu(W0[k]'image part . image + (B0[k] + W0[k]'text part . texts[k]))
//	score[k]  = W1[k] . hidden[k] + B1[k]
//
// The heads' widths may differ: H is the largest, and the narrower ones end in
// rows of zeros, which add nothing. Heads share no sum, so that one that
// computes no number spoils no other's.
type Panel struct {
	panel   quality.Panel
	hidden  int
	dim     int
	tensors map[string]safetensors.Tensor
}

// NewPanel folds the heads of members, which must be those of p in its order.
// The folding is done in float64; its result is kept as a pair of float32, the
// second of which holds what the first had to round away.
func NewPanel(p quality.Panel, members []Member) (*Panel, error) {
	if len(members) != len(p.Checkpoints) {
		return nil, fmt.Errorf("panel %s: %d members for %d checkpoints", p.ID.Short(), len(members), len(p.Checkpoints))
	}
	out := &Panel{panel: p, dim: members[0].Bundle.head.Dim}
	for i, m := range members {
		got := m.Bundle.Checkpoint()
		if want := p.Checkpoints[i]; got.Digest != want.Digest {
			return nil, fmt.Errorf("panel %s: member %d is checkpoint %s, want %s", p.ID.Short(), i,
				got.Digest.Short(), want.Digest.Short())
		}
		if m.Bundle.head.Dim != out.dim {
			return nil, fmt.Errorf("panel %s: checkpoint %s takes embeddings of %d numbers, the first one of %d", p.ID.Short(),
				got.Name, m.Bundle.head.Dim, out.dim)
		}
		for c, e := range m.Texts {
			if err := e.CheckUnit(out.dim); err != nil {
				return nil, fmt.Errorf("panel %s: text %d of checkpoint %s: %w", p.ID.Short(), c, got.Name, err)
			}
		}
		out.hidden = max(out.hidden, m.Bundle.head.Hidden)
	}
	out.fold(members)
	return out, nil
}

func (p *Panel) fold(members []Member) {
	k, h, d := len(members), p.hidden, p.dim
	p.tensors = map[string]safetensors.Tensor{}
	add := func(name string, shape ...int) []float32 {
		n := 1
		for _, s := range shape {
			n *= s
		}
		t := safetensors.Tensor{Name: name, Shape: shape, Data: make([]float32, n)}
		p.tensors[name] = t
		return t.Data
	}
	w0, b0, rest := add(tensorPanelW0, k, h, d), add(tensorPanelB0, k, h), add(tensorPanelRest, k, h)
	w1, b1, texts := add(tensorPanelW1, k, h), add(tensorPanelB1, k), add(tensorPanelTexts, k, quality.CategoryCount, d)
	for i, m := range members {
		head := m.Bundle.head
		text := make([]float32, 0, quality.CategoryCount*d)
		for _, e := range m.Texts {
			text = append(text, e...)
		}
		copy(texts[i*len(text):], text)
		for j := range head.Hidden {
			row := head.W0[j*parts*d : (j+1)*parts*d]
			at := i*h + j
			copy(w0[at*d:], row[:d])
			bias := float64(head.B0[j]) + dot(row[d:], text)
			b0[at] = float32(bias)
			if !math.IsInf(float64(b0[at]), 0) { // what overflows has no rest
				rest[at] = float32(bias - float64(b0[at]))
			}
			w1[at] = head.W1[j]
		}
		b1[i] = head.B1[0]
	}
}

// Panel says what the model is of.
func (p *Panel) Panel() quality.Panel { return p.panel }

// graph writes the panel as an ONNX model, in which only the batch N is open:
//
//	image_embedding [N,D]
//	active = Relu(Gemm(image_embedding, W0 [K*H,D], B0 [K*H]))       [N,K*H]
//	score  = ReduceSum(Reshape(active, [-1,K,H]) * W1 [K,H], 2) + B1 [N,K]
//	category_similarity = Reshape(Gemm(image_embedding, texts [6K,D]), [-1,K,6])
//
// The second layer is a sum for each head and not one product with a matrix of
// blocks: there a head that gave no number would meet the others' zeros, and
// zero times no number is none.
func (p *Panel) graph() ([]byte, error) {
	const c = quality.CategoryCount
	k, h, d := int64(len(p.panel.Checkpoints)), int64(p.hidden), int64(p.dim)
	data := func(name string) []float32 { return p.tensors[name].Data }
	return marshalGraph(&onnxpb.Graph{
		Name: "prompt_panel",
		Node: []*onnxpb.Node{
			with(node("Gemm", "hidden", tensorImage, tensorPanelW0, tensorPanelB0), "transB", 1),
			node("Relu", "active", "hidden"),
			node("Reshape", "active_by_head", "active", "by_head_shape"),
			node("Mul", "weighted", "active_by_head", tensorPanelW1),
			with(node("ReduceSum", "sums", "weighted", "last_axis"), "keepdims", 0),
			node("Add", tensorScore, "sums", tensorPanelB1),
			with(node("Gemm", "cosines", tensorImage, tensorPanelTexts), "transB", 1),
			node("Reshape", tensorSimilarity, "cosines", "similarity_shape"),
		},
		Initializer: []*onnxpb.Tensor{
			floats(tensorPanelW0, data(tensorPanelW0), k*h, d),
			floats(tensorPanelB0, data(tensorPanelB0), k*h),
			floats(tensorPanelW1, data(tensorPanelW1), k, h),
			floats(tensorPanelB1, data(tensorPanelB1), k),
			floats(tensorPanelTexts, data(tensorPanelTexts), k*c, d),
			shape("by_head_shape", -1, k, h),
			shape("last_axis", 2),
			shape("similarity_shape", -1, k, c),
		},
		Input:  []*onnxpb.ValueInfo{batched(tensorImage, d)},
		Output: []*onnxpb.ValueInfo{batched(tensorScore, k), batched(tensorSimilarity, k, c)},
	})
}

// folder returns the files of the panel's model: its numbers twice, as a graph
// for onnxruntime and as tensors for NumPy.
func (p *Panel) folder() (folder, error) {
	graph, err := p.graph()
	if err != nil {
		return nil, err
	}
	var all []safetensors.Tensor
	for _, name := range []string{tensorPanelW0, tensorPanelB0, tensorPanelRest, tensorPanelW1,
		tensorPanelB1, tensorPanelTexts} {
		all = append(all, p.tensors[name])
	}
	tensors, err := safetensors.Encode(all)
	if err != nil {
		return nil, fmt.Errorf("panel tensors: %w", err)
	}
	program, err := masters.ReadFile("model/panel.py")
	if err != nil {
		return nil, err
	}
	var members []string
	for _, c := range p.panel.Checkpoints {
		members = append(members, c.Digest.String())
	}
	files := folder{"1/model.onnx": graph, "1/panel.safetensors": tensors, "1/model.py": program}
	return files, addConfigs(files, "panel.pbtxt.tmpl", map[string]any{
		"Model": p.panel.Model(), "Panel": p.panel, "Members": strings.Join(members, ","),
		"Columns": len(members), "Dim": p.dim,
	})
}

// Model returns what [Panel.Write] would write, for servers of variant v that
// share no disk with the writer.
func (p *Panel) Model(v Variant) (Model, error) {
	files, err := p.folder()
	if err != nil {
		return Model{}, err
	}
	return modelOf(files, v, "1/panel.safetensors")
}

// Write puts the panel's model into a Triton model repository, as
// [Materialize] does a checkpoint's.
func (p *Panel) Write(repositoryDir string) error {
	files, err := p.folder()
	if err != nil {
		return err
	}
	if err := install(repositoryDir, p.panel.Model(), files); err != nil {
		return fmt.Errorf("model %s: %w", p.panel.Model(), err)
	}
	return nil
}

// RemovePanel takes a panel's model out of a model repository. One that is not
// there counts as removed. Unload it from Triton before.
func RemovePanel(repositoryDir string, p quality.Panel) error {
	if err := uninstall(repositoryDir, p.Model()); err != nil {
		return fmt.Errorf("model %s: %w", p.Model(), err)
	}
	return nil
}
