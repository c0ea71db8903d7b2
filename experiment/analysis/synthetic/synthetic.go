// Package synthetic makes the records of an experiment that never was, from a
// seed: for tests of what is concluded from records, and for the example report.
//
// Pictures have a true quality. Arms judge it with an error that they share, for
// they see one embedding, and one of their own. Raters judge it with a bias, an
// error and, if they see a score, a pull towards that score.
package synthetic

import (
	"context"
	"encoding/hex"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

// Arm is how an arm of the experiment judges.
type Arm struct {
	ID    experiment.ArmID
	Mode  experiment.Mode
	Noise float64 // standard deviation of its own error
	Shift float64 // added to every score
	Fails float64 // share of scores that it fails to give
}

// Options of a log. The scale is 1 to 5.
type Options struct {
	Seed           uint64
	Arms           []Arm // the first is the control
	Images         int   // exposures: each of an image of its own
	Labelled       int   // images with labels, the first ones
	RatersPerImage int   // of Raters
	Raters         int
	SharedNoise    float64 // standard deviation of the error that all arms make
	RaterNoise     float64
	Anchor         float64   // pull of a score that is seen: 0 none, 1 all the way
	Blind          bool      // raters see no score, and say so
	Thumbs         float64   // share of exposures with a thumb
	Pairs          int       // preferences between neighbouring images
	Rankings       int       // interleaved rankings of three images with a choice
	Weights        []float64 // of the arms in fact, if not those ordered
	ImagesPerUnit  int
}

// DefaultOptions are two arms, the better one the treatment, and 1,000 images of
// which 600 have three labels each, of eight raters.
func DefaultOptions() Options {
	return Options{
		Seed: 1, Images: 1000, Labelled: 600, RatersPerImage: 3, Raters: 8,
		Arms: []Arm{{ID: "control", Mode: experiment.Live, Noise: 0.40},
			{ID: "treatment", Mode: experiment.Live, Noise: 0.15}},
		SharedNoise: 0.40, RaterNoise: 0.60, Blind: true, Thumbs: 0.3, Pairs: 200, ImagesPerUnit: 3,
	}
}

// start is when the experiment began.
var start = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

// Log is an experiment with its records, in the order in which they came.
type Log struct {
	Experiment experiment.Experiment
	Exposures  []experiment.Exposure
	Feedback   []experiment.Feedback
	End        time.Time // after the last record
}

// New makes the log.
func New(o Options) Log {
	g := &generator{o: o, random: rand.New(rand.NewPCG(o.Seed, 0x5eed)), at: start}
	g.experiment()
	biases := make([]float64, o.Raters)
	for i := range biases {
		biases[i] = 0.25 * g.random.NormFloat64()
	}
	for i := range o.Images {
		x := g.expose(i)
		if i < o.Labelled {
			for k := range o.RatersPerImage {
				rater := (i + k) % o.Raters
				g.label(x, g.truth[i], rater, biases[rater])
			}
		}
		if g.random.Float64() < o.Thumbs {
			g.thumb(x, g.truth[i])
		}
		if i > 0 && i <= o.Pairs {
			g.prefer(i, i-1)
		}
	}
	for i := range o.Rankings {
		g.ranking(i)
	}
	g.log.End = g.at.Add(time.Hour)
	return g.log
}

// Store gives the log to readers; it has no other method that may be called.
func (l Log) Store() experiment.Store { return store{log: l} }

type store struct {
	experiment.Store // nil
	log              Log
}

// Exposures implements experiment.Store.
func (s store) Exposures(_ context.Context, _ experiment.ID,
	after int64) iter.Seq2[experiment.Sequenced[experiment.Exposure], error] {
	return from(s.log.Exposures, after)
}

// Feedback implements experiment.Store.
func (s store) Feedback(_ context.Context, _ experiment.ID,
	after int64) iter.Seq2[experiment.Sequenced[experiment.Feedback], error] {
	return from(s.log.Feedback, after)
}

func from[T any](records []T, after int64) iter.Seq2[experiment.Sequenced[T], error] {
	return func(yield func(experiment.Sequenced[T], error) bool) {
		for i, r := range records {
			if seq := int64(i + 1); seq > after && !yield(experiment.Sequenced[T]{Seq: seq, Record: r}, nil) {
				return
			}
		}
	}
}

type generator struct {
	o      Options
	random *rand.Rand
	at     time.Time
	log    Log
	truth  []float64
	ids    int
}

func (g *generator) experiment() {
	g.log.Experiment = experiment.Experiment{
		ID: "synthetic", Name: "Sharper prompts against the present ones", Owner: "quality team",
		Hypothesis: "Prompts learned on more styles agree better with people.",
		Created:    start.Add(-time.Hour), State: experiment.Running, Phase: 1, Revision: 2, Started: start,
		Primary: experiment.PrimaryLoss, MDE: 0.05, Alpha: 0.05, Horizon: 1000,
		Encoder: quality.DigestOf([]byte("encoder")), Preprocess: "clip-224",
		Unit: experiment.UnitHeader, Header: "X-User-ID", Coverage: experiment.Whole,
		Salt: strings.Repeat("5a", 16), HashVersion: 1,
		BlindOnly: true, LabelsAnswerTasks: true, MinLabels: 300, MinRaters: 3, MinDuration: time.Hour,
		MaxDuration: 30 * 24 * time.Hour,
		Auto:        experiment.AutoRecommend,
	}
	e := &g.log.Experiment
	live := 0
	for _, a := range g.o.Arms {
		if a.Mode != experiment.Shadow {
			live++
		}
	}
	for i, a := range g.o.Arms {
		arm := experiment.Arm{
			ID: a.ID, Checkpoint: "prompts-" + string(a.ID), Digest: quality.DigestOf([]byte(a.ID)),
			Role: experiment.Treatment, Mode: a.Mode,
		}
		if i == 0 {
			arm.Role = experiment.Control
		}
		if a.Mode != experiment.Shadow {
			arm.Weight = experiment.Whole / experiment.PPM(live)
		}
		e.Arms = append(e.Arms, arm)
	}
}

// tick moves time on and returns it.
func (g *generator) tick(most time.Duration) time.Time {
	g.at = g.at.Add(time.Duration(g.random.Int64N(int64(most))) + 1)
	return g.at
}

// id is a name in the form of a UUID whose order is that of its making.
func (g *generator) id() string {
	g.ids++
	return fmt.Sprintf("%08x-0000-7000-8000-%012x", g.at.Unix(), g.ids)
}

func (g *generator) hash(name string, i int) string {
	d := quality.DigestOf(fmt.Appendf(nil, "%s %d", name, i))
	return hex.EncodeToString(d[:16])
}

// arm draws who is shown to a unit.
func (g *generator) arm() experiment.ArmID {
	weights := g.o.Weights
	if weights == nil {
		for _, a := range g.log.Experiment.Arms {
			weights = append(weights, float64(a.Weight)/float64(experiment.Whole))
		}
	}
	u := g.random.Float64()
	for i, w := range weights {
		if u < w {
			return g.o.Arms[i].ID
		}
		u -= w
	}
	return g.o.Arms[0].ID
}

// on keeps a value on the scale.
func on(v float64) float64 { return min(5, max(1, v)) }

func (g *generator) expose(i int) experiment.Exposure {
	truth := on(3 + 0.9*g.random.NormFloat64())
	g.truth = append(g.truth, truth)
	per := max(1, g.o.ImagesPerUnit)
	shown := g.arm()
	if i%per > 0 {
		shown = g.log.Exposures[i-1].Shown
	}
	x := experiment.Exposure{
		Time: g.tick(20 * time.Second), Experiment: "synthetic", Phase: 1,
		ID: g.id(), Assignment: g.hash("assignment", i), Unit: g.hash("unit", i/per), UnitKind: experiment.UnitHeader,
		Shown: shown, Image: quality.DigestOf(fmt.Appendf(nil, "image %d of %d", i, g.o.Seed)),
		Encoder: g.log.Experiment.Encoder, Preprocess: g.log.Experiment.Preprocess,
		Cached: g.random.Float64() < 0.2, HeadMS: 0.6 + 0.3*g.random.ExpFloat64(), TotalMS: 14 + 4*g.random.ExpFloat64(),
		Trace: g.hash("trace", i), Blind: g.o.Blind, Status: "ok",
		Slices: map[string]string{"style": []string{"photo", "anime", "sketch", "3d"}[i%4],
			"model": []string{"diffusion-a", "diffusion-b"}[i%2]},
	}
	shared := g.o.SharedNoise * g.random.NormFloat64()
	for _, a := range g.o.Arms {
		score := experiment.ArmScore{Arm: a.ID, Score: float32(on(truth + shared + a.Shift + a.Noise*g.random.NormFloat64()))}
		if g.random.Float64() < a.Fails {
			score.Score, score.Fault = 0, "nan"
		}
		x.Scores = append(x.Scores, score)
	}
	g.log.Exposures = append(g.log.Exposures, x)
	return x
}

// seen is the score that was shown.
func seen(x experiment.Exposure) float64 {
	for _, s := range x.Scores {
		if s.Arm == x.Shown {
			return float64(s.Score)
		}
	}
	return math.NaN()
}

func (g *generator) feedback(x experiment.Exposure, kind experiment.FeedbackKind, rater string) experiment.Feedback {
	f := experiment.Feedback{
		Time: g.tick(10 * time.Second), Experiment: "synthetic", Phase: 1, ID: g.id(),
		Assignment: x.Assignment, Image: x.Image,
		Rater: rater, Kind: kind, Blind: g.o.Blind, LatencyMS: 900 + 2000*g.random.ExpFloat64(),
		State: experiment.Accepted,
	}
	f.Given, f.Key = f.Time, "key "+f.ID
	if f.Blind {
		f.Task = "task " + f.ID
	}
	f.Body = quality.DigestOf([]byte(f.Key))
	return f
}

func (g *generator) label(x experiment.Exposure, truth float64, rater int, bias float64) {
	f := g.feedback(x, experiment.MOS, g.hash("rater", rater))
	opinion := truth + bias + g.o.RaterNoise*g.random.NormFloat64()
	if !g.o.Blind {
		opinion += g.o.Anchor * (seen(x) - opinion)
	}
	f.Value = on(math.Round(opinion*4) / 4) // a scale in quarters
	g.log.Feedback = append(g.log.Feedback, f)
}

func (g *generator) thumb(x experiment.Exposure, truth float64) {
	f := g.feedback(x, experiment.Thumb, x.Unit)
	f.Blind, f.Task = false, ""
	// Users are content when the score says what they see.
	content := 0.85 - 0.25*math.Abs(seen(x)-truth)
	if g.random.Float64() < content {
		f.Value = 1
	}
	g.log.Feedback = append(g.log.Feedback, f)
}

func (g *generator) prefer(i, j int) {
	f := g.feedback(g.log.Exposures[i], experiment.Pair, g.hash("rater", i%max(1, g.o.Raters)))
	f.Assignment, f.Image = "", quality.Digest{}
	f.ImageA, f.ImageB = g.log.Exposures[i].Image, g.log.Exposures[j].Image
	switch d := g.truth[i] - g.truth[j] + g.o.RaterNoise*g.random.NormFloat64(); {
	case math.Abs(d) < 0.1:
		f.Winner = "tie"
	case d > 0:
		f.Winner = "a"
	default:
		f.Winner = "b"
	}
	g.log.Feedback = append(g.log.Feedback, f)
}

// ranking exposes three images, each placed by an arm, and one is chosen: the best
// in truth, more often when it was placed first.
func (g *generator) ranking(i int) {
	if len(g.o.Arms) < 2 {
		return
	}
	unit, begin := g.hash("ranking", i), len(g.log.Exposures)
	best, chosen := math.Inf(-1), begin
	for rank := 1; rank <= 3; rank++ {
		g.expose(begin + rank - 1)
		at := &g.log.Exposures[len(g.log.Exposures)-1]
		at.Unit, at.Rank, at.Shown = unit, rank, g.o.Arms[(i+rank)%2].ID
		noise := g.o.Arms[(i+rank)%2].Noise
		if worth := g.truth[len(g.truth)-1] + (0.5-noise)*3 + 0.5*g.random.NormFloat64(); worth > best {
			best, chosen = worth, len(g.log.Exposures)-1
		}
	}
	g.log.Feedback = append(g.log.Feedback, g.feedback(g.log.Exposures[chosen], experiment.Choice, unit))
}
