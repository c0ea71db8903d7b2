package experiment_test

import (
	"testing"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

func TestFeedbackIsOnExposure(t *testing.T) {
	one, two := quality.DigestOf([]byte("1")), quality.DigestOf([]byte("2"))
	exposure := experiment.Exposure{Assignment: "a1", Image: one}
	for _, test := range []struct {
		name     string
		feedback experiment.Feedback
		exposure experiment.Exposure
		want     bool
	}{
		{"its assignment", experiment.Feedback{Assignment: "a1"}, exposure, true},
		{"another assignment, though the image is the same", experiment.Feedback{Assignment: "a2", Image: one}, exposure,
			false},
		{"its image", experiment.Feedback{Image: one}, exposure, true},
		{"another image", experiment.Feedback{Image: two}, exposure, false},
		{"the first of a pair", experiment.Feedback{ImageA: one, ImageB: two}, exposure, true},
		{"the second of a pair", experiment.Feedback{ImageA: two, ImageB: one}, exposure, true},
		{"no image on either side", experiment.Feedback{}, experiment.Exposure{Assignment: "a1"}, false},
	} {
		if got := test.feedback.IsOn(test.exposure); got != test.want {
			t.Errorf("%s: %t, want %t", test.name, got, test.want)
		}
	}
}

func TestJoinedFeedback(t *testing.T) {
	shown := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	e := experiment.Exposure{Experiment: "x", Phase: 3, Time: shown}
	claims := experiment.Feedback{Blind: true, Time: shown}
	e.Blind = true
	if claims.Joined(e).Blind {
		t.Error("a label that answers no task joins as blind")
	}
	for _, test := range []struct {
		name  string
		after time.Duration
		want  experiment.FeedbackState
	}{
		{"before the exposure", -time.Hour, experiment.Accepted},
		{"at the last moment", experiment.LateAfter, experiment.Accepted},
		{"too late", experiment.LateAfter + 1, experiment.Late},
	} {
		f := experiment.Feedback{State: experiment.Orphan, Time: shown.Add(test.after)}.Joined(e)
		if f.Experiment != "x" || f.Phase != 3 || f.State != test.want {
			t.Errorf("%s: %+v, want standing %s in phase 3 of x", test.name, f, test.want)
		}
	}
}
