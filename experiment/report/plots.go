package report

import (
	"cmp"
	"fmt"
	"image/color"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/agiqa/agiqa/experiment/analysis"
	"github.com/agiqa/agiqa/internal/chart"
)

// The colours of paper. A page replaces them by variables, so that a dark one has
// its own; see svg.go.
var (
	ink  = chart.Ink
	soft = chart.Soft
	grid = chart.Grid
	stop = color.RGBA{0xb0, 0x2a, 0x37, 0xff}
	// Arms by place, the control first.
	armColours = chart.Palette
)

// How much of a colour is left where it lies over others.
const (
	bandAlpha = 0x30
	barAlpha  = 0x50
	dotAlpha  = 0x90
)

func pale(c color.RGBA, alpha uint8) color.NRGBA { return color.NRGBA{c.R, c.G, c.B, alpha} }

func armColour(i int) color.RGBA { return chart.Colour(i) }

// picture is one plot with what is said about it.
type picture struct {
	ID       string
	Title    string
	Sentence string // how to read it
	Height   vg.Length
	plot     *plot.Plot
}

const (
	pictureWidth  = 6 * vg.Inch
	pictureHeight = 3.4 * vg.Inch
)

func stroke(c color.Color, width vg.Length, dashes ...vg.Length) draw.LineStyle {
	return draw.LineStyle{Color: c, Width: width, Dashes: dashes}
}

// line adds a line through the known points and names it in the legend, unless name
// is empty. It reports whether there was a point.
func line(p *plot.Plot, name string, points plotter.XYs, style draw.LineStyle) bool {
	var known plotter.XYs
	for _, at := range points {
		if finite(at.X) && finite(at.Y) {
			known = append(known, at)
		}
	}
	l, err := plotter.NewLine(known)
	if err != nil {
		return false // there is no point
	}
	l.LineStyle = style
	p.Add(l)
	if name != "" {
		p.Legend.Add(name, l)
	}
	return true
}

// short keeps a name from pushing a picture aside.
func short(name string) string { return cut(name, 28) }

// cut keeps a name in one line of at most so many letters.
func cut(name string, most int) string {
	name = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, name)
	if r := []rune(name); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return name
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// steady keeps axes apart where all values are one.
func steady(p *plot.Plot) {
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		if !finite(a.Min) || !finite(a.Max) || a.Min > a.Max {
			a.Min, a.Max = 0, 1
		}
		if a.Max-a.Min < 1e-9 {
			a.Min, a.Max = a.Min-0.5, a.Max+0.5
		}
	}
}

// headroom leaves the top of a picture to its legend.
func headroom(p *plot.Plot) {
	if finite(p.Y.Min) && finite(p.Y.Max) && p.Y.Max > p.Y.Min {
		p.Y.Max += 0.22 * (p.Y.Max - p.Y.Min)
	}
}

// drawOn draws a picture with a margin, which labels at the ends need.
func (p picture) drawOn(c draw.Canvas) { p.plot.Draw(draw.Crop(c, 4, -14, 4, -4)) }

// pictures are all that the report has numbers for, each made when it is asked for.
func pictures(r analysis.Report) iter.Seq[picture] {
	numbered := func(n int, make func(analysis.Report, int) (picture, bool)) []func() (picture, bool) {
		var all []func() (picture, bool)
		for i := range n {
			all = append(all, func() (picture, bool) { return make(r, i) })
		}
		return all
	}
	one := func(make func(analysis.Report) (picture, bool)) []func() (picture, bool) {
		return []func() (picture, bool){func() (picture, bool) { return make(r) }}
	}
	all := slices.Concat(
		numbered(len(r.Pictures.Trajectories), trajectory), one(forest), one(sliceForest),
		numbered(len(r.Pictures.Differences), differences), numbered(len(r.Pictures.Scatter), scatter),
		one(densities), one(srm), one(exposures))
	return func(yield func(picture) bool) {
		for _, make := range all {
			p, ok := make()
			if !ok {
				continue
			}
			if steady(p.plot); !yield(p) {
				return
			}
		}
	}
}

// armIndex is the position of an arm in its experiment.
func armIndex(r analysis.Report, arm string) int {
	for i, a := range r.Experiment.Arms {
		if string(a.ID) == arm {
			return i
		}
	}
	return 0
}

func trajectory(r analysis.Report, i int) (picture, bool) {
	t := r.Pictures.Trajectories[i]
	units := map[string]string{"block of 10 images": "blocks of 10 images", "pair of images": "pairs of images"}
	p := chart.New("Effect so far: "+short(string(t.Arm))+" against control",
		"observations ("+cmp.Or(units[t.Unit], t.Unit+"s")+")", effectUnit(r))
	var mean, low, high, runLow, runHigh, area plotter.XYs
	for _, at := range t.Points {
		x := float64(at.N)
		if !at.Low.Known() {
			continue
		}
		mean = append(mean, plotter.XY{X: x, Y: float64(at.Mean)})
		low = append(low, plotter.XY{X: x, Y: float64(at.Low)})
		high = append(high, plotter.XY{X: x, Y: float64(at.High)})
		runLow = append(runLow, plotter.XY{X: x, Y: float64(at.RunningLow)})
		runHigh = append(runHigh, plotter.XY{X: x, Y: float64(at.RunningHigh)})
	}
	if len(mean) < 2 {
		return picture{}, false
	}
	area = append(area, low...)
	for k := len(high) - 1; k >= 0; k-- {
		area = append(area, high[k])
	}
	c := armColour(armIndex(r, string(t.Arm)))
	if band, err := plotter.NewPolygon(area); err == nil {
		band.Color = pale(c, bandAlpha)
		band.LineStyle.Width = 0
		p.Add(band)
	}
	first, last := mean[0].X, mean[len(mean)-1].X
	line(p, "", plotter.XYs{{X: first, Y: 0}, {X: last, Y: 0}}, stroke(ink, 1))
	if m := r.Experiment.Margin; m > 0 {
		line(p, "margin", plotter.XYs{{X: first, Y: -m}, {X: last, Y: -m}}, stroke(soft, 1, 2, 2))
	}
	line(p, "mean", mean, stroke(c, 1.5))
	line(p, "running interval", runLow, stroke(c, 1, 4, 2))
	line(p, "", runHigh, stroke(c, 1, 4, 2))
	if t.Stop > 0 {
		bottom, top := low[0].Y, high[0].Y
		line(p, "decided at "+strconv.Itoa(t.Stop),
			plotter.XYs{{X: float64(t.Stop), Y: bottom}, {X: float64(t.Stop), Y: top}},
			stroke(stop, 1.5, 3, 2))
	}
	headroom(p)
	return picture{
		ID: fmt.Sprintf("trajectory-%d", i), Title: "Effect so far, " + string(t.Arm), plot: p, Height: pictureHeight,
		Sentence: "The shaded band holds the true effect at all times at once with the stated confidence; " +
			"when the dashed running interval leaves 0, the question is decided and looking has cost nothing.",
	}, true
}

func effectUnit(r analysis.Report) string {
	switch r.Experiment.Primary {
	case "dSRCC":
		return "SRCC, arm less control"
	case "dKRCC":
		return "KRCC, arm less control"
	case "pref_accuracy":
		return "accuracy, arm less control"
	case "user_metric":
		return "thumbs up, arm less control"
	}
	return "squared error, control less arm"
}

// row is one line of a forest.
type row struct {
	name          string
	value, lo, hi float64
	colour        color.RGBA
}

// forestOf draws rows from the top down.
func forestOf(title, x string, rows []row) *plot.Plot {
	p := chart.New(title, x, "")
	var ticks []plot.Tick
	for i, r := range rows {
		y := float64(len(rows) - 1 - i)
		ticks = append(ticks, plot.Tick{Value: y, Label: short(r.name)})
		line(p, "", plotter.XYs{{X: r.lo, Y: y}, {X: r.hi, Y: y}}, stroke(r.colour, 1.5))
		if dot, err := plotter.NewScatter(plotter.XYs{{X: r.value, Y: y}}); err == nil {
			dot.GlyphStyle = draw.GlyphStyle{Color: r.colour, Radius: 3, Shape: draw.CircleGlyph{}}
			p.Add(dot)
		}
	}
	line(p, "", plotter.XYs{{X: 0, Y: -0.5}, {X: 0, Y: float64(len(rows)) - 0.5}}, stroke(ink, 1))
	p.Y.Tick.Marker = plot.ConstantTicks(ticks)
	p.Y.Min, p.Y.Max = -0.5, float64(len(rows))-0.5
	return p
}

// forestHeight gives every row its space.
func forestHeight(rows int) vg.Length {
	return vg.Length(math.Min(9, math.Max(2, 1+0.2*float64(rows)))) * vg.Inch
}

const mostRows = 40

func forest(r analysis.Report) (picture, bool) {
	var rows []row
	for _, a := range r.Agreement.Arms {
		for _, d := range a.Differences {
			if !d.Low.Known() || !d.High.Known() || len(rows) >= mostRows {
				continue
			}
			rows = append(rows, row{
				metricName(d.Metric, d.Mapping) + armSuffix(r, string(a.Arm)), float64(d.Effect), float64(d.Low), float64(d.High),
				armColour(armIndex(r, string(a.Arm))),
			})
		}
	}
	if len(rows) == 0 {
		return picture{}, false
	}
	return picture{
		ID: "forest", Title: "Agreement with labels, against control", Height: forestHeight(len(rows)),
		plot: forestOf("Agreement with labels, against control", "difference, each in its own unit (right: better)", rows),
		Sentence: "Each line is one measure's difference on the same images with its bootstrap interval; " +
			"right of 0 the treatment is better, and a line that crosses 0 leaves it open.",
	}, true
}

// armSuffix tells arms apart where there are several treatments.
func armSuffix(r analysis.Report, arm string) string {
	if len(r.Agreement.Arms) <= 2 {
		return ""
	}
	return ", " + arm
}

func sliceForest(r analysis.Report) (picture, bool) {
	var rows []row
	for _, s := range r.Slices {
		v, se := s.Shrunk, s.ShrunkSE
		if !v.Known() {
			v, se = s.Effect, s.SE
		}
		if !v.Known() || !se.Known() || len(rows) >= mostRows {
			continue
		}
		rows = append(rows, row{
			short(s.Attribute+"="+s.Value) + armSuffix(r, string(s.Arm)), float64(v), float64(v - 1.96*se), float64(v + 1.96*se),
			armColour(armIndex(r, string(s.Arm))),
		})
	}
	if len(rows) == 0 {
		return picture{}, false
	}
	return picture{
		ID: "slices", Title: "By kind of image (exploratory)", Height: forestHeight(len(rows)),
		plot: forestOf("By kind of image (exploratory)", "squared error, control less arm (right: better)", rows),
		Sentence: "The effect on images of one kind, drawn towards the mean of its kinds because the largest of many is " +
			"mostly luck; " +
			"it may raise questions and answers none.",
	}, true
}

func differences(r analysis.Report, i int) (picture, bool) {
	h := r.Pictures.Differences[i]
	p := chart.New("Paired differences: "+short(string(h.Arm)), "squared error on one image, control less arm", "images")
	top := bars(p, h, armColour(armIndex(r, string(h.Arm))), 1)
	line(p, "", plotter.XYs{{X: 0, Y: 0}, {X: 0, Y: top}}, stroke(ink, 1))
	line(p, fmt.Sprintf("mean %.3g", float64(h.Mean)),
		plotter.XYs{{X: float64(h.Mean), Y: 0}, {X: float64(h.Mean), Y: top}},
		stroke(stop, 1.5, 3, 2))
	headroom(p)
	return picture{
		ID: fmt.Sprintf("differences-%d", i), Title: "Paired differences, " + string(h.Arm), plot: p, Height: pictureHeight,
		Sentence: "Every labelled image counts once: to the right of 0 the treatment was closer to the raters, to the " +
			"left the control.",
	}, top > 0
}

// bars draws a histogram as one outline and returns its height.
func bars(p *plot.Plot, h analysis.Histogram, c color.RGBA, scale float64) float64 {
	var top float64
	from, width := float64(h.From), float64(h.Width)
	area := plotter.XYs{{X: from, Y: 0}}
	for k, n := range h.Counts {
		y := float64(n) * scale
		top = max(top, y)
		area = append(area, plotter.XY{X: from + float64(k)*width, Y: y}, plotter.XY{X: from + float64(k+1)*width, Y: y})
	}
	area = append(area, plotter.XY{X: from + float64(len(h.Counts))*width, Y: 0})
	if shape, err := plotter.NewPolygon(area); err == nil {
		shape.Color = pale(c, barAlpha)
		shape.LineStyle = stroke(c, 1)
		p.Add(shape)
	}
	return top
}

func scatter(r analysis.Report, i int) (picture, bool) {
	s := r.Pictures.Scatter[i]
	if len(s.Scores) == 0 {
		return picture{}, false
	}
	p := chart.New("Scores against labels: "+short(string(s.Arm)), "score of the arm", "mean label")
	var points, curve plotter.XYs
	low, high := math.Inf(1), math.Inf(-1)
	for k := range s.Scores {
		at := plotter.XY{X: float64(s.Scores[k]), Y: float64(s.Labels[k])}
		if finite(at.X) && finite(at.Y) {
			points = append(points, at)
			low, high = min(low, at.X, at.Y), max(high, at.X, at.Y)
		}
	}
	if len(points) == 0 {
		return picture{}, false
	}
	c := armColour(armIndex(r, string(s.Arm)))
	if dots, err := plotter.NewScatter(points); err == nil {
		dots.GlyphStyle = draw.GlyphStyle{Color: pale(c, dotAlpha), Radius: 1.8, Shape: draw.CircleGlyph{}}
		p.Add(dots)
	}
	line(p, "score = label", plotter.XYs{{X: low, Y: low}, {X: high, Y: high}}, stroke(soft, 1, 3, 3))
	for _, at := range s.Curve {
		curve = append(curve, plotter.XY{X: float64(at.X), Y: float64(at.Y)})
	}
	line(p, "logistic", curve, stroke(stop, 1.5))
	headroom(p)
	return picture{
		ID: fmt.Sprintf("scatter-%d", i), Title: "Scores against labels, " + string(s.Arm), plot: p, Height: pictureHeight,
		Sentence: "A dot is an image (at most 400 are drawn); the curve is the mapping of scores to labels, fitted on " +
			"images that the mapped figures leave out.",
	}, true
}

func densities(r analysis.Report) (picture, bool) {
	p := chart.New("Scores of all images", "score", "share of images per unit of score")
	drawn := false
	for _, h := range r.Pictures.Densities {
		total := 0
		for _, n := range h.Counts {
			total += n
		}
		if total == 0 || !(h.Width > 0) {
			continue
		}
		i := armIndex(r, string(h.Arm))
		outline := plotter.XYs{}
		for k, n := range h.Counts {
			y := float64(n) / float64(total) / float64(h.Width)
			x := float64(h.From) + float64(k)*float64(h.Width)
			outline = append(outline, plotter.XY{X: x, Y: y}, plotter.XY{X: x + float64(h.Width), Y: y})
		}
		name := short(string(h.Arm))
		if i < len(r.Arms) && r.Arms[i].Drift.PSI.Known() {
			name += fmt.Sprintf(", PSI %.3f", float64(r.Arms[i].Drift.PSI))
		}
		drawn = line(p, name, outline, stroke(armColour(i), 1.4)) || drawn
	}
	p.Y.Min = 0
	headroom(p)
	return picture{
		ID: "densities", Title: "Scores of all images", plot: p, Height: pictureHeight,
		Sentence: "How often each arm gives which score; PSI compares later images with the arm's own first ones (0.1 is " +
			"worth a look, 0.25 an alarm).",
	}, drawn
}

func srm(r analysis.Report) (picture, bool) {
	if len(r.Pictures.SRM) < 2 {
		return picture{}, false
	}
	p := chart.New("Split of the units", "units", "share of the units so far")
	first, last := float64(r.Pictures.SRM[0].Units), float64(r.Pictures.SRM[len(r.Pictures.SRM)-1].Units)
	for k, id := range r.Decision.SRM.Arms {
		var points plotter.XYs
		for _, at := range r.Pictures.SRM {
			if k < len(at.Shares) {
				points = append(points, plotter.XY{X: float64(at.Units), Y: float64(at.Shares[k])})
			}
		}
		c := armColour(armIndex(r, string(id)))
		line(p, short(string(id)), points, stroke(c, 1.4))
		if k < len(r.Decision.SRM.Shares) {
			y := float64(r.Decision.SRM.Shares[k])
			line(p, "", plotter.XYs{{X: first, Y: y}, {X: last, Y: y}}, stroke(c, 1, 3, 3))
		}
	}
	p.Y.Min, p.Y.Max = 0, 1
	headroom(p)
	return picture{
		ID: "srm", Title: "Split of the units", plot: p, Height: pictureHeight,
		Sentence: fmt.Sprintf("Solid lines should run into the dashed ones, the shares that were ordered; anytime-valid p "+
			"= %s, and below 0.001 the split is wrong.",
			number(r.Decision.SRM.AnytimeP)),
	}, true
}

func exposures(r analysis.Report) (picture, bool) {
	t := r.Pictures.Exposures
	unit := "hour"
	if t.Hours > 1 {
		unit = fmt.Sprintf("%d hours", t.Hours)
	}
	p := chart.New("Exposures", "hours since the first exposure", "exposures per "+unit)
	drawn := false
	for i, counts := range t.Counts {
		var outline plotter.XYs
		total := 0
		for k, n := range counts {
			total += n
			x := float64(k * t.Hours)
			outline = append(outline, plotter.XY{X: x, Y: float64(n)}, plotter.XY{X: x + float64(t.Hours), Y: float64(n)})
		}
		if total == 0 || i >= len(r.Experiment.Arms) {
			continue
		}
		name := fmt.Sprintf("%s, %d", short(string(r.Experiment.Arms[i].ID)), total)
		drawn = line(p, name, outline, stroke(armColour(i), 1.4)) || drawn
	}
	p.Y.Min = 0
	headroom(p)
	return picture{
		ID: "exposures", Title: "Exposures", plot: p, Height: pictureHeight,
		Sentence: "How many images were answered for, by the arm whose score was shown.",
	}, drawn
}
