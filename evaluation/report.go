package evaluation

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Format names the JSON document.
const Format = "agiqa-evaluation/1"

const (
	fewest = 3
	// largest keeps squares and their sums finite.
	largest = 1e100
	flat    = 1e-9
)

// Figure is a number that may not be defined: NaN here, null in JSON.
type Figure float64

// MarshalJSON writes null for NaN.
func (f Figure) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(f)) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(f))
}

// UnmarshalJSON reads null as NaN.
func (f *Figure) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		*f = Figure(math.NaN())
		return nil
	}
	return json.Unmarshal(data, (*float64)(f))
}

// Interval is an estimate with the ends of its bootstrap interval.
type Interval struct {
	Value Figure `json:"value"`
	Low   Figure `json:"low"`
	High  Figure `json:"high"`
}

// Figures are all measures of agreement. The mapped ones are of f(score), with f
// fitted on the same images.
type Figures struct {
	SRCC          Interval `json:"srcc"`
	KRCC          Interval `json:"krcc"`
	PLCC          Interval `json:"plcc"`
	PLCCLogistic4 Interval `json:"plcc_logistic4"`
	PLCCLogistic5 Interval `json:"plcc_logistic5"`
	RMSE          Interval `json:"rmse"`
	RMSELogistic4 Interval `json:"rmse_logistic4"`
	RMSELogistic5 Interval `json:"rmse_logistic5"`
}

// Resampling repeats in the document how the intervals were made.
type Resampling struct {
	Method     string  `json:"method"`
	Unit       string  `json:"unit"`
	Replicates int     `json:"replicates"`
	Confidence float64 `json:"confidence"`
	Seed       uint64  `json:"seed"`
}

// Report is the agreement of scores with mean opinions; `agiqa-train evaluate`
// writes the same document.
type Report struct {
	Format    string     `json:"format"`
	Images    int        `json:"images"`
	Figures   Figures    `json:"figures"`
	Logistic4 Logistic   `json:"logistic4"` // null when it could not be fitted
	Logistic5 Logistic   `json:"logistic5"`
	Bootstrap Resampling `json:"bootstrap"`
}

// Evaluate compares scores with the mean opinions of the same images. The
// mappings are fitted once, on all images; the bootstrap keeps them, so intervals
// of mapped figures do not hold the uncertainty of the fit. The error names every
// fault of the lists and of the options.
func Evaluate(scores, mos []float64, options Bootstrap) (Report, error) {
	if err := check(scores, mos, options); err != nil {
		return Report{}, err
	}
	four, five := FitLogistic(scores, mos)
	views := [][]float64{scores, mapped(four, scores), mapped(five, scores)}
	compute := func(chosen []int) []float64 {
		truth := pick(mos, chosen)
		values := make([]float64, 2, 8)
		for i, view := range views {
			x := pick(view, chosen)
			if i == 0 {
				values[0], values[1] = SRCC(x, truth), KRCC(x, truth)
				values = append(values, PLCC(x, truth), RMSE(x, truth))
				continue
			}
			values = append(values, mappedPLCC(x, truth), RMSE(x, truth))
		}
		return values
	}
	everything := make([]int, len(scores))
	for i := range everything {
		everything[i] = i
	}
	estimates := compute(everything)
	ends := options.Intervals(len(scores), estimates, compute)
	interval := func(i int) Interval {
		return Interval{Figure(estimates[i]), Figure(ends[i][0]), Figure(ends[i][1])}
	}
	return Report{
		Format: Format,
		Images: len(scores),
		Figures: Figures{
			SRCC: interval(0), KRCC: interval(1),
			PLCC: interval(2), RMSE: interval(3),
			PLCCLogistic4: interval(4), RMSELogistic4: interval(5),
			PLCCLogistic5: interval(6), RMSELogistic5: interval(7),
		},
		Logistic4: four,
		Logistic5: five,
		Bootstrap: Resampling{"bca", "image", options.Replicates, options.Confidence, options.Seed},
	}, nil
}

// Table is the report for people: four decimals, "-" where nothing is defined.
func (r Report) Table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-18s%9s%9s%9s\n", "", "value", "low", "high")
	for _, row := range []struct {
		title string
		of    Interval
	}{
		{"SRCC", r.Figures.SRCC},
		{"KRCC (tau-b)", r.Figures.KRCC},
		{"PLCC", r.Figures.PLCC},
		{"PLCC, logistic 4", r.Figures.PLCCLogistic4},
		{"PLCC, logistic 5", r.Figures.PLCCLogistic5},
		{"RMSE", r.Figures.RMSE},
		{"RMSE, logistic 4", r.Figures.RMSELogistic4},
		{"RMSE, logistic 5", r.Figures.RMSELogistic5},
	} {
		fmt.Fprintf(&b, "%-18s%9s%9s%9s\n", row.title, cell(row.of.Value), cell(row.of.Low), cell(row.of.High))
	}
	note := "no intervals"
	if r.Bootstrap.Replicates > 0 {
		note = fmt.Sprintf("%.6g %% BCa intervals from %d replicates, seed %d",
			100*r.Bootstrap.Confidence, r.Bootstrap.Replicates, r.Bootstrap.Seed)
	}
	fmt.Fprintf(&b, "%d images; %s\n", r.Images, note)
	return b.String()
}

func cell(value Figure) string {
	if math.IsNaN(float64(value)) {
		return "-"
	}
	return fmt.Sprintf("%.4f", float64(value))
}

func check(scores, mos []float64, options Bootstrap) error {
	faults := options.faults()
	if len(scores) != len(mos) {
		faults = append(faults, fmt.Errorf("scores: there are %d, and %d opinions", len(scores), len(mos)))
	}
	if len(scores) < fewest {
		faults = append(faults, fmt.Errorf("scores: %d images are too few, %d are needed", len(scores), fewest))
	}
	for _, list := range []struct {
		name   string
		values []float64
	}{{"scores", scores}, {"mos", mos}} {
		for i, v := range list.values {
			if !(math.Abs(v) <= largest) {
				faults = append(faults, fmt.Errorf("%s: value %d is %v, not a number within ±1e100", list.name, i, v))
				break
			}
		}
	}
	return errors.Join(faults...)
}

// mapped is the list after the mapping, all NaN when there is none.
func mapped(by Logistic, values []float64) []float64 {
	out := make([]float64, len(values))
	for i, v := range values {
		out[i] = math.NaN()
		if by != nil {
			out[i] = by.At(v)
		}
	}
	return out
}

// mappedPLCC is PLCC, and NaN where a mapping is absent or flat on these images
// up to rounding.
func mappedPLCC(x, y []float64) float64 {
	high, low := slices.Max(x), slices.Min(x)
	if !(high-low > flat*max(1, math.Abs(high), math.Abs(low))) {
		return math.NaN()
	}
	return PLCC(x, y)
}

func pick(values []float64, chosen []int) []float64 {
	out := make([]float64, len(chosen))
	for i, place := range chosen {
		out[i] = values[place]
	}
	return out
}
