package tritonclient

import (
	"context"

	"google.golang.org/grpc/connectivity"

	"github.com/agiqa/agiqa/quality"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
	"github.com/agiqa/agiqa/tritonclient/replicas"
)

// WaitConnected waits until the i-th address, an IP address with one
// connection, has that connection or has none.
func (c *Client) WaitConnected(ctx context.Context, i int, want bool) bool {
	return c.pool.Each(ctx, func(ctx context.Context, r *replicas.Replica) error {
		if r.Addr() != c.cfg.Addresses[i] {
			return nil
		}
		conn := r.Conn()
		for state := conn.GetState(); (state == connectivity.Ready) != want; state = conn.GetState() {
			if !conn.WaitForStateChange(ctx, state) {
				return ctx.Err()
			}
		}
		return nil
	}) == nil
}

// WaitIdle waits until no inference is in flight.
func (c *Client) WaitIdle(ctx context.Context) { c.pool.WaitIdle(ctx) }

// ReadEmbeddings is readReply for one output "image_embedding" [n,dim] of
// model "m", and the check of the rows.
func ReadEmbeddings(resp *pb.ModelInferResponse, n, dim int) ([]quality.Embedding, error) {
	got, err := readReply(resp, "m", []output{{name: tensorImageEmbedding, shape: []int64{int64(n), int64(dim)}}})
	if err != nil {
		return nil, err
	}
	return unitRows("m", tensorImageEmbedding, got[0], dim)
}
