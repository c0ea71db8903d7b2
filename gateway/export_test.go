package gateway

import (
	"bytes"
	"context"
	"net/http"
	"net/netip"

	"github.com/danielgtaylor/huma/v2"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
)

// TableKinds returns the kinds that the status table has a row for.
func TableKinds() map[quality.Kind]bool {
	out := map[quality.Kind]bool{}
	for kind, status := range statuses {
		out[kind] = kind.Title() != "" && status >= 400 && status < 600
	}
	return out
}

// ReadBody reads a body as the scoring routes do.
func ReadBody(maxImages int,
	maxImageBytes int64) func(contentType, contentEncoding string, body []byte) (items []scoring.Item, checkpoints,
	include []string, err error) {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	r := newBodyReader(maxImages, maxImageBytes, registry)
	return func(contentType, contentEncoding string, body []byte) ([]scoring.Item, []string, []string, error) {
		free := func(int64) error { return nil }
		b, err := r.read(contentType, contentEncoding, bytes.Clone(body), free)
		return b.items, b.checkpoints, b.include, err
	}
}

// MaxFaults is how many faults of a body are told at most.
const MaxFaults = maxFaults

// ClientOf names whom a request counts for, behind trusted proxies.
func ClientOf(r *http.Request, proxies []netip.Prefix) string {
	return clientOf(clientAddress(r, proxies))
}

// Permit says who may call a route.
type Permit struct {
	Scope access.Scope
	Open  bool
}

// Permits is the table of who may call which route.
func Permits() map[string]Permit {
	out := map[string]Permit{}
	for route, p := range permits {
		out[route] = Permit{p.scope, p.open}
	}
	return out
}

// Routes are those of the router, as "GET /v1/checkpoints/:name".
func (g *Gateway) Routes() []string {
	var out []string
	for _, r := range g.engine.Routes() {
		out = append(out, r.Method+" "+r.Path)
	}
	return out
}

// BodyMemory is what all bodies together may take.
type BodyMemory = bodyMemory

// NewBodyMemory makes one for bodies of a largest size, with one image each.
func NewBodyMemory(budget, largest int64) *BodyMemory { return newBodyMemory(budget, largest, 1) }

// Held is what is taken.
func (m *BodyMemory) Held() int64 { return m.held() }

// Open begins an account of a client.
func (m *BodyMemory) Open(client string, imports bool) *bodyAccount {
	a := &bodyAccount{memory: m, client: client, ctx: context.Background(), full: func() {}}
	if imports {
		a.importing()
	}
	return a
}

// Take counts n bytes, and reports whether there was room.
func (a *bodyAccount) Take(n int64) bool { return a.take(n) == nil }

// Give counts n bytes less.
func (a *bodyAccount) Give(n int64) { a.give(n) }

// Release gives everything back.
func (a *bodyAccount) Release() { a.release() }

// RouteCosts are the costs that a table names, by route.
func RouteCosts() map[string]float64 { return routeCosts }

// HoldRefusals returns what holds back the refusals of the client of a context.
func HoldRefusals() func(ctx context.Context, err error) {
	return newLimits(RateLimit{}, nil, nil).hold
}
