// Command drawexamples draws the pictures in examples/: a harbour that exists
// nowhere, the same picture badly blurred, and a tiled floor. They are the
// project's own, so that they can be shipped and scored by anybody.
//
//	go run ./tools/drawexamples
package main

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"

	"golang.org/x/image/vector"
)

func main() {
	harbour := drawHarbour(640, 480)
	for name, img := range map[string]*image.RGBA{
		"harbour.jpg":         harbour,
		"harbour-blurred.jpg": blur(harbour, 7),
		"tiles.png":           drawTiles(320, 240),
	} {
		if err := save(filepath.Join("examples", name), img); err != nil {
			fmt.Fprintln(os.Stderr, "drawexamples:", err)
			os.Exit(1)
		}
	}
}

func save(path string, img image.Image) error {
	var b bytes.Buffer
	var err error
	if filepath.Ext(path) == ".png" {
		err = png.Encode(&b, img)
	} else {
		err = jpeg.Encode(&b, img, &jpeg.Options{Quality: 92})
	}
	if err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

// canvas draws filled polygons over a picture.
type canvas struct{ *image.RGBA }

func (c canvas) polygon(fill color.RGBA, points ...float64) {
	b := c.Bounds()
	r := vector.NewRasterizer(b.Dx(), b.Dy())
	r.MoveTo(float32(points[0]), float32(points[1]))
	for i := 2; i < len(points); i += 2 {
		r.LineTo(float32(points[i]), float32(points[i+1]))
	}
	r.ClosePath()
	r.Draw(c.RGBA, b, image.NewUniform(fill), image.Point{})
}

func (c canvas) disc(fill color.RGBA, x, y, radius float64) {
	points := make([]float64, 0, 128)
	for i := range 64 {
		a := 2 * math.Pi * float64(i) / 64
		points = append(points, x+radius*math.Cos(a), y+radius*math.Sin(a))
	}
	c.polygon(fill, points...)
}

func mix(a, b color.RGBA, t float64) color.RGBA {
	m := func(x, y uint8) uint8 { return uint8(float64(x) + (float64(y)-float64(x))*t + .5) }
	return color.RGBA{m(a.R, b.R), m(a.G, b.G), m(a.B, b.B), 255}
}

func drawHarbour(w, h int) *image.RGBA {
	c := canvas{image.NewRGBA(image.Rect(0, 0, w, h))}
	random := rand.New(rand.NewPCG(7, 11))
	fw, fh := float64(w), float64(h)
	horizon := int(fh * .55)
	c.paintSkyAndSea(horizon)
	c.disc(color.RGBA{255, 236, 190, 255}, fw*.72, fh*.27, 34)
	c.hills(horizon)
	c.houses(random, horizon)
	for i := range 5 {
		x, y := fw*(.1+.19*float64(i)+.04*random.Float64()), fh*(.66+.24*random.Float64())
		c.boat(x, y, .5+1.1*(y-float64(horizon))/fh*2)
	}
	c.grain(random, 5)
	return c.RGBA
}

func (c canvas) paintSkyAndSea(horizon int) {
	b := c.Bounds()
	for y := range b.Dy() {
		for x := range b.Dx() {
			var p color.RGBA
			if y < horizon {
				p = mix(color.RGBA{64, 118, 190, 255}, color.RGBA{250, 200, 160, 255}, math.Pow(float64(y)/float64(horizon), 1.6))
				cloud := math.Sin(float64(x)/47+math.Sin(float64(y)/13)*1.7) + math.Sin(float64(x)/19+float64(y)/9)
				if cloud > 1.1 && y < horizon*2/3 {
					p = mix(p, color.RGBA{255, 245, 240, 255}, math.Min(.55, (cloud-1.1)*1.2))
				}
			} else {
				d := float64(y-horizon) / float64(b.Dy()-horizon)
				wave := math.Sin(float64(x)/(4+26*d)+math.Sin(float64(y)/(2+6*d))*2.1) * math.Sin(float64(y)/(1.2+4*d))
				p = mix(color.RGBA{92, 150, 176, 255}, color.RGBA{18, 58, 92, 255}, d)
				p = mix(p, color.RGBA{236, 226, 205, 255}, math.Max(0, wave)*.38)
			}
			c.SetRGBA(x, y, p)
		}
	}
}

func (c canvas) hills(horizon int) {
	w := float64(c.Bounds().Dx())
	for i, fill := range []color.RGBA{{96, 122, 150, 255}, {66, 98, 104, 255}, {46, 80, 62, 255}} {
		points := []float64{0, float64(horizon)}
		for x := 0.0; x <= w; x += 4 {
			y := float64(horizon) - float64(70-18*i)*(.6+.4*math.Sin(x/(95-20*float64(i))+float64(2*i))) -
				8*math.Sin(x/11+float64(i))
			points = append(points, x, y)
		}
		c.polygon(fill, append(points, w, float64(horizon))...)
	}
}

func (c canvas) houses(random *rand.Rand, horizon int) {
	roofs := []color.RGBA{{168, 62, 48, 255}, {140, 52, 60, 255}, {190, 92, 52, 255}}
	walls := []color.RGBA{{240, 228, 206, 255}, {226, 202, 170, 255}, {206, 216, 222, 255}, {236, 190, 150, 255}}
	y := float64(horizon)
	for x := 14.0; x < float64(c.Bounds().Dx())*.62; {
		width, height := 22+26*random.Float64(), 22+30*random.Float64()
		wall := walls[random.IntN(len(walls))]
		c.polygon(wall, x, y, x+width, y, x+width, y-height, x, y-height)
		c.polygon(roofs[random.IntN(len(roofs))], x-3, y-height, x+width+3, y-height, x+width/2, y-height-14)
		for wy := y - height + 6; wy < y-8; wy += 11 {
			for wx := x + 4; wx < x+width-7; wx += 9 {
				c.polygon(color.RGBA{48, 62, 84, 255}, wx, wy, wx+5, wy, wx+5, wy+6, wx, wy+6)
			}
		}
		x += width + 5*random.Float64()
	}
}

func (c canvas) boat(x, y, size float64) {
	p := func(dx, dy float64) []float64 { return []float64{x + dx*size, y + dy*size} }
	flat := func(points ...[]float64) (out []float64) {
		for _, q := range points {
			out = append(out, q...)
		}
		return out
	}
	c.polygon(color.RGBA{20, 44, 66, 110}, flat(p(-30, 9), p(34, 9), p(18, 16), p(-20, 16))...)
	c.polygon(color.RGBA{150, 44, 40, 255}, flat(p(-32, 0), p(36, 0), p(26, 10), p(-24, 10))...)
	c.polygon(color.RGBA{244, 240, 232, 255}, flat(p(-31, 0), p(36, 0), p(35, 2.5), p(-30, 2.5))...)
	c.polygon(color.RGBA{92, 66, 42, 255}, flat(p(-1, 0), p(1, 0), p(1, -52), p(-1, -52))...)
	c.polygon(color.RGBA{250, 248, 240, 255}, flat(p(2, -50), p(28, -6), p(2, -6))...)
	c.polygon(color.RGBA{232, 226, 210, 255}, flat(p(-2, -46), p(-22, -6), p(-2, -6))...)
}

// grain adds the noise of a sensor, so that flat areas are not perfectly flat.
func (c canvas) grain(random *rand.Rand, amplitude float64) {
	for i := range c.Pix {
		if i%4 != 3 {
			v := float64(c.Pix[i]) + random.NormFloat64()*amplitude*.6
			c.Pix[i] = uint8(math.Max(0, math.Min(255, v)))
		}
	}
}

func drawTiles(w, h int) *image.RGBA {
	c := canvas{image.NewRGBA(image.Rect(0, 0, w, h))}
	random := rand.New(rand.NewPCG(3, 5))
	const side = 40
	for y := 0; y < h; y += side {
		for x := 0; x < w; x += side {
			fx, fy := float64(x), float64(y)
			base := mix(color.RGBA{226, 214, 190, 255}, color.RGBA{60, 96, 120, 255}, float64((x/side+y/side)%2))
			c.polygon(base, fx, fy, fx+side, fy, fx+side, fy+side, fx, fy+side)
			c.polygon(mix(base, color.RGBA{150, 60, 44, 255}, .7), fx+side/2, fy+6, fx+side-6, fy+side/2,
				fx+side/2, fy+side-6, fx+6, fy+side/2)
			c.disc(color.RGBA{240, 236, 224, 255}, fx+side/2, fy+side/2, 6)
		}
	}
	c.grain(random, 4)
	return c.RGBA
}

// blur is a Gaussian of the given standard deviation in pixels, separable,
// with the edge repeated.
func blur(src *image.RGBA, sigma float64) *image.RGBA {
	radius := int(math.Ceil(3 * sigma))
	kernel, sum := make([]float64, 2*radius+1), 0.0
	for i := range kernel {
		d := float64(i - radius)
		kernel[i] = math.Exp(-d * d / (2 * sigma * sigma))
		sum += kernel[i]
	}
	pass := func(src *image.RGBA, dx, dy int) *image.RGBA {
		b := src.Bounds()
		dst := image.NewRGBA(b)
		for y := range b.Dy() {
			for x := range b.Dx() {
				var acc [3]float64
				for i, k := range kernel {
					sx := min(max(x+dx*(i-radius), 0), b.Dx()-1)
					sy := min(max(y+dy*(i-radius), 0), b.Dy()-1)
					for ch := range acc {
						acc[ch] += k * float64(src.Pix[src.PixOffset(sx, sy)+ch])
					}
				}
				o := dst.PixOffset(x, y)
				for ch := range acc {
					dst.Pix[o+ch] = uint8(acc[ch]/sum + .5)
				}
				dst.Pix[o+3] = 255
			}
		}
		return dst
	}
	return pass(pass(src, 1, 0), 0, 1)
}
