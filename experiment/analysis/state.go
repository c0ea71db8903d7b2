package analysis

import (
	"context"
	"math"
	"slices"
	"sync"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

// MostArms is how many arms an experiment may have here.
const MostArms = 64

// State is what is remembered of the records of an experiment up to one of its
// phases. It takes one record after the other, in any order and as often as one
// likes: what it concludes depends on the set of records alone, to the last bit. To
// that end it adds nothing but whole numbers while it reads; sums of fractions are
// made when they are asked for, over rows in an order of their own.
//
// The rules of reading:
//
//   - Images, labels, pairs and choices are those of the phase and of all before it:
//     what people say of images doesn't depend on how units are split. Exposures by
//     arm, units and thumbs are those of the phase alone.
//   - A unit whose bucket was another arm's in an earlier phase gives no thumbs.
//   - An exposure or a piece of feedback counts once, by its id.
//   - An image has the scores of its earliest exposure, by time, then id.
//   - A unit belongs to the arm of its earliest exposure. One that was seen in
//     another arm too is a multiple exposure.
//   - Of several labels of one rater for one image the one given last counts, by
//     the time given, then key, then id. Blind labels and others do so
//     separately: what was said with the score in view changes nothing that was
//     said without. A label is blind if it answers a task; the server takes no
//     answers of an experiment that has ended.
//   - Of several winners of one pair by one rater the last counts, unless two are
//     opposite: then none does.
//   - Late feedback is left out, and so is feedback for which no exposure is known
//     until there is one.
//   - Exposures of another encoder or another preparation count as assigned, and
//     their scores are not used.
//
// Memory is bounded by [Limits]. Methods may be called from several goroutines.
type State struct {
	mu      sync.Mutex
	e       experiment.Experiment
	limits  Limits
	arms    map[experiment.ArmID]int // places in e.Arms
	control int

	log     Log
	seen    table[struct{}] // ids of exposures and of feedback
	shown   table[shown]    // by assignment
	placed  table[int]      // by assignment and image of an interleaved ranking: the arm
	units   table[unit]
	stayed  table[unit] // of all phases, those of one arm throughout; from the second phase on
	images  table[image]
	labels  table[label]
	pairs   table[pair]
	thumbs  table[thumb]
	choices table[choice]
	asked   table[asked] // by image: how many raters answered tasks
	perArm  []armCounts
	late    int
	odd     int // feedback with a value that is no number, or of no known kind
	foreign int // exposures of another encoder or preparation
	// unplaced are exposures of the present phase, of units, without a bucket.
	unplaced int
	perHour  map[int64][]int // exposures by hour and arm
	latest   int64           // time of the latest record
	version  int64           // counts changes
	decided  *decided        // the last conclusion, with its version
}

// Log says how the log was read. It is the only part of a conclusion that depends
// on the way that records came.
type Log struct {
	Exposures int64 `json:"exposures_offset"` // place of the last exposure that was read
	Feedback  int64 `json:"feedback_offset"`
	Repeated  int   `json:"repeated"`    // records that were read before, by id
	Other     int   `json:"other_phase"` // records of later phases
}

// New returns the state of an experiment up to its phase before its first record. The
// error, of kind experiment_invalid, names what cannot be analysed: no control or
// several, an arm twice, too few arms or too many.
func New(e experiment.Experiment, limits Limits) (*State, error) {
	if err := limits.Validate(); err != nil {
		return nil, err
	}
	if len(e.Arms) < 2 || len(e.Arms) > MostArms {
		return nil, quality.Errorf(quality.KindExperimentInvalid,
			"Experiment %s has %d arms; 2 to %d can be analysed.", e.ID, len(e.Arms), MostArms)
	}
	s := &State{
		e: e, limits: limits, arms: map[experiment.ArmID]int{}, control: -1,
		seen:    newTable[struct{}](limits.Exposures),
		shown:   newTable[shown](limits.Exposures),
		placed:  newTable[int](limits.Exposures),
		units:   newTable[unit](limits.Units),
		stayed:  newTable[unit](limits.Units),
		images:  newTable[image](limits.Images),
		labels:  newTable[label](limits.Labels),
		pairs:   newTable[pair](limits.Labels),
		thumbs:  newTable[thumb](limits.Labels),
		choices: newTable[choice](limits.Labels),
		asked:   newTable[asked](limits.Images),
		perHour: map[int64][]int{}, latest: math.MinInt64,
	}
	for i, a := range e.Arms {
		if _, twice := s.arms[a.ID]; twice {
			return nil, quality.Errorf(quality.KindExperimentInvalid, "Experiment %s has arm %s twice.", e.ID, a.ID)
		}
		s.arms[a.ID] = i
		if a.Role == experiment.Control {
			if s.control >= 0 {
				return nil, quality.Errorf(quality.KindExperimentInvalid, "Experiment %s has two control arms.", e.ID)
			}
			s.control = i
		}
		s.perArm = append(s.perArm, newArmCounts())
	}
	if s.control < 0 {
		return nil, quality.Errorf(quality.KindExperimentInvalid, "Experiment %s has no control arm.", e.ID)
	}
	return s, nil
}

// Read takes all records that the store has beyond those that were read before.
// It may be called as often as one likes, after an error too.
func (s *State) Read(ctx context.Context, store experiment.Store) error {
	at := s.Log()
	for r, err := range store.Exposures(ctx, s.e.ID, at.Exposures) {
		if err != nil {
			return err
		}
		s.Exposure(r)
	}
	for r, err := range store.Feedback(ctx, s.e.ID, at.Feedback) {
		if err != nil {
			return err
		}
		s.Feedback(r)
	}
	return nil
}

// Update takes a later revision of the experiment: its state, what it is held for,
// its coverage in the first phase. False means that the revision splits units in
// another way, for which there has to be a new State.
func (s *State) Update(e experiment.Experiment) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.ID != s.e.ID || e.Phase != s.e.Phase || !slices.Equal(e.Arms, s.e.Arms) {
		return false
	}
	if len(e.Past) > 0 && e.Coverage != s.e.Coverage {
		return false // other units stayed in their arms
	}
	s.e = e
	s.version++
	return true
}

// Log says what was read.
func (s *State) Log() Log {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log
}

// known reports whether a record belongs here and was not read before.
func (s *State) known(kind, id string, of experiment.ID, phase int) bool {
	if of != s.e.ID {
		return false
	}
	if row, made := s.seen.row(keyOf(kind, id)); row != nil && !made {
		s.log.Repeated++
		return false
	}
	if phase > s.e.Phase {
		s.log.Other++
		return false
	}
	s.version++
	return true
}
