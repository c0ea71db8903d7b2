//go:build unix

package gateway_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/analysis"
	"github.com/agiqa/agiqa/experiment/storetest"
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

// TestBurstsAreNamed: where styles came in bursts when images were scored, and labels of
// them are drawn at random, no arm is promoted, and the status says that it is for the
// time of scoring. With the same labels on images that came mixed it would be.
func TestBurstsAreNamed(t *testing.T) {
	t.Parallel()
	const images, labelled, bursts = 1200, 400, 12
	for _, mixed := range []bool{false, true} {
		r := newTrialRig(t)
		r.start("primary: loss_mse\nmin_duration: 0s\n")
		x, err := r.engine.Get(t.Context(), "x")
		must(t, err)
		random := rand.New(rand.NewPCG(1, 2))
		var exposures []experiment.Exposure
		truth := make([]float64, images)
		for n := range images {
			r.nanos.Add(int64(time.Second))
			style := n * bursts / images
			if mixed {
				style = n % bursts
			}
			near, far := 0.1, 0.5 // the treatment is nearer in two styles of three
			if style%3 == 0 {
				near, far = far, near
			}
			truth[n] = 2 + 2*random.Float64()
			e := storetest.NewExposure("x", n)
			e.Time, e.Phase, e.Encoder, e.Preprocess, e.Shown, e.Rank = r.now(), 1, x.Encoder, x.Preprocess, x.Arms[n%2].ID, 0
			e.Scores = []experiment.ArmScore{{Arm: x.Arms[0].ID, Score: float32(truth[n] + far)},
				{Arm: "new", Score: float32(truth[n] + near)}}
			exposures = append(exposures, e)
		}
		must(t, r.store.AppendExposures(t.Context(), exposures))
		var group sync.WaitGroup
		for k, n := range random.Perm(images)[:labelled] {
			r.nanos.Add(int64(time.Second))
			f := storetest.NewFeedback("x", n)
			f.Rater, f.Value, f.Phase, f.Time, f.Given = fmt.Sprint("rater ", k%10), truth[n], 1, r.now(), r.now()
			group.Go(func() { // together they share a commit
				_, err := r.store.AppendFeedback(t.Context(), f)
				must(t, err)
			})
		}
		group.Wait()
		status := r.status()
		arm := status.Arms[0]
		if mixed {
			if !arm.Ready || status.Recommends != "new" {
				t.Errorf("mixed styles: %+v", arm)
			}
			continue
		}
		if arm.Ready || !contains(fmt.Sprint(arm.Missing), "the widest by scoring") {
			t.Errorf("bursts: %+v", arm)
		}
		c, err := r.engine.Conclude(t.Context(), "x") // a whole report takes long
		must(t, err)
		width := map[string]analysis.Number{}
		for _, i := range c.Decision.Blind[0].Intervals {
			width[i.By] = i.High - i.Low
		}
		if !(width["scoring"] > 3*width["image"]) || !(width["scoring"] > 2*width["time"]) {
			t.Errorf("widths %v", width)
		}
	}
}
