package analysis

import (
	"bytes"
	"cmp"
	"maps"
	"math"
	"slices"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

// Basis says which feedback a conclusion rests on.
type Basis string

// The bases.
const (
	BasisBlind Basis = "blind" // labels that were given without seeing a score
	BasisAll   Basis = "all"   // all labels
	BasisUsers Basis = "users" // thumbs of the users that were assigned
)

// rating is what one rater said of one image in the end.
type rating struct {
	rater   string
	value   float64
	blind   bool
	arrived int64
	first   given
	last    given
}

// rated is an image with a label and the scores of all arms.
type rated struct {
	image   quality.Digest
	scores  []float64 // by arm
	ratings []rating  // by rater
	label   float64   // their mean
	first   given     // of its labels
	scored  int64     // when it was, at first
	prompt  key       // images of one prompt share it
	trace   string
	slices  map[string]string
}

// preferred is a pair of images with preferences and the scores of all arms.
type preferred struct {
	low, high quality.Digest
	a, b      []float64 // scores of both, by arm
	winners   []winner  // by rater
	raters    []string
	first     given
}

// view is what the labels of one basis are about, in an order of its own: images
// and pairs by their first label.
type view struct {
	basis  Basis
	images []rated
	pairs  []preferred
	raters []string // of both, sorted

	labels   int   // of images, that count
	votes    int   // on pairs, that count
	ofImages lost  // labels that don't count
	ofPairs  lost  // votes likewise
	missing  []int // labelled images without a score, by arm
}

// lost are opinions of a view's basis that don't count.
type lost struct {
	superseded   int // by a later one of the same rater
	contradicted int
	orphans      int // no exposure is known
	late         int
	scoreless    int // an arm has no score of what they are about
}

func (l lost) sum() int { return l.superseded + l.contradicted + l.orphans + l.late + l.scoreless }

// lost are those of both kinds.
func (v view) lost() lost {
	a, b := v.ofImages, v.ofPairs
	return lost{a.superseded + b.superseded, a.contradicted + b.contradicted, a.orphans + b.orphans, a.late + b.late,
		a.scoreless + b.scoreless}
}

// viewOf collects the labels of a basis. The caller holds the lock.
func (s *State) viewOf(basis Basis) view {
	v := view{basis: basis, missing: make([]int, len(s.e.Arms))}
	raters := map[string]bool{}
	s.lookImages(&v, raters)
	s.lookPairs(&v, raters)
	v.raters = slices.Sorted(maps.Keys(raters))
	return v
}

func (s *State) lookImages(v *view, raters map[string]bool) {
	byImage := map[quality.Digest][]rating{}
	for _, l := range s.labels.rows {
		if v.basis == BasisBlind && !l.vote.blind {
			continue
		}
		v.ofImages.superseded += l.records - 1
		digest, last, there := s.joined(l.vote)
		switch {
		case !there:
			v.ofImages.orphans++
		case l.arrived-last > int64(experiment.LateAfter):
			v.ofImages.late++
		default:
			byImage[digest] = append(byImage[digest], rating{l.rater, l.value, l.blind, l.arrived, l.first, l.last})
		}
	}
	for digest, ratings := range byImage {
		row := s.images.rows[key(digest[:16])]
		// A rater may have labelled an image by its digest and by an assignment,
		// or blind and not.
		slices.SortFunc(ratings,
			func(a, b rating) int { return cmp.Or(cmp.Compare(a.rater, b.rater), a.last.compare(b.last)) })
		first, kept := ratings[0].first, ratings[:0]
		for i, r := range ratings {
			if r.first.compare(first) < 0 {
				first = r.first
			}
			if i+1 < len(ratings) && ratings[i+1].rater == r.rater {
				v.ofImages.superseded++
				continue
			}
			kept = append(kept, r)
		}
		scores, complete := s.scores(row)
		if !complete {
			v.ofImages.scoreless += len(kept)
			for arm, score := range scores {
				if math.IsNaN(score) && !s.e.Arms[arm].Out {
					v.missing[arm]++
				}
			}
			continue
		}
		var sum float64
		for _, r := range kept {
			sum += r.value
			raters[r.rater] = true
		}
		v.labels += len(kept)
		v.images = append(v.images, rated{
			image: digest, scores: scores, ratings: kept, label: sum / float64(len(kept)),
			first: first, scored: row.first.nanos, prompt: row.prompt, trace: row.trace, slices: row.slices,
		})
	}
	slices.SortFunc(v.images, func(a, b rated) int {
		return cmp.Or(a.first.compare(b.first), bytes.Compare(a.image[:], b.image[:]))
	})
}

// joined finds the image that is spoken of, and when it was last shown.
func (s *State) joined(of vote) (image quality.Digest, last int64, there bool) {
	image = of.image
	if of.named {
		if a := s.shown.rows[of.assignment]; a != nil {
			if image.IsZero() {
				image = a.image
			}
			last, there = a.last, a.image == image
		}
	}
	row := s.images.rows[key(image[:16])]
	if row == nil || image.IsZero() {
		return image, 0, false
	}
	if !there {
		last = row.last
	}
	return image, last, true
}

// scores are those of all arms, NaN where there is none. They are complete without
// the arms that a guardrail took out.
func (s *State) scores(row *image) (scores []float64, complete bool) {
	scores, complete = make([]float64, len(s.e.Arms)), true
	for i := range scores {
		if scores[i] = math.NaN(); row.scores[i].any {
			scores[i] = float64(row.scores[i].score)
		}
		complete = complete && (row.scores[i].any || s.e.Arms[i].Out)
	}
	return scores, complete
}

func (s *State) lookPairs(v *view, raters map[string]bool) {
	type images struct{ low, high quality.Digest }
	said := map[images][]*pair{}
	for _, p := range s.pairs.rows {
		if v.basis == BasisBlind && !p.vote.blind {
			continue
		}
		v.ofPairs.superseded += p.records - 1
		low, high := s.images.rows[key(p.low[:16])], s.images.rows[key(p.high[:16])]
		switch {
		case low == nil || high == nil:
			v.ofPairs.orphans++
		case p.arrived-min(low.last, high.last) > int64(experiment.LateAfter):
			v.ofPairs.late++
		case p.contradictory():
			v.ofPairs.contradicted++
		default:
			said[images{p.low, p.high}] = append(said[images{p.low, p.high}], p)
		}
	}
	for of, rows := range said {
		a, completeA := s.scores(s.images.rows[key(of.low[:16])])
		b, completeB := s.scores(s.images.rows[key(of.high[:16])])
		if !completeA || !completeB {
			v.ofPairs.scoreless += len(rows)
			for arm := range a {
				if (math.IsNaN(a[arm]) || math.IsNaN(b[arm])) && !s.e.Arms[arm].Out {
					v.missing[arm]++
				}
			}
			continue
		}
		slices.SortFunc(rows, func(x, y *pair) int { return cmp.Or(cmp.Compare(x.rater, y.rater), x.last.compare(y.last)) })
		p := preferred{low: of.low, high: of.high, a: a, b: b, first: rows[0].first}
		for i, row := range rows {
			if row.first.compare(p.first) < 0 {
				p.first = row.first
			}
			if i+1 < len(rows) && rows[i+1].rater == row.rater {
				v.ofPairs.superseded++ // said blind and not; the last counts
				continue
			}
			p.winners, p.raters = append(p.winners, row.winner), append(p.raters, row.rater)
			raters[row.rater] = true
			v.votes++
		}
		v.pairs = append(v.pairs, p)
	}
	slices.SortFunc(v.pairs, func(a, b preferred) int {
		return cmp.Or(a.first.compare(b.first), bytes.Compare(a.low[:], b.low[:]), bytes.Compare(a.high[:], b.high[:]))
	})
}

// outcome is what the users of one unit made of what they were shown.
type outcome struct {
	unit    key
	arm     int
	thumbs  []bool
	control []float64 // the control's score of each judged image, NaN where it has none
	first   given
}

// mean is the unit's share of thumbs up.
func (o outcome) mean() float64 {
	up := 0
	for _, t := range o.thumbs {
		if t {
			up++
		}
	}
	return float64(up) / float64(len(o.thumbs))
}

// outcomes are the units with thumbs, by the first one. Units that were in several
// arms are left out, and so are thumbs that name no known assignment.
func (s *State) outcomes() (units []outcome, orphans, superseded int) {
	return s.outcomesOf(s.units.rows, s.e.Phase)
}

// outcomesOf are the outcomes of some units in the phases since one.
func (s *State) outcomesOf(rows map[key]*unit, since int) (units []outcome, orphans, superseded int) {
	place := map[key]int{}
	for _, t := range byFirst(s.thumbs.rows, func(t *thumb) given { return t.first }) {
		a := s.shown.rows[t.assignment]
		if t.named && a != nil && a.phase < since {
			continue
		}
		superseded += t.records - 1
		if !t.named || a == nil {
			orphans++
			continue
		}
		u := rows[a.unit]
		if u == nil || !u.oneArm() {
			continue
		}
		i, there := place[a.unit]
		if !there {
			i = len(units)
			place[a.unit] = i
			units = append(units, outcome{unit: a.unit, arm: u.arm, first: t.first})
		}
		control := math.NaN()
		if picture := s.images.rows[key(a.image[:16])]; picture != nil && picture.scores[s.control].any {
			control = float64(picture.scores[s.control].score)
		}
		units[i].thumbs, units[i].control = append(units[i].thumbs, t.up), append(units[i].control, control)
	}
	return units, orphans, superseded
}

// byFirst orders rows by the first feedback that made them.
func byFirst[V any](rows map[key]*V, first func(*V) given) []*V {
	keys := slices.SortedFunc(maps.Keys(rows), func(a, b key) int {
		return cmp.Or(first(rows[a]).compare(first(rows[b])), bytes.Compare(a[:], b[:]))
	})
	ordered := make([]*V, len(keys))
	for i, k := range keys {
		ordered[i] = rows[k]
	}
	return ordered
}

// credits counts, for every arm, the choices that fell on an image that the arm
// placed, in the order in which they were made.
func (s *State) credits() (arms []int, orphans int) {
	for _, c := range byFirst(s.choices.rows, func(c *choice) given { return c.first }) {
		arm, there := s.credited(c.vote)
		if !there {
			orphans++
			continue
		}
		arms = append(arms, arm)
	}
	return arms, orphans
}

// credited is the arm that placed the image that was taken.
func (s *State) credited(of vote) (arm int, there bool) {
	if placed := s.placed.rows[placeOf(of.assignment, of.image)]; placed != nil {
		return *placed, true
	}
	// One image, one assignment: its name is enough.
	if a := s.shown.rows[of.assignment]; of.named && a != nil && (of.image.IsZero() || of.image == a.image) {
		return a.arm, true
	}
	return 0, false
}

// liveShares are the weights of the arms by which units are assigned; units are
// assigned to interleaved arms too, for requests that are no ranking.
func liveShares(e experiment.Experiment) []float64 {
	weights := make([]float64, len(e.Arms))
	for i, a := range e.Arms {
		if a.Mode != experiment.Shadow {
			weights[i] = float64(a.Weight)
		}
	}
	return weights
}
