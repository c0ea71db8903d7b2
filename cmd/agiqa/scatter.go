package main

import (
	"bytes"
	"fmt"
	"math"
	"slices"

	"github.com/agiqa/agiqa/evaluation"
)

// scatter draws scores against opinions with the 5-parameter logistic, as SVG.
func scatter(scores, mos []float64, report evaluation.Report) []byte {
	const size, margin = 480.0, 48.0
	x, y := axisOf(scores), axisOf(mos)
	px := func(v float64) float64 { return margin + x.at(v)*(size-2*margin) }
	py := func(v float64) float64 { return size - margin - y.at(v)*(size-2*margin) }
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" font-family="system-ui, sans-serif" font-size="12">`+"\n", size, size)
	fmt.Fprintf(&b, `<rect width="%g" height="%g" fill="#fff"/><rect x="%g" y="%g" width="%g" height="%g" fill="none" stroke="#888"/>`+"\n",
		size, size, margin, margin, size-2*margin, size-2*margin)
	for i := range 5 {
		f := float64(i) / 4
		vx, vy := x.low+f*(x.high-x.low), y.low+f*(y.high-y.low)
		fmt.Fprintf(&b, `<text x="%.1f" y="%g" text-anchor="middle">%.3g</text><text x="%g" y="%.1f" text-anchor="end">%.3g</text>`+"\n",
			px(vx), size-margin+16, vx, margin-6, py(vy)+4, vy)
	}
	for i := range scores {
		fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="2.5" fill="#2b6cb0" fill-opacity=".45"/>`+"\n", px(scores[i]), py(mos[i]))
	}
	if report.Logistic5 != nil {
		b.WriteString(`<polyline fill="none" stroke="#c0392b" stroke-width="1.6" points="`)
		for i := range 101 {
			v := x.low + float64(i)/100*(x.high-x.low)
			fmt.Fprintf(&b, "%.1f,%.1f ", px(v), math.Min(math.Max(py(report.Logistic5.At(v)), margin), size-margin))
		}
		b.WriteString(`"/>` + "\n")
	}
	fmt.Fprintf(&b, `<text x="%g" y="%g" text-anchor="middle">score</text><text x="16" y="%g" text-anchor="middle" transform="rotate(-90 16 %g)">mean opinion</text>`+"\n",
		size/2, size-10, size/2, size/2)
	fmt.Fprintf(&b, `<text x="%g" y="28" text-anchor="middle" font-size="14">%d images, SRCC %.3f, PLCC %.3f (logistic)</text></svg>`+"\n",
		size/2, report.Images, float64(report.Figures.SRCC.Value), float64(report.Figures.PLCCLogistic5.Value))
	return b.Bytes()
}

type axis struct{ low, high float64 }

// axisOf spans the values with a twentieth of room on either side.
func axisOf(values []float64) axis {
	low, high := slices.Min(values), slices.Max(values)
	room := math.Max((high-low)/20, 1e-6)
	return axis{low - room, high + room}
}

func (a axis) at(v float64) float64 { return (v - a.low) / (a.high - a.low) }
