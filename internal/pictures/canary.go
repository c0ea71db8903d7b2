package pictures

import (
	"image"
	"image/color"
	"math/rand/v2"
)

// Canary returns image n of those that checkpoints score before an experiment
// starts, 224 x 224 pixels: a gradient between two colours, with a number of discs
// and an amount of noise that grow with n. Every server has to draw the same
// pixels: they are part of what an experiment's start is decided by.
func Canary(n uint64) *image.RGBA {
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
	return img
}

func colour(r *rand.Rand) color.RGBA {
	return color.RGBA{uint8(r.IntN(256)), uint8(r.IntN(256)), uint8(r.IntN(256)), 255}
}

func mix(a, b color.RGBA, t float64) color.RGBA {
	// The conversions keep a processor from fusing the product with the sum.
	of := func(x, y uint8) uint8 { return uint8(float64(float64(x)*(1-t)) + float64(float64(y)*t)) }
	return color.RGBA{of(a.R, b.R), of(a.G, b.G), of(a.B, b.B), 255}
}
