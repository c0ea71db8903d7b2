package tritonclient

import (
	"bytes"
	"context"
	"fmt"

	"github.com/agiqa/agiqa/quality"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
	"github.com/agiqa/agiqa/tritonclient/replicas"
)

// ServerInfo is what a Triton says of itself.
type ServerInfo struct {
	Name       string
	Version    string
	Extensions []string
}

// Server asks one replica for its name and version.
func (c *Client) Server(ctx context.Context) (ServerInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.StatusTimeout)
	defer cancel()
	r := c.pool.Pick(ctx)
	resp, err := rpc(r).ServerMetadata(ctx, &pb.ServerMetadataRequest{})
	if err != nil {
		return ServerInfo{}, r.Failure(ctx, "", err)
	}
	return ServerInfo{Name: resp.GetName(), Version: resp.GetVersion(), Extensions: resp.GetExtensions()}, nil
}

// Live reports whether any replica answers.
func (c *Client) Live(ctx context.Context) error {
	return c.any(ctx, live)
}

// ModelReady reports whether any replica has the model loaded. A model that
// is not is a model_unavailable that names it.
func (c *Client) ModelReady(ctx context.Context, model string) error {
	return c.any(ctx, func(ctx context.Context, r *replicas.Replica) error { return modelReady(ctx, r, model) })
}

// Probe runs the image encoder, which must be enc, on a gray image and checks the embedding. A
// server whose health calls answer may still be unable to compute, so
// readiness should rest on this.
func (c *Client) Probe(ctx context.Context, enc quality.Encoder) error {
	return c.any(ctx, func(ctx context.Context, r *replicas.Replica) error { return c.probe(ctx, r, enc) })
}

// Check reports whether any one replica is live, has every named model ready
// and passes a probe of enc. Otherwise it returns the error of one that did
// not.
func (c *Client) Check(ctx context.Context, enc quality.Encoder, models ...string) error {
	return c.any(ctx, func(ctx context.Context, r *replicas.Replica) error {
		if err := live(ctx, r); err != nil {
			return err
		}
		for _, m := range models {
			if err := modelReady(ctx, r, m); err != nil {
				return err
			}
		}
		return c.probe(ctx, r, enc)
	})
}

// any is [replicas.Pool.Any] within StatusTimeout.
func (c *Client) any(ctx context.Context, f func(context.Context, *replicas.Replica) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.StatusTimeout)
	defer cancel()
	return c.pool.Any(ctx, f)
}

func live(ctx context.Context, r *replicas.Replica) error {
	resp, err := rpc(r).ServerLive(ctx, &pb.ServerLiveRequest{})
	if err != nil {
		return r.Failure(ctx, "", err)
	}
	if !resp.GetLive() {
		return quality.Errorf(quality.KindModelUnavailable, "the inference server is not live").After(replicas.RetryAfter)
	}
	return nil
}

func modelReady(ctx context.Context, r *replicas.Replica, model string) error {
	resp, err := rpc(r).ModelReady(ctx, &pb.ModelReadyRequest{Name: model})
	if err != nil {
		return r.Failure(ctx, model, err)
	}
	if !resp.GetReady() {
		return quality.Errorf(quality.KindModelUnavailable, "model %s is not ready", model).After(replicas.RetryAfter)
	}
	return nil
}

func (c *Client) probe(ctx context.Context, r *replicas.Replica, enc quality.Encoder) error {
	gray, err := quality.NewPixels(bytes.Repeat([]byte{128}, quality.PixelsLen))
	if err != nil {
		return err
	}
	if _, err := c.encodeImages(ctx, r, enc, []quality.Pixels{gray}); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	return nil
}
