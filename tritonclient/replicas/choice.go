package replicas

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/connectivity"

	"github.com/agiqa/agiqa/quality"
)

// Pick returns the replica for a question that is no inference: one of those
// that are not ejected if there is one.
func (p *Pool) Pick(ctx context.Context) *Replica {
	p.awaitNames(ctx)
	if r, _ := p.choose(Ask{}, nil, false); r != nil {
		return r
	}
	return p.all()[0] // all are ejected: a question may find out that one is back
}

// choose returns the replica for an inference, none of those that were tried:
// of those that are not ejected, hold what is asked for and are not known to
// lack the model the best connected, and among these the one with the fewest
// requests under way, in turn where equal.
// One whose ejection is over is chosen first, once, and probe is true. It
// returns nil when there is none.
//
// A gateway knows all its own requests, so it compares all replicas and not two
// random ones: that pays where views are stale or replicas many.
func (p *Pool) choose(ask Ask, tried []*Replica, mayProbe bool) (best *Replica, probe bool) {
	bestRank, bestLoad := 0, int64(0)
	start, all := p.next.Add(1), p.all()
	for i := range uint64(len(all)) {
		r := all[(start+i)%uint64(len(all))]
		if slices.Contains(tried, r) {
			continue
		}
		begun := r.begun()
		ok, due := r.health.admit(begun)
		if !ok {
			continue
		}
		if due {
			if mayProbe && !r.holdsOther(ask.Holds) && r.health.takeProbe(begun) {
				return r, true
			}
			continue
		}
		rank := 2 * connectionRank(r.state())
		if !r.missing.has(ask.Model) {
			rank++
		}
		if !r.holdsOther(ask.Holds) {
			rank += 2 * connectionRanks // what holds something else is asked again, last
		}
		load := r.outstanding.Load()
		if rank > bestRank || rank == bestRank && load < bestLoad {
			best, bestRank, bestLoad = r, rank, load
		}
	}
	return best, false
}

// connectionRanks is above every rank.
const connectionRanks = 4

func connectionRank(s connectivity.State) int {
	switch s {
	case connectivity.Ready:
		return 3
	case connectivity.Connecting, connectivity.Idle:
		return 2
	}
	return 1
}

// Available returns nil when some server may answer, and otherwise, at once, a
// model_unavailable. It is for those who have work to do before they ask.
func (p *Pool) Available() error {
	for _, r := range p.all() {
		ok, _ := r.health.admit(r.begun())
		if ok && connectionRank(r.state()) > 1 {
			return nil
		}
	}
	return p.noReplica()
}

// noReplica is the error that no replica may be asked, with the time until one may be.
func (p *Pool) noReplica() error {
	after := RetryAfter
	for _, r := range p.all() {
		if out, until := r.health.isEjected(); out {
			after = max(time.Millisecond, min(after, time.Until(until)))
		}
	}
	return quality.Errorf(quality.KindModelUnavailable, "no inference server answers").After(after)
}

// assess tells a replica's health what a call said, and ejects it where
// that asks for it. The last replica that is connected and not ejected stays,
// unless it hangs: then answers come at once instead of at their deadlines.
func (p *Pool) assess(r *Replica, v callResult, probe bool) {
	why := r.health.report(v, probe)
	if why == "" || why != ejectedLate && !p.othersServe(r, why) {
		return
	}
	if r.health.eject(why, r.begun()) {
		p.metrics.ejection(why)
		p.lookAgain(r)
	}
}

// othersServe reports whether another replica is there to take the work, and
// where errors are the reason, does better.
func (p *Pool) othersServe(r *Replica, why ejectionReason) bool {
	for _, other := range p.all() {
		if other == r || other.state() != connectivity.Ready {
			continue
		}
		if out, _ := other.health.isEjected(); out {
			continue
		}
		if share, _ := other.health.broken(); why == ejectedErrors && share >= 0.5 {
			continue
		}
		return true
	}
	return false
}

// missingModels remembers for a moment which models a replica said it does not have,
// so that others are asked first.
type missingModels struct {
	now func() time.Time
	mu  sync.Mutex
	of  map[string]time.Time // until when that is believed
}

// missingFor is short: a model may be loaded at any time.
const missingFor = time.Second

func (l *missingModels) has(model string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	until, ok := l.of[model]
	if ok && !l.now().Before(until) {
		delete(l.of, model)
		return false
	}
	return ok
}

func (l *missingModels) note(model string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = map[string]time.Time{}
	}
	l.of[model] = l.now().Add(missingFor)
}
