package catalogue

import (
	"fmt"
	"strings"
)

const intro = `# Metrics

Made by ` + "`agiqa metrics reference`" + `; do not edit.

What ` + "`GET /metrics`" + ` shows, in Prometheus' formats. Histograms and counters carry exemplars: asked with ` + "`Accept: application/openmetrics-text`" + `, a bucket names the trace of a request that fell into it. A counter or a histogram with labels appears with its first event.

No label's values grow with what strangers send: methods that are none become ` + "`_OTHER`" + `, paths without a route ` + "`unmatched`" + `, names beyond a bound ` + "`_other`" + `. OpenTelemetry's own limit of 2000 label sets for an instrument stands behind that.

[The runbook](runbook.md) tells what to do when an alert fires; rules and dashboards are in ` + "[`deploy/`](../deploy/README.md)" + `.

`

// Reference returns the page of all metrics, in Markdown.
func Reference() string {
	var b strings.Builder
	b.WriteString(intro)
	heading := func(text string) {
		fmt.Fprintf(&b, "## %s\n\n| metric | type | unit | labels | what it says |\n|---|---|---|---|---|\n", text)
	}
	for i, section := range []struct {
		title   string
		metrics []Metric
	}{
		{"Requests", requests()}, {"Admission", admission()}, {"Stages and batches", stages()}, {"Triton", triton()}, {"Caches", caches()},
		{"Checkpoints and readiness", checkpoints()}, {"Experiments", experiments()}, {"Spans and disk", program()}, {"Made by libraries", libraries()},
	} {
		if i > 0 {
			b.WriteString("\n")
		}
		heading(section.title)
		for _, m := range section.metrics {
			name := m.Family()
			if m.Type == Counter {
				name += "_total"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", name, m.Type, unitText(m.Unit), labelText(m.Labels), m.Says)
		}
	}
	return b.String()
}

func unitText(unit string) string {
	switch {
	case unit == "":
		return ""
	case unit == "s":
		return "seconds"
	case unit == "By":
		return "bytes"
	}
	return strings.Trim(unit, "{}")
}

func labelText(labels []Label) string {
	var parts []string
	for _, l := range labels {
		values := l.Bound
		if values == "" && len(l.Values) > 30 {
			values = "the codes of [errors](../quality/errors.go)"
			if more := l.Values[:len(l.Values)-len(kinds("").Values)]; len(more) > 0 {
				values = "`" + strings.Join(more, "`, `") + "`, or one of " + values
			}
		} else if values == "" {
			values = "`" + strings.Join(l.Values, "`, `") + "`"
		}
		parts = append(parts, "`"+l.Name+"`: "+values)
	}
	return strings.Join(parts, "<br>")
}
