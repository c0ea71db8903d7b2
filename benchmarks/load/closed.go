package load

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// Closed sends on every connection as soon as the answer to the request before
// has come, for d. Its latency leaves out what callers would have waited for
// their turn: it measures what a server can do, not what a caller experiences.
func (o Options) Closed(ctx context.Context, target Target, d time.Duration) (Run, error) {
	if d <= 0 {
		return Run{}, errors.New("the duration must be positive")
	}
	g, err := newGenerator(ctx, target, o)
	if err != nil {
		return Run{}, err
	}
	g.run.Loop, g.run.Length = ClosedLoop, d
	ctx, cut := context.WithCancelCause(ctx)
	defer cut(nil)
	var mu sync.Mutex
	number := 0
	next := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		number++
		return number - 1, g.now() < d && number <= maxRequests
	}
	g.begin()
	done := g.lanes(ctx, func(ctx context.Context, lane Lane) {
		var mine []Record
		for ctx.Err() == nil {
			i, ok := next()
			if !ok {
				break
			}
			rec := Record{Start: g.now()}
			rec.Due = rec.Start
			g.send(lane, i, &rec)
			mine = append(mine, rec)
			g.o.Progress.Ended.Add(1)
		}
		mu.Lock()
		defer mu.Unlock()
		g.run.Records = append(g.run.Records, mine...)
	})
	drained := time.AfterFunc(d+o.Drain, func() { cut(errDrained) })
	defer drained.Stop()
	<-done
	sortByDue(g.run.Records)
	return g.finish(ctx), nil
}

func sortByDue(records []Record) {
	slices.SortStableFunc(records, func(a, b Record) int { return cmp.Compare(a.Due, b.Due) })
}
