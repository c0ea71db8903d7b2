package clip

import (
	"html"
	"strconv"
	"strings"
	"unicode/utf8"
)

// unescapeHTML is Python's html.unescape: named references with and without a
// semicolon, the longest known name first, and numeric ones with HTML 5's
// exceptions.
func unescapeHTML(s string) string {
	return replaceReferences(s, func(rest string) (string, int) {
		if digits, base := numeric(rest); base != 0 {
			return numericReference(digits, base), semicolonAfter(rest, digits)
		}
		return namedReference(rest)
	})
}

// unescapeEntities is ftfy's unescape_html: only references that end in a
// semicolon, and some names in capitals that HTML does not know.
func unescapeEntities(s string) string {
	return replaceReferences(s, func(rest string) (string, int) {
		end := strings.IndexByte(rest[:min(len(rest), 1+longestEntity+1)], ';')
		body := strings.TrimPrefix(rest[:max(end, 0)], "#")
		if body == "" || len(body) > longestEntity || !isAlphanumeric(body) {
			return "", 0
		}
		if rest[0] == '#' {
			// ftfy keeps a reference whose expansion has a semicolon in it, even "&#59;".
			plain := unescapeHTML("&" + rest[:end+1])
			if strings.Contains(plain, ";") {
				return "", 0
			}
			return plain, end + 1
		}
		if text, ok := entity(rest[:end+1]); ok {
			return text, end + 1
		}
		if text, ok := capitalEntity(rest[:end+1]); ok {
			return text, end + 1
		}
		return "", 0
	})
}

// longestEntity is the longest name or number that ftfy looks at.
const longestEntity = 24

// replaceReferences calls expand with what follows each "&". expand returns
// the replacement and how much of the rest it stands for; 0 keeps the "&".
func replaceReferences(s string, expand func(rest string) (text string, length int)) string {
	at := strings.IndexByte(s, '&')
	if at < 0 {
		return s
	}
	var out strings.Builder
	out.Grow(len(s))
	for ; at >= 0; at = strings.IndexByte(s, '&') {
		out.WriteString(s[:at])
		s = s[at+1:]
		text, length := expand(s)
		if length == 0 {
			text = "&"
		}
		out.WriteString(text)
		s = s[length:]
	}
	out.WriteString(s)
	return out.String()
}

// numeric recognises "#123" and "#x1F" at the start of rest. base is 0 when
// there is no such thing.
func numeric(rest string) (digits string, base int) {
	if strings.HasPrefix(rest, "#x") || strings.HasPrefix(rest, "#X") {
		if n := countPrefix(rest[2:], isHexDigit); n > 0 {
			return rest[:2+n], 16
		}
		return "", 0
	}
	if strings.HasPrefix(rest, "#") {
		if n := countPrefix(rest[1:], isDigit); n > 0 {
			return rest[:1+n], 10
		}
	}
	return "", 0
}

// semicolonAfter returns the length of the digits and of one semicolon, if one
// follows them.
func semicolonAfter(rest, digits string) int {
	if strings.HasPrefix(rest[len(digits):], ";") {
		return len(digits) + 1
	}
	return len(digits)
}

// numericReference returns the character of "#123" or "#x1F", which HTML 5
// corrects in places.
func numericReference(digits string, base int) string {
	code, err := strconv.ParseUint(strings.TrimLeft(digits, "#xX"), base, 32)
	r := rune(min(code, utf8.MaxRune+1))
	switch {
	case err != nil, r == 0, r > utf8.MaxRune, 0xD800 <= r && r <= 0xDFFF:
		return "\uFFFD"
	case r == '\r':
		return "\r"
	case 0x80 <= r && r < 0xA0:
		return string(windows1252[r-0x80])
	case r < 0x09, r == 0x0B, 0x0E <= r && r < 0x20, r == 0x7F,
		0xFDD0 <= r && r <= 0xFDEF, r&0xFFFE == 0xFFFE:
		return ""
	}
	return string(r)
}

// namedReference expands a name of up to 32 characters at the start of rest.
func namedReference(rest string) (string, int) {
	name := nameAt(rest)
	if name == "" {
		return "", 0
	}
	if text, ok := entity(name); ok {
		return text, len(name)
	}
	// Only names without a semicolon may be a part of what stands there.
	for n := min(len(name)-1, longestLegacyName); n > 1; n-- {
		if text, ok := entity(name[:n]); ok {
			return text, n
		}
	}
	return "", 0
}

// longestLegacyName is the length of "Aacute" and its like, the longest names
// that HTML knows without a semicolon.
const longestLegacyName = 6

// nameAt returns what Python takes for a name: up to 32 characters that are
// not white space, "<", "&", "#" or ";", and a semicolon if one follows.
func nameAt(rest string) string {
	count := 0
	for i, r := range rest {
		if r == ';' && count > 0 {
			return rest[:i+1]
		}
		if count == 32 || strings.ContainsRune("\t\n\f <&#;", r) {
			return rest[:i]
		}
		count++
	}
	return rest
}

// entity looks up a whole name, such as "amp" or "amp;", in HTML 5's table.
// That table is in the standard library, behind a function that also expands
// parts of names. A name with a semicolon was found whole if the semicolon was
// used up, one without if a single character is left.
//
// The two names that the library leaves out, because their expansion is longer
// than they are, are here.
func entity(name string) (string, bool) {
	switch name {
	case "nGt;":
		return "\u226B\u20D2", true
	case "nLt;":
		return "\u226A\u20D2", true
	}
	text := html.UnescapeString("&" + name)
	if strings.HasSuffix(name, ";") {
		return text, text == ";" || !strings.HasSuffix(text, ";")
	}
	return text, utf8.RuneCountInString(text) == 1
}

// capitalEntity knows the names that ftfy adds, such as "NTILDE;" for Ñ: those
// of HTML's names without capitals that mean nothing when written in them.
func capitalEntity(name string) (string, bool) {
	if strings.ToUpper(name) != name || unescapeHTML("&"+name) != "&"+name {
		return "", false
	}
	text, ok := entity(strings.ToLower(name))
	if !ok {
		return "", false
	}
	return upper(text), true
}

// upper is Python's str.upper for the expansions of HTML's names.
func upper(s string) string {
	switch s {
	case "ß":
		return "SS"
	case "ŉ":
		return "ʼN"
	case "ﬀ", "ﬁ", "ﬂ", "ﬃ", "ﬄ":
		parts, _ := ligature([]rune(s)[0])
		return strings.ToUpper(parts)
	}
	return strings.ToUpper(s)
}

func isAlphanumeric(s string) bool {
	return countPrefix(s, func(b byte) bool { return isASCIILetter(b) || isDigit(b) }) == len(s)
}

func countPrefix(s string, is func(byte) bool) int {
	n := 0
	for n < len(s) && is(s[n]) {
		n++
	}
	return n
}

func isDigit(b byte) bool { return '0' <= b && b <= '9' }

func isHexDigit(b byte) bool { return isDigit(b) || 'a' <= b|0x20 && b|0x20 <= 'f' }
