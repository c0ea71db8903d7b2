package cli

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/encoder"
	"github.com/agiqa/agiqa/internal/config"
)

// DefaultEncoder returns the folder of the encoder that is served unless a
// setting says otherwise.
func DefaultEncoder() string { return filepath.Join(ProjectFolder(), "encoders", "clip-vit-b-16") }

// BuiltModels returns the model repository that agiqa models writes.
func BuiltModels() string { return filepath.Join(ProjectFolder(), ".cache", "models") }

// SmallModels returns the model repository that is committed, with a small
// encoder.
func SmallModels() string { return absolute(filepath.Join(ProjectFolder(), "model_repository")) }

// DownloadedWeights returns the folder that make models downloads to.
func DownloadedWeights() string { return filepath.Join(ProjectFolder(), ".cache", "weights") }

// ModelChoice is a model repository and why it's served.
type ModelChoice struct {
	Dir string
	// Reason says in a clause why the choice fell on Dir.
	Reason string
	// Fix is the command that gets the default encoder, "" if Dir has it or a
	// setting names Dir.
	Fix string
}

// String is one line for people.
func (c ModelChoice) String() string {
	if c.Fix == "" {
		return c.Reason
	}
	return c.Reason + "; for the default encoder: " + c.Fix
}

// ChooseModels returns the model repository that an embedded Triton serves: the
// one that the setting model-repository names, otherwise the built one if it's
// whole, otherwise the one with the small encoder.
func ChooseModels(s config.Settings) ModelChoice {
	if s.ModelRepository != config.AutoRepository {
		return ModelChoice{Dir: s.ModelRepository, Reason: "setting model-repository names " + s.ModelRepository}
	}
	built := BuiltModels()
	if err := checkBuilt(built, s.Checkpoints); err != nil {
		return ModelChoice{
			Dir: SmallModels(), Fix: "make models",
			Reason: fmt.Sprintf("small encoder of the repository, because %s can't be used: %v", built, err),
		}
	}
	return ModelChoice{Dir: absolute(built), Reason: "default encoder, built in " + built}
}

func checkBuilt(dir, checkpoints string) error {
	e, err := encoder.Open(DefaultEncoder())
	if err != nil {
		return err
	}
	bundles, err := checkpoint.LoadDir(checkpoints, "", checkpoint.DefaultLimits())
	if err != nil {
		return fmt.Errorf("setting checkpoints: %w", err)
	}
	if !slices.ContainsFunc(bundles.List(),
		func(b *checkpoint.Bundle) bool { return b.Checkpoint().Encoder == e.Digest }) {
		return fmt.Errorf("no checkpoint in %s was trained on encoder %s", checkpoints, e.Name)
	}
	return e.CheckRepository(dir, bundles.List(), encoder.Int8)
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
