package simulate

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/agiqa/agiqa/experiment/stats"
)

// Process makes the labels of an experiment that are not alike and independent, as
// those of real people never are.
type Process struct {
	Name string
	// Make draws an experiment of at least n labels.
	Make func(random *rand.Rand, n int) []Labelled
	// Better says that the second arm is better; without it they are equal, though not
	// on every image and not for every rater.
	Better bool
	// Serial says that what comes next may be unlike everything so far.
	Serial bool
	Pool   int // images that those with labels are drawn from at random; 0: they come in order
}

// Labelled is one label, with the scores of both arms.
type Labelled struct {
	First, Second, Label float64
	Image, Prompt, Rater int // from 0, images as they were scored; the labels of one follow one another
}

// normal is a deviation of a standard deviation.
func normal(random *rand.Rand, sd float64) float64 { return sd * random.NormFloat64() }

// picture draws a mean opinion, the deviation of single ones, and the error that both
// arms make.
func picture(random *rand.Rand) (mean, sd, shared float64) {
	return clip(2.6 + normal(random, 1)), 0.3 + 0.6*random.Float64(), normal(random, 0.66)
}

const panelSize = 20 // raters, where the process is not about them

// Independent labels: what every method here is made for. Own is the deviation of the
// second arm's error; the first's is 0.3.
func Independent(own float64) Process {
	return Process{Name: "independent images", Better: own < 0.3, Make: func(random *rand.Rand, n int) []Labelled {
		labels := make([]Labelled, n)
		for i := range labels {
			mean, sd, shared := picture(random)
			labels[i] = Labelled{
				First: clip(mean + shared + normal(random, 0.3)), Second: clip(mean + shared + normal(random, own)),
				Label: clip(math.Round(2*(mean+normal(random, sd))) / 2), Image: i, Prompt: i, Rater: random.IntN(panelSize),
			}
		}
		return labels
	}}
}

// Outliers: the second arm is a little better but off by 2.5 on a share of the images,
// so that the expected losses are equal. Labels are means of a large panel, nearly
// without noise, which lets the small gain be seen long before the large loss.
func Outliers(share float64) Process {
	const off, own = 2.5, 0.1
	first := math.Sqrt(own*own + share*off*off)
	return Process{Make: func(random *rand.Rand, n int) []Labelled {
		labels := make([]Labelled, n)
		for i := range labels {
			mean, _, _ := picture(random)
			shared := normal(random, 0.1)
			second := mean + shared + normal(random, own)
			if random.Float64() < share {
				second += off * float64(2*random.IntN(2)-1)
			}
			labels[i] = Labelled{
				First: mean + shared + normal(random, first), Second: second, Label: mean + normal(random, 0.15),
				Image: i, Prompt: i, Rater: random.IntN(panelSize),
			}
		}
		return labels
	}}
}

// Biased raters: each is milder or stricter than the others by a deviation of 0.3, the
// first arm scores 0.1 too high and the second 0.1 too low.
func Biased(raters, perImage int) Process {
	return Process{Make: func(random *rand.Rand, n int) []Labelled {
		bias := make([]float64, raters)
		for i := range bias {
			bias[i] = normal(random, 0.3)
		}
		var labels []Labelled
		for image := 0; len(labels) < n; image++ {
			mean, sd, shared := picture(random)
			first, second := mean+shared+0.1+normal(random, 0.1), mean+shared-0.1+normal(random, 0.1)
			for _, rater := range random.Perm(raters)[:perImage] {
				labels = append(labels, Labelled{first, second, mean + bias[rater] + normal(random, sd), image, image, rater})
			}
		}
		return labels
	}}
}

// Bursts: 200 images of one style after the other, each easier for one arm.
func Bursts(harder float64) Process {
	const length, easy = 200, 0.15
	return Process{Serial: true, Make: func(random *rand.Rand, n int) []Labelled {
		labels := make([]Labelled, n)
		first, second := 0.0, 0.0
		for i := range labels {
			if i%length == 0 {
				if first, second = easy, easy+harder; random.IntN(2) == 0 {
					first, second = second, first
				}
			}
			mean, sd, shared := picture(random)
			labels[i] = Labelled{
				First: mean + shared + normal(random, first), Second: mean + shared + normal(random, second),
				Label: mean + normal(random, sd), Image: i, Prompt: i, Rater: random.IntN(panelSize),
			}
		}
		return labels
	}}
}

// Pooled are images of a process that are drawn at random from a pool, as labelling
// tasks are, instead of in the order in which they came.
func Pooled(p Process, pool int) Process {
	p.Pool = pool
	inOrder := p.Make
	p.Make = func(random *rand.Rand, n int) []Labelled {
		all := inOrder(random, pool)
		drawn := all[:0:0]
		for _, i := range random.Perm(len(all))[:min(n, len(all))] {
			drawn = append(drawn, all[i])
		}
		return drawn
	}
	return p
}

// Prompts: 25 images of each of 80 prompts, on which an arm errs by much the same.
// Unless shuffled, the images of a prompt follow one another.
func Prompts(shuffled bool) Process {
	const prompts, each, alike = 80, 25, 0.4
	return Process{Make: func(random *rand.Rand, n int) []Labelled {
		n = min(n, prompts*each)
		var first, second [prompts]float64
		for i := range first {
			first[i], second[i] = normal(random, alike), normal(random, alike)
		}
		order := random.Perm(prompts * each)
		labels := make([]Labelled, n)
		for i := range labels {
			prompt := i / each
			if shuffled {
				prompt = order[i] / each
			}
			mean, sd, shared := picture(random)
			labels[i] = Labelled{
				First:  mean + shared + first[prompt] + normal(random, 0.1),
				Second: mean + shared + second[prompt] + normal(random, 0.1),
				Label:  mean + normal(random, sd), Image: i, Prompt: prompt, Rater: random.IntN(panelSize),
			}
		}
		return labels
	}}
}

// Processes are those of the table in docs/statistics.md.
func Processes() []Process {
	named := func(name string, p Process) Process {
		p.Name = name
		return p
	}
	return []Process{
		named("independent images", Independent(0.3)),
		named("off by 2.5 on 0.3 % of images", Outliers(0.003)),
		named("off by 2.5 on 1 %", Outliers(0.01)),
		named("off by 2.5 on 2 %", Outliers(0.02)),
		named("off by 2.5 on 5 %", Outliers(0.05)),
		named("3 biased raters", Biased(3, 1)),
		named("5 biased raters", Biased(5, 1)),
		named("20 biased raters", Biased(20, 1)),
		named("20 biased raters, 5 an image", Biased(20, 5)),
		named("bursts of 200, styles 0.15 apart", Bursts(0.15)),
		named("such bursts, drawn at random from 3,000 images", Pooled(Bursts(0.15), 3000)),
		named("such bursts, drawn at random from 20,000 images", Pooled(Bursts(0.15), 20_000)),
		named("images of a prompt alike, shuffled", Prompts(true)),
		named("images of a prompt alike, in a row", Prompts(false)),
		named("second arm better", Independent(0.165)),
		named("second arm better, drawn at random from 3,000 images", Pooled(Independent(0.165), 3000)),
	}
}

// Rule is what is concluded from labels by a rule that is looked at all the time.
type Rule struct {
	Decided  Share   // for either arm, at any look
	Promoted Share   // the second arm was found better
	Median   float64 // labels until then
}

// Looks are taken from 300 labels on, as an experiment's min_labels has it.
const firstLook = 300

// Compare makes experiments and decides them by the sequence of independent images
// and by the rule that an experiment follows. What was sent is what was labelled: the
// rule knows of no other images.
func Compare(p Process, plan Plan, options stats.SequenceOptions) (plain, grouped Rule) {
	type outcome struct{ decided, promoted bool }
	type both struct {
		rules [2]outcome
		after [2]float64
	}
	options.First = 0
	groupedOptions := options
	groupedOptions.First = firstLook
	results := each(plan, func(random *rand.Rand) both {
		r := both{after: [2]float64{math.Inf(1), math.Inf(1)}}
		note := func(rule int, d stats.Decision, n int) {
			r.rules[rule].decided = r.rules[rule].decided || d == stats.Superior || d == stats.Inferior
			if d == stats.Superior && !r.rules[rule].promoted {
				r.rules[rule].promoted, r.after[rule] = true, float64(n)
			}
		}
		former, now := stats.NewSequence(options), stats.NewGroupedSequence(groupedOptions, true)
		labels := p.Make(random, plan.Labels)
		reach := stats.LeastReach(Lowest, Highest)
		for first, images := 0, 0; first < len(labels); {
			x := stats.Observation{Prompt: labels[first].Prompt, Scored: int64(labels[first].Image) + 1}
			last := first
			for ; last < len(labels) && labels[last].Image == labels[first].Image; last++ {
				l := labels[last]
				x.Parts = append(x.Parts, stats.Part{Rater: l.Rater, Value: stats.Gain(l.First, l.Second, l.Label)})
				reach = max(reach, stats.GainReach(l.First, l.Second, Lowest, Highest))
			}
			for _, part := range x.Parts {
				x.Value += part.Value / float64(len(x.Parts))
			}
			first = last
			_, _ = former.Add(x.Value), now.Add(x)
			if images++; images < firstLook || images%plan.Every != 0 {
				continue
			}
			note(0, stats.Decide(former.Bounds().Running, 0), images)
			note(1, decide(now, reach), images)
		}
		return r
	})
	for i, rule := range []*Rule{&plain, &grouped} {
		times := make([]float64, len(results))
		for k, r := range results {
			times[k] = r.after[i]
		}
		slices.Sort(times)
		rule.Decided = share(results, func(b both) bool { return b.rules[i].decided })
		rule.Promoted = share(results, func(b both) bool { return b.rules[i].promoted })
		rule.Median = at(times, 0.5)
	}
	return plain, grouped
}

// decide is the rule of an experiment: all intervals of this moment and all that were
// seen before agree.
func decide(g *stats.GroupedSequence, reach float64) stats.Decision {
	b := g.Bounds()
	if !b.Ready || b.Contradicted {
		return stats.Continue
	}
	agreed := b.Current.Hull(b.Running)
	if agreed.Contains(0) {
		return stats.Continue
	}
	return stats.Decide(agreed.Hull(g.Tails(reach).Interval), 0)
}

// RareThumbs is how often equal arms are told apart by what users do, when 98 % of
// their thumbs point up and the treatment has a fifth of the units: without and with a
// smallest number of events. Labels of the plan counts units.
func RareThumbs(plan Plan, options stats.SequenceOptions, events int) (plain, held Share) {
	const up, treated = 0.98, 0.2
	type outcome struct{ plain, held bool }
	withEvents := options
	withEvents.Events, withEvents.First = events, firstLook
	results := each(plan, func(random *rand.Rand) (o outcome) {
		a, b := stats.NewTwoSampleSequence(options), stats.NewTwoSampleSequence(withEvents)
		for n := 1; n <= plan.Labels; n++ {
			treatment, value := random.Float64() < treated, 0.0
			if random.Float64() < up {
				value = 1
			}
			_, _ = a.Add(treatment, value), b.Add(treatment, value)
			if n < firstLook || n%plan.Every != 0 {
				continue
			}
			o.plain = o.plain || !a.Bounds().Running.Contains(0)
			bounds := b.Bounds()
			o.held = o.held || !bounds.Contradicted && !bounds.Current.Hull(bounds.Running).Contains(0)
		}
		return o
	})
	return share(results, func(o outcome) bool { return o.plain }), share(results, func(o outcome) bool { return o.held })
}

// Votes is how often arms that predict no preference better than one another are told
// apart by pairs that many raters judge and agree on: votes taken as independent, and
// pairs.
func Votes(plan Plan, raters int, alpha float64) (byVote, byPair Share) {
	type outcome struct{ vote, pair bool }
	results := each(plan, func(random *rand.Rand) (o outcome) {
		var votes, pairs stats.Preferences
		for range plan.Labels {
			treatment := random.IntN(2) == 0
			pairs.Add(treatment)
			for range raters {
				votes.Add(treatment)
			}
		}
		return outcome{votes.P() < alpha, pairs.P() < alpha}
	})
	return share(results, func(o outcome) bool { return o.vote }), share(results, func(o outcome) bool { return o.pair })
}
