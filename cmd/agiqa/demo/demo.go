// Package demo is the command "agiqa experiment demo": it starts a server with an
// embedded Triton and shows an experiment from its definition to its end, over
// HTTP. Package experiment/demo makes the images and simulates the raters.
package demo

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
	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/experiment/demo"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/server"
)

// Execute runs agiqa with arguments on a terminal.
type Execute func(ctx context.Context, t *cli.Terminal, args []string) error

// New returns the command "experiment demo". It runs other commands by execute.
func New(t *cli.Terminal, execute Execute) *cobra.Command {
	o := options{phases: phases(), shake: fullShake}
	var equal, quick bool
	cmd := &cobra.Command{
		Use:   "demo [--images DIR] [--out DIR] [--equal | --quick]",
		Short: "Demonstrate an experiment that ends with a promotion, and one that doesn't", Args: cobra.NoArgs,
		Long: "Starts a server with an embedded Triton and its own store, and uses it over HTTP as any client would: " +
			"imports " +
			"checkpoints, starts an experiment, scores images, and submits ratings of simulated people until the server " +
			"promotes the better arm. Then repeats this with two equal arms. Only the people and their preferences are " +
			"simulated, as the output explains; images, scores, records, statistics and decisions are real. Fails unless " +
			"both experiments end as expected. With 95 % confidence, the server may promote one of two equal arms for " +
			"one folder of images in forty.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.count < leastImages {
				return fmt.Errorf("--count is %d, must be at least %d: fewer give no confidence sequence", o.count, leastImages)
			}
			if quick {
				o.count, o.phases, o.shake = quickImages, quickPhases(), quickShake
			}
			if equal {
				o.phases = slices.DeleteFunc(o.phases, func(p phase) bool { return p.promotes })
			}
			s, err := cli.LoadSettings(cmd, t)
			if err != nil {
				return err
			}
			return run(cmd.Context(), t, execute, s, o)
		},
	}
	cmd.Flags().StringVar(&o.images, "images", "",
		"folder of JPEG, PNG or GIF images to crop from (default: the project's examples)")
	cmd.Flags().StringVar(&o.out, "out", "", "folder for reports and the store (default: a new one in data-dir)")
	cmd.Flags().BoolVar(&equal, "equal", false, "run only the experiment with equal arms")
	cmd.Flags().BoolVar(&quick, "quick", false,
		fmt.Sprintf("run only the experiment with a better candidate, with %d images and a worse control", quickImages))
	cmd.MarkFlagsMutuallyExclusive("equal", "quick")
	cmd.Flags().IntVar(&o.count, "count", 400, "number of images per experiment")
	config.AddFlags(cmd.Flags(), cli.ServerGroups...)
	return cmd
}

type options struct {
	images, out string
	count       int
	phases      []phase
	shake       float64 // weights of the worse arms are off by up to so many times themselves
}

const (
	leastImages = 120
	quickImages = 320
	seed        = 7
	// Scores of the demo checkpoint lie near the upper end of the scale, where
	// people's ratings are cut off. All arms are copies of it that say
	// scaleFactor*score + scaleOffset.
	scaleFactor, scaleOffset = 0.6, 0.9
	fullShake                = 3
	quickShake               = 3.9 // with 4.5, canaries forbid the start
)

// phase is one experiment of the demonstration.
type phase struct {
	id, title, treatment string
	truth                demo.Truth
	careless             int    // people who do not look; they favour scores that spread less, so equal arms have none
	told                 string // what the simulated people like, in words
	promotes             bool
}

// phases returns the two experiments of the whole demonstration.
func phases() []phase {
	return []phase{
		{
			id: "better", title: "a better candidate", treatment: "candidate", promotes: true, careless: 1,
			truth: demo.Truth{OfTreatment: 1, ImageSD: 0.3, Seed: seed},
			told: "people's true opinion of an image is the candidate's score, and a part that no checkpoint knows " +
				"(deviation 0.3)",
		},
		{
			id: "equal", title: "two arms of which none is better", treatment: "twin",
			truth: demo.Truth{OfTreatment: 0.5, ImageSD: 0.3, Seed: seed + 1},
			told: "people's true opinion lies half way between both arms' scores, and a part that no checkpoint knows " +
				"(deviation 0.3)",
		},
	}
}

// quickPhases is an experiment that fewer images decide: nearly all of an opinion is
// the candidate's score, and everybody looks.
func quickPhases() []phase {
	p := phases()[0]
	p.truth.ImageSD, p.careless = 0.1, 0
	p.told = "people's true opinion of an image is the candidate's score, and a part that no checkpoint knows " +
		"(deviation 0.1)"
	return []phase{p}
}

func run(ctx context.Context, t *cli.Terminal, execute Execute, s config.Settings, o options) (err error) {
	began := time.Now()
	if o.out, err = makeFolder(s, o.out); err != nil {
		return err
	}
	sources, err := readSources(t, o.images)
	if err != nil {
		return err
	}
	fmt.Fprintf(t.Out, "%d images are made of %d by cutting, mirroring and blurring.\n", o.count, len(sources))
	bar := t.Progress(o.count, "making images")
	images, err := demo.Images(sources, o.count, seed, bar.Step)
	bar.Done()
	if err != nil {
		return fmt.Errorf("--images: %w", err)
	}
	original, err := checkpoint.Open(filepath.Join(s.Checkpoints, "demo"), checkpoint.DefaultLimits())
	if err != nil {
		return err
	}
	if s.ModelRepository == config.AutoRepository {
		s.ModelRepository = cli.SmallModels() // what demo was trained on; the story is about experiments
	}
	s.DataDir = filepath.Join(o.out, "data")
	s.Listen, s.RedisURL, s.ExperimentStore, s.ExperimentKey, s.AdminKey, s.DefaultCheckpoint = "127.0.0.1:0", "", "", "",
		"", "demo"
	s.TLSCert, s.TLSKey = "", ""
	if s.LogLevel == config.Default().LogLevel {
		s.LogLevel = "error"
	}
	if err := server.EnsureAdminKey(&s); err != nil {
		return err
	}
	srv, err := server.New(ctx, t.Embedded(s, false))
	if err != nil {
		return err
	}
	err = srv.While(ctx, func(ctx context.Context) error {
		c := cli.NewClient(srv.URL())
		c.Key = s.AdminKey
		story := &demonstration{Terminal: t, execute: execute, client: c, images: images, out: o.out,
			data: s.DataDir, shake: o.shake}
		if err := story.importArms(ctx, original); err != nil {
			return err
		}
		if err := story.employ(ctx); err != nil {
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
	_, err = fmt.Fprintf(t.Out, "\n%s ended as must be, after %.0f s. Reports, definitions and the store (data): %s\n",
		what, time.Since(began).Seconds(), o.out)
	return err
}

// makeFolder makes the folder, which must have no store yet: what is decided
// must rest on this run alone.
func makeFolder(s config.Settings, out string) (string, error) {
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

// readSources reads the images that others are cut from.
func readSources(t *cli.Terminal, dir string) ([]demo.Image, error) {
	if dir == "" {
		dir = filepath.Join(cli.ProjectFolder(), "examples")
	}
	selected, err := cli.Pictures([]string{dir}, t.In)
	if err != nil {
		return nil, fmt.Errorf("--images: %w", err)
	}
	selected.Note(t)
	var sources []demo.Image
	for _, p := range selected.List {
		if err := p.Load(); err != nil {
			return nil, err
		}
		if http.DetectContentType(p.Data) == "image/webp" { // the images are decoded with Go's own packages
			continue
		}
		sources = append(sources, demo.Image{Name: p.Name, Data: p.Data})
	}
	if len(sources) == 0 {
		return nil, fmt.Errorf("--images: %s: no JPEG, PNG or GIF", dir)
	}
	return sources, nil
}
