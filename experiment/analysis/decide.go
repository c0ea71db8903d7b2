package analysis

import (
	"math"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/stats"
)

// Decision is what the records say now, by the primary measure alone and without
// a bootstrap: milliseconds of work for thousands of labels, and nothing when no
// record has come since.
type Decision struct {
	Experiment experiment.ID      `json:"experiment"`
	Phase      int                `json:"phase"`
	Primary    experiment.Primary `json:"primary"`
	Counts     Counts             `json:"counts"`
	SRM        SRM                `json:"srm"`
	Answered   SRM                `json:"answered"` // of the units that gave a thumb, against all that were assigned
	// Comparisons are those that the experiment decides by: of blind labels. In
	// experiments whose labels did not have to answer tasks they are of all labels
	// unless it says otherwise.
	Comparisons []Comparison `json:"comparisons"`
	// Blind are those that a promotion needs: of blind labels in any case. What
	// users do (user_metric) is not a label of an image and is the same in both.
	Blind []Comparison `json:"blind_comparisons"`
}

// Counts are numbers of things: exposures, units and thumbs of the phase, the others
// of all phases up to it.
type Counts struct {
	Exposures       int       `json:"exposures"`
	Units           int       `json:"units"`
	UnitsMoved      int       `json:"units_moved"` // of them, in another arm in an earlier phase: their thumbs are left out
	Images          int       `json:"images"`
	LabelledBlind   int       `json:"images_labelled_blind"` // with the scores of all arms
	LabelledAll     int       `json:"images_labelled"`
	Labels          int       `json:"labels"` // of images, that count
	Votes           int       `json:"votes"`  // on pairs, that count
	Pairs           int       `json:"pairs"`
	PairsBlind      int       `json:"pairs_blind"`
	Thumbs          int       `json:"thumbs"` // with a known unit
	UnitsWithThumbs int       `json:"units_with_thumbs"`
	Choices         int       `json:"choices"`
	Raters          int       `json:"raters"`
	RatersBlind     int       `json:"raters_blind"`
	Counted         int       `json:"counted"`         // pieces of feedback that a promotion reads
	Uncounted       Uncounted `json:"uncounted"`       // and that it doesn't
	Latest          time.Time `json:"latest,omitzero"` // record
}

// SRM is the test for a sample ratio mismatch over units.
type SRM struct {
	Arms      []experiment.ArmID `json:"arms"` // that are assigned by weight
	Units     []int              `json:"units"`
	Shares    []Number           `json:"expected_shares"`
	ChiSquare Number             `json:"chi_square"`
	DF        int                `json:"df"`
	P         Number             `json:"p"`         // if it is read once
	AnytimeP  Number             `json:"p_anytime"` // however often it is read
	Mismatch  bool               `json:"mismatch"`  // the anytime-valid p is below 0.001
	Multiple  int                `json:"multiple"`  // units that were seen in several arms
	Note      string             `json:"note,omitempty"`
}

// srmLevel is the p-value below which a mismatch is said.
const srmLevel = 0.001

type decided struct {
	version int64
	value   Decision
}

// Decide says what the records say now.
func (s *State) Decide() Decision {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.decide()
}

func (s *State) decide() Decision {
	if s.decided != nil && s.decided.version == s.version {
		return s.decided.value
	}
	d, _ := s.decideWith(0)
	s.decided = &decided{s.version, d}
	return d
}

// views are the labels that a decision uses, by basis.
type views struct {
	blind, all view
	outcomes   []outcome
}

func (s *State) decideWith(points int) (Decision, views) {
	l := views{blind: s.viewOf(BasisBlind), all: s.viewOf(BasisAll)}
	l.outcomes, _, _ = s.outcomes()
	d := Decision{
		Experiment: s.e.ID, Phase: s.e.Phase, Primary: s.e.Primary, SRM: s.srm(),
		Counts: Counts{
			Units: len(s.units.rows), Images: len(s.images.rows),
			LabelledBlind: len(l.blind.images), LabelledAll: len(l.all.images), Labels: l.all.labels, Votes: l.all.votes,
			Pairs: len(l.all.pairs), PairsBlind: len(l.blind.pairs),
			UnitsWithThumbs: len(l.outcomes), Choices: len(s.choices.rows),
			Raters: len(l.all.raters), RatersBlind: len(l.blind.raters),
		},
	}
	d.Answered = s.answeredBy(l.outcomes)
	for _, o := range l.outcomes {
		d.Counts.Thumbs += len(o.thumbs)
	}
	d.Counts.Counted, d.Counts.Uncounted = s.counted(l)
	for _, c := range s.perArm {
		d.Counts.Exposures += c.exposures
	}
	for _, u := range s.units.rows {
		if u.moved {
			d.Counts.UnitsMoved++
		}
	}
	if s.latest != math.MinInt64 {
		d.Counts.Latest = time.Unix(0, s.latest).UTC()
	}
	switch {
	case s.e.Primary == experiment.PrimaryUser:
		d.Comparisons = s.compareUsers(l.outcomes, points)
		d.Blind = d.Comparisons
	case s.e.BlindOnly || s.e.LabelsAnswerTasks:
		d.Comparisons = s.compare(l.blind, points)
		d.Blind = d.Comparisons
	default:
		d.Comparisons = s.compare(l.all, points)
		d.Blind = s.compare(l.blind, points)
	}
	return d, l
}

// srm tests the units by their first arm. Units that were seen in several arms
// count too: leaving them out would hide what made them.
func (s *State) srm() SRM {
	counts := make([]int, len(s.e.Arms))
	r := SRM{ChiSquare: unknown(), P: unknown(), AnytimeP: unknown()}
	for _, u := range s.units.rows {
		counts[u.arm]++
		if u.arms&(u.arms-1) != 0 {
			r.Multiple++
		}
	}
	s.split(&r, counts, liveShares(s.e))
	return r
}

// answeredBy tests whether units of one arm answer more often than those of another:
// then those who answer are not alike, and their answers tell two things at once. The
// shares are those of the assigned units.
func (s *State) answeredBy(units []outcome) SRM {
	r := SRM{ChiSquare: unknown(), P: unknown(), AnytimeP: unknown()}
	counts, weights := make([]int, len(s.e.Arms)), make([]float64, len(s.e.Arms))
	for _, u := range units {
		counts[u.arm]++
	}
	for i, n := range s.ofOneArm(s.units.rows) {
		weights[i] = float64(n)
	}
	s.split(&r, counts, weights)
	return r
}

// ofOneArm counts, for every arm, the units that were in no other.
func (s *State) ofOneArm(units map[key]*unit) []int {
	counts := make([]int, len(s.e.Arms))
	for _, u := range units {
		if u.oneArm() {
			counts[u.arm]++
		}
	}
	return counts
}

// split tests counts against the arms' shares.
func (s *State) split(r *SRM, counts []int, weights []float64) {
	var total float64
	for _, w := range weights {
		total += w
	}
	// An arm without weight that was never shown is not part of the split.
	var tested []int
	var shares []float64
	for i, w := range weights {
		if w == 0 && counts[i] == 0 {
			continue
		}
		r.Arms, r.Shares = append(r.Arms, s.e.Arms[i].ID), append(r.Shares, Number(w/total))
		tested, shares = append(tested, counts[i]), append(shares, w)
	}
	r.Units = tested
	test, err := stats.SRM(tested, shares)
	if err == nil {
		r.ChiSquare, r.DF, r.P = Number(test.Statistic), int(test.DF), Number(test.P)
	} else {
		r.Note = err.Error()
	}
	sequential, err := stats.NewSequentialSRM(shares)
	if err != nil {
		return
	}
	// The e-value of this moment depends on the counts alone.
	for arm, n := range tested {
		for range n {
			sequential.Add(arm)
		}
	}
	r.AnytimeP = Number(math.Min(1, math.Exp(-sequential.LogE())))
	r.Mismatch = float64(r.AnytimeP) < srmLevel
}
