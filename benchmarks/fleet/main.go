package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/agiqa/agiqa/internal/chart"
)

func main() {
	out := flag.String("out", "", "folder for summary.txt, results.json and results.svg")
	seed := flag.Uint64("seed", 1, "of the arrivals and of how long decoding takes")
	flag.Parse()
	if err := run(*out, *seed); err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

// service is what docs/capacity.md says of an image: the gateway measured, the
// GPU assumed.
var service = Service{Decode: 0.0076, Spread: 0.5, Batch: 0.002, Row: 0.00015, MaxBatch: 32}

// fleets are the questions that are asked. All serve 1,000 images/s, and ten
// times that for eight minutes.
func fleets(s Service) []Fleet {
	base := Fleet{
		Name: "no autoscaling", Service: s,
		Gateways: Pool{Replicas: 4, Start: 10}, Processors: 4, QueueWait: 1, CPUTarget: 0.6,
		Tritons: Pool{Replicas: 2, Start: 60}, Load: Load{Rate: 1000, Factor: 10, Begin: 60, Until: 540, End: 600},
	}
	with := func(name string, change func(*Fleet)) Fleet {
		f := base
		f.Name, f.Gateways.Max, f.Tritons.Max, f.InFlight, f.Waiting = name, 48, 8, 16, 0.25
		if change != nil {
			change(&f)
		}
		return f
	}
	return []Fleet{
		base,
		with("the chart's settings", nil),
		with("nodes for gateways take 2 min", func(f *Fleet) { f.Gateways.Start = 120 }),
		with("CPU target 40 %", func(f *Fleet) { f.CPUTarget, f.Gateways.Replicas = 0.4, 6 }),
		with("at least 12 gateways", func(f *Fleet) { f.Gateways.Replicas = 12 }),
		with("36 gateways, 2 Tritons", func(f *Fleet) { f.Gateways.Replicas = 36 }),
		with("36 gateways, 1 Triton", func(f *Fleet) { f.Gateways.Replicas, f.Tritons.Replicas = 36, 1 }),
		with("same, by queue wait from 1 s",
			func(f *Fleet) { f.Gateways.Replicas, f.Tritons.Replicas, f.InFlight, f.Waiting = 36, 1, 0, 1 }),
		with("same, by queue wait from 0.25 s",
			func(f *Fleet) { f.Gateways.Replicas, f.Tritons.Replicas, f.InFlight = 36, 1, 0 }),
		with("same, engines are built (10 min)",
			func(f *Fleet) { f.Gateways.Replicas, f.Tritons.Replicas, f.Tritons.Start = 36, 1, 600 }),
	}
}

func run(out string, seed uint64) error {
	var results []Result
	for _, f := range fleets(service) {
		results = append(results, Run(f, seed))
	}
	text := table(results)
	fmt.Print(text)
	if out == "" {
		return nil
	}
	picture, err := draw(results)
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(results, "", " ")
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(out, 0o755),
		os.WriteFile(filepath.Join(out, "summary.txt"), []byte(text), 0o644),
		os.WriteFile(filepath.Join(out, "results.svg"), append(picture, '\n'), 0o644),
		os.WriteFile(filepath.Join(out, "fleet.json"), append(data, '\n'), 0o644))
}

func table(results []Result) string {
	var b strings.Builder
	s := results[0].Fleet.Service
	fmt.Fprintf(&b, "decode %.1f ms (standard deviation %.0f %%); Triton %.2f ms for each batch and %.3f ms for each "+
		"image, "+
		"%d at most\n", 1000*s.Decode, 100*s.Spread, 1000*s.Batch, 1000*s.Row, s.MaxBatch)
	fmt.Fprintf(&b, "%-34s %-15s %9s %9s %7s %7s %28s %9s %8s\n", "fleet", "when", "offered/s",
		"refused", "p50 ms", "p99 ms",
		"waits ms: door, CPU, Triton", "gateways", "Tritons")
	for _, r := range results {
		for _, w := range r.Windows {
			fmt.Fprintf(&b, "%-34s %-15s %9.0f %8.1f%% %7.0f %7.0f %14.0f %6.0f %6.0f %9d %8d\n", r.Fleet.Name, w.Name,
				float64(w.Offered)/(w.Until-w.From), 100*w.Share(), 1000*w.P50, 1000*w.P99,
				1000*w.Admission, 1000*w.Processor, 1000*w.Triton, w.Gateways, w.Tritons)
		}
		recovered := "never"
		if r.Recovered >= 0 {
			recovered = fmt.Sprintf("after %.0f s", r.Recovered)
		}
		fmt.Fprintf(&b, "%-34s fewer than 1 %% refused: %s of the spike\n", "", recovered)
	}
	return b.String()
}

// draw shows what is answered a second, by fleet.
func draw(results []Result) ([]byte, error) {
	p := chart.New("Images answered a second, in a spike of ten times the load", "seconds", "images/s")
	var lines []chart.Line
	offered := plotter.XYs{}
	for i, r := range results[:min(5, len(results))] {
		points := plotter.XYs{}
		for t := 0; t+5 <= len(r.Seconds); t += 5 {
			sum, all := 0, 0
			for _, second := range r.Seconds[t : t+5] {
				sum, all = sum+second.Answered, all+second.Offered
			}
			points = append(points, plotter.XY{X: float64(t) + 2.5, Y: float64(sum) / 5})
			if i == 0 {
				offered = append(offered, plotter.XY{X: float64(t) + 2.5, Y: float64(all) / 5})
			}
		}
		lines = append(lines, chart.Line{Name: r.Fleet.Name, Points: points, Colour: i})
	}
	lines = append(lines, chart.Line{Points: offered, Colour: 5, Dashed: true})
	if err := chart.AddLines(p, lines); err != nil {
		return nil, err
	}
	p.Y.Min, p.Y.Max = 0, 14000 // with room for the legend
	return chart.SVG(p, 18*vg.Centimeter, 10*vg.Centimeter)
}
