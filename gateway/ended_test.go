//go:build unix

package gateway_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/quality"
)

// change sends a change of experiment x by the admin.
func (r *trialRig) change(verb string, body any) reply {
	r.t.Helper()
	if body == nil {
		return r.ask(http.MethodPost, "/v1/experiments/x/"+verb, nil, asAdmin)
	}
	return r.postJSON("/v1/experiments/x/"+verb, body, asAdmin)
}

// changed is change where it succeeds.
func (r *trialRig) changed(verb string, body any) (x experiment.Experiment) {
	r.t.Helper()
	a := r.change(verb, body)
	if err := json.Unmarshal(a.body, &x); err != nil || a.status != http.StatusOK {
		r.t.Fatalf("%s: status %d: %s", verb, a.status, a.body)
	}
	return x
}

// status is what the server says of experiment x.
func (r *trialRig) status() (s gateway.ExperimentStatus) {
	r.t.Helper()
	a := r.ask(http.MethodGet, "/v1/experiments/x", nil, asAdmin)
	if err := json.Unmarshal(a.body, &s); err != nil || a.status != http.StatusOK {
		r.t.Fatalf("status %d: %s", a.status, a.body)
	}
	return s
}

// TestStoppedExperimentIsAnswered: a report is computed while the server forgets what
// it has read of an experiment that ended, labels are taken, and stopping again
// changes nothing.
func TestStoppedExperimentIsAnswered(t *testing.T) {
	t.Parallel()
	r := newTrialRig(t)
	r.start("")
	for n := range 20 {
		r.hide(strconv.Itoa(n), picture(n))
	}
	tasks := r.tasks(gateway.TasksRequest{Rater: "r", Count: 20})
	value := 3.0
	label := func(f gateway.FeedbackRequest) {
		t.Helper()
		f.Rater, f.Kind, f.Value = "r", "mos", &value
		if a := r.postJSON("/v1/feedback", f, asAdmin); a.status != http.StatusCreated {
			t.Errorf("label %s: status %d: %s", f.Key, a.status, a.body)
		}
	}
	for n, task := range tasks[:10] {
		label(gateway.FeedbackRequest{Key: strconv.Itoa(n), Task: task.Token})
	}
	label(gateway.FeedbackRequest{Key: "by image", Image: quality.DigestOf(picture(1)).Hex()})
	r.changed("pause", nil)
	label(gateway.FeedbackRequest{Key: "by image, paused", Image: quality.DigestOf(picture(1)).Hex()})
	first := r.changed("stop", nil)
	if again := r.changed("stop", nil); again.Revision != first.Revision || again.State != experiment.Stopped {
		t.Errorf("stopped again: %s at revision %d after %d", again.State, again.Revision, first.Revision)
	}
	label(gateway.FeedbackRequest{Key: "task", Task: tasks[10].Token})
	label(gateway.FeedbackRequest{Key: "by image, stopped", Image: quality.DigestOf(picture(1)).Hex()})

	ctx, stop := context.WithCancel(t.Context())
	var deciding sync.WaitGroup
	deciding.Go(func() {
		for ctx.Err() == nil {
			r.engine.Decide(ctx)
		}
	})
	for range 10 {
		if a := r.ask(http.MethodGet, "/v1/experiments/x/report", nil, asAdmin); a.status != http.StatusOK {
			t.Errorf("report: status %d: %.300s", a.status, a.body)
		}
	}
	stop()
	deciding.Wait()
}

// TestChangesMeetTheServersOwn: whoever changes an experiment without naming a revision
// isn't refused because the server changed it at that moment.
func TestChangesMeetTheServersOwn(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		verb string
		body any
	}{
		{"pause", nil}, {"ramp", gateway.RampRequest{Coverage: "50%"}}, {"stop", nil}, {"rollback", nil},
		{"promote", gateway.PromoteRequest{Arm: "new", Force: true, Reason: "a test"}},
		{"pause?revision=2", nil},
	} {
		t.Run(tc.verb, func(t *testing.T) {
			t.Parallel()
			r := newTrialRig(t)
			r.start("")
			rival := func() {
				x, err := r.store.Get(t.Context(), "x")
				must(t, err)
				x.Recommended, x.Revision = "new", x.Revision+1
				must(t, r.store.Swap(t.Context(), x.Revision-1, x, experiment.Audit{Experiment: "x", Revision: x.Revision,
					Action: "recommend"}))
			}
			r.rival.Store(&rival)
			if strings.Contains(tc.verb, "revision") {
				r.change(tc.verb, tc.body).wantProblem(t, quality.KindConflict)
				return
			}
			if x := r.changed(tc.verb, tc.body); x.Revision != 4 || x.Recommended != "new" {
				t.Errorf("revision %d, recommended %q: the rival's change is lost", x.Revision, x.Recommended)
			}
		})
	}
}

// TestHoldStopsPromotion: nobody promotes an arm of an experiment that is held, force
// or not, and the answer says by what it is held and how to lift that.
func TestHoldStopsPromotion(t *testing.T) {
	t.Parallel()
	r := newTrialRig(t)
	r.start("")
	hold := func() {
		t.Helper()
		_, err := r.engine.Change(t.Context(), "x", 0,
			experiment.Change{Do: experiment.DoHold, By: "server", Held: []string{"score_drift new"}})
		must(t, err)
	}
	refused := func(when string, request gateway.PromoteRequest, words ...string) {
		t.Helper()
		p := r.change("promote", request).wantProblem(t, quality.KindConflict)
		text := p.Detail
		for _, e := range p.Errors {
			text += " " + e.Message
		}
		for _, word := range words {
			if !strings.Contains(text, word) {
				t.Errorf("%s: %q doesn't say %q", when, text, word)
			}
		}
	}
	hold()
	plain := gateway.PromoteRequest{Arm: "new"}
	forced := gateway.PromoteRequest{Arm: "new", Force: true, Reason: "I know better"}
	refused("held", plain, "held by score_drift new", "pause and resume", "images with blind labels")
	refused("held, forced", forced, "held by score_drift new", "pause and resume")
	if s := r.status(); s.Experiment.State != experiment.Running || s.Experiment.Winner != "" {
		t.Fatalf("it is %s", s.Experiment.State)
	}
	r.changed("pause", nil)
	r.changed("resume", nil)
	if x := r.changed("promote", forced); x.Winner != "new" {
		t.Errorf("when the hold is lifted: %+v", x)
	}

	r = newTrialRig(t)
	r.start("")
	hold()
	r.changed("stop", nil)
	refused("held and stopped", forced, "held by score_drift new", "activate")
}
