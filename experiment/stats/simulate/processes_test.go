package simulate_test

import (
	"math"
	"testing"

	"github.com/agiqa/agiqa/experiment/stats"
	"github.com/agiqa/agiqa/experiment/stats/simulate"
)

// The rule of an experiment keeps its level where labels are not alike and
// independent, and finds a better arm. A few runs only: go run ./tools/statstable
// makes thousands.
func TestDecisionsHoldWhereLabelsAreAlike(t *testing.T) {
	t.Parallel()
	options := stats.DefaultSequenceOptions()
	plan := simulate.Plan{Runs: 60, Labels: 1500, Every: 50, Seed: 11, Workers: 2}
	limit := options.Alpha + 3*math.Sqrt(options.Alpha*(1-options.Alpha)/float64(plan.Runs))
	fooled := 0
	for _, p := range simulate.Processes() {
		plain, grouped := simulate.Compare(p, plan, options)
		t.Logf("%s: independent images %.0f %%, the rule %.0f %%", p.Name, 100*plain.Decided.Value, 100*grouped.Decided.Value)
		switch {
		case p.Better:
			if grouped.Promoted.Value < 0.6 || grouped.Promoted.Value < 0.75*plain.Promoted.Value {
				t.Errorf("%s: found in %.0f %% of the runs, by independent images in %.0f %%", p.Name,
					100*grouped.Promoted.Value, 100*plain.Promoted.Value)
			}
		case p.Serial && p.Pool == 0: // nothing tells a style that has not come yet: see docs/statistics.md
			if grouped.Decided.Value > 0.75*plain.Decided.Value {
				t.Errorf("%s: decided in %.0f %%, by independent images in %.0f %%", p.Name,
					100*grouped.Decided.Value, 100*plain.Decided.Value)
			}
		case grouped.Decided.Value > limit:
			t.Errorf("%s: decided in %.0f %% of the runs", p.Name, 100*grouped.Decided.Value)
		}
		if !p.Better && plain.Decided.Value > 0.25 {
			fooled++
		}
	}
	if fooled < 4 {
		t.Errorf("only %d processes fool the sequence of independent images", fooled)
	}
}

func TestRareThumbsAndManyVotes(t *testing.T) {
	t.Parallel()
	options := stats.DefaultSequenceOptions()
	plan := simulate.Plan{Runs: 200, Labels: 4000, Every: 50, Seed: 3, Workers: 2}
	limit := options.Alpha + 3*math.Sqrt(options.Alpha*(1-options.Alpha)/float64(plan.Runs))
	if plain, held := simulate.RareThumbs(plan, options, stats.FewestEvents); plain.Value < limit || held.Value > limit {
		t.Errorf("rare thumbs: %.3f, with a smallest number of events %.3f", plain.Value, held.Value)
	}
	plan.Labels = 60
	if votes, pairs := simulate.Votes(plan, 30, options.Alpha); votes.Value < 0.5 || pairs.Value > limit {
		t.Errorf("votes: %.3f, pairs: %.3f", votes.Value, pairs.Value)
	}
}
