// Command statstable prints the tables of docs/statistics.md: what the methods of
// experiment/stats do on simulated experiments whose truth is known.
//
//	go run ./tools/statstable
//
// It takes 20 minutes on two cores, and with -runs 200 two. Images are drawn from the file that
// AGIQA_AGIQA3K names, AGIQA-3K's data.csv, or from a synthetic population with
// its quantiles.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"

	"github.com/agiqa/agiqa/experiment/stats"
	"github.com/agiqa/agiqa/experiment/stats/simulate"
)

func main() {
	runs := flag.Int("runs", 2000, "experiments of each kind; rarer kinds make fewer")
	seed := flag.Uint64("seed", 1, "of everything")
	flag.Parse()
	if err := run(os.Stdout, os.Getenv("AGIQA_AGIQA3K"), *runs, *seed); err != nil {
		fmt.Fprintln(os.Stderr, "statstable:", err)
		os.Exit(1)
	}
}

func run(w io.Writer, path string, runs int, seed uint64) error {
	if runs < 10 {
		return errors.New("runs: at least 10")
	}
	p, name, err := population(path)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "Population: %s. Seed %d.\n\n", name, seed)
	t := tables{w: w, p: p, plan: simulate.Plan{Runs: runs, Seed: seed, Workers: runtime.GOMAXPROCS(0)}}
	t.processes()
	t.rare()
	t.peeking()
	t.ratio()
	t.pairing()
	t.stopping()
	t.anchoring()
	return nil
}

// population is the real one where a file is named.
func population(path string) (simulate.Population, string, error) {
	if path == "" {
		return simulate.Synthetic(2982, 1), "2,982 synthetic images with the quantiles of AGIQA-3K", nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, "", err
	}
	defer file.Close()
	p, err := simulate.ReadAGIQA3K(file)
	return p, fmt.Sprintf("the %d images of AGIQA-3K", len(p)), err
}

type tables struct {
	w    io.Writer
	p    simulate.Population
	plan simulate.Plan
}

// with is the plan for experiments of a size; costly ones are made a share of times.
func (t tables) with(labels, every, rarer int) simulate.Plan {
	plan := t.plan
	plan.Labels, plan.Every, plan.Runs = labels, every, max(10, plan.Runs/rarer)
	return plan
}

func (t tables) heading(format string, cells ...string) {
	fmt.Fprintf(t.w, "**%s**\n\n|", format)
	for _, c := range cells {
		fmt.Fprintf(t.w, " %s |", c)
	}
	fmt.Fprint(t.w, "\n|")
	for range cells {
		fmt.Fprint(t.w, "---|")
	}
	fmt.Fprintln(t.w)
}

func percent(s simulate.Share) string {
	return fmt.Sprintf("%.2f %% ± %.2f", 100*s.Value, 100*s.SE)
}

// processes are experiments whose labels are alike in one way or another.
func (t tables) processes() {
	plan := t.with(3000, 20, 1)
	t.heading(fmt.Sprintf("Labels that are alike, alpha 5 %%, up to 3,000 labels, looks from 300 on, %d runs", plan.Runs),
		"process", "sequence of independent images: decided", "promoted", "median", "the rule: decided", "promoted", "median")
	for _, p := range simulate.Processes() {
		plain, rule := simulate.Compare(p, plan, stats.DefaultSequenceOptions())
		fmt.Fprintf(t.w, "| %s | %s | %s | %s | %s | %s | %s |\n", p.Name, percent(plain.Decided), percent(plain.Promoted),
			labels(plain.Median), percent(rule.Decided), percent(rule.Promoted), labels(rule.Median))
	}
	fmt.Fprintln(t.w)
}

// labels is a number of labels that may not have been enough.
func labels(n float64) string {
	if math.IsInf(n, 1) {
		return ""
	}
	return fmt.Sprint(n)
}

func (t tables) rare() {
	plan := t.with(4000, 50, 1)
	t.heading(fmt.Sprintf("What else looks like more than it is, nothing differs, alpha 5 %%, %d runs", plan.Runs),
		"data", "taken as it comes", "the rule")
	plain, held := simulate.RareThumbs(plan, stats.DefaultSequenceOptions(), stats.FewestEvents)
	fmt.Fprintf(t.w, "| thumbs of 4,000 users, 98 %% up, split 80/20 | %s | %s |\n", percent(plain), percent(held))
	plan.Labels = 60
	votes, pairs := simulate.Votes(plan, 30, 0.05)
	fmt.Fprintf(t.w, "| 60 pairs, 30 raters who agree | %s | %s |\n\n", percent(votes), percent(pairs))
}

func (t tables) peeking() {
	plan := t.with(5000, 50, 1)
	got := simulate.FalsePositives(t.p, plan, stats.DefaultSequenceOptions())
	pairs := simulate.Concordant(t.p, t.with(5000, 1, 1), simulate.Same(), 0.05)
	t.heading(fmt.Sprintf("Nothing differs, alpha 5 %%, 5,000 labels, %d runs", plan.Runs),
		"method", "looks", "false positives")
	for _, row := range []struct {
		method, looks string
		share         simulate.Share
	}{
		{"z-test of the paired loss", "once, at the end", got.Fixed},
		{"z-test of the paired loss", "every 50 labels from 100 on", got.Peeked},
		{"confidence sequence of the paired loss", "after every label from 100 on", got.Sequence},
		{"e-process of concordant pairs", "after every pair", pairs.Found},
	} {
		fmt.Fprintf(t.w, "| %s | %s | %s |\n", row.method, row.looks, percent(row.share))
	}
	fmt.Fprintln(t.w)
}

func (t tables) ratio() {
	t.heading("Sample ratio, ordered 50/50, alpha 0.1 %", "true split", "units", "runs", "chi-square at the end",
		"e-process, after every unit")
	for _, row := range []struct {
		truth        float64
		units, rarer int
	}{{0.5, 10_000, 1}, {0.51, 30_000, 10}, {0.52, 10_000, 10}, {0.52, 30_000, 10}} {
		plan := t.with(row.units, 1, row.rarer)
		got := simulate.SampleRatio(plan, row.truth, 1e-3)
		fmt.Fprintf(t.w, "| %.0f/%.0f | %d | %d | %s | %s |\n",
			100*row.truth, 100-100*row.truth, row.units, plan.Runs, percent(got.Once), percent(got.Always))
	}
	fmt.Fprintln(t.w)
}

func (t tables) pairing() {
	plan := t.with(0, 1, 4)
	t.heading(fmt.Sprintf("Difference of SRCC, one arm better, %d runs; MDE at 5 %% and 80 %%", plan.Runs),
		"images", "labels", "mean difference", "sd paired", "sd split", "variance ratio", "MDE paired", "MDE split")
	for _, images := range []int{100, 300, 1000, 2982} {
		for _, one := range []bool{false, true} {
			plan.Labels = images
			got := simulate.SpreadOfSRCC(t.p, plan, simulate.Different(), one)
			labels := "mean opinion"
			if one {
				labels = "one rater"
			}
			// The deviations are those of the whole difference: n is 1.
			paired, _ := stats.MDE(got.Paired, 1, 0.05, 0.8)
			split, _ := stats.MDE(got.Split, 1, 0.05, 0.8)
			fmt.Fprintf(t.w, "| %d | %s | %.4f | %.4f | %.4f | %.1f | %.3f | %.3f |\n", images, labels, got.Gap,
				got.Paired, got.Split, got.Split*got.Split/got.Paired/got.Paired, paired, split)
		}
	}
	fmt.Fprintln(t.w)
}

func (t tables) stopping() {
	plan := t.with(10_000, 50, 4)
	got := simulate.StoppingTimes(t.p, plan, simulate.Different(), stats.DefaultSequenceOptions())
	rare := t.with(60_000, 1, 20)
	pairs := simulate.Concordant(t.p, rare, simulate.Different(), 0.05)
	t.heading("One arm better: how long it takes", "method", "runs", "median", "nine in ten", "found", "wrong arm")
	fmt.Fprintf(t.w, "| confidence sequence of the paired loss, labels of one rater | %d | %.0f | %.0f | %s | %s |\n",
		plan.Runs, got.Median, got.P90, percent(got.Found), percent(got.Wrong))
	median := "not within 60,000"
	if !math.IsInf(pairs.Median, 1) {
		median = fmt.Sprintf("%.0f pairs", pairs.Median)
	}
	fmt.Fprintf(t.w, "| e-process of concordant pairs (%.1f %% discordant) | %d | %s | | %s | |\n\n",
		100*pairs.Discordant, rare.Runs, median, percent(pairs.Found))
}

func (t tables) anchoring() {
	plan := t.with(2000, 1, 10)
	t.heading(fmt.Sprintf("Labels that lean towards the shown score of the worse arm, 2,000 labels, %d runs", plan.Runs),
		"share of the way", "better arm found", "worse arm found better")
	for _, moved := range []float64{0, 0.2, 0.35, 0.5, 0.7} {
		got := simulate.AnchoredTests(t.p, plan, moved, stats.DefaultSequenceOptions())
		fmt.Fprintf(t.w, "| %.2f | %s | %s |\n", moved, percent(got.Superior), percent(got.Inferior))
	}
}
