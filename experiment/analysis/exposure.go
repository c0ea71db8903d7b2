package analysis

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

// moment orders records of one kind: by time, then id.
type moment struct {
	nanos int64
	id    [16]byte
}

func momentOf(t time.Time, id string) moment {
	m := moment{nanos: t.UnixNano()}
	// A UUID keeps its own order; anything else has the order of a hash.
	if raw, err := hex.DecodeString(strings.ReplaceAll(id, "-", "")); err == nil && len(raw) == len(m.id) {
		copy(m.id[:], raw)
	} else {
		m.id = keyOf(id)
	}
	return m
}

func (m moment) compare(o moment) int {
	return cmp.Or(cmp.Compare(m.nanos, o.nanos), bytes.Compare(m.id[:], o.id[:]))
}

// unit is what was assigned as a whole.
type unit struct {
	first moment
	arm   int
	arms  uint64 // all arms that it was seen in, a bit each
	moved bool   // it was another arm's in an earlier phase
}

// oneArm reports whether a unit was in no arm but its own, in any phase.
func (u *unit) oneArm() bool { return u.arms&(u.arms-1) == 0 && !u.moved }

// saw notes an exposure of a unit.
func (u *unit) saw(at moment, arm int, made bool) {
	if made || at.compare(u.first) < 0 {
		u.first, u.arm = at, arm
	}
	u.arms |= 1 << arm
}

// shown is what a client was told of under one assignment.
type shown struct {
	first moment
	last  int64 // nanoseconds
	unit  key
	image quality.Digest
	arm   int
	phase int
}

// image is a picture with what the arms said of it.
type image struct {
	digest quality.Digest
	first  moment     // of the earliest exposure
	last   int64      // nanoseconds
	scores []armScore // by arm
	prompt key        // of the prompt, or of the image where none was sent
	trace  string
	slices map[string]string
	blind  bool // of some exposure nobody was shown the score
	open   bool // of some exposure somebody may have been
}

// armScore is the score that one arm gave an image.
type armScore struct {
	from      moment // the earliest exposure with a score
	any       bool
	score     float32
	low, high float32 // over all exposures
}

// armCounts are whole numbers about one arm, or about all.
type armCounts struct {
	exposures, ok, cached, blind int            // shown this arm
	statuses                     map[string]int // shown this arm, by status
	scores                       int            // scores that the arm gave, shown or not
	faults                       map[string]int // scores that it failed to give, by fault
	head, whole                  *hdrhistogram.Histogram
}

// Times are kept from a microsecond to ten minutes with two digits.
const (
	longestMicros = int64(10 * time.Minute / time.Microsecond)
	timeDigits    = 2
	mostNames     = 64 // statuses and faults are closed sets; this is for the records of a stranger
)

func newArmCounts() armCounts {
	return armCounts{
		statuses: map[string]int{}, faults: map[string]int{},
		head:  hdrhistogram.New(1, longestMicros, timeDigits),
		whole: hdrhistogram.New(1, longestMicros, timeDigits),
	}
}

// Exposure takes one exposure.
func (s *State) Exposure(r experiment.Sequenced[experiment.Exposure]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log.Exposures = max(s.log.Exposures, r.Seq)
	x := r.Record
	arm, known := s.arms[x.Shown]
	if !s.known("exposure", x.ID, x.Experiment, x.Phase) {
		return
	}
	at := momentOf(x.Time, x.ID)
	s.latest = max(s.latest, at.nanos)
	present := x.Phase == s.e.Phase
	if present {
		for _, a := range x.Scores {
			if i, ok := s.arms[a.Arm]; ok {
				s.perArm[i].take(a)
			}
		}
	}
	if known {
		if present {
			s.count(x, arm)
		}
		s.assigned(x, at, arm, present)
	}
	s.picture(x, at)
}

// take counts a score, or why there is none.
func (c *armCounts) take(a experiment.ArmScore) {
	if a.Fault != "" || !usable(a.Score) {
		count(c.faults, cmp.Or(a.Fault, "nan"))
		return
	}
	c.scores++
}

// usable reports whether a score is a number of a size that can be squared.
func usable(score float32) bool { return math.Abs(float64(score)) <= 1e6 }

func count(names map[string]int, name string) {
	if _, there := names[name]; !there && len(names) >= mostNames {
		name = "other"
	}
	names[name]++
}

// count counts what an exposure says of its arm.
func (s *State) count(x experiment.Exposure, arm int) {
	c := &s.perArm[arm]
	c.exposures++
	count(c.statuses, x.Status)
	if x.Status == experiment.Ok {
		c.ok++
		record(c.head, x.HeadMS)
		record(c.whole, x.TotalMS)
	}
	if x.Cached {
		c.cached++
	}
	if x.Blind {
		c.blind++
	}
	hour := s.hour(x.Time)
	if s.perHour[hour] == nil {
		s.perHour[hour] = make([]int, len(s.perArm))
	}
	s.perHour[hour][arm]++
}

// assigned notes what an exposure says of its unit and its assignment.
func (s *State) assigned(x experiment.Exposure, at moment, arm int, present bool) {
	unitKey := keyOf(string(x.UnitKind), x.Unit)
	if x.Rank == 0 && x.Unit != "" {
		if present {
			if x.Bucket == nil {
				s.unplaced++
			}
			if u, made := s.units.row(unitKey); u != nil {
				u.saw(at, arm, made)
				u.moved = u.moved || x.Bucket != nil && s.e.Moved(*x.Bucket, x.Shown)
			}
		}
		if len(s.e.Past) > 0 && x.Bucket != nil && s.e.Stayed(*x.Bucket, x.Shown) {
			if u, made := s.stayed.row(unitKey); u != nil {
				u.saw(at, arm, made)
			}
		}
	}
	assignment := keyOf(x.Assignment)
	if x.Rank > 0 {
		if placed, made := s.placed.row(placeOf(assignment, x.Image)); placed != nil && made {
			*placed = arm
		}
	}
	if a, made := s.shown.row(assignment); a != nil {
		if made || at.compare(a.first) < 0 {
			a.first, a.unit, a.image, a.arm, a.phase = at, unitKey, x.Image, arm, x.Phase
		}
		a.last = max(a.last, at.nanos)
	}
}

// placeOf is the key of an image in the ranking of an assignment.
func placeOf(assignment key, image quality.Digest) key {
	return keyOf("placed", string(assignment[:]), image.Hex())
}

// record adds a time; what is no time is left out.
func record(h *hdrhistogram.Histogram, ms float64) {
	if ms >= 0 {
		_ = h.RecordValue(int64(min(max(1, math.Round(ms*1000)), float64(longestMicros)))) // within its range
	}
}

// mostHours bounds the counts by hour: more than a year.
const mostHours = 10_000

// hour is the hour since the making of the experiment, which never changes; within
// bounds.
func (s *State) hour(t time.Time) int64 {
	return min(max(0, int64(t.Sub(s.e.Created)/time.Hour)), mostHours-1)
}

// picture remembers the scores of an image.
func (s *State) picture(x experiment.Exposure, at moment) {
	if x.Encoder != s.e.Encoder || x.Preprocess != s.e.Preprocess {
		s.foreign++
		return
	}
	row, made := s.images.row(key(x.Image[:16]))
	if row == nil {
		return
	}
	if made {
		row.scores = make([]armScore, len(s.perArm))
	}
	if made || at.compare(row.first) < 0 {
		row.digest, row.first, row.trace, row.slices = x.Image, at, x.Trace, bounded(x.Slices)
		// Images of one prompt share a fold (its last byte), so that a mapping is never tested on what
		// it was fitted to.
		if row.prompt = key(x.Image[16:]); !x.Prompt.IsZero() {
			row.prompt = key(x.Prompt[16:])
		}
	}
	row.last = max(row.last, at.nanos)
	row.blind, row.open = row.blind || x.Blind, row.open || !x.Blind
	for _, a := range x.Scores {
		i, ok := s.arms[a.Arm]
		if !ok || a.Fault != "" || !usable(a.Score) {
			continue
		}
		said := &row.scores[i]
		if !said.any {
			said.low, said.high = a.Score, a.Score
		}
		if !said.any || at.compare(said.from) < 0 {
			said.any, said.from, said.score = true, at, a.Score
		}
		said.low, said.high = min(said.low, a.Score), max(said.high, a.Score)
	}
}

// Attributes of an image beyond these are not kept.
const (
	mostSlices  = 8
	longestName = 64
)

// bounded keeps the first few attributes by name.
func bounded(attributes map[string]string) map[string]string {
	if len(attributes) == 0 {
		return nil
	}
	kept := make(map[string]string, min(mostSlices, len(attributes)))
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		value := attributes[name]
		if len(kept) < mostSlices && len(name) <= longestName && len(value) <= longestName && value != "" {
			kept[name] = value
		}
	}
	return kept
}
