package tritontest

import (
	"fmt"
	"slices"

	"github.com/agiqa/agiqa/checkpoint/safetensors"
	"github.com/agiqa/agiqa/quality"
)

// panelFunc is what a panel computes: a score for each column.
type panelFunc func(image quality.Embedding) ([]quality.HeadScore, error)

// panelFile holds a panel's numbers, in its model's folder.
const panelFile = "1/panel.safetensors"

// readPanel reads the numbers of a panel as its model.py does, and computes by
// them: the in-process server takes a panel at its word, not at its name.
func readPanel(raw []byte) (panelFunc, error) {

	tensors, err := safetensors.Decode(raw, safetensors.DefaultLimits())
	if err != nil {
		return nil, err
	}
	of := map[string]safetensors.Tensor{}
	for _, t := range tensors {
		of[t.Name] = t
	}
	shape := of["panel.0.weight"].Shape
	if len(shape) != 3 {
		return nil, fmt.Errorf("panel.0.weight has shape %v, want K, H and D", shape)
	}
	k, h, d := shape[0], shape[1], shape[2]
	for name, want := range map[string][]int{
		"panel.0.bias": {k, h}, "panel.0.rest": {k, h}, "panel.1.weight": {k, h}, "panel.1.bias": {k},
		"panel.texts": {k, quality.CategoryCount, d},
	} {
		if got := of[name].Shape; !slices.Equal(got, want) {
			return nil, fmt.Errorf("%s has shape %v, want %v", name, got, want)
		}
	}
	w0, b0, rest := of["panel.0.weight"].Data, of["panel.0.bias"].Data, of["panel.0.rest"].Data
	w1, b1, texts := of["panel.1.weight"].Data, of["panel.1.bias"].Data, of["panel.texts"].Data
	return func(image quality.Embedding) ([]quality.HeadScore, error) {
		if len(image) != d {
			return nil, fmt.Errorf("an embedding of %d numbers, want %d", len(image), d)
		}
		all := make([]quality.HeadScore, k)
		for i := range all {
			score := float64(b1[i])
			for j := i * h; j < (i+1)*h; j++ {
				if a := dot(w0[j*d:(j+1)*d], image) + float64(b0[j]) + float64(rest[j]); a > 0 {
					score += float64(w1[j]) * a
				}
			}
			all[i].Score = float32(score)
			for c := range all[i].Similarity {
				at := (i*quality.CategoryCount + c) * d
				all[i].Similarity[c] = float32(dot(texts[at:at+d], image))
			}
		}
		return all, nil
	}, nil
}
