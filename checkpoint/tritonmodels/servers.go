package tritonmodels

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient"
	"github.com/agiqa/agiqa/tritonclient/replicas"
)

// Servers are all replicas of a Triton client. Errors name the replicas that
// failed: they are for operators.
type Servers struct {
	client  *tritonclient.Client
	encoder func() (quality.Encoder, bool)
	upload  bool
}

var _ lifecycle.Servers = (*Servers)(nil)

// NewServers returns the servers behind client. encoder tells which encoder is
// in use. With upload, load calls carry the heads of imported checkpoints.
func NewServers(client *tritonclient.Client, encoder func() (quality.Encoder, bool), upload bool) *Servers {
	return &Servers{client: client, encoder: encoder, upload: upload}
}

// Encoder implements [lifecycle.Servers].
func (s *Servers) Encoder() (quality.Encoder, bool) { return s.encoder() }

// Encoders implements [lifecycle.Servers].
func (s *Servers) Encoders(ctx context.Context) ([]quality.Encoder, error) {
	return s.client.Encoders(ctx)
}

// EncodePrompts implements [lifecycle.Servers].
func (s *Servers) EncodePrompts(
	ctx context.Context, encoder quality.Encoder, p quality.Prompts,
) ([]quality.Embedding, error) {
	return s.client.EncodePrompts(ctx, encoder, p)
}

// models are a checkpoint's, in the order in which they are taken down.
func models(c quality.Checkpoint) []string {
	if c.HasEnsemble() {
		return []string{c.EnsembleModel(), c.HeadModel()}
	}
	return []string{c.HeadModel()}
}

// Ready implements [lifecycle.Servers].
func (s *Servers) Ready(ctx context.Context, c quality.Checkpoint) error {
	for _, model := range models(c) {
		if err := s.client.ReadyEverywhere(ctx, model); err != nil {
			return forOperators(err)
		}
	}
	return nil
}

// Load implements [lifecycle.Servers].
func (s *Servers) Load(ctx context.Context, e lifecycle.Entry) error {
	c := e.Checkpoint
	if !s.upload || !e.Imported {
		// The load of an ensemble loads its steps.
		return forOperators(s.client.Ensure(ctx, models(c)[0], nil))
	}
	upload, err := s.uploadOf(ctx, e.Bundle)
	if err != nil {
		return forOperators(err)
	}
	return forOperators(s.client.Ensure(ctx, c.HeadModel(), upload))
}

// uploadOf makes a head of the kind that the servers run.
func (s *Servers) uploadOf(ctx context.Context, b *checkpoint.Bundle) (*tritonclient.ModelUpload, error) {
	variant, err := s.variant(ctx)
	if err != nil {
		return nil, err
	}
	head, err := checkpoint.NewHeadModel(b, variant)
	if err != nil {
		return nil, err
	}
	return tritonclient.NewUpload(head.Config, head.Files)
}

// variant is the kind of model that the servers run.
func (s *Servers) variant(ctx context.Context) (checkpoint.Variant, error) {
	runtime, err := s.client.Runtime(ctx)
	if err != nil {
		return "", err
	}
	return VariantOf(runtime), nil
}

// VariantOf returns the kind of model that servers with that runtime run.
func VariantOf(r tritonclient.Runtime) checkpoint.Variant {
	switch {
	case r.Backend == "python":
		return checkpoint.Embedded
	case r.GPU:
		return checkpoint.GPU
	}
	return checkpoint.CPU
}

// Unload implements [lifecycle.Servers].
func (s *Servers) Unload(ctx context.Context, c quality.Checkpoint) error {
	var faults []error
	for _, model := range models(c) {
		faults = append(faults, s.client.Unload(ctx, model))
	}
	return forOperators(errors.Join(faults...))
}

// Check implements [lifecycle.Servers].
func (s *Servers) Check(ctx context.Context, encoder quality.Encoder, c quality.Checkpoint) error {
	return forOperators(s.client.CheckCheckpointEverywhere(ctx, encoder, c))
}

// Score implements [lifecycle.Servers].
func (s *Servers) Score(ctx context.Context, encoder quality.Encoder, c quality.Checkpoint,
	text quality.TextEmbeddings,
	images, prompts []quality.Embedding) (map[string][]quality.HeadScore, error) {
	answers, err := s.client.ScoreEverywhere(ctx, encoder, c, text, images, prompts)
	return answers, forOperators(err)
}

// forOperators says what failed on which replica in the part of an error that
// is shown: whoever changes checkpoints has to know where to look. The kind is
// that of the first.
func forOperators(err error) error {
	if err == nil {
		return nil
	}
	var lines []string
	for _, r := range replicaErrors(err) {
		detail := "failed"
		if e, ok := errors.AsType[*quality.Error](r.Err); ok {
			detail = e.Detail
		}
		lines = append(lines, fmt.Sprintf("on %s: %s", r.Replica, detail))
	}
	if len(lines) == 0 {
		return err
	}
	slices.Sort(lines)
	return quality.Errorf(quality.KindOf(err), "%s", strings.Join(slices.Compact(lines), "; ")).Because(err)
}

// replicaErrors finds the outermost replica errors of a tree of joined ones.
func replicaErrors(err error) []*replicas.Error {
	switch e := err.(type) {
	case *replicas.Error:
		return []*replicas.Error{e}
	case interface{ Unwrap() []error }:
		var all []*replicas.Error
		for _, part := range e.Unwrap() {
			all = append(all, replicaErrors(part)...)
		}
		return all
	}
	return nil
}
