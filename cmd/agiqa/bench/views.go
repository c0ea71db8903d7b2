package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/benchmarks/arms"
	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/internal/pictures"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
	"github.com/agiqa/agiqa/server"
)

// viewSets are the views that are measured, by their number.
var viewSets = map[int][]string{
	1: {"224"},
	2: {"448/r0c0", "448/r1c1"},
	4: {"448/r0c0", "448/r0c1", "448/r1c0", "448/r1c1"},
	5: {"224", "448/r0c0", "448/r0c1", "448/r1c0", "448/r1c1"},
}

func newViews(t *cli.Terminal) *cobra.Command {
	plan := arms.DefaultPlan()
	plan.Of, plan.Counts, plan.Duration = "views", []int{1, 2, 4, 5}, time.Minute
	cmd := &cobra.Command{
		Use:   "views [--duration 60s]",
		Short: "Measure scoring with 1, 2, 4 and 5 views of an image",
		Long: "Starts a server with an embedded Triton in a temporary folder and scores new images with the default " +
			"checkpoint, of which it changes the views, interleaved and without HTTP. --model-repository and " +
			"--checkpoints select another encoder, such as one of ViT-B/16's size.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			var errs [2]error
			plan.Duration, errs[0] = cmd.Flags().GetDuration("duration")
			out, err := cmd.Flags().GetString("out")
			errs[1] = err
			if err := errors.Join(errs[:]...); err != nil {
				return err
			}
			s, err := cli.LoadSettings(cmd, t)
			if err != nil {
				return err
			}
			return measureEmbedded(cmd, t, s, plan, out, measureViews)
		},
	}
	addEmbeddedFlags(cmd, plan)
	return cmd
}

// measureViews scores each new image by the default checkpoint. Triton's models
// don't know views, so a checkpoint with other views needs no import.
func measureViews(ctx context.Context, srv *server.Server, t *cli.Terminal, plan arms.Plan) ([]arms.Result, error) {
	entry, err := srv.Library().Snapshot().Default()
	if err != nil {
		return nil, err
	}
	checkpoints := map[int]quality.Checkpoint{}
	for n, texts := range viewSets {
		c := entry.Checkpoint
		if c.Views, err = quality.ParseViews(texts); err != nil {
			return nil, err
		}
		checkpoints[n] = c
	}
	t.Note("measuring for %s", plan.Duration)
	random := rand.New(rand.NewPCG(plan.Seed, 1))
	return arms.Measure(ctx, plan, func(ctx context.Context, _, n int) error {
		file, err := pictures.PNG(pictures.Noise(2*quality.ImageSize, random)) // new to the server, so that the encoder works
		if err != nil {
			return err
		}
		c := checkpoints[n]
		answer, err := srv.Score(ctx,
			scoring.Request{Items: []scoring.Item{{Data: file}}, Checkpoints: []quality.Checkpoint{c}})
		if err != nil {
			return err
		}
		result := answer.Results[0]
		if result.Err == nil && len(result.Scores[0].Views) != n {
			return fmt.Errorf("scored in %d views", len(result.Scores[0].Views))
		}
		return result.Err
	})
}
