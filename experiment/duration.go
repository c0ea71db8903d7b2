package experiment

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"time"
)

// Day is 24 hours: experiments know no time zones.
const Day = 24 * time.Hour

var longDuration = regexp.MustCompile(`^(?:(\d+(?:\.\d+)?)w)?(?:(\d+(?:\.\d+)?)d)?(.*)$`)

// DurationPattern is what a duration in a definition looks like.
const DurationPattern = `^(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h|d|w))+)$`

// ParseDuration reads a duration as [time.ParseDuration] does, and weeks and days
// in front of it: 36h, 3d, 2w, 1d12h.
func ParseDuration(text string) (time.Duration, error) {
	fault := fmt.Errorf("%.32q is no duration: write it like 36h, 3d or 2w", text)
	parts := longDuration.FindStringSubmatch(text)
	var total float64
	for i, unit := range []time.Duration{7 * Day, Day} {
		if parts == nil || parts[i+1] == "" {
			continue
		}
		n, err := strconv.ParseFloat(parts[i+1], 64)
		if err != nil {
			return 0, fault
		}
		total += n * float64(unit)
	}
	rest := time.Duration(0)
	if parts == nil || parts[3] != "" || text == "" {
		if parts != nil {
			text = parts[3]
		}
		var err error
		if rest, err = time.ParseDuration(text); err != nil || total > 0 && rest < 0 {
			return 0, fault
		}
	}
	if total+math.Abs(float64(rest)) >= math.MaxInt64 {
		return 0, fault
	}
	return time.Duration(math.Round(total)) + rest, nil
}
