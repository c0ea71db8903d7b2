package server

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/agiqa/agiqa/cache"
	"github.com/agiqa/agiqa/checkpoint/desired"
	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/experiment/sqlstore"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/metrics"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
	"github.com/agiqa/agiqa/tritonclient"
)

// follower keeps the service in step with the encoder that Triton serves.
type follower struct {
	triton  *tritonclient.Client
	caches  *cache.ByEncoder
	library *lifecycle.Library
	service *scoring.Service
	panels  panels
	manager *lifecycle.Manager
	logger  *slog.Logger
	state   *inUse
}

// Bounds of following, and why.
const (
	// describeWithin is less than a check's time: a server that hangs must not
	// keep the others from being looked at.
	describeWithin = 1500 * time.Millisecond
	// missedRounds is how often in a row no server with the encoder in use may
	// answer, before those that do not answer at all are given up.
	missedRounds = 3
	// movedFor is how long requests for the encoder before are told to try again.
	movedFor = 30 * time.Second
)

// inUse is what a follower remembers from one look to the next.
type inUse struct {
	mu      sync.Mutex
	missed  int             // looks in a row without the encoder in use
	models  *scoring.Models // of the encoder in use; nil: none yet
	before  *scoring.Models // of the one that was left last; nil: no server holds it any more
	left    quality.Digest  // that encoder, also then
	moved   time.Time       // when
	held    atomic.Int64    // encoders that servers hold
	dispute map[string]bool // what was logged
}

// follow asks every Triton which encoder it serves, and makes scoring use one:
// that which somebody chose, where any server has it; else that in use, as long as
// any server has it, so that an upgrade of one server after another is one move.
// Requests that began with a checkpoint of the encoder before are still scored by
// it where a server has it.
func (f follower) follow(ctx context.Context) error {
	look, cancel := context.WithTimeout(ctx, describeWithin)
	defer cancel()
	served, err := f.triton.Encoders(look)
	if len(served) == 0 {
		return err
	}
	f.state.mu.Lock()
	defer f.state.mu.Unlock()
	f.compare(ctx, served)
	current := f.caches.Encoder()
	encoder := f.state.choose(f.library.Snapshot().Encoder(), current, served, err == nil)
	if encoder == (quality.Encoder{}) {
		return quality.Errorf(quality.KindModelUnavailable, "no server with the encoder in use answers").Because(err)
	}
	if current.Digest != encoder.Digest {
		// Until the move is over, a request for either may come too early or too late.
		f.service.Elsewhere(append(f.state.elsewhere(encoder, served), current.Digest, encoder.Digest))
	}
	switched, err := f.caches.Switch(ctx, encoder, func(texts *cache.Texts, embeddings quality.EmbeddingCache) {
		f.state.before, f.state.models = f.state.models, &scoring.Models{Encoder: encoder, Texts: texts, Prompts: texts,
			Embeddings: embeddings, Panels: f.panels}
		f.service.Use(f.state.models, f.state.before)
	})
	if switched {
		if current.Digest != encoder.Digest {
			f.state.left, f.state.moved = current.Digest, time.Now()
		}
		f.logger.InfoContext(ctx, "encoder in use", "name", encoder.Name, "digest", encoder.Digest.String(),
			"precision", encoder.Precision)
		if name := f.library.UseEncoder(encoder); name != "" {
			f.logger.InfoContext(ctx, "default checkpoint for this encoder", "name", name)
		}
		f.reload()
	}
	if before := f.state.before; before != nil && !slices.Contains(served, before.Encoder) {
		f.state.before = nil
		f.service.Use(f.state.models)
		err = errors.Join(err, f.caches.Forget(ctx))
	}
	f.service.Elsewhere(f.state.elsewhere(encoder, served))
	return err
}

// choose returns the encoder to use of those served; zero: wait. complete says
// that every server answered.
func (s *inUse) choose(chosen desired.Encoder, current quality.Encoder, served []quality.Encoder,
	complete bool) quality.Encoder {
	isChosen := func(e quality.Encoder) bool { return desired.EncoderOf(e) == chosen }
	if i := slices.IndexFunc(served, isChosen); i >= 0 && !isChosen(current) {
		s.missed = 0
		return served[i]
	}
	if slices.Contains(served, current) {
		s.missed = 0
		return current
	}
	count := map[quality.Digest]int{}
	for _, e := range served {
		if e.ImageIdentity() == current.ImageIdentity() {
			s.missed = 0
			return e
		}
		count[e.ImageIdentity()]++
	}
	if s.missed++; !current.Digest.IsZero() && !complete && s.missed < missedRounds {
		return quality.Encoder{}
	}
	s.missed = 0
	// The one that most have; where equal, every gateway takes the same.
	return slices.MaxFunc(served, func(a, b quality.Encoder) int {
		x, y := a.ImageIdentity(), b.ImageIdentity()
		return cmp.Or(cmp.Compare(count[x], count[y]), bytes.Compare(x[:], y[:]))
	})
}

// elsewhere are the other encoders that requests may be told to wait for: some
// server has them, or they were in use a moment ago.
func (s *inUse) elsewhere(encoder quality.Encoder, served []quality.Encoder) []quality.Digest {
	var others []quality.Digest
	for _, e := range served {
		if e.Digest != encoder.Digest && !slices.Contains(others, e.Digest) {
			others = append(others, e.Digest)
		}
	}
	if !s.left.IsZero() && s.left != encoder.Digest && time.Since(s.moved) < movedFor {
		others = append(others, s.left)
	}
	return others
}

// compare counts the encoders that servers hold, and warns when there are
// several.
func (f follower) compare(ctx context.Context, served []quality.Encoder) {
	held := map[string]bool{}
	for _, e := range served {
		held[e.ImageIdentity().Hex()] = true
	}
	f.state.held.Store(int64(len(held)))
	if len(held) > 1 && !maps.Equal(held, f.state.dispute) {
		var names []string
		for _, e := range served {
			names = append(names, strings.TrimSpace(e.Name+" "+e.Digest.Short()+" "+e.Precision))
		}
		slices.Sort(names)
		f.logger.WarnContext(ctx, "servers hold different encoders; those with the one in use get the work",
			"encoders", slices.Compact(names))
	}
	f.state.dispute = held
}

// measure publishes how many encoders servers hold.
func (f follower) measure(meter metric.Meter) error {
	gauge, err := metrics.TritonEncoders.New(meter)
	if err != nil {
		return err
	}
	_, err = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(gauge, f.state.held.Load())
		return nil
	}, gauge)
	return err
}

// reload asks for models that Triton may have lost.
func (f follower) reload() {
	f.manager.Wake()
	f.panels.Wake()
}

// checks are what readiness depends on.
type checks struct {
	follower
	readiness *lifecycle.Readiness
	redis     *cache.Redis // nil: none
	preparing gateway.Check
	models    string          // why these models are served; "" where nobody chose
	store     *sqlstore.Store // nil: none
	faults    []gateway.Check // that the server started with
	looked    chan struct{}   // of one round: closed when its first check is over
}

// current are all checks of the moment, for one round.
func (c checks) current() []gateway.Check {
	c.looked = make(chan struct{})
	return append(c.always(), c.ofCheckpoints()...)
}

// always are the checks that do not depend on which checkpoints there are. The
// first one also follows the encoder.
func (c checks) always() []gateway.Check {
	all := []gateway.Check{
		{Name: "encoder", Critical: true, Note: c.describeEncoder, Run: func(ctx context.Context) error {
			defer close(c.looked)
			return c.follow(ctx)
		}},
		{Name: "inference", Critical: true, Run: c.probe},
		c.preparing,
		{Name: "state", Run: c.checkState, Note: c.describeState},
	}
	if c.redis != nil {
		all = append(all, gateway.Check{Name: "redis", Run: c.checkRedis})
	}
	if c.store != nil {
		all = append(all, gateway.Check{Name: "store", Run: c.checkStore})
	}
	return append(all, c.faults...)
}

// probe has a server compute.
func (c checks) probe(ctx context.Context) error {
	encoder, err := c.encoder(ctx)
	if err != nil {
		return err
	}
	return c.triton.Probe(ctx, encoder)
}

// encoder is the one in use. Where there is none yet, this round's first check may
// find it.
func (c checks) encoder(ctx context.Context) (quality.Encoder, error) {
	if c.caches.Encoder().Digest.IsZero() {
		select {
		case <-c.looked:
		case <-ctx.Done():
		}
	}
	encoder := c.caches.Encoder()
	if encoder.Digest.IsZero() {
		return encoder, quality.Errorf(quality.KindModelUnavailable, "the encoder is not known yet")
	}
	return encoder, nil
}

// describeEncoder names the encoder in use and says why it is that one.
func (c checks) describeEncoder() string {
	e := c.caches.Encoder()
	text := e.Name
	if e.Precision != "" {
		text += ", " + e.Precision
	}
	if c.models != "" {
		text += " (" + c.models + ")"
	}
	return text
}

// ofCheckpoints are one for each checkpoint of the moment, and one for what
// only some of the servers have.
func (c checks) ofCheckpoints() []gateway.Check {
	s := c.library.Snapshot()
	def, err := s.Default()
	all := []gateway.Check{{Name: "checkpoints", Run: c.checkReplicas}}
	if err != nil && quality.KindOf(err) != quality.KindCheckpointNotFound {
		all = append(all, gateway.Check{Name: "default", Critical: true, Run: func(context.Context) error { return err }})
	}
	encoder := c.caches.Encoder()
	for _, e := range s.List() {
		isDefault := e.Checkpoint.Digest == def.Checkpoint.Digest
		if !encoder.Digest.IsZero() && e.Checkpoint.Encoder != encoder.Digest && !isDefault {
			continue // shipped for other encoders, and nothing to wait for
		}
		all = append(all, gateway.Check{
			Name: "checkpoint " + e.Checkpoint.Name, Critical: isDefault,
			Run: func(ctx context.Context) error {
				encoder, err := c.encoder(ctx)
				if err != nil {
					return err
				}
				return c.readiness.Check(ctx, encoder, e.Checkpoint)
			},
		})
	}
	return all
}

// checkReplicas reports a checkpoint that could not be loaded into every
// server. It scores on the others; why is in the log, with addresses.
func (c checks) checkReplicas(context.Context) error {
	for _, e := range c.library.List() {
		if err := c.manager.Failure(e.Checkpoint.Digest); err != nil {
			return quality.Errorf(quality.KindModelUnavailable,
				"checkpoint %s could not be loaded into every inference server; it is tried again", e.Checkpoint.Name).Because(err)
		}
	}
	return nil
}

// checkRedis only reports: without Redis the server is slower, not wrong.
func (c checks) checkRedis(ctx context.Context) error {
	if err := c.redis.Check(ctx, c.caches.Encoder()); err != nil {
		return quality.Errorf(quality.KindModelUnavailable, "%s; scoring continues without it",
			cache.Explain(err)).Because(err)
	}
	return nil
}
