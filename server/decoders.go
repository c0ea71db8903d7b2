package server

import (
	"context"
	"sync"

	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/quality"
)

// NewPreparer makes what turns files into pixels.
func NewPreparer(s config.Settings) (*imageprep.Preparer, error) {
	cfg := imageprep.DefaultConfig()
	cfg.MaxBytes = int64(s.MaxImageBytes)
	cfg.MaxPixels = s.MaxImagePixels
	cfg.MaxScans = s.MaxImageScans
	cfg.MemoryBudget = int64(s.DecodeMemory)
	cfg.Mode = quality.PreprocessMode(s.Preprocess)
	return imageprep.New(cfg)
}

// selfTestCheck is the readiness check that holds a preparer against Pillow's
// pixels. What it found once stays: code doesn't change while the program runs.
func selfTestCheck(preparer interface{ SelfTest(context.Context) error }) gateway.Check {
	outcome := sync.OnceValue(func() error {
		if err := preparer.SelfTest(context.Background()); err != nil {
			return quality.Errorf(quality.KindInternal, "the self-test of preprocessing failed: %v", err)
		}
		return nil
	})
	return gateway.Check{Name: "preprocessing", Critical: true, Run: func(context.Context) error { return outcome() }}
}
