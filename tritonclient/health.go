package tritonclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/agiqa/agiqa/quality"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
)

var errExchanged = errors.New("encoder_digest differs from the one described before")

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
	r := c.pick(nil)
	resp, err := r.rpc().ServerMetadata(ctx, &pb.ServerMetadataRequest{})
	if err != nil {
		return ServerInfo{}, r.failure(ctx, "", err)
	}
	return ServerInfo{Name: resp.GetName(), Version: resp.GetVersion(), Extensions: resp.GetExtensions()}, nil
}

// Live reports whether any replica answers.
func (c *Client) Live(ctx context.Context) error {
	return c.any(ctx, func(ctx context.Context, r *replica) error { return r.live(ctx) })
}

// ModelReady reports whether any replica has the model loaded. A model that
// is not is a model_unavailable that names it.
func (c *Client) ModelReady(ctx context.Context, model string) error {
	return c.any(ctx, func(ctx context.Context, r *replica) error { return r.modelReady(ctx, model) })
}

// Probe runs the image encoder on a gray image and checks the embedding. A
// server whose health calls answer may still be unable to compute, so
// readiness should rest on this.
func (c *Client) Probe(ctx context.Context) error {
	return c.any(ctx, c.probe)
}

// Check reports whether any one replica is live, has every named model ready
// and passes a probe, with the encoder that was described. Otherwise it
// returns the error of one that did not.
func (c *Client) Check(ctx context.Context, models ...string) error {
	return c.any(ctx, func(ctx context.Context, r *replica) error {
		if err := r.live(ctx); err != nil {
			return err
		}
		for _, m := range models {
			if err := r.modelReady(ctx, m); err != nil {
				return err
			}
		}
		r.forgetCheck() // ask again: a model may be exchanged without a restart
		return c.probe(ctx, r)
	})
}

// any runs f on every configured address at once and returns nil as soon as
// one succeeds, else one of the errors.
func (c *Client) any(ctx context.Context, f func(context.Context, *replica) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.StatusTimeout)
	defer cancel()
	results := make(chan error, len(c.replicas))
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, r := range c.replicas {
		wg.Go(func() { results <- f(ctx, r) })
	}
	var first error
	for range c.replicas {
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

func (r *replica) live(ctx context.Context) error {
	resp, err := r.rpc().ServerLive(ctx, &pb.ServerLiveRequest{})
	if err != nil {
		return r.failure(ctx, "", err)
	}
	if !resp.GetLive() {
		return quality.Errorf(quality.KindModelUnavailable, "the inference server is not live").After(retryAfter)
	}
	return nil
}

func (r *replica) modelReady(ctx context.Context, model string) error {
	resp, err := r.rpc().ModelReady(ctx, &pb.ModelReadyRequest{Name: model})
	if err != nil {
		return r.failure(ctx, model, err)
	}
	if !resp.GetReady() {
		return quality.Errorf(quality.KindModelUnavailable, "model %s is not ready", model).After(retryAfter)
	}
	return nil
}

func (c *Client) probe(ctx context.Context, r *replica) error {
	enc, err := c.described(ctx)
	if err != nil {
		return err
	}
	gray, err := quality.NewPixels(bytes.Repeat([]byte{128}, quality.PixelsLen))
	if err != nil {
		return err
	}
	if _, err := c.encodeImages(ctx, r, enc, []quality.Pixels{gray}); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	return nil
}
