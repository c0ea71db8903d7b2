package server_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agiqa/agiqa/internal/proctest"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
	"github.com/agiqa/agiqa/server"
)

// logged is a server's log.
type logged struct{ proctest.Buffer }

func (l *logged) count(message string) int {
	return strings.Count(l.String(), `msg="`+message)
}

// await waits up to half a minute for a message to have come n times.
func (l *logged) await(t *testing.T, message string, n int) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); l.count(message) < n; <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%d times %q in the log, want %d", l.count(message), message, n)
		}
	}
}

// TestRollingEncoderUpgrade gives one of two servers another encoder, under
// load: the gateway stays with the encoder in use while the other one has it,
// and moves once when none does. No request is told that it is wrong.
func TestRollingEncoderUpgrade(t *testing.T) {
	set := settings(t)
	first, second := fakeTriton(t, set), fakeTriton(t, set)
	old := first.Encoder()
	next := old
	next.Name, next.Digest = "next", quality.DigestOf([]byte("the next encoder"))
	set = settings(t, first.Addr(), second.Addr())
	log := &logged{}
	s, err := server.New(t.Context(), server.Config{
		Settings: set, Version: "1.2.3", Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	var checkpoints []quality.Checkpoint
	for _, e := range s.Library().Snapshot().List() {
		if e.Checkpoint.Encoder == old.Digest {
			checkpoints = append(checkpoints, e.Checkpoint)
		}
	}
	err = s.While(t.Context(), func(ctx context.Context) error {
		var stop atomic.Bool
		var mu sync.Mutex
		outcomes := map[quality.Kind]int{}
		var callers sync.WaitGroup
		for n := range 4 {
			callers.Go(func() {
				for i := 0; !stop.Load(); i++ {
					items := []scoring.Item{{Data: testimages.PNG(8+n, 8+i%200)}}
					_, err := s.Score(ctx, scoring.Request{Items: items, Checkpoints: checkpoints[:1+i%2]})
					kind := quality.Kind("")
					if err != nil {
						kind = quality.KindOf(err)
						<-time.After(5 * time.Millisecond)
					}
					mu.Lock()
					outcomes[kind]++
					mu.Unlock()
				}
			})
		}
		finish := func() map[quality.Kind]int {
			stop.Store(true)
			callers.Wait()
			return outcomes
		}
		defer finish()
		first.Stop()
		first.Exchange(next)
		first.Start()
		log.await(t, "servers hold different encoders", 1)
		<-time.After(3 * time.Second) // three looks at the two
		mu.Lock()
		if n := log.count("encoder in use"); n != 1 {
			t.Errorf("%d encoders were in use while a server had the old one, want 1", n)
		}
		served, failed := outcomes[""], 0
		for kind, n := range outcomes {
			if kind != "" {
				failed += n
			}
		}
		mu.Unlock()
		t.Logf("while one server had the next encoder: %d requests, %d failed", served+failed, failed)
		if encoder, _ := s.Encoder(); encoder.Digest != old.Digest || failed*20 > served {
			t.Errorf("encoder %s in use, and %d of %d requests failed", encoder.Name, failed, served+failed)
		}
		second.Stop()
		second.Exchange(next)
		second.Start()
		log.await(t, "encoder in use", 2)
		<-time.After(2 * time.Second)
		got := finish()
		t.Logf("outcomes: %v", got)
		if n := log.count("encoder in use"); n != 2 {
			t.Errorf("the encoder changed %d times, want once", n-1)
		}
		if encoder, _ := s.Encoder(); encoder.Digest != next.Digest {
			t.Errorf("encoder %s in use, want the next one", encoder.Name)
		}
		for kind, n := range got {
			if kind != "" && !kind.Temporary() && kind != quality.KindClientClosedRequest {
				t.Errorf("%d requests ended in %s, which is not to be tried again", n, kind)
			}
		}
		if got[""] == 0 {
			t.Errorf("nothing was scored: %v", got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
