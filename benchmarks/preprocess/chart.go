package preprocess

import (
	"bytes"
	"fmt"
	"html"
	"maps"
	"slices"
)

func sortedNames(m map[string][]Figures) []string { return slices.Sorted(maps.Keys(m)) }

// Chart draws the whole path of every case as bars, as SVG.
func (r Report) Chart() []byte {
	const left, width, bar, gap, top = 200.0, 460.0, 14.0, 10.0, 56.0
	longest, bars := 0.0, 0
	for _, c := range r.Results {
		for _, figures := range c.Figures {
			if f, ok := of(figures, Whole); ok {
				longest = max(longest, f.CPUMedian)
				bars++
			}
		}
	}
	height := top + float64(bars)*bar + float64(len(r.Results))*gap + 24
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" font-family="system-ui, sans-serif" font-size="11">`+"\n", left+width+150, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="#fff"/><text x="12" y="22" font-size="14" font-weight="600">File to 224x224 pixels: processor time, ms</text>`+"\n")
	fmt.Fprintf(&b, `<text x="12" y="40" fill="#555">%s, one core, commit %s. Shorter is better; x: how many times longer the rival takes.</text>`+"\n",
		html.EscapeString(r.Manifest.Processor), html.EscapeString(r.Manifest.Commit))
	y := top
	for _, c := range r.Results {
		fmt.Fprintf(&b, `<text x="%g" y="%g" text-anchor="end">%s</text>`+"\n", left-8, y+bar-3, html.EscapeString(c.Name))
		for who, figures := range ordered(c, r.Manifest) {
			f, ok := of(figures, Whole)
			if !ok {
				continue
			}
			v, colour, label := f.CPUMedian, "#9aa5b1", ""
			if q, ok := c.ratio(Whole, who); ok {
				label = fmt.Sprintf(" (%.1fx)", q.Median)
			}
			if _, ours := r.Manifest.Ours[who]; ours {
				colour = "#2b6cb0"
			}
			length := width * v / max(longest, 1e-9)
			fmt.Fprintf(&b, `<rect x="%g" y="%.1f" width="%.1f" height="%g" fill="%s"/><text x="%.1f" y="%.1f">%s %.1f%s</text>`+"\n",
				left, y, length, bar-2, colour, left+length+5, y+bar-3, html.EscapeString(who), v, label)
			y += bar
		}
		y += gap
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func of(figures []Figures, step Step) (Figures, bool) {
	for _, f := range figures {
		if f.Step == step {
			return f, true
		}
	}
	return Figures{}, false
}
