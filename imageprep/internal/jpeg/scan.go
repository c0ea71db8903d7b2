package jpeg

import "fmt"

// scanParams are the spectral selection and successive approximation of a
// progressive scan.
type scanParams struct{ start, end, high, low int }

// scan decodes one scan. It reports whether the image is complete without
// looking further: a sequential scan that holds every component ends the
// image, as it does in libjpeg, and a missing end-of-image marker is forgiven.
func (d *decoder) scan(b []byte) (done bool, err error) {
	if d.img == nil {
		return false, fmt.Errorf("%w: scan before its frame", ErrCorrupt)
	}
	comps, p, err := d.scanHeader(b)
	if err != nil {
		return false, err
	}
	d.scanned = true
	d.bits.reset(d.data, d.at)
	d.startSegment(comps)
	if err := d.mcus(comps, p); err != nil {
		return false, err
	}
	// What fill read ahead holds no marker, so the search may start there.
	d.at = d.bits.at
	return !d.progressive && len(comps) == len(d.img.comps), nil
}

func (d *decoder) scanHeader(b []byte) ([]*component, scanParams, error) {
	var p scanParams
	if len(b) < 1 || len(b) != 4+2*int(b[0]) || b[0] < 1 || b[0] > 4 {
		return nil, p, fmt.Errorf("%w: start of scan", ErrCorrupt)
	}
	n := int(b[0])
	p = scanParams{start: int(b[1+2*n]), end: int(b[2+2*n]), high: int(b[3+2*n] >> 4), low: int(b[3+2*n] & 15)}
	if d.progressive {
		if p.start > p.end || p.end > 63 || p.low > 13 || (p.high != 0 && p.high != p.low+1) ||
			(p.start == 0 && p.end != 0) || (p.start > 0 && n != 1) {
			return nil, p, fmt.Errorf("%w: progression %+v", ErrCorrupt, p)
		}
	}
	var comps []*component
	blocks := 0
	for i := range n {
		c, err := d.scanComponent(b[1+2*i], b[2+2*i], p)
		if err != nil {
			return nil, p, err
		}
		for _, other := range comps {
			if other == c {
				return nil, p, fmt.Errorf("%w: component twice in a scan", ErrCorrupt)
			}
		}
		comps = append(comps, c)
		blocks += c.h * c.v
	}
	if n > 1 && blocks > 10 {
		return nil, p, fmt.Errorf("%w: %d blocks in an MCU", ErrCorrupt, blocks)
	}
	return comps, p, nil
}

// scanComponent finds a component and gives it the tables of this scan.
func (d *decoder) scanComponent(id, tables byte, p scanParams) (*component, error) {
	var c *component
	for _, candidate := range d.img.comps {
		if candidate.id == id {
			c = candidate
			break
		}
	}
	if c == nil {
		return nil, fmt.Errorf("%w: scan of an unknown component", ErrCorrupt)
	}
	// The table in force at a component's first scan holds for all of them.
	if c.quant == nil {
		if c.quant = d.quant[c.tq]; c.quant == nil {
			return nil, fmt.Errorf("%w: no quantisation table %d", ErrCorrupt, c.tq)
		}
	}
	var err error
	if !d.progressive || (p.start == 0 && p.high == 0) {
		if c.dcTable, err = table(&d.dc, tables>>4); err != nil {
			return nil, err
		}
	}
	if !d.progressive || p.start > 0 {
		if c.acTabl, err = table(&d.ac, tables&15); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func table(from *[4]*huffmanSpec, id byte) (*huffman, error) {
	if id > 3 || from[id] == nil {
		return nil, fmt.Errorf("%w: no Huffman table %d", ErrCorrupt, id)
	}
	return from[id].build()
}

func (d *decoder) startSegment(comps []*component) {
	d.eobRun = 0
	for _, c := range comps {
		c.dcPred = 0
	}
}

// mcus decodes the units of a scan, row by row, with restarts.
func (d *decoder) mcus(comps []*component, p scanParams) error {
	cols, rows := ceilDiv(d.img.Width, 8*d.hMax), ceilDiv(d.img.Height, 8*d.vMax)
	single := len(comps) == 1
	if single {
		cols, rows = comps[0].scanX, comps[0].scanY
	}
	left, next := d.restart, byte(0)
	for y := range rows {
		if err := d.ctx.Err(); err != nil {
			return err
		}
		for x := range cols {
			if d.restart > 0 && left == 0 {
				if err := d.restartSegment(comps, next); err != nil {
					return err
				}
				left, next = d.restart, (next+1)%8
			}
			left--
			var err error
			if single {
				err = d.block(comps[0], x, y, p)
			} else {
				err = d.interleaved(comps, x, y, p)
			}
			if err != nil {
				return err
			}
			if d.bits.overrun() {
				return d.shortSegment()
			}
		}
	}
	return nil
}

func (d *decoder) shortSegment() error {
	if d.bits.ended() {
		return ErrTruncated
	}
	return fmt.Errorf("%w: image data ends early", ErrCorrupt)
}

func (d *decoder) interleaved(comps []*component, x, y int, p scanParams) error {
	for _, c := range comps {
		for j := range c.v {
			for i := range c.h {
				if err := d.block(c, x*c.h+i, y*c.v+j, p); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// restartSegment steps over restart marker number n.
func (d *decoder) restartSegment(comps []*component, n byte) error {
	d.at = d.bits.at
	marker, ok := d.nextMarker()
	if !ok {
		return ErrTruncated
	}
	if marker != markerRST0+n {
		return fmt.Errorf("%w: marker %#x in place of restart %d", ErrCorrupt, marker, n)
	}
	d.bits.reset(d.data, d.at)
	d.startSegment(comps)
	return nil
}

// block decodes one block of one component.
func (d *decoder) block(c *component, x, y int, p scanParams) error {
	if d.progressive {
		b := (*[64]int16)(c.coef[(y*c.blocksX+x)*64:])
		return d.progressiveBlock(c, b, p)
	}
	var b [64]int16
	end, err := d.sequentialBlock(c, &b)
	if err != nil {
		return err
	}
	at := c.pix[y*8*c.stride()+x*8:]
	if end == 1 {
		flat(int32(b[0])*c.quant[0], at, c.stride())
		return nil
	}
	inverseDCT(&b, c.quant, at, c.stride())
	return nil
}

var errCode = fmt.Errorf("%w: bad code in the image data", ErrCorrupt)

func (d *decoder) dcDifference(c *component) error {
	size, ok := d.bits.decode(c.dcTable)
	if !ok || size > 15 {
		return d.badCode()
	}
	c.dcPred += d.bits.extended(uint(size))
	return nil
}

// badCode tells damage from the zeros behind the end of a truncated file.
func (d *decoder) badCode() error {
	if d.bits.padded > 0 && d.bits.ended() {
		return ErrTruncated
	}
	return errCode
}

// sequentialBlock decodes one block and returns the position, in the order of
// the file, behind its last AC coefficient.
func (d *decoder) sequentialBlock(c *component, b *[64]int16) (end int, err error) {
	if err := d.dcDifference(c); err != nil {
		return 0, err
	}
	b[0] = int16(c.dcPred)
	r, h := &d.bits, c.acTabl
	end = 1
	for k := 1; k < 64; k++ {
		if r.n < 32 { // a code and its value
			r.fill()
		}
		if e := h.whole[r.acc>>uint(r.n-lookBits)&(1<<lookBits-1)]; e != 0 {
			r.n -= int(e & 0xFF)
			if k += int(e >> 8 & 0xFF); k > 63 {
				return 0, d.badCode()
			}
			b[zigzag[k]] = int16(e >> 16)
			end = k + 1
			continue
		}
		rs, ok := r.decode(h)
		if !ok {
			return 0, d.badCode()
		}
		run, size := int(rs>>4), uint(rs&15)
		if size == 0 {
			if run != 15 {
				break
			}
			k += 15
			continue
		}
		if k += run; k > 63 {
			return 0, d.badCode()
		}
		b[zigzag[k]] = int16(r.extended(size))
		end = k + 1
	}
	return end, nil
}
