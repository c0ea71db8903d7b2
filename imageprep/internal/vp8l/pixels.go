package vp8l

import "encoding/binary"

// hashFactor spreads colours over the cache, RFC 9649 section 5.2.3.
const hashFactor = 0x1e35a7bd

// nearDistances are what the first 120 distance codes stand for, in pixels to
// the left and rows above.
var nearDistances = [120]struct{ left, up int8 }{
	{0, 1}, {1, 0}, {1, 1}, {-1, 1}, {0, 2}, {2, 0}, {1, 2}, {-1, 2}, {2, 1}, {-2, 1},
	{2, 2}, {-2, 2}, {0, 3}, {3, 0}, {1, 3}, {-1, 3}, {3, 1}, {-3, 1}, {2, 3}, {-2, 3},
	{3, 2}, {-3, 2}, {0, 4}, {4, 0}, {1, 4}, {-1, 4}, {4, 1}, {-4, 1}, {3, 3}, {-3, 3},
	{2, 4}, {-2, 4}, {4, 2}, {-4, 2}, {0, 5}, {3, 4}, {-3, 4}, {4, 3}, {-4, 3}, {5, 0},
	{1, 5}, {-1, 5}, {5, 1}, {-5, 1}, {2, 5}, {-2, 5}, {5, 2}, {-5, 2}, {4, 4}, {-4, 4},
	{3, 5}, {-3, 5}, {5, 3}, {-5, 3}, {0, 6}, {6, 0}, {1, 6}, {-1, 6}, {6, 1}, {-6, 1},
	{2, 6}, {-2, 6}, {6, 2}, {-6, 2}, {4, 5}, {-4, 5}, {5, 4}, {-5, 4}, {3, 6}, {-3, 6},
	{6, 3}, {-6, 3}, {0, 7}, {7, 0}, {1, 7}, {-1, 7}, {5, 5}, {-5, 5}, {7, 1}, {-7, 1},
	{4, 6}, {-4, 6}, {6, 4}, {-6, 4}, {2, 7}, {-2, 7}, {7, 2}, {-7, 2}, {3, 7}, {-3, 7},
	{7, 3}, {-7, 3}, {5, 6}, {-5, 6}, {6, 5}, {-6, 5}, {8, 0}, {4, 7}, {-4, 7}, {7, 4},
	{-7, 4}, {8, 1}, {8, 2}, {6, 6}, {-6, 6}, {8, 3}, {5, 7}, {-5, 7}, {7, 5}, {-7, 5},
	{8, 4}, {6, 7}, {-6, 7}, {7, 6}, {-7, 6}, {8, 5}, {7, 7}, {-7, 7}, {8, 6}, {8, 7},
}

// readPixels decodes len(pix) pixels.
func (d *decoder) readPixels(pix []uint32, width int, g *groups, cacheBits uint) error {
	var cache []uint32
	if cacheBits > 0 {
		cache = make([]uint32, 1<<cacheBits)
	}
	cacheShift := 32 - cacheBits&31
	codes := &g.list[0]
	data, next, acc, n := d.data, d.at, d.acc, d.n
	for at, x, y := 0, 0, 0; at < len(pix); {
		if x >= width {
			y += x / width
			x %= width
			d.at, d.acc, d.n = next, acc, n
			if d.overrun() {
				return errShort
			}
			if err := d.ctx.Err(); err != nil {
				return err
			}
		}
		end := at + width - x // of the part with these codes, should it be all literals
		if g.index != nil {
			codes = &g.list[g.index[y>>g.bits*g.width+x>>g.bits]]
			end = min(end, at+(x|(1<<g.bits-1))+1-x)
		}
		start := at
		green, red, blue, rest := &codes.green, &codes.red, &codes.blue, codes.rest
		for at < end {
			if next+8 <= len(data) {
				acc |= binary.LittleEndian.Uint64(data[next:]) << (n & 63)
				next += int(63-n) >> 3
				n |= 56
			} else {
				d.at, d.acc, d.n = next, acc, n
				d.fill()
				next, acc, n = d.at, d.acc, d.n
			}
			e := green.table[acc&green.mask]
			if e&0xff > rootBits {
				e = green.table[e>>8+uint32(acc>>rootBits)&(1<<(e&0xff-rootBits)-1)]
			}
			acc >>= e & 63
			n -= uint(e & 63)
			symbol := e >> 8
			if symbol < literals {
				argb := symbol<<8 | rest
				if !codes.fixedRest {
					e = red.table[acc&red.mask]
					if e&0xff > rootBits {
						e = red.table[e>>8+uint32(acc>>rootBits)&(1<<(e&0xff-rootBits)-1)]
					}
					acc >>= e & 63
					n -= uint(e & 63)
					argb |= e >> 8 << 16
					e = blue.table[acc&blue.mask]
					if e&0xff > rootBits {
						e = blue.table[e>>8+uint32(acc>>rootBits)&(1<<(e&0xff-rootBits)-1)]
					}
					acc >>= e & 63
					n -= uint(e & 63)
					argb |= e >> 8
					if !codes.fixedAlpha {
						d.at, d.acc, d.n = next, acc, n
						d.fill()
						argb |= d.read(&codes.alpha) << 24
						next, acc, n = d.at, d.acc, d.n
					}
				}
				pix[at] = argb
				at++
				if cache != nil {
					cache[argb*hashFactor>>(cacheShift&31)] = argb
				}
				continue
			}
			if symbol >= literals+lengthCodes {
				argb := cache[symbol-literals-lengthCodes]
				pix[at] = argb
				at++
				cache[argb*hashFactor>>(cacheShift&31)] = argb
				continue
			}
			d.at, d.acc, d.n = next, acc, n
			length := d.prefixed(symbol - literals)
			d.fill()
			distance := distanceOf(d.prefixed(d.read(&codes.distance)), width)
			next, acc, n = d.at, d.acc, d.n
			if distance > at || length > len(pix)-at {
				return corrupt("a copy from outside the picture")
			}
			repeat(pix[at-distance:at+length], distance)
			if cache != nil {
				for _, argb := range pix[at : at+length] {
					cache[argb*hashFactor>>(cacheShift&31)] = argb
				}
			}
			at += length
		}
		x += at - start
	}
	d.at, d.acc, d.n = next, acc, n
	if d.overrun() {
		return errShort
	}
	return nil
}

// prefixed decodes what follows the code of a length or a distance, section
// 5.2.2.
func (d *decoder) prefixed(symbol uint32) int {
	if symbol < 4 {
		return int(symbol) + 1
	}
	extra := uint(symbol-2) >> 1
	return int(2+symbol&1)<<extra + d.bits(extra) + 1
}

// distanceOf gives the distance that a code stands for.
func distanceOf(code, width int) int {
	if code > len(nearDistances) {
		return code - len(nearDistances)
	}
	near := nearDistances[code-1]
	return max(1, int(near.up)*width+int(near.left))
}

// repeat fills what follows the first n pixels with what stands n before.
func repeat(pix []uint32, n int) {
	for done := n; done < len(pix); {
		done += copy(pix[done:], pix[:done])
	}
}
