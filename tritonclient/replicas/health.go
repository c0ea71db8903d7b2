package replicas

import (
	"math/rand/v2"
	"sync"
	"time"
)

// callResult is what one call says of the server that it went to.
type callResult int

const (
	inconclusive callResult = iota // the caller left, or the fault was the caller's
	wellServed                     // it answered, be it with a refusal
	modelFailed                    // it answered that a model broke, or what must not be believed
	unreachable                    // no connection, a lost one, or a server that leaves
	exchanged                      // it holds another encoder: it is well, and of no use
	late                           // no answer in a time in which any healthy server answers
)

// ejectionReason names why a replica gets no work; it is a label of a metric.
type ejectionReason string

const (
	ejectedUnreachable ejectionReason = "unreachable"
	ejectedLate        ejectionReason = "late"
	ejectedErrors      ejectionReason = "errors"
)

// Bounds of ejection, and why.
const (
	// Three in a row are no accident, and few enough that the budget of second
	// attempts (five) outlasts them.
	unreachableInARow = 3
	// Five in a row, with not one answer between them, are a server that hangs.
	// An overloaded one answers somebody.
	lateInARow = 5
	// A call that had less time than this, or than ten usual answers take, says
	// nothing when it got no answer: under overload calls begin late.
	latePatience    = 250 * time.Millisecond
	latePatienceFor = 10
	// Half of the last twenty answers broken, while another replica's are not.
	windowLen   = 20
	windowLeast = 10 // answers before a share means anything
	// Growing times, so that a server that is away for long is seldom tried.
	ejectionBase = time.Second
	ejectionMax  = 30 * time.Second
)

// health is what the last answers of a replica say of it. An ejected replica
// gets one probing request each time its time is over, and one on each new
// connection; any sign of life brings it back.
type health struct {
	now func() time.Time

	mu      sync.Mutex
	inARow  map[callResult]int // of unreachable and late, since the last answer
	window  [windowLen]bool    // true: broken
	filled  int
	at      int
	ejected ejectionReason // "": it is not
	until   time.Time
	times   int       // ejections without a long time of health between
	back    time.Time // when it came back the last time
	probing bool
	begun   int64         // connections that had begun when it was ejected
	usual   time.Duration // of an answer, weighted to the last
}

// took notes how long an answer took.
func (s *health) took(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.usual == 0 {
		s.usual = d
	}
	s.usual += (d - s.usual) / 10
}

// patience is the least time without an answer that speaks against the server.
func (s *health) patience() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(latePatience, latePatienceFor*s.usual)
}

func newHealth(now func() time.Time) *health {
	return &health{now: now, inARow: map[callResult]int{}}
}

// admit reports whether the replica may get a request, and whether that is a
// probe, which must be reported. Only a caller that sends takes a probe.
func (s *health) admit(begun int64) (ok, probe bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ejected == "" {
		return true, false
	}
	if s.probing || s.now().Before(s.until) && begun == s.begun {
		return false, false
	}
	return true, true
}

// takeProbe makes the caller the one that probes, unless another was quicker.
func (s *health) takeProbe(begun int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ejected == "" {
		return true
	}
	if s.probing || s.now().Before(s.until) && begun == s.begun {
		return false
	}
	s.probing, s.begun = true, begun
	s.until = s.now().Add(s.pause())
	return true
}

// isEjected also says until when, at most.
func (s *health) isEjected() (bool, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ejected != "", s.until
}

// broken is the share of broken answers, and whether there are enough of them
// to speak of one.
func (s *health) broken() (share float64, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.share()
}

func (s *health) share() (float64, bool) {
	n := 0
	for _, b := range s.window[:s.filled] {
		if b {
			n++
		}
	}
	return float64(n) / float64(max(1, s.filled)), s.filled >= windowLeast
}

// report takes what a call says, and returns why the replica should be ejected
// now, or "".
func (s *health) report(v callResult, probe bool) (wish ejectionReason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if probe {
		s.probing = false
	}
	switch v {
	case wellServed:
		clear(s.inARow)
		s.note(false)
		if s.ejected != "" && (probe || s.ejected != ejectedErrors) {
			s.restore()
			s.filled, s.at = 0, 0
		}
	case modelFailed:
		clear(s.inARow)
		s.note(true)
		if s.ejected == ejectedLate || s.ejected == ejectedUnreachable {
			s.restore() // it lives
		}
		if share, known := s.share(); known && share >= 0.5 && s.ejected == "" {
			return ejectedErrors
		}
	case exchanged:
		if probe {
			s.revive()
		}
	case unreachable, late:
		s.inARow[v]++
		switch {
		case s.ejected != "":
		case s.inARow[late] >= lateInARow:
			return ejectedLate
		case s.inARow[unreachable] >= unreachableInARow:
			return ejectedUnreachable
		}
	}
	return ""
}

// answered takes the answer to a question that is no inference. From the server
// that was ejected it says little; from one on a later connection, that it's there.
func (s *health) answered(begun int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if begun > s.begun && !s.probing {
		s.revive()
	}
}

// revive brings back what was ejected for its silence. s.mu is held.
func (s *health) revive() {
	if s.ejected == ejectedUnreachable || s.ejected == ejectedLate {
		clear(s.inARow)
		s.restore()
		s.filled, s.at = 0, 0
	}
}

// restore ends an ejection. s.mu is held.
func (s *health) restore() { s.ejected, s.back, s.probing = "", s.now(), false }

func (s *health) note(broken bool) {
	s.window[s.at] = broken
	s.at = (s.at + 1) % windowLen
	s.filled = min(windowLen, s.filled+1)
}

// eject takes the replica out, and reports false if it was out already.
func (s *health) eject(why ejectionReason, begun int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ejected != "" {
		return false
	}
	if s.now().Sub(s.back) > 2*ejectionMax {
		s.times = 0
	}
	s.ejected, s.begun, s.probing = why, begun, false
	s.until = s.now().Add(s.pause())
	return true
}

// pause is how long the replica stays out this time: doubled each time, and
// spread, so that many gateways do not probe together.
func (s *health) pause() time.Duration {
	d := min(ejectionBase<<min(s.times, 10), ejectionMax)
	s.times++
	return d - time.Duration(rand.Float64()*float64(d)/5)
}
