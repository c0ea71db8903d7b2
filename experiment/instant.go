package experiment

import "time"

// Instant is now, as far as it is known: not before Earliest, nor after Latest. The two
// differ where the store's clock and the time that passed in this process disagree,
// because a clock was set. What ends something goes by the earliest; a deadline counts
// from the latest. So a clock that jumps, forward or back, ends nothing.
type Instant struct{ Earliest, Latest time.Time }

// Reached reports whether it is certainly as late as t.
func (i Instant) Reached(t time.Time) bool { return !i.Earliest.Before(t) }

// Since is how long ago t is at least.
func (i Instant) Since(t time.Time) time.Duration { return i.Earliest.Sub(t) }

// Add is the instant after a while.
func (i Instant) Add(d time.Duration) Instant { return Instant{i.Earliest.Add(d), i.Latest.Add(d)} }
