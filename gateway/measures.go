package gateway

import (
	"context"
	"errors"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/agiqa/agiqa/internal/labels"
	"github.com/agiqa/agiqa/internal/metrics"
	"github.com/agiqa/agiqa/scoring"
)

// measures are the metrics that are no single request's: what the checkpoints
// did, how their changes went, and whether this server is ready.
type measures struct {
	scores  metric.Int64Counter
	changes metric.Int64Counter
	names   labels.Bound // of checkpoints
}

func newMeasures(meter metric.Meter, readiness *Readiness) (*measures, error) {
	scores, err1 := metrics.CheckpointScores.New(meter)
	changes, err2 := metrics.CheckpointChanges.New(meter)
	ready, err3 := metrics.Ready.New(meter)
	failing, err4 := metrics.ReadinessFailing.New(meter)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	_, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		report := readiness.Report()
		value := int64(1)
		if report.Status == "not_ready" {
			value = 0
		}
		o.ObserveInt64(ready, value)
		type key struct {
			check    string
			critical bool
		}
		counts := map[key]int64{}
		for _, c := range report.Checks {
			k := key{checkLabel(c.Name), c.Critical}
			if counts[k] += 0; !c.OK {
				counts[k]++
			}
		}
		for k, n := range counts {
			o.ObserveInt64(failing, n, metric.WithAttributes(
				attribute.String("check", k.check), attribute.Bool("critical", k.critical)))
		}
		return nil
	}, ready, failing)
	return &measures{scores: scores, changes: changes}, err
}

// checkLabel makes one value of all checks of one sort: what follows the first
// word of a check's name is the name of a checkpoint.
func checkLabel(name string) string {
	sort, _, _ := strings.Cut(name, " ")
	return sort
}

// countScores counts the scores of a response. An image that no checkpoint could
// have scored is counted in agiqa.images alone.
func (m *measures) countScores(ctx context.Context, response scoring.Response) {
	type key struct{ checkpoint, outcome string }
	counts := map[key]int64{}
	for _, result := range response.Results {
		for _, v := range result.Scores {
			outcome := metrics.OK
			if v.Err != nil {
				outcome = "error"
			}
			counts[key{m.names.Of(v.Checkpoint.Name), outcome}]++
		}
	}
	for k, n := range counts {
		m.scores.Add(ctx, n, metric.WithAttributes(
			attribute.String("checkpoint", k.checkpoint), metrics.Outcome(k.outcome)))
	}
}

// countChange counts a change of checkpoints, import, activate, rollback or remove,
// or of the encoder.
func (m *measures) countChange(ctx context.Context, change string, err error) {
	m.changes.Add(ctx, 1, metric.WithAttributes(attribute.String("change", change), metrics.OutcomeOf(err)))
}
