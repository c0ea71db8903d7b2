package vp8l

import (
	"context"
	"errors"
	"fmt"

	"github.com/agiqa/agiqa/imageprep/internal/pool"
)

// ErrCorrupt is what every error of a decode but the context's matches.
var ErrCorrupt = errors.New("corrupt VP8L")

func corrupt(what string) error { return fmt.Errorf("%w: %s", ErrCorrupt, what) }

var errShort = corrupt("the data ends before the picture")

// Decoder decodes into pooled memory. The zero value allocates for each image.
// It is safe for use by several goroutines.
type Decoder struct {
	Pixels *pool.Pool[uint32]
}

// decoder is one decode under way.
type decoder struct {
	reader
	ctx    context.Context // for the length of one decode
	pixels *pool.Pool[uint32]
	codes  arena

	lengthTable [1 << 7]uint32 // of a code for code lengths, whose longest has 7 bits
}

const (
	literals      = 256
	lengthCodes   = 24
	distanceCodes = 40
	maxCacheBits  = 11
	maxSymbols    = literals + lengthCodes + 1<<maxCacheBits
)

// Decode decodes data, a VP8L bitstream. It looks at ctx once a row.
// [Image.Release] gives the memory back.
func (from Decoder) Decode(ctx context.Context, data []byte) (*Image, error) {
	d := &decoder{reader: reader{data: data}, ctx: ctx, pixels: from.Pixels}
	if d.bits(8) != 0x2f {
		return nil, corrupt("no signature")
	}
	img := &Image{Width: 1 + d.bits(14), Height: 1 + d.bits(14), pool: from.Pixels}
	d.flag() // alpha is used
	if d.bits(3) != 0 {
		return nil, corrupt("unknown version")
	}
	d.codes = arena{pool: from.Pixels, left: maxTables(img.Width, img.Height)}
	defer d.codes.release()
	if err := d.picture(img); err != nil {
		img.Release()
		return nil, err
	}
	return img, nil
}

// maxTables is how many entries all codes of a picture may have. An encoder
// that splits a picture into more parts than this allows spends more bits on
// their codes than on the pixels.
func maxTables(width, height int) int { return 1<<18 + width*height/2 }

// Memory is an upper bound of what the decode of a picture takes, in bytes.
func Memory(width, height int) int64 {
	px := int64(width) * int64(height)
	tile := int64(tiles(width, 2)) * int64(tiles(height, 2))
	// Three images of tiles, the rows under way, and the numbers of codes.
	return 4 * (px + int64(maxTables(width, height)) + 3*tile + 13*int64(width) + 1<<17)
}

func (d *decoder) picture(img *Image) error {
	width := img.Width
	var seen [4]bool
	for d.flag() {
		kind := d.bits(2)
		if seen[kind] {
			return corrupt("a transform that comes twice")
		}
		seen[kind] = true
		t := transform{kind: kind, width: width}
		switch kind {
		case predictor, crossColour:
			t.bits = 2 + uint(d.bits(3))
			var err error
			if t.data, err = d.entropyCoded(tiles(width, t.bits), tiles(img.Height, t.bits), false); err != nil {
				return err
			}
		case colourIndexing:
			n := 1 + d.bits(8)
			palette, err := d.entropyCoded(n, 1, false)
			if err != nil {
				return err
			}
			for i := 1; i < n; i++ {
				palette[i] = addPixels(palette[i], palette[i-1])
			}
			t.data = make([]uint32, 256) // an index beyond the palette is transparent black
			copy(t.data, palette[:n])
			d.pixels.Put(palette)
			for t.bits = 3; t.bits > 0 && n > 1<<(8>>t.bits); t.bits-- {
			}
			width = tiles(width, t.bits)
		}
		img.transforms = append(img.transforms, t)
	}
	var err error
	if img.pix, err = d.entropyCoded(width, img.Height, true); err != nil {
		return err
	}
	img.stride = width
	img.prepare()
	return nil
}

// tiles is how many tiles of 1<<bits cover n.
func tiles(n int, bits uint) int { return (n + 1<<bits - 1) >> bits }

// group is the five codes for a part of a picture.
type group struct {
	green, red, blue, alpha, distance code
	// Where alpha, or all but green, is the same everywhere, it takes no bits.
	fixedAlpha, fixedRest bool
	rest                  uint32 // what is fixed, in place
}

// groups are a picture's codes, and which part has which.
type groups struct {
	list  []group
	bits  uint
	index []uint32 // of a tile, nil for one group
	width int      // in tiles
}

// entropyCoded reads pixels. Of all images only the picture may have several
// groups of codes.
func (d *decoder) entropyCoded(width, height int, whole bool) ([]uint32, error) {
	cacheBits := uint(0)
	if d.flag() {
		if cacheBits = uint(d.bits(4)); cacheBits < 1 || cacheBits > maxCacheBits {
			return nil, corrupt("size of the colour cache")
		}
	}
	g, err := d.readGroups(width, height, cacheBits, whole)
	if err != nil {
		return nil, err
	}
	pix := d.pixels.Get(width*height + slack)
	err = d.readPixels(pix[:width*height], width, g, cacheBits)
	if g.index != nil {
		d.pixels.Put(g.index)
	}
	if err != nil {
		d.pixels.Put(pix)
		return nil, err
	}
	return pix, nil
}

// readGroups reads the codes. Numbers of groups that no tile has are passed
// over.
func (d *decoder) readGroups(width, height int, cacheBits uint, whole bool) (*groups, error) {
	g := &groups{list: make([]group, 1)}
	if !whole || !d.flag() {
		return g, d.readCodes(g, []uint32{1}, cacheBits)
	}
	g.bits = 2 + uint(d.bits(3))
	g.width = tiles(width, g.bits)
	n := g.width * tiles(height, g.bits)
	var err error
	if g.index, err = d.entropyCoded(g.width, n/g.width, false); err != nil {
		return nil, err
	}
	numbers := d.pixels.Get(1 << 16) // of a group: its place in list and 1, or 0
	defer d.pixels.Put(numbers)
	clear(numbers)
	most, used := uint32(0), uint32(0)
	for i, v := range g.index[:n] {
		v = v >> 8 & 0xffff
		if numbers[v] == 0 {
			used++
			numbers[v] = used
		}
		g.index[i] = numbers[v] - 1
		most = max(most, v)
	}
	g.list = make([]group, used)
	if err = d.readCodes(g, numbers[:most+1], cacheBits); err != nil {
		d.pixels.Put(g.index)
	}
	return g, err
}

func (d *decoder) readCodes(g *groups, numbers []uint32, cacheBits uint) error {
	room := make([]uint8, maxSymbols)
	green := literals + lengthCodes
	if cacheBits > 0 {
		green += 1 << cacheBits
	}
	for i, number := range numbers {
		if i%64 == 63 {
			if err := d.ctx.Err(); err != nil {
				return err
			}
		}
		kept, unused := d.codes, group{}
		to := &unused
		if number > 0 {
			to = &g.list[number-1]
		}
		for _, c := range []struct {
			to   *code
			size int
		}{
			{&to.green, green}, {&to.red, literals}, {&to.blue, literals}, {&to.alpha, literals},
			{&to.distance, distanceCodes},
		} {
			var err error
			if *c.to, err = d.readCode(c.size, room); err != nil {
				return err
			}
		}
		if number > 0 {
			to.settle()
		} else if len(d.codes.blocks) == len(kept.blocks) {
			d.codes = kept
		}
	}
	return nil
}

// settle looks for channels that take no bits.
func (g *group) settle() {
	red, fixedRed := g.red.single()
	blue, fixedBlue := g.blue.single()
	alpha, fixedAlpha := g.alpha.single()
	if g.fixedAlpha = fixedAlpha; fixedAlpha {
		g.rest = alpha << 24
	}
	if g.fixedRest = fixedAlpha && fixedRed && fixedBlue; g.fixedRest {
		g.rest |= red<<16 | blue
	}
}
