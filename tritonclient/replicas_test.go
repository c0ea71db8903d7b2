package tritonclient_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agiqa/agiqa/internal/metrics/metricstest"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// clock is moved by the test.
type clock struct{ offset atomic.Int64 }

func (c *clock) Now() time.Time          { return time.Unix(1e9, c.offset.Load()) }
func (c *clock) advance(d time.Duration) { c.offset.Add(int64(d)) }

// watched is a client whose clock and metrics the test holds.
type watched struct {
	*tritonclient.Client
	clock  *clock
	reader *sdkmetric.ManualReader
}

func newWatched(t *testing.T, servers ...*tritontest.Server) watched {
	t.Helper()
	w := watched{clock: &clock{}, reader: sdkmetric.NewManualReader()}
	w.Client = newClient(t, func(cfg *tritonclient.Config) {
		cfg.Now = w.clock.Now
		cfg.Meter = sdkmetric.NewMeterProvider(sdkmetric.WithReader(w.reader))
	}, servers...)
	for i := range servers {
		wantConnected(t, w.Client, i, true)
	}
	if _, err := w.Describe(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

// values returns a metric by the value of its only label, "" without one.
func (w watched) values(t *testing.T, name string) map[string]int64 {
	t.Helper()
	out := map[string]int64{}
	for labels, value := range metricstest.Values(t, w.reader, name) {
		_, label, _ := strings.Cut(labels, "=")
		out[label] = value
	}
	return out
}

func (w watched) want(t *testing.T, name, label string, want int64) {
	t.Helper()
	if got := w.values(t, name)[label]; got != want {
		t.Errorf("%s{%s} is %d, want %d (%v)", name, label, got, want, w.values(t, name))
	}
}

// together runs n calls at once and returns their errors.
func together(n int, call func(i int) error) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = call(i) })
	}
	wg.Wait()
	return errs
}

// F02 and F38: a server that hangs costs five callers their deadline; the
// others are told at once, and when the time is over one of them finds out
// whether it is back.
func TestF02BreakerOfTheOnlyServer(t *testing.T) {
	s := tritontest.New(t)
	c := newWatched(t, s)
	release := s.Hold(tritontest.ImageEncoder)
	defer release()
	ask := func(budget time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), budget)
		defer cancel()
		_, err := c.EncodeImages(ctx, tritontest.Encoder(), images(1))
		return err
	}
	if err := c.Available(); err != nil {
		t.Fatalf("before: %v", err)
	}
	for i, err := range together(5, func(int) error { return ask(2 * time.Second) }) {
		if quality.KindOf(err) != quality.KindDeadlineExceeded {
			t.Errorf("caller %d: %v, want its own deadline", i, err)
		}
	}
	c.WaitIdle(t.Context())
	c.want(t, "agiqa.triton.ejections", "late", 1)
	c.want(t, "agiqa.triton.ejected", "", 1)
	c.want(t, "agiqa.triton.attempts", "late", 5)
	wantError(t, c.Available(), quality.KindModelUnavailable, "no inference server answers")
	for range 20 {
		wantError(t, ask(time.Minute), quality.KindModelUnavailable, "no inference server answers")
	}
	if got := s.Calls(tritontest.ImageEncoder); got != 5 {
		t.Fatalf("%d calls arrived, want the 5 that waited", got)
	}

	c.clock.advance(2 * time.Second)
	probe := make(chan error, 1)
	go func() { probe <- ask(time.Minute) }()
	s.WaitCalls(tritontest.ImageEncoder, 6)
	for i, err := range together(20, func(int) error { return ask(time.Minute) }) {
		if quality.KindOf(err) != quality.KindModelUnavailable {
			t.Errorf("caller %d beside the probe: %v", i, err)
		}
	}
	if got := s.Calls(tritontest.ImageEncoder); got != 6 {
		t.Errorf("%d calls arrived, want one probe", got-5)
	}
	s.Heal()
	release()
	if err := <-probe; err != nil {
		t.Errorf("the probe: %v", err)
	}
	if err := ask(time.Minute); err != nil {
		t.Errorf("after the probe: %v", err)
	}
	c.want(t, "agiqa.triton.ejected", "", 0)
}

// One of two servers breaks its models: it is taken out, for longer each time,
// and gets one request when its time is over.
func TestOutlierIsEjected(t *testing.T) {
	good, bad := tritontest.New(t), tritontest.New(t)
	c := newWatched(t, good, bad)
	bad.Fail(tritontest.ImageEncoder, codes.Internal, tritontest.DeadStub)
	ask := func() error { _, err := c.EncodeImages(t.Context(), tritontest.Encoder(), images(1)); return err }
	failed := 0
	for range 60 {
		if ask() != nil {
			failed++
		}
	}
	if got := bad.Calls(tritontest.ImageEncoder); got != 10 || failed != 10 {
		t.Errorf("the broken server got %d requests and failed %d, want the 10 that show it", got, failed)
	}
	c.want(t, "agiqa.triton.ejections", "errors", 1)
	for i, pause := range []time.Duration{1, 2, 4, 8} {
		c.clock.advance(pause * time.Second * 79 / 100) // at most a fifth is taken off
		if err := ask(); err != nil {
			t.Fatalf("round %d, before its time: %v", i, err)
		}
		c.clock.advance(pause * time.Second * 22 / 100)
		for range 6 {
			_ = ask()
		}
		if got := bad.Calls(tritontest.ImageEncoder); got != 11+i {
			t.Fatalf("round %d: %d probes, want %d", i, got-10, i+1)
		}
	}
	bad.Heal()
	c.clock.advance(time.Minute)
	before := bad.Calls(tritontest.ImageEncoder)
	for range 10 {
		if err := ask(); err != nil {
			t.Fatalf("healed: %v", err)
		}
	}
	if got := bad.Calls(tritontest.ImageEncoder) - before; got < 4 {
		t.Errorf("the healed server got %d of 10 requests", got)
	}
	c.want(t, "agiqa.triton.ejected", "", 0)
}

// The last server stays, however often its models fail.
func TestTheLastServerStays(t *testing.T) {
	s := tritontest.New(t)
	c := newWatched(t, s)
	s.Fail(tritontest.ImageEncoder, codes.Internal, tritontest.DeadStub)
	for range 30 {
		_, err := c.EncodeImages(t.Context(), tritontest.Encoder(), images(1))
		wantError(t, err, quality.KindModelUnavailable, "failed")
	}
	if got := s.Calls(tritontest.ImageEncoder); got != 30 {
		t.Errorf("%d requests arrived, want all 30", got)
	}
	c.want(t, "agiqa.triton.attempts", "failed", 30)
	c.want(t, "agiqa.triton.ejections", "errors", 0)
}

// Refusals are sent again within the budget: of 20 requests that no server
// takes, the first 4.
func TestBudgetOfSecondAttempts(t *testing.T) {
	cp := tritontest.Checkpoint("nowhere")
	a, b := tritontest.New(t), tritontest.New(t)
	c := newWatched(t, a, b)
	for range 20 {
		_, _, err := c.EmbedAndScore(t.Context(), tritontest.Encoder(), cp, tritontest.Texts(tritontest.Encoder()), images(1))
		wantError(t, err, quality.KindModelUnavailable, "is not loaded")
	}
	if got := a.Calls(cp.EnsembleModel()) + b.Calls(cp.EnsembleModel()); got != 24 {
		t.Errorf("%d attempts of 20 requests, want 24", got)
	}
	c.want(t, "agiqa.triton.retries", "sent", 4)
	c.want(t, "agiqa.triton.retries", "no_budget", 16)
	c.want(t, "agiqa.triton.attempts", "refused", 24)
}

// A model that one server missing: after the first refusal the other one is
// asked, and no budget is used up.
func TestOneServerLacksTheModel(t *testing.T) {
	cp := tritontest.Checkpoint("demo")
	has, lacks := tritontest.New(t, tritontest.WithCheckpoints(cp)), tritontest.New(t)
	c := newWatched(t, has, lacks)
	for range 40 {
		if _, _, err := c.EmbedAndScore(t.Context(), tritontest.Encoder(), cp,
			tritontest.Texts(tritontest.Encoder()), images(1)); err != nil {
			t.Fatal(err)
		}
	}
	if got := lacks.Calls(cp.EnsembleModel()); got > 1 {
		t.Errorf("the server without the model was asked %d times", got)
	}
}

// F06 under load: all that is under way when a server says that it leaves goes
// to the other one, budget or not, and the next goes there at once.
func TestF06ManyRequestsMeetAServerThatLeaves(t *testing.T) {
	stays, leaves := tritontest.New(t), tritontest.New(t)
	c := newWatched(t, stays, leaves)
	const callers = 40
	gate := make(chan struct{})
	leaves.OnInfer(tritontest.ImageEncoder, func(context.Context, *pb.ModelInferRequest) error {
		<-gate
		return status.Error(codes.Unavailable, tritontest.Exiting)
	})
	held := stays.Hold(tritontest.ImageEncoder)
	go func() {
		leaves.WaitCalls(tritontest.ImageEncoder, callers/2) // least busy: half of them each
		close(gate)
		held()
	}()
	for i, err := range together(callers,
		func(int) error { _, err := c.EncodeImages(t.Context(), tritontest.Encoder(), images(1)); return err }) {
		if err != nil {
			t.Errorf("caller %d: %v", i, err)
		}
	}
	before := leaves.Calls(tritontest.ImageEncoder)
	for range 20 {
		if _, err := c.EncodeImages(t.Context(), tritontest.Encoder(), images(1)); err != nil {
			t.Error(err)
		}
	}
	if got := leaves.Calls(tritontest.ImageEncoder) - before; got != 0 {
		t.Errorf("the server that leaves got %d more requests", got)
	}
	c.want(t, "agiqa.triton.ejections", "unreachable", 1)
	c.want(t, "agiqa.triton.retries", "no_budget", 0)
}

// A busy server gets less.
func TestLeastBusyServerIsAsked(t *testing.T) {
	busy, idle := tritontest.New(t), tritontest.New(t)
	c := newWatched(t, busy, idle)
	release := busy.Hold(tritontest.ImageEncoder)
	defer release()
	done := make(chan error, 2)
	for range 2 { // one of them meets the server that holds
		go func() { _, err := c.EncodeImages(t.Context(), tritontest.Encoder(), images(1)); done <- err }()
	}
	busy.WaitCalls(tritontest.ImageEncoder, 1)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if _, err := c.EncodeImages(t.Context(), tritontest.Encoder(), images(1)); err != nil {
			t.Fatal(err)
		}
	}
	if got := busy.Calls(tritontest.ImageEncoder); got != 1 {
		t.Errorf("the busy server got %d requests, want the one that it holds", got)
	}
	release()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestSeveralConnections(t *testing.T) {
	s := tritontest.New(t)
	c := newClient(t, func(cfg *tritonclient.Config) { cfg.Connections = 3 }, s)
	peers := map[string]bool{}
	for range 200 {
		if _, err := c.EncodeImages(t.Context(), tritontest.Encoder(), images(1)); err != nil {
			t.Fatal(err)
		}
		last, _ := s.Last(tritontest.ImageEncoder)
		peers[last.Peer] = true
	}
	if len(peers) != 3 {
		t.Errorf("requests came over %d connections, want 3", len(peers))
	}
}

// BenchmarkInfer shows what a call costs in memory, pixels being 150,528 bytes
// an image.
func BenchmarkInfer(b *testing.B) {
	for _, n := range []int{1, 8} {
		b.Run(fmt.Sprintf("images=%d", n), func(b *testing.B) {
			s := tritontest.New(b)
			c, err := tritonclient.New(s.Config())
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			batch := images(n)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.EncodeImages(b.Context(), tritontest.Encoder(), batch); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// anotherEncoder is one of other weights, and a checkpoint of it.
func anotherEncoder() (quality.Encoder, quality.Checkpoint) {
	e := tritontest.Encoder()
	e.Name, e.Digest = "next", quality.DigestOf([]byte("the next encoder"))
	c := tritontest.Checkpoint("next")
	c.Encoder = e.Digest
	return e, c
}

// Two servers hold different encoders, as in an upgrade of one after the other: what
// is asked for one of them meets the server that has it, questions about models that
// the other one lacks too.
func TestTwoEncodersSideBySide(t *testing.T) {
	old, demo := tritontest.Encoder(), tritontest.Checkpoint("demo")
	next, fresh := anotherEncoder()
	a := tritontest.New(t, tritontest.WithCheckpoints(demo))
	b := tritontest.New(t, tritontest.WithEncoder(next), tritontest.WithCheckpoints(fresh), tritontest.WithMaxBatch(3))
	for round := range 8 { // clients that know nothing yet, and begin at either server
		c := newClient(t, nil, a, b)
		wantConnected(t, c, 0, true)
		wantConnected(t, c, 1, true)
		if round%2 > 0 {
			_, _ = c.Server(t.Context())
		}
		for _, of := range []struct {
			encoder    quality.Encoder
			checkpoint quality.Checkpoint
		}{{next, fresh}, {old, demo}} {
			if err := c.CheckCheckpoint(t.Context(), of.encoder, of.checkpoint); err != nil {
				t.Errorf("round %d: check of %s: %v", round, of.checkpoint.Name, err)
			}
			_, _, err := c.EmbedAndScore(t.Context(), of.encoder, of.checkpoint,
				tritontest.Texts(of.encoder), images(7))
			if err != nil {
				t.Errorf("round %d: score by %s: %v", round, of.checkpoint.Name, err)
			}
			if _, err := c.EncodeImages(t.Context(), of.encoder, images(7)); err != nil {
				t.Errorf("round %d: embed by %s: %v", round, of.encoder.Name, err)
			}
		}
		if err := c.CheckCheckpoint(t.Context(), next, demo); err == nil {
			t.Errorf("round %d: %s was taken for a checkpoint of %s", round, demo.Name, next.Name)
		}
	}
}

// A server that was ejected comes back with another encoder. It gets no inference
// that it could answer, so its answer to a question brings it back: that before an
// inference, or the look at what servers hold.
func TestAnExchangedServerIsBack(t *testing.T) {
	next, _ := anotherEncoder()
	ask := func(c watched, e quality.Encoder) error {
		_, err := c.EncodeImages(t.Context(), e, images(1))
		return err
	}
	for name, question := range map[string]func(c watched) error{
		"inference": func(c watched) error { return ask(c, tritontest.Encoder()) },
		"look":      func(c watched) error { _, err := c.Encoders(t.Context()); return err },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := tritontest.New(t), tritontest.New(t)
			c := newWatched(t, a, b)
			a.Fail(tritontest.ImageEncoder, codes.Unavailable, "Server is stopping, scheduler for model has stopped "+
				"accepting new inference requests")
			for range 12 {
				if err := ask(c, tritontest.Encoder()); err != nil {
					t.Fatal(err)
				}
			}
			a.Stop()
			wantConnected(t, c.Client, 0, false)
			a.Heal()
			a.Exchange(next)
			a.Start()
			wantConnected(t, c.Client, 0, true)
			c.want(t, "agiqa.triton.ejected", "", 1)
			if err := question(c); err != nil {
				t.Fatal(err)
			}
			c.want(t, "agiqa.triton.ejected", "", 0)
			for i, err := range together(20, func(int) error { return ask(c, next) }) {
				if err != nil {
					t.Errorf("call %d: %v", i, err)
				}
			}
		})
	}
}
