package tritonclient_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"google.golang.org/grpc/codes"

	"github.com/agiqa/agiqa/internal/metrics/metricstest"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// durations returns how many calls agiqa.triton.duration has, by its labels.
func (w watched) durations(t *testing.T) map[string]uint64 {
	t.Helper()
	out := map[string]uint64{}
	data, _ := metricstest.Collect(t, w.reader)["agiqa.triton.duration"].(metricdata.Histogram[float64])
	for _, p := range data.DataPoints {
		model, _ := p.Attributes.Value("model")
		outcome, _ := p.Attributes.Value("outcome")
		out[model.AsString()+" "+outcome.AsString()] += p.Count
		if p.Sum <= 0 {
			t.Errorf("%s took %v in all, want some time", model.AsString(), p.Sum)
		}
	}
	return out
}

// TestDurationsByModelAndOutcome: a digest in a model's name is no label.
func TestDurationsByModelAndOutcome(t *testing.T) {
	a, b := tritontest.Checkpoint("a"), tritontest.Checkpoint("b")
	s := tritontest.New(t, tritontest.WithCheckpoints(a, b))
	c := newWatched(t, s)
	embeddings, err := c.EncodeImages(t.Context(), tritontest.Encoder(), images(2))
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := c.EncodePrompts(t.Context(), tritontest.Encoder(), tritontest.Prompts(tritontest.Encoder()))
	if err != nil {
		t.Fatal(err)
	}
	texts := quality.TextEmbeddings(encoded)
	for _, cp := range []quality.Checkpoint{a, b} {
		if _, err := c.Score(t.Context(), tritontest.Encoder(), cp, texts, embeddings); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.EmbedAndScore(t.Context(), tritontest.Encoder(), cp, texts, images(1)); err != nil {
			t.Fatal(err)
		}
	}
	s.Fail(tritontest.ImageEncoder, codes.InvalidArgument, "no")
	if _, err := c.EncodeImages(t.Context(), tritontest.Encoder(), images(1)); err == nil {
		t.Fatal("no error from a server that refuses")
	}
	s.Heal()
	release := s.Hold(tritontest.ImageEncoder)
	defer release()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := c.EncodeImages(ctx, tritontest.Encoder(), images(1)); err == nil {
		t.Fatal("no error from a server that is late")
	}
	c.WaitIdle(t.Context())
	want := map[string]uint64{
		"image_encoder ok": 1, "image_encoder refused": 1, "image_encoder late": 1,
		"text_encoder ok": 1, "head ok": 2, "ensemble ok": 2,
	}
	if diff := cmp.Diff(want, c.durations(t)); diff != "" {
		t.Errorf("agiqa.triton.duration (-want +got):\n%s", diff)
	}
}
