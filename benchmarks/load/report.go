package load

import (
	"fmt"
	"time"
)

// Report is what a run comes to. All latencies count from when a request was
// due.
type Report struct {
	Target string `json:"target"`
	Label  string `json:"label,omitempty"`
	Loop   Loop   `json:"loop"`

	// scheduled = completed + errors + dropped + unsent.
	Scheduled int `json:"scheduled"`
	Completed int `json:"completed"`
	Errors    int `json:"errors"`
	Dropped   int `json:"dropped"`
	Unsent    int `json:"unsent"`
	// Sent are the requests of which at least a byte went out.
	Sent int `json:"sent"`

	Failures map[Failure]int `json:"failures"` // errors by cause
	Statuses map[int]int     `json:"statuses"` // answers by status, expected or not

	DurationS    float64 `json:"duration_s"` // of the schedule
	TookS        float64 `json:"took_s"`     // until the last answer
	OfferedPerS  float64 `json:"offered_per_s"`
	CompletedPer float64 `json:"completed_per_s"` // over the time that it took

	LatencyMS      *Percentiles `json:"latency_ms"`       // of completed requests, from when they were due
	ErrorLatencyMS *Percentiles `json:"error_latency_ms"` // of those that failed
	ServiceMS      *Percentiles `json:"service_ms"`       // of completed ones, from when a connection took them
	FirstByteMS    *Percentiles `json:"first_byte_ms"`    // likewise, until the answer began
	LateMS         *Percentiles `json:"late_ms"`          // how long after it was due a request was started, whatever the cause
	OwnLateMS      *Percentiles `json:"own_late_ms"`      // how much of that was the generator's doing

	StagesMS map[string]*Percentiles `json:"stages_ms,omitempty"` // the server's own times

	Process *ProcessFigures `json:"process,omitempty"` // of the target

	Triton []Use  `json:"triton,omitempty"` // what models behind the target did
	Split  *Split `json:"split,omitempty"`  // of the time in stages that asked them

	GeneratorCPUS float64  `json:"generator_cpu_s"`
	Warnings      []string `json:"warnings"`
}

// ProcessFigures are what the target's processes used.
type ProcessFigures struct {
	CPUS       float64 `json:"cpu_s"`
	CPUPer1000 float64 `json:"cpu_s_per_1000"` // per thousand completed requests
	RSSKB      int64   `json:"rss_kb"`
	FDs        int     `json:"fds"`
}

// Summarise derives the report of a run.
func Summarise(r Run) Report {
	out := Report{
		Target: r.Target, Loop: r.Loop, Scheduled: len(r.Records),
		Failures: map[Failure]int{}, Statuses: map[int]int{},
		DurationS: seconds(r.Length), TookS: seconds(r.Took), GeneratorCPUS: seconds(r.CPU), Warnings: []string{},
	}
	var latency, errorLatency, service, first, late, own []time.Duration
	stages := make([][]float32, len(r.Stages))
	for _, rec := range r.Records {
		out.count(rec)
		switch rec.Outcome {
		case Completed:
			latency = append(latency, rec.Latency())
			service = append(service, rec.Done-rec.Start)
			if rec.First > 0 {
				first = append(first, rec.First-rec.Start)
			}
		case Failed:
			errorLatency = append(errorLatency, rec.Latency())
		default:
			continue
		}
		late, own = append(late, rec.Start-rec.Due), append(own, rec.Own)
		for i, ms := range rec.Stages {
			if ms >= 0 {
				stages[i] = append(stages[i], ms)
			}
		}
	}
	out.LatencyMS, out.ErrorLatencyMS, out.ServiceMS = durations(latency), durations(errorLatency), durations(service)
	out.FirstByteMS, out.LateMS, out.OwnLateMS = durations(first), durations(late), durations(own)
	for i, name := range r.Stages {
		if p := percentiles(stages[i], func(ms float32) float64 { return round(float64(ms)) }); p != nil {
			if out.StagesMS == nil {
				out.StagesMS = map[string]*Percentiles{}
			}
			out.StagesMS[name] = p
		}
	}
	if r.Length > 0 {
		out.OfferedPerS = round(float64(out.Scheduled) / r.Length.Seconds())
	}
	if span := max(r.Took, r.Length); span > 0 {
		out.CompletedPer = round(float64(out.Completed) / span.Seconds())
	}
	if r.Process != nil {
		out.Process = &ProcessFigures{CPUS: seconds(r.Process.CPU), RSSKB: r.Process.RSSKB, FDs: r.Process.FDs}
		if out.Completed > 0 {
			out.Process.CPUPer1000 = round(r.Process.CPU.Seconds() / float64(out.Completed) * 1000)
		}
	}
	why := ""
	if r.Behind != nil {
		out.Triton = r.Behind.Models
		out.Split, why = splitOf(r)
	}
	out.warn(r, why)
	return out
}

func (out *Report) count(rec Record) {
	switch rec.Outcome {
	case Completed:
		out.Completed++
	case Failed:
		out.Errors++
		out.Failures[rec.Failure]++
	case Dropped:
		out.Dropped++
	case Unsent:
		out.Unsent++
	}
	if rec.Wrote {
		out.Sent++
	}
	if rec.Status != 0 {
		out.Statuses[int(rec.Status)]++
	}
}

// warn says what a reader of the figures has to know first.
func (out *Report) warn(r Run, unsplit string) {
	say := func(format string, args ...any) { out.Warnings = append(out.Warnings, fmt.Sprintf(format, args...)) }
	if r.Loop == ClosedLoop {
		say("closed loop: a slow server gets fewer requests, and these figures exclude the time callers would wait")
	}
	if r.Broken != nil {
		say("%v", r.Broken)
	}
	if p, l := out.OwnLateMS, out.LatencyMS; p != nil && l != nil && p.P99 > max(2, 0.2*l.P50) {
		say("the generator itself was late (p99 %.3f ms): the figures include its own delays", p.P99)
	}
	if p := out.LateMS; r.Loop == OpenLoop && p != nil && p.P99 > max(10, out.OwnLateMS.P99*2) {
		say("requests waited for a free connection (p99 %.3f ms): use more connections to load the target fully", p.P99)
	}
	if unsplit != "" {
		say("%s", unsplit)
	}
	if out.Dropped > 0 {
		say("%d requests were dropped: too many were outstanding when they were due", out.Dropped)
	}
	if out.Unsent > 0 {
		say("%d requests were not sent before the run ended", out.Unsent)
	}
	if out.Errors > 0 {
		say("%d requests failed; the latency percentiles are of the %d that did not", out.Errors, out.Completed)
	}
}

// BadShare is the share of scheduled requests that did not complete.
func (out Report) BadShare() float64 {
	if out.Scheduled == 0 {
		return 0
	}
	return float64(out.Scheduled-out.Completed) / float64(out.Scheduled)
}

func seconds(d time.Duration) float64 { return round(d.Seconds()) }
