// Package metricstest compares what was measured, or a scrape of /metrics, with
// the declarations of package metrics.
package metricstest

import (
	"bytes"
	"fmt"
	"slices"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/agiqa/agiqa/internal/metrics"
)

// Scrape reads an answer of /metrics in Prometheus' text format. It returns the
// families in it, and a sentence for everything that is not as declared:
// families, types, help, labels and their values.
func Scrape(text []byte) (families, faults []string, err error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	scraped, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return nil, nil, fmt.Errorf("read metrics: %w", err)
	}
	known := make(map[string]metrics.Metric)
	for _, m := range metrics.All() {
		known[m.Family()] = m
	}
	for name, family := range scraped {
		families = append(families, name)
		m, ok := known[name]
		if !ok {
			faults = append(faults, name+" is not declared")
			continue
		}
		faults = append(faults, familyFaults(m, family)...)
	}
	slices.Sort(families)
	slices.Sort(faults)
	return families, slices.Compact(faults), nil
}

func familyFaults(m metrics.Metric, family *dto.MetricFamily) (faults []string) {
	fault := func(format string, args ...any) {
		faults = append(faults, family.GetName()+": "+fmt.Sprintf(format, args...))
	}
	types := map[dto.MetricType]metrics.Type{
		dto.MetricType_COUNTER: metrics.Counter, dto.MetricType_GAUGE: metrics.Gauge,
		dto.MetricType_HISTOGRAM: metrics.Histogram,
	}
	if got := types[family.GetType()]; got != m.Type {
		fault("is a %s, declared as %s", family.GetType(), m.Type)
	}
	if m.From == "" && family.GetHelp() != m.Help {
		fault("help is %q, declared as %q", family.GetHelp(), m.Help)
	}
	for _, series := range family.GetMetric() {
		for _, pair := range series.GetLabel() {
			if text := labelFault(m, pair.GetName(), pair.GetValue()); text != "" {
				fault("%s", text)
			}
		}
	}
	return faults
}

// labelFault says what of a label isn't as declared, "" where all is.
func labelFault(m metrics.Metric, name, value string) string {
	at := slices.IndexFunc(m.Labels, func(l metrics.Label) bool { return l.Name == name })
	if at < 0 {
		return fmt.Sprintf("label %s is not declared", name)
	}
	if !m.Labels[at].Allows(value) {
		return fmt.Sprintf("label %s has the value %q, which is not declared", name, value)
	}
	return ""
}
