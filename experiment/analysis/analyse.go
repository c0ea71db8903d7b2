package analysis

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/stats"
	"github.com/agiqa/agiqa/quality"
)

// Options of a report.
type Options struct {
	// Bootstrap makes the intervals of agreement. Workers change the time only.
	Bootstrap stats.Bootstrap
	// MostScores is how many scores, images times arms, all samples are drawn for. Of
	// more images and arms fewer are drawn, so that a report takes seconds and not
	// minutes; it says how many. 0: there is no bound.
	MostScores int
	Checks     Checks
	// Agreements keeps what takes long for the next report; nil: nothing is kept.
	Agreements *Agreements
}

// DefaultOptions are at most 10,000 samples, 95 %, seed 1, as many workers as
// processors.
func DefaultOptions() Options {
	o := Options{Bootstrap: stats.DefaultBootstrap(), MostScores: 20_000}
	o.Bootstrap.Workers = runtime.GOMAXPROCS(0)
	return o
}

// mostPoints bounds each curve of a picture.
const mostPoints = 200

const (
	fewestDrawn = 1000 // samples, of however many scores
	mostLeftOut = 1000 // images that the jackknife leaves out one by one
	groupsLeft  = 200  // groups that it leaves out of more
)

// fitted returns a bootstrap for so many scores.
func (o Options) fitted(images, arms int) stats.Bootstrap {
	b := o.Bootstrap
	if o.MostScores == 0 {
		return b
	}
	if scores := images * arms; scores > o.MostScores {
		b.Resamples = max(min(fewestDrawn, b.Resamples), b.Resamples*o.MostScores/scores)
	}
	if images > mostLeftOut {
		b.Groups = groupsLeft
	}
	return b
}

// Analyse concludes everything that can be concluded. It holds the state's lock
// only while it collects, not while it computes: records may be read meanwhile.
// now is the time of the report and of the rule of promotion. The error is one of
// the options, or that ctx has ended.
//
// What takes long is computed once for the same labels, scores and options.
func Analyse(ctx context.Context, s *State, now time.Time, o Options) (Report, error) {
	if err := o.Bootstrap.Validate(); err != nil {
		return Report{}, quality.Errorf(quality.KindBadRequest, "%s", err)
	}
	live := s
	live.mu.Lock()
	r, l := s.collect(now, o)
	// What follows is about labels that were copied, and about the experiment as it is
	// now.
	s = &State{e: s.e, control: s.control, arms: s.arms}
	live.mu.Unlock()
	v := l.blind
	if !s.e.BlindOnly {
		v = l.all
	}
	b := o.fitted(len(v.images), len(s.e.Arms))
	r.Settings.Resamples, r.Settings.Groups = b.Resamples, b.Groups
	var err error
	if r.Agreement, err = s.agreementOf(ctx, v, b, o.Agreements); err != nil {
		return Report{}, err
	}
	r.Preference = s.preferences(v, float64(r.Settings.Confidence))
	r.Slices = s.slices(v)
	r.Worst = worst(v, s.e)
	r.Pictures.ofLabels(v, s, r.Agreement)
	return r, nil
}

// collect does what needs the lock: everything that is not only about labels.
func (s *State) collect(now time.Time, o Options) (Report, views) {
	d, l := s.decideWith(mostPoints)
	confidence := 1 - s.alpha()
	o.Bootstrap.Confidence = confidence
	r := Report{
		Format: Format, Generated: now, Log: s.log, Experiment: s.e, Notes: s.notes(), Decision: d,
		Settings: Settings{
			Resamples: o.Bootstrap.Resamples, Seed: o.Bootstrap.Seed, Confidence: Number(confidence), Limits: s.limits,
			Sampling: Sampling{
				Exposures: Number(s.seen.share()), Units: Number(s.units.share()),
				Images: Number(s.images.share()), Labels: Number(s.labels.share()),
			},
		},
		Promotions: Promote(s.e, d, now, o.Checks),
		Guards:     o.Checks.Guards,
		Users:      s.userOutcomes(l.outcomes, s.ofOneArm(s.units.rows), confidence),
		Pooled:     s.pooled(confidence),
		Interleave: s.interleaving(),
	}
	for _, c := range d.Comparisons {
		r.Power = append(r.Power, powerOf(c, s.e, s.alpha()))
	}
	images := s.ordered()
	r.Arms = s.armReports(images)
	r.Quality = s.quality(l, d, images)
	r.Pictures.ofExposures(s, images, d)
	return r, l
}

// notes say in words what records of former versions do not tell.
func (s *State) notes() []string {
	var notes []string
	if phases := s.e.Unrecorded(); len(phases) > 0 {
		which, them := "Phase "+strconv.Itoa(phases[0]), "it"
		if len(phases) > 1 {
			var all []string
			for _, phase := range phases {
				all = append(all, strconv.Itoa(phase))
			}
			which, them = "Phases "+strings.Join(all, ", "), "them"
		}
		notes = append(notes, fmt.Sprintf("%s ended under a version of the server that kept no record of how units were "+
			"split: there is no report of %s, none of what users did in all phases together, and units that had another arm "+
			"in %[2]s count as not moved. Labels of images are complete.", which, them))
	}
	if s.e.Phase > 1 && s.unplaced > 0 {
		notes = append(notes, fmt.Sprintf("%d exposures of this phase were recorded by a version that kept no bucket: their "+
			"units count as not moved.", s.unplaced))
	}
	return notes
}

// pooled are the outcomes of all phases together, nil in the first one and where a split
// is not known.
func (s *State) pooled(confidence float64) *UserOutcomes {
	if s.e.Phase == 1 || len(s.e.Unrecorded()) > 0 {
		return nil
	}
	units, _, _ := s.outcomesOf(s.stayed.rows, 1)
	pooled := s.userOutcomes(units, s.ofOneArm(s.stayed.rows), confidence)
	return &pooled
}

func (s *State) alpha() float64 {
	if s.e.Alpha > 0 && s.e.Alpha < 1 {
		return s.e.Alpha
	}
	return stats.DefaultSequenceOptions().Alpha
}

// ordered are all images by their first exposure.
func (s *State) ordered() []*image {
	return slices.SortedFunc(maps.Values(s.images.rows), func(a, b *image) int {
		return cmp.Or(a.first.compare(b.first), bytes.Compare(a.digest[:], b.digest[:]))
	})
}

func powerOf(c Comparison, e experiment.Experiment, alpha float64) Power {
	p := Power{Arm: c.Arm, MDE: unknown(), ToGo: c.LabelsToGo, ToGoOneLook: unknown()}
	if mde, err := stats.MDE(float64(c.SD), c.Observations, alpha, power); err == nil {
		p.MDE = Number(mde)
	}
	if left, err := stats.LabelsToGo(e.MDE, float64(c.SD), c.Observations, alpha, power); err == nil {
		p.ToGoOneLook = Number(left)
	}
	return p
}

// armReports counts for every arm.
func (s *State) armReports(images []*image) []Arm {
	units := make([]int, len(s.e.Arms))
	for _, u := range s.units.rows {
		units[u.arm]++
	}
	scores := s.scoresByArm(images)
	var arms []Arm
	for i, a := range s.e.Arms {
		c := s.perArm[i]
		arm := Arm{
			Arm: a.ID, Role: a.Role, Mode: a.Mode, Out: a.Out, Exposures: c.exposures, OK: c.ok,
			Cached: c.cached, Units: units[i],
			Statuses: maps.Clone(c.statuses), Scores: c.scores, Faults: maps.Clone(c.faults),
			HeadP50: unknown(), HeadP99: unknown(), TotalP50: unknown(), TotalP99: unknown(),
			Drift: s.drift(scores[i], scores[s.control], i == s.control),
		}
		if c.head.TotalCount() > 0 {
			arm.HeadP50, arm.HeadP99 = millis(c.head.ValueAtQuantile(50)), millis(c.head.ValueAtQuantile(99))
			arm.TotalP50, arm.TotalP99 = millis(c.whole.ValueAtQuantile(50)), millis(c.whole.ValueAtQuantile(99))
		}
		arms = append(arms, arm)
	}
	return arms
}

func millis(micros int64) Number { return Number(float64(micros) / 1000) }

// scoresByArm lists the arms' scores of all images, NaN where there is none.
func (s *State) scoresByArm(images []*image) [][]float64 {
	scores := make([][]float64, len(s.e.Arms))
	for i := range scores {
		scores[i] = make([]float64, len(images))
		for k, image := range images {
			if scores[i][k] = math.NaN(); image.scores[i].any {
				scores[i][k] = float64(image.scores[i].score)
			}
		}
	}
	return scores
}

// referenceImages is how many of the first images later ones are held against.
const referenceImages = 1000

// drift compares scores, in the order of first exposure. With fewer than two
// references the first half serves.
func (s *State) drift(scores, control []float64, isControl bool) Drift {
	d := Drift{
		Mean: unknown(), SD: unknown(), PSI: unknown(), KS: unknown(), KSP: unknown(), PSIControl: unknown(),
		MeanOverControl: unknown(), SDOverControl: unknown(), AtEnds: unknown(),
	}
	var have, both, other, paired []float64
	for i, v := range scores {
		if math.IsNaN(v) {
			continue
		}
		have = append(have, v)
		if !math.IsNaN(control[i]) {
			both, other, paired = append(both, v), append(other, control[i]), append(paired, v-control[i])
		}
	}
	d.Images = len(have)
	if m, err := stats.MomentsOf(have); err == nil && m.N() > 1 {
		d.Mean, d.SD = Number(m.Mean()), Number(m.SD())
		low, high, ends := slices.Min(have), slices.Max(have), 0
		for _, v := range have {
			if v == low || v == high {
				ends++
			}
		}
		d.AtEnds = Number(float64(ends) / float64(len(have)))
	}
	d.Reference = min(referenceImages, len(have)/2)
	reference, later := have[:d.Reference], have[d.Reference:]
	if psi, err := stats.PSI(reference, later); err == nil {
		d.PSI = Number(psi)
	}
	if ks, err := stats.KolmogorovSmirnov(reference, later); err == nil {
		d.KS, d.KSP = Number(ks.Statistic), Number(ks.P)
	}
	if isControl {
		return d
	}
	if psi, err := stats.PSI(other, both); err == nil {
		d.PSIControl = Number(psi)
	}
	shift, err := stats.MomentsOf(paired)
	a, errA := stats.MomentsOf(both)
	b, errB := stats.MomentsOf(other)
	if err == nil && errA == nil && errB == nil && shift.N() > 1 && b.SD() > 0 {
		d.MeanOverControl, d.SDOverControl = Number(shift.Mean()), Number(a.SD()/b.SD())
	}
	return d
}

// interleaving credits the arms that placed the images that were chosen.
func (s *State) interleaving() Interleaving {
	credits, orphans := s.credits()
	r := Interleaving{Choices: len(credits), Orphans: orphans}
	if len(credits) == 0 {
		return r
	}
	counts := make([]int, len(s.e.Arms))
	for _, arm := range credits {
		counts[arm]++
	}
	for i, a := range s.e.Arms {
		c := CreditArm{Arm: a.ID, Credits: counts[i], P: unknown(), AnytimeP: unknown()}
		if i != s.control {
			if p, err := stats.McNemar(counts[s.control], counts[i]); err == nil {
				c.P = Number(p)
			}
			var process stats.Preferences
			for _, arm := range credits {
				if arm == i || arm == s.control {
					process.Add(arm == i)
				}
			}
			c.AnytimeP = Number(process.P())
		}
		r.Arms = append(r.Arms, c)
	}
	return r
}

// worstShown is how many disagreements are listed.
const worstShown = 10

// worst are the images that an arm judged farthest from their label.
func worst(v view, e experiment.Experiment) []Disagreement {
	all := make([]Disagreement, 0, len(v.images))
	for _, i := range v.images {
		d := Disagreement{Image: i.image.String(), Trace: i.trace, Label: Number(i.label), Raters: len(i.ratings), Error: 0}
		for arm, score := range i.scores {
			d.Scores = append(d.Scores, Number(score))
			if err := score - i.label; math.Abs(err) > math.Abs(float64(d.Error)) {
				d.Error, d.Arm = Number(err), e.Arms[arm].ID
			}
		}
		all = append(all, d)
	}
	slices.SortStableFunc(all, func(a, b Disagreement) int {
		return cmp.Or(-cmp.Compare(math.Abs(float64(a.Error)), math.Abs(float64(b.Error))), cmp.Compare(a.Image, b.Image))
	})
	return all[:min(worstShown, len(all))]
}
