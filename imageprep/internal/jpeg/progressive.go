package jpeg

import "math/bits"

// neverSent stands for all bits of a coefficient.
const neverSent = 0xFF

// note remembers what a scan sends.
func (c *component) note(p scanParams) {
	for k := p.start; k <= p.end; k++ {
		c.missing[k] = p.low
	}
}

// complete reports whether every bit was sent. libjpeg, and so Pillow, shows a
// smoothed preview otherwise.
func (c *component) complete() bool { return c.missing == [64]int{} }

// progressiveBlock adds one scan's share to the coefficients of a block,
// T.81 G.1.2 and G.2.
func (d *decoder) progressiveBlock(c *component, block int, p scanParams) error {
	b := (*[64]int16)(c.coef[block*64:])
	switch {
	case p.start == 0 && p.high == 0:
		if err := d.dcDifference(c); err != nil {
			return err
		}
		b[0] = int16(c.dcPred << p.low)
		return nil
	case p.start == 0:
		if d.bits.bits(1) != 0 {
			b[0] |= 1 << p.low
		}
		return nil
	case p.high == 0:
		return d.acFirst(c, b, (*mask)(&c.known[block]), p)
	}
	return d.acRefine(c, b, (*mask)(&c.known[block]), p)
}

// acFirst reads the first bits of a band of AC coefficients.
func (d *decoder) acFirst(c *component, b *[64]int16, known *mask, p scanParams) error {
	if d.eobRun > 0 {
		d.eobRun--
		return nil
	}
	r, h := &d.bits, c.acTabl
	for k := p.start; k <= p.end; k++ {
		if r.n < 32 { // a code and its value
			r.fill()
		}
		if e := h.whole[r.acc>>(64-lookBits)]; e != 0 {
			r.acc <<= uint(e) & 63
			r.n -= uint(e) & 63
			if k += int(e >> 8 & 0xFF); k > 63 {
				if e>>8&0xFF == endOfBlock {
					return nil
				}
				return d.badCode()
			}
			known.put(b, k, int16(e>>16<<p.low))
			continue
		}
		rs, ok := r.decode(h)
		if !ok {
			return d.badCode()
		}
		run, size := int(rs>>4), uint(rs&15)
		if size == 0 {
			if run < 15 {
				d.eobRun = 1<<run - 1 + int(r.bits(uint(run)))
				return nil
			}
			k += 15
			continue
		}
		if k += run; k > 63 {
			return d.badCode()
		}
		known.put(b, k, int16(r.extended(size)<<p.low))
	}
	return nil
}

// mask has a bit for each AC coefficient of a block, in the order of the file,
// that isn't zero. Refining goes by it, and so touches these alone.
type mask uint64

// put stores a coefficient. Only damage makes one that is zero.
func (m *mask) put(b *[64]int16, k int, v int16) {
	b[zigzag[k]] = v
	*m |= 1 << k
	if v == 0 {
		*m &^= 1 << k
	}
}

// from returns the positions from k to end.
func from(k, end int) mask { return mask(1<<(end+1)-1) &^ (1<<k - 1) }

// acRefine adds one bit to a band: a correction for each coefficient that is
// not zero yet, and new coefficients of +-1.
func (d *decoder) acRefine(c *component, b *[64]int16, known *mask, p scanParams) error {
	r := &d.bits
	k, bit := p.start, int16(1)<<p.low
	if d.eobRun == 0 {
		for ; k <= p.end; k++ {
			rs, ok := r.decode(c.acTabl)
			if !ok {
				return d.badCode()
			}
			run, size := int(rs>>4), rs&15
			var value int16
			switch {
			case size == 1:
				if value = -bit; r.bits(1) != 0 {
					value = bit
				}
			case size != 0:
				return d.badCode()
			case run < 15:
				d.eobRun = 1<<run + int(r.bits(uint(run)))
			}
			if d.eobRun > 0 {
				break
			}
			// The place is the zero behind run others.
			zeros := from(k, p.end) &^ *known
			for range run {
				zeros &= zeros - 1
			}
			place := p.end + 1
			if zeros != 0 {
				place = bits.TrailingZeros64(uint64(zeros))
			}
			r.correct(b, *known&from(k, place-1), bit)
			if k = place; value != 0 {
				if k > p.end {
					return d.badCode()
				}
				known.put(b, k, value)
			}
		}
	}
	if d.eobRun > 0 {
		d.eobRun--
		r.correct(b, *known&from(k, p.end), bit)
	}
	return nil
}

// correct reads one bit for each of some coefficients, none of which is zero,
// and adds it to their absolute values.
func (r *bitReader) correct(b *[64]int16, which mask, bit int16) {
	for which != 0 {
		n := uint(min(bits.OnesCount64(uint64(which)), 32))
		if r.n < n {
			r.fill()
		}
		given := r.acc
		r.acc <<= n
		r.n -= n
		for range n {
			v := &b[zigzag[bits.TrailingZeros64(uint64(which))]]
			which &= which - 1
			// Without a branch, which nobody could foretell: bit where the one given is
			// set and v has it not, with the sign of v.
			sign := *v >> 15
			*v += (bit&^*v&int16(int64(given)>>63) ^ sign) - sign
			given <<= 1
		}
	}
}
