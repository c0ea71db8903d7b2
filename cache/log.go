package cache

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// loggerOr returns l, or a logger that discards.
func loggerOr(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l
}

// throttle lets the first event of each name through, and then one per
// interval. Names come from closed sets, so it does not grow.
type throttle struct {
	interval time.Duration
	now      func() time.Time

	mu   sync.Mutex
	last map[string]*throttled
}

type throttled struct {
	at         time.Time
	suppressed int
}

// allow reports whether the event may pass, and how many of its name did not
// since the last one that did.
func (t *throttle) allow(name string) (suppressed int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	seen := t.last[name]
	if seen == nil {
		if t.last == nil {
			t.last = make(map[string]*throttled)
		}
		t.last[name] = &throttled{at: now}
		return 0, true
	}
	if now.Sub(seen.at) < t.interval {
		seen.suppressed++
		return 0, false
	}
	suppressed = seen.suppressed
	*seen = throttled{at: now}
	return suppressed, true
}

// outageLog writes when the server is lost, once per interval while it stays
// lost, and when it is back.
type outageLog struct {
	logger   *slog.Logger
	throttle throttle

	mu     sync.Mutex
	logged bool // the loss of the current outage was written
}

// note takes what the breaker made of an operation and its error.
func (o *outageLog) note(c change, err error) {
	if c == unchanged {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	switch c {
	case opened, probeFailed:
		suppressed, ok := o.throttle.allow("outage")
		if !ok {
			return
		}
		o.logged = true
		reason, level := ReasonOf(err), slog.LevelWarn
		if reason == ReasonNoAuth {
			level = slog.LevelError // it will not pass by itself
		}
		o.logger.Log(context.Background(), level, "redis cache is unavailable; continuing without it",
			"reason", string(reason), "error", err.Error(), "suppressed", suppressed)
	case closed:
		if o.logged {
			o.logger.Info("redis cache is available again")
		}
		o.logged = false
	}
}

// faultLog writes faults of single operations, once per interval and kind.
type faultLog struct {
	logger   *slog.Logger
	throttle throttle
}

func newFaultLog(logger *slog.Logger, interval time.Duration) *faultLog {
	return &faultLog{logger: loggerOr(logger), throttle: throttle{interval: interval, now: time.Now}}
}

// note writes a fault, unless it is part of an outage, which the store itself
// reports, or nobody's fault.
func (f *faultLog) note(ctx context.Context, layer Layer, op operation, reason Reason, err error) {
	switch reason {
	case ReasonUnavailable, ReasonCancelled, ReasonTimeout, ReasonRefused, ReasonClosed, ReasonNoAuth, ReasonLoading:
		return
	}
	suppressed, ok := f.throttle.allow(string(layer) + " " + string(op) + " " + string(reason))
	if !ok {
		return
	}
	f.logger.WarnContext(ctx, "cache "+string(op)+" failed; continuing without it",
		"layer", string(layer), "reason", string(reason), "error", err.Error(), "suppressed", suppressed)
}
