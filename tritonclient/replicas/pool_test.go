package replicas_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agiqa/agiqa/internal/proctest"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient/replicas"
)

// newPool returns a pool of the addresses that closes with the test.
func newPool(t *testing.T, calls replicas.Calls, addresses ...string) *replicas.Pool {
	t.Helper()
	cfg := replicas.DefaultConfig()
	cfg.Addresses, cfg.MaxInFlight = addresses, 1
	if calls.Identify == nil {
		calls.Identify = func(context.Context, grpc.ClientConnInterface, string) (string, error) { return "", nil }
	}
	p, err := replicas.New(cfg, calls)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return p
}

// wantError checks kind and detail, that the detail holds no address, and
// returns the error.
func wantError(t *testing.T, err error, kind quality.Kind, detail string) *quality.Error {
	t.Helper()
	e, ok := errors.AsType[*quality.Error](err)
	if !ok || e.Kind != kind {
		t.Fatalf("error %v, want kind %s", err, kind)
	}
	if !strings.Contains(e.Detail, detail) || strings.Contains(e.Detail, "127.0.0.") {
		t.Errorf("detail %q, want one that says %q and no address", e.Detail, detail)
	}
	return e
}

// nobody returns n addresses at which nothing listens.
func nobody(t *testing.T, n int) []string {
	t.Helper()
	out := make([]string, n)
	for i := range out {
		out[i] = proctest.Loopback(proctest.FreePort(t))
	}
	return out
}

// A call is a function: what it returns decides alone whether another replica
// is asked, and what the caller is told.
func TestDo(t *testing.T) {
	lost := status.Error(codes.Unavailable, "connection reset by peer")
	for _, test := range []struct {
		name     string
		replicas int
		answers  []error // of one attempt after another
		kind     quality.Kind
		attempts int
	}{
		{"answered", 2, []error{nil}, "", 1},
		{"lost, then answered", 2, []error{lost, nil}, "", 2},
		{"lost twice", 3, []error{lost, lost, nil}, quality.KindModelUnavailable, 2},
		{"lost, and nobody else", 1, []error{lost, nil}, quality.KindModelUnavailable, 1},
		{"queue full", 2, []error{status.Error(codes.Unavailable, "Exceeds maximum queue size"), nil}, quality.KindOverloaded,
			1},
		{"not to be believed", 2, []error{quality.Errorf(quality.KindModelBadOutput, "NaN"), nil},
			quality.KindModelBadOutput, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPool(t, replicas.Calls{}, nobody(t, test.replicas)...)
			attempts := 0
			err := p.Do(t.Context(), time.Now().Add(time.Minute), replicas.Ask{Model: "m"}, func(context.Context, grpc.ClientConnInterface) error {
				attempts++
				return test.answers[attempts-1]
			})
			if attempts != test.attempts {
				t.Errorf("%d attempts, want %d", attempts, test.attempts)
			}
			if test.kind == "" && err != nil {
				t.Error(err)
			} else if test.kind != "" {
				wantError(t, err, test.kind, "")
			}
		})
	}
}

// holds answers what each address holds, in what changes while a test runs, and
// counts the questions.
type holds struct {
	mu    sync.Mutex
	by    map[string]string // by target
	asked int
}

func (h *holds) identify(_ context.Context, conn grpc.ClientConnInterface, _ string) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked++
	target := strings.TrimPrefix(conn.(*grpc.ClientConn).Target(), "dns:///")
	held, ok := h.by[target]
	if !ok {
		return "", status.Error(codes.Unavailable, "no")
	}
	return held, nil
}

func (h *holds) set(address, held string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.by[address] = held
}

// A replica that holds something else, or does not say what, gets no inference.
func TestDoAsksFirst(t *testing.T) {
	addresses := nobody(t, 3)
	h := &holds{by: map[string]string{addresses[0]: "old", addresses[1]: "new"}}
	p := newPool(t, replicas.Calls{Identify: h.identify}, addresses...)
	deadline := time.Now().Add(time.Minute)
	for _, test := range []struct {
		want string
		kind quality.Kind
	}{{"old", ""}, {"new", ""}, {"none", quality.KindModelUnavailable}} {
		served := 0
		for range 10 {
			err := p.Do(t.Context(), deadline, replicas.Ask{Model: "m", Holds: replicas.Holding{Model: "e", Identity: test.want}},
				func(context.Context, grpc.ClientConnInterface) error { served++; return nil })
			if test.kind == "" && err != nil {
				t.Fatalf("%s: %v", test.want, err)
			} else if test.kind != "" {
				wantError(t, err, test.kind, "exchanged")
			}
		}
		if want := map[bool]int{true: 10, false: 0}[test.kind == ""]; served != want {
			t.Errorf("%s: %d calls were made for 10 inferences, want %d", test.want, served, want)
		}
	}
}

// An answer counts only if the server held the same before and after it.
func TestDoProves(t *testing.T) {
	addresses := nobody(t, 1)
	ask := replicas.Ask{Model: "m", Holds: replicas.Holding{Model: "e", Identity: "a"}, Proven: true}
	for _, test := range []struct {
		name   string
		proven bool
		meets  string // what the server holds when the call ends
		kind   quality.Kind
	}{
		{"nothing happens", true, "a", ""},
		{"exchanged", true, "b", quality.KindModelUnavailable},
		{"exchanged, and nothing to prove", false, "b", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := &holds{by: map[string]string{addresses[0]: "a"}}
			p := newPool(t, replicas.Calls{Identify: h.identify}, addresses...)
			ask.Proven = test.proven
			err := p.Do(t.Context(), time.Now().Add(time.Minute), ask, func(context.Context, grpc.ClientConnInterface) error {
				h.set(addresses[0], test.meets)
				return nil
			})
			if test.kind == "" && err != nil {
				t.Error(err)
			} else if test.kind != "" {
				wantError(t, err, test.kind, "exchanged")
			}
		})
	}
}

// Inferences that end together share a question, and one that begins soon after
// another ended asks none.
func TestDoSharesQuestions(t *testing.T) {
	addresses := nobody(t, 1)
	h := &holds{by: map[string]string{addresses[0]: "a"}}
	cfg := replicas.DefaultConfig()
	cfg.Addresses = addresses
	p, err := replicas.New(cfg, replicas.Calls{Identify: h.identify})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(context.WithoutCancel(t.Context()))
	const calls = 64
	ask := replicas.Ask{Model: "m", Holds: replicas.Holding{Model: "e", Identity: "a"}, Proven: true}
	var begun, all sync.WaitGroup
	begun.Add(calls)
	for range calls {
		all.Go(func() {
			err := p.Do(t.Context(), time.Now().Add(time.Minute), ask, func(context.Context, grpc.ClientConnInterface) error {
				begun.Done()
				begun.Wait()
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if h.asked > calls/2 {
		t.Errorf("%d questions for %d inferences that ended together", h.asked, calls)
	}
}

// A caller that leaves is told at once; its call keeps its place until it ends.
func TestDoOutlivesItsCaller(t *testing.T) {
	p := newPool(t, replicas.Calls{}, nobody(t, 1)...)
	ctx, cancel := context.WithCancel(t.Context())
	begun, release := make(chan struct{}), make(chan struct{})
	left := make(chan error, 1)
	deadline := time.Now().Add(time.Minute)
	go func() {
		left <- p.Do(ctx, deadline, replicas.Ask{Model: "m"}, func(ctx context.Context, _ grpc.ClientConnInterface) error {
			close(begun)
			<-release
			return ctx.Err()
		})
	}()
	<-begun
	cancel()
	wantError(t, <-left, quality.KindClientClosedRequest, "model m")
	if running, abandoned := p.InFlight(); running != 1 || abandoned != 1 {
		t.Errorf("%d in flight, %d abandoned, want 1 and 1", running, abandoned)
	}
	err := p.Do(t.Context(), deadline, replicas.Ask{Model: "m"}, func(context.Context, grpc.ClientConnInterface) error { return nil })
	wantError(t, err, quality.KindOverloaded, "in flight")
	close(release)
	p.WaitIdle(t.Context())
	if running, abandoned := p.InFlight(); running+abandoned != 0 {
		t.Errorf("%d in flight, %d abandoned, want none", running, abandoned)
	}
}

func TestEachAndAny(t *testing.T) {
	addresses := nobody(t, 3)
	p := newPool(t, replicas.Calls{}, addresses...)
	cause := errors.New("no")
	failing := func(bad ...string) func(context.Context, *replicas.Replica) error {
		return func(_ context.Context, r *replicas.Replica) error {
			if slices.Contains(bad, r.Addr()) {
				return cause
			}
			return nil
		}
	}
	if err := p.Any(t.Context(), failing(addresses[:2]...)); err != nil {
		t.Errorf("Any with one that works: %v", err)
	}
	if err := p.Any(t.Context(), failing(addresses...)); err != cause {
		t.Errorf("Any with none that works: %v", err)
	}
	if err := p.Each(t.Context(), failing()); err != nil {
		t.Errorf("Each with all that work: %v", err)
	}
	err := p.Each(t.Context(), failing(addresses[1]))
	if e, ok := errors.AsType[*replicas.Error](err); !ok || e.Replica != addresses[1] || !errors.Is(err, cause) {
		t.Errorf("Each with one that fails: %v, want its address and error", err)
	}
}
