package gateway

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"unicode/utf8"

	"github.com/agiqa/agiqa/quality"
)

// base64Digits takes what may stand around the digits off text: the head of a
// data URL (RFC 2397), line breaks and padding, of which it returns the length.
// What is left is what [decodeBase64] reads. It works in text itself.
// Errors: bad_base64.
func base64Digits(text []byte) (digits []byte, padding int, err error) {
	const scheme = "data:"
	if len(text) >= len(scheme) && bytes.EqualFold(text[:len(scheme)], []byte(scheme)) {
		head, rest, found := bytes.Cut(text, []byte(","))
		if !found {
			return nil, 0, badBase64("the data URL has no comma before its data")
		}
		if suffix := []byte(";base64"); len(head) < len(suffix) ||
			!bytes.EqualFold(head[len(head)-len(suffix):], suffix) {
			return nil, 0, badBase64("the data URL is not base64: its head is %s",
				quality.Quote(string(head[:min(len(head), 256)])))
		}
		if text, err = unescapePercent(rest); err != nil {
			return nil, 0, err
		}
	}
	if bytes.ContainsAny(text, "\r\n") {
		kept := 0
		for _, b := range text {
			if b != '\r' && b != '\n' {
				text[kept] = b
				kept++
			}
		}
		text = text[:kept]
	}
	digits = bytes.TrimRight(text, "=")
	return digits, len(text) - len(digits), nil
}

// unescapePercent replaces what is percent-encoded in text, in place.
func unescapePercent(text []byte) ([]byte, error) {
	if bytes.IndexByte(text, '%') < 0 {
		return text, nil
	}
	kept := 0
	for i := 0; i < len(text); i++ {
		b := text[i]
		if b == '%' {
			var one [1]byte
			if len(text) < i+3 {
				return nil, badBase64("the data URL has an invalid percent-encoding")
			}
			if _, err := hex.Decode(one[:], text[i+1:i+3]); err != nil {
				return nil, badBase64("the data URL has an invalid percent-encoding")
			}
			b, i = one[0], i+2
		}
		text[kept] = b
		kept++
	}
	return text[:kept], nil
}

// decodeBase64 decodes digits of the standard or the URL alphabet, not of both,
// and returns the data in their place. padding is how many = followed them: none,
// or as many as belong there. Errors: bad_base64.
func decodeBase64(digits []byte, padding int) ([]byte, error) {
	encoding := base64.RawStdEncoding
	if bytes.IndexByte(digits, '-') >= 0 || bytes.IndexByte(digits, '_') >= 0 {
		encoding = base64.RawURLEncoding
	}
	// Data is shorter than its digits, so that what is written never overtakes
	// what is still to be read.
	var piece [4096]byte
	written := 0
	for at := 0; at < len(digits); at += len(piece) {
		n := copy(piece[:], digits[at:])
		m, err := encoding.Strict().Decode(digits[written:], piece[:n])
		if err != nil {
			rest := append(piece[:n:n], digits[at+n:min(at+n+utf8.UTFMax, len(digits))]...)
			return nil, base64Fault(err, rest, at, len(digits))
		}
		written += m
	}
	if wanted := (4 - len(digits)%4) % 4; padding != 0 && padding != wanted {
		return nil, badBase64("data is not base64: it ends with %d of the character =, where %d belong", padding, wanted)
	}
	return digits[:written:written], nil
}

// base64Fault says what is wrong with digits, of which those from position
// start are piece.
func base64Fault(err error, piece []byte, start, digits int) error {
	in, corrupt := errors.AsType[base64.CorruptInputError](err)
	switch at := start + int(in); {
	case corrupt && at < digits-1:
		r, _ := utf8.DecodeRune(piece[in:])
		return badBase64("data is not base64: character %d is %s", at+1, quality.Quote(string(r)))
	case digits%4 == 1:
		return badBase64("data is not base64: %d characters are one too many or some too few", digits)
	}
	return badBase64("data is not base64: its last character does not end a byte")
}

func badBase64(format string, args ...any) error {
	return quality.Errorf(quality.KindBadBase64, format, args...)
}
