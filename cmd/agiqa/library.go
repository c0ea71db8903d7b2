package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/clip"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/quality"
)

// library is the registry of checkpoints in the words of the gateway and of
// scoring.
type library struct {
	registry  *checkpoint.Registry
	tokenizer *clip.Tokenizer
}

// openLibrary reads the bundles of the settings' folder.
func openLibrary(s config.Settings) (*library, error) {
	name := s.DefaultCheckpoint
	registry, err := checkpoint.LoadDir(s.Checkpoints, name, checkpoint.DefaultLimits())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("setting checkpoints: no folder %s", s.Checkpoints)
	}
	if err != nil {
		return nil, err
	}
	if _, err := registry.Default(); err != nil && name == "" {
		if _, err := registry.Get("demo"); err == nil {
			if registry, err = checkpoint.NewRegistry(registry.List(), "demo"); err != nil {
				return nil, err
			}
		}
	}
	if len(registry.List()) == 0 {
		return nil, fmt.Errorf("setting checkpoints: no bundle in %s", s.Checkpoints)
	}
	tokenizer, err := clip.New()
	if err != nil {
		return nil, err
	}
	return &library{registry: registry, tokenizer: tokenizer}, nil
}

// Prompts implements [scoring.PromptAssembler].
func (l *library) Prompts(c quality.Checkpoint) (quality.Prompts, error) {
	b, err := l.registry.ByDigest(c.Digest)
	if err != nil {
		return quality.Prompts{}, err
	}
	return clip.Assemble(l.tokenizer, b.PromptSpec())
}

// Get implements [gateway.Checkpoints].
func (l *library) Get(name string) (gateway.CheckpointInfo, error) {
	b, err := l.registry.Get(name)
	if err != nil {
		return gateway.CheckpointInfo{}, err
	}
	return describe(b), nil
}

// Default implements [gateway.Checkpoints].
func (l *library) Default() (gateway.CheckpointInfo, error) {
	b, err := l.registry.Default()
	if err != nil {
		return gateway.CheckpointInfo{}, quality.Errorf(quality.KindCheckpointNotFound,
			"there is no default checkpoint; name one")
	}
	return describe(b), nil
}

// List implements [gateway.Checkpoints].
func (l *library) List() []gateway.CheckpointInfo {
	var out []gateway.CheckpointInfo
	for _, b := range l.registry.List() {
		out = append(out, describe(b))
	}
	return out
}

func describe(b *checkpoint.Bundle) gateway.CheckpointInfo {
	m := b.Manifest()
	return gateway.CheckpointInfo{
		Checkpoint: b.Checkpoint(), ClassTokenPosition: string(m.ClassTokenPosition), ContextLength: m.ContextLength,
		ClassSpecific: m.ClassSpecific, Licence: m.Licence, Training: object(m.Training), Metrics: object(m.Metrics),
	}
}

// object reads a free-form part of a manifest, which the bundle reader has
// checked to be an object.
func object(raw json.RawMessage) map[string]any {
	var out map[string]any
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil
	}
	return out
}
