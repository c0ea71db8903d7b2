// Command summary prints what gateway-cost.sh left in a folder as one table:
//
//	go run ./benchmarks/peers/summary OUT_DIR
//
// It derives nothing that the reports there do not hold, but the mean of the
// ratios of several searches, and what the gateway costs beyond preparing the
// image.
package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/agiqa/agiqa/benchmarks/load"
	"github.com/agiqa/agiqa/benchmarks/preprocess"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: summary OUT_DIR")
		os.Exit(2)
	}
	if err := summarise(os.Stdout, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "summary:", err)
		os.Exit(1)
	}
}

// figure is one of a comparison. A ratio says how many times better agiqa is.
type figure struct {
	loop, name string
	of         func(load.Report) float64
	ratio      string // its name in the comparison, which tells the peer's over agiqa's
	more       bool   // is better
}

func perImage(r load.Report) float64 { return r.Process.CPUPer1000 } // ms

var figures = []figure{
	{"closed", "images/s", func(r load.Report) float64 { return r.CompletedPer }, "completed_per_s", true},
	{"closed", "CPU ms an image", perImage, "cpu_s_per_1000", false},
	{"open", "p50 ms", func(r load.Report) float64 { return r.LatencyMS.P50 }, "latency_p50", false},
	{"open", "p99 ms", func(r load.Report) float64 { return r.LatencyMS.P99 }, "latency_p99", false},
	{"open", "CPU ms an image", perImage, "cpu_s_per_1000", false},
}

func summarise(w io.Writer, dir string) error {
	before, err := prepared(dir, "before")
	if err != nil {
		return err
	}
	after, err := prepared(dir, "after")
	if err != nil {
		return err
	}
	services, err := durations(dir, "*-closed", 0)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "stub's time\tmeasured\tagiqa\tpeer\tratio (95 % interval, or range)")
	var beyond strings.Builder
	for _, service := range services {
		loops := map[string]load.Comparison{}
		for _, loop := range []string{"closed", "open"} {
			var c load.Comparison
			if err := read(filepath.Join(dir, service+"-"+loop, "report.json"), &c); err != nil {
				return err
			}
			loops[loop] = c
		}
		for _, f := range figures {
			c := loops[f.loop]
			r := c.Ratios[f.ratio]
			if r == nil {
				return fmt.Errorf("%s-%s has no ratio %s", service, f.loop, f.ratio)
			}
			ratio, low, high := r.Ratio, r.Low, r.High
			if f.more {
				ratio, low, high = 1/r.Ratio, 1/r.High, 1/r.Low
			}
			fmt.Fprintf(t, "%s\t%s loop, %s\t%.1f\t%.1f\t%.2f (%.2f to %.2f, %d pairs)\n",
				service, f.loop, f.name, f.of(c.A), f.of(c.B), ratio, low, high, r.Pairs)
		}
		if err := searches(t, dir, service); err != nil {
			return err
		}
		ours := loops["closed"].A
		alone := (before + after) / 2
		fmt.Fprintf(&beyond, "stub's time %s: agiqa %.2f ms of processor time an image - %.2f ms for preparing it alone "+
			"(%.2f before, %.2f after) = "+
			"%.2f ms beyond preprocessing; the generator took %.2f ms, on other processors\n",
			service, perImage(ours), alone, before, after, perImage(ours)-alone, ours.GeneratorCPUS/float64(ours.Completed)*1000)
	}
	t.Flush() // errors of w show below
	settings, err := os.ReadFile(filepath.Join(dir, "peer-settings.txt"))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "\nratio: how many times better agiqa is (below 1: worse). Each gateway had one processor "+
		"to itself.\n%s\n%s", settings, beyond.String())
	return err
}

// searches writes what the highest rates within each objective were.
func searches(w io.Writer, dir, service string) error {
	objectives, err := durations(dir, service+"-*-*-agiqa", 1)
	if err != nil {
		return err
	}
	for _, objective := range objectives {
		turns, err := filepath.Glob(filepath.Join(dir, service+"-"+objective+"-*-agiqa"))
		if err != nil {
			return err
		}
		var ours, peers []load.Knee
		for _, turn := range turns {
			var a, b load.Knee
			peer := strings.TrimSuffix(turn, "agiqa") + "peer"
			if err := errors.Join(read(filepath.Join(turn, "report.json"), &a),
				read(filepath.Join(peer, "report.json"), &b)); err != nil {
				return err
			}
			ours, peers = append(ours, a), append(peers, b)
		}
		row := func(name string, of func(load.Knee) float64, more bool) {
			fmt.Fprintf(w, "%s\tp99 <= %s, %s\t%s\t%s\t%s\n", service, objective, name, list(ours, of), list(peers, of),
				ratios(ours, peers, of, more))
		}
		row("images/s on one core", func(k load.Knee) float64 { return k.Rate }, true)
		row("CPU ms an image there", func(k load.Knee) float64 { return k.CPUPer1000 }, false)
	}
	return nil
}

func list(knees []load.Knee, of func(load.Knee) float64) string {
	var texts []string
	for _, k := range knees {
		texts = append(texts, fmt.Sprintf("%.1f", of(k)))
	}
	return strings.Join(texts, ", ")
}

// ratios are the geometric mean and the range, turn by turn.
func ratios(ours, peers []load.Knee, of func(load.Knee) float64, more bool) string {
	var all []float64
	logs := 0.0
	for i := range ours {
		a, b := of(ours[i]), of(peers[i])
		if !(a > 0) || !(b > 0) {
			return "none: no rate met the objective"
		}
		if !more {
			a, b = b, a
		}
		all = append(all, a/b)
		logs += math.Log(a / b)
	}
	return fmt.Sprintf("%.2f (%.2f to %.2f, %d turns)", math.Exp(logs/float64(len(all))),
		slices.Min(all), slices.Max(all), len(all))
}

// prepared is how many milliseconds of a processor it took to prepare the image
// exactly, with the decoders that serve uses.
func prepared(dir, when string) (float64, error) {
	name := filepath.Join(dir, "preprocess-"+when, "results.json")
	var r preprocess.Report
	if err := read(name, &r); err != nil {
		return 0, err
	}
	for _, c := range r.Results {
		for _, who := range []string{"native", "go"} {
			for _, f := range c.Figures[who] {
				if f.Step == preprocess.Whole {
					return f.CPUMedian, nil
				}
			}
		}
	}
	return 0, fmt.Errorf("%s has no step %s", name, preprocess.Whole)
}

// durations are the different durations at a place in the names of folders,
// the shortest first.
func durations(dir, pattern string, place int) ([]string, error) {
	folders, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		return nil, err
	}
	found := map[string]time.Duration{}
	for _, f := range folders {
		text := strings.Split(filepath.Base(f), "-")[place]
		if found[text], err = time.ParseDuration(text); err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no %s in %s", pattern, dir)
	}
	texts := make([]string, 0, len(found))
	for text := range found {
		texts = append(texts, text)
	}
	slices.SortFunc(texts, func(a, b string) int { return cmp.Compare(found[a], found[b]) })
	return texts, nil
}

func read(name string, into any) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
