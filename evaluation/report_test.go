package evaluation_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/evaluation"
)

func options(change func(*evaluation.Bootstrap)) evaluation.Bootstrap {
	b := evaluation.DefaultBootstrap()
	b.Replicates = 50
	if change != nil {
		change(&b)
	}
	return b
}

func TestEvaluateRefuses(t *testing.T) {
	good := []float64{1, 2, 3}
	for _, c := range []struct {
		name        string
		scores, mos []float64
		options     evaluation.Bootstrap
		want        []string // every one is in the error
	}{
		{"lengths", good, []float64{1, 2}, options(nil), []string{"scores: there are 3, and 2 opinions"}},
		{"too few", good[:2], good[:2], options(nil), []string{"scores: 2 images are too few, 3 are needed"}},
		{"NaN", good, []float64{1, math.NaN(), 2}, options(nil), []string{"mos: value 1 is NaN, not a number"}},
		{"infinite", []float64{1, 2, math.Inf(-1)}, good, options(nil), []string{"scores: value 2 is -Inf, not a number"}},
		{
			"too large to square", []float64{1, 2, 1e200}, good, options(nil),
			[]string{"scores: value 2 is 1e+200, not a number within"},
		},
		{
			"all options at once", good, good,
			evaluation.Bootstrap{Replicates: -1, Confidence: 1},
			[]string{"replicates: -1 is below 0", "confidence: 1 is not between", "workers: 0 is below 1"},
		},
		{
			"confidence that is no number", good, good,
			options(func(b *evaluation.Bootstrap) { b.Confidence = math.NaN() }),
			[]string{"confidence: NaN is not between"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := evaluation.Evaluate(c.scores, c.mos, c.options)
			if err == nil {
				t.Fatal("got no error")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
		})
	}
}

// Whatever is taken in has a report that JSON can hold.
func FuzzReportsAreJSON(f *testing.F) {
	f.Add([]byte("0123456789abcdefghijklmnopqrstuvwxyz"), 1e-200, 1e100)
	f.Add(make([]byte, 40), 1.0, 1.0)
	f.Add([]byte("the same, the same, the same, the same"), 1e90, 1e-300)
	f.Fuzz(func(t *testing.T, data []byte, xUnit, yUnit float64) {
		data = data[:min(len(data), 120)]
		x, y := make([]float64, len(data)/2), make([]float64, len(data)/2)
		for i := range x {
			x[i], y[i] = float64(data[2*i])*xUnit, float64(data[2*i+1])*yUnit
		}
		report, err := evaluation.Evaluate(x, y, options(func(b *evaluation.Bootstrap) { b.Replicates = 5 }))
		if err != nil {
			return
		}
		if _, err := json.Marshal(report); err != nil {
			t.Errorf("Evaluate(%v, %v): %v", x, y, err)
		}
		for name, figure := range figures(report) {
			if !strings.HasPrefix(name, "RMSE") && math.Abs(float64(figure.Value)) > 1+1e-12 {
				t.Errorf("Evaluate(%v, %v): %s is %v", x, y, name, figure.Value)
			}
		}
	})
}

func TestWorkersChangeNothing(t *testing.T) {
	c := readGoldens(t).Cases[1]
	var reports [2]evaluation.Report
	for i, workers := range []int{1, 7} {
		report, err := evaluation.Evaluate(c.Scores, c.MOS, options(func(b *evaluation.Bootstrap) { b.Workers = workers }))
		if err != nil {
			t.Fatal(err)
		}
		reports[i] = report
	}
	if diff := cmp.Diff(reports[0], reports[1]); diff != "" {
		t.Errorf("1 worker against 7:\n%s", diff)
	}
}

func TestNoReplicatesNoIntervals(t *testing.T) {
	report, err := evaluation.Evaluate(
		[]float64{1, 2, 2, 4}, []float64{1, 3, 2, 4},
		options(func(b *evaluation.Bootstrap) { b.Replicates = 0 }),
	)
	if err != nil {
		t.Fatal(err)
	}
	want := `                      value      low     high
SRCC                 0.9487        -        -
KRCC (tau-b)         0.9129        -        -
PLCC                 0.9234        -        -
PLCC, logistic 4          -        -        -
PLCC, logistic 5          -        -        -
RMSE                 0.5000        -        -
RMSE, logistic 4          -        -        -
RMSE, logistic 5          -        -        -
4 images; no intervals
`
	if diff := cmp.Diff(want, report.Table()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	raw, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		`"format":"agiqa-evaluation/1"`, `"rmse":{"value":0.5,"low":null,"high":null}`,
		`"plcc_logistic4":{"value":null,"low":null,"high":null}`, `"logistic4":null`,
		`"bootstrap":{"method":"bca","unit":"image","replicates":0,"confidence":0.95,"seed":1}`,
	} {
		if !strings.Contains(string(raw), part) {
			t.Errorf("%s\nlacks %s", raw, part)
		}
	}
}

func TestTableSaysHowIntervalsWereMade(t *testing.T) {
	report, err := evaluation.Evaluate([]float64{1, 2, 3}, []float64{1, 2, 3}, options(nil))
	if err != nil {
		t.Fatal(err)
	}
	got := report.Table()
	want := "3 images; 95 % BCa intervals from 50 replicates, seed 1\n"
	if !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want it to end in %q", got, want)
	}
}

func BenchmarkEvaluate(b *testing.B) {
	x, y := make([]float64, 3000), make([]float64, 3000)
	for i := range x {
		x[i] = math.Sin(float64(i) * 1.7)
		y[i] = 2.5 + math.Tanh(2*x[i]) + 0.3*math.Sin(float64(i)*0.37)
	}
	for b.Loop() {
		if _, err := evaluation.Evaluate(x, y, evaluation.DefaultBootstrap()); err != nil {
			b.Fatal(err)
		}
	}
}
