// Package access says who a request is from and what it may do. It is part of
// the domain: it knows neither HTTP nor a store.
package access

import (
	"context"
	"slices"
)

// Scope is one of the things that a key may allow.
type Scope string

// The scopes. ScopeAdmin includes all others.
const (
	ScopeScore      Scope = "score"      // score, compare and preprocess images
	ScopeFeedback   Scope = "feedback"   // take labelling tasks and store labels
	ScopeRead       Scope = "read"       // read checkpoints, experiments and metrics
	ScopeExperiment Scope = "experiment" // create and change experiments
	ScopeCheckpoint Scope = "checkpoint" // import, activate and remove checkpoints
	ScopeAdmin      Scope = "admin"      // everything, keys included
)

// Scopes returns every scope.
func Scopes() []Scope {
	return []Scope{ScopeScore, ScopeFeedback, ScopeRead, ScopeExperiment, ScopeCheckpoint, ScopeAdmin}
}

// Principal is who a request is from. The zero value is an anonymous caller
// whose address is unknown.
type Principal struct {
	// Client is what limits and fair shares count by: "key:ID" for the holder of
	// a valid key, otherwise "addr:" and an IPv4 address or an IPv6 /64 prefix.
	Client string
	// Connection is what shares within a client count by: the connection that the
	// request came on.
	Connection string
	KeyID      string // ID of the valid key that the request carries; "": none
	Name       string // name of that key
	Scopes     []Scope
	// Rater is the only rater that the key may label as; "" with ScopeFeedback:
	// the key belongs to an application, which names its raters.
	Rater string
}

// Authenticated reports whether the request carries a valid key.
func (p Principal) Authenticated() bool { return p.KeyID != "" }

// By names the holder of a key in records and messages: the key's name and ID, or
// the ID alone for one without a name.
func (p Principal) By() string {
	if p.Name == "" {
		return p.KeyID
	}
	return p.Name + " (" + p.KeyID + ")"
}

// May reports whether the principal's key has a scope.
func (p Principal) May(s Scope) bool {
	return slices.Contains(p.Scopes, s) || slices.Contains(p.Scopes, ScopeAdmin)
}

// Space names the name space of the raters and idempotency keys that the
// principal sends, so that nobody can take another's place. Keys that are bound
// to one rater share it: they are that rater's. So do keys of one name, of which
// one replaces the other, and the admin key has its own.
func (p Principal) Space() string {
	switch {
	case p.Rater != "":
		return "rater:" + p.Rater
	case p.Name != "":
		return "key:" + p.Name
	case p.Authenticated():
		return "admin"
	}
	return ""
}

type contextKey struct{}

// With returns a context that carries p.
func With(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, contextKey{}, p)
}

// From returns the principal that ctx carries, or the zero value.
func From(ctx context.Context) Principal {
	p, _ := ctx.Value(contextKey{}).(Principal)
	return p
}
