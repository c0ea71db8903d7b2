package cache_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/agiqa/agiqa/cache"
	"github.com/agiqa/agiqa/cache/redistest"
	"github.com/agiqa/agiqa/internal/ratelimit"
)

// TestTokensOfSeveralGateways: what three gateways take from one Redis is what one
// limiter in memory allows, debts included.
func TestTokensOfSeveralGateways(t *testing.T) {
	server := redistest.Start(t)
	// Tokens come back in fifty seconds each: what the test itself takes is nothing.
	bucket := cache.Bucket{PerSecond: 0.02, Burst: 5}
	var shared []*cache.Tokens
	for range 3 {
		shared = append(shared, newRedis(t, server.URL(), nil).Tokens(bucket))
	}
	local := ratelimit.New(ratelimit.Config{PerSecond: bucket.PerSecond, Burst: bucket.Burst, Keys: 10}, time.Now)
	random := rand.New(rand.NewPCG(1, 2))
	refused := 0
	for i := range 300 {
		client := fmt.Sprint("client", i%7)
		tokens, owed := float64(1+random.IntN(7)), random.IntN(3) == 0
		var want time.Duration
		if owed {
			want = local.Charge(client, tokens)
		} else {
			want = local.TakeCost(client, tokens)
		}
		got, err := shared[random.IntN(len(shared))].Take(t.Context(), client, tokens, owed)
		if err != nil {
			t.Fatal(err)
		}
		if off := (got - want).Abs(); off > 20*time.Second || got == 0 != (want == 0) {
			t.Fatalf("step %d: %g tokens of %s, owed %t: wait %s, want %s", i, tokens, client, owed, got, want)
		}
		if want > 0 && !owed {
			refused++
		}
	}
	if refused < 50 {
		t.Errorf("%d refusals, want many", refused)
	}
	for _, key := range server.Keys() {
		if strings.Contains(key, "client") {
			t.Errorf("the key %q names a client", key)
		}
		if ttl, _ := server.Do("PTTL", key).(int64); ttl <= 0 {
			t.Errorf("%s never ends", key)
		}
	}
	if n := len(server.Keys()); n != 7 {
		t.Errorf("%d buckets, want one for each client", n)
	}
}

// TestTokensAmongForeignValues: what somebody else wrote under a bucket's name is
// no debt without end.
func TestTokensAmongForeignValues(t *testing.T) {
	server := redistest.Start(t)
	tokens := newRedis(t, server.URL(), nil).Tokens(cache.Bucket{PerSecond: 1, Burst: 2})
	if _, err := tokens.Take(t.Context(), "a", 1, false); err != nil {
		t.Fatal(err)
	}
	key := server.Keys()[0]
	for _, value := range []string{"", "inf", "-inf", "nan", "1e300", "x", strings.Repeat("9", 1000)} {
		server.Do("SET", key, value)
		for i, want := range []bool{true, true, false} {
			if wait, err := tokens.Take(t.Context(), "a", 1, false); err != nil || (wait == 0) != want {
				t.Errorf("%.9q: token %d: wait %s, error %v", value, i, wait, err)
			}
		}
	}
	server.Do("DEL", key)
	server.Do("RPUSH", key, "x")
	if _, err := tokens.Take(t.Context(), "a", 1, false); err == nil {
		t.Error("a list is a bucket")
	}
}

// TestTokensWithoutRights: a user of Redis that may not run scripts costs the
// shared buckets and not the cache.
func TestTokensWithoutRights(t *testing.T) {
	server := redistest.Start(t)
	server.Do("ACL", "SETUSER", "narrow", "on", ">secret", "~agiqa:*", "+getrange", "+set", "+unlink", "+ping")
	url := strings.Replace(server.URL(), "redis://", "redis://narrow:secret@", 1)
	r := newRedis(t, url, nil)
	tokens := r.Tokens(cache.Bucket{PerSecond: 1, Burst: 2})
	for range 10 {
		if _, err := tokens.Take(t.Context(), "a", 1, false); cache.ReasonOf(err) != cache.ReasonNoAuth {
			t.Fatalf("error %v, want one of missing rights", err)
		}
	}
	if !r.Available() {
		t.Error("the cache has given up on Redis")
	}
	if err := r.Set(t.Context(), "agiqa:x", []byte("x"), time.Minute); err != nil {
		t.Error(err)
	}
}
