package simulate_test

import (
	"cmp"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/evaluation"
	"github.com/agiqa/agiqa/experiment/stats"
	"github.com/agiqa/agiqa/experiment/stats/simulate"
)

const alpha = 0.05

func population() simulate.Population { return simulate.Synthetic(2982, 1) }

// atMost wants a share no larger than a level, up to three standard errors.
func atMost(t *testing.T, name string, got simulate.Share, level float64, runs int) {
	t.Helper()
	t.Logf("%s: %.4f", name, got.Value)
	if limit := level + 3*math.Sqrt(level*(1-level)/float64(runs)); got.Value > limit {
		t.Errorf("%s: %v of the runs, want at most %v", name, got.Value, limit)
	}
}

func within(t *testing.T, name string, got, low, high float64) {
	t.Helper()
	t.Logf("%s: %.4f", name, got)
	if !(got >= low && got <= high) {
		t.Errorf("%s: got %v, want %v to %v", name, got, low, high)
	}
}

// The synthetic population has the mean 2.50, the deviation 1.00 and the mean rater
// deviation 0.60 of AGIQA-3K; straight lines between its quantiles add a little.
func TestSyntheticIsLikeAGIQA3K(t *testing.T) {
	var mos, sd stats.Moments
	for _, image := range simulate.Synthetic(20_000, 3) {
		_, _ = mos.Add(image.MOS), sd.Add(image.SD)
	}
	within(t, "mean opinion", mos.Mean(), 2.47, 2.53)
	within(t, "deviation of opinions", mos.SD(), 0.98, 1.04)
	within(t, "mean deviation of raters", sd.Mean(), 0.59, 0.61)
}

func TestReadAGIQA3K(t *testing.T) {
	got, err := simulate.ReadAGIQA3K(strings.NewReader("name,mos_quality,style,std_quality\na.jpg,2.5,x,0.5\nb.jpg,0,y,1\n"))
	if err != nil {
		t.Fatal(err)
	}
	if want := (simulate.Population{{MOS: 2.5, SD: 0.5}, {MOS: 0, SD: 1}}); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for name, file := range map[string]string{
		"empty": "", "no rows": "mos_quality,std_quality\n", "no column": "mos,std_quality\n1,1\n",
		"no number": "mos_quality,std_quality\nx,1\n", "off the scale": "mos_quality,std_quality\n6,1\n",
		"ragged": "mos_quality,std_quality\n1\n", "NaN": "mos_quality,std_quality\nNaN,1\n",
	} {
		if _, err := simulate.ReadAGIQA3K(strings.NewReader(file)); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}

// The real file, where AGIQA_AGIQA3K names it, has the summary that the synthetic
// population is drawn from.
func TestRealAGIQA3K(t *testing.T) {
	path := os.Getenv("AGIQA_AGIQA3K")
	if path == "" {
		t.Skip("AGIQA_AGIQA3K names no file: the dataset is not part of the repository")
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	p, err := simulate.ReadAGIQA3K(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(p) != 2982 {
		t.Errorf("got %d images, want 2,982", len(p))
	}
	var mos, sd stats.Moments
	for _, image := range p {
		_, _ = mos.Add(image.MOS), sd.Add(image.SD)
	}
	within(t, "mean opinion", mos.Mean(), 2.495, 2.505)
	within(t, "mean deviation of raters", sd.Mean(), 0.595, 0.605)
}

// Arms called different have SRCC 0.79 and 0.81, and 0.96 between them.
func TestArmsAreWhatTheySay(t *testing.T) {
	p := population()
	random := rand.New(rand.NewPCG(1, 2))
	var first, second, mos []float64
	for _, image := range p {
		one, other := simulate.Different().Scores(image, random)
		first, second, mos = append(first, one), append(second, other), append(mos, image.MOS)
	}
	within(t, "first", evaluation.SRCC(first, mos), 0.77, 0.82)
	within(t, "second less first", evaluation.SRCC(second, mos)-evaluation.SRCC(first, mos), 0.005, 0.03)
	within(t, "between", evaluation.PLCC(first, second), 0.945, 0.97)
}

// An A/A test that is looked at every 50 of 1,000 labels: the z-test is fooled far
// more often than it says, the confidence sequence is not.
func TestPeeking(t *testing.T) {
	t.Parallel()
	plan := simulate.Plan{Runs: 2000, Labels: 1000, Every: 50, Seed: 11, Workers: 2}
	got := simulate.FalsePositives(population(), plan, stats.DefaultSequenceOptions())
	atMost(t, "z-test, read once", got.Fixed, alpha, plan.Runs)
	atMost(t, "confidence sequence", got.Sequence, alpha, plan.Runs)
	within(t, "z-test, read at every look", got.Peeked.Value, 0.15, 0.4)
}

func TestPeekingAtPreferences(t *testing.T) {
	t.Parallel()
	plan := simulate.Plan{Runs: 2000, Labels: 600, Seed: 12, Workers: 2}
	got := simulate.Concordant(population(), plan, simulate.Same(), alpha)
	atMost(t, "e-process, read after every pair", got.Found, alpha, plan.Runs)
	within(t, "discordant pairs", got.Discordant, 0.1, 0.2)
}

func TestSampleRatio(t *testing.T) {
	t.Parallel()
	const level = 1e-3
	plan := simulate.Plan{Runs: 2000, Labels: 1000, Seed: 13, Workers: 2}
	even := simulate.SampleRatio(plan, 0.5, level)
	atMost(t, "50/50, once", even.Once, level, plan.Runs)
	atMost(t, "50/50, after every unit", even.Always, level, plan.Runs)

	plan.Runs, plan.Labels = 40, 30_000
	off := simulate.SampleRatio(plan, 0.52, level)
	within(t, "52/48, once", off.Once.Value, 0.95, 1)
	within(t, "52/48, after every unit", off.Always.Value, 0.9, 1)
}

// Pairing makes the standard deviation of a difference of SRCC four times smaller.
// The figures for AGIQA-3K are 0.0108 and 0.0472 with 300 images; 400 runs know
// them to 4 %.
func TestPairedBeatsSplit(t *testing.T) {
	t.Parallel()
	plan := simulate.Plan{Runs: 400, Labels: 300, Seed: 14, Workers: 2}
	got := simulate.SpreadOfSRCC(population(), plan, simulate.Different(), false)
	within(t, "paired", got.Paired, 0.0108*0.85, 0.0108*1.15)
	within(t, "split", got.Split, 0.0472*0.85, 0.0472*1.15)
	within(t, "gap", got.Gap, 0.014, 0.020)
}

// The paired sequence finds the better arm after a median of 850 single labels, nine
// times in ten within 1,750 (AGIQA-3K); it is never worse than alpha.
func TestStoppingTimes(t *testing.T) {
	t.Parallel()
	plan := simulate.Plan{Runs: 300, Labels: 4000, Every: 50, Seed: 15, Workers: 2}
	options := stats.DefaultSequenceOptions()
	got := simulate.StoppingTimes(population(), plan, simulate.Different(), options)
	within(t, "median", got.Median, 700, 1050)
	within(t, "nine in ten", got.P90, 1400, 2200)
	within(t, "found", got.Found.Value, 0.98, 1)
	atMost(t, "wrong", got.Wrong, alpha/2, plan.Runs)
}

// Labels that go half of the way to the shown score of the worse arm make it win.
// Blind ones do not.
func TestOnlyBlindLabelsMayPromote(t *testing.T) {
	t.Parallel()
	plan := simulate.Plan{Runs: 100, Labels: 2000, Seed: 16, Workers: 2}
	options := stats.DefaultSequenceOptions()
	blind := simulate.AnchoredTests(population(), plan, 0, options)
	shown := simulate.AnchoredTests(population(), plan, 0.5, options)
	within(t, "blind: better arm found", blind.Superior.Value, 0.9, 1)
	atMost(t, "blind: worse arm promoted", blind.Inferior, alpha/2, plan.Runs)
	within(t, "shown: worse arm promoted", shown.Inferior.Value, 0.5, 1)
}

func TestWorkersChangeNothing(t *testing.T) {
	p := population()
	for _, workers := range []int{2, 5} {
		one := simulate.Plan{Runs: 20, Labels: 300, Every: 50, Seed: 1, Workers: 1}
		many := one
		many.Workers = workers
		a := simulate.SpreadOfSRCC(p, one, simulate.Different(), true)
		if b := simulate.SpreadOfSRCC(p, many, simulate.Different(), true); a != b {
			t.Errorf("%d workers: got %v, want %v", workers, b, a)
		}
	}
}

// A panel with two people who answer at random: screening rejects these and no one
// else.
func TestScreeningFindsTheCareless(t *testing.T) {
	p := simulate.Synthetic(300, 2)
	o := simulate.DefaultPanelOptions()
	o.PerImage, o.Careless = 20, 2
	ratings, err := p.Panel(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range stats.ScreenRaters(ratings) {
		if r.Rejected != (r.Rater < 2) {
			t.Errorf("got %+v", r)
		}
	}
}

func TestPanel(t *testing.T) {
	p := simulate.Synthetic(50, 2)
	o := simulate.DefaultPanelOptions()
	o.Leniency = 0.3
	ratings, err := p.Panel(o)
	if err != nil {
		t.Fatal(err)
	}
	if len(ratings) != 50*o.PerImage {
		t.Fatalf("got %d ratings, want %d", len(ratings), 50*o.PerImage)
	}
	seen := make(map[[2]int]bool)
	for _, r := range ratings {
		if r.Value < simulate.Lowest || r.Value > simulate.Highest || math.Mod(r.Value, o.Step) != 0 {
			t.Errorf("got the label %v", r.Value)
		}
		if seen[[2]int{r.Image, r.Rater}] {
			t.Errorf("rater %d sees image %d twice", r.Rater, r.Image)
		}
		seen[[2]int{r.Image, r.Rater}] = true
	}
	again, _ := p.Panel(o)
	if slices.CompareFunc(ratings, again, func(a, b stats.Rating) int { return cmp.Compare(a.Value, b.Value) }) != 0 {
		t.Error("the same seed gives other labels")
	}
	for name, change := range map[string]func(o *simulate.PanelOptions){
		"no rater":      func(o *simulate.PanelOptions) { o.Raters = 0 },
		"too many":      func(o *simulate.PanelOptions) { o.PerImage = 21 },
		"careless":      func(o *simulate.PanelOptions) { o.Careless = 21 },
		"leniency":      func(o *simulate.PanelOptions) { o.Leniency = math.NaN() },
		"negative step": func(o *simulate.PanelOptions) { o.Step = -1 },
	} {
		o := simulate.DefaultPanelOptions()
		change(&o)
		if _, err := p.Panel(o); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}
