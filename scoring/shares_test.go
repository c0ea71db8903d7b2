package scoring_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
)

// as gives a context to a client, on one of its connections.
func as(ctx context.Context, client, connection string) context.Context {
	return access.With(ctx, access.Principal{Client: client, Connection: connection})
}

// decodes makes large images take 300 ms and others 10 ms of a decoder.
func (b *bench) decodes() {
	b.preparer.prepare = func(ctx context.Context, data []byte) error {
		if strings.HasPrefix(string(data), "good large") {
			time.Sleep(300 * time.Millisecond)
		} else {
			time.Sleep(10 * time.Millisecond)
		}
		return ctx.Err()
	}
}

// answers counts what callers get who ask again and again until the time is over.
type answers struct {
	mu      sync.Mutex
	scored  map[string]int // by client
	refused map[string]int
}

// asks has a caller of a client send one image after the other. Without a
// connection it makes a new one for each request.
func (b *bench) asks(t *testing.T, a *answers, client, connection, image string, until time.Time) {
	for i := 0; time.Now().Before(until); i++ {
		c := connection
		if c == "" {
			c = fmt.Sprint("new", i)
		}
		ctx, cancel := context.WithTimeout(as(t.Context(), client, c), 30*time.Second)
		_, err := b.service.Score(ctx,
			requestOf(fmt.Sprintf("good%s %s %s %d %d", image, client, c, i, time.Now().UnixNano())))
		cancel()
		a.mu.Lock()
		switch {
		case err == nil:
			a.scored[client]++
		case quality.KindOf(err) == quality.KindOverloaded:
			a.refused[client]++
		default:
			t.Errorf("%s: %v", client, err)
		}
		a.mu.Unlock()
		if err != nil {
			time.Sleep(500 * time.Millisecond)
		}
	}
}

// Tiny files of huge images, sent on many connections, are refused or wait for
// each other. They hardly slow down whoever sends ordinary ones, be it another
// client or another connection of the same one; and they get what is left.
func TestLargeImagesTakeNobodysTime(t *testing.T) {
	for _, attacker := range []string{"victim", "attacker"} { // the same client, and another one
		for _, connections := range []int{24, 300} {
			for _, turns := range []int{0, 8} {
				t.Run(fmt.Sprintf("%d connections of %s, %d turns", connections, attacker, turns), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						cfg := scoring.DefaultConfig()
						if turns > 0 {
							cfg.Concurrency = turns
						}
						b := newBenchWith(t, cfg, metricnoop.NewMeterProvider())
						b.decodes()
						count := func(span time.Duration) (victims int, scored map[string]int) {
							a := &answers{scored: map[string]int{}, refused: map[string]int{}}
							b.asks(t, a, "victim", "", "", time.Now().Add(span))
							return a.scored["victim"], a.scored
						}
						alone, _ := count(10 * time.Second)
						attack := &answers{scored: map[string]int{}, refused: map[string]int{}}
						var all sync.WaitGroup
						end := time.Now().Add(12 * time.Second)
						for i := range connections {
							all.Go(func() { b.asks(t, attack, attacker, fmt.Sprint("kept", i), " large", end) })
						}
						time.Sleep(2 * time.Second)
						attacked, _ := count(10 * time.Second)
						all.Wait()
						if alone < 900 || attacked < alone*8/10 {
							t.Errorf("%d images of the victim were scored alone, and %d during the attack", alone, attacked)
						}
						left := (max(2, runtime.GOMAXPROCS(0)) - max(1, runtime.GOMAXPROCS(0)/8)) * 12 * 1000 / 300
						if n := attack.scored[attacker]; n < left*8/10 {
							t.Errorf("%d large images were scored, want nearly the %d that the decoders have time for", n, left)
						}
					})
				})
			}
		}
	}
}

// Two clients that both want everything get as much each, in cost, whatever they
// send and on however many connections.
func TestTwoClientsShareEqually(t *testing.T) {
	for _, connections := range []int{8, 200} {
		t.Run(fmt.Sprintf("%d connections against 8", connections), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := scoring.DefaultConfig()
				cfg.Concurrency, cfg.Queue = 16, 64
				b := newBenchWith(t, cfg, metricnoop.NewMeterProvider())
				machine := make(chan struct{}, 1) // one image at a time, as on an encoder
				b.preparer.prepare = func(context.Context, []byte) error {
					machine <- struct{}{}
					time.Sleep(10 * time.Millisecond)
					<-machine
					return nil
				}
				a := &answers{scored: map[string]int{}, refused: map[string]int{}}
				var all sync.WaitGroup
				end := time.Now().Add(20 * time.Second)
				for i := range connections {
					all.Go(func() { b.asks(t, a, "greedy", fmt.Sprint(i), "", end) })
				}
				for i := range 8 {
					all.Go(func() { b.asks(t, a, "modest", fmt.Sprint(i), "", end) })
				}
				all.Wait()
				total := a.scored["greedy"] + a.scored["modest"]
				if total < 1900 || a.scored["modest"] < total*4/10 {
					t.Errorf("%d images were scored for the client with 8 connections and %d for the other", a.scored["modest"],
						a.scored["greedy"])
				}
				if a.refused["modest"] > 0 {
					t.Errorf("the client with 8 connections was refused %d times by the other's backlog", a.refused["modest"])
				}
			})
		})
	}
}

// What others have waiting refuses nobody, neither by its number nor by its cost;
// what a client has itself does.
func TestOnesOwnBacklogRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, reader := measured(t, scoring.Config{Concurrency: 1, Queue: 30, RetryAfter: time.Second})
		b.slow(100 * time.Millisecond)
		score := func(client, connection, image string, budget time.Duration) error {
			ctx, cancel := context.WithTimeout(as(t.Context(), client, connection), budget)
			defer cancel()
			_, err := b.service.Score(ctx, requestOf(image))
			return err
		}
		for i := range 15 { // a pace
			if err := score("a", "1", fmt.Sprint("good pace", i), time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		errs := make(chan error, 31)
		for i := range 31 { // 3.1 s of work, and the queue is full
			go func() { errs <- score("a", fmt.Sprint(i), fmt.Sprint("good a", i), time.Minute) }()
			synctest.Wait()
		}
		if err := score("a", "new", "good again", time.Minute); quality.KindOf(err) != quality.KindOverloaded {
			t.Errorf("a's own backlog: %v, want overloaded", err)
		}
		start := time.Now()
		ctx, cancel := context.WithTimeout(as(t.Context(), "b", "1"), time.Second)
		defer cancel()
		if err := b.service.Admit(ctx); err != nil {
			t.Errorf("b at the door: %v", err)
		}
		if err := score("b", "1", "good b", time.Second); err != nil {
			t.Errorf("b, with a second: %v", err)
		}
		if took := time.Since(start); took > 300*time.Millisecond {
			t.Errorf("b waited %s, want two turns at most", took)
		}
		synctest.Wait()
		if err := <-errs; quality.KindOf(err) != quality.KindOverloaded {
			t.Errorf("the request of a that lost its place: %v, want overloaded", err)
		}
		for range 30 {
			if err := <-errs; err != nil {
				t.Errorf("a request of a: %v", err)
			}
		}
		want := map[string]int64{
			"outcome=rejected_after_body,reason=queue_full": 1, "outcome=expelled_from_queue,reason=queue_full": 1,
		}
		for key, n := range refusals(t, reader) {
			if want[key] != n {
				t.Errorf("%d refusals %s, want %d", n, key, want[key])
			}
		}
	})
}
