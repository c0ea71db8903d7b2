package load

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
	"time"
)

// Series is a run, or several that belong together, with a name.
type Series struct {
	Name string
	Run  Run
}

// palette keeps eight series apart, for most eyes.
var palette = []string{"#2b6cb0", "#dd6b20", "#2f855a", "#805ad5", "#c53030", "#0987a0", "#975a16", "#4a5568"}

// axes map values to a plot's area, upwards in logarithms.
type axes struct {
	left, top, width, height float64
	low, high                float64 // decades of y
}

func (a axes) y(ms float64) float64 {
	share := (math.Log10(max(ms, 1e-3)) - a.low) / (a.high - a.low)
	return a.top + a.height*(1-min(max(share, 0), 1))
}

// newAxes fits whole decades around values in milliseconds.
func newAxes(values []float64) axes {
	a := axes{left: 70, top: 44, width: 640, height: 280, low: 0, high: 1}
	if len(values) > 0 {
		a.low = math.Floor(math.Log10(max(slices.Min(values), 1e-3)))
		a.high = max(math.Ceil(math.Log10(max(slices.Max(values), 1e-3))), a.low+1)
	}
	return a
}

func (a axes) begin(b *bytes.Buffer, title string, series []Series) {
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 %g" font-family="system-ui, sans-serif" font-size="11">`+"\n", a.top+a.height+44+16*float64(len(series)))
	fmt.Fprintf(b, `<rect width="100%%" height="100%%" fill="#fff"/><text x="12" y="22" font-size="14" font-weight="600">%s</text>`+"\n", html.EscapeString(title))
	for d := a.low; d <= a.high; d++ {
		y := a.y(math.Pow(10, d))
		fmt.Fprintf(b, `<path d="M%g %.1fh%g" stroke="#e2e8f0"/><text x="%g" y="%.1f" text-anchor="end">%g ms</text>`+"\n", a.left, y, a.width, a.left-6, y+4, math.Pow(10, d))
	}
	for i, s := range series {
		y := a.top + a.height + 44 + 16*float64(i)
		fmt.Fprintf(b, `<rect x="%g" y="%g" width="10" height="10" fill="%s"/><text x="%g" y="%g">%s</text>`+"\n", a.left, y-9, colour(i), a.left+16, y, html.EscapeString(s.Name))
	}
}

func colour(i int) string { return palette[i%len(palette)] }

func (a axes) line(b *bytes.Buffer, points [][2]float64, colour, style string) {
	var path strings.Builder
	for i, p := range points {
		fmt.Fprintf(&path, "%c%.1f %.1f", "ML"[min(i, 1)], p[0], p[1])
	}
	fmt.Fprintf(b, `<path d="%s" fill="none" stroke="%s" stroke-width="1.6"%s/>`+"\n", path.String(), colour, style)
}

// PlotPercentiles draws latency over the share of requests, with the last
// thousandth as wide as the first nine tenths, as HdrHistogram's plots are.
func PlotPercentiles(series []Series) []byte {
	var all []float64
	sorted := make([][]time.Duration, len(series))
	for i, s := range series {
		for _, r := range s.Run.Records {
			if r.Outcome == Completed {
				sorted[i] = append(sorted[i], r.Latency())
			}
		}
		slices.Sort(sorted[i])
		if n := len(sorted[i]); n > 0 {
			all = append(all, inMS(sorted[i][0]), inMS(sorted[i][n-1]))
		}
	}
	a := newAxes(all)
	var b bytes.Buffer
	a.begin(&b, "Latency from when a request was due, by percentile", series)
	const decades = 4 // to the 99.99th
	x := func(share float64) float64 { return a.left + a.width*-math.Log10(1-share)/decades }
	for _, share := range []float64{0, 0.5, 0.9, 0.99, 0.999, 0.9999} {
		fmt.Fprintf(&b, `<path d="M%.1f %gv%g" stroke="#e2e8f0"/><text x="%.1f" y="%g" text-anchor="middle">%g %%</text>`+"\n", x(share), a.top, a.height, x(share), a.top+a.height+16, share*100)
	}
	for i, values := range sorted {
		var points [][2]float64
		for step := 0; step <= 40*decades && len(values) > 0; step++ {
			share := 1 - math.Pow(10, -float64(step)/40)
			// Beyond this share a single request would be drawn as a line.
			if float64(len(values))*(1-share) < 1 && step > 0 {
				break
			}
			points = append(points, [2]float64{x(share), a.y(inMS(rank(values, share)))})
		}
		a.line(&b, points, colour(i), "")
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// PlotTime draws the median and the 99th percentile over the time at which
// requests were due.
func PlotTime(series []Series) []byte {
	const slots = 80
	type curve struct{ median, tail [][2]float64 } // seconds, ms
	curves := make([]curve, len(series))
	var all []float64
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
		for k, values := range slot {
			if len(values) == 0 {
				continue
			}
			slices.Sort(values)
			at := (float64(k) + 0.5) / slots * length.Seconds()
			median, tail := inMS(rank(values, 0.5)), inMS(rank(values, 0.99))
			curves[i].median = append(curves[i].median, [2]float64{at, median})
			curves[i].tail = append(curves[i].tail, [2]float64{at, tail})
			all = append(all, median, tail)
		}
	}
	a := newAxes(all)
	var b bytes.Buffer
	a.begin(&b, "Latency over time: median, and dashed the 99th percentile", series)
	at := func(points [][2]float64) [][2]float64 {
		out := make([][2]float64, len(points))
		for i, p := range points {
			out[i] = [2]float64{a.left + a.width*p[0]/max(longest, 1e-9), a.y(p[1])}
		}
		return out
	}
	for i := range 5 {
		x := a.left + a.width*float64(i)/4
		fmt.Fprintf(&b, `<text x="%g" y="%g" text-anchor="middle">%.3g s</text>`+"\n", x, a.top+a.height+16, longest*float64(i)/4)
	}
	for i, c := range curves {
		a.line(&b, at(c.median), colour(i), "")
		a.line(&b, at(c.tail), colour(i), ` stroke-dasharray="4 3"`)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}
