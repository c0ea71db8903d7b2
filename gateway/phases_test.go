//go:build unix

package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/analysis"
	"github.com/agiqa/agiqa/experiment/storetest"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/quality"
)

// report is the server's of a phase of experiment x, 0 being the present one.
func (r *trialRig) report(phase int) (out analysis.Report) {
	r.t.Helper()
	path := "/v1/experiments/x/report"
	if phase != 0 {
		path += fmt.Sprintf("?phase=%d", phase)
	}
	a := r.ask(http.MethodGet, path, nil, asAdmin)
	if err := json.Unmarshal(a.body, &out); err != nil || a.status != http.StatusOK {
		r.t.Fatalf("phase %d: status %d, %v: %.300s", phase, a.status, err, a.body)
	}
	return out
}

// answer sends a rater's opinion in answer to a task.
func (r *trialRig) answer(rater, key, task string, value float64) reply {
	r.t.Helper()
	r.nanos.Add(int64(time.Second)) // nobody is too fast
	return r.postJSON("/v1/feedback", gateway.FeedbackRequest{Key: key, Task: task, Rater: rater, Kind: "mos",
		Value: &value}, asAdmin)
}

// TestLabelsOutlastPhases: other weights, a smaller coverage and an arm that is taken
// out begin new phases, and every label still counts. The report of each phase can be
// had, and computed again bit for bit.
func TestLabelsOutlastPhases(t *testing.T) {
	t.Parallel()
	const third = "third"
	r := newTrialRig(t, func(p *plan) { p.checkpoints = append(p.checkpoints, third) })
	_, err := r.engine.Create(t.Context(), fmt.Appendf(nil,
		"id: x\narms: [{checkpoint: %s}, {id: new, checkpoint: %s}, {id: newer, checkpoint: %s}]\n", first, second, third),
		"test")
	must(t, err)
	r.changed("start", nil)
	const images, raters = 24, 3
	for n := range images {
		r.hide(strconv.Itoa(n), picture(n))
	}
	var kept gateway.LabellingTask // answered in a later phase
	for rater := range raters {
		name := fmt.Sprint("rater ", rater)
		for n, task := range r.tasks(gateway.TasksRequest{Rater: name, Count: 100}) {
			if rater == 0 && n == 0 {
				kept = task
				continue
			}
			if a := r.answer(name, name+task.Image, task.Token, float64(1+n%5)); a.status != http.StatusCreated {
				t.Fatalf("status %d: %s", a.status, a.body)
			}
		}
	}
	labels, phase := images*raters-1, 1
	check := func(when string, exposures int) {
		t.Helper()
		s := r.status()
		c := s.Counts
		if s.Experiment.Phase != phase || c["images_labelled_blind"] != images || c["labels"] != labels ||
			c["raters_blind"] != raters || c["images"] != images || c["exposures"] != exposures {
			t.Errorf("%s: phase %d, counts %v, want %d labels in phase %d", when, s.Experiment.Phase, c, labels, phase)
		}
	}
	check("at first", images)

	r.changed("ramp", gateway.RampRequest{Weights: map[string]string{first: "20%", "new": "30%", "newer": "50%"}})
	phase++
	check("other weights", 0)
	if a := r.answer("rater 0", "kept", kept.Token, 3); a.status != http.StatusCreated {
		t.Errorf("a task of the phase before: status %d: %s", a.status, a.body)
	}
	labels++
	check("a task of the phase before", 0)
	if tasks := r.tasks(gateway.TasksRequest{Rater: "rater 0", Count: 100}); len(tasks) != 0 {
		t.Errorf("a rater is asked again about %d images", len(tasks))
	}
	r.answer("rater 0", "again", kept.Token, 4).wantProblem(t, quality.KindConflict)
	if tasks := r.tasks(gateway.TasksRequest{Rater: "somebody new", Count: 100}); len(tasks) != images {
		t.Errorf("%d tasks about images of the phase before, want %d", len(tasks), images)
	}

	r.changed("ramp", gateway.RampRequest{Coverage: "50%"})
	phase++
	check("a smaller coverage", 0)

	_, err = r.engine.Change(t.Context(), "x", 0,
		experiment.Change{Do: experiment.DoGuard, By: "server", Out: []experiment.ArmID{"newer"}})
	must(t, err)
	phase++
	check("an arm is out", 0)
	if s := r.status(); len(s.Arms) != 1 || s.Arms[0].Arm != "new" {
		t.Errorf("an arm is out: %+v", s.Arms)
	}

	for n, want := range []struct {
		weight    experiment.PPM // of the first arm
		coverage  experiment.PPM
		exposures int
		labels    int
		treated   int // arms that are compared with the control
	}{
		{333_333, experiment.Whole, images, labels, 2}, // what was labelled later is about its images
		{200_000, experiment.Whole, 0, labels, 2},
		{200_000, 500_000, 0, labels, 2},
		{700_000, 500_000, 0, labels, 1},
	} {
		got := r.report(n + 1)
		x, d := got.Experiment, got.Decision
		if x.Phase != n+1 || len(x.Past) != n || x.Arms[0].Weight != want.weight || x.Coverage != want.coverage ||
			d.Counts.Exposures != want.exposures || d.Counts.Labels != want.labels || len(d.Comparisons) != want.treated {
			t.Errorf("phase %d: phase %d after %d, weight %d, coverage %d, %+v", n+1, x.Phase, len(x.Past),
				x.Arms[0].Weight, x.Coverage, d.Counts)
		}
		if len(got.Promotions) == 0 || got.Promotions[0].Ready {
			t.Errorf("phase %d: promotions %+v", n+1, got.Promotions)
		}
		again, err := analysis.Replay(t.Context(), r.store, got, analysis.DefaultOptions())
		if err != nil || !again.Equal {
			t.Errorf("phase %d, computed again: %v, %v", n+1, again.Differences, err)
		}
		if a := r.ask(http.MethodGet, fmt.Sprintf("/v1/experiments/x/report.html?phase=%d", n+1), nil,
			asAdmin); a.status != http.StatusOK {
			t.Errorf("page of phase %d: status %d", n+1, a.status)
		}
	}
	r.ask(http.MethodGet, "/v1/experiments/x/report?phase=5", nil, asAdmin).wantProblem(t, quality.KindNotFound)
}

// TestUserMetricOfPhases: what users do is of the present phase, without the units that
// had another arm before. Over all phases together it is of the units whose bucket
// stayed in one arm, whether the others came back or not.
func TestUserMetricOfPhases(t *testing.T) {
	t.Parallel()
	const units = 120
	r := newTrialRig(t)
	r.start("primary: user_metric\n")
	thumbs := 0
	see := func(n int) {
		t.Helper()
		up := float64(n % 2)
		thumbs++
		shown := r.show(strconv.Itoa(n), picture(n))
		r.nanos.Add(int64(time.Second))
		a := r.postJSON("/v1/feedback", gateway.FeedbackRequest{Key: strconv.Itoa(thumbs), Kind: "thumb", Value: &up,
			Assignment: shown.Experiment.Assignment, Rater: strconv.Itoa(n)}, asAdmin)
		if a.status != http.StatusCreated {
			t.Fatalf("status %d: %s", a.status, a.body)
		}
	}
	hasher, err := experiment.NewHasher([]byte(trialKey))
	must(t, err)
	arms := func() []experiment.ArmID {
		x, err := r.engine.Get(t.Context(), "x")
		must(t, err)
		all := make([]experiment.ArmID, units)
		for n := range all {
			all[n], _ = hasher.Assign(x, experiment.UnitHeader, strconv.Itoa(n))
		}
		return all
	}
	before := arms()
	for n := range units {
		see(n)
	}
	if got := r.report(0); got.Pooled != nil || got.Users.Arms[0].Units+got.Users.Arms[1].Units != units {
		t.Errorf("first phase: %+v, pooled %+v", got.Users, got.Pooled)
	}
	r.changed("ramp", gateway.RampRequest{Weights: map[string]string{first: "20%", "new": "80%"}})
	after := arms()
	var moved, stayed, back, same int // back: moved ones that are seen again
	for n := range units {
		seen := n%3 != 0
		if seen {
			see(n)
		}
		switch {
		case before[n] == after[n]:
			stayed++
			if seen {
				same++
			}
		default:
			moved++
			if seen {
				back++
			}
		}
	}
	if moved == back || back == 0 {
		t.Fatalf("%d units moved, %d of them are seen again", moved, back)
	}
	got := r.report(0)
	if n := got.Users.Arms[0].Units + got.Users.Arms[1].Units; n != same || got.Decision.Counts.UnitsMoved != back ||
		got.Decision.Counts.UnitsWithThumbs != same || got.Users.Arms[0].Thumbs+got.Users.Arms[1].Thumbs != same ||
		got.Users.Arms[0].Assigned+got.Users.Arms[1].Assigned != same {
		t.Errorf("second phase: %+v, %+v, want %d units without %d", got.Users, got.Decision.Counts, same, back)
	}
	if got.Decision.SRM.Units[0]+got.Decision.SRM.Units[1] != same+back {
		t.Errorf("split %+v, want that of all %d units", got.Decision.SRM, same+back)
	}
	if p := got.Pooled; p == nil || p.Arms[0].Units+p.Arms[1].Units != stayed ||
		p.Arms[0].Thumbs+p.Arms[1].Thumbs != stayed+same || p.Arms[0].Assigned+p.Arms[1].Assigned != stayed {
		t.Errorf("pooled %+v, want %d units", p, stayed)
	}
	old := r.report(1)
	if n := old.Users.Arms[0].Units + old.Users.Arms[1].Units; n != units || old.Pooled != nil {
		t.Errorf("the first phase, later: %+v", old.Users)
	}
	again, err := analysis.Replay(t.Context(), r.store, got, analysis.DefaultOptions())
	if err != nil || !again.Equal {
		t.Errorf("computed again: %v, %v", again.Differences, err)
	}
}

// TestPhasesOfAFormerVersion: what records of a version that kept neither splits nor buckets
// do not tell is said in words, in the document and on the page.
func TestPhasesOfAFormerVersion(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		weights []int // percentages of the first arm, one after the other
		known   int   // phases whose split is on record, the last ones
		buckets bool
		want    []string
	}{
		{nil, 0, false, nil}, // nothing has moved in the first phase
		{[]int{20}, 1, true, nil},
		{[]int{20, 30, 40}, 1, true, []string{"Phases 1, 2 ended under a version of the server"}},
		{[]int{20}, 0, false, []string{"Phase 1 ended under a version of the server that kept no record",
			"8 exposures of this phase were recorded by a version that kept no bucket"}},
	} {
		r := newTrialRig(t)
		r.start("")
		for _, weight := range tc.weights {
			r.changed("ramp", gateway.RampRequest{Weights: map[string]string{first: fmt.Sprintf("%d%%", weight),
				"new": fmt.Sprintf("%d%%", 100-weight)}})
		}
		x, err := r.store.Get(t.Context(), "x")
		must(t, err)
		x.Past, x.Revision = x.Past[len(x.Past)-tc.known:], x.Revision+1
		must(t, r.store.Swap(t.Context(), x.Revision-1, x, experiment.Audit{Experiment: "x", Revision: x.Revision,
			Action: "change"}))
		for n := range 8 {
			e := storetest.NewExposure("x", n)
			e.Time, e.Phase, e.Encoder, e.Preprocess, e.Shown, e.Rank = r.now(), x.Phase, x.Encoder, x.Preprocess, "new", 0
			if !tc.buckets {
				e.Bucket = nil
			}
			must(t, r.store.AppendExposures(t.Context(), []experiment.Exposure{e}))
		}
		got := r.report(0)
		page := string(r.ask(http.MethodGet, "/v1/experiments/x/report.html", nil, asAdmin).body)
		if len(got.Notes) != len(tc.want) || (got.Pooled != nil) != (x.Phase > 1 && len(x.Unrecorded()) == 0) {
			t.Errorf("%+v: notes %q, pooled %+v", tc, got.Notes, got.Pooled)
			continue
		}
		for n, want := range tc.want {
			if !strings.Contains(got.Notes[n], want) || !strings.Contains(page, got.Notes[n]) {
				t.Errorf("%+v: note %q, want %q, in the page too", tc, got.Notes[n], want)
			}
		}
		again, err := analysis.Replay(t.Context(), r.store, got, analysis.DefaultOptions())
		if err != nil || !again.Equal {
			t.Errorf("%+v: computed again: %v, %v", tc, again.Differences, err)
		}
		for _, phase := range x.Unrecorded() {
			a := r.ask(http.MethodGet, fmt.Sprintf("/v1/experiments/x/report?phase=%d", phase), nil, asAdmin)
			if p := a.wantProblem(t, quality.KindNotFound); !strings.Contains(p.Detail, "kept no record") {
				t.Error(p.Detail)
			}
		}
	}
}
