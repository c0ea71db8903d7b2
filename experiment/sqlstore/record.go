package sqlstore

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/agiqa/agiqa/quality"
)

const (
	// maxRecord bounds a record, far above what the gateway lets through.
	maxRecord = 1 << 20
	// maxName bounds what is in a column of text, and so in an index.
	maxName = 512
)

// encode returns a record's JSON. names are what of it becomes text in a
// column: PostgreSQL takes neither a zero byte nor bad UTF-8 there, and a
// record must not depend on the database.
func encode(record any, names ...string) ([]byte, error) {
	for _, name := range names {
		if len(name) > maxName || !utf8.ValidString(name) || strings.ContainsRune(name, 0) {
			return nil, quality.Errorf(quality.KindInternal, "a record has an invalid name: %.40q", name)
		}
	}
	raw, err := json.Marshal(record)
	if err != nil {
		return nil, quality.Errorf(quality.KindInternal, "encoding a record failed").Because(err)
	}
	if len(raw) > maxRecord {
		return nil, quality.Errorf(quality.KindInternal, "a record has %d bytes, more than %d", len(raw), maxRecord)
	}
	return raw, nil
}

// decode reads a record of the database.
func decode[T any](raw []byte) (T, error) {
	var record T
	if err := json.Unmarshal(raw, &record); err != nil {
		return record, quality.Errorf(quality.KindStoreUnavailable, "decoding a stored record failed").Because(err)
	}
	return record, nil
}

// text is a name for a column: NULL where there is none.
func text(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// number is 1 for true.
func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// image is a digest for a column: NULL, which equals nothing, where there is
// none.
func image(d quality.Digest) any {
	if d.IsZero() {
		return nil
	}
	return d[:]
}
