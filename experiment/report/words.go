package report

import (
	"fmt"
	"math"
	"strings"

	"github.com/agiqa/agiqa/experiment/analysis"
	"github.com/agiqa/agiqa/experiment/stats"
)

// number is a figure for people: four digits, and a dash for what is not known.
func number(n analysis.Number) string {
	if !n.Known() {
		return "–"
	}
	if v := math.Abs(float64(n)); v != 0 && v < 0.0001 {
		return fmt.Sprintf("%.1e", float64(n))
	}
	return strings.Replace(fmt.Sprintf("%.4g", float64(n)), "-", "−", 1)
}

func between(low, high analysis.Number) string {
	if !low.Known() && !high.Known() {
		return "–"
	}
	return number(low) + " to " + number(high)
}

// metricName is a measure with its mapping.
func metricName(m stats.Metric, by analysis.Mapping) string {
	name := strings.ToUpper(string(m))
	switch by {
	case analysis.Logistic4:
		return name + ", 4p"
	case analysis.Logistic5:
		return name + ", 5p"
	}
	return name
}

// conclusion is a decision in words.
func conclusion(c analysis.Comparison) string {
	switch c.Decision {
	case stats.Superior:
		return "better than the control"
	case stats.Inferior:
		return "worse than the control"
	case stats.NonInferior:
		return "not worse than the control by more than the margin"
	case stats.Equivalent:
		return "the same as the control within the margin"
	case stats.NoPracticalDifference:
		return "no practical difference: smaller than the smallest effect of interest"
	}
	return "not decided yet"
}
