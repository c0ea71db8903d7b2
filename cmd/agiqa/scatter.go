package main

import (
	"fmt"
	"image/color"
	"slices"

	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/agiqa/agiqa/evaluation"
	"github.com/agiqa/agiqa/internal/chart"
)

// scatter draws scores against opinions with the 5-parameter logistic, as SVG.
func scatter(scores, mos []float64, report evaluation.Report) ([]byte, error) {
	title := fmt.Sprintf("%d images, SRCC %.3f, PLCC %.3f (logistic)",
		report.Images, float64(report.Figures.SRCC.Value), float64(report.Figures.PLCCLogistic5.Value))
	p := chart.New(title, "score", "mean opinion")
	points := make(plotter.XYs, len(scores))
	for i := range scores {
		points[i] = plotter.XY{X: scores[i], Y: mos[i]}
	}
	dots, err := plotter.NewScatter(points)
	if err != nil {
		return nil, err
	}
	blue := chart.Colour(0)
	dots.GlyphStyle = draw.GlyphStyle{
		Color: color.NRGBA{blue.R, blue.G, blue.B, 0x73}, Radius: vg.Points(2.5), Shape: draw.CircleGlyph{},
	}
	p.Add(dots)
	if fit := report.Logistic5; fit != nil {
		curve := plotter.NewFunction(fit.At)
		curve.Color, curve.XMin, curve.XMax = chart.Colour(1), slices.Min(scores), slices.Max(scores)
		p.Add(curve)
		p.Y.Min, p.Y.Max = slices.Min(mos), slices.Max(mos)
	}
	return chart.SVG(p, 5*vg.Inch, 5*vg.Inch)
}
