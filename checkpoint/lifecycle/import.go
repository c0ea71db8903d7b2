package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/agiqa/agiqa/checkpoint"
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
	StepPersist  StepName = "persist"  // the bundle
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
// for an import while another one runs, and those of
// the servers.
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
	i := &importing{
		manager: m, request: in, digest: in.Bundle.Checkpoint().Digest,
		entry: Entry{Bundle: in.Bundle, Checkpoint: in.Bundle.Checkpoint(), Imported: true},
	}
	i.entry.Checkpoint.HeadOnly = m.Library.Snapshot().headOnly
	if known, err := m.Library.Snapshot().Get(i.entry.Checkpoint.Name); err == nil && known.Checkpoint.Digest == i.digest {
		return m.importKnown(ctx, in, known)
	}
	m.Library.pending.Store(in.Bundle)
	defer m.Library.pending.Store(nil)
	if err := i.run(ctx); err != nil {
		return Report{}, err
	}
	i.report.Change = m.logChange(ctx, "import", in.By, i.entry.Checkpoint, i.before, i.after)
	return i.report, nil
}

// importKnown answers for a checkpoint that is there already.
func (m *Manager) importKnown(ctx context.Context, in Import, known Entry) (Report, error) {
	s := m.Library.Snapshot()
	r := Report{Known: true, Change: Change{
		Checkpoint: known.Checkpoint, Default: s.defaultName(), Before: s.defaultName(), Previous: s.previous,
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
	entry   Entry
	digest  quality.Digest
	encoder quality.Encoder
	text    quality.TextEmbeddings
	report  Report
	// Set by the steps that found their work done by somebody else, who then
	// keeps it when the import fails.
	written, loaded bool
	persisted       bool
	before, after   *Snapshot
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
		{StepCache, i.cache, nil}, // keyed by content: never wrong, and it expires
		{StepPersist, i.persist, i.unpersist},
		{StepSwitch, i.swap, nil}, // all or nothing
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
	_, err = s.with(i.entry.Bundle) // names and digests are each there once
	return err
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

func (i *importing) write(context.Context) error {
	folder := i.manager.Folder
	if folder == nil {
		return nil
	}
	i.written = true // until it is known that it is not
	has, err := folder.Has(i.entry.Checkpoint)
	if err != nil {
		return err
	}
	i.written = has
	return folder.Write(i.entry.Bundle)
}

func (i *importing) unwrite(context.Context) error {
	if i.manager.Folder == nil || i.written {
		return nil
	}
	return i.manager.Folder.Remove(i.entry.Checkpoint)
}

func (i *importing) load(ctx context.Context) error {
	// Another gateway may have brought the same checkpoint.
	i.loaded = i.manager.Servers.Ready(ctx, i.entry.Checkpoint) == nil
	return i.manager.Servers.Load(ctx, i.entry)
}

func (i *importing) unload(ctx context.Context) error {
	if i.loaded {
		return nil
	}
	return i.manager.Servers.Unload(ctx, i.entry.Checkpoint)
}

func (i *importing) check(ctx context.Context) error {
	return i.manager.Servers.Check(ctx, i.encoder, i.entry.Checkpoint)
}

func (i *importing) cache(ctx context.Context) error {
	_, _, err := i.manager.Texts.TextEmbeddings(ctx, i.entry.Checkpoint)
	return err
}

func (i *importing) persist(context.Context) error {
	err := i.manager.Library.bundles.write(i.entry.Bundle)
	i.persisted = err == nil
	return err
}

// unpersist leaves a folder alone that was in persist's way.
func (i *importing) unpersist(context.Context) error {
	if !i.persisted {
		return nil
	}
	return i.manager.Library.bundles.remove(i.entry.Checkpoint.Name)
}

func (i *importing) swap(context.Context) (err error) {
	i.before, i.after, err = i.manager.Library.change(func(s *Snapshot) (*Snapshot, error) {
		next, err := s.with(i.entry.Bundle)
		if err != nil || !i.request.Activate {
			return next, err
		}
		return next.activate(i.entry.Checkpoint.Name)
	})
	return err
}
