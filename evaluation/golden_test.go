package evaluation_test

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/agiqa/agiqa/evaluation"
)

// goldens are cases with the report of the Python side, which writes the file:
//
//	cd training && .venv/bin/python -m agiqa_train.agreement.goldens ../evaluation/testdata/agreement.json
type goldens struct {
	Cases []struct {
		Name   string
		Scores []float64
		MOS    []float64
		Report evaluation.Report
	}
}

func readGoldens(t *testing.T) goldens {
	t.Helper()
	raw, err := os.ReadFile("testdata/agreement.json")
	if err != nil {
		t.Fatal(err)
	}
	var file goldens
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) < 17 {
		t.Fatalf("the file holds %d cases, want at least 17", len(file.Cases))
	}
	return file
}

func TestEvaluateGivesTheFiguresOfPython(t *testing.T) {
	for _, c := range readGoldens(t).Cases {
		t.Run(c.Name, func(t *testing.T) {
			want := c.Report
			options := evaluation.Bootstrap{
				Replicates: want.Bootstrap.Replicates,
				Confidence: want.Bootstrap.Confidence,
				Seed:       want.Bootstrap.Seed,
				Workers:    2,
			}
			got, err := evaluation.Evaluate(c.Scores, c.MOS, options)
			if err != nil {
				t.Fatal(err)
			}
			if got.Format != want.Format || got.Images != want.Images || got.Bootstrap != want.Bootstrap {
				t.Errorf("got %q, %d images, %+v; want %q, %d, %+v",
					got.Format, got.Images, got.Bootstrap, want.Format, want.Images, want.Bootstrap)
			}
			wantFigures := figures(want)
			for name, g := range figures(got) {
				w := wantFigures[name]
				compare(t, name, float64(g.Value), float64(w.Value))
				compare(t, name+" low", float64(g.Low), float64(w.Low))
				compare(t, name+" high", float64(g.High), float64(w.High))
			}
			// The fits are the same to the last bit, which keeps the figures together
			// where the problem is ill-conditioned.
			if !slices.Equal(got.Logistic4, want.Logistic4) || !slices.Equal(got.Logistic5, want.Logistic5) {
				t.Errorf("logistics: got %v and %v, want %v and %v",
					got.Logistic4, got.Logistic5, want.Logistic4, want.Logistic5)
			}
		})
	}
}

func figures(r evaluation.Report) map[string]evaluation.Interval {
	return map[string]evaluation.Interval{
		"SRCC": r.Figures.SRCC, "KRCC": r.Figures.KRCC,
		"PLCC": r.Figures.PLCC, "PLCC 4": r.Figures.PLCCLogistic4, "PLCC 5": r.Figures.PLCCLogistic5,
		"RMSE": r.Figures.RMSE, "RMSE 4": r.Figures.RMSELogistic4, "RMSE 5": r.Figures.RMSELogistic5,
	}
}

// compare holds got to want within 1e-9, and to being defined or not.
func compare(t *testing.T, name string, got, want float64) {
	t.Helper()
	if math.IsNaN(got) != math.IsNaN(want) || math.Abs(got-want) > 1e-9 {
		t.Errorf("%s: got %.15g, want %.15g, they differ by %.3g", name, got, want, got-want)
	}
}
