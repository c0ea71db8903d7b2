package access

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/agiqa/agiqa/quality"
)

// Store keeps keys, with times to the microsecond. Errors are *[quality.Error]; where it can't be reached they
// are of kind store_unavailable.
type Store interface {
	// Time is now by the store's clock, by which keys are made and end: as that clock was
	// when this process first read it, and what has passed since. It never goes back.
	Time(ctx context.Context) (time.Time, error)
	// CreateKey stores a key: conflict where [MaxPerName] keys of its name, or
	// [MaxKeys] altogether, are valid at the time of its creation.
	CreateKey(ctx context.Context, k Key) error
	// ListKeys returns the keys that have not ended before a time, the oldest first.
	ListKeys(ctx context.Context, since time.Time) ([]Key, error)
	// RevokeKey ends a key and returns it: not_found. A key that was revoked
	// before stays as it was.
	RevokeKey(ctx context.Context, id, by string, at time.Time) (Key, error)
	// UseKeys notes when keys were last used, by ID. It never goes back in time.
	UseKeys(ctx context.Context, used map[string]time.Time) error
}

// How far what is known of keys may be behind the store.
const (
	// RevokedWithin is how soon every gateway refuses a key that was revoked at
	// another one. The gateway that revokes it refuses it at once.
	RevokedWithin = 5 * time.Second
	// UsedEvery is how often the last use of a key is written.
	UsedEvery = time.Minute
	// Outage is how long keys that a gateway knows stay valid while it can't reach
	// the store, which nobody else can then revoke a key in either, unless it is
	// this gateway alone that can't.
	Outage = 5 * time.Minute

	refreshAfter = 2 * time.Second // in the background
	unknownAfter = time.Second     // a key that isn't known is looked for again
	retryAfter   = time.Second     // after a failure
	loadTimeout  = 2 * time.Second
)

// Keys creates, verifies and revokes API keys. It holds all of them in memory,
// so that no number of invalid keys reaches the store. It's safe for concurrent
// use.
type Keys struct {
	store  Store
	now    func() time.Time
	logger *slog.Logger

	mu       sync.Mutex
	known    map[string]Key // by ID; nil: nothing was loaded yet
	taken    time.Time      // when known was asked for
	shown    time.Time      // by the store's clock, and
	read     time.Time      // when it was; zero: not yet
	failed   time.Time      // the last attempt, if it failed
	fault    error          // of that attempt
	changes  int            // made here
	loading  chan struct{}  // closed when the load under way ends; nil: there is none
	used     map[string]time.Time
	unsaved  map[string]time.Time
	saving   bool
	closed   bool
	underway sync.WaitGroup
}

// NewKeys returns the keys of a store. How much passes by now matters, not what it shows.
// Close it before the store.
func NewKeys(store Store, now func() time.Time, logger *slog.Logger) *Keys {
	return &Keys{store: store, now: now, logger: logger, used: map[string]time.Time{}, unsaved: map[string]time.Time{}}
}

// Close waits for what is being loaded and written.
func (k *Keys) Close() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.underway.Wait()
}

// Rejection says why a key is not valid, for logs and metrics. What the client is
// told doesn't tell a key that is unknown from a wrong secret.
type Rejection struct {
	Reason string // see the constants
	Key    string // its name, where the ID is known
}

// Reasons of a [Rejection].
const (
	ReasonMalformed = "malformed"
	ReasonUnknown   = "unknown"
	ReasonSecret    = "secret"
	ReasonExpired   = "expired"
	ReasonRevoked   = "revoked"
)

// Error implements error.
func (r *Rejection) Error() string {
	if r.Key == "" {
		return "API key: " + r.Reason
	}
	return "API key " + r.Key + ": " + r.Reason
}

func reject(reason string, k Key, format string, args ...any) error {
	r := &Rejection{Reason: reason}
	if k.ID != "" {
		r.Key = k.String()
	}
	return quality.Errorf(quality.KindUnauthenticated, format, args...).Because(r)
}

// Verify returns who holds a key, with the members of [Principal] that say so.
// Errors are unauthenticated, with a [Rejection] as their cause, and
// store_unavailable where a key isn't known and the store can't be asked.
func (k *Keys) Verify(ctx context.Context, presented string) (Principal, error) {
	id, secret, ok := parseKey(presented)
	if !ok {
		return Principal{}, reject(ReasonMalformed, Key{}, "the API key is not valid: it is not of the form %s", Format)
	}
	key, err := k.find(ctx, id)
	if err != nil {
		return Principal{}, err
	}
	now, hash := k.time(), sha256.Sum256([]byte(secret))
	same := subtle.ConstantTimeCompare(hash[:], key.Hash[:]) == 1
	switch {
	case key.ID == "":
		return Principal{}, reject(ReasonUnknown, key, "the API key is not valid")
	case !same:
		return Principal{}, reject(ReasonSecret, key, "the API key is not valid")
	}
	switch key.StateAt(now) {
	case Revoked:
		return Principal{}, reject(ReasonRevoked, key, "the API key %s was revoked", key)
	case Expired:
		return Principal{}, reject(ReasonExpired, key, "the API key %s expired at %s", key,
			key.Expires.UTC().Format(time.RFC3339))
	}
	k.noteUse(key, now)
	return Principal{KeyID: key.ID, Name: key.Name, Scopes: key.Scopes, Rater: key.Rater}, nil
}

// Create makes a key and returns it with what its holder has to send. Errors are
// bad_request, conflict and store_unavailable.
func (k *Keys) Create(ctx context.Context, spec Spec, by string) (Key, string, error) {
	if err := spec.validate(); err != nil {
		return Key{}, "", err
	}
	now, err := k.store.Time(ctx)
	if err != nil {
		return Key{}, "", err
	}
	key, secret := newKey(spec, by, now.UTC().Truncate(time.Microsecond))
	if err := k.store.CreateKey(ctx, key); err != nil {
		return Key{}, "", err
	}
	k.put(key)
	k.logger.InfoContext(ctx, "API key created", "key", key.String(), "scopes", join(key.Scopes), "by", by)
	return key, secret, nil
}

// List returns the keys that are valid, and for [KeepFor] those that were, the
// oldest first, and the time at which they are.
func (k *Keys) List(ctx context.Context) ([]Key, time.Time, error) {
	now, err := k.store.Time(ctx)
	if err != nil {
		return nil, now, err
	}
	all, err := k.store.ListKeys(ctx, now.Add(-KeepFor))
	return all, now, err
}

// Revoke ends a key: not_found, store_unavailable.
func (k *Keys) Revoke(ctx context.Context, id, by string) (Key, error) {
	now, err := k.store.Time(ctx)
	if err != nil {
		return Key{}, err
	}
	key, err := k.store.RevokeKey(ctx, id, by, now)
	if err != nil {
		return Key{}, err
	}
	k.put(key)
	k.logger.InfoContext(ctx, "API key revoked", "key", key.String(), "by", by)
	return key, nil
}

// time is now by the store's clock, without asking the store: known keys came with a
// reading of it.
func (k *Keys) time() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.shown.Add(k.now().Sub(k.read))
}

// put makes a change known here at once. A load that is under way may have missed
// it and doesn't count.
func (k *Keys) put(key Key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.changes++
	if k.known != nil {
		k.known[key.ID] = key
	}
}

// find returns a key by its ID, and the zero value for none.
func (k *Keys) find(ctx context.Context, id string) (Key, error) {
	for {
		k.mu.Lock()
		key, found := k.known[id]
		now := k.now()
		age := now.Sub(k.taken)
		failing := k.failed.After(k.taken) && k.known != nil
		limit := RevokedWithin
		if !found {
			limit = unknownAfter
		}
		switch {
		case age <= limit:
			if age > refreshAfter {
				k.load(now)
			}
			k.mu.Unlock()
			return key, nil
		case failing && found && age <= Outage:
			k.load(now)
			k.mu.Unlock()
			return key, nil
		}
		loading := k.load(now)
		fault := k.fault
		k.mu.Unlock()
		if loading == nil { // it has just failed
			return Key{}, fault
		}
		select {
		case <-loading:
		case <-ctx.Done():
			return Key{}, ctx.Err()
		}
	}
}

// load begins to load all keys, unless that is being done or has just failed, and
// returns what is closed when it ends, or nil. The caller holds mu.
func (k *Keys) load(now time.Time) <-chan struct{} {
	if k.loading != nil {
		return k.loading
	}
	if k.closed {
		k.fault = unavailable(errors.New("closed"))
		return nil
	}
	if now.Sub(k.failed) < retryAfter {
		return nil
	}
	done, changes := make(chan struct{}), k.changes
	k.loading = done
	k.underway.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), loadTimeout)
		defer cancel()
		var all []Key
		shown, err := k.store.Time(ctx)
		read := k.now()
		if err == nil {
			all, err = k.store.ListKeys(ctx, shown.Add(-KeepFor))
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		k.loading = nil
		close(done)
		if err != nil {
			k.failed, k.fault = k.now(), unavailable(err)
			k.logger.Warn("reading the API keys failed", "cause", err)
			return
		}
		k.failed, k.fault = time.Time{}, nil
		k.shown, k.read = shown, read
		if changes != k.changes {
			return
		}
		k.known, k.taken = make(map[string]Key, len(all)), now
		for _, key := range all {
			k.known[key.ID] = key
		}
		maps.DeleteFunc(k.used, func(id string, _ time.Time) bool { _, ok := k.known[id]; return !ok })
	})
	return done
}

func unavailable(err error) error {
	if e, ok := errors.AsType[*quality.Error](err); ok && e.Kind == quality.KindStoreUnavailable {
		return e
	}
	return quality.Errorf(quality.KindStoreUnavailable, "the store of API keys is unavailable").
		After(retryAfter).Because(err)
}

// noteUse has the use of a key written, unless that was done lately.
func (k *Keys) noteUse(key Key, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	last := key.Used
	if u := k.used[key.ID]; u.After(last) {
		last = u
	}
	if now.Sub(last) < UsedEvery || k.closed {
		return
	}
	k.used[key.ID], k.unsaved[key.ID] = now, now
	if !k.saving {
		k.saving = true
		k.underway.Go(k.save)
	}
}

// save writes the uses of keys until there is none left.
func (k *Keys) save() {
	for {
		k.mu.Lock()
		used := k.unsaved
		if len(used) == 0 {
			k.saving = false
			k.mu.Unlock()
			return
		}
		k.unsaved = map[string]time.Time{}
		k.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), loadTimeout)
		if err := k.store.UseKeys(ctx, used); err != nil {
			k.logger.Warn("writing the last use of API keys failed", "cause", err)
		}
		cancel()
	}
}
