package replicas

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/agiqa/agiqa/internal/retrybudget"
)

// Pool is the replicas of one configuration. It is safe for concurrent use.
type Pool struct {
	cfg      Config
	calls    Calls
	names    []*name
	set      atomic.Pointer[[]*Replica] // at least one
	changing sync.Mutex                 // held while set or leaving changes
	leaving  []*Replica                 // get no more work
	next     atomic.Uint64              // round robin
	inFlight *inFlight
	budget   retrybudget.Budget
	metrics  *instruments

	watching    sync.WaitGroup // follows outages
	stopWatches context.CancelFunc
}

// Calls is what a pool has to know of the calls that it sends.
type Calls struct {
	// Identify asks the server behind conn what it holds by the name of a model,
	// and returns gRPC's own error if the question fails. Two servers that say
	// the same compute the same.
	Identify func(ctx context.Context, conn grpc.ClientConnInterface, model string) (string, error)
	// Label returns a model's value of the metric label "model". There must be
	// few of them.
	Label func(model string) string
}

// New returns a pool. It checks the configuration and starts to connect in the
// background; a server that is not there yet is not an error.
func New(cfg Config, calls Calls) (*Pool, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Lookup == nil {
		cfg.Lookup = lookupHost
	}
	p := &Pool{cfg: cfg, calls: calls, inFlight: newInFlight(cfg.MaxInFlight)}
	var err error
	if p.metrics, err = newInstruments(p); err != nil {
		return nil, err
	}
	var watches context.Context
	watches, p.stopWatches = context.WithCancel(context.Background())
	all := make([]*Replica, 0, len(cfg.Addresses))
	p.set.Store(&all)
	for _, addr := range cfg.Addresses {
		r, err := p.dial(addr, "")
		if err != nil {
			p.stopWatches()
			p.watching.Wait()
			return nil, errors.Join(err, p.closeReplicas())
		}
		if host, port, ok := isName(addr); ok {
			r.name = &name{addr: addr, host: host, port: port, again: make(chan struct{}, 1), looked: make(chan struct{})}
			p.names = append(p.names, r.name)
		}
		all = append(all, r)
		p.set.Store(&all)
		p.begin(watches, r)
	}
	for _, n := range p.names {
		p.watching.Go(func() { p.follow(watches, n) })
	}
	p.watching.Go(func() { p.watchSilence(watches) })
	return p, nil
}

// all are the replicas that may get work.
func (p *Pool) all() []*Replica { return *p.set.Load() }

// begin connects a replica and follows its outages until ctx ends.
func (p *Pool) begin(ctx context.Context, r *Replica) {
	r.connect()
	p.watching.Go(func() { r.watch(ctx, p.cfg.Logger) })
}

// Close refuses new inferences, waits until those in flight are answered or
// ctx ends, cuts off the rest, and closes the connections. It is called once.
func (p *Pool) Close(ctx context.Context) error {
	p.stopWatches()
	p.watching.Wait()
	p.inFlight.close()
	p.WaitIdle(ctx)
	err := errors.Join(p.metrics.release(), p.closeReplicas())
	p.WaitIdle(context.Background()) // prompt: their connections are gone
	return err
}

func (p *Pool) closeReplicas() error {
	var errs []error
	p.changing.Lock()
	defer p.changing.Unlock()
	for _, r := range slices.Concat(p.all(), p.leaving) {
		errs = append(errs, r.close())
	}
	return errors.Join(errs...)
}

// InFlight returns how many inferences have not been answered yet, and how
// many of these no caller waits for.
func (p *Pool) InFlight() (running, abandoned int) { return p.inFlight.count() }

// WaitIdle returns when no inference is in flight or ctx ends.
func (p *Pool) WaitIdle(ctx context.Context) { p.inFlight.wait(ctx) }

// Any runs f on every replica at once and returns nil as soon as
// one succeeds, else one of the errors.
func (p *Pool) Any(ctx context.Context, f func(context.Context, *Replica) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.awaitNames(ctx)
	all := p.all()
	results := make(chan error, len(all))
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, r := range all {
		wg.Go(func() { results <- f(ctx, r) })
	}
	var first error
	for range all {
		err := <-results
		if err == nil {
			cancel()
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// Each runs f on every replica at once and joins the errors, each an [Error]
// with the replica's address: what it returns is for operators.
func (p *Pool) Each(ctx context.Context, f func(context.Context, *Replica) error) error {
	p.awaitNames(ctx)
	replicas := p.all()
	errs := make([]error, len(replicas))
	var wg sync.WaitGroup
	for i, r := range replicas {
		wg.Go(func() {
			if err := f(ctx, r); err != nil {
				errs[i] = &Error{Replica: r.addr, Err: err}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
