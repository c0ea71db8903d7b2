package load

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"gonum.org/v1/gonum/stat"
)

// Watcher reads what a process uses while a run goes on.
type Watcher struct {
	PID     int           // 0: none
	Metrics string        // URL of its metrics in Prometheus's text format; "": none
	Every   time.Duration // between samples
}

// Sample is one look.
type Sample struct {
	AtS        float64 `json:"at_s"`
	RSSKB      int64   `json:"rss_kb,omitempty"`
	FDs        int     `json:"fds,omitempty"`
	Threads    int     `json:"threads,omitempty"`
	CPUS       float64 `json:"cpu_s,omitempty"`
	Goroutines float64 `json:"goroutines,omitempty"`
}

// goroutineMetrics are the names under which servers export their number of goroutines.
var goroutineMetrics = []string{"go_goroutine_count", "go_goroutines"}

// Look takes one sample.
func (w Watcher) Look(ctx context.Context, at time.Duration) (Sample, error) {
	s := Sample{AtS: seconds(at)}
	if w.PID != 0 {
		u, err := ReadUsage(w.PID)
		if err != nil {
			return s, err
		}
		s.RSSKB, s.FDs, s.Threads, s.CPUS = u.RSSKB, u.FDs, u.Threads, seconds(u.CPU)
	}
	if w.Metrics == "" {
		return s, nil
	}
	n, err := scrape(ctx, w.Metrics, goroutineMetrics)
	s.Goroutines = n
	return s, err
}

// Watch takes samples until ctx ends. A look that fails is left out, and the
// first failure is returned beside the samples.
func (w Watcher) Watch(ctx context.Context) ([]Sample, error) {
	var samples []Sample
	var failed error
	begin := time.Now()
	tick := time.NewTicker(w.Every)
	defer tick.Stop()
	for {
		s, err := w.Look(ctx, time.Since(begin))
		switch {
		case ctx.Err() != nil:
			return samples, failed
		case err != nil:
			failed = firstOf(failed, err)
		default:
			samples = append(samples, s)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return samples, failed
		}
	}
}

// scrape returns the first of the named metrics that has no labels.
func scrape(ctx context.Context, url string, names []string) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s answered %s", url, res.Status)
	}
	for lines := bufio.NewScanner(io.LimitReader(res.Body, 16<<20)); lines.Scan(); {
		name, rest, ok := strings.Cut(lines.Text(), " ")
		name, _, _ = strings.Cut(name, "{")
		for _, want := range names {
			if ok && name == want {
				if at := strings.LastIndexByte(rest, ' '); at >= 0 {
					rest = rest[at+1:]
				}
				return strconv.ParseFloat(rest, 64)
			}
		}
	}
	return 0, fmt.Errorf("%s has no metric %s", url, strings.Join(names, " or "))
}

// Trend is a straight line through samples.
type Trend struct {
	First   float64 `json:"first"`
	Last    float64 `json:"last"`
	Max     float64 `json:"max"`
	PerHour float64 `json:"per_hour"` // slope, by least squares, after the first tenth
}

// Soak is what a long run comes to.
type Soak struct {
	Report  Report            `json:"report"`
	Samples []Sample          `json:"samples"`
	Trends  map[string]*Trend `json:"trends"`
	// Windows are the p99 of latency by tenths of the run, in ms.
	Windows []float64 `json:"p99_by_tenth_ms"`
	Watched string    `json:"watch_error,omitempty"`
}

var trendsOf = []struct {
	name string
	of   func(Sample) float64
}{
	{"rss_kb", func(s Sample) float64 { return float64(s.RSSKB) }},
	{"fds", func(s Sample) float64 { return float64(s.FDs) }},
	{"threads", func(s Sample) float64 { return float64(s.Threads) }},
	{"goroutines", func(s Sample) float64 { return s.Goroutines }},
}

// SummariseSoak joins a run and what was seen during it.
func SummariseSoak(run Run, samples []Sample, watched error) Soak {
	out := Soak{Report: Summarise(run), Samples: samples, Trends: map[string]*Trend{}, Windows: []float64{}}
	if watched != nil {
		out.Watched = watched.Error()
	}
	for _, t := range trendsOf {
		if trend := trendOf(samples, t.of); trend != nil {
			out.Trends[t.name] = trend
		}
	}
	for i := range 10 {
		tenth := run.Length / 10
		part := run
		part.Records = dueWithin(run.Records, time.Duration(i)*tenth, time.Duration(i+1)*tenth)
		if p := Summarise(part).LatencyMS; p != nil {
			out.Windows = append(out.Windows, p.P99)
		}
	}
	return out
}

// trendOf leaves out the first tenth, in which pools and caches fill. Of what
// was never seen it is nil.
func trendOf(samples []Sample, of func(Sample) float64) *Trend {
	seen := 0.0
	for _, s := range samples {
		seen = max(seen, of(s))
	}
	if seen == 0 {
		return nil
	}
	late := samples[len(samples)/10:]
	trend := &Trend{First: of(samples[0]), Last: of(samples[len(samples)-1]), Max: seen}
	if len(late) < 2 {
		return trend
	}
	var hours, values []float64
	for _, s := range late {
		hours, values = append(hours, s.AtS/3600), append(values, of(s))
	}
	_, slope := stat.LinearRegression(hours, values, nil, false)
	trend.PerHour = round(slope)
	return trend
}

// Text writes a soak for people.
func (out Soak) Text(w io.Writer) error {
	var b strings.Builder
	if err := out.Report.Text(&b); err != nil {
		return err
	}
	fmt.Fprintf(&b, "\np99 by tenths of the run, ms: %v\n\n", out.Windows)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "%d samples\tfirst\tlast\tmax\tper hour\t\n", len(out.Samples))
	for _, k := range trendsOf {
		if trend := out.Trends[k.name]; trend != nil {
			fmt.Fprintf(t, "%s\t%.0f\t%.0f\t%.0f\t%+.1f\t\n", k.name, trend.First, trend.Last, trend.Max, trend.PerHour)
		}
	}
	t.Flush() // into memory
	if out.Watched != "" {
		fmt.Fprintf(&b, "note: some samples failed: %s\n", out.Watched)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
