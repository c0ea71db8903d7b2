package lifecycle

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/agiqa/agiqa/checkpoint/desired"
	"github.com/agiqa/agiqa/quality"
)

const (
	// leaveInterval is how often heads are looked at that should go, leaveLater how
	// often once they have been in use for as long as leaveSoon.
	leaveInterval = 100 * time.Millisecond
	leaveLater    = time.Second
	leaveSoon     = 10 * time.Second
	// leaveTimeout bounds what is said to the store when this gateway ends.
	leaveTimeout = time.Second
)

// heads are those that requests of this gateway may use. Shipped ones are among
// them: on another gateway they may be imported, and removed.
func (m *Manager) heads() map[quality.Digest]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	heads := map[quality.Digest]bool{}
	for _, e := range m.Library.Snapshot().List() {
		heads[e.Checkpoint.Digest] = true
	}
	m.leaving = append(m.leaving, m.Library.takeLeft()...) // after the snapshot, so that nothing is in neither
	for _, d := range m.leaving {
		if !m.Library.usage.over(d.generation) {
			heads[d.entry.Checkpoint.Digest] = true
		}
	}
	for head := range m.coming {
		heads[head] = true
	}
	return heads
}

// hold renews the leases on them.
func (m *Manager) hold(ctx context.Context) error {
	return m.Store.Hold(ctx, m.holder, -1, slices.Collect(maps.Keys(m.heads())))
}

// Beat renews leases and unloads what nobody uses any more, until ctx ends. Then
// it gives the leases up.
func (m *Manager) Beat(ctx context.Context) {
	var sweeping sync.WaitGroup
	sweeping.Go(func() { m.sweep(ctx) }) // apart: an unload that takes its time costs no lease
	defer func() {
		sweeping.Wait()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
		defer cancel()
		if err := m.Store.Leave(ctx, m.holder); err != nil {
			m.Logger.WarnContext(ctx, "leases could not be given up; they end by themselves", "error", err)
		}
	}()
	ticker := time.NewTicker(m.cfg.BeatInterval)
	defer ticker.Stop()
	for {
		if err := m.hold(ctx); err != nil && ctx.Err() == nil {
			_ = m.saw(desired.State{}, err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// sweep unloads what left the library, until ctx ends.
func (m *Manager) sweep(ctx context.Context) {
	for {
		m.unloadLeft(ctx)
		var again <-chan time.Time
		if wait, leaving := m.nextSweep(); leaving {
			again = time.After(wait)
		}
		select {
		case <-again:
		case <-m.stir:
		case <-ctx.Done():
			return
		}
	}
}

// nextSweep says when to look again at what is leaving, if anything is.
func (m *Manager) nextSweep() (wait time.Duration, leaving bool) {
	m.heads() // takes what left
	m.mu.Lock()
	defer m.mu.Unlock()
	wait = leaveLater
	for _, d := range m.leaving {
		if time.Since(d.at) < leaveSoon {
			wait = leaveInterval
		}
	}
	return wait, len(m.leaving) > 0
}

// unloadLeft unloads heads that left the library and that no request and no other
// gateway uses.
func (m *Manager) unloadLeft(ctx context.Context) {
	m.heads()
	m.mu.Lock()
	leaving := slices.Clone(m.leaving)
	m.mu.Unlock()
	var free []departed
	for _, d := range leaving {
		if m.Library.usage.over(d.generation) {
			free = append(free, d)
		}
	}
	if len(free) == 0 || m.hold(ctx) != nil { // which says that we don't use them
		return
	}
	for _, d := range free {
		if m.unload(ctx, d.entry) {
			m.forget(d)
		}
	}
}

// forget strikes off what has gone.
func (m *Manager) forget(gone departed) {
	gone.forget()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.leaving = slices.DeleteFunc(m.leaving, func(d departed) bool {
		return d.entry.Checkpoint.Digest == gone.entry.Checkpoint.Digest && d.generation == gone.generation
	})
}

// unload takes a checkpoint that left the library off servers and model folder,
// unless somebody uses it. It reports whether nothing is left to do.
func (m *Manager) unload(ctx context.Context, e Entry) (done bool) {
	c := e.Checkpoint
	bounded, cancel := context.WithTimeout(ctx, m.cfg.UndoTimeout)
	defer cancel()
	used := false
	err := m.exclusively(bounded, c.Digest, func(ctx context.Context) error {
		if m.heads()[c.Digest] {
			used, done = true, true // it came back
			return nil
		}
		holders, err := m.Store.Holders(ctx, c.Digest)
		if err != nil || len(holders) > 0 {
			used = true
			return err
		}
		err = m.Servers.Unload(ctx, c)
		if m.Folder != nil {
			err = errors.Join(err, m.Folder.Remove(c))
		}
		return err
	})
	if err != nil && ctx.Err() != nil {
		return false // whoever waited has left; it is looked at again
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		delete(m.stuck, c.Digest)
		return done || !used
	}
	if m.stuck[c.Digest] != err.Error() {
		m.Logger.WarnContext(ctx, "models of a removed checkpoint stay behind; it is tried again", "checkpoint", c.Name,
			"digest", c.Digest.String(), "error", err)
	}
	m.stuck[c.Digest] = err.Error()
	return false
}

// awaitUnload waits a while for a removed checkpoint to go, and reports whether it
// has.
func (m *Manager) awaitUnload(ctx context.Context, head quality.Digest) bool {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.RemovalWait)
	defer cancel()
	ticker := time.NewTicker(leaveInterval / 4)
	defer ticker.Stop()
	for {
		m.unloadLeft(ctx)
		m.mu.Lock()
		there := slices.ContainsFunc(m.leaving, func(d departed) bool { return d.entry.Checkpoint.Digest == head })
		stuck := m.stuck[head] != ""
		m.mu.Unlock()
		if !there {
			return true
		}
		if stuck {
			return false
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return false
		}
	}
}

// exclusively runs f while no other gateway of the same servers loads or unloads a
// head, and no other goroutine of this one does so with any. While the store is
// away it runs all the same: two loads of one head do no harm.
func (m *Manager) exclusively(ctx context.Context, head quality.Digest, f func(ctx context.Context) error) error {
	release, err := m.acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	name := head.String() + " " + m.Group
	ticker := time.NewTicker(leaveInterval / 2)
	defer ticker.Stop()
	for {
		if m.Standing().Store != nil {
			return f(ctx)
		}
		got, err := m.Store.Lock(ctx, m.holder, name)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return f(ctx)
		}
		if got {
			break
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
		defer cancel()
		_ = m.Store.Unlock(ctx, m.holder, name) // else it ends by itself
	}()
	return f(ctx)
}
