// Package chart draws the charts of reports in one style, with gonum/plot: lines,
// bars and points as SVG. Callers bring numbers; it computes none.
package chart

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The colours of text, of axes and of the grid.
var (
	Ink  = color.RGBA{0x1a, 0x1c, 0x1e, 0xff}
	Soft = color.RGBA{0x8a, 0x8f, 0x94, 0xff}
	Grid = color.RGBA{0xdf, 0xe2, 0xe5, 0xff}
)

// Palette is told apart by people who see fewer colours (Okabe and Ito).
var Palette = []color.RGBA{
	{0x00, 0x72, 0xb2, 0xff}, {0xd5, 0x5e, 0x00, 0xff}, {0x00, 0x9e, 0x73, 0xff},
	{0xcc, 0x79, 0xa7, 0xff}, {0xe6, 0x9f, 0x00, 0xff}, {0x56, 0xb4, 0xe9, 0xff},
}

// Colour is the i-th of the palette, which begins again after its last.
func Colour(i int) color.RGBA { return Palette[i%len(Palette)] }

// New returns an empty plot in the style of all charts.
func New(title, x, y string) *plot.Plot {
	p := plot.New()
	sans := func(size vg.Length) font.Font {
		return font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}
	}
	p.Title.Text = title
	p.Title.TextStyle.Font = sans(11)
	p.Title.TextStyle.Color = Ink
	p.Title.Padding = 6
	p.X.Label.Text, p.Y.Label.Text = x, y
	p.X.Label.Padding, p.Y.Label.Padding = 3, 3
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Label.TextStyle.Font = sans(9)
		a.Tick.Label.Font = sans(8)
		a.Label.TextStyle.Color, a.Tick.Label.Color = Ink, Ink
		a.Color, a.Tick.Color = Soft, Soft
		a.Padding = 4
		a.Tick.Marker = Ticks{}
	}
	p.Legend.TextStyle.Font = sans(8)
	p.Legend.TextStyle.Color = Ink
	// On the left the text runs free, whatever font a reader has.
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.XOffs = 4
	p.Legend.Padding = 2
	p.BackgroundColor = nil
	lines := plotter.NewGrid()
	lines.Horizontal.Color, lines.Vertical.Color = Grid, Grid
	p.Add(lines)
	return p
}

// SVG draws a plot on a white ground, as an element that may stand in a page or
// in a file of its own.
func SVG(p *plot.Plot, width, height vg.Length) ([]byte, error) {
	p.BackgroundColor = color.White
	canvas := vgsvg.New(width, height)
	p.Draw(draw.New(canvas))
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return nil, fmt.Errorf("draw %s: %w", p.Title.Text, err)
	}
	_, element, ok := bytes.Cut(b.Bytes(), []byte("<svg"))
	if !ok {
		return nil, fmt.Errorf("draw %s: no svg was drawn", p.Title.Text)
	}
	return append([]byte("<svg"), element...), nil
}

// Line is a named line through points in order of X.
type Line struct {
	Name   string
	Points plotter.XYs
	Colour int  // of the palette
	Dashed bool // a dashed line has no entry in the legend
}

// AddLines adds lines; those without points only have their names in the legend.
func AddLines(p *plot.Plot, lines []Line) error {
	for _, l := range lines {
		line := &plotter.Line{XYs: l.Points}
		if len(l.Points) > 0 {
			var err error
			if line, err = plotter.NewLine(l.Points); err != nil {
				return fmt.Errorf("line %s: %w", l.Name, err)
			}
		}
		line.LineStyle = draw.LineStyle{Color: Colour(l.Colour), Width: vg.Points(1.4)}
		if l.Dashed {
			line.Dashes = []vg.Length{vg.Points(4), vg.Points(3)}
		} else {
			p.Legend.Add(l.Name, line)
		}
		if len(l.Points) > 0 {
			p.Add(line)
		}
	}
	return nil
}

// LogY makes the Y axis logarithmic, over whole decades around the values.
func LogY(p *plot.Plot, unit string, values []float64) {
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		low, high = min(low, v), max(high, v)
	}
	if len(values) == 0 {
		low, high = 1, 10
	}
	from := math.Floor(math.Log10(max(low, 1e-3)))
	to := max(math.Ceil(math.Log10(max(high, 1e-3))), from+1)
	p.Y.Scale = plot.LogScale{}
	p.Y.Min, p.Y.Max = math.Pow(10, from), math.Pow(10, to)
	var ticks []plot.Tick
	for d := from; d <= to; d++ {
		ticks = append(ticks, plot.Tick{Value: math.Pow(10, d), Label: fmt.Sprintf("%g %s", math.Pow(10, d), unit)})
	}
	p.Y.Tick.Marker = plot.ConstantTicks(ticks)
}

// Bar is one bar of a [Bars] chart.
type Bar struct {
	Label  string  // beside its end
	Value  float64 // from zero
	Colour int     // of the palette
}

// Group is bars that belong together, under one name.
type Group struct {
	Name string
	Bars []Bar
}

// Bars draws horizontal bars in groups, from top to bottom.
func Bars(title, x string, groups []Group) ([]byte, error) {
	const thick, gap = 13, 9 // points
	p := New(title, x, "")
	total := 0.0 // in points, from the bottom
	for _, g := range groups {
		total += float64(len(g.Bars)*thick + gap)
	}
	at, longest := total, 0.0
	var names []plot.Tick
	for _, g := range groups {
		names = append(names, plot.Tick{Value: at - float64(len(g.Bars)*thick)/2, Label: g.Name})
		for _, b := range g.Bars {
			bar, err := plotter.NewBarChart(plotter.Values{b.Value}, vg.Points(thick-2))
			if err != nil {
				return nil, fmt.Errorf("bar %s: %w", b.Label, err)
			}
			at -= thick
			bar.Horizontal, bar.XMin, bar.LineStyle.Width, bar.Color = true, at+thick/2., 0, Colour(b.Colour)
			labels, err := plotter.NewLabels(plotter.XYLabels{
				XYs: plotter.XYs{{X: b.Value, Y: at + 3}}, Labels: []string{" " + b.Label},
			})
			if err != nil {
				return nil, fmt.Errorf("bar %s: %w", b.Label, err)
			}
			labels.TextStyle[0].Font = p.X.Tick.Label.Font
			p.Add(bar, labels)
			longest = max(longest, b.Value)
		}
		at -= gap
	}
	p.Y.Tick.Marker = plot.ConstantTicks(names)
	p.X.Min, p.X.Max = 0, max(longest*1.35, 1e-9) // room for labels
	p.Y.Min, p.Y.Max = 0, max(total, 1)
	return SVG(p, 7*vg.Inch, vg.Points(total)+1.1*vg.Inch)
}

// Ticks are round numbers, about six, as short as they can be written.
type Ticks struct{}

// Ticks implements [plot.Ticker].
func (Ticks) Ticks(low, high float64) []plot.Tick {
	width := high - low
	if !(width > 0) || math.IsInf(width, 0) {
		return nil
	}
	const wanted = 6
	power := math.Pow(10, math.Floor(math.Log10(width/wanted)))
	step := 10 * power
	for _, round := range []float64{1, 2, 5} {
		if round*power >= width/wanted {
			step = round * power
			break
		}
	}
	var all []plot.Tick
	for i := math.Ceil(low/step - 1e-9); i*step <= high+1e-9*width; i++ {
		v := i*step + 0 // no minus before a zero
		all = append(all, plot.Tick{Value: v, Label: strconv.FormatFloat(v, 'g', 6, 64)})
	}
	return all
}
