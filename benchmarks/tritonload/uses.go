package tritonload

import (
	"context"
	"strings"
	"time"

	"github.com/agiqa/agiqa/benchmarks/load"
	"github.com/agiqa/agiqa/tritonclient"
)

// Uses subtracts two statistics of the same servers, and leaves out models
// that did nothing.
func Uses(before, after []tritonclient.ModelStatistics) []load.Use {
	uses := []load.Use{}
	for _, d := range differences(before, after) {
		u := load.Use{Model: d.Model, Requests: d.Requests, Failures: d.Failures, Items: d.Items, Executions: d.Executions}
		if u.Executions > 0 {
			u.MeanBatch = float64(u.Items) / float64(u.Executions)
		}
		if n := float64(u.Requests); n > 0 {
			mean := func(sum time.Duration) float64 { return milliseconds(sum) / n }
			u.QueueMS, u.ComputeMS = mean(d.Queue), mean(d.Compute)
			u.InputMS, u.InferMS, u.OutputMS = mean(d.Input), mean(d.Infer), mean(d.Output)
		}
		uses = append(uses, u)
	}
	return uses
}

func differences(before, after []tritonclient.ModelStatistics) []tritonclient.ModelStatistics {
	type key struct{ replica, model, version string }
	was := map[key]tritonclient.ModelStatistics{}
	for _, s := range before {
		was[key{s.Replica, s.Model, s.Version}] = s
	}
	var out []tritonclient.ModelStatistics
	for _, s := range after {
		b := was[key{s.Replica, s.Model, s.Version}]
		if s.Requests < b.Requests || s.Failures < b.Failures { // loaded again, and counted from nothing
			b = tritonclient.ModelStatistics{}
		}
		s.Requests -= b.Requests
		s.Failures -= b.Failures
		s.Items -= b.Items
		s.Executions -= b.Executions
		s.Queue -= b.Queue
		s.Compute -= b.Compute
		s.Input -= b.Input
		s.Infer -= b.Infer
		s.Output -= b.Output
		if s.Requests+s.Failures > 0 {
			out = append(out, s)
		}
	}
	return out
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// Source reads Triton's statistics: a [tritonclient.Client].
type Source interface {
	Statistics(ctx context.Context, model string) ([]tritonclient.ModelStatistics, error)
}

// Backend makes Triton's statistics a [load.Backend]: those of servers that
// the target asks itself, or by way of the gateway.
type Backend struct {
	Source Source
	// Stages of the target that consist of calls to Triton; those of the
	// gateway are [GatewayStages].
	Stages []string
}

// GatewayStages are the stages in which a request waits for an answer about
// images.
func GatewayStages() []string { return []string{"encode", "ensemble", "head", "panel"} }

// Watch implements [load.Backend].
func (b Backend) Watch(ctx context.Context) (func(context.Context) (load.Behind, error), error) {
	before, err := b.Source.Statistics(ctx, "")
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (load.Behind, error) {
		after, err := b.Source.Statistics(ctx, "")
		if err != nil {
			return load.Behind{}, err
		}
		return behind(before, after, b.Stages), nil
	}, nil
}

// behind sums up what was asked about images. Triton counts a call of an
// ensemble also for the encoder and the head that it consists of, and the
// waits are in their figures alone. Where these did nothing, the ensemble is
// one model, as in a stub.
func behind(before, after []tritonclient.ModelStatistics, stages []string) load.Behind {
	out := load.Behind{Models: Uses(before, after), Stages: stages}
	var ensembles, models load.Behind
	add := func(to *load.Behind, s tritonclient.ModelStatistics) {
		to.Calls += s.Requests
		to.QueueMS += milliseconds(s.Queue)
		to.ComputeMS += milliseconds(s.Compute)
	}
	encoded, scored := uint64(0), uint64(0)
	for _, s := range differences(before, after) {
		switch {
		case strings.HasPrefix(s.Model, "clip_agiqa_"):
			add(&ensembles, s)
			continue
		case strings.HasPrefix(s.Model, "prompt_head_"):
			scored += s.Requests
		case strings.HasPrefix(s.Model, "prompt_panel_"):
		case s.Model == tritonclient.DefaultConfig().Models.ImageEncoder:
			encoded += s.Requests
		default: // texts, whose stage is mostly a look into a cache
			continue
		}
		add(&models, s)
	}
	out.Calls, out.QueueMS, out.ComputeMS = models.Calls, models.QueueMS, models.ComputeMS
	if encoded >= ensembles.Calls && scored >= ensembles.Calls {
		out.Calls -= ensembles.Calls // two models, one call
		return out
	}
	out.Calls += ensembles.Calls
	out.QueueMS += ensembles.QueueMS
	out.ComputeMS += ensembles.ComputeMS
	return out
}
