package gateway_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/cache"
	"github.com/agiqa/agiqa/cache/redistest"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
)

// limited gives each client some tokens, which come back too slowly for a test.
func limited(burst int) func(*plan) {
	return func(p *plan) { p.gateway.RateLimit = gateway.RateLimit{PerSecond: 0.001, Burst: burst, Keys: 100} }
}

func from(address string) edit { return func(r *http.Request) { r.RemoteAddr = address } }

func TestRateLimitAnswer(t *testing.T) {
	r := newRig(t, func(p *plan) { p.gateway.RateLimit = gateway.RateLimit{PerSecond: 0.25, Burst: 1, Keys: 10} })
	if got := r.post("/v1/score", testimages.PNG(8, 8), "image/png"); got.status != 200 {
		t.Fatalf("the first: status %d", got.status)
	}
	got := r.postUnread("/v1/score", 10)
	if p := got.wantProblem(t, quality.KindRateLimited); p.RetryAfterMS < 3000 || p.RetryAfterMS > 4000 {
		t.Errorf("retry after %d ms, want nearly four seconds", p.RetryAfterMS)
	}
	if got := r.values("agiqa.gateway.refusals")["reason=rate_limit"]; got != 1 {
		t.Errorf("agiqa.gateway.refusals{rate_limit} is %d, want 1", got)
	}
}

// Nothing that a client can invent is a bucket of its own, and a valid key is one
// wherever it comes from.
func TestInventionsAreNoBuckets(t *testing.T) {
	for name, invention := range map[string]func(i int) edit{
		"nothing":         func(int) edit { return func(*http.Request) {} },
		"X-API-Key":       func(i int) edit { return header("X-API-Key", fmt.Sprintf("agiqa_%d_secret", i)) },
		"Authorization":   func(i int) edit { return header("Authorization", fmt.Sprint("Bearer invented", i)) },
		"X-Forwarded-For": func(i int) edit { return header("X-Forwarded-For", fmt.Sprintf("192.0.2.%d", i)) },
		"ports":           func(i int) edit { return from(fmt.Sprint("192.0.2.1:", 1000+i)) },
		"IPv6 of a network": func(i int) edit {
			return from(fmt.Sprintf("[2001:db8::%x:1]:1000", i+1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			const burst = 3
			r := newRig(t, limited(burst))
			passed := 0
			for i := range 12 {
				if got := r.post("/v1/score", []byte("x"), "image/png", invention(i)); got.status != http.StatusTooManyRequests {
					passed++
				}
			}
			if passed != burst {
				t.Errorf("%d requests passed, want %d", passed, burst)
			}
			for i := range burst + 1 { // the admin key has a bucket of its own
				got := r.post("/v1/score", []byte("x"), "image/png", asAdmin, from(fmt.Sprintf("198.51.100.%d:1", i)))
				if limited := got.status == http.StatusTooManyRequests; limited != (i == burst) {
					t.Errorf("request %d with a valid key: status %d", i, got.status)
				}
			}
		})
	}
}

// Every route is limited but probes and pages, whatever the answer is, and a table
// says what costs more than a token.
func TestEveryRouteThatCostsIsLimited(t *testing.T) {
	const burst = 10
	r := newWholeRig(t, limited(burst))
	permits, costs := gateway.Permits(), gateway.RouteCosts()
	for i, route := range r.gateway.Routes() {
		method, path, _ := strings.Cut(route, " ")
		name := strings.Replace(route, http.MethodHead+" ", http.MethodGet+" ", 1)
		cost, special := costs[name]
		if !special {
			cost = 1
		}
		allowed := 0
		for range burst + 1 {
			got := r.ask(method, pathParameter.ReplaceAllString(path, "x"), nil, from(fmt.Sprintf("10.0.0.%d:1", i)),
				header("Content-Type", "text/plain")) // refused before it is known what it costs
			if got.status != http.StatusTooManyRequests {
				allowed++
			}
		}
		want := int(burst / cost)
		if permits[name].Scope == "" {
			want = burst + 1
		}
		if allowed != want {
			t.Errorf("%s: %d of %d requests passed, want %d", route, allowed, burst+1, want)
		}
	}
	for name := range costs {
		if _, ok := permits[name]; !ok {
			t.Errorf("%s has a cost, and there is no such route", name)
		}
	}
}

// A scoring request that was read is not refused for what it costs: the client
// owes it.
func TestScoringOwesWhatItCosts(t *testing.T) {
	r := newRig(t, func(p *plan) {
		p.gateway.RateLimit = gateway.RateLimit{PerSecond: 0.5, Burst: 2, Keys: 10}
	})
	if got := r.postJSON("/v1/compare", map[string]any{"images": []map[string]any{
		{"data": testimages.PNG(8, 8)}, {"data": testimages.PNG(9, 8)}, {"data": testimages.PNG(8, 9)},
	}}); got.status != http.StatusOK {
		t.Fatalf("compare: status %d: %s", got.status, got.body)
	}
	// Three images by two checkpoints, of which two tokens were there, and one more.
	p := r.postUnread("/v1/score", 10).wantProblem(t, quality.KindRateLimited)
	if p.RetryAfterMS < 9000 || p.RetryAfterMS > 10000 {
		t.Errorf("retry after %d ms, want nearly ten seconds", p.RetryAfterMS)
	}
}

// TestGatewaysShareLimits: what a client may ask for doesn't grow with the number of
// gateways. While Redis is away each has a limit of its own, and none is without.
func TestGatewaysShareLimits(t *testing.T) {
	server := redistest.Start(t)
	const burst = 6
	var gateways []*rig
	for range 3 {
		config := cache.DefaultRedisConfig()
		config.URL = server.URL()
		config.OperationTimeout, config.DialTimeout = 10*time.Second, 10*time.Second
		redis, err := cache.NewRedis(config)
		must(t, err)
		t.Cleanup(func() { must(t, redis.Close()) })
		gateways = append(gateways, newRig(t, limited(burst), func(p *plan) {
			p.tokens = redis.Tokens(cache.Bucket{PerSecond: p.gateway.RateLimit.PerSecond, Burst: burst})
		}))
	}
	passed := func(address string) (n int) {
		for range 2 * burst {
			for _, r := range gateways {
				if r.post("/v1/score", []byte("x"), "image/png", from(address)).status != http.StatusTooManyRequests {
					n++
				}
			}
		}
		return n
	}
	if n := passed("192.0.2.1:1"); n != burst {
		t.Errorf("%d requests passed, want %d", n, burst)
	}
	// Three images by two checkpoints at the first are owed at the second.
	if got := gateways[0].postJSON("/v1/compare", map[string]any{"images": []map[string]any{
		{"data": testimages.PNG(8, 8)}, {"data": testimages.PNG(9, 8)}, {"data": testimages.PNG(8, 9)},
	}}, from("192.0.2.2:1")); got.status != http.StatusOK {
		t.Fatalf("compare: status %d: %s", got.status, got.body)
	}
	if got := gateways[1].post("/v1/score", []byte("x"), "image/png", from("192.0.2.2:1")); got.status != 429 {
		t.Errorf("after a comparison at another gateway: status %d, want 429", got.status)
	}
	server.Kill()
	if n := passed("192.0.2.3:1"); n != 3*burst {
		t.Errorf("%d requests passed without Redis, want %d", n, 3*burst)
	}
}

// Whoever ignores Retry-After is refused at a pace that costs the server nothing,
// and nobody else waits for it.
func TestRefusalsAreHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := gateway.HoldRefusals()
		as := func(client string) context.Context {
			return access.With(t.Context(), access.Principal{Client: client})
		}
		overloaded := quality.Errorf(quality.KindOverloaded, "full")
		start := time.Now()
		hold(as("a"), overloaded)
		hold(as("a"), quality.Errorf(quality.KindRateLimited, "too many"))
		if took := time.Since(start); took != 0 {
			t.Errorf("the first refusals waited %s", took)
		}
		const many = 1000
		for range many {
			hold(as("a"), overloaded)
		}
		if took := time.Since(start); took < 18*time.Second || took > 20*time.Second {
			t.Errorf("%d refusals in %s, want some 50 a second", many, took)
		}
		start = time.Now()
		for range many { // at once, as from many connections
			go hold(as("a"), overloaded)
		}
		time.Sleep(time.Millisecond)
		hold(as("a"), overloaded)
		if took := time.Since(start); took < time.Second || took > 1100*time.Millisecond {
			t.Errorf("a refusal after many was held for %s, want a second", took)
		}
		start = time.Now()
		hold(as("b"), overloaded)
		hold(as("a"), quality.Errorf(quality.KindImageCorrupt, "no refusal"))
		ctx, cancel := context.WithCancel(as("a"))
		cancel()
		hold(ctx, overloaded) // the client has gone
		if took := time.Since(start); took != 0 {
			t.Errorf("what need not wait took %s", took)
		}
	})
}
