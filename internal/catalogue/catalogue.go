// Package catalogue says of every metric on /metrics what it is: name, type,
// unit, labels with their values, and a sentence. docs/metrics.md is made from
// it, and the tests of alerts and dashboards take the names from it.
//
// It makes no metric itself: each is made where the thing happens, and tests
// hold the list against the instruments in the source and against a scrape of
// the running program. It knows no package but the one with the kinds of errors.
package catalogue

import (
	"slices"
	"strings"

	"github.com/agiqa/agiqa/quality"
)

// Type is what Prometheus calls a type.
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

// Metric is one metric.
type Metric struct {
	Name   string // as the program makes it, "agiqa.images"; of others, as Prometheus sees it
	Type   Type
	Unit   string // as the program gives it: "s", "By", "{image}"
	Labels []Label
	Says   string
	From   string // where it comes from, when it is not this program's own
}

// Family is the metric's name as Prometheus sees it, without the suffixes of a
// counter or a histogram. Dots become underscores, and units that are not notes
// in braces are appended.
func (m Metric) Family() string {
	if m.From != "" {
		return m.Name
	}
	name := strings.ReplaceAll(m.Name, ".", "_")
	if suffix := map[string]string{"s": "_seconds", "By": "_bytes"}[m.Unit]; !strings.HasSuffix(name, suffix) {
		name += suffix
	}
	return name
}

// Series are the names that a query may use.
func (m Metric) Series() []string {
	family := m.Family()
	switch m.Type {
	case Counter:
		return []string{family + "_total"}
	case Histogram:
		return []string{family + "_bucket", family + "_count", family + "_sum"}
	}
	return []string{family}
}

func of(name string, values ...string) Label { return Label{Name: name, Values: values} }

func bounded(name, by string) Label { return Label{Name: name, Bound: by} }

// kinds are the codes of errors, with further values.
func kinds(name string, more ...string) Label {
	values := more
	for _, k := range quality.Kinds() {
		values = append(values, string(k))
	}
	return Label{Name: name, Values: values}
}

// Series returns every name that a query may use.
func Series() []string {
	var names []string
	for _, m := range All() {
		names = append(names, m.Series()...)
	}
	return names
}
