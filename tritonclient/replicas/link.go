package replicas

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// Bounds of questions about what a server holds, and why.
const (
	// freshFor is how old the answer may be that an inference begins with. It is
	// less than Triton needs to load an encoder, so that no two exchanges fit
	// between that answer and the inference.
	freshFor = 100 * time.Millisecond
	// askEvery bounds how often one connection asks: Triton answers such
	// questions from one thread. Inferences that end meanwhile share an answer.
	askEvery = 2 * time.Millisecond
	// askTimeout bounds one question, whoever waits for it.
	askTimeout = 5 * time.Second
	// rememberFor is how long an answer keeps a replica from being chosen for
	// work that it cannot do.
	rememberFor = time.Second
)

// link is one client connection to an address, and what is known of the server
// behind it.
type link struct {
	conn *grpc.ClientConn
	ask  func(ctx context.Context, conn grpc.ClientConnInterface, model string) (identity string, err error)

	// begun counts the connections that there have ever been. grpc-go reports a
	// new one before any call can use it, so what was asked while begun had one
	// value was asked of one server.
	begun atomic.Int64

	mu     sync.Mutex
	models map[string]*inquiry
}

// sighting is what a server said that it holds.
type sighting struct {
	identity string
	begun    int64     // on which connection
	asked    time.Time // when the question left
}

// inquiry is what is known of one model, and the question that is under way.
type inquiry struct {
	last  sighting // asked is zero: none yet
	under *question
}

// question is asked once for all who wait for it.
type question struct {
	asked  time.Time     // zero until it leaves
	done   chan struct{} // closed when answer or err is set
	answer sighting
	err    error
}

var errReconnected = status.Error(codes.Unavailable, "the connection changed while the server was asked what it holds")

var errUnsaid = status.Error(codes.Unavailable, "the server did not say in time what it holds")

// sight returns what the server holds by the name of model, from an answer to
// a question that left at since or later, on the connection of this moment.
func (l *link) sight(ctx context.Context, model string, since time.Time) (sighting, error) {
	for {
		q, known := l.inquire(ctx, model, since)
		if q == nil {
			return known, nil
		}
		select {
		case <-q.done:
		case <-ctx.Done():
			return sighting{}, context.Cause(ctx)
		}
		if !q.asked.Before(since) {
			return q.answer, q.err
		}
	}
}

// inquire returns what is known, or the question to wait for.
func (l *link) inquire(ctx context.Context, model string, since time.Time) (*question, sighting) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := l.models[model]
	if i == nil {
		if l.models == nil {
			l.models = map[string]*inquiry{}
		}
		i = &inquiry{}
		l.models[model] = i
	}
	if s := i.last; !s.asked.IsZero() && s.begun == l.begun.Load() && !s.asked.Before(since) {
		return nil, s
	}
	if i.under == nil {
		i.under = &question{done: make(chan struct{})}
		pause := time.Duration(0)
		if !i.last.asked.IsZero() {
			pause = askEvery - time.Since(i.last.asked)
		}
		go l.put(context.WithoutCancel(ctx), model, i, i.under, pause)
	}
	return i.under, sighting{}
}

// put asks after a pause and keeps the answer.
func (l *link) put(ctx context.Context, model string, i *inquiry, q *question, pause time.Duration) {
	if pause > 0 {
		time.Sleep(pause)
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	l.mu.Lock()
	q.asked = time.Now()
	l.mu.Unlock()
	begun := l.begun.Load()
	identity, err := l.ask(ctx, l.conn, model)
	if err == nil && l.begun.Load() != begun {
		// Connecting for this very question is no change.
		begun = l.begun.Load()
		if identity, err = l.ask(ctx, l.conn, model); err == nil && l.begun.Load() != begun {
			err = errReconnected
		}
	}
	if err != nil && ctx.Err() != nil {
		err = errUnsaid // the question's time is over, and not that of who waits for it
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	q.answer, q.err = sighting{identity, begun, q.asked}, err
	if err == nil {
		i.last = q.answer
	}
	i.under = nil
	close(q.done)
}

// known is what the server said a moment ago that it holds, if it did.
func (l *link) known(model string) (sighting, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := l.models[model]
	if i == nil || i.last.begun != l.begun.Load() || time.Since(i.last.asked) > rememberFor {
		return sighting{}, false
	}
	return i.last, true
}

var _ stats.Handler = (*link)(nil)

// HandleConn implements [stats.Handler].
func (l *link) HandleConn(_ context.Context, s stats.ConnStats) {
	if _, ok := s.(*stats.ConnBegin); ok {
		l.begun.Add(1)
	}
}

// TagConn implements [stats.Handler].
func (l *link) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// TagRPC implements [stats.Handler].
func (l *link) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements [stats.Handler].
func (l *link) HandleRPC(context.Context, stats.RPCStats) {}

// errExchanged is the cause of an error that says that a server holds another
// encoder than a request was made for.
var errExchanged = errors.New("it holds another encoder than the request was made for")
