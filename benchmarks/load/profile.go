package load

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// maxRequests bounds one run: its schedule and records are kept in memory,
// about 150 bytes for each request.
const maxRequests = 20_000_000

// Segment is a stretch of time in which the rate goes straight from one value
// to another.
type Segment struct {
	For      time.Duration
	From, To float64 // requests per second
}

func (s Segment) area() float64 { return (s.From + s.To) / 2 * s.For.Seconds() }

// at returns when the area under the segment's rate reaches y.
func (s Segment) at(y float64) float64 {
	slope := (s.To - s.From) / s.For.Seconds()
	root := math.Sqrt(max(0, s.From*s.From+2*slope*y))
	if s.From+root == 0 {
		return 0
	}
	return 2 * y / (s.From + root) // does not cancel where the slope is small
}

// Profile is the rate over the time of a run: segments one after another.
type Profile []Segment

// Constant is one rate.
func Constant(rate float64, d time.Duration) Profile { return Profile{{d, rate, rate}} }

// Bursts is a base rate with bursts of another, one at the end of each period.
func Bursts(base, burst float64, length, every, d time.Duration) Profile {
	var p Profile
	for ; d >= every; d -= every {
		p = append(p, Segment{every - length, base, base}, Segment{length, burst, burst})
	}
	if d > 0 {
		p = append(p, Segment{d, base, base})
	}
	return p
}

// ParseProfile reads the text form of a profile:
//
//	100@10s,200@10s              steps
//	10-500@60s                   a ramp
//	bursts:50,500@1s/10s,60s     500/s for the last second of every ten, else 50/s, for a minute
func ParseProfile(text string) (Profile, error) {
	if rest, ok := strings.CutPrefix(text, "bursts:"); ok {
		return parseBursts(rest)
	}
	var p Profile
	for step := range strings.SplitSeq(text, ",") {
		rates, length, ok := strings.Cut(step, "@")
		d, err := time.ParseDuration(length)
		if !ok || err != nil {
			return nil, fmt.Errorf("profile %q: want RATE@TIME or FROM-TO@TIME, such as 100@10s", step)
		}
		from, to, ramp := strings.Cut(rates, "-")
		if !ramp {
			to = from
		}
		a, errA := strconv.ParseFloat(from, 64)
		b, errB := strconv.ParseFloat(to, 64)
		if err := errors.Join(errA, errB); err != nil {
			return nil, fmt.Errorf("profile %q: %w", step, err)
		}
		p = append(p, Segment{d, a, b})
	}
	return p, p.Validate()
}

func parseBursts(text string) (Profile, error) {
	wrong := fmt.Errorf("profile bursts:%s: want bursts:BASE,BURST@LENGTH/PERIOD,TIME", text)
	parts := strings.Split(text, ",")
	if len(parts) != 3 {
		return nil, wrong
	}
	rate, rest, _ := strings.Cut(parts[1], "@")
	length, period, _ := strings.Cut(rest, "/")
	base, err1 := strconv.ParseFloat(parts[0], 64)
	burst, err2 := strconv.ParseFloat(rate, 64)
	l, err3 := time.ParseDuration(length)
	every, err4 := time.ParseDuration(period)
	d, err5 := time.ParseDuration(parts[2])
	if errors.Join(err1, err2, err3, err4, err5) != nil || l <= 0 || every <= l || d/every > 100_000 {
		return nil, wrong
	}
	p := Bursts(base, burst, l, every, d)
	return p, p.Validate()
}

// Validate refuses a profile that asks for nothing or for too much.
func (p Profile) Validate() error {
	total := 0.0
	for _, s := range p {
		if s.For <= 0 || !(s.From >= 0) || !(s.To >= 0) || math.IsInf(s.From+s.To, 0) {
			return fmt.Errorf("a rate of %g to %g per second for %s: rates must be zero or more, times positive", s.From, s.To,
				s.For)
		}
		total += s.area()
	}
	switch {
	case math.Round(total) < 1:
		return errors.New("rate and duration make no request at all")
	case total > maxRequests:
		return fmt.Errorf("rate and duration make %.0f requests, more than %d", total, maxRequests)
	}
	return nil
}

// Length is the time that the profile takes.
func (p Profile) Length() time.Duration {
	var d time.Duration
	for _, s := range p {
		d += s.For
	}
	return d
}

// Count is how many requests the profile asks for.
func (p Profile) Count() int {
	total := 0.0
	for _, s := range p {
		total += s.area()
	}
	return int(math.Round(total))
}

// times maps ascending areas under the rate to times.
func (p Profile) times(areas []float64) []time.Duration {
	out := make([]time.Duration, len(areas))
	segment, before, begun := 0, 0.0, 0.0
	for i, y := range areas {
		for segment < len(p)-1 && y-before >= p[segment].area() {
			before += p[segment].area()
			begun += p[segment].For.Seconds()
			segment++
		}
		t := begun
		if s := p[segment]; s.area() > 0 {
			t += s.at(min(y-before, s.area()))
		}
		out[i] = time.Duration(t * float64(time.Second))
	}
	return out
}
