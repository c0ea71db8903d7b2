package gateway

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/agiqa/agiqa/quality"
)

const (
	// defaultBodyMemory is room for thousands of common images.
	defaultBodyMemory = 512 << 20
	// appetite is how many bytes of what is shared a client may hold for each one
	// that it leaves free.
	appetite = 3
	// textCost is how many bytes it takes to understand a byte of JSON: a copy of
	// its text, the values in general form for the schema, and the request.
	textCost = 4
	// growth is how much larger each buffer for a body of known length is than the
	// one before.
	growth = 4
	// firstBuffer is the size of the first.
	firstBuffer = 64 << 10
	// smallPart is what part of the reserve a body may take.
	smallPart = 32
)

// bodyMemory bounds what all bodies together take, with what reading them takes,
// and shares it between clients.
//
// Three quarters are for every body. A client may hold three times as much of
// them as it leaves free, so that something is left whatever it sends, and half
// of the rest for the next one; a body that is alone may take all. The last
// quarter is a reserve for small bodies that find no place there, of which a
// client may hold as much as it leaves free. So large bodies never keep out
// small ones, not even their own client's.
type bodyMemory struct {
	mu      sync.Mutex
	shared  pool
	reserve pool
	small   int64 // largest body that the reserve takes
	imports int
	freed   chan struct{} // closed when there is room again; nil: nobody waits
}

// newBodyMemory makes room for at least one body of the largest size.
func newBodyMemory(budget, largest int64, maxImages int) *bodyMemory {
	if budget == 0 {
		budget = defaultBodyMemory
	}
	needed := largest + max(largest/growth, textCost*min(largest, maxText(maxImages)))
	budget = max(budget, needed+needed/2)
	m := &bodyMemory{
		shared:  pool{size: budget - budget/4, clients: map[string]int64{}},
		reserve: pool{size: budget / 4, clients: map[string]int64{}},
	}
	m.small = m.reserve.size / smallPart
	return m
}

func (m *bodyMemory) held() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.shared.held + m.reserve.held
}

// pool is an amount of memory and who holds how much of it.
type pool struct {
	size, held int64
	clients    map[string]int64
}

// leaves reports whether a client that took n more bytes would hold at most
// share times what would be left.
func (p *pool) leaves(client string, n, share int64) bool {
	return p.clients[client]+n <= share*(p.size-p.held-n)
}

func (p *pool) add(client string, n int64) {
	p.held += n
	if p.clients[client] += n; p.clients[client] == 0 {
		delete(p.clients, client)
	}
}

// bodyAccount is what one request holds.
type bodyAccount struct {
	memory   *bodyMemory
	client   string
	ctx      context.Context // of the request
	patience time.Duration   // how long it waits for room, all in all
	full     func()          // told of a refusal

	pool *pool // nil: nothing is held
	held int64
	// forced takes what it needs: the only import that is under way, which may be
	// larger than all memory for bodies.
	forced bool
}

// await waits until a body of n bytes would fit. It reserves nothing: a client
// could announce bodies that it never sends. It fails with overloaded.
func (a *bodyAccount) await(n int64) error {
	return a.when(func() bool { return n <= 0 || a.place(n) != nil })
}

// place returns the pool that n bytes more fit in, together with those held.
func (a *bodyAccount) place(n int64) *pool {
	m := a.memory
	here := func(p *pool) int64 { // what of the account is in p already
		if a.pool == p {
			return a.held
		}
		return 0
	}
	total := a.held + n
	more := total - here(&m.shared)
	alone := m.shared.held == here(&m.shared) && total <= m.shared.size
	switch {
	case a.forced, alone, m.shared.leaves(a.client, more, appetite):
		return &m.shared
	case total <= m.small && m.reserve.leaves(a.client, total-here(&m.reserve), 1):
		return &m.reserve
	}
	return nil
}

// take counts n bytes more, and waits for room if it must. It fails with
// overloaded.
func (a *bodyAccount) take(n int64) error {
	return a.when(func() bool {
		p := a.place(n)
		if p != nil {
			a.move(p, a.held+n)
		}
		return p != nil
	})
}

// when tries something, under the lock, until it succeeds or the account's
// patience ends. Meanwhile nothing is read, so that the client has to wait too.
func (a *bodyAccount) when(try func() bool) error {
	m := a.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	for !try() {
		if a.patience <= 0 || a.ctx.Err() != nil {
			a.full()
			return errBodyMemory()
		}
		if m.freed == nil {
			m.freed = make(chan struct{})
		}
		freed, start := m.freed, time.Now()
		m.mu.Unlock()
		timer := time.NewTimer(a.patience)
		select {
		case <-freed:
		case <-timer.C:
		case <-a.ctx.Done():
		}
		timer.Stop()
		m.mu.Lock()
		a.patience -= time.Since(start)
	}
	return nil
}

func (a *bodyAccount) move(p *pool, held int64) {
	if a.pool != nil {
		a.pool.add(a.client, -a.held)
	}
	a.pool, a.held = p, held
	p.add(a.client, held)
}

// give counts n bytes less.
func (a *bodyAccount) give(n int64) {
	a.memory.mu.Lock()
	defer a.memory.mu.Unlock()
	if a.pool != nil && n > 0 {
		a.move(a.pool, a.held-n)
		a.memory.tell()
	}
}

// tell wakes all who wait.
func (m *bodyMemory) tell() {
	if m.freed != nil {
		close(m.freed)
		m.freed = nil
	}
}

// importing gives an import its memory whatever the others hold, unless there is
// another one. The caller has a key that lets it change checkpoints.
func (a *bodyAccount) importing() {
	a.memory.mu.Lock()
	defer a.memory.mu.Unlock()
	a.forced = a.memory.imports == 0
	if a.forced {
		a.memory.imports++
	}
}

// release gives everything back.
func (a *bodyAccount) release() {
	a.give(a.held)
	a.memory.mu.Lock()
	defer a.memory.mu.Unlock()
	if a.forced {
		a.forced = false
		a.memory.imports--
		a.memory.tell()
	}
}

func errBodyMemory() error {
	return quality.Errorf(quality.KindOverloaded, "too many request bodies are in memory").After(time.Second)
}

// countedBody counts its bytes as they are read, with what reading them as JSON
// takes.
type countedBody struct {
	io.ReadCloser
	account *bodyAccount
}

// Read implements [io.Reader].
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		if err := b.account.take(textCost * int64(n)); err != nil {
			return 0, err
		}
	}
	return n, err
}

// gatheredBody reads a body into one buffer that is as large as the body. The
// first Read of it reads all; what it returns is a byte that says that there is
// something, so that huma keeps no copy.
type gatheredBody struct {
	io.ReadCloser
	ids     *ids
	account *bodyAccount
	length  int64 // -1: unknown
	limit   int64
	data    []byte
	said    bool
}

// Read implements [io.Reader].
func (b *gatheredBody) Read(p []byte) (int, error) {
	if b.said || len(p) == 0 {
		return 0, io.EOF
	}
	b.said = true
	if err := b.gather(); err != nil {
		b.ids.bodyErr = err
		return 0, err
	}
	if len(b.data) == 0 {
		return 0, io.EOF
	}
	p[0] = 0
	return 1, nil
}

func (b *gatheredBody) gather() error {
	var beyond [1]byte // finds the end of a body that fills its buffer
	for {
		room := b.data[len(b.data):cap(b.data)]
		if len(room) == 0 {
			room = beyond[:]
		}
		n, err := b.ReadCloser.Read(room)
		switch {
		case n > 0 && len(b.data) == cap(b.data):
			if grown := b.grow(); grown != nil {
				return grown
			}
			b.data = append(b.data, beyond[:n]...)
		default:
			b.data = b.data[:len(b.data)+n]
		}
		if int64(len(b.data)) > b.limit {
			return bodyTooLarge(b.limit)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// grow makes the buffer larger, up to the body's length where that is known:
// in steps, because what was announced need not come.
func (b *gatheredBody) grow() error {
	before := int64(cap(b.data))
	size := b.length
	for size > firstBuffer && size/growth > before {
		size = size/growth + 1
	}
	if size <= before { // of unknown length
		size = min(max(firstBuffer, 2*before), b.limit+1)
	}
	if err := b.account.take(size); err != nil {
		return err
	}
	b.data = append(make([]byte, 0, size), b.data...)
	b.account.give(before)
	return nil
}

// gatheredOf returns the body of the request that ctx belongs to, and what
// counts the memory that parsing it takes.
func gatheredOf(ctx context.Context) (body []byte, charge func(n int64) error) {
	b := idsOf(ctx).gathered
	return b.data, b.account.take
}
