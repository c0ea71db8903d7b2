// Package pool keeps buffers between images, so that preparing an image like
// the last one allocates nothing that grows with it. It knows nothing of what
// the buffers hold: they come back as they were left, and who takes one writes
// before reading. It stands under the decoders and the resampler.
package pool

import (
	"reflect"
	"slices"
	"sync"
)

// fit is how many times larger than what was asked for a kept buffer may be:
// memory is counted by what images ask for. Buffers of up to smallBytes fit
// always.
const (
	fit        = 2
	smallBytes = 64 << 10
)

// Pool is a bounded list of buffers. A nil *Pool keeps nothing. It is safe for
// use by several goroutines.
type Pool[T any] struct {
	maxBuffers, maxLength int

	mu     sync.Mutex
	free   []kept[T]
	length int // of all in free
}

type kept[T any] struct {
	buf  []T
	idle bool // nobody took it since the last call of Age
}

// New returns a pool that keeps at most maxBuffers buffers, of maxLength
// elements together.
func New[T any](maxBuffers, maxLength int) *Pool[T] {
	return &Pool[T]{maxBuffers: maxBuffers, maxLength: maxLength}
}

// Get returns a buffer of length n with arbitrary content: the smallest kept
// one that is large enough and not much too large, or a new one.
func (p *Pool[T]) Get(n int) []T {
	if p == nil {
		return make([]T, n)
	}
	if b := p.take(n); b != nil {
		return b[:n]
	}
	return make([]T, n)
}

func (p *Pool[T]) take(n int) []T {
	most := max(fit*n, smallBytes/elementSize[T]())
	p.mu.Lock()
	defer p.mu.Unlock()
	best := -1
	for i, k := range p.free {
		if c := cap(k.buf); c >= n && c <= most && (best < 0 || c < cap(p.free[best].buf)) {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	b := p.free[best].buf
	p.remove(best)
	return b
}

// Put gives a buffer back. Its owner must not use it any more. Where there is
// no room the smallest buffers give way to it, since new ones of those cost least.
func (p *Pool[T]) Put(b []T) {
	if p == nil || cap(b) == 0 || cap(b) > p.maxLength {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.free) >= p.maxBuffers || p.length+cap(b) > p.maxLength {
		smallest := -1
		for i, k := range p.free {
			if cap(k.buf) < cap(b) && (smallest < 0 || cap(k.buf) < cap(p.free[smallest].buf)) {
				smallest = i
			}
		}
		if smallest < 0 {
			return
		}
		p.remove(smallest)
	}
	p.free = append(p.free, kept[T]{buf: b})
	p.length += cap(b)
}

// Age drops the buffers that nobody took since it was called before.
func (p *Pool[T]) Age() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = slices.DeleteFunc(p.free, func(k kept[T]) bool {
		if k.idle {
			p.length -= cap(k.buf)
		}
		return k.idle
	})
	for i := range p.free {
		p.free[i].idle = true
	}
}

// Drop drops all buffers.
func (p *Pool[T]) Drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free, p.length = nil, 0
}

// Held returns how many elements the kept buffers have together.
func (p *Pool[T]) Held() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.length
}

// HeldBytes returns how much memory the kept buffers take.
func (p *Pool[T]) HeldBytes() int64 { return int64(p.Held()) * int64(elementSize[T]()) }

func (p *Pool[T]) remove(i int) {
	p.length -= cap(p.free[i].buf)
	p.free = slices.Delete(p.free, i, i+1)
}

func elementSize[T any]() int { return int(reflect.TypeFor[T]().Size()) }
