package cache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/cache"
	"github.com/agiqa/agiqa/cache/cachetest"
	"github.com/agiqa/agiqa/cache/redistest"
	"github.com/agiqa/agiqa/internal/proctest"
	"github.com/agiqa/agiqa/quality"
)

// stuckPatience is how long an operation on a frozen server may take before
// the test calls it unbounded: far above its budget of 50 ms, since this
// machine may be busy, and far below the driver's own patience.
const stuckPatience = 3 * time.Second

// newRedis returns a Redis for a server's URL, with the production budget of
// time when the server is expected to fail (quick), and an ample one when it
// is expected to answer.
func newRedis(t testing.TB, url string, change func(*cache.RedisConfig)) *cache.Redis {
	t.Helper()
	config := cache.DefaultRedisConfig()
	config.URL = url
	config.OperationTimeout, config.DialTimeout = patience, patience
	config.MaxValueBytes = cachetest.MaxValueBytes
	if change != nil {
		change(&config)
	}
	r, err := cache.NewRedis(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func quick(c *cache.RedisConfig) {
	d := cache.DefaultRedisConfig()
	c.OperationTimeout, c.DialTimeout = d.OperationTimeout, d.DialTimeout
}

// manualClock is a breaker's clock that the test moves.
type manualClock struct {
	mu sync.Mutex
	t  time.Time
}

func newManualClock() *manualClock { return &manualClock{t: time.Unix(1000, 0)} }

func (c *manualClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *manualClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func wantReason(t *testing.T, err error, want cache.Reason) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want reason %s", want)
	} else if got := cache.ReasonOf(err); got != want {
		t.Errorf("error %v has reason %s, want %s", err, got, want)
	}
}

// openBreaker makes the store fail until its breaker opens.
func openBreaker(t *testing.T, r *cache.Redis, want cache.Reason) {
	t.Helper()
	for range cache.DefaultRedisConfig().BreakerFailures {
		if !r.Available() {
			t.Fatal("the breaker opened too early")
		}
		_, err := r.Get(context.Background(), "k")
		wantReason(t, err, want)
	}
	if r.Available() {
		t.Fatal("the breaker did not open")
	}
	if _, err := r.Get(context.Background(), "k"); !errors.Is(err, cache.ErrUnavailable) {
		t.Fatalf("Get behind an open breaker: %v, want ErrUnavailable", err)
	}
}

// wantAlive reads and writes through a store.
func wantAlive(t *testing.T, r *cache.Redis) {
	t.Helper()
	if err := r.Set(context.Background(), "k", []byte("v"), time.Hour); err != nil {
		t.Fatalf("Set: %v", err)
	}
	if got, err := r.Get(context.Background(), "k"); err != nil || string(got) != "v" {
		t.Fatalf("Get = %q, %v; want v", got, err)
	}
}

func TestRedisIsAStore(t *testing.T) {
	server := redistest.Start(t)
	cachetest.Run(t, func(t *testing.T) cache.Store {
		server.Do("FLUSHALL")
		return newRedis(t, server.URL(), nil)
	})
}

func TestRedisOverAUnixSocket(t *testing.T) {
	path := t.TempDir() + "/s"
	redistest.Start(t, "--unixsocket", path)
	wantAlive(t, newRedis(t, "unix://"+path+"?db=3", nil))
}

func TestRedisSetsTheTimeToLive(t *testing.T) {
	server := redistest.Start(t)
	r := newRedis(t, server.URL(), nil)
	if err := r.Set(t.Context(), "k", []byte("v"), 90*time.Minute); err != nil {
		t.Fatal(err)
	}
	ms, _ := server.Do("PTTL", "k").(int64)
	if got := time.Duration(ms) * time.Millisecond; got > 90*time.Minute || got < 80*time.Minute {
		t.Errorf("the server keeps it for %s, want about 90m", got)
	}
}

func TestRedisDownAtStartThenUp(t *testing.T) {
	server, clock := redistest.New(t), newManualClock()
	r := newRedis(t, server.URL(), func(c *cache.RedisConfig) { c.Now = clock.now })
	openBreaker(t, r, cache.ReasonRefused)

	clock.advance(time.Second)
	wantReason(t, r.Check(t.Context(), quality.Encoder{}), cache.ReasonRefused) // the probe
	wantReason(t, r.Check(t.Context(), quality.Encoder{}), cache.ReasonRefused) // what opened the breaker

	server.Run()
	wantReason(t, r.Delete(t.Context(), "k"), cache.ReasonUnavailable) // not before the next probe is due
	clock.advance(time.Second)
	wantAlive(t, r)
	if !r.Available() {
		t.Error("not available after a success")
	}
}

func TestRedisKilledInUseThenRestarted(t *testing.T) {
	server, clock := redistest.Start(t), newManualClock()
	r := newRedis(t, server.URL(), func(c *cache.RedisConfig) { c.Now = clock.now })
	wantAlive(t, r)
	server.Kill()
	for r.Available() { // broken connections first, refused ones after
		_, err := r.Get(t.Context(), "k")
		if reason := cache.ReasonOf(err); reason != cache.ReasonClosed && reason != cache.ReasonRefused {
			t.Fatalf("error %v has reason %s, want closed or refused", err, reason)
		}
	}
	server.Run()
	clock.advance(time.Second)
	wantAlive(t, r)
}

func TestRedisFrozenCostsOneBudgetAndThenNothing(t *testing.T) {
	server, clock := redistest.Start(t), newManualClock()
	r := newRedis(t, server.URL(), func(c *cache.RedisConfig) { quick(c); c.Now = clock.now })
	server.Stop()
	begin := time.Now()
	openBreaker(t, r, cache.ReasonTimeout)
	if took := time.Since(begin); took > stuckPatience {
		t.Errorf("three operations on a frozen server took %s, want some 150ms", took)
	}
	clock.advance(time.Second)
	wantReason(t, r.Check(t.Context(), quality.Encoder{}), cache.ReasonTimeout) // the probe is bounded too
}

func TestRedisFrozenThenAwakeLosesNoConnection(t *testing.T) {
	server, clock := redistest.Start(t), newManualClock()
	const pool = 2
	// Its budget holds for both halves of this test: the frozen one, and the
	// one in which every connection must be had again.
	r := newRedis(t, server.URL(), func(c *cache.RedisConfig) {
		c.OperationTimeout, c.DialTimeout = 3*time.Second, 3*time.Second
		c.PoolSize, c.Now, c.BreakerFailures = pool, clock.now, 1000
	})
	wantAlive(t, r)
	server.Stop()
	var group sync.WaitGroup
	for range 3 * pool {
		group.Go(func() {
			_, err := r.Get(t.Context(), "k")
			wantReason(t, err, cache.ReasonTimeout)
		})
	}
	group.Wait()
	server.Cont()
	for range 3 * pool {
		group.Go(func() {
			if got, err := r.Get(t.Context(), "k"); err != nil || string(got) != "v" {
				t.Errorf("Get after the freeze = %q, %v; want v", got, err)
			}
		})
	}
	group.Wait()
}

func TestRedisCallersDeadlineIsNotTheServersFault(t *testing.T) {
	server := redistest.Start(t)
	r := newRedis(t, server.URL(), nil)
	server.Stop()
	for range 10 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		_, err := r.Get(ctx, "k")
		cancel()
		if err == nil {
			t.Fatal("a frozen server answered")
		}
	}
	if !r.Available() {
		t.Error("the breaker opened for callers that had no time")
	}
	server.Cont()
	wantAlive(t, r)
}

func TestRedisRefusalsOfOneCommandKeepReadsAlive(t *testing.T) {
	for _, test := range []struct {
		name   string
		args   []string
		spoil  func(*redistest.Server)
		reason cache.Reason
	}{
		{"full", []string{"--maxmemory-policy", "noeviction"},
			func(s *redistest.Server) { s.Do("CONFIG", "SET", "maxmemory", "1") }, cache.ReasonOOM},
		{"a replica of a master that is away", nil,
			func(s *redistest.Server) { s.Do("REPLICAOF", "127.0.0.1", "1") }, cache.ReasonReadOnly},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := redistest.Start(t, test.args...)
			r := newRedis(t, server.URL(), nil)
			wantAlive(t, r)
			test.spoil(server)
			for range 10 {
				wantReason(t, r.Set(t.Context(), "k2", []byte("v"), time.Hour), test.reason)
			}
			if got, err := r.Get(t.Context(), "k"); err != nil || string(got) != "v" {
				t.Errorf("Get = %q, %v; want v: reads must still hit", got, err)
			}
			if !r.Available() {
				t.Error("the breaker opened although the server can be read")
			}
		})
	}
}

func TestRedisRefusalsOfEverythingOpenTheBreaker(t *testing.T) {
	for _, test := range []struct {
		name     string
		args     []string
		spoil    func(*redistest.Server)
		userinfo string
		reason   cache.Reason
	}{
		{"no password", []string{"--requirepass", "secret"}, nil, "", cache.ReasonNoAuth},
		{"a wrong password", []string{"--requirepass", "secret"}, nil, ":wrong@", cache.ReasonNoAuth},
		{"a user without the right", nil,
			func(s *redistest.Server) { s.Do("ACL", "SETUSER", "u", "on", ">p", "~*", "+@connection") }, "u:p@",
			cache.ReasonNoAuth},
		{"a replica that serves nothing stale", []string{"--replica-serve-stale-data", "no"},
			func(s *redistest.Server) { s.Do("REPLICAOF", "127.0.0.1", "1") }, "", cache.ReasonLoading},
		{"a node of a cluster", []string{"--cluster-enabled", "yes"}, nil, "", cache.ReasonMoved},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := redistest.Start(t, test.args...)
			if test.spoil != nil {
				test.spoil(server)
			}
			url := strings.Replace(server.URL(), "redis://", "redis://"+test.userinfo, 1)
			openBreaker(t, newRedis(t, url, nil), test.reason)
		})
	}
	t.Run("the right password", func(t *testing.T) {
		server := redistest.Start(t, "--requirepass", "secret")
		wantAlive(t, newRedis(t, strings.Replace(server.URL(), "redis://", "redis://:secret@", 1), nil))
	})
}

// TestRedisCheck: a server that answers PING and can't take what the cache
// stores is a fault that names its cause, and goes on naming it while the
// breaker is open.
func TestRedisCheck(t *testing.T) {
	full := func(s *redistest.Server) {
		for i := range 200 {
			s.Do("SET", fmt.Sprint("filler ", i), strings.Repeat("x", 10<<10))
		}
	}
	for _, test := range []struct {
		name      string
		args      []string
		prepare   func(t *testing.T, s *redistest.Server)
		reason    cache.Reason
		says      string
		available bool
	}{
		{name: "sound", available: true},
		{name: "full without eviction", args: []string{"--maxmemory-policy", "noeviction"},
			prepare: func(_ *testing.T, s *redistest.Server) { full(s); s.Do("CONFIG", "SET", "maxmemory", "1mb") },
			reason:  cache.ReasonOOM, says: "full and evicts nothing", available: true},
		{name: "full with eviction", args: []string{"--maxmemory-policy", "allkeys-lfu"},
			prepare:   func(_ *testing.T, s *redistest.Server) { s.Do("CONFIG", "SET", "maxmemory", "2mb"); full(s) },
			available: true},
		{name: "a replica", prepare: replicaOf,
			reason: cache.ReasonReadOnly, says: "read-only replica", available: true},
		{name: "a cluster without slots", args: []string{"--cluster-enabled", "yes"},
			reason: cache.ReasonMoved, says: "Redis Cluster"},
		{name: "a cluster whose other node has the slot", args: clusterArgs(t), prepare: beside,
			reason: cache.ReasonMoved, says: "Redis Cluster"},
		{name: "a user who may only read",
			prepare: func(_ *testing.T, s *redistest.Server) { s.Do("ACL", "SETUSER", "default", "-@write") },
			reason:  cache.ReasonNoAuth, says: "lacks rights"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := redistest.Start(t, test.args...)
			if test.prepare != nil {
				test.prepare(t, server)
			}
			r := newRedis(t, server.URL(), nil)
			for range 2 * cache.DefaultRedisConfig().BreakerFailures {
				err := r.Check(t.Context(), testEncoder)
				if test.reason == "" {
					if err != nil {
						t.Fatal(err)
					}
					continue
				}
				wantReason(t, err, test.reason)
				if said := cache.Explain(err); !strings.Contains(said, test.says) || strings.Contains(said, server.Addr()) {
					t.Errorf("it is explained by %q, want %q and no address", said, test.says)
				}
			}
			if r.Available() != test.available {
				t.Errorf("available is %t, want %t", r.Available(), test.available)
			}
			for _, key := range server.Keys() {
				if strings.HasPrefix(key, "agiqa:") {
					t.Errorf("the check leaves %s", key)
				}
			}
		})
	}
}

// replicaOf makes s the replica of a server that is there.
func replicaOf(t *testing.T, s *redistest.Server) {
	host, port, _ := strings.Cut(redistest.Start(t, "--repl-diskless-sync-delay", "0").Addr(), ":")
	s.Do("REPLICAOF", host, port)
	await(t, "the replica follows", func() bool {
		return strings.Contains(fmt.Sprint(s.Do("INFO", "replication")), "master_link_status:up")
	})
}

// clusterArgs are those of a node. Its bus is on a free port, since the usual
// one, 10,000 higher, may not exist.
func clusterArgs(t *testing.T) []string {
	return []string{"--cluster-enabled", "yes", "--cluster-port", fmt.Sprint(proctest.FreePort(t))}
}

// beside makes a cluster of s and another node, which has every slot.
func beside(t *testing.T, s *redistest.Server) {
	args := clusterArgs(t)
	other := redistest.Start(t, args...)
	other.Do("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
	host, port, _ := strings.Cut(other.Addr(), ":")
	s.Do("CLUSTER", "MEET", host, port, args[len(args)-1])
	await(t, "the nodes know each other", func() bool {
		return strings.Contains(fmt.Sprint(s.Do("CLUSTER", "INFO")), "cluster_state:ok")
	})
}

// await asks again and again, for as long as a busy machine may need.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(time.Minute)
	for !done() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("not in a minute: %s", what)
		}
	}
}

func TestRedisTooManyClients(t *testing.T) {
	server := redistest.Start(t, "--maxclients", "1")
	first := newRedis(t, server.URL(), nil)
	if err := first.Check(t.Context(), quality.Encoder{}); err != nil { // holds the only place
		t.Fatal(err)
	}
	second := newRedis(t, server.URL(), nil)
	// The server says so and hangs up; which of the two is seen first is chance.
	if got := cache.ReasonOf(second.Check(t.Context(), quality.Encoder{})); got != cache.ReasonRefused &&
		got != cache.ReasonClosed {
		t.Errorf("reason = %s, want refused or closed", got)
	}
}

func TestRedisForeignValues(t *testing.T) {
	server := redistest.Start(t)
	r := newRedis(t, server.URL(), nil)
	server.Do("LPUSH", "list", "x")
	server.Do("SET", "limit", strings.Repeat("x", cachetest.MaxValueBytes))
	server.Do("SET", "above", strings.Repeat("x", cachetest.MaxValueBytes+1))
	server.Do("SET", "empty", "")

	if _, err := r.Get(t.Context(), "list"); cache.ReasonOf(err) != cache.ReasonWrongType {
		t.Errorf("Get of a list: %v, want reason wrongtype", err)
	}
	if got, err := r.Get(t.Context(), "limit"); err != nil || len(got) != cachetest.MaxValueBytes {
		t.Errorf("Get of a value at the limit: %d bytes, %v", len(got), err)
	}
	if _, err := r.Get(t.Context(), "above"); !errors.Is(err, cache.ErrValueSize) {
		t.Errorf("Get of a value above the limit: %v, want ErrValueSize", err)
	}
	if _, err := r.Get(t.Context(), "empty"); !errors.Is(err, cache.ErrNotFound) {
		t.Errorf("Get of an empty value: %v, want ErrNotFound", err)
	}
	if err := r.Delete(t.Context(), "list"); err != nil {
		t.Errorf("Delete of a list: %v", err)
	}
	if !r.Available() {
		t.Error("the breaker opened for foreign values")
	}
}

func TestRedisNeverFetchesAHugeValue(t *testing.T) {
	const huge = 64 << 20
	server := redistest.Start(t)
	r := newRedis(t, server.URL(), nil)
	if err := r.Check(t.Context(), quality.Encoder{}); err != nil { // so that the connection's buffers are there
		t.Fatal(err)
	}
	server.Do("SETRANGE", "huge", huge-1, "x")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := r.Get(t.Context(), "huge")
	runtime.ReadMemStats(&after)
	if !errors.Is(err, cache.ErrValueSize) {
		t.Errorf("Get of %d bytes: %v, want ErrValueSize", huge, err)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("Get of %d bytes allocated %d bytes, want a few times the limit of %d", huge, got, cachetest.MaxValueBytes)
	}
}

func TestRedisAvailabilityGauge(t *testing.T) {
	server, m := redistest.New(t), newMetrics(t)
	r := newRedis(t, server.URL(), func(c *cache.RedisConfig) { c.Meter = m.provider })
	if diff := cmp.Diff(map[string]int64{"": 1}, m.values(t, "agiqa.cache.redis.available")); diff != "" {
		t.Errorf("before (-want +got):\n%s", diff)
	}
	openBreaker(t, r, cache.ReasonRefused)
	if diff := cmp.Diff(map[string]int64{"": 0}, m.values(t, "agiqa.cache.redis.available")); diff != "" {
		t.Errorf("after (-want +got):\n%s", diff)
	}
	r.Close()
	if got := m.values(t, "agiqa.cache.redis.available"); len(got) != 0 {
		t.Errorf("a closed store is still shown: %v", got)
	}
}

func TestRedisLogsAnOutageOnce(t *testing.T) {
	server, clock := redistest.New(t), newManualClock()
	var out bytes.Buffer
	r := newRedis(t, server.URL(), func(c *cache.RedisConfig) {
		c.Logger, c.Now = slog.New(slog.NewTextHandler(&out, nil)), clock.now
		// After PoolSize refused connections the driver looks for the server
		// by itself, once a second of real time.
		c.PoolSize = 100
	})
	openBreaker(t, r, cache.ReasonRefused)
	for range 30 {
		_, _ = r.Get(t.Context(), "k")
		clock.advance(time.Second)
	}
	if got := strings.Count(out.String(), "unavailable"); got != 1 {
		t.Errorf("%d lines about the outage within the interval, want 1:\n%s", got, &out)
	}
	server.Run()
	clock.advance(time.Second)
	wantAlive(t, r)
	if got := strings.Count(out.String(), "available again"); got != 1 {
		t.Errorf("%d lines about the recovery, want 1:\n%s", got, &out)
	}
}

func TestRedisConfigNamesEveryFaultAndNoSecret(t *testing.T) {
	const secret = "hunter2"
	with := func(change func(*cache.RedisConfig)) cache.RedisConfig {
		c := cache.DefaultRedisConfig()
		c.URL = "redis://localhost"
		change(&c)
		return c
	}
	url := func(u string) cache.RedisConfig { return with(func(c *cache.RedisConfig) { c.URL = u }) }
	for _, test := range []struct {
		name   string
		config cache.RedisConfig
		want   []string
	}{
		{"plain", url("redis://localhost"), nil},
		{"everything", url("redis://user:" + secret + "@[::1]:6379/2"), nil},
		{"TLS", url("rediss://:" + secret + "@redis.example:6380?skip_verify=true"), nil},
		{"a socket", url("unix:///run/redis.sock?db=1"), nil},
		{"zero", cache.RedisConfig{}, []string{"URL", "OperationTimeout", "DialTimeout", "PoolSize", "MaxValueBytes",
			"BreakerFailures", "BreakerInterval", "LogInterval"}},
		{"negative", with(func(c *cache.RedisConfig) { c.OperationTimeout, c.PoolSize = -1, -1 }),
			[]string{"OperationTimeout", "PoolSize"}},
		{"no URL at all", url("redis://:" + secret + "/x@host:1"), []string{"URL"}},
		{"a bad port", url("redis://:" + secret + "@host:" + secret), []string{"URL"}},
		{"another scheme", url("http://:" + secret + "@host"), []string{"scheme"}},
		{"a secret for a scheme", url(secret), []string{"scheme"}},
		{"a bad database", url("redis://:" + secret + "@host/" + secret), []string{"database"}},
		{"a bad path", url("redis://host/" + secret + "/1"), []string{"path"}},
		{"a timeout in the URL", url("redis://host?read_timeout=1h&" + secret + "=1"), []string{"parameter"}},
		{"a bad parameter", url("redis://host?db=" + secret), []string{"database"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := cache.NewRedis(test.config)
			if r != nil {
				defer r.Close()
			}
			wantFaults(t, err, test.want)
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("error %q tells the password", err)
			}
		})
	}
}

// The tests below put Texts over a real server: what a request sees.

func withRedis(r *cache.Redis, m *metrics) func(*cache.TextsConfig) {
	return func(c *cache.TextsConfig) { c.Remote, c.Meter = r, m.provider }
}

func TestTextsOverRedisWhateverItsState(t *testing.T) {
	for _, test := range []struct {
		name       string
		spoil      func(*redistest.Server) // after the value was written
		quick      bool
		wantCached bool
		requests   map[string]int64 // of the redis layer, by result
		errors     map[string]int64 // of the redis layer, by operation and reason
	}{
		{name: "well", wantCached: true,
			requests: map[string]int64{"hit": 1}, errors: map[string]int64{}},
		{name: "emptied", spoil: func(s *redistest.Server) { s.Do("FLUSHALL") },
			requests: map[string]int64{"miss": 1}, errors: map[string]int64{}},
		{name: "killed", spoil: func(s *redistest.Server) { s.Kill() },
			requests: map[string]int64{"error": 1},
			errors:   map[string]int64{"operation=read,reason=refused": 1, "operation=write,reason=refused": 1}},
		{name: "frozen", spoil: func(s *redistest.Server) { s.Stop() }, quick: true,
			requests: map[string]int64{"error": 1},
			errors:   map[string]int64{"operation=read,reason=timeout": 1, "operation=write,reason=timeout": 1}},
		{name: "full, with the value", spoil: func(s *redistest.Server) { s.Do("CONFIG", "SET", "maxmemory", "1") },
			wantCached: true,
			requests:   map[string]int64{"hit": 1}, errors: map[string]int64{}},
		{name: "full, without the value",
			spoil:    func(s *redistest.Server) { s.Do("FLUSHALL"); s.Do("CONFIG", "SET", "maxmemory", "1") },
			requests: map[string]int64{"miss": 1}, errors: map[string]int64{"operation=write,reason=oom": 1}},
		{name: "a replica, with the value", spoil: func(s *redistest.Server) { s.Do("REPLICAOF", "127.0.0.1", "1") },
			wantCached: true,
			requests:   map[string]int64{"hit": 1}, errors: map[string]int64{}},
		{name: "a replica, with a corrupt value",
			spoil: func(s *redistest.Server) {
				s.Do("SET", s.Keys()[0], "corrupt")
				s.Do("REPLICAOF", "127.0.0.1", "1")
			},
			requests: map[string]int64{"invalid": 1},
			errors: map[string]int64{"operation=read,reason=mac": 1, "operation=delete,reason=readonly": 1,
				"operation=write,reason=readonly": 1}},
		{name: "a foreign type under the key",
			spoil: func(s *redistest.Server) {
				key := s.Keys()[0]
				s.Do("DEL", key)
				s.Do("LPUSH", key, "x")
			},
			requests: map[string]int64{"invalid": 1}, errors: map[string]int64{"operation=read,reason=wrongtype": 1}},
		{name: "a huge value under the key", spoil: func(s *redistest.Server) { s.Do("SETRANGE", s.Keys()[0], 8<<20, "x") },
			requests: map[string]int64{"invalid": 1}, errors: map[string]int64{"operation=read,reason=size": 1}},
		{name: "a flipped bit", spoil: func(s *redistest.Server) { s.Do("SETBIT", s.Keys()[0], 8*150, 1-bitOf(s, 8*150)) },
			requests: map[string]int64{"invalid": 1}, errors: map[string]int64{"operation=read,reason=mac": 1}},
		{name: "a value that is cut",
			spoil: func(s *redistest.Server) {
				key := s.Keys()[0]
				s.Do("SET", key, s.Do("GETRANGE", key, 0, 200))
			},
			requests: map[string]int64{"invalid": 1}, errors: map[string]int64{"operation=read,reason=mac": 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			server, source, c := redistest.Start(t), &fakeSource{}, checkpointNamed("a")
			writer := newTexts(t, source, withRedis(newRedis(t, server.URL(), nil), newMetrics(t)))
			wantText(t, writer, c, false)
			closeTexts(t, writer)
			if got := server.Keys(); len(got) != 1 ||
				!strings.HasPrefix(got[0], "agiqa:v1:text:{"+testEncoder.Digest.Short()+"}:") {
				t.Fatalf("keys = %q, want one with its readable prefix", got)
			}

			if test.spoil != nil {
				test.spoil(server)
			}
			m := newMetrics(t)
			reader := newTexts(t, source, withRedis(newRedis(t, server.URL(), func(rc *cache.RedisConfig) {
				if test.quick {
					quick(rc)
				}
			}), m))
			wantText(t, reader, c, test.wantCached)
			closeTexts(t, reader)
			requests := prefixed("cache=text,layer=redis,outcome=", test.requests)
			if diff := cmp.Diff(requests, ofRedis(m.values(t, "agiqa.cache.requests"))); diff != "" {
				t.Errorf("agiqa.cache.requests (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(prefixed("cache=text,layer=redis,", test.errors),
				ofRedis(m.values(t, "agiqa.cache.errors"))); diff != "" {
				t.Errorf("agiqa.cache.errors (-want +got):\n%s", diff)
			}
		})
	}
}

// bitOf returns one bit of the only key's value.
func bitOf(s *redistest.Server, bit int) int64 {
	v, _ := s.Do("GETBIT", s.Keys()[0], bit).(int64)
	return v
}

func prefixed(prefix string, m map[string]int64) map[string]int64 {
	out := make(map[string]int64, len(m))
	for k, v := range m {
		out[prefix+k] = v
	}
	return out
}

func ofRedis(m map[string]int64) map[string]int64 {
	out := map[string]int64{}
	for k, v := range m {
		if strings.Contains(k, "layer=redis") {
			out[k] = v
		}
	}
	return out
}

// TestTextsOverRedisRepairs covers what is left behind after a corrupt value
// was found: the right one.
func TestTextsOverRedisRepairs(t *testing.T) {
	server, c := redistest.Start(t), checkpointNamed("a")
	fill := func(wantCached bool) {
		t.Helper()
		texts := newTexts(t, &fakeSource{}, withRedis(newRedis(t, server.URL(), nil), newMetrics(t)))
		wantText(t, texts, c, wantCached)
		closeTexts(t, texts)
	}
	fill(false)
	key := server.Keys()[0]
	good := server.Do("GET", key)
	server.Do("SET", key, "corrupt")
	fill(false)
	if got := server.Do("GET", key); got != good {
		t.Errorf("after the repair the value is %q, want %q", got, good)
	}
	fill(true)
}

// TestTextsOverRedisNeverSwaps gives one checkpoint the value of another, as a
// client that lost count of its replies once did.
func TestTextsOverRedisNeverSwaps(t *testing.T) {
	server, a, b := redistest.Start(t), checkpointNamed("a"), checkpointNamed("b")
	writer := newTexts(t, &fakeSource{}, withRedis(newRedis(t, server.URL(), nil), newMetrics(t)))
	wantText(t, writer, a, false)
	wantText(t, writer, b, false)
	closeTexts(t, writer)
	keys := server.Keys()
	if len(keys) != 2 {
		t.Fatalf("keys = %q, want two", keys)
	}
	server.Do("RENAME", keys[0], "swap")
	server.Do("RENAME", keys[1], keys[0])
	server.Do("RENAME", "swap", keys[1])

	m, source := newMetrics(t), &fakeSource{}
	reader := newTexts(t, source, withRedis(newRedis(t, server.URL(), nil), m))
	wantText(t, reader, a, false) // and checks the numbers
	wantText(t, reader, b, false)
	if got := m.values(t, "agiqa.cache.requests")["cache=text,layer=redis,outcome=invalid"]; got != 2 {
		t.Errorf("%d values were found invalid, want 2", got)
	}
}

func TestTextsOverRedisFlushedAtPeak(t *testing.T) {
	const checkpoints, callers = 4, 25
	server, source := redistest.Start(t), &fakeSource{}
	writer := newTexts(t, source, withRedis(newRedis(t, server.URL(), nil), newMetrics(t)))
	for i := range checkpoints {
		wantText(t, writer, checkpointNamed(fmt.Sprint(i)), false)
	}
	closeTexts(t, writer)
	server.Do("FLUSHALL")

	again := &fakeSource{}
	m := newMetrics(t)
	texts := newTexts(t, again, withRedis(newRedis(t, server.URL(), nil), m))
	start := make(chan struct{})
	var group sync.WaitGroup
	for i := range checkpoints * callers {
		group.Go(func() {
			<-start
			c := checkpointNamed(fmt.Sprint(i % checkpoints))
			text, _, err := texts.TextEmbeddings(context.Background(), c)
			if err != nil {
				t.Errorf("TextEmbeddings: %v", err)
			} else if err := sameText(text, textOf(c)); err != nil {
				t.Error(err)
			}
		})
	}
	close(start)
	group.Wait()
	for i := range checkpoints {
		if got := again.count(fmt.Sprint(i)); got != 1 {
			t.Errorf("the source ran %d times for checkpoint %d and its %d callers, want 1", got, i, callers)
		}
	}
	if got := m.values(t, "agiqa.cache.requests")["cache=text,layer=redis,outcome=miss"]; got != checkpoints {
		t.Errorf("Redis was asked %d times, want %d", got, checkpoints)
	}
	closeTexts(t, texts)
	if got := len(server.Keys()); got != checkpoints {
		t.Errorf("%d keys afterwards, want %d", got, checkpoints)
	}
}

// TestTextsOverRedisKilledUnderLoad holds that no caller sees the outage.
func TestTextsOverRedisKilledUnderLoad(t *testing.T) {
	server, m := redistest.Start(t), newMetrics(t)
	texts := newTexts(t, &fakeSource{}, withRedis(newRedis(t, server.URL(), quick), m))
	var group sync.WaitGroup
	reached := make(chan struct{}, 400)
	for w := range 4 {
		group.Go(func() {
			for i := range 100 {
				c := quality.Checkpoint{Name: "a",
					Digest: quality.DigestOf(fmt.Appendf(nil, "%d-%d", w, i)), Encoder: testEncoder.Digest}
				text, _, err := texts.TextEmbeddings(context.Background(), c)
				if err != nil {
					t.Errorf("worker %d, request %d: %v", w, i, err)
				} else if err := sameText(text, textOf(c)); err != nil {
					t.Errorf("worker %d, request %d: %v", w, i, err)
				}
				reached <- struct{}{}
			}
		})
	}
	for range 100 {
		<-reached
	}
	server.Kill()
	group.Wait()
	if got := m.values(t, "agiqa.cache.errors")["cache=text,layer=redis,operation=read,reason=unavailable"]; got == 0 {
		t.Error("the breaker never answered for the dead server")
	}
}
