package analysis

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/stats"
)

// Guard is where a guardrail stands. The monitors of a running server know; the
// log does not.
type Guard struct {
	Kind   experiment.GuardrailKind `json:"kind"`
	Arm    experiment.ArmID         `json:"arm,omitempty"` // "": of the experiment
	Value  Number                   `json:"value"`
	Limit  Number                   `json:"limit"`
	Action experiment.Action        `json:"action"`
	OK     bool                     `json:"ok"`
	Detail string                   `json:"detail,omitempty"`
}

// Checks are what a promotion needs to be told.
type Checks struct {
	Guards []Guard
	// Replay is the outcome of computing the decision again from the log; nil if
	// that was not done.
	Replay *Replayed
	// Present is the phase that the experiment is in; 0: that of the decision.
	Present int
}

// Promotion says whether a treatment may take the control's place.
type Promotion struct {
	Arm     experiment.ArmID `json:"arm"`
	Ready   bool             `json:"ready"`
	Missing []string         `json:"missing,omitempty"` // every reason why not, in words
	Effect  Number           `json:"effect"`
}

// Promote applies the rule of promotion to every treatment; those that are ready
// come first, the largest effect before the others. It reads blind labels only,
// which answer tasks: a label given with the score in view leans towards that
// score (anchoring), or repeats one that somebody wants to win.
//
// A treatment is ready when the interval that all looks agree on lies above 0, or above -margin
// where the experiment has a margin; when there are enough labelled images, raters
// and time; when units fell to the arms as ordered; when no guardrail is broken
// and nothing is held; and when the log gives the same numbers again.
func Promote(e experiment.Experiment, d Decision, now time.Time, checks Checks) []Promotion {
	shared := sharedReasons(e, d, now, checks)
	var all []Promotion
	for _, c := range d.Blind {
		p := Promotion{Arm: c.Arm, Effect: c.Effect}
		if a, ok := e.Arm(c.Arm); ok && e.IsControl(a) {
			p.Missing = append(p.Missing, e.AA()+": there is nothing to promote.")
		}
		if reason := effectReason(e, c); reason != "" {
			p.Missing = append(p.Missing, reason)
		}
		p.Missing = append(p.Missing, shared...)
		for _, g := range checks.Guards {
			if !g.OK && g.Action != experiment.ActWarn && (g.Arm == "" || g.Arm == c.Arm) {
				p.Missing = append(p.Missing, guardReason(g))
			}
		}
		p.Ready = len(p.Missing) == 0
		all = append(all, p)
	}
	slices.SortStableFunc(all, func(a, b Promotion) int {
		if a.Ready != b.Ready {
			if a.Ready {
				return -1
			}
			return 1
		}
		return cmp.Compare(b.Effect, a.Effect)
	})
	return all
}

// effectReason is what the primary measure of one arm lacks.
func effectReason(e experiment.Experiment, c Comparison) string {
	above, bound := c.Agreed.Low > 0, "0"
	if e.Margin > 0 {
		above, bound = float64(c.Agreed.Low) > -e.Margin, fmt.Sprintf("-%g (the margin)", e.Margin)
	}
	switch {
	case c.Contradicted:
		return "The effect moved while it was watched: its intervals have no common point."
	case above && c.Agreed.High < 0:
		return fmt.Sprintf("It is worse on %s, by less than the margin: the effect is %.4g to %.4g.", e.Primary, c.Agreed.Low,
			c.Agreed.High)
	case above:
		return ""
	case !c.Agreed.Low.Known() || math.IsInf(float64(c.Agreed.Low), 0):
		return fmt.Sprintf("The effect on %s has no interval yet: %s (%d observations).", e.Primary,
			cmp.Or(c.Note, "too few blind labels"), c.Observations)
	}
	return fmt.Sprintf("The effect on %s may be below %s: its interval is %.4g to %.4g, the widest by %s.", e.Primary,
		bound, c.Agreed.Low, c.Agreed.High, widest(c))
}

// widest names the group whose interval reaches lowest.
func widest(c Comparison) string {
	by, low := stats.ByImage, Number(math.Inf(1))
	for _, i := range c.Intervals {
		if i.Low < low {
			by, low = i.By, i.Low
		}
	}
	return by
}

// sharedReasons are what is missing for every arm.
func sharedReasons(e experiment.Experiment, d Decision, now time.Time, checks Checks) []string {
	var missing []string
	require := func(format string, args ...any) { missing = append(missing, fmt.Sprintf(format, args...)) }
	switch e.State {
	case experiment.Running, experiment.Paused, experiment.Stopped:
	default:
		require("The experiment is %s.", e.State)
	}
	if checks.Present > d.Phase {
		require("Phase %d has ended; phase %d decides.", d.Phase, checks.Present)
	}
	if !e.LabelsAnswerTasks {
		require("It was created by a version that believed what labels said of themselves; create it again.")
	}
	have, what := d.labelled()
	if have < e.MinLabels {
		require("There are %d %s; %d are needed.", have, what, e.MinLabels)
	}
	if e.Primary != experiment.PrimaryUser && d.Counts.RatersBlind < e.MinRaters {
		require("There are %d raters with blind labels; %d are needed.", d.Counts.RatersBlind, e.MinRaters)
	}
	end := now
	if !e.Ended.IsZero() && e.Ended.Before(now) {
		end = e.Ended
	}
	var ran time.Duration // a draft has not run
	if !e.Started.IsZero() {
		ran = max(0, end.Sub(e.Started))
	}
	if ran < e.MinDuration {
		require("It has run for %s; %s are needed.", ran.Round(time.Second), e.MinDuration)
	}
	if d.SRM.Mismatch {
		require("Units did not fall to the arms as ordered (anytime-valid p = %.2g): find out why before anything is "+
			"concluded.", d.SRM.AnytimeP)
	}
	if e.Primary == experiment.PrimaryUser && d.Answered.Mismatch {
		require("Users of one arm answer more often than those of another (anytime-valid p = %.2g): their thumbs can't be "+
			"compared.", d.Answered.AnytimeP)
	}
	if len(e.Held) > 0 {
		require("It is held by %s: %s.", strings.Join(e.Held, ", "), e.LiftHold())
	}
	switch {
	case checks.Replay == nil:
		require("The numbers were not computed again from the log.")
	case !checks.Replay.Equal:
		require("The log gives other numbers than the live ones: %s.", strings.Join(checks.Replay.Differences, "; "))
	}
	return missing
}

func guardReason(g Guard) string {
	whose := "The guardrail"
	if g.Arm != "" {
		whose = "Arm " + string(g.Arm) + ": the guardrail"
	}
	reason := fmt.Sprintf("%s %s is broken (%.4g, limit %.4g).", whose, g.Kind, g.Value, g.Limit)
	if g.Detail != "" {
		reason = strings.TrimSuffix(reason, ".") + ": " + g.Detail + "."
	}
	return reason
}
