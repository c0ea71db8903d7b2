package scoring

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/internal/metrics"
	"github.com/agiqa/agiqa/internal/retrybudget"
	"github.com/agiqa/agiqa/quality"
)

// BatchConfig says how calls of different requests become one.
type BatchConfig struct {
	Max      int           // images of one call; below 2: calls stay as they are
	Wait     time.Duration // longest time that a call waits for others
	InFlight int           // calls to one model under way before others wait
}

// DefaultBatchConfig batches only what would wait for Triton anyway: a call
// goes out at once while fewer than two are under way, and what comes meanwhile
// goes together when one of them is answered.
func DefaultBatchConfig() BatchConfig {
	return BatchConfig{Max: 16, Wait: 20 * time.Millisecond, InFlight: 2}
}

func (c BatchConfig) validate() error {
	if c.Max < 2 {
		return nil
	}
	var faults []error
	if c.Wait <= 0 {
		faults = append(faults, fmt.Errorf("scoring: Batch.Wait is %s, must be positive", c.Wait))
	}
	if c.InFlight <= 0 {
		faults = append(faults, fmt.Errorf("scoring: Batch.InFlight is %d, must be positive", c.InFlight))
	}
	return errors.Join(faults...)
}

// batchedTriton is a Triton whose calls to the same model go together.
type batchedTriton struct {
	Triton
	encode *batcher[quality.Pixels, quality.Embedding]
	embed  *batcher[quality.Pixels, scoredEmbedding]
	head   *batcher[quality.Embedding, quality.HeadScore]
}

// scoredEmbedding is what an ensemble gives for one image.
type scoredEmbedding struct {
	score     quality.HeadScore
	embedding quality.Embedding
}

func newBatchedTriton(cfg BatchConfig, triton Triton, tracer trace.Tracer, meter metric.Meter) (*batchedTriton, error) {
	sizes, err1 := metrics.BatchSize.New(meter)
	splits, err2 := metrics.BatchSplits.New(meter)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	common := batching{cfg: cfg, tracer: tracer, sizes: sizes, splits: splits, budget: &retrybudget.Budget{}}
	return &batchedTriton{
		Triton: triton,
		encode: &batcher[quality.Pixels, quality.Embedding]{batching: common, what: "encoder"},
		embed:  &batcher[quality.Pixels, scoredEmbedding]{batching: common, what: "ensemble"},
		head:   &batcher[quality.Embedding, quality.HeadScore]{batching: common, what: "head"},
	}, nil
}

// EncodeImages implements [quality.ImageEncoder].
func (b *batchedTriton) EncodeImages(
	ctx context.Context, e quality.Encoder, images []quality.Pixels,
) ([]quality.Embedding, error) {
	call := func(ctx context.Context, images []quality.Pixels) ([]quality.Embedding, error) {
		return b.Triton.EncodeImages(ctx, e, images)
	}
	return b.encode.do(ctx, e.ImageIdentity().Hex(), images, call)
}

// Score implements [quality.HeadScorer]. The texts of a checkpoint are the same in
// every call.
func (b *batchedTriton) Score(
	ctx context.Context, e quality.Encoder, c quality.Checkpoint, text quality.TextEmbeddings,
	images []quality.Embedding,
) ([]quality.HeadScore, error) {
	call := func(ctx context.Context, images []quality.Embedding) ([]quality.HeadScore, error) {
		return b.Triton.Score(ctx, e, c, text, images)
	}
	return b.head.do(ctx, e.ImageIdentity().Hex()+c.Digest.Hex(), images, call)
}

// EmbedAndScore implements [quality.Ensemble].
func (b *batchedTriton) EmbedAndScore(
	ctx context.Context, e quality.Encoder, c quality.Checkpoint, text quality.TextEmbeddings,
	images []quality.Pixels,
) ([]quality.HeadScore, []quality.Embedding, error) {
	call := func(ctx context.Context, images []quality.Pixels) ([]scoredEmbedding, error) {
		scores, embeddings, err := b.Triton.EmbedAndScore(ctx, e, c, text, images)
		if err != nil {
			return nil, err
		}
		out := make([]scoredEmbedding, len(scores))
		for i := range out {
			out[i] = scoredEmbedding{scores[i], embeddings[i]}
		}
		return out, nil
	}
	got, err := b.embed.do(ctx, e.ImageIdentity().Hex()+c.Digest.Hex(), images, call)
	if err != nil {
		return nil, nil, err
	}
	scores, embeddings := make([]quality.HeadScore, len(got)), make([]quality.Embedding, len(got))
	for i, g := range got {
		scores[i], embeddings[i] = g.score, g.embedding
	}
	return scores, embeddings, nil
}

// batching is what all batchers share.
type batching struct {
	cfg    BatchConfig
	tracer trace.Tracer
	sizes  metric.Int64Histogram
	splits metric.Int64Counter
	budget *retrybudget.Budget
}

// batcher joins calls. Calls with the same key are to the same model, for the
// same encoder.
type batcher[I, O any] struct {
	batching
	what string

	mu     sync.Mutex
	queues map[string]*queue[I, O]
}

// queue is one model: what is under way to it, and what waits.
type queue[I, O any] struct {
	running int
	waiting []*pendingCall[I, O]
	timer   *time.Timer // of the first that waits
}

// pendingCall is one call among others.
type pendingCall[I, O any] struct {
	ctx   context.Context
	items []I
	call  func(context.Context, []I) ([]O, error)
	done  chan struct{} // closed when out or err is set
	out   []O
	err   error
}

// do runs call on items, alone or as a part of a larger call.
func (b *batcher[I, O]) do(
	ctx context.Context, key string, items []I, call func(context.Context, []I) ([]O, error),
) ([]O, error) {
	p := &pendingCall[I, O]{ctx: ctx, items: items, call: call, done: make(chan struct{})}
	if b.enqueue(key, p) {
		defer b.release(key)
		b.count(ctx, len(items))
		return call(ctx, items)
	}
	select {
	case <-p.done:
		return p.out, p.err
	case <-ctx.Done(): // the others go on
		return nil, context.Cause(ctx)
	}
}

// enqueue reports that p may go alone at once; otherwise p waits.
func (b *batcher[I, O]) enqueue(key string, p *pendingCall[I, O]) (alone bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.queues[key]
	if l == nil {
		if b.queues == nil {
			b.queues = map[string]*queue[I, O]{}
		}
		l = &queue[I, O]{}
		b.queues[key] = l
	}
	if l.running < b.cfg.InFlight && len(l.waiting) == 0 || len(p.items) >= b.cfg.Max {
		l.running++
		return true
	}
	l.waiting = append(l.waiting, p)
	switch {
	case l.size() >= b.cfg.Max:
		b.flush(key, l)
	case l.timer == nil:
		b.flushLater(key, l)
	}
	return false
}

// flushLater flushes what still waits when it has waited long enough.
func (b *batcher[I, O]) flushLater(key string, l *queue[I, O]) {
	l.timer = time.AfterFunc(b.cfg.Wait, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.queues[key] == l && len(l.waiting) > 0 {
			b.flush(key, l)
		}
	})
}

func (l *queue[I, O]) size() int {
	n := 0
	for _, p := range l.waiting {
		n += len(p.items)
	}
	return n
}

// release is the end of a call: what waits goes.
func (b *batcher[I, O]) release(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.queues[key]
	l.running--
	switch {
	case len(l.waiting) > 0:
		b.flush(key, l)
	case l.running == 0:
		delete(b.queues, key)
	}
}

// flush sends off those that wait, as many as fit, without those that left.
func (b *batcher[I, O]) flush(key string, l *queue[I, O]) {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	var calls []*pendingCall[I, O]
	n := 0
	for len(l.waiting) > 0 {
		p := l.waiting[0]
		if p.ctx.Err() == nil {
			if n > 0 && n+len(p.items) > b.cfg.Max {
				break
			}
			calls, n = append(calls, p), n+len(p.items)
		}
		l.waiting = l.waiting[1:]
	}
	if len(l.waiting) > 0 { // for them it begins anew
		b.flushLater(key, l)
	}
	if len(calls) == 0 {
		if l.running == 0 && len(l.waiting) == 0 {
			delete(b.queues, key)
		}
		return
	}
	l.running++
	go func() {
		defer b.release(key)
		b.run(calls, n)
	}()
}

// run makes one call for all and gives each its part. Where the call fails
// because of what it holds, each is sent alone, within the budget of second
// attempts: one image that breaks the model costs the others nothing.
func (b *batcher[I, O]) run(calls []*pendingCall[I, O], n int) {
	defer func() {
		if v := recover(); v != nil {
			err := quality.Errorf(quality.KindInternal, "an unexpected error")
			b.settle(calls, err.Because(fmt.Errorf("panic in a batch: %v", v)))
		}
	}()
	b.count(calls[0].ctx, n)
	if len(calls) == 1 {
		p := calls[0]
		p.out, p.err = p.call(p.ctx, p.items)
		close(p.done)
		return
	}
	ctx, end := b.shared(calls, n)
	items := make([]I, 0, n)
	for _, p := range calls {
		items = append(items, p.items...)
	}
	out, err := calls[0].call(ctx, items)
	if err == nil && len(out) != n {
		err = quality.Errorf(quality.KindModelBadOutput, "%d answers for %d images", len(out), n)
	}
	end(err)
	switch {
	case err == nil:
		b.budget.Success()
		for _, p := range calls {
			p.out, out = out[:len(p.items):len(p.items)], out[len(p.items):]
			close(p.done)
		}
	case brokenByContent(err) && b.budget.Failure():
		b.splits.Add(ctx, 1, metric.WithAttributes(attribute.String("call", b.what)))
		for _, p := range calls {
			p.out, p.err = p.call(p.ctx, p.items)
			close(p.done)
		}
	default:
		b.settle(calls, err)
	}
}

// settle gives those that have nothing yet an error.
func (b *batcher[I, O]) settle(calls []*pendingCall[I, O], err error) {
	for _, p := range calls {
		select {
		case <-p.done:
		default:
			p.err = err
			close(p.done)
		}
	}
}

// shared is the context of a call for several requests: it has the latest of
// their deadlines, the first one's trace, and links to and from the others'.
func (b *batcher[I, O]) shared(calls []*pendingCall[I, O], n int) (context.Context, func(error)) {
	var latest time.Time
	links := make([]trace.Link, 0, len(calls)-1)
	for i, p := range calls {
		deadline, has := p.ctx.Deadline()
		if !has {
			deadline = time.Now().Add(time.Hour) // the client has a limit of its own
		}
		if deadline.After(latest) {
			latest = deadline
		}
		if i > 0 {
			links = append(links, trace.LinkFromContext(p.ctx))
		}
	}
	ctx := context.WithoutCancel(calls[0].ctx)
	ctx, span := b.tracer.Start(ctx, "batch", trace.WithLinks(links...), trace.WithAttributes(
		attribute.Int("agiqa.batch.size", n), attribute.Int("agiqa.batch.requests", len(calls)),
		attribute.String("agiqa.batch.call", b.what)))
	for _, p := range calls[1:] {
		trace.SpanFromContext(p.ctx).AddLink(trace.LinkFromContext(ctx))
	}
	ctx, cancel := context.WithDeadline(ctx, latest)
	return ctx, func(err error) {
		cancel()
		MarkSpan(span, err)
		span.End()
	}
}

func (b *batcher[I, O]) count(ctx context.Context, n int) {
	b.sizes.Record(ctx, int64(n), metric.WithAttributes(attribute.String("call", b.what)))
}

// brokenByContent reports whether a call may have failed because of one of its
// images: the model broke, or answered nonsense.
func brokenByContent(err error) bool {
	if quality.KindOf(err) == quality.KindModelBadOutput {
		return true
	}
	var broke interface{ ModelBroke() bool }
	return errors.As(err, &broke) && broke.ModelBroke()
}
