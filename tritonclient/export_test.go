package tritonclient

import (
	"context"
	"log/slog"

	"google.golang.org/grpc/connectivity"

	"github.com/agiqa/agiqa/quality"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
)

// WaitConnected waits until the i-th address has a connection, or has none.
func (c *Client) WaitConnected(ctx context.Context, i int, want bool) bool {
	conn := c.replicas[i].links[0]
	for state := conn.GetState(); (state == connectivity.Ready) != want; state = conn.GetState() {
		if !conn.WaitForStateChange(ctx, state) {
			return false
		}
	}
	return true
}

// WaitIdle waits until no inference is in flight.
func (c *Client) WaitIdle(ctx context.Context) { c.inFlight.wait(ctx) }

// SetLookup replaces the resolver of host names.
func (c *Client) SetLookup(f func(ctx context.Context, host string) ([]string, error)) { c.lookup = f }

// Classify is failure on a made-up replica.
func Classify(model string, err error) error {
	return (&replica{addr: "192.0.2.1:8001"}).failure(context.Background(), model, err)
}

// MayGoElsewhere reports whether a request that failed with err may be sent
// to another replica. answered says that the server sent the error.
func MayGoElsewhere(err error, answered bool) bool { return meaningOf(err).again(answered) }

// ReadEmbeddings is readReply for one output "image_embedding" [n,dim] of
// model "m", and the check of the rows.
func ReadEmbeddings(resp *pb.ModelInferResponse, n, dim int) ([]quality.Embedding, error) {
	got, err := readReply(resp, "m", []output{{name: tensorImageEmbedding, shape: []int64{int64(n), int64(dim)}}})
	if err != nil {
		return nil, err
	}
	return unitRows("m", tensorImageEmbedding, got[0], dim)
}

// Watch does what a client does when the first connection to addr reaches the
// given states, and returns the cause of an outage that it knows in the end.
func Watch(ctx context.Context, addr string, logger *slog.Logger, states ...connectivity.State) (cause string) {
	r := &replica{addr: addr}
	for _, state := range states {
		r.look(ctx, logger, state)
	}
	return r.outage.why()
}
