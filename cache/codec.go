package cache

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/agiqa/agiqa/quality"
)

// The layout of a value, all numbers little-endian:
//
//	  0  "AGQC"
//	  4  version, 1 byte
//	  5  kind, 1 byte
//	  6  zero, 2 bytes
//	  8  rows, uint32
//	 12  dim, uint32
//	 16  key hash, 32 bytes
//	 48  encoder digest, 32 bytes
//	 80  checkpoint digest, 32 bytes; zeros for others than texts
//	112  rows x dim float32
//
// In a store that others can write to, a MAC follows it ([Keyring]).
const (
	magic         = "AGQC"
	formatVersion = 2
	headerLen     = 112
	floatLen      = 4
)

// EntryKind says what a value holds.
type EntryKind uint8

// The kinds of values. The numbers are part of the format.
const (
	KindText   EntryKind = 1 // six prompt embeddings of a checkpoint
	KindImage  EntryKind = 2 // one image embedding
	KindPrompt EntryKind = 3 // the embedding of a picture's prompt
)

// Identity is everything that a value says of itself beside its numbers. Two
// values with equal identities hold the same numbers.
type Identity struct {
	Kind       EntryKind
	Key        quality.Digest // hash of the fields that make the key
	Encoder    quality.Digest
	Checkpoint quality.Digest // zero for others than texts
	Rows, Dim  int
}

// Len returns the exact number of bytes of a value with this identity.
func (id Identity) Len() int { return headerLen + id.Rows*id.Dim*floatLen }

// InvalidError says that a value is not what its key promises. The cache was
// corrupted, holds another version, or answered for another key.
type InvalidError struct {
	// "size", "magic", "version", "reserved", "kind", "shape", "key", "encoder", "checkpoint" or "numbers"
	Part   string
	Detail string // holds no part of the value
}

// Error implements error.
func (e *InvalidError) Error() string { return "cached value: " + e.Part + ": " + e.Detail }

// Encode returns the value of id, refusing what [Decode] would refuse.
func Encode(id Identity, rows []quality.Embedding) ([]byte, error) {
	if len(rows) != id.Rows {
		return nil, fmt.Errorf("encode: %d embeddings, want %d", len(rows), id.Rows)
	}
	value := make([]byte, 0, id.Len())
	value = append(value, magic...)
	value = append(value, formatVersion, byte(id.Kind), 0, 0)
	value = binary.LittleEndian.AppendUint32(value, uint32(id.Rows))
	value = binary.LittleEndian.AppendUint32(value, uint32(id.Dim))
	value = append(value, id.Key[:]...)
	value = append(value, id.Encoder[:]...)
	value = append(value, id.Checkpoint[:]...)
	for i, row := range rows {
		if err := row.CheckUnit(id.Dim); err != nil {
			return nil, fmt.Errorf("encode: row %d: %w", i, err)
		}
		for _, v := range row {
			value = binary.LittleEndian.AppendUint32(value, math.Float32bits(v))
		}
	}
	return value, nil
}

// Decode returns the rows of a value that has exactly the identity id. Every
// error is an [*InvalidError]. The rows share no memory with value.
func Decode(id Identity, value []byte) ([]quality.Embedding, error) {
	if err := checkFrame(id, value); err != nil {
		return nil, err
	}
	if err := checkHeader(id, value[:headerLen]); err != nil {
		return nil, err
	}
	numbers := make([]float32, id.Rows*id.Dim)
	for i := range numbers {
		numbers[i] = math.Float32frombits(binary.LittleEndian.Uint32(value[headerLen+i*floatLen:]))
	}
	rows := make([]quality.Embedding, id.Rows)
	for i := range rows {
		row := quality.Embedding(numbers[i*id.Dim : (i+1)*id.Dim : (i+1)*id.Dim])
		if err := row.CheckUnit(id.Dim); err != nil {
			return nil, &InvalidError{Part: "numbers", Detail: fmt.Sprintf("row %d: %v", i, err)}
		}
		rows[i] = row
	}
	return rows, nil
}

// checkFrame verifies what must hold before any field is believed. The version
// comes before the size, since another version may be of another size.
func checkFrame(id Identity, value []byte) error {
	if len(value) < headerLen {
		return &InvalidError{Part: "size", Detail: fmt.Sprintf("%d bytes, want %d", len(value), id.Len())}
	}
	if string(value[:4]) != magic {
		return &InvalidError{Part: "magic", Detail: "not a value of this cache"}
	}
	if v := value[4]; v != formatVersion {
		return &InvalidError{Part: "version", Detail: fmt.Sprintf("%d, want %d", v, formatVersion)}
	}
	if len(value) != id.Len() {
		return &InvalidError{Part: "size", Detail: fmt.Sprintf("%d bytes, want %d", len(value), id.Len())}
	}
	return nil
}

// checkHeader verifies that the value is the one asked for.
func checkHeader(id Identity, header []byte) error {
	rows, dim := binary.LittleEndian.Uint32(header[8:]), binary.LittleEndian.Uint32(header[12:])
	switch {
	case EntryKind(header[5]) != id.Kind:
		return &InvalidError{Part: "kind", Detail: fmt.Sprintf("%d, want %d", header[5], id.Kind)}
	case header[6] != 0 || header[7] != 0:
		return &InvalidError{Part: "reserved", Detail: "not zero"}
	case uint64(rows) != uint64(id.Rows) || uint64(dim) != uint64(id.Dim):
		return &InvalidError{Part: "shape", Detail: fmt.Sprintf("[%d,%d], want [%d,%d]", rows, dim, id.Rows, id.Dim)}
	case quality.Digest(header[16:48]) != id.Key:
		return &InvalidError{Part: "key", Detail: "the value of another key"}
	case quality.Digest(header[48:80]) != id.Encoder:
		return &InvalidError{Part: "encoder", Detail: "made by another encoder"}
	case quality.Digest(header[80:112]) != id.Checkpoint:
		return &InvalidError{Part: "checkpoint", Detail: "made for another checkpoint"}
	}
	return nil
}
