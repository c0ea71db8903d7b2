package load

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Measurement is a folder that was saved: what ran, and its runs, those of one
// contender joined.
type Measurement struct {
	Name     string
	Manifest Manifest
	Series   []Series
}

// Open reads a folder.
func Open(folder string) (Measurement, error) {
	m, runs, err := Load(folder)
	if err != nil {
		return Measurement{}, err
	}
	return NewMeasurement(folder, m, runs), nil
}

// NewMeasurement joins the runs that belong together: the blocks of each side
// of a comparison. All others stand alone.
func NewMeasurement(name string, m Manifest, runs []Run) Measurement {
	out := Measurement{Name: name, Manifest: m}
	sides := map[string][]Run{}
	for i, r := range runs {
		label := ""
		if i < len(m.Runs) {
			label = m.Runs[i].Label
		}
		side, _, joined := strings.Cut(label, ", pair ")
		if joined {
			sides[side] = append(sides[side], r)
			continue
		}
		out.Series = append(out.Series, Series{strings.TrimSpace(label + " " + r.Target), r})
	}
	for _, side := range slices.Sorted(maps.Keys(sides)) {
		joined := Merge(sides[side]...)
		out.Series = append(out.Series, Series{side + ": " + joined.Target, joined})
	}
	return out
}

// Summary is several measurements side by side.
type Summary struct {
	Measurements []Measurement
}

// series names each by its measurement, where there are several.
func (s Summary) series() []Series {
	var out []Series
	for _, m := range s.Measurements {
		for _, one := range m.Series {
			if len(s.Measurements) > 1 {
				one.Name = m.Name + ": " + one.Name
			}
			out = append(out, one)
		}
	}
	return out
}

// Reports are the reports of all series, labelled.
func (s Summary) Reports() []Report {
	out := []Report{}
	for _, one := range s.series() {
		r := Summarise(one.Run)
		r.Label = one.Name
		out = append(out, r)
	}
	return out
}

// Text writes a table, and the manifests above it.
func (s Summary) Text(w io.Writer) error {
	for _, m := range s.Measurements {
		fmt.Fprintf(w, "%s\n", m.Name)
		if err := m.Manifest.Text(w); err != nil {
			return err
		}
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "run\tloop\toffered/s\tcompleted/s\tscheduled\terrors\tdropped\tunsent\tp50 ms\tp95 ms\tp99 "+
		"ms\tmax ms\town late p99 ms\tCPU s/1000\tRSS MB")
	for _, r := range s.Reports() {
		l, own := orNone(r.LatencyMS), orNone(r.OwnLateMS)
		fmt.Fprintf(t, "%s\t%s\t%.6g\t%.6g\t%d\t%d\t%d\t%d\t%.3f\t%.3f\t%.3f\t%.3f\t%.3f\t%s\n", r.Label, r.Loop,
			r.OfferedPerS, r.CompletedPer,
			r.Scheduled, r.Errors, r.Dropped, r.Unsent, l.P50, l.P95, l.P99, l.Max, own.P99, used(r.Process))
	}
	return t.Flush()
}

// used is two cells of the table.
func used(p *ProcessFigures) string {
	if p == nil {
		return "-\t-"
	}
	return fmt.Sprintf("%.3f\t%.0f", p.CPUPer1000, float64(p.RSSKB)/1024)
}

func orNone(p *Percentiles) Percentiles {
	if p == nil {
		return Percentiles{}
	}
	return *p
}

// HTML writes a page that needs nothing else.
func (s Summary) HTML(w io.Writer) error {
	series := s.series()
	percentiles, err := PlotPercentiles(series)
	if err != nil {
		return err
	}
	overTime, err := PlotTime(series)
	if err != nil {
		return err
	}
	return page.Execute(w, map[string]any{
		"Measurements": s.Measurements, "Reports": s.Reports(),
		"Percentiles": template.HTML(percentiles), "Time": template.HTML(overTime), // both escape their texts
	})
}

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"orNone": orNone,
	"rows": func(r Report) []namedPercentiles {
		out := []namedPercentiles{
			{"latency, from when it was due", r.LatencyMS}, {"latency of errors", r.ErrorLatencyMS},
			{"service, from when it was sent", r.ServiceMS},
			{"until the first byte", r.FirstByteMS}, {"late start", r.LateMS}, {"late by the generator", r.OwnLateMS},
		}
		for _, name := range slices.Sorted(maps.Keys(r.StagesMS)) {
			out = append(out, namedPercentiles{"server: " + name, r.StagesMS[name]})
		}
		return slices.DeleteFunc(out, func(p namedPercentiles) bool { return p.P == nil })
	},
}).Parse(pageText))

type namedPercentiles struct {
	Name string
	P    *Percentiles
}

// WriteHGRM writes the latencies of a run, in milliseconds, as HdrHistogram's
// tools read them.
func WriteHGRM(w io.Writer, r Run) error {
	h := hdrhistogram.New(1, int64(24*3600*1e6), 3) // microseconds, to a day
	for _, rec := range r.Records {
		if rec.Outcome == Completed {
			if err := h.RecordValue(max(rec.Latency().Microseconds(), 1)); err != nil {
				return err
			}
		}
	}
	_, err := h.PercentilesPrint(w, 5, 1000)
	return err
}
