package checkpoint

import (
	"encoding/json"
	"fmt"

	"github.com/agiqa/agiqa/checkpoint/safetensors"
	"github.com/agiqa/agiqa/quality"
)

// Encode returns the two files of b, which [Decode] reads back to the same
// digest.
func Encode(b *Bundle) (manifest, weights []byte, err error) {
	if manifest, err = json.Marshal(b.manifest); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", ManifestFile, err)
	}
	if weights, err = safetensors.Encode(b.Tensors()); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", WeightsFile, err)
	}
	return manifest, weights, nil
}

// Tensors returns every number of b in order of name. The data is shared and
// must not be modified.
func (b *Bundle) Tensors() []safetensors.Tensor {
	h, p := b.head, b.prompt
	context := []int{p.ContextLength, p.W}
	if p.ClassSpecific {
		context = []int{quality.CategoryCount, p.ContextLength, p.W}
	}
	tensors := []safetensors.Tensor{
		{Name: tensorContext, Shape: context, Data: p.Context},
		{Name: tensorB0, Shape: []int{h.Hidden}, Data: h.B0},
		{Name: tensorW0, Shape: []int{h.Hidden, h.parts() * h.Dim}, Data: h.W0},
		{Name: tensorB1, Shape: []int{1}, Data: h.B1},
		{Name: tensorW1, Shape: []int{1, h.Hidden}, Data: h.W1},
	}
	if r := b.reference; r != nil {
		tensors = append(tensors,
			safetensors.Tensor{Name: tensorReference, Shape: []int{r.Rows(), r.Dim()}, Data: r.Data()})
	}
	return tensors
}
