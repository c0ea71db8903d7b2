package tritonload

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/agiqa/agiqa/benchmarks/load"
	"github.com/agiqa/agiqa/tritonclient"
)

// Use is what one model did during a run, by Triton's own statistics.
type Use struct {
	Model      string  `json:"model"`
	Requests   uint64  `json:"requests"`
	Failures   uint64  `json:"failures"`
	Items      uint64  `json:"items"`
	Executions uint64  `json:"executions"`
	MeanBatch  float64 `json:"mean_batch"`
	QueueMS    float64 `json:"queue_ms"`   // of a request, on average
	ComputeMS  float64 `json:"compute_ms"` // likewise
}

// Uses subtracts two statistics of the same servers, and leaves out models
// that did nothing.
func Uses(before, after []tritonclient.ModelStatistics) []Use {
	type key struct{ replica, model, version string }
	was := map[key]tritonclient.ModelStatistics{}
	for _, s := range before {
		was[key{s.Replica, s.Model, s.Version}] = s
	}
	uses := []Use{}
	for _, s := range after {
		b := was[key{s.Replica, s.Model, s.Version}]
		u := Use{
			Model: s.Model, Requests: s.Requests - b.Requests, Failures: s.Failures - b.Failures,
			Items: s.Items - b.Items, Executions: s.Executions - b.Executions,
		}
		if u.Requests+u.Failures == 0 {
			continue
		}
		if u.Executions > 0 {
			u.MeanBatch = float64(u.Items) / float64(u.Executions)
		}
		if n := float64(u.Requests); n > 0 {
			u.QueueMS = float64((s.Queue - b.Queue).Microseconds()) / 1000 / n
			u.ComputeMS = float64((s.Compute - b.Compute).Microseconds()) / 1000 / n
		}
		uses = append(uses, u)
	}
	return uses
}

// Report is a run, and what Triton says of it.
type Report struct {
	load.Report
	Triton []Use `json:"triton"`
}

// Measure runs f and adds what Triton counted meanwhile.
func Measure(ctx context.Context, client *tritonclient.Client, f func() (load.Run, error)) (Report, load.Run, error) {
	before, err := client.Statistics(ctx, "")
	if err != nil {
		return Report{}, load.Run{}, err
	}
	run, err := f()
	if err != nil {
		return Report{}, run, err
	}
	after, err := client.Statistics(ctx, "")
	return Report{load.Summarise(run), Uses(before, after)}, run, err
}

// Text writes a report for people.
func (r Report) Text(w io.Writer) error {
	var b strings.Builder
	if err := r.Report.Text(&b); err != nil {
		return err
	}
	b.WriteString("\nTriton's own statistics, ms of a request on average\n")
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "model\trequests\tfailures\texecutions\tmean batch\tqueue\tcompute\t")
	for _, u := range r.Triton {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%.2f\t%.3f\t%.3f\t\n", u.Model, u.Requests, u.Failures, u.Executions, u.MeanBatch, u.QueueMS, u.ComputeMS)
	}
	t.Flush() // into memory
	_, err := io.WriteString(w, b.String())
	return err
}
