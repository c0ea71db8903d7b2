package server

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"image/png"
	"math/rand/v2"

	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
)

// canaries are images that every arm judges before an experiment starts. They
// are drawn, the same ones on every server, from flat to busy, so that a head
// that works tells them apart.
type canaries struct{ service *scoring.Service }

const (
	canaryCount = 50
	canaryBatch = 10
)

// Judge implements [engine.Canaries].
func (c canaries) Judge(ctx context.Context, checkpoints []quality.Checkpoint) ([][]float32, error) {
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
			for k, v := range r.Verdicts {
				if v.Err != nil {
					return nil, v.Err
				}
				rows[k] = append(rows[k], v.Score)
			}
		}
	}
	return rows, nil
}

// canary draws one: a gradient between two colours, with a number of discs and
// an amount of noise that grow with its number.
func canary(n uint64) ([]byte, error) {
	r := rand.New(rand.NewPCG(n, 0xca9a))
	const side = 224
	from, to := colour(r), colour(r)
	img := image.NewRGBA(image.Rect(0, 0, side, side))
	for y := range side {
		for x := range side {
			img.SetRGBA(x, y, mix(from, to, float64(x+y)/(2*side)))
		}
	}
	for range n % 10 {
		cx, cy, radius, c := r.IntN(side), r.IntN(side), 5+r.IntN(60), colour(r)
		for y := max(0, cy-radius); y < min(side, cy+radius); y++ {
			for x := max(0, cx-radius); x < min(side, cx+radius); x++ {
				if (x-cx)*(x-cx)+(y-cy)*(y-cy) < radius*radius {
					img.SetRGBA(x, y, c)
				}
			}
		}
	}
	if strength := int(n / 10 * 30); strength > 0 {
		for i := range img.Pix {
			if i%4 != 3 {
				img.Pix[i] = uint8(min(255, max(0, int(img.Pix[i])+r.IntN(2*strength)-strength)))
			}
		}
	}
	var b bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.NoCompression} // nobody keeps or sends it
	err := encoder.Encode(&b, img)
	return b.Bytes(), err
}

func colour(r *rand.Rand) color.RGBA {
	return color.RGBA{uint8(r.IntN(256)), uint8(r.IntN(256)), uint8(r.IntN(256)), 255}
}

func mix(a, b color.RGBA, t float64) color.RGBA {
	of := func(x, y uint8) uint8 { return uint8(float64(x)*(1-t) + float64(y)*t) }
	return color.RGBA{of(a.R, b.R), of(a.G, b.G), of(a.B, b.B), 255}
}
