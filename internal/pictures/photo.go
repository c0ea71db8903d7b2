package pictures

import (
	"image"
	"image/color"
	"math"
)

// Photo draws smooth areas, edges and texture in about the shares that
// photographs have them, so that encoded files have about their sizes too: side x side pixels.
func Photo(side int) *image.RGBA {
	m := image.NewRGBA(image.Rect(0, 0, side, side))
	for y := range side {
		for x := range side {
			u, v := float64(x)/float64(side), float64(y)/float64(side)
			base := 0.5 + 0.3*math.Sin(5*u+2*math.Sin(3*v)) + 0.2*clouds(6*u, 6*v)
			texture := 0.0
			if clouds(3*u+9, 3*v) > 0 {
				texture = 0.25 * clouds(float64(x)/3, float64(y)/3)
			}
			if d := math.Hypot(u-0.6, v-0.4); d < 0.22 {
				base, texture = 0.25+d, 0.1*clouds(float64(x)/1.5, float64(y)/1.5)
			}
			m.SetRGBA(x, y, color.RGBA{
				shade(base + texture), shade(0.8*base + 0.2*v + texture), shade(0.6*base + 0.3*u + 0.8*texture), 255,
			})
		}
	}
	return m
}

func shade(v float64) uint8 { return uint8(255 * min(max(v, 0), 1)) }

// clouds is value noise of four octaves, about -1 to 1.
func clouds(x, y float64) float64 {
	sum, weight := 0.0, 0.5
	for octave := range 4 {
		sum += weight * lattice(x, y, uint32(octave))
		x, y, weight = 2*x, 2*y, weight/2
	}
	return sum
}

func lattice(x, y float64, seed uint32) float64 {
	fx, fy := math.Floor(x), math.Floor(y)
	i, j := uint32(int32(fx)), uint32(int32(fy))
	u, v := x-fx, y-fy
	u, v = u*u*(3-2*u), v*v*(3-2*v)
	top := knot(i, j, seed)*(1-u) + knot(i+1, j, seed)*u
	bottom := knot(i, j+1, seed)*(1-u) + knot(i+1, j+1, seed)*u
	return top*(1-v) + bottom*v
}

// knot is a number from -1 to 1 for each point of the lattice.
func knot(i, j, seed uint32) float64 {
	h := i*0x9E3779B1 ^ j*0x85EBCA77 ^ seed*0xC2B2AE3D
	h = (h ^ h>>15) * 0x2C1B3C6D
	h = (h ^ h>>12) * 0x297A2D39
	h ^= h >> 15
	return float64(h)/float64(math.MaxUint32)*2 - 1
}
