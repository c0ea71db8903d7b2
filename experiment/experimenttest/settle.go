// Package experimenttest computes in a plain way, for tests, what an experiment
// makes of its feedback.
package experimenttest

import (
	"cmp"
	"slices"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

// Settle is the reference for package analysis, which reads feedback one piece
// after another. It returns feedback with the standings that depend on what
// else the same rater said of the same thing in the same phase. Of several
// values for an image the last one given counts and the others are superseded;
// of several winners of a pair none counts if two of them are opposite, and
// otherwise the last one does. Only accepted feedback takes part.
//
// What was said blind and what was said in view of a score are two things:
// nothing that a rater says of a score takes away the judgement that can lead
// to a promotion. A thumb is a verdict on what was shown, and is in view anyway.
//
// The result does not depend on the order of all: last is by Given, then by
// Key, both of which are the client's, and the result is in that order.
func Settle(all []experiment.Feedback) []experiment.Feedback {
	out := slices.Clone(all)
	slices.SortStableFunc(out, func(a, b experiment.Feedback) int {
		return cmp.Or(a.Given.Compare(b.Given), cmp.Compare(a.Key, b.Key), cmp.Compare(a.ID, b.ID))
	})
	type subject struct {
		rater      string
		experiment experiment.ID
		phase      int
		kind       experiment.FeedbackKind
		a, b       quality.Digest
		blind      bool
	}
	groups := map[subject][]int{}
	for i, f := range out {
		if f.Standing != experiment.Accepted {
			continue
		}
		s := subject{rater: f.Rater, experiment: f.Experiment, phase: f.Phase, kind: f.Kind, a: f.Image,
			blind: f.Blind && f.Kind != experiment.Thumb}
		switch f.Kind {
		case experiment.Pair:
			s.a, s.b = inOrder(f.ImageA, f.ImageB)
		case experiment.Choice:
			continue // each answers a ranking of its own
		}
		groups[s] = append(groups[s], i)
	}
	for s, members := range groups {
		if s.kind == experiment.Pair && opposed(out, members) {
			for _, i := range members {
				out[i].Standing = experiment.Contradictory
			}
			continue
		}
		for _, i := range members[:len(members)-1] {
			out[i].Standing = experiment.Superseded
		}
	}
	return out
}

// inOrder makes a pair the same whichever of its images was sent as a.
func inOrder(a, b quality.Digest) (quality.Digest, quality.Digest) {
	if slices.Compare(a[:], b[:]) > 0 {
		return b, a
	}
	return a, b
}

// opposed reports whether both images of a pair were said to win.
func opposed(all []experiment.Feedback, members []int) bool {
	var first, second bool
	for _, i := range members {
		f := all[i]
		low, _ := inOrder(f.ImageA, f.ImageB)
		switch {
		case f.Winner == "tie":
		case (f.Winner == "a") == (f.ImageA == low):
			first = true
		default:
			second = true
		}
	}
	return first && second
}
