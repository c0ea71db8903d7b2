package demo

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/draw"
	_ "image/gif" // a format of sources
	"image/jpeg"
	_ "image/png" // a format of sources
	"math/rand/v2"
)

// Image is a file that nobody else has.
type Image struct {
	Name string // of its source, and what was done
	Data []byte
}

const (
	leastSide = 32 // pixels of a source
	longSide  = 384
)

// Images makes n different images of the sources: each in turn, and every time
// another cut, mirrored every other time and blurred every third. Their order is
// random, so that later ones are no other kind. done is called after each. Sources are JPEG, PNG or GIF; the first that
// is not is an error.
func Images(sources []Image, n int, seed uint64, done func()) ([]Image, error) {
	if len(sources) == 0 || n < 1 {
		return nil, errors.New("demo: no images")
	}
	random := rand.New(rand.NewPCG(seed, 1))
	images := make([]Image, 0, n)
	decoded := make([]*image.RGBA, len(sources))
	for i := range n {
		source, round := i%len(sources), i/len(sources)
		if round == 0 {
			var err error
			if decoded[source], err = small(sources[source].Data); err != nil {
				return nil, fmt.Errorf("%s: %w", sources[source].Name, err)
			}
		}
		out, err := variant(decoded[source], round, random)
		if err != nil {
			return nil, err
		}
		images = append(images, Image{Name: fmt.Sprintf("%s, cut %d", sources[source].Name, round+1), Data: out})
		done()
	}
	random.Shuffle(n, func(i, j int) { images[i], images[j] = images[j], images[i] })
	return images, nil
}

// small decodes an image and takes every so many pixels of it: what is made of
// it is scored at 224 pixels.
func small(data []byte) (*image.RGBA, error) {
	picture, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	b := picture.Bounds()
	if b.Dx() < leastSide || b.Dy() < leastSide {
		return nil, fmt.Errorf("%d by %d pixels; at least %d are needed", b.Dx(), b.Dy(), leastSide)
	}
	step := max(1, (max(b.Dx(), b.Dy())+longSide-1)/longSide)
	whole := image.NewRGBA(image.Rect(0, 0, b.Dx(), b.Dy()))
	draw.Draw(whole, whole.Rect, picture, b.Min, draw.Src)
	if step == 1 {
		return whole, nil
	}
	out := image.NewRGBA(image.Rect(0, 0, b.Dx()/step, b.Dy()/step))
	for y := range out.Rect.Dy() {
		for x := range out.Rect.Dx() {
			out.SetRGBA(x, y, whole.RGBAAt(x*step, y*step))
		}
	}
	return out, nil
}

// variant cuts 60 to 95 % of each side out at random.
func variant(source *image.RGBA, round int, random *rand.Rand) ([]byte, error) {
	share := 0.6 + 0.35*random.Float64()
	w, h := int(share*float64(source.Rect.Dx())), int(share*float64(source.Rect.Dy()))
	x, y := random.IntN(source.Rect.Dx()-w+1), random.IntN(source.Rect.Dy()-h+1)
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	draw.Draw(out, out.Rect, source, image.Pt(x, y), draw.Src)
	if round%2 == 1 {
		mirror(out)
	}
	if round%3 == 2 {
		out = blurred(out, 1+random.IntN(3))
	}
	var b bytes.Buffer
	err := jpeg.Encode(&b, out, &jpeg.Options{Quality: 90})
	return b.Bytes(), err
}

func mirror(p *image.RGBA) {
	for y := range p.Rect.Dy() {
		for x, z := 0, p.Rect.Dx()-1; x < z; x, z = x+1, z-1 {
			left, right := p.RGBAAt(x, y), p.RGBAAt(z, y)
			p.SetRGBA(x, y, right)
			p.SetRGBA(z, y, left)
		}
	}
}

// blurred is the mean over a square, rows first.
func blurred(p *image.RGBA, radius int) *image.RGBA {
	for _, along := range []struct{ lines, length, line, pixel int }{
		{p.Rect.Dy(), p.Rect.Dx(), p.Stride, 4}, {p.Rect.Dx(), p.Rect.Dy(), 4, p.Stride},
	} {
		out := image.NewRGBA(p.Rect)
		for l := range along.lines {
			for channel := range 4 {
				at := func(i int) int { return l*along.line + i*along.pixel + channel }
				sum, n := 0, 0
				for i := range min(radius, along.length) {
					sum, n = sum+int(p.Pix[at(i)]), n+1
				}
				for i := range along.length {
					if i+radius < along.length {
						sum, n = sum+int(p.Pix[at(i+radius)]), n+1
					}
					if i-radius > 0 {
						sum, n = sum-int(p.Pix[at(i-radius-1)]), n-1
					}
					out.Pix[at(i)] = uint8((sum + n/2) / n)
				}
			}
		}
		p = out
	}
	return p
}
