package engine_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/engine"
	"github.com/agiqa/agiqa/experiment/storetest"
	"github.com/agiqa/agiqa/quality"
)

func digest(image string) quality.Digest { return quality.DigestOf([]byte(image)) }

// rate sends a rater's opinion of what a task asks for.
func (s *server) rate(t testing.TB, by access.Principal, rater, key, task string,
	change ...func(*engine.Label)) (engine.Receipt, error) {
	t.Helper()
	value := 3.0
	l := engine.Label{By: by, Key: key, Task: task, Rater: rater, Kind: experiment.MOS, Value: &value}
	for _, f := range change {
		f(&l)
	}
	return s.Label(t.Context(), l)
}

// What a dishonest rater can do with a key of her own, and with others' tasks.
func TestTasksCannotBeMisused(t *testing.T) {
	t.Parallel()
	s, _, _ := begin(t, "")
	for _, image := range []string{"a", "b", "c"} {
		s.ask(t.Context(), image, image, true, "")
	}
	alice, mallory := bound("alice"), bound("mallory")
	other := app
	other.Name, other.KeyID = "other app", "2"
	task := s.task(t, alice, "", "a")
	hers := s.task(t, mallory, "", "a")
	set := func(f func(*engine.Label)) func(*engine.Label) { return f }
	for _, tc := range []struct {
		name   string
		by     access.Principal
		rater  string
		task   string
		change func(*engine.Label)
		kind   quality.Kind
	}{
		{"labels as another rater", mallory, "alice", hers, nil, quality.KindForbidden},
		{"another rater's task", mallory, "", task, nil, quality.KindForbidden},
		{"another rater's task, in her name", mallory, "alice", task, nil, quality.KindForbidden},
		{"an application in a bound rater's name", app, "alice", task, nil, quality.KindForbidden},
		{"another application", other, "r", s.task(t, app, "r", "a"), nil, quality.KindForbidden},
		{"for another image", mallory, "", hers, set(func(l *engine.Label) { l.Image = digest("b") }),
			quality.KindFeedbackInvalid},
		{"for a pair", mallory, "", hers, set(func(l *engine.Label) {
			l.Kind, l.Value, l.Winner, l.ImageA, l.ImageB = experiment.Pair, nil, "a", digest("a"), digest("b")
		}), quality.KindFeedbackInvalid},
		{"of a pair, for an image", mallory, "", s.task(t, mallory, "", "a", "b"), nil, quality.KindFeedbackInvalid},
		{"of a pair, for another pair", mallory, "", s.task(t, mallory, "", "a", "b"), set(func(l *engine.Label) {
			l.Kind, l.Value, l.Winner, l.ImageA, l.ImageB = experiment.Pair, nil, "a", digest("a"), digest("c")
		}), quality.KindFeedbackInvalid},
		{"a thumb with a rater's key", mallory, "", "", set(func(l *engine.Label) {
			up := 1.0
			l.Kind, l.Image, l.Value = experiment.Thumb, digest("a"), &up
		}), quality.KindForbidden},
		{"a rater without a name", app, "", "", set(func(l *engine.Label) { l.Image = digest("a") }),
			quality.KindFeedbackInvalid},
		{"no token", mallory, "", "ta_", nil, quality.KindFeedbackInvalid},
		{"an assignment as a token", mallory, "", "as_" + task[3:], nil, quality.KindFeedbackInvalid},
	} {
		change := tc.change
		if change == nil {
			change = func(*engine.Label) {}
		}
		if r, err := s.rate(t, tc.by, tc.rater, tc.name, tc.task, change); quality.KindOf(err) != tc.kind {
			t.Errorf("%s: %+v, %v, want %s", tc.name, r.Feedback, err, tc.kind)
		}
	}
	// Guessing: every character of a token changed, and every length.
	for i := range hers {
		for _, forged := range []string{hers[:i], hers[:i] + swap(hers[i]) + hers[i+1:]} {
			if _, err := s.rate(t, mallory, "", fmt.Sprint("guess ", i), forged); forged != "" && err == nil {
				t.Errorf("taken with character %d forged", i)
			}
		}
	}
	stranger, err := experiment.NewHasher([]byte("a key of thirty-two bytes, stolen"))
	must(t, err)
	theirs, err := experiment.NewHasher([]byte("a key of thirty-two bytes, secret"))
	must(t, err)
	mine, ok := theirs.Task(hers)
	if !ok || theirs.Token(mine) != hers {
		t.Fatalf("the token says %+v", mine)
	}
	if _, err := s.rate(t, mallory, "", "stolen",
		stranger.Token(mine)); quality.KindOf(err) != quality.KindFeedbackInvalid {
		t.Errorf("a token of another server: %v", err)
	}

	// Nothing of it is on record as blind; the honest answers are.
	for _, one := range []struct {
		by   access.Principal
		task string
	}{{alice, task}, {mallory, hers}} {
		if r, err := s.rate(t, one.by, "", "mine", one.task); err != nil || !r.Feedback.Blind || r.Duplicate {
			t.Errorf("%s: %+v, %v", one.by.Name, r, err)
		}
	}
	c, err := s.Conclude(t.Context(), "sharper")
	must(t, err)
	if n := c.Decision.Counts; n.LabelledBlind != 1 || n.RatersBlind != 2 || n.Labels != 2 {
		t.Errorf("on record: %+v", n)
	}
}

// swap is another character of base64.
func swap(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

// A task is answered once, whatever the idempotency key; a repetition of the same
// label is told what became of it.
func TestATaskIsAnsweredOnce(t *testing.T) {
	t.Parallel()
	s, _, _ := begin(t, "")
	for _, image := range []string{"a", "b"} {
		s.ask(t.Context(), image, image, true, "")
	}
	task, again := s.task(t, app, "r", "a"), s.task(t, app, "r", "a")
	pair := s.task(t, app, "r", "a", "b")
	_, err := s.rate(t, app, "r", "1", task)
	must(t, err)
	if r, err := s.rate(t, app, "r", "1", task); err != nil || !r.Duplicate {
		t.Errorf("the same label: %+v, %v", r, err)
	}
	for key, token := range map[string]string{"2": task, "3": again} {
		if r, err := s.rate(t, app, "r", key, token); quality.KindOf(err) != quality.KindConflict {
			t.Errorf("replayed under key %s: %+v, %v", key, r, err)
		}
	}
	prefer := func(a, b, winner string) func(*engine.Label) {
		return func(l *engine.Label) {
			l.Kind, l.Value, l.Winner, l.ImageA, l.ImageB = experiment.Pair, nil, winner, digest(a), digest(b)
		}
	}
	if r, err := s.rate(t, app, "r", "4", pair, prefer("b", "a", "a")); err != nil || !r.Feedback.Blind {
		t.Errorf("a pair in the other order: %+v, %v", r, err)
	}
	if _, err := s.rate(t, app, "r", "5", pair, prefer("a", "b", "a")); quality.KindOf(err) != quality.KindConflict {
		t.Errorf("the pair again: %v", err)
	}
	c, err := s.Conclude(t.Context(), "sharper")
	must(t, err)
	if n := c.Decision.Counts; n.Labels != 1 || n.PairsBlind != 1 {
		t.Errorf("on record: %+v", n)
	}
	for _, r := range []engine.TaskRequest{{Count: 10}, {Count: 10, Pairs: true}} {
		r.By, r.Rater = app, "r"
		left, err := s.Tasks(t.Context(), "sharper", r)
		if want := map[bool]int{false: 1, true: 0}[r.Pairs]; err != nil || len(left) != want {
			t.Errorf("%d tasks are left, want %d (pairs: %t): %v", len(left), want, r.Pairs, err)
		}
	}
}

// Images count in the order of their first label: a label can't claim to be older
// than its task, and so be counted before those that came earlier.
func TestLabelsAreNotOlderThanTheirTasks(t *testing.T) {
	t.Parallel()
	s, _, c := begin(t, "")
	for i, since := range []time.Duration{-time.Hour, 30 * time.Minute, 2 * time.Hour} {
		image := fmt.Sprint("image ", i)
		s.ask(t.Context(), "u", image, true, "")
		issued := c.now()
		task := s.task(t, app, "r", image)
		c.pass(time.Hour)
		r, err := s.rate(t, app, "r", image, task, func(l *engine.Label) { l.Given = issued.Add(since) })
		must(t, err)
		if want := issued.Add(min(max(since, 0), time.Hour)); !r.Feedback.Given.Equal(want) {
			t.Errorf("given %s after its task: on record %s, want %s", since, r.Feedback.Given, want)
		}
	}
}

// A task that is too late, or of an experiment that has ended, makes a label that is
// kept and isn't blind. A phase that has ended changes nothing.
func TestTasksEnd(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		then  func(t *testing.T, s *server, c *clock)
		blind bool
	}{
		{"at once", func(*testing.T, *server, *clock) {}, true},
		{"at the last moment", func(_ *testing.T, _ *server, c *clock) { c.pass(experiment.TaskFor - time.Second) }, true},
		{"expired", func(_ *testing.T, _ *server, c *clock) { c.pass(experiment.TaskFor) }, false},
		{"another phase", func(t *testing.T, s *server, _ *clock) {
			_, err := s.Change(t.Context(), "sharper", 0, experiment.Change{Do: experiment.DoWeigh, By: "me",
				Weights: map[experiment.ArmID]experiment.PPM{"demo": 300_000, "new": 700_000}})
			must(t, err)
		}, true},
		{"paused", func(t *testing.T, s *server, _ *clock) {
			_, err := s.Change(t.Context(), "sharper", 0, experiment.Change{Do: experiment.DoPause, By: "me"})
			must(t, err)
		}, true},
		{"stopped", func(t *testing.T, s *server, _ *clock) {
			_, err := s.Change(t.Context(), "sharper", 0, experiment.Change{Do: experiment.DoStop, By: "me"})
			must(t, err)
		}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s, _, c := begin(t, "")
			s.ask(t.Context(), "u", "a", true, "")
			task := s.task(t, app, "r", "a")
			tc.then(t, s, c)
			r, err := s.rate(t, app, "r", "k", task)
			if err != nil || r.Feedback.Blind != tc.blind {
				t.Errorf("%+v, %v, want blind %t", r.Feedback, err, tc.blind)
			}
			again, err := s.rate(t, app, "r", "k", task)
			if err != nil || !again.Duplicate {
				t.Errorf("again: %+v, %v", again, err)
			}
		})
	}
}

// Only images of which nobody was shown a score are asked about, those with the
// fewest labels first.
func TestTasksAreAboutImagesThatNobodyWasToldOf(t *testing.T) {
	t.Parallel()
	s, store, c := begin(t, "")
	s.ask(t.Context(), "1", "open", false, "")
	s.ask(t.Context(), "2", "blind", true, "")
	s.ask(t.Context(), "3", "open, then blind", false, "")
	s.ask(t.Context(), "3", "open, then blind", true, "")
	s.ask(t.Context(), "4", "blind, then open", true, "")
	s.ask(t.Context(), "4", "blind, then open", false, "") // withheld by then
	s.ask(t.Context(), "5", "without scores", true, "nan")
	images := func(s *server, r engine.TaskRequest) map[quality.Digest]bool {
		t.Helper()
		r.By, r.Count = app, 100
		issued, err := s.Tasks(t.Context(), "sharper", r)
		must(t, err)
		got := map[quality.Digest]bool{}
		for _, i := range issued {
			got[i.Image] = true
		}
		return got
	}
	want := map[quality.Digest]bool{digest("blind"): true, digest("blind, then open"): true}
	second := newServer(t, store, c, sound)
	must(t, second.Refresh(t.Context()))
	for name, s := range map[string]*server{"its own server": s, "another": second} {
		if got := images(s, engine.TaskRequest{Rater: "r"}); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s asks about %d images, want %d", name, len(got), len(want))
		}
	}
	if got := images(s, engine.TaskRequest{Rater: "r", Images: []quality.Digest{digest("blind"), digest("open"),
		digest("never seen"), digest("blind")}}); len(got) != 1 || !got[digest("blind")] {
		t.Errorf("of those named: %d images", len(got))
	}
	// An image that was shown with its score in an earlier phase stays out.
	_, err := s.Change(t.Context(), "sharper", 0, experiment.Change{Do: experiment.DoWeigh, By: "me",
		Weights: map[experiment.ArmID]experiment.PPM{"demo": 300_000, "new": 700_000}})
	must(t, err)
	s.ask(t.Context(), "1", "open", true, "")
	if got := images(s, engine.TaskRequest{Rater: "r"}); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("in the next phase: %d images, want %d", len(got), len(want))
	}
	for i := range 28 { // and the two of the first phase
		s.ask(t.Context(), fmt.Sprint(i), fmt.Sprint("image ", i), true, "")
	}
	for round := range 3 { // one more label for each image in each round
		rater := fmt.Sprint("rater ", round)
		for _, count := range []int{20, 10} {
			issued, err := s.Tasks(t.Context(), "sharper", engine.TaskRequest{By: app, Rater: rater, Count: count})
			if err != nil || len(issued) != count {
				t.Fatalf("round %d: %d tasks, %v", round, len(issued), err)
			}
			for i, one := range issued {
				_, err := s.rate(t, app, rater, fmt.Sprint(round, count, i), one.Token)
				must(t, err)
			}
		}
	}
	fewest, err := s.Tasks(t.Context(), "sharper", engine.TaskRequest{By: app, Rater: "rater 3", Count: 30})
	must(t, err)
	for i, one := range fewest[:12] {
		_, err := s.rate(t, app, "rater 3", fmt.Sprint("fewest", i), one.Token)
		must(t, err)
	}
	// Twelve images have four labels now, and come last.
	rest, err := s.Tasks(t.Context(), "sharper", engine.TaskRequest{By: app, Rater: "rater 4", Count: 18})
	must(t, err)
	for _, one := range rest {
		for _, had := range fewest[:12] {
			if one.Image == had.Image {
				t.Error("an image with more labels than others comes before them")
			}
		}
	}
	c.pass(experiment.LateAfter - experiment.TaskFor + time.Minute)
	if got := images(s, engine.TaskRequest{Rater: "r"}); len(got) != 0 {
		t.Errorf("%d images are asked about whose labels would be late", len(got))
	}
	for name, r := range map[string]engine.TaskRequest{
		"none": {By: app, Rater: "r"}, "too many": {By: app, Rater: "r", Count: 101}, "of nobody": {By: app, Count: 1},
	} {
		if _, err := s.Tasks(t.Context(), "sharper", r); quality.KindOf(err) != quality.KindFeedbackInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.Tasks(t.Context(), "nothing", engine.TaskRequest{By: app, Rater: "r", Count: 1}); quality.KindOf(err) !=
		quality.KindNotFound {
		t.Errorf("an unknown experiment: %v", err)
	}
}

// What comes in a burst is not labelled in a burst: tasks are drawn from all images,
// in another order for each rater.
func TestTasksAreSpread(t *testing.T) {
	t.Parallel()
	const images, bursts, count = 400, 8, 64
	s, _, _ := begin(t, "")
	place := map[quality.Digest]int{}
	for i := range images {
		image := fmt.Sprint("image ", i)
		place[digest(image)] = i
		s.ask(t.Context(), fmt.Sprint(i), image, true, "")
	}
	var orders []string
	for _, rater := range []string{"r1", "r2"} {
		issued, err := s.Tasks(t.Context(), "sharper", engine.TaskRequest{By: app, Rater: rater, Count: count})
		must(t, err)
		var of [bursts]int
		var order []int
		for _, one := range issued {
			order = append(order, place[one.Image])
			of[place[one.Image]*bursts/images]++
		}
		for burst, n := range of { // 8 are expected
			if n == 0 || n > 20 {
				t.Errorf("rater %s: %d of %d tasks are of burst %d: %v", rater, n, count, burst, of)
			}
		}
		orders = append(orders, fmt.Sprint(order))
	}
	if orders[0] == orders[1] {
		t.Error("two raters label in the same order")
	}
}

// An experiment of a version that believed what labels said of themselves has no
// tasks, and nothing of it is promoted by itself.
func TestFormerExperimentsHaveNoTasks(t *testing.T) {
	t.Parallel()
	s, store, _ := begin(t, "auto: act\nmin_labels: 1\nmin_raters: 1\n")
	s.ask(t.Context(), "u", "a", true, "")
	task := s.task(t, app, "r", "a")
	x, err := store.Get(t.Context(), "sharper")
	must(t, err)
	former := x
	former.LabelsAnswerTasks, former.Revision = false, x.Revision+1
	must(t, store.Swap(t.Context(), x.Revision, former, storetest.AuditOf(former, "test")))
	must(t, s.Refresh(t.Context()))
	_, err = s.Tasks(t.Context(), "sharper", engine.TaskRequest{By: app, Rater: "r", Count: 1})
	if quality.KindOf(err) != quality.KindConflict || !strings.Contains(err.Error(), "create it again") {
		t.Errorf("tasks: %v", err)
	}
	if r, err := s.rate(t, app, "r", "k", task); err != nil || r.Feedback.Blind {
		t.Errorf("a label: %+v, %v", r, err)
	}
	if err := s.Withheld(t.Context(), digest("a"), nil); quality.KindOf(err) != quality.KindForbidden {
		t.Errorf("its images' scores are told: %v", err)
	}
	_, err = s.Promote(t.Context(), "sharper", "new", "me", experiment.Force{})
	if quality.KindOf(err) != quality.KindConflict || !strings.Contains(err.Error(), "create it again") {
		t.Errorf("promotion: %v", err)
	}
}

// Raters and idempotency keys are counted within the name space of the key.
func TestNameSpaces(t *testing.T) {
	t.Parallel()
	s, _, _ := begin(t, "")
	s.ask(t.Context(), "u", "a", false, "")
	rotated, other := app, app
	rotated.KeyID = "another key of the same name"
	other.Name = "other app"
	admin := access.Principal{KeyID: "root", Scopes: []access.Scope{access.ScopeAdmin}}
	laptop := bound("r")
	laptop.Name = "her laptop"
	on := func(by access.Principal, rater, key string) (engine.Receipt, error) {
		return s.rate(t, by, rater, key, "", func(l *engine.Label) { l.Image = digest("a") })
	}
	first, err := on(app, "r", "order-1")
	must(t, err)
	if r, err := on(rotated, "r", "order-1"); err != nil || !r.Duplicate || r.Feedback.ID != first.Feedback.ID {
		t.Errorf("the key that replaces it: %+v, %v", r, err)
	}
	people := map[string]bool{first.Feedback.Rater: true}
	for name, by := range map[string]access.Principal{"another app": other, "the admin": admin, "a rater": bound("r")} {
		rater := "r"
		if by.Rater != "" {
			rater = ""
		}
		r, err := on(by, rater, "order-1")
		if err != nil || r.Duplicate || people[r.Feedback.Rater] {
			t.Errorf("%s with the same idempotency key: %+v, %v", name, r, err)
		}
		people[r.Feedback.Rater] = true
	}
	if r, err := on(laptop, "r", "order-1"); err != nil || !r.Duplicate {
		t.Errorf("another key of the same rater: %+v, %v", r, err)
	}
	if _, err := on(app, "somebody else", "order-1"); quality.KindOf(err) != quality.KindConflict {
		t.Errorf("the same key for another rater: %v", err)
	}
	// One that is too fast holds up nobody else of its name.
	for i := range 300 {
		_, _ = on(other, "r", fmt.Sprint("fast ", i)) // some are refused
	}
	if _, err := on(app, "r", "order-2"); err != nil {
		t.Errorf("a rater of the same name: %v", err)
	}
	c, err := s.Conclude(t.Context(), "sharper")
	must(t, err)
	if n := c.Decision.Counts; n.Raters != 4 || n.Labels != 4 || n.LabelledBlind != 0 {
		t.Errorf("on record: %+v", n)
	}
}

// While an experiment runs, its images' scores are withheld on every server, and
// what its arms say of them.
func TestWithheld(t *testing.T) {
	t.Parallel()
	s, store, c := begin(t, "")
	s.ask(t.Context(), "1", "open", false, "")
	s.ask(t.Context(), "2", "blind", true, "")
	second := newServer(t, store, c, sound)
	must(t, second.Refresh(t.Context()))
	s.ask(t.Context(), "3", "later", true, "")
	must(t, second.Refresh(t.Context()))
	arm, control, other := []quality.Digest{digest("other")}, []quality.Digest{digest("demo")},
		[]quality.Digest{digest("third")}
	check := func(when string, s *server, image string, checkpoints []quality.Digest, withheld bool) {
		t.Helper()
		err := s.Withheld(t.Context(), digest(image), checkpoints)
		if (err != nil) != withheld || err != nil && quality.KindOf(err) != quality.KindForbidden {
			t.Errorf("%s, %s: %v, want withheld %t", when, image, err, withheld)
		}
	}
	for name, s := range map[string]*server{"its own server": s, "another": second} {
		for _, image := range []string{"blind", "later"} {
			for _, named := range [][]quality.Digest{nil, arm, control, other} {
				check(name, s, image, named, true)
			}
		}
		check(name, s, "open", nil, false)
		check(name, s, "open", arm, true)
		check(name, s, "open", control, true)
		check(name, s, "open", append(other, arm...), true)
		check(name, s, "open", other, false)
		check(name, s, "never seen", nil, false)
		check(name, s, "never seen", arm, false)
	}
	_, err := s.Change(t.Context(), "sharper", 0, experiment.Change{Do: experiment.DoPause, By: "me"})
	must(t, err)
	check("paused", s, "blind", nil, true)
	check("paused", s, "open", arm, true)
	_, err = s.Change(t.Context(), "sharper", 0, experiment.Change{Do: experiment.DoStop, By: "me"})
	must(t, err)
	must(t, second.Refresh(t.Context()))
	for name, s := range map[string]*server{"its own server": s, "another": second} {
		check(name+", stopped", s, "blind", nil, false)
		check(name+", stopped", s, "open", arm, false)
	}
}

// An experiment that acts by itself needs somebody who may label.
func TestActingNeedsLabellers(t *testing.T) {
	t.Parallel()
	c := &clock{t: time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)}
	s := newServer(t, storetest.Open(t, c.now), c, sound)
	s.labellers.none = true
	_, err := s.Create(t.Context(), []byte(definition+"auto: act\n"), "me")
	must(t, err)
	_, err = s.Start(t.Context(), "sharper", "me")
	if quality.KindOf(err) != quality.KindConflict || !strings.Contains(err.Error(), "scope feedback") {
		t.Errorf("started without anybody who may label: %v", err)
	}
	s.labellers.none = false
	_, err = s.Start(t.Context(), "sharper", "me")
	must(t, err)
	_, err = s.Change(t.Context(), "sharper", 0, experiment.Change{Do: experiment.DoPause, By: "me"})
	must(t, err)
	s.labellers.none = true
	if _, err = s.Change(t.Context(), "sharper", 0, experiment.Change{Do: experiment.DoResume,
		By: "me"}); quality.KindOf(err) != quality.KindConflict {
		t.Errorf("resumed without anybody who may label: %v", err)
	}
}
