package tritonclient

import (
	"context"
	"fmt"
	"sync"
	"time"

	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
	"github.com/agiqa/agiqa/tritonclient/replicas"
)

// Client talks to one or more Triton servers that hold the same models. It is
// safe for concurrent use.
type Client struct {
	cfg   Config
	pool  *replicas.Pool
	codec wire
	batch *batchLimits
	close func() error
}

// New returns a client. It checks the configuration and starts to connect in
// the background; a Triton that is not there yet is not an error.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("triton client: %w", err)
	}
	c := &Client{cfg: cfg, batch: newBatchLimits(), codec: newWire()}
	var err error
	c.pool, err = replicas.New(cfg.Config, replicas.Calls{Identify: c.identify, Label: cfg.Models.label})
	if err != nil {
		return nil, fmt.Errorf("triton client: %w", err)
	}
	c.close = sync.OnceValue(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), cfg.RequestTimeout)
		defer cancel()
		return c.pool.Close(ctx)
	})
	return c, nil
}

// Close refuses new inferences, waits until those in flight are answered or
// out of time, at most RequestTimeout, cuts off the rest, and closes the
// connections. Further calls return what the first did.
func (c *Client) Close() error { return c.close() }

// InFlight returns how many inferences Triton has not answered yet, and how
// many of these no caller waits for.
func (c *Client) InFlight() (running, abandoned int) { return c.pool.InFlight() }

// Silence is how long all servers have left everything unanswered that was
// sent to them; 0 if one did not.
func (c *Client) Silence() time.Duration { return c.pool.Silence() }

// Available returns nil when some server may answer, and otherwise, at once, a
// model_unavailable. It is for those who have work to do before they ask.
func (c *Client) Available() error { return c.pool.Available() }

// rpc speaks over the next of a replica's connections.
func rpc(r *replicas.Replica) pb.GRPCInferenceServiceClient {
	return pb.NewGRPCInferenceServiceClient(r.Conn())
}
