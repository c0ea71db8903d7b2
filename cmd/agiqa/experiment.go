package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/cmd/agiqa/demo"
	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/analysis"
	experimentreport "github.com/agiqa/agiqa/experiment/report"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/server"
)

func newExperiment(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{Use: "experiment", Short: "Run A/B experiments of checkpoints on a server"}
	cmd.AddCommand(
		newExperimentValidate(t), newExperimentCreate(t), newExperimentEdit(t), newExperimentClone(t),
		newExperimentDelete(t), newExperimentList(t), newExperimentStatus(t),
		changeExperiment(t, "archive", "Put a draft, or an experiment that has ended, away; list leaves it out"),
		changeExperiment(t, "restore", "Take an experiment out of the archive"),
		changeExperiment(t, "start", "Start an experiment after checking its arms on canary images"),
		changeExperiment(t, "pause", "Pause: every request gets the default checkpoint, and nothing is recorded"),
		changeExperiment(t, "resume", "Resume after a pause; clears the reasons for a hold"),
		endExperiment(t, "stop", "End an experiment permanently"),
		endExperiment(t, "rollback", "End an experiment and make its control the default again"),
		newExperimentRamp(t), newExperimentPromote(t), newExperimentAudit(t), newExperimentReport(t), newExperimentReplay(t),
		demo.New(t, execute),
	)
	return cmd
}

// experimentCommand is a command that sends one request with the admin key.
func experimentCommand(t *cli.Terminal, cmd *cobra.Command,
	request func(cmd *cobra.Command, args []string) (method, path string, body []byte, err error),
	show func(raw []byte) error) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		method, path, body, err := request(cmd, args)
		if err != nil {
			return err
		}
		return cli.OnAdmin(cmd, t, func(ctx context.Context, c *cli.Client) error {
			if cmd.Flags().Lookup("yes") != nil {
				what := cmd.Name() + " experiment " + args[0]
				if len(args) > 1 {
					what = cmd.Name() + " arm " + args[1] + " of experiment " + args[0]
				}
				if err := cli.Confirm(ctx, cmd, t, what, c.Base); err != nil {
					return err
				}
			}
			req, err := http.NewRequestWithContext(ctx, method, c.Base+path, bytes.NewReader(body))
			if err != nil {
				return err
			}
			if len(body) > 0 {
				req.Header.Set("Content-Type", definitionType(body))
			}
			var raw json.RawMessage
			if err := c.Change(req, &raw); err != nil {
				return err
			}
			if cli.AsJSON(cmd) {
				_, err := fmt.Fprintln(t.Out, string(raw))
				return err
			}
			return show(raw)
		})
	}
	cli.AddJSON(cmd)
	config.AddFlags(cmd.Flags(), cli.ClientGroups...)
	return cmd
}

// showExperiment shows an experiment after a change.
func showExperiment(t *cli.Terminal) func(raw []byte) error {
	return func(raw []byte) error {
		var x gateway.ChangedExperiment
		if err := json.Unmarshal(raw, &x); err != nil {
			return err
		}
		if err := printExperiment(t.Out, x.Experiment); err != nil {
			return err
		}
		printWarnings(t.Out, x.Warnings)
		return nil
	}
}

func printWarnings(out io.Writer, warnings []string) {
	for _, text := range warnings {
		fmt.Fprintf(out, "warning: %s\n", text)
	}
}

func printExperiment(out io.Writer, x experiment.Experiment) error {
	state := string(x.State)
	if x.Archived {
		state += ", in the archive"
	}
	fmt.Fprintf(out, "%s is %s (phase %d, revision %d), coverage %s\n", x.ID, state, x.Phase, x.Revision, x.Coverage)
	if aa := x.AA(); aa != "" {
		fmt.Fprintln(out, aa)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, a := range x.Arms {
		note := ""
		switch {
		case a.Out:
			note = "taken out by a guardrail"
		case a.ID == x.Winner && x.State == experiment.RolledBack:
			note = "was promoted" + forcedNote(x)
		case a.ID == x.Winner:
			note = "promoted" + forcedNote(x)
		case a.ID == x.Recommended:
			note = "recommended"
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s", a.ID, a.Role, a.Mode, a.Weight, a.Checkpoint)
		if note != "" {
			fmt.Fprintf(w, "\t%s", note)
		}
		fmt.Fprintln(w)
	}
	for _, p := range x.Past {
		fmt.Fprintf(w, "  phase %d until %s\tcoverage %s", p.Phase, p.Ended.UTC().Format(time.DateTime), p.Coverage)
		for _, a := range p.Arms {
			fmt.Fprintf(w, "\t%s %s", a.ID, a.Weight)
		}
		fmt.Fprintln(w)
	}
	if len(x.Held) > 0 {
		fmt.Fprintf(w, "  held\t%s\n", strings.Join(x.Held, ", "))
	}
	return w.Flush()
}

func forcedNote(x experiment.Experiment) string {
	if x.Forced == "" {
		return ""
	}
	return ", forced: " + x.Forced
}

// definitionType is the Content-Type of a body: JSON, or else a definition in
// YAML.
func definitionType(body []byte) string {
	if json.Valid(body) {
		return "application/json"
	}
	return "application/yaml"
}

// readDefinition reads a file, "-" being the standard input.
func readDefinition(t *cli.Terminal, path string) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(io.LimitReader(t.In, experiment.MaxDefinitionBytes+1))
	}
	return os.ReadFile(path)
}

func newExperimentValidate(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use: "validate FILE", Short: "Check a definition, without a server", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := readDefinition(t, args[0])
			if err != nil {
				return err
			}
			x, err := experiment.Parse(text)
			if err != nil {
				return err
			}
			if cli.AsJSON(cmd) {
				return cli.PrintJSON(t.Out, x)
			}
			return printExperiment(t.Out, x)
		},
	}
	cli.AddJSON(cmd)
	return cmd
}

func newExperimentCreate(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{Use: "create FILE",
		Short: "Create a draft from a definition in YAML or JSON", Args: cobra.ExactArgs(1)}
	return experimentCommand(t, cmd, func(_ *cobra.Command, args []string) (string, string, []byte, error) {
		text, err := readDefinition(t, args[0])
		return http.MethodPost, "/v1/experiments", text, err
	}, showExperiment(t))
}

func newExperimentEdit(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{Use: "edit ID FILE", Short: "Replace the definition of a draft", Args: cobra.ExactArgs(2),
		Long: "Only drafts are edited. To change an experiment that has started, use ramp, or clone it."}
	return experimentCommand(t, cmd, func(_ *cobra.Command, args []string) (string, string, []byte, error) {
		text, err := readDefinition(t, args[1])
		return http.MethodPut, cli.ExperimentPath(args[0]), text, err
	}, showExperiment(t))
}

func newExperimentClone(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{Use: "clone ID NEWID", Short: "Make a draft of an experiment under another ID",
		Args: cobra.ExactArgs(2),
		Long: "The draft assigns units anew and begins its ramp anew. An arm that a guardrail took out is back, with " +
			"weight 0: see ramp --weights."}
	return experimentCommand(t, cmd, func(_ *cobra.Command, args []string) (string, string, []byte, error) {
		body, err := json.Marshal(gateway.CloneRequest{ID: args[1]})
		return http.MethodPost, cli.ExperimentPath(args[0]) + "/clone", body, err
	}, showExperiment(t))
}

func newExperimentDelete(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{Use: "delete ID", Short: "Delete a draft", Args: cobra.ExactArgs(1),
		Long: "Only drafts are deleted. Experiments that were started have records: archive them."}
	cli.AddYes(cmd)
	return experimentCommand(t, cmd, func(_ *cobra.Command, args []string) (string, string, []byte, error) {
		return http.MethodDelete, cli.ExperimentPath(args[0]), nil, nil
	}, func(raw []byte) error {
		var x experiment.Experiment
		if err := json.Unmarshal(raw, &x); err != nil {
			return err
		}
		_, err := fmt.Fprintf(t.Out, "%s, a draft, is deleted\n", x.ID)
		return err
	})
}

func changeExperiment(t *cli.Terminal, verb, short string) *cobra.Command {
	cmd := &cobra.Command{Use: verb + " ID", Short: short, Args: cobra.ExactArgs(1)}
	return experimentCommand(t, cmd, func(_ *cobra.Command, args []string) (string, string, []byte, error) {
		return http.MethodPost, cli.ExperimentPath(args[0]) + "/" + verb, nil, nil
	}, showExperiment(t))
}

// endExperiment is a change that ends an experiment: nothing starts it again.
func endExperiment(t *cli.Terminal, verb, short string) *cobra.Command {
	cmd := changeExperiment(t, verb, short)
	cli.AddYes(cmd)
	return cmd
}

func newExperimentRamp(t *cli.Terminal) *cobra.Command {
	var coverage string
	var weights map[string]string
	cmd := &cobra.Command{
		Use: "ramp ID --coverage 25%|--weights ARM=SHARE,...", Short: "Change coverage or weights", Args: cobra.ExactArgs(1),
		Long: "Increasing coverage moves no unit between arms. Changing weights or reducing coverage starts a " +
			"new phase and moves as few units as possible. Labels count in the new phase too; user_metric starts " +
			"over, without the units that moved.",
	}
	cmd.Flags().StringVar(&coverage, "coverage", "", "share of units that participate: a percentage, or parts per million")
	cmd.Flags().StringToStringVar(&weights, "weights", nil, "new weights by arm")
	return experimentCommand(t, cmd, func(_ *cobra.Command, args []string) (string, string, []byte, error) {
		body, err := json.Marshal(gateway.RampRequest{Coverage: coverage, Weights: weights})
		return http.MethodPost, cli.ExperimentPath(args[0]) + "/ramp", body, err
	}, showExperiment(t))
}

func newExperimentPromote(t *cli.Terminal) *cobra.Command {
	var promotion gateway.PromoteRequest
	cmd := &cobra.Command{
		Use: "promote ID ARM", Args: cobra.ExactArgs(2),
		Short: "Make an arm's checkpoint the default and end the experiment",
		Long: "Fails if the experiment doesn't meet its promotion rule, and lists what's missing. " +
			"--force promotes anyway, unless the experiment is held; its --reason is recorded in the audit log and " +
			"the report.",
	}
	cmd.Flags().BoolVar(&promotion.Force, "force", false, "promote even if the promotion rule isn't met")
	cmd.Flags().StringVar(&promotion.Reason, "reason", "", "why --force is justified")
	cli.AddYes(cmd)
	return experimentCommand(t, cmd, func(_ *cobra.Command, args []string) (string, string, []byte, error) {
		force := experiment.Force{On: promotion.Force, Reason: promotion.Reason}
		if err := force.Validate(); err != nil {
			return "", "", nil, err
		}
		promotion.Arm = args[1]
		body, err := json.Marshal(promotion)
		return http.MethodPost, cli.ExperimentPath(args[0]) + "/promote", body, err
	}, showExperiment(t))
}

func newExperimentList(t *cli.Terminal) *cobra.Command {
	var archived bool
	cmd := &cobra.Command{Use: "list", Short: "List experiments", Args: cobra.NoArgs}
	cmd.Flags().BoolVar(&archived, "archived", false, "list the archive too")
	return experimentCommand(t, cmd, func(*cobra.Command, []string) (string, string, []byte, error) {
		path := "/v1/experiments"
		if archived {
			path += "?archived=true"
		}
		return http.MethodGet, path, nil, nil
	}, func(raw []byte) error {
		var list struct{ Experiments []experiment.Experiment }
		if err := json.Unmarshal(raw, &list); err != nil {
			return err
		}
		for _, x := range list.Experiments {
			if err := printExperiment(t.Out, x); err != nil {
				return err
			}
		}
		return nil
	})
}

func newExperimentStatus(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{Use: "status ID", Short: "Show the status of an experiment", Args: cobra.ExactArgs(1)}
	return experimentCommand(t, cmd, func(_ *cobra.Command, args []string) (string, string, []byte, error) {
		return http.MethodGet, cli.ExperimentPath(args[0]), nil, nil
	}, func(raw []byte) error {
		var s gateway.ExperimentStatus
		if err := json.Unmarshal(raw, &s); err != nil {
			return err
		}
		return printStatus(t.Out, s)
	})
}

func printStatus(out io.Writer, s gateway.ExperimentStatus) error {
	if err := printExperiment(out, s.Experiment); err != nil {
		return err
	}
	if s.Trouble != "" {
		fmt.Fprintf(out, "not served here: %s\n", s.Trouble)
	}
	printWarnings(out, s.Warnings)
	fmt.Fprintf(out, "%d exposures of %d units in this phase; %d images so far, %d of them with blind labels by %d "+
		"raters\n",
		s.Counts["exposures"], s.Counts["units"], s.Counts["images"],
		s.Counts["images_labelled_blind"], s.Counts["raters_blind"])
	fmt.Fprintf(out, "feedback: %d counted, %d not counted%s\n", s.Counts["counted"], s.Counts["uncounted"],
		reasons(s.Uncounted))
	for _, g := range s.Guards {
		if !g.OK {
			fmt.Fprintf(out, "guardrail %s %s: %.4g, limit %.4g (%s) %s\n", g.Kind, g.Arm, g.Value, g.Limit, g.Action, g.Detail)
		}
	}
	for _, a := range s.Arms {
		fmt.Fprintf(out, "%s: %s by %s", a.Arm, effectInWords(a.Effect), s.Experiment.Primary)
		if a.Low != nil && a.High != nil {
			fmt.Fprintf(out, "; the effect lies between %.4g and %.4g", *a.Low, *a.High)
		}
		fmt.Fprintln(out)
		if a.Arm == string(s.Experiment.Winner) {
			continue // nothing is missing any more
		}
		switch {
		case a.ToGo.Estimated && a.ToGo.Count > 0:
			fmt.Fprintf(out, "  about %d more %s to go for a difference of %g\n", a.ToGo.Count, a.ToGo.Of, s.Experiment.MDE)
		case a.ToGo.Count > 0:
			fmt.Fprintf(out, "  at least %d more %s to go\n", a.ToGo.Count, a.ToGo.Of)
		}
		for _, m := range a.Missing {
			fmt.Fprintf(out, "  %s\n", m)
		}
		if a.Ready {
			fmt.Fprintf(out, "  may be promoted: agiqa experiment promote %s %s\n", s.Experiment.ID, a.Arm)
		}
	}
	return nil
}

// effectInWords says how an arm did so far.
func effectInWords(effect *float64) string {
	switch {
	case effect == nil:
		return "nothing known yet"
	case *effect > 0:
		return fmt.Sprintf("%.4g better than the control so far", *effect)
	case *effect < 0:
		return fmt.Sprintf("%.4g worse than the control so far", -*effect)
	}
	return "like the control so far"
}

// reasons lists why feedback is not counted.
func reasons(counts map[string]int) string {
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d %s", counts[reason], strings.ReplaceAll(reason, "_", " ")))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

func newExperimentAudit(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{Use: "audit ID", Short: "List the changes of an experiment: who made them, and on what numbers",
		Args: cobra.ExactArgs(1)}
	return experimentCommand(t, cmd, func(_ *cobra.Command, args []string) (string, string, []byte, error) {
		return http.MethodGet, cli.ExperimentPath(args[0]) + "/audits", nil, nil
	}, func(raw []byte) error {
		var list struct{ Audits []experiment.Audit }
		if err := json.Unmarshal(raw, &list); err != nil {
			return err
		}
		for _, a := range list.Audits {
			printAudit(t.Out, a)
		}
		return nil
	})
}

func printAudit(out io.Writer, a experiment.Audit) {
	fmt.Fprintf(out, "%s  %d  %s by %s", a.Time.UTC().Format(time.DateTime), a.Revision, a.Action, a.By)
	if a.From != a.To && a.From != "" {
		fmt.Fprintf(out, ": %s to %s", a.From, a.To)
	}
	if a.Detail != "" {
		fmt.Fprintf(out, " (%s)", a.Detail)
	}
	fmt.Fprintln(out)
	for _, name := range slices.Sorted(maps.Keys(a.Numbers)) {
		fmt.Fprintf(out, "    %s  %s\n", name, a.Numbers[name])
	}
}

func newExperimentReport(t *cli.Terminal) *cobra.Command {
	var page, sheet, folder string
	var phase int
	cmd := &cobra.Command{
		Use:   "report ID [--phase N] [--html FILE] [--png FILE] [--out DIR]",
		Short: "Print the full analysis as JSON, or write it as a page and an image", Args: cobra.ExactArgs(1),
		Long: "The server computes the analysis; this command renders it. " +
			"--out writes report.json, report.html and report.png.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return cli.OnAdmin(cmd, t, func(ctx context.Context, c *cli.Client) error {
				path := cli.ExperimentPath(args[0]) + "/report"
				if cmd.Flags().Changed("phase") {
					path += fmt.Sprintf("?phase=%d", phase)
				}
				raw, err := c.Fetch(ctx, path)
				if err != nil {
					return err
				}
				if page == "" && sheet == "" && folder == "" {
					_, err = t.Out.Write(append(raw, '\n'))
					return err
				}
				if folder == "" {
					return writeReport(ctx, raw, "", page, sheet)
				}
				if err := os.MkdirAll(folder, 0o755); err != nil {
					return err
				}
				return writeReport(ctx, raw, filepath.Join(folder, "report.json"),
					cmp.Or(page, filepath.Join(folder, "report.html")), cmp.Or(sheet, filepath.Join(folder, "report.png")))
			})
		},
	}
	cmd.Flags().IntVar(&phase, "phase", 0, "report on this phase instead of the present one")
	cmd.Flags().StringVar(&page, "html", "", "write an HTML page to this file")
	cmd.Flags().StringVar(&sheet, "png", "", "write a PNG image to this file")
	cmd.Flags().StringVar(&folder, "out", "", "write all three formats to this folder")
	config.AddFlags(cmd.Flags(), cli.ClientGroups...)
	return cmd
}

// writeReport writes the forms of a report that have a name.
func writeReport(ctx context.Context, raw []byte, document, page, sheet string) error {
	var r analysis.Report
	if err := json.Unmarshal(raw, &r); err != nil {
		return fmt.Errorf("the server's report: %w", err)
	}
	for _, form := range []struct {
		path string
		make func(r analysis.Report) ([]byte, error)
	}{
		{document, func(analysis.Report) ([]byte, error) { return raw, nil }},
		{page, func(r analysis.Report) ([]byte, error) { return experimentreport.HTML(ctx, r) }},
		{sheet, experimentreport.PNG},
	} {
		if form.path == "" {
			continue
		}
		content, err := form.make(r)
		if err == nil {
			err = os.WriteFile(form.path, content, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func newExperimentReplay(t *cli.Terminal) *cobra.Command {
	var phase int
	cmd := &cobra.Command{
		Use: "replay ID [--phase N] [REPORT]", Short: "Recompute an experiment's report from its log, without a server",
		Args: cobra.RangeArgs(1, 2),
		Long: "Opens the store of setting experiment-store and prints the report computed from its log. With REPORT, " +
			"the JSON output of agiqa experiment report, recomputes that report from the same records and fails " +
			"unless the two are bit-identical.",
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := cli.LoadSettings(cmd, t)
			if err != nil {
				return err
			}
			store, err := server.OpenExperimentStore(cmd.Context(), s, server.NewLogger(s, t.Err, t.Screen))
			if err != nil {
				return err
			}
			err = replay(cmd.Context(), t, store, phase, args)
			return errors.Join(err, store.Close())
		},
	}
	cmd.Flags().IntVar(&phase, "phase", 0, "without REPORT: the phase to report on instead of the present one")
	config.AddFlags(cmd.Flags(), "Experiments", "Program")
	return cmd
}

func replay(ctx context.Context, t *cli.Terminal, store experiment.Store, phase int, args []string) error {
	if len(args) == 1 {
		x, err := store.Get(ctx, experiment.ID(args[0]))
		if err != nil {
			return err
		}
		if x, err = x.AtPhase(phase); err != nil {
			return err
		}
		state, err := analysis.ReadAt(ctx, store, x, analysis.Log{}, analysis.DefaultLimits())
		if err != nil {
			return err
		}
		report, err := analysis.Analyse(ctx, state, time.Now(), analysis.DefaultOptions())
		if err != nil {
			return err
		}
		return cli.PrintJSON(t.Out, report)
	}
	raw, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	var live analysis.Report
	if err := json.Unmarshal(raw, &live); err != nil {
		return fmt.Errorf("%s: %w", args[1], err)
	}
	if string(live.Experiment.ID) != args[0] {
		return fmt.Errorf("%s is the report of %s", args[1], live.Experiment.ID)
	}
	o := analysis.DefaultOptions()
	o.Checks.Guards = live.Guards
	again, err := analysis.Replay(ctx, store, live, o)
	if err != nil {
		return err
	}
	if !again.Equal {
		return fmt.Errorf("the log gives other numbers: %s", strings.Join(again.Differences, "; "))
	}
	_, err = fmt.Fprintf(t.Out, "the log gives the report's numbers, bit by bit (exposures read up to offset %d, "+
		"feedback to %d)\n", again.Log.Exposures, again.Log.Feedback)
	return err
}
