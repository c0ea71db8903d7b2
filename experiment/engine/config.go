package engine

import (
	"context"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/internal/ratelimit"
	"github.com/agiqa/agiqa/quality"
)

// Checkpoints are those of this server.
type Checkpoints interface {
	// Resolve returns the checkpoint of a name: checkpoint_not_found.
	Resolve(name string) (quality.Checkpoint, error)
	// Names lists those that there are.
	Names() []string
	// Default returns the one that scores when a request names none.
	Default() (quality.Checkpoint, error)
	// Activate makes a checkpoint the default.
	Activate(ctx context.Context, name, by string) error
	// Preprocess names the way from bytes to pixels for a checkpoint.
	Preprocess(c quality.Checkpoint) quality.PreprocessID
}

// Canaries scores a fixed set of images with checkpoints before anybody is shown
// their scores: one row for each checkpoint, the scores of the images in it.
type Canaries interface {
	Score(ctx context.Context, checkpoints []quality.Checkpoint) ([][]float32, error)
}

// Labellers says whether anybody holds a valid key with the scope feedback.
// Without one no label can come that decides.
type Labellers interface {
	CanLabel(ctx context.Context) (bool, error)
}

const (
	refreshInterval = time.Second            // between two reads of the store
	watchInterval   = 200 * time.Millisecond // between two checks of the guardrails
	decideInterval  = 5 * time.Second        // between two reads of the records
	exposeTimeout   = time.Second
	mostImages      = 1_000_000 // of all experiments together
)

// raterLimits are how much feedback is taken from one rater.
var raterLimits = ratelimit.Config{PerSecond: 20, Burst: 200, Keys: 10_000}

// Deps are the collaborators of an Engine.
type Deps struct {
	Store       experiment.Store
	Hasher      experiment.Hasher
	Checkpoints Checkpoints
	Canaries    Canaries  // nil: experiments start without
	Labellers   Labellers // nil: nobody holds a key
	Tracer      trace.TracerProvider
	Meter       metric.MeterProvider
	Logger      *slog.Logger
	Now         func() time.Time // nil: time.Now. How much passes by it matters, not what it shows
	// MaxImages is how many images of experiments that have not ended are
	// remembered; 0: a million.
	MaxImages int
	// ExposeTimeout is how long a request waits for its record; 0: one second.
	ExposeTimeout time.Duration
}
