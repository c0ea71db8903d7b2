package analysis

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/bits"
)

// key names something by the first half of a SHA-256.
type key [16]byte

// keyOf is the key of a list of parts; no other list has the same one.
func keyOf(parts ...string) key {
	h := sha256.New()
	var size [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(size[:], uint64(len(p)))
		h.Write(size[:])
		h.Write([]byte(p))
	}
	return key(h.Sum(nil)[:16])
}

// table holds at most a number of rows, whatever a client sends. When there are
// more, it keeps those whose keys begin with one zero bit, then with two, and so
// on. Keys are hashes, so that is a sample at random; and which rows are kept
// depends on which keys were ever seen, not on their order: a row of the final
// sample belonged to every larger one before.
type table[V any] struct {
	most  int
	level int // zero bits asked of a key
	rows  map[key]*V
}

func newTable[V any](most int) table[V] { return table[V]{most: most, rows: map[key]*V{}} }

// row returns the row of a key, made if need be, and whether it was made; nil
// where the key is not in the sample.
func (t *table[V]) row(k key) (row *V, made bool) {
	if row, ok := t.rows[k]; ok {
		return row, false
	}
	if k.zeros() < t.level {
		return nil, false
	}
	row = new(V)
	t.rows[k] = row
	for len(t.rows) > t.most {
		t.level++
		for other := range t.rows {
			if other.zeros() < t.level {
				delete(t.rows, other)
			}
		}
	}
	return t.rows[k], true
}

// share is the part of all keys that is kept.
func (t *table[V]) share() float64 { return math.Pow(2, -float64(t.level)) }

// zeros counts the zero bits that a key begins with.
func (k key) zeros() int {
	if n := bits.LeadingZeros64(binary.BigEndian.Uint64(k[:8])); n < 64 {
		return n
	}
	return 64 + bits.LeadingZeros64(binary.BigEndian.Uint64(k[8:]))
}
