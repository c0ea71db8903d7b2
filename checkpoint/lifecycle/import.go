package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/desired"
	"github.com/agiqa/agiqa/clip"
	"github.com/agiqa/agiqa/quality"
)

// StepName names a step of an import, in answers and logs.
type StepName string

// The steps, in their order. Up to StepVerify nothing has changed.
const (
	StepValidate StepName = "validate" // encoder, name, digest, room
	StepEncode   StepName = "encode"   // the six prompts, by the servers' text encoder
	StepVerify   StepName = "verify"   // golden cases by arithmetic here
	StepWrite    StepName = "write"    // model files, where servers share a folder
	StepLoad     StepName = "load"     // into every server
	StepCheck    StepName = "check"    // what every server serves now
	StepReplay   StepName = "replay"   // golden cases on every server
	StepCache    StepName = "cache"    // text embeddings
	StepPersist  StepName = "persist"  // the bundle and the desired state, in the store
	StepSwitch   StepName = "switch"   // selectable, and the default if asked for
)

// Import asks for a checkpoint to be taken in.
type Import struct {
	Bundle   *checkpoint.Bundle
	Name     string // "" for the bundle's own
	Activate bool
	By       string // who asks, for the audit line
}

// Report says what an import did.
type Report struct {
	Change
	Known   bool // it was there before
	Steps   []StepTime
	Golden  int     // cases that were replayed
	MaxDiff float64 // largest difference among them, in the score's unit
}

// StepTime is how long a step took.
type StepTime struct {
	Name StepName
	Took time.Duration
}

// ImportFiles takes in a bundle that came as its two files. It needs no golden
// cases: the manager makes some. Errors are those of [Manager.Import], and
// checkpoint_invalid for files that are no bundle.
func (m *Manager) ImportFiles(ctx context.Context, manifest, weights []byte, in Import) (Report, error) {
	limits := checkpoint.DefaultLimits()
	limits.NoGolden = true
	var err error
	if in.Bundle, err = checkpoint.Decode(manifest, weights, limits); err != nil {
		return Report{}, err
	}
	return m.Import(ctx, in)
}

// Import takes a checkpoint in: see the package comment for the order. One
// that is there under the same name is left as it is, and activated if asked
// for. When a step fails, what was done is undone, and the error, a
// *[quality.Error], names the step. Kinds: checkpoint_invalid for golden
// scores that do not come out, encoder_mismatch, conflict for a name or
// content that is taken, for the activation of another task than the default's and
// for an import while another one runs, store_unavailable, and those of the
// servers.
func (m *Manager) Import(ctx context.Context, in Import) (Report, error) {
	if !m.changing.TryLock() {
		return Report{}, errBusy()
	}
	defer m.changing.Unlock()
	if in.Name != "" {
		renamed, err := in.Bundle.WithName(in.Name)
		if err != nil {
			return Report{}, err
		}
		in.Bundle = renamed
	}
	begun, err := m.begin(ctx)
	if err != nil {
		return Report{}, err
	}
	i := &importing{manager: m, request: in, begun: begun, digest: in.Bundle.Checkpoint().Digest,
		entry: m.Library.imported(in.Bundle)}
	if known, err := m.Library.Snapshot().Get(i.entry.Checkpoint.Name); err == nil && known.Checkpoint.Digest == i.digest {
		return m.importKnown(ctx, in, known)
	}
	defer m.Library.texts.add(in.Bundle)()
	defer m.use(i.digest)()
	defer m.setOwn(nil)
	if err := i.run(ctx); err != nil {
		return Report{}, err
	}
	return i.report, nil
}

// use says that a head is in use which isn't in the library yet, until done is
// called.
func (m *Manager) use(head quality.Digest) (done func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.coming[head]++
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.coming[head]--; m.coming[head] == 0 {
			delete(m.coming, head)
		}
	}
}

// usedBeside reports whether somebody here uses a head besides its import.
func (m *Manager) usedBeside(head quality.Digest) bool {
	if _, err := m.Library.Snapshot().ByDigest(head); err == nil {
		return true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.coming[head] > 1
}

// imports returns the bundle that is being imported here, once it was found sound.
func (m *Manager) imports() *checkpoint.Bundle {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.own
}

func (m *Manager) setOwn(b *checkpoint.Bundle) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.own = b
}

// importKnown answers for a checkpoint that is there already.
func (m *Manager) importKnown(ctx context.Context, in Import, known Entry) (Report, error) {
	s := m.Library.Snapshot()
	r := Report{Known: true, Change: Change{
		Checkpoint: known.Checkpoint, Default: s.defaultName(), Before: s.defaultName(), Previous: s.previous,
		Revision: s.revision,
	}}
	var err error
	if in.Activate {
		r.Change, err = m.Activate(ctx, known.Checkpoint.Name, in.By)
	}
	return r, err
}

// importing is one import under way.
type importing struct {
	manager *Manager
	request Import
	begun   desired.State // that it goes out from
	entry   Entry
	digest  quality.Digest
	encoder quality.Encoder
	text    quality.TextEmbeddings
	report  Report
	// Set by the steps that found their work done by somebody else, who then
	// keeps it when the import fails.
	written, loaded bool
	before          *Snapshot
}

// step is a step and how to take it back. undo is called for the failed step
// too, which may have come half way.
type step struct {
	name StepName
	do   func(ctx context.Context) error
	undo func(ctx context.Context) error // nil: nothing to take back
}

func (i *importing) steps() []step {
	steps := []step{
		{StepValidate, i.validate, nil},
		{StepEncode, i.encode, nil},
		{StepVerify, i.verify, nil},
		{StepWrite, i.write, i.unwrite},
		{StepLoad, i.load, i.unload},
		{StepCheck, i.check, nil},
		{StepReplay, i.replay, nil},
		{StepCache, i.cache, nil},     // keyed by content: never wrong, and it expires
		{StepPersist, i.persist, nil}, // all or nothing
		{StepSwitch, i.swap, nil},     // never fails
	}
	return steps
}

func (i *importing) run(ctx context.Context) error {
	var done []step
	for _, s := range i.steps() {
		start := time.Now()
		done = append(done, s)
		err := ctx.Err()
		if err == nil {
			err = s.do(ctx)
		}
		if err != nil {
			return i.failed(ctx, s.name, err, i.undo(ctx, done))
		}
		i.report.Steps = append(i.report.Steps, StepTime{Name: s.name, Took: time.Since(start)})
	}
	return nil
}

// undo undoes steps, the last first, also when the caller has left.
func (i *importing) undo(ctx context.Context, done []step) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), i.manager.cfg.UndoTimeout)
	defer cancel()
	var faults []error
	for k := len(done) - 1; k >= 0; k-- {
		if undo := done[k].undo; undo != nil {
			if err := undo(ctx); err != nil {
				faults = append(faults, fmt.Errorf("undo of step %s: %w", done[k].name, err))
			}
		}
	}
	return errors.Join(faults...)
}

// failed gives the error its step and keeps its kind. What could not be
// undone, say on a server that is away, is for the log.
func (i *importing) failed(ctx context.Context, name StepName, err, undo error) error {
	m, c := i.manager, i.entry.Checkpoint
	m.Logger.WarnContext(ctx, "import failed", "step", string(name), "by", i.request.By,
		"checkpoint", c.Name, "digest", c.Digest.String(), "error", err)
	if undo != nil {
		m.Logger.ErrorContext(ctx, "a failed import left something behind", "checkpoint", c.Name, "digest",
			c.Digest.String(), "error", undo)
	}
	err = unwritten(err)
	failure := quality.Errorf(quality.KindOf(err), "step %s failed", name)
	if e, ok := errors.AsType[*quality.Error](err); ok {
		failure = quality.Errorf(e.Kind, "step %s: %s", name, e.Detail).After(e.RetryAfter)
	}
	return failure.Because(err)
}

func (i *importing) validate(context.Context) (err error) {
	if i.encoder, err = i.manager.encoder(); err != nil {
		return err
	}
	if err := i.entry.Bundle.CheckEncoder(i.encoder); err != nil {
		return err
	}
	s := i.manager.Library.Snapshot()
	if i.request.Activate {
		if err := s.checkTask(i.entry.Checkpoint); err != nil {
			return err
		}
	}
	if n := len(s.List()); n >= i.manager.cfg.MaxCheckpoints {
		return quality.Errorf(quality.KindConflict, "the server has %d checkpoints, the maximum; remove one first", n)
	}
	return s.check(i.entry.Bundle)
}

func (i *importing) encode(ctx context.Context) error {
	prompts, err := clip.Assemble(i.manager.Library.tokenizer, i.entry.Bundle.PromptSpec())
	if err != nil {
		return err
	}
	embeddings, err := i.manager.Servers.EncodePrompts(ctx, i.encoder, prompts)
	if err != nil {
		return err
	}
	if len(embeddings) != len(i.text) {
		return quality.Errorf(quality.KindModelBadOutput, "the text encoder gave %d embeddings for %d prompts",
			len(embeddings), len(i.text))
	}
	copy(i.text[:], embeddings)
	return nil
}

// write puts the models into the folder. From here on they are in use, for other
// gateways too: none of them takes them away.
func (i *importing) write(ctx context.Context) error {
	if err := i.manager.hold(ctx); err != nil {
		return err
	}
	folder := i.manager.Folder
	if folder == nil {
		return nil
	}
	return i.manager.exclusively(ctx, i.digest, func(context.Context) error {
		i.written = true // until it is known that it is not
		has, err := folder.Has(i.entry.Checkpoint)
		if err != nil {
			return err
		}
		i.written = has
		return folder.Write(i.entry.Bundle)
	})
}

func (i *importing) unwrite(ctx context.Context) error {
	if i.manager.Folder == nil || i.written {
		return nil
	}
	return i.unlessUsed(ctx, func(context.Context) error { return i.manager.Folder.Remove(i.entry.Checkpoint) })
}

func (i *importing) load(ctx context.Context) error {
	return i.manager.exclusively(ctx, i.digest, func(ctx context.Context) error {
		// Another gateway may have brought the same checkpoint.
		i.loaded = i.manager.Servers.Ready(ctx, i.entry.Checkpoint) == nil
		return i.manager.Servers.Load(ctx, i.entry)
	})
}

func (i *importing) unload(ctx context.Context) error {
	if i.loaded {
		return nil
	}
	return i.unlessUsed(ctx, func(ctx context.Context) error {
		return i.manager.Servers.Unload(ctx, i.entry.Checkpoint)
	})
}

// unlessUsed takes something back, unless it is in use by now: by another gateway,
// or by this one, since what was reported as a failure was saved. Where nobody knows,
// it stays.
func (i *importing) unlessUsed(ctx context.Context, f func(ctx context.Context) error) error {
	m := i.manager
	return m.exclusively(ctx, i.digest, func(ctx context.Context) error {
		if m.usedBeside(i.digest) {
			return nil
		}
		holders, err := m.Store.Holders(ctx, i.digest)
		if err != nil && m.Store.Shared() {
			return err
		}
		if slices.ContainsFunc(holders, func(holder string) bool { return holder != m.holder }) {
			return nil
		}
		return f(ctx)
	})
}

func (i *importing) check(ctx context.Context) error {
	return i.manager.Servers.Check(ctx, i.encoder, i.entry.Checkpoint)
}

func (i *importing) cache(ctx context.Context) error {
	_, _, err := i.manager.Texts.TextEmbeddings(ctx, i.entry.Checkpoint)
	return err
}

// persist writes bundle and desired state. Others may have changed it since the
// import began.
func (i *importing) persist(ctx context.Context) error {
	c, packed, err := pack(i.entry.Bundle)
	if err != nil {
		return err
	}
	i.manager.setOwn(i.entry.Bundle)
	i.before = i.manager.Library.Snapshot()
	_, err = i.manager.replace(ctx, func(now desired.State) (desired.Document, []desired.Bundle, error) {
		d, add := now.Document, []desired.Bundle(nil)
		switch there, taken := now.Find(c.Name); {
		case taken && there.Digest == c.Digest: // by another gateway, at the same moment
		case taken, now.Has(c.Digest):
			return d, nil, quality.Errorf(quality.KindConflict, "another gateway has just imported a checkpoint of the same "+
				"name or content")
		default:
			d, add = d.With(c), []desired.Bundle{packed}
		}
		if i.request.Activate {
			with := now
			with.Document = d
			if d, err = i.manager.withDefault(with, i.begun, i.before.defaultName(), i.entry); err != nil {
				return d, nil, err
			}
		}
		return d, add, nil
	})
	return err
}

// swap makes it selectable here. It is saved, so what can't be done now, the loop
// does.
func (i *importing) swap(ctx context.Context) error {
	i.report.Change = i.manager.follow(ctx, "import", i.request.By, i.entry, i.before)
	return nil
}
