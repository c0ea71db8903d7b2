package engine_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/engine"
	"github.com/agiqa/agiqa/experiment/storetest"
	"github.com/agiqa/agiqa/quality"
)

var encoder = quality.DigestOf([]byte("encoder"))

// shelf is the checkpoints of one server.
type shelf struct {
	mu        sync.Mutex
	def       string
	activated int
	retrained string // a name that has come to mean another checkpoint
}

func (s *shelf) Resolve(name string) (quality.Checkpoint, error) {
	if name == "missing" {
		return quality.Checkpoint{}, quality.Errorf(quality.KindCheckpointNotFound, "none")
	}
	c := quality.Checkpoint{Name: name, Digest: quality.DigestOf([]byte(name)), Encoder: encoder,
		Score: quality.ScoreRange{Min: 0, Max: 5}}
	if name == s.retrained {
		c.Digest = quality.DigestOf([]byte(name + " again"))
	}
	if name == "foreign" {
		c.Encoder = quality.Digest{}
	}
	c.Task = quality.TaskQuality
	if name == "realism" {
		c.Task, c.Score.Max = quality.TaskAuthenticity, 100
	}
	return c, nil
}

func (s *shelf) Names() []string { return []string{"demo", "other"} }

func (s *shelf) Default() (quality.Checkpoint, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Resolve(s.def)
}

func (s *shelf) Activate(_ context.Context, name, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.def = name
	s.activated++
	return nil
}

func (s *shelf) Preprocess(quality.Checkpoint) quality.PreprocessID { return "test/1" }

// canaries gives what a test says.
type canaries func(i, arm int) float32

func (c canaries) Score(_ context.Context, checkpoints []quality.Checkpoint) ([][]float32, error) {
	rows := make([][]float32, len(checkpoints))
	for k := range rows {
		for i := range 50 {
			rows[k] = append(rows[k], c(i, k))
		}
	}
	return rows, nil
}

func sound(i, arm int) float32 { return 1 + float32(i)/20 + float32(arm)/100 }

// clock goes when it is told to.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

type server struct {
	*engine.Engine
	shelf     *shelf
	labellers *labellers
}

// labellers says whether anybody holds a key that may label.
type labellers struct{ none bool }

func (l *labellers) CanLabel(context.Context) (bool, error) { return !l.none, nil }

// app is the principal of an application, which names its raters.
var app = access.Principal{Client: "key:1", KeyID: "1", Name: "app", Scopes: []access.Scope{access.ScopeFeedback}}

// bound is the principal of one rater.
func bound(name string) access.Principal {
	return access.Principal{Client: "key:" + name, KeyID: name, Name: "key of " + name, Rater: name,
		Scopes: []access.Scope{access.ScopeFeedback}}
}

// task is the token of a task about an image, or about a pair.
func (s *server) task(t testing.TB, by access.Principal, rater string, images ...string) string {
	t.Helper()
	r := engine.TaskRequest{By: by, Rater: rater, Count: 1, Pairs: len(images) == 2}
	for _, image := range images {
		r.Images = append(r.Images, quality.DigestOf([]byte(image)))
	}
	issued, err := s.Tasks(t.Context(), "sharper", r)
	must(t, err)
	if len(issued) != 1 {
		t.Fatalf("%d tasks about %q", len(issued), images)
	}
	return issued[0].Token
}

func newServer(t testing.TB, store experiment.Store, c *clock, judge canaries, change ...func(*engine.Deps)) *server {
	t.Helper()
	hasher, err := experiment.NewHasher([]byte("a key of thirty-two bytes, secret"))
	must(t, err)
	s, l := &shelf{def: "demo"}, &labellers{}
	deps := engine.Deps{
		Store: store, Hasher: hasher, Checkpoints: s, Canaries: judge, Tracer: tracenoop.NewTracerProvider(),
		Meter: metricnoop.NewMeterProvider(), Logger: slog.New(slog.DiscardHandler), Now: c.now, Labellers: l,
	}
	for _, f := range change {
		f(&deps)
	}
	e, err := engine.New(deps)
	must(t, err)
	return &server{Engine: e, shelf: s, labellers: l}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const definition = `
id: sharper
arms: [{checkpoint: demo}, {id: new, checkpoint: other}]
min_duration: 0s
`

// begin runs an experiment on a fresh store.
func begin(t *testing.T, more string) (*server, *storetest.Store, *clock) {
	t.Helper()
	return start(t, definition+more)
}

// start runs the experiment sharper of a definition on a fresh store.
func start(t *testing.T, definition string) (*server, *storetest.Store, *clock) {
	t.Helper()
	c := &clock{t: time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)}
	store := storetest.Open(t, c.now)
	s := newServer(t, store, c, sound)
	_, err := s.Create(t.Context(), []byte(definition), "me")
	must(t, err)
	_, err = s.Start(t.Context(), "sharper", "me")
	must(t, err)
	return s, store, c
}

// ask is one request with one image; score is that of each arm, fault that of
// the second.
func (s *server) ask(ctx context.Context, unit, image string, blind bool, fault string) *experiment.Shown {
	digest := quality.DigestOf([]byte(image))
	images := []func() quality.Digest{func() quality.Digest { return digest }}
	caller := experiment.Caller{Blind: blind, Request: unit, Header: func(string) string { return unit }}
	trial := s.Enrol(ctx, caller, images)
	if trial == nil {
		return nil
	}
	arms, _ := trial.Arms()
	outcome := experiment.Outcome{Image: digest, Status: experiment.Ok}
	for k, a := range arms {
		score := experiment.ArmScore{Arm: a.ID, Score: 1 + float32(digest[0])/100 + float32(digest[1+k])/200}
		if k == 1 && fault != "" {
			score = experiment.ArmScore{Arm: a.ID, Fault: fault}
		}
		outcome.Scores = append(outcome.Scores, score)
	}
	return trial.Expose(ctx, experiment.Scored{Outcomes: []experiment.Outcome{outcome}, Encoder: encoder,
		Preprocess: "test/1", HeadMS: 1})[0]
}

// A unit stays in its arm on another server and after a restart, under a wider
// coverage too.
func TestSticky(t *testing.T) {
	first, store, c := begin(t, "coverage: 50%\n")
	second := newServer(t, store, c, sound)
	must(t, second.Refresh(t.Context()))
	seen := map[string]experiment.ArmID{}
	for round, s := range []*server{first, second, newServer(t, store, c, sound)} {
		if round == 2 {
			_, err := first.Change(t.Context(), "sharper", 0,
				experiment.Change{Do: experiment.DoRamp, Coverage: experiment.Whole, By: "me"})
			must(t, err)
		}
		must(t, s.Refresh(t.Context()))
		for u := range 200 {
			unit := fmt.Sprint(u)
			shown := s.ask(t.Context(), unit, unit, false, "")
			if round == 2 && shown == nil {
				t.Fatalf("unit %s is left out at full coverage", unit)
			}
			if before, ok := seen[unit]; ok && (shown == nil || shown.Arm != before) {
				t.Errorf("round %d: unit %s went from %s to %+v", round, unit, before, shown)
			}
			if shown != nil {
				seen[unit] = shown.Arm
			}
		}
	}
	if shown := first.ask(t.Context(), "", "x", false, ""); shown != nil {
		t.Errorf("a request without a unit is in arm %s", shown.Arm)
	}
}

// A disk that fails costs no score: the control answers and says so; feedback is
// refused, and nothing is acknowledged falsely.
func TestStoreFails(t *testing.T) {
	s, store, _ := begin(t, "")
	var unit string
	for u := range 100 {
		if shown := s.ask(t.Context(), fmt.Sprint(u), "a", false, ""); shown.Arm == "new" {
			unit = fmt.Sprint(u)
		}
	}
	store.Fill(true)
	shown := s.ask(t.Context(), unit, "b", false, "")
	if shown == nil || !shown.Degraded || shown.Arm != "demo" || shown.Served != 0 || shown.Assignment != "" {
		t.Errorf("shown %+v", shown)
	}
	value := 3.0
	label := engine.Label{By: app, Key: "k", Image: quality.DigestOf([]byte("a")), Rater: "r",
		Kind: experiment.MOS, Value: &value}
	if _, err := s.Label(t.Context(), label); quality.KindOf(err) != quality.KindStoreUnavailable {
		t.Errorf("feedback: %v", err)
	}
	store.Fill(false)
	if shown := s.ask(t.Context(), unit, "b", false, ""); shown.Degraded || shown.Arm != "new" {
		t.Errorf("after the repair: %+v", shown)
	}
	if r, err := s.Label(t.Context(), label); err != nil || r.Duplicate || r.Feedback.State != experiment.Accepted {
		t.Errorf("after the repair: %+v, %v", r, err)
	}
}

// An arm that gives no numbers is never shown, and is out after a few images.
func TestFaultyArmIsTakenOut(t *testing.T) {
	s, store, _ := begin(t, "")
	for u := range 10 {
		if shown := s.ask(t.Context(), fmt.Sprint(u), fmt.Sprint(u), false, "nan"); shown == nil || shown.Served != 0 {
			t.Fatalf("image %d: %+v", u, shown)
		}
	}
	s.Watch(t.Context())
	x, err := store.Get(t.Context(), "sharper")
	must(t, err)
	if !x.Arms[1].Out || x.Arms[1].Weight != 0 || x.Arms[0].Weight != experiment.Whole || x.Phase != 2 {
		t.Errorf("%+v", x.Arms)
	}
	audits, err := s.Audits(t.Context(), "sharper")
	must(t, err)
	if last := audits[len(audits)-1]; last.Action != "guardrail" || last.By != "server" ||
		last.Numbers["error_rate new"] == "" {
		t.Errorf("audit %+v", last)
	}
	trial := s.Enrol(t.Context(), experiment.Caller{Header: func(string) string { return "u" }},
		[]func() quality.Digest{func() quality.Digest { return encoder }})
	if arms, _ := trial.Arms(); len(arms) != 1 {
		t.Errorf("%d arms still judge", len(arms))
	}
}

func TestCanariesForbidAStart(t *testing.T) {
	for name, judge := range map[string]canaries{
		"constant": func(i, arm int) float32 {
			if arm == 1 {
				return 2
			}
			return sound(i, arm)
		},
		"at the end": func(i, arm int) float32 {
			if arm == 1 && i%2 == 0 {
				return 5
			}
			return sound(i, arm)
		},
		"against the control": func(i, arm int) float32 {
			if arm == 1 {
				return 4 - sound(i, arm)
			}
			return sound(i, arm)
		},
		"beyond the scale": func(i, arm int) float32 { return sound(i, arm) + 100*float32(arm) },
	} {
		c := &clock{t: time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)}
		store := storetest.Open(t, c.now)
		s := newServer(t, store, c, judge)
		_, err := s.Create(t.Context(), []byte(definition), "me")
		must(t, err)
		if _, err := s.Start(t.Context(), "sharper", "me"); quality.KindOf(err) != quality.KindConflict {
			t.Errorf("%s: %v", name, err)
		}
		if x, err := store.Get(t.Context(), "sharper"); err != nil || x.State != experiment.Draft {
			t.Errorf("%s: it is %s", name, x.State)
		}
	}
}

var forced = experiment.Force{On: true, Reason: "a test"}

// Of servers that promote at the same time one does it; all have the winner as
// their default afterwards, and again changes nothing.
func TestPromotionRace(t *testing.T) {
	first, store, c := begin(t, "")
	servers := []*server{first}
	for range 7 {
		s := newServer(t, store, c, sound)
		must(t, s.Refresh(t.Context()))
		c.pass(time.Millisecond) // clocks that differ
		servers = append(servers, s)
	}
	var wait sync.WaitGroup
	errs := make([]error, len(servers))
	for i, s := range servers {
		wait.Go(func() { _, errs[i] = s.Promote(t.Context(), "sharper", "new", fmt.Sprint(i), forced) })
	}
	wait.Wait()
	for i, err := range errs {
		if err != nil && quality.KindOf(err) != quality.KindConflict {
			t.Errorf("server %d: %v", i, err)
		}
		must(t, servers[i].Refresh(t.Context()))
		if def, _ := servers[i].shelf.Default(); def.Name != "other" {
			t.Errorf("server %d has the default %s", i, def.Name)
		}
	}
	promotions := 0
	audits, err := first.Audits(t.Context(), "sharper")
	must(t, err)
	for _, a := range audits {
		if a.Action == "promote" {
			promotions++
		}
	}
	if promotions != 1 {
		t.Errorf("%d promotions are on record", promotions)
	}
	x, err := first.Promote(t.Context(), "sharper", "new", "me", experiment.Force{})
	if err != nil || x.Revision != 3 {
		t.Errorf("again: revision %d, %v", x.Revision, err)
	}
	if _, err := first.Rollback(t.Context(), "sharper", "me"); err != nil || first.shelf.def != "demo" {
		t.Errorf("rolled back to %s: %v", first.shelf.def, err)
	}
}

func TestCreateRefuses(t *testing.T) {
	c := &clock{}
	s := newServer(t, storetest.Open(t, c.now), c, sound)
	for text, kind := range map[string]quality.Kind{
		"id: x\narms: [{checkpoint: demo}, {checkpoint: missing}]":                                  quality.KindCheckpointNotFound,
		"id: x\narms: [{checkpoint: demo}, {checkpoint: foreign}]":                                  quality.KindEncoderMismatch,
		"id: x\narms: [{checkpoint: demo}, {checkpoint: realism}]":                                  quality.KindConflict,
		"id: x\narms: [{checkpoint: demo}]":                                                         quality.KindExperimentInvalid,
		"id: x\narms: [{checkpoint: demo}, {id: d, checkpoint: other}, {id: e, checkpoint: other}]": quality.KindExperimentInvalid,
	} {
		if _, err := s.Create(t.Context(), []byte(text), "me"); quality.KindOf(err) != kind {
			t.Errorf("%s: %v", text, err)
		}
	}
	_, err := s.Create(t.Context(), []byte("id: x\narms: [{checkpoint: other}, {checkpoint: demo}]"), "me")
	must(t, err)
	if _, err := s.Start(t.Context(), "x", "me"); quality.KindOf(err) != quality.KindConflict {
		t.Errorf("a control that is not the default: %v", err)
	}
}

func TestLabels(t *testing.T) {
	s, _, c := begin(t, "")
	shown := s.ask(t.Context(), "u", "a", false, "")
	blind := s.ask(t.Context(), "v", "b", true, "")
	value := func(v float64) *float64 { return &v }
	for name, tc := range map[string]struct {
		label engine.Label
		kind  quality.Kind
		want  experiment.FeedbackState
		blind bool
	}{
		"by assignment": {engine.Label{Key: "1", Assignment: shown.Assignment, Rater: "r", Kind: experiment.MOS,
			Value: value(4)}, "", experiment.Accepted, false},
		"by an assignment without a score": {engine.Label{Key: "2", Assignment: blind.Assignment, Rater: "r",
			Kind: experiment.MOS, Value: value(4)}, "", experiment.Accepted, false},
		"with a task": {engine.Label{Key: "2t", Task: s.task(t, app, "r", "b"), Rater: "r", Kind: experiment.MOS,
			Value: value(4)}, "", experiment.Accepted, true},
		"with a task and an assignment": {engine.Label{Key: "2a", Task: s.task(t, app, "q", "b"),
			Assignment: blind.Assignment, Rater: "q", Kind: experiment.MOS, Value: value(4)}, "", experiment.Accepted, true},
		"by image": {engine.Label{Key: "3", Image: quality.DigestOf([]byte("a")), Rater: "r",
			Kind: experiment.MOS, Value: value(1)}, "", experiment.Accepted, false},
		"never shown": {engine.Label{Key: "4", Image: quality.DigestOf([]byte("z")), Rater: "r",
			Kind: experiment.MOS, Value: value(1)}, "", experiment.Orphan, false},
		"forged": {engine.Label{Key: "5", Assignment: shown.Assignment[:len(shown.Assignment)-2] + "AA",
			Rater: "r", Kind: experiment.MOS, Value: value(1)}, quality.KindFeedbackInvalid, "", false},
		"another image": {engine.Label{Key: "6", Assignment: shown.Assignment,
			Image: quality.DigestOf([]byte("b")), Rater: "r", Kind: experiment.MOS, Value: value(1)},
			quality.KindFeedbackInvalid, "", false},
		"off the scale": {engine.Label{Key: "7", Assignment: shown.Assignment, Rater: "r", Kind: experiment.MOS,
			Value: value(5.1)}, quality.KindFeedbackInvalid, "", false},
		"half a thumb": {engine.Label{Key: "8", Assignment: shown.Assignment, Rater: "r", Kind: experiment.Thumb,
			Value: value(0.5)}, quality.KindFeedbackInvalid, "", false},
		"nobody": {engine.Label{Key: "9", Assignment: shown.Assignment, Kind: experiment.MOS,
			Value: value(1)}, quality.KindFeedbackInvalid, "", false},
		"a pair of one": {engine.Label{Key: "10", ImageA: encoder, ImageB: encoder, Rater: "r",
			Kind: experiment.Pair, Winner: "a"}, quality.KindFeedbackInvalid, "", false},
		"a choice without ranking": {engine.Label{Key: "11", Assignment: shown.Assignment, Rater: "r",
			Kind: experiment.Choice}, quality.KindFeedbackInvalid, "", false},
	} {
		tc.label.By = app
		r, err := s.Label(t.Context(), tc.label)
		if tc.kind != "" {
			if quality.KindOf(err) != tc.kind {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || r.Feedback.State != tc.want || r.Feedback.Blind != tc.blind || r.Feedback.Rater == "r" {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		if again, err := s.Label(t.Context(), tc.label); err != nil || !again.Duplicate ||
			again.Feedback.ID != r.Feedback.ID {
			t.Errorf("%s, again: %+v, %v", name, again, err)
		}
		tc.label.Rater, tc.label.Task = "somebody else", ""
		if tc.label.Image.IsZero() && tc.label.Assignment == "" {
			tc.label.Image = quality.DigestOf([]byte("b"))
		}
		if _, err := s.Label(t.Context(), tc.label); quality.KindOf(err) != quality.KindConflict {
			t.Errorf("%s, with its key for another: %v", name, err)
		}
	}
	c.pass(31 * 24 * time.Hour)
	late := engine.Label{By: app, Key: "late", Assignment: shown.Assignment, Rater: "r",
		Kind: experiment.MOS, Value: value(4)}
	if r, err := s.Label(t.Context(), late); err != nil || r.Feedback.State != experiment.Late {
		t.Errorf("late: %+v, %v", r, err)
	}
	var refused error
	for i := range 500 {
		if _, err := s.Label(t.Context(), engine.Label{By: app, Key: fmt.Sprint("fast", i), Assignment: shown.Assignment,
			Rater: "fast", Kind: experiment.MOS, Value: value(4)}); err != nil {
			refused = err
		}
	}
	if quality.KindOf(refused) != quality.KindRateLimited {
		t.Errorf("500 labels at once: %v", refused)
	}
}

// Labels that answer no task promote nothing, however many there are and whatever
// the experiment says, neither by the server nor by a person; the same labels with
// tasks do.
func TestOnlyLabelsWithTasksPromote(t *testing.T) {
	for _, tasked := range []bool{false, true} {
		for _, more := range []string{"auto: act", "auto: recommend", "auto: act\nblind_feedback_required: false"} {
			t.Run(fmt.Sprintf("tasks %t, %s", tasked, more), func(t *testing.T) {
				t.Parallel()
				s, store, c := begin(t, more+"\nmin_labels: 100\n")
				c.pass(time.Minute)
				for i := range 300 {
					image := fmt.Sprint("image", i)
					shown := s.ask(t.Context(), fmt.Sprint(i), image, true, "")
					d := quality.DigestOf([]byte(image))
					// Raters who say what the second arm says, with a little of their own.
					value := 1 + float64(d[0])/100 + float64(d[2])/200
					value = min(5, value+0.02*float64(i%3-1))
					label := engine.Label{By: app, Key: fmt.Sprint(i), Assignment: shown.Assignment,
						Rater: fmt.Sprint("rater", i%5), Kind: experiment.MOS, Value: &value}
					if i%2 == 0 {
						label.Assignment, label.Image = "", d
					}
					if tasked {
						label.Task = s.task(t, app, label.Rater, image)
					}
					r, err := s.Label(t.Context(), label)
					must(t, err)
					if r.Feedback.Blind != tasked {
						t.Fatalf("label %d: %+v", i, r.Feedback)
					}
				}
				if strings.HasPrefix(more, "auto: act") {
					s.labellers.none = true // whoever labelled has lost the key
					s.Decide(t.Context())
					if x, err := store.Get(t.Context(), "sharper"); err != nil || x.State != experiment.Running ||
						(x.Recommended != "") != tasked {
						t.Errorf("without labellers it is %s and recommends %q, %v", x.State, x.Recommended, err)
					}
					s.labellers.none = false
					s.Decide(t.Context())
				} else if _, err := s.Promote(t.Context(), "sharper", "new", "me", experiment.Force{}); (err == nil) != tasked {
					t.Errorf("a person's promotion: %v", err)
				}
				x, err := store.Get(t.Context(), "sharper")
				must(t, err)
				if promoted := x.State == experiment.Promoted; promoted != tasked || x.Forced != "" ||
					!tasked && x.Recommended != "" {
					c, _ := s.Conclude(t.Context(), "sharper")
					t.Errorf("promoted is %t, forced %q, recommended %q: %+v", promoted, x.Forced, x.Recommended, c.Promotions)
				}
			})
		}
	}
}

// Force overrules the rule of promotion and nothing else, and leaves its reason.
func TestForcedPromotion(t *testing.T) {
	ctx := t.Context()
	s, store, _ := begin(t, "")
	for _, tc := range []struct {
		what  string
		arm   experiment.ArmID
		force experiment.Force
		kind  quality.Kind
		text  string
	}{
		{"nothing recorded", "new", experiment.Force{}, quality.KindConflict, "labels; 300 are needed"},
		{"the control", "demo", experiment.Force{}, quality.KindConflict, "not compared with the control"},
		{"an unknown arm", "nobody", forced, quality.KindNotFound, "no arm"},
		{"no reason", "new", experiment.Force{On: true, Reason: " "}, quality.KindExperimentInvalid, "reason: is needed"},
		{"no force", "new", experiment.Force{Reason: "because"}, quality.KindExperimentInvalid, "reason: is for"},
		{"too long", "new", experiment.Force{On: true, Reason: strings.Repeat("x", 1001)},
			quality.KindExperimentInvalid, "1001 bytes"},
	} {
		_, err := s.Promote(ctx, "sharper", tc.arm, "me", tc.force)
		if quality.KindOf(err) != tc.kind || !strings.Contains(fmt.Sprint(err), tc.text) {
			t.Errorf("%s: %v, want %s with %q", tc.what, err, tc.kind, tc.text)
		}
	}
	if x, err := store.Get(ctx, "sharper"); err != nil || x.State != experiment.Running || s.shelf.def != "demo" {
		t.Fatalf("after refusals it is %s, the default %s (%v)", x.State, s.shelf.def, err)
	}
	x, err := s.Promote(ctx, "sharper", "new", "me", forced)
	if err != nil || x.State != experiment.Promoted || x.Forced != "a test" || s.shelf.def != "other" {
		t.Fatalf("forced: %s for %q, the default %s (%v)", x.State, x.Forced, s.shelf.def, err)
	}
	audits, err := s.Audits(ctx, "sharper")
	must(t, err)
	last := audits[len(audits)-1]
	if last.By != "me" || last.Detail != "checkpoint other, forced: a test" || last.Numbers["rule met"] != "false" ||
		!strings.Contains(last.Numbers["missing"], "300 are needed") {
		t.Errorf("on record is %+v", last)
	}
	r, err := s.Report(ctx, "sharper", 0)
	if err != nil || r.Experiment.Forced != "a test" {
		t.Errorf("the report has the reason %q (%v)", r.Experiment.Forced, err)
	}
}

func TestForceKeepsWhatIsNoRuleOfPromotion(t *testing.T) {
	ctx := t.Context()
	s, _, _ := begin(t, "")
	_, err := s.Change(ctx, "sharper", 0,
		experiment.Change{Do: experiment.DoGuard, Out: []experiment.ArmID{"new"}, By: "server"})
	must(t, err)
	if _, err := s.Promote(ctx, "sharper", "new", "me", forced); quality.KindOf(err) != quality.KindConflict {
		t.Errorf("an arm that is out: %v", err)
	}
	s, _, _ = begin(t, "")
	s.shelf.retrained = "other"
	if _, err := s.Promote(ctx, "sharper", "new", "me", forced); quality.KindOf(err) != quality.KindConflict ||
		s.shelf.def != "demo" {
		t.Errorf("another checkpoint under the name: %v, the default is %s", err, s.shelf.def)
	}
}

// An image that two experiments judged has labels of its own in each: what was said
// of one exposure is no evidence in the other experiment, which would spend its alpha
// on data that were looked at before.
func TestALabelCountsInOneExperiment(t *testing.T) {
	t.Parallel()
	s, _, c := begin(t, "")
	first := s.ask(t.Context(), "u", "a", true, "")
	_, err := s.Change(t.Context(), "sharper", 0, experiment.Change{Do: experiment.DoStop, By: "me"})
	must(t, err)
	_, err = s.Create(t.Context(), []byte(strings.Replace(definition, "sharper", "again", 1)), "me")
	must(t, err)
	_, err = s.Start(t.Context(), "again", "me")
	must(t, err)
	c.pass(time.Second)
	second := s.ask(t.Context(), "u", "a", true, "")
	if second == nil || second.Experiment != "again" {
		t.Fatalf("shown %+v", second)
	}
	value := 3.0
	for i, l := range []engine.Label{
		{Assignment: first.Assignment}, {Assignment: second.Assignment}, {Image: quality.DigestOf([]byte("a"))},
	} {
		l.By, l.Key, l.Rater, l.Kind, l.Value = app, fmt.Sprint(i), fmt.Sprint("rater ", i), experiment.MOS, &value
		_, err := s.Label(t.Context(), l)
		must(t, err)
	}
	for id, want := range map[experiment.ID]int{"sharper": 1, "again": 2} {
		conclusion, err := s.Conclude(t.Context(), id)
		must(t, err)
		if got := conclusion.Decision.Counts.Labels; got != want {
			t.Errorf("%s counts %d labels, want %d", id, got, want)
		}
	}
}
