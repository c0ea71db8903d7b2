package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/quality"
)

// firstRound runs the checks once.
func firstRound(t *testing.T, r *gateway.Readiness) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); r.Run(ctx) }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	open := func(c gateway.CheckReport) bool { return c.Detail == "not checked yet" }
	for n := 0; slices.ContainsFunc(r.Report().Checks, open); n++ {
		if n == 60_000 {
			t.Fatal("no round in a minute")
		}
		<-tick.C
	}
	stop()
	<-ended
}

func TestReadinessStates(t *testing.T) {
	secret := errors.New("dial tcp 10.1.2.3:8001: password=hunter2")
	fails := func(err error) func(context.Context) error { return func(context.Context) error { return err } }
	for _, test := range []struct {
		name   string
		checks []gateway.Check
		run    bool
		status int
		want   gateway.ReadinessReport
	}{
		{"not checked yet", []gateway.Check{{Name: "triton", Critical: true, Run: fails(nil)}}, false, 503,
			gateway.ReadinessReport{Status: "not_ready",
				Checks: []gateway.CheckReport{{Name: "triton", Critical: true, Detail: "not checked yet"}}}},
		{"all well", []gateway.Check{{Name: "triton", Critical: true, Run: fails(nil)}, {Name: "redis", Run: fails(nil)}},
			true, 200,
			gateway.ReadinessReport{Status: "ready", Checks: []gateway.CheckReport{{Name: "triton", OK: true, Critical: true},
				{Name: "redis", OK: true}}}},
		{"something optional fails", []gateway.Check{{Name: "triton", Critical: true, Run: fails(nil)},
			{Name: "redis", Run: fails(quality.Errorf(quality.KindModelUnavailable, "Redis does not answer").Because(secret))}},
			true, 200,
			gateway.ReadinessReport{Status: "degraded", Checks: []gateway.CheckReport{{Name: "triton", OK: true, Critical: true},
				{Name: "redis", Detail: "Redis does not answer"}}}},
		{"something critical fails", []gateway.Check{{Name: "triton", Critical: true, Run: fails(secret)},
			{Name: "redis", Run: fails(nil)}}, true, 503,
			gateway.ReadinessReport{Status: "not_ready",
				Checks: []gateway.CheckReport{{Name: "triton", Critical: true, Detail: "unavailable"}, {Name: "redis", OK: true}}}},
		{"both fail", []gateway.Check{{Name: "redis", Run: fails(fmt.Errorf("wrapped: %w", secret))},
			{Name: "triton", Critical: true, Run: fails(context.DeadlineExceeded)}}, true, 503,
			gateway.ReadinessReport{Status: "not_ready", Checks: []gateway.CheckReport{{Name: "redis", Detail: "unavailable"},
				{Name: "triton", Critical: true, Detail: "no answer in time"}}}},
		{"nothing to check", nil, true, 200, gateway.ReadinessReport{Status: "ready", Checks: []gateway.CheckReport{}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			readiness := gateway.NewReadiness(time.Minute, time.Second, test.checks...)
			r := newRig(t, func(p *plan) { p.readiness = readiness })
			if test.run {
				firstRound(t, readiness)
			}
			answer := r.ask(http.MethodGet, "/readyz", nil)
			var got gateway.ReadinessReport
			must(t, json.Unmarshal(answer.body, &got))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("report (-want +got):\n%s", diff)
			}
			if answer.status != test.status || (answer.header.Get("Retry-After") != "") != (test.status == 503) ||
				answer.header.Get("Cache-Control") != "no-store" {
				t.Errorf("status %d, headers %v, want %d", answer.status, answer.header, test.status)
			}
			if strings.Contains(string(answer.body), "hunter2") || strings.Contains(string(answer.body), "10.1.2.3") {
				t.Errorf("a cause leaked: %s", answer.body)
			}
			r.gateway.Drain()
			if answer := r.ask(http.MethodGet, "/readyz", nil); answer.status != 503 ||
				!strings.Contains(string(answer.body), `"draining"`) {
				t.Errorf("draining: %d %s", answer.status, answer.body)
			}
		})
	}
}

// TestReadinessLooksAtIntervals: every ten seconds while all is well, every
// second while something is not, and never because somebody asked.
func TestReadinessLooksAtIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ran atomic.Int64
		var broken atomic.Bool
		r := gateway.NewReadiness(10*time.Second, time.Second,
			gateway.Check{Name: "a", Critical: true, Run: func(context.Context) error {
				ran.Add(1)
				if broken.Load() {
					return errors.New("broken")
				}
				return nil
			}})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { r.Run(ctx); close(ended) }()
		after := func(d time.Duration, runs int64, status string) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			for range 100 {
				r.Report()
			}
			if got := r.Report().Status; ran.Load() != runs || got != status {
				t.Errorf("%d checks, %s; want %d, %s", ran.Load(), got, runs, status)
			}
		}
		after(0, 1, "ready")
		after(9*time.Second, 1, "ready")
		after(time.Second, 2, "ready")
		broken.Store(true)
		after(10*time.Second, 3, "not_ready")
		after(3*time.Second, 6, "not_ready")
		broken.Store(false)
		after(time.Second, 7, "ready")
		after(9*time.Second, 7, "ready")
		stop()
		<-ended
	})
}

// TestReadinessBoundsItsChecks: one that hangs is a failure, and the others
// are not held up by it.
func TestReadinessBoundsItsChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := gateway.NewReadiness(time.Minute, 3*time.Second,
			gateway.Check{Name: "hangs", Critical: true,
				Run: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
			gateway.Check{Name: "works", Run: func(context.Context) error { return nil }})
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go r.Run(ctx)
		synctest.Wait()
		if got := r.Report().Checks; !got[1].OK || got[0].Detail != "not checked yet" {
			t.Errorf("at once: %+v", got)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if got := r.Report().Checks[0]; got.OK || got.Detail != "no answer in time" {
			t.Errorf("after the timeout: %+v", got)
		}
	})
}

// TestReadinessStopsQuietly: a check that is cut off by the stop says nothing.
func TestReadinessStopsQuietly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rounds atomic.Int64
		r := gateway.NewReadiness(time.Second, time.Minute,
			gateway.Check{Name: "a", Critical: true, Run: func(ctx context.Context) error {
				if rounds.Add(1) == 1 {
					return nil
				}
				<-ctx.Done()
				return ctx.Err()
			}})
		ctx, stop := context.WithCancel(t.Context())
		go r.Run(ctx)
		time.Sleep(time.Second)
		synctest.Wait()
		stop()
		synctest.Wait()
		if got := r.Report().Status; got != "ready" || rounds.Load() != 2 {
			t.Errorf("%s after %d rounds, want the last outcome that is one", got, rounds.Load())
		}
	})
}

// TestReadinessFollowsWhatComesAndGoes: a check that came since the last round
// does not make the server unready, one that fails does, and one that went is
// forgotten.
func TestReadinessFollowsWhatComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		names := []string{"a"}
		set := func(now ...string) { mu.Lock(); defer mu.Unlock(); names = now }
		r := gateway.NewChangingReadiness(10*time.Second, time.Second, func() []gateway.Check {
			mu.Lock()
			defer mu.Unlock()
			var out []gateway.Check
			for _, name := range names {
				out = append(out, gateway.Check{Name: name, Critical: true, Run: func(context.Context) error {
					if name == "bad" {
						return errors.New("out of order")
					}
					return nil
				}})
			}
			return out
		})
		want := func(status string, checks ...string) {
			t.Helper()
			report := r.Report()
			var got []string
			for _, c := range report.Checks {
				got = append(got, c.Name)
			}
			if report.Status != status || !slices.Equal(got, checks) {
				t.Errorf("report %s of %v, want %s of %v", report.Status, got, status, checks)
			}
		}
		want("not_ready", "a")
		done := make(chan struct{})
		go func() { r.Run(ctx); close(done) }()
		synctest.Wait()
		want("ready", "a")
		set("a", "bad")
		want("ready", "a")
		time.Sleep(10 * time.Second) // of the bubble
		synctest.Wait()
		want("not_ready", "a", "bad")
		set("a")
		want("ready", "a")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		set("a", "bad")
		want("ready", "a")
		cancel()
		<-done
	})
}
