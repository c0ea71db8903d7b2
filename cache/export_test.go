package cache

import "context"

// NewSealed returns a store over one that others can write to.
func NewSealed(store Store, keys *Keyring, renew func(ctx context.Context, key string, value []byte)) Store {
	return &sealed{store: store, keys: keys, renew: renew}
}
