package experiment_test

import (
	"testing"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

var now = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

func in(t *testing.T, state experiment.State) experiment.Experiment {
	t.Helper()
	e, err := experiment.Parse([]byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	e.State = state
	return e
}

// What may be done in which state, and where it leads; all else is a conflict.
func TestMachine(t *testing.T) {
	const d, r, p, s, w, b = experiment.Draft, experiment.Running, experiment.Paused, experiment.Stopped,
		experiment.Promoted, experiment.RolledBack
	leads := map[experiment.Do]map[experiment.State]experiment.State{
		experiment.DoStart:    {d: r},
		experiment.DoPause:    {r: p},
		experiment.DoResume:   {p: r},
		experiment.DoStop:     {r: s, p: s},
		experiment.DoPromote:  {r: w, p: w, s: w},
		experiment.DoRollback: {r: b, p: b, w: b},
		experiment.DoRamp:     {d: d, r: r, p: p},
		experiment.DoWeigh:    {d: d, r: r, p: p},
		experiment.DoHold:     {r: r, p: p},
		experiment.DoGuard:    {r: r, p: p},
		"dance":               {},
	}
	for do, to := range leads {
		for _, from := range []experiment.State{d, r, p, s, w, b} {
			e := in(t, from)
			next, audit, err := experiment.Apply(e, experiment.Change{Do: do, By: "me", Coverage: experiment.Whole,
				Out: []experiment.ArmID{"new"}, Winner: "new"}, now)
			want, ok := to[from]
			if !ok {
				if quality.KindOf(err) != quality.KindConflict {
					t.Errorf("%s while %s: %v", do, from, err)
				}
				continue
			}
			if err != nil || next.State != want || next.Revision != 2 || audit.From != from || audit.To != want ||
				audit.Revision != 2 || audit.By != "me" || audit.Action != string(do) {
				t.Errorf("%s while %s: %s, revision %d, %+v, %v", do, from, next.State, next.Revision, audit, err)
			}
			if e.Revision != 1 || e.State != from {
				t.Errorf("%s changed its argument", do)
			}
		}
	}
}

func TestPhases(t *testing.T) {
	e := in(t, experiment.Running)
	apply := func(e experiment.Experiment, c experiment.Change) experiment.Experiment {
		t.Helper()
		next, _, err := experiment.Apply(e, c, now)
		if err != nil {
			t.Fatal(err)
		}
		return next
	}
	weights := map[experiment.ArmID]experiment.PPM{"demo": 900_000, "new": 100_000}
	if n := apply(e, experiment.Change{Do: experiment.DoRamp, Coverage: experiment.Whole}); n.Phase != 1 {
		t.Error("a wider coverage is a new phase")
	}
	if n := apply(e, experiment.Change{Do: experiment.DoRamp, Coverage: 10}); n.Phase != 2 {
		t.Error("a narrower coverage is no new phase")
	}
	n := apply(e, experiment.Change{Do: experiment.DoWeigh, Weights: weights})
	if n.Phase != 2 || n.Arms[1].Weight != 100_000 || e.Arms[1].Weight != 500_000 {
		t.Errorf("other weights: %+v", n)
	}
	if n := apply(in(t, experiment.Draft), experiment.Change{Do: experiment.DoWeigh, Weights: weights}); n.Phase != 1 {
		t.Error("a draft has a second phase")
	}
	n = apply(e, experiment.Change{Do: experiment.DoGuard, Out: []experiment.ArmID{"new"}})
	if n.Phase != 2 || !n.Arms[1].Out || n.Arms[1].Weight != 0 ||
		n.Arms[0].Weight != experiment.Whole || n.Validate() != nil {
		t.Errorf("an arm taken out: %+v", n)
	}
	for name, c := range map[string]experiment.Change{
		"out already":        {Do: experiment.DoGuard, Out: []experiment.ArmID{"new"}},
		"the control":        {Do: experiment.DoGuard, Out: []experiment.ArmID{"demo"}},
		"weight of an outed": {Do: experiment.DoWeigh, Weights: weights},
	} {
		if _, _, err := experiment.Apply(n, c, now); quality.KindOf(err) != quality.KindConflict {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string]experiment.Change{
		"half the weights": {Do: experiment.DoWeigh, Weights: map[experiment.ArmID]experiment.PPM{"new": 1}},
		"unknown arm":      {Do: experiment.DoWeigh, Weights: map[experiment.ArmID]experiment.PPM{"x": 1}},
		"coverage":         {Do: experiment.DoRamp, Coverage: experiment.Whole + 1},
	} {
		if _, _, err := experiment.Apply(e, c, now); quality.KindOf(err) != quality.KindExperimentInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRampConditions(t *testing.T) {
	e := in(t, experiment.Running)
	e.Ramp = []experiment.RampStep{{Coverage: 10_000, MinTime: time.Hour, MinUnits: 100}, {Coverage: 100_000, MinUnits: 5},
		{Coverage: experiment.Whole}}
	for _, tc := range []struct {
		name  string
		step  int
		since time.Duration
		units int
		held  []string
		state experiment.State
		want  experiment.PPM
	}{
		{"too early", 0, time.Minute, 100, nil, experiment.Running, 0},
		{"too few", 0, time.Hour, 99, nil, experiment.Running, 0},
		{"both", 0, time.Hour, 100, nil, experiment.Running, 100_000},
		{"held", 0, time.Hour, 100, []string{"srm"}, experiment.Running, 0},
		{"paused", 0, time.Hour, 100, nil, experiment.Paused, 0},
		{"second", 1, 0, 5, nil, experiment.Running, experiment.Whole},
		{"the last", 2, time.Hour, 1e6, nil, experiment.Running, 0},
	} {
		e.RampStep, e.Held, e.State, e.Coverage = tc.step, tc.held, tc.state, e.Ramp[tc.step].Coverage
		if got, ok := e.NextRamp(tc.since, tc.units); got != tc.want || ok != (tc.want > 0) {
			t.Errorf("%s: %d, %t", tc.name, got, ok)
		}
	}
}
