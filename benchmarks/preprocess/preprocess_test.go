package preprocess_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"image"
	_ "image/gif"
	_ "image/jpeg"
	_ "image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agiqa/agiqa/benchmarks/preprocess"
	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/quality"
)

// scripted is a contestant whose costs are given, in the order of rounds.
type scripted struct {
	name    string
	inexact bool
	digest  byte
	ms      []int
	turns   *[]string
	n       int
	fail    error
}

func (s *scripted) Name() string { return s.name }
func (s *scripted) Exact() bool  { return !s.inexact }
func (s *scripted) Does(step preprocess.Step, _ string) bool {
	return s.Exact() || step == preprocess.Whole
}
func (s *scripted) Load(context.Context, []byte) (preprocess.Digest, error) {
	return preprocess.Digest{s.digest}, nil
}
func (s *scripted) Time(context.Context, preprocess.Step) (preprocess.Cost, error) {
	cost := time.Duration(s.ms[s.n%len(s.ms)]) * time.Millisecond
	s.n++
	*s.turns = append(*s.turns, s.name)
	return preprocess.Cost{CPU: cost, Wall: 2 * cost}, s.fail
}

func TestMeasureInterleavesAndPairs(t *testing.T) {
	var turns []string
	// Every fourth call is timed.
	ours := &scripted{name: "ours", ms: []int{9, 8, 7, 1, 9, 8, 7, 2}, turns: &turns}
	quick := &scripted{name: "quick", inexact: true, digest: 7, ms: []int{1}, turns: &turns}
	rival := &scripted{name: "rival", ms: []int{5, 5, 5, 3, 5, 5, 5, 6}, turns: &turns}
	r, err := preprocess.Measure(context.Background(), preprocess.Case{Name: "x", Data: []byte("abc")},
		[]preprocess.Contestant{ours, quick}, rival, preprocess.Plan{Rounds: 6, Warmups: 2})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(turns[:12], " "); got != "ours ours ours ours rival rival rival rival ours ours ours ours" {
		t.Errorf("turns %s, want four each a round", got)
	}
	if !r.Equal {
		t.Error("an inexact contestant counts as unequal")
	}
	if len(r.Ratios) != 4 {
		t.Fatalf("%d ratios, want three steps of ours and one of quick: %+v", len(r.Ratios), r.Ratios)
	}
	for _, q := range r.Ratios[:2] {
		// Every round's ratio is 3, though the medians of both are others.
		if q.Median != 3 || q.Low != 3 || q.High != 3 || q.Wall != 3 {
			t.Errorf("%s: ratio %+v, want 3", q.Step, q)
		}
	}
	f := r.Figures["ours"][0]
	if f.CPUMedian != 1.5 || f.WallMedian != 3 || f.CPULow != 1 || f.CPUHigh != 2 {
		t.Errorf("figures %+v", f)
	}
}

func TestMeasureSeesWrongPixelsAndFailures(t *testing.T) {
	var turns []string
	ours := &scripted{name: "ours", ms: []int{1}, turns: &turns}
	rival := &scripted{name: "rival", digest: 1, ms: []int{1}, turns: &turns}
	r, err := preprocess.Measure(context.Background(), preprocess.Case{Name: "x"}, []preprocess.Contestant{ours},
		rival, preprocess.Plan{Rounds: 1})
	if err != nil || r.Equal {
		t.Errorf("error %v, equal %v; want a difference", err, r.Equal)
	}
	if got := (preprocess.Report{Results: []preprocess.CaseResult{r}}).Unequal(); len(got) != 1 || got[0] != "x" {
		t.Errorf("unequal: %v, want x", got)
	}
	rival.fail = errors.New("broken")
	if _, err := preprocess.Measure(context.Background(), preprocess.Case{}, []preprocess.Contestant{ours}, rival,
		preprocess.Plan{Rounds: 1}); !errors.Is(err, rival.fail) {
		t.Errorf("error %v, want %v", err, rival.fail)
	}
}

func TestDrawnFilesAreWhatTheySay(t *testing.T) {
	cases, err := preprocess.Draw([]int{40, 65}, nil, func() {})
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) != 6 {
		t.Errorf("%d files, want JPEG, PNG and GIF of two sizes", len(cases))
	}
	for _, c := range cases {
		cfg, format, err := image.DecodeConfig(bytes.NewReader(c.Data))
		if err != nil || cfg.Width != c.Width || cfg.Height != c.Height || !strings.HasPrefix(c.Format, format) {
			t.Errorf("%s: a %s of %d x %d, error %v", c.Name, format, cfg.Width, cfg.Height, err)
		}
	}
}

// TestOursIsTimed runs the real thing on a drawn image, without a rival.
func TestOursIsTimed(t *testing.T) {
	p, err := imageprep.New(imageprep.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	cases, err := preprocess.Draw([]int{300}, nil, func() {})
	if err != nil {
		t.Fatal(err)
	}
	ours := []preprocess.Contestant{preprocess.NewOurs("go", p, quality.Exact),
		preprocess.NewOurs("fast", p, quality.Fast)}
	report := preprocess.Report{Manifest: preprocess.NewManifest(time.Unix(0, 0), "agiqa bench",
		"abc", preprocess.Plan{Rounds: 2})}
	report.Manifest.Ours["go"], report.Manifest.Ours["fast"] = "id", "id2"
	for _, c := range cases {
		r, err := preprocess.Measure(context.Background(), c, ours, nil, preprocess.Plan{Rounds: 2})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Figures["go"]) != 3 || !r.Equal {
			t.Errorf("%s: %+v", c.Name, r)
		}
		for _, f := range r.Figures["go"] {
			if f.WallMedian <= 0 || math.IsNaN(f.CPUMedian) || f.Bytes <= 0 {
				t.Errorf("%s: figures %+v", c.Name, f)
			}
		}
		report.Results = append(report.Results, r)
	}
	checkFolder(t, report)
}

func checkFolder(t *testing.T, report preprocess.Report) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := report.Write(dir); err != nil {
		t.Fatal(err)
	}
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var again preprocess.Report
	if err := json.Unmarshal(read("results.json"), &again); err != nil || again.Manifest.Commit != "abc" ||
		len(again.Results) != len(report.Results) {
		t.Errorf("results.json: %+v, error %v", again.Manifest, err)
	}
	if text := string(read("results.txt")); !strings.Contains(text, "png-300") || !strings.Contains(text, "whole") ||
		!strings.Contains(text, "resampler "+imageprep.Resampler()) {
		t.Errorf("results.txt: %s", text)
	}
	for d := xml.NewDecoder(bytes.NewReader(read("results.svg"))); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("results.svg: %v", err)
		}
	}
}

func TestPillowThatDoesNotStart(t *testing.T) {
	for _, python := range []string{"/nowhere/python", "true"} {
		if p, err := preprocess.StartPillow(context.Background(), python, -1); err == nil {
			t.Errorf("%s: started %v", python, p)
		}
	}
}
