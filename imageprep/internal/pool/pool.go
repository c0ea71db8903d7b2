// Package pool keeps buffers between images, so that preparing an image like
// the last one allocates nothing that grows with it. It knows nothing of what
// the buffers hold: they come back as they were left, and who takes one writes
// before reading. It stands under the decoders and the resampler.
package pool

import "sync"

// Pool is a bounded list of buffers. A nil *Pool keeps nothing. It is safe for
// use by several goroutines.
type Pool[T any] struct {
	maxBuffers, maxLength int

	mu     sync.Mutex
	free   [][]T
	length int // of all in free
}

// New returns a pool that keeps at most maxBuffers buffers, of maxLength
// elements together.
func New[T any](maxBuffers, maxLength int) *Pool[T] {
	return &Pool[T]{maxBuffers: maxBuffers, maxLength: maxLength}
}

// Get returns a buffer of length n with arbitrary content: the smallest kept
// one that is large enough, or a new one.
func (p *Pool[T]) Get(n int) []T {
	if p == nil {
		return make([]T, n)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	best := -1
	for i, b := range p.free {
		if cap(b) >= n && (best < 0 || cap(b) < cap(p.free[best])) {
			best = i
		}
	}
	if best < 0 {
		return make([]T, n)
	}
	b := p.free[best]
	p.remove(best)
	return b[:n]
}

// Put gives a buffer back. Its owner must not use it any more. Where there is
// no room the smallest buffers give way to it, since a large one serves for
// small requests too.
func (p *Pool[T]) Put(b []T) {
	if p == nil || cap(b) == 0 || cap(b) > p.maxLength {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.free) >= p.maxBuffers || p.length+cap(b) > p.maxLength {
		smallest := -1
		for i, kept := range p.free {
			if cap(kept) < cap(b) && (smallest < 0 || cap(kept) < cap(p.free[smallest])) {
				smallest = i
			}
		}
		if smallest < 0 {
			return
		}
		p.remove(smallest)
	}
	p.free = append(p.free, b)
	p.length += cap(b)
}

// Held returns how many elements the kept buffers have together.
func (p *Pool[T]) Held() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.length
}

func (p *Pool[T]) remove(i int) {
	p.length -= cap(p.free[i])
	last := len(p.free) - 1
	p.free[i] = p.free[last]
	p.free[last] = nil
	p.free = p.free[:last]
}
