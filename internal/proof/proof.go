// Package proof lets a server show that it knows a key before a client sends it the
// key: it answers a random challenge with an HMAC.
//
// The HMAC covers the address that the client believes to talk to, and a server
// answers for its own addresses only. So whoever took another port or name, and
// passes the challenge on to the real server, gets no answer. It doesn't help
// against somebody who sits on the way to the right address: that takes TLS.
package proof

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
)

// Path is where a server answers challenges.
const Path = "/v1/challenge"

// iterations make guessing a weak key from an answer slow: anybody may ask for one.
const iterations = 600_000

// Challenge is the body of a request for a proof.
type Challenge struct {
	Nonce   string `json:"nonce" pattern:"^[0-9a-f]{64}$" doc:"32 random bytes, in hexadecimal"`
	Address string `json:"address" maxLength:"300" example:"127.0.0.1:8080" doc:"Host and port that the client believes to talk to"`
}

// Answer is the answer to a [Challenge].
type Answer struct {
	Proof string `json:"proof" doc:"HMAC-SHA256 of the challenge by a key that PBKDF2 derives from the admin key, in hexadecimal"`
}

// Key is derived from a key that somebody chose. Deriving it takes a moment.
type Key []byte

// Derive returns the key of proofs that an admin key is known.
func Derive(adminKey string) (Key, error) {
	return pbkdf2.Key(sha256.New, adminKey, []byte("agiqa challenge v1"), iterations, sha256.Size)
}

// New returns a challenge for the server at an address.
func New(address string) Challenge {
	nonce := make([]byte, 32)
	_, _ = rand.Read(nonce) // never fails
	return Challenge{Nonce: hex.EncodeToString(nonce), Address: address}
}

// Answer proves that the key is known.
func (k Key) Answer(c Challenge) Answer {
	mac := hmac.New(sha256.New, k)
	mac.Write([]byte("agiqa challenge v1\x00" + c.Nonce + "\x00" + c.Address))
	return Answer{Proof: hex.EncodeToString(mac.Sum(nil))}
}

// Accepts reports whether an answer proves that the server knows the key.
func (k Key) Accepts(c Challenge, a Answer) bool {
	return hmac.Equal([]byte(a.Proof), []byte(k.Answer(c).Proof))
}
