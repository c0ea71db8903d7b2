package scoring

import (
	"context"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/quality"
)

// flights lets equal images of different requests be decoded and encoded once.
// The request that comes first leads; the others follow and take what it
// brings: the embedding, or the image's own fault. Nothing else of a leader is
// shared: when it fails for another reason, or leaves, one follower leads in
// its place, with its own time and its own checkpoints.
type flights struct {
	mu  sync.Mutex
	all map[quality.EmbeddingKey]*flight
}

type flight struct {
	key       quality.EmbeddingKey
	done      chan struct{} // closed when embedding or err is set
	lead      chan struct{} // holds a token while nobody leads
	embedding quality.Embedding
	err       error
	followers int // guarded by flights.mu
}

// join begins a flight, or follows the one that is under way.
func (f *flights) join(key quality.EmbeddingKey) (fl *flight, leads bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl = f.all[key]; fl != nil {
		fl.followers++
		return fl, false
	}
	if f.all == nil {
		f.all = map[quality.EmbeddingKey]*flight{}
	}
	fl = &flight{key: key, done: make(chan struct{}), lead: make(chan struct{}, 1)}
	f.all[key] = fl
	return fl, true
}

// land ends a flight with what its followers take.
func (f *flights) land(fl *flight, embedding quality.Embedding, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl.embedding, fl.err = embedding, err
	delete(f.all, fl.key)
	close(fl.done)
}

// handOver gives the lead to one of the followers, if there are any.
func (f *flights) handOver(fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl.followers == 0 {
		delete(f.all, fl.key)
		return
	}
	fl.lead <- struct{}{}
}

// leave is for a follower that waits no longer. The last one takes a lead that
// nobody wanted with it.
func (f *flights) leave(fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl.followers--; fl.followers > 0 {
		return
	}
	select {
	case <-fl.lead:
		delete(f.all, fl.key)
	default:
	}
}

// wait returns when the flight is over, or when this follower has to lead it.
func (f *flights) wait(ctx context.Context, fl *flight) (leads bool, err error) {
	select {
	case <-fl.done:
		f.leave(fl)
		return false, nil
	case <-fl.lead:
		f.mu.Lock()
		fl.followers--
		f.mu.Unlock()
		return true, nil
	case <-ctx.Done():
		f.leave(fl)
		return false, context.Cause(ctx)
	}
}

// claim joins the flights of the images that are not known, and sets those
// aside that other requests lead.
func (w *work) claim() (followed []*subject) {
	var rest []*subject
	for _, s := range w.subjects {
		if s.err != nil || s.cached {
			rest = append(rest, s)
			continue
		}
		if s.flight, s.leads = w.service.flights.join(w.key(s)); s.leads {
			rest = append(rest, s)
		} else {
			followed = append(followed, s)
		}
	}
	w.subjects = rest
	return followed
}

// settle ends the flights that this request leads.
func (w *work) settle() {
	for _, s := range w.subjects {
		if !s.leads {
			continue
		}
		s.leads = false
		switch {
		case s.err == nil && s.embedding != nil:
			w.service.flights.land(s.flight, s.embedding, nil)
		case s.err != nil && s.everybodys():
			w.service.flights.land(s.flight, nil, s.err)
		default:
			w.service.flights.handOver(s.flight)
		}
	}
}

// everybodys reports whether the subject's error is its image's: whoever
// follows would meet it as well.
func (s *subject) everybodys() bool {
	kind := quality.KindOf(s.err)
	return !kind.Temporary() && kind != quality.KindClientClosedRequest
}

// follow waits for the images that other requests lead. It comes after this
// request's own flights are over, so that no two requests wait for each other.
// It leaves in w.subjects what is still to be scored.
func (w *work) follow(ctx context.Context, followed []*subject) error {
	w.subjects = followed
	return w.service.telemetry.run(ctx, w.timings, StageFollow, func(ctx context.Context, span trace.Span) error {
		taken := 0
		for i, s := range followed {
			leads, err := w.service.flights.wait(ctx, s.flight)
			if err != nil {
				for _, rest := range followed[i+1:] {
					w.service.flights.leave(rest.flight)
				}
				w.settle() // those that it leads by now
				return err
			}
			if s.leads = leads; leads {
				continue
			}
			taken++
			s.embedding, s.err, s.cached = s.flight.embedding, s.flight.err, s.flight.err == nil
		}
		span.SetAttributes(attribute.Int("agiqa.images.coalesced", taken))
		w.service.telemetry.coalesced.Add(ctx, int64(taken))
		return nil
	})
}
