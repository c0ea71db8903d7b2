package gateway

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/internal/metrics"
	"github.com/agiqa/agiqa/internal/ratelimit"
	"github.com/agiqa/agiqa/quality"
)

// KeyHeader carries an API key, as does Authorization: Bearer.
const KeyHeader = "X-API-Key"

// maxKeyBytes bounds a key in a header.
const maxKeyBytes = 256

// Keys verifies and manages API keys: an [access.Keys]. Errors are
// *[quality.Error].
type Keys interface {
	// Verify returns whose key it is: unauthenticated with an [access.Rejection] as
	// its cause, store_unavailable.
	Verify(ctx context.Context, presented string) (access.Principal, error)
	// Create returns a key and what its holder sends: bad_request, conflict,
	// store_unavailable. by names who asks.
	Create(ctx context.Context, spec access.Spec, by string) (access.Key, string, error)
	// List returns keys and the time at which they are.
	List(ctx context.Context) ([]access.Key, time.Time, error)
	Revoke(ctx context.Context, id, by string) (access.Key, error)
}

// Failed attempts that a client may make: some at once, and one every few seconds
// after that. An API key can't be guessed; an admin key that somebody thought of
// can.
const (
	failuresAtOnce  = 10
	failuresPerHour = 600
	// clientsRemembered bounds whose failures are counted. The client not seen for
	// longest is forgotten first.
	clientsRemembered = 10_000
	// adminsRemembered and adminFor bound which clients' admin key is looked at
	// although somebody behind the same address guesses.
	adminsRemembered = 100
	adminFor         = time.Hour
)

// guard finds out whose key a request carries.
type guard struct {
	adminKey string
	keys     Keys // nil: there are none
	failures *ratelimit.Limiter
	refusals metric.Int64Counter

	mu     sync.Mutex
	admins map[string]time.Time // clients that sent the right admin key lately, and when
}

func newGuard(adminKey string, keys Keys, meter metric.Meter) (*guard, error) {
	refusals, err := metrics.AccessRefusals.New(meter)
	if err != nil {
		return nil, err
	}
	return &guard{adminKey: adminKey, keys: keys, admins: map[string]time.Time{}, refusals: refusals,
		failures: ratelimit.New(ratelimit.Config{
			PerSecond: failuresPerHour / time.Hour.Seconds(), Burst: failuresAtOnce, Keys: clientsRemembered,
		}, time.Now)}, nil
}

// KeyID names an admin key in logs: the beginning of its digest, from which
// nobody gets the key.
func KeyID(key string) string {
	sum := sha256.Sum256([]byte(key))
	return "key-" + hex.EncodeToString(sum[:4])
}

// presentedKey returns the key that a request carries, and "" for none. Other
// schemes of Authorization are a proxy's business, not ours.
func presentedKey(h http.Header) (string, error) {
	var keys []string
	for _, value := range h.Values("Authorization") {
		scheme, key, _ := strings.Cut(value, " ")
		if strings.EqualFold(scheme, "Bearer") {
			keys = append(keys, strings.TrimLeft(key, " "))
		}
	}
	keys = append(keys, h.Values(KeyHeader)...)
	keys = slices.DeleteFunc(keys, func(key string) bool { return key == "" })
	slices.Sort(keys)
	switch keys = slices.Compact(keys); {
	case len(keys) == 0:
		return "", nil
	case len(keys) > 1:
		return "", malformedKey("the request carries %d different API keys", len(keys))
	case len(keys[0]) > maxKeyBytes:
		return "", malformedKey("the API key is longer than %d bytes", maxKeyBytes)
	}
	return keys[0], nil
}

func malformedKey(format string, args ...any) error {
	return quality.Errorf(quality.KindUnauthenticated, format, args...).
		Because(&access.Rejection{Reason: access.ReasonMalformed})
}

// authenticate returns p as the holder of the key that a request carries, and as it
// is where there is none. Failures count for the client that p is by its address:
// whoever has too many is turned away without a look at the admin key, but valid
// keys that nobody can guess go on working.
func (g *guard) authenticate(r *http.Request, p access.Principal) (access.Principal, error) {
	key, err := presentedKey(r.Header)
	if key == "" && err == nil {
		return p, nil
	}
	throttled := g.failures.Wait(p.Client)
	if err == nil {
		var holder access.Principal
		if holder, err = g.verify(r.Context(), p.Client, key, throttled > 0); err == nil {
			p.KeyID, p.Name, p.Scopes, p.Rater = holder.KeyID, holder.Name, holder.Scopes, holder.Rater
			p.Client = "key:" + holder.KeyID
			return p, nil
		}
	}
	if quality.KindOf(err) != quality.KindUnauthenticated {
		return p, err
	}
	if throttled > 0 {
		return p, quality.Errorf(quality.KindRateLimited, "too many requests with invalid API keys from this client").
			After(throttled).Because(err)
	}
	g.failures.Take(p.Client)
	return p, err
}

func (g *guard) verify(ctx context.Context, client, key string, throttled bool) (access.Principal, error) {
	if g.adminKey != "" && (!throttled || g.isAdmin(client)) {
		got, want := sha256.Sum256([]byte(key)), sha256.Sum256([]byte(g.adminKey))
		if subtle.ConstantTimeCompare(got[:], want[:]) == 1 {
			g.noteAdmin(client)
			return access.Principal{KeyID: KeyID(key), Scopes: []access.Scope{access.ScopeAdmin}}, nil
		}
	}
	switch {
	case !access.WellFormed(key):
		return access.Principal{}, malformedKey("the API key is not valid: it is not of the form %s, and not the "+
			"server's admin-key", access.Format)
	case g.keys == nil:
		return access.Principal{}, quality.Errorf(quality.KindUnauthenticated, "the API key is not valid: this server "+
			"keeps no keys, because its setting experiment-store is none").
			Because(&access.Rejection{Reason: access.ReasonUnknown})
	}
	return g.keys.Verify(ctx, key)
}

// isAdmin reports whether a client sent the right admin key lately.
func (g *guard) isAdmin(client string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	at, known := g.admins[client]
	return known && time.Since(at) < adminFor
}

// noteAdmin remembers a client that sent the right admin key, in place of the one
// that was seen least lately where there are too many.
func (g *guard) noteAdmin(client string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, known := g.admins[client]; !known && len(g.admins) >= adminsRemembered {
		oldest := slices.MinFunc(slices.Collect(maps.Keys(g.admins)),
			func(a, b string) int { return g.admins[a].Compare(g.admins[b]) })
		delete(g.admins, oldest)
	}
	g.admins[client] = time.Now()
}

// count counts a request that is refused for its key, or for having none.
func (g *guard) count(ctx context.Context, err error) {
	reason := "missing"
	rejection, rejected := errors.AsType[*access.Rejection](err)
	switch kind := quality.KindOf(err); {
	case kind == quality.KindRateLimited:
		reason = "throttled"
	case rejected:
		reason = rejection.Reason
	case kind == quality.KindForbidden:
		reason = "scope"
	case kind != quality.KindUnauthenticated:
		reason = "unavailable"
	}
	g.refusals.Add(ctx, 1, metric.WithAttributes(metrics.Reason(reason)))
}
