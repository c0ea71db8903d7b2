package analysis

import (
	"cmp"
	"math"
	"strconv"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

// given orders what one rater said of one thing.
type given struct {
	nanos   int64
	key, id string
}

func givenOf(f experiment.Feedback) given {
	at := f.Given
	if at.IsZero() {
		at = f.Time
	}
	return given{at.UnixNano(), f.Key, f.ID}
}

func (g given) compare(o given) int {
	return cmp.Or(cmp.Compare(g.nanos, o.nanos), cmp.Compare(g.key, o.key), cmp.Compare(g.id, o.id))
}

// vote is the part that all kinds of feedback share: the rater, the subject and the time.
type vote struct {
	rater       string
	assignment  key // zero where none was named
	named       bool
	image       quality.Digest
	blind       bool
	first, last given
	arrived     int64 // nanoseconds; of the last
	records     int
}

// take notes a record and reports whether it is the last one given so far.
func (s *vote) take(f experiment.Feedback) bool {
	at := givenOf(f)
	if s.records == 0 || at.compare(s.first) < 0 {
		s.first = at
	}
	latest := s.records == 0 || at.compare(s.last) > 0
	s.records++
	if !latest {
		return false
	}
	s.rater, s.image, s.blind, s.last, s.arrived = f.Rater, f.Image, f.Blind, at, f.Time.UnixNano()
	s.named = f.Assignment != ""
	if s.named {
		s.assignment = keyOf(f.Assignment)
	}
	return true
}

// label is a rater's opinion of an image.
type label struct {
	vote
	value float64
}

// thumb is a user's rating of what was shown.
type thumb struct {
	vote
	up bool
}

// choice is the image that was taken from an interleaved ranking.
type choice struct{ vote }

// winner of a pair whose images are in the order of their digests.
type winner uint8

const (
	tie winner = iota
	lowWins
	highWins
)

// pair is a rater's preference.
type pair struct {
	vote
	low, high quality.Digest
	winner    winner
	seen      uint8 // winners that were ever given, a bit each
}

func (p pair) contradictory() bool {
	return p.seen&(1<<lowWins) != 0 && p.seen&(1<<highWins) != 0
}

// How an opinion was given, as part of the key of its row.
const (
	blindly = "blind"
	openly  = "seen"
)

// Feedback takes one piece of feedback. Its standing is looked at for lateness
// only, which the store knows; the rest follows from the other records.
func (s *State) Feedback(r experiment.Sequenced[experiment.Feedback]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log.Feedback = max(s.log.Feedback, r.Seq)
	f := r.Record
	if !s.known("feedback", f.ID, f.Experiment, f.Phase) {
		return
	}
	s.latest = max(s.latest, f.Time.UnixNano())
	if f.State == experiment.Late {
		s.late++
		return
	}
	// Whatever a label says of itself, only the server knows that it is blind.
	f.Blind = f.IsBlind(s.e)
	blind := openly
	if f.Blind {
		blind = blindly
	}
	// What is said without naming an image is about that of the assignment.
	about := f.Image.Hex()
	if f.Image.IsZero() {
		about = "assignment " + f.Assignment
	}
	switch f.Kind {
	case experiment.MOS:
		if !(math.Abs(f.Value) <= 1e6) {
			s.odd++
			return
		}
		row, made := s.labels.row(keyOf(f.Rater, about, blind))
		if made && row != nil && f.Blind {
			s.answered(f.Image)
		}
		if row != nil && row.take(f) {
			row.value = f.Value
		}
	case experiment.Thumb:
		if f.Value != 0 && f.Value != 1 {
			s.odd++
			return
		}
		if row, _ := s.thumbs.row(keyOf(f.Rater, about, strconv.Itoa(f.Phase))); row != nil && row.take(f) {
			row.up = f.Value == 1
		}
	case experiment.Choice:
		if row, _ := s.choices.row(keyOf(f.ID)); row != nil {
			row.take(f)
		}
	case experiment.Pair:
		s.preference(f, blind)
	default:
		s.odd++
	}
}

func (s *State) preference(f experiment.Feedback, blind string) {
	low, high, won := f.ImageA, f.ImageB, lowWins
	if f.Winner == "b" {
		won = highWins
	}
	if low.Hex() > high.Hex() {
		low, high = high, low
		won = lowWins + highWins - won
	}
	switch {
	case f.Winner == "tie":
		won = tie
	case f.Winner != "a" && f.Winner != "b", low == high:
		s.odd++
		return
	}
	row, made := s.pairs.row(keyOf(f.Rater, low.Hex(), high.Hex(), blind))
	if row == nil {
		return
	}
	if made && f.Blind {
		s.compared(low)
		s.compared(high)
	}
	row.low, row.high = low, high
	row.seen |= 1 << won
	if row.take(f) {
		row.winner = won
	}
}
