package scoring

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/quality"
)

// Preparer turns the bytes of an image file into what the encoder sees.
type Preparer interface {
	// ID names the way from bytes to pixels by a recipe. An empty mode is the
	// server's own.
	ID(mode quality.PreprocessMode, recipe quality.Recipe) quality.PreprocessID
	// Inspect hashes, reads the header and applies every limit, without decoding.
	Inspect(data []byte) (imageprep.Inspected, error)
	// PrepareViews decodes and resizes what was inspected, and cuts views out.
	PrepareViews(ctx context.Context, in imageprep.Inspected, mode quality.PreprocessMode,
		views []quality.View) (imageprep.Prepared, error)
	// DecodeMemory estimates what a decode takes, and DecodeBudget is what all of
	// them may take together, in bytes.
	DecodeMemory(in imageprep.Inspected) int64
	DecodeBudget() int64
}

// Triton is what the use case asks of the inference server.
type Triton interface {
	quality.ImageEncoder
	quality.HeadScorer
	quality.PromptHeadScorer
	quality.PanelScorer
	quality.Ensemble
}

// Panels knows which panels Triton holds. It must not block: it is asked by
// every request for several checkpoints.
type Panels interface {
	// Cover returns a panel that has every one of the checkpoints, and false
	// where none is ready.
	Cover(checkpoints []quality.Checkpoint) (quality.Panel, bool)
	// Failed says that a panel did not answer, and why: its model may be gone.
	Failed(p quality.Panel, err error)
}

// Availability is what a Triton may also offer: whether asking it makes sense
// now, known without asking. Its error is that of a call that would fail at
// once.
type Availability interface{ Available() error }

// Config bounds the work. Start from [DefaultConfig].
type Config struct {
	Concurrency int           // requests worked on at once
	Queue       int           // requests that may wait for their turn
	RetryAfter  time.Duration // advice to those that are turned away
	// QueueWait is the longest time that a request may be expected to take, at
	// the pace of the last ones; others are turned away at once. 0: half of the
	// time that it has.
	QueueWait time.Duration
	// MaxRows is the most rows of one request, its images times the views of its
	// checkpoints, whether or not they are known; 0: any number.
	MaxRows int
	Batch   BatchConfig // how calls of different requests become one; zero: they do not
}

// DefaultConfig suits an encoder on the same machine or on a GPU: requests
// mostly wait for Triton, so there are many more of them than CPUs; decoding
// is bounded separately, by CPU.
func DefaultConfig() Config {
	return Config{Concurrency: 16 * runtime.GOMAXPROCS(0), Queue: 256, RetryAfter: time.Second, MaxRows: 256}
}

// Validate reports every field that cannot be right.
func (c Config) Validate() error {
	var faults []error
	if c.Concurrency <= 0 {
		faults = append(faults, fmt.Errorf("scoring: Concurrency is %d, must be positive", c.Concurrency))
	}
	if c.Queue < 0 {
		faults = append(faults, fmt.Errorf("scoring: Queue is %d, must not be negative", c.Queue))
	}
	if c.QueueWait < 0 {
		faults = append(faults, fmt.Errorf("scoring: QueueWait is %s, must not be negative", c.QueueWait))
	}
	if c.MaxRows < 0 {
		faults = append(faults, fmt.Errorf("scoring: MaxRows is %d, must not be negative", c.MaxRows))
	}
	if c.RetryAfter <= 0 {
		faults = append(faults, fmt.Errorf("scoring: RetryAfter is %s, must be positive", c.RetryAfter))
	}
	faults = append(faults, c.Batch.validate())
	return errors.Join(faults...)
}

// Deps are the collaborators of a Service.
type Deps struct {
	Preparer Preparer
	Triton   Triton
	Tracer   trace.TracerProvider
	Meter    metric.MeterProvider
}

// Service scores images. It is safe for concurrent use.
type Service struct {
	triton    Triton // without batching, for its Availability
	admission *admission
	decoding  *decoding
	embedder  embedder
	heads     *heads
	telemetry *telemetry
	maxRows   int
	models    atomic.Pointer[[]*Models] // those in use first
	elsewhere atomic.Pointer[[]quality.Digest]
}

// Models is what depends on the encoder that Triton serves at the moment.
type Models struct {
	Encoder    quality.Encoder
	Texts      quality.TextSource
	Prompts    quality.PromptSource
	Embeddings quality.EmbeddingCache // nil: image embeddings are not kept
	Panels     Panels                 // nil: heads are asked one by one
}

// New returns a Service that answers model_unavailable until [Service.Use]
// tells it which encoder there is.
func New(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	tel, err := newTelemetry(deps.Tracer, deps.Meter)
	if err != nil {
		return nil, err
	}
	admission, err := newAdmission(cfg, deps.Meter.Meter(scope))
	if err != nil {
		return nil, err
	}
	triton := deps.Triton
	if cfg.Batch.Max > 1 {
		if triton, err = newBatchedTriton(cfg.Batch, triton, deps.Tracer.Tracer(scope), deps.Meter.Meter(scope)); err != nil {
			return nil, err
		}
	}
	decoding := newDecoding(deps.Preparer, tel)
	return &Service{
		triton:    deps.Triton,
		admission: admission,
		decoding:  decoding,
		embedder:  cacheFirst{newCoalescing(&encoding{decoding, triton, tel}, tel)},
		heads:     &heads{triton, tel},
		telemetry: tel,
		maxRows:   cfg.MaxRows,
	}, nil
}

// Use makes m the models of every request that begins from now on; nil means
// that there are none. Requests for checkpoints of another encoder get the first
// of others that is theirs, nil standing for none: of encoders that were in use and
// that servers hold.
func (s *Service) Use(m *Models, others ...*Models) {
	all := slices.DeleteFunc(append([]*Models{m}, others...), func(m *Models) bool { return m == nil })
	s.models.Store(&all)
}

// Elsewhere tells the service which other encoders there are at the moment, on
// servers that get no work or until a moment ago: a request for one of them is
// told to try again, and not that it is wrong.
func (s *Service) Elsewhere(encoders []quality.Digest) { s.elsewhere.Store(&encoders) }

// otherEncoder is the error that c is of another encoder than that in use.
func (s *Service) otherEncoder(c quality.Checkpoint, inUse quality.Encoder) error {
	if others := s.elsewhere.Load(); others != nil && slices.Contains(*others, c.Encoder) {
		return quality.Errorf(quality.KindModelUnavailable,
			"the encoder of checkpoint %s is being exchanged; the one in use is %s", c.Name, inUse.Name).After(time.Second)
	}
	return quality.Errorf(quality.KindEncoderMismatch,
		"checkpoint %s was trained on another encoder than the one in use (%s)", c.Name, inUse.Name)
}

// Admit reports, without reading anything, whether a request that came now
// would be worked on: nil, or overloaded. Whoever has not read the request's
// body yet can spare it.
func (s *Service) Admit(ctx context.Context) error { return s.admission.look(ctx) }

// available reports at once that Triton is known to be gone.
func (s *Service) available() error {
	if a, ok := s.triton.(Availability); ok {
		return a.Available()
	}
	return nil
}

// Encoder returns the encoder in use, and false while there is none.
func (s *Service) Encoder() (quality.Encoder, bool) {
	m, err := s.modelsFor(nil)
	if err != nil {
		return quality.Encoder{}, false
	}
	return m.Encoder, true
}

// PreprocessID names the way from bytes to pixels by a recipe.
func (s *Service) PreprocessID(mode quality.PreprocessMode, recipe quality.Recipe) quality.PreprocessID {
	return s.decoding.preparer.ID(mode, recipe)
}

// modelsFor returns the models that score checkpoints, all of one encoder, or
// model_unavailable where there are none at all, and else what [Service.otherEncoder]
// says. With no checkpoints, those in use.
func (s *Service) modelsFor(checkpoints []quality.Checkpoint) (*Models, error) {
	all := s.models.Load()
	if all == nil || len(*all) == 0 {
		return nil, quality.Errorf(quality.KindModelUnavailable, "the inference server is not ready yet").After(time.Second)
	}
	fits := func(m *Models) bool {
		return !slices.ContainsFunc(checkpoints, func(c quality.Checkpoint) bool { return c.Encoder != m.Encoder.Digest })
	}
	if i := slices.IndexFunc(*all, fits); i >= 0 {
		return (*all)[i], nil
	}
	inUse := (*all)[0].Encoder
	other := slices.IndexFunc(checkpoints, func(c quality.Checkpoint) bool { return c.Encoder != inUse.Digest })
	return nil, s.otherEncoder(checkpoints[other], inUse)
}
