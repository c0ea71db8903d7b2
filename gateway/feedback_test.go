//go:build unix

package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/analysis"
	"github.com/agiqa/agiqa/experiment/engine"
	"github.com/agiqa/agiqa/experiment/sqlstore"
	"github.com/agiqa/agiqa/experiment/storetest"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/pictures"
	"github.com/agiqa/agiqa/internal/proctest"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
)

// ownShelf names the preparation of the service whose scores are recorded.
type ownShelf struct {
	trialShelf
	service *scoring.Service
}

func (s ownShelf) Preprocess(c quality.Checkpoint) quality.PreprocessID {
	return s.service.PreprocessID("", c.Views.Recipe())
}

// anybody may label.
type anybody struct{}

func (anybody) CanLabel(context.Context) (bool, error) { return true, nil }

// trialKey is what a trialRig makes names of units and raters with.
const trialKey = "a key of thirty-two bytes, secret"

// trialRig is a rig that runs experiments over a file of SQLite. Its clock goes
// when it is told to.
type trialRig struct {
	*rig
	engine *engine.Engine
	store  *sqlstore.Store
	path   string
	nanos  *atomic.Int64
	jump   atomic.Int64           // how far this gateway's clock was set forward
	rival  atomic.Pointer[func()] // called once, just before a change of an experiment is written
}

// rivalStore lets somebody else be faster.
type rivalStore struct {
	*sqlstore.Store
	rig *trialRig
}

func (s rivalStore) Swap(ctx context.Context, was int64, e experiment.Experiment, a experiment.Audit) error {
	if rival := s.rig.rival.Swap(nil); rival != nil {
		(*rival)()
	}
	return s.Store.Swap(ctx, was, e, a)
}

// now is what this gateway's clock shows.
func (r *trialRig) now() time.Time { return time.Unix(0, r.nanos.Load()+r.jump.Load()).UTC() }

func newTrialRig(t *testing.T, edits ...func(*plan)) *trialRig {
	t.Helper()
	nanos := &atomic.Int64{}
	nanos.Store(time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC).UnixNano())
	return newTrialRigOn(t, filepath.Join(t.TempDir(), "experiments.db"), nanos, edits...)
}

// another is one more gateway of the same store.
func (r *trialRig) another() *trialRig {
	r.t.Helper()
	return newTrialRigOn(r.t, r.path, r.nanos)
}

func newTrialRigOn(t *testing.T, path string, nanos *atomic.Int64, edits ...func(*plan)) *trialRig {
	t.Helper()
	r := &trialRig{path: path, nanos: nanos}
	records := sqlstore.DefaultConfig()
	records.Path, records.Clock = path, r.now
	records.Steady = func() time.Duration { return time.Duration(nanos.Load()) }
	var err error
	r.store, err = sqlstore.Open(t.Context(), records)
	must(t, err)
	t.Cleanup(func() { must(t, r.store.Close()) })
	hasher, err := experiment.NewHasher([]byte(trialKey))
	must(t, err)
	r.rig = newRig(t, append(edits, func(p *plan) {
		own := newShelf(p.checkpoints)
		for i := range own.infos {
			if p.meaning != nil {
				p.meaning(&own.infos[i])
			}
		}
		p.wrap = func(s gateway.Scorer) gateway.Scorer {
			service := s.(*scoring.Service)
			r.engine, err = engine.New(engine.Deps{
				Store: rivalStore{r.store, r}, Hasher: hasher, Checkpoints: ownShelf{trialShelf{own}, service},
				Tracer: tracenoop.NewTracerProvider(),
				Meter:  metricnoop.NewMeterProvider(), Logger: slog.New(slog.DiscardHandler), Now: r.now,
				Labellers:     anybody{},
				ExposeTimeout: 20 * time.Second, // however slow this machine is
			})
			must(t, err)
			p.experiments, p.keys = r.engine, newKeys(t, r.store)
			if p.around != nil {
				p.experiments = p.around(p.experiments)
			}
			return scoring.NewDirected(service, trialDirector{r.engine})
		}
	})...)
	return r
}

// begin runs the experiment x of two arms, the control and "new".
func (r *trialRig) begin(mode experiment.Mode) {
	r.t.Helper()
	_, err := r.engine.Create(r.t.Context(), fmt.Appendf(nil,
		"id: x\narms: [{checkpoint: %s, mode: %s}, {id: new, checkpoint: %s, mode: %s}]\n", first, mode, second, mode),
		"test")
	must(r.t, err)
	_, err = r.engine.Start(r.t.Context(), "x", "test")
	must(r.t, err)
}

func picture(n int) []byte {
	return testimages.PNGOf(pictures.Gradient(48, 48+n/256, uint32(n))) // 256 of a size
}

// show scores an image for a unit.
func (r *trialRig) show(unit string, image []byte) gateway.Result {
	r.t.Helper()
	a := r.post("/v1/score", image, "image/png", header("X-Agiqa-Unit", unit))
	result := a.scores(r.t).Results[0]
	if result.Experiment == nil || result.Score == nil || result.Checkpoint == nil {
		r.t.Fatalf("unit %s: %s", unit, a.body)
	}
	return result
}

// asOr is by, or what is sent otherwise.
func asOr(otherwise edit, by []edit) []edit {
	if len(by) > 0 {
		return by
	}
	return []edit{otherwise}
}

// hide scores an image for a unit without being told the score, by the admin
// unless somebody else is named.
func (r *trialRig) hide(unit string, image []byte, by ...edit) gateway.Result {
	r.t.Helper()
	edits := []edit{header("X-Agiqa-Unit", unit), header("X-Agiqa-Blind", "true")}
	a := r.post("/v1/score", image, "image/png", append(edits, asOr(asAdmin, by)...)...)
	result := a.scores(r.t).Results[0]
	if result.Experiment == nil || result.Experiment.Assignment == "" ||
		result.Withheld != "blind" || result.Error != nil {
		r.t.Fatalf("unit %s: %s", unit, a.body)
	}
	return result
}

// tasks are those of a rater.
func (r *trialRig) tasks(request gateway.TasksRequest, by ...edit) []gateway.LabellingTask {
	r.t.Helper()
	a := r.postJSON("/v1/experiments/x/tasks", request, asOr(asAdmin, by)...)
	var out struct{ Tasks []gateway.LabellingTask }
	if err := json.Unmarshal(a.body, &out); err != nil || a.status != http.StatusOK {
		r.t.Fatalf("status %d: %s", a.status, a.body)
	}
	return out.Tasks
}

// The whole way of a choice: a request with several images is answered by both
// arms in one ranking, and the arm that placed the chosen image has the credit.
func TestChoiceFromARanking(t *testing.T) {
	t.Parallel()
	r := newTrialRig(t)
	r.begin(experiment.Interleave)
	want := map[experiment.ArmID]int{}
	for request := range 4 {
		var parts []string
		for n := range 5 {
			parts = append(parts, "image", string(picture(10*request+n)))
		}
		body, contentType := form(t, parts...)
		results := r.post("/v1/score", body, contentType, header("X-Agiqa-Unit", strconv.Itoa(request))).scores(t).Results
		ranked := make([]*gateway.ExperimentRef, len(results)+1)
		byArm := map[string]int{}
		for n, result := range results {
			x := result.Experiment
			if x == nil || x.Rank < 1 || x.Rank > len(results) || ranked[x.Rank] != nil || x.Assignment == "" {
				t.Fatalf("request %d, image %d: %+v", request, n, x)
			}
			ranked[x.Rank] = x
			byArm[x.Arm]++
			if of := map[string]string{first: first, "new": second}[x.Arm]; result.Checkpoint.Name != of {
				t.Errorf("request %d, image %d: placed by arm %s, answered by %s", request, n, x.Arm, result.Checkpoint.Name)
			}
		}
		if byArm[first] < 2 || byArm["new"] < 2 {
			t.Errorf("request %d: places %v", request, byArm)
		}
		chosen := ranked[1+request]
		want[experiment.ArmID(chosen.Arm)]++
		choice := gateway.FeedbackRequest{Key: strconv.Itoa(request),
			Assignment: chosen.Assignment, Rater: "r", Kind: "choice"}
		for _, status := range []int{http.StatusCreated, http.StatusOK} {
			if a := r.postJSON("/v1/feedback", choice, asAdmin); a.status != status {
				t.Errorf("choice %d: status %d, want %d: %s", request, a.status, status, a.body)
			}
		}
	}
	report, err := r.engine.Report(t.Context(), "x", 0)
	must(t, err)
	for _, a := range report.Interleave.Arms {
		if a.Credits != want[a.Arm] {
			t.Errorf("arm %s has %d credits, want %d", a.Arm, a.Credits, want[a.Arm])
		}
	}
	if report.Interleave.Choices != 4 {
		t.Errorf("%d choices, want 4", report.Interleave.Choices)
	}
}

// said are pieces of feedback that repeat, correct and contradict each other.
// shown are the assignments by image, "" for one that is named by its digest;
// tasks are those that are answered, by rater.
func said(now time.Time, shown []string, tasks map[string][]gateway.LabellingTask) []gateway.FeedbackRequest {
	var all []gateway.FeedbackRequest
	add := func(f gateway.FeedbackRequest, minutes int) {
		given := now.Add(time.Duration(minutes-600) * time.Minute)
		f.Key, f.Given = fmt.Sprintf("key %d", len(all)), &given
		all = append(all, f)
	}
	on := func(n int) gateway.FeedbackRequest {
		if shown[n] == "" {
			return gateway.FeedbackRequest{Image: quality.DigestOf(picture(n)).Hex()}
		}
		return gateway.FeedbackRequest{Assignment: shown[n]}
	}
	mos := func(n int, rater string, value float64, minutes int) {
		f := on(n)
		f.Rater, f.Kind, f.Value = rater, "mos", &value
		add(f, minutes)
	}
	pair := func(a, b int, rater, winner string, minutes int) {
		add(gateway.FeedbackRequest{
			Rater: rater, Kind: "pair", ImageA: quality.DigestOf(picture(a)).Hex(), ImageB: quality.DigestOf(picture(b)).Hex(),
			Winner: winner,
		}, minutes)
	}
	for n := range shown {
		mos(n, "r2", 1+float64((3*n)%9)/2, 2*n)
		if n%3 == 0 {
			mos(n, "r2", 2+float64(n%3), 100+n) // thought better of it
			mos(n, "r1", 5, 200+n)              // who may have answered a task
		}
		if n > 0 {
			pair(n-1, n, "r2", []string{"a", "b", "tie"}[n%3], 300+n)
		}
		if shown[n] != "" {
			up := float64(n % 2)
			f := on(n)
			f.Rater, f.Kind, f.Value = "user", "thumb", &up
			add(f, 400+n)
		}
	}
	pair(0, 1, "r3", "a", 500)
	pair(1, 0, "r3", "a", 501) // the opposite
	for _, rater := range slices.Sorted(maps.Keys(tasks)) {
		for n, task := range tasks[rater] {
			f := gateway.FeedbackRequest{Task: task.Token, Rater: rater, Kind: "pair", ImageA: task.ImageA, ImageB: task.ImageB}
			if task.Kind == "pair" {
				f.Winner = []string{"a", "b", "tie"}[n%3]
			} else {
				value := 1 + float64((3*n+len(all))%9)/2
				f.Kind, f.Image, f.Value = "mos", task.Image, &value
			}
			add(f, 590+n) // some before and some after their tasks were issued, at 600
		}
	}
	return all
}

// send posts feedback in an order of its own, every third piece twice, and
// returns how often each status was the answer.
func (r *trialRig) send(all []gateway.FeedbackRequest, seed uint64) map[int]int {
	r.t.Helper()
	all = slices.Clone(all)
	for i := range len(all) / 3 {
		all = append(all, all[3*i])
	}
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	got := map[int]int{}
	for _, f := range all {
		a := r.postJSON("/v1/feedback", f, asAdmin)
		if a.status/100 != 2 {
			r.t.Fatalf("%+v: status %d: %s", f, a.status, a.body)
		}
		got[a.status]++
	}
	return got
}

// counts are how many labels and votes among these pieces of feedback count, one
// for each rater and subject, unless the rater chose both images of a pair.
// images are those of the assignments.
func counts(all []gateway.FeedbackRequest, images map[string]string) (labels, votes int) {
	type subject struct{ rater, low, high string }
	rated, winners := map[subject]bool{}, map[subject]map[string]bool{}
	for _, f := range all {
		switch f.Kind {
		case "mos":
			rated[subject{f.Rater, f.Image + images[f.Assignment], ""}] = true
		case "pair":
			s := subject{f.Rater, min(f.ImageA, f.ImageB), max(f.ImageA, f.ImageB)}
			if winners[s] == nil {
				winners[s] = map[string]bool{}
			}
			winners[s][map[string]string{"a": f.ImageA, "b": f.ImageB}[f.Winner]] = true
		}
	}
	for s, w := range winners {
		if !w[s.low] || !w[s.high] {
			votes++
		}
	}
	return len(rated), votes
}

// However feedback comes, twice, late, before its exposure, in any order, the
// report is the same to the last bit. The two servers have the same exposures.
func TestReportDoesNotDependOnTheOrderOfFeedback(t *testing.T) {
	t.Parallel()
	const images, unseen = 8, 2
	one, two := newTrialRig(t), newTrialRig(t)
	one.begin(experiment.Live)
	x, err := one.engine.Get(t.Context(), "x")
	must(t, err)
	must(t, two.store.Create(t.Context(), x, storetest.AuditOf(x, "create")))
	must(t, two.engine.Refresh(t.Context()))

	shown, named := make([]string, images), map[string]string{}
	for n := range images - unseen {
		shown[n] = one.hide(strconv.Itoa(n), picture(n)).Experiment.Assignment
		named[shown[n]] = quality.DigestOf(picture(n)).Hex()
	}
	tasks := map[string][]gateway.LabellingTask{}
	for _, rater := range []string{"r0", "r1"} {
		tasks[rater] = one.tasks(gateway.TasksRequest{Rater: rater, Count: 100})
		if len(tasks[rater]) != images-unseen {
			t.Fatalf("rater %s has %d tasks", rater, len(tasks[rater]))
		}
	}
	tasks["r0"] = append(tasks["r0"], one.tasks(gateway.TasksRequest{Rater: "r0", Kind: "pair", Count: 100})...)
	all := said(one.now(), shown, tasks)
	half := len(all) / 2
	early := one.send(all[half:], 1) // the last images are among them, which nobody has seen
	_, err = one.engine.Conclude(t.Context(), "x")
	must(t, err)
	for n := images - unseen; n < images; n++ {
		one.hide(strconv.Itoa(n), picture(n))
	}
	one.send(all[:half], 2)

	var exposures []experiment.Exposure
	for r, err := range one.store.Exposures(t.Context(), "x", 0) {
		must(t, err)
		exposures = append(exposures, r.Record)
	}
	slices.Reverse(exposures)
	orphans := two.send(all[:len(all)/3], 3) // no exposure is there
	must(t, two.store.AppendExposures(t.Context(), exposures[:images/2]))
	two.send(all[len(all)/4:], 4) // some of it again
	must(t, two.store.AppendExposures(t.Context(), exposures))
	if early[http.StatusAccepted] == 0 || early[http.StatusOK] == 0 || orphans[http.StatusAccepted] == 0 {
		t.Errorf("answers %v and %v", early, orphans)
	}

	late := said(one.now(), shown, nil)[:10]
	for i := range late {
		late[i].Key, late[i].Given = "late "+late[i].Key, nil
	}
	for n, r := range []*trialRig{one, two} {
		r.nanos.Add(int64(experiment.LateAfter + time.Hour))
		r.send(late, uint64(5+n))
	}
	c, err := one.engine.Conclude(t.Context(), "x") // the first half was read before the second came
	must(t, err)
	decided, err := analysis.ReplayDecision(t.Context(), two.store, x, c.Decision,
		analysis.Log{}, analysis.DefaultLimits())
	if err != nil || !decided.Equal {
		t.Errorf("decided in another order: %v, %v", decided.Differences, err)
	}
	state, err := analysis.ReadAt(t.Context(), one.store, x, analysis.Log{}, analysis.DefaultLimits())
	must(t, err)
	options := analysis.DefaultOptions()
	options.Bootstrap.Resamples = 200
	report, err := analysis.Analyse(t.Context(), state, one.now(), options)
	must(t, err)
	counted, q := report.Decision.Counts, report.Quality
	if counted.LabelledBlind != images-unseen || counted.RatersBlind != 2 || counted.PairsBlind == 0 ||
		counted.LabelledAll != images || counted.Exposures != images || q.Superseded == 0 || q.Contradictory != 1 ||
		q.Late != len(late) || q.Orphans != 0 {
		t.Errorf("counts %+v, quality %+v", counted, q)
	}
	compare := func() analysis.Replayed {
		t.Helper()
		live := report
		live.Log = analysis.Log{} // the places in the other log are others
		r, err := analysis.Replay(t.Context(), two.store, live, options)
		must(t, err)
		return r
	}
	if r := compare(); !r.Equal {
		t.Errorf("in another order: %v", r.Differences)
	}
	if labels, votes := counts(all, named); labels != counted.Labels || votes != counted.Votes || votes == 0 {
		t.Errorf("%d labels and %d votes are counted, want %d and %d", counted.Labels, counted.Votes, labels, votes)
	}
	// One more label is found.
	value := 1.5
	_, err = two.engine.Label(t.Context(), engine.Label{
		By:  access.Principal{KeyID: "k", Name: "app", Scopes: []access.Scope{access.ScopeFeedback}},
		Key: "more", Image: exposures[0].Image, Rater: "r9", Kind: experiment.MOS, Value: &value,
	})
	must(t, err)
	if r := compare(); r.Equal {
		t.Error("another label makes no difference")
	}
}

// A full disk costs no score: the control answers and the answer says so.
// Feedback is refused and not lost by a false acknowledgement. When there is
// room again everything goes on by itself.
func TestFullDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a process; not run with -short")
	}
	t.Parallel()
	if proctest.Alone(t, nil) {
		return
	}
	r := newTrialRig(t)
	r.begin(experiment.Live)
	unit, image := "", picture(1)
	var before gateway.Result
	for u := 0; unit == ""; u++ {
		if before = r.show(strconv.Itoa(u), image); before.Experiment.Arm == "new" {
			unit = strconv.Itoa(u)
		}
	}
	value := 3.0
	label := gateway.FeedbackRequest{Key: "k", Assignment: before.Experiment.Assignment, Rater: "r",
		Kind: "mos", Value: &value}

	release := proctest.FullDisk(t)
	for range 3 {
		got := r.show(unit, image)
		if x := got.Experiment; !x.Degraded || x.Arm != first || x.Assignment != "" || got.Checkpoint.Name != first ||
			*got.Score == *before.Score {
			t.Errorf("full: %+v by %s", *x, got.Checkpoint.Name)
		}
		r.postJSON("/v1/feedback", label, asAdmin).wantProblem(t, quality.KindStoreUnavailable)
	}
	release()

	after := r.show(unit, image)
	if x := after.Experiment; x.Degraded || x.Arm != "new" || x.Assignment == "" || after.Checkpoint.Name != second ||
		*after.Score != *before.Score {
		t.Errorf("room again: %+v by %s", *x, after.Checkpoint.Name)
	}
	var receipt gateway.FeedbackReceipt
	a := r.postJSON("/v1/feedback", label, asAdmin)
	if err := json.Unmarshal(a.body, &receipt); err != nil || a.status != http.StatusCreated || receipt.Duplicate ||
		receipt.Standing != "accepted" {
		t.Errorf("feedback again: status %d: %s", a.status, a.body)
	}
	c, err := r.engine.Conclude(t.Context(), "x")
	must(t, err)
	if c.Decision.Counts.Labels != 1 || c.Decision.Counts.Images != 1 {
		t.Errorf("on record: %+v", c.Decision.Counts)
	}
}
