package cache

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"math"
	"sync"
	"time"
)

// macLen is the length of the MAC that ends a value in a remote store:
// HMAC-SHA256, truncated.
const macLen = 16

// minSecretLen is the shortest secret that a [Keyring] takes.
const minSecretLen = 16

// errMAC says that a remote value has no valid MAC: it was written by somebody
// without the key, damaged, or moved here from another key.
var errMAC = errors.New("cached value: no valid MAC")

// Keyring holds the secret that authenticates values in a remote store, which
// others may be able to write to. It also knows the secret before it, so that
// secrets can be changed without losing the cache. It's safe for concurrent
// use.
type Keyring struct {
	current  *macKey
	previous *macKey // nil: none
}

// NewKeyring returns the keyring of a deployment. All servers that share a store
// need the same current secret. Values under previous, which may be empty, are
// still read, and are written again under current.
func NewKeyring(current, previous []byte) (*Keyring, error) {
	k := &Keyring{}
	var err error
	if k.current, err = newMACKey(current); err != nil {
		return nil, err
	}
	if len(previous) == 0 {
		return k, nil
	}
	if k.previous, err = newMACKey(previous); err != nil {
		return nil, fmt.Errorf("the previous one: %w", err)
	}
	if k.previous.id == k.current.id {
		return nil, errors.New("the previous one is the current one")
	}
	return k, nil
}

// ID names the current secret without giving it away: eight hexadecimal digits,
// with which the names of its keys in the store end.
func (k *Keyring) ID() string { return k.current.id }

// macKey is what is derived from one secret.
type macKey struct {
	id     string
	hashes sync.Pool // of hash.Hash, keyed
}

func newMACKey(secret []byte) (*macKey, error) {
	if len(secret) < minSecretLen {
		return nil, fmt.Errorf("a secret of %d bytes is too short; want at least %d", len(secret), minSecretLen)
	}
	// Two purposes, two keys: the ID is public.
	id, err := hkdf.Key(sha256.New, secret, nil, "agiqa cache key id", 4)
	if err != nil {
		return nil, err
	}
	key, err := hkdf.Key(sha256.New, secret, nil, "agiqa cache mac", sha256.Size)
	if err != nil {
		return nil, err
	}
	k := &macKey{id: hex.EncodeToString(id)}
	k.hashes.New = func() any { return hmac.New(sha256.New, key) }
	return k, nil
}

// name returns the name of a key in the remote store. Servers with different
// secrets have different names, and so never delete each other's values.
func (k *macKey) name(key string) string { return key + ":" + k.id }

// seal returns value with its MAC.
func (k *macKey) seal(name string, value []byte) []byte {
	return k.mac(append(make([]byte, 0, len(value)+macLen), value...), name, value)
}

// open verifies a sealed value and returns it without its MAC.
func (k *macKey) open(name string, sealed []byte) ([]byte, error) {
	if len(sealed) <= macLen {
		return nil, fmt.Errorf("%w: %d bytes", errMAC, len(sealed))
	}
	value, mac := sealed[:len(sealed)-macLen], sealed[len(sealed)-macLen:]
	var want [sha256.Size]byte
	if !hmac.Equal(mac, k.mac(want[:0], name, value)) {
		return nil, errMAC
	}
	return value, nil
}

// mac appends to dst the MAC of everything that a value means: the name under
// which it's kept, and the value itself, whose header has its version, kind,
// shape and digests. The length in front keeps the two apart.
func (k *macKey) mac(dst []byte, name string, value []byte) []byte {
	h := k.hashes.Get().(hash.Hash)
	defer k.hashes.Put(h)
	h.Reset()
	var length [8]byte
	binary.LittleEndian.PutUint64(length[:], uint64(len(name)))
	h.Write(length[:])
	h.Write([]byte(name))
	h.Write(value)
	var sum [sha256.Size]byte
	return append(dst, h.Sum(sum[:0])[:macLen]...)
}

// sealed is a [Store] over one that others can write to. What it returns was
// Set, under that key, by a server with the same secret.
type sealed struct {
	store Store
	keys  *Keyring
	// renew is called with a value that was found under the previous secret.
	renew func(ctx context.Context, key string, value []byte)
}

// Get implements [Store]. It adds an error for values without a valid MAC, of
// [ReasonMAC].
func (s *sealed) Get(ctx context.Context, key string) ([]byte, error) {
	value, err := s.get(ctx, s.keys.current, key)
	if s.keys.previous == nil || !errors.Is(err, ErrNotFound) {
		return value, err
	}
	if value, err = s.get(ctx, s.keys.previous, key); err != nil {
		return nil, err
	}
	s.renew(ctx, key, value)
	return value, nil
}

func (s *sealed) get(ctx context.Context, k *macKey, key string) ([]byte, error) {
	name := k.name(key)
	value, err := s.store.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	return k.open(name, value)
}

// Set implements [Store].
func (s *sealed) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := checkSet(value, ttl, math.MaxInt); err != nil {
		return err
	}
	name := s.keys.current.name(key)
	return s.store.Set(ctx, name, s.keys.current.seal(name, value), ttl)
}

// Delete implements [Store].
func (s *sealed) Delete(ctx context.Context, key string) error {
	err := s.store.Delete(ctx, s.keys.current.name(key))
	if s.keys.previous == nil {
		return err
	}
	return errors.Join(err, s.store.Delete(ctx, s.keys.previous.name(key)))
}
