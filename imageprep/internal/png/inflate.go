package png

import (
	"encoding/binary"
	"hash/adler32"
	"math/bits"
)

// The kinds of an entry of a table.
const (
	literal = iota << 5
	match   // a length or a distance: its base and extra bits
	endOfBlock
	longer  // a code of more bits: where its own table begins, and its size
	invalid // no code
)

// An entry is value<<16 | extra<<8 | kind | length: the bits of the code and
// what they mean. In a longer one, extra is the bits of the second table.
const (
	kindMask   = 7 << 5
	lengthMask = 1<<5 - 1
)

const (
	litBits  = 11
	distBits = 9
	// Room for second tables, to a power of two together with the first. A code
	// that needs more, which none does in practice, is left to image/png.
	litMore  = 6144
	distMore = 1536
)

// inflater decompresses zlib streams whose size is known. It holds tables of
// 40 kB and is reused.
type inflater struct {
	src []byte
	at  int
	bb  uint64 // bits, the next one lowest
	nb  uint   // how many are valid
	lit [1<<litBits + litMore]uint32
	dst [1<<distBits + distMore]uint32
}

// look is called now and then, and stops the work by returning false.
type look func() bool

// zlib decompresses all of src into all of out, no more and no less, and
// checks the sum. It says false of anything else.
func (f *inflater) zlib(out, src []byte, goOn look) bool {
	const trailer = 4
	if len(src) < 2+trailer || src[0]&15 != 8 || src[0]>>4 > 7 || src[1]&0x20 != 0 ||
		binary.BigEndian.Uint16(src)%31 != 0 {
		return false
	}
	f.src, f.at, f.bb, f.nb = src[:len(src)-trailer], 2, 0, 0
	defer func() { f.src = nil }()
	op, last := 0, false
	for !last {
		if !f.need(3) || !goOn() {
			return false
		}
		last = f.take(1) == 1
		var ok bool
		switch f.take(2) {
		case 0:
			op, ok = f.stored(out, op)
		case 1:
			ok = f.fixedTables()
			if ok {
				op, ok = f.block(out, op, goOn)
			}
		case 2:
			ok = f.dynamicTables()
			if ok {
				op, ok = f.block(out, op, goOn)
			}
		}
		if !ok {
			return false
		}
	}
	unused := int(f.nb / 8)
	return op == len(out) && f.at-unused == len(f.src) &&
		adler32.Checksum(out) == binary.BigEndian.Uint32(src[len(src)-trailer:])
}

// need makes n <= 32 bits available, unless the stream ends before.
func (f *inflater) need(n uint) bool {
	for f.nb < n {
		if f.at >= len(f.src) {
			return false
		}
		f.bb |= uint64(f.src[f.at]) << f.nb
		f.at++
		f.nb += 8
	}
	return true
}

// take returns n bits that are there.
func (f *inflater) take(n uint) int {
	v := int(f.bb & (1<<n - 1))
	f.bb >>= n
	f.nb -= n
	return v
}

func (f *inflater) stored(out []byte, op int) (int, bool) {
	f.take(f.nb % 8)
	f.at -= int(f.nb / 8) // whole bytes that were read ahead
	f.bb, f.nb = 0, 0
	if len(f.src)-f.at < 4 {
		return op, false
	}
	n := int(binary.LittleEndian.Uint16(f.src[f.at:]))
	if n^0xFFFF != int(binary.LittleEndian.Uint16(f.src[f.at+2:])) || len(f.src)-f.at-4 < n || len(out)-op < n {
		return op, false
	}
	copy(out[op:], f.src[f.at+4:][:n])
	f.at += 4 + n
	return op + n, true
}

var codeOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

func (f *inflater) dynamicTables() bool {
	if !f.need(14) {
		return false
	}
	nLit, nDist, nCode := f.take(5)+257, f.take(5)+1, f.take(4)+4
	if nLit > 286 || nDist > 30 {
		return false
	}
	var lengths [286 + 30]uint8
	var codeLengths [19]uint8
	for i := range nCode {
		if !f.need(3) {
			return false
		}
		codeLengths[codeOrder[i]] = uint8(f.take(3))
	}
	// The first table serves for the lengths of the other two.
	if !build(f.lit[:1<<7], 7, codeLengths[:], plain) {
		return false
	}
	for i := 0; i < nLit+nDist; {
		f.need(14) // fewer may be enough at the end
		e := f.lit[f.bb&(1<<7-1)]
		n := uint(e & lengthMask)
		if e&kindMask != literal || n > f.nb {
			return false
		}
		f.take(n)
		symbol := e >> 16
		if symbol < 16 {
			lengths[i] = uint8(symbol)
			i++
			continue
		}
		extra, base, value := uint(2), 3, uint8(0)
		switch symbol {
		case 16:
			if i == 0 {
				return false
			}
			value = lengths[i-1]
		case 17:
			extra = 3
		case 18:
			extra, base = 7, 11
		}
		if f.nb < extra {
			return false
		}
		repeat := base + f.take(extra)
		if i+repeat > nLit+nDist {
			return false
		}
		for range repeat {
			lengths[i] = value
			i++
		}
	}
	return build(f.lit[:], litBits, lengths[:nLit], litEntry) &&
		build(f.dst[:], distBits, lengths[nLit:nLit+nDist], distEntry)
}

func (f *inflater) fixedTables() bool {
	var lengths [288]uint8
	for i := range lengths {
		switch {
		case i < 144, i >= 280:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		default:
			lengths[i] = 7
		}
	}
	var dist [32]uint8
	for i := range dist {
		dist[i] = 5
	}
	return build(f.lit[:], litBits, lengths[:], litEntry) && build(f.dst[:], distBits, dist[:], distEntry)
}

func plain(symbol int) uint32 { return uint32(symbol)<<16 | literal }

// litEntry is the meaning of a literal or length symbol, RFC 1951 3.2.5.
func litEntry(symbol int) uint32 {
	switch {
	case symbol < 256:
		return uint32(symbol)<<16 | literal
	case symbol == 256:
		return endOfBlock
	case symbol < 265:
		return uint32(symbol-254)<<16 | match
	case symbol == 285:
		return 258<<16 | match
	case symbol > 285:
		return invalid
	}
	extra := uint32(symbol-261) / 4
	return ((4+uint32(symbol-261)%4)<<extra+3)<<16 | extra<<8 | match
}

// distEntry is the meaning of a distance symbol.
func distEntry(symbol int) uint32 {
	switch {
	case symbol < 4:
		return uint32(symbol+1)<<16 | match
	case symbol > 29:
		return invalid
	}
	extra := uint32(symbol-2) / 2
	return ((2+uint32(symbol)%2)<<extra+1)<<16 | extra<<8 | match
}

// build makes the table of a canonical code. Like compress/flate it wants the
// code complete, but for none at all and a single code of one bit.
func build(table []uint32, first uint, lengths []uint8, meaning func(symbol int) uint32) bool {
	var count [16]int
	longest := uint(0)
	for _, n := range lengths {
		count[n]++
		longest = max(longest, uint(n))
	}
	for i := range table[:1<<first] {
		table[i] = invalid
	}
	if longest == 0 {
		return true
	}
	var next [17]int
	code := 0
	for n := 1; n <= 15; n++ {
		next[n] = code
		code = (code + count[n]) << 1
	}
	used := 0
	for n := uint(1); n <= longest; n++ {
		used += count[n] << (longest - n)
	}
	if used != 1<<longest && !(used == 1 && longest == 1) {
		return false
	}
	free := 1 << first // where the next second table begins
	for symbol, length := range lengths {
		n := uint(length)
		if n == 0 {
			continue
		}
		reversed := int(bits.Reverse16(uint16(next[n])) >> (16 - n))
		next[n]++
		e := meaning(symbol)
		if n <= first {
			for i := reversed; i < 1<<first; i += 1 << n {
				table[i] = e | uint32(n)
			}
			continue
		}
		root := &table[reversed&(1<<first-1)]
		if *root&kindMask != longer {
			size := longest - first
			if free+1<<size > len(table) {
				return false
			}
			for i := range 1 << size {
				table[free+i] = invalid
			}
			*root = uint32(free)<<16 | uint32(size)<<8 | longer | uint32(first)
			free += 1 << size
		}
		second := table[*root>>16:][:1<<(longest-first)]
		for i := reversed >> first; i < len(second); i += 1 << (n - first) {
			second[i] = e | uint32(n-first)
		}
	}
	return true
}

const (
	longestMatch = 258
	// slack is how far a copy in steps of eight may write beyond its end.
	slack = longestMatch + 16
	// stretch is how much is written between two looks.
	stretch = 16 << 10
)

// block decodes one compressed block from out[op:] on.
func (f *inflater) block(out []byte, op int, goOn look) (int, bool) {
	for {
		var done bool
		var ok bool
		if op, done, ok = f.quick(out, op, min(op+stretch, len(out)-slack)); !ok || done {
			return op, ok
		}
		if !goOn() {
			return op, false
		}
		// Near an end: one symbol with every check.
		if op, done, ok = f.careful(out, op); !ok || done {
			return op, ok
		}
	}
}

// quick decodes until op reaches limit or the input is nearly used up.
func (f *inflater) quick(out []byte, op, limit int) (at int, done, ok bool) {
	src, pos, bb, nb := f.src, f.at, f.bb, f.nb
	lit, dst := &f.lit, &f.dst
	defer func() {
		f.at, f.bb, f.nb = pos, bb, nb
	}()
	for op < limit && pos+16 <= len(src) {
		bb |= binary.LittleEndian.Uint64(src[pos:]) << (nb & 63)
		pos += int((63 - nb) >> 3)
		nb |= 56
		e := lit[bb&(1<<litBits-1)]
		if e&kindMask == literal { // up to three in a row, 33 bits
			bb >>= e & lengthMask
			nb -= uint(e & lengthMask)
			out[op] = byte(e >> 16)
			op++
			if e = lit[bb&(1<<litBits-1)]; e&kindMask == literal {
				bb >>= e & lengthMask
				nb -= uint(e & lengthMask)
				out[op] = byte(e >> 16)
				op++
				if e = lit[bb&(1<<litBits-1)]; e&kindMask == literal {
					bb >>= e & lengthMask
					nb -= uint(e & lengthMask)
					out[op] = byte(e >> 16)
					op++
					continue
				}
			}
			// What follows takes at most 48 bits: read on.
			bb |= binary.LittleEndian.Uint64(src[pos:]) << (nb & 63)
			pos += int((63 - nb) >> 3)
			nb |= 56
		}
		if e&kindMask == longer {
			bb >>= litBits
			nb -= litBits
			e = lit[(uint(e>>16)+uint(bb&(1<<(e>>8&31)-1)))&(1<<litBits+litMore-1)]
		}
		bb >>= e & lengthMask
		nb -= uint(e & lengthMask)
		switch e & kindMask {
		case literal:
			out[op] = byte(e >> 16)
			op++
			continue
		case endOfBlock:
			return op, true, true
		case match:
		default:
			return op, false, false
		}
		extra := e >> 8 & 31
		length := int(e>>16) + int(bb&(1<<extra-1))
		bb >>= extra
		nb -= uint(extra)
		e = dst[bb&(1<<distBits-1)]
		if e&kindMask == longer {
			bb >>= distBits
			nb -= distBits
			e = dst[(uint(e>>16)+uint(bb&(1<<(e>>8&31)-1)))&(1<<distBits+distMore-1)]
		}
		if e&kindMask != match {
			return op, false, false
		}
		bb >>= e & lengthMask
		nb -= uint(e & lengthMask)
		extra = e >> 8 & 31
		distance := int(e>>16) + int(bb&(1<<extra-1))
		bb >>= extra
		nb -= uint(extra)
		if distance > op {
			return op, false, false
		}
		from := op - distance
		if distance >= 8 {
			for i := 0; i < length; i += 8 {
				binary.LittleEndian.PutUint64(out[op+i:], binary.LittleEndian.Uint64(out[from+i:]))
			}
			op += length
			continue
		}
		for range length {
			out[op] = out[from]
			op, from = op+1, from+1
		}
	}
	return op, false, true
}

// careful decodes one symbol.
func (f *inflater) careful(out []byte, op int) (at int, done, ok bool) {
	e, ok := f.symbol(f.lit[:], litBits)
	if !ok {
		return op, false, false
	}
	switch e & kindMask {
	case literal:
		if op == len(out) {
			return op, false, false
		}
		out[op] = byte(e >> 16)
		return op + 1, false, true
	case endOfBlock:
		return op, true, true
	case match:
	default:
		return op, false, false
	}
	length, ok := f.value(e)
	if !ok {
		return op, false, false
	}
	if e, ok = f.symbol(f.dst[:], distBits); !ok || e&kindMask != match {
		return op, false, false
	}
	distance, ok := f.value(e)
	if !ok || distance > op || length > len(out)-op {
		return op, false, false
	}
	for range length {
		out[op] = out[op-distance]
		op++
	}
	return op, false, true
}

// symbol takes a code.
func (f *inflater) symbol(table []uint32, first uint) (uint32, bool) {
	f.need(15) // fewer may be enough at the end
	e := table[f.bb&(1<<first-1)]
	if e&kindMask == longer {
		if f.nb < first {
			return 0, false
		}
		f.take(first)
		e = table[e>>16:][f.bb&(1<<(e>>8&31)-1)]
	}
	n := uint(e & lengthMask)
	if n > f.nb || e&kindMask == invalid {
		return 0, false
	}
	f.take(n)
	return e, true
}

// value takes the extra bits of a length or distance.
func (f *inflater) value(e uint32) (int, bool) {
	extra := uint(e >> 8 & 31)
	if !f.need(extra) {
		return 0, false
	}
	return int(e>>16) + f.take(extra), true
}
