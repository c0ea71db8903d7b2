package scoring

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/quality"
)

// Bounds of suspicion, and why.
const (
	// Two losses without an answer between, each with the image alone at its
	// server: one may be an accident.
	lossesToConvict = 2
	// Long enough that a server comes back and works; then one loss more is
	// enough, so that a poisoned image costs a server a minute at most.
	quarantineFor = time.Minute
	// What was lost once and never again was an accident.
	suspicionFor = 10 * time.Minute
	// A loss makes suspects of what was under way, hundreds at most.
	maxSuspects = 4096
)

// suspects are images that servers were lost with. An image is one until a
// server answers for it. It is safe for concurrent use.
type suspects struct {
	mu sync.Mutex
	of map[quality.EmbeddingKey]suspicion
}

type suspicion struct {
	losses int       // without an answer between, with the image alone
	last   time.Time // loss of any sort
	until  time.Time // of its quarantine
}

// lost notes that a server was lost with the image under way, and reports
// whether that puts it into quarantine.
func (s *suspects) lost(key quality.EmbeddingKey, alone bool) (quarantined bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	is := s.get(key, now)
	is.last = now
	if alone {
		is.losses++
		if quarantined = is.losses >= lossesToConvict; quarantined {
			is.until = now.Add(quarantineFor)
		}
	}
	if s.of == nil {
		s.of = map[quality.EmbeddingKey]suspicion{}
	}
	if _, known := s.of[key]; !known && len(s.of) >= maxSuspects {
		s.forgetOldest()
	}
	s.of[key] = is
	return quarantined
}

// answered notes that a server survived the image.
func (s *suspects) answered(key quality.EmbeddingKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.of, key)
}

// about says whether the image is a suspect, with how many losses, and for how
// long its quarantine goes on.
func (s *suspects) about(key quality.EmbeddingKey) (suspect bool, losses int, quarantine time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	is := s.get(key, now)
	return !is.last.IsZero(), is.losses, max(0, is.until.Sub(now))
}

// get forgets what is over.
func (s *suspects) get(key quality.EmbeddingKey, now time.Time) suspicion {
	is, known := s.of[key]
	if known && now.Sub(is.last) >= suspicionFor {
		delete(s.of, key)
		return suspicion{}
	}
	return is
}

func (s *suspects) forgetOldest() {
	var oldest quality.EmbeddingKey
	first := true
	for key, is := range s.of {
		if first || is.last.Before(s.of[oldest].last) {
			oldest, first = key, false
		}
	}
	delete(s.of, oldest)
}

// dismiss gives the images that are in quarantine their error, before anything
// is spent on them.
func (w *work) dismiss(ctx context.Context, subjects []*subject) {
	n := 0
	for _, s := range subjects {
		_, _, rest := w.service.suspects.about(w.key(s))
		if s.err != nil || s.cached || rest == 0 {
			continue
		}
		n++
		s.err = quality.Errorf(quality.KindImageQuarantined,
			"inference servers were lost with this image alone under way; it will be tried again later").After(rest)
	}
	if n > 0 {
		trace.SpanFromContext(ctx).SetAttributes(attribute.Int("agiqa.images.quarantined", n))
	}
}

// apart lets call, which sends pixels to Triton, have the fresh images: all
// that are above suspicion together, and then each suspect alone, the least
// suspected first. A suspect's fault stays with it, unless no image of the
// request is left.
func (w *work) apart(ctx context.Context, fresh []*subject, call func(context.Context, []*subject) error) error {
	w.dismiss(ctx, fresh)
	var together, suspected []*subject
	losses := map[*subject]int{}
	for _, s := range fresh {
		suspect, n, _ := w.service.suspects.about(w.key(s))
		switch {
		case s.err != nil:
		case suspect:
			suspected, losses[s] = append(suspected, s), n
		default:
			together = append(together, s)
		}
	}
	if len(together) > 0 {
		if err := call(w.passage(ctx, together, false), together); err != nil {
			return err
		}
	}
	slices.SortStableFunc(suspected, func(a, b *subject) int { return losses[a] - losses[b] })
	var first error
	for _, s := range suspected {
		s.err = call(w.passage(ctx, []*subject{s}, true), []*subject{s})
		if ctx.Err() != nil {
			return s.err
		}
		if first == nil {
			first = s.err
		}
		_, n, _ := w.service.suspects.about(w.key(s))
		s.convicted = n > losses[s]
	}
	for _, s := range w.byItem {
		if s != nil && s.err == nil {
			return nil
		}
	}
	return first
}

// passage makes suspects of the images when the server is lost with them.
func (w *work) passage(ctx context.Context, subjects []*subject, alone bool) context.Context {
	keys := make([]quality.EmbeddingKey, len(subjects)) // and not the request: a call may outlive it
	for i, s := range subjects {
		keys[i] = w.key(s)
	}
	service := w.service
	return quality.WithPassage(ctx, quality.Passage{Alone: alone, Lost: func(alone bool) {
		for _, key := range keys {
			if service.suspects.lost(key, alone && len(keys) == 1) {
				service.quarantined(ctx, key)
			}
		}
	}})
}

// markSuspect shows on a span that its call is a suspect's.
func markSuspect(ctx context.Context, span trace.Span) {
	if alone(ctx) {
		span.SetAttributes(attribute.Bool("agiqa.image.suspect", true))
	}
}

// quarantined tells those who watch.
func (s *Service) quarantined(ctx context.Context, key quality.EmbeddingKey) {
	s.telemetry.quarantined.Add(ctx, 1)
	trace.SpanFromContext(ctx).AddEvent("image.quarantined", trace.WithAttributes(attribute.String("agiqa.image.sha256", key.Image.Hex())))
	s.logger.WarnContext(ctx, "image quarantined: inference servers were lost with it alone under way",
		"image", key.Image.String(), "preprocess", string(key.Preprocess), "seconds", quarantineFor.Seconds())
}
