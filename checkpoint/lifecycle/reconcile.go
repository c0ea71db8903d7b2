package lifecycle

import (
	"context"
	"time"

	"github.com/agiqa/agiqa/quality"
)

// Run loads again what servers have lost, until ctx ends: at once, at every
// interval, and whenever [Manager.Wake] says that something may have changed.
func (m *Manager) Run(ctx context.Context) {
	ticker := time.NewTicker(m.cfg.ReconcileInterval)
	defer ticker.Stop()
	for {
		m.Reconcile(ctx)
		select {
		case <-ticker.C:
		case <-m.wake:
		case <-ctx.Done():
			return
		}
	}
}

// Wake asks for a round of reconciliation soon: a server has restarted, say,
// or the encoder is known. It never blocks.
func (m *Manager) Wake() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Reconcile makes every server serve every checkpoint of the encoder in use,
// and remembers what failed for [Manager.Trouble]. While no encoder is known
// it does nothing.
func (m *Manager) Reconcile(ctx context.Context) {
	encoder, err := m.encoder()
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.ReconcileTimeout)
	defer cancel()
	failures := map[quality.Digest]error{}
	for _, e := range m.Library.Snapshot().List() {
		if e.Bundle.CheckEncoder(encoder) != nil {
			continue // of another encoder: scoring says so
		}
		if err := m.ensure(ctx, e); err != nil && ctx.Err() == nil {
			failures[e.Checkpoint.Digest] = err
			m.logFailure(ctx, e.Checkpoint, err)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failures = failures
}

// ensure loads a checkpoint of the library where it is missing. One that was
// removed meanwhile is left alone.
func (m *Manager) ensure(ctx context.Context, e Entry) error {
	if m.Servers.Ready(ctx, e.Checkpoint) == nil {
		return nil
	}
	return m.exclusively(ctx, e.Checkpoint.Digest, func(ctx context.Context) error {
		if _, err := m.Library.Snapshot().ByDigest(e.Checkpoint.Digest); err != nil {
			return err
		}
		return m.load(ctx, e, "checkpoint loaded again")
	})
}

// load loads a checkpoint where it is missing: another gateway may have been
// quicker.
func (m *Manager) load(ctx context.Context, e Entry, said string) error {
	if m.Servers.Ready(ctx, e.Checkpoint) == nil {
		return nil
	}
	if m.Folder != nil && e.Imported {
		if err := m.Folder.Write(e.Bundle); err != nil {
			return err
		}
	}
	if err := m.Servers.Load(ctx, e); err != nil {
		return err
	}
	m.Logger.InfoContext(ctx, said, "checkpoint", e.Checkpoint.Name, "digest", e.Checkpoint.Digest.String())
	return nil
}

// logFailure logs a failure when it is new.
func (m *Manager) logFailure(ctx context.Context, c quality.Checkpoint, err error) {
	if old := m.Failure(c.Digest); old == nil || old.Error() != err.Error() {
		m.Logger.WarnContext(ctx, "checkpoint is not on every server", "checkpoint", c.Name, "digest",
			c.Digest.String(), "error", err)
	}
}

// Failure returns why a checkpoint is not on every server, nil where it is or
// hasn't been checked yet. The text may hold addresses.
func (m *Manager) Failure(d quality.Digest) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.failures[d]
}
