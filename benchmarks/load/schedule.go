package load

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Arrivals says how requests lie within the rate.
type Arrivals string

// The arrivals. Both give exactly as many requests as the profile has.
const (
	// Even spaces requests evenly.
	Even Arrivals = "constant"
	// Poisson makes them independent of each other, as those of many callers
	// are: the times of a Poisson process, given how many there are.
	Poisson Arrivals = "poisson"
)

// Schedule says when each request is due, counted from the start of the run,
// in ascending order. It is made before the start and never changed.
type Schedule struct {
	Due    []time.Duration
	Length time.Duration // of the run; no request is due later
}

// NewSchedule places the requests of a profile. The same seed gives the same
// schedule.
func NewSchedule(p Profile, arrivals Arrivals, seed uint64) (Schedule, error) {
	if err := p.Validate(); err != nil {
		return Schedule{}, err
	}
	areas := make([]float64, p.Count())
	switch arrivals {
	case Even:
		for i := range areas {
			areas[i] = float64(i)
		}
	case Poisson:
		poisson(areas, p, seed)
	default:
		return Schedule{}, fmt.Errorf("arrivals %q: want %s or %s", arrivals, Even, Poisson)
	}
	return Schedule{Due: p.times(areas), Length: p.Length()}, nil
}

// poisson fills in uniform order statistics: sums of exponentials over their
// total.
func poisson(areas []float64, p Profile, seed uint64) {
	total := 0.0
	for _, s := range p {
		total += s.area()
	}
	random := rand.New(rand.NewPCG(seed, 0x5C4ED01E))
	sum := 0.0
	for i := range areas {
		sum += random.ExpFloat64()
		areas[i] = sum
	}
	sum += random.ExpFloat64()
	for i := range areas {
		areas[i] *= total / sum
	}
}

// ReadTrace reads a schedule from text: one time a line, in seconds from the
// start ("0.25") or with a unit ("250ms"). Lines that begin with # are left
// out; the order does not matter.
func ReadTrace(r io.Reader) (Schedule, error) {
	var s Schedule
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		d, err := time.ParseDuration(text)
		if err != nil {
			seconds, errS := strconv.ParseFloat(text, 64)
			if errS != nil {
				return s, fmt.Errorf("trace, line %d: %q is no time", n, text)
			}
			d = time.Duration(seconds * float64(time.Second))
		}
		if d < 0 || d > 30*24*time.Hour {
			return s, fmt.Errorf("trace, line %d: %s is not between the start and 30 days", n, d)
		}
		if s.Due = append(s.Due, d); len(s.Due) > maxRequests {
			return s, fmt.Errorf("trace: more than %d requests", maxRequests)
		}
	}
	if err := lines.Err(); err != nil {
		return s, fmt.Errorf("trace: %w", err)
	}
	if len(s.Due) == 0 {
		return s, fmt.Errorf("trace: no times")
	}
	slices.Sort(s.Due)
	s.Length = s.Due[len(s.Due)-1]
	return s, nil
}
