package server

import (
	"bytes"
	"context"
	"image/png"

	"github.com/agiqa/agiqa/internal/pictures"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
)

// canaries are images that every arm scores before an experiment starts. They
// are drawn, the same ones on every server, from flat to busy, so that a head
// that works tells them apart.
type canaries struct{ service *scoring.Service }

const (
	canaryCount = 50
	canaryBatch = 10
)

// Score implements [engine.Canaries].
func (c canaries) Score(ctx context.Context, checkpoints []quality.Checkpoint) ([][]float32, error) {
	ctx, cancel := context.WithTimeout(ctx, canaryTimeout)
	defer cancel()
	rows := make([][]float32, len(checkpoints))
	for first := 0; first < canaryCount; first += canaryBatch {
		var items []scoring.Item
		for i := first; i < min(first+canaryBatch, canaryCount); i++ {
			data, err := canary(uint64(i))
			if err != nil {
				return nil, err
			}
			items = append(items, scoring.Item{Data: data})
		}
		response, err := c.service.Score(ctx, scoring.Request{Items: items, Checkpoints: checkpoints})
		if err != nil {
			return nil, err
		}
		for _, r := range response.Results {
			if r.Err != nil {
				return nil, r.Err
			}
			for k, v := range r.Scores {
				if v.Err != nil {
					return nil, v.Err
				}
				rows[k] = append(rows[k], v.Score)
			}
		}
	}
	return rows, nil
}

// canary encodes one of them.
func canary(n uint64) ([]byte, error) {
	var b bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.NoCompression} // nobody keeps or sends it
	err := encoder.Encode(&b, pictures.Canary(n))
	return b.Bytes(), err
}
