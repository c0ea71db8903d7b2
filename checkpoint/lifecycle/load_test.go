package lifecycle_test

import (
	"math"
	"sync"
	"sync/atomic"
	"testing"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// TestActivationsUnderLoad switches the default fifty times between a shipped
// and an imported checkpoint while requests score by it, and takes a third in
// and out meanwhile: no request fails, and the score is always that of the
// checkpoint that the answer names.
func TestActivationsUnderLoad(t *testing.T) {
	ways(t, func(t *testing.T, uploads bool) {
		r := newRig(t, uploads)
		r.mustImport("one", 1)
		preparer, err := imageprep.New(imageprep.DefaultConfig())
		must(t, err)
		service, err := scoring.New(scoring.DefaultConfig(), scoring.Deps{
			Preparer: preparer, Triton: r.client, Tracer: tracenoop.NewTracerProvider(), Meter: metricnoop.NewMeterProvider(),
		})
		must(t, err)
		service.Use(&scoring.Models{Encoder: tritontest.Encoder(), Texts: r.texts})
		picture := testimages.PNG(8, 8)
		var stop atomic.Bool
		var names sync.Map
		var clients sync.WaitGroup
		for range 2 {
			clients.Go(func() {
				for !stop.Load() {
					e, err := r.library.Snapshot().Default()
					if err != nil {
						t.Error(err)
						return
					}
					names.Store(e.Checkpoint.Name, true)
					res, err := service.Score(t.Context(), scoring.Request{
						Items: []scoring.Item{{Data: picture}}, Checkpoints: []quality.Checkpoint{e.Checkpoint},
					})
					if err != nil || res.Results[0].Err != nil {
						t.Errorf("score by %s: %v, %+v", e.Checkpoint.Name, err, res.Results)
						return
					}
					got := res.Results[0]
					text, _, err := r.texts.TextEmbeddings(t.Context(), e.Checkpoint)
					if err != nil {
						t.Error(err)
						return
					}
					want, err := e.Bundle.Head().Score(got.Embeddings[quality.View{}], text)
					if err != nil || math.Abs(float64(want.Score-got.Scores[0].Score)) > 1e-5 {
						t.Errorf("%s scored %v, want %v (%v)", e.Checkpoint.Name, got.Scores[0].Score, want.Score, err)
					}
				}
			})
		}
		for i := range 50 {
			_, err := r.manager.Activate(t.Context(), []string{"one", shippedName}[i%2], "test")
			must(t, err)
			switch i {
			case 10:
				r.mustImport("guest", 9)
			case 20, 40:
				r.manager.Reconcile(t.Context())
			case 30:
				_, err := r.manager.Remove(t.Context(), "guest", "test")
				must(t, err)
			}
		}
		stop.Store(true)
		clients.Wait()
		for _, name := range []string{"one", shippedName} {
			if _, ok := names.Load(name); !ok {
				t.Errorf("nothing was scored by %s", name)
			}
		}
	})
}
