//go:build unix

package gateway_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/quality"
)

func contains(text, part string) bool { return strings.Contains(text, part) }

// receipt sends feedback and returns what the server says of it.
func (r *trialRig) receipt(f gateway.FeedbackRequest, status int) (out gateway.FeedbackReceipt) {
	r.t.Helper()
	r.nanos.Add(int64(time.Second)) // nobody is too fast
	a := r.postJSON("/v1/feedback", f, asAdmin)
	if err := json.Unmarshal(a.body, &out); err != nil || a.status != status {
		r.t.Fatalf("%s: status %d, want %d: %s", f.Key, a.status, status, a.body)
	}
	return out
}

// TestReceiptsSayWhetherALabelCounts: each answer says whether a decision reads the
// label, and if not, why; a repetition is told the same. What status counts adds up.
func TestReceiptsSayWhetherALabelCounts(t *testing.T) {
	t.Parallel()
	r := newTrialRig(t)
	r.start("")
	for n := range 4 {
		r.hide(strconv.Itoa(n), picture(n))
	}
	open := r.show("9", picture(9))
	value, up := 3.0, 1.0
	tasks := r.tasks(gateway.TasksRequest{Rater: "r", Count: 4})
	pair := r.tasks(gateway.TasksRequest{Rater: "r", Count: 1, Kind: "pair"})[0]
	mos := func(key, rater string) gateway.FeedbackRequest {
		return gateway.FeedbackRequest{Key: key, Rater: rater, Kind: "mos", Value: &value}
	}
	with := func(f gateway.FeedbackRequest, change func(f *gateway.FeedbackRequest)) gateway.FeedbackRequest {
		change(&f)
		return f
	}
	said := func(name string, f gateway.FeedbackRequest, status int, reason string) {
		t.Helper()
		got := r.receipt(f, status)
		if got.Counts != (reason == "") || got.Counts != (got.Reason == "") || !contains(got.Reason, reason) {
			t.Errorf("%s: counts %t, %q, want %q", name, got.Counts, got.Reason, reason)
		}
		if again := r.receipt(f, http.StatusOK); again.Counts != got.Counts || again.Reason != got.Reason {
			t.Errorf("%s, again: counts %t, %q after %q", name, again.Counts, again.Reason, got.Reason)
		}
	}
	said("a task", with(mos("1", "r"), func(f *gateway.FeedbackRequest) { f.Task = tasks[0].Token }), 201, "")
	said("an open image", with(mos("2", "r"), func(f *gateway.FeedbackRequest) {
		f.Image = quality.DigestOf(picture(9)).Hex()
	}), 201, "not blind: the scoring request did not ask for it")
	said("its assignment", with(mos("3", "r2"), func(f *gateway.FeedbackRequest) {
		f.Assignment = open.Experiment.Assignment
	}), 201, "not blind: the scoring request did not ask for it")
	said("no task", with(mos("4", "r"), func(f *gateway.FeedbackRequest) {
		f.Image = quality.DigestOf(picture(3)).Hex()
	}), 201, "not blind: it answers no task; POST /v1/experiments/x/tasks")
	said("an unknown image", with(mos("5", "r"), func(f *gateway.FeedbackRequest) {
		f.Image = quality.DigestOf(picture(77)).Hex()
	}), 202, "no exposure of what it is about is known")
	said("a pair", gateway.FeedbackRequest{Key: "6", Rater: "r", Kind: "pair", Winner: "a", Task: pair.Token}, 201,
		"decides by loss_calibrated, which reads feedback of kind mos alone")
	said("a thumb", gateway.FeedbackRequest{Key: "7", Rater: "r", Kind: "thumb", Value: &up,
		Assignment: open.Experiment.Assignment}, 201, "decides by loss_calibrated")

	s := r.status()
	if want := map[string]int{"not_blind": 3, "other_kind": 2}; !maps.Equal(s.Uncounted, want) ||
		s.Counts["counted"] != 1 || s.Counts["uncounted"] != 5 {
		t.Errorf("counted %d, not counted %v, want 1 and %v", s.Counts["counted"], s.Uncounted, want)
	}
	if g := s.Arms[0].ToGo; g.Count != 299 || g.Of != "images with blind labels" || g.Estimated {
		t.Errorf("to go %+v", g)
	}
	said("a second opinion", with(mos("8", "r"), func(f *gateway.FeedbackRequest) {
		f.Image = quality.DigestOf(picture(9)).Hex()
	}), 201, "not blind")
	r.nanos.Add(int64(experiment.TaskFor))
	said("a late answer", with(mos("9", "r"), func(f *gateway.FeedbackRequest) { f.Task = tasks[1].Token }), 201,
		"not blind: the task was valid until")
	token := r.tasks(gateway.TasksRequest{Rater: "r", Count: 1})[0].Token
	r.changed("stop", nil)
	said("when it has ended", with(mos("10", "r"), func(f *gateway.FeedbackRequest) { f.Task = token }), 201,
		"not blind: experiment x is stopped")
	r.nanos.Add(int64(experiment.LateAfter))
	said("a month later", with(mos("11", "r"), func(f *gateway.FeedbackRequest) {
		f.Assignment = open.Experiment.Assignment
	}), 201, "late")
	s = r.status()
	if want := map[string]int{"not_blind": 6, "other_kind": 2, "late": 1}; !maps.Equal(s.Uncounted, want) ||
		s.Counts["counted"] != 1 {
		t.Errorf("counted %d, not counted %v, want 1 and %v", s.Counts["counted"], s.Uncounted, want)
	}
}

// TestReceiptsOfThumbs: where users decide, thumbs count, and labels do not.
func TestReceiptsOfThumbs(t *testing.T) {
	t.Parallel()
	r := newTrialRig(t)
	r.start("primary: user_metric\nmin_labels: 50\n")
	up := 1.0
	thumb := func(key, assignment string) gateway.FeedbackRequest {
		f := gateway.FeedbackRequest{Key: key, Rater: "u", Kind: "thumb", Value: &up, Assignment: assignment}
		if assignment == "" {
			f.Image = quality.DigestOf(picture(0)).Hex()
		}
		return f
	}
	var last string
	for n := range 20 {
		last = r.show(strconv.Itoa(n), picture(n)).Experiment.Assignment
		if got := r.receipt(thumb(fmt.Sprint("first ", n), last), 201); !got.Counts || got.Reason != "" {
			t.Errorf("unit %d: %+v", n, got)
		}
	}
	if got := r.receipt(thumb("no assignment", ""), 201); got.Counts || !contains(got.Reason, "names none") {
		t.Errorf("without an assignment: %+v", got)
	}
	if got := r.receipt(gateway.FeedbackRequest{Key: "mos", Rater: "r", Kind: "mos", Value: &up, Assignment: last},
		201); got.Counts || !contains(got.Reason, "decides by user_metric, which reads feedback of kind thumb alone") {
		t.Errorf("a label: %+v", got)
	}
	r.changed("ramp", gateway.RampRequest{Weights: map[string]string{first: "10%", "new": "90%"}})
	if got := r.receipt(thumb("old", last), 201); got.Counts || !contains(got.Reason, "phase 1 has ended") {
		t.Errorf("of the phase before: %+v", got)
	}
	moved, stayed := 0, 0
	for n := range 20 {
		got := r.receipt(thumb(fmt.Sprint("second ", n), r.show(strconv.Itoa(n), picture(n)).Experiment.Assignment), 201)
		switch {
		case got.Counts:
			stayed++
		case contains(got.Reason, "the unit had another arm in an earlier phase"):
			moved++
		default:
			t.Errorf("unit %d: %+v", n, got)
		}
	}
	s := r.status()
	want := map[string]int{"other_kind": 1, "other_phase": 20, "several_arms": moved, "no_exposure": 1, "superseded": 1}
	if moved == 0 || s.Counts["counted"] != stayed || !maps.Equal(s.Uncounted, want) {
		t.Errorf("counted %d, not counted %v, want %d and %v", s.Counts["counted"], s.Uncounted, stayed, want)
	}
	if g := s.Arms[0].ToGo; g.Of != "units with thumbs" || g.Count < 50-stayed {
		t.Errorf("to go %+v", g)
	}
}
