package gateway

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/agiqa/agiqa/quality"
)

const (
	// longText is the length from which a JSON string can only be an image: the
	// longest prompt, all of it escaped, is shorter.
	longText = 32 << 10
	// textPerImage is room for everything about an image that is no long text.
	textPerImage = 3 * longText
)

// maxText bounds a JSON body without its long texts.
func maxText(maxImages int) int64 { return 64<<10 + textPerImage*int64(maxImages) }

// condensed is a JSON text whose long strings were replaced by short ones that
// stand for them. So the images in a body are never copied: everything but them
// is parsed as small JSON, and they are decoded where they are.
type condensed struct {
	text  []byte
	long  [][]byte // between the quotation marks, still escaped
	mark  string   // begins what stands for a long string; a client can't know it
	moved []moved
}

// moved says by how much what follows a place in the text comes later in the
// body.
type moved struct{ at, by int }

// condense replaces the long strings of body. It looks for quotation marks alone:
// where body isn't JSON, the condensed text isn't either. Errors: bad_request,
// payload_too_large.
func condense(body []byte, maxImages int) (*condensed, error) {
	c := &condensed{text: body, mark: "agiqa " + rand.Text() + " "}
	var text []byte
	from, shift := 0, 0 // what of body is in text
	for at := 0; ; {
		start := bytes.IndexByte(body[at:], '"')
		if start < 0 {
			break
		}
		start += at + 1
		end := endOfString(body, start)
		if end < 0 {
			break
		}
		if at = end + 1; end-start < longText {
			continue
		}
		for i, b := range body[start:end] {
			if b < ' ' {
				return nil, quality.Errorf(quality.KindBadRequest, "the body is not valid JSON (byte %d)", start+i)
			}
		}
		text = append(text, body[from:start]...)
		text = append(text, c.mark...)
		text = strconv.AppendInt(text, int64(len(c.long)), 10)
		c.long = append(c.long, body[start:end:end])
		from, shift = end, end-len(text)
		c.moved = append(c.moved, moved{len(text), shift})
	}
	if len(c.long) > 0 {
		c.text = append(text, body[from:]...)
	}
	if most := maxText(maxImages); int64(len(c.text)) > most {
		return nil, quality.Errorf(quality.KindPayloadTooLarge,
			"the JSON body has %d bytes besides its images, more than %d", len(c.text), most)
	}
	return c, nil
}

// endOfString returns where the string that begins at start ends, or -1.
func endOfString(body []byte, start int) int {
	for at := start; ; {
		end := bytes.IndexByte(body[at:], '"')
		if end < 0 {
			return -1
		}
		end += at
		slashes := 0
		for end-slashes > start && body[end-slashes-1] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return end
		}
		at = end + 1
	}
}

// position returns where in the body a place in the text is.
func (c *condensed) position(at int64) int64 {
	by := 0
	for _, m := range c.moved {
		if int64(m.at) <= at {
			by = m.by
		}
	}
	return at + int64(by)
}

// stray returns an error if anything but the data of an image is long.
func (c *condensed) stray(value any) error {
	if len(c.long) == 0 {
		return nil
	}
	body, _ := value.(map[string]any)
	images, _ := body["images"].([]any)
	for _, image := range images {
		if m, ok := image.(map[string]any); ok {
			if data, ok := m["data"].(string); ok && c.stands(data) {
				m["data"] = "image" // for the schema it is a string as any other
			}
		}
	}
	if at, found := c.find(value, "body"); found {
		return &InvalidRequest{Kind: quality.KindBadRequest, Fields: []ProblemField{{
			Location: clip(at, 128), Message: fmt.Sprintf("expected at most %d bytes", longText-1),
		}}}
	}
	return nil
}

func (c *condensed) stands(s string) bool { return strings.HasPrefix(s, c.mark) }

// find returns where in value something stands for a long string.
func (c *condensed) find(value any, at string) (string, bool) {
	switch v := value.(type) {
	case string:
		return at, c.stands(v)
	case []any:
		for i, element := range v {
			if at, found := c.find(element, at+"["+strconv.Itoa(i)+"]"); found {
				return at, true
			}
		}
	case map[string]any:
		for name, member := range v {
			if c.stands(name) {
				return at, true
			}
			if at, found := c.find(member, at+"."+name); found {
				return at, true
			}
		}
	}
	return "", false
}

// take returns the text that s stands for, unescaped in its place, or s itself.
func (c *condensed) take(s string) ([]byte, error) {
	if !c.stands(s) {
		return []byte(s), nil
	}
	i, err := strconv.Atoi(s[len(c.mark):])
	if err != nil || i >= len(c.long) {
		return nil, quality.Errorf(quality.KindBadRequest, "the JSON body cannot be read").Because(err)
	}
	return unescapeJSON(c.long[i])
}

// unescapeJSON replaces the escapes in a string of JSON, in place.
func unescapeJSON(s []byte) ([]byte, error) {
	kept := bytes.IndexByte(s, '\\')
	if kept < 0 {
		return s, nil
	}
	invalid := quality.Errorf(quality.KindBadRequest, "the body is not valid JSON: a string has an invalid escape")
	for i := kept; i < len(s); i++ {
		b := s[i]
		if b != '\\' {
			s[kept] = b
			kept++
			continue
		}
		i++ // endOfString has seen to it that something follows
		const names, values = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
		if at := strings.IndexByte(names, s[i]); at >= 0 {
			s[kept] = values[at]
			kept++
			continue
		}
		r, ok := hexRune(s, i)
		if !ok {
			return nil, invalid
		}
		i += 4
		if utf16.IsSurrogate(r) {
			second, ok := rune(0), len(s) > i+2 && s[i+1] == '\\'
			if ok {
				second, ok = hexRune(s, i+2)
			}
			if r = utf16.DecodeRune(r, second); !ok || r == utf8.RuneError {
				return nil, invalid
			}
			i += 6
		}
		kept += utf8.EncodeRune(s[kept:], r) // six bytes or twelve became at most four
	}
	return s[:kept], nil
}

// hexRune reads u and four hexadecimal digits at a place in s.
func hexRune(s []byte, at int) (rune, bool) {
	var code [2]byte
	if len(s) < at+5 || s[at] != 'u' {
		return 0, false
	}
	if _, err := hex.Decode(code[:], s[at+1:at+5]); err != nil {
		return 0, false
	}
	return rune(code[0])<<8 | rune(code[1]), true
}
