package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/quality"
)

// Servers are the inference servers, every one of them. Their errors have
// kinds, and may name the servers that failed: they go to operators.
type Servers interface {
	quality.TextEncoder
	// Encoder returns the encoder in use, and false while there is none.
	Encoder() (quality.Encoder, bool)
	// Ready reports whether every server serves the checkpoint's models.
	Ready(ctx context.Context, c quality.Checkpoint) error
	// Load makes every server serve them that does not yet.
	Load(ctx context.Context, e Entry) error
	// Unload takes them off every server; those that have none are fine.
	Unload(ctx context.Context, c quality.Checkpoint) error
	// Check compares what every server serves under the checkpoint's name with
	// the checkpoint.
	Check(ctx context.Context, encoder quality.Encoder, c quality.Checkpoint) error
	// Score lets every server's head score images; one answer for each, by its
	// address. prompts are those of the images where the checkpoint reads prompts,
	// else nil.
	Score(ctx context.Context, encoder quality.Encoder, c quality.Checkpoint, text quality.TextEmbeddings,
		images, prompts []quality.Embedding) (map[string][]quality.HeadScore, error)
}

// ModelFolder is a model repository that the servers see and this process may
// write to.
type ModelFolder interface {
	// Has reports whether any model of the checkpoint is there.
	Has(c quality.Checkpoint) (bool, error)
	// Write puts head and ensemble there; what is there already stays.
	Write(b *checkpoint.Bundle) error
	// Remove takes them out.
	Remove(c quality.Checkpoint) error
}

// Texts keeps text embeddings: asking for them makes sure that they are known.
type Texts interface {
	TextEmbeddings(ctx context.Context, c quality.Checkpoint) (text quality.TextEmbeddings, cached bool, err error)
}

// Config is how a Manager works. Start from [DefaultConfig].
type Config struct {
	// MaxCheckpoints bounds how many the library may hold. Each head takes
	// memory on every server, 41 MB where it is a process of its own.
	MaxCheckpoints int
	// Tolerance is how far a golden score may be off, in the score's unit.
	Tolerance float64
	// UndoTimeout bounds the undoing of a change that failed, which goes on
	// when the caller has left.
	UndoTimeout time.Duration
	// ReconcileInterval is how often servers are asked for what they lost.
	ReconcileInterval time.Duration
	// ReconcileTimeout bounds one such round.
	ReconcileTimeout time.Duration
}

// DefaultConfig returns the production bounds.
func DefaultConfig() Config {
	return Config{
		MaxCheckpoints:    64,
		Tolerance:         1e-4,
		UndoTimeout:       30 * time.Second,
		ReconcileInterval: 5 * time.Second,
		ReconcileTimeout:  2 * time.Minute,
	}
}

// Validate reports every fault at once, each naming its field.
func (c Config) Validate() error {
	var faults []error
	for _, f := range []struct {
		name string
		ok   bool
		is   any
	}{
		{"MaxCheckpoints", c.MaxCheckpoints > 0, c.MaxCheckpoints},
		{"Tolerance", c.Tolerance > 0, c.Tolerance},
		{"UndoTimeout", c.UndoTimeout > 0, c.UndoTimeout},
		{"ReconcileInterval", c.ReconcileInterval > 0, c.ReconcileInterval},
		{"ReconcileTimeout", c.ReconcileTimeout > 0, c.ReconcileTimeout},
	} {
		if !f.ok {
			faults = append(faults, fmt.Errorf("lifecycle: %s is %v, must be positive", f.name, f.is))
		}
	}
	return errors.Join(faults...)
}

// Deps are the collaborators of a Manager.
type Deps struct {
	Library *Library
	Servers Servers
	Folder  ModelFolder // nil: models travel with the load call
	Texts   Texts
	Logger  *slog.Logger
	Changed func() // called after every change; nil: nobody is told
}

// Manager changes the library and the servers together. It is safe for
// concurrent use; imports and removals go one at a time.
type Manager struct {
	Deps
	cfg      Config
	changing sync.Mutex    // held through an import or a removal, and never waited for
	loading  chan struct{} // one place: models of checkpoints in the library are loaded or unloaded
	wake     chan struct{}

	mu       sync.Mutex
	failures map[quality.Digest]error // of the last round of reconciliation
}

// NewManager returns a Manager. Its goroutine is the caller's: [Manager.Run].
func NewManager(cfg Config, deps Deps) (*Manager, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Manager{
		Deps: deps, cfg: cfg, loading: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		failures: map[quality.Digest]error{},
	}, nil
}

// Change says what became of the default.
type Change struct {
	Checkpoint quality.Checkpoint // that the change was about
	Default    string             // now; "" where there is none
	Before     string             // before the change
	Previous   string             // what a rollback would go to; "" for nothing
}

// Activate makes the checkpoint of that name the default, once every server is
// seen to serve it. Requests that have begun keep the default that they began
// with, and the old one stays loaded. Errors: checkpoint_not_found,
// encoder_mismatch, conflict for a checkpoint of another task than the
// default's, and those of the servers.
func (m *Manager) Activate(ctx context.Context, name, by string) (Change, error) {
	s := m.Library.Snapshot()
	e, err := s.Get(name)
	if err != nil {
		return Change{}, err
	}
	if err := s.checkTask(e.Checkpoint); err != nil { // before models are loaded
		return Change{}, err
	}
	if err := m.prepare(ctx, e); err != nil {
		return Change{}, err
	}
	return m.changeDefault(ctx, "activate", by, func(s *Snapshot) (string, error) { return name, nil })
}

// Rollback makes the default before this one the default again. Where there is
// none, that is a conflict.
func (m *Manager) Rollback(ctx context.Context, by string) (Change, error) {
	target := m.Library.Snapshot().Previous()
	if target == "" {
		return Change{}, quality.Errorf(quality.KindConflict, "there is no previous default to roll back to")
	}
	e, err := m.Library.Snapshot().Get(target)
	if err != nil {
		return Change{}, err
	}
	if err := m.prepare(ctx, e); err != nil {
		return Change{}, err
	}
	return m.changeDefault(ctx, "rollback", by, func(s *Snapshot) (string, error) {
		if s.previous != target {
			return "", quality.Errorf(quality.KindConflict, "somebody else changed the default at the same moment")
		}
		return target, nil
	})
}

// prepare makes sure that a checkpoint can score at once.
func (m *Manager) prepare(ctx context.Context, e Entry) error {
	encoder, err := m.encoder()
	if err != nil {
		return err
	}
	if err := e.Bundle.CheckEncoder(encoder); err != nil {
		return err
	}
	if err := m.ensure(ctx, e); err != nil {
		return err
	}
	if err := m.Servers.Check(ctx, encoder, e.Checkpoint); err != nil {
		return err
	}
	_, _, err = m.Texts.TextEmbeddings(ctx, e.Checkpoint)
	return err
}

func (m *Manager) encoder() (quality.Encoder, error) {
	encoder, ok := m.Servers.Encoder()
	if !ok {
		return encoder,
			quality.Errorf(quality.KindModelUnavailable, "the inference server is not ready yet").After(time.Second)
	}
	return encoder, nil
}

// changeDefault swaps the default.
func (m *Manager) changeDefault(ctx context.Context, action, by string,
	pick func(*Snapshot) (string, error)) (Change, error) {
	before, after, err := m.Library.change(func(s *Snapshot) (*Snapshot, error) {
		name, err := pick(s)
		if err != nil {
			return nil, err
		}
		return s.activate(name)
	})
	if err != nil {
		return Change{}, unwritten(err)
	}
	e, err := after.Default()
	if err != nil {
		return Change{}, err
	}
	return m.logChange(ctx, action, by, e.Checkpoint, before, after), nil
}

// Remove takes an imported checkpoint out: first of the library, so that
// nobody can name it any more, then off the servers and the disk. The default
// and shipped checkpoints stay: conflict. A request that named it a moment
// before may find its model gone and is told model_unavailable.
func (m *Manager) Remove(ctx context.Context, name, by string) (Change, error) {
	if !m.changing.TryLock() {
		return Change{}, errBusy()
	}
	defer m.changing.Unlock()
	e, err := m.Library.Snapshot().Get(name)
	if err != nil {
		return Change{}, err
	}
	if !e.Imported {
		return Change{}, quality.Errorf(quality.KindConflict, "checkpoint %q was shipped with the server and stays", name)
	}
	before, after, err := m.Library.change(func(s *Snapshot) (*Snapshot, error) {
		if s.defaultName() == name {
			return nil, quality.Errorf(quality.KindConflict, "checkpoint %q is the default; activate another one first", name)
		}
		next, err := s.without(name)
		if err != nil {
			return nil, err
		}
		if err := m.Library.bundles.remove(name); err != nil {
			return nil, fmt.Errorf("delete the bundle: %w", err)
		}
		return next, nil
	})
	if err != nil {
		return Change{}, unwritten(err)
	}
	m.unload(ctx, e.Checkpoint)
	return m.logChange(ctx, "remove", by, e.Checkpoint, before, after), nil
}

// unload takes a checkpoint that is in the library no longer off servers and
// model folder. What fails is logged: the models are out of use all the same.
func (m *Manager) unload(ctx context.Context, c quality.Checkpoint) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.cfg.UndoTimeout)
	defer cancel()
	release, err := m.acquire(ctx)
	if err == nil {
		defer release()
		err = m.Servers.Unload(ctx, c)
	}
	if m.Folder != nil {
		err = errors.Join(err, m.Folder.Remove(c))
	}
	if err != nil {
		m.Logger.WarnContext(ctx, "models of a removed checkpoint stay behind", "checkpoint", c.Name, "digest",
			c.Digest.String(), "error", err)
	}
}

// acquire gives the right to load and unload models of the library.
func (m *Manager) acquire(ctx context.Context) (release func(), err error) {
	select {
	case m.loading <- struct{}{}:
		return func() { <-m.loading }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// logChange writes the audit line.
func (m *Manager) logChange(ctx context.Context, action, by string, c quality.Checkpoint,
	before, after *Snapshot) Change {
	change := Change{Checkpoint: c, Default: after.defaultName(), Before: before.defaultName(), Previous: after.previous}
	m.Logger.InfoContext(ctx, "checkpoints changed", "action", action, "by", by,
		"checkpoint", c.Name, "digest", c.Digest.String(), "default", change.Default, "default_before", change.Before)
	if m.Changed != nil {
		m.Changed()
	}
	return change
}

func errBusy() error {
	return quality.Errorf(quality.KindConflict, "another import or removal is under way").After(time.Second)
}
