package server

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"go.opentelemetry.io/otel/metric"

	"github.com/agiqa/agiqa/cache"
	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
	"github.com/agiqa/agiqa/tritonclient"
)

// models keeps scoring in step with the encoder that Triton serves: caches
// are made for one encoder and replaced when another one appears.
type models struct {
	triton   *tritonclient.Client
	library  *lifecycle.Library
	service  *scoring.Service
	settings config.Settings
	logger   *slog.Logger
	meter    metric.MeterProvider
	texts    *cache.Memory
	images   *cache.Memory // nil: none are kept
	redis    *cache.Redis  // nil: none
	manager  *lifecycle.Manager
	panels   *lifecycle.Panels // nil: heads are asked one by one
	wake     func()            // Triton may have lost models

	mu      sync.Mutex
	encoder quality.Encoder
	current *cache.Texts
	vectors *cache.Images           // nil: none are kept
	checked map[quality.Digest]bool // checkpoints that passed with this encoder
}

// checks are what readiness depends on at all times. The first also follows
// the encoder.
func (m *models) checks() []gateway.Check {
	checks := []gateway.Check{
		{Name: "encoder", Critical: true, Run: m.follow},
		{Name: "inference", Critical: true, Run: m.triton.Probe},
	}
	if m.redis != nil {
		checks = append(checks, gateway.Check{Name: "redis", Run: m.checkRedis})
	}
	return checks
}

// checkpointChecks are one for each checkpoint of the moment, and one for what
// only some of the servers have.
func (m *models) checkpointChecks() []gateway.Check {
	s := m.library.Snapshot()
	def, _ := s.Default()
	checks := []gateway.Check{{Name: "checkpoints", Run: m.checkReplicas}}
	for _, e := range s.List() {
		checks = append(checks, gateway.Check{
			Name: "checkpoint " + e.Checkpoint.Name, Critical: e.Checkpoint.Digest == def.Checkpoint.Digest,
			Run: func(ctx context.Context) error { return m.checkCheckpoint(ctx, e.Checkpoint) },
		})
	}
	return checks
}

// checkReplicas reports a checkpoint that could not be loaded into every
// server. It scores on the others; why is in the log, with addresses.
func (m *models) checkReplicas(context.Context) error {
	for _, e := range m.library.Snapshot().List() {
		if err := m.manager.Trouble(e.Checkpoint.Digest); err != nil {
			return quality.Errorf(quality.KindModelUnavailable,
				"checkpoint %s could not be loaded into every inference server; it is tried again", e.Checkpoint.Name).Because(err)
		}
	}
	return nil
}

// Encoder returns the encoder in use, and false while there is none.
func (m *models) Encoder() (quality.Encoder, bool) { return m.service.Encoder() }

// TextEmbeddings gives those of the encoder in use, and keeps them.
func (m *models) TextEmbeddings(ctx context.Context, c quality.Checkpoint) (quality.TextEmbeddings, bool, error) {
	m.mu.Lock()
	texts := m.current
	m.mu.Unlock()
	if texts == nil {
		return quality.TextEmbeddings{}, false, errNoEncoder()
	}
	return texts.TextEmbeddings(ctx, c)
}

func errNoEncoder() error {
	return quality.Errorf(quality.KindModelUnavailable, "the encoder is not known yet")
}

// follow asks Triton which encoder it serves and makes scoring use it.
func (m *models) follow(ctx context.Context) error {
	encoder, err := m.triton.Describe(ctx)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if encoder == m.encoder {
		return nil
	}
	texts, err := m.newTexts(encoder)
	if err != nil {
		return err
	}
	var vectors *cache.Images
	next := &scoring.Models{Encoder: encoder, Texts: texts}
	if m.panels != nil {
		next.Panels = m.panels
	}
	if m.images != nil {
		cfg := cache.DefaultImagesConfig()
		cfg.Encoder, cfg.Store, cfg.TTL = encoder, m.images, m.settings.ImageTTL
		cfg.Logger, cfg.Meter = m.logger, m.meter
		if m.redis != nil && m.settings.ImageRedis {
			cfg.Remote, cfg.RemoteTTL = m.redis, m.settings.ImageRedisTTL
		}
		if vectors, err = cache.NewImages(cfg); err != nil {
			return errors.Join(err, texts.Close(ctx))
		}
		next.Embeddings = vectors
	}
	m.service.Use(next)
	m.logger.InfoContext(ctx, "encoder in use", "name", encoder.Name, "digest", encoder.Digest.String())
	old, before := m.current, m.vectors
	m.vectors = vectors
	m.encoder, m.current, m.checked = encoder, texts, map[quality.Digest]bool{}
	m.wake()
	if before != nil {
		err = before.Close(ctx)
	}
	if old != nil {
		err = errors.Join(err, old.Close(ctx))
	}
	return err
}

func (m *models) newTexts(encoder quality.Encoder) (*cache.Texts, error) {
	cfg := cache.DefaultTextsConfig()
	cfg.Encoder, cfg.Recipe, cfg.Memory, cfg.TTL = encoder, scoring.PromptRecipe, m.texts, m.settings.TextTTL
	cfg.Logger, cfg.Meter = m.logger, m.meter
	if m.redis != nil {
		cfg.Remote = m.redis
	}
	return cache.NewTexts(cfg, scoring.PromptEncoder{Assembler: m.library, Encoder: m.triton})
}

// checkCheckpoint asks whether Triton serves a checkpoint's models. The first
// time it compares their digests and tensors and fetches the text embeddings,
// so that no request waits for the text encoder; models never change under
// their name, so that after it readiness is enough.
func (m *models) checkCheckpoint(ctx context.Context, c quality.Checkpoint) error {
	m.mu.Lock()
	encoder, texts, checked := m.encoder, m.current, m.checked[c.Digest]
	m.mu.Unlock()
	if texts == nil {
		return errNoEncoder()
	}
	if c.Encoder != encoder.Digest {
		return quality.Errorf(quality.KindEncoderMismatch,
			"it was trained on another encoder than the one in use (%s); import and activate one that was trained on that", encoder.Name)
	}
	if checked {
		err := m.triton.ModelReady(ctx, c.HeadModel())
		if !c.HeadOnly {
			err = errors.Join(m.triton.ModelReady(ctx, c.EnsembleModel()), err)
		}
		return err
	}
	if err := m.triton.CheckCheckpoint(ctx, encoder, c); err != nil {
		return err
	}
	if _, _, err := texts.TextEmbeddings(ctx, c); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if encoder == m.encoder {
		m.checked[c.Digest] = true
	}
	return nil
}

// checkRedis only reports: without Redis the server is slower, not wrong.
func (m *models) checkRedis(ctx context.Context) error {
	m.mu.Lock()
	encoder := m.encoder
	m.mu.Unlock()
	if err := m.redis.Check(ctx, encoder); err != nil {
		return quality.Errorf(quality.KindModelUnavailable, "%s; scoring continues without it", cache.Explain(err)).Because(err)
	}
	return nil
}

func (m *models) close(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.service.Use(nil)
	var err error
	if m.vectors != nil {
		err = m.vectors.Close(ctx)
	}
	if m.current != nil {
		err = errors.Join(err, m.current.Close(ctx))
	}
	return err
}
