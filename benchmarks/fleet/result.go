package main

import (
	"slices"

	"github.com/agiqa/agiqa/evaluation"
)

// Window is a stretch of time of a run.
type Window struct {
	Name        string
	From, Until float64
	Offered     int
	Refused     int
	P50, P99    float64 // seconds, of those answered
	// Mean seconds that the answered waited: to be admitted, for a processor of
	// their gateway, for Triton.
	Admission, Processor, Triton float64
	Gateways, Tritons            int // most at a time

	latencies []float64
}

// Share of what was offered that was refused.
func (w Window) Share() float64 {
	if w.Offered == 0 {
		return 0
	}
	return float64(w.Refused) / float64(w.Offered)
}

// Second is what happened in one.
type Second struct {
	Offered, Answered, Refused int
	Gateways, Tritons          int
}

// Result is what a run says.
type Result struct {
	Fleet     Fleet
	Windows   []Window
	Seconds   []Second
	Recovered float64 // seconds of the spike until fewer than 1 % were refused, for good; -1: never
}

func newResult(f Fleet) Result {
	l := f.Load
	windows := []Window{{Name: "before", Until: l.Begin}}
	for _, w := range []Window{
		{Name: "first minute", From: l.Begin, Until: l.Begin + 60},
		{Name: "minutes 2 to 4", From: l.Begin + 60, Until: l.Begin + 240},
		{Name: "later", From: l.Begin + 240, Until: l.Until},
	} {
		if w.Until = min(w.Until, l.Until); w.From < w.Until {
			windows = append(windows, w)
		}
	}
	windows = append(windows, Window{Name: "after", From: l.Until, Until: l.End})
	return Result{Fleet: f, Windows: windows, Seconds: make([]Second, int(l.End)+1)}
}

func (r *Result) window(at float64) *Window {
	i := slices.IndexFunc(r.Windows, func(w Window) bool { return at < w.Until })
	if i < 0 {
		i = len(r.Windows) - 1
	}
	return &r.Windows[i]
}

func (r *Result) offered(at float64) {
	r.window(at).Offered++
	r.Seconds[int(at)].Offered++
}

func (r *Result) refused(at float64) {
	r.window(at).Refused++
	r.Seconds[int(at)].Refused++
}

func (r *Result) answered(at float64, q *request) {
	w := r.window(q.arrived)
	w.latencies = append(w.latencies, at-q.arrived)
	w.Admission += q.admitted - q.arrived
	w.Processor += q.decoding - q.admitted
	w.Triton += q.computing - q.decoded
	r.Seconds[int(at)].Answered++
}

func (r *Result) replicas(at float64, n [2]int) {
	w, s := r.window(at), &r.Seconds[int(at)]
	w.Gateways, w.Tritons = max(w.Gateways, n[0]), max(w.Tritons, n[1])
	s.Gateways, s.Tritons = n[0], n[1]
}

func (r *Result) finish() {
	for i := range r.Windows {
		w := &r.Windows[i]
		if n := float64(len(w.latencies)); n > 0 {
			slices.Sort(w.latencies)
			w.P50, w.P99 = evaluation.Quantile(w.latencies, 0.5), evaluation.Quantile(w.latencies, 0.99)
			w.Admission, w.Processor, w.Triton = w.Admission/n, w.Processor/n, w.Triton/n
		}
		w.latencies = nil
	}
	r.Recovered = 0
	begin, until := int(r.Fleet.Load.Begin), int(r.Fleet.Load.Until)
	for t := until - 5; t >= begin; t -= 5 { // by five seconds, from the end
		var offered, refused int
		for _, s := range r.Seconds[t : t+5] {
			offered, refused = offered+s.Offered, refused+s.Refused
		}
		if float64(refused) > 0.01*float64(offered) {
			r.Recovered = float64(t + 5 - begin)
			break
		}
	}
	if r.Recovered >= float64(until-begin) {
		r.Recovered = -1
	}
}
