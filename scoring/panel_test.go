package scoring_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/agiqa/agiqa/internal/metrics/metricstest"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
)

var nan = float32(math.NaN())

// scoresOf returns the scores of an answer as text, a kind where there is none.
func scoresOf(r scoring.Response) []string {
	var out []string
	for _, image := range r.Results {
		var line []string
		for _, v := range image.Scores {
			if v.Err != nil {
				line = append(line, string(quality.KindOf(v.Err)))
			} else {
				line = append(line, fmt.Sprint(v.Score))
			}
		}
		if image.Err != nil {
			line = append(line, "image: "+string(quality.KindOf(image.Err)))
		}
		out = append(out, strings.Join(line, " "))
	}
	return out
}

func TestSeveralCheckpoints(t *testing.T) {
	a, b, c := checkpointOf("a", 1), checkpointOf("b", 2), checkpointOf("c", 3)
	gone := quality.Errorf(quality.KindModelUnavailable, "not loaded")
	only := func(err error, models ...string) func(string) error {
		return func(model string) error {
			if slices.ContainsFunc(models, func(m string) bool { return strings.HasPrefix(model, m) }) {
				return err
			}
			return nil
		}
	}
	for _, tc := range []struct {
		name   string
		panel  []quality.Checkpoint // that is ready
		warm   bool
		fail   func(model string) error
		spoil  func(rows [][]quality.HeadScore)
		texts  func(c quality.Checkpoint) error
		ask    []quality.Checkpoint
		calls  []string // in order of text
		want   []string // of good1 and good2; nil: the request fails
		kind   quality.Kind
		failed int // panels that were said to have failed
		asked  int // texts
	}{
		{name: "a panel of the set: two calls, no texts", panel: []quality.Checkpoint{a, b}, ask: []quality.Checkpoint{a, b},
			calls: []string{"encoder++", "panel ab ++"}, want: []string{"1049 2049", "1050 2050"}},
		{name: "known images: one call", panel: []quality.Checkpoint{a, b}, warm: true, ask: []quality.Checkpoint{a, b},
			calls: []string{"panel ab ++"}, want: []string{"1049 2049", "1050 2050"}},
		{name: "the request's order, not the panel's", panel: []quality.Checkpoint{b, a}, warm: true,
			ask:   []quality.Checkpoint{a, b},
			calls: []string{"panel ba ++"}, want: []string{"1049 2049", "1050 2050"}},
		{name: "columns of a larger panel", panel: []quality.Checkpoint{b, c, a}, warm: true, ask: []quality.Checkpoint{a, c},
			calls: []string{"panel bca ++"}, want: []string{"1049 3049", "1050 3050"}},
		{name: "not covered: heads", panel: []quality.Checkpoint{a, b}, warm: true,
			ask: []quality.Checkpoint{a, b, c}, asked: 3,
			calls: []string{"head a ++", "head b ++", "head c ++"}, want: []string{"1049 2049 3049", "1050 2050 3050"}},
		{name: "one checkpoint needs no panel", panel: []quality.Checkpoint{a, b}, warm: true,
			ask: []quality.Checkpoint{a}, asked: 1,
			calls: []string{"head a ++"}, want: []string{"1049", "1050"}},
		{name: "the panel's model is gone: heads, once", panel: []quality.Checkpoint{a, b}, warm: true,
			ask:  []quality.Checkpoint{a, b},
			fail: only(gone, "panel"), failed: 1, asked: 2,
			calls: []string{"head a ++", "head b ++", "panel ab ++"}, want: []string{"1049 2049", "1050 2050"}},
		{name: "everything is gone", panel: []quality.Checkpoint{a, b}, warm: true, ask: []quality.Checkpoint{a, b},
			fail: only(gone, "panel", "head"), failed: 1, asked: 2,
			calls: []string{"head a ++", "head b ++", "panel ab ++"}, kind: quality.KindModelUnavailable},
		{name: "overload is not answered with more work", panel: []quality.Checkpoint{a, b}, warm: true,
			ask:   []quality.Checkpoint{a, b},
			fail:  only(quality.Errorf(quality.KindOverloaded, "full"), "panel"),
			calls: []string{"panel ab ++"}, kind: quality.KindOverloaded},
		{name: "one column is no number", panel: []quality.Checkpoint{a, b}, warm: true, ask: []quality.Checkpoint{a, b},
			spoil: func(rows [][]quality.HeadScore) { rows[0][1].Score = nan; rows[1][1].Similarity[5] = nan },
			calls: []string{"panel ab ++"}, want: []string{"1049 model_bad_output", "1050 model_bad_output"}},
		{name: "a column that nobody asked for is no number", panel: []quality.Checkpoint{a, b, c}, warm: true,
			ask:   []quality.Checkpoint{a, b},
			spoil: func(rows [][]quality.HeadScore) { rows[0][2].Score = nan },
			calls: []string{"panel abc ++"}, want: []string{"1049 2049", "1050 2050"}},
		{name: "one image has no number at all", panel: []quality.Checkpoint{a, b}, warm: true,
			ask:   []quality.Checkpoint{a, b},
			spoil: func(rows [][]quality.HeadScore) { rows[0][0].Score, rows[0][1].Score = nan, nan },
			calls: []string{"panel ab ++"}, want: []string{"image: model_bad_output", "1050 2050"}},
		{name: "no number anywhere: the panel is not believed", panel: []quality.Checkpoint{a, b}, warm: true,
			ask: []quality.Checkpoint{a, b},
			spoil: func(rows [][]quality.HeadScore) {
				for i := range rows {
					rows[i][0].Score, rows[i][1].Score = nan, nan
				}
			}, failed: 1, asked: 2,
			calls: []string{"head a ++", "head b ++", "panel ab ++"}, want: []string{"1049 2049", "1050 2050"}},
		{name: "one head fails alone", warm: true, ask: []quality.Checkpoint{a, b}, asked: 2, fail: only(gone, "head b"),
			calls: []string{"head a ++", "head b ++"}, want: []string{"1049 model_unavailable", "1050 model_unavailable"}},
		{name: "the texts of one fail", warm: true, ask: []quality.Checkpoint{a, b}, asked: 2,
			texts: func(c quality.Checkpoint) error {
				if c == b {
					return gone
				}
				return nil
			},
			calls: []string{"head a ++"}, want: []string{"1049 model_unavailable", "1050 model_unavailable"}},
		{name: "the texts of all fail", warm: true, ask: []quality.Checkpoint{a, b}, asked: 2,
			texts: func(quality.Checkpoint) error { return gone }, kind: quality.KindModelUnavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bench := newBench(t, scoring.DefaultConfig())
			if tc.warm {
				req := scoring.Request{Items: items("good1", "good2"), Checkpoints: []quality.Checkpoint{a}}
				if _, err := bench.service.Score(t.Context(), req); err != nil {
					t.Fatal(err)
				}
				bench.triton.calls = nil
			}
			panels := &fakePanels{}
			if tc.panel != nil {
				panels = bench.usePanel(t, tc.panel...)
			}
			asked := make(chan quality.Checkpoint, 16)
			bench.texts = func(_ context.Context, c quality.Checkpoint) (quality.TextEmbeddings, bool, error) {
				asked <- c
				if tc.texts != nil {
					return quality.TextEmbeddings{}, false, tc.texts(c)
				}
				return quality.TextEmbeddings{}, false, nil
			}
			bench.triton.fail, bench.triton.spoil = tc.fail, tc.spoil
			got, err := bench.service.Score(t.Context(), scoring.Request{Items: items("good1", "good2"), Checkpoints: tc.ask})
			if tc.kind != "" && quality.KindOf(err) != tc.kind || tc.kind == "" && err != nil {
				t.Fatalf("error %v, want one of kind %q", err, tc.kind)
			}
			if diff := cmp.Diff(tc.want, scoresOf(got)); diff != "" {
				t.Errorf("scores (-want +got):\n%s", diff)
			}
			slices.Sort(bench.triton.calls)
			if diff := cmp.Diff(tc.calls, bench.triton.calls); diff != "" {
				t.Errorf("calls to Triton (-want +got):\n%s", diff)
			}
			if len(asked) != tc.asked {
				t.Errorf("%d texts were asked for, want %d", len(asked), tc.asked)
			}
			if len(panels.failed) != tc.failed {
				t.Errorf("%d panels were said to have failed, want %d", len(panels.failed), tc.failed)
			}
			for i, r := range got.Results {
				for k, v := range r.Scores {
					if v.Checkpoint != tc.ask[k] {
						t.Errorf("score %d of image %d is %s's, want %s's", k, i, v.Checkpoint.Name, tc.ask[k].Name)
					}
					if v.Err != nil && v.HeadScore != (quality.HeadScore{}) {
						t.Errorf("score %d of image %d has an error and the score %v", k, i, v.Score)
					}
					if want := tc.asked == 0; v.TextCached != want {
						t.Errorf("score %d of image %d: texts cached %t, want %t", k, i, v.TextCached, want)
					}
				}
			}
		})
	}
}

// TestPanelIsAStage: span, metric and timing bear its name.
func TestPanelIsAStage(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	reader := sdkmetric.NewManualReader()
	triton := &fakeTriton{spoil: func(rows [][]quality.HeadScore) { rows[0][1].Score = nan }}
	service, err := scoring.New(scoring.DefaultConfig(), scoring.Deps{
		Preparer: &fakePreparer{}, Triton: triton,
		Tracer: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)),
		Meter:  sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)),
	})
	if err != nil {
		t.Fatal(err)
	}
	a, b, c := checkpointOf("a", 1), checkpointOf("b", 2), checkpointOf("c", 3)
	panel, err := quality.NewPanel("test/1", []quality.Checkpoint{a, b, c})
	if err != nil {
		t.Fatal(err)
	}
	service.Use(&scoring.Models{Encoder: encoder, Panels: &fakePanels{panel: panel}})
	got, err := service.Score(t.Context(), scoring.Request{Items: items("good1"), Checkpoints: []quality.Checkpoint{a, b}})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := got.Timings.Stages()[scoring.StagePanel]; !ok {
		t.Errorf("timings %v have no panel", got.Timings.Stages())
	}
	attributes := map[string]string{}
	for _, s := range spans.Ended() {
		if s.Name() == "panel" {
			for _, kv := range s.Attributes() {
				attributes[string(kv.Key)] = kv.Value.String()
			}
		}
	}
	want := map[string]string{
		"agiqa.batch.size": "1", "agiqa.panel.digest": panel.ID.String(), "agiqa.panel.columns": "3",
		"agiqa.checkpoints": "2", "agiqa.panel.faults": "1",
	}
	if diff := cmp.Diff(want, attributes); diff != "" {
		t.Errorf("span panel (-want +got):\n%s", diff)
	}
	stages := metricstest.Values(t, reader, "agiqa.stage.duration")
	if stages["stage=panel"] != 1 {
		t.Errorf("agiqa.stage.duration has %v, want panel once", stages)
	}
}
