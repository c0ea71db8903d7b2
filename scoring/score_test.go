package scoring_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/agiqa/agiqa/internal/metrics/metricstest"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
)

func TestCallsToTriton(t *testing.T) {
	a, b := checkpointOf("a", 1), checkpointOf("b", 2)
	bare := checkpointOf("bare", 3)
	bare.HeadOnly = true
	for _, tc := range []struct {
		name        string
		warm        []string // scored before, so that their embeddings are known
		images      []string
		checkpoints []quality.Checkpoint
		calls       []string // in order of text
		scores      [][]float32
	}{
		{"one image, one checkpoint, nothing known", nil, []string{"good1"}, []quality.Checkpoint{a},
			[]string{"ensemble a +"}, [][]float32{{'1' + 1000}}},
		{"its embedding known: the head alone", []string{"good1"}, []string{"good1"}, []quality.Checkpoint{a},
			[]string{"head a +"}, [][]float32{{'1' + 1000}}},
		{"some known", []string{"good1"}, []string{"good1", "good2", "good3"}, []quality.Checkpoint{a},
			[]string{"ensemble a ++", "head a +"}, [][]float32{{'1' + 1000}, {'2' + 1000}, {'3' + 1000}}},
		{"the same file twice is encoded once", nil, []string{"good1", "good1"}, []quality.Checkpoint{a},
			[]string{"ensemble a +"}, [][]float32{{'1' + 1000}, {'1' + 1000}}},
		{"two checkpoints, one encoder pass", nil, []string{"good1", "good2"}, []quality.Checkpoint{a, b},
			[]string{"encoder++", "head a ++", "head b ++"}, [][]float32{{'1' + 1000, '1' + 2000}, {'2' + 1000, '2' + 2000}}},
		{"two checkpoints, all known: no encoder", []string{"good1"}, []string{"good1"}, []quality.Checkpoint{a, b},
			[]string{"head a +", "head b +"}, [][]float32{{'1' + 1000, '1' + 2000}}},
		{"no ensemble: encoder, then head", nil, []string{"good1", "good2"}, []quality.Checkpoint{bare},
			[]string{"encoder++", "head bare ++"}, [][]float32{{'1' + 3000}, {'2' + 3000}}},
		{"no ensemble, all known: the head alone", []string{"good1"}, []string{"good1"}, []quality.Checkpoint{bare},
			[]string{"head bare +"}, [][]float32{{'1' + 3000}}},
		{"no ensemble, some known", []string{"good1"}, []string{"good1", "good2"}, []quality.Checkpoint{bare},
			[]string{"encoder+", "head bare ++"}, [][]float32{{'1' + 3000}, {'2' + 3000}}},
		{"one image is at fault", nil, []string{"bad", "good2"}, []quality.Checkpoint{a},
			[]string{"ensemble a +"}, [][]float32{nil, {'2' + 1000}}},
		{"all are at fault: Triton is not asked", nil, []string{"bad", "worse"},
			[]quality.Checkpoint{a}, nil, [][]float32{nil, nil}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bench := newBench(t, scoring.DefaultConfig())
			if tc.warm != nil {
				if _, err := bench.service.Score(t.Context(),
					scoring.Request{Items: items(tc.warm...), Checkpoints: []quality.Checkpoint{a}}); err != nil {
					t.Fatal(err)
				}
				bench.triton.calls = nil
			}
			got, err := bench.service.Score(t.Context(),
				scoring.Request{Items: items(tc.images...), Checkpoints: tc.checkpoints})
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(bench.triton.calls)
			if diff := cmp.Diff(tc.calls, bench.triton.calls); diff != "" {
				t.Errorf("calls to Triton (-want +got):\n%s", diff)
			}
			var scores [][]float32
			for i, r := range got.Results {
				var row []float32
				for k, v := range r.Scores {
					row = append(row, v.Score)
					if v.Checkpoint != tc.checkpoints[k] {
						t.Errorf("score %d of image %d is %s's, want %s's", k, i, v.Checkpoint.Name, tc.checkpoints[k].Name)
					}
				}
				scores = append(scores, row)
				if wantCached := slices.Contains(tc.warm, tc.images[i]); r.Err == nil && r.EmbeddingCached != wantCached {
					t.Errorf("image %d: cached %t, want %t", i, r.EmbeddingCached, wantCached)
				}
				if (r.Err != nil) != (row == nil) {
					t.Errorf("image %d: err %v with scores %v", i, r.Err, row)
				}
			}
			if diff := cmp.Diff(tc.scores, scores); diff != "" {
				t.Errorf("scores (-want +got):\n%s", diff)
			}
		})
	}
}

func TestKnownEmbeddingsAreNotDecoded(t *testing.T) {
	b := newBench(t, scoring.DefaultConfig())
	req := scoring.Request{Items: items("good1"), Checkpoints: []quality.Checkpoint{checkpointOf("a", 1)}}
	for range 3 {
		if _, err := b.service.Score(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
	if b.preparer.decoded != 1 {
		t.Errorf("decoded %d times, want 1", b.preparer.decoded)
	}
}

func TestErrorsOfTheCall(t *testing.T) {
	unavailable := quality.Errorf(quality.KindModelUnavailable, "gone")
	for _, tc := range []struct {
		name  string
		setup func(b *bench)
		c     quality.Checkpoint
		want  quality.Kind
	}{
		{"no encoder yet", func(b *bench) { b.service.Use(nil) }, checkpointOf("a", 1), quality.KindModelUnavailable},
		{"checkpoint of another encoder", func(*bench) {}, quality.Checkpoint{Name: "x", Encoder: quality.Digest{9}},
			quality.KindEncoderMismatch},
		{"Triton is gone", func(b *bench) { b.triton.fail = func(string) error { return unavailable } }, checkpointOf("a", 1),
			quality.KindModelUnavailable},
		{"text embeddings fail", func(b *bench) {
			b.texts = func(context.Context, quality.Checkpoint) (quality.TextEmbeddings, bool, error) {
				return quality.TextEmbeddings{}, false, unavailable
			}
		}, checkpointOf("a", 1), quality.KindModelUnavailable},
		{"an unclassified error stays internal",
			func(b *bench) { b.triton.fail = func(string) error { return errors.New("boom") } },
			checkpointOf("a", 1), quality.KindInternal},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, scoring.DefaultConfig())
			tc.setup(b)
			_, err := b.service.Score(t.Context(),
				scoring.Request{Items: items("good1"), Checkpoints: []quality.Checkpoint{tc.c}})
			if got := quality.KindOf(err); err == nil || got != tc.want {
				t.Errorf("error %v of kind %s, want %s", err, got, tc.want)
			}
		})
	}
}

func TestAFailedCallLeavesNothingInTheCache(t *testing.T) {
	b := newBench(t, scoring.DefaultConfig())
	b.triton.fail = func(string) error { return quality.Errorf(quality.KindModelBadOutput, "NaN") }
	_, _ = b.service.Score(t.Context(),
		scoring.Request{Items: items("good1"), Checkpoints: []quality.Checkpoint{checkpointOf("a", 1)}})
	if len(b.cache.m) != 0 {
		t.Errorf("cache holds %v", b.cache.m)
	}
}

func TestDeadlineDuringDecodingEndsTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, scoring.DefaultConfig())
		b.preparer.prepare = func(ctx context.Context, _ []byte) error { <-ctx.Done(); return ctx.Err() }
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := b.service.Score(ctx,
			scoring.Request{Items: items("good1", "good2"), Checkpoints: []quality.Checkpoint{checkpointOf("a", 1)}})
		if got := quality.KindOf(err); got != quality.KindDeadlineExceeded {
			t.Errorf("error %v of kind %s, want deadline_exceeded", err, got)
		}
	})
}

func TestAdmission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, scoring.Config{Concurrency: 1, Queue: 1, RetryAfter: 2 * time.Second})
		hold := make(chan struct{})
		b.preparer.prepare = func(context.Context, []byte) error { <-hold; return nil }
		req := scoring.Request{Items: items("good1"), Checkpoints: []quality.Checkpoint{checkpointOf("a", 1)}}
		done := make(chan error, 2)
		for range 2 { // one works, one waits
			go func() { _, err := b.service.Score(t.Context(), req); done <- err }()
		}
		synctest.Wait()

		_, err := b.service.Score(t.Context(), req)
		e, ok := errors.AsType[*quality.Error](err)
		if !ok || e.Kind != quality.KindOverloaded || e.RetryAfter != 2*time.Second {
			t.Errorf("third request: %v, want overloaded with advice to come back in 2s", err)
		}

		close(hold)
		for range 2 {
			if err := <-done; err != nil {
				t.Errorf("admitted request failed: %v", err)
			}
		}
		if _, err := b.service.Score(t.Context(), req); err != nil {
			t.Errorf("after the rush: %v", err)
		}
	})
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, scoring.Config{Concurrency: 1, Queue: 1, RetryAfter: time.Second})
		hold := make(chan struct{})
		b.preparer.prepare = func(context.Context, []byte) error { <-hold; return nil }
		req := scoring.Request{Items: items("good1"), Checkpoints: []quality.Checkpoint{checkpointOf("a", 1)}}
		first := make(chan error, 1)
		go func() { _, err := b.service.Score(t.Context(), req); first <- err }()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		second := make(chan error, 1)
		go func() { _, err := b.service.Score(ctx, req); second <- err }()
		synctest.Wait()
		cancel()
		if err := <-second; quality.KindOf(err) != quality.KindClientClosedRequest {
			t.Errorf("waiting request: %v, want client_closed_request", err)
		}
		third := make(chan error, 1) // its place is free again
		go func() { _, err := b.service.Score(t.Context(), req); third <- err }()
		synctest.Wait()
		close(hold)
		for _, c := range []chan error{first, third} {
			if err := <-c; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestSpansAndMetrics(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	reader := sdkmetric.NewManualReader()
	meter := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	triton := &fakeTriton{}
	service, err := scoring.New(scoring.DefaultConfig(),
		scoring.Deps{Preparer: &fakePreparer{}, Triton: triton, Tracer: tracer, Meter: meter})
	if err != nil {
		t.Fatal(err)
	}
	service.Use(&scoring.Models{Encoder: encoder,
		Texts: textsFunc(func(context.Context, quality.Checkpoint) (quality.TextEmbeddings, bool, error) {
			return quality.TextEmbeddings{}, true, nil
		})})
	response, err := service.Score(t.Context(),
		scoring.Request{Items: items("good1", "bad", "good2"), Checkpoints: []quality.Checkpoint{checkpointOf("a", 1)}})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range spans.Ended() {
		names = append(names, s.Name())
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"admission", "ensemble", "inspect", "prepare", "texts"}, names); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
	stages := response.Timings.Stages()
	for _, s := range []scoring.Stage{scoring.StageAdmission, scoring.StagePrepare,
		scoring.StageTexts, scoring.StageEnsemble} {
		if _, ok := stages[s]; !ok {
			t.Errorf("no time for stage %s in %v", s, stages)
		}
	}
	want := map[string]int64{"format=png,outcome=ok": 2, "format=unknown,outcome=unsupported_image_format": 1}
	if diff := cmp.Diff(want, metricstest.Values(t, reader, "agiqa.images")); diff != "" {
		t.Errorf("agiqa.images (-want +got):\n%s", diff)
	}
}

// Images of a request that fails as a whole count with its error, however many
// checkpoints it has.
func TestImagesOfAFailedRequestAreNotOK(t *testing.T) {
	a, b := checkpointOf("a", 1), checkpointOf("b", 2)
	for _, checkpoints := range [][]quality.Checkpoint{{a}, {a, b}} {
		bench, reader := measured(t, scoring.DefaultConfig())
		bench.triton.fail = func(string) error { return quality.Errorf(quality.KindModelUnavailable, "gone") }
		request := scoring.Request{Items: items("good1", "good2", "bad"), Checkpoints: checkpoints}
		if _, err := bench.service.Score(t.Context(), request); quality.KindOf(err) != quality.KindModelUnavailable {
			t.Fatalf("error %v, want model_unavailable", err)
		}
		want := map[string]int64{
			"format=png,outcome=model_unavailable":            2,
			"format=unknown,outcome=unsupported_image_format": 1,
		}
		if diff := cmp.Diff(want, metricstest.Values(t, reader, "agiqa.images")); diff != "" {
			t.Errorf("%d checkpoints: agiqa.images (-want +got):\n%s", len(checkpoints), diff)
		}
	}
}

func TestPromptEncoder(t *testing.T) {
	var seen quality.Prompts
	p := scoring.PromptEncoder{
		Assembler: assembler(6),
		Encoder: textEncoderFunc(func(prompts quality.Prompts) ([]quality.Embedding, error) {
			seen = prompts
			out := make([]quality.Embedding, prompts.N)
			for i := range out {
				out[i] = quality.Embedding{float32(i)}
			}
			return out, nil
		}),
	}
	text, err := p.EmbedPrompts(t.Context(), quality.Encoder{}, checkpointOf("a", 1))
	if err != nil || text[5][0] != 5 || seen.N != 6 {
		t.Errorf("EmbedPrompts = %v, %v after %d prompts", text, err, seen.N)
	}
	p.Encoder = textEncoderFunc(func(quality.Prompts) ([]quality.Embedding,
		error) {
		return make([]quality.Embedding, 5), nil
	})
	if _, err := p.EmbedPrompts(t.Context(), quality.Encoder{},
		checkpointOf("a", 1)); quality.KindOf(err) != quality.KindModelBadOutput {
		t.Errorf("five embeddings: %v, want model_bad_output", err)
	}
	if _, err := p.EmbedPrompt(t.Context(), quality.Encoder{TextWidth: 4}, "a cat"); quality.KindOf(err) !=
		quality.KindModelBadOutput {
		t.Errorf("five embeddings for a prompt: %v, want model_bad_output", err)
	}
	p.Encoder = textEncoderFunc(func(prompts quality.Prompts) ([]quality.Embedding, error) {
		seen = prompts
		return []quality.Embedding{{7}}, nil
	})
	e, err := p.EmbedPrompt(t.Context(), quality.Encoder{TextWidth: 4}, "a cat")
	if err != nil || e[0] != 7 || seen.N != 1 || seen.L != len("a cat") || seen.W != 4 {
		t.Errorf("EmbedPrompt = %v, %v after %+v", e, err, seen)
	}
}

// assembler gives so many prompts for a checkpoint, and one for a picture.
type assembler int

func (a assembler) Prompts(quality.Checkpoint) (quality.Prompts, error) {
	return quality.Prompts{N: int(a)}, nil
}

func (a assembler) PicturePrompt(enc quality.Encoder, prompt string) (quality.Prompts, error) {
	return quality.Prompts{N: 1, L: len(prompt), W: enc.TextWidth}, nil
}

type textEncoderFunc func(quality.Prompts) ([]quality.Embedding, error)

func (f textEncoderFunc) EncodePrompts(_ context.Context, _ quality.Encoder,
	p quality.Prompts) ([]quality.Embedding, error) {
	return f(p)
}
