package replicas

import (
	"context"
	"errors"
	"log/slog"
	"net"
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
	replicas []*Replica
	next     atomic.Uint64 // round robin
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
	for _, addr := range cfg.Addresses {
		r, err := p.dial(addr, "")
		if err != nil {
			p.stopWatches()
			p.watching.Wait()
			return nil, errors.Join(err, p.closeReplicas())
		}
		p.replicas = append(p.replicas, r)
		r.connect()
		p.watching.Go(func() { r.watch(watches, cfg.Logger) })
	}
	return p, nil
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
	for _, r := range p.replicas {
		errs = append(errs, r.close())
	}
	return errors.Join(errs...)
}

// InFlight returns how many inferences have not been answered yet, and how
// many of these no caller waits for.
func (p *Pool) InFlight() (running, abandoned int) { return p.inFlight.count() }

// WaitIdle returns when no inference is in flight or ctx ends.
func (p *Pool) WaitIdle(ctx context.Context) { p.inFlight.wait(ctx) }

// Any runs f on every configured address at once and returns nil as soon as
// one succeeds, else one of the errors.
func (p *Pool) Any(ctx context.Context, f func(context.Context, *Replica) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan error, len(p.replicas))
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, r := range p.replicas {
		wg.Go(func() { results <- f(ctx, r) })
	}
	var first error
	for range p.replicas {
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
// with the replica's address: what it returns is for operators. A name that
// stands for several addresses, such as a headless service, is several
// replicas here.
func (p *Pool) Each(ctx context.Context, f func(context.Context, *Replica) error) error {
	replicas, done, err := p.expand(ctx)
	if err != nil {
		return err
	}
	defer done()
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

// expand returns one replica for every server behind the configured
// addresses, and what to call when done with them.
func (p *Pool) expand(ctx context.Context) (_ []*Replica, done func(), err error) {
	var all, temporary []*Replica
	done = func() {
		for _, r := range temporary {
			_ = r.close() // nothing is in flight on it
		}
	}
	for _, r := range p.replicas {
		host, port, err := net.SplitHostPort(r.addr)
		if err != nil || net.ParseIP(host) != nil { // a socket, or one server
			all = append(all, r)
			continue
		}
		ips, err := p.cfg.Lookup(ctx, host)
		if err != nil || len(ips) < 2 {
			all = append(all, r) // one server, or a name whose error its own call tells best
			continue
		}
		for _, ip := range ips {
			t, err := p.dial(net.JoinHostPort(ip, port), r.addr)
			if err != nil {
				done()
				return nil, nil, err
			}
			all, temporary = append(all, t), append(temporary, t)
		}
	}
	return all, done, nil
}
