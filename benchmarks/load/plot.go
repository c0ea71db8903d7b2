package load

import (
	"math"
	"slices"
	"strconv"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/agiqa/agiqa/internal/chart"
)

// Series is a run, or several that belong together, with a name.
type Series struct {
	Name string
	Run  Run
}

// Size of a plot, without its legend.
const (
	plotWidth  = 8 * vg.Inch
	plotHeight = 4 * vg.Inch
)

// PlotPercentiles draws latency over the share of requests as SVG, with the last
// thousandth as wide as the first nine tenths, as HdrHistogram's plots are.
func PlotPercentiles(series []Series) ([]byte, error) {
	const decades = 4 // to the 99.99th
	var all []float64
	var lines []chart.Line
	for i, s := range series {
		var sorted []time.Duration
		for _, r := range s.Run.Records {
			if r.Outcome == Completed {
				sorted = append(sorted, r.Latency())
			}
		}
		slices.Sort(sorted)
		line := chart.Line{Name: s.Name, Colour: i}
		for step := 0; step <= 40*decades && len(sorted) > 0; step++ {
			share := 1 - math.Pow(10, -float64(step)/40)
			// Beyond this share a single request would be drawn as a line.
			if float64(len(sorted))*(1-share) < 1 && step > 0 {
				break
			}
			ms := max(inMS(rank(sorted, share)), 1e-3)
			line.Points = append(line.Points, plotter.XY{X: -math.Log10(1 - share), Y: ms})
			all = append(all, ms)
		}
		lines = append(lines, line)
	}
	p := chart.New("Latency from when a request was due, by percentile", "", "")
	p.X.Min, p.X.Max = 0, decades
	var ticks []plot.Tick
	for _, share := range []float64{0, 0.5, 0.9, 0.99, 0.999, 0.9999} {
		ticks = append(ticks,
			plot.Tick{Value: -math.Log10(1 - share), Label: strconv.FormatFloat(share*100, 'g', 6, 64) + " %"})
	}
	p.X.Tick.Marker = plot.ConstantTicks(ticks)
	chart.LogY(p, "ms", all)
	if err := chart.AddLines(p, lines); err != nil {
		return nil, err
	}
	return chart.SVG(p, plotWidth, plotHeight)
}

// PlotTime draws the median and the 99th percentile over the time at which
// requests were due, as SVG.
func PlotTime(series []Series) ([]byte, error) {
	const slots = 80
	var all []float64
	var lines []chart.Line
	longest := 0.0
	for i, s := range series {
		length := max(s.Run.Length, 1)
		longest = max(longest, length.Seconds())
		slot := make([][]time.Duration, slots)
		for _, r := range s.Run.Records {
			if r.Outcome == Completed {
				k := min(int(float64(r.Due)/float64(length)*slots), slots-1)
				slot[k] = append(slot[k], r.Latency())
			}
		}
		median, tail := chart.Line{Name: s.Name, Colour: i}, chart.Line{Colour: i, Dashed: true}
		for k, values := range slot {
			if len(values) == 0 {
				continue
			}
			slices.Sort(values)
			at := (float64(k) + 0.5) / slots * length.Seconds()
			low, high := max(inMS(rank(values, 0.5)), 1e-3), max(inMS(rank(values, 0.99)), 1e-3)
			median.Points = append(median.Points, plotter.XY{X: at, Y: low})
			tail.Points = append(tail.Points, plotter.XY{X: at, Y: high})
			all = append(all, low, high)
		}
		lines = append(lines, median, tail)
	}
	p := chart.New("Latency over time: median, and dashed the 99th percentile", "seconds", "")
	p.X.Min, p.X.Max = 0, max(longest, 1e-9)
	chart.LogY(p, "ms", all)
	if err := chart.AddLines(p, lines); err != nil {
		return nil, err
	}
	return chart.SVG(p, plotWidth, plotHeight)
}
