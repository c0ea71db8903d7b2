package catalogue

import (
	"bytes"
	"fmt"
	"slices"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Scrape reads what /metrics answered in Prometheus' text format. It returns
// the families that it has, and a sentence for everything in it that the
// catalogue does not know: families, types, texts, labels and their values.
func Scrape(text []byte) (families, faults []string, err error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	scraped, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return nil, nil, fmt.Errorf("read metrics: %w", err)
	}
	known := make(map[string]Metric)
	for _, m := range All() {
		name := m.Family()
		if m.Type == Counter {
			name += "_total"
		}
		known[name] = m
	}
	for name, family := range scraped {
		families = append(families, name)
		m, ok := known[name]
		if !ok {
			faults = append(faults, name+" is not in the catalogue")
			continue
		}
		faults = append(faults, familyFaults(m, family)...)
	}
	slices.Sort(families)
	slices.Sort(faults)
	return families, slices.Compact(faults), nil
}

func familyFaults(m Metric, family *dto.MetricFamily) (faults []string) {
	fault := func(format string, args ...any) {
		faults = append(faults, family.GetName()+": "+fmt.Sprintf(format, args...))
	}
	types := map[dto.MetricType]Type{dto.MetricType_COUNTER: Counter, dto.MetricType_GAUGE: Gauge, dto.MetricType_HISTOGRAM: Histogram}
	if got := types[family.GetType()]; got != m.Type {
		fault("is a %s, the catalogue says %s", family.GetType(), m.Type)
	}
	if m.From == "" && family.GetHelp() != m.Says {
		fault("says %q, the catalogue %q", family.GetHelp(), m.Says)
	}
	for _, series := range family.GetMetric() {
		for _, pair := range series.GetLabel() {
			at := slices.IndexFunc(m.Labels, func(l Label) bool { return l.Name == pair.GetName() })
			if at < 0 {
				fault("label %s is not in the catalogue", pair.GetName())
			} else if !m.Labels[at].Allows(pair.GetValue()) {
				fault("label %s has the value %q, which the catalogue does not know", pair.GetName(), pair.GetValue())
			}
		}
	}
	return faults
}
