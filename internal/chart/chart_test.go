package chart_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/agiqa/agiqa/internal/chart"
)

// wantXML fails unless the picture is one well-formed element.
func wantXML(t *testing.T, svg []byte) {
	t.Helper()
	if !bytes.HasPrefix(svg, []byte("<svg")) {
		t.Errorf("begins with %.40s", svg)
	}
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%v in %s", err, svg)
		}
	}
}

func TestLines(t *testing.T) {
	for _, tt := range []struct {
		name   string
		lines  []chart.Line
		values []float64
		want   []string
	}{
		{"none", nil, nil, []string{"1 ms", "10 ms"}},
		{"without points", []chart.Line{{Name: "empty"}}, nil, []string{"empty"}},
		{
			"a name that is markup", []chart.Line{{Name: "<b>&\"", Points: plotter.XYs{{X: 0, Y: 0.2}, {X: 1, Y: 30}}}},
			[]float64{0.2, 30},
			[]string{"&lt;b&gt;&amp;", "0.1 ms", "100 ms"},
		},
		{"one value", []chart.Line{{Name: "flat", Points: plotter.XYs{{X: 0, Y: 5}, {X: 1, Y: 5}}}},
			[]float64{5}, []string{"1 ms", "10 ms"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := chart.New("title", "x", "y")
			p.X.Min, p.X.Max = 0, 1
			chart.LogY(p, "ms", tt.values)
			if err := chart.AddLines(p, tt.lines); err != nil {
				t.Fatal(err)
			}
			svg, err := chart.SVG(p, 4*vg.Inch, 3*vg.Inch)
			if err != nil {
				t.Fatal(err)
			}
			wantXML(t, svg)
			for _, want := range tt.want {
				if !strings.Contains(string(svg), want) {
					t.Errorf("%q is not in %s", want, svg)
				}
			}
		})
	}
	if err := chart.AddLines(chart.New("", "", ""),
		[]chart.Line{{Points: plotter.XYs{{X: 0, Y: math.NaN()}}}}); err == nil {
		t.Error("a line through NaN was drawn")
	}
}

func TestBars(t *testing.T) {
	svg, err := chart.Bars("title", "ms", []chart.Group{
		{Name: "jpeg", Bars: []chart.Bar{{Label: "ours 1.5", Value: 1.5}, {Label: "theirs 3.0", Value: 3, Colour: 1}}},
		{Name: "png", Bars: []chart.Bar{{Label: "ours 0.0", Value: 0}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	wantXML(t, svg)
	for _, want := range []string{"jpeg", "png", "ours 1.5", "theirs 3.0", "ours 0.0", "title"} {
		if !strings.Contains(string(svg), want) {
			t.Errorf("%q is not in the picture", want)
		}
	}
	if svg, err := chart.Bars("nothing", "ms", nil); err != nil || !strings.Contains(string(svg), "nothing") {
		t.Errorf("no bars: %v", err)
	}
}

func TestTicks(t *testing.T) {
	for _, tt := range []struct {
		low, high float64
		want      string
	}{
		{0, 1, "0 0.2 0.4 0.6 0.8 1"}, {-1, 1, "-1 -0.5 0 0.5 1"}, {0, 0, ""}, {0, math.Inf(1), ""}, {3, 17, "5 10 15"},
	} {
		var got []string
		for _, tick := range (chart.Ticks{}).Ticks(tt.low, tt.high) {
			got = append(got, tick.Label)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%g to %g: %v, want %s", tt.low, tt.high, got, tt.want)
		}
	}
}
