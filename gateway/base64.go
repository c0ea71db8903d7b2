package gateway

import (
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/agiqa/agiqa/quality"
)

// base64Digits takes what may stand around the digits off text: the head of a
// data URL (RFC 2397), line breaks and padding, of which it returns the length.
// What is left is what [decodeBase64] reads. Errors: bad_base64.
func base64Digits(text string) (digits string, padding int, err error) {
	const scheme = "data:"
	if len(text) >= len(scheme) && strings.EqualFold(text[:len(scheme)], scheme) {
		head, rest, found := strings.Cut(text, ",")
		if !found {
			return "", 0, badBase64("the data URL has no comma before its data")
		}
		if !strings.HasSuffix(strings.ToLower(head), ";base64") {
			return "", 0, badBase64("the data URL is not base64: its head is %s", quality.Quote(head))
		}
		if strings.Contains(rest, "%") {
			unescaped, err := url.PathUnescape(rest)
			if err != nil {
				return "", 0, badBase64("the data URL has an invalid percent-encoding")
			}
			rest = unescaped
		}
		text = rest
	}
	if strings.ContainsRune(text, '\n') || strings.ContainsRune(text, '\r') {
		text = strings.NewReplacer("\r", "", "\n", "").Replace(text)
	}
	digits = strings.TrimRight(text, "=")
	return digits, len(text) - len(digits), nil
}

// decodeBase64 decodes digits of the standard or the URL alphabet, not of both.
// padding is how many = followed them: none, or as many as belong there.
// Errors: bad_base64.
func decodeBase64(digits string, padding int) ([]byte, error) {
	encoding := base64.RawStdEncoding
	if strings.IndexByte(digits, '-') >= 0 || strings.IndexByte(digits, '_') >= 0 {
		encoding = base64.RawURLEncoding
	}
	data, err := encoding.Strict().DecodeString(digits)
	at, corrupt := errors.AsType[base64.CorruptInputError](err)
	wanted := (4 - len(digits)%4) % 4
	switch {
	case err == nil && (padding == 0 || padding == wanted):
		return data, nil
	case err == nil:
		return nil, badBase64("data is not base64: it ends with %d of the character =, where %d belong", padding, wanted)
	case corrupt && int(at) < len(digits)-1:
		r, _ := utf8.DecodeRuneInString(digits[at:])
		return nil, badBase64("data is not base64: character %d is %s", at+1, quality.Quote(string(r)))
	case len(digits)%4 == 1:
		return nil, badBase64("data is not base64: %d characters are one too many or some too few", len(digits))
	}
	return nil, badBase64("data is not base64: its last character does not end a byte")
}

func badBase64(format string, args ...any) error {
	return quality.Errorf(quality.KindBadBase64, format, args...)
}
