package load

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Backend is a server behind the target, such as Triton, that keeps statistics
// of its own. This package knows none of them: whoever starts a run hands one
// in ([Options.Backend]).
type Backend interface {
	// Watch reads the statistics; the function that it returns reads them again
	// and returns the difference.
	Watch(ctx context.Context) (func(ctx context.Context) (Behind, error), error)
}

// Behind is what the server behind a target did during a run, whoever asked.
type Behind struct {
	Models []Use `json:"models"`
	// Calls from outside, and the time of all of them that the server can
	// account for. A model that a call reaches through another one is in the
	// times and is no call.
	Calls     uint64  `json:"calls"`
	QueueMS   float64 `json:"queue_ms"`
	ComputeMS float64 `json:"compute_ms"`
	// Stages of the target that consist of such calls.
	Stages []string `json:"stages,omitempty"`
}

// Use is what one model did during a run. Times are means of a request, in
// milliseconds.
type Use struct {
	Model      string  `json:"model"`
	Requests   uint64  `json:"requests"` // that succeeded
	Failures   uint64  `json:"failures"`
	Items      uint64  `json:"items"`
	Executions uint64  `json:"executions"`
	MeanBatch  float64 `json:"mean_batch"`
	QueueMS    float64 `json:"queue_ms"`
	ComputeMS  float64 `json:"compute_ms"` // input, infer and output together
	InputMS    float64 `json:"input_ms"`
	InferMS    float64 `json:"infer_ms"`
	OutputMS   float64 `json:"output_ms"`
}

// Split says where the time went that requests spent in the target's stages
// that call the server behind it. All are means, in milliseconds, of a request
// that was in such a stage.
type Split struct {
	Stages    []string `json:"stages"`
	Requests  int      `json:"requests"`
	StagesMS  float64  `json:"stages_ms"`  // by the target
	QueueMS   float64  `json:"queue_ms"`   // by the server behind it
	ComputeMS float64  `json:"compute_ms"` // likewise
	// TransferMS is the rest: both ends' work on a message, its way, and waits
	// before the server counts.
	TransferMS float64 `json:"transfer_ms"`
}

// splitOf returns the reason instead if the two sides didn't count the same calls.
func splitOf(r Run) (*Split, string) {
	b := r.Behind
	if b == nil || len(b.Stages) == 0 {
		return nil, ""
	}
	belongs := map[string]bool{}
	for _, name := range b.Stages {
		belongs[name] = true
	}
	s := Split{}
	calls, sum := 0, 0.0
	seen := make([]bool, len(r.Stages))
	for _, rec := range r.Records {
		before := calls
		for i, ms := range rec.Stages {
			if ms >= 0 && belongs[r.Stages[i]] {
				calls, sum, seen[i] = calls+1, sum+float64(ms), true
			}
		}
		if calls > before {
			s.Requests++
		}
	}
	// A call that was answered as the run ended may be missing on one side. More
	// than that is another client, another replica, or one call for several
	// requests, and a difference of means would mean nothing.
	if off := float64(calls) - float64(b.Calls); calls == 0 || max(off, -off) > 1+float64(calls)/100 {
		return nil, fmt.Sprintf("transfer time is unknown: the target's answers report %d calls to the server behind it, "+
			"which "+
			"counted %d: calls are batched or retried, or there are other clients or servers", calls, b.Calls)
	}
	for i, name := range r.Stages {
		if seen[i] {
			s.Stages = append(s.Stages, name)
		}
	}
	n := float64(s.Requests)
	s.StagesMS, s.QueueMS, s.ComputeMS = round(sum/n), round(b.QueueMS/n), round(b.ComputeMS/n)
	s.TransferMS = round((sum - b.QueueMS - b.ComputeMS) / n)
	return &s, ""
}

// backend writes what stood behind the target.
func (out Report) backend(w io.Writer) {
	if len(out.Triton) == 0 {
		return
	}
	fmt.Fprintln(w, "\nTriton's own statistics, means of a model's request in ms")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "model\trequests\tfailures\texecutions\tmean batch\tqueue\tcompute\t= input\t+ infer\t+ output\t")
	for _, u := range out.Triton {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%.2f\t%.3f\t%.3f\t%.3f\t%.3f\t%.3f\t\n", u.Model, u.Requests,
			u.Failures, u.Executions, u.MeanBatch,
			u.QueueMS, u.ComputeMS, u.InputMS, u.InferMS, u.OutputMS)
	}
	t.Flush() // into memory
	if out.Split != nil {
		fmt.Fprintf(w, "%s\n", out.Split)
	}
}

// String is the split in one line.
func (s Split) String() string {
	return fmt.Sprintf("server: %s, mean of %d requests: %.3f ms = Triton's queue %.3f + compute %.3f + transfer (what "+
		"is left) %.3f",
		strings.Join(s.Stages, " + "), s.Requests, s.StagesMS, s.QueueMS, s.ComputeMS, s.TransferMS)
}
