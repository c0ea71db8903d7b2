package gateway

import (
	"context"
	"fmt"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/agiqa/agiqa/internal/labels"
	"github.com/agiqa/agiqa/quality"
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
	m := &measures{}
	var err error
	if m.scores, err = meter.Int64Counter("agiqa.checkpoint.scores", metric.WithUnit("{score}"),
		metric.WithDescription("Verdicts on images by checkpoint and outcome: ok, or error where the image was sound and this checkpoint gave no score.")); err != nil {
		return nil, fmt.Errorf("instrument agiqa.checkpoint.scores: %w", err)
	}
	if m.changes, err = meter.Int64Counter("agiqa.checkpoint.changes", metric.WithUnit("{change}"),
		metric.WithDescription("Changes of checkpoints that were asked for, by outcome: ok, or the code of the error.")); err != nil {
		return nil, fmt.Errorf("instrument agiqa.checkpoint.changes: %w", err)
	}
	ready, err := meter.Int64ObservableGauge("agiqa.ready",
		metric.WithDescription("1 while /readyz says that this server can score, 0 while it does not."))
	if err != nil {
		return nil, fmt.Errorf("instrument agiqa.ready: %w", err)
	}
	failing, err := meter.Int64ObservableGauge("agiqa.readiness.failing", metric.WithUnit("{check}"),
		metric.WithDescription("Checks of readiness that fail, by what they look at; critical ones make the server unready."))
	if err != nil {
		return nil, fmt.Errorf("instrument agiqa.readiness.failing: %w", err)
	}
	_, err = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
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
			o.ObserveInt64(failing, n, metric.WithAttributes(attribute.String("check", k.check), attribute.Bool("critical", k.critical)))
		}
		return nil
	}, ready, failing)
	if err != nil {
		return nil, fmt.Errorf("instrument agiqa.ready: %w", err)
	}
	return m, nil
}

// checkLabel makes one value of all checks of one sort: what follows the first
// word of a check's name is the name of a checkpoint.
func checkLabel(name string) string {
	sort, _, _ := strings.Cut(name, " ")
	return sort
}

// scored counts the verdicts of a response. An image that no checkpoint could
// have scored is counted in agiqa.images alone.
func (m *measures) scored(ctx context.Context, response scoring.Response) {
	type key struct{ checkpoint, outcome string }
	counts := map[key]int64{}
	for _, result := range response.Results {
		for _, v := range result.Verdicts {
			outcome := "ok"
			if v.Err != nil {
				outcome = "error"
			}
			counts[key{m.names.Of(v.Checkpoint.Name), outcome}]++
		}
	}
	for k, n := range counts {
		m.scores.Add(ctx, n, metric.WithAttributes(attribute.String("checkpoint", k.checkpoint), attribute.String("outcome", k.outcome)))
	}
}

// changed counts a change of checkpoints: import, activate, rollback or remove.
func (m *measures) changed(ctx context.Context, change string, err error) {
	outcome := "ok"
	if err != nil {
		outcome = string(quality.KindOf(err))
	}
	m.changes.Add(ctx, 1, metric.WithAttributes(attribute.String("change", change), attribute.String("outcome", outcome)))
}
