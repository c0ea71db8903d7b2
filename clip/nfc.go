package clip

import (
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// nfc returns Unicode's normal form C of s. norm.NFC.String is not it for every
// text: it follows the stream-safe format and inserts a character after 30
// combining marks in a row, which Python does not. So norm supplies the data,
// and the algorithm is here.
func nfc(s string) string {
	if norm.NFC.IsNormalString(s) {
		return s
	}
	runes := decompose(s)
	return string(compose(runes))
}

// decompose returns the canonical decomposition of s in canonical order.
// Hangul syllables stay whole: composing would only build them again.
func decompose(s string) []markedRune {
	out := make([]markedRune, 0, len(s))
	for i, r := range s {
		p := norm.NFD.PropertiesString(s[i:])
		parts := p.Decomposition()
		if parts == nil {
			out = append(out, markedRune{r, p.CCC()})
			continue
		}
		for _, part := range string(parts) {
			out = append(out, markedRune{part, norm.NFD.PropertiesString(string(part)).CCC()})
		}
	}
	for start := 0; start < len(out); start++ {
		end := start
		for end < len(out) && out[end].class != 0 {
			end++
		}
		slices.SortStableFunc(out[start:end], func(a, b markedRune) int { return int(a.class) - int(b.class) })
		start = end
	}
	return out
}

// markedRune is a character with its canonical combining class; class 0 is a
// starter.
type markedRune struct {
	r     rune
	class uint8
}

// compose joins each starter with the marks that follow and that nothing
// blocks: between them stands no starter and no mark of the same or a higher
// class.
func compose(in []markedRune) []rune {
	out := make([]rune, 0, len(in))
	starter, lastClass := -1, uint8(0)
	for _, m := range in {
		adjacent := starter == len(out)-1
		if starter >= 0 && (adjacent || lastClass != 0 && lastClass < m.class) {
			if joined, ok := composePair(out[starter], m.r); ok {
				out[starter] = joined
				continue
			}
		}
		if m.class == 0 {
			starter = len(out)
		}
		lastClass = m.class
		out = append(out, m.r)
	}
	return out
}

// composePair returns the character that is canonically a followed by b.
func composePair(a, b rune) (rune, bool) {
	if b < 0x300 { // nothing below the combining marks joins what stands before it
		return 0, false
	}
	var two strings.Builder
	two.WriteRune(a)
	two.WriteRune(b)
	joined := []rune(norm.NFC.String(two.String()))
	if len(joined) != 1 {
		return 0, false
	}
	return joined[0], true
}
