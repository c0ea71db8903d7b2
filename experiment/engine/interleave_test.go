package engine_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/engine"
	"github.com/agiqa/agiqa/quality"
)

const interleaved = `
id: sharper
arms: [{checkpoint: demo, mode: interleave}, {id: new, checkpoint: other, mode: interleave}]
min_duration: 0s
`

// judged is one image with what the two arms of a ranking say of it.
type judged struct {
	image string
	score [2]float32
	fault string // of the second arm
}

// rank is one request with several images.
func (s *server) rank(ctx context.Context, unit string, images []judged,
	change ...func(*experiment.Caller)) []*experiment.Shown {
	var digests []func() quality.Digest
	scored := experiment.Scored{Encoder: encoder, Preprocess: "test/1", HeadMS: 1}
	for _, j := range images {
		d := quality.DigestOf([]byte(j.image))
		digests = append(digests, func() quality.Digest { return d })
		second := experiment.ArmScore{Arm: "new", Score: j.score[1]}
		if j.fault != "" {
			second = experiment.ArmScore{Arm: "new", Fault: j.fault}
		}
		scored.Outcomes = append(scored.Outcomes, experiment.Outcome{
			Image: d, Status: experiment.Ok, Scores: []experiment.ArmScore{{Arm: "demo", Score: j.score[0]}, second},
		})
	}
	caller := experiment.Caller{Request: unit, Header: func(string) string { return unit }}
	for _, f := range change {
		f(&caller)
	}
	trial := s.Enrol(ctx, caller, digests)
	if trial == nil {
		return nil
	}
	return trial.Expose(ctx, scored)
}

// pictures are n images that the arms put into different orders.
func pictures(request, n int) []judged {
	out := make([]judged, n)
	for i := range out {
		name := fmt.Sprintf("image %d of %d", i, request)
		d := quality.DigestOf([]byte(name))
		out[i] = judged{image: name, score: [2]float32{1 + float32(d[0])/100, 1 + float32(d[1])/100}}
	}
	return out
}

// ranking is what was shown in the order of the ranks: every rank once, from 1.
func ranking(t *testing.T, shown []*experiment.Shown) []int {
	t.Helper()
	order := make([]int, len(shown))
	for i := range order {
		order[i] = -1
	}
	for i, s := range shown {
		if s == nil || s.Rank < 1 || s.Rank > len(shown) || order[s.Rank-1] >= 0 {
			t.Fatalf("image %d is shown as %+v", i, s)
		}
		order[s.Rank-1] = i
	}
	return order
}

// A ranking of several images is a team-draft: of each two places in turn one
// is of each arm, each place has the best image of its arm that was left, and
// neither arm is always the first.
func TestRankingIsATeamDraft(t *testing.T) {
	t.Parallel()
	s, _, _ := start(t, interleaved)
	arms := []experiment.ArmID{"demo", "new"}
	begins := map[experiment.ArmID]int{}
	for request := range 60 {
		images := pictures(request, 2+request%6)
		shown := s.rank(t.Context(), fmt.Sprint(request), images)
		order := ranking(t, shown)
		begins[shown[order[0]].Arm]++
		var before experiment.ArmID
		for place, i := range order {
			arm := slices.Index(arms, shown[i].Arm)
			if arm < 0 || shown[i].Served != arm {
				t.Fatalf("request %d: image %d is of arm %s and answered by arm %d", request, i, shown[i].Arm, shown[i].Served)
			}
			for _, left := range order[place+1:] {
				if images[left].score[arm] > images[i].score[arm] {
					t.Errorf("request %d, place %d: arm %s took %g where %g was left", request, place+1, shown[i].Arm,
						images[i].score[arm], images[left].score[arm])
				}
			}
			if place%2 == 1 && shown[i].Arm == before {
				t.Errorf("request %d: places %d and %d are both of arm %s", request, place, place+1, before)
			}
			before = shown[i].Arm
		}
		// The same images are answered alike, whoever asks.
		again := s.rank(t.Context(), fmt.Sprint("somebody else ", request), images)
		for i := range shown {
			if again[i].Rank != shown[i].Rank || again[i].Arm != shown[i].Arm {
				t.Errorf("request %d, image %d: first %+v, then %+v", request, i, shown[i], again[i])
			}
		}
	}
	// A fair coin gives fewer than 15 of 60 once in 30,000 times; these images are always the same.
	if begins["demo"] < 15 || begins["new"] < 15 {
		t.Errorf("first places %v", begins)
	}
}

// The place of an image among others tells its score: a request that is told no
// score is told no place, and images whose scores are withheld have none later.
func TestRankingTellsNoScoreThatIsWithheld(t *testing.T) {
	t.Parallel()
	s, _, _ := start(t, interleaved)
	blind := pictures(1, 3)
	for i, one := range s.rank(t.Context(), "u", blind, func(c *experiment.Caller) { c.Blind = true }) {
		if one == nil || one.Rank != 0 || one.Assignment == "" {
			t.Errorf("blind image %d is shown as %+v", i, one)
		}
	}
	others := pictures(2, 4)
	shown := s.rank(t.Context(), "u", append(append([]judged{}, blind[:2]...), others...))
	for i, one := range shown[:2] {
		if one.Rank != 0 {
			t.Errorf("withheld image %d is shown as %+v", i, one)
		}
	}
	ranking(t, shown[2:]) // places from 1, without gaps
}

// One image is no ranking, nor is one with a hole: then the unit has its arm.
func TestNoRanking(t *testing.T) {
	t.Parallel()
	s, _, _ := start(t, interleaved)
	hole := pictures(1, 3)
	hole[2].fault = "nan"
	for name, images := range map[string][]judged{"one image": pictures(1, 1), "a hole": hole} {
		for u := range 20 {
			shown := s.rank(t.Context(), fmt.Sprint(u), images)
			for i, one := range shown {
				if one.Rank != 0 || one.Arm != shown[0].Arm {
					t.Errorf("%s: image %d is shown as %+v", name, i, one)
				}
				if images[i].fault != "" && one.Served != 0 {
					t.Errorf("%s: arm %d answers, which has no score", name, one.Served)
				}
			}
		}
	}
}

// A choice is credited to the arm that placed the image, however often it is
// sent, and to nobody where the image was in no ranking.
func TestChoiceIsCreditedToTheArmThatPlacedIt(t *testing.T) {
	t.Parallel()
	s, _, _ := start(t, interleaved)
	want := map[experiment.ArmID]int{}
	for request := range 30 {
		shown := s.rank(t.Context(), fmt.Sprint(request), pictures(request, 4))
		order := ranking(t, shown)
		chosen := shown[order[request%3]]
		want[chosen.Arm]++
		for range 2 {
			r, err := s.Label(t.Context(), engine.Label{
				By: app, Key: fmt.Sprint(request), Assignment: chosen.Assignment,
				Rater: fmt.Sprint("rater", request%5), Kind: experiment.Choice,
			})
			if err != nil || r.Feedback.State != experiment.Accepted || r.Feedback.Image.IsZero() {
				t.Fatalf("request %d: %+v, %v", request, r, err)
			}
		}
	}
	alone := s.rank(t.Context(), "u", pictures(99, 1))[0]
	_, err := s.Label(t.Context(),
		engine.Label{By: app, Key: "alone", Assignment: alone.Assignment, Rater: "r", Kind: experiment.Choice})
	if quality.KindOf(err) != quality.KindFeedbackInvalid {
		t.Errorf("a choice of no ranking: %v", err)
	}
	report, err := s.Report(t.Context(), "sharper", 0)
	must(t, err)
	if report.Interleave.Choices != 30 || report.Interleave.Orphans != 0 || want["demo"] == 0 || want["new"] == 0 {
		t.Errorf("%+v, want %v", report.Interleave, want)
	}
	for _, a := range report.Interleave.Arms {
		if a.Credits != want[a.Arm] {
			t.Errorf("arm %s has %d credits, want %d", a.Arm, a.Credits, want[a.Arm])
		}
	}
}
