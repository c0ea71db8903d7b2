package embedded

import (
	"fmt"
	"time"
)

// RestartPolicy limits restarts of a server that died. The first delay is
// Initial; it doubles each time, up to Max. After Limit restarts within Window
// the supervisor gives up.
type RestartPolicy struct {
	Initial, Max time.Duration
	Limit        int
	Window       time.Duration
}

func (p RestartPolicy) validate() []error {
	var faults []error
	if p.Initial <= 0 || p.Max < p.Initial {
		faults = append(faults,
			fmt.Errorf("Restart.Initial is %v and Restart.Max %v, want 0 < Initial <= Max", p.Initial, p.Max))
	}
	if p.Limit < 0 {
		faults = append(faults, fmt.Errorf("Restart.Limit is %d, want 0 or more", p.Limit))
	}
	if p.Window <= 0 {
		faults = append(faults, fmt.Errorf("Restart.Window is %v, want more than 0", p.Window))
	}
	return faults
}

// restartLog records the restarts of the last Window. The zero value with a
// policy is ready to use.
type restartLog struct {
	policy RestartPolicy
	at     []time.Time
}

// next returns the delay before a restart due now, and whether the policy
// allows it.
func (l *restartLog) next(now time.Time) (time.Duration, bool) {
	for len(l.at) > 0 && now.Sub(l.at[0]) >= l.policy.Window {
		l.at = l.at[1:]
	}
	if len(l.at) >= l.policy.Limit {
		return 0, false
	}
	delay := l.policy.Initial
	for range l.at {
		if delay *= 2; delay >= l.policy.Max {
			delay = l.policy.Max
			break
		}
	}
	l.at = append(l.at, now)
	return delay, true
}
