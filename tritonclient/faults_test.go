package tritonclient_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// The ids F01 to F11 are the cells of the fault matrix that concern Triton.

func TestF01ServerKilledAndBack(t *testing.T) {
	s := tritontest.New(t)
	c := newClient(t, nil, s)
	wantConnected(t, c, 0, true)
	release := s.Hold(tritontest.ImageEncoder)
	defer release()
	answer := make(chan error, 1)
	go func() {
		_, err := c.EncodeImages(t.Context(), tritontest.Encoder(), images(1))
		answer <- err
	}()
	s.WaitCalls(tritontest.ImageEncoder, 1)

	s.Stop()
	err := <-answer
	wantError(t, err, quality.KindModelUnavailable, "cannot be reached")
	if e, _ := errors.AsType[*quality.Error](err); e.RetryAfter != time.Second {
		t.Errorf("retry after %v, want 1 s", e.RetryAfter)
	}
	_, err = c.EncodeImages(t.Context(), tritontest.Encoder(), images(1))
	wantError(t, err, quality.KindModelUnavailable, "cannot be reached")
	if got := s.Calls(tritontest.ImageEncoder); got != 1 {
		t.Errorf("%d calls arrived, want 1: what left must not be sent again", got)
	}

	s.Heal()
	wantConnected(t, c, 0, false)
	s.Start()
	wantConnected(t, c, 0, true) // by itself: nobody calls
	if _, err := c.EncodeImages(t.Context(), tritontest.Encoder(), images(1)); err != nil {
		t.Errorf("after the server is back: %v", err)
	}
}

// A server that accepts and never answers costs each caller its own deadline,
// and a late reply reaches nobody.
func TestF02ServerHangs(t *testing.T) {
	s := tritontest.New(t)
	c := newClient(t, nil, s)
	if _, err := c.Describe(t.Context()); err != nil {
		t.Fatalf("Describe: %v", err)
	}
	release := s.Hold(tritontest.ImageEncoder)
	defer release()

	const budget = time.Second
	ctx, cancel := context.WithTimeout(t.Context(), budget)
	defer cancel()
	start := time.Now()
	_, err := c.EncodeImages(ctx, tritontest.Encoder(), images(1))
	wantError(t, err, quality.KindDeadlineExceeded, "did not answer in time")
	if took := time.Since(start); took < budget || took > 20*budget {
		t.Errorf("answered after %v, want its own deadline of %v", took, budget)
	}

	s.Heal()
	release()
	got, err := c.EncodeImages(t.Context(), tritontest.Encoder(), []quality.Pixels{tritontest.Image(7)})
	if err != nil {
		t.Fatalf("after the server woke up: %v", err)
	}
	want := tritontest.ImageEmbedding(tritontest.Encoder(), tritontest.Image(7))
	for i := range want {
		if got[0][i] != want[i] {
			t.Fatalf("embedding %v, want that of the second image %v", got[0], want)
		}
	}
}

// F04, F05, F07 and failures of a model: one attempt each, however many
// replicas there are to try, unless the server refused before it began.
func TestFailuresOfTheModel(t *testing.T) {
	for _, test := range []struct {
		name    string
		code    codes.Code
		message string
		kind    quality.Kind
		detail  string
	}{
		{"F04 queue full", codes.Unavailable, tritontest.QueueFull, quality.KindOverloaded, "is full"},
		{"F05 queue timeout", codes.Unavailable, tritontest.QueueTimeout,
			quality.KindDeadlineExceeded, "too long in the queue"},
		{"dead stub", codes.Internal, tritontest.DeadStub, quality.KindModelUnavailable, "failed"},
		{"out of memory", codes.ResourceExhausted, "quota", quality.KindOverloaded, "out of resources"},
		{"looks unreachable, but answered", codes.Unavailable, "?", quality.KindModelUnavailable, "cannot be reached"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cp := tritontest.Checkpoint("demo")
			a := tritontest.New(t, tritontest.WithCheckpoints(cp))
			b := tritontest.New(t, tritontest.WithCheckpoints(cp))
			c := newClient(t, nil, a, b)
			wantConnected(t, c, 0, true)
			wantConnected(t, c, 1, true)
			for _, s := range []*tritontest.Server{a, b} {
				s.Fail(cp.EnsembleModel(), test.code, test.message)
			}
			const requests = 4
			for range requests {
				_, _, err := c.EmbedAndScore(t.Context(), tritontest.Encoder(), cp,
					tritontest.Texts(tritontest.Encoder()), images(1))
				wantError(t, err, test.kind, test.detail)
			}
			if got := a.Calls(cp.EnsembleModel()) + b.Calls(cp.EnsembleModel()); got != requests {
				t.Errorf("%d attempts for %d requests", got, requests)
			}
		})
	}
}

// One of two servers goes away: no caller notices.
func TestF06OneOfTwoServersLeaves(t *testing.T) {
	cp := tritontest.Checkpoint("demo")
	for _, test := range []struct {
		name  string
		leave func(*testing.T, *tritonclient.Client, *tritontest.Server) // it is server 0
	}{
		{"shut down", func(_ *testing.T, _ *tritonclient.Client, s *tritontest.Server) { s.Shutdown() }},
		{"killed while idle", func(t *testing.T, c *tritonclient.Client, s *tritontest.Server) {
			s.Stop()
			wantConnected(t, c, 0, false)
		}},
		{"says that it exits", func(_ *testing.T, _ *tritonclient.Client, s *tritontest.Server) {
			s.Fail(tritontest.AllModels, codes.Unavailable, tritontest.Exiting)
		}},
		{"restarted without the model", func(_ *testing.T, _ *tritonclient.Client, s *tritontest.Server) {
			s.Unload(cp.EnsembleModel())
		}},
		{"came back with another encoder", func(t *testing.T, c *tritonclient.Client, s *tritontest.Server) {
			s.Stop()
			wantConnected(t, c, 0, false)
			other := tritontest.Encoder()
			other.Digest = quality.DigestOf([]byte("another"))
			s.Exchange(other)
			s.Start()
			wantConnected(t, c, 0, true)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			stays := tritontest.New(t, tritontest.WithCheckpoints(cp))
			leaves := tritontest.New(t, tritontest.WithCheckpoints(cp))
			c := newClient(t, nil, leaves, stays)
			wantConnected(t, c, 0, true)
			wantConnected(t, c, 1, true)
			text := tritontest.Texts(tritontest.Encoder())
			want := tritontest.HeadScore(cp, text, tritontest.ImageEmbedding(tritontest.Encoder(), tritontest.Image(0)))
			for i := range 12 {
				if i == 4 {
					test.leave(t, c, leaves)
				}
				got, _, err := c.EmbedAndScore(t.Context(), tritontest.Encoder(), cp, text, images(1))
				if err != nil {
					t.Fatalf("request %d: %v", i, err)
				}
				if got[0] != want {
					t.Errorf("request %d: %+v, want %+v", i, got[0], want)
				}
			}
			if got := stays.Calls(cp.EnsembleModel()); got < 8 {
				t.Errorf("the server that stays answered %d requests, want at least the 8 after the other left", got)
			}
		})
	}
}

// What is under way in a server that dies is asked of the other one, once, and
// fails where that dies as well.
func TestServersDieWithRequestsUnderWay(t *testing.T) {
	const model, callers = tritontest.ImageEncoder, 20
	for _, test := range []struct {
		name    string
		die     int // so many of the two servers
		want    quality.Kind
		retried int64
	}{
		{"one of two", 1, "", callers / 2},
		{"both", 2, quality.KindModelUnavailable, callers / 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			first, second := tritontest.New(t), tritontest.New(t)
			c := newWatched(t, first, second)
			first.Hold(model)
			release := second.Hold(model)
			defer release()
			answers := make(chan []error, 1)
			go func() {
				answers <- together(callers, func(int) error {
					_, err := c.EncodeImages(t.Context(), tritontest.Encoder(), images(1))
					return err
				})
			}()
			first.WaitCalls(model, callers/2) // least busy: half of them each
			second.WaitCalls(model, callers/2)
			first.Stop()
			second.WaitCalls(model, callers)
			if test.die == 2 {
				second.Stop()
			}
			release()
			for i, err := range <-answers {
				if got := quality.KindOf(err); err != nil && got != test.want || err == nil && test.want != "" {
					t.Errorf("caller %d: %v, want kind %q", i, err, test.want)
				}
			}
			if got := second.Calls(model); got != callers {
				t.Errorf("the second server got %d requests, want each of %d once", got, callers)
			}
			c.want(t, "agiqa.triton.retries", "sent", test.retried)
			c.want(t, "agiqa.triton.retries", "no_budget", 0)
		})
	}
}

func TestF07ModelUnloaded(t *testing.T) {
	cp := tritontest.Checkpoint("demo")
	s := tritontest.New(t, tritontest.WithCheckpoints(cp))
	c := newClient(t, nil, s)
	text := tritontest.Texts(tritontest.Encoder())
	if err := c.Check(t.Context(), tritontest.Encoder(), cp.EnsembleModel()); err != nil {
		t.Fatalf("Check: %v", err)
	}

	s.Unload(cp.EnsembleModel())
	wantError(t, c.Check(t.Context(), tritontest.Encoder(), cp.EnsembleModel()),
		quality.KindModelUnavailable, cp.EnsembleModel())
	_, _, err := c.EmbedAndScore(t.Context(), tritontest.Encoder(), cp, text, images(1))
	wantError(t, err, quality.KindModelUnavailable, cp.EnsembleModel())

	s.Load(cp.EnsembleModel())
	s.Unload(cp.HeadModel())
	_, _, err = c.EmbedAndScore(t.Context(), tritontest.Encoder(), cp, text, images(1))
	wantError(t, err, quality.KindModelUnavailable, cp.EnsembleModel())

	s.Load(cp.HeadModel())
	if _, _, err := c.EmbedAndScore(t.Context(), tritontest.Encoder(), cp, text, images(1)); err != nil {
		t.Errorf("after both are back: %v", err)
	}
	if got := s.Calls(cp.EnsembleModel()); got != 3 {
		t.Errorf("%d attempts for 3 requests, with nowhere else to go", got)
	}
}

func TestF08WrongReplies(t *testing.T) {
	cp := tritontest.Checkpoint("demo")
	s := tritontest.New(t, tritontest.WithCheckpoints(cp))
	c := newClient(t, nil, s)
	enc := tritontest.Encoder()
	text := tritontest.Texts(enc)
	embedding := tritontest.ImageEmbedding(enc, tritontest.Image(0))
	for _, call := range []struct {
		name, model string
		embedding   bool // the first output is one
		do          func() (answers int, err error)
	}{
		{"image encoder", tritontest.ImageEncoder, true, func() (int, error) {
			got, err := c.EncodeImages(t.Context(), tritontest.Encoder(), images(1))
			return len(got), err
		}},
		{"text encoder", tritontest.TextEncoder, true, func() (int, error) {
			got, err := c.EncodePrompts(t.Context(), tritontest.Encoder(), tritontest.Prompts(enc))
			return len(got), err
		}},
		{"head", cp.HeadModel(), false, func() (int, error) {
			got, err := c.Score(t.Context(), tritontest.Encoder(), cp, text, []quality.Embedding{embedding})
			return len(got), err
		}},
		{"ensemble", cp.EnsembleModel(), false, func() (int, error) {
			js, es, err := c.EmbedAndScore(t.Context(), tritontest.Encoder(), cp, text, images(1))
			return len(js) + len(es), err
		}},
	} {
		for _, lie := range tritontest.Lies() {
			if lie.Embedding && !call.embedding {
				continue
			}
			t.Run(call.name+"/"+lie.Name, func(t *testing.T) {
				s.Lie(call.model, lie.Tell)
				defer s.Heal()
				answers, err := call.do()
				wantError(t, err, quality.KindModelBadOutput, call.model)
				if answers != 0 {
					t.Errorf("%d answers beside the error", answers)
				}
			})
		}
		t.Run(call.name+"/the truth", func(t *testing.T) {
			if _, err := call.do(); err != nil {
				t.Errorf("without a lie: %v", err)
			}
		})
	}
}

// The third output of an ensemble is an embedding, and it must be of norm 1
// before anyone caches it.
func TestF08EnsembleEmbedding(t *testing.T) {
	cp := tritontest.Checkpoint("demo")
	s := tritontest.New(t, tritontest.WithCheckpoints(cp))
	c := newClient(t, nil, s)
	s.Lie(cp.EnsembleModel(), func(r *pb.ModelInferResponse) {
		for i, out := range r.GetOutputs() {
			if out.GetName() == "image_embedding" {
				clear(r.RawOutputContents[i])
			}
		}
	})
	_, _, err := c.EmbedAndScore(t.Context(), tritontest.Encoder(), cp, tritontest.Texts(tritontest.Encoder()), images(1))
	wantError(t, err, quality.KindModelBadOutput, "norm")
}

// Outputs may come in any order: they are found by name.
func TestOutputsInAnyOrder(t *testing.T) {
	cp := tritontest.Checkpoint("demo")
	s := tritontest.New(t, tritontest.WithCheckpoints(cp))
	c := newClient(t, nil, s)
	s.Lie(cp.EnsembleModel(), func(r *pb.ModelInferResponse) {
		r.Outputs[0], r.Outputs[2] = r.Outputs[2], r.Outputs[0]
		r.RawOutputContents[0], r.RawOutputContents[2] = r.RawOutputContents[2], r.RawOutputContents[0]
	})
	text := tritontest.Texts(tritontest.Encoder())
	got, _, err := c.EmbedAndScore(t.Context(), tritontest.Encoder(), cp, text, images(1))
	if err != nil {
		t.Fatalf("EmbedAndScore: %v", err)
	}
	want := tritontest.HeadScore(cp, text, tritontest.ImageEmbedding(tritontest.Encoder(), tritontest.Image(0)))
	if got[0] != want {
		t.Errorf("score %+v, want %+v", got[0], want)
	}
}

// A server that returns with other weights gets no work for the old ones.
func TestF09EncoderExchanged(t *testing.T) {
	s := tritontest.New(t)
	c := newClient(t, nil, s)
	if _, err := c.EncodeImages(t.Context(), tritontest.Encoder(), images(1)); err != nil {
		t.Fatalf("before: %v", err)
	}
	other := tritontest.Encoder()
	other.Digest = quality.DigestOf([]byte("another encoder"))
	s.Stop()
	wantConnected(t, c, 0, false)
	s.Exchange(other)
	s.Start()
	wantConnected(t, c, 0, true)
	for range 2 {
		_, err := c.EncodeImages(t.Context(), tritontest.Encoder(), images(1))
		wantError(t, err, quality.KindModelUnavailable, "exchanged")
	}
	wantError(t, c.Check(t.Context(), tritontest.Encoder()), quality.KindModelUnavailable, "exchanged")
	if got := s.Calls(tritontest.ImageEncoder); got != 1 {
		t.Errorf("%d inferences, want only the one before the exchange", got)
	}

	if got, err := c.Describe(t.Context()); err != nil || got != other {
		t.Fatalf("Describe = %+v, %v, want the new encoder", got, err)
	}
	if _, err := c.EncodeImages(t.Context(), other, images(1)); err != nil {
		t.Errorf("once described: %v", err)
	}
}

// Without a restart, a check finds the exchange, of the weights or of how they
// compute.
func TestF09CheckLooksAgain(t *testing.T) {
	for name, exchange := range map[string]func(*quality.Encoder){
		"weights":   func(e *quality.Encoder) { e.Digest = quality.DigestOf([]byte("another encoder")) },
		"precision": func(e *quality.Encoder) { e.Precision = "int8" },
	} {
		t.Run(name, func(t *testing.T) {
			s := tritontest.New(t)
			c := newClient(t, nil, s)
			if err := c.Check(t.Context(), tritontest.Encoder()); err != nil {
				t.Fatalf("Check: %v", err)
			}
			other := tritontest.Encoder()
			exchange(&other)
			s.Exchange(other)
			wantError(t, c.Check(t.Context(), tritontest.Encoder()), quality.KindModelUnavailable, "exchanged")
		})
	}
}

// While one replica has the new encoder and another the old one, each gets the
// work of its own, although their connections were checked before.
func TestF09HalfExchanged(t *testing.T) {
	has, lags := tritontest.New(t), tritontest.New(t)
	c := newClient(t, nil, has, lags)
	wantConnected(t, c, 0, true)
	wantConnected(t, c, 1, true)
	for range 4 {
		if _, err := c.EncodeImages(t.Context(), tritontest.Encoder(), images(1)); err != nil {
			t.Fatalf("before: %v", err)
		}
	}
	other := tritontest.Encoder()
	other.Digest = quality.DigestOf([]byte("another encoder"))
	has.Exchange(other)
	before := lags.Calls(tritontest.ImageEncoder)
	want := tritontest.ImageEmbedding(other, tritontest.Image(0))
	for range 4 {
		got, err := c.EncodeImages(t.Context(), other, images(1))
		if err != nil {
			t.Fatalf("after: %v", err)
		}
		if got[0][0] != want[0] {
			t.Errorf("embedding %v, want the new encoder's %v", got[0], want)
		}
	}
	if got := lags.Calls(tritontest.ImageEncoder); got != before {
		t.Errorf("%d inferences on the old encoder", got-before)
	}
	want, before = tritontest.ImageEmbedding(tritontest.Encoder(), tritontest.Image(0)), has.Calls(tritontest.ImageEncoder)
	for range 4 {
		got, err := c.EncodeImages(t.Context(), tritontest.Encoder(), images(1))
		if err != nil || got[0][0] != want[0] {
			t.Errorf("embedding %v (%v), want the old encoder's %v", got, err, want)
		}
	}
	if got := has.Calls(tritontest.ImageEncoder); got != before {
		t.Errorf("%d inferences on the new encoder", got-before)
	}
}

func TestF10MessageTooLarge(t *testing.T) {
	s := tritontest.New(t)
	c := newClient(t, func(cfg *tritonclient.Config) { cfg.MaxMessageBytes = 400_000 }, s)
	if _, err := c.EncodeImages(t.Context(), tritontest.Encoder(), images(5)); err != nil {
		t.Fatalf("requests are cut to size, but: %v", err)
	}
	s.Lie(tritontest.ImageEncoder, func(r *pb.ModelInferResponse) {
		r.RawOutputContents[0] = make([]byte, 1<<20)
	})
	_, err := c.EncodeImages(t.Context(), tritontest.Encoder(), images(1))
	wantError(t, err, quality.KindModelBadOutput, "size limit")
}

// Health calls answer while inference hangs: only a probe can tell.
func TestF11InferenceStuck(t *testing.T) {
	s := tritontest.New(t)
	c := newClient(t, nil, s)
	if err := c.Check(t.Context(), tritontest.Encoder(), tritontest.ImageEncoder); err != nil {
		t.Fatalf("Check: %v", err)
	}
	defer s.Hold(tritontest.ImageEncoder)()
	if err := c.Live(t.Context()); err != nil {
		t.Errorf("Live: %v", err)
	}
	if err := c.ModelReady(t.Context(), tritontest.ImageEncoder); err != nil {
		t.Errorf("ModelReady: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	wantError(t, c.Check(ctx, tritontest.Encoder(), tritontest.ImageEncoder),
		quality.KindDeadlineExceeded, "did not answer in time")
}

func TestProbeChecksTheEmbedding(t *testing.T) {
	s := tritontest.New(t)
	c := newClient(t, nil, s)
	s.Lie(tritontest.ImageEncoder, func(r *pb.ModelInferResponse) { clear(r.RawOutputContents[0]) })
	wantError(t, c.Probe(t.Context(), tritontest.Encoder()), quality.KindModelBadOutput, "norm")
}

func TestNotLive(t *testing.T) {
	s := tritontest.New(t)
	c := newClient(t, nil, s)
	s.SetLive(false)
	wantError(t, c.Live(t.Context()), quality.KindModelUnavailable, "not live")
	wantError(t, c.Check(t.Context(), tritontest.Encoder()), quality.KindModelUnavailable, "not live")
}

// Check is content with one healthy replica.
func TestCheckNeedsOneReplica(t *testing.T) {
	a, b := tritontest.New(t), tritontest.New(t)
	c := newClient(t, nil, a, b)
	wantConnected(t, c, 0, true)
	wantConnected(t, c, 1, true)
	a.SetLive(false)
	if err := c.Check(t.Context(), tritontest.Encoder()); err != nil {
		t.Errorf("one of two: %v", err)
	}
	b.Fail(tritontest.ImageEncoder, codes.Internal, tritontest.DeadStub)
	if err := c.Check(t.Context(), tritontest.Encoder()); err == nil {
		t.Error("none of two: no error")
	}
}

// The caller's disappearance frees the caller at once, does not reach Triton,
// and does not free the slot before Triton answers.
func TestCallerGone(t *testing.T) {
	s := tritontest.New(t)
	c := newClient(t, func(cfg *tritonclient.Config) { cfg.MaxInFlight = 2 }, s)
	if _, err := c.Describe(t.Context()); err != nil {
		t.Fatalf("Describe: %v", err)
	}
	hold := make(chan struct{})
	saw := make(chan error, 2)
	s.OnInfer(tritontest.ImageEncoder, func(ctx context.Context, _ *pb.ModelInferRequest) error {
		<-hold
		saw <- ctx.Err()
		return nil
	})
	released := sync.OnceFunc(func() { close(hold) })
	defer released()

	for i := range 2 {
		ctx, cancel := context.WithCancelCause(t.Context())
		answer := make(chan error, 1)
		go func() {
			_, err := c.EncodeImages(ctx, tritontest.Encoder(), images(1))
			answer <- err
		}()
		s.WaitCalls(tritontest.ImageEncoder, i+1)
		why := errors.New("the browser was closed")
		cancel(why)
		err := <-answer // although Triton still holds the call
		wantError(t, err, quality.KindClientClosedRequest, "went away")
		if !errors.Is(err, why) {
			t.Errorf("%v does not say why", err)
		}
		if running, abandoned := c.InFlight(); running != i+1 || abandoned != i+1 {
			t.Errorf("in flight %d, abandoned %d, want %d of each", running, abandoned, i+1)
		}
	}

	_, err := c.EncodeImages(t.Context(), tritontest.Encoder(), images(1))
	wantError(t, err, quality.KindOverloaded, "in flight")
	if got := s.Calls(tritontest.ImageEncoder); got != 2 {
		t.Errorf("%d calls arrived, want 2: abandoned ones count", got)
	}

	s.Heal()
	released()
	for range 2 {
		if err := <-saw; err != nil {
			t.Errorf("Triton saw the call end early: %v", err)
		}
	}
	c.WaitIdle(t.Context())
	if running, abandoned := c.InFlight(); running != 0 || abandoned != 0 {
		t.Errorf("in flight %d, abandoned %d, want none", running, abandoned)
	}
	if _, err := c.EncodeImages(t.Context(), tritontest.Encoder(), images(1)); err != nil {
		t.Errorf("with free slots again: %v", err)
	}
}

// A caller may also leave while the client asks what the server holds.
func TestCallerGoneDuringQuestions(t *testing.T) {
	s := tritontest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	c := newClient(t, func(cfg *tritonclient.Config) {
		cfg.DialOptions = append(cfg.DialOptions, grpc.WithUnaryInterceptor(
			func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, call grpc.UnaryInvoker,
				opts ...grpc.CallOption) error {
				cancel()
				return call(ctx, method, req, reply, cc, opts...)
			}))
	}, s)
	_, err := c.EncodeImages(ctx, tritontest.Encoder(), images(1))
	wantError(t, err, quality.KindClientClosedRequest, "went away")
	if got := s.Calls(tritontest.ImageEncoder); got != 0 {
		t.Errorf("%d inferences for a caller that had left", got)
	}
}

// An abandoned call ends by its own deadline even if Triton never answers.
func TestAbandonedCallEnds(t *testing.T) {
	s := tritontest.New(t)
	c := newClient(t, func(cfg *tritonclient.Config) { cfg.RequestTimeout = time.Second }, s)
	defer s.Hold(tritontest.ImageEncoder)()
	ctx, cancel := context.WithCancel(t.Context())
	answer := make(chan error, 1)
	go func() {
		_, err := c.EncodeImages(ctx, tritontest.Encoder(), images(1))
		answer <- err
	}()
	s.WaitCalls(tritontest.ImageEncoder, 1)
	cancel()
	wantError(t, <-answer, quality.KindClientClosedRequest, "")
	c.WaitIdle(t.Context())
	if running, abandoned := c.InFlight(); running != 0 || abandoned != 0 {
		t.Errorf("in flight %d, abandoned %d, want none", running, abandoned)
	}
}

func TestDeadlines(t *testing.T) {
	for _, test := range []struct {
		name     string
		budget   time.Duration // of the caller; 0: no deadline
		wantCall bool
		atMost   time.Duration // of the queue timeout
	}{
		{"the caller's", time.Minute, true, 50 * time.Second},
		{"the default", 0, true, 90 * time.Second},
		{"too little to try", 14 * time.Second, false, 0},
		{"less than the margin", 5 * time.Second, false, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := tritontest.New(t)
			c := newClient(t, func(cfg *tritonclient.Config) {
				cfg.RequestTimeout = 100 * time.Second
				cfg.Margin = 10 * time.Second
				cfg.MinBudget = 5 * time.Second
			}, s)
			if _, err := c.Describe(t.Context()); err != nil {
				t.Fatalf("Describe: %v", err)
			}
			ctx := t.Context()
			if test.budget > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, test.budget)
				defer cancel()
			}
			_, err := c.EncodeImages(ctx, tritontest.Encoder(), images(1))
			request, called := s.Last(tritontest.ImageEncoder)
			if called != test.wantCall {
				t.Fatalf("Triton was called: %v, want %v (%v)", called, test.wantCall, err)
			}
			if !called {
				wantError(t, err, quality.KindDeadlineExceeded, "too little time")
				return
			}
			if err != nil {
				t.Fatalf("EncodeImages: %v", err)
			}
			if got := request.Timeout(); got <= 0 || got > test.atMost {
				t.Errorf("queue timeout %v, want more than 0 and at most %v", got, test.atMost)
			}
			if request.Budget <= request.Timeout() {
				t.Errorf("the call's own deadline, %v, is not after the queue's, %v", request.Budget, request.Timeout())
			}
			if limit := test.atMost + 10*time.Second; request.Budget > limit {
				t.Errorf("the call's own deadline is %v away, want at most the caller's %v", request.Budget, limit)
			}
		})
	}
}

// The replicas share the work.
func TestRoundRobin(t *testing.T) {
	a, b := tritontest.New(t), tritontest.New(t)
	c := newClient(t, nil, a, b)
	wantConnected(t, c, 0, true)
	wantConnected(t, c, 1, true)
	if _, err := c.Describe(t.Context()); err != nil {
		t.Fatalf("Describe: %v", err)
	}
	for range 10 {
		if _, err := c.EncodeImages(t.Context(), tritontest.Encoder(), images(1)); err != nil {
			t.Fatalf("EncodeImages: %v", err)
		}
	}
	if x, y := a.Calls(tritontest.ImageEncoder), b.Calls(tritontest.ImageEncoder); x != 5 || y != 5 {
		t.Errorf("%d and %d calls, want 5 each", x, y)
	}
}

// Many callers, half of whom leave, against a server that fails now and then:
// every call has one outcome of the few allowed, and nothing stays behind.
func TestStorm(t *testing.T) {
	cp := tritontest.Checkpoint("demo")
	s := tritontest.New(t, tritontest.WithCheckpoints(cp))
	c := newClient(t, func(cfg *tritonclient.Config) { cfg.MaxInFlight = 8 }, s)
	if _, err := c.Describe(t.Context()); err != nil {
		t.Fatalf("Describe: %v", err)
	}
	var mu sync.Mutex
	n := 0
	s.OnInfer(cp.EnsembleModel(), func(context.Context, *pb.ModelInferRequest) error {
		mu.Lock()
		defer mu.Unlock()
		if n++; n%5 == 0 {
			return status.Error(codes.Unavailable, tritontest.QueueFull)
		}
		return nil
	})
	text := tritontest.Texts(tritontest.Encoder())
	want := tritontest.HeadScore(cp, text, tritontest.ImageEmbedding(tritontest.Encoder(), tritontest.Image(0)))
	image := images(1)
	outcomes := make(chan quality.Kind, 200)
	var wg sync.WaitGroup
	for i := range cap(outcomes) {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i%2 == 0 {
				go cancel()
			}
			got, _, err := c.EmbedAndScore(ctx, tritontest.Encoder(), cp, text, image)
			if err != nil {
				outcomes <- quality.KindOf(err)
				return
			}
			if got[0] != want {
				t.Errorf("score %+v, want %+v", got[0], want)
			}
			outcomes <- ""
		})
	}
	wg.Wait()
	close(outcomes)
	for kind := range outcomes {
		switch kind {
		case "", quality.KindOverloaded, quality.KindClientClosedRequest:
		default:
			t.Errorf("outcome %s", kind)
		}
	}
	c.WaitIdle(t.Context())
	if running, abandoned := c.InFlight(); running != 0 || abandoned != 0 {
		t.Errorf("in flight %d, abandoned %d, want none", running, abandoned)
	}
}
