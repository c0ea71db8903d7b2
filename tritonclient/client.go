package tritonclient

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"github.com/agiqa/agiqa/internal/retrybudget"
	"github.com/agiqa/agiqa/quality"
)

// Client talks to one or more Triton servers that hold the same models. It is
// safe for concurrent use.
type Client struct {
	cfg      Config
	replicas []*replica
	next     atomic.Uint64 // round robin
	inFlight *inFlight
	budget   retrybudget.Budget
	metrics  *instruments
	codec    wire
	batch    *batchLimits
	encoder  atomic.Pointer[quality.Encoder] // nil until Describe succeeded
	lookup   func(ctx context.Context, host string) ([]string, error)
	close    func() error

	logger      *slog.Logger
	watching    sync.WaitGroup // follows outages
	stopWatches context.CancelFunc
}

// New returns a client. It checks the configuration and starts to connect in
// the background; a Triton that is not there yet is not an error.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("triton client: %w", err)
	}
	c := &Client{
		cfg:      cfg,
		inFlight: newInFlight(cfg.MaxInFlight),
		batch:    newBatchLimits(),
		lookup:   lookupHost,
		codec:    newWire(),
		logger:   cfg.Logger,
	}
	if c.logger == nil {
		c.logger = slog.New(slog.DiscardHandler)
	}
	var err error
	if c.metrics, err = newInstruments(cfg.Meter, c); err != nil {
		return nil, fmt.Errorf("triton client: %w", err)
	}
	c.close = sync.OnceValue(c.closeAll)
	var watches context.Context
	watches, c.stopWatches = context.WithCancel(context.Background())
	for _, addr := range cfg.Addresses {
		r, err := c.dial(addr)
		if err != nil {
			c.stopWatches()
			c.watching.Wait()
			c.closeReplicas()
			return nil, fmt.Errorf("triton client: %w", err)
		}
		c.replicas = append(c.replicas, r)
		r.connect()
		c.watching.Go(func() { r.watch(watches, c.logger) })
	}
	return c, nil
}

// Close refuses new inferences, waits until those in flight are answered or
// out of time, at most RequestTimeout, cuts off the rest, and closes the
// connections. Further calls return what the first did.
func (c *Client) Close() error { return c.close() }

func (c *Client) closeAll() error {
	ctx, cancel := context.WithTimeout(context.Background(), c.cfg.RequestTimeout)
	defer cancel()
	c.stopWatches()
	c.watching.Wait()
	c.inFlight.drain(ctx)
	err := errors.Join(c.metrics.release(), c.closeReplicas())
	c.inFlight.drain(context.Background()) // prompt: their connections are gone
	return err
}

// InFlight returns how many inferences Triton has not answered yet, and how
// many of these no caller waits for.
func (c *Client) InFlight() (running, abandoned int) { return c.inFlight.count() }

// lookupHost prefers IPv4, so that a name such as localhost, which stands for
// one server under two addresses, is one replica.
func lookupHost(ctx context.Context, host string) ([]string, error) {
	for _, network := range []string{"ip4", "ip6"} {
		ips, err := net.DefaultResolver.LookupIP(ctx, network, host)
		if err == nil && len(ips) > 0 {
			out := make([]string, len(ips))
			for i, ip := range ips {
				out[i] = ip.String()
			}
			return out, nil
		}
		if network == "ip6" && err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("host %q has no address", host)
}
