package analysis

import (
	"math"
	"slices"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/stats"
)

// MonitorOptions say what a [Monitor] compares.
type MonitorOptions struct {
	Reference int     // the first scores, which later ones are held against
	Window    int     // the latest scores and times
	Low, High float64 // ends of the scale; equal: no scale is known
	Near      float64 // a score this close to an end counts as saturated
}

// DefaultMonitorOptions hold the latest 1,000 scores against the first 1,000, on
// the scale of mean opinion scores.
func DefaultMonitorOptions() MonitorOptions {
	return MonitorOptions{Reference: 1000, Window: 1000, Low: 1, High: 5, Near: 1e-3}
}

// Monitor is the stream of one arm's scores as guardrails look at it: memory for
// the first scores and the latest, nothing else. It goes by the order of arrival,
// as alarms must, and has no part in decisions. The value is not safe for several
// goroutines.
type Monitor struct {
	options   MonitorOptions
	reference []float64
	recent    ring // scores
	times     ring // head stage, milliseconds
	faults    ring // 1 for a fault, 0 for a score
	seen      int
	failed    int
}

// NewMonitor returns a monitor that has seen nothing.
func NewMonitor(options MonitorOptions) *Monitor {
	return &Monitor{
		options: options, recent: newRing(options.Window), times: newRing(options.Window), faults: newRing(options.Window),
	}
}

// Observe takes one score of the arm, or its fault, and the time of the head stage
// in milliseconds.
func (m *Monitor) Observe(score experiment.ArmScore, headMS float64) {
	m.seen++
	m.times.add(headMS)
	if score.Fault != "" || !usable(score.Score) {
		m.failed++
		m.faults.add(1)
		return
	}
	m.faults.add(0)
	if len(m.reference) < m.options.Reference {
		m.reference = append(m.reference, float64(score.Score))
		return
	}
	m.recent.add(float64(score.Score))
}

// Reading is what a monitor shows. Figures without enough data are not known.
type Reading struct {
	Seen       int    `json:"seen"`
	Failed     int    `json:"failed"`
	Recent     int    `json:"recent"`      // scores and faults in the window
	ErrorShare Number `json:"error_share"` // of them
	PSI        Number `json:"psi"`         // of the latest scores against the first
	KS         Number `json:"ks"`          // largest distance of their distributions
	KSP        Number `json:"ks_p"`
	Saturated  Number `json:"saturated"` // share at the ends of the scale
	Mean       Number `json:"mean"`
	SD         Number `json:"sd"`
	P99        Number `json:"p99_ms"` // of the head stage
}

// Read computes the figures.
func (m *Monitor) Read() Reading {
	r := Reading{
		Seen: m.seen, Failed: m.failed, Recent: len(m.faults.values),
		ErrorShare: unknown(), PSI: unknown(), KS: unknown(), KSP: unknown(), Saturated: unknown(),
		Mean: unknown(), SD: unknown(), P99: unknown(),
	}
	if n := len(m.faults.values); n > 0 {
		failed := 0.0
		for _, f := range m.faults.values {
			failed += f
		}
		r.ErrorShare = Number(failed / float64(n))
	}
	latest := m.recent.values
	if psi, err := stats.PSI(m.reference, latest); err == nil {
		r.PSI = Number(psi)
	}
	if ks, err := stats.KolmogorovSmirnov(m.reference, latest); err == nil {
		r.KS, r.KSP = Number(ks.Statistic), Number(ks.P)
	}
	if len(latest) == 0 {
		latest = m.reference // until the window has begun
	}
	if moments, err := stats.MomentsOf(latest); err == nil && moments.N() > 1 {
		r.Mean, r.SD = Number(moments.Mean()), Number(moments.SD())
	}
	if m.options.High > m.options.Low && len(latest) > 0 {
		r.Saturated = Number(saturated(latest, m.options))
	}
	if n := len(m.times.values); n > 0 {
		ordered := slices.Sorted(slices.Values(m.times.values))
		r.P99 = Number(ordered[int(math.Ceil(0.99*float64(n)))-1])
	}
	return r
}

// Latest are the scores in the window, for a comparison of two arms; before the
// window has begun, the first ones.
func (m *Monitor) Latest() []float64 {
	if len(m.recent.values) == 0 {
		return slices.Clone(m.reference)
	}
	return slices.Clone(m.recent.values)
}

func saturated(scores []float64, o MonitorOptions) float64 {
	n := 0
	for _, s := range scores {
		if s <= o.Low+o.Near || s >= o.High-o.Near {
			n++
		}
	}
	return float64(n) / float64(len(scores))
}

// ring keeps the latest values.
type ring struct {
	values []float64
	next   int
}

func newRing(size int) ring { return ring{values: make([]float64, 0, max(1, size))} }

func (r *ring) add(v float64) {
	if len(r.values) < cap(r.values) {
		r.values = append(r.values, v)
		return
	}
	r.values[r.next] = v
	r.next = (r.next + 1) % len(r.values)
}
