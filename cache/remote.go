package cache

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// remote is the layer of a store that is shared with other servers. Every value
// in it is sealed, and no request waits for a write.
type remote struct {
	*layer
	writes *background
	ttl    func() time.Duration
}

// remoteConfig is what the configurations of caches say of their remote store.
type remoteConfig struct {
	store   Store
	keys    *Keyring
	timeout time.Duration // of one write
	most    int           // writes at a time
}

// validate reports every fault, each naming its field. A store without keys is
// one: its values could not be trusted.
func (c remoteConfig) validate() error {
	if c.store == nil {
		return nil
	}
	var faults []error
	if c.keys == nil {
		faults = append(faults, errors.New("field Keys is missing, which Remote needs"))
	}
	if c.timeout <= 0 {
		faults = append(faults, fmt.Errorf("WriteTimeout is %s, must be positive", c.timeout))
	}
	if c.most <= 0 {
		faults = append(faults, fmt.Errorf("MaxWrites is %d, must be positive", c.most))
	}
	return errors.Join(faults...)
}

// newRemote returns nil where there is no store.
func newRemote(c remoteConfig, ttl func() time.Duration, record *recorder, faults *faultLog) *remote {
	if c.store == nil {
		return nil
	}
	r := &remote{writes: newBackground(c.most, c.timeout), ttl: ttl}
	store := &sealed{store: c.store, keys: c.keys, renew: func(ctx context.Context, key string, value []byte) {
		r.share(ctx, slot{key: key}, value)
	}}
	r.layer = &layer{name: LayerRedis, store: store, record: record, faults: faults}
	return r
}

// share writes value without anybody waiting. It does nothing where there is no
// store.
func (r *remote) share(ctx context.Context, s slot, value []byte) {
	if r == nil {
		return
	}
	err := r.writes.start(ctx, func(ctx context.Context) { r.write(ctx, s, value, r.ttl()) })
	if err != nil {
		r.fault(ctx, opWrite, ReasonOf(err), err)
	}
}

// close lets no new write begin and waits for those under way, or for ctx.
func (r *remote) close(ctx context.Context) error {
	if r == nil {
		return nil
	}
	return r.writes.close(ctx)
}
