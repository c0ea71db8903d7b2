package scoring

import (
	"context"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/quality"
)

// coalescer lets equal images of different requests be decoded and encoded once.
// The request that comes first leads; the others follow and take what it
// brings: the embedding, or the image's own fault. Nothing else of a leader is
// shared: when it fails for another reason, or leaves, one follower leads in
// its place, with its own time and its own checkpoints.
type coalescer struct {
	mu  sync.Mutex
	all map[quality.EmbeddingKey]*coalescingGroup
}

type coalescingGroup struct {
	key       quality.EmbeddingKey
	done      chan struct{} // closed when embedding or err is set
	lead      chan struct{} // holds a token while nobody leads
	embedding quality.Embedding
	err       error
	followers int // guarded by coalescer.mu
}

// join begins a group, or follows the one that is under way.
func (c *coalescer) join(key quality.EmbeddingKey) (g *coalescingGroup, leads bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g = c.all[key]; g != nil {
		g.followers++
		return g, false
	}
	if c.all == nil {
		c.all = map[quality.EmbeddingKey]*coalescingGroup{}
	}
	g = &coalescingGroup{key: key, done: make(chan struct{}), lead: make(chan struct{}, 1)}
	c.all[key] = g
	return g, true
}

// finish ends a group with what its followers take.
func (c *coalescer) finish(g *coalescingGroup, embedding quality.Embedding, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g.embedding, g.err = embedding, err
	delete(c.all, g.key)
	close(g.done)
}

// handOver gives the lead to one of the followers, if there are any.
func (c *coalescer) handOver(g *coalescingGroup) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g.followers == 0 {
		delete(c.all, g.key)
		return
	}
	g.lead <- struct{}{}
}

// leave is for a follower that waits no longer. The last one takes a lead that
// nobody wanted with it.
func (c *coalescer) leave(g *coalescingGroup) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g.followers--; g.followers > 0 {
		return
	}
	select {
	case <-g.lead:
		delete(c.all, g.key)
	default:
	}
}

// wait returns when the group is finished, or when this follower has to lead it.
func (c *coalescer) wait(ctx context.Context, g *coalescingGroup) (leads bool, err error) {
	select {
	case <-g.done:
		c.leave(g)
		return false, nil
	case <-g.lead:
		c.mu.Lock()
		g.followers--
		c.mu.Unlock()
		return true, nil
	case <-ctx.Done():
		c.leave(g)
		return false, context.Cause(ctx)
	}
}

// claim joins the groups of the images that are not known, and sets those
// aside that other requests lead.
func (w *work) claim() (followed []*subject) {
	var rest []*subject
	for _, s := range w.subjects {
		if s.err != nil || s.cached {
			rest = append(rest, s)
			continue
		}
		if s.group, s.leads = w.service.coalescer.join(w.key(s)); s.leads {
			rest = append(rest, s)
		} else {
			followed = append(followed, s)
		}
	}
	w.subjects = rest
	return followed
}

// settle finishes the groups that this request leads.
func (w *work) settle() {
	for _, s := range w.subjects {
		if !s.leads {
			continue
		}
		s.leads = false
		switch {
		case s.err == nil && s.embedding != nil:
			w.service.coalescer.finish(s.group, s.embedding, nil)
		case s.err != nil && s.everybodys():
			w.service.coalescer.finish(s.group, nil, s.err)
		default:
			w.service.coalescer.handOver(s.group)
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
// request's own groups are finished, so that no two requests wait for each other.
// It leaves in w.subjects what is still to be scored.
func (w *work) follow(ctx context.Context, followed []*subject) error {
	w.subjects = followed
	return w.service.telemetry.run(ctx, w.timings, StageFollow, func(ctx context.Context, span trace.Span) error {
		taken := 0
		for i, s := range followed {
			leads, err := w.service.coalescer.wait(ctx, s.group)
			if err != nil {
				for _, rest := range followed[i+1:] {
					w.service.coalescer.leave(rest.group)
				}
				w.settle() // those that it leads by now
				return err
			}
			if s.leads = leads; leads {
				continue
			}
			taken++
			s.embedding, s.err, s.cached = s.group.embedding, s.group.err, s.group.err == nil
		}
		span.SetAttributes(attribute.Int("agiqa.images.coalesced", taken))
		w.service.telemetry.coalesced.Add(ctx, int64(taken))
		return nil
	})
}
