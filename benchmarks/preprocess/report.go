package preprocess

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/agiqa/agiqa/benchmarks/load"
	"github.com/agiqa/agiqa/imageprep"
)

// Manifest says what ran, where and how.
type Manifest struct {
	Time       time.Time         `json:"time"`
	Command    string            `json:"command"`
	Commit     string            `json:"commit"`
	Go         string            `json:"go"`
	OS         string            `json:"os"`
	Processor  string            `json:"processor"`
	Processors int               `json:"processors"`
	PinnedTo   int               `json:"pinned_to"` // -1: not pinned
	Resampler  string            `json:"resampler"` // ours: what this processor can run
	Ours       map[string]string `json:"ours"`      // contestants and their preprocess ids
	Rival      map[string]string `json:"rival,omitempty"`
	Plan       Plan              `json:"plan"`
}

// NewManifest fills in what the machine knows.
func NewManifest(now time.Time, command, commit string, plan Plan) Manifest {
	m := load.NewManifest(now, "preprocess", command, commit, 0)
	return Manifest{
		Time: m.Time, Command: command, Commit: commit, Go: m.Go, OS: m.OS,
		Processor: cmp.Or(m.Processor, "unknown"), Processors: m.AllowedProcessors, Resampler: imageprep.Resampler(),
		Plan: plan, Ours: map[string]string{},
	}
}

// Report is a run.
type Report struct {
	Manifest Manifest     `json:"manifest"`
	Results  []CaseResult `json:"results"`
}

// Unequal lists the cases in which not everyone gave the same bits.
func (r Report) Unequal() []string {
	var names []string
	for _, c := range r.Results {
		if !c.Equal {
			names = append(names, c.Name)
		}
	}
	return names
}

// Text writes a table for people.
func (r Report) Text(w io.Writer) error {
	m := r.Manifest
	fmt.Fprintf(w, "%s, commit %s, %s %s, %s, resampler %s\n%s\n", m.Time.Format(time.RFC3339), m.Commit, m.Go, m.OS,
		m.Processor, m.Resampler, m.Command)
	for name, id := range m.Ours {
		fmt.Fprintf(w, "%s: %s\n", name, id)
	}
	if m.Rival != nil {
		fmt.Fprintf(w, "rival: %v\n", m.Rival)
	}
	fmt.Fprintf(w, "%s, %d rounds; medians of processor time; ratio: how many times longer the rival takes, 95 %% "+
		"interval\n\n", pinned(m.PinnedTo), m.Plan.Rounds)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "image\tstep\twho\tms\tp25-p75\tratio\tinterval\twall ratio\tallocations\tkB\tequal\t")
	for _, c := range r.Results {
		for _, step := range Steps() {
			for who, figures := range ordered(c, m) {
				f, ok := of(figures, step)
				if !ok {
					continue
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%.2f\t%.2f-%.2f\t", c.Name, step, who, f.CPUMedian, f.CPULow, f.CPUHigh)
				if q, ok := c.ratio(step, who); ok {
					equal := fmt.Sprint(c.Equal)
					if len(figures) < len(Steps()) { // fast: not meant to be
						equal = "-"
					}
					fmt.Fprintf(t, "%.2f\t%.2f-%.2f\t%.2f\t%.0f\t%.0f\t%s\t\n", q.Median, q.Low, q.High, q.Wall,
						f.Allocations, f.Bytes/1000, equal)
				} else {
					fmt.Fprintln(t, "\t\t\t\t\t\t")
				}
			}
		}
	}
	return t.Flush()
}

func pinned(processor int) string {
	if processor < 0 {
		return "not pinned"
	}
	return fmt.Sprintf("pinned to processor %d", processor)
}

// ordered gives our contestants by name and then the rival.
func ordered(c CaseResult, m Manifest) func(yield func(string, []Figures) bool) {
	return func(yield func(string, []Figures) bool) {
		for _, ours := range []bool{true, false} {
			for _, name := range sortedNames(c.Figures) {
				if _, is := m.Ours[name]; is == ours && !yield(name, c.Figures[name]) {
					return
				}
			}
		}
	}
}

func (c CaseResult) ratio(step Step, ours string) (Ratio, bool) {
	for _, r := range c.Ratios {
		if r.Step == step && r.Ours == ours {
			return r, true
		}
	}
	return Ratio{}, false
}

// Write leaves results.json, results.txt and results.svg in a folder.
func (r Report) Write(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	var text strings.Builder
	if err := r.Text(&text); err != nil {
		return err
	}
	doc, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	picture, err := r.Chart()
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"results.json": append(doc, '\n'), "results.txt": []byte(text.String()), "results.svg": picture,
	} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
