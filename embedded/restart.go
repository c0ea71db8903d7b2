package embedded

import (
	"fmt"
	"time"
)

// RestartPolicy bounds how often and how fast a server that died is started
// again: after Initial, then twice as long each time, at most Max; and at most
// Limit times within Window, after which the supervisor gives up.
type RestartPolicy struct {
	Initial, Max time.Duration
	Limit        int
	Window       time.Duration
}

func (p RestartPolicy) validate() []error {
	var faults []error
	if p.Initial <= 0 || p.Max < p.Initial {
		faults = append(faults, fmt.Errorf("Restart.Initial is %v and Restart.Max %v, want 0 < Initial <= Max", p.Initial, p.Max))
	}
	if p.Limit < 0 {
		faults = append(faults, fmt.Errorf("Restart.Limit is %d, want 0 or more", p.Limit))
	}
	if p.Window <= 0 {
		faults = append(faults, fmt.Errorf("Restart.Window is %v, want more than 0", p.Window))
	}
	return faults
}

// restartLog remembers the restarts of the last Window. The zero value with a
// policy is ready for use.
type restartLog struct {
	policy RestartPolicy
	at     []time.Time
}

// next reports how long to wait before the restart that is due now, and
// whether there may be one.
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
