package analysis

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/agiqa/agiqa/evaluation"
	"github.com/agiqa/agiqa/experiment/stats"
)

// calibrationFolds of 256 are what mappings are fitted on; figures of mapped scores
// are of the other folds.
const calibrationFolds = 77

// panel are the ratings of a view, the control's scores first. Arms that were taken
// out are not in it.
func (v view) panel(s *State) stats.Panel {
	number := make(map[string]int, len(v.raters))
	for i, r := range v.raters {
		number[r] = i
	}
	arms := append([]int{s.control}, s.treatments()...)
	p := stats.Panel{Scores: make([][]float64, len(arms))}
	for i, image := range v.images {
		for k, arm := range arms {
			p.Scores[k] = append(p.Scores[k], image.scores[arm])
		}
		for _, r := range image.ratings {
			p.Ratings = append(p.Ratings, stats.Rating{Image: i, Rater: number[r.rater], Value: r.value})
		}
	}
	return p
}

// split parts a view into the images that mappings are fitted on and the others.
func (v view) split() (calibration, test view) {
	calibration, test = v, v
	calibration.images, test.images = nil, nil
	for _, i := range v.images {
		if i.prompt[15] < calibrationFolds {
			calibration.images = append(calibration.images, i)
		} else {
			test.images = append(test.images, i)
		}
	}
	return calibration, test
}

// column is an arm's scores, and the labels.
func (v view) column(arm int) (scores, labels []float64) {
	for _, i := range v.images {
		scores, labels = append(scores, i.scores[arm]), append(labels, i.label)
	}
	return scores, labels
}

// mostAgreements is how many are kept.
const mostAgreements = 8

// Agreements keeps those of the last reports, which take long, by all that they were
// made from. The zero value is ready, and safe for concurrent use.
type Agreements struct {
	mu   sync.Mutex
	kept []madeFrom // the latest last
}

type madeFrom struct {
	from  [sha256.Size]byte
	value Agreement
}

func (k *Agreements) find(from [sha256.Size]byte) (Agreement, bool) {
	if k == nil {
		return Agreement{}, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, a := range k.kept {
		if a.from == from {
			return a.value, true
		}
	}
	return Agreement{}, false
}

func (k *Agreements) keep(from [sha256.Size]byte, value Agreement) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept = append(k.kept[max(0, len(k.kept)-mostAgreements+1):], madeFrom{from, value})
}

// agreementOf is agreement, or what it was when the same labels, scores and options
// were seen before.
func (s *State) agreementOf(ctx context.Context, v view, b stats.Bootstrap, known *Agreements) (Agreement, error) {
	from, err := s.fingerprint(v, b)
	if err != nil {
		return Agreement{}, err
	}
	if value, ok := known.find(from); ok {
		return value, nil
	}
	value, err := s.agreement(ctx, v, b)
	if err == nil {
		known.keep(from, value)
	}
	return value, err
}

// fingerprint is a digest of all that an agreement is made from. New exposures of
// images that nobody labelled change nothing of it.
func (s *State) fingerprint(v view, b stats.Bootstrap) ([sha256.Size]byte, error) {
	b.Workers = 1 // they change the time only
	h := sha256.New()
	text := json.NewEncoder(h)
	err := text.Encode([]any{b, s.alpha(), v.basis, s.e.Arms, s.control, v.labels, v.raters})
	for _, i := range v.images {
		if err != nil {
			break
		}
		row := make([]uint64, 0, len(i.scores)+2*len(i.ratings)+2)
		row = append(row, uint64(len(i.ratings)), math.Float64bits(i.label), uint64(i.prompt[15]))
		for _, score := range i.scores {
			row = append(row, math.Float64bits(score))
		}
		for _, r := range i.ratings {
			row = append(row, math.Float64bits(r.value))
			_, _ = io.WriteString(h, r.rater)
		}
		_, _ = h.Write(i.image[:])
		err = binary.Write(h, binary.LittleEndian, row)
	}
	var sum [sha256.Size]byte
	return [sha256.Size]byte(h.Sum(sum[:0])), err
}

// agreement compares all arms with the labels. The error is that ctx has ended.
func (s *State) agreement(ctx context.Context, v view, b stats.Bootstrap) (Agreement, error) {
	b.Confidence = 1 - s.alpha()
	arms := append([]int{s.control}, s.treatments()...)
	calibration, test := v.split()
	a := Agreement{Basis: v.basis, Images: len(v.images), Labels: v.labels, Raters: len(v.raters),
		Calibration: len(calibration.images)}
	for _, arm := range arms {
		if ctx.Err() != nil {
			return Agreement{}, context.Cause(ctx)
		}
		of := ArmAgreement{Arm: s.e.Arms[arm].ID}
		if scores, labels := calibration.column(arm); len(scores) > 0 {
			of.Logistic4, of.Logistic5 = fitted(scores, labels)
		}
		of.Krasula = krasula(v, arm, s.alpha())
		if arm != s.control {
			of.Tests = correlationTests(v, arm, s.control)
		}
		a.Arms = append(a.Arms, of)
	}
	a.figures(ctx, v.panel(s), Raw, b, stats.Metrics())
	for _, m := range []Mapping{Logistic4, Logistic5} {
		if panel, ok := a.mapped(test.panel(s), m); ok {
			a.figures(ctx, panel, m, b, []stats.Metric{stats.PLCC, stats.RMSE})
		} else if len(v.images) > 0 {
			a.note("%s: a mapping could not be fitted for every arm", m)
		}
	}
	if ctx.Err() != nil {
		return Agreement{}, context.Cause(ctx)
	}
	a.adjust()
	return a, nil
}

func (a *Agreement) note(format string, args ...any) {
	a.Notes = append(a.Notes, fmt.Sprintf(format, args...))
}

func fitted(scores, labels []float64) (four, five []float64) {
	if len(scores) < 20 {
		return nil, nil // five coefficients of fewer images are noise
	}
	return evaluation.FitLogistic(scores, labels)
}

// mapped puts every arm's scores through its own mapping.
func (a *Agreement) mapped(p stats.Panel, m Mapping) (stats.Panel, bool) {
	out := stats.Panel{Ratings: p.Ratings}
	for k, arm := range a.Arms {
		by := evaluation.Logistic(arm.Logistic4)
		if m == Logistic5 {
			by = arm.Logistic5
		}
		if by == nil {
			return p, false
		}
		scores := make([]float64, len(p.Scores[k]))
		for i, v := range p.Scores[k] {
			scores[i] = by.At(v)
		}
		out.Scores = append(out.Scores, scores)
	}
	return out, true
}

// figures adds a panel's figures and differences to the arms.
func (a *Agreement) figures(ctx context.Context, p stats.Panel, m Mapping, b stats.Bootstrap, metrics []stats.Metric) {
	byImage, err := b.Agreement(ctx, p, metrics)
	if err != nil {
		a.note("%s: %s", m, err)
		return
	}
	b.ByRater = true
	byRater, errRater := b.Agreement(ctx, p, metrics)
	if errRater != nil {
		a.note("%s, raters drawn too: %s", m, errRater)
	}
	for k := range a.Arms {
		for _, f := range byImage.Arms[k].Figures {
			a.Arms[k].Figures = append(a.Arms[k].Figures, Figure{f.Metric, m, Number(f.Value), Number(f.Low), Number(f.High)})
		}
		for i, f := range byImage.Arms[k].AgainstControl {
			effect := f.Effect()
			d := Difference{
				Metric: f.Metric, Mapping: m, Effect: Number(f.Value), Low: Number(effect.Low), High: Number(effect.High),
				LowRater: unknown(), HighRater: unknown(), P: Number(f.P), PHolm: unknown(),
			}
			if f.Metric.LowerIsBetter() {
				d.Effect = -d.Effect
			}
			if errRater == nil {
				effect := byRater.Arms[k].AgainstControl[i].Effect()
				d.LowRater, d.HighRater = Number(effect.Low), Number(effect.High)
			}
			a.Arms[k].Differences = append(a.Arms[k].Differences, d)
		}
	}
}

// adjust corrects the p-values of all arms and metrics for their number.
func (a *Agreement) adjust() {
	var ps []float64
	for _, arm := range a.Arms {
		for _, d := range arm.Differences {
			ps = append(ps, float64(d.P))
		}
	}
	adjusted := stats.Holm(ps)
	for k := range a.Arms {
		for i := range a.Arms[k].Differences {
			a.Arms[k].Differences[i].PHolm, adjusted = Number(adjusted[0]), adjusted[1:]
		}
	}
}

// correlationTests compare an arm's correlation with the labels to the control's.
func correlationTests(v view, arm, control int) []CorrelationTest {
	first, labels := v.column(arm)
	second, _ := v.column(control)
	var all []CorrelationTest
	for _, of := range []struct {
		metric stats.Metric
		figure func(x, y []float64) float64
	}{{stats.PLCC, evaluation.PLCC}, {stats.SRCC, evaluation.SRCC}} {
		overlap, err := stats.OverlapOf(first, second, labels, of.figure)
		if err != nil {
			continue
		}
		for _, by := range []struct {
			name string
			test func(stats.Overlap) (stats.Test, error)
		}{{"williams", stats.Williams}, {"meng", stats.Meng}, {"steiger", stats.Steiger}} {
			if t, err := by.test(overlap); err == nil {
				all = append(all, CorrelationTest{of.metric, by.name, Number(t.Statistic), Number(t.DF), Number(t.P)})
			}
		}
	}
	return all
}

// krasula needs the spread of an image's ratings; images with one rater are left
// out.
func krasula(v view, arm int, alpha float64) *Krasula {
	var scores []float64
	var opinions []stats.Opinion
	for _, i := range v.images {
		var m stats.Moments
		for _, r := range i.ratings {
			if err := m.Add(r.value); err != nil {
				return nil
			}
		}
		if m.N() >= 2 && m.SD() > 0 {
			scores = append(scores, i.scores[arm])
			opinions = append(opinions, stats.Opinion{Mean: m.Mean(), SD: m.SD(), Raters: m.N()})
		}
	}
	k, err := stats.Krasula(scores, opinions, alpha)
	if err != nil {
		return nil
	}
	return &Krasula{Number(k.DifferentSimilar), Number(k.BetterWorse), Number(k.Correct), k.Different, k.Similar}
}
