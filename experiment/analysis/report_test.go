package analysis_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/analysis"
	"github.com/agiqa/agiqa/experiment/analysis/synthetic"
	page "github.com/agiqa/agiqa/experiment/report"
	"github.com/agiqa/agiqa/experiment/stats"
	"github.com/agiqa/agiqa/experiment/storetest"
	"github.com/agiqa/agiqa/quality"
)

// quick is a report with few resamples: intervals are coarse and nothing else is.
func quick() analysis.Options {
	o := analysis.DefaultOptions()
	o.Bootstrap.Resamples = 200
	return o
}

func report(t testing.TB, log synthetic.Log, o analysis.Options) analysis.Report {
	t.Helper()
	r, err := analysis.Analyse(t.Context(), stateOf(t, log), log.End, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// golden holds the figures of the log of synthetic.DefaultOptions. They were computed
// by SciPy and NumPy from that log; testdata/make_golden.py says how.
type golden struct {
	SRCC, KRCC, PLCC, RMSE       []float64 // control, treatment
	MeanDifference, SDDifference float64
	ChiSquare, ChiSquareP        float64
	Accuracy                     []float64
	OnlyArm, OnlyControl         int
	McNemarP                     float64
	WelchDifference, WelchP      float64
	KSStatistic, KSP             []float64
}

func TestReportGivesTheFiguresOfSciPy(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var want golden
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	r := report(t, synthetic.New(synthetic.DefaultOptions()), quick())
	same := func(name string, got analysis.Number, want float64) {
		t.Helper()
		if math.Abs(float64(got)-want) > 1e-9*math.Max(1, math.Abs(want)) || !got.Known() {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	for arm := range 2 {
		for _, f := range r.Agreement.Arms[arm].Figures {
			if f.Mapping != analysis.Raw {
				continue
			}
			switch f.Metric {
			case stats.SRCC:
				same("SRCC", f.Value, want.SRCC[arm])
			case stats.KRCC:
				same("KRCC", f.Value, want.KRCC[arm])
			case stats.PLCC:
				same("PLCC", f.Value, want.PLCC[arm])
			case stats.RMSE:
				same("RMSE", f.Value, want.RMSE[arm])
			}
		}
		same("accuracy", r.Preference.Arms[arm].Accuracy, want.Accuracy[arm])
		same("KS", r.Arms[arm].Drift.KS, want.KSStatistic[arm])
		same("KS p", r.Arms[arm].Drift.KSP, want.KSP[arm])
	}
	same("effect", r.Decision.Comparisons[0].Effect, want.MeanDifference)
	same("sd", r.Decision.Comparisons[0].SD, want.SDDifference)
	same("chi-square", r.Decision.SRM.ChiSquare, want.ChiSquare)
	same("chi-square p", r.Decision.SRM.P, want.ChiSquareP)
	if p := r.Preference.Treatments[0]; p.OnlyArm != want.OnlyArm || p.OnlyControl != want.OnlyControl {
		t.Errorf("votes: got %d and %d, want %d and %d", p.OnlyArm, p.OnlyControl, want.OnlyArm, want.OnlyControl)
	}
	same("McNemar", r.Preference.Treatments[0].McNemar, want.McNemarP)
	same("Welch", r.Users.Treatments[0].ByUnit.Value, want.WelchDifference)
	same("Welch p", r.Users.Treatments[0].ByUnit.P, want.WelchP)
}

// What a report says besides figures.
func TestReportOfALog(t *testing.T) {
	t.Parallel()
	o := synthetic.DefaultOptions()
	o.Images, o.Labelled, o.Pairs, o.Rankings = 400, 300, 100, 40
	r := report(t, synthetic.New(o), quick())
	control := r.Agreement.Arms[0]
	treatment := r.Agreement.Arms[1]
	if len(control.Figures) != 9 || len(control.Differences) != 0 ||
		len(treatment.Differences) != 9 || len(treatment.Tests) != 6 {
		t.Fatalf("got %d and %d figures, %d differences, %d tests", len(control.Figures), len(treatment.Figures),
			len(treatment.Differences), len(treatment.Tests))
	}
	for _, d := range treatment.Differences {
		if !(d.Low > 0 && d.Low < d.Effect && d.Effect < d.High && d.HighRater > d.LowRater && d.PHolm >= d.P) {
			t.Errorf("got %+v", d)
		}
	}
	if a := r.Agreement; a.Images != 300 || a.Labels != 900 || a.Raters != 8 || a.Calibration < 50 ||
		a.Calibration > 130 || len(a.Notes) != 0 {
		t.Errorf("got %+v", a)
	}
	if control.Krasula == nil || treatment.Krasula.BetterWorse <= control.Krasula.BetterWorse {
		t.Errorf("got %+v and %+v", control.Krasula, treatment.Krasula)
	}
	if i := r.Interleave; i.Choices != 40 || i.Arms[0].Credits+i.Arms[1].Credits != 40 || i.Orphans != 0 {
		t.Errorf("got %+v", i)
	}
	if len(r.Slices) != 6 || !r.Slices[0].Exploratory || r.Slices[0].Images+r.Slices[1].Images != 300 {
		t.Errorf("got %+v", r.Slices)
	}
	if len(r.Worst) != 10 || len(r.Worst[0].Trace) != 32 ||
		math.Abs(float64(r.Worst[0].Error)) < math.Abs(float64(r.Worst[9].Error)) {
		t.Errorf("got %+v", r.Worst)
	}
	if !r.Quality.OK || r.Quality.AA {
		t.Errorf("got %+v", r.Quality)
	}
	stop := r.Pictures.Trajectories[0].Stop
	if stop < 100 || stop > 300 {
		t.Errorf("decided at %d", stop)
	}
	raw := text(t, r)
	var again analysis.Report
	if err := json.Unmarshal([]byte(raw), &again); err != nil {
		t.Fatal(err)
	}
	if got := text(t, again); got != raw {
		t.Error("the document does not survive being read")
	}
}

// Each fault that can be put into a log is found and said.
func TestFaultsAreSaid(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(o *synthetic.Options)
		spoil  func(log *synthetic.Log)
		want   string // in a fault
		check  func(q analysis.Quality) bool
	}{
		{"a split of 80 to 20", func(o *synthetic.Options) {
			o.Images, o.Weights, o.ImagesPerUnit = 600, []float64{0.8, 0.2},
				1
		}, nil, "did not fall", nil},
		{"missing scores", func(o *synthetic.Options) { o.Arms[1].Fails = 0.1 }, nil, "has no score",
			func(q analysis.Quality) bool { return q.MissingScores[1] > 0 && q.MissingScores[0] == 0 }},
		{"units in both arms", nil, func(log *synthetic.Log) {
			for i := range log.Exposures {
				log.Exposures[i].Unit = log.Exposures[i%50].Unit
			}
		}, "several arms", nil},
		{"another encoder", nil, func(log *synthetic.Log) { log.Exposures[5].Encoder[0]++ }, "another encoder",
			func(q analysis.Quality) bool { return q.OtherEncoder == 1 }},
		{"scores that change", nil, func(log *synthetic.Log) {
			again := log.Exposures[3]
			again.ID, again.Assignment, again.Time = again.ID+"x", "again", again.Time.Add(time.Hour)
			again.Scores = []experiment.ArmScore{again.Scores[0], {Arm: "treatment", Score: again.Scores[1].Score + 0.01}}
			log.Exposures = append(log.Exposures, again)
		}, "another score", func(q analysis.Quality) bool { return q.Unstable[1] == 1 && q.Unstable[0] == 0 }},
		{"one checkpoint in both arms", nil,
			func(log *synthetic.Log) {
				log.Experiment.Arms[1].Digest, log.Experiment.MinLabels = log.Experiment.Arms[0].Digest, 100
			},
			"same checkpoint", func(q analysis.Quality) bool { return q.AA }},
		{"no blind label", func(o *synthetic.Options) { o.Blind = false }, nil, "No label is blind",
			func(q analysis.Quality) bool { return q.NotBlind == 300 }},
		{"late and orphaned", nil, func(log *synthetic.Log) {
			log.Feedback[0].State = experiment.Late
			for i := range log.Feedback {
				if log.Feedback[i].Kind == experiment.Thumb {
					log.Feedback[i].Assignment = "unknown"
					break
				}
			}
		}, "", func(q analysis.Quality) bool { return q.Late == 1 && q.Orphans == 1 && q.OK }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := synthetic.DefaultOptions()
			o.Images, o.Labelled, o.RatersPerImage, o.Pairs = 250, 150, 2, 30
			o.Arms[0].Noise = 0.9
			if c.change != nil {
				c.change(&o)
			}
			log := synthetic.New(o)
			if c.spoil != nil {
				c.spoil(&log)
			}
			options := quick()
			options.Bootstrap.Resamples = 100
			q := report(t, log, options).Quality
			found := c.want == ""
			for _, f := range q.Faults {
				found = found || strings.Contains(f, c.want)
			}
			if !found || q.OK != (c.want == "") || c.check != nil && !c.check(q) {
				t.Errorf("got %+v", q)
			}
		})
	}
}

// Every primary measure finds the better arm, and finds nothing between equal ones.
func TestPrimaryMeasures(t *testing.T) {
	t.Parallel()
	for _, primary := range []experiment.Primary{
		experiment.PrimaryLoss, experiment.PrimarySRCC, experiment.PrimaryKRCC,
		experiment.PrimaryPreference, experiment.PrimaryUser,
	} {
		t.Run(string(primary), func(t *testing.T) {
			t.Parallel()
			o := synthetic.DefaultOptions()
			o.Images, o.Labelled, o.RatersPerImage, o.Pairs, o.Thumbs, o.ImagesPerUnit = 1600, 1000, 1, 1599, 1, 2
			o.Arms[0].Noise, o.Arms[1].Noise = 0.9, 0.05
			for _, equal := range []bool{false, true} {
				if equal {
					o.Arms[1].Noise = o.Arms[0].Noise
				}
				log := synthetic.New(o)
				log.Experiment.Primary = primary
				c := stateOf(t, log).Decide().Comparisons[0]
				want := stats.Superior
				if equal {
					want = stats.Continue
				}
				if c.Decision != want || !c.Running.Low.Known() {
					t.Errorf("equal %t: got %+v", equal, c)
				}
			}
		})
	}
}

// Looked at after every few labels, equal arms are told apart in at most a share of
// alpha of all experiments, and better ones are found. The runs are few; the
// simulations of experiment/stats have more.
func TestLookingAllTheTime(t *testing.T) {
	t.Parallel()
	const runs = 20
	found := map[bool]int{}
	for seed := range uint64(runs) {
		for _, equal := range []bool{true, false} {
			o := synthetic.DefaultOptions()
			o.Seed, o.Images, o.Labelled, o.RatersPerImage, o.Thumbs, o.Pairs = 100+seed, 900, 900, 1, 0, 0
			if equal {
				o.Arms[1].Noise = o.Arms[0].Noise
			}
			c := stateOf(t, synthetic.New(o)).Decide().Comparisons[0]
			if c.Decision == stats.Superior || c.Decision == stats.Inferior {
				found[equal]++
			}
		}
	}
	// 5 % of 20 is 1; 5 or more has a chance below 0.003 then.
	if found[true] > 4 || found[false] < runs*8/10 {
		t.Errorf("found %d of %d between equal arms, %d between others", found[true], runs, found[false])
	}
}

// However many records there are, the document stays small.
func TestReportIsBounded(t *testing.T) {
	t.Parallel()
	o := synthetic.DefaultOptions()
	o.Images, o.Labelled, o.RatersPerImage, o.Pairs = 10_000, 300, 1, 300
	log := synthetic.New(o)
	for i := range log.Exposures {
		log.Exposures[i].Slices = map[string]string{"model": log.Exposures[i].Unit, "style": "one"}
	}
	options := quick()
	options.Bootstrap.Resamples = 100
	r := report(t, log, options)
	if size := len(text(t, r)); size > 400_000 {
		t.Errorf("the document has %d bytes", size)
	}
	if r.Decision.Counts.Exposures != 10_000 {
		t.Errorf("got %+v", r.Decision.Counts)
	}
}

func BenchmarkFold(b *testing.B) {
	o := synthetic.DefaultOptions()
	o.Images = 100_000
	log := synthetic.New(o)
	b.ResetTimer()
	for b.Loop() {
		stateOf(b, log)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(log.Exposures)+len(log.Feedback)),
		"ns/record")
}

// BenchmarkDecide decides again after each new record.
func BenchmarkDecide(b *testing.B) {
	o := synthetic.DefaultOptions()
	o.Images, o.Labelled = 100_000, 3000
	log := synthetic.New(o)
	s := stateOf(b, log)
	extra := log.Exposures[0]
	b.ResetTimer()
	for i := range b.N {
		extra.ID = fmt.Sprintf("extra %d", i)
		s.Exposure(experiment.Sequenced[experiment.Exposure]{Record: extra})
		s.Decide()
	}
}

// BenchmarkAnalyse makes a whole report: 100,000 exposures, 3,000 labelled images,
// 10,000 resamples.
func BenchmarkAnalyse(b *testing.B) {
	o := synthetic.DefaultOptions()
	o.Images, o.Labelled = 100_000, 3000
	log := synthetic.New(o)
	s := stateOf(b, log)
	for b.Loop() {
		if _, err := analysis.Analyse(b.Context(), s, log.End, analysis.DefaultOptions()); err != nil {
			b.Fatal(err)
		}
	}
}

// manyArms is a log of arms whose errors grow.
func manyArms(arms, images int) synthetic.Log {
	o := synthetic.DefaultOptions()
	o.Arms = nil
	for i := range arms {
		o.Arms = append(o.Arms, synthetic.Arm{ID: experiment.ArmID(fmt.Sprintf("arm-%d", i)), Mode: experiment.Live,
			Noise: 0.2 + float64(i)/100})
	}
	o.Images, o.Labelled = images, images
	return synthetic.New(o)
}

// BenchmarkLargeReport is a report of 32 arms on 10,000 labelled images: with as many
// samples as suit its size, and again with what is kept of the first one. With all
// samples it takes minutes.
func BenchmarkLargeReport(b *testing.B) {
	log := manyArms(32, 10_000)
	s := stateOf(b, log)
	for name, most := range map[string]int{"fitted": analysis.DefaultOptions().MostScores, "all": 0} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				o := analysis.DefaultOptions()
				o.MostScores, o.Agreements = most, &analysis.Agreements{}
				o.Bootstrap.Workers = 1
				for _, what := range []string{"first", "again"} {
					began := time.Now()
					r, err := analysis.Analyse(b.Context(), s, log.End, o)
					if err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(time.Since(began).Seconds(), what+"-s")
					began = time.Now()
					raw, err := json.Marshal(r)
					if err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(time.Since(began).Seconds(), "json-s")
					b.ReportMetric(float64(len(raw))/1e6, "MB")
					began = time.Now()
					if _, err := page.HTML(b.Context(), r); err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(time.Since(began).Seconds(), "page-s")
				}
			}
		})
	}
}

// questioned counts how often it is asked whether it has ended, and ends at the most-th
// question. Every sample of a report asks.
type questioned struct {
	context.Context
	end       context.CancelFunc
	questions atomic.Int64
	most      int64
}

func newQuestioned(t *testing.T, most int64) *questioned {
	q := &questioned{most: most}
	q.Context, q.end = context.WithCancel(t.Context())
	t.Cleanup(q.end)
	return q
}

// Err implements [context.Context].
func (q *questioned) Err() error {
	if q.questions.Add(1) == q.most {
		q.end()
	}
	return q.Context.Err()
}

// A report of many arms and images draws fewer samples, leaves out fewer groups, and
// says so.
func TestLargeReports(t *testing.T) {
	t.Parallel()
	log := manyArms(2, 1001)
	o := analysis.DefaultOptions()
	o.Bootstrap.Resamples, o.MostScores = 1010, 2000 // for two scores more
	asked := newQuestioned(t, 0)
	r, err := analysis.Analyse(asked, stateOf(t, log), log.End, o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Settings.Resamples != 1008 || r.Settings.Groups != 200 {
		t.Errorf("%d samples, %d groups", r.Settings.Resamples, r.Settings.Groups)
	}
	// Scores as they are and by two mappings, with images drawn and with raters, too.
	if n, least := asked.questions.Load(), int64(6*(1008+200)); n < least || n > least+1000 {
		t.Errorf("asked %d times, want once for each of %d samples and groups, and some more", n, least)
	}
}

// A report that nobody waits for any more is given up, and one that was made is there
// at once.
func TestReportsAreComputedOnce(t *testing.T) {
	t.Parallel()
	log := manyArms(3, 60)
	s := stateOf(t, log)
	o := quick()
	o.Agreements = &analysis.Agreements{}
	const most = 100 // within the first samples
	if _, err := analysis.Analyse(newQuestioned(t, most), s, log.End, o); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody waits for it: %v", err)
	}
	first, second := newQuestioned(t, 0), newQuestioned(t, 0)
	r, err := analysis.Analyse(first, s, log.End, o)
	if err != nil {
		t.Fatal(err)
	}
	again, err := analysis.Analyse(second, s, log.End, o)
	if err != nil || text(t, again) != text(t, r) {
		t.Errorf("another report the second time: %v", err)
	}
	if a, b := first.questions.Load(), second.questions.Load(); a < int64(o.Bootstrap.Resamples) || b >= most {
		t.Errorf("asked %d times after one that was given up, %d the second time", a, b)
	}
}

// What is kept is used for the same labels alone, and groups of the jackknife are
// computed again to the bit.
func TestReportIsKeptUntilLabelsChange(t *testing.T) {
	t.Parallel()
	log := manyArms(3, 60)
	s := stateOf(t, log)
	o := quick()
	o.MostScores, o.Bootstrap.Groups, o.Agreements = 0, 7, &analysis.Agreements{}
	make := func() analysis.Report {
		t.Helper()
		r, err := analysis.Analyse(t.Context(), s, log.End, o)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := make()
	replayed, err := analysis.Replay(t.Context(), log.Store(), first, quick())
	if err != nil || !replayed.Equal {
		t.Errorf("the log gives another report: %v, %v", replayed.Differences, err)
	}
	unlabelled := log.Exposures[0]
	unlabelled.ID, unlabelled.Image, unlabelled.Assignment = "new", quality.DigestOf([]byte("new")), "new"
	s.Exposure(experiment.Sequenced[experiment.Exposure]{Record: unlabelled})
	if again := make(); text(t, again.Agreement) != text(t, first.Agreement) ||
		again.Decision.Counts.Images != first.Decision.Counts.Images+1 {
		t.Error("an image without labels changes the agreement, or is not counted")
	}
	more := log.Feedback[0]
	more.ID, more.Key, more.Rater, more.Value, more.Task = "more", "more", "somebody else", 5, "more"
	s.Feedback(experiment.Sequenced[experiment.Feedback]{Record: more})
	kept := make()
	o.Agreements = nil
	if text(t, kept.Agreement) == text(t, first.Agreement) || text(t, kept.Agreement) != text(t, make().Agreement) {
		t.Error("the report is the one before another label")
	}
	o.Agreements = &analysis.Agreements{}
	plain := make()
	o.Bootstrap.Resamples++
	if text(t, make().Agreement) == text(t, plain.Agreement) {
		t.Error("the report has the samples of other options")
	}
}

// What the log gives is what the live state gave, to the last bit.
func TestReplayGivesTheLiveReport(t *testing.T) {
	t.Parallel()
	parent := t
	rapid.Check(t, func(t *rapid.T) {
		o := synthetic.DefaultOptions()
		o.Seed = rapid.Uint64().Draw(t, "seed")
		o.Images = rapid.IntRange(8, 20).Draw(t, "images")
		o.Labelled = rapid.IntRange(0, o.Images).Draw(t, "labelled")
		o.Pairs = rapid.IntRange(0, o.Images-1).Draw(t, "pairs")
		o.Blind = rapid.Bool().Draw(t, "blind")
		o.Rankings = rapid.IntRange(0, 5).Draw(t, "rankings")
		o.Arms[1].Fails = rapid.SampledFrom([]float64{0, 0.1}).Draw(t, "fails")
		log := synthetic.New(o)
		log.Experiment.BlindOnly = rapid.Bool().Draw(t, "blind only")
		log.Experiment.Primary = rapid.SampledFrom([]experiment.Primary{
			experiment.PrimaryLoss, experiment.PrimarySRCC, experiment.PrimaryKRCC,
			experiment.PrimaryPreference, experiment.PrimaryUser,
		}).Draw(t, "primary")
		store := storetest.Open(parent, func() time.Time { return log.End })
		ctx := t.Context()
		if err := store.Create(ctx, log.Experiment, storetest.AuditOf(log.Experiment, "create")); err != nil {
			t.Fatal(err)
		}
		options := quick()
		options.Bootstrap.Resamples = 100
		live, err := analysis.New(log.Experiment, analysis.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		// Feedback may be written before its exposure, and is joined later.
		split := rapid.IntRange(0, len(log.Feedback)).Draw(t, "first")
		exposures := rapid.Permutation(log.Exposures).Draw(t, "order")
		var kept analysis.Report
		var decision analysis.Decision
		write := func(feedback []experiment.Feedback) {
			for _, f := range feedback {
				f.Experiment, f.Phase, f.State = "", 0, experiment.Orphan
				if _, err := store.AppendFeedback(ctx, f); err != nil {
					t.Fatal(err)
				}
			}
			if err := live.Read(ctx, store); err != nil {
				t.Fatal(err)
			}
			live.Decide()
		}
		write(log.Feedback[:split])
		if err := store.AppendExposures(ctx, exposures); err != nil {
			t.Fatal(err)
		}
		write(log.Feedback[split:])
		if kept, err = analysis.Analyse(t.Context(), live, log.End, options); err != nil {
			t.Fatal(err)
		}
		decision = live.Decide()
		at := live.Log()
		// What is written afterwards does not count.
		late := log.Exposures[0]
		late.ID = "ffffffff-0000-7000-8000-000000000000"
		if err := store.AppendExposures(ctx, []experiment.Exposure{late}); err != nil {
			t.Fatal(err)
		}
		r, err := analysis.Replay(ctx, store, kept, options)
		if err != nil || !r.Equal {
			t.Fatalf("got %+v, %v", r, err)
		}
		d, err := analysis.ReplayDecision(ctx, store, log.Experiment, decision, at, analysis.DefaultLimits())
		if err != nil || !d.Equal {
			t.Fatalf("got %+v, %v", d, err)
		}
		// A number that is off in its last bit is found.
		decision.Counts.Exposures++
		if d, err = analysis.ReplayDecision(ctx, store, log.Experiment, decision, at, analysis.DefaultLimits()); err != nil ||
			d.Equal || len(d.Differences) != 1 {
			t.Fatalf("got %+v, %v", d, err)
		}
	})
}

func TestReportRefusesOptions(t *testing.T) {
	t.Parallel()
	log := synthetic.New(synthetic.DefaultOptions())
	if _, err := analysis.Analyse(t.Context(), stateOf(t, log), log.End, analysis.Options{}); err == nil {
		t.Error("options without resamples were taken")
	}
}
