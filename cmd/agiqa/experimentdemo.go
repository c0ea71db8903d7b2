package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/experiment/demo"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/server"
)

func newExperimentDemo(t *terminal) *cobra.Command {
	o := demoOptions{phases: demoPhases(), shake: demoShake}
	var equal, quick bool
	cmd := &cobra.Command{
		Use: "demo [--images DIR] [--out DIR] [--equal | --quick]", Short: "Show a whole experiment that ends with a promotion, and one that rightly does not", Args: cobra.NoArgs,
		Long: "Starts an embedded Triton and the whole server with a store of its own, and works it over HTTP as anybody would: imports checkpoints, starts an experiment, scores images, " +
			"and lets simulated people rate them until the server promotes the better arm. Then the same with two arms of which none is better. " +
			"The people and what they like are simulated, and the output says how; images, scores, records, statistics and decisions are not. Fails unless both end as they must; a server that is right 95 % of the time may promote one of equal arms for one folder of images in forty.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.count < leastDemoImages {
				return fmt.Errorf("--count is %d, must be at least %d: no sequence says anything of fewer", o.count, leastDemoImages)
			}
			if quick {
				o.count, o.phases, o.shake = leastDemoImages, quickPhases(), quickShake
			}
			if equal {
				o.phases = slices.DeleteFunc(o.phases, func(p demoPhase) bool { return p.promotes })
			}
			s, err := loadSettings(cmd, t)
			if err != nil {
				return err
			}
			return experimentDemo(cmd.Context(), t, s, o)
		},
	}
	cmd.Flags().StringVar(&o.images, "images", "", "folder of JPEG, PNG or GIF images that the demonstration's are cut from (default: the project's drawn examples)")
	cmd.Flags().StringVar(&o.out, "out", "", "folder for reports and the store (default: a new one in data-dir)")
	cmd.Flags().BoolVar(&equal, "equal", false, "only the one with equal arms")
	cmd.Flags().BoolVar(&quick, "quick", false, fmt.Sprintf("only the one with a better candidate, with %d images and a control that is worse by more", leastDemoImages))
	cmd.MarkFlagsMutuallyExclusive("equal", "quick")
	cmd.Flags().IntVar(&o.count, "count", 400, "images of each experiment")
	config.AddFlags(cmd.Flags(), serverGroups...)
	return cmd
}

type demoOptions struct {
	images, out string
	count       int
	phases      []demoPhase
	shake       float64 // weights of the worse arms are off by up to so many times themselves
}

const (
	leastDemoImages = 120
	demoSeed        = 7
	// Scores of the demo checkpoint lie near the upper end of the scale, where
	// people's ratings are cut off. All arms are copies of it that say
	// demoFactor*score + demoOffset.
	demoFactor, demoOffset = 0.6, 0.9
	demoShake              = 3
	quickShake             = 3.9 // with 4.5, canaries forbid the start
)

// demoPhase is one experiment of the demonstration.
type demoPhase struct {
	id, title, treatment string
	truth                demo.Truth
	careless             int    // people who do not look; they favour scores that spread less, so equal arms have none
	told                 string // what the simulated people like, in words
	promotes             bool
}

func demoPhases() []demoPhase {
	return []demoPhase{
		{
			id: "better", title: "a better candidate", treatment: "candidate", promotes: true, careless: 1,
			truth: demo.Truth{OfTreatment: 1, ImageSD: 0.3, Seed: demoSeed},
			told:  "people's true opinion of an image is the candidate's score, and a part that no checkpoint knows (deviation 0.3)",
		},
		{
			id: "equal", title: "two arms of which none is better", treatment: "twin",
			truth: demo.Truth{OfTreatment: 0.5, ImageSD: 0.3, Seed: demoSeed + 1},
			told:  "people's true opinion lies half way between both arms' scores, and a part that no checkpoint knows (deviation 0.3)",
		},
	}
}

// quickPhases is an experiment that fewer images decide: nearly all of an opinion is
// the candidate's score, and everybody looks.
func quickPhases() []demoPhase {
	p := demoPhases()[0]
	p.truth.ImageSD, p.careless = 0.1, 0
	p.told = "people's true opinion of an image is the candidate's score, and a part that no checkpoint knows (deviation 0.1)"
	return []demoPhase{p}
}

func experimentDemo(ctx context.Context, t *terminal, s config.Settings, o demoOptions) (err error) {
	began := time.Now()
	if o.out, err = demoFolder(s, o.out); err != nil {
		return err
	}
	sources, err := demoSources(t, o.images)
	if err != nil {
		return err
	}
	fmt.Fprintf(t.out, "%d images are made of %d by cutting, mirroring and blurring.\n", o.count, len(sources))
	bar := t.progress(o.count, "making images")
	images, err := demo.Images(sources, o.count, demoSeed, bar.step)
	bar.done()
	if err != nil {
		return fmt.Errorf("--images: %w", err)
	}
	original, err := checkpoint.Open(filepath.Join(s.Checkpoints, "demo"), checkpoint.DefaultLimits())
	if err != nil {
		return err
	}
	s.DataDir = filepath.Join(o.out, "data")
	s.Listen, s.RedisURL, s.ExperimentStore, s.ExperimentKey, s.AdminKey, s.DefaultCheckpoint = "127.0.0.1:0", "", "", "", "", "demo"
	if s.LogLevel == config.Default().LogLevel {
		s.LogLevel = "error"
	}
	if err := server.EnsureAdminKey(&s); err != nil {
		return err
	}
	srv, err := server.New(ctx, t.embedded(s, false))
	if err != nil {
		return err
	}
	err = srv.While(ctx, func(ctx context.Context) error {
		c := newClient(srv.URL())
		c.key = s.AdminKey
		story := &demoStory{terminal: t, client: c, images: images, out: o.out, data: s.DataDir, shake: o.shake}
		if err := story.importArms(ctx, original); err != nil {
			return err
		}
		for _, phase := range o.phases {
			if err := story.tell(ctx, phase); err != nil {
				return fmt.Errorf("experiment %s: %w", phase.id, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	what := "Both"
	if len(o.phases) == 1 {
		what = "It"
	}
	_, err = fmt.Fprintf(t.out, "\n%s ended as must be, after %.0f s. Reports, definitions and the store (data): %s\n", what, time.Since(began).Seconds(), o.out)
	return err
}

// demoFolder makes the folder, which must have no store yet: what is decided
// must rest on this run alone.
func demoFolder(s config.Settings, out string) (string, error) {
	if out == "" {
		parent := filepath.Join(s.DataDir, "demo-experiment")
		if err := os.MkdirAll(parent, 0o755); err != nil {
			return "", err
		}
		return os.MkdirTemp(parent, time.Now().UTC().Format("20060102-150405-"))
	}
	out, err := filepath.Abs(out)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(out, "data")); err == nil {
		return "", fmt.Errorf("--out: %s holds an earlier demonstration; name another folder or remove it", out)
	}
	return out, os.MkdirAll(out, 0o755)
}

// demoSources reads the images that others are cut from.
func demoSources(t *terminal, dir string) ([]demo.Image, error) {
	if dir == "" {
		dir = filepath.Join(projectFolder(), "examples")
	}
	selected, err := pictures([]string{dir}, t.in)
	if err != nil {
		return nil, fmt.Errorf("--images: %w", err)
	}
	selected.note(t)
	var sources []demo.Image
	for _, p := range selected.list {
		if err := p.load(); err != nil {
			return nil, err
		}
		if http.DetectContentType(p.data) == "image/webp" { // the images are decoded with Go's own packages
			continue
		}
		sources = append(sources, demo.Image{Name: p.name, Data: p.data})
	}
	if len(sources) == 0 {
		return nil, fmt.Errorf("--images: %s: no JPEG, PNG or GIF", dir)
	}
	return sources, nil
}
