package metrics

import (
	_ "embed"
	"fmt"
	"strings"
)

//go:embed intro.md
var intro string

// Reference returns the page of all metrics, in Markdown.
func Reference() string {
	var b strings.Builder
	b.WriteString(intro)
	for i, section := range sections {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "## %s\n\n", section.title)
		b.WriteString("| metric | type | unit | labels | description |\n|---|---|---|---|---|\n")
		for _, m := range section.metrics {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", m.Family(), m.Type, unitText(m.Unit), labelText(m.Labels), m.Help)
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
