package metricstest

import (
	"context"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/agiqa/agiqa/internal/metrics"
)

// Collect returns the data of this program's metrics by name. A metric that is
// not declared, and a label or value that its declaration lacks, fails the test.
func Collect(t testing.TB, reader sdkmetric.Reader) map[string]metricdata.Aggregation {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(context.WithoutCancel(t.Context()), &all); err != nil {
		t.Fatalf("collect metrics: %v", err)
	}
	declared := metrics.All()
	out := map[string]metricdata.Aggregation{}
	for _, scope := range all.ScopeMetrics {
		for _, measured := range scope.Metrics {
			if !strings.HasPrefix(measured.Name, "agiqa.") {
				continue
			}
			out[measured.Name] = measured.Data
			at := slices.IndexFunc(declared, func(m metrics.Metric) bool { return m.Name == measured.Name })
			if at < 0 {
				t.Errorf("%s is not declared", measured.Name)
				continue
			}
			for _, p := range points(measured.Data) {
				for _, label := range p.labels.ToSlice() {
					if fault := labelFault(declared[at], string(label.Key), label.Value.String()); fault != "" {
						t.Errorf("%s: %s", measured.Name, fault)
					}
				}
			}
		}
	}
	return out
}

// Values returns what a metric has by its labels, as "a=b,c=d": the value of a
// counter or a gauge, rounded down, or how many values a histogram took.
func Values(t testing.TB, reader sdkmetric.Reader, name string) map[string]int64 {
	t.Helper()
	out := map[string]int64{}
	for _, p := range points(Collect(t, reader)[name]) {
		var labels []string
		for _, label := range p.labels.ToSlice() {
			labels = append(labels, string(label.Key)+"="+label.Value.String())
		}
		out[strings.Join(labels, ",")] = p.value
	}
	return out
}

// point is one series of a metric.
type point struct {
	labels attribute.Set
	value  int64
}

func points(data metricdata.Aggregation) (out []point) {
	switch data := data.(type) {
	case metricdata.Sum[int64]:
		return values(data.DataPoints)
	case metricdata.Gauge[int64]:
		return values(data.DataPoints)
	case metricdata.Gauge[float64]:
		return values(data.DataPoints)
	case metricdata.Histogram[int64]:
		return counts(data.DataPoints)
	case metricdata.Histogram[float64]:
		return counts(data.DataPoints)
	}
	return nil
}

func values[N int64 | float64](from []metricdata.DataPoint[N]) (out []point) {
	for _, p := range from {
		out = append(out, point{p.Attributes, int64(p.Value)})
	}
	return out
}

func counts[N int64 | float64](from []metricdata.HistogramDataPoint[N]) (out []point) {
	for _, p := range from {
		out = append(out, point{p.Attributes, int64(p.Count)})
	}
	return out
}
