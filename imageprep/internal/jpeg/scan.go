package jpeg

import (
	"encoding/binary"
	"fmt"
	"slices"
)

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
	d.startSegment(comps)
	if err := d.mcus(comps, p); err != nil {
		return false, err
	}
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
		c := d.unscanned(b[1+2*i], comps)
		if c == nil {
			return nil, p, fmt.Errorf("%w: scan of an unknown component, or of one twice", ErrCorrupt)
		}
		if err := d.prepareScan(c, b[2+2*i], p); err != nil {
			return nil, p, err
		}
		comps = append(comps, c)
		blocks += c.h * c.v
	}
	if n > 1 && blocks > 10 {
		return nil, p, fmt.Errorf("%w: %d blocks in an MCU", ErrCorrupt, blocks)
	}
	return comps, p, nil
}

// unscanned finds the component with an id that isn't among those of the scan
// yet. Several components with one id, which the standard forbids, are meant in
// their order.
func (d *decoder) unscanned(id byte, comps []*component) *component {
	for _, c := range d.img.comps {
		if c.id == id && !slices.Contains(comps, c) {
			return c
		}
	}
	return nil
}

// prepareScan gives a component the tables of this scan.
func (d *decoder) prepareScan(c *component, tables byte, p scanParams) error {
	// The table in force at a component's first scan holds for all of them.
	if c.quant == nil {
		if c.quant = d.quant[c.tq]; c.quant == nil {
			return fmt.Errorf("%w: no quantisation table %d", ErrCorrupt, c.tq)
		}
	}
	var err error
	if !d.progressive || (p.start == 0 && p.high == 0) {
		if c.dcTable, err = table(&d.dc, tables>>4, false); err != nil {
			return err
		}
	}
	if !d.progressive || p.start > 0 {
		if c.acTabl, err = table(&d.ac, tables&15, true); err != nil {
			return err
		}
	}
	if d.progressive {
		c.note(p)
	}
	return nil
}

// table builds a table of the file. Frames of Motion JPEG leave out those that
// the standard gives as an example.
func table(from *[4]*huffmanSpec, id byte, ac bool) (*huffman, error) {
	if id > 3 || from[id] == nil && id > 1 {
		return nil, fmt.Errorf("%w: no Huffman table %d", ErrCorrupt, id)
	}
	if from[id] == nil {
		from[id] = exampleTable(id, ac)
	}
	return from[id].build(ac)
}

// startSegment begins the entropy-coded data at d.at and steps over it.
func (d *decoder) startSegment(comps []*component) {
	if d.unstuffed == nil {
		d.unstuffed = d.pools.Samples.Get(len(d.data) - d.at + readAhead)
	}
	segment, length, ended := unstuff(d.unstuffed, d.data[d.at:])
	d.at += length
	d.bits.reset(segment, ended)
	d.eobRun = 0
	for _, c := range comps {
		c.dcPred = 0
	}
}

// mcus decodes the units of a scan, row by row, with restarts.
func (d *decoder) mcus(comps []*component, p scanParams) error {
	first, single := comps[0], len(comps) == 1
	cols, rows := first.blocksX/first.h, first.blocksY/first.v
	if single {
		cols, rows = first.scanX, first.scanY
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
				err = d.block(first, x, y, p)
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
	if d.bits.ended {
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
	marker, ok := d.nextMarker()
	if !ok {
		return ErrTruncated
	}
	if marker != markerRST0+n {
		return fmt.Errorf("%w: marker %#x in place of restart %d", ErrCorrupt, marker, n)
	}
	d.startSegment(comps)
	return nil
}

// block decodes one block of one component.
func (d *decoder) block(c *component, x, y int, p scanParams) error {
	if d.progressive {
		return d.progressiveBlock(c, y*c.blocksX+x, p)
	}
	var b [64]int16
	end, err := d.sequentialBlock(c, &b)
	if err != nil {
		return err
	}
	at := c.at(x, y)
	if end == 1 {
		flat(int32(b[0])*c.quant[0], at, c.stride(), c.size)
		return nil
	}
	c.inverseDCT(&b, at)
	return nil
}

var errCode = fmt.Errorf("%w: bad code in the image data", ErrCorrupt)

func (d *decoder) dcDifference(c *component) error {
	r := &d.bits
	if r.n < 32 { // a code and its value
		r.fill()
	}
	if e := c.dcTable.whole[r.acc>>(64-lookBits)]; e != 0 {
		r.acc <<= uint(e & 0xFF)
		r.n -= uint(e & 0xFF)
		c.dcPred += e >> 16
		return nil
	}
	size, ok := r.decode(c.dcTable)
	if !ok || size > 15 {
		return d.badCode()
	}
	c.dcPred += r.extended(uint(size))
	return nil
}

// badCode tells damage from the zeros behind the end of a truncated file.
func (d *decoder) badCode() error {
	const longestCode = 16
	if d.bits.ended && d.bits.left() < longestCode {
		return ErrTruncated
	}
	return errCode
}

// sequentialBlock decodes one block and returns the position, in the order of
// the file, behind its last AC coefficient. The state of the reader is in
// variables of its own meanwhile: they stay in registers.
func (d *decoder) sequentialBlock(c *component, b *[64]int16) (end int, err error) {
	if err := d.dcDifference(c); err != nil {
		return 0, err
	}
	b[0] = int16(c.dcPred)
	h, data := c.acTabl, d.bits.data
	at, acc, n := d.bits.at, d.bits.acc, d.bits.n
	end = 1
	for k := 1; k < 64; {
		if n < 32 { // a code and its value
			if at+readAhead <= len(data) {
				acc |= binary.BigEndian.Uint64(data[at:]) >> (n & 63)
			}
			at += int(63-n) >> 3
			n |= 56
		}
		if e := h.whole[acc>>(64-lookBits)]; e != 0 {
			acc <<= uint(e) & 63
			n -= uint(e) & 63
			k += int(e >> 8 & 0xFF)
			if k > 63 {
				if e>>8&0xFF == endOfBlock {
					break
				}
				d.bits.at, d.bits.acc, d.bits.n = at, acc, n
				return 0, d.badCode()
			}
			b[zigzag[k]] = int16(e >> 16)
			k++
			end = k
			continue
		}
		e := h.look[acc>>(64-lookBits)]
		rs, length, ok := byte(e), uint(e>>8), true
		if e == 0 {
			rs, length, ok = h.long(acc)
		}
		acc <<= length & 63
		n -= length
		run, size := int(rs>>4), uint(rs&15)
		if ok && size == 0 {
			if run != 15 {
				break
			}
			k += 16
			continue
		}
		if k += run; !ok || k > 63 {
			d.bits.at, d.bits.acc, d.bits.n = at, acc, n
			return 0, d.badCode()
		}
		b[zigzag[k]] = int16(extend(int32(acc>>(64-size)), size))
		acc <<= size
		n -= size
		k++
		end = k
	}
	d.bits.at, d.bits.acc, d.bits.n = at, acc, n
	return end, nil
}
