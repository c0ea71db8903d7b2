package main

import (
	"context"
	"log/slog"
	"strings"
	"sync"

	"github.com/agiqa/agiqa/embedded"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/imageprep/native"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/quality"
)

// newPreparer makes what turns files into pixels, with the libraries of this
// machine where settings allow them. The libraries are closed after its last
// use. A library that fails its self-test is left out, with a warning: Go
// decodes instead, and the preprocess id says so.
func newPreparer(ctx context.Context, s config.Settings, logger *slog.Logger) (*imageprep.Preparer, *native.Set, error) {
	libraries := openLibraries(s)
	sound, faults := verified(ctx, libraries.Found)
	for _, err := range faults {
		logger.WarnContext(ctx, "a decoder is switched off: it does not give Pillow's pixels", "error", err)
	}
	cfg := imageprep.DefaultConfig()
	cfg.MaxBytes = int64(s.MaxImageBytes)
	cfg.MaxPixels = s.MaxImagePixels
	cfg.MaxScans = s.MaxImageScans
	cfg.MemoryBudget = int64(s.DecodeMemory)
	cfg.Mode = quality.PreprocessMode(s.Preprocess)
	preparer, err := imageprep.New(cfg, sound...)
	if err != nil {
		libraries.Close()
		return nil, nil, err
	}
	return preparer, libraries, nil
}

// verified separates the decoders that give Pillow's pixels from the faults of
// those that do not, which name them.
func verified(ctx context.Context, found []imageprep.Native) (sound []imageprep.Native, faults []error) {
	for _, n := range found {
		if err := imageprep.Verify(ctx, n); err != nil {
			faults = append(faults, err)
		} else {
			sound = append(sound, n)
		}
	}
	return sound, faults
}

func openLibraries(s config.Settings) *native.Set {
	if s.Decoders == "go" {
		return &native.Set{}
	}
	return native.Load()
}

// selfTested is the readiness check that holds preparer against Pillow's
// pixels. What it found once stays: neither code nor libraries change while
// the program runs.
func selfTested(preparer *imageprep.Preparer) gateway.Check {
	outcome := sync.OnceValue(func() error {
		if err := preparer.SelfTest(context.Background()); err != nil {
			return quality.Errorf(quality.KindInternal, "the self-test of preprocessing failed: %v", err)
		}
		return nil
	})
	return gateway.Check{Name: "preprocessing", Critical: true, Run: func(context.Context) error { return outcome() }}
}

// lookAtDecoders says which libraries decode images. Without any the server is
// slower, not wrong.
func lookAtDecoders(ctx context.Context, s config.Settings) embedded.Finding {
	f := embedded.Finding{Name: "decoders", OK: true}
	libraries := openLibraries(s)
	defer libraries.Close()
	sound, faults := verified(ctx, libraries.Found)
	var names []string
	for _, n := range sound {
		names = append(names, n.Name())
	}
	f.Detail = strings.Join(append(names, "Go"), ", ")
	for _, err := range faults {
		f.Detail += "; switched off: " + err.Error()
	}
	switch advice := libraries.Advice(); {
	case s.Decoders == "go":
		f.Detail = "pure Go, as setting decoders says"
	case advice == "" && len(libraries.Missing) > 0:
		f.Detail = "pure Go: " + libraries.Missing[0].Err.Error()
	case advice != "":
		f.Detail += "; " + advice + " makes JPEG and WebP faster"
	}
	return f
}
