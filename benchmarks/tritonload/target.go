package tritonload

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/agiqa/agiqa/benchmarks/load"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient"
)

// What is asked of Triton.
type What string

// The models of one checkpoint.
const (
	ImageEncoder What = "image-encoder" // pixels to an embedding
	Head         What = "head"          // an embedding to a score
	Ensemble     What = "ensemble"      // pixels to a score
)

// Config says what is asked.
type Config struct {
	Name       string // in reports; "": what is asked
	What       What
	Batch      int                // images in one request
	Encoder    quality.Encoder    // as described by the server
	Checkpoint quality.Checkpoint // of head and ensemble
	Seed       uint64
}

// variety is how many different pictures there are: more would only be more
// memory.
const variety = 32

// Target is a [load.Target].
type Target struct {
	client     *tritonclient.Client
	cfg        Config
	pixels     []quality.Pixels
	embeddings []quality.Embedding
	texts      quality.TextEmbeddings
}

// New draws what will be sent.
func New(client *tritonclient.Client, cfg Config) (*Target, error) {
	if !slices.Contains([]What{ImageEncoder, Head, Ensemble}, cfg.What) {
		return nil, fmt.Errorf("model: %q, must be %s, %s or %s", cfg.What, ImageEncoder, Head, Ensemble)
	}
	if cfg.Batch < 1 || cfg.Batch > variety {
		return nil, fmt.Errorf("batch: %d, must be 1 to %d", cfg.Batch, variety)
	}
	if cfg.Name == "" {
		cfg.Name = "triton " + string(cfg.What)
	}
	t := &Target{client: client, cfg: cfg}
	random := rand.New(rand.NewPCG(cfg.Seed, 0x7217))
	for range variety {
		b := make([]byte, quality.PixelsLen)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		p, err := quality.NewPixels(b)
		if err != nil {
			return nil, err
		}
		t.pixels = append(t.pixels, p)
		t.embeddings = append(t.embeddings, direction(random, cfg.Encoder.Dim))
	}
	for k := range t.texts {
		t.texts[k] = direction(random, cfg.Encoder.Dim)
	}
	return t, nil
}

func direction(random *rand.Rand, dim int) quality.Embedding {
	e := make(quality.Embedding, dim)
	norm := 0.0
	for i := range e {
		e[i] = float32(random.NormFloat64())
		norm += float64(e[i]) * float64(e[i])
	}
	for i := range e {
		e[i] /= float32(math.Sqrt(norm))
	}
	return e
}

// Name implements [load.Target].
func (t *Target) Name() string { return fmt.Sprintf("%s, batch %d", t.cfg.Name, t.cfg.Batch) }

// Open implements [load.Target]. Lanes share the client's connections.
func (t *Target) Open(ctx context.Context) load.Lane { return &lane{t, ctx} }

type lane struct {
	target *Target
	ctx    context.Context
}

// Close implements [load.Lane]. The client belongs to whoever made it.
func (l *lane) Close() {}

// Send implements [load.Lane]. Failures are the kinds that the client returns.
func (l *lane) Send(n int, deadline time.Time) load.Answer {
	ctx, cancel := context.WithDeadline(l.ctx, deadline)
	defer cancel()
	err := l.target.ask(ctx, n)
	a := load.Answer{Wrote: true}
	switch {
	case err == nil:
		a.First = time.Now()
	case l.ctx.Err() != nil:
		a.Failure = load.CutOff
	case quality.KindOf(err) == quality.KindOverloaded:
		a.Failure = load.Busy
	default:
		a.Failure = load.Failure(quality.KindOf(err))
	}
	return a
}

func (t *Target) ask(ctx context.Context, n int) (err error) {
	first := n % variety
	switch t.cfg.What {
	case ImageEncoder:
		_, err = t.client.EncodeImages(ctx, t.cfg.Encoder, rows(t.pixels, first, t.cfg.Batch))
	case Head:
		_, err = t.client.Score(ctx, t.cfg.Encoder, t.cfg.Checkpoint, t.texts, rows(t.embeddings, first, t.cfg.Batch))
	case Ensemble:
		_, _, err = t.client.EmbedAndScore(ctx, t.cfg.Encoder, t.cfg.Checkpoint, t.texts, rows(t.pixels, first, t.cfg.Batch))
	}
	return err
}

// rows takes n, from the first on and round again.
func rows[T any](all []T, first, n int) []T {
	out := make([]T, n)
	for i := range out {
		out[i] = all[(first+i)%len(all)]
	}
	return out
}
