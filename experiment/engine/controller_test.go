package engine_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/storetest"
)

// last is the newest audit record.
func (s *server) last(t *testing.T) experiment.Audit {
	t.Helper()
	all, err := s.Audits(t.Context(), "sharper")
	must(t, err)
	return all[len(all)-1]
}

func get(t *testing.T, store *storetest.Store) experiment.Experiment {
	t.Helper()
	x, err := store.Get(t.Context(), "sharper")
	must(t, err)
	return x
}

// An experiment ends by itself when its time is over, and not before; from then
// on everybody gets the default, and nothing is recorded.
func TestMaxDurationEndsAnExperiment(t *testing.T) {
	t.Parallel()
	s, store, c := begin(t, "max_duration: 36h\n")
	other := newServer(t, store, c, sound)
	must(t, other.Refresh(t.Context()))
	c.pass(36 * time.Hour)
	s.ask(t.Context(), "u", "a", false, "") // so that no guardrail has a say in it
	s.Decide(t.Context())
	if x := get(t, store); x.State != experiment.Running || x.Revision != 2 {
		t.Fatalf("after 36h it is %s at revision %d", x.State, x.Revision)
	}
	c.pass(time.Second)
	s.Decide(t.Context())
	x := get(t, store)
	if x.State != experiment.Stopped || !x.Ended.Equal(c.now()) {
		t.Fatalf("after its time it is %s, ended %s", x.State, x.Ended)
	}
	if a := s.last(t); a.Action != "stop" || a.By != "server" || a.Detail != "max_duration is over" ||
		a.Numbers["exposures"] != "1" {
		t.Errorf("audit %+v", a)
	}
	if shown := s.ask(t.Context(), "u", "b", false, ""); shown != nil {
		t.Errorf("still shown: %+v", shown)
	}
	// The other server comes too late, and changes nothing.
	other.Decide(t.Context())
	s.Decide(t.Context())
	if again := get(t, store); again.Revision != x.Revision {
		t.Errorf("revision %d after %d", again.Revision, x.Revision)
	}
	must(t, other.Refresh(t.Context()))
	if shown := other.ask(t.Context(), "u", "b", false, ""); shown != nil {
		t.Errorf("still shown by the other server: %+v", shown)
	}
}

// A pause counts, and so does the time in which a server cannot serve it: nothing
// stays open because somebody forgot it.
func TestMaxDurationEndsWhatTakesNoRequests(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		still func(t *testing.T, s *server)
		state experiment.State
	}{
		{"paused", func(t *testing.T, s *server) {
			_, err := s.Change(t.Context(), "sharper", 0, experiment.Change{Do: experiment.DoPause, By: "me"})
			must(t, err)
		}, experiment.Paused},
		{"another default", func(t *testing.T, s *server) {
			must(t, s.shelf.Activate(t.Context(), "other", "me"))
			must(t, s.Refresh(t.Context()))
		}, experiment.Running},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s, store, c := begin(t, "max_duration: 36h\n")
			tc.still(t, s)
			c.pass(36 * time.Hour)
			s.Decide(t.Context())
			if x := get(t, store); x.State != tc.state {
				t.Fatalf("after 36h it is %s", x.State)
			}
			c.pass(time.Second)
			s.Decide(t.Context())
			if x := get(t, store); x.State != experiment.Stopped || !x.Ended.Equal(c.now()) {
				t.Errorf("after its time it is %s, ended %s", x.State, x.Ended)
			}
			if a := s.last(t); a.From != tc.state || a.Detail != "max_duration is over" {
				t.Errorf("audit %+v", a)
			}
		})
	}
}

const ramped = `ramp:
- {coverage: 10%, min_time: 1h, min_units: 5}
- {coverage: 40%, min_time: 2h, min_units: 3}
- {coverage: 70%, min_time: 1h, min_units: 4}
- {coverage: 100%}
`

// see asks for new units until n of them were in the experiment.
func (s *server) see(t *testing.T, from string, n int) {
	t.Helper()
	for u := range 10_000 {
		if n == 0 {
			return
		}
		if s.ask(t.Context(), fmt.Sprint(from, u), fmt.Sprint(from, u), false, "") != nil {
			n--
		}
	}
	t.Fatal("the experiment takes nobody")
}

// A step is taken when both of its conditions hold, which begin anew with every
// step; widening is no new phase.
func TestRampWidens(t *testing.T) {
	t.Parallel()
	s, store, c := begin(t, ramped)
	at := func(what string, coverage experiment.PPM, step int) {
		t.Helper()
		s.Decide(t.Context())
		if x := get(t, store); x.Coverage != coverage || x.RampStep != step || x.Phase != 1 {
			t.Errorf("%s: coverage %d, step %d, phase %d", what, x.Coverage, x.RampStep, x.Phase)
		}
	}
	at("at first", 100_000, 0)
	c.pass(3 * time.Hour)
	s.see(t, "a", 4)
	at("too few units", 100_000, 0)
	s.see(t, "a", 4) // the same ones
	at("the same units again", 100_000, 0)
	s.see(t, "a", 5)
	at("both hold", 400_000, 1)
	if a := s.last(t); a.Action != "ramp" || a.By != "server" || a.Numbers["units"] != "5" ||
		a.Numbers["since"] != "3h0m0s" {
		t.Errorf("audit %+v", a)
	}
	s.see(t, "b", 3)
	at("too early", 400_000, 1)
	c.pass(2*time.Hour - time.Second)
	at("a second too early", 400_000, 1)
	c.pass(time.Second)
	at("both hold again", 700_000, 2)
	c.pass(time.Hour)
	at("nobody new", 700_000, 2)
	s.see(t, "c", 4)
	at("the last step", experiment.Whole, 3)
	c.pass(10 * time.Hour)
	s.see(t, "d", 20)
	at("nothing is left to widen", experiment.Whole, 3)
}

// A ramp that is held stays where it is until a person resumes it.
func TestHeldRampStays(t *testing.T) {
	t.Parallel()
	s, store, c := begin(t, ramped)
	_, err := s.Change(t.Context(), "sharper", 0,
		experiment.Change{Do: experiment.DoHold, By: "server", Held: []string{"srm"}})
	must(t, err)
	c.pass(3 * time.Hour)
	s.see(t, "a", 10)
	s.Decide(t.Context())
	if x := get(t, store); x.Coverage != 100_000 || x.RampStep != 0 {
		t.Fatalf("held, and yet at %d, step %d", x.Coverage, x.RampStep)
	}
	for _, do := range []experiment.Do{experiment.DoPause, experiment.DoResume} {
		_, err := s.Change(t.Context(), "sharper", 0, experiment.Change{Do: do, By: "me"})
		must(t, err)
	}
	s.Decide(t.Context())
	if x := get(t, store); x.Coverage != 400_000 || x.RampStep != 1 {
		t.Errorf("resumed, and yet at %d, step %d", x.Coverage, x.RampStep)
	}
}

// A guardrail that is broken at the moment holds the ramp without a word in the
// experiment: here, that nobody came for a day.
func TestQuietRampStays(t *testing.T) {
	t.Parallel()
	s, store, c := begin(t, ramped)
	s.see(t, "a", 5)
	c.pass(25 * time.Hour)
	s.Watch(t.Context())
	s.Decide(t.Context())
	if x := get(t, store); x.RampStep != 0 || len(x.Held) != 0 {
		t.Errorf("step %d, held by %v", x.RampStep, x.Held)
	}
	s.see(t, "a", 1)
	s.Decide(t.Context())
	if x := get(t, store); x.RampStep != 1 {
		t.Errorf("step %d when somebody came", x.RampStep)
	}
}

// What a person widened, the ramp does not take back.
func TestRampNeverNarrows(t *testing.T) {
	t.Parallel()
	s, store, c := begin(t, ramped)
	_, err := s.Change(t.Context(), "sharper", 0, experiment.Change{Do: experiment.DoRamp, Coverage: 600_000, By: "me"})
	must(t, err)
	for step, want := range []experiment.PPM{600_000, 700_000, experiment.Whole} {
		c.pass(3 * time.Hour)
		s.see(t, fmt.Sprint(step), 10)
		s.Decide(t.Context())
		if x := get(t, store); x.Coverage != want || x.RampStep != step+1 || x.Phase != 1 {
			t.Errorf("coverage %d, step %d, phase %d", x.Coverage, x.RampStep, x.Phase)
		}
	}
}

// Units that see nothing but rankings are units of a step too.
func TestRankingsWidenARamp(t *testing.T) {
	t.Parallel()
	s, store, c := start(t, interleaved+ramped)
	c.pass(time.Hour)
	seen := 0
	for u := 0; seen < 5; u++ {
		s.Decide(t.Context())
		if x := get(t, store); x.RampStep != 0 {
			t.Fatalf("widened after %d units", seen)
		}
		s.rank(t.Context(), fmt.Sprint(u), pictures(u, 3))
		if s.rank(t.Context(), fmt.Sprint(u), pictures(u, 2)) != nil {
			seen++
		}
	}
	s.Decide(t.Context())
	if x := get(t, store); x.RampStep != 1 {
		t.Errorf("step %d after %d units", x.RampStep, seen)
	}
}
