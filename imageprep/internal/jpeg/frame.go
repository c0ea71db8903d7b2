package jpeg

import "fmt"

// frame is what a start-of-frame segment says.
type frame struct {
	precision     int // bits a sample
	width, height int
	hMax, vMax    int // largest sampling factors
	comps         []*component
}

// component is one plane and how it is coded.
type component struct {
	id   byte
	h, v int // sampling factors
	tq   byte

	size            int // of a block's side in the plane: 8, or less where the image shrinks
	width, height   int // true size in samples, without padding
	blocksX         int // blocks in a row of the plane, padding to whole MCUs included
	blocksY         int
	scanX, scanY    int // blocks that a scan of this component alone holds
	quant           *quantTable
	pix             []byte   // blocksX*size x blocksY*size
	coef            []int16  // progressive only: blocksX x blocksY x 64, row-major blocks
	known           []uint64 // progressive only: the mask of each block
	missing         [64]int  // progressive only: how many low bits of each coefficient weren't sent yet; 0xFF: none was
	dcPred          int32
	dcTable, acTabl *huffman
}

func (c *component) stride() int { return c.blocksX * c.size }

// blocks is how many the plane has.
func (c *component) blocks() int { return c.blocksX * c.blocksY }

// samples is the size of the plane.
func (c *component) samples() int { return c.blocks() * c.size * c.size }

// at is the plane from a block on.
func (c *component) at(blockX, blockY int) []byte {
	return c.pix[blockY*c.size*c.stride()+blockX*c.size:]
}

// parseFrame reads the segment. The number of components and the sampling
// ratios are left to [frame.layOut].
func parseFrame(b []byte) (*frame, error) {
	if len(b) < 6 || len(b) != 6+3*int(b[5]) {
		return nil, fmt.Errorf("%w: start of frame of %d bytes", ErrCorrupt, len(b))
	}
	f := &frame{precision: int(b[0]), height: int(b[1])<<8 | int(b[2]), width: int(b[3])<<8 | int(b[4])}
	for b = b[6:]; len(b) > 0; b = b[3:] {
		f.comps = append(f.comps, &component{id: b[0], h: int(b[1] >> 4), v: int(b[1] & 15), tq: b[2]})
	}
	return f, nil
}

// layOut computes the planes' sizes for an image that shrinks by 1, 2, 4 or 8,
// as libjpeg's jdmaster.c does: a plane that is sampled more coarsely shrinks
// less, so that it needs no upsampling.
func (f *frame) layOut(by int) error {
	if n := len(f.comps); n != 1 && n != 3 && n != 4 {
		return fmt.Errorf("%w: %d components", ErrUnsupported, n)
	}
	for _, c := range f.comps {
		if c.h < 1 || c.h > 4 || c.v < 1 || c.v > 4 || c.tq > 3 {
			return fmt.Errorf("%w: component", ErrCorrupt)
		}
		f.hMax, f.vMax = max(f.hMax, c.h), max(f.vMax, c.v)
	}
	mcuX, mcuY := ceilDiv(f.width, 8*f.hMax), ceilDiv(f.height, 8*f.vMax)
	least := 8 / by
	for _, c := range f.comps {
		if f.hMax%c.h != 0 || f.vMax%c.v != 0 {
			return fmt.Errorf("%w: fractional sampling", ErrUnsupported)
		}
		c.size = least
		for c.size < 8 && f.hMax*least%(c.h*c.size*2) == 0 && f.vMax*least%(c.v*c.size*2) == 0 {
			c.size *= 2
		}
		c.width, c.height = ceilDiv(f.width*c.h*c.size, f.hMax*8), ceilDiv(f.height*c.v*c.size, f.vMax*8)
		c.scanX, c.scanY = ceilDiv(ceilDiv(f.width*c.h, f.hMax), 8), ceilDiv(ceilDiv(f.height*c.v, f.vMax), 8)
		c.blocksX, c.blocksY = mcuX*c.h, mcuY*c.v
	}
	return nil
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }
