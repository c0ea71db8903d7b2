package quality

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
)

// Digest is a SHA-256. Its text form is "sha256:" and 64 hexadecimal digits.
type Digest [sha256.Size]byte

const digestPrefix = "sha256:"

// DigestOf returns the digest of b.
func DigestOf(b []byte) Digest { return sha256.Sum256(b) }

// ParseDigest reads the text form. Upper-case hexadecimal is refused, so that
// equal digests are equal strings.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	hexPart, ok := strings.CutPrefix(s, digestPrefix)
	if !ok || len(hexPart) != 2*len(d) || strings.ToLower(hexPart) != hexPart {
		return d, fmt.Errorf("digest %.80q is not of the form sha256:<64 lower-case hexadecimal digits>", s)
	}
	if _, err := hex.Decode(d[:], []byte(hexPart)); err != nil {
		return Digest{}, fmt.Errorf("digest %.80q: %w", s, err)
	}
	return d, nil
}

// String returns the text form.
func (d Digest) String() string { return digestPrefix + hex.EncodeToString(d[:]) }

// Hex returns the 64 hexadecimal digits alone.
func (d Digest) Hex() string { return hex.EncodeToString(d[:]) }

// Short returns the first 16 hexadecimal digits: the <id> in the names of
// Triton models. 64 bits are plenty for the handful of checkpoints a server
// holds, and whoever loads a model compares the whole digest anyway.
func (d Digest) Short() string { return hex.EncodeToString(d[:8]) }

// IsZero reports whether d was never set.
func (d Digest) IsZero() bool { return d == Digest{} }

// MarshalText implements [encoding.TextMarshaler].
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *Digest) UnmarshalText(b []byte) error {
	parsed, err := ParseDigest(string(b))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}

// FieldHash digests a sequence of fields, each preceded by its length as a
// little-endian uint64, so that ("ab","c") and ("a","bc") differ. The zero
// value is not usable; see [NewFieldHash].
type FieldHash struct{ h hash.Hash }

// NewFieldHash returns an empty FieldHash.
func NewFieldHash() *FieldHash { return &FieldHash{h: sha256.New()} }

// Bytes adds one field.
func (f *FieldHash) Bytes(b []byte) *FieldHash {
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], uint64(len(b)))
	f.h.Write(n[:])
	f.h.Write(b)
	return f
}

// String adds one field.
func (f *FieldHash) String(s string) *FieldHash { return f.Bytes([]byte(s)) }

// Sum returns the digest of the fields added so far.
func (f *FieldHash) Sum() Digest {
	var d Digest
	f.h.Sum(d[:0])
	return d
}
