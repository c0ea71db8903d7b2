package lifecycle

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/desired"
	"github.com/agiqa/agiqa/quality"
)

// Servers are the inference servers, every one of them. Their errors have
// kinds, and may name the servers that failed: they go to operators.
type Servers interface {
	quality.TextEncoder
	// Encoder returns the encoder in use, and false while there is none.
	Encoder() (quality.Encoder, bool)
	// Encoders returns the encoders that servers hold, one for each server that
	// answers. The error is nil if all did.
	Encoders(ctx context.Context) ([]quality.Encoder, error)
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
	// SyncInterval is how often the desired state is read where nobody tells of
	// changes, and RetryInterval how soon what failed is tried again.
	SyncInterval, RetryInterval time.Duration
	// BeatInterval is how often leases are renewed, which last [desired.LeaseTime].
	BeatInterval time.Duration
	// RemovalWait is how long a removal waits until the models can be unloaded.
	// After that they go in the background.
	RemovalWait time.Duration
}

// DefaultConfig returns the production bounds.
func DefaultConfig() Config {
	return Config{
		MaxCheckpoints:    64,
		Tolerance:         1e-4,
		UndoTimeout:       30 * time.Second,
		ReconcileInterval: 5 * time.Second,
		ReconcileTimeout:  2 * time.Minute,
		SyncInterval:      5 * time.Second,
		RetryInterval:     time.Second,
		BeatInterval:      desired.LeaseTime / 3,
		RemovalWait:       5 * time.Second,
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
		{"SyncInterval", c.SyncInterval > 0, c.SyncInterval},
		{"RetryInterval", c.RetryInterval > 0, c.RetryInterval},
		{"BeatInterval", c.BeatInterval > 0, c.BeatInterval},
		{"RemovalWait", c.RemovalWait > 0, c.RemovalWait},
	} {
		if !f.ok {
			faults = append(faults, fmt.Errorf("lifecycle: %s is %v, must be positive", f.name, f.is))
		}
	}
	return errors.Join(faults...)
}

// Deps are the collaborators of a Manager.
type Deps struct {
	Library *Library // that has joined Store, or tried to
	Store   desired.Store
	// Group names the inference servers: gateways of one group load and unload one
	// after the other.
	Group   string
	Servers Servers
	Folder  ModelFolder // nil: models travel with the load call
	Texts   Texts
	Logger  *slog.Logger
	Changed func() // called after every change; nil: nobody is told
}

// Manager changes the library and the servers together, and makes them follow
// the desired state. It is safe for concurrent use; imports and removals go one at
// a time.
type Manager struct {
	Deps
	cfg      Config
	holder   string        // of leases
	changing sync.Mutex    // held through an import or a removal, and never waited for
	loading  chan struct{} // one place: models of checkpoints in the library are loaded or unloaded
	syncing  chan struct{} // one place: the library is brought to another state
	wake     chan struct{}
	resync   chan struct{}
	stir     chan struct{} // something may have left the library

	mu       sync.Mutex
	failures map[quality.Digest]error // of the last round of reconciliation
	missing  map[string]error         // why checkpoints of the desired state aren't here, by name
	wanted   int64                    // the latest revision that was seen
	storeErr error                    // of the last call of the store
	coming   map[quality.Digest]int   // heads that are in use before they are in the library, and how often
	own      *checkpoint.Bundle       // that is being imported here, once it was found sound; nil: none
	leaving  []departed
	stuck    map[quality.Digest]string // why heads could not be unloaded, as it was logged

	// Of whoever has the place in syncing.
	fetched    map[quality.Digest]*checkpoint.Bundle // not in the library yet, by address
	adoptFault string                                // why the state can't be followed, as it was logged
}

// NewManager returns a Manager. Its goroutine is the caller's: [Manager.Run].
func NewManager(cfg Config, deps Deps) (*Manager, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return &Manager{
		Deps: deps, cfg: cfg, holder: fmt.Sprintf("%s/%d/%s", host, os.Getpid(), rand.Text()[:8]),
		loading: make(chan struct{}, 1), syncing: make(chan struct{}, 1),
		wake: make(chan struct{}, 1), resync: make(chan struct{}, 1),
		stir:     make(chan struct{}, 1),
		failures: map[quality.Digest]error{}, missing: map[string]error{}, coming: map[quality.Digest]int{},
		stuck: map[quality.Digest]string{}, fetched: map[quality.Digest]*checkpoint.Bundle{},
	}, nil
}

// Change says what became of the default.
type Change struct {
	Checkpoint quality.Checkpoint // that the change was about
	Default    string             // now; "" where there is none
	Before     string             // before the change
	Previous   string             // what a rollback would go to; "" for nothing
	Revision   int64              // of the desired state
	// Unloaded says, of a removal, that no server has the models any more. They
	// stay while another gateway still uses them.
	Unloaded bool
}

// Activate makes the checkpoint of that name the default, once every server is
// seen to serve it. Requests that have begun keep the default that they began
// with, and the old one stays loaded. Errors: checkpoint_not_found,
// encoder_mismatch, conflict for a checkpoint of another task than the
// default's and where somebody else changes the default, store_unavailable, and
// those of the servers.
func (m *Manager) Activate(ctx context.Context, name, by string) (Change, error) {
	begun, err := m.begin(ctx)
	if err != nil {
		return Change{}, err
	}
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
	return m.changeDefault(ctx, "activate", by, begun, e)
}

// Rollback makes the default before this one the default again. Where there is
// none, that is a conflict.
func (m *Manager) Rollback(ctx context.Context, by string) (Change, error) {
	begun, err := m.begin(ctx)
	if err != nil {
		return Change{}, err
	}
	s := m.Library.Snapshot()
	target := s.Previous()
	if target == "" {
		return Change{}, quality.Errorf(quality.KindConflict, "there is no previous default to roll back to")
	}
	e, err := s.Get(target)
	if err != nil {
		return Change{}, err
	}
	if err := s.checkTask(e.Checkpoint); err != nil {
		return Change{}, err
	}
	if err := m.prepare(ctx, e); err != nil {
		return Change{}, err
	}
	return m.changeDefault(ctx, "rollback", by, begun, e)
}

// begin returns the desired state that a change goes out from, with this gateway
// brought to it as far as it goes. Without the store there are no changes.
func (m *Manager) begin(ctx context.Context) (desired.State, error) {
	state, _, err := m.sync(ctx)
	if err != nil {
		return desired.State{}, err
	}
	return state, nil
}

// prepare makes sure that a checkpoint of the library can score at once.
func (m *Manager) prepare(ctx context.Context, e Entry) error {
	return m.prepareBy(ctx, e, m.ensure)
}

// prepareBy makes sure that a checkpoint can score at once, once load has loaded
// it.
func (m *Manager) prepareBy(ctx context.Context, e Entry, load func(ctx context.Context, e Entry) error) error {
	encoder, err := m.encoder()
	if err != nil {
		return err
	}
	if err := e.Bundle.CheckEncoder(encoder); err != nil {
		return err
	}
	if err := load(ctx, e); err != nil {
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

// changeDefault writes that e is the default, unless somebody else has changed the
// default since the change began.
func (m *Manager) changeDefault(ctx context.Context, action, by string, begun desired.State, e Entry) (Change, error) {
	before := m.Library.Snapshot()
	_, err := m.replace(ctx, func(now desired.State) (desired.Document, []desired.Bundle, error) {
		d, err := m.withDefault(now, begun, before.defaultName(), e)
		return d, nil, err
	})
	if err != nil {
		return Change{}, unwritten(err)
	}
	return m.follow(ctx, action, by, e, before), nil
}

// withDefault returns the document whose default is e; the default until now is
// the one to go back to.
func (m *Manager) withDefault(now, begun desired.State, before string, e Entry) (desired.Document, error) {
	d, name := now.Document, e.Checkpoint.Name
	if d.Default == name {
		return d, nil
	}
	if d.Default != begun.Default || d.Previous != begun.Previous {
		return d, quality.Errorf(quality.KindConflict, "somebody else made %s the default at the same moment; look and "+
			"try again",
			quality.Quote(d.Default))
	}
	if c, _ := d.Find(name); e.Imported && c.Digest != e.Checkpoint.Digest {
		return d, quality.Errorf(quality.KindConflict, "somebody else removed checkpoint %q at the same moment", name)
	}
	if d.Default = name; before != name {
		d.Previous = before
	}
	return d, nil
}

// replace writes what change makes of the desired state. Where somebody else was
// quicker, change is asked again.
func (m *Manager) replace(ctx context.Context,
	change func(now desired.State) (desired.Document, []desired.Bundle, error)) (desired.State, error) {
	for range replaceTries {
		now, err := m.Store.Desired(ctx)
		if m.saw(now, err) != nil {
			return now, err
		}
		d, add, err := change(now)
		if err != nil {
			return now, err
		}
		if d.Fingerprint() == now.Fingerprint() {
			return now, nil
		}
		next, err := m.Store.Replace(ctx, now.Revision, d, add...)
		if quality.KindOf(err) == quality.KindConflict {
			continue
		}
		return next, m.saw(next, err)
	}
	return desired.State{}, errRestless()
}

// replaceTries is how often a change is tried that somebody else is quicker than.
const replaceTries = 20

func errRestless() error {
	return quality.Errorf(quality.KindConflict, "others change the checkpoints all the time; try again").After(time.Second)
}

// follow brings this gateway to what was written and says what became of it. What
// can't be done now, the loop does.
func (m *Manager) follow(ctx context.Context, action, by string, e Entry, before *Snapshot) Change {
	state := m.syncSaved(ctx, "a change of the checkpoints was saved and isn't followed yet")
	after := m.Library.Snapshot()
	change := Change{Checkpoint: e.Checkpoint, Default: after.defaultName(), Before: before.defaultName(),
		Previous: after.previous, Revision: state.Revision}
	m.Logger.InfoContext(ctx, "checkpoints changed", "action", action, "by", by, "revision", change.Revision,
		"checkpoint", e.Checkpoint.Name, "digest", e.Checkpoint.Digest.String(), "default", change.Default,
		"default_before", change.Before)
	return change
}

// syncSaved brings this gateway to what was saved a moment ago. Where the store
// doesn't answer, it logs that and asks the loop to do it.
func (m *Manager) syncSaved(ctx context.Context, otherwise string) desired.State {
	state, _, err := m.sync(ctx)
	if err != nil {
		m.Logger.WarnContext(ctx, otherwise, "error", err)
		m.Resync()
	}
	return state
}

// Remove takes an imported checkpoint out: first of the desired state, so that
// nobody can name it any more, then off the servers, once no request and no other
// gateway uses it. The default and shipped checkpoints stay: conflict.
func (m *Manager) Remove(ctx context.Context, name, by string) (Change, error) {
	if !m.changing.TryLock() {
		return Change{}, errBusy()
	}
	defer m.changing.Unlock()
	if _, err := m.begin(ctx); err != nil {
		return Change{}, err
	}
	before := m.Library.Snapshot()
	e, err := before.Get(name)
	if err != nil {
		return Change{}, err
	}
	if !e.Imported {
		return Change{}, quality.Errorf(quality.KindConflict, "checkpoint %q was shipped with the server and stays", name)
	}
	_, err = m.replace(ctx, func(now desired.State) (desired.Document, []desired.Bundle, error) {
		if now.Default == name || before.defaultName() == name {
			return now.Document, nil,
				quality.Errorf(quality.KindConflict, "checkpoint %q is the default; activate another one first", name)
		}
		return now.Document.Without(name), nil, nil
	})
	if err != nil {
		return Change{}, unwritten(err)
	}
	change := m.follow(ctx, "remove", by, e, before)
	change.Unloaded = m.awaitUnload(ctx, e.Checkpoint.Digest)
	return change, nil
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

func errBusy() error {
	return quality.Errorf(quality.KindConflict, "another import or removal is under way").After(time.Second)
}
