package analysis

import (
	"math"
	"slices"
	"time"

	"github.com/agiqa/agiqa/evaluation"
	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/stats"
)

// Pictures are the numbers that a report draws. Each list is bounded.
type Pictures struct {
	Trajectories []Trajectory `json:"trajectories"`
	Scatter      []Scatter    `json:"scatter"`     // score against label, by arm
	Differences  []Histogram  `json:"differences"` // of squared errors, control less treatment, by treatment
	Densities    []Histogram  `json:"densities"`   // of scores, by arm, over the same bins
	SRM          []SRMPoint   `json:"srm"`
	Exposures    Timeline     `json:"exposures"`
}

// Trajectory is the way of a confidence sequence.
type Trajectory struct {
	Arm    experiment.ArmID `json:"arm"`
	Unit   string           `json:"unit"`
	Stop   int              `json:"stopped_at"` // observations after which the running interval left 0 out, as far as drawn; 0: not yet
	Points []TrackPoint     `json:"points"`
}

// TrackPoint is one point of it.
type TrackPoint struct {
	N           int    `json:"n"`
	Mean        Number `json:"mean"`
	Low         Number `json:"low"`
	High        Number `json:"high"`
	RunningLow  Number `json:"running_low"`
	RunningHigh Number `json:"running_high"`
}

// Scatter is an arm's scores against labels, at most 400 images.
type Scatter struct {
	Arm    experiment.ArmID `json:"arm"`
	Scores []Number         `json:"scores"`
	Labels []Number         `json:"labels"`
	Curve  []XY             `json:"curve,omitempty"` // the mapping with four coefficients
}

// XY is a point.
type XY struct {
	X Number `json:"x"`
	Y Number `json:"y"`
}

// Histogram counts values in bins of one width.
type Histogram struct {
	Arm    experiment.ArmID `json:"arm"`
	From   Number           `json:"from"`
	Width  Number           `json:"width"`
	Counts []int            `json:"counts"`
	Mean   Number           `json:"mean"`
}

// SRMPoint is the split after a number of units.
type SRMPoint struct {
	Units    int      `json:"units"`
	Shares   []Number `json:"shares"` // of the tested arms, in their order
	AnytimeP Number   `json:"p_anytime"`
}

// Timeline counts exposures by time and arm.
type Timeline struct {
	Start  time.Time `json:"start,omitzero"`
	Hours  int       `json:"hours"`  // of one column
	Counts [][]int   `json:"counts"` // by arm, then column
}

const (
	mostScatter = 400
	bins        = 40
	mostColumns = 96
	curvePoints = 60
)

// ofExposures fills what needs no labels. The caller holds the lock.
func (p *Pictures) ofExposures(s *State, images []*image, d Decision) {
	for _, c := range d.Comparisons {
		t := Trajectory{Arm: c.Arm, Unit: c.Unit, Points: c.track}
		for _, at := range c.track {
			if t.Stop == 0 && (at.RunningLow > 0 || at.RunningHigh < 0) {
				t.Stop = at.N
			}
		}
		p.Trajectories = append(p.Trajectories, t)
	}
	p.Densities = s.densities(images)
	p.SRM = s.srmTrend(d.SRM)
	p.Exposures = s.timeline()
}

// ofLabels fills what is about labels.
func (p *Pictures) ofLabels(v view, s *State, a Agreement) {
	every := max(1, (len(v.images)+mostScatter-1)/mostScatter)
	for k, arm := range append([]int{s.control}, s.treatments()...) {
		c := Scatter{Arm: s.e.Arms[arm].ID}
		low, high := math.Inf(1), math.Inf(-1)
		for i, image := range v.images {
			low, high = min(low, image.scores[arm]), max(high, image.scores[arm])
			if i%every == 0 {
				c.Scores, c.Labels = append(c.Scores, Number(image.scores[arm])), append(c.Labels, Number(image.label))
			}
		}
		if by := evaluation.Logistic(a.Arms[k].Logistic4); by != nil && high > low {
			for i := range curvePoints {
				x := low + (high-low)*float64(i)/(curvePoints-1)
				c.Curve = append(c.Curve, XY{Number(x), Number(by.At(x))})
			}
		}
		p.Scatter = append(p.Scatter, c)
		if arm == s.control {
			continue
		}
		var values []float64
		for _, i := range v.images {
			values = append(values, stats.Gain(i.scores[s.control], i.scores[arm], i.label))
		}
		if len(values) > 0 {
			p.Differences = append(p.Differences, histogram(s.e.Arms[arm].ID, values, slices.Min(values), slices.Max(values)))
		}
	}
}

func histogram(arm experiment.ArmID, values []float64, low, high float64) Histogram {
	h := Histogram{Arm: arm, From: Number(low), Width: Number((high - low) / bins),
		Counts: make([]int, bins), Mean: unknown()}
	if high <= low {
		h.From, h.Width = Number(low-0.5), Number(1.0/bins)
	}
	for _, v := range values {
		h.Counts[min(bins-1, max(0, int((v-float64(h.From))/float64(h.Width))))]++
	}
	if m, err := stats.MomentsOf(values); err == nil && m.N() > 0 {
		h.Mean = Number(m.Mean())
	}
	return h
}

func (s *State) densities(images []*image) []Histogram {
	scores := s.scoresByArm(images)
	low, high := math.Inf(1), math.Inf(-1)
	for i := range scores {
		scores[i] = slices.DeleteFunc(scores[i], math.IsNaN)
		for _, v := range scores[i] {
			low, high = min(low, v), max(high, v)
		}
	}
	var all []Histogram
	for i, a := range s.e.Arms {
		if len(scores[i]) > 0 {
			all = append(all, histogram(a.ID, scores[i], low, high))
		}
	}
	return all
}

// srmTrend goes through the units in the order of their first exposure.
func (s *State) srmTrend(of SRM) []SRMPoint {
	place := map[int]int{}
	weights := make([]float64, len(of.Arms))
	for k, id := range of.Arms {
		place[s.arms[id]] = k
		weights[k] = float64(of.Shares[k])
	}
	sequential, err := stats.NewSequentialSRM(weights)
	if err != nil {
		return nil
	}
	units := make([]unit, 0, len(s.units.rows))
	for _, u := range s.units.rows {
		units = append(units, *u)
	}
	slices.SortFunc(units, func(a, b unit) int { return a.first.compare(b.first) })
	keep := kept(len(units), mostPoints/2)
	var points []SRMPoint
	for i, u := range units {
		if sequential.Add(place[u.arm]); !keep(i + 1) {
			continue
		}
		p := SRMPoint{Units: i + 1, AnytimeP: Number(sequential.P())}
		for _, n := range sequential.Counts() {
			p.Shares = append(p.Shares, Number(float64(n)/float64(i+1)))
		}
		points = append(points, p)
	}
	return points
}

// timeline begins with the hour of the first exposure.
func (s *State) timeline() Timeline {
	first, last := int64(math.MaxInt64), int64(-1)
	for hour := range s.perHour {
		first, last = min(first, hour), max(last, hour)
	}
	if last < 0 {
		return Timeline{Hours: 1}
	}
	t := Timeline{Start: s.e.Created.Add(time.Duration(first) * time.Hour), Hours: int(last-first)/mostColumns + 1}
	columns := int(last-first)/t.Hours + 1
	for arm := range s.e.Arms {
		counts := make([]int, columns)
		for hour, byArm := range s.perHour {
			counts[int(hour-first)/t.Hours] += byArm[arm]
		}
		t.Counts = append(t.Counts, counts)
	}
	return t
}
