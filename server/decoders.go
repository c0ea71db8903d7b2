package server

import (
	"context"
	"log/slog"
	"sync"

	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/imageprep/native"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/quality"
)

// NewPreparer makes what turns files into pixels, with the libraries of this
// machine where settings allow them. A library that fails its self-test is left
// out, with a warning: Go decodes instead, and the preprocess id says so.
func NewPreparer(ctx context.Context, s config.Settings, logger *slog.Logger) (*imageprep.Preparer, error) {
	sound, faults := VerifyDecoders(ctx, OpenDecoders(s).Found)
	for _, err := range faults {
		logger.WarnContext(ctx, "disabling a decoder: its pixels differ from Pillow's", "error", err)
	}
	cfg := imageprep.DefaultConfig()
	cfg.MaxBytes = int64(s.MaxImageBytes)
	cfg.MaxPixels = s.MaxImagePixels
	cfg.MaxScans = s.MaxImageScans
	cfg.MemoryBudget = int64(s.DecodeMemory)
	cfg.Mode = quality.PreprocessMode(s.Preprocess)
	return imageprep.New(cfg, sound...)
}

// VerifyDecoders separates the decoders that give Pillow's pixels from the faults of
// those that do not, which name them.
func VerifyDecoders(ctx context.Context, found []imageprep.Native) (sound []imageprep.Native, faults []error) {
	for _, n := range found {
		if err := imageprep.Verify(ctx, n); err != nil {
			faults = append(faults, err)
		} else {
			sound = append(sound, n)
		}
	}
	return sound, faults
}

// OpenDecoders opens the decoders in C that the settings allow and the machine
// has.
func OpenDecoders(s config.Settings) *native.Set {
	if s.Decoders == "go" {
		return &native.Set{}
	}
	return native.Load()
}

// selfTestCheck is the readiness check that holds preparer against Pillow's
// pixels. What it found once stays: neither code nor libraries change while
// the program runs.
func selfTestCheck(preparer *imageprep.Preparer) gateway.Check {
	outcome := sync.OnceValue(func() error {
		if err := preparer.SelfTest(context.Background()); err != nil {
			return quality.Errorf(quality.KindInternal, "the self-test of preprocessing failed: %v", err)
		}
		return nil
	})
	return gateway.Check{Name: "preprocessing", Critical: true, Run: func(context.Context) error { return outcome() }}
}
