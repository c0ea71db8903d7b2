package checkpoint

import (
	"errors"
	"fmt"

	"github.com/agiqa/agiqa/checkpoint/safetensors"
)

// Limits bound what a bundle may ask of its reader.
type Limits struct {
	ManifestBytes int64              // longest manifest.json
	WeightsBytes  int64              // longest weights.safetensors
	GoldenCases   int                // most golden cases in a manifest
	NoGolden      bool               // none at all will do: the reader makes its own
	Tensors       safetensors.Limits // what the weights may hold
}

// DefaultLimits leave room for a ViT-L/14 checkpoint (18 MB) several times over.
func DefaultLimits() Limits {
	return Limits{
		ManifestBytes: 4 << 20,
		WeightsBytes:  64 << 20,
		GoldenCases:   64,
		Tensors:       safetensors.DefaultLimits(),
	}
}

// Validate reports every limit that is not positive.
func (l Limits) Validate() error {
	var faults []error
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"ManifestBytes", l.ManifestBytes}, {"WeightsBytes", l.WeightsBytes}, {"GoldenCases", int64(l.GoldenCases)},
	} {
		if f.value <= 0 {
			faults = append(faults, fmt.Errorf("checkpoint limit %s is %d, must be positive", f.name, f.value))
		}
	}
	return errors.Join(append(faults, l.Tensors.Validate())...)
}
