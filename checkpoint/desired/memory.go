package desired

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/agiqa/agiqa/quality"
)

// Memory is a Store in memory, for a server that lives as long as a command, and
// for tests.
type Memory struct {
	shared bool
	now    func() time.Time

	mu       sync.Mutex
	identity string
	state    State
	bundles  map[quality.Digest]Bundle
	heads    map[quality.Digest]map[string]time.Time // when whose lease expires
	locks    map[string]lock
	changed  []chan struct{}
}

type lock struct {
	holder  string
	expires time.Time
}

var _ Store = (*Memory)(nil)

// NewMemory returns an empty store with an identity, which is shared or not.
func NewMemory(identity string, shared bool, now func() time.Time) *Memory {
	return &Memory{
		identity: identity, shared: shared, now: now, bundles: map[quality.Digest]Bundle{},
		heads: map[quality.Digest]map[string]time.Time{}, locks: map[string]lock{},
	}
}

// Shared implements [Store].
func (m *Memory) Shared() bool { return m.shared }

// Desired implements [Store].
func (m *Memory) Desired(context.Context) (State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state, nil
}

// Replace implements [Store].
func (m *Memory) Replace(_ context.Context, was int64, d Document, add ...Bundle) (State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state.Revision != was {
		return State{}, ErrMoved(m.state.Revision, was)
	}
	for _, b := range add {
		m.bundles[b.Address()] = b
	}
	d.Checkpoints = slices.Clone(d.Checkpoints)
	m.state = State{Store: m.identity, Revision: was + 1, Document: d}
	maps.DeleteFunc(m.bundles, func(address quality.Digest, _ Bundle) bool {
		return !slices.ContainsFunc(d.Checkpoints, func(c Checkpoint) bool { return c.Bundle == address })
	})
	for _, c := range m.changed {
		select {
		case c <- struct{}{}:
		default:
		}
	}
	return m.state, nil
}

// Bundle implements [Store].
func (m *Memory) Bundle(_ context.Context, address quality.Digest) (Bundle, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.bundles[address]
	if !ok {
		return Bundle{}, NoBundle(address)
	}
	return b, nil
}

// Hold implements [Store].
func (m *Memory) Hold(_ context.Context, holder string, revision int64, heads []quality.Digest) error {
	if !m.shared {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if revision >= 0 && revision != m.state.Revision {
		return ErrMoved(m.state.Revision, revision)
	}
	until := m.now().Add(LeaseTime)
	for _, holders := range m.heads {
		delete(holders, holder)
	}
	for _, head := range heads {
		if m.heads[head] == nil {
			m.heads[head] = map[string]time.Time{}
		}
		m.heads[head][holder] = until
	}
	for name, l := range m.locks {
		if l.holder == holder {
			m.locks[name] = lock{holder, until}
		}
	}
	return nil
}

// Holders implements [Store].
func (m *Memory) Holders(_ context.Context, head quality.Digest) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	var holders []string
	for holder, until := range m.heads[head] {
		if until.After(now) {
			holders = append(holders, holder)
		}
	}
	slices.Sort(holders)
	return holders, nil
}

// Lock implements [Store].
func (m *Memory) Lock(_ context.Context, holder, name string) (bool, error) {
	if !m.shared {
		return true, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	if l, taken := m.locks[name]; taken && l.holder != holder && l.expires.After(now) {
		return false, nil
	}
	m.locks[name] = lock{holder, now.Add(LeaseTime)}
	return true, nil
}

// Unlock implements [Store].
func (m *Memory) Unlock(_ context.Context, holder, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locks[name].holder == holder {
		delete(m.locks, name)
	}
	return nil
}

// Leave implements [Store].
func (m *Memory) Leave(_ context.Context, holder string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, holders := range m.heads {
		delete(holders, holder)
	}
	maps.DeleteFunc(m.locks, func(_ string, l lock) bool { return l.holder == holder })
	return nil
}

// Changes implements [Store].
func (m *Memory) Changes(ctx context.Context) <-chan struct{} {
	c := make(chan struct{}, 1)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.shared {
		m.changed = append(m.changed, c)
		context.AfterFunc(ctx, func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.changed = slices.DeleteFunc(m.changed, func(x chan struct{}) bool { return x == c })
		})
	}
	return c
}
