package scoring

import (
	"context"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/quality"
)

// coalescing is an embedder that has equal rows of different requests, the same
// view of equal images, embedded by next once. The request that comes first leads; the others follow
// and take what it brings: the embedding, or the image's own fault. Nothing
// else of a leader is shared: when it fails for another reason, or leaves, one
// follower leads in its place, with its own time and its own checkpoints.
//
// A request waits for another only while it leads nothing, so that no two wait
// for each other.
type coalescing struct {
	next      embedder
	telemetry *telemetry

	mu     sync.Mutex
	groups map[quality.EmbeddingKey]*coalescingGroup
}

func newCoalescing(next embedder, tel *telemetry) *coalescing {
	return &coalescing{next: next, telemetry: tel, groups: map[quality.EmbeddingKey]*coalescingGroup{}}
}

// coalescingGroup is the requests that want one row embedded. Its fields are
// guarded by coalescing.mu.
type coalescingGroup struct {
	key       quality.EmbeddingKey
	led       bool
	followers int
	result    *embedded     // what followers take; the group is over then
	changed   chan struct{} // closed when there is a result, or a lead to be taken
}

// member is a row of one request in its group.
type member struct {
	row
	place int // in the request
	group *coalescingGroup
}

func (c *coalescing) embed(ctx context.Context, p plan, rows []row) ([]embedded, error) {
	out := make([]embedded, len(rows))
	led, followed, _ := c.take(c.join(p, rows), out)
	defer func() { c.leave(followed) }()
	for {
		err := c.lead(ctx, p, led, out)
		if err != nil {
			return nil, err
		}
		if len(followed) == 0 {
			return out, nil
		}
		err = c.telemetry.run(ctx, p.timings, StageFollow, func(ctx context.Context, span trace.Span) (err error) {
			taken := len(followed)
			if led, followed, err = c.follow(ctx, followed, out); err != nil {
				return err
			}
			taken -= len(led) + len(followed)
			span.SetAttributes(attribute.Int("agiqa.rows.coalesced", taken))
			c.telemetry.coalesced.Add(ctx, int64(taken))
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
}

// join enters the request in the groups of its rows, as a follower.
func (c *coalescing) join(p plan, rows []row) []member {
	c.mu.Lock()
	defer c.mu.Unlock()
	members := make([]member, len(rows))
	for i, one := range rows {
		key := p.key(one)
		g := c.groups[key]
		if g == nil {
			g = &coalescingGroup{key: key, changed: make(chan struct{})}
			c.groups[key] = g
		}
		g.followers++
		members[i] = member{one, i, g}
	}
	return members
}

// take puts the results that there are in their places of out, and takes the
// leads that nobody has. The rest it still follows; changed is closed when it
// is worth asking again.
func (c *coalescing) take(members []member, out []embedded) (led, rest []member, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range members {
		switch g := m.group; {
		case g.result != nil:
			out[m.place] = *g.result
		case !g.led:
			g.led, g.followers = true, g.followers-1
			led = append(led, m)
		default:
			rest, changed = append(rest, m), g.changed
		}
	}
	return led, rest, changed
}

// follow waits until there are results for all members, or a lead to take.
func (c *coalescing) follow(ctx context.Context, members []member, out []embedded) (led, rest []member, err error) {
	for {
		led, rest, changed := c.take(members, out)
		if len(led) > 0 || len(rest) == 0 {
			return led, rest, nil
		}
		select {
		case <-changed:
			members = rest
		case <-ctx.Done():
			return nil, rest, context.Cause(ctx)
		}
	}
}

// leave is for a request that follows no longer.
func (c *coalescing) leave(members []member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range members {
		m.group.followers--
		c.forget(m.group)
	}
}

// lead has next embed the rows whose groups this request leads, and puts the
// results in their places of out. Whatever happens, nobody waits in vain.
func (c *coalescing) lead(ctx context.Context, p plan, members []member, out []embedded) error {
	if len(members) == 0 {
		return nil
	}
	rows := make([]row, len(members))
	for i, m := range members {
		rows[i] = m.row
	}
	var results []embedded
	defer func() { c.release(members, results) }()
	brought, err := c.next.embed(ctx, p, rows)
	if err != nil {
		return err
	}
	results = brought
	for i, m := range members {
		out[m.place] = results[i]
	}
	return nil
}

// release gives followers the results that are theirs as well, and gives up
// the lead of the other groups.
func (c *coalescing) release(members []member, results []embedded) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, m := range members {
		g := m.group
		if i < len(results) && results[i].everybodys() {
			r := results[i]
			g.result = &embedded{embedding: r.embedding, cached: r.err == nil, err: r.err}
		}
		g.led = false
		close(g.changed)
		g.changed = make(chan struct{})
		c.forget(g)
	}
}

// forget deletes a group that has nothing more to do.
func (c *coalescing) forget(g *coalescingGroup) {
	if over := g.result != nil || !g.led && g.followers == 0; over && c.groups[g.key] == g {
		delete(c.groups, g.key)
	}
}

// everybodys reports whether followers may take e: it is an embedding, or an
// error that they would meet as well.
func (e embedded) everybodys() bool {
	kind := quality.KindOf(e.err)
	return e.err == nil || !kind.Temporary() && kind != quality.KindClientClosedRequest
}
