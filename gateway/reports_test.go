package gateway_test

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/analysis"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/quality"
)

// madeReport are experiments whose report is there at once, so that all the time
// goes to writing it.
type madeReport struct {
	gateway.Experiments
	report  analysis.Report
	handing func() // called before the report is handed over
}

func (m madeReport) Report(context.Context, experiment.ID, int) (analysis.Report, error) {
	m.handing()
	return m.report, nil
}

// manyPictures is a report that takes long to draw, and longRows one whose tables do
// to write: far longer than any that an experiment leads to.
func manyPictures() (r analysis.Report) {
	t := analysis.Trajectory{Arm: "new", Unit: "image"}
	for n := range 200 {
		y := analysis.Number(1 / float64(n+1))
		t.Points = append(t.Points, analysis.TrackPoint{N: n, Low: -y, High: y, RunningLow: -y, RunningHigh: y})
	}
	r.Pictures.Trajectories = slices.Repeat([]analysis.Trajectory{t}, 20_000)
	return r
}

func longRows() (r analysis.Report) {
	d := analysis.Disagreement{Image: "sha256:0", Scores: slices.Repeat([]analysis.Number{0.5}, 100_000)}
	r.Worst = slices.Repeat([]analysis.Disagreement{d}, 200)
	return r
}

// TestWritingOfAReportEndsWithItsRequest: a page that takes longer to draw or write than
// its request may is refused with a code while the answer can still be written, and
// nobody goes on with it for whoever has left.
func TestWritingOfAReportEndsWithItsRequest(t *testing.T) {
	t.Parallel()
	const (
		budget = 300 * time.Millisecond
		soon   = 3 * time.Second // the whole page takes much longer
	)
	for _, tc := range []struct {
		name, path string
		report     func() analysis.Report
	}{
		{"pictures", "report.html", manyPictures},
		{"tables", "report.html", longRows},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			large := tc.report()
			ask := func(timeout time.Duration, handing func(), edits ...edit) (reply, time.Duration) {
				t.Helper()
				r := newRig(t, func(p *plan) {
					p.gateway.ChangeTimeout = timeout
					p.experiments = madeReport{report: large, handing: handing}
				})
				began := time.Now()
				a := r.ask(http.MethodGet, "/v1/experiments/x/"+tc.path, nil, append(edits, asAdmin)...)
				return a, time.Since(began)
			}
			a, took := ask(budget, func() {})
			a.wantProblem(t, quality.KindDeadlineExceeded)
			if took > soon {
				t.Errorf("refused after %s", took)
			}
			ctx, leave := context.WithCancel(t.Context())
			a, took = ask(time.Hour, func() { time.AfterFunc(budget, leave) },
				func(q *http.Request) { *q = *q.WithContext(ctx) })
			a.wantProblem(t, quality.KindClientClosedRequest)
			if took > soon {
				t.Errorf("written for %s for a client that has left", took)
			}
		})
	}
}

// TestAnswerInTimeOrNone: a deadline that passes between the report and its last byte is
// told, in either form.
func TestAnswerInTimeOrNone(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"report", "report.html"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		r := newRig(t, func(p *plan) {
			p.experiments = madeReport{handing: func() { cancel(context.DeadlineExceeded) }}
		})
		a := r.ask(http.MethodGet, "/v1/experiments/x/"+path, nil, asAdmin,
			func(q *http.Request) { *q = *q.WithContext(ctx) })
		a.wantProblem(t, quality.KindDeadlineExceeded)
	}
}
