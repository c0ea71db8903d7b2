package gateway_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/engine"
	"github.com/agiqa/agiqa/experiment/storetest"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// trialShelf is the rig's checkpoints in the words of the engine.
type trialShelf struct{ *shelf }

func (s trialShelf) Resolve(name string) (quality.Checkpoint, error) {
	c, err := s.Get(name)
	return c.Checkpoint, err
}

func (s trialShelf) Names() []string {
	var names []string
	for _, c := range s.all() {
		names = append(names, c.Name)
	}
	return names
}

func (s trialShelf) Default() (quality.Checkpoint, error) {
	c, err := s.shelf.Default()
	return c.Checkpoint, err
}

func (s trialShelf) Activate(context.Context, string, string) error     { return nil }
func (s trialShelf) Preprocess(quality.Checkpoint) quality.PreprocessID { return "test/1" }

type trialDirector struct{ *engine.Engine }

func (d trialDirector) Enrol(ctx context.Context, c experiment.Caller, images []func() quality.Digest) scoring.Trial {
	if t := d.Engine.Enrol(ctx, c, images); t != nil {
		return t
	}
	return nil
}

// A head that begins to say NaN under load is out within a second, and nobody
// is answered with anything but a number.
func TestFaultyHeadIsRolledBackUnderLoad(t *testing.T) {
	hasher, err := experiment.NewHasher([]byte("a key of thirty-two bytes, secret"))
	must(t, err)
	store := storetest.Open(t, time.Now)
	var e *engine.Engine
	r := newRig(t, func(p *plan) {
		p.wrap = func(s gateway.Scorer) gateway.Scorer {
			service := s.(*scoring.Service)
			var err error
			e, err = engine.New(engine.Deps{
				Store: store, Hasher: hasher, Checkpoints: trialShelf{newShelf(p.checkpoints)},
				Tracer: tracenoop.NewTracerProvider(),
				Meter:  metricnoop.NewMeterProvider(), Logger: slog.New(slog.DiscardHandler),
			})
			must(t, err)
			return scoring.NewDirected(service, trialDirector{e})
		}
	})
	_, err = e.Create(t.Context(), []byte("id: x\narms: [{checkpoint: "+first+"}, {id: new, checkpoint: "+second+"}]\n"),
		"test")
	must(t, err)
	_, err = e.Start(t.Context(), "x", "test")
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	var loop, clients sync.WaitGroup
	loop.Go(func() { e.Run(ctx) })
	head := tritontest.Checkpoint(second).HeadModel()
	image := testimages.PNG(64, 64)
	answers := make(chan float64, 10_000)
	out := make(chan time.Time, 1)
	for c := range 4 {
		clients.Go(func() {
			for n := 0; ctx.Err() == nil && n < 2000; n++ {
				res := r.post("/v1/score", image, "image/png", header("X-Agiqa-Unit", strconv.Itoa(c*10_000+n)))
				var body gateway.ScoreResponse
				if err := json.Unmarshal(res.body, &body); err != nil || res.status != http.StatusOK ||
					body.Results[0].Score == nil {
					t.Errorf("status %d: %s", res.status, res.body)
					return
				}
				answers <- float64(*body.Results[0].Score)
			}
		})
	}
	for range 20 { // sound ones first
		<-answers
	}
	for _, lie := range tritontest.Lies() {
		if lie.Name == "not a number" {
			r.triton.Lie(head, lie.Tell)
		}
	}
	began := time.Now()
	loop.Go(func() {
		ticker := time.NewTicker(5 * time.Millisecond)
		defer ticker.Stop()
		for ctx.Err() == nil {
			if x, err := store.Get(ctx, "x"); err == nil && x.Arms[1].Out {
				out <- time.Now()
				return
			}
			<-ticker.C
		}
	})
	select {
	case at := <-out:
		t.Logf("out after %s", at.Sub(began))
	case <-time.After(time.Minute):
		t.Error("the head is never taken out")
	}
	stop()
	clients.Wait()
	loop.Wait()
	close(answers)
	for score := range answers {
		if math.IsNaN(score) || math.IsInf(score, 0) {
			t.Errorf("answered %v", score)
		}
	}
}

// TestServerWithoutExperiments: it has no routes for them, its document doesn't
// describe any, and whoever asks learns which setting says so.
func TestServerWithoutExperiments(t *testing.T) {
	r := newRig(t)
	for path := range at(t, document(t, r), "paths").(object) {
		if strings.HasPrefix(path, "/v1/experiments") || path == "/v1/feedback" {
			t.Errorf("the document describes %s", path)
		}
	}
	for _, ask := range []struct{ method, path string }{
		{http.MethodGet, "/v1/experiments"}, {http.MethodPost, "/v1/experiments"},
		{http.MethodGet, "/v1/experiments/x/report"}, {http.MethodPost, "/v1/feedback"},
	} {
		p := r.ask(ask.method, ask.path, nil).wantProblem(t, quality.KindNotFound)
		if !strings.Contains(p.Detail, "experiment-store") {
			t.Errorf("%s %s: %q does not name the setting", ask.method, ask.path, p.Detail)
		}
	}
}
