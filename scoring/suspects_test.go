package scoring_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
)

var errAway = quality.Errorf(quality.KindModelUnavailable, "cannot be reached").After(time.Second)

// lose is a server that is lost with a call.
func lose(ctx context.Context, alone bool) error {
	p, _ := quality.PassageOf(ctx)
	p.Lost(alone)
	return errAway
}

// deadly makes the images whose first pixels are given kill the server. A call
// that asked to be alone is; whether others are, is for company to say.
func deadly(company bool, pixels ...byte) func(context.Context, []quality.Pixels) error {
	return func(ctx context.Context, images []quality.Pixels) error {
		p, _ := quality.PassageOf(ctx)
		for _, image := range images {
			if slices.Contains(pixels, image.Bytes()[0]) {
				return lose(ctx, p.Alone || !company)
			}
		}
		return nil
	}
}

func (b *bench) withoutCache() {
	with := b.models
	with.Embeddings = nil
	b.service.Use(&with)
}

// What leads to quarantine, and what does not. Each word is a request for the
// same image and what comes of it at the server; "wait" passes.
func TestQuarantine(t *testing.T) {
	outcomes := map[string]func(ctx context.Context) error{
		"ok":       func(context.Context) error { return nil },
		"alone":    func(ctx context.Context) error { return lose(ctx, true) },
		"company":  func(ctx context.Context) error { return lose(ctx, false) },
		"away":     func(context.Context) error { return errAway },
		"full":     func(context.Context) error { return quality.Errorf(quality.KindOverloaded, "full") },
		"late":     func(context.Context) error { return quality.Errorf(quality.KindDeadlineExceeded, "late") },
		"nonsense": func(context.Context) error { return quality.Errorf(quality.KindModelBadOutput, "nonsense") },
	}
	for _, tc := range []struct {
		story string
		want  bool
	}{
		{"alone", false},
		{"alone alone", true},
		{"company alone alone", true},
		{"alone company alone", true},
		{"alone away late full nonsense alone", true}, // none of them is a sign of life with this image
		{"company company company company", false},
		{"company alone", false},
		{"away away away", false},
		{"late late late", false},
		{"full full full", false},
		{"nonsense nonsense nonsense", false},
		{"alone ok alone", false},
		{"alone wait=9m59s alone", true},
		{"alone wait=10m alone", false},
		{"alone alone wait=59s", true},
		{"alone alone wait=60s", false},
		{"alone alone wait=60s alone", true}, // one loss more is enough
		{"alone alone wait=60s company", false},
		{"alone alone wait=60s ok alone", false},
	} {
		t.Run(tc.story, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, scoring.DefaultConfig())
				b.withoutCache()
				for _, word := range strings.Fields(tc.story) {
					if wait, ok := strings.CutPrefix(word, "wait="); ok {
						d, err := time.ParseDuration(wait)
						if err != nil {
							t.Fatal(err)
						}
						time.Sleep(d)
						continue
					}
					calls := len(b.triton.calls)
					b.triton.meet = func(ctx context.Context, _ []quality.Pixels) error { return outcomes[word](ctx) }
					if _, err := b.service.Score(t.Context(), requestOf("good1")); quality.KindOf(err) == quality.KindImageQuarantined || len(b.triton.calls) != calls+1 {
						t.Fatalf("at %q: %v, and %d calls", word, err, len(b.triton.calls)-calls)
					}
				}
				b.triton.meet = nil
				decoded, calls := b.preparer.decoded, len(b.triton.calls)
				got, err := b.service.Score(t.Context(), requestOf("good1"))
				if err != nil {
					t.Fatal(err)
				}
				e, quarantined := errors.AsType[*quality.Error](got.Results[0].Err)
				if quarantined != tc.want || quarantined && e.Kind != quality.KindImageQuarantined {
					t.Fatalf("the image's error is %v, want quarantine: %v", got.Results[0].Err, tc.want)
				}
				if quarantined && (b.preparer.decoded != decoded || len(b.triton.calls) != calls || e.RetryAfter <= 0 || e.RetryAfter > time.Minute) {
					t.Errorf("retry after %s, decoded %d times, calls %q", e.RetryAfter, b.preparer.decoded-decoded, b.triton.calls[calls:])
				}
			})
		})
	}
}

// F39: one image kills the server whenever it arrives, joined with others. They
// are cleared, and none of them waits for its quarantine to end.
func TestF39PoisonInABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBatchRig(t, 8)
		r.withoutCache()
		r.triton.meet = deadly(true, 'D')
		wantKinds := func(errs []error, want string) {
			t.Helper()
			var kinds []string
			for _, err := range errs {
				kind := "ok"
				if err != nil {
					kind = string(quality.KindOf(err))
				}
				kinds = append(kinds, kind)
			}
			if got := strings.Join(kinds, " "); got != want {
				t.Errorf("the requests ended with\n%s, want\n%s", got, want)
			}
		}
		// Two go alone at once; the rest is a batch, with the poison in it.
		wantKinds(r.rush(t, 6, always(t)), "ok ok model_unavailable model_unavailable model_unavailable model_unavailable")
		r.triton.calls = nil
		// Those of the batch are suspects: each is sent alone.
		wantKinds(r.rush(t, 6, always(t)), "ok ok ok model_unavailable ok ok")
		if slices.ContainsFunc(r.triton.calls, func(c string) bool { return strings.HasSuffix(c, "++") }) {
			t.Errorf("calls %q: suspects were joined", r.triton.calls)
		}
		// The others go together again. Only the poison is left.
		wantKinds(r.rush(t, 6, always(t)), "ok ok ok model_unavailable ok ok")
		r.triton.calls = nil
		got, err := r.service.Score(t.Context(), scoring.Request{Items: items("goodA", "goodD", "goodE"), Checkpoints: []quality.Checkpoint{checkpointOf("a", 1)}})
		if err != nil {
			t.Fatal(err)
		}
		wantKinds([]error{got.Results[0].Err, got.Results[1].Err, got.Results[2].Err}, "ok image_quarantined ok")
		if want := []string{"ensemble a ++"}; !slices.Equal(r.triton.calls, want) {
			t.Errorf("calls %q, want %q", r.triton.calls, want)
		}
		if got := counter(t, r.reader, "agiqa.images.quarantined")[0].Value; got != 1 {
			t.Errorf("agiqa.images.quarantined is %d, want 1", got)
		}
	})
}

// Several images in one request, one of which is poison: the others have their
// scores from the second attempt on, whatever their order, and by whichever call.
func TestPoisonAmongTheImagesOfARequest(t *testing.T) {
	for name, checkpoints := range map[string][]quality.Checkpoint{
		"ensemble": {checkpointOf("a", 1)}, "encoder": {checkpointOf("a", 1), checkpointOf("b", 2)},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, scoring.DefaultConfig())
			b.withoutCache()
			dead := false
			b.triton.meet = func(ctx context.Context, images []quality.Pixels) error {
				if dead {
					return errAway
				}
				err := deadly(false, '2')(ctx, images)
				dead = err != nil
				return err
			}
			attempt := func() ([]scoring.ImageResult, error) {
				dead = false // it was started again
				got, err := b.service.Score(t.Context(), scoring.Request{Items: items("good1", "good2", "good3"), Checkpoints: checkpoints})
				return got.Results, err
			}
			if _, err := attempt(); quality.KindOf(err) != quality.KindModelUnavailable {
				t.Errorf("first attempt: %v", err)
			}
			// 1 and 2 are tried, 3 finds the server gone.
			second, err := attempt()
			if err != nil {
				t.Fatal(err)
			}
			// 2 has a loss by now, so that 3 is tried before it.
			third, err := attempt()
			if err != nil {
				t.Fatal(err)
			}
			last, err := attempt()
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range []string{
				"- model_unavailable model_unavailable", "- model_unavailable -", "- image_quarantined -",
			} {
				var got []string
				for _, r := range [][]scoring.ImageResult{second, third, last}[i] {
					kind := "-"
					if r.Err != nil {
						kind = string(quality.KindOf(r.Err))
					}
					got = append(got, kind)
				}
				if strings.Join(got, " ") != want {
					t.Errorf("attempt %d: %v, want %s", i+2, got, want)
				}
			}
		})
	}
}

// Those that follow a leader send the poison once more at most.
func TestFollowersDoNotResendPoison(t *testing.T) {
	for _, company := range []bool{false, true} {
		t.Run(fmt.Sprintf("company=%v", company), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, scoring.DefaultConfig())
				b.slow(100 * time.Millisecond)
				b.triton.meet = deadly(company, '1')
				responses, errs := coalesced(t, b, 20, func(int) (scoring.Response, error) {
					return b.service.Score(t.Context(), requestOf("good1"))
				})
				for i, err := range errs {
					if err == nil {
						err = responses[i].Results[0].Err
					}
					if kind := quality.KindOf(err); kind != quality.KindModelUnavailable && kind != quality.KindImageQuarantined {
						t.Errorf("request %d: %v", i, err)
					}
				}
				if len(b.triton.calls) != 2 {
					t.Errorf("the poison was sent %d times: %q, want by the leader and one follower", len(b.triton.calls), b.triton.calls)
				}
			})
		})
	}
}

// An innocent image that a server was lost with goes to another one by its
// followers, who all get it.
func TestFollowersClearAnInnocentImage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, scoring.DefaultConfig())
		b.slow(100 * time.Millisecond)
		killed := false
		b.triton.meet = func(ctx context.Context, _ []quality.Pixels) error {
			if killed {
				return nil
			}
			killed = true
			return lose(ctx, true)
		}
		_, errs := coalesced(t, b, 20, func(int) (scoring.Response, error) { return b.service.Score(t.Context(), requestOf("good1")) })
		for i, err := range errs {
			if (err != nil) != (i == 0) {
				t.Errorf("request %d: %v", i, err)
			}
		}
	})
}

// A poison whose sender does not wait is found out all the same.
func TestPoisonOfImpatientClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBatchRig(t, 8)
		r.withoutCache()
		lost := 0
		r.triton.meet = func(ctx context.Context, images []quality.Pixels) error { // of the calls, which go on
			if err := deadly(false, 'C')(context.WithoutCancel(ctx), images); err != nil {
				lost++
				return err
			}
			return nil
		}
		for round := range 5 {
			errs := r.rush(t, 4, func(i int) context.Context {
				ctx, leave := context.WithTimeout(t.Context(), 150*time.Millisecond)
				context.AfterFunc(t.Context(), leave)
				if i == 2 { // leaves when the batch is under way
					return ctx
				}
				return t.Context()
			})
			if round == 0 && quality.KindOf(errs[2]) != quality.KindDeadlineExceeded {
				t.Fatalf("the client did not leave: %v", errs[2])
			}
		}
		if lost != 3 {
			t.Errorf("servers were lost %d times, want once in company and twice alone", lost)
		}
	})
}

// What is remembered is bounded: the oldest suspicion goes first.
func TestSuspicionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, scoring.DefaultConfig())
		b.triton.meet = func(ctx context.Context, _ []quality.Pixels) error { return lose(ctx, true) }
		score := func(name string) quality.Kind {
			got, err := b.service.Score(t.Context(), requestOf(name))
			if err == nil {
				err = got.Results[0].Err
			}
			return quality.KindOf(err)
		}
		score("good first")
		for i := range 4096 {
			time.Sleep(time.Millisecond)
			score(fmt.Sprintf("good %d", i))
		}
		score("good first") // forgotten: its first loss again
		score("good 4095")  // its second
		if kind := score("good first"); kind != quality.KindModelUnavailable {
			t.Errorf("the oldest: %s, want it to be tried", kind)
		}
		if kind := score("good 4095"); kind != quality.KindImageQuarantined {
			t.Errorf("the latest: %s, want quarantine", kind)
		}
	})
}

// Whoever watches learns which image it is.
func TestQuarantineIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		spans := tracetest.NewSpanRecorder()
		reader := sdkmetric.NewManualReader()
		tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
		b := &bench{preparer: &fakePreparer{}, triton: &fakeTriton{}}
		service, err := scoring.New(scoring.DefaultConfig(), scoring.Deps{
			Preparer: b.preparer, Triton: b.triton, Tracer: tracer, Logger: slog.New(slog.NewJSONHandler(&log, nil)),
			Meter: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)),
		})
		if err != nil {
			t.Fatal(err)
		}
		service.Use(&scoring.Models{Encoder: encoder, Texts: textsFunc(func(context.Context, quality.Checkpoint) (quality.TextEmbeddings, bool, error) {
			return quality.TextEmbeddings{}, true, nil
		})})
		b.triton.meet = deadly(false, '1')
		for range 3 {
			ctx, span := tracer.Tracer("test").Start(t.Context(), "request")
			_, _ = service.Score(ctx, requestOf("good1"))
			span.End()
		}
		var record map[string]any
		digest := quality.DigestOf([]byte("good1"))
		if err := json.Unmarshal(log.Bytes(), &record); err != nil || record["image"] != digest.String() || record["level"] != "WARN" {
			t.Errorf("the log says %s (%v)", log.String(), err)
		}
		if got := counter(t, reader, "agiqa.images.quarantined")[0].Value; got != 1 {
			t.Errorf("agiqa.images.quarantined is %d, want 1", got)
		}
		var requests []sdktrace.ReadOnlySpan
		suspects := 0
		for _, s := range spans.Ended() {
			if s.Name() == "request" {
				requests = append(requests, s)
			}
			if slices.Contains(s.Attributes(), attribute.Bool("agiqa.image.suspect", true)) {
				suspects++
			}
		}
		if suspects != 1 {
			t.Errorf("%d spans of a suspect's call, want the second one", suspects)
		}
		if e := requests[1].Events(); len(e) != 1 || e[0].Name != "image.quarantined" || !slices.Contains(e[0].Attributes, attribute.String("agiqa.image.sha256", digest.Hex())) {
			t.Errorf("events of the second request: %v", e)
		}
		if !slices.Contains(requests[2].Attributes(), attribute.Int("agiqa.images.quarantined", 1)) {
			t.Errorf("attributes of the third request: %v", requests[2].Attributes())
		}
	})
}
