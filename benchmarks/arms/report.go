package arms

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
)

// Text writes the report for people.
func (r Report) Text(w io.Writer) error {
	m := r.Manifest
	fmt.Fprintf(w, "%s, commit %s, %s, %d processors, Triton %s\nencoder %s (%d numbers); one client, one new image a request\n\n",
		m.Time.Format("2006-01-02 15:04 MST"), m.Commit, m.OS, m.Processors, m.Triton, m.Encoder, m.Dim)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "checkpoints\trequests\timages/s\tmean ms\tp50 ms\tp99 ms\tmean ratio\tpaired ratio\t")
	for _, x := range r.Results {
		fmt.Fprintf(t, "%d\t%d\t%.2f\t%.2f\t%.2f\t%.2f\t%.3f\t%.3f\t\n", x.Checkpoints, x.Requests, x.PerSecond, x.MeanMS, x.P50MS, x.P99MS, x.MeanRatio, x.MedianPaired)
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
	for name, content := range map[string][]byte{
		"results.json": append(document, '\n'), "results.txt": text.Bytes(), "results.svg": r.Chart(),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Chart draws median and 99th percentile as bars from zero, one pair a count.
func (r Report) Chart() []byte {
	const height, bar, gap, left = 180.0, 28.0, 30.0, 50.0
	var most float64
	for _, x := range r.Results {
		most = max(most, x.P99MS)
	}
	var b bytes.Buffer
	width := left + float64(len(r.Results))*(2*bar+gap) + gap
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" font-family="system-ui, sans-serif" font-size="11">`+"\n", width, height+70)
	fmt.Fprintf(&b, `<text x="8" y="16">milliseconds a request (p50, p99) by number of checkpoints</text>`+"\n")
	for i, x := range r.Results {
		at := left + float64(i)*(2*bar+gap)
		for k, v := range []float64{x.P50MS, x.P99MS} {
			h := height * v / max(most, 1e-9)
			fmt.Fprintf(&b, `<rect x="%g" y="%.1f" width="%g" height="%.1f" fill="%s"/>`+"\n", at+float64(k)*bar, 36+height-h, bar-2, h, []string{"#3b6ea5", "#a9c3de"}[k])
			fmt.Fprintf(&b, `<text x="%g" y="%.1f" text-anchor="middle" font-size="9">%.1f</text>`+"\n", at+(float64(k)+.5)*bar, 33+height-h, v)
		}
		fmt.Fprintf(&b, `<text x="%g" y="%g" text-anchor="middle">%d</text>`+"\n", at+bar, height+52, x.Checkpoints)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}
