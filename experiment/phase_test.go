package experiment_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

// TestPhasesAreRemembered: whatever is done to the split, each past phase can be had as
// it was at its end, and which buckets moved or stayed is what looking at them in every
// phase says.
func TestPhasesAreRemembered(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		x, err := experiment.Parse([]byte("id: x\narms: [{checkpoint: a}, {checkpoint: b}, {checkpoint: c}, {checkpoint: " +
			"d}]\n"))
		if err != nil {
			t.Fatal(err)
		}
		x.State = experiment.Running
		ends := map[int]experiment.Experiment{} // by phase
		now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
		for range 12 {
			c := experiment.Change{Do: experiment.DoRamp, Coverage: experiment.PPM(random.IntN(1_000_001))}
			switch random.IntN(3) {
			case 0:
				c = experiment.Change{Do: experiment.DoWeigh, Weights: map[experiment.ArmID]experiment.PPM{}}
				left := experiment.Whole
				for i, a := range x.Arms {
					w := experiment.PPM(random.IntN(int(left) + 1))
					if a.Out {
						w = 0
					}
					if i == 0 {
						continue // the control has what is left
					}
					c.Weights[a.ID], left = w, left-w
				}
				c.Weights[x.Arms[0].ID] = left
			case 1:
				c = experiment.Change{Do: experiment.DoGuard, Out: []experiment.ArmID{x.Arms[1+random.IntN(3)].ID}}
			}
			now = now.Add(time.Hour)
			before := x
			next, _, err := experiment.Apply(x, c, now)
			if quality.KindOf(err) == quality.KindConflict {
				continue // the arm is out already
			} else if err != nil {
				t.Fatal(err)
			}
			if x = next; x.Phase != before.Phase {
				ends[before.Phase] = before
				if p := x.Past[len(x.Past)-1]; x.Phase != before.Phase+1 || p.Phase != before.Phase || !p.Ended.Equal(now) {
					t.Fatalf("seed %d: phase %d after %d, %+v", seed, x.Phase, before.Phase, p)
				}
			}
		}
		ends[x.Phase] = x
		for phase, want := range ends {
			got, err := x.AtPhase(phase)
			if err != nil || got.Phase != phase || !reflect.DeepEqual(got.Arms, want.Arms) || got.Coverage != want.Coverage ||
				!reflect.DeepEqual(got.Slots, want.Slots) || len(got.Past) != phase-1 {
				t.Errorf("seed %d, phase %d: %+v, want %+v (%v)", seed, phase, got, want, err)
			}
		}
		for range 300 {
			bucket := experiment.PPM(random.IntN(int(experiment.Whole)))
			arm, covered := x.ArmAt(bucket)
			if !covered {
				continue
			}
			moved, stayed := false, true
			for _, then := range ends {
				had, was := then.ArmAt(bucket)
				moved, stayed = moved || was && had != arm, stayed && was && had == arm
			}
			if x.Moved(bucket, arm) != moved || x.Stayed(bucket, arm) != stayed {
				t.Fatalf("seed %d, bucket %d: moved %t, stayed %t, want %t and %t", seed, bucket, x.Moved(bucket, arm),
					x.Stayed(bucket, arm), moved, stayed)
			}
		}
	}
}

func TestPhasesEnd(t *testing.T) {
	t.Parallel()
	x, err := experiment.Parse([]byte("id: x\narms: [{checkpoint: a}, {checkpoint: b}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	x.State = experiment.Running
	weigh := func() error {
		w := experiment.PPM(100_000 + 10*x.Phase)
		next, _, err := experiment.Apply(x, experiment.Change{Do: experiment.DoWeigh,
			Weights: map[experiment.ArmID]experiment.PPM{"a": w, "b": experiment.Whole - w}}, time.Now())
		if err == nil {
			x = next
		}
		return err
	}
	for err = weigh(); err == nil && x.Phase < 1000; err = weigh() {
	}
	if quality.KindOf(err) != quality.KindConflict || x.Phase != 50 {
		t.Errorf("phase %d: %v", x.Phase, err)
	}
	_, _, err = experiment.Apply(x, experiment.Change{Do: experiment.DoRamp, Coverage: 1}, time.Now())
	if quality.KindOf(err) != quality.KindConflict {
		t.Errorf("a smaller coverage: %v", err)
	}
	if next, _, err := experiment.Apply(x, experiment.Change{Do: experiment.DoGuard, Out: []experiment.ArmID{"b"}},
		time.Now()); err != nil || next.Phase != 51 {
		t.Errorf("a guardrail: phase %d, %v", next.Phase, err)
	}
	former := x
	former.Past = nil
	for name, c := range map[string]struct {
		of    experiment.Experiment
		phase int
	}{"none": {x, 51}, "negative": {x, -1}, "of a former version": {former, 3}} {
		if _, err := c.of.AtPhase(c.phase); quality.KindOf(err) != quality.KindNotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := x.AtPhase(0); err != nil || got.Phase != x.Phase {
		t.Error(fmt.Sprint("the present one: ", got.Phase, err))
	}
	if former.Stayed(1, "a") {
		t.Error("a unit stayed in phases that nothing is known of")
	}
}
