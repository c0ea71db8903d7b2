package server_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
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
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// logged is a server's log.
type logged struct{ proctest.Buffer }

func (l *logged) count(message string) int {
	return strings.Count(l.String(), `msg="`+message)
}

// await waits up to a minute for a message to have come n times.
func (l *logged) await(t *testing.T, message string, n int) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); l.count(message) < n; <-tick.C {
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

// TestMoveWhenTold: of two servers one gets the next encoder, under load. The gateway
// moves when it is told to, while the other server still has the encoder before, and
// no request fails: neither those that began before, nor those that name a checkpoint
// of it. They end when no server has it any more. A restart without the store goes
// by what was chosen.
func TestMoveWhenTold(t *testing.T) {
	plain := settings(t)
	next := quality.Encoder{Name: "clip-vit-b-16", Dim: 512, TextWidth: 128, ContextLength: 77, DefaultCheckpoint: "quick"}
	library, err := server.OpenLibrary(plain)
	if err != nil {
		t.Fatal(err)
	}
	quick, err := library.Get("quick")
	if err != nil {
		t.Fatal(err)
	}
	next.Digest = quick.Checkpoint.Encoder
	var trained []quality.Checkpoint
	for _, e := range library.List() {
		if e.Checkpoint.Encoder == next.Digest {
			trained = append(trained, e.Checkpoint)
		}
	}
	first := tritontest.New(t, tritontest.WithCheckpoints(trained...), tritontest.WithEncoder(next))
	first.Stop()
	second := fakeTriton(t, plain)
	old := second.Encoder()
	set := settings(t, first.Addr(), second.Addr())
	const key = "an-admin-key-for-tests"
	set.AdminKey = key
	log := &logged{}
	s, err := server.New(t.Context(), server.Config{
		Settings: set, Version: "1.2.3", Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	err = s.While(t.Context(), func(ctx context.Context) error {
		ask := func(method, path, kind string, body []byte) (int, string) {
			req, err := http.NewRequestWithContext(ctx, method, s.URL()+path, bytes.NewReader(body))
			if err != nil {
				t.Error(err)
				return 0, ""
			}
			req.Header.Set("Content-Type", kind)
			req.Header.Set("Authorization", "Bearer "+key)
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Error(err)
				return 0, ""
			}
			defer res.Body.Close()
			text, err := io.ReadAll(res.Body)
			if err != nil {
				t.Error(err)
			}
			return res.StatusCode, string(text)
		}
		use := func(e quality.Encoder) (int, string) {
			return ask(http.MethodPut, "/v1/encoder", "application/json", fmt.Appendf(nil, `{"digest": %q}`, e.Digest))
		}
		if status, text := use(next); status != http.StatusConflict || !strings.Contains(text, "they hold "+old.Name) {
			t.Errorf("an encoder that no server holds: status %d, %s", status, text)
		}
		first.Start()
		log.await(t, "servers hold different encoders", 1)

		var stop atomic.Bool
		var callers sync.WaitGroup
		var scored, byNext atomic.Int64
		for n := range 4 {
			callers.Go(func() {
				for i := 0; !stop.Load(); i++ {
					status, text := ask(http.MethodPost, "/v1/score", "image/png", testimages.PNG(8+n, 8+i%200))
					if status != http.StatusOK {
						t.Errorf("status %d while the encoder moves: %s", status, text)
						return
					}
					scored.Add(1)
					if strings.Contains(text, `"quick"`) {
						byNext.Add(1)
					}
				}
			})
		}
		some := func(n *atomic.Int64) {
			for from := n.Load(); n.Load() < from+20 && !t.Failed(); {
				<-time.After(5 * time.Millisecond)
			}
		}
		some(&scored)
		if n := byNext.Load(); n > 0 {
			t.Errorf("%d scores by the next encoder before it was chosen", n)
		}
		if status, text := use(next); status != http.StatusOK ||
			!strings.Contains(text, fmt.Sprintf(`"chosen":{"digest":%q}`, next.Digest)) {
			t.Errorf("choosing: status %d, %s", status, text)
		}
		some(&byNext)
		for _, name := range []string{"demo", "quick"} { // of either encoder, while a server has it
			status, text := ask(http.MethodPost, "/v1/score?checkpoint="+name, "image/png", testimages.PNG(9, 9))
			if status != http.StatusOK {
				t.Errorf("%s after the move: status %d, %s", name, status, text)
			}
		}
		second.Stop()
		some(&byNext)
		stop.Store(true)
		callers.Wait()
		if n := log.count("encoder in use"); n != 2 {
			t.Errorf("the encoder changed %d times, want once", n-1)
		}
		if _, text := ask(http.MethodGet, "/v1/encoder", "", nil); !strings.Contains(text, `"complete":false`) ||
			!strings.Contains(text, fmt.Sprintf(`"in_use":{"name":%q,"digest":%q`, next.Name, next.Digest)) {
			t.Errorf("GET /v1/encoder: %s", text)
		}
		// With its last server the encoder before goes, and no sooner.
		gone := func() bool {
			status, text := ask(http.MethodPost, "/v1/score?checkpoint=demo", "image/png", testimages.PNG(10, 10))
			if status == http.StatusOK || status == http.StatusServiceUnavailable {
				return strings.Contains(text, "is being exchanged")
			}
			t.Errorf("demo without a server: status %d: %s", status, text)
			return true
		}
		for end := time.Now().Add(time.Minute); !gone(); <-time.After(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("requests for the encoder before are still taken a minute after its last server went")
			}
		}
		second.Start()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	set.ExperimentStore = "postgres://127.0.0.1:1/nobody"
	log = &logged{}
	if s, err = server.New(t.Context(), server.Config{
		Settings: set, Version: "1.2.3", Logger: slog.New(slog.NewTextHandler(log, nil)),
	}); err != nil {
		t.Fatal(err)
	}
	err = s.While(t.Context(), func(context.Context) error {
		log.await(t, "encoder in use", 1)
		if e, _ := s.Encoder(); e.Digest != next.Digest {
			t.Errorf("after a restart without the store %s is in use, want the one that was chosen", e.Name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
