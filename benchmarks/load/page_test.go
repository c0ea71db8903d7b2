package load_test

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/agiqa/agiqa/benchmarks/load"
)

// uneven is a run whose k-th of a hundred requests took k ms, with a name that
// wants escaping.
func uneven() load.Run {
	run := load.Run{Target: "<b>&", Loop: load.OpenLoop, Length: time.Second, Took: time.Second}
	for k := range 100 {
		due := time.Duration(k) * 10 * time.Millisecond
		run.Records = append(run.Records, load.Record{
			Due: due, Start: due, Done: due + time.Duration(k+1)*time.Millisecond,
			Outcome: load.Completed, Wrote: true, Status: 200,
		})
	}
	return run
}

func TestPages(t *testing.T) {
	t.Parallel()
	m := load.Manifest{Kind: "compare", Commit: "abc", Runs: []load.RunManifest{{Label: "A, pair 1"}, {Label: "B, pair 1"},
		{Label: "B, pair 2"}, {Label: "A, pair 2"}}}
	summary := load.Summary{Measurements: []load.Measurement{
		load.NewMeasurement("one", m, []load.Run{uneven(), someRun(), someRun(), uneven()}),
		load.NewMeasurement("two", load.Manifest{Runs: []load.RunManifest{{}}},
			[]load.Run{{Target: "nothing came", Loop: load.ClosedLoop}}),
	}}
	reports := summary.Reports()
	if len(reports) != 3 || reports[0].Completed != 200 || reports[0].LatencyMS.P99 != 99 || reports[1].Scheduled != 8 {
		t.Fatalf("reports %+v", reports)
	}
	var text, html strings.Builder
	if err := errors.Join(summary.Text(&text), summary.HTML(&html)); err != nil {
		t.Fatal(err)
	}
	for what, doc := range map[string]string{"text": text.String(), "page": html.String()} {
		if !strings.Contains(doc, "99") || !strings.Contains(doc, "closed") || !strings.Contains(doc, "nothing came") {
			t.Errorf("%s lacks a figure, the loop or a name:\n%s", what, doc)
		}
	}
	if strings.Contains(html.String(), "<b>&") || strings.Contains(html.String(), "http-equiv") ||
		strings.Contains(html.String(), "src=") {
		t.Error("the page lets a name become markup, or needs another file")
	}
	for _, draw := range []func([]load.Series) ([]byte, error){load.PlotPercentiles, load.PlotTime} {
		svg, err := draw(summary.Measurements[0].Series)
		if err != nil {
			t.Fatal(err)
		}
		d := xml.NewDecoder(strings.NewReader(string(svg)))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%v in %s", err, svg)
			}
		}
		if n := strings.Count(string(svg), "stroke-width"); n < 2 || strings.Contains(string(svg), "NaN") {
			t.Errorf("%d lines in %s", n, svg)
		}
	}
}

func TestHGRM(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	if err := load.WriteHGRM(&b, uneven()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "100.031") || !strings.Contains(b.String(), "Total count    =          100") {
		t.Errorf("%s", b.String())
	}
}
