package vp8l

import (
	"math/bits"

	"github.com/agiqa/agiqa/imageprep/internal/pool"
)

const (
	maxLength = 15 // of a code
	rootBits  = 9  // of the first look-up
	lengths   = 19 // symbols of the code for code lengths
)

// code looks symbols up by the bits that come next, in two steps where there are
// codes of more than rootBits. An entry is symbol<<8 + length; one that leads to
// the second step is index<<8 + rootBits + the bits of that step.
type code struct {
	table []uint32
	mask  uint64 // of the first step
}

// single reports the only symbol of a code that takes no bits.
func (c *code) single() (symbol uint32, ok bool) { return c.table[0] >> 8, c.table[0]&0xff == 0 }

// read decodes a symbol; 15 bits must be available.
func (r *reader) read(c *code) uint32 {
	e := c.table[r.acc&c.mask]
	if e&0xff > rootBits {
		e = c.table[e>>8+uint32(r.acc>>rootBits)&(1<<(e&0xff-rootBits)-1)]
	}
	r.acc >>= e & 63
	r.n -= uint(e & 63)
	return e >> 8
}

// build makes the canonical code of the given lengths. It is an error if they
// leave bits unused or need too many, but for a single symbol.
func (a *arena) build(lengths []uint8) (code, error) {
	var count, next [maxLength + 2]int
	symbols, last, longest := 0, 0, uint8(0)
	for s, n := range lengths {
		if n != 0 {
			count[n]++
			symbols, last, longest = symbols+1, s, max(longest, n)
		}
	}
	if symbols == 0 {
		return code{}, corrupt("a code without symbols")
	}
	if symbols == 1 {
		table := a.take(1)
		if table == nil {
			return code{}, errTables
		}
		table[0] = uint32(last) << 8
		return code{table: table}, nil
	}
	open := 1
	for n := 1; n <= maxLength; n++ {
		next[n+1] = (next[n] + count[n]) << 1
		if open = open<<1 - count[n]; open < 0 {
			return code{}, corrupt("a code of too many symbols")
		}
	}
	if open != 0 {
		return code{}, corrupt("a code with bits unused")
	}
	root := 1 << min(longest, rootBits)
	size := root
	var behind [1 << rootBits]struct { // each entry of the first step
		start   int
		longest uint8
	}
	if longest > rootBits {
		starts := next
		for _, n := range lengths {
			if n > rootBits {
				b := &behind[reverse(starts[n], n)&(root-1)]
				b.longest = max(b.longest, n)
			}
			starts[n]++
		}
		for i := range behind {
			if n := behind[i].longest; n != 0 {
				behind[i].start = size
				size += 1 << (n - rootBits)
			}
		}
	}
	table := a.take(size)
	if table == nil {
		return code{}, errTables
	}
	for s, n := range lengths {
		if n == 0 {
			continue
		}
		at, entry := reverse(next[n], n), uint32(s)<<8|uint32(n)
		next[n]++
		if n <= rootBits {
			for ; at < root; at += 1 << n {
				table[at] = entry
			}
			continue
		}
		b := &behind[at&(root-1)]
		table[at&(root-1)] = uint32(b.start)<<8 | uint32(b.longest)
		second := table[b.start:][:1<<(b.longest-rootBits)]
		for at >>= rootBits; at < len(second); at += 1 << (n - rootBits) {
			second[at] = entry
		}
	}
	return code{table, uint64(root - 1)}, nil
}

func reverse(v int, n uint8) int { return int(bits.Reverse16(uint16(v)) >> (16 - n)) }

// arena holds the tables of a picture's codes, and bounds them.
type arena struct {
	pool   *pool.Pool[uint32]
	blocks [][]uint32
	free   []uint32
	left   int // entries that may still be had
}

const arenaBlock = 1 << 14

var errTables = corrupt("more codes than the picture is worth")

func (a *arena) take(n int) []uint32 {
	if n > len(a.free) {
		size := max(n, min(arenaBlock, a.left))
		if size > a.left {
			return nil
		}
		a.left -= size
		a.free = a.pool.Get(size)
		a.blocks = append(a.blocks, a.free)
	}
	t := a.free[:n:n]
	a.free = a.free[n:]
	return t
}

func (a *arena) release() {
	for _, b := range a.blocks {
		a.pool.Put(b)
	}
	a.blocks, a.free = nil, nil
}

// lengthOrder is the order in which the lengths of the code for code lengths
// come.
var lengthOrder = [lengths]uint8{17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}

// readCode reads a code of size symbols. into has room for the lengths of the
// largest code.
func (d *decoder) readCode(size int, into []uint8) (code, error) {
	into = into[:cap(into)]
	clear(into)
	if d.flag() { // one or two symbols
		two := d.flag()
		width := uint(1)
		if d.flag() {
			width = 8
		}
		into[d.bits(width)] = 1
		if two {
			into[d.bits(8)] = 1
		}
	} else if err := d.readLengths(into[:size]); err != nil {
		return code{}, err
	}
	if d.overrun() {
		return code{}, errShort
	}
	return d.codes.build(into[:size])
}

// readLengths reads lengths that are coded themselves.
func (d *decoder) readLengths(into []uint8) error {
	var own [lengths]uint8
	for _, at := range lengthOrder[:4+d.bits(4)] {
		own[at] = uint8(d.bits(3))
	}
	scratch := arena{free: d.lengthTable[:]}
	c, err := scratch.build(own[:])
	if err != nil {
		return err
	}
	left := len(into)
	if d.flag() {
		width := 2 + 2*uint(d.bits(3))
		if left = 2 + d.bits(width); left > len(into) {
			return corrupt("more code lengths than symbols")
		}
	}
	previous := uint8(8)
	for at := 0; at < len(into) && left > 0; left-- {
		d.fill()
		symbol := d.read(&c)
		if symbol < 16 {
			into[at] = uint8(symbol)
			at++
			if symbol != 0 {
				previous = uint8(symbol)
			}
			continue
		}
		n, v := 0, uint8(0)
		switch symbol {
		case 16:
			n, v = 3+d.bits(2), previous
		case 17:
			n = 3 + d.bits(3)
		default:
			n = 11 + d.bits(7)
		}
		if at+n > len(into) {
			return corrupt("a run of code lengths beyond the last symbol")
		}
		for range n {
			into[at] = v
			at++
		}
	}
	return nil
}
