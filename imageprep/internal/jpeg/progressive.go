package jpeg

// progressiveBlock adds one scan's share to the coefficients of a block,
// T.81 G.1.2 and G.2.
func (d *decoder) progressiveBlock(c *component, b *[64]int16, p scanParams) error {
	switch {
	case p.start == 0 && p.high == 0:
		if err := d.dcDifference(c); err != nil {
			return err
		}
		b[0] = int16(c.dcPred << p.low)
		return nil
	case p.start == 0:
		if d.bits.bit() != 0 {
			b[0] |= 1 << p.low
		}
		return nil
	case p.high == 0:
		return d.acFirst(c, b, p)
	}
	return d.acRefine(c, b, p)
}

// acFirst reads the first bits of a band of AC coefficients.
func (d *decoder) acFirst(c *component, b *[64]int16, p scanParams) error {
	if d.eobRun > 0 {
		d.eobRun--
		return nil
	}
	r := &d.bits
	for k := p.start; k <= p.end; k++ {
		rs, ok := r.decode(c.acTabl)
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
		b[zigzag[k]] = int16(r.extended(size) << p.low)
	}
	return nil
}

// acRefine adds one bit to a band: a correction for each coefficient that is
// not zero yet, and new coefficients of +-1.
func (d *decoder) acRefine(c *component, b *[64]int16, p scanParams) error {
	r := &d.bits
	k := p.start
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
				if value = -1 << p.low; r.bit() != 0 {
					value = 1 << p.low
				}
			case size != 0:
				return d.badCode()
			case run < 15:
				d.eobRun = 1<<run + int(r.bits(uint(run)))
			}
			if d.eobRun > 0 {
				break
			}
			k = r.correct(b, k, p.end, run, 1<<p.low)
			if value != 0 {
				if k > p.end {
					return d.badCode()
				}
				b[zigzag[k]] = value
			}
		}
	}
	if d.eobRun > 0 {
		d.eobRun--
		r.correct(b, k, p.end, -1, 1<<p.low)
	}
	return nil
}

// correct refines the nonzero coefficients from k on and returns the position
// of the zero after skip zeros; a negative skip goes to the end of the band.
func (r *bitReader) correct(b *[64]int16, k, end, skip int, bit int16) int {
	for ; k <= end; k++ {
		v := &b[zigzag[k]]
		if *v == 0 {
			if skip == 0 {
				return k
			}
			skip--
			continue
		}
		if r.bit() == 0 || *v&bit != 0 {
			continue
		}
		if *v > 0 {
			*v += bit
		} else {
			*v -= bit
		}
	}
	return k
}
