package quality

import "context"

// Passage is what a caller that sends images wants to know of the way, beside
// the answer, and asks for it. It travels in the context of a call to an
// [ImageEncoder] or [Ensemble], since it outlives the caller's own interest: a
// server may break down over images that nobody waits for any more.
type Passage struct {
	// Alone asks that no other call with a passage be at the same server
	// meanwhile. That is tried for a time, not promised: see Lost.
	Alone bool
	// Lost is called when a server was lost with the call under way: the
	// connection broke between sending and answer, or the model's process died.
	// It is called before the call returns, if that did not return before. alone
	// says that no other call with a passage was at that server from this one's
	// beginning to its end.
	Lost func(alone bool)
}

type passageKey struct{}

// WithPassage returns a context whose calls have the passage p, whose Lost is
// not nil.
func WithPassage(ctx context.Context, p Passage) context.Context {
	return context.WithValue(ctx, passageKey{}, p)
}

// PassageOf returns the passage of a call, and false where it has none.
func PassageOf(ctx context.Context) (Passage, bool) {
	p, ok := ctx.Value(passageKey{}).(Passage)
	return p, ok
}
