package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

// Checkpoints are those of this server.
type Checkpoints interface {
	// Resolve returns the checkpoint of a name: checkpoint_not_found.
	Resolve(name string) (quality.Checkpoint, error)
	// Default returns the one that scores when a request names none.
	Default() (quality.Checkpoint, error)
	// Activate makes a checkpoint the default.
	Activate(ctx context.Context, name, by string) error
	// Preprocess names the way from bytes to pixels.
	Preprocess() quality.PreprocessID
}

// Canaries lets checkpoints judge a fixed set of images before anybody is shown
// their scores: one row for each checkpoint, the scores of the images in it.
type Canaries interface {
	Judge(ctx context.Context, checkpoints []quality.Checkpoint) ([][]float32, error)
}

// Config bounds what an engine does. Start from [DefaultConfig].
type Config struct {
	Refresh       time.Duration // between two looks at the store
	Watch         time.Duration // between two looks at the guardrails
	Decide        time.Duration // between two looks at the records
	ExposeTimeout time.Duration // that a request waits for its record
	RaterRate     float64       // pieces of feedback a second from one rater
	RaterBurst    int
	Raters        int // that are remembered for that
}

// DefaultConfig suits a gateway.
func DefaultConfig() Config {
	return Config{
		Refresh: time.Second, Watch: 200 * time.Millisecond, Decide: 5 * time.Second,
		ExposeTimeout: time.Second, RaterRate: 20, RaterBurst: 200, Raters: 10_000,
	}
}

// Validate reports every fault at once.
func (c Config) Validate() error {
	var faults []error
	for name, ok := range map[string]bool{
		"Refresh": c.Refresh > 0, "Watch": c.Watch > 0, "Decide": c.Decide > 0, "ExposeTimeout": c.ExposeTimeout > 0,
		"RaterRate": c.RaterRate > 0, "RaterBurst": c.RaterBurst > 0, "Raters": c.Raters > 0,
	} {
		if !ok {
			faults = append(faults, fmt.Errorf("engine: %s must be positive", name))
		}
	}
	return errors.Join(faults...)
}

// Deps are the collaborators of an Engine.
type Deps struct {
	Store       experiment.Store
	Hasher      experiment.Hasher
	Checkpoints Checkpoints
	Canaries    Canaries // nil: experiments start without
	Tracer      trace.TracerProvider
	Meter       metric.MeterProvider
	Logger      *slog.Logger
	Now         func() time.Time // nil: time.Now
}
