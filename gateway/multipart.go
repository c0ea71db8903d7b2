package gateway

import (
	"mime"
	"mime/multipart"
	"net/textproto"
	"strings"
	"unicode/utf8"

	"github.com/agiqa/agiqa/quality"
)

// partName returns the name of a part of multipart/form-data, "" where it has
// none. It refuses what two readers may take for different things: a header or
// a parameter twice, a name that isn't UTF-8, content in another encoding.
func partName(part *multipart.Part) (string, error) {
	for _, name := range []string{"Content-Disposition", "Content-Type", "Content-Transfer-Encoding"} {
		if n := len(part.Header[textproto.CanonicalMIMEHeaderKey(name)]); n > 1 {
			return "", quality.Errorf(quality.KindBadRequest, "a multipart part has the header %s %d times", name, n)
		}
	}
	switch encoding := part.Header.Get("Content-Transfer-Encoding"); strings.ToLower(encoding) {
	case "", "binary", "8bit", "7bit":
	default:
		return "", quality.Errorf(quality.KindBadRequest, "the Content-Transfer-Encoding %s of a multipart part is not "+
			"supported; send the content as it is", quality.Quote(encoding))
	}
	disposition := part.Header.Get("Content-Disposition")
	if _, _, err := mime.ParseMediaType(disposition); disposition != "" && err != nil {
		return "", quality.Errorf(quality.KindBadRequest, "a multipart part has the invalid Content-Disposition %s",
			quality.Quote(disposition)).Because(err)
	}
	name := part.FormName()
	if !utf8.ValidString(name) {
		return "",
			quality.Errorf(quality.KindInvalidUTF8, "the name %s of a multipart part is not UTF-8", quality.Quote(name))
	}
	return name, nil
}
