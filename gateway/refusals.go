package gateway

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/agiqa/agiqa/quality"
)

// refusals are the kinds of error that a server under attack, or overloaded,
// answers thousands of times a second without work. They are no fault of its own.
var refusals = map[quality.Kind]bool{
	quality.KindRateLimited:     true,
	quality.KindOverloaded:      true,
	quality.KindDraining:        true,
	quality.KindUnauthenticated: true,
	quality.KindForbidden:       true,
	quality.KindRequestTimeout:  true,
}

// sampleEvery is how often a refusal of each kind is logged.
const sampleEvery = time.Second

// sampler logs the first refusal of each kind in a second, and says how many
// were left out. Metrics and spans have all of them.
type sampler struct {
	logger *slog.Logger
	mu     sync.Mutex
	kinds  map[quality.Kind]*sample
}

type sample struct {
	since   time.Time
	leftOut int
}

// take reports whether a refusal is logged.
func (s *sampler) take(kind quality.Kind) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, one := time.Now(), s.kinds[kind]
	if one == nil {
		one = &sample{}
		s.kinds[kind] = one
	}
	if since := now.Sub(one.since); since < 0 || since >= sampleEvery {
		s.tell(kind, one)
		one.since = now
		return true
	}
	if one.leftOut++; one.leftOut == 1 {
		time.AfterFunc(one.since.Add(sampleEvery).Sub(now), func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.tell(kind, one)
		})
	}
	return false
}

// tell logs how many refusals were left out since the last time.
func (s *sampler) tell(kind quality.Kind, one *sample) {
	if one.leftOut > 0 {
		s.logger.LogAttrs(context.Background(), slog.LevelWarn, "further requests refused",
			slog.String("code", string(kind)), slog.Int("count", one.leftOut))
		one.leftOut = 0
	}
}
