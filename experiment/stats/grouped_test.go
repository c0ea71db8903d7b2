package stats_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/agiqa/agiqa/experiment/stats"
)

func about(t *testing.T, what string, got, want, within float64) {
	t.Helper()
	if !(math.Abs(got-want) <= within) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// Groups of one are ordinary values; two groups are worked out by hand.
func TestGroups(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	var alone stats.Groups
	var moments stats.Moments
	for i := range 200 {
		v := 3 + random.NormFloat64()
		alone.Add(i, v, 1)
		_ = moments.Add(v)
	}
	about(t, "mean", alone.Mean(), moments.Mean(), 1e-12)
	about(t, "standard error", alone.SE(), moments.SD()/math.Sqrt(200), 1e-12)
	about(t, "effective groups", alone.Effective(), 200, 1e-9)

	// Means 1 and 4 of weights 2 and 1: together 2, sums around it -2 and 2, so that the
	// variance is 2 (4 + 4) / 9.
	var two stats.Groups
	for _, v := range []struct {
		group int
		value float64
	}{{0, 0}, {1, 4}, {0, 2}} {
		two.Add(v.group, v.value, 1)
	}
	about(t, "mean", two.Mean(), 2, 1e-12)
	about(t, "standard error", two.SE(), 4.0/3, 1e-12)
	about(t, "effective groups", two.Effective(), 9.0/5, 1e-12)
	var one stats.Groups
	one.Add(3, 1, 1)
	if !math.IsInf(one.SE(), 1) {
		t.Errorf("one group has a standard error of %v", one.SE())
	}
}

// Student's quantiles of scipy.stats.t.isf(scipy.stats.norm.sf(m), df).
func TestStudentReach(t *testing.T) {
	t.Parallel()
	about(t, "2 degrees", stats.StudentReach(1.959963984540054, 2), 4.302652729749464, 1e-9)
	about(t, "19 degrees", stats.StudentReach(1.959963984540054, 19), 2.093024054408263, 1e-9)
	about(t, "many", stats.StudentReach(2.5, 1e6), 2.5, 0)
	if !math.IsInf(stats.StudentReach(2, 0), 1) {
		t.Error("no degree of freedom tells something")
	}
	about(t, "a quarter of alpha", stats.OnceAt(0.05), 2.4977054744123723, 1e-9)
}

// Neighbours that are alike make the mean less certain, by what their blocks show.
func TestBlockSE(t *testing.T) {
	t.Parallel()
	prefix := []float64{0}
	for _, v := range []float64{1, 1, 3, 3, 1, 1, 3, 3} {
		prefix = append(prefix, prefix[len(prefix)-1]+v)
	}
	about(t, "four blocks", stats.BlockSE(prefix, 4), math.Sqrt(4.0/3)/2, 1e-12)
	if !math.IsInf(stats.BlockSE(prefix[:3], 4), 1) {
		t.Error("two values fill four blocks")
	}
}

// A betting interval misses the mean of a rare large loss in at most alpha of the runs
// at each end, at every sample size at once, where a normal one misses most of them.
func TestBettingInterval(t *testing.T) {
	t.Parallel()
	const runs, alpha, reach = 400, 0.05, 5.0
	missed, fooled := 0, 0
	for run := range uint64(runs) {
		random := rand.New(rand.NewPCG(run, 7))
		var values []float64
		var m stats.Moments
		bet, normal := false, false
		for n := range 600 {
			v := 5.0 / 199 // the mean of all is 0
			if random.Float64() < 1.0/200 {
				v = -5
			}
			v += 0.01 * random.NormFloat64()
			values = append(values, min(max(v, -reach), reach))
			_ = m.Add(v)
			if n < 99 || n%25 != 0 {
				continue
			}
			normal = normal || math.Abs(m.Mean()) > 3*m.SD()/math.Sqrt(float64(m.N()))
			bet = bet || !stats.BettingInterval(values, reach, alpha).Contains(0)
		}
		if bet {
			missed++
		}
		if normal {
			fooled++
		}
	}
	if limit := runs * (2*alpha + 3*math.Sqrt(2*alpha/runs)); float64(missed) > limit || fooled < runs/4 {
		t.Errorf("missed in %d runs, a normal interval in %d, of %d", missed, fooled, runs)
	}
	if i := stats.BettingInterval(nil, reach, alpha); !math.IsInf(i.Low, -1) {
		t.Errorf("nothing is known, but %v", i)
	}
	// Known means are found: all values are 1.
	ones := make([]float64, 500)
	for i := range ones {
		ones[i] = 1
	}
	if i := stats.BettingInterval(ones, 1.5, alpha); !(i.Low > 0.95 && i.Low <= 1 && i.High >= 1 && i.High < 1.05) {
		t.Errorf("500 times 1: %v", i)
	}
}

// What is alike widens the interval by which it is alike, and no other.
func TestGroupedSequence(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	options := stats.DefaultSequenceOptions()
	options.First = 300
	s := stats.NewGroupedSequence(options, true)
	var raters [5]float64
	for i := range raters {
		raters[i] = random.NormFloat64()
	}
	for i := range 400 {
		rater := i % 5
		v := raters[rater] + 0.1*random.NormFloat64()
		if err := s.Add(stats.Observation{Value: v, Prompt: i / 2,
			Parts: []stats.Part{{Rater: rater, Value: v}}}); err != nil {
			t.Fatal(err)
		}
		if b := s.Bounds(); b.Ready != (i >= 99) || math.IsInf(b.Running.Low, -1) != (i < 299) {
			t.Fatalf("after %d: %+v", i+1, b)
		}
	}
	width := map[string]float64{}
	for _, i := range s.Intervals() {
		width[i.By] = i.High - i.Low
	}
	if len(width) != 4 || !(width[stats.ByRater] > 5*width[stats.ByPrompt]) {
		t.Errorf("widths %v", width)
	}
	if b := s.Bounds(); b.Current.High-b.Current.Low < width[stats.ByRater] {
		t.Errorf("the widest is not the interval: %+v", b)
	}
}

// TestImagesAlikeByScoringTime: styles that lasted for a while when images were scored widen
// the interval by scoring alone, in whichever order labels come, and as much as in order.
func TestImagesAlikeByScoringTime(t *testing.T) {
	t.Parallel()
	const images, labelled, burst = 3200, 800, 200
	random := rand.New(rand.NewPCG(5, 6))
	values := make([]float64, images)
	style := 0.0
	for i := range values {
		if i%burst == 0 {
			style = 0.5 * random.NormFloat64()
		}
		values[i] = style + random.NormFloat64()
	}
	drawn := random.Perm(images)[:labelled]
	widths := func(order []int, scored func(i int) int64) map[string]float64 {
		s := stats.NewGroupedSequence(stats.DefaultSequenceOptions(), false)
		for _, i := range order {
			if err := s.Add(stats.Observation{Value: values[i], Prompt: -1, Scored: scored(i)}); err != nil {
				t.Fatal(err)
			}
		}
		width := map[string]float64{}
		for _, i := range s.Intervals() {
			width[i.By] = i.High - i.Low
		}
		return width
	}
	known := func(i int) int64 { return 1 + int64(i)/3 } // some were scored at one moment
	got := widths(drawn, known)
	if len(got) != 3 || !(got[stats.ByScored] > 1.5*got[stats.ByTime]) {
		t.Errorf("widths %v", got)
	}
	inOrder := widths(slices.Sorted(slices.Values(drawn)), known)
	about(t, "labels in the order of scoring", inOrder[stats.ByScored], got[stats.ByScored], 0.05*got[stats.ByScored])
	if unknown := widths(drawn, func(int) int64 { return 0 }); len(unknown) != 2 ||
		unknown[stats.ByTime] != got[stats.ByTime] {
		t.Errorf("widths %v where nobody knows when images were scored", unknown)
	}
}
