package engine

import (
	"context"
	"time"

	"github.com/agiqa/agiqa/experiment"
)

// clockReading is what the store's clock showed at a time of this process.
type clockReading struct {
	shown experiment.Instant
	at    time.Time
}

// instant is now by the store, which all its servers share: what this process takes
// for the time decides nothing.
func (e *Engine) instant(ctx context.Context) (experiment.Instant, error) {
	shown, err := e.Store.Now(ctx)
	if err != nil {
		return shown, err
	}
	e.lastRead.Store(&clockReading{shown, e.Now()})
	return shown, nil
}

// about is now without asking the store, which was asked a second ago.
func (e *Engine) about() experiment.Instant {
	r := e.lastRead.Load()
	if r == nil {
		return experiment.Instant{Earliest: e.Now(), Latest: e.Now()}
	}
	return r.shown.Add(e.Now().Sub(r.at))
}
