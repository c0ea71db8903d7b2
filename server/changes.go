package server

import (
	"context"
	"time"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/quality"
)

// changes is the manager of checkpoints in the words of the gateway.
type changes struct{ manager *lifecycle.Manager }

var _ gateway.CheckpointChanges = changes{}

// Import implements [gateway.CheckpointChanges].
func (c changes) Import(ctx context.Context, in gateway.CheckpointImport) (gateway.CheckpointReport, error) {
	limits := checkpoint.DefaultLimits()
	limits.NoGolden = true // the manager makes some
	bundle, err := checkpoint.Decode(in.Manifest, in.Weights, limits)
	if err != nil {
		return gateway.CheckpointReport{}, err
	}
	r, err := c.manager.Import(ctx, lifecycle.Import{Bundle: bundle, Name: in.Name, Activate: in.Activate, By: in.By})
	if err != nil {
		return gateway.CheckpointReport{}, err
	}
	report := gateway.CheckpointReport{
		CheckpointChange: changeView(r.Change), Known: r.Known, Steps: []gateway.CheckpointStep{}, Golden: r.Golden, MaxDiff: r.MaxDiff,
	}
	for _, s := range r.Steps {
		report.Steps = append(report.Steps, gateway.CheckpointStep{Name: string(s.Name), MS: float64(s.Took) / float64(time.Millisecond)})
	}
	return report, nil
}

// Activate implements [gateway.CheckpointChanges].
func (c changes) Activate(ctx context.Context, name, by string) (gateway.CheckpointChange, error) {
	change, err := c.manager.Activate(ctx, name, by)
	return changeView(change), err
}

// Rollback implements [gateway.CheckpointChanges].
func (c changes) Rollback(ctx context.Context, by string) (gateway.CheckpointChange, error) {
	change, err := c.manager.Rollback(ctx, by)
	return changeView(change), err
}

// Remove implements [gateway.CheckpointChanges].
func (c changes) Remove(ctx context.Context, name, by string) (gateway.CheckpointChange, error) {
	change, err := c.manager.Remove(ctx, name, by)
	return changeView(change), err
}

// Diff implements [gateway.CheckpointChanges].
func (c changes) Diff(a, b string) (gateway.CheckpointDiff, error) {
	d, err := c.manager.Diff(a, b)
	if err != nil {
		return gateway.CheckpointDiff{}, err
	}
	out := gateway.CheckpointDiff{
		A: refTo(d.A.Checkpoint), B: refTo(d.B.Checkpoint), Same: d.A.Checkpoint.Digest == d.B.Checkpoint.Digest,
		Fields: []gateway.CheckpointFieldDiff{}, Tensors: []gateway.CheckpointTensors{},
	}
	for _, f := range d.Fields {
		out.Fields = append(out.Fields, gateway.CheckpointFieldDiff{Field: f.Field, A: f.A, B: f.B})
	}
	for _, t := range d.Tensors {
		out.Tensors = append(out.Tensors, gateway.CheckpointTensors{
			Name: t.Name, ShapeA: t.ShapeA, ShapeB: t.ShapeB, Equal: t.Equal, MaxAbs: t.MaxAbs, RMS: t.RMS, Cosine: t.Cosine,
		})
	}
	return out, nil
}

func changeView(c lifecycle.Change) gateway.CheckpointChange {
	return gateway.CheckpointChange{Checkpoint: refTo(c.Checkpoint), Default: c.Default, Before: c.Before, Previous: c.Previous}
}

func refTo(c quality.Checkpoint) gateway.CheckpointRef {
	return gateway.CheckpointRef{Name: c.Name, Digest: c.Digest}
}
