package gateway

import (
	"container/list"
	"crypto/sha256"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// RateLimit bounds the scoring requests of each client. The key that a client
// sends is not verified here: whoever must not invent keys has to be stopped in
// front.
type RateLimit struct {
	PerSecond float64 // 0: no limits
	Burst     int     // requests at once
	Header    string  // holds the client's key; without it Authorization, then the address count
	Keys      int     // clients that are remembered; the one not seen for longest goes first
}

// DefaultRateLimit is off.
func DefaultRateLimit() RateLimit { return RateLimit{Burst: 20, Header: "X-API-Key", Keys: 10_000} }

// limiter keeps one bucket for each client. It knows keys by their hash only,
// so that no secret stays in memory, and a bounded number of them.
type limiter struct {
	cfg RateLimit
	now func() time.Time

	mu     sync.Mutex
	recent *list.List // of *bucket, the latest in front
	of     map[[sha256.Size]byte]*list.Element
}

type bucket struct {
	key  [sha256.Size]byte
	rate *rate.Limiter
}

func newLimiter(cfg RateLimit, now func() time.Time) *limiter {
	return &limiter{cfg: cfg, now: now, recent: list.New(), of: map[[sha256.Size]byte]*list.Element{}}
}

// wait takes a token, or says when there will be one.
func (l *limiter) wait(r *http.Request) time.Duration {
	b := l.bucket(sha256.Sum256([]byte(clientKey(r, l.cfg.Header))))
	now := l.now()
	reservation := b.rate.ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now)
	}
	return wait
}

func (l *limiter) bucket(key [sha256.Size]byte) *bucket {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.of[key]; e != nil {
		l.recent.MoveToFront(e)
		return e.Value.(*bucket)
	}
	if l.recent.Len() >= l.cfg.Keys {
		oldest := l.recent.Back()
		delete(l.of, l.recent.Remove(oldest).(*bucket).key)
	}
	b := &bucket{key: key, rate: rate.NewLimiter(rate.Limit(l.cfg.PerSecond), l.cfg.Burst)}
	l.of[key] = l.recent.PushFront(b)
	return b
}
