package experimenttest_test

import (
	"slices"
	"testing"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/experimenttest"
	"github.com/agiqa/agiqa/quality"
)

var now = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// Standings come out alike whatever the order of arrival.
func TestSettle(t *testing.T) {
	a, b := quality.DigestOf([]byte("a")), quality.DigestOf([]byte("b"))
	said := func(key string, minute int, f experiment.Feedback) experiment.Feedback {
		f.Key, f.ID, f.Given, f.Experiment, f.Phase, f.Rater = key, key,
			now.Add(time.Duration(minute)*time.Minute), "x", 1, "r"
		if f.Standing == "" {
			f.Standing = experiment.Accepted
		}
		return f
	}
	all := []experiment.Feedback{
		said("1", 1, experiment.Feedback{Kind: experiment.MOS, Image: a, Value: 3}),
		said("2", 2, experiment.Feedback{Kind: experiment.MOS, Image: a, Value: 4}),
		said("3", 3, experiment.Feedback{Kind: experiment.MOS, Image: a, Value: 5, Standing: experiment.Late}),
		said("4", 4, experiment.Feedback{Kind: experiment.MOS, Image: b, Value: 1}),
		said("5", 5, experiment.Feedback{Kind: experiment.Pair, ImageA: a, ImageB: b, Winner: "a"}),
		said("6", 6, experiment.Feedback{Kind: experiment.Pair, ImageA: b, ImageB: a, Winner: "a"}),
		said("7", 7, experiment.Feedback{Kind: experiment.Thumb, Image: a, Value: 1}),
	}
	want := map[string]experiment.Standing{
		"1": experiment.Superseded, "2": experiment.Accepted, "3": experiment.Late, "4": experiment.Accepted,
		"5": experiment.Contradictory, "6": experiment.Contradictory, "7": experiment.Accepted,
	}
	for range len(all) {
		all = append(all[1:], all[0])
		got := experimenttest.Settle(all)
		for i, f := range got {
			if f.Standing != want[f.Key] {
				t.Errorf("%s is %s, want %s", f.Key, f.Standing, want[f.Key])
			}
			if i > 0 && got[i-1].Key > f.Key {
				t.Error("not in the order of giving")
			}
		}
	}
	if slices.ContainsFunc(all, func(f experiment.Feedback) bool { return f.Standing == experiment.Superseded }) {
		t.Error("the argument was changed")
	}
	same := []experiment.Feedback{
		said("1", 1, experiment.Feedback{Kind: experiment.Pair, ImageA: a, ImageB: b, Winner: "a"}),
		said("2", 2, experiment.Feedback{Kind: experiment.Pair, ImageA: b, ImageB: a, Winner: "b"}),
	}
	if got := experimenttest.Settle(same); got[0].Standing != experiment.Superseded ||
		got[1].Standing != experiment.Accepted {
		t.Errorf("the same pair the other way round: %v", got)
	}
}

// What is said in view of a score supersedes and contradicts nothing that was
// said blind, and the other way round.
func TestSettleKeepsBlindApart(t *testing.T) {
	a, b := quality.DigestOf([]byte("a")), quality.DigestOf([]byte("b"))
	said := func(key string, blind bool, f experiment.Feedback) experiment.Feedback {
		f.Key, f.ID, f.Given, f.Experiment, f.Phase, f.Rater = key, key, now, "x", 1, "r"
		f.Blind, f.Standing = blind, experiment.Accepted
		return f
	}
	for _, test := range []struct {
		name string
		all  []experiment.Feedback
		want []experiment.Standing
	}{
		{"an image", []experiment.Feedback{
			said("1", true, experiment.Feedback{Kind: experiment.MOS, Image: a, Value: 1}),
			said("2", true, experiment.Feedback{Kind: experiment.MOS, Image: a, Value: 2}),
			said("3", false, experiment.Feedback{Kind: experiment.MOS, Image: a, Value: 5}),
		}, []experiment.Standing{experiment.Superseded, experiment.Accepted, experiment.Accepted}},
		{"a pair", []experiment.Feedback{
			said("1", true, experiment.Feedback{Kind: experiment.Pair, ImageA: a, ImageB: b, Winner: "a"}),
			said("2", false, experiment.Feedback{Kind: experiment.Pair, ImageA: a, ImageB: b, Winner: "b"}),
		}, []experiment.Standing{experiment.Accepted, experiment.Accepted}},
		{"a thumb", []experiment.Feedback{
			said("1", true, experiment.Feedback{Kind: experiment.Thumb, Image: a, Value: 1}),
			said("2", false, experiment.Feedback{Kind: experiment.Thumb, Image: a}),
		}, []experiment.Standing{experiment.Superseded, experiment.Accepted}},
	} {
		for i, f := range experimenttest.Settle(test.all) {
			if f.Standing != test.want[i] {
				t.Errorf("%s: %s is %s, want %s", test.name, f.Key, f.Standing, test.want[i])
			}
		}
	}
}
