package engine_test

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/engine"
	"github.com/agiqa/agiqa/experiment/storetest"
	"github.com/agiqa/agiqa/internal/metrics/metricstest"
	"github.com/agiqa/agiqa/quality"
)

// TestWhatIsCounted goes through both outcomes of everything that has two:
// taken and left, recorded and degraded, accepted and refused, kept and broken.
func TestWhatIsCounted(t *testing.T) {
	c := &clock{t: time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)}
	store, reader := storetest.Open(t, c.now), sdkmetric.NewManualReader()
	hasher, err := experiment.NewHasher([]byte("a key of thirty-two bytes, secret"))
	must(t, err)
	e, err := engine.New(engine.Deps{
		Store: store, Hasher: hasher, Checkpoints: &shelf{def: "demo"}, Canaries: canaries(sound),
		Tracer: tracenoop.NewTracerProvider(),
		Meter:  sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)), Logger: slog.New(slog.DiscardHandler), Now: c.now,
	})
	must(t, err)
	s := &server{Engine: e}
	_, err = s.Create(t.Context(), []byte(definition), "me")
	must(t, err)
	_, err = s.Start(t.Context(), "sharper", "me")
	must(t, err)

	want := map[string]int64{}
	var shown *experiment.Shown
	for u := range 20 {
		shown = s.ask(t.Context(), fmt.Sprint(u), fmt.Sprint(u), false, "")
		want[fmt.Sprintf("arm=%s,experiment=sharper,outcome=ok", shown.Arm)]++
	}
	for range 3 {
		s.ask(t.Context(), "", "x", false, "")
	}
	value := 3.0
	label := engine.Label{By: app, Key: "k", Assignment: shown.Assignment, Rater: "r", Kind: experiment.MOS, Value: &value}
	for range 2 {
		_, err = s.Label(t.Context(), label)
		must(t, err)
	}
	far := 9.0
	if _, err := s.Label(t.Context(), engine.Label{By: app, Key: "far", Assignment: shown.Assignment, Rater: "r",
		Kind: experiment.MOS, Value: &far}); err == nil {
		t.Error("a value off the scale was taken")
	}
	store.Fill(true)
	s.ask(t.Context(), "1", "b", false, "")
	label.Key = "k2"
	if _, err := s.Label(t.Context(), label); quality.KindOf(err) != quality.KindStoreUnavailable {
		t.Errorf("feedback without a store: %v", err)
	}
	store.Fill(false)

	check := func(name string, want map[string]int64) {
		t.Helper()
		got := metricstest.Values(t, reader, name)
		for labels, n := range want {
			if got[labels] != n {
				t.Errorf("%s{%s} is %d, want %d", name, labels, got[labels], n)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s has %v, want %v", name, got, want)
		}
	}
	check("agiqa.experiment.exposures", want)
	check("agiqa.experiment.left", map[string]int64{"experiment=sharper,reason=no_unit": 3})
	check("agiqa.experiment.degraded", map[string]int64{"experiment=sharper": 1})
	check("agiqa.feedback", map[string]int64{
		"kind=mos,outcome=accepted": 1, "kind=mos,outcome=duplicate": 1, "kind=mos,outcome=feedback_invalid": 1,
		"kind=mos,outcome=store_unavailable": 1,
	})
	failures := metricstest.Values(t, reader, "agiqa.experiment.store.failures")
	if failures["call=exposures"] != 1 || len(failures) != 2 {
		t.Errorf("failures of the store %v, want one of exposures and one of feedback", failures)
	}
	check("agiqa.experiment.guardrail.trips", map[string]int64{})
	for u := range 10 {
		s.ask(t.Context(), fmt.Sprint(u), fmt.Sprint("bad", u), false, "nan")
	}
	s.Watch(t.Context())
	trips := metricstest.Values(t, reader, "agiqa.experiment.guardrail.trips")
	if trips["action=rollback,experiment=sharper,guardrail=error_rate"] != 1 {
		t.Errorf("trips %v, want one of error_rate", trips)
	}
}
