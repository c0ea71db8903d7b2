package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/benchmarks/arms"
	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/internal/pictures"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
	"github.com/agiqa/agiqa/server"
)

func newArms(t *cli.Terminal) *cobra.Command {
	plan := arms.DefaultPlan()
	cmd := &cobra.Command{
		Use:   "arms [--duration 90s]",
		Short: "Measure scoring with 1, 2, 8 and 32 checkpoints",
		Long: "Starts a server with an embedded Triton in a temporary folder, imports perturbed copies of the default " +
			"checkpoint, and scores new images with sets of increasing size, interleaved and without HTTP. " +
			"--model-repository and --checkpoints select another encoder, such as one of ViT-B/16's size.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			var errs [3]error
			plan.Counts, errs[0] = cmd.Flags().GetIntSlice("counts")
			plan.Duration, errs[1] = cmd.Flags().GetDuration("duration")
			out, err := cmd.Flags().GetString("out")
			errs[2] = err
			for _, n := range plan.Counts {
				if n < 1 || n > lifecycle.DefaultPanelConfig().MaxColumns {
					errs[0] = errors.Join(errs[0],
						fmt.Errorf("--counts has %d, must be 1 to %d", n, lifecycle.DefaultPanelConfig().MaxColumns))
				}
			}
			if err := errors.Join(errs[:]...); err != nil {
				return err
			}
			s, err := cli.LoadSettings(cmd, t)
			if err != nil {
				return err
			}
			return measureEmbedded(cmd, t, s, plan, out, measureArms)
		},
	}
	cmd.Flags().IntSlice("counts", plan.Counts, "numbers of checkpoints per request; the first is the baseline")
	addEmbeddedFlags(cmd, plan)
	return cmd
}

// addEmbeddedFlags adds what every command has that calls measureEmbedded.
func addEmbeddedFlags(cmd *cobra.Command, plan arms.Plan) {
	cli.AddJSON(cmd)
	cmd.Flags().Duration("duration", plan.Duration, "total measurement time after the warm-up")
	cmd.Flags().String("out", "", "folder for results.json, results.txt and results.svg")
	config.AddFlags(cmd.Flags(), cli.ServerGroups...)
}

// measureEmbedded runs measure on a server with an embedded Triton in a temporary
// folder that keeps no image embeddings, prints the report and writes it to out
// if that is not empty.
func measureEmbedded(
	cmd *cobra.Command, t *cli.Terminal, s config.Settings, plan arms.Plan, out string,
	measure func(context.Context, *server.Server, *cli.Terminal, arms.Plan) ([]arms.Result, error),
) (err error) {
	if s.DataDir, err = os.MkdirTemp("", "agiqa-arms-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.DataDir)) }()
	s.Listen, s.ImageCacheBytes, s.RedisURL = "127.0.0.1:0", 0, ""
	srv, err := server.New(cmd.Context(), t.Embedded(s, false))
	if err != nil {
		return err
	}
	report := arms.Report{Manifest: arms.NewManifest(time.Now(), commandLine(cmd), buildCommit(), plan)}
	err = srv.While(cmd.Context(), func(ctx context.Context) (err error) {
		encoder, _ := srv.Encoder()
		report.Manifest.Encoder, report.Manifest.Dim, report.Manifest.Triton = encoder.Name,
			encoder.Dim, srv.Child().Version()
		report.Results, err = measure(ctx, srv, t, plan)
		return err
	})
	if err != nil {
		return err
	}
	if out != "" {
		if err := report.Write(out); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
	}
	if cli.AsJSON(cmd) {
		return cli.PrintJSON(t.Out, report)
	}
	return report.Text(t.Out)
}

func measureArms(ctx context.Context, srv *server.Server, t *cli.Terminal, plan arms.Plan) ([]arms.Result, error) {
	all, err := importArms(ctx, srv, t, plan.Counts)
	if err != nil {
		return nil, err
	}
	t.Note("measuring for %s", plan.Duration)
	random := rand.New(rand.NewPCG(plan.Seed, 1))
	return arms.Measure(ctx, plan, func(ctx context.Context, _, n int) error {
		file, err := pictures.PNG(pictures.Noise(quality.ImageSize, random)) // new to the server, so that the encoder works
		if err != nil {
			return err
		}
		answer, err := srv.Score(ctx, scoring.Request{Items: []scoring.Item{{Data: file}}, Checkpoints: all[:n]})
		if err != nil {
			return err
		}
		if _, by := answer.Timings.Stages()[scoring.StagePanel]; by != (n > 1) {
			return fmt.Errorf("scored by a panel: %t", by)
		}
		return answer.Results[0].Err
	})
}

// armSets are what the panels are told is wanted: one set for each count.
type armSets [][]quality.Digest

// WantedPanels implements [lifecycle.Wanted].
func (s armSets) WantedPanels() [][]quality.Digest { return s }

// importArms brings the largest count of checkpoints in, the default first,
// and waits until each set has its panel.
func importArms(ctx context.Context, srv *server.Server, t *cli.Terminal, counts []int) ([]quality.Checkpoint, error) {
	first, err := srv.Library().Snapshot().Default()
	if err != nil {
		return nil, err
	}
	all := []quality.Checkpoint{first.Checkpoint}
	most := 0
	for _, n := range counts {
		most = max(most, n)
	}
	t.Note("importing %d checkpoints", most-1)
	for i := 1; i < most; i++ {
		b, err := first.Bundle.Perturbed(fmt.Sprintf("arm-%d", i), uint64(i), .1)
		if err != nil {
			return nil, err
		}
		report, err := srv.Manager().Import(ctx, lifecycle.Import{Bundle: b, By: "bench"})
		if err != nil {
			return nil, err
		}
		all = append(all, report.Checkpoint)
	}
	var sets armSets
	for _, n := range counts {
		var set []quality.Digest
		for _, c := range all[:n] {
			set = append(set, c.Digest)
		}
		sets = append(sets, set)
	}
	srv.Panels().Want(sets)
	srv.Panels().Wake()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for _, n := range counts {
		for n > 1 {
			if _, ok := srv.Panels().Cover(all[:n]); ok {
				break
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
	}
	return all, nil
}
