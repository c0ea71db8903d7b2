package arms

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/agiqa/agiqa/internal/chart"
)

// Text writes the report for people.
func (r Report) Text(w io.Writer) error {
	m := r.Manifest
	fmt.Fprintf(w, "%s, commit %s, %s, %d processors, Triton %s\nencoder %s (%d numbers); one client, one new image a "+
		"request\n\n",
		m.Time.Format("2006-01-02 15:04 MST"), m.Commit, m.OS, m.Processors, m.Triton, m.Encoder, m.Dim)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, m.Plan.Of+"\trequests\timages/s\tmean ms\tp50 ms\tp99 ms\tmean ratio\tpaired ratio\t")
	for _, x := range r.Results {
		fmt.Fprintf(t, "%d\t%d\t%.2f\t%.2f\t%.2f\t%.2f\t%.3f\t%.3f\t\n", x.Count, x.Requests, x.PerSecond, x.MeanMS,
			x.P50MS, x.P99MS, x.MeanRatio, x.MedianPaired)
	}
	return t.Flush()
}

// Write leaves results.json, results.txt and results.svg in a folder.
func (r Report) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	document, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := r.Text(&text); err != nil {
		return err
	}
	picture, err := r.Chart()
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"results.json": append(document, '\n'), "results.txt": text.Bytes(), "results.svg": picture,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Chart draws median and 99th percentile as bars, one pair a count, as SVG.
func (r Report) Chart() ([]byte, error) {
	var groups []chart.Group
	for _, x := range r.Results {
		groups = append(groups, chart.Group{Name: fmt.Sprint(x.Count), Bars: []chart.Bar{
			{Label: fmt.Sprintf("p50 %.1f", x.P50MS), Value: x.P50MS},
			{Label: fmt.Sprintf("p99 %.1f", x.P99MS), Value: x.P99MS, Colour: 5},
		}})
	}
	return chart.Bars("Milliseconds a request, by number of "+r.Manifest.Plan.Of, "ms", groups)
}
