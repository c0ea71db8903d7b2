package report

import (
	"math"
	"strconv"

	"gonum.org/v1/plot"
)

// ticks are round numbers, about six, as short as they can be written.
type ticks struct{}

func (ticks) Ticks(low, high float64) []plot.Tick {
	width := high - low
	if !(width > 0) || !finite(width) {
		return nil
	}
	const wanted = 6
	power := math.Pow(10, math.Floor(math.Log10(width/wanted)))
	step := 10 * power
	for _, round := range []float64{1, 2, 5} {
		if round*power >= width/wanted {
			step = round * power
			break
		}
	}
	var all []plot.Tick
	for i := math.Ceil(low/step - 1e-9); i*step <= high+1e-9*width; i++ {
		v := i*step + 0 // no minus before a zero
		all = append(all, plot.Tick{Value: v, Label: strconv.FormatFloat(v, 'g', 6, 64)})
	}
	return all
}
