package clip

import (
	"regexp"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/agiqa/agiqa/quality"
)

// MaxEscapeDepth is how many layers of HTML escapes ("&amp;amp;lt;" has three)
// a text may have. ftfy peels them one pass over the text at a time, so without
// a bound the cost of a text would grow with the square of its length.
const MaxEscapeDepth = 16

// fixText applies ftfy's fix_text (6.3.1) without its repair of mojibake. Like
// ftfy it works line by line, and stops unescaping HTML from the first line on
// that has a "<": such a text is taken for HTML source.
func fixText(text string) (string, error) {
	var out strings.Builder
	out.Grow(len(text))
	unescape := true
	for line := range strings.SplitAfterSeq(text, "\n") {
		unescape = unescape && !strings.Contains(line, "<")
		fixed, err := fixLine(line, unescape)
		if err != nil {
			return "", err
		}
		out.WriteString(fixed)
	}
	return out.String(), nil
}

// fixLine repeats ftfy's fixes in their order until none has an effect.
func fixLine(line string, unescape bool) (string, error) {
	for range MaxEscapeDepth + 1 { // the last pass only sees that all is done
		before := line
		if unescape {
			line = unescapeEntities(line)
		}
		line = replaceCharacters(line)
		line = lineBreaks.Replace(line)
		line = terminalEscape.ReplaceAllLiteralString(line, "")
		line = removeControls(line)
		line = nfc(line)
		if line == before {
			return line, nil
		}
	}
	return "", quality.Errorf(quality.KindBadRequest,
		"the text has more than %d layers of HTML escapes", MaxEscapeDepth)
}

// replaceCharacters applies the fixes that replace one character, in ftfy's
// order: C1 controls, ligatures, widths, quotes.
func replaceCharacters(s string) string {
	if isASCII(s) {
		return s
	}
	var out strings.Builder
	out.Grow(len(s))
	for _, r := range s {
		if 0x80 <= r && r < 0xA0 {
			r = windows1252[r-0x80]
		}
		if parts, ok := ligature(r); ok {
			for _, part := range parts {
				out.WriteRune(uncurled(part))
			}
			continue
		}
		if 0xFF01 <= r && r < 0xFFF0 { // full-width and half-width forms
			for _, part := range norm.NFKC.String(string(r)) {
				out.WriteRune(uncurled(part))
			}
			continue
		}
		out.WriteRune(uncurled(r))
	}
	return out.String()
}

// windows1252 is what the bytes 0x80 to 0x9F mean in Windows-1252; the five
// that mean nothing there stay what they are.
var windows1252 = [32]rune{
	0x20AC, 0x81, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021,
	0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0x8D, 0x017D, 0x8F,
	0x90, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014,
	0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x9D, 0x017E, 0x0178,
}

// ligatures are the Latin ligatures and digraphs that ftfy takes apart.
const ligatures = "ĲĳŉǄǅǆǇǈǉǊǋǌǱǲǳﬀﬁﬂﬃﬄﬅﬆ"

// ligature returns the letters of a ligature.
func ligature(r rune) (parts string, ok bool) {
	switch {
	case r == 'ﬅ':
		return "ſt", true // NFKC replaces the long s, too
	case strings.ContainsRune(ligatures, r):
		return norm.NFKC.String(string(r)), true
	}
	return "", false
}

// uncurled makes curly quotes straight and the ideographic space a space.
func uncurled(r rune) rune {
	switch {
	case r == 0x02BC || 0x2018 <= r && r <= 0x201B:
		return '\''
	case 0x201C <= r && r <= 0x201F:
		return '"'
	case r == 0x3000:
		return ' '
	}
	return r
}

// lineBreaks makes every line break "\n".
var lineBreaks = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u2028", "\n", "\u2029", "\n", "\u0085", "\n")

// terminalEscape matches ANSI escapes as ftfy does. Python's \d are the digits
// of any script.
var terminalEscape = regexp.MustCompile(`\x1b\[[\p{Nd};]*[a-zA-Z]`)

// removeControls drops characters that show nothing.
func removeControls(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r <= 0x08, r == 0x0B, 0x0E <= r && r <= 0x1F, r == 0x7F,
			0x206A <= r && r <= 0x206F, r == 0xFEFF, 0xFFF9 <= r && r <= 0xFFFC:
			return -1
		}
		return r
	}, s)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func isASCIILetter(b byte) bool { return 'a' <= b|0x20 && b|0x20 <= 'z' }
