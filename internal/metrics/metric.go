// Package metrics declares every metric on /metrics once: name, type, unit,
// buckets, labels with their values, and help. A declaration hands out the
// instrument that measures it, and the package that measures owns the meter.
// docs/metrics.md is generated from the declarations, and the tests of alerts
// and dashboards take names and labels from them.
//
// It imports the OpenTelemetry API and the error kinds, so that any package may
// use it. metricstest compares a scrape with the declarations.
package metrics

import (
	"fmt"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/agiqa/agiqa/quality"
)

// Type is a type of metric in Prometheus.
type Type string

// The types.
const (
	Counter   Type = "counter"
	Gauge     Type = "gauge"
	Histogram Type = "histogram"
)

// Label is a label of a metric. Every value it can have is in Values, unless
// Bound says in words what bounds them.
type Label struct {
	Name   string
	Values []string
	Bound  string
}

// Allows reports whether a value is one of the label's.
func (l Label) Allows(value string) bool {
	return l.Bound != "" || slices.Contains(l.Values, value)
}

// The names of the labels that say how something ended, and why.
const (
	outcomeLabel = "outcome"
	reasonLabel  = "reason"
)

// OK is the outcome of what succeeded, where a failure has its error kind.
const OK = "ok"

// Outcome returns the label that says how something ended.
func Outcome[S ~string](value S) attribute.KeyValue {
	return attribute.String(outcomeLabel, string(value))
}

// Reason returns the label that says why something failed or was rejected.
func Reason[S ~string](value S) attribute.KeyValue {
	return attribute.String(reasonLabel, string(value))
}

// OutcomeOf returns the outcome of err: [OK], or the error kind.
func OutcomeOf(err error) attribute.KeyValue {
	if err == nil {
		return Outcome(OK)
	}
	return Outcome(quality.KindOf(err))
}

// Metric describes a metric.
type Metric struct {
	Name    string // in this program, "agiqa.images"; a library's metric as Prometheus sees it
	Type    Type
	Unit    string // as OpenTelemetry writes it: "s", "By", "{image}"
	Help    string
	Labels  []Label
	Buckets []float64 // upper bounds, of a histogram
	From    string    // the library that makes it; empty for this program's own
}

// Family is the metric's name in Prometheus' text format. Dots become
// underscores, units that are not notes in braces are appended, and a counter
// ends in _total.
func (m Metric) Family() string {
	name := m.Name
	if m.From == "" {
		name = strings.ReplaceAll(name, ".", "_")
		if suffix := map[string]string{"s": "_seconds", "By": "_bytes"}[m.Unit]; !strings.HasSuffix(name, suffix) {
			name += suffix
		}
	}
	if m.Type == Counter {
		name += "_total"
	}
	return name
}

// Series are the names that a query may use.
func (m Metric) Series() []string {
	family := m.Family()
	if m.Type == Histogram {
		return []string{family + "_bucket", family + "_count", family + "_sum"}
	}
	return []string{family}
}

// Instrument is a metric that this program measures with an I.
type Instrument[I any] struct {
	Metric
	create func(metric.Meter, Metric) (I, error)
}

// New returns the instrument of a meter.
func (i Instrument[I]) New(meter metric.Meter) (I, error) {
	made, err := i.create(meter, i.Metric)
	if err != nil {
		return made, fmt.Errorf("instrument %s: %w", i.Name, err)
	}
	return made, nil
}

// section is a part of the reference page.
type section struct {
	title   string
	metrics []Metric
}

// sections are all parts in the order of their declaration.
var sections []*section

func newSection(title string, metrics ...Metric) *section {
	s := &section{title: title, metrics: metrics}
	sections = append(sections, s)
	return s
}

// declare adds a metric to its section.
func declare[I any](s *section, m Metric, create func(metric.Meter, Metric) (I, error)) Instrument[I] {
	s.metrics = append(s.metrics, m)
	return Instrument[I]{Metric: m, create: create}
}

func (s *section) counter(m Metric) Instrument[metric.Int64Counter] {
	m.Type = Counter
	return declare(s, m, func(meter metric.Meter, m Metric) (metric.Int64Counter, error) {
		return meter.Int64Counter(m.Name, metric.WithUnit(m.Unit), metric.WithDescription(m.Help))
	})
}

func (s *section) observedCounter(m Metric) Instrument[metric.Int64ObservableCounter] {
	m.Type = Counter
	return declare(s, m, func(meter metric.Meter, m Metric) (metric.Int64ObservableCounter, error) {
		return meter.Int64ObservableCounter(m.Name, metric.WithUnit(m.Unit), metric.WithDescription(m.Help))
	})
}

func (s *section) upDownCounter(m Metric) Instrument[metric.Int64UpDownCounter] {
	m.Type = Gauge
	return declare(s, m, func(meter metric.Meter, m Metric) (metric.Int64UpDownCounter, error) {
		return meter.Int64UpDownCounter(m.Name, metric.WithUnit(m.Unit), metric.WithDescription(m.Help))
	})
}

func (s *section) gauge(m Metric) Instrument[metric.Int64ObservableGauge] {
	m.Type = Gauge
	return declare(s, m, func(meter metric.Meter, m Metric) (metric.Int64ObservableGauge, error) {
		return meter.Int64ObservableGauge(m.Name, metric.WithUnit(m.Unit), metric.WithDescription(m.Help))
	})
}

func (s *section) floatGauge(m Metric) Instrument[metric.Float64ObservableGauge] {
	m.Type = Gauge
	return declare(s, m, func(meter metric.Meter, m Metric) (metric.Float64ObservableGauge, error) {
		return meter.Float64ObservableGauge(m.Name, metric.WithUnit(m.Unit), metric.WithDescription(m.Help))
	})
}

func (s *section) histogram(m Metric) Instrument[metric.Int64Histogram] {
	m.Type = Histogram
	return declare(s, m, func(meter metric.Meter, m Metric) (metric.Int64Histogram, error) {
		return meter.Int64Histogram(m.Name, metric.WithUnit(m.Unit), metric.WithDescription(m.Help),
			metric.WithExplicitBucketBoundaries(m.Buckets...))
	})
}

func (s *section) floatHistogram(m Metric) Instrument[metric.Float64Histogram] {
	m.Type = Histogram
	return declare(s, m, func(meter metric.Meter, m Metric) (metric.Float64Histogram, error) {
		return meter.Float64Histogram(m.Name, metric.WithUnit(m.Unit), metric.WithDescription(m.Help),
			metric.WithExplicitBucketBoundaries(m.Buckets...))
	})
}

// All returns every metric in the order of the page.
func All() []Metric {
	var all []Metric
	for _, s := range sections {
		all = append(all, s.metrics...)
	}
	return all
}

func of(name string, values ...string) Label { return Label{Name: name, Values: values} }

func bounded(name, by string) Label { return Label{Name: name, Bound: by} }

// kinds has further values and the error kinds.
func kinds(name string, more ...string) Label {
	values := more
	for _, k := range quality.Kinds() {
		values = append(values, string(k))
	}
	return Label{Name: name, Values: values}
}
