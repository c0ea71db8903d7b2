package lifecycle

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/desired"
	"github.com/agiqa/agiqa/quality"
)

// Follow brings this gateway to the desired state, until ctx ends: at once, when
// the store tells of a change, at intervals, and when [Manager.Resync] says so.
func (m *Manager) Follow(ctx context.Context) {
	told := m.Store.Changes(ctx)
	for {
		wait := m.cfg.SyncInterval
		if _, complete, err := m.sync(ctx); err != nil || !complete {
			wait = m.cfg.RetryInterval
		}
		timer := time.NewTimer(wait)
		select {
		case <-told:
		case <-m.resync:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// Sync brings this gateway to the desired state once, as far as the servers let it.
// An error is the store's.
func (m *Manager) Sync(ctx context.Context) error {
	_, _, err := m.sync(ctx)
	return err
}

// Resync asks for the desired state to be looked at soon. It never blocks.
func (m *Manager) Resync() {
	select {
	case m.resync <- struct{}{}:
	default:
	}
}

// saw remembers what the store says, or that it doesn't, and returns err.
func (m *Manager) saw(now desired.State, err error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case err == nil:
		if m.storeErr != nil {
			m.Logger.Info("the store of the checkpoints answers again", "revision", now.Revision)
		}
		m.storeErr, m.wanted = nil, now.Revision
	case quality.KindOf(err) == quality.KindStoreUnavailable:
		if m.storeErr == nil {
			m.Logger.Warn("the store of the checkpoints can't be reached: this server goes on with what it knows, and "+
				"refuses changes", "revision", m.Library.Snapshot().Revision(), "error", err)
		}
		m.storeErr = err
	}
	return err
}

// Standing is how far this gateway is.
type Standing struct {
	// Served is the revision of the desired state that requests go by, Wanted the
	// latest that was seen.
	Served, Wanted int64
	// Store is why the store can't be reached, nil where it can.
	Store error
	// Missing is why checkpoints of the desired state aren't here, by name.
	Missing map[string]error
}

// Standing returns how far this gateway is.
func (m *Manager) Standing() Standing {
	served := m.Library.Snapshot().Revision()
	m.mu.Lock()
	defer m.mu.Unlock()
	return Standing{Served: served, Wanted: cmp.Or(m.wanted, served), Store: m.storeErr, Missing: maps.Clone(m.missing)}
}

// sync brings this gateway to the desired state: what is to be removed is out of
// use, what is to come is loaded and checked before it can be named, and the
// default changes when the servers have it. complete reports whether nothing is
// left to do. An error is the store's; what the servers refuse is tried again.
func (m *Manager) sync(ctx context.Context) (state desired.State, complete bool, err error) {
	select {
	case m.syncing <- struct{}{}:
		defer func() { <-m.syncing }()
	case <-ctx.Done():
		return state, false, context.Cause(ctx)
	}
	for range replaceTries {
		state, err = m.Library.takeOver(ctx)
		if m.saw(state, err) != nil {
			return state, false, err
		}
		if m.Library.follows(state) {
			m.setMissing(nil)
			clear(m.fetched)
			return state, true, nil
		}
		complete, err = m.apply(ctx, state)
		if quality.KindOf(err) != quality.KindConflict {
			return state, complete, m.saw(state, err)
		}
	}
	return state, false, errRestless()
}

// apply brings this gateway to a state. conflict: the store has another one by
// now.
func (m *Manager) apply(ctx context.Context, state desired.State) (complete bool, err error) {
	// From here on, nobody takes off what the state wants or what is in use.
	for _, c := range state.Checkpoints {
		defer m.use(c.Digest)()
	}
	if err := m.Store.Hold(ctx, m.holder, state.Revision, slices.Collect(maps.Keys(m.heads()))); err != nil {
		return false, err
	}
	missing := map[string]error{}
	defer func() { m.setMissing(missing) }()
	if complete, err = m.adopt(ctx, state, nil); err != nil || complete {
		return complete, m.adoptError(ctx, err)
	}
	for _, c := range m.Library.missing(state) {
		b, err := m.bring(ctx, c)
		if err != nil {
			if ctx.Err() != nil {
				return false, nil
			}
			m.logMissing(ctx, c, err)
			missing[c.Name] = err
			continue
		}
		if complete, err = m.adopt(ctx, state, []*checkpoint.Bundle{b}); err != nil {
			return false, m.adoptError(ctx, err)
		}
	}
	if _, err := m.Library.Get(state.Default); state.Default != "" && err != nil && missing[state.Default] == nil {
		missing[state.Default] = err // shipped elsewhere
		m.logMissing(ctx, desired.Checkpoint{Name: state.Default}, err)
	}
	return complete, nil
}

// adopt makes what is here the library, and what left it go.
func (m *Manager) adopt(ctx context.Context, state desired.State,
	more []*checkpoint.Bundle) (complete bool, err error) {
	before := m.Library.Snapshot()
	how := adoption{}
	encoder, known := m.Servers.Encoder()
	if known {
		how.encoder = &encoder
	}
	if complete, err = m.Library.adopt(state, more, how); err != nil {
		return false, err
	}
	if known {
		m.Library.UseEncoder(encoder)
	}
	after := m.Library.Snapshot()
	if was, is := before.defaultName(), after.defaultName(); was != is {
		m.Logger.InfoContext(ctx, "default checkpoint changed", "default", is, "default_before", was, "revision",
			state.Revision)
	}
	if m.Changed != nil {
		m.Changed()
	}
	select {
	case m.stir <- struct{}{}:
	default:
	}
	return complete, nil
}

// adoptError is for what can't be: the state was checked by whoever wrote it.
func (m *Manager) adoptError(ctx context.Context, err error) error {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != m.adoptFault {
		m.Logger.ErrorContext(ctx, "the desired state can't be followed", "error", err)
	}
	m.adoptFault = text
	return nil
}

// bring gets a checkpoint and makes the servers serve it, unless it is of another
// encoder than the one in use: scoring then says so.
func (m *Manager) bring(ctx context.Context, c desired.Checkpoint) (*checkpoint.Bundle, error) {
	if b := m.imports(); b != nil && b.Checkpoint().Digest == c.Digest && b.Checkpoint().Name == c.Name {
		return b, nil // it is ready
	}
	if o := m.Library.shippedLike(c); o != nil {
		return nil, quality.Errorf(quality.KindConflict, "checkpoint %s, which was shipped with this server, is in its way",
			o.Checkpoint().Name)
	}
	encoder, err := m.encoder()
	if err != nil {
		return nil, err
	}
	b, there := m.fetched[c.Bundle]
	if !there {
		if b, err = m.Library.fetch(ctx, c); err != nil {
			return nil, err
		}
		m.fetched[c.Bundle] = b // until it is in the library: servers may refuse it for long
	}
	defer m.Library.texts.add(b)()
	e := m.Library.imported(b)
	if b.CheckEncoder(encoder) != nil {
		return b, nil
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.ReconcileTimeout)
	defer cancel()
	return b, m.prepareBy(ctx, e, func(ctx context.Context, e Entry) error {
		// Never without the lock: this gateway may be about to unload it.
		return m.exclusively(ctx, c.Digest, func(ctx context.Context) error { return m.load(ctx, e, "checkpoint loaded") })
	})
}

func (m *Manager) setMissing(missing map[string]error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.missing = missing
}

// logMissing logs why a checkpoint isn't here, when that is new.
func (m *Manager) logMissing(ctx context.Context, c desired.Checkpoint, err error) {
	m.mu.Lock()
	old := m.missing[c.Name]
	m.mu.Unlock()
	if old == nil || old.Error() != err.Error() {
		m.Logger.WarnContext(ctx, "a checkpoint that the store wants isn't here yet", "checkpoint", c.Name, "error", err)
	}
}
