package preprocess

import (
	"fmt"
	"maps"
	"slices"

	"github.com/agiqa/agiqa/internal/chart"
)

func sortedNames(m map[string][]Figures) []string { return slices.Sorted(maps.Keys(m)) }

// Chart draws the whole path of every case as bars, as SVG.
func (r Report) Chart() ([]byte, error) {
	var groups []chart.Group
	for _, c := range r.Results {
		group := chart.Group{Name: c.Name}
		for who, figures := range ordered(c, r.Manifest) {
			f, ok := of(figures, Whole)
			if !ok {
				continue
			}
			bar := chart.Bar{Label: fmt.Sprintf("%s %.1f", who, f.CPUMedian), Value: f.CPUMedian, Colour: 1}
			if q, ok := c.ratio(Whole, who); ok {
				bar.Label += fmt.Sprintf(" (%.1fx)", q.Median)
			}
			if _, ours := r.Manifest.Ours[who]; ours {
				bar.Colour = 0
			}
			group.Bars = append(group.Bars, bar)
		}
		groups = append(groups, group)
	}
	return chart.Bars("File to 224x224 pixels: processor time (x: how many times longer the rival takes)",
		fmt.Sprintf("ms; %s, one core, commit %s", r.Manifest.Processor, r.Manifest.Commit), groups)
}

func of(figures []Figures, step Step) (Figures, bool) {
	for _, f := range figures {
		if f.Step == step {
			return f, true
		}
	}
	return Figures{}, false
}
