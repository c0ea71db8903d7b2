package experiment

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"sync"

	"github.com/google/uuid"
)

// HashVersion is the way from a unit to a bucket that new experiments use.
const HashVersion = 1

// minKeyBytes keeps keys from being guessed.
const minKeyBytes = 16

// Hasher makes everything that depends on the server's key: buckets, the names
// under which units and raters are written down, and assignment ids. All
// gateways of one store need the same key. It is keyed because clients choose
// their units: whoever could compute a bucket could choose an arm.
type Hasher struct{ macs *sync.Pool } // of hash.Hash, keyed

// NewHasher takes a key of at least 16 bytes.
func NewHasher(key []byte) (Hasher, error) {
	if len(key) < minKeyBytes {
		return Hasher{}, fmt.Errorf("experiment: the key has %d bytes, must have at least %d", len(key), minKeyBytes)
	}
	key = append([]byte(nil), key...)
	return Hasher{macs: &sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}}, nil
}

// mac is HMAC-SHA256 over fields, each after its length as a little-endian
// uint64, so that ("ab","c") and ("a","bc") differ.
func (h Hasher) mac(fields ...string) [sha256.Size]byte {
	message := make([]byte, 0, 256)
	for _, f := range fields {
		message = binary.LittleEndian.AppendUint64(message, uint64(len(f)))
		message = append(message, f...)
	}
	m := h.macs.Get().(hash.Hash)
	defer h.macs.Put(m)
	m.Reset()
	m.Write(message)
	var sum [sha256.Size]byte
	m.Sum(sum[:0])
	return sum
}

// Bucket places a unit among [Whole]. It is the first eight bytes of the HMAC
// over version, salt, kind and value, big-endian, modulo Whole; the bias of
// that is below 1e-13.
func (h Hasher) Bucket(version int, salt string, kind UnitKind, value string) PPM {
	sum := h.mac(strconv.Itoa(version), salt, string(kind), value)
	return PPM(binary.BigEndian.Uint64(sum[:8]) % uint64(Whole))
}

// Unit is the name under which a unit is written down: the same in every
// experiment, and useless to whoever has no key.
func (h Hasher) Unit(kind UnitKind, value string) string {
	sum := h.mac("unit", string(kind), value)
	return hex.EncodeToString(sum[:16])
}

// Rater is the name under which a rater is written down. A space is whose
// raters they are (access.Principal.Space): raters of one name in two spaces are
// two people.
func (h Hasher) Rater(space, value string) string {
	sum := h.mac("rater", space, value)
	return hex.EncodeToString(sum[:raterBytes])
}

const raterBytes = 16

// Sender is the name under which a space is written down.
func (h Hasher) Sender(space string) string {
	sum := h.mac("sender", space)
	return hex.EncodeToString(sum[:16])
}

// Key is the name under which an idempotency key of a space is written down.
func (h Hasher) Key(space, value string) string {
	sum := h.mac("idempotency key", space, value)
	return hex.EncodeToString(sum[:])
}

// assignmentPrefix makes assignment ids known where they turn up.
const assignmentPrefix = "as_"

// Assignment makes an assignment id of a UUID. Nobody without the key can make
// one, so that labels cannot be invented for images that were never served.
func (h Hasher) Assignment(id uuid.UUID) string {
	sum := h.mac("assignment", string(id[:]))
	return assignmentPrefix + base64.RawURLEncoding.EncodeToString(append(id[:], sum[:16]...))
}

// Issued reports whether an assignment id is one that a server with this key
// made.
func (h Hasher) Issued(assignment string) bool {
	raw, ok := decodeToken(assignment, assignmentPrefix)
	if !ok || len(raw) != 32 {
		return false
	}
	sum := h.mac("assignment", string(raw[:16]))
	return subtle.ConstantTimeCompare(raw[16:], sum[:16]) == 1
}

// decodeToken reads base64 behind a prefix, in its only spelling: package base64
// passes over line breaks, and one token could be several names.
func decodeToken(token, prefix string) ([]byte, bool) {
	text, ok := strings.CutPrefix(token, prefix)
	if !ok || strings.ContainsAny(text, "\r\n") {
		return nil, false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return raw, err == nil
}

// Assign returns the arm of a unit, and false where the experiment does not
// cover it. It is a function of its arguments and the key.
func (h Hasher) Assign(e Experiment, kind UnitKind, value string) (ArmID, bool) {
	if n := e.Namespace; n != nil {
		if b := h.Bucket(e.HashVersion, namespaceSalt(n.Name), kind, value); b < n.From || b >= n.To {
			return "", false
		}
	}
	return e.ArmAt(h.Bucket(e.HashVersion, e.Salt, kind, value))
}

// ArmAt returns the arm that has a bucket, and false where it is not covered.
func (e Experiment) ArmAt(bucket PPM) (ArmID, bool) { return armAt(e.Slots, e.Coverage, bucket) }

func armAt(slots []Slot, coverage, bucket PPM) (ArmID, bool) {
	for _, s := range slots {
		if s.covers(bucket, coverage) {
			return s.Arm, true
		}
	}
	return "", false
}

// namespaceSalt cannot be an experiment's salt, which is hexadecimal.
func namespaceSalt(name string) string { return "namespace:" + name }
