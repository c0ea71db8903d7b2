package analysis_test

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/analysis"
	"github.com/agiqa/agiqa/experiment/analysis/synthetic"
	"github.com/agiqa/agiqa/experiment/stats"
)

// stateOf reads a log in its order.
func stateOf(t testing.TB, log synthetic.Log) *analysis.State {
	t.Helper()
	s, err := analysis.New(log.Experiment, analysis.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range log.Exposures {
		s.Exposure(experiment.Sequenced[experiment.Exposure]{Seq: int64(i + 1), Record: x})
	}
	for i, f := range log.Feedback {
		s.Feedback(experiment.Sequenced[experiment.Feedback]{Seq: int64(i + 1), Record: f})
	}
	return s
}

func text(t testing.TB, v any) string {
	t.Helper()
	raw, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestTheBetterArmIsFound(t *testing.T) {
	t.Parallel()
	log := synthetic.New(synthetic.DefaultOptions())
	d := stateOf(t, log).Decide()
	if len(d.Comparisons) != 1 || d.Comparisons[0].Decision != stats.Superior {
		t.Fatalf("got %s", text(t, d))
	}
	if d.Counts.Images != 1000 || d.Counts.LabelledBlind != 600 || d.Counts.Raters != 8 || d.SRM.Mismatch {
		t.Errorf("got %s", text(t, d))
	}
}

func TestEqualArmsAreNotDecided(t *testing.T) {
	t.Parallel()
	o := synthetic.DefaultOptions()
	o.Arms[1].Noise = o.Arms[0].Noise
	d := stateOf(t, synthetic.New(o)).Decide()
	if c := d.Comparisons[0]; c.Decision != stats.Continue || !c.Running.Low.Known() {
		t.Errorf("got %s", text(t, d))
	}
}

// A label that was given with the score in view leans towards it. Labels that lean
// to the treatment's scores do not promote the treatment; the same labels would, if
// they had been given blind.
func TestLabelsWithTheScoreInViewDoNotPromote(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		blind  bool // what the records say
		all    bool // blind_feedback_required is false
		tasked bool // the labels answer tasks
		ready  bool
	}{
		{"seen, blind only", false, false, false, false},
		{"seen, all labels are reported", false, true, false, false},
		{"blind by their own account", true, false, false, false},
		{"blind by their own account, all labels are reported", true, true, false, false},
		{"blind", true, false, true, true},
		{"blind, all labels are reported", true, true, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := synthetic.DefaultOptions()
			o.Arms[1].Noise = o.Arms[0].Noise
			o.Blind, o.Anchor, o.Weights = false, 0.6, []float64{0, 1}
			log := synthetic.New(o)
			log.Experiment.BlindOnly = !c.all
			// The split is not what is tested here.
			log.Experiment.Arms[0].Weight, log.Experiment.Arms[1].Weight = 0, experiment.Whole
			for i := range log.Feedback {
				f := &log.Feedback[i]
				f.Blind = c.blind
				if c.tasked {
					f.Task = "task " + f.ID
				}
			}
			d := stateOf(t, log).Decide()
			if lean := d.Comparisons[0].Decision == stats.Superior; lean != c.tasked {
				t.Errorf("the treatment is superior: %t: %s", lean, text(t, d))
			}
			p := analysis.Promote(log.Experiment, d, log.End, analysis.Checks{Replay: &analysis.Replayed{Equal: true}})
			if len(p) != 1 || p[0].Ready != c.ready || p[0].Ready != (len(p[0].Missing) == 0) {
				t.Errorf("got %s", text(t, p))
			}
		})
	}
}

// An experiment of a version that believed what labels said keeps its figures,
// and nothing of it is promoted.
func TestFormerExperimentKeepsItsFiguresAndPromotesNothing(t *testing.T) {
	t.Parallel()
	log := synthetic.New(synthetic.DefaultOptions())
	now := stateOf(t, log).Decide()
	log.Experiment.LabelsAnswerTasks = false
	for i := range log.Feedback {
		log.Feedback[i].Task = ""
	}
	former := stateOf(t, log).Decide()
	if text(t, former) != text(t, now) || former.Counts.LabelledBlind != 600 {
		t.Errorf("got %s, want %s", text(t, former), text(t, now))
	}
	p := analysis.Promote(log.Experiment, former, log.End, analysis.Checks{Replay: &analysis.Replayed{Equal: true}})
	if len(p) != 1 || p[0].Ready || len(p[0].Missing) != 1 || !strings.Contains(p[0].Missing[0], "create it again") {
		t.Errorf("got %s", text(t, p))
	}
}

func TestPromotionSaysEveryReason(t *testing.T) {
	t.Parallel()
	log := synthetic.New(synthetic.DefaultOptions())
	d := stateOf(t, log).Decide()
	good := analysis.Checks{Replay: &analysis.Replayed{Equal: true}}
	for _, c := range []struct {
		name   string
		change func(e *experiment.Experiment, d *analysis.Decision, c *analysis.Checks)
		want   string
	}{
		{"ready", func(*experiment.Experiment, *analysis.Decision, *analysis.Checks) {}, ""},
		{"labels", func(e *experiment.Experiment, _ *analysis.Decision, _ *analysis.Checks) { e.MinLabels = 601 },
			"There are 600 images with blind labels; 601 are needed."},
		{"raters", func(e *experiment.Experiment, _ *analysis.Decision, _ *analysis.Checks) { e.MinRaters = 9 },
			"There are 8 raters with blind labels; 9 are needed."},
		{"time", func(e *experiment.Experiment, _ *analysis.Decision, _ *analysis.Checks) {
			e.Started = log.End.Add(-time.Minute)
		},
			"It has run for 1m0s; 1h0m0s are needed."},
		{"not started", func(e *experiment.Experiment, _ *analysis.Decision, _ *analysis.Checks) { e.Started = time.Time{} },
			"It has run for 0s; 1h0m0s are needed."},
		{"held", func(e *experiment.Experiment, _ *analysis.Decision, _ *analysis.Checks) { e.Held = []string{"srm"} },
			"It is held by srm: find the cause, then lift the hold with pause and resume."},
		{"draft", func(e *experiment.Experiment, _ *analysis.Decision, _ *analysis.Checks) { e.State = experiment.Draft },
			"The experiment is draft."},
		{"split", func(_ *experiment.Experiment, d *analysis.Decision, _ *analysis.Checks) {
			d.SRM.Mismatch, d.SRM.AnytimeP = true, 1e-9
		},
			"Units did not fall to the arms as ordered (anytime-valid p = 1e-09): find out why before anything is concluded."},
		{"no replay", func(_ *experiment.Experiment, _ *analysis.Decision, c *analysis.Checks) { c.Replay = nil },
			"The numbers were not computed again from the log."},
		{"replay differs", func(_ *experiment.Experiment, _ *analysis.Decision, c *analysis.Checks) {
			c.Replay = &analysis.Replayed{Differences: []string{"a: live 1, log 2"}}
		}, "The log gives other numbers than the live ones: a: live 1, log 2."},
		{"guard", func(_ *experiment.Experiment, _ *analysis.Decision, c *analysis.Checks) {
			c.Guards = []analysis.Guard{{Kind: experiment.GuardDrift, Arm: "treatment", Value: 0.3,
				Limit: 0.25, Action: experiment.ActHold}}
		}, "Arm treatment: the guardrail score_drift is broken (0.3, limit 0.25)."},
		{"guard of another arm", func(_ *experiment.Experiment, _ *analysis.Decision, c *analysis.Checks) {
			c.Guards = []analysis.Guard{{Kind: experiment.GuardDrift, Arm: "third", Action: experiment.ActHold}}
		}, ""},
		{"guard that warns", func(_ *experiment.Experiment, _ *analysis.Decision, c *analysis.Checks) {
			c.Guards = []analysis.Guard{{Kind: experiment.GuardDrift, Arm: "treatment", Action: experiment.ActWarn}}
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, changed, checks := log.Experiment, d, good
			c.change(&e, &changed, &checks)
			p := analysis.Promote(e, changed, log.End, checks)
			if c.want == "" {
				if !p[0].Ready {
					t.Errorf("got %q, want none", p[0].Missing)
				}
				return
			}
			if p[0].Ready || len(p[0].Missing) != 1 || p[0].Missing[0] != c.want {
				t.Errorf("got %q, want %q", p[0].Missing, c.want)
			}
		})
	}
}

// The same records in another order and several times over give the same bits.
func TestTheOrderOfRecordsChangesNothing(t *testing.T) {
	t.Parallel()
	o := synthetic.DefaultOptions()
	o.Images, o.Labelled, o.Rankings = 300, 250, 20
	log := synthetic.New(o)
	// Some raters change their minds, and some contradict themselves.
	for i := 0; i < len(log.Feedback); i += 7 {
		again := log.Feedback[i]
		again.ID, again.Key, again.Given = again.ID+"x", again.Key+"x", again.Given.Add(time.Duration(i-500)*time.Second)
		switch again.Kind {
		case experiment.Pair:
			again.ImageA, again.ImageB = again.ImageB, again.ImageA
		case experiment.MOS:
			again.Value = 1 + float64(i%5)
		}
		log.Feedback = append(log.Feedback, again)
	}
	want := text(t, stateOf(t, log).Decide())
	random := rand.New(rand.NewPCG(7, 7))
	for range 5 {
		log.Exposures = append(log.Exposures, log.Exposures[random.IntN(len(log.Exposures))])
		log.Feedback = append(log.Feedback, log.Feedback[random.IntN(len(log.Feedback))])
		random.Shuffle(len(log.Exposures),
			func(i, j int) { log.Exposures[i], log.Exposures[j] = log.Exposures[j], log.Exposures[i] })
		random.Shuffle(len(log.Feedback),
			func(i, j int) { log.Feedback[i], log.Feedback[j] = log.Feedback[j], log.Feedback[i] })
		s, err := analysis.New(log.Experiment, analysis.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range log.Feedback {
			s.Feedback(experiment.Sequenced[experiment.Feedback]{Seq: int64(i), Record: f})
			if i == 100 {
				s.Decide() // in between
			}
		}
		for i, x := range log.Exposures {
			s.Exposure(experiment.Sequenced[experiment.Exposure]{Seq: int64(i), Record: x})
		}
		if got := text(t, s.Decide()); got != want {
			t.Fatalf("got %s\nwant %s", got, want)
		}
	}
}

// A sample of rows is the same whatever came first.
func TestLimitsDoNotDependOnTheOrder(t *testing.T) {
	t.Parallel()
	log := synthetic.New(synthetic.DefaultOptions())
	limits := analysis.Limits{Exposures: 5000, Units: 100, Images: 150, Labels: 200}
	var want string
	for i := range 3 {
		s, err := analysis.New(log.Experiment, limits)
		if err != nil {
			t.Fatal(err)
		}
		random := rand.New(rand.NewPCG(uint64(i), 1))
		for _, at := range random.Perm(len(log.Exposures)) {
			s.Exposure(experiment.Sequenced[experiment.Exposure]{Seq: int64(at), Record: log.Exposures[at]})
		}
		for _, at := range random.Perm(len(log.Feedback)) {
			s.Feedback(experiment.Sequenced[experiment.Feedback]{Seq: int64(at), Record: log.Feedback[at]})
		}
		d := s.Decide()
		if d.Counts.Images > 150 || d.Counts.Images < 50 || d.Counts.Units > 100 || d.Counts.Exposures != len(log.Exposures) {
			t.Errorf("got %+v", d.Counts)
		}
		if got := text(t, d); i == 0 {
			want = got
		} else if got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
}

// A shadow is compared and has no units; interleaved arms have units, by their
// weight, and credits.
func TestModes(t *testing.T) {
	t.Parallel()
	o := synthetic.DefaultOptions()
	o.Images, o.Labelled, o.Pairs, o.Rankings = 300, 300, 0, 30
	o.Arms = []synthetic.Arm{
		{ID: "control", Mode: experiment.Interleave, Noise: 0.8}, {ID: "other", Mode: experiment.Interleave, Noise: 0.7},
		{ID: "shadow", Mode: experiment.Shadow, Noise: 0.1},
	}
	log := synthetic.New(o)
	d := stateOf(t, log).Decide()
	if len(d.Comparisons) != 2 || d.Comparisons[1].Arm != "shadow" || d.Comparisons[1].Decision != stats.Superior {
		t.Errorf("got %s", text(t, d.Comparisons))
	}
	if len(d.SRM.Units) != 2 || d.SRM.Units[0]+d.SRM.Units[1] != 100 || d.SRM.Mismatch || d.Counts.Choices != 30 {
		t.Errorf("got %s", text(t, d.SRM))
	}
	if c := d.Comparisons[0].Confidence; c != 0.975 {
		t.Errorf("the confidence of one of two treatments is %v", c)
	}
}

// An arm that was taken out has no scores any more, and is compared no more. Its share
// of alpha was spent while it was.
func TestArmThatIsOut(t *testing.T) {
	t.Parallel()
	o := synthetic.DefaultOptions()
	o.Images, o.Labelled, o.Pairs = 200, 150, 20
	o.Arms = append(o.Arms, synthetic.Arm{ID: "broken", Mode: experiment.Live, Fails: 1})
	log := synthetic.New(o)
	log.Experiment.Arms[2].Out = true
	d := stateOf(t, log).Decide()
	if len(d.Comparisons) != 1 || d.Comparisons[0].Observations != 150 || d.Comparisons[0].Confidence != 0.975 {
		t.Errorf("got %s", text(t, d.Comparisons))
	}
}

func TestUpdateTakesRevisionsOfThePhase(t *testing.T) {
	t.Parallel()
	o := synthetic.DefaultOptions()
	o.Images, o.Labelled, o.Pairs = 60, 20, 0
	log := synthetic.New(o)
	s := stateOf(t, log)
	held := log.Experiment
	held.Held = []string{"srm"}
	if !s.Update(held) {
		t.Error("a later revision was not taken")
	}
	next := held
	next.Phase++
	if s.Update(next) {
		t.Error("another phase was taken")
	}
}
