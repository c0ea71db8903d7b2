package load_test

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/agiqa/agiqa/benchmarks/load"
)

func ms(values ...float64) []time.Duration {
	var out []time.Duration
	for _, v := range values {
		out = append(out, time.Duration(v*1e6))
	}
	return out
}

func TestEvenSchedules(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		profile string
		want    []time.Duration
	}{
		{"4@1s", ms(0, 250, 500, 750)},
		{"2@1s,4@1s", ms(0, 500, 1000, 1250, 1500, 1750)},
		{"0@1s,2@1s", ms(1000, 1500)},
		{"0-4@2s", ms(0, 1000, math.Sqrt2*1000, math.Sqrt(3)*1000)},
		{"bursts:1,4@500ms/1s,2s", ms(0, 625, 875, 1500, 1750)},
	} {
		t.Run(c.profile, func(t *testing.T) {
			p, err := load.ParseProfile(c.profile)
			if err != nil {
				t.Fatal(err)
			}
			s, err := load.NewSchedule(p, load.Even, 1)
			if err != nil {
				t.Fatal(err)
			}
			near := cmp.Comparer(func(a, b time.Duration) bool { return (a - b).Abs() <= time.Microsecond })
			if diff := cmp.Diff(c.want, s.Due, near); diff != "" {
				t.Errorf("due (-want +got):\n%s", diff)
			}
		})
	}
}

func TestProfilesThatMakeNoSense(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "5", "5@", "-5@1s", "5@-1s", "NaN@1s", "Inf@1s", "0@1s", "1e12@1h", "a-b@1s", "1-@1s",
		"bursts:", "bursts:1,2@1s/1s,5s", "bursts:1,2@1s,5s", "bursts:1,2@1ns/2ns,100h",
	} {
		if p, err := load.ParseProfile(text); err == nil {
			t.Errorf("%q is taken, as %v", text, p)
		}
	}
}

// TestSchedulesBySeed holds what a schedule is for: it is known before the
// start, the same for the same seed, and has exactly as many requests as the
// profile, in order and within its time.
func TestSchedulesBySeed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var p load.Profile
		for range rapid.IntRange(1, 4).Draw(t, "segments") {
			rate := rapid.Float64Range(0, 500)
			p = append(p, load.Segment{
				For:  time.Duration(rapid.Int64Range(1e6, 3e9).Draw(t, "for")),
				From: rate.Draw(t, "from"), To: rate.Draw(t, "to"),
			})
		}
		if p.Count() == 0 {
			t.Skip("asks for nothing")
		}
		arrivals := rapid.SampledFrom([]load.Arrivals{load.Even, load.Poisson}).Draw(t, "arrivals")
		seed := rapid.Uint64().Draw(t, "seed")
		a, err := load.NewSchedule(p, arrivals, seed)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := load.NewSchedule(p, arrivals, seed)
		if !slices.Equal(a.Due, b.Due) {
			t.Fatal("the same seed made another schedule")
		}
		if len(a.Due) != p.Count() || !slices.IsSorted(a.Due) || a.Due[0] < 0 || a.Due[len(a.Due)-1] > p.Length() {
			t.Fatalf("%d requests from %s to %s, sorted %v; want %d within %s", len(a.Due), a.Due[0], a.Due[len(a.Due)-1],
				slices.IsSorted(a.Due), p.Count(), p.Length())
		}
		if other, _ := load.NewSchedule(p, arrivals, seed+1); arrivals == load.Poisson && slices.Equal(a.Due, other.Due) {
			t.Fatal("another seed made the same schedule")
		}
	})
}

// TestPoissonIsPoisson compares the gaps with an exponential distribution: the
// largest distance of the two distributions, by Kolmogorov, for 20,000 gaps
// and one in a thousand.
func TestPoissonIsPoisson(t *testing.T) {
	t.Parallel()
	s, err := load.NewSchedule(load.Constant(1000, 20*time.Second), load.Poisson, 3)
	if err != nil {
		t.Fatal(err)
	}
	var gaps []float64
	for i := 1; i < len(s.Due); i++ {
		gaps = append(gaps, (s.Due[i]-s.Due[i-1]).Seconds()*1000)
	}
	slices.Sort(gaps)
	distance := 0.0
	for i, g := range gaps {
		distance = max(distance, math.Abs(1-math.Exp(-g)-float64(i)/float64(len(gaps))))
	}
	if limit := 1.95 / math.Sqrt(float64(len(gaps))); distance > limit {
		t.Errorf("distance %.4f from the exponential distribution, at most %.4f is likely", distance, limit)
	}
}

func TestTrace(t *testing.T) {
	t.Parallel()
	s, err := load.ReadTrace(strings.NewReader("# seconds\n0.5\n\n250ms\n1\n"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ms(250, 500, 1000), s.Due); diff != "" || s.Length != time.Second {
		t.Errorf("length %s, due (-want +got):\n%s", s.Length, diff)
	}
	for _, text := range []string{"", "# nothing\n", "soon\n", "-1\n", "NaN\n", "1e300\n"} {
		if s, err := load.ReadTrace(strings.NewReader(text)); err == nil {
			t.Errorf("%q is taken, as %v", text, s)
		}
	}
}
