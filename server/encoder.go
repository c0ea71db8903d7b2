package server

import (
	"context"
	"log/slog"

	"github.com/agiqa/agiqa/cache"
	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/experiment/sqlstore"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
	"github.com/agiqa/agiqa/tritonclient"
)

// follower keeps the service in step with the encoder that Triton serves.
type follower struct {
	triton  *tritonclient.Client
	caches  *cache.ByEncoder
	library *lifecycle.Library
	service *scoring.Service
	panels  panels
	manager *lifecycle.Manager
	logger  *slog.Logger
}

// follow asks Triton which encoder it serves and makes scoring use it.
func (f follower) follow(ctx context.Context) error {
	encoder, err := f.triton.Describe(ctx)
	if err != nil {
		return err
	}
	switched, err := f.caches.Switch(ctx, encoder, func(texts *cache.Texts, embeddings quality.EmbeddingCache) {
		f.service.Use(&scoring.Models{Encoder: encoder, Texts: texts, Prompts: texts,
			Embeddings: embeddings, Panels: f.panels})
	})
	if switched {
		f.logger.InfoContext(ctx, "encoder in use", "name", encoder.Name, "digest", encoder.Digest.String(),
			"precision", encoder.Precision)
		if name := f.library.UseEncoder(encoder); name != "" {
			f.logger.InfoContext(ctx, "default checkpoint for this encoder", "name", name)
		}
		f.reload()
	}
	return err
}

// reload asks for models that Triton may have lost.
func (f follower) reload() {
	f.manager.Wake()
	f.panels.Wake()
}

// checks are what readiness depends on.
type checks struct {
	follower
	readiness *lifecycle.Readiness
	redis     *cache.Redis // nil: none
	preparing gateway.Check
	models    string          // why these models are served; "" where nobody chose
	store     *sqlstore.Store // nil: none
	faults    []gateway.Check // that the server started with
}

// current are all checks of the moment.
func (c checks) current() []gateway.Check { return append(c.always(), c.ofCheckpoints()...) }

// always are the checks that do not depend on which checkpoints there are. The
// first one also follows the encoder.
func (c checks) always() []gateway.Check {
	all := []gateway.Check{
		{Name: "encoder", Critical: true, Run: c.follow, Note: c.describeEncoder},
		{Name: "inference", Critical: true, Run: c.probe},
		c.preparing,
	}
	if c.redis != nil {
		all = append(all, gateway.Check{Name: "redis", Run: c.checkRedis})
	}
	if c.store != nil {
		all = append(all, gateway.Check{Name: "store", Run: c.store.Check})
	}
	return append(all, c.faults...)
}

// probe has a server compute.
func (c checks) probe(ctx context.Context) error {
	encoder, ok := c.service.Encoder()
	if !ok {
		return quality.Errorf(quality.KindModelUnavailable, "the encoder is not known yet")
	}
	return c.triton.Probe(ctx, encoder)
}

// describeEncoder names the encoder in use and says why it is that one.
func (c checks) describeEncoder() string {
	e := c.caches.Encoder()
	text := e.Name
	if e.Precision != "" {
		text += ", " + e.Precision
	}
	if c.models != "" {
		text += " (" + c.models + ")"
	}
	return text
}

// ofCheckpoints are one for each checkpoint of the moment, and one for what
// only some of the servers have.
func (c checks) ofCheckpoints() []gateway.Check {
	s := c.library.Snapshot()
	def, err := s.Default()
	all := []gateway.Check{{Name: "checkpoints", Run: c.checkReplicas}}
	if err != nil && quality.KindOf(err) != quality.KindCheckpointNotFound {
		all = append(all, gateway.Check{Name: "default", Critical: true, Run: func(context.Context) error { return err }})
	}
	encoder := c.caches.Encoder()
	for _, e := range s.List() {
		isDefault := e.Checkpoint.Digest == def.Checkpoint.Digest
		if !encoder.Digest.IsZero() && e.Checkpoint.Encoder != encoder.Digest && !isDefault {
			continue // shipped for other encoders, and nothing to wait for
		}
		all = append(all, gateway.Check{
			Name: "checkpoint " + e.Checkpoint.Name, Critical: isDefault,
			Run: func(ctx context.Context) error {
				encoder := c.caches.Encoder()
				if encoder.Digest.IsZero() {
					return quality.Errorf(quality.KindModelUnavailable, "the encoder is not known yet")
				}
				return c.readiness.Check(ctx, encoder, e.Checkpoint)
			},
		})
	}
	return all
}

// checkReplicas reports a checkpoint that could not be loaded into every
// server. It scores on the others; why is in the log, with addresses.
func (c checks) checkReplicas(context.Context) error {
	for _, e := range c.library.List() {
		if err := c.manager.Failure(e.Checkpoint.Digest); err != nil {
			return quality.Errorf(quality.KindModelUnavailable,
				"checkpoint %s could not be loaded into every inference server; it is tried again", e.Checkpoint.Name).Because(err)
		}
	}
	return nil
}

// checkRedis only reports: without Redis the server is slower, not wrong.
func (c checks) checkRedis(ctx context.Context) error {
	if err := c.redis.Check(ctx, c.caches.Encoder()); err != nil {
		return quality.Errorf(quality.KindModelUnavailable, "%s; scoring continues without it",
			cache.Explain(err)).Because(err)
	}
	return nil
}
