package access_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/quality"
)

// memory is a store that a test can stop.
type memory struct {
	mu    sync.Mutex
	keys  []access.Key
	lists int           // calls of ListKeys
	down  error         // what every call returns; nil: it answers
	slow  time.Duration // how long ListKeys takes, with what was there at its beginning
	ahead time.Duration // of the store's clock
	uses  []map[string]time.Time
}

func (m *memory) Time(context.Context) (time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Now().Add(m.ahead), m.down
}

func (m *memory) CreateKey(_ context.Context, k access.Key) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down == nil {
		m.keys = append(m.keys, k)
	}
	return m.down
}

func (m *memory) ListKeys(ctx context.Context, since time.Time) ([]access.Key, error) {
	m.mu.Lock()
	m.lists++
	all, slow, down := slices.Clone(m.keys), m.slow, m.down
	m.mu.Unlock()
	if slow > 0 {
		select {
		case <-time.After(slow):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return slices.DeleteFunc(all, func(k access.Key) bool {
		ended := k.Ended(time.Now().Add(m.ahead))
		return !ended.IsZero() && ended.Before(since)
	}), down
}

func (m *memory) RevokeKey(_ context.Context, id, by string, at time.Time) (access.Key, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.keys {
		if m.keys[i].ID == id {
			m.keys[i].Revoked, m.keys[i].RevokedBy = at, by
			return m.keys[i], m.down
		}
	}
	return access.Key{}, quality.Errorf(quality.KindNotFound, "no such key")
}

func (m *memory) UseKeys(_ context.Context, used map[string]time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.uses = append(m.uses, used)
	return m.down
}

func (m *memory) set(down error, slow time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down, m.slow = down, slow
}

func (m *memory) asked() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lists
}

var errDown = quality.Errorf(quality.KindStoreUnavailable, "the store is down")

// run gives a test keys over a store, and a clock that goes as the test waits.
func run(t *testing.T, test func(t *testing.T, m *memory, k *access.Keys)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		k := gatewayOf(m)
		test(t, m, k)
		k.Close()
	})
}

// gatewayOf is one of several gateways that share a store.
func gatewayOf(m *memory) *access.Keys {
	return access.NewKeys(m, time.Now, slog.New(slog.DiscardHandler))
}

func create(t *testing.T, k *access.Keys, spec access.Spec) (access.Key, string) {
	t.Helper()
	key, secret, err := k.Create(t.Context(), spec, "a test")
	if err != nil {
		t.Fatal(err)
	}
	return key, secret
}

var scorer = access.Spec{Name: "scorer", Scopes: []access.Scope{access.ScopeScore}}

// wantRejected checks why a key is refused, and that its holder isn't told more
// than is good for a stranger.
func wantRejected(t *testing.T, k *access.Keys, secret, reason, detail string) {
	t.Helper()
	p, err := k.Verify(t.Context(), secret)
	rejection, ok := errors.AsType[*access.Rejection](err)
	if quality.KindOf(err) != quality.KindUnauthenticated || !ok || rejection.Reason != reason || p.Authenticated() {
		t.Errorf("%.40q: %+v, %v, want %s", secret, p, err, reason)
		return
	}
	if e, _ := errors.AsType[*quality.Error](err); !strings.Contains(e.Detail, detail) {
		t.Errorf("%.40q: detail %q, want %q in it", secret, e.Detail, detail)
	}
}

func wantVerified(t *testing.T, k *access.Keys, key access.Key, secret string) {
	t.Helper()
	p, err := k.Verify(t.Context(), secret)
	want := access.Principal{KeyID: key.ID, Name: key.Name, Scopes: key.Scopes, Rater: key.Rater}
	if diff := cmp.Diff(want, p); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// otherSecret is the secret with another last letter: still of the right form.
func otherSecret(secret string) string {
	last := "A"
	if strings.HasSuffix(secret, last) {
		last = "B"
	}
	return secret[:len(secret)-1] + last
}

func TestKeyFromCreationToRevocation(t *testing.T) {
	run(t, func(t *testing.T, m *memory, k *access.Keys) {
		other := gatewayOf(m)
		defer other.Close()
		key, secret := create(t, k, access.Spec{Name: "rater-7", Rater: "r7",
			Scopes: []access.Scope{access.ScopeFeedback, access.ScopeScore, access.ScopeScore}})
		if diff := cmp.Diff([]access.Scope{access.ScopeScore, access.ScopeFeedback}, key.Scopes); diff != "" {
			t.Errorf("scopes (-want +got):\n%s", diff)
		}
		id, private, _ := strings.Cut(strings.TrimPrefix(secret, "agiqa_"), "_")
		if id != key.ID || key.Hash != sha256.Sum256([]byte(private)) || len(private) < 26 ||
			strings.Contains(fmt.Sprintf("%+v", m.keys), private) {
			t.Errorf("key %+v of secret %s", key, secret)
		}
		wantVerified(t, k, key, secret)
		wantVerified(t, other, key, secret)
		flipped := otherSecret(secret)
		wantRejected(t, k, flipped, access.ReasonSecret, "the API key is not valid")
		unknown := strings.Replace(secret, key.ID, strings.Repeat("a", 12), 1)
		wantRejected(t, k, unknown, access.ReasonUnknown, "the API key is not valid")
		if _, err := k.Revoke(t.Context(), key.ID, "a test"); err != nil {
			t.Fatal(err)
		}
		wantRejected(t, k, secret, access.ReasonRevoked, "rater-7 ("+key.ID+") was revoked") // at once
		time.Sleep(access.RevokedWithin + time.Nanosecond)
		wantRejected(t, other, secret, access.ReasonRevoked, "was revoked")
		wantRejected(t, other, flipped, access.ReasonSecret, "is not valid")
		if _, err := k.Revoke(t.Context(), "nobody", "a test"); quality.KindOf(err) != quality.KindNotFound {
			t.Errorf("revoking what is not there: %v", err)
		}
	})
}

func TestKeyExpires(t *testing.T) {
	run(t, func(t *testing.T, m *memory, k *access.Keys) {
		spec := scorer
		spec.Lifetime = time.Hour
		key, secret := create(t, k, spec)
		time.Sleep(time.Hour - time.Second)
		wantVerified(t, k, key, secret)
		m.set(errDown, 0) // a clock is all that it takes
		time.Sleep(time.Second)
		wantRejected(t, k, secret, access.ReasonExpired, "expired at ")
	})
}

// TestKeysGoByTheStoresClock: of several gateways whose clocks are a day apart each lets a
// key live as long as was asked for, says the same of it, and goes on so without the store.
func TestKeysGoByTheStoresClock(t *testing.T) {
	const day = 24 * time.Hour
	for _, ahead := range []time.Duration{day, -day} { // of the store's clock
		synctest.Test(t, func(t *testing.T) {
			m := &memory{ahead: ahead}
			var gateways []*access.Keys
			for _, off := range []time.Duration{0, day, -day, 3 * day} {
				k := access.NewKeys(m, func() time.Time { return time.Now().Add(off) }, slog.New(slog.DiscardHandler))
				defer k.Close()
				gateways = append(gateways, k)
			}
			began := time.Now()
			spec := scorer
			spec.Lifetime = time.Hour
			keys, secrets := make([]access.Key, len(gateways)), make([]string, len(gateways))
			for i, k := range gateways {
				spec.Name = fmt.Sprint("key-", i)
				keys[i], secrets[i] = create(t, k, spec)
				if !keys[i].Created.Equal(began.Add(ahead)) || !keys[i].Expires.Equal(began.Add(ahead+time.Hour)) {
					t.Errorf("gateway %d: created %s, expires %s", i, keys[i].Created, keys[i].Expires)
				}
			}
			all := func(check func(k *access.Keys, n int)) {
				for _, k := range gateways {
					for n := range keys {
						check(k, n)
					}
				}
			}
			verified := func(k *access.Keys, n int) { wantVerified(t, k, keys[n], secrets[n]) }
			rejected := func(k *access.Keys, n int) { wantRejected(t, k, secrets[n], access.ReasonExpired, "expired at ") }
			all(verified)
			time.Sleep(time.Hour - time.Minute)
			all(verified)
			synctest.Wait()
			m.set(errDown, 0)
			time.Sleep(time.Minute - time.Second)
			all(verified)
			time.Sleep(time.Second)
			all(rejected)
			m.set(nil, 0)
			time.Sleep(access.Outage)
			all(rejected)
			for i, k := range gateways {
				listed, now, err := k.List(t.Context())
				if err != nil || len(listed) != len(keys) || listed[0].StateAt(now) != access.Expired {
					t.Errorf("gateway %d: %d keys at %s, %v", i, len(listed), now, err)
				}
			}
			if !m.uses[0][keys[0].ID].Equal(began.Add(ahead)) {
				t.Errorf("uses %v", m.uses)
			}
		})
	}
}

func TestMalformedKeys(t *testing.T) {
	run(t, func(t *testing.T, m *memory, k *access.Keys) {
		_, secret := create(t, k, scorer)
		for _, bad := range []string{
			"x", "agiqa_", secret[1:], secret + "A", secret[:len(secret)-1], strings.ToUpper(secret), strings.ToLower(secret),
			" " + secret, secret + "\n", strings.Repeat("agiqa_", 1000), "agiqa_\xff\xfe_x", "",
		} {
			wantRejected(t, k, bad, access.ReasonMalformed, "agiqa_ID_SECRET")
		}
		if m.asked() != 0 {
			t.Errorf("the store was asked %d times", m.asked())
		}
	})
}

// TestStoreIsSpared: neither hot keys nor any number of invented ones reach the
// store.
func TestStoreIsSpared(t *testing.T) {
	run(t, func(t *testing.T, m *memory, k *access.Keys) {
		key, secret := create(t, k, scorer)
		const seconds = 60
		for range seconds {
			for n := range 50 {
				wantVerified(t, k, key, secret)
				wantRejected(t, k, fmt.Sprintf("agiqa_%s_%s", strings.Repeat(string(rune('a'+n%26)), 12),
					strings.Repeat("A", 26)), access.ReasonUnknown, "")
			}
			time.Sleep(time.Second)
		}
		if n := m.asked(); n > seconds+1 {
			t.Errorf("the store was asked %d times in %d s", n, seconds)
		}
		lists := m.asked()
		for range seconds * 10 {
			wantVerified(t, k, key, secret)
			time.Sleep(100 * time.Millisecond)
		}
		if n := m.asked() - lists; n > seconds/2 {
			t.Errorf("a valid key had the store asked %d times in %d s", n, seconds)
		}
	})
}

// TestStoreOutage: a gateway goes on with the keys that it knows, for a while, says
// of others that it can't know, and doesn't wait for a store that hangs.
func TestStoreOutage(t *testing.T) {
	for name, stop := range map[string]func(*memory){
		"it answers with errors": func(m *memory) { m.set(errDown, 0) },
		"it hangs":               func(m *memory) { m.set(nil, time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, m *memory, k *access.Keys) {
				other := gatewayOf(m)
				defer other.Close()
				key, secret := create(t, k, scorer)
				wantVerified(t, k, key, secret)
				stop(m)
				_, err := other.Verify(t.Context(), secret) // knows nothing yet
				if quality.KindOf(err) != quality.KindStoreUnavailable {
					t.Errorf("a gateway that starts without the store: %v, want store_unavailable", err)
				}
				var waited time.Duration
				for began := time.Now(); time.Since(began) < access.Outage-10*time.Second; time.Sleep(100 * time.Millisecond) {
					asked := time.Now()
					wantVerified(t, k, key, secret)
					waited += time.Since(asked)
				}
				if waited > 2*time.Second { // once, to learn that it hangs
					t.Errorf("requests waited %s for the store", waited)
				}
				unknown := strings.Replace(secret, key.ID, strings.Repeat("a", 12), 1)
				if _, err := k.Verify(t.Context(), unknown); quality.KindOf(err) != quality.KindStoreUnavailable {
					t.Errorf("an unknown key: %v, want store_unavailable", err)
				}
				time.Sleep(20 * time.Second)
				if _, err := k.Verify(t.Context(), secret); quality.KindOf(err) != quality.KindStoreUnavailable {
					t.Errorf("after %s: %v, want store_unavailable", access.Outage, err)
				}
				m.set(nil, 0)
				time.Sleep(2 * time.Second)
				wantVerified(t, k, key, secret)
				wantVerified(t, other, key, secret)
			})
		})
	}
}

// TestRevocationDuringALoad: what a slow load brings from before the revocation
// doesn't make the key valid again.
func TestRevocationDuringALoad(t *testing.T) {
	run(t, func(t *testing.T, m *memory, k *access.Keys) {
		key, secret := create(t, k, scorer)
		wantVerified(t, k, key, secret)
		m.set(nil, 2*time.Second)
		time.Sleep(3 * time.Second)
		wantVerified(t, k, key, secret) // begins a load
		synctest.Wait()
		if _, err := k.Revoke(t.Context(), key.ID, "a test"); err != nil {
			t.Fatal(err)
		}
		for range 100 {
			wantRejected(t, k, secret, access.ReasonRevoked, "")
			time.Sleep(100 * time.Millisecond)
		}
	})
}

// TestLastUse is written once a minute, and nobody waits for it.
func TestLastUse(t *testing.T) {
	run(t, func(t *testing.T, m *memory, k *access.Keys) {
		key, secret := create(t, k, scorer)
		began := time.Now()
		for range 300 {
			wantVerified(t, k, key, secret)
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if len(m.uses) != 5 || !m.uses[0][key.ID].Equal(began) {
			t.Errorf("written %d times in five minutes: %v", len(m.uses), m.uses)
		}
	})
}

func TestCreationIsChecked(t *testing.T) {
	run(t, func(t *testing.T, m *memory, k *access.Keys) {
		score, feedback := []access.Scope{access.ScopeScore}, []access.Scope{access.ScopeFeedback}
		for _, test := range []struct {
			spec access.Spec
			want string
		}{
			{access.Spec{Scopes: score}, "name"},
			{access.Spec{Name: "a b", Scopes: score}, "name"},
			{access.Spec{Name: strings.Repeat("a", 65), Scopes: score}, "name"},
			{access.Spec{Name: "a\x1b[31m", Scopes: score}, "name"},
			{access.Spec{Name: "a"}, "scopes"},
			{access.Spec{Name: "a", Scopes: []access.Scope{"root"}}, `unknown scope "root"`},
			{access.Spec{Name: "a", Scopes: score, Rater: "r"}, "the scope feedback"},
			{access.Spec{Name: "a", Scopes: feedback, Rater: strings.Repeat("r", 257)}, "256 bytes"},
			{access.Spec{Name: "a", Scopes: feedback, Rater: "r\n"}, "printable"},
			{access.Spec{Name: "a", Scopes: score, Lifetime: time.Second}, "expires_in"},
			{access.Spec{Name: "a", Scopes: score, Lifetime: -time.Hour}, "expires_in"},
			{access.Spec{Name: "a", Scopes: score, Lifetime: access.MaxLifetime + 1}, "expires_in"},
		} {
			if _, _, err := k.Create(t.Context(), test.spec, "a test"); quality.KindOf(err) != quality.KindBadRequest ||
				!strings.Contains(err.Error(), test.want) {
				t.Errorf("%+v: %v, want %q", test.spec, err, test.want)
			}
		}
		if len(m.keys) != 0 {
			t.Errorf("%d keys were created", len(m.keys))
		}
	})
}

func TestParseLifetime(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 0, "12h": 12 * time.Hour,
		"90d": 90 * 24 * time.Hour, "1h30m": 90 * time.Minute} {
		if got, err := access.ParseLifetime(text); err != nil || got != want {
			t.Errorf("%q: %s, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"0", "0d", "-1d", "d", "1.5d", "99999999999d", "soon", "-3h", "1w"} {
		if got, err := access.ParseLifetime(text); quality.KindOf(err) != quality.KindBadRequest {
			t.Errorf("%q: %s, %v, want bad_request", text, got, err)
		}
	}
}

// TestSecretsAreNotLogged: what is created, used, mistaken and revoked leaves no
// secret in the log.
func TestSecretsAreNotLogged(t *testing.T) {
	var log bytes.Buffer
	k := access.NewKeys(&memory{}, time.Now, slog.New(slog.NewTextHandler(&log, nil)))
	key, secret := create(t, k, scorer)
	wantVerified(t, k, key, secret)
	_, err := k.Verify(t.Context(), secret+"x")
	if _, fault := k.Revoke(t.Context(), key.ID, "a test"); fault != nil {
		t.Fatal(fault)
	}
	k.Close()
	private := secret[strings.LastIndexByte(secret, '_')+1:]
	if said := log.String() + err.Error(); strings.Contains(said, private) || !strings.Contains(said, key.ID) {
		t.Errorf("said: %s", said)
	}
}
